"""Retrain: what the figure trains is what the package trains, and it can be stopped."""

import json
import math

import pytest
import torch
from ipywidgets import Widget

from vaelib import course, data, evaluate, nets, train
from vaelib.course.figures import Retrain
from vaelib.vae import VAE


def small(**settings):
    return Retrain(**{"epochs": 2, "images": 200} | settings)


def by_hand(*, beta, latent, seed, epochs, images):
    """The same run, without the figure."""
    digits = data.digits()
    torch.manual_seed(seed)
    model = VAE(
        nets.MLPEncoder(784, latent, hidden=(128, 128), spread=10.0),
        nets.MLPDecoder(latent, 784, hidden=(128, 128)),
        beta=beta,
    )
    train.fit(
        model, digits.train[:images], epochs=epochs, lr=3e-3, batch_size=64, progress=False,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    x = data.binarize(digits.test, generator=torch.Generator().manual_seed(1000))
    return evaluate.elbo(model, x, generator=torch.Generator().manual_seed(seed))


def test_a_run_has_the_numbers_of_the_package():
    figure = small()
    run = figure.train(3.0, 4, 1)
    found = by_hand(beta=3.0, latent=4, seed=1, epochs=2, images=200)
    assert run == {
        "beta": 3.0, "latent": 4, "seed": 1, "source": "trained here",
        "elbo": found.elbo, "kl": found.kl, "distortion": -found.log_likelihood,
    }  # fmt: skip
    assert figure.runs[-1] == run
    assert (figure.beta, figure.latent, figure.seed) == (3.0, 4, 1)
    assert figure.progress == 1
    assert not figure.training
    assert len(figure.curve) == 2
    assert {name: run[name] for name in figure.curve[-1]} == figure.curve[-1]
    # β is in the loss and not in the ELBO.
    for epoch in figure.curve:
        assert epoch["elbo"] == pytest.approx(-epoch["distortion"] - epoch["kl"], abs=1e-3)


def test_the_seed_decides_all_and_torchs_own_generator_is_left_alone():
    state = torch.random.get_rng_state()
    first, again, other = (small(epochs=1).train(1.0, 2, seed) for seed in (5, 5, 6))
    assert first == again
    assert first["elbo"] != other["elbo"]
    assert torch.equal(state, torch.random.get_rng_state())


def test_making_it_trains_nothing_and_shows_what_was_recorded():
    figure = Retrain()
    assert not figure.curve
    points = course.recorded("sweep")["points"]
    assert len(figure.runs) == len(points)
    for run, point in zip(figure.runs, points, strict=True):
        assert run["source"] == "recorded"
        assert run["kl"] == point["rate"]
        for name in ("beta", "latent", "seed", "elbo", "distortion"):
            assert run[name] == point[name]
    json.dumps(figure.get_state(), default=repr)


def test_the_nearest_recorded_run():
    figure = Retrain()
    for run in figure.runs:
        figure.beta, figure.latent, figure.seed = run["beta"], run["latent"], run["seed"]
        assert figure.nearest() == run
    figure.beta, figure.latent, figure.seed = 2.0, 16, 9  # log 3/2 < log 2
    assert {"beta": 3.0, "latent": 16, "seed": 1}.items() <= figure.nearest().items()


def test_stop_stops_within_a_step(monkeypatch):
    steps = []
    forward = VAE.forward
    monkeypatch.setattr(VAE, "forward", lambda *a, **k: steps.append(1) or forward(*a, **k))
    figure = small(epochs=25)  # 100 steps, of which each is 1 % of the progress
    before = figure.runs

    def stop(change):
        if len(steps) == 6:
            figure._handle_custom_msg({"type": "stop"}, [])

    figure.observe(stop, names="progress")
    assert figure.train(1.0, 2, 0) is None
    assert figure.runs == before
    assert len(steps) == 7
    assert figure.note == "Stopped after 1 of 25 epochs."
    assert not figure.training
    # And the next run is not stopped by what was meant for this one.
    figure.unobserve_all()
    figure.epochs = 1
    assert figure.train(1.0, 2, 0) == figure.runs[-1]


def test_messages_drive_it(monkeypatch):
    figure = small(beta=0.5, latent=2, epochs=1)
    answers = []
    monkeypatch.setattr(figure, "send", answers.append)
    figure._handle_custom_msg({"type": "stop"}, [])  # nothing to stop
    figure._handle_custom_msg({"type": "hello"}, [])
    assert answers == [{"type": "kernel"}]
    assert not figure.training
    figure._handle_custom_msg({"type": "train"}, [])
    thread = figure._thread
    figure._handle_custom_msg({"type": "train"}, [])  # a second press while it trains
    assert figure._thread is thread
    thread.join(60)
    assert len(figure.runs) == 21
    assert {"beta": 0.5, "latent": 2, "seed": 0}.items() <= figure.runs[-1].items()


def test_one_run_at_a_time_and_what_goes_wrong_in_the_thread_is_told(monkeypatch):
    figure = small()
    figure.training = True
    with pytest.raises(RuntimeError, match="going on already"):
        figure.train(1.0, 2, 0)
    figure.training = False

    def fail(*_, **__):
        raise FloatingPointError("the loss of epoch 1 is nan")

    monkeypatch.setattr(train, "fit", fail)
    figure._handle_custom_msg({"type": "train"}, [])
    figure._thread.join(60)
    assert figure.note == "the loss of epoch 1 is nan"
    assert not figure.training
    assert not math.isnan(figure.runs[-1]["elbo"])


@pytest.fixture(autouse=True)
def _closed():
    yield
    Widget.close_all()
