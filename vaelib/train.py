"""The one training loop. It knows a module that returns a loss, and not what that loss means."""

import math
import time
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelib.data import Binarization, binarize

__all__ = ["Epoch", "fit"]


class Epoch(NamedTuple):
    """One line of the history."""

    epoch: int  # counted from 1
    loss: float  # mean over the epoch's data, as the model returned it while it was learning
    seconds: float


def fit(
    model: nn.Module,
    pixels: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    binarization: Binarization = "dynamic",
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> list[Epoch]:
    """Minimize a model's loss with Adam; the learning rate falls to 0 along half a cosine.

    Args:
        model: ``model(x, generator=generator)`` returns a scalar loss, a mean over the batch. It is
            trained in place, on the device where its parameters are.
        pixels: images, ``uint8 [n, pixel]``, moved to that device once, as a whole.
        epochs: passes over the data, at least 1.
        batch_size: images per step; the last batch of an epoch may be smaller.
        lr: the learning rate at the first step.
        binarization: how pixels become data, afresh in each step: see `vaelib.data.binarize`.
        generator: source of all randomness (order, binarization, the model's noise), on the
            model's device. With the same generator, model and machine the result is the same.
        progress: show a bar.

    Returns:
        One `Epoch` per pass.

    Raises:
        TypeError: if the pixels are not ``uint8``.
        ValueError: if there are no images, or a number is out of range.
        FloatingPointError: if the loss of an epoch is not finite.

    References:
        Kingma and Ba, Adam (arXiv:1412.6980); Loshchilov and Hutter, SGDR (arXiv:1608.03983), for
        the cosine.
    """
    if pixels.dtype != torch.uint8:
        raise TypeError(f"fit: expected uint8 pixels from 0 to 255, got {pixels.dtype}")
    if pixels.ndim != 2 or len(pixels) == 0:
        raise ValueError(
            f"fit: expected pixels of shape [n, pixel] with n > 0, got {tuple(pixels.shape)}"
        )
    if epochs < 1 or batch_size < 1 or not lr > 0:
        raise ValueError(
            f"fit: expected epochs ≥ 1, batch_size ≥ 1 and lr > 0, got {epochs}, {batch_size}, {lr}"
        )
    from tqdm.auto import trange  # here: it imports IPython where there is one, for 50 ms

    device = next(model.parameters()).device
    pixels = pixels.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    steps = epochs * math.ceil(len(pixels) / batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    history: list[Epoch] = []
    model.train()
    for epoch in (bar := trange(1, epochs + 1, desc="epochs", disable=not progress)):
        start = time.perf_counter()
        total = torch.zeros((), device=device)  # read once per epoch: reading it stops a GPU
        order = torch.randperm(len(pixels), generator=generator, device=device)
        for rows in order.split(batch_size):
            x = binarize(pixels[rows], binarization, generator=generator)
            loss = model(x, generator=generator)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.detach() * len(rows)
        history.append(Epoch(epoch, total.item() / len(pixels), time.perf_counter() - start))
        bar.set_postfix(loss=f"{history[-1].loss:.2f}")
        if not math.isfinite(history[-1].loss):
            raise FloatingPointError(
                f"fit: the loss of epoch {epoch} is {history[-1].loss}; try a smaller "
                f"lr than {lr}, and check that the likelihood fits the data"
            )
    return history
