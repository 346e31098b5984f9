"""Checks of the exercises of :doc:`/book/vae`."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, softplus

from .exercise import Draw, exercise

__all__ = ["plane_evidence", "sample_images", "vae_loss"]

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
