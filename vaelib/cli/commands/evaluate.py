"""One table of all runs, on the same held-out data."""

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaelib import evaluate as evaluation
from vaelib.arguments import BadValue
from vaelib.cli.options import elsewhere, samples
from vaelib.cli.results import write
from vaelib.cli.runs import opened
from vaelib.run import Trained, build, settings
from vaelib.run.effort import affordable, checked, chunks, exact
from vaelib.run.option import name, whole
from vaelib.run.settings import Settings

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "measure trained VAEs on the data that were held out"
MORE = (
    "The table has the ELBO and its two terms, rate (the KL) and distortion (minus the mean "
    "log p(x | z)); L_K, which is nearer to log p(x), with its effective samples; and the active "
    "units, latent dimensions that tell data apart. Bits per dimension are the same bounds, per "
    "value and in bits, with the sign turned: lower is better. Example: python -m vaelib evaluate "
    "run"
)


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """What is measured, and how long that may take."""
    add = command.add_argument
    add(
        "runs",
        nargs="+",
        type=name,
        metavar="RUN",
        help="the --folder of train; of several, seeds of one model, each has a column, and the "
        "last is their mean and deviation",
    )
    add(
        "--images",
        type=whole(2),
        default=None,
        help="of the held-out ones, at random, 2 or more, all if there are fewer (default: as many "
        "as --samples has by default)",
    )
    samples(command)
    add(
        "--refine",
        action="store_true",
        help="also give L_K from a better q than the encoder's, improved for each datum by itself; "
        "takes several times as long. For when the table ends in a warning",
    )
    add(
        "--json",
        type=name,
        metavar="PATH",
        help="also write the numbers into this file (default: do not)",
    )
    add(
        "--data",
        type=name,
        help="where the run's data are, if they were moved (default: as trained)",
    )
    elsewhere(command, "of choice, binarization and noise")


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Print one table of all runs, on the same held-out data."""
    folders = [Path(run) for run in given["runs"]]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadValue(
            f"evaluate {shlex.join(given['runs'])}: expected each run once; leave the second out"
        )
    ours = _alike(folders, [settings.read_settings(folder, classes) for folder in folders])
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = given["runs"]
    runs = {
        name: opened(folder, given, classes) for name, folder in zip(names, folders, strict=True)
    }
    device, seed = build.device(given["device"]), given["seed"]
    source, (test, labels) = _held_out(runs[names[0]], ours, given)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    few = min(affordable(its.model) for its in runs.values())
    given = given | {"samples": given["samples"] or few}
    order = order[: given["images"] or few]
    rows = test[order] if isinstance(test, Tensor) else torch.from_numpy(test[order])
    rows, c = rows.to(device), None
    if ours.condition and labels is not None:
        c = labels[order].to(device)
    generator = torch.Generator(device).manual_seed(seed)
    likelihood = runs[names[0]].model.likelihood
    x = likelihood.prepare(rows, generator=generator)
    drawn = f", binarized once with seed {seed}" if likelihood.binarization == "dynamic" else ""
    print(
        f"{source}: {len(x):,} of {len(test):,} held-out data{drawn}, on {device}\n",
        flush=True,
    )
    at_once, batch_size = map(min, zip(*(chunks(its.model) for its in runs.values()), strict=True))
    report = evaluation.report(
        {name: its.model for name, its in runs.items()},
        x,
        c,
        samples=given["samples"],
        check=min(checked(its.model) for its in runs.values()),
        refine="refine" in given,
        grid=all(exact(its.model, len(x)) for its in runs.values()),
        at_once=at_once,
        batch_size=batch_size,
        generator=generator,
    )
    print(str(report).replace("report(refine=True)", "--refine"))
    print(_meaning(ours))
    if "json" in given:
        _write_json(Path(given["json"]), report, ours, given | {"data": source})


def _held_out(
    run: Trained, ours: Settings, given: dict[str, Any]
) -> tuple[str, tuple[Any, Tensor | None]]:
    """Where the held-out data are, and they with their labels; raises if they are others."""
    if "data" not in given:
        return ours.data, (run.test, run.test_labels)
    moved = build.dataset(given["data"], ours.labels)
    build.require_held_out(ours, given["data"], moved.test)
    return given["data"], (moved.test, moved.test_labels)


def _alike(folders: list[Path], runs: list[Settings]) -> Settings:
    """The first run's settings; raises unless all are measured on the same data as the same."""
    ours = runs[0]
    for folder, other in zip(folders, runs, strict=True):
        if (other.held_out, other.likelihood) != (ours.held_out, ours.likelihood):
            raise BadValue(
                f"{folder}: not to be compared with {folders[0]}: expected the same held-out "
                f"data and likelihood, got {other.data} with {other.likelihood} and {ours.data} "
                f"with {ours.likelihood}; evaluate them apart"
            )
        if other.condition != ours.condition:
            raise BadValue(
                f"{folder}: not to be compared with {folders[0]}: one of them is told the class of "
                f"each datum (--condition), and has log p(x | class) where the other has log p(x); "
                f"evaluate them apart"
            )
    return ours


def _meaning(ours: Settings) -> str:
    """What these numbers are not to be compared with."""
    binary = ours.likelihood == "bernoulli" and ours.kind == "pixels"
    of = "black and white pixels" if binary else f"{ours.kind} by a {ours.likelihood} likelihood"
    what = "log p(x | class)" if ours.condition else "log p(x)"
    unit = ""
    if ours.kind == "numbers":
        unit = (
            " A density depends on the unit: a column in mm has log 1000 = 6.9 nats less than in m."
        )
    return f"This is {what} of {of}: compare it with the same of the same data only.{unit}"


def _write_json(
    path: Path, report: evaluation.Report, ours: Settings, given: dict[str, Any]
) -> None:
    rows = {name.strip(): values for name, values in report.rows().items()}
    content = {
        "data": given["data"],
        "images": report.data,
        "samples": given["samples"],
        "seed": given["seed"],
        "likelihood": ours.likelihood,
        "runs": {
            name: {row: _number(values[i]) for row, values in rows.items()}
            | {"trusted": None if score.trust is None else score.trust.trusted}
            for i, (name, score) in enumerate(report.scores.items())
        },
    }
    write(path, (json.dumps(content, indent=2) + "\n").encode())


def _number(value: float | None) -> float | None:
    """JSON has no NaN (the sampling error of one sample, say)."""
    return None if value is None or math.isnan(value) else value
