"""Samples of any distribution by a generator, which torch's distributions do not take."""

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["draw"]


@torch.no_grad()
def draw(
    p: Distribution, shape: tuple[int, ...] = (), *, generator: torch.Generator | None = None
) -> Tensor:
    """Samples ``[*shape, *batch, *event]`` of a distribution, without a gradient.

    With a generator, torch's own are set to a seed that is drawn from it, and put back afterwards:
    slower than a sampler that takes one, and as good. Without, it is ``p.sample``.

    >>> from torch.distributions import Poisson
    >>> first, second = (
    ...     draw(Poisson(4.0), (5,), generator=torch.Generator().manual_seed(0)) for _ in range(2)
    ... )
    >>> torch.equal(first, second)
    True
    """
    if generator is None:
        return p.sample(torch.Size(shape))
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    devices = [generator.device] if generator.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        return p.sample(torch.Size(shape))
