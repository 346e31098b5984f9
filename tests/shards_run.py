"""What two processes do in tests/test_train_shards.py.

torchrun --nproc-per-node 2 tests/shards_run.py FOLDER
"""

import contextlib
import sys
from pathlib import Path

import numpy as np
import torch
from torch import distributed

from vaelib import data, nets, train
from vaelib.likelihood import Bernoulli, Gaussian
from vaelib.vae import VAE

SHARDS, EACH, BATCH, EPOCHS = 4, 118, 64, 4  # 8 steps an epoch, the last of 6 rows a shard


class StopError(Exception):
    pass


class Watched:
    """Rows that remember which were asked for."""

    def __init__(self, rows):
        self.rows, self.shape, self.dtype, self.asked = rows, rows.shape, rows.dtype, []

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, numbers):
        self.asked.append(np.asarray(numbers).tolist())
        return self.rows[numbers]


class Double(Bernoulli):
    """Binarized pixels in double precision."""

    def prepare(self, pixels, *, generator=None):
        return super().prepare(pixels, generator=generator).double()


def sources(n=EACH, count=SHARDS):
    """Digits, dealt out in turn."""
    rows = data.digits().train[: n * count].numpy()
    return [Watched(rows[k::count]) for k in range(count)]


def run(given, *, likelihood=None, stop_at=None, seen=None, epochs=EPOCHS, **options):
    """Other first weights in each process, unless they are made alike."""
    rank = distributed.get_rank() if distributed.is_initialized() else 0
    torch.manual_seed(rank)
    model = VAE(
        nets.MLPEncoder(784, 3, hidden=(16,)),
        nets.MLPDecoder(3, 784, hidden=(16,)),
        likelihood=likelihood or Double(),
    )
    if likelihood is None:
        model.double()
    calls = []

    def look(_, drawn):
        if model.training:
            calls.append(1)
            if seen is not None:
                seen.append([t.clone() for t in drawn])
            if len(calls) == stop_at:
                raise StopError

    model.register_forward_pre_hook(look)
    shards = train.Shards(given, seed=5)
    how = {"batch_size": BATCH, "lr": 1e-2, "progress": False} | options
    history = train.fit(model, shards, epochs=epochs, clip=30.0, **how)
    return model, history


def refused(root, rank, name, given, **options):
    """What an error says, and that nothing was written before it."""
    folder = root / f"of {name}"
    try:
        run(given, epochs=1, folder=folder, **options)
    except ValueError as error:
        (root / f"{name} {rank}").write_text(f"{error}")
    except RuntimeError as error:
        (root / f"{name} {rank}").write_text(f"{type(error).__name__}: {error}")
    assert not folder.exists()


def main(root: Path) -> None:
    train.join()
    rank = distributed.get_rank()
    given, seen = sources(), []
    run(given, folder=root / "together", seen=seen)
    torch.save([seen, [s.asked for s in given]], root / f"seen {rank}")
    run(sources(), folder=root / "single", likelihood=Bernoulli())
    run(sources(), folder=root / "units", likelihood=Gaussian(features=1), epochs=1)
    run(sources(), folder=root / "begun by one", resume=True, save_every=2)
    with contextlib.suppress(StopError):
        run(sources(), folder=root / "begun by two", stop_at=13, save_every=2)
    # Files of which those of the other process are nowhere.
    files = [root / f"{k}.npy" for k in range(SHARDS)]
    mine = [path if k % 2 == rank else root / "nowhere.npy" for k, path in enumerate(files)]
    run(mine, folder=root / "files")
    refused(root, rank, "lost", [*files[:3], root / "nowhere.npy"])
    given = sources()
    given[3] = Watched(given[3].rows[:-1])
    refused(root, rank, "unequal", given)
    refused(root, rank, "three", sources()[:3], batch_size=63)
    refused(root, rank, "batch", sources(), batch_size=62)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
