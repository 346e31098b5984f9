"""The patients of chapter `clinic`: a healthy VAE, and eight with one fault each.

    python benchmarks/clinic.py            all nine and a twin of the seventh (5 min)
    python benchmarks/clinic.py 1 5        only these, printed and not stored

Stored is vaelib/course/results/clinic.json. ``sick_1`` to ``sick_8`` are the very lines that the
chapter shows; a patient is a healthy VAE with one of them in place of what is right.
"""

import argparse
import base64
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import provenance
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaelib import data
from vaelib.evaluate import grid_log_evidence
from vaelib.vae import VAE

POOL, HELD_OUT = 2500, 500  # digits of a patient, and how many of them it keeps for its own test
BATCH, LATENT, SHOWN = 100, 8, 6
PIXELS, BITS = 784, 30
bce = F.binary_cross_entropy_with_logits


# ---- Eight faults. The chapter shows these functions as they stand here. ----


def sick_1(x, logits, loc, logvar):
    """The loss of a batch."""
    pixels = bce(logits, x)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1)
    return pixels + kl.sum(1).mean()


def sick_2(decoder, z):
    """The logits at z, before the first step."""
    # Most pixels are blank: let them begin near 0.
    for layer in decoder:
        if isinstance(layer, nn.Linear):
            nn.init.constant_(layer.bias, -5.0)
    return decoder(z)


def sick_3(x, encoder, decoder, eps, history):
    """The loss of a batch."""
    loc, logvar = encoder(x).chunk(2, dim=1)
    z = loc + torch.exp(0.5 * logvar) * eps
    pixels = bce(decoder(z), x, reduction="none").sum(1)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(1)
    history.append(kl.mean().item())  # so that we see it
    return pixels.mean()


def sick_4(x, z, decoder):
    """log p(x | z) of each string."""
    # A bit is 9 times as likely to repeat the one before.
    before = F.pad(2 * x[:, :-1] - 1, (1, 0))
    logits = decoder(z) + math.log(9) * before
    return -bce(logits, x, reduction="none").sum(1)


def sick_5(images, held_out, order):
    """Digits to train on, and to test on.

    Called at the start of each epoch, and once more for the
    test, each time with a new order.
    """
    shuffled = images[order]
    test, train = shuffled[:held_out], shuffled[held_out:]
    return train, test


def sick_6(images, chosen):
    """A batch of x, which the loss takes for 0 or 1."""
    pixels = images[chosen]  # whole numbers, 0 to 255
    return pixels / 255


def sick_7(x, encoder, decoder, eps):
    """The mean bound of a test set."""
    loc, logvar = encoder(x).chunk(2, dim=1)
    kl = 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(1)
    total = 0.0
    for _ in eps:  # one for each sample
        z = loc  # no noise: this is a test
        pixels = bce(decoder(z), x, reduction="none").sum(1)
        total = total - (pixels + kl).mean()
    return total / len(eps)


def sick_8(encoder, decoder, loss, steps, lr):
    """Train, and return the loss of each step."""
    adam = torch.optim.Adam(decoder.parameters(), lr=lr)
    losses = []
    for _ in range(steps):
        value = loss(encoder, decoder)
        adam.zero_grad()
        value.backward()
        adam.step()
        losses.append(value.item())
    return torch.tensor(losses)


# ---- The same parts in health. ----


def loss(x, encoder, decoder, eps, history, log_lik):
    """Minus the mean bound of a batch, in nats."""
    loc, logvar = encoder(x).chunk(2, dim=1)
    z = loc + torch.exp(0.5 * logvar) * eps
    kl = kl_to_prior(loc, logvar)
    history.append(kl.mean().item())
    return (kl - log_lik(x, z, decoder)).mean()


def loss_1(x, encoder, decoder, eps, history, _):
    """The same, with the two terms put together by the first patient."""
    loc, logvar = encoder(x).chunk(2, dim=1)
    z = loc + torch.exp(0.5 * logvar) * eps
    history.append(kl_to_prior(loc, logvar).mean().item())
    return sick_1(x, decoder(z), loc, logvar)


def kl_to_prior(loc, logvar):
    """Of each datum, in nats."""
    return 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(1)


def log_lik(x, z, decoder):
    """log p(x | z) of each datum, in nats: Bernoulli pixels."""
    return -bce(decoder(z), x, reduction="none").sum(1)


def start(decoder, z):
    """The logits before the first step, of weights and biases as torch draws them."""
    return decoder(z)


def split(images, held_out, order):
    """The training digits in this epoch's order, and the test digits, the same ones always."""
    return images[order[order >= held_out]], images[:held_out]


def batch(images, chosen, u):
    """Zeros and ones, drawn anew each time: 1 with the probability that the grey stands for."""
    return (u < images[chosen] / 255).float()


def report(x, encoder, decoder, eps, log_lik):
    """The mean bound, in nats, by one sample of z for each of ``eps``."""
    loc, logvar = encoder(x).chunk(2, dim=1)
    first = sum(log_lik(x, loc + torch.exp(0.5 * logvar) * e, decoder).mean() for e in eps)
    return first / len(eps) - kl_to_prior(loc, logvar).mean()


def fit(encoder, decoder, loss, steps, lr):
    """Adam over both networks; the loss of each step, as it was before the step."""
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=lr)
    losses = []
    for _ in range(steps):
        value = loss(encoder, decoder)
        adam.zero_grad()
        value.backward()
        adam.step()
        losses.append(value.item())
    return torch.tensor(losses)


class Patient(NamedTuple):
    """What a run is made of; by default all of it is healthy."""

    start: Callable[..., Any] = start
    loss: Callable[..., Any] = loss
    log_lik: Callable[..., Any] = log_lik
    split: Callable[..., Any] = split
    batch: Callable[..., Any] = batch
    report: Callable[..., Any] = report
    fit: Callable[..., Any] = fit
    epochs: int = 30
    lr: float = 2e-3
    latent: int = LATENT
    bits: bool = False  # strings of 30 of them, instead of digits


PATIENTS = {
    "healthy": Patient(),
    "1": Patient(loss=loss_1),
    "2": Patient(start=sick_2, lr=1e-2),
    "3": Patient(loss=lambda *given: sick_3(*given[:-1])),
    "4": Patient(log_lik=sick_4, bits=True),
    "4 mended": Patient(bits=True),
    "5": Patient(split=sick_5, epochs=100),
    "5 mended": Patient(epochs=100),
    "6": Patient(batch=lambda *given: sick_6(*given[:-1])),
    "7": Patient(report=lambda *given: sick_7(*given[:-1])),
    "7 in a plane": Patient(latent=2),
    "8": Patient(fit=sick_8),
}


# ---- A run and its vital signs. ----


def seeded(seed: int) -> torch.Generator:
    """A source of random numbers of its own."""
    return torch.Generator().manual_seed(seed)


def strings(n: int, seed: int) -> Tensor:
    """``uint8 [n, 30]``, 0 or 255: each bit repeats the one before with probability 0.9."""
    flips = torch.rand(n, BITS, generator=seeded(seed)) < 0.1
    flips[:, 0] = torch.rand(n, generator=seeded(seed + 1)) < 0.5
    return (255 * (flips.cumsum(1) % 2)).to(torch.uint8)


def binarized(images: Tensor, seed: int) -> Tensor:
    """One fixed draw of zeros and ones."""
    return data.binarize(images, generator=seeded(seed))


def run(name: str, *, epochs: int | None = None) -> dict:
    """Train a patient and take its signs, all on the same 2,000 digits (or strings) held out."""
    patient = PATIENTS[name]
    if patient.bits:
        pool, fresh = strings(16_500, 100), strings(2000, 1000)
    else:
        digits = data.digits()
        pool, fresh = digits.train[:POOL], digits.test
    size, x = pool.shape[1], binarized(fresh, 1000)
    epochs = patient.epochs if epochs is None else epochs
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(size, 200), nn.ReLU(), nn.Linear(200, 2 * patient.latent))
    decoder = nn.Sequential(nn.Linear(patient.latent, 200), nn.ReLU(), nn.Linear(200, size))
    many = torch.randn(256, patient.latent, generator=seeded(1))
    with torch.no_grad():
        first_pictures = patient.start(decoder, many).sigmoid()
    generator = seeded(2)
    steps_an_epoch = (len(pool) - HELD_OUT) // BATCH
    untrained = [weight.detach().clone() for weight in encoder.parameters()]
    seen, own = {"bound": [], "kl": []}, {}

    def batches() -> Iterator[Tensor]:
        for _ in range(epochs):
            order = torch.randperm(len(pool), generator=generator)
            own["train"], own["test"] = patient.split(pool, HELD_OUT, order)
            for chosen in torch.arange(len(own["train"])).split(BATCH):
                u = torch.rand(len(chosen), size, generator=generator)
                yield patient.batch(own["train"], chosen, u)

    every = batches()

    def step(encoder: nn.Module, decoder: nn.Module) -> Tensor:
        here = next(every)
        eps = torch.randn(len(here), patient.latent, generator=generator)
        if len(seen["kl"]) % steps_an_epoch == 0:
            seen["bound"].append(bound(x, 10))
        return patient.loss(here, encoder, decoder, eps, seen["kl"], patient.log_lik)

    @torch.no_grad()
    def bound(x: Tensor, seed: int, samples: int = 1) -> float:
        eps = torch.randn(samples, len(x), patient.latent, generator=seeded(seed))
        return float(patient.report(x, encoder, decoder, eps, patient.log_lik))

    @torch.no_grad()
    def spread_of_bound(x: Tensor) -> float:
        loc, logvar = encoder(x).chunk(2, dim=1)
        z = loc + torch.exp(0.5 * logvar) * torch.randn(loc.shape, generator=seeded(15))
        return (patient.log_lik(x, z, decoder) - kl_to_prior(loc, logvar)).std().item()

    steps = epochs * steps_an_epoch
    losses = patient.fit(encoder, decoder, step, steps, patient.lr)
    by_epoch = losses.view(epochs, -1).mean(1)
    kl_by_epoch = torch.tensor(seen["kl"]).view(epochs, -1).mean(1)
    with torch.no_grad():
        loc, logvar = encoder(x).chunk(2, dim=1)
        kl = kl_to_prior(loc, logvar).mean().item()
        scale = torch.exp(0.5 * logvar)
        steps_of = zip(encoder.parameters(), untrained, strict=True)
        moved = sum((after - before).square().sum() for after, before in steps_of).sqrt()
    order = torch.randperm(len(pool), generator=generator)
    own["test"] = patient.split(pool, HELD_OUT, order)[1]
    train, test = binarized(own["train"][:2000], 1001), binarized(own["test"], 1002)
    found = {
        "patient": name,
        "epochs": epochs,
        "lr": patient.lr,
        "loss_by_epoch": rounded(by_epoch, 4),
        "kl_by_epoch": rounded(kl_by_epoch, 4),
        "bound_by_epoch": rounded([*seen["bound"], bound(x, 10)], 2),
        "loss": round(by_epoch[-1].item(), 4),
        "bound": round(bound(x, 11), 4),
        "again": round(bound(x, 12), 4),
        "hundred": round(bound(x, 13, 100), 4),
        "kl": round(kl, 4),
        "sigma": round(scale.mean().item(), 4),
        "codes": round(loc.std(0).mean().item(), 4),
        "pictures": round(first_pictures.std(0).mean().item(), 6),
        "train": round(bound(train, 14), 2),
        "test": round(bound(test, 14), 2),
        "test_error": round(spread_of_bound(test) / math.sqrt(len(test)), 2),
        "encoder_moved": round(moved.item(), 4),
    }
    return found | shown(patient, encoder, decoder, x) | others(name, encoder, decoder, x)


def rounded(values: object, digits: int) -> list[float]:
    """Plain numbers."""
    return [round(float(v), digits) for v in values]


@torch.no_grad()
def shown(patient: Patient, encoder: nn.Module, decoder: nn.Module, x: Tensor) -> dict:
    """Six pictures from the prior and six copies; of strings, six for six z by the same luck."""
    z = torch.randn(SHOWN, patient.latent, generator=seeded(3))
    if not patient.bits:
        loc = encoder(x[:SHOWN]).chunk(2, dim=1)[0]
        pictures = (255 * decoder(torch.cat([z, loc])).sigmoid()).round().byte()
        return {"means": base64.b64encode(pictures.numpy().tobytes()).decode()}
    u, drawn = torch.rand(BITS, generator=seeded(4)), torch.zeros(SHOWN, BITS)
    for bit in range(BITS):
        drawn[:, bit] = 1.0
        p = patient.log_lik(drawn[:, : bit + 1], z, lambda z, n=bit + 1: decoder(z)[:, :n])
        drawn[:, bit] = 0.0
        q = patient.log_lik(drawn[:, : bit + 1], z, lambda z, n=bit + 1: decoder(z)[:, :n])
        drawn[:, bit] = (u[bit] < torch.sigmoid(p - q)).float()
    return {"strings": ["".join(str(int(b)) for b in row) for row in drawn]}


def others(name: str, encoder: nn.Module, decoder: nn.Module, x: Tensor) -> dict:
    """What only some patients have: the best possible mean log p(x); an exact log p(x)."""
    if PATIENTS[name].bits:  # that of the chain which drew them
        flips = (x[:, 1:] != x[:, :-1]).sum(1)
        best = flips * math.log(0.1) + (BITS - 1 - flips) * math.log(0.9) + math.log(0.5)
        return {"best": round(best.mean().item(), 4)}
    if name != "7 in a plane":
        return {}
    with torch.no_grad():
        reported = [
            sick_7(image[None], encoder, decoder, torch.zeros(1, 1, 2)).item() for image in x[:500]
        ]
    exact = grid_log_evidence(VAE(_Halves(encoder), _named(decoder)), x[:500])
    return {
        "reported": rounded(reported, 2),
        "exact": rounded(exact.log_evidence, 2),
        "exact_error": round(exact.error.max().item(), 5),
    }


def _named(network: nn.Module) -> nn.Module:
    """With the sizes that vaelib asks for."""
    network.latent, network.pixels = 2, PIXELS
    return network


class _Halves(nn.Module):
    """An encoder as vaelib has it: loc and logvar apart."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        _named(self)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Loc and logvar."""
        return self.network(x).chunk(2, dim=1)


def main() -> None:
    """Run what was asked for, and store all of it with where it comes from."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("patients", nargs="*", choices=[*PATIENTS, []])
    options = parser.parse_args()
    points = []
    for name in options.patients or PATIENTS:
        points.append(run(name))
        told = {k: v for k, v in points[-1].items() if not isinstance(v, list) and k != "means"}
        print(told, flush=True)
    if not options.patients:
        origin = provenance.origin("benchmarks/clinic.py", torch.device("cpu"))
        provenance.write(provenance.RESULTS / "clinic.json", {**origin, "points": points})


if __name__ == "__main__":
    main()
