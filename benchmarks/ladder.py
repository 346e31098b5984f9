"""From the loop of tutorials to the fastest `fit`: what each change gains, and at which bound.

The network is 784-400-20, the batch 128, the data Fashion-MNIST, binarized afresh at each visit,
the learning rate constant. All rungs train in turn, and a factor is taken within a round. With them
runs the floor: the matrix products of float32 alone. Then each rung trains for a few epochs from
the same weights, and its test ELBO must be that of the others.
"""

import functools
import statistics
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import contest
import products
import textbook
import torch
from budget import Piece
from contest import BATCH, EPOCH, Contender, spread

from vaelib import data, evaluate, train

SEED = 0
BASE, FLOOR = "TensorDataset loop", "products float32"
HUNDRED = 100
# An ELBO this far below is another objective: three seeds of one loop lie within 0.7 nats.
EQUAL = 1.0
# What `vaelib` raises where a machine, or what is installed on it, cannot do what is asked for.
REFUSALS = ("BadValue", "Unable")


class Sizes(NamedTuple):
    """Rounds, images that are timed in each, and epochs before the test ELBO."""

    rounds: int
    images: int
    epochs: int


SIZES = {"cuda": Sizes(5, EPOCH, 3), "cpu": Sizes(5, 12_800, 3), "quick": Sizes(2, 2 * BATCH, 1)}


class Rung(NamedTuple):
    """Something that trains, and what was changed for it."""

    contender: Contender
    change: str


def rungs(*, eager: bool = False) -> list[Rung]:
    """The ladder from the bottom; if eager, without what is compiled."""
    ladder = [Rung(contest.loop(BASE, textbook.tensor_dataset), "a DataLoader over a tensor")]
    for precision, compiled, change in (
        ("float32", False, "the same by vaelib.train.fit"),
        ("float32", True, "compiled"),
        ("bfloat16", False, "products in bfloat16"),
        ("bfloat16", True, "products in bfloat16, and compiled"),
        ("float32", "cuda-graph", "the whole step as one CUDA graph"),
        ("bfloat16", "cuda-graph", "a CUDA graph with products in bfloat16"),
    ):
        if compiled is not True or not eager:
            ladder.append(Rung(contest.fit(precision, compiled), change))
    return ladder


def climb(
    ladder: list[Rung], images: data.Images, sizes: Sizes, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Race all rungs and the floor: seconds, factors within a round, and what is refused here."""
    model = contest.example(seed=SEED)
    contenders = [rung.contender for rung in ladder]
    floor = contest.bare_products(model, "float32", device)
    result = contest.race(
        [*contenders, floor],
        contest.example,
        images.train[: sizes.images],
        rounds=sizes.rounds,
        device=device,
        seconds=seconds,
    )
    flop = products.flop(products.of_step(model, batch=BATCH)) / BATCH * EPOCH
    changes = {rung.contender.name: rung.change for rung in ladder} | {FLOOR: "nothing else"}
    found = {
        name: {
            "name": name,
            "change": changes[name],
            "seconds_per_epoch": seconds_per_epoch,
            "times": result.faster(BASE, name),
        }
        for name, seconds_per_epoch in result.seconds.items()
    }
    row = "{:<26} {:>21} {:>22}   {}".format
    print(row("ladder", "seconds per epoch", f"x {BASE}", "change"))
    for name in changes:
        if name in found:
            times, its = found[name]["times"], found[name]["seconds_per_epoch"]
            print(row(name, spread(its, ".3f"), spread(times), changes[name]))
        else:
            print(f"{name:<26} not run. {result.reasons[name]}")
    return {
        "rounds": len(result.seconds[BASE]),
        "images": len(images.train[: sizes.images]),
        "batch": BATCH,
        "seed": SEED,
        "epochs": sizes.epochs,
        "gflop_per_epoch": flop / 1e9,
        # Its products may fail, and the rungs have run all the same.
        "floor": found.pop(FLOOR, None),
        "rungs": [found[name] for name in changes if name in found],
        "refused": result.reasons,
    }


def ladder_pieces(
    record: dict[str, Any], images: data.Images, device: torch.device, *, quick: bool
) -> Iterator[Piece]:
    """The race, and then one by one the rungs' test ELBOs."""
    sizes, ladder = SIZES["quick" if quick else device.type], rungs(eager=quick)

    def race(seconds: float) -> None:
        # Half of the time, since the bounds have to be found too.
        found = record["ladder"] = climb(ladder, images, sizes, device, seconds / 2)
        broken = {
            name: reason
            for name, reason in found["refused"].items()
            if not reason.startswith(REFUSALS)
        }
        for name in broken:
            del found["refused"][name]
        if broken:
            record["failed"] |= {f"ladder, {name}": reason for name, reason in broken.items()}

    if "ladder" not in record:
        yield Piece("ladder", "ladder", 0.0, race)
    contenders = {rung.contender.name: rung.contender for rung in ladder}
    beside = 0.0  # seconds for compiling and evaluation, as far as they were seen
    for rung in record.get("ladder", {}).get("rungs", []):
        if "test_elbo" in rung:
            continue
        training = sizes.epochs * statistics.median(rung["seconds_per_epoch"])
        training *= len(images.train) / EPOCH
        test = functools.partial(find_elbo, rung, contenders[rung["name"]], images, sizes, device)
        start = time.monotonic()
        yield Piece("ladder", f"ladder, test ELBO of {rung['name']}", training + beside, test)
        beside = max(beside, time.monotonic() - start - training)


def find_elbo(
    rung: dict[str, Any],
    contender: Contender,
    images: data.Images,
    sizes: Sizes,
    device: torch.device,
    _: float,
) -> None:
    """The test ELBO of a rung, in nats, after a few epochs from the weights of all rungs."""
    ((elbo,),) = contest.held_out_elbos(
        [contender], images, seeds=[SEED], epochs=sizes.epochs, device=device
    ).values()
    rung["test_elbo"] = elbo
    print(f"ladder, {contender.name}: test ELBO {elbo:.2f} after {sizes.epochs} epochs")


def fastest(record: dict[str, Any]) -> dict[str, Any]:
    """The rung with the smallest median.

    Raises:
        ValueError: if no ladder is in the record.
    """
    if "ladder" not in record:
        raise ValueError("which fit is the fastest is not known yet; run --parts ladder hundred")
    fits = [rung for rung in record["ladder"]["rungs"] if rung["name"] != BASE]
    return min(fits, key=lambda rung: statistics.median(rung["seconds_per_epoch"]))


def hundred_pieces(
    record: dict[str, Any], images: data.Images, device: torch.device, *, quick: bool
) -> Iterator[Piece]:
    """A hundred epochs of Fashion-MNIST by the fastest rung, along half a cosine."""
    epochs = 2 if quick else HUNDRED

    def run(_: float) -> None:
        name = fastest(record)["name"]
        contender = next(r.contender for r in rungs() if r.contender.name == name)
        model = contest.example(seed=SEED).to(device)
        start = time.perf_counter()
        history = contest.train_by_fit(
            model,
            images.train,
            epochs=epochs,
            seed=SEED,
            precision=contender.precision,
            compiled=contender.compiled,
            schedule=train.cosine,
        )
        seconds = time.perf_counter() - start  # fit has read a number after the last step
        noise = torch.Generator(device).manual_seed(contest.NOISE_SEED)
        elbo = evaluate.elbo(model, contest.held_out(images, device), samples=10, generator=noise)
        record["hundred"] = {
            "epochs": epochs,
            "name": name,
            "seed": SEED,
            "seconds": seconds,
            "seconds_per_epoch": [line.seconds for line in history],
            "loss": [line.loss for line in history],
            "test_elbo": elbo.elbo,
            "standard_error": elbo.standard_error,
        }
        print(
            f"{epochs} epochs by {name}: {seconds:.1f} s, {history[0].seconds:.1f} of them for "
            f"the first; test ELBO {elbo.elbo:.2f} ± {elbo.standard_error:.2f}"
        )

    if "hundred" not in record:
        seconds = 0.0
        if record.get("ladder"):
            its = statistics.median(fastest(record)["seconds_per_epoch"])
            seconds = epochs * its * len(images.train) / EPOCH
        yield Piece("hundred", f"{epochs} epochs", seconds, run)


def goals(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What is wanted of a GPU, beside what was measured; only what can be judged."""
    found = []
    ran = {rung["name"]: rung for rung in record.get("ladder", {}).get("rungs", [])}
    if len(ran) > 1:
        rung = fastest(record)
        times = statistics.median(rung["times"])
        what = f"{rung['name']}: times as fast as the {BASE}, at a test ELBO no worse by {EQUAL}"
        behind = None
        if "test_elbo" in rung and "test_elbo" in ran[BASE]:
            behind = ran[BASE]["test_elbo"] - rung["test_elbo"]
        reached = None if behind is None else times >= 50 and behind <= EQUAL
        found.append(
            {"what": what, "wanted": 50, "got": times, "behind": behind, "reached": reached}
        )
    if "hundred" in record:
        its = record["hundred"]
        found.append(
            {
                "what": f"{its['epochs']} epochs of Fashion-MNIST by {its['name']}: seconds",
                "wanted": 60,
                "got": its["seconds"],
                "reached": its["seconds"] < 60,
            }
        )
    return found
