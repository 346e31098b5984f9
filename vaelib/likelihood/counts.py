"""Likelihoods of counts: Poisson, and negative binomial where counts vary more than that."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from vaelib.arguments import BadType, BadValue, require_number, require_sizes
from vaelib.counts import MeasuredNegativeBinomial, MeasuredPoisson
from vaelib.data import Columns, Kind, Layout
from vaelib.likelihood.family import Likelihood, require_kind
from vaelib.likelihood.measured import moments
from vaelib.recipe import rebuildable

__all__ = ["NegativeBinomial", "Poisson"]

_LARGEST = 2**24  # up to here float32 has every whole number


class _WholeNumbers(constraints.Constraint):
    """0, 1, 2, …; torch's own constraint of this kind lets infinity through."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value >= 0) & (value == value.round()) & (value <= _LARGEST)


class _Counts(Likelihood):
    """Counts whose mean is factor · exp(raw): factor is the mean of the rows to train on."""

    kinds: ClassVar[tuple[Kind, ...]] = ("counts", "numbers")
    support = _WholeNumbers()
    remedy = "whole numbers from 0 to 2²⁴ (--likelihood gaussian takes any numbers)"

    def __init__(self, features: int) -> None:
        super().__init__()
        require_sizes(type(self).__name__, features=features)
        self.size = features
        self.factor: Tensor
        self.measured: Tensor
        self.register_buffer("factor", torch.ones(features))
        self.register_buffer("measured", torch.tensor(False))

    @classmethod
    def for_layout(cls, layout: Layout, kind: Kind = "counts") -> "Likelihood":  # noqa: ARG003
        """A unit for each column of a table; one for all values of a picture."""
        features = layout.values if isinstance(layout, Columns) else 1
        return cls(**cls.command_line, features=features)

    def measure(self, values: Any) -> None:
        """Take the mean count of each feature from the rows to train on; 1 if there are none."""
        mean = moments(values, self.size).mean.nan_to_num(0.0)
        self.factor.copy_(torch.where(mean > 0, mean, 1.0))
        self.measured.fill_(True)

    def features(self, x: Tensor) -> Tensor:
        """log(1 + x / factor): counts of many magnitudes, each from 0 to about 10."""
        return torch.log1p(x / self.factor)

    def prepare(
        self,
        pixels: Tensor,
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "*batch pixel"]:
        """Counts as they are, in float32, which has all whole numbers up to 2²⁴."""
        require_kind(self, pixels)
        x = pixels.float()
        if x.device.type == "cpu" and not self.support.check(x).all():
            raise BadValue(
                f"{type(self).__name__}: expected {self.remedy}, got values from {x.min():.6g} to "
                f"{x.max():.6g}",
                "likelihood",
            )
        return x

    def example(self, n: int, pixels: int, *, generator: torch.Generator | None = None) -> Tensor:
        rate = 4 * self.factor.cpu() * torch.rand(n, pixels, generator=generator)
        return torch.poisson(rate, generator=generator)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"features={self.size}"

    def _require_size(self, raw: Tensor) -> None:
        if self.size != 1 and self.size != raw.shape[-1]:
            raise BadValue(
                f"{type(self).__name__}: expected raw numbers for {self.size} features, got "
                f"{raw.shape[-1]}; make it with features={raw.shape[-1]}, or with features=1 for "
                f"one unit of all values"
            )


@rebuildable
class Poisson(_Counts):
    r"""p(x | z) of counts whose variance is their mean, $\lambda_j = \text{factor}_j e^{raw_j}$.

    $$\log p(x_j \mid z) = x_j \log\lambda_j - \lambda_j - \log x_j!$$

    Args:
        features: how many values x has, each with a unit (factor) of its own; 1 for one of all.

    Raises:
        TypeError, ValueError: if features is no whole number of at least 1.

    >>> Poisson()(torch.zeros(2)).log_prob(torch.tensor([0.0, 1.0]))  # -1 and -1
    tensor(-2.)
    """

    def __init__(self, features: int = 1) -> None:
        super().__init__(features)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        self._require_size(raw)
        return Independent(MeasuredPoisson(raw, self.factor), 1)


@rebuildable
class NegativeBinomial(_Counts):
    r"""p(x | z) of counts of mean $\mu_j$ that vary more than Poisson's, by $\mu_j + \mu_j^2/r_j$.

    $$p(x_j \mid z) = \frac{\Gamma(x_j + r_j)}{\Gamma(r_j)\, x_j!}
      \Big(\frac{r_j}{r_j + \mu_j}\Big)^{r_j} \Big(\frac{\mu_j}{r_j + \mu_j}\Big)^{x_j}, \qquad
      \mu_j = \text{factor}_j e^{raw_j}$$

    The r of each feature is learned: the smaller, the more its counts vary; where they do not, it
    grows without bound, and the counts become Poisson's.

    Args:
        total_count: r, where it starts, above 0; torch's name for it.
        learned: False keeps it there.
        features: how many values x has, each with a unit and an r of its own; 1 for one of all.

    Raises:
        TypeError, ValueError: if total_count is no finite number above 0, learned not True or
            False, features no whole number of at least 1.

    References:
        Lopez et al., Deep Generative Modeling for Single-Cell Transcriptomics (2018), for mean and
        inverse dispersion as its parameters.

    >>> p = NegativeBinomial(total_count=2.0, learned=False)(torch.tensor([10.0]).log())
    >>> p.mean, p.variance  # 10 + 10² / 2, where Poisson's would be 10
    (tensor([10.]), tensor([60.]))
    """

    def __init__(
        self, total_count: float = 1.0, *, learned: bool = True, features: int = 1
    ) -> None:
        super().__init__(features)
        require_number("NegativeBinomial", "total_count", total_count)
        if total_count <= 0:
            raise BadValue(
                f"NegativeBinomial: expected total_count above 0, got {total_count}", "total_count"
            )
        if not isinstance(learned, bool):
            raise BadType(f"NegativeBinomial: expected learned as True or False, got {learned!r}")
        start = torch.full((features,), float(total_count)).log()
        self.log_total_count = nn.Parameter(start, requires_grad=learned)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        self._require_size(raw)
        return Independent(MeasuredNegativeBinomial(raw, self.log_total_count, self.factor), 1)
