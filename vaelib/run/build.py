"""Data and model from a run's settings."""

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from vaelib import data
from vaelib.arguments import BadValue
from vaelib.data import Dataset, Pictures
from vaelib.likelihood import Likelihood, Missing
from vaelib.run.choices import (
    CLASSES,
    DATA,
    LIKELIHOODS,
    NETS,
    POSTERIORS,
    PRIORS,
    Sizes,
    theirs,
)
from vaelib.run.option import device_name
from vaelib.run.settings import MEMORY, Settings
from vaelib.train.rows import pieces
from vaelib.vae import IWAE, VAE, TwoLayerVAE


def dataset(source: Any, labels: Any = None) -> Dataset:
    """The data that ``--data`` names, or that Python has at hand.

    Args:
        source: a name of `vaelib.run.choices.DATA`, a path, a `Dataset`, or an array or a tensor.
        labels: of the rows, or the name of a table's column that has them.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, str) and source in DATA:
        named = DATA[source]()
        both = (named.train_labels.long(), named.test_labels.long())
        return Dataset(named.train, named.test, Pictures(28, 28), *both, classes=CLASSES[source])
    if isinstance(source, str) and source == MEMORY:
        raise BadValue(
            "the run was trained on data that were in memory: nobody can read them again. Name "
            "where they are now by --data, or hand them over in Python",
            "data",
        )
    if isinstance(source, str | Path) and not Path(source).exists():
        raise FileNotFoundError(
            f"--data {source}: expected {', '.join(DATA)}, a folder of PNG or JPEG files, a .npz, "
            f"a .npy or a .csv file, and there is no such file or folder"
        )
    return data.own(source, labels=labels)


def fingerprint(rows: Any) -> str:
    """A hash by which rows are known again."""
    digest = hashlib.sha256()
    for some in pieces(rows):
        digest.update(some.contiguous().numpy().data)
    return digest.hexdigest()


def require_held_out(settings: Settings, source: str, test: Any) -> None:
    """Raise unless these are the rows that the run held out."""
    layout = settings.layout
    if layout.values != test.shape[1]:
        what = (
            f"images of {layout.height} x {layout.width} pixels"
            if isinstance(layout, Pictures)
            else f"the {layout.values} columns {', '.join(layout.names)}"
        )
        raise BadValue(
            f"{source}: expected {what}, as the run's settings.json says, got {test.shape[1]} "
            f"values; bring back the old file",
            "data",
        )
    if fingerprint(test) != settings.held_out:
        raise BadValue(
            f"{source}: the held-out data are not those of the run: the data were changed since, "
            f"or the run is of a vaelib that read them otherwise (0.1 held out the last tenth "
            f"instead of a random one, 0.2 rounded grey values to 256 levels). The model may have "
            f"been trained on some of them. Bring the old data back (--data says where they are), "
            f"or train again into another --folder",
            "data",
        )


def likelihood(settings: Settings, classes: Sequence[type] = ()) -> Likelihood:
    """The run's likelihood, for its layout, and for what is missing in it."""
    s = settings
    own = cast(type[Likelihood] | None, theirs(s.likelihood, classes))
    made = (own or LIKELIHOODS[s.likelihood]).for_layout(s.layout, s.kind)
    return Missing(made) if s.missing else made


def model(settings: Settings, classes: Sequence[type] = ()) -> VAE:
    """The run's model with new weights, from its seed, on the CPU.

    Args:
        settings: of the run.
        classes: the user's, of which it may name some.
    """
    s, values = settings, settings.layout.values
    _require_together(s)
    torch.manual_seed(s.seed)
    its = likelihood(s, classes)
    own = theirs(s.posterior, classes)
    posterior = own(s.latent) if own else POSTERIORS[s.posterior](s.latent)
    condition = len(s.classes) if s.condition else 0
    networks = NETS[s.net].make(
        Sizes(
            s.layout,
            its.inputs(values),
            s.latent,
            s.hidden,
            s.spread,
            heads=2 if posterior is None else posterior.heads,
            levels=its.width(values) // values,
            condition=condition,
        )
    )
    if s.net == "two-layer":
        return TwoLayerVAE(*networks, likelihood=its, samples=s.iwae or 1)
    encoder, decoder = networks
    own = theirs(s.prior, classes)
    prior = own(s.latent) if own else PRIORS[s.prior](s.latent, encoder, values, s.components)
    parts: dict[str, Any] = {"likelihood": its, "prior": prior, "posterior": posterior}
    if condition:
        parts["condition"] = condition
    if s.iwae is None:
        return VAE(encoder, decoder, **parts, beta=s.beta)
    return IWAE(encoder, decoder, **parts, samples=s.iwae)


def _require_together(s: Settings) -> None:
    """Raise if options contradict one another, or the data."""
    if s.condition and not s.classes:
        raise BadValue(
            "--condition: the data have no labels; put the pictures of each class into a folder of "
            "its own, name the column of a table by --labels, or add an array train_labels",
            "condition",
        )
    if s.net == "two-layer":
        for option, expected, got in (
            ("prior", "normal", s.prior),
            ("posterior", "normal", s.posterior),
            ("beta", 1, s.beta),
        ):
            if got != expected:
                raise BadValue(
                    f"--net two-layer: expected --{option} {expected}, got {got}; its loss has no "
                    f"weight of the KL, and its prior and posterior are those of the two layers; "
                    f"leave --{option} out",
                    option,
                )
        if s.condition:
            raise BadValue(
                "--net two-layer: takes no --condition; use --net mlp, or leave it out",
                "condition",
            )
    if s.prior == "vamp":
        if s.posterior != "normal":
            raise BadValue(
                f"--prior vamp: expected --posterior normal, of which it is a mixture, got "
                f"{s.posterior}; leave one of the two out",
                "posterior",
            )
        if s.kind != "pixels" or s.missing or s.condition:
            what = "a --condition" if s.condition else "missing values" if s.missing else s.kind
            raise BadValue(
                f"--prior vamp: its pseudo-inputs are pictures of pixels, and here are {what}; use "
                f"--prior mixture",
                "prior",
            )
    if s.warmup > s.epochs:
        raise BadValue(
            f"--warmup: expected at most as many as --epochs, {s.epochs}, got {s.warmup}; the KL "
            f"would never have its whole weight",
            "warmup",
        )
    if s.iwae is not None and s.beta != 1:
        raise BadValue(
            f"--iwae: expected --beta 1, got {s.beta:g}; leave one of the two out", "iwae"
        )


class Rows(NamedTuple):
    """Some rows of data, with their labels if there are any."""

    rows: Any
    labels: Tensor | None


def split(data_: Dataset, settings: Settings) -> tuple[Rows, Rows | None]:
    """Training and, for early stopping, validation: a random tenth, the same at each start."""
    all_of_it = Rows(data_.train, data_.train_labels)
    n = len(data_.train)
    if settings.patience is None:
        return all_of_it, None
    order = torch.randperm(n, generator=torch.Generator().manual_seed(settings.seed))
    return _some(all_of_it, order[tenth(n) :]), _some(all_of_it, order[: tenth(n)])


def _some(of: Rows, numbers: Tensor) -> Rows:
    rows = of.rows[numbers] if isinstance(of.rows, Tensor) else data.Rows(of.rows, numbers.numpy())
    return Rows(rows, None if of.labels is None else of.labels[numbers])


def tenth(data_: int) -> int:
    """How many of the training data early stopping is measured on."""
    return max(1, data_ // 10)


def has_holes(rows: Any) -> bool:
    """Whether a value is missing: NaN, which only floating point has."""
    name = str(rows.dtype)
    return "float" in name and any(bool(some.isnan().any()) for some in pieces(rows))


def device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:1`` as a device that is there."""
    try:
        device_name(name)
    except argparse.ArgumentTypeError as error:
        raise BadValue(f"--device: {error}", "device") from error
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise BadValue(
            f"--device {name}: torch sees no GPU here (no driver, or a torch without CUDA); use "
            f"--device cpu",
            "device",
        )
    found = torch.device(name)
    if found.type == "cuda" and found.index and found.index >= torch.cuda.device_count():
        raise BadValue(
            f"--device {name}: torch sees {torch.cuda.device_count()} GPUs here, and counts them "
            f"from 0; use --device cuda:{torch.cuda.device_count() - 1}",
            "device",
        )
    return found


def numpy_rows(rows: Any) -> np.ndarray:
    """All rows in memory, as NumPy's."""
    return np.concatenate([some.numpy() for some in pieces(rows)])
