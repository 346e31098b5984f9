"""The units that numbers and counts have inside a likelihood: what it takes from rows of data."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib.data import kind

__all__ = ["Moments", "moments"]

_AT_ONCE = 2**22  # values: 32 MB in double precision


class Moments(NamedTuple):
    """Of each column, in double precision, without what is missing; of none, nan."""

    seen: Tensor
    mean: Tensor
    deviation: Tensor  # the root of the mean square: over n, not n - 1
    low: Tensor
    high: Tensor


def moments(rows: Any, features: int) -> Moments:
    """Mean, deviation and range of the columns of rows, or of all values if ``features`` is 1.

    Args:
        rows: ``[n, values]``, a tensor or what NumPy's row numbers index, or an iterable of batches
            of rows, or of rows with labels. Pixels count as v / 255. It is read in parts.
        features: the number of columns, or 1.

    Parts are joined by what each adds to count, mean and sum of squares (Chan, Golub and LeVeque,
    1983): nothing is summed that cancels.
    """
    zero = torch.zeros(features, dtype=torch.float64)
    count, mean, squares = zero.clone(), zero.clone(), zero.clone()
    low, high = zero + torch.inf, zero - torch.inf
    for part in _parts(rows):
        x = part.reshape(-1, features)
        seen = ~x.isnan()
        n = seen.sum(0)
        some = n.clamp(min=1)
        centre = x.nansum(0) / some
        off = torch.where(seen, x - centre, 0.0)
        step = centre - mean
        total = (count + n).clamp(min=1)
        squares = squares + off.square().sum(0) + step.square() * count * n / total
        mean = mean + step * n / total
        count = count + n
        low = torch.minimum(low, torch.where(seen, x, torch.inf).amin(0))
        high = torch.maximum(high, torch.where(seen, x, -torch.inf).amax(0))
    nothing = torch.where(count > 0, 0.0, torch.nan)
    return Moments(count, mean + nothing, (squares / count.clamp(min=1)).sqrt(), low, high)


def _parts(rows: Any) -> Iterator[Tensor]:
    """Rows in parts, in double precision, on the CPU."""
    if not hasattr(rows, "shape"):
        for batch in rows:
            yield from _parts(batch[0] if isinstance(batch, list | tuple) else batch)
        return
    top = 255.0 if kind(rows) == "pixels" else 1.0
    step = max(1, _AT_ONCE // max(1, int(np.prod(rows.shape[1:]))))
    for start in range(0, len(rows), step):
        part = rows[np.arange(start, min(start + step, len(rows)))]
        if not isinstance(part, Tensor):
            part = torch.from_numpy(np.asarray(part, dtype=np.float64))
        yield part.detach().cpu().double().flatten(1) / top
