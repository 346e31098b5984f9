"""One table of all runs, on the same held-out data."""

import argparse
import json
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vaelib import evaluate as evaluation
from vaelib.arguments import BadValue
from vaelib.cli.options import elsewhere, samples
from vaelib.cli.runs import opened
from vaelib.cli.tables import write
from vaelib.likelihood import Likelihood
from vaelib.run import build, settings
from vaelib.run.option import name, whole
from vaelib.run.settings import Settings

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "measure trained VAEs on the data that were held out"
MORE = (
    "The table has the ELBO and its two terms, rate (the KL) and distortion (minus the mean "
    "log p(x | z)); L_K, which is nearer to log p(x), with its effective samples; and the active "
    "units, latent dimensions that tell data apart. Example: python -m vaelib evaluate run"
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
        default=500,
        help="of the held-out ones, at random, 2 or more, all if there are fewer (default 500)",
    )
    samples(command)
    add(
        "--refine",
        action="store_true",
        help="also give L_K from a better q than the encoder's, improved for each image by itself; "
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
    """Print one table of all runs, on the same held-out images."""
    folders = [Path(run) for run in given["runs"]]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadValue(
            f"evaluate {shlex.join(given['runs'])}: expected each run once; leave the second out"
        )
    all_settings = [settings.read_settings(folder, classes) for folder in folders]
    ours = all_settings[0]
    for folder, other in zip(folders, all_settings, strict=True):
        if (other.held_out, other.likelihood) != (ours.held_out, ours.likelihood):
            raise BadValue(
                f"{folder}: not to be compared with {folders[0]}: expected the same held-out "
                f"images and likelihood, got {other.data} with {other.likelihood} and {ours.data} "
                f"with {ours.likelihood}; evaluate them apart"
            )
    device, seed = build.device(given["device"]), given["seed"]
    source = given.get("data", ours.data)
    test = build.images(source).test
    build.require_held_out(ours, source, test)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    pixels = test[order[: given["images"]]].to(device)
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = given["runs"]
    models = {
        name: opened(folder, other, device, classes)
        for name, folder, other in zip(names, folders, all_settings, strict=True)
    }
    generator = torch.Generator(device).manual_seed(seed)
    likelihood = models[names[0]].likelihood
    x = likelihood.prepare(pixels, generator=generator)
    drawn = f", binarized once with seed {seed}" if likelihood.binarization == "dynamic" else ""
    print(
        f"{source}: {len(x):,} of {len(test):,} held-out images{drawn}, on {device}\n", flush=True
    )
    likelihoods = [model.likelihood for model in models.values()]
    at_once, batch_size = _chunks(all_settings, likelihoods, device)
    report = evaluation.report(
        models,
        x,
        samples=given["samples"],
        refine="refine" in given,
        at_once=at_once,
        batch_size=batch_size,
        generator=generator,
    )
    print(str(report).replace("report(refine=True)", "--refine"))
    if "json" in given:
        rows = {name.strip(): values for name, values in report.rows().items()}
        content = {
            "data": source,
            "images": len(x),
            "samples": given["samples"],
            "seed": seed,
            "likelihood": ours.likelihood,
            "runs": {
                name: {row: _number(values[i]) for row, values in rows.items()}
                | {"trusted": None if score.trust is None else score.trust.trusted}
                for i, (name, score) in enumerate(report.scores.items())
            },
        }
        write(Path(given["json"]), (json.dumps(content, indent=2) + "\n").encode())


def _chunks(
    runs: list[Settings], likelihoods: Sequence[Likelihood], device: torch.device
) -> tuple[int, int]:
    """Samples of an image and images at a time: few fit a processor's cache, many fill a GPU."""
    most, images = (2_000_000, 100) if device.type == "cpu" else (50_000_000, 1000)
    widths = [width for run in runs for width in run.hidden]
    widths += [
        likelihood.width(run.height * run.width)
        for run, likelihood in zip(runs, likelihoods, strict=True)
    ]
    widest = max(widths)
    # With fewer rows, reading the weights of the widest layer takes the time.
    rows = max(40, most // widest)
    batch_size = min(images, rows // 10)
    return rows // batch_size, batch_size


def _number(value: float | None) -> float | None:
    """JSON has no NaN (the sampling error of one sample, say)."""
    return None if value is None or math.isnan(value) else value
