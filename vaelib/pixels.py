"""Distributions of one grey pixel in [0, 1] that torch lacks, or has wrong: a density, and levels.

`vaelib.likelihood` makes them of what a decoder returns.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import relu

__all__ = ["GreyLevel", "TruncatedExponential", "log_mean_decay"]


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
        return -(down * value + up * (1 - value)) - log_mean_decay(up + down)

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


def log_mean_decay(a: Tensor) -> Tensor:
    r"""$\log \int_0^1 e^{-a t}\, dt = \log((1 - e^{-a}) / a)$ for a ≥ 0.

    >>> log_mean_decay(torch.tensor([0.0, 1.0, 1000.0]))  # at last minus log a
    tensor([ 0.0000, -0.4587, -6.9078])
    """
    low, high, near = _split(a)
    # In single precision three terms are as good as seven, and a step of training is shorter.
    terms = _SERIES[:3] if a.dtype == torch.float32 else _SERIES
    square = low.square()
    series = square * _polynomial(square, [c for _, c in terms]) - 0.5 * low
    return torch.where(near, series, torch.log(-torch.expm1(-high) / high))


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
        """The mean of x, in [0, 1]."""
        return self.logits.softmax(-1) @ self.values

    @property
    def variance(self) -> Tensor:
        """The variance of x."""
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
