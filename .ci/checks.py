"""Everything that `make test` checks, in order, ending in one summary line.

Each check prints its own output and is counted as tests that passed, failed or were skipped: pytest
by its own count, any other tool as one. `--strict` (CI) turns a skip into a failure; `--soak` runs
what takes longer; names as arguments run only those checks.
"""

import argparse
import compileall
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
from chapters import ROOT, chapters

RESULTS = ROOT / "_build" / "results"
BIN = Path(sys.executable).parent
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
WITHOUT_NBVAL = ["-p", "no:nbval"]  # whose import takes seconds: it makes a parser of grammars
# jaxtyping's import hook switches beartype on for every function of the package.
TYPED = ["--jaxtyping-packages=vaelib,beartype.beartype"]
# Chapters that train for minutes run beside the others.
SLOW = {f"nbval-{chapter.name}": [chapter.path] for chapter in chapters() if chapter.slow}
NBVAL = SLOW | {"nbval": [chapter.path for chapter in chapters() if not chapter.slow]}
# What nbval may rewrite before it compares: addresses, and pictures, whose last digits depend on
# the processor; what a picture shows is checked by the cell behind it.
SANITIZE = ROOT / "tests" / "nbval.cfg"


# Where a check's output goes: of one that runs beside another it is shown when that has ended.
OUTPUT: ContextVar[Any] = ContextVar("OUTPUT", default=None)


class Result(NamedTuple):
    passed: int
    failed: int
    skipped: list[str]


def tool(*command: str) -> Result:
    """A command that either passes or fails."""
    code = _run([str(part) for part in command], dict(os.environ))
    return Result(int(code == 0), int(code != 0), [])


def _run(command: list[str], environment: dict[str, str]) -> int:
    if TOGETHER.is_set():  # two checks on two cores: threads of both would fight for them
        environment["OMP_NUM_THREADS"] = "1"
    out = OUTPUT.get()
    return subprocess.run(
        command, cwd=ROOT, env=environment, stdout=out, stderr=out and subprocess.STDOUT
    ).returncode


def pytest(name: str, *arguments: str) -> Result:
    """A pytest run, counted by its own report; a crash without a report is a failure."""
    report = RESULTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    command = [*PYTEST, f"--junit-xml={report}", *arguments]
    # ROOT: processes that tests start shall import this vaelib, and not one that is installed.
    code = _run(
        command, os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    )
    if not report.exists():
        return Result(0, 1, [])
    suite = ET.parse(report).getroot().find("testsuite")
    total, bad = int(suite.get("tests")), int(suite.get("failures")) + int(suite.get("errors"))
    skips = [s.get("message") for s in suite.iter("skipped")]
    if code and not bad:  # nothing collected, or pytest itself failed
        bad, total = 1, total + 1
    return Result(total - bad - len(skips), bad, skips)


def unit(paths: list[str]) -> Result:
    options = [*WITHOUT_NBVAL, *TYPED, "--ignore=tests/browser", "-m", "not soak"]
    return pytest("unit", *options, *(paths or ["tests"]))


def nbval(name: str, paths: list[str]) -> Result:
    options = ["--nbval", f"--nbval-sanitize-with={SANITIZE}", "--nbval-cell-timeout=300"]
    # pyproject turns warnings of our own tests into errors; nbval's are not ours.
    return pytest(name, *options, "-W", "ignore", *(paths or NBVAL[name]))


def spelling(paths: list[str]) -> Result:
    """codespell over the words of the chapters (no code, no pictures) and of all the rest."""
    folder = ROOT / "_build" / "prose"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in (ROOT / "book").glob("*.ipynb"):
        content = json.loads(path.read_text())
        words = [
            "".join(cell["source"])
            if cell["cell_type"] == "markdown"
            else json.dumps(cell["metadata"].get("mystnb", {}), ensure_ascii=False)
            for cell in content["cells"]
        ]
        words.append(json.dumps(content["metadata"].get("chapter", {}), ensure_ascii=False))
        (folder / f"{path.stem}.md").write_text("\n\n".join(words))
    everything = [folder, *(ROOT / "book").glob("**/*.md"), *ROOT.glob("*.md"), "vaelib", "tests"]
    return tool(BIN / "codespell", *(paths or everything))


CHECKS = {
    "ruff": lambda _: tool(BIN / "ruff", "check", "."),
    "format": lambda _: tool(BIN / "ruff", "format", "--check", "."),
    "mypy": lambda _: tool(BIN / "mypy"),
    "imports": lambda _: tool(BIN / "lint-imports", "--no-cache"),
    "spelling": spelling,
    "unit": unit,
    # vaelib.checks is another module's old name: imported, it is not the file that pytest collects.
    "doctest": lambda _: pytest(
        *("doctest", *WITHOUT_NBVAL, "--doctest-modules", "--ignore=vaelib/checks.py", "vaelib")
    ),
    **{name: partial(nbval, name) for name in NBVAL},
    "book": lambda _: tool(sys.executable, ".ci/book.py"),
    "site": lambda paths: pytest(
        *("site", *WITHOUT_NBVAL, "-m", "not soak", *(paths or ["tests/browser"]))
    ),
}
SOAK = {
    "soak": lambda _: pytest("soak", *WITHOUT_NBVAL, *TYPED, "-m", "soak", "tests"),
    "sabotage": lambda _: tool(sys.executable, "tests/sabotage.py"),
}


# These run two at a time, on one core each: threads of torch would fight for the same ones, and
# three at a time took longer (17.7 minutes for 16.5). The long ones first, and so the many chapters
# before each slow one: no core shall wait for the other.
LANES = (
    *(("unit",), ("book", "site")),
    *((name,) for name in reversed(NBVAL)),
    *(("mypy",), ("doctest",)),
)
TOGETHER = threading.Event()


def run_check(name: str, check, paths: list[str]) -> Result:
    """One check with its heading and its time, wherever the output goes."""
    out = OUTPUT.get()
    print(f"\n=== {name} ===", file=out, flush=True)
    start = time.perf_counter()
    try:
        result = check(paths)
    except Exception as error:  # of a tool that is missing, say
        print(repr(error), file=out, flush=True)
        result = Result(0, 1, [])
    print(f"--- {name}: {time.perf_counter() - start:.0f} s", file=out, flush=True)
    return result


def run_lane(checks: list[tuple[str, Callable]], paths: list[str]) -> list[tuple[str, Result]]:
    """Some checks, one after another; what they print appears when the last has ended."""
    with tempfile.TemporaryFile("w+") as file:
        token = OUTPUT.set(file)
        results = [(name, run_check(name, check, paths)) for name, check in checks]
        OUTPUT.reset(token)
        file.seek(0)
        print(file.read(), end="", flush=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="checks to run; all by default")
    parser.add_argument("--strict", action="store_true", help="a skip is a failure")
    parser.add_argument("--soak", action="store_true", help="run what takes longer")
    parser.add_argument("--paths", nargs="+", default=[], help="what pytest runs, not all")
    parser.add_argument("--list", action="store_true", help="print the names of the checks")
    options = parser.parse_args()
    available = SOAK if options.soak else CHECKS
    if options.list:
        print("\n".join(available))
        return 0
    unknown = set(options.names) - available.keys()
    if unknown:
        parser.error(f"no check named {sorted(unknown)}; there are {', '.join(available)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    # Once for all processes that tests start; where Python may write no bytecode, each would do it.
    compileall.compile_dir(ROOT / "vaelib", quiet=1)
    passed = failed = 0
    skipped: list[str] = []
    broken: list[str] = []
    chosen = options.names or list(available)
    lanes = [[(n, available[n]) for n in lane if n in chosen] for lane in LANES]
    lanes = [lane for lane in lanes if lane]
    later = {n for lane in lanes for n, _ in lane} if len(lanes) > 1 else set()
    done = [(n, run_check(n, available[n], options.paths)) for n in chosen if n not in later]
    if later:
        TOGETHER.set()
        with ThreadPoolExecutor(2) as pool:
            for results in pool.map(run_lane, lanes, itertools.repeat(options.paths)):
                done += results
    for name, result in done:
        passed, failed = passed + result.passed, failed + result.failed
        skipped += result.skipped
        if result.failed or (options.strict and result.skipped):
            broken.append(name)
    print()
    if broken:
        print(f"checks that did not pass: {', '.join(broken)}")
    # The one line that sums up. With nothing skipped it has no more on it, for tools that read it.
    reasons = "; ".join(f"{skipped.count(r)} x {r}" for r in dict.fromkeys(skipped))
    print(
        f"total: {passed} passed, {failed} failed, {len(skipped)} skipped"
        + (f" ({reasons})" if reasons else "")
    )
    return int(bool(broken) or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
