"""Train in a folder, from the start or from its checkpoint."""

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vaelib import data
from vaelib import train as training
from vaelib.run import build, settings
from vaelib.run.choices import DATA
from vaelib.run.load import rebuilt
from vaelib.run.option import add, name, whole
from vaelib.run.settings import Settings
from vaelib.train import checkpoint
from vaelib.train.lock import hold
from vaelib.train.team import Team
from vaelib.vae import VAE

__all__ = ["ABOUT", "MORE", "options", "run"]

ABOUT = "train a VAE in a run folder, or go on after a break"
MORE = "Example: python -m vaelib train --data pictures --folder run"


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
        help="print errors only, and what was changed in the images",
    )
    add(command, groups, Settings, classes)


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Train in a folder, from the start or from its checkpoint."""
    folder = Path(given["folder"])
    resume, quiet = "resume" in given, "quiet" in given
    found = _found(folder)
    started, more = found[0], False
    if started and not resume:
        raise FileExistsError(
            f"{folder}: there is a checkpoint; go on from it with --resume, or choose another "
            f"--folder"
        )
    if "data" in given and given["data"] not in DATA:
        given["data"] = str(Path(given["data"]).resolve())
    goes_on = started or (resume and (folder / settings.NAME).exists())
    if goes_on:
        ours = settings.read_settings(folder, classes)
        same = {k: v for k, v in given.items() if (k, v) != ("device", "auto")}
        more = given.get("epochs", 0) > ours.epochs and started and _finished(folder)
        if more:
            ours = replace(ours, epochs=given["epochs"])
        settings.require_same(folder, ours, same)
        source = given.get("data", ours.data)
        images = build.images(source)
        build.require_held_out(ours, source, images.test)
    elif resume and "data" not in given:  # a folder's name with a mistake in it, perhaps
        raise FileNotFoundError(
            f"{folder}: there is no run to go on from; name its --folder, or start one with --data"
        )
    else:
        images = build.images(given.get("data", "digits"))
        ours = _settings(given, images)
    device = training.join(build.device(ours.device))
    team = Team()  # under torchrun the first process speaks and writes for all
    quiet |= team.rank > 0
    new = rebuilt(folder, ours, classes) if goes_on else build.model(ours, classes)
    model = new.to(device)
    pixels, validation = build.split(images.train, ours)
    if not quiet:
        _introduce(ours, images, model)
    elif team.rank == 0:
        for change in images.changes:
            print(f"vaelib: note: {change}", file=sys.stderr)

    def line(epoch: training.Epoch) -> None:
        held_out = "" if math.isnan(epoch.validation) else f", validation {epoch.validation:.2f}"
        print(
            f"epoch {epoch.epoch} of {ours.epochs}: loss {epoch.loss:.2f}{held_out}, "
            f"{epoch.seconds:.1f} s",
            flush=True,
        )

    bar = sys.stderr.isatty() and not quiet  # into a file goes a line per epoch instead
    with hold(folder, team):  # all have looked into it by now
        if not team.agree(_found(folder) == found):
            raise FileExistsError(
                f"{folder}: another run was started there while this one was being prepared; go on "
                f"from it with --resume, or choose another --folder"
            )
        if (more or not started) and team.rank == 0:
            settings.write_settings(folder, ours)
        history = training.fit(
            model,
            pixels,
            epochs=ours.epochs,
            batch_size=ours.batch_size,
            lr=ours.lr,
            warmup=ours.warmup,
            clip=ours.clip,
            precision=ours.precision,
            compile=ours.compile,
            validation=validation,
            patience=ours.patience,
            callbacks=[] if bar or quiet else [line],
            folder=folder,
            resume=resume,
            save_every=given.get("save_every"),
            generator=torch.Generator(device).manual_seed(ours.seed),
            progress=bar,
        )
    if not quiet:
        seconds, its = sum(epoch.seconds for epoch in history), shlex.quote(str(folder))
        print(
            f"trained {len(history)} epochs in {seconds:.1f} s; the last loss is "
            f"{history[-1].loss:.2f} nats per image\n"
            f"next: python -m vaelib evaluate {its}\n"
            f"      python -m vaelib sample {its}"
        )


def _found(folder: Path) -> tuple[bool, bytes | None]:
    """Whether a folder has a checkpoint, and the settings in it."""
    path = folder / settings.NAME
    return (folder / checkpoint.NAME).exists(), path.read_bytes() if path.exists() else None


def _finished(folder: Path) -> bool:
    """Whether a run has ended."""
    return checkpoint.read_run(folder / checkpoint.NAME)[1]["finished"]


def _settings(given: dict[str, Any], images: data.OwnImages) -> Settings:
    """What was given, and a value for all that was not."""
    n = len(images.train)
    found = {
        "device": build.device(given.get("device", "auto")).type,
        "height": images.height,
        "width": images.width,
        "held_out": build.fingerprint(images.test),
    }
    return settings.choose(given, n - (build.tenth(n) if "patience" in given else 0), found)


def _introduce(ours: Settings, images: data.OwnImages, model: VAE) -> None:
    weights = sum(p.numel() for p in model.parameters())
    print(
        f"{ours.data}: {len(images.train):,} images of {ours.height} x {ours.width} pixels, and "
        f"{len(images.test):,} held out"
    )
    for note in (*images.notes, *images.changes):
        print(f"note: {note}")
    print(
        f"{type(model).__name__}: {ours.net}, {' + '.join(map(str, model.layers))} latent "
        f"dimensions, {ours.likelihood} likelihood, {weights:,} weights, on {ours.device}",
        flush=True,
    )
