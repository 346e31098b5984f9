"""Write into CONTRIBUTING.md, between its markers, what vaelib consists of and what imports what.

Both are read where they are decided: a module's first line, and the contract in pyproject.toml.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = re.compile(r"(<!-- tree: make lint writes it -->\n).*?(<!-- end of tree -->\n)", re.DOTALL)


def modules(folder: Path, depth: int = 0) -> Iterator[tuple[str, str]]:
    """Name, indented, and first line of the package in a folder and of all below it."""
    yield f"{'  ' * depth}{folder.name}/", first_line(folder / "__init__.py")
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").exists():
            yield from modules(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{'  ' * (depth + 1)}{path.name}", first_line(path)


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]


def arrows(contract: dict) -> str:
    """The layers, lowest first; what stands beside each other is independent."""
    return " <- ".join(reversed(contract["layers"]))


def written(root: Path = ROOT) -> str:
    """What stands between the markers."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [contract for contract in settings["contracts"] if contract["type"] == "layers"]
    rows = list(modules(root / "vaelib"))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {says}" for name, says in rows]
    lines += [""] + [f"{', '.join(c['containers'])}:  {arrows(c)}" for c in layers]
    return "\n".join(["```text", *lines, "```", ""])


def put(text: str, root: Path = ROOT) -> str:
    """A text with the tree in its place."""
    new, count = PLACE.subn(lambda found: found[1] + written(root) + found[2], text)
    if count != 1:
        raise ValueError(f"expected one pair of the markers {PLACE.pattern!r}, found {count}")
    return new


if __name__ == "__main__":
    path = ROOT / "CONTRIBUTING.md"
    if (new := put(path.read_text())) != path.read_text():
        path.write_text(new)
        sys.stdout.write("CONTRIBUTING.md has the tree of today\n")
