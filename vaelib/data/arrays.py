"""Arrays as rows, and the arrays in a ``.npy`` or ``.npz`` file."""

import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from vaelib.arguments import BadType, BadValue
from vaelib.data.dataset import Columns, Layout, Part, Pictures
from vaelib.data.rows import Rows
from vaelib.data.values import ACCEPTED, checked, require_type, survey

__all__ = ["label_names", "load", "part", "without_empty"]

_PAIR, _ONE = {"train", "test"}, ("images", "data")
_LABELS = {"train": "train_labels", "test": "test_labels", "images": "labels", "data": "labels"}


def load(path: Path, resident: int, notes: list[str]) -> dict[str, tuple[np.ndarray, list | None]]:
    """The arrays of a file by their names, each with the names of its rows' classes.

    Args:
        path: of a ``.npy`` or ``.npz`` file.
        resident: bytes from which on an array of ``.npy`` is mapped and not read.
        notes: gets a sentence for each choice.

    Returns:
        ``train`` and ``test``, or one, ``images`` or ``data``.

    Raises:
        ValueError: if the file is damaged, holds pickles or other names.
    """
    magic = b"PK" if path.suffix == ".npz" else b"\x93NUMPY"
    with open(path, "rb") as file:  # numpy leaves one open that it cannot read
        if file.read(len(magic)) != magic:
            raise BadValue(f"{path}: this is no {path.suffix} file; write it with numpy.save(z)")
        file.seek(0)
        try:
            if path.suffix == ".npy" and path.stat().st_size > resident:
                notes.append("the file is read as it is needed, and is not in memory as a whole")
                return {"images": (np.load(path, mmap_mode="r", allow_pickle=False), None)}
            # A pickle runs its author's code when it is read.
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"images": (content, None)}
            return _named(path, content, notes)
        except (zipfile.BadZipFile, zlib.error, EOFError, MemoryError, ValueError) as error:
            if isinstance(error, BadValue):
                raise
            if "allow_pickle" in str(error) or "Python objects" in str(error):
                raise BadValue(
                    f"{path}: holds pickled arrays (dtype object), which are not read, because a "
                    f"pickle can run any code; store {ACCEPTED}"
                ) from error
            raise BadValue(f"{path}: cannot be read ({error}); take another copy") from error


def _named(
    path: Path, archive: np.lib.npyio.NpzFile, notes: list[str]
) -> dict[str, tuple[np.ndarray, list | None]]:
    """The arrays of an archive that have one of our names."""
    there = set(archive.files)
    one = [name for name in _ONE if name in there]
    names = ["train", "test"] if there >= _PAIR else one
    if len(names) != 1 + (there >= _PAIR) or (one and there & _PAIR):
        raise BadValue(
            f"{path}: expected the arrays 'train' and 'test', or one, 'images' or 'data', got "
            f"{', '.join(map(repr, archive.files)) or 'none'}; an array is {ACCEPTED}"
        )
    used = set(names)
    found: dict[str, tuple[np.ndarray, list | None]] = {}
    for name in names:
        array, labels = archive[name], None
        if _LABELS[name] in there:
            used.add(_LABELS[name])
            labels = label_names(archive[_LABELS[name]], len(array), f"{path}: {_LABELS[name]!r}")
        found[name] = array, labels
    if len({labels is None for _, labels in found.values()}) > 1:
        raise BadValue(
            f"{path}: expected both 'train_labels' and 'test_labels' or neither, got one; add the "
            f"other"
        )
    if there - used:
        notes.append(f"not read: {', '.join(sorted(there - used))}")
    return found


def label_names(labels: np.ndarray, rows: int, where: str) -> list[str]:
    """Labels as the names of classes, one for each row.

    Raises:
        TypeError: if they are neither whole numbers nor words.
        ValueError: if there are more or fewer than rows.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) != rows:
        one_hot = "; argmax(1) makes labels of ones and zeros" if labels.ndim == 2 else ""
        raise BadValue(
            f"{where}: expected one label for each of {rows} rows, got shape {labels.shape}"
            f"{one_hot}"
        )
    if labels.dtype.kind == "f" and (labels == np.round(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iubU":
        raise BadType(
            f"{where}: expected labels as whole numbers or words, got {labels.dtype}; for words, "
            f"np.array(labels, dtype=str)"
        )
    return [str(label) for label in labels.tolist()]


def part(
    array: np.ndarray | Rows,
    where: str,
    notes: list[str],
    changes: list[str],
    labels: list[str] | None = None,
) -> Part:
    """An array as rows, with the layout that its shape and its type say.

    Args:
        array: ``[n, height, width]``, ``[n, channels, height, width]`` or ``[n, values]``. One that
            is mapped from a file, and `Rows` of one, are not read into memory.
        where: what an error calls it.
        notes, changes: get a sentence for each choice and each change.
        labels: the names of its rows' classes.

    Raises:
        TypeError, ValueError: if its type, shape or values are others; says what is expected.
    """
    require_type(array, where)
    shape = tuple(array.shape)
    if isinstance(array, Rows):
        shape = (len(array), *array.array.shape[1:])
    if len(shape) not in (2, 3, 4) or 0 in shape:
        raise BadValue(f"{where}: expected {ACCEPTED}; got {array.dtype} of shape {shape}")
    layout = _layout(shape, array.dtype == np.uint8, where, notes)
    if array.dtype != np.uint8:
        rows = checked(array, layout, where, notes, changes)
        return without_empty(Part(rows, layout, labels), notes)
    found = survey(array)
    if found.high.max() <= 1:
        raise BadValue(
            f"{where}: expected {ACCEPTED}; got uint8 of shape {shape} with {found.range()}, "
            f"almost black: multiply by 255, or, if they are no pixels, store them as floating "
            f"point"
        )
    if isinstance(array, np.memmap | Rows):
        return Part(Rows(array), layout, labels)
    return Part(np.ascontiguousarray(array).reshape(len(array), -1), layout, labels)


def _layout(shape: tuple[int, ...], pixels: bool, where: str, notes: list[str]) -> Layout:
    if len(shape) == 4:
        channels, height, width = shape[1:]
        if width < channels:
            raise BadValue(
                f"{where}: expected channels before height and width, [n, channels, height, "
                f"width], got shape {shape}: array.transpose(0, 3, 1, 2) brings them there"
            )
        if pixels and channels > 4:
            raise BadValue(
                f"{where}: expected pictures of 1 to 4 channels, [n, channels, height, width], got "
                f"shape {shape}; what has more channels is stored as floating point"
            )
        return Pictures(height, width, channels)
    if len(shape) == 3:
        return Pictures(*shape[1:])
    values, side = shape[1], math.isqrt(shape[1])
    square = side * side == values
    if pixels:
        height, width = (side, side) if square else (1, values)
        notes.append(f"rows of {values} pixels are taken as {height} x {width} (height x width)")
        return Pictures(height, width)
    if square and side >= 16:
        notes.append(
            f"rows of {values} values are taken as a table of {values} columns; "
            f"array.reshape(-1, {side}, {side}) makes pictures of them"
        )
    return Columns(tuple(f"x{i}" for i in range(1, values + 1)))


def without_empty(found: Part, notes: list[str]) -> Part:
    """Without the rows in which nothing is seen: they tell nothing."""
    rows, layout, labels = found
    if isinstance(rows, Rows) or rows.dtype.kind != "f":
        return found
    seen = ~np.isnan(rows).all(1)
    if seen.all():
        return found
    notes.append(f"{int((~seen).sum())} rows without a single value are left out")
    kept = None if labels is None else [name for name, k in zip(labels, seen, strict=True) if k]
    return Part(rows[seen], layout, kept)
