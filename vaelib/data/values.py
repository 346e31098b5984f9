"""What stands in the values of rows: looked through once, converted where nothing is lost."""

from typing import Any, NamedTuple

import numpy as np

from vaelib.arguments import BadType, BadValue
from vaelib.data.dataset import Columns, Layout
from vaelib.data.rows import Rows

__all__ = ["ACCEPTED", "Survey", "checked", "require_type", "survey"]

ACCEPTED = (
    "an array [n, height, width], [n, channels, height, width] or [n, values] of uint8 (pixels "
    "from 0 to 255), of other whole numbers (counts) or of floating point (numbers, nan where one "
    "is missing)"
)
_AT_ONCE = 2**22  # values: 32 MB of float64
_LARGEST = float(np.finfo(np.float32).max)


class Survey(NamedTuple):
    """Of each column of some rows, what is to be known before anybody counts on it."""

    low: np.ndarray  # of what is not missing
    high: np.ndarray
    missing: np.ndarray  # how many are nan
    rounding: np.ndarray  # what float32 changes at most

    def range(self) -> str:
        """From the lowest to the highest value, in words."""
        return f"values {np.fmin.reduce(self.low):.4g} to {np.fmax.reduce(self.high):.4g}"


def survey(array: np.ndarray | Rows) -> Survey:
    """Look through an array ``[n, …]``, some rows at a time, of which the rest may be on disk."""
    columns = int(np.prod(array.shape[1:]))
    step = max(1, _AT_ONCE // columns)
    low, high = np.full(columns, np.nan), np.full(columns, np.nan)
    missing, rounding = np.zeros(columns, int), np.zeros(columns)
    exact = array.dtype.itemsize <= 2 or array.dtype == np.float32
    for start in range(0, len(array), step):
        some = np.asarray(array[start : start + step]).reshape(-1, columns)
        low = np.fmin(low, np.fmin.reduce(some, 0))
        high = np.fmax(high, np.fmax.reduce(some, 0))
        if array.dtype.kind == "f":
            missing += np.isnan(some).sum(0)
        if not exact:
            with np.errstate(all="ignore"):
                error = np.abs(some - some.astype(np.float32))
            rounding = np.fmax(rounding, np.fmax.reduce(error, 0))
    return Survey(low, high, missing, rounding)


def checked(
    array: np.ndarray | Rows, layout: Layout, where: str, notes: list[str], changes: list[str]
) -> Any:
    """Rows of numbers or counts: float32 or int64, in memory, or read from their file when asked.

    Args:
        array: ``[n, …]``, of floating point or whole numbers, not uint8.
        layout: of a row.
        where: what an error calls it.
        notes, changes: get a sentence for each choice and each change.

    Raises:
        ValueError: if a value is infinite or too large, or a column has none.
    """
    found = survey(array)
    dtype: type = np.float32
    if array.dtype.kind == "f":
        _require_numbers(found, layout, where)
        lost = int(found.missing.sum())
        if lost:
            share = lost / (len(array) * layout.values)
            notes.append(f"{lost:,} values, {share:.1%}, are missing (nan)")
    elif np.fmin.reduce(found.low) < 0:
        notes.append(
            f"whole numbers ({array.dtype}) of which some are below 0 are no counts: they are "
            f"taken as numbers"
        )
    else:
        if np.fmax.reduce(found.high) >= 2**63:
            raise BadValue(f"{where}: expected counts below 2^63, got {found.range()}")
        dtype = np.int64
        notes.append(
            f"whole numbers ({array.dtype}) are taken as counts; pixels are stored as uint8, "
            f"other numbers as floating point"
        )
    if dtype is np.float32:
        changes.extend(_rounded(found, layout))
    if isinstance(array, np.memmap | Rows):
        return Rows(array, dtype=dtype)
    return np.ascontiguousarray(array, dtype).reshape(len(array), -1)


def _require_numbers(found: Survey, layout: Layout, where: str) -> None:
    infinite = np.isinf(found.low) | np.isinf(found.high)
    if infinite.any():
        raise BadValue(
            f"{where}: expected finite numbers, or nan where one is missing, got infinite ones"
            f"{_in_columns(layout, infinite)}; put nan there, or leave these rows out"
        )
    large = (found.high > _LARGEST) | (found.low < -_LARGEST)
    if large.any():
        raise BadValue(
            f"{where}: expected numbers that float32 holds, got {found.range()}"
            f"{_in_columns(layout, large)}; take another unit"
        )
    empty = np.isnan(found.low)
    if isinstance(layout, Columns) and empty.any():
        raise BadValue(
            f"{where}: expected some numbers in each column, got none"
            f"{_in_columns(layout, empty)}; leave it out"
        )


def _rounded(found: Survey, layout: Layout) -> list[str]:
    """A sentence if rounding to single precision takes more than noise does."""
    spread = found.high - found.low
    if not isinstance(layout, Columns):  # all values of pictures have one unit
        spread = np.full_like(spread, np.fmax.reduce(found.high) - np.fmin.reduce(found.low))
    coarse = (found.rounding > 1e-4 * spread) & (spread > 0)
    if not coarse.any():
        return []
    return [
        f"single precision rounds values{_in_columns(layout, coarse)} by up to "
        f"{found.rounding[coarse].max():.3g}, more than 1/10,000 of their range: subtract a "
        f"constant from them first"
    ]


def _in_columns(layout: Layout, which: np.ndarray) -> str:
    """Where, in words, if columns have names."""
    if not isinstance(layout, Columns):
        return ""
    names = [name for name, bad in zip(layout.names, which, strict=True) if bad]
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f" in {', '.join(map(repr, names[:5]))}{more}"


def require_type(array: np.ndarray | Rows, where: str) -> None:
    """Raise unless it holds whole numbers or floating point."""
    if array.dtype.kind in "fiu":
        return
    remedy = (
        "255 * array.astype(np.uint8) makes black and white pixels of it"
        if array.dtype == bool
        else "a column of words can be labels"
        if array.dtype.kind in "US"
        else "convert it"
    )
    raise BadType(
        f"{where}: expected {ACCEPTED}; got {array.dtype} of shape {array.shape}: {remedy}"
    )
