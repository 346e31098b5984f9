"""Every number that a network, likelihood, prior or model is made of: what it may not be.

A nan, a negative size or a True would train without a word, or fail at the first batch with an
error of torch that names no argument.
"""

import math
import re

import pytest
import torch
from torch import nn

from vaelib import nets
from vaelib.evaluate import grid_log_evidence
from vaelib.kl import DiagonalNormal
from vaelib.latent import grid
from vaelib.likelihood import Bernoulli, Categorical, Gaussian
from vaelib.prior import Mixture, VampPrior
from vaelib.vae import IWAE, VAE, Autoencoder, DeepLatentModel, TwoLayerVAE


def encoder(pixels=6, latent=2):
    return nets.MLPEncoder(pixels, latent, hidden=(4,))


def decoder(latent=2, pixels=6):
    return nets.MLPDecoder(latent, pixels, hidden=(4,))


def vae(kind=VAE, **options):
    return kind(encoder(), decoder(), **options)


def two_layers(**options):
    return TwoLayerVAE(encoder(6, 3), encoder(3, 2), encoder(2, 3), decoder(3, 6), **options)


# What is made from keyword arguments, and right ones; each size below is replaced in turn.
SIZED = {
    nets.MLPEncoder: {"pixels": 6, "latent": 2},
    nets.MLPDecoder: {"latent": 2, "pixels": 6},
    nets.LinearEncoder: {"pixels": 6, "latent": 2},
    nets.ConvEncoder: {"latent": 2, "channels": 4, "width": 8},
    nets.ConvDecoder: {"latent": 2, "channels": 4, "width": 8},
    Mixture: {"latent": 2, "components": 3},
    VampPrior: {"pixels": 6, "components": 3},
    Categorical: {"levels": 4},
    IWAE: {"samples": 2},
    TwoLayerVAE: {"samples": 2},
}
MAKE = {
    VampPrior: lambda **sizes: VampPrior(encoder(), **sizes),
    IWAE: lambda **sizes: vae(IWAE, **sizes),
    TwoLayerVAE: two_layers,
}
NOT_A_SIZE = [0, -1, 1.5, 2.0, math.nan, math.inf, True, "2", None, [2]]
NOT_A_NUMBER = [math.nan, math.inf, -math.inf, True, "1", None, torch.ones(2)]


def shown(value):
    return re.escape(str(value) if isinstance(value, int | float) else repr(value))


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, sizes in SIZED.items() for name in sizes]
)
def test_sizes_are_whole_numbers_from_one(kind, name):
    make = MAKE.get(kind, kind)
    make(**SIZED[kind])  # the right ones are taken
    for bad in NOT_A_SIZE:
        error = ValueError if type(bad) is int else TypeError
        with pytest.raises(error, match=rf"{kind.__name__}: expected {name} .*got {shown(bad)}"):
            make(**{**SIZED[kind], name: bad})


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize("kind", [nets.MLPEncoder, nets.MLPDecoder])
def test_hidden_layers_are_widths_and_an_activation_is_a_class(kind):
    for bad in NOT_A_SIZE:
        error = ValueError if type(bad) is int else TypeError
        with pytest.raises(error, match=rf"hidden\[1\] .*got {shown(bad)}"):
            kind(2, 3, hidden=(4, bad))
    for bad in (400, "400", None, 4.0):
        with pytest.raises(TypeError, match=rf"{kind.__name__}: expected hidden as .*{shown(bad)}"):
            kind(2, 3, hidden=bad)
    for bad, said in ((nn.Tanh(), r"Tanh\(\)"), ("tanh", "'tanh'"), (None, "None")):
        with pytest.raises(TypeError, match=rf"activation as a class, .* got {said}"):
            kind(2, 3, hidden=(4,), activation=bad)
        with pytest.raises(TypeError, match="MLP: expected activation as a class"):
            nets.MLP([2, 3], activation=bad)
    for sizes in ([], [784]):
        with pytest.raises(
            ValueError, match="MLP: expected the sizes of input and output at least"
        ):
            nets.MLP(sizes)


def test_an_encoder_without_hidden_layers_is_linear(generator):
    torch.manual_seed(0)
    encoder = nets.MLPEncoder(6, 2, hidden=())
    a, b = torch.randn(2, 5, 6, generator=generator)
    for at in (0, 1):
        middle = (encoder(a)[at] + encoder(b)[at]) / 2
        torch.testing.assert_close(encoder((a + b) / 2)[at], middle)
    assert {name for name, _ in encoder.named_parameters()} == {
        f"{head}.{part}" for head in ("loc", "logvar") for part in ("weight", "bias")
    }
    assert torch.isfinite(VAE(encoder, nets.MLPDecoder(2, 6, hidden=()))(torch.zeros(3, 6)))


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize(
    ("make", "where", "least"),
    [
        (lambda beta: vae(beta=beta), "VAE: expected beta", 0),
        (lambda spread: nets.MLPEncoder(6, 2, spread=spread), "MLPEncoder: expected spread", 0),
        (lambda spread: nets.ConvEncoder(2, spread=spread), "ConvEncoder: expected spread", 0),
        (lambda logvar: Gaussian(logvar), "Gaussian: expected logvar", None),
    ],
    ids=["beta", "spread", "spread of convolutions", "logvar"],
)
def test_numbers_are_finite(make, where, least):
    make(0)
    make(0.5)
    if least is None:
        make(-3)
    for bad in [*NOT_A_NUMBER, *([-1, -0.5] if least == 0 else [])]:
        error = ValueError if type(bad) in (int, float) else TypeError
        with pytest.raises(error, match=rf"{where} as a .*got {shown(bad)}"):
            make(bad)


@pytest.mark.usefixtures("plain_errors")
def test_a_grid_has_cells_and_a_width():
    model, x = DeepLatentModel(decoder()), torch.zeros(3, 6)
    for bad in (0.0, -6.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=rf"grid: expected a finite extent > 0, got {bad}"):
            grid(2, extent=bad)
        with pytest.raises(ValueError, match=rf"extent > 0, got 200 and {bad}"):
            grid_log_evidence(model, x, extent=bad)
    for bad in NOT_A_SIZE[:-2]:
        error = ValueError if type(bad) is int else TypeError
        with pytest.raises(error, match=rf"grid: expected points .*got {shown(bad)}"):
            grid(1, points=bad)
        for name in ("points", "batch_size"):
            with pytest.raises(error, match=rf"grid_log_evidence: expected {name} .*{shown(bad)}"):
                grid_log_evidence(model, x, **{name: bad})


@pytest.mark.usefixtures("plain_errors")
def test_switches_are_true_or_false():
    for bad in (1, 0, "yes", None, math.nan):
        with pytest.raises(TypeError, match=rf"Gaussian: .* True or False, got {shown(bad)}"):
            Gaussian(learned=bad)
        with pytest.raises(TypeError, match=rf"IWAE: .* True or False, got {shown(bad)}"):
            vae(IWAE, doubly_reparameterized=bad)


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize("kind", [VAE, IWAE, Autoencoder])
def test_networks_meet_when_the_model_is_made(kind):
    for other, said in (
        (encoder(6, 3), "encoder.latent=3 and decoder.latent=2"),
        (encoder(5, 2), "encoder.pixels=5 and decoder.pixels=6"),
    ):
        with pytest.raises(ValueError, match=rf"{kind.__name__}: .*fit together, got {said}"):
            kind(other, decoder())
    for bad in (None, "mlp", nets.MLPEncoder, lambda x: x):
        with pytest.raises(TypeError, match=r"expected encoder as a torch.nn.Module, got"):
            kind(bad, decoder())
        with pytest.raises(TypeError, match=r"expected decoder as a torch.nn.Module, got"):
            kind(encoder(), bad)
    kind(nn.Linear(6, 2), decoder())  # a network that names no sizes is believed


@pytest.mark.usefixtures("plain_errors")
def test_networks_of_two_layers_meet_too():
    right = [encoder(6, 3), encoder(3, 2), encoder(2, 3), decoder(3, 6)]
    TwoLayerVAE(*right)
    for position, wrong, said in (
        (0, encoder(6, 4), "encoder.latent=4 and decoder.latent=3"),
        (1, encoder(4, 2), "decoder.latent=3 and top_encoder.pixels=4"),
        (1, encoder(3, 5), "top_encoder.latent=5 and top_decoder.pixels=2"),
        (2, encoder(2, 4), "top_decoder.latent=4"),
        (3, decoder(3, 7), "encoder.pixels=6 and decoder.pixels=7"),
    ):
        networks = [*right[:position], wrong, *right[position + 1 :]]
        with pytest.raises(ValueError, match=said):
            TwoLayerVAE(*networks)


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize("size", NOT_A_SIZE)
def test_sizes_that_a_network_of_ones_own_names(size):
    network = decoder()
    network.latent = size
    error = ValueError if type(size) is int else TypeError
    with pytest.raises(error, match=rf"decoder.latent .*got {shown(size)}"):
        DeepLatentModel(network)


@pytest.mark.usefixtures("plain_errors")
def test_a_likelihood_is_an_instance():
    for kind in (VAE, IWAE, Autoencoder):
        for bad, said in ((Bernoulli, "Bernoulli"), ("bernoulli", "'bernoulli'")):
            with pytest.raises(TypeError, match=rf"expected a likelihood .* got {said}"):
                vae(kind, likelihood=bad)


@pytest.mark.usefixtures("plain_errors")
def test_pseudo_inputs_are_of_the_encoders_size():
    with pytest.raises(ValueError, match="of the encoder's 6 pixels, got pixels=7"):
        VampPrior(encoder(), 7, 3)


def test_a_normal_is_expanded_to_a_batch():
    q = DiagonalNormal(torch.tensor([1.0, 2.0]), torch.tensor([0.0, -1.0]))
    many = q.expand(torch.Size([5, 3]))
    assert isinstance(many, DiagonalNormal)
    assert (many.batch_shape, many.event_shape) == ((5, 3), (2,))
    z = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(many.log_prob(z), q.log_prob(z))
    assert many.loc.data_ptr() == q.loc.data_ptr()  # no copy


def test_samples_of_a_model_are_numbers_without_a_graph():
    for model in (vae(), vae(IWAE), vae(likelihood=Gaussian()), vae(prior=Mixture(2, 3))):
        x, z = model.sample(3)
        assert x.numpy().shape == (3, 6)
        assert z.numpy().shape == (3, 2)


def test_grey_levels_are_sampled_by_their_probability():
    """20,000 draws of two pixels; each frequency within 4.5 standard deviations."""
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 1.0, -1.0, 0.5], [2.0, 0.0, 0.0, -3.0]])
    model = Categorical(4)(logits.flatten()[None])
    n = 20_000
    x = model.sample((n,))
    assert x.shape == (n, 1, 2)
    assert Categorical(4).support.check(x).all()
    assert model.sample().shape == (1, 2)
    p = logits.softmax(-1)
    for pixel in range(2):
        for level in range(4):
            found = ((x[:, 0, pixel] * 3).round() == level).float().mean()
            expected = p[pixel, level]
            assert abs(found - expected) < 4.5 * (expected * (1 - expected) / n).sqrt()
    assert model.expand((7, 1)).sample((2,)).shape == (2, 7, 1, 2)
