"""train.fit: rows of any kind, with labels, as a tensor, an array or in batches of a loader."""

import numpy as np
import pytest
import torch
from torch import nn
from toy import Toy

from vaelib import train
from vaelib.likelihood import Gaussian, Likelihood

HOW = {"epochs": 2, "batch_size": 16, "progress": False}


def seed(s=1):
    return torch.Generator().manual_seed(s)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class Plain(Likelihood):
    """Of real numbers as they are: what a likelihood of a table prepares."""

    support, remedy = Gaussian.support, Gaussian.remedy

    def __init__(self):
        super().__init__()
        self.register_buffer("shift", torch.zeros(3))
        self.register_buffer("measured", torch.tensor(False))
        self.given = []

    def prepare(self, values, *, generator=None):
        return values.float()

    def measure(self, values):
        self.given.append(torch.tensor(np.asarray(values)))
        self.shift.copy_(self.given[-1].float().nanmean(0))
        self.measured.fill_(True)

    def forward(self, raw):
        return torch.distributions.Independent(torch.distributions.Normal(raw + self.shift, 1.0), 1)


class Conditional(Toy):
    """Its loss is that of a mean for each label, so it is known where it is least."""

    condition = 3

    def __init__(self):
        super().__init__(3, Plain())
        self.mean = nn.Parameter(torch.zeros(3, 3))
        self.seen = []

    def forward(self, x, eps, c):
        self.seen.append((x.detach().clone(), c.clone()))
        return (x - self.mean[c]).square().sum(-1).mean()


@pytest.fixture
def table(generator):
    return 5 + torch.randn(60, 3, generator=generator, dtype=torch.float64)


@pytest.fixture
def labels(generator):
    return torch.randint(3, (60,), generator=generator)


def kinds(values, tmp_path):
    np.save(tmp_path / "x.npy", values.numpy())
    return values, values.numpy(), np.load(tmp_path / "x.npy", mmap_mode="r")


def test_labels_go_with_their_rows(table, labels, tmp_path):
    """Each loss gets the label of each row; the mean of each label is found."""
    ends = []
    how = HOW | {"epochs": 100, "lr": 0.3, "validation_labels": labels[:7].numpy()}
    for rows in kinds(table, tmp_path):
        model = Conditional()
        history = train.fit(
            model, rows, labels=labels, validation=rows[:7], generator=seed(), **how
        )
        mine = {tuple(x): int(c) for x, c in zip(table.float().tolist(), labels, strict=True)}
        for x, c in model.seen:
            assert [mine[tuple(row)] for row in x.tolist()] == c.tolist()
        ends.append(flat(model))
        exact = torch.stack([table[labels == k].mean(0) for k in range(3)])
        torch.testing.assert_close(model.mean.detach().double(), exact, rtol=0, atol=0.02)
        held_out = (table[:7] - model.mean.double()[labels[:7]]).square().sum(1).mean().item()
        assert history[-1].validation == pytest.approx(held_out, rel=1e-6)
    assert all(torch.equal(ends[0], end) for end in ends)
