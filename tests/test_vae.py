"""vae: densities, the ELBO's value and gradient, the linear VAE that must equal pPCA."""

import math

import numpy as np
import oracles
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelib import data, evaluate, nets, train
from vaelib.elbo import log_weights
from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian, grid, grid_evidence
from vaelib.likelihood import Bernoulli, Categorical, ContinuousBernoulli, Gaussian
from vaelib.prior import Mixture, Prior
from vaelib.vae import VAE, Autoencoder, DeepLatentModel


def small_vae(pixels=6, latent=3, **options):
    """batch ≠ latent ≠ pixels wherever it is used, and heads that are far from their start."""
    torch.manual_seed(3)
    model = VAE(
        nets.MLPEncoder(pixels, latent, hidden=(8,)),
        nets.MLPDecoder(latent, pixels, hidden=(8,)),
        **options,
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2).add_(0.1)
    return model


@pytest.fixture
def x(generator):
    return torch.randint(2, (5, 6), generator=generator).double()


def parts(model, x, eps):
    """loc, logvar, z and logits by hand, in numpy."""
    with torch.no_grad():
        loc, logvar = (t.numpy() for t in model.encoder(x))
        z = loc + np.sqrt(np.exp(logvar)) * eps.numpy()
        logits = model.decoder(torch.from_numpy(z)).numpy()
    return loc, logvar, logits


def test_terms_equal_the_oracles(x, generator):
    model = small_vae()
    eps = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    loc, logvar, logits = parts(model, x, eps)
    terms = model.terms(x, eps)
    expected = oracles.bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(terms.log_likelihood.detach(), expected, rtol=1e-12)
    np.testing.assert_allclose(
        terms.kl.detach(), oracles.kl_to_standard_normal(loc, logvar), rtol=1e-11
    )
    torch.testing.assert_close(model.elbo(x, eps), terms.log_likelihood - terms.kl)


def test_gradient_reaches_every_parameter_and_is_right(x, generator):
    """Against differences of the oracles' ELBO, in each bias: encoder heads, decoder output."""
    model = small_vae()
    eps = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    model.elbo(x, eps).sum().backward()

    def value(parameter, new):
        old = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(new))
            loc, logvar, logits = parts(model, x, eps)
            parameter.copy_(old)
        return (
            oracles.bernoulli_log_likelihood(x, logits).sum()
            - oracles.kl_to_standard_normal(loc, logvar).sum()
        )

    for parameter in (model.encoder.loc.bias, model.encoder.logvar.bias, model.decoder[-1].bias):
        expected = oracles.gradient(lambda new, p=parameter: value(p, new), parameter.detach())
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-5, atol=1e-6)
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_loss_is_minus_the_mean_and_beta_weighs_only_the_kl(x):
    def seed():
        return torch.Generator().manual_seed(5)

    terms = small_vae().terms(x, generator=seed())
    torch.testing.assert_close(small_vae()(x, generator=seed()), -terms.elbo.mean())
    weighted = small_vae(beta=3.0)
    expected = -(terms.log_likelihood - 3 * terms.kl).mean()
    torch.testing.assert_close(weighted(x, generator=seed()), expected)
    torch.testing.assert_close(weighted.elbo(x, generator=seed()), terms.elbo)


def test_several_samples_share_one_kl(x, generator):
    model = small_vae()
    eps = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    terms = model.terms(x, eps)
    assert terms.log_likelihood.shape == (4, 5)
    assert terms.kl.shape == (5,)
    for s in range(4):
        torch.testing.assert_close(terms.elbo[s], model.elbo(x, eps[s]))


def test_elbo_is_below_the_exact_evidence(x, generator):
    """Two latents, so the evidence of this neural model is a sum over a grid."""
    model = small_vae(latent=2)
    z, log_cell = grid(2, points=400, extent=12.0)  # wide enough for every q, too
    with torch.no_grad():
        solution = grid_evidence(model.log_joint_pairs(x, z.double()), log_cell)
        eps = torch.randn(20_000, 5, 2, generator=generator, dtype=torch.float64)
        elbo = model.elbo(x, eps)
        mean, error = elbo.mean(0), elbo.std(0) / math.sqrt(20_000)
        # The gap is KL(q ‖ posterior), summed over the same grid.
        q = model.encode(x)
        log_q = q.log_prob(z.double()[:, None]).mT
        kl = (log_q.exp() * (log_q - solution.log_density)).sum(-1) * math.exp(log_cell)
    assert (kl > 0.01).all()
    assert ((solution.log_evidence - mean - kl).abs() < 4 * error + 1e-4).all()


@pytest.mark.parametrize("likelihood", [Bernoulli(), ContinuousBernoulli(), Gaussian(-0.7)])
def test_all_pairs_equal_one_by_one(likelihood, generator):
    decoder = nets.MLPDecoder(2, 6, hidden=(8,))
    model = DeepLatentModel(decoder, likelihood=likelihood).double()
    x = torch.randint(2, (5, 6), generator=generator).double()
    z = torch.randn(7, 2, generator=generator, dtype=torch.float64)
    pairs = model.log_joint_pairs(x, z)
    for i in range(5):
        for j in range(7):
            torch.testing.assert_close(pairs[i, j], model.log_joint(x[i], z[j]))


def test_samples_come_from_the_model(generator):
    """Ancestral samples of a model with two pixels have the frequencies of its grid sums."""
    prior = MultivariateNormal(torch.tensor([0.5]), torch.tensor([[1.7]]))
    for options in ({}, {"prior": prior}, {"prior": Mixture(1, 3)}):
        torch.manual_seed(1)
        decoder = nets.MLPDecoder(1, 2, hidden=(4,))
        with torch.no_grad():
            decoder[0].weight.mul_(3)
            decoder[-1].weight.mul_(4)
        model = DeepLatentModel(decoder, **options)
        x, z = model.sample(100_000, generator=generator)
        assert z.shape == (100_000, 1)
        cases = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        points, log_cell = grid(1, points=400, extent=9.0)
        with torch.no_grad():
            p = grid_evidence(model.log_joint_pairs(cases, points), log_cell).log_evidence.exp()
        assert p.sum().item() == pytest.approx(1, abs=1e-4)
        count = torch.stack([(x == case).all(1).float().mean() for case in cases])
        assert ((count - p).abs() < 4.5 * (p * (1 - p) / len(x)).sqrt() + 1e-5).all()


def linear_vae_at_optimum(model):
    """The linear VAE that Lucas et al. (2019) show to be pPCA, set from its closed form."""
    pixels, latent = model.weight.shape
    vae = VAE(
        nets.LinearEncoder(pixels, latent), linear_decoder(latent, pixels), likelihood=Gaussian()
    ).to(model.weight.dtype)
    m = model.weight.mT @ model.weight + model.variance * torch.eye(latent).to(model.weight)
    projection = torch.linalg.solve(m, model.weight.mT)
    with torch.no_grad():
        vae.encoder.loc.weight.copy_(projection)
        vae.encoder.loc.bias.copy_(-projection @ model.bias)
        vae.encoder.logvar.copy_((model.variance * torch.linalg.inv(m).diagonal()).log())
        vae.decoder.weight.copy_(model.weight)
        vae.decoder.bias.copy_(model.bias)
        vae.likelihood.logvar.copy_(model.variance.log())
    return vae


def linear_decoder(latent, pixels):
    decoder = nn.Linear(latent, pixels)
    decoder.latent, decoder.pixels = latent, pixels
    return decoder


def test_linear_vae_at_its_optimum_reaches_ppca(fashion_mnist, generator):
    """513.8602 nats, and not in the mean only: every sampled log-weight is log p(x)."""
    x = fashion_mnist.train.double() / 255
    x = x - x.mean(0)
    solution = LinearGaussian.fit(x, 50)
    vae = linear_vae_at_optimum(solution)
    expected = oracles.ppca_log_likelihood(x, 50)
    with torch.no_grad():
        q = vae.encode(x)
        eps = torch.randn(1, *q.loc.shape, generator=generator, dtype=torch.float64)
        log_w = log_weights(vae, x, q, q.loc + (0.5 * q.logvar).exp() * eps)[0]
    assert log_w.mean().item() == pytest.approx(513.8602, abs=1e-4)
    assert log_w.mean().item() == pytest.approx(expected, abs=1e-9)
    torch.testing.assert_close(log_w, solution.log_evidence(x), rtol=0, atol=1e-8)


@pytest.mark.soak
def test_linear_vae_trained_from_random_comes_close_to_ppca(digits, generator):
    """By the package's own loop: gradients of sampled ELBOs, from a random start."""
    latent = 4
    x = digits.train.double() / 255
    torch.manual_seed(0)
    vae = VAE(nets.LinearEncoder(784, latent), linear_decoder(latent, 784), likelihood=Gaussian())
    train.fit(
        vae,
        digits.train,
        epochs=80,
        lr=3e-2,
        batch_size=256,
        generator=generator,
        progress=False,
    )
    vae = vae.double()
    learned = LinearGaussian(
        vae.decoder.weight.detach(), vae.decoder.bias.detach(), vae.likelihood.logvar.exp().detach()
    )
    elbo = learned.elbo(x, vae.encode(x)).mean().item()
    gap = oracles.ppca_log_likelihood(x, latent) - elbo
    assert 0 < gap < 0.05


def test_a_convolutional_vae_has_the_elbo_of_the_formula_and_trains(digits, generator):
    """Networks of images in the place of an MLP: the same model, the same loop."""
    torch.manual_seed(0)
    size = {"channels": 4, "width": 16}
    model = VAE(nets.ConvEncoder(3, **size), nets.ConvDecoder(3, **size)).double()
    x = data.binarize(digits.train[:2], generator=generator).double()
    eps = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    loc, logvar, logits = parts(model, x, eps)
    expected = oracles.bernoulli_log_likelihood(x, logits)
    expected -= oracles.kl_to_standard_normal(loc, logvar)
    np.testing.assert_allclose(model.elbo(x, eps).detach(), expected, rtol=1e-10)
    # An axis of samples more: images are decoded one by one, whatever axes stand before them.
    several = model.elbo(x, torch.stack([eps, -eps]))
    torch.testing.assert_close(several[0], model.elbo(x, eps))
    model = model.float()
    before = [p.detach().clone() for p in model.parameters()]
    how = {"batch_size": 50, "lr": 1e-2, "generator": generator, "progress": False}
    history = train.fit(model, digits.train[:300], epochs=3, **how)
    assert history[-1].loss < history[0].loss - 100
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert not torch.equal(parameter, old)


def test_autoencoder_is_a_point_without_a_prior(x):
    torch.manual_seed(0)
    decoder = nets.MLPDecoder(2, 6, hidden=(8,))
    model = Autoencoder(nets.MLP([6, 8, 2]), decoder).double()
    logits = decoder(model.encode(x)).detach()
    expected = oracles.bernoulli_log_likelihood(x, logits)
    np.testing.assert_allclose(model.log_likelihood(x).detach(), expected, rtol=1e-12)
    assert model(x).item() == pytest.approx(-expected.mean(), rel=1e-12)
    assert not hasattr(model, "elbo")
    assert model.prior is None
    assert model.posterior is None
    torch.testing.assert_close(model.reconstruct(x), logits.sigmoid())
    for refused in (
        lambda: evaluate.elbo(model, x),
        lambda: evaluate.log_evidence(model, x, samples=2),
    ):
        with pytest.raises(TypeError, match=r"no ELBO .* without a prior .* log_likelihood\(x\)"):
            refused()
    with pytest.raises(TypeError, match="no q"):
        evaluate.active_units(model, x)
    with pytest.raises(TypeError, match="Autoencoder has no posterior"):
        evaluate.trust(model, x)


def test_prior_follows_the_model_and_is_no_parameter():
    model = small_vae()
    assert model.prior.loc.dtype == torch.float64
    assert not any("zeros" in name for name in model.state_dict())


def test_full_covariance_prior(x, generator):
    root = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.0, 0.3, 1.2]]).double()
    prior = MultivariateNormal(torch.ones(3).double(), scale_tril=root)
    model = small_vae(prior=prior)
    q = model.encode(x)
    dense = MultivariateNormal(q.loc, torch.diag_embed(q.logvar.exp()))
    expected = torch.distributions.kl_divergence(dense, prior)
    torch.testing.assert_close(model.terms(x, generator=generator).kl, expected)


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize(
    ("likelihood", "data", "error", "message"),
    [
        (Bernoulli(), torch.zeros(5, 7), ValueError, r"\[batch, 6\] .* got \(5, 7\)"),
        (Bernoulli(), torch.zeros(6), ValueError, r"got \(6,\)"),
        (Bernoulli(), torch.zeros(0, 6), ValueError, r"batch > 0, got \(0, 6\)"),
        (Bernoulli(), torch.zeros(5, 6, dtype=torch.uint8), TypeError, "uint8.*binarize"),
        (Bernoulli(), torch.full((5, 6), 0.5), ValueError, "only 0 and 1 .* Got values 0.5"),
        (Bernoulli(), torch.full((5, 6), torch.nan), ValueError, "Got values NaN"),
        (ContinuousBernoulli(), torch.full((5, 6), 1.5), ValueError, r"in \[0, 1\].*1.5 … 1.5"),
        (ContinuousBernoulli(), torch.full((5, 6), -0.1), ValueError, "-0.1"),
        (Gaussian(), torch.full((5, 6), torch.nan), ValueError, "real numbers, .* Got values NaN"),
        (Categorical(), torch.full((5, 6), 0.3), ValueError, "multiples of 1/255.*Got values 0.3"),
        (Categorical(), torch.full((5, 6), torch.nan), ValueError, "'none'.*Got values NaN"),
    ],
)
def test_bad_data_is_refused(likelihood, data, error, message):
    model = small_vae(likelihood=likelihood)
    decoder = nets.MLPDecoder(2, 6)
    autoencoder = Autoencoder(nets.MLP([6, 2]), decoder, likelihood=likelihood)
    z = torch.zeros(1, 3)
    for call in (
        model.terms,
        model.elbo,
        autoencoder.log_likelihood,
        lambda x: model.log_joint_pairs(x, z),
    ):
        with pytest.raises(error, match=message):
            call(data)


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize("data", [torch.zeros(5, 7), torch.zeros(0, 6), torch.zeros(6)])
def test_encoders_refuse_other_shapes(data):
    autoencoder = Autoencoder(nets.MLP([6, 2]), nets.MLPDecoder(2, 6))
    for model in (small_vae(), autoencoder):
        with pytest.raises(ValueError, match=r"expected data of shape \[batch, 6\]"):
            model.encode(data)
        with pytest.raises(TypeError, match=r"got torch.int64"):
            model.encode(data.long())


@pytest.mark.usefixtures("plain_errors")
def test_bad_parts_are_refused():
    with pytest.raises(TypeError, match="attribute `latent`, got Linear without one; set decoder"):
        VAE(nets.MLPEncoder(6, 2), nn.Linear(2, 6))
    with pytest.raises(ValueError, match=r"z of shape \[\*batch, 3\], got \(5, 2\)"):
        small_vae().decode(torch.zeros(5, 2).double())
    with pytest.raises(ValueError, match=r"noise of shape \[\*samples, 5, 3\], got \(5, 2\)"):
        small_vae().terms(torch.zeros(5, 6).double(), torch.zeros(5, 2).double())


@pytest.mark.usefixtures("plain_errors")
def test_the_likelihood_looks_at_x():
    """Of 9 pixels it took one, and sevens for zeros and ones."""
    model = VAE(nets.MLPEncoder(9, 2), nets.MLPDecoder(2, 9))
    z = torch.zeros(20, 2)
    for function in (model.log_likelihood, model.log_joint):
        with pytest.raises(ValueError, match=r"x of shape \[\*batch, 9\].* got x \(20, 1\) and z"):
            function(torch.zeros(20, 1), z)
        with pytest.raises(ValueError, match=r"got x \(3, 9\) and z \(20, 2\)"):
            function(torch.zeros(3, 9), z)
        with pytest.raises(ValueError, match=r"z \[\*samples, \*batch, 2\], got .* z \(20, 1\)"):
            function(torch.zeros(20, 9), z[:, :1])
        with pytest.raises(ValueError, match=r"only 0 and 1 .*7 … 7"):
            function(torch.full((20, 9), 7.0), z)
        with pytest.raises(TypeError, match="uint8"):
            function(torch.zeros(20, 9, dtype=torch.uint8), z)
        assert function(torch.zeros(20, 1, 9), torch.zeros(7, 2)).shape == (20, 7)
        assert function(torch.zeros(9), torch.zeros(7, 2)).shape == (7,)


class Given(nn.Module):
    """A network of two arguments, of which the second is a label."""

    def __init__(self, network, labels, width):
        super().__init__()
        self.network, self.shift = network, nn.Embedding(labels, width)
        self.latent, self.pixels = network.latent, network.pixels

    def forward(self, rows, c):
        return self.network(rows + self.shift(c))


class PriorGiven(Prior):
    latent = 3

    def __init__(self, labels):
        super().__init__()
        self.loc = nn.Embedding(labels, 3)

    def forward(self, c=None):
        return DiagonalNormal(self.loc(c), torch.zeros_like(self.loc(c)))


def test_a_condition_reaches_both_networks_and_the_prior(generator):
    """One label for each datum, and the same one for all of its samples."""
    torch.manual_seed(0)
    model = VAE(
        Given(nets.MLPEncoder(6, 3, hidden=(8,)), 4, 6),
        Given(nets.MLPDecoder(3, 6, hidden=(8,)), 4, 3),
        prior=PriorGiven(4),
    ).double()
    x, c = torch.randint(2, (5, 6), generator=generator).double(), torch.tensor([0, 3, 1, 1, 2])
    eps = model.noise(5, samples=7, generator=generator)
    log_w, terms = model.log_weights(x, eps, c), model.terms(x, eps, c)
    for i in range(5):
        loc, logvar = (t[0] for t in model.encoder(x[i : i + 1], c[i : i + 1]))
        z = loc + torch.exp(0.5 * logvar) * eps[:, i]
        q = DiagonalNormal(loc, logvar)
        p = DiagonalNormal(model._prior.loc.weight[c[i]], torch.zeros(3).double())
        logits = model.decoder.network(z + model.decoder.shift.weight[c[i]])
        log_likelihood = oracles.bernoulli_log_likelihood(x[i].expand(7, 6), logits.detach())
        torch.testing.assert_close(
            log_w[:, i], torch.from_numpy(log_likelihood) + p.log_prob(z) - q.log_prob(z)
        )
        torch.testing.assert_close(terms.kl[i], torch.distributions.kl_divergence(q, p))
    assert model(x, eps, c).item() == pytest.approx(-terms.elbo.mean().item())
    drawn, z = model.sample(5, c, generator=generator)
    assert (drawn.shape, z.shape) == ((5, 6), (5, 3))
    assert model.reconstruct(x, c, generator=generator).shape == (5, 6)
