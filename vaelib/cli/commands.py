"""The three commands. Each takes what was given on the command line, by the option's name."""

import io
import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib import data
from vaelib import evaluate as evaluation
from vaelib import train as training
from vaelib.cli import build, options, settings
from vaelib.cli.settings import Settings
from vaelib.train import checkpoint
from vaelib.train.lock import hold
from vaelib.train.team import Team
from vaelib.vae import VAE, TwoLayerVAE


def train(given: dict[str, Any]) -> None:
    """Train in a folder, from the start or from its checkpoint."""
    folder = Path(given["folder"])
    resume, quiet = "resume" in given, "quiet" in given
    found = _found(folder)
    started = found[0]
    if started and not resume:
        raise FileExistsError(
            f"{folder}: there is a checkpoint; go on from it with --resume, or choose another "
            f"--folder"
        )
    if "data" in given and given["data"] not in build.DATA:
        given["data"] = str(Path(given["data"]).resolve())
    goes_on = started or (resume and (folder / settings.NAME).exists())
    if goes_on:
        ours = options.read(folder)
        # Data that were moved are told by what is in them, not by where they are.
        source = given.get("data", ours.data)
        same = {k: v for k, v in given.items() if k != "data" and (k, v) != ("device", "auto")}
        settings.require_same(folder, ours, same)
        images = build.images(source)
        build.require_held_out(ours, source, images.test)
    elif resume and "data" not in given:  # a folder's name with a mistake in it, perhaps
        raise FileNotFoundError(
            f"{folder}: there is no run to go on from; name its --folder, or start one with --data"
        )
    else:
        images = build.images(given.get("data", options.DEFAULTS["data"]))
        ours = _settings(given, images)
    device = training.join(build.device(ours.device))
    team = Team()  # under torchrun the first process speaks and writes for all
    quiet |= team.rank > 0
    model = (_rebuilt(folder, ours) if goes_on else build.model(ours)).to(device)
    pixels, validation = _split(images.train, ours)
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
        if not started and team.rank == 0:
            settings.write(folder, ours)
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


def _settings(given: dict[str, Any], images: data.OwnImages) -> Settings:
    """What was given, and a value for all that was not."""
    chosen = options.DEFAULTS | given
    n = len(images.train) - (0 if chosen["patience"] is None else _validation_size(images.train))
    chosen = {
        "hidden": build.NETS[chosen["net"]].hidden,
        "spread": options.spread(chosen["latent"]),
        "epochs": options.epochs(n, chosen["batch_size"]),
        **chosen,
        "device": build.device(chosen["device"]).type,
        "height": images.height,
        "width": images.width,
        "held_out": build.fingerprint(images.test),
    }
    return Settings(**{name: chosen[name] for name in Settings.__dataclass_fields__})


def _validation_size(pixels: Tensor) -> int:
    return max(1, len(pixels) // 10)


def _split(pixels: Tensor, ours: Settings) -> tuple[Tensor, Tensor | None]:
    """Training and, for early stopping, validation: a random tenth, the same at each start."""
    if ours.patience is None:
        return pixels, None
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(ours.seed))
    size = _validation_size(pixels)
    return pixels[order[size:]], pixels[order[:size]]


def _introduce(ours: Settings, images: data.OwnImages, model: VAE | TwoLayerVAE) -> None:
    weights = sum(p.numel() for p in model.parameters())
    print(
        f"{ours.data}: {len(images.train):,} images of {ours.height} x {ours.width} pixels, and "
        f"{len(images.test):,} held out"
    )
    for note in (*images.notes, *images.changes):
        print(f"note: {note}")
    latent = f"{model.latent} + " if isinstance(model, TwoLayerVAE) else ""
    print(
        f"{type(model).__name__}: {ours.net}, {latent}{ours.latent} latent dimensions, "
        f"{ours.likelihood} likelihood, {weights:,} weights, on {ours.device}",
        flush=True,
    )


def evaluate(given: dict[str, Any]) -> None:
    """Print one table of all runs, on the same held-out images."""
    folders = [Path(run) for run in given["runs"]]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError(
            f"evaluate {shlex.join(given['runs'])}: expected each run once; leave the second out"
        )
    all_settings = [options.read(folder) for folder in folders]
    ours = all_settings[0]
    for folder, other in zip(folders, all_settings, strict=True):
        if (other.held_out, other.likelihood) != (ours.held_out, ours.likelihood):
            raise ValueError(
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
    generator = torch.Generator(device).manual_seed(seed)
    likelihood = build.LIKELIHOODS[ours.likelihood].make()
    x = likelihood.prepare(pixels, generator=generator)
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = given["runs"]
    models = {
        name: _trained(folder, other, device)
        for name, folder, other in zip(names, folders, all_settings, strict=True)
    }
    drawn = f", binarized once with seed {seed}" if likelihood.binarization == "dynamic" else ""
    print(
        f"{source}: {len(x):,} of {len(test):,} held-out images{drawn}, on {device}\n", flush=True
    )
    at_once, batch_size = _chunks(all_settings, device)
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


def _chunks(runs: list[Settings], device: torch.device) -> tuple[int, int]:
    """Samples of an image and images at a time: few fit a processor's cache, many fill a GPU."""
    most, images = (2_000_000, 100) if device.type == "cpu" else (50_000_000, 1000)
    widest = max(
        width
        for run in runs
        for width in (
            run.height * run.width * build.LIKELIHOODS[run.likelihood].make().per_pixel,
            *run.hidden,
        )
    )
    # With fewer rows, reading the weights of the widest layer takes the time.
    rows = max(40, most // widest)
    batch_size = min(images, rows // 10)
    return rows // batch_size, batch_size


def _rebuilt(folder: Path, ours: Settings) -> VAE | TwoLayerVAE:
    """The model that a folder's settings describe."""
    try:
        return build.model(ours)
    except ValueError as error:  # options that do not go together, and did when it was written
        raise ValueError(f"{folder / settings.NAME}: {error}") from error


def _trained(folder: Path, ours: Settings, device: torch.device) -> VAE | TwoLayerVAE:
    """The model of a run, with its weights."""
    model = _rebuilt(folder, ours)
    if not (folder / checkpoint.NAME).exists():
        raise FileNotFoundError(
            f"{folder}: has no {checkpoint.NAME} yet, which train writes at the end of each epoch; "
            f"python -m vaelib train --folder {shlex.quote(str(folder))} --resume goes on"
        )
    about = training.load(model, folder)
    if not about["finished"]:
        done = len(about["history"])
        print(f"note: {folder} is not finished, {done} of {ours.epochs} epochs are done")
    return model.to(device).eval()


def _number(value: float | None) -> float | None:
    """JSON has no NaN (the sampling error of one sample, say)."""
    return None if value is None or math.isnan(value) else value


@torch.no_grad()
def sample(given: dict[str, Any]) -> None:
    """Draw images, and write them as one picture, as an array, or both."""
    folder = Path(given["run"])
    ours, device = options.read(folder), build.device(given["device"])
    out = given.get("out", None if "npz" in given else folder / "samples.png")
    for flag, file, suffix in (("--out", out, ".png"), ("--npz", given.get("npz"), ".npz")):
        if file is not None and Path(file).suffix != suffix:
            raise ValueError(f"{flag} {file}: expected a name that ends in {suffix}")
    model = _trained(folder, ours, device)
    generator = torch.Generator(device).manual_seed(given["seed"])
    parts = []
    for start in range(0, given["number"], 100):  # so that memory does not depend on the number
        x, z, *_ = model.sample(min(100, given["number"] - start), generator=generator)
        grey = model.decode(z).mean if "mean" in given else x
        parts.append((grey.clamp(0, 1) * 255).round().to(torch.uint8).cpu())
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
        checkpoint.replace(path, content)
    except OSError as error:
        raise OSError(
            f"{path}: could not write {len(content):,} bytes ({error.strerror}); "
            f"{checkpoint.remedy(error)}, or choose another place"
        ) from error
