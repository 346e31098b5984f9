"""Runs of chapter `collapse` beside the sweep's; what it shows of them is stored.

    python benchmarks/dead_units.py            causes × remedies, three seeds (20 min)
    python benchmarks/dead_units.py planes     2-D VAEs at five β (5 min)

They are stored in vaelib/course/results, one file for each; with --print they are only printed.
Each point is one call of a function here; tests/test_dead_units.py runs one of each again.
"""

import argparse
import base64
import math
from collections.abc import Callable
from typing import NamedTuple

import provenance
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Distribution, Independent, constraints
from torch.nn.functional import pad

from vaelib import data, evaluate, nets, train
from vaelib.collapse import FreeBits
from vaelib.likelihood import Gaussian, Likelihood
from vaelib.vae import VAE

BETAS = (0.1, 1.0, 10.0, 30.0, 100.0)
SEEDS = (0, 1, 2)
TRAINING = {"batch_size": 64, "progress": False}
FLOOR = 0.25  # nats that each unit has for free
REMEDIES = ("none", "warm-up", "free bits")
# Of the chapter's noise: above every eigenvalue of the digits' covariance.
LOUD = 8.0


class Chain(Likelihood):
    """Bits, each of which repeats the one before with probability 0.9 unless the output objects."""

    support = constraints.boolean
    remedy = "only 0 and 1"
    binarization = "dynamic"

    def forward(self, raw: Tensor) -> Distribution:
        """The decoder's output is added to the logit that the bit before gives."""
        return _Bits(raw)


class _Bits(Independent):
    def __init__(self, raw: Tensor) -> None:
        self.raw = raw
        super().__init__(Bernoulli(logits=raw, validate_args=False), 1, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        before = pad(math.log(9) * (2 * value[..., :-1] - 1), (1, 0))
        return Bernoulli(logits=self.raw + before).log_prob(value).sum(-1)


def strings(n: int, *, seed: int) -> Tensor:
    """``uint8 [n, 30]``, 0 or 255: each bit repeats the one before with probability 0.9."""
    generator = torch.Generator().manual_seed(seed)
    flips = torch.rand(n, 30, generator=generator) < 0.1
    flips[:, 0] = torch.rand(n, generator=generator) < 0.5
    return (255 * (flips.cumsum(1) % 2)).to(torch.uint8)


class Detached(FreeBits):
    """The decoder gets z without its gradient, so the encoder hears only the KL."""

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """As before, of a z that is cut off."""
        return super().decode(z.detach(), c)


def small(pixels: int = 784, *, kind: type[FreeBits] = FreeBits, **options: object) -> FreeBits:
    """The chapter's small VAE: five units, one hidden layer of 100."""
    return kind(
        nets.MLPEncoder(pixels, 5, hidden=(100,)),
        nets.MLPDecoder(5, pixels, hidden=(100,)),
        **options,
    )


def dead_start(**options: object) -> FreeBits:
    """All biases of the decoder at −5, which was meant for the last layer; its units are ReLUs."""
    model = FreeBits(
        nets.MLPEncoder(784, 5, hidden=(100,)),
        nets.MLPDecoder(5, 784, hidden=(100,), activation=nn.ReLU),
        **options,
    )
    with torch.no_grad():
        for layer in model.decoder:
            if isinstance(layer, nn.Linear):
                layer.bias.fill_(-5.0)
    return model


def loud(**options: object) -> FreeBits:
    """A linear VAE whose noise is above every eigenvalue of the data's covariance."""
    return FreeBits(
        nets.LinearEncoder(784, 5),
        nets.MLPDecoder(5, 784, hidden=()),
        likelihood=Gaussian(math.log(LOUD), learned=False),
        **options,
    )


def slow_start(**options: object) -> FreeBits:
    """The chapter's 16-D VAE as torch initializes it: at first the codes hardly differ."""
    return FreeBits(nets.MLPEncoder(784, 16), nets.MLPDecoder(16, 784), **options)


class Case(NamedTuple):
    """A cause: how its model is made, and how it is trained."""

    make: Callable[..., FreeBits]
    epochs: int = 4
    lr: float = 3e-3
    strings: int = 0  # so many of them, instead of digits


CASES = {
    "healthy": Case(small),
    "reduction": Case(lambda **o: small(beta=784 / 5, **o)),
    "noise": Case(loud),
    "no need": Case(lambda **o: small(30, likelihood=Chain(), **o), strings=16_000),
    # Only the last biases can move, and they have a long way to go.
    "start": Case(dead_start, epochs=10, lr=1e-2),
    "detached": Case(lambda **o: small(kind=Detached, **o)),
    "slow start": Case(slow_start, epochs=24),
}


def remedy_point(*, cause: str, remedy: str, seed: int) -> dict:
    """One cause with one remedy, evaluated on held-out data, and its KL after each epoch."""
    case = CASES[cause]
    torch.manual_seed(seed)
    model = case.make(floor=FLOOR if remedy == "free bits" else 0.0)
    if case.strings:
        pixels, test = strings(case.strings, seed=100 + seed), strings(2000, seed=1000)
    else:
        pixels, test = (lambda d: (d.train, d.test))(data.digits())
    x = model.likelihood.prepare(test, generator=torch.Generator().manual_seed(1000))
    kl = []

    def look(_: train.Epoch, __: VAE) -> None:
        found = evaluate.elbo(model, x, generator=torch.Generator().manual_seed(seed))
        kl.append(round(found.kl, 3))

    train.fit(
        model,
        pixels,
        epochs=case.epochs,
        lr=case.lr,
        warmup=case.epochs // 2 if remedy == "warm-up" else 0,
        generator=torch.Generator().manual_seed(seed),
        callbacks=[look],
        **TRAINING,
    )
    generator = torch.Generator().manual_seed(seed)
    found = evaluate.elbo(model, x, samples=10, generator=generator)
    return {
        "cause": cause,
        "remedy": remedy,
        "seed": seed,
        "latent": model.latent,
        "elbo": round(found.elbo, 2),
        "rate": round(found.kl, 3),
        "active_units": int(evaluate.active_units(model, x).sum()),
        "kl_by_epoch": kl,
    }


def plane_point(*, beta: float) -> dict:
    """The chapter's 2-D VAE at another β: thirty ellipses, and what it decodes on a grid."""
    digits = data.digits()
    net = {"hidden": (300, 300), "activation": nn.Tanh}
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(784, 2, **net), nets.MLPDecoder(2, 784, **net), beta=beta)
    train.fit(
        model,
        digits.train,
        epochs=25,
        lr=3e-3,
        generator=torch.Generator().manual_seed(8),
        **TRAINING,
    )
    x = data.binarize(digits.test, generator=torch.Generator().manual_seed(1000))
    found = evaluate.elbo(model, x, samples=10, generator=torch.Generator().manual_seed(0))
    axis = torch.linspace(-2, 2, 5)
    rows = torch.cartesian_prod(axis.flip(0), axis).flip(1)  # from the top: z₂ falls, z₁ rises
    with torch.no_grad():
        q = model.encode(x[:30])
        spread = model.encode(x).loc.std(0)
        means = (255 * model.decode(rows).mean).round().byte()
    return {
        "beta": beta,
        "elbo": round(found.elbo, 2),
        "rate": round(found.kl, 2),
        "distortion": round(-found.log_likelihood, 2),
        "spread": [round(v, 3) for v in spread.tolist()],
        "loc": [[round(v, 4) for v in row] for row in q.loc.tolist()],
        "scale": [[round(v, 4) for v in row] for row in q.stddev.tolist()],
        "means": base64.b64encode(means.numpy().tobytes()).decode(),
    }


def remedies() -> list[dict]:
    """Every cause with every remedy."""
    points = []
    for cause in CASES:
        for remedy in REMEDIES:
            for seed in SEEDS:
                points.append(remedy_point(cause=cause, remedy=remedy, seed=seed))
                print(points[-1], flush=True)
    return points


def planes() -> list[dict]:
    """Five β."""
    points = []
    for beta in BETAS:
        points.append(plane_point(beta=beta))
        print({k: v for k, v in points[-1].items() if k not in ("means", "loc")}, flush=True)
    return points


RUNS = {"remedies": remedies, "planes": planes}


def main() -> None:
    """Run what was asked for, and store it with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=RUNS, default="remedies")
    parser.add_argument("--print", action="store_true", help="do not store")
    options = parser.parse_args()
    points = RUNS[options.what]()
    name = "" if options.what == "remedies" else f" {options.what}"
    origin = provenance.origin(f"benchmarks/dead_units.py{name}", torch.device("cpu"))
    if not options.print:
        path = provenance.RESULTS / f"{options.what}.json"
        provenance.write(path, {**origin, "points": points})


if __name__ == "__main__":
    main()
