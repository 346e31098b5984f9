"""Missing values, filled with what a trained model expects there."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelib.arguments import BadValue
from vaelib.cli import options as shared
from vaelib.cli import results
from vaelib.cli.runs import generator, new, opened
from vaelib.data import Columns
from vaelib.run.option import whole

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "fill in missing values"
MORE = (
    "Missing is an empty cell, nan or NA in a table, and NaN in an array; what is there stays as "
    "it is. The run may have been trained on data with holes or without. Example: python -m vaelib "
    "impute run --data holes.csv --out filled.csv"
)


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """Of what, and where to."""
    shared.run(command)
    shared.new_data(command, what=", with missing values", required=True)
    shared.out(
        command,
        "of a table .csv; of pictures .npy, or .png for a sheet of pairs, a picture with holes "
        "above, filled below",
        "RUN/filled.csv, of pictures RUN/filled.npy",
    )
    command.add_argument(
        "--samples",
        type=whole(1),
        default=500,
        help="of z for each datum, over which the mean is taken, 1 or more (default 500)",
    )
    shared.label(command, "(default: the data's own labels)")
    shared.elsewhere(command, "of the draws over which the mean is taken")


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Write the data, filled, and say what a filled value is."""
    its = opened(given["run"], given, classes)
    usual = "csv" if isinstance(its.layout, Columns) else "npy"
    out = given.get("out", Path(given["run"]) / f"filled.{usual}")
    path = results.require_suffix("--out", out, *results.suffixes(its.layout))
    these = new(its, given)
    holes = these.rows.isnan()
    if not holes.any():
        raise BadValue(
            f"{these.where}: nothing to fill, as no value is missing; a missing value is an empty "
            f"cell, nan or NA in a table, and NaN in an array"
        )
    filled = its.impute(
        these.rows,
        label=these.labels,
        samples=given["samples"],
        generator=generator(its, given),
    ).cpu()
    words = results.write_rows(
        path, its, filled, above=these.rows.float(), classes=these.classes(its)
    )
    print(
        f"{path}: {len(filled)} rows of {these.where}; {int(holes.sum())} of {holes.numel()} "
        f"values were missing and are filled, the others are as they were"
        f"{f'; {words}' if words else ''}\n"
        f"A filled value is the mean of what the model expects given what is seen in its row: a "
        f"best guess, not a measurement. Such values scatter too little, so don't take deviations "
        f"or correlations from this file.\n"
        f"It assumes that holes don't depend on what is missing: if large values were left out "
        f"because they were large, it is too low, and nothing here can tell."
    )
    empty = int(holes.all(1).sum())
    if empty:
        print(f"note: of {empty} rows nothing is seen: they are the mean of all that it expects")
