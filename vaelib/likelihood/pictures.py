"""Likelihoods of pictures: binarized pixels, grey ones by a density, grey ones by their level."""

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, distributions
from torch.distributions import Distribution, Independent, constraints
from torch.nn.functional import logsigmoid, relu

from vaelib.arguments import BadValue, require_sizes
from vaelib.data import Kind, binarize
from vaelib.likelihood.family import Likelihood, require_kind
from vaelib.pixels import GreyLevel, TruncatedExponential, log_mean_decay
from vaelib.recipe import rebuildable

__all__ = ["Bernoulli", "Categorical", "ContinuousBernoulli", "Levels"]


@rebuildable
class Bernoulli(Likelihood):
    r"""p(x | z) of binarized pixels, x in {0, 1}. The decoder's output is the logits.

    $$\log p(x) = \log \sigma(\ell) - (1 - x)\, \ell$$

    as torch computes it, at the cost of one logarithm for each pixel. Where x is the likely value
    the two cancel, so log p is right to half a unit in the last place of $\ell$ and not of log p:
    at a logit of -12 to 5e-7 in single precision. In probability that is nothing (the law that
    both values sum to one has its bound), and a sum over an image rounds by more.
    """

    support = constraints.boolean
    remedy = "only 0 and 1 (vaelib.data.binarize makes them; ContinuousBernoulli takes grey pixels)"
    binarization = "dynamic"
    kinds: ClassVar[tuple[Kind, ...]] = ("pixels", "numbers", "counts")

    def prepare(
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch pixel"]:
        """Pixels are drawn with probability v / 255, numbers in [0, 1] with that probability.

        Whole numbers of another type stay what they are, and must be 0 or 1.

        Raises:
            ValueError: if numbers lie outside [0, 1].

        >>> Bernoulli().prepare(torch.tensor([[0.0, 1.0, 1.0]]))
        tensor([[0., 1., 1.]])
        """
        found = require_kind(self, pixels)
        if found == "pixels":
            return binarize(pixels, self.binarization, generator=generator)
        x = pixels.float()
        if found == "counts":
            return x
        if x.device.type == "cpu" and not ((x >= 0) & (x <= 1)).all():
            raise BadValue(
                f"Bernoulli: expected numbers in [0, 1], each the probability of a 1, got "
                f"{x.min():.3g} … {x.max():.3g}; --likelihood gaussian takes any numbers, and "
                f"--likelihood poisson counts",
                "likelihood",
            )
        return torch.bernoulli(x, generator=generator)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(distributions.Bernoulli(logits=raw, validate_args=False), 1)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return torch.bernoulli(raw.sigmoid(), generator=generator)

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        r"""As $x^\top \log \sigma(\ell) + (1 - x)^\top \log \sigma(-\ell)$: two products.

        No 3-D tensor, and terms of one sign: in $x^\top \ell - \sum \log(1 + e^\ell)$ two large
        sums cancel where x is likely. Not by torch's softplus, which above 20 forgets the 1: 2e-9
        for each pixel.
        """
        return x @ logsigmoid(raw).mT + (1 - x) @ logsigmoid(-raw).mT


@rebuildable
class ContinuousBernoulli(Likelihood):
    """p(x | z) of grey pixels, x in [0, 1] (Loaiza-Ganem and Cunningham, arXiv:1907.06845).

    A Bernoulli's formula on grey pixels does not integrate to one; this is the density that does.

    >>> grey, raw = torch.tensor([0.5]), torch.tensor([0.0])
    >>> ContinuousBernoulli()(raw).log_prob(grey)  # uniform on [0, 1]: a density of 1
    tensor(0.)
    >>> Bernoulli()(raw).log_prob(grey)  # the formula: half of it is missing
    tensor(-0.6931)
    """

    support = constraints.unit_interval
    remedy = "values in [0, 1] (uint8 pixels divided by 255)"
    kinds: ClassVar[tuple[Kind, ...]] = ("pixels", "numbers")

    def prepare(
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch pixel"]:
        """Pixels become v / 255; numbers, in [0, 1], stay what they are."""
        if require_kind(self, pixels) == "numbers":
            return pixels.float()
        return super().prepare(pixels, generator=generator)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(TruncatedExponential(raw), 1)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return TruncatedExponential(raw).icdf(torch.empty_like(raw).uniform_(generator=generator))

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """As two matrix products, each of terms of one sign: no 3-D tensor, and nothing cancels."""
        up = relu(raw)
        down = up - raw
        return -(x @ down.mT + (1 - x) @ up.mT) - log_mean_decay(up + down).sum(-1)


class Levels(constraints.Constraint):
    """Multiples of 1 / (levels - 1) in [0, 1], as single precision rounds them."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.top = levels - 1

    def check(self, value: Tensor) -> Tensor:  # noqa: D102
        # v / 255 times 255 misses v by 3e-5 at most in float32, by 0.4 where x is any real number.
        level = value * self.top
        return ((level - level.round()).abs() < 1e-3) & (level > -0.5) & (level < self.top + 0.5)


@rebuildable
class Categorical(Likelihood):
    """p(x | z) of grey pixels by their level, x = v / 255 with v in 0 … 255.

    A probability for each of the 256 levels, without an order or a shape between them: the only one
    of these likelihoods that can say "black or white, nothing between". The decoder's output is the
    logits, those of one pixel side by side: `vaelib.nets.MLPDecoder` has ``levels``.

    Args:
        levels: how many there are; x is then a multiple of 1 / (levels - 1).

    Raises:
        ValueError: if there are fewer than two.

    References:
        Van den Oord, Kalchbrenner and Kavukcuoglu, Pixel Recurrent Neural Networks
        (arXiv:1601.06759), section 3.3, for pixels as levels.

    >>> raw = torch.zeros(5, 784 * 256)
    >>> Categorical()(raw).log_prob(torch.zeros(5, 784))[0] / 784  # minus log 256
    tensor(-5.5452)
    """

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        require_sizes("Categorical", levels=levels)
        if levels < 2:
            raise BadValue(f"Categorical: expected at least 2 levels, got {levels}")
        self.per_pixel = levels
        self.support = Levels(levels)
        self.remedy = (
            f"multiples of 1/{levels - 1} in [0, 1] (vaelib.data.binarize(…, 'none') gives those "
            f"of 1/255)"
        )

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(GreyLevel(raw.unflatten(-1, (-1, self.per_pixel))), 1)

    def prepare(  # noqa: D102
        self, pixels: Tensor, *, generator: torch.Generator | None = None
    ) -> Tensor:
        x, top = super().prepare(pixels, generator=generator), self.per_pixel - 1
        return (x * top).round() / top

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        p = raw.unflatten(-1, (-1, self.per_pixel)).softmax(-1)
        level = torch.multinomial(p.flatten(0, -2), 1, generator=generator)
        return level.view(p.shape[:-1]).to(raw.dtype) / (self.per_pixel - 1)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"levels={self.per_pixel}"
