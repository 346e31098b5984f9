"""prior: mixtures are densities, have the gradient of their formula, and train with a VAE."""

import math

import numpy as np
import oracles
import pytest
import torch
from scipy import stats
from torch.distributions import Independent, MultivariateNormal, Normal

from vaelib import evaluate, nets, train
from vaelib.kl import DiagonalNormal
from vaelib.latent import grid
from vaelib.prior import Fixed, Mixture, Prior, VampPrior
from vaelib.vae import IWAE, VAE

D = torch.float64


def mixture(latent=2, components=3):
    """Unequal weights, means apart, and no two variances alike."""
    torch.manual_seed(2)
    prior = Mixture(latent, components).double()
    with torch.no_grad():
        prior.logits.copy_(torch.randn(components))
        prior.loc.mul_(1.5)
        prior.logvar.copy_(0.5 * torch.randn(components, latent) - 0.5)
    return prior


def vamp(latent=2, components=4, pixels=6):
    torch.manual_seed(2)
    encoder = nets.MLPEncoder(pixels, latent, hidden=(8,), spread=5.0)
    return VampPrior(encoder, pixels, components).double()


each = pytest.mark.parametrize("prior", [mixture(), vamp()], ids=lambda m: type(m).__name__)


def parts(prior):
    """Weights, means and covariance matrices of the components, in numpy."""
    with torch.no_grad():
        if isinstance(prior, Mixture):
            logits, (loc, logvar) = prior.logits, (prior.loc, prior.logvar)
        else:
            u = 1 / (1 + torch.exp(-prior.raw))
            logits, (loc, logvar) = torch.zeros(len(u)), prior.encoder(u)
    weights = np.exp(logits.detach().double().numpy())
    loc, logvar = loc.detach().numpy(), logvar.detach().numpy()
    return weights / weights.sum(), loc, [np.diag(np.exp(v)) for v in logvar]


def oracle(prior, z):
    return np.logaddexp.reduce(oracles.mixture_log_joint(*parts(prior), z), 1)


@each
def test_it_integrates_to_one(prior):
    """Over a grid of cells of 0.1, a fifth of the narrowest normal's scale."""
    z, log_cell = grid(2, points=240, extent=12.0)
    with torch.no_grad():
        mass = torch.logsumexp(prior().log_prob(z.to(D)) + log_cell, 0).exp()
    assert mass.item() == pytest.approx(1, abs=1e-6)


@each
def test_value_and_gradient_equal_the_oracles(prior, generator):
    """The density of scipy's normals, and its differences in every parameter and in z."""
    z = torch.randn(5, 2, generator=generator, dtype=D).requires_grad_()
    prior.zero_grad()
    value = prior().log_prob(z)
    np.testing.assert_allclose(value.detach(), oracle(prior, z.detach()), rtol=1e-11)
    value.sum().backward()
    expected = oracles.gradient(lambda new: oracle(prior, new).sum(), z.detach())
    np.testing.assert_allclose(z.grad, expected, rtol=1e-5, atol=1e-8)

    def at(parameter, new):
        old = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(new))
            result = oracle(prior, z).sum()
            parameter.copy_(old)
        return result

    z = z.detach()
    own = [p for name, p in prior.named_parameters() if not name.startswith("encoder.features")]
    assert len(own) == (3 if isinstance(prior, Mixture) else 5)
    for parameter in own:
        expected = oracles.gradient(lambda new, p=parameter: at(p, new), parameter.detach())
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-5, atol=1e-8)
    assert all(p.grad.abs().sum() > 0 for p in prior.parameters())


@each
def test_samples_have_the_density(prior, generator):
    """Counts in 64 squares of 1.5 against sums over the grid's cells in them.

    A count is binomial: each misses 4.5 standard deviations with probability 7e-6 where it is near
    normal. The 2 more are for squares with few, where it is Poisson.
    """
    n = 100_000
    z, log_cell = grid(2, points=240, extent=6.0)
    with torch.no_grad():
        p = (prior().log_prob(z.to(D)) + log_cell).exp()
    expected = n * p.view(8, 30, 8, 30).sum((1, 3)).numpy()
    sample = prior.sample(n, generator=generator)
    assert sample.shape == (n, 2)
    assert not sample.requires_grad
    count, *_ = np.histogram2d(*sample.T.numpy(), bins=8, range=[[-6, 6]] * 2)
    assert (np.abs(count - expected) < 4.5 * np.sqrt(expected) + 2).all()
    assert (expected > 100).sum() > 8


def test_the_pseudo_inputs_are_images_and_the_components_their_posteriors():
    prior = vamp()
    u = prior.pseudo_inputs
    assert u.shape == (4, 6)
    assert ((u > 0) & (u < 1)).all()
    loc, logvar = prior.encoder(u)
    p = prior()
    torch.testing.assert_close(p.component_distribution.mean, loc)
    torch.testing.assert_close(p.component_distribution.variance, logvar.exp())
    torch.testing.assert_close(p.mixture_distribution.probs, torch.full((4,), 0.25, dtype=D))


def small_vae(prior, encoder=None, **options):
    torch.manual_seed(3)
    if encoder is None:
        encoder = nets.MLPEncoder(6, prior.latent, hidden=(8,))
    decoder = nets.MLPDecoder(prior.latent, 6, hidden=(8,))
    return VAE(encoder, decoder, prior=prior, **options).double()


@pytest.fixture
def x(generator):
    return torch.randint(2, (5, 6), generator=generator).double()


def test_terms_estimate_the_kl_at_the_same_z(x, generator):
    """One value for each z, as scipy's densities give it, with the samples' axis."""
    model = small_vae(mixture())
    eps = torch.randn(4, 5, 2, generator=generator, dtype=D)
    terms = model.terms(x, eps)
    assert terms.log_likelihood.shape == terms.kl.shape == (4, 5)
    with torch.no_grad():
        loc, logvar = (t.numpy() for t in model.encoder(x))
    for s in range(4):
        z = loc + np.exp(0.5 * logvar) * eps[s].numpy()
        log_q = oracles.normal_log_density(z, loc, np.exp(0.5 * logvar))
        np.testing.assert_allclose(terms.kl[s].detach(), log_q - oracle(model._prior, z), rtol=1e-9)
        torch.testing.assert_close(model.terms(x, eps[s]).kl, terms.kl[s])
    # The loss weighs this term and nothing else.
    expected = -(terms.log_likelihood - 0.3 * terms.kl).mean()
    weighted = small_vae(mixture(), beta=0.3)
    torch.testing.assert_close(weighted(x, eps), expected)


def test_the_mean_of_the_estimates_is_the_kl(x, generator):
    """On a line, by quadrature; the bound is 4 standard errors of the mean."""
    n = 100_000
    prior = mixture(latent=1)
    model = small_vae(prior)
    with torch.no_grad():
        kl = model.terms(x[:2], torch.randn(n, 2, 1, generator=generator, dtype=D)).kl
        q = model.encode(x[:2])
    weights, loc, covariance = parts(prior)
    scales = [math.sqrt(c.item()) for c in covariance]

    def log_p(z):
        return math.log(
            sum(
                w * stats.norm.pdf(z, m, s)
                for w, m, s in zip(weights, loc[:, 0], scales, strict=True)
            )
        )

    for i in range(2):
        m, s = q.loc[i].item(), q.stddev[i].item()

        def log_q(z, m=m, s=s):
            return -0.5 * ((z - m) / s) ** 2 - math.log(s * math.sqrt(2 * math.pi))

        exact = oracles.kl_by_quadrature(log_q, log_p, m - 9 * s, m + 9 * s)
        assert abs(kl[:, i].mean().item() - exact) < 4 * kl[:, i].std().item() / math.sqrt(n)


@pytest.mark.parametrize("kind", ["mixture", "vamp"])
def test_log_evidence_agrees_with_the_grid(kind, x, generator):
    """4 standard errors of 20,000 samples, and what half as many cells change.

    Samples of N(0, 4 I), which is wider than any component, so that no weight is large.
    """
    prior = mixture() if kind == "mixture" else vamp()
    model = small_vae(prior, None if kind == "mixture" else prior.encoder)
    exact = evaluate.grid_log_evidence(model, x, extent=9.0)
    q = DiagonalNormal(torch.zeros(5, 2, dtype=D), torch.full((5, 2), math.log(4.0), dtype=D))
    found = evaluate.log_evidence(model, x, samples=20_000, q=q, at_once=2000, generator=generator)
    assert (found.standard_error < 0.05).all()
    difference = (found.log_evidence - exact.log_evidence).abs()
    assert (difference < 4 * found.standard_error + exact.error).all()


def test_one_component_is_a_normal_whose_kl_is_known(x, generator):
    """The mean of the estimate against the closed form for the same prior."""
    n = 50_000
    prior = mixture(components=1)
    normal = DiagonalNormal(prior.loc[0].detach(), prior.logvar[0].detach())
    eps = torch.randn(n, 5, 2, generator=generator, dtype=D)
    with torch.no_grad():
        model = small_vae(prior)
        estimate = model.terms(x, eps).kl
        closed = VAE(model.encoder, model.decoder, prior=normal).terms(x, eps).kl
    assert closed.shape == (5,)
    error = estimate.std(0) / math.sqrt(n)
    assert ((estimate.mean(0) - closed).abs() < 4 * error).all()


@pytest.mark.parametrize("kind", ["mixture", "vamp"])
def test_it_trains_with_the_vae_and_comes_back_from_a_checkpoint(kind, digits, tmp_path, generator):
    def build():
        torch.manual_seed(0)
        encoder = nets.MLPEncoder(784, 2, hidden=(16,))
        prior = Mixture(2, 5) if kind == "mixture" else VampPrior(encoder, 784, 5)
        return VAE(encoder, nets.MLPDecoder(2, 784, hidden=(16,)), prior=prior)

    model, before = build(), build()
    how = {"lr": 1e-2, "folder": tmp_path, "generator": generator, "progress": False}
    history = train.fit(model, digits.train[:400], epochs=3, batch_size=50, **how)
    assert history[-1].loss < history[0].loss - 50
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        assert not torch.equal(new, old)
    train.load(before, tmp_path)
    z = torch.zeros(1, 2)
    assert torch.equal(before.prior.log_prob(z), model.prior.log_prob(z))
    if kind == "vamp":
        assert before._prior.encoder is before.encoder


ROOT = [[1.2, 0.0], [0.5, 0.4]]
FIXED = {
    "DiagonalNormal": lambda: DiagonalNormal(torch.tensor([8.0, -1.0]), torch.tensor([0.3, -1.0])),
    "MultivariateNormal": lambda: MultivariateNormal(
        torch.tensor([8.0, -1.0]), scale_tril=torch.tensor(ROOT)
    ),
}
fixed = pytest.mark.parametrize("kind", FIXED)


def with_fixed(kind, model=VAE, **options):
    torch.manual_seed(3)
    networks = nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,))
    return model(*networks, prior=FIXED[kind](), **options)


@fixed
@pytest.mark.parametrize("model", [VAE, IWAE])
def test_a_fixed_prior_belongs_to_the_model(kind, model, x):
    """It follows into another precision, into the state and into what is printed."""
    model = with_fixed(kind, model)
    here = model(x.float(), model.noise(5))
    model.double()
    assert model.prior.loc.dtype == model.prior.log_prob(torch.zeros(1, 2, dtype=D)).dtype == D
    assert model(x, model.noise(5)).dtype == D
    assert here.dtype == torch.float32
    names = {"_prior.loc", "_prior.scale_tril" if kind.startswith("M") else "_prior.logvar"}
    assert names < model.state_dict().keys()
    assert not names & dict(model.named_parameters()).keys()
    assert "loc=[8.0, -1.0]" in repr(model)
    other = with_fixed(kind, type(model)).double()
    assert repr(other) == repr(model)
    other._prior.loc[1] += 1e-12
    assert repr(other) != repr(model)
    model.load_state_dict(other.state_dict())
    assert model.prior.loc[1] == -1 + 1e-12


def test_a_fixed_prior_is_a_copy():
    loc = torch.zeros(2)
    model = VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6), prior=DiagonalNormal(loc, loc))
    loc += 5
    assert not model.prior.loc.any()


def test_a_large_prior_is_described_by_a_hash():
    """50 numbers in a line would hide the networks; another prior has another hash."""
    loc = torch.arange(50.0)
    one, same = (Fixed(DiagonalNormal(loc, 0 * loc)) for _ in range(2))
    loc[49] += 1e-5
    other = Fixed(DiagonalNormal(loc, 0 * loc))
    assert repr(one) == repr(same) == repr(same.double()) != repr(other)
    assert len(repr(one)) < 120


@fixed
def test_a_fixed_prior_gives_terms_density_and_samples_of_scipys_normal(kind, x, generator):
    """KL by dense matrices; samples by mean and covariance, 5 standard errors each."""
    model = with_fixed(kind).double()
    loc = np.array([8.0, -1.0])
    root = model.prior.covariance_matrix.numpy() if kind.startswith("M") else None
    covariance = np.diag(np.exp([0.3, -1.0])) if root is None else np.array(ROOT) @ np.array(ROOT).T
    z = torch.randn(5, 2, generator=generator, dtype=D)
    expected = stats.multivariate_normal(loc, covariance).logpdf(z.numpy())
    # The parameters were float32.
    np.testing.assert_allclose(model.prior.log_prob(z), expected, rtol=1e-5)
    with torch.no_grad():
        q, kl = model.encode(x), model.terms(x, generator=generator).kl
    inverse = np.linalg.inv(covariance)
    for i in range(5):
        s, d = np.diag(q.variance[i].numpy()), loc - q.loc[i].numpy()
        log_det = np.linalg.slogdet(covariance)[1] - np.linalg.slogdet(s)[1]
        dense = 0.5 * (np.trace(inverse @ s) + d @ inverse @ d - 2 + log_det)
        assert kl[i].item() == pytest.approx(dense, rel=1e-5)
    n = 100_000
    images, z = model.sample(n, generator=generator)
    assert images.shape == (n, 6)
    assert not z.requires_grad
    error = np.sqrt(np.diag(covariance) / n)
    assert (np.abs(z.mean(0).numpy() - loc) < 5 * error).all()
    # The variance of a product of two normals is σ²σ'² + cov².
    spread = np.sqrt((np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n)
    assert (np.abs(np.cov(z.numpy().T) - covariance) < 5 * spread).all()


@fixed
def test_a_checkpoint_with_another_fixed_prior_is_not_loaded(kind, digits, tmp_path):
    def build(shift):
        torch.manual_seed(0)
        networks = nets.MLPEncoder(784, 2, hidden=(8,)), nets.MLPDecoder(2, 784, hidden=(8,))
        prior = FIXED[kind]()
        if kind == "DiagonalNormal":
            return VAE(*networks, prior=DiagonalNormal(prior.loc + shift, prior.logvar))
        return VAE(
            *networks, prior=MultivariateNormal(prior.loc + shift, scale_tril=prior.scale_tril)
        )

    how = {"epochs": 1, "folder": tmp_path, "progress": False}
    model = build(0.0)
    train.fit(model, digits.train[:50], **how)
    train.load(same := build(0.0), tmp_path)
    assert torch.equal(same.prior.loc, model.prior.loc)
    with pytest.raises(train.CheckpointError, match="model"):
        train.fit(build(0.5), digits.train[:50], resume=True, **how)
    # Into the model of another kind of prior not even the weights fit.
    plain = VAE(nets.MLPEncoder(784, 2, hidden=(8,)), nets.MLPDecoder(2, 784, hidden=(8,)))
    with pytest.raises(train.CheckpointError, match=r"'_prior.loc' is \(2,\) .* and missing in"):
        train.load(plain, tmp_path)


def test_the_default_prior_adds_nothing_to_state_and_description():
    """Checkpoints from before there was `Fixed` hold neither."""
    model = VAE(nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,)))
    assert {name.split(".")[0] for name in model.state_dict()} == {"encoder", "decoder"}
    assert "prior" not in repr(model)
    assert model.double().prior.loc.dtype == D


@pytest.mark.usefixtures("plain_errors")
def test_bad_fixed_priors_are_refused():
    def build(loc, logvar):
        return VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6), prior=DiagonalNormal(loc, logvar))

    zeros = torch.zeros(2)
    for size in (1, 3):
        with pytest.raises(ValueError, match=rf"one size of z, got {size} and 2; make the prior"):
            build(torch.zeros(size), torch.zeros(size))
    with pytest.raises(ValueError, match=r"one prior for all data, .* got \(5, 2\)"):
        build(torch.zeros(5, 2), torch.zeros(5, 2))
    with pytest.raises(ValueError, match="its loc asks for a gradient, and nothing would train it"):
        build(zeros.clone().requires_grad_(), zeros)
    with pytest.raises(ValueError, match=r"finite parameters, got logvar=.*nan"):
        build(zeros, torch.tensor([0.0, torch.nan]))
    for other, shown in (
        (Independent(Normal(zeros, zeros + 1), 1), "a Independent"),
        (zeros, "a Tensor"),
        ("normal", "a str"),
        (Mixture, "Mixture"),
    ):
        with pytest.raises(TypeError, match=rf"a DiagonalNormal|MultivariateNormal .* got {shown}"):
            VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6), prior=other)


@pytest.mark.usefixtures("plain_errors")
def test_bad_parts_are_refused():
    with pytest.raises(ValueError, match="Mixture: expected components ≥ 1, got 0"):
        Mixture(2, 0)
    with pytest.raises(ValueError, match="VampPrior: expected pixels ≥ 1, got 0"):
        VampPrior(nets.MLPEncoder(6, 2), 0, 3)
    with pytest.raises(TypeError, match="attribute `latent`, got Linear without one"):
        VampPrior(torch.nn.Linear(6, 2), 6, 3)
    with pytest.raises(ValueError, match="one size of z, got 3 and 2; make the prior for 2"):
        VAE(nets.MLPEncoder(6, 2), nets.MLPDecoder(2, 6), prior=Mixture(3, 4))


class Wide(Prior):
    """Neither a normal of ours nor a mixture, and nothing of it is trained."""

    latent = 2

    def forward(self, c=None):
        return torch.distributions.Independent(
            torch.distributions.Normal(torch.zeros(2), torch.tensor([2.0, 0.5])), 1
        )


def test_the_spread_of_a_prior_without_weights():
    """From 10,000 samples, whose variance errs by √(2 / n) of itself: 4.5 errors."""
    expected = torch.tensor([4.0, 0.25])
    assert ((Wide().spread() - expected).abs() < 4.5 * (2 / 10_000) ** 0.5 * expected).all()
