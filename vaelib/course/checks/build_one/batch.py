"""Whether pixels become zeros and ones by a fresh draw of each."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..agreement import Outcome
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain
from .fixed import PIXELS, SIGMAS, SIZES, numbers

__all__ = ["ask", "fail_on_grey", "judge", "levels"]


SHAPE = (900, PIXELS)
LEVELS = (0, 1, 26, 64, 127, 128, 200, 254, 255)


def levels(draw: Draw, rows: int, columns: int) -> Tensor:
    """Bytes of all levels, as images are."""
    return torch.tensor(LEVELS)[draw.uniform(rows, columns, high=len(LEVELS)).long()].byte()


def ask(make: Callable[..., Any], draw: Draw) -> Outcome:
    """Two batches of the same images."""
    model, pixels = make(*SIZES), levels(draw, *SHAPE)
    given = pixels.clone()
    found = [plain(model.batch(given)) for _ in range(2)]
    return {"batch": found, "changed": not torch.equal(given, pixels)}


def judge(outcome: Outcome, draw: Draw) -> None:
    """Zeros and ones, fresh, independent, each as often as its pixel says."""
    pixels = levels(draw, *SHAPE)
    if outcome["changed"]:
        raise CheckFailed("batch(pixels) changes its pixels in place: compute a new tensor")
    first, second = (numbers(found, "batch(pixels)", [*pixels.shape]) for found in outcome["batch"])
    kind = outcome["batch"][0]["type"]
    if kind != "torch.float32":
        raise CheckFailed(f"batch(pixels) is of {kind}; networks take torch.float32: .float()")
    fail_on_grey(first, pixels, "batch(pixels)")
    if torch.equal(first, second) and all(len(first[pixels == k].unique()) == 1 for k in LEVELS):
        raise CheckFailed(
            "equal pixels become equal numbers, so nothing is drawn: each pixel is 1 with "
            "probability pixel / 255 (pixel // 255 rounds down, to 0 for all but 255)"
        )
    if torch.equal(first, second):
        raise CheckFailed(
            "two batches of the same images are equal: the zeros and ones are drawn once and for "
            "all; draw them afresh in each call (no seed, nothing stored)"
        )
    both = torch.stack([first, second])
    _fail_on_shared(both, pixels)
    for level in LEVELS:
        rate = float(both[:, pixels == level].mean())
        q = level / 255
        error = SIGMAS * (q * (1 - q) / (2 * int((pixels == level).sum()))) ** 0.5
        if abs(rate - q) > error:
            inverted = level == 0 and rate == 1
            raise CheckFailed(
                "0 and 1 are swapped: a pixel is 1 with probability pixel / 255"
                if inverted
                else f"a pixel of {level} is 1 with probability {level} / 255 = {q:.3f}; of your "
                f"draws {rate:.3f} are"
            )


def _fail_on_shared(both: Tensor, pixels: Tensor) -> None:
    """Whether several pixels were drawn with one random number: then they go up and down together.

    A sum of n independent draws has n times the variance of one, and of those sums the squares'
    mean has the standard error √(2 / number of sums).
    """
    rest = both.clone()
    for level in LEVELS:  # whatever the probabilities are
        at = pixels == level
        rest[:, at] -= both[:, at].mean()
    excess = {}
    for whose, axis in (("pixels of an image", -1), ("images of a batch", -2)):
        square = rest.sum(axis).square().mean() / rest.square().sum(axis).mean()
        excess[whose] = float(square - 1) / (2 / rest.sum(axis).numel()) ** 0.5
    whose = max(excess, key=lambda name: excess[name])
    if excess[whose] > SIGMAS:
        raise CheckFailed(f"all {whose} share one random number: each pixel has its own")


def fail_on_grey(x: Tensor, pixels: Tensor, what: str) -> None:
    """Images must be zeros and ones, and drawn."""
    if torch.equal(x, (pixels > 127).double()) or torch.equal(x, (pixels >= 127).double()):
        raise CheckFailed(
            f"{what} thresholds: each pixel is drawn, and is 1 with probability pixel / 255"
        )
    if not bool(((x == 0) | (x == 1)).all()):
        if x.max() > 1:
            raise CheckFailed(f"{what} holds numbers up to {x.max():g}; expected zeros and ones")
        raise CheckFailed(
            f"{what} is grey: a Bernoulli's x is 0 or 1. Draw it, with probability pixel / 255"
        )
