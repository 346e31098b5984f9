"""evaluate: the grid, with priors of every place, width and shape, against closed forms.

A linear decoder with a Gaussian likelihood and a normal prior N(m, L L') has the evidence
N(W m + b, W L (W L)' + σ² I); a mixture of priors the mixture of these.
"""

import math

import numpy as np
import oracles
import pytest
import torch
from test_vae import linear_decoder
from torch.distributions import Distribution, MultivariateNormal

from vaelib import evaluate, nets
from vaelib.evaluate import grid
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Bernoulli, Gaussian
from vaelib.prior import Mixture, Prior, VampPrior
from vaelib.vae import VAE

D = torch.float64


def normal(loc, scale):
    return DiagonalNormal(torch.tensor(loc, dtype=D), 2 * torch.tensor(scale, dtype=D).log())


def mixture(loc, scale):
    """Of unequal weights: 1 to 2 to 3 …"""
    prior = Mixture(len(loc[0]), len(loc)).double()
    with torch.no_grad():
        prior.logits.copy_(torch.arange(1.0, len(loc) + 1).log())
        prior.loc.copy_(torch.tensor(loc))
        prior.logvar.copy_(2 * torch.tensor(scale).log())
    return prior


def vamp():
    torch.manual_seed(1)
    encoder = nets.LinearEncoder(6, 2)
    with torch.no_grad():
        encoder.loc.weight.mul_(5)
        encoder.logvar.fill_(-4.0)
    return VampPrior(encoder, 6, 20).double()


def many():
    draw = torch.Generator().manual_seed(1)
    loc, scale = (torch.rand(10, 2, generator=draw) for _ in range(2))
    return mixture((8 * loc - 4).tolist(), (scale + 0.2).tolist())


PRIORS = {
    "at 8": lambda: normal([8.0, 8.0], [1.0, 1.0]),
    "narrow": lambda: normal([3.0, -2.0], [0.01, 0.01]),
    "narrow in one direction": lambda: normal([3.0, -2.0], [1.0, 0.001]),
    "wide": lambda: normal([0.0, 0.0], [30.0, 30.0]),
    "on a line": lambda: normal([2.0], [30.0]),
    "correlated": lambda: MultivariateNormal(
        torch.tensor([-5.0, 4.0], dtype=D), torch.tensor([[1, 0.999], [0.999, 1]], dtype=D)
    ),
    "mixture at 8": lambda: mixture([(8.0, 8.0)], [(1.0, 1.0)]),
    "one component far away": lambda: mixture(
        [(0.0, 0.0), (100.0, -80.0)], [(1.0, 1.0), (0.5, 0.7)]
    ),
    "one in the other": lambda: mixture([(0.0, 0.0), (0.3, 0.3)], [(1.0, 1.0), (0.01, 0.01)]),
    "far on a line": lambda: mixture([(0.0,), (1000.0,)], [(1.0,), (0.1,)]),
    "ten components": many,
    "vamp": vamp,
}


def linear(prior, variance=0.5, seed=0):
    """A linear VAE with this prior, and the function from data to the exact log p(x)."""
    if isinstance(prior, Prior):
        with torch.no_grad():
            logits, each = prior.components()
        parts = list(zip(logits.log_softmax(0).tolist(), each.loc, each.stddev, strict=True))
        parts = [(log_weight, m.detach().numpy(), np.diag(s)) for log_weight, m, s in parts]
    else:
        root = prior.scale_tril if isinstance(prior, MultivariateNormal) else prior.stddev.diag()
        parts = [(0.0, prior.loc.numpy(), root.numpy())]
    latent = len(parts[0][1])
    draw = torch.Generator().manual_seed(seed)
    decoder = linear_decoder(latent, 6).double()
    with torch.no_grad():
        decoder.weight.copy_(torch.randn(6, latent, generator=draw, dtype=D))
        decoder.bias.copy_(torch.randn(6, generator=draw, dtype=D))
    likelihood = Gaussian(math.log(variance))
    model = VAE(
        nets.LinearEncoder(6, latent).double(), decoder, likelihood=likelihood, prior=prior
    ).double()
    w, b = decoder.weight.detach().numpy(), decoder.bias.detach().numpy()

    def exact(x):
        return np.logaddexp.reduce(
            [
                log_weight
                + oracles.linear_gaussian_log_evidence(
                    w @ root, b + w @ m, model.likelihood.logvar.exp().item(), x
                )
                for log_weight, m, root in parts
            ]
        )

    return model, exact


@pytest.mark.parametrize("kind", PRIORS)
def test_the_grid_is_where_the_prior_is(kind, generator):
    """Exact to the error that is stated, a small one, and 2e-5: cells are made in float32."""
    model, exact = linear(PRIORS[kind]())
    x, _ = model.sample(8, generator=generator)
    found = evaluate.grid_log_evidence(model, x)
    wrong = np.abs(found.log_evidence.numpy() - exact(x))
    assert (wrong <= found.error.numpy() + 2e-5).all()
    assert found.error.max() < 0.01


@pytest.mark.parametrize("distance", [6.0, 7.0, 9.0, 11.0])
def test_a_posterior_outside_of_the_window_is_found(distance):
    """Data that the prior holds to be impossible: e^-60 at 11 deviations."""
    model, exact = linear(normal([0.0, 0.0], [1.0, 1.0]), variance=0.01)
    with torch.no_grad():
        x = model.decode(torch.full((1, 2), distance / math.sqrt(2), dtype=D)).mean
    found = evaluate.grid_log_evidence(model, x)
    assert abs(found.log_evidence.item() - exact(x).item()) <= found.error.item() + 2e-5
    assert found.error < 1e-3


def test_what_no_box_encloses_is_said():
    """At 20 deviations: the sum is wrong by more than 100 nats, and the error is no smaller."""
    model, exact = linear(normal([0.0, 0.0], [1.0, 1.0]), variance=0.01)
    with torch.no_grad():
        x = model.decode(torch.full((1, 2), 20 / math.sqrt(2), dtype=D)).mean
    found = evaluate.grid_log_evidence(model, x)
    assert 100 < abs(found.log_evidence.item() - exact(x).item()) < found.error.item()
    wider = evaluate.grid_log_evidence(model, x, extent=15.0)
    assert abs(wider.log_evidence.item() - exact(x).item()) < 2e-5


def test_a_prior_far_away_in_float32(generator):
    """The case that printed −551.0 with an error of 0.004: digits of 784 pixels, a prior at 8.

    In units of the prior the model is another one with N(0, I), whose decoder is shifted: the same
    evidence, up to rounding of 784 terms.
    """
    torch.manual_seed(0)
    encoder, decoder = nets.MLPEncoder(784, 2), nets.MLPDecoder(2, 784)
    prior = DiagonalNormal(torch.tensor([8.0, -8.0]), torch.tensor([0.5, -0.5]))
    shifted = nets.MLPDecoder(2, 784)
    shifted.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        shifted[0].bias += decoder[0].weight @ prior.loc
        shifted[0].weight *= prior.stddev
    x = torch.randint(2, (5, 784), generator=generator).float()
    one = evaluate.grid_log_evidence(VAE(encoder, decoder, prior=prior), x)
    same = evaluate.grid_log_evidence(VAE(encoder, shifted), x)
    torch.testing.assert_close(one.log_evidence, same.log_evidence, rtol=0, atol=2e-3)
    assert max(one.error.max(), same.error.max()) < 0.01


def test_the_report_prints_it(generator):
    model, exact = linear(normal([8.0, 8.0], [1.0, 1.0]))
    x, _ = model.sample(20, generator=generator)
    score = evaluate.report(model, x, samples=20, check=2).scores["model"]
    assert score.grid == pytest.approx(exact(x).mean(), abs=1e-5)
    assert score.grid_error < 1e-3


class Laplace(Prior):
    """A prior that is neither normal nor a mixture."""

    latent = 1

    def forward(self, c=None) -> Distribution:
        zero = torch.zeros(1)
        return torch.distributions.Independent(torch.distributions.Laplace(zero, zero + 1), 1)


@pytest.mark.usefixtures("plain_errors")
def test_a_prior_of_unknown_shape_has_no_grid(generator):
    torch.manual_seed(0)
    prior = Laplace()
    model = VAE(nets.MLPEncoder(6, 1), nets.MLPDecoder(1, 6), prior=prior)
    x = torch.randint(2, (4, 6), generator=generator).float()
    with pytest.raises(TypeError, match=r"normal or a mixture of normals, .* use log_evidence"):
        evaluate.grid_log_evidence(model, x)


def test_components_share_a_grid_where_they_can():
    windows = grid._windows(vamp()(), 200, 6.0)
    assert len(windows) == 1
    assert len(grid._windows(PRIORS["one component far away"]()(), 200, 6.0)) == 2
    # However they are grouped, together they are the prior.
    prior = PRIORS["one in the other"]()()
    z = torch.tensor([[0.3, 0.31], [2.0, -1.0]], dtype=D)
    parts = torch.stack([w.log_density(z) for w in grid._windows(prior, 200, 6.0)])
    torch.testing.assert_close(parts.logsumexp(0), prior.log_prob(z))


def test_values_beyond_floats_are_an_error():
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(6, 1), nets.MLPDecoder(1, 6), likelihood=Bernoulli())
    with torch.no_grad():
        model.decoder[0].weight[0, 0] = torch.nan
    with pytest.raises(
        FloatingPointError, match=r"grid_log_evidence: log_evidence is nan at 3 of 3"
    ):
        evaluate.grid_log_evidence(model, torch.zeros(3, 6))
