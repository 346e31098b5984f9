"""Write learner/book/*.ipynb: the chapters without solutions, as plain Markdown, for Colab.

    make learner                 writes them
    python grading/learner.py --check    says which are stale, and writes nothing

nbgrader takes out solutions and hidden tests (its metadata stand in the chapters); the checks that
stand behind the page stay there, and what MyST adds to Markdown is turned into what Colab, Jupyter
and a git host show.
"""

import logging
import os
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import nbformat
import yaml
from nbgrader.converters import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from pybtex.database import parse_file
from pybtex.richtext import Text
from traitlets.config import Config

# nbgrader starts alembic by its bare name: that of this environment, activated or not.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
from chapters import ROOT, chapters

RELEASE = ROOT / "learner" / "book"
ASSIGNMENT = "book"  # one assignment, a notebook for each chapter: the paths are those of the book

INSTALL = """\
# Run this first. It installs vaelib where it is missing, as on Colab; nothing else is replaced.
import importlib.util

if importlib.util.find_spec("vaelib") is None:
    {install}"""
NO_ADDRESS = """\
raise ModuleNotFoundError(
        "vaelib is not installed in this Python. In the folder of the course, run: "
        "pip install '.[course]'"
    )"""
COPY = "*This is the learner's copy of a chapter: everything runs"
EXERCISES = """\
, and the exercises near the end are yours to fill in. Each is followed by a cell that checks it. \
Until you write something, that cell says "not attempted"."""


def repository() -> str:
    """The repository's address, or "" as long as nobody has set it (make repo URL=…)."""
    return yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]


def release(paths: list[Path], course: Path, *, gradebook: bool = True) -> Path:
    """nbgrader's release of the notebooks, made in the folder `course`: solutions taken out.

    With a gradebook in it, for grading; it takes longer than all the rest.
    """
    source = course / "source" / ASSIGNMENT
    source.mkdir(parents=True)
    for path in paths:
        shutil.copy(path, source / path.name)
    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.assignment_id = ASSIGNMENT
    config.CourseDirectory.db_url = f"sqlite:///{course}/gradebook.db"
    config.GenerateAssignment.create_assignment = True
    config.GenerateAssignment.no_database = not gradebook
    config.SaveCells.enabled = gradebook
    logging.getLogger("traitlets").setLevel(logging.ERROR)
    GenerateAssignment(coursedir=CourseDirectory(config=config), config=config).start()
    return course / "release" / ASSIGNMENT


def for_learners(notebook: nbformat.NotebookNode, chapter: str) -> nbformat.NotebookNode:
    """The released notebook in plain Markdown, with an install cell; nbgrader's metadata stay."""
    url = repository()
    install = f'%pip install --quiet "vaelib[course] @ git+{url}"' if url else NO_ADDRESS
    cited: list[str] = []
    sets = any(cell.metadata.get("nbgrader") for cell in notebook.cells)
    cells = [
        nbformat.v4.new_markdown_cell(f"{COPY}{EXERCISES if sets else '.'}*"),
        nbformat.v4.new_code_cell(INSTALL.format(install=install)),
    ]
    for cell in notebook.cells:
        if {"explanation", "checked"} & {*cell.metadata.get("tags", [])}:
            continue
        caption = cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")
        if cell.cell_type == "markdown":
            cell.source = plain(cell.source, chapter, cited)
        grading = cell.metadata.get("nbgrader")
        cell.metadata = nbformat.from_dict({"nbgrader": grading} if grading else {})
        cells.append(cell)
        if caption:
            cells.append(nbformat.v4.new_markdown_cell(f"*{plain(caption, chapter, cited)}*"))
    if cited:
        listed = "\n".join(f"- {_reference(key)}" for key in sorted(set(cited)))
        cells.append(nbformat.v4.new_markdown_cell(f"## References\n\n{listed}"))
    for number, cell in enumerate(cells):
        cell["id"] = f"learner-{number:03}"
    notebook.cells = cells
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def plain(text: str, chapter: str, cited: list[str]) -> str:
    """MyST as plain Markdown; the keys of cited works are added to `cited`."""
    text = re.sub(r"(?m)^% .*\n?", "", text)  # MyST's comments
    text = re.sub(r"(?m)^This page checks .*\n?", "", text)  # the checks are not in the copy
    text = re.sub(r"(?m)^\(([\w-]+)\)=$", r'<a id="\1"></a>', text)
    text = re.sub(r"\{cite:([pt])\}`([^`]+)`", lambda m: _cite(m[1], m[2], cited), text)
    text = re.sub(r"\{term\}`([^`<]+?)(?: *<[^`]*>)?`", r"\1", text)
    text = re.sub(r"\{py:\w+\}`~?([^`]+)`", r"`\1`", text)
    stems = "|".join(chapter.name for chapter in chapters())
    text = re.sub(rf"\]\(((?:{stems})-[\w-]+)\)", lambda m: _link(m[1], chapter), text)
    text = re.sub(r"\[([^\]]*)\]\(fig-[\w-]+\)", r"\1", text)  # figures have no anchors here
    text = re.sub(r"\]\((\w+\.md)(#[\w-]+)?\)", lambda m: f"]({_page(m[1])}{m[2] or ''})", text)
    return _boxes(text.split("\n")).strip("\n")


def _boxes(lines: list[str]) -> str:
    """`:::{admonition}` as a quotation with a bold title; with the class dropdown, folded."""
    out: list[str] = []
    while lines:
        line = lines.pop(0)
        opened = re.match(r"(:{3,})\{admonition\} (.*)", line)
        if not opened:
            out.append(line)
            continue
        end = lines.index(opened[1])
        body, lines = lines[:end], lines[end + 1 :]
        folded = False
        while body and re.match(r":\w+:", body[0]):
            folded |= "dropdown" in body.pop(0)
        inner = _boxes(body).strip("\n")
        if folded:
            out += [f"<details><summary>{opened[2]}</summary>", "", inner, "", "</details>"]
        else:
            quoted = [f"> {row}".rstrip() for row in inner.split("\n")]
            out += [f"> **{opened[2]}**", ">", *quoted]
    return "\n".join(out)


def _link(target: str, chapter: str) -> str:
    """A link to an anchor: in this notebook, or in its neighbour (which works in Colab too)."""
    other = target.split("-")[0]
    return f"](#{target})" if other == chapter else f"]({other}.ipynb#{target})"


def _page(name: str) -> str:
    url = repository()
    return f"{url}/blob/main/book/{name}" if url else f"../../book/{name}"


@cache
def _works() -> dict:
    return parse_file(ROOT / "book" / "references.bib").entries


def _cite(kind: str, keys: str, cited: list[str]) -> str:
    works = []
    for key in (key.strip() for key in keys.split(",")):
        cited.append(key)
        people = ["".join(map(str, p.rich_last_names)) for p in _works()[key].persons["author"]]
        names = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
        year = _works()[key].fields["year"]
        works.append(f"{names} ({year})" if kind == "t" else f"{names} {year}")
    return "; ".join(works) if kind == "t" else f"({'; '.join(works)})"


def _reference(key: str) -> str:
    entry = _works()[key]
    field = {name: str(Text.from_latex(value)) for name, value in entry.fields.items()}
    people = [
        " ".join(
            str(n)
            for n in [
                *p.rich_first_names,
                *p.rich_middle_names,
                *p.rich_prelast_names,
                *p.rich_last_names,
            ]
        )
        for p in entry.persons["author"]
    ]
    if "howpublished" in field:
        field["howpublished"] = re.sub(r"\\url\s*", "", field["howpublished"])
    kinds = ("journal", "booktitle", "publisher", "howpublished", "archiveprefix")
    where = next((field[kind] for kind in kinds if kind in field), "")
    if "eprint" in field:
        where = f"{where}, arXiv:{field['eprint']}" if where else f"arXiv:{field['eprint']}"
    return f"{', '.join(people)}. {field['title']}. {where}{', ' if where else ''}{field['year']}."


def build() -> dict[str, str]:
    """The text of each learner's notebook by file name."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [chapter.path for chapter in chapters()]
        released = release(paths, Path(folder), gradebook=False)
        found = {}
        for path in sorted(released.glob("*.ipynb")):
            notebook = for_learners(nbformat.read(path, as_version=4), path.stem)
            found[path.name] = nbformat.writes(notebook) + "\n"
    return found


def main(arguments: list[str]) -> int:
    wanted = build()
    present = {p.name: p.read_text() for p in RELEASE.iterdir()} if RELEASE.exists() else {}
    stale = sorted(n for n in wanted.keys() | present.keys() if wanted.get(n) != present.get(n))
    if "--check" in arguments:
        print(
            "stale: " + ", ".join(stale) + "; run make learner"
            if stale
            else "learner/ is up to date"
        )
        return int(bool(stale))
    shutil.rmtree(RELEASE.parent, ignore_errors=True)
    RELEASE.mkdir(parents=True)
    for name, text in wanted.items():
        (RELEASE / name).write_text(text)
    print(f"wrote {len(wanted)} notebooks into learner/book ({len(stale)} changed)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
