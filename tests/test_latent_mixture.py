"""latent.mixture: against scipy's densities and a brute-force EM in numpy; EM for pPCA."""

import numpy as np
import oracles
import pytest
import torch

from vaelib.latent import GaussianMixture, LinearGaussian, stepwise_em

D = torch.float64


@pytest.fixture
def model():
    """3 components in 2 dimensions, correlated, unequal proportions."""
    root = torch.tensor(
        [[[1.0, 0.0], [0.4, 0.7]], [[0.5, 0.0], [-0.3, 0.9]], [[1.2, 0], [0.2, 0.6]]], dtype=D
    )
    loc = torch.tensor([[0.0, 1.0], [2.5, -1.0], [-2.0, -2.0]], dtype=D)
    return GaussianMixture(torch.tensor([0.5, 0.3, 0.2], dtype=D), loc, root @ root.mT)


@pytest.fixture
def start():
    """Somewhere else: EM has work to do."""
    return GaussianMixture(
        torch.tensor([0.2, 0.3, 0.5], dtype=D),
        torch.tensor([[0.5, 0.5], [1.0, -1.0], [-1.0, 0.0]], dtype=D),
        2 * torch.eye(2, dtype=D).repeat(3, 1, 1),
    )


@pytest.fixture
def x(model, generator):
    return model.sample(500, generator=generator)[0]


def arrays(m):
    return m.proportion.numpy(), m.loc.numpy(), m.covariance.numpy()


def test_joint_evidence_and_responsibilities_equal_scipy(model, x):
    log_joint = oracles.mixture_log_joint(*arrays(model), x)
    np.testing.assert_allclose(model.log_joint_all(x), log_joint, rtol=1e-11)
    k = torch.arange(len(x)) % 3
    picked = log_joint[np.arange(len(x)), k.numpy()]
    np.testing.assert_allclose(model.log_joint(x, k), picked, rtol=1e-11)
    evidence = np.log(np.exp(log_joint).sum(1))
    np.testing.assert_allclose(model.log_evidence(x), evidence, rtol=1e-11)
    expected = np.exp(log_joint - evidence[:, None])
    np.testing.assert_allclose(model.posterior(x).probs, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.prior.probs, model.proportion)


def test_gradient_of_the_evidence(model, x):
    loc = model.loc.clone().requires_grad_()
    GaussianMixture(model.proportion, loc, model.covariance).log_evidence(x).sum().backward()
    pi, mu, sigma = arrays(model)
    expected = oracles.gradient(
        lambda m: np.log(np.exp(oracles.mixture_log_joint(pi, m, sigma, x)).sum(1)).sum(), mu
    )
    np.testing.assert_allclose(loc.grad, expected, rtol=1e-6, atol=1e-5)


def test_far_from_all_components_nothing_underflows(model):
    far = torch.tensor([[500.0, 500.0]], dtype=D)
    assert model.log_evidence(far).isfinite().all()
    assert model.posterior(far).probs.sum().item() == pytest.approx(1)


def test_em_step_equals_brute_force(start, x):
    got, want = start, arrays(start)
    for _ in range(4):
        got, want = got.em_step(x), oracles.mixture_em_step(*want, x)
    for a, b in zip(arrays(got), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_the_evidence_never_falls_and_ends_where_its_gradient_is_zero(start, x):
    values, m = [], start
    for _ in range(200):
        values.append(m.log_evidence(x).mean().item())
        m = m.em_step(x)
    assert (np.diff(values) > -1e-12).all()
    loc = m.loc.clone().requires_grad_()
    GaussianMixture(m.proportion, loc, m.covariance).log_evidence(x).mean().backward()
    assert loc.grad.abs().max() < 1e-4


def test_samples_have_the_moments_of_the_mixture(model, generator):
    n = 100_000
    x, k = model.sample(n, generator=generator)
    for c in range(3):
        p = model.proportion[c].item()
        own = x[k == c]
        assert abs(len(own) / n - p) < 5 * (p * (1 - p) / n) ** 0.5
        variance = model.covariance[c].diagonal()
        assert ((own.mean(0) - model.loc[c]).abs() < 5 * (variance / len(own)).sqrt()).all()
        error = variance[:, None] * variance + model.covariance[c] ** 2
        difference = torch.cov(own.mT) - model.covariance[c]
        assert (difference.abs() < 5 * (error / len(own)).sqrt()).all()


def test_stepwise_em_by_hand(start, x):
    """Step sizes (t + 2)^-0.7, running averages, one M-step per batch."""
    batches = x.split(100)
    models = list(stepwise_em(start, batches))
    assert len(models) == 5
    want, running = arrays(start), None
    for t, batch in enumerate(batches):
        new = oracles.mixture_statistics(*want, batch)
        eta = 1.0 if t == 0 else (t + 2) ** -0.7
        running = [
            n if running is None else (1 - eta) * o + eta * n
            for o, n in zip(running or new, new, strict=True)
        ]
        want = oracles.mixture_m_step(*running)
    for a, b in zip(arrays(models[-1]), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_stepwise_em_with_one_batch_is_em(start, x):
    (only,) = stepwise_em(start, [x])
    for a, b in zip(arrays(only), arrays(start.em_step(x)), strict=True):
        np.testing.assert_allclose(a, b)


def test_what_is_said_of_bad_mixtures(model, x):
    with pytest.raises(ValueError, match=r"sum to 1, got \[0.5, 0.25, 0.2\]"):
        GaussianMixture(torch.tensor([0.5, 0.25, 0.2], dtype=D), model.loc, model.covariance)
    bad = model.covariance.clone()
    bad[1] = -bad[1]
    with pytest.raises(ValueError, match=r"components \[1\]; has one shrunk"):
        GaussianMixture(model.proportion, model.loc, bad)
    with pytest.raises(ValueError, match=r"got 0.4 and 2.0"):
        next(stepwise_em(model, [x], decay=0.4))


def test_mixture_shapes(model, plain_errors):
    with pytest.raises(ValueError, match=r"got \(2,\), \(3, 2\) and \(3, 2, 2\)"):
        GaussianMixture(torch.tensor([0.5, 0.5], dtype=D), model.loc, model.covariance)


def test_em_for_ppca_equals_tipping_and_bishop(linear_gaussian, generator):
    """Their equations 29 and 30 use the data's covariance S, which em_step never forms."""
    x = 2 * torch.randn(50, 5, generator=generator, dtype=D)
    got = linear_gaussian.em_step(x)
    w, v = linear_gaussian.weight.numpy(), linear_gaussian.variance.item()
    weight, variance = oracles.ppca_em_step(w, v, x)
    np.testing.assert_allclose(got.weight, weight, rtol=1e-10)
    assert got.variance.item() == pytest.approx(variance, rel=1e-10)
    np.testing.assert_allclose(got.bias, x.mean(0))


def test_em_for_ppca_rises_to_the_closed_form(linear_gaussian, generator):
    x, _ = linear_gaussian.sample(400, generator=generator)
    best = LinearGaussian.fit(x, 3)
    m = LinearGaussian(torch.randn(5, 3, generator=generator, dtype=D), x[0], best.variance)
    values = []
    for _ in range(2000):
        values.append(m.log_evidence(x).mean().item())
        m = m.em_step(x)
    assert (np.diff(values) > -1e-12).all()
    assert values[-1] == pytest.approx(best.log_evidence(x).mean().item(), abs=1e-6)
    torch.testing.assert_close(
        m.weight @ m.weight.mT, best.weight @ best.weight.mT, rtol=0, atol=1e-2
    )


@pytest.mark.usefixtures("plain_errors")
def test_x_and_k_of_another_size_are_refused():
    """x of one pixel for two was broadcast, and fewer k than x were gathered."""
    loc, eye = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.eye(2).expand(2, 2, 2)
    model = GaussianMixture(torch.tensor([0.5, 0.5]), loc, eye)
    for function in (model.log_evidence, model.posterior, model.statistics, model.em_step):
        for x in (torch.zeros(20, 1), torch.zeros(0, 2)):
            with pytest.raises(ValueError, match=r"x of shape \[\*batch, 2\] and not empty, got"):
                function(x)
    with pytest.raises(ValueError, match=r"one k for each x, of shape \(20,\), got \(3,\)"):
        model.log_joint(torch.zeros(20, 2), torch.zeros(3, dtype=torch.long))


@pytest.mark.parametrize("far", [0.0, 100.0, 10_000.0])
def test_em_far_from_the_origin_in_single_precision(far, generator):
    """Moved data give moved means and the same covariances; at 10,000 it said they had shrunk."""
    loc, eye = torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), torch.eye(2).expand(2, 2, 2)
    model = GaussianMixture(torch.tensor([0.5, 0.5]), loc, eye)
    x = (64 * model.sample(500, generator=generator)[0]).round() / 64  # float32 adds 10,000 exactly
    moved = GaussianMixture(model.proportion, loc + far, eye).em_step(x + far)
    exact = GaussianMixture(*(t.double() for t in (model.proportion, loc, eye))).em_step(x.double())
    np.testing.assert_allclose(moved.covariance, exact.covariance, rtol=0, atol=1e-5)
    np.testing.assert_allclose(moved.loc - far, exact.loc, rtol=0, atol=1e-5 + 1e-7 * far)
