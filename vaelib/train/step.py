"""One update of a model's weights, without a number read back from the device."""

import os
import platform
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, wraps
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vaelib.train.graph import Recorded
from vaelib.train.team import Team

Precision = Literal["float32", "bfloat16"]
Compile = Literal[False, True, "cuda-graph"]


class Step:
    """A batch, forward, backward and Adam, in one precision: eager, compiled, or one CUDA graph.

    A step whose loss is not finite changes no weight, and neither does any step after it: `failed`
    is 1 from then on. That is decided on the device. Asking there and then, ``loss.isnan()``, would
    make the processor wait for the accelerator at every step.

    Args:
        model: ``model(x, *noise)`` returns the loss.
        draw: from the numbers of the batch's images to [x, *noise], all on the model's device.
        generator: what it draws from.
        batch: size of a full batch. Only batches of this size run compiled: a smaller last batch
            would be compiled for its own size, which takes longer than it saves.
        precision, compile, clip: see `vaelib.train.fit`.
        team: the processes among which a batch is shared.

    Raises:
        ValueError: if the machine cannot do what is asked for; names what it can do.
    """

    def __init__(
        self,
        model: nn.Module,
        draw: Callable[[Tensor], list[Tensor]],
        generator: torch.Generator,
        *,
        batch: int,
        precision: Precision,
        compile: Compile,  # noqa: A002
        clip: float | None,
        team: Team,
    ) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.device = self.parameters[0].device
        _require_precision(precision, self.device)
        _require_compile(compile, self.device, team.size)
        self.draw, self.generator, self.batch = draw, generator, batch
        self.precision, self.clip, self.team = precision, clip, team
        rows = len(range(team.rank, batch, team.size))
        self.model = team.wrap(_Compiled(model, rows, compile) if compile else model)
        self.failed = torch.zeros((), device=self.device)
        self.recorded: Recorded | None = None
        self.lr: Tensor | None = None
        if compile == "cuda-graph":  # a number would be recorded as it was
            self.lr = torch.zeros((), dtype=torch.float32, device=self.device)
            self.optimizer = torch.optim.Adam(
                self.parameters, lr=self.lr, fused=True, capturable=True
            )
        else:
            self.optimizer = torch.optim.Adam(self.parameters, fused=True)
        # A fused optimizer changes nothing while its found_inf is 1, as GradScaler makes it.
        vars(self.optimizer).update(grad_scale=None, found_inf=self.failed)

    def __call__(self, rows: Tensor, *, lr: float) -> Tensor:
        """Update once. Returns the loss before the update, on the device, without a graph.

        It is to be read before the next call, which may overwrite it.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr if self.lr is None else self.lr.fill_(lr)
        if self.lr is None or len(rows) != self.batch:
            return self._update(rows)
        if self.recorded is None:
            self.recorded = self._record(rows)
        return self.recorded(rows)

    def _update(self, rows: Tensor) -> Tensor:
        batch = self.draw(rows)
        share = self.team.share(batch)
        with self.autocast():
            loss = self.model(*share)
        if loss.ndim or loss.dtype not in (torch.float32, torch.float64):
            raise TypeError(
                f"fit: expected the model's loss to be one float32 number, got {loss.dtype} of "
                f"shape {tuple(loss.shape)}; take the mean over the batch, and with "
                f"precision='bfloat16' turn what networks return back into x.dtype"
            )
        if self.team.size > 1:  # so that the mean over the team is the mean over the batch
            loss = loss * (self.team.size * len(share[0]) / len(batch[0]))
        self.optimizer.zero_grad()
        loss.backward()
        loss = self.team.mean(loss.detach())
        if self.clip is not None:
            # With a gradient that is not finite the loss counts as not finite either.
            loss = loss + 0 * nn.utils.clip_grad_norm_(self.parameters, self.clip)
        torch.maximum(self.failed, (~loss.isfinite()).to(self.failed.dtype), out=self.failed)
        self.optimizer.step()
        return loss

    def _record(self, rows: Tensor) -> Recorded:
        """The update as a CUDA graph, made without a trace in weights, moments or generators."""
        kept = [(t, t.clone()) for t in (self.failed, *self.model.buffers())]
        state = self.generator.get_state()
        self.failed.fill_(1)  # Adam makes its moments, in the place where they will stay: zeros
        try:
            with _fork_rng(self.device):
                return Recorded(self._update, rows, self.generator)
        finally:
            self.generator.set_state(state)
            for t, before in kept:
                t.copy_(before)

    def autocast(self) -> AbstractContextManager:
        """Where matrix products and convolutions are in bfloat16; the weights stay in float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


class _Compiled(nn.Module):
    """A model that runs compiled on full batches, and as it is on others."""

    def __init__(self, model: nn.Module, batch: int, how: Compile) -> None:
        super().__init__()
        self.model, self.batch, self.how = model, batch, how
        _quote_library_folders()
        # fullgraph: a piece that cannot be compiled is an error, not a slow secret.
        self.full = torch.compile(model, fullgraph=True, dynamic=False)
        self.fresh = True

    def forward(self, x: Tensor, *noise: Tensor) -> Tensor:
        if len(x) != self.batch:
            return self.model(x, *noise)
        if self.fresh:
            self.fresh = False
            # Once as it is: a mistake in a model shows in its own words. And torch remembers which
            # formula serves a KL, a search that cannot be compiled.
            with _fork_rng(x.device), torch.no_grad():
                self.model(x, *noise)
        try:
            return self.full(x, *noise)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise RuntimeError(
                f"fit: compile={self.how!r}: torch could not compile this model "
                f"({_cause(error)}). On a CPU it needs a C++ compiler (Debian: apt install g++ "
                f"python3-dev). compile=False trains without"
            ) from error


def _cause(error: Exception) -> str:
    """What torch says in its first line, or what the C++ compiler said, which stands below it."""
    first, *more = str(error).strip().splitlines()
    its = more[more.index("Output:") + 1 :] if "Output:" in more else []
    return next((line.strip() for line in its if "error" in line), first)


@cache
def _quote_library_folders() -> None:
    """Let the C++ compiler find torch in a folder whose name has a space.

    torch 2.13 quotes the folders that it hands to the compiler after -I, and not those after -L,
    before it splits its command into words.
    """
    if os.name != "posix":
        return  # for Windows it quotes both
    from torch._inductor.cpp_builder import BuildOptionsBase  # here: it costs a second

    plain = BuildOptionsBase.get_libraries_dirs

    @wraps(plain)
    def quoted(self: BuildOptionsBase) -> list[str]:
        return [shlex.quote(folder) for folder in plain(self)]

    BuildOptionsBase.get_libraries_dirs = quoted  # type: ignore[method-assign]


def _fork_rng(device: torch.device) -> AbstractContextManager:
    """What is drawn in here from torch's own generators is drawn as if it had not been."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


def _require_precision(precision: Precision, device: torch.device) -> None:
    if precision not in get_args(Precision):
        raise ValueError(f"fit: expected precision one of {get_args(Precision)}, got {precision!r}")
    if precision == "bfloat16" and not _has_bfloat16(device):
        raise ValueError(
            f"fit: precision='bfloat16' needs hardware for it (a CPU with AVX512-BF16 or AMX, a "
            f"CUDA GPU of compute capability 8.0), and {device.type} here has none: emulated, it "
            f"takes longer than float32. Use precision='float32'"
        )


def _has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products of bfloat16 are instructions of the device, not emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def _require_compile(
    compile: Compile,  # noqa: A002
    device: torch.device,
    processes: int,
) -> None:
    if compile not in get_args(Compile):
        raise ValueError(f"fit: expected compile one of {get_args(Compile)}, got {compile!r}")
    if compile == "cuda-graph" and device.type != "cuda":
        raise ValueError(
            f"fit: compile='cuda-graph' records a CUDA graph, and the model is on {device.type}. "
            f"Use compile=True, or model.to('cuda') where there is a GPU"
        )
    if compile == "cuda-graph" and processes > 1:
        raise ValueError(
            f"fit: compile='cuda-graph' records the step of one process, and {processes} share "
            f"this one. Use compile=True, or one process"
        )
