"""One of each figure, for the tests in the browser."""

from functools import cache

import torch

from vaelib import data, nets
from vaelib.course.figures import (
    CurvedPosterior,
    Dashboard,
    DrawDigit,
    ElboGap,
    LatentPlane,
    Network,
    Playground,
    Reparameterize,
    Retrain,
    TwoGaussians,
    WetStreet,
)
from vaelib.vae import VAE


@cache
def small_vae():
    """Of the size that the page carries; what it has learned does not matter here."""
    torch.manual_seed(0)
    return VAE(
        nets.MLPEncoder(784, 2, hidden=(128, 128)), nets.MLPDecoder(2, 784, hidden=(128, 128))
    )


def held_out(count=20):
    digits = data.digits()
    return (digits.test[:count] >= 128).float(), digits.test_labels[:count]


EXAMPLES = {
    "WetStreet": WetStreet,
    "CurvedPosterior": CurvedPosterior,
    "TwoGaussians": TwoGaussians,
    "ElboGap": ElboGap,
    "Reparameterize": Reparameterize,
    "LatentPlane": lambda: LatentPlane(Network(small_vae()), *held_out()),
    "DrawDigit": lambda: DrawDigit(Network(small_vae()), *held_out()),
    "Retrain": Retrain,
    "Playground": Playground,
    "Dashboard": Dashboard,
}
