"""The rows of `scoreboard.py`: which models there are, and how one of them is trained and measured.

Everything has one protocol. Weights learn from 7,000 bundled digits, binarized afresh at each
visit. 1,000 others choose: the learning rate, and the epoch whose weights are kept. What is told is
measured once, on the 2,000 test images, binarized once: the ELBO from ten samples of z, and L_500.
"""

import copy
import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import textbook
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from vaelib import data, evaluate, nets, train
from vaelib.collapse import FreeBits
from vaelib.prior import VampPrior
from vaelib.vae import IWAE, VAE, TwoLayerVAE

SEEDS = (0, 1, 2)
LATENT, COMPONENTS = 16, 50
TEST_SEED, NOISE_SEED = 1000, 2000  # of the binarization, and of z in what is measured
IMPORTANCE = 500  # samples of each test image: L_500
TRIED = 5  # epochs of the short runs that decide on a rate
SHARES = (1, 2, 4)  # of what a range test proposes: by as much is what they try smaller
FURTHER = 3  # rates that are tried beyond those, on the side of the best one
CPU = torch.device("cpu")
AVERAGED = 0.995  # of the mean of weights that stays at a step: it looks back 200 steps


class Sizes(NamedTuple):
    """What is made small to see that everything runs."""

    hidden: int = 400
    channels: int = 16
    width: int = 128
    images: int | None = None  # all
    epochs: int | None = None  # those of the row
    samples: int = IMPORTANCE
    steps: int = 200  # of a range test


WHOLE = Sizes()
QUICK = Sizes(hidden=8, channels=1, width=8, images=128, epochs=1, samples=2, steps=12)


def mlp(
    size: Sizes, activation: type = nn.SiLU, *, latent: int = LATENT, spread: float = 10.0, **more
) -> tuple[nn.Module, nn.Module]:
    """784-400-400-16 and back."""
    hidden = more.pop("hidden", (size.hidden, size.hidden))
    net = {"hidden": hidden, "activation": activation}
    return nets.MLPEncoder(784, latent, spread=spread, **net), nets.MLPDecoder(latent, 784, **net)


def conv(size: Sizes, activation: type = nn.SiLU) -> tuple[nn.Module, nn.Module]:
    """Convolutions with 16 and 32 channels, and one hidden layer of 128."""
    net = {"channels": size.channels, "width": size.width, "activation": activation}
    return nets.ConvEncoder(LATENT, spread=10.0, **net), nets.ConvDecoder(LATENT, **net)


def old(size: Sizes, activation: type) -> tuple[nn.Module, nn.Module]:
    """784-400-20, with which this chapter once praised a prior."""
    return mlp(size, activation, latent=20, hidden=(size.hidden,))


def vamp(networks: tuple[nn.Module, nn.Module]) -> VAE:
    """With a mixture of what the encoder says of 50 learned images, in the place of N(0, I)."""
    encoder, decoder = networks
    return VAE(encoder, decoder, prior=VampPrior(encoder, 784, COMPONENTS))


def two_layers(size: Sizes) -> VAE:
    """The convolutions' 16 units, and half as many above them."""
    encoder, decoder = conv(size)
    net = {"hidden": (size.width,)}
    top = LATENT // 2
    up = nets.MLPEncoder(LATENT, top, spread=10.0, **net)
    return TwoLayerVAE(encoder, up, nets.MLPEncoder(top, LATENT, **net), decoder)


MODELS: dict[str, Callable[[Sizes], VAE]] = {
    "MLP, ReLU": lambda size: VAE(*mlp(size, nn.ReLU)),
    "MLP": lambda size: VAE(*mlp(size)),
    "convolution": lambda size: VAE(*conv(size)),
    "convolution, ReLU": lambda size: VAE(*conv(size, nn.ReLU)),
    "two layers": two_layers,
    "VampPrior": lambda size: vamp(conv(size)),
    "free bits": lambda size: FreeBits(*mlp(size), floor=0.25),
    "K = 5": lambda size: IWAE(*mlp(size), samples=5),
    "spread 1": lambda size: VAE(*mlp(size, spread=1.0)),
    "64-D": lambda size: VAE(*mlp(size, latent=64)),
    "64-D, free bits": lambda size: FreeBits(*mlp(size, latent=64), floor=0.5),
    "old, ReLU": lambda size: VAE(*old(size, nn.ReLU)),
    "old, ReLU, VampPrior": lambda size: vamp(old(size, nn.ReLU)),
    "old, SiLU": lambda size: VAE(*old(size, nn.SiLU)),
    "old, SiLU, VampPrior": lambda size: vamp(old(size, nn.SiLU)),
}


class Rate(NamedTuple):
    """A learning rate to be found: of a model, at the size of its batches."""

    model: str
    batch: int = 128


class Run(NamedTuple):
    """A row, or one side of a comparison: a model and how it is trained.

    ``epochs`` is a number, or the run whose *seconds* it has. ``rate`` is a number, or where the
    number was found.
    """

    part: str
    model: str
    epochs: int | str = 40
    rate: float | Rate = 0.0
    batch: int = 128
    seeds: tuple[int, ...] = SEEDS
    loop: str = "fit"
    warmup: int = 0
    schedule: str = "cosine"
    clip: float | None = None
    watched: bool = False  # with a mean of the weights beside it, and the gradients' norms
    importance: bool = True  # L_500 too, which takes a convolution longer than its training


MLP_64, RELU_64 = Rate("MLP", 64), Rate("MLP, ReLU", 64)
RELU, CONV = Rate("MLP, ReLU"), Rate("convolution")
_ROW = Run("rows", "MLP", rate=MLP_64, batch=64)  # the MLP as the scoreboard has it
_CONV = Run("rows", "convolution", rate=CONV)
_OLD = Run("prior", "old, ReLU", 12, 3e-3, seeds=(0,))
_WATCHED = _CONV._replace(part="weights", seeds=(0,), watched=True, importance=False)
_START = _ROW._replace(part="start", importance=False)
_LONG = _CONV._replace(part="long", epochs=120, seeds=(0,), importance=False)
RUNS: dict[str, Run] = {
    "textbook loop, 1e-3": Run("rows", "MLP, ReLU", 12, 1e-3, loop="textbook"),
    "textbook loop": Run("rows", "MLP, ReLU", 12, RELU, loop="textbook"),
    "fit, same seconds": Run("rows", "MLP, ReLU", "textbook loop", RELU),
    "SiLU, batch 64": _ROW,
    "convolution": _CONV,
    "two layers": Run("rows", "two layers", rate=Rate("two layers")),
    "VampPrior": Run("rows", "VampPrior", rate=Rate("VampPrior")),
    # What a row is compared with where epochs would not be fair.
    "SiLU, batch 128": Run("equal", "MLP", "SiLU, batch 64", Rate("MLP")),
    "MLP for the convolution's seconds": _ROW._replace(part="equal", epochs="convolution"),
    "MLP, batch 128, for the convolution's seconds": Run(
        "equal", "MLP", "convolution", Rate("MLP")
    ),
    # One thing changed.
    "ReLU, batch 64": _ROW._replace(part="activation", model="MLP, ReLU", rate=RELU_64),
    "convolution, ReLU": _CONV._replace(
        part="activation",
        model="convolution, ReLU",
        rate=Rate("convolution, ReLU"),
        seeds=(0,),
        importance=False,
    ),
    "convolution, ReLU, SiLU's rate": _CONV._replace(
        part="activation", model="convolution, ReLU", seeds=(0,), importance=False
    ),
    # Looked promising.
    "warm-up": _ROW._replace(part="box", warmup=10),
    "warm-up, convolution": _CONV._replace(part="box", warmup=10, seeds=(0,), importance=False),
    "free bits": _ROW._replace(part="box", model="free bits"),
    "K = 5": _ROW._replace(part="box", model="K = 5"),
    "K = 1, the seconds of K = 5": _ROW._replace(part="box", epochs="K = 5"),
    "old page": _OLD,
    "old page, VampPrior": _OLD._replace(model="old, ReLU, VampPrior"),
    "old page, SiLU": _OLD._replace(model="old, SiLU"),
    "old page, SiLU, VampPrior": _OLD._replace(model="old, SiLU, VampPrior"),
    "old page, SiLU, 72 epochs": _OLD._replace(model="old, SiLU", epochs=72),
    "old page, SiLU, VampPrior, 72 epochs": _OLD._replace(model="old, SiLU, VampPrior", epochs=72),
    # Which weights, which clip.
    "constant rate": _WATCHED._replace(schedule="constant"),
    "cosine": _WATCHED,
    "clip 1": _WATCHED._replace(watched=False, clip=1.0),
    # A bad start.
    "spread 1": _START._replace(model="spread 1"),
    "spread 1, warm-up": _START._replace(model="spread 1", warmup=10),
    "64-D": _START._replace(model="64-D", seeds=(0,)),
    "64-D, free bits": _START._replace(model="64-D, free bits", seeds=(0,)),
    # What remains after three times as long.
    "convolution, 120 epochs": _LONG,
    "VampPrior, 120 epochs": _LONG._replace(model="VampPrior", rate=Rate("VampPrior")),
}


@functools.cache
def digits(size: Sizes) -> data.Images:
    """The three splits; to see that everything runs, the first images of each."""
    whole = data.digits(validation=1_000)
    return whole if size.images is None else data.Images(*(t[: size.images] for t in whole))


def build(model: str, *, seed: int, size: Sizes, device: torch.device) -> VAE:
    """A model with the weights of a seed; convolutions with the channels innermost."""
    torch.manual_seed(seed)
    return MODELS[model](size).to(device, memory_format=torch.channels_last)


def find_rate(found: Rate, *, size: Sizes = WHOLE, device: torch.device = CPU) -> dict:
    """A range test, and short runs that decide: what it proposes, half and a quarter of that.

    While the best of them is the largest or the smallest, twice or half of it is tried too, up to
    `FURTHER` times.
    """
    images = digits(size)
    start = time.perf_counter()
    model = build(found.model, seed=0, size=size, device=device)
    test = train.range_test(model, images.train, steps=size.steps, batch_size=found.batch)
    seconds = time.perf_counter() - start

    def bound_after(rate: float) -> float:
        model = build(found.model, seed=0, size=size, device=device)
        history = train.fit(
            model,
            images.train,
            epochs=size.epochs or TRIED,
            lr=rate,
            batch_size=found.batch,
            validation=images.validation,
            generator=torch.Generator(device).manual_seed(0),
            progress=False,
        )
        return round(-history[-1].validation, 2)

    tried = {rate: bound_after(rate) for rate in (rounded(test.proposal / s) for s in SHARES)}
    for _ in range(FURTHER):
        best = max(tried, key=tried.__getitem__)
        if best not in (min(tried), max(tried)):
            break
        further = rounded(2 * best if best == max(tried) else best / 2)
        tried[further] = bound_after(further)
    return {
        **found._asdict(),
        "minimum": rounded(test.minimum),
        "proposal": rounded(test.proposal),
        "seconds": round(seconds, 2),
        "rates": [rounded(rate, 3) for rate in test.rates.tolist()],
        "losses": [round(loss, 1) for loss in test.losses.tolist()],
        "tried": [{"rate": rate, "elbo": tried[rate]} for rate in sorted(tried, reverse=True)],
        "rate": max(tried, key=tried.__getitem__),
    }


def rounded(value: float, digits: int = 2) -> float:
    """To so many significant digits: more of a learning rate mean nothing."""
    return float(f"{value:.{digits - 1}e}")


def make(
    run: Run,
    *,
    seed: int,
    rate: float,
    seconds: float | None = None,
    size: Sizes = WHOLE,
    device: torch.device = CPU,
    compiled: bool | str = False,
    callbacks: Sequence[Callable] = (),
) -> dict:
    """Train a run's model, and measure it.

    Args:
        run: a row.
        seed: of weights, order, binarization and noise.
        rate: the learning rate.
        seconds: for how long, where epochs say it by those of another run.
        size: to see that everything runs.
        device: of the model.
        compiled: as ``compile`` of `train.fit`.
        callbacks: of `train.fit`.
    """
    images = digits(size)
    model = build(run.model, seed=seed, size=size, device=device)
    epochs = size.epochs or run.epochs
    if isinstance(epochs, str):
        if seconds is None:
            raise ValueError(f"{run.model}: expected the seconds of {epochs!r}; make it before")
        epochs = max(1, round(seconds / seconds_of_an_epoch(model, run, images, rate)))
    beside: dict[str, Any] = {}
    if run.loop == "textbook":
        lines = by_textbook(model, run, images, seed=seed, rate=rate, epochs=epochs)
        best = len(lines)  # it looks at no validation, and keeps the last weights
    else:
        how = {"seed": seed, "rate": rate, "epochs": epochs, "compiled": compiled}
        lines, best, beside = by_fit(model, run, images, callbacks=callbacks, **how)
    return {
        "seed": seed,
        "rate": rate,
        "epochs": epochs,
        "best_epoch": best,
        "seconds": round(lines[-1][0], 2),
        "weights": sum(p.numel() for p in model.parameters()),
        **measure(model, images, samples=size.samples if run.importance else None),
        **beside,
        "history": [[round(seconds, 2), round(elbo, 2)] for seconds, elbo in lines],
    }


def by_fit(
    model: VAE,
    run: Run,
    images: data.Images,
    *,
    seed: int,
    rate: float,
    epochs: int,
    compiled: bool | str = False,
    callbacks: Sequence[Callable] = (),
) -> tuple[list[tuple[float, float]], int, dict]:
    """`train.fit`, for all epochs, since its schedule ends with the last; then the best weights.

    Returns:
        After each epoch the seconds until then and the validation's ELBO (minus the loss); the
        epoch whose weights are kept; and what was watched.
    """
    device = next(model.parameters()).device
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(AVERAGED))
    norms: list[Tensor] = []

    def watched_adam(parameters: list, lr: float) -> torch.optim.Optimizer:
        adam = torch.optim.Adam(parameters, lr=lr, fused=True)
        adam.register_step_pre_hook(lambda *_: norms.append(norm_of_gradient(parameters)))
        adam.register_step_post_hook(lambda *_: averaged.update_parameters(model))
        return adam

    history = train.fit(
        model,
        images.train,
        epochs=epochs,
        batch_size=run.batch,
        lr=rate,
        schedule={"cosine": train.cosine, "constant": train.constant}[run.schedule],
        warmup=min(run.warmup, epochs - 1),
        clip=run.clip,
        compile=compiled,
        validation=images.validation,
        patience=epochs,  # it never ends a run, and puts the best weights back
        optimizer=watched_adam if run.watched else None,
        callbacks=callbacks,
        generator=torch.Generator(device).manual_seed(seed),
        progress=False,
    )
    seconds, lines = 0.0, []
    for line in history:
        seconds += line.seconds
        lines.append((seconds, -line.validation))
    counted = range(min(run.warmup, epochs - 1), len(lines))
    best = 1 + max(counted, key=lambda number: lines[number][1])
    if not run.watched:
        return lines, best, {}
    its = torch.stack(norms).cpu().double()
    beside = {
        "averaged": measure(averaged.module, images, samples=None),
        "norm": {
            "median": round(its.median().item(), 1),
            "largest": round(its.max().item(), 1),
            "above_1": round((its > 1).double().mean().item(), 4),
            "steps": [round(norm, 1) for norm in its.tolist()],
        },
    }
    return lines, best, beside


def norm_of_gradient(parameters: list[nn.Parameter]) -> Tensor:
    """Its Euclidean length, which ``clip`` compares with."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def by_textbook(
    model: VAE, run: Run, images: data.Images, *, seed: int, rate: float, epochs: int
) -> list[tuple[float, float]]:
    """The loop of tutorials, which knows no validation: it is measured beside, off the clock."""
    x = binarized(images.validation, model)
    lines: list[tuple[float, float]] = []
    start, spent = time.perf_counter(), 0.0

    def after_epoch() -> None:
        nonlocal start, spent
        spent += time.perf_counter() - start
        with torch.random.fork_rng():
            lines.append((spent, evaluate.elbo(model, x, generator=noise(model)).elbo))
        start = time.perf_counter()

    torch.manual_seed(seed)
    textbook.tensor_dataset(
        model.encoder,
        model.decoder,
        images.train,
        epochs=epochs,
        batch_size=run.batch,
        lr=rate,
        after_epoch=after_epoch,
    )
    return lines


def seconds_of_an_epoch(model: VAE, run: Run, images: data.Images, rate: float) -> float:
    """The second of two of a copy, as the run's own will be."""
    history = train.fit(
        copy.deepcopy(model),
        images.train,
        epochs=2,
        batch_size=run.batch,
        lr=rate,
        validation=images.validation,
        generator=torch.Generator(next(model.parameters()).device).manual_seed(0),
        progress=False,
    )
    return history[1].seconds


def binarized(pixels: Tensor, model: VAE) -> Tensor:
    """Once for all that is compared, on the model's device."""
    drawn = data.binarize(pixels, generator=torch.Generator().manual_seed(TEST_SEED))
    return drawn.to(next(model.parameters()).device)


def noise(model: VAE) -> torch.Generator:
    """The same for all that is measured."""
    return torch.Generator(next(model.parameters()).device).manual_seed(NOISE_SEED)


def measure(model: VAE, images: data.Images, *, samples: int | None) -> dict:
    """ELBO on the test images, and how far it is below that of as many training images; L_K."""
    x = binarized(images.test, model)
    test = evaluate.elbo(model, x, samples=10, generator=noise(model))
    seen = binarized(images.train[: len(images.test)], model)
    learned = evaluate.elbo(model, seen, samples=10, generator=noise(model))
    found = {
        "elbo": test.elbo,
        "rate_nats": test.kl,
        "gap": learned.elbo - test.elbo,
        "active_units": float(evaluate.active_units(model, x, generator=noise(model)).sum()),
    }
    if samples is not None:
        found[f"l_{IMPORTANCE}"] = (
            evaluate.log_evidence(
                model,
                x,
                samples=samples,
                at_once=min(samples, 50),
                batch_size=5 if x.device.type == "cpu" else 200,  # what a processor's cache holds
                generator=noise(model),
            )
            .log_evidence.mean()
            .item()
        )
    if not all(map(math.isfinite, found.values())):
        raise FloatingPointError(f"expected finite numbers, got {found}")
    return {name: round(value, 2) for name, value in found.items()}
