"""latent.evidence: averages in log space, and estimates against the linear Gaussian's evidence."""

import math

import mpmath
import numpy as np
import oracles
import pytest
import torch
from torch.distributions import MultivariateNormal

from vaelib.latent import (
    LinearGaussian,
    effective_sample_fraction,
    effective_sample_size,
    evidence_estimate,
    importance_sampling,
    log_mean_exp,
    prior_sampling,
)

D = torch.float64


def draws(q, shape, generator):
    eps = torch.randn(*shape, *q.loc.shape, generator=generator, dtype=D)
    return q.loc + (q.scale_tril @ eps[..., None])[..., 0]


def test_log_mean_exp_value_and_gradient_in_50_digits(generator):
    log_w = -2000 + 30 * torch.randn(6, 4, generator=generator, dtype=D)
    log_w.requires_grad_()
    value = log_mean_exp(log_w, 0)
    value.sum().backward()
    with mpmath.workdps(50):
        for j in range(4):
            w = [mpmath.exp(mpmath.mpf(v)) for v in log_w[:, j].tolist()]
            assert value[j].item() == pytest.approx(float(mpmath.log(sum(w) / 6)), rel=1e-14)
            share = [float(v / sum(w)) for v in w]
            np.testing.assert_allclose(log_w.grad[:, j], share, rtol=1e-10, atol=1e-300)
    torch.testing.assert_close(log_mean_exp(log_w.mT, 1), value)
    torch.testing.assert_close(log_mean_exp(log_w.mT, -1), value)


def test_effective_sample_size_by_hand(generator):
    log_w = torch.randn(50, 3, generator=generator, dtype=D)
    w = log_w.exp().numpy()
    expected = w.sum(0) ** 2 / (w**2).sum(0)
    np.testing.assert_allclose(effective_sample_size(log_w - 3000), expected, rtol=1e-9)
    assert effective_sample_size(torch.zeros(7)).item() == pytest.approx(7)
    alone = torch.tensor([0.0, -100.0, -100.0])
    assert effective_sample_size(alone).item() == pytest.approx(1)


def test_evidence_estimate_by_hand(generator):
    w = torch.rand(40, 2, generator=generator, dtype=D) + 0.1
    estimate = evidence_estimate(w.log() - 1500)
    mean, spread = w.numpy().mean(0), w.numpy().std(0, ddof=1)
    np.testing.assert_allclose(estimate.log_evidence, np.log(mean) - 1500, rtol=1e-14)
    np.testing.assert_allclose(estimate.standard_error, spread / mean / 40**0.5, rtol=1e-9)
    # The relation that the docstring states, with the sample variance's n / (n - 1).
    by_ess = (40 / 39 * (1 / estimate.effective_sample_size - 1 / 40)).sqrt()
    torch.testing.assert_close(estimate.standard_error, by_ess, rtol=1e-9, atol=0)
    with pytest.raises(ValueError, match=r"at least 2 samples.*\(1, 3\)"):
        evidence_estimate(torch.zeros(1, 3))


def test_prior_sampling_finds_the_evidence_within_its_error(linear_gaussian, generator):
    x, _ = linear_gaussian.sample(4, generator=generator)
    z = torch.randn(200_000, 1, 3, generator=generator, dtype=D)
    estimate = prior_sampling(linear_gaussian, x, z)
    expected = oracles.linear_gaussian_log_evidence(
        linear_gaussian.weight, linear_gaussian.bias, linear_gaussian.variance.item(), x
    )
    error = np.abs(estimate.log_evidence.numpy() - expected)
    assert (error < 5 * estimate.standard_error.numpy()).all()
    assert (estimate.standard_error < 0.1).all()


def test_the_posterior_as_proposal_gives_the_evidence_from_every_sample(linear_gaussian, generator):
    x, _ = linear_gaussian.sample(4, generator=generator)
    q = linear_gaussian.posterior(x)
    z = draws(q, (5,), generator)
    estimate = importance_sampling(linear_gaussian, x, q, z)
    torch.testing.assert_close(estimate.log_evidence, linear_gaussian.log_evidence(x))
    assert (estimate.standard_error < 1e-10).all()
    torch.testing.assert_close(estimate.effective_sample_size, torch.full((4,), 5.0, dtype=D))


def wider(q, factor, shift=0.0):
    return MultivariateNormal(q.loc + shift, scale_tril=factor * q.scale_tril)


def test_importance_sampling_is_unbiased_and_its_error_is_right(linear_gaussian, generator):
    """300 repeats of 400 samples: their spread is the standard error that each one states."""
    x = linear_gaussian.sample(1, generator=generator)[0][0]
    q = wider(linear_gaussian.posterior(x), 1.3, 0.1)
    z = draws(q, (400, 300), generator)
    estimate = importance_sampling(linear_gaussian, x.expand(300, -1), q, z)
    ratio = (estimate.log_evidence - linear_gaussian.log_evidence(x)).exp()
    spread = ratio.std().item()
    assert abs(ratio.mean().item() - 1) < 5 * spread / 300**0.5
    # The standard deviation of n values is known to 1 / sqrt(2 n).
    stated = estimate.standard_error.square().mean().sqrt().item()
    assert abs(spread / stated - 1) < 5 / 600**0.5


def test_effective_sample_fraction_equals_quadrature():
    for loc, scale in ((0.0, 1.2), (0.7, 1.0), (-1.5, 2.5), (0.3, 0.8)):
        p, q = (
            MultivariateNormal(torch.tensor([m], dtype=D), torch.tensor([[s**2]], dtype=D))
            for m, s in ((0.2, 0.9), (loc, scale))
        )
        expected = oracles.effective_sample_fraction(0.2, 0.9, loc, scale)
        assert effective_sample_fraction(p, q).item() == pytest.approx(expected, rel=1e-9)


def test_effective_sample_fraction_in_several_dimensions(linear_gaussian, generator):
    """Equal to the measured one where that can be trusted, correlated and shifted."""
    x, _ = linear_gaussian.sample(3, generator=generator)
    posterior = linear_gaussian.posterior(x)
    q = wider(posterior, 1.3, 0.05)
    n = 200_000
    log_w = linear_gaussian.log_joint(x, z := draws(q, (n,), generator)) - q.log_prob(z)
    fraction = effective_sample_fraction(posterior, q)
    # Relative error of mean(w²), the noisier part: its coefficient of variation over √n.
    relative = (2 * log_w).exp().std(0) / (2 * log_w).exp().mean(0) / n**0.5
    measured = effective_sample_size(log_w) / n
    assert ((measured / fraction - 1).abs() < 5 * 2 * relative).all()
    torch.testing.assert_close(
        effective_sample_fraction(posterior, posterior), torch.ones(3, dtype=D)
    )


def test_a_proposal_that_is_too_narrow_has_no_effective_samples(linear_gaussian):
    posterior = linear_gaussian.posterior(torch.zeros(5, dtype=D))
    assert effective_sample_fraction(posterior, wider(posterior, 0.7)).item() == 0
    assert effective_sample_fraction(posterior, wider(posterior, 0.72)).item() > 0


def test_the_downward_bias_of_log_mean_exp(generator):
    """E[log p̂] - log p is about -Var(w) / 2 K E[w]²; log w ~ N(0, s²) has Var/E² = e^{s²} - 1."""
    s, k, repeats = 0.5, 50, 20_000
    log_w = s * torch.randn(k, repeats, generator=generator, dtype=D)
    bias = log_mean_exp(log_w) - s**2 / 2
    predicted = -math.expm1(s**2) / (2 * k)
    error = bias.std().item() / repeats**0.5
    assert abs(bias.mean().item() - predicted) < 5 * error + 3 / k**2
    assert bias.mean().item() < -4 * error


def test_estimates_differentiate(linear_gaussian, generator):
    """The gradient of the estimate tends to the gradient of the log-evidence itself."""
    x = linear_gaussian.sample(1, generator=generator)[0][0]
    q = wider(linear_gaussian.posterior(x), 1.1)
    z = draws(q, (100_000,), generator)
    bias = linear_gaussian.bias.clone().requires_grad_()
    model = LinearGaussian(linear_gaussian.weight, bias, linear_gaussian.variance)
    (got,) = torch.autograd.grad(importance_sampling(model, x, q, z).log_evidence, bias)
    (want,) = torch.autograd.grad(model.log_evidence(x), bias)
    torch.testing.assert_close(got, want, rtol=0, atol=0.03)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shift", [-1234567.8, -1000.0, 0.0, 1e6])
def test_a_shift_of_log_weights_changes_neither_error_nor_sample_size(shift, dtype, generator):
    """Seven equal weights are seven, however small; spread ones keep their digits."""
    log_w = torch.full((7,), shift, dtype=dtype)
    assert effective_sample_size(log_w).item() == pytest.approx(7)
    assert evidence_estimate(log_w).standard_error.item() == 0
    # Multiples of 1/8, which float32 adds to -1234567.75 without an error.
    spread = (8 * torch.randn(50, 3, generator=generator)).round() / 8
    shift = round(8 * shift) / 8
    near, far = (evidence_estimate((spread + s).to(dtype)) for s in (0.0, shift))
    w = spread.double().exp().numpy()
    exact_size = w.sum(0) ** 2 / (w**2).sum(0)
    exact_error = w.std(0, ddof=1) / w.mean(0) / math.sqrt(50)
    for estimate in (near, far):
        np.testing.assert_allclose(estimate.effective_sample_size, exact_size, rtol=1e-5)
        np.testing.assert_allclose(estimate.standard_error, exact_error, rtol=1e-5)


def test_no_weight_at_all_is_no_evidence():
    """Every weight 0: log p(x) is estimated as -inf, and nothing says how well."""
    estimate = evidence_estimate(torch.full((4,), -torch.inf))
    assert estimate.log_evidence.item() == -math.inf
    assert math.isnan(estimate.standard_error.item())
    assert math.isnan(estimate.effective_sample_size.item())


@pytest.mark.usefixtures("plain_errors")
def test_a_forgotten_axis_of_samples_is_refused(linear_gaussian):
    """One z for each of 4 data was 4 samples for all of them."""
    x, z = linear_gaussian.sample(4)
    q = linear_gaussian.posterior(x)
    message = r"expected z of shape \[samples, 4, 3\], samples first, got \(4, 3\)"
    with pytest.raises(ValueError, match="prior_sampling: " + message):
        prior_sampling(linear_gaussian, x, z)
    with pytest.raises(ValueError, match="importance_sampling: " + message):
        importance_sampling(linear_gaussian, x, q, z)
    shared = torch.randn(6, 1, 3, dtype=D)  # allowed of the prior, which is the same for all
    assert prior_sampling(linear_gaussian, x, shared).log_evidence.shape == (4,)
    with pytest.raises(ValueError, match=r"samples first, got \(6, 1, 3\)"):
        importance_sampling(linear_gaussian, x, q, shared)
