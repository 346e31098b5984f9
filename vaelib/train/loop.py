"""The loop of a whole run: epochs of steps, a history, and where to go on after a break."""

import math
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from vaelib.arguments import BadValue
from vaelib.data import Binarization
from vaelib.train import arguments, checkpoint
from vaelib.train.arguments import positive, require_kind, whole
from vaelib.train.diagnosis import diagnose
from vaelib.train.feed import Feed, preparation
from vaelib.train.lock import hold
from vaelib.train.measure import Watch, held_out_loss
from vaelib.train.rows import (
    are_rows,
    fingerprint,
    require_labels,
    require_rows,
    require_same_kind,
)
from vaelib.train.run import Epoch, Run
from vaelib.train.schedule import Schedule, cosine, factors, resolved, scheduled
from vaelib.train.step import Compile, Precision
from vaelib.train.team import Team
from vaelib.train.trainer import Trainer
from vaelib.vae import Model


class _Steps(Trainer):
    where = "fit"


def fit(
    model: Model,
    rows: Any,
    *,
    labels: Tensor | np.ndarray | None = None,
    epochs: int,
    batch_size: int | None = None,
    lr: float = 1e-3,
    optimizer: Callable[..., Optimizer] | None = None,
    schedule: Schedule | scheduled = cosine,
    binarization: Binarization | None = None,
    warmup: int = 0,
    clip: float | None = None,
    precision: Precision = "float32",
    compile: Compile = False,  # noqa: A002
    validation: Any = None,
    validation_labels: Tensor | np.ndarray | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callable[[Epoch, Any], object]] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    save_every: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> list[Epoch]:
    """Minimize a model's loss with Adam.

    The data go to the model's device once; order, binarization and noise are drawn there, and no
    number is read back within an epoch. What is asked for and cannot be done raises an error that
    names the alternative; nothing is switched off in silence. It is a loop around `Trainer`, which
    trains any loss with any optimizer.

    In processes that were started by ``torchrun`` and have called `join`, each takes its share of
    every batch, by ``DistributedDataParallel``; the result is that of one process but for the order
    of sums, and each can go on with the other's checkpoint. All need the same ``folder``.

    Args:
        model: of `vaelib.vae`, or a subclass of `vaelib.vae.Model` with its ``noise`` and its
            ``forward``: the loop calls ``model(x, model.noise(len(x), generator=…))``, so that
            nothing is drawn inside what is compiled. It is trained in place, on its device. Parts
            of it that are in ``eval()`` while it is not stay so.
        pixels: images, ``uint8 [n, pixel]``: a tensor, or a NumPy array, from which the images of
            each batch are read when it is their turn. ``np.load(path, mmap_mode="r")`` is one that
            need not fit into memory; with ``folder`` it is read once as a whole, for its hash. The
            same images train to the same weights in both.
        epochs: passes over the data, at least 1.
        batch_size: images per step; the last batch of an epoch may be smaller.
        lr: the learning rate at the first step.
        schedule: from the share of all steps that are done, in [0, 1), to a factor on ``lr``, 0 or
            more: `cosine`, `constant`, or a function of yours.
        binarization: how pixels become data, afresh in each step. None leaves it to the model's
            likelihood (`vaelib.likelihood.Likelihood.prepare`). A name of `vaelib.data.binarize`
            must make what the likelihood is for.
        warmup: epochs, at most all, over which the weight of the KL rises from 0 to the model's
            own, in equal steps (`vaelib.vae.Model.warm_up`).
        clip: scale a step's gradient down to this Euclidean norm if it is longer.
        precision: ``"bfloat16"`` computes matrix products and convolutions in it, on hardware that
            has it; weights, Adam and everything from the networks' outputs to the loss stay in
            float32: a bfloat16 near −100 has its neighbours half a nat away.
        compile: ``True`` compiles the loss and its gradient by ``torch.compile``, half a minute
            once. ``"cuda-graph"``, for one GPU, also records the whole step, from the choice of
            images to Adam, as one CUDA graph, and starts that once a step: a network as small as a
            chapter's takes less time to compute than its kernels take to start. The model's Python
            then runs only while the step is recorded, so what changes between steps must be the
            content of a tensor, and no number may be read back from the GPU. In both, the smaller
            last batch of an epoch runs uncompiled.
        validation: held-out images, as ``pixels``, measured after each epoch on one fixed
            draw of binarization and noise, with the whole weight of the KL.
        patience: stop after so many epochs without a better ``validation`` loss (none is counted
            during ``warmup``), and end with the best weights. The schedule is still that of all
            ``epochs``.
        callbacks: called with the `Epoch` after each; one that returns True ends the training. Of
            several processes the first calls them.
        folder: of this run: a checkpoint, replaced at the end of each epoch, and ``history.csv``.
            It is locked as long as this runs, so that no second run writes there; where there are
            no locks (Windows, some file systems), a warning says so.
        resume: go on from the folder's checkpoint, exactly: on a CPU, the same weights bit for bit
            as without the break. Without a checkpoint it starts, so that one command serves before
            and after a kill. **A run that has finished goes on if ``epochs`` is more than it has
            done**, with its last weights and moments. Its learning rate is from there on that of a
            run of ``epochs`` epochs: after 10 epochs of `cosine`, at whose end it was 0, one of 20
            begins again at ``lr`` times ``cosine(10 / 20)``, a half, and falls to 0. With
            ``patience`` the best epoch of all is still the one to beat, and there is as much
            patience again, counted from where it goes on.
        save_every: also write a checkpoint whenever so many steps have passed since the last.
        generator: source of all randomness (order, binarization, the model's noise), on the
            model's device. With the same generator, model and machine the result is the same.
            Without one, a seed is taken from torch's own generator.
        progress: show a bar.

    Returns:
        One `Epoch` per pass, also of those before a break.

    Raises:
        TypeError: if an argument has another type (pixels that are no ``uint8`` tensor, say), or
            the loss is not one float32 number.
        ValueError: if there are no images or no weights to train, a number is out of range, the
            binarization contradicts the likelihood, or the machine or the model cannot do what is
            asked for.
        FloatingPointError: if a loss is not finite; names the term, the step and the last good
            checkpoint. The weights are then those before that step.
        RuntimeError: if torch cannot compile the model, or not record its step.
        FileExistsError: if the folder has a checkpoint and ``resume`` is False.
        CheckpointError: if the checkpoint is damaged, or of a run with another model, other data or
            other settings; names them. Or if more epochs are done than ``epochs``.
        BlockingIOError: if another run is in the folder; names its process.
        OSError: if a checkpoint cannot be written; the last one is left.

    Warns:
        UserWarning: if a finished run goes on, with the learning rate at which it does; if another
            version of torch or vaelib wrote the checkpoint.

    References:
        Kingma and Ba, Adam (arXiv:1412.6980); Sønderby et al., Ladder VAEs (arXiv:1602.02282), for
        the warm-up.
    """
    device = arguments.device_of(model)
    require_rows(rows, "rows")
    labels = require_labels(labels, rows, getattr(model, "condition", None), "labels")
    epochs = whole("epochs", epochs, 1)
    if not are_rows(rows):
        arguments.require_own_batches(batch_size, save_every)
    batch_size = whole("batch_size", 128 if batch_size is None else batch_size, 1)
    lr = positive("lr", lr, most=sys.float_info.max)
    warmup = whole("warmup", warmup, 0)
    if warmup > epochs:
        raise BadValue(
            f"fit: expected warmup ≤ epochs, got {warmup} > {epochs}: the KL would never have its "
            f"whole weight",
            "warmup",
        )
    if warmup:
        model.warm_up(1.0)  # raises unless it can
    clip = None if clip is None else positive("clip", clip)
    patience = None if patience is None else whole("patience", patience, 1)
    save_every = None if save_every is None else whole("save_every", save_every, 1)
    arguments.require_callbacks(callbacks)
    arguments.require_folder(folder)
    require_kind("resume", resume, bool, "True or False")
    require_kind("progress", progress, bool, "True or False")
    if validation is not None:
        require_rows(validation, "validation")
        require_same_kind(rows, validation)
        condition = getattr(model, "condition", None)
        validation_labels = require_labels(
            validation_labels, validation, condition, "validation_labels"
        )
    elif patience is not None:
        raise BadValue(
            "fit: patience needs validation=, held-out rows to be measured on", "patience"
        )
    elif validation_labels is not None:
        raise BadValue("fit: validation_labels need validation=", "validation_labels")
    if folder is None and (resume or save_every):
        raise BadValue(
            "fit: resume and save_every need folder=, where the checkpoint lies", "folder"
        )
    if generator is None:
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
    arguments.require_generator(generator, device)

    def placed(data: Any, its_labels: Tensor | None) -> tuple[Any, Tensor | None]:
        if not isinstance(data, Tensor):
            return data, its_labels
        return data.to(device), None if its_labels is None else its_labels.to(device)

    prepare, prepared = preparation(model.likelihood, rows, device, binarization)
    data, its_labels = placed(rows, labels)
    feed = Feed(model, data, prepare, its_labels)
    held_out = None
    if validation is not None:
        data, its_labels = placed(validation, validation_labels)
        held_out = Feed(model, data, prepare, its_labels)
    batches = feed.batches(batch_size, generator)
    per_epoch, team = len(batches), Team()
    size = arguments.size_of(batches, team, getattr(model, "condition", None))
    schedule = resolved(schedule, lr, epochs, per_epoch)
    graph = compile == "cuda-graph"  # it would record a number as it was
    rate = torch.tensor(lr, dtype=torch.float32, device=device) if graph else lr
    made, its_name = arguments.optimizer_of(optimizer, model, rate)
    bases = [lr if group["lr"] is rate else float(group["lr"]) for group in made.param_groups]
    trainer = _Steps(
        model,
        made,
        prepare=feed.draw,
        precision=precision,
        compile=compile,
        clip=clip,
        batch_size=size,
        generator=generator,
    )
    config = {
        "model": checkpoint.describe(model),
        "rows": fingerprint(rows, folder),
        "labels": fingerprint(labels, folder),
        "epochs": epochs,
        "batch_size": batch_size if are_rows(rows) else size,
        "lr": lr,
        "optimizer": its_name,
        "schedule": factors(schedule, epochs * per_epoch),
        "binarization": prepared,
        "warmup": warmup,
        "clip": clip,
        "precision": precision,
        "compile": compile,
        "validation": fingerprint(validation, folder),
        "validation_labels": fingerprint(validation_labels, folder),
        "patience": patience,
    }
    with hold(folder, team):
        run = Run(trainer, batches, config, folder)
        if run.path is not None and run.path.exists():
            if not resume:
                raise FileExistsError(
                    f"fit: there is a checkpoint in {folder}; go on from it with resume=True, or "
                    f"choose another folder"
                )
            if run.restore(run.path) and team.rank == 0:
                done = run.went_on[-1]["after"]
                warnings.warn(
                    f"{run.path}: the run had ended after {done} epochs and goes on to {epochs}, "
                    f"with its weights and moments; its learning rate is that of a run of {epochs} "
                    f"epochs from there on, {lr * float(schedule(done / epochs)):.3g} at first",
                    stacklevel=2,
                )
        else:
            feed.measure()

        def require_finite() -> None:
            bad = (~run.losses[: batches.position or per_epoch].isfinite()).nonzero()
            if len(bad):
                raise FloatingPointError(diagnose(run, feed, int(bad[0]), lr))

        from tqdm.auto import tqdm  # here: it imports IPython where there is one, for 50 ms

        most = math.ceil(size / team.size)
        n = len(rows) if are_rows(rows) else per_epoch * size
        watch = Watch(held_out or feed, device, min(1000, max(100, n // 30)), most)
        if not model.training:  # else parts may be in eval(), and stay so
            model.train()
        bar = tqdm(
            total=epochs,
            initial=len(run.history),
            desc="epochs",
            disable=not progress or team.rank > 0,
        )
        try:
            while not run.finished:
                run.start_clock()
                for batch in feed.feed(batches):
                    done = len(run.history) * per_epoch + batches.position - 1
                    if done <= warmup * per_epoch > 0:
                        model.warm_up(done / (warmup * per_epoch))
                    factor = float(schedule(done / (epochs * per_epoch)))
                    trainer.set_rates([base * factor for base in bases])
                    run.losses[batches.position - 1] = trainer.step(batch)
                    if save_every and (done + 1) % save_every == 0 and batches.position < per_epoch:
                        require_finite()
                        run.stop_clock()
                        run.save()
                require_finite()
                run.stop_clock()
                if warmup:
                    model.warm_up(1.0)
                loss = math.nan if held_out is None else held_out_loss(held_out, device, most)
                beyond = len(run.history) >= warmup
                line = run.end_epoch(loss, watch(), lr * factor, patience if beyond else None)
                bar.update()
                bar.set_postfix(loss=f"{line.loss:.2f}")
                for callback in callbacks if team.rank == 0 else ():
                    run.finished |= callback(line, model) is True
                run.finished = team.agree(run.finished)
                run.save()
        finally:
            bar.close()
            if warmup:
                model.warm_up(1.0)
        run.take_best()
        return run.history
