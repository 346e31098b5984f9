"""What a page costs a phone, and what it shows before, and without, its scripts."""

import gzip
import re

import pytest
from chapters import chapters
from conftest import SITE
from fontTools.ttLib import TTFont
from test_site import CONTENT, PAGES, visited

CHAPTERS = [f"book/{chapter.name}.html" for chapter in chapters()]
# Thousands of bytes, compressed, until a page lies still; nobody has scrolled.
MOST = {"book/index.html": 250, "book/vae.html": 400} | {
    page: 350 for page in CHAPTERS if page != "book/vae.html"
}
COMPRESSED = re.compile(r"font|png|jpeg|octet-stream")


def sent(response):
    """The bytes of an answer, as a server sends them that compresses what is not yet."""
    body = response.body()
    known = COMPRESSED.search(response.headers.get("content-type", ""))
    return len(body if known else gzip.compress(body))


@pytest.mark.parametrize(("width", "page"), [(w, page) for page in MOST for w in (390, 1280)])
def test_the_first_load_is_light(visit, page, width):
    seen = visit(width)
    seen.open(page)
    weights = {r.url: sent(r) for r in seen.responses}
    assert len(weights) > 10
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:8]
    assert sum(weights.values()) <= 1000 * MOST[page], heaviest


@pytest.mark.parametrize("page", visited(CONTENT))
def test_a_page_says_all_without_scripts(browser, site, page):
    """Its formulas are set, its pictures are there, no figure's place is empty."""
    context = browser.new_context(viewport={"width": 390, "height": 900}, java_script_enabled=False)
    tab = context.new_page()
    failed = []
    tab.on("response", lambda r: r.status >= 400 and failed.append(r.url))
    tab.goto(f"{site}/{page}", wait_until="networkidle")
    assert failed == []
    text = (SITE / page).read_text()
    assert text.count('class="katex"') == text.count('class="katex-html"')
    assert tab.locator(".katex-html").count() == text.count('class="katex-html"')
    for formula in tab.locator("article p .katex-html").all()[:3]:
        formula.scroll_into_view_if_needed()
        box = formula.bounding_box()
        assert box["width"] > 3
        assert box["height"] > 8
    for picture in tab.locator("article :is(.interactive > img, figure img)").all():
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert box["width"] > 100
        assert box["height"] > 30
    context.close()


@pytest.mark.parametrize("page", CONTENT)
def test_pictures_have_a_size_and_wait_until_they_are_near(page):
    body = (SITE / page).read_text()
    pictures = re.findall(r"<img\b[^>]*>", body[body.index("<article") : body.index("</article>")])
    for index, picture in enumerate(pictures):
        assert re.search(r'\bwidth="\d+"', picture), picture
        assert re.search(r'\bheight="\d+"', picture), picture
        assert ('loading="lazy"' in picture) == (index > 0), picture
        assert "base64" not in picture, picture[:80]


TOP = """(id) => document.getElementById(id).querySelector("h1, h2, h3, h4, dt")
  .getBoundingClientRect().top"""


@pytest.mark.parametrize("width", [390, pytest.param(1280, marks=pytest.mark.soak)])
@pytest.mark.parametrize("page", visited(CONTENT))
def test_a_link_to_a_section_shows_it_at_the_top(visit, page, width):
    """The last one too, and one with pictures and figures above and below; it stays there."""
    body = (SITE / page).read_text()
    article = body[body.index("<article") : body.index("</article>")]
    names = re.findall(r'<section [^>]*\bid="([^"]+)"', article)
    reader = visit(width)  # who has the page's files at hand the second time
    for name in dict.fromkeys([names[-1], names[len(names) // 2]]):
        tab = reader.open(f"{page}#{name}")
        # A browser goes there with its first frame, which a busy machine draws late.
        tab.wait_for_function(f"(id) => ({TOP})(id) <= 200", arg=name)
        tab.wait_for_timeout(300)  # for figures that are near to be drawn
        assert 30 <= tab.evaluate(TOP, name) <= 200, name


COPY = """(selector) => {
  const range = document.createRange();
  range.selectNode(document.querySelector(selector));
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  const data = new DataTransfer();
  document.dispatchEvent(new ClipboardEvent("copy", { clipboardData: data }));
  return data.getData("text/plain");
}"""


def test_a_copied_formula_is_its_source_once(visit):
    tab = visit().open("book/elbo.html")
    inline = tab.evaluate(COPY, "article p .katex")
    assert inline.startswith("$")
    assert inline.endswith("$")
    assert inline.strip("$") in tab.locator("article annotation").all_text_contents()
    shown = tab.evaluate(COPY, "article .katex-display")
    assert shown.strip().startswith("$$")
    assert shown.count("\\begin{aligned}") <= 1


def test_fonts_of_formulas_are_those_that_pages_use():
    """No page asks for one that is not there; those that nobody asks for are not served."""
    fonts = {path.stem.split("-")[0] for path in (SITE / "_static/katex/fonts").iterdir()}
    assert {"KaTeX_Main", "KaTeX_Math", "KaTeX_Size1"} <= fonts
    assert "KaTeX_Fraktur" not in fonts
    css = (SITE / "_static" / "katex" / "katex.min.css").read_text()
    for name in re.findall(r"url\(([^)]+)\)", css):
        assert (SITE / "_static" / "katex" / name).exists()


SHOWN = """() => [...document.querySelectorAll("*")].flatMap((element) =>
  ["::before", "::after"].map((part) => getComputedStyle(element, part))
    .filter((style) => style.fontFamily.includes("Font Awesome"))
    .map((style) => style.content))"""


@pytest.mark.parametrize("page", ["book/index.html", "book/kl.html", "book/api.html"])
def test_each_icon_is_in_the_font(visit, page):
    (path,) = SITE.glob("_static/vendor/fontawesome/*/webfonts/*")
    glyphs = TTFont(path).getBestCmap()
    assert path.stat().st_size < 20_000
    shown = set("".join(visit().open(page).evaluate(SHOWN))) - {'"'}
    icons = {character for character in shown if ord(character) >= 0xE000}
    assert len(icons) >= 5
    assert {character for character in icons if ord(character) not in glyphs} == set()


def test_nothing_on_a_page_would_load_code_from_elsewhere():
    for page in PAGES:
        text = (SITE / page).read_text()
        assert "unpkg.com" not in text, page
        assert "sphinx-thebe" not in text, page
        assert not re.search(r"mathjax/|window\.MathJax", text), page
