"""What the book's own extensions of Sphinx do: formulas, the short path, pictures' sizes."""

import importlib
import re
import sys
from pathlib import Path

import pytest
from docutils import nodes
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def extension(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    yield importlib.import_module
    for path in (ROOT / "book" / "_ext").glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_a_formula_is_set_for_the_eye_and_for_the_ear(extension):
    made = extension("formulas").formula(r"\log p(x)")
    assert "<math" in made
    assert 'class="katex-html"' in made
    assert "katex-display" not in made
    assert "katex-display" in extension("formulas").formula("x", True)


@pytest.mark.parametrize(
    ("tex", "says"),
    [
        (r"\elbo(x)", r"Undefined control sequence: \\elbo"),
        (r"\frac{1}{2", "KaTeX parse error: .*'}'"),
        ("é", "unicodeTextInMathMode"),
    ],
)
def test_a_formula_that_is_not_known_is_told(extension, tex, says):
    with pytest.raises(ValueError, match=says):
        extension("formulas").formula(tex, True)


def test_fractions_of_one_character_are_fractions(extension):
    assert "mfrac" in extension("formulas").formula("½ x + ¼")


class Book:
    """As much of a build's translator as a formula needs."""

    def __init__(self):
        self.body = []

    def starttag(self, node, tag, *_, CLASS=""):  # noqa: N803
        return f'<{tag} class="{CLASS}">'


def test_a_build_stops_at_an_unknown_formula_by_page_and_formula(extension, monkeypatch):
    formulas, told = extension("formulas"), []
    monkeypatch.setattr(
        formulas.log, "error", lambda text, *a, location: told.append((text % a, location))
    )
    node = nodes.math("", r"\elbo")
    with pytest.raises(nodes.SkipNode):
        formulas.visit_inline(Book(), node)
    ((text, location),) = told
    assert r"\\elbo" in text
    assert "Undefined control sequence" in text
    assert location is node  # Sphinx names its page and line


def test_a_numbered_equation_has_its_number(extension, monkeypatch):
    formulas, book = extension("formulas"), Book()
    monkeypatch.setattr(formulas, "get_node_equation_number", lambda writer, node: "7")
    book.add_permalink_ref = lambda node, words: None
    with pytest.raises(nodes.SkipNode):
        formulas.visit_block(book, nodes.math_block("", "x = y", number=7, nowrap=False))
    assert '<span class="eqno">(7)</span>' in "".join(book.body)
    assert "katex-display" in "".join(book.body)


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("a = b", "a = b"),
        (r"a &= b \\ &= c", r"\begin{split}a &= b \\ &= c\end{split}"),
        ("a\n\nb", r"\begin{aligned}a\\b\end{aligned}"),
        (r"\begin{aligned}a \\ b\end{aligned}", r"\begin{aligned}a \\ b\end{aligned}"),
    ],
)
def test_lines_of_a_directive(extension, tex, expected):
    assert extension("formulas").lines(tex) == expected


def test_fonts_that_no_formula_uses_are_not_served(extension):
    css = (ROOT / "book" / "_vendor" / "katex" / "katex.min.css").read_text()
    few = extension("formulas").needed(css, {"katex", "mathnormal"})
    assert set(re.findall(r"fonts/KaTeX_(\w+)-", few)) == {"Main", "Math"}
    assert ".woff)" not in few
    assert "KaTeX_AMS-Regular" in extension("formulas").needed(css, {"katex", "mathbb"})


def test_the_short_path_goes_from_section_to_section_and_over_chapters(extension):
    steps = extension("short_path").steps
    assert steps([["a", "b"], [], ["c"]]) == {"a": "b", "b": "c", "c": None}
    assert steps([["a"]]) == {"a": None}
    assert steps([[], []]) == {}
    with pytest.raises(ValueError, match="'a'"):
        steps([["a", "b"], ["a"]])


SVG = '<?xml version="1.0"?>\n<svg width="432pt" height="216.5pt" viewBox="0 0 432 216.5"></svg>'


def test_pictures_get_their_size_and_wait(extension, tmp_path):
    (tmp_path / "a.svg").write_text(SVG)
    Image.new("RGB", (30, 20)).save(tmp_path / "b.png")
    files = {name: tmp_path / name for name in ("a.svg", "b.png")}
    body = '<img alt="a" src="../_images/a.svg"><img src="../_images/b.png"><img src="c" width="3">'
    assert extension("weight").sized(body, files) == (
        '<img width="576" height="289" alt="a" src="../_images/a.svg">'
        '<img loading="lazy" width="30" height="20" src="../_images/b.png">'
        '<img loading="lazy" src="c" width="3">'
    )
