"""Likelihoods of real numbers: a normal and Student's t, in units that they take from the data."""

import math
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, constraints

from vaelib.arguments import BadType, BadValue, require_number, require_sizes
from vaelib.data import Columns, Kind, Layout
from vaelib.kl import DiagonalNormal
from vaelib.likelihood.family import Likelihood, require_kind
from vaelib.likelihood.measured import moments
from vaelib.real import MeasuredNormal, MeasuredStudentT
from vaelib.recipe import rebuildable

__all__ = ["Gaussian", "StudentT"]


class _Finite(constraints.Constraint):
    """Real numbers; torch's own constraint of this name lets infinity through."""

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite()


class _Numbers(Likelihood):
    r"""Numbers around a location that the decoder says, with a scale that is learned.

    With ``features``, in units of the data: $x = \text{shift} + \text{factor} \cdot y$, where
    shift is the mean of the rows to train on and factor their deviation (`measure`), and the scale
    of y never falls below a floor.
    """

    command_line: ClassVar[Mapping[str, float]] = {"logvar": -2.0}
    kinds: ClassVar[tuple[Kind, ...]] = ("pixels", "numbers", "counts")
    support = _Finite()
    remedy = "real numbers, neither infinite nor nan"
    names: tuple[str, ...] = ()  # of the features, where they have any: for messages

    def __init__(self, logvar: float, *, learned: bool, features: int | None, floor: float) -> None:
        super().__init__()
        name = type(self).__name__
        require_number(name, "logvar", logvar)
        if not isinstance(learned, bool):
            raise BadType(f"{name}: expected learned as True or False, got {learned!r}")
        require_number(name, "floor", floor)
        if floor <= 0:
            raise BadValue(f"{name}: expected floor above 0, got {floor}", "floor")
        if features is not None:
            require_sizes(name, features=features)
        self.size, self.floor = features, float(floor)
        start = torch.full(() if features is None else (features,), float(logvar))
        self.logvar = nn.Parameter(start, requires_grad=learned)
        if features is not None:
            self.shift: Tensor
            self.factor: Tensor
            self.measured: Tensor
            self.register_buffer("shift", torch.zeros(features))
            self.register_buffer("factor", torch.ones(features))
            self.register_buffer("measured", torch.tensor(False))

    @classmethod
    def for_layout(cls, layout: Layout, kind: Kind = "pixels") -> "Likelihood":
        """A scale for each column of a table; one for all values of a picture.

        Pixels keep their unit, in which they lie between 0 and 1; of pictures of other numbers the
        unit is taken from all values together.
        """
        if isinstance(layout, Columns):
            made = cls(**cls.command_line, features=layout.values)  # type: ignore[arg-type]
            made.names = layout.names
            return made
        features = None if kind == "pixels" else 1
        return cls(**cls.command_line, features=features)  # type: ignore[arg-type]

    def measure(self, values: Any) -> None:
        """Take mean and deviation of each feature from the rows to train on.

        A feature that is constant has no deviation: its unit stays 1, and a warning names it.

        Raises:
            ValueError: if the rows have another number of values.
        """
        if self.size is None:
            return
        found = moments(values, self.size)
        flat = ~(found.high > found.low)
        self.shift.copy_(found.mean.nan_to_num(0.0))
        self.factor.copy_(torch.where(flat, 1.0, found.deviation))
        self.measured.fill_(True)
        if flat.any():
            warnings.warn(
                f"{type(self).__name__}: {self._named(flat)} of the rows to train on is constant "
                f"or missing throughout, and says nothing; leave it out",
                stacklevel=2,
            )

    def features(self, x: Tensor) -> Tensor:
        """(x - shift) / factor: numbers of mean 0 and deviation 1."""
        return x if self.size is None else (x - self.shift) / self.factor

    def prepare(
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch pixel"]:
        """Numbers as they are, in float32; pixels become v / 255."""
        if require_kind(self, pixels) != "pixels":
            return pixels.float()
        return super().prepare(pixels, generator=generator)

    def example(self, n: int, pixels: int, *, generator: torch.Generator | None = None) -> Tensor:
        if self.size is None:
            return super().example(n, pixels, generator=generator)
        return self.shift + self.factor * torch.randn(n, pixels, generator=generator)

    def notes(self) -> list[str]:
        """Names the features whose learned part of the scale is below the floor."""
        if self.size is None:
            return []
        low = self.logvar.detach() < 2 * math.log(self.floor)
        if not low.any():
            return []
        return [
            f"{type(self).__name__}: the scale of {self._named(low)} has come down to the floor, "
            f"{self.floor:g} of its deviation: the model predicts it as exactly as it is allowed "
            f"to, and the score would rise with a lower floor. Is it constant, rounded, or a "
            f"function of the others? Leave it out, or choose the floor as fine as it was measured"
        ]

    def extra_repr(self) -> str:
        """What print(model) shows; of one in the units of x, nothing."""
        return "" if self.size is None else f"features={self.size}, floor={self.floor:g}"

    def _floored(self) -> Tensor:
        """The logarithm of exp(logvar) + floor²: not cut off, so that its gradient never is 0."""
        if self.size is None:
            return self.logvar
        floor = torch.full_like(self.logvar, 2 * math.log(self.floor))
        return torch.logaddexp(self.logvar, floor)

    def _named(self, which: Tensor) -> str:
        numbers = which.nonzero().flatten().tolist()
        if self.names:
            return ", ".join(self.names[i] for i in numbers)
        return "all values" if self.size == 1 else f"column {', '.join(map(str, numbers))} (from 0)"

    def _require_size(self, raw: Tensor) -> None:
        if self.size not in (None, 1) and self.size != raw.shape[-1]:
            raise BadValue(
                f"{type(self).__name__}: expected raw numbers for {self.size} features, got "
                f"{raw.shape[-1]}; make it with features={raw.shape[-1]}, or with features=1 for "
                f"one scale of all values"
            )


@rebuildable
class Gaussian(_Numbers):
    r"""p(x | z) = N(raw, σ² I) of real pixels or numbers, with its constant.

    With ``features`` it has units and a scale of its own for each:

    $$p(x_j \mid z) = N(\text{shift}_j + \text{factor}_j\, \text{raw}_j,\;
      \text{factor}_j^2\, (e^{\text{logvar}_j} + \text{floor}^2))$$

    Args:
        logvar: $\log\sigma^2$, where it starts.
        learned: False keeps it there.
        features: how many values x has, each of them with a scale of its own; 1 for one unit and
            one scale of all values; None for one scale in the units of x.
        floor: what the scale of a feature cannot fall below, in deviations of the data. Without
            one, the density of what is predicted exactly has no upper bound.

    Raises:
        TypeError, ValueError: if they are no finite number and no True or False.

    >>> p = Gaussian(features=2)
    >>> p.measure(torch.tensor([[1000.0, 1.0], [3000.0, 3.0]]))
    >>> p.shift, p.factor
    (tensor([2000.,    2.]), tensor([1000.,    1.]))
    """

    # From σ² = 0.14 on, the variance of Fashion-MNIST's pixels. With σ² = 1 the KL would outweigh
    # what a pixel tells, and latent dimensions would switch off before σ² is learned.
    command_line: ClassVar[Mapping[str, float]] = {"logvar": -2.0}

    def __init__(
        self,
        logvar: float = 0.0,
        *,
        learned: bool = True,
        features: int | None = None,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(logvar, learned=learned, features=features, floor=floor)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        if self.size is None:
            return DiagonalNormal(raw, self.logvar.expand_as(raw))
        self._require_size(raw)
        return Independent(MeasuredNormal(raw, self._floored(), self.shift, self.factor), 1)

    def elementwise(self, x: Tensor, raw: Tensor) -> Tensor:  # noqa: D102
        if self.size is not None:
            return super().elementwise(x, raw)
        zero, one = torch.zeros_like(self.logvar), torch.ones_like(self.logvar)
        return MeasuredNormal(raw, self.logvar, zero, one).log_prob(x)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        eps = torch.empty_like(raw).normal_(generator=generator)
        y = raw + torch.exp(0.5 * self._floored()) * eps
        return y if self.size is None else self.shift + self.factor * y

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """As a matrix product: the square of the distance is a sum of two norms and a product.

        They cancel where x is likely, and what is left is divided by the variance, so they are
        computed in double precision.
        """
        # Apple's GPUs have none: there a common shift takes away what it can.
        wide = raw.dtype if raw.device.type == "mps" else torch.float64
        logvar = self._floored()
        if self.size is None:
            units = logvar.new_zeros(())
            a, b = x.to(wide), raw.to(wide)
        else:
            self._require_size(raw)
            units = self.factor.log()
            root = torch.exp(-0.5 * logvar.to(wide))
            a = (x.to(wide) - self.shift.to(wide)) / self.factor.to(wide) * root
            b = raw.to(wide) * root
        centre = b.mean(0).detach()
        a, b = a - centre, b - centre
        squared = a.square().sum(-1, keepdim=True) - 2 * a @ b.mT + b.square().sum(-1)
        if self.size is None:
            constant = x.shape[-1] * (math.log(2 * math.pi) + logvar)
            return -0.5 * ((squared * torch.exp(-logvar)).to(raw.dtype) + constant)
        constant = (math.log(2 * math.pi) + logvar + 2 * units).expand(x.shape[-1]).sum()
        return -0.5 * (squared.to(raw.dtype) + constant)


@rebuildable
class StudentT(_Numbers):
    r"""p(x | z) of numbers with outliers: Student's t around what the decoder says.

    $$x_j = \text{shift}_j + \text{factor}_j\, (\text{raw}_j + s_j\, t_j), \qquad
      s_j^2 = e^{\text{logvar}_j} + \text{floor}^2$$

    where t has Student's distribution with $\nu_j = 1 + e^{\text{tail}_j}$ degrees of freedom: the
    nearer to 1, the heavier its tails, above 30 nearly those of a normal. $s$ is its scale, not its
    deviation, which is $\sqrt{\nu / (\nu - 2)}$ times as large if ν is above 2, and infinite
    otherwise.

    Args:
        logvar: $\log s^2$, where it starts.
        df: ν, where it starts; above 1, so that x has a mean.
        learned: False keeps both where they start.
        features, floor: as those of `Gaussian`; None is taken for 1.

    Raises:
        TypeError, ValueError: if they are no finite numbers, df is not above 1, floor not above 0.

    References:
        Lange, Little and Taylor, Robust Statistical Modeling Using the t Distribution (1989).

    >>> p = StudentT(df=3.0)
    >>> p(torch.zeros(1)).log_prob(torch.tensor([100.0]))  # a normal's is -5001
    tensor(-17.2249, grad_fn=<SumBackward1>)
    """

    def __init__(
        self,
        logvar: float = 0.0,
        df: float = 5.0,
        *,
        learned: bool = True,
        features: int | None = None,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(logvar, learned=learned, features=features or 1, floor=floor)
        require_number("StudentT", "df", df)
        if df <= 1:
            raise BadValue(f"StudentT: expected df above 1, got {df}", "df")
        start = torch.full_like(self.logvar, math.log(df - 1))
        self.tail = nn.Parameter(start, requires_grad=learned)

    @property
    def df(self) -> Tensor:
        """The degrees of freedom ν of each feature, from 1 on; beyond 10¹³ a normal has no more."""
        return 1 + self.tail.clamp(max=30.0).exp()

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        self._require_size(raw)
        units = (self.shift, self.factor)
        return Independent(MeasuredStudentT(raw, self._floored(), *units, df=self.df), 1)
