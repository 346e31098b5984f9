"""Data whose causes are known, made from the bundled digits, or drawn: to see what a model finds.

Each function makes the same data whenever it gets the same arguments, and `write` puts those of the
default arguments into files.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadValue, require_number, require_whole
from vaelib.data.named import digits

__all__ = [
    "ODDITIES",
    "Instruments",
    "Painted",
    "Photons",
    "Strangers",
    "holes",
    "instruments",
    "painted",
    "photons",
    "strangers",
    "write",
]

SIDE, PADDED, LEVELS = 28, 32, 8  # pixels of a digit, of a painted one; levels of its noise
# Of a painted picture without noise, so that noise leaves 0 … 255 nowhere and meets no edge: the
# last levels of a discretized likelihood take in all that lies beyond them.
LOW, HIGH = 16, 232
ODDITIES = ("inverted", "rotated", "shifted", "blank")


class Painted(NamedTuple):
    """Painted digits: what is seen, what it was before the noise, and why it looks so."""

    images: Tensor  # uint8 [n, 3, 32, 32]
    clean: Tensor  # uint8 [n, 3, 32, 32]; images - clean is the noise, 0 … 7
    factors: Tensor  # float32 [n, 4]: hue of the digit, hue of the paper, both in [0, 1), its
    # brightness in [0.35, 0.75], and the slope of the light, from -0.3 to 0.3
    labels: Tensor  # int64 [n], the digit


def painted(n: int = 2000, *, seed: int = 0) -> Painted:
    """Digits in colour on coloured paper, with noise whose entropy is 3 bits for each value.

    A digit of a random hue lies on paper of another, under light that changes from left to right.
    To each value is added one of 0 … 7, each with probability 1/8, independently, so that no model
    can describe a picture in fewer than 3 bits per dimension: what it takes above is for the
    picture itself.

    Args:
        n: how many, from 1 to 10,000; each is another of the bundled digits.
        seed: of the generator.

    >>> data = painted(100)
    >>> (data.images - data.clean).unique().tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    generator = _generator(seed)
    ink, labels = _digits(n, generator)
    ink = torch.nn.functional.pad(ink.float() / 255, [2, 2, 2, 2])[:, None]
    hue, paper, brightness, slope = torch.rand(4, n, generator=generator)
    brightness, slope = 0.35 + 0.4 * brightness, 0.6 * slope - 0.3
    light = 1 + slope[:, None] * torch.linspace(-1, 1, PADDED)
    ground = _colour(paper, brightness, 0.45)[..., None, None] * light[:, None, None]
    picture = ground * (1 - ink) + _colour(hue, torch.ones(n), 0.9)[..., None, None] * ink
    clean = (LOW + (HIGH - LOW) * picture).round().to(torch.uint8)
    noise = torch.empty_like(clean).random_(0, LEVELS, generator=generator)
    factors = torch.stack([hue, paper, brightness, slope], 1)
    return Painted(clean + noise, clean, factors, labels)


class Instruments(NamedTuple):
    """A table of measurements, and all that it was made of."""

    table: Tensor  # float32 [n, 6], in the units of the names
    causes: Tensor  # float64 [n, 2], each N(0, 1)
    names: tuple[str, ...]
    mean: Tensor  # float64 [6]
    loadings: Tensor  # float64 [6, 2]: units for one standard deviation of a cause
    variances: Tensor  # float64 [6], of the noise


# One line for an instrument: name, mean, units for 1 of the rest, loadings on both causes, and
# variance of the noise, which is 0.05 at least in units too.
_INSTRUMENTS = (
    ("temperature_celsius", 14.0, 6.0, 0.9, 0.1, 0.18),
    ("radiation_watt_per_m2", 420.0, 150.0, 0.8, -0.4, 0.20),
    ("humidity_percent", 65.0, 12.0, -0.7, 0.5, 0.26),
    ("pressure_hectopascal", 1013.0, 8.0, 0.2, -0.9, 0.15),
    ("wind_metre_per_second", 5.0, 2.0, -0.1, 0.8, 0.35),
    ("waves_metre", 2.0, 1.0, 0.1, 0.9, 0.18),
)


def instruments(n: int = 2000, *, seed: int = 0) -> Instruments:
    r"""Six instruments at a coast that see two things, the sun and the storm, and have noise.

    $x = \mu + \Lambda c + \varepsilon$ with $c \sim N(0, I)$ and independent
    $\varepsilon_i \sim N(0, \psi_i)$, each column in a unit of its own: a linear Gaussian model, of
    which everything is known.

    Args:
        n: lines of the table, 1 or more.
        seed: of the generator.

    >>> made = instruments()
    >>> made.table.shape, bool(made.variances.min() >= 0.05)
    (torch.Size([2000, 6]), True)
    """
    require_whole("instruments", "n", n, least=1)
    generator = _generator(seed)
    names = tuple(line[0] for line in _INSTRUMENTS)
    mean, unit, sun, storm, noise = torch.tensor(
        [line[1:] for line in _INSTRUMENTS], dtype=torch.float64
    ).T
    loadings = unit[:, None] * torch.stack([sun, storm], 1)
    variances = unit.square() * noise
    causes = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    eps = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    table = mean + causes @ loadings.T + variances.sqrt() * eps
    return Instruments(table.float(), causes, names, mean, loadings, variances)


def holes(table: Tensor, share: float = 0.3, *, seed: int = 0) -> Tensor:
    """A table in which a share of the cells is missing (nan), whatever stands in them.

    Each cell is taken away with probability ``share``, independently; a row that would have lost
    all of its cells is drawn again.

    Args:
        table: floating point ``[n, columns]``.
        share: in [0, 1).
        seed: of the generator.

    >>> holes(torch.ones(2, 4), 0.5, seed=2)
    tensor([[1., nan, 1., nan],
            [1., 1., nan, nan]])
    """
    require_number("holes", "share", share, least=0.0)
    if share >= 1:
        raise BadValue(f"holes: expected a share below 1, got {share}; something is to be seen")
    generator = _generator(seed)
    lost = torch.rand(table.shape, generator=generator) < share
    while (bare := lost.all(1)).any():
        lost[bare] = torch.rand(int(bare.sum()), table.shape[1], generator=generator) < share
    return table.masked_fill(lost, torch.nan)


class Photons(NamedTuple):
    """Counts of photons, and the rates that they were drawn with."""

    counts: Tensor  # int64 [n, 28, 28]
    rates: Tensor  # float32 [n, 28, 28], expected photons
    labels: Tensor  # int64 [n], the digit


def photons(n: int = 2000, *, brightest: float = 4.0, dark: float = 0.1, seed: int = 0) -> Photons:
    """Digits by candlelight: of each pixel so many photons arrive, by a Poisson distribution.

    Args:
        n: how many, from 1 to 10,000.
        brightest: photons that a white pixel has on average beyond ``dark``.
        dark: those that a black one has, above 0.
        seed: of the generator.

    >>> made = photons(100)
    >>> made.counts.shape, made.rates.min(), made.rates.max()
    (torch.Size([100, 28, 28]), tensor(0.1000), tensor(4.1000))
    """
    require_number("photons", "brightest", brightest, least=0.0)
    require_number("photons", "dark", dark, least=0.0)
    generator = _generator(seed)
    images, labels = _digits(n, generator)
    rates = dark + brightest * images.float() / 255
    return Photons(torch.poisson(rates, generator=generator).long(), rates, labels)


class Strangers(NamedTuple):
    """New digits, of which some are odd."""

    images: Tensor  # uint8 [n, 28, 28]
    kinds: tuple[str, ...]  # what each is: "digit", or one of ODDITIES
    labels: Tensor  # int64 [n], the digit that it was


def strangers(n: int = 200, odd: int = 40, *, seed: int = 0) -> Strangers:
    """Held-out digits, of which some are inverted, rotated by 90°, shifted by 7 pixels, or blank.

    They are among the 2,000 that `digits` holds out.

    Args:
        n: how many, from 1 to 2,000.
        odd: how many of them are odd, as many of each oddity as of the others.
        seed: of the generator.

    >>> from collections import Counter
    >>> made = strangers(100, odd=20)
    >>> sorted(Counter(made.kinds).items())
    [('blank', 5), ('digit', 80), ('inverted', 5), ('rotated', 5), ('shifted', 5)]
    """
    require_whole("strangers", "odd", odd, least=0)
    require_whole("strangers", "n", n, least=max(1, odd))
    _, _, images, labels, *_ = digits()
    if n > len(images):
        raise BadValue(f"strangers: expected n ≤ {len(images)}, got {n}", "n")
    generator = _generator(seed)
    chosen = torch.randperm(len(images), generator=generator)[:n]
    made = images[chosen].reshape(n, SIDE, SIDE).clone()
    kinds = ["digit"] * n
    for number, i in enumerate(torch.randperm(n, generator=generator)[:odd].tolist()):
        kinds[i] = ODDITIES[number % len(ODDITIES)]
        made[i] = _CHANGE[kinds[i]](made[i])
    return Strangers(made, tuple(kinds), labels[chosen].long())


_CHANGE: dict[str, Callable[[Tensor], Tensor]] = {
    "inverted": lambda image: 255 - image,
    "rotated": lambda image: image.rot90(),
    "shifted": lambda image: torch.nn.functional.pad(image, [7, -7, 7, -7]),
    "blank": torch.zeros_like,
}


def write(folder: str | Path, *, n: int | None = None) -> dict[Path, str]:
    """Put examples into a folder, as files that `vaelib.data.own` reads.

    They are ``painted/`` (colour pictures), ``classes/0`` … ``classes/9`` (grey pictures with
    labels), ``table.csv``, ``holes.csv`` (the same with holes), ``photons.npy``, and ``new/`` (new
    digits for a model of ``classes``, some of them odd). The functions of this module give
    the same data, with their causes, by their default arguments.

    Args:
        folder: where; it is made if there is none.
        n: so many of each, 40 or more, in place of the defaults: 2,000, and 200 of the new ones.

    Returns:
        What was written, with a sentence on each.

    Raises:
        FileExistsError: if something of such a name is there.
    """
    folder = Path(folder)
    if n is not None:
        require_whole("write", "n", n, least=40)
    about = {folder / name: sentence for name, sentence in _ABOUT.items()}
    for path in about:
        if path.exists():
            raise FileExistsError(
                f"{path}: is there already; choose another folder, or take it away"
            )
    size = 2000 if n is None else n
    new = strangers(200 if n is None else min(n, 2000))
    names = [f"{i:04}-{kind}" for i, kind in enumerate(new.kinds)]
    images, labels, *_ = digits()
    _pictures(folder / "painted", painted(size).images.permute(0, 2, 3, 1))
    for k in range(10):
        some = images[:size][labels[:size] == k]
        _pictures(folder / "classes" / str(k), some.reshape(-1, SIDE, SIDE))
    _pictures(folder / "new", new.images, names)
    made = instruments(size)
    _table(folder / "table.csv", made.table, made.names)
    _table(folder / "holes.csv", holes(made.table), made.names)
    np.save(folder / "photons.npy", photons(size).counts.numpy())
    return about


_ABOUT = {
    "painted": "colour pictures with noise of 3 bits for each value",
    "classes": "grey pictures, a folder for each digit",
    "table.csv": "six instruments that see two causes",
    "holes.csv": "the same, 30 % of its cells empty",
    "photons.npy": "counts of photons, [n, 28, 28]",
    "new": "new digits for a model of classes, some of them odd, as their names say",
}


def _generator(seed: int) -> torch.Generator:
    require_whole("examples", "seed", seed, least=0)
    return torch.Generator().manual_seed(seed)


def _digits(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some of all bundled digits, ``uint8 [n, 28, 28]``, and which they are."""
    train, train_labels, test, test_labels, *_ = digits()
    images, labels = torch.cat([train, test]), torch.cat([train_labels, test_labels])
    require_whole("examples", "n", n, least=1)
    if n > len(images):
        raise BadValue(f"examples: expected n ≤ {len(images):,}, got {n}", "n")
    chosen = torch.randperm(len(images), generator=generator)[:n]
    return images[chosen].reshape(n, SIDE, SIDE), labels[chosen].long()


def _colour(hue: Tensor, brightness: Tensor, saturation: float) -> Tensor:
    """Red, green and blue ``[n, 3]`` in [0, 1]: three cosines, a third of the circle apart."""
    angle = 2 * torch.pi * (hue[:, None] - torch.arange(3) / 3)
    return brightness[:, None] * (1 - saturation * (1 - angle.cos()) / 2)


def _pictures(folder: Path, images: Tensor, names: list[str] | None = None) -> None:
    """PNG files of ``uint8 [n, height, width]`` or ``[n, height, width, 3]``."""
    from PIL import Image

    folder.mkdir(parents=True)
    for i, image in enumerate(images.numpy()):
        name = names[i] if names else f"{i:04}"
        Image.fromarray(image).save(folder / f"{name}.png")


def _table(path: Path, table: Tensor, names: tuple[str, ...]) -> None:
    """A ``.csv`` file that gives the same float32 when it is read; nan is an empty cell."""
    lines = [",".join("" if v != v else f"{v:.9g}" for v in row) for row in table.tolist()]
    path.write_text("\n".join([",".join(names), *lines]) + "\n", encoding="utf-8")
