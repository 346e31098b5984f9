"""latent: the linear Gaussian against a dense joint Gaussian; grids against the linear Gaussian."""

import math

import numpy as np
import oracles
import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian, NonlinearGaussian, grid, grid_evidence


@pytest.fixture
def model(linear_gaussian):
    return linear_gaussian


@pytest.fixture
def x(generator):
    return 2 * torch.randn(7, 5, generator=generator, dtype=torch.float64)


def arrays(model):
    return model.weight.detach().numpy(), model.bias.detach().numpy(), model.variance.item()


def test_evidence_equals_the_dense_joint(model, x):
    expected = oracles.linear_gaussian_log_evidence(*arrays(model), x)
    np.testing.assert_allclose(model.log_evidence(x), expected, rtol=1e-12)


def test_posterior_equals_conditioning_the_dense_joint(model, x):
    loc, covariance = oracles.linear_gaussian_posterior(*arrays(model), x)
    posterior = model.posterior(x)
    np.testing.assert_allclose(posterior.mean, loc, rtol=1e-11)
    np.testing.assert_allclose(posterior.covariance_matrix[0], covariance, rtol=1e-11)


def test_joint_density_equals_the_dense_joint(model, x, generator):
    z = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    mean, cov = oracles.joint_gaussian(*arrays(model))
    dense = MultivariateNormal(torch.from_numpy(mean), torch.from_numpy(cov))
    torch.testing.assert_close(model.log_joint(x, z), dense.log_prob(torch.cat([z, x], 1)))


def test_gradient_of_the_evidence(model, x):
    weight = model.weight.clone().requires_grad_()
    variance = model.variance.clone().requires_grad_()
    LinearGaussian(weight, model.bias, variance).log_evidence(x).sum().backward()
    w, b, v = arrays(model)
    d_weight = oracles.gradient(lambda w: oracles.linear_gaussian_log_evidence(w, b, v, x).sum(), w)
    d_variance = oracles.gradient(
        lambda v: oracles.linear_gaussian_log_evidence(w, b, float(v), x).sum(), v
    )
    np.testing.assert_allclose(weight.grad, d_weight, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance.grad, d_variance, rtol=1e-6)


@pytest.mark.parametrize("diagonal", [True, False])
def test_evidence_minus_elbo_is_the_kl_to_the_posterior(model, x, generator, diagonal):
    loc = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    root = torch.randn(7, 3, 3, generator=generator, dtype=torch.float64)
    if diagonal:
        q = DiagonalNormal(loc, root[..., 0])
        dense = MultivariateNormal(loc, torch.diag_embed(root[..., 0].exp()))
    else:
        q = dense = MultivariateNormal(loc, root @ root.mT + torch.eye(3, dtype=torch.float64))
    gap = model.log_evidence(x) - model.elbo(x, q)
    torch.testing.assert_close(gap, kl_divergence(dense, model.posterior(x)), rtol=0, atol=1e-10)


def test_samples_have_the_moments_of_the_joint(model, generator):
    n = 100_000
    pairs = torch.cat(model.sample(n, generator=generator)[::-1], 1)
    mean, cov = (torch.from_numpy(a) for a in oracles.joint_gaussian(*arrays(model)))
    variance = cov.diagonal()
    assert ((pairs.mean(0) - mean).abs() < 5 * (variance / n).sqrt()).all()
    # An entry of a normal's sample covariance has variance (c_ii c_jj + c_ij²) / n.
    error = ((variance[:, None] * variance + cov**2) / n).sqrt()
    assert ((torch.cov(pairs.mT) - cov).abs() < 5 * error).all()


def test_fit_reaches_the_closed_form_likelihood_and_is_a_maximum(generator):
    x = torch.randn(400, 6, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(6, 6, generator=generator, dtype=torch.float64)
    model = LinearGaussian.fit(x, 2)
    best = model.log_evidence(x).mean().item()
    assert best == pytest.approx(oracles.ppca_log_likelihood(x, 2), abs=1e-11)
    for _ in range(20):
        step = 0.01 * torch.randn(6, 2, generator=generator, dtype=torch.float64)
        moved = LinearGaussian(model.weight + step, model.bias, model.variance)
        assert moved.log_evidence(x).mean() < best
    gram = model.weight.mT @ model.weight
    assert (gram - gram.diagonal().diag()).abs().max() < 1e-9


@pytest.fixture(scope="module")
def fashion_moments(fashion_mnist):
    """784 pairs of rows ± r with the covariance of Fashion-MNIST, centred floats in [0, 1].

    The best pPCA and its mean log-likelihood depend on the data by their covariance alone, so these
    stand for the 60,000 in a fraction of the time; tests/test_vae.py takes all of them.
    """
    values, vectors = np.linalg.eigh(np.cov(fashion_mnist.train.numpy().T / 255, bias=True))
    rows = np.sqrt(784 * values.clip(0))[:, None] * vectors.T
    return torch.from_numpy(np.concatenate([rows, -rows]))


def test_fashion_mnist_value(fashion_moments):
    """513.8602 nats at 50 latents (Lucas et al. 2019's setting, centred floats in [0, 1])."""
    model = LinearGaussian.fit(fashion_moments, 50)
    evidence = model.log_evidence(fashion_moments).mean().item()
    posterior = model.posterior(fashion_moments[:1])
    covariance = posterior.covariance_matrix[0]
    # Orthogonal columns: the posterior is diagonal, so a diagonal encoder can be it exactly.
    assert (covariance - covariance.diagonal().diag()).abs().max() < 1e-12
    assert evidence == pytest.approx(513.8602, abs=1e-4)


@pytest.mark.parametrize(("variance", "active"), [(1.0, 8), (0.1, 53), (0.01, 302)])
def test_inactive_directions_get_no_weight(fashion_moments, variance, active):
    model = LinearGaussian.fit(fashion_moments, 400, variance=variance)
    assert (model.weight.norm(dim=0) > 0).sum() == active


@pytest.mark.parametrize("latent", [1, 2])
def test_grid_evidence_equals_the_closed_form(generator, latent):
    weight = torch.randn(4, latent, generator=generator)
    model = LinearGaussian(weight, torch.zeros(4), torch.tensor(0.5))
    x, _ = model.sample(6, generator=generator)
    z, log_cell = grid(latent, points=200)
    solution = grid_evidence(model.log_joint(x[:, None], z), log_cell)
    torch.testing.assert_close(solution.log_evidence, model.log_evidence(x), rtol=0, atol=1e-4)
    exact = model.posterior(x[:, None]).log_prob(z)
    near = exact > exact.max() - 20
    torch.testing.assert_close(solution.log_density[near], exact[near], rtol=0, atol=1e-3)
    mass = (solution.log_density + log_cell).exp().sum(-1)
    torch.testing.assert_close(mass, torch.ones(6), rtol=0, atol=1e-4)


@pytest.mark.usefixtures("plain_errors")
def test_errors_say_what_was_expected_and_got(model):
    with pytest.raises(ValueError, match=r"\[\*batch, 5\] and not empty, got \(7, 4\)"):
        model.log_evidence(torch.zeros(7, 4).double())
    with pytest.raises(ValueError, match=r"not empty, got \(0, 5\)"):
        model.posterior(torch.zeros(0, 5).double())
    with pytest.raises(TypeError, match=r"expected x of torch.float64, got torch.float32"):
        model.posterior(torch.zeros(7, 5))
    with pytest.raises(ValueError, match="finite x, got NaN"):
        model.log_evidence(torch.full((7, 5), math.nan).double())
    with pytest.raises(ValueError, match=r"finite floats, got torch.uint8"):
        LinearGaussian.fit(torch.zeros(7, 5, dtype=torch.uint8), 2)
    with pytest.raises(ValueError, match=r"got \(5, 3\), \(4,\) and \(\)"):
        LinearGaussian(torch.zeros(5, 3), torch.zeros(4), torch.tensor(1.0))
    for variance in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="variance > 0, got"):
            LinearGaussian(torch.zeros(5, 3), torch.zeros(5), torch.tensor(variance))
    with pytest.raises(ValueError, match="0 < latent < 5 pixels, got 5"):
        LinearGaussian.fit(torch.zeros(9, 5), 5)
    with pytest.raises(ValueError, match="1 or 2 latent dimensions, got 3"):
        grid(3)


def test_a_nonlinear_model_with_a_linear_function_is_the_linear_one(generator):
    weight, bias = torch.randn(4, 2, generator=generator), torch.randn(4, generator=generator)
    linear = LinearGaussian(weight, bias, torch.tensor(0.3))
    same = NonlinearGaussian(lambda z: z @ weight.mT + bias, latent=2, variance=0.3)
    x, z = same.sample(1000, generator=generator)
    torch.testing.assert_close(same.log_joint(x, z), linear.log_joint(x, z))
    noise = x - linear.decode(z).mean
    assert abs(noise.var().item() - 0.3) < 5 * 0.3 * math.sqrt(2 / 4000)
    assert abs(z.var().item() - 1) < 5 * math.sqrt(2 / 2000)
    with pytest.raises(ValueError, match=r"variance > 0 and latent ≥ 1, got 0.0 and 1"):
        NonlinearGaussian(torch.sin, latent=1, variance=0.0)


@pytest.mark.usefixtures("plain_errors")
def test_x_and_z_of_another_size_are_refused(linear_gaussian):
    """One pixel would count for all five, one latent for all three."""
    fold = NonlinearGaussian(lambda z: torch.cat([z, z.abs()], -1), 3, 0.25)
    zeros = torch.zeros
    for model, pixels in ((linear_gaussian, 5), (fold, 6)):
        dtype = torch.float64 if model is linear_gaussian else torch.float32
        for x, z in (
            (zeros(20, 1), zeros(20, 3)),
            (zeros(20, pixels), zeros(20, 1)),
            (zeros(20, pixels), zeros(7, 3)),
            (zeros(()), zeros(20, 3)),
        ):
            for function in (model.log_likelihood, model.log_joint):
                # torch multiplies no matrices of other sizes, and says so itself.
                with pytest.raises((ValueError, RuntimeError)) as refused:
                    function(x.to(dtype), z.to(dtype))
                if z.shape[1] == 3:
                    assert f"[*batch, {pixels}] and z [*samples" in str(refused.value)
        pairs = model.log_joint(zeros(20, 1, pixels, dtype=dtype), zeros(7, 3, dtype=dtype))
        assert pairs.shape == (20, 7)


@pytest.mark.parametrize("variance", [1e-2, 1e-4, 1e-6])
def test_little_noise_in_single_precision(variance, generator):
    """|r|² less what z explains would err by a rounding of |r|² over σ²: 119 nats at 1e-6.

    The residual r - Wz errs by a few roundings of |r|, at most 20 here, in each of 100 pixels: in
    log p by |r - Wz| times that over σ², that is 100 · 20 eps / σ.
    """
    weight, bias = torch.randn(100, 3, generator=generator), torch.randn(100, generator=generator)
    model = LinearGaussian(weight, bias, torch.tensor(variance))
    x, _ = model.sample(50, generator=generator)
    exact = LinearGaussian(*(t.double() for t in (weight, bias, model.variance)))
    oracle = oracles.linear_gaussian_log_evidence(
        exact.weight, exact.bias, exact.variance.item(), x.double()
    )
    bound = 100 * 20 * torch.finfo(torch.float32).eps / variance**0.5
    np.testing.assert_allclose(model.log_evidence(x), oracle, rtol=0, atol=bound)
    expected = exact.em_step(x.double()).variance.item()
    assert model.em_step(x).variance.item() == pytest.approx(expected, rel=1e-4)
