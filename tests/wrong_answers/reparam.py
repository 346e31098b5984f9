"""Answers to the exercises of chapter reparam."""

import math

import torch
from torch.distributions import Independent, Normal

from vaelib.reparam import leave_one_out, moments, reparameterize, score_function_surrogate
from wrong_answers import right, wrong

# A sample from given noise


@right("sample_from_noise")
def noise_textbook(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar) * eps


@right("sample_from_noise")
def noise_by_root(loc, logvar, eps):
    std = logvar.exp().sqrt()
    return torch.addcmul(loc, std, eps)


@right("sample_from_noise")
def noise_by_vaelib(loc, logvar, eps):
    return reparameterize(loc, logvar, eps)


@right("sample_from_noise")
def noise_sample_by_sample(loc, logvar, eps):
    if eps.ndim == loc.ndim:
        return eps.detach() * (logvar / 2).exp() + loc
    return torch.stack([noise_sample_by_sample(loc, logvar, e) for e in eps])


@wrong("sample_from_noise", says="½ is missing")
def noise_variance_as_scale(loc, logvar, eps):
    return loc + logvar.exp() * eps


@wrong("sample_from_noise", says="taken for a standard deviation")
def noise_logvar_as_scale(loc, logvar, eps):
    return loc + logvar * eps


@wrong("sample_from_noise", says="scales the mean too")
def noise_on_mean(loc, logvar, eps):
    std = torch.exp(0.5 * logvar)
    return (loc + eps) * std


@wrong("sample_from_noise", says="½ belongs in the exponent")
def noise_half_outside(loc, logvar, eps):
    return loc + 0.5 * torch.exp(logvar) * eps


@wrong("sample_from_noise", says="exponential is missing")
def noise_without_exp(loc, logvar, eps):
    return loc + eps * logvar / 2


@wrong("sample_from_noise", says="taken for σ²")
def noise_root_of_logvar(loc, logvar, eps):
    return loc + torch.sqrt(logvar) * eps


@wrong("sample_from_noise", says="divides by the scale")
def noise_by_precision(loc, logvar, eps):
    return loc + eps / logvar.exp().sqrt()


@wrong("sample_from_noise", says="softplus")
def noise_softplus(loc, logvar, eps):
    return loc + torch.log1p(torch.exp(logvar)) * eps


@wrong("sample_from_noise", says="loc is missing")
def noise_without_loc(loc, logvar, eps):
    return torch.exp(0.5 * logvar) * eps


@wrong("sample_from_noise", says="not a sample")
def noise_unused(loc, logvar, eps):
    return loc


@wrong("sample_from_noise", says="scale is added")
def noise_added(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar) + eps


@wrong("sample_from_noise", says="subtracted")
def noise_subtracted(loc, logvar, eps):
    return loc - eps * torch.exp(logvar / 2)


@wrong("sample_from_noise", says="two calls")
def noise_of_its_own(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar) * torch.randn_like(eps)


@wrong("sample_from_noise", says="two calls")
def noise_by_rsample(loc, logvar, eps):
    return Independent(Normal(loc, torch.exp(0.5 * logvar)), 1).rsample()


@wrong("sample_from_noise", says="no gradient reaches loc")
def noise_detached(loc, logvar, eps):
    return (loc + torch.exp(0.5 * logvar) * eps).detach()


@wrong("sample_from_noise", says="no gradient reaches logvar")
def noise_detached_scale(loc, logvar, eps):
    with torch.no_grad():
        std = torch.exp(0.5 * logvar)
    return loc + std * eps


@wrong("sample_from_noise", says="averaged over the batch|has the shape")
def noise_averaged_over_samples(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar) * eps.mean(0)


@wrong("sample_from_noise", says="in place")
def noise_in_place(loc, logvar, eps):
    eps *= torch.exp(0.5 * logvar.detach())
    return loc + eps + 0 * logvar


@wrong("sample_from_noise")
def noise_clamped(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar.clamp(-10, 2)) * eps


@wrong("sample_from_noise", says="0.0001 is added")
def noise_with_a_floor(loc, logvar, eps):
    return loc + (torch.exp(0.5 * logvar) + 1e-4) * eps


# A surrogate with a baseline


@right("surrogate_with_baseline")
def surrogate_textbook(log_q, f, baseline):
    return ((f - baseline).detach() * log_q).mean(0)


@right("surrogate_with_baseline")
def surrogate_without_grad(log_q, f, baseline):
    with torch.no_grad():
        weight = (f - baseline) / f.shape[0]
    return torch.einsum("n...,n...->...", weight, log_q)


@right("surrogate_with_baseline")
def surrogate_by_vaelib(log_q, f, baseline):
    return score_function_surrogate(log_q, f, baseline).mean(0)


@right("surrogate_with_baseline")
def surrogate_in_two_means(log_q, f, baseline):
    f, baseline = f.detach(), baseline.detach()
    return torch.mean(f * log_q, dim=0) - baseline * torch.mean(log_q, dim=0)


@wrong("surrogate_with_baseline", says="wrong sign")
def surrogate_of_a_reward(log_q, f, baseline):
    advantage = (f - baseline).detach()
    return -(advantage * log_q).mean(0)


@wrong("surrogate_with_baseline", says="wrong sign")
def surrogate_turned_difference(log_q, f, baseline):
    return (log_q * (baseline - f).detach()).mean(0)


@wrong("surrogate_with_baseline", says="f − baseline is not detached")
def surrogate_not_detached(log_q, f, baseline):
    return ((f - baseline) * log_q).mean(0)


@wrong("surrogate_with_baseline", says="but the baseline is not")
def surrogate_only_f_detached(log_q, f, baseline):
    return ((f.detach() - baseline) * log_q).mean(0)


@wrong("surrogate_with_baseline", says="but f is not")
def surrogate_only_baseline_detached(log_q, f, baseline):
    return ((f - baseline.detach()) * log_q).mean(0)


@wrong("surrogate_with_baseline", says="through log_q alone")
def surrogate_wrong_one_detached(log_q, f, baseline):
    return ((f - baseline) * log_q.detach()).mean(0)


@wrong("surrogate_with_baseline", says="no gradient reaches log_q")
def surrogate_all_detached(log_q, f, baseline):
    return ((f - baseline) * log_q).mean(0).detach()


@wrong("surrogate_with_baseline", says="baseline is added")
def surrogate_baseline_added(log_q, f, baseline):
    return (log_q * (f.detach() + baseline.detach())).mean(0)


@wrong("surrogate_with_baseline", says="after the product")
def surrogate_baseline_late(log_q, f, baseline):
    return (f.detach() * log_q - baseline.detach()).mean(0)


@wrong("surrogate_with_baseline", says="baseline is not used")
def surrogate_plain(log_q, f, baseline):
    return (f.detach() * log_q).mean(0)


@wrong("surrogate_with_baseline", says="f's own mean")
def surrogate_own_mean(log_q, f, baseline):
    f = f.detach()
    return ((f - f.mean(dim=0)) * log_q).mean(0)


@wrong("surrogate_with_baseline", says="mean of the others")
def surrogate_leave_one_out(log_q, f, baseline):
    f = f.detach()
    return ((f - leave_one_out(f)) * log_q).mean(0)


@wrong("surrogate_with_baseline", says="added up")
def surrogate_summed(log_q, f, baseline):
    return torch.sum((f - baseline).detach() * log_q, 0)


@wrong("surrogate_with_baseline", says="exponentiated")
def surrogate_of_density(log_q, f, baseline):
    return ((f - baseline).detach() * torch.exp(log_q)).mean(0)


@wrong("surrogate_with_baseline", says="product of two means")
def surrogate_product_of_means(log_q, f, baseline):
    return (f.mean(0) - baseline).detach() * log_q.mean(0)


@wrong("surrogate_with_baseline", says="standard deviation")
def surrogate_normalized(log_q, f, baseline):
    advantage = (f - baseline).detach()
    return (advantage / advantage.std(0) * log_q).mean(0)


@wrong("surrogate_with_baseline", says="the value is not")
def surrogate_magic_box(log_q, f, baseline):
    box = torch.exp(log_q - log_q.detach())
    return (box * (f - baseline).detach()).mean(0)


@wrong("surrogate_with_baseline", says="has the shape")
def surrogate_over_everything(log_q, f, baseline):
    return ((f - baseline).detach() * log_q).mean()


@wrong("surrogate_with_baseline", says="has the shape")
def surrogate_over_last_axis(log_q, f, baseline):
    return ((f - baseline).detach() * log_q).mean(-1)


@wrong("surrogate_with_baseline")
def surrogate_unbiased_mean(log_q, f, baseline):
    return ((f - baseline).detach() * log_q).sum(0) / (len(f) - 1)


@wrong("surrogate_with_baseline")
def surrogate_squared(log_q, f, baseline):
    return ((f - baseline).detach() ** 2 * log_q).mean(0)


# Two variances on a wave


@right("wave_variances")
def wave_as_in_the_chapter(k, mu, sigma):
    exact = -k * torch.exp(-(k**2) * sigma**2 / 2) * torch.sin(k * mu)
    damped = torch.exp(-2 * k**2 * sigma**2) * torch.cos(2 * k * mu)
    path = k**2 * (1 - damped) / 2 - exact**2
    score = (1 + (1 - 4 * k**2 * sigma**2) * damped) / (2 * sigma**2) - exact**2
    return path, score


@right("wave_variances")
def wave_in_factors(k, mu, sigma):
    """sin² and cos² of kμ give cos 2kμ, and the pathwise variance becomes a product."""
    s = (k * sigma).square()
    once, c = torch.exp(-s), torch.cos(2 * k * mu)
    path = -0.5 * k**2 * torch.expm1(-s) * (1 + once * c)
    second = 0.5 * (1 + c * (1 - 4 * s) * once**2)
    return [path, second / sigma**2 - 0.5 * k**2 * once * (1 - c)]


@right("wave_variances")
def wave_on_a_grid(k, mu, sigma):
    eps = torch.linspace(-9, 9, 801, dtype=torch.float64)
    weight = torch.exp(-0.5 * eps**2)
    weight = weight / weight.sum()
    x = mu.double()[..., None] + sigma.double()[..., None] * eps
    kk = k.double()[..., None]
    path, score = -kk * torch.sin(kk * x), torch.cos(kk * x) * eps / sigma.double()[..., None]
    found = [(weight * g**2).sum(-1) - (weight * g).sum(-1) ** 2 for g in (path, score)]
    return found[0].to(k.dtype), found[1].to(k.dtype)


def of_wave(k, mu, sigma):
    """The parts of which the wrong answers make something else."""
    mean = -k * torch.exp(-0.5 * (k * sigma) ** 2) * torch.sin(k * mu)
    damped = torch.exp(-2 * (k * sigma) ** 2) * torch.cos(2 * k * mu)
    return mean, damped


@wrong("wave_variances", says="means of the squares")
def wave_second_moments(k, mu, sigma):
    _, damped = of_wave(k, mu, sigma)
    return k**2 * (1 - damped) / 2, (1 + (1 - 4 * (k * sigma) ** 2) * damped) / (2 * sigma**2)


@wrong("wave_variances", says="must be squared before")
def wave_mean_not_squared(k, mu, sigma):
    mean, _ = of_wave(k, mu, sigma)
    a, b = wave_second_moments(k, mu, sigma)
    return a - mean, b - mean


@wrong("wave_variances", says="1/σ², is missing")
def wave_score_is_eps(k, mu, sigma):
    mean, damped = of_wave(k, mu, sigma)
    score = (1 + (1 - 4 * (k * sigma) ** 2) * damped) / 2
    return k**2 * (1 - damped) / 2 - mean**2, score - mean**2


@wrong("wave_variances", says="once more")
def wave_score_over_variance(k, mu, sigma):
    mean, damped = of_wave(k, mu, sigma)
    score = (1 + (1 - 4 * (k * sigma) ** 2) * damped) / 2 / sigma**4
    return k**2 * (1 - damped) / 2 - mean**2, score - mean**2


@wrong("wave_variances", says="sigma is not used")
def wave_copied(k, mu, sigma):
    return wave_as_in_the_chapter(k, mu, torch.ones_like(sigma))


@wrong("wave_variances", says="not the variance")
def wave_sigma_as_variance(k, mu, sigma):
    return wave_as_in_the_chapter(k, mu, sigma.sqrt())


@wrong("wave_variances", says="k² is missing")
def wave_without_inner_derivative(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    _, damped = of_wave(k, mu, sigma)
    return path + (1 - k**2) * (1 - damped) / 2, score


@wrong("wave_variances", says="not k$")
def wave_slope_not_squared(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    _, damped = of_wave(k, mu, sigma)
    return path + (k - k**2) * (1 - damped) / 2, score


@wrong("wave_variances", says="cos² u")
def wave_squares_swapped(k, mu, sigma):
    mean, damped = of_wave(k, mu, sigma)
    second = (1 - (1 - 4 * (k * sigma) ** 2) * damped) / (2 * sigma**2)
    return k**2 * (1 + damped) / 2 - mean**2, second - mean**2


@wrong("wave_variances", says="squared too")
def wave_frequency_not_squared(k, mu, sigma):
    mean, _ = of_wave(k, mu, sigma)
    damped = torch.exp(-(k**2) * sigma**2) * torch.cos(2 * k * mu)
    second = (1 + (1 - 4 * (k * sigma) ** 2) * damped) / (2 * sigma**2)
    return k**2 * (1 - damped) / 2 - mean**2, second - mean**2


@wrong("wave_variances", says="damped like cos kx")
def wave_damped_once(k, mu, sigma):
    mean, _ = of_wave(k, mu, sigma)
    damped = torch.exp(-0.5 * (k * sigma) ** 2) * torch.cos(2 * k * mu)
    second = (1 + (1 - 4 * (k * sigma) ** 2) * damped) / (2 * sigma**2)
    return k**2 * (1 - damped) / 2 - mean**2, second - mean**2


@wrong("wave_variances", says="not independent")
def wave_as_if_independent(k, mu, sigma):
    mean, damped = of_wave(k, mu, sigma)
    return k**2 * (1 - damped) / 2 - mean**2, (1 + damped) / (2 * sigma**2) - mean**2


@wrong("wave_variances", says="two are swapped: the pathwise")
def wave_other_order(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    return score, path


@wrong("wave_variances", says="standard deviations")
def wave_rooted(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    return path**0.5, score**0.5


@wrong("wave_variances", says="1 value; expected 2")
def wave_who_wins(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    return path < score


@wrong("wave_variances", says="Something overflows|is nan|is inf|where .* is right")
def wave_overflows(k, mu, sigma):
    s = (k * sigma) ** 2
    path = (
        0.5 * k**2 * torch.exp(-2 * s) * (torch.exp(s) - 1) * (torch.exp(s) + torch.cos(2 * k * mu))
    )
    return path, wave_as_in_the_chapter(k, mu, sigma)[1]


@wrong("wave_variances", says="nothing is random here")
def wave_by_simulation(k, mu, sigma):
    eps = torch.randn(1000, *k.shape, dtype=k.dtype)
    x = mu + sigma * eps
    return (-k * torch.sin(k * x)).var(0), (torch.cos(k * x) * eps / sigma).var(0)


# From per-sample gradients to an error


@right("gradient_with_error")
def error_textbook(gradients, relative):
    mean, variance = gradients.mean(0), gradients.var(0)
    error = (variance / len(gradients)).sqrt()
    return mean, error, variance.sum() / (relative * mean.norm()) ** 2


@right("gradient_with_error")
def error_by_moments(gradients, relative):
    mean, variance, error = moments(gradients)
    return mean, error, variance.sum() / mean.pow(2).sum() / relative**2


@right("gradient_with_error")
def error_scaled_from_here(gradients, relative):
    """The error now, and by which factor its square must shrink."""
    n = gradients.shape[0]
    mean = gradients.sum(0) / n
    error = torch.sqrt(((gradients - mean) ** 2).sum(0) / (n - 1)) / math.sqrt(n)
    now = torch.linalg.vector_norm(error) / torch.linalg.vector_norm(mean)
    return [mean, error, n * (now / relative) ** 2]


@right("gradient_with_error")
def error_by_covariance(gradients, relative):
    spread = torch.atleast_2d(torch.cov(gradients.T))  # of one parameter it is a number
    mean = gradients.mean(dim=0)
    error = torch.sqrt(torch.diagonal(spread) / gradients.size(0))
    return mean, error, torch.trace(spread) / (mean @ mean * relative**2)


@wrong("gradient_with_error", says="standard deviation of one sample")
def error_of_one(gradients, relative):
    mean, std = gradients.mean(0), gradients.std(0)
    return mean, std, (std**2).sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="divided by √n")
def error_over_n(gradients, relative):
    mean, std = gradients.mean(0), gradients.std(0)
    return mean, std / len(gradients), (std**2).sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="variance of the mean; its")
def error_without_root(gradients, relative):
    mean, variance = gradients.mean(0), gradients.var(0)
    return mean, variance / len(gradients), variance.sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="n − 1")
def error_with_n(gradients, relative):
    mean, variance = gradients.mean(0), gradients.var(0, unbiased=False)
    error = (variance / len(gradients)).sqrt()
    return mean, error, variance.sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="from 0")
def error_around_zero(gradients, relative):
    mean, second = gradients.mean(0), (gradients**2).mean(0)
    error = torch.sqrt(second / len(gradients))
    return mean, error, second.sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="over the samples, axis 0")
def error_over_parameters(gradients, relative):
    n = gradients.shape[1]
    mean = gradients.mean(1)
    variance = ((gradients - mean[:, None]) ** 2).sum(1) / (n - 1)
    return mean, (variance / n).sqrt(), variance.sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="variance of one sample")
def needed_from_error(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, (error.norm() / (relative * mean.norm())) ** 2


@wrong("gradient_with_error", says="relative must be squared")
def needed_relative_once(gradients, relative):
    mean, error, needed = error_textbook(gradients, relative)
    return mean, error, needed * relative


@wrong("gradient_with_error", says="square root of the number")
def needed_not_squared(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.std(0).norm() / mean.norm() / relative


@wrong("gradient_with_error", says="norm of the mean must be squared")
def needed_norm_once(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.var(0).sum() / mean.norm() / relative**2


@wrong("gradient_with_error", says="standard deviations do not")
def needed_deviations_added(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.std(0).sum() ** 2 / (mean.norm() * relative) ** 2


@wrong("gradient_with_error", says="sum the variances")
def needed_mean_variance(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.var(0).mean() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="whole vector")
def needed_each_on_its_own(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, (gradients.std(0) / (relative * mean)).square().mean()


@wrong("gradient_with_error", says="mean of the norms")
def needed_by_norms(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    size = gradients.norm(dim=-1).mean()
    return mean, error, gradients.var(0).sum() / (relative * size) ** 2


@wrong("gradient_with_error", says="add once for each of the samples")
def error_of_sums(gradients, relative):
    return gradients.sum(0), *error_textbook(gradients, relative)[1:]


@wrong("gradient_with_error", says="2 values; expected 3")
def needed_forgotten(gradients, relative):
    return gradients.mean(0), gradients.std(0) / len(gradients) ** 0.5


@wrong("gradient_with_error", says="right in float64, but not in float32")
def error_that_cancels(gradients, relative):
    n, mean = len(gradients), gradients.mean(0)
    variance = ((gradients**2).mean(0) - mean**2) * n / (n - 1)
    error = (variance / n).abs().sqrt()
    return mean, error, variance.sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="rounded up")
def needed_rounded(gradients, relative):
    mean, error, needed = error_textbook(gradients, relative)
    return mean, error, needed.ceil()


@wrong("gradient_with_error")
def needed_by_the_worst(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.var(0).max() / (relative * mean.norm()) ** 2


# Found by a reader of the checks


@wrong("wave_variances", says="missing from the exponents")
def waves_damped_without_sigma(k, mu, sigma):
    damped = torch.exp(-2 * k**2) * torch.cos(2 * k * mu)
    mean = -k * torch.exp(-(k**2) / 2) * torch.sin(k * mu)
    score = (1 + (1 - 4 * k**2) * damped) / (2 * sigma**2)
    return k**2 * (1 - damped) / 2 - mean**2, score - mean**2


@wrong("wave_variances", says="damped, not amplified")
def waves_amplified(k, mu, sigma):
    s = k * sigma
    damped = torch.exp(2 * s**2) * torch.cos(2 * k * mu)
    mean = -k * torch.exp(-(s**2) / 2) * torch.sin(k * mu)
    score = (1 + (1 - 4 * s**2) * damped) / (2 * sigma**2)
    return k**2 * (1 - damped) / 2 - mean**2, score - mean**2


@wrong("gradient_with_error", says="averaged over the parameters too")
def gradient_of_one_mean(gradients, relative):
    mean, variance = gradients.mean(0), gradients.var(0)
    n = variance.sum() / (relative * mean.norm()) ** 2
    return gradients.mean(), (variance / len(gradients)).sqrt(), n


# Found by ten who tried to be wrong, and right


@right("sample_from_noise")
def noise_by_matrix(loc, logvar, eps):
    root = torch.diag_embed(torch.exp(logvar / 2))
    return loc + (root @ eps[..., None])[..., 0]


@wrong("sample_from_noise", says="1e-06 is added to the scale")
def noise_with_a_small_floor(loc, logvar, eps):
    return loc + (torch.exp(0.5 * logvar) + 1e-6) * eps


@wrong("sample_from_noise", says="1e-08 is added to the scale")
def noise_with_a_smaller_floor(loc, logvar, eps):
    return loc + (torch.exp(0.5 * logvar) + 1e-8) * eps


@wrong("sample_from_noise", says="1e-08 is added to the variance")
def noise_with_a_floor_in_variance(loc, logvar, eps):
    return loc + torch.sqrt(torch.exp(logvar) + 1e-8) * eps


@wrong("sample_from_noise")
def noise_clamped_low(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar.clamp(min=-20)) * eps


@wrong("sample_from_noise")
def noise_clamped_high(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar.clamp(max=8)) * eps


@wrong("sample_from_noise")
def noise_normalized(loc, logvar, eps):
    return loc + torch.exp(0.5 * logvar) * (eps - eps.mean()) / eps.std()


@wrong("sample_from_noise", says="result is torch.float64")
def noise_in_double(loc, logvar, eps):
    return loc.double() + torch.exp(0.5 * logvar.double()) * eps


@right("surrogate_with_baseline")
def surrogate_by_data(log_q, f, baseline):
    return torch.sum(log_q * (f.data - baseline.data), dim=0) / log_q.shape[0]


@wrong("surrogate_with_baseline", says="in place")
def surrogate_in_place(log_q, f, baseline):
    f.data -= baseline.data
    return (f.detach() * log_q).mean(0)


@wrong("surrogate_with_baseline", says="the value is not|asked is the mean")
def surrogate_value_of_f(log_q, f, baseline):
    advantage = (f - baseline).detach()
    return (advantage + advantage * (log_q - log_q.detach())).mean(0)


@wrong("surrogate_with_baseline", says="has the shape")
def surrogate_is_gradient(log_q, f, baseline):
    return (f - baseline).detach() / len(f)


@wrong("surrogate_with_baseline")
def surrogate_only_positive(log_q, f, baseline):
    return (torch.relu(f - baseline).detach() * log_q).mean(0)


@wrong("surrogate_with_baseline")
def surrogate_divided_by_baseline(log_q, f, baseline):
    return ((f / baseline).detach() * log_q).mean(0)


@wrong("wave_variances")
def wave_with_epsilon(k, mu, sigma):
    path, _ = wave_as_in_the_chapter(k, mu, sigma)
    mean, damped = of_wave(k, mu, sigma)
    score = (1 + (1 - 4 * (k * sigma) ** 2) * damped) / (2 * (sigma**2 + 1e-8))
    return path, score - mean**2


@wrong("wave_variances", says="second is a mean of squares")
def wave_score_mean_forgotten(k, mu, sigma):
    path, _ = wave_as_in_the_chapter(k, mu, sigma)
    return path, wave_second_moments(k, mu, sigma)[1]


@wrong("wave_variances", says="first is a mean of squares")
def wave_path_mean_forgotten(k, mu, sigma):
    _, score = wave_as_in_the_chapter(k, mu, sigma)
    return wave_second_moments(k, mu, sigma)[0], score


@wrong("wave_variances", says="over many waves")
def wave_of_many_waves(k, mu, sigma):
    return k**2 / 2, 1 / (2 * sigma**2)


@wrong("wave_variances", says="in place")
def wave_in_place(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    sigma **= 2
    return path, score


@wrong("wave_variances")
def wave_gradient_in_sigma(k, mu, sigma):
    path, score = wave_as_in_the_chapter(k, mu, sigma)
    return path * sigma**2, score * sigma**2


@right("gradient_with_error")
def error_by_var_mean(gradients, relative):
    variance, mean = torch.var_mean(gradients, dim=0, correction=1)
    error = variance.div(gradients.shape[0]).sqrt()
    ratio = error.norm() / (relative * mean.norm())
    return mean, error, gradients.shape[0] * ratio**2


@wrong("gradient_with_error", says="there too")
def needed_with_n(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.var(0, correction=0).sum() / (relative * mean.norm()) ** 2


@wrong("gradient_with_error", says="already")
def error_divided_by_root_of_n_minus_one(gradients, relative):
    mean, _, needed = error_textbook(gradients, relative)
    return mean, gradients.std(0) / (len(gradients) - 1) ** 0.5, needed


@wrong("gradient_with_error", says="as in the third")
def error_with_n_only_in_error(gradients, relative):
    mean, _, needed = error_textbook(gradients, relative)
    return mean, gradients.std(0, correction=0) / len(gradients) ** 0.5, needed


@wrong("gradient_with_error", says="standard deviation of one sample")
def error_of_one_sample_alone(gradients, relative):
    mean, _, needed = error_textbook(gradients, relative)
    return mean, gradients.std(0), needed


@wrong("gradient_with_error", says="multiplied by n")
def needed_times_n(gradients, relative):
    mean, error, needed = error_textbook(gradients, relative)
    return mean, error, needed * len(gradients)


@wrong("gradient_with_error", says="1.96 times")
def error_interval(gradients, relative):
    mean, error, needed = error_textbook(gradients, relative)
    return mean, 1.96 * error, needed


@wrong("gradient_with_error", says="cut at 1")
def needed_at_least_one(gradients, relative):
    mean, error, needed = error_textbook(gradients, relative)
    return mean, error, needed.clamp(min=1.0)


@wrong("gradient_with_error")
def needed_at_least_two(gradients, relative):
    mean, error, needed = error_textbook(gradients, relative)
    return mean, error, needed.clamp(min=2.0)


@wrong("gradient_with_error")
def needed_with_epsilon(gradients, relative):
    mean, error, _ = error_textbook(gradients, relative)
    return mean, error, gradients.var(0).sum() / (relative**2 * mean.square().sum() + 1e-8)


@wrong("gradient_with_error", says="in place")
def error_in_place(gradients, relative):
    mean, n = gradients.mean(0), len(gradients)
    gradients -= mean
    variance = gradients.square().sum(0) / (n - 1)
    return mean, (variance / n).sqrt(), variance.sum() / (relative * mean.norm()) ** 2
