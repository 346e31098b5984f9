"""Pictures from a folder of PNG or JPEG files; its subfolders are classes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vaelib.arguments import BadValue
from vaelib.data.dataset import Part, Pictures

__all__ = ["coloured", "names", "pictures", "split_in"]

SUFFIXES = (".png", ".jpg", ".jpeg")
_TRAIN, _TEST = {"train", "training"}, {"test", "testing"}
_SPLITS = _TRAIN | _TEST | {"val", "valid", "validation"}


def split_in(folder: Path) -> tuple[Path, Path] | None:
    """The folders ``train`` and ``test`` in a folder that has nothing else; otherwise None.

    Raises:
        ValueError: if there is something of a split, and not these two: it would be read as classes
            that are called so.
    """
    found = {path.name.lower(): path for path in _subfolders(folder)}
    if not found or not set(found) <= _SPLITS or list(_files(folder)):
        return None
    train = [found[name] for name in found if name in _TRAIN]
    test = [found[name] for name in found if name in _TEST]
    if (len(train), len(test), len(found)) != (1, 1, 2):
        raise BadValue(
            f"{folder}: expected the folders 'train' and 'test', or one for each class, got "
            f"{', '.join(map(repr, sorted(found)))}; call what is to be held out 'test', and take "
            f"the others away"
        )
    return train[0], test[0]


def pictures(folder: Path, notes: list[str], changes: list[str], *, new: bool = False) -> Part:
    """The PNG and JPEG files of a folder in the order of their names, or those of its subfolders.

    They are grey if each of them is, in that red, green and blue are equal all over; otherwise they
    have three channels.

    Args:
        folder: of pictures, or of folders of pictures, one for each class.
        notes, changes: get a sentence for each choice and each change.
        new: whether they are for a trained model, to which all of them may be blank.

    Raises:
        ValueError: if there are none, or they differ in size; names the first file that differs.
    """
    files, labels = _listed(folder, notes)
    images = [image(file, changes) for file in files]
    first = images[0]
    for file, other in zip(files, images, strict=True):
        if other.shape[:2] != first.shape[:2]:
            expected, got = (f"{a.shape[0]} x {a.shape[1]}" for a in (first, other))
            raise BadValue(
                f"{file}: expected {expected} pixels (height x width) as in {files[0].name}, got "
                f"{got}; bring all images to one size"
            )
    high = max(int(a.max()) for a in images)
    if high == 1 or (high == 0 and not new):  # masks, whose zeros and ones look alike
        raise BadValue(
            f"{folder}: expected pictures with values from 0 to 255, got {len(files)} with none "
            f"above {high}, almost black; masks of 0 and 1 are to be multiplied by 255"
        )
    return Part(*_stacked(images, notes), labels)


def names(folder: Path) -> list[str]:
    """What the pictures of a folder are called, in their order, with the folder of their class."""
    return [file.relative_to(folder).as_posix() for file in _listed(folder, [])[0]]


def image(file: Path, changes: list[str]) -> np.ndarray:
    """One picture: ``uint8 [height, width]`` if it is grey, ``[height, width, 3]`` otherwise."""
    from PIL import Image, ImageOps  # here, because only folders of pictures need it

    try:
        with Image.open(file) as opened:
            opened.load()
            picture = ImageOps.exif_transpose(opened)  # a camera stores how it was held
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadValue(
            f"{file}: cannot be read as a picture ({error}); replace or delete it"
        ) from error
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (255, 255):
            raise BadValue(
                f"{file}: expected opaque pixels, got transparent ones; lay the picture on a "
                f"background first"
            )
    if picture.mode not in ("1", "L", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise BadValue(
            f"{file}: expected 8 bits per colour, got a picture of mode {picture.mode!r}; convert "
            f"it to 8 bits, or store all of them as one .npy array [n, height, width] of numbers"
        )
    if picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))
    if picture.mode == "CMYK":
        changes.append("inks (CMYK) were converted to red, green and blue")
    colour = np.asarray(picture.convert("RGB"))
    grey = (colour == colour[..., :1]).all()
    return colour[..., 0] if grey else colour


def coloured(part: Part) -> Part:
    """Grey pictures with three channels, which are alike."""
    layout = part.layout
    if not isinstance(layout, Pictures) or layout.channels != 1:
        return part
    return Part(np.tile(part.rows, (1, 3)), layout._replace(channels=3), part.labels)


def _stacked(images: Sequence[np.ndarray], notes: list[str]) -> tuple[np.ndarray, Pictures]:
    """Pictures as rows: one channel, or three if one of them has colour."""
    height, width = images[0].shape[:2]
    grey = sum(a.ndim == 2 for a in images)
    if grey == len(images):
        return np.stack(images).reshape(len(images), -1), Pictures(height, width)
    if grey:
        notes.append(
            f"{grey} of {len(images)} pictures are grey, and have red, green and blue alike"
        )
    values = np.empty((len(images), 3, height, width), np.uint8)
    for row, a in zip(values, images, strict=True):
        row[:] = a if a.ndim == 2 else a.transpose(2, 0, 1)
    return values.reshape(len(images), -1), Pictures(height, width, 3)


def _listed(folder: Path, notes: list[str]) -> tuple[list[Path], list[str] | None]:
    """The files of a folder, and the class of each if they are in its subfolders."""
    files = sorted(_files(folder))
    classes = {path: sorted(_files(path)) for path in _subfolders(folder)}
    full = {path: inside for path, inside in classes.items() if inside}
    if files:
        if full:
            notes.append(
                f"{folder} has pictures, so the folders in it are not searched: "
                f"{', '.join(sorted(path.name for path in full))}"
            )
        return files, None
    if not full:
        raise BadValue(
            f"{folder}: expected files that end in {', '.join(SUFFIXES)}, or folders of such "
            f"files, one for each class, got none"
        )
    empty = sorted(path.name for path in classes if path not in full)
    if empty:
        notes.append(f"no class, since there is no picture in it: {', '.join(empty)}")
    pairs = [(file, path.name) for path, inside in sorted(full.items()) for file in inside]
    return [file for file, _ in pairs], [name for _, name in pairs]


def _subfolders(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))]


def _files(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()
    )
