"""Seven kinds of data in Python: from file to trained, scored, sampled, encoded, and back again."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaelib
from vaelib import data

SMALL = {"hidden": [16], "latent": 2, "epochs": 2, "batch_size": 16, "progress": False}
N, SIDE = 60, 16


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers():
    return np.random.default_rng(20261128)


def spots(channels=1):
    """Pictures of a bright square somewhere, uint8 [n, channels, side, side]."""
    source = numbers()
    pictures = source.integers(0, 60, (N, channels, SIDE, SIDE))
    for picture in pictures:
        row, column = source.integers(0, SIDE - 6, 2)
        picture[source.integers(channels), row : row + 6, column : column + 6] += 150
    return pictures.astype(np.uint8)


def folder(path, pictures, names=None):
    for i, picture in enumerate(pictures):
        there = Path(path) if names is None else Path(path) / names[i]
        there.mkdir(parents=True, exist_ok=True)
        mode = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
        Image.fromarray(mode).save(there / f"{i:03}.png")


def measurements(n=N):
    """Four columns of two causes, in units that are far apart."""
    source = numbers()
    causes = source.normal(size=(n, 2))
    table = causes @ source.normal(size=(2, 4)) + 0.3 * source.normal(size=(n, 4))
    return table * [1, 1000, 0.01, 5] + [0, 50, 3, -2]


def csv(path, table):
    lines = [",".join("" if math.isnan(v) else repr(float(v)) for v in row) for row in table]
    Path(path).write_text("\n".join(["mass,length,age,charge", *lines]) + "\n")


def grey(path):
    folder(path, spots())


def colour(path):
    folder(path, spots(3))


def floats(path):
    np.save(path, spots()[:, 0] / 255.0 * 3 - 1)


def counts(path):
    rates = spots()[:, 0] / 60.0
    np.save(path, numbers().poisson(rates))


def table(path):
    csv(path, measurements())


def labels(path):
    folder(path, spots(), ["cat" if i % 3 else "dog" for i in range(N)])


def holes(path):
    values = measurements()
    values[(numbers().random(values.shape) < 0.3) & (np.arange(4) > 0)] = np.nan
    csv(path, values)


# How each is written, its file, what the run then is, and options of its own.
KINDS = {
    "grey": (grey, "pictures", ("bernoulli", "pixels", 256), {}),
    "colour": (colour, "pictures", ("logistics", "pixels", 768), {"net": "conv"}),
    "floats": (floats, "a.npy", ("gaussian", "numbers", 256), {}),
    "counts": (counts, "a.npy", ("poisson", "counts", 256), {}),
    "table": (table, "a.csv", ("gaussian", "numbers", 4), {"net": "linear", "hidden": []}),
    "labels": (labels, "classes", ("bernoulli", "pixels", 256), {"condition": True}),
    "missing": (holes, "a.csv", ("gaussian", "numbers", 4), {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_from_file_to_trained_scored_sampled_encoded(name, here):
    write, path, (likelihood, kind, values), options = KINDS[name]
    write(path)
    run = vaelib.fit(path, folder="run", **SMALL | options)
    ours = run.settings
    assert (ours.likelihood, run.kind, run.layout.values) == (likelihood, kind, values)
    assert (len(run.test), len(run.history)) == (6, 2)
    assert ours.missing == (name == "missing")
    new = data.own(path)  # a Dataset, whose test is new data, with its labels
    noise = torch.Generator().manual_seed(3)
    codes = run.encode(new)
    assert codes.loc.shape == (6, 2)
    p = run.reconstruct(new, generator=noise)
    assert p.mean.shape == (6, values)
    label = "dog" if name == "labels" else None
    drawn = run.sample(5, label, generator=noise)
    assert drawn.shape == (5, values)
    assert run.decode(codes.loc[:1], label).mean.shape == (1, values)
    score = run.log_prob(new, samples=20)
    assert score.log_prob.shape == (6,)
    assert (score.elbo < score.log_prob + 5 * score.error + 1e-3).all()
    seen = (~new.test.isnan()).sum(1) if name == "missing" else values
    torch.testing.assert_close(score.bits, -score.log_prob / math.log(2) / seen)
    # What is missing, be it in the data or said by a mask, is filled in, and the rest is kept.
    mask = torch.ones(6, values, dtype=torch.bool)
    mask[:, 1] = False
    if name == "missing":
        mask &= ~new.test.isnan()
    filled = run.impute(new, mask, samples=20)
    own = new.test.float() / 255 if kind == "pixels" else new.test.float()
    assert filled.isfinite().all()
    assert torch.equal(filled[mask], own[mask])
    # And all of it comes back from the folder.
    again = vaelib.load("run")
    assert again.settings == ours
    assert [line.loss for line in again.history] == [line.loss for line in run.history]
    assert torch.equal(again.encode(path).loc, run.encode(path).loc)
    assert torch.equal(again.log_prob(new, samples=20).log_prob, score.log_prob)
    noise.manual_seed(3)
    assert torch.equal(again.reconstruct(new, generator=noise).mean, p.mean)
    assert torch.equal(again.sample(5, label, generator=noise), drawn)
    if name in ("table", "missing"):  # of the others it takes long
        assert "L_20" in str(run.evaluate(samples=20))
        assert str(again.evaluate(samples=20)) == str(run.evaluate(samples=20))
