"""Run one learner's cells and ask their functions, where they can do no harm. Judges nothing.

grade.py starts this file once for each notebook, as root or in a bubblewrap. It reads a job from
standard input, gives up every right it does not need, runs the cells, and writes to the descriptor
that it was given one line of JSON for each cell and each exercise: text and numbers, nothing that
could be executed. Whatever a learner does to this process, the judgement happens in another one.
"""

import ast
import contextlib
import ctypes
import io
import json
import os
import resource
import signal
import sys
import time
from typing import Any

import torch
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import vaelib.course.plots  # noqa: F401 (with what it brings: what every chapter imports costs no one's time)
from vaelib.course import checks

NEW_NETWORK = 0x40000000  # CLONE_NEWNET: a network of its own, with nobody else in it
LONGEST_TEXT = 2_000  # characters of one cell's output that the feedback shows
EXERCISES = dict(checks.EXERCISES)  # before the learner's first line


class Short(io.StringIO):
    """A text that keeps its beginning and forgets the rest."""

    def write(self, text: str) -> int:  # noqa: D102
        super().write(text[: max(0, LONGEST_TEXT - self.tell())])
        return len(text)


def give_up_rights(job: dict[str, Any]) -> None:
    """No network, no other user's files, bounds on time, memory, processes and written bytes."""
    user = job["user"]
    if user is not None:
        # Best effort: a container may forbid it. The rest must succeed.
        ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK)
    processor = int(time.process_time() + job["total"]) + 1
    for kind, most in (
        (resource.RLIMIT_CPU, processor),
        (resource.RLIMIT_AS, job["memory"]),
        (resource.RLIMIT_FSIZE, job["output"]),
        (resource.RLIMIT_NPROC, job["processes"]),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (most, most))
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


@contextlib.contextmanager
def limit(seconds: float):
    """Interrupt after so many seconds of the processor. Who catches that is stopped by its bound.

    Not of the clock: a busy machine must not cost a learner points.
    """

    def stop(*_):
        raise TimeoutError(f"took longer than {seconds:g} seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def definitions(source: str) -> str:
    """Of a cell, the imports, functions and classes: what later cells need, without the work."""
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic
        return ""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, kinds))


def run(shell: InteractiveShell, source: str, seconds: float) -> dict[str, str]:
    """Run a cell; what it printed, and the error it ended with."""
    text = Short()
    error: BaseException | None
    try:
        with limit(seconds), contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            result = shell.run_cell(source, store_history=False)
            error = result.error_before_exec or result.error_in_exec
    except BaseException as raised:  # the learner's code may raise anything, anywhere
        error = raised
    found = {"text": text.getvalue()}
    if error is not None:
        found["error"] = f"{type(error).__name__}: {error}"[:LONGEST_TEXT]
    return found


def main() -> None:
    job = json.load(sys.stdin)
    answers = os.fdopen(int(sys.argv[1]), "w")
    torch.set_num_threads(1)
    config = Config()
    config.HistoryManager.enabled = False
    shell = InteractiveShell.instance(config=config)
    give_up_rights(job)

    def write(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=answers, flush=True)

    # What an honest cell needs is within reach, or this run says nothing at all.
    if "error" in run(shell, "import html, bdb; f = lambda: 1", job["seconds"]):
        sys.exit(1)
    write({"ready": True})
    for cell in job["cells"]:
        source = cell["source"] if cell["whole"] else definitions(cell["source"])
        found = run(shell, source, job["seconds"])
        if cell["whole"]:
            write({"cell": cell["index"], **found})
    for name in job["exercises"]:
        answer = shell.user_ns.get(name)
        if not callable(answer):
            write({"exercise": name, "missing": True})
            continue
        try:
            with limit(job["seconds"]), contextlib.redirect_stdout(Short()):
                outcomes = EXERCISES[name].respond(answer, job["seed"])
        except BaseException as raised:
            outcomes = [{"error": f"{type(raised).__name__}: {raised}"[:LONGEST_TEXT]}]
        write({"exercise": name, "outcomes": outcomes})


if __name__ == "__main__":
    main()
