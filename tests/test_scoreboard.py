"""The scoreboard: what it says follows from what was measured, and what chooses is not the test."""

import argparse
import importlib
import json
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from vaelib import data, train
from vaelib.course import recorded

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(scope="module")
def scoreboard():
    sys.path.insert(0, str(BENCHMARKS))
    return importlib.import_module("scoreboard")


@pytest.fixture(scope="module")
def rows(scoreboard):
    return scoreboard.rows


@pytest.fixture(scope="module")
def quick(scoreboard, tmp_path_factory):
    """Everything in small, as --quick runs it."""
    path = tmp_path_factory.mktemp("scoreboard") / "quick.json"
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():  # so few steps of so small networks meet no best rate
            warnings.filterwarnings("ignore", message="range_test: the loss was smallest")
            code = scoreboard.main(["--quick", "--processes", "1", "--out", str(path)])
    finally:
        torch.set_num_threads(threads)
    assert code == 0
    return json.loads(path.read_text())


def test_everything_runs(scoreboard, rows, quick):
    assert quick["failed"] == {}
    assert quick["left_out"] == []
    assert list(quick["runs"]) == list(rows.RUNS)
    assert quick["rates"].keys() == scoreboard.RATES.keys()
    assert {(one["of"], one["with"]) for one in quick["compared"]} == set(scoreboard.COMPARED)
    assert quick.keys() >= {"command", "commit", "device", "versions", "date", "machine", "seeds"}
    for name, runs in quick["runs"].items():
        (one,) = runs
        assert {"elbo", "gap", "seconds", "weights", "active_units"} <= one.keys()
        assert ("l_500" in one) == rows.RUNS[name].importance
        assert one.get("l_500", 0.0) >= one["elbo"] - 5
        assert len(one["history"]) == one["epochs"] == 1
        assert ("norm" in one) == ("averaged" in one) == rows.RUNS[name].watched
    for found in quick["rates"].values():
        assert found["proposal"] == pytest.approx(found["minimum"] / 2, rel=0.06)
        tried = {one["rate"]: one["elbo"] for one in found["tried"]}
        assert found["rate"] == max(tried, key=tried.get)
        assert list(tried) == sorted(tried, reverse=True)
        for share in (1, 2, 4):
            assert min(abs(rate * share / found["proposal"] - 1) for rate in tried) < 0.06
        inside = min(tried) < found["rate"] < max(tried)  # the best is not at an edge
        assert inside or len(tried) == 3 + rows.FURTHER
        assert len(found["rates"]) == len(found["losses"]) <= rows.QUICK.steps


def test_every_row_is_trained_at_a_rate_that_was_found_for_it(rows, quick):
    """The exceptions are those that were published so: a tutorial's, and the old page's."""
    for name, run in rows.RUNS.items():
        if isinstance(run.rate, rows.Rate):
            found = quick["rates"][f"{run.rate.model}, batch {run.rate.batch}: rate"]
            assert quick["runs"][name][0]["rate"] == found["rate"]
            assert run.rate.batch == run.batch or run.loop == "textbook"
        else:
            assert name.startswith(("textbook loop, 1e-3", "old page"))


def follows(record):
    """Means, deviations, differences and verdicts, computed again with NumPy and SciPy."""
    measures = ("elbo", "l_500", "seconds", "gap", "active_units")
    its = {
        name: {m: np.array([one[m] for one in runs]) for m in measures if m in runs[0]}
        for name, runs in record["runs"].items()
    }
    for name, row in record["table"].items():
        for m in its[name]:
            assert row[m] == pytest.approx(its[name][m].mean(), abs=0.006)
            if len(its[name][m]) > 1:
                assert row[f"{m}_deviation"] == pytest.approx(its[name][m].std(ddof=1), abs=0.006)
    for m in measures:
        several = [found for found in its.values() if len(found.get(m, ())) > 1]
        freedom = sum(len(found[m]) - 1 for found in several)
        assert record["deviation"][m]["freedom"] == freedom
        if freedom:
            squares = sum(((found[m] - found[m].mean()) ** 2).sum() for found in several)
            expected = (squares / freedom) ** 0.5
            assert record["deviation"][m]["of_one_seed"] == pytest.approx(expected, abs=6e-4)
    for one in record["compared"]:
        both = its[one["of"]].keys() & its[one["with"]].keys()
        assert one.keys() - {"of", "with"} == both
        for m in both:
            a, b = its[one["of"]][m], its[one["with"]][m]
            assert one[m]["difference"] == pytest.approx(a.mean() - b.mean(), abs=0.006)
            if len(a) == len(b) > 1 and min(a.var(), b.var()) > 1e-12:
                p = stats.ttest_ind(a, b).pvalue
                if abs(p - 0.05) > 1e-6:
                    assert (one[m]["verdict"] == "within the seeds' deviation") == (p > 0.05)


def made_up(scoreboard, numbers):
    """A record of runs that nobody trained: for each name its seeds' numbers."""
    record = {"rates": {}, "runs": {}}
    for name, each in numbers.items():
        for seed, number in enumerate(each):
            found = dict.fromkeys(scoreboard.MEASURES, number)
            found |= {"seed": seed, "weights": 1, "epochs": 1, "best_epoch": 1}
            scoreboard.store(record, scoreboard.Piece(name, seed), found)
    return record


@pytest.mark.parametrize("seed", range(20))
def test_what_follows_from_runs(scoreboard, seed):
    """A fifth of an accident is called more or less, and what is really apart is."""
    draw = np.random.default_rng(seed)
    shifts = draw.choice([0.0, 0.3, 1.0, 5.0], 4)
    names = ("fit, same seconds", "textbook loop", "SiLU, batch 64", "convolution")
    numbers = {n: draw.normal(-100 + s, 0.5, 3) for n, s in zip(names, shifts, strict=True)}
    record = made_up(scoreboard, numbers)
    assert len(record["compared"]) == 3
    follows(record)


def test_a_difference_within_the_seeds_is_called_so(scoreboard):
    """The bound of t for 4 degrees of freedom is 2.776 errors."""
    spread = np.array([-0.5, 0.0, 0.5])
    error = 0.5 * (2 / 3) ** 0.5
    for factor, expected in (
        (2.7, "within the seeds' deviation"),
        (-2.7, "within the seeds' deviation"),
        (2.8, "more"),
        (-2.8, "less"),
    ):
        numbers = {"textbook loop": spread, "fit, same seconds": spread + factor * error}
        (one,) = made_up(scoreboard, numbers)["compared"]
        assert one["elbo"]["verdict"] == expected
        assert one["elbo"]["error"] == round(error, 2)


def test_one_seed_says_nothing(scoreboard):
    """Unless others have told what a seed is worth; then by their deviation."""
    alone = {"64-D": [-100.0], "64-D, free bits": [-110.0]}
    (one,) = made_up(scoreboard, alone)["compared"]
    assert one["elbo"] == {"difference": -10.0, "error": None, "verdict": None}
    others = {"convolution": [-1.0, 0.0, 1.0], "warm-up": [4.0, 5.0, 6.0]}
    (one,) = made_up(scoreboard, alone | others)["compared"]
    assert one["elbo"] == {"difference": -10.0, "error": 1.41, "verdict": "less"}
    (one,) = made_up(scoreboard, {"64-D": [0.0], "64-D, free bits": [3.0]} | others)["compared"]
    assert one["elbo"]["verdict"] == "within the seeds' deviation"  # 2.776 * 1.41 = 3.93


def test_a_run_that_is_cut_goes_on(scoreboard, rows, monkeypatch):
    """What is stored is not made again, what failed is, each after what it needs."""
    asked = []
    broken = scoreboard.Piece("convolution", 1)

    def work(piece, given, size):
        asked.append(piece)
        if piece == broken:
            raise RuntimeError("out of luck")
        if piece.part == "rates":
            return {"rate": 0.5 + len(asked)}
        assert given["rate"] == (
            record["rates"][scoreboard.words(piece.run.rate)]["rate"]
            if isinstance(piece.run.rate, rows.Rate)
            else piece.run.rate
        )
        if isinstance(piece.run.epochs, str):
            seeds = rows.RUNS[piece.run.epochs].seeds
            assert given["seconds"] == pytest.approx(10 + np.mean(seeds))
        found = dict.fromkeys(scoreboard.MEASURES, 0.0) | {"seconds": 10.0 + piece.seed}
        return found | {"seed": piece.seed, "weights": 1, "epochs": 1, "best_epoch": 1}

    monkeypatch.setattr(scoreboard, "work", work)
    todo = scoreboard.pieces(scoreboard.PARTS, rows.SEEDS)
    options = argparse.Namespace(processes=1, minutes=1.0, seeds=rows.SEEDS)
    record = {"rates": {}, "runs": {}, "failed": {}}
    scoreboard.go(record, todo, options, None, rows.QUICK)
    assert sorted(asked) == sorted(set(asked))  # each once
    later = scoreboard.Piece("MLP for the convolution's seconds", 0)
    assert later not in asked  # it needs the seconds of all seeds
    assert record["failed"] == {"convolution, seed 1": "RuntimeError: out of luck"}
    assert f"{later.name}, seed 0" in record["left_out"]
    asked.clear()
    broken = None
    record["failed"] = {}
    scoreboard.go(record, todo, options, None, rows.QUICK)
    needed = [n for n, run in rows.RUNS.items() if run.epochs == "convolution"]
    assert later.name in needed
    seeds = {scoreboard.Piece(name, seed) for name in needed for seed in rows.SEEDS}
    assert asked[0] == scoreboard.Piece("convolution", 1)
    assert sorted(asked[1:]) == sorted(seeds)
    assert record["left_out"] == []
    total = len(scoreboard.RATES) + sum(len(run.seeds) for run in rows.RUNS.values())
    assert len(todo) == total
    asked.clear()
    scoreboard.go(record, todo, options, None, rows.QUICK)
    assert asked == []


def test_nothing_begins_when_the_time_is_over(scoreboard, rows):
    record = {"rates": {}, "runs": {}, "failed": {}}
    options = argparse.Namespace(processes=1, minutes=0.0, seeds=[0])
    todo = scoreboard.pieces(["prior"], [0])
    scoreboard.go(record, todo, options, None, rows.QUICK)
    assert record["runs"] == {}
    assert len(record["left_out"]) == len(todo) == 6


def test_a_part_brings_what_it_needs(scoreboard):
    names = [piece.name for piece in scoreboard.pieces(["equal"], [0])]
    assert names.index("MLP, batch 64: rate") < names.index("SiLU, batch 64")
    assert names.index("SiLU, batch 64") < names.index("SiLU, batch 128")
    assert "VampPrior" not in names


def test_the_test_images_choose_nothing(rows, monkeypatch):
    """Neither a rate nor an epoch, and nothing learns from them or from what chooses."""
    calls = []
    fit, test = train.fit, train.range_test

    def spy(real):
        def called(model, pixels, **options):
            calls.append((pixels, options.get("validation")))
            return real(model, pixels, **options)

        return called

    monkeypatch.setattr(train, "fit", spy(fit))
    monkeypatch.setattr(train, "range_test", spy(test))
    images = rows.digits(rows.QUICK)
    found = rows.find_rate(rows.Rate("MLP"), size=rows.QUICK)
    rows.make(rows.RUNS["SiLU, batch 64"], seed=0, rate=1e-3, size=rows.QUICK)
    assert len(calls) == 1 + len(found["tried"]) + 1
    for pixels, validation in calls:
        assert torch.equal(pixels, images.train)
        assert validation is None or torch.equal(validation, images.validation)
    assert calls[0][1] is None  # the range test looks at its own steps only
    assert all(validation is not None for _, validation in calls[1:])
    whole = data.digits(validation=1_000)
    assert torch.equal(images.test, whole.test[: rows.QUICK.images])
    assert torch.equal(rows.digits(rows.WHOLE).test, data.digits().test)


def test_the_same_epochs_end_at_the_same_place(rows):
    """A seed is a seed: weights, order, binarization and noise follow from it."""
    run = rows.RUNS["SiLU, batch 64"]
    first, again = (rows.make(run, seed=1, rate=1e-3, size=rows.QUICK) for _ in range(2))
    other = rows.make(run, seed=2, rate=1e-3, size=rows.QUICK)
    timed = ("seconds", "history")
    assert {k: v for k, v in first.items() if k not in timed} == {
        k: v for k, v in again.items() if k not in timed
    }
    assert first["elbo"] != other["elbo"]


def test_watching_changes_nothing(rows):
    """A mean of weights beside the run, and the gradients' lengths: the run is what it was."""
    plain = rows.make(rows.RUNS["convolution"], seed=0, rate=1e-3, size=rows.QUICK)
    watched = rows.make(rows.RUNS["cosine"], seed=0, rate=1e-3, size=rows.QUICK)
    assert watched["elbo"] == plain["elbo"]
    assert len(watched["norm"]["steps"]) == 1
    assert watched["norm"]["largest"] == watched["norm"]["steps"][0] > 0


@pytest.fixture(scope="module")
def stored():
    return recorded("scoreboard")


def test_the_stored_record_is_whole_and_follows(scoreboard, rows, stored):
    """Every seed of every run, of one commit, and no difference that was not computed from them."""
    assert stored["failed"] == {}
    assert stored["left_out"] == []
    assert stored["tree_changed"] is False
    assert stored["rates"].keys() == scoreboard.RATES.keys()
    seeds = {name: tuple(one["seed"] for one in runs) for name, runs in stored["runs"].items()}
    assert seeds == {name: run.seeds for name, run in rows.RUNS.items()}
    assert [(one["of"], one["with"]) for one in stored["compared"]] == [*scoreboard.COMPARED]
    follows(stored)


def test_the_stored_runs_are_what_rows_says(rows, stored):
    """Weights, epochs and rates; of a run that has another's seconds, the epochs it counted."""
    for name, runs in stored["runs"].items():
        row = rows.RUNS[name]
        model = rows.build(row.model, seed=0, size=rows.WHOLE, device=torch.device("cpu"))
        for one in runs:
            assert one["weights"] == sum(p.numel() for p in model.parameters())
            assert one["epochs"] == (row.epochs if isinstance(row.epochs, int) else one["epochs"])
            assert len(one["history"]) == one["epochs"] >= one["best_epoch"]
            if isinstance(row.rate, rows.Rate):
                found = stored["rates"][f"{row.rate.model}, batch {row.rate.batch}: rate"]
                assert one["rate"] == found["rate"]


def test_the_same_seconds_are_the_same(rows, stored):
    """The epochs of a run that has another's seconds are planned by two of its own.

    A plan is a whole number of epochs; and processors are shared, so a quarter may be lost or won.
    """
    for name, runs in stored["runs"].items():
        other = rows.RUNS[name].epochs
        if isinstance(other, str):
            mean = np.mean([one["seconds"] for one in stored["runs"][other]])
            for one in runs:
                assert 0.75 < one["seconds"] / mean < 1.33, (name, one["seed"])
