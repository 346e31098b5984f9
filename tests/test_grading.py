"""Grading from end to end, through nbgrader: honest notebooks get their points, and a hostile one
costs its own and nobody else's."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "grading"))
# nbgrader and what it brings warn when they are imported; that is theirs.
pytestmark = pytest.mark.filterwarnings("ignore")

SECRET = "the-answers-of-ada"


def source_of(chapter):
    return nbformat.read(ROOT / "book" / f"{chapter}.ipynb", as_version=4)


def solutions(chapter):
    """The reference solutions by the name of their exercise."""
    cells = source_of(chapter).cells
    graders = [(c, c.metadata.get("nbgrader", {})) for c in cells]
    return {g["grade_id"]: c.source for c, g in graders if g.get("solution")}


def notebook(chapter, solved=(), first=None):
    """A learner's copy with some exercises solved, and a cell of their own in front."""
    found = nbformat.read(ROOT / "learner" / "book" / f"{chapter}.ipynb", as_version=4)
    answers = solutions(chapter)
    for cell in found.cells:
        grading = cell.metadata.get("nbgrader", {})
        if grading.get("solution") and grading["grade_id"] in solved:
            cell.source = answers[grading["grade_id"]]
    if first:
        found.cells.insert(0, nbformat.v4.new_code_cell(first))
    return found


def put(folder, learner, found, name="kl.ipynb"):
    (folder / learner).mkdir(parents=True, exist_ok=True)
    nbformat.write(found, folder / learner / name)


# What a hostile notebook does in its first cell; it then answers every exercise rightly. The number
# is what it may keep: a run that goes on gets the points of its answers.
HOSTILE = {
    "crashes": ("import os\nos._exit(1)", 0),
    "raises": ("raise SystemExit", 10),
    "loops": ("import signal\nsignal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass", 0),
    "prints a gigabyte": ("import os\nfor _ in range(1024): print('x' * 2**20)", 10),
    "fills the disk": ("open('big', 'wb').write(b'x' * 2**28)", 10),
    "eats memory": ("big = bytearray(2**40)", 10),
    "replaces checks": (
        "from vaelib import checks\n"
        "for name, check in list(checks.EXERCISES.items()):\n"
        "    object.__setattr__(check, 'judge', lambda *a: None)\n"
        "    object.__setattr__(check, 'grade', lambda *a: None)\n"
        "    setattr(checks, name, lambda f: None)\n"
        "checks.kl = lambda *a: None",
        4,
    ),
    "prints what no file holds": ("print(chr(0xD800)); raise ValueError(chr(0xD800))", 10),
    "forges answers": (
        "import os, sys\n"
        "fd = int(sys.argv[1])\n"
        "os.ftruncate(fd, 0)\n"
        'os.write(fd, b\'{"exercise": [], "cell": [1]}\\n[]\\n{"exercise": {}}\\n\')\n'
        "os._exit(0)",
        0,
    ),
    # Three lines in front of the honest ones, of which the last three, 6 points, are not read then.
    "forges lines": (
        "import os, sys\n"
        'forged = b\'{"cell": 0.0, "text": "x"}\\n{"cell": true}\\n{"cell": [1]}\\n\'\n'
        "os.write(int(sys.argv[1]), forged)",
        4,
    ),
    "floods the answers": ("import os, sys\nos.write(int(sys.argv[1]), b'{}\\n' * 700_000)", 0),
    "swallows cells": ("get_ipython().input_transformers_cleanup.append(lambda lines: [])", 0),
}
SLOW = {
    "crashes",
    "prints what no file holds",
    "raises",
    "prints a gigabyte",
    "fills the disk",
    "eats memory",
    "floods the answers",
    "swallows cells",
}  # by make soak only
# Cells whose own output says what they could reach.
SPY = """
import glob, os, socket
reached = wrote = False
for place in {places!r}:
    for path in glob.glob(place + '/**', recursive=True):
        try:
            reached |= {secret!r} in open(path, errors='ignore').read()
        except OSError:
            pass
    try:
        wrote |= open(place + '/gradebook.db', 'w').write('mine') > 0
    except OSError:
        pass
try:
    socket.create_connection(('192.0.2.1', 80), timeout=1)
except OSError as error:
    print('network:', error.strerror)
print('reached', reached, 'wrote', wrote)
setting = '/proc/sys/vm/swappiness'
try:
    kept = open(setting).read()
    open(setting, 'w').write(kept)
    print('set the machine')
except OSError:
    print('set nothing')
import shutil
print('home', shutil.disk_usage('.').total, 'shm', shutil.disk_usage('/dev/shm').total)
forks = 0
try:
    while forks < 100:
        if os.fork() == 0:
            import time
            time.sleep(60)
            os._exit(0)
        forks += 1
except OSError:
    print('forks are bounded')
"""


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """One run over honest and hostile submissions of chapter kl."""
    return grade_all(tmp_path_factory, [name for name in HOSTILE if name not in SLOW])


def grade_all(tmp_path_factory, hostile):
    import grade

    folder = tmp_path_factory.mktemp("submitted")
    into = tmp_path_factory.mktemp("graded")
    every = list(solutions("kl"))
    put(folder, "ada", notebook("kl", every, first=f"# {SECRET}"), "Copy of kl (1).ipynb")
    empty = notebook("kl")
    empty.cells.append(nbformat.v4.new_markdown_cell("Hello <script>alert('teacher')</script>"))
    empty.cells.append(nbformat.v4.new_markdown_cell("[click](javascript:alert('teacher'))"))
    put(folder, "ben, who left it empty", empty)
    twice = notebook("kl", every[:2])
    twice.cells = notebook("kl").cells + twice.cells  # the same cells, first unanswered
    put(folder, '=HYPERLINK("cem")\x1b', twice)
    (folder / '=HYPERLINK("cem")\x1c').mkdir()  # looks the same
    (folder / '=HYPERLINK("cem")? (1)').mkdir()  # as one of the two would be called
    for learner in hostile:
        cell, _ = HOSTILE[learner]
        solved = every[:2] if learner == "replaces checks" else every
        put(folder, learner, notebook("kl", solved, first=cell))
    deleted = notebook("kl", every)
    keep = {every[0], f"{every[1]}-graded"}
    deleted.cells = [
        c for c in deleted.cells if c.metadata.get("nbgrader", {}).get("grade_id", every[0]) in keep
    ]
    put(folder, "deletes cells", deleted)
    long = notebook("kl", every, first="#" + "x" * 2**20)
    put(folder, "a long cell", long)
    many = notebook("kl", every)
    many.cells += [nbformat.v4.new_code_cell("1") for _ in range(1_001)]
    put(folder, "many cells", many)
    put(folder, "deep folders", notebook("kl", every))
    here, back = folder / "deep folders", os.getcwd()
    for _ in range(1500):  # by steps: no path may be so long
        os.chdir(here)
        os.mkdir(here := "d")
    os.chdir(back)
    (folder / "no notebook").mkdir()
    (folder / "not a notebook").mkdir()
    (folder / "not a notebook" / "kl.ipynb").write_text("{")
    (folder / "a link").mkdir()
    (folder / "a link" / "kl.ipynb").symlink_to(folder / "ada" / "Copy of kl (1).ipynb")
    spy = SPY.format(places=[str(folder), str(into), str(ROOT / "graded")], secret=SECRET)
    put(folder, "spies", notebook("kl", every, first=spy))
    put(folder, "ada", nbformat.v4.new_notebook(), "my kl scratch pad.ipynb")  # newer, no answers
    (folder / "odd cells").mkdir()
    cells = [{"cell_type": "heading", "source": None, "metadata": []}]
    odd = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}
    (folder / "odd cells" / "kl.ipynb").write_text(json.dumps(odd))

    how = grade.isolation(allow_none=True)
    rows = grade.grade(
        folder,
        into,
        only=["kl"],
        seed=7,
        how=how,
        limits=grade.Limits(
            seconds=3, total=4, waiting=120, processes=90 if os.geteuid() == 0 else 2000
        ),
    )
    subprocess.run(["rm", "-r", folder / "deep folders"], check=True)  # Python cannot, so deep
    return {row["learner"]: row for row in rows}, into, how


def test_the_reference_solutions_get_all_and_an_empty_notebook_nothing(graded):
    rows, _, _ = graded
    assert rows["ada"]["points"] == rows["ada"]["of"] == 10
    assert rows["ben, who left it empty"]["points"] == 0
    half = rows['\'=HYPERLINK("cem")? (2)']  # nothing that a spreadsheet would run
    assert half["points"] == 4
    assert [half[f"kl/{name}"] for name in solutions("kl")] == [2, 2, 0, 0, 0]


@pytest.mark.parametrize("learner", [name for name in HOSTILE if name not in SLOW])
def test_a_hostile_submission_costs_its_own_points_only(graded, learner):
    assert graded[0][learner]["points"] == HOSTILE[learner][1]


@pytest.mark.soak
def test_all_hostile_submissions_together(tmp_path_factory):
    rows, _, _ = grade_all(tmp_path_factory, list(HOSTILE))
    assert {name: rows[name]["points"] for name in HOSTILE} == {
        name: points for name, (_, points) in HOSTILE.items()
    }
    assert rows["ada"]["points"] == 10


def test_deleted_cells_cost_their_own_points(graded):
    rows, _, _ = graded
    assert rows["deletes cells"]["points"] == 2  # the graded cells come back, the answers do not


NO_NOTEBOOK = ["no notebook", "not a notebook", "a link", "odd cells"]
TOO_MUCH = ["a long cell", "many cells", "deep folders"]


@pytest.mark.parametrize("learner", NO_NOTEBOOK + TOO_MUCH)
def test_what_is_no_notebook_gets_nothing_and_a_note(graded, learner):
    row = graded[0][learner]
    assert row["points"] == 0
    assert row["notes"].startswith("kl: ")


def test_a_submission_reaches_neither_the_others_nor_the_gradebook(graded):
    rows, into, how = graded
    feedback = (into / "feedback" / "spies" / "kl.html").read_text()
    assert rows["spies"]["points"] == 10
    if not (how.bubble or how.as_user):
        return  # nothing keeps it away: see the next test
    assert "reached False wrote False" in feedback
    assert "set nothing" in feedback
    if how.bubble:
        assert "network: Network is unreachable" in feedback
        assert f"home {2**28} shm {2**28}" in feedback
    if how.as_user:  # of root, and of a user with other processes, the kernel counts differently
        assert "forks are bounded" in feedback
    assert not (into / "gradebook.db").exists()


def test_the_sandbox_is_given_the_whole_package():
    """A part of it would not import in a bubblewrap, which then is taken for one that fails."""
    import grade

    command = [str(part) for part in grade.bubble(grade.Isolation("", bubble=True), grade.Limits())]
    assert str(ROOT / "vaelib") in command
    assert (grade.PACKAGE / "__init__.py").exists()


def test_where_nothing_keeps_a_submission_away_nothing_runs_unless_told_to(monkeypatch):
    import grade

    tried = []
    monkeypatch.setattr(grade, "run_apart", lambda job, how, *_: tried.append(how) or [])
    with pytest.raises(SystemExit, match="bubblewrap"):
        grade.isolation(allow_none=False)
    assert tried or (os.geteuid() and not shutil.which("bwrap"))  # every way that there is
    how = grade.isolation(allow_none=True)
    assert how.name.startswith("NOT isolated")


def test_marks_go_to_the_learner_whose_name_looks_like_another(graded):
    rows, into, _ = graded
    names = [name for name in rows if "cem" in name]
    assert sorted(names) == [f'\'=HYPERLINK("cem")? ({i})' for i in (1, 2, 3)]
    assert [rows[name]["points"] for name in sorted(names)] == [0, 4, 0]  # (1) is so called
    page = (into / "feedback" / sorted(names)[1] / "kl.html").read_text()
    assert "kl_to_prior: correct" in page


def test_a_row_without_anything_to_say_says_nothing(graded):
    rows, into, _ = graded
    assert rows["ada"]["notes"] == rows["ben, who left it empty"]["notes"] == ""
    with (into / "grades.csv").open(encoding="utf-8-sig") as file:
        assert {row["learner"]: row["notes"] for row in csv.DictReader(file)}["ada"] == ""


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (lambda: sum(iter(int, 1)), "longer than 1 seconds of the processor"),
        (lambda: len(bytes(2**36)), "MemoryError"),
        (lambda: {}[0.0], "KeyError: 0.0"),
        (lambda: os._exit(3), "ended with code 3"),
    ],
)
def test_our_own_work_on_a_submission_is_bounded(work, says):
    import grade

    start = time.monotonic()
    limits = grade.Limits(reading=1)
    with pytest.raises(grade.GradingError, match=says):
        grade.bounded(work, limits)
    assert grade.bounded(lambda: {"a": 1}, limits) == {"a": 1}
    assert time.monotonic() - start < 60


def test_marks_and_feedback_are_written_for_nobody_else(graded):
    rows, into, _ = graded
    assert into.stat().st_mode & 0o077 == 0
    table = (into / "grades.csv").read_text(encoding="utf-8-sig").splitlines()
    assert not any(line.startswith(("=", '"=')) or "\x1b" in line for line in table)
    assert len(table) == len(rows) + 1
    assert table[0].startswith("learner,points,of,kl/")
    page = (into / "feedback" / "ben, who left it empty" / "kl.html").read_text()
    assert "kl_to_prior: not attempted" in page
    assert "Hello" in page
    assert "<script>alert" not in page
    assert "click" in page
    assert 'href="javascript' not in page


def test_the_folder_of_submissions_is_open_again_afterwards(tmp_path):
    from grade import closed

    tmp_path.chmod(0o755)
    with closed(tmp_path):
        assert tmp_path.stat().st_mode & 0o077 == 0
    assert tmp_path.stat().st_mode & 0o777 == 0o755


@pytest.mark.soak
def test_every_chapter_from_end_to_end(tmp_path):
    """All points, none, and a half, in every chapter."""
    import grade

    chapters = [c.name for c in grade.chapters() if c.exercises]
    half = {}
    for chapter in chapters:
        every = list(solutions(chapter))
        half[chapter] = every[: len(every) // 2]
        for learner, solved in (("all", every), ("none", ()), ("half", half[chapter])):
            put(tmp_path / "in", learner, notebook(chapter, solved), f"{chapter}.ipynb")
    rows = grade.grade(
        tmp_path / "in", tmp_path / "out", only=[], seed=11,
        how=grade.isolation(allow_none=True), limits=grade.Limits(),
    )  # fmt: skip
    found = {row["learner"]: row for row in rows}
    assert found["all"]["points"] == found["all"]["of"] > 50
    assert found["none"]["points"] == 0
    for chapter in chapters:
        for name in solutions(chapter):
            got = found["half"][f"{chapter}/{name}"]
            assert got == (found["all"][f"{chapter}/{name}"] if name in half[chapter] else 0), name
