"""vaelib.data.examples: the causes are those that are said, and files give the same data."""

import csv
import math
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from vaelib import data
from vaelib.data import examples


@pytest.fixture(scope="module")
def painted():
    return examples.painted(500)


def within(counts, p):
    """All of the counts of a uniform draw within 5 standard deviations of what is expected."""
    n = counts.sum()
    return bool((np.abs(counts - n * p) < 5 * math.sqrt(n * p * (1 - p))).all())


def test_the_noise_of_painted_digits_has_three_bits_of_entropy(painted):
    """Eight neighbouring levels, each as likely as another, given all else: log2 8 = 3.

    Uniform within 5 σ over all values, for each channel, and whether dark or bright; independent of
    its neighbours: of the 64 pairs of noise one is as frequent as another. (Pairs of two that are
    alike overlap with the next pair, so that theirs is a bound of 4.5 σ.)
    """
    assert (painted.images.shape, painted.images.dtype) == ((500, 3, 32, 32), torch.uint8)
    noise = painted.images.int() - painted.clean.int()  # no wrapping around
    assert (int(noise.min()), int(noise.max())) == (0, 7)
    assert painted.clean.min() >= 16
    assert painted.images.max() <= 239  # away from 0 and 255 too, where the last levels are
    counts = np.bincount(noise.flatten().numpy(), minlength=8)
    assert within(counts, 1 / 8)
    p = counts / counts.sum()
    # The entropy of n draws' shares lies below 3 by chi²(7) / (2 n log 2) bits: 7 on average, and
    # above 50 once in 10⁸ cases.
    assert 0 <= 3 + (p * np.log2(p)).sum() < 50 / (2 * counts.sum() * math.log(2))
    for channel in range(3):
        assert within(np.bincount(noise[:, channel].flatten().numpy()), 1 / 8)
    for part in painted.clean < 80, painted.clean > 160:
        assert within(np.bincount(noise[part].numpy()), 1 / 8)
    for a, b in (
        (noise[..., 1:], noise[..., :-1]),
        (noise[..., 1:, :], noise[..., :-1, :]),
        (noise[:, 1:], noise[:, :-1]),
        (noise[1:], noise[:-1]),
    ):
        assert within(np.bincount((8 * a + b).flatten().numpy(), minlength=64), 1 / 64)


def test_one_logistic_cannot_describe_this_noise():
    """However well it knows the picture: 3.308 bits, and not 3 (the storyboard's 3.31).

    Level v has sigmoid((v + ½ - m) / s) - sigmoid((v - ½ - m) / s). The best m is in the middle,
    by symmetry; of the bits the second difference in log s is positive all along, so that the best
    of a fine grid is the best.
    """
    levels = np.arange(8) - 3.5

    def bits(s, m=0.0):
        def below(v):
            return 1 / (1 + np.exp(-(v - m) / s))

        return -np.mean(np.log2(below(levels + 0.5) - below(levels - 0.5)))

    scales = np.geomspace(0.5, 20, 2000)
    values = np.array([bits(s) for s in scales])
    assert (np.diff(values, 2) > 0).all()
    best = scales[values.argmin()]
    assert values.min() == pytest.approx(3.3082, abs=1e-4)
    assert best == pytest.approx(1.38, abs=0.01)
    assert all(bits(best, m) > values.min() for m in (-1, -0.1, 0.1, 1))


def test_painted_digits_are_those_of_their_factors(painted):
    """Hue, brightness and light are read off the clean picture by other means."""
    hue, paper, brightness, slope = painted.factors.T
    for name, low, high in (
        (hue, 0, 1), (paper, 0, 1), (brightness, 0.35, 0.75), (slope, -0.3, 0.3)
    ):  # fmt: skip
        assert low <= name.min() < low + 0.02 * (high - low) * 2
        assert high - 0.04 * (high - low) < name.max() <= high
    colour = (painted.clean.double() - 16) / 216
    # Paper without ink: the corners of 2 pixels, in which no digit reaches; the middle of the top.
    top = colour[:, :, 0]
    across = torch.linspace(-1, 1, 32).double()
    fit = (top @ across) / (across @ across) / top.mean(-1)  # of the line through the channel
    assert torch.allclose(fit, slope.double()[:, None].expand(-1, 3), atol=0.02)
    middle = top.mean(-1)
    assert torch.allclose(middle.amax(1) / brightness, torch.ones(500).double(), atol=0.13)
    wave = torch.exp(2j * math.pi * torch.arange(3) / 3)
    for pixels, angle, atol in (
        (middle, paper, 0.01),
        (colour[:, :, 2:-2, 2:-2].flatten(2)[torch.arange(500), :, ink_of(painted)], hue, 0.02),
    ):
        found = torch.angle((pixels * wave).sum(1)) / (2 * math.pi)
        error = (found - angle + 0.5) % 1 - 0.5
        assert error.abs().max() < atol
    assert len(painted.labels.bincount()) == 10


def ink_of(painted):
    """Where each digit is brightest, by the bundled pictures."""
    images = torch.cat([data.digits().train, data.digits().test])
    labels = torch.cat([data.digits().train_labels, data.digits().test_labels])
    chosen = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[:500]
    assert labels[chosen].tolist() == painted.labels.tolist()
    return images[chosen].argmax(1)


def test_instruments_are_a_linear_gaussian_model():
    """Means and covariances of 20,000 lines, each within 5 standard errors of what they are."""
    n = 20_000
    made = examples.instruments(n)
    assert (made.table.shape, made.causes.shape) == ((n, 6), (n, 2))
    assert made.variances.min() >= 0.05
    covariance = made.loadings @ made.loadings.T + made.variances.diag()
    table = made.table.double()
    error = table.mean(0) - made.mean
    assert (error.abs() < 5 * (covariance.diag() / n).sqrt()).all()
    found = torch.cov(table.T)
    spread = ((covariance.square() + covariance.diag().outer(covariance.diag())) / n).sqrt()
    assert ((found - covariance).abs() < 5 * spread).all()
    rest = table - made.mean - made.causes @ made.loadings.T  # the noise, whatever the causes
    noise = torch.cov(torch.cat([rest, made.causes], 1).T)[:6]
    expected = torch.cat([made.variances.diag(), torch.zeros(6, 2)], 1)
    scale = torch.cat([made.variances, torch.ones(2)])
    spread = ((expected.square() + made.variances.outer(scale)) / n).sqrt()
    assert ((noise - expected).abs() < 5 * spread).all()
    units = covariance.diag().sqrt()
    assert units.max() > 100 * units.min()  # a model that does not standardize sees one of them


def test_holes_are_anywhere():
    """Whatever stands in a cell; and no row is empty."""
    table = examples.instruments(5000).table
    holed = examples.holes(table, 0.3)
    lost = holed.isnan()
    assert not lost.all(1).any()
    assert torch.equal(holed[~lost], table[~lost])
    # 0.3 of all cells, but for rows that would be empty: (0.3 - 0.3⁶) / (1 - 0.3⁶) = 0.2995.
    p = (0.3 - 0.3**6) / (1 - 0.3**6)
    assert lost.double().mean() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / lost.numel()))
    above = table > table.median(0).values
    for column in range(6):
        a, b = (lost[side, column].double() for side in (above[:, column], ~above[:, column]))
        assert (a.mean() - b.mean()).abs() < 5 * math.sqrt(p * (1 - p) * (1 / len(a) + 1 / len(b)))
    assert not examples.holes(table, 0.0).isnan().any()
    with pytest.raises(ValueError, match=r"holes: expected a share below 1, got 1\.0"):
        examples.holes(table, 1.0)
    with pytest.raises(ValueError, match=r"share as a finite number of at least 0, got -1"):
        examples.holes(table, -1.0)


def test_photons_have_the_mean_and_the_variance_of_their_rates():
    made = examples.photons(1000)
    assert (made.counts.dtype, made.counts.shape) == (torch.int64, (1000, 28, 28))
    counts, rates = made.counts.double(), made.rates.double()
    assert (float(made.rates.min()), float(made.rates.max())) == pytest.approx((0.1, 4.1))
    for part in rates < 0.2, rates > 3:
        rate, error = rates[part], (counts - rates)[part]
        assert abs(error.mean()) < 5 * (rate.mean() / len(rate)).sqrt()
        # (x - r)² has the mean r, and the variance 2 r² + r, of a Poisson distribution.
        spread = ((2 * rate.square() + rate).mean() / len(rate)).sqrt()
        assert abs(error.square().mean() - rate.mean()) < 5 * spread


def test_strangers_are_what_they_are_called():
    made = examples.strangers(300, odd=80)
    assert Counter(made.kinds) == {"digit": 220} | dict.fromkeys(examples.ODDITIES, 20)
    digits = data.digits()
    pictures = digits.test.reshape(-1, 28, 28)
    back = {
        "digit": lambda image: image,
        "inverted": lambda image: 255 - image,
        "rotated": lambda image: image.rot90(-1),
    }
    for image, kind, label in zip(*made, strict=True):
        if kind == "blank":
            assert image.max() == 0
            continue
        if kind == "shifted":  # what is left of it is a digit's, 7 rows and columns further up
            assert image[:7].max() == image[:, :7].max() == 0
            same = (pictures[:, :21, :21] == image[7:, 7:]).all((1, 2))
        else:
            same = (pictures == back[kind](image)).all((1, 2))
        assert label in digits.test_labels[same]


def test_the_same_arguments_make_the_same_data():
    for make in examples.painted, examples.photons, examples.instruments, examples.strangers:
        first, again, other = make(40), make(40), make(40, seed=1)
        assert torch.equal(first[0], again[0])
        assert not torch.equal(first[0], other[0])


@pytest.mark.parametrize(
    ("make", "n", "message"),
    [
        (examples.painted, 10_001, r"expected n ≤ 10,000, got 10001"),
        (examples.photons, 0, r"expected n ≥ 1, got 0"),
        (examples.instruments, 0, r"instruments: expected n ≥ 1, got 0"),
        (examples.strangers, 2001, r"strangers: expected n ≤ 2000, got 2001"),
        (examples.strangers, 39, r"strangers: expected n ≥ 40, got 39"),
    ],
)
def test_numbers_that_cannot_be(make, n, message):
    with pytest.raises(ValueError, match=message):
        make(n)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    examples.write(folder, n=60)
    return folder


def test_files_hold_what_the_functions_make(files):
    """Read by other means than ours."""
    made = examples.painted(60)
    for i in range(60):
        image = np.asarray(Image.open(files / f"painted/{i:04}.png"))
        np.testing.assert_array_equal(image, made.images[i].permute(1, 2, 0).numpy())
    with open(files / "table.csv", newline="") as file:
        names, *lines = csv.reader(file)
    table = examples.instruments(60)
    assert tuple(names) == table.names
    np.testing.assert_array_equal(np.array(lines, np.float32), table.table.numpy())
    with open(files / "holes.csv", newline="") as file:
        lines = [[cell or "nan" for cell in line] for line in list(csv.reader(file))[1:]]
    np.testing.assert_array_equal(np.array(lines, np.float32), examples.holes(table.table).numpy())
    counts = np.load(files / "photons.npy")
    assert (counts.dtype, counts.tolist()) == (np.int64, examples.photons(60).counts.tolist())
    found = {}
    for path in sorted((files / "classes").glob("*/*.png")):
        found.setdefault(int(path.parent.name), []).append(np.asarray(Image.open(path)).flatten())
    images, labels, *_ = data.digits()
    for k in range(10):
        expected = images[:60][labels[:60] == k]
        np.testing.assert_array_equal(np.array(found[k]), expected.numpy())
    new = examples.strangers(60)
    for path, image, kind in zip(
        sorted((files / "new").iterdir()), new.images, new.kinds, strict=True
    ):
        assert path.stem.endswith(f"-{kind}")
        np.testing.assert_array_equal(np.asarray(Image.open(path)), image.numpy())


def test_own_and_same_read_the_files(files):
    """What each of the kinds is."""
    expected = {
        "painted": ("pixels", data.Pictures(32, 32, 3), 0),
        "classes": ("pixels", data.Pictures(28, 28), 10),
        "table.csv": ("numbers", data.Columns(examples.instruments(1).names), 0),
        "holes.csv": ("numbers", data.Columns(examples.instruments(1).names), 0),
        "photons.npy": ("counts", data.Pictures(28, 28), 0),
        "new": ("pixels", data.Pictures(28, 28), 0),
    }
    assert {path.name for path in files.iterdir()} == set(expected)
    for name, (kind, layout, classes) in expected.items():
        found = data.own(files / name)
        assert (found.kind, found.layout, len(found.classes)) == (kind, layout, classes)
        assert (len(found.train), len(found.test)) == (54, 6)
        rows = data.same(files / name, layout, kind)
        assert rows.shape == (60, layout.values)
        labels = data.labels_of(files / name, found.classes)
        assert (labels is None) == (not classes)


def test_nothing_is_written_over(files):
    before = sorted(files.rglob("*"))
    with pytest.raises(FileExistsError, match=r"painted: is there already; choose another folder"):
        examples.write(files)
    assert sorted(files.rglob("*")) == before
