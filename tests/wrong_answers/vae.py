"""Answers to the exercises of chapter vae."""

import math

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
