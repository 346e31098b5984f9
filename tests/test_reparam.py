"""reparam: the map, and the gradient that flows through it, against known expectations."""

import math

import numpy as np
import pytest
import torch

from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian
from vaelib.reparam import (
    best_baseline,
    gumbel_softmax,
    leave_one_out,
    moments,
    reparameterize,
    score_function_surrogate,
    stop_score,
)


def test_value_by_hand():
    z = reparameterize(
        torch.tensor([[1.0, -2.0]]),
        torch.tensor([[0.0, math.log(9.0)]]),
        torch.tensor([[2.0, -1.0]]),
    )
    torch.testing.assert_close(z, torch.tensor([[3.0, -5.0]]))


def test_jacobian_by_hand(generator):
    loc, logvar, eps = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    d_loc, d_logvar = torch.func.jacrev(
        lambda m, v: reparameterize(m, v, eps).sum(0), argnums=(0, 1)
    )(loc, logvar)
    for j in range(2):
        torch.testing.assert_close(d_loc[j, :, j], torch.ones(4, dtype=torch.float64))
        torch.testing.assert_close(d_logvar[j, :, j], 0.5 * (logvar / 2).exp()[:, j] * eps[:, j])
    assert d_loc[0, :, 1].abs().max() == d_logvar[0, :, 1].abs().max() == 0


@pytest.mark.parametrize("k", [0.0, -3.0, 10.0])
def test_gradient_of_an_expectation(generator, k):
    """E (z - k)² under N(m, s²) is (m - k)² + s²; one draw of its gradient in m has variance 4 s².

    With m = s = 1: the gradient in m is 2 (1 - k); in logvar it is s² = 1.
    """
    n = 400_000
    loc = torch.ones(n, 1).requires_grad_()
    logvar = torch.zeros(n, 1).requires_grad_()
    z = reparameterize(loc, logvar, torch.randn(n, 1, generator=generator))
    (z - k).square().sum().backward()
    assert abs(loc.grad.mean().item() - 2 * (1 - k)) < 4 * 2 / math.sqrt(n)
    # The variance of a sample variance of n normals is 2 σ⁴ / n.
    assert loc.grad.var().item() == pytest.approx(4, abs=5 * 4 * math.sqrt(2 / n))
    # In logvar: (z - k) e with z - k = a + e; its variance is a² + 2 at s = 1.
    a = 1 - k
    assert abs(logvar.grad.mean().item() - 1) < 4 * math.sqrt((a * a + 2) / n)


def test_moments(generator):
    n = 400_000
    loc, logvar = torch.tensor([0.5]), torch.tensor([-1.2])
    z = reparameterize(loc, logvar, torch.randn(n, 1, generator=generator))
    sigma = math.exp(-0.6)
    assert abs(z.mean().item() - 0.5) < 4 * sigma / math.sqrt(n)
    assert z.std().item() == pytest.approx(sigma, abs=4 * sigma / math.sqrt(2 * n))


@pytest.mark.usefixtures("plain_errors")
def test_errors_say_what_was_expected_and_got():
    loc = torch.zeros(3, 2)
    for bad in ((loc, torch.zeros(2), loc), (loc, loc, torch.zeros(3, 4)), (loc, loc, loc[0])):
        with pytest.raises(ValueError, match=r"expected loc and logvar of one shape .* got loc"):
            reparameterize(*bad)


KS = [0.0, -3.0, 10.0]


def per_sample_gradients(f, n, generator, loc=1.0, logvar=0.0, baseline=None):
    """Score-function gradients in loc of E f under N(loc, exp(logvar)), one per sample."""
    location = torch.full((n, 1), loc, dtype=torch.float64).requires_grad_()
    q = DiagonalNormal(location, torch.full((n, 1), logvar, dtype=torch.float64))
    eps = torch.randn(n, 1, generator=generator, dtype=torch.float64)
    x = (location + math.exp(0.5 * logvar) * eps).detach()
    values = f(x)[:, 0]
    b = 0.0 if baseline is None else baseline(values, eps[:, 0])
    score_function_surrogate(q.log_prob(x), values, b).sum().backward()
    return location.grad[:, 0]


def variance_bound(estimates, k=5):
    """k standard errors of a sample variance, from the sample's own fourth moment."""
    fourth = (estimates - estimates.mean()).pow(4).mean()
    return k * ((fourth - estimates.var() ** 2) / len(estimates)).sqrt().item()


@pytest.mark.parametrize("k", KS)
@pytest.mark.parametrize("sigma", [1.0, 0.5])
def test_score_function_mean_and_variance_are_the_closed_forms(generator, k, sigma):
    """Mohamed et al. (2020): a⁴/σ² + 14 a² + 15 σ² with a = 1 - k."""
    a = 1 - k
    g = per_sample_gradients(
        lambda x: (x - k).square(), 400_000, generator, logvar=2 * math.log(sigma)
    )
    mean, variance, error = moments(g)
    assert abs(mean - 2 * a) < 4 * error
    exact = a**4 / sigma**2 + 14 * a**2 + 15 * sigma**2
    assert variance.item() == pytest.approx(exact, abs=variance_bound(g))
    assert error.item() == pytest.approx(math.sqrt(variance.item() / 400_000))


@pytest.mark.parametrize("k", KS)
def test_baselines_leave_the_mean_and_lower_the_variance_as_derived(generator, k):
    """E[f]: 8a² + 10. The best constant, a² + 3: 8a² + 6."""
    a, n = 1 - k, 400_000
    exact = {
        "mean": (lambda *_: torch.tensor(a**2 + 1.0), 8 * a**2 + 10),
        "best": (best_baseline, 8 * a**2 + 6),
        "leave one out": (lambda f, _: leave_one_out(f), 8 * a**2 + 10),
    }
    for baseline, variance in exact.values():
        g = per_sample_gradients(lambda x: (x - k).square(), n, generator, baseline=baseline)
        assert abs(g.mean() - 2 * a) < 4 * moments(g).standard_error
        assert g.var().item() == pytest.approx(variance, abs=variance_bound(g))


def test_f_is_held_constant_in_the_surrogate():
    """A graph from the parameters to f, or to the baseline, adds nothing to the gradient."""
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.5, -1.0, 3.0], dtype=torch.float64)
    log_q = -0.5 * (x / scale).square() - scale.log()
    f, b = (x * scale).square(), x * scale
    (g,) = torch.autograd.grad(score_function_surrogate(log_q, f, b).sum(), scale)
    n, s = x.numpy(), 2.0
    by_hand = (((n * s) ** 2 - n * s) * (n**2 / s**3 - 1 / s)).sum()
    assert g.item() == pytest.approx(by_hand)


def test_best_baseline_is_the_lowest_point_of_the_variance(generator):
    """For each column the parabola in b through three variances; scores of unequal size."""
    x = torch.randn(5000, 2, generator=generator, dtype=torch.float64)
    score = x * torch.tensor([0.3, 4.0], dtype=torch.float64)
    score -= score.mean(0)  # so that b leaves the mean of f times score alone, exactly
    f = (x - 1.5).square() + x
    found = best_baseline(f, score)
    assert found.shape == (2,)
    for j in range(2):
        b = np.array([-1.0, 2.0, 5.0])
        variances = [np.var((f[:, j].numpy() - v) * score[:, j].numpy()) for v in b]
        curve = np.polyfit(b, variances, 2)
        assert found[j].item() == pytest.approx(-curve[1] / (2 * curve[0]))


def test_leave_one_out_is_unbiased_with_two_samples_and_the_plain_mean_is_not(generator):
    """With n = 2 the mean of both as baseline halves the gradient, 2a = 2."""
    f = lambda x: x.square()  # noqa: E731
    pairs = torch.randn(200_000, 2, generator=generator, dtype=torch.float64)
    x = 1 + pairs
    values = f(x).mT  # [2, pairs]
    for b, expected in ((leave_one_out(values), 2.0), (values.mean(0), 1.0)):
        g = ((values - b) * pairs.mT).mean(0)
        assert abs(g.mean().item() - expected) < 4 * g.std().item() / math.sqrt(len(g))


def test_score_function_gradient_of_an_expectation_over_a_table(generator):
    """A categorical: the exact gradient in the logits by enumeration, p (f - E f)."""
    logits = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64)
    table = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)
    p = logits.softmax(0)
    exact = p * (table - (p * table).sum())
    n = 300_000
    copies = logits.expand(n, 3).clone().requires_grad_()
    k = torch.multinomial(p, n, replacement=True, generator=generator)
    log_q = torch.log_softmax(copies, -1).gather(1, k[:, None])[:, 0]
    score_function_surrogate(log_q, table[k]).sum().backward()
    mean, _, error = moments(copies.grad)
    assert ((mean - exact).abs() < 4 * error).all()


def test_where_the_pathwise_gradient_is_the_noisier_one(generator):
    """cos(5x) under N(1, 1): both variances in closed form."""
    n, k = 400_000, 5.0
    e = torch.randn(n, generator=generator, dtype=torch.float64)
    mean = -k * math.exp(-(k**2) / 2) * math.sin(k)
    damped = math.exp(-2 * k**2) * math.cos(2 * k)
    loc = torch.ones(n, 1, dtype=torch.float64).requires_grad_()
    torch.cos(k * reparameterize(loc, torch.zeros_like(loc), e[:, None])).sum().backward()
    pathwise = loc.grad[:, 0]
    score = per_sample_gradients(lambda x: torch.cos(k * x), n, generator)
    for g, variance in (
        (pathwise, k**2 * (1 - damped) / 2 - mean**2),
        (score, (1 + (1 - 4 * k**2) * damped) / 2 - mean**2),
    ):
        assert abs(g.mean().item() - mean) < 4 * moments(g).standard_error
        assert g.var().item() == pytest.approx(variance, abs=variance_bound(g))


def test_sticking_the_landing_is_zero_at_the_posterior_and_unbiased_elsewhere(generator):
    """A linear Gaussian with orthogonal columns: its posterior is a diagonal normal."""
    weight = torch.tensor([[2.0, 0.0], [0.0, 0.5], [0.0, 0.0]], dtype=torch.float64)
    model = LinearGaussian(weight, torch.zeros(3).double(), torch.tensor(0.5).double())
    x = torch.tensor([1.0, -1.0, 0.3], dtype=torch.float64)
    posterior = model.posterior(x)
    n = 100_000
    for shift in (0.0, 0.7):
        loc = (posterior.mean + shift).expand(n, 2).clone().requires_grad_()
        logvar = (posterior.variance.log() - shift).expand(n, 2).clone().requires_grad_()
        eps = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        q = DiagonalNormal(loc, logvar)
        z = reparameterize(loc, logvar, eps)
        (model.log_joint(x, z) - stop_score(q).log_prob(z)).sum().backward()
        if not shift:
            assert max(loc.grad.abs().max(), logvar.grad.abs().max()) < 1e-12
            continue
        m = (posterior.mean + shift).clone().requires_grad_()
        v = (posterior.variance.log() - shift).clone().requires_grad_()
        model.elbo(x, DiagonalNormal(m, v)).backward()  # closed form
        for estimates, exact in ((loc.grad, m.grad), (logvar.grad, v.grad)):
            mean, _, error = moments(estimates)
            assert ((mean - exact).abs() < 4 * error).all()


def test_gumbel_softmax_is_a_sample_when_cold_and_has_the_right_gradient(generator):
    logits = torch.tensor([0.3, -0.8, 1.1], dtype=torch.float64)
    n = 200_000
    uniform = torch.rand(n, 3, generator=generator, dtype=torch.float64)
    gumbel = -torch.log(-torch.log(uniform))
    cold = gumbel_softmax(logits, gumbel, temperature=1e-3)
    p = np.exp([0.3, -0.8, 1.1]) / np.exp([0.3, -0.8, 1.1]).sum()
    error = np.sqrt(p * (1 - p) / n)
    assert (np.abs(cold.mean(0).numpy() - p) < 4 * error + 1e-4).all()
    for temperature in (0.3, 2.0):
        y = gumbel_softmax(logits, gumbel[:5], temperature=temperature)
        torch.testing.assert_close(y.sum(-1), torch.ones(5, dtype=torch.float64))
        assert torch.autograd.gradcheck(
            lambda v, t=temperature: gumbel_softmax(v, gumbel[:5], temperature=t),
            (logits.clone().requires_grad_(),),
        )


def test_moments_are_those_of_each_parameter():
    """Not of all parameters together; numpy's var, with n - 1."""
    g = np.array([[1.0, 10.0, 0.0], [3.0, -10.0, 0.0], [8.0, 30.0, 0.0], [0.0, 0.0, 0.0]])
    mean, variance, error = moments(torch.tensor(g))
    np.testing.assert_allclose(mean, g.mean(0))
    np.testing.assert_allclose(variance, g.var(0, ddof=1))
    np.testing.assert_allclose(error, g.std(0, ddof=1) / 2)


@pytest.mark.usefixtures("plain_errors")
def test_errors_of_the_estimators():
    with pytest.raises(ValueError, match=r"one value per sample, got \(3, 1\) and \(3,\)"):
        score_function_surrogate(torch.zeros(3, 1), torch.zeros(3))
    for baseline in (torch.zeros(3, 1), torch.zeros(2), torch.zeros(1, 3)):
        with pytest.raises(ValueError, match=r"broadcasts to the shape of f, \(3,\), got \("):
            score_function_surrogate(torch.zeros(3), torch.zeros(3), baseline)
    per_datum = score_function_surrogate(torch.ones(4, 3), torch.ones(4, 3), torch.zeros(3))
    assert per_datum.shape == (4, 3)
    with pytest.raises(ValueError, match=r"of one shape .*, got \(3, 1\) and \(3,\)"):
        best_baseline(torch.zeros(3, 1), torch.zeros(3))
    for scalar in (leave_one_out, moments):
        with pytest.raises(ValueError, match=r"along the first axis, got \(\)"):
            scalar(torch.tensor(1.0))
    with pytest.raises(ValueError, match=r"at least 2 samples along the first axis, got \(1,\)"):
        leave_one_out(torch.zeros(1))
    with pytest.raises(
        ValueError, match=r"at least 2 estimates along the first axis, got \(1, 2\)"
    ):
        moments(torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"temperature > 0, .* got 0.0, \(3,\) and \(3,\)"):
        gumbel_softmax(torch.zeros(3), torch.zeros(3), temperature=0.0)
    with pytest.raises(ValueError, match=r"temperature > 0, .* got 1.0, \(2, 3\) and \(5, 1, 3\)"):
        gumbel_softmax(torch.zeros(2, 3), torch.zeros(5, 1, 3), temperature=1.0)
