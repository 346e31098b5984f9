"""How fast `vaelib.train.fit` is, beside the loops that it replaces, in one run.

    python benchmarks/speed.py                     the race, and test ELBOs (5 to 10 min)
    python benchmarks/speed.py --speed             the race alone (2 min)
    python benchmarks/speed.py --growth cost.png   time against data, batch and latent size
    python benchmarks/speed.py --iwae              80 epochs of the IWAE paper's network

The race: the same network (784-400-20), data, batch and Adam for all. In each round each contender
trains on one slice that is not timed (there it compiles, and fills its caches) and one that is;
the order rotates. Ratios are taken within a round; what is printed is their median, with the
smallest and the largest. Seconds are those of an epoch of 60,000 images. pythae is optional:
pip install "pythae==0.1.2", or this package's extra `bench`.

The targets are for one thread of an idle machine with AVX512-BF16, as `make bench` sets; a run with
more threads, or a processor without instructions for bfloat16, is not judged by them: there other
things than the products take the time. A GPU is judged by `gpu.py`.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import contest
import paper
import products
import provenance
import textbook
import torch
from contest import BATCH, EPOCH, Contender, Result, spread
from growth import growth
from torch import Tensor

from vaelib import data, evaluate
from vaelib.vae import VAE

BASE, RIVAL = "TensorDataset loop", "pythae"
COMPILED, MIXED, BARE = "fit float32 compiled", "fit bfloat16 compiled", "products float32"


def compare(
    images: data.Images,
    *,
    device: torch.device,
    rounds: int,
    size: int,
    seeds: Sequence[int],
    epochs: int,
    eager: bool,
) -> dict:
    """The race and, if there are seeds, the test ELBOs; prints the table and the targets."""
    model = contest.example(seed=0)
    step = products.of_step(model, batch=BATCH)
    print(
        f"a step of {BATCH} images is {len(step)} matrix products (a linear layer has one forward "
        f"and two backward, the first layer one backward),\n"
        f"{products.flop(step) / BATCH * EPOCH / 1e9:.1f} GFLOP an epoch of {EPOCH:,} images: "
        f"2 m k n each, from the shapes that a step was seen to multiply\n"
    )
    trainers = [
        contest.loop("per-sample loop", textbook.per_sample),
        contest.loop(BASE, textbook.tensor_dataset),
        contest.loop(RIVAL, textbook.pythae),
        *contest.fits(device, eager=eager),
    ]
    # Products in a precision that fit refuses would be emulated, and tell nothing.
    bare = [contest.bare_products(model, "float32", device)]
    if not refusal(model.to(device), images.train[:BATCH], "bfloat16"):
        bare.append(contest.bare_products(model, "bfloat16", device))
    pixels = images.train[:size]
    result = contest.race([*trainers, *bare], contest.example, pixels, rounds=rounds, device=device)
    running = [c for c in trainers if c.name not in result.reasons]
    elbos = contest.held_out_elbos(running, images, seeds=seeds, epochs=epochs, device=device)
    table(trainers, result, elbos, seeds=seeds, epochs=epochs)
    for name in (b.name for b in bare if b.name in result.seconds):
        rates = [products.flop(step) / BATCH * EPOCH / s / 1e9 for s in result.seconds[name]]
        print(f"{name} timed alone: {spread(rates, '.0f')} GFLOP/s")
    judged = []
    if device.type == "cpu":
        judged = targets(result, elbos, threads=torch.get_num_threads())
    return {
        "slice": size,
        "rounds": rounds,
        "epochs": epochs,
        "matrix_products": len(step),
        "gflop_per_epoch": products.flop(step) / BATCH * EPOCH / 1e9,
        "seconds_per_epoch": result.seconds,
        "not_run": result.reasons,
        "test_elbo": elbos,
        "targets": judged,
    }


def refusal(model: VAE, pixels: Tensor, precision: str) -> str | None:
    """Why `fit` does not run in this precision here; None if it does."""
    try:
        contest.fit(precision, False).train(
            model, pixels, epochs=1, seed=0, after_epoch=lambda: None
        )
    except ValueError as error:
        return str(error)
    return None


def table(
    contenders: Sequence[Contender],
    result: Result,
    elbos: dict[str, list[float]],
    *,
    seeds: Sequence[int],
    epochs: int,
) -> None:
    """One row for each contender."""
    row = "{:<28} {:>22} {:>20} {:>20} {:>18}   {}".format
    trained = f"test ELBO after {epochs} epochs, {len(seeds)} seeds" if seeds else ""
    ran = result.seconds
    print(row("", "seconds per epoch", f"x {BASE[:13]}", f"x {RIVAL}", "own products", trained))
    for name, precision in ((c.name, c.precision) for c in contenders):
        if name in result.reasons:
            print(f"{name:<28} not run. {result.reasons[name]}")
            continue
        bare = f"products {precision}"
        share = [100 * ratio for ratio in result.faster(bare, name)] if bare in ran else []
        print(
            row(
                name,
                spread(ran[name]),
                spread(result.faster(BASE, name)),
                spread(result.faster(RIVAL, name)) if RIVAL in ran else "-",
                spread(share, ".0f", " %") if share else "-",
                " ".join(f"{value:.2f}" for value in elbos.get(name, [])),
            )
        )
    print("\nown products: their time alone, as a share of the contender's, in the same round")


def targets(result: Result, elbos: dict[str, list[float]], *, threads: int) -> list[dict]:
    """What the project wants of one thread with AVX512-BF16, beside what was measured here.

    A fit that this machine refuses, or that was not raced, is not judged, and that is said; nor are
    times of several threads.
    """
    judged: list[tuple[str, float, list[float] | None]] = []
    for what, bar, name, base in (
        (f"{MIXED}: times as fast as the {BASE}", 1.9, MIXED, BASE),
        (f"{COMPILED}: share of its own matrix products", 0.62, COMPILED, BARE),
    ):
        raced = threads == 1 and name in result.seconds and base in result.seconds
        judged.append((what, bar, result.faster(base, name) if raced else None))
    if elbos:
        means = {name: statistics.fmean(values) for name, values in elbos.items()}
        behind = max(means[BASE] - mean for name, mean in means.items() if name.startswith("fit"))
        judged.append((f"worst fit's mean test ELBO minus that of the {BASE}", -0.5, [-behind]))
    print("\ntargets, for one thread with AVX512-BF16: medians, with the range of the rounds")
    several = None if threads == 1 else f"these are {threads} threads; OMP_NUM_THREADS=1 sets one"
    records = []
    for what, bar, values in judged:
        reached = None if values is None else statistics.median(values) >= bar
        records.append({"what": what, "wanted": bar, "got": values, "reached": reached})
        if values is None:
            why = several or result.reasons.get(what.partition(":")[0], "it was not raced")
            print(f"  {what}, wanted ≥ {bar}: not judged. {why}")
        else:
            word = "yes" if reached else "NOT reached"
            print(f"  {what}: {spread(values)}, wanted ≥ {bar}: {word}")
    return records


def iwae(
    images: data.Images, *, device: torch.device, size: int, epochs: int, seed: int, eager: bool
) -> dict:
    """Train the IWAE paper's network with the plain ELBO, in this machine's fastest setting."""
    contenders = contest.fits(device, eager=eager)
    result = contest.race(contenders, paper.network, images.train[:size], rounds=2, device=device)
    for name, reason in result.reasons.items():
        print(f"{name:<28} not run. {reason}")
    fastest = next(c for c in contenders if c.name == result.fastest_fit())
    model = paper.network(seed=seed).to(device)
    seconds, _ = paper.train(model, images.train, fastest, epochs=epochs, seed=seed)
    x = contest.held_out(images, device)
    noise = torch.Generator(device).manual_seed(contest.NOISE_SEED)
    elbo = evaluate.elbo(model, x, samples=10, generator=noise)
    active = int(evaluate.active_units(model, x).sum())
    print(
        f"784-200-200-50, {epochs} epochs, {fastest.name}, seed {seed}: test ELBO {elbo.elbo:.2f} "
        f"± {elbo.standard_error:.2f} (-237.5 ± 1 is expected of 80 epochs), {active} of 50 units "
        f"active, {seconds:.0f} s (120 is the target on two idle cores with AVX512-BF16)"
    )
    return {
        "contender": fastest.name,
        "epochs": epochs,
        "seed": seed,
        "elbo": elbo.elbo,
        "standard_error": elbo.standard_error,
        "active_units": active,
        "seconds": seconds,
        "not_run": result.reasons,
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--speed", action="store_true", help="the race alone")
    add("--quality", action="store_true", help="the race and the test ELBOs; the default")
    add("--growth", type=Path, metavar="PNG", help="time against data, batch and latent size")
    add("--iwae", action="store_true", help="80 epochs of the IWAE paper's network")
    add("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")
    add("--rounds", type=int, default=7, help="of the race (7)")
    add("--slice", type=int, help="images timed in a round (12,800; on a GPU 60,000)")
    add("--seeds", type=int, default=3, help="of the test ELBOs (3)")
    add("--epochs", type=int, help="of the test ELBOs (10), of --iwae (80)")
    add("--json", type=Path, metavar="PATH", help="write all numbers there")
    add("--quick", action="store_true", help="random images, few steps, eager: does it run?")
    options = parser.parse_args()
    if options.device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: torch sees no GPU here; leave --device out to run on the CPU")
    if min(options.rounds, options.seeds) < 1:
        parser.error(f"expected --rounds and --seeds ≥ 1, got {options.rounds} and {options.seeds}")
    return options


def main() -> None:
    """Run what was asked for, print it, and store it if there is a place."""
    options = arguments()
    device, quick = options.device, options.quick
    if quick:
        images = contest.noise_images()
        rounds, size, seeds = min(options.rounds, 2), 2 * BATCH, range(1)
    else:
        images = data.fashion_mnist()
        rounds, seeds = options.rounds, range(options.seeds)
        size = options.slice or (EPOCH if device.type == "cuda" else 12_800)
    command = " ".join(["benchmarks/speed.py", *sys.argv[1:]])
    record = {**provenance.origin(command, device), "seeds": list(seeds)}
    print(json.dumps(record["machine"]))
    if record["machine"]["load_before"] > 0.3:
        print("this machine was not idle before the run: believe its times less")
    asked = options.speed or options.quality or options.growth or options.iwae
    if options.speed or options.quality or not asked:
        record["race"] = compare(
            images,
            device=device,
            rounds=rounds,
            size=size,
            seeds=seeds if options.quality or not asked else (),
            epochs=options.epochs or (1 if quick else 10),
            eager=quick,
        )
    if options.growth:
        record["growth"] = growth(
            options.growth,
            images.train,
            device=device,
            rounds=min(rounds, 3),
            scale=117 if quick else 1,  # as many images as there are
        )
    if options.iwae:
        record["iwae"] = iwae(
            images,
            device=device,
            size=size,
            epochs=options.epochs or (1 if quick else 80),
            seed=0,
            eager=quick,
        )
    provenance.write(options.json, record)


if __name__ == "__main__":
    main()
