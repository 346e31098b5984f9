"""How a step is computed: its precision, and whether it is compiled, if the machine can do it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vaelib.arguments import BadValue, Unable
from vaelib.train import private

Precision = Literal["float32", "bfloat16"]
Compile = Literal[False, True, "cuda-graph"]


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Where matrix products and convolutions are in bfloat16; the weights stay in float32."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def fork_rng(device: torch.device) -> AbstractContextManager:
    """What is drawn in here from torch's own generators is drawn as if it had not been."""
    return torch.random.fork_rng([device] if device.type == "cuda" else [])


class Compiled(nn.Module):
    """A loss that runs compiled on full batches, and as it is on others.

    Args:
        loss: the module.
        rows: of a full batch; those of the first one if None.
        how: for the error message.
        where: who asked for it.
    """

    def __init__(self, loss: nn.Module, rows: int | None, how: Compile, where: str) -> None:
        super().__init__()
        self.loss, self.rows, self.how, self.where = loss, rows, how, where
        private.quote_library_folders()
        private.expect_many_models()
        # fullgraph: a piece that cannot be compiled is an error, not a slow secret.
        self.full = torch.compile(loss, fullgraph=True, dynamic=False)
        self.fresh = True

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:  # noqa: D102
        if self.rows is None:
            self.rows = len(x)
        if len(x) != self.rows:
            return self.loss(x, *more)
        if self.fresh:
            self.fresh = False
            # Once as it is: a mistake in a model shows in its own words. And torch remembers which
            # formula serves a KL, a search that cannot be compiled.
            with fork_rng(x.device), torch.no_grad():
                self.loss(x, *more)
        try:
            return self.full(x, *more)
        except private.compiler_errors() as error:
            raise Unable(
                f"{self.where}: compile={self.how!r}: torch could not compile this model "
                f"({_cause(error)}). On a CPU it needs a C++ compiler (Debian: apt install g++ "
                f"python3-dev). compile=False trains without",
                "compile",
            ) from error


def _cause(error: Exception) -> str:
    """What torch says in its first line, or what the C++ compiler said, which stands below it."""
    first, *more = str(error).strip().splitlines()
    its = more[more.index("Output:") + 1 :] if "Output:" in more else []
    return next((line.strip() for line in its if "error" in line), first)


def require_precision(where: str, precision: Precision, device: torch.device) -> None:
    """Raise unless the device computes in it, and fast."""
    if precision not in get_args(Precision):
        raise BadValue(
            f"{where}: expected precision one of {get_args(Precision)}, got {precision!r}",
            "precision",
        )
    if precision == "bfloat16" and not _has_bfloat16(device):
        raise BadValue(
            f"{where}: precision='bfloat16' needs hardware for it (a CPU with AVX512-BF16 or AMX, "
            f"a CUDA GPU of compute capability 8.0), and {device.type} here has none: emulated, it "
            f"takes longer than float32. Use precision='float32'",
            "precision",
        )


def _has_bfloat16(device: torch.device) -> bool:
    """Whether matrix products of bfloat16 are instructions of the device, not emulated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and private.cpu_multiplies_bfloat16()


def require_compile(
    where: str,
    compile: Compile,  # noqa: A002
    device: torch.device,
    processes: int,
) -> None:
    """Raise unless a step can run like that there."""
    if compile not in get_args(Compile):
        raise BadValue(
            f"{where}: expected compile one of {get_args(Compile)}, got {compile!r}", "compile"
        )
    if compile == "cuda-graph" and device.type != "cuda":
        raise BadValue(
            f"{where}: compile='cuda-graph' records a CUDA graph, and the model is on "
            f"{device.type}. Use compile=True, or a model on a GPU, where there is one",
            "compile",
        )
    if compile == "cuda-graph" and processes > 1:
        raise BadValue(
            f"{where}: compile='cuda-graph' records the step of one process, and {processes} share "
            f"this one. Use compile=True, or one process",
            "compile",
        )
