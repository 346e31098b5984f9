"""Recorded runs: what takes too long for a page, with where it comes from."""

import base64
import json
from pathlib import Path

import numpy as np
import torch

__all__ = ["recorded"]

FOLDER = Path(__file__).parent / "results"


def recorded(name: str) -> dict:
    """A recorded run that ships with the package: what takes too long for a chapter.

    Args:
        name: ``"sweep"``, the VAE of chapter *vae* at several beta and latent sizes,
            ``"neighbours"``, nearest neighbours in its codes, or ``"continuity"``, its plane
            without KL or noise; by ``benchmarks/sweep.py``. ``"planes"``, its plane at five beta,
            or ``"remedies"``, why codes are dead and what warm-up and free bits mend of it; by
            ``benchmarks/dead_units.py``. ``"amortization"``, what one encoder for all digits costs
            and saves; by ``benchmarks/amortization.py``. ``"one_image"``, an image with its q and
            its posterior, with which chapter *vae* opens; by ``benchmarks/one_image.py``.
            ``"first_vae"``, twelve points while chapter *start*'s script trains, and a digit on its
            way through the loss; by ``benchmarks/first_vae.py``.
            ``"playground"``, what `vaelib.course.figures.Playground` shows before it is started; by
            ``benchmarks/playground.py``.
            ``"clinic"``, a healthy VAE and eight with one fault each; by ``benchmarks/clinic.py``.
            ``"dashboard"``, the history of three trainings that
            `vaelib.course.figures.Dashboard` shows; by ``benchmarks/dashboard.py``.
            ``"scoreboard"``, what each change of a VAE is worth, in nats and in seconds; by
            ``benchmarks/scoreboard.py``. ``"ladder"``, how fast `vaelib.train.fit` is on one
            thread of a CPU; by ``benchmarks/gpu.py``, which on a GPU makes ``"gpu"``. ``"iwae"``,
            training with one and with five samples; by a script of the commit that it names.

    Returns:
        What was found and where it comes from, by ``command``, ``commit``, ``device``,
        ``versions`` and ``date``. These have ``points``, whose ``means``, if there are any,
        are pictures ``[n, 784]`` in [0, 1]. ``"dashboard"`` has ``runs``, each with its ``history``
        and, by epoch, ``sheets``. ``"scoreboard"`` has ``rates`` (range tests), ``runs`` (of each
        row one for each seed), their ``table``, the ``deviation`` of one seed, and what was
        ``compared``. ``"ladder"`` has ``ladder``: ``rungs`` with ``seconds_per_epoch`` of each
        round, the factors ``times`` on the loop of tutorials within it, and ``test_elbo``; the
        ``floor``, which are the matrix products alone; and what the machine ``refused``, with its
        reasons. ``"iwae"`` has, for each ``k`` and ``seed``, ``log_evidence`` with its
        ``standard_error`` over data and the ``sampling_error`` in it, ``effective_samples``,
        ``test_elbo`` and ``active_units``, in nats per datum.

    Raises:
        ValueError: if there is no record of that name.

    >>> recorded("sweep")["command"]
    'python benchmarks/sweep.py'
    """
    names = sorted(path.stem for path in FOLDER.glob("*.json"))
    if name not in names:
        raise ValueError(f"recorded: there is no record {name!r}; there are {', '.join(names)}")
    record = json.loads((FOLDER / f"{name}.json").read_text())
    for point in record.get("points", ()):
        if "means" in point:
            grey = np.frombuffer(base64.b64decode(point["means"]), np.uint8)
            point["means"] = torch.from_numpy(grey / np.float32(255)).view(-1, 784)
    return record
