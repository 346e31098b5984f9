"""What a project's check says, and the test that all of them ask of samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ALPHA", "Report", "follows"]

# A right density is refused by chance once in a million tests.
ALPHA = 1e-6
# Fewer expected in a box than this, and Pearson's statistic is not yet χ²: such boxes are pooled.
_EXPECTED = 10.0


@dataclass(frozen=True)
class Report:
    """What was measured, and what follows.

    Attributes:
        project: its name.
        numbers: from what was measured, with its unit, to the number.
        faults: what makes the numbers worthless, each with what to do; empty if there is none.
        beaten: whether the baseline is beaten by what is asked. None if there are faults.
        asked: what that is, in words.
    """

    project: str
    numbers: Mapping[str, float]
    faults: tuple[str, ...]
    beaten: bool | None
    asked: str

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong and the baseline is beaten."""
        return not self.faults and bool(self.beaten)

    def __str__(self) -> str:
        width = max(map(len, self.numbers), default=0)
        lines = [f"{name:<{width}}  {value:10.3f}" for name, value in self.numbers.items()]
        if self.faults:
            verdict = ["not valid:", *(f"- {fault}" for fault in self.faults)]
        else:
            verdict = [f"{'passed' if self.beaten else 'not yet'}: {self.asked}"]
        return "\n".join([f"project {self.project}", *lines, *verdict])


def follows(counts: Tensor, probabilities: Tensor) -> float:
    r"""The p-value of counts ``[..., box]`` under the boxes' probabilities, by Pearson's statistic.

    $$X^2 = \sum_b \frac{(n_b - n p_b)^2}{n p_b} \sim \chi^2_{B - 1}$$

    for each row, and summed over rows with their degrees of freedom. Boxes that expect fewer than
    ten are one box; what lies in none is in that too.

    >>> follows(torch.tensor([[480.0, 520.0]]), torch.tensor([[0.5, 0.5]])) > 0.1
    True
    >>> follows(torch.tensor([[400.0, 600.0]]), torch.tensor([[0.5, 0.5]])) < 1e-9
    True
    """
    statistic, freedom = 0.0, 0
    for n_b, p_b in zip(counts.double(), probabilities.double(), strict=True):
        total = n_b.sum()
        kept = p_b * total >= _EXPECTED
        rest, rest_p = total - n_b[kept].sum(), (1 - p_b[kept].sum()).clamp(min=0)
        n, expected = n_b[kept], total * p_b[kept]
        statistic += float(((n - expected).square() / expected).sum())
        freedom += int(kept.sum()) - 1
        if rest_p * total >= _EXPECTED:
            statistic += float((rest - total * rest_p).square() / (total * rest_p))
            freedom += 1
        elif rest > _EXPECTED + 10 * math.sqrt(_EXPECTED):  # a Poisson of mean 10 is not above 41
            return 0.0
    if freedom < 1:
        return 1.0
    half = torch.tensor([freedom / 2, statistic / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))
