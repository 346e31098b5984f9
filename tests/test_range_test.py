"""range_test: where gradient descent diverges is known exactly on a quadratic; nothing is moved."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn

from vaelib import nets, train
from vaelib.likelihood import Gaussian
from vaelib.vae import VAE, Model


class Quadratic(Model):
    """The loss is λ w² / 2 and an offset whatever the data are, from w = 1, in double precision."""

    def __init__(self, curvature=20.0, offset=0.0):
        super().__init__()
        self.pixels, self.latent = 3, 1
        self.curvature, self.offset = curvature, offset
        self.likelihood = Gaussian(0.0, learned=False)
        self.w = nn.Parameter(torch.ones((), dtype=torch.float64))

    def noise(self, n, *, samples=None, generator=None):
        return torch.zeros(n, 1)

    def forward(self, x, eps=None, c=None, *, generator=None):
        return 0.5 * self.curvature * self.w**2 + self.offset


ROWS = torch.zeros(40, 3)
SGD = {"optimizer": torch.optim.SGD, "batch_size": 10}


@pytest.mark.parametrize("curvature", [0.02, 3.0, 20.0])
@pytest.mark.parametrize("offset", [0.0, -50.0, 100.0])
def test_gradient_descent_breaks_where_it_is_known_to(curvature, offset):
    """w becomes (1 - ηλ) w: it shrinks below η = 2 / λ and grows above. A loss may be negative.

    So the smallest loss is that before the first step above the edge, and the mean over five, which
    is symmetric, has its minimum at most two steps from there.
    """
    edge = 2 / curvature
    low, high, steps = 0.75 * edge, 3 * edge, 40  # not so low that w vanishes beside the offset
    ratio = (high / low) ** (1 / (steps - 1))
    found = train.range_test(
        Quadratic(curvature, offset), ROWS, low=low, high=high, steps=steps, **SGD
    )
    assert edge / ratio**2.01 <= found.minimum <= edge * ratio**3.01
    assert found.proposal == found.minimum / 2
    below = found.losses[found.rates < edge / ratio**3]
    above = found.losses[found.rates > edge * ratio**3]
    assert (below.diff() < 0).all()
    assert (above.diff() > 0).all()
    expected = low * ratio ** torch.arange(len(found.rates)).double()
    torch.testing.assert_close(found.rates, expected)


def test_it_ends_where_the_loss_has_blown_up():
    """Far from the last rate, at which w would be infinite."""
    found = train.range_test(Quadratic(), ROWS, low=1e-3, high=1e6, steps=60, **SGD)
    assert len(found.rates) < 40
    assert found.losses.isfinite().all()


@pytest.mark.filterwarnings("ignore:.*smallest at the last")  # the mean of three there is larger
def test_the_losses_are_those_of_a_loop_by_hand():
    """Each at its rate, before its step; smoothed by as many neighbours on both sides."""
    low, high, steps = 1e-3, 0.12, 12
    found = train.range_test(Quadratic(20.0, 1.0), ROWS, low=low, high=high, steps=steps, **SGD)
    w, raw = 1.0, []
    for t in range(steps):
        raw.append(10 * w**2 + 1)
        w -= low * (high / low) ** (t / (steps - 1)) * 20 * w
    expected = [raw[0], sum(raw[:3]) / 3]
    expected += [sum(raw[t - 2 : t + 3]) / 5 for t in range(2, steps - 2)]
    expected += [sum(raw[-3:]) / 3, raw[-1]]
    torch.testing.assert_close(
        found.losses, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0
    )


def small(**options):
    torch.manual_seed(0)
    return VAE(
        nets.MLPEncoder(16, 2, hidden=(8,), **options),
        nets.MLPDecoder(2, 16, hidden=(8,), **options),
        **options,
    )


@pytest.mark.filterwarnings("ignore:.*smallest at the last")  # few steps
def test_nothing_is_moved(generator):
    """Neither weights, buffers, gradients, modes, nor a generator; and it comes out twice."""
    model = small().eval()
    rows = torch.randint(0, 256, (60, 16), dtype=torch.uint8, generator=generator)
    before, kept = copy.deepcopy(model.state_dict()), rows.clone()
    state, its = torch.get_rng_state(), generator.get_state()
    options = {"steps": 15, "batch_size": 20, "low": 1e-3, "high": 0.1, "generator": generator}
    first = train.range_test(model, rows, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(generator.get_state(), its)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert torch.equal(rows, kept)
    assert all(p.grad is None for p in model.parameters())
    assert not model.training
    assert first.losses[0] > first.losses[-1]
    assert torch.equal(train.range_test(model, rows, **options).losses, first.losses)
    generator.manual_seed(7)
    other = train.range_test(model, rows, **options)
    assert not torch.equal(other.losses, first.losses)


@pytest.mark.filterwarnings("ignore:.*smallest at the last")  # few steps
def test_a_likelihood_that_measures_is_measured_in_the_copy():
    model = VAE(
        nets.MLPEncoder(3, 2, hidden=(8,)),
        nets.MLPDecoder(2, 3, hidden=(8,)),
        likelihood=Gaussian(0.0),
    )
    before = copy.deepcopy(model.state_dict())
    train.range_test(model, 5 + 100 * torch.randn(50, 3), steps=10, high=0.1)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


@pytest.mark.filterwarnings("ignore:.*smallest at the last")  # few steps
def test_conditions_and_loaders():
    """As fit takes them."""
    torch.manual_seed(0)
    rows, labels = torch.randint(0, 256, (60, 16), dtype=torch.uint8), torch.arange(60) % 3
    model = small(condition=3)
    options = {"steps": 12, "low": 1e-3, "high": 0.1}
    found = train.range_test(model, rows, labels=labels, batch_size=20, **options)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(rows, labels), batch_size=20, shuffle=True
    )
    state = torch.get_rng_state()
    by_loader = train.range_test(model, loader, **options)
    assert torch.equal(torch.get_rng_state(), state)
    assert found.losses[0] == pytest.approx(by_loader.losses[0].item(), rel=0.1)


def test_groups_keep_their_ratio():
    """A group at half the rate breaks at twice the rate that is told."""

    def half(parameters, lr):
        (parameter,) = parameters
        return torch.optim.SGD([{"params": [parameter], "lr": 0.5 * lr}], lr=lr)

    options = {"low": 0.15, "high": 0.6, "steps": 40, "batch_size": 10}
    found = train.range_test(Quadratic(20.0), ROWS, optimizer=half, **options)
    ratio = 4 ** (1 / 39)
    assert 0.2 / ratio**2.01 <= found.minimum <= 0.2 * ratio**3.01


def test_a_minimum_at_an_end_is_said():
    quadratic = partial(train.range_test, Quadratic(), ROWS, steps=10, **SGD)
    with pytest.warns(UserWarning, match="smallest at the last rate, 0.001.*a higher high"):
        quadratic(low=1e-4, high=1e-3)
    with pytest.warns(UserWarning, match="smallest at the first rate, 0.101.*a smaller low"):
        quadratic(low=0.101, high=0.12)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        quadratic(low=0.08, high=0.12)


class Broken(Quadratic):
    def forward(self, *_, **__):
        return super().forward(None) * torch.nan


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        ({"low": 0.0}, ValueError, "range_test: expected low > 0"),
        ({"low": 1.0, "high": 0.1}, ValueError, "range_test: expected high above low, got 0.1 and"),
        ({"steps": 9}, ValueError, "range_test: expected steps ≥ 10, got 9"),
        ({"rows": torch.zeros(3)}, ValueError, "expected rows of shape"),
        ({"model": nn.Linear(3, 3)}, TypeError, "expected a model of vaelib.vae"),
        ({"model": Broken()}, FloatingPointError, "range_test: the loss is not finite or blows"),
        ({"low": 9.0, "high": 10.0}, FloatingPointError, "blows up after 2 .* at a smaller low"),
        ({"labels": torch.zeros(3).long()}, ValueError, "expected labels with one for each of 40"),
        ({"generator": 3}, TypeError, "range_test: expected generator"),
    ],
    ids=str,
)
@pytest.mark.usefixtures("plain_errors")
@pytest.mark.filterwarnings("ignore:.*smallest at")
def test_what_cannot_be_tried_says_so(call, error, says):
    arguments = {"model": Quadratic(), "rows": ROWS} | call
    with pytest.raises(error, match=says):
        train.range_test(arguments.pop("model"), arguments.pop("rows"), **arguments)
