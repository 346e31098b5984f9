"""train: a run that is broken off goes on as if it had not been, and a checkpoint is whole."""

import itertools
import json
import math
import os
import pickle
import resource
import shutil
import subprocess
import sys
import sysconfig
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from toy import Toy

import vaelib
from vaelib import nets, train
from vaelib.likelihood import ContinuousBernoulli
from vaelib.train import CheckpointError, checkpoint
from vaelib.vae import IWAE, VAE

pytestmark = pytest.mark.usefixtures("plain_errors")  # models of these tests are no VAEs


def seed(s=1):
    return torch.Generator().manual_seed(s)


@pytest.fixture
def pixels(generator):
    return torch.randint(256, (50, 6), generator=generator).to(torch.uint8)


def small_vae(hidden=8, **options):
    torch.manual_seed(0)
    return VAE(
        nets.MLPEncoder(6, 2, hidden=(hidden,)), nets.MLPDecoder(2, 6, hidden=(hidden,)), **options
    )


def run(pixels, folder, model=None, **options):
    settings = {"epochs": 3, "batch_size": 16, "generator": seed(), "progress": False} | options
    model = small_vae() if model is None else model
    return model, train.fit(model, pixels, folder=folder, **settings)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


class StopError(Exception):
    pass


def stopper(count):
    """A callback that breaks a run off after some epochs, as Ctrl-C would."""

    def callback(line, model):
        if line.epoch == count:
            raise StopError

    return callback


def killed(kills, cache, *words):
    """What tests/killed_run.py says of float32 and of bfloat16."""
    script = Path(__file__).with_name("killed_run.py")
    # Where the virtual environment is, there may be a space in its path.
    packages = cache / "a folder"
    packages.mkdir()
    (packages / "torch").symlink_to(Path(torch.__file__).parent)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(packages), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(cache),  # nothing compiled by an earlier version of us
        "TORCHINDUCTOR_COMPILE_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, script, "--kills", str(kills), *words],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["precision"] for line in lines] == ["float32", "bfloat16"]
    assert all(line["equal"] and line["killed"] == kills and line["ended"] for line in lines)
    assert sum(line["within an epoch"] for line in lines) > 0
    return lines


TIMES = pytest.mark.parametrize("kills", [5, pytest.param(50, marks=pytest.mark.soak)])


@TIMES
def test_killed_at_random_moments_it_ends_as_if_left_alone(kills, tmp_path):
    """The same weights, moments of Adam and history, to the last bit."""
    killed(kills, tmp_path)


@pytest.mark.parametrize("kills", [1, pytest.param(50, marks=pytest.mark.soak)])
def test_compiled_and_killed_it_ends_as_if_left_alone(kills, tmp_path):
    """And as eager does, but for the order of sums; the last batch needs no second graph.

    With torch in a folder whose name has a space.
    """
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if not (shutil.which("g++") and headers.exists()):
        pytest.skip("no C++ compiler with Python's headers: apt install g++ python3-dev")
    float32, _ = killed(kills, tmp_path, "--compiled")
    assert float32["most a weight differs"] < 1e-4  # 30 steps of up to 1e-2 each
    assert float32["graphs"] == 1


def test_an_interrupted_run_goes_on(pixels, tmp_path):
    with pytest.raises(StopError):
        run(pixels, tmp_path, callbacks=[stopper(2)])
    model, history = run(pixels, tmp_path, resume=True, generator=seed(99))
    alone, expected = run(pixels, None)
    assert torch.equal(weights(model), weights(alone))
    assert [line[:2] for line in history] == [line[:2] for line in expected]


def test_a_finished_run_is_only_read(pixels, tmp_path):
    model, history = run(pixels, tmp_path)
    before = (tmp_path / checkpoint.NAME).read_bytes()
    again, lines = run(pixels, tmp_path, resume=True)
    assert torch.equal(weights(again), weights(model))
    assert lines == history or all(a[:3] == b[:3] for a, b in zip(lines, history, strict=True))
    assert (tmp_path / checkpoint.NAME).read_bytes() == before


def test_an_array_is_read_by_rows_and_trains_as_a_tensor_does(pixels, tmp_path):
    """To the last bit, and each goes on with the other's checkpoint."""
    np.save(tmp_path / "x.npy", pixels.numpy())
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    how = {"validation": pixels[:9], "save_every": 3}
    alone, expected = run(pixels, tmp_path / "tensor", **how)
    for first, then in ((mapped, mapped), (mapped, pixels), (pixels, mapped)):
        folder = tmp_path / f"{type(first)} {type(then)}"
        how["validation"] = first[:9]
        with pytest.raises(StopError):
            run(first, folder, callbacks=[stopper(2)], **how)
        how["validation"] = then[:9]
        model, history = run(then, folder, resume=True, generator=seed(99), **how)
        assert torch.equal(weights(model), weights(alone))
        assert [(e.loss, e.validation) for e in history] == [
            (e.loss, e.validation) for e in expected
        ]
        tensors, (ours, _) = zip(
            *(checkpoint.read(p / checkpoint.NAME) for p in (folder, tmp_path / "tensor")),
            strict=True,
        )
        assert all(torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[1])
        assert ours["config"]["rows"]


def test_a_folder_with_a_checkpoint_is_not_overwritten(pixels, tmp_path):
    run(pixels, tmp_path)
    with pytest.raises(FileExistsError, match="resume=True, or choose another folder"):
        run(pixels, tmp_path)


def test_history_is_a_table(pixels, tmp_path):
    _, history = run(pixels, tmp_path, validation=pixels[:9])
    rows = [line.split(",") for line in (tmp_path / "history.csv").read_text().splitlines()]
    assert rows[0] == list(train.Epoch._fields)
    assert [tuple(map(float, row)) for row in rows[1:]] == [tuple(line) for line in history]


def test_load_gives_the_weights_and_says_what_was_run(pixels, tmp_path):
    model, history = run(pixels, tmp_path)
    other = small_vae()
    about = train.load(other, tmp_path)
    assert torch.equal(weights(other), weights(model))
    assert about["finished"]
    assert about["config"]["batch_size"] == 16
    assert about["versions"] == {"vaelib": vaelib.__version__, "torch": torch.__version__}
    assert [line["loss"] for line in about["history"]] == [line.loss for line in history]


class Wandering(Toy):
    """Its validation loss falls and rises again: |w - 1| while w climbs from 0 by lr per step."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))

    def forward(self, x, eps):
        return -self.w if self.training else (self.w - 1).abs()


def test_patience_ends_with_the_best_weights(pixels, tmp_path):
    """One step of Adam with a constant gradient moves w by lr = 0.3: 0.3, 0.6, 0.9, 1.2, 1.5."""
    model = Wandering()
    _, history = run(
        pixels,
        tmp_path,
        model,
        epochs=20,
        batch_size=50,
        lr=0.3,
        schedule=train.constant,
        validation=pixels,
        patience=2,
    )
    assert [line.validation for line in history] == pytest.approx([0.7, 0.4, 0.1, 0.2, 0.5])
    assert model.w.item() == pytest.approx(0.9)
    other = Wandering()
    train.load(other, tmp_path)
    assert other.w.item() == pytest.approx(0.9)


def test_a_truncated_checkpoint_is_refused(pixels, tmp_path):
    run(pixels, tmp_path)
    path = tmp_path / checkpoint.NAME
    content = path.read_bytes()
    for length in (0, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        refused(pixels, tmp_path, "truncated or something else")


def test_every_altered_byte_is_noticed(pixels, tmp_path):
    run(pixels, tmp_path)
    path = tmp_path / checkpoint.NAME
    content = path.read_bytes()
    for place in range(8, len(content), 501):
        altered = bytearray(content)
        altered[place] ^= 1
        path.write_bytes(altered)
        refused(pixels, tmp_path, "truncated or something else|hash|format")


def refused(pixels, folder, message):
    """Neither resume nor load takes it, and a model that was to get it is as it was."""
    for use in (
        lambda model: run(pixels, folder, model, resume=True),
        lambda model: train.load(model, folder),
    ):
        model = small_vae()
        before = weights(model)
        with pytest.raises(CheckpointError, match=message):
            use(model)
        assert torch.equal(weights(model), before)


def test_foreign_files_are_refused(pixels, tmp_path):
    path = tmp_path / checkpoint.NAME
    save_file({"model.w": torch.zeros(3)}, path)
    refused(pixels, tmp_path, "got 'a file of another program'")
    path.write_bytes(pickle.dumps({"model": 1}))
    refused(pixels, tmp_path, "not a whole safetensors file")


def test_another_model_is_named_by_its_first_difference(pixels, tmp_path):
    run(pixels, tmp_path)
    for other, message in (
        (small_vae(9), r"'decoder.0.bias' is \(8,\) torch.float32 in the file and \(9,\)"),
        (nn.Linear(6, 2), r"'bias' is missing in the file and \(2,\) torch.float32 in this Linear"),
    ):
        before = weights(other)
        with pytest.raises(CheckpointError, match=message):
            train.load(other, tmp_path)
        assert torch.equal(weights(other), before)
    with pytest.raises(CheckpointError, match=r"its model is beta=1.0, and here it is beta=2.0"):
        run(pixels, tmp_path, small_vae(beta=2.0), resume=True)


def deep(activation=nn.Tanh, prior=None, kind=VAE, dropout=0.1, likelihood=None, **options):
    """Two hidden layers, so that a layer more without weights has neighbours."""
    torch.manual_seed(0)
    sizes = {"hidden": (8, 8), "activation": activation}
    encoder, decoder = nets.MLPEncoder(6, 2, **sizes), nets.MLPDecoder(2, 6, **sizes)
    encoder.features.append(nn.Dropout(dropout))
    return kind(encoder, decoder, likelihood=likelihood, prior=prior and prior(encoder), **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation": nn.SiLU}, r"'\(1\): Tanh\(\)' in the file, and '\(1\): SiLU\(\)' here"),
        ({"likelihood": ContinuousBernoulli()}, r"Bernoulli\(\)' in the file, and .*ContinuousB"),
        ({"dropout": 0.2}, "p=0.1, .* in the file, and .*p=0.2"),
        ({"kind": IWAE}, r"'VAE\(' in the file, and 'IWAE\(' here"),
    ],
)
def test_another_model_with_weights_of_the_same_shapes_is_refused(
    pixels, tmp_path, change, message
):
    run(pixels, tmp_path, deep())
    other = deep(**change)
    before = weights(other)
    with pytest.raises(CheckpointError, match=f"belongs to another model: .*{message}"):
        train.load(other, tmp_path)
    assert torch.equal(weights(other), before)


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"beta": 4.0}, {}),
        ({"kind": IWAE, "samples": 2}, {"kind": IWAE, "samples": 50}),
        ({"kind": IWAE}, {"kind": IWAE, "doubly_reparameterized": True}),
    ],
)
def test_what_changes_the_loss_alone_may_differ(pixels, tmp_path, was, now):
    model, _ = run(pixels, tmp_path, deep(**was))
    other = deep(**now)
    train.load(other, tmp_path)
    assert torch.equal(weights(other), weights(model))
    with pytest.raises(CheckpointError, match="its model is"):  # but not to go on
        run(pixels, tmp_path, deep(**now), resume=True)


class Described(Wandering):
    """What print shows of it holds an address, which is another in each process."""

    def __init__(self, function, device=""):
        super().__init__()
        self.function, self.place = function, device

    def extra_repr(self):
        return f"{self.function}, tensor([1.]{self.place})"


def test_an_address_or_a_device_is_no_difference(pixels, tmp_path):
    run(pixels, tmp_path, Described(StopError().__reduce__))
    other = Described(StopError().__reduce__, ", device='cuda:0'")
    assert repr(other) != repr(Described(StopError().__reduce__))
    train.load(other, tmp_path)
    run(pixels, tmp_path, Described(StopError().__reduce__), resume=True)


def rewrite(folder, change):
    """The checkpoint with another description, as another version wrote it."""
    tensors, about = checkpoint.read(folder / checkpoint.NAME)
    change(about)
    checkpoint.save(folder / checkpoint.NAME, tensors, about)


def test_another_torchs_words_for_the_same_modules_are_said(pixels, tmp_path):
    """Its Linear may print more than ours; another activation is another model all the same."""
    run(pixels, tmp_path, deep())

    def older(about):
        about["versions"]["torch"] = "1.0"
        about["config"]["model"] = about["config"]["model"].replace(", bias=True", "")

    rewrite(tmp_path, older)
    with pytest.warns(UserWarning, match=r"bias=True\)' here; torch may have changed its words"):
        train.load(deep(), tmp_path)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        train.load(deep(nn.SiLU), tmp_path)


def test_a_checkpoint_without_a_description_is_loaded_with_a_warning(pixels, tmp_path):
    model, _ = run(pixels, tmp_path, deep())
    rewrite(tmp_path, lambda about: about["config"].pop("model"))
    other = deep()
    with pytest.warns(UserWarning, match="only names and shapes were compared"):
        train.load(other, tmp_path)
    assert torch.equal(weights(other), weights(model))


def power(share, exponent):
    return (1 - share) ** exponent


def slope(by):
    return lambda share: 1 - by * share


@pytest.mark.parametrize(
    ("was", "same", "other"),
    [
        (lambda s: 1 - s, lambda s: 1 - s, lambda s: 1 - s * s),
        (slope(0.5), slope(0.5), slope(0.25)),
        (partial(power, exponent=2), lambda s: (1 - s) ** 2, partial(power, exponent=3)),
        # Other for one of the twelve steps.
        (lambda s: float(s < 0.5), lambda s: float(s <= 0.49), lambda s: float(s <= 0.5)),
    ],
)
def test_a_schedule_is_known_by_its_values(pixels, tmp_path, was, same, other):
    with pytest.raises(StopError):
        run(pixels, tmp_path, schedule=was, callbacks=[stopper(2)])
    with pytest.raises(CheckpointError, match=r"its schedule is .*\(factors 1, .*and here it is"):
        run(pixels, tmp_path, schedule=other, resume=True)
    model, _ = run(pixels, tmp_path, schedule=same, resume=True)
    assert torch.equal(weights(model), weights(run(pixels, None, schedule=was)[0]))


def test_an_older_checkpoint_knows_a_schedule_by_its_name(pixels, tmp_path):
    run(pixels, tmp_path)
    rewrite(tmp_path, lambda about: about["config"].update(schedule="cosine"))
    with pytest.raises(CheckpointError, match="its schedule is cosine, and here it is constant"):
        run(pixels, tmp_path, schedule=train.constant, resume=True)
    run(pixels, tmp_path, resume=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 2e-3}, "its lr is 0.001, and here it is 0.002"),
        (
            {"schedule": train.constant},
            r"its schedule is cosine \(factors 1, 0.5, 0.0\d+; \w+\), and here it is constant \(",
        ),
        ({"clip": 1.0}, "its clip is None, and here it is 1.0"),
    ],
)
def test_other_settings_are_named(pixels, tmp_path, change, message):
    run(pixels, tmp_path)
    with pytest.raises(CheckpointError, match=message):
        run(pixels, tmp_path, resume=True, **change)


def lengths(model):
    """How far each step went: Adam's, along a gradient that is always 1, are as long as its lr."""
    return [a - b for a, b in itertools.pairwise([*model.places, model.w.item()])]


class Falling(Toy):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.places = []

    def forward(self, x, eps):
        self.places.append(self.w.item())
        return self.w * 1.0


GOES_ON = r"had ended after 3 epochs and goes on to 6, .* moments; .* of 6 epochs .*, 0.05 at first"


def test_a_finished_run_goes_on_with_more_epochs(pixels, tmp_path):
    """On a new schedule over all of them, of which as many steps are done as the run has done."""
    model, _ = run(pixels, tmp_path, Falling(), lr=0.1)
    factors = [(1 + math.cos(math.pi * k / 12)) / 2 for k in range(12)]
    assert lengths(model) == pytest.approx([0.1 * f for f in factors], rel=1e-4)
    model = Falling()
    with pytest.warns(UserWarning, match=GOES_ON):
        _, history = run(pixels, tmp_path, model, lr=0.1, epochs=6, resume=True)
    factors = [(1 + math.cos(math.pi * k / 24)) / 2 for k in range(12, 24)]
    assert lengths(model) == pytest.approx([0.1 * f for f in factors], rel=1e-4)
    assert [line.epoch for line in history] == [1, 2, 3, 4, 5, 6]
    tensors, about = checkpoint.read(tmp_path / checkpoint.NAME)
    assert tensors["optimizer.0.step"] == 24
    assert about["config"]["epochs"] == 6
    (stage,) = about["went_on"]
    assert (stage["after"], stage["epochs"]) == (3, 3)
    assert stage["schedule"].startswith("cosine (factors 1, 0.5")
    rows = (tmp_path / "history.csv").read_text().splitlines()
    assert len(rows) == 7


def test_weights_and_moments_are_those_of_the_end(pixels, tmp_path):
    """With a constant schedule nothing tells the run that went on from one of as many epochs."""
    how = {"schedule": train.constant}
    run(pixels, tmp_path, **how)
    with pytest.warns(UserWarning, match="goes on to 6"):
        model, history = run(pixels, tmp_path, epochs=6, resume=True, generator=seed(9), **how)
    alone, expected = run(pixels, None, epochs=6, **how)
    assert torch.equal(weights(model), weights(alone))
    assert [line[:2] for line in history] == [line[:2] for line in expected]


def test_a_run_that_went_on_is_broken_off_and_goes_on(pixels, tmp_path):
    """The second resume is a plain one: same settings, and nothing is said."""
    for folder in (tmp_path / "a", tmp_path / "b"):
        run(pixels, folder)
    with pytest.warns(UserWarning, match="goes on to 6"):
        expected, _ = run(pixels, tmp_path / "a", epochs=6, resume=True)
    with pytest.warns(UserWarning, match="goes on to 6"), pytest.raises(StopError):
        run(pixels, tmp_path / "b", epochs=6, resume=True, save_every=3, callbacks=[stopper(5)])
    with pytest.raises(CheckpointError, match="its epochs is 6, and here it is 3; end it with epo"):
        run(pixels, tmp_path / "b", resume=True)
    model, _ = run(pixels, tmp_path / "b", epochs=6, resume=True)
    assert torch.equal(weights(model), weights(expected))
    with pytest.warns(UserWarning, match="ended after 6 epochs and goes on to 7"):
        run(pixels, tmp_path / "b", epochs=7, resume=True)
    about = checkpoint.read(tmp_path / "b" / checkpoint.NAME)[1]
    assert [stage["after"] for stage in about["went_on"]] == [3, 6]


def test_fewer_epochs_than_are_done_are_refused(pixels, tmp_path):
    run(pixels, tmp_path)
    message = r"3 epochs are done, and epochs=2 asks for fewer; ask for more than 3 to go on, for"
    with pytest.raises(CheckpointError, match=message):
        run(pixels, tmp_path, epochs=2, resume=True)


def test_a_run_that_has_not_ended_has_its_epochs(pixels, tmp_path):
    with pytest.raises(StopError):
        run(pixels, tmp_path, callbacks=[stopper(2)])
    for epochs in (1, 4):
        message = f"its epochs is 3, and here it is {epochs}; end it with epochs=3 and then ask"
        with pytest.raises(CheckpointError, match=message):
            run(pixels, tmp_path, epochs=epochs, resume=True)


def test_patience_counts_anew_and_the_best_of_all_stays_the_best(pixels, tmp_path):
    """By steps of 0.3 as above: best is 0.9 after 3 epochs, and 5 are done when patience ends."""
    how = {"batch_size": 50, "lr": 0.3, "schedule": train.constant, "validation": pixels}
    how |= {"patience": 2, "epochs": 20}
    run(pixels, tmp_path, Wandering(), **how)
    model = Wandering()
    _, history = run(pixels, tmp_path, model, **how | {"epochs": 5}, resume=True)  # as many as done
    assert (len(history), model.w.item()) == (5, pytest.approx(0.9))
    with pytest.warns(UserWarning, match="ended after 5 epochs and goes on to 9"):
        _, history = run(pixels, tmp_path, model, **how | {"epochs": 9}, resume=True)
    assert [line.validation for line in history[5:]] == pytest.approx([0.8, 1.1])  # from 1.5 on
    assert model.w.item() == pytest.approx(0.9)


def test_other_data_are_noticed(pixels, tmp_path):
    run(pixels, tmp_path)
    other = pixels.clone()
    other[3, 2] ^= 1
    with pytest.raises(CheckpointError, match="its rows is"):
        run(other, tmp_path, resume=True)


def test_another_version_of_torch_is_said(pixels, tmp_path, monkeypatch):
    run(pixels, tmp_path)
    monkeypatch.setattr(torch, "__version__", "9.9")
    with pytest.warns(UserWarning, match="not bit for bit"):
        run(pixels, tmp_path, resume=True)


def test_a_full_disk_leaves_the_last_good_checkpoint(pixels, tmp_path):
    """The system refuses to let a file grow beyond a limit, in the middle of writing it."""
    with pytest.raises(StopError):
        run(pixels, tmp_path, callbacks=[stopper(2)])
    path = tmp_path / checkpoint.NAME
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match=r"could not write .* bytes .* is as it was.*resume=True"):
            run(pixels, tmp_path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [checkpoint.NAME, "history.csv"]
    model, _ = run(pixels, tmp_path, resume=True)
    assert torch.equal(weights(model), weights(run(pixels, None)[0]))


def test_there_is_no_pickle_in_it(pixels, tmp_path):
    """safetensors and JSON: a header of JSON, then the tensors' bytes and nothing else."""
    run(pixels, tmp_path)
    content = (tmp_path / checkpoint.NAME).read_bytes()
    header = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + header])
    json.loads(entries.pop("__metadata__")["about"])
    sizes = {"U8": 1, "F32": 4}
    total = sum(sizes[e["dtype"]] * math.prod(e["shape"]) for e in entries.values())
    assert total == len(content) - 8 - header
