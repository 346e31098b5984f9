"""A table from a ``.csv`` or ``.tsv`` file."""

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vaelib.arguments import BadValue

__all__ = ["Table", "labels", "read"]

MISSING = {"", "na", "n/a", "nan", "null", "none"}


class Table(NamedTuple):
    """Numbers ``float64 [n, columns]``, nan where a cell is empty; names; labels, if asked for."""

    values: np.ndarray
    names: tuple[str, ...]
    labels: list[str] | None


def read(
    path: Path,
    notes: list[str],
    *,
    labels: str | None = None,
    wanted: Sequence[str] | None = None,
) -> Table:
    """A table of numbers, with or without a line of names.

    The first line is one of names if none of its cells is a number. Cells are separated by tabs if
    the first line has one, by semicolons if it has one of these, by commas otherwise. An empty
    cell, ``nan`` and ``NA`` are missing values.

    Args:
        path: of the file, in UTF-8.
        notes: gets a sentence for each choice.
        labels: the name of the column that holds labels, words or whole numbers.
        wanted: the names of the columns to be read; all but that of the labels, if it is None.

    Raises:
        ValueError: if lines have more or fewer cells than the first, or a cell is no number; names
            the line and the column.
    """
    columns, numbers, header = _columns(path, notes)
    found = None
    if labels is not None:
        found = _labels(path, labels, columns, numbers)
        columns.pop(labels)
    if wanted is not None:
        columns = _wanted(path, columns, wanted, header)
    elif header:
        _drop_index(columns, notes)
    if not columns:
        raise BadValue(f"{path}: expected columns of numbers beside that of the labels, got none")
    values = [_values(path, name, cells, numbers) for name, cells in columns.items()]
    return Table(np.array(values).T, tuple(columns), found)


def labels(path: Path, name: str | None) -> list[str] | None:
    """The labels of a table: the column of this name, or its only column of words.

    Args:
        path: of the file.
        name: of the column; None looks for the one whose cells are all words.

    Returns:
        A label for each line, or None if there is no such column.
    """
    columns, numbers, _ = _columns(path, [])
    if name is None:
        of_words = [k for k, cells in columns.items() if all(_number(c) is None for c in cells)]
        name = of_words[0] if len(of_words) == 1 else None
    return _labels(path, name, columns, numbers) if name in columns else None


def _columns(path: Path, notes: list[str]) -> tuple[dict[str, Sequence[str]], list[int], bool]:
    """The cells of each column by its name, the number of each line, and if it has names."""
    lines = _cells(path)
    if not lines:
        raise BadValue(f"{path}: expected a table with at least one line, got none")
    first = lines[0][1]
    words = [cell for cell in first if _number(cell) is None]
    header = bool(words) and all(cell in words or cell.lower() in MISSING for cell in first)
    if header:
        names, lines = _names(path, first), lines[1:]
    else:
        names = [f"x{i}" for i in range(1, len(first) + 1)]
        notes.append(
            f"the first line has numbers and is data, so the columns are called x1 to x{len(first)}"
        )
    if not lines:
        raise BadValue(f"{path}: expected lines below that of the names, got none")
    if len(names) == 1 and " " in lines[0][1][0]:
        raise BadValue(
            f"{path}: expected cells separated by commas, semicolons or tabs, got "
            f"{lines[0][1][0]!r}; numpy.savetxt has delimiter=','"
        )
    for number, cells in lines:
        if len(cells) != len(names):
            raise BadValue(
                f"{path}: line {number}: expected {len(names)} cells as in the first line, got "
                f"{len(cells)}; a cell with a separator in it stands in quotes"
            )
    columns: dict[str, Sequence[str]] = dict(
        zip(names, zip(*(cells for _, cells in lines), strict=True), strict=True)
    )
    return columns, [number for number, _ in lines], header


def _cells(path: Path) -> list[tuple[int, list[str]]]:
    """The lines that are not empty, each with its number, as cells without spaces around them."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            bare = re.sub('"[^"]*"', "", file.readline())
            file.seek(0)
            tab = path.suffix.lower() == ".tsv" or "\t" in bare
            mark = "\t" if tab else ";" if ";" in bare else ","
            reader = csv.reader(file, delimiter=mark, skipinitialspace=not tab, strict=True)
            return [
                (reader.line_num, [cell.strip() for cell in cells])
                for cells in reader
                if any(cell.strip() for cell in cells) or len(cells) > 1
            ]
    except UnicodeDecodeError as error:
        raise BadValue(f"{path}: expected text in UTF-8 ({error}); save it in that") from error
    except csv.Error as error:
        raise BadValue(f"{path}: cannot be read as a table ({error}); mend that line") from error


def _names(path: Path, cells: list[str]) -> list[str]:
    """The names of columns; numpy.savetxt writes a # before them."""
    names = [cells[0].removeprefix("#").strip(), *cells[1:]]
    names = [name or f"x{i}" for i, name in enumerate(names, 1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadValue(
            f"{path}: expected columns of different names, got {', '.join(map(repr, twice))} more "
            f"than once; rename them"
        )
    return names


def _number(cell: str) -> float | None:
    """A cell as a number, nan if it is missing, None if it is a word."""
    if cell.lower() in MISSING:
        return math.nan
    try:
        return float(cell) if "_" not in cell else None  # Python reads 1_000 as a number
    except ValueError:
        return None


def _values(path: Path, name: str, cells: Sequence[str], lines: list[int]) -> list[float]:
    """A column of numbers."""
    values = [_number(cell) for cell in cells]
    if None not in values:
        return values  # type: ignore[return-value]
    wrong = values.index(None)
    where = f"{path}: line {lines[wrong]}, column {name!r}"
    if re.fullmatch(r"[-+]?[\d.]*,[\d,]+", cells[wrong]):
        raise BadValue(
            f"{where}: expected a number, got {cells[wrong]!r}; write it with a point for the "
            f"decimals, and without commas"
        )
    if all(_number(cell) is None for cell in cells if cell.lower() not in MISSING):
        raise BadValue(
            f"{where}: expected a number, got {cells[wrong]!r}, and no other cell of the column is "
            f"one; labels={name!r} takes it as labels, or leave the column out",
            "labels",
        )
    raise BadValue(
        f"{where}: expected a number, got {cells[wrong]!r}; leave the cell empty if it is missing"
    )


def _labels(
    path: Path, name: str, columns: dict[str, Sequence[str]], lines: list[int]
) -> list[str]:
    if name not in columns:
        raise BadValue(
            f"{path}: expected labels as one of the columns {_some(columns)}, got {name!r}",
            "labels",
        )
    cells = columns[name]
    for line, cell in zip(lines, cells, strict=True):
        if cell.lower() in MISSING:
            raise BadValue(
                f"{path}: line {line}, column {name!r}: expected a label, got {cell!r}; leave the "
                f"line out, or write one"
            )
    return list(cells)


def _wanted(
    path: Path, columns: dict[str, Sequence[str]], wanted: Sequence[str], header: bool
) -> dict[str, Sequence[str]]:
    """The columns of these names, in this order."""
    if header and set(wanted) <= set(columns):
        return {name: columns[name] for name in wanted}
    unnamed = all(name == f"x{i}" for i, name in enumerate(wanted, 1))
    if header and unnamed:
        _drop_index(columns, [])
    if (unnamed or not header) and len(columns) == len(wanted):
        return dict(zip(wanted, columns.values(), strict=True))
    missing = [name for name in wanted if name not in columns]
    remedy = (
        f"add {', '.join(map(repr, missing))}, with empty cells if it is not known"
        if header and not unnamed
        else "bring it to as many"
    )
    raise BadValue(
        f"{path}: expected the {len(wanted)} columns {_some(wanted)}, got {len(columns)}, "
        f"{_some(columns)}; {remedy}"
    )


def _some(names: Iterable[str]) -> str:
    """Names in words, not all of very many."""
    names = list(names)
    return ", ".join(map(repr, names[:8])) + (" …" if len(names) > 8 else "")


def _drop_index(columns: dict[str, Sequence[str]], notes: list[str]) -> None:
    """Leave out row numbers, which pandas writes into a first column without a name."""
    name, cells = next(iter(columns.items()), ("", ()))
    counted = [[str(i + start) for i in range(len(cells))] for start in (0, 1)]
    if name == "x1" and list(cells) in counted:
        del columns[name]
        notes.append("the first column has no name and counts the lines: it is left out")
