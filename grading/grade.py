"""Grade a folder of submissions: a table of marks, and a page of feedback for each notebook.

    make grade SUBMITTED=folder [CHAPTER=kl] [SEED=7] [GRADES=graded]

`folder` holds one folder for each learner, with notebooks in it. nbgrader keeps the gradebook and
writes the feedback. The learners' code runs elsewhere (sandbox.py), as another user or in a
bubblewrap; only numbers come back from there, and they are judged here.
"""

import argparse
import contextlib
import csv
import html
import io
import itertools
import json
import logging
import multiprocessing
import os
import re
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import nbformat
import torch
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    AssignLatePenalties,
    LimitOutput,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from traitlets.config import Config

import vaelib
from learner import ASSIGNMENT, ROOT, chapters, release
from vaelib import files
from vaelib.course import checks

SANDBOX = Path(__file__).resolve().parent / "sandbox.py"
PACKAGE = Path(vaelib.__file__).resolve().parent  # the folder of this vaelib
LARGEST_NOTEBOOK = 20 * 2**20  # bytes; a chapter with all its pictures has one or two million
# What a feedback page is made of costs time for each cell and for each character of one, up to a
# minute for a million of them. A chapter has below 150 cells, and below 5,000 characters in each.
MOST_CELLS = 1000
LONGEST_CELL = 100_000
# Users without a name, one for each notebook: none can read or stop what another one left behind.
FIRST_USER = 70_000
# A fork has all that is imported here at hand; a spawned process would import it once a learner.
FORK = multiprocessing.get_context("fork")


class Limits(NamedTuple):
    """What one submitted notebook may use."""

    seconds: float = 60.0  # of the processor, for each cell and for each exercise's calls
    total: float = 300.0  # of the processor, for the whole notebook
    waiting: float = 900.0  # of the clock, for one that sleeps
    reading: float = 120.0  # of the processor, for our own work on all that a learner handed in
    memory: int = 6 * 2**30
    output: int = 16 * 2**20
    folders: int = 2**28  # bytes in the home, and in the shared memory, of one in a bubblewrap
    processes: int = 2000


class Isolation(NamedTuple):
    """How learners' code is kept away: a name to print, and how to start a process."""

    name: str
    bubble: bool = False
    as_user: bool = False


def isolation(allow_none: bool) -> Isolation:
    """The best of what this machine offers, tried out."""
    root = os.geteuid() == 0
    ways = []
    if shutil.which("bwrap"):
        if root:
            ways.append(Isolation("in a bubblewrap, as another user", bubble=True, as_user=True))
        # The kernel bounds the number of processes of every user but root.
        name = "in a bubblewrap" + root * ", as root, with NO bound on the number of processes"
        ways.append(Isolation(name, bubble=True))
    if root:
        name = "as another user, with NO bound on the bytes of all its files together"
        ways.append(Isolation(name, as_user=True))
    for how in ways:
        if run_apart({"cells": [], "exercises": []}, how, Limits(), FIRST_USER):
            return how
    if allow_none:
        return Isolation("NOT isolated, with your rights")
    sys.exit(
        "grading stopped: submissions are strangers' code, and this machine offers no way to run "
        "them apart. Install bubblewrap (Debian: apt install bubblewrap); or, as root, let other "
        "users read this clone and its Python; or add ISOLATION=none if you have read them all."
    )


def bubble(how: Isolation, limits: Limits) -> list[str]:
    """A file system that holds Python, vaelib and an empty home, and nothing of anybody's work."""
    command = ["bwrap", "--die-with-parent", "--new-session", "--unshare-pid", "--unshare-net",
               "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]  # fmt: skip
    if how.as_user:  # the sandbox becomes that user when it has started, and needs to be allowed to
        command += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", str(FIRST_USER), "--gid", str(FIRST_USER)]
    command += ["--dev", "/dev", "--proc", "/proc"]
    # In a user namespace made by root, its user is still the owner of the machine's own settings.
    for setting in ("sys", "sysrq-trigger", "irq", "bus"):
        command += ["--ro-bind-try", f"/proc/{setting}", f"/proc/{setting}"]
    for folder in ("/dev/shm", "/tmp"):  # both in memory: what is full is full
        command += ["--perms", "1777", "--size", str(limits.folders), "--tmpfs", folder]
    command += ["--chdir", "/tmp"]
    ours = [Path(sys.base_prefix), Path(sys.prefix), PACKAGE, SANDBOX]
    for parent in dict.fromkeys(p for path in ours for p in reversed(path.parents)):
        command += ["--perms", "0755", "--dir", str(parent)]
    system = [
        "/usr",
        "/bin",
        "/lib",
        "/lib64",
        "/etc/alternatives",
        "/etc/ld.so.cache",
        "/etc/fonts",
    ]
    for path in [*system, *map(str, ours)]:
        command += ["--ro-bind-try", path, path]
    return command


def run_apart(
    job: dict[str, Any], how: Isolation, limits: Limits, user: int
) -> list[dict[str, Any]]:
    """The lines of JSON that the sandbox wrote for a job, as far as they are that.

    The first of them is the sandbox's own, before any line of the job; without it there is none.
    """
    job = {"seed": 0, **job, "user": user if how.as_user else None, **limits._asdict()}
    # One line for each; what is written beyond them is forged.
    most = 1 + sum(cell["whole"] for cell in job["cells"]) + len(job["exercises"])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as answers:
        home = "/tmp" if how.bubble else folder
        if how.as_user and not how.bubble:
            os.chown(home, user, user)
        kept = {k: os.environ[k] for k in ("PATH", "LANG", "GOMP_SPINCOUNT") if k in os.environ}
        command = [sys.executable, "-P", SANDBOX, str(answers.fileno())]
        process = subprocess.Popen(
            [*(bubble(how, limits) if how.bubble else []), *command],
            cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, pass_fds=[answers.fileno()], start_new_session=True,
            env=kept | {"HOME": home, "TMPDIR": home, "IPYTHONDIR": home, "MPLCONFIGDIR": home,
                        "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "USER": "learner",
                        "PYTHONPATH": str(PACKAGE.parent)},
        )  # fmt: skip
        try:
            with contextlib.suppress(subprocess.TimeoutExpired, BrokenPipeError):
                process.communicate(json.dumps(job).encode(), timeout=limits.waiting)
        finally:
            stop(process, job["user"])
        answers.seek(0)
        written = list(itertools.islice(answers, most))
    lines = []
    for line in written:
        with contextlib.suppress(ValueError, RecursionError):
            parsed = json.loads(line.decode(errors="replace"))
            if isinstance(parsed, dict):
                lines.append(parsed)
    return lines if lines and lines[0].get("ready") else []


class GradingError(Exception):
    """Our own work on what a stranger handed in ended with an error, or at a bound."""


def bounded(work: Callable[[], Any], limits: Limits) -> Any:
    """What ``work`` returns, done in a process of its own with bounds on its time and memory.

    Strangers' notebooks cost us something too: to read, to judge, to show. A mistake of ours that
    one of them meets, or a cost that we did not think of, ends this process and not the class.

    Raises:
        GradingError: what ended it.
    """
    receiver, sender = FORK.Pipe(duplex=False)

    def run() -> None:
        receiver.close()
        for kind, most in (
            (resource.RLIMIT_CPU, int(time.process_time() + limits.reading) + 1),
            (resource.RLIMIT_AS, limits.memory),
        ):  # soft ones: the sandbox, which this process starts, sets its own
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
        try:
            sender.send((work(), None))
        except Exception as error:
            sender.send((None, f"{type(error).__name__}: {error}"[:300]))

    process = FORK.Process(target=run, daemon=True)
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        process.join()
        ended = process.exitcode or 0
        raise GradingError(
            f"it took longer than {limits.reading:g} seconds of the processor"
            if ended == -signal.SIGXCPU
            else f"the process ended with code {ended}"
        ) from None
    process.join()
    if error:
        raise GradingError(error)
    return result


class Learner(NamedTuple):
    """A folder of the submissions, the name that is shown of it, and one that nbgrader can take."""

    number: str
    name: str
    folder: Path


class Submission(NamedTuple):
    """A learner's notebook for one chapter, or the reason why there is none."""

    learner: Learner
    chapter: str
    path: Path | None
    note: str


def released_cells(path: Path) -> dict[str, nbformat.NotebookNode]:
    """The released notebook's solution and graded cells, by their names."""
    cells = nbformat.read(path, as_version=4).cells
    return {c.metadata.nbgrader.grade_id: c for c in cells if "nbgrader" in c.metadata}


def read_submission(path: Path) -> nbformat.NotebookNode:
    """A notebook of strangers: only its cells' text is kept.

    Raises:
        ValueError: what is wrong with the file.
    """
    if path.is_symlink() or not path.is_file():
        raise ValueError("not a file")
    if path.stat().st_size > LARGEST_NOTEBOOK:
        raise ValueError(f"larger than {LARGEST_NOTEBOOK // 2**20} MiB: clear its outputs")
    fresh = nbformat.v4.new_notebook()
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        cells = len(notebook.cells)
        longest = max((len(str(cell.source)) for cell in notebook.cells), default=0)
    except Exception as error:  # nbformat lets every kind through
        raise ValueError(_unreadable(error)) from error
    if cells > MOST_CELLS or longest > LONGEST_CELL:
        raise ValueError(
            f"{cells:,} cells, the longest of {longest:,} characters: at most {MOST_CELLS:,} and "
            f"{LONGEST_CELL:,} are read; ask for a shorter one"
        )
    try:
        for theirs in notebook.cells:
            new = {"code": nbformat.v4.new_code_cell}.get(
                theirs.cell_type, nbformat.v4.new_markdown_cell
            )
            cell = new(printable(theirs.source, LONGEST_CELL))
            if isinstance(theirs.metadata.get("nbgrader"), dict):
                cell.metadata["nbgrader"] = theirs.metadata["nbgrader"]
            fresh.cells.append(cell)
    except Exception as error:  # of odd cells
        raise ValueError(_unreadable(error)) from error
    return fresh


def _unreadable(error: Exception) -> str:
    return f"not a notebook ({type(error).__name__}): ask for it again, saved by Jupyter"


def printable(text: Any, longest: int = 4000) -> str:
    """A stranger's text as one that can be stored: no lone surrogates, and not endless."""
    return str(text)[:longest].encode("utf-8", "replace").decode()


def plain_name(name: str) -> str:
    """A stranger's folder name for a terminal and a spreadsheet: no commands, no formulas."""
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", "?", name)
    return f"'{name}" if name.startswith(("=", "+", "-", "@")) else name


def mend(notebook: nbformat.NotebookNode, released: dict[str, nbformat.NotebookNode]) -> None:
    """Give each graded and solution cell its metadata back, once; add those that are missing."""
    seen: set[str] = set()
    for cell in notebook.cells:
        claimed = cell.metadata.pop("nbgrader", {}).get("grade_id")
        ours = released.get(claimed) if isinstance(claimed, str) else None
        if ours is not None and claimed not in seen and cell.cell_type == ours.cell_type:
            cell.metadata["nbgrader"] = ours.metadata.nbgrader
            seen.add(claimed)
    for name, cell in released.items():
        if name not in seen:
            added = nbformat.v4.new_code_cell(
                cell.source, metadata={"nbgrader": cell.metadata.nbgrader}
            )
            if cell.metadata.nbgrader.solution:
                added.source = f"# The cell of {name} was missing."
            notebook.cells.append(added)


def learners_of(folder: Path) -> list[Learner]:
    """Everybody who has a folder, under names that are all different."""
    paths = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink())
    if not paths:
        sys.exit(
            f"grading stopped: no folders in {folder}. Make one for each learner, with the name "
            "that the table shall show, and put their notebooks in it"
        )
    plain = [plain_name(path.name) for path in paths]
    taken = {name for name in plain if plain.count(name) == 1}
    names = []
    for name in plain:
        if plain.count(name) > 1:  # a name with a number, which somebody else may have too
            numbered = (f"{name} ({i})" for i in itertools.count(1))
            name = next(n for n in numbered if n not in taken)
            taken.add(name)
        names.append(name)
    return [Learner(f"{i:04}", *both) for i, both in enumerate(zip(names, paths, strict=True))]


def collect(learner: Learner, released: dict[str, Path], into: Path) -> list[Submission]:
    """Copy a learner's notebooks into nbgrader's folders, mended, under a number for a name."""
    known = {stem: released_cells(path) for stem, path in released.items()}
    notes: dict[str, str] = {}
    chosen: dict[str, Path] = {}
    for path in notebooks_of(learner.folder):
        try:
            notebook = read_submission(path)
        except ValueError as error:
            notes |= {stem: f"{path.name}: {error}" for stem in released if stem in path.stem}
            continue
        # Whose cells does it hold? A browser may have called it "Copy of kl (1).ipynb".
        ids = {str(c.metadata.get("nbgrader", {}).get("grade_id")) for c in notebook.cells}
        chapter = max(known, key=lambda stem: (len(ids & set(known[stem])), stem in path.stem))
        if not ids & set(known[chapter]):  # a scratch pad, unless nothing else comes
            if chapter not in path.stem or chapter in chosen:
                continue
        elif chapter in chosen:
            notes[chapter] = f"several notebooks; the newest, {path.name}, was graded"
        chosen[chapter] = path
        mend(notebook, known[chapter])
        target = into / learner.number / ASSIGNMENT / f"{chapter}.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, target)
    return [
        Submission(
            learner,
            chapter,
            chosen.get(chapter),
            plain_name(notes.get(chapter, "" if chapter in chosen else "no notebook")),
        )
        for chapter in released
    ]


def notebooks_of(learner: Path) -> list[Path]:
    """The oldest first; what Jupyter and archives keep beside them is nobody's answer."""
    every = (
        path
        for path in learner.rglob("*.ipynb")
        if not any(
            part.startswith(".") or part == "__MACOSX" for part in path.relative_to(learner).parts
        )
    )
    return sorted(every, key=lambda path: path.lstat().st_mtime)


class Ask(NbGraderPreprocessor):
    """nbgrader's step "execute": run the cells in the sandbox, judge what comes back, here."""

    how: Isolation
    limits: Limits
    seed: int
    release: Path

    def preprocess(self, nb: Any, resources: Any) -> Any:  # noqa: D102 (nbgrader's interface)
        path = self.release / f"{resources['nbgrader']['notebook']}.ipynb"
        known = {cell.source for cell in nbformat.read(path, as_version=4).cells}
        cells, graded = [], {}
        for index, cell in enumerate(nb.cells):
            if cell.cell_type != "code":
                if cell.source not in known:  # strangers' HTML and links, in the teacher's browser
                    cell.source = f"<pre>{html.escape(cell.source)}</pre>"
                continue
            if cell.metadata.get("nbgrader", {}).get("grade"):
                # nbgrader has put the hidden line back: it says whom to ask.
                graded[index] = re.search(r"checks\.(\w+)\.grade\(", cell.source)[1]
            else:
                whole = cell.source not in known  # written or changed by the learner
                cells.append({"index": index, "source": cell.source, "whole": whole})
        job = {"cells": cells, "exercises": list(graded.values()), "seed": self.seed}
        names = [chapter.name for chapter in chapters()]
        number = int(resources["nbgrader"]["student"]) * len(names) + names.index(path.stem)
        lines = run_apart(job, self.how, self.limits, FIRST_USER + 1 + number)
        shown = {cell["index"]: nb.cells[cell["index"]] for cell in cells}
        for line in lines:
            # 0.0 and True are keys of this mapping too, and a list is none that can be asked for.
            if type(line.get("cell")) is int and line["cell"] in shown:
                self.show(shown[line["cell"]], line)
        answers = {name: line for line in lines if isinstance(name := line.get("exercise"), str)}
        for index, name in graded.items():
            nb.cells[index].outputs = [self.verdict(name, answers.get(name))]
        return nb, resources

    def show(self, cell: Any, line: dict[str, Any]) -> None:
        """What the learner's cell printed, and how it ended, for the feedback page."""
        cell.outputs = []
        if line.get("text"):
            cell.outputs.append(
                nbformat.v4.new_output("stream", name="stdout", text=printable(line["text"]))
            )
        if line.get("error"):
            cell.outputs.append(_error("CellFailed", str(line["error"])))

    def verdict(self, name: str, line: dict[str, Any] | None) -> Any:
        """nbgrader's rule: an error costs the cell's points."""
        try:
            if line is None:
                raise checks.CheckFailed(
                    f"{name}: not reached; an earlier cell ended the run or its time"
                )
            if line.get("missing"):
                raise checks.CheckFailed(f"{name}: there is no function of this name")
            checks.EXERCISES[name].judge(line["outcomes"], self.seed)
        except checks.CheckFailed as failure:
            return _error("CheckFailed", str(failure))
        except Exception as error:  # numbers that no honest run writes
            said = f"{name}: the answers cannot be read ({type(error).__name__})"
            return _error("CheckFailed", said)
        return nbformat.v4.new_output("stream", name="stdout", text=f"{name}: correct")


def _error(name: str, text: str) -> Any:
    text = printable(text)
    return nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])


def stop(process: subprocess.Popen, user: int | None) -> None:
    """End the run and everything that it started."""
    if user is not None and (child := os.fork()) == 0:
        try:  # as that user, all processes but this one that it may signal: its own
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    elif user is not None:
        os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def closed(folder: Path) -> Iterator[None]:
    """While strangers' code runs, nobody but the owner may enter the folder of submissions."""
    mode = folder.stat().st_mode & 0o777
    folder.chmod(mode & 0o700)
    try:
        yield
    finally:
        folder.chmod(mode)


def grade(
    submitted: Path, into: Path, *, only: list[str], seed: int, how: Isolation, limits: Limits
) -> list[dict[str, Any]]:
    """Grade every submission; write grades.csv and feedback/ into a folder; return the rows."""
    torch.set_num_threads(1)  # threads of a parent are not there in its forks
    paths = [c.path for c in chapters() if c.exercises and (not only or c.name in only)]
    into.mkdir(parents=True, exist_ok=True)
    into.chmod(0o700)
    with tempfile.TemporaryDirectory() as private, closed(submitted):  # 0700, the gradebook's home
        course = Path(private)
        folder = release(paths, course)
        released = {p.stem: p for p in sorted(folder.glob("*.ipynb"))}
        Ask.how, Ask.limits, Ask.seed, Ask.release = how, limits, seed, folder
        learners = learners_of(submitted)
        submissions = []
        for learner in learners:
            try:
                found = bounded(partial(collect, learner, released, course / "submitted"), limits)
                if any(s.path for s in found):
                    bounded(partial(_ask_and_show, learner, course), limits)
            except GradingError as error:
                note = f"not graded, and nobody else's fault: {error}"
                found = [Submission(learner, stem, None, plain_name(note)) for stem in released]
            submissions += found
        rows = _marks(learners, submissions, course)
        shutil.rmtree(into / "feedback", ignore_errors=True)
        for learner in learners:
            for page in (course / "feedback" / learner.number).rglob("*.html"):
                (into / "feedback" / learner.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(page, into / "feedback" / learner.name / page.name)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    # With the mark that tells spreadsheets of UTF-8.
    files.replace(into / "grades.csv", text.getvalue().encode("utf-8-sig"))
    return rows


def _ask_and_show(learner: Learner, course: Path) -> None:
    """nbgrader's two steps for one learner: marks into the gradebook, and the pages of feedback."""
    for converter in (Autograde, GenerateFeedback):
        config = _configuration(course)
        config.CourseDirectory.student_id = learner.number
        converter(coursedir=CourseDirectory(config=config), config=config).start()


def _configuration(course: Path) -> Config:
    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.assignment_id = ASSIGNMENT
    config.CourseDirectory.db_url = f"sqlite:///{course}/gradebook.db"
    config.Autograde.create_student = True
    config.Autograde.autograde_preprocessors = [
        Ask,
        LimitOutput,
        SaveAutoGrades,
        AssignLatePenalties,
    ]
    config.GenerateFeedback.force = True
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    return config


def _marks(
    learners: list[Learner], submissions: list[Submission], course: Path
) -> list[dict[str, Any]]:
    """One row for each learner: points, and the points of each exercise."""
    rows = []
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        wanted = [
            (s.name, cell.name, cell.max_score)
            for s in sorted(book.find_assignment(ASSIGNMENT).notebooks, key=_order)
            for cell in s.grade_cells
        ]
        for learner in learners:
            theirs = [s for s in submissions if s.learner == learner]
            scores: dict[tuple[str, str], float] = {}
            # Of a learner whose grading was stopped there may be none, or a part that counts not.
            if any(s.path for s in theirs):
                with contextlib.suppress(MissingEntry):
                    for notebook in book.find_submission(ASSIGNMENT, learner.number).notebooks:
                        scores |= {
                            (notebook.name, g.name): g.auto_score or 0.0 for g in notebook.grades
                        }
            each = {
                f"{chapter}/{name.removesuffix('-graded')}": scores.get((chapter, name), 0.0)
                for chapter, name, _ in wanted
            }
            notes = [f"{s.chapter}: {s.note}" for s in theirs if s.note]
            rows.append(
                {"learner": learner.name, "points": sum(each.values())}
                | {"of": sum(p for *_, p in wanted)}
                | each
                | {"notes": "; ".join(notes)}
            )
    return rows


def _order(notebook: Any) -> int:
    return [c.name for c in chapters()].index(notebook.name)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("submitted")
    parser.add_argument("--chapter", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--into", type=Path, default=ROOT / "graded")
    parser.add_argument("--isolation", choices=["none"], default=None)
    options = parser.parse_args()
    names = [c.name for c in chapters() if c.exercises]
    unknown = set(options.chapter) - {*names}
    if unknown:
        parser.error(f"no chapter with exercises: {sorted(unknown)}; there are {names}")
    submitted = Path(options.submitted)
    if not options.submitted or not submitted.is_dir():
        parser.error(
            f"{options.submitted!r} is not a folder; say SUBMITTED=folder, which holds one folder "
            "for each learner"
        )
    # Ended from outside, it still opens the folder of submissions again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("grading was ended from outside"))
    warnings.filterwarnings("ignore", module="sqlalchemy|nbgrader|alembic|traitlets")
    how = isolation(options.isolation == "none")
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"submissions run {how.name}; the seed of the numbers is {seed}")
    rows = grade(submitted, options.into, only=options.chapter, seed=seed, how=how, limits=Limits())
    for row in rows:
        print(f"{row['learner']:<24} {row['points']:g} of {row['of']:g}  {row['notes']}")
    print(f"marks: {options.into / 'grades.csv'}; feedback: {options.into / 'feedback'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
