"""What an option can name: data, networks, likelihoods, priors, posteriors, and classes of yours.

A likelihood of `vaelib.likelihood` is here by itself, under its class's name. A new network or
prior is a line in a table.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from vaelib import data, likelihood, nets
from vaelib.arguments import BadType, BadValue
from vaelib.likelihood import Likelihood
from vaelib.posterior import Posterior
from vaelib.prior import Mixture, Prior, VampPrior


class Sizes(NamedTuple):
    """What networks are built for."""

    height: int
    width: int
    latent: int
    hidden: list[int]
    spread: float
    heads: int  # numbers for a latent that the encoder returns
    levels: int  # numbers for a pixel that the decoder returns


class Net(NamedTuple):
    """A model's networks, and the hidden widths that they have if none are given."""

    make: Callable[[Sizes], tuple[nn.Module, ...]]
    hidden: list[int]


def _mlp(s: Sizes) -> tuple[nn.Module, ...]:
    pixels = s.height * s.width
    return (
        nets.MLPEncoder(pixels, s.latent, hidden=s.hidden, heads=s.heads, spread=s.spread),
        nets.MLPDecoder(s.latent, pixels, levels=s.levels, hidden=s.hidden[::-1]),
    )


def _conv(s: Sizes) -> tuple[nn.Module, ...]:
    if (s.height, s.width) != (28, 28) or len(s.hidden) != 1:
        raise BadValue(
            f"--net conv: expected images of 28 x 28 pixels and one --hidden width, got "
            f"{s.height} x {s.width} and {len(s.hidden)}; use --net mlp",
            "net",
        )
    (width,) = s.hidden
    return (
        nets.ConvEncoder(s.latent, width=width, heads=s.heads, spread=s.spread),
        nets.ConvDecoder(s.latent, width=width),
    )


def _linear(s: Sizes) -> tuple[nn.Module, ...]:
    if s.hidden:
        raise BadValue("--net linear: expected no --hidden; it has no hidden layer", "hidden")
    if s.heads != 2:
        raise BadValue(
            f"--net linear: expected a --posterior of two numbers for a latent, got one of "
            f"{s.heads}; use --net mlp",
            "posterior",
        )
    pixels = s.height * s.width
    return (
        nets.LinearEncoder(pixels, s.latent),
        nets.MLPDecoder(s.latent, pixels, levels=s.levels, hidden=()),
    )


def _two_layer(s: Sizes) -> tuple[nn.Module, ...]:
    """In the proportions of Burda et al. (arXiv:1509.00519), who have 200, 100, 100 and 50."""
    pixels, lower, upper = s.height * s.width, 2 * s.latent, s.latent
    half = [max(1, width // 2) for width in s.hidden]
    tanh = nn.Tanh
    return (
        nets.MLPEncoder(pixels, lower, hidden=s.hidden, activation=tanh, spread=s.spread),
        nets.MLPEncoder(lower, upper, hidden=half, activation=tanh, spread=s.spread),
        nets.MLPEncoder(upper, lower, hidden=half[::-1], activation=tanh),
        nets.MLPDecoder(lower, pixels, levels=s.levels, hidden=s.hidden[::-1], activation=tanh),
    )


DATA: dict[str, Callable[[], data.Images]] = {
    "digits": data.digits,
    "mnist": data.mnist,
    "fashion-mnist": data.fashion_mnist,
}
NETS = {
    "mlp": Net(_mlp, [400, 400]),
    "conv": Net(_conv, [256]),
    "linear": Net(_linear, []),
    "two-layer": Net(_two_layer, [200, 200]),
}
LIKELIHOODS = {
    re.sub("(?<!^)([A-Z])", r"-\1", name).lower(): getattr(likelihood, name)
    for name in likelihood.__all__
    if name not in ("Likelihood", "Missing")  # the second is put around another
}
PRIORS: dict[str, Callable[[int, nn.Module, int, int], Prior | None]] = {
    "normal": lambda *_: None,  # what a model has if it is given none
    "mixture": lambda latent, _encoder, _pixels, components: Mixture(latent, components),
    "vamp": lambda _latent, encoder, pixels, components: VampPrior(encoder, pixels, components),
}
POSTERIORS: dict[str, Callable[[int], Posterior | None]] = {"normal": lambda _: None}
FAMILIES = {
    "likelihood": (Likelihood, LIKELIHOODS),
    "prior": (Prior, PRIORS),
    "posterior": (Posterior, POSTERIORS),
}


def names(option: str) -> Callable[[Sequence[type]], list[str]]:
    """For the option of a family, from the user's classes to all names that it takes."""
    family, ours = FAMILIES[option]

    def names(classes: Sequence[type]) -> list[str]:
        return [*ours, *(cls.__name__ for cls in classes if issubclass(cls, family))]

    return names


def theirs(name: str, classes: Sequence[type]) -> type | None:
    """The user's class of a name, if it has one."""
    return next((cls for cls in classes if cls.__name__ == name), None)


def require_classes(classes: Sequence[object]) -> None:
    """Raise unless each is of a family, and can be told from all others by its name."""
    families = tuple(family for family, _ in FAMILIES.values())
    taken = {name for _, ours in FAMILIES.values() for name in ours}
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, families)):
            raise BadType(
                f"expected a class of yours below vaelib's Likelihood, Prior or Posterior, got "
                f"{cls!r}",
                "trust",
            )
        if cls.__name__ in taken:
            raise BadValue(
                f"expected classes of different names, got {cls.__name__} twice", "trust"
            )
        taken.add(cls.__name__)
