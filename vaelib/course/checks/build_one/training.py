"""What a VAE learns from digits, measured from what its encoder and decoder say."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from vaelib import data

from ..agreement import Outcome
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain
from .fixed import numbers

__all__ = ["FULL", "Training", "ask", "judge", "measured"]


class Training(NamedTuple):
    """How a VAE is trained that is to show what it learns.

    Attributes:
        images: Of the training digits.
        hidden: Units.
        latent: Dimensions.
        epochs: Passes.
        batch: Images of a step.
        untrained: Nats of ELBO that no network has before its first step.
        enough: Nats of ELBO on held-out digits that a right one reaches.
        too_good: Nats that none does.
    """

    images: int
    hidden: int
    latent: int
    epochs: int
    batch: int
    untrained: float
    enough: float
    too_good: float

    def digits(self) -> tuple[Tensor, Tensor]:
        """Bytes to train on, and 500 held-out ones."""
        found = data.digits()
        return found.train[: self.images], found.test[:500]


# Single pixels score −203 on these images, and right answers reach −124 to −142.
FULL = Training(2000, 200, 8, 30, 100, untrained=-190, enough=-165, too_good=-100)


def ask(make: Callable[..., Any], draw: Draw, how: Training) -> Outcome:
    """Train it, and let its networks speak before and after."""
    train, test = how.digits()
    model = make(test.shape[1], how.hidden, how.latent)
    x = data.binarize(test, generator=draw.generator)
    outcome = {"before": _said(model, x[:50], draw)}
    for _ in range(how.epochs):
        for rows in torch.randperm(len(train)).split(how.batch):
            model.step(model.batch(train[rows]))
    return outcome | {"after": _said(model, x, draw), "evaluate": plain(model.evaluate(test))}


def _said(model: Any, x: Tensor, draw: Draw) -> Outcome:
    """What encoder and decoder say of images, rounded, at z that the draw decides."""
    with torch.no_grad():
        loc, logvar = (torch.round(t.double(), decimals=4) for t in model.encode(x))
        eps, order = _noise(loc, draw)
        z = loc + torch.exp(0.5 * logvar) * eps
        model.encode(x.flip(0))  # whoever remembers its last images remembers these
        logits = torch.round(model.decode(z[order].float()).double(), decimals=4)
    return {"loc": plain(loc), "logvar": plain(logvar), "logits": plain(logits)}


def _noise(loc: Tensor, draw: Draw) -> tuple[Tensor, Tensor]:
    eps = draw.normal(*loc.shape)
    return eps, draw.uniform(len(loc)).argsort()


def measured(said: Outcome, x: Tensor, draw: Draw, latent: int) -> tuple[Tensor, Tensor]:
    """ELBO and KL of each image, from what was said."""
    loc = numbers(said["loc"], "loc of encode(x)", [len(x), latent])
    logvar = numbers(said["logvar"], "logvar of encode(x)", [len(x), latent])
    _, order = _noise(loc, draw)
    logits = numbers(said["logits"], "decode(z)", [*x.shape])
    kl = 0.5 * (loc**2 + logvar.exp() - 1 - logvar).sum(-1)[order]
    x = x[order].double()
    return (x * logits - softplus(logits)).sum(-1) - kl, kl


def judge(outcome: Outcome, draw: Draw, how: Training) -> str:
    """The bound that is measured decides, and `evaluate` must agree with it."""
    _, test = how.digits()
    x = data.binarize(test, generator=draw.generator)
    before, _ = measured(outcome["before"], x[:50], draw, how.latent)
    if before.mean() > how.untrained:
        raise CheckFailed(
            f"before its first step its ELBO is {_nats(before.mean())}: these weights were "
            "trained elsewhere. The check trains them"
        )
    try:
        elbo, kl = measured(outcome["after"], x, draw, how.latent)
    except CheckFailed as failure:
        raise CheckFailed(
            f"after {how.epochs} epochs, {failure}: is the learning rate too large?"
        ) from None
    bound = float(elbo.mean())
    reached = f"after {how.epochs} epochs the ELBO of 500 held-out digits is {_nats(bound)}"
    if bound > how.too_good:
        raise CheckFailed(f"{reached}: no z says so much; does decode know x in another way?")
    cut = _cut(outcome["after"])
    if cut and bound > before.mean():  # if it fell, the rate is at fault
        raise CheckFailed(
            f"{reached}, but {cut} is never below 0. Is there an activation after the last layer"
            + (", or does encode return σ where log σ² belongs?" if cut == "logvar" else "?")
        )
    if bound < how.enough:
        if bound < before.mean() + 20:
            said = "nothing was learned. Is the learning rate far too small, or too large?"
        elif kl.mean() < 0.5:
            said = "the KL is nearly 0, so the decoder does without z. Does it use it well?"
        else:
            said = (
                "all parts are right, but it learns too slowly: try another learning rate, and no "
                "activation after the last layer of a network"
            )
        raise CheckFailed(f"{reached}, and a right one reaches {_nats(how.enough)}: {said}")
    value = float(numbers(outcome["evaluate"], "evaluate(pixels)", []))
    # Two draws of pixels and of z; the bound is six times what they differ by.
    if abs(value - bound) > 3:
        raise CheckFailed(
            f"{reached}, measured from your encoder and decoder, but your evaluate says "
            f"{_nats(value)}. Does it look at the images that it is given, and draw z?"
        )
    return f"Trained for {how.epochs} epochs, its ELBO on 500 held-out digits is {_nats(bound)}."


def _cut(said: Outcome) -> str | None:
    """The first output that never falls below 0, which no right one shows on 500 images.

    A VAE learns in spite of it: with σ in the place of log σ², it still reaches −162.
    """
    return next((name for name in said if numbers(said[name], name).min() >= 0), None)


def _nats(value: float | Tensor) -> str:
    return f"{value:.1f} nats".replace("-", "−")
