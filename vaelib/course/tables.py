"""A small table of results, as a notebook shows it: rounded, aligned, its heads with units."""

import html
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from torch import Tensor

__all__ = ["Table", "table"]


class Table:
    """Texts of cells by column, made by `table`: HTML in a notebook, and text elsewhere."""

    def __init__(self, columns: Mapping[str, Sequence[str]], numeric: frozenset[str]) -> None:
        self.columns, self.numeric = dict(columns), numeric

    def _repr_html_(self) -> str:
        def line(tag: str, texts: Sequence[str]) -> str:
            cells = []
            for name, text in zip(self.columns, texts, strict=True):
                kind = ' class="number"' if name in self.numeric else ""
                cells.append(f"<{tag}{kind}>{_marked(text)}</{tag}>")
            return f"<tr>{''.join(cells)}</tr>"

        rows = "\n".join(line("td", row) for row in zip(*self.columns.values(), strict=True))
        head = line("th", [*self.columns])
        # A wide table scrolls by itself on a phone, with a finger or with the keys.
        return (
            '<div class="result" tabindex="0">\n<table>\n'
            f"<thead>{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>\n</div>"
        )

    def __repr__(self) -> str:
        lines = [[*self.columns], *zip(*self.columns.values(), strict=True)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                text.rjust(width) if name in self.numeric else text.ljust(width)
                for name, text, width in zip(self.columns, line, widths, strict=True)
            ).rstrip()
            for line in lines
        )


def table(
    columns: Mapping[str, Sequence[Any] | Tensor],
    *,
    digits: int | Mapping[str, int] = 2,
) -> Table:
    """A table of results, to be the last expression of a cell.

    Args:
        columns: from a column's head, which names its unit, to its values: texts, in which
            ```code``` is set as code, or numbers. A tensor has one axis.
        digits: decimals of numbers that are not whole, for all columns or by their heads.

    Raises:
        ValueError: if columns differ in length, or ``digits`` names a column that is not there.
        TypeError: if a value is neither text nor number.

    >>> table({"guess": ["posterior", "prior"], "gap, nats": [-1e-9, 2.3456]})
    guess      gap, nats
    posterior       0.00
    prior           2.35
    """
    if isinstance(digits, Mapping) and digits.keys() - columns.keys():
        raise ValueError(f"table: digits names {sorted(digits.keys() - columns.keys())}, no column")
    values = {
        name: column.tolist() if isinstance(column, Tensor) else [*column]
        for name, column in columns.items()
    }
    if len({len(column) for column in values.values()}) != 1:
        lengths = {name: len(column) for name, column in values.items()}
        raise ValueError(f"table: expected columns of one length, got {lengths}")
    shown, numeric = {}, set()
    for name, column in values.items():
        decimals = digits.get(name, 2) if isinstance(digits, Mapping) else digits
        shown[name] = [_text(name, value, decimals) for value in column]
        if not any(isinstance(value, str) for value in column):
            numeric.add(name)
    return Table(shown, frozenset(numeric))


def _text(name: str, value: object, decimals: int) -> str:
    """A number with its decimals, a minus sign and no negative zero; a text as it is."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"table: expected text or a number in column {name!r}, got {value!r}")
    number = f"{value:,d}" if isinstance(value, Integral) else f"{float(value):,.{decimals}f}"
    if not re.search(r"[1-9a-z]", number):
        number = number.lstrip("-")
    return number.replace("-", "−").replace("inf", "∞")


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
