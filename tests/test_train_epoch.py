"""train.fit: what an epoch's line says, by which optimizer and rate it came, and who is told."""

import csv
import math
from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.tensorboard import SummaryWriter
from toy import Toy

from vaelib import evaluate, nets, train
from vaelib.likelihood import ContinuousBernoulli
from vaelib.train import CheckpointError, checkpoint, measure
from vaelib.vae import IWAE, VAE, TwoLayerVAE

HOW = {"epochs": 2, "batch_size": 16, "progress": False}


def seed(s=1):
    return torch.Generator().manual_seed(s)


@pytest.fixture
def pixels(generator):
    return torch.randint(256, (50, 6), generator=generator).to(torch.uint8)


def vae(kind=VAE, **options):
    torch.manual_seed(0)
    encoder, decoder = nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,))
    return kind(encoder, decoder, likelihood=ContinuousBernoulli(), **options)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def two_layers(**_):
    torch.manual_seed(0)
    size = {"hidden": (8,)}
    return TwoLayerVAE(
        nets.MLPEncoder(6, 3, **size),
        nets.MLPEncoder(3, 2, **size),
        nets.MLPEncoder(2, 3, **size),
        nets.MLPDecoder(3, 6, **size),
        likelihood=ContinuousBernoulli(),
        samples=4,
    )


@pytest.mark.parametrize("model", [vae, partial(vae, beta=4.0), partial(vae, IWAE), two_layers])
@pytest.mark.parametrize("held_out", [None, 23])
def test_both_terms_are_those_of_the_elbo_and_units_are_counted_as_ever(pixels, model, held_out):
    """On all 50 rows, or the held-out ones.

    Of 300 draws the mean over rows is known, and how far one draw lies from it: at most 5 of its
    standard deviations, which are 0 where the KL is exact.
    """
    model, heard = model(), []
    rows = pixels if held_out is None else pixels[:held_out]

    @torch.no_grad()
    def check(line, its):
        assert its is model
        heard.append(line)
        x = its.likelihood.prepare(rows)
        terms = its.terms(x, its.noise(len(x), samples=300, generator=seed(5)))
        for mine, term in zip((line.log_likelihood, line.kl), terms, strict=True):
            draws = term.expand(300, -1).mean(1)
            off = 5 * draws.std().item() + 1e-5 * abs(mine)
            assert mine == pytest.approx(draws.mean().item(), abs=off)
        found = evaluate.elbo(its, x, samples=300, generator=seed(6))
        assert line.log_likelihood - line.kl == pytest.approx(found.elbo, abs=0.5)
        count = evaluate.active_units(its, x, samples=1000, generator=seed(7)).sum().item()
        assert abs(line.active - count) <= isinstance(its, TwoLayerVAE)

    how = HOW | {"epochs": 3, "lr": 0.05, "callbacks": [check], "generator": seed()}
    validation = None if held_out is None else rows
    history = train.fit(model, pixels, validation=validation, **how)
    assert heard == history
    assert len(heard) == 3


def test_what_is_measured_does_not_change_what_is_learned(pixels, monkeypatch):
    """Neither draws nor modes: the weights are those without it, dropout's noise too."""

    def run():
        model = vae()
        model.decoder = nn.Sequential(model.decoder, nn.Dropout(0.3))
        model.decoder.latent, model.decoder.pixels = 2, 6
        torch.manual_seed(3)
        train.fit(model, pixels, generator=seed(), **HOW)
        return flat(model)

    measured = run()
    monkeypatch.setattr(measure.Watch, "__call__", lambda _: measure.Measured())
    assert torch.equal(run(), measured)


def test_it_is_measured_on_few_of_many_rows_always_the_same(generator):
    """A thirtieth of the rows, between 100 and 1,000, without dropout and with the same noise."""
    rows = torch.randint(256, (6_000, 6), generator=generator).to(torch.uint8)
    model, seen = vae(), []
    model.encoder.register_forward_hook(
        lambda m, given, _: None if m.training else seen.append(given[0].clone())
    )
    how = {"epochs": 3, "batch_size": 80, "lr": 1e-30, "progress": False}
    history = train.fit(model, rows, generator=seed(), **how)
    assert len({tuple(line[4:7]) for line in history}) == 1
    assert {len(x) for x in seen} == {80, 40}  # as many at once as a step has
    each = torch.cat(seen).view(3, 2, 200, 6)  # once for the terms, once for the units
    assert (each == each[0, 0]).all()
    for n, count in ((50, 50), (2_999, 100), (6_000, 200), (60_000, 1_000)):
        feed = measure.Feed(model, torch.zeros(n, 6, dtype=torch.uint8), model.likelihood.prepare)
        assert len(feed.some(feed.watched())[0]) == count


def test_a_model_without_terms_has_none(pixels):
    class Mean(Toy):
        def __init__(self):
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(6))

        def forward(self, x, eps):
            return (x - self.mean).square().sum(-1).mean()

    (line, _) = train.fit(Mean(), pixels, **HOW)
    assert all(math.isnan(value) for value in (line.log_likelihood, line.kl, line.active))
    assert line.lr > 0


def test_the_rate_of_an_epoch_is_that_of_its_last_step(pixels, tmp_path):
    """And stands in history.csv, with all else."""
    history = train.fit(vae(), pixels, folder=tmp_path, lr=0.1, **HOW)
    shares = [done / 8 for done in (3, 7)]  # 4 steps an epoch
    assert [line.lr for line in history] == pytest.approx([0.1 * train.cosine(s) for s in shares])
    with (tmp_path / "history.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [float(row["kl"]) for row in table] == [line.kl for line in history]
    assert [float(row["active"]) for row in table] == [line.active for line in history]
    assert list(table[0]) == list(train.Epoch._fields)


def test_a_history_from_before_there_were_terms_is_read(pixels, tmp_path):
    """The run goes on with the weights of one that has always had them."""
    alone = vae()
    train.fit(alone, pixels, generator=seed(), **HOW | {"epochs": 4, "schedule": train.constant})
    how = HOW | {"folder": tmp_path, "generator": seed(), "schedule": train.constant}
    train.fit(vae(), pixels, **how)
    path = tmp_path / checkpoint.NAME
    tensors, about = checkpoint.read(path)
    for line in about["history"]:
        for name in ("log_likelihood", "kl", "active", "lr"):
            del line[name]
    about["config"]["pixels"] = about["config"].pop("rows")
    for name in ("labels", "validation_labels", "optimizer"):
        del about["config"][name]
    checkpoint.save(path, tensors, about)
    model = vae()
    with pytest.warns(UserWarning, match="had ended after 2 epochs"):
        history = train.fit(model, pixels, resume=True, **how | {"epochs": 4})
    assert [math.isnan(line.kl) for line in history] == [True, True, False, False]
    assert torch.equal(flat(model), flat(alone))


def test_tensorboard_is_a_callback_of_five_lines(pixels, tmp_path):
    """That of the docstring of fit."""
    writer = SummaryWriter(tmp_path)

    def board(epoch, model):
        for name, value in epoch._asdict().items():
            writer.add_scalar(name, value, epoch.epoch)

    history = train.fit(vae(), pixels, validation=pixels, callbacks=[board], **HOW)
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    for name in train.Epoch._fields:
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(line.epoch, pytest.approx(getattr(line, name))) for line in history]
    for line in """for name, value in epoch._asdict().items():
            writer.add_scalar(name, value, epoch.epoch)""".splitlines():
        assert line.strip() in train.fit.__doc__


OPTIMIZERS = {
    "AdamW": partial(torch.optim.AdamW, weight_decay=0.3),
    "SGD": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "fused": partial(torch.optim.SGD, momentum=0.9, fused=True),
    "Adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_any_optimizer_steps_as_in_a_loop_by_hand_and_resumes_exactly(pixels, tmp_path, name):
    make, how = OPTIMIZERS[name], HOW | {"lr": 0.05, "epochs": 4}
    model, by_hand, generator = vae(), vae(), seed()
    train.fit(model, pixels, optimizer=make, generator=seed(), **how)
    optimizer = make(by_hand.parameters(), lr=0.05)
    for done in range(16):
        if done % 4 == 0:
            order = torch.randperm(50, generator=generator).split(16)
        optimizer.param_groups[0]["lr"] = 0.05 * train.cosine(done / 16)
        x = pixels[order[done % 4]].float() / 255
        optimizer.zero_grad()
        by_hand(x, torch.randn(len(x), 2, generator=generator)).backward()
        optimizer.step()
    torch.testing.assert_close(flat(model), flat(by_hand), rtol=1e-5, atol=1e-6)
    again = vae()
    folder = {"folder": tmp_path, "optimizer": make}

    def stop(line, _):
        if line.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.fit(vae(), pixels, generator=seed(), callbacks=[stop], **how, **folder)
    train.fit(again, pixels, resume=True, generator=seed(9), **how, **folder)
    assert torch.equal(flat(again), flat(model))
    with pytest.raises(CheckpointError, match=r"its optimizer is \w+\(.*, and here it is None"):
        train.fit(vae(), pixels, folder=tmp_path, resume=True, **how)


def test_each_group_of_parameters_keeps_its_own_rate(pixels):
    """The schedule is a factor on both; weights of the second hardly move."""
    rates = []

    def make(parameters, lr):
        first, *rest = parameters
        optimizer = torch.optim.SGD([{"params": [first]}, {"params": rest, "lr": 1e-9}], lr=lr)
        optimizer.register_step_pre_hook(
            lambda it, *_: rates.append([group["lr"] for group in it.param_groups])
        )
        return optimizer

    train.fit(vae(), pixels, optimizer=make, lr=0.1, generator=seed(), **HOW)
    factors = [train.cosine(done / 8) for done in range(8)]
    assert rates == [pytest.approx([0.1 * f, 1e-9 * f]) for f in factors]


SCHEDULERS = {
    "StepLR": (lambda it: lr_scheduler.StepLR(it, 2, gamma=0.3), "epoch"),
    "OneCycle": (
        lambda it: lr_scheduler.OneCycleLR(it, 0.3, total_steps=24, cycle_momentum=False),
        "step",
    ),
    "warm restarts": (lambda it: lr_scheduler.CosineAnnealingWarmRestarts(it, 5), "step"),
    "in turn": (
        lambda it: lr_scheduler.SequentialLR(
            it,
            [lr_scheduler.LinearLR(it, 0.1, total_iters=2), lr_scheduler.ExponentialLR(it, 0.5)],
            [2],
        ),
        "epoch",
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_of_torch_gives_the_rates_that_it_gives_by_hand(pixels, tmp_path, name):
    """Step by step, whole and after a break."""
    make, every = SCHEDULERS[name]
    schedule, rates = train.scheduled(make, every=every), []

    def watched(parameters, lr):
        optimizer = torch.optim.SGD(parameters, lr=lr)
        optimizer.register_step_pre_hook(lambda it, *_: rates.append(it.param_groups[0]["lr"]))
        return optimizer

    how = HOW | {"epochs": 6, "lr": 0.1, "optimizer": watched, "schedule": schedule}
    model = vae()
    train.fit(model, pixels, generator=seed(), **how)
    by_hand = torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.1)
    scheduler, expected = make(by_hand), []
    for done in range(24):
        expected.append(by_hand.param_groups[0]["lr"])
        by_hand.step()
        if done < 23 and (every == "step" or done % 4 == 3):
            scheduler.step()
    assert rates == pytest.approx(expected, rel=1e-12)
    assert len(set(rates)) > 2

    def stop(line, _):
        if line.epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.fit(vae(), pixels, folder=tmp_path, generator=seed(), callbacks=[stop], **how)
    again = vae()
    train.fit(again, pixels, folder=tmp_path, resume=True, generator=seed(9), **how)
    assert torch.equal(flat(again), flat(model))


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lr_scheduler.ReduceLROnPlateau, {}, TypeError, "got ReduceLROnPlateau; .* patience="),
        (lambda it: 3, {}, TypeError, "a scheduler of torch.optim.lr_scheduler .* got int"),
        (3, {}, TypeError, "a function that makes a scheduler, .* got 3"),
        (lr_scheduler.StepLR, {"every": "batch"}, ValueError, "every one of .* got 'batch'"),
        (
            lambda it: lr_scheduler.OneCycleLR(it, 0.3, total_steps=8),
            {"every": "step"},
            ValueError,
            "changes the optimizer's momentum too; give it cycle_momentum=False",
        ),
        (
            lambda it: lr_scheduler.OneCycleLR(it, 0.3, total_steps=5, cycle_momentum=False),
            {"every": "step"},
            ValueError,
            "OneCycleLR ends after 6 of 8 steps .*; make it for 8",
        ),
    ],
)
@pytest.mark.usefixtures("plain_errors")
def test_a_scheduler_that_is_no_table_is_refused(pixels, make, options, error, message):
    with pytest.raises(error, match=message):
        train.fit(vae(), pixels, schedule=train.scheduled(make, **options), **HOW)
