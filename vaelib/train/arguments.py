"""What training may be asked for: each argument is looked at before anything is done."""

import math
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vaelib.arguments import BadType, BadValue, require_whole
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
