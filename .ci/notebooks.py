"""Run the chapters in the order of _toc.yml, each on a fresh kernel, and store normalized outputs.

Normalized: what changes from run to run although nothing changed (cell ids, time stamps, the
kernel's version) is made constant, so that a diff shows only what did change. What is counted on a
page (`book/page.py`) is written into it.
"""

import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "book"))
from chapters import ROOT, chapters
from page import fill

KEPT_METADATA = {"chapter", "widgets"}
KEPT_CELL_METADATA = {"tags", "mystnb", "nbgrader", "slideshow"}


def normalize(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Drop what no reader sees and every run changes; number the cells."""
    notebook = name_widgets(notebook)
    kept = {key: notebook.metadata[key] for key in KEPT_METADATA & notebook.metadata.keys()}
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
        | kept
    )
    for number, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
        cell["id"] = f"cell-{number:03}"
        cell.metadata = nbformat.from_dict(
            {key: cell.metadata[key] for key in sorted(cell.metadata) if key in KEPT_CELL_METADATA}
        )
        page = cell.metadata.get("mystnb", {})
        if "code_prompt_show" in page:  # a fold is called the same, shut and open
            page["code_prompt_hide"] = page["code_prompt_show"]
    return fill(notebook)


def name_widgets(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Widgets get random names at each run: number them, in the order in which they were made."""
    text = nbformat.writes(notebook)
    for stored in notebook.metadata.get("widgets", {}).values():
        for number, name in enumerate(stored["state"]):
            text = text.replace(name, f"{number:032x}")
    return nbformat.reads(text, as_version=4)


def merge_streams(outputs: list) -> list:
    """What a cell prints arrives in pieces whose borders depend on timing: make it one piece."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == "stream" and output.get("name") == last.get("name"):
            last.text += output.text
        else:
            merged.append(output)
    return merged


def main(names: list[str]) -> int:
    unknown = set(names) - {chapter.name for chapter in chapters()}
    if unknown:
        print(f"no chapter named {', '.join(sorted(unknown))} in _toc.yml")
        return 2
    for path in [chapter.path for chapter in chapters() if not names or chapter.name in names]:
        start = time.perf_counter()
        notebook = nbformat.read(path, as_version=4)
        # store_widget_state keeps figures alive on the static page.
        client = NotebookClient(
            notebook, timeout=600, kernel_name="python3", store_widget_state=True
        )
        client.execute(cwd=str(ROOT))
        nbformat.write(normalize(notebook), path)
        print(f"{path.relative_to(ROOT)}: {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
