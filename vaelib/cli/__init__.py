"""The command line: ``python -m vaelib train`` and what a trained run is then good for.

A command is a module of `commands`, with its options and what it does; `parser` puts them together.
What goes wrong ends here: a user's mistake in one line, a mistake of ours as it is.

Page: :doc:`/book/own_data`.
"""

import errno
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch

from vaelib.arguments import Mistake
from vaelib.cli.commands import COMMANDS
from vaelib.cli.parser import parser, trusted
from vaelib.cli.words import in_options, say
from vaelib.run.option import flag
from vaelib.run.settings import NAME, NotTrusted

__all__ = ["main"]

# What a user can mend beside a mistake: a file, a number, a machine. ConnectionError is an OSError.
EXPECTED = (Mistake, OSError, FloatingPointError, MemoryError)
# What to do about an error of the system's that nobody has put into words before.
REMEDIES = {
    errno.ENOENT: "look for a mistake in its name",
    errno.EACCES: "get the right to use it, or name another",
    errno.EPERM: "get the right to use it, or name another",
    errno.EROFS: "name one that can be written to",
    errno.EISDIR: "name a file, as this is a folder",
    errno.ENOTDIR: "name a folder, as this is a file",
    errno.ENAMETOOLONG: "name a shorter one",
    errno.ENOSPC: "make room",
    errno.EPIPE: "nobody reads what is printed any more; print into a file",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: the command line without the program's name; that of the process if None.

    Returns:
        The exit code: 0, or 1 after an error, which is one line on stderr, or 130 after Ctrl-C. A
        command line that cannot be read raises ``SystemExit(2)``, and ``--help`` ``SystemExit(0)``.

    >>> main(["score", "no-such-run", "--data", "digits"])  # one line on stderr says why
    1
    """
    words = sys.argv[1:] if words is None else words
    try:
        classes = trusted(words)
    except Mistake as error:
        return _stop(f"error: {error}")
    given = vars(parser(classes).parse_args(words))
    command, known = given.pop("command"), given.pop("options")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_, **__: _warn(message, known)
            COMMANDS[command].run(given, classes)
        print(end="", flush=True)  # here, where a full disk is an error as any other
    except KeyboardInterrupt:
        go_on = ""
        if command == "train" and (Path(given["folder"]) / NAME).exists():
            folder = shlex.quote(given["folder"])
            go_on = f"; python -m vaelib train --folder {folder} --resume goes on"
        return _stop(f"stopped{go_on}", 130)
    except NotTrusted as error:
        trust = [word for name in error.names for word in ("--trust", name)]
        again = shlex.join(["python", "-m", "vaelib", *words, *trust])
        return _stop(f"error: {error}; if you trust that code: {again}")
    except EXPECTED as error:
        return _stop(f"error: {_one_line(error, known)}")
    except RuntimeError as error:
        if not _lacks_memory(error):
            raise
        return _stop(f"error: {_one_line(error, known)}")
    return 0


def _warn(message: Warning | str, known: set[str]) -> None:
    """A warning without the place in the code, which is not the user's."""
    say(f"warning: {in_options(str(message), known)}")


def _lacks_memory(error: BaseException) -> bool:
    """Whether memory is too small; torch has a class for that of a GPU, and words for the other."""
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def _stop(line: str, code: int = 1) -> int:
    say(line)
    return code


def _one_line(error: BaseException, known: set[str]) -> str:
    """An error's message without line breaks, in words of the command line."""
    text = str(error) or type(error).__name__
    if _lacks_memory(error):
        text = (
            "not enough memory; use smaller images, a smaller --hidden or --batch-size, or to "
            "evaluate fewer --images"
        )
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
        if error.filename is not None:
            text += f": {error.filename}"
        if error.errno in REMEDIES and error.strerror == os.strerror(error.errno):
            text += f"; {REMEDIES[error.errno]}"
    text = in_options(text, known)
    argument = error.argument if isinstance(error, Mistake) else None
    if argument in known and flag(argument) not in text:
        text = re.sub(rf"\b{argument}\b", flag(argument), text)
    return text
