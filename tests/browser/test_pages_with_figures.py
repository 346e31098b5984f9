"""Which pages of the site have figures, and how they look there; test_site.py opens each."""

from conftest import SITE

PLACES = {
    path.relative_to(SITE).as_posix(): path.read_text().count("data-figure=")
    for path in sorted(SITE.glob("book/*.html"))
}
WITH = [page for page, places in PLACES.items() if places]


def test_chapters_have_their_figures():
    expected = {"latent": 2, "amortized": 1, "kl": 1, "elbo": 1, "reparam": 1, "vae": 3}
    assert {page: PLACES[page] for page in WITH} == {
        f"book/{name}.html": count for name, count in sorted(expected.items())
    }


def test_no_widget_is_left_to_a_front_end_that_is_not_there():
    for path in SITE.glob("book/*.html"):
        assert "widget-view+json" not in path.read_text(), path
        # The host is loaded where there is something to draw, and nowhere else.
        assert ("_static/figures.js" in path.read_text()) == bool(path.name in str(WITH)), path


def test_a_figure_follows_the_page_into_the_dark(visit):
    tab = visit(390, "dark").open("book/kl.html")
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
