"""data.same: new data become what a trained model takes, or are refused; nothing is guessed."""

import numpy as np
import pytest
import torch
from PIL import Image

from vaelib import data

GREY, COLOUR = data.Pictures(4, 5), data.Pictures(4, 5, 3)
TABLE = data.Columns(("mass", "length", "time"))


@pytest.fixture
def random():
    return np.random.default_rng(20260103)


@pytest.fixture
def grey(random):
    return random.integers(0, 256, (6, 4, 5), dtype=np.uint8)


@pytest.fixture
def colour(random):
    return random.integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)


def folder_of(images, folder):
    """Of grey pictures, or of colour ones, channels first."""
    folder.mkdir(parents=True)
    for i, image in enumerate(images):
        Image.fromarray(image if image.ndim == 2 else np.moveaxis(image, 0, -1)).save(
            folder / f"{i}.png"
        )
    return folder


def test_a_folder_is_read_whole_and_in_order(grey, colour, tmp_path):
    for layout, images, name in (GREY, grey, "a"), (COLOUR, colour, "b"):
        rows = data.same(folder_of(images, tmp_path / name), layout, "pixels")
        assert rows.dtype == torch.uint8
        assert rows.tolist() == images.reshape(6, -1).tolist()


def test_grey_pictures_for_a_model_of_colour(grey, tmp_path):
    rows = data.same(folder_of(grey, tmp_path / "a"), COLOUR, "pixels")
    assert rows.tolist() == np.stack([grey] * 3, 1).reshape(6, -1).tolist()
    rows = data.same(grey[:, None], COLOUR, "pixels")
    assert rows.tolist() == np.stack([grey] * 3, 1).reshape(6, -1).tolist()


def test_colour_for_a_model_of_grey_is_refused(colour, tmp_path):
    message = r"expected grey pictures of 4 x 5 .* got pictures of 3 x 4 x 5 .*; turn them to grey"
    with pytest.raises(ValueError, match=message):
        data.same(folder_of(colour, tmp_path / "a"), GREY, "pixels")


def test_blank_pictures_may_be_new_data_and_masks_not(tmp_path):
    blank = np.zeros((2, 4, 5), np.uint8)
    assert data.same(folder_of(blank, tmp_path / "a"), GREY, "pixels").sum() == 0
    blank[1, 2, 3] = 1
    with pytest.raises(ValueError, match="masks of 0 and 1"):
        data.same(folder_of(blank, tmp_path / "b"), GREY, "pixels")


@pytest.mark.parametrize("wrap", [np.asarray, torch.as_tensor])
def test_shapes_of_arrays(wrap, grey, colour):
    """Many, or one; flat, or as pictures."""
    for shape in (6, 4, 5), (6, 20), (6, 1, 4, 5):
        rows = data.same(wrap(grey.reshape(shape)), GREY, "pixels")
        assert rows.tolist() == grey.reshape(6, 20).tolist()
    for shape in (4, 5), (20,), (1, 4, 5), (1, 1, 4, 5), (1, 20):
        rows = data.same(wrap(grey[0].reshape(shape)), GREY, "pixels")
        assert rows.tolist() == grey[:1].reshape(1, 20).tolist()
    for images in colour, colour[:3], colour[:1]:
        rows = data.same(wrap(images), COLOUR, "pixels")
        assert rows.tolist() == images.reshape(len(images), 60).tolist()
    assert data.same(wrap(colour[2]), COLOUR, "pixels").tolist() == [colour[2].flatten().tolist()]


@pytest.mark.parametrize(
    ("shape", "layout", "remedy"),
    [
        ((6, 5, 4), GREY, r"expected grey pictures of 4 x 5 .*got shape \(6, 5, 4\); bring it to"),
        ((6, 3, 4, 5), GREY, r"got shape \(6, 3, 4, 5\)"),
        ((6, 4, 5, 3), COLOUR, r"got shape .*; array.transpose\(0, 3, 1, 2\) brings the channels"),
        ((4, 5, 3), COLOUR, r"got shape .*; array.transpose\(2, 0, 1\) brings the channels before"),
        ((6, 4, 5), COLOUR, r"expected pictures of 3 x 4 x 5 .*got shape \(6, 4, 5\)"),
        (
            (6, 2),
            TABLE,
            r"expected rows of 3 values \('mass', 'length', 'time'\), got shape \(6, 2",
        ),
        ((), TABLE, r"got shape \(\)"),
    ],
)
def test_other_shapes_are_refused(shape, layout, remedy):
    with pytest.raises(ValueError, match=remedy):
        data.same(np.zeros(shape, np.uint8), layout, "pixels")


@pytest.mark.parametrize(
    ("values", "kind", "dtype"),
    [
        (np.array([[0, 255, 7]], np.int64), "pixels", torch.uint8),
        (np.array([[0.5, np.nan, -7]], np.float64), "numbers", torch.float32),
        (np.array([[0, 255, -7]], np.int32), "numbers", torch.float32),
        (np.array([[0, 255, 7]], np.uint8), "numbers", torch.float32),
        (np.array([[0, 255, 7]], np.uint8), "counts", torch.int64),
        (np.array([[0, 1e9, 7]], np.float64), "counts", torch.int64),
        (np.array([[0, np.nan, 7]], np.float32), "counts", torch.float32),
    ],
)
def test_values_are_converted_where_nothing_is_lost(values, kind, dtype):
    rows = data.same(values, TABLE, kind)
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows.double().numpy(), values.astype(np.float64))


@pytest.mark.parametrize(
    ("values", "layout", "kind", "error", "message"),
    [
        ([[0.5, 1, 0]], TABLE, "pixels", TypeError, r"uint8 from 0 to 255, got float64 from 0 to"),
        ([[1.0, 1, 0]], TABLE, "pixels", TypeError, r"\(255 \* x\).round\(\) as uint8 makes them"),
        ([[0, 256, 0]], TABLE, "pixels", TypeError, r"got int64 from 0 to 256"),
        ([[0, -1, 0]], TABLE, "pixels", TypeError, r"got int64 from -1 to 0"),
        ([[0, -1, 0]], TABLE, "counts", ValueError, r"whole numbers from 0 on, got int64 from"),
        ([[0, 0.5, 9]], TABLE, "counts", ValueError, r"got float64 from 0 to 9; train on numbers"),
        ([[0, np.inf, 9]], TABLE, "counts", ValueError, r"got float64 from 0 to inf"),
        ([[0, np.inf, 9]], TABLE, "numbers", ValueError, r"expected finite numbers, or nan where"),
        ([[True, False, True]], TABLE, "counts", TypeError, r"got bool"),
        (np.zeros((2, 20), np.uint8), GREY, "numbers", TypeError, r"pictures of numbers .*x / 255"),
    ],
)  # fmt: skip
def test_values_of_another_kind_are_refused(values, layout, kind, error, message):
    with pytest.raises(error, match=message):
        data.same(np.asarray(values), layout, kind)


def test_files_and_datasets(random, tmp_path):
    """Of a file with a test part and of a `Dataset` that part; nothing else is held out."""
    table = random.normal(size=(30, 3)).astype(np.float32)
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "b.npz", train=table[:20], test=table[20:])
    np.savez(tmp_path / "c.npz", data=table)
    for name, expected in ("a.npy", table), ("b.npz", table[20:]), ("c.npz", table):
        assert data.same(tmp_path / name, TABLE, "numbers").tolist() == expected.tolist()
    layout = data.Columns(("x1", "x2", "x3"))
    for resident in (0, 10**9):
        found = data.own(tmp_path / "a.npy", resident=resident)
        assert data.same(found, layout, "numbers").tolist() == found.test[:].tolist()
    with pytest.raises(
        ValueError, match=r"expected rows of 3 values \('mass'.*got rows of 3 .*'x1'"
    ):
        data.same(found, TABLE, "numbers")
    rows = data.Rows(table, [4, 2])
    assert data.same(rows, TABLE, "numbers").tolist() == table[[4, 2]].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "mass,length,time\n1,2,3\n4,,6\n",
        "time,mass,length\n3,1,2\n6,4,\n",
        "name,time,mass,length,year\nx,3,1,2,2020\ny,6,4,NA,2021\n",
        ",mass,length,time\n0,1,2,3\n1,4,,6\n",
        "1,2,3\n4,,6\n",
    ],
)
def test_columns_are_found_by_their_names(text, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    expected = np.array([[1, 2, 3], [4, np.nan, 6]], np.float32)
    rows = data.same(tmp_path / "a.csv", TABLE, "numbers")
    np.testing.assert_array_equal(rows.numpy(), expected)


def test_columns_without_names_are_found_by_their_places(tmp_path):
    unnamed = data.Columns(("x1", "x2"))
    for text in ("3,1\n6,4\n", "b,a\n3,1\n6,4\n", ",b,a\n0,3,1\n1,6,4\n", "x2,x1\n1,3\n4,6\n"):
        (tmp_path / "a.csv").write_text(text)
        assert data.same(tmp_path / "a.csv", unnamed, "counts").tolist() == [[3, 1], [6, 4]]


def test_a_row_with_nothing_in_it_keeps_its_place(tmp_path):
    """Results are told by the number of the row."""
    (tmp_path / "a.csv").write_text("mass,length,time\n1,2,3\n,,\n4,5,6\n")
    rows = data.same(tmp_path / "a.csv", TABLE, "numbers")
    assert rows.isnan().all(1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "mass,time\n1,3\n",
            r"3 columns 'mass', 'length', 'time', got 2, .*; add 'length', with em",
        ),
        (
            "mass,width,time\n1,2,3\n",
            r"got 3, 'mass', 'width', 'time'; add 'length', with empty cel",
        ),
        (
            "1,2,3,4\n",
            r"expected the 3 columns .*got 4, 'x1', 'x2', 'x3', 'x4'; bring it to as many",
        ),
    ],
)
def test_columns_that_are_not_there(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        data.same(tmp_path / "a.csv", TABLE, "numbers")


def test_more_columns_than_those_without_names(tmp_path):
    """Which of them the model knows nobody can tell."""
    (tmp_path / "a.csv").write_text("1,2,3\n")
    with pytest.raises(ValueError, match=r"expected the 2 columns 'x1', 'x2', got 3"):
        data.same(tmp_path / "a.csv", data.Columns(("x1", "x2")), "numbers")


def test_sources_of_another_sort(grey, tmp_path):
    (tmp_path / "a.csv").write_text("1,2,3\n")
    with pytest.raises(ValueError, match=r"expected grey pictures .*got a table; give a folder or"):
        data.same(tmp_path / "a.csv", GREY, "pixels")
    with pytest.raises(ValueError, match=r"expected rows of 3 values .*got grey pictures of 4 x 5"):
        data.same(folder_of(grey, tmp_path / "a"), TABLE, "numbers")
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such file or folder"):
        data.same(tmp_path / "nowhere", TABLE, "numbers")
    with pytest.raises(TypeError, match=r"a tensor or a NumPy array, got list"):
        data.same([[1, 2, 3]], TABLE, "numbers")


def test_labels_are_numbers_of_the_classes_of_the_model(grey, tmp_path):
    """Of which the new data may have some only, in another order."""
    classes = ("ant", "bee", "cow")
    for name, some in ("cow", grey[:2]), ("ant", grey[2:]):
        folder_of(some, tmp_path / "a" / name)
    assert data.labels_of(tmp_path / "a", classes).tolist() == [0] * 4 + [2] * 2
    rows, labels = np.ones((3, 2)), np.array(["cow", "bee", "cow"])
    np.savez(tmp_path / "b.npz", data=rows, labels=labels)
    assert data.labels_of(tmp_path / "b.npz", classes).tolist() == [2, 1, 2]
    (tmp_path / "c.csv").write_text("mass,kind\n1,cow\n2,bee\n3,cow\n")
    assert data.labels_of(tmp_path / "c.csv", classes).tolist() == [2, 1, 2]
    assert data.labels_of(tmp_path / "c.csv", classes, labels="kind").tolist() == [2, 1, 2]
    assert data.labels_of(tmp_path / "c.csv", ("1", "2", "3"), labels="mass").tolist() == [0, 1, 2]
    found = data.own(np.ones((9, 2)), labels=["cow", "ant", "cow"] * 3)
    names = [found.classes[i] for i in found.test_labels]
    assert [classes[i] for i in data.labels_of(found, classes)] == names


def test_without_labels_there_are_none(grey, tmp_path):
    (tmp_path / "c.csv").write_text("mass,length\n1,2\n")
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    for source in (
        folder_of(grey, tmp_path / "a"),
        tmp_path / "a.npy",
        tmp_path / "c.csv",
        data.own(np.ones((9, 2))),
        np.ones((3, 2)),
    ):
        assert data.labels_of(source, ("ant",)) is None
    assert data.labels_of(tmp_path / "c.csv", ("ant",), labels="kind") is None


def test_an_unknown_class_is_refused(tmp_path):
    (tmp_path / "c.csv").write_text("mass,kind\n1,cow\n2,elk\n")
    with pytest.raises(
        ValueError, match=r"c.csv: expected labels among 'ant', 'cow', got 'elk'; l"
    ):
        data.labels_of(tmp_path / "c.csv", ("ant", "cow"))
    with pytest.raises(ValueError, match=r"among no classes, got 'cow', 'elk'"):
        data.labels_of(tmp_path / "c.csv", ())


def test_names_are_those_of_the_rows(grey, tmp_path):
    """In the order of the rows and of their labels."""
    for i, image in enumerate(grey):
        path = tmp_path / "a" / ("bee" if i % 2 else "ant") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    names = data.names_of(tmp_path / "a")
    assert names == ["ant/0.png", "ant/2.png", "ant/4.png", "bee/1.png", "bee/3.png", "bee/5.png"]
    rows = data.same(tmp_path / "a", GREY, "pixels")
    for name, row in zip(names, rows.tolist(), strict=True):
        assert row == grey[int(name[4])].flatten().tolist()
    assert data.names_of(folder_of(grey, tmp_path / "b"))[3] == "3.png"
    for part in "train", "test":
        folder_of(grey[:2] if part == "test" else grey, tmp_path / "c" / part)
    assert data.names_of(tmp_path / "c") == ["0.png", "1.png"]
    np.save(tmp_path / "a.npy", grey)
    assert data.names_of(tmp_path / "a.npy") is None
    assert data.names_of(grey) is None
