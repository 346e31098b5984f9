"""The recorded sweep of chapter `vae` is complete, and one of its points comes out again."""

import importlib.util
from pathlib import Path

import pytest

from vaelib import data

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "sweep.py"


@pytest.fixture(scope="module")
def sweep():
    spec = importlib.util.spec_from_file_location("sweep", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record():
    return data.recorded("sweep")


def test_it_holds_every_point_and_says_where_it_comes_from(sweep, record):
    points = {(p["beta"], p["latent"], p["seed"]) for p in record["points"]}
    expected = {(beta, 16) for beta in sweep.BETAS} | {(1.0, latent) for latent in sweep.LATENTS}
    assert points == {(*pair, seed) for pair in expected for seed in sweep.SEEDS}
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() == {"command", "commit", "device", "versions", "date", "points"}
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
    record = data.recorded("neighbours")
    assert record["command"] == f"python benchmarks/{SCRIPT.name} neighbours"
    assert [p["seed"] for p in record["points"]] == [0, 1, 2, 3]
    assert all(0.1 < p[name] < 1 for p in record["points"] for name in ("autoencoder", "vae"))
