"""The course as a whole: every point is on a page and run, every question is answered, every link
between questions, glossary, chapters and modules holds, and the prose keeps to one spelling."""

import ast
import importlib
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from chapters import chapters, readme
from page import SHUT, assertions
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"

# What a cell's tag promises. A cell tagged `point-…` shows a core point, in the open, or is the
# folded check of one; `folded-…` one for the curious, folded; `mistake-…` runs a mistake that
# public material makes. Each chapter's metadata list them.
POINTS = {tag: chapter for chapter in chapters() for tag in chapter.points}
MISTAKES = {tag: chapter for chapter in chapters() for tag in chapter.mistakes}
# And what a cell is: of an exercise, a check of what the page says, hidden, or not compared.
KINDS = {"answer", "check", "graded", "explanation", "checked"}
HIDES = {"hide-cell", "hide-input", "remove-cell"}
OTHER_TAGS = KINDS | HIDES | {"nbval-ignore-output"}

CHAPTERS = [chapter.name for chapter in chapters()]
NOTEBOOKS = {name: nbformat.read(BOOK / f"{name}.ipynb", as_version=4) for name in CHAPTERS}
PAGES = {
    path.stem: path.read_text()
    for path in sorted(BOOK.glob("*.md"))
    if path.stem in {"index", "notation", "questions", "glossary", "instructors"}
}


def prose(chapter):
    return "\n\n".join(c.source for c in NOTEBOOKS[chapter].cells if c.cell_type == "markdown")


TEXTS = {name: prose(name) for name in CHAPTERS} | PAGES
TEXTS["claims"] = "\n\n".join(f"{one.claim}\n{one.card}" for one in chapters())


def tags(cell):
    return set(cell.metadata.get("tags", []))


def tagged(tag):
    cells = NOTEBOOKS[(POINTS | MISTAKES)[tag].name].cells
    return [(i, cell) for i, cell in enumerate(cells) if tag in tags(cell)], cells


def printed(cell):
    """What a cell prints, and the texts of its tables."""
    return "\n".join(
        output.get("text", "") or output["data"].get("text/plain", "")
        for output in cell.outputs
        if output.output_type == "stream" or "text/html" in output.get("data", {})
    )


def asserts(cell):
    return bool(assertions(cell.source))


def seen(cell):
    """It shows a picture, a table or a line of text, in the open."""
    return bool(cell.outputs) and not tags(cell) & SHUT


def test_a_chapter_needs_only_what_came_before():
    for place, chapter in enumerate(chapters()):
        assert {*chapter.needs} <= {*CHAPTERS[:place]}, f"{chapter.name}: the order is _toc.yml's"


@pytest.mark.parametrize("chapter", chapters(), ids=CHAPTERS)
def test_the_opening_links_to_what_the_chapter_needs(chapter):
    """Under "You need", or in a box beside it; and to no other chapter."""
    opening = [c.source for c in NOTEBOOKS[chapter.name].cells[:4] if c.cell_type == "markdown"]
    links = re.findall(r"\]\((\w+)[-.\w]*\)", "\n".join(opening))
    assert {*links} & {*CHAPTERS} - {chapter.name} == {*chapter.needs}


@pytest.mark.parametrize("chapter", chapters(), ids=CHAPTERS)
def test_the_claim_in_bold_is_the_claim_of_the_tables(chapter):
    """Where an opening has one: a paragraph that is bold from end to end."""
    opening = NOTEBOOKS[chapter.name].cells[0].source
    for claim in re.findall(r"(?m)^\*\*((?:(?!\*\*).)+)\*\*$", opening):
        assert claim == chapter.claim


@pytest.mark.parametrize("chapter", chapters(), ids=CHAPTERS)
def test_a_card_is_a_short_claim(chapter):
    """Read at a glance, and without the fonts of formulas, which weigh as much as ten pictures."""
    assert len(chapter.card.split()) <= 25, "metadata.chapter.card: about fifteen words"
    assert "$" not in chapter.card


def test_the_table_of_the_readme_is_not_stale():
    assert (ROOT / "README.md").read_text() == readme(), "make readme"


def test_the_picture_of_the_readme_is_the_figure_of_the_front_page(monkeypatch):
    """Of two processors a few pixels at the edges of letters and lines may differ."""
    monkeypatch.syspath_prepend(ROOT / ".ci")
    content, alt = importlib.import_module("picture").picture()
    text = (ROOT / "README.md").read_text()
    ((words, path),) = re.findall(r"!\[([^\]]+)\]\((book/[^)]+)\)", text)
    assert words == alt, "make readme prints it"
    assert (ROOT / path).stat().st_size < 80_000
    shown, drawn = (
        np.asarray(Image.open(file).convert("L"), dtype=float)
        for file in (ROOT / path, io.BytesIO(content))
    )
    assert shown.shape == drawn.shape, "make readme"
    assert abs(shown - drawn).mean() < 0.5, "make readme"


@pytest.mark.parametrize("tag", POINTS)
def test_each_point_is_on_its_page_and_checked(tag):
    """A core point has a result that is seen and an assertion; a folded one has both folded."""
    found, cells = tagged(tag)
    assert found, f"no cell shows: {POINTS[tag].points[tag]}"
    assert any(asserts(cell) for _, cell in found), f"nothing checks: {POINTS[tag].points[tag]}"
    if not tag.startswith("folded"):
        assert any(seen(cell) for _, cell in found), f"nobody sees: {POINTS[tag].points[tag]}"
    elif not all("checked" in tags(cell) for _, cell in found):
        assert any(cell.outputs for _, cell in found)
        for index, cell in found:
            assert "hide-cell" in tags(cell)
            before = "".join(c.source for c in cells[max(0, index - 3) : index])
            assert "For the curious" in before
            assert ":class: dropdown" in before


def rows(cell):
    """How many rows the tables of a cell have."""
    html = [output.get("data", {}).get("text/html", "") for output in cell.outputs]
    return sum(max(0, text.count("<tr>") - 1) for text in html)


@pytest.mark.parametrize("tag", MISTAKES)
def test_each_mistake_is_named_and_run_with_its_number(tag):
    """In a box of its own, or as a row of the table of mistakes."""
    found, cells = tagged(tag)
    assert found
    assert any(seen(cell) and re.search(r"\d", printed(cell)) for _, cell in found)
    boxes = re.findall(r"\{admonition\} Mistake: ", prose(MISTAKES[tag].name))
    tables = [c for c in cells if any(name.startswith("mistake-") for name in tags(c))]
    told = len(boxes) + sum(rows(cell) for cell in tables if cell.cell_type == "code")
    assert told >= len(MISTAKES[tag].mistakes)


@pytest.mark.parametrize("chapter", chapters(), ids=CHAPTERS)
def test_no_cell_has_a_tag_that_nobody_knows(chapter):
    """A misspelt one would fold nothing, and compare what is not to be compared."""
    known = OTHER_TAGS | chapter.points.keys() | {*chapter.mistakes}
    for cell in NOTEBOOKS[chapter.name].cells:
        assert tags(cell) <= known


def test_a_promise_says_its_kind_and_its_chapter():
    for tag, chapter in POINTS.items():
        assert re.fullmatch(rf"(point|folded)-{chapter.name}-\d+", tag)
    assert all(re.fullmatch(r"mistake-[a-z-]+", tag) for tag in MISTAKES)
    promises = [tag for chapter in chapters() for tag in (*chapter.points, *chapter.mistakes)]
    assert len(promises) == len(set(promises))


@pytest.mark.parametrize("chapter", chapters(), ids=CHAPTERS)
def test_a_chapter_has_its_frame(chapter):
    """Objectives first; summary and further reading with citations last; module and test named."""
    text = prose(chapter.name)
    opening = text[:3500]
    assert "{admonition} This chapter" in opening
    for promise in ("Afterwards you can", "You need", "It takes"):
        assert promise in opening
    assert chapter.modules[:1] in ((), (chapter.name,))
    assert (ROOT / "tests" / f"test_{chapter.name}.py").exists()
    for module in chapter.modules:
        assert f"{{py:mod}}`vaelib.{module}`" in opening
        assert f"tests/test_{module}.py" in opening
    assert text.index("\n## Summary") < text.index("\n## Further reading")
    assert "{cite:t}" in text.split("## Further reading")[1]


@pytest.mark.parametrize("chapter", chapters(), ids=CHAPTERS)
def test_a_module_names_its_chapter(chapter):
    for name in chapter.modules:
        module = ROOT / "vaelib" / f"{name}.py"
        if not module.exists():
            module = ROOT / "vaelib" / name / "__init__.py"
        docstring = ast.get_docstring(ast.parse(module.read_text()))
        assert f":doc:`/book/{chapter.name}`" in docstring, module


TARGETS = {
    target: name
    for name, text in TEXTS.items()
    for target in re.findall(r"(?m)^\(([\w-]+)\)=", text)
}


def test_anchors_are_unique_and_say_whose_they_are():
    every = [t for text in TEXTS.values() for t in re.findall(r"(?m)^\(([\w-]+)\)=", text)]
    assert len(every) == len(set(every))
    for target, name in TARGETS.items():
        if name in CHAPTERS:
            assert target.startswith(f"{name}-"), target


def questions():
    parts = re.split(r"(?m)^\(question-(\d+)\)=\n## (\d+)\. (.*)\n", PAGES["questions"])
    return list(zip(parts[1::4], parts[2::4], parts[3::4], parts[4::4], strict=True))


def test_there_are_33_questions_with_stable_addresses():
    numbers = [(int(a), int(b)) for a, b, _, _ in questions()]
    assert numbers == [(n, n) for n in range(1, 34)]


@pytest.mark.parametrize(
    "word", ["IWAE", "bits per dimension", "learning rate", "licence", "mean-field", "reparametriz"]
)
def test_the_search_finds_a_word_that_readers_type(word):
    assert word in PAGES["questions"] + PAGES["glossary"]


@pytest.mark.parametrize(("_", "number", "title", "answer"), questions())
def test_a_question_is_answered_in_a_few_sentences_with_a_link_to_a_cell(_, number, title, answer):
    assert title.rstrip().endswith("?")
    plain = re.sub(r"\$[^$]*\$|\[([^\]]*)\]\([^)]*\)", r"\1", answer)
    sentences = re.findall(r"[.?](?=\s|$)", plain)
    assert 2 <= len(sentences) <= 6, sentences
    links = re.findall(r"\]\(([\w-]+)\)", answer)
    assert links, "no link to a cell"
    for link in links:
        chapter = TARGETS[link]
        assert chapter in CHAPTERS
        # The link's place is followed by a cell, before the next section of the same level.
        cells = NOTEBOOKS[chapter].cells
        at = next(i for i, c in enumerate(cells) if f"({link})=" in c.source)
        following = cells[at + 1 : at + 4]
        assert any(c.cell_type == "code" for c in following), link


def glossary():
    return re.findall(r"(?m)^(\S.*)\n  (.+)$", PAGES["glossary"].split("::::{glossary}")[1])


def test_each_term_links_to_where_it_is_introduced():
    terms = glossary()
    assert len(terms) > 50
    for term, meaning in terms:
        links = re.findall(r"\]\(([\w-]+)\)", meaning)
        assert links, term
        assert all(TARGETS[link] in CHAPTERS for link in links), term


def test_a_term_is_explained_where_its_link_leads():
    """From the link's place to the end of its section stands the term's first word."""
    missing = []
    for term, meaning in glossary():
        for link in re.findall(r"\]\(([\w-]+)\)", meaning):
            text = TEXTS[TARGETS[link]].split(f"({link})=\n", 1)[1].lstrip()
            section = re.split(r"(?<=\n)## ", text)[0]
            if term.split()[0].lower()[:9] not in section.lower():
                missing.append((term, link))
    assert not missing


def test_each_term_of_the_glossary_is_used_in_the_chapters():
    used = set()
    for chapter in CHAPTERS:
        for text in re.findall(r"\{term\}`([^`]+)`", prose(chapter)):
            used.add((re.search(r"<(.+)>", text) or [None, text])[1].lower())
    unused = {term.lower() for term, _ in glossary()} - used
    assert not unused


# British spelling with -ize, as CONTRIBUTING says. The left half of each is American, the right
# half the other British habit.
OTHER_SPELLINGS = re.compile(
    r"\b(?:colors?|colored|centers?|centered|neighbors?|neighboring|behaviors?|favors?|favorite|"
    r"modeling|modeled|labeled|labeling|gray|meters?|analyz\w+|"
    r"\w*(?:minimis|maximis|optimis|normalis|generalis|amortis|parameteris|binaris|initialis|"
    r"regularis|summaris|organis|recognis|standardis|realis|emphasis(?=e|ing))\w*)\b",
    re.IGNORECASE,
)


@pytest.mark.parametrize("name", TEXTS)
def test_one_spelling(name):
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\(https?://\S+\)", "", TEXTS[name], flags=re.S
    )
    assert OTHER_SPELLINGS.findall(text) == []


@pytest.mark.parametrize("name", TEXTS)
def test_no_obviously(name):
    assert not re.search(r"(?i)\b(obvious(ly)?|clearly|trivial(ly)?|of course)\b", TEXTS[name])


def numbers(text):
    """Decimal numbers of a text, as pairs (absolute value, decimals)."""
    found = re.findall(r"(?<![\w.])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(?![\w]|\.\d)", text)
    return {(float(a.replace(",", "") + b), len(b[1:]) if b else 0) for a, b in found}


@pytest.mark.parametrize("name", [*CHAPTERS, "questions"])
def test_each_number_of_the_prose_comes_from_a_cell(name):
    """A number of two digits or more in a sentence occurs in a cell's code or output, rounded."""
    text = TEXTS[name]
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$]*\$|\{cite:\w\}`[^`]*`", " ", text, flags=re.S
    )
    counted = r"\*\*It takes\*\*.*|^This page checks .*"  # on the page itself
    text = re.sub(rf"\]\([^)]*\)|\([\w-]+\)=|{counted}|^#+ .*", " ", text, flags=re.M)
    sources = [name] if name in CHAPTERS else CHAPTERS
    known = {28.0, 784.0}  # the size of an image
    for chapter in sources:
        for cell in NOTEBOOKS[chapter].cells:
            if cell.cell_type == "code":
                known |= {value for value, _ in numbers(cell.source.replace("_", ""))}
                known |= {value for value, _ in numbers(printed(cell))}
    unknown = [
        (value, decimals)
        for value, decimals in sorted(numbers(text))
        if value >= 10 or decimals
        if not any(round(k * scale, decimals) == value for k in known for scale in (1, 100))
    ]
    assert not unknown
