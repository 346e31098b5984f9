"""data.own: arrays keep their values, their shape and type say what they are."""

import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from vaelib import data


@pytest.fixture
def random():
    return np.random.default_rng(20260102)


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def npy(path, array):
    np.save(path, array)
    return path


def together(found):
    return torch.cat([torch.as_tensor(found.train[:]), torch.as_tensor(found.test[:])])


GREY = np.full((5, 4, 4), 9, np.uint8)
ACCEPTED = (
    r"expected an array \[n, height, width\], \[n, channels, height, width\] or \[n, values\]"
)


@pytest.mark.parametrize("layout", ["npz with a split", "npz", "data in npz", "npy", "array"])
def test_arrays(layout, random, tmp_path):
    images = random.integers(0, 256, (40, 3, 5), dtype=np.uint8)
    held_out = [13, 27, 38, 39]
    if layout == "npz with a split":
        source = npz(tmp_path / "a.npz", train=images[:35], test=images[35:])
        held_out = [35, 36, 37, 38, 39]
    elif layout == "array":
        source = images
    else:
        name = "data" if layout == "data in npz" else "images"
        write = npy if layout == "npy" else lambda p, a: npz(p, **{name: a})
        source = write(tmp_path / f"a.{layout[-3:]}", images)
    found = data.own(source)
    assert found.test.tolist() == images[held_out].reshape(len(held_out), -1).tolist()
    assert found.train.tolist() == np.delete(images, held_out, 0).reshape(-1, 15).tolist()
    assert found.layout == data.Pictures(3, 5)
    assert bool(found.notes) == (len(held_out) == 4)


@pytest.mark.parametrize(
    ("array", "kind", "dtype", "layout"),
    [
        (GREY, "pixels", torch.uint8, data.Pictures(4, 4)),
        (np.full((5, 3, 6, 7), 9, np.uint8), "pixels", torch.uint8, data.Pictures(6, 7, 3)),
        (np.full((5, 4, 6, 7), 9, np.uint8), "pixels", torch.uint8, data.Pictures(6, 7, 4)),
        (np.full((5, 49), 9, np.uint8), "pixels", torch.uint8, data.Pictures(7, 7)),
        (np.full((5, 50), 9, np.uint8), "pixels", torch.uint8, data.Pictures(1, 50)),
        (GREY / 8, "numbers", torch.float32, data.Pictures(4, 4)),
        (np.full((5, 3, 6, 7), -0.5, "f2"), "numbers", torch.float32, data.Pictures(6, 7, 3)),
        (np.full((5, 9, 12, 12), -0.5), "numbers", torch.float32, data.Pictures(12, 12, 9)),
        (GREY.astype(">i8"), "counts", torch.int64, data.Pictures(4, 4)),
        (GREY.astype("u2"), "counts", torch.int64, data.Pictures(4, 4)),
        (np.full((5, 1, 6, 7), 9, "i4"), "counts", torch.int64, data.Pictures(6, 7)),
        (GREY[0].astype(">f8"), "numbers", torch.float32, data.Columns(("x1", "x2", "x3", "x4"))),
        (GREY[0].astype(int), "counts", torch.int64, data.Columns(("x1", "x2", "x3", "x4"))),
        (GREY[0].astype(int) - 10, "numbers", torch.float32, None),
        (torch.ones(5, 4, dtype=torch.bfloat16), "numbers", torch.float32, None),
        (torch.ones(5, 4, requires_grad=True), "numbers", torch.float32, None),
    ],
)
def test_what_shape_and_type_say(array, kind, dtype, layout):
    found = data.own(array)
    assert (found.kind, found.train.dtype) == (kind, dtype)
    assert layout is None or found.layout == layout
    assert found.train.shape == (len(array) - 2, found.layout.values)
    assert (
        together(found).double() == float(array.flatten()[:1].tolist()[0])
    ).all()  # all values are alike
    assert found.changes == ()


def test_channels_rows_and_columns_are_in_this_order(random):
    """Channel c, row r, column k is value number (c height + r) width + k."""
    images = random.normal(size=(20, 3, 4, 5))
    found = data.own(images)
    held_out = [n for n in range(20) if np.float32(images[n, 0, 0, 0]) in found.test[:, 0].numpy()]
    for row, n in zip(found.test, held_out, strict=True):
        for c, r, k in (0, 1, 2), (2, 3, 4), (1, 0, 3):
            assert row[(c * 4 + r) * 5 + k] == np.float32(images[n, c, r, k])


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floating_point_is_kept(kind, random):
    """Not rounded to levels, not scaled, not clipped: float32 of it, and no change to tell."""
    values = (1000 * random.normal(size=(30, 6, 6))).astype(kind)
    found = data.own(values)
    expected = values.astype(np.float32).reshape(30, -1)
    assert sorted(together(found).tolist()) == sorted(expected.tolist())
    assert found.changes == ()


def test_a_large_constant_costs_digits_and_is_told(random):
    """Seconds since 1970 in float32 are multiples of 128."""
    time = 1.7e9 + 1000 * random.random(30)
    found = data.own(np.stack([random.normal(size=30), time], 1))
    (change,) = found.changes
    assert re.match(
        r"single precision rounds values in 'x2' by up to \d+\.?\d*, more than 1/10,000", change
    )
    assert "subtract a constant" in change
    assert data.own(np.stack([random.normal(size=30), time - 1.7e9], 1)).changes == ()


def test_missing_values_stay_missing(random):
    table = random.normal(size=(40, 5))
    table[table > 1] = np.nan
    table[7] = np.nan
    found = data.own(table)
    kept = np.delete(table, 7, 0)
    np.testing.assert_array_equal(
        np.sort(together(found).numpy(), 0), np.sort(kept.astype(np.float32), 0)
    )
    assert "1 rows without a single value are left out" in found.notes
    assert f"{np.isnan(table).sum()} values, {np.isnan(table).mean():.1%}, are missing (nan)" in (
        found.notes
    )


def test_a_picture_without_a_single_value_is_left_out(random):
    pictures = random.normal(size=(30, 4, 5))
    pictures[3] = np.nan
    pictures[4, 1:] = np.nan
    found = data.own(pictures, labels=np.arange(30))
    assert len(found.train) + len(found.test) == 29
    assert "3" not in found.classes
    assert together(found).isnan().sum() == 15
    assert "1 rows without a single value are left out" in found.notes


def test_labels_of_arrays(random, tmp_path):
    """They go with their rows, and classes are in the order of their numbers or names."""
    rows = np.arange(40)[:, None] * np.ones((1, 3))
    words = np.array([f"w{i % 3}" for i in range(40)])
    numbers = np.array([2, 10, 100])[np.arange(40) % 3]
    for labels, classes in ((words, ("w0", "w1", "w2")), (numbers, ("2", "10", "100"))):
        for found in (
            data.own(npz(tmp_path / "a.npz", data=rows, labels=labels)),
            data.own(rows, labels=labels),
            data.own(torch.tensor(rows), labels=labels.tolist()),
        ):
            assert found.classes == classes
            for some, its in (found.train, found.train_labels), (found.test, found.test_labels):
                assert its.dtype == torch.int64
                assert (some[:, 0].long() % 3).tolist() == its.tolist()
    split = npz(
        tmp_path / "b.npz",
        train=rows[:30],
        test=rows[30:],
        train_labels=numbers[:30],
        test_labels=numbers[30:],
        weights=rows,
    )
    found = data.own(split)
    assert found.test_labels.tolist() == [n % 3 for n in range(30, 40)]
    assert found.notes[0] == "not read: weights"


def test_labels_that_do_not_fit(tmp_path):
    rows = np.ones((5, 3))
    with pytest.raises(ValueError, match=r"labels: expected one label for each of 5 rows, got sha"):
        data.own(rows, labels=[1, 2])
    with pytest.raises(ValueError, match=r"got shape \(5, 2\); argmax\(1\) makes labels of ones"):
        data.own(rows, labels=np.ones((5, 2)))
    with pytest.raises(TypeError, match=r"expected labels as whole numbers or words, got float64"):
        data.own(rows, labels=np.linspace(0, 1, 5))
    with pytest.raises(ValueError, match=r"both 'train_labels' and 'test_labels' or neither, got"):
        data.own(npz(tmp_path / "a.npz", train=rows, test=rows, train_labels=np.arange(5)))
    with pytest.raises(ValueError, match=r"expected labels as the name of a column, of a table on"):
        data.own(npz(tmp_path / "a.npz", data=rows), labels="y")


@pytest.mark.parametrize(
    ("array", "error", "got"),
    [
        (np.zeros(5, np.uint8), ValueError, rf"{ACCEPTED}.*got uint8 of shape \(5,\)"),
        (np.zeros((0, 4, 4)), ValueError, rf"{ACCEPTED}.*float64 of shape \(0, 4, 4\)"),
        (np.zeros((5, 4, 4, 3, 2)), ValueError, rf"{ACCEPTED}.*shape \(5, 4, 4, 3, 2\)"),
        (GREY > 3, TypeError, rf"{ACCEPTED}.*bool of shape .*255 \* array"),
        (GREY.astype(complex), TypeError, rf"{ACCEPTED}.*complex128"),
        (GREY.astype(str), TypeError, rf"{ACCEPTED}.*<U"),
        (GREY // 9, ValueError, r"values 1 to 1, almost black: multiply by 255, or"),
        (GREY * 0, ValueError, r"values 0 to 0, almost black"),
        (np.full((5, 8, 8, 3), 9, np.uint8), ValueError, r"transpose\(0, 3, 1, 2\) brings"),
        (np.full((5, 8, 8, 3), 0.5), ValueError, r"\(5, 8, 8, 3\): array.transpose\(0, 3, 1, 2\)"),
        (np.full((5, 4, 4, 3), 9, np.uint8), ValueError, r"transpose\(0, 3, 1, 2\) brings"),
        (np.full((5, 8, 8, 8), 9, np.uint8), ValueError, r"1 to 4 channels.*floating point"),
        (np.full((5, 4), np.inf), ValueError, r"finite numbers, .* in 'x1', 'x2', 'x3', 'x4'; put"),
        (np.full((5, 4), 1e300), ValueError, r"that float32 holds, got values 1e\+300 .*'x4'; tak"),
        (
            np.full((5, 2), np.nan),
            ValueError,
            r"some numbers in each column, got none in 'x1', 'x2",
        ),
        (np.full((5, 2), 2**63, np.uint64), ValueError, r"expected counts below 2\^63"),
    ],
)
def test_another_array_is_refused_by_what_it_is(array, error, got, tmp_path):
    with pytest.raises(error, match=rf"array 'images': .*{got}"):
        data.own(npy(tmp_path / "a.npy", array))


def test_what_is_no_array_is_refused():
    class DataFrame:
        pass

    with pytest.raises(TypeError, match=r"a tensor or a NumPy array, got DataFrame; .*to_numpy()"):
        data.own(DataFrame())


def test_what_was_chosen_is_said(random):
    notes = data.own(random.integers(0, 9, (30, 4))).notes
    assert notes[0].startswith("whole numbers (int64) are taken as counts; pixels are stored as ui")
    notes = data.own(random.integers(-9, 9, (30, 4))).notes
    assert "some are below 0 are no counts: they are taken as numbers" in notes[0]
    notes = data.own(random.normal(size=(30, 784))).notes
    assert "a table of 784 columns; array.reshape(-1, 28, 28) makes pictures" in notes[0]
    notes = data.own(random.integers(0, 256, (30, 49), dtype=np.uint8)).notes
    assert notes[0] == "rows of 49 pixels are taken as 7 x 7 (height x width)"


def test_a_test_of_one_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected at least 2 images in 'test', .* got 1; add"):
        data.own(npz(tmp_path / "a.npz", train=GREY, test=GREY[:1]))


def test_parts_that_do_not_fit_together(tmp_path):
    with pytest.raises(ValueError, match=r"'train' and 'test' of one size, got 4 x 4 .* and 2 x 8"):
        data.own(npz(tmp_path / "b.npz", train=GREY, test=GREY.reshape(5, 2, 8)))
    with pytest.raises(ValueError, match=r"of one size, got 3 columns and 2 columns"):
        data.own(npz(tmp_path / "b.npz", train=np.ones((5, 3)), test=np.ones((5, 2))))
    with pytest.raises(ValueError, match=r"'train' and 'test' of one type, got uint8 and float32"):
        data.own(npz(tmp_path / "c.npz", train=GREY, test=GREY / 255))


def test_other_names_are_refused(tmp_path):
    for names in (["x_train", "x_test"], ["train"], ["images", "data"], ["train", "test", "data"]):
        expected = rf"'train' and 'test', or one, 'images' or 'data', got {str(names)[1:-1]}; an ar"
        with pytest.raises(ValueError, match=expected):
            data.own(npz(tmp_path / "a.npz", **dict.fromkeys(names, GREY)))


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.mkdir, (self.path,)


@pytest.mark.parametrize("resident", [0, 10**9])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_pickle_is_not_run(suffix, resident, tmp_path):
    array = np.array([Touch(tmp_path / "touched")], dtype=object)
    file = tmp_path / f"a.{suffix}"
    np.save(file, array) if suffix == "npy" else np.savez(file, images=array)
    with pytest.raises(ValueError, match=r"holds pickled arrays .*not read.*any code"):
        data.own(file, resident=resident)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("resident", [0, 10**9])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_file_is_refused(suffix, resident, tmp_path):
    file = tmp_path / f"a.{suffix}"
    npy(file, GREY) if suffix == "npy" else npz(file, images=GREY)
    whole = file.read_bytes()
    for length in (8, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{re.escape(str(file))}: cannot be read"):
            data.own(file, resident=resident)
    file.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=rf"this is no \.{suffix} file"):
        data.own(file, resident=resident)


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path):
    with zipfile.ZipFile(npz(tmp_path / "a.npz", images=GREY)) as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(
            "images.npy", content.replace(b"(5, 4, 4), }   ", b"(5, 4, 4000000000000000), }")
        )
    with pytest.raises(ValueError, match="cannot be read"):
        data.own(tmp_path / "a.npz")


@pytest.mark.parametrize("dtype", ["uint8", "float64", ">f4", "float16", "uint16", "int32"])
def test_a_mapped_file_gives_the_same_rows(dtype, random, tmp_path):
    """The same split, values and types, whichever way row numbers are asked for."""
    array = (100 * random.random((50, 3, 4, 5))).astype(dtype)
    if dtype == "float64":
        array[3, 0, 0, 0] = np.nan
    file = npy(tmp_path / "a.npy", array)
    whole, mapped = data.own(file), data.own(file, resident=0)
    assert isinstance(mapped.train, data.Rows)
    assert mapped.notes == (
        "the file is read as it is needed, and is not in memory as a whole",
        *whole.notes,
    )
    assert (mapped.kind, mapped.layout) == (whole.kind, whole.layout)
    for rows, tensor in (mapped.train, whole.train), (mapped.test, whole.test):
        assert (len(rows), rows.shape, rows.ndim) == (len(tensor), tuple(tensor.shape), 2)
        assert np.dtype(rows.dtype) == tensor.numpy().dtype
        for key in (
            np.array([3, 0, 3]),
            slice(1, 4),
            slice(None),
            torch.tensor([4, 2]),
            -1,
            np.arange(len(rows)) % 2 == 0,
        ):
            got, expected = rows[key], tensor.numpy()[key]
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(np.asarray(rows), tensor.numpy())
        np.testing.assert_array_equal(np.stack(list(rows)), tensor.numpy())


def test_mapped_rows_are_read_when_they_are_asked_for(random, tmp_path):
    """What is written to the file later is seen: no copy was made."""
    file = npy(tmp_path / "a.npy", random.integers(2, 256, (30, 4, 4), dtype=np.uint8))
    found = data.own(file, resident=0)
    np.load(file, mmap_mode="r+")[:] = 77
    assert (found.train[np.arange(27)] == 77).all()


@pytest.mark.parametrize("bad", [np.inf, 1e300, -1])
def test_a_mapped_file_is_looked_through_too(bad, random, tmp_path, monkeypatch):
    """In several pieces, and the last value of all is the bad one."""
    monkeypatch.setattr("vaelib.data.values._AT_ONCE", 64)
    array = random.random((50, 6))
    array[-1, -1] = bad
    if bad == -1:
        found = data.own(npy(tmp_path / "a.npy", (9 * array).astype(int)), resident=0)
        assert (found.kind, found.train.dtype) == ("numbers", np.float32)
    else:
        with pytest.raises(ValueError, match=r"in 'x6'; "):
            data.own(npy(tmp_path / "a.npy", array), resident=0)


def test_rows_are_numbers_of_rows():
    with pytest.raises(
        ValueError, match=r"Rows: expected numbers of rows from 0 to 2, got some fr"
    ):
        data.Rows(np.ones((3, 2)), [0, 3])
    assert repr(data.Rows(np.ones((3000, 2)))) == "Rows(3,000 x 2, float32)"
    assert data.kind(data.Rows(np.ones((3, 2), np.uint8))) == "pixels"


def test_rows_of_rows_are_rows_of_the_array(random):
    """And nothing is read: they look at the array that the first were of."""
    array = random.integers(0, 256, (30, 3, 4, 4), dtype=np.uint8)
    first = data.Rows(array, np.arange(29, -1, -1))
    again = data.Rows(first, [0, 5])
    assert again.array is array
    assert again[:].tolist() == array[[29, 24]].reshape(2, -1).tolist()
    found = data.own(first)
    assert isinstance(found.train, data.Rows)
    assert found.train.array is array
    assert found.layout == data.Pictures(4, 4, 3)
    of_tensor = data.own(array[::-1].copy())
    assert found.test[:].tolist() == of_tensor.test.tolist()


def test_a_mapped_array_stays_mapped(random, tmp_path):
    file = npy(tmp_path / "a.npy", random.normal(size=(30, 4, 4)))
    mapped = np.load(file, mmap_mode="r")
    found = data.own(mapped, labels=["a", "b", "c"] * 10)
    assert isinstance(found.train, data.Rows)
    assert found.train[:].tolist() == data.own(file).train.tolist()
    assert len(found.test_labels) == 3
