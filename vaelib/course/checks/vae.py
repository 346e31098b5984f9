"""Checks of the exercises of :doc:`/book/vae`."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, softplus

from .exercise import Draw, exercise

__all__ = ["mended_loss", "plane_evidence", "predicted_units", "sample_images", "vae_loss"]

LOG_TWO_PI = math.log(2 * math.pi)


# The loss


def _loss_by_torch(x: Tensor, logits: Tensor, loc: Tensor, logvar: Tensor) -> Tensor:
    q = Independent(Normal(loc, logvar.exp().sqrt()), 1)
    p = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
    log_likelihood = Independent(Bernoulli(logits=logits), 1).log_prob(x)
    return (kl_divergence(q, p) - log_likelihood).mean()


def _minus_log_p(x: Tensor, logits: Tensor) -> Tensor:
    """Of each pixel."""
    return softplus(logits) - x * logits


def _kl(loc: Tensor, logvar: Tensor) -> Tensor:
    """Of each latent dimension."""
    return 0.5 * (loc**2 + logvar.exp() - 1 - logvar)


def _loss(pixels: Callable[..., Tensor], latents: Callable[..., Tensor]) -> Any:
    """A mistake from its two terms: a function of x and logits, and one of loc and logvar."""
    return lambda x, logits, loc, logvar: pixels(x, logits) + latents(loc, logvar)


def _first(x: Tensor, logits: Tensor) -> Tensor:
    return _minus_log_p(x, logits).sum(-1).mean()


def _second(loc: Tensor, logvar: Tensor) -> Tensor:
    return _kl(loc, logvar).sum(-1).mean()


def _minus_one_once(loc: Tensor, logvar: Tensor) -> Tensor:
    return _second(loc, logvar) + 0.5 * (logvar.shape[-1] - 1)


def _limited(small: float) -> dict[str, Any]:
    """Two ways to keep a logarithm finite, which both limit what a pixel can cost."""

    def added(x: Tensor, logits: Tensor) -> Tensor:
        p = logits.sigmoid()
        return -(x * (p + small).log() + (1 - x) * (1 - p + small).log()).sum(-1).mean()

    def cut(x: Tensor, logits: Tensor) -> Tensor:
        p = logits.sigmoid().clamp(small, 1 - small)
        return -(x * p.log() + (1 - x) * (1 - p).log()).sum(-1).mean()

    return {
        f"an ε of {small:g} inside the logarithms limits what a pixel can cost: start from the "
        "logits": _loss(added, _second),
        f"probabilities kept above {small:g} limit what a pixel costs: start from the logits": (
            _loss(cut, _second)
        ),
    }


@exercise(
    truth=_loss_by_torch,
    mistakes={
        "the KL has the wrong sign: the ELBO subtracts it, so the loss adds it": _loss(
            _first, lambda m, v: -_second(m, v)
        ),
        "the pixels are averaged: log p(x | z) is their sum, or the KL weighs too much": _loss(
            lambda x, w: _minus_log_p(x, w).mean(), _second
        ),
        "the KL is averaged over the latent dimensions; it is their sum": _loss(
            _first, lambda m, v: _kl(m, v).mean()
        ),
        "pixels and latent dimensions are averaged: β is then pixels / latent dimensions": _loss(
            lambda x, w: _minus_log_p(x, w).mean(), lambda m, v: _kl(m, v).mean()
        ),
        "the pixels' term is summed over the batch and the KL averaged: take both means": _loss(
            lambda x, w: _minus_log_p(x, w).sum(), _second
        ),
        "the KL is divided by the number of pixels too: that is β = 1 / pixels": (
            lambda x, w, m, v: _first(x, w) + _second(m, v) / x.shape[-1]
        ),
        "the KL is missing: this is the reconstruction term alone": _loss(
            _first, lambda m, v: 0 * (m + v).sum()
        ),
        "the KL is summed over the batch; it is the mean over the data": _loss(
            _first, lambda m, v: _kl(m, v).sum()
        ),
        "the arguments are swapped: binary_cross_entropy_with_logits takes the logits first": _loss(
            lambda x, w: _first(w, x), _second
        ),
        "0 and 1 are swapped: sigmoid(logit) is the probability of a 1": _loss(
            lambda x, w: _first(1 - x, w), _second
        ),
        "the ½ of the KL is missing: that is β = 2": _loss(_first, lambda m, v: 2 * _second(m, v)),
        "the −1 of the KL stands once; it belongs to each latent dimension": _loss(
            _first, _minus_one_once
        ),
        "in the KL, logvar has the wrong sign: ½ (μ² + σ² − log σ² − 1)": _loss(
            _first, lambda m, v: (_kl(m, v) + v).sum(-1).mean()
        ),
        "in the KL, μ is not squared: ½ (μ² + σ² − log σ² − 1)": _loss(
            _first, lambda m, v: (_kl(m, v) + 0.5 * (m - m**2)).sum(-1).mean()
        ),
        "this is KL(prior ‖ q); the ELBO has KL(q ‖ prior)": _loss(
            _first, lambda m, v: 0.5 * ((1 + m**2) * (-v).exp() + v - 1).sum(-1).mean()
        ),
        "784 is the number of MNIST's pixels, and these images have others: sum": _loss(
            lambda x, w: 784 * _minus_log_p(x, w).mean(), _second
        ),
        "only the ones are counted: a pixel 0 has the log-probability log(1 − p)": _loss(
            lambda x, w: (x * softplus(-w)).sum(-1).mean(), _second
        ),
        "logvar is log σ², not log σ": _loss(_first, lambda m, v: _second(m, 2 * v)),
        "the sigmoid is taken twice: the decoder returns logits, and the loss takes logits": _loss(
            lambda x, w: _first(x, w.sigmoid()), _second
        ),
        "this is a squared error: log p(x | z) of zeros and ones is a Bernoulli's": _loss(
            lambda x, w: ((x - w.sigmoid()) ** 2).sum(-1).mean(), _second
        ),
        "a sigmoid rounds to 0 or 1 for large logits: compute log p(x | z) from the logits": _loss(
            lambda x, w: (
                binary_cross_entropy(w.sigmoid(), x.detach(), reduction="none").sum(-1).mean()
            ),
            _second,
        ),
        **_limited(1e-6),
        **_limited(1e-8),
    },
    gradients=("logits", "loc", "logvar"),  # x is data
    axes={"x": ("pixels", "data"), "loc": ("latent dimensions", "data")},
)
def vae_loss(draw: Draw) -> Iterator[dict[str, Any]]:
    """Minus the mean ELBO, from one z per datum."""
    for batch, pixels, latent in ((4, 7, 3), (5, 11, 2), (2, 6, 8), (3, 20, 5)):
        yield {
            "x": draw.binary(batch, pixels),
            "logits": draw.normal(batch, pixels, scale=2.0) + 0.5,
            "loc": draw.normal(batch, latent),
            "logvar": draw.normal(batch, latent),
        }
    # Pixels the decoder is sure of, rightly and wrongly, and posteriors that are nearly points.
    logits = draw.normal(6, 10, scale=50.0)
    logits[:, :4] = draw.uniform(6, 4, low=150.0, high=400.0) * (2 * draw.binary(6, 4) - 1)
    yield {
        "x": draw.binary(6, 10),
        "logits": logits,
        "loc": draw.normal(6, 4, scale=10.0),
        "logvar": draw.uniform(6, 4, low=-20, high=3),
    }


# Generate


def _small_decoder(
    weight: Tensor, bias: Tensor, weight_out: Tensor, bias_out: Tensor
) -> Callable[[Tensor], Tensor]:
    return lambda z: torch.tanh(z @ weight + bias) @ weight_out + bias_out


def _generate_arguments(
    eps: Tensor, u: Tensor, weight: Tensor, bias: Tensor, weight_out: Tensor, bias_out: Tensor
) -> tuple[Any, ...]:
    return _small_decoder(weight, bias, weight_out, bias_out), eps, u


def _draw_pixel_by_pixel(decoder: Any, eps: Tensor, u: Tensor) -> Tensor:
    rows = []
    for z, numbers in zip(eps, u, strict=True):
        odds = torch.exp(decoder(z))  # of black; u / (1 − u) < odds where u < p
        rows.append(torch.where(numbers < odds * (1 - numbers), 1.0, 0.0))
    return torch.stack(rows).to(u)


@exercise(
    truth=_draw_pixel_by_pixel,
    mistakes={
        "these are probabilities, the mean of p(x | z); a sample of x holds zeros and ones": (
            lambda d, e, u: d(e).sigmoid()
        ),
        "these are logits: turn them into probabilities, and draw": lambda d, e, u: d(e),
        "each pixel is rounded: that is the likeliest image and no draw; compare with u": (
            lambda d, e, u: (d(e) > 0).to(u)
        ),
        "turned round: u < p happens with probability p, and there the pixel is 1": (
            lambda d, e, u: (u > d(e).sigmoid()).to(u)
        ),
        "1 where u > 1 − p has the right probability, but asked is 1 where u < p": (
            lambda d, e, u: (u > 1 - d(e).sigmoid()).to(u)
        ),
        "u is compared with logits; it must be compared with probabilities": (
            lambda d, e, u: (u < d(e)).to(u)
        ),
        "the sigmoid is taken twice: every pixel is then black at least half of the time": (
            lambda d, e, u: (u < d(e).sigmoid().sigmoid()).to(u)
        ),
        "z is the prior's mean, 0: without eps every image comes from one z": (
            lambda d, e, u: (u < d(torch.zeros_like(e)).sigmoid()).to(u)
        ),
        "all images come from the first z: each has its own row of eps": (
            lambda d, e, u: (u < d(e[:1]).sigmoid()).to(u)
        ),
        "one number of u decides a whole image: each pixel has its own": (
            lambda d, e, u: (u[:, :1] < d(e).sigmoid()).to(u)
        ),
        "softmax lets the pixels share one probability; each pixel has its own, a sigmoid": (
            lambda d, e, u: (u < d(e).softmax(-1)).to(u)
        ),
        "the probabilities are averaged over the images: each z has its own": (
            lambda d, e, u: (u < d(e).sigmoid().mean(0)).to(u)
        ),
        "z is uniform here; eps is a draw from the prior N(0, I) already": (
            lambda d, e, u: (u < d(Normal(0.0, 1.0).cdf(e)).sigmoid()).to(u)
        ),
        "z has the wrong scale: eps is already a draw from the prior N(0, I)": (
            lambda d, e, u: (u < d(e * math.exp(0.5)).sigmoid()).to(u)
        ),
    },
    build=_generate_arguments,
    gradients=(),  # zeros and ones have none
    axes={"eps": ("latent dimensions", "images"), "u": ("pixels", "images")},
)
def sample_images(draw: Draw) -> Iterator[dict[str, Any]]:
    """Images drawn from the model: z from the prior, then x given z."""
    # The last decoder is sure of most of its pixels.
    for count, latent, pixels, scale in (
        (9, 2, 20, 1.5),
        (14, 5, 12, 1.5),
        (1, 3, 31, 3.0),
        (11, 4, 25, 60.0),
    ):
        inputs = {
            "eps": draw.normal(count, latent),
            "u": draw.uniform(count, pixels),
            "weight": draw.normal(latent, 7),
            "bias": draw.normal(7, scale=0.5),
            "weight_out": draw.normal(7, pixels, scale=scale),
            "bias_out": draw.normal(pixels),
        }
        # No u so near to its probability that float32 could decide otherwise.
        decoder, eps, u = _generate_arguments(**inputs)
        p = decoder(eps).sigmoid()
        inputs["u"] = torch.where((u - p).abs() < 1e-3, (p + 0.5) % 1.0, u).float().double()
        yield inputs


# The evidence over the plane


def _mass_of_cells(log_lik: Tensor, z: Tensor, area: float) -> Tensor:
    prior = MultivariateNormal(torch.zeros_like(z[0]), torch.eye(2).to(z))
    mass = prior.log_prob(z).exp() * area
    largest = log_lik.detach().amax(0)
    return largest + torch.log(mass @ torch.exp(log_lik - largest))


def _log_prior(z: Tensor, constant: float = LOG_TWO_PI) -> Tensor:
    """Up to its constant, as a column."""
    return (-0.5 * (z**2).sum(-1) - constant)[:, None]


def _over_cells(log_prior: Callable[[Tensor], Any], finish: Callable[..., Any]) -> Any:
    """A mistake from its log-prior [cells, 1], and what it does with the log-joint and the area."""
    return lambda log_lik, z, area: finish(log_lik + log_prior(z), area)


def _sum(log_joint: Tensor, area: float) -> Tensor:
    return torch.logsumexp(log_joint, 0) + math.log(area)


@exercise(
    truth=_mass_of_cells,
    mistakes={
        "the prior is missing: the sum is over p(z) p(x | z)": _over_cells(lambda z: 0.0, _sum),
        "the area is missing: a sum over a grid becomes an integral only times the area": (
            _over_cells(_log_prior, lambda j, a: j.logsumexp(0))
        ),
        "the sum is divided by the number of cells: the area already accounts for them": (
            _over_cells(_log_prior, lambda j, a: _sum(j, a) - math.log(len(j)))
        ),
        "this is a mean over the cells: sum them, and multiply by the area": _over_cells(
            _log_prior, lambda j, a: j.logsumexp(0) - math.log(len(j))
        ),
        "the mean of p(x | z) is for z drawn from the prior; cells need the prior's density": (
            _over_cells(lambda z: 0.0, lambda j, a: j.logsumexp(0) - math.log(len(j)))
        ),
        "logarithms are averaged; asked is the logarithm of a sum": _over_cells(
            _log_prior, lambda j, a: j.mean(0)
        ),
        "½ log 2π belongs to each of the two latent dimensions, not once to the prior": _over_cells(
            lambda z: _log_prior(z, 0.5 * LOG_TWO_PI), _sum
        ),
        "log 2π is subtracted for each dimension; it is ½ log 2π for each": _over_cells(
            lambda z: _log_prior(z, 2 * LOG_TWO_PI), _sum
        ),
        "the ½ in the prior's −½ z² is missing": _over_cells(
            lambda z: (-(z**2).sum(-1) - LOG_TWO_PI)[:, None], _sum
        ),
        "the prior is normalized over the grid: a cell's weight is its density times the area": (
            _over_cells(
                lambda z: _log_prior(z) - _log_prior(z).logsumexp(0), lambda j, a: j.logsumexp(0)
            )
        ),
        "the area multiplies the logarithm: inside the logarithm it does, outside add log(area)": (
            _over_cells(_log_prior, lambda j, a: j.logsumexp(0) * a)
        ),
        "the area is added to a logarithm: add log(area)": _over_cells(
            _log_prior, lambda j, a: j.logsumexp(0) + a
        ),
        "the sum is divided by the area; it must be multiplied by it": _over_cells(
            _log_prior, lambda j, a: j.logsumexp(0) - math.log(a)
        ),
        "this is the prior of one latent dimension: log p(z) is a sum over both": _over_cells(
            lambda z: -0.5 * z[:, :1] ** 2 - 0.5 * LOG_TWO_PI, _sum
        ),
        "the prior's density is added to a logarithm: add its logarithm": _over_cells(
            lambda z: _log_prior(z).exp(), _sum
        ),
        "the prior is at the grid's centre here; it is N(0, I)": _over_cells(
            lambda z: _log_prior(z - z.mean(0)), _sum
        ),
        "only the best cell is used; the others hold mass too": _over_cells(
            _log_prior, lambda j, a: j.amax(0) + math.log(a)
        ),
        "the log-evidence is cut at 0; log-densities may be above it": _over_cells(
            _log_prior, lambda j, a: _sum(j, a).clamp(max=0)
        ),
        "the sum is over the data; it must be over the cells, axis 0": _over_cells(
            _log_prior, lambda j, a: j.logsumexp(1) + math.log(a)
        ),
    },
    gradients=("log_lik",),  # the grid stands still
    axes={"log_lik": ("data", "cells"), "z": ("latent dimensions", "cells")},
)
def plane_evidence(draw: Draw) -> Iterator[dict[str, Any]]:
    """log p(x) of a model with two latent dimensions, on a grid."""
    # Cells that are no squares, over a part of the plane only, so that no sum is 1 by accident;
    # likelihoods and densities that no float holds.
    for rows, columns, batch, shift in (
        (9, 8, 3, 0.0),
        (7, 12, 1, -3.0),
        (10, 6, 4, -150.0),
        (8, 11, 7, -1000.0),
        (6, 9, 3, 900.0),
    ):
        width, height = (float(draw.uniform(low=0.3, high=0.7)) for _ in range(2))
        first = width * (torch.arange(rows).double() - 0.5 * rows + 0.8)
        second = height * (torch.arange(columns).double() - 0.5 * columns + 0.3)
        yield {
            # Each datum at a level of its own: one maximum for all of them would underflow.
            "log_lik": (
                draw.normal(rows * columns, batch, scale=2.0)
                + shift * torch.linspace(0.2, 1.8, batch, dtype=torch.float64)
            )
            .float()
            .double(),
            "z": torch.cartesian_prod(first, second).float().double(),
            "area": width * height,
        }


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
