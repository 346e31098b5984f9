"""The network of the IWAE paper, as `speed.py` and `gpu.py` train it."""

import time

import torch
from contest import Contender, train_by_fit
from torch import Tensor, nn

from vaelib import nets
from vaelib import train as training
from vaelib.vae import IWAE, VAE

LATENT = 50


def network(*, seed: int, k: int = 1) -> VAE:
    """784-200-200-50 with tanh: one stochastic layer of Burda et al. (arXiv:1509.00519).

    With k = 1 it is a `VAE`, whose KL is in closed form, and otherwise an `IWAE` of k samples. The
    weights of a seed are the same for each k.
    """
    torch.manual_seed(seed)
    net = {"hidden": (200, 200), "activation": nn.Tanh}
    parts = nets.MLPEncoder(784, LATENT, **net), nets.MLPDecoder(LATENT, 784, **net)
    return VAE(*parts) if k == 1 else IWAE(*parts, samples=k)


def train(
    model: VAE, pixels: Tensor, contender: Contender, *, epochs: int, seed: int
) -> tuple[float, list[training.Epoch]]:
    """Train it in place as this fit does; the learning rate falls from 1e-3 to 1e-4 in a line.

    Returns:
        Seconds, with those of compiling, and the history.
    """
    start = time.perf_counter()
    history = train_by_fit(
        model,
        pixels,
        epochs=epochs,
        seed=seed,
        precision=contender.precision,
        compiled=contender.compiled,
        schedule=lambda share: 1 - 0.9 * share,
    )
    return time.perf_counter() - start, history
