"""Data of your own: read, and a part of them held out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadValue
from vaelib.data.dataset import Dataset, Part, Pictures, kind
from vaelib.data.read import Content, read
from vaelib.data.rows import Rows

__all__ = ["classes_of", "numbers_of", "own"]


def own(source: str | Path | Any, *, labels: Any = None, resident: int = 10**9) -> Dataset:
    """Read data of your own, and hold a part of them out.

    Args:
        source: one of

            - a folder of PNG or JPEG files, all of one size, read in the order of their names. They
              are grey if all of them are, and have three channels otherwise. Without pictures of
              its own its folders are classes; folders ``train`` and ``test`` are the two parts;
            - a ``.npy`` file, or a ``.npz`` file with the arrays ``train`` and ``test``
              (and ``train_labels``, ``test_labels``), or ``images`` or ``data`` (and ``labels``);
            - a ``.csv`` or ``.tsv`` file: lines of numbers, with or without names above them. An
              empty cell, ``nan`` and ``NA`` are missing values;
            - a tensor, a NumPy array or `Rows`.

            An array is ``[n, height, width]``, ``[n, channels, height, width]`` or ``[n, values]``.
            Of ``uint8`` it holds pixels; ``[n, values]`` is then taken to be square pictures if it
            can be. Floating point is numbers, other whole numbers are counts, and ``[n, values]``
            of them is a table. Values are kept: floating point becomes float32, whole numbers
            int64.
        labels: of a table, the name of the column that holds them; of an array, one for each row.
        resident: bytes from which on the array of a ``.npy`` file stays on the disk (`Rows`).

    Returns:
        `Dataset`. Without a ``test`` a random tenth is held out, at least two rows, which are the
        same ones whenever there are as many; where rows come in groups (the frames of a film), give
        a ``test`` of other groups. Its ``notes`` and ``changes`` say what was chosen and done.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        TypeError: if an array has another type.
        ValueError: if arrays, shapes or values are others, or pictures are all black or nearly so,
            as masks of 0 and 1 are; names what is accepted and what was got, and in a folder the
            first file that differs, in a table the line. Pickled arrays are not read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/a.npy", np.full((20, 3, 4), 255, np.uint8))
    ...     images = own(f"{folder}/a.npy")
    >>> images.train.shape, images.test.shape, images.layout
    (torch.Size([18, 12]), torch.Size([2, 12]), Pictures(height=3, width=4, channels=1))
    >>> images.notes
    ('2 of 20 images, at random, are held out',)
    >>> own(torch.randn(30, 6)).layout
    Columns(names=('x1', 'x2', 'x3', 'x4', 'x5', 'x6'))
    """
    content = read(source, labels, resident=resident)
    where = str(source) if isinstance(source, str | Path) else "data"
    train, test = _split(where, content)
    classes = classes_of([*(train.labels or ()), *(test.labels or ())])
    _note_classes(train, test, content)
    return Dataset(
        _tensor(train.rows),
        _tensor(test.rows),
        train.layout,
        numbers_of(train.labels, classes, where),
        numbers_of(test.labels, classes, where),
        classes,
        tuple(dict.fromkeys(content.notes)),
        tuple(dict.fromkeys(content.changes)),
    )


def classes_of(labels: Iterable[str]) -> tuple[str, ...]:
    """The classes that occur, in the order of their names; of their numbers, if all are numbers.

    >>> classes_of(["b", "a", "b"]), classes_of(["10", "9"])
    (('a', 'b'), ('9', '10'))
    """
    found = set(labels)
    whole = all(name.removeprefix("-").isdecimal() for name in found)
    return tuple(sorted(found, key=lambda name: (int(name) if whole else 0, name)))


def numbers_of(labels: list[str] | None, classes: tuple[str, ...], where: str) -> Tensor | None:
    """Labels as numbers of classes, ``int64 [n]``."""
    if labels is None:
        return None
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise BadValue(
            f"{where}: expected labels among {', '.join(map(repr, classes)) or 'no classes'}, got "
            f"{', '.join(map(repr, unknown[:5]))}; leave these rows out"
        )
    number = {name: i for i, name in enumerate(classes)}
    return torch.tensor([number[name] for name in labels])


def _split(where: str, content: Content) -> tuple[Part, Part]:
    """What is trained on and what is held out."""
    parts = content.parts
    if "test" in parts:
        train, test = parts["train"], parts["test"]
        _require_alike(where, train, test)
        if len(test.rows) < 2:
            raise BadValue(
                f"{where}: expected at least 2 {_called(test)} in 'test', because of one there is "
                f"no standard error, got {len(test.rows)}; add some, or leave 'test' out, and call "
                f"the rest 'images' or 'data', of which a random tenth is held out"
            )
        return train, test
    (whole,) = parts.values()
    n = len(whole.rows)
    if n < 3:
        raise BadValue(
            f"{where}: expected at least 3 {_called(whole)}, because 2 are held out, got {n}"
        )
    held_out = max(2, n // 10)  # of one there is no standard error
    content.notes.append(f"{held_out} of {n} {_called(whole)}, at random, are held out")
    # Files are often sorted by class. This generator of NumPy's is one that no version changes.
    chosen = np.random.RandomState(0).permutation(n) < held_out
    return _some(whole, ~chosen), _some(whole, chosen)


def _require_alike(where: str, train: Part, test: Part) -> None:
    if train.layout != test.layout:
        raise BadValue(
            f"{where}: expected 'train' and 'test' of one size, got {_shown(train)} and "
            f"{_shown(test)}"
        )
    if kind(train.rows) != kind(test.rows):
        raise BadValue(
            f"{where}: expected 'train' and 'test' of one type, got {train.rows.dtype} and "
            f"{test.rows.dtype}: convert one of them"
        )


def _some(part: Part, chosen: np.ndarray) -> Part:
    rows, layout, labels = part
    if labels is not None:
        labels = [name for name, take in zip(labels, chosen, strict=True) if take]
    if isinstance(rows, Rows):
        return Part(Rows(rows, np.flatnonzero(chosen), rows.dtype), layout, labels)
    return Part(rows[chosen], layout, labels)


def _note_classes(train: Part, test: Part, content: Content) -> None:
    """Say it if nothing can be learned of a class."""
    missing = classes_of(set(test.labels or ()) - set(train.labels or ()))
    if missing:
        content.notes.append(f"held out only, and not to train on: {', '.join(missing)}")


def _tensor(rows: Any) -> Any:
    return rows if isinstance(rows, Rows) else torch.from_numpy(rows)


def _called(part: Part) -> str:
    return "images" if isinstance(part.layout, Pictures) else "rows"


def _shown(part: Part) -> str:
    layout = part.layout
    if not isinstance(layout, Pictures):
        return f"{layout.values} columns"
    channels = f" x {layout.channels}" if layout.channels > 1 else ""
    return f"{layout.height} x {layout.width}{channels} pixels (height x width)"
