"""A condition c beside x: labels, as a model is given them and as its networks take them.

A model that was made with ``condition=k`` takes one of k labels for each row of x, and hands the
label's one-hot code to its networks: k numbers, a single 1 among zeros.
"""

from numbers import Integral

import torch
from torch import Tensor, nn

from vaelib.arguments import BadType, BadValue, require_whole, shown

__all__ = ["Condition", "one_hot", "require_conditions"]

Condition = Tensor | int | None  # what a caller gives: labels, one label for all, or nothing


def one_hot(
    model: nn.Module, c: Condition, like: Tensor, rows: int | None = None, *, read: bool = True
) -> Tensor | None:
    """The condition as a model's networks take it; what was coded already stays as it is.

    Args:
        model: whose ``condition`` says how many labels there are. With 0 the condition is whatever
            its networks of somebody's own take, and is handed on.
        c: labels from 0 to k - 1, whole numbers ``[rows]``, or one of them for all rows; or k
            numbers for each row, floating point ``[rows, k]``, which are not changed.
        like: a tensor whose device and type the code gets.
        rows: how many rows there are; unknown if None.
        read: False leaves the labels' values unread, which would stop a GPU: a label that does not
            exist becomes nan, of which a loss says so.

    Returns:
        ``[rows, k]``; of one label for an unknown number of rows, ``[1, k]``.

    Raises:
        TypeError, ValueError: if the model has a condition and c is none, or the other way round;
            if c is neither; if it has not a row for each row of x, or names a label that does not
            exist.

    >>> from vaelib.nets import MLPDecoder
    >>> model = nn.Module()
    >>> model.condition = 3
    >>> one_hot(model, torch.tensor([0, 2]), torch.zeros(2))
    tensor([[1., 0., 0.],
            [0., 0., 1.]])
    """
    labels, name = getattr(model, "condition", 0), type(model).__name__
    if not labels:
        return _own(model, c, name)
    exist = f"labels from 0 to {labels - 1}"
    if c is None:
        raise BadValue(
            f"{name}: expected {exist}, as it was made with condition={labels}, got none; give "
            f"c=labels, one whole number for each row, or one for all",
            "c",
        )
    if isinstance(c, Integral) and not isinstance(c, bool):
        if not 0 <= c < labels:
            raise BadValue(f"{name}: expected {exist}, got {c}", "c")
        c = torch.full((1 if rows is None else rows,), int(c), device=like.device)
        read = False
    if not isinstance(c, Tensor) or c.dtype == torch.bool:
        raise BadType(
            f"{name}: expected {exist} as a tensor of whole numbers, or one number for all rows, "
            f"got {f'a tensor of {c.dtype}' if isinstance(c, Tensor) else shown(c)}; "
            f"torch.as_tensor(labels) makes one of a list or an array",
            "c",
        )
    whole = not c.is_floating_point()
    if c.ndim != (1 if whole else 2) or (not whole and c.shape[1] != labels):
        raise BadValue(
            f"{name}: expected {exist} as whole numbers of shape [batch], or their one-hot codes "
            f"as floating point of shape [batch, {labels}], got {c.dtype} of shape "
            f"{tuple(c.shape)}; labels.long() makes whole numbers of others",
            "c",
        )
    if rows is not None and len(c) != rows:
        raise BadValue(f"{name}: expected a label for each of {rows} rows, got {len(c)}", "c")
    if not whole:
        return c.to(like)
    if read and not torch.compiler.is_compiling() and len(c) and not _exist(c, labels).all():
        raise BadValue(
            f"{name}: expected {exist}, got labels from {c.min().item()} to {c.max().item()}", "c"
        )
    c = c.to(like.device)
    one_hot = (c[:, None] == torch.arange(labels, device=c.device)).to(like.dtype)
    return one_hot.masked_fill(~_exist(c, labels)[:, None], torch.nan)


def _exist(c: Tensor, labels: int) -> Tensor:
    return (c >= 0) & (c < labels)


def _own(model: nn.Module, c: Condition, name: str) -> Tensor | None:
    """A condition of somebody's own, which vaelib's networks have not unless they were made so."""
    if c is None:
        return None
    if not isinstance(c, Tensor):
        raise BadType(
            f"{name}: was made without a condition and got c={shown(c)}; make it with condition=, "
            f"the number of labels, and its networks too, or leave c out",
            "c",
        )
    if getattr(getattr(model, "decoder", None), "condition", None) == 0:
        raise BadValue(
            f"{name}: was made without a condition, and so were its networks; make all with "
            f"condition=, the number of labels, or leave c out",
            "c",
        )
    return c


def require_conditions(where: str, condition: int, **networks: nn.Module) -> None:
    """Raise unless model and networks were made for the same number of labels.

    A network of somebody's own that has no ``condition`` may take any, in a model without one.
    """
    require_whole(where, "condition", condition, least=0)
    for name, network in networks.items():
        its = getattr(network, "condition", None)
        if its is None and condition:
            raise BadType(
                f"{where}: expected {name} with an integer attribute `condition`, got "
                f"{type(network).__name__} without one; set {name}.condition = {condition}, and "
                f"let its forward take (rows, c), c of shape [batch, {condition}]",
                name,
            )
        if its is not None and its != condition:
            raise BadValue(
                f"{where}: expected one condition for model and networks, got condition="
                f"{condition} and {name}.condition={its}; make {name} with "
                f"condition={condition}, or the model with condition={its}",
                "condition",
            )
