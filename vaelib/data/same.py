"""New data for a model that is trained: of the layout and the kind of those that it was trained on.

Nothing is held out, nothing is guessed; what is not the same is converted only where nothing is
lost by it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue
from vaelib.data import arrays, folder, table
from vaelib.data.dataset import Columns, Dataset, Kind, Layout, Part, Pictures
from vaelib.data.own import numbers_of
from vaelib.data.read import as_array, existing
from vaelib.data.values import require_type

__all__ = ["labels_of", "names_of", "same"]

_ALL = 10**18  # bytes: whatever a file has is read


def same(source: str | Path | Any, layout: Layout, kind: Kind) -> Tensor:
    """Rows of new data, as a model takes that was trained on data of this layout and kind.

    Args:
        source: a path as `vaelib.data.own` takes it, of which nothing is held out, or the ``test``
            of one that has it; a `Dataset`, whose ``test`` is taken; or a tensor or array of rows
            ``[n, values]``, of pictures ``[n, channels, height, width]``, for grey ones
            ``[n, height, width]``, or a single one of these. Of a table with names the columns are
            found by them, in any order, and what else there is is not read.
        layout: of a row.
        kind: of its values.

    Returns:
        Rows ``[n, values]``, uint8, float32 or int64 as ``kind`` says. Grey pictures for colour
        have three channels alike; whole numbers become numbers, and numbers that are whole and not
        negative become counts. Counts of which some are missing are float32 with nan.

    Raises:
        TypeError, ValueError: if it is something else; says what was expected, got, and to do.

    >>> same(np.arange(6), Columns(("a", "b", "c", "d", "e", "f")), "numbers")
    tensor([[0., 1., 2., 3., 4., 5.]])
    """
    where = str(source) if isinstance(source, str | Path) else "data"
    rows = _rows(source, layout, where)
    return torch.from_numpy(_converted(rows, layout, kind, where))


def labels_of(source: Any, classes: tuple[str, ...], *, labels: str | None = None) -> Tensor | None:
    """The labels of new data, as numbers of the classes that a model was trained on.

    Args:
        source: as for `same`.
        classes: of the model.
        labels: of a table, the name of the column that holds them; without it, they are in the only
            column of words, if there is one.

    Returns:
        ``int64 [n]``, or None where there are none.

    Raises:
        ValueError: if one is not among the classes.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder, "new.csv")
    ...     written = file.write_text("mass,kind\\n3.1,cat\\n0.02,bird\\n")
    ...     labels_of(file, ("bird", "cat"))
    tensor([1, 0])
    """
    if isinstance(source, Dataset):
        if source.test_labels is None:
            return None
        names = [source.classes[i] for i in source.test_labels.tolist()]
        return numbers_of(names, classes, "data")
    if not isinstance(source, str | Path):
        return None
    path = existing(source)
    if path.is_dir():
        return numbers_of(_pictures(path).labels, classes, str(path))
    if path.suffix.lower() in (".npy", ".npz"):
        return numbers_of(_array(path)[1], classes, str(path))
    return numbers_of(table.labels(path, labels), classes, str(path))


def names_of(source: Any) -> list[str] | None:
    """What the rows of new data are called, in the order of `same`.

    Returns:
        Of a folder the names of its files, ``"7/07.png"`` of one in the folder of a class; None of
        all else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("b.png", "a.png", "notes.txt"):
    ...         Path(folder, name).touch()
    ...     names_of(folder)
    ['a.png', 'b.png']
    """
    if not isinstance(source, str | Path) or not existing(source).is_dir():
        return None
    return folder.names(_held_out_in(Path(source)))


def _rows(source: Any, layout: Layout, where: str) -> np.ndarray:
    """The values of a source in rows of this layout."""
    if isinstance(source, Dataset):
        if source.layout != layout:
            raise BadValue(f"{where}: expected {_said(layout)}, got {_said(source.layout)}")
        return as_array(source.test, where)
    if not isinstance(source, str | Path):
        return _shaped(as_array(source, where), layout, where)
    path = existing(source)
    if path.is_dir():
        return _pictures_like(_pictures(path), layout, where)
    if path.suffix.lower() in (".npy", ".npz"):
        return _shaped(_array(path)[0], layout, where)
    if isinstance(layout, Columns):
        return table.read(path, [], wanted=layout.names).values
    raise BadValue(f"{where}: expected {_said(layout)}, got a table; give a folder or an array")


def _pictures(path: Path) -> Part:
    return folder.pictures(_held_out_in(path), [], [], new=True)


def _held_out_in(path: Path) -> Path:
    split = folder.split_in(path)
    return path if split is None else split[1]


def _array(path: Path) -> tuple[np.ndarray, list[str] | None]:
    found = arrays.load(path, _ALL, [])
    return found["test"] if "test" in found else next(iter(found.values()))


def _pictures_like(found: Part, layout: Layout, where: str) -> np.ndarray:
    """Pictures from a folder, with as many channels as the model's."""
    if isinstance(layout, Pictures) and layout.channels == 3:
        found = folder.coloured(found)
    if found.layout == layout:
        return found.rows
    remedy = "bring them to that size"
    if isinstance(layout, Pictures) and found.layout[:2] == layout[:2]:
        remedy = "turn them to grey (PIL: Image.open(file).convert('L')), or train on colour"
    raise BadValue(f"{where}: expected {_said(layout)}, got {_said(found.layout)}; {remedy}")


def _shaped(array: np.ndarray, layout: Layout, where: str) -> np.ndarray:
    """An array as rows, if its shape is one that this layout has."""
    shape, values = array.shape, layout.values
    if shape == (values,) or (array.ndim == 2 and shape[1] == values):
        return array.reshape(-1, values)
    remedy = "bring it to that shape"
    if isinstance(layout, Pictures):
        height, width, channels = layout
        if shape[-2:] == (height, width):
            if channels == 1 and array.ndim in (2, 3):
                return array.reshape(-1, values)
            if shape[-3:-2] == (channels,) and array.ndim in (3, 4):
                return array.reshape(-1, values)
            if array.ndim == 4 and shape[1] == 1 and channels == 3:
                return np.tile(array, (1, 3, 1, 1)).reshape(-1, values)
        if channels > 1 and shape[-3:] == (height, width, channels):
            order = "(0, 3, 1, 2)" if array.ndim == 4 else "(2, 0, 1)"
            remedy = f"array.transpose{order} brings the channels before height and width"
    raise BadValue(f"{where}: expected {_said(layout)}, got shape {tuple(shape)}; {remedy}")


def _converted(rows: np.ndarray, layout: Layout, kind: Kind, where: str) -> np.ndarray:
    """Values of the kind, if nothing is lost."""
    require_type(rows, where)
    if kind == "numbers":
        return _as_numbers(rows, layout, where)
    if kind == "pixels":
        low, high = _range(rows)
        if rows.dtype.kind == "f" or low < 0 or high > 255:
            raise BadType(
                f"{where}: expected pixels, uint8 from 0 to 255, got {_got(rows)}; of grey values "
                f"x in [0, 1], (255 * x).round() as uint8 makes them"
            )
        return np.ascontiguousarray(rows, np.uint8)
    seen = rows[~np.isnan(rows)] if rows.dtype.kind == "f" else rows
    if not ((seen >= 0) & (seen < 2**63) & (seen == np.floor(seen))).all():
        raise BadValue(
            f"{where}: expected counts, whole numbers from 0 on, got {_got(rows)}; train on "
            f"numbers if these are to be scored"
        )
    return np.ascontiguousarray(rows, np.int64 if seen.size == rows.size else np.float32)


def _as_numbers(rows: np.ndarray, layout: Layout, where: str) -> np.ndarray:
    if rows.dtype == np.uint8 and isinstance(layout, Pictures):
        raise BadType(
            f"{where}: expected pictures of numbers (floating point) as in training, got pixels "
            f"{_got(rows)}; bring them to the scale of the training data, x / 255 perhaps"
        )
    if np.isinf(rows).any():
        raise BadValue(
            f"{where}: expected finite numbers, or nan where one is missing, got infinite ones"
        )
    return np.ascontiguousarray(rows, np.float32)


def _range(rows: np.ndarray) -> tuple[float, float]:
    if not rows.size:
        return 0.0, 0.0
    return float(np.fmin.reduce(rows, None)), float(np.fmax.reduce(rows, None))


def _got(rows: np.ndarray) -> str:
    low, high = _range(rows)
    return f"{rows.dtype} from {low:.4g} to {high:.4g}"


def _said(layout: Layout) -> str:
    """A layout in words."""
    if isinstance(layout, Columns):
        some = ", ".join(map(repr, layout.names[:8])) + (" …" if layout.values > 8 else "")
        return f"rows of {layout.values} values ({some})"
    height, width, channels = layout
    if channels == 1:
        return f"grey pictures of {height} x {width} (height x width)"
    return f"pictures of {channels} x {height} x {width} (channels x height x width)"
