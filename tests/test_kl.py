"""kl: closed forms against quadrature, value and gradient; Monte Carlo within its own error."""

import math

import numpy as np
import oracles
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaelib.kl import DiagonalNormal, kl_monte_carlo, kl_normal, kl_standard_normal


def draw(generator, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=generator, dtype=dtype)


def test_standard_normal_equals_quadrature(generator):
    loc, logvar = draw(generator, 3, 4), 1.5 * draw(generator, 3, 4)
    expected = oracles.kl_to_standard_normal(loc, logvar)
    np.testing.assert_allclose(kl_standard_normal(loc, logvar), expected, rtol=1e-11)


def test_standard_normal_gradient_equals_differences_of_the_quadrature(generator):
    loc = draw(generator, 1, 3).requires_grad_()
    logvar = draw(generator, 1, 3).requires_grad_()
    kl_standard_normal(loc, logvar).sum().backward()
    d_loc = oracles.gradient(
        lambda m: oracles.kl_to_standard_normal(m, logvar.detach())[0], loc.detach()
    )
    d_logvar = oracles.gradient(
        lambda v: oracles.kl_to_standard_normal(loc.detach(), v)[0], logvar.detach()
    )
    np.testing.assert_allclose(loc.grad, d_loc, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(logvar.grad, d_logvar, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("logvar", [0.3, 3e-3, -1e-4, 1e-6, 0.0])
def test_float32_near_the_prior_keeps_its_digits(logvar):
    """Rounding expm1 costs half a unit in the last place of logvar, not of 1.

    The textbook form exp(logvar) - 1 - logvar misses the bound by a factor of 100 at 3e-3, and
    returns -0.0 or less for smaller ones.
    """
    logvar = float(np.float32(logvar))
    exact = oracles.kl_to_standard_normal_in_60_digits(0, logvar)
    value = kl_standard_normal(torch.zeros(1, 1), torch.full((1, 1), logvar)).item()
    assert abs(value - exact) <= 2**-23 * abs(logvar)
    assert math.copysign(1, value) == 1


def test_normal_equals_quadrature_and_is_not_symmetric(generator):
    q, v, p, w = (draw(generator, 2, 3) for _ in range(4))
    expected = [
        sum(
            oracles.kl_normal_by_quadrature(a, math.exp(b / 2), c, math.exp(d / 2))
            for a, b, c, d in zip(*(t[i].tolist() for t in (q, v, p, w)), strict=True)
        )
        for i in range(2)
    ]
    np.testing.assert_allclose(kl_normal(q, v, p, w), expected, rtol=1e-11)
    assert not torch.allclose(kl_normal(q, v, p, w), kl_normal(p, w, q, v))


def test_registered_divergences_equal_torchs_own(generator):
    loc, logvar, other = (draw(generator, 5, 3) for _ in range(3))
    q, p = DiagonalNormal(loc, logvar), DiagonalNormal(other, -logvar)
    torch_q = Independent(Normal(loc, (logvar / 2).exp()), 1)
    torch_p = Independent(Normal(other, (-logvar / 2).exp()), 1)
    torch.testing.assert_close(kl_divergence(q, p), kl_divergence(torch_q, torch_p))
    full = MultivariateNormal(other, torch.eye(3, dtype=torch.float64) + 0.3)
    dense_q = MultivariateNormal(loc, torch.diag_embed(logvar.exp()))
    torch.testing.assert_close(kl_divergence(q, full), kl_divergence(dense_q, full))
    torch.testing.assert_close(kl_divergence(full, q), kl_divergence(full, dense_q))


def test_diagonal_normal_density(generator):
    loc, logvar, z = (draw(generator, 5, 3) for _ in range(3))
    expected = oracles.normal_log_density(z, loc, np.exp(0.5 * logvar.numpy()))
    np.testing.assert_allclose(DiagonalNormal(loc, logvar).log_prob(z), expected, rtol=1e-12)


def test_monte_carlo_value_and_standard_error(generator):
    """q = N(m, s²), p = N(0, 1): log q - log p = c + (s² - 1) e² / 2 + m s e with e ~ N(0, 1).

    Its variance is (s² - 1)² / 2 + m² s²; the mean's error is its root over √n.
    """
    n, m, s = 200_000, 0.5, 0.3
    loc, logvar = torch.tensor([m]), torch.tensor([2 * math.log(s)])
    q = DiagonalNormal(loc, logvar)
    z = loc + s * torch.randn(n, 1, generator=generator)
    estimate = kl_monte_carlo(q, DiagonalNormal(torch.zeros(1), torch.zeros(1)), z)
    error = math.sqrt(((s * s - 1) ** 2 / 2 + m * m * s * s) / n)
    exact = oracles.kl_normal_by_quadrature(m, s, 0, 1)
    assert abs(estimate.mean.item() - exact) < 4 * error
    assert estimate.standard_error.item() == pytest.approx(error, rel=0.02)


@pytest.mark.usefixtures("plain_errors")
def test_errors_say_what_was_expected_and_got():
    with pytest.raises(ValueError, match=r"one shape .* loc \(3, 2\), logvar \(2,\)"):
        kl_standard_normal(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"logvar \(1, 2\)"):
        DiagonalNormal(torch.zeros(3, 2), torch.zeros(1, 2))
    q = DiagonalNormal(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"at least 2 samples .* got shape \(1, 2\)"):
        kl_monte_carlo(q, q, torch.zeros(1, 2))
