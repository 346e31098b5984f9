"""Labels beside rows, as a model's condition takes them."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vaelib.arguments import BadType, BadValue, shown
from vaelib.train.rows import are_rows


def condition_of(model: nn.Module) -> int | None:
    """How many labels a model knows, 0 if it takes none; None if its networks may take any."""
    condition = getattr(model, "condition", 0)
    if condition:
        return condition
    # As models say it: networks of somebody's own, without the attribute, may take a condition.
    return 0 if getattr(getattr(model, "decoder", None), "condition", None) == 0 else None


def require_labels(labels: Any, rows: Any, condition: int | None, name: str) -> Tensor | None:
    """Labels as a tensor, one for each row; raises unless they are what the model's condition is.

    Args:
        labels: whole numbers ``[n]``, or a condition ``[n, k]``; None if there are none.
        rows: what they belong to.
        condition: how many classes the model knows, 0 if it takes no condition, None if it does
            not say.
        name: of the argument.
    """
    of = "validation" if name.startswith("validation") else "rows"
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
