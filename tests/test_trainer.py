"""train.Trainer: a step is that of the loop written out, for any loss, optimizer and batches."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vaelib import train
from vaelib.train import CheckpointError, trainer
from vaelib.train.team import Team

OPTIMIZERS = {
    "Adam": {"lr": 1e-2},
    "fused Adam": {"lr": 1e-2, "fused": True},
    "AdamW": {"lr": 1e-2, "weight_decay": 0.1},
    "fused AdamW": {"lr": 1e-2, "weight_decay": 0.1, "fused": True},
    "SGD": {"lr": 1e-2},
    "SGD with momentum": {"lr": 1e-2, "momentum": 0.9, "nesterov": True},
    "fused SGD": {"lr": 1e-2, "momentum": 0.9, "fused": True},
    "Adagrad": {"lr": 1e-2},
    "RMSprop": {"lr": 1e-2, "momentum": 0.5, "centered": True},
    "NAdam": {"lr": 1e-2},
}
EACH = pytest.mark.parametrize("name", OPTIMIZERS)
TYPES = {name: name.removeprefix("fused ").split()[0] for name in OPTIMIZERS}


class Squares(nn.Module):
    """A regression of one's own: nothing of vaelib in it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Dropout(0.2), nn.Linear(5, 6))

    def forward(self, x, y=None):
        return (self.net(x) - (x if y is None else y)).square().sum(-1).mean()


def groups(loss):
    """Two groups: the first layer learns faster, and has weight decay of its own."""
    first, *_, last = loss.net
    return [
        {"params": list(first.parameters()), "lr": 0.05, "weight_decay": 0.01},
        {"params": list(last.parameters())},
    ]


def optimizer_of(name, loss):
    return getattr(torch.optim, TYPES[name])(groups(loss), **OPTIMIZERS[name])


def seed(s=1):
    return torch.Generator().manual_seed(s)


def weights(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def everything(loss, optimizer):
    state = optimizer.state_dict()["state"]
    moments = [state[i][name] for i in sorted(state) for name in sorted(state[i])]
    return [t.detach().clone() for t in (weights(loss), *moments) if t is not None]


def same(a, b):
    return len(a) == len(b) and all(map(torch.equal, a, b))


@pytest.fixture
def x(generator):
    return torch.rand(50, 6, generator=generator)


@EACH
@pytest.mark.parametrize("clip", [None, 0.5])
def test_steps_are_those_of_a_loop_written_out(x, name, clip):
    """To the last bit, losses and moments too: two groups, a schedule of torch's, dropout."""
    ends = []
    for by_hand in (False, True):
        loss, generator = Squares(), seed()
        optimizer = optimizer_of(name, loss)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        steps = train.Trainer(loss, optimizer, clip=clip, generator=generator)
        torch.manual_seed(3)
        found = []
        for _ in range(3):
            order = torch.randperm(50, generator=generator)
            for rows in order.split(16):
                if not by_hand:
                    found.append(steps.step(x[rows]))
                    continue
                optimizer.zero_grad()
                value = loss(x[rows])
                value.backward()
                if clip is not None:
                    nn.utils.clip_grad_norm_(loss.parameters(), clip)
                optimizer.step()
                found.append(value.detach())
            schedule.step()
        ends.append([*everything(loss, optimizer), torch.stack(found), torch.get_rng_state()])
    assert same(*ends)
    assert not torch.equal(ends[0][0], weights(Squares()))


@EACH
def test_a_step_whose_loss_is_not_finite_changes_nothing_nor_does_any_after_it(x, name):
    loss = Squares()
    optimizer = optimizer_of(name, loss)
    steps = train.Trainer(loss, optimizer)
    for rows in torch.arange(32).split(16):
        assert steps.step(x[rows]).isfinite()
    steps.require_finite()
    before = everything(loss, optimizer)
    assert steps.step(x[:16] + math.nan).isnan()
    later = steps.step(x[:16])
    assert not later.isfinite()  # its own is; no loss looks as if its step had been done
    assert same(before, everything(loss, optimizer))
    with pytest.raises(FloatingPointError, match=r"Trainer: one of 4 steps had a loss .* new Trai"):
        steps.require_finite()


@EACH
def test_a_gradient_that_is_not_finite_changes_nothing_under_clip(x, name):
    class Steep(Squares):
        def forward(self, x):
            return super().forward(x) + self.net[0].bias.mul(0).sum().sqrt()

    loss = Steep()
    optimizer = optimizer_of(name, loss)
    before = everything(loss, optimizer)
    steps = train.Trainer(loss, optimizer, clip=1.0)
    assert not steps.step(x).isfinite()
    assert torch.equal(weights(loss), before[0])


def test_batches_come_from_anywhere(x):
    """A DataLoader with targets, its lists; a generator; a tensor: the same as one by one."""
    y = x.flip(1)
    ends = []
    for batches in (
        DataLoader(TensorDataset(x, y), batch_size=16),
        ((x[k : k + 16], y[k : k + 16]) for k in range(0, 50, 16)),
        zip(x.split(16), y.split(16), strict=True),
    ):
        loss = Squares().eval()
        steps = train.Trainer(loss, optimizer_of("SGD", loss))
        for batch in batches:
            steps.step(batch)
        assert steps.steps == 4
        ends.append(weights(loss))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


class Counting:
    """An array that notes which rows were read."""

    def __init__(self, path):
        self.array, self.read = np.load(path, mmap_mode="r"), []

    def __len__(self):
        return len(self.array)

    def __getitem__(self, rows):
        self.read.append(rows)
        return self.array[rows]


@pytest.fixture
def mapped(x, tmp_path):
    np.save(tmp_path / "x.npy", x.numpy())
    return Counting(tmp_path / "x.npy")


def test_of_a_mapped_array_the_rows_of_a_batch_are_read(x, mapped):
    """And are what a tensor has."""
    of_array, of_tensor = (train.Batches(d, 16, generator=seed()) for d in (mapped, x))
    for _ in range(2):
        for a, b in zip(of_array, of_tensor, strict=True):
            assert torch.equal(a, b)
    assert [len(rows) for rows in mapped.read] == [16, 16, 16, 2] * 2
    first, second = (np.concatenate(mapped.read[k : k + 4]) for k in (0, 4))
    assert sorted(first) == sorted(second) == list(range(50))
    assert list(first) != list(second)
    assert of_array.epoch == 2


def test_batches_go_on_after_a_break(x):
    batches = train.Batches(x, 16, generator=seed())
    whole = [b.clone() for _ in range(2) for b in train.Batches(x, 16, generator=seed())]
    first = list(itertools.islice(batches, 2))
    batches.generator.manual_seed(9)  # as steps draw from it
    rest = list(batches)
    assert batches.generator.get_state().equal(seed(9).get_state())
    assert all(map(torch.equal, whole, first + rest))
    assert len(first + rest) == len(batches) == 4


@EACH
@pytest.mark.parametrize("data", ["tensor", "array"])
def test_a_loop_that_goes_on_from_a_file_ends_as_if_left_alone(x, mapped, tmp_path, name, data):
    """Within the second pass; with dropout, which draws from torch's own generator."""

    def make():
        loss, generator = Squares(), seed(4)

        def noisy(x, *, generator):
            return x + 0.1 * torch.randn(x.shape, generator=generator)

        optimizer = optimizer_of(name, loss)
        steps = train.Trainer(loss, optimizer, prepare=noisy, generator=generator)
        source = x if data == "tensor" else mapped
        return loss, optimizer, steps, train.Batches(source, 16, generator=generator)

    def loop(loss, optimizer, steps, batches):
        while batches.epoch < 3:
            for batch in batches:
                steps.step(batch)
                if steps.steps == 6:
                    optimizer.param_groups[1]["lr"] = 0.03  # as a scheduler would
                    steps.save(tmp_path / "mine.safetensors", batches)
        return [*everything(loss, optimizer), torch.get_rng_state()]

    torch.manual_seed(3)
    expected = loop(*make())
    torch.manual_seed(99)
    loss, optimizer, steps, batches = make()
    steps.restore(tmp_path / "mine.safetensors", batches)
    assert (steps.steps, batches.epoch, batches.position) == (6, 1, 2)
    assert not same(expected, [*everything(loss, optimizer), torch.get_rng_state()])
    assert same(expected, loop(loss, optimizer, steps, batches))


def test_of_an_iterable_all_but_its_place_is_restored(x, tmp_path):
    """What the docs say: weights, moments, rates, generators and steps."""
    path = tmp_path / "mine.safetensors"

    def make():
        loss, generator = Squares(), seed(4)
        return loss, train.Trainer(loss, optimizer_of("Adam", loss), generator=generator)

    loss, steps = make()
    batches = iter(x.split(16))
    for batch in itertools.islice(batches, 2):
        steps.step(batch)
    steps.generator.manual_seed(7)
    steps.save(path)
    expected = [*everything(loss, steps.optimizer), torch.get_rng_state()]
    steps.step(next(batches))
    other, again = make()
    again.restore(path)
    assert same(expected, [*everything(other, again.optimizer), torch.get_rng_state()])
    assert again.steps == 2
    assert again.generator.get_state().equal(seed(7).get_state())
    again.step(x[32:48])  # whoever brings the batch that was next has the step that was next
    assert same(everything(other, again.optimizer), everything(loss, steps.optimizer))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"name": "SGD with momentum"},
            r"another loop .*optimizer.\d: expected {'momentum_buffer': .* got {",
        ),
        ({"groups": lambda loss: loss.parameters()}, "it has 2 groups of parameters"),
        ({"wide": True}, r"'net.0.bias' is \(5,\) torch.float32 in the file and \(7,\)"),
        ({"batch_size": 40}, "it is at batch 3 of 2"),
        ({"cut": True}, "not a whole safetensors file"),
    ],
)
def test_a_file_of_another_loop_is_refused_and_nothing_is_changed(x, tmp_path, change, message):
    def make(name="fused Adam", groups=groups, wide=False, batch_size=16, cut=False):
        loss, generator = Squares(), seed()
        if wide:
            loss.net[0], loss.net[3] = nn.Linear(6, 7), nn.Linear(7, 6)
        optimizer = getattr(torch.optim, TYPES[name])(groups(loss), **OPTIMIZERS[name])
        steps = train.Trainer(loss, optimizer, generator=generator)
        return loss, steps, train.Batches(x, batch_size, generator=generator)

    path = tmp_path / "mine.safetensors"
    _, steps, batches = make()
    for batch in itertools.islice(batches, 3):
        steps.step(batch)
    steps.save(path, batches)
    if "cut" in change:
        path.write_bytes(path.read_bytes()[:-1])
    loss, steps, batches = make(**change)
    before = [*everything(loss, steps.optimizer), steps.generator.get_state()]
    with pytest.raises(CheckpointError, match=message):
        steps.restore(path, batches)
    assert same(before, [*everything(loss, steps.optimizer), steps.generator.get_state()])
    assert (steps.steps, batches.position) == (0, 0)


def test_what_failed_is_not_saved_over_what_was_good(x, tmp_path):
    path, loss = tmp_path / "mine.safetensors", Squares()
    steps = train.Trainer(loss, optimizer_of("SGD", loss))
    steps.save(path)
    before = path.read_bytes()
    steps.step(x * math.inf)
    with pytest.raises(FloatingPointError, match="not finite"):
        steps.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]


def test_an_optimizer_whose_state_is_no_tensor_is_not_saved(x, tmp_path):
    class Numbered(torch.optim.SGD):
        def step(self):
            super().step()
            for p in self.param_groups[0]["params"]:
                self.state[p]["count"] = 1

    loss = Squares()
    steps = train.Trainer(loss, Numbered(loss.parameters(), lr=0.1))
    steps.step(x)
    with pytest.raises(TypeError, match=r"Numbered keeps 'count' as a int, .* as a tensor"):
        steps.save(tmp_path / "mine.safetensors")


def test_batches_of_one_size_run_compiled(x, monkeypatch):
    """The size of the first, or that which was said: others as they are. (The rest is fit's.)"""
    compiled = []

    def fake(loss, **_):
        return lambda *batch: compiled.append(len(batch[0])) or loss(*batch)

    monkeypatch.setattr(torch, "compile", fake)
    for size, expected in ((None, [16, 16]), (8, [8])):
        compiled.clear()
        loss = Squares()
        how = {"compile": True, "batch_size": size}
        steps = train.Trainer(loss, optimizer_of("SGD", loss), **how)
        for n in (16, 2, 16, 8):
            steps.step(x[:n])
        assert compiled == expected


def test_pictures_are_not_cut_by_a_team():
    """Of rows [n, k] each process takes some; of [n, height, width] it would take lines."""
    team = Team()
    team.size, team.rank = 2, 1
    flat, noise = torch.rand(5, 6), torch.rand(3, 5, 2)
    assert [t.shape for t in team.share([flat, noise])] == [(2, 6), (3, 2, 2)]
    *_, labels = team.share([flat, noise, torch.arange(5)])
    assert labels.tolist() == [1, 3]
    as_many_as_lines = torch.rand(4, 4, 4)
    for batch in ([torch.rand(5, 4, 4)], [as_many_as_lines], [flat, torch.rand(4)]):
        with pytest.raises(ValueError, match=r"got \[\(\d, .*\]; flatten pictures"):
            team.share(batch)


def make(**change):
    loss = Squares()
    how = {"loss": loss, "optimizer": optimizer_of("Adam", loss)} | change
    return train.Trainer(how.pop("loss"), how.pop("optimizer"), **how)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"loss": torch.sum},
            TypeError,
            "loss to be a torch.nn.Module .* forward of one, got built",
        ),
        ({"optimizer": torch.optim.Adam}, TypeError, "an optimizer of torch.optim, got type"),
        ({"clip": 0.0}, ValueError, "clip > 0"),
        ({"batch_size": 2.0}, TypeError, "batch_size as a whole number ≥ 1, got 2.0"),
        ({"generator": 1}, TypeError, r"generator, as torch.Generator\(\).manual_seed\(0\), got"),
        ({"precision": "float16"}, ValueError, "precision one of"),
        ({"compile": "cuda-graph"}, ValueError, "the model is on cpu. Use compile=True"),
    ],
)
@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused(change, error, message):
    with pytest.raises(error, match=f"^Trainer: .*{message}"):
        make(**change)


@pytest.mark.usefixtures("plain_errors")
def test_bad_batches_are_refused(x):
    with pytest.raises(TypeError, match=r"sequence of tensors, got dict; .*\(batch\['image'\]\)"):
        make().step({"image": x})
    with pytest.raises(ValueError, match="at least one row and batch_size ≥ 1, got 0 rows and 4"):
        train.Batches(x[:0], 4, generator=seed())
    with pytest.raises(ValueError, match="got 50 rows and 0"):
        train.Batches(x, 0, generator=seed())

    class Vector(Squares):
        def forward(self, x):
            return self.net(x).sum(-1)

    with pytest.raises(TypeError, match=r"Trainer: expected the model's loss .* shape \(50,\)"):
        make(loss=Vector()).step(x)


@pytest.mark.parametrize(
    ("how", "fits"),
    [
        ({"lr": torch.tensor(0.1), "fused": True, "capturable": True}, True),
        ({"lr": 0.1, "fused": True, "capturable": True}, False),
        ({"lr": torch.tensor(0.1), "capturable": True}, False),
        ({"lr": torch.tensor(0.1), "fused": True}, False),
    ],
)
def test_an_optimizer_that_a_graph_would_record_as_it_was_is_refused(monkeypatch, how, fits):
    """A number in it stays what it was, and one that is not fused asks the processor."""
    monkeypatch.setattr(trainer, "require_compile", lambda *_: None)
    monkeypatch.setattr(trainer, "Compiled", lambda loss, *_: loss)
    loss = Squares()
    optimizer = torch.optim.Adam(loss.parameters(), **how)
    if fits:
        train.Trainer(loss, optimizer, compile="cuda-graph")
        return
    with pytest.raises(ValueError, match=r"Adam as it is reads numbers .* capturable=True\), or"):
        train.Trainer(loss, optimizer, compile="cuda-graph")
