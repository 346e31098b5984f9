"""How the learning rate goes from step to step, and by what a run that goes on knows it."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch.optim.lr_scheduler import LRScheduler

from vaelib.arguments import BadType, BadValue

Schedule = Callable[[float], float]


def cosine(share: float) -> float:
    """A schedule: the learning rate falls from 1 to 0 along half a cosine.

    Args:
        share: of all steps, how many are done, in [0, 1).

    References:
        Loshchilov and Hutter, SGDR (arXiv:1608.03983).

    >>> cosine(0.0), cosine(0.5), cosine(1.0)
    (1.0, 0.5, 0.0)
    """
    return 0.5 * (1 + round(math.cos(math.pi * share), 15))


def constant(share: float) -> float:  # noqa: ARG001
    """A schedule: the learning rate stays as it is."""
    return 1.0


Every = Literal["epoch", "step"]


@dataclass(frozen=True)
class scheduled:  # noqa: N801, read as a word: schedule=scheduled(…)
    """A schedule by a scheduler of torch: ``fit(…, schedule=scheduled(lambda o: StepLR(o, 10)))``.

    The scheduler is run through once, before the first step, on an optimizer of its own; what it
    says for each step becomes a table of factors on ``lr``. It keeps no state in the run, which
    therefore goes on after a break as exactly as with any schedule. So it may depend on how much is
    done, and not on a loss (`torch.optim.lr_scheduler.ReduceLROnPlateau` does; fit's ``patience``
    looks at the loss), and it may change the learning rate alone.

    Args:
        make: from an optimizer to its scheduler.
        every: whether the scheduler steps once an epoch, as most are meant to, or once a step, as
            ``OneCycleLR`` is.

    >>> from torch.optim.lr_scheduler import StepLR
    >>> halved = scheduled(lambda optimizer: StepLR(optimizer, 1, gamma=0.5))
    >>> halved = halved.table(lr=0.1, epochs=3, per_epoch=2)
    >>> [round(halved(done / 6), 3) for done in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    make: Callable[[torch.optim.Optimizer], LRScheduler]
    every: Every = "epoch"

    def __post_init__(self) -> None:
        if not callable(self.make) or isinstance(self.make, LRScheduler):
            raise BadType(
                f"scheduled: expected a function that makes a scheduler, as lambda optimizer: "
                f"StepLR(optimizer, 10), got {self.make!r}",
                "schedule",
            )
        if self.every not in get_args(Every):
            raise BadValue(
                f"scheduled: expected every one of {get_args(Every)}, got {self.every!r}",
                "schedule",
            )

    def table(self, *, lr: float, epochs: int, per_epoch: int) -> Schedule:
        """The factor for each step of a run, as a function of the share of steps that are done.

        Raises:
            TypeError, ValueError: if the scheduler needs a loss, changes more than the learning
                rate, or ends before the run does.
        """
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(()))], lr=lr)
        group, before = optimizer.param_groups[0], _but_rate(optimizer)
        scheduler = self.make(optimizer)
        if not isinstance(scheduler, LRScheduler) or isinstance(
            scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau
        ):
            raise BadType(
                f"scheduled: expected a scheduler of torch.optim.lr_scheduler that follows from "
                f"how much is done, got {type(scheduler).__name__}; what follows the loss is "
                f"patience=, or a callback that returns True",
                "schedule",
            )
        count = epochs if self.every == "epoch" else epochs * per_epoch
        rates: list[float] = []
        for k in range(count):
            rates.append(float(group["lr"]))
            optimizer.step()  # which torch's schedulers wait for
            if k + 1 < count:
                self._step(scheduler, k + 1, count)
        if _but_rate(optimizer) != before:
            raise BadValue(
                f"scheduled: expected a scheduler that changes the learning rate alone, and "
                f"{type(scheduler).__name__} changes the optimizer's momentum too; give it "
                f"cycle_momentum=False",
                "schedule",
            )
        steps, length = epochs * per_epoch, per_epoch if self.every == "epoch" else 1
        table = [rate / lr for rate in rates]

        def factor(share: float) -> float:
            return table[min(round(share * steps) // length, count - 1)]

        factor.__qualname__ = type(scheduler).__name__
        return factor

    def _step(self, scheduler: LRScheduler, done: int, count: int) -> None:
        try:
            scheduler.step()
        except ValueError as error:
            raise BadValue(
                f"scheduled: {type(scheduler).__name__} ends after {done} of {count} "
                f"{self.every}s ({error}); make it for {count}",
                "schedule",
            ) from error


def _but_rate(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    changes = ("params", "lr", "initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum")
    return {k: v for k, v in optimizer.param_groups[0].items() if k not in changes}


def resolved(schedule: "Schedule | scheduled", lr: float, epochs: int, per_epoch: int) -> Schedule:
    """A schedule as a function of the share."""
    if isinstance(schedule, scheduled):
        return schedule.table(lr=lr, epochs=epochs, per_epoch=per_epoch)
    return schedule


def factors(schedule: Schedule, steps: int) -> str:
    """A schedule by its name and its values, by which a run that goes on knows it.

    The name alone would not do: all lambdas have the same. Of long runs it is 10,000 values.
    """
    if not callable(schedule):
        raise BadType(
            f"fit: expected schedule as a function of a share, got {schedule!r}", "schedule"
        )
    values = []
    for done in range(0, steps, math.ceil(steps / 10_000)):
        value = schedule(done / steps)
        try:
            values.append(float(value))
        except (TypeError, ValueError):
            raise BadType(
                f"fit: expected schedule to return a number, got {value!r}", "schedule"
            ) from None
        if not 0 <= values[-1] < math.inf:
            raise BadValue(
                f"fit: expected schedule to return a finite factor ≥ 0, got {value} at the share "
                f"{done / steps:.3g} of all steps",
                "schedule",
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
