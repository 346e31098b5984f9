"""Which pages of the site have figures, and how they look there; test_site.py opens each."""

import json

from chapters import chapters
from conftest import ROOT, SITE

PLACES = {
    path.relative_to(SITE).as_posix(): path.read_text().count("data-figure=")
    for path in sorted(SITE.glob("book/*.html"))
}
WITH = [page for page, places in PLACES.items() if places]


def test_chapters_have_their_figures():
    """As many as their notebooks; that each of the package is in one, test_notebooks.py says."""
    expected = {"book/index.html": (ROOT / "book" / "index.md").read_text().count("{live-figure}")}
    for chapter in chapters():
        outputs = [
            output
            for cell in json.loads(chapter.path.read_text())["cells"]
            for output in cell.get("outputs", [])
        ]
        views = sum("widget-view+json" in str([*output.get("data", {})]) for output in outputs)
        expected |= {f"book/{chapter.name}.html": views} if views else {}
    assert len(WITH) >= 6
    assert {page: PLACES[page] for page in WITH} == expected


def test_no_widget_is_left_to_a_front_end_that_is_not_there():
    for path in SITE.glob("book/*.html"):
        assert "widget-view+json" not in path.read_text(), path
        # The host is loaded where there is something to draw, and nowhere else.
        assert ("_static/figures.js" in path.read_text()) == bool(path.name in str(WITH)), path


def test_a_figure_is_fetched_when_the_reader_comes_near(visit):
    """Neither its script nor its network before; from then on figures of a page share both."""
    seen = visit(1280)
    tab = seen.open("book/vae.html")

    def fetched():
        return [r.url for r in seen.responses if "/_static/figures/" in r.url]

    tops = tab.locator("[data-figure]").evaluate_all(
        "all => all.map((place) => place.getBoundingClientRect().top)"
    )
    assert not [url for url in fetched() if url.endswith((".js", ".bin"))] or min(tops) < 1700
    for top in tops:
        # 700 px below the window's lower edge: not in sight, and there already.
        tab.evaluate("y => window.scrollTo(0, y)", max(top - 900 - 700, 0))
        tab.wait_for_load_state("networkidle")
    tab.wait_for_function("() => document.querySelectorAll('.drawn').length > 0")
    networks = [url for url in fetched() if url.endswith(".bin")]
    assert len(networks) == len(set(networks)) >= 1
    assert "widget-state" not in tab.content()


def test_a_figure_follows_the_page_into_the_dark(visit):
    tab = visit(390, "dark").open("book/kl.html")
    tab.locator(".interactive").first.scroll_into_view_if_needed()
    tab.wait_for_selector(".interactive.drawn")
    page, figure, ground = tab.evaluate(
        """() => {
          const [article, figure] = ["article", ".vf"].map((s) => document.querySelector(s));
          const grounds = [];
          for (let e = figure; e !== article; e = e.parentElement) {
            grounds.push(getComputedStyle(e).backgroundColor);
          }
          return [getComputedStyle(article).color, getComputedStyle(figure).color, grounds];
        }"""
    )
    assert figure == page
    assert set(ground) == {"rgba(0, 0, 0, 0)"}
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
