r"""Sketch: a number that is seen through noise, the smallest model with an exact answer.

To be replaced: all but the last line. A module is one idea in about 150 lines; what it gives stands
in ``__all__``, and `vaelib.kl` shows how a function of it is written.

Chapter: :doc:`/book/sketch`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["sketch_log_evidence"]


def sketch_log_evidence(
    x: Float[Tensor, "*batch"], variance: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch"]:
    r"""$\log p(x)$ of a number $z$ seen through noise, in closed form.

    $$\log p(x) = -\tfrac12 \Big( \log 2\pi(1 + \sigma^2) + \frac{x^2}{1 + \sigma^2} \Big)
    \quad\text{for}\quad z \sim N(0, 1),\quad x \mid z \sim N(z, \sigma^2).$$

    Two independent Gaussians add up: x is one, and its variances are added.

    Args:
        x: what is seen, shape ``[*batch]``.
        variance: $\sigma^2$ of the noise, positive, shape ``[*batch]``.

    Returns:
        Shape ``[*batch]``, in nats.

    Raises:
        ValueError: if a variance is not positive.

    References:
        Bishop, Pattern Recognition and Machine Learning (2006), section 2.3.3.

    >>> sketch_log_evidence(torch.tensor([1.0]), torch.tensor([1.0]))
    tensor([-1.5155])
    """
    if not bool((variance > 0).all()):
        raise ValueError(
            f"sketch_log_evidence: expected a positive variance, got {variance.min().item():g}; "
            "from the log-variance of a network, take its exp"
        )
    total = 1 + variance
    return -0.5 * (torch.log(2 * math.pi * total) + x**2 / total)
