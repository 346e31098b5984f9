"""Rows that are pictures, as PNG: a sheet of them, pairs to compare, a few with their names.

What is black and what is white is one choice for a whole sheet (`shades`), and said beside it. Grey
lines stand between pictures; a missing value is the same grey.
"""

import io
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib.data import Kind, Pictures

__all__ = ["Shades", "as_levels", "named", "pairs", "shades", "sheet"]

LINE = 128  # grey level of what is no picture
SIDE = 800  # pixels of a sheet's longer side, up to which small pictures are enlarged
EXTREME = 0.005  # the share of values that may be darker than black, or brighter than white
CELL = 150  # pixels of one picture that has a name below it


class Shades(NamedTuple):
    """Which value is black, which is white, and the same in words."""

    black: float
    white: float
    words: str


def shades(rows: Tensor, kind: Kind) -> Shades:
    """What is black and white in a sheet of these rows, in their own units.

    Pixels have a black and a white of their own, and numbers in [0, 1] are taken as such. Of other
    numbers, and of counts, the most extreme values do not count, which would leave the rest dark.

    >>> shades(torch.tensor([[0, 3, 12]]), "counts").words
    'black is a count of 0, white one of 12 or more'
    """
    if kind == "pixels":
        return Shades(0.0, 1.0, "")
    seen = rows.double().numpy()
    seen = seen[np.isfinite(seen)]
    if kind == "counts":
        high = (
            max(1.0, float(np.quantile(seen, 1 - EXTREME, method="higher"))) if seen.size else 1.0
        )
        return Shades(0.0, high, f"black is a count of 0, white one of {high:.3g} or more")
    low, high = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 1.0)
    if low >= 0 and high <= 1:
        return Shades(0.0, 1.0, "black is 0, white is 1")
    low, high = np.quantile(seen, [EXTREME, 1 - EXTREME]).tolist()
    high = high if high > low else low + 1.0
    return Shades(low, high, f"black is {low:.3g} or less, white is {high:.3g} or more")


def as_levels(rows: Tensor, layout: Pictures, scale: Shades) -> np.ndarray:
    """Rows ``[n, values]`` as ``uint8 [n, height, width, 1 or 3]``; beyond black and white is cut.

    Two or four channels have no colours of their own and stand side by side, in grey.
    """
    n, (height, width, channels) = len(rows), layout
    grey = (rows.double().cpu() - scale.black) / (scale.white - scale.black)
    grey = grey.nan_to_num(LINE / 255).clamp(0, 1)
    levels = (grey * 255).round().to(torch.uint8).view(n, channels, height, width).numpy()
    if channels == 3:
        return np.ascontiguousarray(levels.transpose(0, 2, 3, 1))
    side_by_side = levels.transpose(0, 2, 1, 3).reshape(n, height, channels * width)
    return side_by_side[..., None]


def sheet(pictures: np.ndarray, columns: int | None = None) -> bytes:
    """All of them in a grid, row by row, with grey lines between, enlarged if they are small.

    Args:
        pictures: ``uint8 [n, height, width, 1 or 3]``.
        columns: of the grid; as many as make it about square if None.

    Returns:
        The content of a PNG file.
    """
    n, height, width, _ = pictures.shape
    columns = columns or math.ceil(math.sqrt(n * height / width))
    lines = math.ceil(n / columns)
    grid = _grid(pictures, lines, columns, gap=1)
    return _png(_enlarged(grid, max(1, SIDE // max(grid.shape[:2]))))


def pairs(above: np.ndarray, below: np.ndarray) -> bytes:
    """Two sheets in one: each picture of the first has its partner directly below it.

    A line of one pixel is between the two of a pair, and one of three between pairs.
    """
    n, height, width, depth = above.shape
    line = np.full((n, 1, width, depth), LINE, np.uint8)
    both = np.concatenate([above, line, below], 1)
    columns = math.ceil(math.sqrt(n * (2 * height + 4) / (width + 3)))
    grid = _grid(both, math.ceil(n / columns), columns, gap=3)
    return _png(_enlarged(grid, max(1, SIDE // max(grid.shape[:2]))))


def named(pictures: np.ndarray, names: Sequence[Sequence[str]], columns: int = 5) -> bytes:
    """Pictures with lines of text below each, black on white.

    Args:
        pictures: ``uint8 [n, height, width, 1 or 3]``.
        names: of each picture, the lines below it, the first of which is cut to the width.
        columns: of the grid, fewer if there are fewer pictures.
    """
    from PIL import Image, ImageDraw, ImageFont  # here, as in `_png`

    n, height, width, _ = pictures.shape
    scale = max(1, CELL // max(height, width))
    columns, step, margin = min(columns, n), 16, 8
    font = ImageFont.load_default(size=12)
    across = max(scale * width, CELL) + margin
    down = scale * height + step * max(map(len, names)) + 2 * margin
    size = (columns * across + margin, math.ceil(n / columns) * down + margin)
    paper = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(paper)
    for i, (picture, lines) in enumerate(zip(pictures, names, strict=True)):
        left, top = margin + i % columns * across, margin + i // columns * down
        # A frame of one pixel, so that a white picture ends somewhere.
        frame = (left - 1, top - 1, left + scale * width, top + scale * height)
        pen.rectangle(frame, outline=(LINE, LINE, LINE))
        paper.paste(_image(_enlarged(picture, scale)).convert("RGB"), (left, top))
        for j, line in enumerate(lines):
            place = (left, top + scale * height + 3 + j * step)
            pen.text(place, _fitting(line, font.getlength, across - margin), "black", font)
    return _content(paper)


def _fitting(line: str, length: Callable[[str], float], most: int) -> str:
    """A line cut at its start, where it is too long: names differ at their end."""
    if length(line) <= most:
        return line
    while line and length(f"…{line}") > most:
        line = line[1:]
    return f"…{line}"


def _grid(cells: np.ndarray, lines: int, columns: int, gap: int) -> np.ndarray:
    n, height, width, depth = cells.shape
    full = np.full((lines * columns, height + gap, width + gap, depth), LINE, np.uint8)
    full[:n, :height, :width] = cells
    grid = full.reshape(lines, columns, height + gap, width + gap, depth).swapaxes(1, 2)
    grid = grid.reshape(lines * (height + gap), columns * (width + gap), depth)
    return grid[:-gap, :-gap]


def _enlarged(picture: np.ndarray, scale: int) -> np.ndarray:
    return picture.repeat(scale, 0).repeat(scale, 1)


def _png(picture: np.ndarray) -> bytes:
    return _content(_image(picture))


def _image(picture: np.ndarray) -> Any:
    from PIL import Image  # here, because training needs no pictures

    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def _content(image: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
