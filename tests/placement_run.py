"""A training step of every model, on a device that is not the CPU.

    python tests/placement_run.py [--all]

The device is a stand-in that torch lets Python register, for the whole process; therefore
tests/test_device.py starts this script. Its tensors have shapes and no contents: a kernel refuses
tensors of two devices, as on a GPU, and nobody can read a number. Prints what goes wrong as JSON,
by the name of the model.
"""

import itertools
import json
import sys

import torch
from stand_ins import elsewhere
from torch import nn

from vaelib import likelihood, nets
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Gaussian, Logistics, Missing
from vaelib.prior import Components, Fixed, Mixture, Prior, VampPrior
from vaelib.train import Trainer
from vaelib.train.feed import Feed
from vaelib.vae import IWAE, VAE, Autoencoder, HierarchicalPrior, TwoLayerVAE

DEVICE = "stand_in"
LIKELIHOODS = {
    name: getattr(likelihood, name)
    for name in likelihood.__all__
    if name not in ("Likelihood", "Missing")
} | {
    "Logistics of colours": lambda: Logistics(2, channels=3),
    "Gaussian of a table": lambda: Gaussian(features=6),
    "Missing": lambda: Missing(Gaussian(features=6)),
}
ROWS = {"pixels": torch.uint8, "numbers": torch.float32, "counts": torch.int64}
PRIORS = {
    None: lambda encoder: None,
    Fixed: lambda encoder: Fixed(DiagonalNormal(torch.ones(2), torch.zeros(2))),
    Mixture: lambda encoder: Mixture(2, 3),
    VampPrior: lambda encoder: VampPrior(encoder, encoder.pixels, 3),
}


class Careless(VAE):
    """Its loss makes a tensor where torch does by default. It must be found."""

    def forward(self, x, eps):
        return super().forward(x, eps + torch.zeros(2))


class Curious(VAE):
    """Its loss reads a number. It must be found too."""

    def forward(self, x, eps):
        return super().forward(x, eps) if x.any() else 0.0


def networks(decoder=nets.MLPDecoder):
    return nets.MLPEncoder(6, 2, hidden=(4,)), decoder(2, 6, hidden=(4,))


def models(every_pair):
    """Each likelihood, prior, objective and network: its name, and the model.

    Each likelihood with N(0, I) and with one of the others, by turns, or with all of them.
    """
    assert set(Prior.__subclasses__()) == {
        Fixed,
        Components,
        HierarchicalPrior,
    }  # that of two layers
    assert PRIORS.keys() == {None, Fixed, *Components.__subclasses__()}
    turns = itertools.cycle([prior for prior in PRIORS if prior])
    for name, family in LIKELIHOODS.items():
        for prior in PRIORS if every_pair else (None, next(turns)):
            make, made = PRIORS[prior], family()
            encoder = nets.MLPEncoder(made.inputs(6), 2, hidden=(4,))
            decoder = nets.MLPDecoder(2, 6, levels=made.per_pixel, hidden=(4,))
            model = VAE(encoder, decoder, likelihood=made, prior=make(encoder))
            yield f"VAE {name} {prior}", model
    for double in (False, True):
        yield f"IWAE {double}", IWAE(*networks(), doubly_reparameterized=double)
    mlp = nets.MLP([6, 4, 2])
    yield "Autoencoder", Autoencoder(mlp, networks()[1])
    narrow = [nets.MLPEncoder(*sizes, hidden=(4,)) for sizes in ((6, 3), (3, 2), (2, 3))]
    yield "TwoLayerVAE", TwoLayerVAE(*narrow, nets.MLPDecoder(3, 6, hidden=(4,)))
    yield "linear", VAE(nets.LinearEncoder(6, 2), nets.MLPDecoder(2, 6, hidden=()))
    yield "conv", VAE(nets.ConvEncoder(2, width=8), nets.ConvDecoder(2, width=8))
    yield "Careless", Careless(*networks())
    yield "Curious", Curious(*networks())


def move(model, device):
    """``model.to(device)``, which cannot make such tensors: only parameters and buffers move."""

    def place(t):
        return None if t is None else torch.empty(t.shape, dtype=t.dtype, device=device)

    for module in model.modules():
        module._buffers.update({name: place(t) for name, t in module._buffers.items()})
        for name, p in module._parameters.items():
            module._parameters[name] = nn.Parameter(place(p), p.requires_grad)


def problem(model):
    """What goes wrong with a model on the device; None if nothing does."""
    with elsewhere(DEVICE):
        move(model, DEVICE)
        size = getattr(getattr(model, "decoder", None), "pixels", 6)
        kinds = getattr(model.likelihood, "kinds", ("pixels",))
        pixels = torch.empty(9, size, dtype=ROWS[kinds[0]], device=DEVICE)
        feed = Feed(model, pixels, model.likelihood.prepare)
        rows = torch.arange(5, device=DEVICE)
        try:
            optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)
            loss = Trainer(model, optimizer, prepare=feed.draw, clip=1.0).step(rows)
            made = [loss, *(p.grad for p in model.parameters() if p.requires_grad)]
            assert {t.device.type for t in made} == {DEVICE}
        except RuntimeError as error:
            return str(error).splitlines()[0]


def main():
    found = {name: problem(model) for name, model in models("--all" in sys.argv)}
    print(json.dumps({"tried": len(found), "wrong": {k: v for k, v in found.items() if v}}))


if __name__ == "__main__":
    main()
