"""What a run is: one dataclass, whose fields are the options of ``train`` and of its file.

A new option is a field here. Its metadata (`vaelib.run.option`) say what it takes, its default, its
help, and what runs that are older than it had in its place.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import vaelib
from vaelib.arguments import BadValue
from vaelib.data import Columns, Kind, Layout, Pictures
from vaelib.run.choices import DATA, FAMILIES, NETS, likely, names, theirs
from vaelib.run.option import (
    NEVER,
    SEED,
    SIZE,
    class_name,
    device_name,
    flag,
    name,
    option,
    options,
    read,
    real,
    whole,
)
from vaelib.train import checkpoint
from vaelib.train.step import Compile, Precision

FORMAT = "vaelib run 1"
NAME = "settings.json"
MEMORY = "(memory)"  # where data were that ``vaelib.fit`` was given as an array
STEPS, FEWEST, MOST = 3000, 10, 100  # what `epochs` aims at; 24 epochs of the digits
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


def warmup(chosen: Mapping[str, Any]) -> int:
    """The default number of epochs over which the KL's weight rises.

    >>> warmup({"likelihood": "logistics", "net": "conv", "iwae": None, "epochs": 20})
    2
    """
    has_kl = chosen["net"] != "two-layer" and chosen["iwae"] is None
    return max(1, chosen["epochs"] // 10) if chosen["likelihood"] == "logistics" and has_kl else 0


@dataclass(frozen=True)
class Settings:
    """The options of ``train`` that decide its result, each with a value; and the data's layout.

    With the defaults a VAE of the bundled digits ends at an ELBO of about -102 nats.

    >>> digits = found_in(Pictures(28, 28)) | {"held_out": "their hash"}
    >>> its = choose({"latent": 2}, 8000, digits)
    >>> its.latent, its.likelihood, its.epochs, its.layout  # one was given, the others follow
    (2, 'bernoulli', 24, Pictures(height=28, width=28, channels=1))
    """

    data: str = option(
        "digits",
        f"{', '.join(DATA)} (the last two are downloaded unless $VAELIB_DATA, a Debian package or "
        "the cache has them), or data of your own: a folder of PNG or JPEG pictures of one size, "
        "grey or colour, or of folders of them, a class each; a .npy file, or a .npz file with "
        "train and test, or with one of images and data; or a table, .csv or .tsv, with a row per "
        "datum. Arrays of uint8 are pixels, 0 to 255; of floating point numbers, NaN where one is "
        "missing; of other whole numbers counts. [n, height, width] and [n, channels, height, "
        "width] are pictures. Without an array test a random tenth is held out, at least 2",
        group="data",
        compared=False,  # data that were moved are told by what is in them, not by where they are
        type=name,
        metavar="DATA",
    )
    labels: str | None = option(
        None,
        "the column of a table that has the class of each row, which is then no value of it; the "
        "class of a picture is told by its folder",
        says="none",
        group="data",
        absent=None,
        type=name,
        metavar="COLUMN",
    )
    condition: bool = option(
        False,
        "tell encoder and decoder the class of each datum, so that sample can be asked for one "
        "(--label); the data need labels: a folder for each class, an array "
        "train_labels, or --labels",
        says="do not",
        group="model",
        absent=False,
        action="store_true",
    )
    start: str | None = option(
        None,
        "begin with the weights of this finished run, of the same model on other data, and not "
        "with random ones; what the model is made of is then taken from there",
        says="do not",
        group="run",
        absent=None,
        compared=False,  # once begun, a run goes on with its own weights
        type=name,
        metavar="RUN",
    )
    net: str = option(
        "mlp",
        "encoder and decoder: mlp; conv, for pictures of 16 to 128 pixels a side; linear, without "
        "a hidden layer; two-layer, two layers of latent variables after Burda et al. 2016, the "
        "lower with twice as many",
        group="model",
        choices=tuple(NETS),
    )
    hidden: list[int] = option(
        lambda chosen, _: NETS[chosen["net"]].hidden,
        "widths of the hidden layers, each 1 or more; the decoder has them in reverse, and the "
        "networks between two layers of latent variables are half as wide",
        says=", ".join(
            f"{k}: {' '.join(map(str, net.hidden)) or 'none'}" for k, net in NETS.items()
        ),
        group="model",
        type=whole(1, SIZE),
        nargs="+",
        metavar="WIDTH",
    )
    latent: int = option(
        16,
        "of the latent variable z, 1 or more; with two-layer, of the upper one",
        group="model",
        type=whole(1, SIZE),
        metavar="DIMENSIONS",
    )
    spread: float = option(
        lambda chosen, _: spread(chosen["latent"]),
        "on the initial weights of an encoder's mean, above 0; 10 keeps more of many latent "
        "dimensions in use",
        says=f"10 from {WIDE} dimensions on, otherwise 1",
        group="model",
        type=real(0.0),
        metavar="FACTOR",
    )
    likelihood: str = option(
        lambda chosen, _: likely(chosen["kind"], layout_of(chosen)),
        "how the values of a datum scatter around what the decoder says. Of grey pixels: "
        "bernoulli, which binarizes the pictures afresh in each step (a pixel v is 1 with "
        "probability v / 255), and of v / 255 continuous-bernoulli and gaussian by a density, "
        "categorical and logistics by a probability for each of the 256 levels. Of colour pixels: "
        "logistics. Of measurements: gaussian, or student-t where some lie far out. Of counts: "
        "poisson, or negative-binomial where they scatter more. Bounds of different likelihoods "
        "are not to be compared. A class of yours (--trust) is made without arguments",
        says="bernoulli of grey pixels, logistics of colour, gaussian of numbers, poisson of "
        "counts",
        group="data",
        choices=names("likelihood"),
    )
    prior: str = option(
        "normal",
        "of z: N(0, I), a learned mixture of normals, or (vamp) the mean of the encoder's q at "
        "learned pseudo-inputs; two-layer takes normal only. A class of yours (--trust) is made "
        "with latent",
        group="model",
        choices=names("prior"),
    )
    posterior: str = option(
        "normal",
        "the family of q(z | x): a normal with independent dimensions, or a class of yours "
        "(--trust), which is made with latent; two-layer and vamp take normal only",
        group="model",
        absent="normal",
        choices=names("posterior"),
    )
    components: int = option(
        100,
        "in a mixture or vamp prior, 1 or more",
        group="model",
        type=whole(1, SIZE),
        metavar="NORMALS",
    )
    iwae: int | None = option(
        None,
        "train on the importance-weighted bound of so many samples per datum, 1 or more, instead "
        "of the ELBO, which has one",
        says="do not",
        group="model",
        type=whole(1),
        metavar="SAMPLES",
    )
    beta: float = option(
        1.0,
        "of the KL in the loss, 0 or more; with 1 the loss is minus the ELBO, and --iwae and "
        "two-layer take no other",
        group="model",
        type=real(0.0, included=True),
        metavar="WEIGHT",
    )
    trust: list[str] = option(
        None,
        "import the class from the module, mine:Poisson from mine.py in this folder say, and run "
        "its code: then --likelihood, --prior or --posterior takes it by its name. May be given "
        "several times",
        says="none",
        group="model",
        absent=[],
        compared=False,  # what the run is made of is told by the names of its parts
        type=class_name,
        action="append",
        metavar="MODULE:CLASS",
    )
    epochs: int = option(
        lambda chosen, images: epochs(images, chosen["batch_size"]),
        "passes over the data, 1 or more; with --resume, more of them go on with a run that is "
        "finished",
        says=f"as many as make {STEPS:,} steps, at least {FEWEST} and at most {MOST}",
        group="training",
        type=whole(1),
        metavar="EPOCHS",
    )
    batch_size: int = option(
        64, "data per step, 1 or more", group="training", type=whole(1), metavar="DATA"
    )
    lr: float = option(
        lambda chosen, _: 2e-3 if chosen["likelihood"] == "logistics" else 3e-3,
        "learning rate of Adam at the first step, above 0; it falls to 0 along half a cosine",
        says="0.002 with logistics, otherwise 0.003",
        group="training",
        type=real(0.0),
        metavar="RATE",
    )
    # Thousands of values of colour make the first gradients long. Without these three, the code of
    # painted digits died within 100 steps.
    warmup: int = option(
        lambda chosen, _: warmup(chosen),
        "over which the KL's weight rises from 0 to beta, 0 or more",
        says="a tenth of all with logistics, where the loss has a KL; otherwise 0",
        group="training",
        type=whole(0),
        metavar="EPOCHS",
    )
    clip: float | None = option(
        lambda chosen, _: 100.0 if chosen["likelihood"] == "logistics" else None,
        "scale a longer gradient down to this norm, above 0",
        says="100 with logistics, otherwise never",
        group="training",
        type=real(0.0),
        metavar="NORM",
    )
    precision: Precision = option(
        "float32",
        "of matrix products; bfloat16 needs hardware for it",
        group="training",
        choices=("float32", "bfloat16"),
    )
    compile: Compile = option(
        False,
        "compile the model by torch, half a minute once; cuda-graph also records a whole step as "
        "one CUDA graph, which saves a GPU the launches",
        says="do not",
        group="training",
        nargs="?",
        const=True,
        choices=("cuda-graph",),
    )
    patience: int | None = option(
        None,
        "stop after so many epochs without a better loss, 1 or more, and keep the best weights; "
        "measured on a random tenth of the training data, which is split off",
        says="never",
        group="training",
        type=whole(1),
        metavar="EPOCHS",
    )
    seed: int = option(
        0, "of initial weights, order and noise, 0 or more", group="run", type=whole(0, SEED)
    )
    device: str = option(
        "auto",
        "auto, which is cuda where torch sees a GPU; cpu, cuda, or cuda:1 for the second of "
        "several",
        group="run",
        type=device_name,
        metavar="DEVICE",
    )
    # What was found in the data. Of a picture in pixels; a table has a height and a channel of 1.
    height: int = option(type=whole(1, SIZE))
    width: int = option(type=whole(1, SIZE))
    channels: int = option(absent=1, type=whole(1, SIZE))
    columns: list[str] = option(absent=[], type=str, action="append")  # none in pictures
    kind: Kind = option(absent="pixels", choices=get_args(Kind))
    missing: bool = option(absent=False, action="store_true")  # whether there are NaN
    classes: list[str] = option(absent=[], type=str, action="append")  # names of the labels
    # SHA-256 of the held-out rows: an evaluation on others would be no evaluation.
    held_out: str = option(type=name)

    @property
    def layout(self) -> Layout:
        """What a row is."""
        return layout_of(vars(self))


def layout_of(found: Mapping[str, Any]) -> Layout:
    """The layout that the fields of settings say."""
    if found["columns"]:
        return Columns(tuple(found["columns"]))
    return Pictures(found["height"], found["width"], found["channels"])


def found_in(layout: Layout) -> dict[str, Any]:
    """The fields of settings that say a layout.

    >>> found_in(Columns(("mass", "length")))
    {'height': 1, 'width': 2, 'channels': 1, 'columns': ['mass', 'length']}
    """
    if isinstance(layout, Columns):
        return {"height": 1, "width": layout.values, "channels": 1, "columns": list(layout.names)}
    return {**layout._asdict(), "columns": []}


def choose(given: Mapping[str, Any], images: int, found: Mapping[str, Any]) -> Settings:
    """What was given, and a value for all that was not.

    Args:
        given: of the command line, by the options' names.
        images: how many data there are to train on.
        found: what is known of the data and of the machine.
    """
    known = options(Settings)
    chosen = {k: [] if k == "trust" else its.default for k, its in known.items()}
    # What every file has by now stands in `found`; the rest means what its absence does.
    chosen |= {k: its.absent for k, its in known.items() if its.default is NEVER}
    chosen |= {k: v for k, v in given.items() if k in known} | dict(found)
    for option_name, value in chosen.items():
        if callable(value):
            chosen[option_name] = value(chosen, images)
    return Settings(**chosen)


def write_settings(folder: Path, settings: Settings) -> None:
    """Put ``settings.json`` into a folder, whole or not at all."""
    content = {"format": FORMAT, "vaelib": vaelib.__version__, **asdict(settings)}
    checkpoint.write(folder / NAME, (json.dumps(content, indent=2) + "\n").encode())


class NotTrusted(BadValue):
    """A run is made of a class that is not ours, and that nobody has handed over.

    Attributes:
        names: ``module:Class``, as the run's file names it.
    """

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message, "trust")
        self.names = names


def read_settings(folder: Path, classes: Sequence[type] = ()) -> Settings:
    """The settings in a run's folder, each of which its option would take.

    Raises:
        FileNotFoundError: if there are none.
        NotTrusted: if it is made of classes of the user's that are not among ``classes``. Nothing
            is imported because a file names it.
        BadValue: if the file is damaged or of another version, or a value is none that its option
            takes; names both.
    """
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: not found; expected the --folder of a `python -m vaelib train`. A folder "
            f"that train.fit wrote without it is read by vaelib.load"
        )
    try:
        content: Any = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        content.pop("vaelib")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadValue(
            f"{path}: not the settings of a run of this version ({error}); take another copy, or "
            f"train again into another folder"
        ) from error
    _require_trusted(path, content, classes)
    try:
        return Settings(**read(Settings, content, classes))
    except BadValue as error:
        raise BadValue(
            f"{path}: {error}; it was altered, or is of another version: bring back what train "
            f"wrote, or train again into another folder"
        ) from error


def _require_trusted(path: Path, content: dict[str, Any], classes: Sequence[type]) -> None:
    """Raise if a class that the file calls the user's was not handed over."""
    recorded = content.get("trust", [])
    if not isinstance(recorded, list) or not all(isinstance(entry, str) for entry in recorded):
        return  # told by `read`
    used = [content.get(family) for family in FAMILIES]
    missing = [
        entry
        for entry in recorded
        if (own := entry.rpartition(":")[2]) in used and theirs(own, classes) is None
    ]
    if missing:
        raise NotTrusted(
            f"{path}: the run is made of {', '.join(missing)}, and nothing is imported because a "
            f"file names it",
            missing,
        )


def require_same(folder: Path, ours: Settings, given: Mapping[str, Any]) -> None:
    """Raise if an option that was given contradicts what the folder's run was started with."""
    for option_name, its_option in options(Settings).items():
        its = getattr(ours, option_name)
        mine = given.get(option_name, its)
        if mine != its and its_option.compared:
            raise BadValue(
                f"{folder}: belongs to another run: its {flag(option_name)} is {_shown(its)}, and "
                f"here it is {_shown(mine)}; leave {flag(option_name)} out, or choose another "
                f"--folder",
                option_name,
            )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
