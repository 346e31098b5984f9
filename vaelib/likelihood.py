"""Likelihoods p(x | z): what a decoder's raw output says about the pixels, as a distribution.

A likelihood fits its data: `Bernoulli` binarized pixels, `ContinuousBernoulli` or `Gaussian` grey
ones, `Categorical` grey ones by their level. It prepares them itself (`Likelihood.prepare`), so
that nobody trains a density on zeros and ones by mistake. Each has its normalizing constant, so
that log p(x | z) is a log-probability or log-density in nats. Densities of grey values and
probabilities of grey levels are not to be compared: the first may be above 1. To add one, subclass
`Likelihood`.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent, constraints
from torch.nn.functional import relu, softplus

from vaelib.data import Binarization, binarize
from vaelib.kl import DiagonalNormal
from vaelib.nets import require_number, require_sizes

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Gaussian",
    "GreyLevel",
    "Likelihood",
    "TruncatedExponential",
]


class Likelihood(nn.Module):
    """A family p(x | z), independent over pixels, whose parameters are a decoder's raw output.

    Attributes:
        support: what x may be.
        remedy: the same in words, for the error message.
        per_pixel: how many numbers a decoder returns for one pixel, side by side in its output:
            ``raw`` is ``[*batch, pixels * per_pixel]``.
        binarization: how ``uint8`` pixels become x, by the name that `vaelib.data.binarize` has for
            it.
    """

    support: constraints.Constraint
    remedy: str
    per_pixel: int = 1
    binarization: Binarization = "none"

    def forward(self, raw: Tensor) -> Distribution:
        """p(x | z) from raw ``[*batch, pixels * per_pixel]``; ``log_prob`` sums over pixels."""
        raise NotImplementedError

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """One x per row of raw."""
        raise NotImplementedError

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

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x | z) in nats of every x ``[batch, pixel]`` with every raw, ``[cells, …]``."""
        return self(raw).log_prob(x[:, None])


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
        return -(x @ down.mT + (1 - x) @ up.mT) - _log_mean_decay(up + down).sum(-1)


class TruncatedExponential(Distribution):
    r"""The density on [0, 1] proportional to $e^{\ell x}$: a continuous Bernoulli, by its logit.

    $$\log p(x) = \ell x - \log\frac{e^\ell - 1}{\ell}
      = -|\ell|\, d - \log\frac{1 - e^{-|\ell|}}{|\ell|}$$

    with d the distance of x from the edge that the logit favours. The second form is computed:
    nothing in it overflows, and no two large numbers are subtracted. Below $|\ell| = \frac12$,
    where the derivatives of the quotient cancel, its logarithm is a series. So value and gradient
    are exact at every finite logit. torch's class clamps the probability instead: in float32 its
    density no longer integrates to one beyond a logit of 16.

    Args:
        logits: $\ell$, any real number, shape ``[*batch]``.

    Its ``log_prob`` takes x in [0, 1], without a check, and returns nats.

    >>> p = TruncatedExponential(torch.tensor(100.0))
    >>> p.mean, p.log_prob(torch.tensor(1.0))  # 1 - 1/100, and log 100 at the edge
    (tensor(0.9900), tensor(4.6052))
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012
    support = constraints.unit_interval

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        r"""The mean of x, $1/|\ell|$ from the favoured edge where the logit is large."""
        low, high, near = _split(_rate(self.logits))
        series = 0.5 - low * _polynomial(low.square(), [2 * k * c for k, c in _SERIES])
        distance = torch.where(near, series, 1 / high + torch.exp(-high) / torch.expm1(-high))
        return torch.where(self.logits > 0, 1 - distance, distance)

    @property
    def variance(self) -> Tensor:
        r"""The variance of x, 1/12 at a logit of 0 and $1/\ell^2$ at a large one."""
        low, high, near = _split(_rate(self.logits))
        series = _polynomial(low.square(), [2 * k * (2 * k - 1) * c for k, c in _SERIES])
        far = high**-2 - torch.exp(-high) / torch.expm1(-high).square()
        return torch.where(near, series, far)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density of x in [0, 1], in nats."""
        up = relu(self.logits)
        down = up - self.logits
        return -(down * value + up * (1 - value)) - _log_mean_decay(up + down)

    def icdf(self, value: Tensor) -> Tensor:
        """The x below which the share ``value`` of the probability lies, value in [0, 1]."""
        # The share (1 - e^(-a d)) / (1 - e^(-a)) is nearer to the favoured edge than d. As a falls
        # to 0 it becomes d, and a tiny a does for none.
        a = _rate(self.logits).clamp(min=torch.finfo(self.logits.dtype).tiny ** 0.5)
        share = torch.where(self.logits > 0, 1 - value, value)
        rest = torch.where(self.logits > 0, value, 1 - value)  # keeps the digits of a tiny value
        gone = -share * torch.expm1(-a)
        mostly = torch.logaddexp(rest.log(), share.log() - a)  # where 1 - gone would cancel
        left = torch.where(gone < 0.5, torch.log1p(-gone), mostly)
        distance = (-left / a).clamp(max=1)
        return torch.where(self.logits > 0, 1 - distance, distance)

    def sample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
        """x of shape ``[*sample_shape, *batch]``, by torch's own generator, without a gradient."""
        with torch.no_grad():
            uniform = self.logits.new_empty(self._extended_shape(torch.Size(sample_shape)))
            return self.icdf(uniform.uniform_())

    def expand(
        self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: None = None
    ) -> "TruncatedExponential":
        """The same distribution for a larger batch."""
        return TruncatedExponential(self.logits.expand(batch_shape))


# (k, c) of log((sinh ½a) / ½a) = Σ c a²ᵏ, c = B₂ₖ / (2k (2k)!) with the Bernoulli numbers B₂ … B₁₄:
# below ½ the rest is under 1e-17.
_SERIES = [
    (k, b / (2 * k * math.factorial(2 * k)))
    for k, b in enumerate((1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6), start=1)
]


def _rate(logits: Tensor) -> Tensor:
    """The absolute value, whose slope at 0 is -1 and not 0, so that at 0 one side is taken."""
    return 2 * relu(logits) - logits


def _split(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """a for the series, 0 where it is too large; for the quotient, 1 where too small; which."""
    near = a < 0.5
    return torch.where(near, a, 0.0), torch.where(near, 1.0, a), near


def _polynomial(s: Tensor, coefficients: list[float]) -> Tensor:
    total = torch.full_like(s, coefficients[-1])
    for c in reversed(coefficients[:-1]):
        total = total * s + c
    return total


def _log_mean_decay(a: Tensor) -> Tensor:
    r"""$\log \int_0^1 e^{-a t}\, dt = \log((1 - e^{-a}) / a)$ for a ≥ 0."""
    low, high, near = _split(a)
    # In single precision three terms are as good as seven, and a step of training is shorter.
    terms = _SERIES[:3] if a.dtype == torch.float32 else _SERIES
    square = low.square()
    series = square * _polynomial(square, [c for _, c in terms]) - 0.5 * low
    return torch.where(near, series, torch.log(-torch.expm1(-high) / high))


class _Finite(constraints.Constraint):
    """Real numbers; torch's own constraint of this name lets infinity through."""

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite()


class Gaussian(Likelihood):
    r"""p(x | z) = N(raw, σ² I) of real pixels, with its constant.

    Args:
        logvar: $\log\sigma^2$, where it starts.
        learned: False keeps it there.

    Raises:
        TypeError, ValueError: if they are no finite number and no True or False.
    """

    support = _Finite()
    remedy = "real numbers, neither infinite nor nan"

    def __init__(self, logvar: float = 0.0, *, learned: bool = True) -> None:
        super().__init__()
        require_number("Gaussian", "logvar", logvar)
        if not isinstance(learned, bool):
            raise TypeError(f"Gaussian: expected learned as True or False, got {learned!r}")
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


class GreyLevel(Distribution):
    r"""One of L equally spaced values in [0, 1], $x = v / (L - 1)$, by the logits of v.

    Args:
        logits: unnormalized log-probabilities, shape ``[*batch, L]``.

    Its ``log_prob`` takes x, not v, of shape ``[*batch]``, and returns nats. Without a check of x:
    a value between two levels counts as the nearer one.

    >>> GreyLevel(torch.zeros(256)).log_prob(torch.tensor(7 / 255)).exp() * 256
    tensor(1.)
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self.levels = logits.shape[-1]
        super().__init__(logits.shape[:-1], validate_args=False)

    @property
    def values(self) -> Tensor:
        """The L values that x can have."""
        return torch.arange(self.levels).to(self.logits) / (self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """Of x, in [0, 1]."""
        return self.logits.softmax(-1) @ self.values

    @property
    def variance(self) -> Tensor:
        """Of x."""
        deviation = self.values - self.mean[..., None]
        return (self.logits.softmax(-1) * deviation.square()).sum(-1)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "GreyLevel":
        """The same levels for each of a batch, without a copy."""
        return GreyLevel(self.logits.expand(*batch_shape, self.levels))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Values of x, shape ``[*sample_shape, *batch]``, drawn by torch's own generator."""
        shape = (*sample_shape, *self.batch_shape)
        with torch.no_grad():
            p = self.logits.softmax(-1).expand(*shape, self.levels)
            level = torch.multinomial(p.reshape(-1, self.levels), 1)
        return self.values[level.view(shape)]

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-probability of the level of x."""
        level = (value * (self.levels - 1)).round().long()
        shape = torch.broadcast_shapes(level.shape, self.batch_shape)
        logits = self.logits.expand(*shape, self.levels)
        chosen = logits.gather(-1, level.expand(shape)[..., None]).squeeze(-1)
        return chosen - self.logits.logsumexp(-1)


class _Levels(constraints.Constraint):
    """Multiples of 1 / (levels - 1) in [0, 1], as single precision rounds them."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.top = levels - 1

    def check(self, value: Tensor) -> Tensor:
        # v / 255 times 255 misses v by 3e-5 at most in float32, by 0.4 where x is any real number.
        level = value * self.top
        return ((level - level.round()).abs() < 1e-3) & (level > -0.5) & (level < self.top + 0.5)


class Categorical(Likelihood):
    """p(x | z) of grey pixels by their level, x = v / 255 with v in 0 … 255.

    A probability for each of the 256 levels, without an order or a shape between them: the only one
    of these likelihoods that can say "black or white, nothing between". The decoder's output is the
    logits, those of one pixel side by side; `vaelib.nets.LevelsDecoder` is one.

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
            raise ValueError(f"Categorical: expected at least 2 levels, got {levels}")
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
