"""May a machine's numbers be believed? A minute and a half, before anything is measured.

The checks are our own and need nothing but torch; if one fails, nothing is measured. Then come the
files of the test suite that say most about a GPU, as many as there is time for, if pytest is here.
"""

import functools
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import carry
import contest
import textbook
import torch
from budget import Piece
from contest import Contender
from torch import Tensor, nn

from vaelib import data

SECONDS = 90  # at most
# The last compiles a model for nearly every test: it may be cut, and what is cut says nothing.
FILES = ("vae", "elbo", "trainer", "iwae", "evaluate_evidence", "gpu")
STEPS_BOUND = 4e-8  # of weights; see `trained`


def trained(contender: Contender, device: torch.device, *, seed: int = 5) -> tuple[Tensor, Tensor]:
    """Weights after two epochs in float64, of 128 and 72 images each, and the initial ones.

    In float64 a gradient's element, a sum of some 128 terms of at most 1, is known to 1e-13 or so.
    Adam divides it by no less than its ε = 1e-8, so each of four steps of 1e-3 is known to 1e-8:
    the weights of two contenders that draw the same numbers agree to `STEPS_BOUND`.
    """
    model = contest.example(seed=0).double().to(device)
    # fit makes float32 data, of which it measures the terms after an epoch, and its loss is a
    # batch's mean; the textbook's is a sum.
    prepare = model.likelihood.prepare
    model.likelihood.prepare = lambda *rows, **how: prepare(*rows, **how).double()
    model.register_forward_pre_hook(lambda _, args: tuple(a.double() for a in args))
    model.register_forward_hook(lambda _, args, loss: loss * len(args[0]))
    start = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    pixels = contest.noise_images().train[:200]
    contender.train(model, pixels, epochs=2, seed=seed, after_epoch=lambda: None)
    return nn.utils.parameters_to_vector(model.parameters()).detach(), start


def apart(one: Contender, other: Contender, device: torch.device) -> dict[str, float]:
    """How far the weights of two that shall take the same steps are from each other, at most."""
    (its, _), (mine, _) = (trained(contender, device) for contender in (one, other))
    return {"got": (its - mine).abs().max().item(), "bound": STEPS_BOUND}


def steps_of_the_loop(device: torch.device) -> dict[str, float]:
    """`fit` takes the steps of a loop that uses nothing of vaelib."""
    return apart(contest.loop("loop", textbook.resident), contest.fit("float32", False), device)


def graph_and_eager(device: torch.device) -> dict[str, float]:
    """A recorded CUDA graph takes the steps that are taken one operation at a time."""
    graph, eager = (contest.fit("float32", compiled) for compiled in ("cuda-graph", False))
    return apart(graph, eager, device)


def float32_products(device: torch.device) -> dict[str, float]:
    """Products of float32 have its 24 bits, and not the 11 of TF32.

    A sum of k products is off by at most (k + 1) 2⁻²⁴ times the sum of their absolute values.
    """
    k = 64
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 128, k, dtype=torch.float64, generator=generator).float()
    exact = left.double() @ right.double().T
    size = left.double().abs() @ right.double().abs().T
    product = (left.to(device) @ right.to(device).T).double().cpu()
    return {"got": ((product - exact).abs() / size).max().item(), "bound": (k + 1) * 2**-24}


GRAPH = "a CUDA graph and eager steps"
CHECKS = {
    "products of float32": float32_products,
    "fit and a loop": steps_of_the_loop,
    GRAPH: graph_and_eager,
}


def selftest_pieces(
    record: dict[str, Any],
    images: data.Images,  # noqa: ARG001
    device: torch.device,
    *,
    quick: bool,
) -> Iterator[Piece]:
    """The checks that this device can show, and then files of tests."""
    mine = record.setdefault("selftest", {"checks": {}, "suite": {}})
    start = time.monotonic()

    def check(name: str, _: float) -> None:
        found = CHECKS[name](device)
        if not found["got"] <= found["bound"]:  # NaN is not
            raise AssertionError(f"off by {found['got']:.3g}, and {found['bound']:.3g} is the most")
        mine["checks"][name] = found
        print(f"self-test, {name}: off by {found['got']:.2g}, at most {found['bound']:.2g}")

    def test(name: str, seconds: float) -> None:
        left = min(seconds, SECONDS - (time.monotonic() - start))
        mine["suite"][name] = found = suite(name, device, left)
        print(f"self-test, tests/test_{name}.py: {found}")

    on_gpu = device.type == "cuda"
    for name in CHECKS:
        if name not in mine["checks"] and (on_gpu or name != GRAPH):
            yield Piece("selftest", f"self-test, {name}", 0.0, functools.partial(check, name))
    if find_spec("pytest") is None:
        record["left_out"].append("self-test, files of tests: pytest is not installed here")
        return
    for name in ("oracles",) if quick else FILES:
        if name not in mine["suite"] and (on_gpu or name != "gpu"):
            yield Piece("selftest", f"self-test, {name}", 0.0, functools.partial(test, name))


def suite(name: str, device: torch.device, seconds: float) -> dict[str, Any]:
    """A file of tests in a process of its own: how many passed, or that there was no time."""
    if seconds < 1:
        return {"cut": "no time was left"}
    # What was packed comes last in the path, and so not by PYTHONPATH, which comes first.
    program = "import sys; sys.path.append(sys.argv[1]); import pytest; "
    program += "sys.exit(pytest.main(sys.argv[2:]))"
    options = ["-q", "-p", "no:cacheprovider", "-W", "ignore", "-m", "not soak"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        options += [f"--device={device.type}", f"--junit-xml={report}", f"tests/test_{name}.py"]
        paths = os.pathsep.join([str(carry.ROOT), str(carry.ROOT / "tests")])
        try:
            done = subprocess.run(
                [sys.executable, "-c", program, str(carry.PACKED / "site"), *options],
                cwd=carry.ROOT,
                env=os.environ | {"PYTHONPATH": paths},
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return {"cut": f"not done after {seconds:.0f} s"}
        if not report.exists():
            return {"broken": (done.stderr or done.stdout)[-1000:]}
        found = ET.parse(report).getroot().find("testsuite")
    broken = ("failure", "error")
    bad = [case.get("name") for case in found if any(one.tag in broken for one in case)]
    counts = {"tests": int(found.get("tests")), "seconds": round(float(found.get("time")), 1)}
    if bad:
        print(done.stdout[-6000:])
    return counts | {"failed": bad}
