"""`Playground` from Python's side: its data, its tasks, its poster, and what it refuses."""

import gzip
import importlib.util
import json
import zlib
from pathlib import Path

import pytest
import torch
from ipywidgets.embed import dependency_state

from vaelib import course, data
from vaelib.course.figures import Playground
from vaelib.course.figures.figure import script
from vaelib.course.figures.playground import TASKS, small_digits
from vaelib.course.figures.poster import poster

ROOT = Path(__file__).resolve().parent.parent


def unpacked(packed, dtype=torch.uint8):
    return torch.frombuffer(bytearray(zlib.decompress(packed)), dtype=dtype).view(-1, 196)


def test_the_digits_are_means_of_four_pixels():
    grey, held_out, labels = small_digits()
    digits = data.digits()
    assert (len(grey), len(held_out)) == (3000, 100)
    image = digits.train[41].view(28, 28)
    for row, column in ((5, 6), (9, 7), (0, 13)):
        four = image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].float().mean()
        assert grey[41, 14 * row + column] == four.round()
    assert torch.equal(labels, digits.test_labels[:100])
    assert set(labels.tolist()) == set(range(10))
    assert set(held_out.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(held_out, small_digits()[1])  # one draw, always the same


def test_the_page_gets_each_byte():
    figure = Playground()
    grey, held_out, labels = small_digits()
    assert torch.equal(unpacked(figure.pixels.images), grey)
    assert torch.equal(unpacked(figure.pixels.held_out), held_out.byte())
    assert figure.labels == labels.tolist()


def test_what_the_first_load_costs():
    """The images are a model of their own, which is fetched later: they are not in the figure's."""
    figure = Playground()
    states = dependency_state([figure], drop_defaults=False)
    mine = states[figure.model_id]
    assert mine.get("buffers", []) == []
    assert mine["state"]["pixels"] == f"IPY_MODEL_{figure.pixels.model_id}"
    assert 190_000 < len(figure.pixels.images) < 215_000
    told = json.dumps({k: v for k, v in mine["state"].items() if k != "_esm"}).encode()
    assert len(gzip.compress(told)) < 12_000
    assert len(gzip.compress(figure._esm.encode())) < 24_000


def test_tasks_by_name_and_of_ones_own():
    mine = {"task": "Look.", "answer": "Seen."}
    assert Playground(tasks=["kl", mine]).tasks == [TASKS["kl"], mine]
    assert [*Playground().tasks] == [TASKS["mean"]]
    with pytest.raises(ValueError, match="no task 'klo'; there are mean, kl, pixels"):
        Playground(tasks=["klo"])


def rows(n=20, **options):
    return torch.randint(0, 2, (n, 196), generator=torch.Generator().manual_seed(0), **options)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((rows().byte(), None, None), "together"),
        ((rows().float(), rows(), torch.zeros(20)), "uint8, 0 to 255, got torch.float32"),
        (
            (rows().byte()[:, :100], rows(), torch.zeros(20)),
            r"images as \[n, 196\].*got \[20, 100\]",
        ),
        ((rows(19).byte(), rows(), torch.zeros(20)), r"20 of them at least, got \[19, 196\]"),
        ((rows().byte(), 255 * rows(), torch.zeros(20)), "held_out of 0 and 1"),
        ((rows().byte(), rows(), torch.zeros(19)), "for each of the 20 held-out"),
        ((rows().byte(), rows(), torch.full((20,), 10)), "from 10 to 10"),
    ],
)
def test_what_it_refuses(given, says):
    with pytest.raises((ValueError, TypeError), match=says):
        Playground(*given)


def test_images_of_ones_own(monkeypatch):
    """Another network, so another poster; here it trains shortly."""
    monkeypatch.setattr("vaelib.course.figures.poster.IMAGES", 2000)
    grey, held_out, labels = small_digits()
    figure = Playground(255 - grey[:500], 1 - held_out, labels, seed=3)
    assert figure.poster["seen"] == 2000
    assert figure.poster["points"][-1]["log_p"] > figure.poster["points"][0]["log_p"] + 20
    ink = [sum(int(c, 16) for c in p["tiles"]) for p in (figure.poster, Playground().poster)]
    assert ink[0] > 2 * ink[1]  # the ground is black now
    assert figure.still() is not None


def test_the_poster_is_a_record():
    record = course.recorded("playground")
    assert record["command"] == "python benchmarks/playground.py"
    assert record.keys() >= {"commit", "device", "versions", "date", "seed", "poster"}
    assert not record["tree_changed"]
    seen = record["poster"]
    assert Playground().poster == seen
    assert seen["seen"] == seen["points"][-1]["seen"] == 80_000
    assert len(seen["tiles"]) == 12 * 12 * 196
    assert len(seen["loc"]) == len(seen["scale"]) == 200
    for point in seen["points"]:
        assert point["elbo"] < point["log_p"]
    assert seen["points"][-1]["elbo"] > -47.5


@pytest.mark.soak  # a quarter of a minute, for a poster that is stored
def test_the_poster_comes_out_again():
    """Another BLAS moves the means by tenths of a nat."""
    spec = importlib.util.spec_from_file_location("p", ROOT / "benchmarks" / "playground.py")
    assert spec is not None
    record = course.recorded("playground")
    images, held_out, _ = small_digits()
    again = poster(images, held_out, seed=record["seed"])
    for old, new in zip(record["poster"]["points"][3:], again["points"][3:], strict=True):
        assert new == pytest.approx(old, abs=1.5)


def test_a_module_as_text_has_no_exports():
    """A classic worker can run it; the figure's own module has its exports."""
    esm = script("playground")
    (line,) = [line for line in esm.splitlines() if line.startswith("const WORKER = ")]
    worker = json.loads(line.removeprefix("const WORKER = ").removesuffix(";"))
    assert "function gradient(" in worker
    assert not [text for text in worker.splitlines() if text.startswith(("export", "import"))]
    assert worker == "\n".join(
        text.removeprefix("export ") for text in script("playground_worker").split("\n")
    )
