"""The page "Beyond one GPU": its lines run as printed, and its numbers are computed in two ways."""

import re
import subprocess
import sys

import pytest
import torch
from chapters import ROOT

sys.path.append(str(ROOT / "benchmarks"))
import at_scale

from vaelib.train import checkpoint

PAGE = at_scale.PAGE.read_text()


def test_each_number_on_paper_is_that_of_the_computation():
    said = at_scale.sentences()
    assert all(sentence in PAGE for sentence in said.values())
    rest = PAGE[PAGE.index("## On paper") : PAGE.index("(at-scale-shards)=")]
    for sentence in said.values():
        rest = rest.replace(sentence, "")
    assert not re.search(r"\d", rest)  # no number without its computation


def test_adam_keeps_four_numbers_for_each_weight():
    net = at_scale.model()
    adam = torch.optim.Adam(net.parameters())
    net(torch.zeros(2, 784), net.noise(2)).backward()
    adam.step()
    kept = [t for p in net.parameters() for t in (p, p.grad, *adam.state[p].values()) if t.ndim]
    weights = sum(p.numel() for p in net.parameters())
    assert sum(t.nbytes for t in kept) == at_scale.STATE * weights


def test_operations_are_six_for_each_weight_but_two_for_those_that_see_pixels():
    """Forward, gradient of the weights, gradient of what they are given; x needs none."""
    first = 784 * 400
    weights = first + 400 * 2 * 16 + 16 * 400 + 400 * 784
    assert at_scale.operations() == 6 * weights - 2 * first


def test_blocks_of_a_row_that_starts_anywhere():
    """Counted at each of 4,096 places."""
    places = range(at_scale.BLOCK)
    counted = [(start + at_scale.BYTES - 1) // at_scale.BLOCK + 1 for start in places]
    assert at_scale.blocks() == pytest.approx(sum(counted) / at_scale.BLOCK, rel=1e-12)


def test_the_example_runs_as_printed(tmp_path, monkeypatch):
    """Cut, then trained in one process; two do the same in test_train_shards.py."""
    monkeypatch.chdir(tmp_path)
    cut, big = re.findall(r"(?s)```python\n(.*?)```", PAGE)
    exec(compile(cut, "at_scale.md", "exec"), {"__name__": "__main__"})
    assert len([*(tmp_path / "shards").glob("*.npy")]) == 4
    (tmp_path / "big.py").write_text(big.replace("epochs=2", "epochs=1"))
    done = subprocess.run([sys.executable, "big.py"], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    _, about = checkpoint.read(tmp_path / "big" / checkpoint.NAME)
    assert about["finished"]
    assert len(about["history"]) == 1


def test_the_page_is_short():
    assert len(re.sub(r"(?s)```(sh|python)\n.*?```|:alt:[^\n]*", "", PAGE).split()) <= 900
