"""likelihood: each sums or integrates to one, has the formula it says, and samples what it says."""

import numpy as np
import oracles
import pytest
import torch

from vaelib.likelihood import Bernoulli, ContinuousBernoulli, Gaussian

each = pytest.mark.parametrize(
    "likelihood",
    [Bernoulli(), ContinuousBernoulli(), Gaussian(-0.7)],
    ids=lambda m: type(m).__name__,
)


@each
def test_it_is_a_density(likelihood, generator):
    """They sum or integrate to one, pixel by pixel, and their samples have their mean."""
    raw = torch.tensor([[-3.0, -0.2, 0.0, 1.5]]).double()
    likelihood = likelihood.double()
    if isinstance(likelihood, Bernoulli):
        points, cell = torch.tensor([0.0, 1.0]).double(), 1.0
    else:
        low, high = (0, 1) if isinstance(likelihood, ContinuousBernoulli) else (-20, 20)
        cell = (high - low) / 40_000
        points = low + cell * (torch.arange(40_000).double() + 0.5)
    base = likelihood(raw).base_dist
    mass = base.log_prob(points[:, None]).exp().sum(0) * cell
    torch.testing.assert_close(mass, torch.ones(4).double(), rtol=0, atol=1e-6)
    n = 200_000
    sample = likelihood.sample(raw.expand(n, 4), generator)
    assert likelihood.support.check(sample).all()
    error = (base.variance.squeeze() / n).sqrt()
    assert ((sample.mean(0) - base.mean.squeeze()).abs() < 4.5 * error).all()


@each
def test_all_pairs_equal_one_by_one(likelihood, generator):
    likelihood = likelihood.double()
    x = torch.randint(2, (5, 6), generator=generator).double()
    raw = torch.randn(7, 6, generator=generator, dtype=torch.float64)
    pairs = likelihood.log_prob_pairs(x, raw)
    assert pairs.shape == (5, 7)
    for i in range(5):
        for j in range(7):
            torch.testing.assert_close(pairs[i, j], likelihood(raw[j]).log_prob(x[i]))


def test_bernoulli_equals_pixel_by_pixel(generator):
    x = torch.randint(2, (5, 6), generator=generator).double()
    logits = 8 * torch.randn(5, 6, generator=generator, dtype=torch.float64)
    expected = oracles.bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(Bernoulli()(logits).log_prob(x), expected, rtol=1e-12)


def test_bernoulli_of_extreme_logits_is_finite():
    """float32 logits of ±100 would make log(1 - sigmoid) minus infinity."""
    logits = torch.tensor([[100.0, -100.0]])
    torch.testing.assert_close(
        Bernoulli()(logits).log_prob(torch.tensor([[0.0, 1.0]])), torch.tensor([-200.0])
    )


def test_gaussian_has_its_constant(generator):
    """Squared error alone forgets 1/2σ² and log σ; with σ² = e^-0.7 both show."""
    x, raw = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64)
    likelihood = Gaussian(-0.7).double()
    expected = oracles.normal_log_density(x, raw, np.exp(-0.35))
    np.testing.assert_allclose(likelihood(raw).log_prob(x).detach(), expected, rtol=1e-7)
    assert likelihood.logvar.requires_grad
    assert not Gaussian(learned=False).logvar.requires_grad
