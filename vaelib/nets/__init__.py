"""Encoders and decoders as plain networks. They know no probability.

An encoder maps ``[batch, pixels]`` to a pair ``(loc, logvar)``, each ``[batch, latent]``, or to as
many tensors as another posterior has heads (`vaelib.posterior`); a decoder maps ``[batch, latent]``
to ``[batch, pixels]``, the raw parameters of a likelihood. Each takes a condition c,
``[batch, condition]``, as a second argument if it was made for one. What these numbers mean is
decided in `vaelib.vae`. Any module of yours will do that keeps to this and has the attributes
``pixels`` and ``latent``, and ``condition`` if it takes one.
"""

from vaelib.nets.conv import ConvDecoder, ConvEncoder
from vaelib.nets.heads import Heads
from vaelib.nets.mlp import MLP, LinearEncoder, MLPDecoder, MLPEncoder
from vaelib.nets.modules import evaluation_mode, size

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "Heads",
    "LinearEncoder",
    "MLPDecoder",
    "MLPEncoder",
    "evaluation_mode",
    "size",
]
