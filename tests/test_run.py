"""run: one dataclass is the options, the file and the comparison; a trained model comes back."""

import argparse
import json
import pickle
import re
import shlex
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import vaelib
from vaelib import likelihood, nets, train
from vaelib.arguments import BadValue
from vaelib.cli import main
from vaelib.data import Columns
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Gaussian,
    Likelihood,
    Missing,
)
from vaelib.prior import Mixture, VampPrior
from vaelib.recipe import rebuildable
from vaelib.run import choices, settings
from vaelib.run.option import add, option, options, read, whole
from vaelib.run.settings import Settings
from vaelib.train import CheckpointError, checkpoint
from vaelib.vae import IWAE, VAE, Autoencoder, TwoLayerVAE

SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "2", "--batch-size", "16", "--quiet"]


def grey(n, pixels, seed=20261128):
    source = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, pixels), dtype=torch.uint8, generator=source)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder to work in, with an array of 40 pictures; modules made there are forgotten."""
    np.save(tmp_path / "pictures.npy", grey(40, 64).view(40, 8, 8).numpy())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and Path(
            sys.modules[name].__file__
        ).is_relative_to(tmp_path):
            del sys.modules[name]


def trained(*words, folder="run"):
    assert main(["train", "--data", "pictures.npy", "--folder", folder, *SMALL, *words]) == 0


def told(capsys, *words):
    """The one line of a command that fails."""
    capsys.readouterr()
    assert main(words) == 1
    line = capsys.readouterr().err
    assert line.startswith("vaelib: error: ")
    assert line.count("\n") == 1
    return line


def stripped(folder, *missing):
    """A run as an older version wrote it: without a recipe, and without some of the options."""
    path = Path(folder) / checkpoint.NAME
    tensors, about = checkpoint.read(path)
    del about["recipe"]
    checkpoint.save(path, tensors, about)
    file = Path(folder) / settings.NAME
    content = json.loads(file.read_text())
    file.write_text(json.dumps({k: v for k, v in content.items() if k not in missing}))


def measured(model):
    """The ELBO of some data, at one draw of noise; of an autoencoder what it has in its place."""
    x = model.likelihood.prepare(
        grey(7, model.pixels, 1), generator=torch.Generator().manual_seed(0)
    )
    if isinstance(model, Autoencoder):
        return model.log_likelihood(x)
    return model.terms(x, model.noise(7, generator=torch.Generator().manual_seed(1))).elbo


# From Python


def encoder(pixels=16, latent=2, **how):
    return nets.MLPEncoder(pixels, latent, hidden=(5,), **how)


def decoder(latent=2, pixels=16, **how):
    return nets.MLPDecoder(latent, pixels, hidden=(5,), **how)


def vamp():
    shared = encoder()
    return VAE(shared, decoder(), prior=VampPrior(shared, 16, 3))


@rebuildable
class Mine(nn.Module):
    def __init__(self, latent, pixels):
        super().__init__()
        self.latent, self.pixels = latent, pixels
        self.layer = nn.Linear(latent, pixels)

    def forward(self, z):
        return self.layer(z)


KINDS = {
    "VAE": lambda: VAE(encoder(activation=nn.Tanh), decoder(), beta=0.5),
    "continuous Bernoulli": lambda: VAE(encoder(), decoder(), likelihood=ContinuousBernoulli()),
    "Gaussian": lambda: VAE(encoder(), decoder(), likelihood=Gaussian(-2.0)),
    "levels": lambda: VAE(encoder(), decoder(levels=256), likelihood=Categorical()),
    "linear": lambda: VAE(nets.LinearEncoder(16, 2), decoder(), likelihood=Bernoulli()),
    "convolutions": lambda: VAE(nets.ConvEncoder(2, width=4), nets.ConvDecoder(2, width=4)),
    "a fixed prior": lambda: VAE(
        encoder(), decoder(), prior=DiagonalNormal(torch.ones(2), torch.tensor([0.1, -0.7]))
    ),
    "a fixed prior with a covariance": lambda: VAE(
        encoder(),
        decoder(),
        prior=torch.distributions.MultivariateNormal(
            torch.ones(2), scale_tril=torch.tensor([[0.1, 0.0], [0.7, 1.3]])
        ),
    ),
    "mixture": lambda: VAE(encoder(), decoder(), prior=Mixture(2, 3)),
    "vamp": vamp,
    "IWAE": lambda: IWAE(encoder(), decoder(), samples=3, doubly_reparameterized=True),
    "two layers": lambda: TwoLayerVAE(
        encoder(16, 3), encoder(3, 2), encoder(2, 3), decoder(3, 16), samples=2
    ),
    "autoencoder": lambda: Autoencoder(nets.MLP([16, 5, 2]), decoder(), likelihood=Gaussian()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_comes_back_bit_for_bit(kind, tmp_path):
    model = KINDS[kind]()
    how = {"epochs": 1, "batch_size": 8, "folder": tmp_path, "progress": False}
    train.fit(model, grey(20, model.pixels), **how, generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    again = vaelib.load(tmp_path).model
    assert torch.equal(torch.get_rng_state(), state)
    assert type(again) is type(model)
    assert not any(module.training for module in again.modules())
    assert repr(again) == repr(model)
    expected = measured(model.eval())
    assert expected.isfinite().all()
    assert torch.equal(measured(again), expected)
    if kind == "vamp":
        assert again._prior.encoder is again.encoder


def test_a_class_of_the_users_is_handed_over(tmp_path):
    model = VAE(encoder(), Mine(2, 16))
    train.fit(model, grey(20, 16), epochs=1, folder=tmp_path, progress=False)
    says = rf"{checkpoint.NAME}: the model is made of .*:Mine, .*hand the class over: classes=\[Mi"
    with pytest.raises(BadValue, match=says):
        vaelib.load(tmp_path)
    assert torch.equal(measured(vaelib.load(tmp_path, classes=[Mine]).model), measured(model))


def test_a_model_that_cannot_be_written_down_trains_and_says_so_when_it_is_loaded(tmp_path):
    model = VAE(encoder(activation=lambda: nn.Tanh()), decoder())
    train.fit(model, grey(20, 16), epochs=1, folder=tmp_path, progress=False)
    with pytest.raises(BadValue, match=r"not known: MLPEncoder: activation is a function.*load"):
        vaelib.load(tmp_path)
    again = VAE(encoder(activation=lambda: nn.Tanh()), decoder())
    train.load(again, tmp_path)
    assert torch.equal(measured(again), measured(model))


def test_a_model_that_was_changed_after_its_constructor_is_not_taken_for_another(tmp_path):
    model = VAE(encoder(), decoder())
    model.beta = 0.25
    train.fit(model, grey(20, 16), epochs=1, folder=tmp_path, progress=False)
    with pytest.raises(CheckpointError, match=r"changed between .*'beta=0.25' in the file"):
        vaelib.load(tmp_path)


def test_a_folder_without_a_checkpoint(tmp_path):
    with pytest.raises(FileNotFoundError, match=checkpoint.NAME):
        vaelib.load(tmp_path)


def test_vaelib_has_load_and_nothing_else_of_the_kind():
    with pytest.raises(AttributeError, match="no attribute 'store'"):
        getattr(vaelib, "store")  # noqa: B009


# Of the command line


def test_a_run_of_the_command_line_comes_back_with_one_option_more_and_one_fewer(here, capsys):
    trained("--prior", "mixture", "--components", "3")
    expected = measured(vaelib.load("run").model)
    content = json.loads(Path("run/settings.json").read_text())
    assert (content["posterior"], content["trust"]) == ("normal", [])
    # By its recipe, whatever the settings say.
    file = Path("run/settings.json")
    file.write_text(json.dumps(content | {"depth": 3}))
    assert torch.equal(measured(vaelib.load("run").model), expected)
    # Without one: a field that is missing means what there was before it.
    stripped("run", "depth", "posterior", "trust")
    assert "posterior" not in file.read_text()
    assert torch.equal(measured(vaelib.load("run").model), expected)
    assert main(["sample", "run"]) == 0
    assert main(["train", "--folder", "run", "--resume", "--posterior", "normal", "--quiet"]) == 0
    # One that nobody knows is named.
    file.write_text(json.dumps(content | {"depth": 3}))
    with pytest.raises(BadValue, match=r"settings\.json: depth: no option of this version"):
        vaelib.load("run")
    assert "depth: no option of this version" in told(capsys, "sample", "run")


@dataclass(frozen=True)
class Longer(Settings):
    """With one option more: the only place that says anything of it."""

    dropout: float = option(
        0.1, "share of units", group="model", absent=0.0, type=lambda word: float(word)
    )


def test_an_option_is_one_field():
    """On the command line with default and help, in the file, and before it was there."""
    command = argparse.ArgumentParser(argument_default=argparse.SUPPRESS)
    add(command, {}, Longer)
    assert "share of units (default 0.1)" in command.format_help()
    assert vars(command.parse_args(["--dropout", "0.5"])) == {"dropout": 0.5}
    found = {"device": "cpu", "height": 8, "width": 8, "held_out": "a"}
    old = vars(settings.choose({}, 8000, found))
    assert read(Longer, old)["dropout"] == 0.0
    assert read(Longer, old | {"dropout": 0.3})["dropout"] == 0.3
    with pytest.raises(BadValue, match="dropout"):
        read(Longer, old | {"dropout": "high"})


def test_every_field_is_an_option_or_is_found_in_the_data():
    stored = [name for name, its in options(Settings).items() if its.help is None]
    layout = ["height", "width", "channels", "columns"]
    assert stored == [*layout, "kind", "missing", "classes", "held_out"]
    assert [f.name for f in fields(Settings)] == list(options(Settings))


def test_no_option_is_kept_and_never_read():
    """Else it would be taken, stored and compared, and do nothing."""
    package = Path(vaelib.__file__).parent / "run"
    code = (package / "build.py").read_text() + (package / "fit.py").read_text()
    read = set(re.findall(r"\b(?:s|ours|settings|other)\.(\w+)", code))
    assert "layout" in read
    layout = set(settings.found_in(Columns(("a",))))
    assert not {field.name for field in fields(Settings)} - read - layout - {"trust"}


def test_a_number_has_an_end():
    assert whole(1, 5)("5") == 5
    with pytest.raises(argparse.ArgumentTypeError, match="from 1 to 5, got '6'"):
        whole(1, 5)("6")


def test_a_likelihood_of_ours_is_an_option_by_itself():
    classes = {getattr(likelihood, name) for name in likelihood.__all__} - {Likelihood, Missing}
    assert set(choices.LIKELIHOODS.values()) == classes
    assert choices.LIKELIHOODS["continuous-bernoulli"] is ContinuousBernoulli
    assert Gaussian(**Gaussian.command_line).logvar.item() == -2.0


@pytest.mark.filterwarnings("default")
def test_a_finished_run_goes_on_with_more_epochs(here, capsys):
    trained()
    line = told(capsys, "train", "--folder", "run", "--resume", "--epochs", "1")
    assert "its --epochs is 2, and here it is 1" in line
    assert main(["train", "--folder", "run", "--resume", "--epochs", "4"]) == 0
    out, said = capsys.readouterr()
    assert "epoch 3 of 4: loss" in out
    assert "epoch 2 of" not in out
    assert said.count("\n") == 1
    assert "epochs" in said
    assert json.loads(Path("run/settings.json").read_text())["epochs"] == 4
    assert len(checkpoint.read(Path("run") / checkpoint.NAME)[1]["history"]) == 4
    assert main(["train", "--folder", "run", "--resume"]) == 0
    assert "epoch" not in capsys.readouterr().out.split("trained")[0]
    assert main(["sample", "run"]) == 0


def test_an_unfinished_run_is_not_made_longer(here, capsys, monkeypatch):
    fit = train.fit

    def interrupted(*args, **words):
        def stop(line, model):
            raise KeyboardInterrupt

        return fit(*args, **words | {"callbacks": [stop]})

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", interrupted)
        assert main(["train", "--data", "pictures.npy", "--folder", "run", *SMALL]) == 130
        assert main(["train", "--folder", "run", "--resume", "--quiet"]) == 130
    line = told(capsys, "train", "--folder", "run", "--resume", "--epochs", "4")
    assert "its --epochs is 2, and here it is 4" in line


# Classes of the user's


LIKELIHOOD = """
from torch.distributions import Independent, Poisson, constraints
from torch.nn.functional import softplus
from vaelib.likelihood import Likelihood

class Counts(Likelihood):
    support = constraints.nonnegative_integer
    remedy = "counts"

    def prepare(self, pixels, *, generator=None):
        return (pixels // 32).float()

    def undo(self, x):
        return (x / 7).clamp(0, 1)

    def forward(self, raw):
        return Independent(Poisson(softplus(raw) + 1e-3, validate_args=False), 1)
"""
POSTERIOR = """
import torch
from torch.distributions import MultivariateNormal
from vaelib.posterior import Posterior

class Full(Posterior):
    def __init__(self, latent):
        super().__init__()
        self.heads = 2 + latent

    def forward(self, *raw):
        loc, logvar, *below = raw
        root = torch.stack(below, -1).tril(-1) + torch.exp(0.5 * logvar).diag_embed()
        return MultivariateNormal(loc, scale_tril=root, validate_args=False)
"""
PRIOR = """
import torch
from torch import nn
from torch.distributions import Distribution
from vaelib.kl import DiagonalNormal
from vaelib.prior import Prior

class Learned(Prior):
    def __init__(self, latent):
        super().__init__()
        self.latent = latent
        self.loc = nn.Parameter(torch.zeros(latent))
        self.logvar = nn.Parameter(torch.zeros(latent))

    def forward(self, c=None):
        return DiagonalNormal(self.loc, self.logvar)
"""
OWN = {
    "likelihood": ("a_counts:Counts", LIKELIHOOD),
    "posterior": ("a_full:Full", POSTERIOR),
    "prior": ("a_learned:Learned", PRIOR),
}


@pytest.mark.parametrize("family", OWN)
def test_a_class_of_ones_own_is_trained_evaluated_sampled_and_loaded(family, here, capsys):
    trust, text = OWN[family]
    module, _, name = trust.partition(":")
    Path(f"{module}.py").write_text(text)
    words = ["--trust", trust, f"--{family}", name]
    assert main(["train", "--data", "pictures.npy", "--folder", "run", *SMALL, *words]) == 0
    assert json.loads(Path("run/settings.json").read_text())["trust"] == [trust]
    for command in (["evaluate", "run", "--samples", "5"], ["sample", "run", "--npz", "a.npz"]):
        assert main([*command, "--trust", trust]) == 0
    out = capsys.readouterr().out
    assert "ELBO" in out
    assert "nan" not in out
    assert np.load("a.npz")["images"].shape == (64, 8, 8)
    assert main(["train", "--folder", "run", "--resume", "--trust", trust, "--quiet"]) == 0
    cls = getattr(sys.modules.pop(module), name)
    # From here on nobody has said that it may be imported.
    for command in (
        ["evaluate", "run", "--samples", "5"],
        ["sample", "run"],
        ["train", "--folder", "run", "--resume"],
    ):
        line = told(capsys, *command)
        again = shlex.join(["python", "-m", "vaelib", *command, "--trust", trust])
        assert f"run/settings.json: the run is made of {trust}, and nothing is imported" in line
        assert line.endswith(f"; if you trust that code: {again}\n")
    assert module not in sys.modules
    stripped("run")
    says = rf"settings.json: the run is made of {trust}, .* classes=\[{name}\]"
    with pytest.raises(BadValue, match=says):
        vaelib.load("run")
    assert measured(vaelib.load("run", classes=[cls]).model).isfinite().all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a_missing:Thing"], "--trust a_missing:Thing: there is no module a_missing in this fold"),
        (["a_counts:Thing"], "--trust a_counts:Thing: a_counts has no class Thing"),
        (["os:system"], "expected a class of yours below vaelib's Likelihood, Prior or Posterior"),
        (["a_counts:softplus"], "expected a class of yours below vaelib's Likelihood"),
        (["a_counts:Counts", "--trust", "a_copy:Counts"], "different names, got Counts twice"),
    ],
)
def test_what_is_no_class_to_be_trusted(words, says, here, capsys):
    Path("a_counts.py").write_text(LIKELIHOOD)
    Path("a_copy.py").write_text(LIKELIHOOD)
    line = told(capsys, "train", "--data", "pictures.npy", "--folder", "run", "--trust", *words)
    assert says in line
    assert not Path("run").exists()


@pytest.mark.parametrize("word", ["", "poisson", "poisson.py:Poisson.a", "a b:C", "a:C;rm", ":C"])
def test_a_trust_that_cannot_be_read(word, here, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sample", "run", f"--trust={word}"])
    assert stop.value.code == 2
    assert "--trust: expected module:Class, mine:Poisson say" in capsys.readouterr().err


def test_a_mistake_in_the_users_own_file_keeps_its_traceback(here):
    Path("a_broken.py").write_text("import a_module_that_is_nowhere\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere"):
        main(["sample", "run", "--trust", "a_broken:Thing"])


def test_a_contradiction_to_a_class_of_ones_own(here, capsys):
    Path("a_full.py").write_text(POSTERIOR)
    train_ = ["train", "--data", "pictures.npy", "--folder", "run", "--trust", "a_full:Full"]
    for words, says in (
        (["--net", "linear"], "--net linear: expected a --posterior of two numbers"),
        (["--net", "two-layer"], "--net two-layer: expected --posterior normal, got Full"),
        (["--prior", "vamp"], "--prior vamp: expected --posterior normal"),
    ):
        assert says in told(capsys, *train_, "--posterior", "Full", *words)


# Of a stranger


EVIL = "from pathlib import Path\nPath('ran').touch()\nclass Evil:\n    pass\n"


def test_a_folder_of_a_strangers_runs_no_code_of_theirs(here, capsys):
    Path("a_evil.py").write_text(EVIL)
    sys.path.insert(0, str(here))
    trained()
    path = Path("run") / checkpoint.NAME
    tensors, about = checkpoint.read(path)
    content = json.loads(Path("run/settings.json").read_text())
    named = [
        about["recipe"] | {"class": "a_evil:Evil"},
        {"class": "os:system", "number": 0, "arguments": {"command": "touch ran"}},
        {"type": "a_evil:Evil"},
    ]
    for change in ({"arguments": {"activation": {"type": "os:system"}}}, {"class": "os:system"}):
        part = about["recipe"]["arguments"]["encoder"]
        inner = part | change
        if "arguments" in change:
            inner["arguments"] = part["arguments"] | change["arguments"]
        arguments = about["recipe"]["arguments"] | {"encoder": inner}
        named.append(about["recipe"] | {"arguments": arguments})
    before = set(sys.modules)
    for recipe in named:
        checkpoint.save(path, tensors, about | {"recipe": recipe})
        with pytest.raises(BadValue, match="nothing is imported because a file names it"):
            vaelib.load("run")
    stripped("run")
    for change in (
        {"trust": ["a_evil:Evil"], "likelihood": "Evil"},
        {"trust": ["os:system"], "prior": "system"},
        {"trust": ["a_evil:Evil; touch ran"], "likelihood": "Evil; touch ran"},
        {"likelihood": "a_evil:Evil"},
        {"trust": "a_evil:Evil", "posterior": "Evil"},
        {"net": "a_evil:Evil"},
    ):
        Path("run/settings.json").write_text(json.dumps(content | change))
        with pytest.raises(BadValue):
            vaelib.load("run")
        for words in (["sample", "run"], ["evaluate", "run"]):
            assert "run/settings.json: " in told(capsys, *words)
    path.write_bytes(pickle.dumps(Loaded()))
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        vaelib.load("run")
    assert set(sys.modules) == before
    assert not Path("ran").exists()


class Loaded:
    """Touches a file when it is unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path("ran"),))
