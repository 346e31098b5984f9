"""Distributions of a real number in units of its own: a normal and Student's t, exact in float32.

`vaelib.likelihood.Gaussian` and `vaelib.likelihood.StudentT` make them of what a decoder returns.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

__all__ = ["MeasuredNormal", "MeasuredStudentT", "log_gamma_step"]


class _Measured(Distribution):
    r"""x = shift + factor · y, where y has a location and a scale: $y = \ell + e^{v/2}\, u$.

    $$\log p(x) = \log p_u(u) - \tfrac12 v - \log\text{factor}, \qquad
      u = \Big(\frac{x - \text{shift}}{\text{factor}} - \ell\Big)\, e^{-v/2}$$

    The location of x itself, shift + factor · ℓ, is never formed for it: where x is a million and
    varies by one, float32 would round that to a sixteenth. shift and factor are constants of the
    data and have no gradient.

    Args:
        loc: of y, ``[*batch]``.
        logvar: $v$, twice the log of y's scale; it broadcasts to loc, as shift and factor do.
        shift, factor: x's zero and unit; factor is positive.
    """

    arg_constraints = {"loc": constraints.real}  # noqa: RUF012
    support = constraints.real

    def __init__(self, loc: Tensor, logvar: Tensor, shift: Tensor, factor: Tensor) -> None:
        self.loc, self.logvar = loc, logvar
        self.shift, self.factor = shift, factor
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The mean of x, which is its location."""
        return self.shift + self.factor * self.loc

    @property
    def variance(self) -> Tensor:
        """The variance of x, infinite where it has none."""
        scale = self.factor * torch.exp(0.5 * self.logvar)
        return (scale.square() * self._spread()).expand_as(self.loc)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density of x, in nats."""
        y = (value - self.shift) / self.factor - self.loc
        # By the root of 1/σ twice: 1/σ itself may be infinite in float32, and y zero.
        root = torch.exp(-0.25 * self.logvar)
        return self._standard(y * root * root) - (0.5 * self.logvar + self.factor.log())

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """x of shape ``[*sample_shape, *batch]``, by torch's own generator, without a gradient."""
        with torch.no_grad():
            u = self._draw(self._extended_shape(torch.Size(sample_shape)))
            return self.shift + self.factor * (self.loc + torch.exp(0.5 * self.logvar) * u)

    def _standard(self, u: Tensor) -> Tensor:
        raise NotImplementedError

    def _spread(self) -> Tensor | float:
        """The variance of u."""
        raise NotImplementedError

    def _draw(self, shape: torch.Size) -> Tensor:
        raise NotImplementedError


class MeasuredNormal(_Measured):
    """x = shift + factor · y, y normal with mean loc and variance exp(logvar).

    >>> one = torch.ones(())
    >>> p = MeasuredNormal(0 * one, 0 * one, shift=1e6 * one, factor=1e3 * one)
    >>> p.log_prob(torch.tensor(1e6))  # -½ log 2π - log 1000
    tensor(-7.8267)
    """

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "MeasuredNormal":
        """The same for each of a batch, without a copy."""
        return MeasuredNormal(self.loc.expand(batch_shape), self.logvar, self.shift, self.factor)

    def _standard(self, u: Tensor) -> Tensor:
        return -0.5 * (u.square() + math.log(2 * math.pi))

    def _spread(self) -> float:
        return 1.0

    def _draw(self, shape: torch.Size) -> Tensor:
        return self.loc.new_empty(shape).normal_()


class MeasuredStudentT(_Measured):
    r"""x = shift + factor · y, y Student's t with df degrees of freedom, loc and scale.

    $$\log p_u(u) = \log\frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac\nu2) \sqrt{\nu\pi}}
      - \frac{\nu + 1}{2} \log\Big(1 + \frac{u^2}{\nu}\Big)$$

    Args:
        df: ν > 0, the degrees of freedom; it broadcasts to loc. The scale's square is exp(logvar),
            which is not the variance.

    >>> one = torch.ones(())
    >>> MeasuredStudentT(one, 0 * one, 0 * one, one, df=one).log_prob(one)  # Cauchy: 1/π
    tensor(-1.1447)
    """

    def __init__(
        self, loc: Tensor, logvar: Tensor, shift: Tensor, factor: Tensor, *, df: Tensor
    ) -> None:
        self.df = df
        super().__init__(loc, logvar, shift, factor)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "MeasuredStudentT":
        """The same for each of a batch, without a copy."""
        loc = self.loc.expand(batch_shape)
        return MeasuredStudentT(loc, self.logvar, self.shift, self.factor, df=self.df)

    @property
    def mean(self) -> Tensor:
        """The location, which is the mean where df is above 1; nan elsewhere."""
        return torch.where(self.df > 1, super().mean, torch.nan)

    def _standard(self, u: Tensor) -> Tensor:
        # u² overflows where its logarithm does not.
        w = (u / self.df.sqrt()).abs()
        far = w > 1e3
        near = torch.log1p(torch.where(far, 0.0, w).square())
        high = torch.where(far, w, 1.0)
        log1p = torch.where(far, 2 * high.log() + torch.log1p(high**-2), near)
        # Of the two logarithms of Γ, a million each for a df of 10⁵, only the difference counts.
        constant = log_gamma_step(0.5 * self.df) - 0.5 * (self.df.log() + math.log(math.pi))
        return constant - 0.5 * (self.df + 1) * log1p

    def _spread(self) -> Tensor:
        finite = self.df > 2
        nu = torch.where(finite, self.df, 3.0)
        return torch.where(finite, nu / (nu - 2), torch.inf)

    def _draw(self, shape: torch.Size) -> Tensor:
        normal = self.loc.new_empty(shape).normal_()
        half = 0.5 * self.df.expand(shape)
        # χ² / ν, which a tiny ν may round to 0: the smallest number then stands for it.
        mean_square = torch._standard_gamma(half) / half
        return normal * mean_square.clamp(min=torch.finfo(half.dtype).tiny).rsqrt()


# log Γ(a + ½) - log Γ(a) = ½ log a + Σ cₖ a^(1 - 2k), from the expansion of Tricomi and Erdélyi
# (1951) of the ratio; from 12 on the rest is below 2e-16.
_STEP = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224)


def log_gamma_step(a: Tensor) -> Tensor:
    r"""$\log\Gamma(a + \frac12) - \log\Gamma(a)$ for a > 0, without a difference of large numbers.

    >>> log_gamma_step(torch.tensor([0.5, 1e10]))  # -½ log π; ½ log 10¹⁰
    tensor([-0.5724, 11.5129])
    """
    high = a + 12
    inverse = 1 / high
    square = inverse.square()
    series = torch.full_like(high, _STEP[-1])
    for c in _STEP[-2::-1]:
        series = series * square + c
    below = torch.stack([torch.log1p(0.5 / (a + k)) for k in range(12)]).sum(0)
    return 0.5 * high.log() + series * inverse - below
