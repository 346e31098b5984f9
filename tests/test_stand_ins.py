"""What plays a GPU plays it: without these, a test in `test_device.py` could pass and say nothing.

If one fails after an update of torch, a private part that `stand_ins.py` imports has changed.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stand_ins import Apple, Stream, Tape


def test_a_tape_keeps_each_kernel_and_computes_it_again_where_the_result_lies():
    """Else a replay would leave the first step's numbers, and two of them would agree."""
    x = torch.ones(3)
    with Tape() as tape:
        assert Stream().is_capturing()
        y = torch.stack([x + 1, x])[0] * x
    assert not Stream().is_capturing()
    names = [kernel.name() for kernel, *_ in tape.kernels]
    assert {"aten::add.Tensor", "aten::stack", "aten::mul.Tensor"} <= set(names)
    x.fill_(3.0)
    tape.replay()
    assert y.tolist() == [12.0] * 3


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda x: x.sum().item(), "not permitted"),
        (lambda x: x.nonzero(), "not permitted"),
        (lambda x: x.masked_select(x > 0), "not permitted"),
        (lambda x: torch.randn(3, generator=torch.Generator().manual_seed(5)), "not in capture"),
    ],
)
def test_a_tape_refuses_what_cuda_does(ask, says):
    """Else a step that waits for the device would be recorded without a word."""
    with Tape(), pytest.raises(RuntimeError, match=says):
        ask(torch.ones(3))


def test_apple_knows_what_was_computed_on_the_host():
    """Else float64 would be refused everywhere, or nowhere."""
    with Apple():
        there = torch.empty(3, device="cpu").fill_(1.0)
        assert (there.cpu().double() + torch.ones(3).double()).dtype == torch.float64
        for bad in (lambda: there.double(), lambda: torch.add(there, torch.ones(3).double())):
            with pytest.raises(TypeError, match="float64"):
                bad()


def test_elsewhere_two_devices_do_not_meet_and_no_number_is_read():
    """In a process of its own, which has that device then."""
    code = """
import torch
from stand_ins import elsewhere
with elsewhere("far_away"):
    x = torch.empty(3, device="far_away")
    assert (x + x).device.type == "far_away"
    for bad, says in (
        (lambda: x + torch.empty(3), "two devices"), (lambda: x.sum().item(), "_local_scalar"),
    ):
        try:
            bad()
        except Exception as error:
            assert says in str(error).replace("different devices", "two devices"), error
        else:
            raise SystemExit("nothing was refused")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
