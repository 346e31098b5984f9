"""Data to try the commands on, with known causes."""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelib.data import examples
from vaelib.run.option import name

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "write small data sets of every kind, to try the other commands on"
MORE = "Example: python -m vaelib examples --folder ."
# What is written, what it is, and the command that trains on it.
WRITTEN = (
    ("painted", "colour pictures: digits painted, with noise", "--net conv --folder colour"),
    ("classes", "grey digits, a folder for each class", "--condition --folder hands"),
    ("table.csv", "six columns of two causes", "--net linear --latent 2 --folder table"),
    ("holes.csv", "the same with holes", "--net linear --latent 2 --folder holes"),
    ("photons.npy", "counts: digits in the dark", "--folder dim"),
)


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """Where to."""
    command.add_argument(
        "--folder",
        type=name,
        default=".",
        help="to write into, made if it is not there (default .)",
    )


def run(given: dict[str, Any], _classes: Sequence[type] = ()) -> None:
    """Write the files, and say what can be done with each."""
    folder = Path(given["folder"])
    examples.write(folder)
    print(f"{folder}: data whose causes are known, each trained on within a minute\n")
    for file, what, words in WRITTEN:
        data = shlex.quote(str(folder / file))
        print(f"{file}: {what}\n  python -m vaelib train --data {data} {words}")
    print(
        f"new: digits that no model was trained on, some of them odd\n"
        f"  python -m vaelib score RUN --data {shlex.quote(str(folder / 'new'))} --odd 10"
    )
