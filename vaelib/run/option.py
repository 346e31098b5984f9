"""A field of a dataclass that is an option of the command line, and a line of a file.

`option` says of a field all that there is to know: its default, its help, what it takes, and what
its absence meant in files that are older than it. `add` makes the options of a command from it, and
`read` the fields from what a file says, by the same rules.
"""

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NoReturn, TypeVar, get_args

from vaelib.arguments import BadValue

N = TypeVar("N", int, float)

# What a number may be at most. Two layers of the largest size have 4 TB of weights between them.
SIZE, COUNT, SEED = 10**6, 10**9, 2**64 - 1  # the last is torch's
NEVER = object()  # a field that every file has


@dataclass(frozen=True)
class Option:
    """What stands in a field's metadata; see `option`."""

    default: Any
    help: str | None
    group: str
    says: str
    absent: Any
    compared: bool
    takes: Mapping[str, Any]


def option(
    default: Any = NEVER,
    help: str | None = None,  # noqa: A002
    *,
    group: str = "",
    says: str = "",
    absent: Any = NEVER,
    compared: bool = True,
    **takes: Any,
) -> Any:
    """A field that is an option.

    Args:
        default: its value where none is given; or a function of the other values and of the number
            of images, which computes it.
        help: what it is, with unit and range. None for a field that is stored, and no option.
        group: the heading of the help under which it stands.
        says: the default in words, where its value does not say it.
        absent: what it means if a file lacks it. Every file has the fields without this.
        compared: whether a run that goes on must have the value that it was started with.
        takes: argparse's words for what it takes: ``type``, ``choices``, ``nargs``, … ``choices``
            may be a function of the classes that the user handed over.
    """
    return field(metadata={"option": Option(default, help, group, says, absent, compared, takes)})


def options(cls: type) -> dict[str, Option]:
    """A dataclass's options, by the names of their fields."""
    return {f.name: f.metadata["option"] for f in fields(cls)}


def flag(name: str) -> str:
    """The option of an argument.

    >>> flag("batch_size")
    '--batch-size'
    """
    return f"--{name.replace('_', '-')}"


def add(
    command: argparse.ArgumentParser,
    groups: Mapping[str, Any],
    cls: type,
    classes: Sequence[type] = (),
) -> None:
    """Add a dataclass's options to a command, each under its heading."""
    for name, its in options(cls).items():
        if its.help is not None:
            value = f"{its.default:g}" if isinstance(its.default, float) else its.default
            says = f"default: {its.says}" if its.says else f"default {value}"
            words = _words(its, classes) | {"help": f"{its.help} ({says})"}
            groups.get(its.group, command).add_argument(flag(name), **words)


def _words(its: Option, classes: Sequence[type]) -> dict[str, Any]:
    words = dict(its.takes)
    if callable(words.get("choices")):
        words["choices"] = words["choices"](classes)
    return words


class _FileParser(argparse.ArgumentParser):
    """Of values that come from a file."""

    def error(self, message: str) -> NoReturn:
        name, colon, rest = message.removeprefix("argument --").partition(": ")
        raise BadValue(f"{name.replace('-', '_')}{colon}{rest}")


def read(cls: type, values: Mapping[str, Any], classes: Sequence[type] = ()) -> dict[str, Any]:
    """The fields of a dataclass from the values of a file, each of which its option would take.

    Raises:
        BadValue: if a value is none that its option takes, a field is not known, or one is missing
            that every file has; names it.
    """
    known = options(cls)
    for name in values.keys() - known.keys():
        raise BadValue(f"{name}: no option of this version of vaelib")
    for name, its in known.items():
        if name not in values and its.absent is NEVER:
            raise BadValue(f"{name}: expected a value, as every run has one, got none")
    return checked(cls, {k: values.get(k, its.absent) for k, its in known.items()}, classes)


def checked(cls: type, values: Mapping[str, Any], classes: Sequence[type] = ()) -> dict[str, Any]:
    """Some fields of a dataclass, each as its option would take it; raises as `read`."""
    known = {name: its for name, its in options(cls).items() if name in values}
    command = _FileParser(argument_default=argparse.SUPPRESS, allow_abbrev=False, add_help=False)
    # Those that may be None, where an option is not given; None and False have no word.
    nullable = {f.name for f in fields(cls) if type(None) in get_args(f.type)}
    left_out = {k for k in known if values[k] is None and k in nullable}
    line: list[str] = []
    for name, its in known.items():
        words, value = _words(its, classes), values[name]
        command.add_argument(flag(name), **words)
        if isinstance(value, list) and words.get("action") == "append":
            line += [f"{flag(name)}={v}" for v in value]
        elif isinstance(value, list) and words.get("nargs") == "+":
            line += [flag(name), *map(str, value)] if value else []
        elif words.get("action") == "store_true":
            if type(value) is not bool:
                raise BadValue(f"{name}: expected True or False, got {value!r}")
            line += [flag(name)] if value else []
        elif value is True:
            line.append(flag(name))
        elif value is not its.default and name not in left_out:
            line.append(f"{flag(name)}={value}")
    lists = {name for name, its in known.items() if {"append", "+"} & set(its.takes.values())}
    found = {name: [] if name in lists else its.default for name, its in known.items()}
    found |= {k: False for k, its in known.items() if its.takes.get("action") == "store_true"}
    found |= dict.fromkeys(left_out) | vars(command.parse_args(line))
    for name, value in values.items():
        if found[name] != value:  # "8" for 8, say
            raise BadValue(f"{name}: expected {found[name]!r}, got {value!r}")
    return found


def name(word: str) -> str:
    """Any name, of a file or of a folder."""
    if not word.strip() or "\0" in word:  # Path("") is the current folder
        raise argparse.ArgumentTypeError(f"expected a name, got {word!r}; '.' is this folder")
    return word


def device_name(word: str) -> str:
    """A device of torch's, or auto."""
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", word):
        raise argparse.ArgumentTypeError(f"expected auto, cpu, cuda, or cuda:1 say, got {word!r}")
    return word


def class_name(word: str) -> str:
    """A class and the module that has it."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*", word):
        raise argparse.ArgumentTypeError(
            f"expected module:Class, mine:Poisson say for class Poisson of mine.py, got {word!r}"
        )
    return word


def whole(low: int, high: int = COUNT) -> Callable[[str], int]:
    """Whole numbers from ``low`` to ``high``."""
    return _number(
        int, f"a whole number from {low} to {high:,}", lambda value: low <= value <= high
    )


def real(low: float, *, included: bool = False) -> Callable[[str], float]:
    """Finite numbers above ``low``, or from it on."""
    sign = "≥" if included else ">"
    return _number(
        float,
        f"a number {sign} {low:g}",
        lambda v: math.isfinite(v) and (v > low or (included and v == low)),
    )


def _number(
    kind: Callable[[str], N], expected: str, fits: Callable[[N], bool]
) -> Callable[[str], N]:
    """A reader of an option's value that says what it expected."""

    def read(word: str) -> N:
        try:
            value = kind(word)
        except ValueError:
            value = None
        if value is None or not fits(value):
            raise argparse.ArgumentTypeError(f"expected {expected}, got {word!r}")
        return value

    return read
