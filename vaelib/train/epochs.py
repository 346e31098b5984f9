"""The epochs of a run: their steps, what is measured at the end of each, and what is written."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from vaelib.train.diagnosis import diagnose
from vaelib.train.feed import Feed
from vaelib.train.measure import Watch, held_out_loss
from vaelib.train.run import Epoch, Run
from vaelib.vae import Model

Callback = Callable[[Epoch, Model], object]


class Epochs:
    """All epochs that a run has left.

    Args:
        run: where it is.
        feed: what it trains on.
        held_out: what it is measured on, if there is something.
        rates: the learning rate of each group of parameters at a share of all steps.
        warmup, patience, save_every, callbacks: of `fit`.
    """

    def __init__(
        self,
        run: Run,
        feed: Feed,
        held_out: Feed | None,
        *,
        rates: Callable[[float], Sequence[float]],
        warmup: int,
        patience: int | None,
        save_every: int | None,
        callbacks: Sequence[Callback],
    ) -> None:
        self.run, self.feed, self.held_out, self.rates = run, feed, held_out, rates
        self.warmup, self.patience, self.save_every = warmup, patience, save_every
        self.callbacks = callbacks if run.trainer.team.rank == 0 else ()
        self.per_epoch = len(run.batches)
        self.steps = run.config["epochs"] * self.per_epoch
        # Measured as many at a time as a process has in a step: these fit into memory.
        self.most = math.ceil((run.trainer.batch_size or 1) / run.trainer.team.size)
        self.watch = Watch(held_out or feed, run.trainer.device, feed.watched(), self.most)

    def go(self, *, progress: bool) -> None:
        """Train until the run is finished."""
        from tqdm.auto import tqdm  # here: it imports IPython where there is one, for 50 ms

        run, model = self.run, self.feed.model
        if not model.training:  # else parts may be in eval(), and stay so
            model.train()
        total, done = run.config["epochs"], len(run.history)
        quiet = not progress or run.trainer.team.rank > 0
        try:
            with tqdm(total=total, initial=done, desc="epochs", disable=quiet) as bar:
                while not run.finished:
                    line = self._epoch()
                    bar.update()
                    bar.set_postfix(loss=f"{line.loss:.2f}")
                    for callback in self.callbacks:
                        run.finished |= callback(line, model) is True
                    run.finished = run.trainer.team.agree(run.finished)
                    run.save()
        finally:
            if self.warmup:
                model.warm_up(1.0)
        run.take_best()

    def _epoch(self) -> Epoch:
        run, trainer, batches = self.run, self.run.trainer, self.run.batches
        rates: Sequence[float] = (math.nan,)
        run.start_clock()
        for batch in self.feed.feed(batches):
            done = len(run.history) * self.per_epoch + batches.position - 1
            if done <= self.warmup * self.per_epoch > 0:
                self.feed.model.warm_up(done / (self.warmup * self.per_epoch))
            rates = self.rates(done / self.steps)
            trainer.set_rates(rates)
            run.losses[batches.position - 1] = trainer.step(batch)
            within = batches.position < self.per_epoch
            if self.save_every and (done + 1) % self.save_every == 0 and within:
                self._require_finite(batches.position)
                run.stop_clock()
                run.save()
        self._require_finite(self.per_epoch)
        run.stop_clock()
        if self.warmup:
            self.feed.model.warm_up(1.0)
        loss = math.nan
        if self.held_out is not None:
            loss = held_out_loss(self.held_out, trainer.device, self.most)
        counts = len(run.history) >= self.warmup
        return run.end_epoch(loss, self.watch(), rates[0], self.patience if counts else None)

    def _require_finite(self, steps: int) -> None:
        bad: Tensor = (~self.run.losses[:steps].isfinite()).nonzero()
        if len(bad):
            raise FloatingPointError(diagnose(self.run, self.feed, int(bad[0])))
