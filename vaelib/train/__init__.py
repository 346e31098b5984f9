"""Training: one step at a time with `Trainer`, or a whole run with `fit`.

`Trainer` takes any loss and any optimizer, and a batch at a time, from `Batches`, a ``DataLoader``
or anything else. `fit` is the loop around it for the models of `vaelib.vae`: it prepares images,
measures, stops, and survives a kill; `load` puts the weights of its folder into a model. `Shards`
are data of which each of several processes reads its own part; `range_test` proposes a learning
rate.

Chapter: :doc:`/book/train`.
"""

from vaelib.train.batches import Batches
from vaelib.train.checkpoint import CheckpointError, load
from vaelib.train.loop import fit
from vaelib.train.range_test import RangeTest, range_test
from vaelib.train.run import Epoch
from vaelib.train.schedule import constant, cosine
from vaelib.train.shards import Shards
from vaelib.train.team import join
from vaelib.train.torch_schedulers import scheduled
from vaelib.train.trainer import Trainer

__all__ = [
    "Batches",
    "CheckpointError",
    "Epoch",
    "RangeTest",
    "Shards",
    "Trainer",
    "constant",
    "cosine",
    "fit",
    "join",
    "load",
    "range_test",
    "scheduled",
]
