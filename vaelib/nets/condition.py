"""A condition c beside what a network is given: the class of a picture, say, as one-hot numbers."""

import torch
from torch import Tensor, nn

from vaelib.arguments import BadType, BadValue, require_whole

__all__ = ["joined", "require_condition", "words"]


def require_condition(where: str, condition: object) -> None:
    """Raise unless it is a number of numbers; 0 is no condition."""
    require_whole(where, "condition", condition, least=0)


def words(condition: int) -> str:
    """What ``print`` shows of it; nothing where there is none."""
    return f"condition={condition}" if condition else ""


def joined(network: nn.Module, given: Tensor, c: Tensor | None, *, copies: int = 1) -> Tensor:
    """What a network is given, and its condition behind it.

    Args:
        network: with the attribute ``condition``, how many numbers c has for a row; 0 for none.
        given: x or z, ``[*batch, numbers]``.
        c: ``[*batch, condition]``; None where there is no condition.
        copies: how often each number of c is repeated: for a picture, once a pixel.

    Returns:
        ``[*batch, numbers + copies * condition]``; without a condition, what was given.

    Raises:
        ~vaelib.arguments.BadType: if c are whole numbers, of which no network can be made.
        ~vaelib.arguments.BadValue: if c is missing, is not asked for, or has another shape.
    """
    name, condition = type(network).__name__, getattr(network, "condition", 0)
    if not condition:
        if c is not None:
            raise BadValue(
                f"{name}: was made without a condition, and got c of shape {tuple(c.shape)}; make "
                f"encoder and decoder with condition={c.shape[-1]}",
                "c",
            )
        return given
    if c is None:
        raise BadValue(
            f"{name}: was made with condition={condition}, and got no c; give c of shape "
            f"[batch, {condition}], a row for each row (torch.nn.functional.one_hot makes it of "
            f"labels)",
            "c",
        )
    if not c.is_floating_point():
        raise BadType(
            f"{name}: expected c as floating-point numbers [batch, {condition}], got {c.dtype}; "
            f"torch.nn.functional.one_hot(labels, {condition}).float() makes them of labels",
            "c",
        )
    if c.shape != (*given.shape[:-1], condition):
        raise BadValue(
            f"{name}: expected c of shape {[*given.shape[:-1], condition]}, a row for each row, "
            f"got {list(c.shape)}",
            "c",
        )
    return torch.cat([given, c.to(given.dtype).repeat_interleave(copies, -1)], -1)
