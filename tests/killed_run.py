"""A training that is killed again and again, and must end as the one that was left alone.

    python tests/killed_run.py --kills 5 [--compiled]

It tries float32 and bfloat16; run by tests/test_train_resume.py in a process of
its own, because it forks and kills. Each child finds the run's folder and nothing else. Prints a
line for each way, and exits with 1 if anything differs.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import dropout
from toy import Toy

from vaelib import data, nets, train
from vaelib.likelihood import Bernoulli
from vaelib.train import checkpoint, step
from vaelib.vae import VAE


class Dropping(Toy):
    """Its dropout draws from torch's own generator, which a loop has to bring back too."""

    def __init__(self):
        super().__init__()
        self.vae = VAE(nets.MLPEncoder(784, 3, hidden=(16,)), nets.MLPDecoder(3, 784, hidden=(16,)))
        self.likelihood, self.noise, self.warm_up = Bernoulli(), self.vae.noise, self.vae.warm_up

    def forward(self, x, eps):
        return self.vae(x, dropout(eps, 0.1, training=self.training))


def run(
    folder: Path, precision: str, compiled: bool, *, dropping: bool = True, mapped: bool = False
) -> None:
    """Six epochs of 5 steps, the last with 44 images; a checkpoint after each second step.

    The images are a tensor, or an array that is mapped into memory from a file.
    """
    pixels = data.digits().train[:400]
    if mapped:
        np.save(folder.with_suffix(".npy"), pixels.numpy())
        pixels = np.load(folder.with_suffix(".npy"), mmap_mode="r")
    torch.manual_seed(0)
    model = Dropping()
    train.fit(
        model if dropping and not compiled else model.vae,  # compiled dropout draws as it likes
        pixels[:300],
        epochs=6,
        batch_size=64,
        lr=1e-2,
        warmup=2,
        clip=50.0,
        validation=pixels[300:],
        patience=6,
        precision=precision,
        compile=compiled,
        folder=folder,
        resume=True,
        save_every=2,
        generator=torch.Generator().manual_seed(7),
        progress=False,
    )


def state(folder: Path) -> tuple[dict, dict]:
    """All that a checkpoint holds, but for the times."""
    tensors, about = checkpoint.read(folder / checkpoint.NAME)
    del about["seconds"]
    for line in about["history"]:
        del line["seconds"]
    return tensors, about


def same(a: tuple[dict, dict], b: tuple[dict, dict]) -> bool:
    return (
        a[0].keys() == b[0].keys()
        and all(torch.equal(a[0][name], b[0][name]) for name in a[0])
        and a[1] == b[1]
    )


def wait_for_a_checkpoint(folder: Path, child: int) -> None:
    """Of its first epoch; or until the child has ended, which is not waited for here."""
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while not (folder / checkpoint.NAME).exists() and os.waitid(os.P_PID, child, ended) is None:
        time.sleep(1e-3)


def try_to_kill(kills: int, root: Path, moments: random.Random, how: tuple[str, bool]) -> dict:
    """Kill a child after its first checkpoint, and others at random moments.

    Each run that reaches its end is compared.
    """
    run(root / "first", *how)  # compiles, if asked to, once for all children
    start = time.perf_counter()
    run(root / "alone", *how)
    duration = time.perf_counter() - start
    expected = state(root / "alone")
    killed, ended, within, broken = 0, 0, 0, True
    while killed < kills or broken:  # what the last kill left is brought to its end too
        folder = root / f"killed{ended}"
        child = os.fork()
        if not child:
            try:
                # What one of a tensor left, one of an array goes on with, and back.
                run(folder, *how, mapped=(killed + ended) % 2 == 1)
            except BaseException:
                traceback.print_exc()
                os._exit(1)  # not up to main, which would remove the parent's folder
            os._exit(0)
        if killed < kills:
            if killed:
                time.sleep(moments.uniform(0, duration))
            else:  # the first one when there is something to go on with, however slow it is
                wait_for_a_checkpoint(folder, child)
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            killed, broken = killed + 1, True
            file = folder / checkpoint.NAME
            within += file.exists() and checkpoint.read(file)[1]["position"] > 0
        elif status or not same(state(folder), expected):
            return {"killed": killed, "ended": ended, "equal": False}
        else:
            ended, broken = ended + 1, False
    return {"killed": killed, "ended": ended, "within an epoch": within, "equal": True}


def compare_with_eager(root: Path) -> dict:
    """What compiling changes: the order of sums, so the last digits. The last batch stays eager."""
    run(root / "eager", "float32", False, dropping=False)
    eager, compiled = (state(root / name)[0] for name in ("eager", "alone"))
    names = [name for name in eager if name.startswith("model.")]
    return {
        "most a weight differs": max(
            (eager[name] - compiled[name]).abs().max().item() for name in names
        ),
        "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"],
    }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    # bfloat16 is tried where it is slow too: emulated, it gives numbers all the same.
    step._has_bfloat16 = lambda _: True
    moments, equal = random.Random(1), True
    for precision in ("float32", "bfloat16"):
        how = precision, options.compiled
        with tempfile.TemporaryDirectory() as name:
            result = try_to_kill(options.kills, Path(name), moments, how)
            if how == ("float32", True):
                result |= compare_with_eager(Path(name))
        print(json.dumps({"precision": precision, **result}), flush=True)
        equal &= result["equal"]
    return int(not equal)


if __name__ == "__main__":
    sys.exit(main())
