"""What two processes do in tests/test_train_team.py.

torchrun --nproc-per-node 2 tests/team_run.py FOLDER
"""

import contextlib
import sys
from pathlib import Path

import torch
from torch import nn
from toy import Toy

from vaelib import data, nets, train
from vaelib.vae import VAE


class StopError(Exception):
    pass


def run(folder, *, stop_at=None, **options):
    """Batches of 63, shared as 32 and 31, and a last one of 48; another seed in each process."""
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.manual_seed(rank)
    model = VAE(nets.MLPEncoder(784, 3, hidden=(16,)), nets.MLPDecoder(3, 784, hidden=(16,)))
    calls = []

    def count(*_):
        calls.append(1)
        if len(calls) == stop_at:
            raise StopError

    model.register_forward_pre_hook(count)
    history = train.fit(
        model,
        data.digits().train[:300],
        epochs=4,
        batch_size=63,
        lr=1e-2,
        warmup=2,
        clip=30.0,
        folder=folder,
        save_every=2,
        generator=torch.Generator().manual_seed(rank),
        progress=False,
        **options,
    )
    return model, history


class BreaksInOne(Toy):
    """Its third loss is infinite in the second process, and there only."""

    def __init__(self):
        super().__init__(784)
        self.w = nn.Parameter(torch.zeros(()))
        self.calls = 0

    def forward(self, x, eps):
        self.calls += 1
        breaks = self.calls == 3 and torch.distributed.get_rank() == 1
        return (x.mean() - self.w).square() + (torch.inf if breaks else 0)


def main(root: Path) -> None:
    train.join()
    rank = torch.distributed.get_rank()
    run(root / "together")
    run(root / "begun by one", resume=True)
    with contextlib.suppress(StopError):
        run(root / "begun by two", stop_at=13)
    model = BreaksInOne()
    try:
        train.fit(model, data.digits().train[:40], epochs=2, batch_size=8, progress=False)
    except FloatingPointError as error:
        (root / f"error {rank}").write_text(f"{model.calls} {error}")
    try:
        train.fit(model, data.digits().train[:5], epochs=1, batch_size=2, progress=False)
    except ValueError as error:
        (root / f"refusal {rank}").write_text(str(error))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
