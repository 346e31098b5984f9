"""train: two processes, by gloo, do what one does, and each goes on with the other's run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from team_run import StopError, run

from vaelib.train import checkpoint

SCRIPT = Path(__file__).with_name("team_run.py")


def state(folder):
    tensors, about = checkpoint.read(folder / checkpoint.NAME)
    losses = [line["loss"] for line in about["history"]]
    return checkpoint.part(tensors, "model."), checkpoint.part(tensors, "optimizer."), losses


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes left, after one had begun a run of theirs."""
    root = tmp_path_factory.mktemp("team")
    with pytest.raises(StopError):
        run(root / "begun by one", stop_at=13)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", SCRIPT, root],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run(root / "begun by two", resume=True)
    run(root / "alone")
    return root


@pytest.mark.parametrize("how", ["together", "begun by one", "begun by two"])
def test_the_result_is_that_of_one_process(folder, how):
    """20 steps of up to 1e-2: only the order of sums differs, in the seventh digit."""
    weights, moments, losses = state(folder / how)
    expected, expected_moments, expected_losses = state(folder / "alone")
    for name, t in expected.items():
        torch.testing.assert_close(weights[name], t, rtol=0, atol=1e-5)
    for name, t in expected_moments.items():
        torch.testing.assert_close(moments[name], t, rtol=1e-3, atol=1e-5)
    assert losses == pytest.approx(expected_losses, rel=1e-6)


def test_both_stop_when_the_loss_of_one_is_not_finite(folder):
    """In the same step: else the other would wait for it for ever."""
    first, second = ((folder / f"error {rank}").read_text() for rank in (0, 1))
    assert "step 3 of 5 of epoch 1" in first
    assert "step 3 of 5 of epoch 1" in second


def test_a_batch_too_small_to_share_is_refused(folder):
    for rank in (0, 1):
        message = (folder / f"refusal {rank}").read_text()
        assert "got 2 processes and a batch of 1; choose another batch_size" in message
