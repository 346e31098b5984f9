"""`make chapter`: what it refuses, and that what it writes passes the tests as it stands."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from chapters import ROOT, chapters

# Of the repository, what a new chapter is a part of or what looks at it.
PARTS = (".ci", "benchmarks", "book", "grading", "tests", "vaelib", "learner")
FILES = ("_config.yml", "_toc.yml", "pyproject.toml", "Makefile", "LICENSE", "NOTICE")


@pytest.fixture
def copy(tmp_path):
    """A copy of the repository in which a chapter `flows` has its layer, and nothing else."""
    for name in PARTS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*(ROOT / name for name in FILES), *ROOT.glob("*.md")]:
        shutil.copy(path, tmp_path)
    contract = tmp_path / "pyproject.toml"
    text, count = re.subn(
        r'(?m)^    "reparam",$', r'    "flows",\n    "reparam",', contract.read_text()
    )
    assert count == 1
    contract.write_text(text)
    return tmp_path


def run(copy, *command):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(copy), str(copy / "tests")])}
    found = subprocess.run(
        [sys.executable, *command], cwd=copy, env=environment, capture_output=True, text=True
    )
    return found.returncode, found.stdout + found.stderr


def pytest_of(*paths):
    return ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:nbval", *paths)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", r"a name of small letters alone, got ''.*make chapter NAME=flows"),
        ("Flows", "small letters alone, got 'Flows'"),
        ("two2", "small letters alone, got 'two2'"),
        ("auto-flow", "small letters alone, got 'auto-flow'"),
        ("lambda", "small letters alone, got 'lambda'"),
        ("elbo", "there is book/elbo.ipynb and vaelib/elbo.py .*choose another name"),
        ("notation", "there is book/notation.md already"),
        ("train", "vaelib/train"),
        ("exercise", "vaelib/course/checks/exercise.py already"),
        ("waves", 'vaelib.waves has no layer yet. Write the line "waves" .* in pyproject.toml'),
    ],
)
def test_a_name_that_cannot_be_a_chapter_is_refused(name, says, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    import chapter

    with pytest.raises(ValueError, match=says):
        chapter.require_name(name)


def test_what_is_written_passes_its_own_tests(copy):
    code, said = run(
        copy, "-c", "import sys; sys.path[0] = '.ci'; from chapter import *; write('flows')"
    )
    assert code == 0, said
    written = [path for path in copy.rglob("*flows*") if "__pycache__" not in path.parts]
    assert len(written) == 6
    for path in written:
        assert not re.search("(?i)sketch", path.read_text()), path
        assert re.search("(?i)to be replaced", path.read_text()), path
    before = f"- file: book/{chapters()[-1].name}\n"
    assert f"{before}      - file: book/flows\n" in (copy / "_toc.yml").read_text()
    row = "| [`vaelib.flows`](api/flows.md) | Flows |\n"
    assert row + "\n## What everything" in (copy / "book" / "api.md").read_text()
    assert "- file: book/api/flows\n" in (copy / "_toc.yml").read_text()
    # One process for all of its tests: each costs the imports of torch and of vaelib's checks.
    files = ("flows", "api_pages", "checks")
    code, said = run(
        copy,
        *pytest_of(*(f"tests/test_{name}.py" for name in files), "vaelib/flows.py"),
        *("--doctest-modules", "--jaxtyping-packages=vaelib.flows,beartype.beartype"),
        *("-k", "flows or its_page or every_exercise", "-m", "not soak"),
    )
    assert code == 0, said
    count = int(re.search(r"(\d+) passed", said)[1])
    assert count >= 16, said
    assert re.search(r"flows_posterior_mean +9 +9 +8 +3", said)


@pytest.mark.soak
def test_all_that_looks_at_chapters_passes_at_once(copy):
    """As `make chapter NAME=flows` and `make test` do it; the site is not looked at here."""
    code, said = run(copy, ".ci/chapter.py", "flows")
    assert code == 0, said
    for names in (["ruff", "format", "mypy", "imports", "spelling", "doctest", "book"], ["nbval"]):
        only = ["--paths", "book/flows.ipynb"] if names == ["nbval"] else []
        code, said = run(copy, ".ci/checks.py", *names, *only)
        assert code == 0, said
    files = ("course", "exercises", "notebooks", "learner", "checks", "sabotage", "flows")
    code, said = run(
        copy, *pytest_of(*(f"tests/test_{name}.py" for name in files), "-m", "not soak")
    )
    assert code == 0, said
