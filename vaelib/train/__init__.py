"""The one training loop: from a module that returns a loss, at the speed of the machine.

`fit` is the loop and survives a kill; `load` puts the weights of a run folder into a model.

Chapter: :doc:`/book/train`.
"""

from vaelib.train.checkpoint import CheckpointError, load
from vaelib.train.loop import constant, cosine, fit
from vaelib.train.run import Epoch
from vaelib.train.team import join

__all__ = ["CheckpointError", "Epoch", "constant", "cosine", "fit", "join", "load"]
