"""Every exercise stands in its chapter with all its parts, and what the page promises is true."""

import ast
import contextlib
import doctest
import io
import re

import nbformat
import pytest
import torch
from chapters import chapters
from test_course import BOOK, CHAPTERS, NOTEBOOKS, prose, tags

from vaelib.course import checks, clinic


def exercises(chapter):
    """Of each exercise: its text, the cells of answer, check and grade, and the explanation."""
    cells = NOTEBOOKS[chapter].cells
    return [
        (cells[i - 1], *cells[i : i + 4]) for i, cell in enumerate(cells) if "answer" in tags(cell)
    ]


EVERY = [(chapter, *parts) for chapter in CHAPTERS for parts in exercises(chapter)]
NAMES = [parts[2].metadata.nbgrader.grade_id for parts in EVERY]
# Chapters whose exercises stand in their sections, each after a diagnosis to choose.
CASES = {"clinic"}
SETS_EXERCISES = {chapter.name: chapter.least_exercises > 0 for chapter in chapters()}
each = pytest.mark.parametrize("parts", EVERY, ids=NAMES)


def test_every_check_has_its_exercise_and_every_exercise_its_check():
    assert sorted(NAMES) == sorted(checks.EXERCISES)
    assert len(NAMES) == len(set(NAMES)) >= 26
    for chapter in chapters():
        assert len(exercises(chapter.name)) >= chapter.least_exercises


@each
def test_the_text_says_all_that_is_needed(parts):
    chapter, text, answer = parts[0], parts[1].source, parts[2]
    name = (
        rf"\({chapter}-exercise-\d+\)=\n### Exercise \d+\. |\({chapter}-capstone\)=\n### Capstone: "
    )
    assert re.match(name, text)
    assert re.search(r"(?m)^\*\d+ minutes, (easy|medium|hard)\.\*", text)
    assert re.search(r"(?m)^- .*returns", text)
    assert "Expected" in text
    assert ":::{admonition} Hint\n:class: dropdown\n" in text
    name = answer.metadata.nbgrader.grade_id
    if answer.source.startswith("class "):
        signatures = re.findall(r"(?m)^    def \w+\(self, ([^)]*)\)", answer.source)
        for method in set(re.findall(r"(?m)^    def (\w+)", answer.source)) - {"__init__"}:
            assert re.search(rf"(?m)^- `{method}\(", text), (
                f"{name}: nothing is said about {method}"
            )
        assert answer.source.count('"""') == 2 * (1 + len(signatures))
    else:
        signatures = [re.search(rf"def {name}\(([^)]*)\)", answer.source)[1]]
        assert '"""' in answer.source.split("### BEGIN")[0]
    for argument in re.findall(r"(\w+)(?::|,|$)", re.sub(r"=[^,]*", "", ",".join(signatures))):
        assert f"`{argument}`" in text, f"{name}: nothing is said about {argument}"


@each
def test_answer_check_grade_and_explanation_follow(parts):
    _, _, answer, check, graded, explanation = parts
    name = answer.metadata.nbgrader.grade_id
    assert "hide-input" in tags(answer)  # the solution is folded
    assert re.search(r"(?m)^ +### BEGIN SOLUTION$", answer.source)  # within a function's body
    assert check.source == f"checks.{name}({name})"
    assert f"{name}: correct" in check.outputs[0].text
    grading = graded.metadata.nbgrader
    assert grading.grade_id == f"{name}-graded"
    assert grading.grade
    assert grading.locked
    assert grading.points > 0
    assert "remove-cell" in tags(graded)
    assert f"checks.{name}.grade({name})" in graded.source
    assert "explanation" in tags(explanation)
    assert ":class: dropdown" in explanation.source
    assert len(explanation.source.split()) > 30


def frame(source):
    """What a chapter's first cell sets up for an answer, without the picture that it draws."""
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    kept = [
        node
        for node in ast.parse(source).body
        if isinstance(node, kinds) or ast.unparse(node).startswith("torch.set_default_dtype(")
    ]
    return ast.unparse(ast.Module(kept, []))


@each
def test_the_expected_output_is_what_the_solution_returns(parts, plain_errors):
    """The page's examples run as doctests, in the namespace of the chapter's imports."""
    chapter, text, answer = parts[:3]
    first = next(c for c in NOTEBOOKS[chapter].cells if c.cell_type == "code")
    setting = torch.get_default_dtype()
    space = {}
    try:
        exec(frame(first.source), space)
        for cell in NOTEBOOKS[chapter].cells:
            if "from vaelib.course import checks" in cell.source and cell.cell_type == "code":
                exec(cell.source, space)
        exec(answer.source, space)
        name = answer.metadata.nbgrader.grade_id
        blocks = re.findall(r"```python\n(>>>.*?)```", text.source, re.DOTALL)
        assert blocks, f"{name}: no expected output"
        report = io.StringIO()
        for block in blocks:
            test = doctest.DocTestParser().get_doctest(block, space, name, None, 0)
            runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
            with contextlib.redirect_stdout(report):
                runner.run(test, clear_globs=False)
            assert runner.failures == 0, report.getvalue()
            assert runner.tries > 0
    finally:
        torch.set_default_dtype(setting)


@pytest.mark.parametrize("chapter", [c for c in CHAPTERS if SETS_EXERCISES[c] and c not in CASES])
def test_questions_to_answer_in_words_or_by_choosing(chapter):
    """Two or three, each with a folded answer that says why the others are wrong."""
    section = prose(chapter).split("\n## Exercises")[1].split("\n### Exercise 1")[0]
    questions = re.split(rf"\({chapter}-choice-\d+\)=", section)[1:]
    assert 2 <= len(questions) <= 3
    for question in questions:
        body, answer = question.split(":::{admonition} Answer\n:class: dropdown\n")
        assert "?" in body or "." in body
        assert len(answer.split()) > 40


@pytest.mark.parametrize("chapter", sorted(CASES))
def test_before_each_exercise_of_a_case_stands_a_choice_with_its_replies(chapter):
    """Four answers that open without a kernel, and a diagnosis, which is told the same words."""
    cells = NOTEBOOKS[chapter].cells
    places = [i for i, cell in enumerate(cells) if "answer" in tags(cell)]
    for number, answer in enumerate(places, 1):
        question, shown, asked, text = cells[answer - 4 : answer]
        assert question.source.startswith(f"({chapter}-choice-{number})=\n")
        html = shown.outputs[0]["data"]["text/html"]
        assert html == clinic.choices(number)._repr_html_()
        replies = re.findall(r"<summary><b>([A-D])</b> .+?</summary><p>(Yes|No)\. (.+?)</p>", html)
        assert "".join(letter for letter, _, _ in replies) == "ABCD"
        assert [verdict for _, verdict, _ in replies].count("Yes") == 1
        assert all(len(reply.split()) >= 10 for *_, reply in replies)
        assert asked.source == f'diagnosis = "?"\nclinic.diagnose({number}, diagnosis)'
        assert f"### Exercise {number}. " in text.source


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_an_answer_uses_only_its_arguments_and_imports(chapter):
    """In a fresh namespace with the imports of the first cell, and the answers."""
    space = {}
    setting = torch.get_default_dtype()
    code = [c.source for c in NOTEBOOKS[chapter].cells if c.cell_type == "code"]
    try:
        exec(frame(code[0]), space)
        for source in code:
            if source.startswith("from vaelib.course import checks"):
                exec(source, space)
        for _, answer, *_ in exercises(chapter):
            exec(answer.source, space)
            name = answer.metadata.nbgrader.grade_id
            checks.EXERCISES[name].grade(space[name], seed=5)
    finally:
        torch.set_default_dtype(setting)


def test_no_exercise_is_left_to_write():
    for chapter in CHAPTERS:
        assert "% Exercises" not in prose(chapter)
        stored = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4)
        assert not SETS_EXERCISES[chapter] or any("answer" in tags(c) for c in stored.cells)


def test_what_tables_say_of_exercises_is_there():
    for chapter in chapters():
        there = [
            (
                answer.metadata.nbgrader.grade_id,
                int(re.search(r"\*(\d+) minutes,", text.source)[1]),
                graded.metadata.nbgrader.points,
            )
            for text, answer, _, graded, _ in exercises(chapter.name)
        ]
        assert [*chapter.exercises] == there
