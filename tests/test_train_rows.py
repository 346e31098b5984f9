"""train.fit: rows of any kind, with labels, as a tensor, an array or in batches of a loader."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset
from toy import Toy

from vaelib import data, nets, train
from vaelib.likelihood import Bernoulli, Gaussian, Missing, Poisson
from vaelib.train import CheckpointError, checkpoint
from vaelib.vae import IWAE, VAE

HOW = {"epochs": 2, "batch_size": 16, "progress": False}
ITS_OWN = {k: v for k, v in HOW.items() if k != "batch_size"}  # a loader has a batch_size


def seed(s=1):
    return torch.Generator().manual_seed(s)


def flat(model):
    return torch.cat([t.detach().flatten() for t in model.state_dict().values()])


def vae(values=3, likelihood=None, inputs=None, condition=0, kind=VAE, **options):
    torch.manual_seed(0)
    size = {"hidden": (8,), "condition": condition}
    return kind(
        nets.MLPEncoder(inputs or values, 2, **size),
        nets.MLPDecoder(2, values, **size),
        likelihood=likelihood,
        condition=condition,
        **options,
    )


@pytest.fixture
def table(generator):
    """Three columns in different units, with a common cause."""
    units = torch.tensor([1.0, 100.0, 1e-3], dtype=torch.float64)
    cause = torch.randn(60, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    return (5 + cause + 0.3 * noise) * units


@pytest.fixture
def labels(generator):
    return torch.randint(3, (60,), generator=generator)


class Centres(Toy):
    """Its loss is least at the mean of the rows of each label."""

    condition = 3

    def __init__(self):
        super().__init__(3, Gaussian())
        self.mean = nn.Parameter(torch.zeros(3, 3))
        self.seen = []

    def forward(self, x, eps, c):
        self.seen.append((x.detach().clone(), c.clone()))
        return (x - self.mean[c]).square().sum(-1).mean()


def pairs(rows, labels):
    """Rows with their labels, as numbers that can be compared."""
    return sorted((*row, int(c)) for row, c in zip(rows.float().tolist(), labels, strict=True))


def kinds(values, tmp_path):
    """The same rows as a tensor, as arrays, and from a file."""
    np.save(tmp_path / "x.npy", values.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    return values, values.numpy(), mapped, data.Rows(mapped, np.arange(len(values)))


def test_labels_go_with_their_rows(labels, generator, tmp_path):
    """Each loss gets the label of each row, whatever holds them; each label's mean is found."""
    rows, ends = labels[:, None] + torch.randn(60, 3, generator=generator), []
    how = HOW | {"epochs": 100, "lr": 0.3, "validation_labels": labels[:7].numpy()}
    for given in kinds(rows, tmp_path):
        model = Centres()
        history = train.fit(
            model, given, labels=labels, validation=given[:7], generator=seed(), **how
        )
        first, held_out = model.seen[:4], model.seen[4:5]
        for seen, expected in ((first, (rows, labels)), (held_out, (rows[:7], labels[:7]))):
            assert pairs(*map(torch.cat, zip(*seen, strict=True))) == pairs(*expected)
        ends.append(flat(model))
        exact = torch.stack([rows[labels == k].mean(0) for k in range(3)])
        torch.testing.assert_close(model.mean.detach(), exact, rtol=0, atol=0.02)
        loss = (rows[:7] - model.mean[labels[:7]]).square().sum(1).mean().item()
        assert history[-1].validation == pytest.approx(loss, rel=1e-6)
    assert all(torch.equal(ends[0], end) for end in ends)


@pytest.mark.parametrize("kind", [VAE, IWAE])
def test_a_model_with_a_condition_is_trained_on_labels(labels, generator, kind):
    """Pixels that are 0 or 255 as the label says: known with it, 3 log 2 nats without."""
    rows = (255 * (labels[:, None] == torch.arange(3))).to(torch.uint8)
    how = HOW | {"epochs": 60, "lr": 0.05}
    losses = []
    for c, condition in ((labels, 3), (labels[torch.randperm(60, generator=generator)], 3)):
        model = vae(condition=condition, kind=kind, likelihood=Bernoulli())
        history = train.fit(model, rows, labels=c, generator=seed(), **how)
        losses.append(history[-1].loss)
        assert math.isfinite(history[-1].kl + history[-1].log_likelihood + history[-1].active)
    assert losses[0] < 0.2 < 0.5 < losses[1]


def loader(rows, labels=None, *, order, size=16, **options):
    parts = [rows] if labels is None else [rows, labels]
    return DataLoader(TensorDataset(*parts), size, sampler=order, **options)


class Drawn:
    """An order as fit's own: drawn for each pass from the generator of the run."""

    def __init__(self, n, generator):
        self.n, self.generator = n, generator

    def __iter__(self):
        return iter(torch.randperm(self.n, generator=self.generator).tolist())

    def __len__(self):
        return self.n


@pytest.mark.parametrize("conditional", [False, True])
def test_a_loader_in_the_same_order_ends_at_the_weights_of_the_tensor(table, labels, conditional):
    """Bit for bit: losses, weights, moments, and what is measured on held-out rows in order."""
    options = {"condition": 3} if conditional else {}
    given = {"labels": labels} if conditional else {}
    held_out = table[:9]
    models, histories = [], []
    for how in ("tensor", "loader"):
        model = vae(likelihood=Gaussian(features=3), **options)
        generator = seed()
        if how == "tensor":
            kept = {"validation_labels": labels[:9]} if conditional else {}
            history = train.fit(
                model, table, validation=held_out, generator=generator, **HOW, **given, **kept
            )
        else:
            # A DataLoader draws a seed for its workers from torch's generator, not from this one.
            batches = loader(table, given.get("labels"), order=Drawn(60, generator))
            parts = (held_out, labels[:9]) if conditional else (held_out,)
            order = torch.randperm(9, generator=seed(0)).tolist()  # in which fit measures
            its = [tuple(t[order] for t in parts) if conditional else parts[0][order]]
            history = train.fit(model, batches, validation=its, generator=generator, **ITS_OWN)
        models.append(flat(model))
        histories.append([line.loss for line in history])
    assert torch.equal(*models)
    assert histories[0] == histories[1]


class Numbered(Dataset):
    """Pictures of arrays, and which were asked for."""

    def __init__(self, n=40):
        self.n, self.asked = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.asked.append(i)
        return np.full((2, 1, 3), i, np.float32), i % 3


class StopError(Exception):
    pass


@pytest.mark.parametrize("own", [None, 3])
def test_a_loader_resumes_at_the_start_of_the_epoch_that_was_broken_off(tmp_path, own):
    """With its batches in the order that they would have had, and the weights to the last bit."""

    def run(folder, breaks=None, s=1):
        torch.manual_seed(s)  # what another process would begin with
        generator = None if own is None else seed(own + s)
        dataset = Numbered()
        batches = DataLoader(dataset, 16, shuffle=True, generator=generator)
        model = vae(6, Gaussian(), condition=3)
        torch.manual_seed(10 + s)
        if breaks:
            forward, steps = model.objective, []

            def objective(*arguments):
                steps.append(1)
                if len(steps) == breaks:
                    raise StopError
                return forward(*arguments)

            model.objective = objective
        how = {"folder": folder, "resume": folder is not None, "generator": seed(s)}
        history = train.fit(model, batches, epochs=4, progress=False, **how)
        return flat(model), [line[:2] for line in history], dataset.asked

    alone, lines, asked = run(None)
    with pytest.raises(StopError):
        run(tmp_path, breaks=8)  # in the third epoch, of 3 batches each
    assert len(checkpoint.read(tmp_path / checkpoint.NAME)[1]["history"]) == 2
    again, its_lines, its_asked = run(tmp_path, s=2)
    assert torch.equal(again, alone)
    assert its_lines == lines
    assert its_asked[-80:] == asked[-80:]


def test_batches_may_be_a_list_of_arrays_or_pictures_and_weigh_by_their_rows():
    """Each is flattened in the order of its axes; the loss is a mean over rows, not batches."""
    first = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 24
    rest = torch.ones(5, 3, 2, 2)

    class Mean(Toy):
        def __init__(self):
            super().__init__(12, Gaussian())
            self.w, self.seen = nn.Parameter(torch.zeros(())), []

        def forward(self, x, eps):
            self.seen.append(x)
            return x.mean() + 0 * self.w

    model = Mean()
    (line,) = train.fit(model, [first, [rest]], **ITS_OWN | {"epochs": 1})
    assert torch.equal(model.seen[0], torch.from_numpy(first).reshape(2, 12))
    assert line.loss == pytest.approx((first.mean() * 2 + 5) / 7)


class Endless(IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(100, 3))


class Lying(list):
    def __init__(self, batches, length):
        super().__init__(batches)
        self.length = length

    def __len__(self):
        return self.length


ROWS = torch.zeros(4, 3)


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (DataLoader(Endless(), 5), {}, TypeError, "DataLoader without a length.*__len__, or train"),
        ((ROWS for _ in range(3)), {}, TypeError, "generator without a length"),
        (iter(Lying([ROWS], 1)), {}, TypeError, "list_iterator"),
        ([], {}, ValueError, "rows with at least one batch"),
        ([{"x": ROWS}], {}, TypeError, r"got \['dict'\]; pick them in the loader's collate_fn"),
        ([(ROWS, ROWS, ROWS)], {}, TypeError, "a batch as rows .* or as .rows, labels."),
        ([(ROWS, torch.zeros(3).long())], {}, ValueError, r"shapes \[\(4, 3\), \(3,\)\]"),
        ([ROWS[0]], {}, ValueError, r"shapes \[\(3,\)\]"),
        (Lying([ROWS], 2), {}, ValueError, "length says, 2, got only 1; mend its __len__"),
        (Lying([ROWS] * 3, 2), {}, ValueError, "length says, 2, got more"),
        ([ROWS], {"batch_size": 5}, ValueError, "their own batch_size; leave it out"),
        (
            [ROWS],
            {"save_every": 5, "folder": "run"},
            ValueError,
            "cannot be entered midway.*Leave save_every out",
        ),
        ([ROWS], {"labels": torch.zeros(4).long()}, ValueError, r"let each batch be \(rows, lab"),
        ([(ROWS, torch.zeros(4).long())], {}, ValueError, "takes no condition, and labels would"),
        ([ROWS], {"validation": torch.zeros(4, 2)}, ValueError, "validation with 3 values a row"),
        (ROWS, {"validation": ROWS.byte()}, ValueError, "validation as numbers, .* got pixels"),
        (ROWS.reshape(4, 3, 1), {}, ValueError, r"flatten pictures: rows.reshape\(len\(rows\)"),
        (ROWS, {"labels": torch.zeros(4).long()}, ValueError, "takes no condition, and labels"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_with_the_remedy(
    rows, options, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        train.fit(vae(likelihood=Gaussian()), rows, epochs=1, progress=False, **options)


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (ROWS, {}, r"condition=3 and needs a label for each row; give labels= as .* from 0 to 2"),
        ([ROWS], {}, r"condition=3 .* let each batch be \(rows, labels\)"),
        (ROWS, {"labels": torch.tensor([0, 1, 2, 3])}, "labels from 0 to 2, got 0 to 3"),
        ([(ROWS, torch.tensor([0, 1, 2, 3]))], {}, "labels from 0 to 2, got 0 to 3"),
        (
            ROWS,
            {"labels": torch.zeros(4).long(), "validation": ROWS},
            "give validation_labels=",
        ),
    ],
)
def test_a_model_with_a_condition_needs_labels(rows, options, message):
    model = vae(likelihood=Gaussian(), condition=3)
    with pytest.raises(ValueError, match=message):
        train.fit(model, rows, epochs=1, progress=False, **options)


def test_a_likelihood_takes_its_units_from_the_rows_once(table, tmp_path):
    """From whatever holds them, a loader too; other data later keep the units of the first."""
    ends = []
    batches = [table[:13], table[13:40], table[40:]]
    for rows in (*kinds(table, tmp_path), batches, DataLoader(table, 7, shuffle=True)):
        model = vae(likelihood=Gaussian(features=3))
        how = HOW if train.rows.are_rows(rows) else ITS_OWN
        state = torch.get_rng_state()
        train.fit(model, rows, generator=seed(), **how | {"epochs": 1, "lr": 1e-9})
        if not isinstance(rows, DataLoader):  # which draws the order of its one pass
            assert torch.equal(torch.get_rng_state(), state)
        shift, factor = model.likelihood.shift, model.likelihood.factor
        torch.testing.assert_close(shift.double(), table.mean(0), rtol=1e-6, atol=0)
        torch.testing.assert_close(factor.double(), table.std(0, correction=0), rtol=1e-6, atol=0)
        ends.append(shift.clone())
        train.fit(model, 7 * table, **HOW)
        assert torch.equal(model.likelihood.shift, ends[-1])


def test_other_data_go_on_from_the_weights_and_units_of_a_finished_run(table, tmp_path):
    """The first loss on the other data is that of the weights that were loaded, in their units."""
    first = vae(likelihood=Gaussian(features=3))
    train.fit(first, table, folder=tmp_path / "a", generator=seed(), **HOW)
    again, other = vae(likelihood=Gaussian(features=3)), 1.5 * table[:40]
    train.load(again, tmp_path / "a")
    how = {"epochs": 1, "batch_size": 40, "progress": False, "generator": seed(3)}
    (line,) = train.fit(again, other, folder=tmp_path / "b", **how)
    generator = seed(3)
    x = other[torch.randperm(40, generator=generator)].float()
    with torch.no_grad():
        expected = first(x, first.noise(40, generator=generator)).item()
    assert line.loss == pytest.approx(expected, rel=1e-6)
    assert torch.equal(again.likelihood.shift, first.likelihood.shift)
    with pytest.raises(CheckpointError, match=r"its rows is .*for other data load its model and"):
        train.fit(first, other, folder=tmp_path / "a", resume=True, **HOW)


def test_rows_of_each_kind_train_with_a_likelihood_of_theirs(table, generator):
    """Numbers, numbers with holes, counts: the loss falls; the wrong likelihood is refused."""
    holes = torch.where(torch.rand(60, 3, generator=generator) < 0.3, torch.nan, table)
    rates = 10 * torch.rand(60, 1, generator=generator).expand(60, 3)
    counts = torch.poisson(rates, generator=generator).long()
    how = HOW | {"epochs": 40, "lr": 0.02}
    for rows, likelihood, inputs in (
        (table, Gaussian(features=3), 3),
        (holes, Missing(Gaussian(features=3)), 6),
        (counts, Poisson(), 3),
    ):
        model = vae(likelihood=likelihood, inputs=inputs)
        history = train.fit(model, rows, generator=seed(), **how)
        assert history[-1].loss < history[0].loss - 0.2
        assert all(math.isfinite(line.loss + line.kl) for line in history)
    for rows, likelihood, message in (
        (
            counts,
            Bernoulli(),
            r"Bernoulli.* 0 to 17.*for counts take .*Poisson",
        ),
        (table, Poisson(), "Poisson"),
        (holes, Gaussian(), r"missing values \(NaN\), .* vaelib.likelihood.Missing\(Gaussian"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            train.fit(vae(likelihood=likelihood), rows, **how)


def test_a_hole_that_no_look_at_the_first_rows_shows_is_named_by_the_step(table, tmp_path):
    """In memory it is found before; of a file only the first rows are read for it."""
    rows = table.repeat(4, 1)
    rows[200, 1] = torch.nan
    (_, resident, mapped, _) = kinds(rows, tmp_path)
    with pytest.raises(ValueError, match="missing values"):
        train.fit(vae(likelihood=Gaussian()), resident, **HOW)
    with pytest.raises(FloatingPointError, match=r"x has missing values .*Missing"):
        train.fit(vae(likelihood=Gaussian()), mapped, generator=seed(), **HOW)
