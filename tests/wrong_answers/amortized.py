"""Answers to the exercises of chapter amortized."""

import math
from statistics import NormalDist

import torch
from torch.distributions import Independent, Normal
from torch.nn import functional as F

from wrong_answers import right, wrong

# The head


@right("head_outputs")
def head(features, weight, bias):
    loc, logvar = F.linear(features, weight, bias).chunk(2, dim=-1)
    return loc, logvar, torch.exp(0.5 * logvar)


@right("head_outputs")
def head_by_slices(features, weight, bias):
    latent = len(bias) // 2
    out = features @ weight.T + bias
    loc, logvar = out[..., :latent], out[..., latent:]
    return loc, logvar, logvar.exp() ** 0.5


@right("head_outputs")
def head_of_two_layers(features, weight, bias):
    (w_loc, w_logvar), (b_loc, b_logvar) = weight.chunk(2), bias.chunk(2)
    logvar = F.linear(features, w_logvar, b_logvar)
    return [F.linear(features, w_loc, b_loc), logvar, torch.sqrt(torch.exp(logvar))]


@wrong("head_outputs", says="exp\\(logvar\\) is the variance")
def head_variance(features, weight, bias):
    loc, logvar, scale = head(features, weight, bias)
    return loc, logvar, scale**2


@wrong("head_outputs", says="swapped")
def head_swapped(features, weight, bias):
    logvar, loc = F.linear(features, weight, bias).chunk(2, -1)
    return loc, logvar, (logvar / 2).exp()


@wrong("head_outputs", says="alternate")
def head_interleaved(features, weight, bias):
    out = F.linear(features, weight, bias).unflatten(-1, (-1, 2))
    loc, logvar = out[..., 0], out[..., 1]
    return loc, logvar, (logvar / 2).exp()


@wrong("head_outputs", says="exponentiated")
def head_returns_variance(features, weight, bias):
    loc, _, scale = head(features, weight, bias)
    return loc, scale.square(), scale


@wrong("head_outputs", says="shared")
def head_one_scale(features, weight, bias):
    loc, logvar, _ = head(features, weight, bias)
    one = torch.exp(0.5 * logvar.mean(-1, keepdim=True))
    return loc, logvar, one.repeat(*[1] * (logvar.ndim - 1), logvar.shape[-1])


@wrong("head_outputs", says="bias is forgotten")
def head_without_bias(features, weight, bias):
    loc, logvar = F.linear(features, weight).chunk(2, -1)
    return loc, logvar, (logvar / 2).exp()


@wrong("head_outputs", says="relu stands on the output")
def head_relu(features, weight, bias):
    loc, logvar = torch.relu(F.linear(features, weight, bias)).chunk(2, -1)
    return loc, logvar, (logvar / 2).exp()


@wrong("head_outputs", says="relu stands on logvar")
def head_relu_logvar(features, weight, bias):
    loc, logvar = F.linear(features, weight, bias).chunk(2, -1)
    logvar = logvar.clamp(min=0)
    return loc, logvar, (logvar / 2).exp()


@wrong("head_outputs", says="softplus")
def head_softplus(features, weight, bias):
    loc, logvar, _ = head(features, weight, bias)
    return loc, logvar, F.softplus(logvar)


@wrong("head_outputs", says="2 values; expected 3")
def head_two_outputs(features, weight, bias):
    return head(features, weight, bias)[:2]


@wrong("head_outputs", says="it raised RuntimeError")
def head_transposed(features, weight, bias):
    loc, logvar = (features @ weight + bias).chunk(2, -1)
    return loc, logvar, (logvar / 2).exp()


@wrong("head_outputs", says="output 3: .*no gradient|gradient")
def head_detached_scale(features, weight, bias):
    loc, logvar, scale = head(features, weight, bias)
    return loc, logvar, scale.detach()


# log q of pairs


@right("pair_log_q")
def log_q(z, loc, logvar):
    return Normal(loc, torch.exp(0.5 * logvar)).log_prob(z).sum(-1)


@right("pair_log_q")
def log_q_by_hand(z, loc, logvar):
    squares = (z - loc) ** 2 * torch.exp(-logvar)
    return -0.5 * (squares + logvar + math.log(2 * math.pi)).sum(dim=-1)


@right("pair_log_q")
def log_q_independent(z, loc, logvar):
    return Independent(Normal(loc, logvar.exp().sqrt()), 1).log_prob(z)


@right("pair_log_q")
def log_q_standardized(z, loc, logvar):
    eps = (z - loc) / torch.exp(logvar / 2)
    return -(eps**2).sum(-1) / 2 - logvar.sum(-1) / 2 - z.size(-1) * 0.5 * math.log(2 * math.pi)


@wrong("pair_log_q", says="½ log 2π is missing")
def log_q_no_constant(z, loc, logvar):
    return log_q(z, loc, logvar) + 0.5 * math.log(2 * math.pi) * z.shape[-1]


@wrong("pair_log_q", says="counted once")
def log_q_constant_once(z, loc, logvar):
    squares = ((z - loc) ** 2 / logvar.exp() + logvar).sum(-1)
    return -0.5 * (squares + math.log(2 * math.pi))


@wrong("pair_log_q", says="log σ², not log σ")
def log_q_logvar_as_log_scale(z, loc, logvar):
    return Normal(loc, logvar.exp()).log_prob(z).sum(-1)


@wrong("pair_log_q", says="not divided by σ²")
def log_q_not_divided(z, loc, logvar):
    return -0.5 * ((z - loc) ** 2 + logvar + math.log(2 * math.pi)).sum(-1)


@wrong("pair_log_q", says="divided by σ;")
def log_q_divided_by_scale(z, loc, logvar):
    squares = (z - loc) ** 2 / torch.exp(0.5 * logvar)
    return -0.5 * (squares + logvar + math.log(2 * math.pi)).sum(-1)


@wrong("pair_log_q", says="lacks its ½")
def log_q_half_missing(z, loc, logvar):
    return log_q(z, loc, logvar) - 0.5 * ((z - loc) ** 2 / logvar.exp()).sum(-1)


@wrong("pair_log_q", says="all of logvar")
def log_q_whole_logvar(z, loc, logvar):
    return log_q(z, loc, logvar) - 0.5 * logvar.sum(-1)


@wrong("pair_log_q", says="sign")
def log_q_loss(z, loc, logvar):
    return -log_q(z, loc, logvar)


@wrong("pair_log_q", says="average over the latent dimensions")
def log_q_mean(z, loc, logvar):
    return Normal(loc, (0.5 * logvar).exp()).log_prob(z).mean(-1)


@wrong("pair_log_q", says="sum over the last axis is missing")
def log_q_per_dimension(z, loc, logvar):
    return Normal(loc, (0.5 * logvar).exp()).log_prob(z)


@wrong("pair_log_q", says="batch")
def log_q_of_batch(z, loc, logvar):
    return log_q(z, loc, logvar).mean()


@wrong("pair_log_q", says="stay in log space")
def log_q_of_density(z, loc, logvar):
    density = torch.exp(Normal(loc, (0.5 * logvar).exp()).log_prob(z))
    return density.log().sum(-1)


@wrong("pair_log_q", says="no gradient reaches logvar")
def log_q_detached(z, loc, logvar):
    return log_q(z, loc, logvar.detach())


@wrong("pair_log_q")
def log_q_absolute(z, loc, logvar):
    return -((z - loc).abs() / torch.exp(0.5 * logvar) + 0.5 * logvar).sum(-1)


# Coverage


@right("interval_hits")
def hits(z, loc, logvar, level):
    width = NormalDist().inv_cdf((1 + level) / 2)
    inside = (z - loc).abs() < width * torch.exp(0.5 * logvar)
    return inside.float().mean(0)


@right("interval_hits")
def hits_by_quantiles(z, loc, logvar, level):
    q = Normal(loc, torch.exp(0.5 * logvar))
    low, high = (q.icdf(torch.tensor(p).to(z)) for p in ((1 - level) / 2, (1 + level) / 2))
    return ((low < z) & (z < high)).to(z.dtype).mean(dim=0)


@right("interval_hits")
def hits_by_erf(z, loc, logvar, level):
    eps = (z - loc).abs() / logvar.exp().sqrt()
    inside = torch.erf(eps / 2**0.5) < level
    return inside.sum(0) / len(z)


@wrong("interval_hits", says="level itself")
def hits_quantile_of_level(z, loc, logvar, level):
    width = abs(NormalDist().inv_cdf(level))
    return ((z - loc).abs() < width * torch.exp(0.5 * logvar)).double().mean(0)


@wrong("interval_hits", says="open below")
def hits_one_sided(z, loc, logvar, level):
    width = NormalDist().inv_cdf((1 + level) / 2)
    return (z < loc + width * torch.exp(0.5 * logvar)).double().mean(0)


@wrong("interval_hits", says="variances")
def hits_variance(z, loc, logvar, level):
    return hits(z, loc, 2 * logvar, level)


@wrong("interval_hits", says="±1 σ")
def hits_one_sigma(z, loc, logvar, level):
    return ((z - loc).abs() < torch.exp(0.5 * logvar)).double().mean(0)


@wrong("interval_hits", says="95 %")
def hits_of_95(z, loc, logvar, level):
    return ((z - loc).abs() < 1.96 * torch.exp(0.5 * logvar)).double().mean(0)


@wrong("interval_hits", says="±level")
def hits_level_as_width(z, loc, logvar, level):
    return ((z - loc).abs() < level * torch.exp(0.5 * logvar)).double().mean(0)


@wrong("interval_hits", says="outside")
def hits_outside(z, loc, logvar, level):
    return 1 - hits(z, loc, logvar, level)


@wrong("interval_hits", says="all dimensions are inside")
def hits_jointly(z, loc, logvar, level):
    width = NormalDist().inv_cdf((1 + level) / 2)
    inside = (z - loc).abs() < width * torch.exp(0.5 * logvar)
    return inside.all(-1).double().mean()


@wrong("interval_hits", says="pooled")
def hits_pooled(z, loc, logvar, level):
    return hits(z, loc, logvar, level).mean()


@wrong("interval_hits", says="over the data, axis 0")
def hits_over_dimensions(z, loc, logvar, level):
    width = NormalDist().inv_cdf((1 + level) / 2)
    return ((z - loc).abs() < width * torch.exp(0.5 * logvar)).double().mean(-1)


@wrong("interval_hits", says="counts")
def hits_counted(z, loc, logvar, level):
    width = NormalDist().inv_cdf((1 + level) / 2)
    return ((z - loc).abs() < width * torch.exp(0.5 * logvar)).sum(0)


@wrong("interval_hits")
def hits_by_common_scale(z, loc, logvar, level):
    return hits(z, loc, logvar.mean() + 0 * logvar, level)


@wrong("interval_hits")
def hits_promised(z, loc, logvar, level):
    return torch.full(z.shape[1:], level).double()


# The price of a diagonal q


@right("diagonal_price")
def price(covariance):
    variances = torch.diagonal(covariance, dim1=-2, dim2=-1)
    return 0.5 * (variances.log().sum(-1) - torch.logdet(covariance))


@right("diagonal_price")
def price_by_cholesky(covariance):
    factor = torch.linalg.cholesky(covariance)
    own = torch.diagonal(factor, dim1=-2, dim2=-1).log().sum(-1)
    marginal = factor.square().sum(-1).log().sum(-1) / 2
    return marginal - own


@right("diagonal_price")
def price_by_slogdet(covariance):
    _, log_det = torch.linalg.slogdet(covariance)
    variances = torch.einsum("...ii->...i", covariance)
    return (torch.log(variances).sum(dim=-1) - log_det) / 2


@wrong("diagonal_price", says="½ in front")
def price_without_half(covariance):
    return 2 * price(covariance)


@wrong("diagonal_price", says="other direction")
def price_of_precision(covariance):
    return price(torch.linalg.inv(covariance))


@wrong("diagonal_price", says="log det Σ is missing")
def price_no_determinant(covariance):
    return torch.diagonal(covariance, dim1=-2, dim2=-1).log().sum(-1) / 2


@wrong("diagonal_price", says="must be subtracted")
def price_added(covariance):
    variances = torch.diagonal(covariance, dim1=-2, dim2=-1)
    return 0.5 * (variances.log().sum(-1) + torch.logdet(covariance))


@wrong("diagonal_price", says="trace")
def price_of_trace(covariance):
    trace = torch.diagonal(covariance, dim1=-2, dim2=-1).sum(-1)
    return 0.5 * (trace.log() - torch.logdet(covariance))


@wrong("diagonal_price", says="without its logarithm")
def price_determinant(covariance):
    variances = torch.diagonal(covariance, dim1=-2, dim2=-1)
    return 0.5 * (variances.log().sum(-1) - torch.linalg.det(covariance))


@wrong("diagonal_price", says="det underflows")
def price_underflows(covariance):
    variances = torch.diagonal(covariance, dim1=-2, dim2=-1)
    return 0.5 * (variances.log().sum(-1) - torch.log(torch.det(covariance)))


@wrong("diagonal_price", says="1/Λᵢᵢ")
def price_conditional_variances(covariance):
    precision = torch.linalg.inv(covariance)
    variances = 1 / torch.diagonal(precision, dim1=-2, dim2=-1)
    return 0.5 * (variances.log().sum(-1) - torch.logdet(covariance))


@wrong("diagonal_price", says="sign")
def price_negative(covariance):
    return -price(covariance)


@wrong("diagonal_price", says="product of the variances underflows")
def price_product(covariance):
    variances = torch.diagonal(covariance, dim1=-2, dim2=-1).prod(-1)
    return 0.5 * (variances.log() - torch.logdet(covariance))


@wrong("diagonal_price")
def price_of_first_correlation(covariance):
    a, b = covariance[..., 0, 0], covariance[..., 1, 1]
    rho2 = covariance[..., 0, 1] ** 2 / (a * b)
    return -0.5 * torch.log1p(-rho2)


@wrong("diagonal_price")
def price_of_batch(covariance):
    return price(covariance).sum() * torch.ones(covariance.shape[:-2], dtype=covariance.dtype)


# Found by a reader of the checks


@right("pair_log_q")
def log_q_with_a_constant_of_float32(z, loc, logvar):
    two_pi = torch.tensor(2 * math.pi)
    return -0.5 * (torch.log(two_pi) + logvar + (z - loc) ** 2 / logvar.exp()).sum(-1)


@wrong("head_outputs", says="1/σ")
def head_inverse_scale(features, weight, bias):
    loc, logvar = F.linear(features, weight, bias).chunk(2, -1)
    return loc, logvar, 1 / torch.exp(logvar / 2)


@wrong("head_outputs", says="second and the third value are swapped")
def head_scale_second(features, weight, bias):
    loc, logvar = F.linear(features, weight, bias).chunk(2, -1)
    return loc, torch.exp(logvar / 2), logvar


@wrong("pair_log_q", says="multiplied by σ²")
def log_q_of_precisions(z, loc, logvar):
    squares = (z - loc) ** 2 * logvar.exp()
    return -0.5 * (squares + logvar + math.log(2 * math.pi)).sum(-1)


@wrong("pair_log_q", says="prior N\\(0, I\\)")
def log_q_is_prior(z, loc, logvar):
    return Normal(torch.zeros_like(z), 1.0).log_prob(z).sum(-1)


@wrong("interval_hits", says="half of what lies outside")
def hits_of_a_quarter(z, loc, logvar, level):
    width = NormalDist().inv_cdf(1 - level / 2) * torch.exp(logvar / 2)
    return ((z > loc - width) & (z < loc + width)).double().mean(0)


@wrong("diagonal_price", says="twice the sum")
def price_cholesky_once(covariance):
    factor = torch.linalg.cholesky(covariance)
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    return 0.5 * variances.log().sum(-1) - 0.5 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)


@wrong("diagonal_price", says="other direction")
def price_other_direction(covariance):
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    precision = torch.linalg.inv(covariance).diagonal(dim1=-2, dim2=-1)
    trace = (precision * variances).sum(-1) - covariance.shape[-1]
    return 0.5 * (trace + torch.logdet(covariance) - variances.log().sum(-1))


# Found by its users


@right("head_outputs")
def head_by_rows(features, weight, bias):
    """One output after the other."""
    out = [(features * row).sum(-1) + b for row, b in zip(weight, bias, strict=True)]
    half = len(out) // 2
    loc, logvar = torch.stack(out[:half], -1), torch.stack(out[half:], -1)
    return loc, logvar, torch.exp(logvar).pow(0.5)


@wrong("head_outputs", says="1e-06 is added to the scale")
def head_guarded(features, weight, bias):
    loc, logvar, scale = head(features, weight, bias)
    return loc, logvar, scale + 1e-6


@wrong("head_outputs", says="1e-08 is added to the scale")
def head_guarded_a_little(features, weight, bias):
    loc, logvar, scale = head(features, weight, bias)
    return loc, logvar, scale + 1e-8


@wrong("head_outputs", says="scale is cut at 1e-6")
def head_cut_scale(features, weight, bias):
    loc, logvar, scale = head(features, weight, bias)
    return loc, logvar, scale.clamp(min=1e-6)


@wrong("head_outputs", says="variance is cut at 1e-6")
def head_cut_variance(features, weight, bias):
    loc, logvar, _ = head(features, weight, bias)
    return loc, logvar, torch.exp(logvar).clamp(min=1e-6).sqrt()


@wrong("head_outputs", says="the result is torch.float32")
def head_in_float32(features, weight, bias):
    return tuple(value.float() for value in head(features, weight, bias))


@wrong("pair_log_q", says="variance is cut at 1e-6")
def log_q_of_a_cut_variance(z, loc, logvar):
    variance = torch.exp(logvar).clamp(min=1e-6)
    return -0.5 * ((z - loc) ** 2 / variance + torch.log(2 * math.pi * variance)).sum(-1)


@wrong("pair_log_q", says="scale is cut at 1e-6")
def log_q_of_a_cut_scale(z, loc, logvar):
    return Normal(loc, torch.exp(0.5 * logvar).clamp(min=1e-6)).log_prob(z).sum(-1)


@wrong("pair_log_q", says="1e-06 is added to the scale")
def log_q_of_a_guarded_scale(z, loc, logvar):
    return Normal(loc, torch.exp(0.5 * logvar) + 1e-6).log_prob(z).sum(-1)


@wrong("pair_log_q", says="1e-08 is added to the scale")
def log_q_of_a_scale_guarded_a_little(z, loc, logvar):
    return Normal(loc, torch.exp(0.5 * logvar) + 1e-8).log_prob(z).sum(-1)


@wrong("pair_log_q", says="1e-08 is added to the variance")
def log_q_of_a_guarded_variance(z, loc, logvar):
    variance = torch.exp(logvar) + 1e-8
    return -0.5 * ((z - loc) ** 2 / variance + torch.log(2 * math.pi * variance)).sum(-1)


@wrong("pair_log_q")
def log_q_of_rounded_latents(z, loc, logvar):
    return log_q(z.round(decimals=3), loc, logvar)


@right("interval_hits")
def hits_by_squares(z, loc, logvar, level):
    """Squares of deviations, whose quantile is that of a χ² with one degree of freedom."""
    squares = (z - loc) ** 2 / logvar.exp()
    inside = squares < NormalDist().inv_cdf(0.5 + level / 2) ** 2
    return torch.stack([column.double().mean() for column in inside.unbind(1)])


@wrong("interval_hits", says="±1.645 σ")
def hits_of_90(z, loc, logvar, level):
    width = 1.645 * torch.exp(0.5 * logvar)
    return ((loc - width < z) & (z < loc + width)).float().mean(0)


@wrong("interval_hits", says="±2 σ")
def hits_of_two_sigma(z, loc, logvar, level):
    return ((z - loc).abs() < 2 * torch.exp(0.5 * logvar)).float().mean(0)


@wrong("interval_hits", says="1e-06 is added to the scale")
def hits_guarded(z, loc, logvar, level):
    width = NormalDist().inv_cdf((1 + level) / 2)
    eps = (z - loc) / (torch.exp(0.5 * logvar) + 1e-6)
    return (eps.abs() < width).double().mean(0)


@right("diagonal_price")
def price_by_correlations(covariance):
    """A correlation of 0 costs nothing: only they decide."""
    scale = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    correlation = covariance / (scale[..., None] * scale[..., None, :])
    return -torch.linalg.cholesky(correlation).diagonal(dim1=-2, dim2=-1).log().sum(-1)


@wrong("diagonal_price", says="changed its argument covariance in place")
def price_in_place(covariance):
    variances = covariance.diagonal(dim1=-2, dim2=-1).clone()
    covariance /= variances[..., None]  # its rows
    return -0.5 * torch.logdet(covariance)


@wrong("diagonal_price", says="average over the latent dimensions")
def price_averaged(covariance):
    return price(covariance) / covariance.shape[-1]


@wrong("diagonal_price", says="no gradient reaches the covariance_factor of which the arguments")
def price_detached(covariance):
    return price(covariance.detach())


@wrong("diagonal_price")
def price_guarded(covariance):
    latent = covariance.shape[-1]
    return price(covariance + 1e-6 * torch.eye(latent, dtype=covariance.dtype))


@wrong("diagonal_price", says="called with covariance of shape")
def price_of_a_vector(covariance):
    variances = covariance.diagonal(dim1=-2, dim2=-1)
    return 0.5 * (variances.log().sum(-1) - torch.logdet(variances))
