"""Images as a model's loss takes them: prepared by its likelihood, with the noise of its loss."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue
from vaelib.data import Binarization, binarize
from vaelib.likelihood import Likelihood
from vaelib.nets import evaluation_mode
from vaelib.train.arguments import require_kind
from vaelib.train.batches import Batches, read
from vaelib.vae import Model

Pixels = Tensor | np.ndarray
Prepare = Callable[..., Tensor]  # from pixels to data, with generator=


@dataclass(frozen=True)
class Images:
    """``uint8`` images: a tensor lies on the model's device, an array is read by rows."""

    model: Model
    pixels: Pixels
    prepare: Prepare

    def feed(self, batches: Batches) -> Iterator[Tensor]:
        """What a step gets: row numbers, of which the device picks images, or images."""
        return batches.rows() if isinstance(self.pixels, Tensor) else iter(batches)

    def draw(self, batch: Tensor, *, generator: torch.Generator) -> list[Tensor]:
        """What the loss takes: [x, noise]."""
        pixels = self.pixels[batch] if isinstance(self.pixels, Tensor) else batch
        x = self.prepare(pixels, generator=generator)
        return [x, self.model.noise(len(x), generator=generator)]


@torch.no_grad()
def held_out_loss(images: Images, device: torch.device, most: int) -> float:
    """The mean loss, eager and in float32, with the same draws after each epoch.

    At most so many images at a time as a step of training has, because these fit into memory.
    """
    generator = torch.Generator(device).manual_seed(0)
    # Drawn by the thousand, whatever fits: a draw depends on its size.
    batches = Batches(images.pixels, 1000, generator=generator)
    losses: list[Tensor] = []
    sizes: list[int] = []
    with evaluation_mode(images.model):
        for batch in images.feed(batches):
            drawn = images.draw(batch.to(device), generator=generator)
            for start in range(0, len(batch), most):
                some = [t[..., start : start + most, :] for t in drawn]
                losses.append(images.model(*some))
                sizes.append(len(some[0]))
    weights = torch.tensor(sizes, dtype=torch.float64)
    return (torch.stack(losses).cpu().double() @ weights).item() / len(images.pixels)


def require_pixels(pixels: Any, name: str) -> None:
    """Raise unless these are images."""
    require_kind(name, pixels, Pixels, "a torch tensor or a NumPy array")
    if str(pixels.dtype).removeprefix("torch.") != "uint8":
        raise BadType(f"fit: expected {name} as uint8 from 0 to 255, got {pixels.dtype}", name)
    if pixels.ndim != 2 or 0 in pixels.shape:
        raise BadValue(
            f"fit: expected {name} of shape [n, pixel] with n > 0, got {tuple(pixels.shape)}", name
        )


def pieces(pixels: Pixels, size: int = 10_000) -> Iterator[Tensor]:
    """All images in their order, some at a time."""
    for start in range(0, len(pixels), size):
        rows = torch.arange(start, min(start + size, len(pixels)))
        yield pixels[start : start + size] if isinstance(pixels, Tensor) else read(pixels, rows)


def fingerprint(pixels: Pixels | None, folder: str | Path | None) -> str | None:
    """A hash of the data, by which a run that goes on knows them; 1 ms per 1,000 images."""
    if pixels is None or folder is None:
        return None
    digest = hashlib.sha256()
    for some in pieces(pixels):
        digest.update(some.contiguous().cpu().numpy().data)
    return digest.hexdigest()


def preparation(
    likelihood: Likelihood, pixels: Pixels, device: torch.device, binarization: Binarization | None
) -> tuple[Prepare, str]:
    """How pixels become data, and its name. Raises if the likelihood is not for what it makes."""
    if binarization is not None and binarization not in get_args(Binarization):
        raise BadValue(
            f"fit: expected binarization one of {get_args(Binarization)} or None, got "
            f"{binarization!r}",
            "binarization",
        )
    name = type(likelihood).__name__
    if binarization is None:
        some = next(pieces(pixels, 100)).to(device)
        x = likelihood.prepare(some, generator=torch.Generator(device))
        if not likelihood.support.check(x).all():
            raise BadValue(
                f"fit: {name}.prepare makes values from {x.min():.3g} to {x.max():.3g}, and it "
                f"gives a density to {likelihood.remedy}; set {name}.binarization, or write its "
                f"prepare"
            )
        return likelihood.prepare, likelihood.binarization
    if binarization != "none":
        # 0 and 1 are in [0, 1] too, but a density of grey values would fit itself to two points.
        fits = likelihood.support.is_discrete
    else:
        fits = bool(likelihood.support.check(_values(pixels).float() / 255).all())
    if not fits:
        raise BadValue(
            f"fit: binarization={binarization!r} does not fit {name}, which takes "
            f"{likelihood.remedy}. Leave binarization out, so that the likelihood prepares the "
            f"pixels, or choose a likelihood for what {binarization!r} makes",
            "binarization",
        )
    return partial(binarize, how=binarization), binarization


def _values(pixels: Pixels) -> Tensor:
    """Which of 0 … 255 occur."""
    found = torch.zeros(256, dtype=torch.bool)
    for some in pieces(pixels):
        found[some.flatten().long().cpu()] = True
    return found.nonzero().flatten()
