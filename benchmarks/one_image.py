"""One held-out image in chapter `vae`: what made it, and what the encoder says of that (1 min).

    python benchmarks/one_image.py

The chapter opens with it, before anything is trained there. It is stored in
vaelib/course/results/one_image.json; with --print it is only printed.
tests/test_one_image.py compares its parts with each other, and makes it again.
"""

import argparse

import provenance
import torch
from sweep import TRAINING
from torch import nn

from vaelib import data, nets, train
from vaelib.latent import grid, grid_evidence
from vaelib.vae import VAE

IMAGE = 312  # of the held-out ones: a 4
CELLS = 60  # of the close-up, along each axis
REACH = 0.32  # from the middle between q and the posterior to the close-up's edge


def chapters_model() -> VAE:
    """The chapter's VAE with two latent dimensions, made and trained by the chapter's lines."""
    torch.manual_seed(0)
    net = {"hidden": (300, 300), "activation": nn.Tanh}
    model = VAE(nets.MLPEncoder(784, 2, **net), nets.MLPDecoder(2, 784, **net))
    generator = torch.Generator().manual_seed(8)
    train.fit(model, data.digits().train, epochs=25, generator=generator, **TRAINING)
    return model


def record_of(model: VAE) -> dict:
    """The image, its q, its posterior around q, its log p(x), and its ELBO by a sum over q."""
    digits = data.digits()
    x = data.binarize(digits.test, generator=torch.Generator().manual_seed(3))[[IMAGE]]
    with torch.no_grad():
        (loc,), (logvar,) = model.raw(x)
        scale = torch.exp(0.5 * logvar)
        z, log_cell = grid(2, points=400)
        exact = grid_evidence(model.log_joint_pairs(x, z), log_cell)
        weight = (exact.log_density[0] + log_cell).exp()
        middle = (loc + weight @ z) / 2
        near, _ = grid(2, points=CELLS, extent=REACH)
        joint = model.log_joint_pairs(x, middle + near)[0]
        # E_q by a sum over q's own cells, in which its density is that of N(0, I).
        eps, _ = grid(2, points=60)
        of_q = torch.softmax(-0.5 * eps.square().sum(-1), -1)
        first = of_q @ model.log_joint_pairs(x, loc + scale * eps)[0]
        entropy = torch.distributions.Normal(loc, scale).entropy().sum()
    return {
        "label": int(digits.test_labels[IMAGE]),
        "x": "".join(str(int(pixel)) for pixel in x[0]),
        "loc": [round(v, 4) for v in loc.tolist()],
        "scale": [round(v, 4) for v in scale.tolist()],
        "middle": [round(v, 4) for v in middle.tolist()],
        "reach": REACH,
        "cells": CELLS,
        "log_joint": [round(v, 2) for v in joint.tolist()],
        "log_evidence": round(exact.log_evidence.item(), 2),
        "elbo": round((first + entropy).item(), 2),
    }


def main() -> None:
    """Train, look at the image, and store what was seen with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    found = record_of(chapters_model())
    print({name: value for name, value in found.items() if name != "log_joint"})
    origin = provenance.origin("benchmarks/one_image.py", torch.device("cpu"))
    if not options.print:
        provenance.write(provenance.RESULTS / "one_image.json", {**origin, "image": found})


if __name__ == "__main__":
    main()
