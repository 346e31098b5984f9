"""`.ci/setup` makes the environment once, says what is missing, and tells uv what pip was told.

A script plays Python, pip and uv: it installs nothing and writes down how it was called.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# What fails is named in $FAILS.
PLAYED = """#!/bin/sh
say() { echo "$@" >>"$LOG"; }
fails() { case " $FAILS " in *" $1 "*) echo "$2" >&2; exit 1;; esac; }
case "$(basename "$0") $*" in
  uv*) say "uv $*"; env | grep -E "^(UV_|SSL_)" | sort >>"$LOG"; fails uv "no such index";;
  *"import ensurepip"*) fails venv;;
  *--version) echo "Python 3.11.9";;
  *"-m venv "*) say "venv"; mkdir -p .venv/bin; cp "$0" .venv/bin/python;;
  *"pip install"*" uv=="*) fails uv-itself; cp "$0" .venv/bin/uv;;
  *"pip install"*) say "pip $*"; fails pip "$SAYS";;
esac
"""


@pytest.fixture
def set_up(tmp_path, monkeypatch):
    """Call the set-up of a clone in a folder with a space: what happened, and what was called."""
    clone, played = tmp_path / "a clone", tmp_path / "python"
    (clone / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "setup", clone / ".ci")
    for name in ("requirements.txt", "pyproject.toml"):
        (clone / name).write_text("")
    played.write_text(PLAYED)
    played.chmod(0o755)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)

    def call(fails="", says="", where=clone, **settings):
        log = tmp_path / "log"
        log.write_text("")
        how = {"PYTHON": str(played), "LOG": str(log), "FAILS": fails, "SAYS": says}
        done = subprocess.run(
            [where / ".ci" / "setup"], env=os.environ | how | settings,
            capture_output=True, text=True,
        )  # fmt: skip
        return done, log.read_text().splitlines()

    call.clone = clone
    return call


def test_it_is_done_once_until_what_it_depends_on_changes(set_up, tmp_path):
    done, called = set_up()
    assert done.returncode == 0, done.stderr
    assert "venv" in called
    done, called = set_up()
    assert (done.returncode, done.stdout, called) == (0, "", [])
    (set_up.clone / "requirements.txt").write_text("torch==9.9\n")
    assert "venv" in set_up()[1]
    moved = shutil.move(set_up.clone, tmp_path / "moved")  # scripts hold their absolute path
    assert "venv" in set_up(where=moved)[1]


def test_uv_is_told_what_pip_was_told_and_which_python(set_up):
    done, called = set_up(
        PIP_INDEX_URL="https://one", PIP_EXTRA_INDEX_URL="https://two",
        PIP_CERT="/our/own.pem", PIP_FIND_LINKS="https://links", PIP_FLAGS="--pre --no-cache",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in called if line.startswith("uv ")]
    assert "--python .venv/bin/python" in line
    assert line.endswith("--pre --no-cache -r requirements.txt")
    told = dict(line.split("=", 1) for line in called if line.startswith(("UV_", "SSL_")))
    assert (
        told
        | {
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_DEFAULT_INDEX": "https://one",
            "UV_INDEX": "https://two",
            "SSL_CERT_FILE": "/our/own.pem",
            "UV_FIND_LINKS": "https://links",
        }
        == told
    )
    assert not [line for line in called if line.startswith("pip ")]


def test_of_what_pip_was_not_told_uv_is_not_told(set_up):
    _, called = set_up()
    told = {line.partition("=")[0] for line in called if line.startswith(("UV_", "SSL_"))}
    assert told == {"UV_PYTHON_DOWNLOADS", "UV_NO_CONFIG", "UV_SYSTEM_CERTS"}


@pytest.mark.parametrize("fails", ["uv-itself", "uv"])
def test_where_uv_cannot_be_had_or_fails_pip_does_the_work(set_up, fails):
    done, called = set_up(fails, PIP_FLAGS="--pre")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in called if line.startswith("pip ")]
    assert line.endswith("--pre -r requirements.txt")
    assert set_up()[1] == []


@pytest.mark.parametrize(
    ("fails", "says", "expected"),
    [
        ("venv", "", r"python has no venv module; install it (Debian: apt install python3-venv)"),
        ("uv pip", "Connection refused", "connect to the network (or set PIP_INDEX_URL)"),
        ("uv-itself pip", "a wheel is broken", "details: .venv/pip.log and .venv/uv.log"),
    ],
)
def test_what_is_missing_is_said_and_the_next_call_starts_over(set_up, fails, says, expected):
    done, _ = set_up(fails, says)
    assert done.returncode == 1
    assert done.stderr.startswith("set-up stopped: ")
    assert expected in done.stderr
    done, called = set_up()
    assert done.returncode == 0
    assert "venv" in called


def test_no_two_files_of_tests_share_a_name():
    """`make soak` collects them all in one run, and pytest knows a file by its name alone."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(names) > 100
    assert len(set(names)) == len(names)
