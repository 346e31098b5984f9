"""python -m vaelib: the page's commands do what it says, a kill is survived, errors are a line."""

import errno
import json
import math
import os
import re
import resource
import shlex
import signal
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaelib import data, nets, train
from vaelib.arguments import BadValue
from vaelib.cli import commands as ours
from vaelib.cli import main
from vaelib.cli.parser import parser
from vaelib.evaluate import Trust, table
from vaelib.likelihood import Bernoulli, Categorical
from vaelib.run import build, choices, option, settings
from vaelib.run.trained import chunks
from vaelib.train import checkpoint
from vaelib.vae import VAE

# The cards of the page are run by tests/test_own_data_page.py.
PAGE = re.sub(
    r"(?ms)^\(own-data-card-\w+\)=.*?(?=^\(own-data-(?!card-))",
    "",
    (Path(__file__).parent.parent / "book" / "own_data.md").read_text(),
)
COMMANDS = [
    shlex.split(line)
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines()
]
SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "2", "--batch-size", "16"]


def squares(n, generator, side=8):
    """Grey pictures of a bright square on a dark ground."""
    images = np.full((n, side, side), 20, np.uint8)
    for image, (row, column) in zip(images, generator.integers(0, side - 3, (n, 2)), strict=True):
        image[row : row + 3, column : column + 3] = 230
    return images


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, with a folder of 40 pictures and the same as an array."""
    images = squares(40, np.random.default_rng(20260101))
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "pictures" / f"{i:02}.png")
    np.save(tmp_path / "pictures.npy", images)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VAELIB_DATA", raising=False)
    return tmp_path


@pytest.fixture
def unchecked(monkeypatch):
    """Reports without the second proposal, whose search takes a second for each model."""
    monkeypatch.setattr(table, "trust", lambda *_, **__: Trust(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, True))


def trained(folder="run", *words):
    assert main(["train", "--data", "pictures", "--folder", folder, "--quiet", *SMALL, *words]) == 0


def error(capsys, *words, code=1):
    """The one line that a failing command prints on stderr."""
    capsys.readouterr()
    if code == 2:
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
    else:
        assert main(words) == code
    _, line = capsys.readouterr()
    assert line.startswith("vaelib: ")
    assert line.count("\n") == 1
    assert line.endswith("\n")
    return line


def weights(folder):
    return checkpoint.read(Path(folder) / checkpoint.NAME)[0]


@pytest.mark.parametrize("processes", [1, pytest.param(4, marks=pytest.mark.soak)])
def test_the_page_with_a_kill_in_the_middle(processes, here, capsys):
    """Its first three commands; training is killed in its process, and gone on with.

    A process costs 4 s of imports, so where it need not be one the rest is called in this one.
    """
    first, *others = COMMANDS[:3]
    resume = next(command for command in COMMANDS if "--resume" in command)
    assert [command[:4] for command in (first, *others)] == [
        ["python", "-m", "vaelib", word] for word in ("train", "evaluate", "sample")
    ]
    size = ["--hidden", "16", "--epochs", "60"]  # time enough to kill it, and smaller networks
    child = start([*first, *size], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.startswith("epoch 3 of"):
            break
    child.send_signal(signal.SIGKILL)
    child.stdout.close()
    assert child.wait() == -signal.SIGKILL
    done = len(checkpoint.read(here / "run" / checkpoint.NAME)[1]["history"])
    assert 2 <= done < 60
    printed = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the children: the order of sums is that of the threads
    for command in (resume, *others):
        if processes > 1:
            child = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            out, problems = child.communicate()
            assert (child.returncode, problems) == (0, "")
        else:
            assert main(command[3:]) == 0
            out = capsys.readouterr().out
        printed.append(out)
    assert f"epoch {done} of 60" not in printed[0]
    assert "epoch 60 of 60: loss" in printed[0]
    assert "4 of 4 held-out data, binarized once with seed 0" in printed[1]
    assert re.search(r"^ELBO +-\d+\.\d\d$", printed[1], re.MULTILINE)
    assert "run/samples.png: 64 samples of run" in printed[2]
    assert picture("run/samples.png").shape == (11 * 71, 11 * 71)  # 8 x 8 of 8 pixels and a line
    # Left alone it ends with the same weights, bit for bit.
    assert first[-1] == "run"
    assert main([*first[3:-1], "alone", "--quiet", *size]) == 0
    torch.set_num_threads(threads)
    expected, got = weights("alone"), weights("run")
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.soak
def test_two_processes_share_a_run(here):
    """As one process would have it, and said and written once."""
    size = ["train", "--data", "pictures", "--hidden", "16", "--epochs", "3", "--folder"]
    alone, both = (
        start(["python", "-m", *words, *size, folder], stdout=subprocess.PIPE, text=True)
        for words, folder in (
            (["vaelib"], "alone"),
            (["torch.distributed.run", "--nproc-per-node=2", "-m", "vaelib"], "both"),
        )
    )
    said = alone.communicate()[0], both.communicate()[0]
    assert (alone.returncode, both.returncode) == (0, 0)
    lines = [[line for line in text.splitlines() if line.startswith("epoch")] for text in said]
    assert len(lines[1]) == len(lines[0]) == 3
    torch.testing.assert_close(weights("both"), weights("alone"), rtol=0, atol=1e-4)


def start(command, **pipes):
    """A command of the page as a process, with this Python and this vaelib."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent),
    }
    return subprocess.Popen([sys.executable, *command[1:]], env=environment, **pipes)


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def test_the_other_commands_of_the_page(here, unchecked, capsys):
    trained()
    others = [c for c in COMMANDS[3:] if not {"--resume", "examples"} & set(c)]
    assert len(others) == 4
    for _, _, _, *words in others:
        assert main([*words, *(SMALL if words[0] == "train" else [])]) == 0
    assert picture("means.png").shape == (11 * 71, 11 * 71)
    scores = json.loads(Path("scores.json").read_text())
    assert scores["runs"].keys() == {"run", "again"}
    assert scores["images"] == 4
    assert scores["runs"]["run"]["ELBO"] < 0
    assert scores["runs"]["run"]["trusted"] is True
    out = capsys.readouterr().out
    assert "mean ± deviation" in out
    assert "means.png: 64 decoder means, which are not samples, of grey" in out


def python_of_the_page(word):
    """The one block of Python with this word in it."""
    (code,) = (c for c in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if word in c)
    return code


def test_the_python_of_the_page(here):
    trained("run", "--latent", "16", "--hidden", "400", "400", "--epochs", "1")
    names = {}
    exec(python_of_the_page("vaelib.load"), names)
    assert names["means"].shape == (4, 64)


POISSON = """\
from torch import distributions
from torch.distributions import Independent, constraints
from torch.nn.functional import softplus

from vaelib.likelihood import Likelihood


class Poisson(Likelihood):
    support = constraints.nonnegative_integer
    remedy = "counts 0, 1, 2, …"

    def prepare(self, pixels, *, generator=None):
        return (pixels // 16).float()

    def undo(self, x):
        return (x / 15).clamp(0, 1)

    def forward(self, raw):
        rate = softplus(raw) + 1e-3
        return Independent(distributions.Poisson(rate, validate_args=False), 1)
"""
TRUSTED = [
    "train --data pictures --folder counts --trust poisson:Poisson --likelihood Poisson",
    "evaluate counts --trust poisson:Poisson",
    "sample counts --trust poisson:Poisson",
]


def test_a_likelihood_of_ones_own(here, unchecked, capsys, monkeypatch):
    """Its file and its three commands; and that the two that read ask for the word."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("poisson.py").write_text(POISSON)
    commands = [shlex.split(words) for words in TRUSTED]
    try:
        for words in commands:
            assert main([*words, *(SMALL if words[0] == "train" else [])]) == 0
    finally:
        sys.modules.pop("poisson", None)
    out = capsys.readouterr().out
    assert re.search(r"^ELBO +-\d+\.\d\d$", out, re.MULTILINE)
    assert "Poisson likelihood" in out
    drawn = picture("counts/samples.png")
    assert set(np.unique(drawn)) <= {128} | {round(255 * count / 15) for count in range(16)}
    for words in commands[1:]:
        line = error(capsys, *words[:-2])
        assert line.endswith(f"python -m vaelib {words[0]} counts --trust poisson:Poisson\n")
    assert "poisson" not in sys.modules


@pytest.mark.filterwarnings("default")
def test_more_epochs_of_the_page(here, capsys):
    trained()
    (command,) = (c for c in COMMANDS if {"--resume", "--epochs"} <= set(c))
    assert main(command[3:]) == 0
    assert "epoch 120 of 120: loss" in capsys.readouterr().out


def test_every_option_is_on_its_help_with_default_or_meaning():
    top = parser()
    commands = top._subparsers._group_actions[0].choices
    assert list(commands) == list(ours.COMMANDS)
    for command in commands.values():
        for action in command._actions:
            assert action.help, action.option_strings
            switch = action.nargs == 0 or action.required
            assert switch or "default" in action.help, action.option_strings
    trains = {a.dest for a in commands["train"]._actions}
    known = option.options(settings.Settings)
    found = {name for name, its in known.items() if its.help is None}
    layout = {"height", "width", "channels", "columns"}
    assert found == layout | {"kind", "missing", "classes", "held_out"}
    kept = known.keys() - found
    assert trains - kept == {"help", "folder", "resume", "save_every", "quiet"}
    assert kept <= trains


def test_the_defaults_are_those_of_the_readme(here, digits, monkeypatch):
    """fit gets the network, the data and the numbers of the README's example."""
    calls = []
    monkeypatch.setattr(train, "fit", lambda *args, **kw: calls.append((args, kw)) or [])
    assert main(["train", "--folder", "run", "--quiet"]) == 0
    ((model, pixels), words) = calls[0]
    assert torch.equal(pixels, digits.train)
    assert (words["epochs"], words["lr"], words["batch_size"]) == (24, 3e-3, 64)
    torch.manual_seed(0)
    same = VAE(nets.MLPEncoder(784, 16, spread=10.0), nets.MLPDecoder(16, 784))
    assert repr(model) == repr(same)
    ours, theirs = model.state_dict(), same.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


CHOICES = [
    "--net mlp --hidden 8 --likelihood bernoulli --prior normal --beta 0.5 --clip 1",
    "--net linear --likelihood gaussian --prior mixture --components 3 --warmup 1",
    "--net conv --hidden 12 --likelihood continuous-bernoulli --prior vamp --components 3 --iwae 2",
    "--net mlp --hidden 8 7 --patience 1 --precision float32",
    "--net mlp --hidden 8 --likelihood categorical",
    "--net two-layer --hidden 8 7 --iwae 2",
]
CHOICES += [  # a new likelihood is tried without a line here
    f"--net mlp --hidden 8 --likelihood {name}"
    for name, family in choices.LIKELIHOODS.items()
    if "pixels" in family.kinds and f"--likelihood {name}" not in " ".join(CHOICES)
]


def test_each_choice_is_tried():
    for name, table_of in (
        ("net", choices.NETS),
        ("likelihood", [n for n, c in choices.LIKELIHOODS.items() if "pixels" in c.kinds]),
        ("prior", choices.PRIORS),
    ):
        assert all(f"--{name} {choice}" in " ".join(CHOICES) for choice in table_of)


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_trains_evaluates_and_samples(choice, here, unchecked, capsys):
    counts = "poisson" in choice or "negative-binomial" in choice
    images = squares(20, np.random.default_rng(1), side=28)
    np.savez("a.npz", images=images // 50 + np.int64(0) if counts else images)
    size = ["--latent", "3", "--epochs", "1"]
    assert main(["train", "--data", "a.npz", "--folder", "run", *size, *choice.split()]) == 0
    assert main(["evaluate", "run", "--samples", "5"]) == 0
    assert main(["sample", "run", "--npz", "b.npz", "--number", "103"]) == 0
    out = capsys.readouterr().out
    assert "ELBO" in out
    assert "nan" not in out
    drawn = np.load("b.npz")["images"]
    assert (drawn.shape, drawn.dtype) == ((103, 28, 28), np.int64 if counts else np.uint8)


@pytest.mark.parametrize("choice", [[], ["--net", "two-layer", "--likelihood", "categorical"]])
def test_samples_and_means_are_those_of_the_model(choice, here):
    """The same z; samples of a Bernoulli are black and white, means are not."""
    trained("run", *choice)
    ours = settings.read_settings(Path("run"))
    model = build.model(ours)
    train.load(model, "run")
    with torch.no_grad():
        x, z, *_ = model.sample(5, generator=torch.Generator().manual_seed(3))
        p = model.decode(z).mean
    x = (255 * x).round().int()
    assert main(["sample", "run", "--number", "5", "--seed", "3", "--npz", "x.npz"]) == 0
    assert main(["sample", "run", "--number", "5", "--seed", "3", "--npz", "p.npz", "--mean"]) == 0
    assert not Path("run/samples.png").exists()
    drawn, means = np.load("x.npz")["images"], np.load("p.npz")["images"]
    assert drawn.reshape(5, -1).tolist() == x.tolist()
    assert np.abs(means.reshape(5, -1) - 255 * p.numpy()).max() <= 0.5 + 1e-4  # rounded to a level
    found = data.own("x.npz")  # and can be trained on
    assert sorted(torch.cat([found.train, found.test]).tolist()) == sorted(x.tolist())


def test_two_layers_have_the_proportions_of_their_paper(here, capsys):
    """Of Burda et al.: 784, 200, 200, 100 and 100, 100, 50; here for 12 upper units and 20 wide."""
    words = ["--net", "two-layer", "--latent", "12", "--hidden", "20", "10", "--iwae", "3"]
    assert main(["train", "--data", "pictures", "--folder", "run", *SMALL, *words]) == 0
    assert "TwoLayerVAE: two-layer, 24 + 12 latent dimensions, bern" in capsys.readouterr().out
    model = build.model(settings.read_settings(Path("run")))
    assert model.samples == 3
    assert model.likelihood.per_pixel == 1
    widths = [
        [layer.weight.shape for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
        for network in (
            model.encoder,
            model.posterior.network,
            model._prior.network,
            model.decoder,
        )
    ]
    assert widths == [
        [(20, 64), (10, 20), (24, 10), (24, 10)],
        [(10, 24), (5, 10), (12, 5), (12, 5)],
        [(5, 12), (10, 5), (24, 10), (24, 10)],
        [(10, 24), (20, 10), (64, 20)],
    ]
    kinds = {type(layer) for layer in model.modules() if not list(layer.children())}
    assert kinds == {torch.nn.Linear, torch.nn.Tanh, Bernoulli}
    trained("b", "--net", "two-layer")
    assert settings.read_settings(Path("b")).hidden == [8]
    assert build.model(settings.read_settings(Path("b"))).samples == 1


def test_one_table_of_one_layer_and_two_with_a_refined_q(here, monkeypatch, capsys):
    """Both are refined, and both are checked."""
    monkeypatch.setattr(table, "refined_q", lambda model, x, _, **__: model.encode(x))
    trained("one")
    trained("two", "--net", "two-layer")
    words = ["--refine", "--samples", "7", "--json", "a.json"]
    assert main(["evaluate", "one", "two", *words]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^L_7, q refined +-\d+\.\d\d +-\d+\.\d\d$", out, re.MULTILINE)
    runs = json.loads(Path("a.json").read_text())["runs"]
    assert runs["one"]["L_7, q refined"] < 0
    assert runs["two"]["L_7, q refined"] < 0
    assert all(type(run["trusted"]) is bool for run in runs.values())


def test_a_warning_names_the_option_that_helps(here, monkeypatch, capsys):
    missed = Trust(-9.0, -3.0, 6.0, 0.1, 8.0, 5.9, trusted=False)
    monkeypatch.setattr(table, "trust", lambda *_, **__: missed)
    trained()
    assert main(["evaluate", "run", "--samples", "5"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "5.90 nats too low on the data checked, 8.0 at the worst; --refine adds a better" in said


def test_chunks_fit_the_widest_layer():
    """Of 784 pixels those of `log_evidence`'s defaults; else a bound on numbers in memory."""

    def model(likelihood, *hidden):
        encoder = nets.MLPEncoder(784, 2, hidden=hidden)
        decoder = nets.MLPDecoder(2, 784, levels=likelihood.per_pixel, hidden=hidden)
        return VAE(encoder, decoder, likelihood=likelihood)

    assert chunks(model(Bernoulli(), 400)) == (25, 100)
    assert chunks(model(Categorical(), 400)) == (10, 4)
    assert chunks(model(Bernoulli(), 2000)) == (10, 100)


def test_the_sheet_shows_each_image_in_its_place(here):
    trained()
    assert main(["sample", "run", "--number", "5", "--npz", "x.npz", "--out", "x.png"]) == 0
    images = np.load("x.npz")["images"]
    sheet = picture("x.png")
    scale = 800 // 26  # 3 columns and 2 rows of 8 pixels, with a line between them
    assert sheet.shape == (17 * scale, 26 * scale)
    small = sheet[::scale, ::scale]
    for i, image in enumerate(images):
        row, column = 9 * (i // 3), 9 * (i % 3)
        assert (small[row : row + 8, column : column + 8] == image).all()


def test_resume_without_a_checkpoint_starts_and_after_the_end_does_nothing(here, capsys):
    words = ["train", "--data", "pictures", "--folder", "run", "--resume", *SMALL]
    assert main(words) == 0
    before = weights("run")
    assert main(["train", "--folder", "run", "--resume", "--quiet", "--device", "auto"]) == 0
    assert all(torch.equal(t, before[name]) for name, t in weights("run").items())
    assert "epoch 2 of 2: loss" in capsys.readouterr().out


def test_resume_in_an_empty_folder_needs_data(here, capsys):
    line = error(capsys, "train", "--folder", "rum", "--resume")
    assert "rum: there is no run to go on from; name its --folder, or start one with --da" in line
    assert not Path("rum").exists()


def test_the_data_of_a_run_may_move_but_not_change(here, unchecked, capsys):
    trained("run", "--epochs", "1")
    (here / "pictures").rename(here / "moved")
    assert "there is no such file or folder" in error(capsys, "evaluate", "run")
    assert main(["evaluate", "run", "--data", "moved", "--samples", "5"]) == 0
    assert main(["train", "--folder", "run", "--data", "moved", "--resume"]) == 0
    Image.fromarray(squares(1, np.random.default_rng(2))[0]).save(here / "moved" / "39.png")
    for words in (["evaluate", "run"], ["train", "--resume", "--folder", "run"]):
        line = error(capsys, *words, "--data", "moved")
        assert "the held-out data are not those of the run: the data were changed since" in line


def test_a_run_of_a_gpu_is_read_on_a_cpu_and_not_trained_there(
    here, unchecked, capsys, monkeypatch
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trained()
    file = Path("run/settings.json")
    file.write_text(file.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    assert main(["evaluate", "run", "--samples", "5"]) == 0
    assert main(["sample", "run"]) == 0
    line = error(capsys, "train", "--folder", "run", "--resume")
    assert "torch sees no GPU here" in line
    train = ["train", "--data", "pictures", "--folder", "new"]
    for words in (["sample", "run"], ["evaluate", "run"], train):
        line = error(capsys, *words, "--device", "cuda")
        assert "torch sees no GPU here" in line
        assert "use --device cpu" in line
    assert not Path("new").exists()


def test_a_folder_with_a_checkpoint_is_not_trained_in_again(here, capsys):
    trained()
    line = error(capsys, "train", "--folder", "run", *SMALL)
    assert line == (
        "vaelib: error: run: there is a checkpoint; go on from it with --resume, or choose another "
        "--folder\n"
    )
    line = error(capsys, "train", "--folder", "run", "--resume", "--lr", "0.5")
    assert "its --lr is 0.003, and here it is 0.5; leave --lr out" in line
    line = error(capsys, "train", "--folder", "run", "--resume", "--hidden", "8", "9")
    assert "its --hidden is 8, and here it is 8 9" in line
    (here / "run" / "settings.json").unlink()
    line = error(capsys, "train", "--folder", "run", "--resume")
    assert "settings.json: not found; expected the --folder of" in line


def test_runs_on_other_data_are_not_in_one_table(here, capsys):
    trained("a")
    trained("b", "--likelihood", "gaussian")
    line = error(capsys, "evaluate", "a", "b")
    assert "b: not to be compared with a" in line
    assert "with gaussian and" in line


def test_runs_of_one_name_are_told_apart(here, unchecked, capsys):
    trained("x/run")
    trained("y/run")
    assert main(["evaluate", "x/run", "y/run", "--samples", "5"]) == 0
    assert re.search(r"nats per datum +x/run +y/run", capsys.readouterr().out)


def test_an_unfinished_run_is_said_to_be_one(here, capsys, monkeypatch):
    """Ctrl-C after the first epoch: one line that says how to go on, and exit code 130."""
    fit = train.fit

    def interrupted(*args, callbacks, **words):
        def stop(line, model):
            if line.epoch == 2:
                raise KeyboardInterrupt

        return fit(*args, callbacks=[stop], **words)

    monkeypatch.setattr(train, "fit", interrupted)
    words = ["train", "--data", "pictures", "--folder", "run", *SMALL, "--epochs", "4"]
    line = error(capsys, *words, code=130)
    assert line == "vaelib: stopped; python -m vaelib train --folder run --resume goes on\n"
    assert main(["sample", "run"]) == 0
    assert "note: run is not finished, 1 of 4 epochs are done" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--data", "nowhere"], r"--data .*nowhere: expected digits, mnist, .* no such file"),
        (["--data", "bad.npy"], r"bad.npy: array 'images': expected an array .* got bool of shape"),
        (["--data", "pictures/07.png"], r"07.png: expected a folder .* ends in '.png'"),
        (["--data", "mnist"], r"train-images.* of mnist: expected it in \$VAELIB_DATA"),
        (
            ["--net", "conv", "--hidden", "8", "9"],
            r"--net conv: expected one --hidden width",
        ),
        (["--net", "linear", "--hidden", "8"], r"--net linear: expected no --hidden"),
        (["--condition"], r"--condition: the data have no labels; put the pictures of each class"),
        (["--start", "nowhere"], r"nowhere/settings.json: not found"),
        (
            ["--net", "two-layer", "--prior", "vamp"],
            r"--net two-layer: expected --prior normal, got vamp; .* leave --prior out",
        ),
        (["--net", "two-layer", "--beta", "0.5"], r"layer: expected --beta 1, got 0.5"),
        (["--net", "two-layer", "--beta", "3"], r"layer: expected --beta 1, got 3"),
        (["--iwae", "5", "--beta", "2"], r"--iwae: expected --beta 1, got 2; leave one"),
        (["--folder", "pictures.npy"], r"pictures.npy: cannot be made .* choose another folder"),
        (["--folder", "x" * 300], r"File name too long: x+/.*; name a shorter one"),
        (["--data", "one.npz"], r"one.npz: expected at least 2 images in 'test', .* got 1; add"),
        (["--warmup", "3", "--epochs", "2"], r"--warmup: expected at most as many as --epochs, 2"),
        (
            ["--lr", "1e30"],
            r"fit: .* at step .* of epoch .* Try a smaller lr than 1e\+30, --clip 1",
        ),
        (["--compile", "cuda-graph"], r"fit: --compile cuda-graph .* on cpu\. Use --compile, or"),
    ],
)
def test_errors_of_train(words, says, here, capsys):
    np.save("bad.npy", np.full((5, 4, 4), True))
    pixels = np.load("pictures.npy")
    np.savez("one.npz", train=pixels, test=pixels[:1])
    given = ["--data", "pictures", "--folder", "run", "--device", "cpu", *words]
    assert re.search(says, error(capsys, "train", *given))
    assert not Path("run/settings.json").exists() or says.startswith("fit: ")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], r"required: command; python -m vaelib --help lists"),
        (["run"], r"invalid choice: 'run' .*'?train'?, '?evaluate'?, '?sample'?"),
        (["train"], r"required: --folder; python -m vaelib train --help lists what there is"),
        (
            ["train", "--folder", "a", "--epoch", "3"],
            r"unrecognized arguments: --epoch 3 \(did you mean --epochs\?\); .* train --help",
        ),
        (
            ["sample", "a", "--qqq"],
            r"unrecognized arguments: --qqq; python -m vaelib sample --help",
        ),
        (
            ["train", "--folder", "a", "--epochs", "0"],
            r"--epochs: .*number from 1 to 1,000,000,000, got '0'",
        ),
        (["train", "--folder", "a", "--lr", "0"], r"--lr: expected a number > 0, got '0'"),
        (["train", "--folder", "a", "--lr", "nan"], r"--lr: expected a number > 0, got 'nan'"),
        (["train", "--folder", "a", "--beta", "x"], r"--beta: expected a number ≥ 0, got 'x'"),
        (["train", "--folder", "a", "--net", "cnn"], r"--net: invalid choice: 'cnn'"),
        (["train", "--folder", "a", "--lr", "3e-3s"], r"--lr: expected a number > 0, got '3e-3s'"),
        (["train", "--folder", ""], r"--folder: expected a name, got ''; '.' is this folder"),
        (["train", "--folder", "a", "--data", " "], r"--data: expected a name, got ' '"),
        (["evaluate", ""], r"RUN: expected a name, got ''"),
        (["evaluate", "a", "--data", ""], r"--data: expected a name, got ''"),
        (["evaluate", "a", "--json", ""], r"--json: expected a name, got ''"),
        (["sample", "a", "--out", ""], r"--out: expected a name, got ''"),
        (["sample", "a", "--npz", ""], r"--npz: expected a name, got ''"),
        (["evaluate", "--samples", "5"], r"required: RUN"),
    ],
)
def test_a_command_line_that_cannot_be_read(words, says, capsys):
    assert re.search(says, error(capsys, *words, code=2))


@pytest.mark.parametrize("command", ours.COMMANDS)
def test_every_whole_number_has_an_end(command, capsys):
    """Twenty digits do not fit into torch's integers; its words for that are lines of C++."""
    actions = parser()._subparsers._group_actions[0].choices[command]._actions
    takes = [a for a in actions if a.type and a.dest not in ("trust", "device")]
    whole = [a.option_strings[0] for a in takes if type(a.type("7")) is int]
    numbers = {"train": 10, "evaluate": 3, "sample": 2, "encode": 1, "reconstruct": 2, "score": 3}
    assert len(whole) == numbers.get(command, 2 if command == "impute" else 0)
    run = {"train": ["--folder", "a"], "impute": ["a", "--data", "b"]}.get(command, ["a"])
    for flag in whole:
        line = error(capsys, command, *run, flag, "9" * 20, code=2)
        says = (
            r"expected a whole number from [012] to (1,000,000(,000)?|18,446,744,073,709,551,615)"
        )
        assert re.search(rf"{flag}: {says}, got '9+'", line)


def test_the_first_and_the_last_seed(here):
    for seed in (0, 2**64 - 1):
        trained(f"run{seed}", "--seed", str(seed), "--patience", "3")
        assert main(["sample", f"run{seed}", "--seed", str(seed)]) == 0


# For each field what is none of its values: of another type, and out of its range.
ALTERED = {
    "data": [3, ""],
    "net": [["mlp"], "foo"],
    "hidden": [8, [0]],
    "latent": ["2", -1],
    "spread": ["1", 0.0],
    "likelihood": [None, "uniform"],
    "prior": [{}, "uniform"],
    "posterior": [None, "flow"],
    "trust": ["mine:Poisson", [3]],
    "components": [2.5, 0],
    "iwae": ["5", 0],
    "beta": [None, -1.0],
    "epochs": [[2], 10**20],
    "batch_size": [None, 0],
    "lr": ["fast", float("nan")],
    "warmup": [True, -1],
    "clip": [[], 0],
    "precision": [32, "float16"],
    "compile": [1, "yes"],
    "patience": [False, 0],
    "seed": [0.5, 2**64],
    "device": [0, "tpu"],
    "height": ["8", 0],
    "width": [None, 10**9],
    "channels": ["1", 0],
    "columns": ["mass", [3]],
    "kind": [8, "letters"],
    "missing": ["no", 1],
    "classes": ["ant", [3]],
    "condition": ["yes", 1],
    "labels": [3, ""],
    "start": [3, ""],
    "held_out": [5, ""],
}


def test_altered_settings_are_told_by_file_and_field(here, capsys):
    trained()
    file = Path("run/settings.json")
    content = json.loads(file.read_text())
    assert ALTERED.keys() == settings.Settings.__dataclass_fields__.keys()
    for name, values in ALTERED.items():
        for value in values:
            file.write_text(json.dumps(content | {name: value}))
            said = (
                rf"^run/settings\.json: {name}: (expected|invalid choice).* bring back what train"
            )
            with pytest.raises(ValueError, match=said):
                settings.read_settings(Path("run"))
    resume = ["train", "--resume", "--folder", "run"]
    for words in (["sample", "run"], ["evaluate", "run"], resume):
        assert error(capsys, *words).startswith("vaelib: error: run/settings.json: held_out: ")
    # Of more, and of fewer.
    file.write_text(json.dumps(content | {"depth": 3}))
    assert "json: depth: no option of this version of vaelib; it" in error(capsys, "sample", "run")
    file.write_text(json.dumps({k: v for k, v in content.items() if k != "beta"}))
    assert "json: beta: expected a value, as every run has" in error(capsys, "sample", "run")
    for nested in ("[" * 100_000, '{"a":' * 100_000):
        file.write_text(nested)
        assert "run/settings.json: not the settings of a run" in error(capsys, "sample", "run")
    # Each by itself could be, and not with the checkpoint.
    for change in ({"latent": 3}, {"hidden": []}, {"height": 4}, {"net": "linear", "hidden": []}):
        file.write_text(json.dumps(content | change))
        assert "bring back the settings.json that belongs to it" in error(capsys, "sample", "run")
        line = error(capsys, *resume)
        assert "belongs to another run" in line or "bring back the old file" in line
    # Or with one another.
    for change, says in (({"warmup": 9}, "--warmup: "), ({"net": "linear"}, "--net linear: ")):
        file.write_text(json.dumps(content | change))
        for words in (["sample", "run"], resume):
            assert f"run/settings.json: {says}" in error(capsys, *words)
    file.write_text(json.dumps(content))
    assert main(["sample", "run"]) == 0


def test_errors_of_evaluate_and_sample(here, capsys):
    line = error(capsys, "evaluate", "nowhere")
    assert line.startswith("vaelib: error: nowhere/settings.json: not found; expected the --folder")
    trained()
    assert "expected each run once" in error(capsys, "evaluate", "run", "./run")
    assert "ends in .png" in error(capsys, "sample", "run", "--out", "a.jpg")
    assert "ends in .npz" in error(capsys, "sample", "run", "--npz", "a")
    line = error(capsys, "sample", "run", "--out", "pictures.npy/a.png")
    assert "could not write" in line
    assert "choose another place" in line
    assert "room" not in line
    file = Path("run/settings.json")
    for content in ("{", "[]", "{}", file.read_text().replace("vaelib run 1", "vaelib run 9")):
        file.write_text(content)
        assert "not the settings of a run of this version" in error(capsys, "sample", "run")


def test_a_damaged_checkpoint(here, capsys):
    trained()
    file = Path("run") / checkpoint.NAME
    file.write_bytes(file.read_bytes()[:100])
    for command in (
        ["evaluate", "run"],
        ["sample", "run"],
        ["train", "--resume", "--folder", "run"],
    ):
        assert "checkpoint.safetensors: not a whole safetensors file" in error(capsys, *command)
    file.unlink()
    line = error(capsys, "sample", "run")
    assert "run: has no checkpoint.safetensors yet" in line
    assert "python -m vaelib train --folder run --resume goes on" in line


def test_a_header_that_is_none(here, capsys):
    trained()
    file = Path("run") / checkpoint.NAME
    for header in (b"null", b"[]", b'{"__metadata__":null}', b"[" * 100_000, b"\xff"):
        file.write_bytes(len(header).to_bytes(8, "little") + header)
        for words in (["sample", "run"], ["train", "--resume", "--folder", "run"]):
            assert f"{file}: " in error(capsys, *words)


def test_a_checkpoint_that_lacks_something_though_its_hash_fits(here, capsys):
    """Each part of it is left out or spoiled, and the file written as vaelib writes it."""
    words = ["--data", "pictures.npy", "--folder", "run", "--patience", "3", "--quiet"]
    assert main(["train", *words, *SMALL[2:], "--net", "linear"]) == 0
    file = Path("run") / checkpoint.NAME
    whole = file.read_bytes()
    tensors, about = checkpoint.read(file)
    resume, draw = ["train", "--resume", "--folder", "run"], ["sample", "run"]
    parts = ["model.decoder.0.bias", "optimizer.0.step", "optimizer.1.exp_avg", "epoch_start"]
    parts += ["losses", "generator.own", "generator.cpu", "best.decoder.0.bias"]
    bias, last = tensors["best.decoder.0.bias"], about["history"][-1]
    needed = about.keys() - {"recipe", "went_on"}  # which older runs have not
    nan, missing = bias * math.nan, object()
    changes = [
        *(({part: missing}, {}, resume) for part in parts),
        *(({part: torch.zeros(2, 3, 5)}, {}, resume) for part in parts),
        *(({"best.decoder.0.bias": value}, {}, draw) for value in (nan, missing, bias[:9])),
        ({"model.decoder.0.bias": nan}, {}, resume),
        ({"optimizer.99.step": torch.tensor(1.0)}, {}, resume),
        *(({}, {name: missing}, resume) for name in needed),
        *(({}, {name: None}, draw) for name in needed),
        *(({}, {"history": value}, resume) for value in ([{"epoch": 1}], [3])),
        ({}, {"history": [last | {"loss": "low"}]}, resume),
        *(({}, {name: 9}, resume) for name in ("position", "best_epoch")),
    ]
    for other_tensors, other_about, command in changes:
        parts, said = tensors | other_tensors, about | other_about
        checkpoint.save(
            file,
            {name: t for name, t in parts.items() if t is not missing},
            {name: value for name, value in said.items() if value is not missing},
        )
        before = file.read_bytes()
        assert f"{file}: " in error(capsys, *command)
        assert file.read_bytes() == before
    file.write_bytes(whole)
    assert main([*resume, "--quiet"]) == 0


@contextmanager
def largest_file(size):
    """A disk that is full after so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk(here, unchecked, capsys):
    """A file may have 3,000 bytes: settings fit, a checkpoint does not; then 100, and a result."""
    with largest_file(3000):
        line = error(capsys, "train", "--data", "pictures", "--folder", "run", "--quiet", *SMALL)
    assert "could not write" in line
    assert "Make room and run again with --resume" in line
    assert "run/checkpoint.safetensors" in line
    trained()
    for words, file in (
        (["sample", "run", "--out", "a.png"], "a.png"),
        (["sample", "run", "--npz", "a.npz"], "a.npz"),
        (["evaluate", "run", "--samples", "5", "--json", "a.json"], "a.json"),
    ):
        with largest_file(100):
            line = error(capsys, *words)
        assert re.search(rf"{file}: could not write .*; make room, or choose another place", line)
        assert not list(here.glob("a.*"))


def test_a_folder_that_cannot_be_written_to_is_not_told_to_make_room(here, capsys, monkeypatch):
    trained()

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)  # root, as some run tests, may do all
    for words in (["sample", "run"], ["train", "--data", "pictures", "--folder", "new"]):
        line = error(capsys, *words)
        assert "Permission denied" in line
        assert "room" not in line
        assert re.search("make the folder writable|choose another folder", line)
    monkeypatch.undo()
    monkeypatch.setattr("builtins.open", refuse)
    line = error(capsys, "train", "--data", f"{here}/pictures.npy", "--folder", f"{here}/new")
    assert line.endswith(
        f"Permission denied: {here}/pictures.npy; get the right to use it, or name another\n"
    )


@pytest.mark.parametrize(
    "cause",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_too_little_memory(cause, here, capsys, monkeypatch):
    def broken(*_, **__):
        raise cause

    monkeypatch.setattr(train, "fit", broken)
    line = error(capsys, "train", "--data", "pictures", "--folder", "run", *SMALL)
    assert line.startswith("vaelib: error: not enough memory; use smaller images, a smaller")


@pytest.mark.parametrize("kind", [RuntimeError, TypeError, KeyError, ValueError])
def test_what_nobody_expected_keeps_its_traceback(kind, here, monkeypatch):
    def broken(*_, **__):
        raise kind("a mistake of ours")

    monkeypatch.setattr(train, "fit", broken)
    with pytest.raises(kind, match="a mistake of ours"):
        main(["train", "--data", "pictures", "--folder", "run", "--quiet"])


def test_quiet_prints_nothing(here, capsys):
    trained()
    assert capsys.readouterr() == ("", "")


def test_quiet_does_not_hide_what_was_done_to_the_images(here, capsys):
    Image.new("CMYK", (8, 8), (0, 0, 0, 99)).save("pictures/printed.jpg")
    trained()
    assert capsys.readouterr() == (
        "",
        "vaelib: note: inks (CMYK) were converted to red, green and blue\n",
    )


@pytest.mark.filterwarnings("default")
def test_a_warning_is_a_line_too(here, capsys, monkeypatch):
    def warns(*_, **__):
        warnings.warn("this machine\nhas no locks; run again with resume=True", stacklevel=1)
        raise BadValue("and no room")

    monkeypatch.setattr(train, "fit", warns)
    assert main(["train", "--data", "pictures", "--folder", "run", "--quiet"]) == 1
    assert capsys.readouterr().err == (
        "vaelib: warning: this machine has no locks; run again with --resume\n"
        "vaelib: error: and no room\n"
    )


def test_ctrl_c_while_torch_is_imported(tmp_path):
    """By a torch that presses it, and takes the exception for one of its own."""
    press = "import os, signal\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    input()\n"
    (tmp_path / "torch.py").write_text(press + "except KeyboardInterrupt:\n    1 / 0\n")
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parent.parent}"
    child = subprocess.run(
        [sys.executable, "-m", "vaelib", "sample", "run"],
        env=os.environ | {"PYTHONPATH": path},
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # else a shell's & ignores
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (child.returncode, child.stdout, child.stderr) == (130, "", "vaelib: stopped\n")


def test_nobody_reads_what_is_printed(here):
    """As of ``python -m vaelib sample run | true``."""
    trained()
    reads, writes = os.pipe()
    os.close(reads)
    child = start(COMMANDS[2], stdout=writes, stderr=subprocess.PIPE, text=True)
    os.close(writes)
    _, problems = child.communicate()
    says = "vaelib: error: Broken pipe; nobody reads what is printed any more; print into a file\n"
    assert (child.returncode, problems) == (1, says)
