"""Numbers as the content of a .csv file."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np

__all__ = ["cell", "table"]


def cell(value: object) -> object:
    """What stands in a cell: of a number the shortest digits that float32 reads back as the same.

    >>> cell(0.1), cell(3.0), cell(float("nan")), cell("a.png")
    ('0.1', '3', '', 'a.png')
    """
    if not isinstance(value, float):
        return value
    return "" if math.isnan(value) else str(np.float32(value)).removesuffix(".0")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """A line of names, and a line for each row; a missing value is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode()
