"""What an option can name: data, networks, likelihoods, priors, posteriors, and classes of yours.

A likelihood of `vaelib.likelihood` is here by itself, under its class's name. A new network or
prior is a line in a table.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from vaelib import data, likelihood, nets
from vaelib.arguments import BadType, BadValue
from vaelib.data import Columns, Kind, Layout, Pictures
from vaelib.likelihood import Likelihood
from vaelib.posterior import Posterior
from vaelib.prior import Mixture, Prior, VampPrior


class Sizes(NamedTuple):
    """What networks are built for."""

    layout: Layout  # of a datum
    inputs: int  # numbers that an encoder is given of it
    latent: int
    hidden: list[int]
    spread: float
    heads: int  # numbers for a latent that the encoder returns
    levels: int  # numbers for a value that the decoder returns
    condition: int  # numbers that say the label to both; 0 without a condition


class Net(NamedTuple):
    """A model's networks, and the hidden widths that they have if none are given."""

    make: Callable[[Sizes], tuple[nn.Module, ...]]
    hidden: list[int]


def _mlp(s: Sizes) -> tuple[nn.Module, ...]:
    both: dict[str, Any] = {"condition": s.condition}
    return (
        nets.MLPEncoder(
            s.inputs, s.latent, hidden=s.hidden, heads=s.heads, spread=s.spread, **both
        ),
        nets.MLPDecoder(s.latent, s.layout.values, levels=s.levels, hidden=s.hidden[::-1], **both),
    )


def _conv(s: Sizes) -> tuple[nn.Module, ...]:
    if isinstance(s.layout, Columns):
        raise BadValue(
            "--net conv: expected pictures, got a table, whose columns have no neighbours; use "
            "--net mlp",
            "net",
        )
    if len(s.hidden) != 1:
        raise BadValue(
            f"--net conv: expected one --hidden width, got {len(s.hidden)}; use --net mlp", "net"
        )
    (width,), (height, across, channels) = s.hidden, s.layout
    both: dict[str, Any] = {"width": width, "condition": s.condition}
    if channels > 1:
        both["channels"] = 32  # colour has more to say
    given = s.inputs // (height * across)  # with missing values there are masks, too
    return (
        nets.ConvEncoder(s.latent, (given, height, across), heads=s.heads, spread=s.spread, **both),
        nets.ConvDecoder(s.latent, (channels, height, across), levels=s.levels, **both),
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
    both: dict[str, Any] = {"condition": s.condition}
    return (
        nets.LinearEncoder(s.inputs, s.latent, **both),
        nets.MLPDecoder(s.latent, s.layout.values, levels=s.levels, hidden=(), **both),
    )


def _two_layer(s: Sizes) -> tuple[nn.Module, ...]:
    """In the proportions of Burda et al. (arXiv:1509.00519), who have 200, 100, 100 and 50."""
    values, lower, upper = s.layout.values, 2 * s.latent, s.latent
    half = [max(1, width // 2) for width in s.hidden]
    tanh = nn.Tanh
    return (
        nets.MLPEncoder(s.inputs, lower, hidden=s.hidden, activation=tanh, spread=s.spread),
        nets.MLPEncoder(lower, upper, hidden=half, activation=tanh, spread=s.spread),
        nets.MLPEncoder(upper, lower, hidden=half[::-1], activation=tanh),
        nets.MLPDecoder(lower, values, levels=s.levels, hidden=s.hidden[::-1], activation=tanh),
    )


DATA: dict[str, Callable[[], data.Images]] = {
    "digits": data.digits,
    "mnist": data.mnist,
    "fashion-mnist": data.fashion_mnist,
}
CLASSES = {  # what the labels of these are called
    "digits": tuple("0123456789"),
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
}
NETS = {
    "mlp": Net(_mlp, [400, 400]),
    "conv": Net(_conv, [256]),
    "linear": Net(_linear, []),
    "two-layer": Net(_two_layer, [200, 200]),
}
LIKELIHOODS: dict[str, type[Likelihood]] = {
    re.sub("(?<!^)([A-Z])", r"-\1", name).lower(): found
    for name, found in ((name, getattr(likelihood, name)) for name in likelihood.__all__)
    if isinstance(found, type)
    and issubclass(found, Likelihood)
    # Missing is put around one of the others where values are missing.
    and name not in ("Likelihood", "Missing")
}
PRIORS: dict[str, Callable[[int, nn.Module, int, int], Prior | None]] = {
    "normal": lambda *_: None,  # what a model has if it is given none
    "mixture": lambda latent, _encoder, _pixels, components: Mixture(latent, components),
    "vamp": lambda _latent, encoder, pixels, components: VampPrior(encoder, pixels, components),
}
POSTERIORS: dict[str, Callable[[int], Posterior | None]] = {"normal": lambda _: None}
FAMILIES: dict[str, tuple[type, Mapping[str, Any]]] = {
    "likelihood": (Likelihood, LIKELIHOODS),
    "prior": (Prior, PRIORS),
    "posterior": (Posterior, POSTERIORS),
}


def likely(kind: Kind, layout: Layout) -> str:
    """The likelihood that data of a kind have if none is named.

    >>> likely("pixels", Pictures(28, 28)), likely("pixels", Pictures(28, 28, channels=3))
    ('bernoulli', 'logistics')
    >>> likely("numbers", Columns(("mass",))), likely("counts", Columns(("cars",)))
    ('gaussian', 'poisson')
    """
    if kind == "pixels":
        grey = isinstance(layout, Pictures) and layout.channels == 1
        return "bernoulli" if grey else "logistics"
    return "gaussian" if kind == "numbers" else "poisson"


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
