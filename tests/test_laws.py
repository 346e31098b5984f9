"""The laws that the package promises, each at random arguments, extreme ones among them.

``make test`` tries each law some hundred times, more than 10,000 in all, always at the same
arguments; ``make soak`` tries each 6,500 times. What fails is shrunk to the simplest arguments
that still fail.
"""

import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib import elbo as bounds
from vaelib import evaluate, likelihood, nets, prior
from vaelib.kl import DiagonalNormal, fit_forward, kl_line, kl_normal, kl_standard_normal
from vaelib.latent import (
    DiscreteNetwork,
    GaussianMixture,
    LinearGaussian,
    Node,
    NonlinearGaussian,
    effective_sample_fraction,
    effective_sample_size,
    evidence_estimate,
    grid,
    grid_evidence,
    log_mean_exp,
)
from vaelib.reparam import gumbel_softmax, leave_one_out, reparameterize
from vaelib.vae import VAE

# Learners and importers have no beartype: a wrong shape meets our own error.
pytestmark = pytest.mark.usefixtures("plain_errors")

QUICK, LONG = 330, 6_500
LAWS = {}
NODES, WEIGHTS = map(torch.from_numpy, np.polynomial.legendre.leggauss(24))


def law(**inputs):
    """A function that fails where the law does, with a strategy for each of its arguments."""

    def register(check):
        LAWS[check.__name__] = (check, inputs)
        return check

    return register


def try_law(name, examples):
    """Hypothesis, at arguments that are the same each time, and no fewer than were asked for."""
    check, inputs = LAWS[name]
    tried = 0

    def counted(**arguments):
        nonlocal tried
        check(**arguments)
        tried += 1  # a case that `assume` turns down does not count

    settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )(given(**inputs)(counted))()
    assert tried >= examples


# ------------------------------------------------------------------------------ strategies


def reals(low, high):
    return st.floats(low, high, allow_nan=False, allow_infinity=False)


def vectors(size, low, high):
    """A tensor in float64."""
    return st.lists(reals(low, high), min_size=size, max_size=size).map(
        lambda v: torch.tensor(v, dtype=torch.float64)
    )


def matrices(rows, columns, low, high):
    return vectors(rows * columns, low, high).map(lambda v: v.view(rows, columns))


seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([torch.float32, torch.float64])


def normals(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def linear_gaussian(seed, pixels, latent):
    """Weights, bias and variance over several orders of magnitude."""
    g = torch.Generator().manual_seed(seed)
    scale, log_variance = torch.exp(normals(g, ())), 2 * normals(g, ())
    model = LinearGaussian(
        scale * normals(g, pixels, latent), normals(g, pixels), torch.exp(log_variance)
    )
    return model, 3 * normals(g, 4, pixels), g


def some_normal(g, batch, latent, *, full):
    """A q for each datum."""
    loc = 2 * normals(g, batch, latent)
    if not full:
        return DiagonalNormal(loc, 2 * normals(g, batch, latent))
    root = 0.5 * normals(g, batch, latent, latent).tril(-1)
    root = root + torch.diag_embed(torch.exp(normals(g, batch, latent)))
    return MultivariateNormal(loc, scale_tril=root)


def integral(log_density, breaks):
    """Gauss and Legendre's rule between neighbouring breaks; log_density takes ``[points]``."""
    breaks = breaks.double().unique()
    middle, half = (breaks[1:] + breaks[:-1]) / 2, (breaks[1:] - breaks[:-1]) / 2
    points = (middle[:, None] + half[:, None] * NODES).flatten()
    weights = (half[:, None] * WEIGHTS).flatten()
    return (weights * log_density(points).double().exp()).sum().item()


def around(loc, scale):
    """Breaks that follow each normal out to 12 of its scales."""
    steps = torch.linspace(-12.0, 12.0, 25, dtype=torch.float64)
    return (loc.double()[:, None] + scale.double()[:, None] * steps).flatten()


# ------------------------------------------------------------------------------ KL divergences


@law(
    loc_q=vectors(3, -1e3, 1e3),
    logvar_q=vectors(3, -200, 80),
    loc_p=vectors(3, -1e3, 1e3),
    logvar_p=vectors(3, -200, 80),
    dtype=dtypes,
)
def kl_is_never_negative_and_0_at_equality(loc_q, logvar_q, loc_p, logvar_p, dtype):
    loc_q, logvar_q, loc_p, logvar_p = (t.to(dtype) for t in (loc_q, logvar_q, loc_p, logvar_p))
    assert kl_normal(loc_q, logvar_q, loc_p, logvar_p) >= 0
    assert kl_standard_normal(loc_q, logvar_q) >= 0
    assert kl_normal(loc_q, logvar_q, loc_q, logvar_q) == 0
    q = DiagonalNormal(loc_q, logvar_q)
    assert kl_divergence(q, DiagonalNormal(loc_q.clone(), logvar_q.clone())) == 0


@law(
    loc=vectors(2, -50, 50),
    logvar=vectors(2, -20, 20),
    shift=vectors(2, -1e3, 1e3),
    log_scale=vectors(2, -5, 5),
)
def kl_does_not_change_when_both_are_moved_and_stretched(loc, logvar, shift, log_scale):
    before = kl_normal(loc, logvar, torch.ones(2).double(), torch.full((2,), -1.0).double())
    moved = [
        (log_scale.exp() * loc + shift, logvar + 2 * log_scale),
        (log_scale.exp() + shift, 2 * log_scale - 1),
    ]
    after = kl_normal(*moved[0], *moved[1])
    # A shift costs digits of loc: 1e3 + 1e-2 keeps 1e-11 of the difference, in units of p's scale.
    lost = 1e-12 * (1 + shift.abs().max() * (-log_scale).exp().max()) ** 2
    assert torch.allclose(before, after, rtol=1e-9 + lost.item(), atol=1e-9 + lost.item())


@law(seed=seeds, latent=st.integers(1, 4))
def kl_of_full_normals_is_not_negative_and_0_at_equality(seed, latent):
    g = torch.Generator().manual_seed(seed)
    p, q = some_normal(g, 3, latent, full=True), some_normal(g, 3, latent, full=False)
    for a, b in ((p, q), (q, p), (p, p)):
        kl = kl_divergence(a, b)
        assert (kl >= -1e-9).all()
        if a is b:
            assert torch.allclose(kl, torch.zeros_like(kl), atol=1e-9)


@law(q=vectors(41, -3, 3), p=vectors(41, -3, 3))
def kl_over_a_line_is_not_negative_and_0_at_equality(q, p):
    z = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)
    log_q, log_p = (torch.log_softmax(t, 0) - math.log(0.1) for t in (q, p))
    assert kl_line(log_q, log_p, z) >= -1e-12
    assert kl_line(log_q, log_q, z) == 0


@law(weights=vectors(9, -4, 4), start=reals(-5, 5), factor=reals(-300, 300))
def the_forward_fit_has_the_mean_and_variance_of_p(weights, start, factor):
    z = start + torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    p = torch.softmax(weights, 0)
    mean = (p * z).sum()
    variance = (p * (z - mean) ** 2).sum()
    assume(variance > 0.26**2)  # a p narrower than half a cell is refused
    q = fit_forward(weights + factor, z)
    assert torch.allclose(q.loc, mean, atol=1e-9)
    assert torch.allclose(q.variance, variance, rtol=1e-9)


# ------------------------------------------------------------------------------ bounds


@law(seed=seeds, pixels=st.integers(1, 6), latent=st.integers(1, 4), full=st.booleans())
def the_elbo_of_a_linear_gaussian_is_below_the_evidence(seed, pixels, latent, full):
    model, x, g = linear_gaussian(seed, pixels, latent)
    exact = model.log_evidence(x)
    q = some_normal(g, 4, latent, full=full)
    best = model.posterior(x)
    # float64 keeps 1e-12 of the largest number that is subtracted on the way.
    close = 1e-10 * (1 + exact.abs() + x.square().sum(-1) / model.variance)
    assert (model.elbo(x, q) <= exact + close).all()
    assert ((model.elbo(x, best) - exact).abs() <= close).all()
    gap = kl_divergence(q if full else _as_full(q), best)
    assert torch.allclose(model.elbo(x, q) + gap, exact, rtol=1e-7, atol=1e-6)


def _as_full(q):
    return MultivariateNormal(q.loc, scale_tril=torch.diag_embed(q.stddev))


@law(seed=seeds, pixels=st.integers(1, 6), latent=st.integers(1, 4))
def every_log_weight_of_the_posterior_is_the_evidence(seed, pixels, latent):
    model, x, g = linear_gaussian(seed, pixels, latent)
    q = model.posterior(x)
    z = q.loc + (q.scale_tril @ normals(g, 7, 4, latent, 1))[..., 0]
    log_w = bounds.log_weights(model, x, q, z)
    exact = model.log_evidence(x)
    close = 1e-9 * (1 + exact.abs() + x.square().sum(-1) / model.variance)
    assert ((log_w - exact).abs() <= close).all()


@law(seed=seeds, components=st.integers(1, 4), pixels=st.integers(1, 3))
def the_elbo_of_a_mixture_is_below_the_evidence(seed, components, pixels):
    model, x, g = _mixture(seed, components, pixels)
    exact = model.log_evidence(x)
    q = torch.softmax(3 * normals(g, len(x), components), -1)
    elbo = (q * (model.log_joint_all(x) - q.log())).sum(-1)
    assert (elbo <= exact + 1e-9 * (1 + exact.abs())).all()
    best = model.posterior(x).probs
    top = torch.special.xlogy(best, best)
    assert torch.allclose((best * model.log_joint_all(x) - top).sum(-1), exact, rtol=1e-9)
    assert torch.allclose(best.sum(-1), torch.ones(len(x)).double())


def _mixture(seed, components, pixels):
    g = torch.Generator().manual_seed(seed)
    root = normals(g, components, pixels, pixels)
    model = GaussianMixture(
        torch.softmax(normals(g, components), 0),
        3 * normals(g, components, pixels),
        root @ root.mT + 0.1 * torch.eye(pixels).double(),
    )
    return model, 3 * normals(g, 30, pixels), g


@law(seed=seeds, values=st.integers(2, 4))
def the_elbo_of_a_network_of_tables_is_below_the_evidence(seed, values):
    g = torch.Generator().manual_seed(seed)
    cause = torch.softmax(2 * normals(g, values), -1)
    effect = torch.softmax(2 * normals(g, values, 3), -1)
    network = DiscreteNetwork({"z": Node(cause), "x": Node(effect, ("z",))})
    q = torch.softmax(2 * normals(g, values), -1)
    total = 0.0
    for x in range(3):
        evidence = network.evidence({"x": x})
        joint, posterior = (cause * effect[:, x]).log(), network.posterior("z", {"x": x})
        assert (q * (joint - q.log())).sum() <= evidence.log() + 1e-12
        assert torch.allclose((posterior * (joint - posterior.log())).sum(), evidence.log())
        assert torch.allclose(posterior.sum(), torch.ones(()).double())
        total += evidence
    assert torch.allclose(total, torch.ones(()).double())


@law(x=reals(-4, 4), loc=reals(-3, 3), logvar=reals(-3, 1), variance=reals(0.05, 2))
def the_elbo_of_a_curved_model_is_below_the_evidence_of_its_grid(x, loc, logvar, variance):
    model = NonlinearGaussian(lambda z: 2 * torch.sin(1.5 * z), 1, variance)
    cells = grid(1, points=800, extent=12.0)
    z = cells.z.double()
    joint = model.log_joint(torch.tensor([[[x]]], dtype=torch.float64), z)
    exact = grid_evidence(joint, cells.log_cell).log_evidence
    q = DiagonalNormal(torch.tensor([loc]).double(), torch.tensor([logvar]).double())
    log_q = q.log_prob(z)
    elbo = (log_q.exp() * (joint[0] - log_q)).sum() * math.exp(cells.log_cell)
    assert elbo <= exact + 1e-6


@law(log_w=vectors(3, -60, 60))
def the_importance_weighted_bound_rises_in_the_mean(log_w):
    """Over all tuples of K of three equally likely weights: the expectation itself, no estimate."""
    truth = log_mean_exp(log_w)
    means = []
    for k in (1, 2, 3, 4):
        tuples = torch.tensor(list(itertools.product(range(3), repeat=k))).mT
        means.append(bounds.importance_weighted_bound(log_w[tuples]).mean())
    for lower, higher in itertools.pairwise([*means, truth]):
        assert lower <= higher + 1e-12


@law(log_w=matrices(5, 2, -700, 700), shift=reals(-1e6, 1e6), dtype=dtypes)
def log_weights_shift_and_nothing_else_changes(log_w, shift, dtype):
    log_w = log_w.to(dtype)
    moved = log_w + shift
    shift = moved[0] - log_w[0]  # as the precision rounds it
    ulp = 8 * torch.finfo(dtype).eps * (log_w.abs().max() + abs(moved).max())
    for bound in (bounds.elbo, bounds.importance_weighted_bound, log_mean_exp):
        assert ((bound(moved) - bound(log_w) - shift).abs() <= ulp).all()
    ess = effective_sample_size(moved)
    assert ((ess >= 1 - 1e-5) & (ess <= 5 * (1 + 1e-5))).all()
    assert torch.allclose(ess, effective_sample_size(log_w), rtol=4 * ulp.item() + 1e-5)
    estimate = evidence_estimate(moved)
    assert torch.allclose(
        estimate.standard_error, evidence_estimate(log_w).standard_error, atol=4 * ulp.item() + 1e-5
    )
    assert (estimate.standard_error <= 1 + 1e-5).all()


@law(log_w=matrices(4, 2, -700, 700), order=st.permutations(range(4)))
def bounds_lie_between_their_weights_whatever_the_order(log_w, order):
    least, most = log_w.amin(0), log_w.amax(0)
    for bound in (bounds.elbo, bounds.importance_weighted_bound):
        value = bound(log_w)
        assert ((value >= least - 1e-9) & (value <= most + 1e-9)).all()
        assert torch.allclose(value, bound(log_w[list(order)]))
    # Jensen: a mean of logarithms is below the logarithm of the mean; the surrogate is above.
    l_k = bounds.importance_weighted_bound(log_w)
    assert (bounds.elbo(log_w) <= l_k + 1e-9).all()
    assert (bounds.importance_weighted_surrogate(log_w) >= l_k - 1e-9).all()


@law(seed=seeds, latent=st.integers(1, 5))
def the_effective_fraction_is_a_share(seed, latent):
    g = torch.Generator().manual_seed(seed)
    p, q = (some_normal(g, 3, latent, full=True) for _ in range(2))
    share = effective_sample_fraction(p, q)
    assert ((share >= 0) & (share <= 1 + 1e-9)).all()
    assert torch.allclose(effective_sample_fraction(p, p), torch.ones(3).double())


# ------------------------------------------------------------------------------ densities


def sums_to_one(family, raw, breaks, dtype, close):
    """For one pixel: raw ``[per_pixel]`` as a decoder returns it."""
    raw = raw.to(dtype)

    def log_density(points):
        return family(raw.expand(len(points), -1)).log_prob(points.to(dtype)[:, None])

    assert abs(integral(log_density, breaks) - 1) <= close


@law(raw=st.one_of(vectors(1, -1e4, 1e4), vectors(1, -40, 40)), dtype=dtypes)
def bernoulli_sums_to_one(raw, dtype):
    p = likelihood.Bernoulli()(raw.to(dtype).expand(2, 1)).log_prob(torch.eye(2)[:, :1].to(dtype))
    # Of a likely 0, log p = log σ(l) - l is a difference of two numbers near l < 0: the first is
    # rounded to half a unit in l's last place, which is eps |l| / 2 at most, the difference is
    # exact. Beyond |l| = 40 all of e^l is below that unit, and nothing is left of it. Four more
    # roundings, of e^l, log1p and both exponentials here, are of numbers below 1.
    close = torch.finfo(dtype).eps * (min(raw.abs().item(), 40) / 2 + 4)
    assert abs(p.double().exp().sum() - 1) <= close


@law(
    raw=st.one_of(reals(-1e4, 1e4), reals(-500, 500), reals(-1e-2, 1e-2)).map(
        lambda v: torch.tensor([v], dtype=torch.float64)
    ),
    dtype=dtypes,
)
def continuous_bernoulli_integrates_to_one(raw, dtype):
    edges = 2.0 ** -torch.arange(1, 21, dtype=torch.float64)
    breaks = torch.cat([torch.tensor([0.0, 1.0]).double(), edges, 1 - edges])
    # The exponent is logit · x: a unit in its last place is so much of the density.
    close = 4 * torch.finfo(dtype).eps * (2 + abs(raw.item()))
    sums_to_one(likelihood.ContinuousBernoulli(), raw, breaks, dtype, close)


@law(raw=vectors(1, -1e3, 1e3), logvar=reals(-20, 20), dtype=dtypes)
def gaussian_integrates_to_one(raw, logvar, dtype):
    family = likelihood.Gaussian(logvar=logvar).to(dtype)
    scale = torch.tensor([math.exp(0.5 * logvar)], dtype=torch.float64)
    # Points and loc are rounded: so many scales is that of a step, and 12 scales the exponent's.
    eps = torch.finfo(dtype).eps
    close = 1e-9 + 200 * eps * (1 + raw.abs().item() / scale.item())
    assume(close < 0.1)
    sums_to_one(family, raw, around(raw.to(dtype), scale), dtype, close)


@law(
    logits=vectors(2, -1e3, 1e3),
    means=vectors(2, -1e3, 1e3),
    log_scales=vectors(2, -1e3, 1e3),
    dtype=dtypes,
)
def logistics_sum_to_one(logits, means, log_scales, dtype):
    raw = torch.cat((logits, means, log_scales)).to(dtype)
    levels = torch.arange(256, dtype=dtype)[:, None] / 255
    p = likelihood.Logistics(2)(raw.expand(256, -1)).log_prob(levels)
    # 2e-7 of each, in float32, as tests/test_likelihood_colour.py derives; and of the logits.
    close = torch.finfo(dtype).eps * (8 + 2 * logits.abs().max().item())
    assert abs(p.double().exp().sum().item() - 1) <= close


@law(raw=vectors(1, -20, 6), log_r=reals(-6, 30), dtype=dtypes)
def counts_sum_to_one(raw, log_r, dtype):
    raw, counts = raw.to(dtype), torch.arange(20_000, dtype=dtype)[:, None]
    poisson, other = likelihood.Poisson().to(dtype), likelihood.NegativeBinomial().to(dtype)
    with torch.no_grad():
        other.log_total_count.fill_(log_r)
        # Of a mean of 400 and r below 1 counts of tens of thousands are likely: those are left out.
        families = [poisson] if log_r < 1 and raw.item() > 0 else [poisson, other]
        for family in families:
            total = family(raw).log_prob(counts).double().exp().sum().item()
            # log(mean / count) is rounded, ε |raw|, and moves log p by |count - mean| times that,
            # which on average is below the root of the mean.
            errors = 16 + 2 * (1 + abs(raw.item())) * math.exp(0.5 * raw.item())
            assert abs(total - 1) <= errors * torch.finfo(dtype).eps + 1e-9


@law(raw=vectors(5, -1e4, 1e4), dtype=dtypes)
def categorical_sums_to_one(raw, dtype):
    family = likelihood.Categorical(5)
    levels = torch.arange(5, dtype=dtype)[:, None] / 4
    p = family(raw.to(dtype).expand(5, -1)).log_prob(levels)
    # Of two logits near 1e4 the difference is rounded to a unit in their last place.
    close = 8 * torch.finfo(dtype).eps * (1 + raw.abs().max().item())
    assert abs(p.double().exp().sum().item() - 1) <= close


@law(logits=vectors(3, -1e3, 1e3), loc=vectors(3, -1e3, 1e3), logvar=vectors(3, -12, 12))
def a_mixture_prior_integrates_to_one(logits, loc, logvar):
    family = prior.Mixture(1, 3).double()
    with torch.no_grad():
        family.logits.copy_(logits)
        family.loc.copy_(loc[:, None])
        family.logvar.copy_(logvar[:, None])
        breaks = around(loc, torch.exp(0.5 * logvar))
        assert abs(integral(lambda z: family().log_prob(z[:, None]), breaks) - 1) < 1e-6


@law(loc=reals(-1e3, 1e3), logvar=reals(-12, 12), full=st.booleans())
def a_fixed_prior_integrates_to_one(loc, logvar, full):
    loc, logvar = (torch.tensor([v], dtype=torch.float64) for v in (loc, logvar))
    scale = torch.exp(0.5 * logvar)
    normal = MultivariateNormal(loc, scale_tril=scale[:, None])
    family = prior.Fixed(normal if full else DiagonalNormal(loc, logvar))
    breaks = around(loc, scale)
    assert abs(integral(lambda z: family().log_prob(z[:, None]), breaks) - 1) < 1e-6


@law(seed=seeds, scale=reals(0, 30))
def a_vamp_prior_integrates_to_one(seed, scale):
    torch.manual_seed(seed)
    family = prior.VampPrior(nets.MLPEncoder(4, 1, hidden=(3,)), 4, components=3).double()
    with torch.no_grad():
        family.raw.mul_(scale)
        _, each = family.components()
        breaks = around(each.loc[:, 0], each.stddev[:, 0])
        assert abs(integral(lambda z: family().log_prob(z[:, None]), breaks) - 1) < 1e-6


@law(seed=seeds, kind=st.sampled_from([0, 1, 2, 3]), dtype=dtypes, scale=reals(0, 40))
def pairs_have_the_log_probability_of_each(seed, kind, dtype, scale):
    families = (
        likelihood.Bernoulli(),
        likelihood.ContinuousBernoulli(),
        likelihood.Gaussian(logvar=-10.0),
        likelihood.Categorical(4),
    )
    family, g = families[kind].to(dtype), torch.Generator().manual_seed(seed)
    x = torch.randint(0, 4, (3, 5), generator=g).to(dtype) / 3
    if kind == 0:
        x = x.round()
    raw = scale * torch.randn(7, 5 * family.per_pixel, generator=g).to(dtype)
    pairs = family.log_prob_pairs(x, raw)
    each = torch.stack([family(raw).log_prob(row.expand(7, -1)) for row in x])
    assert pairs.shape == (3, 7)
    assert torch.allclose(pairs, each, rtol=32 * torch.finfo(dtype).eps, atol=1e-3)


@law(
    loc=vectors(2, -1e3, 1e3),
    logvar=vectors(2, -170, 80),  # below, z itself has no digits left in float32
    eps=vectors(2, -6, 6),
    dtype=dtypes,
)
def a_pushed_noise_has_the_density_of_its_noise_over_the_scale(loc, logvar, eps, dtype):
    """Change of variables: log q(z) = log N(eps; 0, I) - sum of logvar / 2."""
    loc, logvar, eps = loc.to(dtype) * 0, logvar.to(dtype), eps.to(dtype)
    z = reparameterize(loc, logvar, eps)
    noise = -0.5 * (eps.square() + math.log(2 * math.pi)).sum(-1)
    expected = noise - 0.5 * logvar.sum(-1)
    found = DiagonalNormal(loc, logvar).log_prob(z)
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-4)


# ------------------------------------------------------------------------------ exact models


@law(
    loc=reals(-20, 20),
    logvar=reals(-4, 4),
    weight=vectors(2, -3, 3),
    noise=reals(-2, 2),
    x=vectors(2, -30, 30),
)
def the_grid_has_the_evidence_of_a_linear_model_wherever_its_prior_lies(
    loc, logvar, weight, noise, x
):
    given = DiagonalNormal(torch.tensor([loc]).double(), torch.tensor([logvar]).double())
    model = VAE(
        nets.LinearEncoder(2, 1),
        nets.MLPDecoder(1, 2, hidden=()),
        likelihood=likelihood.Gaussian(logvar=noise),
        prior=given,
    ).double()
    (last,) = [m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear)]
    with torch.no_grad():
        last.weight.copy_(weight[:, None])
        last.bias.zero_()
    found = evaluate.grid_log_evidence(model, x[None])
    variance = math.exp(logvar)
    covariance = variance * weight[:, None] * weight + math.exp(noise) * torch.eye(2)
    exact = MultivariateNormal(loc * weight, covariance.double()).log_prob(x)
    right = (found.log_evidence - exact).abs() <= found.error + 1e-6 * (1 + exact.abs())
    precision = 1 / variance + weight.square().sum() * math.exp(-noise)
    moved = abs((weight * (x - loc * weight)).sum() * math.exp(-noise) / precision)
    if moved + 8 * precision**-0.5 < 12 * variance**0.5:  # the window and what is around it
        assert right
        assert found.error < 0.1
    else:
        assert right or found.error > 1


@law(seed=seeds, components=st.integers(1, 3), pixels=st.integers(1, 2))
def a_step_of_em_never_lowers_the_evidence(seed, components, pixels):
    model, x, _ = _mixture(seed, components, pixels)
    try:
        after = model.em_step(x)
    except ValueError:  # a component has shrunk onto a datum, and it is said so
        return
    assert after.log_evidence(x).mean() >= model.log_evidence(x).mean() - 1e-9
    linear, x, _ = linear_gaussian(seed, 3, pixels)
    after = linear.em_step(x)
    assert after.log_evidence(x).mean() >= linear.log_evidence(x).mean() - 1e-7


@law(logits=vectors(4, -1e3, 1e3), gumbel=vectors(4, -3, 12), temperature=reals(1e-3, 1e3))
def a_relaxed_sample_is_a_distribution(logits, gumbel, temperature):
    y = gumbel_softmax(logits, gumbel, temperature=temperature)
    assert (y >= 0).all()
    assert torch.allclose(y.sum(), torch.ones(()).double())
    assert y[(logits + gumbel).argmax()] == y.max()


@law(f=vectors(5, -1e6, 1e6), shift=reals(-1e6, 1e6))
def a_baseline_of_the_others_moves_with_all_and_keeps_the_mean(f, shift):
    close = 1e-9 * (1 + f.abs().max().item() + abs(shift))
    assert torch.allclose(leave_one_out(f).mean(), f.mean(), atol=close)
    assert torch.allclose(leave_one_out(f + shift), leave_one_out(f) + shift, atol=close)


# ------------------------------------------------------------------------------ gradients

# From two vectors to a number; each may overflow, but a finite value has a finite gradient.
DIFFERENTIABLE = {
    "kl_standard_normal": kl_standard_normal,
    "kl_normal": lambda a, b: kl_normal(a, b, b, a),
    "kl_normal to itself": lambda a, b: kl_normal(a, b, a, b),
    "log q": lambda a, b: DiagonalNormal(a, b).log_prob(torch.ones_like(a)),
    "log q at its loc": lambda a, b: DiagonalNormal(a, b).log_prob(a.detach()),
    "reparameterize": lambda a, b: reparameterize(a, b, torch.ones_like(a)).sum(),
    "Bernoulli": lambda a, b: likelihood.Bernoulli()(a).log_prob((b > 0).to(a)),
    "ContinuousBernoulli": lambda a, b: likelihood.ContinuousBernoulli()(a).log_prob(b.sigmoid()),
    "ContinuousBernoulli at an edge": lambda a, b: likelihood.ContinuousBernoulli()(a).log_prob(
        (b > 0).to(a)
    ),
    "the mean of ContinuousBernoulli": lambda a, b: (
        likelihood.ContinuousBernoulli()(a).mean * b.sigmoid()
    ).sum(),
    "Gaussian": lambda a, b: likelihood.Gaussian(logvar=-1.0).to(a)(a).log_prob(b),
    "Logistics": lambda a, b: likelihood.Logistics(1)(a).log_prob((b[:1] > 0).to(a)),
    "Logistics between its ends": lambda a, b: likelihood.Logistics(1)(a).log_prob(
        torch.full_like(a[:1], 100 / 255)
    ),
    "StudentT": lambda a, b: likelihood.StudentT(logvar=-1.0).to(a)(a).log_prob(b),
    "Poisson": lambda a, b: likelihood.Poisson().to(a)(a).log_prob(b.detach().abs().round()),
    "NegativeBinomial": lambda a, b: (
        likelihood.NegativeBinomial(0.3).to(a)(a).log_prob(b.detach().abs().round())
    ),
    "Categorical": lambda a, b: likelihood.Categorical(3)(a).log_prob((b[:1] > 0).to(a)),
    "importance_weighted_bound": lambda a, b: (
        bounds.importance_weighted_bound(a) + bounds.importance_weighted_bound(b)
    ),
    "a weight of 0": lambda a, b: bounds.importance_weighted_bound(
        torch.where(b.detach() > 0, a, torch.full_like(a, -torch.inf))
    ),
    "effective_sample_size": lambda a, b: effective_sample_size(a) + effective_sample_size(b),
    "gumbel_softmax": lambda a, b: (gumbel_softmax(a, b, temperature=0.01)).square().sum(),
}


@law(
    function=st.sampled_from(sorted(DIFFERENTIABLE)),
    a=st.one_of(vectors(3, -1e4, 1e4), vectors(3, -30, 30), vectors(3, -1e-3, 1e-3)),
    b=st.one_of(vectors(3, -200, 200), vectors(3, -30, 30), vectors(3, -1e-3, 1e-3)),
    dtype=dtypes,
)
def a_finite_value_has_a_finite_gradient(function, a, b, dtype):
    a, b = (t.to(dtype).requires_grad_() for t in (a, b))
    value = DIFFERENTIABLE[function](a, b)
    assert not value.isnan(), value
    if value.isfinite():
        grads = torch.autograd.grad(value, (a, b), allow_unused=True)
        assert all(g.isfinite().all() for g in grads if g is not None), grads


# ------------------------------------------------------------------------------ refusals

VAE_OF_9 = VAE(nets.MLPEncoder(9, 2, hidden=(3,)), nets.MLPDecoder(2, 9, hidden=(3,)))
LINEAR_OF_9 = LinearGaussian(torch.ones(9, 2), torch.zeros(9), torch.ones(()))
Q_OF_4 = DiagonalNormal(torch.zeros(4, 2), torch.zeros(4, 2))


def of(*shape):
    return torch.zeros(*shape)


# A shape that fits, which shapes fit, and who takes them.
REFUSALS = {
    "DiagonalNormal": ((3, 2), None, lambda s: DiagonalNormal(of(3, 2), of(*s))),
    "kl_standard_normal": ((3, 2), None, lambda s: kl_standard_normal(of(3, 2), of(*s))),
    "kl_normal": ((3, 2), None, lambda s: kl_normal(of(3, 2), of(3, 2), of(*s), of(3, 2))),
    "VAE.terms": ((4, 9), "batch", lambda s: VAE_OF_9.terms(of(*s))),
    "VAE.encode": ((4, 9), "batch", lambda s: VAE_OF_9.encode(of(*s))),
    "VAE.log_joint_pairs": ((4, 9), "batch", lambda s: VAE_OF_9.log_joint_pairs(of(*s), of(6, 2))),
    "evaluate.elbo": ((4, 9), "data", lambda s: evaluate.elbo(VAE_OF_9, of(*s))),
    "evaluate.log_evidence": (
        (4, 9),
        "batch",
        lambda s: evaluate.log_evidence(VAE_OF_9, of(*s), samples=3),
    ),
    "LinearGaussian.log_evidence": ((4, 9), "last", lambda s: LINEAR_OF_9.log_evidence(of(*s))),
    "log_weights, z": (
        (5, 4, 2),
        "samples",
        lambda s: bounds.log_weights(LINEAR_OF_9, of(4, 9), Q_OF_4, of(*s)),
    ),
    "elbo.terms, z": (
        (5, 4, 2),
        "samples",
        lambda s: bounds.terms(LINEAR_OF_9, of(4, 9), Q_OF_4, of(*s)),
    ),
}
FITS = {
    None: lambda s, right: s == right,
    "batch": lambda s, right: len(s) == 2 and s[0] > 0 and s[1] == right[1],
    "data": lambda s, right: len(s) == 2 and s[0] > 1 and s[1] == right[1],  # for an error
    "last": lambda s, right: s[-1] == right[-1] and 0 not in s,
    "samples": lambda s, right: len(s) > 2 and s[-2:] == right[-2:] and 0 not in s,
}
sizes = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 9])


@law(
    function=st.sampled_from(sorted(REFUSALS)),
    shape=st.lists(sizes, min_size=1, max_size=4).map(tuple),
    axis=st.integers(0, 5),
    size=sizes,
)
def a_shape_fits_or_is_refused_with_what_was_expected_and_got(function, shape, axis, size):
    right, kind, call = REFUSALS[function]
    if axis < len(right):  # else any shape
        shape = (*right[:axis], size, *right[axis + 1 :])
    if FITS[kind](shape, right):
        call(shape)
        return
    with pytest.raises(ValueError, match=r"expected .*got"):
        call(shape)


@law(
    family=st.sampled_from(["Bernoulli", "ContinuousBernoulli", "Gaussian", "Categorical"]),
    value=st.one_of(reals(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf])),
    where=st.integers(0, 8),
)
def a_value_without_a_density_is_refused_and_every_other_has_one(family, value, where):
    made = getattr(likelihood, family)()
    decoder = partial(nets.MLPDecoder, levels=made.per_pixel)
    model = VAE(nets.MLPEncoder(9, 2, hidden=()), decoder(2, 9, hidden=()), likelihood=made)
    raw = torch.zeros(2, 9 * made.per_pixel)
    x = torch.zeros(2, 9)
    x[1, where] = value
    value = x[1, where].item()  # in float32 1e-50 is 0
    fits = {
        "Bernoulli": value in (0, 1),
        "ContinuousBernoulli": 0 <= value <= 1,
        "Gaussian": math.isfinite(value),
        "Categorical": 0 <= value <= 1 and abs(value * 255 - round(value * 255)) < 1e-3,
    }
    if fits[family]:
        model.require_data(x)
        assert made(raw).log_prob(x).isfinite().all()
    else:
        with pytest.raises(ValueError, match=r"expected data that .* gives a density to"):
            model.terms(x)


@law(
    dtype=st.sampled_from([torch.uint8, torch.int64, torch.bool]),
    size=st.integers(1, 40),
    value=st.integers(0, 255),
)
def pixels_that_are_not_floats_are_refused(dtype, size, value):
    with pytest.raises(TypeError, match=r"expected floating-point data"):
        VAE_OF_9.terms(torch.full((size, 9), value).to(dtype))


# ------------------------------------------------------------------------------ the tests


@pytest.mark.parametrize("name", LAWS)
def test_law(name):
    try_law(name, QUICK)


def test_ten_thousand_cases_are_tried_and_two_hundred_thousand_in_the_soak():
    assert len(LAWS) * QUICK >= 10_000
    assert len(LAWS) * LONG >= 200_000


@pytest.mark.soak
@pytest.mark.parametrize("name", LAWS)
def test_law_many_times(name):
    try_law(name, LONG)
