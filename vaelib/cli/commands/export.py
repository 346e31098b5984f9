"""A trained model's networks for other programs, as ONNX or for torch without vaelib."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaelib.cli import options as shared
from vaelib.cli.runs import asked, opened
from vaelib.run.option import name

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "write encoder and decoder for other programs, as ONNX or by torch.export"
MORE = "Example: python -m vaelib export run --out model; ONNX needs pip install 'vaelib[export]'"
SUFFIXES = {"onnx": "onnx", "torch": "pt2"}


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """Where to, and in which format."""
    shared.run(command)
    command.add_argument(
        "--out",
        type=name,
        metavar="FOLDER",
        help="for both files, made if it is not there (default RUN/export)",
    )
    command.add_argument(
        "--format",
        choices=tuple(SUFFIXES),
        default="onnx",
        help="onnx: encoder.onnx and decoder.onnx; torch: encoder.pt2 and decoder.pt2, read by "
        "torch.export.load (default onnx)",
    )
    shared.elsewhere(command, None)


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Write both files, and say what goes in and what comes out."""
    from vaelib import export  # here, because only this command needs it

    folder = Path(given.get("out", Path(given["run"]) / "export"))
    trained = opened(given["run"], given | {"device": "cpu"}, classes)
    write = export.to_onnx if given["format"] == "onnx" else export.to_torch
    write(trained.model, folder)
    suffix, latent = SUFFIXES[given["format"]], trained.model.latent
    values = trained.layout.values
    label = ", and the class as a one-hot row" if trained.model.condition else ""
    print(
        f"{folder}: encoder.{suffix}, from x [batch, {values}]{label} to loc and logvar of "
        f"q(z | x) [batch, {latent}]; decoder.{suffix}, from z{label} to the raw numbers of the "
        f"{asked(trained).likelihood} likelihood; batches of any size\n"
        f"loc alone is no sample: z = loc + exp(logvar / 2) · noise. Raw numbers are no picture "
        f"yet: the likelihood makes a distribution of them, whose mean is what sheets show."
    )
