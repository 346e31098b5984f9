"""The recorded sweep of chapter `vae` is complete, and one of its points comes out again."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import kl_divergence

from vaelib import course, data

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "sweep.py"


@pytest.fixture(scope="module")
def sweep():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("sweep", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record():
    return course.recorded("sweep")


def test_it_holds_every_point_and_says_where_it_comes_from(sweep, record):
    points = {(p["beta"], p["latent"], p["seed"]) for p in record["points"]}
    expected = {(beta, 16) for beta in sweep.BETAS} | {(1.0, latent) for latent in sweep.LATENTS}
    assert points == {(*pair, seed) for pair in expected for seed in sweep.SEEDS}
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() >= {"command", "commit", "device", "versions", "date", "points"}
    for point in record["points"]:
        assert point["elbo"] == pytest.approx(-point["rate"] - point["distortion"], abs=0.02)
        if point["seed"] == 0:
            assert point["means"].shape == (6, 784)
            assert 0 <= point["means"].min() < 0.01 < 0.5 < point["means"].max() <= 1


@pytest.mark.soak  # half a minute of training, for numbers that are stored
def test_one_point_comes_out_again(sweep, record):
    """Trained again, on whatever machine this is: another BLAS moves it by up to 1 nat."""
    stored = next(
        p for p in record["points"] if (p["beta"], p["latent"], p["seed"]) == (10.0, 16, 0)
    )
    again = sweep.train_point(beta=10.0, latent=16, seed=0)
    for name in ("elbo", "rate", "distortion"):
        assert again[name] == pytest.approx(stored[name], abs=1.5)
    assert abs(again["active_units"] - stored["active_units"]) <= 1


def test_neighbours_of_four_seeds_are_stored():
    record = course.recorded("neighbours")
    assert record["command"] == f"python benchmarks/{SCRIPT.name} neighbours"
    assert [p["seed"] for p in record["points"]] == [0, 1, 2, 3]
    assert all(0.1 < p[name] < 1 for p in record["points"] for name in ("autoencoder", "vae"))


def test_continuity_is_stored_for_three_seeds_with_each_of_two_taken_away(sweep):
    record = course.recorded("continuity")
    assert record["command"] == f"python benchmarks/{SCRIPT.name} continuity"
    found = [(p["seed"], p["kl"], p["noise"]) for p in record["points"]]
    assert sorted(found) == sorted((s, k, n) for s in range(3) for k in (0, 1) for n in (0, 1))
    for point in record["points"]:
        assert tuple(point["distances"]) == sweep.DISTANCES
        assert point["changes"] == sorted(point["changes"])  # further away is more different
        if not point["kl"]:
            assert point["scale"] == (sweep.HELD_SCALE if point["noise"] else 0)


@pytest.mark.parametrize(
    ("kl", "noise"), [(True, True), (True, False), (False, True), (False, False)]
)
def test_what_is_taken_away_is_away_and_no_more(sweep, monkeypatch, kl, noise):
    """The loss that would be minimized, against its parts; nothing is trained."""
    losses = []

    def look(model, pixels, **settings):
        torch.manual_seed(1)
        x, eps = data.binarize(pixels[:8], "threshold"), model.noise(8)
        q = model.encode(x)
        z = q.loc + (q.stddev * eps if noise else 0)
        expected = -model.decode(z).log_prob(x).mean()
        if kl:
            expected = expected + kl_divergence(q, model.prior).mean()
        torch.testing.assert_close(model(x, eps), expected)
        assert (eps.abs().max() > 0) == noise
        if not kl:
            assert (q.stddev - sweep.HELD_SCALE).abs().max() < 1e-6
        losses.append(expected)

    monkeypatch.setattr(sweep.train, "fit", look)
    point = sweep.continuity_point(kl=kl, noise=noise, seed=0)
    assert len(losses) == 1
    assert (point["kl"], point["noise"], point["seed"]) == (kl, noise, 0)


@pytest.mark.soak  # half a minute of training
def test_one_plane_comes_out_again(sweep):
    stored = next(p for p in course.recorded("continuity")["points"] if p["seed"] == 0 and p["kl"])
    again = sweep.continuity_point(kl=True, noise=stored["noise"], seed=0)
    assert again["log_likelihood_at_code"] == pytest.approx(
        stored["log_likelihood_at_code"], abs=1.5
    )
    assert again["changes"] == pytest.approx(stored["changes"], rel=0.15)
