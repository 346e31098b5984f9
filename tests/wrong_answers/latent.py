"""Answers to the exercises of chapter latent."""

import math

import torch
from torch.distributions import MultivariateNormal, Normal

from wrong_answers import right, wrong

# A posterior table


@right("posterior_table")
def table(log_prior, log_likelihood, observed):
    log_joint = log_prior + log_likelihood[:, observed].sum(1)
    log_evidence = torch.logsumexp(log_joint, 0)
    return torch.exp(log_joint - log_evidence), log_evidence


@right("posterior_table")
def table_one_after_the_other(log_prior, log_likelihood, observed):
    """The posterior after one observation is the prior of the next."""
    belief, log_evidence = log_prior, 0
    for value in observed:
        log_joint = belief + log_likelihood[:, value]
        predicted = log_joint.logsumexp(0)
        belief, log_evidence = log_joint - predicted, log_evidence + predicted
    return belief.exp(), log_evidence


@right("posterior_table")
def table_largest_pulled_out(log_prior, log_likelihood, observed):
    log_joint = log_prior.clone()
    for value in observed.tolist():
        log_joint = log_joint + log_likelihood.T[value]
    largest = max(log_joint)
    joint = (log_joint - largest).exp()
    return [joint / joint.sum(), largest + joint.sum().log()]


@right("posterior_table")
def table_softmax(log_prior, log_likelihood, observed):
    rows = torch.index_select(log_likelihood, 1, observed)
    log_joint = torch.cat([log_prior[:, None], rows], 1).sum(-1)
    return torch.softmax(log_joint, -1), torch.logsumexp(log_joint, -1)


@wrong("posterior_table", says="overflows or underflows|in float64")
def table_not_in_logs(log_prior, log_likelihood, observed):
    joint = log_prior.exp() * log_likelihood.exp()[:, observed].prod(1)
    return joint / joint.sum(), joint.sum().log()


@wrong("posterior_table", says="prior is missing")
def table_without_prior(log_prior, log_likelihood, observed):
    likelihood = log_likelihood[:, observed].sum(1)
    return likelihood.softmax(0), likelihood.logsumexp(0)


@wrong("posterior_table", says="once for each observation")
def table_prior_every_time(log_prior, log_likelihood, observed):
    log_joint = torch.zeros_like(log_prior)
    for value in observed:
        log_joint = log_joint + log_prior + log_likelihood[:, value]
    return log_joint.softmax(0), log_joint.logsumexp(0)


@wrong("posterior_table", says="must be added")
def table_averaged(log_prior, log_likelihood, observed):
    log_joint = log_prior + log_likelihood[:, observed].mean(dim=1)
    return log_joint.softmax(0), log_joint.logsumexp(0)


@wrong("posterior_table", says="first observation")
def table_first_only(log_prior, log_likelihood, observed):
    return table(log_prior, log_likelihood, observed[:1])


@wrong("posterior_table", says="last observation")
def table_last_only(log_prior, log_likelihood, observed):
    for value in observed:
        log_joint = log_prior + log_likelihood[:, value]
    return log_joint.softmax(0), log_joint.logsumexp(0)


@wrong("posterior_table", says="sum over all causes")
def table_best_cause(log_prior, log_likelihood, observed):
    log_joint = log_prior + log_likelihood[:, observed].sum(1)
    return log_joint.softmax(0), log_joint.max()


@wrong("posterior_table", says="averaged over the causes")
def table_mean_of_causes(log_prior, log_likelihood, observed):
    posterior, log_evidence = table(log_prior, log_likelihood, observed)
    return posterior, log_evidence - math.log(len(log_prior))


@wrong("posterior_table", says="log of the posterior")
def table_log_posterior(log_prior, log_likelihood, observed):
    _, log_evidence = table(log_prior, log_likelihood, observed)
    return log_prior + log_likelihood[:, observed].sum(1) - log_evidence, log_evidence


@wrong("posterior_table", says="divide by the evidence")
def table_joint(log_prior, log_likelihood, observed):
    log_joint = log_prior + log_likelihood[:, observed].sum(1)
    return log_joint.exp(), log_joint.logsumexp(0)


@wrong("posterior_table", says="asked is its logarithm")
def table_evidence_not_in_logs(log_prior, log_likelihood, observed):
    posterior, log_evidence = table(log_prior, log_likelihood, observed)
    return posterior, log_evidence.exp()


@wrong("posterior_table", says="surprise")
def table_surprise(log_prior, log_likelihood, observed):
    posterior, log_evidence = table(log_prior, log_likelihood, observed)
    return posterior, -log_evidence


@wrong("posterior_table", says="of each observation alone")
def table_evidence_one_by_one(log_prior, log_likelihood, observed):
    posterior, _ = table(log_prior, log_likelihood, observed)
    each = [torch.logsumexp(log_prior + log_likelihood[:, value], 0) for value in observed]
    return posterior, torch.stack(each).sum()


@wrong("posterior_table", says="multiply them")
def table_likelihoods_added(log_prior, log_likelihood, observed):
    log_joint = log_prior + torch.logsumexp(log_likelihood[:, observed], 1)
    return log_joint.softmax(0), log_joint.logsumexp(0)


@wrong("posterior_table", says="best cause alone")
def table_one_hot(log_prior, log_likelihood, observed):
    log_joint = log_prior + log_likelihood[:, observed].sum(1)
    best = torch.zeros_like(log_joint)
    best[log_joint.argmax()] = 1
    return best, log_joint.logsumexp(0)


@wrong("posterior_table", says="in place")
def table_in_place(log_prior, log_likelihood, observed):
    for value in observed:
        log_prior += log_likelihood[:, value]
    return log_prior.softmax(0), log_prior.logsumexp(0)


@wrong("posterior_table", says="2 values|1 value")
def table_posterior_only(log_prior, log_likelihood, observed):
    return table(log_prior, log_likelihood, observed)[0]


@wrong("posterior_table")
def table_ruled_out_forgotten(log_prior, log_likelihood, observed):
    return table(log_prior.clamp(min=-2.0), log_likelihood, observed)


@wrong("posterior_table")
def table_of_rows(log_prior, log_likelihood, observed):
    log_joint = log_prior + log_likelihood[observed].sum(0)
    return log_joint.softmax(0), log_joint.logsumexp(0)


# The log of an average


@right("log_average_weight")
def average_by_logsumexp(log_w):
    return torch.logsumexp(log_w, 0) - math.log(len(log_w))


@right("log_average_weight")
def average_by_hand(log_w):
    largest = log_w.max(dim=0, keepdim=True).values
    return (largest + (log_w - largest).exp().mean(0, keepdim=True).log()).squeeze(0)


@right("log_average_weight")
def average_of_shares(log_w):
    equal = log_w.new_full((log_w.shape[0],), 1 / log_w.shape[0]).log()
    return torch.logsumexp(log_w.movedim(0, -1) + equal, -1)


@right("log_average_weight")
def average_of_halves(log_w):
    """Adding up in pairs."""
    if len(log_w) == 1:
        return log_w[0]
    half = len(log_w) // 2
    left, right_half = average_by_logsumexp(log_w[:half]), average_by_logsumexp(log_w[half:])
    share = half / len(log_w)
    return torch.logaddexp(left + math.log(share), right_half + math.log(1 - share))


@wrong("log_average_weight", says=r"E\[log w\]")
def average_of_logs(log_w):
    return log_w.mean(0)


@wrong("log_average_weight", says="log K is missing")
def average_is_sum(log_w):
    return torch.logsumexp(log_w, dim=0)


@wrong("log_average_weight", says="log K is added")
def average_log_k_added(log_w):
    return torch.logsumexp(log_w, 0) + math.log(log_w.shape[0])


@wrong("log_average_weight", says="inside the logarithm")
def average_divided_outside(log_w):
    return torch.logsumexp(log_w, 0) / log_w.shape[0]


@wrong("log_average_weight", says="over the samples, axis 0")
def average_last_axis(log_w):
    return torch.logsumexp(log_w, -1) - math.log(log_w.size(-1))


@wrong("log_average_weight", says="evidence of its own")
def average_of_everything(log_w):
    largest = log_w.max()
    return largest + (log_w - largest).exp().mean().log()


@wrong("log_average_weight", says="overflows")
def average_naive(log_w):
    return log_w.exp().mean(0).log()


@wrong("log_average_weight")
def average_one_maximum_for_all(log_w):
    largest = log_w.max() + 200
    return largest + (log_w - largest).exp().mean(0).log()


@wrong("log_average_weight", says="put back")
def average_shifted(log_w):
    return (log_w - log_w.max(0).values).exp().mean(0).log()


@wrong("log_average_weight", says="largest weight alone")
def average_largest(log_w):
    return log_w.max(0).values


@wrong("log_average_weight", says="size of axis 0")
def average_wrong_k(log_w):
    return torch.logsumexp(log_w, 0) - math.log(log_w.shape[-1])


@wrong("log_average_weight", says="mean weight itself")
def average_without_log(log_w):
    return torch.exp(log_w).mean(0)


@wrong("log_average_weight", says="no gradient reaches log_w")
def average_detached(log_w):
    return average_by_logsumexp(log_w.detach())


@wrong("log_average_weight", says="gradient with respect to log_w is wrong")
def average_half_detached(log_w):
    largest = log_w.max(0).values.detach()
    return largest + (log_w - log_w.max(0).values).exp().mean(0).log()


@wrong("log_average_weight")
def average_shifted_by_mean(log_w):
    centre = log_w.clamp(min=-80, max=80)
    return centre.exp().mean(0).log()


# The posterior of the linear Gaussian


@right("linear_posterior")
def linear_by_inverse(x, weight, bias, variance):
    identity = torch.eye(weight.shape[1], dtype=x.dtype)
    inverse = torch.linalg.inv(weight.T @ weight + variance * identity)
    return (x - bias) @ weight @ inverse, variance * inverse


@right("linear_posterior")
def linear_by_precision(x, weight, bias, variance):
    precision = torch.diag(weight.new_ones(weight.shape[1])) + weight.mT @ weight / variance
    covariance = torch.linalg.inv(precision)
    return torch.einsum("ij,pj,...p->...i", covariance, weight, x - bias) / variance, covariance


@right("linear_posterior")
def linear_by_cholesky(x, weight, bias, variance):
    m = weight.mT @ weight
    m = m + torch.diag_embed(variance.expand(len(m)))
    factor = torch.linalg.cholesky(m)
    loc = torch.cholesky_solve(weight.mT @ (x - bias)[..., None], factor)
    return loc.squeeze(-1), variance * torch.cholesky_inverse(factor)


@right("linear_posterior")
def linear_by_torch(x, weight, bias, variance):
    eye = torch.eye(weight.shape[1]).to(weight)
    z = MultivariateNormal(eye[0] * 0, precision_matrix=eye + weight.T @ weight / variance)
    covariance = z.covariance_matrix
    return (x - bias) @ (weight @ covariance) / variance, covariance


@wrong("linear_posterior", says="bias is not subtracted")
def linear_without_bias(x, weight, bias, variance):
    m = weight.T @ weight + variance * torch.eye(weight.shape[1], dtype=x.dtype)
    return x @ weight @ torch.inverse(m), variance * torch.inverse(m)


@wrong("linear_posterior", says="bias is added")
def linear_bias_added(x, weight, bias, variance):
    return linear_by_inverse(x + 2 * bias, weight, bias, variance)


@wrong("linear_posterior", says="variance is squared")
def linear_variance_as_scale(x, weight, bias, variance):
    return linear_by_precision(x, weight, bias, variance**2)


@wrong("linear_posterior", says="square root")
def linear_root(x, weight, bias, variance):
    return linear_by_precision(x, weight, bias, torch.sqrt(variance))


@wrong("linear_posterior", says="prior is missing")
def linear_least_squares(x, weight, bias, variance):
    inverse = torch.linalg.inv(weight.T @ weight)
    return (x - bias) @ weight @ inverse, variance * inverse


@wrong("linear_posterior", says="multiplied by the variance")
def linear_identity_alone(x, weight, bias, variance):
    inverse = torch.linalg.inv(weight.T @ weight + torch.eye(weight.shape[1], dtype=x.dtype))
    return (x - bias) @ weight @ inverse, variance * inverse


@wrong("linear_posterior", says="on the diagonal only")
def linear_variance_everywhere(x, weight, bias, variance):
    inverse = torch.linalg.inv(weight.T @ weight + variance)
    return (x - bias) @ weight @ inverse, variance * inverse


@wrong("linear_posterior", says="the covariance is σ² M⁻¹")
def linear_m_inverse(x, weight, bias, variance):
    inverse = torch.linalg.inv(
        weight.T @ weight + variance * torch.eye(weight.shape[1], dtype=x.dtype)
    )
    return (x - bias) @ weight @ inverse, inverse


@wrong("linear_posterior", says="second value is the precision")
def linear_precision(x, weight, bias, variance):
    precision = torch.eye(weight.shape[1], dtype=x.dtype) + weight.T @ weight / variance
    return (x - bias) @ weight @ torch.inverse(precision) / variance, precision


@wrong("linear_posterior", says="diagonal only; the latents")
def linear_diagonal(x, weight, bias, variance):
    loc, covariance = linear_by_inverse(x, weight, bias, variance)
    return loc, torch.diag(torch.diag(covariance))


@wrong("linear_posterior", says="variances only")
def linear_variances(x, weight, bias, variance):
    loc, covariance = linear_by_inverse(x, weight, bias, variance)
    return loc, covariance.diagonal()


@wrong("linear_posterior", says="covariance of x, over pixels")
def linear_evidence(x, weight, bias, variance):
    loc, _ = linear_by_inverse(x, weight, bias, variance)
    return loc, weight @ weight.T + variance * torch.eye(len(bias), dtype=x.dtype)


@wrong("linear_posterior", says="W Wᵀ stands for Wᵀ W")
def linear_w_wt(x, weight, bias, variance):
    inverse = torch.linalg.inv(weight @ weight.T + variance * torch.eye(len(weight), dtype=x.dtype))
    return (x - bias) @ inverse @ weight, variance * inverse


@wrong("linear_posterior", says="lacks 1/σ²")
def linear_loc_too_small(x, weight, bias, variance):
    _, covariance = linear_by_precision(x, weight, bias, variance)
    return (x - bias) @ weight @ covariance, covariance


@wrong("linear_posterior", says="M⁻¹ is missing")
def linear_projection(x, weight, bias, variance):
    _, covariance = linear_by_precision(x, weight, bias, variance)
    return (x - bias) @ weight, covariance


@wrong("linear_posterior", says="raised RuntimeError")
def linear_shapes(x, weight, bias, variance):
    m = weight @ weight.T + variance * torch.eye(len(weight), dtype=x.dtype)
    return torch.linalg.inv(m) @ weight.T @ (x - bias), variance * torch.linalg.inv(m)


@wrong("linear_posterior", says="no gradient reaches variance")
def linear_variance_as_number(x, weight, bias, variance):
    return linear_by_inverse(x, weight, bias, variance.item())


@wrong("linear_posterior")
def linear_rounded(x, weight, bias, variance):
    loc, covariance = linear_by_inverse(x.float(), weight.float(), bias.float(), variance.float())
    return loc.round(decimals=2).to(x), covariance.to(x)


# One EM step of a mixture


@right("mixture_update")
def em_by_softmax(x, proportion, loc, variance):
    log_joint = proportion.log() + Normal(loc, variance.sqrt()).log_prob(x[:, None])
    r = torch.softmax(log_joint, 1)
    count = r.sum(0)
    new_loc = x @ r / count
    return count / len(x), new_loc, (r * (x[:, None] - new_loc) ** 2).sum(0) / count


@right("mixture_update")
def em_components_first(x, proportion, loc, variance):
    off = x - loc.unsqueeze(1)  # [components, data]
    log_p = -0.5 * off**2 / variance[:, None] - 0.5 * torch.log(variance)[:, None]
    log_r = log_p + torch.log(proportion)[:, None]
    r = torch.exp(log_r - torch.logsumexp(log_r, dim=0))
    share = r / r.sum(1, keepdim=True)  # of a component, among the data
    mean = (share * x).sum(1)
    return r.mean(1), mean, (share * (x - mean[:, None]).square()).sum(1)


@right("mixture_update")
def em_shifted(x, proportion, loc, variance):
    """The new means as the old ones plus a mean residual."""
    density = torch.distributions.Normal(loc, variance**0.5)
    log_joint = density.log_prob(x.unsqueeze(-1)) + proportion.log()
    r = (log_joint - log_joint.max(1, keepdim=True).values).exp()
    r = r / r.sum(1, keepdim=True)
    residual = x[:, None] - loc
    moved = (r * residual).sum(0) / r.sum(0)
    spread = (r * (residual - moved) ** 2).sum(0) / r.sum(0)
    return [r.sum(0) / x.shape[0], loc + moved, spread]


@right("mixture_update")
def em_old_means_corrected(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    new_loc = r.T @ x / r.sum(0)
    around_old = (r * (x[:, None] - loc) ** 2).sum(0) / r.sum(0)
    return r.mean(0), new_loc, around_old - (new_loc - loc) ** 2


def em_shares(x, proportion, loc, variance):
    return (proportion.log() + Normal(loc, variance.sqrt()).log_prob(x[:, None])).softmax(1)


def em_averages(r, x):
    new_loc = r.T @ x / r.sum(0)
    return r.mean(0), new_loc, (r * (x[:, None] - new_loc) ** 2).sum(0) / r.sum(0)


@wrong("mixture_update", says="assigned to one component")
def em_hard(x, proportion, loc, variance):
    best = em_shares(x, proportion, loc, variance).argmax(1)
    members = [x[best == k] for k in range(len(loc))]
    return (
        torch.stack([torch.tensor(len(m) / len(x)).to(x) for m in members]),
        torch.stack([m.mean() for m in members]),
        torch.stack([((m - m.mean()) ** 2).mean() for m in members]),
    )


@wrong("mixture_update", says="normalized over the data")
def em_wrong_axis(x, proportion, loc, variance):
    log_joint = proportion.log() + Normal(loc, variance.sqrt()).log_prob(x[:, None])
    return em_averages(torch.softmax(log_joint, 0), x)


@wrong("mixture_update", says="not divided by the evidence")
def em_joint(x, proportion, loc, variance):
    joint = proportion * Normal(loc, variance.sqrt()).log_prob(x[:, None]).exp()
    return em_averages(joint, x)


@wrong("mixture_update", says="current proportions are missing")
def em_without_proportions(x, proportion, loc, variance):
    return em_averages(Normal(loc, variance.sqrt()).log_prob(x[:, None]).softmax(1), x)


@wrong("mixture_update", says="taken for a scale")
def em_variance_as_scale(x, proportion, loc, variance):
    log_joint = proportion.log() + Normal(loc, variance).log_prob(x[:, None])
    return em_averages(log_joint.softmax(1), x)


@wrong("mixture_update", says="−½ log σ² is missing")
def em_without_normalizer(x, proportion, loc, variance):
    log_joint = proportion.log() - 0.5 * (x[:, None] - loc) ** 2 / variance
    return em_averages(log_joint.softmax(1), x)


@wrong("mixture_update", says="½ in the exponent")
def em_without_half(x, proportion, loc, variance):
    log_joint = proportion.log() - (x[:, None] - loc) ** 2 / variance - 0.5 * variance.log()
    return em_averages(log_joint.softmax(1), x)


@wrong("mixture_update", says="old means")
def em_old_means(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    new_loc = r.T @ x / r.sum(0)
    return r.mean(0), new_loc, (r * (x[:, None] - loc) ** 2).sum(0) / r.sum(0)


@wrong("mixture_update", says="not divided by the number of data")
def em_counts(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    return r.sum(0), *em_averages(r, x)[1:]


@wrong("mixture_update", says="third value is the scale")
def em_scale(x, proportion, loc, variance):
    new, new_loc, spread = em_averages(em_shares(x, proportion, loc, variance), x)
    return new, new_loc, spread**0.5


@wrong("mixture_update", says="means and variances are divided by the number of data")
def em_divided_by_n(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    new_loc = (r * x[:, None]).mean(0)
    return r.mean(0), new_loc, (r * (x[:, None] - new_loc) ** 2).mean(0)


@wrong("mixture_update", says="mean of x²")
def em_second_moment(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    return r.mean(0), r.T @ x / r.sum(0), r.T @ x**2 / r.sum(0)


@wrong("mixture_update", says="not weighted")
def em_unweighted_variance(x, proportion, loc, variance):
    new, new_loc, _ = em_averages(em_shares(x, proportion, loc, variance), x)
    return new, new_loc, ((x[:, None] - new_loc) ** 2).mean(0)


@wrong("mixture_update", says="proportions do not change")
def em_keeps_proportions(x, proportion, loc, variance):
    _, new_loc, spread = em_averages(em_shares(x, proportion, loc, variance), x)
    return proportion, new_loc, spread


@wrong("mixture_update", says="overflows")
def em_not_in_logs(x, proportion, loc, variance):
    joint = proportion * Normal(loc, variance.sqrt()).log_prob(x[:, None]).exp()
    return em_averages(joint / joint.sum(1, keepdim=True), x)


@wrong("mixture_update")
def em_two_steps(x, proportion, loc, variance):
    return em_by_softmax(x, *em_by_softmax(x, proportion, loc, variance))


@wrong("mixture_update")
def em_denominator_guarded(x, proportion, loc, variance):
    joint = proportion * Normal(loc, variance.sqrt()).log_prob(x[:, None]).exp()
    return em_averages(joint / (joint.sum(1, keepdim=True) + 1e-8), x)


# Importance sampling


@right("proposal_estimate")
def proposal_by_logsumexp(log_joint, log_q):
    log_w = log_joint - log_q
    size = torch.exp(2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0))
    return log_w.logsumexp(0) - math.log(len(log_w)), size


@right("proposal_estimate")
def proposal_by_shares(log_joint, log_q):
    log_w = log_joint - log_q
    largest = log_w.max(0).values
    share = torch.softmax(log_w, 0)
    return largest + (log_w - largest).exp().mean(0).log(), 1 / share.square().sum(0)


@right("proposal_estimate")
def proposal_per_datum(log_joint, log_q):
    logs, sizes = [], []
    for j, q in zip(log_joint.T, log_q.T, strict=True):
        w = torch.exp(j - q - (j - q).max())
        logs.append((j - q).max() + torch.log(w.sum() / len(w)))
        sizes.append(w.sum() ** 2 / (w @ w))
    return torch.stack(logs), torch.stack(sizes)


@right("proposal_estimate")
def proposal_by_spread(log_joint, log_q):
    """K / (1 + the relative variance of the weights)."""
    log_w = log_joint - log_q
    log_evidence = log_w.logsumexp(0) - math.log(log_w.shape[0])
    relative = (log_w - log_evidence).exp()
    return log_evidence, log_w.shape[0] / (1 + relative.var(0, correction=0))


@wrong("proposal_estimate", says="log_q is added")
def proposal_added(log_joint, log_q):
    return proposal_by_shares(log_joint, -log_q)


@wrong("proposal_estimate", says="log_q is not used")
def proposal_not_used(log_joint, log_q):
    return proposal_by_shares(log_joint, torch.zeros_like(log_joint))


@wrong("proposal_estimate", says="favours the worst")
def proposal_turned(log_joint, log_q):
    return proposal_by_shares(log_q, log_joint)


@wrong("proposal_estimate", says=r"E\[log w\]")
def proposal_mean_of_logs(log_joint, log_q):
    return (log_joint - log_q).mean(0), proposal_by_shares(log_joint, log_q)[1]


@wrong("proposal_estimate", says="log K is missing")
def proposal_sum(log_joint, log_q):
    log_w = log_joint - log_q
    return log_w.logsumexp(0), proposal_by_shares(log_joint, log_q)[1]


@wrong("proposal_estimate", says="itself; asked is its logarithm")
def proposal_without_log(log_joint, log_q):
    weight = (log_joint - log_q).exp()
    return weight.mean(0), proposal_by_shares(log_joint, log_q)[1]


@wrong("proposal_estimate", says="as a fraction")
def proposal_fraction(log_joint, log_q):
    log_evidence, size = proposal_by_shares(log_joint, log_q)
    return log_evidence, size / len(log_q)


@wrong("proposal_estimate", says="upside down")
def proposal_inverse(log_joint, log_q):
    log_evidence, size = proposal_by_shares(log_joint, log_q)
    return log_evidence, 1 / size


@wrong("proposal_estimate", says="made of log-weights")
def proposal_size_of_logs(log_joint, log_q):
    log_w = log_joint - log_q
    size = log_w.sum(0).square() / log_w.square().sum(0)
    return proposal_by_logsumexp(log_joint, log_q)[0], size


@wrong("proposal_estimate", says="largest share")
def proposal_largest_share(log_joint, log_q):
    share = (log_joint - log_q).softmax(0)
    return proposal_by_shares(log_joint, log_q)[0], 1 / share.max(0).values


@wrong("proposal_estimate", says="number of samples, not")
def proposal_number(log_joint, log_q):
    log_evidence, size = proposal_by_shares(log_joint, log_q)
    return log_evidence, torch.full_like(size, len(log_q))


@wrong("proposal_estimate", says="over the data")
def proposal_over_data(log_joint, log_q):
    log_w = log_joint - log_q
    share = log_w.softmax(1)
    return log_w.logsumexp(1) - math.log(log_w.shape[1]), 1 / (share**2).sum(1)


@wrong("proposal_estimate", says="overflows")
def proposal_not_in_logs(log_joint, log_q):
    weight = (log_joint - log_q).exp()
    return weight.mean(0).log(), weight.sum(0) ** 2 / (weight**2).sum(0)


@wrong("proposal_estimate", says="overflows")
def proposal_size_not_in_logs(log_joint, log_q):
    weight = (log_joint - log_q).exp()
    return proposal_by_logsumexp(log_joint, log_q)[0], weight.sum(0) ** 2 / (weight**2).sum(0)


@wrong("proposal_estimate", says="no gradient reaches log_q")
def proposal_detached(log_joint, log_q):
    return proposal_by_shares(log_joint, log_q.detach())


@wrong("proposal_estimate", says="1 value; expected 2")
def proposal_without_size(log_joint, log_q):
    return proposal_by_shares(log_joint, log_q)[0]


@wrong("proposal_estimate")
def proposal_self_normalized(log_joint, log_q):
    share = (log_joint - log_q).softmax(0)
    return (share * log_joint).sum(0), 1 / (share**2).sum(0)


@wrong("proposal_estimate")
def proposal_entropy_size(log_joint, log_q):
    share = (log_joint - log_q).softmax(0)
    return proposal_by_shares(log_joint, log_q)[0], (-(share * share.log()).sum(0)).exp()


# Found by a reader of the checks


@wrong("mixture_update", says="summed over the components")
def mixture_one_proportion(x, proportion, loc, variance):
    r = torch.softmax(Normal(loc, variance.sqrt()).log_prob(x[:, None]) + proportion.log(), 1)
    count = r.sum(0)
    mean = (r * x[:, None]).sum(0) / count
    return r.sum() / len(x), mean, (r * (x[:, None] - mean) ** 2).sum(0) / count


@wrong("mixture_update", says="the order is")
def mixture_other_order(x, proportion, loc, variance):
    r = torch.softmax(Normal(loc, variance.sqrt()).log_prob(x[:, None]) + proportion.log(), 1)
    count = r.sum(0)
    mean = (r * x[:, None]).sum(0) / count
    return mean, (r * (x[:, None] - mean) ** 2).sum(0) / count, count / len(x)


@wrong("proposal_estimate", says="the two are swapped")
def proposal_swapped(log_joint, log_q):
    log_w = log_joint - log_q
    size = torch.exp(2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0))
    return size, log_w.logsumexp(0) - math.log(len(log_w))


@wrong("proposal_estimate", says="stay in log space")
def proposal_one_maximum(log_joint, log_q):
    log_w = log_joint - log_q
    w = (log_w - log_w.max()).exp()
    return w.mean(0).log() + log_w.max(), w.sum(0) ** 2 / (w**2).sum(0)


@wrong("log_average_weight", says="axis of size 1 too many")
def average_keeps_the_axis(log_w):
    return torch.logsumexp(log_w, 0, keepdim=True) - math.log(len(log_w))


# Found by its users


@right("posterior_table")
def table_by_counting(log_prior, log_likelihood, observed):
    """How often each value was observed; what was not must not make 0 · ∞."""
    count = torch.bincount(observed, minlength=log_likelihood.shape[1])
    seen = torch.where(count > 0, count * log_likelihood, torch.zeros_like(log_likelihood))
    log_joint = log_prior + seen.sum(1)
    log_evidence = log_joint.logsumexp(0)
    return torch.exp(log_joint - log_evidence), log_evidence


@wrong("posterior_table", says="posterior is without its prior")
def table_posterior_without_prior(log_prior, log_likelihood, observed):
    log_seen = log_likelihood[:, observed].sum(1)
    return torch.softmax(log_seen, 0), torch.logsumexp(log_prior + log_seen, 0)


@wrong("posterior_table", says="evidence is without the prior")
def table_evidence_without_prior(log_prior, log_likelihood, observed):
    log_seen = log_likelihood[:, observed].sum(1)
    return torch.softmax(log_prior + log_seen, 0), torch.logsumexp(log_seen, 0)


@wrong("posterior_table", says="output 2: .*axis of size 1 too many")
def table_evidence_with_an_axis(log_prior, log_likelihood, observed):
    posterior, log_evidence = table(log_prior, log_likelihood, observed)
    return posterior, log_evidence[None]


@wrong("log_average_weight", says="in place")
def average_in_place(log_w):
    largest = log_w.max(0).values
    log_w -= largest
    return largest + log_w.exp().mean(0).log()


@wrong("log_average_weight", says="calls torch.set_grad_enabled")
def average_switches_gradients_off(log_w):
    average = average_by_logsumexp(log_w)
    torch.set_grad_enabled(False)
    return average


@right("linear_posterior")
def linear_by_conditioning(x, weight, bias, variance):
    """From the joint Gaussian of z and x."""
    covariance_x = weight @ weight.T + variance * torch.eye(len(bias), dtype=x.dtype)
    gain = torch.linalg.solve(covariance_x, weight).T
    return (x - bias) @ gain.T, torch.eye(weight.shape[1], dtype=x.dtype) - gain @ weight


@right("linear_posterior")
def linear_by_conditioning_with_an_inverse(x, weight, bias, variance):
    inverse = torch.linalg.inv(weight @ weight.mT + variance * torch.eye(weight.shape[0]).to(x))
    loc = torch.einsum("pl,pq,...q->...l", weight, inverse, x - bias)
    return loc, torch.eye(weight.shape[1]).to(x) - weight.mT @ inverse @ weight


@right("linear_posterior")
def linear_pixel_by_pixel(x, weight, bias, variance):
    """Each pixel is one more observation of z, and updates what is known (Kalman)."""
    loc = x.new_zeros(*x.shape[:-1], weight.shape[1])
    covariance = torch.eye(weight.shape[1], dtype=x.dtype)
    for p, row in enumerate(weight):
        along = covariance @ row
        gain = along / (row @ along + variance)
        off = x[..., p] - bias[p] - loc @ row
        loc = loc + off[..., None] * gain
        covariance = covariance - torch.outer(gain, along)
    return loc, covariance


@wrong("linear_posterior", says="output 2: .*axis of size 1 is gone")
def linear_covariance_squeezed(x, weight, bias, variance):
    loc, covariance = linear_by_inverse(x, weight, bias, variance)
    return loc, covariance.squeeze()


@wrong("linear_posterior")
def linear_pixels_rounded(x, weight, bias, variance):
    return linear_by_inverse(x.round(), weight, bias, variance)


@wrong("linear_posterior")
def linear_guarded_variance(x, weight, bias, variance):
    return linear_by_inverse(x, weight, bias, variance + 1e-6)


@wrong("mixture_update", says="count less 1: the likelihood")
def em_unbiased_variances(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    new_loc = r.T @ x / r.sum(0)
    return r.mean(0), new_loc, (r * (x[:, None] - new_loc) ** 2).sum(0) / (r.sum(0) - 1)


@wrong("mixture_update", says="n / \\(n − 1\\)")
def em_corrected_variances(x, proportion, loc, variance):
    new, new_loc, spread = em_by_softmax(x, proportion, loc, variance)
    return new, new_loc, spread * len(x) / (len(x) - 1)


@wrong("mixture_update", says="divided by n − 1")
def em_proportions_of_one_less(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    return r.sum(0) / (len(x) - 1), *em_averages(r, x)[1:]


@wrong("mixture_update", says="a mean divides by the count")
def em_means_of_one_less(x, proportion, loc, variance):
    r = em_shares(x, proportion, loc, variance)
    less = r.sum(0) - 1
    new_loc = r.T @ x / less
    return r.mean(0), new_loc, (r * (x[:, None] - new_loc) ** 2).sum(0) / less


@wrong("mixture_update")
def em_guarded_variances(x, proportion, loc, variance):
    new, new_loc, spread = em_by_softmax(x, proportion, loc, variance)
    return new, new_loc, spread + 1e-6
