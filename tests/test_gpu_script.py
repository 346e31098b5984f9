"""The script for a GPU, rehearsed on a CPU: what it measures, how it goes on, and that it ends."""

import importlib
import json
import math
import random
import statistics
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vaelib import data, train
from vaelib.data import named

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"
RESULTS = BENCHMARKS.parent / "vaelib" / "course" / "results"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def scripts():
    """The folder of scripts, to be imported from; threads, paths and places stay as they were."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        patch.setenv("VAELIB_DATA", "nowhere")  # a quick run needs no data
        yield lambda name: importlib.import_module(name)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def gpu(scripts):
    return scripts("gpu")


@pytest.fixture(scope="module")
def ladder(scripts):
    return scripts("ladder")


@pytest.fixture(scope="module")
def budget(scripts):
    return scripts("budget")


@pytest.fixture(scope="module")
def rehearsed(gpu, tmp_path_factory):
    """All parts, on random images: where they are stored, and what is there."""
    path = tmp_path_factory.mktemp("gpu") / "gpu.json"
    with warnings.catch_warnings():  # so few steps of so small networks meet no best rate
        warnings.filterwarnings("ignore", message="range_test: the loss was smallest")
        assert gpu.main(["--quick", "--out", str(path)]) == 0
    return path, json.loads(path.read_text())


def test_everything_runs_and_says_where_it_comes_from(gpu, rehearsed):
    _, record = rehearsed
    assert record["command"] == "python benchmarks/gpu.py --quick"
    assert record.keys() >= {"commit", "tree_changed", "device", "machine", "versions", "date"}
    assert record["seeds"] == {"test_images": 1000, "evaluation": 2000}
    assert record["left_out"] == []
    assert record["failed"] == {}
    assert record["machine"]["threads"] == 1
    assert tuple(record["seconds"]) == gpu.PARTS
    assert record.keys() >= {*gpu.PARTS}


def test_the_self_test_has_its_checks_and_a_file_of_tests(rehearsed):
    """The graph needs a GPU; the other checks, and a file of the suite, can be shown anywhere."""
    found = rehearsed[1]["selftest"]
    assert found["checks"].keys() == {"products of float32", "fit and a loop"}
    for check in found["checks"].values():
        assert 0 <= check["got"] <= check["bound"]
    assert found["suite"]["oracles"]["failed"] == []
    assert found["suite"]["oracles"]["tests"] > 0


def test_the_ladder_has_each_rung_with_its_factors_or_is_refused(ladder, rehearsed):
    _, record = rehearsed
    found = record["ladder"]
    ran = {rung["name"]: rung for rung in found["rungs"]}
    assert list(ran)[:2] == ["TensorDataset loop", "fit float32"]
    names = [rung.contender.name for rung in ladder.rungs(eager=True)]
    assert sorted([*ran, *found["refused"]]) == sorted(names)
    for name in ("fit float32 cuda-graph", "fit bfloat16 cuda-graph"):
        assert found["refused"][name].startswith("BadValue: ")
    base = ran["TensorDataset loop"]["seconds_per_epoch"]
    assert len(base) == found["rounds"] == 2
    for rung in (*ran.values(), found["floor"]):
        pairs = zip(base, rung["seconds_per_epoch"], strict=True)
        assert rung["times"] == [a / b for a, b in pairs]
    for rung in ran.values():
        # Random pixels: coin flips would give -784 log 2 = -543.4, and nothing learnt in four
        # steps beats them by much. A KL or a mean over pixels gone wrong is far from it.
        assert -600 < rung["test_elbo"] < -500
    assert found["floor"]["name"] == "products float32"
    assert found["gflop_per_epoch"] == 196.8  # counted by hand in test_benchmarks.py


def test_a_hundred_epochs_by_the_fastest(rehearsed):
    _, record = rehearsed
    rungs = [r for r in record["ladder"]["rungs"] if r["name"] != "TensorDataset loop"]
    medians = {r["name"]: statistics.median(r["seconds_per_epoch"]) for r in rungs}
    found = record["hundred"]
    assert medians[found["name"]] == min(medians.values())
    assert len(found["loss"]) == len(found["seconds_per_epoch"]) == found["epochs"] == 2
    assert sum(found["seconds_per_epoch"]) <= found["seconds"]
    assert -600 < found["test_elbo"] < -500
    first, second = record["goals"]
    assert first["got"] == statistics.median(
        next(r["times"] for r in rungs if r["name"] == found["name"])
    )
    assert second["got"] == found["seconds"]


def test_rows_and_samples_make_the_same_passes(rehearsed):
    _, record = rehearsed
    rows = ["SiLU, batch 64", "convolution", "two layers", "VampPrior"]
    for part, names in (("rows", rows), ("iwae", ["k = 1", "k = 5"])):
        found = record[part]
        assert found["plan"] == {"passes": 2, "kept": names, "left_out": []}
        assert list(found["runs"]) == list(found["trials"]) == names
        for trial in found["trials"].values():
            assert trial["compiled"] is False
            assert trial["refused"] == {}
            assert trial["fixed"] > 0 <= trial["each"]  # a row's is in hundredths of a second
    for name, run in record["rows"]["runs"].items():
        assert run["epochs"] == len(run["history"]) == 2
        assert run["rate"] == record["rows"]["trials"][name]["rate"]
        assert run["l_500"] >= run["elbo"] - 5
    for run in record["iwae"]["runs"].values():
        assert run["passes"] == len(run["seconds_per_pass"]) == 2
        # log p(x) is above the ELBO, in a model of which both are estimated on the same 64 images.
        assert -600 < run["test_elbo"] < run["log_evidence"] < -500
        assert 0 < run["sampling_error"] < run["standard_error"] < 1
        assert 1 <= run["effective_samples"] <= run["samples"] == 20
        assert 0 <= run["active_units"] <= 50


def test_a_run_that_is_cut_leaves_what_it_has_and_goes_on_from_there(
    gpu, scripts, rehearsed, tmp_path, monkeypatch
):
    _, whole = rehearsed
    path, long_runs = tmp_path / "gpu.json", scripts("long_runs")
    words = ["--quick", "--parts", "iwae", "--out", str(path)]
    train_one = long_runs.iwae

    def cut(*arguments, k, measured, **rest):
        if k == 5 and measured == 64:  # no trial
            raise KeyboardInterrupt
        return train_one(*arguments, k=k, measured=measured, **rest)

    monkeypatch.setattr(long_runs, "iwae", cut)
    with pytest.raises(KeyboardInterrupt):
        gpu.main(words)
    first = json.loads(path.read_text())["iwae"]
    assert list(first["runs"]) == ["k = 1"]
    monkeypatch.setattr(long_runs, "iwae", train_one)
    assert gpu.main(words) == 0
    found = json.loads(path.read_text())["iwae"]
    assert found["trials"] == first["trials"]  # not made again, and so the plan is what it was
    assert found["runs"]["k = 1"] == first["runs"]["k = 1"]
    assert list(found["runs"]) == ["k = 1", "k = 5"]
    # On its own or after the other parts, with the same seeds: the same numbers.
    for name, run in found["runs"].items():
        for number in ("log_evidence", "test_elbo", "sampling_error"):
            assert run[number] == pytest.approx(whole["iwae"]["runs"][name][number], abs=1e-3)
    assert list(tmp_path.iterdir()) == [path]


def test_what_there_is_no_time_for_or_fails_is_named(
    gpu, ladder, rehearsed, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "gpu.json"
    assert gpu.main(["--quick", "--minutes", "0", "--out", str(path)]) == 0
    record = json.loads(path.read_text())
    assert {"ladder", "2 epochs", "rows, trial of convolution"} < {*record["left_out"]}
    assert record["iwae"]["runs"] == {}
    assert "ladder: left out" in capsys.readouterr().out
    path.write_text(json.dumps({k: v for k, v in rehearsed[1].items() if k != "hundred"}))

    def fail(*_, **__):
        raise RuntimeError("no luck")

    monkeypatch.setattr(ladder.contest, "train_by_fit", fail)
    assert gpu.main(["--quick", "--parts", "hundred", "--out", str(path)]) == 1
    record = json.loads(path.read_text())
    assert record["failed"] == {"2 epochs": "RuntimeError: no luck"}
    assert record["ladder"] == rehearsed[1]["ladder"]  # what was there is not lost
    both = ("--quick", "--quick --parts hundred")
    assert record["command"] == "; ".join(f"python benchmarks/gpu.py {words}" for words in both)


@pytest.mark.parametrize("broken", ["fit float32 cuda-graph", "products float32"])
def test_what_breaks_is_not_what_is_refused_and_the_rest_is_kept(ladder, monkeypatch, broken):
    """A GPU that cannot do a thing says so by vaelib's own errors; any other is a failure."""
    rungs = [rung.contender.name for rung in ladder.rungs(eager=True)]
    refused = "fit bfloat16 cuda-graph"
    reasons = {broken: "RuntimeError: CUDA error", refused: "Unable: no compiler"}
    ran = {name: [1.0] for name in (*rungs, ladder.FLOOR) if name not in reasons}
    result = ladder.contest.Result(ran, reasons)
    monkeypatch.setattr(ladder.contest, "race", lambda *_, **__: result)
    record = {"failed": {}}
    pieces = ladder.ladder_pieces(record, ladder.contest.noise_images(), CPU, quick=True)
    next(pieces).run(math.inf)
    found = record["ladder"]
    assert record["failed"] == {f"ladder, {broken}": "RuntimeError: CUDA error"}
    assert found["refused"] == {refused: "Unable: no compiler"}
    assert [rung["name"] for rung in found["rungs"]] == [name for name in rungs if name in ran]
    assert (found["floor"] is None) == (broken == ladder.FLOOR)


def test_numbers_of_two_machines_or_sources_are_not_put_together(gpu, rehearsed, tmp_path, capsys):
    _, record = rehearsed
    path = tmp_path / "gpu.json"
    words = ["--quick", "--parts", "ladder", "--out", str(path)]
    for name, other in (("commit", "0000000"), ("machine", record["machine"] | {"cores": 999})):
        path.write_text(json.dumps(record | {name: other}))
        before = path.read_text()
        assert gpu.main(words) == 2
        assert f"holds runs with {name} " in capsys.readouterr().err
        assert path.read_text() == before
    # How busy a machine was is no other machine; and what is there is not measured again.
    busy = record["machine"] | {"load_before": 99.0}
    path.write_text(json.dumps(record | {"machine": busy}))
    assert gpu.main(words) == 0
    assert json.loads(path.read_text())["ladder"] == record["ladder"]


def test_a_rehearsal_is_not_gone_on_with_in_earnest(gpu, scripts, rehearsed, tmp_path, capsys):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(rehearsed[1] | {"kind": "whole"}))
    assert gpu.main(["--quick", "--out", str(path)]) == 2
    assert "holds a whole run" in capsys.readouterr().err


def test_where_a_check_fails_nothing_is_measured(gpu, scripts, tmp_path, monkeypatch, capsys):
    selftest = scripts("selftest")
    monkeypatch.setitem(
        selftest.CHECKS, "fit and a loop", lambda _: {"got": math.nan, "bound": 1e-8}
    )
    monkeypatch.setattr(selftest, "find_spec", lambda _: None)  # and pytest is not here
    path = tmp_path / "gpu.json"
    assert gpu.main(["--quick", "--out", str(path)]) == 1
    record = json.loads(path.read_text())
    assert "off by nan" in record["failed"]["self-test, fit and a loop"]
    assert "ladder" not in record
    assert record["left_out"] == ["self-test, files of tests: pytest is not installed here"]
    assert "nothing is measured" in capsys.readouterr().out


def test_tf32_and_another_step_are_seen(scripts, monkeypatch):
    """Products of 11 bits, and a fit with a weight that is off by 1e-7, are no accident."""
    selftest = scripts("selftest")
    found = selftest.float32_products(CPU)
    assert found["got"] < found["bound"]
    product = torch.Tensor.__matmul__

    def tf32(left, right):
        if left.dtype == torch.float32:  # the mantissa's last 13 of 23 bits are dropped
            left, right = (
                (t.view(torch.int32) & ~0x1FFF).view(torch.float32) for t in (left, right)
            )
        return product(left, right)

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "__matmul__", tf32)
        found = selftest.float32_products(CPU)
    assert found["got"] > found["bound"]
    same = selftest.contest.fit("float32", False)

    def off(model, pixels, **rest):
        same.train(model, pixels, **rest)
        with torch.no_grad():
            next(model.parameters()).view(-1)[0] += 1e-7

    found = selftest.apart(same, selftest.contest.Contender("off", off), CPU)
    assert found["got"] > found["bound"]


@pytest.mark.parametrize("seed", range(50))
def test_the_budget_is_never_exceeded(budget, seed):
    """Of random parts and costs: whatever was used before, all that is planned fits.

    What a trial has measured may take a tenth longer, and a part that is not planned uses any share
    of its time. Nor is time given away: one pass more would not have fitted.
    """
    draw = random.Random(seed)
    end, now = 60 * draw.choice([0.0, 0.5, 7.5, 9.0]), 0.0
    parts = [part for part in budget.WEIGHTS if draw.random() < 0.8] or ["iwae"]
    for number, part in enumerate(parts):
        until = budget.deadline(part, parts[number:], end=end, now=now)
        assert now <= until <= end + 1e-9
        now += draw.random() * (until - now)  # all of it, or the trials
        if part not in ("rows", "iwae"):
            continue
        each = [(30 * draw.random(), 2 * draw.random()) for _ in range(draw.randint(1, 4))]
        costs = [budget.Cost(str(name), *cost) for name, cost in enumerate(each)]
        least, most = draw.randint(1, 20), draw.randint(20, 400)
        found = budget.plan(costs, until - now, least=least, most=most)
        assert sorted([*found.kept, *found.left_out]) == [cost.name for cost in costs]
        kept = [cost for cost in costs if cost.name in found.kept]

        def ends(passes, now=now, kept=kept):
            return now + budget.MARGIN * sum(cost.fixed + passes * cost.each for cost in kept)

        assert not kept or least <= found.passes <= most
        assert not kept or found.passes == most or ends(found.passes + 1) > until - 1e-9
        now = ends(found.passes)
        assert now <= until + 1e-9
    assert now <= end + 1e-9


def test_the_last_part_may_use_all_that_is_left(budget):
    assert budget.deadline("iwae", ["iwae"], end=450.0, now=200.0) == 450.0
    assert budget.deadline("ladder", ["ladder"], end=math.inf, now=0.0) == math.inf
    assert sum(budget.WEIGHTS.values()) == 450  # seven and a half minutes
    assert budget.deadline("selftest", list(budget.WEIGHTS), end=450.0, now=0.0) == 90.0
    assert budget.deadline("iwae", ["iwae"], end=450.0, now=460.0) == 460.0  # no time, not less


def test_the_dearest_is_left_out_first(budget):
    """Ten seconds for 5 passes or more: 9.09 with the reserve."""
    costs = [budget.Cost("k = 1", 1.0, 0.1), budget.Cost("k = 50", 2.0, 2.0)]
    assert budget.plan(costs, 10.0, least=5, most=100) == (80, ["k = 1"], ["k = 50"])
    assert budget.plan(costs, 20.0, least=5, most=100) == (7, ["k = 1", "k = 50"], [])
    assert budget.plan(costs, 1.0, least=5, most=100) == (0, [], ["k = 1", "k = 50"])
    assert budget.plan(costs, math.inf, least=5, most=100).passes == 100


def test_a_part_that_takes_too_long_takes_it_from_those_after_it(gpu, monkeypatch):
    """On a clock that only pieces move: each part is given its share of what is left."""
    now, given = [0.0], {}

    def maker(part, takes, expected=0.0):
        def pieces(record, images, device, *, quick):
            def run(seconds):
                given[part] = seconds
                now[0] += takes

            yield gpu.budget.Piece(part, part, expected, run)
            yield gpu.budget.Piece(part, f"{part} again", 1e6, run)

        return pieces

    takes = {"ladder": 300.0, "hundred": 5.0, "rows": 50.0, "iwae": 1.0}
    monkeypatch.setattr(gpu, "makers", lambda: {p: maker(p, s) for p, s in takes.items()})
    options = SimpleNamespace(parts=list(takes), minutes=7.5, quick=True, out=None)
    record = {}
    gpu.go(record, options, None, CPU, clock=lambda: now[0])
    assert given["ladder"] == pytest.approx(450 * 140 / 360)
    assert given["hundred"] == pytest.approx(150 * 25 / 220)
    assert given["rows"] == pytest.approx(145 * 95 / 195)
    assert given["iwae"] == pytest.approx(95)
    assert record["seconds"] == takes
    assert record["left_out"] == [f"{part} again" for part in takes]


def test_a_race_begins_no_round_that_would_end_too_late(ladder, monkeypatch):
    """Rounds of 2 x 10 s, the untimed first one too: three of them end at 60 s, a fourth at 80."""
    contest, clock = ladder.contest, [0.0]
    monkeypatch.setattr(contest, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    def run(model, pixels, *, epochs, seed, after_epoch):
        for _ in range(epochs):
            clock[0] += 10.0
            after_epoch()

    pixels = torch.zeros(60_000, 1, dtype=torch.uint8)

    def rounds(seconds):
        clock[0] = 0.0
        result = contest.race(
            [contest.Contender("a", run)],
            contest.example,
            pixels,
            rounds=5,
            device=CPU,
            seconds=seconds,
        )
        assert set(result.seconds["a"]) == {10.0}
        return len(result.seconds["a"])

    assert [rounds(s) for s in (0.0, 59.0, 60.0, 79.0, math.inf)] == [1, 1, 2, 2, 5]


class Device:
    """A GPU with a queue: what is asked for ends later, and the processor waits only if told to."""

    def __init__(self):
        self.host = self.busy_until = 0.0

    def launch(self, seconds):
        self.host += 1e-5
        self.busy_until = max(self.busy_until, self.host) + seconds

    def event(self):
        device = self

        class Event:
            def __init__(self, enable_timing):
                assert enable_timing
                self.waited = False

            def record(self):
                self.at = max(device.busy_until, device.host)

            def synchronize(self):
                self.waited = True
                device.host = max(device.host, self.at)

            def elapsed_time(self, other):
                if not (self.waited and other.waited):
                    raise RuntimeError("both events must be completed")
                return 1000 * (other.at - self.at)

        return Event


def test_a_graph_is_timed_until_it_has_ended(ladder, monkeypatch):
    """Asked for in 10 µs, computed in 2 s: 2 s are what is noted, and nothing is left running."""
    device = Device()
    monkeypatch.setattr(torch.cuda, "Event", device.event())
    clock = SimpleNamespace(perf_counter=lambda: device.host)
    monkeypatch.setattr(ladder.contest, "time", clock)
    watch = ladder.contest.Stopwatch(torch.device("cuda"))
    for seconds in (2.0, 3.0):
        device.launch(seconds)
        watch.lap()
        assert device.host >= device.busy_until
    assert watch.laps == pytest.approx([2.0, 3.0], abs=1e-4)


def test_all_rungs_train_on_the_same_batches(ladder):
    """In rows and in values: of 200 images 128 and then 72, each image once an epoch, 0 or 1.

    The images are told apart by how many of their pixels are 255; their other pixels are 0, so
    that binarizing changes nothing.
    """
    pixels = torch.zeros(200, 784, dtype=torch.uint8)
    for number, row in enumerate(pixels):
        row[: number + 1] = 255
    names = []
    for rung in ladder.rungs(eager=True):
        seen = []
        model = ladder.contest.example(seed=0)
        model.encoder.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0]))
        training = []
        model.encoder.register_forward_hook(
            lambda *_, model=model, training=training: training.append(torch.is_grad_enabled())
        )
        try:
            rung.contender.train(model, pixels, epochs=2, seed=3, after_epoch=lambda: None)
        except ValueError:
            continue  # refused here
        names.append(rung.contender.name)
        steps = [x for x, learns in zip(seen, training, strict=True) if learns]
        assert [len(x) for x in steps] == [128, 72] * 2, rung.contender.name
        for epoch in (steps[:2], steps[2:]):
            ones = torch.cat(epoch).sum(-1).sort().values
            assert torch.equal(ones, torch.arange(1, 201.0)), rung.contender.name
    assert names[:2] == ["TensorDataset loop", "fit float32"]


def test_all_rungs_learn_at_the_same_rate(ladder):
    """At the first step Adam moves a weight by the rate, 1e-3, times |g| / (|g| + ε), ε = 1e-8.

    So of each tensor the weight that is moved most, of |g| above 1e-6, tells the rate to 1 %.
    """
    pixels = torch.full((128, 784), 255, dtype=torch.uint8)
    moved = {}
    for rung in ladder.rungs(eager=True)[:2]:
        model = ladder.contest.example(seed=ladder.SEED)
        before = [p.detach().clone() for p in model.parameters()]
        rung.contender.train(model, pixels, epochs=1, seed=0, after_epoch=lambda: None)
        steps = [(p - b).abs().max() for p, b in zip(model.parameters(), before, strict=True)]
        moved[rung.contender.name] = torch.stack(steps)
    for steps in moved.values():
        torch.testing.assert_close(steps, torch.full_like(steps, 1e-3), rtol=1e-2, atol=0)


def test_the_rows_are_compiled_as_they_were_tried(scripts, monkeypatch):
    """A graph is tried first; what cannot be recorded is trained as it is, and the reason kept."""
    long_runs, asked = scripts("long_runs"), []
    fit = train.fit

    def spy(*arguments, **options):
        asked.append(options["compile"])
        if options["compile"]:
            raise ValueError("fit: no graph here")
        return fit(*arguments, **options)

    monkeypatch.setattr(long_runs, "modes", lambda device, *, quick: ["cuda-graph", False])
    monkeypatch.setattr(long_runs.rows, "find_rate", lambda *_, **__: {"rate": 1e-3})
    monkeypatch.setattr(train, "fit", spy)
    monkeypatch.setattr(long_runs, "ROWS", ["SiLU, batch 64"])
    record = {"left_out": []}
    for piece in long_runs.row_pieces(record, None, CPU, quick=True):
        piece.run(math.inf)
    trial = record["rows"]["trials"]["SiLU, batch 64"]
    assert trial["compiled"] is False
    assert trial["refused"] == {"cuda-graph": "ValueError: fit: no graph here"}
    assert asked == ["cuda-graph", False, False]


def test_the_ladder_of_a_graph_is_climbed_on_a_gpu(scripts, ladder):
    names = [rung.contender.name for rung in ladder.rungs()]
    assert len(set(names)) == 7
    assert [name for name in names if "cuda-graph" in name] == names[-2:]
    long_runs = scripts("long_runs")
    assert long_runs.modes(torch.device("cuda"), quick=False) == ["cuda-graph", False]
    assert long_runs.modes(CPU, quick=False) == [True, False]


def test_a_machine_without_a_gpu_or_a_package_is_told_what_to_do(gpu, scripts, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 2
    assert "--quick rehearses on the CPU" in capsys.readouterr().err
    carry = scripts("carry")
    find = carry.importlib.util.find_spec
    missing = ("numpy", "jaxtyping")
    monkeypatch.setattr(
        carry.importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    assert gpu.main(["--quick"]) == 2
    numpy, jaxtyping = capsys.readouterr().err.splitlines()
    assert numpy == "numpy is not installed here: pip install numpy"
    assert jaxtyping.startswith(
        "jaxtyping is not installed here: pip install jaxtyping, or python "
    )


def test_a_pack_has_all_that_is_needed(scripts, tmp_path, monkeypatch, capsys):
    """Source, images that come back byte for byte, and packages that Python can import from it."""
    carry, images = scripts("carry"), scripts("contest").noise_images()
    monkeypatch.setattr(data, "fashion_mnist", lambda: images)
    monkeypatch.setattr(carry, "CARRIED", ("iniconfig", "numpy"))
    folder = tmp_path / "bare"
    carry.pack(folder)
    assert "numpy: is compiled for this machine" in capsys.readouterr().out
    assert (folder / "benchmarks" / "gpu.py").exists()
    assert (folder / "tests" / "test_gpu.py").exists()
    assert (folder / "vaelib" / "digits.npz").exists()
    assert not (folder / "tests" / "browser").exists()
    packed = folder / "packed"
    for name, values in zip(carry.IDX, images, strict=False):
        content = carry.gzip.decompress(
            (packed / "fashion-mnist" / f"{name}-ubyte.gz").read_bytes()
        )
        read = named._read_idx(content)
        assert read.dtype == np.uint8
        assert np.array_equal(read.reshape(values.shape), values)
        assert read.shape[1:] == ((28, 28) if values.ndim == 2 else ())
    assert [p.name for p in (packed / "site").iterdir() if p.suffix != ".dist-info"] == [
        "iniconfig"
    ]
    assert {f"{name}-ubyte" for name in carry.IDX} == set(named._FILES)
    with pytest.raises(FileExistsError, match="choose another folder"):
        carry.pack(folder)
    # There: where it comes from is known, and that somebody changed it.
    monkeypatch.setattr(carry, "ROOT", folder)
    monkeypatch.setattr(carry, "PACKED", packed)
    about = json.loads((packed / "origin.json").read_text())
    assert carry.origin() == {"commit": about["commit"], "tree_changed": about["tree_changed"]}
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delenv("VAELIB_DATA", raising=False)
    carry.unpack()
    assert str(folder) in sys.path
    assert sys.path[-1] == str(packed / "site")
    assert carry.os.environ["VAELIB_DATA"] == str(packed / "fashion-mnist")
    script = folder / "benchmarks" / "ladder.py"
    script.write_text(script.read_text() + "\n")
    assert carry.origin()["tree_changed"] is True


def test_without_the_images_one_line_says_how_to_bring_them(gpu, tmp_path, monkeypatch, capsys):
    def refuse():
        raise ConnectionError("in none of four places")

    monkeypatch.setattr(data, "fashion_mnist", refuse)
    path = tmp_path / "ladder.json"
    words = ["--device", "cpu", "--parts", "ladder", "--out", str(path)]
    assert gpu.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Fashion-MNIST is not here: give its folder by --fashion FOLDER")
    assert not path.exists()


def test_what_ships_was_recorded_whole_and_from_a_clean_tree(ladder):
    """All start from the same weights and meet the same images.

    Even three seeds of one loop lie within 0.7 nats of each other (benchmarks/README.md, compiled),
    so 1 is another objective. Nothing is faster than its own products.
    """
    for path in (RESULTS / "ladder.json", RESULTS / "gpu.json"):
        if not path.exists():  # not recorded on such a machine
            continue
        record = json.loads(path.read_text())
        assert record["kind"] == "whole"
        assert record["tree_changed"] is False
        assert record["failed"] == {}
        assert record["device"] == {"ladder": "cpu", "gpu": "cuda"}[path.stem]
        found = record["ladder"]
        sizes = ladder.SIZES[record["device"]]
        assert (found["images"], found["epochs"]) == (sizes.images, sizes.epochs)
        names = [rung.contender.name for rung in ladder.rungs()]
        ran = [rung["name"] for rung in found["rungs"]]
        assert sorted([*ran, *found["refused"]]) == sorted(names)
        elbos = [rung["test_elbo"] for rung in found["rungs"]]
        assert max(elbos) - min(elbos) < 1
        medians = {r["name"]: statistics.median(r["times"]) for r in found["rungs"]}
        assert medians["fit float32"] > 1
        assert medians["fit float32 compiled"] < statistics.median(found["floor"]["times"])
