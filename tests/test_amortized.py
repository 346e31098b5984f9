"""amortized: heads and training against the exact posterior; Laplace and refine against scipy."""

import math

import numpy as np
import oracles
import pytest
import torch
from scipy import optimize, stats
from torch import nn
from torch.distributions import MultivariateNormal, StudentT, kl_divergence

from vaelib.amortized import (
    CholeskyHead,
    DiagonalHead,
    coverage,
    diagonal_floor,
    fit_to_pairs,
    laplace,
    refine,
)
from vaelib.kl import DiagonalNormal, kl_line
from vaelib.latent import LinearGaussian, NonlinearGaussian, grid, grid_evidence
from vaelib.nets import MLP, LinearEncoder, MLPEncoder


def covariance(generator, latent=3):
    root = torch.randn(latent, latent, generator=generator, dtype=torch.float64)
    return root @ root.mT + 0.3 * torch.eye(latent, dtype=torch.float64)


# heads


def test_diagonal_head_is_its_encoder(generator):
    encoder = MLPEncoder(5, 3, hidden=(8,))
    x = torch.randn(7, 5, generator=generator)
    loc, logvar = encoder(x)
    q = DiagonalHead(encoder)(x)
    torch.testing.assert_close(q.mean, loc)
    torch.testing.assert_close(q.variance, logvar.exp())


def test_cholesky_head_density_and_gradient(generator):
    encoder, below = LinearEncoder(5, 3).double(), MLP([5, 4, 3]).double()
    head = CholeskyHead(encoder, below)
    with torch.no_grad():
        encoder.logvar.copy_(torch.tensor([-1.0, 0.5, 0.2]))
    x = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    z = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    (loc, logvar), rest = encoder(x), below(x)
    for i in range(2):
        a, b, c = np.exp(0.5 * logvar[i].detach().numpy())
        d, e, f = rest[i].detach().numpy()
        tril = np.array([[a, 0, 0], [d, b, 0], [e, f, c]])
        expected = stats.multivariate_normal(loc[i].detach().numpy(), tril @ tril.T).logpdf(z[i])
        np.testing.assert_allclose(head(x).log_prob(z)[i].item(), expected, rtol=1e-10)
    inputs = tuple(p for p in head.parameters() if p.requires_grad)
    assert torch.autograd.gradcheck(lambda *_: head(x).log_prob(z), inputs)


def test_cholesky_head_starts_diagonal():
    encoder = LinearEncoder(5, 3)
    x = torch.ones(2, 5)
    torch.testing.assert_close(
        CholeskyHead(encoder)(x).covariance_matrix,
        torch.diag_embed(DiagonalHead(encoder)(x).variance),
    )


def test_cholesky_head_names_a_wrong_size():
    with pytest.raises(ValueError, match=r"expected .* = 3 numbers .* got 2"):
        CholeskyHead(LinearEncoder(5, 3), nn.Linear(5, 2))(torch.zeros(4, 5))


# the floor


def test_floors_of_both_directions_by_minimizing(generator):
    sigma = covariance(generator).numpy()
    precision = np.linalg.inv(sigma)
    from_posterior, from_q = oracles.diagonal_floors_by_minimizing(sigma)
    floor = diagonal_floor(torch.from_numpy(np.stack([sigma, precision])))
    np.testing.assert_allclose(floor, [from_posterior, from_q], atol=1e-7)
    assert abs(from_posterior - from_q) > 0.01  # three dimensions tell them apart


def test_floor_is_reached_by_the_variances_that_the_docstring_names(generator):
    sigma = covariance(generator)
    precision = torch.linalg.inv(sigma)
    zero = torch.zeros(3, dtype=torch.float64)
    posterior = MultivariateNormal(zero, sigma)
    marginal = DiagonalNormal(zero, sigma.diagonal().log())
    narrow = DiagonalNormal(zero, -precision.diagonal().log())
    torch.testing.assert_close(kl_divergence(posterior, marginal), diagonal_floor(sigma))
    torch.testing.assert_close(kl_divergence(narrow, posterior), diagonal_floor(precision))


def test_floor_gradient(generator):
    sigma = covariance(generator).requires_grad_()
    (got,) = torch.autograd.grad(diagonal_floor(sigma), sigma)
    s = sigma.detach()
    expected = 0.5 * (torch.diag(1 / s.diagonal()) - torch.linalg.inv(s))
    torch.testing.assert_close(0.5 * (got + got.mT), expected)


def test_floor_refuses_what_is_no_covariance():
    with pytest.raises(ValueError, match="symmetric, positive definite"):
        diagonal_floor(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match="symmetric"):
        diagonal_floor(torch.tensor([[1.0, 0.5], [0.0, 1.0]]))


# training on pairs


def test_linear_head_finds_the_exact_posterior(generator):
    basis, _ = torch.linalg.qr(torch.randn(6, 3, generator=generator))
    model = LinearGaussian(
        basis * torch.tensor([2.0, 1.0, 0.5]), torch.linspace(-1, 1, 6), torch.tensor(0.5)
    )
    torch.manual_seed(0)
    head = DiagonalHead(LinearEncoder(6, 3))
    history = fit_to_pairs(head, model, steps=1500, lr=0.05, generator=generator)
    x, _ = model.sample(500, generator=generator)
    posterior = model.posterior(x)
    assert 0 <= kl_divergence(posterior, head(x)).mean() < 1e-3
    # E[log q] of the exact posterior is minus its entropy; 25,600 pairs of 3 latents each.
    entropy = posterior.entropy()[0].item()
    assert abs(history[-100:].mean().item() + entropy) < 5 * math.sqrt(3 / 2 / 25_600)


def test_correlated_latents_have_a_floor_and_cholesky_has_none(linear_gaussian, generator):
    model = LinearGaussian(
        *(t.float() for t in (linear_gaussian.weight, linear_gaussian.bias)), torch.tensor(0.4)
    )
    x, _ = model.sample(500, generator=generator)
    posterior = model.posterior(x)
    floor = diagonal_floor(posterior.covariance_matrix[0]).item()
    assert floor > 0.01
    reached = []
    for head in (DiagonalHead(LinearEncoder(5, 3)), CholeskyHead(LinearEncoder(5, 3))):
        fit_to_pairs(head, model, steps=2000, lr=0.05, generator=generator)
        reached.append(kl_divergence(posterior, head(x)).mean().item())
    assert floor - 1e-5 < reached[0] < floor + 1e-3
    assert 0 <= reached[1] < 1e-3


def test_training_is_reproducible_and_leaves_the_model_alone():
    weight = torch.ones(2, 1, requires_grad=True)
    model = LinearGaussian(weight, torch.zeros(2), torch.tensor(1.0))
    histories = []
    for _ in range(2):
        torch.manual_seed(1)
        head = DiagonalHead(LinearEncoder(2, 1))
        g = torch.Generator().manual_seed(3)
        histories.append(fit_to_pairs(head, model, steps=5, generator=g))
    assert torch.equal(*histories)
    assert weight.grad is None


def test_training_says_what_is_wrong():
    model = NonlinearGaussian(torch.sin, 1, 0.25)
    head = DiagonalHead(LinearEncoder(1, 1))
    with pytest.raises(ValueError, match=r"steps ≥ 1.*got 0"):
        fit_to_pairs(head, model, steps=0)
    broken = NonlinearGaussian(lambda z: z / 0, 1, 0.25)
    with pytest.raises(FloatingPointError, match=r"at step 1; lower lr \(now 0.01\)"):
        fit_to_pairs(head, broken, steps=2)


# Laplace


def test_laplace_is_exact_for_a_linear_gaussian(linear_gaussian, generator):
    x, _ = linear_gaussian.sample(7, generator=generator)
    q = laplace(
        lambda z: linear_gaussian.log_joint(x, z), torch.full((7, 3), 2.0, dtype=torch.float64)
    )
    loc, cov = oracles.linear_gaussian_posterior(
        linear_gaussian.weight, linear_gaussian.bias, linear_gaussian.variance.item(), x
    )
    np.testing.assert_allclose(q.mean, loc, atol=1e-6)
    np.testing.assert_allclose(q.covariance_matrix[3], cov, rtol=1e-6)


def test_laplace_against_scipy_on_a_curved_model():
    x = np.array([-0.5, 0.2, 1.0, 4.0])
    q = laplace(
        lambda z: NonlinearGaussian(torch.exp, 1, 0.25).log_joint(torch.from_numpy(x)[:, None], z),
        torch.zeros(4, 1, dtype=torch.float64),
    )
    for i, value in enumerate(x):

        def minus(z, value=value):
            return 0.5 * z**2 + (value - math.exp(z)) ** 2 / 0.5

        mode = optimize.minimize_scalar(minus, bounds=(-4, 3), options={"xatol": 1e-9}).x
        step = 1e-3
        curvature = (minus(mode + step) - 2 * minus(mode) + minus(mode - step)) / step**2
        assert abs(q.mean[i].item() - mode) < 1e-4
        assert abs(q.stddev[i].item() / curvature**-0.5 - 1) < 1e-4


def test_laplace_climbs_where_the_surface_is_not_concave():
    """From a start between two modes, where the plain Newton step would go down."""
    q = laplace(
        lambda z: -10 * (z.square() - 1).square().sum(-1),
        torch.tensor([[0.2], [-0.1]], dtype=torch.float64),
    )
    torch.testing.assert_close(
        q.mean, torch.tensor([[1.0], [-1.0]], dtype=torch.float64), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        q.variance, torch.full((2, 1), 1 / 80, dtype=torch.float64), atol=1e-6, rtol=0
    )


def test_laplace_in_float32_ends_where_the_digits_end():
    """log p is far from 0 and steep: a promise of 1e-6 nats could never be kept."""
    q = laplace(lambda z: -1e4 - 1e4 * (z - 3.0).square().sum(-1), torch.zeros(2, 2))
    assert (q.mean - 3).abs().max() < 1e-2


def test_laplace_says_what_is_wrong():
    start = torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"shape \(2,\), got \(2, 1\)"):
        laplace(lambda z: -z.square(), start)
    with pytest.raises(ValueError, match=r"maximum.*another start"):
        laplace(lambda z: z.square().sum(-1), start)
    with pytest.raises(ValueError, match=r"within 3 steps.*more steps"):
        laplace(lambda z: -((z - 9.0) ** 4).sum(-1), start, steps=3)
    with pytest.raises(ValueError, match="finite log p"):
        laplace(lambda z: z.log().sum(-1), start)


# refine


@pytest.fixture
def fold():
    return NonlinearGaussian(lambda z: (z - 0.5).abs(), 1, 0.25)


def test_refine_finds_the_best_normal(fold):
    """E_p[log q] is highest where q has the posterior's mean and variance."""
    x = torch.tensor([[-0.5], [0.7], [2.5]])
    z, log_cell = grid(1, points=600)
    log_p = grid_evidence(fold.log_joint(x[:, None], z), log_cell).log_density
    p = log_p.exp() * math.exp(log_cell)
    loc = p @ z
    variance = p @ z.square() - loc**2
    start = DiagonalNormal(torch.zeros(3, 1), torch.zeros(3, 1))
    q = refine(start, lambda q: (p * q.log_prob(z[:, None]).mT).sum(-1), steps=500, lr=0.1)
    torch.testing.assert_close(q.loc, loc, atol=1e-3, rtol=0)
    torch.testing.assert_close(q.variance, variance, atol=1e-3, rtol=1e-3)
    assert not q.loc.requires_grad
    assert torch.equal(start.loc, torch.zeros(3, 1))
    surplus = kl_line(log_p, q.log_prob(z[:, None]).mT, z[:, 0])
    assert (surplus < kl_line(log_p, start.log_prob(z[:, None]).mT, z[:, 0])).all()


def test_refine_finds_the_narrow_normal_of_the_other_direction(linear_gaussian, generator):
    """With the exact ELBO as objective: the variances are 1/Λᵢᵢ, the gap is the floor of Λ."""
    x, _ = linear_gaussian.sample(4, generator=generator)
    zeros = torch.zeros(4, 3, dtype=torch.float64)
    q = refine(
        DiagonalNormal(zeros, zeros), lambda q: linear_gaussian.elbo(x, q), steps=800, lr=0.1
    )
    precision = linear_gaussian.posterior(x).precision_matrix[0]
    torch.testing.assert_close(q.variance[0], 1 / precision.diagonal(), rtol=1e-4, atol=0)
    gap = linear_gaussian.log_evidence(x) - linear_gaussian.elbo(x, q)
    torch.testing.assert_close(gap, diagonal_floor(precision).expand(4), atol=1e-6, rtol=0)


def test_refine_takes_each_datum_alone_and_leaves_the_model_alone():
    target = torch.tensor([[1.0, 2.0], [-3.0, 0.5]])
    factor = torch.ones((), requires_grad=True)

    def objective(which):
        return lambda q: (
            -factor
            * ((q.loc - target[which]).square().sum(-1) + q.variance.sum(-1) - q.logvar.sum(-1))
        )

    start = DiagonalNormal(torch.zeros(2, 2), torch.ones(2, 2))
    with torch.no_grad():  # as chapters call it
        both = refine(start, objective([0, 1]), steps=30, lr=0.1)
    alone = refine(
        DiagonalNormal(start.loc[1:], start.logvar[1:]), objective([1]), steps=30, lr=0.1
    )
    assert torch.equal(both.loc[1:], alone.loc)
    assert torch.equal(both.logvar[1:], alone.logvar)
    assert factor.grad is None


def test_refine_says_what_is_wrong():
    q = DiagonalNormal(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"one value per datum, shape \(2,\), got \(\)"):
        refine(q, lambda q: q.loc.sum(), steps=1, lr=0.1)
    with pytest.raises(ValueError, match="steps ≥ 1 and lr > 0, got 0"):
        refine(q, lambda q: q.loc.sum(-1), steps=0, lr=0.1)


# coverage


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_coverage_of_the_exact_posterior_and_of_a_wrong_one(linear_gaussian, generator, level):
    n = 20_000
    x, z = linear_gaussian.sample(n, generator=generator)
    posterior = linear_gaussian.posterior(x)
    share, error = coverage(posterior, z, level)
    assert share.shape == (3,)
    torch.testing.assert_close(error, torch.full_like(error, math.sqrt(level * (1 - level) / n)))
    assert ((share - level).abs() < 4 * error).all()
    # With half the scale the intervals hold what half the quantile holds.
    half = DiagonalNormal(posterior.mean, (posterior.variance / 4).log())
    expected = 2 * stats.norm.cdf(stats.norm.ppf((1 + level) / 2) / 2) - 1
    assert (coverage(half, z, level).share - expected).abs().max() < 4 * 0.5 / math.sqrt(n)


def test_the_prior_is_calibrated(linear_gaussian, generator):
    _, z = linear_gaussian.sample(20_000, generator=generator)
    q = DiagonalNormal(torch.zeros_like(z), torch.zeros_like(z))
    share, error = coverage(q, z)
    assert ((share - 0.9).abs() < 4 * error).all()


def test_coverage_says_what_is_wrong(plain_errors):
    q = DiagonalNormal(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"got z \(4, 3\) and q with loc \(4, 2\)"):
        coverage(q, torch.zeros(4, 3))
    with pytest.raises(ValueError, match="0 < level < 1, got 90"):
        coverage(q, torch.zeros(4, 2), 90)
    with pytest.raises(TypeError, match="normal q, got StudentT"):
        coverage(StudentT(torch.ones(4, 2)), torch.zeros(4, 2))


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_the_floor_does_not_depend_on_the_unit(scale):
    """Small matrices passed for symmetric, whatever they were."""
    matrix = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    expected = -0.5 * math.log(1 - 0.8**2)
    assert diagonal_floor(scale * matrix).item() == pytest.approx(expected, rel=1e-5)
    matrix[0, 1] = 0.7
    with pytest.raises(ValueError, match="expected symmetric, positive definite"):
        diagonal_floor(scale * matrix)
