"""Train in a folder, from the start or from its checkpoint."""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from typing import Any

from vaelib import train as training
from vaelib.data import Columns
from vaelib.run.fit import prepare
from vaelib.run.option import add, name, whole
from vaelib.run.settings import Settings

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "train a VAE in a run folder, or go on after a break"
MORE = (
    "Examples: python -m vaelib train --data pictures --folder run; python -m vaelib train --data "
    "table.csv --net linear --latent 2 --folder table. Data to try it on: python -m vaelib "
    "examples --folder ."
)


def options(command: argparse.ArgumentParser, classes: Sequence[type]) -> None:
    """All fields of `Settings`, and how the run goes."""
    groups = {
        title: command.add_argument_group(title) for title in ("run", "data", "model", "training")
    }
    option = groups["run"].add_argument
    option(
        "--folder",
        required=True,
        type=name,
        help="of this run: checkpoint, history.csv and settings.json; made if it is not there",
    )
    option(
        "--resume",
        action="store_true",
        help="go on from the folder's checkpoint, with its settings: no other option is needed. "
        "Without a checkpoint the run starts, so that one command, which then names --data, serves "
        "before and after a kill",
    )
    option(
        "--save-every",
        type=whole(1),
        metavar="STEPS",
        help="also write a checkpoint after so many steps, 1 or more (default: after each epoch)",
    )
    option(
        "--quiet",
        action="store_true",
        help="print errors only, and what was changed in the data",
    )
    add(command, groups, Settings, classes)


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Train, and say what was found, how it goes, and what comes next."""
    start = prepare(given.get("data"), given["folder"], given, classes, resume="resume" in given)
    ours, first = start.settings, start.team.rank == 0  # which speaks for all, under torchrun
    quiet = "quiet" in given or not first
    if not quiet:
        print("\n".join(start.introduction()), flush=True)
    elif first:
        for change in start.dataset.changes:
            print(f"vaelib: note: {change}", file=sys.stderr)

    def line(epoch: training.Epoch, *_: object) -> None:
        held_out = "" if math.isnan(epoch.validation) else f", validation {epoch.validation:.2f}"
        print(
            f"epoch {epoch.epoch} of {ours.epochs}: loss {epoch.loss:.2f}{held_out}, "
            f"{epoch.seconds:.1f} s",
            flush=True,
        )

    bar = sys.stderr.isatty() and not quiet  # into a file goes a line per epoch instead
    trained = start.train(
        progress=bar,
        callbacks=[] if bar or quiet else [line],
        save_every=given.get("save_every"),
    )
    if not quiet:
        history = trained.history
        seconds, its = sum(epoch.seconds for epoch in history), shlex.quote(str(given["folder"]))
        datum = "row" if isinstance(trained.layout, Columns) else "image"
        print(
            f"trained {len(history)} epochs in {seconds:.1f} s; the last loss is "
            f"{history[-1].loss:.2f} nats per {datum}\n"
            f"next: python -m vaelib evaluate {its}\n"
            f"      python -m vaelib sample {its}"
        )
