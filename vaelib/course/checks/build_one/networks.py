"""Whether the learner's encoder and decoder are functions of their input, of the right shapes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..agreement import Outcome
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain
from .fixed import LATENT, PIXELS, SIZES, numbers

__all__ = ["ask", "judge"]


def ask(make: Callable[..., Any], draw: Draw) -> Outcome:
    """What both say of a few inputs, of one alone, and again."""
    model = make(*SIZES)
    x, z = draw.binary(6, PIXELS).float(), draw.normal(6, LATENT, scale=3.0).float()
    return {
        "encode": [_outputs(model.encode(x)) for _ in range(2)],
        "one": _outputs(model.encode(x[:1])),
        "decode": [plain(model.decode(z)) for _ in range(2)],
        "far": plain(model.decode(100 * z)),
        "one image": plain(model.decode(z[:1])),
    }


def judge(outcome: Outcome, _: Draw) -> None:
    """Shapes, the same answer twice, and logits."""
    (loc, logvar), again = (_posterior(pair, 6) for pair in outcome["encode"])
    _posterior(outcome["one"], 1)
    if not (torch.equal(loc, again[0]) and torch.equal(logvar, again[1])):
        raise CheckFailed(
            "encode(x) gives two answers for the same x. It returns the parameters of q(z | x); "
            "the noise is drawn in loss, and a network with dropout has noise of its own"
        )
    first, second = (numbers(d, "decode(z)", [6, PIXELS]) for d in outcome["decode"])
    numbers(outcome["one image"], "decode(z) of a single z", [1, PIXELS])
    if not torch.equal(first, second):
        raise CheckFailed(
            "decode(z) gives two answers for the same z; it returns logits, no draw, from a "
            "network without dropout"
        )
    every = torch.cat([first, numbers(outcome["far"], "decode(z) for large z")])
    if every.min() >= 0 and every.max() <= 1 and every.std() > 0:
        raise CheckFailed(
            "decode(z) returns numbers between 0 and 1, so these are probabilities; expected "
            "logits: leave the sigmoid out, and the loss can stay finite where a pixel is sure"
        )


def _posterior(pair: Any, batch: int) -> tuple[Tensor, Tensor]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise CheckFailed(
            "encode(x) returns one thing; expected two tensors, loc and logvar: .chunk(2, dim=-1) "
            "halves what a network returns"
        )
    what = "encode(x)" if batch > 1 else "encode(x) of a single image"
    shape = [batch, LATENT]
    return numbers(pair[0], f"loc of {what}", shape), numbers(pair[1], f"logvar of {what}", shape)


def _outputs(value: Any) -> Any:
    return [plain(v) for v in value] if isinstance(value, tuple | list) else plain(value)
