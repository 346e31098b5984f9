"""Answers to the exercises of chapter clinic."""

import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from wrong_answers import right, wrong

bce = F.binary_cross_entropy_with_logits


def gaussian_kl(loc, logvar):
    return -0.5 * (1 + logvar - loc.pow(2) - logvar.exp()).sum(dim=1)


# 1. The reduction


@right("mend_1")
def loss_of_sums(x, logits, loc, logvar):
    pixels = bce(logits, x, reduction="none").sum(1)
    return (pixels + gaussian_kl(loc, logvar)).mean()


@right("mend_1")
def loss_of_a_sum_over_all(x, logits, loc, logvar):
    return (bce(logits, x, reduction="sum") + gaussian_kl(loc, logvar).sum()) / len(x)


@right("mend_1")
def loss_by_softplus(x, logits, loc, logvar):
    nll = F.softplus((1 - 2 * x) * logits).sum(-1).mean()
    return nll + 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1).mean()


@right("mend_1")
def loss_by_distributions(x, logits, loc, logvar):
    q = Normal(loc, torch.exp(0.5 * logvar))
    kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(1)
    return (kl - Bernoulli(logits=logits, validate_args=False).log_prob(x).sum(1)).mean()


@wrong("mend_1", says="this is the loss as it was")
def loss_as_it_was(x, logits, loc, logvar):
    pixels = bce(logits, x)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1)
    return pixels + kl.sum(1).mean()


@wrong("mend_1", says="β is then pixels / latent dimensions")
def loss_of_two_means(x, logits, loc, logvar):
    return bce(logits, x) + (gaussian_kl(loc, logvar) / loc.shape[1]).mean()


@wrong("mend_1", says="KL is averaged over the latent dimensions")
def loss_kl_averaged(x, logits, loc, logvar):
    return bce(logits, x, reduction="none").sum(1).mean() + (
        0.5 * (loc**2 + logvar.exp() - logvar - 1).mean()
    )


@wrong("mend_1", says="take both means")
def loss_pixels_summed_over_the_batch(x, logits, loc, logvar):
    return bce(logits, x, reduction="sum") + gaussian_kl(loc, logvar).mean()


@wrong("mend_1", says="β = 1 / pixels")
def loss_kl_shrunk_too(x, logits, loc, logvar):
    pixels = bce(logits, x, reduction="none").sum(1).mean()
    return pixels + gaussian_kl(loc, logvar).mean() / x.shape[1]


@wrong("mend_1", says="did you average over the pixels")
def loss_both_over_pixels(x, logits, loc, logvar):
    return bce(logits, x) + gaussian_kl(loc, logvar).mean() / x.shape[1]


@wrong("mend_1", says="average over the data|one value|shape")
def loss_for_each_image(x, logits, loc, logvar):
    return bce(logits, x, reduction="none").sum(1) + gaussian_kl(loc, logvar)


@wrong("mend_1", says="wrong sign")
def loss_kl_subtracted(x, logits, loc, logvar):
    return bce(logits, x, reduction="none").sum(1).mean() - gaussian_kl(loc, logvar).mean()


@wrong("mend_1")
def loss_scaled_to_784(x, logits, loc, logvar):
    return 784 * bce(logits, x) + gaussian_kl(loc, logvar).mean()


@wrong("mend_1", says="KL is missing")
def loss_without_kl(x, logits, loc, logvar):
    return bce(logits, x, reduction="sum") / len(x) + 0 * loc.sum() + 0 * logvar.sum()


# 2. The start


@right("mend_2")
def start_of_the_last(decoder, z):
    nn.init.constant_(decoder[-1].bias, -5.0)
    return decoder(z)


@right("mend_2")
def start_by_a_search(decoder, z):
    linear = [layer for layer in decoder if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        linear[-1].bias.fill_(-5)
    return decoder(z)


@right("mend_2")
def start_by_data(decoder, z):
    last = [*decoder.children()][-1]
    last.bias.data = torch.full_like(last.bias, -5.0)
    for layer in decoder:
        z = layer(z)
    return z


@wrong("mend_2", says="this is the start as it was")
def start_as_it_was(decoder, z):
    for layer in decoder:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, -5.0)
    return decoder(z)


@wrong("mend_2", says="no bias was set")
def start_untouched(decoder, z):
    return decoder(z)


@wrong("mend_2", says="it is the other way round")
def start_all_but_the_last(decoder, z):
    for layer in [*decoder][:-1]:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, -5.0)
    return decoder(z)


@wrong("mend_2", says="not yours to change")
def start_with_zeros_before(decoder, z):
    for layer in decoder:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
    nn.init.constant_(decoder[-1].bias, -5.0)
    return decoder(z)


@wrong("mend_2", says="each pixel begins at ½")
def start_at_a_half(decoder, z):
    nn.init.zeros_(decoder[-1].bias)
    return decoder(z)


@wrong("mend_2", says="as ink")
def start_as_ink(decoder, z):
    nn.init.constant_(decoder[-1].bias, 5.0)
    return decoder(z)


@wrong("mend_2", says="they are to be −5")
def start_five_lower(decoder, z):
    with torch.no_grad():
        decoder[-1].bias -= 5.0
    return decoder(z)


@wrong("mend_2", says="the activation is another now")
def start_by_another_activation(decoder, z):
    for layer in decoder:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, -5.0)
    for place in (1, 3):
        decoder[place] = nn.SiLU()
    return decoder(z)


@wrong("mend_2", says="probabilities")
def start_as_probabilities(decoder, z):
    nn.init.constant_(decoder[-1].bias, -5.0)
    return torch.sigmoid(decoder(z))


@wrong("mend_2")
def start_with_dead_weights(decoder, z):
    nn.init.zeros_(decoder[-1].weight)
    nn.init.constant_(decoder[-1].bias, -5.0)
    return decoder(z)


@wrong("mend_2", says="two calls")
def start_from_new_weights(decoder, z):
    for layer in decoder:
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    nn.init.constant_(decoder[-1].bias, -5.0)
    return decoder(z)


# 3. The two terms


def parts(x, encoder, decoder, eps):
    loc, logvar = encoder(x).chunk(2, dim=1)
    z = loc + torch.exp(0.5 * logvar) * eps
    return bce(decoder(z), x, reduction="none").sum(1), gaussian_kl(loc, logvar)


@right("mend_3")
def batch_loss(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    history.append(kl.mean().item())
    return (pixels + kl).mean()


@right("mend_3")
def batch_loss_of_two_means(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return pixels.mean() + kl.mean()


@right("mend_3")
def batch_loss_by_distributions(x, encoder, decoder, eps, history):
    raw = encoder(x)
    k = eps.shape[1]
    q = Normal(raw[:, :k], raw[:, k:].div(2).exp())
    logits = decoder(q.mean + q.stddev * eps)
    kl = kl_divergence(q, Normal(torch.zeros_like(eps), torch.ones_like(eps)))
    elbo = Bernoulli(logits=logits).log_prob(x).sum(1) - kl.sum(1)
    history += [kl.sum(1).mean().item()]
    return -elbo.mean()


@wrong("mend_3", says="this is the loss as it was")
def batch_loss_as_it_was(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    history.append(kl.mean().item())
    return pixels.mean()


@wrong("mend_3", says="plain number")
def batch_loss_with_a_number(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    history.append(kl.mean().item())
    return pixels.mean() + history[-1]


@wrong("mend_3", says="subtracted")
def batch_loss_kl_subtracted(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return (pixels - kl).mean()


@wrong("mend_3", says="averaged over the latent dimensions")
def batch_loss_kl_averaged(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return (pixels + kl / eps.shape[1]).mean()


@wrong("mend_3", says="summed over the batch")
def batch_loss_kl_over_the_batch(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return pixels.mean() + kl.sum()


@wrong("mend_3", says="β = ½")
def batch_loss_half_of_the_kl(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return (pixels + 0.5 * kl).mean()


@wrong("mend_3", says="both are sums")
def batch_loss_of_averages(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return (pixels / x.shape[1] + kl / eps.shape[1]).mean()


@wrong("mend_3", says="log p\\(x \\| z\\) is their sum")
def batch_loss_pixels_averaged(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return (pixels / x.shape[1] + kl).mean()


@wrong("mend_3", says="no noise any more")
def batch_loss_at_the_mean(x, encoder, decoder, eps, history):
    return batch_loss(x, encoder, decoder, 0 * eps, history)


@wrong("mend_3", says="σ²")
def batch_loss_variance_for_scale(x, encoder, decoder, eps, history):
    loc, logvar = encoder(x).chunk(2, dim=1)
    z = loc + torch.exp(logvar) * eps
    return (bce(decoder(z), x, reduction="none").sum(1) + gaussian_kl(loc, logvar)).mean()


@wrong("mend_3", says="two calls")
def batch_loss_own_noise(x, encoder, decoder, eps, history):
    return batch_loss(x, encoder, decoder, torch.randn_like(eps), history)


@wrong("mend_3")
def batch_loss_for_each_image(x, encoder, decoder, eps, history):
    pixels, kl = parts(x, encoder, decoder, eps)
    return pixels + kl


# 4. What the decoder sees


@right("mend_4")
def string_score(x, z, decoder):
    return -bce(decoder(z), x, reduction="none").sum(1)


@right("mend_4")
def string_score_by_distribution(x, z, decoder):
    return Bernoulli(logits=decoder(z)).log_prob(x).sum(dim=-1)


@right("mend_4")
def string_score_by_logsigmoid(x, z, decoder):
    logits = decoder(z)
    return (x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)).sum(1)


def seeing(x, z, decoder, before):
    return -bce(decoder(z) + math.log(9) * before, x, reduction="none").sum(1)


@wrong("mend_4", says="this is the decoder as it was")
def string_score_as_it_was(x, z, decoder):
    return seeing(x, z, decoder, F.pad(2 * x[:, :-1] - 1, (1, 0)))


@wrong("mend_4", says="the bit after")
def string_score_with_the_bit_after(x, z, decoder):
    return seeing(x, z, decoder, F.pad(2 * x[:, 1:] - 1, (0, 1)))


@wrong("mend_4", says="the very bit")
def string_score_with_the_bit_itself(x, z, decoder):
    return seeing(x, z, decoder, 2 * x - 1)


@wrong("mend_4", says="on both sides")
def string_score_with_both_sides(x, z, decoder):
    bits = 2 * x - 1
    around = F.pad(bits[:, :-1], (1, 0)) + F.pad(bits[:, 1:], (0, 1))
    return seeing(x, z, decoder, around)


@wrong("mend_4", says="z is not used")
def string_score_without_z(x, z, decoder):
    return string_score(x, torch.zeros_like(z), decoder)


@wrong("mend_4", says="bits are averaged")
def string_score_averaged(x, z, decoder):
    return -bce(decoder(z), x, reduction="none").mean(1)


@wrong("mend_4", says="sign")
def string_score_as_a_loss(x, z, decoder):
    return bce(decoder(z), x, reduction="none").sum(1)


@wrong("mend_4", says="0 and 1 are swapped")
def string_score_swapped(x, z, decoder):
    return -bce(-decoder(z), x, reduction="none").sum(1)


@wrong("mend_4", says="averaged over the batch|shape")
def string_score_of_the_batch(x, z, decoder):
    return string_score(x, z, decoder).mean()


@wrong("mend_4", says="detached")
def string_score_of_a_detached_z(x, z, decoder):
    return string_score(x, z.detach(), decoder)


@wrong("mend_4")
def string_score_with_half_of_the_rule(x, z, decoder):
    return seeing(x, z, decoder, 0.5 * F.pad(2 * x[:, :-1] - 1, (1, 0)))


@wrong("mend_4")
def string_score_of_dropped_bits(x, z, decoder):
    before = F.pad(2 * x[:, :-1] - 1, (1, 0))
    before[:, ::2] = 0
    return seeing(x, z, decoder, before)


# 5. The split


@right("mend_5")
def split_by_number(images, held_out, order):
    return images[order[order >= held_out]], images[:held_out]


@right("mend_5")
def split_with_a_mask(images, held_out, order):
    test, pool = images[:held_out], images[held_out:]
    rest = order[order >= held_out] - held_out
    return pool[rest], test


@right("mend_5")
def split_in_a_loop(images, held_out, order):
    chosen = [int(i) for i in order if int(i) >= held_out]
    return torch.stack([images[i] for i in chosen]), images[torch.arange(held_out)]


@wrong("mend_5", says="this is the split as it was")
def split_as_it_was(images, held_out, order):
    shuffled = images[order]
    return shuffled[held_out:], shuffled[:held_out]


@wrong("mend_5", says="by their place in `order`")
def split_by_place(images, held_out, order):
    return images[order][held_out:], images[:held_out]


@wrong("mend_5", says="held-out ones too")
def split_trains_on_all(images, held_out, order):
    return images[order], images[:held_out]


@wrong("mend_5", says="the first of `order`")
def split_tests_by_place(images, held_out, order):
    return images[order[order >= held_out]], images[order[:held_out]]


@wrong("mend_5", says="not shuffled")
def split_without_order(images, held_out, order):
    return images[held_out:], images[:held_out]


@wrong("mend_5", says="new order at each call")
def split_shuffles_the_test(images, held_out, order):
    return images[order[order >= held_out]], images[order[order < held_out]]


@wrong("mend_5", says="swapped")
def split_swapped(images, held_out, order):
    return images[:held_out], images[order[order >= held_out]]


@wrong("mend_5", says="asked are the first")
def split_holds_out_the_last(images, held_out, order):
    kept = len(images) - held_out
    return images[order[order < kept]], images[kept:]


@wrong("mend_5", says="digits' numbers")
def split_of_numbers(images, held_out, order):
    return order[order >= held_out], torch.arange(held_out)


@wrong("mend_5")
def split_off_by_one(images, held_out, order):
    return images[order[order > held_out]], images[:held_out]


@wrong("mend_5", says="two calls")
def split_by_its_own_order(images, held_out, order):
    rest = images[held_out:]
    return rest[torch.randperm(len(rest))], images[:held_out]


@wrong("mend_5", says="1 value|expected 2")
def split_without_a_test(images, held_out, order):
    return images[order[order >= held_out]]


# 6. The pixels


@right("mend_6")
def batch_drawn(images, chosen, u):
    return (u < images[chosen] / 255).float()


@right("mend_6")
def batch_by_where(images, chosen, u):
    grey = images[chosen].to(u.dtype)
    return torch.where(255 * u < grey, 1.0, 0.0)


@right("mend_6")
def batch_row_by_row(images, chosen, u):
    rows = [(row < images[i].double() / 255).to(u) for row, i in zip(u, chosen, strict=True)]
    return torch.stack(rows)


@wrong("mend_6", says="this is the batch as it was")
def batch_as_it_was(images, chosen, u):
    return images[chosen] / 255


@wrong("mend_6", says="cut at ½")
def batch_cut(images, chosen, u):
    return (images[chosen] > 127).float()


@wrong("mend_6", says="cut at ½")
def batch_rounded(images, chosen, u):
    return (images[chosen] / 255).round()


@wrong("mend_6", says="0 and 1 are swapped")
def batch_swapped(images, chosen, u):
    return (u > images[chosen] / 255).float()


@wrong("mend_6", says="not below")
def batch_with_a_tie(images, chosen, u):
    return (u <= images[chosen] / 255).float()


@wrong("mend_6", says="decides a whole image")
def batch_one_draw_an_image(images, chosen, u):
    return (u[:, :1] < images[chosen] / 255).float()


@wrong("mend_6", says="serve all of them")
def batch_one_image_of_draws(images, chosen, u):
    return (u[0] < images[chosen] / 255).float()


@wrong("mend_6", says="whatever the pixel's grey")
def batch_of_coins(images, chosen, u):
    return (u < 0.5).float()


@wrong("mend_6", says="0 and 255")
def batch_of_bytes(images, chosen, u):
    return 255 * (u < images[chosen] / 255).float()


@wrong("mend_6", says="the first images are taken")
def batch_of_the_first(images, chosen, u):
    return (u < images[: len(chosen)] / 255).float()


@wrong("mend_6", says="divide them by 255")
def batch_undivided(images, chosen, u):
    return (u < images[chosen]).float()


@wrong("mend_6", says="noise is added")
def batch_with_noise(images, chosen, u):
    return (images[chosen] + u) / 255


@wrong("mend_6", says="two calls")
def batch_by_its_own_luck(images, chosen, u):
    return torch.bernoulli(images[chosen] / 255)


# 7. The report


@right("mend_7")
def reported_sample_by_sample(x, encoder, decoder, eps):
    loc, logvar = encoder(x).chunk(2, dim=1)
    kl, total = gaussian_kl(loc, logvar), 0.0
    for noise in eps:
        z = loc + torch.exp(0.5 * logvar) * noise
        pixels = bce(decoder(z), x, reduction="none").sum(1)
        total = total - (pixels + kl).mean()
    return total / len(eps)


@right("mend_7")
def reported_at_once(x, encoder, decoder, eps):
    with torch.no_grad():
        loc, logvar = encoder(x).chunk(2, dim=1)
        logits = decoder(loc + logvar.div(2).exp() * eps)
        log_lik = Bernoulli(logits=logits).log_prob(x.expand_as(logits)).sum(-1)
        return (log_lik.mean(0) - gaussian_kl(loc, logvar)).mean()


@right("mend_7")
def reported_as_a_number(x, encoder, decoder, eps):
    bounds = []
    for noise in eps:
        pixels, kl = parts(x, encoder, decoder, noise)
        bounds.append(-(pixels.mean() + kl.mean()).item())
    return sum(bounds) / len(bounds)


@wrong("mend_7", says="this is the report as it was")
def reported_as_it_was(x, encoder, decoder, eps):
    return reported_at_once(x, encoder, decoder, 0 * eps)


@wrong("mend_7", says="only the first sample")
def reported_of_the_first(x, encoder, decoder, eps):
    return reported_at_once(x, encoder, decoder, eps[:1])


@wrong("mend_7", says="before they are decoded")
def reported_of_a_mean_sample(x, encoder, decoder, eps):
    return reported_at_once(x, encoder, decoder, eps.mean(0)[None])


@wrong("mend_7", says="σ²")
def reported_variance_for_scale(x, encoder, decoder, eps):
    loc, logvar = encoder(x).chunk(2, dim=1)
    logits = decoder(loc + logvar.exp() * eps)
    log_lik = -bce(logits, x.expand_as(logits), reduction="none").sum(-1)
    return (log_lik - gaussian_kl(loc, logvar)).mean()


@wrong("mend_7", says="KL is missing")
def reported_without_kl(x, encoder, decoder, eps):
    return -sum(parts(x, encoder, decoder, e)[0].mean() for e in eps) / len(eps)


@wrong("mend_7", says="KL is added")
def reported_kl_added(x, encoder, decoder, eps):
    every = [parts(x, encoder, decoder, e) for e in eps]
    return sum((kl - pixels).mean() for pixels, kl in every) / len(eps)


@wrong("mend_7", says="not divided by their number|samples")
def reported_sum_of_samples(x, encoder, decoder, eps):
    return len(eps) * reported_at_once(x, encoder, decoder, eps)


@wrong("mend_7", says="averages their logarithms")
def reported_importance_weighted(x, encoder, decoder, eps):
    loc, logvar = encoder(x).chunk(2, dim=1)
    log_lik = torch.stack([-parts(x, encoder, decoder, e)[0] for e in eps])
    best = torch.logsumexp(log_lik, 0) - math.log(len(eps))
    return (best - gaussian_kl(loc, logvar)).mean()


@wrong("mend_7", says="sign")
def reported_as_a_loss(x, encoder, decoder, eps):
    return -reported_at_once(x, encoder, decoder, eps)


@wrong("mend_7", says="from the prior")
def reported_from_the_prior(x, encoder, decoder, eps):
    loc, logvar = encoder(x).chunk(2, dim=1)
    logits = decoder(eps)
    log_lik = -bce(logits, x.expand_as(logits), reduction="none").sum(-1)
    return (log_lik - gaussian_kl(loc, logvar)).mean()


@wrong("mend_7", says="closed form")
def reported_kl_by_samples(x, encoder, decoder, eps):
    loc, logvar = encoder(x).chunk(2, dim=1)
    q = Normal(loc, torch.exp(0.5 * logvar))
    z = q.mean + q.stddev * eps
    kl = (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(-1)
    logits = decoder(z)
    return (-bce(logits, x.expand_as(logits), reduction="none").sum(-1) - kl).mean()


@wrong("mend_7", says="shape")
def reported_for_each_image(x, encoder, decoder, eps):
    every = [parts(x, encoder, decoder, e) for e in eps]
    return -sum(pixels + kl for pixels, kl in every) / len(eps)


# 8. The optimizer


def trained(encoder, decoder, loss, steps, adam):
    losses = []
    for _ in range(steps):
        value = loss(encoder, decoder)
        adam.zero_grad()
        value.backward()
        adam.step()
        losses.append(value.item())
    return torch.tensor(losses)


@right("mend_8")
def fit_both(encoder, decoder, loss, steps, lr):
    weights = [*encoder.parameters(), *decoder.parameters()]
    return trained(encoder, decoder, loss, steps, torch.optim.Adam(weights, lr=lr))


@right("mend_8")
def fit_a_module_of_both(encoder, decoder, loss, steps, lr):
    adam = torch.optim.Adam(nn.ModuleList([decoder, encoder]).parameters(), lr=lr)
    losses = torch.zeros(steps)
    for step in range(steps):
        adam.zero_grad(set_to_none=True)
        value = loss(encoder, decoder)
        losses[step] = value.detach()
        value.backward()
        adam.step()
    return losses


@right("mend_8")
def fit_with_an_optimizer_each(encoder, decoder, loss, steps, lr):
    each = [torch.optim.Adam(net.parameters(), lr) for net in (encoder, decoder)]
    losses = []
    for _ in range(steps):
        value = loss(encoder, decoder)
        encoder.zero_grad()
        decoder.zero_grad()
        value.backward()
        for adam in each:
            adam.step()
        losses.append(value.detach())
    return torch.stack(losses)


@wrong("mend_8", says="this is the training as it was")
def fit_as_it_was(encoder, decoder, loss, steps, lr):
    return trained(encoder, decoder, loss, steps, torch.optim.Adam(decoder.parameters(), lr=lr))


@wrong("mend_8", says="now the decoder's weights are missing")
def fit_the_encoder(encoder, decoder, loss, steps, lr):
    return trained(encoder, decoder, loss, steps, torch.optim.Adam(encoder.parameters(), lr=lr))


@wrong("mend_8", says="zero_grad is missing")
def fit_with_old_gradients(encoder, decoder, loss, steps, lr):
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr)
    losses = []
    for _ in range(steps):
        value = loss(encoder, decoder)
        value.backward()
        adam.step()
        losses.append(value.item())
    return torch.tensor(losses)


@wrong("mend_8", says="forgets the steps before")
def fit_with_a_new_optimizer(encoder, decoder, loss, steps, lr):
    one = [fit_both(encoder, decoder, loss, 1, lr) for _ in range(steps)]
    return torch.cat(one)


@wrong("mend_8", says="after each step")
def fit_losses_after(encoder, decoder, loss, steps, lr):
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr)
    losses = []
    for _ in range(steps):
        adam.zero_grad()
        loss(encoder, decoder).backward()
        adam.step()
        losses.append(loss(encoder, decoder).item())
    return torch.tensor(losses)


@wrong("mend_8", says="cleared after backward")
def fit_cleared_too_late(encoder, decoder, loss, steps, lr):
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr)
    losses = []
    for _ in range(steps):
        value = loss(encoder, decoder)
        value.backward()
        adam.zero_grad()
        adam.step()
        losses.append(value.item())
    return torch.tensor(losses)


@wrong("mend_8", says="0.001")
def fit_at_another_rate(encoder, decoder, loss, steps, lr):
    weights = [*encoder.parameters(), *decoder.parameters()]
    return trained(encoder, decoder, loss, steps, torch.optim.Adam(weights))


@wrong("mend_8", says="SGD")
def fit_by_sgd(encoder, decoder, loss, steps, lr):
    weights = [*encoder.parameters(), *decoder.parameters()]
    return trained(encoder, decoder, loss, steps, torch.optim.SGD(weights, lr=lr))


@wrong("mend_8", says="AdamW")
def fit_by_adamw(encoder, decoder, loss, steps, lr):
    weights = [*encoder.parameters(), *decoder.parameters()]
    return trained(encoder, decoder, loss, steps, torch.optim.AdamW(weights, lr=lr))


@wrong("mend_8")
def fit_only_the_weights(encoder, decoder, loss, steps, lr):
    weights = [*encoder.parameters(), decoder.weight]
    return trained(encoder, decoder, loss, steps, torch.optim.Adam(weights, lr=lr))


@wrong("mend_8", says="shape")
def fit_the_last_loss(encoder, decoder, loss, steps, lr):
    return fit_both(encoder, decoder, loss, steps, lr)[-1]


@wrong("mend_8")
def fit_one_step_too_few(encoder, decoder, loss, steps, lr):
    losses = fit_both(encoder, decoder, loss, steps, lr)
    return torch.cat([losses[:1], losses[:-1]])
