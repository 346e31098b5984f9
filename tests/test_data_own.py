"""data.own: files of your own become the pixels that they show, and anything else is refused."""

import os
import re
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from vaelib import data


@pytest.fixture
def random():
    return np.random.default_rng(20260101)


def folder_of(images, folder, suffix=".png"):
    """Pictures whose names sort as they are numbered."""
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:04}{suffix}")
    return folder


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def npy(path, array):
    np.save(path, array)
    return path


def rows(images):
    """Row-major pixels, image by image, without reshape."""
    return [[int(v) for line in image for v in line] for image in images]


def test_a_folder_gives_each_pixel_in_the_order_of_names(random, tmp_path):
    images = random.integers(0, 256, (30, 5, 7), dtype=np.uint8)
    folder = folder_of(images, tmp_path / "a")
    (folder / "._0000.png").write_bytes(b"what macOS leaves beside a file")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "0000.png").rename(folder / "0000.PNG")
    found = data.own(folder)
    held_out = [0, 16, 26]  # a tenth, at random
    assert found.test.tolist() == rows(images[held_out])
    assert found.train.tolist() == rows(np.delete(images, held_out, 0))
    assert (found.height, found.width) == (5, 7)
    assert found.train.dtype == torch.uint8
    assert found.notes == ("3 of 30 images, at random, are held out",)


def test_colour_becomes_grey_by_its_luminance(random, tmp_path):
    """ITU-R BT.601; the library rounds in fixed point, by less than one level."""
    images = random.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    found = data.own(folder_of(images, tmp_path / "a"))
    grey = images @ np.array([0.299, 0.587, 0.114])
    got = torch.cat([found.train, found.test]).reshape(4, 6, 6).numpy()
    assert np.abs(got - grey).max() < 1
    assert found.changes == ("colour was turned to grey",)


@pytest.mark.parametrize("mode", ["1", "P", "LA", "RGBA", "CMYK"])
def test_other_kinds_of_pictures_are_read(mode, tmp_path):
    """Half black, half white looks the same in all of them."""
    picture = np.zeros((4, 4), np.uint8)
    picture[:, 2:] = 255
    for i in range(3):
        Image.fromarray(picture).convert("RGB" if mode == "CMYK" else mode).convert(mode).save(
            tmp_path / f"{i}{'.jpg' if mode == 'CMYK' else '.png'}", quality=100
        )
    found = data.own(tmp_path)
    assert torch.cat([found.train, found.test]).tolist() == rows([picture] * 3)


def test_a_photograph_is_turned_as_the_camera_was_held(tmp_path):
    upright = np.zeros((8, 16), np.uint8)
    upright[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the stored picture is to be turned by 90° clockwise
    for i in range(3):
        stored = Image.fromarray(np.rot90(upright))
        stored.save(tmp_path / f"{i}.jpeg", exif=exif, quality=100)
    found = data.own(tmp_path)
    assert (found.height, found.width) == (8, 16)
    assert found.test[0].tolist() == rows([upright])[0]


@pytest.mark.parametrize("layout", ["npz with a split", "npz", "npy"])
def test_arrays(layout, random, tmp_path):
    images = random.integers(0, 256, (40, 3, 5), dtype=np.uint8)
    if layout == "npz with a split":
        file = npz(tmp_path / "a.npz", train=images[:35], test=images[35:], labels=np.arange(40))
        held_out = [35, 36, 37, 38, 39]
    else:
        write = {"npz": lambda p, a: npz(p, images=a, labels=np.arange(40)), "npy": npy}[layout]
        file, held_out = write(tmp_path / f"a.{layout}", images), [13, 27, 38, 39]
    found = data.own(file)
    assert found.test.tolist() == rows(images[held_out])
    assert found.train.tolist() == rows(np.delete(images, held_out, 0))
    assert (found.height, found.width) == (3, 5)
    assert bool(found.notes) == (len(held_out) == 4)


def test_a_tenth_of_sorted_images_has_some_of_each_class(tmp_path):
    """Ten classes of 100 in a row. Each has 10 ± 2.9 of the 100 held out; the last tenth had one.

    The chance of a class to have none is that of drawing 100 others of 1,000, 0.9¹⁰⁰ = 3e-5.
    """
    images = np.repeat(np.arange(10, dtype=np.uint8) + 9, 100)[:, None, None] * np.ones((2, 2))
    found = data.own(npy(tmp_path / "a.npy", images.astype(np.uint8)))
    counts = (found.test[:, 0, None] == torch.arange(9, 19)).sum(0)
    assert counts.sum() == 100
    assert counts.min() > 0
    assert counts.max() <= 10 + 4 * 2.9
    assert (found.train[:, 0].diff() < 0).sum() == 0  # in the order in which they came
    again = data.own(npy(tmp_path / "a.npy", images.astype(np.uint8)))
    assert torch.equal(again.test, found.test)


@pytest.mark.parametrize("high", [0, 1])
def test_a_folder_of_black_pictures_is_refused(high, random, tmp_path):
    """A mask of 0 and 1 looks like it, and every pixel would be trained as black."""
    images = random.integers(0, high + 1, (5, 4, 4), dtype=np.uint8)
    folder = folder_of(images, tmp_path / "a")
    message = rf"a: expected pictures .* 0 to 255, got 5 with none above {high}, almost black; mask"
    with pytest.raises(ValueError, match=message):
        data.own(folder)
    Image.fromarray(GREY[0]).save(folder / "0001.png")  # one that is not black
    assert len(data.own(folder).train) == 3


def test_rows_of_pixels_are_a_square_if_they_can_be(tmp_path):
    square = data.own(npy(tmp_path / "a.npy", np.full((5, 49), 9, np.uint8)))
    assert (square.height, square.width) == (7, 7)
    assert "rows of 49 pixels are taken as 7 x 7 (height x width)" in square.notes
    row = data.own(npy(tmp_path / "b.npy", np.full((5, 50), 9, np.uint8)))
    assert (row.height, row.width) == (1, 50)


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floating_point_is_rounded_to_256_levels(kind, tmp_path):
    levels = np.arange(256) / 255  # float16 has 11 bits: within half a level of 8 bits
    found = data.own(npy(tmp_path / "a.npy", np.tile(levels, (3, 1)).astype(kind)))
    assert found.test[0].tolist() == list(range(256))
    assert found.changes == ("grey values in [0, 1] were rounded to 256 levels",)


def test_at_least_two_are_held_out(tmp_path):
    images = np.full((3, 2, 2), 9, np.uint8)
    assert len(data.own(npy(tmp_path / "a.npy", images)).test) == 2
    with pytest.raises(ValueError, match=r"expected at least 3 images, because 2 .*, got 2"):
        data.own(npy(tmp_path / "a.npy", images[:2]))


GREY = np.full((5, 4, 4), 9, np.uint8)
ACCEPTED = r"expected uint8 of shape \[n, height, width\] or \[n, pixel\] with values 0 to 255, or "


@pytest.mark.parametrize(
    ("array", "error", "got"),
    [
        (np.zeros((5, 4, 4, 3), np.uint8), ValueError, r"uint8 of shape \(5, 4, 4, 3\)"),
        (np.zeros(5, np.uint8), ValueError, r"uint8 of shape \(5,\)"),
        (np.zeros((0, 4, 4), np.uint8), ValueError, r"uint8 of shape \(0, 4, 4\)"),
        (GREY.astype(np.int64), TypeError, r"int64 of shape \(5, 4, 4\)"),
        (GREY > 3, TypeError, r"bool of shape"),
        (GREY.astype(complex), TypeError, r"complex128"),
        (GREY.astype(str), TypeError, r"<U"),
        (GREY.astype(float), ValueError, r"with values 9 to 9"),
        (GREY / -9.0, ValueError, r"with values -1 to -1"),
        (np.full((5, 4), np.nan), ValueError, r"with values nan to nan"),
        (GREY // 9, ValueError, r"values 1 to 1, almost black: multiply by 255"),
        (GREY * 0, ValueError, r"values 0 to 0, almost black"),
        (GREY * 0.0, ValueError, r"float64 .* values 0 to 0, almost black: multiply by 255"),
        (GREY / 9 / 255, ValueError, r"values 0.003922 to 0.003922, almost black"),
    ],
)
def test_another_array_is_refused_by_what_it_is(array, error, got, tmp_path):
    with pytest.raises(error, match=f"array 'images': {ACCEPTED}.*{got}"):
        data.own(npy(tmp_path / "a.npy", array))


def test_a_test_of_one_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"expected at least 2 images in 'test', .* got 1; add"):
        data.own(npz(tmp_path / "a.npz", train=GREY, test=GREY[:1]))


def test_other_names_are_refused(tmp_path):
    expected = r"arrays 'train' and 'test', or 'images', got 'x_train', 'x_test'; an array is uint8"
    with pytest.raises(ValueError, match=expected):
        data.own(npz(tmp_path / "a.npz", x_train=GREY, x_test=GREY))
    with pytest.raises(ValueError, match=r"'train' and 'test' of one size, got 4 x 4 and 2 x 8"):
        data.own(npz(tmp_path / "b.npz", train=GREY, test=GREY.reshape(5, 2, 8)))


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_pickle_is_not_run(suffix, tmp_path):
    array = np.array([Touch(tmp_path / "touched")], dtype=object)
    file = tmp_path / f"a.{suffix}"
    np.save(file, array) if suffix == "npy" else np.savez(file, images=array)
    with pytest.raises(ValueError, match=r"holds pickled arrays .*not read.*any code"):
        data.own(file)
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_a_damaged_file_is_refused(suffix, tmp_path):
    file = tmp_path / f"a.{suffix}"
    npy(file, GREY) if suffix == "npy" else npz(file, images=GREY)
    whole = file.read_bytes()
    for length in (8, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"{re.escape(str(file))}: cannot be read"):
            data.own(file)
    file.write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match=rf"this is no \.{suffix} file"):
        data.own(file)


def test_an_array_that_claims_to_be_huge_is_refused(tmp_path):
    with zipfile.ZipFile(npz(tmp_path / "a.npz", images=GREY)) as archive:
        content = archive.read("images.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr(
            "images.npy", content.replace(b"(5, 4, 4), }   ", b"(5, 4, 4000000000000000), }")
        )
    with pytest.raises(ValueError, match="cannot be read"):
        data.own(tmp_path / "a.npz")


def test_the_first_picture_that_differs_is_named(tmp_path):
    folder = folder_of(GREY, tmp_path / "a")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(folder / "0002.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "0003.png")
    expected = r"0002\.png: expected 4 x 4 pixels \(height x width\) as in 0000\.png, got 4 x 5"
    with pytest.raises(ValueError, match=expected):
        data.own(folder)


def test_bad_pictures_are_named(tmp_path):
    folder = folder_of(GREY, tmp_path / "a")
    whole = (folder / "0001.png").read_bytes()
    for content in (whole[:-20], b"", b"<html>404</html>"):
        (folder / "0001.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"0001\.png: cannot be read as a picture"):
            data.own(folder)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "0001.png")
    with pytest.raises(ValueError, match=r"0001\.png: expected 8 bits per colour"):
        data.own(folder)
    Image.new("RGBA", (4, 4), (9, 9, 9, 128)).save(folder / "0001.png")
    with pytest.raises(ValueError, match=r"0001\.png: expected opaque pixels"):
        data.own(folder)


def test_missing_and_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such file or folder"):
        data.own(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"expected files that end in .png, .jpg, .jpeg, got none"):
        data.own(tmp_path)
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(ValueError, match=r"a file that ends in '.csv'"):
        data.own(tmp_path / "a.csv")
