"""data: the bundled digits are the right ones, binarization is exact, bad files are refused."""

import base64
import gzip
import hashlib
import json
import re

import numpy as np
import pytest
import torch

from vaelib import course, data
from vaelib.course import recordings
from vaelib.data import named

IMAGES = "01a649acf97bc53c9bbc1a378d3087f5a8f67ccf25746dab384bcbe11feed658"
LABELS = "e72996c710bf1af21bb8a23cdd1d782224270379d3bccd54d66aa2c07de97e75"


def test_digits_are_the_bundled_ones(digits):
    """Hashes of the arrays themselves, in the order of the file: the split is part of the data."""
    images = torch.cat([digits.train, digits.test]).numpy()
    labels = torch.cat([digits.train_labels, digits.test_labels]).numpy()
    assert images.shape == (10_000, 784)
    assert digits.train.shape == (8000, 784)
    assert images.dtype == labels.dtype == np.uint8
    assert hashlib.sha256(images.tobytes()).hexdigest() == IMAGES
    assert hashlib.sha256(labels.tobytes()).hexdigest() == LABELS


def test_no_image_is_in_both_parts(digits):
    train = {row.numpy().tobytes() for row in digits.train}
    assert not any(row.numpy().tobytes() in train for row in digits.test)


def test_what_chooses_comes_from_what_learns(digits):
    """Three parts of the same images; whatever is set aside, the test is the 2,000 of the file."""
    assert digits.validation.shape == (0, 784)
    assert digits.validation_labels.shape == (0,)
    for n in (1, 1_000, 7_999):
        parts = data.digits(validation=n)
        assert len(parts.train) == len(parts.train_labels) == 8_000 - n
        assert torch.equal(torch.cat([parts.train, parts.validation]), digits.train)
        labels = torch.cat([parts.train_labels, parts.validation_labels])
        assert torch.equal(labels, digits.train_labels)
        assert torch.equal(parts.test, digits.test)
        assert torch.equal(parts.test_labels, digits.test_labels)
    assert all(torch.equal(a, b) for a, b in zip(data.digits(0), digits, strict=True))


@pytest.mark.parametrize(
    ("validation", "error", "says"),
    [
        (8_000, ValueError, "validation below 8,000, so that something is left.*got 8,000"),
        (-1, ValueError, "validation ≥ 0, got -1"),
        (0.1, TypeError, "validation as a whole number ≥ 0, got 0.1"),
    ],
)
@pytest.mark.usefixtures("plain_errors")
def test_more_than_there_is_cannot_be_set_aside(validation, error, says):
    with pytest.raises(error, match=says):
        data.digits(validation=validation)


def test_dynamic_binarization_is_exact(generator):
    """P(1) = v / 255 for each of the 256 values, never at 0 and always at 255."""
    n = 40_000
    pixels = torch.arange(256, dtype=torch.uint8).repeat(n, 1)
    ones = data.binarize(pixels, "dynamic", generator=generator).mean(0)
    p = torch.arange(256) / 255
    # 256 comparisons at 4.5 σ: a false alarm in 1 of 600 seeds, and this seed is fixed.
    assert ((ones - p).abs() <= 4.5 * (p * (1 - p) / n).sqrt()).all()
    assert ones[0] == 0
    assert ones[255] == 1


def test_dynamic_binarization_follows_its_generator():
    pixels = torch.full((3, 50), 128, dtype=torch.uint8)
    first, again, other = (
        data.binarize(pixels, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_threshold_and_none():
    pixels = torch.arange(256, dtype=torch.uint8)[None]
    assert torch.equal(data.binarize(pixels, "threshold")[0], (torch.arange(256) >= 128).float())
    torch.testing.assert_close(data.binarize(pixels, "none")[0], torch.arange(256) / 255)


@pytest.mark.usefixtures("plain_errors")
def test_binarize_errors():
    with pytest.raises(TypeError, match=r"expected uint8 pixels from 0 to 255, got torch.float32"):
        data.binarize(torch.zeros(2, 784))
    with pytest.raises(ValueError, match=r"at least one image, got shape \(0, 784\)"):
        data.binarize(torch.zeros(0, 784, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"'dynamic', 'threshold', 'none'.*got 'static'"):
        data.binarize(torch.zeros(2, 784, dtype=torch.uint8), "static")


def test_fashion_mnist(fashion_mnist):
    assert fashion_mnist.train.shape == (60_000, 784)
    assert fashion_mnist.test.shape == (10_000, 784)
    assert torch.bincount(fashion_mnist.train_labels.int()).tolist() == [6000] * 10
    # Xiao et al. publish the mean and deviation of the grey values: 0.2860 and 0.3530.
    grey = fashion_mnist.train.double() / 255
    assert grey.mean().item() == pytest.approx(0.2860, abs=5e-5)
    assert grey.std().item() == pytest.approx(0.3530, abs=5e-5)


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return header + array.tobytes()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A tiny data set in IDX files, known to vaelib by the hashes of its decompressed bytes."""
    arrays = [np.arange(n * 4, dtype=np.uint8).reshape(n, 2, 2) for n in (3, 2)]
    labels = [np.arange(n, dtype=np.uint8) for n in (3, 2)]
    contents = [idx(a) for a in (arrays[0], labels[0], arrays[1], labels[1])]
    source = named._Source(
        "small", "http://localhost/", tuple(hashlib.sha256(c).hexdigest() for c in contents)
    )
    folder = tmp_path / "given"
    folder.mkdir()
    for file, content in zip(named._FILES, contents, strict=True):
        (folder / f"{file}.gz").write_bytes(gzip.compress(content))
    monkeypatch.setenv("VAELIB_DATA", str(folder))
    monkeypatch.setattr(named, "_DEBIAN", tmp_path / "debian")
    monkeypatch.setattr(named, "_cache", lambda: tmp_path / "cache")
    return source, folder, contents


def test_files_are_found_plain_and_compressed(small):
    source, folder, contents = small
    images = named._load(source)
    assert images.train.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert images.test_labels.tolist() == [0, 1]
    (folder / "train-images-idx3-ubyte.gz").unlink()
    (folder / "train-images-idx3-ubyte").write_bytes(contents[0])
    assert named._load(source).train.shape == (3, 4)


@pytest.mark.parametrize("damage", ["altered", "truncated", "half-written", "not gzip"])
def test_a_damaged_file_is_refused_by_name(small, damage):
    source, folder, contents = small
    path = folder / "t10k-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    path.write_bytes(
        {
            "altered": gzip.compress(contents[2][:-1] + b"\xff"),
            "truncated": gzip.compress(contents[2][:-1]),
            "half-written": whole[: len(whole) // 2],
            "not gzip": b"<html>404</html>",
        }[damage]
    )
    expected = f"{re.escape(str(path))}: .*SHA-256 {source.sha256[2]}, got .*replace or delete it"
    with pytest.raises(ValueError, match=expected):
        named._load(source)


def fake_download(monkeypatch, answer):
    import pooch

    def retrieve(url, known_hash, fname, path):
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(answer(url))

    monkeypatch.setattr(pooch, "retrieve", retrieve)


def test_a_download_is_verified_and_cached(small, monkeypatch, tmp_path):
    source, _, contents = small
    by_name = dict(zip(named._FILES, contents, strict=True))
    monkeypatch.delenv("VAELIB_DATA")
    fake_download(monkeypatch, lambda url: gzip.compress(by_name[url.split("/")[-1][:-3]]))
    assert named._load(source).train.shape == (3, 4)
    cached = sorted(p.name for p in (tmp_path / "cache" / "small").iterdir())
    assert cached == sorted(f"{file}.gz" for file in named._FILES)
    fake_download(monkeypatch, lambda _: pytest.fail("downloaded what is in the cache"))
    assert named._load(source).test.shape == (2, 4)


@pytest.mark.parametrize("answer", [b"", b"<html>login</html>", gzip.compress(b"other")[:-4]])
def test_a_bad_download_leaves_nothing_behind(small, monkeypatch, tmp_path, answer):
    source, *_ = small
    monkeypatch.delenv("VAELIB_DATA")
    fake_download(monkeypatch, lambda _: answer)
    with pytest.raises(ValueError, match=r"train-images.*SHA-256.*it was discarded"):
        named._load(source)
    assert list(tmp_path.glob("cache/small/*")) == []


def test_an_interrupted_download_leaves_nothing_behind(small, monkeypatch, tmp_path):
    source, *_ = small
    monkeypatch.delenv("VAELIB_DATA")

    def interrupted(url, known_hash, fname, path):
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pooch.retrieve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        named._load(source)
    assert list(tmp_path.glob("cache/small/*")) == []


def test_without_a_network_the_error_says_where_it_looked(small, monkeypatch):
    source, *_ = small
    monkeypatch.delenv("VAELIB_DATA")
    with pytest.raises(ConnectionError, match=r"small: expected it in \$VAELIB_DATA.*set VAELIB"):
        named._load(source)


def test_a_record_is_read_as_it_is(monkeypatch, tmp_path):
    """One without points, as benchmarks/gpu.py writes them, and one with pictures in a point."""
    (tmp_path / "results").mkdir()
    runs = {"command": "python gpu.py", "iwae": [{"k": 5, "log_evidence": -235.5}]}
    grey = base64.b64encode(bytes([0, 51, 255] + 781 * [0])).decode()
    for name, record in (("gpu", runs), ("points", {"points": [{"means": grey}, {}]})):
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(record))
    monkeypatch.setattr(recordings, "FOLDER", tmp_path / "results")
    assert course.recorded("gpu") == runs
    first, second = course.recorded("points")["points"]
    torch.testing.assert_close(first["means"][:, :4], torch.tensor([[0.0, 0.2, 1.0, 0.0]]))
    assert first["means"].shape == (1, 784)
    assert second == {}
    with pytest.raises(ValueError, match="no record 'ladder'; there are gpu, points"):
        course.recorded("ladder")
