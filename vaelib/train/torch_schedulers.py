"""The schedulers of torch as schedules: each run through once, and written down as a table."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from vaelib.arguments import BadType, BadValue
from vaelib.train.schedule import Schedule

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
        if not isinstance(scheduler, LRScheduler) or isinstance(scheduler, ReduceLROnPlateau):
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


def resolved(schedule: Schedule | scheduled, *, lr: float, epochs: int, per_epoch: int) -> Schedule:
    """A schedule as a function of the share."""
    if isinstance(schedule, scheduled):
        return schedule.table(lr=lr, epochs=epochs, per_epoch=per_epoch)
    return schedule
