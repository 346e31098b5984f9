"""The three commands. Each takes what was given, by the option's name, and the user's classes."""

import io
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaelib import data, files
from vaelib import evaluate as evaluation
from vaelib import train as training
from vaelib.arguments import BadValue
from vaelib.likelihood import Likelihood
from vaelib.run import build, settings
from vaelib.run.choices import DATA
from vaelib.run.load import rebuilt, trained
from vaelib.run.settings import Settings
from vaelib.train import checkpoint
from vaelib.train.lock import hold
from vaelib.train.team import Team
from vaelib.vae import VAE


def train(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
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
        seconds, run = sum(epoch.seconds for epoch in history), shlex.quote(str(folder))
        print(
            f"trained {len(history)} epochs in {seconds:.1f} s; the last loss is "
            f"{history[-1].loss:.2f} nats per image\n"
            f"next: python -m vaelib evaluate {run}\n"
            f"      python -m vaelib sample {run}"
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


def evaluate(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Print one table of all runs, on the same held-out images."""
    folders = [Path(run) for run in given["runs"]]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadValue(
            f"evaluate {shlex.join(given['runs'])}: expected each run once; leave the second out"
        )
    all_settings = [settings.read_settings(folder, classes) for folder in folders]
    ours = all_settings[0]
    for folder, other in zip(folders, all_settings, strict=True):
        if (other.held_out, other.likelihood) != (ours.held_out, ours.likelihood):
            raise BadValue(
                f"{folder}: not to be compared with {folders[0]}: expected the same held-out "
                f"images and likelihood, got {other.data} with {other.likelihood} and {ours.data} "
                f"with {ours.likelihood}; evaluate them apart"
            )
    device, seed = build.device(given["device"]), given["seed"]
    source = given.get("data", ours.data)
    test = build.images(source).test
    build.require_held_out(ours, source, test)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed))
    pixels = test[order[: given["images"]]].to(device)
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = given["runs"]
    models = {
        name: _trained(folder, other, device, classes)
        for name, folder, other in zip(names, folders, all_settings, strict=True)
    }
    generator = torch.Generator(device).manual_seed(seed)
    likelihood = models[names[0]].likelihood
    x = likelihood.prepare(pixels, generator=generator)
    drawn = f", binarized once with seed {seed}" if likelihood.binarization == "dynamic" else ""
    print(
        f"{source}: {len(x):,} of {len(test):,} held-out images{drawn}, on {device}\n", flush=True
    )
    likelihoods = [model.likelihood for model in models.values()]
    at_once, batch_size = _chunks(all_settings, likelihoods, device)
    report = evaluation.report(
        models,
        x,
        samples=given["samples"],
        refine="refine" in given,
        at_once=at_once,
        batch_size=batch_size,
        generator=generator,
    )
    print(str(report).replace("report(refine=True)", "--refine"))
    if "json" in given:
        rows = {name.strip(): values for name, values in report.rows().items()}
        content = {
            "data": source,
            "images": len(x),
            "samples": given["samples"],
            "seed": seed,
            "likelihood": ours.likelihood,
            "runs": {
                name: {row: _number(values[i]) for row, values in rows.items()}
                | {"trusted": None if score.trust is None else score.trust.trusted}
                for i, (name, score) in enumerate(report.scores.items())
            },
        }
        _write(Path(given["json"]), (json.dumps(content, indent=2) + "\n").encode())


def _chunks(
    runs: list[Settings], likelihoods: Sequence[Likelihood], device: torch.device
) -> tuple[int, int]:
    """Samples of an image and images at a time: few fit a processor's cache, many fill a GPU."""
    most, images = (2_000_000, 100) if device.type == "cpu" else (50_000_000, 1000)
    widths = [width for run in runs for width in run.hidden]
    widths += [
        likelihood.width(run.height * run.width)
        for run, likelihood in zip(runs, likelihoods, strict=True)
    ]
    widest = max(widths)
    # With fewer rows, reading the weights of the widest layer takes the time.
    rows = max(40, most // widest)
    batch_size = min(images, rows // 10)
    return rows // batch_size, batch_size


def _trained(folder: Path, ours: Settings, device: torch.device, classes: Sequence[type]) -> VAE:
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


def _number(value: float | None) -> float | None:
    """JSON has no NaN (the sampling error of one sample, say)."""
    return None if value is None or math.isnan(value) else value


@torch.no_grad()
def sample(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Draw images, and write them as one picture, as an array, or both."""
    folder = Path(given["run"])
    ours, device = settings.read_settings(folder, classes), build.device(given["device"])
    out = given.get("out", None if "npz" in given else folder / "samples.png")
    for flag, file, suffix in (("--out", out, ".png"), ("--npz", given.get("npz"), ".npz")):
        if file is not None and Path(file).suffix != suffix:
            raise BadValue(f"{flag} {file}: expected a name that ends in {suffix}")
    model = _trained(folder, ours, device, classes)
    generator = torch.Generator(device).manual_seed(given["seed"])
    parts = []
    for start in range(0, given["number"], 100):  # so that memory does not depend on the number
        x, z, *_ = model.sample(min(100, given["number"] - start), generator=generator)
        grey = model.decode(z).mean if "mean" in given else x
        parts.append((255 * model.likelihood.undo(grey).clamp(0, 1)).round().to(torch.uint8).cpu())
    images = torch.cat(parts).view(-1, ours.height, ours.width).numpy()
    what = "decoder means, which are not samples," if "mean" in given else "samples"
    if out is not None:
        _write(Path(out), _sheet(images))
        print(f"{out}: {len(images)} {what} of {folder}")
    if "npz" in given:
        content = io.BytesIO()
        np.savez_compressed(content, images=images)
        _write(Path(given["npz"]), content.getvalue())
        print(f"{given['npz']}: {len(images)} {what} of {folder}")


def _sheet(images: np.ndarray) -> bytes:
    """All images in a grid as one PNG, grey lines between them, enlarged if they are small."""
    from PIL import Image  # here, because only this command writes a picture

    n, height, width = images.shape
    columns = math.ceil(math.sqrt(n * height / width))  # about a square
    rows = math.ceil(n / columns)
    cells = np.full((rows * columns, height + 1, width + 1), 128, np.uint8)
    cells[:n, :height, :width] = images
    sheet = cells.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
    sheet = sheet.reshape(rows * (height + 1), columns * (width + 1))[:-1, :-1]
    scale = max(1, 800 // max(sheet.shape))
    content = io.BytesIO()
    Image.fromarray(sheet.repeat(scale, 0).repeat(scale, 1)).save(content, "PNG")
    return content.getvalue()


def _write(path: Path, content: bytes) -> None:
    """A result's file, whole or not at all."""
    try:
        files.replace(path, content)
    except OSError as error:
        raise OSError(
            f"{path}: could not write {len(content):,} bytes ({error.strerror}); "
            f"{files.remedy(error)}, or choose another place"
        ) from error
