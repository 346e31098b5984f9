"""Seven kinds of data on the command line: from a file to trained, evaluated, sampled, and used."""

import csv
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaelib
from vaelib import data
from vaelib.cli import main, pictures
from vaelib.data import Pictures
from vaelib.evaluate import Trust, table
from vaelib.run.settings import read_settings

N = 120  # of which 12 are held out, enough to know what is usual for the ink
# Three dimensions have no grid, whose exact evidence takes seconds.
SMALL = ["--hidden", "8", "--latent", "3", "--epochs", "2", "--quiet"]
LINEAR = ["--net", "linear", "--latent", "3", "--epochs", "2", "--quiet"]
COLUMNS = ["pressure", "mass", "count"]


def numbers():
    return np.random.default_rng(20261128)


def spots(channels=1):
    """uint8 [n, channels, 8, 8]: a bright square, in colour of one of the channels only."""
    source = numbers()
    images = source.integers(0, 40, (N, channels, 8, 8)).astype(np.uint8)
    for i, image in enumerate(images):
        row, column = source.integers(0, 5, 2)
        image[i % channels, row : row + 3, column : column + 3] += 200
    return images


def folder(path, images, classes=None):
    for i, image in enumerate(images):
        place = Path(path) / (classes[i] if classes else "")
        place.mkdir(parents=True, exist_ok=True)
        levels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
        Image.fromarray(levels).save(place / f"{i:03}.png")


def measured(holes=0.0):
    """Three columns of one cause, far from 0 in units of their own deviation."""
    source = numbers()
    cause = source.normal(size=(N, 1))
    rows = [1013, 70, 5] + cause * [4, -3, 0.5] + source.normal(size=(N, 3)) * [2, 1, 0.2]
    rows[source.random(rows.shape) < holes] = np.nan
    return rows


def write_table(path, rows, **words):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *words])
        for row, *more in zip(rows, *words.values(), strict=True):
            writer.writerow(["" if math.isnan(v) else repr(float(v)) for v in row] + more)


def read_table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


KINDS = {
    "grey": ("grey", lambda path: folder(path, spots())),
    "colour": ("colour", lambda path: folder(path, spots(3))),
    "floats": ("floats.npy", lambda path: np.save(path, spots()[:, 0] / 20.0 - 3)),
    "counts": ("counts.npy", lambda path: np.save(path, numbers().poisson(spots()[:, 0] / 40))),
    "table": ("table.csv", lambda path: write_table(path, measured())),
    "classes": ("classes", lambda path: folder(path, spots(), ["ant", "bee", "cow"] * (N // 3))),
    "holes": ("holes.csv", lambda path: write_table(path, measured(0.2))),
}
LIKELIHOODS = {
    "grey": "bernoulli",
    "colour": "logistics",
    "floats": "gaussian",
    "counts": "poisson",
    "table": "gaussian",
    "classes": "bernoulli",
    "holes": "gaussian",
}


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # A report's second proposal is a search of a second, and tested where reports are.
    monkeypatch.setattr(table, "trust", lambda *_, **__: Trust(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, True))


def trained(kind, *words, name="run"):
    """The path of data of a kind, and a run on them."""
    path, make = KINDS[kind]
    if not Path(path).exists():
        make(path)
    size = LINEAR if path.endswith(".csv") else SMALL
    assert main(["train", "--data", path, "--folder", name, *size, *words]) == 0
    return path


def out(capsys, *words):
    """What a command prints, which says in two lines or more what it has written."""
    capsys.readouterr()
    assert main([*words]) == 0
    said, _ = capsys.readouterr()
    assert said.count("\n") >= 2
    return said


def failing(capsys, *words):
    capsys.readouterr()
    assert main([*words]) == 1
    _, line = capsys.readouterr()
    assert line.count("\n") == 1
    return line


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("kind", KINDS)
def test_from_file_to_trained_evaluated_sampled_encoded_scored(kind, capsys):
    given = ["--condition"] if kind == "classes" else []
    path = trained(kind, *given)
    ours = read_settings(Path("run"))
    assert (ours.likelihood, ours.missing) == (LIKELIHOODS[kind], kind == "holes")
    assert ours.condition == bool(given)
    said = out(capsys, "evaluate", "run", "--samples", "5", "--json", "scores.json")
    values = 192 if kind == "colour" else 3 if path.endswith(".csv") else 64
    its = json.loads(Path("scores.json").read_text())["runs"]["run"]
    if kind != "holes":  # of which fewer values are seen
        bits = -its["ELBO"] / (math.log(2) * values)
        assert its["bits per dimension, ELBO"] == pytest.approx(bits, rel=1e-5)
    assert "bits per dimension" in said
    assert f"{'log p(x | class)' if given else 'log p(x)'} of" in said
    assert "samples of run" in out(capsys, "sample", "run", "--npz", "new.npz", "--number", "30")
    again = data.own("new.npz")  # what was drawn could be trained on
    assert (again.layout.values, again.kind) == (values, ours.kind)
    assert bool(again.classes) == bool(given)
    assert "nothing about the datum" in out(capsys, "encode", "run", "--data", path)
    codes = read_table("run/codes.csv")
    assert len(codes) == N
    label = ["class"] if given else []
    assert list(codes[0]) == ["name", *label, "z1", "z2", "z3", "sd1", "sd2", "sd3"]
    assert all(float(row["sd1"]) > 0 for row in codes)
    if given:
        assert all(row["name"].startswith(row["class"] + "/") for row in codes)
    assert "drawn again" in out(capsys, "reconstruct", "run", "--number", "5")
    said = out(capsys, "score", "run", "--data", path, "--samples", "5")
    scores = read_table("run/scores.csv")
    assert [row["name"] for row in scores] == [row["name"] for row in codes]
    log_p = [float(row["log_prob"]) for row in scores]
    assert f"log_prob from {min(log_p):.2f} to {max(log_p):.2f}" in said
    assert np.mean(log_p) > np.mean([float(row["elbo"]) for row in scores])
    assert np.isfinite([float(row["error"]) for row in scores]).all()
    if kind != "holes":
        for row in scores:
            bits = -float(row["log_prob"]) / (math.log(2) * values)
            assert float(row["bits"]) == pytest.approx(bits, rel=1e-4)


def test_a_row_of_a_table_is_of_the_picture_whose_name_it_has(capsys):
    """Each is encoded alone, from a folder of its own."""
    path = trained("colour")
    assert main(["encode", "run", "--data", path, "--out", "all.csv"]) == 0
    rows = {row["name"]: row for row in read_table("all.csv")}
    for name in ("007.png", "119.png"):
        Path("one").mkdir(exist_ok=True)
        Path("one/a.png").write_bytes(Path(path, name).read_bytes())
        assert main(["encode", "run", "--data", "one", "--out", "one.csv"]) == 0
        (alone,) = read_table("one.csv")
        for column in ("z1", "z2", "sd1", "sd2"):
            assert float(alone[column]) == pytest.approx(float(rows[name][column]), abs=1e-5)
    assert rows["007.png"]["z1"] != rows["119.png"]["z1"]


def test_samples_of_a_table_are_in_its_units(capsys):
    """After two epochs the first column, 1013 ± 4.5, is not at 0 and not at one deviation."""
    trained("table")
    said = out(capsys, "sample", "run", "--number", "400", "--out", "new.csv")
    assert "new.csv: 400 samples of run\n" in said
    drawn = np.array([[float(row[name]) for name in COLUMNS] for row in read_table("new.csv")])
    expected, deviation = measured().mean(0), measured().std(0)
    # 400 draws miss their mean by 3 / 20 deviations at most; two epochs leave the rest.
    assert (abs(drawn.mean(0) - expected) < deviation).all()
    assert (drawn.std(0) < 3 * deviation).all()
    assert list(read_table("new.csv")[0]) == COLUMNS
    line = failing(capsys, "sample", "run", "--out", "new.png")
    assert "--out new.png: expected a name that ends in .csv" in line


def test_counts_are_drawn_whole_and_a_sheet_says_what_is_white(capsys):
    path = trained("counts")
    said = out(capsys, "sample", "run", "--npz", "new.npz", "--out", "new.png", "--number", "9")
    drawn = np.load("new.npz")["images"]
    assert (drawn.shape, drawn.dtype, drawn.min() >= 0) == ((9, 8, 8), np.int64, True)
    white = int(re.search(r"white one of (\d+) or more", said)[1])
    assert white == max(1, np.quantile(drawn, 0.995, method="higher"))
    scale = 800 // 26
    small = picture("new.png")[::scale, ::scale]
    assert small[:8, :8].tolist() == np.rint(255 * np.clip(drawn[0] / white, 0, 1)).tolist()
    assert main(["reconstruct", "run", "--data", path, "--out", "rates.npy"]) == 0
    rates = np.load("rates.npy")
    assert rates.shape == (N, 8, 8)
    assert abs(rates.mean() / np.load(path).mean() - 1) < 0.5


def test_a_label_by_name_or_number_and_without_one_a_line_for_each_z(capsys):
    trained("classes", "--condition")
    model = vaelib.load("run").model
    seven = ["--number", "7", "--seed", "3", "--mean"]
    for word, name in (("bee", "a.npz"), ("1", "b.npz")):
        assert main(["sample", "run", "--label", word, "--npz", name, *seven]) == 0
    ours = np.load("a.npz")
    assert ours["labels"].tolist() == [1] * 7
    assert (ours["images"] == np.load("b.npz")["images"]).all()
    said = out(capsys, "sample", "run", "--npz", "c.npz", "--out", "c.png", *seven)
    assert "Each line is one z, drawn under each class: ant, bee, cow." in said
    grid = np.load("c.npz")
    assert grid["labels"].tolist() == [0, 1, 2] * 3
    assert picture("c.png").shape == (26 * 30, 26 * 30)  # three lines of three
    with torch.no_grad():
        z = model.sample(3, c=0, generator=torch.Generator().manual_seed(3))[1]
        for line in range(3):
            for label in range(3):
                p = model.decode(z[line : line + 1], c=label).mean[0]
                found = grid["images"][3 * line + label].ravel()
                assert np.abs(found - 255 * p.numpy()).max() <= 0.5 + 1e-4
    line = failing(capsys, "sample", "run", "--label", "dog")
    assert "--label: expected one of ant, bee, cow, or its number from 0 to 2, got 'dog'" in line
    folder("new", spots()[:3])
    line = failing(capsys, "encode", "run", "--data", "new")
    assert "say which, one of ant, bee, cow" in line
    assert main(["encode", "run", "--data", "new", "--label", "cow"]) == 0
    assert [row["class"] for row in read_table("run/codes.csv")] == ["cow"] * 3


def test_the_column_of_a_table_that_has_the_classes(capsys):
    kinds = ["emu", "owl"] * (N // 2)
    write_table("birds.csv", measured(), bird=kinds)
    words = ["train", "--data", "birds.csv", "--folder", "run", *LINEAR]
    assert "--labels bird takes it as labels" in failing(capsys, *words)
    assert main([*words, "--labels", "bird", "--condition"]) == 0
    assert main(["evaluate", "run", "--samples", "5"]) == 0
    assert main(["train", "--folder", "run", "--resume", "--quiet"]) == 0
    assert main(["score", "run", "--data", "birds.csv", "--samples", "5"]) == 0
    assert [row["class"] for row in read_table("run/scores.csv")] == kinds
    trained("table", name="other")
    line = failing(capsys, "sample", "other", "--label", "owl")
    assert "trained without labels" in line
    line = failing(capsys, "evaluate", "run", "other")
    assert "not to be compared with run" in line


@pytest.mark.filterwarnings("default")  # of few effective samples, after two epochs
@pytest.mark.parametrize("kind", ["holes", "table"])
def test_filled_values_stand_where_none_was_and_what_was_seen_stays(kind, capsys):
    """Of runs that were trained with holes and without."""
    path = trained(kind)
    write_table("new.csv", measured(0.3))
    said = out(capsys, "impute", "run", "--data", "new.csv", "--samples", "20")
    rows, filled = read_table("new.csv"), read_table("run/filled.csv")
    assert list(filled[0]) == COLUMNS
    assert len(filled) == N
    pairs = [(old[c], new[c]) for old, new in zip(rows, filled, strict=True) for c in COLUMNS]
    seen = [(float(old), float(new)) for old, new in pairs if old]
    assert all(new == np.float32(old) for old, new in seen)
    assert f"{len(pairs) - len(seen)} of {3 * N} values were missing" in said
    expected, deviation = measured().mean(0), measured().std(0)
    values = np.array([[float(row[c]) for c in COLUMNS] for row in filled])
    assert (abs(values - expected) < 6 * deviation).all()
    if kind == "table":
        line = failing(capsys, "impute", "run", "--data", path)
        assert "table.csv: nothing to fill, as no value is missing" in line


def test_the_odd_ones_and_what_a_blank_one_scores(capsys):
    """The printed score of a blank picture is the one that it gets in a folder of its own."""
    trained("grey", "--epochs", "30", "--batch-size", "16")
    new = spots()[:20]
    new[13][new[13] >= 200] -= 200  # the same ink in the corners, where there is seldom any
    new[13, 0, [0, 0, 0, 1, 7, 7, 7, 6, 6], [0, 1, 7, 0, 0, 7, 6, 7, 0]] += 200
    folder("new", new)
    said = out(capsys, "score", "run", "--data", "new", "--odd", "3", "--samples", "20")
    rows = {row["name"]: row for row in read_table("run/scores.csv")}
    line = r"^ +\d  (\S+) +oddness +(\S+) +log_prob +(\S+)( \*)?$"
    listed = [found[:3] for found in re.findall(line, said, re.MULTILINE)]
    most = sorted(rows, key=lambda name: -float(rows[name]["oddness"]))[:3]
    assert [name for name, *_ in listed] == most
    assert most[0] == "013.png"
    for name, oddness, log_p in listed:
        assert float(oddness) == pytest.approx(float(rows[name]["oddness"]), abs=0.006)
        assert float(log_p) == pytest.approx(float(rows[name]["log_prob"]), abs=0.006)
    common = np.bincount(new.ravel()).argmax()
    folder("blank", np.full((1, 1, 8, 8), common, np.uint8))
    score, above = re.search(
        r"commonest value, scores (\S+), above (\d+) of these 20", said
    ).groups()
    assert main(["score", "run", "--data", "blank", "--samples", "20", "--out", "b.csv"]) == 0
    blank = float(read_table("b.csv")[0]["log_prob"])
    assert float(score) == pytest.approx(blank, abs=0.006)
    assert int(above) == sum(blank > float(row["log_prob"]) for row in rows.values())
    sheet = picture("run/scores.png")
    assert (sheet[8, 8] == new[13][0, 0, 0]).all()  # the first picture, after a margin of 8


def test_few_held_out_data_and_a_table_are_ranked_by_log_p_alone(capsys):
    trained("table")
    said = out(capsys, "score", "run", "--odd", "2", "--samples", "5")
    assert "Oddness is minus log_prob here" in said
    rows = read_table("run/scores.csv")
    assert all(float(row["oddness"]) == -float(row["log_prob"]) for row in rows)
    assert not Path("run/scores.png").exists()


def test_a_sheet_of_pairs_has_each_picture_above_its_own(capsys):
    path = trained("colour")
    assert main(["reconstruct", "run", "--data", path, "--number", "2", "--out", "a.png"]) == 0
    sheet = picture("a.png")
    scale = 800 // 19  # two of 8 pixels and a line of 3 between
    small = sheet[::scale, ::scale]
    assert small.shape == (17, 19, 3)
    images = spots(3).transpose(0, 2, 3, 1)
    assert (small[:8, :8] == images[0]).all()
    assert (small[:8, 11:] == images[-1]).all()  # evenly from first to last
    assert (small[8] == 128).all()
    assert main(["reconstruct", "run", "--data", path, "--out", "all.npy"]) == 0
    assert np.load("all.npy").shape == (N, 3, 8, 8)


def test_channels_are_colours_and_what_is_missing_is_grey():
    layout = Pictures(2, 1, channels=3)
    rows = torch.tensor([[1.0, 0.0, 0.0, 0.5, math.nan, 2.0]])
    levels = pictures.as_levels(rows, layout, pictures.shades(rows, "pixels"))
    assert levels.tolist() == [[[[255, 0, 128]], [[0, 128, 255]]]]
    two = pictures.as_levels(rows[:, :4], Pictures(2, 1, 2), pictures.Shades(0.0, 1.0, ""))
    assert two.tolist() == [[[[255], [0]], [[0], [128]]]]


def test_the_shades_of_numbers():
    rows = torch.tensor([[-3.0, 1.0, math.nan]])
    assert pictures.shades(rows, "numbers").words == "black is -2.98 or less, white is 0.98 or more"
    assert pictures.shades(rows.abs() / 3, "numbers")[:2] == (0.0, 1.0)
    assert pictures.shades(torch.full((1, 4), 7.0), "numbers")[:2] == (7.0, 8.0)
    assert pictures.shades(torch.zeros(1, 4), "counts")[:2] == (0.0, 1.0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["encode", "run", "--data", "nowhere"], r"nowhere"),
        (["encode", "run", "--data", "colour"], r"colour: expected grey pictures of 8 x 8"),
        (["encode", "run", "--data", "table.csv"], r"table.csv: expected grey pictures .* a table"),
        (["encode", "run", "--out", "a.txt"], r"--out a.txt: expected a name that ends in .csv"),
        (["reconstruct", "run", "--out", "a.csv"], r"expected a name that ends in .png or .npy"),
        (["score", "run", "--label", "3"], r"trained without labels"),
        (["score", "run", "--device", "cuda:7"], r"--device cuda:7: torch sees"),
        (["impute", "run", "--data", "grey"], r"nothing to fill"),
        (["export", "nowhere"], r"nowhere/settings.json: not found"),
        (["examples", "--folder", "made"], r"made/table.csv: is there already; choose another"),
    ],
)
def test_a_mistake_is_one_line_with_its_remedy(words, says, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trained("grey")
    for kind in ("colour", "table"):
        path, make = KINDS[kind]
        make(path)
    Path("made").mkdir()
    Path("made/table.csv").write_text("1\n")
    assert re.search(says, failing(capsys, *words))


def test_examples_can_be_trained_on_as_they_say(capsys, monkeypatch):
    """Each command that it prints is read, and each set is a set of its kind."""
    from vaelib.cli.parser import parser
    from vaelib.data import examples

    monkeypatch.setattr(examples.write, "__kwdefaults__", {"n": 60})  # 2,000 take 5 s to write
    said = out(capsys, "examples", "--folder", "made")
    commands = [line.split()[3:] for line in said.splitlines() if "python -m vaelib" in line]
    assert len(commands) == 10
    kinds = {}
    for words in commands:
        given = vars(parser().parse_args(words))
        if words[0] == "train":
            its = data.own(given["data"])
            kinds[Path(given["data"]).name] = (type(its.layout).__name__, its.kind)
        elif "data" in given:
            assert Path(given["data"]).exists()
    assert kinds == {
        "painted": ("Pictures", "pixels"),
        "classes": ("Pictures", "pixels"),
        "table.csv": ("Columns", "numbers"),
        "holes.csv": ("Columns", "numbers"),
        "photons.npy": ("Pictures", "counts"),
    }
