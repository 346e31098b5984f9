"""Whether an evaluation is the mean ELBO of the images that it is given, at known networks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..agreement import Outcome
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain
from .batch import fail_on_grey, levels
from .fixed import LATENT, PIXELS, SIZES, Fixed, Terms, among, asked, numbers, repeated

__all__ = ["ask", "judge"]


class _Question(NamedTuple):
    """What is asked: images, known networks, and inputs at which the learner's are seen to rest."""

    pixels: Tensor
    fixed: Fixed
    x: Tensor
    z: Tensor


def _question(draw: Draw) -> _Question:
    pixels, fixed = levels(draw, 60, PIXELS), Fixed(draw, PIXELS, LATENT)
    return _Question(pixels, fixed, draw.binary(5, PIXELS), draw.normal(5, LATENT, scale=3.0))


def ask(make: Callable[..., Any], draw: Draw) -> Outcome:
    """Two evaluations after two steps, the second with known networks."""
    model, (pixels, fixed, x, z) = make(*SIZES), _question(draw)
    for _ in range(2):  # something that it might remember, and networks that are used
        model.step(draw.binary(30, PIXELS).float())
    x, z = x.float(), z.float()
    before = [plain(t) for t in (*model.encode(x), model.decode(z))]
    model.evaluate(pixels.clone())
    after = [plain(t) for t in (*model.encode(x), model.decode(z))]
    fixed.instead_of(model)
    value = model.evaluate(pixels.clone())
    return {"before": before, "after": after, "value": plain(value), "asked": fixed.written()}


def judge(outcome: Outcome, draw: Draw) -> None:
    """The mean ELBO of all given images, drawn, each at a drawn z; and nothing was changed."""
    pixels, fixed, _, _ = _question(draw)
    loc, logvar, logits = (numbers(v, "an output") for v in outcome["before"])
    if all(t.std(0).max() < 1e-6 for t in (loc, logvar)):
        raise CheckFailed("encode(x) says the same of all images: it does not look at x")
    if logits.std(0).max() < 1e-6:
        raise CheckFailed("decode(z) says the same for all z: it does not look at z")
    if outcome["before"] != outcome["after"]:
        raise CheckFailed("evaluate(pixels) changes the networks: it measures, and does not train")
    x, z = asked(outcome["asked"], "evaluate(pixels)", LATENT)
    if len(x) % len(pixels):
        raise CheckFailed(f"evaluate(pixels) looks at {len(x)} images of {len(pixels)}")
    orders = repeated(pixels, len(x))
    for order in orders:
        fail_on_grey(x, order, "what evaluate(pixels) encodes")
    if all(x[p == 0].any() or not x[p == 255].all() for p in orders):
        raise CheckFailed(
            "evaluate(pixels) looks at other images than those it is given: the training data "
            "flatter a model, and say nothing of new images"
        )
    terms = Terms(fixed, x, z)
    if torch.allclose(z, terms.loc.detach().expand_as(z), atol=1e-5):
        raise CheckFailed(
            "evaluate(pixels) decodes the mean of q(z | x), which flatters and is no bound: the "
            "ELBO is an expectation, so draw z, as in training"
        )
    value = float(numbers(outcome["value"], "evaluate(pixels)", []))
    elbos = [-loss.item() for loss in terms.right()]
    if among(-value, terms.right()):
        return
    for says, by in {
        "evaluate(pixels) returns the loss; the ELBO is minus it": -1.0,
        "evaluate(pixels) returns the sum over the images; expected their mean": len(x),
        "evaluate(pixels) divides by the number of pixels; expected nats per image": 1 / PIXELS,
        "evaluate(pixels) returns bits; expected nats": 1 / math.log(2),
    }.items():
        if any(math.isclose(value, by * elbo, rel_tol=2e-4) for elbo in elbos):
            raise CheckFailed(says)
    if math.isclose(value, terms.pixels.mean().item(), rel_tol=2e-4):
        raise CheckFailed("evaluate(pixels) is the reconstruction alone; the ELBO subtracts the KL")
    raise CheckFailed(
        f"for known networks evaluate(pixels) returns {value:.2f}; at the z that it drew, the ELBO "
        f"is {elbos[0]:.2f} nats per image"
    )
