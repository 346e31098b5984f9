"""The built site as a reader meets it. Screenshots go to _build/screenshots, to be looked at."""

import re
from html.parser import HTMLParser
from urllib.parse import unquote, urldefrag, urljoin, urlparse

import pytest
import yaml
from chapters import chapters
from conftest import ROOT, SHOTS, SITE

PAGES = sorted(
    str(path.relative_to(SITE))
    for path in SITE.rglob("*.html")
    if not {"_static", "_sources"} & set(path.relative_to(SITE).parts)
)
CONTENT = [page for page in PAGES if page.startswith("book/")]


def visited(pages):
    """Pages as parameters. Those of modules are all of one make: three are always visited."""
    always = {f"book/api/{name}.html" for name in ("vae", "latent", "figures")}
    few = {page for page in pages if page.startswith("book/api/")} - always
    return [pytest.param(page, marks=pytest.mark.soak) if page in few else page for page in pages]


def test_there_are_pages():
    assert {"book/index.html", "book/vae.html", "book/notation.html", "book/api.html"} <= set(PAGES)


def check_console(seen):
    """Every request goes to the site's own host and is answered; nothing is complained about."""
    assert seen.foreign == []
    assert seen.failed == []
    assert seen.complaints == []


def check_fit(tab, page, width, photographed):
    """Wide tables, code and formulas scroll by themselves; the page does not. Light and dark."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    figures = set()
    for scheme in sorted(("light", "dark"), key=lambda scheme: scheme != photographed):
        tab.emulate_media(color_scheme=scheme)  # the page follows the reader's system
        tab.wait_for_selector(f"html[data-theme={scheme}]")
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        figures.add(str([box.bounding_box()["width"] for box in tab.locator(".vf").all()]))
        if scheme == photographed:  # a long page takes seconds
            name = f"{page.removesuffix('.html').replace('/', '-')}-{width}-{scheme}.jpg"
            # A PNG takes three times as long. A JPEG holds 65,535 rows; one page has more.
            height = tab.evaluate("Math.min(document.documentElement.scrollHeight, 60000)")
            clip = {"x": 0, "y": 0, "width": width, "height": height}
            tab.screenshot(path=SHOTS / name, full_page=True, clip=clip, quality=80)
    assert len(figures) == 1, "a figure has another width in the dark"


def check_pictures(tab, page):
    """An alternative text of its own: a sentence, not a file name, and no two the same."""
    texts = tab.locator("article img").evaluate_all("all => all.map(i => i.getAttribute('alt'))")
    for text in texts:
        assert text is not None, "no alternative text"
        assert len(text.split()) >= 8, f"no alternative text but {text!r}"
        assert not re.search(r"\.(png|svg|jpe?g)|_images", text), text
    assert len(set(texts)) == len(texts)
    if page == "book/vae.html":
        assert len(texts) >= 9


def check_figures(seen, tab):
    """Every interactive figure is drawn, once, when the reader comes near."""
    places = tab.locator("[data-figure]")
    for place in places.all():
        place.scroll_into_view_if_needed()
        place.locator(".vf .said").first.wait_for()
        assert place.locator(".vf").count() == 1
        assert place.locator(".vf :is(svg, canvas)").count() >= 1
        assert place.locator(".vf .said").first.inner_text()
        assert not place.locator("> img").is_visible()
    if places.count():
        check_console(seen)


def check_menu(tab, page):
    """The menu of a phone slides in, and leads on."""
    tab.evaluate("window.scrollTo({top: 0, behavior: 'instant'})")
    # A page's link to itself goes nowhere, so look for another one.
    text, target = ("Notation", "notation") if "vae" in page else ("The variational", "vae")
    link = tab.locator(".bd-sidebar-primary a", has_text=text)
    assert not link.is_visible() or not in_window(link)
    tab.locator("label.primary-toggle, button.primary-toggle").first.click()
    tab.wait_for_timeout(500)  # the menu slides in
    assert link.is_visible()
    assert in_window(link)
    link.click()
    tab.wait_for_url(f"**/book/{target}.html", wait_until="commit")


TOO_WIDE = """all => all.filter((one) => {
  const box = one.closest("div.math > .katex-display, .pst-scrollable-table-container")
    ?? one.closest("p, li, dt, dd, td, h1, h2, h3, figcaption");
  return !/auto|scroll/.test(getComputedStyle(box).overflowX)
    && one.getBoundingClientRect().right > box.getBoundingClientRect().right + 1;
}).map((one) => one.closest(".katex").querySelector("annotation").textContent)"""


def check_formulas(tab):
    """Each formula is whole: within its line, or in a box that scrolls."""
    assert tab.locator("article .katex-html").evaluate_all(TOO_WIDE) == []


def test_whoever_else_is_asked_for_is_seen_and_not_reached(visit):
    seen = visit()
    tab = seen.open("book/notation.html", until="domcontentloaded")
    addresses = ["http://192.0.2.1/", "https://example.org/code.js"]
    for address in addresses:
        failed = tab.evaluate("(url) => fetch(url, { mode: 'no-cors' }).catch(String)", address)
        assert failed == "TypeError: Failed to fetch"
    assert seen.foreign == addresses


# One visit to each page: opening a chapter and setting its formulas is what takes the time. It gets
# as narrow as a phone there; tests below, and of figures, open pages that are so from the start.
@pytest.mark.parametrize("page", visited(PAGES))
def test_a_page_on_a_desktop_and_on_a_phone(visit, page):
    seen = visit(1280, "light")
    tab = seen.open(page)
    check_console(seen)
    if page in CONTENT:
        check_figures(seen, tab)
        check_formulas(tab)
        check_fit(tab, page, 1280, "light")
        check_pictures(tab, page)
        tab.set_viewport_size({"width": 390, "height": 900})
        check_formulas(tab)
        check_fit(tab, page, 390, "dark")
        check_menu(tab, page)


def in_window(locator):
    box = locator.bounding_box()
    return box is not None and box["x"] >= 0 and box["x"] + box["width"] <= 390


@pytest.mark.parametrize("width", [1280, 390])
def test_the_symbols_are_read_without_scrolling_their_table(visit, width):
    """What other sources call a symbol is in the last column, and the page says to look there."""
    tab = visit(width).open("book/notation.html")
    edges = tab.locator("#notation td:nth-child(6)").evaluate_all(
        "all => all.map(cell => [cell.getBoundingClientRect(), cell.closest('div')"
        ".getBoundingClientRect(), cell.scrollWidth - cell.clientWidth])"
        ".map(([cell, box, over]) => [cell.right - box.right, over])"
    )
    assert len(edges) > 30
    assert max(past for past, _ in edges) < 1
    assert max(over for _, over in edges) <= 1
    hidden = tab.locator("#notation :is(td, th)").evaluate_all(
        "all => all.filter(cell => cell.offsetWidth && cell.scrollWidth > cell.clientWidth + 1)"
        ".map(cell => cell.innerText)"
    )
    assert hidden == []


@pytest.mark.parametrize("told", chapters(), ids=lambda told: told.name)
def test_a_chapter_offers_its_copy_without_solutions(told):
    """The copy itself, at its exercises or its end; at its head is no word of what there is not."""
    chapter = told.name
    page = (SITE / "book" / f"{chapter}.html").read_text()
    (address,) = re.findall(r'<p class="learner-copy">.*?href="([^"]+)" download>', page)
    copy = (SITE / "book" / address).resolve()
    assert copy.read_text() == (ROOT / "learner" / "book" / f"{chapter}.ipynb").read_text()
    offer = page.index('class="learner-copy"')
    if told.exercises:
        # At their head; where they stand in the sections, at that of the first.
        head = page.index("<h2>Exercises" if "<h2>Exercises" in page else "<h2>")
        assert head < offer < page.index('<section id="exercise-1')
    else:
        assert page.index("<h2>Summary") < offer < page.index("<h2>Further reading")
    assert "address yet" not in page
    url = yaml.safe_load((ROOT / "_config.yml").read_text())["repository"]["url"]
    assert ('href="https://colab.research.google.com' in page) == bool(url)


class Text(HTMLParser):
    """What a reader sees; a formula as its TeX between dollars."""

    def __init__(self):
        super().__init__()
        self.said, self.within = "", []

    def handle_starttag(self, tag, attributes):
        self.within.append((tag, dict(attributes).get("class") or ""))

    def handle_endtag(self, tag):
        while self.within and self.within.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.within and self.within[-1][0] == "annotation":
            self.said += f"${data}$"
        elif not any(name.startswith("katex-") for _, name in self.within):
            self.said += data


def text(piece):
    reader = Text()
    reader.feed(piece)
    return reader.said.strip()


def cells_of_table(page, heading):
    """Of the first table after a heading: the text of each cell, line by line."""
    table = re.search(r"<table.*?</table>", page[page.index(heading) :], re.DOTALL)[0]
    rows = re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    cells = [re.findall(r"<t[dh].*?</t[dh]>", row, re.DOTALL) for row in rows]
    return [[text(cell) for cell in row] for row in cells]


def test_tables_of_chapters_say_what_the_notebooks_say():
    assigned = [chapter for chapter in chapters() if chapter.exercises]
    counts = [
        (
            len(chapter.exercises),
            sum(e.points for e in chapter.exercises),
            sum(e.minutes for e in chapter.exercises),
            chapter.minutes,
        )
        for chapter in assigned
    ]
    counts.append(tuple(sum(column) for column in zip(*counts, strict=True)))
    table = cells_of_table((SITE / "book" / "instructors.html").read_text(), "<h2>Assign")[1:]
    assert [tuple(map(int, row[1:-1])) for row in table] == counts
    assert [(row[0], row[-1]) for row in table[:-1]] == [
        (chapter.name, ", ".join(chapter.needs) or "–") for chapter in assigned
    ]


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.targets, self.ids = [], set()

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if "id" in attributes:
            self.ids.add(attributes["id"])
        for name in ("href", "src"):
            if name in attributes and tag in {"a", "img", "script", "link"}:
                self.targets.append(attributes[name])


def parsed(page):
    parser = Links()
    parser.feed((SITE / page).read_text())
    return parser


def test_every_link_within_the_site_leads_somewhere():
    ids = {page: parsed(page).ids for page in PAGES}
    broken = []
    for page in PAGES:
        for target in parsed(page).targets:
            if urlparse(target).scheme or (target.startswith("#") and target == "#"):
                continue
            address, fragment = urldefrag(urljoin(f"/{page}", target))
            address = unquote(urlparse(address).path).lstrip("/")
            if not (SITE / address).exists() or (
                fragment and address in ids and fragment not in ids[address]
            ):
                broken.append(f"{page}: {target}")
    assert broken == []
