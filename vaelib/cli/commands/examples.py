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
# What to do with each.
COMMANDS = {
    "painted": ["train --data {} --net conv --folder colour"],
    "classes": ["train --data {} --condition --folder hands", "sample hands --label 7"],
    "table.csv": ["train --data {} --net linear --latent 2 --folder table"],
    "holes.csv": [
        "train --data {} --net linear --latent 2 --folder holes",
        "impute holes --data {} --out filled.csv",
    ],
    "photons.npy": ["train --data {} --folder dim", "reconstruct dim"],
    "new": ["train --data {classes} --folder ink", "score ink --data {} --odd 10"],
}


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
    about = examples.write(folder)
    print(f"{folder}: {len(about)} sets of data whose causes are known")
    for path, what in about.items():
        print(f"{path.name}: {what}")
        for command in COMMANDS[path.name]:
            words = command.format(shlex.quote(str(path)), classes=shlex.quote(f"{folder}/classes"))
            print(f"  python -m vaelib {words}")
