"""What a GPU would find, without one: every test in which something else plays it is here.

A step as one CUDA graph, a device without float64, and tensors that are where the model is. Who
plays what, and what he cannot show, is in `stand_ins.py`; the real ones are in `test_gpu.py`.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stand_ins import Apple, Stream, Tape
from torch import nn
from toy import Toy

from vaelib import nets, train
from vaelib.likelihood import Bernoulli
from vaelib.train import step, trainer
from vaelib.vae import VAE

pytestmark = pytest.mark.usefixtures("plain_errors")  # models of these tests are no VAEs


def seed(s=1):
    return torch.Generator().manual_seed(s)


@pytest.fixture
def pixels(generator):
    return torch.randint(256, (50, 6), generator=generator).to(torch.uint8)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_device_without_float64_trains(pixels, precision):
    """And the device that is played is one: it refuses a model in float64."""
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(6, 2, hidden=(4,)), nets.MLPDecoder(2, 6, hidden=(4,)))
    how = {"epochs": 2, "batch_size": 16, "warmup": 1, "clip": 5.0, "progress": False}
    images = pixels.clone()

    def fit():
        with Apple():
            on_device = torch.empty_like(images, device="cpu").copy_(images)
            weights = [torch.empty_like(p, device="cpu").copy_(p) for p in model.parameters()]
            assert {w.dtype for w in weights} == {torch.float32}
            if precision == torch.float64:
                weights[0].double()
            return train.fit(model, on_device, validation=on_device, generator=seed(), **how)

    if precision == torch.float64:
        with pytest.raises(TypeError, match="Cannot convert a MPS Tensor to float64"):
            fit()
        return
    history = fit()
    expected = [line.loss for line in history]
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(6, 2, hidden=(4,)), nets.MLPDecoder(2, 6, hidden=(4,)))
    alone = train.fit(model, images, validation=images, generator=seed(), **how)
    assert expected == [line.loss for line in alone]


@pytest.fixture
def taped(monkeypatch):
    """``compile="cuda-graph"`` on a CPU, without the compiler, whose sums have another order."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Tape)
    monkeypatch.setattr(torch.cuda, "graph", lambda tape, stream: tape)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    # Adam asks these two, and refuses to be recorded unless it was made for it.
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: gpu)
    monkeypatch.setattr(torch.accelerator, "current_stream", Stream)
    monkeypatch.setattr(trainer, "require_compile", lambda *_: None)
    monkeypatch.setattr(trainer, "Compiled", lambda loss, *_: loss)


class Drawing(Toy):
    """A VAE whose loss also draws from torch's own generator, and counts what it has seen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.vae = VAE(nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,)))
        self.likelihood, self.noise, self.warm_up = Bernoulli(), self.vae.noise, self.vae.warm_up
        self.norm = nn.BatchNorm1d(2)
        self.calls = 0

    def forward(self, x, eps):
        self.calls += 1
        return self.vae(x, self.norm(nn.functional.dropout(eps, 0.1, training=self.training)))


def trained(pixels, how, **options):
    """Two epochs of three full batches and one of 2 images, and all that they leave behind.

    A graph's learning rate is a float32, an eager one a float64: here both are exact, k / 2048.
    """
    model, generator = Drawing(), seed()
    history = train.fit(
        model,
        pixels,
        epochs=2,
        batch_size=16,
        lr=2.0**-8,
        schedule=lambda share: 1 - share,
        warmup=2,
        clip=0.5,
        validation=pixels[:9],
        compile=how,
        generator=generator,
        progress=False,
        **options,
    )
    losses = torch.tensor([(line.loss, line.validation) for line in history])
    return model, [
        *model.state_dict().values(),
        generator.get_state(),
        torch.get_rng_state(),
        losses,
    ]


@pytest.mark.usefixtures("taped")
def test_a_step_as_one_graph_does_what_the_step_does(pixels):
    """To the last bit: weights, the model's buffers, both generators and the losses."""
    model, graph = trained(pixels, "cuda-graph")
    other, eager = trained(pixels, False)
    assert all(torch.equal(a, b) for a, b in zip(graph, eager, strict=True))
    # 3 runs to warm up, 1 to record, 2 last batches, 2 validations; eager 8 steps for those 4.
    assert (model.calls, other.calls) == (8, 10)


class StopError(Exception):
    pass


def stop(line, model):
    if line.epoch == 2:
        raise StopError


@pytest.mark.usefixtures("taped")
def test_a_step_as_one_graph_goes_on_after_a_break(pixels, tmp_path):
    """Within the second epoch: what a checkpoint brings back is where the graph looks for it."""
    with pytest.raises(StopError):
        trained(pixels, "cuda-graph", folder=tmp_path, save_every=2, callbacks=[stop])
    _, resumed = trained(pixels, "cuda-graph", folder=tmp_path, resume=True)
    _, alone = trained(pixels, "cuda-graph")
    assert all(torch.equal(a, b) for a, b in zip(resumed, alone, strict=True))


@pytest.mark.usefixtures("taped")
def test_recording_a_step_leaves_no_trace(pixels):
    model, generator = Drawing(), seed()

    def everything():
        state = optimizer.state_dict()["state"].values()
        moments = [t.clone() for its in state for t in its.values()]
        states = [generator.get_state(), torch.get_rng_state(), update.failed.clone()]
        return [t.clone() for t in model.state_dict().values()] + states, moments

    def draw(rows, *, generator):
        return [pixels[rows].float() / 255, model.noise(len(rows), generator=generator)]

    rate = torch.tensor(0.1)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate, fused=True, capturable=True)
    how = {"prepare": draw, "compile": "cuda-graph", "clip": 0.5, "generator": generator}
    update = train.Trainer(model, optimizer, batch_size=16, **how)
    before, none = everything()
    update._record([torch.arange(16)])
    after, moments = everything()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert not none
    assert len(moments) == 3 * len(update.parameters)  # exp_avg, exp_avg_sq and step, all 0 as yet
    assert not any(t.any() for t in moments)


@pytest.mark.usefixtures("taped")
def test_what_cannot_be_recorded_is_said(pixels):
    class Asking(Drawing):
        def forward(self, x, eps):
            return super().forward(x, eps) if x.sum() > 0 else 0 * x.sum()

    how = {"epochs": 1, "batch_size": 16, "compile": "cuda-graph", "progress": False}
    with pytest.raises(RuntimeError, match=r"could not record .* capturing.* compile=True trains"):
        train.fit(Asking(), pixels, **how)


def test_a_graph_is_of_one_process():
    with pytest.raises(ValueError, match=r"one process, and 2 share this one\. Use compile=True"):
        step.require_compile("fit", "cuda-graph", torch.device("cuda"), 2)


@pytest.mark.parametrize(
    ("words", "least"), [([], 24), pytest.param(["--all"], 48, marks=pytest.mark.soak)]
)
def test_no_tensor_is_made_elsewhere_and_no_number_read_in_a_step(words, least):
    """By every model, likelihood, prior and network; two planted mistakes show that it looks."""
    script = Path(__file__).with_name("placement_run.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["tried"] >= least  # more where there is a new likelihood
    assert said["wrong"].keys() == {"Careless", "Curious"}, said
    assert "two devices" in said["wrong"]["Careless"]
    assert "_local_scalar_dense" in said["wrong"]["Curious"]
