"""iwae: the loss is the bound, its gradient the bound's, and the doubly reparameterized one too."""

import copy
import math
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import oracles
import pytest
import torch
from torch import nn

from vaelib import data, evaluate, nets, train
from vaelib.elbo import importance_weighted_surrogate
from vaelib.likelihood import Gaussian
from vaelib.prior import Mixture, VampPrior
from vaelib.vae import IWAE, VAE

D = torch.float64
both = pytest.mark.parametrize("doubly", [False, True], ids=["plain", "doubly"])


def small(samples=4, *, doubly=False, prior=None, encoder=None):
    """batch ≠ latent ≠ pixels ≠ samples, and heads that are far from their start."""
    torch.manual_seed(3)
    encoder = nets.MLPEncoder(6, 3, hidden=(8,)) if encoder is None else encoder
    model = IWAE(
        encoder,
        nets.MLPDecoder(3, 6, hidden=(8,)),
        prior=prior,
        samples=samples,
        doubly_reparameterized=doubly,
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2).add_(0.1)
    return model


@pytest.fixture
def x(generator):
    return torch.randint(2, (5, 6), generator=generator).double()


def bound(model, x, eps):
    """L_K's estimate by hand: scipy's normals, Bernoulli pixel by pixel, a mean of exponentials."""
    with torch.no_grad():
        loc, logvar = (t.numpy() for t in model.encoder(x))
        scale = np.exp(0.5 * logvar)
        log_w = []
        for noise in eps.numpy():
            z = loc + scale * noise
            logits = model.decoder(torch.from_numpy(z))
            log_w.append(
                oracles.normal_log_density(z, 0.0, 1.0)
                + oracles.bernoulli_log_likelihood(x, logits)
                - oracles.normal_log_density(z, loc, scale)
            )
    return np.log(np.exp(log_w).mean(0))


@both
def test_the_loss_is_minus_the_bound(doubly, x, generator):
    model = small(doubly=doubly)
    eps = model.noise(5, generator=generator)
    assert eps.shape == (4, 5, 3)
    assert model(x, eps).item() == pytest.approx(-bound(model, x, eps).mean(), rel=1e-12)


def gradients(model, x, eps):
    model.zero_grad()
    model(x, eps).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_the_plain_gradient_is_that_of_the_bound(x, generator):
    """Against differences of the oracle's bound in each bias, and against the surrogate's."""
    model = small()
    eps = model.noise(5, generator=generator)
    found = gradients(model, x, eps)

    def value(parameter, new):
        old = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(new))
            result = -bound(model, x, eps).mean()
            parameter.copy_(old)
        return result

    for name in ("encoder.loc.bias", "encoder.logvar.bias"):
        parameter = model.get_parameter(name)
        expected = oracles.gradient(lambda new, p=parameter: value(p, new), parameter.detach())
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-8)
    model.zero_grad()
    (-importance_weighted_surrogate(model.log_weights(x, eps)).mean()).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-10, atol=1e-12)


@both
def test_one_sample_is_the_elbo(doubly, x, generator):
    """With the KL at that sample; its mean over many is the loss of a VAE with the exact KL."""
    model = small(samples=1, doubly=doubly)
    vae = VAE(model.encoder, model.decoder).double()
    n = 2000
    eps = torch.randn(1, 5 * n, 3, generator=generator, dtype=D)
    many = x.repeat(n, 1)
    with torch.no_grad():
        difference = model(many, eps) - vae(many, eps[0])
        q = model.encode(many)
        z = q.loc + q.stddev * eps[0]
        kl = q.log_prob(z) - model.prior.log_prob(z)
        expected = -(model.log_likelihood(many, z) - kl).mean()
        error = (kl - vae.terms(many, eps[0]).kl).std() / math.sqrt(5 * n)
    torch.testing.assert_close(model(many, eps).detach(), expected)
    assert abs(difference) < 4 * error


@pytest.mark.parametrize("kind", ["normal", "mixture", "vamp"])
def test_the_models_gradient_is_the_same_in_both(kind, x, generator):
    """θ's: decoder, and a prior's own parameters; φ's is another estimate."""
    losses = []
    for doubly in (False, True):
        torch.manual_seed(1)
        encoder = nets.MLPEncoder(6, 3, hidden=(8,))
        prior = {
            "normal": lambda: None,
            "mixture": lambda: Mixture(3, 4),
            "vamp": lambda: VampPrior(encoder, 6, 4),  # noqa: B023
        }[kind]()
        losses.append(small(doubly=doubly, prior=prior, encoder=encoder))
    eps = losses[0].noise(5, generator=generator)
    plain, doubly = (gradients(model, x, eps) for model in losses)
    assert plain.keys() == doubly.keys()
    for name in plain:
        same = torch.allclose(plain[name], doubly[name], rtol=1e-10, atol=1e-13)
        assert same != ("encoder." in name), name


class Free(nn.Module):
    """q without a network: each datum's own loc and logvar, so that each is one replicate."""

    def __init__(self, q, n):
        super().__init__()
        self.latent = q.loc.shape[-1]  # and no pixels: it does not look at them
        self.loc = nn.Parameter(q.loc.expand(n, -1).clone())
        self.logvar = nn.Parameter(q.logvar.expand(n, -1).clone())

    def forward(self, x):
        return self.loc, self.logvar


class Solved:
    """A linear Gaussian model as an IWAE, one x many times, and q a given way off the posterior.

    The columns of W are orthogonal, so the posterior is a diagonal normal.
    """

    def __init__(self, generator):
        directions, _ = torch.linalg.qr(torch.randn(5, 2, generator=generator, dtype=D))
        self.weight = directions * torch.tensor([1.5, 0.8], dtype=D)
        self.variance = 0.4
        self.x = torch.randn(1, 5, generator=generator, dtype=D)
        precision = 1 + self.weight.square().sum(0) / self.variance
        self.loc = (self.x @ self.weight / self.variance) / precision
        self.logvar = -precision.log().expand_as(self.loc)

    def model(self, n, samples, *, doubly, off=0.0):
        decoder = nn.Linear(2, 5)
        decoder.latent, decoder.pixels = 2, 5
        likelihood = Gaussian(learned=False)
        q = torch.distributions.Normal(0, 1)  # a carrier of two attributes
        q.loc, q.logvar = self.loc + off * torch.exp(0.5 * self.logvar), self.logvar + off
        model = IWAE(
            Free(q, n),
            decoder,
            likelihood=likelihood,
            samples=samples,
            doubly_reparameterized=doubly,
        ).double()
        with torch.no_grad():
            decoder.weight.copy_(self.weight)
            decoder.bias.zero_()
            likelihood.logvar.fill_(math.log(self.variance))
        return model

    def per_replicate(self, model, eps):
        """The gradient of each replicate's bound in its loc and logvar, ``[n, 4]``."""
        n = eps.shape[1]
        model.zero_grad()
        model(self.x.expand(n, -1), eps).backward()
        return -n * torch.cat([model.encoder.loc.grad, model.encoder.logvar.grad], 1)


@pytest.fixture
def solved(generator):
    return Solved(generator)


@pytest.mark.parametrize("samples", [1, 3])
def test_at_the_posterior_it_vanishes_for_every_sample(solved, samples, generator):
    """The path derivative: log w is the same number for every z, so nothing goes through z."""
    eps = torch.randn(samples, 50, 2, generator=generator, dtype=D)
    found = solved.per_replicate(solved.model(50, samples, doubly=True), eps)
    torch.testing.assert_close(found, torch.zeros(50, 4, dtype=D), rtol=0, atol=1e-12)
    plain = solved.per_replicate(solved.model(50, samples, doubly=False), eps)
    assert plain.std(0).min() > 0.1


@both
def test_one_samples_gradient_has_the_closed_forms_mean(doubly, solved, generator):
    """The ELBO is -KL(q ‖ posterior) up to a constant: differences of quadratures."""
    n = 20_000
    model = solved.model(n, 1, doubly=doubly, off=0.5)
    found = solved.per_replicate(model, torch.randn(1, n, 2, generator=generator, dtype=D))
    loc, logvar = solved.loc[0].numpy(), solved.logvar[0].numpy()

    def elbo(parameters):
        return -sum(
            oracles.kl_normal_by_quadrature(
                parameters[i], math.exp(0.5 * parameters[2 + i]), loc[i], math.exp(0.5 * logvar[i])
            )
            for i in range(2)
        )

    here = torch.cat([model.encoder.loc[0], model.encoder.logvar[0]]).detach().numpy()
    expected = torch.from_numpy(oracles.gradient(elbo, here))
    error = found.std(0) / math.sqrt(n)
    assert ((found.mean(0) - expected).abs() < 4 * error + 1e-8).all()
    assert (expected.abs() > 10 * error).all()  # else the test would not see its sign


def test_it_has_the_mean_of_the_plain_one(solved, generator):
    """On the same noise; the difference of both has the mean 0. Far from the posterior, K = 5."""
    n = 40_000
    eps = torch.randn(5, n, 2, generator=generator, dtype=D)
    plain, doubly = (
        solved.per_replicate(solved.model(n, 5, doubly=d, off=1.0), eps) for d in (False, True)
    )
    difference = doubly - plain
    error = difference.std(0) / math.sqrt(n)
    assert (difference.mean(0).abs() < 4 * error).all()
    assert (plain.mean(0).abs() > 10 * error).all()


def test_its_variance_falls_with_the_distance_from_the_posterior(solved, generator):
    """What goes through z is in proportion to the distance, so its variance to the square."""
    n, k = 4000, 5
    eps = torch.randn(k, n, 2, generator=generator, dtype=D)
    variance = {}
    for off in (0.02, 0.2):
        for doubly in (False, True):
            model = solved.model(n, k, doubly=doubly, off=off)
            variance[off, doubly] = solved.per_replicate(model, eps).var(0)
    assert (variance[0.02, True] < variance[0.02, False] / 100).all()
    assert (variance[0.2, True] < variance[0.2, False]).all()
    ratio = variance[0.2, True] / variance[0.02, True]
    assert ((ratio > 30) & (ratio < 300)).all()  # 100, up to higher orders
    assert (variance[0.02, False] > variance[0.2, False] / 4).all()


def test_a_warm_up_has_the_same_gradient_in_the_mean(solved, generator):
    """The weight t of the KL stands before the score, too, and in what replaces it."""
    n = 40_000
    eps = torch.randn(3, n, 2, generator=generator, dtype=D)
    found = []
    for doubly in (False, True):
        model = solved.model(n, 3, doubly=doubly, off=1.0)
        model.kl_warmup.fill_(0.3)
        found.append(solved.per_replicate(model, eps))
    difference = found[1] - found[0]
    assert (difference.mean(0).abs() < 4 * difference.std(0) / math.sqrt(n)).all()
    assert (difference.std(0) > 0.01).all()


@both
def test_in_bfloat16_every_parameter_learns(doubly, x, generator):
    """Two passes share what autocast keeps: a weight that it cast without a graph has none."""
    model = small(doubly=doubly).float()
    eps = model.noise(5, generator=generator)
    exact = gradients(model, x.float(), eps)
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(x.float(), eps)
    loss.backward()
    assert loss.dtype == torch.float32
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # 8 bits: 0.4 % for each product, and a few of them one after the other.
        close = (parameter.grad - exact[name]).norm() < 0.1 * exact[name].norm()
        assert close, name


@both
def test_it_trains(doubly, digits, generator):
    """By the loop, warm-up too; and its evidence is estimated with a K of its own."""
    torch.manual_seed(0)
    mlp = {"hidden": (32,), "activation": nn.Tanh}
    model = IWAE(
        nets.MLPEncoder(784, 4, **mlp),
        nets.MLPDecoder(4, 784, **mlp),
        samples=5,
        doubly_reparameterized=doubly,
    )
    before = copy.deepcopy(model.state_dict())
    how = {"batch_size": 100, "lr": 1e-2, "warmup": 1, "generator": generator, "progress": False}
    history = train.fit(model, digits.train[:500], epochs=4, **how)
    assert history[-1].loss < history[0].loss - 100
    assert all(not torch.equal(t, before[name]) for name, t in model.state_dict().items())
    assert model.kl_warmup == 1
    x = data.binarize(digits.test[:20], generator=generator)
    estimate = evaluate.log_evidence(model, x, samples=37, generator=generator)
    assert (estimate.effective_sample_size <= 37 + 1e-3).all()
    # L_37 from the model's own log-weights, on other noise.
    with torch.no_grad():
        log_w = model.log_weights(x, torch.randn(37, 20, 4, generator=generator))
    other = torch.logsumexp(log_w, 0) - math.log(37)
    assert abs((estimate.log_evidence - other).mean()) < 3
    elbo = evaluate.elbo(model, x, samples=50, generator=generator)
    assert elbo.elbo < estimate.log_evidence.mean()


COMPILE = """
import sys, torch
from vaelib import data, nets, train
from vaelib.prior import Mixture, VampPrior
from vaelib.vae import IWAE, VAE, TwoLayerVAE

mlp = {"hidden": (32,)}

def build(name):
    torch.manual_seed(0)
    encoder, decoder = nets.MLPEncoder(784, 4, **mlp), nets.MLPDecoder(4, 784, **mlp)
    if name == "iwae":
        return IWAE(encoder, decoder, samples=3)
    if name == "doubly":
        return IWAE(encoder, decoder, samples=3, doubly_reparameterized=True)
    if name == "mixture":
        return VAE(encoder, decoder, prior=Mixture(4, 3))
    if name == "vamp":
        return VAE(encoder, decoder, prior=VampPrior(encoder, 784, 3))
    top = nets.MLPEncoder(4, 2, **mlp), nets.MLPEncoder(2, 4, **mlp)
    return TwoLayerVAE(encoder, *top, decoder, samples=3)

for compiled in (False, True):
    generator = torch.Generator().manual_seed(1)
    how = {"batch_size": 100, "compile": compiled, "generator": generator, "progress": False}
    pixels = data.digits().train[:500]
    print(*(line.loss for line in train.fit(build(sys.argv[1]), pixels, epochs=2, **how)))
"""


@pytest.mark.soak
@pytest.mark.skipif(
    not (shutil.which("g++") and Path(sysconfig.get_path("include"), "Python.h").exists()),
    reason="no C++ compiler with Python's headers: apt install g++ python3-dev",
)
@pytest.mark.parametrize("name", ["iwae", "doubly", "mixture", "vamp", "two layers"])
def test_all_models_compile_as_a_whole(name):
    """In a process of its own, without the checks of shapes, which cannot be compiled.

    `train.fit` compiles with fullgraph=True: nothing may stand in the way. The losses may differ by
    what another order of sums in float32 does to 784 terms in 10 steps.
    """
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, name], capture_output=True, text=True, check=True
    )
    eager, compiled = ([float(t) for t in line.split()] for line in done.stdout.splitlines())
    assert len(eager) == 2
    assert compiled == pytest.approx(eager, abs=1e-2)


@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused(x):
    with pytest.raises(ValueError, match="IWAE: expected samples ≥ 1, got 0"):
        small(samples=0)
    with pytest.raises(ValueError, match="expected noise of shape"):
        small()(x, torch.zeros(4, 5, 2).double())
    assert "samples=4, doubly_reparameterized=True" in repr(small(doubly=True))
