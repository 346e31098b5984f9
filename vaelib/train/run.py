"""Where a run is: all that a loop needs to go on after a break as if there had been none."""

import csv
import io
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

import vaelib
from vaelib.train import checkpoint
from vaelib.train.arguments import same_schedule
from vaelib.train.checkpoint import CheckpointError

T = TypeVar("T")


class Epoch(NamedTuple):
    """One line of the history."""

    epoch: int  # counted from 1
    loss: float  # mean over the epoch's data, as the model returned it while it was learning
    seconds: float
    validation: float = math.nan  # the loss on the validation data, if there are any


class Run:
    """A run's state, in memory and in its folder.

    Attributes:
        history: the epochs that have ended.
        epoch_start: state of the generator when the current epoch began. What the epoch draws
            follows from it, so that a place within the epoch is one number, ``position``.
        position: how many steps of the current epoch are done.
        losses: of these steps, on the CPU.
        seconds: spent on these steps.
        best, best_epoch: the weights with the best validation loss, if somebody looks for them.
        finished: whether the last epoch has ended.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        config: dict[str, Any],
        folder: str | Path | None,
        *,
        first: bool,
    ) -> None:
        self.model, self.optimizer, self.generator = model, optimizer, generator
        self.config, self.first = config, first
        self.path = None if folder is None else Path(folder) / checkpoint.NAME
        self.history: list[Epoch] = []
        self.epoch_start = generator.get_state()
        self.position, self.losses, self.seconds = 0, torch.zeros(0), 0.0
        self.best: dict[str, Tensor] = {}
        self.best_epoch = 0
        self.finished = False
        self._break: dict[str, Tensor] = {}  # states of the generators at a break

    def rest_of_epoch(self, order: Callable[[], Sequence[T]]) -> Sequence[T]:
        """The batches of the current epoch that are still to come.

        After a break within an epoch its order is drawn once more, and the rest of it is gone
        through with the generators as they were.
        """
        if not self.position:
            self._set_generators()
            self.epoch_start = self.generator.get_state()
            return order()
        self.generator.set_state(self.epoch_start)
        rest = order()[self.position :]
        self._set_generators()
        return rest

    def end_epoch(self, line: Epoch, patience: int | None) -> None:
        """Add a line to the history; with patience, look whether it is the best, or the last."""
        self.history.append(line)
        self.position, self.losses, self.seconds = 0, torch.zeros(0), 0.0
        self.finished = line.epoch == self.config["epochs"]
        if patience is None:
            return
        if not self.best or line.validation < self.history[self.best_epoch - 1].validation:
            self.best = {name: t.clone() for name, t in self.model.state_dict().items()}
            self.best_epoch = line.epoch
        elif line.epoch - self.best_epoch >= patience:
            self.finished = True

    def save(self) -> None:
        """Replace the folder's checkpoint and its history; of several processes the first does."""
        if self.path is None or not self.first:
            return
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"best.{name}": t for name, t in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": t for name, t in state.items()}
        tensors |= {
            "epoch_start": self.epoch_start,
            "losses": self.losses,
        }
        tensors |= {f"generator.{name}": t for name, t in self._generators().items()}
        about = {
            "config": self.config,
            "history": [_as_json(line) for line in self.history],
            "position": self.position,
            "seconds": self.seconds,
            "best_epoch": self.best_epoch,
            "finished": self.finished,
            "versions": _versions(),
        }
        checkpoint.save(self.path, tensors, about)
        self._write_history(self.path)

    def _write_history(self, path: Path) -> None:
        """The history as ``history.csv``, one line for each epoch that has ended."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerows([Epoch._fields, *self.history])
        checkpoint.write(path.with_name("history.csv"), text.getvalue().encode())

    def restore(self, path: Path) -> None:
        """Take up a checkpoint; nothing is changed unless all of it fits.

        Raises:
            CheckpointError: if it is damaged, or belongs to another model, data or settings.
        """
        tensors, about = checkpoint.read_run(path)
        for name, mine in self.config.items():
            its = about["config"].get(name)
            if name == "schedule" and same_schedule(str(its), mine):
                continue
            if name == "model":
                its = checkpoint.plain(str(its))
            if its != mine:
                its, mine = checkpoint.first_difference(str(its), str(mine))
                raise CheckpointError(
                    f"{path}: belongs to another run: its {name} is {its}, and here it is "
                    f"{mine}; go on with the same settings, or choose another folder"
                )
        if about["versions"] != _versions():
            warnings.warn(
                f"{path}: written with {about['versions']}, and this is {_versions()}: the "
                f"run goes on, but not bit for bit as it would have there",
                stacklevel=3,
            )
        try:
            best = checkpoint.part(tensors, "best.")
            if best:
                checkpoint.require_weights(self.model, best, path)
            moments = self._moments(checkpoint.part(tensors, "optimizer."))
            history = [Epoch(**_from_json(line)) for line in about["history"]]
            epoch_start, losses = tensors["epoch_start"], tensors["losses"]
            states = checkpoint.part(tensors, "generator.")
            for state in (epoch_start, states["own"]):
                torch.Generator(self.generator.device).set_state(state)
            torch.Generator().set_state(states["cpu"])
            if not all(isinstance(value, int | float) for line in history for value in line):
                raise ValueError("its history has what is no number")
            if about["position"] != len(losses) or not 0 <= about["best_epoch"] <= len(history):
                raise ValueError("it is at a place that it does not have")
        except CheckpointError:
            raise
        except (LookupError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise checkpoint.incomplete(path, f"{type(error).__name__}: {error}") from error
        checkpoint.load_into(self.model, checkpoint.part(tensors, "model."), path)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        self.best, self.history = best, history
        self.epoch_start, self.losses, self._break = epoch_start, losses, states
        self.position, self.seconds = about["position"], about["seconds"]
        self.best_epoch, self.finished = about["best_epoch"], about["finished"]
        if self.first:
            self._write_history(path)

    def _moments(self, tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
        """Adam's state, by the number of a parameter; raises unless it is that of our model's."""
        moments: dict[int, dict[str, Tensor]] = {}
        for name, t in tensors.items():
            number, key = name.split(".")
            moments.setdefault(int(number), {})[key] = t
        weights = [p for group in self.optimizer.param_groups for p in group["params"]]
        for index, state in moments.items():
            shape = weights[index].shape
            its = {name: tuple(t.shape) for name, t in state.items()}
            expected = {"step": (), "exp_avg": tuple(shape), "exp_avg_sq": tuple(shape)}
            if its != expected:
                raise ValueError(f"optimizer.{index}: expected {expected}, got {its}")
        return moments

    def take_best(self) -> None:
        """Put the weights of the best epoch into the model, if the run looked for it."""
        if self.best:
            self.model.load_state_dict(self.best)

    def _generators(self) -> dict[str, Tensor]:
        """The run's own, and torch's, which models use that draw by themselves (dropout, say)."""
        states = {"own": self.generator.get_state(), "cpu": torch.get_rng_state()}
        if self.generator.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.generator.device)
        return states

    def _set_generators(self) -> None:
        if self._break:
            torch.set_rng_state(self._break["cpu"])
            if "cuda" in self._break:
                torch.cuda.set_rng_state(self._break["cuda"], self.generator.device)
            self.generator.set_state(self._break["own"])
            self._break = {}


def _versions() -> dict[str, str]:
    return {"vaelib": vaelib.__version__, "torch": torch.__version__}


def _as_json(line: Epoch) -> dict[str, Any]:
    """JSON has no NaN: a missing validation is null."""
    return {name: None if value != value else value for name, value in line._asdict().items()}


def _from_json(line: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in line.items()}
