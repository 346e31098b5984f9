"""Rows of an array that are read when they are asked for."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import Tensor

from vaelib.arguments import BadValue

__all__ = ["Rows"]


class Rows:
    """Some rows of an array, each flat, of which only those asked for are read.

    For an array that is mapped from a file (``np.load(path, mmap_mode="r")``) and larger than
    memory: a batch of it is read, and the rest stays on the disk. It is indexed as an array is, by
    a number, a slice, or NumPy's or torch's row numbers, and gives an array in memory:
    ``uint8`` stays, floating point becomes float32 and whole numbers int64.

    Args:
        array: ``[n, …]``, of whole numbers or floating point; or other `Rows`, of which some are
            taken, and none is read.
        numbers: which of its rows, in this order; all, if it is None.
        dtype: of what is given; told by the array's, if it is None.

    Attributes:
        array: of which they are rows.
        numbers: which of its rows.
        shape: ``(rows, values)``.
        dtype: of what is given.

    >>> rows = Rows(np.arange(12, dtype=np.uint8).reshape(3, 2, 2), [2, 0])
    >>> rows.shape, rows[0], rows[np.array([1, 0])]
    ((2, 4), array([ 8,  9, 10, 11], dtype=uint8), array([[ 0,  1,  2,  3],
           [ 8,  9, 10, 11]], dtype=uint8))
    """

    ndim = 2

    def __init__(self, array: Any, numbers: Any = None, dtype: Any = None) -> None:
        n = len(array)
        some = np.arange(n) if numbers is None else np.asarray(numbers, dtype=np.int64)
        if some.size and not -1 < some.min() <= some.max() < n:
            raise BadValue(
                f"Rows: expected numbers of rows from 0 to {n - 1}, got some from {some.min()} to "
                f"{some.max()}"
            )
        self.dtype = np.dtype(dtype or _given_as(array.dtype))
        within = isinstance(array, Rows)
        self.numbers: np.ndarray = array.numbers[some] if within else some
        # Of a memmap the mapped pages, without its slow indexing.
        self.array: np.ndarray = np.asarray(array.array if within else array)
        self.shape = (len(self.numbers), int(np.prod(self.array.shape[1:])))

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: Any) -> np.ndarray:
        if isinstance(key, Tensor):
            key = key.cpu().numpy()
        numbers = self.numbers[key]
        some = self.array[numbers]
        return np.ascontiguousarray(some, self.dtype).reshape(*numbers.shape, self.shape[1])

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it, read into memory."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def __repr__(self) -> str:
        return f"Rows({self.shape[0]:,} x {self.shape[1]:,}, {self.dtype})"


def _given_as(dtype: np.dtype) -> type:
    if dtype == np.uint8:
        return np.uint8
    return np.float32 if dtype.kind == "f" else np.int64
