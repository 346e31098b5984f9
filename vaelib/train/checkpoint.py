"""A file that is whole or is not there: tensors (safetensors) with their description (JSON).

Both are in one file, so a kill cannot leave weights of one moment beside the position of another.
It replaces the last one at once or not at all (`vaelib.files`); its contents carry a hash, which is
compared before anything is believed. There is no pickle in it: loading a stranger's checkpoint runs
none of the stranger's code.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from vaelib.arguments import BadValue
from vaelib.files import remedy, replace

FORMAT = "vaelib checkpoint 1"
NAME = "checkpoint.safetensors"


ABOUT = {  # what a run says of itself, and of which type
    "config": dict,
    "history": list,
    "position": int,
    "seconds": float,
    "best_epoch": int,
    "finished": bool,
    "versions": dict,
}


class CheckpointError(BadValue):
    """A checkpoint that cannot be used: the message says why. Nothing was loaded from it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = Path(folder, "checkpoint.safetensors").write_bytes(b"half a fi")
    ...     about = load(nn.Linear(2, 1), folder)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    vaelib.train.checkpoint.CheckpointError: ...: not a whole safetensors file (...); it is
    truncated or something else. Take another copy, or delete it and train again
    """


def save(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write a checkpoint in place of the last one, which stays if anything goes wrong.

    Raises:
        OSError: if it cannot be written (a full disk, say); names the file that is still good.
    """
    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(about, sort_keys=True)
    metadata = {"format": FORMAT, "about": text, "sha256": _hash(tensors, text)}
    write(path, save_tensors(tensors, metadata))


def write(path: Path, content: bytes) -> None:
    """Replace a file of a run by one with this content, or leave it as it is and raise OSError."""
    try:
        replace(path, content)
    except OSError as error:
        left = f"the last good one, {path}, is as it was" if path.exists() else "there is none yet"
        raise OSError(
            error.errno,
            f"could not write {len(content):,} bytes of a checkpoint ({error.strerror}); {left}. "
            f"{remedy(error).capitalize()} and run again with resume=True; file",
            str(path),
        ) from error


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A checkpoint's tensors, on the CPU, and its description, if every byte is as it was written.

    Raises:
        FileNotFoundError: if there is none.
        CheckpointError: if it is truncated, altered, or written by another program or version.
    """
    content = path.read_bytes()
    try:
        tensors = load_tensors(content)
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__") or {}
    except (SafetensorError, ValueError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({error}); it is truncated or something else. "
            f"Take another copy, or delete it and train again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected a checkpoint of vaelib.train in the format {FORMAT!r}, got "
            f"{metadata.get('format', 'a file of another program')!r}; nothing was loaded from it"
        )
    if metadata.get("sha256") != _hash(tensors, metadata.get("about", "")):
        raise CheckpointError(
            f"{path}: its contents do not have the hash that was stored with them: it was altered. "
            f"Take another copy, or delete it and train again"
        )
    try:
        about = json.loads(metadata["about"])
    except (ValueError, KeyError, RecursionError) as error:
        raise incomplete(path, "its description is no JSON") from error
    return tensors, about


def read_run(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A checkpoint of a run: what `read` gives, if the description has what a run's has.

    Raises:
        FileNotFoundError, CheckpointError: as `read`, and if something is missing.
    """
    tensors, about = read(path)
    if not isinstance(about, dict):
        raise incomplete(path, f"its description is {about!r:.50}")
    for name, kind in ABOUT.items():
        if type(about.get(name)) is not kind:
            raise incomplete(
                path, f"expected {name} as {kind.__name__}, got {about.get(name)!r:.50}"
            )
    return tensors, about


def incomplete(path: Path, what: str) -> CheckpointError:
    """The error of a file that is whole, and not what a run has written."""
    return CheckpointError(
        f"{path}: not the checkpoint of a run ({what}), though its hash fits: another program "
        f"wrote it. Take another copy, or delete it and train again"
    )


def load(model: nn.Module, folder: str | Path) -> dict[str, Any]:
    """Put the weights of a run into a model: the best ones if the run looked for the best.

    Args:
        model: built as the one that was trained, of the same networks, likelihood and prior; it
            is changed only if everything fits. What concerns the loss alone (beta, the number of
            samples) may differ.
        folder: the ``folder`` of `fit`.

    Returns:
        A dictionary of what the checkpoint says of its run, with ``config``, ``history``,
        ``versions`` and ``finished``.

    Raises:
        FileNotFoundError: if there is no checkpoint in the folder.
        CheckpointError: if the file is damaged or belongs to another model; names the first
            difference.

    Warns:
        UserWarning: if another version of torch, which may write its modules down otherwise, wrote
            a description with the same modules and other numbers; or if there is none.

    >>> import tempfile
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.train import fit
    >>> from vaelib.vae import VAE
    >>> one, other = (VAE(MLPEncoder(16, 2), MLPDecoder(2, 16)) for _ in range(2))
    >>> rows = torch.zeros(20, 16, dtype=torch.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     history = fit(one, rows, epochs=1, folder=folder, progress=False)
    ...     about = load(other, folder)
    >>> about["finished"], torch.equal(one.encoder.loc.weight, other.encoder.loc.weight)
    (True, True)
    """
    path = Path(folder) / NAME
    tensors, about = read_run(path)
    kind = "best." if any(name.startswith("best.") for name in tensors) else "model."
    weights = part(tensors, kind)
    require_weights(model, weights, path)
    _require_model(model, about, path)
    load_into(model, weights, path)
    return about


def describe(model: nn.Module) -> str:
    """What ``print(model)`` shows, without addresses and devices, by which a model is known."""
    return plain(repr(model))


def plain(text: str) -> str:
    """A description without what may differ between two of one model."""
    return re.sub(r" at 0x[0-9a-fA-F]+| \((GPU|cuda|mps)[ :]*\d*\)|, device='[^']*'", "", text)


def first_difference(a: str, b: str) -> tuple[str, str]:
    """The first line that differs, of what may be the description of a whole network."""
    lines = zip_longest(a.splitlines(), b.splitlines(), fillvalue="missing")
    return next((x.strip(), y.strip()) for x, y in lines if x != y)


def _require_model(model: nn.Module, about: Mapping[str, Any], path: Path) -> None:
    """Raise unless the description is that of this model: names and shapes do not tell them all."""
    description = about["config"].get("model")
    if not isinstance(description, str):
        warnings.warn(
            f"{path}: does not say what model it is of; only names and shapes were compared",
            stacklevel=3,
        )
        return
    its, mine = _without_loss(plain(description)), _without_loss(describe(model))
    if its == mine:
        return
    there, here = first_difference(its, mine)
    what = f"{path}: belongs to another model: {there!r} in the file, and {here!r} here"
    if about["versions"].get("torch") != torch.__version__ and _modules(its) == _modules(mine):
        warnings.warn(f"{what}; torch may have changed its words, or it is another", stacklevel=3)
        return
    raise CheckpointError(f"{what}; build the model that was trained. Nothing was loaded", "model")


def _without_loss(description: str) -> str:
    """Without what a model says of itself that changes its loss and neither p nor q."""
    loss = re.compile(r"\b(beta|samples|doubly_reparameterized)=[^,]*(, )?")
    lines = description.splitlines()
    return "\n".join(loss.sub("", s) if re.match("  [^ (]", s) else s for s in lines)


def _modules(description: str) -> list[str]:
    """The names and types of all modules, without their arguments."""
    return re.findall(r"(?m)^\s*(?:\(\w+\): )?\w+(?=\()", description)


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def require_weights(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise unless weights have the names, shapes and types of a model's, and are finite."""
    there = {name: f"{tuple(t.shape)} {t.dtype}" for name, t in weights.items()}
    here = {name: f"{tuple(t.shape)} {t.dtype}" for name, t in model.state_dict().items()}
    for name in sorted(there.keys() | here.keys()):
        if there.get(name) != here.get(name):
            raise CheckpointError(
                f"{path}: belongs to another model: {name!r} is {there.get(name, 'missing')} in "
                f"the file and {here.get(name, 'missing')} in this {type(model).__name__}; build "
                f"the model that was trained. Nothing was loaded",
                "model",
            )
    for name, _ in model.named_parameters():  # a buffer may hold an infinity on purpose
        bad = weights[name][~weights[name].isfinite()]
        if bad.numel():
            raise CheckpointError(
                f"{path}: {name!r} is not finite ({bad.flatten()[0]}), and training writes no such "
                f"weights: it was altered. Take another copy, or delete it and train again"
            )


def load_into(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Copy weights into a model after all names, shapes, types and values were looked at."""
    require_weights(model, weights, path)
    with torch.no_grad():
        model.load_state_dict(dict(weights))


def _hash(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(f"{name} {tuple(tensors[name].shape)} {tensors[name].dtype}".encode())
        digest.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
