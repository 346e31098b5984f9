"""What can be trained on: rows of any kind, and by what a run knows them again."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue
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
