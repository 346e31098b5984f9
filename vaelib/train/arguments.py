"""What training may be asked for: each argument is looked at before anything is done."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaelib.arguments import BadType, BadValue, require_whole
from vaelib.train.batches import Batches
from vaelib.train.loader import Loader
from vaelib.train.rows import require_condition
from vaelib.train.team import Team
from vaelib.vae import require_model


def whole(name: str, value: Any, least: int, *, where: str = "fit") -> int:
    """A whole number, NumPy's too."""
    require_whole(where, name, value, least=least)
    return int(value)


def positive(name: str, value: Any, most: float = math.inf, *, where: str = "fit") -> float:
    """A real number above 0, NumPy's too."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadType(f"{where}: expected {name} as a number > 0, got {value!r}", name)
    value = float(value)
    if not 0 < value <= most:  # NaN is not
        raise BadValue(
            f"{where}: expected {name} > 0 and no more than {most:.3g}, got {value}", name
        )
    return value


def require_kind(name: str, value: Any, kind: Any, what: str, *, where: str = "fit") -> None:
    """Raise unless a value is of a type; says what it should be."""
    if not isinstance(value, kind):
        raise BadType(f"{where}: expected {name} to be {what}, got {type(value).__name__}", name)


def require_generator(generator: Any, device: torch.device, *, where: str = "fit") -> None:
    """Raise unless it draws on the device."""
    what = "a generator, as torch.Generator().manual_seed(0)"
    require_kind("generator", generator, torch.Generator, what, where=where)
    if generator.device.type != device.type:
        raise BadValue(
            f"{where}: expected a generator on the model's device, {device}, got one on "
            f"{generator.device}; use torch.Generator({device.type!r})"
        )


def require_callbacks(callbacks: Sequence[Callable]) -> None:
    """Raise unless each can be called."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise BadType(
            f"fit: expected callbacks as a list of functions, got {callbacks!r}", "callbacks"
        )


def require_own_batches(batch_size: int | None, save_every: int | None) -> None:
    """Raise if batches that somebody else makes are asked for what they cannot do."""
    if batch_size is not None:
        raise BadValue(
            "fit: rows that come in batches have their own batch_size; leave it out, or set it in "
            "the loader",
            "batch_size",
        )
    if save_every is not None:
        raise BadValue(
            "fit: batches that somebody else makes cannot be entered midway, so a checkpoint "
            "within an epoch is of no use: a run goes on at an epoch's start. Leave save_every "
            "out, or give rows as a tensor or a memory-mapped array",
            "save_every",
        )


def size_of(batches: Batches | Loader, team: Team, condition: int | None) -> int:
    """The rows of a batch; raises unless all processes get some, and labels are there."""
    if isinstance(batches, Batches):
        team.require_rows(batches.batch_size, int(batches.sizes[-1]))
        return batches.batch_size
    if team.size > 1:
        raise BadValue(
            f"fit: {team.size} processes share each batch, and a loader would draw others in each; "
            f"give rows as a tensor or a memory-mapped array, or train in one process",
            "rows",
        )
    rows, *labels = batches.peek()
    if labels:
        require_condition(labels[0], condition, "labels")
    elif condition:
        raise BadValue(
            f"fit: the model has condition={condition} and needs a label for each row; let each "
            f"batch be (rows, labels), with whole numbers from 0 to {condition - 1}",
            "rows",
        )
    return len(rows)


def optimizer_of(
    make: Callable[..., Optimizer] | None, model: nn.Module, lr: float | Tensor
) -> tuple[Optimizer, str | None]:
    """The optimizer of what is to be trained, Adam if None, and its name in words if it has one."""
    trained = [p for p in model.parameters() if p.requires_grad]
    if make is None:
        graph = isinstance(lr, Tensor)
        return torch.optim.Adam(trained, lr=lr, fused=True, capturable=graph), None
    what = "a class of torch.optim, or a function of the parameters and lr="
    if isinstance(make, Optimizer):
        raise BadType(
            f"fit: expected optimizer as {what}, got an optimizer that is made; give "
            f"{type(make).__name__}, or functools.partial({type(make).__name__}, …)",
            "optimizer",
        )
    if not callable(make):
        raise BadType(f"fit: expected optimizer as {what}, got {make!r}", "optimizer")
    made = make(trained, lr=lr)
    if not isinstance(made, Optimizer) or isinstance(made, torch.optim.LBFGS):
        wants = (
            " which computes the loss several times a step" if isinstance(made, Optimizer) else ""
        )
        raise BadType(
            f"fit: expected optimizer to make an optimizer of torch.optim that steps once for a "
            f"gradient, got {type(made).__name__}{wants}",
            "optimizer",
        )
    theirs = {id(p) for group in made.param_groups for p in group["params"]}
    left = [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in theirs]
    if left:
        raise BadValue(
            f"fit: expected optimizer to have all parameters that require a gradient, it lacks "
            f"{', '.join(left[:3])}; freeze them by requires_grad_(False), or add them",
            "optimizer",
        )
    return made, _described(made)


def _described(optimizer: Optimizer) -> str:
    """Its settings, by which a run that goes on knows it; the rates but one group's are in lr."""
    groups = [
        {k: v for k, v in group.items() if k not in ("params", "lr", "initial_lr")}
        for group in optimizer.param_groups
    ]
    settings = ["; ".join(f"{k}={group[k]}" for k in sorted(group)) for group in groups]
    return f"{type(optimizer).__name__}({' | '.join(settings)})"


def require_folder(folder: str | Path | None) -> None:
    """Raise unless it can be the name of a folder."""
    if folder is None:
        return
    require_kind("folder", folder, (str, Path), "a str or a Path")
    if not str(folder).strip():
        raise BadValue(
            f"fit: expected folder as a name, got {str(folder)!r}; '.' is this one", "folder"
        )


def device_of(model: nn.Module) -> torch.device:
    """Where the weights are that are to be trained."""
    require_model(model, "fit")
    trained = next((p for p in model.parameters() if p.requires_grad), None)
    if trained is None:
        raise BadValue(
            f"fit: {type(model).__name__} has nothing to train: "
            f"{len(list(model.parameters()))} parameters, none of which requires a gradient; "
            f"model.requires_grad_() thaws a frozen model"
        )
    return trained.device
