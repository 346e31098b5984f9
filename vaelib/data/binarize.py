"""From pixels to what a likelihood of grey or binary pixels takes."""

from typing import Literal, get_args

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

__all__ = ["Binarization", "binarize"]

Binarization = Literal["dynamic", "threshold", "none"]


def binarize(
    pixels: UInt8[Tensor, "*batch pixel"],
    how: Binarization = "dynamic",
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*batch pixel"]:
    """Turn ``uint8`` pixels v into the float32 values that a likelihood takes.

    Args:
        pixels: values 0 to 255, shape ``[*batch, pixel]``, dtype ``uint8``.
        how: ``"dynamic"`` draws each pixel as 1 with probability v / 255, afresh at each call and
            exactly, since an integer drawn uniformly from 0 … 254 is below v with that
            probability; ``"threshold"`` gives 1 where v > 127; ``"none"`` gives v / 255, for which
            a Bernoulli likelihood is wrong (see `vaelib.likelihood.ContinuousBernoulli`).
        generator: source of the randomness of ``"dynamic"``, on the device of ``pixels``.

    Returns:
        Shape of ``pixels``, float32, values in {0, 1}, or in [0, 1] for ``"none"``.

    Raises:
        TypeError: if the pixels are not ``uint8``.
        ValueError: if there are none, or ``how`` is not one of the three names.

    References:
        Salakhutdinov and Murray, On the Quantitative Analysis of Deep Belief Networks (2008), for
        dynamic binarization.

    >>> binarize(torch.tensor([[0, 127, 128, 255]], dtype=torch.uint8), "threshold")
    tensor([[0., 0., 1., 1.]])
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(
            f"binarize: expected uint8 pixels from 0 to 255, got {pixels.dtype}; grey values in "
            f"[0, 1] become uint8 by (255 * x).round().to(torch.uint8)"
        )
    if pixels.numel() == 0:
        raise ValueError(f"binarize: expected at least one image, got shape {tuple(pixels.shape)}")
    match how:
        case "dynamic":
            # An integer comparison: a float uniform has 24 bits, and v / 255 needs infinitely many.
            threshold = torch.empty_like(pixels).random_(0, 255, generator=generator)
            return (threshold < pixels).float()
        case "threshold":
            return (pixels > 127).float()
        case "none":
            return pixels.float() / 255
    raise ValueError(f"binarize: expected how to be one of {get_args(Binarization)}, got {how!r}")
