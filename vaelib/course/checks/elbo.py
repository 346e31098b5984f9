"""Checks of the exercises of :doc:`/book/elbo`."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, pairwise, permutations
from typing import Any

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Normal,
    kl_divergence,
)
from torch.nn.functional import logsigmoid, softplus

from vaelib.pixels import TruncatedExponential

from .exercise import Draw, exercise

__all__ = [
    "bernoulli_log_likelihood",
    "elbo_derivation",
    "elbo_estimate",
    "gaussian_elbo",
    "iwae_bound",
]


def _bernoulli_by_logaddexp(x: Tensor, logits: Tensor) -> Tensor:
    # One pixel has the probability 1 / (1 + exp(∓logit)).
    against = torch.where(x > 0.5, -logits, logits)
    return -torch.logaddexp(torch.zeros_like(logits), against).sum(-1)


def _pixels(x: Tensor, logits: Tensor) -> Tensor:
    return x * logits - softplus(logits)


def _cut(eps: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Probabilities kept between eps and 1 - eps."""

    def wrong(x: Tensor, logits: Tensor) -> Tensor:
        p = logits.sigmoid().clamp(eps, 1 - eps)
        return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)

    return wrong


def _cut_logs(x: Tensor, logits: Tensor) -> Tensor:
    return -torch.nn.functional.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(-1)


def _added(eps: float) -> Callable[[Tensor, Tensor], Tensor]:
    """An eps inside each logarithm."""

    def wrong(x: Tensor, logits: Tensor) -> Tensor:
        p = logits.sigmoid()
        return (x * (p + eps).log() + (1 - x) * (1 - p + eps).log()).sum(-1)

    return wrong


@exercise(
    truth=_bernoulli_by_logaddexp,
    mistakes={
        "this is the cross-entropy, which one minimizes; the log-likelihood is minus that": (
            lambda x, a: -_pixels(x, a).sum(-1)
        ),
        "binary_cross_entropy_with_logits averages over pixels and data by default, and is a loss: "
        'reduction="none", a minus, and a sum over the pixels': lambda x, a: -_pixels(x, a).mean(),
        "binary_cross_entropy_with_logits averages over pixels and data by default: "
        'reduction="none", then a sum over the pixels': lambda x, a: _pixels(x, a).mean(),
        "the sigmoid is applied twice: the function takes logits, and applies it by itself": (
            lambda x, a: _pixels(x, a.sigmoid()).sum(-1)
        ),
        "the two arguments are swapped: torch's cross-entropy takes the logits first, then x": (
            lambda x, a: -(softplus(x) - x * a).sum(-1)
        ),
        "784 is the number of MNIST's pixels, and these images have others: sum, or multiply the "
        "mean by x.shape[-1]": lambda x, a: 784 * _pixels(x, a).mean(-1),
        "0 and 1 are swapped: sigmoid(logit) is the probability of a 1": lambda x, a: _pixels(
            1 - x, a
        ).sum(-1),
        "only the ones are counted: a pixel 0 has the log-probability log(1 − p)": lambda x, a: (
            x * logsigmoid(a)
        ).sum(-1),
        "only the zeros are counted: a pixel 1 has the log-probability log p": lambda x, a: (
            (1 - x) * logsigmoid(-a)
        ).sum(-1),
        "the normalizer is missing: x · logit − log(1 + exp(logit))": lambda x, a: (x * a).sum(-1),
        "the normalizer is softplus(logits), not softplus(−logits)": lambda x, a: (
            x * a - softplus(-a)
        ).sum(-1),
        "this is a squared error: pixels of 0 and 1 need log p and log(1 − p)": lambda x, a: (
            -(x - a.sigmoid()).square().sum(-1)
        ),
        "this is half a squared error, a Gaussian's: pixels of 0 and 1 need log p and log(1 − p)": (
            lambda x, a: -0.5 * (x - a.sigmoid()).square().sum(-1)
        ),
        "this is the image's probability; its logarithm is asked": lambda x, a: (
            _pixels(x, a).sum(-1).exp()
        ),
        "the pixels' probabilities are averaged before the log: sum the pixels' logs": (
            lambda x, a: torch.logsumexp(_pixels(x, a), -1) - math.log(x.shape[-1])
        ),
        "logits are passed as probs=: p = sigmoid(logit)": lambda x, a: (
            Bernoulli(probs=a, validate_args=False).log_prob(x).sum(-1)
        ),
        "the logits are taken for probabilities: p = sigmoid(logit)": lambda x, a: (
            x * a.log() + (1 - x) * (1 - a).log()
        ).sum(-1),
        "this is the continuous Bernoulli, a density for grey pixels; these are 0 or 1": (
            lambda x, a: TruncatedExponential(a).log_prob(x).sum(-1)
        ),
        # At large logits torch's is another function, and no density.
        "this is torch's continuous Bernoulli, for grey pixels; these are 0 or 1": (
            lambda x, a: ContinuousBernoulli(logits=a, validate_args=False).log_prob(x).sum(-1)
        ),
        "binary_cross_entropy cuts each pixel at −100 nats: the form with logits does not": (
            _cut_logs
        ),
        **{
            f"an ε of {eps:g} inside the logarithms limits what a pixel can cost: "
            "start from the logits": _added(eps)
            for eps in (1e-8, 1e-10, 1e-12)
        },
        **{
            f"probabilities kept above {eps:g} limit what a pixel costs: start from the logits": (
                _cut(eps)
            )
            for eps in (1e-5, 1e-6, 1e-7)
        },
    },
    gradients=("logits",),  # x is data
    axes={"x": ("pixels", "data"), "logits": ("pixels", "data")},
)
def bernoulli_log_likelihood(draw: Draw) -> Iterator[dict[str, Any]]:
    """log p(x | z) of an image of zeros and ones, from logits."""
    for shape in ((4, 3), (1, 5), (2, 6, 4), (9,)):
        yield {"x": draw.binary(*shape), "logits": draw.normal(*shape, scale=2.0)}
    # A network that is certain, now rightly and now wrongly.
    x, certain = draw.binary(6, 8), draw.uniform(6, 8, low=200, high=900)
    x[0, :2] = torch.tensor([0.0, 1.0])
    wrongly = draw.binary(6, 8)
    wrongly[0, :2] = 1
    yield {"x": x, "logits": (2 * x - 1) * (1 - 2 * wrongly) * certain}
    yield {"x": x, "logits": (2 * x - 1) * certain}
    yield {"x": draw.binary(3, 7), "logits": draw.normal(3, 7, scale=60.0)}


def _elbo_in_a_loop(log_joint: Callable[[Tensor], Tensor], q: Normal, z: Tensor) -> Tensor:
    log_w = []
    for one in z:
        squares = ((one - q.loc) / q.scale) ** 2
        log_q = -0.5 * squares - q.scale.log() - 0.5 * math.log(2 * math.pi)
        log_w.append(log_joint(one[None])[0] - log_q.sum(-1))
    return torch.stack(log_w).mean(0)


def _log_q(q: Normal, z: Tensor) -> Tensor:
    return q.log_prob(z).sum(-1)


def _prior(z: Tensor) -> Normal:
    return Normal(torch.zeros_like(z), torch.ones_like(z))


def _log_joint(x: Tensor, weight: Tensor, bias: Tensor, noise_logvar: Tensor, z: Tensor) -> Tensor:
    squares = (x - z @ weight.mT - bias) ** 2 * (-noise_logvar).exp()
    pixels = -0.5 * (squares + noise_logvar + math.log(2 * math.pi))
    return pixels.sum(-1) - 0.5 * (z**2 + math.log(2 * math.pi)).sum(-1)


def _linear_gaussian(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    noise_logvar: Tensor,
    loc: Tensor,
    logvar: Tensor,
    eps: Tensor,
) -> tuple[Callable[[Tensor], Tensor], Normal, Tensor]:
    """log p(x, z) of one linear Gaussian, a q, and draws of q that carry its gradient."""
    # Not a function in here: the tests' type checker would take one up anew at each call.
    log_joint = partial(_log_joint, x, weight, bias, noise_logvar)
    scale = (0.5 * logvar).exp()
    return log_joint, Normal(loc, scale, validate_args=False), loc + scale * eps


@exercise(
    truth=_elbo_in_a_loop,
    build=_linear_gaussian,
    mistakes={
        "log q is missing: this is E_q[log p(x, z)], whose best q is a point": lambda p, q, z: p(
            z
        ).mean(0),
        "log q is added; it must be subtracted": lambda p, q, z: (p(z) + _log_q(q, z)).mean(0),
        "this is −ELBO, a loss; asked is the bound itself, higher is better": lambda p, q, z: (
            _log_q(q, z) - p(z)
        ).mean(0),
        "log p(x, z) is missing: this is −E_q[log q], q's entropy": lambda p, q, z: (
            -_log_q(q, z).mean(0)
        ),
        "log q is averaged over the latents; independent dimensions add up": lambda p, q, z: (
            p(z) - q.log_prob(z).mean(-1)
        ).mean(0),
        "log p(x, z) is counted once for each latent: sum log q over the latents first": (
            lambda p, q, z: (p(z)[..., None] - q.log_prob(z)).mean(0).sum(-1)
        ),
        "log q is averaged over the draws and the data: only the latents are summed, and only the "
        "draws averaged": lambda p, q, z: p(z).mean(0) - _log_q(q, z).mean(),
        "log q is summed over all its axes: sum over the latents only": lambda p, q, z: (
            p(z) - q.log_prob(z).sum()
        ).mean(0),
        "this is the importance-weighted bound, the log of the weights' mean; the ELBO is the mean "
        "of their logs": lambda p, q, z: torch.logsumexp(p(z) - _log_q(q, z), 0) - math.log(len(z)),
        "each draw is weighed by its share of the weights; draws of q count equally": (
            lambda p, q, z: ((p(z) - _log_q(q, z)).softmax(0) * (p(z) - _log_q(q, z))).sum(0)
        ),
        "only the first draw is used": lambda p, q, z: p(z)[0] - _log_q(q, z)[0],
        "the best draw is taken; the ELBO is the mean of all": lambda p, q, z: (
            (p(z) - _log_q(q, z)).max(0).values
        ),
        "q's mean is used in place of the draws: the ELBO is a mean over draws": lambda p, q, z: (
            p(q.mean[None])[0] - _log_q(q, q.mean)
        ),
        "the draws are averaged before log p and log q are taken; average the log-weights": (
            lambda p, q, z: p(z.mean(0, keepdim=True))[0] - _log_q(q, z.mean(0))
        ),
        "the mean runs over the data; it must run over the draws, axis 0": lambda p, q, z: (
            p(z) - _log_q(q, z)
        ).mean(-1),
        "this is E_q[log p(x | z)], without the KL: log q is to be subtracted, not the prior's "
        "log-density": lambda p, q, z: (p(z) - _log_q(_prior(z), z)).mean(0),
        "q's density is subtracted; its logarithm must be": lambda p, q, z: (
            p(z) - _log_q(q, z).exp()
        ).mean(0),
        "q's densities are averaged before the log is taken: average log q": lambda p, q, z: (
            p(z).mean(0) - torch.logsumexp(_log_q(q, z), 0) + math.log(len(z))
        ),
        "a mean is the sum divided by the number of draws, not by one less": lambda p, q, z: (
            (p(z) - _log_q(q, z)).sum(0) / (len(z) - 1)
        ),
        "the ELBO is cut at 0; log-densities may be above it": lambda p, q, z: (
            (p(z) - _log_q(q, z)).mean(0).clamp(max=0)
        ),
        "with q's entropy in closed form it is an ELBO too, but another estimate: asked is the "
        "mean of the log-weights": lambda p, q, z: p(z).mean(0) + q.entropy().sum(-1),
        "the value is right, but z is detached: the gradient through the draws is lost": (
            lambda p, q, z: (p(z.detach()) - _log_q(q, z.detach())).mean(0)
        ),
        "the value is right, but z is detached in log p(x, z): there the gradient must pass": (
            lambda p, q, z: (p(z.detach()) - _log_q(q, z)).mean(0)
        ),
        "the value is right, but z is detached in log q: there the gradient must pass": (
            lambda p, q, z: (p(z) - _log_q(q, z.detach())).mean(0)
        ),
        "the value is right, but q's loc and scale are detached in log q: no part is to be cut": (
            lambda p, q, z: (p(z) - _log_q(Normal(q.loc.detach(), q.scale.detach()), z)).mean(0)
        ),
    },
    axes={
        "x": ("pixels", "data"),
        "loc": ("latent dimensions", "data"),
        "eps": ("latent dimensions", "data", "draws"),
    },
)
def elbo_estimate(draw: Draw) -> Iterator[dict[str, Any]]:
    """The ELBO of a model and a q, from draws of q."""
    # The last: so many latents that their densities' product underflows.
    for samples, batch, latent, pixels in ((5, 4, 3, 6), (2, 1, 200, 3)):
        yield {
            "x": draw.normal(batch, pixels, scale=2.0),
            "weight": draw.normal(pixels, latent),
            "bias": draw.normal(pixels),
            "noise_logvar": draw.uniform(low=-1.5, high=-0.5),
            "loc": draw.normal(batch, latent),
            "logvar": draw.uniform(batch, latent, low=-2, high=-0.5),
            "eps": draw.normal(samples, batch, latent),
        }
    # Pixels in small units, whose densities, and so the ELBO, are above 1 and 0.
    yield {
        "x": draw.normal(3, 12, scale=0.02),
        "weight": draw.normal(12, 2, scale=0.01),
        "bias": draw.normal(12, scale=0.01),
        "noise_logvar": draw.uniform(low=-8.0, high=-7.5),
        "loc": draw.normal(3, 2),
        "logvar": draw.uniform(3, 2, low=-2.0, high=-0.5),
        "eps": draw.normal(7, 3, 2),
    }
    # Log-weights of minus some thousands, whose weights underflow, and a q that is nearly a point.
    yield {
        "x": draw.normal(3, 5, scale=25.0),
        "weight": draw.normal(5, 2),
        "bias": draw.normal(5),
        "noise_logvar": draw.uniform(low=-2.0, high=-1.5),
        "loc": draw.normal(3, 2, scale=3.0),
        "logvar": draw.uniform(3, 2, low=-6, high=2),
        "eps": draw.normal(4, 3, 2),
    }


def _log_mean_in_a_loop(log_w: Tensor) -> Tensor:
    total = log_w[0]
    for one in log_w[1:]:
        total = torch.logaddexp(total, one)
    return total - math.log(len(log_w))


@exercise(
    truth=_log_mean_in_a_loop,
    mistakes={
        "this is the ELBO, the mean of the logs; L_K is the log of the weights' mean": (
            lambda w: w.mean(0)
        ),
        "log K is missing: the weights are summed, not averaged": lambda w: torch.logsumexp(w, 0),
        "log K is added; a mean is a sum divided by K, so it is subtracted": lambda w: (
            torch.logsumexp(w, 0) + math.log(len(w))
        ),
        "K is subtracted; it must be log K": lambda w: torch.logsumexp(w, 0) - len(w),
        "the log of the sum is divided by K; the sum must be, so log K is subtracted": lambda w: (
            torch.logsumexp(w, 0) / len(w)
        ),
        "the log-weights are divided by K; the weights must be": lambda w: torch.logsumexp(
            w / len(w), 0
        ),
        "K − 1 is for a variance; a mean is the sum divided by K": lambda w: (
            torch.logsumexp(w, 0) - math.log(max(len(w) - 1, 1))
        ),
        "log K has the base 2 here; the logarithm is the natural one": lambda w: (
            torch.logsumexp(w, 0) - math.log2(len(w))
        ),
        "the bound is cut at 0; log-densities may be above it": lambda w: (
            torch.logsumexp(w, 0) - math.log(len(w))
        ).clamp(max=0),
        "this is the mean of the weights; its logarithm is asked": lambda w: w.exp().mean(0),
        "the mean runs over the data; it must run over the samples, axis 0": lambda w: (
            torch.logsumexp(w, -1) - math.log(w.shape[-1])
        ),
        "K is the number of samples, the size of axis 0, not of data": lambda w: (
            torch.logsumexp(w, 0) - math.log(w.shape[-1])
        ),
        "K is the number of samples, not of all log-weights": lambda w: (
            torch.logsumexp(w, 0) - math.log(w.numel())
        ),
        "data are mixed: the mean of weights runs over the samples of one datum only": lambda w: (
            torch.logsumexp(w.flatten(), 0) - math.log(w.numel())
        ),
        "this is the surrogate, whose gradient is right and whose value is no bound: asked is the "
        "log of the mean": lambda w: (w.detach().softmax(0) * w).sum(0),
        "this is the mean of log w under the shares: it is above the log of the mean": lambda w: (
            w.softmax(0) * w
        ).sum(0),
        "these weights favour the worst sample: it is softmax(log_w), not softmax(−log_w); and "
        "even then the sum is no bound": lambda w: ((-w).softmax(0) * w).sum(0),
        "these weights, held constant, favour the worst sample: it is softmax(log_w), not "
        "softmax(−log_w); and even then the sum is no bound": lambda w: (
            (-w).detach().softmax(0) * w
        ).sum(0),
        "this is the log of the harmonic mean, ruled by the worst sample: no minus inside": (
            lambda w: math.log(len(w)) - torch.logsumexp(-w, 0)
        ),
        "the best log-weight alone is taken; the others count too": lambda w: w.max(0).values,
        "the largest log-weight is subtracted and not added back": lambda w: (
            torch.logsumexp(w, 0) - math.log(len(w)) - w.max(0).values
        ),
        **{
            f"an ε of {eps:g} inside the logarithm hides weights that are smaller: use logsumexp": (
                lambda w, eps=eps: (w.exp().mean(0) + eps).log()
            )
            for eps in (1e-6, 1e-8, 1e-10, 1e-12)
        },
        "the value is right, but the gradient passes through the best sample only: "
        "only a shift that is added back may be detached": lambda w: (
            w.max(0).values + (torch.logsumexp(w, 0) - math.log(len(w)) - w.max(0).values).detach()
        ),
    },
    axes={"log_w": ("data", "samples")},
)
def iwae_bound(draw: Draw) -> Iterator[dict[str, Any]]:
    """The importance-weighted bound L_K from log-weights."""
    for samples, batch in ((5, 3), (8, 1), (2, 6), (1, 5)):
        yield {"log_w": draw.normal(samples, batch, scale=1.5) - 2.0}
    # Weights that underflow, and weights that overflow.
    # Each datum at a level of its own: one maximum for all of them would underflow.
    levels = torch.tensor([900.0, 1500.0, 2000.0, 3000.0], dtype=torch.float64)
    # One weight is far above the others: a shift by the mean log-weight would overflow.
    log_w = draw.normal(6, 4, scale=30.0) - levels
    log_w[0] += 1200.0
    yield {"log_w": log_w.float().double()}
    yield {"log_w": draw.normal(7, 2, scale=3.0) + 900.0}


# The lines of the derivation, as lettered on the page. B, D, G and H are not log p(x).
#   A  E_q[log p(x, z) − log q(z)] + E_q[log q(z) − log p(z | x)]
#   B  E_q[log p(x, z) − log q(z)]
#   C  E_q[log p(x)]
#   D  E_q[log p(x, z) + log p(z | x)]
#   E  E_q[log p(x, z) − log q(z) + log q(z) − log p(z | x)]
#   F  E_q[log p(x, z) − log p(z | x)]
#   G  E_q[log p(x, z) − log q(z)] + E_q[log p(z | x) − log q(z)]
#   H  E_q[log p(x | z) − log p(z | x)]
_LINES = "CFEA"
_FALSE = {
    "B": "B is the ELBO: Jensen's inequality leads there with ≥, and here every step needs an =",
    "D": "D is false: the posterior is the joint divided by p(x), so log p(z | x) is subtracted",
    "G": "G is false: its second mean is minus the KL; log q must stand there with a plus",
    "H": "H is false: it is the joint that is divided by the posterior, and the prior is missing",
}
_BEFORE = {
    "C": "C takes the mean of log p(x), a constant: it stands directly below log p(x)",
    "F": "F splits log p(x) inside a mean by the product rule: C must stand directly above it",
    "E": "E subtracts log q and adds it again: F must stand directly above it",
    "A": "A makes one mean into two: the line with all four logs must stand directly above it",
    "": "the last line must already hold two means, the ELBO and the KL",
}


def _what_is_wrong(order: str) -> str:
    """The first fault of an order."""
    for line in order:
        if line in _FALSE:
            return _FALSE[line]
    for line, below in pairwise(order):
        if line == below:
            return f"{line} stands twice, and each rule leads to another line"
    lines = ["", *order, ""]
    steps = {("", "C"), ("C", "F"), ("F", "E"), ("E", "A"), ("A", "")}
    for above, below in pairwise(lines):
        if (above, below) not in steps:
            return _BEFORE[below]
    raise ValueError(order)


def _orders() -> Iterator[str]:
    """Plausible wrong orders: lines exchanged, left out, added, or put in another's place."""
    for length in range(1, 5):
        for some in combinations(_LINES, length):
            yield from map("".join, permutations(some))
    yield from (_LINES[: at + 1] + _LINES[at:] for at in range(4))  # a line twice
    for false in _FALSE:
        yield false
        for at in range(5):
            yield _LINES[:at] + false + _LINES[at:]
            yield _LINES[:at] + false + _LINES[at + 1 :]
            yield _LINES[:at] + false
    yield from (
        "CDEG",
        "CHEG",
        "CDEA",
        "CFEGA",
        "FEG",
        "CFBA",
        "CEG",
        "CFBG",
        "CBG",
        "CBA",
        "BG",
        "BA",
        "FA",
        "HDB",
    )


def _constant(text: str) -> Callable[[], str]:
    return lambda: text


_WRITTEN = {
    "write capital letters": _LINES.lower(),
    "write the letters only, without anything between them": ", ".join(_LINES),
    "write the letters only, without commas": ",".join(_LINES),
    "write the letters only, without =": "=".join(_LINES),
    "write the letters only, without = and spaces": " = ".join(_LINES),
    "write the letters only, without arrows": "→".join(_LINES),
    "write the letters only, without spaces": " ".join(_LINES),
    "write the letters only, without hyphens": "-".join(_LINES),
    "this is the derivation from below: begin with the line under log p(x)": _LINES[::-1],
}


@exercise(
    truth=_constant(_LINES),
    mistakes={
        **{f"{text}: {says}": _constant(text) for says, text in _WRITTEN.items()},
        **{
            f"{order}: {_what_is_wrong(order)}": _constant(order)
            for order in dict.fromkeys(_orders())
            if order not in {_LINES, _LINES[::-1]}
        },
    },
)
def elbo_derivation(draw: Draw) -> Iterator[dict[str, Any]]:  # noqa: ARG001
    """The order of the lines from log p(x) to ELBO + KL."""
    yield {}


def _gaussian_elbo_by_torch(
    x: Tensor, means: Tensor, variance: Tensor, loc: Tensor, logvar: Tensor
) -> Tensor:
    prior = Normal(torch.zeros_like(loc), torch.ones_like(loc))
    each = [Normal(mean, variance.sqrt()).log_prob(x).sum(-1) for mean in means]
    return torch.stack(each).mean(0) - kl_divergence(Normal(loc, logvar.exp().sqrt()), prior).sum(
        -1
    )


_FAULTS = {
    "pixels": "the squares are averaged over the pixels, and an image is all of them: sum",
    "normalizer": "the normalizer is one pixel's, and each of the pixels brings its own",
    "likelihoods": "likelihoods are averaged, and only then the log is taken: first log, then mean",
    "latents": "the KL is averaged over the latents: sum",
}


def _kl(loc: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (loc**2 + logvar.exp() - logvar - 1)


def _left(faults: tuple[str, ...], *, log_space: bool = True) -> Callable[..., Tensor]:
    """The notes with some of their faults left in."""

    def wrong(x: Tensor, means: Tensor, variance: Tensor, loc: Tensor, logvar: Tensor) -> Tensor:
        squares = (x - means) ** 2
        error = squares.mean(-1) if "pixels" in faults else squares.sum(-1)
        count = 1 if "normalizer" in faults else x.shape[-1]
        log_density = -error / (2 * variance) - 0.5 * count * (2 * math.pi * variance).log()
        if "likelihoods" not in faults:
            reconstruction = log_density.mean(0)
        elif log_space:
            reconstruction = torch.logsumexp(log_density, 0) - math.log(len(means))
        else:
            reconstruction = log_density.exp().mean(0).log()
        kl = _kl(loc, logvar)
        return reconstruction - (kl.mean(-1) if "latents" in faults else kl.sum(-1))

    return wrong


def _remaining() -> dict[str, Callable[..., Tensor]]:
    """Each fault, and each set of faults, left in."""
    named: dict[str, Callable[..., Tensor]] = {}
    for number, words in ((1, "one fault is left"), (2, "two faults are left")):
        for some in combinations(_FAULTS, number):
            what = "; ".join(_FAULTS[fault] for fault in some)
            named[f"{words}: {what}"] = _left(some)
            if "likelihoods" in some:
                named[f"{words}: {what} (and these densities underflow)"] = _left(
                    some, log_space=False
                )
    for some in combinations(_FAULTS, 3):
        (mended,) = set(_FAULTS) - set(some)
        words = f"three faults are left; only that of the {mended} is mended"
        named[words] = _left(some)
        if "likelihoods" in some:
            named[f"{words} (and densities underflow)"] = _left(some, log_space=False)
    named["all four faults are left"] = _left(tuple(_FAULTS))
    named["all four faults are left: these are the notes as they were"] = _left(
        tuple(_FAULTS), log_space=False
    )
    return named


def _reconstruction(x: Tensor, means: Tensor, variance: Tensor) -> Tensor:
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1)


@exercise(
    truth=_gaussian_elbo_by_torch,
    mistakes={
        **_remaining(),
        "the KL is added; it must be subtracted": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) + _kl(m, v).sum(-1)
        ),
        "the KL is missing": lambda x, f, s, m, v: _reconstruction(x, f, s).mean(0),
        "only the KL is here, with its minus: the reconstruction term is missing": (
            lambda x, f, s, m, v: -_kl(m, v).sum(-1)
        ),
        "this is −ELBO, a loss; asked is the bound itself, higher is better": (
            lambda x, f, s, m, v: _kl(m, v).sum(-1) - _reconstruction(x, f, s).mean(0)
        ),
        "the normalizer is missing: −½ log 2πσ² for each pixel": lambda x, f, s, m, v: (
            -((x - f) ** 2 / (2 * s)).sum(-1).mean(0) - _kl(m, v).sum(-1)
        ),
        "log 2π is missing from the normalizer": lambda x, f, s, m, v: (
            -0.5 * ((x - f) ** 2 / s + s.log()).sum(-1).mean(0) - _kl(m, v).sum(-1)
        ),
        "the normalizer has the wrong sign: −½ log 2πσ² for each pixel": lambda x, f, s, m, v: (
            -0.5 * ((x - f) ** 2 / s - (2 * math.pi * s).log()).sum(-1).mean(0) - _kl(m, v).sum(-1)
        ),
        "the image's normalizer stands inside the sum over pixels: it is counted once for each "
        "pixel": lambda x, f, s, m, v: (
            -0.5 * ((x - f) ** 2 / s + x.shape[-1] * (2 * math.pi * s).log()).sum(-1).mean(0)
            - _kl(m, v).sum(-1)
        ),
        "the ½ in front of the squares is missing: they are divided by 2σ²": (
            lambda x, f, s, m, v: (
                -((x - f) ** 2 / s + 0.5 * (2 * math.pi * s).log()).sum(-1).mean(0)
                - _kl(m, v).sum(-1)
            )
        ),
        "variance is taken for σ: it is σ² already": lambda x, f, s, m, v: (
            Normal(f, s).log_prob(x).sum(-1).mean(0) - _kl(m, v).sum(-1)
        ),
        "the decoded means are averaged before the comparison with x: average log-densities": (
            lambda x, f, s, m, v: _reconstruction(x, f.mean(0), s) - _kl(m, v).sum(-1)
        ),
        "the samples' log-densities are summed: the expectation is their mean": (
            lambda x, f, s, m, v: _reconstruction(x, f, s).sum(0) - _kl(m, v).sum(-1)
        ),
        "only the first sample is used": lambda x, f, s, m, v: (
            _reconstruction(x, f[0], s) - _kl(m, v).sum(-1)
        ),
        "the mean over the samples runs over the data too": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean() - _kl(m, v).sum(-1)
        ),
        "the KL is averaged over the data: each datum pays its own": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - _kl(m, v).sum(-1).mean()
        ),
        "the KL is summed over the data too: each datum pays its own": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - _kl(m, v).sum()
        ),
        "the ½ in front of the KL is missing": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - 2 * _kl(m, v).sum(-1)
        ),
        "logvar is log σ², not log σ": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - _kl(m, 2 * v).sum(-1)
        ),
        "the −1 of the KL stands once; it belongs to each latent dimension": (
            lambda x, f, s, m, v: (
                _reconstruction(x, f, s).mean(0) - _kl(m, v).sum(-1) - 0.5 * (v.shape[-1] - 1)
            )
        ),
        "in the KL, logvar has the wrong sign: ½ (μ² + σ² − log σ² − 1)": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - (_kl(m, v) + v).sum(-1)
        ),
        "this is KL(prior ‖ q); the ELBO has KL(q ‖ prior)": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - 0.5 * ((1 + m**2) * (-v).exp() + v - 1).sum(-1)
        ),
        "a mean is the sum divided by the number of samples, not by one less": (
            lambda x, f, s, m, v: _reconstruction(x, f, s).sum(0) / (len(f) - 1) - _kl(m, v).sum(-1)
        ),
        "x is rounded; this likelihood is one of real numbers": lambda x, f, s, m, v: (
            _reconstruction(x.round(), f, s).mean(0) - _kl(m, v).sum(-1)
        ),
        "the ELBO is cut at 0; log-densities may be above it": lambda x, f, s, m, v: (
            _reconstruction(x, f, s).mean(0) - _kl(m, v).sum(-1)
        ).clamp(max=0),
    },
    axes={
        "x": ("pixels", "data"),
        "means": ("pixels", "data", "samples"),
        "loc": ("latent dimensions", "data"),
    },
)
def gaussian_elbo(draw: Draw) -> Iterator[dict[str, Any]]:
    """The ELBO with a Gaussian likelihood of known variance and a KL in closed form."""
    # The second in small units: densities are above 1, and whoever adds an ε to σ sees it. Its
    # variance is above 1e-6, below which torch's gaussian_nll_loss cuts it.
    # The third has latents that are hardly used, whose KL is small.
    for samples, batch, latent, pixels, unit, used in (
        (5, 4, 3, 6, 1.0, 1.0),
        (7, 3, 2, 5, 3e-3, 1.0),
        (2, 1, 5, 3, 1.0, 0.2),
    ):
        yield {
            "x": draw.normal(batch, pixels, scale=unit),
            "means": draw.normal(samples, batch, pixels, scale=unit),
            "variance": (unit**2 * draw.uniform(low=0.4, high=0.8)).float().double(),
            "loc": draw.normal(batch, latent, scale=used),
            "logvar": draw.normal(batch, latent, scale=used),
        }
    # Densities that underflow, and a q that is far from the prior or nearly a point.
    yield {
        "x": draw.normal(3, 7, scale=30.0),
        "means": draw.normal(4, 3, 7, scale=30.0),
        "variance": draw.uniform(low=0.01, high=0.02),
        "loc": draw.normal(3, 2, scale=20.0),
        "logvar": draw.uniform(3, 2, low=-18, high=3),
    }
