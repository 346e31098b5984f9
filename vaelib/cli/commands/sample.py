"""Draw data from a trained model."""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaelib.arguments import BadValue
from vaelib.cli import pictures, tables
from vaelib.cli.options import elsewhere
from vaelib.cli.options import run as run_option
from vaelib.cli.runs import opened
from vaelib.run import build, settings
from vaelib.run.option import name, whole

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "draw new data from a trained VAE"
MORE = "Example: python -m vaelib sample run --number 100 --out samples.png"


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """How many, of what, and into which files."""
    run_option(command)
    add = command.add_argument
    add("--number", type=whole(1), default=64, help="of data, 1 or more (default 64)")
    add(
        "--mean",
        action="store_true",
        help="show the decoder's mean instead of a sample of each pixel: smoother, and what many "
        "papers print, but not a sample of the model",
    )
    add(
        "--out",
        type=name,
        metavar="PNG",
        help="a sheet of all images (default RUN/samples.png, none if --npz is given)",
    )
    add(
        "--npz",
        type=name,
        metavar="NPZ",
        help="the pixels: array images, uint8 [number, height, width], as --data takes them; grey "
        "outside of [0, 1] is cut off (default: none)",
    )
    elsewhere(command, "of the noise")


@torch.no_grad()
def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Draw images, and write them as one picture, as an array, or both."""
    folder = Path(given["run"])
    ours, device = settings.read_settings(folder, classes), build.device(given["device"])
    out = given.get("out", None if "npz" in given else folder / "samples.png")
    for flag, file, suffix in (("--out", out, ".png"), ("--npz", given.get("npz"), ".npz")):
        if file is not None and Path(file).suffix != suffix:
            raise BadValue(f"{flag} {file}: expected a name that ends in {suffix}")
    model = opened(folder, ours, device, classes)
    generator = torch.Generator(device).manual_seed(given["seed"])
    parts = []
    for start in range(0, given["number"], 100):  # so that memory does not depend on the number
        x, z, *_ = model.sample(min(100, given["number"] - start), generator=generator)
        grey = model.decode(z).mean if "mean" in given else x
        parts.append((model.likelihood.undo(grey) * 255).round().to(torch.uint8).cpu())
    images = torch.cat(parts).view(-1, ours.height, ours.width).numpy()
    what = "decoder means, which are not samples," if "mean" in given else "samples"
    if out is not None:
        tables.write(Path(out), pictures.sheet(images[..., None]))
        print(f"{out}: {len(images)} {what} of {folder}")
    if "npz" in given:
        content = io.BytesIO()
        np.savez_compressed(content, images=images)
        tables.write(Path(given["npz"]), content.getvalue())
        print(f"{given['npz']}: {len(images)} {what} of {folder}")
