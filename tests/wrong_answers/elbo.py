"""Answers to the exercises of chapter elbo."""

import math

import torch
from torch.distributions import (
    Bernoulli,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.nn import functional

from vaelib import elbo, likelihood
from wrong_answers import right, wrong

# The Bernoulli log-likelihood


@right("bernoulli_log_likelihood")
def pixels_by_cross_entropy(x, logits):
    loss = functional.binary_cross_entropy_with_logits(logits, x, reduction="none")
    return -loss.sum(-1)


@right("bernoulli_log_likelihood")
def pixels_by_softplus(x, logits):
    return torch.sum(x * logits - functional.softplus(logits), dim=-1)


@right("bernoulli_log_likelihood")
def pixels_by_logsigmoid(x, logits):
    ones = x * functional.logsigmoid(logits)
    zeros = (1 - x) * functional.logsigmoid(-logits)
    return (ones + zeros).sum(-1)


@right("bernoulli_log_likelihood")
def pixels_by_distribution(x, logits):
    return Independent(Bernoulli(logits=logits), 1).log_prob(x)


@right("bernoulli_log_likelihood")
def pixels_by_sign(x, logits):
    return functional.logsigmoid((2 * x - 1) * logits).sum(-1)


@right("bernoulli_log_likelihood")
def pixels_by_package(x, logits):
    return likelihood.Bernoulli()(logits).log_prob(x)


@wrong("bernoulli_log_likelihood", says="minus that")
def pixels_as_loss(x, logits):
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


@wrong("bernoulli_log_likelihood", says="3 times too small: did you average over the pixels")
def pixels_averaged(x, logits):
    return -functional.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(-1)


@wrong("bernoulli_log_likelihood", says="did you average over the pixels")
def pixels_averaged_as_loss(x, logits):
    return functional.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(-1)


@wrong("bernoulli_log_likelihood", says="by default, and is a loss")
def pixels_default_loss(x, logits):
    return functional.binary_cross_entropy_with_logits(logits, x)


@wrong("bernoulli_log_likelihood", says="by default: ")
def pixels_default(x, logits):
    return -functional.binary_cross_entropy_with_logits(logits, x)


@wrong("bernoulli_log_likelihood", says="summed over the batch")
def pixels_and_data_summed(x, logits):
    return -functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")


@wrong("bernoulli_log_likelihood", says="averaged over the batch")
def pixels_then_batch_mean(x, logits):
    return pixels_by_softplus(x, logits).mean()


@wrong("bernoulli_log_likelihood", says="sum over the last axis is missing")
def pixels_not_summed(x, logits):
    return -functional.binary_cross_entropy_with_logits(logits, x, reduction="none")


@wrong("bernoulli_log_likelihood", says="applied twice")
def pixels_sigmoid_twice(x, logits):
    p = torch.sigmoid(logits)
    return -functional.binary_cross_entropy_with_logits(p, x, reduction="none").sum(-1)


@wrong("bernoulli_log_likelihood", says="applied twice")
def pixels_distribution_of_sigmoid(x, logits):
    return Bernoulli(logits=logits.sigmoid()).log_prob(x).sum(-1)


@wrong("bernoulli_log_likelihood", says="arguments are swapped")
def pixels_arguments_swapped(x, logits):
    return -functional.binary_cross_entropy_with_logits(x, logits, reduction="none").sum(-1)


@wrong("bernoulli_log_likelihood", says="0 and 1 are swapped")
def pixels_swapped(x, logits):
    return (x * functional.logsigmoid(-logits) + (1 - x) * functional.logsigmoid(logits)).sum(-1)


@wrong("bernoulli_log_likelihood", says="only the ones")
def pixels_ones_only(x, logits):
    return -(x * functional.softplus(-logits)).sum(-1)


@wrong("bernoulli_log_likelihood", says="only the zeros")
def pixels_zeros_only(x, logits):
    return -((1 - x) * functional.softplus(logits)).sum(-1)


@wrong("bernoulli_log_likelihood", says="normalizer is missing")
def pixels_unnormalized(x, logits):
    return torch.einsum("...p,...p->...", x, logits)


@wrong("bernoulli_log_likelihood", says="squared error")
def pixels_squared(x, logits):
    return -((x - torch.sigmoid(logits)) ** 2).sum(dim=-1)


@wrong("bernoulli_log_likelihood", says="half a squared error")
def pixels_half_squared(x, logits):
    return (-0.5 * (x - torch.sigmoid(logits)) ** 2).sum(-1)


@wrong("bernoulli_log_likelihood", says="probability; its logarithm")
def pixels_probability(x, logits):
    p = torch.sigmoid(logits)
    return torch.where(x == 1, p, torch.sigmoid(-logits)).prod(-1)


@wrong("bernoulli_log_likelihood", says="(?s)nan|stay in log space")
def pixels_naive(x, logits):
    p = torch.sigmoid(logits)
    return (x * p.log() + (1 - x) * (1 - p).log()).sum(-1)


@wrong("bernoulli_log_likelihood", says="stay in log space")
def pixels_by_log_of_exp(x, logits):
    return (x * logits - torch.log(1 + torch.exp(logits))).sum(-1)


@wrong("bernoulli_log_likelihood", says="kept above 1e-07")
def pixels_clamped(x, logits):
    p = torch.sigmoid(logits).clamp(min=1e-7, max=1 - 1e-7)
    return torch.where(x > 0, p.log(), torch.log1p(-p)).sum(-1)


@wrong("bernoulli_log_likelihood", says="1e-12 inside")
def pixels_with_epsilon(x, logits):
    p = torch.sigmoid(logits)
    return torch.sum(x * torch.log(p + 1e-12) + (1 - x) * torch.log(1 - p + 1e-12), -1)


@wrong("bernoulli_log_likelihood", says="1e-08 inside")
def pixels_with_larger_epsilon(x, logits):
    p = torch.sigmoid(logits)
    return torch.sum(x * torch.log(p + 1e-8) + (1 - x) * torch.log(1 - p + 1e-8), -1)


@wrong("bernoulli_log_likelihood", says="−100 nats")
def pixels_by_probabilities(x, logits):
    p = torch.sigmoid(logits)
    return -functional.binary_cross_entropy(p, x, reduction="none").sum(-1)


@wrong("bernoulli_log_likelihood", says="between 0 and 1|raised")
def pixels_logits_as_probabilities(x, logits):
    return -functional.binary_cross_entropy(logits, x, reduction="none").sum(-1)


@wrong("bernoulli_log_likelihood", says="taken for probabilities")
def pixels_logits_in_the_log(x, logits):
    return (x * torch.log(logits) + (1 - x) * torch.log(1 - logits)).sum(-1)


@wrong("bernoulli_log_likelihood", says="averaged before the log")
def pixels_mean_probability(x, logits):
    each = x * logits - functional.softplus(logits)
    return torch.logsumexp(each, dim=-1) - math.log(each.shape[-1])


@wrong("bernoulli_log_likelihood", says="the continuous Bernoulli")
def pixels_continuous(x, logits):
    return likelihood.ContinuousBernoulli()(logits).log_prob(x)


@wrong("bernoulli_log_likelihood", says="torch's continuous Bernoulli")
def pixels_continuous_by_torch(x, logits):
    return torch.distributions.ContinuousBernoulli(logits=logits).log_prob(x).sum(-1)


@wrong("bernoulli_log_likelihood", says="bits")
def pixels_in_bits(x, logits):
    return pixels_by_softplus(x, logits) / math.log(2)


@wrong("bernoulli_log_likelihood")
def logits_clamped(x, logits):
    return pixels_by_softplus(x, logits.clamp(-10, 10))


@wrong("bernoulli_log_likelihood", says="no gradient reaches logits")
def pixels_without_gradient(x, logits):
    return pixels_by_softplus(x, logits.detach())


# The ELBO of a model and a q


@right("elbo_estimate")
def mean_of_log_weights(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1)).mean(0)


@right("elbo_estimate")
def estimate_by_independent(log_joint, q, z):
    log_q = Independent(q, 1).log_prob(z)
    return torch.sum(log_joint(z) - log_q, dim=0) / z.shape[0]


@right("elbo_estimate")
def estimate_in_two_means(log_joint, q, z):
    return log_joint(z).mean(0) - q.log_prob(z).mean(0).sum(-1)


@right("elbo_estimate")
def estimate_by_package(log_joint, q, z):
    return elbo.elbo(log_joint(z) - Independent(q, 1).log_prob(z))


@right("elbo_estimate")
def estimate_by_hand(log_joint, q, z):
    distance = (z - q.mean) / q.stddev
    constant = torch.log(q.stddev) + 0.5 * math.log(2 * math.pi)
    log_q = -(distance**2 / 2 + constant).sum(-1)
    return torch.stack([a - b for a, b in zip(log_joint(z), log_q, strict=True)]).mean(0)


@wrong("elbo_estimate", says="log q is missing")
def estimate_of_joint(log_joint, q, z):
    return log_joint(z).mean(0)


@wrong("elbo_estimate", says="log q is added")
def estimate_with_log_q_added(log_joint, q, z):
    return log_joint(z).mean(0) + q.log_prob(z).sum(-1).mean(0)


@wrong("elbo_estimate", says="a loss")
def estimate_as_loss(log_joint, q, z):
    return -mean_of_log_weights(log_joint, q, z)


@wrong("elbo_estimate", says="entropy")
def estimate_of_entropy(log_joint, q, z):
    return -q.log_prob(z).sum(-1).mean(0)


@wrong("elbo_estimate", says="raised RuntimeError")
def estimate_latents_not_summed(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z)).mean(0)


@wrong("elbo_estimate", says="averaged over the latents")
def estimate_latents_averaged(log_joint, q, z):
    log_q = q.log_prob(z).mean(dim=-1)
    return torch.mean(log_joint(z) - log_q, dim=0)


@wrong("elbo_estimate", says="once for each latent")
def estimate_joint_repeated(log_joint, q, z):
    log_w = log_joint(z).unsqueeze(-1) - q.log_prob(z)
    return log_w.sum(-1).mean(0)


@wrong("elbo_estimate", says="the shape")
def estimate_one_latent_each(log_joint, q, z):
    return (log_joint(z).unsqueeze(-1) - q.log_prob(z)).mean(0)


@wrong("elbo_estimate", says="summed over all its axes")
def estimate_log_q_of_all(log_joint, q, z):
    return log_joint(z).mean(0) - q.log_prob(z).sum()


@wrong("elbo_estimate", says="averaged over the draws and the data")
def estimate_log_q_of_the_batch(log_joint, q, z):
    return log_joint(z).mean(0) - q.log_prob(z).sum(-1).mean()


@wrong("elbo_estimate", says="importance-weighted bound")
def estimate_of_tighter_bound(log_joint, q, z):
    log_w = log_joint(z) - q.log_prob(z).sum(-1)
    return torch.logsumexp(log_w, 0) - math.log(z.shape[0])


@wrong("elbo_estimate", says="stay in log space")
def estimate_of_mean_weight(log_joint, q, z):
    log_w = log_joint(z) - q.log_prob(z).sum(-1)
    return log_w.exp().mean(0).log()


@wrong("elbo_estimate", says="share of the weights")
def estimate_weighted(log_joint, q, z):
    log_w = log_joint(z) - q.log_prob(z).sum(-1)
    share = torch.nn.functional.softmax(log_w, dim=0)
    return (share * log_w).sum(0)


@wrong("elbo_estimate", says="5 times too large: did you add once for each of the draws")
def estimate_summed(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1)).sum(0)


@wrong("elbo_estimate", says="only the first draw")
def estimate_first_draw(log_joint, q, z):
    return log_joint(z[:1])[0] - q.log_prob(z[0]).sum(-1)


@wrong("elbo_estimate", says="best draw")
def estimate_best_draw(log_joint, q, z):
    return torch.amax(log_joint(z) - q.log_prob(z).sum(-1), dim=0)


@wrong("elbo_estimate", says="q's mean is used")
def estimate_at_the_mean(log_joint, q, z):
    z = q.loc.expand(1, *q.loc.shape)
    return (log_joint(z) - q.log_prob(z).sum(-1)).squeeze(0)


@wrong("elbo_estimate", says="draws are averaged before")
def estimate_of_mean_draw(log_joint, q, z):
    return mean_of_log_weights(log_joint, q, z.mean(0, keepdim=True))


@wrong("elbo_estimate", says="over the data")
def estimate_over_data(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1)).mean(1)


@wrong("elbo_estimate", says="averaged over the batch")
def estimate_of_everything(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1)).mean()


@wrong("elbo_estimate", says="closed form")
def estimate_with_closed_entropy(log_joint, q, z):
    return log_joint(z).mean(0) + Independent(q, 1).entropy()


@wrong("elbo_estimate", says="two calls")
def estimate_of_own_draws(log_joint, q, z):
    return mean_of_log_weights(log_joint, q, q.rsample(z.shape[:1]))


@wrong("elbo_estimate", says="z is detached: ")
def estimate_detached(log_joint, q, z):
    return mean_of_log_weights(log_joint, q, z.detach())


@wrong("elbo_estimate", says=r"detached in log p\(x, z\)")
def estimate_joint_detached(log_joint, q, z):
    return (log_joint(z.detach()) - q.log_prob(z).sum(-1)).mean(0)


@wrong("elbo_estimate", says="detached in log q")
def estimate_log_q_at_detached_z(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z.data).sum(-1)).mean(0)


@wrong("elbo_estimate", says="no part is to be cut")
def estimate_sticking(log_joint, q, z):
    fixed = MultivariateNormal(q.mean.detach(), torch.diag_embed(q.variance.detach()))
    return (log_joint(z) - fixed.log_prob(z)).mean(0)


@wrong("elbo_estimate", says="no gradient reaches|gradient")
def estimate_log_q_without_gradient(log_joint, q, z):
    with torch.no_grad():
        log_q = q.log_prob(z).sum(-1)
    return (log_joint(z) - log_q).mean(0)


@wrong("elbo_estimate")
def estimate_with_prior_again(log_joint, q, z):
    prior = Normal(torch.zeros_like(q.loc), torch.ones_like(q.loc))
    return log_joint(z).mean(0) - kl_divergence(q, prior).sum(-1)


@wrong("elbo_estimate")
def estimate_median(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1)).median(0).values


# The importance-weighted bound


@right("iwae_bound")
def bound_by_logsumexp(log_w):
    return torch.logsumexp(log_w, dim=0) - math.log(log_w.shape[0])


@right("iwae_bound")
def bound_by_shift(log_w):
    highest = log_w.max(0, keepdim=True).values
    return (log_w - highest).exp().mean(0).log() + highest.squeeze(0)


@right("iwae_bound")
def bound_by_detached_shift(log_w):
    highest = log_w.detach().amax(0)
    return torch.log(torch.mean(torch.exp(log_w - highest), dim=0)) + highest


@right("iwae_bound")
def bound_by_package(log_w):
    return elbo.importance_weighted_bound(log_w)


@right("iwae_bound")
def bound_by_division_inside(log_w):
    return (log_w - log_w.new_tensor(len(log_w)).log()).logsumexp(0)


@wrong("iwae_bound", says="ELBO")
def bound_is_mean(log_w):
    return log_w.mean(dim=0)


@wrong("iwae_bound", says="log K is missing")
def bound_without_log_k(log_w):
    return torch.logsumexp(log_w, 0)


@wrong("iwae_bound", says="log K is added")
def bound_log_k_added(log_w):
    return torch.logsumexp(log_w, 0) + math.log(log_w.size(0))


@wrong("iwae_bound", says="must be log K")
def bound_minus_k(log_w):
    return torch.logsumexp(log_w, 0) - log_w.shape[0]


@wrong("iwae_bound", says="log of the sum is divided")
def bound_divided_by_k(log_w):
    return torch.logsumexp(log_w, 0) / log_w.shape[0]


@wrong("iwae_bound", says="log-weights are divided by K")
def bound_of_divided_logs(log_w):
    return torch.logsumexp(log_w / log_w.shape[0], 0)


@wrong("iwae_bound", says="stay in log space")
def bound_naive(log_w):
    return torch.log(torch.mean(torch.exp(log_w), dim=0))


@wrong("iwae_bound", says="mean of the weights; its logarithm")
def bound_not_logged(log_w):
    return torch.exp(log_w).mean(0)


@wrong("iwae_bound", says="over the data; it must")
def bound_over_data(log_w):
    return torch.logsumexp(log_w, 1) - math.log(log_w.shape[1])


@wrong("iwae_bound", says="size of axis 0")
def bound_counts_data(log_w):
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[-1])


@wrong("iwae_bound", says="data are mixed")
def bound_mixes_data(log_w):
    return torch.logsumexp(log_w, dim=(0, 1)) - math.log(log_w.numel())


@wrong("iwae_bound", says="averaged over the batch")
def bound_averaged(log_w):
    return bound_by_logsumexp(log_w).mean()


@wrong("iwae_bound", says="surrogate")
def bound_is_surrogate(log_w):
    return elbo.importance_weighted_surrogate(log_w)


@wrong("iwae_bound", says="under the shares")
def bound_is_weighted_mean(log_w):
    share = torch.exp(log_w - torch.logsumexp(log_w, 0))
    return (share * log_w).sum(0)


@wrong("iwae_bound", says="favour the worst sample")
def bound_favours_the_worst(log_w):
    return (torch.softmax(-log_w, dim=0) * log_w).sum(dim=0)


@wrong("iwae_bound", says="favour the worst sample")
def bound_favours_the_worst_held(log_w):
    with torch.no_grad():
        share = torch.softmax(-log_w, dim=0)
    return (share * log_w).sum(dim=0)


@wrong("iwae_bound", says="harmonic")
def bound_of_losses(log_w):
    loss = -log_w
    return -(torch.logsumexp(loss, 0) - math.log(len(loss)))


@wrong("iwae_bound", says="best log-weight alone")
def bound_is_max(log_w):
    return torch.amax(log_w, 0)


@wrong("iwae_bound", says="not added back")
def bound_shift_forgotten(log_w):
    return (log_w - log_w.max(0).values).exp().mean(0).log()


@wrong("iwae_bound", says="1e-08 inside")
def bound_with_epsilon(log_w):
    return torch.log(torch.exp(log_w).mean(0) + 1e-8)


@wrong("iwae_bound", says="sign")
def bound_as_loss(log_w):
    return math.log(len(log_w)) - torch.logsumexp(log_w, 0)


@wrong("iwae_bound", says="no gradient reaches log_w")
def bound_detached(log_w):
    return bound_by_logsumexp(log_w.detach())


@wrong("iwae_bound")
def bound_shifted_by_a_constant(log_w):
    return (log_w + 2000).exp().mean(0).log() - 2000


@wrong("iwae_bound", says="in place")
def bound_in_place(log_w):
    log_w -= math.log(len(log_w))
    return torch.logsumexp(log_w, 0)


# The order of the derivation


@right("elbo_derivation")
def order():
    return "CFEA"


@right("elbo_derivation")
def order_joined():
    return "".join(["C", "F", "E", "A"])


@right("elbo_derivation")
def order_stripped():
    return "cfea".upper().strip()


@wrong("elbo_derivation", says="not attempted|returns nothing")
def order_forgotten():
    return None


@wrong("elbo_derivation", says="Jensen")
def order_by_jensen():
    return "CBEA"


@wrong("elbo_derivation", says="Jensen")
def order_by_jensen_first():
    return "BA"


@wrong("elbo_derivation", says="log p.z . x. is subtracted")
def order_product_added():
    return "CDEA"


@wrong("elbo_derivation", says="minus the KL")
def order_kl_negative():
    return "CFEG"


@wrong("elbo_derivation", says="prior is missing")
def order_without_prior():
    return "CHEA"


@wrong("elbo_derivation", says="F must stand directly above")
def order_zero_first():
    return "CEFA"


@wrong("elbo_derivation", says="C must stand directly above")
def order_mean_later():
    return "FCEA"


@wrong("elbo_derivation", says="C must stand directly above")
def order_mean_left_out():
    return "FEA"


@wrong("elbo_derivation", says="all four logs")
def order_too_fast():
    return "CFA"


@wrong("elbo_derivation", says="two means")
def order_not_finished():
    return "CFE"


@wrong("elbo_derivation", says="from below")
def order_upwards():
    return "AEFC"


@wrong("elbo_derivation", says="capital")
def order_small():
    return "cfea"


@wrong("elbo_derivation", says="without anything between")
def order_with_commas():
    return "C, F, E, A"


@wrong("elbo_derivation", says="4 values; expected one text")
def order_as_list():
    return ["C", "F", "E", "A"]


@wrong("elbo_derivation", says="Jensen")
def order_ends_at_the_bound():
    return "CFEAB"


@wrong("elbo_derivation", says="prior is missing")
def order_two_false():
    return "CHEG"


@wrong("elbo_derivation", says="which is not right")
def order_all():
    return "ABCDEFGH"


# The notes, repaired


@right("gaussian_elbo")
def repaired_by_hand(x, means, variance, loc, logvar):
    squares = ((x - means) ** 2).sum(-1)
    constant = x.shape[-1] * torch.log(2 * math.pi * variance)
    log_density = -0.5 * (squares / variance + constant)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return log_density.mean(0) - kl


@right("gaussian_elbo")
def repaired_by_torch(x, means, variance, loc, logvar):
    p = Independent(Normal(means, torch.sqrt(variance)), 1)
    q = Independent(Normal(loc, torch.exp(logvar / 2)), 1)
    prior = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
    return p.log_prob(x).mean(dim=0) - kl_divergence(q, prior)


@right("gaussian_elbo")
def repaired_pixel_by_pixel(x, means, variance, loc, logvar):
    total = 0.5 * (1 + logvar - loc.square() - logvar.exp()).sum(-1)
    for pixel in range(x.shape[-1]):
        squares = (x[:, pixel] - means[..., pixel]).square().mean(0)
        total = total - squares / (2 * variance) - 0.5 * (2 * math.pi * variance).log()
    return total


def notes(x, means, variance, loc, logvar, *, pixels, normalizer, likelihoods, latents):
    """The lines of the page, each of them repaired or not."""
    n = x.shape[-1]
    error = ((x - means) ** 2).sum(-1) if pixels else ((x - means) ** 2).mean(-1)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1)
    kl = kl.sum(-1) if latents else kl.mean(-1)
    if likelihoods:
        count = n if normalizer else 1
        log_density = -error / (2 * variance) - count / 2 * torch.log(2 * math.pi * variance)
        return log_density.mean(0) - kl
    density = torch.exp(-error / (2 * variance))
    density = density / (2 * math.pi * variance) ** (n / 2 if normalizer else 0.5)
    return density.mean(0).log() - kl


@wrong("gaussian_elbo", says="all four faults .* as they were")
def repaired_nothing(x, means, variance, loc, logvar):
    error = ((x - means) ** 2).mean(-1)
    density = torch.exp(-error / (2 * variance))
    density = density / (2 * math.pi * variance).sqrt()
    reconstruction = density.mean(0).log()
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).mean(-1)
    return reconstruction - kl


@wrong("gaussian_elbo", says="one fault .* averaged over the pixels")
def repaired_but_pixels(*given):
    return notes(*given, pixels=False, normalizer=True, likelihoods=True, latents=True)


@wrong("gaussian_elbo", says="one fault .* one pixel's")
def repaired_but_normalizer(*given):
    return notes(*given, pixels=True, normalizer=False, likelihoods=True, latents=True)


@wrong("gaussian_elbo", says="one fault .* likelihoods are averaged.*underflow")
def repaired_but_likelihoods(*given):
    return notes(*given, pixels=True, normalizer=True, likelihoods=False, latents=True)


@wrong("gaussian_elbo", says="one fault .* likelihoods are averaged")
def repaired_but_log_mean(x, means, variance, loc, logvar):
    log_density = Normal(means, variance.sqrt()).log_prob(x).sum(-1)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return log_density.logsumexp(0) - math.log(len(means)) - kl


@wrong("gaussian_elbo", says="log space")
def repaired_in_densities(x, means, variance, loc, logvar):
    pixels = torch.exp(-((x - means) ** 2) / (2 * variance)) / (2 * math.pi * variance).sqrt()
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return pixels.prod(-1).log().mean(0) - kl


@wrong("gaussian_elbo", says="one fault .* KL is averaged")
def repaired_but_latents(*given):
    return notes(*given, pixels=True, normalizer=True, likelihoods=True, latents=False)


@wrong("gaussian_elbo", says="two faults .* over the pixels.* one pixel's")
def repaired_but_pixels_and_normalizer(x, means, variance, loc, logvar):
    log_density = Normal(means, variance.sqrt()).log_prob(x).mean(-1)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return log_density.mean(0) - kl


@wrong("gaussian_elbo", says="two faults .* over the pixels.* the KL")
def repaired_but_both_averaged(*given):
    return notes(*given, pixels=False, normalizer=True, likelihoods=True, latents=False)


@wrong("gaussian_elbo", says="two faults .* over the pixels.* likelihoods are averaged")
def repaired_but_pixels_and_likelihoods(*given):
    return notes(*given, pixels=False, normalizer=True, likelihoods=False, latents=True)


@wrong("gaussian_elbo", says="two faults .* one pixel's.* likelihoods are averaged")
def repaired_but_normalizer_and_likelihoods(*given):
    return notes(*given, pixels=True, normalizer=False, likelihoods=False, latents=True)


@wrong("gaussian_elbo", says="two faults .* one pixel's.* the KL")
def repaired_but_normalizer_and_latents(*given):
    return notes(*given, pixels=True, normalizer=False, likelihoods=True, latents=False)


@wrong("gaussian_elbo", says="two faults .* likelihoods are averaged.* the KL")
def repaired_but_likelihoods_and_latents(*given):
    return notes(*given, pixels=True, normalizer=True, likelihoods=False, latents=False)


@wrong("gaussian_elbo", says="three faults .* only that of the pixels")
def repaired_pixels_only(*given):
    return notes(*given, pixels=True, normalizer=False, likelihoods=False, latents=False)


@wrong("gaussian_elbo", says="three faults .* only that of the latents")
def repaired_latents_only(*given):
    return notes(*given, pixels=False, normalizer=False, likelihoods=False, latents=True)


@wrong("gaussian_elbo", says="three faults .* only that of the likelihoods")
def repaired_likelihoods_only(*given):
    return notes(*given, pixels=False, normalizer=False, likelihoods=True, latents=False)


@wrong("gaussian_elbo", says="KL is added")
def repaired_kl_added(x, means, variance, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return repaired_by_hand(x, means, variance, loc, logvar) + 2 * kl


@wrong("gaussian_elbo", says="KL is missing")
def repaired_without_kl(x, means, variance, loc, logvar):
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0)


@wrong("gaussian_elbo", says="a loss")
def repaired_as_loss(*given):
    return -repaired_by_torch(*given)


@wrong("gaussian_elbo", says="normalizer is missing")
def repaired_without_normalizer(x, means, variance, loc, logvar):
    n = x.shape[-1]
    constant = 0.5 * n * torch.log(2 * math.pi * variance)
    return repaired_by_torch(x, means, variance, loc, logvar) + constant


@wrong("gaussian_elbo", says="log 2π is missing")
def repaired_without_log_two_pi(*given):
    return repaired_by_torch(*given) + 0.5 * math.log(2 * math.pi) * given[0].shape[-1]


@wrong("gaussian_elbo", says="counted once for each pixel")
def repaired_constant_too_often(x, means, variance, loc, logvar):
    n = x.shape[-1]
    each = -((x - means) ** 2) / (2 * variance) - n / 2 * (2 * math.pi * variance).log()
    return each.sum(-1).mean(0) - 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)


@wrong("gaussian_elbo", says="divided by 2σ²")
def repaired_without_half(x, means, variance, loc, logvar):
    more = ((x - means) ** 2).sum(-1).mean(0) / (2 * variance)
    return repaired_by_hand(x, means, variance, loc, logvar) - more


@wrong("gaussian_elbo", says="variance is taken for σ")
def repaired_variance_as_scale(x, means, variance, loc, logvar):
    return repaired_by_hand(x, means, variance**2, loc, logvar)


@wrong("gaussian_elbo", says="decoded means are averaged")
def repaired_one_mean(x, means, variance, loc, logvar):
    return repaired_by_hand(x, means.mean(0, keepdim=True), variance, loc, logvar)


@wrong("gaussian_elbo", says="only the first sample")
def repaired_one_sample(x, means, variance, loc, logvar):
    return repaired_by_torch(x, means[:1], variance, loc, logvar)


@wrong("gaussian_elbo", says="averaged over the batch")
def repaired_batch_mean(*given):
    return repaired_by_torch(*given).mean()


@wrong("gaussian_elbo", says="log σ², not log σ")
def repaired_logvar_as_log_scale(x, means, variance, loc, logvar):
    return repaired_by_hand(x, means, variance, loc, 2 * logvar)


@wrong("gaussian_elbo", says="no gradient reaches variance")
def repaired_variance_detached(x, means, variance, loc, logvar):
    return repaired_by_hand(x, means, variance.detach(), loc, logvar)


@wrong("gaussian_elbo")
def repaired_as_root_mean_square(x, means, variance, loc, logvar):
    error = ((x - means) ** 2).sum(-1).sqrt()
    log_density = -error / (2 * variance) - 0.5 * x.shape[-1] * (2 * math.pi * variance).log()
    return log_density.mean(0) - 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)


# Found by a reader of the checks


@wrong("bernoulli_log_likelihood", says="probs=")
def pixels_of_probs(x, logits):
    return Bernoulli(probs=logits, validate_args=False).log_prob(x).sum(-1)


@wrong("iwae_bound", says="log space")
def iwae_one_maximum(log_w):
    return (log_w - log_w.max()).exp().mean(0).log() + log_w.max()


# Found by ten who tried to be wrong, and right


@right("bernoulli_log_likelihood")
def pixels_by_stable_softplus(x, logits):
    return (x * logits - logits.clamp(min=0) - torch.log1p(torch.exp(-logits.abs()))).sum(-1)


@wrong("bernoulli_log_likelihood", says="log space")
def pixels_nan_to_num(x, logits):
    p = torch.sigmoid(logits)
    each = x * p.log() + (1 - x) * (1 - p).log()
    return torch.nan_to_num(each).sum(-1)


@wrong("bernoulli_log_likelihood", says="784")
def pixels_mean_times_784(x, logits):
    return -784 * functional.binary_cross_entropy_with_logits(logits, x, reduction="none").mean(-1)


@wrong("bernoulli_log_likelihood", says="has the shape")
def pixels_over_the_first_axis(x, logits):
    return pixels_by_softplus(x.transpose(0, -1), logits.transpose(0, -1))


@wrong("bernoulli_log_likelihood", says="in place")
def pixels_in_place(x, logits):
    x.mul_(2).sub_(1)
    return functional.logsigmoid(x * logits).sum(-1)


@wrong("bernoulli_log_likelihood", says="result is torch.float64")
def pixels_in_a_wider_type(x, logits):
    return pixels_by_softplus(x.double(), logits.double())


@wrong("bernoulli_log_likelihood")
def pixels_thresholded(x, logits):
    return (((logits > 0) == (x > 0.5)).to(x) * 1.0).sum(-1)


@right("elbo_estimate")
def estimate_by_multivariate(log_joint, q, z):
    whole = MultivariateNormal(q.loc, scale_tril=torch.diag_embed(q.scale))
    return torch.mean(log_joint(z) - whole.log_prob(z), dim=0)


@wrong("elbo_estimate", says="log space")
def estimate_by_product(log_joint, q, z):
    density = q.log_prob(z).exp().prod(-1)
    return (log_joint(z) - density.log()).mean(0)


@wrong("elbo_estimate", says="cut at 0")
def estimate_never_positive(log_joint, q, z):
    return mean_of_log_weights(log_joint, q, z).clamp(max=0)


@wrong("elbo_estimate", says="q's density is subtracted")
def estimate_with_density(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1).exp()).mean(0)


@wrong("elbo_estimate", says="densities are averaged before")
def estimate_with_log_of_mean_density(log_joint, q, z):
    log_q = torch.logsumexp(q.log_prob(z).sum(-1), 0) - math.log(len(z))
    return log_joint(z).mean(0) - log_q


@wrong("elbo_estimate", says="not by one less")
def estimate_by_n_minus_one(log_joint, q, z):
    return (log_joint(z) - q.log_prob(z).sum(-1)).sum(0) / (len(z) - 1)


@wrong("elbo_estimate", says="without the KL")
def estimate_with_q_at_the_prior(log_joint, q, z):
    log_prior = Normal(0.0, 1.0).log_prob(z).sum(-1)
    return (log_joint(z) - log_prior).mean(0)


@wrong("elbo_estimate", says="½ log 2π for each of the latent dimensions")
def estimate_without_constant(log_joint, q, z):
    log_q = (-0.5 * ((z - q.loc) / q.scale) ** 2 - q.scale.log()).sum(-1)
    return (log_joint(z) - log_q).mean(0)


@wrong("elbo_estimate", says="in place")
def estimate_in_place(log_joint, q, z):
    log_w = log_joint(z) - q.log_prob(z).sum(-1)
    z.data.sub_(q.loc.data)
    return log_w.mean(0)


@right("iwae_bound")
def bound_by_log_softmax(log_w):
    return log_w[0] - torch.log_softmax(log_w, 0)[0] - math.log(len(log_w))


@wrong("iwae_bound")
def bound_clamped(log_w):
    return log_w.clamp(-700, 700).exp().mean(0).log()


@wrong("iwae_bound", says="cut at 0")
def bound_never_positive(log_w):
    return bound_by_logsumexp(log_w).clamp(max=0)


@wrong("iwae_bound", says="K − 1")
def bound_by_k_minus_one(log_w):
    return torch.logsumexp(log_w, 0) - math.log(max(len(log_w) - 1, 1))


@wrong("iwae_bound")
def bound_median(log_w):
    return log_w.median(0).values


@wrong("iwae_bound", says="base 2")
def bound_with_log2(log_w):
    return torch.logsumexp(log_w, 0) - math.log2(len(log_w))


@wrong("iwae_bound", says="log space")
def bound_shifted_by_the_mean(log_w):
    return (log_w - log_w.mean(0)).exp().mean(0).log() + log_w.mean(0)


@wrong("elbo_derivation", says="letters only")
def order_with_arrows():
    return "C=F=E=A"


@wrong("elbo_derivation")
def order_with_ends():
    return "log p(x) = C = F = E = A = ELBO + KL"


@wrong("elbo_derivation")
def order_as_numbers():
    return 3654


@wrong("elbo_derivation", says="E stands twice")
def order_twice():
    return "CFEEA"


@wrong("elbo_derivation", says="type set")
def order_set():
    return {"C", "F", "E", "A"}


@right("gaussian_elbo")
def repaired_by_a_loss_of_torch(x, means, variance, loc, logvar):
    nll = functional.gaussian_nll_loss(
        means, x.expand_as(means), variance.expand_as(means), full=True, reduction="none"
    )
    prior = Normal(torch.zeros_like(loc), torch.ones_like(loc))
    return -nll.sum(-1).mean(0) - kl_divergence(Normal(loc, (0.5 * logvar).exp()), prior).sum(-1)


@wrong("gaussian_elbo", says="cut at 0")
def repaired_never_positive(*given):
    return repaired_by_torch(*given).clamp(max=0)


@right("gaussian_elbo")
def repaired_with_kl_kept_positive(x, means, variance, loc, logvar):
    """A KL is never negative, so the clamp does nothing."""
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1).clamp(min=0)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo", says="x is rounded")
def repaired_with_rounded_pixels(x, means, variance, loc, logvar):
    return repaired_by_torch(x.round(), means, variance, loc, logvar)


@wrong("gaussian_elbo")
def repaired_with_bfloat16_pixels(x, means, variance, loc, logvar):
    log_density = Normal(means, variance.sqrt()).log_prob(x).bfloat16().to(x).sum(-1)
    return log_density.mean(0) - 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)


@wrong("gaussian_elbo")
def repaired_with_epsilon_in_variance(x, means, variance, loc, logvar):
    return repaired_by_torch(x, means, variance + 1e-6, loc, logvar)


@wrong("gaussian_elbo")
def repaired_with_epsilon_in_scale(x, means, variance, loc, logvar):
    p = Normal(means, variance.sqrt() + 1e-8)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return p.log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo")
def repaired_with_epsilon_in_kl(x, means, variance, loc, logvar):
    sigma = torch.exp(0.5 * logvar) + 1e-6
    kl = 0.5 * (loc**2 + sigma**2 - torch.log(sigma**2) - 1).sum(-1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo", says="in place")
def repaired_in_place(x, means, variance, loc, logvar):
    result = repaired_by_torch(x, means, variance, loc, logvar)
    means.data -= x.data
    return result


@wrong("gaussian_elbo", says="has the shape")
def repaired_kl_not_summed(x, means, variance, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0)[:, None] - kl


@wrong("gaussian_elbo")
def repaired_with_free_bits(x, means, variance, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).clamp(min=0.1).sum(-1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo", says="not by one less")
def repaired_samples_by_n_minus_one(x, means, variance, loc, logvar):
    log_density = Normal(means, variance.sqrt()).log_prob(x).sum(-1)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    return log_density.sum(0) / (len(means) - 1) - kl


@wrong("gaussian_elbo", says="KL.prior ‖ q.")
def repaired_with_reverse_kl(x, means, variance, loc, logvar):
    prior = Normal(torch.zeros_like(loc), torch.ones_like(loc))
    kl = kl_divergence(prior, Normal(loc, torch.exp(0.5 * logvar))).sum(-1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo", says="wrong sign")
def repaired_logvar_sign(x, means, variance, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() + logvar - 1).sum(-1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo", says="0.5 for each of the latent")
def repaired_kl_without_one(x, means, variance, loc, logvar):
    kl = 0.5 * (loc**2 + logvar.exp() - logvar).sum(-1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl


@wrong("gaussian_elbo", says="stands once")
def repaired_kl_one_once(x, means, variance, loc, logvar):
    kl = 0.5 * ((loc**2 + logvar.exp() - logvar).sum(-1) - 1)
    return Normal(means, variance.sqrt()).log_prob(x).sum(-1).mean(0) - kl
