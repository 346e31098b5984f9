"""nets: shapes, and that each output depends on the input it should depend on."""

import pytest
import torch

from vaelib import nets

ENCODERS = [
    nets.MLPEncoder(784, 3, hidden=(16, 8)),
    nets.LinearEncoder(784, 3),
    nets.ConvEncoder(3, channels=4, width=16),
]
DECODERS = [
    nets.MLPDecoder(3, 784, hidden=(16, 8)),
    nets.ConvDecoder(3, channels=4, width=16),
]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda n: type(n).__name__)
def test_encoders(encoder, generator):
    x = torch.randn(5, 784, generator=generator)
    loc, logvar = encoder(x)
    assert loc.shape == logvar.shape == (5, 3)
    assert (encoder.pixels, encoder.latent) == (784, 3)
    # One datum's output does not depend on its neighbours in the batch.
    torch.testing.assert_close(encoder(x[2:3])[0], loc[2:3])
    assert (loc[0] - loc[1]).abs().min() > 0


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda n: type(n).__name__)
def test_decoders(decoder, generator):
    z = torch.randn(5, 3, generator=generator)
    raw = decoder(z)
    assert raw.shape == (5, 784)
    assert (decoder.pixels, decoder.latent) == (784, 3)
    torch.testing.assert_close(decoder(z[2:3]), raw[2:3])
    assert (raw[0] - raw[1]).abs().max() > 0


def test_mlp_has_no_activation_after_its_last_layer():
    layers = nets.MLP([4, 3, 2], activation=torch.nn.Tanh)
    assert [type(layer).__name__ for layer in layers] == ["Linear", "Tanh", "Linear"]


def test_an_encoders_heads_are_linear_in_its_features():
    """A ReLU before a head would keep loc from being negative."""
    torch.manual_seed(0)
    loc, logvar = nets.MLPEncoder(784, 20)(torch.rand(50, 784))
    assert (loc < 0).any()
    assert (logvar < 0).any()


def test_the_convolution_sees_images_row_by_row():
    """Moving a dot by 4 rows and 4 columns moves the first layers' response by 1 and 1."""
    torch.manual_seed(0)
    features = nets.ConvEncoder(2, channels=4, width=8).features
    spot = torch.zeros(2, 784)
    spot[0, 28 * 8 + 12] = 1
    spot[1, 28 * 12 + 16] = 1
    with torch.no_grad():
        first, second = features[:5](spot) - features[:5](torch.zeros(1, 784))
    assert first.abs().max() > 0
    torch.testing.assert_close(first.roll((1, 1), (1, 2)), second)
