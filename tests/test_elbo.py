"""elbo: log-weights and bounds on the linear Gaussian, where every value is a closed form."""

import math
import re

import numpy as np
import oracles
import pytest
import torch
from torch.distributions import kl_divergence

from vaelib.elbo import (
    elbo,
    importance_weighted_bound,
    importance_weighted_surrogate,
    log_weights,
    terms,
)
from vaelib.kl import DiagonalNormal
from vaelib.reparam import reparameterize


@pytest.fixture
def model(linear_gaussian):
    return linear_gaussian


@pytest.fixture
def x(generator):
    return torch.randn(2, 5, generator=generator, dtype=torch.float64)


@pytest.fixture
def q(generator):
    loc, logvar = torch.randn(2, 2, 3, generator=generator, dtype=torch.float64)
    return DiagonalNormal(loc, logvar - 1)


def samples(q, n, generator):
    eps = torch.randn(n, *q.loc.shape, generator=generator, dtype=torch.float64)
    return reparameterize(q.loc, q.logvar, eps)


def test_with_the_posterior_every_log_weight_is_the_evidence(model, x, generator):
    """Not only in the mean: for any z, drawn from the posterior or not."""
    z = 10 * torch.randn(1000, 2, 3, generator=generator, dtype=torch.float64)
    log_w = log_weights(model, x, model.posterior(x), z)
    expected = torch.from_numpy(
        oracles.linear_gaussian_log_evidence(
            model.weight.numpy(), model.bias.numpy(), model.variance.item(), x
        )
    )
    torch.testing.assert_close(log_w, expected.expand(1000, 2), rtol=0, atol=1e-10)
    torch.testing.assert_close(importance_weighted_bound(log_w), expected, rtol=0, atol=1e-10)


def test_both_estimators_agree_with_the_closed_form(model, x, q, generator):
    n = 100_000
    z = samples(q, n, generator)
    exact = model.elbo(x, q)
    log_w = log_weights(model, x, q, z)
    log_likelihood = model.log_likelihood(x, z)
    for estimate, noise in (
        (elbo(log_w), log_w),
        (terms(model, x, q, z).elbo, log_likelihood),
    ):
        assert ((estimate - exact).abs() < 4 * noise.std(0) / math.sqrt(n)).all()


def test_terms_are_the_two_terms(model, x, q, generator):
    z = samples(q, 3, generator)
    both = terms(model, x, q, z)
    loc = z @ model.weight.mT + model.bias
    density = oracles.normal_log_density(x, loc, math.sqrt(model.variance))
    np.testing.assert_allclose(both.log_likelihood, density.mean(0), rtol=1e-12)
    expected = oracles.kl_to_standard_normal(q.loc, q.logvar)
    np.testing.assert_allclose(both.kl, expected, rtol=1e-10)


def test_gradient_of_the_estimate_is_the_gradient_of_the_elbo(model, x, q, generator):
    """The mean of the pathwise gradient, within k σ / √n of differences of the closed form."""
    n = 20_000
    loc = q.loc.clone().requires_grad_()
    logvar = q.logvar.clone().requires_grad_()
    eps = torch.randn(n, 2, 3, generator=generator, dtype=torch.float64)
    z = reparameterize(loc, logvar, eps)
    terms(model, x, DiagonalNormal(loc, logvar), z).elbo.sum().backward()

    # Exactly: E log N(x; Wz + b, v) is its value at the mean less tr(WᵀW S) / 2v.
    w, b, v = model.weight.numpy(), model.bias.numpy(), model.variance.item()

    def exact(m, s):
        value = 0.0
        for row in range(2):
            spread = np.diag(w.T @ w) @ np.exp(s[row]) / (2 * v)
            density = oracles.normal_log_density(x[row].numpy(), w @ m[row] + b, math.sqrt(v))
            value += density - spread
        return value - oracles.kl_to_standard_normal(m, s).sum()

    m, s = q.loc.numpy(), q.logvar.numpy()
    # The noise of the mean comes from the first term alone; take its spread draw by draw.
    per_draw = torch.func.vmap(
        torch.func.grad(lambda p, e: model.log_likelihood(x, p[0] + (p[1] / 2).exp() * e).sum()),
        in_dims=(None, 0),
    )(torch.stack([q.loc, q.logvar]), eps)
    error = per_draw.std(0).numpy() / math.sqrt(n)
    d_loc = oracles.gradient(lambda t: exact(t, s), m)
    d_logvar = oracles.gradient(lambda t: exact(m, t), s)
    assert (np.abs(loc.grad.numpy() - d_loc) < 4 * error[0]).all()
    assert (np.abs(logvar.grad.numpy() - d_logvar) < 4 * error[1]).all()


def test_importance_weighted_bound_rises_and_stays_below(model, x, q, generator):
    log_w = log_weights(model, x, q, samples(q, 64 * 4000, generator)).view(64, 4000, 2)
    means, errors = [], []
    for k in (1, 4, 16, 64):
        bound = importance_weighted_bound(log_w[:k])
        means.append(bound.mean(0))
        errors.append(bound.std(0) / math.sqrt(4000))
    evidence = model.log_evidence(x)
    gaps = [evidence - m for m in means]
    for low, high in zip(gaps[1:], gaps, strict=False):
        assert (low < high).all()
    assert (gaps[0] > 3 * errors[0]).all()
    torch.testing.assert_close(means[0], log_w[0].mean(0))
    # L_1 is the ELBO: its gap is the KL to the posterior.
    dense = torch.distributions.MultivariateNormal(q.loc, torch.diag_embed(q.logvar.exp()))
    kl = kl_divergence(dense, model.posterior(x))
    assert ((gaps[0] - kl).abs() < 4 * errors[0]).all()


def test_importance_weighted_bound_by_hand():
    log_w = torch.tensor([[0.0, -1000.0], [math.log(3.0), -1000.0]])
    torch.testing.assert_close(
        importance_weighted_bound(log_w), torch.tensor([math.log(2.0), -1000.0])
    )


def test_surrogate_has_the_gradient_of_the_bound_by_differences(generator):
    log_w = torch.randn(6, 3, generator=generator, dtype=torch.float64).requires_grad_()
    importance_weighted_surrogate(log_w).sum().backward()

    def bound(values):
        return np.log(np.exp(values).mean(0)).sum()

    expected = oracles.gradient(bound, log_w.detach().numpy())
    np.testing.assert_allclose(log_w.grad, expected, atol=1e-7)


def test_surrogate_is_above_the_bound_by_log_k_less_the_entropy(generator):
    log_w = 3 * torch.randn(6, 50, generator=generator, dtype=torch.float64)
    weights = np.exp(log_w.numpy())
    share = weights / weights.sum(0)
    expected = np.log(weights.mean(0)) + math.log(6) + (share * np.log(share)).sum(0)
    np.testing.assert_allclose(importance_weighted_surrogate(log_w), expected, rtol=1e-10)


def test_surrogate_survives_weights_that_do_not_fit_into_a_float():
    log_w = torch.tensor([[-1000.0], [-1001.0]])
    share = 1 / (1 + math.exp(-1))
    expected = torch.tensor([-1000 * share - 1001 * (1 - share)])
    torch.testing.assert_close(importance_weighted_surrogate(log_w), expected)


@pytest.mark.usefixtures("plain_errors")
def test_a_forgotten_axis_of_samples_is_refused(model, x, q):
    """One draw for each of 2 data was averaged over the data; a z of one latent was broadcast."""
    for name, function in (("terms", terms), ("log_weights", log_weights)):
        for z in (q.rsample(), q.rsample((5,))[..., :1], q.rsample((5,))[:, :1]):
            message = rf"{name}: expected z of shape \[samples, 2, 3\], samples first, got "
            with pytest.raises(ValueError, match=message + re.escape(str(tuple(z.shape)))):
                function(model, x, q, z)
        one = function(model, x, q, q.rsample().unsqueeze(0))
        assert torch.as_tensor(one[0]).shape[-1:] == (2,)
