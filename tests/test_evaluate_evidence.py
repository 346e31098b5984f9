"""evaluate: L_K, its proposal and the exact grid, against models whose evidence is known."""

import math
import subprocess
import sys

import numpy as np
import oracles
import pytest
import torch
from test_vae import linear_vae_at_optimum

from vaelib import data, evaluate, nets
from vaelib.elbo import log_weights
from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian, evidence_estimate
from vaelib.likelihood import Bernoulli, ContinuousBernoulli, Gaussian
from vaelib.vae import VAE

D = torch.float64


@pytest.fixture
def solved(generator):
    """A linear VAE whose encoder's diagonal q is the posterior: the columns of W are orthogonal."""
    directions, _ = torch.linalg.qr(torch.randn(6, 2, generator=generator, dtype=D))
    weight = directions * torch.tensor([2.0, 0.7], dtype=D)
    bias = torch.randn(6, generator=generator, dtype=D)
    return LinearGaussian(weight, bias, torch.tensor(0.3, dtype=D))


def small_vae(likelihood, dtype):
    torch.manual_seed(3)
    return VAE(
        nets.MLPEncoder(6, 2, hidden=(8,)),
        nets.MLPDecoder(2, 6, hidden=(8,)),
        likelihood=likelihood,
    ).to(dtype)


@pytest.mark.parametrize("samples", [1, 2, 7, 50])
def test_with_the_posterior_as_q_every_l_k_is_the_evidence(solved, generator, samples):
    vae = linear_vae_at_optimum(solved)
    x, _ = solved.sample(40, generator=generator)
    estimate = evaluate.log_evidence(vae, x, samples=samples, batch_size=13, generator=generator)
    expected = oracles.linear_gaussian_log_evidence(
        solved.weight, solved.bias, solved.variance.item(), x
    )
    np.testing.assert_allclose(estimate.log_evidence, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(estimate.effective_sample_size, samples, rtol=1e-9)
    if samples == 1:
        assert estimate.standard_error.isnan().all()
    else:
        assert (estimate.standard_error < 1e-6).all()


def test_l_k_rises_from_the_elbo_and_stays_below_the_evidence(solved, generator):
    """q is 1.3 times too wide and one standard deviation off, so all data have one gap's law."""
    vae = linear_vae_at_optimum(solved)
    n = 4000
    x, _ = solved.sample(n, generator=generator)
    with torch.no_grad():
        exact = vae.encode(x)
        q = DiagonalNormal(exact.loc + exact.stddev, exact.logvar + 2 * math.log(1.3))
    evidence = solved.log_evidence(x)
    gaps, errors = {}, {}
    for k in (1, 5, 50, 500):
        estimate = evaluate.log_evidence(
            vae, x, samples=k, q=q, at_once=100, batch_size=1500, generator=generator
        )
        gap = evidence - estimate.log_evidence
        gaps[k], errors[k] = gap.mean().item(), gap.std().item() / math.sqrt(n)
    # L_1 is the ELBO, whose gap is KL(q ‖ posterior), twice that of one dimension.
    kl = 2 * oracles.kl_normal_by_quadrature(1.0, 1.3, 0.0, 1.0)
    assert abs(gaps[1] - kl) < 4 * errors[1]
    # The gap of a large K is Var(w) / 2K E(w)², up to terms of order 1 / K².
    fraction = oracles.effective_sample_fraction(0.0, 1.0, 1.0, 1.3) ** 2
    variance = 1 / fraction - 1
    for k in (50, 500):
        assert abs(gaps[k] - variance / (2 * k)) < 4 * errors[k] + (variance / k) ** 2
    for low, high in ((1, 5), (5, 50), (50, 500)):
        assert gaps[low] - gaps[high] > 4 * math.hypot(errors[low], errors[high])
    assert gaps[500] > -4 * errors[500]


@pytest.mark.parametrize("at_once", [1, 3, 10, 50, 80])
@pytest.mark.parametrize("likelihood", [Bernoulli, ContinuousBernoulli, lambda: Gaussian(-7.0)])
def test_streaming_equals_all_weights_at_once(likelihood, at_once, generator, monkeypatch):
    """The same z, held together, and exactly K of them. Gaussian(-7): log-weights near -10⁴."""
    model = small_vae(likelihood(), D)
    x = torch.randint(2, (5, 6), generator=generator).to(D)
    drawn = []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: drawn.append(z) or decode(z))
    estimate = evaluate.log_evidence(model, x, samples=50, at_once=at_once, generator=generator)
    z = torch.cat(drawn)
    assert z.shape == (50, 5, 2)
    assert max(len(chunk) for chunk in drawn) == min(at_once, 50)
    with torch.no_grad():
        expected = evidence_estimate(log_weights(model, x, model.encode(x), z))
    for got, want in zip(estimate, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_single_precision_gives_the_same(generator):
    """The same noise cannot be drawn in both, so both are compared within their errors."""
    x = torch.randint(2, (5, 6), generator=generator)
    single, double = (
        evaluate.log_evidence(
            small_vae(None, dtype), x.to(dtype), samples=20_000, at_once=999, generator=generator
        )
        for dtype in (torch.float32, D)
    )
    assert single.log_evidence.dtype == torch.float32
    error = torch.hypot(single.standard_error.to(D), double.standard_error)
    assert ((single.log_evidence - double.log_evidence).abs() < 4 * error + 1e-5).all()
    # Halves of the same noise would give standard errors that differ by chance alone.
    torch.testing.assert_close(single.standard_error.to(D), double.standard_error, rtol=0.1, atol=0)


MEMORY = """
import resource, torch
from vaelib import evaluate, nets
from vaelib.vae import VAE
model = VAE(nets.MLPEncoder(16, 2, hidden=(8,)), nets.MLPDecoder(2, 16, hidden=()))
x = torch.zeros(500, 16)
for samples in (50, 5000):
    evaluate.log_evidence(model, x, samples=samples, at_once=25, batch_size=500)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_depend_on_k():
    """A chunk is 25 x 500 x 16 floats, 0.8 MB; all log-weights, without pixels, would be 10 MB."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True
    )
    few, many = (int(line) for line in done.stdout.split())
    kilobytes = 1024 if sys.platform == "darwin" else 1  # the unit of ru_maxrss
    assert (many - few) / kilobytes < 3 * 800


@pytest.fixture(scope="module")
def overfitted(digits):
    """A digit VAE with 2 latents, trained on 200 images: its encoder fails on many others.

    By a loop of its own, so that the model does not depend on `vaelib.train`. With seeds 0 to 3 its
    encoder's L_1000 missed 1.2 to 3.8 nats on average and 23 to 58 for the worst of 100 images.
    """
    generator = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    hidden = (128, 128)
    model = VAE(nets.MLPEncoder(784, 2, hidden=hidden), nets.MLPDecoder(2, 784, hidden=hidden))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=600)
    seen = data.binarize(digits.train[:200], generator=generator)
    for _ in range(600):
        loss = model(seen[torch.randint(200, (50,), generator=generator)], generator=generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    x = data.binarize(digits.test[:100], generator=generator)
    return model, x, evaluate.grid_log_evidence(model, x)


def test_the_grid_is_exact(overfitted, solved, generator):
    _, _, exact = overfitted
    assert exact.error.mean() < 0.005
    vae = linear_vae_at_optimum(solved)
    x, _ = solved.sample(20, generator=generator)
    found = evaluate.grid_log_evidence(vae, x, points=120, extent=8.0, batch_size=7)
    expected = oracles.linear_gaussian_log_evidence(
        solved.weight, solved.bias, solved.variance.item(), x
    )
    np.testing.assert_allclose(found.log_evidence, expected, rtol=0, atol=1e-6)
    assert (found.error < 1e-3).all()
    # Cells three times as wide as the narrower posterior, and half as many: it shows.
    coarse = evaluate.grid_log_evidence(vae, x, points=14, extent=8.0)
    wrong = (coarse.log_evidence - torch.from_numpy(expected)).abs()
    assert (coarse.error > 0.1).float().mean() > 0.8
    assert wrong.max() > 0.1


def test_one_latent_dimension_has_a_grid_too(generator):
    weight = torch.randn(5, 1, generator=generator, dtype=D)
    model = LinearGaussian(weight, torch.zeros(5, dtype=D), torch.tensor(0.5, dtype=D))
    x, _ = model.sample(6, generator=generator)
    found = evaluate.grid_log_evidence(linear_vae_at_optimum(model), x, extent=8.0)
    torch.testing.assert_close(found.log_evidence, model.log_evidence(x), rtol=0, atol=1e-6)


def test_refined_q_finds_the_evidence_that_the_encoder_misses(overfitted):
    model, x, exact = overfitted
    generator = torch.Generator().manual_seed(5)
    encoder = evaluate.log_evidence(model, x, samples=500, generator=generator)
    q = evaluate.refined_q(model, x, generator=generator)
    refined = evaluate.log_evidence(model, x, samples=500, q=q, generator=generator)
    missed = exact.log_evidence - encoder.log_evidence
    worst = missed.argmax()
    assert missed.mean() > 0.5
    # The worst image: a standard error never exceeds 1, and this one does not reach the truth.
    assert missed[worst] > 5 > 5 * encoder.standard_error[worst]
    left = exact.log_evidence - refined.log_evidence
    assert abs(left.mean()) < 0.05
    assert left.max() < missed.max() / 4
    found = evaluate.trust(model, x, samples=500, q=q, encoder=encoder, generator=generator)
    assert not found.trusted
    # What it certifies is true, and it is most of what is missing.
    assert missed.mean() / 2 < found.shortfall < missed.mean()
    assert found.worst > 5
    assert found.encoder == pytest.approx(encoder.log_evidence.mean().item(), abs=1e-4)
    assert found.difference == pytest.approx(found.refined - found.encoder, abs=1e-3)


def test_a_perfect_encoder_is_trusted(solved, generator):
    vae = linear_vae_at_optimum(solved)
    x, _ = solved.sample(150, generator=generator)
    found = evaluate.trust(vae, x, samples=500, generator=generator)
    expected = oracles.linear_gaussian_log_evidence(
        solved.weight, solved.bias, solved.variance.item(), x[:100]
    ).mean()
    assert found.trusted
    assert found.encoder == pytest.approx(expected, abs=1e-8)
    assert abs(found.difference) < 0.02
    assert found.shortfall == pytest.approx(found.difference - math.log(1000) / 100)


def test_the_rule_convicts_only_beyond_what_chance_allows(solved, generator):
    """A proposal whose estimates scatter by a nat, against an exact one: no excess can arise."""
    vae = linear_vae_at_optimum(solved)
    x, _ = solved.sample(100, generator=generator)
    with torch.no_grad():
        exact = vae.encode(x)
    poor = DiagonalNormal(exact.loc + 1.5 * exact.stddev, exact.logvar + 1)
    passed = []
    for _ in range(50):
        found = evaluate.trust(vae, x, samples=2, q=poor, generator=generator)
        passed.append(found.difference)
        assert found.trusted
    assert max(passed) < math.log(1000) / 100


def test_refining_changes_no_parameter_and_works_in_batches(overfitted):
    model, x, _ = overfitted
    model.zero_grad()
    before = [p.detach().clone() for p in model.parameters()]
    q = evaluate.refined_q(
        model.train(),
        x[:7],
        steps=2,
        samples=3,
        batch_size=3,
        generator=torch.Generator().manual_seed(0),
    )
    assert q.loc.shape == q.logvar.shape == (7, 2)
    assert not q.loc.requires_grad
    assert model.training
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, old)


@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused():
    model, x = small_vae(None, torch.float32), torch.zeros(5, 6)
    with pytest.raises(ValueError, match="samples, at_once and batch_size ≥ 1, got 0, 25 and 100"):
        evaluate.log_evidence(model, x, samples=0)
    q = DiagonalNormal(torch.zeros(4, 2), torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"a q for each of 5 data, got \(4, 2\)"):
        evaluate.log_evidence(model, x, q=q)
    with pytest.raises(ValueError, match="only 0 and 1"):
        evaluate.log_evidence(model, x + 0.5)
    with pytest.raises(ValueError, match="only 0 and 1"):
        evaluate.refined_q(model, x + 0.5)
    with pytest.raises(ValueError, match=r"refined_q: .* got 0 and 100"):
        evaluate.refined_q(model, x, samples=0)
    with pytest.raises(ValueError, match="expected steps ≥ 1 and lr > 0, got 0"):
        evaluate.refined_q(model, x, steps=0)
    with pytest.raises(ValueError, match=r"points ≥ 4 .* got 3 and 6\.0"):
        evaluate.grid_log_evidence(model, x, points=3)
    deep = VAE(nets.MLPEncoder(6, 3), nets.MLPDecoder(3, 6))
    with pytest.raises(ValueError, match="1 or 2 latent dimensions, got 3; use log_evidence"):
        evaluate.grid_log_evidence(deep, x)
    for options in ({"check": 1}, {"check": -3}, {"margin": 0.0}):
        with pytest.raises(ValueError, match="trust: expected check and the number of data ≥ 2"):
            evaluate.trust(model, x, **options)
    with pytest.raises(ValueError, match="1 data to check"):
        evaluate.trust(model, x[:1])
