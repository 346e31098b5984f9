"""The likelihood of colour: pixels by their level, with an order and a shape between levels."""

import math
from typing import Any, ClassVar, cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaelib.arguments import BadValue, require_sizes
from vaelib.colour import MixedLogistics
from vaelib.data import Kind, Layout, Pictures
from vaelib.likelihood.family import Likelihood
from vaelib.likelihood.measured import moments
from vaelib.likelihood.pictures import Levels
from vaelib.recipe import rebuildable

__all__ = ["Logistics"]

_LIMIT = 20.0  # of the first log-scale, as in `vaelib.colour`: beyond, no product is finite


@rebuildable
class Logistics(Likelihood):
    r"""p(x | z) of grey or coloured pixels by their level: a mixture of discretized logistics.

    A probability for each of 256 levels as of `Categorical`, but by 3 K numbers and not 256, which
    know that level 100 is near level 101. Each channel is a mixture given the channels before it in
    its pixel, whose means it follows; `vaelib.colour.MixedLogistics` has the formula. The sum is 1
    at all parameters.

    A value's numbers lie side by side: K logits, K means, K log-scales, and channels - 1 slopes.
    The first mean and the first log-scale are the whole mixture's, and say where it lies and how
    wide it is; the others move one logistic against it, in units of that width:

    $$\log s = \log \tfrac{3d}4 + b_1, \quad
      m_k = \bar x + d\, a_1 + s\, (o_k + a_k), \quad
      \log s_k = \log s - \log \tfrac{2K + 3}4 + b_k$$

    with $a_1 = b_1 = 0$ in the last two where k = 1, and $o_k$ spread evenly from -2 to 2. Mean
    $\bar x$ and deviation d are those of all values of the rows to train on (`measure`), so that
    at 0 the mixture lies over the data. A decoder that sees better where a value is then moves one
    number and not K, each by as much, and its doubt falls by one number too: with K means free of
    one another, a few hundred steps do not get far.

    Args:
        components: K. One logistic cannot be flatter than a bell; a few can.
        channels: of a picture: its values are laid out by channel, row and column.
        levels: how many there are; x is a multiple of 1 / (levels - 1).

    Raises:
        TypeError, ValueError: if components or channels are below 1, or levels below 2.

    References:
        Salimans et al., PixelCNN++ (arXiv:1701.05517), section 2.1 and 2.2.

    >>> family = Logistics(components=2, channels=3)
    >>> family.per_pixel  # 3 · 2 + 2
    8
    >>> family(torch.zeros(1, 3 * 8)).log_prob(torch.zeros(1, 3)).shape  # one coloured pixel
    torch.Size([1])
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("pixels",)

    def __init__(self, components: int = 5, channels: int = 1, levels: int = 256) -> None:
        super().__init__()
        require_sizes("Logistics", components=components, channels=channels, levels=levels)
        if levels < 2:
            raise BadValue(f"Logistics: expected at least 2 levels, got {levels}")
        self.components, self.channels, self.levels = components, channels, levels
        self.per_pixel = 3 * components + channels - 1
        self.support = Levels(levels)
        self.shift: Tensor
        self.deviation: Tensor
        self.measured: Tensor
        self.register_buffer("shift", torch.tensor(0.5))  # of all levels equally often
        self.register_buffer("deviation", torch.tensor(12**-0.5))
        self.register_buffer("measured", torch.tensor(False))
        self.remedy = (
            f"multiples of 1/{levels - 1} in [0, 1] (vaelib.data.binarize(…, 'none') gives those "
            f"of 1/255)"
        )

    @classmethod
    def for_layout(cls, layout: Layout, kind: Kind = "pixels") -> "Likelihood":  # noqa: ARG003
        """One with the channels of the pictures."""
        channels = layout.channels if isinstance(layout, Pictures) else 1
        return cls(**cls.command_line, channels=channels)  # type: ignore[arg-type]

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        k, numbers = self.components, raw.unflatten(-1, (-1, self.per_pixel))
        if numbers.shape[-2] % self.channels:
            raise BadValue(
                f"Logistics: expected a picture of {self.channels} channels, got "
                f"{numbers.shape[-2]} values; make it with the channels of the pictures"
            )
        logits, means, log_scales, slopes = numbers.split((k, k, k, self.channels - 1), -1)
        place, first = means[..., :1], log_scales[..., :1].clamp(-_LIMIT, _LIMIT)
        width = first + (0.75 * self.deviation).log()
        alone = torch.arange(k, device=raw.device) > 0  # the first has no move of its own
        even = 4 * (torch.arange(k, dtype=raw.dtype, device=raw.device) + 0.5) / k - 2
        offsets = even + means.where(alone, 0.0)
        return MixedLogistics(
            logits,
            self.shift + self.deviation * place + width.exp() * offsets,
            width - math.log((2 * k + 3) / 4) + log_scales.where(alone, 0.0),
            slopes,
            channels=self.channels,
            levels=self.levels,
        )

    def measure(self, values: Any) -> None:
        """Take mean and deviation of all values together from the rows to train on.

        Rows of one value throughout have no deviation: it is then that of half a level.
        """
        found = moments(values, 1)
        self.shift.copy_(found.mean[0])
        self.deviation.copy_(found.deviation[0].clamp(min=0.5 / (self.levels - 1)))
        self.measured.fill_(True)

    def features(self, x: Tensor) -> Tensor:
        """(x - mean) / deviation, for an encoder, whose first layer is made for such numbers."""
        return (x - self.shift) / self.deviation

    def prepare(  # noqa: D102
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x, top = super().prepare(pixels, generator=generator), self.levels - 1
        return (x * top).round() / top

    def elementwise(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p of each value given the channels before it in its pixel, ``[*batch, values]``."""
        return cast(MixedLogistics, self(raw)).each(x)

    def readable(self, seen: Tensor) -> Tensor:
        """Those with no missing channel before them in their pixel."""
        by_channel = seen.unflatten(-1, (self.channels, -1))
        return by_channel.cumprod(-2).bool().flatten(-2)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"components={self.components}, channels={self.channels}, levels={self.levels}"
