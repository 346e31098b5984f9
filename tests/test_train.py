"""train: the loop minimizes what it is given, with the data, order and noise that it is told."""

import math

import pytest
import torch
from torch import nn

from vaelib import nets, train
from vaelib.vae import VAE


class Mean(nn.Module):
    """A loss with a known minimum: the mean squared distance to the data is least at their mean."""

    def __init__(self, pixels):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.seen = []

    def forward(self, x, *, generator=None):
        self.seen.append(x.detach().clone())
        return (x - self.mean).square().sum(-1).mean()


def seed(s=1):
    return torch.Generator().manual_seed(s)


@pytest.fixture
def pixels(generator):
    return torch.randint(256, (50, 6), generator=generator).to(torch.uint8)


def test_it_finds_a_minimum_that_is_known(pixels):
    model = Mean(6)
    history = train.fit(
        model, pixels, epochs=200, lr=0.05, batch_size=50, binarization="none", progress=False
    )
    torch.testing.assert_close(model.mean.detach(), pixels.float().mean(0) / 255, rtol=0, atol=1e-3)
    assert [line.epoch for line in history] == list(range(1, 201))
    exact = (pixels.double() / 255).var(0, correction=0).sum().item()
    assert history[-1].loss == pytest.approx(exact, abs=1e-3)
    assert all(line.seconds > 0 for line in history)


def test_each_image_once_per_epoch_in_a_new_order(pixels):
    model = Mean(6)
    train.fit(
        model,
        pixels,
        epochs=2,
        batch_size=16,
        binarization="none",
        generator=seed(),
        progress=False,
    )
    assert [len(x) for x in model.seen] == [16, 16, 16, 2] * 2
    epochs = torch.cat(model.seen).view(2, 50, 6).mul(255).round().to(torch.uint8)
    expected = sorted(pixels.tolist())
    assert [sorted(epoch.tolist()) for epoch in epochs] == [expected, expected]
    assert not torch.equal(epochs[0], epochs[1])


def test_dynamic_binarization_is_drawn_afresh(pixels):
    model = Mean(6)
    train.fit(model, pixels, epochs=2, batch_size=50, generator=seed(), progress=False)
    first, second = (sorted(x.tolist()) for x in model.seen)
    assert set(torch.cat(model.seen).unique().tolist()) == {0.0, 1.0}
    assert first != second


def test_the_loss_in_the_history_weighs_a_small_last_batch_by_its_size():
    """48 images at 0 and one at 1, so that a mean of batch means would not be the mean."""

    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, x, *, generator=None):
            return x.mean() + 0 * self.w

    pixels = torch.zeros(49, 1, dtype=torch.uint8)
    pixels[7] = 255
    for s in range(5):
        (line,) = train.fit(
            Constant(),
            pixels,
            epochs=1,
            batch_size=16,
            binarization="none",
            generator=seed(s),
            progress=False,
        )
        assert line.loss == pytest.approx(1 / 49)


def weights(s, pixels):
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,)))
    torch.manual_seed(s)  # the global generator must not matter
    train.fit(model, pixels, epochs=3, batch_size=16, generator=seed(s % 2), progress=False)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_all_randomness_comes_from_the_generator(pixels):
    assert torch.equal(weights(1, pixels), weights(3, pixels))
    assert not torch.equal(weights(1, pixels), weights(2, pixels))


def test_training_raises_the_elbo(digits):
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(784, 2, hidden=(32,)), nets.MLPDecoder(2, 784, hidden=(32,)))
    history = train.fit(
        model, digits.train[:1000], epochs=10, lr=1e-2, generator=seed(), progress=False
    )
    assert history[-1].loss < history[0].loss - 100


def test_a_loss_that_is_not_finite_stops_with_advice(pixels):
    class Broken(Mean):
        def forward(self, x, *, generator=None):
            return super().forward(x) + math.nan

    with pytest.raises(FloatingPointError, match=r"epoch 1 is nan; try a smaller lr than 0.001"):
        train.fit(Broken(6), pixels, epochs=3, progress=False)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"pixels": torch.zeros(5, 6)}, TypeError, "expected uint8 .* got torch.float32"),
        ({"pixels": torch.zeros(0, 6, dtype=torch.uint8)}, ValueError, r"n > 0, got \(0, 6\)"),
        ({"pixels": torch.zeros(6, dtype=torch.uint8)}, ValueError, r"got \(6,\)"),
        ({"epochs": 0}, ValueError, "epochs ≥ 1.*got 0, 128"),
        ({"batch_size": 0}, ValueError, "batch_size ≥ 1"),
        ({"lr": 0.0}, ValueError, "lr > 0"),
        ({"lr": math.nan}, ValueError, "lr > 0"),
        ({"binarization": "static"}, ValueError, "'dynamic', 'threshold', 'none'"),
    ],
)
@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused(pixels, change, error, message):
    arguments = {"pixels": pixels, "epochs": 1, "progress": False} | change
    with pytest.raises(error, match=message):
        train.fit(Mean(6), arguments.pop("pixels"), **arguments)
