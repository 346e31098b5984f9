"""What is recorded of the digits' encoder adds up, counts right, and comes out again."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from vaelib import course, data, nets
from vaelib.vae import VAE

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "amortization.py"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("amortization", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_holds_two_seeds_that_add_up(script):
    record = course.recorded("amortization")
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() >= {"command", "commit", "device", "machine", "versions", "date"}
    assert [point["seed"] for point in record["points"]] == [*script.SEEDS]
    for point in record["points"]:
        lost = point["amortization"] + point["approximation"]
        assert point["log_evidence"] - point["elbo"] == pytest.approx(lost, abs=0.021)
        assert point["decodings"] == script.STEPS * script.DRAWS
        assert point["visits"] == script.EPOCHS * len(data.digits().train)
        assert 0 < point["gain"] <= point["amortization_of_climbed"]
        assert point["ms_encoder"] < point["ms_encoder_alone"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return VAE(nets.MLPEncoder(784, 2, hidden=(16,)), nets.MLPDecoder(2, 784, hidden=(16,)))


def test_the_bound_on_the_grid_is_that_of_samples(script, model, monkeypatch):
    """Of an untrained model: q's ELBO as a sum over cells, and by many samples."""
    monkeypatch.setattr(script, "CLIMBED", 2)
    x = data.binarize(data.digits().test[:4], "threshold")
    found = script.gaps(model, x)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        drawn = torch.stack([model.objective(x, model.noise(4, generator=generator))
                             for _ in range(2000)])  # fmt: skip
    error = drawn.mean(1).std() / 2000**0.5
    assert found["elbo"] == pytest.approx(drawn.mean().item(), abs=5 * error.item() + 0.005)
    assert found["amortization"] >= 0
    assert found["approximation"] >= 0


def test_a_climb_decodes_as_often_as_is_said(script, model, monkeypatch):
    monkeypatch.setattr(script, "STEPS", 3)
    decoded = []
    model.decoder.register_forward_hook(lambda _, z, __: decoded.append(z[0].shape[0]))
    x = data.binarize(data.digits().test[:2], "threshold")
    found = script.bill(model, x)
    assert found["decodings"] == 3 * script.DRAWS
    # Three steps each: of both images once for the gain and in three tries, of one in three tries.
    assert decoded.count(2 * script.DRAWS) == 3 * 4
    assert decoded.count(script.DRAWS) == 3 * 3
    assert found["ms_climb"] > found["ms_encoder"]


@pytest.mark.soak  # a minute of training
def test_one_point_comes_out_again(script):
    stored = course.recorded("amortization")["points"][0]
    again = script.point(seed=0)
    for name in ("log_evidence", "elbo", "amortization"):
        assert again[name] == pytest.approx(stored[name], abs=2)
