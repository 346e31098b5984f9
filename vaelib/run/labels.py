"""Labels as a user gives them, by number or by name, as the numbers that a model takes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vaelib import data
from vaelib.arguments import BadValue
from vaelib.vae import Model


def labels_of(
    label: Any, source: Any, model: Model, classes: Sequence[str], n: int
) -> Tensor | None:
    """The label of each of n data: the given one, or that which the data have.

    Args:
        label: a number, a name of ``classes``, or n of these.
        source: data, whose own labels are taken if none is given.
        model: whose condition says whether there is to be one.
        classes: what the labels are called.
        n: how many data.

    Returns:
        ``int64 [n]``; None for a model without a condition.

    Raises:
        BadValue: if a label is missing, is none of the classes, or nobody listens to it.
    """
    if label is None and model.condition:
        label = data.labels_of(source, tuple(classes))
    return one_label(label, model, classes, n)


def one_label(label: Any, model: Model, classes: Sequence[str], n: int) -> Tensor | None:
    """The same for what is made, which has no label of its own."""
    known = model.condition
    if not known:
        if label is not None:
            raise BadValue(
                f"label {label!r:.40}: the model was trained without labels, and would not listen; "
                f"train it with condition=True (--condition) on data with labels",
                "label",
            )
        return None
    shown = ", ".join(classes) or f"0 … {known - 1}"
    if label is None:
        raise BadValue(
            f"label: the model was trained given the class; say which, one of {shown}", "label"
        )
    if isinstance(label, Tensor) and label.is_floating_point():
        return label  # a condition as it is, of a model of one's own
    given = [label] if isinstance(label, int | str) else list(label)
    numbers = torch.tensor([_number(one, classes, known) for one in given], dtype=torch.int64)
    if isinstance(label, int | str) or (isinstance(label, Tensor) and label.ndim == 0):
        return numbers.expand(n)
    if len(numbers) != n:
        raise BadValue(f"label: expected one for all, or one for each of {n}, got {len(numbers)}")
    return numbers


def _number(label: Any, classes: Sequence[str], known: int) -> int:
    """The number of a class, which may be called by its name."""
    if isinstance(label, str):
        if label in classes:
            return list(classes).index(label)
    elif not isinstance(label, bool) and int(label) == label and 0 <= label < known:
        return int(label)
    raise BadValue(
        f"label: expected one of {', '.join(classes) or 'no names'}, or its number from 0 to "
        f"{known - 1}, got {label!r}",
        "label",
    )
