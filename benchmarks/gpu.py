"""What a GPU makes of chapter `train`: one command, on a machine that has torch and little else.

    python benchmarks/gpu.py --pack FOLDER      here: all that a bare machine lacks, in a folder
    python FOLDER/benchmarks/gpu.py             there: in 7.5 minutes, so that a second try fits
    python benchmarks/gpu.py --quick            a rehearsal on a CPU, in seconds
    python benchmarks/gpu.py --device cpu --parts ladder        what the chapter shows of a CPU

The parts. selftest: may its numbers be believed? (`selftest.py`; if not, nothing is measured.)
ladder: from the loop of tutorials to a CUDA graph (`ladder.py`). hundred: so many epochs of
Fashion-MNIST by the fastest. rows: those of the scoreboard, for more epochs; iwae: the network of
the IWAE paper with 1, 5 and 50 samples (`long_runs.py`).

Each part has its share of the minutes that are left (`budget.py`). What it finds is stored after
each piece, in vaelib/course/results/gpu.json, of a CPU in the file of the part's name. So a run
that is cut leaves what it has, and the same command goes on from there. A file holds the numbers of
one commit on one machine; others are refused. --quick stores nothing without --out.
"""

import argparse
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import budget
import carry

if TYPE_CHECKING:  # vaelib and torch may be missing until `carry` has looked
    import torch

    from vaelib import data

PARTS = tuple(budget.WEIGHTS)
MINUTES = 7.5


def main(words: Sequence[str] | None = None) -> int:
    """Pack, or run what is asked for and is not stored yet."""
    options = arguments(words)
    carry.unpack(options.fashion)
    if options.pack is not None:
        carry.pack(options.pack)
        return 0
    if lines := carry.lacking():
        return refuse(*lines)
    import torch  # now that it is there

    if options.device == "cuda" and not torch.cuda.is_available():
        return refuse(
            "torch sees no GPU here; --quick rehearses on the CPU, and --device cpu --parts ladder "
            "measures it"
        )
    device = torch.device(options.device)
    if options.device == "cpu":
        torch.set_num_threads(1)  # the chapter's are those of one
    import contest
    import provenance

    origin = provenance.origin(options.command, device)
    if origin["commit"] is None:
        origin |= carry.origin()
    if origin["commit"] is None and not options.quick:
        return refuse("of which commit this is cannot be told: no git, and no pack; use --pack")
    try:
        record = provenance.take_up(options.out, origin)
        images = contest.noise_images() if options.quick else fashion_mnist()
    except (ValueError, ConnectionError) as error:
        return refuse(str(error))
    kind = "quick" if options.quick else "whole"
    if record.setdefault("kind", kind) != kind:
        return refuse(f"{options.out}: holds a {record['kind']} run; choose another --out")
    record["seeds"] = {"test_images": contest.TEST_SEED, "evaluation": contest.NOISE_SEED}
    record["tf32"] = {
        "products": torch.backends.cuda.matmul.allow_tf32,
        "convolutions": torch.backends.cudnn.allow_tf32,
    }
    go(record, options, images, device)
    return report(record, options)


def refuse(*lines: str) -> int:
    """Say in a line each why nothing is run."""
    print(*lines, sep="\n", file=sys.stderr)
    return 2


def fashion_mnist() -> "data.Images":
    """The images, or one line that says how to bring them."""
    from vaelib import data

    try:
        return data.fashion_mnist()
    except (ConnectionError, ImportError) as error:  # pooch, which downloads it, may lack too
        raise ConnectionError(
            "Fashion-MNIST is not here: give its folder by --fashion FOLDER, or bring all by --pack"
        ) from error


def makers() -> dict[str, Callable[..., Iterator[budget.Piece]]]:
    """By part, what yields its pieces: of (record, images, device, quick=)."""
    import ladder
    import long_runs
    import selftest

    return {
        "selftest": selftest.selftest_pieces,
        "ladder": ladder.ladder_pieces,
        "hundred": ladder.hundred_pieces,
        "rows": long_runs.row_pieces,
        "iwae": long_runs.iwae_pieces,
    }


def go(
    record: dict[str, Any],
    options: argparse.Namespace,
    images: "data.Images",
    device: "torch.device",
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """One piece after another; each is stored when it has ended, and the time is watched."""
    import provenance

    start, end = clock(), 60 * options.minutes
    record |= {"left_out": [], "failed": {}}
    record["minutes"] = options.minutes if math.isfinite(end) else None
    spent = record.setdefault("seconds", {})
    for number, part in enumerate(options.parts):
        last = clock()
        until = budget.deadline(part, options.parts[number:], end=end, now=last - start)
        for piece in makers()[part](record, images, device, quick=options.quick):
            left = until - (clock() - start)
            if left <= 0 or piece.seconds > left:
                record["left_out"].append(piece.name)
            else:
                try:
                    piece.run(left)
                except Exception as error:  # the other pieces must not be lost with this one
                    record["failed"][piece.name] = f"{type(error).__name__}: {error}"
                    traceback.print_exc()
            last, before = clock(), last
            spent[part] = round(spent.get(part, 0.0) + last - before, 1)
            provenance.write(options.out, record)
        if part == "selftest" and record["failed"]:
            print("the self-test has failed, so nothing is measured")
            break
    provenance.write(options.out, record)


def report(record: dict[str, Any], options: argparse.Namespace) -> int:
    """Judge the goals, say what is missing, and return whether something failed."""
    import ladder
    import provenance

    judged = options.quick or record["device"] == "cuda"
    record["goals"] = ladder.goals(record) if judged else []
    provenance.write(options.out, record)
    words = {True: "yes", False: "NOT reached", None: "not judged: a test ELBO is missing"}
    for goal in record["goals"]:
        print(
            f"{goal['what']}: {goal['got']:.1f}, wanted {goal['wanted']}: {words[goal['reached']]}"
        )
    for name in record["left_out"]:
        print(f"{name}: left out")
    for name, reason in record["failed"].items():
        print(f"{name}: FAILED. {reason}")
    print(", ".join(f"{part} {seconds:.0f} s" for part, seconds in record["seconds"].items()))
    tests = record.get("selftest", {}).get("suite", {}).values()
    return int(bool(record["failed"]) or any(t.get("failed") or t.get("broken") for t in tests))


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The command line; its ``command`` is what the numbers depend on."""
    place = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    place.add_argument("--out", type=Path, metavar="FILE", help="another place to store it")
    place.add_argument("--fashion", type=Path, metavar="FOLDER", help="where Fashion-MNIST is")
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[place],
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--pack", type=Path, metavar="FOLDER", help="write all that a bare machine lacks, and end")
    add("--device", choices=("cuda", "cpu"), help="cuda; with --quick cpu")
    add("--parts", nargs="+", choices=PARTS, help="some of them (all; on a CPU the ladder)")
    add("--minutes", type=float, help=f"begin nothing that would end later ({MINUTES}; on a CPU ∞)")
    add("--quick", action="store_true", help="random images, few steps, eager: does it run?")
    options = parser.parse_args(words)
    options.command = " ".join(["benchmarks/gpu.py", *place.parse_known_args(words)[1]])
    options.device = options.device or ("cpu" if options.quick else "cuda")
    on_gpu = options.device == "cuda"
    if options.parts is None:
        options.parts = PARTS if on_gpu or options.quick else ("ladder",)
    options.parts = [part for part in PARTS if part in options.parts]
    if options.minutes is None:
        options.minutes = MINUTES if on_gpu else math.inf
    if not options.minutes >= 0:
        parser.error(f"expected --minutes ≥ 0, got {options.minutes}")
    if options.out is None and not options.quick:
        name = "gpu" if on_gpu else "-".join(options.parts)
        options.out = carry.ROOT / "vaelib" / "course" / "results" / f"{name}.json"
    return options


if __name__ == "__main__":
    sys.exit(main())
