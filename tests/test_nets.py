"""nets: shapes, and that each output depends on the input it should depend on."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from vaelib import nets, recipe
from vaelib.arguments import BadType, BadValue
from vaelib.likelihood import Bernoulli, Categorical
from vaelib.vae import VAE, check_model

ENCODERS = [
    nets.MLPEncoder(784, 3, hidden=(16, 8)),
    nets.LinearEncoder(784, 3),
    nets.ConvEncoder(3, channels=4, width=16),
]
DECODERS = [
    nets.MLPDecoder(3, 784, hidden=(16, 8)),
    nets.ConvDecoder(3, channels=4, width=16),
]
# Channels, height and width: the smallest, odd, not square, a mask beside colours, the largest.
SHAPES = [(1, 8, 9), (3, 16, 16), (2, 17, 29), (3, 32, 32), (6, 16, 40), (1, 63, 31), (3, 128, 128)]


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda n: type(n).__name__)
def test_encoders(encoder, generator):
    x = torch.randn(5, 784, generator=generator)
    loc, logvar = encoder(x)
    assert loc.shape == logvar.shape == (5, 3)
    assert (encoder.pixels, encoder.latent, encoder.condition) == (784, 3, 0)
    # One datum's output does not depend on its neighbours in the batch.
    torch.testing.assert_close(encoder(x[2:3])[0], loc[2:3])
    assert (loc[0] - loc[1]).abs().min() > 0


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda n: type(n).__name__)
def test_decoders(decoder, generator):
    z = torch.randn(5, 3, generator=generator)
    raw = decoder(z)
    assert raw.shape == (5, 784)
    assert (decoder.pixels, decoder.latent, decoder.condition) == (784, 3, 0)
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


# Hashes of names, shapes and values, and of print(), computed before there were other shapes.
# Those of two convolutions are torch's own: a decoder's larger ones cost 1.7 nats.
BEFORE = {
    "ConvEncoder(2, channels=32, width=256, spread=1.0, activation=torch.nn.ReLU)": (
        "46b0a735b7861eeb",
        "74a11dd77157ef67",
    ),
    "ConvDecoder(2, channels=32, width=256, activation=torch.nn.ReLU)": (
        "b0609bf7d382be1b",
        "aa2cb7d69cd890ef",
    ),
    "MLPEncoder(784, 2)": ("cb0ca32a1fa7dade", "d176f667869a95fe"),
    "MLPEncoder(784, 2, hidden=(), heads=3, spread=10.)": ("b8477f92f821b22d", "291c8121cff74e72"),
    "MLPDecoder(2, 784)": ("46b460453ae20ff4", "ae5370f7f695e1b5"),
    "MLPDecoder(2, 784, levels=3, hidden=(8,), activation=torch.nn.Tanh)": (
        "47a05e6fc4a20910",
        "485446e9993079c0",
    ),
    "LinearEncoder(784, 2)": ("f5f26c74fac0fa27", "3a6276bfad92269d"),
}


@pytest.mark.parametrize("made", BEFORE)
def test_the_weights_of_a_seed_are_those_of_the_recorded_runs(made):
    """Their checkpoints are known by names, shapes and print(), their numbers come of the seed."""
    torch.manual_seed(0)
    network = eval(f"nets.{made}")
    weights = hashlib.sha256()
    for name, t in network.state_dict().items():
        weights.update(name.encode() + str(tuple(t.shape)).encode() + t.numpy().tobytes())
    shown = hashlib.sha256(str(network).encode())
    assert (weights.hexdigest()[:16], shown.hexdigest()[:16]) == BEFORE[made]


# Hashes of print(), computed with the code that wrote such recipes, the defaults left out.
OLDER = {
    "before shapes": ({}, "74a11dd77157ef67", "aa2cb7d69cd890ef"),
    "between": ({"activation": None}, "74a11dd77157ef67", "aa2cb7d69cd890ef"),
}


@pytest.mark.parametrize(("said", "encoder", "decoder"), OLDER.values(), ids=OLDER)
def test_an_older_recipe_makes_the_network_that_it_was(said, encoder, decoder):
    """All had 32 channels, 256 wide, and ReLU for digits, whatever the defaults are today."""
    sizes = {"channels": 32, "latent": 2, "width": 256, **said}
    for network, more, shown in (
        (nets.ConvEncoder, {"heads": 2, "spread": 1.0}, encoder),
        (nets.ConvDecoder, {}, decoder),
    ):
        mine = recipe.describe(network(2))
        older = mine | {"arguments": sizes | more}
        if not said:
            assert mine["arguments"].keys() > older["arguments"].keys()
        again = recipe.build(older)
        assert hashlib.sha256(str(again).encode()).hexdigest()[:16] == shown
        assert str(again) != str(recipe.build(mine)) == str(network(2))


def test_the_convolutions_of_digits():
    """16 and 32 channels, 128 wide, SiLU: with 16 units each and their heads 426,000 weights."""
    encoder, decoder = nets.ConvEncoder(16), nets.ConvDecoder(16)
    shapes = [tuple(p.shape) for p in encoder.features.parameters() if p.ndim > 1]
    assert shapes == [(16, 1, 4, 4), (32, 16, 4, 4), (128, 1568)]
    shapes = [tuple(p.shape) for p in decoder.parameters() if p.ndim > 1]
    assert shapes == [(128, 16), (1568, 128), (32, 16, 4, 4), (16, 1, 4, 4)]
    weights = sum(p.numel() for net in (encoder, decoder) for p in net.parameters())
    assert 425_000 < weights < 427_000


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_value_of_a_picture_of_any_shape_counts(shape, generator):
    """Halving an odd side drops no row, neither on the way in nor on the way out."""
    torch.manual_seed(0)
    values = int(np.prod(shape))
    encoder = nets.ConvEncoder(3, shape, channels=4, width=16)
    # Through as many layers some values may meet rectifiers that are all off: hence no ReLU.
    encoder.features = torch.nn.Sequential(
        *(m for m in encoder.features if not isinstance(m, torch.nn.ReLU))
    )
    x = torch.randn(2, values, generator=generator, requires_grad=True)
    loc, _ = encoder(x)
    loc.sum().backward()
    assert loc.shape == (2, 3)
    assert encoder.pixels == values
    assert x.grad.abs().min() > 0
    decoder = nets.ConvDecoder(3, shape, levels=2, channels=4, width=16)
    raw = decoder(torch.randn(5, 3, generator=generator))
    assert raw.shape == (5, 2 * values)
    assert decoder.pixels == values
    assert raw.std(0).min() > 0


def test_the_encoder_sees_channel_by_channel_and_row_by_row(generator):
    encoder = nets.ConvEncoder(3, (2, 9, 14), channels=4, width=8)
    x = torch.randn(5, 2 * 9 * 14, generator=generator)
    picture = x.reshape(5, 2, 9, 14)
    torch.testing.assert_close(encoder.features[0](x), picture)


def test_the_numbers_of_a_value_stand_side_by_side(generator):
    """Value v has the numbers v levels to (v + 1) levels, and v goes channel, row, column."""
    channels, levels, height, width = 3, 2, 9, 8
    decoder = nets.ConvDecoder(2, (channels, height, width), levels=levels, channels=4, width=8)
    *_, convolution, rearranged = decoder
    maps = torch.randn(5, channels * levels, height, width, generator=generator)
    expected = np.empty((5, channels * height * width * levels), dtype=np.float32)
    place = 0
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                for level in range(levels):
                    expected[:, place] = maps[:, channel * levels + level, row, column].cpu()
                    place += 1
    np.testing.assert_array_equal(rearranged(maps).cpu(), expected)
    # And the whole decoder: where only the bias of a map speaks, each value has those of its own.
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.copy_(torch.arange(channels * levels))
    raw = decoder(torch.zeros(1, 2)).detach().reshape(channels, height * width, levels).cpu()
    ends = torch.arange(channels * levels).reshape(channels, 1, levels).expand_as(raw).float().cpu()
    torch.testing.assert_close(raw, ends)


@pytest.mark.parametrize("likelihood", [Bernoulli(), Categorical(5)], ids=["bernoulli", "levels"])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 9, 16)], ids=str)
def test_convolutions_are_models_of_pictures(shape, likelihood):
    torch.manual_seed(0)
    model = VAE(
        nets.ConvEncoder(2, shape, channels=4, width=16),
        nets.ConvDecoder(2, shape, levels=likelihood.per_pixel, channels=4, width=16),
        likelihood=likelihood,
    )
    check_model(model)


def conditional():
    """One of each, of 8 x 9 pixels in two channels, with three numbers for a condition."""
    shape, values = (2, 8, 9), 2 * 8 * 9
    small = {"channels": 4, "width": 16, "condition": 3}
    return [
        (nets.MLPEncoder(values, 2, hidden=(16,), condition=3), values),
        (nets.MLPEncoder(values, 2, hidden=(), condition=3), values),
        (nets.LinearEncoder(values, 2, condition=3), values),
        (nets.ConvEncoder(2, shape, **small), values),
        (nets.MLPDecoder(2, values, hidden=(16,), condition=3), 2),
        (nets.MLPDecoder(2, values, levels=4, hidden=(), condition=3), 2),
        (nets.ConvDecoder(2, shape, **small), 2),
        (nets.ConvDecoder(2, shape, levels=4, **small), 2),
    ]


CONDITIONAL = conditional()
NAMES = [f"{type(network).__name__}-{i}" for i, (network, _) in enumerate(CONDITIONAL)]


def said(network, *given):
    answer = network(*given)
    return answer if isinstance(answer, torch.Tensor) else answer[0]


@pytest.mark.parametrize(("network", "size"), CONDITIONAL, ids=NAMES)
def test_a_condition_is_heard(network, size, generator):
    """Each of its numbers, by each datum its own, and all are known in the recipe and in print."""
    given = torch.randn(4, size, generator=generator)
    labels = torch.eye(3)[[0, 1, 2, 0]]
    answer = said(network, given, labels)
    torch.testing.assert_close(said(network, given[2:3], labels[2:3]), answer[2:3])
    one = said(network, given[:1].expand(3, -1), torch.eye(3))
    assert (one[0] - one[1]).abs().max() > 1e-3
    assert (one[1] - one[2]).abs().max() > 1e-3
    assert (one[0] - one[2]).abs().max() > 1e-3
    # What is given is heard beside it.
    assert (answer[0] - answer[3]).abs().max() > 1e-3
    assert network.condition == 3
    assert "condition=3" in str(network)
    again = recipe.build(recipe.describe(network))
    assert str(again) == str(network)
    again.load_state_dict(network.state_dict())
    torch.testing.assert_close(said(again, given, labels), answer, rtol=0, atol=0)


@pytest.mark.parametrize(("network", "size"), CONDITIONAL, ids=NAMES)
def test_a_condition_in_another_precision_is_taken_in_the_networks(network, size):
    given, labels = torch.ones(2, size), torch.eye(3)[:2]
    torch.testing.assert_close(
        said(network, given, labels.double()), said(network, given, labels), rtol=0, atol=0
    )


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize(("network", "size"), CONDITIONAL, ids=NAMES)
def test_what_is_no_condition_is_refused(network, size):
    name, given = type(network).__name__, torch.zeros(4, size)
    with pytest.raises(BadValue, match=f"{name}: .*condition=3, and got no c.*one_hot"):
        network(given)
    with pytest.raises(BadValue, match=rf"{name}: expected c of shape \[4, 3\].*got \[4, 2\]"):
        network(given, torch.zeros(4, 2))
    with pytest.raises(BadValue, match=rf"{name}: expected c of shape \[4, 3\].*got \[1, 3\]"):
        network(given, torch.zeros(1, 3))
    with pytest.raises(BadType, match=f"{name}: expected c as floating-point.*int64.*one_hot"):
        network(given, torch.zeros(4, 3, dtype=torch.int64))


@pytest.mark.parametrize("network", [*ENCODERS, *DECODERS], ids=lambda n: type(n).__name__)
def test_a_condition_that_nobody_made_the_network_for_is_refused(network):
    given = torch.zeros(2, 784 if network in ENCODERS else 3)
    with pytest.raises(BadValue, match=r"made without a condition.*condition=10"):
        network(given, torch.zeros(2, 10))


def test_a_plane_of_the_condition_is_the_same_everywhere(generator):
    """The first convolution sees c as channels behind the picture's."""
    encoder = nets.ConvEncoder(2, (2, 8, 9), channels=4, width=16, condition=3)
    x, c = torch.randn(4, 144, generator=generator), torch.randn(4, 3, generator=generator)
    seen = []
    encoder.features[0].register_forward_hook(lambda module, given, made: seen.append(made))
    encoder(x, c)
    torch.testing.assert_close(seen[0][:, :2].reshape(4, 144), x)
    torch.testing.assert_close(seen[0][:, 2:], c[:, :, None, None].expand(4, 3, 8, 9))


@pytest.mark.usefixtures("plain_errors")
@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nets.ConvEncoder(2, (28, 28)), BadType, r"shape as \(channels, height, width\)"),
        (lambda: nets.ConvEncoder(2, 784), BadType, r"shape as \(channels, height, width\)"),
        (lambda: nets.ConvDecoder(2, (3, 32, 0)), BadValue, r"shape\[2\] ≥ 1"),
        (lambda: nets.ConvDecoder(2, (3, 32, 7)), BadValue, "at least 8 x 8.*32 x 7.*MLPEncoder"),
        (lambda: nets.ConvDecoder(2, levels=0), BadValue, "ConvDecoder: expected levels ≥ 1"),
        (lambda: nets.ConvEncoder(2, condition=-1), BadValue, "ConvEncoder: .* condition ≥ 0"),
        (lambda: nets.MLPDecoder(2, 9, condition=True), BadType, "MLPDecoder: .* condition as a"),
        (lambda: nets.MLPEncoder(9, 2, condition=0.5), BadType, "MLPEncoder: .* condition as a"),
        (lambda: nets.LinearEncoder(9, 2, condition=-1), BadValue, "LinearEncoder: .*ition ≥ 0"),
    ],
)
def test_what_no_network_can_be_made_of_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_size():
    layer = torch.nn.Linear(3, 3)
    assert nets.size(torch.nn.Sequential(layer, layer, torch.nn.BatchNorm1d(3))) == 12 + 6
    # By hand: convolutions of 4 x 4, the hidden layer, two heads.
    encoder = nets.ConvEncoder(5, (3, 32, 32), channels=4, width=10)
    stages = (3 * 16 + 1) * 4 + (4 * 16 + 1) * 8 + (8 * 16 + 1) * 16
    assert nets.size(encoder) == stages + (16 * 4 * 4 + 1) * 10 + 2 * (10 + 1) * 5


@pytest.mark.parametrize(
    ("shape", "given", "expected"),
    [
        ((1, 28, 28), None, nn.ReLU),  # as an earlier version's recipes have it
        ((3, 32, 32), None, nn.SiLU),
        ((3, 32, 32), nn.Tanh, nn.Tanh),
        ((1, 28, 28), nn.Tanh, nn.Tanh),
    ],
    ids=str,
)
def test_what_stands_between_convolutions(shape, given, expected):
    for made in (
        nets.ConvEncoder(2, shape, activation=given),
        nets.ConvDecoder(2, shape, activation=given),
    ):
        kinds = {type(m) for m in made.modules()} & {nn.ReLU, nn.SiLU, nn.Tanh}
        assert kinds == {expected}
    usual = nets.ConvEncoder(2, shape)
    assert {type(m) for m in usual.features} & {nn.ReLU, nn.SiLU, nn.Tanh} == {nn.SiLU}


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 32, 45), (3, 64, 64), (4, 128, 128)])
def test_a_new_decoder_hears_z_and_a_new_encoder_x_where_networks_are_deep(shape):
    """Weights that keep the size of what passes: of 1 at the start a fifth at a decoder's end.

    SiLU keeps another share of smaller inputs, so a factor of 2.5 either way. With torch's initial
    weights it was 0.0017 at 32 x 32, 0.00003 at 128 x 128.
    """
    torch.manual_seed(0)
    raw = nets.ConvDecoder(16, shape, levels=3)(torch.randn(64, 16))
    x = torch.randn(64, shape[0] * shape[1] * shape[2])
    features = nets.ConvEncoder(16, shape).features(x)
    with torch.no_grad():
        assert 0.2 / 2.5 < raw.std(0).mean() < 0.2 * 2.5
        assert 0.2 < features.std(0).mean() < 1
