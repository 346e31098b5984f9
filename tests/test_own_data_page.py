"""The gallery of own data: each card's commands and Python run as printed, its words and numbers.

The short tests run them on less: fewer data, an epoch, by what `less` puts in; ``-m soak`` runs the
whole of each.
"""

import json
import re
import sys

import pytest
import torch
from chapters import ROOT

from vaelib.data import examples

sys.path.append(str(ROOT / "benchmarks"))
import own_data_cards

PAGE = ROOT / "book" / "own_data.md"
CARDS = own_data_cards.cards()
STORED = json.loads((ROOT / "benchmarks" / "results" / "own_data.json").read_text())
NAMES = [
    *("colour", "table", "counts", "holes", "labels", "odd", "codes"),
    *("network", "likelihood", "device", "onnx"),
]


def less(kind, block):
    """One epoch for each training, and nothing else changed."""
    if kind == "python":
        block = re.sub(r"\bepochs=\d+", "epochs=1", block)
        return re.sub(r'\bfit\((?!.*epochs)("[^)]*)\)', r"fit(\1, epochs=1)", block)
    lines = []
    for line in block.splitlines():
        line = re.sub(r" --epochs \d+", "", line)
        short = " train " in line and "--resume" not in line
        lines.append(f"{line} --epochs 1" if short else line)
    return "\n".join(lines) + "\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sys.modules.pop("mine", None)
    yield tmp_path
    sys.modules.pop("mine", None)


def needed(name, change):
    """A run that another card leaves in the folder."""
    if name == "onnx":
        own_data_cards.run_card(CARDS["odd"], change=change, python=False)


def test_there_are_eleven_cards():
    assert [*CARDS] == NAMES
    assert set(own_data_cards.MEASURE) == set(NAMES)


def test_less_is_less():
    """What the short tests change is the number of epochs, in each call that trains."""
    assert less("python", 'run = fit("a.csv", latent=2)\n') == (
        'run = fit("a.csv", latent=2, epochs=1)\n'
    )
    assert less("python", 'fit("a", epochs=40)') == 'fit("a", epochs=1)'
    assert less("sh", "python -m vaelib train --data a --epochs 9 --folder b\n") == (
        "python -m vaelib train --data a --folder b --epochs 1\n"
    )
    assert less("sh", "python -m vaelib sample b\n") == "python -m vaelib sample b\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_card_runs_as_it_is_printed(name, here, capsys):
    pytest.importorskip("sklearn") if name == "codes" else None
    pytest.importorskip("onnxscript") if name == "onnx" else None
    examples.write(".", n=120)
    needed(name, less)
    found = own_data_cards.run_card(CARDS[name], change=less)
    MADE[name](found, here)


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_a_whole_card_runs_as_it_is_printed(name, here, capsys):
    examples.write(".")
    needed(name, lambda _, block: block)
    MADE[name](own_data_cards.run_card(CARDS[name]), here)


def finite(*tensors):
    assert all(bool(torch.as_tensor(t).isfinite().all()) for t in tensors)


def colour(names, here):
    assert names["new"].shape == (8, 3 * 32 * 32)
    finite(names["again"], names["new"])
    assert (here / "colour" / "history.csv").exists()


def table(names, here):
    assert names["codes"].shape[1] == 2
    assert bool((names["noise"] > 0).all())


def counts(names, here):
    assert bool((names["rate"] > 0).all())


def holes(names, here):
    filled = (here / "filled.csv").read_text()
    assert "nan" not in filled
    assert ",," not in filled
    finite(names["filled"])


def labels(names, here):
    assert torch.stack(names["grid"]).shape == (10, 8, 784)
    assert (here / "hands" / "samples.png").exists()


def odd(names, here):
    assert len(names["odd"]) == 10
    assert (here / "digits" / "scores.csv").exists()
    assert [*here.glob("digits/*.png")]


def codes(names, here):
    assert (here / "codes.csv").read_text().count("\n") in (121, 201)
    assert names["pipe"][0].transform(names["x_new"] / 255).shape == (2000, 16)


def network(names, here):
    assert (here / "mine" / "history.csv").exists()


def likelihood(names, here):
    assert (here / "wind" / "settings.json").exists()


def device(names, here):
    assert names["run"].model.training is False


def onnx(names, here):
    assert {path.name for path in (here / "model").iterdir()} >= {"encoder.onnx", "decoder.onnx"}


MADE = {
    made.__name__: made
    for made in (
        *(colour, table, counts, holes, labels, odd, codes, network, likelihood, device),
        onnx,
    )
}


@pytest.mark.parametrize("name", NAMES)
def test_a_card_is_short_and_has_all_of_its_parts(name):
    text = CARDS[name].text
    pictures = re.findall(r"```\{figure\} (\S+)\n:alt: ", text)
    assert len(pictures) >= 1
    assert all((PAGE.parent / picture).exists() for picture in pictures)
    assert "*You see*" in text
    assert "**Trap.**" in text
    for kind, block in CARDS[name].blocks():
        if kind == "python":
            assert len(block.splitlines()) <= (30 if name in {"network", "likelihood"} else 20)
            assert max(map(len, block.splitlines())) <= 60


@pytest.mark.parametrize("name", STORED["sentences"])
def test_each_measured_number_is_that_of_the_record(name):
    assert own_data_cards.sentences(STORED)[name] == STORED["sentences"][name]
    assert STORED["sentences"][name] in PAGE.read_text()


def test_no_card_says_a_number_that_was_not_measured():
    """After a tick stands a sentence of the record."""
    ticks = re.findall(r"✓ .+?(?=\n)", PAGE.read_text())
    assert len(ticks) >= 8
    for tick in ticks:
        assert any(tick.startswith(s) for s in STORED["sentences"].values()), tick


def test_the_page_is_no_longer_than_can_be_read():
    prose = re.sub(r"(?s)```(sh|python)\n.*?```|:alt:[^\n]*", "", PAGE.read_text())
    assert len(prose.split()) <= 1500
