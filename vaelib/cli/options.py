"""Options that several commands share: where data, results, device and chance come from."""

import argparse
import re

from vaelib.run.option import SEED, class_name, name, whole

__all__ = ["elsewhere", "label", "new_data", "out", "run", "samples"]


def run(command: argparse.ArgumentParser) -> None:
    """The run that is used."""
    command.add_argument("run", type=name, metavar="RUN", help="the --folder of train")


def new_data(command: argparse.ArgumentParser, *, what: str = "", required: bool = False) -> None:
    """Data for a trained model, of the run's own layout and kind."""
    default = "" if required else " (default: the data that the run held out)"
    command.add_argument(
        "--data",
        type=name,
        required=required,
        help=f"of the run's own size and kind, as train takes them{what}; all of it is used, "
        f"nothing is held out{default}",
    )


def label(command: argparse.ArgumentParser, help: str) -> None:  # noqa: A002
    """One class for all."""
    command.add_argument(
        "--label",
        type=name,
        metavar="CLASS",
        help=f"a class by its name or number, for a run that has --condition {help}",
    )


def out(command: argparse.ArgumentParser, what: str, default: str, metavar: str = "PATH") -> None:
    """Where the result goes."""
    command.add_argument("--out", type=name, metavar=metavar, help=f"{what} (default {default})")


def samples(command: argparse.ArgumentParser, more: str = "") -> None:
    """K of the estimate of log p(x)."""
    command.add_argument(
        "--samples",
        type=whole(1),
        default=None,
        help=f"K of L_K, the estimate of log p(x), 1 or more; papers take 5000, and time grows "
        f"with data times samples{more} (default 500; on a CPU fewer, at least 50, where the "
        f"decoder returns more than 784 numbers for a datum)",
    )


def device(word: str) -> str:
    """``auto``, ``cpu``, ``cuda``, or one GPU of several, ``cuda:1``."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", word):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda or cuda:1 …, got {word!r}")
    return word


def elsewhere(command: argparse.ArgumentParser, seed: str | None) -> None:
    """Of all commands that read a run, which may have been trained on another machine."""
    add = command.add_argument
    add(
        "--device",
        type=device,
        default="auto",
        metavar="DEVICE",
        help="to compute on: auto, cpu, cuda, or cuda:1 of several; a run of a GPU is read on a "
        "CPU too (default auto)",
    )
    if seed is not None:
        add("--seed", type=whole(0, SEED), default=0, help=f"{seed}, 0 or more (default 0)")
    add(
        "--trust",
        type=class_name,
        action="append",
        metavar="MODULE:CLASS",
        help="import a class that a run is made of, and run its code, as train did with --trust "
        "(default: none)",
    )
