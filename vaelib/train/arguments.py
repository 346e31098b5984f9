"""What training may be asked for: each argument is looked at before anything is done."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vaelib.arguments import BadType, BadValue, require_whole
from vaelib.train.batches import Batches
from vaelib.train.labels import require_condition
from vaelib.train.loader import Loader
from vaelib.train.team import Team
from vaelib.vae import Model, require_model


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


def warmup_of(model: Model, warmup: Any, epochs: int) -> int:
    """Epochs over which the KL's weight rises; raises unless the model can, and it ends in time."""
    warmup = whole("warmup", warmup, 0)
    if warmup > epochs:
        raise BadValue(
            f"fit: expected warmup ≤ epochs, got {warmup} > {epochs}: the KL would never have its "
            f"whole weight",
            "warmup",
        )
    if warmup:
        model.warm_up(1.0)  # raises unless it can
    return warmup


def require_nothing_held_out(**given: Any) -> None:
    """Raise if there is an argument that needs validation."""
    for name, value in given.items():
        if value is not None:
            raise BadValue(f"fit: {name} needs validation=, held-out data to measure on", name)


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
