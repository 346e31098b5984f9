"""What a trained model makes of data: where q(z | x) lies, and how wide it is."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelib.cli import options as shared
from vaelib.cli import results, tables
from vaelib.cli.runs import generator, new, opened

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "write the codes of data into a table"
MORE = (
    "A row for each datum: its name, the mean of q(z | x) in each latent dimension (z1, z2, …), "
    "and the standard deviation in each (sd1, sd2, …). Example: python -m vaelib encode run "
    "--data new --out codes.csv"
)


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """Of what, and where to."""
    shared.run(command)
    shared.new_data(command)
    shared.out(command, "the table", "RUN/codes.csv", "CSV")
    shared.label(command, "(default: the data's own labels)")
    shared.elsewhere(command, "of binarization")


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Write the table, and say what a code is."""
    out = given.get("out", Path(given["run"]) / "codes.csv")
    path = results.require_suffix("--out", out, ".csv")
    its = opened(given["run"], given, classes)
    these = new(its, given)
    q = its.encode(these.rows, these.labels, generator=generator(its, given))
    mean, deviation = q.mean.cpu(), q.stddev.cpu()
    latent, label = mean.shape[1], [] if these.labels is None else ["class"]
    head = ["name", *label, *(f"{what}{i + 1}" for what in ("z", "sd") for i in range(latent))]
    lines = zip(these.names, these.classes(its), mean.tolist(), deviation.tolist(), strict=True)
    results.write(path, tables.table(head, ([n, *c, *m, *s] for n, c, m, s in lines)))
    print(
        f"{path}: codes of {len(mean)} of {these.where}; z1 to z{latent} are the mean of q(z | x), "
        f"sd1 to sd{latent} its standard deviation\n"
        f"A code has no unit: read it against the prior. Where sd is as wide as the prior (1 of "
        f"N(0, I)), that dimension says nothing about the datum.\n"
        f"Don't compare codes across runs or seeds: which dimension means what, and its sign, is "
        f"chance."
    )
