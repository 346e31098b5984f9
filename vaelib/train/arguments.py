"""What `fit` may be asked for: each argument is looked at before anything is done."""

import hashlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vaelib.arguments import require_whole
from vaelib.data import Binarization, binarize
from vaelib.likelihood import Likelihood

Schedule = Callable[[float], float]
Prepare = Callable[..., Tensor]  # from pixels to data, with generator=


def whole(name: str, value: Any, least: int) -> int:
    """A whole number, NumPy's too."""
    require_whole("fit", name, value, least=least)
    return int(value)


def positive(name: str, value: Any, most: float = math.inf) -> float:
    """A real number above 0, NumPy's too."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"fit: expected {name} as a number > 0, got {value!r}")
    value = float(value)
    if not 0 < value <= most:  # NaN is not
        raise ValueError(f"fit: expected {name} > 0 and no more than {most:.3g}, got {value}")
    return value


def require_kind(name: str, value: Any, kind: type | tuple[type, ...], what: str) -> None:
    """Raise unless a value is of a type; says what it should be."""
    if not isinstance(value, kind):
        raise TypeError(f"fit: expected {name} to be {what}, got {type(value).__name__}")


def require_pixels(pixels: Any, name: str) -> None:
    """Raise unless these are images."""
    require_kind(name, pixels, Tensor, "a torch tensor (torch.from_numpy makes one of an array)")
    if pixels.dtype != torch.uint8:
        raise TypeError(f"fit: expected {name} as uint8 from 0 to 255, got {pixels.dtype}")
    if pixels.ndim != 2 or pixels.numel() == 0:
        raise ValueError(
            f"fit: expected {name} of shape [n, pixel] with n > 0, got {tuple(pixels.shape)}"
        )


def require_callbacks(callbacks: Sequence[Callable]) -> None:
    """Raise unless each can be called."""
    if not isinstance(callbacks, Sequence) or not all(map(callable, callbacks)):
        raise TypeError(f"fit: expected callbacks as a list of functions, got {callbacks!r}")


def require_folder(folder: str | Path | None) -> None:
    """Raise unless it can be the name of a folder."""
    if folder is None:
        return
    require_kind("folder", folder, (str, Path), "a str or a Path")
    if not str(folder).strip():
        raise ValueError(f"fit: expected folder as a name, got {str(folder)!r}; '.' is this one")


def device_of(model: nn.Module) -> torch.device:
    """Where the weights are that are to be trained."""
    require_kind("model", model, nn.Module, "a torch.nn.Module")
    trained = next((p for p in model.parameters() if p.requires_grad), None)
    if trained is None:
        raise ValueError(
            f"fit: {type(model).__name__} has nothing to train: "
            f"{len(list(model.parameters()))} parameters, none of which requires a gradient; "
            f"model.requires_grad_() thaws a frozen model"
        )
    return trained.device


def factors(schedule: Schedule, steps: int) -> str:
    """A schedule by its name and its values, by which a run that goes on knows it.

    The name alone would not do: all lambdas have the same. Of long runs it is 10,000 values.
    """
    if not callable(schedule):
        raise TypeError(f"fit: expected schedule as a function of a share, got {schedule!r}")
    values = []
    for done in range(0, steps, math.ceil(steps / 10_000)):
        value = schedule(done / steps)
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            raise TypeError(f"fit: expected schedule to return a number, got {value!r}") from None
        if not 0 <= values[-1] < math.inf:
            raise ValueError(
                f"fit: expected schedule to return a finite factor ≥ 0, got {value} at the share "
                f"{done / steps:.3g} of all steps"
            )
    # Nine digits: the last ones of a cosine may be others on another machine.
    digest = hashlib.sha256(" ".join(f"{v:.9g}" for v in values).encode()).hexdigest()[:16]
    name = getattr(schedule, "__qualname__", type(schedule).__name__)
    some = ", ".join(f"{values[i]:.3g}" for i in (0, len(values) // 2, -1))
    return f"{name} (factors {some}; {digest})"


def same_schedule(its: str, mine: str) -> bool:
    """Whether two of these are one, whatever they are called."""
    if "; " not in its:  # of a checkpoint that holds the name alone
        return its == mine.split(" (factors")[0]
    return its.rpartition("; ")[2] == mine.rpartition("; ")[2]


def preparation(
    model: nn.Module, pixels: Tensor, binarization: Binarization | None
) -> tuple[Prepare, str]:
    """How pixels become data, and its name. Raises if the likelihood is not for what it makes."""
    if binarization is not None and binarization not in get_args(Binarization):
        raise ValueError(
            f"fit: expected binarization one of {get_args(Binarization)} or None, got "
            f"{binarization!r}"
        )
    likelihood = getattr(model, "likelihood", None)
    if not isinstance(likelihood, Likelihood):
        how: Binarization = binarization or "dynamic"
        return partial(binarize, how=how), how
    name = type(likelihood).__name__
    if binarization is None:
        x = likelihood.prepare(pixels[:100], generator=torch.Generator(pixels.device))
        if not likelihood.support.check(x).all():
            raise ValueError(
                f"fit: {name}.prepare makes values from {x.min():.3g} to {x.max():.3g}, and it "
                f"gives a density to {likelihood.remedy}; set {name}.binarization, or write its "
                f"prepare"
            )
        return likelihood.prepare, likelihood.binarization
    if binarization != "none":
        # 0 and 1 are in [0, 1] too, but a density of grey values would fit itself to two points.
        fits = likelihood.support.is_discrete
    else:
        fits = bool(likelihood.support.check(_values(pixels).float() / 255).all())
    if not fits:
        raise ValueError(
            f"fit: binarization={binarization!r} does not fit {name}, which takes "
            f"{likelihood.remedy}. Leave binarization out, so that the likelihood prepares the "
            f"pixels, or choose a likelihood for what {binarization!r} makes"
        )
    return partial(binarize, how=binarization), binarization


def _values(pixels: Tensor) -> Tensor:
    """Which of 0 … 255 occur."""
    found = torch.zeros(256, dtype=torch.bool, device=pixels.device)
    for some in pixels.split(10_000):
        found[some.flatten().long()] = True
    return found.nonzero().flatten()
