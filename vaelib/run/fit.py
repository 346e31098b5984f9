"""From data to a trained run: what ``vaelib.fit`` and ``python -m vaelib train`` do."""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaelib import train as training
from vaelib.arguments import BadType, BadValue
from vaelib.data import Dataset, Pictures
from vaelib.run import build, settings
from vaelib.run.choices import DATA, FAMILIES, require_classes
from vaelib.run.load import rebuilt
from vaelib.run.option import checked, options
from vaelib.run.settings import MEMORY, Settings
from vaelib.run.trained import HELD_OUT, Trained
from vaelib.train import checkpoint
from vaelib.train.feed import preparation
from vaelib.train.lock import hold
from vaelib.train.team import Team
from vaelib.vae import VAE

# Of a run that another one starts from, what says which model it is.
_OF_THE_MODEL = (
    *("net", "hidden", "latent", "spread", "likelihood", "prior", "posterior"),
    *("components", "iwae", "beta", "condition", "trust"),
)


@dataclass
class Start:
    """A run before its first step: settings, data and model, and where it is to be.

    Attributes:
        settings: with a value for each option.
        dataset: rows, labels and layout.
        model: with the weights from which it starts, on its device.
        goes_on: whether the folder has a run already, which goes on.
        notes: what was chosen and changed on the way, a sentence each.
        team: of the processes that train together; the first speaks and writes for all.
    """

    settings: Settings
    dataset: Dataset
    model: VAE
    device: torch.device
    folder: Path | None
    goes_on: bool
    notes: tuple[str, ...]
    team: Team
    _resume: bool
    _found: tuple[bool, bytes | None]
    _write: bool

    def introduction(self) -> list[str]:
        """The data and the model in a few lines, with the number of weights."""
        ours, rows, model = self.settings, self.dataset, self.model
        layout = ours.layout
        if isinstance(layout, Pictures):
            colours = "" if layout.channels == 1 else f" x {layout.channels} channels"
            what = f"images of {layout.height} x {layout.width} pixels{colours}"
        else:
            what = f"rows of {layout.values} columns"
        if ours.kind == "counts":
            what += ", counts"
        labels = f", {len(ours.classes)} classes" if ours.classes else ""
        missing = ", some values missing" if ours.missing else ""
        condition = ", given the class" if ours.condition else ""
        parts = model.encoder, model.decoder
        each = " + ".join(f"{sum(p.numel() for p in part.parameters()):,}" for part in parts)
        weights = sum(p.numel() for p in model.parameters())
        return [
            f"{ours.data}: {len(rows.train):,} {what}, and {len(rows.test):,} held out"
            f"{labels}{missing}",
            *(f"note: {note}" for note in self.notes),
            f"{type(model).__name__}: {ours.net}, {' + '.join(map(str, model.layers))} latent "
            f"dimensions, {ours.likelihood} likelihood{condition}, {weights:,} weights "
            f"(encoder and decoder: {each}), on {self.device}",
        ]

    def train(
        self,
        *,
        progress: bool = True,
        callbacks: Sequence[Callable[..., object]] = (),
        save_every: int | None = None,
        **python: Any,
    ) -> Trained:
        """Train, from the start or from the folder's checkpoint; see `fit` for the arguments."""
        ours, folder, team = self.settings, self.folder, self.team
        rows, validation = build.split(self.dataset, ours)
        given: dict[str, Any] = dict(python)
        if ours.condition:
            given["labels"] = rows.labels
            if validation is not None:
                given["validation_labels"] = validation.labels
        with hold(folder, team):  # all have looked into it by now
            if folder is not None:
                if not team.agree(_state(folder) == self._found):
                    raise FileExistsError(
                        f"{folder}: another run was started there while this one was being "
                        f"prepared; go on from it with --resume, or choose another --folder"
                    )
                if self._write and team.rank == 0:
                    settings.write_settings(folder, ours)
                    if ours.data == MEMORY:
                        _keep(folder, self.dataset)
            history = training.fit(
                self.model,
                rows.rows,
                epochs=ours.epochs,
                batch_size=ours.batch_size,
                lr=ours.lr,
                warmup=ours.warmup,
                clip=ours.clip,
                precision=ours.precision,
                compile=ours.compile,
                validation=None if validation is None else validation.rows,
                patience=ours.patience,
                callbacks=callbacks,
                folder=folder,
                resume=self._resume,
                save_every=save_every,
                generator=torch.Generator(self.device).manual_seed(ours.seed),
                progress=progress,
                **given,
            )
        return Trained(
            self.model,
            settings=ours,
            folder=folder,
            held_out=(self.dataset.test, self.dataset.test_labels),
            history=history,
            notes=self.notes,
        )


def fit(
    data: Any = "digits",
    *,
    labels: Any = None,
    folder: str | Path | None = None,
    resume: bool = False,
    device: str = "auto",
    progress: bool = True,
    callbacks: Sequence[Callable[..., object]] = (),
    save_every: int | None = None,
    classes: Sequence[type] = (),
    optimizer: Any = None,
    schedule: Any = None,
    **given: Any,
) -> Trained:
    """Train a VAE of your data: what ``python -m vaelib train`` does, with the same defaults.

    Args:
        data: a path, an array or a tensor (rows, or pictures), a `~vaelib.data.Dataset`, or the
            name of a set that is at hand (``"digits"``); `vaelib.data.own` says what is read how.
        labels: of the rows of an array, or the name of the column of a table that has them.
        folder: keep the run there: checkpoint, history and settings, for ``vaelib.load``.
        resume: go on with the run that is in the folder, if there is one.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …
        progress: say what was found and made, and show a bar.
        callbacks, save_every, optimizer, schedule: see `vaelib.train.fit`.
        classes: classes of yours that a run is made of which is gone on with.
        given: options of a run, as the command line has them: ``latent``, ``net``, ``hidden``,
            ``likelihood``, ``prior``, ``condition``, ``epochs``, ``start``, …; fields of
            `vaelib.run.Settings`. ``likelihood``, ``prior`` and ``posterior`` may be a class of
            yours.

    Returns:
        `~vaelib.run.Trained`: encodes, reconstructs, samples, scores, and fills in.

    Raises:
        ~vaelib.arguments.BadValue, ~vaelib.arguments.BadType: if data or an option are not what
            they can be; names them, and says what to do.
        FileExistsError: if there is a run in the folder, and ``resume`` is False.

    Warns:
        UserWarning: with ``progress=False``, of what was changed in the data.

    >>> from vaelib import data
    >>> run = fit(data.digits().test[:200], epochs=1, latent=2, hidden=[16], progress=False)
    >>> run.sample(5).shape
    torch.Size([5, 784])
    """
    words, own = _named(given, classes)
    known = {k for k, its in options(Settings).items() if its.help is not None} - {"data"}
    for unknown in words.keys() - known:
        raise BadType(
            f"fit: {unknown} is no option; expected some of {', '.join(sorted(known))}", unknown
        )
    begun = prepare(data, folder, words | {"device": device}, own, resume=resume, labels=labels)
    speaks = progress and begun.team.rank == 0
    if speaks:
        print("\n".join(begun.introduction()), flush=True)
    else:
        for change in begun.dataset.changes:
            warnings.warn(change, stacklevel=2)
    python = {"optimizer": optimizer, "schedule": schedule}
    return begun.train(
        progress=progress,
        callbacks=callbacks,
        save_every=save_every,
        **{name: value for name, value in python.items() if value is not None},
    )


def prepare(
    source: Any,
    folder: str | Path | None,
    given: Mapping[str, Any],
    classes: Sequence[type] = (),
    *,
    resume: bool = False,
    labels: Any = None,
) -> Start:
    """Read data, choose settings and make the model: all that comes before the first step.

    Args:
        source: what `fit` takes as data. None is what the run has that goes on, or the digits.
        folder: of the run, if it is to be kept.
        given: options that were given, by name; ``device`` among them.
        classes: the user's.
        resume: whether the folder's run goes on.
        labels: see `fit`.
    """
    offered = {name for name, its in options(Settings).items() if its.help is not None}
    asked = {name: value for name, value in given.items() if name in offered - {"data"}}
    given = {**given, **checked(Settings, asked, classes)}  # each as its option would take it
    folder = None if folder is None else Path(folder)
    if folder is None and resume:
        raise BadValue("fit: resume needs folder=, where the run lies", "folder")
    found = (False, None) if folder is None else _state(folder)
    started, more = found[0], False
    if started and not resume:
        raise FileExistsError(
            f"{folder}: there is a checkpoint; go on from it with --resume, or choose another "
            f"--folder"
        )
    goes_on = folder is not None and (started or (resume and (folder / settings.NAME).exists()))
    if goes_on and folder is not None:
        ours = settings.read_settings(folder, classes)
        more = given.get("epochs", 0) > ours.epochs and started and _finished(folder)
        if more:
            ours = replace(ours, epochs=given["epochs"])
        settings.require_same(folder, ours, _comparable(given))
        column = ours.labels if labels is None else labels
        rows = build.dataset(ours.data if source is None else source, column)
        where = ours.data if source is None else _where(source)
        build.require_held_out(ours, where, rows.test)
        name = given.get("device", "auto")
        device = build.device(ours.device if name == "auto" else name)
        notes: list[str] = []
    elif resume and source is None:  # a folder's name with a mistake in it, perhaps
        raise FileNotFoundError(
            f"{folder}: there is no run to go on from; name its --folder, or start one with --data"
        )
    else:
        source = "digits" if source is None else source
        labels = given.get("labels") if labels is None else labels
        given["labels"] = labels if isinstance(labels, str) else None
        rows = build.dataset(source, labels)
        if given.get("start") is not None:
            start = Path(given["start"]).resolve()
            given = _of_its_model(start, rows, classes) | given | {"start": str(start)}
        device = build.device(given.get("device", "auto"))
        ours, notes = _settings(given, source, rows, device)
    device, team = training.join(device), Team()
    new = rebuilt(folder, ours, classes) if goes_on and folder else build.model(ours, classes)
    preparation(new.likelihood, rows.train, torch.device("cpu"), None)  # or it refuses
    if ours.start is not None and not started:
        _begin_with(new, Path(ours.start))
    return Start(
        settings=ours,
        dataset=rows,
        model=new.to(device),
        device=device,
        folder=folder,
        goes_on=goes_on,
        notes=(*rows.notes, *rows.changes, *notes),
        team=team,
        _resume=resume,
        _found=found,
        _write=more or not started,
    )


def _settings(
    given: Mapping[str, Any],
    source: Any,
    rows: Dataset,
    device: torch.device,
) -> tuple[Settings, list[str]]:
    """What was given, a value for all that was not, and what there is to say of the choice."""
    n, notes = len(rows.train), []
    missing = build.has_holes(rows.train) or build.has_holes(rows.test)
    labelled = rows.train_labels is not None and rows.test_labels is not None
    found = {
        **settings.found_in(rows.layout),
        "data": _where(source),
        "kind": rows.kind,
        "missing": missing,
        "classes": list(rows.classes) if labelled else [],
        "device": device.type,
        "held_out": build.fingerprint(rows.test),
    }
    if missing:
        notes.append(
            "values are missing (NaN): what is seen of a datum is scored and trained on, the rest "
            "is neither guessed nor counted"
        )
    train_on = n - (build.tenth(n) if given.get("patience") is not None else 0)
    return settings.choose(given, train_on, found), notes


def _named(given: Mapping[str, Any], classes: Sequence[type]) -> tuple[dict[str, Any], list[type]]:
    """Options as a file has them: a class by its name, lists for what is a sequence."""
    words, own = dict(given), list(classes)
    trust = list(words.get("trust", []))
    for family in FAMILIES:
        if isinstance(cls := words.get(family), type):
            words[family] = cls.__name__
            if cls not in own:
                own.append(cls)
            entry = f"{cls.__module__}:{cls.__name__}"
            trust += [] if entry in trust else [entry]
        elif isinstance(cls, torch.nn.Module):
            raise BadType(
                f"fit: expected {family} by its name, or a class, got a {type(cls).__name__}; "
                f"what has arguments of its own goes into a model of yours, and vaelib.train.fit "
                f"trains it",
                family,
            )
    require_classes(own)
    if trust:
        words["trust"] = trust
    return {k: list(v) if isinstance(v, tuple) else v for k, v in words.items()}, own


def _where(source: Any) -> str:
    """Where data are, as settings name it."""
    if isinstance(source, str) and source in (*DATA, MEMORY):
        return source
    return str(Path(source).resolve()) if isinstance(source, str | Path) else MEMORY


def _comparable(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as settings have it: of a device, its kind alone."""
    same = {k: v for k, v in given.items() if k != "data" and (k, v) != ("device", "auto")}
    if "device" in same:
        same["device"] = same["device"].partition(":")[0]
    return same


def _of_its_model(start: Path, rows: Dataset, classes: Sequence[type]) -> dict[str, Any]:
    """The options of another run that say what its model is; raises unless data fit it."""
    its = settings.read_settings(start, classes)
    here = {**settings.found_in(rows.layout), "kind": rows.kind}
    for name, mine in here.items():
        if getattr(its, name) != mine:
            raise BadValue(
                f"--start {start}: expected data as that run's, whose {name} is "
                f"{getattr(its, name)}, got {mine}; a model begins on data of its own layout only",
                "start",
            )
    return {name: getattr(its, name) for name in _OF_THE_MODEL}


def _begin_with(model: VAE, start: Path) -> None:
    """Put the weights of another run into a model."""
    if not (start / checkpoint.NAME).exists():
        raise FileNotFoundError(
            f"--start {start}: has no {checkpoint.NAME}; name the --folder of a finished run"
        )
    if not _finished(start):
        raise BadValue(
            f"--start {start}: is not finished; python -m vaelib train --folder {start} --resume "
            f"goes on with it",
            "start",
        )
    try:
        checkpoint.load(model, start)
    except checkpoint.CheckpointError as error:
        raise BadValue(
            f"--start {start}: {error}; leave out the options that make another model",
            "start",
        ) from error


def _state(folder: Path) -> tuple[bool, bytes | None]:
    """Whether a folder has a checkpoint, and the settings in it."""
    path = folder / settings.NAME
    return (folder / checkpoint.NAME).exists(), path.read_bytes() if path.exists() else None


def _finished(folder: Path) -> bool:
    """Whether a run has ended."""
    return bool(checkpoint.read_run(folder / checkpoint.NAME)[1]["finished"])


def _keep(folder: Path, rows: Dataset) -> None:
    """Write down what was held out of data that were in memory, so that it can be measured on."""
    kept: dict[str, Any] = {"test": build.numpy_rows(rows.test)}
    if rows.test_labels is not None:
        kept["test_labels"] = rows.test_labels.numpy()
    content = io.BytesIO()
    np.savez_compressed(content, **kept)
    checkpoint.write(folder / HELD_OUT, content.getvalue())
