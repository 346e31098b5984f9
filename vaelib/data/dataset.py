"""What data are, once read: rows of values, how a row is laid out, what is held out, labels.

Everything above takes rows ``[n, values]``. What a row is of stands in its `Layout`; what its
values are is told by their type (`kind`): ``uint8`` are pixels from 0 to 255, floating point are
numbers, NaN where one is missing, and whole numbers of any other type are counts.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor

__all__ = ["Columns", "Dataset", "Kind", "Layout", "Part", "Pictures", "kind"]

Kind = Literal["pixels", "numbers", "counts"]


class Pictures(NamedTuple):
    """A row is a picture: channel c, row r, column k is its value number (c height + r) width + k.

    >>> Pictures(28, 28).values, Pictures(32, 32, channels=3).values
    (784, 3072)
    """

    height: int
    width: int
    channels: int = 1

    @property
    def values(self) -> int:
        """How many values a row has."""
        return self.channels * self.height * self.width


class Columns(NamedTuple):
    """A row is a line of a table, with a value for each column.

    >>> Columns(("mass", "length")).values
    2
    """

    names: tuple[str, ...]

    @property
    def values(self) -> int:
        """How many values a row has."""
        return len(self.names)


Layout = Pictures | Columns


@dataclass(frozen=True)
class Dataset:
    """Rows to train on and rows that are held out, with all that is known of them.

    Attributes:
        train, test: rows ``[n, values]``: a tensor, or what NumPy's row numbers index, as a
            memory-mapped array, of which only the rows of a batch are read.
        layout: of a row.
        train_labels, test_labels: ``int64 [n]``, numbers of ``classes``; None if there are none.
        classes: what the labels are called.
        notes: what was chosen on the way, a sentence each.
        changes: what was done to values, a sentence each.
    """

    train: Any
    test: Any
    layout: Layout
    train_labels: Tensor | None = None
    test_labels: Tensor | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """What the values are."""
        return kind(self.train)


class Part(NamedTuple):
    """Rows as a reader found them: their layout, and the name of each one's class, if it has one.

    Rows are an array in memory, or a `vaelib.data.Rows`.
    """

    rows: Any
    layout: Layout
    labels: list[str] | None = None


def kind(rows: Any) -> Kind:
    """What the values of rows are, by their type.

    >>> import torch
    >>> kind(torch.zeros(3, 4)), kind(torch.zeros(3, 4, dtype=torch.uint8))
    ('numbers', 'pixels')
    """
    name = str(rows.dtype).removeprefix("torch.")
    if name == "uint8":
        return "pixels"
    return "numbers" if "float" in name else "counts"
