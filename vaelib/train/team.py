"""Several processes that train one model together: each takes its share of every batch.

Every process draws the *whole* batch, its binarization and its noise from the same generator and
keeps some of the rows. What is drawn so does not depend on how many processes there are: several
see the batches that one would see, and the checkpoint of one is a checkpoint of the other.
"""

import os
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from vaelib.arguments import BadValue

T = TypeVar("T")


def join(device: str | torch.device = "cpu") -> torch.device:
    """Under ``torchrun``, join the other processes of the run; else do nothing.

    Args:
        device: ``"cpu"`` (processes talk by gloo) or ``"cuda"`` (by NCCL, each with a GPU of its
            own).

    Returns:
        The device of this process, where its model belongs. `vaelib.train.fit` does the rest:
        ``torchrun --nproc-per-node 2 script.py`` with a script that calls both.

    >>> join("cpu")
    device(type='cpu')
    """
    device = torch.device(device)
    if "WORLD_SIZE" not in os.environ:
        return device
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


class Team:
    """The processes of a run; one process alone is a team of one, and talks to nobody."""

    def __init__(self) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.size = distributed.get_world_size() if together else 1
        self.rank = distributed.get_rank() if together else 0

    def require_rows(self, batch_size: int, last: int) -> None:
        """Raise unless each process gets a row of each batch."""
        if min(batch_size, last) < self.size:
            raise BadValue(
                f"fit: expected at least one row per process in each batch, got {self.size} "
                f"processes and a batch of {min(batch_size, last)}; choose another batch_size, so "
                f"that the last batch of an epoch is large enough",
                "batch_size",
            )

    def share(self, batch: list[Tensor]) -> list[Tensor]:
        """This process's rows of a batch: data ``[n, k]``, noise ``[*samples, n, k]``, labels.

        Raises:
            ValueError: if a tensor has its rows elsewhere, as pictures ``[n, height, width]`` do.
        """
        if self.size == 1:
            return batch
        fits = all(t.ndim and t.shape[max(-2, -t.ndim)] == len(batch[0]) for t in batch)
        if batch[0].ndim != 2 or not fits:
            raise BadValue(
                f"several processes share batches by their rows: expected data [n, k], noise "
                f"[*samples, n, k] and labels [n], got {[tuple(t.shape) for t in batch]}; flatten "
                f"pictures, and let the loss give them their shape"
            )
        return [
            t[self.rank :: self.size] if t.ndim == 1 else t[..., self.rank :: self.size, :]
            for t in batch
        ]

    def wrap(self, module: nn.Module) -> nn.Module:
        """A module whose gradients are the mean over the team's; weights begin as the first's."""
        if self.size == 1:
            return module
        device = next(module.parameters()).device
        return nn.parallel.DistributedDataParallel(
            module, device_ids=[device] if device.type == "cuda" else None, broadcast_buffers=False
        )

    def mean(self, value: Tensor) -> Tensor:
        """The mean over the team."""
        if self.size > 1:
            distributed.all_reduce(value)
            value = value / self.size
        return value

    def gather(self, value: T) -> list[T]:
        """What each process says, the first one's first."""
        if self.size == 1:
            return [value]
        said: list[Any] = [None] * self.size
        distributed.all_gather_object(said, value)
        return said

    def agree(self, value: T) -> T:
        """What the first process says."""
        if self.size == 1:
            return value
        told = [value]
        distributed.broadcast_object_list(told)
        return told[0]
