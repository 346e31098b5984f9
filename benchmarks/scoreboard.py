"""The scoreboard of chapter `train`: what each change of a VAE is worth, in nats and in seconds.

    python benchmarks/scoreboard.py                    all of it, some 40 min on two cores
    python benchmarks/scoreboard.py --parts rates rows     a part, and what it needs
    python benchmarks/scoreboard.py --minutes 20       begin nothing after 20 minutes
    python benchmarks/scoreboard.py --quick            does it run?

`rows.py` says what there is and how it is measured. The parts: rates (range tests, and short
runs that decide), rows, equal (the same seconds), activation, box (what looked promising), prior
(what the chapter once said of one), weights (their mean, the gradients' norms, a clip), start (bad
ones), long (three times as long). Models train on one thread each, two of them at a time.

It is stored in vaelib/course/results/scoreboard.json after each piece. So a run that is cut leaves
what it has made, and the same command goes on from there. --quick stores nothing without --out.
"""

import argparse
import concurrent.futures
import math
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import provenance
import rows
import torch
from rows import RUNS, Rate, Run
from scipy.stats import t as student

PARTS = ("rates", *dict.fromkeys(run.part for run in RUNS.values()))
MEASURES = ("elbo", f"l_{rows.IMPORTANCE}", "seconds", "gap", "active_units")
# Which differences the chapter speaks of: what is worth how much more than what.
COMPARED = (
    ("textbook loop", "textbook loop, 1e-3"),
    ("fit, same seconds", "textbook loop"),
    ("SiLU, batch 64", "fit, same seconds"),
    ("SiLU, batch 64", "SiLU, batch 128"),
    ("SiLU, batch 64", "ReLU, batch 64"),
    ("convolution", "SiLU, batch 64"),
    ("convolution", "MLP for the convolution's seconds"),
    ("convolution", "MLP, batch 128, for the convolution's seconds"),
    ("convolution", "convolution, ReLU"),
    ("convolution", "convolution, ReLU, SiLU's rate"),
    ("two layers", "convolution"),
    ("VampPrior", "convolution"),
    ("VampPrior", "two layers"),
    ("VampPrior, 120 epochs", "convolution, 120 epochs"),
    ("convolution, 120 epochs", "convolution"),
    ("warm-up", "SiLU, batch 64"),
    ("warm-up, convolution", "convolution"),
    ("free bits", "SiLU, batch 64"),
    ("K = 5", "SiLU, batch 64"),
    ("K = 1, the seconds of K = 5", "K = 5"),
    ("old page, VampPrior", "old page"),
    ("old page, SiLU, VampPrior", "old page, SiLU"),
    ("old page, SiLU, VampPrior, 72 epochs", "old page, SiLU, 72 epochs"),
    ("clip 1", "cosine"),
    ("SiLU, batch 64", "spread 1"),
    ("spread 1, warm-up", "spread 1"),
    ("64-D, free bits", "64-D"),
)


class Piece(NamedTuple):
    """Something that is made and stored as a whole: a rate, or one seed of a run."""

    name: str
    seed: int = 0

    @property
    def part(self) -> str:
        """Where it belongs."""
        return RUNS[self.name].part if self.name in RUNS else "rates"

    @property
    def run(self) -> Run:
        """Which model and how it is trained."""
        return RUNS[self.name]

    def needs(self, seeds: Sequence[int]) -> Iterator["Piece"]:
        """What must have been made before: the rate, and the run whose seconds this one has."""
        if self.part == "rates":
            return
        if isinstance(self.run.rate, Rate):
            yield Piece(words(self.run.rate))
        if isinstance(self.run.epochs, str):
            yield from (Piece(self.run.epochs, seed) for seed in its_seeds(self.run.epochs, seeds))


def words(rate: Rate) -> str:
    """By what a rate is known in the record."""
    return f"{rate.model}, batch {rate.batch}: rate"


RATES = {words(run.rate): run.rate for run in RUNS.values() if isinstance(run.rate, Rate)}


def its_seeds(name: str, seeds: Sequence[int]) -> list[int]:
    """Those of a run, as far as they are asked for."""
    return [seed for seed in RUNS[name].seeds if seed in seeds]


def pieces(parts: Sequence[str], seeds: Sequence[int]) -> list[Piece]:
    """All of some parts and what they need, each after what it needs."""
    ordered: dict[Piece, None] = {}

    def add(piece: Piece) -> None:
        for needed in piece.needs(seeds):
            add(needed)
        ordered.setdefault(piece)

    for name in (*RATES, *RUNS):
        if Piece(name).part in parts:
            for seed in [0] if name in RATES else its_seeds(name, seeds):
                add(Piece(name, seed))
    # One seed of everything before the second of anything: a record that is cut is of use.
    ranked = sorted(ordered, key=lambda piece: (piece.seed, PARTS.index(piece.part)))
    return sorted(ranked, key=lambda piece: piece.part != "rates")


def made(record: dict, piece: Piece) -> dict | None:
    """What the record has of it."""
    if piece.part == "rates":
        return record["rates"].get(piece.name)
    found = (one for one in record["runs"].get(piece.name, ()) if one["seed"] == piece.seed)
    return next(found, None)


def inputs(record: dict, piece: Piece, seeds: Sequence[int]) -> dict[str, Any] | None:
    """What a run is given: its rate, and for how long. None if that is not made yet."""
    if piece.part == "rates":
        return {}
    found = [made(record, needed) for needed in piece.needs(seeds)]
    if not all(found):
        return None
    run, given = piece.run, {}
    given["rate"] = found[0]["rate"] if isinstance(run.rate, Rate) else run.rate
    if isinstance(run.epochs, str):
        given["seconds"] = statistics.mean(one["seconds"] for one in found[1:])
    return given


def work(piece: Piece, given: dict[str, Any], size: rows.Sizes) -> dict:
    """In a process of its own: on one thread, so that two do not wait for each other."""
    torch.set_num_threads(1)
    if piece.part == "rates":
        return rows.find_rate(RATES[piece.name], size=size)
    return rows.make(piece.run, seed=piece.seed, size=size, **given)


def store(record: dict, piece: Piece, found: dict) -> None:
    """Put a piece into the record, and make anew what follows from all of them."""
    if piece.part == "rates":
        record["rates"][piece.name] = found
    else:
        runs = record["runs"].setdefault(piece.name, [])
        runs[:] = sorted([*runs, found], key=lambda one: one["seed"])
    record["runs"] = {name: record["runs"][name] for name in RUNS if name in record["runs"]}
    record["table"] = {name: summary(runs) for name, runs in record["runs"].items()}
    record["deviation"] = {name: pooled(record["runs"], name) for name in MEASURES}
    record["compared"] = [
        {"of": of, "with": other, **compare(record["runs"], of, other)}
        for of, other in COMPARED
        if of in record["runs"] and other in record["runs"]
    ]


def values(runs: list[dict], measure: str) -> list[float]:
    """One measure of each seed."""
    return [one[measure] for one in runs]


def summary(runs: list[dict]) -> dict:
    """The means over seeds, and the deviation of one seed where there are several."""
    found: dict[str, Any] = {"seeds": [one["seed"] for one in runs], "weights": runs[0]["weights"]}
    measured = [name for name in MEASURES if name in runs[0]]
    for name in (*measured, "epochs", "best_epoch"):
        found[name] = round(statistics.mean(values(runs, name)), 2)
    for name in measured:
        if len(runs) > 1:
            found[f"{name}_deviation"] = round(statistics.stdev(values(runs, name)), 2)
    return found


def pooled(runs: dict[str, list[dict]], measure: str) -> dict:
    """The standard deviation of one seed, over all runs that have several, each around its mean."""
    several = [
        values(some, measure) for some in runs.values() if len(some) > 1 and measure in some[0]
    ]
    freedom = sum(len(some) - 1 for some in several)
    if not freedom:
        return {"of_one_seed": None, "freedom": 0}
    squares = sum((len(some) - 1) * statistics.variance(some) for some in several)
    return {"of_one_seed": round(math.sqrt(squares / freedom), 3), "freedom": freedom}


def compare(runs: dict[str, list[dict]], of: str, other: str) -> dict:
    r"""Differences of means, and whether seeds alone would make as large ones.

    $$|\bar a - \bar b| \le t_{0.975}\, \sqrt{s_a^2 / n_a + s_b^2 / n_b}$$

    with $n_a + n_b - 2$ degrees of freedom. Where one of the two has a single seed, s is that of
    all runs with several (`pooled`), with its degrees of freedom.

    Returns:
        For each measure that both have ``difference``, ``error`` (the square root) and ``verdict``:
        "more", "less", or "within the seeds' deviation"; None where no run has a second seed.
    """
    found = {}
    for measure in MEASURES:
        if measure not in runs[of][0] or measure not in runs[other][0]:
            continue
        a, b = values(runs[of], measure), values(runs[other], measure)
        difference = statistics.mean(a) - statistics.mean(b)
        if min(len(a), len(b)) > 1:
            error = math.sqrt(sum(statistics.variance(some) / len(some) for some in (a, b)))
            freedom = len(a) + len(b) - 2
        else:
            all_runs = pooled(runs, measure)
            error = (all_runs["of_one_seed"] or 0.0) * math.sqrt(1 / len(a) + 1 / len(b))
            freedom = all_runs["freedom"]
        found[measure] = {
            "difference": round(difference, 2),
            "error": round(error, 2) if freedom else None,
            "verdict": verdict(difference, error, freedom),
        }
    return found


def verdict(difference: float, error: float, freedom: int) -> str | None:
    """What may be said of a difference whose standard error is an estimate."""
    if not freedom:
        return None
    if abs(difference) <= student.ppf(0.975, freedom) * error:
        return "within the seeds' deviation"
    return "more" if difference > 0 else "less"


def go(
    record: dict,
    todo: list[Piece],
    options: argparse.Namespace,
    path: Path | None,
    size: rows.Sizes,
) -> None:
    """Make what is not made yet, some at a time, and store each piece when it has ended."""
    start, running = time.monotonic(), {}
    left = [piece for piece in todo if made(record, piece) is None]
    with workers(options.processes) as pool:
        while left or running:
            late = time.monotonic() - start > 60 * options.minutes
            for piece in [] if late else list(left):
                given = inputs(record, piece, options.seeds)
                if len(running) < options.processes and given is not None:
                    left.remove(piece)
                    running[pool.submit(work, piece, given, size)] = piece
            if not running:
                break
            ended, _ = concurrent.futures.wait(
                running, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in ended:
                finish(record, running.pop(future), future)
                provenance.write(path, record)
    record["left_out"] = [f"{piece.name}, seed {piece.seed}" for piece in left]
    provenance.write(path, record)


def workers(processes: int) -> concurrent.futures.Executor:
    """Processes of their own; for one at a time, this one."""
    if processes == 1:
        return concurrent.futures.ThreadPoolExecutor(1)
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(processes, context)


def finish(record: dict, piece: Piece, future: concurrent.futures.Future) -> None:
    """Store what was found, or why it was not."""
    name = f"{piece.name}, seed {piece.seed}"
    try:
        found = future.result()
    except Exception as error:  # the other pieces must not be lost with this one
        record["failed"][name] = f"{type(error).__name__}: {error}"
        print(f"{name}: FAILED. {record['failed'][name]}", flush=True)
        return
    store(record, piece, found)
    shown = {k: v for k, v in found.items() if not isinstance(v, list | dict)}
    print(name, shown, flush=True)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="some of them (all)")
    add("--seeds", nargs="+", type=int, choices=rows.SEEDS, default=rows.SEEDS, help="some (all)")
    add("--processes", type=int, default=2, help="models that train at a time (2)")
    add("--minutes", type=float, default=float("inf"), help="begin nothing that late")
    add("--quick", action="store_true", help="few images, small networks, one seed: does it run?")
    add("--out", type=Path, metavar="FILE", help="another place to store it")
    options = parser.parse_args(words)
    if options.processes < 1:
        parser.error(f"expected --processes ≥ 1, got {options.processes}")
    if options.quick:
        options.seeds = [0]
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Make what was asked for and is not stored yet."""
    options = arguments(words)
    path = options.out
    if path is None and not options.quick:
        path = provenance.RESULTS / "scoreboard.json"
    origin = provenance.origin("benchmarks/scoreboard.py", rows.CPU)
    origin["machine"]["threads"] = 1  # of each process
    try:
        record = provenance.take_up(path, origin)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    record |= {"failed": {}, "processes": options.processes}
    record["seeds"] = {"test_images": rows.TEST_SEED, "evaluation": rows.NOISE_SEED}
    for name in ("rates", "runs"):
        record.setdefault(name, {})
    size = rows.QUICK if options.quick else rows.WHOLE
    go(record, pieces(options.parts, options.seeds), options, path, size)
    for name in record["left_out"]:
        print(f"{name}: left out")
    return int(bool(record["failed"]))


if __name__ == "__main__":
    sys.exit(main())
