"""Write the frame of a new chapter: make chapter NAME=flows.

The files of `.ci/sketch`, with the new name for the word "sketch": a notebook with its exercise,
the module that it imports, their checks, wrong answers and tests. What they say is an example,
small and true; each says what is to be replaced. The notebook is run, and the chapter enters
`_toc.yml`, the page of the package, README and the learner's copies: `make test` passes at once.

The layer of the module is a decision, so it is asked for: a line in `pyproject.toml`.
"""

import keyword
import re
import subprocess
import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
from chapters import ROOT, chapters

SKETCH = Path(__file__).resolve().parent / "sketch"
FILES = {
    "chapter.ipynb": "book/{}.ipynb",
    "module.py": "vaelib/{}.py",
    "api.md": "book/api/{}.md",
    "checks.py": "vaelib/course/checks/{}.py",
    "wrong_answers.py": "tests/wrong_answers/{}.py",
    "test.py": "tests/test_{}.py",
}
ROW = "| [`vaelib.{name}`](api/{name}.md) | {title} |\n"
# The table of the package's page in which a chapter's module stands.
TABLE = r"(?s)## The mathematics\n.*?\n(?=\n## )"


def layers() -> list[str]:
    """The modules of the package in the order of the contract, the highest first."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    lines = next(c["layers"] for c in contracts["contracts"] if c["containers"] == ["vaelib"])
    return [name.strip() for line in lines for name in line.split("|")]


def require_name(name: str) -> None:
    """A chapter's name is part of an address, a module and a test at once.

    Raises:
        ValueError: if it cannot be all of them, or is one already.
    """
    if not re.fullmatch("[a-z]+", name) or keyword.iskeyword(name):
        raise ValueError(
            f"expected a name of small letters alone, got {name!r}: it becomes an address, a "
            "module and a test; say make chapter NAME=flows"
        )
    taken = [*(path.format(name) for path in FILES.values()), f"vaelib/{name}", f"book/{name}.md"]
    there = [path for path in taken if (ROOT / path).exists()]
    if there:
        raise ValueError(f"there is {' and '.join(there)} already; choose another name")
    if name not in layers():
        raise ValueError(
            f'vaelib.{name} has no layer yet. Write the line "{name}" into the first list of '
            "layers in pyproject.toml, below all that may import it and above all that it "
            "imports, and call make chapter again"
        )


def write(name: str) -> list[Path]:
    """The files, and the chapter's lines in the lists of pages."""
    known = chapters()
    first = next(chapter.name for chapter in known if chapter.modules)
    paths = []
    for source, target in FILES.items():
        text = (SKETCH / source).read_text().replace("FIRST", first)
        path = ROOT / target.format(name)
        path.write_text(text.replace("sketch", name).replace("Sketch", name.capitalize()))
        paths.append(path)
    # Imports are sorted by their names, and the name is new.
    for words in (["check", "--quiet", "--fix", "--select", "I"], ["format", "--quiet"]):
        subprocess.run([Path(sys.executable).parent / "ruff", *words, *paths], cwd=ROOT, check=True)
    toc = ROOT / "_toc.yml"
    last = f"      - file: book/{known[-1].name}\n"
    toc.write_text(toc.read_text().replace(last, f"{last}      - file: book/{name}\n"))
    page = ROOT / "book" / "api.md"
    table = re.search(TABLE, page.read_text())[0]
    row = ROW.format(name=name, title=name.capitalize())
    page.write_text(page.read_text().replace(table, table + row))
    last = re.findall(r"api/(\w+)\.md", table)[-1]
    line = f"          - file: book/api/{last}\n"
    toc.write_text(toc.read_text().replace(line, line + line.replace(f"/{last}", f"/{name}")))
    return [*paths, toc, page]


def main(name: str) -> int:
    try:
        require_name(name)
    except ValueError as error:
        print(f"no chapter written: {error}")
        return 2
    written = write(name)
    for command in ([".ci/notebooks.py", name], ["book/chapters.py"], ["grading/learner.py"]):
        if subprocess.run([sys.executable, *command], cwd=ROOT).returncode:
            print(f"stopped at {command[0]}; what was written is there, see git status")
            return 1
    print("wrote " + ", ".join(str(path.relative_to(ROOT)) for path in written))
    print("make test passes now. Replace the example, then make notebooks ONLY=" + name)
    return 0


if __name__ == "__main__":
    sys.exit(main("".join(sys.argv[1:])))
