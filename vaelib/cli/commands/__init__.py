"""The commands, each a module: what it is about, its options, and what it does.

A command has ``ABOUT`` (a line of the list of commands), ``MORE`` (the end of its help),
``options(command, classes)``, which adds its options to a parser, and ``run(given, classes)``,
which gets what was given by the options' names, and the user's classes.
"""

from types import ModuleType

from vaelib.cli.commands import (
    encode,
    evaluate,
    examples,
    export,
    impute,
    reconstruct,
    sample,
    score,
    train,
)

__all__ = ["COMMANDS"]

COMMANDS: dict[str, ModuleType] = {  # in the order of the help
    "train": train,
    "evaluate": evaluate,
    "sample": sample,
    "encode": encode,
    "reconstruct": reconstruct,
    "score": score,
    "impute": impute,
    "export": export,
    "examples": examples,
}
