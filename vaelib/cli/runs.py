"""A run as the commands use it: its trained model, and data for it with names and labels."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaelib import data
from vaelib.run import Trained, build, settings
from vaelib.run.labels import labels_of
from vaelib.run.load import history, trained
from vaelib.train import checkpoint

__all__ = ["New", "asked", "generator", "label", "new", "opened", "units"]


def opened(folder: str | Path, given: Mapping[str, Any], classes: Sequence[type]) -> Trained:
    """The trained run in a folder, on the device that was asked for; says if it is not finished.

    As ``vaelib.load`` has it, and strict: the settings, which decide how data are read, have to be
    those of the checkpoint.
    """
    folder = Path(folder)
    ours = settings.read_settings(folder, classes)
    device = build.device(given["device"])
    if not (folder / checkpoint.NAME).exists():
        raise FileNotFoundError(
            f"{folder}: has no {checkpoint.NAME} yet, which train writes at the end of each epoch; "
            f"python -m vaelib train --folder {shlex.quote(str(folder))} --resume goes on"
        )
    model, about = trained(folder, ours, classes)
    done = len(about["history"])
    if not about["finished"]:
        print(f"note: {folder} is not finished, {done} of {ours.epochs} epochs are done")
    return Trained(model.to(device), settings=ours, folder=folder, history=history(about))


def asked(run: Trained) -> settings.Settings:
    """The options of a run that `opened` returned: it has some."""
    assert run.settings is not None
    return run.settings


class New(NamedTuple):
    """Data for a trained run.

    Attributes:
        rows: ``[n, values]``, of the run's kind.
        labels: ``int64 [n]``, or None of a run without a condition.
        names: of each row: of a picture its file's, otherwise its number, from 1 on.
        where: what to call all of it.
    """

    rows: Tensor
    labels: Tensor | None
    names: list[str]
    where: str

    def part(self, numbers: slice | Tensor) -> "New":
        """Some of it."""
        which = torch.arange(len(self.rows))[numbers]
        labels = None if self.labels is None else self.labels[which]
        names = [self.names[i] for i in which.tolist()]
        return New(self.rows[which], labels, names, self.where)

    def classes(self, run: Trained) -> list[list[str]]:
        """A cell for each row with the name of its class; none of a run without a condition."""
        if self.labels is None:
            return [[]] * len(self.rows)
        return [[run.classes[i]] for i in self.labels.tolist()]


def new(run: Trained, given: Mapping[str, Any]) -> New:
    """What ``--data`` names, or what the run held out, with the class of each."""
    source = given.get("data")
    word: Any = label(run, given)
    if source is None:
        rows, own = run.test, run.test_labels
        rows = rows if isinstance(rows, Tensor) else torch.from_numpy(rows[:])
        names, where = None, "the held-out data"
        if word is None and run.model.condition:
            word = own
    else:
        rows = data.same(source, run.layout, asked(run).kind)
        names, where = data.names_of(source), str(source)
        if word is None and run.model.condition:
            word = data.labels_of(source, run.classes, labels=asked(run).labels)
    labels = labels_of(word, source, run.model, run.classes, len(rows))
    return New(rows, labels, names or [str(i + 1) for i in range(len(rows))], where)


def label(run: Trained, given: Mapping[str, Any]) -> str | int | None:
    """``--label``: a class's name, or else its number."""
    word = given.get("label")
    return int(word) if word and word not in run.classes and word.isdecimal() else word


def generator(run: Trained, given: Mapping[str, Any]) -> torch.Generator:
    """The source of all noise, on the run's device."""
    return torch.Generator(run.device).manual_seed(given["seed"])


def units(rows: Tensor) -> Tensor:
    """Rows as what the model says of them: pixels as v / 255, all else as it is."""
    return rows.float() / 255 if rows.dtype == torch.uint8 else rows.float()
