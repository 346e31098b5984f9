"""Answers to the exercises of chapter train."""

import functools
import math

import numpy as np
import torch
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits, softplus

from wrong_answers import right, wrong

# log p(x) in chunks


@right("streamed_log_mean")
def logaddexp(chunks):
    total, samples = None, 0
    for log_w in chunks:
        part = torch.logsumexp(log_w, dim=0)
        total = part if total is None else torch.logaddexp(total, part)
        samples += len(log_w)
    return total - math.log(samples)


@right("streamed_log_mean")
def running_maximum(chunks):
    samples = 0
    for log_w in chunks:
        if samples == 0:
            top = log_w.max(0).values
            total = torch.zeros_like(top)
        highest = torch.maximum(top, log_w.max(0).values)
        total = total * torch.exp(top - highest) + torch.exp(log_w - highest).sum(0)
        top = highest
        samples += log_w.shape[0]
    return top + torch.log(total / samples)


@right("streamed_log_mean")
def running_mean(chunks):
    mean, samples = -math.inf, 0
    for log_w in chunks:
        k = len(log_w)
        before = torch.full_like(log_w[:1], 0) + mean + math.log(max(samples, 1))
        samples += k
        mean = torch.cat([before, log_w]).logsumexp(0) - math.log(samples)
    return mean


@right("streamed_log_mean")
def results_of_chunks(chunks):
    """Keeps one row for each chunk."""
    sums, sizes = zip(*((c.logsumexp(0), len(c)) for c in chunks), strict=True)
    return torch.logsumexp(torch.stack(sums), 0) - math.log(sum(sizes))


@right("streamed_log_mean")
def reduced(chunks):
    def step(state, chunk):
        return torch.logaddexp(state[0], chunk.logsumexp(0)), state[1] + chunk.shape[0]

    total, k = functools.reduce(step, chunks, (torch.tensor(float("-inf")), 0))
    return total - math.log(k)


@right("streamed_log_mean")
def sample_by_sample(chunks):
    first = next(chunks)
    total, k = first.logsumexp(0), len(first)
    del first
    for chunk in chunks:
        for row in chunk:
            total = torch.logaddexp(total, row)
            k += 1
        del chunk, row
    return total - math.log(k)


@wrong("streamed_log_mean", says="Jensen")
def mean_of_chunks(chunks):
    return torch.stack([c.logsumexp(0) - math.log(len(c)) for c in chunks]).mean(0)


@wrong("streamed_log_mean", says="averaged by their sizes.*Jensen")
def weighted_mean_of_chunks(chunks):
    total, k = 0, 0
    for c in chunks:
        total = total + len(c) * (c.logsumexp(0) - math.log(len(c)))
        k += len(c)
    return total / k


@wrong("streamed_log_mean", says="twice the samples must count twice")
def sizes_forgotten(chunks):
    parts = torch.stack([torch.logsumexp(c, 0) - math.log(c.shape[0]) for c in chunks])
    return torch.logsumexp(parts, 0) - math.log(len(parts))


@wrong("streamed_log_mean", says="divided by the number of chunks")
def number_of_chunks(chunks):
    total, n = torch.tensor(-math.inf), 0
    for c in chunks:
        total = torch.logaddexp(total, c.logsumexp(0))
        n += 1
    return total - math.log(n)


@wrong("streamed_log_mean", says="not the size of the last times their number")
def equal_sizes(chunks):
    total, n = torch.tensor(-math.inf), 0
    for c in chunks:
        total = torch.logaddexp(total, c.logsumexp(0))
        n += 1
    return total - math.log(n * len(c))


@wrong("streamed_log_mean", says="divided by the size of the last chunk")
def last_size(chunks):
    total = torch.tensor(-math.inf)
    for c in chunks:
        total = torch.logaddexp(total, c.logsumexp(0))
        k = len(c)
    return total - math.log(k)


@wrong("streamed_log_mean", says="chunks' means are added")
def means_added(chunks):
    total = torch.tensor(-math.inf)
    for c in chunks:
        total = torch.logaddexp(total, c.logsumexp(0) - math.log(len(c)))
    return total


@wrong("streamed_log_mean", says="−log K is missing")
def sum_of_weights(chunks):
    total = torch.tensor(-math.inf)
    for c in chunks:
        total = torch.logaddexp(total, c.logsumexp(0))
    return total


@wrong("streamed_log_mean", says="mean log-weight, an ELBO")
def elbo(chunks):
    total, k = 0, 0
    for c in chunks:
        total, k = total + c.sum(0), k + len(c)
    return total / k


@wrong("streamed_log_mean", says="underflow or overflow")
def no_maximum(chunks):
    total, k = 0, 0
    for c in chunks:
        total, k = total + c.exp().sum(0), k + len(c)
    return (total / k).log()


@wrong("streamed_log_mean", says="underflow or overflow")
def a_tiny_number_added(chunks):
    """As numbers often are kept from log 0."""
    total, k = 0, 0
    for c in chunks:
        total, k = total + c.exp().sum(0), k + len(c)
    return torch.log(total) - math.log(k)


@wrong("streamed_log_mean")
def epsilon(chunks):
    total, k = 0, 0
    for c in chunks:
        total, k = total + c.exp().sum(0), k + len(c)
    return torch.log(total / k + 1e-12)


@wrong("streamed_log_mean", says="starts at 0")
def maximum_from_zero(chunks):
    top, total, k = torch.zeros(1), 0, 0
    for c in chunks:
        highest = torch.maximum(top, c.amax(0))
        total = total * torch.exp(top - highest) + torch.exp(c - highest).sum(0)
        top, k = highest, k + len(c)
    return top + (total / k).log()


@wrong("streamed_log_mean", says="older sum must be scaled down")
def not_rescaled(chunks):
    top, total, k = torch.tensor(-math.inf), 0, 0
    for c in chunks:
        top = torch.maximum(top, c.amax(0))
        total = total + torch.exp(c - top).sum(0)
        k += len(c)
    return top + (total / k).log()


@wrong("streamed_log_mean", says=r"exp\(new − old\)")
def rescaled_the_wrong_way(chunks):
    k = 0
    for c in chunks:
        if k == 0:
            top = c.amax(0)
            total = torch.exp(c - top).sum(0)
        else:
            highest = torch.maximum(top, c.amax(0))
            total = total * torch.exp(highest - top) + torch.exp(c - highest).sum(0)
            top = highest
        k += len(c)
    return top + torch.log(total) - math.log(k)


@wrong("streamed_log_mean", says="one maximum for all data")
def one_maximum(chunks):
    top, total, k = torch.tensor(-math.inf), 0, 0
    for c in chunks:
        highest = torch.maximum(top, c.max())
        total = total * torch.exp(top - highest) + torch.exp(c - highest).sum(0)
        top, k = highest, k + len(c)
    return top + (total / k).log()


@wrong("streamed_log_mean", says="largest log-weight")
def largest(chunks):
    return functools.reduce(torch.maximum, (c.amax(0) for c in chunks))


@wrong("streamed_log_mean", says="only the last chunk")
def overwritten(chunks):
    for c in chunks:
        result = c.logsumexp(0) - math.log(len(c))
    return result


@wrong("streamed_log_mean", says="only the first chunk")
def returned_in_the_loop(chunks):
    for c in chunks:
        return c.logsumexp(0) - math.log(len(c))
    raise ValueError("no chunks")


@wrong("streamed_log_mean", says="chunks 1 and 2 are still in memory when .* is asked for")
def stacked(chunks):
    log_w = torch.cat(list(chunks))
    return log_w.logsumexp(0) - math.log(len(log_w))


@wrong("streamed_log_mean", says="chunks 1 and 2 are still in memory")
def twice_through_a_list(chunks):
    kept = list(chunks)
    top = functools.reduce(torch.maximum, [c.amax(0) for c in kept])
    total = sum(torch.exp(c - top).sum(0) for c in kept)
    return top + torch.log(total / sum(len(c) for c in kept))


@wrong("streamed_log_mean", says="holds more than one chunk")
def grown(chunks):
    log_w = next(chunks)
    for c in chunks:
        log_w = torch.cat([log_w, c])
    return log_w.logsumexp(0) - math.log(len(log_w))


@wrong("streamed_log_mean", says="holds more than one chunk")
def copies_stacked(chunks):
    log_w = torch.cat([c.double() + 0 for c in chunks])
    return log_w.logsumexp(0) - math.log(len(log_w))


@wrong("streamed_log_mean", says="still in memory")
def views_kept(chunks):
    rows = [row for c in chunks for row in c]
    return torch.logsumexp(torch.stack(rows), 0) - math.log(len(rows))


@wrong("streamed_log_mean", says="averaged over the batch")
def mean_over_the_batch(chunks):
    return logaddexp(chunks).mean()


@wrong("streamed_log_mean")
def over_the_data(chunks):
    return torch.cat([c.logsumexp(1) for c in chunks])


@wrong("streamed_log_mean", says=r"p\(x\) itself")
def not_a_logarithm(chunks):
    total, k = 0, 0
    for c in chunks:
        total, k = total + c.exp().sum(0), k + len(c)
    return total / k


# Active units


@right("active_latents")
def by_var(loc, logvar, threshold):
    return loc.var(0) > threshold


@right("active_latents")
def by_hand(loc, logvar, threshold):
    centred = loc - loc.mean(dim=0, keepdim=True)
    return torch.gt(centred.square().mean(dim=0), threshold)


@right("active_latents")
def by_covariance(loc, logvar, threshold):
    covariance = torch.atleast_2d(torch.cov(loc.mT, correction=0))  # of one latent it is a number
    return torch.diagonal(covariance) > threshold


@right("active_latents")
def unit_by_unit(loc, logvar, threshold):
    return torch.tensor([bool(unit.std() > threshold**0.5) for unit in loc.T])


@wrong("active_latents", says="constant but not 0")
def mean_square(loc, logvar, threshold):
    return loc.pow(2).mean(0) > threshold


@wrong("active_latents", says="mean absolute value")
def mean_absolute(loc, logvar, threshold):
    return loc.abs().mean(dim=0) > threshold


@wrong("active_latents", says="how much it varies")
def mean_alone(loc, logvar, threshold):
    return torch.abs(loc.mean(0)) > threshold


@wrong("active_latents", says="variance of samples")
def total_variance(loc, logvar, threshold):
    aggregate = loc.var(0, correction=0) + torch.exp(logvar).mean(0)
    return aggregate > threshold


@wrong("active_latents", says="posterior's own variance")
def own_variance(loc, logvar, threshold):
    return torch.exp(logvar).mean(0) > threshold


@wrong("active_latents", says="standard deviation")
def standard_deviation(loc, logvar, threshold):
    return loc.std(0) > threshold


@wrong("active_latents", says="the KL is compared")
def by_kl(loc, logvar, threshold):
    q = Normal(loc, torch.exp(0.5 * logvar))
    return kl_divergence(q, Normal(0.0, 1.0)).mean(0) > threshold


@wrong("active_latents", says="optimum of a linear VAE")
def one_minus_variance(loc, logvar, threshold):
    return 1 - logvar.exp().mean(0) > threshold


@wrong("active_latents", says="divided by n")
def variance_of_the_mean(loc, logvar, threshold):
    return loc.var(0) / loc.shape[0] > threshold


@wrong("active_latents", says="range")
def anything_moved(loc, logvar, threshold):
    return loc.max(0).values - loc.min(0).values > threshold


@wrong("active_latents", says="variance is taken of logvar")
def varying_widths(loc, logvar, threshold):
    return logvar.var(0) > threshold


@wrong("active_latents", says="over the latent dimensions of a datum")
def wrong_axis(loc, logvar, threshold):
    return loc.var(-1, correction=0) > threshold


@wrong("active_latents", says="not active")
def turned_round(loc, logvar, threshold):
    return loc.var(0) < threshold


@wrong("active_latents", says="variances themselves")
def not_compared(loc, logvar, threshold):
    return loc.var(0)


@wrong("active_latents", says="number of active units")
def counted(loc, logvar, threshold):
    return (loc.var(0) > threshold).sum()


@wrong("active_latents")
def threshold_fixed(loc, logvar, threshold):
    return loc.var(0) > 0.01


@wrong("active_latents")
def scalar(loc, logvar, threshold):
    return loc.var() > threshold


@wrong("active_latents")
def indices(loc, logvar, threshold):
    return (loc.var(0) > threshold).nonzero()[:, 0]


@wrong("active_latents")
def from_samples(loc, logvar, threshold):
    z = loc + torch.exp(0.5 * logvar) * torch.randn_like(loc)
    return z.var(0) > threshold


@wrong("active_latents", says="float64, but not in float32|cancels")
def cancels(loc, logvar, threshold):
    return (loc**2).mean(0) - loc.mean(0) ** 2 > threshold


@wrong("active_latents", says="in place")
def centred_in_place(loc, logvar, threshold):
    loc -= loc.mean(0)
    return (loc**2).mean(0) > threshold


# The ELBO in mixed precision


@right("mixed_elbo")
def cast_to_x(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    log_likelihood = (x * logits - softplus(logits)).sum(-1)
    return log_likelihood - 0.5 * (loc**2 + logvar.exp() - 1 - logvar).sum(-1)


@right("mixed_elbo")
def always_float32(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    loc, logvar = loc.float(), logvar.float()
    z = torch.addcmul(loc, (logvar / 2).exp(), eps.float())
    nll = binary_cross_entropy_with_logits(decoder(z).float(), x.float(), reduction="none")
    kl = -0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=1)
    return -nll.sum(dim=1) - kl


@right("mixed_elbo")
def always_float64(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    q = Independent(Normal(loc.double(), (0.5 * logvar.double()).exp()), 1)
    logits = decoder(q.mean + q.stddev * eps.double())
    p = Independent(Bernoulli(logits=logits.double()), 1)
    prior = Independent(Normal(torch.zeros_like(q.mean), torch.ones_like(q.mean)), 1)
    return (p.log_prob(x.double()) - kl_divergence(q, prior)).to(x.dtype)


@right("mixed_elbo")
def z_in_bfloat16_for_the_decoder_only(encoder, decoder, x, eps):
    """The decoder rounds it anyway."""
    loc, logvar = (output.to(eps.dtype) for output in encoder(x))
    z = loc + torch.exp(0.5 * logvar) * eps
    w = decoder(z.bfloat16()).to(x.dtype)
    signs = 2 * x - 1
    kl = 0.5 * (loc**2 + torch.expm1(logvar) - logvar).sum(-1)
    return torch.nn.functional.logsigmoid(signs * w).sum(-1) - kl


def kl_of(loc, logvar):
    return 0.5 * (loc**2 + logvar.exp() - 1 - logvar).sum(-1)


@wrong("mixed_elbo", says="everything is computed in bfloat16")
def all_bfloat16(encoder, decoder, x, eps):
    x, eps = x.bfloat16(), eps.bfloat16()
    loc, logvar = encoder(x)
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="a cast at the end")
def cast_at_the_end(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    z = loc + torch.exp(0.5 * logvar) * eps.bfloat16()
    logits = decoder(z)
    log_likelihood = (x.bfloat16() * logits - softplus(logits)).sum(-1)
    return (log_likelihood - kl_of(loc, logvar)).to(x.dtype)


@wrong("mixed_elbo", says="nothing is cast")
def no_cast_at_all(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_likelihood = (x * logits - softplus(logits)).sum(-1)
    return log_likelihood - kl_of(loc, logvar)


@wrong("mixed_elbo", says="only z is not")
def only_z_cast(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    logits = decoder(loc.double() + torch.exp(0.5 * logvar.double()) * eps)
    log_likelihood = (x.bfloat16() * logits - softplus(logits)).sum(-1)
    return log_likelihood - kl_of(loc, logvar)


@wrong("mixed_elbo", says="z is computed in bfloat16")
def z_rounded(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    z = loc + torch.exp(0.5 * logvar) * eps.to(loc.dtype)
    logits = decoder(z).to(x.dtype)
    log_likelihood = (x * logits - softplus(logits)).sum(-1)
    return log_likelihood - kl_of(loc.to(x.dtype), logvar.to(x.dtype))


@wrong("mixed_elbo", says="σ is computed in bfloat16")
def scale_rounded(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    std = torch.exp(0.5 * logvar).to(x.dtype)
    loc, logvar = loc.to(x.dtype), logvar.to(x.dtype)
    logits = decoder(loc + std * eps).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="z and the KL are computed in bfloat16")
def only_logits_cast(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    z = loc + torch.exp(0.5 * logvar) * eps.bfloat16()
    logits = decoder(z).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="log-likelihood is computed in bfloat16")
def likelihood_rounded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_likelihood = (x.to(logits.dtype) * logits - softplus(logits)).sum(-1)
    return log_likelihood.to(x.dtype) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="softplus is computed in bfloat16")
def softplus_rounded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps)
    log_likelihood = (x * logits - softplus(logits)).sum(-1)
    return log_likelihood - kl_of(loc, logvar)


@wrong("mixed_elbo", says="sum over the pixels is rounded")
def sum_rounded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    log_likelihood = (x * logits - softplus(logits)).sum(-1).bfloat16()
    return log_likelihood - kl_of(loc, logvar)


@wrong("mixed_elbo")
def bfloat16_pixel_by_pixel(encoder, decoder, x, eps):
    """A sum kept in bfloat16 loses what is smaller than half a step."""
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    total = torch.zeros(len(x), dtype=torch.bfloat16)
    for pixel in (x * logits - softplus(logits)).bfloat16().unbind(-1):
        total = total + pixel
    return total - kl_of(loc, logvar)


@wrong("mixed_elbo", says="KL is computed in bfloat16")
def kl_rounded(encoder, decoder, x, eps):
    loc, logvar = encoder(x)
    z = loc.to(x.dtype) + torch.exp(0.5 * logvar.to(x.dtype)) * eps
    logits = decoder(z).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="result is rounded to bfloat16")
def returned_as_bfloat16(encoder, decoder, x, eps):
    return cast_to_x(encoder, decoder, x, eps).to(torch.bfloat16)


@wrong("mixed_elbo", says="averaged over the batch")
def mean_of_the_batch(encoder, decoder, x, eps):
    return cast_to_x(encoder, decoder, x, eps).mean()


@wrong("mixed_elbo", says="the KL is added")
def kl_added(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) + kl_of(loc, logvar)


@wrong("mixed_elbo", says="KL is missing")
def likelihood_alone(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    return -binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


@wrong("mixed_elbo", says="−ELBO, a loss")
def loss(encoder, decoder, x, eps):
    return -cast_to_x(encoder, decoder, x, eps)


@wrong("mixed_elbo", says="½ of the KL")
def half_forgotten(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - 2 * kl_of(loc, logvar)


@wrong("mixed_elbo", says="pixels are averaged")
def pixels_averaged(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    return (x * logits - softplus(logits)).mean(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="decoder gets loc")
def mean_decoded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="logvar is log σ²")
def variance_as_scale(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(logvar) * eps).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="two calls")
def noise_of_its_own(encoder, decoder, x, eps):
    return cast_to_x(encoder, decoder, x, torch.randn_like(eps))


@wrong("mixed_elbo")
def probabilities(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    p = torch.sigmoid(decoder(loc + torch.exp(0.5 * logvar) * eps)).to(x.dtype)
    return -binary_cross_entropy(p, x, reduction="none").sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="overflows or underflows|stay in log space")
def logarithm_of_probabilities(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    p = torch.sigmoid(decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype))
    log_likelihood = torch.where(x > 0, p.log(), (1 - p).log()).sum(-1)
    return log_likelihood - kl_of(loc, logvar)


# Found by ten who tried to be wrong, and right


@right("streamed_log_mean")
def first_kept(chunks):
    first = next(chunks)
    total, k = first.logsumexp(0), len(first)
    for c in chunks:
        total = torch.logaddexp(total, c.logsumexp(0))
        k += len(c)
    return total - math.log(k)


@right("streamed_log_mean")
def looking_ahead(chunks):
    total, k, following = torch.tensor(-math.inf), 0, next(chunks)
    while following is not None:
        current, following = following, next(chunks, None)
        total = torch.logaddexp(total, current.logsumexp(0))
        k += len(current)
    return total - math.log(k)


@right("streamed_log_mean")
def summed_by_numpy(chunks):
    total, k = -np.inf, 0
    for c in chunks:
        total = np.logaddexp(total, np.logaddexp.reduce(c.numpy(), axis=0))
        k += c.shape[0]
    return torch.from_numpy(total - np.log(k))


@wrong("streamed_log_mean", says="chunk 1 has been changed in place")
def shifted_in_place(chunks):
    total, k = torch.tensor(-math.inf), 0
    for c in chunks:
        top = c.amax(0)
        c -= top
        total = torch.logaddexp(total, top + c.exp().sum(0).log())
        k += len(c)
    return total - math.log(k)


@wrong("streamed_log_mean", says="chunks 1 and 2 are still in memory")
def two_at_a_time(chunks):
    kept = []
    total, k = torch.tensor(-math.inf), 0
    for c in chunks:
        kept.append(c)
        total = torch.logaddexp(total, c.logsumexp(0))
        k += len(c)
    return total - math.log(k)


@wrong("streamed_log_mean", says="K − 1")
def one_sample_less(chunks):
    total, k = torch.tensor(-math.inf), 0
    for c in chunks:
        total, k = torch.logaddexp(total, c.logsumexp(0)), k + len(c)
    return total - math.log(max(k - 1, 1))


@wrong("streamed_log_mean", says="log K is added")
def k_added(chunks):
    total, k = torch.tensor(-math.inf), 0
    for c in chunks:
        total, k = torch.logaddexp(total, c.logsumexp(0)), k + len(c)
    return total + math.log(k)


@wrong("streamed_log_mean", says="must be log K")
def k_without_log(chunks):
    total, k = torch.tensor(-math.inf), 0
    for c in chunks:
        total, k = torch.logaddexp(total, c.logsumexp(0)), k + len(c)
    return total - k


@wrong("streamed_log_mean", says="log of the sum is divided")
def log_sum_divided(chunks):
    total, k = torch.tensor(-math.inf), 0
    for c in chunks:
        total, k = torch.logaddexp(total, c.logsumexp(0)), k + len(c)
    return total / k


@wrong("streamed_log_mean", says="starts at 0, and that")
def log_sum_from_zero(chunks):
    total, k = torch.tensor(0.0), 0
    for c in chunks:
        total, k = torch.logaddexp(total, c.logsumexp(0)), k + len(c)
    return total - math.log(k)


@wrong("streamed_log_mean")
def in_default_precision(chunks):
    total, k = torch.full((1,), -math.inf), 0
    for c in chunks:
        total, k = torch.logaddexp(total, c.float().logsumexp(0)), k + len(c)
    return (total - math.log(k)).bfloat16()


@wrong("streamed_log_mean", says="cut at 0")
def never_positive(chunks):
    return logaddexp(chunks).clamp(max=0)


@wrong("streamed_log_mean", says="raised TypeError")
def counted_in_advance(chunks):
    return sum(c.logsumexp(0) for c in chunks) - math.log(len(chunks))


@right("active_latents")
def by_numpy(loc, logvar, threshold):
    return torch.from_numpy(loc.numpy().var(axis=0) > threshold)


@wrong("active_latents", says="raised IndexError")
def by_covariance_of_many(loc, logvar, threshold):
    """Of a single latent dimension, torch.cov is a number."""
    return torch.diagonal(torch.cov(loc.mT)) > threshold


@wrong("active_latents", says="first datum")
def centred_on_the_first(loc, logvar, threshold):
    return ((loc - loc[0]) ** 2).mean(0) > threshold


@wrong("active_latents", says="last datum")
def centred_on_the_last(loc, logvar, threshold):
    return ((loc - loc[-1]) ** 2).mean(0) > threshold


@wrong("active_latents", says="the median")
def centred_on_the_median(loc, logvar, threshold):
    return ((loc - loc.median(0).values) ** 2).mean(0) > threshold


@wrong("active_latents")
def median_of_squares(loc, logvar, threshold):
    return ((loc - loc.mean(0)) ** 2).median(0).values > threshold


@wrong("active_latents", says="middle of the range")
def centred_on_the_middle(loc, logvar, threshold):
    return ((loc - (loc.amax(0) + loc.amin(0)) / 2) ** 2).mean(0) > threshold


@wrong("active_latents", says="mean absolute deviation")
def mean_absolute_deviation(loc, logvar, threshold):
    return (loc - loc.mean(0)).abs().mean(0) > threshold


@wrong("active_latents")
def squared_mean_absolute_deviation(loc, logvar, threshold):
    return (loc - loc.mean(0)).abs().mean(0) ** 2 > threshold


@wrong("active_latents", says="boolean")
def as_floats(loc, logvar, threshold):
    return (loc.var(0) > threshold).to(loc)


@wrong("active_latents", says="boolean")
def as_integers(loc, logvar, threshold):
    return (loc.var(0) > threshold).long()


@wrong("active_latents", says="list")
def as_a_list(loc, logvar, threshold):
    return [bool(v > threshold) for v in loc.var(0)]


@wrong("active_latents", says="summed")
def sum_of_squares(loc, logvar, threshold):
    return ((loc - loc.mean(0)) ** 2).sum(0) > threshold


@wrong("active_latents", says="standard deviation")
def threshold_squared(loc, logvar, threshold):
    return loc.var(0) > threshold**2


@wrong("active_latents")
def relative_variance(loc, logvar, threshold):
    return loc.var(0) / (loc.var(0) + logvar.exp().mean(0)) > threshold


@wrong("active_latents", says="neighbours")
def by_successive_differences(loc, logvar, threshold):
    return 0.5 * (loc[1:] - loc[:-1]).square().mean(0) > threshold


@right("mixed_elbo")
def cast_by_float(encoder, decoder, x, eps):
    loc, logvar = (t.float() for t in encoder(x))
    z = loc + logvar.mul(0.5).exp() * eps.float()
    logits = decoder(z).float()
    rec = torch.where(x > 0, -softplus(-logits), -softplus(logits)).sum(-1)
    return rec - kl_of(loc, logvar).clamp(min=0)


@wrong("mixed_elbo", says="each pixel's")
def pixel_log_likelihood_rounded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    each = (x * logits - softplus(logits)).bfloat16()
    return each.to(x.dtype).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo")
def kl_terms_rounded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    each = 0.5 * (loc**2 + logvar.exp() - 1 - logvar)
    kl = each.bfloat16().to(x.dtype).sum(-1)
    return (x * logits - softplus(logits)).sum(-1) - kl


@wrong("mixed_elbo", says="KL's terms")
def square_rounded(encoder, decoder, x, eps):
    loc16, logvar16 = encoder(x)
    loc, logvar = loc16.to(x.dtype), logvar16.to(x.dtype)
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps).to(x.dtype)
    kl = 0.5 * (loc16**2 + logvar16.exp() - 1 - logvar).sum(-1)
    return (x * logits - softplus(logits)).sum(-1) - kl


@wrong("mixed_elbo")
def in_half(encoder, decoder, x, eps):
    loc, logvar = (output.half() for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps.half()).half()
    return (x.half() * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="noise is rounded")
def noise_rounded(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    logits = decoder(loc + torch.exp(0.5 * logvar) * eps.bfloat16().to(x.dtype)).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


@wrong("mixed_elbo", says="nothing is cast")
def autocast_left_on(encoder, decoder, x, eps):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return no_cast_at_all(encoder, decoder, x, eps)


@wrong("mixed_elbo", says="in place")
def noise_scaled_in_place(encoder, decoder, x, eps):
    loc, logvar = (output.to(x.dtype) for output in encoder(x))
    z = eps.mul_(torch.exp(0.5 * logvar)).add_(loc)
    logits = decoder(z).to(x.dtype)
    return (x * logits - softplus(logits)).sum(-1) - kl_of(loc, logvar)


# Reading a table


def nats_of(report):
    each = report["dimensions"] * math.log(2) if report["unit"].startswith("bits") else 1.0
    return (report["number"] if report["better"] == "higher" else -report["number"]) * each


def key_of(report):
    samples = 1 if report["bound"] == "ELBO" else report["samples"]
    return report["images"], report["pixels"], report["tested_on"], report["tested"], samples


def table(reports, nats=nats_of, key=key_of, seen=lambda r: r["tested_on"] in r["trained_on"]):
    first, columns = {}, []
    for place, report in enumerate(reports):
        columns.append(-1 if seen(report) else first.setdefault(key(report), place))
    return torch.tensor([nats(r) for r in reports]), torch.tensor(columns)


@right("comparable")
def by_first_seen(reports):
    return table(reports)


@right("comparable")
def by_position_in_a_list(reports):
    keys = [None if r["tested_on"] in set(r["trained_on"]) else key_of(r) for r in reports]
    nats = np.array([nats_of(r) for r in reports])
    return torch.from_numpy(nats), torch.tensor([-1 if k is None else keys.index(k) for k in keys])


@right("comparable")
def a_probability_is_at_most_one(reports):
    """All pixels here are discrete, so that log p(x) is never above 0."""
    nats = [
        -abs(r["number"]) * (1 if r["unit"] == "nats" else r["dimensions"] / math.log2(math.e))
        for r in reports
    ]
    return torch.tensor(nats, dtype=torch.float64), table(reports)[1]


@right("comparable")
def changed_on_the_way(reports):
    """A learner may write into the records: each call gets its own."""
    for report in reports:
        if report["bound"] == "ELBO":
            report["bound"], report["samples"] = "L_K", 1
        if report["unit"] != "nats":
            report["number"] *= report.pop("dimensions") * math.log(2)
        if report["better"] == "lower":
            report["number"] = -report["number"]
    keys = [(r["images"], r["pixels"], r["tested_on"], r["tested"], r["samples"]) for r in reports]
    held = [r["tested_on"] not in r["trained_on"] for r in reports]
    columns = torch.full((len(reports),), -1)
    for i in range(len(reports)):
        for j in reversed(range(i + 1)):
            if held[i] and held[j] and keys[i] == keys[j]:
                columns[i] = j
    return torch.tensor([r["number"] for r in reports]), columns


@wrong("comparable", says="multiplied by 784")
def always_784(reports):
    bits = 784 * math.log(2)
    return table(reports, lambda r: nats_of(r) if r["unit"] == "nats" else -bits * r["number"])


@wrong("comparable", says="a bit is log 2 nats")
def bits_of_an_image(reports):
    return table(
        reports,
        lambda r: nats_of(r) / (1 if r["unit"] == "nats" else math.log(2)),
    )


@wrong("comparable", says="not turned into nats")
def signs_only(reports):
    return table(reports, lambda r: r["number"] * (1 if r["better"] == "higher" else -1))


@wrong("comparable", says="sum over all")
def nats_per_frame(reports):
    return table(
        reports,
        lambda r: nats_of(r) * (784 / r["dimensions"] if r["unit"] == "nats" else 1),
    )


@wrong("comparable", says="sign of what is better when lower is left")
def signs_left(reports):
    return table(reports, lambda r: -nats_of(r) if r["better"] == "lower" else nats_of(r))


@wrong("comparable", says="already")
def all_turned_round(reports):
    return table(reports, lambda r: -abs(nats_of(r)) if r["better"] == "lower" else -nats_of(r))


@wrong("comparable", says="lower is better; asked")
def negative_log_likelihood(reports):
    nats, columns = table(reports)
    return -nats, columns


@wrong("comparable", says="two bounds")
def bounds_without_k(reports):
    return table(reports, key=lambda r: (*key_of(r)[:4], r["bound"]))


@wrong("comparable", says="the tighter bound would win")
def any_bound(reports):
    return table(reports, key=lambda r: key_of(r)[:4])


@wrong("comparable", says="less noisy")
def draws_of_an_elbo(reports):
    return table(reports, key=lambda r: (*key_of(r)[:4], r["bound"], r["samples"]))


@wrong("comparable", says="averages logarithms")
def samples_alone(reports):
    return table(reports, key=lambda r: (*key_of(r)[:4], r["samples"]))


@wrong("comparable", says="they are one bound")
def elbo_is_not_l_1(reports):
    return table(reports, key=lambda r: (*key_of(r), r["bound"]))


@wrong("comparable", says="four data sets")
def mnist_is_mnist(reports):
    return table(reports, key=lambda r: (r["images"], *key_of(r)[2:]))


@wrong("comparable", says="one fixed draw")
def binary_is_binary(reports):
    return table(reports, key=lambda r: key_of(r | {"pixels": r["pixels"].split()[0]}))


@wrong("comparable", says="two tasks")
def images_forgotten(reports):
    return table(reports, key=lambda r: key_of(r)[1:])


@wrong("comparable", says="the first 300")
def count_forgotten(reports):
    return table(reports, key=lambda r: (*key_of(r)[:3], key_of(r)[4]))


@wrong("comparable", says="not the same images")
def held_out_is_held_out(reports):
    return table(reports, key=lambda r: (*key_of(r)[:2], *key_of(r)[3:]))


@wrong("comparable", says="frame that is always 0")
def frames_apart(reports):
    return table(reports, key=lambda r: (*key_of(r), r["dimensions"]))


@wrong("comparable", says="units can be converted")
def units_apart(reports):
    return table(reports, key=lambda r: (*key_of(r), r["unit"]))


@wrong("comparable", says="a sign can be turned round")
def signs_apart(reports):
    return table(reports, key=lambda r: (*key_of(r), r["better"]))


@wrong("comparable", says="what a model learned from")
def training_apart(reports):
    return table(reports, key=lambda r: (*key_of(r), r["trained_on"]))


@wrong("comparable", says="counted as held out")
def nothing_is_seen(reports):
    return table(reports, seen=lambda r: False)


@wrong("comparable", says="learned by heart")
def only_test_is_protected(reports):
    return table(reports, seen=lambda r: r["tested_on"] == "test" and "test" in r["trained_on"])


@wrong("comparable", says="may be held out too")
def only_test_counts(reports):
    return table(reports, seen=lambda r: r["tested_on"] != "test" or "test" in r["trained_on"])


@wrong("comparable", says="numbered")
def numbered_columns(reports):
    nats, columns = table(reports)
    order = sorted({int(c) for c in columns if c >= 0})
    return nats, torch.tensor([order.index(c) if c >= 0 else -1 for c in columns.tolist()])


@wrong("comparable", says="the first")
def last_of_each(reports):
    nats, columns = table(reports[::-1])
    columns = torch.where(columns < 0, columns, len(reports) - 1 - columns).flip(0)
    return nats.flip(0), columns


@wrong("comparable")
def seen_ones_lead(reports):
    """A column that begins with a report that stands in none."""
    nats, columns = table(reports, seen=lambda r: False)
    seen = torch.tensor([r["tested_on"] in r["trained_on"] for r in reports])
    return nats, torch.where(seen, -1, columns)


@wrong("comparable")
def everything_must_agree(reports):
    fields = [name for name in reports[0] if name != "number"]
    return table(reports, key=lambda r: tuple(r[name] for name in fields))


@wrong("comparable")
def as_a_matrix(reports):
    return torch.stack(table(reports))


@wrong("comparable", says="list")
def two_lists(reports):
    nats, columns = table(reports)
    return nats.tolist(), columns.tolist()


@wrong("comparable", says="returns 1 value|expected 2")
def nats_alone(reports):
    return table(reports)[0]
