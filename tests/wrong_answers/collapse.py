"""Answers to the exercises of chapter collapse."""

import math

import numpy
import torch
import torch.nn.functional as F
from torch.distributions import Normal, kl_divergence

from vaelib.kl import DiagonalNormal
from wrong_answers import right, wrong


def prior_kl(loc, logvar):
    return -0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=-1)


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
