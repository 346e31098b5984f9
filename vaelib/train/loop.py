"""The loop of a whole run: epochs of steps, a history, and where to go on after a break."""

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
from vaelib.train.epochs import Callback, Epochs
from vaelib.train.feed import Feed, preparation
from vaelib.train.labels import condition_of, require_labels
from vaelib.train.lock import hold
from vaelib.train.optimizer import choose
from vaelib.train.rows import are_rows, fingerprint, require_rows, require_same_kind
from vaelib.train.run import Epoch, Run
from vaelib.train.schedule import Schedule, cosine, factors
from vaelib.train.shards import ShardFeed, Shards, opened, require_alone
from vaelib.train.step import Compile, Precision
from vaelib.train.team import Team
from vaelib.train.torch_schedulers import resolved, scheduled
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
    callbacks: Sequence[Callback] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    save_every: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> list[Epoch]:
    """Minimize a model's loss over rows of data, a batch at a time.

    A tensor goes to the model's device once; order, binarization and noise are drawn there, and no
    number is read back within an epoch. What is asked for and cannot be done raises an error that
    names the alternative; nothing is switched off in silence. It is a loop around `Trainer`, which
    trains any loss on any batches.

    In processes that were started by ``torchrun`` and have called `join`, each takes its share of
    every batch, by ``DistributedDataParallel``; the result is that of one process but for the order
    of sums, and each can go on with the other's checkpoint. All need the same ``folder``.

    Args:
        model: of `vaelib.vae`, or a subclass of `vaelib.vae.Model` with its ``noise`` and its
            ``forward``: the loop calls ``model(x, model.noise(len(x), generator=…))``, and with
            labels ``model(x, noise, labels)``, so that nothing is drawn inside what is compiled. It
            is trained in place, on its device. Parts of it that are in ``eval()`` while it is not
            stay so.
        rows: data ``[n, values]`` of a kind that the likelihood prepares: ``uint8`` pixels,
            floating-point numbers (NaN where one is missing), or counts. A tensor; or a NumPy array
            or `vaelib.data.Rows`, of which the rows of each batch are read when it is their turn:
            ``np.load(path, mmap_mode="r")`` need not fit into memory. (With ``folder`` it is read
            once as a whole, for its hash.) The same rows train to the same weights in all three.
            Or **any iterable of batches with a length**, a ``DataLoader`` say, whose batches are
            rows or (rows, labels); pictures in them are flattened. It decides on order and size of
            its batches, and is gone through once an epoch. Or `Shards`, of which each process
            reads its own.
        labels: one for each row, whole numbers ``[n]``, of a model with a ``condition``; or the
            condition itself, floating point ``[n, k]``.
        epochs: passes over the data, at least 1.
        batch_size: rows per step, 128 if None; the last batch of an epoch may be smaller.
        lr: the learning rate at the first step.
        optimizer: from parameters and ``lr=`` to an optimizer: ``torch.optim.AdamW``, or
            ``functools.partial(torch.optim.SGD, momentum=0.9)``. Adam if None.
        schedule: from the share of all steps that are done, in [0, 1), to a factor on ``lr``, 0 or
            more: `cosine`, `constant`, or a function of yours. `scheduled` makes one of a scheduler
            of torch.
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
            rows to the optimizer's, as one CUDA graph, and starts that once a step: a network as
            small as a chapter's takes less time to compute than its kernels take to start. The
            model's Python then runs only while the step is recorded, so what changes between steps
            must be the content of a tensor, and no number may be read back from the GPU. In both,
            the smaller last batch of an epoch runs uncompiled.
        validation: held-out data, as ``rows``, measured after each epoch on one fixed draw of
            binarization and noise, with the whole weight of the KL.
        validation_labels: theirs, as ``labels``.
        patience: stop after so many epochs without a better ``validation`` loss (none is counted
            during ``warmup``), and end with the best weights. The schedule is still that of all
            ``epochs``.
        callbacks: called with the `Epoch` and the model after each; one that returns True ends the
            training. Of several processes the first calls them.
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
            patience again, counted from where it goes on. A loader cannot be entered midway: its
            run goes on **at the start of the epoch** in which it was broken off, with the batches
            that it had, if their order is drawn from torch's generators (the loader's own is kept
            in the checkpoint).
        save_every: also write a checkpoint whenever so many steps have passed since the last.
        generator: source of all randomness (order, binarization, the model's noise), on the
            model's device. With the same generator, model and machine the result is the same.
            Without one, a seed is taken from torch's own generator.
        progress: show a bar.

    **Other data for a trained model**: load it (``vaelib.load``, or `load`) and fit it to them, in
    another ``folder``. It starts from its weights. A likelihood that has measured its data
    (`vaelib.likelihood.Likelihood.measure`) keeps the units that it took from the first, because
    its weights are in these.

    **Every epoch in TensorBoard**, or in whatever else has a history::

        writer = torch.utils.tensorboard.SummaryWriter("board")

        def board(epoch, model):
            for name, value in epoch._asdict().items():
                writer.add_scalar(name, value, epoch.epoch)

    Returns:
        One `Epoch` per pass, also of those before a break.

    Raises:
        TypeError: if an argument has another type, the likelihood is for rows of another kind, or
            the loss is not one float32 number.
        ValueError: if there are no rows or no weights to train, a number is out of range, labels
            are missing or too many, the binarization contradicts the likelihood, or the machine or
            the model cannot do what is asked for.
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

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(16, 2, hidden=(8,)), MLPDecoder(2, 16, hidden=(8,)))
    >>> black = torch.zeros(200, 16, dtype=torch.uint8)
    >>> history = fit(model, black, epochs=3, batch_size=20, lr=0.01, progress=False)
    >>> [epoch.epoch for epoch in history], history[0].loss > history[2].loss
    ([1, 2, 3], True)
    """
    device, condition, team = arguments.device_of(model), condition_of(model), Team()
    shards = None
    if isinstance(rows, Shards):
        require_alone(labels, condition, generator)
        size = whole("batch_size", 128 if batch_size is None else batch_size, 1)
        shards = opened(rows, team, size)
        rows = shards.sample()
    require_rows(rows, "rows")
    labels = require_labels(labels, rows, condition, "labels")
    labels_held_out = None
    if validation is not None:
        require_rows(validation, "validation")
        require_same_kind(rows, validation)
        labels_held_out = require_labels(
            validation_labels, validation, condition, "validation_labels"
        )
    epochs = whole("epochs", epochs, 1)
    if not are_rows(rows):
        arguments.require_own_batches(batch_size, save_every)
    batch_size = whole("batch_size", 128 if batch_size is None else batch_size, 1)
    lr = positive("lr", lr, most=sys.float_info.max)
    warmup = arguments.warmup_of(model, warmup, epochs)
    clip = None if clip is None else positive("clip", clip)
    patience = None if patience is None else whole("patience", patience, 1)
    if validation is None:
        arguments.require_nothing_held_out(patience=patience, validation_labels=validation_labels)
    save_every = None if save_every is None else whole("save_every", save_every, 1)
    arguments.require_callbacks(callbacks)
    arguments.require_folder(folder)
    require_kind("resume", resume, bool, "True or False")
    require_kind("progress", progress, bool, "True or False")
    if folder is None and (resume or save_every):
        raise BadValue(
            "fit: resume and save_every need folder=, where the checkpoint lies", "folder"
        )
    if generator is None:
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
    arguments.require_generator(generator, device)

    prepare, prepared = preparation(model.likelihood, rows, device, binarization)
    feed = Feed.on(device, model, rows, labels, prepare)
    if shards is not None:
        feed = ShardFeed(model, feed.rows, prepare, opened=shards)
    held_out = None
    if validation is not None:
        held_out = Feed.on(device, model, validation, labels_held_out, prepare)
    batches = feed.batches(batch_size, generator)
    size = arguments.size_of(batches, team, condition)
    chosen = choose(optimizer, model, lr, device, graph=compile == "cuda-graph")
    schedule = resolved(schedule, lr=lr, epochs=epochs, per_epoch=len(batches))
    trainer = _Steps(
        model,
        chosen.optimizer,
        prepare=feed.draw,
        precision=precision,
        compile=compile,
        clip=clip,
        batch_size=size,
        generator=generator,
    )
    trainer.whole = shards is None
    config = {
        "model": checkpoint.describe(model),
        "rows": fingerprint(rows, folder) if shards is None else shards.fingerprint(folder),
        "labels": fingerprint(labels, folder),
        "epochs": epochs,
        "batch_size": batch_size if are_rows(rows) else size,
        "lr": lr,
        "optimizer": chosen.words,
        "schedule": factors(schedule, epochs * len(batches)),
        "binarization": prepared,
        "warmup": warmup,
        "clip": clip,
        "precision": precision,
        "compile": compile,
        "validation": fingerprint(validation, folder),
        "validation_labels": fingerprint(labels_held_out, folder),
        "patience": patience,
    }

    def rates(share: float) -> list[float]:
        factor = float(schedule(share))
        return [rate * factor for rate in chosen.rates]

    with hold(folder, team):
        run = Run(trainer, batches, config, folder)
        if run.path is None or not run.path.exists():
            feed.measure()
        elif not resume:
            raise FileExistsError(
                f"fit: there is a checkpoint in {folder}; go on from it with resume=True, or "
                f"choose another folder"
            )
        elif run.restore(run.path) and team.rank == 0:
            done = run.went_on[-1]["after"]
            warnings.warn(
                f"{run.path}: the run had ended after {done} epochs and goes on to {epochs}, "
                f"with its weights and moments; its learning rate is that of a run of {epochs} "
                f"epochs from there on, {rates(done / epochs)[0]:.3g} at first",
                stacklevel=2,
            )
        left = Epochs(
            run,
            feed,
            held_out,
            rates=rates,
            warmup=warmup,
            patience=patience,
            save_every=save_every,
            callbacks=callbacks,
        )
        left.go(progress=progress)
    return run.history
