"""The distribution of a coloured pixel: each channel by its level, a mixture of logistics.

`vaelib.likelihood.Logistics` makes it of what a decoder returns.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from vaelib.pixels import log_mean_decay

__all__ = ["MixedLogistics"]

# Beyond e^±20, in units of the whole range, a scale is as good as 0 or infinite: a level is 2·10⁶
# scales wide, or all levels together 10⁻⁹. Where it stops, no quotient overflows.
_LIMIT = 20.0

_AT_ONCE = 2**22  # numbers, 16 MB in float32


class MixedLogistics(Distribution):
    r"""Pictures whose channels are levels, each given those before it in its pixel.

    Channel c of a pixel is a mixture of K logistic distributions, cut into L levels, with means
    that follow the channels before it:

    $$p(x_c \mid x_{<c}) = \sum_k \pi_k \big(\sigma(b_k) - \sigma(a_k)\big), \qquad
      a_k, b_k = \frac{x_c \mp h - m_k - \sum_{j<c} w_j (x_j - \frac12)}{s_k}, \quad
      h = \frac{1}{2 (L - 1)}$$

    with $a = -\infty$ at the lowest level and $b = \infty$ at the highest, so that the levels sum
    to 1 whatever the parameters are. The difference is computed as

    $$\sigma(b) - \sigma(a) = \sigma(b)\, \sigma(-a)\, (1 - e^{a - b})$$

    of which each factor's logarithm is exact, far in the tails and at scales beside which a level
    is nothing. (PixelCNN++ takes the density in the middle of a level times its width where the
    difference is small, which does not sum to 1.)

    Args:
        logits: of the components, ``[*batch, values, K]``.
        means: $m$, in units of x, same shape.
        log_scales: $\log s$, same shape; beyond ±20 it counts as ±20.
        slopes: $w$, ``[*batch, values, channels - 1]``, of which channel c uses the first c.
        channels: values are laid out by channel, row and column.
        levels: L; x is a multiple of 1 / (L - 1).

    Its ``log_prob`` takes x ``[*batch, values]``, without a check, and sums over values, in nats.

    References:
        Salimans et al., PixelCNN++ (arXiv:1701.05517), section 2.1 and 2.2.

    >>> m = torch.tensor([[0.3, 0.9]])  # one value, a mixture of two
    >>> p = MixedLogistics(0 * m, m, 0 * m - 2, torch.zeros(1, 0), levels=4)
    >>> each = p.log_prob(torch.arange(4)[:, None] / 3).exp()
    >>> each, each.sum()  # of the four levels: nothing lies beyond
    (tensor([0.1381, 0.2937, 0.2483, 0.3199]), tensor(1.))
    """

    arg_constraints = {}  # noqa: RUF012

    def __init__(
        self,
        logits: Tensor,
        means: Tensor,
        log_scales: Tensor,
        slopes: Tensor,
        *,
        channels: int = 1,
        levels: int = 256,
    ) -> None:
        self.logits, self.means, self.slopes = logits, means, slopes
        self.log_scales = log_scales.clamp(-_LIMIT, _LIMIT)
        self.channels, self.levels = channels, levels
        super().__init__(logits.shape[:-2], logits.shape[-2:-1], validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "MixedLogistics":
        """The same for each of a batch, without a copy."""
        parts = (self.logits, self.means, self.log_scales, self.slopes)
        wide = (t.expand(*batch_shape, *t.shape[-2:]) for t in parts)
        return MixedLogistics(*wide, channels=self.channels, levels=self.levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-probability of a picture, in nats."""
        return self.each(value).sum(-1)

    def each(self, value: Tensor) -> Tensor:
        """Those of its values, each given the channels before it, ``[*batch, values]``."""
        level = (value * (self.levels - 1)).round()
        return self._mixed(level, self.means + self._shift(value)[..., None])

    @property
    def mean(self) -> Tensor:
        """Each channel's mean, exact where it is the first, given the means of those before it.

        A picture to be looked at. The mean over all colours of the channels before is not that of
        their mean, where levels end: it is the mean of samples.
        """
        x = torch.zeros_like(self.logits[..., 0])
        for c in range(self.channels):
            here = self._of(c)
            means = self.means[..., here, :] + self._shift(x)[..., here, None]
            scales = self.log_scales[..., here, :].exp()
            p = self.logits[..., here, :].softmax(-1)
            total = torch.zeros_like(x[..., here])
            # The mean of a level is the sum over all edges of the probability to lie above: of some
            # edges at once, of as many as memory takes, or few steps where each is written down.
            writing = torch.compiler.is_compiling()
            some = 64 if writing else max(1, _AT_ONCE // max(1, means.numel()))
            for edges in (torch.arange(1, self.levels).to(x) - 0.5).split(some):
                away = means[..., None] - edges / (self.levels - 1)
                above = torch.sigmoid(away / scales[..., None])
                total = total + (p[..., None] * above).sum((-2, -1))
            x = x.clone()
            x[..., here] = total / (self.levels - 1)
        return x

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """x of shape ``[*sample_shape, *batch, values]``, by torch's own generator."""
        shape = torch.Size(sample_shape) + self.logits.shape
        with torch.no_grad():
            p = self.logits.softmax(-1).expand(shape)
            which = torch.multinomial(p.reshape(-1, shape[-1]), 1).view(*shape[:-1], 1)
            mean, log_scale = (
                t.expand(shape).gather(-1, which).squeeze(-1) for t in (self.means, self.log_scales)
            )
            noise = torch.logit(torch.rand_like(mean).clamp(min=torch.finfo(mean.dtype).tiny))
            x = torch.zeros_like(mean)
            for c in range(self.channels):
                here = self._of(c)
                y = mean + self._shift(x) + log_scale.exp() * noise
                level = (y[..., here] * (self.levels - 1)).round().clamp(0, self.levels - 1)
                x[..., here] = level / (self.levels - 1)
        return x

    def _of(self, channel: int) -> slice:
        size = self.event_shape[0] // self.channels
        return slice(channel * size, (channel + 1) * size)

    def _shift(self, x: Tensor) -> Tensor:
        """What the channels before add to the means, ``[*batch, values]``."""
        total = torch.zeros_like(x)
        if self.channels == 1:
            return total
        by_channel = x.unflatten(-1, (self.channels, -1)) - 0.5
        slopes = self.slopes.unflatten(-2, (self.channels, -1))
        shifts = [torch.zeros_like(by_channel[..., 0, :])]
        for c in range(1, self.channels):
            before = by_channel[..., :c, :].movedim(-2, -1)
            shifts.append((slopes[..., c, :, :c] * before).sum(-1))
        shape = torch.broadcast_shapes(*(s.shape for s in shifts))
        return torch.stack([s.expand(shape) for s in shifts], -2).flatten(-2)

    def _mixed(self, level: Tensor, means: Tensor) -> Tensor:
        top = self.levels - 1
        level = level[..., None]
        inverse = torch.exp(-self.log_scales)
        a = ((level - 0.5) / top - means) * inverse
        b = ((level + 0.5) / top - means) * inverse
        width = inverse / top
        between = log_mean_decay(width) + width.log()
        lowest, highest = level == 0, level == top
        log_p = torch.where(highest, 0.0, logsigmoid(b)) + torch.where(lowest, 0.0, logsigmoid(-a))
        log_p = log_p + torch.where(lowest | highest, 0.0, between)
        return torch.logsumexp(self.logits.log_softmax(-1) + log_p, -1)
