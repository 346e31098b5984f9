"""Runs of chapter `vae` that take too long for a page; what it shows of them is stored.

    python benchmarks/sweep.py                 several β and latent sizes (20 min)
    python benchmarks/sweep.py neighbours      neighbours in the codes, four seeds (5 min)

They are stored in vaelib/results/sweep.json and neighbours.json; with --print they are only
printed. Each point is one call of a function here; tests/test_sweep.py runs one of them again.
"""

import argparse
import base64
import json
import platform
import subprocess
from datetime import date
from pathlib import Path

import torch

import vaelib
from vaelib import data, evaluate, nets, train
from vaelib.vae import VAE, Autoencoder

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "vaelib" / "results"
BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)
LATENTS = (2, 4, 8, 16, 32, 64)
SEEDS = (0, 1)


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
    train.fit(
        model,
        digits.train,
        epochs=24,
        lr=3e-3,
        batch_size=64,
        generator=generator,
        progress=False,
    )
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
        train.fit(
            model,
            digits.train,
            epochs=25,
            lr=3e-3,
            batch_size=64,
            generator=generator,
            progress=False,
        )
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


def main() -> None:
    """Run what was asked for, and store it with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["sweep", "neighbours"], default="sweep")
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    points = {"sweep": sweep, "neighbours": neighbours}[options.what]()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    name = "" if options.what == "sweep" else f" {options.what}"
    record = {
        "command": f"python benchmarks/sweep.py{name}",
        "commit": commit,
        "device": platform.processor() or platform.machine(),
        "versions": {"vaelib": vaelib.__version__, "torch": torch.__version__},
        "date": date.today().isoformat(),
        "points": points,
    }
    if not options.print:
        STORED.mkdir(exist_ok=True)
        (STORED / f"{options.what}.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
