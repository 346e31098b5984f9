"""What is said to the user, in the words of the command line, a line at a time."""

import re
import sys
from collections.abc import Iterable

from vaelib.run.option import flag

__all__ = ["in_options", "say"]


def say(line: str) -> None:
    """A line on stderr."""
    print(f"vaelib: {line}", file=sys.stderr)


def in_options(text: str, known: Iterable[str]) -> str:
    """A message in one line, with the arguments that are options called as these.

    >>> in_options("try refine=True, or samples=200", ["refine", "samples"])
    'try --refine, or --samples 200'
    """

    def option(found: re.Match) -> str:
        name, value = flag(found[1]), found[2].strip("'")
        return {"True": name, "False": f"no {name}"}.get(value, f"{name} {value}")

    names = "|".join(sorted(known))
    text = re.sub(rf"\b({names})=('[^']*'|True|False|[\d.]*\d)", option, text)
    return " ".join(text.split())
