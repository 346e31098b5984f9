"""The command line: ``python -m vaelib train``, ``evaluate`` and ``sample``.

`options` says what can be asked for, `settings` keeps it in the run's folder, `build` makes data
and model of it, and `commands` does it. What goes wrong ends here, in one line.

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

from vaelib.cli import commands, options, settings

__all__ = ["main"]

# What a user can mend: a file, a number, a machine. Anything else is our fault and keeps its
# traceback. CheckpointError is a ValueError, ConnectionError an OSError.
EXPECTED = (ValueError, OSError, FloatingPointError, MemoryError)
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
# RuntimeErrors that are expected: the trainer's words for torch's, and torch's for no memory.
EXPECTED_WORDS = ("fit: ", "out of memory", "can't allocate memory")
# The package's messages name arguments of its functions; here they are options.
FLAGS = (
    (r"\bresume=True", "--resume"),
    (r"\b(precision|clip|compile)='?(float32|cuda-graph|[\d.]*\d)'?", r"--\1 \2"),
    (r"\bcompile=True", "--compile"),
    (r"\bmodel\.to\('cuda'\)", "--device cuda"),
    (r"\bcompile=False trains", "leaving --compile out trains"),
    (r"\bbatch_size\b", "--batch-size"),
    (r"\bbuild the model that was trained", "bring back the settings.json that belongs to it"),
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        words: the command line without the program's name; that of the process if None.

    Returns:
        The exit code: 0, or 1 after an error, which is one line on stderr, or 130 after Ctrl-C. A
        command line that cannot be read raises ``SystemExit(2)``, and ``--help`` ``SystemExit(0)``.
    """
    given = vars(options.parser().parse_args(words))
    run = {"train": commands.train, "evaluate": commands.evaluate, "sample": commands.sample}
    command = given.pop("command")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            run[command](given)
        print(end="", flush=True)  # here, where a full disk is an error as any other
    except KeyboardInterrupt:
        go_on = ""
        if command == "train" and (Path(given["folder"]) / settings.NAME).exists():
            folder = shlex.quote(given["folder"])
            go_on = f"; python -m vaelib train --folder {folder} --resume goes on"
        return _say(f"stopped{go_on}", 130)
    except EXPECTED as error:
        return _say(f"error: {_one_line(error)}", 1)
    except RuntimeError as error:
        if not any(words in str(error) for words in EXPECTED_WORDS):
            raise
        return _say(f"error: {_one_line(error)}", 1)
    return 0


def _warn(message: Warning | str, *_: object, **__: object) -> None:
    """A warning without the place in the code, which is not the user's."""
    _say(f"warning: {_in_options(str(message))}", 0)


def _say(line: str, code: int) -> int:
    print(f"vaelib: {line}", file=sys.stderr)
    return code


def _one_line(error: BaseException) -> str:
    """An error's message without line breaks, in words of the command line."""
    text = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or any(words in text for words in EXPECTED_WORDS[1:]):
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
    return _in_options(text)


def _in_options(text: str) -> str:
    """A message of the package's in one line, and in words of the command line."""
    for pattern, flag in FLAGS:
        text = re.sub(pattern, flag, text)
    return " ".join(text.split())
