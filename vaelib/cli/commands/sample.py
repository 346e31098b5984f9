"""Draw data from a trained model."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaelib.cli import options as shared
from vaelib.cli import results
from vaelib.cli.runs import generator, label, opened
from vaelib.draw import draw
from vaelib.run import Trained
from vaelib.run.labels import one_label
from vaelib.run.option import name, whole

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "draw new data from a trained VAE"
MORE = (
    "Examples: python -m vaelib sample run --number 100 --out samples.png; python -m vaelib sample "
    "hands --label 7"
)
AT_ONCE = 100  # so that memory does not depend on the number


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """How many, of what, and into which files."""
    shared.run(command)
    add = command.add_argument
    add("--number", type=whole(1), default=64, help="of data, 1 or more (default 64)")
    shared.label(
        command,
        "(default: all, every z under each class, a line of the sheet for each z; the number is "
        "rounded up to whole lines)",
    )
    add(
        "--mean",
        action="store_true",
        help="show the decoder's mean instead of a sample of each value: smoother, and what many "
        "papers print, but not a sample of the model",
    )
    shared.out(
        command,
        "pictures .png, a sheet of all of them, or .npy; rows of a table .csv",
        "RUN/samples.png, of a table RUN/samples.csv, none if --npz is given",
    )
    add(
        "--npz",
        type=name,
        metavar="NPZ",
        help="the values, as --data takes them: array images, [number, height, width], uint8 of "
        "pixels (grey outside of [0, 1] is cut off), in colour [number, 3, height, width]; of a "
        "table array data, [number, columns]; of a run with --condition labels too (default: none)",
    )
    shared.elsewhere(command, "of the noise")


class Drawn(NamedTuple):
    """What was drawn, in the data's units, with the class of each."""

    x: Tensor
    labels: Tensor | None
    across: int | None  # how many stand in a line of a sheet


@torch.no_grad()
def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Draw them, and write them as a sheet or a table, as an array, or both."""
    npz = results.require_suffix("--npz", given["npz"], ".npz") if "npz" in given else None
    its = opened(given["run"], given, classes)
    allowed = results.suffixes(its.layout)
    out = given.get("out", None if npz else Path(given["run"]) / f"samples{allowed[0]}")
    path = None if out is None else results.require_suffix("--out", out, *allowed)
    drawn = _drawn(its, given)
    what = "decoder means, which are not samples," if "mean" in given else "samples"
    what = f"{len(drawn.x)} {what} of {given['run']}"
    if path is not None:
        named = None if drawn.labels is None else [[its.classes[i]] for i in drawn.labels.tolist()]
        words = results.write_rows(path, its, drawn.x, classes=named, across=drawn.across)
        print(f"{path}: {what}{f'; {words}' if words else ''}")
    if npz is not None:
        results.write_npz(npz, its, drawn.x, drawn.labels)
        print(f"{npz}: {what}")
    if drawn.across:
        print(
            f"Each line is one z, drawn under each class: {', '.join(its.classes)}. What stays the "
            f"same along it is what z says beside the class."
        )
    print(_meaning(its, "mean" in given))


def _drawn(its: Trained, given: dict[str, Any]) -> Drawn:
    """Samples or means, a hundred z at a time."""
    model, noise = its.model, generator(its, given)
    word, number, across = label(its, given), given["number"], None
    if model.condition and word is None:
        across = model.condition
        number = -(-number // across)  # z, each of which is drawn under every class
    parts, labels = [], []
    for start in range(0, number, AT_ONCE):
        size = min(AT_ONCE, number - start)
        c = one_label(0 if across else word, model, its.classes, size)
        known = () if c is None else (c.to(its.device),)
        x, z, *_ = model.sample(size, *known, generator=noise)
        if across:
            z = z.repeat_interleave(across, 0)
            c = torch.arange(across).repeat(size)
        if "mean" in given:
            x = its.decode(z, c).mean
        elif across:
            x = draw(its.decode(z, c), generator=noise)
        parts.append(model.likelihood.undo(x).cpu())
        labels += [] if c is None else [c]
    return Drawn(torch.cat(parts), torch.cat(labels) if labels else None, across)


def _meaning(its: Trained, mean: bool) -> str:
    """What the numbers or the pictures are, in a line or two."""
    if mean:
        return (
            "A mean is what the model expects at a z, without the noise of the values: compare "
            "data with samples, not with means."
        )
    binary = its.model.likelihood.binarization == "dynamic"
    own = "black or white, as the likelihood has them" if binary else "in the data's units"
    return (
        f"Each z is drawn from the prior, then each value from p(x | z), {own}. How they look says "
        f"little about log p(x); to measure that: python -m vaelib evaluate {its.folder}"
    )
