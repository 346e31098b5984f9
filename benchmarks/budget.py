"""How the minutes of `gpu.py` are shared out: by what was measured, and never more than there are.

Nothing in here looks at a clock or trains: how much of the time is over is an argument.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

# Of seven and a half minutes, the seconds of each part, in the order in which they run.
WEIGHTS = {"selftest": 90, "ladder": 140, "hundred": 25, "rows": 95, "iwae": 100}
MARGIN = 1.1  # what was measured in a short trial may take so many times as long


class Piece(NamedTuple):
    """As much as is stored at once.

    Attributes:
        part: of `WEIGHTS`.
        name: by which it is known if it fails or is left out.
        seconds: that it will take, by what was measured; 0 where nothing is known yet.
        run: puts what it finds into the record; is given the seconds that are left for its part.
    """

    part: str
    name: str
    seconds: float
    run: Callable[[float], None]


class Cost(NamedTuple):
    """Of a run, in seconds: what it costs in any case, and for each pass over the data."""

    name: str
    fixed: float
    each: float


class Plan(NamedTuple):
    """How many passes each of these makes, and what there is no time for."""

    passes: int
    kept: list[str]
    left_out: list[str]


def deadline(part: str, coming: Sequence[str], *, end: float, now: float) -> float:
    """When a part must have ended: it has its share of the time that is left.

    So what one part does not use is for those after it, and what it uses too much they lack.

    Args:
        part: which.
        coming: the parts that have not begun, with this one.
        end: when all must have ended, in seconds since the start.
        now: how many seconds are over.
    """
    return now + max(0.0, end - now) * WEIGHTS[part] / sum(WEIGHTS[name] for name in coming)


def plan(costs: Sequence[Cost], seconds: float, *, least: int, most: int) -> Plan:
    """The same number of passes for all, as many as fit: models are compared at equal passes.

    If not even the least fit, the dearest is left out, and then the next.

    Args:
        costs: of each run, as a trial has measured them.
        seconds: that all of them may take together, with a reserve (`MARGIN`).
        least, most: passes.
    """
    kept = list(costs)
    while kept:
        free = seconds / MARGIN - sum(cost.fixed for cost in kept)
        fit = free / max(sum(cost.each for cost in kept), 1e-9)
        if fit >= least:
            passes = most if fit >= most else math.floor(fit)
            names = [cost.name for cost in kept]
            return Plan(passes, names, [c.name for c in costs if c.name not in names])
        kept.remove(max(kept, key=lambda cost: cost.fixed + least * cost.each))
    return Plan(0, [], [cost.name for cost in costs])
