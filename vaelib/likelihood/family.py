"""What every likelihood p(x | z) has: a distribution of a decoder's output, and what it asks."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from vaelib.arguments import BadType, BadValue
from vaelib.data import Binarization, Kind, Layout, binarize, kind
from vaelib.draw import draw

__all__ = ["Likelihood", "require_kind"]

# What to do with values of a kind that a likelihood is not for.
_INSTEAD = {
    "pixels": "uint8 pixels are for bernoulli, continuous-bernoulli, categorical, logistics and "
    "gaussian; if they are counts, give them as such: rows.to(torch.int64)",
    "numbers": "--likelihood gaussian or student-t is for numbers; grey values in [0, 1] become "
    "pixels by (255 * x).round().to(torch.uint8)",
    "counts": "--likelihood poisson or negative-binomial is for counts; if they are pixels from 0 "
    "to 255, give them as such: rows.to(torch.uint8)",
}


class Likelihood(nn.Module):
    """A family p(x | z) whose parameters are a decoder's raw output.

    One of your own says its `support` and `remedy` and makes its distribution in `forward`. It has
    `per_pixel` where a value has several numbers, and `prepare` and `undo` where data are not grey
    values v / 255. `vaelib.vae.check_model` finds what does not fit together.

    x is in the data's own units: v / 255 of pixels, numbers and counts as they are. A likelihood
    that wants other units inside takes them from the data (`measure`), and its densities still are
    of x itself, so that no Jacobian has to be remembered.

    Attributes:
        support: what x may be.
        remedy: the same in words, for the error message.
        per_pixel: how many numbers a decoder returns for one value, side by side in its output:
            ``raw`` is ``[*batch, values * per_pixel]``.
        binarization: how ``uint8`` pixels become x, by the name that `vaelib.data.binarize` has for
            it.
        kinds: what rows `prepare` takes, by `vaelib.data.kind`.
        command_line: arguments that the constructor gets where an option names the class.

    One that has something to `measure` has a buffer ``measured`` beside, which says that it was
    done.
    """

    support: constraints.Constraint
    remedy: str
    per_pixel: int = 1
    binarization: Binarization = "none"
    kinds: ClassVar[tuple[Kind, ...]] = ("pixels",)
    command_line: ClassVar[Mapping[str, float]] = {}

    def forward(self, raw: Tensor) -> Distribution:
        """p(x | z) from raw ``[*batch, values * per_pixel]``; ``log_prob`` sums over values."""
        raise NotImplementedError

    def width(self, pixels: int) -> int:
        """How many numbers a decoder returns for x of so many values."""
        return pixels * self.per_pixel

    @classmethod
    def for_layout(cls, layout: Layout, kind: Kind = "pixels") -> "Likelihood":  # noqa: ARG003
        """The one that data of this layout and kind get where an option names the class."""
        return cls(**cls.command_line)

    def measure(self, values: Any) -> None:
        """Take from the rows to train on what `prepare` and `features` need: a mean, a deviation.

        `vaelib.train.fit` calls it before its first step, once in the life of a likelihood, which
        keeps what it took in buffers. Most take nothing.

        Args:
            values: rows ``[n, values]`` of a kind that `prepare` takes: a tensor, what NumPy's row
                numbers index, or an iterable of batches of rows, or of rows with labels.
        """

    def features(self, x: Tensor) -> Tensor:
        """What an encoder is given of x, ``[*batch, inputs(pixels)]``: x itself here."""
        return x

    def inputs(self, pixels: int) -> int:
        """How many numbers an encoder is given of x of so many values."""
        return pixels

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """One x per row of raw."""
        return draw(self(raw), generator=generator)

    def prepare(
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch pixel"]:
        """Turn rows, of pixels v from 0 to 255 say, into data that this likelihood is for.

        Args:
            pixels: rows ``[*batch, values]`` of one of ``kinds``.
            generator: source of the randomness, where there is any, on the device of ``pixels``.

        Returns:
            x in the support, float32 of the same shape. It is drawn afresh from {0, 1} for
            `Bernoulli`, the nearest of its levels for `Categorical`, v / 255 for others of pixels.

        Raises:
            TypeError: if the rows are of another kind; names the likelihoods that take it.
            ValueError: if there are none.

        >>> from vaelib.likelihood import ContinuousBernoulli
        >>> ContinuousBernoulli().prepare(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
        tensor([[0.0000, 0.2000, 1.0000]])
        """
        require_kind(self, pixels)
        return binarize(pixels, self.binarization, generator=generator)

    def undo(self, x: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch pixel"]:
        """Data, samples or means in units to be shown or written: `prepare` backwards.

        That is x itself where x is in the data's own units: grey values in [0, 1] of pixels, which
        a sample of a density of all real numbers may leave.
        """
        return x

    def elementwise(self, x: Tensor, raw: Tensor) -> Float[Tensor, "*batch pixel"]:
        """log p of each value, in nats, ``[*batch, values]``, whose sum is log p(x | z).

        Raises:
            TypeError: if the distribution is not one of independent values.
        """
        p = self(raw)
        if type(p) is not Independent or p.reinterpreted_batch_ndims != 1:
            raise BadType(
                f"{type(self).__name__}: its distribution has no log-probability for each value; "
                f"return Independent(…, 1) in forward, or write elementwise(x, raw)"
            )
        return p.base_dist.log_prob(x)

    def readable(self, seen: Tensor) -> Tensor:
        """Where values are missing, which of those seen have a log-probability: all here.

        Args:
            seen: True where a value is there, ``[*batch, values]``.
        """
        return seen

    def bits(self, log_p: Tensor, x: Tensor) -> Tensor:
        r"""Bits per dimension: $-\log_2 p$ over the number of values that are seen.

        Args:
            log_p: nats per datum, ``[*batch]``.
            x: the data, ``[*batch, values]``; NaN is a value that is missing.

        >>> from vaelib.likelihood import Bernoulli
        >>> Bernoulli().bits(torch.tensor([-784 * 0.5]), torch.zeros(1, 784))
        tensor([0.7213])
        """
        return -log_p / (math.log(2) * (~x.isnan()).sum(-1))

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x | z) in nats of every x ``[batch, pixel]`` with every raw, ``[cells, …]``."""
        return self(raw).log_prob(x[:, None])

    def example(
        self, n: int, pixels: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n pixel"]:
        """Random data that this likelihood is for: n rows of so many values, to try a model with.

        Random pixels here, as `prepare` makes x of them.
        """
        rows = torch.randint(256, (n, pixels), generator=generator).to(torch.uint8)
        return self.prepare(rows, generator=generator)

    def notes(self) -> list[str]:
        """What somebody who reads a score should know: a sentence each. None here."""
        return []


def require_kind(likelihood: Likelihood, rows: Tensor) -> Kind:
    """The kind of rows; raise unless the likelihood takes it, and there are some."""
    found, name = kind(rows), type(likelihood).__name__
    if found not in likelihood.kinds:
        raise BadType(
            f"{name}: expected {' or '.join(likelihood.kinds)}, got {found} ({rows.dtype}); "
            f"{_INSTEAD[found]}",
            "likelihood",
        )
    if rows.numel() == 0:
        raise BadValue(f"{name}: expected at least one row, got shape {tuple(rows.shape)}")
    return found
