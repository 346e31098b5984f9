"""The optimizer of a run: who makes it, its learning rates, and by what the run knows it again."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from vaelib.arguments import BadType, BadValue

WHAT = "a class of torch.optim, or a function of the parameters and lr="
# How an optimizer computes, and not what.
HOW = {"params", "lr", "initial_lr", "foreach", "fused", "capturable", "differentiable"}


class Chosen(NamedTuple):
    """An optimizer, ready to step.

    Attributes:
        optimizer: itself.
        rates: the learning rate of each group of parameters, to which the schedule is a factor.
        words: its settings, by which a run that goes on knows it; None for Adam as it always was.
    """

    optimizer: Optimizer
    rates: list[float]
    words: str | None


def choose(
    make: Callable[..., Optimizer] | None,
    model: nn.Module,
    lr: float,
    device: torch.device,
    *,
    graph: bool,
) -> Chosen:
    """The optimizer of all that is to be trained: Adam, or the one that somebody makes.

    Args:
        make: from the parameters and ``lr=`` to an optimizer; None is Adam.
        model: with its parameters.
        lr: the learning rate, of groups that have none of their own.
        device: of the parameters.
        graph: a step is recorded, and would record a number as it was: ``lr`` becomes a tensor.

    Raises:
        TypeError: if it makes something else, or what asks for the loss several times a step.
        ValueError: if it lacks a parameter.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    rate = torch.tensor(lr, dtype=torch.float32, device=device) if graph else lr
    if make is None:
        adam = torch.optim.Adam(trained, lr=rate, fused=True, capturable=graph)
        return Chosen(adam, [lr], None)
    if isinstance(make, Optimizer):
        name = type(make).__name__
        raise BadType(
            f"fit: expected optimizer as {WHAT}, got an optimizer that is made; give {name}, or "
            f"functools.partial({name}, …)",
            "optimizer",
        )
    if not callable(make):
        raise BadType(f"fit: expected optimizer as {WHAT}, got {make!r}", "optimizer")
    made = make(trained, lr=rate)
    if not isinstance(made, Optimizer) or isinstance(made, torch.optim.LBFGS):
        why = ", which computes the loss several times" if isinstance(made, Optimizer) else ""
        raise BadType(
            f"fit: expected optimizer to make one of torch.optim that steps once for each "
            f"gradient, got {type(made).__name__}{why}",
            "optimizer",
        )
    its = {id(p) for group in made.param_groups for p in group["params"]}
    left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in its]
    if left:
        raise BadValue(
            f"fit: expected optimizer to have all parameters that require a gradient, it lacks "
            f"{', '.join(left[:3])}; add them, or freeze them by requires_grad_(False)",
            "optimizer",
        )
    rates = [lr if group["lr"] is rate else float(group["lr"]) for group in made.param_groups]
    return Chosen(made, rates, _words(made, rates))


def _words(optimizer: Optimizer, rates: list[float]) -> str:
    """A setting that is off is not named: another version of torch may have more of them."""
    groups = []
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        settings: dict[str, object] = {k: v for k, v in group.items() if k not in HOW and v}
        if any(rate != rates[0] for rate in rates):
            settings["lr"] = rate
        groups.append(", ".join(f"{k}={settings[k]}" for k in sorted(settings)))
    return f"{type(optimizer).__name__}({'; '.join(groups)})"
