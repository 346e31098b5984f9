"""Checks of the exercises of :doc:`/book/reparam`."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import AffineTransform, Normal
from torch.nn.functional import softplus

from .exercise import Draw, exercise

__all__ = ["gradient_with_error", "sample_from_noise", "surrogate_with_baseline", "wave_variances"]


def _by_transform(loc: Tensor, logvar: Tensor, eps: Tensor) -> Any:
    return AffineTransform(loc, logvar.exp().sqrt())(eps)


@exercise(
    truth=_by_transform,
    mistakes={
        "logvar is taken for a standard deviation: the scale is exp(½ logvar)": lambda m, v, e: (
            m + v * e
        ),
        "the ½ is missing: exp(logvar) is the variance, and the noise is multiplied by its root": (
            lambda m, v, e: m + v.exp() * e
        ),
        "the ½ belongs in the exponent: σ is exp(½ logvar), not half of the variance": (
            lambda m, v, e: m + 0.5 * v.exp() * e
        ),
        "the exponential is missing: ½ logvar is log σ, not σ": lambda m, v, e: m + 0.5 * v * e,
        "logvar is taken for σ²: its exponential comes first, then the root": lambda m, v, e: (
            m + v.sqrt() * e
        ),
        "this divides by the scale: exp(−½ logvar) is 1/σ": lambda m, v, e: (
            m + (-0.5 * v).exp() * e
        ),
        "softplus is for a network that returns a raw scale; this one returns log σ²": (
            lambda m, v, e: m + softplus(v) * e
        ),
        "(ε + μ)σ scales the mean too: multiply the noise alone, then add loc": lambda m, v, e: (
            (e + m) * (0.5 * v).exp()
        ),
        "loc is missing: these samples lie around 0": lambda m, v, e: (0.5 * v).exp() * e,
        "the noise is not used: this is the mean, not a sample": lambda m, v, e: m,
        "the scale is added; it must multiply the noise": lambda m, v, e: m + (0.5 * v).exp() + e,
        "the noise is subtracted: the same distribution, but not the sample of this eps": (
            lambda m, v, e: m - (0.5 * v).exp() * e
        ),
        **{
            f"an ε of {small:g} is added to the scale: exp is never 0, and a q that is nearly a "
            "point becomes wider": lambda m, v, e, small=small: m + ((0.5 * v).exp() + small) * e
            for small in (1e-4, 1e-6, 1e-8)
        },
        **{
            f"an ε of {small:g} is added to the variance: exp is never 0, and a q that is nearly a "
            "point becomes wider": lambda m, v, e, small=small: m + (v.exp() + small).sqrt() * e
            for small in (1e-6, 1e-8)
        },
    },
    gradients=("loc", "logvar"),  # noise needs none
    axes={"loc": ("latent dimensions",)},
)
def sample_from_noise(draw: Draw) -> Iterator[dict[str, Any]]:
    """A sample of a diagonal Gaussian from its parameters and given noise."""
    for samples, shape in (((), (4, 3)), ((2,), (1, 5)), ((9,), (6,))):
        yield {
            "loc": draw.normal(*shape) + 1.0,
            "logvar": draw.normal(*shape) - 0.5,
            "eps": draw.normal(*samples, *shape),
        }
    # From nearly a point to a very wide bell.
    logvar = draw.uniform(3, 8, low=-30, high=10)
    logvar[0, :2] = torch.tensor([-30.0, 10.0])
    yield {"loc": draw.normal(3, 8, scale=3.0), "logvar": logvar, "eps": draw.normal(2, 3, 8)}
    # Nearly points, and noise from so far out that it shows what is added to their scales.
    yield {
        "loc": draw.normal(2, 6, 4),
        "logvar": draw.uniform(2, 6, 4, low=-30, high=-20),
        "eps": draw.normal(5, 2, 6, 4, scale=1e5),
    }


def _surrogate_by_loop(log_q: Tensor, f: Tensor, baseline: Tensor) -> Tensor:
    weights, total = (f - baseline).tolist(), torch.zeros_like(log_q[0])
    for weight, log_density in zip(weights, log_q, strict=True):
        total = total + torch.tensor(weight, dtype=log_q.dtype) * log_density
    return total / len(log_q)


def _others(f: Tensor) -> Tensor:
    return (f.sum(0) - f) / (len(f) - 1)


@exercise(
    truth=_surrogate_by_loop,
    mistakes={
        "the wrong sign: the gradient of E[f] is that of + (f − baseline)·log_q": (
            lambda q, f, b: -((f - b).detach() * q).mean(0)
        ),
        "f − baseline is not detached: its own gradient is added to the estimate": lambda q, f, b: (
            (f - b) * q
        ).mean(0),
        "f is detached, but the baseline is not: no gradient may pass through either": (
            lambda q, f, b: ((f.detach() - b) * q).mean(0)
        ),
        "the baseline is detached, but f is not: no gradient may pass through either": (
            lambda q, f, b: ((f - b.detach()) * q).mean(0)
        ),
        "log_q is detached and f is not: the gradient must pass through log_q alone": (
            lambda q, f, b: ((f - b) * q.detach()).mean(0)
        ),
        "the baseline is added; it must be subtracted": lambda q, f, b: ((f + b).detach() * q).mean(
            0
        ),
        "the baseline is subtracted after the product; it belongs to f, before it": (
            lambda q, f, b: (f.detach() * q).mean(0) - b.detach()
        ),
        "the baseline is not used": lambda q, f, b: (f.detach() * q).mean(0),
        "f's own mean is the baseline here: it contains each sample itself and multiplies the "
        "gradient by 1 − 1/n; use the one that is passed in": lambda q, f, b: (
            (f - f.mean(0)).detach() * q
        ).mean(0),
        "the mean of the others is the baseline here; use the one that is passed in": (
            lambda q, f, b: ((f - _others(f)).detach() * q).mean(0)
        ),
        "the samples are added up; the estimate is their mean": lambda q, f, b: (
            (f - b).detach() * q
        ).sum(0),
        "log_q is exponentiated: the score is the gradient of log q, not of q": lambda q, f, b: (
            (f - b).detach() * q.exp()
        ).mean(0),
        "this is a product of two means; asked is the mean of the products": lambda q, f, b: (
            (f - b).mean(0).detach() * q.mean(0)
        ),
        "f − baseline is divided by its standard deviation, which changes the gradient's size": (
            lambda q, f, b: ((f - b) / f.std(0)).detach().mul(q).mean(0)
        ),
        "the gradient is right, the value is not: asked is the mean of (f − baseline)·log_q": (
            lambda q, f, b: ((f - b).detach() * (q - q.detach()).exp()).mean(0)
        ),
    },
    # f and the baseline contain the parameters too, as a log-weight does: who does not detach them
    # gets another gradient.
    build=lambda log_q, f, baseline: (
        log_q,
        f - log_q,
        baseline + 0.5 * log_q.mean(0).sum() if baseline.ndim == 0 else baseline + log_q.mean(0),
    ),
    gradients=("log_q",),
)
def surrogate_with_baseline(draw: Draw) -> Iterator[dict[str, Any]]:
    """What to differentiate for a score-function gradient with a baseline."""
    # f is now above the baseline and now below, where a sign or a cut at 0 would show.
    for samples, batch, shared in ((7, (), ()), (5, (3,), (3,)), (6, (4,), ()), (2, (1,), (1,))):
        yield {
            "log_q": draw.normal(samples, *batch) - 3.0,
            "f": draw.normal(samples, *batch, scale=2.0) + 1.0,
            "baseline": draw.normal(*shared) + 6.0,
        }
    # Densities that have underflowed, with log-weights of some hundreds.
    yield {
        "log_q": draw.normal(8, 5, scale=3.0) - 120.0,
        "f": draw.normal(8, 5, scale=5.0) + 300.0,
        "baseline": draw.normal(5) + 510.0,
    }


def _by_quadrature(k: Tensor, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    eps = 0.05 * torch.arange(-200, 201, dtype=k.dtype)  # fine enough for kσ up to 40
    weight = Normal(0.0, 1.0).log_prob(eps).softmax(0)
    k, mu, sigma = k[..., None], mu[..., None], sigma[..., None]
    x = mu + sigma * eps
    pathwise, score = -k * torch.sin(k * x), torch.cos(k * x) * (x - mu) / sigma**2
    return _weighted_variance(pathwise, weight), _weighted_variance(score, weight)


def _weighted_variance(g: Tensor, weight: Tensor) -> Tensor:
    mean = (weight * g).sum(-1, keepdim=True)
    return (weight * (g - mean) ** 2).sum(-1)


def _wave(
    *,
    damping: Callable[[Tensor], Tensor] = lambda s: (-2 * s**2).exp(),
    moved: Callable[[Tensor], Tensor] = lambda s: 1 - 4 * s**2,
    sign: float = 1.0,
    slope: Callable[[Tensor], Tensor] = torch.square,
    score: Callable[[Tensor], Tensor] = lambda sigma: sigma**-2,
    mean: Callable[[Tensor], Tensor] = torch.square,
    scale: Callable[[Tensor], Tensor] = lambda sigma: sigma,
) -> Any:
    """The closed forms, with one of their parts replaced."""

    def wrong(k: Tensor, mu: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        s = k * scale(sigma)
        damped = sign * damping(s) * torch.cos(2 * k * mu)
        taken = mean(-k * torch.exp(-0.5 * s**2) * torch.sin(k * mu))
        path = 0.5 * slope(k) * (1 - damped) - taken
        return path, 0.5 * score(sigma) * (1 + moved(s) * damped) - taken

    return wrong


@exercise(
    truth=_by_quadrature,
    mistakes={
        "these are the means of the squares; subtract the square of the mean gradient": _wave(
            mean=torch.zeros_like
        ),
        "the mean gradient must be squared before it is subtracted": _wave(mean=lambda m: m),
        "the square of the mean gradient is added; subtract it": _wave(mean=lambda m: -(m**2)),
        "the score is ε/σ: its square, 1/σ², is missing from the score function's variance": _wave(
            score=torch.ones_like
        ),
        "the score is (x − μ)/σ² = ε/σ: this divides by σ² once more": _wave(
            score=lambda sigma: sigma**-4
        ),
        "the score is ε/σ, and a variance has its square: this divides by σ, not by σ²": _wave(
            score=lambda sigma: 1 / sigma
        ),
        "these are the chapter's formulas, for σ = 1: sigma is not used": _wave(
            scale=torch.ones_like, score=torch.ones_like
        ),
        "sigma is the standard deviation, not the variance": _wave(
            scale=torch.sqrt, score=lambda sigma: 1 / sigma
        ),
        "the slope of cos(kx) is −k sin(kx): k² is missing from the pathwise variance": _wave(
            slope=torch.ones_like
        ),
        "the slope is squared in a variance: the pathwise one needs k², not k": _wave(
            slope=lambda k: k
        ),
        "cos² u is (1 + cos 2u)/2 and sin² u is (1 − cos 2u)/2: the two are swapped": _wave(
            sign=-1.0
        ),
        "cos 2kx is damped by exp(−2k²σ²): the doubled frequency is squared too": _wave(
            damping=lambda s: (-(s**2)).exp()
        ),
        "cos 2kx is damped like cos kx here; the doubled frequency makes it exp(−2k²σ²)": _wave(
            damping=lambda s: (-0.5 * s**2).exp()
        ),
        "ε² and cos² are not independent: the mean of their product has 1 − 4k²σ² in it": _wave(
            moved=torch.ones_like
        ),
        "ε² goes with cos 2kx, of frequency 2kσ in ε: 1 − (2kσ)², not 1 − (kσ)²": _wave(
            moved=lambda s: 1 - s**2
        ),
        "the wave is damped by exp(−2k²σ²): σ is missing from the exponents": _wave(
            scale=torch.ones_like
        ),
        "cos 2kx is damped, not amplified: the minus is missing in exp(−2k²σ²)": _wave(
            damping=lambda s: (2 * s**2).exp()
        ),
        "the two are swapped: the pathwise variance comes first": lambda k, mu, sigma: (
            _by_quadrature(k, mu, sigma)[::-1]
        ),
        "the second is a mean of squares: subtract the square of the mean gradient there too": (
            lambda k, mu, sigma: (
                _wave()(k, mu, sigma)[0],
                _wave(mean=torch.zeros_like)(k, mu, sigma)[1],
            )
        ),
        "the first is a mean of squares: subtract the square of the mean gradient there too": (
            lambda k, mu, sigma: (
                _wave(mean=torch.zeros_like)(k, mu, sigma)[0],
                _wave()(k, mu, sigma)[1],
            )
        ),
        "this holds for a bell over many waves; asked are both variances for any σ": (
            lambda k, mu, sigma: (0.5 * k**2 + 0 * mu, 0.5 / sigma**2 + 0 * mu)
        ),
        "these are standard deviations; asked are variances": lambda k, mu, sigma: tuple(
            v.sqrt() for v in _by_quadrature(k, mu, sigma)
        ),
    },
    gradients=(),
)
def wave_variances(draw: Draw) -> Iterator[dict[str, Any]]:
    """Variances of the pathwise and the score-function gradient of E[cos kx] in μ."""
    for shape in ((5,), (3, 1), ()):
        yield {
            "k": draw.uniform(*shape, low=0.5, high=2.0),
            "mu": draw.normal(*shape),
            "sigma": draw.uniform(*shape, low=0.4, high=1.2),
        }
    # Bells much narrower than the wave, and bells so wide that the means underflow.
    sigma = draw.uniform(6, low=0.1, high=0.2)
    sigma[0] = 0.02
    yield {
        "k": draw.uniform(6, low=0.5, high=3.0),
        "mu": draw.uniform(6, low=-1.0, high=1.0),
        "sigma": sigma.float().double(),
    }
    yield {
        "k": draw.uniform(3, low=3.0, high=4.0),
        "mu": draw.normal(3),
        "sigma": draw.uniform(3, low=8.0, high=10.0),
    }


def _from_pairs(gradients: Tensor, relative: float) -> tuple[Tensor, Tensor, Tensor]:
    """The variance from the differences of all pairs, which need no mean."""
    n = len(gradients)
    variance = (gradients[:, None] - gradients[None]).square().sum((0, 1)) / (2 * n * (n - 1))
    mean = torch.ones(n, dtype=gradients.dtype) @ gradients / n
    return mean, torch.sqrt(variance / n), variance.sum() / (mean @ mean) * relative**-2


def _error(error: Callable[[Tensor], Tensor], variance: Callable[[Tensor], Tensor]) -> Any:
    """A mistake in the error and, with the variance that belongs to it, in the third output."""

    def wrong(g: Tensor, relative: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = g.mean(0)
        return mean, error(g), variance(g).sum() / (relative**2 * mean.square().sum())

    return wrong


def _needed(needed: Callable[[Tensor, float], Tensor]) -> Any:
    """A mistake in the third output alone."""
    return lambda g, relative: (*_from_pairs(g, relative)[:2], needed(g, relative))


def _per_sample(g: Tensor) -> Tensor:
    return g.var(0)


@exercise(
    truth=_from_pairs,
    mistakes={
        "this is the standard deviation of one sample; the error of the mean is √n times smaller": (
            _error(lambda g: g.std(0), _per_sample)
        ),
        "the standard deviation is divided by n; it must be divided by √n": _error(
            lambda g: g.std(0) / len(g), _per_sample
        ),
        "this is the variance of the mean; its standard error is the square root": _error(
            lambda g: g.var(0) / len(g), _per_sample
        ),
        "the variance of n samples around their own mean is divided by n − 1, not by n": _error(
            lambda g: g.std(0, correction=0) / len(g) ** 0.5, lambda g: g.var(0, correction=0)
        ),
        "std divides by n − 1 already; the error is that divided by √n, not by √(n − 1)": (
            lambda g, r: (g.mean(0), g.std(0) / (len(g) - 1) ** 0.5, _from_pairs(g, r)[2])
        ),
        "the variance in the error is divided by n − 1, as in the third": lambda g, r: (
            g.mean(0),
            g.std(0, correction=0) / len(g) ** 0.5,
            _from_pairs(g, r)[2],
        ),
        "the third: there too a variance of n samples is divided by n − 1": _needed(
            lambda g, r: g.var(0, correction=0).sum() / (r * g.mean(0).norm()) ** 2
        ),
        "the third is multiplied by n: the variance is that of one sample already": _needed(
            lambda g, r: len(g) * g.var(0).sum() / (r * g.mean(0).norm()) ** 2
        ),
        "the third is cut at 1; asked is the number that solves the equation": _needed(
            lambda g, r: (g.var(0).sum() / (r * g.mean(0).norm()) ** 2).clamp(min=1.0)
        ),
        "the third is rounded up; asked is the number that solves the equation": _needed(
            lambda g, r: (g.var(0).sum() / (r * g.mean(0).norm()) ** 2).ceil()
        ),
        "the deviations are taken from 0; a variance takes them from the mean": _error(
            lambda g: g.square().mean(0).sqrt() / len(g) ** 0.5, lambda g: g.square().mean(0)
        ),
        "the first is averaged over the parameters too; each has a mean of its own": lambda g, r: (
            g.mean(),
            *_from_pairs(g, r)[1:],
        ),
        "the mean runs over the parameters; it must run over the samples, axis 0": lambda g, r: (
            _from_pairs(g.mT, r)
        ),
        "the third is a number of samples per step: it takes the variance of one sample, not that "
        "of the mean": _needed(lambda g, r: g.var(0).sum() / len(g) / (r * g.mean(0).norm()) ** 2),
        "the third: an error falls as 1/√n, so relative must be squared": _needed(
            lambda g, r: g.var(0).sum() / g.mean(0).square().sum() / r
        ),
        "the third is the square root of the number that is asked": _needed(
            lambda g, r: g.var(0).sum().sqrt() / (r * g.mean(0).norm())
        ),
        "the third: the norm of the mean must be squared, as the variances are squares": _needed(
            lambda g, r: g.var(0).sum() / (r**2 * g.mean(0).norm())
        ),
        "the third: squared errors add up over the parameters, standard deviations do not": _needed(
            lambda g, r: (g.std(0).sum() / (r * g.mean(0).norm())) ** 2
        ),
        "the third: sum the variances over the parameters, as the squared norm does": _needed(
            lambda g, r: g.var(0).mean() / (r * g.mean(0).norm()) ** 2
        ),
        "the third averages each parameter's own ratio; asked is that of the whole vector: sum "
        "first, then divide": _needed(lambda g, r: (g.var(0) / g.mean(0).square()).mean() / r**2),
        "the third divides by the mean of the norms; asked is the norm of the mean": _needed(
            lambda g, r: g.var(0).sum() / (r * g.norm(dim=1).mean()) ** 2
        ),
    },
    gradients=(),
    axes={"gradients": ("parameters", "samples")},
)
def gradient_with_error(draw: Draw) -> Iterator[dict[str, Any]]:
    """Mean and standard error of per-sample gradients, and the samples that a step needs."""
    # The last accepts so little that what is added to a denominator shows.
    for samples, parameters, accepted in ((50, 3, 1.0), (7, 1, 1.0), (2, 5, 1.0), (30, 12, 1e-3)):
        centre = draw.normal(parameters) + math.copysign(1.5, float(draw.normal()))
        spread = draw.uniform(parameters, low=0.3, high=2.0)
        yield {
            "gradients": (centre + spread * draw.normal(samples, parameters)).float().double(),
            "relative": accepted * float(draw.uniform(low=0.05, high=0.5)),
        }
    # A mean so large that E[g²] − E[g]² cancels, and that less than one sample is enough.
    yield {
        "gradients": (draw.normal(20, 6) + 3000.0).float().double(),
        "relative": 0.001,
    }
