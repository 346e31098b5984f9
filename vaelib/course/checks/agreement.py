"""Whether what an answer returned agrees with what is right, as plain numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Outcome", "close", "compared", "same_gradients", "same_outputs", "tensor"]

Outcome = dict[str, Any]


def compared(
    outcomes: Sequence[Outcome],
    truth: Sequence[Outcome],
    tolerances: Sequence[float],
    smallest: float,
) -> tuple[list[bool], list[bool]]:
    """Of each case, whether its values are right, and whether its gradients are."""
    cases = list(zip(outcomes, truth, tolerances, strict=True))
    return (
        [same_outputs(a["outputs"], t["outputs"], by, smallest) for a, t, by in cases],
        [same_gradients(a["gradients"], t["gradients"], tolerance) for a, t, tolerance in cases],
    )


def close(a: Any, b: Any, tolerance: float, smallest: float = 1.0) -> bool:
    """Whether outputs agree: shape, and numbers within `tolerance · (smallest + |b| + moves / 10)`.

    The moves stand beside b's numbers where it is a truth (`_Known.sensitive`): how far each goes
    per relative change of the inputs. Of that less is forgiven, since an unstable formula often
    loses the square of what a stable one does. A Python number counts as a tensor of shape [];
    infinities agree with themselves.
    """
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    x, y = _array(a), _array(b)
    if x is None or y is None or x.shape != y.shape:
        return False
    moves = b.get("moves") if isinstance(b, dict) else None
    scale = smallest + abs(y)
    if moves is not None:
        scale = scale + np.reshape(moves, y.shape) / 10
    with np.errstate(invalid="ignore"):  # ∞ − ∞, which is compared after it
        near = np.isfinite(y) & (abs(x - y) <= tolerance * scale)
    return bool((near | (x == y) | (np.isnan(x) & np.isnan(y))).all())


def _array(plain: Any) -> np.ndarray | None:
    """For NumPy: many small arrays are compared, and with torch the tests took a fifth longer."""
    if isinstance(plain, bool | int | float):
        return np.array(float(plain))
    if isinstance(plain, dict) and "numbers" in plain:
        return np.array(plain["numbers"], dtype=float).reshape(plain["shape"])
    return None


def tensor(plain: Any) -> Tensor | None:
    """The numbers of an output, in float64; None if it holds none."""
    array = _array(plain)
    return None if array is None else torch.from_numpy(array)


def same_outputs(a: list[Any], b: list[Any], tolerance: float, smallest: float = 1.0) -> bool:
    """Whether there are as many, and each is `close`."""
    pairs = zip(a, b, strict=False)
    return len(a) == len(b) and all(close(x, y, tolerance, smallest) for x, y in pairs)


def same_gradients(a: Mapping[str, Any], b: Mapping[str, Any], tolerance: float) -> bool:
    """Whether each gradient of b is matched; none at all and zeros say the same of a function."""
    return all(
        close(_zero_if_none(a.get(name), b[name]), _zero_if_none(b[name], a.get(name)), tolerance)
        for name in b
    )


def _zero_if_none(gradient: Any, other: Any) -> Any:
    if gradient is not None:
        return gradient
    if other is None:
        return 0.0
    return other | {"numbers": [0.0] * len(other["numbers"]), "moves": None}
