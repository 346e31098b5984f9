"""How the learning rate goes from step to step, and by what a run that goes on knows it."""

import hashlib
import math
from collections.abc import Callable

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
    """A schedule: the learning rate stays as it is.

    >>> constant(0.0), constant(0.5), constant(1.0)
    (1.0, 1.0, 1.0)
    """
    return 1.0


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
