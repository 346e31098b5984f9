"""What the book's own extensions of Sphinx do: formulas, figures, cards, the short path, sizes."""

import base64
import importlib
import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from chapters import chapters
from docutils import nodes
from ipywidgets.embed import dependency_state
from PIL import Image

from vaelib.course.figures import ElboGap

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"


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


def test_a_page_in_markdown_names_its_figure(extension):
    """The place has all that a notebook's has, and the same files at each build."""
    places, files = extension("figures"), {}

    def put(content, ending):
        name = f"{len(content)}.{ending}"
        files[name] = content
        return name

    found = places.made("ElboGap", put, "../_static/figures")
    assert found == places.made("ElboGap", put, "../_static/figures")
    assert sorted(name.split(".")[1] for name in files) == ["js", "json", "webp"]
    (told,) = [json.loads(content) for name, content in files.items() if name.endswith("json")]
    model = told["models"][told["model"]]
    assert model["state"]["x"] == 3.0
    assert files[model["script"]].decode() == ElboGap._esm
    assert re.search(r'<img alt="[^"]*"', found)[0] == f'<img alt="{ElboGap().words()}"'
    assert re.search(r'data-figure="([^"]+)"', found)[1].startswith("../_static/figures/")


@pytest.mark.parametrize("name", ["Figure", "Elbogap", "TwoGaussians.still"])
def test_a_figure_that_there_is_not_is_told(extension, name):
    with pytest.raises(ValueError, match=rf"expected one of .*ElboGap.*, got '{name}'"):
        extension("figures").made(name, None, "")


class Application:
    """As much of Sphinx as the files of figures need."""

    def __init__(self, folder, pages):
        self.env = self
        self.builder = SimpleNamespace(format="html")
        self.doctreedir, self.outdir, self.found_docs = folder / "notes", folder / "site", pages


def test_files_of_figures_wait_for_the_site_and_go_with_their_page(extension, tmp_path):
    places = extension("figures")
    app = Application(tmp_path, {"book/a", "book/b"})
    names = [places.keeper(app, page)(page.encode(), "bin") for page in ("book/a", "book/b")]
    places.write_files(app, None)
    served = tmp_path / "site" / places.FOLDER
    assert {path.name for path in served.iterdir()} == {*names}
    places.forget(app, app, "book/a")  # Sphinx is about to read it again, with another figure
    names[0] = places.keeper(app, "book/a")(b"new", "bin")
    places.write_files(app, None)  # and b, which is not read again, has its file still
    assert {path.name: path.read_bytes() for path in served.iterdir()} == {
        names[0]: b"new", names[1]: b"book/b",
    }  # fmt: skip
    app.found_docs = {"book/b"}
    places.write_files(app, None)
    assert [path.name for path in served.iterdir()] == [names[1]]
    assert places.beside("book/a") == "../_static/figures"


PLOT = """<svg xmlns="{svg}" xmlns:xlink="{xlink}" width="576pt" height="216pt" viewBox="0 0 9 9">
<metadata>when</metadata><g id="axes_1"><path d="M 1.23456 2.5 L -0.98765 4"/>
<g id="text_12"><path d="M 0 0"/></g><g id="xtick_1"/><g id="patch_1"/>
<image xlink:href="data:image/png;base64,{png}"/></g></svg>"""


def png(size, mode="RGBA"):
    written = io.BytesIO()
    Image.new(mode, size, "red").save(written, "png")
    return written.getvalue()


def test_a_thumbnail_has_no_words_and_few_bytes(extension):
    small = extension("thumbnails")
    inner = base64.b64encode(png((30, 21))).decode()
    plot = PLOT.format(svg=small.SVG, xlink=small.XLINK, png=inner)
    made = small.small_svg(plot).decode()
    assert 'width="280" height="150" viewBox="0 0 9 9"' in made
    assert 'd="M 1 2.5 L -1 4"' in made
    assert "patch_1" in made
    assert not re.search("text_12|xtick_1|when", made)
    inner = re.search(r'href="data:image/webp;base64,([^"]+)"', made)[1]
    assert Image.open(io.BytesIO(base64.b64decode(inner))).size == (15, 10)
    wide = Image.new("RGB", (400, 100), "white")
    wide.paste("blue", (0, 0, 50, 100))
    written = io.BytesIO()
    wide.save(written, "png")
    found = Image.open(io.BytesIO(small.small_png(written.getvalue()))).convert("RGB")
    assert found.size == (560, 300)
    assert found.getpixel((10, 150)) == (0, 0, 255)  # the left part, where a picture begins
    assert found.getpixel((550, 150)) == (255, 255, 255)


def notebook(data, alt):
    cell = {"source": "plot()", "metadata": {}, "outputs": [{"data": data, "metadata": {}}]}
    if alt:
        cell["metadata"] = {"mystnb": {"image": {"alt": alt}}}
    return {"metadata": {}, "cells": [{"metadata": {}}, cell]}


def test_a_thumbnail_is_of_the_first_picture_and_has_its_words(extension):
    small, picture = extension("thumbnails"), base64.b64encode(png((30, 21))).decode()
    _, ending, alt = small.thumbnail(notebook({"image/png": picture}, "A red square."))
    assert (ending, alt) == ("png", "A red square.")
    with pytest.raises(ValueError, match=r"no alternative text .*\nplot\(\)"):
        small.thumbnail(notebook({"image/png": picture}, ""))
    with pytest.raises(ValueError, match="expected a picture"):
        small.thumbnail(notebook({"text/plain": "7"}, ""))


def test_a_live_figure_is_drawn_again_without_words_if_its_settings_are_all(extension):
    small, figure = extension("thumbnails"), ElboGap(compact=True)
    state = dependency_state([figure], drop_defaults=False)[figure.model_id]["state"]
    drawn = small.still(state)
    assert drawn == small.still(state)
    assert b"text_1" in drawn
    assert b"text_1" not in small.small_svg(drawn)
    assert small.still(state | {"x": "IPY_MODEL_1"}) == b""


def test_facts_cards_and_path_are_those_of_the_chapters(extension):
    tables, files = extension("tables"), []

    def put(content, ending):
        files.append(content)
        return f"{len(files)}.{ending}"

    answers = sum(path.read_text().count('"solution": true') for path in BOOK.glob("*.ipynb"))
    facts = tables.facts(put, "")
    assert f"**{len(chapters())}** chapters" in facts
    assert f"**{answers}** exercises" in facts
    cards = tables.cards(put, "../x")
    assert len(files) == len({*files}) == len(chapters())
    titles = re.findall(r"(?m)^  \[(.+)\]\((\w+)\.ipynb\)$", cards)
    assert titles == [(chapter.title, chapter.name) for chapter in chapters()]
    on_cards = [int(minutes) for minutes in re.findall(r"◆ (\d+) min", cards)]
    assert on_cards == [int(n) for n in re.findall(r"\) (\d+)", tables.path(put, ""))]
