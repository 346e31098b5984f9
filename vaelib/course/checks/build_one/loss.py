"""Whether a loss is minus the mean ELBO at known networks: its noise, value and gradients."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..agreement import Outcome
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain
from ..vae import vae_loss
from .fixed import (
    HIDDEN,
    LATENT,
    PIXELS,
    SIGMAS,
    Fixed,
    Terms,
    alike,
    among,
    asked,
    numbers,
    repeated,
)

__all__ = ["ask", "judge"]


def _losses(draw: Draw) -> Iterator[tuple[Fixed, Tensor, int]]:
    """Known networks, images and their latent dimensions: many images, then pixels that are sure.

    Of the noise of the first, the law can be told.
    """
    yield Fixed(draw, PIXELS, LATENT), draw.binary(1000, PIXELS), LATENT
    yield Fixed(draw, 8, 5, steep=20.0), draw.binary(40, 8), 5


def ask(make: Callable[..., Any], draw: Draw) -> Outcome:
    """The loss of known networks, twice, and its gradients.

    Each time of a model of their sizes: a loss may ask its model how many dimensions z has.
    """
    cases = []
    for fixed, x, latent in _losses(draw):
        model = make(x.shape[1], HIDDEN, latent)
        fixed.instead_of(model)
        loss = model.loss(x.float())
        asked, gradients = fixed.written(), None
        if isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1 and fixed.calls:
            leaves = [t for call in fixed.calls for t in (call.loc, call.logvar)] + [fixed.last]
            found = torch.autograd.grad(loss, leaves, allow_unused=True)
            gradients = [
                plain(torch.zeros_like(t) if g is None else g)
                for t, g in zip(leaves, found, strict=True)
            ]
        model.loss(x.float())
        again = fixed.written()[len(asked) :]
        cases.append({"loss": plain(loss), "gradients": gradients, "asked": asked, "again": again})
    return {"cases": cases}


def judge(outcome: Outcome, draw: Draw) -> None:
    """The noise first, since the value is that at the noise which was drawn."""
    terms = []
    for case, (fixed, x, latent) in zip(outcome["cases"], _losses(draw), strict=True):
        got, z = asked(case["asked"], "loss(x)", latent)
        if not any(torch.equal(got, order) for order in repeated(x, len(got))):
            raise CheckFailed("loss(x) encodes something else than the x that it is given")
        _, again = asked(case["again"], "loss(x)", latent)
        terms.append(Terms(fixed, got, z))
        _fail_on_noise(terms[-1], z, again, many=len(got) > 100)
    cases = outcome["cases"]
    values = [float(numbers(case["loss"], "loss(x)", [])) for case in cases]
    if not all(among(v, t.right()) for v, t in zip(values, terms, strict=True)):
        _explain_value(values, terms)
    for case, t in zip(cases, terms, strict=True):
        _judge_gradients(case["gradients"], t)


def _fail_on_noise(terms: Terms, z: Tensor, again: Tensor, *, many: bool) -> None:
    """z must be μ + σ ε with fresh ε from N(0, 1), one for each image and latent dimension."""
    loc, logvar = terms.loc.detach(), terms.logvar.detach()
    if torch.allclose(z, loc.expand_as(z), atol=1e-5):
        raise CheckFailed(
            "it decodes the mean of q(z | x): z = μ + σ ε with a fresh ε. Two calls with the same "
            "images give the same loss, and the ELBO needs a sample"
        )
    if z.shape == again.shape and torch.equal(z, again):
        raise CheckFailed("two calls use the same noise: draw a fresh ε in each call of loss")
    if not many:
        return
    eps = (z - loc) / torch.exp(0.5 * logvar)
    shared = {"images of a batch": eps - eps[:, :1], "latent dimensions": eps - eps[..., :1]}
    for whose, differences in shared.items():
        if differences.abs().max() < 1e-3:
            raise CheckFailed(
                f"all {whose} share one ε: each image and each latent dimension has its own "
                "(torch.randn_like(loc))"
            )
    if _standard(eps, logvar):
        return
    zero, one = torch.zeros_like(loc), torch.ones_like(loc)
    for says, centre, scale in (
        ("the noise is scaled by exp(logvar), which is σ²: σ is exp(½ logvar)", loc, logvar.exp()),
        ("the noise is scaled by logvar itself: σ is exp(½ logvar)", loc, logvar),
        ("the noise is not scaled: z = μ + σ ε", loc, one),
        ("the noise is scaled by softplus(logvar): σ is exp(½ logvar)", loc, softplus(logvar)),
        (
            "the noise is scaled by exp(−½ logvar): the sign is turned round",
            loc,
            (-logvar / 2).exp(),
        ),
        ("μ is missing: z = μ + σ ε", zero, (logvar / 2).exp()),
        ("z is drawn from the prior, and not from q(z | x)", zero, one),
    ):
        if _standard((z - centre) / scale, logvar):
            raise CheckFailed(says)
    if eps.min() >= -1e-3 and eps.max() <= 1 + 1e-3:
        raise CheckFailed("the noise is uniform, between 0 and 1: torch.randn is the normal one")
    raise CheckFailed(
        f"z is not μ + σ ε with ε from N(0, 1): (z − μ) / σ has mean {eps.mean():.2f} and mean "
        f"square {(eps**2).mean():.2f}; σ is exp(½ logvar)"
    )


def _standard(eps: Tensor, logvar: Tensor) -> bool:
    """Whether noise has mean 0 and mean square 1, and its square does not go with logvar.

    The mean of n has the standard error 1/√n, the mean square √(2/n), a correlation 1/√n.
    """
    bound = SIGMAS / eps.numel() ** 0.5
    square = eps**2 - 1
    goes = torch.corrcoef(torch.stack([square.flatten(), logvar.expand_as(eps).flatten()]))[0, 1]
    return bool(
        eps.mean().abs() < bound and square.mean().abs() < 2**0.5 * bound and goes.abs() < bound
    )


def _kl_of(square: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
    """The loss with something else for σ² in the KL."""

    def loss(x: Tensor, logits: Tensor, loc: Tensor, logvar: Tensor) -> Tensor:
        kl = 0.5 * (loc**2 + square(logvar) - 1 - logvar).sum(-1)
        return (kl - (x * logits - softplus(logits)).sum(-1)).mean()

    return loss


MISTAKES: Mapping[str, Callable[..., Tensor]] = {
    **vae_loss.mistakes,
    "the KL holds σ where σ² belongs: ½ (μ² + σ² − log σ² − 1)": _kl_of(lambda v: (v / 2).exp()),
    "the KL holds log σ² where σ² belongs: ½ (μ² + σ² − log σ² − 1)": _kl_of(lambda v: v),
}


SCALES: Mapping[str, Callable[[Tensor], float]] = {
    "this is the ELBO, which is to be large; the loss is minus it": lambda x: -1.0,
    "this is the sum over the batch; the loss is in nats per image": len,
    "the loss is divided by the number of pixels; it is in nats per image": lambda x: (
        1 / x.shape[1]
    ),
    "these are bits, not nats": lambda x: 1 / math.log(2),
}


def _explain_value(values: list[float], terms: list[Terms]) -> None:
    """What is wrong with the losses of the known networks, by name where it is known."""

    def everywhere(wrong: Callable[[Terms], float]) -> bool:
        return all(
            math.isclose(v, wrong(t), rel_tol=1e-3, abs_tol=1e-4)
            for v, t in zip(values, terms, strict=True)
        )

    for says, times in SCALES.items():
        for form in range(2):  # of the KL

            def scaled(t: Terms, times: Any = times, form: int = form) -> float:
                return times(t.x) * [*t.right()][form].item()

            if everywhere(scaled):
                raise CheckFailed(says)
    for says, mistake in MISTAKES.items():

        def mistaken(t: Terms, mistake: Callable[..., Tensor] = mistake) -> float:
            return t.of(mistake)

        if everywhere(mistaken):
            raise CheckFailed(says)
    if everywhere(lambda t: t.kl.mean().item()):
        raise CheckFailed("this is the KL alone: the reconstruction, −log p(x | z), is missing")
    betas = [
        ((v + t.pixels.mean()) / t.kl.mean()).item() for v, t in zip(values, terms, strict=True)
    ]
    if math.isclose(*betas, rel_tol=0.01) and f"{betas[0]:.2g}" != "1":
        raise CheckFailed(f"the KL counts {betas[0]:.3g} times; in the ELBO it counts once")
    value, t = next((v, t) for v, t in zip(values, terms, strict=True) if not among(v, t.right()))
    raise CheckFailed(
        f"for known networks, −log p(x | z) is {-t.pixels.mean():.2f} and the KL {t.kl.mean():.2f} "
        f"nats per image, but your loss is {value:.2f}"
    )


def _judge_gradients(plain_ones: Any, terms: Terms) -> None:
    if plain_ones is None:
        raise CheckFailed("loss(x) has no gradient: return a tensor, without .item() or no_grad")
    *given, bias = (numbers(g, "a gradient") for g in plain_ones)
    latent = terms.loc.shape[-1]
    got = [torch.cat([g.reshape(-1, latent) for g in given[k::2]]) for k in (0, 1)] + [bias]
    rights = [terms.gradients(loss) for loss in terms.right()]
    if any(alike(got, right) for right in rights):
        return
    kl, pixels = terms.gradients(terms.kl.mean()), terms.gradients(-terms.pixels.mean())
    if not got[0].any() and not got[1].any():
        raise CheckFailed("no gradient reaches the encoder: is it under no_grad, or .detach()ed?")
    if not bias.any():
        raise CheckFailed("no gradient reaches the decoder: is it under no_grad, or .detach()ed?")
    for says, wrong in (
        ("the reconstruction's gradient does not reach the encoder: z is detached "
         "(.sample() does that, .rsample() does not)", (kl[0], kl[1], bias)),
        ("the reconstruction's gradient reaches μ, but not σ: σ ε is detached",
         (rights[0][0], kl[1], bias)),
        ("the reconstruction's gradient reaches σ, but not μ", (kl[0], rights[0][1], bias)),
        ("the KL has no gradient: is it .detach()ed, or .item()?", pixels),
    ):  # fmt: skip
        if alike(got, wrong):
            raise CheckFailed(says)
    names = ("μ", "log σ²", "the decoder's bias")
    off = [
        name
        for name, g, *each in zip(names, got, *rights, strict=True)
        if not any(alike([g], [r]) for r in each)
    ]
    raise CheckFailed(
        f"the loss is right, but its gradient with respect to {' and '.join(off) or names[0]} "
        "is not: is something detached, or rounded, on the way?"
    )
