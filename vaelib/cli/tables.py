"""Numbers as a .csv file, and any result's file, whole or not at all."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vaelib import files
from vaelib.arguments import BadValue

__all__ = ["cell", "require_suffix", "table", "write"]


def cell(value: object) -> object:
    """What stands in a cell: of a number the shortest digits that float32 reads back as the same.

    >>> cell(0.1), cell(3.0), cell(float("nan")), cell("a.png")
    ('0.1', '3', '', 'a.png')
    """
    if not isinstance(value, float):
        return value
    if math.isnan(value):
        return ""
    return str(np.float32(value)).removesuffix(".0")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> bytes:
    """The content of a .csv file: a line of names, and a line for each row."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([cell(value) for value in row] for row in rows)
    return text.getvalue().encode()


def require_suffix(option: str, path: str | Path, *suffixes: str, why: str = "") -> Path:
    """A path whose name says what is written into it.

    Raises:
        BadValue: if it ends otherwise.
    """
    path = Path(path)
    if path.suffix.lower() not in suffixes:
        raise BadValue(
            f"{option} {path}: expected a name that ends in {' or '.join(suffixes)}{why}"
        )
    return path


def write(path: Path, content: bytes) -> None:
    """A result's file, whole or not at all."""
    try:
        files.replace(path, content)
    except OSError as error:
        raise OSError(
            f"{path}: could not write {len(content):,} bytes ({error.strerror}); "
            f"{files.remedy(error)}, or choose another place"
        ) from error
