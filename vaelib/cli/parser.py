"""From the words of a command line to a command and what it was given."""

import argparse
import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from vaelib.arguments import BadValue
from vaelib.cli.commands import COMMANDS
from vaelib.run.choices import require_classes
from vaelib.run.option import class_name

__all__ = ["parser", "trusted"]


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
        description="Train variational autoencoders on data of your own, measure them, and use "
        "them. Bounds and losses are per datum, in nats, summed over its values.",
        epilog="Exit codes: 0 done; 1 an error, told in one line; 2 a command line that cannot be "
        "read; 130 stopped by Ctrl-C.",
        allow_abbrev=False,
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="command")
    for title, its in COMMANDS.items():
        command = commands.add_parser(
            title,
            help=its.ABOUT,
            description=f"{its.ABOUT[0].upper()}{its.ABOUT[1:]}.",
            epilog=its.MORE,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
        )
        its.options(command, classes)
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
