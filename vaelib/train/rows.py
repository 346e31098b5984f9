"""What can be trained on: rows of any kind, with labels, and by what a run knows them again."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue, shown
from vaelib.data import kind
from vaelib.train.batches import read
from vaelib.train.loader import Loader


def are_rows(rows: Any) -> bool:
    """Whether it is a table of values that is asked by row numbers, and not a source of batches."""
    return all(hasattr(rows, name) for name in ("shape", "dtype", "__getitem__", "__len__"))


def require_rows(rows: Any, name: str) -> None:
    """Raise unless these are rows ``[n, values]``, or batches that `Loader` can take."""
    if not are_rows(rows):
        Loader.require(rows, name)
        return
    shape = tuple(rows.shape)
    if len(shape) != 2 or 0 in shape:
        more = f"; flatten pictures: {name}.reshape(len({name}), -1)" if len(shape) > 2 else ""
        raise BadValue(
            f"fit: expected {name} of shape [n, values] with n > 0, got {shape}{more}", name
        )
    word = str(rows.dtype)
    if "complex" in word or "bool" in word or "object" in word or "str" in word or "<U" in word:
        raise BadType(
            f"fit: expected {name} as uint8, floating-point or whole numbers, got {word}; "
            f"turn them into one of these, as {name}.astype('float32')",
            name,
        )


def require_same_kind(rows: Any, validation: Any) -> None:
    """Raise unless held-out rows are of the same kind and width."""
    rows, validation = (
        data if are_rows(data) else Loader(data, torch.Generator()).peek()[0]
        for data in (rows, validation)
    )
    if validation.shape[1] != rows.shape[1]:
        raise BadValue(
            f"fit: expected validation with {rows.shape[1]} values a row, as rows has, got "
            f"{validation.shape[1]}",
            "validation",
        )
    if kind(validation) != kind(rows):
        raise BadValue(
            f"fit: expected validation as {kind(rows)}, as rows are, got {kind(validation)} "
            f"({rows.dtype} and {validation.dtype})",
            "validation",
        )


def require_labels(labels: Any, rows: Any, condition: int | None, name: str) -> Tensor | None:
    """Labels as a tensor, one for each row; raises unless they are what the model's condition is.

    Args:
        labels: whole numbers ``[n]``, or a condition ``[n, k]``; None if there are none.
        rows: what they belong to.
        condition: how many classes the model knows, 0 if it takes no condition, None if it does
            not say.
        name: of the argument.
    """
    of = name.removesuffix("labels") or "rows"
    of = of.rstrip("_")
    if labels is None:
        if condition and are_rows(rows):
            raise BadValue(
                f"fit: the model has condition={condition} and needs a label for each row; give "
                f"{name}= as whole numbers from 0 to {condition - 1}",
                name,
            )
        return None
    if not are_rows(rows):
        raise BadValue(
            f"fit: {of} that come in batches bring their labels along; let each batch be "
            f"(rows, labels), and leave {name} out",
            name,
        )
    if not isinstance(labels, Tensor | np.ndarray):
        raise BadType(
            f"fit: expected {name} as a torch tensor or a NumPy array, got {shown(labels):.50}; "
            f"torch.tensor(…) makes one",
            name,
        )
    labels = labels if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels))
    if len(labels) != len(rows):
        raise BadValue(
            f"fit: expected {name} with one for each of {len(rows)} {of}, got {len(labels)}", name
        )
    require_condition(labels, condition, name)
    return labels if labels.is_floating_point() else labels.long()


def require_condition(labels: Tensor, condition: int | None, name: str) -> None:
    """Raise unless labels, of some rows or of all, are what the model's condition is."""
    if condition == 0:
        raise BadValue(
            f"fit: the model takes no condition, and {name} would change nothing; build it and "
            f"its networks with condition=k for k classes, or leave them out",
            name,
        )
    if labels.is_floating_point():
        if labels.ndim != 2:
            raise BadValue(
                f"fit: expected {name} as whole numbers [n] or as a condition [n, k], got "
                f"{labels.dtype} of shape {tuple(labels.shape)}",
                name,
            )
        return
    if labels.ndim != 1 or labels.dtype == torch.bool:
        raise BadValue(
            f"fit: expected {name} as whole numbers of shape [n], got {labels.dtype} of shape "
            f"{tuple(labels.shape)}",
            name,
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (condition is not None and high >= condition):
        raise BadValue(
            f"fit: expected {name} from 0 to {'…' if condition is None else condition - 1}, got "
            f"{low} to {high}",
            name,
        )


def pieces(rows: Any, size: int = 10_000) -> Iterator[Tensor]:
    """All rows in their order, some at a time."""
    for start in range(0, len(rows), size):
        numbers = torch.arange(start, min(start + size, len(rows)))
        yield rows[start : start + size] if isinstance(rows, Tensor) else read(rows, numbers)


def fingerprint(rows: Any, folder: str | Path | None) -> str | None:
    """By what a run that goes on knows its data: a hash, which takes 1 ms per 1,000 images.

    Batches that somebody else makes are not read for it: of them it is how many there are.
    """
    if rows is None or folder is None:
        return None
    if not are_rows(rows):
        return f"{len(rows)} batches"
    digest = hashlib.sha256()
    for some in pieces(rows):
        digest.update(some.contiguous().cpu().numpy().data)
    return digest.hexdigest()
