"""A run as the commands use it: its trained model, and data for it."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch

from vaelib.run.load import trained
from vaelib.run.settings import Settings
from vaelib.train import checkpoint
from vaelib.vae import VAE

__all__ = ["opened"]


def opened(folder: Path, ours: Settings, device: torch.device, classes: Sequence[type]) -> VAE:
    """The model of a run, with its weights."""
    if not (folder / checkpoint.NAME).exists():
        raise FileNotFoundError(
            f"{folder}: has no {checkpoint.NAME} yet, which train writes at the end of each epoch; "
            f"python -m vaelib train --folder {shlex.quote(str(folder))} --resume goes on"
        )
    model, about = trained(folder, ours, classes)
    if not about["finished"]:
        done = len(about["history"])
        print(f"note: {folder} is not finished, {done} of {ours.epochs} epochs are done")
    return model.to(device)
