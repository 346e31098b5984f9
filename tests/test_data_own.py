"""data.own: folders of your own become the pixels that they show, and anything else is refused."""

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


def flat(images):
    """Values in the order of channel, row, column, image by image, without reshape."""
    if images[0].ndim == 2:
        return [[int(v) for line in image for v in line] for image in images]
    return [[int(pixel[c]) for c in range(3) for line in a for pixel in line] for a in images]


def everything(found):
    """Training and held-out rows, in no order."""
    return sorted(torch.cat([found.train, found.test]).tolist())


GREY = np.full((5, 4, 4), 9, np.uint8)


def test_a_folder_gives_each_pixel_in_the_order_of_names(random, tmp_path):
    images = random.integers(0, 256, (30, 5, 7), dtype=np.uint8)
    folder = folder_of(images, tmp_path / "a")
    (folder / "._0000.png").write_bytes(b"what macOS leaves beside a file")
    (folder / "notes.txt").write_text("not a picture")
    (folder / "0000.png").rename(folder / "0000.PNG")
    found = data.own(folder)
    held_out = [0, 16, 26]  # a tenth, at random
    assert found.test.tolist() == flat(images[held_out])
    assert found.train.tolist() == flat(np.delete(images, held_out, 0))
    assert found.layout == data.Pictures(5, 7)
    assert (found.train.dtype, found.kind) == (torch.uint8, "pixels")
    assert found.notes == ("3 of 30 images, at random, are held out",)
    assert (found.train_labels, found.test_labels, found.classes) == (None, None, ())


def test_colour_stays_colour(random, tmp_path):
    """Red, then green, then blue, each row by row."""
    images = random.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    found = data.own(folder_of(images, tmp_path / "a"))
    assert everything(found) == sorted(flat(images))
    assert found.layout == data.Pictures(6, 5, channels=3)
    assert found.changes == ()


def test_grey_among_colour_has_three_channels_alike_and_a_note(random, tmp_path):
    images = list(random.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8))
    grey = random.integers(0, 256, (6, 5), dtype=np.uint8)
    folder = folder_of([*images, grey], tmp_path / "a")
    found = data.own(folder)
    assert everything(found) == sorted(flat([*images, np.stack([grey] * 3, -1)]))
    assert "1 of 5 pictures are grey, and have red, green and blue alike" in found.notes


def test_grey_pictures_in_colour_files_are_grey(random, tmp_path):
    """What most cameras and screens write; nothing is lost by it."""
    images = random.integers(0, 256, (4, 6, 5), dtype=np.uint8)
    found = data.own(folder_of(np.stack([images] * 3, -1), tmp_path / "a"))
    assert found.layout == data.Pictures(6, 5)
    assert everything(found) == sorted(flat(images))


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
    assert torch.cat([found.train, found.test]).tolist() == flat([picture] * 3)
    inks = ("inks (CMYK) were converted to red, green and blue",)
    assert found.changes == (inks if mode == "CMYK" else ())


@pytest.mark.parametrize("mode", ["P", "RGBA"])
def test_colours_of_a_palette_and_opaque_ones(mode, tmp_path):
    picture = np.array([[[250, 3, 7], [1, 200, 2]], [[9, 8, 255], [250, 3, 7]]], np.uint8)
    for i in range(3):
        image = Image.fromarray(picture)
        image = image.quantize(3) if mode == "P" else image.convert(mode)
        assert image.mode == mode
        image.save(tmp_path / f"{i}.png")
    assert everything(data.own(tmp_path)) == flat([picture] * 3)


def test_a_photograph_is_turned_as_the_camera_was_held(tmp_path):
    upright = np.zeros((8, 16), np.uint8)
    upright[:, 8:] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: the stored picture is to be turned by 90° clockwise
    for i in range(3):
        stored = Image.fromarray(np.rot90(upright))
        stored.save(tmp_path / f"{i}.jpeg", exif=exif, quality=100)
    found = data.own(tmp_path)
    assert found.layout == data.Pictures(8, 16)
    assert found.test[0].tolist() == flat([upright])[0]


def classes_in(folder, **pictures):
    for name, images in pictures.items():
        folder_of(images, folder / name.strip("_"))
    return folder


def test_folders_in_a_folder_are_classes(random, tmp_path):
    """In the order of their names; of their numbers, if all are numbers."""
    images = random.integers(2, 256, (12, 4, 4), dtype=np.uint8)
    where = {tuple(flat([a])[0]): i // 4 for i, a in enumerate(images)}
    for order, names in (["ant", "bee", "cow"], "abc"), (["2", "10", "100"], "xyz"):
        folder = tmp_path / names
        pairs = zip(order, (images[:4], images[4:8], images[8:]), strict=True)
        classes_in(folder, **{f"_{name}": some for name, some in pairs})
        (folder / "__MACOSX").mkdir()
        (folder / "empty").mkdir()
        found = data.own(folder)
        assert found.classes == tuple(order)
        assert found.train_labels.dtype == torch.int64
        for rows, labels in (
            (found.train, found.train_labels),
            (found.test, found.test_labels),
        ):
            assert [where[tuple(row)] for row in rows.tolist()] == labels.tolist()
        assert "no class, since there is no picture in it: empty" in found.notes
    assert len(found.test) == 2


def test_pictures_beside_folders_of_pictures(random, tmp_path):
    """The folders are not searched, and a note says so."""
    images = random.integers(2, 256, (6, 4, 4), dtype=np.uint8)
    folder_of(images[:4], tmp_path)
    folder_of(images[4:], tmp_path / "more")
    found = data.own(tmp_path)
    assert everything(found) == sorted(flat(images[:4]))
    assert found.classes == ()
    assert any("the folders in it are not searched: more" in note for note in found.notes)


def test_folders_of_training_and_test_pictures(random, tmp_path):
    images = random.integers(2, 256, (12, 4, 4), dtype=np.uint8)
    for i, (train, test) in enumerate([("train", "test"), ("Training", "TESTING")]):
        found = data.own(classes_in(tmp_path / f"a{i}", **{train: images[:8], test: images[8:]}))
        assert found.train.tolist() == flat(images[:8])
        assert found.test.tolist() == flat(images[8:])
        assert (found.classes, found.notes) == ((), ())
    b = tmp_path / "b"
    classes_in(b / "train", cat=images[:3], dog=images[3:6])
    classes_in(b / "test", dog=images[6:8], eel=images[8:9])
    found = data.own(b)
    assert found.classes == ("cat", "dog", "eel")
    assert found.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert found.test_labels.tolist() == [1, 1, 2]
    assert found.notes == ("held out only, and not to train on: eel",)


def test_a_split_is_not_taken_for_classes(tmp_path):
    for names in (["train", "val"], ["Train"], ["test"], ["train", "test", "valid"]):
        folder = tmp_path / "".join(names)
        classes_in(folder, **dict.fromkeys(names, GREY))
        with pytest.raises(
            ValueError, match=r"expected the folders 'train' and 'test', or one for"
        ):
            data.own(folder)
    vehicles = classes_in(tmp_path / "vehicles", bus=GREY, train=GREY)
    assert data.own(vehicles).classes == ("bus", "train")


def test_one_grey_half_of_a_split_gets_three_channels(random, tmp_path):
    colour = random.integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    found = data.own(classes_in(tmp_path / "a", train=colour, test=GREY))
    assert found.layout == data.Pictures(4, 4, 3)
    assert found.test.tolist() == [[9] * 48] * 5


def test_a_tenth_of_sorted_images_has_some_of_each_class(tmp_path):
    """Ten classes of 100 in a row. Each has 10 ± 2.9 of the 100 held out; the last tenth had one.

    The chance of a class to have none is that of drawing 100 others of 1,000, 0.9¹⁰⁰ = 3e-5.
    """
    images = np.repeat(np.arange(10, dtype=np.uint8) + 9, 100)[:, None, None] * np.ones((2, 2))
    images = images.astype(np.uint8)
    found = data.own(images)
    counts = (found.test[:, 0, None] == torch.arange(9, 19)).sum(0)
    assert counts.sum() == 100
    assert counts.min() > 0
    assert counts.max() <= 10 + 4 * 2.9
    assert (found.train[:, 0].diff() < 0).sum() == 0  # in the order in which they came
    assert torch.equal(data.own(images).test, found.test)
    assert data.own(images.astype(float)).test.tolist() == found.test.tolist()  # whatever the kind


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


def test_at_least_two_are_held_out(tmp_path):
    assert len(data.own(GREY[:3]).test) == 2
    with pytest.raises(ValueError, match=r"expected at least 3 images, because 2 .*, got 2"):
        data.own(GREY[:2])
    with pytest.raises(ValueError, match=r"expected at least 3 rows, because 2 .*, got 2"):
        data.own(np.ones((2, 4)))


def test_the_first_picture_that_differs_is_named(tmp_path):
    folder = folder_of(GREY, tmp_path / "a")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(folder / "0002.png")
    Image.fromarray(np.zeros((9, 9), np.uint8)).save(folder / "0003.png")
    expected = r"0002\.png: expected 4 x 4 pixels \(height x width\) as in 0000\.png, got 4 x 5"
    with pytest.raises(ValueError, match=expected):
        data.own(folder)
    split = classes_in(tmp_path / "b", train=GREY, test=np.full((5, 2, 8), 9, np.uint8))
    with pytest.raises(ValueError, match=r"'train' and 'test' of one size, got 4 x 4 .* 2 x 8 pix"):
        data.own(split)


def test_bad_pictures_are_named(tmp_path):
    folder = folder_of(GREY, tmp_path / "a")
    whole = (folder / "0001.png").read_bytes()
    for content in (whole[:-20], b"", b"<html>404</html>"):
        (folder / "0001.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"0001\.png: cannot be read as a picture"):
            data.own(folder)
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(folder / "0001.png")
    with pytest.raises(ValueError, match=r"0001\.png: expected 8 bits per colour.*\.npy array"):
        data.own(folder)
    for mode, colour in (("RGBA", (9, 9, 9, 128)), ("LA", (9, 0))):
        Image.new(mode, (4, 4), colour).save(folder / "0001.png")
        with pytest.raises(ValueError, match=r"0001\.png: expected opaque pixels"):
            data.own(folder)
    (folder / "0001.png").unlink()
    (folder / "0001.png").symlink_to("nowhere.png")
    with pytest.raises(ValueError, match=r"0001\.png: cannot be read as a picture"):
        data.own(folder)


def test_a_transparent_colour_of_a_palette_is_refused(tmp_path):
    image = Image.fromarray(GREY[0]).convert("P")
    for i in range(3):
        image.save(tmp_path / f"{i}.png", transparency=int(np.asarray(image)[0, 0]))
    with pytest.raises(ValueError, match=r"0\.png: expected opaque pixels"):
        data.own(tmp_path)


def test_missing_and_other_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no such file or folder; exp"):
        data.own(tmp_path / "nowhere")
    message = r"expected files that end in .png, .jpg, .jpeg, or folders of such files.*got none"
    with pytest.raises(ValueError, match=message):
        data.own(tmp_path)
    (tmp_path / "a.xlsx").write_text("1,2")
    with pytest.raises(ValueError, match=r"a table, .csv or .tsv, got a file that ends in '.xlsx'"):
        data.own(tmp_path / "a.xlsx")
    with pytest.raises(ValueError, match=r"expected labels as the name of a column, of a table"):
        data.own(tmp_path, labels="digit")
