"""Images of your own: a folder of PNG or JPEG files, or arrays in a ``.npz`` or ``.npy`` file."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from vaelib.arguments import BadType, BadValue

__all__ = ["OwnImages", "own"]

SUFFIXES = (".png", ".jpg", ".jpeg")
LAYOUT = (
    "uint8 of shape [n, height, width] or [n, pixel] with values 0 to 255, or floating point of "
    "these shapes with values in [0, 1]"
)


class OwnImages(NamedTuple):
    """Images from files, with the part that is held out and the layout of their pixels."""

    train: UInt8[Tensor, "n pixel"]
    test: UInt8[Tensor, "m pixel"]
    height: int  # pixels; row r, column c of an image is its value number r * width + c
    width: int
    notes: tuple[str, ...]  # what was chosen on the way, a sentence each
    changes: tuple[str, ...] = ()  # what was done to the values of pixels, a sentence each


class _Pixels(NamedTuple):
    values: np.ndarray  # uint8 [n, pixel]
    height: int
    width: int


def own(path: str | Path) -> OwnImages:
    """Read your own images: grey, all of one size.

    Args:
        path: one of

            - a folder of PNG or JPEG files, read in the order of their names; folders in it are
              not searched. Colour becomes grey by the luminance 0.299 R + 0.587 G + 0.114 B;
            - a ``.npz`` file with the arrays ``train`` and ``test``, or with one, ``images``;
            - a ``.npy`` file with one array.

            An array is ``uint8 [n, height, width]`` or ``[n, pixel]`` with values 0 to 255.
            Floating point in [0, 1] is rounded to 256 levels. Of ``[n, pixel]`` the layout is taken
            to be a square if the number of pixels is one, and a single row otherwise.

    Returns:
        `OwnImages`. Without an array ``test`` a random tenth is held out, at least two images,
        which are the same ones whenever there are as many images; where images come in groups (the
        frames of a film), give a ``test`` of other groups, two images or more. ``notes`` and
        ``changes`` say what was done.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        TypeError: if an array has another type.
        ValueError: if arrays, shapes or values are others, or all are black or nearly so, as masks
            of 0 and 1 are; names what is accepted and what was got, and in a folder the first file
            that differs. Pickled arrays are not read.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(f"{folder}/a.npy", np.full((20, 3, 4), 255, np.uint8))
    ...     images = own(f"{folder}/a.npy")
    >>> images.train.shape, images.test.shape, images.height, images.width
    (torch.Size([18, 12]), torch.Size([2, 12]), 3, 4)
    >>> images.notes
    ('2 of 20 images, at random, are held out',)
    """
    path = Path(path)
    notes: list[str] = []
    changes: list[str] = []
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: there is no such file or folder; expected a folder of PNG or JPEG files, or "
            f"a .npz or .npy file"
        )
    if path.is_dir():
        parts = {"images": _from_folder(path, changes)}
    elif path.suffix in (".npz", ".npy"):
        parts = {
            name: _pixels(array, f"{path}: array {name!r}", notes, changes)
            for name, array in _arrays(path).items()
        }
    else:
        raise BadValue(
            f"{path}: expected a folder of PNG or JPEG files, a .npz or a .npy file, got a file "
            f"that ends in {path.suffix or 'nothing'!r}"
        )
    train, test = _split(path, parts, notes)
    return OwnImages(
        torch.from_numpy(train.values),
        torch.from_numpy(test.values),
        train.height,
        train.width,
        tuple(dict.fromkeys(notes)),
        tuple(dict.fromkeys(changes)),
    )


def _split(path: Path, parts: dict[str, _Pixels], notes: list[str]) -> tuple[_Pixels, _Pixels]:
    """What is trained on and what is held out."""
    if "test" in parts:
        train, test = parts["train"], parts["test"]
        if train[1:] != test[1:]:
            raise BadValue(
                f"{path}: expected 'train' and 'test' of one size, got {train.height} x "
                f"{train.width} and {test.height} x {test.width} pixels (height x width)"
            )
        if len(test.values) < 2:
            raise BadValue(
                f"{path}: expected at least 2 images in 'test', because of one there is no "
                f"standard error, got {len(test.values)}; add some, or leave 'test' out of a file "
                f"with 'images', of which a random tenth is held out"
            )
        return train, test
    values, height, width = parts["images"]
    if len(values) < 3:
        raise BadValue(
            f"{path}: expected at least 3 images, because 2 are held out, got {len(values)}"
        )
    held_out = max(2, len(values) // 10)  # of one there is no standard error
    notes.append(f"{held_out} of {len(values)} images, at random, are held out")
    # Files are often sorted by class. This generator of NumPy's is one that no version changes.
    chosen = np.random.RandomState(0).permutation(len(values)) < held_out
    return _Pixels(values[~chosen], height, width), _Pixels(values[chosen], height, width)


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file: ``train`` and ``test``, or ``images``."""
    magic = b"PK" if path.suffix == ".npz" else b"\x93NUMPY"
    with open(path, "rb") as file:  # numpy leaves one open that it cannot read
        if file.read(len(magic)) != magic:
            raise BadValue(f"{path}: this is no {path.suffix} file; write it with numpy.save(z)")
        file.seek(0)
        try:
            # A pickle runs its author's code when it is read.
            content = np.load(file, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return {"images": content}
            names = {"train", "test"} if {"train", "test"} <= set(content.files) else {"images"}
            found = {name: content[name] for name in names & set(content.files)}
        except (zipfile.BadZipFile, zlib.error, EOFError, MemoryError, ValueError) as error:
            if "allow_pickle" in str(error):
                raise BadValue(
                    f"{path}: holds pickled arrays (dtype object), which are not read, because a "
                    f"pickle can run any code; store {LAYOUT}"
                ) from error
            raise BadValue(f"{path}: cannot be read ({error}); take another copy") from error
    if not found:
        raise BadValue(
            f"{path}: expected the arrays 'train' and 'test', or 'images', got "
            f"{', '.join(map(repr, content.files)) or 'none'}; an array is {LAYOUT}"
        )
    return found


def _pixels(array: np.ndarray, name: str, notes: list[str], changes: list[str]) -> _Pixels:
    """An array as rows of uint8, with their layout."""
    shape = tuple(array.shape)
    if array.ndim not in (2, 3) or array.size == 0:
        raise BadValue(f"{name}: expected {LAYOUT}; got {array.dtype} of shape {shape}")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise BadType(f"{name}: expected {LAYOUT}; got {array.dtype} of shape {shape}")
    low, high = array.min(), array.max()
    got = f"{array.dtype} of shape {shape} with values {low:.4g} to {high:.4g}"
    if array.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # NaN is not
            raise BadValue(f"{name}: expected {LAYOUT}; got {got}")
        array = np.rint(array * 255).astype(np.uint8)
        changes.append("grey values in [0, 1] were rounded to 256 levels")
    if array.max() <= 1:
        raise BadValue(f"{name}: expected {LAYOUT}; got {got}, almost black: multiply by 255")
    if array.ndim == 3:
        height, width = shape[1:]
    else:
        side = math.isqrt(shape[1])
        height, width = (side, side) if side * side == shape[1] else (1, shape[1])
        notes.append(f"rows of {shape[1]} pixels are taken as {height} x {width} (height x width)")
    return _Pixels(np.ascontiguousarray(array).reshape(len(array), -1), height, width)


def _from_folder(folder: Path, changes: list[str]) -> _Pixels:
    """The PNG and JPEG files of a folder, in the order of their names."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise BadValue(
            f"{folder}: expected files that end in {', '.join(SUFFIXES)}, got none; folders in it "
            f"are not searched"
        )
    images = []
    for file in files:
        images.append(_image(file, changes))
        if images[-1].shape != images[0].shape:
            expected, got = (f"{h} x {w}" for h, w in (images[0].shape, images[-1].shape))
            raise BadValue(
                f"{file}: expected {expected} pixels (height x width) as in {files[0].name}, got "
                f"{got}; bring all images to one size"
            )
    high = max(image.max() for image in images)
    if high <= 1:  # masks, whose zeros and ones look alike
        raise BadValue(
            f"{folder}: expected pictures with grey values from 0 to 255, got {len(files)} with "
            f"none above {high}, almost black; masks of 0 and 1 are to be multiplied by 255"
        )
    height, width = images[0].shape
    return _Pixels(np.stack(images).reshape(len(images), -1), height, width)


def _image(file: Path, changes: list[str]) -> np.ndarray:
    """One picture as uint8 [height, width]."""
    from PIL import Image, ImageOps  # here, because only folders of pictures need it

    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)  # a camera stores how it was held
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadValue(
            f"{file}: cannot be read as a picture ({error}); replace or delete it"
        ) from error
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise BadValue(
                f"{file}: expected opaque pixels, got transparent ones; lay the picture on a "
                f"background first"
            )
    if image.mode not in ("1", "L", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"):
        raise BadValue(
            f"{file}: expected 8 bits per colour, got a picture of mode {image.mode!r}; convert it "
            f"to 8 bits"
        )
    grey = image.convert("L")  # ITU-R 601: 0.299 R + 0.587 G + 0.114 B
    if image.mode not in ("1", "L"):
        changes.append("colour was turned to grey")
    return np.asarray(grey)
