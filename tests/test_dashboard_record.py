"""The recorded history of three trainings: whole, true, and as the figure `Dashboard` shows it."""

import importlib.util
import math
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from vaelib import course, data, train
from vaelib.course.figures import Dashboard

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "dashboard.py"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("dashboard", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record():
    return course.recorded("dashboard")


@pytest.fixture(scope="module")
def first(script):
    """The recipe's first epoch, trained again: 2 s."""
    return script.history("SiLU", until=1)


def test_it_holds_every_epoch_and_says_where_it_comes_from(script, record):
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() >= {"command", "commit", "device", "versions", "date", "machine", "runs"}
    assert [run["name"] for run in record["runs"]] == [*script.RUNS]
    for run in record["runs"]:
        assert [entry["epoch"] for entry in run["history"]] == [*range(script.EPOCHS + 1)]
        assert [*map(int, run["sheets"])] == [*script.SHOWN]
        assert (run["lr"], run["seed"]) == (script.RUNS[run["name"]][1], script.SEED)
        for entry in run["history"]:
            for part in (entry["train"], entry["validation"]):
                assert part["elbo"] == pytest.approx(part["log_likelihood"] - part["kl"], abs=0.011)
            assert 0 <= entry["active_units"] <= run["latent"]
            assert (entry["gradient_norm"] is None) == (entry["epoch"] == 0)
            if entry["epoch"]:
                assert 0 < entry["gradient_norm"] <= entry["largest_norm"]


def test_a_sheet_weighs_little(record):
    for run in record["runs"]:
        for sheet in run["sheets"].values():
            assert len(sheet) * 3 / 4 < 20_000


def test_the_first_epoch_comes_out_again(first, record):
    """On whatever machine this is. One epoch at this rate: another BLAS moves it by some nats."""
    stored = record["runs"][0]
    for again, entry in zip(first["history"], stored["history"], strict=False):
        assert again["epoch"] == entry["epoch"]
        for part in ("train", "validation"):
            for name in ("elbo", "log_likelihood", "kl"):
                assert again[part][name] == pytest.approx(entry[part][name], abs=5)
        assert abs(again["active_units"] - entry["active_units"]) <= 2
    norms = first["history"][1]["gradient_norm"], stored["history"][1]["gradient_norm"]
    assert norms[0] == pytest.approx(norms[1], rel=0.25)
    assert first["weights"] == stored["weights"]
    untrained = [Dashboard(runs=[run], epoch=0).sheet() for run in (first, stored)]
    assert np.abs(untrained[0].astype(int) - untrained[1]).max() <= 17  # a level of the sixteen


def test_the_runs_differ_by_what_their_names_say(script):
    """The same weights to begin with; then one thing at a time."""
    models = [script.network(activation) for activation, _ in script.RUNS.values()]
    for a, *others in zip(*(model.parameters() for model in models), strict=True):
        for b in others:
            assert torch.equal(a, b)
    silu, relu, faster = ({type(part) for part in model.modules()} for model in models)
    assert silu ^ relu == {torch.nn.SiLU, torch.nn.ReLU}
    assert relu == faster
    rates = [rate for _, rate in script.RUNS.values()]
    assert rates[0] == rates[1] < rates[2]


def test_the_norm_of_a_step_is_its_gradients(script):
    """By the definition: over all parameters, before the step; its median and largest."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (60, 784), generator=generator, dtype=torch.uint8)
    model = script.network(torch.nn.SiLU)
    watch = script.Watch(model, pixels, pixels, until=1)
    seen = []

    def optimizer(parameters, lr):
        adam = watch.optimizer(parameters, lr)
        adam.register_step_pre_hook(
            lambda *_: seen.append(
                math.sqrt(sum(p.grad.double().square().sum().item() for p in parameters))
            )
        )
        return adam

    train.fit(model, pixels, epochs=1, batch_size=20, optimizer=optimizer,
        callbacks=[watch.after_epoch], progress=False)  # fmt: skip
    assert len(seen) == 3
    entry = watch.epochs[-1]
    assert entry["gradient_norm"] == pytest.approx(statistics.median(seen), abs=0.01)
    assert entry["largest_norm"] == pytest.approx(max(seen), abs=0.01)
    assert watch.norms == []


def test_watching_changes_nothing(script, first):
    """The same recipe without anybody who looks on ends its first epoch with the same loss."""
    model = script.network(torch.nn.SiLU)
    pixels = data.digits().train[: -script.HELD_OUT]
    train.fit(model, pixels, epochs=script.EPOCHS, lr=6e-3, progress=False,
        callbacks=[lambda epoch, _: epoch.epoch == 1])  # fmt: skip
    x = data.binarize(
        data.digits().train[-script.HELD_OUT :], generator=torch.Generator().manual_seed(1001)
    )
    found = script.measured(model, x)
    assert found["elbo"] == pytest.approx(first["history"][1]["validation"]["elbo"], abs=0.011)


def test_a_sheet_is_the_pictures(script):
    """64 pictures row by row, black where a mean is 1, in sixteen levels."""
    means = torch.rand(64, 784, generator=torch.Generator().manual_seed(0))
    run = {"name": "SiLU", "sheets": {"5": script.sheet(means)}}
    ink = Dashboard(runs=[run]).sheet()
    for number in (0, 7, 8, 63):
        row, column = divmod(number, 8)
        tile = ink[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]
        assert np.abs(tile / 255 - means[number].view(28, 28).numpy()).max() < 1 / 30 + 1e-3
    assert len(np.unique(ink)) == 16


def test_what_is_not_recorded_is_refused_by_name():
    with pytest.raises(ValueError, match="run to be one of SiLU, ReLU, ReLU, faster, got 'Tanh'"):
        Dashboard(run="Tanh")
    with pytest.raises(ValueError, match=r"epoch to be one of 0, 1, 2.*got 7"):
        Dashboard(epoch=7)
    figure = Dashboard()
    with pytest.raises(ValueError, match="got 41"):
        figure.epoch = 41
    assert figure.epoch == 5


def test_a_still_shows_the_present_settings():
    drawn = set()
    for settings in ({}, {"epoch": 3}, {"run": "ReLU"}, {"covered": True}):
        picture = Dashboard(**settings).still()
        now = picture.subfigs[0].axes[1]
        drawn.add((now.get_title(), len(now.lines[0].get_xdata()), str(now.get_ylim())))
    assert len(drawn) == 4
