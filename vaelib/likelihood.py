"""Likelihoods p(x | z): what a decoder's raw output says about the pixels, as a distribution.

A likelihood fits its data: `Bernoulli` binarized pixels, `ContinuousBernoulli` or `Gaussian` grey
ones, `Categorical` grey ones by their level. It prepares them itself (`Likelihood.prepare`), so
that nobody trains a density on zeros and ones by mistake. Each has its normalizing constant, so
that log p(x | z) is a log-probability or log-density in nats. Densities of grey values and
probabilities of grey levels are not to be compared: the first may be above 1. To add one, subclass
`Likelihood`: its support, its remedy and its `Likelihood.forward` are enough.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent, constraints
from torch.nn.functional import relu, softplus

from vaelib.arguments import BadType, BadValue, require_number, require_sizes
from vaelib.data import Binarization, Layout, binarize
from vaelib.draw import draw
from vaelib.kl import DiagonalNormal
from vaelib.pixels import GreyLevel, TruncatedExponential, log_mean_decay
from vaelib.recipe import rebuildable

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Gaussian",
    "Likelihood",
]


class Likelihood(nn.Module):
    """A family p(x | z), independent over pixels, whose parameters are a decoder's raw output.

    One of your own says its `support` and `remedy` and makes its distribution in `forward`. It has
    `per_pixel` where a pixel has several numbers, and `prepare` and `undo` where data are not grey
    values v / 255. `vaelib.vae.check_model` finds what does not fit together.

    Attributes:
        support: what x may be.
        remedy: the same in words, for the error message.
        per_pixel: how many numbers a decoder returns for one pixel, side by side in its output:
            ``raw`` is ``[*batch, pixels * per_pixel]``.
        binarization: how ``uint8`` pixels become x, by the name that `vaelib.data.binarize` has for
            it.
        command_line: arguments that the constructor gets where an option names the class.
    """

    support: constraints.Constraint
    remedy: str
    per_pixel: int = 1
    binarization: Binarization = "none"
    command_line: ClassVar[Mapping[str, float]] = {}

    def forward(self, raw: Tensor) -> Distribution:
        """p(x | z) from raw ``[*batch, pixels * per_pixel]``; ``log_prob`` sums over pixels."""
        raise NotImplementedError

    def width(self, pixels: int) -> int:
        """How many numbers a decoder returns for x of so many pixels."""
        return pixels * self.per_pixel

    @classmethod
    def for_layout(cls, layout: Layout) -> "Likelihood":  # noqa: ARG003
        """The one that data of this layout get where an option names the class."""
        return cls(**cls.command_line)

    def measure(self, values: Any) -> None:
        """Take from the rows to train on what `prepare` and `features` need: a mean, a deviation.

        `vaelib.train.fit` calls it before its first step, once in the life of a likelihood, which
        keeps what it took in buffers. Most take nothing.
        """

    def features(self, x: Tensor) -> Tensor:
        """What an encoder is given of x, ``[*batch, inputs(pixels)]``: x itself here."""
        return x

    def inputs(self, pixels: int) -> int:
        """How many numbers an encoder is given of x of so many pixels."""
        return pixels

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """One x per row of raw."""
        return draw(self(raw), generator=generator)

    def prepare(
        self, pixels: UInt8[Tensor, "*batch pixel"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch pixel"]:
        """Turn pixels v, 0 to 255, into data that this likelihood is for.

        Args:
            pixels: ``uint8 [*batch, pixel]``.
            generator: source of the randomness, where there is any, on the device of ``pixels``.

        Returns:
            x in the support, float32 of the same shape. It is drawn afresh from {0, 1} for
            `Bernoulli`, the nearest of its levels for `Categorical`, v / 255 for the others.

        Raises:
            TypeError: if the pixels are not ``uint8``.
            ValueError: if there are none.

        >>> ContinuousBernoulli().prepare(torch.tensor([[0, 51, 255]], dtype=torch.uint8))
        tensor([[0.0000, 0.2000, 1.0000]])
        """
        return binarize(pixels, self.binarization, generator=generator)

    def undo(self, x: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch pixel"]:
        """Data, samples or means as grey values in [0, 1], to be shown: `prepare` backwards."""
        return x.clamp(0, 1)

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x | z) in nats of every x ``[batch, pixel]`` with every raw, ``[cells, …]``."""
        return self(raw).log_prob(x[:, None])


@rebuildable
class Bernoulli(Likelihood):
    """p(x | z) of binarized pixels, x in {0, 1}. The decoder's output is the logits."""

    support = constraints.boolean
    remedy = "only 0 and 1 (vaelib.data.binarize makes them; ContinuousBernoulli takes grey pixels)"
    binarization = "dynamic"

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(distributions.Bernoulli(logits=raw, validate_args=False), 1)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return torch.bernoulli(raw.sigmoid(), generator=generator)

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        r"""As $-x^\top \log(1 + e^{-\ell}) - (1 - x)^\top \log(1 + e^\ell)$: two products.

        No 3-D tensor, and terms of one sign: in $x^\top \ell - \sum \log(1 + e^\ell)$ two large
        sums cancel where x is likely.
        """
        zero = softplus(raw)
        one = softplus(-raw)
        return -(x @ one.mT + (1 - x) @ zero.mT)


@rebuildable
class ContinuousBernoulli(Likelihood):
    """p(x | z) of grey pixels, x in [0, 1] (Loaiza-Ganem and Cunningham, arXiv:1907.06845).

    A Bernoulli's formula on grey pixels does not integrate to one; this is the density that does.
    """

    support = constraints.unit_interval
    remedy = "values in [0, 1] (uint8 pixels divided by 255)"

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(TruncatedExponential(raw), 1)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return TruncatedExponential(raw).icdf(torch.empty_like(raw).uniform_(generator=generator))

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """As two matrix products, each of terms of one sign: no 3-D tensor, and nothing cancels."""
        up = relu(raw)
        down = up - raw
        return -(x @ down.mT + (1 - x) @ up.mT) - log_mean_decay(up + down).sum(-1)


class _Finite(constraints.Constraint):
    """Real numbers; torch's own constraint of this name lets infinity through."""

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite()


@rebuildable
class Gaussian(Likelihood):
    r"""p(x | z) = N(raw, σ² I) of real pixels, with its constant.

    Args:
        logvar: $\log\sigma^2$, where it starts.
        learned: False keeps it there.

    Raises:
        TypeError, ValueError: if they are no finite number and no True or False.
    """

    # From σ² = 0.14 on, the variance of Fashion-MNIST's pixels. With σ² = 1 the KL would outweigh
    # what a pixel tells, and latent dimensions would switch off before σ² is learned.
    command_line: ClassVar[Mapping[str, float]] = {"logvar": -2.0}
    support = _Finite()
    remedy = "real numbers, neither infinite nor nan"

    def __init__(self, logvar: float = 0.0, *, learned: bool = True) -> None:
        super().__init__()
        require_number("Gaussian", "logvar", logvar)
        if not isinstance(learned, bool):
            raise BadType(f"Gaussian: expected learned as True or False, got {learned!r}")
        self.logvar = nn.Parameter(torch.tensor(float(logvar)), requires_grad=learned)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return DiagonalNormal(raw, self.logvar.expand_as(raw))

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        eps = torch.empty_like(raw).normal_(generator=generator)
        return raw + torch.exp(0.5 * self.logvar) * eps

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """As a matrix product: the square of the distance is a sum of two norms and a product.

        They cancel where x is likely, and what is left is divided by the variance, so they are
        computed in double precision.
        """
        # Apple's GPUs have none: there a common shift takes away what it can.
        wide = raw.dtype if raw.device.type == "mps" else torch.float64
        a, b = x.to(wide), raw.to(wide)
        centre = b.mean(0).detach()
        a, b = a - centre, b - centre
        squared = a.square().sum(-1, keepdim=True) - 2 * a @ b.mT + b.square().sum(-1)
        constant = x.shape[-1] * (math.log(2 * math.pi) + self.logvar)
        return -0.5 * ((squared * torch.exp(-self.logvar)).to(raw.dtype) + constant)


class _Levels(constraints.Constraint):
    """Multiples of 1 / (levels - 1) in [0, 1], as single precision rounds them."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.top = levels - 1

    def check(self, value: Tensor) -> Tensor:
        # v / 255 times 255 misses v by 3e-5 at most in float32, by 0.4 where x is any real number.
        level = value * self.top
        return ((level - level.round()).abs() < 1e-3) & (level > -0.5) & (level < self.top + 0.5)


@rebuildable
class Categorical(Likelihood):
    """p(x | z) of grey pixels by their level, x = v / 255 with v in 0 … 255.

    A probability for each of the 256 levels, without an order or a shape between them: the only one
    of these likelihoods that can say "black or white, nothing between". The decoder's output is the
    logits, those of one pixel side by side: `vaelib.nets.MLPDecoder` has ``levels``.

    Args:
        levels: how many there are; x is then a multiple of 1 / (levels - 1).

    Raises:
        ValueError: if there are fewer than two.

    References:
        Van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks
        (arXiv:1601.06759), section 3.3, for pixels as levels.

    >>> raw = torch.zeros(5, 784 * 256)
    >>> Categorical()(raw).log_prob(torch.zeros(5, 784))[0] / 784  # minus log 256
    tensor(-5.5452)
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        require_sizes("Categorical", levels=levels)
        if levels < 2:
            raise BadValue(f"Categorical: expected at least 2 levels, got {levels}")
        self.per_pixel = levels
        self.support = _Levels(levels)
        self.remedy = (
            f"multiples of 1/{levels - 1} in [0, 1] (vaelib.data.binarize(…, 'none') gives those "
            f"of 1/255)"
        )

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(GreyLevel(raw.unflatten(-1, (-1, self.per_pixel))), 1)

    def prepare(  # noqa: D102
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x, top = super().prepare(pixels, generator=generator), self.per_pixel - 1
        return (x * top).round() / top

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        p = raw.unflatten(-1, (-1, self.per_pixel)).softmax(-1)
        level = torch.multinomial(p.flatten(0, -2), 1, generator=generator)
        return level.view(p.shape[:-1]).to(raw.dtype) / (self.per_pixel - 1)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"levels={self.per_pixel}"
