"""Runs of chapter `collapse` that take too long for a page; what it shows of them is stored.

    python benchmarks/sweep.py                 several β and latent sizes (20 min)
    python benchmarks/sweep.py neighbours      neighbours in the codes, four seeds (5 min)
    python benchmarks/sweep.py continuity      KL and noise, each taken away alone (7 min)

They are stored in vaelib/course/results, one file for each; with --print they are only printed.
Each point is one call of a function here; tests/test_sweep.py runs one of them again.
"""

import argparse
import base64
import itertools
import math

import provenance
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from vaelib import data, evaluate, nets, train
from vaelib.vae import VAE, Autoencoder

BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
LATENTS = (2, 4, 8, 16, 32, 64)
SEEDS = (0, 1)
# How chapter vae trains all of its models.
TRAINING = {"lr": 3e-3, "batch_size": 64, "progress": False}
# Of the plane's spread: how far apart two pictures are decoded.
DISTANCES = (0.05, 0.1, 0.2, 0.5, 1.0)
# What q is held at where only the noise is kept: the median of that chapter's VAE, rounded.
HELD_SCALE = 0.06


def train_point(*, beta: float, latent: int, seed: int) -> dict:
    """The chapter's 16-D VAE at another β, size or seed, evaluated on the 2,000 held-out digits."""
    digits = data.digits()
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model = VAE(
        nets.MLPEncoder(784, latent, spread=10.0),
        nets.MLPDecoder(latent, 784),
        beta=beta,
    )
    train.fit(model, digits.train, epochs=24, generator=generator, **TRAINING)
    x = data.binarize(digits.test, generator=torch.Generator().manual_seed(1000))
    result = evaluate.elbo(model, x, samples=10, generator=generator)
    z = torch.randn(6, latent, generator=torch.Generator().manual_seed(2000))
    with torch.no_grad():
        means = (255 * model.decode(z).mean).round().byte()
    return {
        "beta": beta,
        "latent": latent,
        "seed": seed,
        "elbo": round(result.elbo, 2),
        "rate": round(result.kl, 2),
        "distortion": round(-result.log_likelihood, 2),
        "active_units": int(evaluate.active_units(model, x).sum()),
        "means": base64.b64encode(means.numpy().tobytes()).decode(),
    }


def neighbour_point(*, seed: int) -> dict:
    """How well five neighbours among the training codes name a held-out digit, in two planes."""
    digits = data.digits()
    net = {"hidden": (300, 300), "activation": torch.nn.Tanh}
    torch.manual_seed(seed)
    models = {
        "autoencoder": Autoencoder(
            nets.MLP([784, 300, 300, 2], activation=torch.nn.Tanh), nets.MLPDecoder(2, 784, **net)
        ),
        "vae": VAE(nets.MLPEncoder(784, 2, **net), nets.MLPDecoder(2, 784, **net)),
    }
    point: dict = {"seed": seed}
    for name, model in models.items():
        generator = torch.Generator().manual_seed(seed)
        train.fit(model, digits.train, epochs=25, generator=generator, **TRAINING)
        with torch.no_grad():
            codes = [
                model.encode(data.binarize(images, generator=generator))
                for images in (digits.train, digits.test)
            ]
        memory, query = codes if name == "autoencoder" else (q.loc for q in codes)
        near = torch.cdist(query, memory).topk(5, largest=False).indices
        votes = digits.train_labels[near].long().mode(1).values
        point[name] = round((votes == digits.test_labels).double().mean().item(), 4)
    return point


class WithoutNoise(VAE):
    """z is q's mean, in training too; the KL stays."""

    def noise(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        """No noise."""
        return torch.zeros(n, self.latent)


class HeldScale(nn.Module):
    """An encoder whose q has the same scale for every image: it cannot make the noise smaller."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Loc, and the logvar that is held."""
        loc, _ = self.encoder(x)
        return loc, torch.full_like(loc, 2 * math.log(HELD_SCALE))


def continuity_point(*, kl: bool, noise: bool, seed: int) -> dict:
    """How much the decoded picture changes with the distance in the plane of the chapter's 2-D VAE.

    Without the KL, q's scale is held, because it would go to 0 and take the noise with it.
    """
    digits = data.digits()
    net = {"hidden": (300, 300), "activation": nn.Tanh}
    torch.manual_seed(seed)
    encoder = nets.MLPEncoder(784, 2, **net)
    decoder = nets.MLPDecoder(2, 784, **net)
    model = (VAE if noise else WithoutNoise)(
        encoder if kl else HeldScale(encoder), decoder, beta=float(kl)
    )
    train.fit(
        model, digits.train, epochs=25, generator=torch.Generator().manual_seed(seed), **TRAINING
    )
    x = data.binarize(digits.test, generator=torch.Generator().manual_seed(1000))
    direction = torch.randn(len(x), 2, generator=torch.Generator().manual_seed(2000))
    direction = direction / direction.norm(dim=1, keepdim=True)
    with torch.no_grad():
        q = model.encode(x)
        spread = q.loc.var(0).mean().sqrt()
        here = decoder(q.loc)
        changes = []
        for distance in DISTANCES:
            there = decoder(q.loc + distance * spread * direction)
            # KL(p(x | z) ‖ p(x | z')), summed over the pixels.
            change = here.sigmoid() * (here - there) + softplus(there) - softplus(here)
            changes.append(round(change.sum(1).mean().item(), 3))
        at_code = model.decode(q.loc).log_prob(x).mean().item()
    return {
        "kl": kl,
        "noise": noise,
        "seed": seed,
        "spread": round(spread.item(), 3),
        "scale": round(q.stddev.median().item(), 4) if noise else 0.0,
        "log_likelihood_at_code": round(at_code, 2),
        "distances": list(DISTANCES),
        "changes": changes,
    }


def sweep() -> list[dict]:
    """All β at 16 latent dimensions, all latent sizes at β = 1."""
    grid = [(beta, 16) for beta in BETAS] + [(1.0, k) for k in LATENTS if k != 16]
    points = []
    for beta, latent in grid:
        for seed in SEEDS:
            points.append(train_point(beta=beta, latent=latent, seed=seed))
            print({k: v for k, v in points[-1].items() if k != "means"}, flush=True)
            if seed != SEEDS[0]:
                del points[-1]["means"]  # one seed's pictures are enough
    return points


def neighbours() -> list[dict]:
    """Four seeds."""
    points = []
    for seed in range(4):
        points.append(neighbour_point(seed=seed))
        print(points[-1], flush=True)
    return points


def continuity() -> list[dict]:
    """The VAE; without its noise; without its KL; without both, an autoencoder. Three seeds."""
    points = []
    for seed in range(3):
        for kl, noise in itertools.product((True, False), repeat=2):
            points.append(continuity_point(kl=kl, noise=noise, seed=seed))
            print(points[-1], flush=True)
    return points


RUNS = {"sweep": sweep, "neighbours": neighbours, "continuity": continuity}


def main() -> None:
    """Run what was asked for, and store it with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=RUNS, default="sweep")
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    points = RUNS[options.what]()
    name = "" if options.what == "sweep" else f" {options.what}"
    origin = provenance.origin(f"benchmarks/sweep.py{name}", torch.device("cpu"))
    if not options.print:
        path = provenance.RESULTS / f"{options.what}.json"
        provenance.write(path, {**origin, "points": points})


if __name__ == "__main__":
    main()
