"""Training on a file that need not fit into memory: what it takes of memory, and how fast it is.

    python tests/streamed_run.py --gigabytes 4

Run by tests/test_train_stream.py in a process of its own, because it asks the system for this
process's memory. The file is sparse: it has a length, and nothing on the disk. Prints one line.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vaelib import data, nets, train
from vaelib.likelihood import ContinuousBernoulli
from vaelib.vae import VAE

PIXELS, BATCH = 784, 256


def anonymous() -> float:
    """Megabytes that are this process's own; pages of a file that is mapped are the system's."""
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise LookupError("smaps_rollup has no line 'Anonymous'")


def trained(rows, watch=None) -> float:
    """Rows a second of one epoch."""
    torch.manual_seed(0)
    model = VAE(
        nets.MLPEncoder(PIXELS, 8, hidden=(128,)),
        nets.MLPDecoder(8, PIXELS, hidden=(128,)),
        likelihood=ContinuousBernoulli(),
    )
    if watch is not None:
        model.register_forward_pre_hook(watch)
    generator = torch.Generator().manual_seed(0)
    # So small a rate that the loss of a file of zeros does not become one of tiny numbers.
    how = {"epochs": 1, "batch_size": BATCH, "lr": 1e-6, "progress": False}
    (line,) = train.fit(model, rows, generator=generator, **how)
    return len(rows) / line.seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--part", type=int, default=100_000, help="rows that are also resident")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    n = int(options.gigabytes * 2**30) // PIXELS
    most, steps = 0.0, 0

    def watch(*_) -> None:
        nonlocal most, steps
        steps += 1
        if steps % 1000 == 0:
            most = max(most, anonymous())

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.lib.format.open_memmap(path, "w+", np.uint8, (n, PIXELS)).flush()
        on_disk = path.stat().st_blocks * 512
        start = time.perf_counter()
        with path.open("rb") as file:  # once through, so that the system has it
            while file.read(2**24):
                pass
        warm = time.perf_counter() - start
        numbers = np.random.default_rng(0).permutation(n)[: options.part]
        resident = torch.zeros(options.part, PIXELS, dtype=torch.uint8) + 1 - 1
        speeds: dict[str, list[float]] = {"resident": [], "mapped": []}
        for _ in range(options.rounds):
            speeds["resident"].append(trained(resident))
            # Mapped anew each time: the first look at a page is part of what it costs.
            mapped = np.load(path, mmap_mode="r")
            speeds["mapped"].append(trained(data.Rows(mapped, numbers)))
        del resident
        before = anonymous()
        whole = trained(np.load(path, mmap_mode="r"), watch)
    best = {name: max(found) for name, found in speeds.items()}
    print(
        json.dumps(
            {
                "file in GB": n * PIXELS / 2**30,
                "on the disk in MB": on_disk / 2**20,
                "seconds to read it": warm,
                "rows a second, resident": best["resident"],
                "rows a second, mapped": best["mapped"],
                "share of the resident speed": best["mapped"] / best["resident"],
                "rows a second, all of the file": whole,
                "anonymous MB before": before,
                "anonymous MB at most": most,
                "steps": steps,
            }
        )
    )


if __name__ == "__main__":
    main()
