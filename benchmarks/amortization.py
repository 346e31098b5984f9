"""What one encoder for all images costs and saves, for the digits: chapter `amortized` shows it.

    python benchmarks/amortization.py          two seeds (5 min), stored in vaelib/course/results
    python benchmarks/amortization.py --print  only printed

The model is chapter `vae`'s with two latent dimensions, so that log p(x) and the best Gaussian of
each image are known, by a sum over a grid. tests/test_amortization.py looks at what is stored.
"""

import argparse
import time

import provenance
import torch
from torch import Tensor, nn
from torch.distributions import Normal

from vaelib import data, nets, train
from vaelib.amortized import refine
from vaelib.elbo import log_weights
from vaelib.kl import DiagonalNormal
from vaelib.latent import grid, grid_evidence
from vaelib.reparam import reparameterize
from vaelib.vae import VAE

SEEDS = (0, 1)
EPOCHS = 25
IMAGES = 500  # of which the gaps are known
POINTS = 200  # cells along each axis
CLIMBED, STEPS, DRAWS = 50, 100, 4  # images that are refined by samples, and how


def trained(seed: int) -> tuple[VAE, float, int]:
    """The model, the seconds of its training, and how often an image was looked at in it."""
    digits = data.digits()
    net = {"hidden": (300, 300), "activation": nn.Tanh}
    torch.manual_seed(seed)
    model = VAE(nets.MLPEncoder(784, 2, **net), nets.MLPDecoder(2, 784, **net))
    start = time.perf_counter()
    train.fit(
        model,
        digits.train,
        epochs=EPOCHS,
        lr=3e-3,
        batch_size=64,
        generator=torch.Generator().manual_seed(seed),
        progress=False,
    )
    return model, time.perf_counter() - start, EPOCHS * len(digits.train)


@torch.no_grad()
def gaps(model: VAE, x: Tensor) -> dict:
    """log p(x), and what is lost of it: by each image's best diagonal Gaussian, by the encoder.

    The expectation under q is a sum over the cells, as the evidence is. A climb can end on the
    wrong hill, so there are two: from the encoder's q, and from the posterior's mean and variance.
    """
    z, log_cell = grid(2, points=POINTS)
    log_joint = model.log_joint_pairs(x, z)
    exact = grid_evidence(log_joint, log_cell)
    axis, square = z[:POINTS, 1], log_joint.view(-1, POINTS, POINTS)

    def elbo(q: DiagonalNormal) -> Tensor:
        log_q = Normal(q.loc[..., None], q.stddev[..., None]).log_prob(axis)
        first, second = log_q.softmax(-1).unbind(1)
        return torch.einsum("bi,bij,bj->b", first, square, second) + q.entropy()

    weight = (exact.log_density + log_cell).exp()
    mean = weight @ z
    moments = DiagonalNormal(mean, (weight @ z**2 - mean**2).log())
    encoded = model.encode(x)
    ends = [elbo(refine(q, elbo, steps=120, lr=0.05)) for q in (encoded, moments)]
    best, own = torch.maximum(*ends), elbo(encoded)
    return {
        "log_evidence": round(exact.log_evidence.mean().item(), 2),
        "elbo": round(own.mean().item(), 2),
        "amortization": round((best - own).mean().item(), 2),
        "approximation": round((exact.log_evidence - best).mean().item(), 2),
        "amortization_of_climbed": round((best - own)[:CLIMBED].mean().item(), 2),
    }


def bill(model: VAE, x: Tensor) -> dict:
    """Seconds of an image by the encoder and by a climb of its own, and what the climb gains."""

    def elbo(q: DiagonalNormal, x: Tensor, draws: int, generator: torch.Generator) -> Tensor:
        noise = torch.randn(draws, *q.loc.shape, generator=generator)
        return log_weights(model, x, q, reparameterize(q.loc, q.logvar, noise)).mean(0)

    def encode(x: Tensor) -> DiagonalNormal:
        with torch.no_grad():
            return model.encode(x)

    def climb(x: Tensor) -> DiagonalNormal:
        generator = torch.Generator().manual_seed(3)  # fresh noise in each step
        return refine(encode(x), lambda q: elbo(q, x, DRAWS, generator), steps=STEPS, lr=0.05)

    def milliseconds(function, x: Tensor, tries: int) -> float:
        seconds = []
        for _ in range(tries):  # the fastest: others may share the machine
            start = time.perf_counter()
            function(x)
            seconds.append(time.perf_counter() - start)
        return round(1000 * min(seconds) / len(x), 4)

    with torch.no_grad():
        before, after = (
            elbo(q, x, 1000, torch.Generator().manual_seed(4)).mean().item()
            for q in (encode(x), climb(x))
        )
    return {
        "decodings": STEPS * DRAWS,
        "gain": round(after - before, 2),
        "ms_encoder": milliseconds(encode, x, 20),
        "ms_climb": milliseconds(climb, x, 3),
        "ms_encoder_alone": milliseconds(encode, x[:1], 20),
        "ms_climb_alone": milliseconds(climb, x[:1], 3),
    }


def point(*, seed: int) -> dict:
    """One training: the gaps of held-out digits, and the bill."""
    model, seconds, visits = trained(seed)
    generator = torch.Generator().manual_seed(1000)
    x = data.binarize(data.digits().test[:IMAGES], generator=generator)
    found = {"seed": seed, "training_seconds": round(seconds, 1), "visits": visits}
    return found | gaps(model, x) | bill(model, x[:CLIMBED])


def main() -> None:
    """Both seeds, one after the other, and where the numbers come from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    origin = provenance.origin("benchmarks/amortization.py", torch.device("cpu"))
    points = []
    for seed in SEEDS:
        points.append(point(seed=seed))
        print(points[-1], flush=True)
    if not options.print:
        path = provenance.RESULTS / "amortization.json"
        provenance.write(path, {**origin, "points": points})


if __name__ == "__main__":
    main()
