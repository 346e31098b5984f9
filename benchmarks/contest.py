"""A race between things that train the same model: in turn, and timed without their warm-up."""

import functools
import math
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import products
import torch
from torch import Tensor, nn

from vaelib import data, evaluate, nets, train
from vaelib.vae import VAE

EPOCH = 60_000  # images: what seconds are given for
BATCH, LR, LATENT = 128, 1e-3, 20
# Seeds of the one binarization of the test images, and of the noise in what is computed from them.
TEST_SEED, NOISE_SEED = 1000, 2000


def example(*, seed: int, latent: int = LATENT) -> VAE:
    """784-400-20 with ReLU: the sizes of the VAE among pytorch/examples."""
    torch.manual_seed(seed)
    net = {"hidden": (400,), "activation": nn.ReLU}
    return VAE(nets.MLPEncoder(784, latent, **net), nets.MLPDecoder(latent, 784, **net))


class Contender(NamedTuple):
    """Something that trains a model in place."""

    name: str
    # (model, pixels, *, epochs, seed, after_epoch)
    train: Callable[..., None]
    precision: str = "float32"
    compiled: bool | str = False


def loop(name: str, function: Callable[..., None]) -> Contender:
    """One of `textbook`'s loops. They take their randomness from torch's global generator."""

    def run(model: VAE, pixels: Tensor, *, seed: int, **rest) -> None:
        torch.manual_seed(seed)
        function(model.encoder, model.decoder, pixels, batch_size=BATCH, lr=LR, **rest)

    return Contender(name, run)


def fit(precision: str, compiled: bool | str) -> Contender:
    """`vaelib.train.fit`, at a constant learning rate as the others have."""

    def run(model: VAE, pixels: Tensor, *, after_epoch: Callable, **rest) -> None:
        train_by_fit(
            model,
            pixels,
            precision=precision,
            compiled=compiled,
            schedule=train.constant,
            callbacks=[lambda *_: after_epoch()],
            **rest,
        )

    suffix = {False: "", True: " compiled"}.get(compiled, f" {compiled}")
    return Contender(f"fit {precision}{suffix}", run, precision, compiled)


def train_by_fit(
    model: VAE,
    pixels: Tensor,
    *,
    epochs: int,
    seed: int,
    precision: str,
    compiled: bool | str,
    schedule: Callable[[float], float],
    lr: float = LR,
    callbacks: Sequence[Callable] = (),
) -> list[train.Epoch]:
    """`vaelib.train.fit` with the batch of all that is compared."""
    return train.fit(
        model,
        pixels,
        epochs=epochs,
        batch_size=BATCH,
        lr=lr,
        schedule=schedule,
        generator=torch.Generator(next(model.parameters()).device).manual_seed(seed),
        precision=precision,
        compile=compiled,
        callbacks=callbacks,
        progress=sys.stderr.isatty() and not callbacks,
    )


def fits(device: torch.device, *, eager: bool = False) -> list[Contender]:
    """`fit` in each precision; eager, compiled, and on a GPU as a CUDA graph."""
    modes: list[bool | str] = [False, True, "cuda-graph"]
    modes = modes[:1] if eager else modes if device.type == "cuda" else modes[:2]
    return [fit(precision, mode) for precision in ("float32", "bfloat16") for mode in modes]


def bare_products(model: VAE, precision: str, device: torch.device) -> Contender:
    """The matrix products of as many steps as the others take, and nothing else."""

    @functools.cache
    def replay() -> products.Replay:
        step = products.of_step(model, batch=BATCH)
        return products.Replay(step, device=device, dtype=getattr(torch, precision))

    def run(_: VAE, pixels: Tensor, *, epochs: int, seed: int, after_epoch: Callable) -> None:  # noqa: ARG001
        for _ in range(epochs):
            for _ in range(math.ceil(len(pixels) / BATCH)):
                replay()()
            after_epoch()

    return Contender(f"products {precision}", run, precision)


class Stopwatch:
    """Seconds between one ``lap()`` and the next, once the device has done what was asked of it."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.laps: list[float] = []
        self.last = self.now()

    def now(self) -> float | torch.cuda.Event:
        """A point in time: on a GPU an event that its stream has passed."""
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        event.synchronize()
        return event

    def lap(self) -> None:
        """Note the seconds since the last one."""
        last, self.last = self.last, self.now()
        seconds = last.elapsed_time(self.last) / 1000 if self.cuda else self.last - last
        self.laps.append(seconds)


class Result(NamedTuple):
    """Of a race: for each contender its seconds per epoch in each round, or why it did not run."""

    seconds: dict[str, list[float]]
    reasons: dict[str, str]

    def faster(self, base: str, name: str) -> list[float]:
        """How many times as fast as ``base`` in each round."""
        return [b / s for b, s in zip(self.seconds[base], self.seconds[name], strict=True)]

    def fastest_fit(self) -> str:
        """The name of the fit with the smallest median."""
        fitted = {n: statistics.median(s) for n, s in self.seconds.items() if n.startswith("fit")}
        return min(fitted, key=fitted.__getitem__)


def race(
    contenders: Sequence[Contender],
    build: Callable[..., VAE],
    pixels: Tensor,
    *,
    rounds: int,
    device: torch.device,
    seconds: float = math.inf,
) -> Result:
    """Let all train in turn, ``rounds`` times and one time more before, which does not count.

    A contender that the machine or the installation cannot run says so there, and is left out.
    After the first round that counts, none begins that would end later than ``seconds``, if it
    takes as long as the one before.
    """
    result = Result({}, {})
    models = {c.name: build(seed=0).to(device) for c in contenders}
    running = list(contenders)
    start = began = time.perf_counter()
    for number in range(rounds + 1):
        before, began = began, time.perf_counter()
        if number > 1 and began - start + (began - before) > seconds:
            break
        turn = number % len(running)
        for contender in running[turn:] + running[:turn]:
            note(f"round {number} of {rounds}: {contender.name}")
            model, watch = models[contender.name], Stopwatch(device)
            try:
                contender.train(model, pixels, epochs=2, seed=number, after_epoch=watch.lap)
            except ImportError as error:
                result.reasons[contender.name] = f"{error}; it is optional: see --help"
                continue
            except Exception as error:  # whatever it is, the others go on
                if number > 0:
                    raise
                result.reasons[contender.name] = f"{type(error).__name__}: {error}"
                continue
            if number > 0:
                its = watch.laps[1] * EPOCH / len(pixels)
                result.seconds.setdefault(contender.name, []).append(its)
        running = [c for c in running if c.name not in result.reasons]
    note("")
    return result


def held_out(images: data.Images, device: torch.device) -> Tensor:
    """The test images, binarized once for all that is compared."""
    generator = torch.Generator().manual_seed(TEST_SEED)
    return data.binarize(images.test, generator=generator).to(device)


def held_out_elbos(
    contenders: Sequence[Contender],
    images: data.Images,
    *,
    seeds: Sequence[int],
    epochs: int,
    device: torch.device,
) -> dict[str, list[float]]:
    """The test ELBO of each contender and seed, in nats per datum; the same weights to start."""
    x = held_out(images, device)
    elbos: dict[str, list[float]] = {}
    for contender in contenders:
        for seed in seeds:
            note(f"test ELBO: {contender.name}, seed {seed}")
            model = example(seed=seed).to(device)
            contender.train(model, images.train, epochs=epochs, seed=seed, after_epoch=lambda: None)
            noise = torch.Generator(device).manual_seed(NOISE_SEED)
            result = evaluate.elbo(model, x, samples=10, generator=noise)
            elbos.setdefault(contender.name, []).append(result.elbo)
    note("")
    return elbos


def noise_images() -> data.Images:
    """Random images, few: for a run that only shows that everything runs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (4 * BATCH, 784), dtype=torch.uint8, generator=generator)
    labels = torch.zeros(len(pixels), dtype=torch.uint8)
    return data.Images(pixels, labels, pixels[:BATCH], labels[:BATCH])


def spread(values: Sequence[float], form: str = ".2f", unit: str = "") -> str:
    """Median, smallest and largest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:{form}}{unit} ({low:{form}} … {high:{form}})"


def note(text: str) -> None:
    """Show what is running, on a terminal only; the next note overwrites it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
