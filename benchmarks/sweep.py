"""Train the VAE of chapter `vae` at several β and latent sizes; store what the chapter shows.

    python benchmarks/sweep.py             all points, into vaelib/results/sweep.json (20 minutes)
    python benchmarks/sweep.py --print     the same, only printed

Each point is one call of `train_point`; tests/test_sweep.py runs one of them again.
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
from vaelib.vae import VAE

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "vaelib" / "results" / "sweep.json"
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


def main() -> None:
    """Train all points and store them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    grid = [(beta, 16) for beta in BETAS] + [(1.0, k) for k in LATENTS if k != 16]
    points = []
    for beta, latent in grid:
        for seed in SEEDS:
            points.append(train_point(beta=beta, latent=latent, seed=seed))
            print({k: v for k, v in points[-1].items() if k != "means"}, flush=True)
            if seed != SEEDS[0]:
                del points[-1]["means"]  # one seed's pictures are enough
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    record = {
        "command": "python benchmarks/sweep.py",
        "commit": commit,
        "device": platform.processor() or platform.machine(),
        "versions": {"vaelib": vaelib.__version__, "torch": torch.__version__},
        "date": date.today().isoformat(),
        "points": points,
    }
    if not options.print:
        STORED.parent.mkdir(exist_ok=True)
        STORED.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
