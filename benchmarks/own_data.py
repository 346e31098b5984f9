"""What the page of own data shows: colour in bits, and each of its cards, run as it is printed.

    python benchmarks/own_data.py colour cards

``colour`` trains on painted digits with noise of exactly 3 bits for each value: two networks, one
logistic and five, and pythae 0.1.2 if it is installed, all for as many epochs; five minutes on one
core. ``cards`` runs each command and each Python of book/own_data.md in a new folder, measures what
the page says of it, and draws its pictures into book/_static/own_data; four minutes. What was
measured stands in benchmarks/results/own_data.json, each part as it ends.
"""

import argparse
import json
import math
import sys
import tempfile
import time
import warnings
from pathlib import Path

import own_data_cards
import provenance
import torch
from torch import Tensor

from vaelib import fit
from vaelib.colour import MixedLogistics
from vaelib.data import Dataset, Pictures, examples
from vaelib.likelihood import Logistics

PATH = Path(__file__).resolve().parent / "results" / "own_data.json"
FLOOR = 3.0  # bits: eight equal levels
EPOCHS, BATCH, LATENT = 5, 16, 16
SAMPLES, MEASURED = 20, 200  # K of L_K, and held-out pictures


def best_of(components: int, steps: int = 1000) -> float:
    """Bits in which a mixture of logistics describes eight equal levels whose place it knows.

    The best that any model with this likelihood can do, if it knew each clean picture.
    """
    torch.manual_seed(0)
    levels = (100 + torch.arange(8.0)[:, None]) / 255
    pairs = min(components, 4)  # a narrow one between two levels gives each of them half
    middles = 99.5 + 8 / pairs * (torch.arange(components) + 0.5)
    logits = torch.where(torch.arange(components) < pairs, 0.0, -20.0)
    log_scales = torch.full((components,), -math.log(255) - (3.0 if pairs == 4 else 0.0))
    raw = torch.stack([logits, middles / 255, log_scales]).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    best = math.inf
    for _ in range(steps):
        mixed = MixedLogistics(*raw[:, None], torch.zeros(1, 0))
        loss = -mixed.log_prob(levels).mean()
        best = min(best, loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return best / math.log(2)


def painted() -> Dataset:
    """2,000 painted digits, of which the last 200 are held out."""
    rows = examples.painted(2000).images.flatten(1)
    return Dataset(rows[:-MEASURED], rows[-MEASURED:], Pictures(32, 32, 3))


def ours(net: str, components: int, epochs: int) -> dict:
    """One model of ours: its bits by both bounds, and how long it took."""
    Logistics.command_line = {"components": components}
    start, busy = time.perf_counter(), time.process_time()
    run = fit(painted(), net=net, epochs=epochs, batch_size=BATCH, latent=LATENT, progress=False)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    score = run.log_prob(run.test, samples=SAMPLES)
    values = math.log(2) * run.layout.values
    return {
        "name": f"{net}, {components} logistics",
        "net": net,
        "components": components,
        "epochs": epochs,
        "weights": sum(p.numel() for p in run.model.parameters()),
        "bits": round(score.bits.mean().item(), 3),
        "bits_elbo": round(-score.elbo.mean().item() / values, 3),
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
    }


PYTHAE = """\
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.trainers import BaseTrainer, BaseTrainerConfig

model = VAE(VAEConfig(input_dim=(3, 32, 32), latent_dim=16))
data = BaseDataset(images.float() / 255, torch.zeros(len(images)))
config = BaseTrainerConfig(
    output_dir=folder, num_epochs=epochs, learning_rate=1e-3,
    per_device_train_batch_size=16, no_cuda=True,
)
BaseTrainer(model, data, training_config=config).train()
"""


def theirs(epochs: int) -> dict:
    """pythae's VAE of the same data as its documentation shows it, and bits from what it gives.

    Its loss with ``reconstruction_loss="mse"`` is half the squared error plus the KL: up to a
    constant minus the ELBO of a normal with variance 1 on the scale of [0, 1], which no report of
    it scales. Bits of levels are made of its reconstructions by the best normal that fits them: one
    variance, from training data, cut into levels.
    """
    import logging

    logging.disable(logging.INFO)
    rows = painted()
    images = rows.train.view(-1, 3, 32, 32)
    names = {"images": images, "epochs": epochs, "torch": torch}
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names["folder"] = folder
        start, busy = time.perf_counter(), time.process_time()
        exec(compile(PYTHAE, "pythae", "exec"), names)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    model = names["model"].cpu().eval()

    @torch.no_grad()
    def coded(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mean of the levels at a drawn z, log q(z) and log p(z)."""
        q = model.encoder(pixels.view(-1, 3, 32, 32).float() / 255)
        scale = torch.exp(0.5 * q.log_covariance)
        z = q.embedding + scale * torch.randn(scale.shape)
        log_q = torch.distributions.Normal(q.embedding, scale).log_prob(z).sum(-1)
        log_p = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
        return model.decoder(z).reconstruction.flatten(1), log_q, log_p

    torch.manual_seed(1)
    means, *_ = coded(rows.train)
    scale = (rows.train.float() / 255 - means).square().mean().sqrt()
    log_w, elbo = [], []
    level = rows.test.float()
    for _ in range(SAMPLES):
        mean, log_q, log_p = coded(rows.test)
        cut = torch.distributions.Normal(mean.double(), scale.double())
        below = torch.where(level > 0, cut.cdf((level.double() - 0.5) / 255), 0.0)
        above = torch.where(level < 255, cut.cdf((level.double() + 0.5) / 255), 1.0)
        log_w.append((above - below).clamp(min=1e-30).log().sum(-1) + log_p - log_q)
        elbo.append(log_w[-1])
    values = math.log(2) * level.shape[1]
    l_k = torch.stack(log_w).logsumexp(0) - math.log(SAMPLES)
    return {
        "name": "pythae 0.1.2, as documented",
        "epochs": epochs,
        "weights": sum(p.numel() for p in model.parameters()),
        "bits": round(-l_k.mean().item() / values, 3),
        "bits_elbo": round(-torch.stack(elbo).mean().item() / values, 3),
        "scale_levels": round(255 * scale.item(), 2),
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
        "lines": len(PYTHAE.strip().splitlines()),
    }


def colour(epochs: int) -> dict:
    """The table of colour."""
    limits, rows = {str(k): round(best_of(k), 3) for k in (1, 5)}, []
    try:
        rows.append(theirs(epochs))
    except ImportError as error:
        print(f"without pythae: {error}")
    for which in (("conv", 1), ("mlp", 5), ("conv", 5)):
        rows.insert(0, ours(*which, epochs))
        print(rows[0], flush=True)
    return {"floor": FLOOR, "limits": limits, "rows": rows}


def main() -> int:
    """Measure the parts that are asked for, and store each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=("colour", "cards"))
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of colour")
    parser.add_argument("--only", nargs="+", help="of the cards, these")
    given = parser.parse_args()
    stored = json.loads(PATH.read_text()) if PATH.exists() else {}
    for part in given.parts:
        if part == "colour":
            made = colour(given.epochs)
        else:
            made = own_data_cards.record(given.only, stored)
        command = f"benchmarks/own_data.py {part}"
        stored[part] = provenance.origin(command, torch.device("cpu")) | made
        if {"cards", "colour"} <= stored.keys():
            own_data_cards.write_page(stored)
        if "colour" in stored:
            own_data_cards.bits(stored)
        PATH.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
        print(json.dumps(made, indent=1)[:3000])
    return 0


if __name__ == "__main__":
    sys.exit(main())
