"""Three files of a stranger's, outside of the repository, in Python and on the command line."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import vaelib
from vaelib import evaluate, nets, train
from vaelib.cli import main
from vaelib.vae import VAE, check_model

FILES = Path(__file__).parent / "own"
# What each brings: for the constructor of a VAE, for the command line, and lines it may have.
KINDS = {
    "counts": ({"likelihood": "Counts"}, 25),
    "full": ({"posterior": "Full"}, 20),
    "flow": ({"posterior": "FlowPosterior", "prior": "FlowPrior"}, 75),
}


@pytest.fixture(params=KINDS)
def own(request, tmp_path, monkeypatch):
    """The name of a file, its module, and what of it goes where."""
    shutil.copy(FILES / f"{request.param}.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield request.param, importlib.import_module(request.param), KINDS[request.param][0]
    sys.modules.pop(request.param)


def make(module, parts, latent=3, pixels=784, hidden=(32,)):
    torch.manual_seed(0)
    how = {
        part: getattr(module, name)(*(() if part == "likelihood" else (latent,)))
        for part, name in parts.items()
    }
    heads = how["posterior"].heads if "posterior" in how else 2
    encoder = nets.MLPEncoder(pixels, latent, hidden=hidden, heads=heads)
    return VAE(encoder, nets.MLPDecoder(latent, pixels, hidden=hidden), **how)


def test_it_is_short(own):
    name, _, _ = own
    assert len((FILES / f"{name}.py").read_text().splitlines()) <= KINDS[name][1]


def test_it_fits_together(own):
    _, module, parts = own
    check_model(make(module, parts, latent=2, pixels=6, hidden=(8,)))
    check_model(make(module, parts, pixels=6, hidden=(8,)))


def test_it_is_trained_measured_sampled_and_loaded(own, digits, generator):
    _, module, parts = own
    model = make(module, parts)
    history = train.fit(
        model, digits.train[:500], epochs=3, lr=3e-3, folder="run", generator=generator,
        progress=False,
    )  # fmt: skip
    assert history[-1].loss < history[0].loss - 10
    x = model.likelihood.prepare(digits.test[:20], generator=generator)
    report = evaluate.report(model, x, samples=50, check=10, generator=generator)
    scores = report.scores["model"]
    assert scores.elbo.elbo < scores.evidence.mean + 3 * scores.evidence.sampling_error
    assert scores.active_units <= 3
    assert "L_50" in str(report)
    drawn, _ = model.sample(5, generator=generator)
    assert model.likelihood.support.check(drawn).all()
    shown = model.likelihood.undo(drawn)
    assert shown.min() >= 0
    assert shown.max() <= 1
    classes = [getattr(module, name) for name in parts.values()]
    loaded = vaelib.load("run", classes=classes).model
    eps = model.noise(len(x), generator=generator)
    assert torch.equal(loaded.elbo(x, eps), model.eval().elbo(x, eps))
    with pytest.raises(ValueError, match=f"classes=\\[{classes[0].__name__}\\]|classes="):
        vaelib.load("run")


COMPILED = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from full import Full
from vaelib import nets
from vaelib.train import Trainer
from vaelib.vae import VAE
model = VAE(nets.MLPEncoder(6, 2, hidden=(8,), heads=3), nets.MLPDecoder(2, 6, hidden=(8,)),
            posterior=Full(2))
x, eps = torch.ones(5, 6), model.noise(5)
expected = model(x, eps).detach()
trainer = Trainer(model, torch.optim.Adam(model.parameters()), compile=True)
torch.testing.assert_close(trainer.step([x, eps]), expected)
"""


def test_the_closed_kl_of_a_full_covariance_compiles():
    """In a process of its own: torch cannot compile what the tests' check of shapes wraps."""
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, str(FILES)],
        capture_output=True,
        text=True,
        env=os.environ
        | {"PYTHONPATH": str(FILES.parent.parent), "TORCHINDUCTOR_COMPILE_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]


# Two processes of one kind's, which find the class by its file alone; each imports torch.
APART = "full"


def test_it_works_on_the_command_line(own, digits, capfd):
    name, _, parts = own
    trust = [word for made in parts.values() for word in ("--trust", f"{name}:{made}")]
    chosen = [word for part, made in parts.items() for word in (f"--{part}", made)]

    def run(*words, apart=False):
        if not apart:
            assert main(words) == 0, capfd.readouterr().err
            return
        done = subprocess.run(
            [sys.executable, "-m", "vaelib", *words], capture_output=True, text=True,
            env={"PYTHONPATH": str(FILES.parent.parent), "PATH": ""},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    np.savez("some.npz", train=digits.train[:300].numpy(), test=digits.test[:30].numpy())
    small = ["--latent", "3", "--hidden", "16", "--epochs", "1", "--device", "cpu"]
    run(
        *("train", "--data", "some.npz", "--folder", "run", *small, *trust, *chosen),
        apart=name == APART,
    )
    run("evaluate", "run", "--samples", "20", "--json", "scores.json", "--device", "cpu", *trust)
    assert json.loads(Path("scores.json").read_text())["runs"]
    run("sample", "run", "--number", "4", "--device", "cpu", *trust, apart=name == APART)
    assert Path("run/samples.png").exists()
    capfd.readouterr()
    assert main(["sample", "run"]) == 1
    assert f"--trust {name}:" in capfd.readouterr().err
