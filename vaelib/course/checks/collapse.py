"""Checks of the exercises of :doc:`/book/collapse`."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from .exercise import Draw, exercise

__all__ = ["mended_loss", "predicted_units"]

LOG_TWO_PI = math.log(2 * math.pi)


def _kl(loc: Tensor, logvar: Tensor) -> Tensor:
    """Of each latent dimension."""
    return 0.5 * (loc**2 + logvar.exp() - 1 - logvar)


def _second(loc: Tensor, logvar: Tensor) -> Tensor:
    return _kl(loc, logvar).sum(-1).mean()


# Active units


def _units_by_svd(x: Tensor, variance: float, k: int) -> tuple[Tensor, Tensor]:
    """By the KL's own formula, from the optimal posterior of each datum."""
    n = len(x)
    left, singular, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    count, total = torch.tensor(0), x.new_zeros(())
    for u, s in list(zip(left.mT, singular, strict=True))[:k]:
        eigenvalue = s**2 / n
        if eigenvalue > variance:
            loc = u * n**0.5 * (1 - variance / eigenvalue).sqrt()  # of each datum
            total = total + _kl(loc, (variance / eigenvalue).log()).mean()
            count = count + 1
    return count, total


def _spectrum(x: Tensor) -> Tensor:
    """The eigenvalues of the covariance, largest first."""
    return torch.linalg.eigvalsh(torch.cov(x.mT, correction=0)).flip(0)


def _units_of(spectrum: Callable[[Tensor], Tensor], noise: Callable[[float], float]) -> Any:
    """A mistake from what it takes for eigenvalues and for the noise's variance."""
    return lambda x, variance, k: _count_and_cost(spectrum(x)[:k], noise(variance))


def _count_and_cost(eigenvalues: Tensor, variance: float) -> tuple[Tensor, Tensor]:
    active = eigenvalues > variance
    return active.sum(), 0.5 * (eigenvalues[active] / variance).log().sum()


def _cost(cost: Callable[[Tensor, float], Tensor]) -> Any:
    """A mistake from the cost of the active units; their number is right."""

    def wrong(x: Tensor, variance: float, k: int) -> tuple[Tensor, Tensor]:
        eigenvalues = _spectrum(x)[:k]
        active = eigenvalues > variance
        return active.sum(), cost(eigenvalues[active], variance)

    return wrong


def _every(x: Tensor, variance: float, k: int) -> tuple[int, Tensor]:
    eigenvalues = _spectrum(x)[:k]
    return len(eigenvalues), 0.5 * (eigenvalues / variance).log().sum()


@exercise(
    truth=_units_by_svd,
    mistakes={
        "the data are not centred: the covariance is around their mean": _units_of(
            lambda x: torch.linalg.eigvalsh(x.mT @ x / len(x)).flip(0), lambda v: v
        ),
        "the covariance divides by n − 1; the variance of the data themselves divides by n": (
            _units_of(lambda x: torch.linalg.eigvalsh(torch.cov(x.mT)).flip(0), lambda v: v)
        ),
        "these are sums of squares: divide by n to get the covariance": _units_of(
            lambda x: _spectrum(x) * len(x), lambda v: v
        ),
        "standard deviations are compared with σ²: the eigenvalues are their squares": _units_of(
            lambda x: _spectrum(x).clamp(min=0).sqrt(), lambda v: v
        ),
        "the singular values of the centred data are taken for eigenvalues: square, divide by n": (
            _units_of(lambda x: torch.linalg.svdvals(x - x.mean(0)), lambda v: v)
        ),
        "the pixels' variances are taken for eigenvalues: pixels are correlated": _units_of(
            lambda x: x.var(0, correction=0).sort(descending=True).values, lambda v: v
        ),
        "the noise is given as a variance, σ²: do not take its root": _units_of(
            _spectrum, lambda v: v**0.5
        ),
        "every latent is counted: a unit is active only if its eigenvalue is above σ²": _every,
        "k is not used: k latents cannot code more than k directions": (
            lambda x, v, k: _count_and_cost(_spectrum(x), v)
        ),
        "the k smallest eigenvalues are taken: eigvalsh sorts upwards, the largest come last": (
            lambda x, v, k: _count_and_cost(_spectrum(x)[-k:], v)
        ),
        "the pixels are standardized: that is the correlation, and σ² is in the data's own units": (
            _units_of(lambda x: _spectrum((x - x.mean(0)) / x.std(0, correction=0)), lambda v: v)
        ),
        "the units' KLs are averaged; asked is their sum (and where no unit is active, 0)": _cost(
            lambda e, v: 0.5 * (e / v).log().mean()
        ),
        "the units' KLs are averaged; asked is their sum": _cost(
            lambda e, v: 0.5 * (e / v).log().sum() / max(len(e), 1)
        ),
        "where no unit is active, a mean is divided by 0; a sum of nothing is 0": _cost(
            lambda e, v: 0.5 * len(e) * (e / v).log().mean()
        ),
        "the two are swapped: the number of active units comes first": lambda x, v, k: (
            _units_by_svd(x, v, k)[::-1]
        ),
        "the means of q are missing from the KL: their mean square is 1 − σ²/λ": _cost(
            lambda e, v: 0.5 * (v / e - 1 - (v / e).log()).sum()
        ),
        "this is the log of the eigenvalues; asked is that of their ratio to σ²": _cost(
            lambda e, v: 0.5 * e.log().sum()
        ),
        "only the means of q are in the KL; its variance σ²/λ costs nats too": _cost(
            lambda e, v: 0.5 * (1 - v / e).sum()
        ),
        "λ is the variance of the data, noise included: λ / σ², not 1 + λ / σ²": _cost(
            lambda e, v: 0.5 * (e / v).log1p().sum()
        ),
        "λ is compared with σ² by a quotient: log(λ / σ²), not log((λ − σ²) / σ²)": _cost(
            lambda e, v: 0.5 * (e / v - 1).log().sum()
        ),
    },
    gradients=(),  # a count has none, and the data are given
    axes={"x": ("pixels", "data")},
)
def predicted_units(draw: Draw) -> Iterator[dict[str, Any]]:
    """The active units of a linear VAE and the sum of their KLs, from its data."""
    # More directions above the noise than latents, fewer, all, none; and a mean far from 0, where
    # second moments cancel.
    for n, pixels, above, k, offset in (
        (30, 6, 4, 3, 2.0),
        (25, 9, 3, 5, 2.0),
        (40, 4, 4, 7, 2.0),
        (12, 5, 0, 3, 2.0),
        (50, 8, 5, 6, 1000.0),
    ):
        variance = float(
            draw.uniform(low=0.4, high=0.7) if n % 4 else draw.uniform(low=1.5, high=3)
        )
        factors = draw.uniform(pixels, low=0.1, high=0.7)
        factors[:above] = draw.uniform(above, low=1.5, high=9.0)
        # White scores with mean 0, so that the eigenvalues are these up to rounding.
        scores = draw.normal(n, pixels)
        white = torch.linalg.qr(scores - scores.mean(0)).Q * n**0.5
        turn = torch.linalg.qr(draw.normal(pixels, pixels)).Q
        x = (white * (variance * factors).sqrt()) @ turn + offset * (1 + draw.uniform(pixels))
        yield {"x": x.float().double(), "variance": variance, "k": k}


# The loss that collapses


def _mend_arguments(
    x: Tensor,
    loc: Tensor,
    logvar: Tensor,
    eps: Tensor,
    noise_logvar: Tensor,
    weight: Tensor,
    bias: Tensor,
) -> tuple[Any, ...]:
    return x, loc, logvar, eps, noise_logvar, lambda z: torch.tanh(z) @ weight + bias


def _sample_by_sample(
    x: Tensor, loc: Tensor, logvar: Tensor, eps: Tensor, noise_logvar: Tensor, decoder: Any
) -> Tensor:
    q = Independent(Normal(loc, (logvar / 2).exp()), 1)
    p = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
    total = kl_divergence(q, p).mean()
    for noise in eps:
        z = torch.addcmul(loc, q.base_dist.scale, noise)
        given_z = Independent(Normal(decoder(z), noise_logvar.exp().sqrt()), 1)
        total = total - given_z.log_prob(x).mean() / len(eps)
    return total


def _half(logvar: Tensor) -> Tensor:
    return torch.exp(0.5 * logvar)


def _mean_of_sums(log_lik: Tensor) -> Tensor:
    return log_lik.sum(-1).mean()


def _log_of_mean(log_lik: Tensor) -> Tensor:
    return (torch.logsumexp(log_lik.sum(-1), 0) - math.log(len(log_lik))).mean()


def _gaussian_loss(
    *,
    scale: Callable[[Tensor], Tensor] = _half,
    log_noise: float = 1.0,
    reduce: Callable[[Tensor], Tensor] = _mean_of_sums,
    kl: Callable[[Tensor, Tensor], Tensor] = _second,
) -> Any:
    """The loss, with what it may get wrong as arguments."""

    def wrong(
        x: Tensor, loc: Tensor, logvar: Tensor, eps: Tensor, noise: Tensor, decoder: Any
    ) -> Tensor:
        mean = decoder(loc + scale(logvar) * eps)
        squared = (x - mean) ** 2 * torch.exp(-noise)
        log_lik = -0.5 * (squared + log_noise * noise + LOG_TWO_PI)
        return kl(loc, logvar) - reduce(log_lik)

    return wrong


def _on(change: Callable[..., Sequence[Any]]) -> Any:
    """A mistake from what it makes of the arguments."""
    return lambda *given: _gaussian_loss()(*change(*given))


def _kl_by_samples(
    x: Tensor, loc: Tensor, logvar: Tensor, eps: Tensor, noise: Tensor, decoder: Any
) -> Tensor:
    z = loc + _half(logvar) * eps
    by_samples = 0.5 * (z**2 - eps**2 - logvar).sum(-1).mean()
    return _WITHOUT_KL(x, loc, logvar, eps, noise, decoder) + by_samples


_WITHOUT_NOISE = _gaussian_loss(log_noise=0.0)
_WITHOUT_KL = _gaussian_loss(kl=lambda m, v: 0 * (m + v).sum())


def _gaussian_loss_of_mean_z(
    x: Tensor, loc: Tensor, logvar: Tensor, eps: Tensor, noise: Tensor, decoder: Any
) -> Tensor:
    return _gaussian_loss()(x, loc, logvar, eps.mean(0, keepdim=True), noise, decoder)


def _noise_once(
    x: Tensor, loc: Tensor, logvar: Tensor, eps: Tensor, noise: Tensor, decoder: Any
) -> Tensor:
    return _WITHOUT_NOISE(x, loc, logvar, eps, noise, decoder) + 0.5 * noise


@exercise(
    truth=_sample_by_sample,
    mistakes={
        "this is the loss as it was: all three faults are left": _gaussian_loss(
            scale=torch.exp, log_noise=0.0, reduce=torch.mean
        ),
        "one fault is left: the pixels are averaged, so the KL counts once for each of them": (
            _gaussian_loss(reduce=torch.mean)
        ),
        "one fault is left: exp(logvar) is σ², and ε is multiplied by σ": _gaussian_loss(
            scale=torch.exp
        ),
        "one fault is left: without its logarithm, more noise in the pixels costs nothing": (
            _gaussian_loss(log_noise=0.0)
        ),
        "two faults are left: the average over pixels, and the scale of ε": _gaussian_loss(
            scale=torch.exp, reduce=torch.mean
        ),
        "two faults are left: the average over pixels, and the price of noise in them": (
            _gaussian_loss(log_noise=0.0, reduce=torch.mean)
        ),
        "two faults are left: the scale of ε, and the price of noise in the pixels": _gaussian_loss(
            scale=torch.exp, log_noise=0.0
        ),
        "½ noise_logvar stands once; it belongs to each pixel": _noise_once,
        "z has no noise: at loc alone the first term is too good, and this is no ELBO": (
            _gaussian_loss(scale=torch.zeros_like)
        ),
        "pixels and latent dimensions are averaged: β is then pixels / latent dimensions": (
            _gaussian_loss(reduce=torch.mean, kl=lambda m, v: _kl(m, v).mean())
        ),
        "the KL is missing": _WITHOUT_KL,
        "the KL is averaged over the latent dimensions; it is their sum": _gaussian_loss(
            kl=lambda m, v: _kl(m, v).mean()
        ),
        "the KL is estimated from the samples; asked is its closed form": _kl_by_samples,
        "½ noise_logvar is log s: the whole of it counts the noise twice": _gaussian_loss(
            log_noise=2.0
        ),
        "noise_logvar has the wrong sign: a wider Gaussian has a lower density": _gaussian_loss(
            log_noise=-1.0
        ),
        "noise_logvar is log s², not log s": _on(lambda x, m, v, e, n, d: (x, m, v, e, 2 * n, d)),
        "the samples of z are averaged before they are decoded: average log-likelihoods": (
            _gaussian_loss_of_mean_z
        ),
        "a sigmoid changes the decoder's means: grey pixels are any real numbers here": _on(
            lambda x, m, v, e, n, d: (x, m, v, e, n, lambda z: d(z).sigmoid())
        ),
        "the pixels are rounded; this likelihood is one of real numbers": _on(
            lambda x, m, v, e, n, d: (x.round(), m, v, e, n, d)
        ),
        "the loss is cut at 0: log-densities may be above 0, so the loss may be below it": (
            lambda *given: _gaussian_loss()(*given).clamp(min=0)
        ),
        "the KL is subtracted; the loss is minus the ELBO, so it is added": _gaussian_loss(
            kl=lambda m, v: -_second(m, v)
        ),
        "only the first sample is used": _gaussian_loss(
            reduce=lambda log_lik: log_lik[0].sum(-1).mean()
        ),
        "the ½ stands outside: σ is exp(½ logvar), not half of exp(logvar)": _gaussian_loss(
            scale=lambda v: 0.5 * v.exp()
        ),
        "the samples are added; the expectation over q is their mean": _gaussian_loss(
            reduce=lambda log_lik: log_lik.sum((0, -1)).mean()
        ),
        "likelihoods are averaged over the samples; the ELBO averages their logarithms": (
            _gaussian_loss(reduce=_log_of_mean)
        ),
    },
    build=_mend_arguments,
    gradients=("loc", "logvar", "noise_logvar", "weight", "bias"),  # x and eps are given
    axes={
        "x": ("pixels", "data"),
        "loc": ("latent dimensions", "data"),
        "eps": ("latent dimensions", "data", "samples"),
    },
)
def mended_loss(draw: Draw) -> Iterator[dict[str, Any]]:
    """Minus the mean ELBO of a VAE with a Gaussian likelihood, by several samples."""
    # The third in small units, where densities are above 1 and the loss is below 0. The last two:
    # little noise and posteriors that are nearly points, and much noise.
    for samples, batch, pixels, latent, noise, low, high, unit in (
        (3, 4, 7, 2, 0.5, -1.5, 1.0, 1.0),
        (6, 5, 8, 3, -1.0, -1.5, 1.0, 1.0),
        (2, 3, 11, 5, -10.9, -1.5, 1.0, 3e-3),
        (4, 2, 9, 6, -5.0, -20.0, 2.0, 1.0),
        (5, 6, 10, 4, 8.0, -20.0, 2.0, 1.0),
    ):
        yield {
            "x": (unit * (draw.normal(batch, pixels) + 0.5)).float().double(),
            "loc": draw.normal(batch, latent),
            "logvar": draw.uniform(batch, latent, low=low, high=high),
            "eps": draw.normal(samples, batch, latent),
            "noise_logvar": draw.uniform(low=noise - 0.3, high=noise + 0.3),
            "weight": draw.normal(latent, pixels, scale=unit),
            "bias": draw.normal(pixels, scale=unit),
        }
