"""The history of three trainings that the figure `Dashboard` shows (5 min).

    python benchmarks/dashboard.py

Chapter `train`'s recipe for a full VAE; the same with ReLU for SiLU; and that at the rate that a
range test proposes for convolutions with ReLU. After each epoch a run is measured on held-out
digits and on some of those that it learns from; after nine of the epochs 64 draws of the prior are
decoded. Stored in vaelib/course/results/dashboard.json as each run ends; with --print only printed.
Runs that the file has already, of this commit on this machine, are not made again.
tests/test_dashboard_record.py trains the first epoch of one again.
"""

import argparse
import base64
import io
import statistics
from collections.abc import Callable

import numpy as np
import provenance
import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim import Optimizer

from vaelib import data, evaluate, nets, train
from vaelib.prior import VampPrior
from vaelib.vae import VAE, Model

EPOCHS = 40
SHOWN = (0, 1, 2, 3, 5, 8, 13, 20, 40)  # epochs with a sheet
HELD_OUT = 1_000  # the last of the 8,000; as many of the others are measured beside them
LATENT = 16
SEED = 0
SIDE = 8  # pictures along a side of a sheet
LEVELS = 16  # of grey in a sheet
# By their names: the activation, and the learning rate. All else is the same.
RUNS: dict[str, tuple[Callable[[], nn.Module], float]] = {
    "SiLU": (nn.SiLU, 6e-3),
    "ReLU": (nn.ReLU, 6e-3),
    "ReLU, faster": (nn.ReLU, 1.4e-2),
}


def network(activation: Callable[[], nn.Module]) -> VAE:
    """The recipe's model: two convolutions, a hidden layer, 16 dimensions, a mixture for a prior.

    The torch seed is set here, and decides on the weights and on all that `train.fit` draws.
    """
    torch.manual_seed(SEED)
    options = {"channels": 16, "width": 128, "activation": activation}
    encoder = nets.ConvEncoder(LATENT, spread=10.0, **options)
    decoder = nets.ConvDecoder(LATENT, **options)
    model = VAE(encoder, decoder, prior=VampPrior(encoder, 784, 50))
    return model.to(memory_format=torch.channels_last)


def sheet(means: Tensor) -> str:
    """64 pictures [64, 784] in [0, 1] as one PNG of 8 x 8, in letters: black ink, its alpha the
    picture's grey in 16 levels, so that a page can lay it over any ground.
    """
    grey = (means * (LEVELS - 1)).round().byte().view(SIDE, SIDE, 28, 28)
    levels = grey.transpose(1, 2).reshape(SIDE * 28, SIDE * 28)
    picture = Image.fromarray(levels.numpy()).convert("L")
    inked = Image.frombytes("P", picture.size, picture.tobytes())
    inked.putpalette([0] * 3 * LEVELS)
    alpha = bytes(np.linspace(0, 255, LEVELS).round().astype(np.uint8))
    file = io.BytesIO()
    inked.save(file, format="png", bits=4, transparency=alpha, optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def measured(model: Model, x: Tensor) -> dict[str, float]:
    """The bound with its terms, in nats per image; the same noise after each epoch."""
    found = evaluate.elbo(model, x, samples=4, generator=torch.Generator().manual_seed(SEED))
    terms = {"elbo": found.elbo, "log_likelihood": found.log_likelihood, "kl": found.kl}
    return {name: round(value, 2) for name, value in terms.items()}


class Watch:
    """What is written down of a run: at its beginning, after each epoch, and of each step."""

    def __init__(self, model: Model, pixels: Tensor, held_out: Tensor, until: int) -> None:
        draws = (pixels[:HELD_OUT], held_out)
        # One fixed draw of the pixels, so that epochs differ by the model alone.
        self.x, self.x_held_out = (
            data.binarize(part, generator=torch.Generator().manual_seed(1000 + number))
            for number, part in enumerate(draws)
        )
        self.until = until
        self.norms: list[Tensor] = []
        self.epochs: list[dict] = []
        self.sheets: dict[str, str] = {}
        self.look(0, model)

    def optimizer(self, parameters: list[nn.Parameter], lr: float) -> Optimizer:
        """`train.fit`'s own Adam, which now says how long each step's gradient is."""
        adam = torch.optim.Adam(parameters, lr=lr, fused=True)
        adam.register_step_pre_hook(self.before_step)
        return adam

    def before_step(self, adam: Optimizer, *_: object) -> None:
        """The Euclidean norm of the whole gradient, before Adam changes anything by it."""
        parts = [p.grad.norm() for group in adam.param_groups for p in group["params"]]
        self.norms.append(torch.stack(parts).norm())

    def after_epoch(self, epoch: train.Epoch, model: Model) -> bool:
        """Called by `train.fit`, which ends when this is True."""
        self.look(epoch.epoch, model)
        return epoch.epoch >= self.until

    @torch.no_grad()
    def look(self, epoch: int, model: Model) -> None:
        """Measure; before the first step there is no gradient yet."""
        norms = [norm.item() for norm in self.norms]
        self.norms.clear()
        active = evaluate.active_units(model, self.x_held_out)
        self.epochs.append(
            {
                "epoch": epoch,
                "train": measured(model, self.x),
                "validation": measured(model, self.x_held_out),
                "active_units": int(active.sum()),
                "gradient_norm": round(statistics.median(norms), 2) if norms else None,
                "largest_norm": round(max(norms), 2) if norms else None,
            }
        )
        if epoch in SHOWN:
            # The same uniform numbers and the same noise: the same components, moved.
            _, z = model.sample(SIDE**2, generator=torch.Generator().manual_seed(SEED))
            self.sheets[str(epoch)] = sheet(model.decode(z).mean)


def history(name: str, *, until: int = EPOCHS) -> dict:
    """One of the trainings, of 40 epochs in any case, broken off after some of them."""
    pixels, held_out = data.digits().train.split([8_000 - HELD_OUT, HELD_OUT])
    activation, lr = RUNS[name]
    model = network(activation)
    watch = Watch(model, pixels, held_out, until)
    train.fit(
        model,
        pixels,
        epochs=EPOCHS,
        lr=lr,
        optimizer=watch.optimizer,
        callbacks=[watch.after_epoch],
        progress=False,
    )
    return {
        "name": name,
        "lr": lr,
        "seed": SEED,
        "latent": LATENT,
        "weights": sum(p.numel() for p in model.parameters()),
        "history": watch.epochs,
        "sheets": watch.sheets,
    }


def main() -> None:
    """Each of them, stored with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--print", action="store_true", help="do not store")
    parser.add_argument("--only", choices=RUNS, action="append", help="one run, or some")
    parser.add_argument("--until", type=int, default=EPOCHS, help="break off after this epoch")
    options = parser.parse_args()
    path = None if options.print else provenance.RESULTS / "dashboard.json"
    fresh = provenance.origin("benchmarks/dashboard.py", torch.device("cpu")) | {"runs": []}
    for name in options.only or RUNS:
        if any(run["name"] == name for run in provenance.take_up(path, fresh)["runs"]):
            continue
        made = history(name, until=options.until)
        for epoch in made["history"]:
            print(name, epoch, flush=True)
        print({key: len(png) for key, png in made["sheets"].items()}, flush=True)
        # Taken up now: another process may have stored its own meanwhile.
        record = provenance.take_up(path, fresh)
        runs = [*record["runs"], made]
        record["runs"] = sorted(runs, key=lambda run: [*RUNS].index(run["name"]))
        provenance.write(path, record)


if __name__ == "__main__":
    main()
