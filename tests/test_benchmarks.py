"""The comparison of speed runs, counts what it says it counts, and compares like with like."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vaelib import course, data

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def scripts():
    """The folder of scripts, to be imported from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module


@pytest.fixture(scope="module")
def speed(scripts):
    return scripts("speed")


@pytest.fixture(scope="module")
def runs(scripts):
    return scripts("runs")


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A run on random images, in a process of its own: what it prints, and what it stores."""
    path = tmp_path_factory.mktemp("bench") / "speed.json"
    command = [sys.executable, BENCHMARKS / "speed.py", "--quick", "--json", path]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout, json.loads(path.read_text())


def test_the_table_has_each_contender_with_its_time_or_its_reason(quick):
    printed, record = quick
    race = record["race"]
    names = ["per-sample loop", "TensorDataset loop", "pythae", "fit float32", "fit bfloat16"]
    for name in names:
        (line,) = [x for x in printed.splitlines() if x.startswith(f"{name}  ")]
        if name in race["not_run"]:
            assert name in ("pythae", "fit bfloat16")
            assert race["not_run"][name] in line
        else:
            seconds = race["seconds_per_epoch"][name]
            assert len(seconds) == race["rounds"] == 2
            assert all(0 < s < math.inf for s in seconds)
            (elbo,) = race["test_elbo"][name]
            # Random pixels: coin flips would give -784 log 2 = -543.4, and nothing learnt in four
            # steps beats them by much. A KL or a mean over pixels gone wrong is far from it.
            assert -600 < elbo < -500
    assert all(s > 0 for s in race["seconds_per_epoch"]["products float32"])
    targets = [line for line in printed.splitlines() if "wanted ≥" in line]
    assert len(targets) == len(race["targets"]) >= 4


def test_it_stores_where_the_numbers_come_from(quick):
    _, record = quick
    assert record["command"].startswith("python benchmarks/speed.py --quick")
    assert {"commit", "device", "machine", "seeds", "versions", "date"} < record.keys()
    assert {"processor", "features", "cores", "threads", "load_before"} < record["machine"].keys()


def test_a_refused_precision_is_printed_with_its_reason(speed, capsys, plain_errors):
    contenders = [speed.contest.fit("float32", False), speed.contest.fit("float16", False)]
    pixels = torch.zeros(speed.contest.BATCH, 784, dtype=torch.uint8)
    result = speed.contest.race(
        contenders, speed.contest.example, pixels, rounds=1, device=torch.device("cpu")
    )
    assert result.seconds.keys() == {"fit float32"}
    result.seconds["TensorDataset loop"] = result.seconds["fit float32"]
    speed.table(contenders, result, {}, seeds=(), epochs=1)
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("fit float16"))
    assert "not run. BadValue: fit: expected precision one of" in line


def test_a_race_rotates_and_counts_neither_the_first_round_nor_the_first_slice(speed, monkeypatch):
    """On a clock that only the contenders move, so that every number is exact."""
    called, clock = [], [0.0]
    monkeypatch.setattr(speed.contest, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def contender(name, seconds):
        def run(model, pixels, *, epochs, seed, after_epoch):
            called.append(name)
            for slice_seconds in (100.0, seconds if seed else 100.0)[:epochs]:
                clock[0] += slice_seconds
                after_epoch()

        return speed.contest.Contender(name, run)

    contenders = [contender("a", 1.0), contender("b", 2.0), contender("c", 4.0)]
    pixels = torch.zeros(600, 784, dtype=torch.uint8)  # a hundredth of an epoch
    result = speed.contest.race(
        contenders, speed.contest.example, pixels, rounds=3, device=torch.device("cpu")
    )
    assert "".join(called) == "abc" + "bca" + "cab" + "abc"
    assert result.seconds == {"a": [100.0] * 3, "b": [200.0] * 3, "c": [400.0] * 3}


def test_ratios_are_taken_within_a_round(speed):
    result = speed.contest.Result({"slow": [2.0, 8.0], "fast": [1.0, 2.0]}, {})
    assert result.faster("slow", "fast") == [2.0, 4.0]
    assert speed.contest.spread([3.0, 1.0, 2.0]) == "2.00 (1.00 … 3.00)"


def test_the_textbook_loss_is_minus_the_elbo(speed, generator):
    """In value and gradient, on the same weights and noise; written without vaelib's code.

    The two sum 128 x 804 terms of at most a few nats in different forms, each to a few units of
    2⁻⁵³: 1e-9 of a nat per datum is a hundred times what that comes to, and any other reduction,
    KL or likelihood is wrong by more than 1e-3.
    """
    model = speed.contest.example(seed=3).double()
    x = torch.randint(0, 2, (128, 784), generator=generator).double()
    eps = torch.randn(128, 20, generator=generator, dtype=torch.float64)
    ours = -model.elbo(x, eps).mean()
    weights = list(model.parameters())
    gradient = torch.autograd.grad(ours, weights)
    for loss in (speed.textbook.loss, speed.textbook.logits_loss):
        textbook = loss(model.encoder, model.decoder, x, eps) / 128
        torch.testing.assert_close(textbook, ours, rtol=0, atol=1e-9)
        for one, other in zip(torch.autograd.grad(textbook, weights), gradient, strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_operations_are_counted_as_torch_counts_them(speed):
    model = speed.contest.example(seed=0)
    step = speed.products.of_step(model, batch=128)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(128, 784)).backward()
    assert speed.products.flop(step) == counter.get_total_flops()
    # By hand: each of five layers forward and for its weights, and all but the first's input.
    layers = 784 * 400 + 2 * 400 * 20 + 20 * 400 + 400 * 784
    by_hand = 2 * 128 * (3 * layers - 784 * 400)
    assert speed.products.flop(step) == by_hand
    assert len(step) == 3 * 5 - 1
    assert by_hand / 128 * 60_000 == 196.8e9


def test_the_products_are_computed_again_in_their_layout(speed):
    step = speed.products.of_step(speed.contest.example(seed=0), batch=8)
    replay = speed.products.Replay(step, device=torch.device("cpu"), dtype=torch.float32)
    for (left, right, out), product in zip(replay.factors, step, strict=True):
        assert (tuple(left.shape), left.stride()) == product.left
        assert (tuple(right.shape), right.stride()) == product.right
        out.zero_()
    replay()
    for left, right, out in replay.factors:
        torch.testing.assert_close(out, left @ right)
    # A weight's gradient takes the transposed gradient of the layer's output, as a view.
    assert any(product.left.stride == (1, product.left.size[0]) for product in step)


def trained(contest, contender, *, seed=5):
    """Its weights after two epochs in float64, of 128 and 72 images each, and the initial ones."""
    model = contest.example(seed=0).double()
    # fit makes float32 data, of which it measures the terms after an epoch, and its loss is a
    # batch's mean; the textbook's is a sum.
    prepare = model.likelihood.prepare
    model.likelihood.prepare = lambda *rows, **how: prepare(*rows, **how).double()
    model.register_forward_pre_hook(lambda _, args: tuple(a.double() for a in args))
    model.register_forward_hook(lambda _, args, loss: loss * len(args[0]))
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    pixels = contest.noise_images().train[:200]
    contender.train(model, pixels, epochs=2, seed=seed, after_epoch=lambda: None)
    return nn.utils.parameters_to_vector(model.parameters()).detach(), start


def test_the_rungs_from_resident_data_to_fit_take_the_same_steps(runs):
    """They draw the same numbers and differ in how they compute, so the weights are the same.

    In float64 a gradient's element, a sum of some 128 terms of at most 1, is known to 1e-13 or so.
    Adam divides it by no less than its ε = 1e-8, so each of four steps of 1e-3 is known to 1e-8.
    Another noise or binarization differs by whole steps. At the fourth, m / √v cannot be above 1.08
    (Cauchy and Schwarz, with the weights of both means), so the four are 4.2e-3 at most.
    """
    contenders = {rung.contender.name: rung.contender for rung in runs.rungs(eager=True)}
    weights, start = trained(runs.contest, contenders["resident"])
    assert 2e-3 < (weights - start).abs().max() < 4.2e-3
    for name in ("logits", "loss not read", "fused Adam", "fit float32"):
        same, _ = trained(runs.contest, contenders[name])
        torch.testing.assert_close(same, weights, rtol=0, atol=4e-8)
    other, _ = trained(runs.contest, contenders["resident"], seed=6)
    assert (other - weights).abs().max() > 1e-3


def test_the_ladder_climbs_one_change_at_a_time(runs):
    ladder = runs.rungs(eager=False)
    names = [rung.contender.name for rung in ladder]
    assert len(names) == len(set(names)) == 11
    assert ladder[0].before is None
    assert all(rung.before in names[:n] for n, rung in enumerate(ladder) if n)
    fits = [rung.contender for rung in ladder if rung.contender.name.startswith("fit")]
    for contender in fits:  # the long run looks its setting up by name
        known = runs.contest.fits(torch.device("cuda"))
        (match,) = [c for c in known if c.name == contender.name]
        assert match[2:] == contender[2:]


@pytest.fixture(scope="module")
def recorded(runs, tmp_path_factory):
    """A quick run of all parts: where it is stored, and what is there."""
    path = tmp_path_factory.mktemp("runs") / "runs.json"
    assert runs.main(["--quick", "--out", str(path)]) == 0
    return path, json.loads(path.read_text())


def test_runs_are_stored_with_where_they_come_from(recorded):
    _, record = recorded
    assert record["command"] == "python benchmarks/runs.py --quick"
    assert {"commit", "tree_changed", "device", "machine", "date"} < record.keys()
    assert record["versions"].keys() == {"python", "torch", "vaelib"}
    assert record["seeds"] == {"test_images": 1000, "evaluation": 2000}
    assert record["left_out"] == []
    assert record["failed"] == {}


def test_the_ladder_has_each_rung_with_its_factors_or_its_reason(recorded):
    _, record = recorded
    rungs = {rung["name"]: rung for rung in record["ladder"]["rungs"]}
    assert "not_run" not in rungs["fit float32"]
    assert "CUDA" in rungs["fit float32 cuda-graph"]["not_run"]
    first = record["ladder"]["rungs"][0]["seconds_per_epoch"]
    assert len(first) == record["ladder"]["rounds"] == 2
    for rung in rungs.values():
        if "not_run" in rung:
            continue
        seconds = rung["seconds_per_epoch"]
        pairs = zip(first, seconds, strict=True)
        assert rung["times_first"] == [a / b for a, b in pairs]
        if rung["before"] is not None:
            pairs = zip(rungs[rung["before"]]["seconds_per_epoch"], seconds, strict=True)
            assert rung["times_before"] == [a / b for a, b in pairs]
        # See test_the_table_has_each_contender_with_its_time_or_its_reason.
        assert -600 < rung["test_elbo"] < -500


def test_the_long_run_and_the_samples_have_their_numbers(recorded):
    _, record = recorded
    full = record["full"]
    assert full["contender"] == "fit float32"
    assert len(full["loss"]) == len(full["seconds_per_epoch"]) == full["epochs"] == 1
    assert -600 < full["test_elbo"] < -500
    assert 500 < full["loss"][0] < 600
    assert sum(full["seconds_per_epoch"]) <= full["seconds"]
    assert [found["name"] for found in record["networks"]] == ["784-400-20", "convolutional"]
    for found in record["networks"]:
        assert len(found["seconds_per_epoch"]) == found["epochs"] == 1
        assert -600 < found["test_elbo"] < -500
    assert [(run["k"], run["seed"]) for run in record["iwae"]] == [(1, 0), (5, 0)]
    for run in record["iwae"]:
        # log p(x) is above the ELBO, in a model of which both are estimated on the same 64 images.
        assert -600 < run["test_elbo"] < run["log_evidence"] < -500
        assert 0 < run["sampling_error"] < run["standard_error"] < 1
        assert 1 <= run["effective_samples"] <= run["samples"] == 20
        assert 0 <= run["active_units"] <= 50
        assert min(run["training_seconds"], run["evaluation_seconds"]) > 0


def test_a_run_that_is_cut_leaves_what_it_has_and_goes_on_from_there(
    runs, recorded, tmp_path, monkeypatch
):
    _, whole = recorded
    path = tmp_path / "runs.json"
    words = ["--quick", "--parts", "iwae", "--out", str(path)]
    evaluated = runs.iwae

    def cut(*arguments, k, **rest):
        if k == 5:
            raise KeyboardInterrupt
        return evaluated(*arguments, k=k, **rest)

    monkeypatch.setattr(runs, "iwae", cut)
    with pytest.raises(KeyboardInterrupt):
        runs.main(words)
    (first,) = json.loads(path.read_text())["iwae"]
    assert first["k"] == 1
    monkeypatch.setattr(runs, "iwae", evaluated)
    assert runs.main(words) == 0
    record = json.loads(path.read_text())
    assert record["iwae"][0] == first  # not run again
    assert [run["k"] for run in record["iwae"]] == [1, 5]
    # On its own or after the other parts, with the same seeds: the same numbers.
    for run, other in zip(record["iwae"], whole["iwae"], strict=True):
        for name in ("log_evidence", "test_elbo", "sampling_error"):
            assert run[name] == pytest.approx(other[name], abs=1e-3)
    assert list(tmp_path.iterdir()) == [path]


def test_what_there_is_no_time_for_or_fails_is_named(runs, tmp_path, monkeypatch, capsys):
    path = tmp_path / "runs.json"
    assert runs.main(["--quick", "--minutes", "0", "--out", str(path)]) == 0
    record = json.loads(path.read_text())
    assert record["left_out"] == [
        *("ladder", "full", "iwae, k = 1, seed 0", "iwae, k = 5, seed 0"),
        *("784-400-20", "convolutional"),
    ]
    assert "full: left out, there was no time for it in 0 minutes" in capsys.readouterr().out

    def fail(*_, **__):
        raise RuntimeError("no luck")

    monkeypatch.setattr(runs, "full", fail)
    assert runs.main(["--quick", "--parts", "full", "--out", str(path)]) == 1
    record = json.loads(path.read_text())
    assert record["failed"] == {"full": "RuntimeError: no luck"}
    both = ("--quick --minutes 0", "--quick --parts full")
    assert record["command"] == "; ".join(f"python benchmarks/runs.py {words}" for words in both)


def test_numbers_of_two_machines_or_sources_are_not_put_together(runs, recorded, tmp_path, capsys):
    _, record = recorded
    path = tmp_path / "runs.json"
    words = ["--quick", "--parts", "full", "--out", str(path)]
    for name, other in (("commit", "0000000"), ("machine", record["machine"] | {"cores": 999})):
        path.write_text(json.dumps(record | {name: other}))
        before = path.read_text()
        assert runs.main(words) == 2
        assert f"holds runs with {name} " in capsys.readouterr().err
        assert path.read_text() == before
    # How busy a machine was is no other machine.
    busy = record["machine"] | {"load_before": 99.0}
    path.write_text(json.dumps(record | {"machine": busy}))
    assert runs.main(words) == 0
    assert json.loads(path.read_text())["ladder"] == record["ladder"]


SHIPPED = sorted((BENCHMARKS.parent / "vaelib" / "course" / "results").glob("runs-*.json"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_ships_was_recorded_whole_and_from_a_clean_tree(path):
    record = course.recorded(path.stem)
    assert path.stem == f"runs-{record['device']}"
    assert record["tree_changed"] is False
    assert record["failed"] == {}
    assert "quick" not in record["command"]
    # All start from the same weights and meet the same images. Even three seeds of one loop lie
    # within 0.7 nats of each other (benchmarks/README.md, compiled), so 1 is another objective.
    elbos = [r["test_elbo"] for r in record["ladder"]["rungs"] if "not_run" not in r]
    assert max(elbos) - min(elbos) < 1
    for run in record["iwae"]:
        assert run["images"] == 10_000
        assert run["samples"] == 5000
        assert run["test_elbo"] < run["log_evidence"]
    seeds = [run["seed"] for run in record["iwae"] if run["k"] == 1]
    assert seeds == [0, 1, 2]


@pytest.mark.soak  # half a minute of training, for numbers that are stored
def test_a_recorded_network_comes_out_again(runs):
    """Trained again, eager and on whatever machine this is: that moves it by up to 1 nat."""
    stored = course.recorded("runs-cpu")["networks"][0]
    again = runs.network(
        stored["name"],
        data.digits(),
        runs.contest.fit("float32", False),
        epochs=stored["epochs"],
        seed=stored["seed"],
        device=torch.device("cpu"),
    )
    assert again["weights"] == stored["weights"]
    assert again["test_elbo"] == pytest.approx(stored["test_elbo"], abs=1.5)
