"""The budget of a page: code in the open is the idea, checks are folded, pictures carry it."""

import ast
import re

import nbformat
import pytest
from chapters import chapters
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from page import FOLDS, assertions, fill, measure, tags, visible

CHAPTERS = [chapter.name for chapter in chapters()]
NOTEBOOKS = {chapter.name: nbformat.read(chapter.path, as_version=4) for chapter in chapters()}
READ = sorted(CHAPTERS)
# All of it is exercises, and two hours are too short for them.
OFF_THE_PATH = {"clinic"}

each = pytest.mark.parametrize("name", READ)


def code(name):
    return [cell for cell in NOTEBOOKS[name].cells if cell.cell_type == "code"]


def exercise(cell):
    return bool(tags(cell) & {"answer", "check", "graded", "explanation"})


def prompt(cell):
    return cell.metadata.get("mystnb", {}).get("code_prompt_show", "")


@each
def test_a_chapter_keeps_to_its_budget(name):
    assert measure(NOTEBOOKS[name]).over() == []


@each
def test_minutes_and_number_of_checks_are_those_of_the_page(name):
    text = "\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")
    counted = fill(nbformat.from_dict(NOTEBOOKS[name]))
    again = "\n".join(cell.source for cell in counted.cells if cell.cell_type == "markdown")
    assert text == again, f"make notebooks ONLY={name}"
    (work,) = re.findall(r"\*\*It takes\*\* about \d+ minutes to read(, and \d+ for)?", text)
    assert bool(work) == any(exercise(cell) for cell in NOTEBOOKS[name].cells)
    assert len(re.findall(r"This page checks \*\*\d+\*\* claims in \*\*\d+\*\* folded", text)) == 1


@each
def test_the_exercises_begin_a_cell(name):
    for cell in NOTEBOOKS[name].cells:
        if cell.cell_type == "markdown" and re.search(r"(?m)^## Exercises", cell.source):
            assert re.match(r"(\([\w-]+\)=\n)?## Exercises", cell.source)


@each
def test_assertions_stand_in_folded_cells_that_say_what_they_check(name):
    for cell in code(name):
        found = assertions(cell.source)
        if exercise(cell):
            continue
        if "checked" in tags(cell):
            assert found, f"checks nothing:\n{cell.source}"
            assert "hide-cell" in tags(cell)
            assert prompt(cell).startswith("✓ checked: ")
        elif found:
            assert "hide-cell" in tags(cell), f"asserts in the open:\n{cell.source}"
            assert any(tag.startswith("folded-") for tag in tags(cell)), cell.source


def quoted(text):
    """The numbers of a text, without signs of any kind between thousands: 1e-4, 0.433, 100000."""
    return set(re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", re.sub(r"(?<=\d)[,_](?=\d{3})", "", text)))


def shown(cell):
    """All text that a cell's outputs hold."""
    parts = []
    for output in cell.outputs:
        parts.append(output.get("text", ""))
        parts += [text for kind, text in output.get("data", {}).items() if kind == "text/plain"]
    return "\n".join(parts)


def percents(numbers):
    """A share may be told in per cent."""
    return {f"{float(n) * 100:.10g}" for n in numbers}


@each
def test_each_number_of_a_check_line_occurs_in_its_cell(name):
    words = {"one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6"}
    for cell in code(name):
        if "checked" in tags(cell):
            told = quoted(prompt(cell))
            there = quoted(f"{cell.source}\n{shown(cell)}")
            missing = told - there - percents(there) - {words.get(n) for n in there}
            assert not missing, f"{prompt(cell)}\n{cell.source}"


@each
def test_each_fold_says_what_is_inside(name):
    for cell in code(name):
        if tags(cell) & {"hide-input", "hide-cell"} and not exercise(cell):
            assert len(prompt(cell)) > 8, cell.source
    lines = [prompt(cell) for cell in code(name) if "checked" in tags(cell)]
    assert len(lines) == len(set(lines)), "two checks with the same line"


def bound(source):
    """Names that the statements of a cell bind at its top level."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names


@each
def test_nothing_in_the_open_needs_what_a_check_defines(name):
    """Learners' copies are without the checks, and have to run."""
    ours, checks = set(), set()
    for cell in code(name):
        if "checked" in tags(cell):
            checks |= bound(cell.source) - ours
            continue
        used = {
            node.id
            for node in ast.walk(ast.parse(cell.source))
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
        }
        ours |= bound(cell.source)
        assert not used & (checks - ours), cell.source


@each
def test_no_table_is_printed(name):
    """Columns made of spaces are a table; a notebook can show one."""
    for cell in code(name):
        if not tags(cell) & {"hide-cell", "checked"} and not exercise(cell):
            text = "".join(o.get("text", "") for o in cell.outputs if o.output_type == "stream")
            columns = [line for line in text.splitlines() if re.search(r"\S {3,}\S.* {3,}\S", line)]
            assert len(columns) < 2, text


@each
def test_at_most_four_mistakes_stand_in_boxes(name):
    text = "\n".join(cell.source for cell in NOTEBOOKS[name].cells if cell.cell_type == "markdown")
    assert len(re.findall(r"\{admonition\} Mistake", visible_boxes(text))) <= 4


def visible_boxes(text):
    """Boxes that are not folded."""
    return re.sub(r":{3,}\{admonition\}[^\n]*\n:class:[^\n]*\bdropdown\b", "", text)


@each
def test_the_short_path_goes_along_sections_of_the_page(name):
    (chapter,) = [chapter for chapter in chapters() if chapter.name == name]
    anchors = [section.anchor for section in measure(NOTEBOOKS[name]).sections]
    places = [anchors.index(anchor) for anchor in chapter.short_path]
    assert places or name in OFF_THE_PATH
    assert places == sorted(places)


def page_of(*cells):
    return measure(new_notebook(cells=[*cells]))


def test_what_is_folded_is_not_counted():
    picture = new_output("display_data", data={"image/svg+xml": "<svg/>"})
    table = new_output("execute_result", data={"text/html": "<table/>"})
    page = page_of(
        new_markdown_cell(
            "# T\n\nThree words here.\n\n:::{admonition} More\n:class: dropdown\n\nx\n:::"
        ),
        new_code_cell("plot()", metadata={"tags": ["hide-input"]}, outputs=[picture]),
        new_markdown_cell("(t-a)=\n## A question\n\nTwo words."),
        new_code_cell("a = 1\n\nprint(\n    a\n)", outputs=[table]),
        new_code_cell(
            "assert a == 1\ntorch.testing.assert_close(a, b)",
            metadata={"tags": ["checked", "hide-cell"]},
            outputs=[picture],
        ),
        new_markdown_cell("## Exercises\n\n*10 minutes, easy.* Not counted."),
        new_code_cell("assert x", metadata={"tags": ["answer", "hide-input"]}),
    )
    assert (page.words, page.code, page.longest, page.printed) == (8, 4, 4, 3)
    assert (page.asserts, page.claims, page.checks, page.pictures, page.first) == (0, 2, 1, 1, 2)
    assert [s.title for s in page.sections] == ["", "A question", "Exercises"]
    assert "no picture in: A question" in page.over()
    assert not any("Exercises" in words for words in page.over())


def test_the_text_of_an_exercise_is_no_reading_wherever_it_stands():
    page = page_of(
        new_markdown_cell("(t-case-1)=\n## A case\n\nTwo words."),
        new_markdown_cell("(t-exercise-1)=\n### Exercise 1. Mend it\n\n*5 minutes, easy.* More."),
        new_markdown_cell("Three words more."),
    )
    assert page.words == 2 + 2 + 3


def test_minutes_are_words_lines_and_live_figures():
    live = new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {}})
    words = "word " * 440
    page = page_of(
        new_markdown_cell(words),
        new_code_cell("a = 1\n" * 10, outputs=[live]),
    )
    assert page.minutes == 4  # 2 of words, 1 of lines, 1 of the figure


def test_each_thing_over_the_budget_is_named():
    page = page_of(
        new_markdown_cell("word " * 3001),
        new_code_cell("assert a\n" * 21 + "b = " + "1" * 60),
        new_code_cell("print(1)\n" * 16),
    )
    over = "; ".join(page.over())
    for part in ("words: 3001", "longest: 22", "asserts: 21", "printed: 16", "pictures: 0"):
        assert part in over
    assert "first picture stands in cell None" in over


def test_directives_and_formulas_are_no_words():
    assert visible("a $b + c$ [d](e-f) {term}`g`\n$$\nh\n$$").split() == ["a", "x", "[d", "`g`"]


def test_what_is_folded_is_what_the_theme_folds():
    assert {"hide-input", "hide-cell"} <= FOLDS
