"""A pass over data in a random order, a batch at a time, that can be taken up where it was left."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Batches:
    """The rows of some data, each once a pass, in an order that is drawn anew for each pass.

    Iterating goes through one pass, or through what is left of it: after ``break``, and after
    `Trainer.restore`, the next ``for`` goes on with the batch that would have been next.

    Args:
        data: a tensor, whose batches are where it is; or anything with a length that a NumPy array
            of row numbers picks rows from, as ``np.load(path, mmap_mode="r")``, of which only the
            rows of a batch are read, about as fast as the disk reads them, and which is never in
            memory as a whole.
        batch_size: rows of a batch; the last of a pass may have fewer.
        generator: draws the order; on the device of a tensor.

    Attributes:
        epoch: how many passes have ended.
        position: how many batches of the current one were handed out.

    Raises:
        ValueError: if there are no rows, or the size is below 1.

    >>> batches = Batches(torch.arange(5), 2, generator=torch.Generator().manual_seed(0))
    >>> [batch.tolist() for batch in batches]
    [[4, 0], [1, 3], [2]]
    """

    def __init__(self, data: Any, batch_size: int, *, generator: torch.Generator) -> None:
        if len(data) < 1 or batch_size < 1:
            raise ValueError(
                f"Batches: expected data with at least one row and batch_size ≥ 1, got {len(data)} "
                f"rows and {batch_size}"
            )
        self.data, self.batch_size, self.generator = data, min(batch_size, len(data)), generator
        self.epoch = self.position = 0
        self.epoch_start = generator.get_state()

    def __len__(self) -> int:
        """The number of batches of a pass."""
        return -(-len(self.data) // self.batch_size)

    @property
    def sizes(self) -> Tensor:
        """The number of rows of each batch of a pass, in float64, on the CPU."""
        last = len(self.data) - (len(self) - 1) * self.batch_size
        return torch.tensor([self.batch_size] * (len(self) - 1) + [last], dtype=torch.float64)

    def __iter__(self) -> Iterator[Tensor]:
        """The batches that are left of the current pass."""
        for rows in self.rows():
            yield read(self.data, rows)

    def rows(self) -> Iterator[Tensor]:
        """For each batch that is left of the current pass, the numbers of its rows."""
        for rows in self._rest():
            self.position += 1
            yield rows
        self.epoch, self.position = self.epoch + 1, 0

    def _rest(self) -> Sequence[Tensor]:
        if not self.position:
            self.epoch_start = self.generator.get_state()
            return self.order()
        # What a pass draws follows from the state in which it began: its order is drawn once more,
        # and the generator is then where the steps that were done have left it.
        now = self.generator.get_state()
        self.generator.set_state(self.epoch_start)
        rest = self.order()[self.position :]
        self.generator.set_state(now)
        return rest

    def rewind(self) -> None:
        """Back to the start of the current pass."""
        self.position = 0
        self.generator.set_state(self.epoch_start)

    def order(self) -> Sequence[Tensor]:
        """The row numbers of all batches of a pass, as the generator draws them now."""
        n, device = len(self.data), self.generator.device
        order = torch.randperm(n, generator=self.generator, device=device)
        if not isinstance(self.data, Tensor):
            order = order.cpu()  # where an array is asked; once a pass
        return order.split(self.batch_size)


def read(data: Any, rows: Tensor) -> Tensor:
    """Some rows of a tensor, or of what NumPy's row numbers index."""
    if isinstance(data, Tensor):
        return data[rows]
    some = data[rows.numpy()]
    return some if isinstance(some, Tensor) else torch.from_numpy(np.asarray(some))
