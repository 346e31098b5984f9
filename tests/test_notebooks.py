"""What nbval does not see: that every cell was run, that every picture has words, how cells are
tagged. `vaelib` itself is not needed here: the stored files are the product."""

import ast
import re
from itertools import takewhile

import nbformat
import pytest
from chapters import ROOT, chapters
from page import assertions, tags

from vaelib.course import figures

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
# Cells that train, and those whose output depends on what was trained.
NOT_COMPARED = "nbval-ignore-output"
WIDGET = "application/vnd.jupyter.widget-view+json"


def cells(path, kind="code"):
    notebook = nbformat.read(path, as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == kind and cell.source.strip()]


def each(argument="path"):
    return pytest.mark.parametrize(argument, NOTEBOOKS, ids=lambda p: p.stem)


def test_every_notebook_is_in_the_table_of_contents():
    assert NOTEBOOKS
    assert sorted(chapter.path for chapter in chapters()) == NOTEBOOKS


@each()
def test_what_is_stored_is_normalized(path, monkeypatch):
    """Nothing that every run changes is stored, and nothing that a person wrote gets lost."""
    monkeypatch.syspath_prepend(ROOT / ".ci")
    from notebooks import normalize

    stored = nbformat.read(path, as_version=4)
    assert normalize(nbformat.read(path, as_version=4)) == stored


@each()
def test_every_cell_was_run_in_order_from_a_fresh_kernel(path):
    """A cell whose count is null passes nbval without any comparison."""
    counts = [cell.execution_count for cell in cells(path)]
    assert counts == list(range(1, len(counts) + 1))


@each()
def test_no_cell_holds_an_error_or_a_warning(path):
    for cell in cells(path):
        for output in cell.outputs:
            assert output.output_type != "error", cell.source
            assert output.get("name") != "stderr", cell.source


def not_compared(path):
    """Each cell whose output is not compared, with the checks that follow it directly."""
    every = cells(path)
    for place, cell in enumerate(every):
        if NOT_COMPARED in tags(cell):
            after = takewhile(lambda c: "checked" in tags(c), every[place + 1 :])
            yield cell, [cell, *after]


@each()
def test_what_is_not_compared_is_checked_or_only_drawn(path):
    """Text that depends on training is not compared: this cell or the next asserts what it says.

    The check of an exercise raises where the answer is wrong.
    """
    for cell, checks in not_compared(path):
        if "check" in tags(cell):
            assert re.fullmatch(r"checks\.(\w+)\(\1\)", cell.source)
            continue
        texts = [o for o in cell.outputs if o.output_type == "stream" or "text/html" in o.data]
        if texts:
            found = [node for check in checks for node in assertions(check.source)]
            assert found, f"prints, compares nothing, asserts nothing:\n{cell.source}"


@each()
def test_bands_on_trained_numbers_are_wide_enough(path):
    """A band in nats on what was trained spans at least 3: another BLAS or seed moves it by 1."""
    for source in {check.source for _, checks in not_compared(path) for check in checks}:
        for low, high in re.findall(r"assert (-?[\d.]+) <=? \w+.* <=? (-?[\d.]+)", source):
            if abs(float(high)) >= 3:
                assert float(high) - float(low) >= 3, source


@each()
def test_every_picture_has_words_of_its_own(path):
    seen = set()
    for cell in cells(path):
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        if not kinds & {"image/png", "image/svg+xml"}:
            continue
        if WIDGET in cell.outputs[-1].get("data", {}):  # a figure brings its own words
            assert len(cell.outputs[-1].metadata["image/png"]["alt"].split()) >= 8
            continue
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        assert len(alt.split()) >= 8, f"no alternative text:\n{cell.source}"
        assert cell.metadata["mystnb"].get("figure", {}).get("caption"), cell.source
        assert alt not in seen
        seen.add(alt)


@each()
def test_a_chapter_never_redefines_what_vaelib_exports(path):
    exported = set()
    for module in (ROOT / "vaelib").rglob("*.py"):
        if {"checks", "cli"} & set(module.parts):
            continue  # a check has the name of what it asks for; a command is not to be imported
        listed = re.search(r"__all__ = (\[.*?\])", module.read_text(), re.DOTALL)
        exported |= set(ast.literal_eval(listed[1])) if listed else set()
    assert exported
    nodes = [node for cell in cells(path) for node in ast.walk(ast.parse(cell.source))]
    if path in {chapter.path for chapter in chapters() if not chapter.modules}:
        # It is a script by itself, that does not import what it writes.
        exported &= {node.name for node in nodes if isinstance(node, ast.alias)}
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.name not in exported


@each()
def test_it_is_small_and_reads_no_file(path):
    assert path.stat().st_size < 5_000_000
    for cell in cells(path):
        assert not re.search(r"\bopen\(|\.\./|read_csv|^[%!]", cell.source, re.MULTILINE)


@each()
def test_code_fits_the_width_of_the_page(path):
    for cell in cells(path):
        assert max(map(len, cell.source.splitlines())) <= 76, cell.source


def shown_figures(path):
    """The state of each figure that a notebook shows, by the name of its class; and all states."""
    notebook = nbformat.read(path, as_version=4)
    shown = [o for c in notebook.cells for o in c.get("outputs", []) if WIDGET in o.get("data", {})]
    stored = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {"state": {}}
    )["state"]
    # Others, ipywidgets' own controls above all, would leave the page blank: they have no such id.
    states = [stored[output["data"][WIDGET]["model_id"]]["state"] for output in shown]
    return [(state["_anywidget_id"].split(".")[-1], state) for state in states], stored


@each()
def test_stored_figures_are_those_of_the_package(path):
    """A page draws what the notebook stored: an old script would stay on it for good."""
    shown, stored = shown_figures(path)
    assert bool(shown) == bool(stored)
    for name, state in shown:
        assert state["_esm"] == getattr(figures, name)._esm, f"make notebooks ONLY={path.stem}"
    names = [*stored]
    assert names == [f"{number:032x}" for number in range(len(names))]  # nothing random


def test_each_figure_of_the_package_is_in_a_chapter():
    shown = {name for path in NOTEBOOKS for name, _ in shown_figures(path)[0]}
    every = {name for name in figures.__all__ if issubclass(getattr(figures, name), figures.Figure)}
    assert shown == every - {"Figure"}
