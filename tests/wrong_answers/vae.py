"""Answers to the exercises of chapter vae."""

import math

import numpy
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli, Categorical, Independent, Normal, kl_divergence

from vaelib.kl import DiagonalNormal
from vaelib.latent import grid_evidence
from wrong_answers import right, wrong

# The loss


def prior_kl(loc, logvar):
    return -0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=-1)


@right("vae_loss")
def loss_by_hand(x, logits, loc, logvar):
    log_lik = (x * logits - F.softplus(logits)).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@right("vae_loss")
def loss_by_cross_entropy(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    kl = 0.5 * torch.sum(loc**2 + torch.exp(logvar) - 1 - logvar)
    return (bce + kl) / x.shape[0]


@right("vae_loss")
def loss_by_distributions(x, logits, loc, logvar):
    q = Normal(loc, torch.exp(0.5 * logvar))
    kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(1)
    return -(Bernoulli(logits=logits).log_prob(x).sum(1) - kl).mean()


@right("vae_loss")
def loss_of_two_logsigmoids(x, logits, loc, logvar):
    per_pixel = x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)
    prior = DiagonalNormal(torch.zeros_like(loc), torch.zeros_like(loc))
    return torch.mean(kl_divergence(DiagonalNormal(loc, logvar), prior) - per_pixel.sum(-1))


@wrong("vae_loss", says="sign is turned round")
def loss_is_elbo(x, logits, loc, logvar):
    log_lik = Bernoulli(logits=logits).log_prob(x).sum(-1)
    return (log_lik - prior_kl(loc, logvar)).mean()


@wrong("vae_loss", says="KL has the wrong sign")
def loss_pays_for_kl(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(1)
    kld = 0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=1)
    return (bce + kld).mean()


@wrong("vae_loss", says="pixels are averaged: log p")
def loss_default_reduction(x, logits, loc, logvar):
    return F.binary_cross_entropy_with_logits(logits, x) + prior_kl(loc, logvar).mean()


@wrong("vae_loss", says="averaged over the latent dimensions")
def loss_kl_mean(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1).mean()
    return bce - 0.5 * torch.mean(1 + logvar - loc.pow(2) - logvar.exp())


@wrong("vae_loss", says="pixels / latent dimensions")
def loss_two_means(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="mean")
    return bce + (-0.5 * (1 + logvar - loc.pow(2) - logvar.exp())).mean()


@wrong("vae_loss", says="add once for each of the data")
def loss_summed(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return bce + prior_kl(loc, logvar).sum()


@wrong("vae_loss", says="take both means")
def loss_sum_and_mean(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return bce + prior_kl(loc, logvar).mean()


@wrong("vae_loss", says="β = 1 / pixels")
def loss_kl_over_pixels(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    return bce + prior_kl(loc, logvar).sum() / x.numel()


@wrong("vae_loss", says="KL is missing")
def loss_reconstruction_only(x, logits, loc, logvar):
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)


@wrong("vae_loss", says="β = 2")
def loss_without_half(x, logits, loc, logvar):
    log_lik = Bernoulli(logits=logits).log_prob(x).sum(-1)
    return (loc**2 + logvar.exp() - 1 - logvar).sum(-1).mean() - log_lik.mean()


@wrong("vae_loss", says="log σ², not log σ")
def loss_logvar_as_log_scale(x, logits, loc, logvar):
    q = Normal(loc, logvar.exp())
    kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(-1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="sigmoid is taken twice")
def loss_two_sigmoids(x, logits, loc, logvar):
    return loss_by_cross_entropy(x, torch.sigmoid(logits), loc, logvar)


@wrong("vae_loss", says="squared error")
def loss_squared_error(x, logits, loc, logvar):
    mse = F.mse_loss(torch.sigmoid(logits), x, reduction="none").sum(-1)
    return (mse + prior_kl(loc, logvar)).mean()


@wrong("vae_loss", says="only the ones")
def loss_of_black_pixels(x, logits, loc, logvar):
    log_lik = (x * F.logsigmoid(logits)).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("vae_loss", says="rounds to 0 or 1")
def loss_of_probabilities(x, logits, loc, logvar):
    bce = F.binary_cross_entropy(torch.sigmoid(logits), x, reduction="sum")
    return (bce + prior_kl(loc, logvar).sum()) / len(x)


@wrong("vae_loss", says="log space")
def loss_of_logs(x, logits, loc, logvar):
    p = torch.sigmoid(logits)
    log_lik = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("vae_loss", says="above 1e-06")
def loss_clamped(x, logits, loc, logvar):
    p = torch.sigmoid(logits).clamp(1e-6, 1 - 1e-6)
    log_lik = (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("vae_loss", says=r"shape \[\d\]; expected \[\]")
def loss_per_datum(x, logits, loc, logvar):
    return prior_kl(loc, logvar) - (x * logits - F.softplus(logits)).sum(-1)


@wrong("vae_loss", says="no gradient reaches loc")
def loss_kl_as_number(x, logits, loc, logvar):
    log_lik = (x * logits - F.softplus(logits)).sum(-1)
    return prior_kl(loc, logvar).mean().item() - log_lik.mean()


@wrong("vae_loss")
def loss_in_bits_per_pixel(x, logits, loc, logvar):
    return loss_by_hand(x, logits, loc, logvar) / x.shape[1] / math.log(2)


# Generate


@right("sample_images")
def drawn(decoder, eps, u):
    return (u < decoder(eps).sigmoid()).to(u.dtype)


@right("sample_images")
def drawn_by_where(decoder, eps, u):
    p = torch.sigmoid(decoder(eps))
    return torch.where(p > u, torch.ones_like(u), torch.zeros_like(u))


@right("sample_images")
def drawn_in_logits(decoder, eps, u):
    return torch.heaviside(decoder(eps) - torch.logit(u), torch.zeros_like(u))


@right("sample_images")
def drawn_one_by_one(decoder, eps, u):
    rows = []
    for z, row in zip(eps, u, strict=True):
        p = Bernoulli(logits=decoder(z)).probs
        rows.append(((row - p) < 0).type_as(u))
    return torch.stack(rows)


@wrong("sample_images", says="probabilities, the mean")
def drawn_is_mean(decoder, eps, u):
    return torch.sigmoid(decoder(eps))


@wrong("sample_images", says="these are logits")
def drawn_is_raw(decoder, eps, u):
    return decoder(eps)


@wrong("sample_images", says="rounded")
def drawn_at_half(decoder, eps, u):
    return (torch.sigmoid(decoder(eps)) > 0.5).to(u.dtype)


@wrong("sample_images", says="rounded")
def drawn_by_round(decoder, eps, u):
    return decoder(eps).sigmoid().round()


@wrong("sample_images", says="turned round")
def drawn_turned_round(decoder, eps, u):
    return (u > decoder(eps).sigmoid()).to(u.dtype)


@wrong("sample_images", says="asked is 1 where u < p")
def drawn_from_above(decoder, eps, u):
    return torch.floor(decoder(eps).sigmoid() + u).clamp(0, 1)


@wrong("sample_images", says="compared with logits")
def drawn_of_logits(decoder, eps, u):
    return torch.where(u < decoder(eps), 1.0, 0.0).to(u.dtype)


@wrong("sample_images", says="sigmoid is taken twice")
def drawn_two_sigmoids(decoder, eps, u):
    p = decoder(eps).sigmoid()
    return (u < Bernoulli(logits=p).mean).to(u.dtype)


@wrong("sample_images", says="prior's mean, 0")
def drawn_at_zero(decoder, eps, u):
    z = 0 * eps
    return (u < torch.sigmoid(decoder(z))).to(u.dtype)


@wrong("sample_images", says="first z")
def drawn_from_one_z(decoder, eps, u):
    p = torch.sigmoid(decoder(eps[0]))
    return (u < p).to(u.dtype)


@wrong("sample_images", says="decides a whole image")
def drawn_with_one_number(decoder, eps, u):
    return (u[:, 0].unsqueeze(1) < torch.sigmoid(decoder(eps))).to(u.dtype)


@wrong("sample_images", says="softmax")
def drawn_softmax(decoder, eps, u):
    return (u < torch.softmax(decoder(eps), dim=1)).to(u.dtype)


@wrong("sample_images", says="wrong scale")
def drawn_with_logvar_one(decoder, eps, u):
    logvar = torch.ones_like(eps)
    z = torch.exp(0.5 * logvar) * eps
    return (u < decoder(z).sigmoid()).to(u.dtype)


@wrong("sample_images", says="two calls")
def drawn_by_torch(decoder, eps, u):
    return torch.bernoulli(decoder(eps).sigmoid())


@wrong("sample_images", says="in place")
def drawn_in_place(decoder, eps, u):
    p = decoder(eps).sigmoid()
    return u.data.sub_(p).lt(0).to(p.dtype)


@wrong("sample_images")
def drawn_one_pixel(decoder, eps, u):
    index = Categorical(logits=decoder(eps)).probs.cumsum(-1)
    return (u[:, :1] < index).to(u.dtype)


@right("sample_images")
def drawn_in_float32(decoder, eps, u):
    return (u < decoder(eps).sigmoid()).float()


# The evidence over the plane


def standard_normal(z):
    return Normal(0.0, 1.0).log_prob(z).sum(-1)


@right("plane_evidence")
def plane(log_lik, z, area):
    joint = log_lik + standard_normal(z)[:, None]
    return torch.logsumexp(joint, dim=0) + math.log(area)


@right("plane_evidence")
def plane_by_maximum(log_lik, z, area):
    prior = torch.exp(-0.5 * (z**2).sum(1)) / (2 * math.pi)
    top = log_lik.max(0).values
    return top + torch.log(area * (prior.unsqueeze(1) * torch.exp(log_lik - top)).sum(0))


@right("plane_evidence")
def plane_by_the_package(log_lik, z, area):
    joint = log_lik.mT - 0.5 * z.square().sum(-1) - math.log(2 * math.pi)
    return grid_evidence(joint, math.log(area)).log_evidence


@right("plane_evidence")
def plane_by_weights(log_lik, z, area):
    prior = Independent(Normal(torch.zeros_like(z), torch.ones_like(z)), 1)
    log_mass = prior.log_prob(z) + torch.log(torch.tensor(area, dtype=z.dtype))
    return torch.stack([torch.logsumexp(one + log_mass, 0) for one in log_lik.T])


@wrong("plane_evidence", says="prior is missing")
def plane_without_prior(log_lik, z, area):
    return torch.logsumexp(log_lik, 0) + math.log(area)


@wrong("plane_evidence", says="area is missing")
def plane_without_area(log_lik, z, area):
    return torch.logsumexp(log_lik + standard_normal(z)[:, None], 0)


@wrong("plane_evidence", says="divided by the number of cells")
def plane_area_and_mean(log_lik, z, area):
    joint = log_lik + standard_normal(z)[:, None]
    return torch.logsumexp(joint, 0) + math.log(area / len(z))


@wrong("plane_evidence", says="a mean over the cells")
def plane_log_mean_exp(log_lik, z, area):
    joint = log_lik + standard_normal(z)[:, None]
    return torch.logsumexp(joint, 0) - math.log(joint.shape[0])


@wrong("plane_evidence", says="z drawn from the prior")
def plane_as_monte_carlo(log_lik, z, area):
    return torch.logsumexp(log_lik, 0) - math.log(len(log_lik))


@wrong("plane_evidence", says="logarithms are averaged")
def plane_mean_of_logs(log_lik, z, area):
    return (log_lik + standard_normal(z)[:, None]).mean(0)


@wrong("plane_evidence", says="½ log 2π belongs to each")
def plane_constant_once(log_lik, z, area):
    log_prior = -0.5 * (z**2).sum(1) - 0.5 * math.log(2 * math.pi)
    return torch.logsumexp(log_lik + log_prior[:, None], 0) + math.log(area)


@wrong("plane_evidence", says="too large by 1.838 = log 2π, in every case")
def plane_without_constant(log_lik, z, area):
    log_prior = -0.5 * (z**2).sum(1)
    return torch.logsumexp(log_lik + log_prior[:, None], 0) + math.log(area)


@wrong("plane_evidence", says="½ log 2π for each")
def plane_constant_twice(log_lik, z, area):
    log_prior = (-0.5 * z**2 - math.log(2 * math.pi)).sum(1)
    return torch.logsumexp(log_lik + log_prior[:, None], 0) + math.log(area)


@wrong("plane_evidence", says="−½ z² is missing")
def plane_without_half(log_lik, z, area):
    log_prior = -(z**2).sum(1) - math.log(2 * math.pi)
    return torch.logsumexp(log_lik + log_prior[:, None], 0) + math.log(area)


@wrong("plane_evidence", says="normalized over the grid")
def plane_prior_normalized(log_lik, z, area):
    log_prior = torch.log_softmax(-0.5 * (z**2).sum(1), 0)
    return torch.logsumexp(log_lik + log_prior[:, None], 0)


@wrong("plane_evidence", says="area multiplies the logarithm")
def plane_area_outside(log_lik, z, area):
    return area * torch.logsumexp(log_lik + standard_normal(z)[:, None], 0)


@wrong("plane_evidence", says="axis 0")
def plane_over_data(log_lik, z, area):
    joint = log_lik + standard_normal(z)[:, None]
    return torch.logsumexp(joint, -1) + math.log(area)


@wrong("plane_evidence", says="best cell")
def plane_best_cell(log_lik, z, area):
    joint = log_lik + standard_normal(z)[:, None]
    return joint.max(dim=0).values + math.log(area)


@wrong("plane_evidence", says="underflows")
def plane_underflows(log_lik, z, area):
    joint = torch.exp(log_lik) * torch.exp(standard_normal(z))[:, None]
    return torch.log(joint.sum(0) * area)


@wrong("plane_evidence", says="averaged over the batch")
def plane_mean_over_batch(log_lik, z, area):
    return plane(log_lik, z, area).mean()


@wrong("plane_evidence", says="it raised RuntimeError")
def plane_prior_of_each_axis(log_lik, z, area):
    return torch.logsumexp(log_lik + Normal(0.0, 1.0).log_prob(z), 0) + math.log(area)


@wrong("plane_evidence", says="no gradient reaches log_lik")
def plane_without_grad(log_lik, z, area):
    return torch.stack([plane(log_lik, z, area)]).detach()[0]


@wrong("plane_evidence")
def plane_evidence_not_log(log_lik, z, area):
    return plane(log_lik, z, area).exp()


# Active units


@right("predicted_units")
def units_by_covariance(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues > variance
    return active.sum(), 0.5 * torch.log(eigenvalues[active] / variance).sum()


@right("predicted_units")
def units_by_singular_values(x, variance, k):
    s = torch.linalg.svdvals(x - x.mean(0))
    ratio = s[:k].square() / len(x) / variance
    return int((ratio > 1).sum()), (0.5 * ratio.clamp(min=1.0).log()).sum()


@right("predicted_units")
def units_one_by_one(x, variance, k):
    centred = x - x.mean(dim=0, keepdim=True)
    values, _ = torch.linalg.eigh(centred.mT @ centred / x.shape[0])
    count, total = 0, 0.0
    for value in sorted(values.tolist(), reverse=True)[:k]:
        if value > variance:
            count += 1
            total += 0.5 * math.log(value / variance)
    return count, total


@right("predicted_units")
def units_with_the_kl_written_out(x, variance, k):
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).sort(descending=True).values
    shrunk = variance / values[:k][values[:k] > variance]
    return len(shrunk), 0.5 * ((1 - shrunk) + shrunk - 1 - shrunk.log()).sum()


@wrong("predicted_units", says="not centred")
def units_not_centred(x, variance, k):
    s = torch.linalg.svdvals(x)[:k]
    values = s[s**2 / len(x) > variance] ** 2 / len(x)
    return len(values), 0.5 * torch.log(values / variance).sum()


@wrong("predicted_units", says="divides by n − 1")
def units_unbiased(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T))[-k:]
    active = eigenvalues > variance
    return active.sum(), 0.5 * torch.log(eigenvalues[active] / variance).sum()


@wrong("predicted_units", says="sums of squares")
def units_scatter(x, variance, k):
    values = torch.linalg.svdvals(x - x.mean(0))[:k] ** 2
    values = values[values > variance]
    return len(values), 0.5 * torch.log(values / variance).sum()


@wrong("predicted_units", says="standard deviations are compared")
def units_of_deviations(x, variance, k):
    values = torch.linalg.svdvals(x - x.mean(0))[:k] / len(x) ** 0.5
    values = values[values > variance]
    return len(values), 0.5 * torch.log(values / variance).sum()


@wrong("predicted_units", says="singular values")
def units_singular_for_eigen(x, variance, k):
    _, values, _ = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    values = values[:k][values[:k] > variance]
    return len(values), 0.5 * torch.log(values / variance).sum()


@wrong("predicted_units", says="do not take its root")
def units_above_sigma(x, variance, k):
    sigma = variance**0.5
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > sigma]
    return len(active), 0.5 * torch.log(active / sigma).sum()


@wrong("predicted_units")
def units_above_variance_squared(x, variance, k):
    return units_by_covariance(x, variance**2, k)


@wrong("predicted_units", says="every latent is counted")
def units_above_zero(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues > 0
    return active.sum(), 0.5 * torch.log(eigenvalues[active] / variance).sum()


@wrong("predicted_units", says="k is not used")
def units_without_k(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
    active = eigenvalues > variance
    return active.sum(), 0.5 * torch.log(eigenvalues[active] / variance).sum()


@wrong("predicted_units", says="k smallest")
def units_smallest(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[:k]
    active = eigenvalues > variance
    return active.sum(), 0.5 * torch.log(eigenvalues[active] / variance).sum()


@wrong("predicted_units", says="standardized")
def units_of_correlation(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.corrcoef(x.T))[-k:]
    active = eigenvalues > variance
    return active.sum(), 0.5 * torch.log(eigenvalues[active] / variance).sum()


@wrong("predicted_units", says="not 1")
def units_log_one_plus(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * torch.log(1 + active / variance).sum()


@wrong("predicted_units", says="by a quotient")
def units_signal_to_noise(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * torch.log((active - variance) / variance).sum()


@wrong("predicted_units", says="is a factor ½ missing")
def units_without_half(x, variance, k):
    count, total = units_by_singular_values(x, variance, k)
    return count, 2 * total


@wrong("predicted_units", says="sign is turned round")
def units_negative(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * torch.log(variance / active).sum()


@wrong("predicted_units", says="variance σ²/λ costs")
def units_means_alone(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * (1 - variance / active).sum()


@wrong("predicted_units", says="1 value; expected 2")
def units_only_counted(x, variance, k):
    return (torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:] > variance).sum()


@wrong("predicted_units", says="bits")
def units_in_bits(x, variance, k):
    count, total = units_by_covariance(x, variance, k)
    return count, total / math.log(2)


@wrong("predicted_units", says="averaged; asked is their sum")
def units_averaged(x, variance, k):
    count, total = units_by_covariance(x, variance, k)
    return count, total / max(int(count), 1)


@wrong("predicted_units")
def units_of_rows(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * torch.log(active / variance).sum()


@wrong("predicted_units", says="right in float64, but not in float32")
def units_by_second_moments(x, variance, k):
    mean = x.mean(0)
    covariance = x.T @ x / len(x) - torch.outer(mean, mean)
    eigenvalues = torch.linalg.eigvalsh(covariance)[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * torch.log(active / variance).sum()


# The loss that collapses


@right("mended_loss")
def mended(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    squared = (x - mean) ** 2 / noise_logvar.exp()
    log_lik = -0.5 * (squared + noise_logvar + math.log(2 * math.pi))
    kl = 0.5 * (loc**2 + logvar.exp() - 1 - logvar)
    return kl.sum(-1).mean() - log_lik.sum(-1).mean()


@right("mended_loss")
def mended_by_distributions(x, loc, logvar, eps, noise_logvar, decoder):
    q = Normal(loc, torch.exp(logvar / 2))
    z = q.loc + q.scale * eps
    log_lik = Normal(decoder(z), torch.exp(noise_logvar / 2)).log_prob(x).sum(-1)
    kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(-1)
    return -(log_lik - kl).mean()


@right("mended_loss")
def mended_sample_by_sample(x, loc, logvar, eps, noise_logvar, decoder):
    losses = []
    pixels = x.shape[-1]
    for e in eps:
        z = loc + logvar.exp().sqrt() * e
        squared = torch.sum((x - decoder(z)) ** 2, dim=1)
        constant = pixels * (noise_logvar + math.log(2 * math.pi))
        losses.append(0.5 * (squared * torch.exp(-noise_logvar) + constant))
    return torch.stack(losses).mean() + prior_kl(loc, logvar).mean()


@right("mended_loss")
def mended_from_means(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    p = DiagonalNormal(mean, noise_logvar.expand_as(mean))
    return prior_kl(loc, logvar).mean() - p.log_prob(x).mean()


def half_mended(scale, priced, reduced):
    def answer(x, loc, logvar, eps, noise_logvar, decoder):
        z = loc + (torch.exp(0.5 * logvar) if scale else logvar.exp()) * eps
        squared = (x - decoder(z)) ** 2 / noise_logvar.exp()
        log_lik = -0.5 * (squared + math.log(2 * math.pi))
        if priced:
            log_lik = log_lik - 0.5 * noise_logvar
        log_lik = log_lik.sum(-1) if reduced else log_lik.mean(-1)
        return prior_kl(loc, logvar).mean() - log_lik.mean()

    answer.__name__ = f"mended_scale_{scale}_priced_{priced}_reduced_{reduced}"
    return answer


wrong("mended_loss", says="all three faults")(half_mended(False, False, False))
wrong("mended_loss", says="one fault .* averaged")(half_mended(True, True, False))
wrong("mended_loss", says="one fault .* is σ²")(half_mended(False, True, True))
wrong("mended_loss", says="one fault .* costs nothing")(half_mended(True, False, True))
wrong("mended_loss", says="two .* pixels, and the scale")(half_mended(False, True, False))
wrong("mended_loss", says="two .* pixels, and the price")(half_mended(True, False, False))
wrong("mended_loss", says="two .* the scale of ε, and the price")(half_mended(False, False, True))


@wrong("mended_loss", says="stands once")
def mended_noise_once(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    squared = (x - mean) ** 2 / noise_logvar.exp()
    log_lik = -0.5 * (squared + math.log(2 * math.pi)).sum(-1) - 0.5 * noise_logvar
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="wrong sign")
def mended_noise_pays(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    squared = (x - mean) ** 2 / noise_logvar.exp()
    log_lik = -0.5 * (squared - noise_logvar + math.log(2 * math.pi)).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="twice")
def mended_log_noise_whole(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    squared = 0.5 * (x - mean) ** 2 / noise_logvar.exp()
    log_lik = (-squared - noise_logvar - 0.5 * math.log(2 * math.pi)).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="not log s")
def mended_noise_scale(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_lik = Normal(mean, noise_logvar.exp()).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="no noise")
def mended_at_loc(x, loc, logvar, eps, noise_logvar, decoder):
    log_lik = Normal(decoder(loc), (0.5 * noise_logvar).exp()).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="averaged over the latent")
def mended_kl_averaged(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_lik = Normal(mean, (0.5 * noise_logvar).exp()).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) / loc.shape[-1] - log_lik).mean()


@wrong("mended_loss", says="β is then pixels")
def mended_two_means(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_lik = Normal(mean, (0.5 * noise_logvar).exp()).log_prob(x)
    kl = 0.5 * (loc**2 + logvar.exp() - 1 - logvar)
    return kl.mean() - log_lik.mean()


@wrong("mended_loss", says="samples are added")
def mended_samples_added(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_lik = Normal(mean, (0.5 * noise_logvar).exp()).log_prob(x).sum((0, 2))
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="before they are decoded")
def mended_samples_averaged(x, loc, logvar, eps, noise_logvar, decoder):
    z = (loc + torch.exp(0.5 * logvar) * eps).mean(0)
    log_lik = Normal(decoder(z), (0.5 * noise_logvar).exp()).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="likelihoods are averaged")
def mended_importance_habit(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_lik = Normal(mean, (0.5 * noise_logvar).exp()).log_prob(x).sum(-1)
    log_mean = torch.logsumexp(log_lik, 0) - math.log(eps.shape[0])
    return (prior_kl(loc, logvar) - log_mean).mean()


@wrong("mended_loss", says="sign is turned round")
def mended_is_elbo(x, loc, logvar, eps, noise_logvar, decoder):
    return -mended(x, loc, logvar, eps, noise_logvar, decoder)


@wrong("mended_loss", says="no gradient reaches|gradient with respect to loc is wrong")
def mended_detached_z(x, loc, logvar, eps, noise_logvar, decoder):
    z = (loc + torch.exp(0.5 * logvar) * eps).detach()
    log_lik = Normal(decoder(z), (0.5 * noise_logvar).exp()).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss", says="no gradient reaches noise_logvar")
def mended_noise_as_number(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x, loc, logvar, eps, noise_logvar.detach(), decoder)


@wrong("mended_loss", says="½ log 2π for each of the pixels")
def mended_without_constant(x, loc, logvar, eps, noise_logvar, decoder):
    loss = mended(x, loc, logvar, eps, noise_logvar, decoder)
    return loss - 0.5 * math.log(2 * math.pi) * x.shape[-1]


@wrong("mended_loss", says="each of the data")
def mended_summed_over_all(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x, loc, logvar, eps, noise_logvar, decoder) * len(x)


# Found by a reader of the checks


@wrong("vae_loss", says="KL is summed over the batch")
def loss_kl_of_the_batch(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1).mean()
    return bce + prior_kl(loc, logvar).sum()


@wrong("vae_loss", says="arguments are swapped")
def loss_swapped(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(x, logits, reduction="none").sum(-1).mean()
    return bce + prior_kl(loc, logvar).mean()


@wrong("vae_loss", says="0 and 1 are swapped")
def loss_of_the_negative(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, 1 - x, reduction="none").sum(-1).mean()
    return bce + prior_kl(loc, logvar).mean()


@wrong("predicted_units", says="pixels' variances")
def units_of_pixel_variances(x, variance, k):
    variances = x.var(0, correction=0).sort(descending=True).values[:k]
    active = variances[variances > variance]
    return len(active), 0.5 * torch.log(active / variance).sum()


def loss_with(x, loc, logvar, eps, noise_logvar, decoder, *, sign=1.0, samples=None, scale=None):
    scale = torch.exp(0.5 * logvar) if scale is None else scale
    z = loc + scale * eps[:samples]
    log_lik = Normal(decoder(z), torch.exp(0.5 * noise_logvar)).log_prob(x).sum(-1).mean()
    return sign * prior_kl(loc, logvar).mean() - log_lik


@wrong("mended_loss", says="the KL is missing")
def mended_without_kl(*arguments):
    return loss_with(*arguments, sign=0.0)


@wrong("mended_loss", says="the KL is subtracted")
def mended_minus_kl(*arguments):
    return loss_with(*arguments, sign=-1.0)


@wrong("mended_loss", says="only the first sample")
def mended_first_sample(*arguments):
    return loss_with(*arguments, samples=1)


@wrong("mended_loss", says="½ stands outside")
def mended_half_outside(*arguments):
    return loss_with(*arguments, scale=0.5 * arguments[2].exp())


# Found by ten who tried to be wrong, and right


@right("vae_loss")
def loss_by_module(x, logits, loc, logvar):
    bce = torch.nn.BCEWithLogitsLoss(reduction="none")(logits, x).sum(dim=1)
    kl = prior_kl(loc, logvar).clamp(min=0)  # which it is anyway
    return torch.mean(bce + kl).squeeze()


@wrong("vae_loss", says="nothing is random here")
def loss_by_own_draw(x, logits, loc, logvar):
    z = loc + torch.exp(0.5 * logvar) * torch.randn_like(loc)
    log_q = Normal(loc, torch.exp(0.5 * logvar)).log_prob(z).sum(-1)
    log_p = Normal(0.0, 1.0).log_prob(z).sum(-1)
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    return (bce + log_q - log_p).mean()


@wrong("vae_loss", says="784")
def loss_times_784(x, logits, loc, logvar):
    return 784 * F.binary_cross_entropy_with_logits(logits, x) + prior_kl(loc, logvar).mean()


@wrong("vae_loss")
def loss_with_free_bits(x, logits, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - 1 - logvar).mean(0).clamp(min=0.5).sum()
    return F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x) + kl


@wrong("vae_loss", says="0.5 for each of the latent")
def loss_kl_without_one(x, logits, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - logvar).sum(-1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="stands once")
def loss_kl_one_once(x, logits, loc, logvar):
    kl = 0.5 * ((loc**2 + logvar.exp() - logvar).sum(-1) - 1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="KL.prior ‖ q.")
def loss_reverse_kl(x, logits, loc, logvar):
    prior = Normal(torch.zeros_like(loc), torch.ones_like(loc))
    kl = kl_divergence(prior, Normal(loc, torch.exp(0.5 * logvar))).sum(-1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="logvar has the wrong sign")
def loss_logvar_sign(x, logits, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - 1 + logvar).sum(-1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="μ is not squared")
def loss_loc_not_squared(x, logits, loc, logvar):
    kl = 0.5 * (loc + logvar.exp() - 1 - logvar).sum(-1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="1e-08 inside")
def loss_with_epsilon(x, logits, loc, logvar):
    p = torch.sigmoid(logits)
    log_lik = (x * (p + 1e-8).log() + (1 - x) * (1 - p + 1e-8).log()).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("vae_loss")
def loss_epsilon_in_variance(x, logits, loc, logvar):
    variance = logvar.exp() + 1e-6
    kl = 0.5 * (loc**2 + variance - 1 - variance.log()).sum(-1)
    return (kl - (x * logits - F.softplus(logits)).sum(-1)).mean()


@wrong("vae_loss", says="in place")
def loss_in_place(x, logits, loc, logvar):
    loss = loss_by_hand(x, logits, loc, logvar)
    x *= 255
    return loss


@wrong("vae_loss", says="values; expected one|3 values")
def loss_and_parts(x, logits, loc, logvar):
    bce = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
    kl = prior_kl(loc, logvar).mean()
    return bce + kl, bce, kl


@wrong("vae_loss", says="no gradient reaches")
def loss_as_number(x, logits, loc, logvar):
    return loss_by_hand(x, logits, loc, logvar).item()


@right("sample_images")
def drawn_as_booleans(decoder, eps, u):
    return u < torch.sigmoid(decoder(eps))


@right("sample_images")
def drawn_as_integers(decoder, eps, u):
    return (u < torch.sigmoid(decoder(eps))).long()


@wrong("sample_images", says="two calls")
def drawn_from_own_z(decoder, eps, u):
    return (u < torch.sigmoid(decoder(torch.randn_like(eps)))).to(u)


@wrong("sample_images", says="z is uniform")
def drawn_from_uniform_z(decoder, eps, u):
    z = Normal(0.0, 1.0).cdf(eps)
    return (u < torch.sigmoid(decoder(z))).to(u)


@wrong("sample_images", says="255 times")
def drawn_as_bytes(decoder, eps, u):
    return 255 * (u < torch.sigmoid(decoder(eps))).to(u)


@wrong("sample_images", says="has the shape")
def drawn_flattened(decoder, eps, u):
    return (u < torch.sigmoid(decoder(eps))).to(u).flatten()


@wrong("sample_images")
def drawn_plus_minus(decoder, eps, u):
    return torch.sign(torch.sigmoid(decoder(eps)) - u)


@wrong("sample_images", says="averaged over the images")
def drawn_from_mean_probability(decoder, eps, u):
    p = torch.sigmoid(decoder(eps)).mean(0)
    return (u < p).to(u)


@wrong("plane_evidence", says="added to a logarithm: add log.area")
def plane_area_added(log_lik, z, area):
    return torch.logsumexp(log_lik + standard_normal(z)[:, None], 0) + area


@wrong("plane_evidence", says="divided by the area")
def plane_area_subtracted(log_lik, z, area):
    return torch.logsumexp(log_lik + standard_normal(z)[:, None], 0) - math.log(area)


@wrong("plane_evidence")
def plane_area_squared(log_lik, z, area):
    return torch.logsumexp(log_lik + standard_normal(z)[:, None], 0) + 2 * math.log(area)


@wrong("plane_evidence", says="one latent dimension")
def plane_prior_of_one_axis(log_lik, z, area):
    joint = log_lik + Normal(0.0, 1.0).log_prob(z[:, :1])
    return torch.logsumexp(joint, 0) + math.log(area)


@wrong("plane_evidence", says="density is added")
def plane_prior_density_added(log_lik, z, area):
    joint = log_lik + standard_normal(z).exp()[:, None]
    return torch.logsumexp(joint, 0) + math.log(area)


@wrong("plane_evidence")
def plane_normalized_likelihood(log_lik, z, area):
    return torch.log_softmax(log_lik + standard_normal(z)[:, None], 0).logsumexp(0) + math.log(area)


@wrong("plane_evidence", says="log space")
def plane_one_maximum(log_lik, z, area):
    joint = log_lik + standard_normal(z)[:, None]
    return (joint - joint.max()).exp().sum(0).log() + joint.max() + math.log(area)


@wrong("plane_evidence", says="cut at 0")
def plane_never_positive(log_lik, z, area):
    return plane(log_lik, z, area).clamp(max=0)


@wrong("plane_evidence", says="in place")
def plane_in_place(log_lik, z, area):
    log_lik.data += standard_normal(z)[:, None]
    return torch.logsumexp(log_lik, 0) + math.log(area)


@wrong("plane_evidence", says="grid's centre")
def plane_prior_centred(log_lik, z, area):
    return plane(log_lik, z - z.mean(0), area)


@right("predicted_units")
def units_by_numpy(x, variance, k):
    values = numpy.linalg.eigvalsh(numpy.cov(x.numpy().T, ddof=0))[::-1][:k]
    active = values[values > variance]
    return int(active.size), float(0.5 * numpy.log(active / variance).sum())


@right("predicted_units")
def units_by_relu(x, variance, k):
    values = torch.linalg.svdvals(x - x.mean(0))[:k] ** 2 / len(x)
    return (values > variance).sum().item(), torch.relu(0.5 * (values / variance).log()).sum()


@right("predicted_units")
def units_by_pca(x, variance, k):
    _, s, _ = torch.pca_lowrank(x, q=min(x.shape), center=True)
    values = s[:k] ** 2 / len(x)
    values = values[values > variance]
    return len(values), 0.5 * torch.log(values / variance).sum()


@wrong("predicted_units", says="a sum of nothing is 0")
def units_mean_times_count(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), len(active) * (0.5 * torch.log(active / variance)).mean()


@wrong("predicted_units", says="averaged; asked is their sum .and")
def units_mean_cost(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), (0.5 * torch.log(active / variance)).mean()


@wrong("predicted_units", says="raised")
def units_one_at_least(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance].max()
    return 1, 0.5 * torch.log(active / variance).sum()


@wrong("predicted_units", says="raised")
def units_by_plain_topk(x, variance, k):
    values = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).topk(k).values
    active = values[values > variance]
    return len(active), 0.5 * torch.log(active / variance).sum()


@wrong("predicted_units", says="each of the data")
def units_summed_over_data(x, variance, k):
    count, cost = units_by_covariance(x, variance, k)
    return count, cost * len(x)


@wrong("predicted_units", says="swapped")
def units_swapped(x, variance, k):
    count, cost = units_by_covariance(x, variance, k)
    return cost, count


@wrong("predicted_units", says="ratio to σ²")
def units_logvar(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    active = eigenvalues[eigenvalues > variance]
    return len(active), 0.5 * torch.log(active).sum()


@wrong("predicted_units", says="means of q are missing")
def units_kl_without_means(x, variance, k):
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))[-k:]
    s = variance / eigenvalues[eigenvalues > variance]
    return len(s), 0.5 * (s - 1 - s.log()).sum()


@wrong("predicted_units", says="in place")
def units_in_place(x, variance, k):
    x -= x.mean(0)
    return units_by_covariance(x, variance, k)


@right("mended_loss")
def mended_flat(x, loc, logvar, eps, noise_logvar, decoder):
    z = (loc + torch.exp(0.5 * logvar) * eps).flatten(0, 1)
    many = x.repeat(len(eps), 1)
    p = Normal(decoder(z), torch.exp(noise_logvar).sqrt())
    nll = -p.log_prob(many).sum(1).mean()
    return nll + prior_kl(loc, logvar).sum() / len(x)


@wrong("mended_loss")
def mended_epsilon_in_scale(x, loc, logvar, eps, noise_logvar, decoder):
    z = loc + (torch.exp(0.5 * logvar) + 1e-6) * eps
    log_lik = Normal(decoder(z), torch.exp(0.5 * noise_logvar)).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@wrong("mended_loss")
def mended_epsilon_in_noise(x, loc, logvar, eps, noise_logvar, decoder):
    z = loc + torch.exp(0.5 * logvar) * eps
    log_lik = Normal(decoder(z), torch.exp(0.5 * noise_logvar) + 1e-6).log_prob(x).sum(-1)
    return (prior_kl(loc, logvar) - log_lik).mean()


@right("mended_loss")
def mended_by_a_loss_of_torch(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    noise = noise_logvar.exp().expand_as(mean)
    nll = F.gaussian_nll_loss(mean, x.expand_as(mean), noise, full=True, reduction="none")
    return nll.sum(-1).mean() + prior_kl(loc, logvar).mean()


@wrong("mended_loss", says="½ log 2π for each of the pixels")
def mended_by_a_loss_without_constant(x, loc, logvar, eps, noise_logvar, decoder):
    mean = decoder(loc + torch.exp(0.5 * logvar) * eps)
    noise = noise_logvar.exp().expand_as(mean)
    nll = F.gaussian_nll_loss(mean, x.expand_as(mean), noise, reduction="none")
    return nll.sum(-1).mean() + prior_kl(loc, logvar).mean()


@wrong("mended_loss", says="cut at 0")
def mended_never_negative(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x, loc, logvar, eps, noise_logvar, decoder).clamp(min=0)


@wrong("mended_loss", says="rounded")
def mended_with_rounded_pixels(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x.round(), loc, logvar, eps, noise_logvar, decoder)


@wrong("mended_loss")
def mended_with_clamped_pixels(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x.clamp(0, 1), loc, logvar, eps, noise_logvar, decoder)


@wrong("mended_loss", says="two calls")
def mended_own_noise(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x, loc, logvar, torch.randn_like(eps), noise_logvar, decoder)


@wrong("mended_loss", says="sigmoid")
def mended_with_sigmoid(x, loc, logvar, eps, noise_logvar, decoder):
    return mended(x, loc, logvar, eps, noise_logvar, lambda z: torch.sigmoid(decoder(z)))


@wrong("mended_loss", says="in place")
def mended_in_place(x, loc, logvar, eps, noise_logvar, decoder):
    loss = mended(x, loc, logvar, eps, noise_logvar, decoder)
    eps.zero_()
    return loss


@wrong("mended_loss", says="closed form")
def mended_kl_by_samples(x, loc, logvar, eps, noise_logvar, decoder):
    q = Normal(loc, torch.exp(0.5 * logvar))
    z = loc + q.scale * eps
    log_lik = Normal(decoder(z), torch.exp(0.5 * noise_logvar)).log_prob(x).sum(-1)
    kl = q.log_prob(z).sum(-1) - Normal(0.0, 1.0).log_prob(z).sum(-1)
    return (kl - log_lik).mean()
