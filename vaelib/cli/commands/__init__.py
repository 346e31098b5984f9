"""The commands, each a module: what it is about, its options, and what it does.

A command has ``ABOUT`` (a line of the list of commands), ``MORE`` (the end of its help),
``options(command, classes)``, which adds its options to a parser, and ``run(given, classes)``,
which gets what was given by the options' names, and the user's classes.
"""

from types import ModuleType

from vaelib.cli.commands import evaluate, sample, train

__all__ = ["COMMANDS"]

COMMANDS: dict[str, ModuleType] = {  # in the order of the help
    module.__name__.rpartition(".")[2]: module for module in (train, evaluate, sample)
}
