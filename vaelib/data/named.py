"""Data that have a name: 10,000 bundled MNIST digits, MNIST and Fashion-MNIST."""

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib import files
from vaelib.arguments import BadValue, require_whole

__all__ = ["Images", "digits", "fashion_mnist", "mnist"]

_PACKAGE = Path(__file__).parent.parent
_LEARN = 8_000  # of the bundled digits; the others are the test


class Images(NamedTuple):
    """A data set with its fixed split. Images ``uint8 [n, 784]``, labels ``uint8 [n]``.

    ``train`` is what weights learn from, ``validation`` what chooses (a learning rate, when to
    stop, which of two models), and ``test`` what the chosen one is measured on, once. Where nothing
    was set aside to choose by, ``validation`` has no rows.

    >>> images, labels = torch.zeros(3, 784, dtype=torch.uint8), torch.zeros(3, dtype=torch.uint8)
    >>> len(Images(images, labels, images, labels).validation)
    0
    """

    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    validation: Tensor = torch.empty(0, 784, dtype=torch.uint8)
    validation_labels: Tensor = torch.empty(0, dtype=torch.uint8)


def digits(validation: int = 0) -> Images:
    """10,000 MNIST digits that ship with the package: 8,000 to learn from, 2,000 held out.

    They are the first 10,000 images of MNIST's *training* set, in an order that was shuffled once;
    none is in MNIST's official test set. MNIST is by Y. LeCun, C. Cortes and C. Burges and stands
    under CC BY-SA 3.0 (see NOTICE).

    Args:
        validation: how many of the 8,000 to set aside for choices, the last ones of them. The test
            images are the same 2,000 whatever it is, so numbers on them can be compared; but a
            model that learned from 7,000 saw less than one that learned from all 8,000.

    Raises:
        TypeError, ValueError: if it is no whole number from 0 to 7,999.

    >>> digits().train.shape, digits().test.shape
    (torch.Size([8000, 784]), torch.Size([2000, 784]))
    >>> parts = digits(validation=1_000)
    >>> len(parts.train), len(parts.validation), len(parts.test)
    (7000, 1000, 2000)
    """
    require_whole("digits", "validation", validation, least=0)
    if validation >= _LEARN:
        raise BadValue(
            f"digits: expected validation below {_LEARN:,}, so that something is left to learn "
            f"from, got {validation:,}",
            "validation",
        )
    with np.load(_PACKAGE / "digits.npz") as archive:
        images = torch.from_numpy(archive["images"]).flatten(1)
        labels = torch.from_numpy(archive["labels"])
    sizes = (_LEARN - validation, validation, len(images) - _LEARN)
    train, chosen_by, test = images.split(sizes)
    train_labels, its_labels, test_labels = labels.split(sizes)
    return Images(train, train_labels, test, test_labels, chosen_by, its_labels)


_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


class _Source(NamedTuple):
    """Where the four files of a data set are found, and what they must hash to."""

    name: str
    url: str
    sha256: tuple[str, ...]  # of the *decompressed* bytes: archives get recompressed on their way


_FASHION_MNIST = _Source(
    "fashion-mnist",
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
)
_MNIST = _Source(
    "mnist",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
_DEBIAN = Path("/usr/share/datasets")


def fashion_mnist() -> Images:
    """Fashion-MNIST: 60,000 training and 10,000 test images of clothes (H. Xiao et al., MIT).

    The four IDX files (plain or ``.gz``) are looked for in ``$VAELIB_DATA``, in Debian's package
    ``dataset-fashion-mnist`` and in the cache, and downloaded into the cache otherwise. Each file's
    decompressed bytes are compared with a known SHA-256, every time.

    Raises:
        ValueError: if a file is truncated or altered; names the file, both hashes, the remedy.
        ConnectionError: if a file is not at hand and cannot be downloaded.

    References:
        Xiao, Rasul and Vollgraf, Fashion-MNIST (arXiv:1708.07747).

    >>> os.environ["VAELIB_DATA"] = "where/the/files/are"  # doctest: +SKIP
    >>> clothes = fashion_mnist()  # doctest: +SKIP
    >>> clothes.train.shape, clothes.test_labels.bincount()  # doctest: +SKIP
    (torch.Size([60000, 784]),
     tensor([1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000]))
    >>> Images._fields[:4]
    ('train', 'train_labels', 'test', 'test_labels')
    """
    return _load(_FASHION_MNIST)


def mnist() -> Images:
    """MNIST: 60,000 training and 10,000 test digits. Found and verified as in `fashion_mnist`.

    Raises:
        ValueError: if a file is truncated or altered; names the file, both hashes, the remedy.
        ConnectionError: if a file is not at hand and cannot be downloaded.

    References:
        LeCun, Cortes and Burges, The MNIST database of handwritten digits (CC BY-SA 3.0).

    >>> images = mnist()  # doctest: +SKIP
    >>> images.train.shape, images.test.shape  # doctest: +SKIP
    (torch.Size([60000, 784]), torch.Size([10000, 784]))
    >>> len(digits().train) + len(digits().test)  # of these 60,000; none of these 10,000
    10000
    """
    return _load(_MNIST)


def _load(source: _Source) -> Images:
    """Find, or download, and verify the four files of a data set."""
    arrays = [
        _read_idx(_content(source, file, sha256))
        for file, sha256 in zip(_FILES, source.sha256, strict=True)
    ]
    train, train_labels, test, test_labels = (torch.from_numpy(a) for a in arrays)
    return Images(train.flatten(1), train_labels, test.flatten(1), test_labels)


def _content(source: _Source, file: str, sha256: str) -> bytes:
    """The decompressed bytes of one file, from the first place that has it."""
    for folder in _places(source):
        for path in (folder / file, folder / f"{file}.gz"):
            if path.exists():
                return _verified(path, sha256, "replace or delete it")
    return _download(source, file, sha256, _cache() / source.name)


def _places(source: _Source) -> Iterator[Path]:
    """Where a file may be; the cache comes last, for only it and a download need pooch."""
    if "VAELIB_DATA" in os.environ:
        yield Path(os.environ["VAELIB_DATA"])
    yield _DEBIAN / source.name
    yield _cache() / source.name


def _verified(path: Path, sha256: str, remedy: str) -> bytes:
    """The decompressed bytes of a file on disk, provided that their hash is the known one."""
    content = path.read_bytes()
    try:
        if ".gz" in path.suffixes:
            content = gzip.decompress(content)
        got = hashlib.sha256(content).hexdigest()
    except (EOFError, OSError, zlib.error) as error:
        got = f"none, since they cannot be decompressed ({error})"
    if got != sha256:
        raise BadValue(
            f"{path}: expected decompressed bytes with SHA-256 {sha256}, got {got}. The file is "
            f"truncated or altered: {remedy} and call again"
        )
    return content


def _download(source: _Source, file: str, sha256: str, cache: Path) -> bytes:
    """Fetch one archive into the cache, where it gets its name only once it is verified."""
    import pooch  # here, because it costs 100 ms, and the bundled digits need none of it

    url = f"{source.url}{file}.gz"
    try:
        with tempfile.TemporaryDirectory() as folder:
            pooch.retrieve(url, known_hash=None, fname=f"{file}.gz", path=Path(folder))
            fetched = Path(folder) / f"{file}.gz"
            content = _verified(fetched, sha256, "it was discarded; look at the network")
            files.replace(cache / f"{file}.gz", fetched.read_bytes())
    except OSError as error:
        raise ConnectionError(
            f"{file} of {source.name}: expected it in $VAELIB_DATA, {_DEBIAN / source.name} or "
            f"{cache}, found it in none, and could not download {url} ({error}). Put the four IDX "
            f"files into a folder and set VAELIB_DATA to it"
        ) from error
    return content


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("vaelib"))


def _read_idx(content: bytes) -> np.ndarray:
    """An IDX file of unsigned bytes: 2 zero bytes, type 8, the number of axes, their sizes."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4).astype(int)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()
