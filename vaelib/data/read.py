"""A source, read whole: a folder of pictures, a file with arrays or a table, or an array."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue, shown
from vaelib.data import arrays, folder, table
from vaelib.data.dataset import Columns, Part
from vaelib.data.rows import Rows
from vaelib.data.values import checked

__all__ = ["SOURCES", "Content", "as_array", "existing", "read"]

SOURCES = (
    "a folder of PNG or JPEG files, or of one such folder for each class, a .npy or .npz file, or "
    "a table, .csv or .tsv"
)


class Content(NamedTuple):
    """What was read: ``train`` and ``test`` where the source has them, otherwise one part."""

    parts: dict[str, Part]
    notes: list[str]  # what was chosen on the way, a sentence each
    changes: list[str]  # what was done to values


def read(source: Any, labels: Any = None, *, resident: int) -> Content:
    """Read a source to train on; see `vaelib.data.own`."""
    content = Content({}, [], [])
    if not isinstance(source, str | Path):
        _read_array(source, labels, content)
        return content
    path = existing(source)
    suffix = path.suffix.lower()
    if labels is not None and suffix not in (".csv", ".tsv"):
        raise BadValue(
            f"{path}: expected labels as the name of a column, of a table only, got "
            f"{shown(labels)}; leave it out: folders say their classes by the names of folders in "
            f"them, .npz files by the arrays train_labels and test_labels, or labels",
            "labels",
        )
    if path.is_dir():
        _read_folder(path, content)
    elif suffix in (".npz", ".npy"):
        for name, (array, its) in arrays.load(path, resident, content.notes).items():
            where = f"{path}: array {name!r}"
            content.parts[name] = arrays.part(array, where, content.notes, content.changes, its)
    else:
        _read_table(path, labels, content)
    return content


def existing(source: str | Path) -> Path:
    """The path of a source that is there and of a known kind."""
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such file or folder; expected {SOURCES}")
    if not path.is_dir() and path.suffix.lower() not in (".npz", ".npy", ".csv", ".tsv"):
        raise BadValue(
            f"{path}: expected {SOURCES}, got a file that ends in {path.suffix or 'nothing'!r}"
        )
    return path


def as_array(source: Any, where: str) -> np.ndarray:
    """A tensor, an array or `Rows` as an array."""
    if isinstance(source, Tensor):
        source = source.detach().cpu()
        return (source.float() if source.dtype == torch.bfloat16 else source).numpy()
    if isinstance(source, np.ndarray):
        return source
    if isinstance(source, Rows):
        return source[:]
    raise BadType(
        f"{where}: expected {SOURCES}, a tensor or a NumPy array, got {type(source).__name__}; "
        f"numpy.array(…) makes one of numbers, .to_numpy() of a data frame",
        "data",
    )


def _read_array(source: Any, labels: Any, content: Content) -> None:
    array = source if isinstance(source, Rows) else as_array(source, "data")
    names = None
    if labels is not None:
        names = arrays.label_names(np.asarray(labels), len(array), "labels")
    content.parts["data"] = arrays.part(array, "data", content.notes, content.changes, names)


def _read_folder(path: Path, content: Content) -> None:
    notes, changes = content.notes, content.changes
    split = folder.split_in(path)
    if split is None:
        content.parts["images"] = folder.pictures(path, notes, changes)
        return
    train, test = (folder.pictures(part, notes, changes) for part in split)
    parts = {"train": train, "test": test}
    if len({part.layout[-1] for part in parts.values()}) > 1:  # channels, 1 and 3
        parts = {name: folder.coloured(part) for name, part in parts.items()}
    content.parts.update(parts)


def _read_table(path: Path, labels: str | None, content: Content) -> None:
    found = table.read(path, content.notes, labels=labels)
    layout = Columns(found.names)
    rows = checked(found.values, layout, str(path), content.notes, content.changes)
    part = arrays.without_empty(Part(rows, layout, found.labels), content.notes)
    content.parts["data"] = part
