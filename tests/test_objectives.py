"""Gradients of every objective that is trained, in all parameters, by central differences."""

import numpy as np
import oracles
import pytest
import torch

from vaelib import nets
from vaelib.elbo import importance_weighted_bound, importance_weighted_surrogate, log_weights
from vaelib.likelihood import Bernoulli, ContinuousBernoulli, Gaussian
from vaelib.reparam import reparameterize
from vaelib.vae import VAE, Autoencoder


def vae(**options):
    torch.manual_seed(3)
    model = VAE(
        nets.MLPEncoder(4, 2, hidden=(3,)), nets.MLPDecoder(2, 4, hidden=(3,)), **options
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2).add_(0.1)
    return model


@pytest.fixture
def x(generator):
    return torch.randint(2, (5, 4), generator=generator).double()


@pytest.fixture
def eps(generator):
    return torch.randn(7, 5, 2, generator=generator, dtype=torch.float64)


def log_w(model, x, eps):
    q = model.encode(x)
    return log_weights(model, x, q, reparameterize(q.loc, q.logvar, eps))


def differences(model, objective, parameter):
    """Of objective(model), by the parameter; with it back in its place at the end."""
    old = parameter.detach().clone()

    @torch.no_grad()
    def value(new):
        parameter.copy_(torch.from_numpy(new))
        return objective(model).item()

    result = oracles.gradient(value, old.numpy())
    with torch.no_grad():
        parameter.copy_(old)
    return result


def assert_gradient(model, differentiated, objective=None):
    """Central differences with a step of 1e-5 err by 1e-10 f''' and by 1e-16 f / 1e-5."""
    differentiated(model).backward()
    for name, parameter in model.named_parameters():
        expected = differences(model, objective or differentiated, parameter)
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("likelihood", [Bernoulli, ContinuousBernoulli, Gaussian])
def test_loss_of_the_vae(x, eps, beta, likelihood):
    assert_gradient(vae(beta=beta, likelihood=likelihood()), lambda model: model(x, eps[0]))


def test_importance_weighted_bound(x, eps):
    assert_gradient(vae(), lambda m: importance_weighted_bound(log_w(m, x, eps)).mean())


def test_surrogate_has_the_gradient_of_the_bound_and_not_its_own(x, eps):
    """Its weights are held constant, so differences of its value are another gradient."""

    def surrogate(model):
        return importance_weighted_surrogate(log_w(model, x, eps)).mean()

    assert_gradient(vae(), surrogate, lambda m: importance_weighted_bound(log_w(m, x, eps)).mean())
    model = vae()
    surrogate(model).backward()
    bias = model.decoder[-1].bias
    assert np.abs(bias.grad.numpy() - differences(model, surrogate, bias)).max() > 1e-3


def test_loss_of_the_autoencoder(x):
    torch.manual_seed(3)
    model = Autoencoder(nets.MLP([4, 3, 2]), nets.MLPDecoder(2, 4, hidden=(3,))).double()
    assert_gradient(model, lambda m: m(x))
