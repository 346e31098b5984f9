"""The scoreboard's rows, and IWAE, for as many passes over the data as there is time for.

Each run is tried first, for a few passes: that says what a pass costs, and what compiling and
measuring cost in any case. From these follows how many passes all runs of a part can make, the
same number for each, so that they can be compared (`budget.plan`).
"""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import budget
import contest
import paper
import rows
import torch
from budget import Cost, Piece

from vaelib import data, evaluate

SEED = 0
TRIED = 3  # passes of a trial; the first compiles, so it does not count
# Those that `fit` trains, for a number of epochs and not for another's seconds.
ROWS = [
    name
    for name, run in rows.RUNS.items()
    if run.part == "rows" and run.loop == "fit" and isinstance(run.epochs, int)
]


class Effort(NamedTuple):
    """How much is done: passes at least and at most, and of IWAE what is measured, and how."""

    row_passes: tuple[int, int]
    iwae_passes: tuple[int, int]  # the paper makes 3,280, ten million steps
    ks: tuple[int, ...] = (1, 5, 50)
    images: int = 10_000
    samples: int = 5_000
    at_once: int = 25  # samples in memory
    batch_size: int = 100  # and images
    size: rows.Sizes = rows.WHOLE
    row_tried: int = 12  # passes of its trial, each of hundredths of a second on a GPU


EFFORTS = {
    "cuda": Effort((40, 400), (5, 3_280), at_once=500, batch_size=500),
    "cpu": Effort((40, 400), (5, 80)),
    "quick": Effort((2, 2), (2, 2), (1, 5), 64, 20, 10, 64, rows.QUICK, 3),
}


def modes(device: torch.device, *, quick: bool) -> list[bool | str]:
    """What to try as ``compile`` of `train.fit`, the fastest first."""
    if quick:
        return [False]
    return ["cuda-graph", False] if device.type == "cuda" else [True, False]


def first_that_runs(tried: Sequence[bool | str], run: Callable[[bool | str], Any]) -> dict:
    """What a function returns in the first mode in which it works, and why not in those before."""
    refused = {}
    for mode in tried:
        try:
            forget(mode)
            if mode == "cuda-graph":
                # Compiling takes longer than a trial. What it leaves on disk serves the run itself,
                # so the second time says what that will cost.
                run(mode)
                forget(mode)
            return {"compiled": mode, **run(mode), "refused": refused}
        except Exception as error:  # a graph that cannot be recorded, say
            refused[str(mode)] = f"{type(error).__name__}: {error}"
    raise RuntimeError("; ".join(f"compile={mode}: {why}" for mode, why in refused.items()))


def forget(mode: bool | str) -> None:
    """What was compiled for another network: it counts towards a limit of torch's."""
    if mode:
        torch.compiler.reset()


def pieces(
    part: str,
    record: dict[str, Any],
    names: Sequence[str],
    passes: tuple[int, int],
    attempt: Callable[[str], dict],
    make: Callable[[str, int, dict], dict],
) -> Iterator[Piece]:
    """Trials, the plan that follows from them, and the runs.

    Args:
        part: of the record, which gets ``trials``, ``plan`` and ``runs``.
        record: of all that there is.
        names: of the runs.
        passes: at least and at most.
        attempt: makes the trial of a run, with ``fixed`` and ``each``, its costs in seconds.
        make: makes the run with so many passes, as its trial says.
    """
    mine = record.setdefault(part, {"trials": {}, "plan": None, "runs": {}})

    def trial(name: str, _: float) -> None:
        mine["trials"][name] = attempt(name)

    def plan(seconds: float) -> None:
        costs = [Cost(name, t["fixed"], t["each"]) for name, t in mine["trials"].items()]
        found = budget.plan(costs, seconds, least=passes[0], most=passes[1])
        if found.kept:  # else another call, with more time, shall plan again
            mine["plan"] = found._asdict()
        print(f"{part}: {found.passes} passes for {', '.join(found.kept) or 'none'}")
        record["left_out"] += [f"{part}, {name}" for name in found.left_out]

    def run(name: str, _: float) -> None:
        forget(mine["trials"][name]["compiled"])
        made = make(name, mine["plan"]["passes"], mine["trials"][name])
        mine["runs"][name] = made
        shown = {key: value for key, value in made.items() if not isinstance(value, list | dict)}
        print(f"{part}, {name}: {shown}")

    for name in names:
        if mine["plan"] is None and name not in mine["trials"]:
            yield Piece(part, f"{part}, trial of {name}", 0.0, functools.partial(trial, name))
    if mine["plan"] is None and mine["trials"]:
        yield Piece(part, f"{part}, plan", 0.0, plan)
    for name in (mine["plan"] or {}).get("kept", []):
        if name not in mine["runs"]:
            cost = mine["trials"][name]
            seconds = cost["fixed"] + mine["plan"]["passes"] * cost["each"]
            yield Piece(part, f"{part}, {name}", seconds, functools.partial(run, name))


def row_pieces(
    record: dict[str, Any],
    images: data.Images,  # noqa: ARG001
    device: torch.device,
    *,
    quick: bool,
) -> Iterator[Piece]:
    """Those rows of the scoreboard that `fit` trains, with the rates that are found on this GPU."""
    effort = EFFORTS["quick" if quick else device.type]

    def make(name: str, passes: int, trial: dict, callbacks: Sequence[Callable] = ()) -> dict:
        size = effort.size._replace(epochs=passes)
        how = {"rate": trial["rate"], "compiled": trial["compiled"], "callbacks": callbacks}
        return rows.make(rows.RUNS[name], seed=SEED, size=size, device=device, **how)

    def attempt(name: str) -> dict:
        rate = rows.find_rate(rows.RUNS[name].rate, size=effort.size, device=device)["rate"]

        def short(mode: bool | str) -> dict:
            # By the clock: what is measured after an epoch may take as long as its steps.
            start, ends = time.perf_counter(), []
            watch = [lambda *_: ends.append(time.perf_counter())]
            make(name, effort.row_tried, {"rate": rate, "compiled": mode}, watch)
            whole = time.perf_counter() - start
            each = (ends[-1] - ends[0]) / (effort.row_tried - 1)
            return {"rate": rate, "fixed": max(0.0, whole - effort.row_tried * each), "each": each}

        return first_that_runs(modes(device, quick=quick), short)

    return pieces("rows", record, ROWS, effort.row_passes, attempt, make)


def iwae_pieces(
    record: dict[str, Any], images: data.Images, device: torch.device, *, quick: bool
) -> Iterator[Piece]:
    """The IWAE paper's network, trained with several numbers of samples, and log p(x)."""
    effort = EFFORTS["quick" if quick else device.type]
    ks = {f"k = {k}": k for k in effort.ks}

    def make(name: str, passes: int, trial: dict, measured: int = effort.images) -> dict:
        how = {"passes": passes, "compiled": trial["compiled"]}
        return iwae(images, device, effort, k=ks[name], measured=measured, **how)

    def attempt(name: str) -> dict:
        share = min(10, effort.images)  # of the test images, a tenth is measured here

        def short(mode: bool | str) -> dict:
            made = make(name, TRIED, {"compiled": mode}, effort.images // share)
            _, *later = made["seconds_per_pass"]
            each = sum(later) / len(later)
            compiling = max(0.0, made["training_seconds"] - TRIED * each)
            return {"fixed": compiling + share * made["evaluation_seconds"], "each": each}

        return first_that_runs(modes(device, quick=quick), short)

    return pieces("iwae", record, list(ks), effort.iwae_passes, attempt, make)


def iwae(
    images: data.Images,
    device: torch.device,
    effort: Effort,
    *,
    k: int,
    passes: int,
    compiled: bool | str,
    measured: int,
) -> dict[str, Any]:
    """Train with k samples in float32, and estimate log p(x) of test images, in nats."""
    model = paper.network(seed=SEED, k=k).to(device)
    contender = contest.fit("float32", compiled)
    seconds, history = paper.train(model, images.train, contender, epochs=passes, seed=SEED)
    start = time.perf_counter()
    x = contest.held_out(images, device)[:measured]
    noise = torch.Generator(device).manual_seed(contest.NOISE_SEED)
    elbo = evaluate.elbo(model, x, samples=10, generator=noise)
    active = int(evaluate.active_units(model, x).sum())
    memory = {"at_once": effort.at_once, "batch_size": effort.batch_size}
    estimate = evaluate.log_evidence(model, x, samples=effort.samples, generator=noise, **memory)
    log_evidence, sampling, effective = (field.double().cpu() for field in estimate)
    return {
        "k": k,
        "seed": SEED,
        "passes": passes,
        "images": len(x),
        "samples": effort.samples,
        "name": contender.name,
        "log_evidence": log_evidence.mean().item(),
        # Of this mean: over data like these, and the part of it that more samples would remove.
        "standard_error": log_evidence.std().item() / len(x) ** 0.5,
        "sampling_error": sampling.square().sum().sqrt().item() / len(x),
        "effective_samples": effective.median().item(),
        "test_elbo": elbo.elbo,
        "test_elbo_standard_error": elbo.standard_error,
        "active_units": active,
        "training_seconds": seconds,
        "evaluation_seconds": time.perf_counter() - start,
        "seconds_per_pass": [line.seconds for line in history],
    }
