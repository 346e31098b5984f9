"""What can be asked for: the commands and their options, with unit, range and default of each."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vaelib.arguments import BadValue
from vaelib.run.choices import require_classes
from vaelib.run.option import SEED, add, class_name, name, whole
from vaelib.run.settings import Settings


class _Parser(argparse.ArgumentParser):
    """One that says what is wrong in one line, without the usage above it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"vaelib: error: {message}; {self.prog} --help lists what there is\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, but a command's own parser refuses what it does not know, by its prog."""
        read, rest = super().parse_known_args(args, namespace)
        if rest:
            near = difflib.get_close_matches(rest[0], self._option_string_actions, n=1)
            meant = f" (did you mean {near[0]}?)" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{meant}")
        return read, rest


def parser(classes: Sequence[type] = ()) -> argparse.ArgumentParser:
    """The command line. An option that is not given is not in what it returns.

    Args:
        classes: the user's, which options take by their names (`trusted`).
    """
    top = _Parser(
        prog="python -m vaelib",
        description="Train, evaluate and sample variational autoencoders. Bounds and losses are "
        "per image, in nats, summed over pixels.",
        epilog="Exit codes: 0 done; 1 an error, told in one line; 2 a command line that cannot be "
        "read; 130 stopped by Ctrl-C.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for title, about, more, fill in (
        (
            "train",
            "train a VAE in a run folder, or go on after a break",
            "Example: python -m vaelib train --data pictures --folder run",
            lambda command: _train(command, classes),
        ),
        (
            "evaluate",
            "measure trained VAEs on the images that were held out",
            "The table has the ELBO and its two terms, rate (the KL) and distortion (minus the "
            "mean log p(x | z)); L_K, which is nearer to log p(x), with its effective samples; and "
            "the active units, latent dimensions that tell images apart. Example: python -m vaelib "
            "evaluate run",
            _evaluate,
        ),
        (
            "sample",
            "draw images from a trained VAE",
            "Example: python -m vaelib sample run --number 100 --out samples.png",
            _sample,
        ),
    ):
        command = commands.add_parser(
            title,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=more,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        fill(command)
        dests = {action.dest for action in command._option_string_actions.values()}
        command.set_defaults(options=dests)
    return top


def trusted(words: Sequence[str]) -> list[type]:
    """Import the classes that the command line trusts: no file names one of them.

    Raises:
        BadValue: if there is no such module or class, or it is none that an option takes.
    """
    first = _Parser(allow_abbrev=False, add_help=False, prog="python -m vaelib")
    first.add_argument("--trust", action="append", type=class_name, default=[])
    given, _ = argparse.ArgumentParser.parse_known_args(first, list(words))
    if given.trust and os.getcwd() not in sys.path:  # as python -m has it, and a script has not
        sys.path.insert(0, os.getcwd())
    classes = []
    for word in given.trust:
        name, _, own = word.partition(":")
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise  # of another that theirs imports
            raise BadValue(
                f"--trust {word}: there is no module {error.name} in this folder, and none is "
                f"installed; look for a mistake in its name",
                "trust",
            ) from error
        if not hasattr(module, own):
            raise BadValue(f"--trust {word}: {name} has no class {own}", "trust")
        classes.append(getattr(module, own))
    require_classes(classes)
    return classes


def _train(command: argparse.ArgumentParser, classes: Sequence[type]) -> None:
    groups = {
        title: command.add_argument_group(title) for title in ("run", "data", "model", "training")
    }
    run = groups["run"].add_argument
    run(
        "--folder",
        required=True,
        type=name,
        help="of this run: checkpoint, history.csv and settings.json; made if it is not there",
    )
    run(
        "--resume",
        action="store_true",
        help="go on from the folder's checkpoint, with its settings: no other option is needed. "
        "Without a checkpoint the run starts, so that one command, which then names --data, serves "
        "before and after a kill",
    )
    run(
        "--save-every",
        type=whole(1),
        metavar="STEPS",
        help="also write a checkpoint after so many steps, 1 or more (default: after each epoch)",
    )
    run(
        "--quiet",
        action="store_true",
        help="print errors only, and what was changed in the images",
    )
    add(command, groups, Settings, classes)


def _evaluate(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "runs",
        nargs="+",
        type=name,
        metavar="RUN",
        help="the --folder of train; of several, seeds of one model, each has a column, and the "
        "last is their mean and deviation",
    )
    add(
        "--images",
        type=whole(2),
        default=500,
        help="of the held-out ones, at random, 2 or more, all if there are fewer (default 500)",
    )
    add(
        "--samples",
        type=whole(1),
        default=500,
        help="K of L_K, the estimate of log p(x), 1 or more; papers take 5000, and time grows with "
        "images times samples (default 500)",
    )
    add(
        "--refine",
        action="store_true",
        help="also give L_K from a better q than the encoder's, improved for each image by itself; "
        "takes several times as long. For when the table ends in a warning",
    )
    add(
        "--json",
        type=name,
        metavar="PATH",
        help="also write the numbers into this file (default: do not)",
    )
    _elsewhere(command, "of choice, binarization and noise, 0 or more (default 0)")


def _sample(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("run", type=name, metavar="RUN", help="the --folder of train")
    add("--number", type=whole(1), default=64, help="of images, 1 or more (default 64)")
    add(
        "--mean",
        action="store_true",
        help="show the decoder's mean instead of a sample of each pixel: smoother, and what many "
        "papers print, but not a sample of the model",
    )
    add(
        "--out",
        type=name,
        metavar="PNG",
        help="a sheet of all images (default RUN/samples.png, none if --npz is given)",
    )
    add(
        "--npz",
        type=name,
        metavar="NPZ",
        help="the pixels: array images, uint8 [number, height, width], as --data takes them; grey "
        "outside of [0, 1] is cut off (default: none)",
    )
    _elsewhere(command, "of the noise, 0 or more (default 0)")


def _elsewhere(command: argparse.ArgumentParser, seed: str) -> None:
    """Options of both commands that read a run, which may have been trained elsewhere."""
    add = command.add_argument
    if command.prog.endswith("evaluate"):
        add(
            "--data",
            type=name,
            help="where the run's data are, if they were moved (default: as trained)",
        )
    add(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="to compute on; a run of a GPU is read on a CPU too (default auto)",
    )
    add("--seed", type=whole(0, SEED), default=0, help=seed)
    add(
        "--trust",
        type=class_name,
        action="append",
        metavar="MODULE:CLASS",
        help="import a class that a run is made of, and run its code, as train did with --trust "
        "(default: none)",
    )
