"""The records of chapter `collapse` are complete, and points of them come out again."""

import importlib.util
import itertools
import math
import sys
from pathlib import Path

import pytest
import torch

from vaelib import course
from vaelib.collapse import FreeBits

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "dead_units.py"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("dead_units", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_cause_was_tried_with_every_remedy_three_times(script):
    record = course.recorded("remedies")
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() >= {"command", "commit", "device", "versions", "date", "points"}
    assert record["tree_changed"] is False
    found = [(p["cause"], p["remedy"], p["seed"]) for p in record["points"]]
    assert found == [*itertools.product(script.CASES, script.REMEDIES, script.SEEDS)]
    for point in record["points"]:
        assert len(point["kl_by_epoch"]) == script.CASES[point["cause"]].epochs
        assert 0 <= point["active_units"] <= point["latent"]
        assert point["rate"] == pytest.approx(point["kl_by_epoch"][-1], abs=0.2)


def test_planes_at_five_prices_are_stored(script):
    record = course.recorded("planes")
    assert record["command"] == f"python benchmarks/{SCRIPT.name} planes"
    assert record["tree_changed"] is False
    assert tuple(p["beta"] for p in record["points"]) == script.BETAS
    for point in record["points"]:
        assert point["elbo"] == pytest.approx(-point["rate"] - point["distortion"], abs=0.02)
        assert point["means"].shape == (25, 784)
        assert torch.tensor(point["loc"]).shape == torch.tensor(point["scale"]).shape == (30, 2)
    rates = [p["rate"] for p in record["points"]]
    assert rates == sorted(rates, reverse=True)


def test_the_bits_likelihood_is_that_of_a_chain(script):
    """Of a decoder that says nothing: 0.9 for a repeated bit, 0.1 for another, ½ for the first."""
    bits = torch.tensor([[1.0, 1, 0, 0], [0.0, 1, 0, 1]])
    found = script.Chain()(torch.zeros(2, 4)).log_prob(bits)
    by_hand = [math.log(0.5 * 0.9 * 0.1 * 0.9), math.log(0.5 * 0.1**3)]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-5)
    # And with an output that objects, every string together has probability one.
    raw = torch.tensor([0.3, -2.0, 1.1, 0.7])
    every = torch.tensor([*itertools.product((0.0, 1.0), repeat=4)])
    total = script.Chain()(raw.expand(16, 4)).log_prob(every).exp().sum().item()
    assert total == pytest.approx(1, abs=1e-5)


def test_nine_of_ten_bits_repeat_the_one_before(script):
    strings = script.strings(4000, seed=1)
    assert strings.dtype == torch.uint8
    assert set(strings.unique().tolist()) == {0, 255}
    flips = (strings[:, 1:] != strings[:, :-1]).float().mean().item()
    assert abs(flips - 0.1) < 4 * math.sqrt(0.09 / (4000 * 29))
    first = (strings[:, 0] > 0).float().mean().item()
    assert abs(first - 0.5) < 4 * math.sqrt(0.25 / 4000)


def test_each_cause_is_built_in_as_it_says(script):
    """Nothing is trained."""
    torch.manual_seed(0)
    made = {name: case.make(floor=0.0) for name, case in script.CASES.items()}
    assert all(isinstance(model, FreeBits) for model in made.values())
    assert [name for name, model in made.items() if model.beta != 1] == ["reduction"]
    z = torch.randn(100, 5)
    with torch.no_grad():
        raw = made["start"].decoder(z)
        assert (raw - raw[0]).abs().max() == 0
        assert (made["healthy"].decoder(z).std(0) > 0).all()
    z.requires_grad_()
    assert (
        not made["detached"].decode(z).mean.requires_grad
        or not torch.autograd.grad(made["detached"].decode(z).mean.sum(), z, allow_unused=True)[0]
    )
    assert torch.autograd.grad(made["healthy"].decode(z).mean.sum(), z)[0].abs().max() > 0
    assert made["noise"].likelihood.logvar.exp().item() == pytest.approx(script.LOUD)


@pytest.mark.soak  # ten seconds of training, for numbers that are stored
def test_one_point_comes_out_again(script):
    stored = next(p for p in course.recorded("remedies")["points"] if p["cause"] == "reduction")
    again = script.remedy_point(cause="reduction", remedy=stored["remedy"], seed=stored["seed"])
    assert again["elbo"] == pytest.approx(stored["elbo"], abs=1.5)
    assert again["rate"] == pytest.approx(stored["rate"], abs=0.05)
    assert again["active_units"] == stored["active_units"]


@pytest.mark.soak  # half a minute of training
def test_one_plane_comes_out_again(script):
    stored = course.recorded("planes")["points"][-1]
    again = script.plane_point(beta=stored["beta"])
    assert again["elbo"] == pytest.approx(stored["elbo"], abs=1.5)
    assert again["rate"] == pytest.approx(stored["rate"], abs=0.5)
