"""What a reader meets on a chapter's page: prose, open code, pictures, and how long all that takes.

    python book/page.py          a table of all chapters, and what is over the budget

The budget is what keeps a chapter a page to read: code in the open is the idea and nothing else,
checks are folded behind one line each, and pictures carry the sections. `.ci/notebooks.py` writes
the minutes and the number of checks that are counted here into the page itself.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import nbformat

FOLDS = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
SHUT = {"hide-cell", "hide-output", "remove-cell", "remove-output"}
EXERCISE = {"answer", "check", "graded", "explanation"}
# Sections that need no picture: work, and what comes after the story.
TASK = re.compile(r"\([\w-]+\)=\n### Exercise \d")  # the text of one, wherever it stands
ASIDE = re.compile(r"(exercises|summary|further reading|for the curious)\b", re.IGNORECASE)

WORDS_A_MINUTE, SECONDS_A_LINE, SECONDS_A_FIGURE = 220, 6, 60
MOST = {"words": 3000, "code": 180, "longest": 20, "wide": 12, "asserts": 0, "printed": 15}
LEAST_PICTURES, FIRST_PICTURE = 8, 3  # how many, and within how many cells the first stands


class Section(NamedTuple):
    """What stands under a heading of level two; the opening is the first, without a heading."""

    title: str
    anchor: str
    words: int
    lines: int
    pictures: int
    live: int

    @property
    def minutes(self) -> float:
        """To read it, with its visible code, and to try its live figures."""
        seconds = SECONDS_A_LINE * self.lines + SECONDS_A_FIGURE * self.live
        return self.words / WORDS_A_MINUTE + seconds / 60


class Page(NamedTuple):
    """A chapter's page by its numbers, exercises and folded parts aside."""

    words: int
    code: int  # visible lines
    longest: int  # lines of the longest visible cell
    wide: int  # visible lines of more than 60 characters
    asserts: int  # assertions in the open
    printed: int  # visible lines that print
    first: int | None  # the cell in which the first picture stands, counted from 1
    sections: tuple[Section, ...]
    claims: int  # assertions of the whole page
    checks: int  # cells that hold them, all of them folded

    @property
    def pictures(self) -> int:
        """Still and live ones."""
        return sum(section.pictures + section.live for section in self.sections)

    @property
    def minutes(self) -> int:
        """To read the page, exercises aside."""
        return round(sum(section.minutes for section in self.sections))

    def over(self) -> list[str]:
        """What is beyond the budget, each in words."""
        found = [
            f"{key}: {getattr(self, key)}, at most {most}"
            for key, most in MOST.items()
            if getattr(self, key) > most
        ]
        if self.pictures < LEAST_PICTURES:
            found.append(f"pictures: {self.pictures}, at least {LEAST_PICTURES}")
        if self.first is None or self.first > FIRST_PICTURE:
            found.append(f"the first picture stands in cell {self.first}, at most {FIRST_PICTURE}")
        bare = [s.title for s in self.sections if s.title and not s.pictures + s.live]
        found += [f"no picture in: {title}" for title in bare if not ASIDE.match(title)]
        return found


def tags(cell: Any) -> set[str]:
    """The tags of a cell."""
    return set(cell.metadata.get("tags", []))


def assertions(source: str) -> list[ast.AST]:
    """What can fail in some code: ``assert``, and calls such as ``assert_close``."""
    return [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assert)
        or (isinstance(node, ast.Call) and re.search(r"(^|\.)assert_\w+$", ast.unparse(node.func)))
    ]


def visible(text: str) -> str:
    """Markdown as it is read: without what is folded, addresses, directives and formulas."""
    kept: list[str] = []
    open_fences: list[tuple[str, bool]] = []
    lines = text.split("\n")
    for number, line in enumerate(lines):
        fence = re.match(r"\s*(:{3,}|`{3,})\s*(.*)", line)
        if fence and fence[2]:
            options = [*_options(lines[number + 1 :])]
            folded = "{dropdown}" in fence[2] or any(
                re.match(r":class:.*\bdropdown\b", option) for option in options
            )
            open_fences.append((fence[1], folded))
        elif fence and open_fences and open_fences[-1][0] == fence[1]:
            open_fences.pop()
        elif not any(folded for _, folded in open_fences) and not re.match(r"\s*:[\w-]+:", line):
            kept.append(line)
    text = "\n".join(kept)
    text = re.sub(r"\$\$.*?\$\$", " ", text, flags=re.DOTALL)
    text = re.sub(r"\$[^$\n]*\$", " x ", text)  # a formula in a line is read as a word
    text = re.sub(r"(?m)^\([\w-]+\)=$", " ", text)
    return re.sub(r"\]\([^)]*\)|\{[\w:]+\}", " ", text)


def _options(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not re.match(r":[\w-]+:", line):
            return
        yield line


def measure(notebook: nbformat.NotebookNode) -> Page:
    """The numbers of a chapter's page."""
    n = dict.fromkeys(("words", "code", "longest", "wide", "asserts", "printed"), 0)
    n |= {"claims": 0, "checks": 0}
    first, seen, aside = None, 0, False
    sections = [{"title": "", "anchor": "", "words": 0, "lines": 0, "pictures": 0, "live": 0}]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            # A cell may hold several headings: each begins a section.
            parts = re.split(r"(?m)^(?:\(([\w-]+)\)=\n)?## +(.+)$", cell.source)
            texts = [(None, None, parts[0]), *zip(*[iter(parts[1:])] * 3, strict=True)]
            for anchor, title, text in texts:
                if title is not None:
                    aside = title.lower().startswith("exercises")
                    sections.append(
                        dict.fromkeys(("words", "lines", "pictures", "live"), 0)
                        | {"title": title.strip(), "anchor": anchor or ""}
                    )
                sections[-1]["pictures"] += len(re.findall(r"!\[|\{figure\}|\{image\}", text))
                words = len(re.findall(r"\w[\w'’-]*", visible(f"{title or ''}\n{text}")))
                if not aside and not TASK.match(text):
                    n["words"] += words
                    sections[-1]["words"] += words
            shows = False
        elif cell.cell_type == "code":
            own, source = tags(cell), cell.source
            drawn = [_drawn(output) for output in cell.outputs if not own & SHUT]
            sections[-1]["live"] += drawn.count("live")
            sections[-1]["pictures"] += drawn.count("still")
            shows = any(drawn)
            if not own & EXERCISE:
                found = assertions(source)
                n["claims"] += len(found)
                n["checks"] += bool(found)
                if not own & FOLDS and not aside:
                    lines = [line for line in source.split("\n") if line.strip()]
                    n["code"] += len(lines)
                    n["longest"] = max(n["longest"], len(lines))
                    n["wide"] += sum(len(line) > 60 for line in lines)
                    n["asserts"] += len(found)
                    n["printed"] += _printing(source)
                    sections[-1]["lines"] += len(lines)
        seen += not aside
        if shows and first is None:
            first = seen
    return Page(**n, first=first, sections=tuple(Section(**section) for section in sections))


MINUTES = re.compile(
    r"(\*\*It takes\*\* about )\d+( minutes to read)(, and \d+ for the exercises)?"
)
CHECKS = re.compile(r"(This page checks \*\*)\d+(\*\* claims in \*\*)\d+(\*\* folded cells)")


def fill(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Write into a page what is counted: its minutes, those of its exercises, and its checks."""
    page = measure(notebook)
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    exercises = [re.findall(r"(?m)^\*(\d+) minutes,", cell.source) for cell in prose]
    work = sum(int(minutes) for found in exercises for minutes in found)
    besides = f", and {work} for the exercises" if work else ""
    for cell in prose:
        cell.source = MINUTES.sub(rf"\g<1>{page.minutes}\g<2>{besides}", cell.source)
        cell.source = CHECKS.sub(rf"\g<1>{page.claims}\g<2>{page.checks}\g<3>", cell.source)
    return notebook


def _drawn(output: Any) -> str | None:
    """Whether an output is a live figure, a still picture or neither."""
    kinds = " ".join(output.get("data", {}))
    return "live" if "widget-view" in kinds else "still" if "image/" in kinds else None


def _printing(source: str) -> int:
    """How many lines of some code print."""
    lines: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and re.search(
            r"(^|\.)(print|display)$", ast.unparse(node.func)
        ):
            lines |= {*range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return len(lines)


def main() -> int:
    """Print a line for each chapter, and what is over its budget."""
    from chapters import chapters

    over = []
    columns = ("words", "code", "longest", "wide", "asserts", "printed", "pictures", "first")
    columns += ("minutes", "claims", "checks")
    print(f"{'chapter':<12}" + "".join(f"{name:>9}" for name in columns))
    for chapter in chapters():
        page = measure(nbformat.read(chapter.path, as_version=4))
        print(f"{chapter.name:<12}" + "".join(f"{getattr(page, name)!s:>9}" for name in columns))
        over += [f"{chapter.name}: {words}" for words in page.over()]
    print("\n".join(["", *over]))
    return bool(over)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    sys.exit(main())
