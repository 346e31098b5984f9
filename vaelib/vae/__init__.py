"""The variational autoencoder: a latent variable model, an encoder, and a gradient of the ELBO.

`DeepLatentModel` is the model: a prior, and a likelihood whose parameters come from a decoder (θ).
`VAE` adds an encoder for inference (φ). `Autoencoder` has two networks but no prior, so it is no
model of x. `IWAE` is a VAE that is trained on the importance-weighted bound, and `TwoLayerVAE` one
whose z has two layers. With ``condition=k`` each is given one of k labels beside x. The ``forward``
of all but the first is the loss; the one minus sign of a bound stands there. `Model` says what each
can be asked for; `check_model` tries a new one.

Chapter: :doc:`/book/vae`.
"""

from vaelib.vae.autoencoder import Autoencoder
from vaelib.vae.check import check_model
from vaelib.vae.iwae import IWAE
from vaelib.vae.model import DeepLatentModel
from vaelib.vae.protocol import Model, require_model
from vaelib.vae.two_layer import (
    HierarchicalPosterior,
    HierarchicalPrior,
    TwoLayerVAE,
    TwoSteps,
)
from vaelib.vae.vae import VAE

__all__ = [
    "IWAE",
    "VAE",
    "Autoencoder",
    "DeepLatentModel",
    "HierarchicalPosterior",
    "HierarchicalPrior",
    "Model",
    "TwoLayerVAE",
    "TwoSteps",
    "check_model",
    "require_model",
]
