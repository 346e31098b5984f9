"""The recorded runs of chapter `train`: what each change makes faster, a long run, and IWAE.

    python benchmarks/runs.py --device cuda --minutes 9        all of it, on a GPU
    python benchmarks/runs.py --parts iwae --k 1               a piece; on one thread, an hour
    python benchmarks/runs.py --quick                          does it run?

ladder: the loop of tutorials turned into `vaelib.train.fit` one change at a time. The network is
784-400-20, the batch 128, the data Fashion-MNIST, binarized afresh at each visit, the learning rate
constant. All rungs train in turn, as in `speed.py`; a factor is taken within a round. Then each
trains for a few epochs from the same weights, and its test ELBO must be that of the others.

full: the same network for 100 epochs (on a CPU 10) in the setting that is fastest here, with the
learning rate of `fit`, half a cosine.

iwae: 784-200-200-50 with tanh, trained with 1, 5 and 50 samples in float32, and log p(x) of the
test images, binarized once, from 5,000 samples each.

networks: an MLP and a convolutional network on the digits that come with the package.

They are stored in vaelib/course/results/runs-cpu.json or runs-cuda.json after each piece. So a run
that is cut leaves what it has made, and the same command goes on from there. --quick stores nothing
without --out.
"""

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import contest
import paper
import provenance
import textbook
import torch
from contest import BATCH, EPOCH, Contender, Result, spread
from torch import Tensor

from vaelib import data, evaluate, nets, train
from vaelib.vae import VAE

PARTS = ("ladder", "full", "iwae", "networks")
SEED = 0  # of the ladder and of the long run
# Twenty latent dimensions in both; spread as in the chapters, so that they stay in use.
NETWORKS = {
    "784-400-20": lambda: (
        nets.MLPEncoder(784, 20, hidden=(400,), spread=10.0),
        nets.MLPDecoder(20, 784, hidden=(400,)),
    ),
    "convolutional": lambda: (nets.ConvEncoder(20, spread=10.0), nets.ConvDecoder(20)),
}


class Default(NamedTuple):
    """What an option is when it is left out, and what it is."""

    cpu: int | list[int]
    cuda: int | list[int]
    quick: int | list[int]
    what: str


DEFAULTS = {
    "rounds": Default(5, 5, 2, "ladder: rounds of the race"),
    "slice": Default(12_800, EPOCH, 2 * BATCH, "ladder: images timed in a round"),
    "ladder_epochs": Default(3, 3, 1, "ladder: epochs before the test ELBO"),
    "full_epochs": Default(10, 100, 1, "full: epochs"),
    "network_epochs": Default(24, 24, 1, "networks: epochs"),
    "k": Default([1, 5, 50], [1, 5, 50], [1, 5], "iwae: samples in the loss"),
    "seeds": Default(3, 3, 1, "iwae: seeds, from 0"),
    "epochs": Default(80, 80, 1, "iwae: epochs"),
    "images": Default(10_000, 10_000, 64, "iwae: test images whose log p(x) is estimated"),
    "samples": Default(5000, 5000, 20, "iwae: samples for each of them"),
    "at_once": Default(25, 500, 10, "iwae: so many of these in memory"),
    "batch_size": Default(100, 500, 64, "iwae: test images at a time"),
}


class Rung(NamedTuple):
    """A step of the ladder: something that trains, and how it differs from one before."""

    contender: Contender
    change: str
    before: str | None  # its name


def rungs(*, eager: bool) -> list[Rung]:
    """The ladder from the bottom; if eager, without what is compiled on any machine."""
    logits = functools.partial(textbook.resident, loss=textbook.logits_loss)
    unread = functools.partial(logits, read=False)
    fused = functools.partial(unread, fused=True)
    ladder: list[Rung] = []
    for name, function, change in (
        ("per-sample loop", textbook.per_sample, "a DataLoader, one image at a time"),
        ("TensorDataset loop", textbook.tensor_dataset, "a DataLoader over a tensor"),
        ("resident", textbook.resident, "data on the device, batches are slices of a permutation"),
        ("logits", logits, "the loss from logits"),
        ("loss not read", unread, "the loss is not read at each step"),
        ("fused Adam", fused, "Adam in one kernel"),
    ):
        before = ladder[-1].contender.name if ladder else None
        ladder.append(Rung(contest.loop(name, function), change, before))
    for precision, compiled, before, change in (
        ("float32", False, "fused Adam", "the same by vaelib.train.fit"),
        ("float32", True, "fit float32", "compiled"),
        ("bfloat16", True, "fit float32 compiled", "products in bfloat16"),
        ("float32", "cuda-graph", "fit float32 compiled", "the whole step as one CUDA graph"),
        ("bfloat16", "cuda-graph", "fit float32 cuda-graph", "products in bfloat16"),
    ):
        if compiled is not True or not eager:
            ladder.append(Rung(contest.fit(precision, compiled), change, before))
    return ladder


def climb(ladder: Sequence[Rung], pixels: Tensor, *, rounds: int, device: torch.device) -> list:
    """Race all rungs: seconds, and factors within a round, or why one does not run here."""
    contenders = [rung.contender for rung in ladder]
    result = contest.race(contenders, contest.example, pixels, rounds=rounds, device=device)
    ran, first = result.seconds, contenders[0].name
    row = "{:<26} {:>21} {:>22} {:>22}   {}".format
    print(row("ladder", "seconds per epoch", "x the one before", f"x {first}", "change"))
    found = []
    for (name, *_), change, before in ladder:
        entry = {"name": name, "change": change, "before": before}
        found.append(entry)
        if name in result.reasons:
            entry["not_run"] = result.reasons[name]
            print(f"{name:<26} not run. {entry['not_run']}")
            continue
        entry["seconds_per_epoch"] = ran[name]
        entry["times_before"] = result.faster(before, name) if before in ran else []
        entry["times_first"] = result.faster(first, name)
        times = [spread(entry[f]) if entry[f] else "" for f in ("times_before", "times_first")]
        print(row(name, spread(ran[name]), *times, change))
    return found


def full(
    dataset: data.Images, contender: Contender, *, epochs: int, seed: int, device: torch.device
) -> dict:
    """A long run: seconds, the loss of each epoch, and the test ELBO."""
    model = contest.example(seed=seed).to(device)
    start = time.perf_counter()
    history = contest.train_by_fit(
        model,
        dataset.train,
        epochs=epochs,
        seed=seed,
        precision=contender.precision,
        compiled=contender.compiled,
        schedule=train.cosine,
    )
    seconds = time.perf_counter() - start
    x = contest.held_out(dataset, device)
    noise = torch.Generator(device).manual_seed(contest.NOISE_SEED)
    elbo = evaluate.elbo(model, x, samples=10, generator=noise)
    print(
        f"full: {epochs} epochs, {contender.name}: {seconds:.1f} s, {history[0].seconds:.1f} of "
        f"them for the first; test ELBO {elbo.elbo:.2f} ± {elbo.standard_error:.2f}"
    )
    return {
        "epochs": epochs,
        "seed": seed,
        "contender": contender.name,
        "seconds": seconds,
        "seconds_per_epoch": [line.seconds for line in history],
        "loss": [line.loss for line in history],
        "test_elbo": elbo.elbo,
        "standard_error": elbo.standard_error,
    }


def network(
    name: str,
    dataset: data.Images,
    contender: Contender,
    *,
    epochs: int,
    seed: int,
    device: torch.device,
) -> dict:
    """Train one kind of network: its weights, seconds and test ELBO."""
    torch.manual_seed(seed)
    model = VAE(*NETWORKS[name]()).to(device)
    history = contest.train_by_fit(
        model,
        dataset.train,
        epochs=epochs,
        seed=seed,
        precision=contender.precision,
        compiled=contender.compiled,
        lr=2e-3,
        schedule=train.cosine,
    )
    noise = torch.Generator(device).manual_seed(contest.NOISE_SEED)
    elbo = evaluate.elbo(model, contest.held_out(dataset, device), samples=10, generator=noise)
    found = {
        "name": name,
        "weights": sum(p.numel() for p in model.parameters()),
        "epochs": epochs,
        "seed": seed,
        "contender": contender.name,
        "seconds_per_epoch": [line.seconds for line in history],
        "test_elbo": elbo.elbo,
        "standard_error": elbo.standard_error,
    }
    print(
        f"{name}: {found['weights']:,} weights, {epochs} epochs: test ELBO {elbo.elbo:.2f} ± "
        f"{elbo.standard_error:.2f}, {statistics.median(found['seconds_per_epoch']):.2f} s per "
        f"epoch"
    )
    return found


def iwae(
    dataset: data.Images,
    contender: Contender,
    *,
    k: int,
    seed: int,
    epochs: int,
    images: int,
    samples: int,
    at_once: int,
    batch_size: int,
    device: torch.device,
) -> dict:
    """Train the IWAE paper's network with k samples, and estimate log p(x) of test images."""
    model = paper.network(seed=seed, k=k).to(device)
    training_seconds = paper.train(model, dataset.train, contender, epochs=epochs, seed=seed)
    start = time.perf_counter()
    x = contest.held_out(dataset, device)[:images]
    noise = torch.Generator(device).manual_seed(contest.NOISE_SEED)
    elbo = evaluate.elbo(model, x, samples=10, generator=noise)
    active = int(evaluate.active_units(model, x).sum())
    estimate = evaluate.log_evidence(
        model, x, samples=samples, at_once=at_once, batch_size=batch_size, generator=noise
    )
    log_evidence, sampling, effective = (field.double().cpu() for field in estimate)
    found = {
        "k": k,
        "seed": seed,
        "epochs": epochs,
        "images": images,
        "samples": samples,
        "contender": contender.name,
        "log_evidence": log_evidence.mean().item(),
        # Of this mean: over data like these, and the part of it that more samples would remove.
        "standard_error": log_evidence.std().item() / len(x) ** 0.5,
        "sampling_error": sampling.square().sum().sqrt().item() / len(x),
        "effective_samples": effective.median().item(),
        "test_elbo": elbo.elbo,
        "test_elbo_standard_error": elbo.standard_error,
        "active_units": active,
        "training_seconds": training_seconds,
        "evaluation_seconds": time.perf_counter() - start,
    }
    print(
        f"iwae, k = {k}, seed {seed}: log p(x) {found['log_evidence']:.2f} ± "
        f"{found['standard_error']:.2f} (by sampling {found['sampling_error']:.3f}; "
        f"{found['effective_samples']:.1f} of {samples:,} samples effective), test ELBO "
        f"{elbo.elbo:.2f}, {active} of {paper.LATENT} units active; training "
        f"{training_seconds:.0f} s, evaluation {found['evaluation_seconds']:.0f} s"
    )
    return found


def fastest(
    climbed: Sequence[dict], dataset: data.Images, options: argparse.Namespace, precision: str = ""
) -> Contender:
    """The fastest `fit` here, of one precision or of all: by the ladder, or by a round of its own.

    Args:
        climbed: what `climb` found, if it ran.
        dataset, options: for the round, otherwise.
        precision: the only one that counts, if any.
    """
    fits = contest.fits(options.device, eager=options.quick)
    fits = [c for c in fits if precision in ("", c.precision)]
    seconds = {rung["name"]: rung.get("seconds_per_epoch") for rung in climbed}
    result = Result({c.name: seconds[c.name] for c in fits if seconds.get(c.name)}, {})
    if not result.seconds:
        pixels = dataset.train[: options.slice]
        result = contest.race(fits, contest.example, pixels, rounds=1, device=options.device)
    return next(c for c in fits if c.name == result.fastest_fit())


class Piece(NamedTuple):
    """As much as is stored at once."""

    part: str
    name: str
    run: Callable[[], None]  # puts what it finds into the record


def pieces(record: dict, dataset: data.Images, options: argparse.Namespace) -> Iterator[Piece]:
    """What was asked for and is not in the record yet; what matters most comes first."""
    device = options.device
    if "ladder" in options.parts:
        yield from ladder_pieces(record, dataset, options)
    ran = record.get("ladder", {}).get("rungs", [])
    choose = functools.cache(functools.partial(fastest, ran, dataset, options))
    if "full" in options.parts:
        asked = {"epochs": options.full_epochs, "seed": SEED}

        def run_full() -> None:
            record["full"] = full(dataset, choose(), **asked, device=device)

        if not holds(record.get("full"), asked):
            yield Piece("full", "full", run_full)
    float32 = functools.partial(choose, "float32")
    if "iwae" in options.parts:
        yield from iwae_pieces(record, dataset, options, float32)
    if "networks" in options.parts:
        digits = dataset if options.quick else data.digits()
        yield from network_pieces(record, digits, options, float32)


def iwae_pieces(
    record: dict, dataset: data.Images, options: argparse.Namespace, choose: Callable
) -> Iterator[Piece]:
    """One for each seed and number of samples."""
    if not options.quick:
        torch.compiler.reset()  # code compiled for another network counts towards dynamo's limit
    memory = {"at_once": options.at_once, "batch_size": options.batch_size}
    for seed in range(options.seeds):
        for k in options.k:
            settings = {"k": k, "seed": seed}
            settings |= {name: getattr(options, name) for name in ("epochs", "images", "samples")}

            def run_iwae(settings: dict = settings) -> None:
                found = iwae(dataset, choose(), **settings, **memory, device=options.device)
                record.setdefault("iwae", []).append(found)

            if not any(holds(run, settings) for run in record.get("iwae", [])):
                yield Piece("iwae", f"iwae, k = {k}, seed {seed}", run_iwae)


def network_pieces(
    record: dict, digits: data.Images, options: argparse.Namespace, choose: Callable
) -> Iterator[Piece]:
    """One for each kind of network."""
    settings = {"epochs": options.network_epochs, "seed": SEED}
    for name in NETWORKS:

        def run_network(name: str = name) -> None:
            if not options.quick:
                torch.compiler.reset()
            found = network(name, digits, choose(), **settings, device=options.device)
            record.setdefault("networks", []).append(found)

        if not any(holds(n, {"name": name} | settings) for n in record.get("networks", [])):
            yield Piece("networks", name, run_network)


def ladder_pieces(
    record: dict, dataset: data.Images, options: argparse.Namespace
) -> Iterator[Piece]:
    """The race, and then one by one the rungs' test ELBOs."""
    ladder, epochs = rungs(eager=options.quick), options.ladder_epochs
    settings = {name: getattr(options, name) for name in ("rounds", "slice", "ladder_epochs")}
    settings["seed"] = SEED

    def race() -> None:
        pixels = dataset.train[: options.slice]
        found = climb(ladder, pixels, rounds=options.rounds, device=options.device)
        record["ladder"] = {**settings, "rungs": found}

    if not holds(record.get("ladder"), settings):
        yield Piece("ladder", "ladder", race)
    contenders = {rung.contender.name: rung.contender for rung in ladder}
    for entry in record.get("ladder", {}).get("rungs", []):
        name = entry["name"]

        def test(entry: dict = entry, name: str = name) -> None:
            ((elbo,),) = contest.held_out_elbos(
                [contenders[name]], dataset, seeds=[SEED], epochs=epochs, device=options.device
            ).values()
            entry["test_elbo"] = elbo
            print(f"ladder, {name}: test ELBO {elbo:.2f} after {epochs} epochs")

        if "not_run" not in entry and "test_elbo" not in entry:
            yield Piece("ladder", f"ladder, test ELBO of {name}", test)


def holds(found: dict | None, settings: dict) -> bool:
    """Whether something was found, with these settings."""
    return found is not None and found.items() >= settings.items()


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with what was left out; its ``command`` is what the numbers depend on."""
    place = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    place.add_argument("--out", type=Path, metavar="FILE", help="another place to store them")
    place.add_argument("--commit", help="of the source, where it is a copy without git's folder")
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[place],
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")
    add("--parts", nargs="+", choices=PARTS, default=PARTS, help="some of them (all)")
    add("--minutes", type=float, default=float("inf"), help="begin nothing that might end later")
    add("--quick", action="store_true", help="random images, few steps, eager: does it run?")
    for name, (cpu, cuda, _, what) in DEFAULTS.items():
        default = f"{cpu}" if cpu == cuda else f"{cpu}; on a GPU {cuda}"
        add(
            f"--{name.replace('_', '-')}",
            type=int,
            nargs="+" if name == "k" else None,
            help=f"{what} ({default})",
        )
    options = parser.parse_args(words)
    options.command = " ".join(["benchmarks/runs.py", *place.parse_known_args(words)[1]])
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave --device out to run on the CPU")
    kind = "quick" if options.quick else options.device.type
    for name, default in DEFAULTS.items():
        value = getattr(options, name)
        if value is None:
            setattr(options, name, getattr(default, kind))
        elif min([value] if isinstance(value, int) else value) < 1:
            parser.error(f"expected --{name.replace('_', '-')} ≥ 1, got {value}")
    if options.out is None and not options.quick:
        options.out = provenance.RESULTS / f"runs-{options.device.type}.json"
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for and is not stored yet; store each piece when it has ended."""
    start = time.monotonic()
    options = arguments(words)
    origin = provenance.origin(options.command, options.device, commit=options.commit)
    try:
        record = provenance.take_up(options.out, origin)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    record["seeds"] = {"test_images": contest.TEST_SEED, "evaluation": contest.NOISE_SEED}
    record["left_out"], record["failed"] = [], {}
    dataset = contest.noise_images() if options.quick else data.fashion_mnist()
    longest: dict[str, float] = {}
    for piece in pieces(record, dataset, options):
        before = time.monotonic()
        if before - start + longest.get(piece.part, 0.0) >= 60 * options.minutes:
            record["left_out"].append(piece.name)
        else:
            try:
                piece.run()
            except Exception as error:  # the other pieces must not be lost with this one
                record["failed"][piece.name] = f"{type(error).__name__}: {error}"
            longest[piece.part] = max(longest.get(piece.part, 0.0), time.monotonic() - before)
        provenance.write(options.out, record)
    for name in record["left_out"]:
        print(f"{name}: left out, there was no time for it in {options.minutes:g} minutes")
    for name, reason in record["failed"].items():
        print(f"{name}: FAILED. {reason}")
    return int(bool(record["failed"]))


if __name__ == "__main__":
    sys.exit(main())
