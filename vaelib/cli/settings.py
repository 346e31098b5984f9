"""What was asked of a run, kept in its folder: all that rebuilds its model and finds its data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import vaelib
from vaelib.train import checkpoint
from vaelib.train.step import Compile, Precision

FORMAT = "vaelib run 1"
NAME = "settings.json"


@dataclass(frozen=True)
class Settings:
    """The options of ``train`` that decide its result, each with a value; and the data's layout."""

    data: str  # a name, or an absolute path
    net: str
    hidden: list[int]
    latent: int
    spread: float
    likelihood: str
    prior: str
    components: int
    iwae: int | None
    beta: float
    epochs: int
    batch_size: int
    lr: float
    warmup: int
    clip: float | None
    precision: Precision
    compile: Compile
    patience: int | None
    seed: int
    device: str
    height: int  # of an image, in pixels
    width: int
    held_out: str  # SHA-256 of the held-out images: an evaluation on others would be no evaluation


def write(folder: Path, settings: Settings) -> None:
    """Put ``settings.json`` into a folder, whole or not at all."""
    content = {"format": FORMAT, "vaelib": vaelib.__version__, **asdict(settings)}
    checkpoint.write(folder / NAME, (json.dumps(content, indent=2) + "\n").encode())


def values(folder: Path) -> dict[str, Any]:
    """What a folder's ``settings.json`` says of each field, whatever that is (see `options.read`).

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is damaged or of another version.
    """
    path = folder / NAME
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: not found; expected the --folder of a `python -m vaelib train`. A folder "
            f"that train.fit wrote without it is read by train.load"
        )
    try:
        content: Any = json.loads(path.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        content.pop("vaelib")
        if content.keys() != Settings.__dataclass_fields__.keys():
            names = content.keys() ^ Settings.__dataclass_fields__.keys()
            raise ValueError(f"{', '.join(sorted(names))} should be there, or should not")
        return content
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path}: not the settings of a run of this version ({error}); take another copy, or "
            f"train again into another folder"
        ) from error


def require_same(folder: Path, ours: Settings, given: Mapping[str, Any]) -> None:
    """Raise if an option that was given contradicts what the folder's run was started with."""
    for field in fields(Settings):
        its = getattr(ours, field.name)
        if field.name in given and given[field.name] != its:
            flag = f"--{field.name.replace('_', '-')}"
            raise ValueError(
                f"{folder}: belongs to another run: its {flag} is {_shown(its)}, and here it is "
                f"{_shown(given[field.name])}; leave {flag} out, or choose another --folder"
            )


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
