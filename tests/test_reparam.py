"""reparam: the map, and the gradient that flows through it, against known expectations."""

import math

import pytest
import torch

from vaelib.reparam import reparameterize


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
