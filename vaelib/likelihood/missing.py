"""A likelihood of data with holes: only what is seen counts."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, constraints

from vaelib.arguments import BadType
from vaelib.data import Kind
from vaelib.likelihood.family import Likelihood
from vaelib.recipe import rebuildable

__all__ = ["Missing"]


@rebuildable
class Missing(Likelihood):
    r"""p(x | z) of data in which values are missing, NaN: that of another, of what is seen.

    $$\log p(x_{\text{seen}} \mid z) = \sum_{j\ \text{seen}} \log p(x_j \mid z)$$

    It is the exact likelihood where holes do not depend on the values that they hide. An encoder is
    given the features with 0 in the holes and, beside them, 1 where a value is seen and 0 where it
    is not: ``inputs(pixels)`` numbers, twice as many, since a value of 0 is not a missing one.

    Args:
        likelihood: of one value after another, as all of `vaelib.likelihood` are. Of a coloured
            pixel under `Logistics` no channel may be seen behind a missing one.

    Raises:
        TypeError: if it is no likelihood, or none with a log-probability of each value.

    References:
        Mattei and Frellsen, MIWAE (arXiv:1812.02633), for the ELBO with holes.

    >>> from vaelib.likelihood import Gaussian
    >>> family = Missing(Gaussian())
    >>> x = torch.tensor([[0.0, torch.nan], [0.0, 0.0]])
    >>> family(torch.zeros(2, 2)).log_prob(x)  # -½ log 2π for each value that is seen
    tensor([-0.9189, -1.8379], grad_fn=<SumBackward1>)
    """

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        if not isinstance(likelihood, Likelihood) or isinstance(likelihood, Missing):
            raise BadType(
                f"Missing: expected a likelihood of vaelib.likelihood, Gaussian() say, got "
                f"{type(likelihood).__name__}"
            )
        self.likelihood = likelihood
        self.per_pixel = likelihood.per_pixel
        self.binarization = likelihood.binarization
        self.support = _SomeMissing(likelihood)
        self.remedy = f"{likelihood.remedy}; or NaN where a value is missing"

    @property
    def kinds(self) -> tuple[Kind, ...]:  # type: ignore[override]
        """Those of the other."""
        return self.likelihood.kinds

    @property
    def measured(self) -> Tensor | bool:
        """Whether the other took its units from data, if it does."""
        return getattr(self.likelihood, "measured", True)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return _Seen(self.likelihood, raw)

    def width(self, pixels: int) -> int:  # noqa: D102
        return self.likelihood.width(pixels)

    def measure(self, values: Any) -> None:
        """Of what is seen."""
        self.likelihood.measure(values)

    def features(self, x: Tensor) -> Tensor:
        """The other's, 0 where x is missing, and beside them 1 where x is seen, 0 elsewhere."""
        seen = ~x.isnan()
        given = self.likelihood.features(filled(x))
        if given.shape == x.shape:
            given = torch.where(seen, given, 0.0)
        return torch.cat((given, seen.to(given.dtype)), -1)

    def inputs(self, pixels: int) -> int:  # noqa: D102
        return self.likelihood.inputs(pixels) + pixels

    def prepare(
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch pixel"]:
        """As the other does, of what is seen; NaN stays NaN."""
        x = self.likelihood.prepare(filled(pixels), generator=generator)
        return torch.where(pixels.isnan(), torch.nan, x) if pixels.is_floating_point() else x

    def undo(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.likelihood.undo(x)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """Whole data, without holes."""
        return self.likelihood.sample(raw, generator)

    def elementwise(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p of each value that is seen, 0 of each that is not."""
        return torch.where(x.isnan(), 0.0, self.likelihood.elementwise(filled(x), raw))

    def readable(self, seen: Tensor) -> Tensor:  # noqa: D102
        return self.likelihood.readable(seen)

    def example(self, n: int, pixels: int, *, generator: torch.Generator | None = None) -> Tensor:
        """The other's with a third missing, the last values of each row."""
        x = self.likelihood.example(n, pixels, generator=generator)
        seen = torch.rand(x.shape, generator=generator) < 2 / 3
        return torch.where(self.likelihood.readable(seen), x, torch.nan)

    def notes(self) -> list[str]:  # noqa: D102
        return self.likelihood.notes()


class _SomeMissing(constraints.Constraint):
    """What the other takes, or NaN, where the rest can still be told."""

    def __init__(self, likelihood: Likelihood) -> None:
        self.likelihood = likelihood
        self.is_discrete = likelihood.support.is_discrete

    def check(self, value: Tensor) -> Tensor:
        seen = ~value.isnan()
        fits = self.likelihood.support.check(filled(value)) & self.likelihood.readable(seen)
        return ~seen | fits


class _Seen(Distribution):
    """The distribution of whole data, whose log_prob sums over what is seen."""

    arg_constraints = {}  # noqa: RUF012

    def __init__(self, likelihood: Likelihood, raw: Tensor) -> None:
        self.likelihood, self.raw = likelihood, raw
        self.whole = likelihood(raw)
        super().__init__(self.whole.batch_shape, self.whole.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.whole.mean

    @property
    def variance(self) -> Tensor:
        return self.whole.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.whole.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        # Filled before anything is computed: the gradient of NaN is NaN, even where it is not used.
        each = self.likelihood.elementwise(filled(value), self.raw)
        return torch.where(value.isnan(), 0.0, each).sum(-1)


def filled(x: Tensor) -> Tensor:
    """x with 0 where it is missing."""
    return torch.where(x.isnan(), 0.0, x) if x.is_floating_point() else x
