"""kl: closed forms, sums over a line and fits against quadrature and search; Monte Carlo within its
own error."""

import math

import numpy as np
import oracles
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, Uniform, kl_divergence

from vaelib.kl import (
    DiagonalNormal,
    fit_forward,
    fit_reverse,
    kl_line,
    kl_monte_carlo,
    kl_monte_carlo_k3,
    kl_normal,
    kl_standard_normal,
)

LINE = torch.linspace(-12.0, 12.0, 1201, dtype=torch.float64)


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
    q = DiagonalNormal(loc, logvar)
    np.testing.assert_allclose(q.log_prob(z), expected, rtol=1e-12)
    np.testing.assert_allclose(q.stddev, np.exp(0.5 * logvar.numpy()), rtol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("logvar", [-200.0, -120.0, 0.0, 120.0, 200.0])
def test_extreme_variances(logvar, dtype):
    """e^100 is infinite in float32, and 0 times it nan: equal normals differ by 0, with gradients.

    A difference of 1.5 standard deviations, 5e-44 at a logvar of -200, is rounded like nothing
    else, so it is measured in float64 from what the tensors hold.
    """
    v = torch.full((1, 3), logvar, dtype=dtype, requires_grad=True)
    loc = torch.zeros(1, 3, dtype=dtype, requires_grad=True)
    q, p = DiagonalNormal(loc, v), DiagonalNormal(loc.detach(), v.detach())
    full = MultivariateNormal(p.loc, scale_tril=torch.diag_embed(torch.exp(0.5 * p.logvar)))
    pairs = [(q, p), (p, q)]
    if dtype == torch.float64 or abs(logvar) < 150:  # a full matrix has no logvar to keep
        pairs += [(q, full), (full, q)]
    for a, b in pairs:
        kl = kl_divergence(a, b)
        assert kl.item() == pytest.approx(0, abs=100 * torch.finfo(dtype).eps)
        for slope in torch.autograd.grad(kl.sum(), (loc, v)):
            np.testing.assert_allclose(slope, 0, atol=1e-6)
    unit = MultivariateNormal(p.loc, torch.eye(3, dtype=dtype))
    entropy = 1.5 * (logvar + 1 + math.log(2 * math.pi))
    assert q.entropy().item() == pytest.approx(entropy, rel=1e-6)
    if logvar < 0:
        exact = 1.5 * (-logvar - 1 + math.exp(logvar))
        assert kl_divergence(q, unit).item() == pytest.approx(exact, rel=1e-6)
    z = (1.5 * torch.exp(0.5 * v)).detach()
    if logvar < 170 or dtype == torch.float64:  # beyond, z has no float32
        eps = z.double() / math.exp(logvar / 2)
        exact = (-0.5 * (eps.square() + logvar + math.log(2 * math.pi))).sum(-1)
        np.testing.assert_allclose(q.log_prob(z).detach(), exact, rtol=1e-6)
        for slope in torch.autograd.grad(q.log_prob(z).sum(), v):
            np.testing.assert_allclose(slope, 0.5 * (eps.square() - 1), rtol=1e-5)


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


def one(loc, scale):
    """A normal over one dimension, in float64."""
    return DiagonalNormal(
        torch.tensor([loc], dtype=torch.float64),
        torch.tensor([2 * math.log(scale)], dtype=torch.float64),
    )


@pytest.mark.parametrize("pair", [(0.5, 1.3, 0.0, 1.0), (0.1, 1.0, 0.0, 1.0), (0.0, 0.9, 0.3, 1.0)])
def test_k3_value_and_standard_error(generator, pair):
    """Where its variance is finite. The mean of n draws is off by its deviation over √n; the
    sample deviation of these heavy-tailed draws is good to some per cent only."""
    n, (m, s, _, _) = 400_000, pair
    mean, deviation = oracles.k3_moments_by_quadrature(*pair)
    z = m + s * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    estimate = kl_monte_carlo_k3(one(m, s), one(*pair[2:]), z)
    assert mean == pytest.approx(oracles.kl_normal_by_quadrature(*pair), rel=1e-6)
    assert abs(estimate.mean.item() - mean) < 4 * deviation / math.sqrt(n)
    assert estimate.standard_error.item() == pytest.approx(deviation / math.sqrt(n), rel=0.05)


def test_k3_of_one_draw_is_by_hand_and_never_negative():
    """q = N(0, 1), p = N(1, 1): log r = z - ½."""
    z = torch.tensor([[2.0], [0.5], [-1.0]], dtype=torch.float64)
    by_hand = [math.exp(v - 0.5) - 1 - (v - 0.5) for v in (2.0, 0.5, -1.0)]
    mean, _ = kl_monte_carlo_k3(one(0.0, 1.0), one(1.0, 1.0), z)
    assert mean.item() == pytest.approx(sum(by_hand) / 3, rel=1e-12)
    singles = [kl_monte_carlo_k3(one(0.0, 1.0), one(1.0, 1.0), v.expand(2, 1)).mean for v in z]
    assert min(singles) >= 0


def test_k3_is_off_where_the_supports_differ():
    """Off by the probability that p gives to the support of q, minus 1; k1 is not."""
    inner, outer = Uniform(0.0, 1.0), Uniform(0.0, 4.0)
    z = torch.linspace(0.01, 0.99, 50)
    assert kl_monte_carlo(inner, outer, z).mean.item() == pytest.approx(math.log(4), rel=1e-6)
    off = kl_monte_carlo_k3(inner, outer, z).mean.item() - math.log(4)
    assert off == pytest.approx(1 / 4 - 1, rel=1e-6)


def test_line_equals_quadrature_both_ways():
    def log_p(z):
        return oracles.two_bumps_log_density(z, 2.0, 0.5)

    def log_q(z):
        return oracles.stats.norm.logpdf(z, 0.7, 1.1)

    on_line = torch.tensor(log_p(LINE.numpy())), torch.tensor(log_q(LINE.numpy()))
    p_q = oracles.kl_by_quadrature(log_p, log_q, -8, 8)
    q_p = oracles.kl_by_quadrature(log_q, log_p, -11, 11)
    assert kl_line(on_line[0], on_line[1], LINE).item() == pytest.approx(p_q, rel=1e-9)
    assert kl_line(on_line[1], on_line[0], LINE).item() == pytest.approx(q_p, rel=1e-9)


def test_line_gradient_equals_the_closed_form():
    theta = torch.tensor([[0.4], [-0.7]], dtype=torch.float64, requires_grad=True)
    on_line = kl_line(
        DiagonalNormal(*theta).log_prob(LINE[:, None]), one(0.0, 1.0).log_prob(LINE[:, None]), LINE
    )
    (slope,) = torch.autograd.grad(on_line, theta)
    expected = [[0.4], [(math.exp(-0.7) - 1) / 2]]  # d/dμ ½μ², d/dlogvar ½(e^logvar - logvar)
    np.testing.assert_allclose(slope, expected, rtol=1e-9)


def test_line_where_the_supports_differ():
    """Infinite in one direction only, and no NaN from 0 · log 0, in value or gradient."""
    cells = torch.linspace(0.005, 1.995, 200, dtype=torch.float64)
    wide = torch.full((200,), math.log(0.5), dtype=torch.float64, requires_grad=True)
    narrow = torch.where(cells < 1, 0.0, -math.inf)
    assert kl_line(wide, narrow, cells).item() == math.inf
    inside = kl_line(narrow, wide, cells)
    assert inside.item() == pytest.approx(math.log(2), rel=1e-9)
    (slope,) = torch.autograd.grad(inside, wide)
    np.testing.assert_allclose(slope, np.where(cells < 1, -0.01, 0.0), atol=1e-12)


@pytest.mark.parametrize("width", [0.5, 1.0])
def test_forward_fit_equals_a_search(width):
    log_p = oracles.two_bumps_log_density(LINE.numpy() - 0.3, 2.0, width)
    q = fit_forward(torch.tensor(log_p + 5.0), LINE)  # a factor in p does not matter

    def divergence(loc, scale):
        log_q = oracles.stats.norm.logpdf(LINE.numpy(), loc, scale)
        return np.sum(np.exp(log_p) * (log_p - log_q)) * 0.02

    loc, scale = oracles.best_normal(divergence, 0.5, 1.5)
    assert (q.loc.item(), q.stddev.item()) == pytest.approx((loc, scale), abs=1e-5)
    assert (q.loc.item(), q.stddev.item()) == pytest.approx((0.3, math.sqrt(4 + width**2)))


@pytest.mark.parametrize(
    ("width", "loc", "scale", "value"),
    [
        (0.5, 1.0, 0.5, 0.693),
        (0.5, -1.0, 0.5, 0.693),
        (0.5, 0.0, 2.0, 1.871),
        (1.0, 2.0, 1.0, 0.227),
    ],
)
def test_reverse_fit_equals_a_search_from_the_same_start(width, loc, scale, value):
    log_p = torch.tensor(oracles.two_bumps_log_density(LINE.numpy(), 2.0, width))
    start = one(loc, scale)
    q = fit_reverse(log_p + 5.0, LINE, start)  # a factor in p does not matter

    def divergence(loc, scale):
        # Points that move with q: shares neither the fit's points nor its gradient.
        eps = np.linspace(-9, 9, 1801)
        z = loc + scale * eps
        surplus = oracles.stats.norm.logpdf(z, loc, scale)
        surplus -= oracles.two_bumps_log_density(z, 2.0, width)
        return np.sum(oracles.stats.norm.pdf(eps) * surplus) * 0.01

    expected = oracles.best_normal(divergence, loc, scale)
    assert (q.loc.item(), q.stddev.item()) == pytest.approx(expected, abs=1e-3)
    assert kl_line(q.log_prob(LINE[:, None]), log_p, LINE).item() == pytest.approx(value, abs=1e-3)
    assert (start.loc.item(), start.stddev.item()) == pytest.approx((loc, scale))
    assert not q.loc.requires_grad


def test_uneven_points_are_refused():
    """Weighted as if they were even, these gave a mean of 0.65 and not 0."""
    log_p = Normal(0.0, 1.0).log_prob
    uneven = torch.cat([torch.linspace(-8, 0, 101), torch.linspace(0, 8, 1001)[1:]])
    start = one(0.0, 0.9)
    for points in (uneven, LINE.flip(0)):
        with pytest.raises(ValueError, match=r"fit_forward: expected evenly spaced, ascending po"):
            fit_forward(log_p(points), points)
        with pytest.raises(ValueError, match=r"kl_line: .* got steps from .* use torch.linspace"):
            kl_line(log_p(points), log_p(points), points)
        with pytest.raises(ValueError, match="evenly spaced"):
            fit_reverse(log_p(points), points, start)
    for points in (torch.linspace(-9, 9, 100_001), torch.arange(-900, 901) * 0.01):
        q = fit_forward(log_p(points), points)
        assert (q.loc.item(), q.stddev.item()) == pytest.approx((0, 1), abs=1e-4)
        assert kl_line(log_p(points), log_p(points) - 1, points).item() == pytest.approx(1, 1e-4)
    with pytest.raises(ValueError, match=r"p wider than the cells, got .* 0 in steps of 0\.02"):
        fit_forward(Normal(0.0, 1e-4).log_prob(LINE), LINE)
    with pytest.raises(ValueError, match=r"at least 2 points z, got 1"):
        fit_forward(torch.zeros(1), torch.zeros(1))


@pytest.mark.parametrize("estimate", [kl_monte_carlo, kl_monte_carlo_k3])
def test_a_forgotten_axis_of_samples_is_refused(estimate, generator):
    """20 data with one draw each were 20 draws of one datum."""
    q = DiagonalNormal(draw(generator, 20, 4), draw(generator, 20, 4))
    p = DiagonalNormal(draw(generator, 4), draw(generator, 4))
    message = r"shape \[samples, 20, 4\], samples first, got \(20, 4\); .*unsqueeze\(0\)"
    for pair in ((q, p), (p, q)):
        with pytest.raises(ValueError, match=message):
            estimate(*pair, q.rsample())
        with pytest.raises(ValueError, match=r"samples, 20, 4\], samples first, got \(5, 20, 1\)"):
            estimate(*pair, q.rsample((5,))[..., :1])
        assert estimate(*pair, q.rsample((5,))).mean.shape == (20,)


def test_another_number_of_latents_is_refused(generator):
    """One value for four latents, and one latent for four, were broadcast."""
    q = DiagonalNormal(draw(generator, 20, 4), draw(generator, 20, 4))
    one_latent = DiagonalNormal(draw(generator, 1), draw(generator, 1))
    with pytest.raises(ValueError, match=r"value of shape \[\*batch, 4\], got \(20, 1\)"):
        q.log_prob(torch.zeros(20, 1))
    full = MultivariateNormal(torch.zeros(1), torch.eye(1))
    for a, b in ((q, one_latent), (one_latent, q), (q, full), (full, q)):
        with pytest.raises(ValueError, match="over one space, got one over"):
            kl_divergence(a, b)


@pytest.mark.usefixtures("plain_errors")
def test_errors_say_what_was_expected_and_got():
    with pytest.raises(ValueError, match=r"one shape .* loc \(3, 2\), logvar \(2,\)"):
        kl_standard_normal(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"logvar \(1, 2\)"):
        DiagonalNormal(torch.zeros(3, 2), torch.zeros(1, 2))
    q = DiagonalNormal(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"at least 2 samples .* got shape \(1, 2\)"):
        kl_monte_carlo(q, q, torch.zeros(1, 2))
    with pytest.raises(ValueError, match=r"at least 2 samples .* got shape \(1, 2\)"):
        kl_monte_carlo_k3(q, q, torch.zeros(1, 2))
    line = torch.linspace(-1.0, 1.0, 201)
    log_q = Normal(0.0, 1.0).log_prob(line)
    with pytest.raises(
        ValueError, match=r"sum to 1 over the line, got 0\.68.* from -1 to 1 in ste"
    ):
        kl_line(log_q, log_q, line)
