"""The likelihood of colour: pixels by their level, with an order and a shape between levels."""

import math
from typing import ClassVar, cast

import torch
from torch import Tensor
from torch.distributions import Distribution

from vaelib.arguments import BadValue, require_sizes
from vaelib.colour import MixedLogistics
from vaelib.data import Kind, Layout, Pictures
from vaelib.likelihood.family import Likelihood
from vaelib.likelihood.pictures import Levels
from vaelib.recipe import rebuildable

__all__ = ["Logistics"]


@rebuildable
class Logistics(Likelihood):
    r"""p(x | z) of grey or coloured pixels by their level: a mixture of discretized logistics.

    A probability for each of 256 levels as of `Categorical`, but by 3 K numbers and not 256, which
    know that level 100 is near level 101. Each channel is a mixture given the channels before it in
    its pixel, whose means it follows; `vaelib.colour.MixedLogistics` has the formula. The sum is 1
    at all parameters.

    A value's numbers lie side by side: K logits, K means, K log-scales, and channels - 1 slopes. At
    0 the K means are spread evenly over the range, with scales that fill it.

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
        spread = (torch.arange(k, dtype=raw.dtype, device=raw.device) + 0.5) / k
        return MixedLogistics(
            logits,
            means + spread,
            log_scales - math.log(4 * k),
            slopes,
            channels=self.channels,
            levels=self.levels,
        )

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
