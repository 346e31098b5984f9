"""Data beside what is left of them after the code: x, and the mean of p(x | z) at a drawn z."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vaelib.cli import options as shared
from vaelib.cli import results
from vaelib.cli.runs import generator, new, opened, units
from vaelib.run.option import whole

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "draw data again from their codes"
MORE = (
    "Each datum is encoded, one z is drawn from q(z | x), and the mean of p(x | z) is shown. "
    "Example: python -m vaelib reconstruct run --data new --out sheet.png"
)


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """Of what, and where to."""
    shared.run(command)
    shared.new_data(command)
    shared.out(
        command,
        "of pictures .png, a sheet of pairs, a picture above and below it what is drawn again, or "
        ".npy, the latter as an array; of a table .csv",
        "RUN/reconstructions.png, of a table RUN/reconstructions.csv",
    )
    command.add_argument(
        "--number",
        type=whole(1),
        default=32,
        help="of pictures on a sheet, evenly from first to last, 1 or more; arrays and tables have "
        "all (default 32)",
    )
    shared.label(command, "(default: the data's own labels)")
    shared.elsewhere(command, "of z and binarization")


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Write the file, and say what it shows."""
    its = opened(given["run"], given, classes)
    allowed = results.suffixes(its.layout)
    out = given.get("out", Path(given["run"]) / f"reconstructions{allowed[0]}")
    path = results.require_suffix("--out", out, *allowed)
    these = new(its, given)
    if path.suffix == ".png":
        number = min(given["number"], len(these.rows))
        these = these.part(torch.linspace(0, len(these.rows) - 1, number).long())
    p = its.reconstruct(these.rows, these.labels, generator=generator(its, given))
    mean = its.model.likelihood.undo(p.mean).cpu()
    words = results.write_rows(
        path,
        its,
        mean,
        above=units(these.rows),
        names=these.names,
        classes=these.classes(its),
    )
    shown = "a picture above, drawn again below" if path.suffix == ".png" else "drawn again"
    print(
        f"{path}: {len(mean)} of {these.where}, {shown}{f'; {words}' if words else ''}\n"
        f"Each is the mean of p(x | z) at one z drawn from q(z | x), in the data's units: what the "
        f"code keeps, without the noise of the values, so it is smoother than data.\n"
        f"A close one doesn't make a good model, as a larger code always comes closer; to measure "
        f"one: python -m vaelib evaluate {given['run']}"
    )
