"""Where a run is: all that a loop needs to go on after a break as if there had been none."""

import csv
import io
import math
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vaelib import recipe
from vaelib.files import versions as _versions
from vaelib.train import checkpoint
from vaelib.train.batches import Batches
from vaelib.train.checkpoint import CheckpointError
from vaelib.train.loader import Loader
from vaelib.train.measure import Measured
from vaelib.train.schedule import same_schedule
from vaelib.train.trainer import Trainer

WAS = {"rows": "pixels"}  # what older checkpoints call it


class Epoch(NamedTuple):
    """One line of the history.

    >>> line = Epoch(1, loss=105.0, seconds=2.0, log_likelihood=-80.0, kl=24.0)
    >>> line.log_likelihood - line.kl  # the ELBO, once the epoch was over
    -104.0
    >>> line.validation  # nothing was held out
    nan
    """

    epoch: int  # counted from 1
    loss: float  # mean over the epoch's data, as the model returned it while it was learning
    seconds: float
    validation: float = math.nan  # the loss on the validation data, if there are any
    # On a thirtieth of the rows (100 to 1,000), held-out ones if there are any, with the same draw:
    log_likelihood: float = math.nan  # mean of log p(x | z), in nats
    kl: float = math.nan  # mean of the KL, in nats; of a model without terms both are NaN
    active: float = math.nan  # how many units tell data apart
    lr: float = math.nan  # the learning rate of the last step


class Run:
    """A run's state, in memory and in its folder.

    What an epoch draws follows from the state of the generator when it began, so a place within it
    is one number, ``batches.position``.

    Attributes:
        history: the epochs that have ended.
        losses: of the steps of the current epoch, on the device until somebody needs them.
        seconds: spent on these steps.
        best, best_epoch: the weights with the best validation loss, if somebody looks for them.
        finished: whether the last epoch has ended.
        went_on: for each time that it had finished and went on with more epochs, how many were done
            (``after``), and the ``epochs`` and the ``schedule`` until then.
    """

    def __init__(
        self,
        trainer: Trainer,
        batches: Batches | Loader,
        config: dict[str, Any],
        folder: str | Path | None,
    ) -> None:
        self.trainer, self.batches, self.config = trainer, batches, config
        self.path = None if folder is None else Path(folder) / checkpoint.NAME
        self.recipe = recipe.describe(trainer.module)
        self.history: list[Epoch] = []
        self.losses = torch.zeros(len(batches), device=trainer.device)
        self.seconds = 0.0
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.finished = False
        self.went_on: list[dict[str, Any]] = []

    def start_clock(self) -> None:
        """The time runs on from ``seconds``."""
        self._start = time.perf_counter() - self.seconds

    def end_epoch(
        self, validation: float, measured: Measured, lr: float, patience: int | None
    ) -> Epoch:
        """Add a line to the history; with patience, look whether it is the best, or the last."""
        sizes = self.batches.sizes
        loss = (self.losses.cpu().double() @ sizes).item() / sizes.sum().item()
        line = Epoch(len(self.history) + 1, loss, self.seconds, validation, *measured, lr)
        self.history.append(line)
        self.seconds = 0.0
        self.finished = line.epoch == self.config["epochs"]
        if patience is None:
            return line
        begun = self.went_on[-1]["after"] if self.went_on else 0
        if not self.best or validation < self.history[self.best_epoch - 1].validation:
            self.best = {k: t.clone() for k, t in self.trainer.module.state_dict().items()}
            self.best_epoch = line.epoch
        elif line.epoch - max(self.best_epoch, begun) >= patience:
            self.finished = True
        return line

    def stop_clock(self) -> None:
        """The time until now is the epoch's so far."""
        self.seconds = time.perf_counter() - self._start

    def save(self) -> None:
        """Replace the folder's checkpoint and its history; of several processes the first does."""
        if self.path is None or self.trainer.team.rank > 0:
            return
        position = self.batches.position
        tensors = self.trainer.state() | {f"best.{name}": t for name, t in self.best.items()}
        tensors |= {"epoch_start": self.batches.epoch_start, "losses": self.losses[:position]}
        if isinstance(self.batches, Loader):
            tensors |= {f"loader.{name}": t for name, t in self.batches.state().items()}
        about = {
            "config": self.config,
            "history": [_as_json(line) for line in self.history],
            "position": position,
            "seconds": self.seconds,
            "best_epoch": self.best_epoch,
            "finished": self.finished,
            "went_on": self.went_on,
            "versions": _versions(),
            "recipe": self.recipe,
        }
        checkpoint.save(self.path, tensors, about)
        self._write_history(self.path)

    def _write_history(self, path: Path) -> None:
        """The history as ``history.csv``, one line for each epoch that has ended."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows([Epoch._fields, *self.history])
        checkpoint.write(path.with_name("history.csv"), text.getvalue().encode())

    def restore(self, path: Path) -> bool:
        """Take up a checkpoint; nothing is changed unless all of it fits.

        Returns:
            Whether it is of a run that had finished and goes on with more epochs now.

        Raises:
            CheckpointError: if it is damaged, or belongs to another model, data or settings.
        """
        tensors, about = checkpoint.read_run(path)
        done, went_on = len(about["history"]), about.get("went_on", [])
        more = self._more_epochs(about, done, path)
        if more:
            its = {name: about["config"].get(name) for name in ("epochs", "schedule")}
            went_on = [*went_on, {"after": done, **its}]
        if about["versions"] != _versions():
            warnings.warn(
                f"{path}: written with {about['versions']}, and this is {_versions()}: the "
                f"run goes on, but not bit for bit as it would have there",
                stacklevel=3,
            )
        try:
            best = checkpoint.part(tensors, "best.")
            if best:
                checkpoint.require_weights(self.trainer.module, best, path)
            history = [Epoch(**_from_json(line)) for line in about["history"]]
            epoch_start, losses = tensors["epoch_start"], tensors["losses"]
            torch.Generator(self.batches.generator.device).set_state(epoch_start)
            if not all(isinstance(value, int | float) for line in history for value in line):
                raise ValueError("its history has what is no number")
            if not all(isinstance(stage["after"], int) for stage in went_on):
                raise ValueError("it does not say when it went on")
            if about["position"] != len(losses) or not 0 <= about["best_epoch"] <= done:
                raise ValueError("it is at a place that it does not have")
            self.losses[: len(losses)] = losses.to(self.losses.device)
            if isinstance(self.batches, Loader):
                self.batches.set_state(checkpoint.part(tensors, "loader."))
            self.trainer.set_state(tensors, path)
        except CheckpointError:
            raise
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise checkpoint.incomplete(path, f"{type(error).__name__}: {error}") from error
        self.best, self.history, self.went_on = best, history, went_on
        self.batches.epoch_start, self.batches.position = epoch_start, about["position"]
        if isinstance(self.batches, Batches):
            self.batches.epoch = done
        self.seconds, self.best_epoch = about["seconds"], about["best_epoch"]
        self.finished = about["finished"] and not more
        if self.trainer.team.rank == 0:
            self._write_history(path)
        return more

    def _more_epochs(self, about: dict[str, Any], done: int, path: Path) -> bool:
        """Whether a finished run goes on; raises unless it is this run."""
        its_epochs, epochs = about["config"].get("epochs"), self.config["epochs"]
        other = about["finished"] and epochs != its_epochs
        if other and epochs < done:
            raise CheckpointError(
                f"{path}: {done} epochs are done, and epochs={epochs} asks for fewer; ask for more "
                f"than {done} to go on, for epochs={its_epochs} to have what is there, or choose "
                f"another folder"
            )
        for name, mine in self.config.items():
            its = about["config"].get(name, about["config"].get(WAS.get(name, name)))
            if other and name in ("epochs", "schedule"):  # it goes on with a new schedule
                continue
            if name == "schedule" and same_schedule(str(its), mine):
                continue
            if name == "model":
                its = checkpoint.plain(str(its))
            if its != mine:
                its, mine = checkpoint.first_difference(str(its), str(mine))
                end = {
                    "epochs": f"end it with epochs={its_epochs} and then ask for more, ",
                    "rows": "for other data load its model and train that in another folder, ",
                }.get(name, "")
                raise CheckpointError(
                    f"{path}: belongs to another run: its {name} is {its}, and here it is "
                    f"{mine}; {end}go on with the same settings, or "
                    f"choose another folder"
                )
        return other and epochs > done

    def take_best(self) -> None:
        """Put the weights of the best epoch into the model, if the run looked for it."""
        if self.best:
            self.trainer.module.load_state_dict(self.best)


def _as_json(line: Epoch) -> dict[str, Any]:
    """JSON has no NaN: a missing validation is null."""
    return {name: None if value != value else value for name, value in line._asdict().items()}


def _from_json(line: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in line.items()}
