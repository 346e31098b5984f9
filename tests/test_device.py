"""What a GPU would find: a step as one CUDA graph, and tensors that are where the model is.

The first half needs no GPU: a tape plays the CUDA graph, and torch's fake tensors play the device.
The rest is collected with ``--device cuda`` only.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary
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


class Tape(TorchDispatchMode):
    """Does what a CUDA graph does, on a CPU: it keeps torch's kernels with their arguments.

    A replay runs them again, without Python, and puts each result where the first one lay. What
    cannot be captured is refused as CUDA refuses it: reading a number back, a size that depends on
    values, a generator that was not registered. (Unlike CUDA's, its capture also computes.)
    """

    refused = frozenset(
        {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::unique_dim"}
    )

    def __init__(self):
        super().__init__()
        self.kernels, self.registered = [], torch.default_generator

    def register_generator_state(self, generator):
        self.registered = generator

    def __torch_dispatch__(self, kernel, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kernel.name().split(".")[0] in self.refused:
            raise RuntimeError("operation not permitted when stream is capturing")
        source = kwargs.get("generator") or self.registered  # a new Python object at each call
        if not torch.equal(source.get_state(), self.registered.get_state()):
            raise RuntimeError("increase offset for a CUDA generator not in capture mode")
        result = kernel(*args, **kwargs)
        places = tree_map_only(torch.Tensor, torch.detach, (args, kwargs, result))
        self.kernels.append((kernel, *places))
        return result

    @torch.no_grad()
    def replay(self):
        for kernel, args, kwargs, results in self.kernels:
            again = kernel(*args, **kwargs)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


class Apple(TorchFunctionMode):
    """Plays one of Apple's GPUs, which have no float64: the CPU is the device.

    A tensor is on the host if ``.cpu()`` made it, if torch made it and nobody said where, or if it
    was computed from such tensors alone. Any other that is float64 is refused, as torch does.
    """

    def __init__(self):
        super().__init__()
        self.host = WeakIdKeyDictionary()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        result = function(*args, **kwargs)
        if function is torch.Tensor.cpu:
            result = result.clone()
            self.host[result] = True
        elif all(t in self.host for t in given) and kwargs.get("device") is None:
            self.host.update((t, True) for t in tree_leaves(result) if torch.is_tensor(t))
        for t in tree_leaves(result):
            if torch.is_tensor(t) and t.dtype == torch.float64 and t not in self.host:
                raise TypeError(f"Cannot convert a MPS Tensor to float64: {function}")
        return result


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


class Stream:
    """A CPU has one."""

    def __init__(self, device=None):
        pass

    def wait_stream(self, other):
        pass

    def is_capturing(self):
        return isinstance(_get_current_dispatch_mode(), Tape)


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


def stop(line):
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


def test_no_tensor_is_made_elsewhere_and_no_number_read_in_a_step():
    """By every model, likelihood, prior and network; two planted mistakes show that it looks."""
    script = Path(__file__).with_name("placement_run.py")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["tried"] == 24
    assert said["wrong"].keys() == {"Careless", "Curious"}, said
    assert "two devices" in said["wrong"]["Careless"]
    assert "_local_scalar_dense" in said["wrong"]["Curious"]
