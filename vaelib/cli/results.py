"""Rows as files: a table as .csv, pictures as a sheet .png or an array .npy, each whole or not."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib import files
from vaelib.arguments import BadValue
from vaelib.cli import pictures, tables
from vaelib.cli.runs import asked
from vaelib.data import Columns, Layout
from vaelib.run import Trained

__all__ = ["array", "require_suffix", "suffixes", "write", "write_npz", "write_rows"]


def suffixes(layout: Layout) -> tuple[str, ...]:
    """What a file with rows of this layout may end in; the first is the usual one."""
    return (".csv",) if isinstance(layout, Columns) else (".png", ".npy")


def require_suffix(option: str, path: str | Path, *allowed: str) -> Path:
    """A path whose name says what is written into it.

    Raises:
        BadValue: if it ends otherwise.
    """
    path = Path(path)
    if path.suffix not in allowed:
        raise BadValue(f"{option} {path}: expected a name that ends in {' or '.join(allowed)}")
    return path


def write_rows(
    path: Path,
    run: Trained,
    rows: Tensor,
    *,
    above: Tensor | None = None,
    names: Sequence[str] | None = None,
    classes: Sequence[Sequence[str]] | None = None,
    across: int | None = None,
) -> str:
    """Write rows in their own units, in the format that the path's end names.

    Args:
        path: ends in one of `suffixes`.
        run: whose rows they are like.
        rows: ``[n, values]``, on the CPU; pixels as v / 255.
        above: of a sheet, what each is to be compared with, in the same units.
        names: of the rows, a column of a table.
        classes: of the rows, each in a list of its own, which is empty if there is none.
        across: how many stand side by side in a sheet.

    Returns:
        What is black and what is white in a sheet, if it is not pixels'.
    """
    layout, kind = run.layout, asked(run).kind
    if isinstance(layout, Columns):
        extra = {"name": None if names is None else [[name] for name in names], "class": classes}
        there = {head: cells for head, cells in extra.items() if cells and any(cells)}
        lines = zip(*there.values(), rows.tolist(), strict=True)
        head = [*there, *layout.names]
        write(path, tables.table(head, ([c for part in line for c in part] for line in lines)))
        return ""
    if path.suffix == ".npy":
        write(path, _saved(np.save, array(run, rows)))
        return ""
    both = rows if above is None else torch.cat([above, rows])
    scale = pictures.shades(both, kind)
    levels = pictures.as_levels(rows, layout, scale)
    if above is None:
        write(path, pictures.sheet(levels, across))
    else:
        write(path, pictures.pairs(pictures.as_levels(above, layout, scale), levels))
    return scale.words


def write_npz(path: Path, run: Trained, rows: Tensor, labels: Tensor | None = None) -> None:
    """Write rows, and labels if there are any, as ``--data`` takes them."""
    name = "data" if isinstance(run.layout, Columns) else "images"
    content: dict[str, Any] = {name: array(run, rows)}
    if labels is not None:
        content["labels"] = labels.numpy()
    write(path, _saved(np.savez_compressed, **content))


def array(run: Trained, rows: Tensor) -> np.ndarray:
    """Rows as an array of the type that says what they are, pictures with their axes.

    Pixels are rounded to one of 256 levels; counts are whole, where all of them are (a mean's are
    not).
    """
    kind, layout = asked(run).kind, run.layout
    if kind == "pixels":
        values = (rows.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    elif kind == "counts" and (rows == rows.round()).all():
        values = rows.to(torch.int64).numpy()
    else:
        values = rows.float().numpy()
    if isinstance(layout, Columns):
        return values
    shape = (layout.channels, *layout[:2]) if layout.channels > 1 else layout[:2]
    return values.reshape(len(values), *shape)


def _saved(save: Any, *arrays: Any, **named: Any) -> bytes:
    content = io.BytesIO()
    save(content, *arrays, **named)
    return content.getvalue()


def write(path: Path, content: bytes) -> None:
    """A result's file, whole or not at all."""
    try:
        files.replace(path, content)
    except OSError as error:
        raise OSError(
            f"{path}: could not write {len(content):,} bytes ({error.strerror}); "
            f"{files.remedy(error)}, or choose another place"
        ) from error
