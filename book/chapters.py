"""The chapters: their order is that of _toc.yml, and what is true of each stands in its notebook.

    make readme     writes the table of README.md

Title, minutes and exercises are read off the notebook's cells. What no cell says stands in its
metadata, under ``chapter``:

    claim       the one sentence that the chapter makes true, in Markdown
    card        the claim in about fifteen words without formulas, for the front page; may be
                missing, and then it is the claim
    needs       chapters to have read before; the opening links to each
    path        targets of the sections that lie on the two-hour path, in their order
    modules     of vaelib, with a file of tests each; first the one of the chapter's name. A
                chapter without a module has its tests in the file of its own name
    slow        whether it trains for minutes: such a chapter is run beside the others
    points      from the tag of a cell to what that cell shows: ``point-…`` a core point, in the
                open, ``folded-…`` one for the curious
    mistakes    tags of cells that run a mistake which public material makes, ``mistake-…``
    exercises   how many of them it has at least

Every table, test and check that goes through the chapters asks ``chapters()``.
"""

import json
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
KEYS = ("card", "claim", "exercises", "mistakes", "modules", "needs", "path", "points", "slow")
README = re.compile(r"(<!-- chapters -->\n).*?(<!-- end of chapters -->\n)", re.DOTALL)


class Exercise(NamedTuple):
    """A function to write, named like its check."""

    name: str
    minutes: int
    points: int


@dataclass(frozen=True)
class Chapter:
    """A notebook of the table of contents; ``name`` is its stem, a module and a test at once."""

    path: Path
    title: str
    minutes: int
    exercises: tuple[Exercise, ...]
    claim: str
    card: str
    needs: tuple[str, ...]
    short_path: tuple[str, ...]
    modules: tuple[str, ...]
    slow: bool
    points: dict[str, str]
    mistakes: tuple[str, ...]
    least_exercises: int

    @property
    def name(self) -> str:
        """What the chapter, its module and its test are called."""
        return self.path.stem


@cache
def chapters(root: Path = ROOT) -> tuple[Chapter, ...]:
    """The chapters, in the order of the table of contents.

    Raises:
        ValueError: if a notebook does not say what has to be known of it.
    """
    toc = yaml.safe_load((root / "_toc.yml").read_text())
    files = [root / f"{entry['file']}.ipynb" for part in toc["parts"] for entry in part["chapters"]]
    return tuple(_read(path) for path in files if path.exists())


def _read(path: Path) -> Chapter:
    notebook = json.loads(path.read_text())
    told = notebook["metadata"].get("chapter", {})
    told.setdefault("path", [])
    told.setdefault("card", told.get("claim"))
    if sorted(told) != [*KEYS]:
        raise ValueError(
            f"{path.name}: expected metadata.chapter with {', '.join(KEYS)}, got "
            f"{', '.join(sorted(told)) or 'nothing'}; book/chapters.py says what each is"
        )
    if re.search(r"[|\n]", told["claim"]):
        raise ValueError(
            f"{path.name}: expected a claim that fits the cell of a table, got a bar or a second "
            f"line in {told['claim']!r}; write \\mid for a bar"
        )
    opening = "".join(
        f"{''.join(cell['source'])}\n\n"
        for cell in notebook["cells"][:4]  # title, imports, the first picture, what to expect
        if cell["cell_type"] == "markdown"
    )
    return Chapter(
        path=path,
        title=_found(path, r"(?m)^# (.+)$", opening, "a title"),
        minutes=int(_found(path, r"\*\*It takes\*\* about (\d+) min", opening, "minutes to read")),
        exercises=tuple(_exercises(path, notebook["cells"])),
        claim=told["claim"],
        card=told["card"],
        needs=tuple(told["needs"]),
        short_path=tuple(told["path"]),
        modules=tuple(told["modules"]),
        slow=told["slow"],
        points=told["points"],
        mistakes=tuple(told["mistakes"]),
        least_exercises=told["exercises"],
    )


def _exercises(path: Path, cells: list[dict[str, Any]]) -> Iterable[Exercise]:
    """An exercise is its text, its answer, a cell that checks, and one that is graded."""
    for index, cell in enumerate(cells):
        if "answer" in cell["metadata"].get("tags", []):
            text, graded = "".join(cells[index - 1]["source"]), cells[index + 2]["metadata"]
            yield Exercise(
                name=cell["metadata"]["nbgrader"]["grade_id"],
                minutes=int(_found(path, r"(?m)^\*(\d+) minutes,", text, "minutes to answer")),
                points=graded["nbgrader"]["points"],
            )


def _found(path: Path, pattern: str, text: str, what: str) -> str:
    match = re.search(pattern, text)
    if not match:
        raise ValueError(f"{path.name}: expected {what}, by {pattern!r}, in {text[:80]!r}")
    return match[1]


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    head = [*head]
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def readme(root: Path = ROOT) -> str:
    """README.md with its table of chapters as it has to be.

    Raises:
        ValueError: if it has no place for one.
    """

    def module(name: str) -> str:
        path = f"vaelib/{name}{'/' if (root / 'vaelib' / name).is_dir() else '.py'}"
        return f"[{path}]({path})"

    def test(name: str) -> str:
        return f"[tests/test_{name}.py](tests/test_{name}.py)"

    rows = [
        (
            f"[{chapter.title}](book/{chapter.name}.ipynb)",
            chapter.claim,
            ", ".join(map(module, chapter.modules)) or "–",
            ", ".join(map(test, chapter.modules or [chapter.name])),
        )
        for chapter in chapters(root)
    ]
    new = table(["chapter", "its claim", "module", "test"], rows)
    text, count = README.subn(
        lambda place: place[1] + new + place[2], (root / "README.md").read_text()
    )
    if count != 1:
        raise ValueError("README.md: expected one place, <!-- chapters --> to <!-- end of … -->")
    return text


if __name__ == "__main__":
    try:
        (ROOT / "README.md").write_text(readme())
    except ValueError as error:
        sys.exit(f"README.md not written: {error}")
    print(f"README.md: {len(chapters())} chapters")
