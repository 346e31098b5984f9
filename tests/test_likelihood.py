"""likelihood: each sums or integrates to one, has the formula it says, and samples what it says."""

import itertools
import math
import subprocess
import sys

import numpy as np
import oracles
import pytest
import torch
from scipy import integrate

from vaelib import nets, train
from vaelib.likelihood import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Gaussian,
)
from vaelib.pixels import GreyLevel, TruncatedExponential
from vaelib.vae import VAE

D = torch.float64
EACH = [Bernoulli(), Categorical(), ContinuousBernoulli(), Gaussian(-0.7)]
each = pytest.mark.parametrize("likelihood", EACH, ids=lambda m: type(m).__name__)
SMALL = [Bernoulli(), Categorical(16), ContinuousBernoulli(), Gaussian(-0.7)]
each_small = pytest.mark.parametrize("likelihood", SMALL, ids=lambda m: type(m).__name__)


def raw_numbers(likelihood, rows, pixels, generator):
    """What a decoder would return, far from 0."""
    return 1.5 * torch.randn(rows, pixels * likelihood.per_pixel, generator=generator, dtype=D)


@pytest.mark.parametrize(
    ("likelihood", "pixels"),
    [(Bernoulli(), 3), (Categorical(), 1), (Categorical(), 2), (Categorical(4), 3)],
    ids=str,
)
def test_the_probabilities_of_all_images_sum_to_one(likelihood, pixels, generator):
    """2³ images, 256, 256² and 4³: the log_prob of whole images, not of pixels."""
    levels = max(likelihood.per_pixel, 2)
    values = [v / (levels - 1) for v in range(levels)]
    images = torch.tensor(list(itertools.product(values, repeat=pixels)), dtype=D)
    assert likelihood.support.check(images).all()
    p = likelihood(raw_numbers(likelihood, 1, pixels, generator)).log_prob(images).exp()
    assert p.shape == (levels**pixels,)
    assert (p > 0).all()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("likelihood", EACH[2:], ids=lambda m: type(m).__name__)
@pytest.mark.parametrize("raw", [-8.0, -0.2, 0.0, 1e-4, 1.5, 8.0])
def test_the_density_of_a_pixel_integrates_to_one(likelihood, raw):
    """By adaptive quadrature. Near 0 the continuous Bernoulli's constant is a Taylor series."""
    p = likelihood.double()(torch.tensor([raw], dtype=D))
    low, high = (0.0, 1.0) if isinstance(likelihood, ContinuousBernoulli) else (raw - 9, raw + 9)

    def density(x):
        return p.log_prob(torch.tensor([x], dtype=D)).exp().item()

    mass, _ = integrate.quad(density, low, high, epsabs=1e-12, epsrel=1e-12)
    assert mass == pytest.approx(1, abs=1e-9)


LOGITS = [0.0, 1e-8, 1e-4, 0.1, 0.4999, 0.5, 0.5001, 1.0, 7.0, 16.0, 20.0, 50.0, 100.0, 500.0]
both_signs = pytest.mark.parametrize("logit", sorted({s * v for v in LOGITS for s in (1, -1)}))
precisions = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


@precisions
@both_signs
def test_a_grey_pixels_density_integrates_to_one_at_every_logit(logit, dtype):
    """20 Gauss-Legendre nodes in each of 200 cells, in which log p rises by 2.5 at most.

    x is rounded by half a unit in the last place of 1, which |l| multiplies; the rest of log p is
    a few roundings of numbers that are not larger than |l| or 10.
    """
    node, weight = np.polynomial.legendre.leggauss(20)
    cell = np.arange(200)[:, None]
    x = torch.as_tensor((cell + (node + 1) / 2) / 200).to(dtype).view(-1, 1)
    p = ContinuousBernoulli()(torch.tensor([logit], dtype=dtype))
    density = p.log_prob(x).double().exp().view(200, 20)
    total = (density @ torch.as_tensor(weight) / 400).sum().item()
    assert total == pytest.approx(1, abs=(abs(logit) + 40) * torch.finfo(dtype).eps)


@precisions
@both_signs
def test_a_grey_pixels_density_slope_mean_and_variance_are_exact(logit, dtype):
    """Against 60 digits, at both edges and between; the second slope is minus the variance."""
    eps = torch.finfo(dtype).eps
    x = torch.tensor([[0.0], [0.3], [1.0]], dtype=dtype)
    raw = torch.full((3, 1), logit, dtype=dtype, requires_grad=True)
    p = ContinuousBernoulli()(raw)
    value = p.log_prob(x)
    (slope,) = torch.autograd.grad(value.sum(), raw, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), raw)
    exact = np.array(
        [oracles.truncated_exponential(v, w) for v, w in zip(x, raw.detach(), strict=True)]
    )
    log_p, first, mean, variance = exact.T
    np.testing.assert_allclose(value.detach(), log_p, rtol=4 * eps, atol=4 * eps)
    np.testing.assert_allclose(slope.detach()[:, 0], first, rtol=4 * eps, atol=8 * eps)
    np.testing.assert_allclose(p.mean.detach()[:, 0], mean, rtol=4 * eps, atol=4 * eps)
    # Above ½ two numbers of about 1/l² cancel down to 1/12: at ½, 50 to 1.
    np.testing.assert_allclose(p.variance.detach()[:, 0], variance, rtol=200 * eps)
    np.testing.assert_allclose(-bend[:, 0], variance, rtol=400 * eps)


@precisions
@pytest.mark.parametrize("share", [0.0, 1e-30, 1e-6, 0.3, 0.5, 0.999, 1.0])
def test_the_quantiles_of_a_grey_pixel_are_exact(share, dtype):
    logits = torch.tensor([s * v for v in LOGITS for s in (-1, 1)], dtype=dtype)
    shares = torch.full_like(logits, share)
    found = TruncatedExponential(logits).icdf(shares)
    pairs = zip(shares, logits, strict=True)
    expected = [oracles.truncated_exponential_quantile(u, logit) for u, logit in pairs]
    eps = torch.finfo(dtype).eps
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * eps)
    assert ((found >= 0) & (found <= 1)).all()


def test_grey_pixels_of_large_logits_are_drawn_as_they_should(generator):
    """Moments within 4.5 standard errors of the exact ones; 1/500 from an edge at ±500."""
    n = 100_000
    logits = torch.tensor([-500.0, -20.0, -0.3, 0.0, 0.3, 20.0, 500.0])
    with torch.no_grad():
        x = ContinuousBernoulli().sample(logits.expand(n, -1), generator).double()
    exact = torch.tensor([oracles.truncated_exponential(0, v)[2:] for v in logits])
    mean, variance = exact.double().unbind(1)
    deviation = x - mean
    assert (deviation.mean(0).abs() < 4.5 * (variance / n).sqrt()).all()
    squares = deviation.square()
    assert ((squares.mean(0) - variance).abs() < 4.5 * squares.std(0) / n**0.5).all()
    torch.manual_seed(3)
    drawn = ContinuousBernoulli()(logits.double()).sample((n,))
    assert drawn.shape == (n, 7)
    assert ((drawn - mean).mean(0).abs() < 4.5 * (variance / n).sqrt()).all()


COMPILE = """
import torch
from vaelib.likelihood import *
families = [ContinuousBernoulli(), Gaussian(features=6), StudentT(), Poisson(), NegativeBinomial()]
for made in [*families, Logistics(2, channels=3), Missing(Gaussian(features=6))]:
    torch.manual_seed(0)
    x, raw = made.example(5, 6), (3 * torch.randn(5, 6 * made.per_pixel)).requires_grad_()
    density = lambda r: made(r).log_prob(x)
    both = density(raw), torch.compile(density, fullgraph=True, backend="aot_eager")(raw)
    torch.testing.assert_close(*both)
    torch.testing.assert_close(*(torch.autograd.grad(value.sum(), raw) for value in both))
"""


def test_a_density_is_traced_as_a_whole():
    """As `train.fit(compile=True)` asks, up to the C++ compiler; without the checks of shapes."""
    done = subprocess.run([sys.executable, "-c", COMPILE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@each_small
def test_samples_have_the_distribution_of_the_density(likelihood, generator):
    """Distribution functions, by the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart.

    It holds for any distribution and any n: the largest distance passes t with probability
    2 exp(-2 n t²) at most, here one in a million for each of 4 pixels.
    """
    likelihood = likelihood.double()
    n, pixels = 50_000, 4
    t = math.sqrt(math.log(2e6) / (2 * n))
    raw = raw_numbers(likelihood, 1, pixels, generator)
    p = likelihood(raw[0]).base_dist
    if isinstance(likelihood, Bernoulli | Categorical):
        edges = torch.arange(max(likelihood.per_pixel, 2), dtype=D) / (
            likelihood.per_pixel - 1 or 1
        )
        mass = p.log_prob(edges[:, None].expand(-1, pixels)).exp()
        edges = edges + 1e-9
    else:
        low, high = (0, 1) if isinstance(likelihood, ContinuousBernoulli) else (-12, 12)
        cell = (high - low) / 4000
        edges = low + cell * torch.arange(1, 4001, dtype=D)
        # The midpoint rule: its error, about cell² / 24, is far below t = 0.012.
        mass = p.log_prob((edges - cell / 2)[:, None].expand(-1, pixels)).exp() * cell
    with torch.no_grad():
        x = likelihood.sample(raw.expand(n, -1), generator)
    assert x.shape == (n, pixels)
    assert likelihood.support.check(x).all()
    found = torch.stack([torch.searchsorted(x[:, i].sort().values, edges) for i in range(pixels)])
    distance = (found / n - mass.cumsum(0).mT).abs().amax()
    assert distance < t


@each_small
def test_mean_and_variance_are_those_of_the_samples(likelihood, generator):
    likelihood = likelihood.double()
    n = 50_000
    raw = raw_numbers(likelihood, 1, 4, generator)
    with torch.no_grad():
        p = likelihood(raw)
        x = likelihood.sample(raw.expand(n, -1), generator)
        deviation = x - p.mean
        assert (deviation.mean(0).abs() < 4.5 * (p.variance[0] / n).sqrt()).all()
        squares = deviation.square()
        assert ((squares.mean(0) - p.variance[0]).abs() < 4.5 * squares.std(0) / n**0.5).all()


def small_case(likelihood, generator):
    """x and raw of 2 images of 3 pixels, and the oracle's log-density of them."""
    raw = raw_numbers(likelihood, 2, 3, generator)
    if isinstance(likelihood, Categorical):
        top = likelihood.per_pixel - 1
        x = torch.randint(top + 1, (2, 3), generator=generator).to(D) / top
        return x, raw, lambda r: oracles.levels_log_likelihood(x, r, top + 1)
    if isinstance(likelihood, Bernoulli):
        x = torch.randint(2, (2, 3), generator=generator).to(D)
        return x, raw, lambda r: oracles.bernoulli_log_likelihood(x, r)
    x = torch.rand(2, 3, generator=generator, dtype=D)
    if isinstance(likelihood, ContinuousBernoulli):
        return x, raw, lambda r: oracles.continuous_bernoulli_log_density(x, r)
    return x, raw, lambda r: oracles.normal_log_density(x, r, math.exp(-0.35))


@each_small
def test_value_and_gradient_equal_the_oracles(likelihood, generator):
    """Pixel by pixel in numpy, and its central differences: their error is about 1e-9."""
    likelihood = Gaussian().double() if isinstance(likelihood, Gaussian) else likelihood
    x, raw, oracle = small_case(likelihood, generator)
    with torch.no_grad():
        for logvar in likelihood.parameters():
            logvar.fill_(-0.7)  # here, because float32's -0.7 is another number
    raw.requires_grad_()
    value = likelihood(raw).log_prob(x)
    np.testing.assert_allclose(value.detach(), oracle(raw.detach()), rtol=1e-11)
    value.sum().backward()
    expected = oracles.gradient(lambda r: oracle(r).sum(), raw.detach())
    np.testing.assert_allclose(raw.grad, expected, rtol=1e-6, atol=1e-8)


def test_the_learned_variance_has_its_gradient(generator):
    x, raw = torch.randn(2, 5, 6, generator=generator, dtype=D)
    likelihood = Gaussian(-0.7).double()
    likelihood(raw).log_prob(x).sum().backward()
    expected = oracles.gradient(
        lambda v: oracles.normal_log_density(x, raw, math.exp(0.5 * v)).sum(),
        likelihood.logvar.item(),
    )
    assert likelihood.logvar.grad.item() == pytest.approx(float(expected), rel=1e-6)
    assert not Gaussian(learned=False).logvar.requires_grad


@each
def test_all_pairs_equal_one_by_one(likelihood, generator):
    likelihood = likelihood.double()
    x = torch.randint(2, (5, 6), generator=generator).double()
    raw = raw_numbers(likelihood, 7, 6, generator)
    pairs = likelihood.log_prob_pairs(x, raw)
    assert pairs.shape == (5, 7)
    for i in range(5):
        for j in range(7):
            torch.testing.assert_close(pairs[i, j], likelihood(raw[j]).log_prob(x[i]))


@pytest.mark.parametrize(
    ("likelihood", "scale"),
    [(Bernoulli(), 500.0), (ContinuousBernoulli(), 500.0), (Gaussian(-10.0), 1.0)],
    ids=lambda m: type(m).__name__,
)
def test_all_pairs_in_single_precision(likelihood, scale, generator):
    """Where x is likely, and large sums would cancel to a small log p.

    With terms of one sign, a sum of 784 errs by 784 roundings of itself at most, and mostly by
    their root, 28; each term has three more.
    """
    raw = scale * torch.randn(40, 784, generator=generator)
    x = (raw[:10] > 0).float()
    if isinstance(likelihood, Gaussian):
        x = raw[:10] + math.exp(-5) * torch.randn(10, 784, generator=generator)
    elif isinstance(likelihood, ContinuousBernoulli):
        x = (x - 1e-3 * torch.rand(10, 784, generator=generator)).abs()
    pairs = likelihood.float().log_prob_pairs(x, raw)
    exact = torch.stack([likelihood.double()(raw.double()).log_prob(row.double()) for row in x])
    constant = 784 * (9.1 if isinstance(likelihood, Gaussian) else math.log(500))
    np.testing.assert_allclose(
        pairs.detach(), exact.detach(), rtol=4e-6, atol=4e-6 + 1e-7 * constant
    )
    assert exact.diagonal().min() > -1000  # the likely ones


def test_bernoulli_equals_pixel_by_pixel(generator):
    x = torch.randint(2, (5, 6), generator=generator).double()
    logits = 8 * torch.randn(5, 6, generator=generator, dtype=D)
    expected = oracles.bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(Bernoulli()(logits).log_prob(x), expected, rtol=1e-12)


def test_bernoulli_of_pairs_forgets_no_tail_in_double_precision():
    """torch's softplus(l) is l itself above 20, 2e-9 off; an image has 784 such pixels."""
    logits = torch.tensor([-50.0, -25.0, -20.5, 20.5, 25.0, 50.0], dtype=D)
    x = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]], dtype=D)
    for row in x:  # of the unlikely values, and of the likely ones
        expected = oracles.bernoulli_log_likelihood(row[None], logits[None])
        found = Bernoulli().log_prob_pairs(row[None], logits[None])[0]
        np.testing.assert_allclose(found, expected, rtol=1e-15)


def test_bernoulli_of_extreme_logits_is_finite():
    """float32 logits of ±100 would make log(1 - sigmoid) minus infinity."""
    logits = torch.tensor([[100.0, -100.0]])
    torch.testing.assert_close(
        Bernoulli()(logits).log_prob(torch.tensor([[0.0, 1.0]])), torch.tensor([-200.0])
    )


def test_gaussian_has_its_constant(generator):
    """Squared error alone forgets 1/2σ² and log σ; with σ² = e^-0.7 both show."""
    x, raw = torch.randn(2, 5, 6, generator=generator, dtype=D)
    likelihood = Gaussian(-0.7).double()
    expected = oracles.normal_log_density(x, raw, np.exp(-0.35))
    np.testing.assert_allclose(likelihood(raw).log_prob(x).detach(), expected, rtol=1e-7)


def test_every_pixel_of_a_picture_is_a_level():
    """All 256, as float32 divides them, and as float64 keeps or divides them."""
    v = torch.arange(256)
    support = Categorical().support
    for x in (v.float() / 255, (v.float() / 255).double(), v.double() / 255):
        assert support.check(x).all()
        level = GreyLevel(torch.diag(torch.ones(256).to(x)))  # the v-th row favours v
        assert (level.log_prob(x) > level.log_prob(x.roll(1))).all()
        torch.testing.assert_close(level.log_prob(x - 0.4 / 255), level.log_prob(x))  # the nearer
    between = torch.tensor([0.5 / 255, 0.3, -1 / 255, 256 / 255, torch.nan, torch.inf])
    assert not support.check(between).any()


def test_a_pixel_that_is_black_or_white_and_nothing_between():
    """The reason for a categorical: no other likelihood here has two modes."""
    raw = torch.full((1, 2 * 256), -20.0)
    raw[0, [0, 255, 256 + 7, 256 + 8]] = 0.0  # pixel 0: black or white; pixel 1: levels 7 and 8
    p = Categorical()(raw)
    x = torch.tensor([[[0.0, 7 / 255]], [[1.0, 8 / 255]], [[128 / 255, 7 / 255]]])
    expected = torch.tensor([math.log(0.25), math.log(0.25), math.log(0.25) - 20])
    torch.testing.assert_close(p.log_prob(x)[:, 0], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(p.mean, torch.tensor([[0.5, 7.5 / 255]]), rtol=1e-4, atol=1e-5)


def test_a_vae_of_grey_levels_trains(generator):
    """Decoded to several numbers for each pixel: by terms of several samples, and by the loop."""
    torch.manual_seed(0)
    model = VAE(
        nets.MLPEncoder(6, 2, hidden=(16,)),
        nets.MLPDecoder(2, 6, levels=256, hidden=(16,)),
        likelihood=Categorical(),
    ).double()
    pixels = torch.tensor([[0, 255, 3, 3, 200, 9], [255, 0, 80, 81, 4, 9]]).to(torch.uint8)
    x = pixels.double() / 255
    eps = torch.randn(4, 2, 2, generator=generator, dtype=D)
    with torch.no_grad():
        q = model.encode(x)
        z = q.loc + torch.exp(0.5 * q.logvar) * eps
        first = model.terms(x, eps).log_likelihood
        for s in range(4):
            expected = oracles.levels_log_likelihood(x, model.decoder(z[s]), 256)
            np.testing.assert_allclose(first[s], expected, rtol=1e-12)
    model = model.float()
    history = train.fit(
        model,
        pixels.repeat(50, 1),
        epochs=200,
        batch_size=50,
        lr=1e-2,
        generator=generator,
        progress=False,
    )
    # At first 6 log 256 = 33 nats; two images that are known cost log 2.
    assert history[0].loss > 20
    assert history[-1].loss < 3


@pytest.mark.usefixtures("plain_errors")
def test_bad_decoders_and_levels_are_refused():
    model = VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6), likelihood=Categorical())
    with pytest.raises(ValueError, match=r"6 pixels x 256 numbers for Categorical = 1536, got 6;"):
        model(torch.zeros(5, 6))
    with pytest.raises(ValueError, match="at least 2 levels, got 1"):
        Categorical(1)
    model = VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6, levels=256))
    with pytest.raises(ValueError, match=r"6 pixels x 1 numbers for Bernoulli = 6, got 1536;"):
        model(torch.zeros(5, 6))
