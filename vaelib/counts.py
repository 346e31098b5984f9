"""Distributions of a count, 0, 1, 2, …, by the logarithm of its mean: exact in float32 too.

torch's add and subtract logarithms of factorials, of which float32 has no digits left in a count of
a million. Here each is a deviance, which is 0 where the count is the mean, and what is left of
Stirling's formula: Loader's form (2000), that R computes.

`vaelib.likelihood.Poisson` and `vaelib.likelihood.NegativeBinomial` make them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

__all__ = ["MeasuredNegativeBinomial", "MeasuredPoisson", "expm1_less", "stirling_rest"]

_LIMIT = 60.0
_LARGEST = 2.0**62  # of a rate that torch draws a count of, as a whole number of 64 bits


class MeasuredPoisson(Distribution):
    r"""A count with the mean $\lambda = \text{factor} \cdot e^{\ell}$.

    $$\log p(x) = x \log\lambda - \lambda - \log x!
      = -x\,(e^t - 1 - t) - \tfrac12 \log(2\pi x) - \delta(x), \qquad t = \log(\lambda / x)$$

    The second form, with $\delta$ the rest of Stirling's formula, is computed for x > 0.

    Args:
        log_rate: $\ell$, ``[*batch]``, the logarithm of the mean in units of factor.
        factor: positive; it broadcasts to log_rate and has no gradient.

    >>> p = MeasuredPoisson(torch.zeros(1), torch.tensor(1e8))
    >>> p.log_prob(torch.tensor([1e8]))  # -½ log 2π10⁸
    tensor([-10.1293])
    """

    arg_constraints = {"log_rate": constraints.real}  # noqa: RUF012
    support = constraints.nonnegative_integer

    def __init__(self, log_rate: Tensor, factor: Tensor) -> None:
        self.log_rate, self.factor = log_rate, factor
        super().__init__(log_rate.shape, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "MeasuredPoisson":
        """The same for each of a batch, without a copy."""
        return MeasuredPoisson(self.log_rate.expand(batch_shape), self.factor)

    @property
    def mean(self) -> Tensor:
        """The rate λ."""
        return self.factor * self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        """The rate λ, again."""
        return self.mean

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-probability of a count, in nats."""
        some = value > 0
        x = torch.where(some, value, 1.0)
        # Where there is none, -λ: t is not needed, and 0 there, so that nothing overflows.
        t = torch.where(some, self.log_rate, 0.0) - torch.where(some, (x / self.factor).log(), 0.0)
        counted = -x * expm1_less(t) - 0.5 * torch.log(2 * math.pi * x) - stirling_rest(x)
        none = -self.factor * torch.where(some, 0.0, self.log_rate).exp()
        return torch.where(some, counted, none)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts of shape ``[*sample_shape, *batch]``, by torch's own generator."""
        with torch.no_grad():
            rate = self.mean.expand(self._extended_shape(torch.Size(sample_shape)))
            return torch.poisson(rate.clamp(max=_LARGEST).contiguous())


class MeasuredNegativeBinomial(Distribution):
    r"""A count with the mean $\mu = \text{factor} \cdot e^\ell$ and the variance $\mu + \mu^2/r$.

    $$p(x) = \frac{\Gamma(x + r)}{\Gamma(r)\, x!}
      \Big(\frac{r}{r + \mu}\Big)^r \Big(\frac{\mu}{r + \mu}\Big)^x$$

    A Poisson count whose rate has a Gamma distribution of shape r; as r grows, a Poisson count.

    Args:
        log_mean: $\ell$, ``[*batch]``, the logarithm of the mean in units of factor.
        log_total_count: $\log r$; torch calls r ``total_count``, though it is any positive number,
            and scVI the inverse dispersion. It broadcasts to log_mean, as factor does.
        factor: positive, without a gradient.

    >>> zero = torch.zeros(1)
    >>> MeasuredNegativeBinomial(zero, zero, zero + 1).log_prob(zero).exp()  # r / (r + μ)
    tensor([0.5000])
    """

    arg_constraints = {"log_mean": constraints.real}  # noqa: RUF012
    support = constraints.nonnegative_integer

    def __init__(self, log_mean: Tensor, log_total_count: Tensor, factor: Tensor) -> None:
        self.log_mean, self.factor = log_mean, factor
        # At e^60 a Poisson count, at e^-60 none or very many; no quotient overflows between.
        self.log_total_count = log_total_count.clamp(-_LIMIT, _LIMIT)
        super().__init__(log_mean.shape, validate_args=False)

    def expand(
        self, batch_shape: Sequence[int], _instance: object = None
    ) -> "MeasuredNegativeBinomial":
        """The same for each of a batch, without a copy."""
        log_mean = self.log_mean.expand(batch_shape)
        return MeasuredNegativeBinomial(log_mean, self.log_total_count, self.factor)

    @property
    def mean(self) -> Tensor:
        """The mean μ."""
        return self.factor * self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """μ + μ² / r."""
        return self.mean + self.mean.square() * (-self.log_total_count).exp()

    def log_prob(self, value: Tensor) -> Tensor:
        r"""The log-probability of a count, in nats.

        With $n = x + r$, $D = \log\frac{n}{r + \mu}$ and $\psi(t) = e^t - 1 - t$, for x > 0

        $$\log p(x) = -r\,\psi(D) - x\,\psi(D + \log\tfrac{\mu}{x})
          + \delta(n) - \delta(r) - \delta(x) + \tfrac12 \log\frac{r}{2 \pi x n}$$
        """
        some = value > 0
        x = torch.where(some, value, 1.0)
        log_r = self.log_total_count
        log_mu = self.log_mean + self.factor.log()
        none = -log_r.exp() * _log1p_exp(log_mu - log_r)
        return torch.where(some, self._counted(x, log_r, log_mu), none)

    def _counted(self, x: Tensor, log_r: Tensor, log_mu: Tensor) -> Tensor:
        r = log_r.exp()
        whole = torch.logaddexp(log_r, log_mu)  # log(r + μ)
        # n / (r + μ) - 1, by which D keeps its digits where the count is near its mean.
        part = (x.log() - whole).clamp(max=9.0).exp() - (log_mu - whole).exp()
        close = part.abs() < 0.5
        near = torch.log1p(torch.where(close, part, 0.0))
        d = torch.where(close, near, torch.logaddexp(log_r, x.log()) - whole)
        # Its exponent is D + log μ/x, two sums of large logarithms where r is small beside them.
        few = torch.log1p(r / x) - _log1p_exp(log_r - log_mu)
        t = torch.where(r < x, few, d + self.log_mean - (x / self.factor).log())
        deviance = r * expm1_less(d) + x * expm1_less(t)
        rests = stirling_rest(x + r) - stirling_rest(r) - stirling_rest(x)
        return rests - deviance - 0.5 * (torch.log(2 * math.pi * x) + torch.log1p(x / r))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Counts of shape ``[*sample_shape, *batch]``, by torch's own generator."""
        with torch.no_grad():
            shape = self._extended_shape(torch.Size(sample_shape))
            r = self.log_total_count.exp().expand(shape)
            rate = torch._standard_gamma(r.contiguous()) / r * self.mean
            return torch.poisson(rate.clamp(max=_LARGEST))


def _log1p_exp(t: Tensor) -> Tensor:
    """log(1 + eᵗ); torch's softplus is t itself above 20, which is 2e-9 off."""
    return torch.logaddexp(t, torch.zeros_like(t))


_POWERS = [2 / math.factorial(k) for k in range(2, 16)]  # ψ(t) = ½ t² Σ 2 tᵏ / (k + 2)!


def expm1_less(t: Tensor) -> Tensor:
    r"""$\psi(t) = e^t - 1 - t \ge 0$, whose two parts cancel near 0: there by its series.

    >>> expm1_less(torch.tensor([1e-4, 1.0]))  # ½ t²; e - 2
    tensor([5.0002e-09, 7.1828e-01])
    """
    near = t.abs() < 0.5
    low, high = torch.where(near, t, 0.0), torch.where(near, 1.0, t)
    series = torch.full_like(low, _POWERS[-1])
    for c in _POWERS[-2::-1]:
        series = series * low + c
    return torch.where(near, 0.5 * low.square() * series, torch.expm1(high) - high)


# δ(x) = Σ B₂ₖ / (2k (2k - 1) x^(2k - 1)); from 10 on the rest is below 1e-14.
_STIRLING = [1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156]


def stirling_rest(x: Tensor) -> Tensor:
    r"""$\delta(x) = \log\Gamma(x + 1) - \log\big(\sqrt{2 \pi x}\,(x / e)^x\big)$, for x > 0.

    About 1 / (12 x).

    >>> stirling_rest(torch.tensor([1.0, 1e6]))  # 1 - ½ log 2π; 1 / (12 · 10⁶)
    tensor([8.1061e-02, 8.3333e-08])
    """
    far = x >= 10
    high = torch.where(far, x, 10.0)
    low = torch.where(far, 1.0, x)
    # lgamma of a number below 11 is below 16: what cancels is a few units in the last place of it.
    direct = torch.lgamma(low + 1) - (low + 0.5) * low.log() + low - 0.5 * math.log(2 * math.pi)
    inverse = 1 / high
    square = inverse.square()
    series = torch.full_like(high, _STIRLING[-1])
    for c in _STIRLING[-2::-1]:
        series = series * square + c
    return torch.where(far, series * inverse, direct)
