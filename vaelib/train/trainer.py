"""One step at a time: any loss, any optimizer, batches from anywhere."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaelib.train import arguments, checkpoint, private, state
from vaelib.train.batches import Batches
from vaelib.train.checkpoint import CheckpointError
from vaelib.train.graph import Recorded
from vaelib.train.step import (
    Compile,
    Compiled,
    Precision,
    autocast,
    fork_rng,
    require_compile,
    require_precision,
)
from vaelib.train.team import Team

Batch = Tensor | Sequence[Tensor]


class Trainer:
    r"""Minimize a loss with an optimizer, one step at a time: a loop of your own in ten lines.

    A step prepares the batch, computes the loss and its gradient, and lets the optimizer update, in
    one precision: eager, compiled, or as one CUDA graph. **A step whose loss is not finite changes
    no weight, and neither does any step after it**; the losses that they return are not finite. No
    number is read back: ask `require_finite` once in a while.

    That is decided on the device by fused optimizers (``fused=True`` of Adam, AdamW, SGD and
    Adagrad). For any other a number is read at each step: 2 µs on a CPU; on a GPU the processor
    waits until the gradient is computed, and starts no kernel meanwhile.

    In processes that were started by ``torchrun`` and have called `join`, all are given the same
    whole batches, of which each takes some rows, and gradients are averaged by
    ``DistributedDataParallel``.

    Args:
        loss: a module; ``loss(batch)``, or ``loss(*batch)`` for several tensors, is one float32
            number, a mean over the batch.
        optimizer: of ``torch.optim``, over the parameters that are to be trained, with its
            groups, or one of yours that keeps its state in tensors. Its learning rates are
            yours, a scheduler's too.
        prepare: from the batch and ``generator=`` to what the loss takes: what is drawn, and shall
            be neither compiled nor in the precision of the networks, such as
            `vaelib.likelihood.Likelihood.prepare`.
        precision, clip: see `fit`. The gradient of all groups is clipped together.
        compile: see `fit`. ``"cuda-graph"`` needs a fused optimizer whose learning rate is a tensor
            on the GPU, so that it can change.
        batch_size: rows of the batches that run compiled; as many as the first has if None. Batches
            of other sizes run as they are, because each would be compiled for its own size.
        generator: what ``prepare`` draws from, on the device; torch's own if None. Of several
            processes all get the state of the first one's.

    Attributes:
        failed: 0 on the device, and 1 from the first step on whose loss was not finite.
        steps: how many were done, by `restore` also before a break.

    Raises:
        TypeError: if an argument has another type.
        ValueError: if a number is out of range, the optimizer has nothing to train, or the machine
            or the optimizer cannot do what is asked for.

    >>> from vaelib.data import digits
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> _ = torch.manual_seed(0)
    >>> model = VAE(MLPEncoder(784, 2), MLPDecoder(2, 784))
    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    >>> generator = torch.Generator().manual_seed(0)
    >>> prepare = model.likelihood.prepare
    >>> trainer = Trainer(model, optimizer, prepare=prepare, generator=generator)
    >>> batches = Batches(digits().train[:640], 64, generator=generator)
    >>> means = []
    >>> for epoch in range(3):
    ...     losses = [trainer.step(pixels) for pixels in batches]
    ...     trainer.require_finite()
    ...     means.append(torch.stack(losses).mean().item())
    >>> means[0] > means[1] > means[2]
    True
    """

    where = "Trainer"  # who speaks in errors
    whole = True  # each process is given the whole batch; else its own rows, as many as any other

    def __init__(
        self,
        loss: nn.Module,
        optimizer: Optimizer,
        *,
        prepare: Callable[..., Batch] | None = None,
        precision: Precision = "float32",
        compile: Compile = False,  # noqa: A002
        clip: float | None = None,
        batch_size: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        what = "a torch.nn.Module that returns the loss; put a function into the forward of one"
        arguments.require_kind("loss", loss, nn.Module, what, where=self.where)
        arguments.require_kind(
            "optimizer", optimizer, Optimizer, "an optimizer of torch.optim", where=self.where
        )
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.device = self.parameters[0].device
        self.team = Team()
        require_precision(self.where, precision, self.device)
        require_compile(self.where, compile, self.device, self.team.size)
        if clip is not None:
            clip = arguments.positive("clip", clip, where=self.where)
        if batch_size is not None:
            batch_size = arguments.whole("batch_size", batch_size, 1, where=self.where)
        if generator is not None:
            arguments.require_generator(generator, self.device, where=self.where)
            generator.set_state(self.team.agree(generator.get_state()))
        self.module, self.optimizer, self.prepare = loss, optimizer, prepare
        self.precision, self.compile, self.clip = precision, compile, clip
        self.batch_size, self.generator = batch_size, generator
        if compile:
            rows = batch_size and len(range(self.team.rank, batch_size, self.team.size))
            loss = Compiled(loss, rows, compile, self.where)
        self.loss = self.team.wrap(loss)
        self.failed = torch.zeros((), device=self.device)
        self.poison = torch.zeros((), device=self.device)  # 0, and NaN from the same step on
        self.refuses = private.skip_updates_while(optimizer, self.failed)
        self.recorded: Recorded | None = None
        self.steps = 0
        if compile == "cuda-graph":
            self._require_recordable()

    def step(self, batch: Batch) -> Tensor:
        """Update once.

        Args:
            batch: a tensor, or several, with the rows along their first axis; they go to the
                device if they are elsewhere.

        Returns:
            The loss before the update, a mean over the batch, on the device and without a graph.

        Raises:
            TypeError: if the batch is something else, or the loss is not one float32 number.
            RuntimeError: if torch cannot compile the loss, or not record the step.
        """
        inputs = [batch] if isinstance(batch, Tensor) else list(batch)
        if not all(isinstance(t, Tensor) for t in inputs):
            raise TypeError(
                f"{self.where}: expected a batch as a tensor or a sequence of tensors, got "
                f"{type(batch).__name__}; pick them: trainer.step(batch['image'])"
            )
        inputs = [t.to(self.device, non_blocking=True) for t in inputs]
        self.steps += 1
        if self.compile != "cuda-graph":
            return self._update(*inputs)
        if self.batch_size is None:
            self.batch_size = len(inputs[0])
        if len(inputs[0]) != self.batch_size:
            return self._update(*inputs)
        if self.recorded is None:
            self.recorded = self._record(inputs)
        return self.recorded(*inputs).clone()

    def _update(self, *inputs: Tensor) -> Tensor:
        batch: Any = inputs
        if self.prepare is not None:
            batch = self.prepare(*inputs, generator=self.generator)
        batch = [batch] if isinstance(batch, Tensor) else list(batch)
        share = self.team.share(batch) if self.whole else batch
        with autocast(self.precision, self.device):
            loss = self.loss(*share)
        if loss.ndim or loss.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"{self.where}: expected the model's loss to be one float32 number, got "
                f"{loss.dtype} of shape {tuple(loss.shape)}; take the mean over the batch, and "
                f"with precision='bfloat16' turn what networks return back into x.dtype"
            )
        if (
            self.whole and self.team.size > 1
        ):  # so that the mean over the team is the mean over the batch
            loss = loss * (self.team.size * len(share[0]) / len(batch[0]))
        self.optimizer.zero_grad()
        loss.backward()
        loss = self.team.mean(loss.detach())
        if self.clip is not None:
            # With a gradient that is not finite the loss counts as not finite either.
            loss = loss + 0 * nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.poison.add_(0 * loss)
        torch.ne(self.poison, self.poison, out=self.failed)
        if self.refuses or not self.failed:
            self.optimizer.step()
        return loss + self.poison  # no loss may look as if its step had been done

    def require_finite(self) -> None:
        """Read whether all steps were done, once an epoch say.

        Raises:
            FloatingPointError: if a loss was not finite, or with ``clip`` a gradient.
        """
        if self.failed:
            raise FloatingPointError(
                f"{self.where}: one of {self.steps} steps had a loss or a gradient that is not "
                f"finite; the weights are those before it, and the first loss that is not finite "
                f"is its own. Try a smaller lr or clip=1.0, and go on with a new Trainer"
            )

    def save(self, path: str | Path, batches: Batches | None = None) -> None:
        """Write weights, moments and generators into one file that is whole or not there.

        Args:
            path: of the file, in safetensors; there is no pickle in it.
            batches: the `Batches` of the loop, whose place is saved too. To be called between a
                step and the next batch.

        Raises:
            FloatingPointError: as `require_finite`; the file is left as it was.
            TypeError: if the optimizer keeps something else than tensors.
            OSError: if it cannot be written; the file is left as it was.
        """
        self.require_finite()
        tensors = self.state()
        about: dict[str, Any] = {"steps": self.steps, "lr": [float(v) for v in self._rates()]}
        if batches is not None:
            tensors |= {"epoch_start": batches.epoch_start, "order": batches.generator.get_state()}
            about |= {"epoch": batches.epoch, "position": batches.position}
        if self.team.rank == 0:
            checkpoint.save(Path(path), tensors, about)

    def restore(self, path: str | Path, batches: Batches | None = None) -> None:
        """Go on from a file of `save`, in a trainer and batches that were made as those were.

        With `Batches` the rest is that of a run without a break; on a CPU to the last bit. Another
        iterable (a ``DataLoader``, a generator) cannot be wound back: what is restored are weights
        and buffers, the optimizer's state and learning rates, the state of ``generator`` and of
        torch's own generators, and ``steps``. It then begins where its next ``for`` begins, so the
        batches are others than without the break. A scheduler's state is yours to keep.

        Raises:
            FileNotFoundError: if there is none.
            CheckpointError: if it is damaged, or of another loss, optimizer or loop; nothing is
                changed then.
        """
        path = Path(path)
        tensors, about = checkpoint.read(path)
        try:
            steps, rates = int(about["steps"]), [float(v) for v in about["lr"]]
            if len(rates) != len(self.optimizer.param_groups):
                raise ValueError(f"it has {len(rates)} groups of parameters")
            if batches is not None:
                place = int(about["epoch"]), int(about["position"])
                start, order = tensors["epoch_start"], tensors["order"]
                for t in (start, order):
                    torch.Generator(batches.generator.device).set_state(t)
                if not 0 <= place[1] <= len(batches):
                    raise ValueError(f"it is at batch {place[1]} of {len(batches)}")
            self.set_state(tensors, path)
        except CheckpointError:
            raise
        except (LookupError, ValueError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: belongs to another loop ({type(error).__name__}: {error}); make the "
                f"loss, the optimizer, the generator and the batches as those that were saved"
            ) from error
        self.steps = steps
        self.set_rates(rates)
        if batches is not None:
            batches.generator.set_state(order)
            batches.epoch_start, (batches.epoch, batches.position) = start, place

    def state(self) -> dict[str, Tensor]:
        """All that steps leave behind, as tensors with names."""
        return state.collect(self.module, self.optimizer, self.generator)

    def set_state(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Put back what `state` gave; raises unless all of it fits. Errors name ``path``."""
        state.restore(self.module, self.optimizer, self.generator, tensors, path)

    def _rates(self) -> list[float | Tensor]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def set_rates(self, rates: Sequence[float]) -> None:
        """Set the learning rate of each group; a tensor that a graph reads stays where it is."""
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def _require_recordable(self) -> None:
        fits = self.refuses and all(
            isinstance(group["lr"], Tensor) and group.get("capturable")
            for group in self.optimizer.param_groups
        )
        if not fits:
            raise ValueError(
                f"{self.where}: compile='cuda-graph' records the update too, and "
                f"{type(self.optimizer).__name__} as it is reads numbers on the processor; use "
                f"torch.optim.Adam(parameters, lr=torch.tensor(1e-3, device='cuda'), fused=True, "
                f"capturable=True), or compile=True"
            )

    def _record(self, inputs: Sequence[Tensor]) -> Recorded:
        """The update as a CUDA graph, made without a trace in weights, moments or generators."""
        kept = [(t, t.clone()) for t in (self.failed, self.poison, *self.module.buffers())]
        before = None if self.generator is None else self.generator.get_state()
        self.poison.fill_(torch.nan)  # the optimizer makes its moments, where they will stay: zeros
        try:
            with fork_rng(self.device):
                return Recorded(self._update, inputs, self.generator, self.where)
        finally:
            if self.generator is not None and before is not None:
                self.generator.set_state(before)
            for t, was in kept:
                t.copy_(was)
