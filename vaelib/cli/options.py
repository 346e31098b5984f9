"""What can be asked for: the commands and their options, with unit, range and default of each."""

import argparse
import difflib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from vaelib.cli import settings
from vaelib.cli.build import DATA, LIKELIHOODS, NETS, PRIORS
from vaelib.cli.settings import Settings

N = TypeVar("N", int, float)

# With these a VAE of the bundled digits ends at an ELBO of about -102 nats.
DEFAULTS: dict[str, Any] = {
    "data": "digits",
    "net": "mlp",
    "latent": 16,
    "likelihood": "bernoulli",
    "prior": "normal",
    "components": 100,
    "iwae": None,
    "beta": 1.0,
    "batch_size": 64,
    "lr": 3e-3,
    "warmup": 0,
    "clip": None,
    "precision": "float32",
    "compile": False,
    "patience": None,
    "seed": 0,
    "device": "auto",
}
STEPS, FEWEST, MOST = 3000, 10, 100  # what `epochs` aims at; 24 epochs of the digits
# What a number may be at most. Two layers of the largest size have 4 TB of weights between them.
SIZE, COUNT, SEED = 10**6, 10**9, 2**64 - 1  # the last is torch's
WIDE = 12  # latent dimensions from which on many would switch off (see nets.MLPEncoder)


def epochs(images: int, batch_size: int) -> int:
    """The default number of epochs.

    >>> epochs(8000, 64), epochs(60_000, 64), epochs(36, 64)
    (24, 10, 100)
    """
    return min(MOST, max(FEWEST, math.ceil(STEPS / math.ceil(images / batch_size))))


def spread(latent: int) -> float:
    """The default spread of the initial means.

    >>> spread(2), spread(16)
    (1.0, 10.0)
    """
    return 10.0 if latent >= WIDE else 1.0


class _Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vaelib: error: {message}; {self.prog} --help lists what there is\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but a command's own parser refuses what it does not know, by its prog."""
        read, rest = super().parse_known_args(args, namespace)
        if rest:
            near = difflib.get_close_matches(rest[0], self._option_string_actions, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return read, rest


def parser() -> argparse.ArgumentParser:
    """The command line. An option that is not given is not in what it returns."""
    top = _Parser(
        prog="python -m vaelib",
        description="Train, evaluate and sample variational autoencoders. Bounds and losses are "
        "per image, in nats, summed over pixels.",
        epilog="Exit codes: 0 done; 1 an error, told in one line; 2 a command line that cannot be "
        "read; 130 stopped by Ctrl-C.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for name, about, more, add in (
        (
            "train",
            "train a VAE in a run folder, or go on after a break",
            "Example: python -m vaelib train --data pictures --folder run",
            _train,
        ),
        (
            "evaluate",
            "measure trained VAEs on the images that were held out",
            "The table has the ELBO and its two terms, rate (the KL) and distortion (minus the "
            "mean log p(x | z)); L_K, which is nearer to log p(x), with its effective samples; and "
            "the active units, latent dimensions that tell images apart. Example: python -m vaelib "
            "evaluate run",
            _evaluate,
        ),
        (
            "sample",
            "draw images from a trained VAE",
            "Example: python -m vaelib sample run --number 100 --out samples.png",
            _sample,
        ),
    ):
        command = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=more,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        add(command)
    return top


def read(folder: Path) -> Settings:
    """The settings in a run's folder, each of which its option would take.

    Raises:
        FileNotFoundError: if there are none.
        ValueError: if the file is damaged, or a value is none that its option takes; names both.
    """
    values = settings.values(folder)
    command = _FileParser(argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=False)
    _train(command)
    command.add_argument("--height", type=_whole(1, SIZE))
    command.add_argument("--width", type=_whole(1, SIZE))
    command.add_argument("--held-out", type=_name)
    words = [f"--folder={folder}"]
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if name == "hidden" and isinstance(value, list):
            words += [flag, *map(str, value)] if value else []
        elif value is True:
            words.append(flag)
        elif name not in DEFAULTS or value is not DEFAULTS[name]:  # None and False have no word
            words.append(f"{flag}={value}")
    try:
        read = {"hidden": [], **DEFAULTS, **vars(command.parse_args(words))}
        for name, value in values.items():
            if read[name] != value:  # "8" for 8, say
                raise ValueError(f"{name}: expected {read[name]!r}, got {value!r}")
    except ValueError as error:
        raise ValueError(
            f"{folder / settings.NAME}: {error}; it was altered: bring back what train wrote, or "
            f"train again into another folder"
        ) from error
    return Settings(**{name: read[name] for name in values})


class _FileParser(argparse.ArgumentParser):
    """Of values that come from a file."""

    def error(self, message: str) -> NoReturn:
        name, colon, rest = message.removeprefix("argument --").partition(": ")
        raise ValueError(f"{name.replace('-', '_')}{colon}{rest}")


def _train(command: argparse.ArgumentParser) -> None:
    d = DEFAULTS
    add = command.add_argument_group("run").add_argument
    add(
        "--folder",
        required=True,
        type=_name,
        help="of this run: checkpoint, history.csv and settings.json; made if it is not there",
    )
    add(
        "--resume",
        action="store_true",
        help="go on from the folder's checkpoint, with its settings: no other option is needed. "
        "Without a checkpoint the run starts, so that one command, which then names --data, serves "
        "before and after a kill",
    )
    add(
        "--save-every",
        type=_whole(1),
        metavar="STEPS",
        help="also write a checkpoint after so many steps, 1 or more (default: after each epoch)",
    )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        help="auto is cuda where torch sees a GPU (default auto)",
    )
    add(
        "--seed",
        type=_whole(0, SEED),
        help="of initial weights, order and noise, 0 or more (default 0)",
    )
    add(
        "--quiet",
        action="store_true",
        help="print errors only, and what was changed in the images",
    )

    add = command.add_argument_group("data").add_argument
    add(
        "--data",
        type=_name,
        metavar="DATA",
        help=f"{', '.join(DATA)} (the last two are downloaded unless $VAELIB_DATA, a Debian "
        f"package or the cache has them), or images of your own, all of one size: a folder of PNG "
        f"or JPEG files, a .npz file with arrays train and test, or images, or a .npy file. Arrays "
        f"are uint8 [n, height, width] or [n, pixel], 0 to 255, or floating point in [0, 1]. "
        f"Without an array test a random tenth is held out, at least 2 images "
        f"(default {d['data']})",
    )
    add(
        "--likelihood",
        choices=tuple(LIKELIHOODS),
        help="of a pixel. bernoulli binarizes the images, afresh in each step: a pixel v is 1 with "
        "probability v / 255. The others take grey pixels v / 255: continuous-bernoulli and "
        "gaussian by a density, categorical by a probability for each of the 256 levels, for which "
        "the decoder's last layer is 256 times as wide, and slow without a GPU. Bounds of the "
        "three kinds (binary pixels, densities, levels) are not to be compared (default "
        f"{d['likelihood']})",
    )

    add = command.add_argument_group("model").add_argument
    add(
        "--net",
        choices=tuple(NETS),
        help="encoder and decoder: mlp; conv, for images of 28 x 28 pixels; linear, without a "
        "hidden layer; two-layer, two layers of latent variables after Burda et al. 2016, the "
        f"lower with twice as many (default {d['net']})",
    )
    add(
        "--hidden",
        type=_whole(1, SIZE),
        nargs="+",
        metavar="WIDTH",
        help="widths of the hidden layers, each 1 or more; the decoder has them in reverse, and "
        "the networks between two layers of latent variables are half as wide "
        f"(default {', '.join(f'{k}: {_list(v.hidden)}' for k, v in NETS.items())})",
    )
    add(
        "--latent",
        type=_whole(1, SIZE),
        metavar="DIMENSIONS",
        help="of the latent variable z, 1 or more; with two-layer, of the upper one (default "
        f"{d['latent']})",
    )
    add(
        "--spread",
        type=_real(0.0),
        metavar="FACTOR",
        help="on the initial weights of an encoder's mean, above 0; 10 keeps more of many "
        f"latent dimensions in use (default 10 from {WIDE} dimensions on, otherwise 1)",
    )
    add(
        "--prior",
        choices=tuple(PRIORS),
        help="of z: N(0, I), a learned mixture of normals, or (vamp) the mean of the encoder's q "
        f"at learned pseudo-inputs; two-layer takes normal only (default {d['prior']})",
    )
    add(
        "--components",
        type=_whole(1, SIZE),
        metavar="NORMALS",
        help=f"in a mixture or vamp prior, 1 or more (default {d['components']})",
    )
    add(
        "--iwae",
        type=_whole(1),
        metavar="SAMPLES",
        help="train on the importance-weighted bound of so many samples per image, 1 or more, "
        "instead of the ELBO, which has one (default: do not)",
    )
    add(
        "--beta",
        type=_real(0.0, included=True),
        metavar="WEIGHT",
        help="of the KL in the loss, 0 or more; with 1 the loss is minus the ELBO, and --iwae and "
        f"two-layer take no other (default {d['beta']:g})",
    )

    add = command.add_argument_group("training").add_argument
    add(
        "--epochs",
        type=_whole(1),
        metavar="EPOCHS",
        help="passes over the images, 1 or more (default: as many as make "
        f"{STEPS:,} steps, at least {FEWEST} and at most {MOST})",
    )
    add(
        "--batch-size",
        type=_whole(1),
        metavar="IMAGES",
        help=f"per step, 1 or more (default {d['batch_size']})",
    )
    add(
        "--lr",
        type=_real(0.0),
        metavar="RATE",
        help=f"learning rate of Adam at the first step, above 0; it falls to 0 along half a cosine "
        f"(default {d['lr']:g})",
    )
    add(
        "--warmup",
        type=_whole(0),
        metavar="EPOCHS",
        help="over which the KL's weight rises from 0 to beta, 0 or more; two-layer takes 0 only "
        f"(default {d['warmup']})",
    )
    add(
        "--clip",
        type=_real(0.0),
        metavar="NORM",
        help="scale a longer gradient down to this norm, above 0 (default: never)",
    )
    add(
        "--patience",
        type=_whole(1),
        metavar="EPOCHS",
        help="stop after so many epochs without a better loss, 1 or more, and keep the best "
        "weights; measured on a random tenth of the training images, which is split off (default: "
        "never)",
    )
    add(
        "--precision",
        choices=("float32", "bfloat16"),
        help="of matrix products; bfloat16 needs hardware for it (default float32)",
    )
    add(
        "--compile",
        nargs="?",
        const=True,
        choices=("cuda-graph",),
        help="compile the model by torch, half a minute once; cuda-graph also records a whole step "
        "as one CUDA graph, which saves a GPU the launches (default: do not)",
    )


def _evaluate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "runs",
        nargs="+",
        type=_name,
        metavar="RUN",
        help="the --folder of train; of several, seeds of one model, each has a column, and the "
        "last is their mean and deviation",
    )
    add(
        "--images",
        type=_whole(2),
        default=500,
        help="of the held-out ones, at random, 2 or more, all if there are fewer (default 500)",
    )
    add(
        "--samples",
        type=_whole(1),
        default=500,
        help="K of L_K, the estimate of log p(x), 1 or more; papers take 5000, and time grows with "
        "images times samples (default 500)",
    )
    add(
        "--refine",
        action="store_true",
        help="also give L_K from a better q than the encoder's, improved for each image by itself; "
        "takes several times as long. For when the table ends in a warning; not for two-layer, "
        "whose q is no single normal",
    )
    add(
        "--json",
        type=_name,
        metavar="PATH",
        help="also write the numbers into this file (default: do not)",
    )
    _elsewhere(command, "of choice, binarization and noise, 0 or more (default 0)")


def _sample(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", type=_name, metavar="RUN", help="the --folder of train")
    add("--number", type=_whole(1), default=64, help="of images, 1 or more (default 64)")
    add(
        "--mean",
        action="store_true",
        help="show the decoder's mean instead of a sample of each pixel: smoother, and what many "
        "papers print, but not a sample of the model",
    )
    add(
        "--out",
        type=_name,
        metavar="PNG",
        help="a sheet of all images (default RUN/samples.png, none if --npz is given)",
    )
    add(
        "--npz",
        type=_name,
        metavar="NPZ",
        help="the pixels: array images, uint8 [number, height, width], as --data takes them; grey "
        "outside of [0, 1] is cut off (default: none)",
    )
    _elsewhere(command, "of the noise, 0 or more (default 0)")


def _elsewhere(command: argparse.ArgumentParser, seed: str) -> None:
    """Options of both commands that read a run, which may have been trained elsewhere."""
    add = command.add_argument
    if command.prog.endswith("evaluate"):
        add(
            "--data",
            type=_name,
            help="where the run's data are, if they were moved (default: as trained)",
        )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="to compute on; a run of a GPU is read on a CPU too (default auto)",
    )
    add("--seed", type=_whole(0, SEED), default=0, help=seed)


def _list(widths: list[int]) -> str:
    return " ".join(map(str, widths)) or "none"


def _name(word: str) -> str:
    if not word.strip() or "\0" in word:  # Path("") is the current folder
        raise argparse.ArgumentTypeError(f"expected a name, got {word!r}; '.' is this folder")
    return word


def _whole(low: int, high: int = COUNT) -> Callable[[str], int]:
    return _number(
        int, f"a whole number from {low} to {high:,}", lambda value: low <= value <= high
    )


def _real(low: float, *, included: bool = False) -> Callable[[str], float]:
    sign = "≥" if included else ">"
    return _number(
        float,
        f"a number {sign} {low:g}",
        lambda v: math.isfinite(v) and (v > low or (included and v == low)),
    )


def _number(
    kind: Callable[[str], N], expected: str, fits: Callable[[N], bool]
) -> Callable[[str], N]:
    """A reader of an option's value that says what it expected."""

    def read(word: str) -> N:
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {word!r}")
        return value

    return read
