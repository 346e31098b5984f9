"""The private parts of torch that training stands on, each under the name of what it does.

torch may change any of them without a word. Nobody else in `vaelib.train` uses one, and
``tests/test_private.py`` says of each what breaks when it is gone. (What a CUDA graph needs, which
is documented in parts, is in `vaelib.train.graph`.)
"""

import os
import platform
import shlex
from functools import cache, wraps

import torch
from torch import Tensor
from torch.optim import Optimizer

_MODELS = 64  # of one class, compiled in a process


def skip_updates_while(optimizer: Optimizer, failed: Tensor) -> bool:
    """Let an optimizer change nothing while a number on its device is 1. Returns whether it can.

    Fused optimizers look at ``found_inf``, as ``GradScaler`` gives it to them, on the device: no
    number is read back. Others have to be asked not to step.
    """
    fused = all(group.get("fused") for group in optimizer.param_groups)
    if not (fused and vars(optimizer).get("_step_supports_amp_scaling")):
        return False
    vars(optimizer).update(grad_scale=None, found_inf=failed)
    return True


def compiler_errors() -> type[Exception]:
    """What ``torch.compile`` raises of its own; other errors are those of the compiled function."""
    return torch._dynamo.exc.TorchDynamoException


def expect_many_models() -> None:
    """Let more than eight models of one class be compiled, each of another size.

    torch keeps the code of eight for a function, and the ninth is an error where nothing may stay
    uncompiled (``fullgraph``). Whoever sweeps over a width has more.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _MODELS)


@cache
def quote_library_folders() -> None:
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


def cpu_multiplies_bfloat16() -> bool:
    """Whether matrix products of bfloat16 are instructions of the processor, not emulated."""
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()
