"""The loop: batches from data that stay on the device, steps, history, and where to go on."""

import hashlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from vaelib.data import Binarization
from vaelib.nets import evaluation_mode
from vaelib.train import arguments, checkpoint
from vaelib.train.arguments import Prepare, Schedule
from vaelib.train.lock import hold
from vaelib.train.run import Epoch, Run
from vaelib.train.step import Compile, Precision, Step
from vaelib.train.team import Team


def cosine(share: float) -> float:
    """A schedule: the learning rate falls from 1 to 0 along half a cosine.

    Args:
        share: of all steps, how many are done, in [0, 1).

    References:
        Loshchilov and Hutter, SGDR (arXiv:1608.03983).

    >>> cosine(0.0), cosine(0.5), cosine(1.0)
    (1.0, 0.5, 0.0)
    """
    return 0.5 * (1 + round(math.cos(math.pi * share), 15))


def constant(share: float) -> float:  # noqa: ARG001
    """A schedule: the learning rate stays as it is."""
    return 1.0


def fit(
    model: nn.Module,
    pixels: Tensor,
    *,
    epochs: int,
    batch_size: int = 128,
    lr: float = 1e-3,
    schedule: Schedule = cosine,
    binarization: Binarization | None = None,
    warmup: int = 0,
    clip: float | None = None,
    precision: Precision = "float32",
    compile: Compile = False,  # noqa: A002
    validation: Tensor | None = None,
    patience: int | None = None,
    callbacks: Sequence[Callable[[Epoch], object]] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    save_every: int | None = None,
    generator: torch.Generator | None = None,
    progress: bool = True,
) -> list[Epoch]:
    """Minimize a model's loss with Adam.

    The data go to the model's device once; order, binarization and noise are drawn there, and no
    number is read back within an epoch. What is asked for and cannot be done raises an error that
    names the alternative; nothing is switched off in silence.

    In processes that were started by ``torchrun`` and have called `join`, each takes its share of
    every batch, by ``DistributedDataParallel``; the result is that of one process but for the order
    of sums, and each can go on with the other's checkpoint. All need the same ``folder``.

    Args:
        model: ``model(x)`` returns a scalar loss, a mean over the batch. If it has a method
            ``noise(n, generator=…)``, the loop calls ``model(x, model.noise(len(x)))``, so that
            nothing is drawn inside what is compiled; noise is ``[*samples, n, k]``. It is trained
            in place, on its device. Parts of it that are in ``eval()`` while it is not stay so.
        pixels: images, ``uint8 [n, pixel]``.
        epochs: passes over the data, at least 1.
        batch_size: images per step; the last batch of an epoch may be smaller.
        lr: the learning rate at the first step.
        schedule: from the share of all steps that are done, in [0, 1), to a factor on ``lr``, 0 or
            more: `cosine`, `constant`, or a function of yours.
        binarization: how pixels become data, afresh in each step. None leaves it to the model's
            likelihood (`vaelib.likelihood.Likelihood.prepare`); a model without one gets
            ``"dynamic"``. A name of `vaelib.data.binarize` must make what the likelihood is for.
        warmup: epochs, at most all, over which the weight of the KL rises from 0 to the model's
            own, in equal steps; the model must have a buffer ``kl_warmup``, as `vaelib.vae.VAE`
            has.
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
        validation: held-out images, ``uint8 [m, pixel]``, measured after each epoch on one fixed
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
            and after a kill.
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
            other settings; names them.
        BlockingIOError: if another run is in the folder; names its process.
        OSError: if a checkpoint cannot be written; the last one is left.

    References:
        Kingma and Ba, Adam (arXiv:1412.6980); Sønderby et al., Ladder VAEs (arXiv:1602.02282), for
        the warm-up.
    """
    device = arguments.device_of(model)
    arguments.require_pixels(pixels, "pixels")
    epochs = arguments.whole("epochs", epochs, 1)
    batch_size = arguments.whole("batch_size", batch_size, 1)
    lr = arguments.positive("lr", lr, most=sys.float_info.max)
    warmup = arguments.whole("warmup", warmup, 0)
    if warmup > epochs:
        raise ValueError(
            f"fit: expected warmup ≤ epochs, got {warmup} > {epochs}: the KL would never have its "
            f"whole weight"
        )
    clip = None if clip is None else arguments.positive("clip", clip)
    patience = None if patience is None else arguments.whole("patience", patience, 1)
    save_every = None if save_every is None else arguments.whole("save_every", save_every, 1)
    arguments.require_callbacks(callbacks)
    arguments.require_folder(folder)
    arguments.require_kind("resume", resume, bool, "True or False")
    arguments.require_kind("progress", progress, bool, "True or False")
    if validation is not None:
        arguments.require_pixels(validation, "validation")
        if validation.shape[1] != pixels.shape[1]:
            raise ValueError(
                f"fit: expected validation with {pixels.shape[1]} pixels an image, as pixels has, "
                f"got {validation.shape[1]}"
            )
    elif patience is not None:
        raise ValueError("fit: patience needs validation=, held-out images to be measured on")
    kl_warmup = cast(Tensor, getattr(model, "kl_warmup", None))
    if warmup and kl_warmup is None:
        raise ValueError(
            f"fit: warmup={warmup} needs a model with a buffer `kl_warmup`, a factor on the KL in "
            f"its loss, as vaelib.vae.VAE has; {type(model).__name__} has none. Use warmup=0"
        )
    if folder is None and (resume or save_every):
        raise ValueError("fit: resume and save_every need folder=, where the checkpoint lies")

    size = min(batch_size, len(pixels))
    per_epoch = math.ceil(len(pixels) / size)
    team = Team()
    team.require_rows(size, len(pixels) - (per_epoch - 1) * size)
    if generator is None:
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, ())))
    arguments.require_kind(
        "generator", generator, torch.Generator, "a generator, as torch.Generator().manual_seed(0)"
    )
    if generator.device.type != device.type:
        raise ValueError(
            f"fit: expected a generator on the model's device, {device}, got one on "
            f"{generator.device}; use torch.Generator({device.type!r})"
        )
    images = pixels.to(device)
    prepare, prepared = arguments.preparation(model, images, binarization)
    batches = _Batches(model, images, prepare, generator)
    step = Step(
        model,
        batches.draw,
        generator,
        batch=size,
        precision=precision,
        compile=compile,
        clip=clip,
        team=team,
    )
    config = {
        "model": checkpoint.describe(model),
        "pixels": _fingerprint(pixels, folder),
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "schedule": arguments.factors(schedule, epochs * per_epoch),
        "binarization": prepared,
        "warmup": warmup,
        "clip": clip,
        "precision": precision,
        "compile": compile,
        "validation": _fingerprint(validation, folder),
        "patience": patience,
    }
    with hold(folder, team):
        run = Run(model, step.optimizer, generator, config, folder, first=team.rank == 0)
        if run.path is not None and run.path.exists():
            if not resume:
                raise FileExistsError(
                    f"fit: there is a checkpoint in {folder}; go on from it with resume=True, or "
                    f"choose another folder"
                )
            run.restore(run.path)
        else:
            generator.set_state(team.agree(generator.get_state()))

        held_out = None if validation is None else validation.to(device)
        # On the CPU: not every device has float64 (Apple's GPUs have not).
        sizes = torch.full((per_epoch,), size, dtype=torch.float64)
        sizes[-1] = len(pixels) - (per_epoch - 1) * size

        def order() -> Sequence[Tensor]:
            return batches.order(size)

        def require_finite() -> None:
            bad = (~losses[: run.position].isfinite()).nonzero()
            if len(bad):
                position = int(bad[0])
                generator.set_state(run.epoch_start)
                *_, batch = map(batches.draw, order()[: position + 1])
                where = f"step {position + 1} of {per_epoch} of epoch {len(run.history) + 1}"
                raise FloatingPointError(_diagnose(model, batch, where, lr, run.path))

        from tqdm.auto import tqdm  # here: it imports IPython where there is one, for 50 ms

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
                epoch, before, start = len(run.history) + 1, run.seconds, time.perf_counter()
                # Losses stay on the device until somebody needs them: once an epoch, or to save.
                losses = torch.zeros(per_epoch, device=device)
                losses[: run.position] = run.losses.to(device)
                for rows in run.rest_of_epoch(order):
                    done = (epoch - 1) * per_epoch + run.position
                    if done <= warmup * per_epoch > 0:
                        kl_warmup.fill_(done / (warmup * per_epoch))
                    share = done / (epochs * per_epoch)
                    losses[run.position] = step(rows, lr=lr * float(schedule(share)))
                    run.position += 1
                    if save_every and (done + 1) % save_every == 0 and run.position < per_epoch:
                        require_finite()
                        run.losses = losses[: run.position].cpu()
                        run.seconds = before + time.perf_counter() - start
                        run.save()
                require_finite()
                loss = (losses.cpu().double() @ sizes).item() / len(pixels)
                seconds = before + time.perf_counter() - start
                if warmup:
                    kl_warmup.fill_(1.0)
                measured = _held_out_loss(model, held_out, prepare, math.ceil(size / team.size))
                line = Epoch(epoch, loss, seconds, measured)
                run.end_epoch(line, patience if epoch > warmup else None)
                bar.update()
                bar.set_postfix(loss=f"{loss:.2f}")
                for callback in callbacks if team.rank == 0 else ():
                    run.finished |= callback(line) is True
                run.finished = team.agree(run.finished)
                run.save()
        finally:
            bar.close()
            if warmup:
                kl_warmup.fill_(1.0)
        run.take_best()
        return run.history


@dataclass(frozen=True)
class _Batches:
    """An epoch's batches: data in a random order, prepared, each with the noise of its loss."""

    model: nn.Module
    pixels: Tensor
    prepare: Prepare
    generator: torch.Generator

    def order(self, size: int) -> Sequence[Tensor]:
        """For each batch of a pass over the data, the numbers of its images."""
        n, device = len(self.pixels), self.pixels.device
        return torch.randperm(n, generator=self.generator, device=device).split(size)

    def draw(self, rows: Tensor) -> list[Tensor]:
        """The batch of these images."""
        x = self.prepare(self.pixels[rows], generator=self.generator)
        noise = getattr(self.model, "noise", None)
        return [x] if noise is None else [x, noise(len(x), generator=self.generator)]


@torch.no_grad()
def _held_out_loss(model: nn.Module, pixels: Tensor | None, prepare: Prepare, most: int) -> float:
    """The mean loss, eager and in float32, with the same draws after each epoch.

    At most so many images at a time as a step of training has, because these fit into memory.
    """
    if pixels is None:
        return math.nan
    generator = torch.Generator(pixels.device).manual_seed(0)
    batches = _Batches(model, pixels, prepare, generator)
    losses: list[Tensor] = []
    sizes: list[int] = []
    with evaluation_mode(model):
        for rows in batches.order(1000):  # drawn so, whatever fits: a draw depends on its size
            batch = batches.draw(rows)
            if not all(t.ndim > 1 and t.shape[-2] == len(rows) for t in batch):
                most = len(rows)  # noise of another shape: nobody knows which part is whose
            for start in range(0, len(rows), most):
                some = [t[..., start : start + most, :] for t in batch]
                losses.append(model(*some))
                sizes.append(len(some[0]))
    weights = torch.tensor(sizes, dtype=torch.float64)
    return (torch.stack(losses).cpu().double() @ weights).item() / len(pixels)


def _diagnose(
    model: nn.Module, batch: list[Tensor], where: str, lr: float, path: Path | None
) -> str:
    """What is not finite, found by computing the failed step's loss again, term by term."""
    kept = "" if path is None or not path.exists() else f" The last good checkpoint is {path}."
    if not all(p.isfinite().all() for p in model.parameters()):
        return (
            f"fit: weights are not finite at {where}: the gradient of the step before was not."
            f"{kept} clip=1.0 stops at that step; try it, and a smaller lr than {lr}"
        )
    per_datum = getattr(model, "terms", None)
    with torch.no_grad():
        terms = {} if per_datum is None else per_datum(*batch)._asdict()
        terms["loss"] = model(*batch)
    broken = {name: t[~t.isfinite()] for name, t in terms.items() if not t.isfinite().all()}
    what = " and ".join(f"{name} is {t.flatten()[0].item()}" for name, t in broken.items())
    return (
        f"fit: {what or 'a gradient is not finite'} at {where}; the weights are those before it."
        f"{kept} Try a smaller lr than {lr}, clip=1.0 or precision='float32', and check that the "
        f"likelihood fits the data"
    )


def _fingerprint(pixels: Tensor | None, folder: str | Path | None) -> str | None:
    """A hash of the data, by which a run that goes on knows them; 1 ms per 1,000 images."""
    if pixels is None or folder is None:
        return None
    return hashlib.sha256(pixels.contiguous().cpu().numpy().data).hexdigest()
