"""Checks of the exercises of :doc:`/book/sketch`.

To be replaced: all of it. CONTRIBUTING says what an exercise needs, `vaelib.course.checks.kl` has
five to copy.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .exercise import Draw, exercise

__all__ = ["sketch_posterior_mean"]


def _by_precisions(x: Tensor, variance: Tensor) -> Tensor:
    """Prior and datum, each weighted by the inverse of its variance."""
    return (x / variance) / (1 + 1 / variance)


@exercise(
    truth=_by_precisions,
    mistakes={
        "this is x itself: the prior draws the mean towards 0": lambda x, v: x + 0 * v,
        "the weights are turned round: the more noise, the closer to 0": (
            lambda x, v: x * v / (1 + v)
        ),
        "`variance` is σ² already: do not square it": lambda x, v: x / (1 + v**2),
        "σ stands where σ² belongs": lambda x, v: x / (1 + v.sqrt()),
        "the 1 in the denominator, the prior's precision, is missing": lambda x, v: x / v,
        "this is the posterior's variance; asked is its mean": lambda x, v: v / (1 + v) + 0 * x,
    },
)
def sketch_posterior_mean(draw: Draw) -> Iterator[dict[str, Any]]:
    """The mean of z given x, for z ~ N(0, 1) and x | z ~ N(z, σ²)."""
    for n in (5, 1):
        yield {"x": draw.normal(n), "variance": draw.uniform(n, low=0.2, high=3.0)}
    # Hardly any noise, and hardly anything else.
    yield {"x": draw.normal(2, scale=5), "variance": torch.tensor([1e-6, 1e6]).double()}
