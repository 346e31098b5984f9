"""What training needs of torch that torch does not promise: each test says what breaks without it.

When one fails after an update of torch, `vaelib.train.private` is the place to mend; what a graph
needs is in `vaelib.train.graph`.
"""

import inspect
import platform
import shlex
from pathlib import Path

import pytest
import torch
from torch._inductor import cpp_builder

from vaelib.train import private
from vaelib.train.step import Compiled

FUSED = ["Adam", "AdamW", "SGD", "Adagrad"]


def everything(weight, optimizer):
    state = optimizer.state_dict()["state"].get(0, {})
    return [weight.detach().clone(), *(t.clone() for t in state.values() if t is not None)]


@pytest.mark.parametrize("name", FUSED)
def test_a_fused_optimizer_changes_nothing_while_it_is_told_to(name):
    """After a step of its own, so that there are moments, which shall not change either."""
    weight, failed = torch.nn.Parameter(torch.ones(3)), torch.zeros(())
    momentum = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(torch.optim, name)([weight], lr=0.1, fused=True, **momentum)
    said = private.skip_updates_while(optimizer, failed)
    assert said, (
        f"torch.optim.{name}(fused=True) no longer says that it heeds found_inf: Trainer would "
        f"read a number back from a GPU at each step, and refuse to record a CUDA graph"
    )
    weight.grad = torch.ones(3)
    optimizer.step()
    assert not torch.equal(weight.detach(), torch.ones(3))
    before = everything(weight, optimizer)
    assert len(before) == 1 + {"SGD": 1, "Adagrad": 2}.get(name, 3)
    failed.fill_(1)
    optimizer.step()
    same = all(map(torch.equal, before, everything(weight, optimizer)))
    assert same, (
        f"torch.optim.{name}(fused=True) no longer heeds found_inf: a step whose loss is not "
        f"finite would change the weights, and nobody would know what they were before"
    )
    failed.zero_()
    optimizer.step()
    assert not torch.equal(weight.detach(), before[0])


@pytest.mark.parametrize("name", [*FUSED, "RMSprop", "NAdam"])
def test_another_optimizer_says_that_it_cannot(name):
    optimizer = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    assert not private.skip_updates_while(optimizer, torch.zeros(()))


def test_an_optimizer_with_a_group_that_is_not_fused_cannot():
    parts = [{"params": [torch.nn.Parameter(torch.ones(3))], "fused": f} for f in (True, False)]
    optimizer = torch.optim.Adam(parts, fused=True)
    assert not private.skip_updates_while(optimizer, torch.zeros(()))


def test_what_the_compiler_raises_is_told_from_what_a_model_raises():
    def reads_a_number(x):
        return x + 1 if x.sum().item() > 0 else x

    with pytest.raises(RuntimeError) as found:
        torch.compile(reads_a_number, fullgraph=True, backend="eager")(torch.ones(2))
    assert isinstance(found.value, private.compiler_errors()), (
        f"torch.compile now raises {type(found.value).__mro__}: a model that cannot be compiled "
        f"would end in torch's own words, without what to do"
    )
    assert not issubclass(ZeroDivisionError, private.compiler_errors())


class Widths(torch.nn.Module):
    """One code for models of every width."""

    def __init__(self, width):
        super().__init__()
        self.layer = torch.nn.Linear(width, 1)

    def forward(self, x):
        return self.layer(x)


def compile_widths(widths):
    for width in widths:
        loss = Widths(width).forward
        compiled = torch.compile(loss, fullgraph=True, dynamic=False, backend="eager")
        x = torch.ones(2, width)
        torch.testing.assert_close(compiled(x), loss(x))


def test_a_sweep_over_widths_can_be_compiled():
    """If nothing is raised at first, torch has no such limit by now: expect_many_models may go."""
    torch.compiler.reset()
    with torch._dynamo.config.patch(recompile_limit=8):
        with pytest.raises(Exception, match="fullgraph=True"):
            compile_widths(range(1, 12))
        torch.compiler.reset()  # a function that met the limit stays uncompiled
        Compiled(Widths(1), None, True, "fit")  # as train.fit makes one
        compile_widths(range(1, 12))
    torch.compiler.reset()


def test_the_compiler_is_told_of_folders_with_a_space_in_their_name(monkeypatch):
    """If the last line fails, torch quotes them itself by now: quote_library_folders may go."""
    private.quote_library_folders()
    options = cpp_builder.BuildOptionsBase(compiler="g++", libraries_dirs=["/a b/torch/lib"])

    def words():
        return shlex.split(cpp_builder.CppBuilder("x", "x.cpp", options).get_command_line())

    assert "-L/a b/torch/lib" in words(), (
        "torch takes its library folders from elsewhere now: compile=True fails on a CPU where "
        "torch lies in a folder whose name has a space"
    )
    its_own = inspect.unwrap(cpp_builder.BuildOptionsBase.get_libraries_dirs)
    monkeypatch.setattr(cpp_builder.BuildOptionsBase, "get_libraries_dirs", its_own)
    assert "-L/a" in words()


def test_the_processor_is_asked_for_bfloat16():
    """As the system lists its features; /proc/cpuinfo is Linux's."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        pytest.skip("no /proc/cpuinfo to compare with")
    if "x86" not in platform.machine():
        pytest.skip("the names of the features are those of x86")
    listed = "avx512_bf16" in flags or "amx_bf16" in flags
    assert private.cpu_multiplies_bfloat16() == listed, (
        "torch no longer says whether the processor has bfloat16: precision='bfloat16' would be "
        "refused where it is fast, or taken where it is emulated and slow"
    )


def test_a_processor_that_is_no_x86_is_asked_too(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert isinstance(private.cpu_multiplies_bfloat16(), bool), (
        "torch.ops.mkldnn no longer says whether the processor has bfloat16: on ARM "
        "precision='bfloat16' cannot be asked for"
    )


def test_what_records_a_graph_is_there():
    """As far as a torch without CUDA has it; tests/test_gpu.py records real ones."""
    assert {"cuda_graph", "stream"} <= inspect.signature(torch.cuda.graph).parameters.keys(), (
        "torch.cuda.graph has other arguments: compile='cuda-graph' cannot record a step"
    )
    stub = Path(torch.__file__).with_name("_C") / "__init__.pyi"
    assert "def register_generator_state(" in stub.read_text(), (
        "a CUDA graph no longer takes a generator: each start of it would draw the same noise"
    )
    assert callable(torch.cuda.CUDAGraph.replay)
