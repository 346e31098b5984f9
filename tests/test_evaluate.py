"""evaluate: the mean of what the model returns, its error, and an exact case."""

import math

import numpy as np
import pytest
import torch
from test_vae import linear_vae_at_optimum

from vaelib import evaluate, nets
from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian
from vaelib.likelihood import Gaussian
from vaelib.nets import evaluation_mode
from vaelib.prior import Mixture
from vaelib.vae import VAE


@pytest.fixture
def solved(generator):
    weight = torch.randn(6, 2, generator=generator, dtype=torch.float64)
    model = LinearGaussian(weight, torch.ones(6).double(), torch.tensor(0.3).double())
    x, _ = model.sample(500, generator=generator)
    return LinearGaussian.fit(x, 2), x


def test_at_the_optimum_the_elbo_is_the_evidence(solved, generator):
    model, x = solved
    n = 400
    estimate = evaluate.elbo(linear_vae_at_optimum(model), x, samples=n, generator=generator)
    exact = model.log_evidence(x)
    # The first term is sampled. Its variance at one datum is that of a quadratic form in ε;
    # bounded here by the mean over the data, drawn apart from the estimate.
    z = model.posterior(x).sample((n,))
    noise = model.log_likelihood(x, z).var(0).mean().item()
    assert abs(estimate.elbo - exact.mean().item()) < 4 * math.sqrt(noise / (n * len(x)))
    assert estimate.standard_error == pytest.approx(
        math.sqrt((exact.var().item() + noise / n) / len(x)), rel=0.05
    )
    assert estimate.elbo == pytest.approx(estimate.log_likelihood - estimate.kl, abs=1e-12)


def test_kl_term_is_the_mean_kl(solved):
    model, x = solved
    estimate = evaluate.elbo(linear_vae_at_optimum(model), x)
    posterior = model.posterior(x)
    prior = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    expected = torch.distributions.kl_divergence(posterior, prior).mean().item()
    assert estimate.kl == pytest.approx(expected, rel=1e-9)


def test_a_kl_without_a_closed_form_is_averaged_over_samples(generator):
    """A mixture of one normal at N(0, I) is N(0, I), whose KL is known; batches of 3, 3 and 1.

    With z = μ + σε, log q - log p is ½(σ² - 1)ε² + μσε + …, of variance ½(σ² - 1)² + μ²σ².
    """
    torch.manual_seed(0)
    encoder, decoder = nets.MLPEncoder(6, 2, spread=5.0), nets.MLPDecoder(2, 6)
    prior = Mixture(2, 1)
    with torch.no_grad():
        prior.loc.zero_()
    x = torch.randint(2, (7, 6), generator=generator).float()
    n, how = 4000, {"batch_size": 3, "generator": generator}
    sampled = evaluate.elbo(VAE(encoder, decoder, prior=prior), x, samples=n, **how)
    exact = evaluate.elbo(VAE(encoder, decoder), x, samples=n, **how)
    q = VAE(encoder, decoder).encode(x)
    variance = (0.5 * (q.variance - 1) ** 2 + q.loc**2 * q.variance).sum(-1).mean().item()
    assert abs(sampled.kl - exact.kl) < 4 * math.sqrt(variance / (n * len(x)))
    assert sampled.standard_error == pytest.approx(exact.standard_error, rel=0.1)


def test_z_is_sampled_not_set_to_its_mean(solved, generator):
    """At q's mean the first term is larger, by tr(WᵀW Cov) / 2σ² here, and no bound results."""
    model, x = solved
    vae = linear_vae_at_optimum(model)
    estimate = evaluate.elbo(vae, x, samples=50, generator=generator)
    at_mean = model.log_likelihood(x, model.posterior(x).mean).mean().item()
    gram = model.weight.mT @ model.weight
    spread = (gram @ model.posterior(x[:1]).covariance_matrix[0]).trace() / (2 * model.variance)
    assert at_mean - estimate.log_likelihood == pytest.approx(spread.item(), rel=0.1)


def test_the_last_batch_counts_by_its_size(solved):
    model, x = solved
    vae = linear_vae_at_optimum(model)
    whole = evaluate.elbo(vae, x[:7], batch_size=7)
    pieces = evaluate.elbo(vae, x[:7], batch_size=3)
    assert pieces.kl == pytest.approx(whole.kl, rel=1e-12)


def test_it_leaves_the_model_as_it_was(solved):
    model, x = solved
    vae = linear_vae_at_optimum(model).train()
    evaluate.elbo(vae, x)
    assert vae.training
    assert all(p.grad is None for p in vae.parameters())


@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused():
    model = VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6))
    with pytest.raises(ValueError, match=r"\[batch, 6\] with batch > 0, got \(0, 6\)"):
        evaluate.elbo(model, torch.zeros(0, 6))
    with pytest.raises(ValueError, match=r"only 0 and 1 .* Got values NaN"):
        evaluate.elbo(model, torch.full((3, 6), torch.nan))
    with pytest.raises(TypeError, match="uint8"):
        evaluate.elbo(model, torch.zeros(3, 6, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"at least 2 data .* got 1 and 1"):
        evaluate.elbo(model, torch.zeros(1, 6))
    with pytest.raises(ValueError, match="got 3 and 0"):
        evaluate.elbo(model, torch.zeros(3, 6), samples=0)


def test_rate_and_distortion_are_the_terms_with_the_sign_of_a_cost(solved):
    model, x = solved
    estimate = evaluate.elbo(linear_vae_at_optimum(model), x)
    assert estimate.rate == estimate.kl > 0
    assert estimate.distortion == -estimate.log_likelihood
    assert estimate.elbo == pytest.approx(-estimate.rate - estimate.distortion, abs=1e-12)


def test_dropout_is_off_and_the_mode_comes_back_after_an_error(solved):
    _, x = solved
    features = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Identity())
    encoder = nets.Heads(features, pixels=6, width=6, latent=2, spread=1.0)
    model = VAE(encoder, nets.MLPDecoder(2, 6, hidden=()), likelihood=Gaussian()).double()
    kl = {evaluate.elbo(model.train(), x).kl for _ in range(3)}
    assert len(kl) == 1
    model.decoder = torch.nn.Linear(3, 6).double()  # takes no z of two dimensions
    with pytest.raises(RuntimeError):
        evaluate.elbo(model, x)
    assert model.training


def test_every_part_gets_its_own_mode_back(solved):
    """A frozen encoder in eval() stays in it, beside a decoder in training."""
    model, x = solved
    vae = linear_vae_at_optimum(model).train()
    vae.encoder.eval()
    with evaluation_mode(vae):
        assert not any(module.training for module in vae.modules())
    for call in (
        lambda: evaluate.elbo(vae, x),
        lambda: evaluate.log_evidence(vae, x, samples=2),
        lambda: evaluate.active_units(vae, x),
        lambda: evaluate.refined_q(vae, x[:2], steps=1),
        lambda: evaluate.grid_log_evidence(vae, x[:2], points=4),
    ):
        call()
        assert [vae.training, vae.encoder.training, vae.encoder.loc.training] == [
            True,
            False,
            False,
        ]
        assert vae.decoder.training


def test_values_beyond_floats_are_an_error_that_names_the_term():
    """An untrained Gaussian model of data at 1e3: exp of q's log-variance overflows."""
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(20, 2, hidden=(64,)), nets.MLPDecoder(2, 20), likelihood=Gaussian())
    x = 1e4 * torch.randn(50, 20)
    found = model.encode(x).logvar.max().item()
    assert found > 90  # e^90 is above the largest float32
    with pytest.raises(FloatingPointError, match=r"evaluate.elbo: .*kl is inf at .* Scale"):
        evaluate.elbo(model, x)
    with pytest.raises(FloatingPointError, match=r"log_evidence: log_evidence is (nan|-inf) at"):
        evaluate.log_evidence(model, x, samples=10)
    with pytest.raises(FloatingPointError, match=r"evaluate\.elbo"):
        evaluate.report(model, x, samples=10, check=2)
    with torch.no_grad():
        model.encoder.loc.bias.fill_(torch.inf)
    with pytest.raises(FloatingPointError, match=r"active_units: loc is inf at 100 of 100"):
        evaluate.active_units(model, x)
    with pytest.raises(FloatingPointError, match=r"refined_q: head 0 is"):
        evaluate.refined_q(model, x[:2], steps=1)


def test_active_units_come_in_batches_with_the_same_numbers(solved, monkeypatch):
    model, x = solved
    vae, seen = linear_vae_at_optimum(model), []
    # Just above and just below the variance over all data, however they were cut.
    variance = vae.encode(x).loc.detach().var(0)
    encode = vae.encode
    monkeypatch.setattr(vae, "encode", lambda some: seen.append(len(some)) or encode(some))
    for j in range(2):
        for batch_size in (1, 7, 1000):
            for factor, active in ((1 - 1e-9, True), (1 + 1e-9, False)):
                threshold = factor * variance[j].item()
                how = {"threshold": threshold, "batch_size": batch_size}
                assert evaluate.active_units(vae, x, **how)[j] == active
    assert max(seen) <= 1000
    assert 1 in seen


@pytest.mark.parametrize("mixture", [False, True])
def test_active_units_do_not_depend_on_the_unit_of_z(mixture, generator):
    """z times 100, with its prior, encoder and decoder, is the same model."""
    torch.manual_seed(0)
    loc, logvar = torch.tensor([3.0, -2.0, 0.0]), torch.tensor([0.0, 1.0, -1.0])
    encoder = nets.LinearEncoder(6, 3)
    with torch.no_grad():
        encoder.loc.weight[1:] *= 0.01
    x = torch.randint(2, (50, 6), generator=generator).float()

    def active(scale):
        prior = DiagonalNormal(scale * loc, logvar + 2 * math.log(scale))
        if mixture:
            normal, prior = prior, Mixture(3, 1)
            with torch.no_grad():
                prior.loc.copy_(normal.loc[None])
                prior.logvar.copy_(normal.logvar[None])
        other = nets.LinearEncoder(6, 3)
        with torch.no_grad():
            other.loc.weight.copy_(scale * encoder.loc.weight)
        return evaluate.active_units(VAE(other, nets.MLPDecoder(3, 6), prior=prior), x).tolist()

    assert active(1.0) == active(100.0) == active(0.01) == [True, False, False]


@pytest.mark.parametrize(("variance", "active"), [(2.0, 6), (1.0, 12)])
def test_active_units_of_the_best_linear_vae_are_the_eigenvalues_above_the_noise(
    digits, variance, active
):
    """At the optimum of the linear VAE, put there by its closed form: nothing is trained."""
    x = digits.train.float() / 255
    exact = LinearGaussian.fit(x.double(), 20, variance=variance)
    model = VAE(
        nets.LinearEncoder(784, 20),
        nets.MLPDecoder(20, 784, hidden=()),
        likelihood=Gaussian(math.log(variance), learned=False),
    )
    at = lambda x: exact.posterior(x.double()).mean  # noqa: E731
    gain = at(torch.eye(784)) - at(torch.zeros(784))  # the posterior mean is linear in x
    with torch.no_grad():
        model.encoder.loc.weight.copy_(gain.mT)
    mask = evaluate.active_units(model, x)
    assert mask.dtype == torch.bool
    assert mask.sum() == active
    eigenvalues = np.linalg.eigvalsh(np.cov(x.numpy().T.astype(float), bias=True))
    assert (eigenvalues > variance).sum() == active
    with pytest.raises(ValueError, match="at least 2 data for a variance, got 1"):
        evaluate.active_units(model, x[:1])


def test_active_units_on_fashion_mnist(fashion_mnist):
    """60,000 images. The best W has columns u √(λ - σ²), so the posterior's mean is its u x times
    √(λ - σ²) / λ, with the variance 1 - σ²/λ over data. An eigenvalue just above σ² gives little.
    """
    x = fashion_mnist.train.double() / 255
    x -= x.mean(0)
    eigenvalues, vectors = np.linalg.eigh((x.T @ x / len(x)).numpy())
    x = x.float()
    for variance, active in ((1.0, 8), (0.1, 53), (0.01, 302)):
        assert (eigenvalues > variance).sum() == active
        latent = active + 3
        values, u = eigenvalues[-latent:], vectors[:, -latent:]
        gain = u * np.sqrt(np.maximum(values - variance, 0)) / values
        model = VAE(
            nets.LinearEncoder(784, latent),
            nets.MLPDecoder(latent, 784, hidden=()),
            likelihood=Gaussian(math.log(variance), learned=False),
        )
        with torch.no_grad():
            model.encoder.loc.weight.copy_(torch.from_numpy(gain.T.copy()))
        assert evaluate.active_units(model, x, threshold=1e-6).sum() == active
        expected = (1 - variance / values > 0.01).sum()
        assert evaluate.active_units(model, x).sum() == expected
