r"""What is usual for data with so much ink, and what is left of a score beside it: oddness.

The lower log p(x), the stranger x? Not of pictures: white paper is easy to predict, so a picture is
cheap by how little ink it has, and a blank sheet scores best of all, above every picture that the
model has learned from. What tells is a picture beside others with as much ink,

$$\text{oddness}(x) = m(\text{ink}(x)) - \log p(x)$$

with m a smooth curve through data that were held out. It is a parabola where they are, and goes on
straight where fewer than one in a hundred of them is: a parabola's ends run away, and what lies out
there is judged by a guess (`Usual.beyond`).

References:
    Nalisnick, Matsukawa, Teh, Gorur and Lakshminarayanan, Do Deep Generative Models Know What They
    Don't Know? (arXiv:1810.09136), for likelihoods that prefer strangers; Serrà et al., Input
    Complexity and Out-of-distribution Detection with Likelihood-based Generative Models
    (arXiv:1909.11480), for a score beside the complexity of a picture.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vaelib.arguments import BadValue

__all__ = ["Usual", "usual"]

# Held-out data that a parabola, and that a straight line is drawn through at least.
PARABOLA, LINE = 30, 10
TAIL = 0.01  # the share of them beyond which, at either end, the curve goes on straight


class Usual(NamedTuple):
    """A curve through scores over ink, in nats.

    >>> ink = torch.linspace(0.1, 0.5, 50)
    >>> curve = usual(ink, -100 * ink)
    >>> curve(torch.tensor([0.2, 0.6])).round(decimals=2)
    tensor([-20., -60.])
    >>> curve.beyond(torch.tensor([0.2, 0.6]))
    tensor([False,  True])
    """

    center: float  # of the ink
    scale: float
    powers: tuple[float, ...]  # of (ink - center) / scale, from 0 on
    low: float  # ink below which, and above which, the curve goes on straight
    high: float
    least: float  # the least and the most ink of the data that it was drawn through
    most: float
    data: int  # how many

    def __call__(self, ink: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The usual log p(x) of data with so much ink."""
        inside = ink.double().clamp(self.low, self.high)
        t = (inside - self.center) / self.scale
        value, slope = torch.zeros_like(t), torch.zeros_like(t)
        for power in reversed(self.powers):  # Horner, of the curve and of its slope
            value, slope = value * t + power, slope * t + value
        return (value + slope * (ink.double() - inside) / self.scale).to(ink.dtype)

    def beyond(self, ink: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
        """Where there is less ink, or more, than any of the data had: the curve is a guess."""
        return (ink < self.least) | (ink > self.most)


def usual(ink: Float[Tensor, " n"], log_prob: Float[Tensor, " n"]) -> Usual:
    """The parabola of least squares through held-out data; a line if there are few.

    Args:
        ink: of each datum, in any unit.
        log_prob: their scores, nats.

    Raises:
        BadValue: if there are fewer than 10.
    """
    n = len(ink)
    if n < LINE:
        raise BadValue(
            f"oddness: expected at least {LINE} held-out data to see what is usual for their ink, "
            f"got {n}; hold more out, or take against=None, which ranks by log p(x) alone",
            "against",
        )
    x, y = ink.detach().cpu().double(), log_prob.detach().cpu().double()
    center, scale = x.mean().item(), x.std().item()
    degree = 0 if scale == 0 else 2 if n >= PARABOLA else 1  # all have one ink: nothing to learn
    scale = scale or 1.0
    t = (x - center) / scale
    powers = torch.stack([t**k for k in range(degree + 1)], 1)
    found = torch.linalg.lstsq(powers, y[:, None], driver="gelsd").solution[:, 0]
    low, high = x.quantile(torch.tensor([TAIL, 1 - TAIL], dtype=x.dtype)).tolist()
    return Usual(center, scale, tuple(found.tolist()), low, high, x.min().item(), x.max().item(), n)
