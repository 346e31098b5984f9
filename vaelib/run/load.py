"""A trained model from its run's folder."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from vaelib import recipe
from vaelib.arguments import BadValue
from vaelib.run import build
from vaelib.run.settings import NAME, NotTrusted, Settings, read_settings
from vaelib.run.trained import Trained
from vaelib.train import CheckpointError, Epoch, checkpoint
from vaelib.vae import VAE, Model


def load(
    folder: str | Path, classes: Sequence[type] = (), device: str | torch.device = "cpu"
) -> Trained:
    """What was trained in a folder: the model with its weights, in ``eval``, and how to use it.

    The model is made as it was when it was trained: from the arguments of its constructors, which
    `vaelib.train.fit` wrote into the folder, of a run of the command line as of one of yours.
    Nothing is imported because a file names it, and no pickle is read.

    Args:
        folder: of ``vaelib.fit``, of ``python -m vaelib train``, or of `vaelib.train.fit`. The last
            does not say how data are laid out: they are then taken as rows.
        classes: classes of yours that the model is made of.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, …

    Returns:
        `~vaelib.run.Trained`, whose ``model`` is the `vaelib.vae.Model` itself.

    Raises:
        FileNotFoundError: if there is no checkpoint.
        CheckpointError: if the checkpoint is damaged, or the model was changed after it was made.
        ~vaelib.arguments.BadValue: if a class is not of vaelib and not among ``classes``, or it is
            not known how the model was made; says what to do.

    >>> import tempfile, vaelib
    >>> from vaelib import data, nets, train
    >>> from vaelib.vae import VAE
    >>> model = VAE(nets.MLPEncoder(784, 2, hidden=()), nets.MLPDecoder(2, 784, hidden=()))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = train.fit(model, data.digits().train[:50], epochs=1, folder=folder, progress=False)
    ...     again = vaelib.load(folder)
    >>> torch.equal(again.model.encoder.loc.weight, model.encoder.loc.weight)
    True
    >>> again.encode(data.digits().test[:3]).loc.shape
    torch.Size([3, 2])
    """
    folder = Path(folder)
    path = folder / checkpoint.NAME
    where = build.device(str(device))
    about = checkpoint.read_run(path)[1]
    written = about.get("recipe", {"reason": "the run is older than recipes are"})
    known = isinstance(written, dict) and "reason" not in written
    # Weights are drawn, and then replaced: torch's own generator is left as it was.
    model: Model
    with torch.random.fork_rng(devices=[]):
        if not known and (folder / NAME).exists():
            model = rebuilt(folder, _settings(folder, classes), classes)
        else:
            try:
                model = recipe.build(written, classes)
            except BadValue as error:
                raise BadValue(f"{path}: {error}", error.argument) from error
    checkpoint.load(model, folder)
    its, mine = checkpoint.plain(about["config"]["model"]), checkpoint.describe(model)
    if its != mine and about["versions"].get("torch") == torch.__version__:  # beta, say
        there, here = checkpoint.first_difference(its, mine)
        raise CheckpointError(
            f"{path}: the model was changed between its constructor and fit: {there!r} in the "
            f"file, and {here!r} if it is made anew; make it as you did, and use vaelib.train.load"
        )
    return Trained(
        model.to(where),
        # Read when somebody asks: the weights are of use even where the settings cannot be read.
        settings=(lambda: _settings(folder, classes)) if (folder / NAME).exists() else None,
        folder=folder,
        history=history(about),
    )


def history(about: dict[str, Any]) -> list[Epoch]:
    """The epochs that a checkpoint has, as `vaelib.train.fit` returned them."""

    def numbers(line: dict[str, Any]) -> dict[str, Any]:
        return {name: math.nan if value is None else value for name, value in line.items()}

    return [Epoch(**numbers(line)) for line in about["history"]]


def _settings(folder: Path, classes: Sequence[type]) -> Settings:
    try:
        return read_settings(folder, classes)
    except NotTrusted as error:
        own = ", ".join(name.rpartition(":")[2] for name in error.names)
        raise BadValue(f"{error}; if you trust that code: classes=[{own}]", "classes") from error


def rebuilt(folder: Path, settings: Settings, classes: Sequence[type] = ()) -> VAE:
    """The model that a folder's settings describe, with new weights."""
    try:
        return build.model(settings, classes)
    except BadValue as error:  # options that do not go together, and did when it was written
        raise BadValue(f"{folder / NAME}: {error}", error.argument) from error


def trained(
    folder: Path, settings: Settings, classes: Sequence[type] = ()
) -> tuple[VAE, dict[str, Any]]:
    """The model that a folder's settings describe, and what its checkpoint says of the run.

    Raises:
        CheckpointError: if the settings do not belong to the checkpoint, or one is damaged.
    """
    model = rebuilt(folder, settings, classes)
    try:
        about = checkpoint.load(model, folder)
    except CheckpointError as error:
        if error.argument != "model":
            raise
        raise CheckpointError(
            f"{folder / NAME}: describes another model than was trained; bring back the "
            f"settings.json that belongs to it ({error})",
            "model",
        ) from error
    return model.eval(), about
