"""Answers to the exercises of chapter kl."""

import math

import torch
from torch.distributions import Independent, Normal, kl_divergence

from wrong_answers import right, wrong

# KL to the prior


@right("kl_to_prior")
def textbook(loc, logvar):
    return 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)


@right("kl_to_prior")
def sum_of_means(loc, logvar):
    variance = torch.exp(logvar)
    terms = torch.square(loc) + variance - torch.log(variance) - 1
    return terms.mean(dim=-1) * loc.shape[-1] / 2


@right("kl_to_prior")
def by_torch(loc, logvar):
    q = Independent(Normal(loc, (0.5 * logvar).exp()), 1)
    p = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
    return kl_divergence(q, p)


@right("kl_to_prior")
def kingma_and_welling(loc, logvar):
    return -0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=-1)


@wrong("kl_to_prior", says="½ in front")
def half_forgotten(loc, logvar):
    return -torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=-1)


@wrong("kl_to_prior", says="3 times too small: did you average over the latent dimensions")
def averaged_over_latents(loc, logvar):
    return -0.5 * torch.mean(1 + logvar - loc.pow(2) - logvar.exp(), dim=-1)


@wrong("kl_to_prior", says="averaged over the batch")
def averaged_over_batch(loc, logvar):
    return textbook(loc, logvar).mean()


@wrong("kl_to_prior", says="summed over the batch")
def summed_over_all(loc, logvar):
    return -0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp())


@wrong("kl_to_prior", says="sign")
def elbo_term(loc, logvar):
    return 0.5 * torch.sum(1 + logvar - loc.pow(2) - logvar.exp(), dim=-1)


@wrong("kl_to_prior", says="log σ², not log σ")
def logvar_as_log_scale(loc, logvar):
    scale = logvar.exp()
    return (0.5 * (loc**2 + scale**2 - 1) - logvar).sum(-1)


@wrong("kl_to_prior", says="σ stands where σ² belongs")
def scale_for_variance(loc, logvar):
    std = torch.exp(0.5 * logvar)
    return 0.5 * (loc**2 + std - 1 - logvar).sum(-1)


@wrong("kl_to_prior", says="wrong side")
def reverse(loc, logvar):
    q = Normal(loc, (0.5 * logvar).exp())
    return kl_divergence(Normal(torch.zeros_like(loc), torch.ones_like(loc)), q).sum(-1)


@wrong("kl_to_prior", says="−1 is missing")
def one_forgotten(loc, logvar):
    return 0.5 * (loc**2 + logvar.exp() - logvar).sum(-1)


@wrong("kl_to_prior", says="no gradient reaches logvar")
def detached_logvar(loc, logvar):
    return textbook(loc, logvar.detach())


@wrong("kl_to_prior", says="no gradient reaches loc")
def without_grad(loc, logvar):
    with torch.no_grad():
        return textbook(loc, logvar)


@wrong("kl_to_prior", says="sum over the last axis is missing")
def not_summed(loc, logvar):
    return 0.5 * (loc**2 + logvar.exp() - logvar - 1)


@wrong("kl_to_prior", says="return missing")
def no_return(loc, logvar):
    textbook(loc, logvar)


@wrong("kl_to_prior", says="in place")
def in_place(loc, logvar):
    logvar -= logvar.exp()
    return 0.5 * (loc**2 - logvar - 1).sum(-1)


@wrong("kl_to_prior", says="two calls")
def sampled(loc, logvar):
    q = Normal(loc, (0.5 * logvar).exp())
    z = q.rsample()
    return (q.log_prob(z) - Normal(0.0, 1.0).log_prob(z)).sum(-1)


@wrong("kl_to_prior")
def clamped(loc, logvar):
    return textbook(loc, logvar.clamp(-1, 1))


@wrong("kl_to_prior", says="must be squared")
def loc_not_squared(loc, logvar):
    return 0.5 * (loc + logvar.exp() - logvar - 1).sum(-1)


# Between two diagonal Gaussians


@right("kl_between")
def between(q_loc, q_logvar, p_loc, p_logvar):
    ratio = torch.exp(q_logvar - p_logvar)
    square = (q_loc - p_loc) ** 2 / p_logvar.exp()
    return 0.5 * (ratio + square - 1 + p_logvar - q_logvar).sum(-1)


@right("kl_between")
def between_by_torch(q_loc, q_logvar, p_loc, p_logvar):
    q = Independent(Normal(q_loc, torch.exp(q_logvar / 2)), 1)
    p = Independent(Normal(p_loc, torch.exp(p_logvar / 2)), 1)
    return kl_divergence(q, p)


@right("kl_between")
def between_by_moving_to_the_prior(q_loc, q_logvar, p_loc, p_logvar):
    """Shift and scale both until p is the standard normal: a KL does not change."""
    return textbook((q_loc - p_loc) * torch.exp(-p_logvar / 2), q_logvar - p_logvar)


@wrong("kl_between", says="swapped")
def between_swapped(q_loc, q_logvar, p_loc, p_logvar):
    return between(p_loc, p_logvar, q_loc, q_logvar)


@wrong("kl_between", says="½ in front")
def between_without_half(q_loc, q_logvar, p_loc, p_logvar):
    return 2 * between(q_loc, q_logvar, p_loc, p_logvar)


@wrong("kl_between", says="divided by p's variance")
def between_square_alone(q_loc, q_logvar, p_loc, p_logvar):
    terms = torch.exp(q_logvar - p_logvar) + (q_loc - p_loc) ** 2 - 1 + p_logvar - q_logvar
    return 0.5 * terms.sum(-1)


@wrong("kl_between", says="divided by q's variance")
def between_square_over_q(q_loc, q_logvar, p_loc, p_logvar):
    var_q, var_p = q_logvar.exp(), p_logvar.exp()
    log_ratio = p_logvar - q_logvar
    return 0.5 * (var_q / var_p + (q_loc - p_loc) ** 2 / var_q - 1 + log_ratio).sum(-1)


@wrong("kl_between", says="wrong sign")
def between_logs_turned(q_loc, q_logvar, p_loc, p_logvar):
    square = (q_loc - p_loc) ** 2 / p_logvar.exp()
    return 0.5 * (torch.exp(q_logvar - p_logvar) + square - 1 + q_logvar - p_logvar).sum(-1)


@wrong("kl_between", says="p's parameters are not used")
def between_to_prior(q_loc, q_logvar, p_loc, p_logvar):
    return textbook(q_loc, q_logvar)


@wrong("kl_between", says="log σ², not log σ")
def between_logvar_as_log_scale(q_loc, q_logvar, p_loc, p_logvar):
    return kl_divergence(Normal(q_loc, q_logvar.exp()), Normal(p_loc, p_logvar.exp())).sum(-1)


@wrong("kl_between", says="did you average over the latent dimensions")
def between_averaged(q_loc, q_logvar, p_loc, p_logvar):
    return between(q_loc, q_logvar, p_loc, p_logvar) / q_loc.shape[-1]


@wrong("kl_between")
def between_difference_of_two(q_loc, q_logvar, p_loc, p_logvar):
    return textbook(q_loc, q_logvar) - textbook(p_loc, p_logvar)


@wrong("kl_between", says="no gradient reaches p_loc")
def between_frozen_prior(q_loc, q_logvar, p_loc, p_logvar):
    return between(q_loc, q_logvar, p_loc.detach(), p_logvar)


@wrong("kl_between", says="−1 is missing")
def between_without_one(q_loc, q_logvar, p_loc, p_logvar):
    return between(q_loc, q_logvar, p_loc, p_logvar) + 0.5 * q_loc.shape[-1]


# A Monte Carlo KL with its error


@right("kl_with_error")
def mean_and_error(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.std(0) / math.sqrt(ratio.shape[0])


@right("kl_with_error")
def mean_and_error_by_hand(log_q, log_p):
    n = log_q.size(0)
    mean = log_q.sum(0) / n - log_p.sum(0) / n
    variance = ((log_q - log_p - mean) ** 2).sum(0) / (n - 1)
    return [mean, torch.sqrt(variance / n)]


@right("kl_with_error")
def mean_and_error_of_columns(log_q, log_p):
    ratio = (log_q - log_p).T
    return ratio.mean(-1), (ratio.var(-1) / ratio.shape[-1]) ** 0.5


@wrong("kl_with_error", says="wrong sign")
def error_sign(log_q, log_p):
    return mean_and_error(log_p, log_q)


@wrong("kl_with_error", says="√n times smaller")
def error_is_deviation(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.std(0)


@wrong("kl_with_error", says="divided by √n")
def error_divided_by_n(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.std(0) / len(ratio)


@wrong("kl_with_error", says="variance of the mean")
def error_not_rooted(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.var(0) / len(ratio)


@wrong("kl_with_error", says="n − 1")
def error_biased(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.std(0, unbiased=False) / len(ratio) ** 0.5


@wrong("kl_with_error", says="k3")
def error_of_k3(log_q, log_p):
    log_ratio = log_p - log_q
    k3 = torch.exp(log_ratio) - 1 - log_ratio
    return k3.mean(0), k3.std(0) / len(k3) ** 0.5


@wrong("kl_with_error", says="must be over the draws")
def error_over_data(log_q, log_p):
    return mean_and_error_by_hand(log_q.T, log_p.T)


@wrong("kl_with_error", says="summed")
def error_of_sum(log_q, log_p):
    ratio = log_q - log_p
    return ratio.sum(0), ratio.std(0) * len(ratio) ** 0.5


@wrong("kl_with_error", says="1 value; expected 2")
def error_forgotten(log_q, log_p):
    return (log_q - log_p).mean(0)


@wrong("kl_with_error")
def error_of_log_of_means(log_q, log_p):
    ratio = log_q.exp().mean(0).log() - log_p.exp().mean(0).log()
    return ratio, (log_q - log_p).std(0) / len(log_q) ** 0.5


@wrong("kl_with_error")
def error_of_both_added(log_q, log_p):
    error = (log_q.std(0) ** 2 + log_p.std(0) ** 2) ** 0.5 / len(log_q) ** 0.5
    return (log_q - log_p).mean(0), error


# The forward fit


@right("forward_fit")
def forward_by_softmax(log_p, grid):
    weight = log_p.softmax(0)
    loc = weight @ grid
    return loc, (weight @ (grid - loc) ** 2).sqrt()


@right("forward_fit")
def forward_by_density(log_p, grid):
    step = grid[1] - grid[0]
    p = torch.exp(log_p - log_p.max())
    p = p / (p.sum() * step)
    loc = torch.sum(p * grid) * step
    return loc, torch.sqrt(torch.sum(p * (grid - loc) ** 2) * step)


@right("forward_fit")
def forward_by_moments(log_p, grid):
    weight = torch.exp(log_p - torch.logsumexp(log_p, 0))
    first, second = (weight * grid).sum(), (weight * grid**2).sum()
    return first, (second - first**2).sqrt()


@wrong("forward_fit", says="variance")
def forward_variance(log_p, grid):
    loc, scale = forward_by_softmax(log_p, grid)
    return loc, scale**2


@wrong("forward_fit", says="highest point")
def forward_mode(log_p, grid):
    loc = grid[torch.argmax(log_p)]
    return loc, (log_p.softmax(0) @ (grid - loc) ** 2).sqrt()


@wrong("forward_fit", says="weights do not add up to 1")
def forward_not_normalized(log_p, grid):
    weight = log_p.exp()
    loc = (weight * grid).sum()
    return loc, (weight * (grid - loc) ** 2).sum().sqrt()


@wrong("forward_fit", says="only if p is normalized")
def forward_step_only(log_p, grid):
    weight = log_p.exp() * (grid[1] - grid[0])
    loc = (weight * grid).sum()
    return loc, (weight * (grid - loc) ** 2).sum().sqrt()


@wrong("forward_fit", says="p is not used")
def forward_of_grid(log_p, grid):
    return grid.mean(), grid.std(correction=0)


@wrong("forward_fit", says="subtract loc")
def forward_second_moment(log_p, grid):
    weight = log_p.softmax(0)
    return weight @ grid, (weight @ grid**2).sqrt()


@wrong("forward_fit", says="squares")
def forward_absolute(log_p, grid):
    weight = log_p.softmax(0)
    loc = weight @ grid
    return loc, weight @ (grid - loc).abs()


@wrong("forward_fit", says="where .* is right")
def forward_underflows(log_p, grid):
    weight = log_p.exp() / log_p.exp().sum()
    loc = weight @ grid
    return loc, (weight @ (grid - loc) ** 2).sqrt()


@wrong("forward_fit")
def forward_swapped(log_p, grid):
    loc, scale = forward_by_softmax(log_p, grid)
    return scale, loc


@wrong("forward_fit")
def forward_full_width(log_p, grid):
    inside = grid[log_p > log_p.max() - 0.5]
    return inside.mean(), (inside.max() - inside.min()) / 2


# The reverse objective


@right("reverse_objective")
def reverse_kl(loc, logvar, log_p, grid):
    log_q = Normal(loc, (0.5 * logvar).exp()).log_prob(grid)
    return (log_q.exp() * (log_q - log_p)).sum() * (grid[1] - grid[0])


@right("reverse_objective")
def reverse_kl_by_hand(loc, logvar, log_p, grid):
    log_q = -0.5 * (logvar + math.log(2 * math.pi) + (grid - loc) ** 2 * torch.exp(-logvar))
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    return step * torch.dot(log_q.exp(), log_q - log_p)


@right("reverse_objective")
def reverse_kl_in_two_terms(loc, logvar, log_p, grid):
    q = Normal(loc, torch.exp(logvar / 2))
    density = q.log_prob(grid).exp()
    step = grid[1] - grid[0]
    return (density * q.log_prob(grid)).sum() * step - (density * log_p).sum() * step


@wrong("reverse_objective", says="forward direction")
def reverse_is_forward(loc, logvar, log_p, grid):
    log_q = Normal(loc, (0.5 * logvar).exp()).log_prob(grid)
    return (log_p.exp() * (log_p - log_q)).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="sign")
def reverse_negative(loc, logvar, log_p, grid):
    return -reverse_kl(loc, logvar, log_p, grid)


@wrong("reverse_objective", says="step is missing")
def reverse_without_step(loc, logvar, log_p, grid):
    log_q = Normal(loc, (0.5 * logvar).exp()).log_prob(grid)
    return (log_q.exp() * (log_q - log_p)).sum()


@wrong("reverse_objective", says="cross-entropy")
def reverse_cross_entropy(loc, logvar, log_p, grid):
    q = Normal(loc, (0.5 * logvar).exp()).log_prob(grid).exp()
    return -(q * log_p).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="½ log 2π")
def reverse_without_constant(loc, logvar, log_p, grid):
    log_q = -0.5 * (logvar + (grid - loc) ** 2 * torch.exp(-logvar))
    return (log_q.exp() * (log_q - log_p)).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="log σ², not log σ")
def reverse_logvar_as_log_scale(loc, logvar, log_p, grid):
    log_q = Normal(loc, logvar.exp()).log_prob(grid)
    return (log_q.exp() * (log_q - log_p)).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="plain sum")
def reverse_without_weight(loc, logvar, log_p, grid):
    log_q = Normal(loc, (0.5 * logvar).exp()).log_prob(grid)
    return (log_q - log_p).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="no gradient reaches loc")
def reverse_detached_weight(loc, logvar, log_p, grid):
    return reverse_kl(loc.detach(), logvar, log_p, grid)


@wrong("reverse_objective", says="gradient")
def reverse_weight_without_gradient(loc, logvar, log_p, grid):
    log_q = Normal(loc, (0.5 * logvar).exp()).log_prob(grid)
    return (log_q.exp().detach() * (log_q - log_p)).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="mean over the grid")
def reverse_plain_mean(loc, logvar, log_p, grid):
    return (Normal(loc, (0.5 * logvar).exp()).log_prob(grid) - log_p).mean()


# Found by its users


@right("kl_to_prior")
def kl_cut_at_zero(loc, logvar):
    """No KL is negative: nothing is cut but rounding."""
    return textbook(loc, logvar).clamp(min=0)


@right("kl_to_prior")
def kl_one_latent_after_the_other(loc, logvar):
    total = torch.zeros_like(loc[..., 0])
    for m, v in zip(loc.unbind(-1), logvar.unbind(-1), strict=True):
        total = total + m * m / 2 + torch.special.expm1(v) / 2 - v / 2
    return total


@wrong("kl_to_prior", says="1e-06 is added to the scale")
def kl_of_a_guarded_scale(loc, logvar):
    q = Normal(loc, torch.exp(0.5 * logvar) + 1e-6)
    return kl_divergence(q, Normal(torch.zeros_like(loc), 1.0)).sum(-1)


@wrong("kl_to_prior")
def kl_of_a_guarded_logarithm(loc, logvar):
    variance = logvar.exp()
    return 0.5 * (loc**2 + variance - (variance + 1e-8).log() - 1).sum(-1)


@wrong("kl_to_prior", says="cut at 1e-6")
def kl_of_a_cut_variance(loc, logvar):
    variance = logvar.exp()
    return 0.5 * (loc**2 + variance - variance.clamp(min=1e-6).log() - 1).sum(-1)


@wrong("kl_to_prior", says="axis of size 1 is gone")
def kl_squeezed(loc, logvar):
    return textbook(loc, logvar).squeeze()


@wrong("kl_to_prior", says="changed its argument logvar in place")
def kl_in_place_without_gradient(loc, logvar):
    kl = textbook(loc, logvar)
    logvar.data.clamp_(-1, 1)
    return kl


@wrong("kl_to_prior", says="calls torch.set_default_dtype")
def kl_of_another_default(loc, logvar):
    torch.set_default_dtype(loc.dtype if loc.dtype == torch.float64 else torch.float16)
    return textbook(loc, logvar)


@right("kl_between")
def between_cut_at_zero(q_loc, q_logvar, p_loc, p_logvar):
    return torch.relu(between(q_loc, q_logvar, p_loc, p_logvar))


@right("kl_between")
def between_by_densities(q_loc, q_logvar, p_loc, p_logvar):
    """E_q[log q] in closed form, minus E_q[log p]."""
    entropy = 0.5 * (1 + math.log(2 * math.pi) + q_logvar)
    squares = ((q_loc - p_loc).square() + q_logvar.exp()) * torch.exp(-p_logvar)
    cross = 0.5 * (squares + p_logvar + math.log(2 * math.pi))
    return (cross - entropy).sum(-1)


@wrong("kl_between", says="not once to the sum")
def between_one_once(q_loc, q_logvar, p_loc, p_logvar):
    terms = (q_logvar - p_logvar).exp() + (q_loc - p_loc) ** 2 / p_logvar.exp()
    return 0.5 * ((terms + p_logvar - q_logvar).sum(-1) - 1)


@wrong("kl_between", says="outside the ½")
def between_one_outside(q_loc, q_logvar, p_loc, p_logvar):
    terms = (q_logvar - p_logvar).exp() + (q_loc - p_loc) ** 2 / p_logvar.exp()
    return (0.5 * (terms + p_logvar - q_logvar) - 1).sum(-1)


@wrong("kl_between", says="ratio must be squared")
def between_ratio_of_scales(q_loc, q_logvar, p_loc, p_logvar):
    ratio = torch.exp(0.5 * q_logvar) / torch.exp(0.5 * p_logvar)
    square = (q_loc - p_loc) ** 2 / p_logvar.exp()
    return 0.5 * (ratio + square - 1 + p_logvar - q_logvar).sum(-1)


@wrong("kl_between", says="log-variances are missing")
def between_without_logs(q_loc, q_logvar, p_loc, p_logvar):
    return 0.5 * (((q_loc - p_loc) ** 2 + q_logvar.exp()) / p_logvar.exp() - 1).sum(-1)


@wrong("kl_between", says="½ stands in front already")
def between_half_of_the_logs(q_loc, q_logvar, p_loc, p_logvar):
    log_ratio = torch.log(torch.exp(p_logvar / 2) / torch.exp(q_logvar / 2))
    square = ((q_loc - p_loc) ** 2 + q_logvar.exp()) / p_logvar.exp()
    return 0.5 * (square - 1 + log_ratio).sum(-1)


@wrong("kl_between", says="loc − p_loc\\)² is missing")
def between_the_same_means(q_loc, q_logvar, p_loc, p_logvar):
    return between(q_loc, q_logvar, q_loc, p_logvar)


@wrong("kl_between", says="cut at 1e-6")
def between_cut_variances(q_loc, q_logvar, p_loc, p_logvar):
    var_q, var_p = q_logvar.exp().clamp(min=1e-6), p_logvar.exp().clamp(min=1e-6)
    return between(q_loc, var_q.log(), p_loc, var_p.log())


@right("kl_with_error")
def mean_and_error_by_torch(log_q, log_p):
    variance, mean = torch.var_mean(log_q - log_p, dim=0)
    return mean, variance.div(log_q.shape[0]).sqrt()


@wrong("kl_with_error", says="estimate is cut off at 0")
def error_of_a_cut_mean(log_q, log_p):
    estimate, error = mean_and_error(log_q, log_p)
    return torch.clamp(estimate, min=0), error


@wrong("kl_with_error", says="single log-ratios are cut off")
def error_of_cut_ratios(log_q, log_p):
    ratio = torch.relu(log_q - log_p)
    return ratio.mean(0), ratio.std(0) / len(ratio) ** 0.5


@wrong("kl_with_error", says="turned round where")
def error_of_an_absolute_mean(log_q, log_p):
    estimate, error = mean_and_error(log_q, log_p)
    return estimate.abs(), error


@wrong("kl_with_error", says="variance divided by √n")
def error_var_for_std(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.var(0) / len(ratio) ** 0.5


@wrong("kl_with_error", says="variance of one draw")
def error_is_variance(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.var(0)


@wrong("kl_with_error", says="in it already")
def error_one_less_twice(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.std(0) / (len(ratio) - 1) ** 0.5


@wrong("kl_with_error", says="taken from 0")
def error_around_zero(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ((ratio**2).mean(0) / len(ratio)) ** 0.5


@wrong("kl_with_error", says="size of axis 0")
def error_by_the_number_of_data(log_q, log_p):
    ratio = log_q - log_p
    return ratio.mean(0), ratio.std(0) / math.sqrt(ratio.shape[1])


@right("forward_fit")
def forward_by_trapezoid(log_p, grid):
    p = torch.exp(log_p - log_p.amax())
    total = torch.trapezoid(p, grid)
    loc = torch.trapezoid(p * grid, grid) / total
    return loc, (torch.trapezoid(p * (grid - loc).square(), grid) / total).sqrt()


@right("forward_fit")
def forward_from_an_end(log_p, grid):
    """Distances from the first point, by the share of p that lies beyond each."""
    beyond = log_p.softmax(0).flip(0).cumsum(0).flip(0)[1:]
    away = (grid - grid[0])[1:]
    loc = (beyond * grid.diff()).sum()
    square = (beyond * (away**2).diff(prepend=away.new_zeros(1))).sum()
    return grid[0] + loc, (square - loc**2).sqrt()


@wrong("forward_fit", says="the result has the shape|output 1: the result has the shape")
def forward_with_axes(log_p, grid):
    loc, scale = forward_by_softmax(log_p, grid)
    return loc[None], scale[None]


@right("reverse_objective")
def reverse_kl_by_trapezoid(loc, logvar, log_p, grid):
    log_q = Normal(loc, logvar.mul(0.5).exp()).log_prob(grid)
    return torch.trapezoid(log_q.exp() * (log_q - log_p), grid)


@right("reverse_objective")
def reverse_kl_of_shares(loc, logvar, log_p, grid):
    """q's weights made to add up to 1."""
    log_q = Normal(loc, torch.exp(logvar / 2)).log_prob(grid)
    return torch.sum(log_q.softmax(0) * (log_q - log_p))


@right("reverse_objective")
def reverse_kl_with_entropy(loc, logvar, log_p, grid):
    """The entropy of a Gaussian is known; only the cross-entropy needs the grid."""
    q = Normal(loc, torch.exp(logvar / 2))
    step = (grid[-1] - grid[0]) / (grid.numel() - 1)
    return -q.entropy() - step * (q.log_prob(grid).exp() @ log_p)


@wrong("reverse_objective", says="an ε of 1e-10 inside the logarithm")
def reverse_guarded_logarithm(loc, logvar, log_p, grid):
    q = Normal(loc, torch.exp(logvar / 2)).log_prob(grid).exp()
    return (q * (torch.log(q + 1e-10) - log_p)).sum() * (grid[1] - grid[0])


@wrong("reverse_objective", says="normalized already")
def reverse_normalized_again(loc, logvar, log_p, grid):
    step = grid[1] - grid[0]
    return reverse_kl(loc, logvar, log_p - torch.log(log_p.exp().sum() * step), grid)


@wrong("reverse_objective", says="cut where p underflows")
def reverse_guarded_target(loc, logvar, log_p, grid):
    return reverse_kl(loc, logvar, torch.log(log_p.exp() + 1e-30), grid)
