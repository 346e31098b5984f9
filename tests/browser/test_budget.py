"""How a chapter's height on a desk is shared out, any exercises aside: pictures before code."""

import pytest
from chapters import chapters

CHAPTERS = [chapter.name for chapter in chapters()]

SHARES = """() => {
  const article = document.querySelector("article");
  // The section of exercises, or each of them where they stand in the sections of their subjects.
  const headed = (level, start) => [...article.querySelectorAll("section")].filter(
    (part) => start.test(part.querySelector(`:scope > ${level}`)?.innerText ?? ""));
  const together = headed("h2", /^Exercises/);
  const asides = together.length ? together : headed("h3", /^Exercise \\d/);
  const tall = (element) => element?.getBoundingClientRect().height ?? 0;
  // A shut fold takes no room, but what is in it has the height that it would take.
  const shut = (e) => e.tagName !== "SUMMARY" && e.closest("details:not([open])");
  const within = (e) => asides.some((part) => part.contains(e));
  const sum = (elements) => [...elements].filter((e) => !within(e) && !shut(e))
    .reduce((total, e) => total + tall(e), 0);
  const all = (selector) => [...article.querySelectorAll(selector)];
  // Answers to choose from are the text of an exercise, wherever it stands.
  const output = all(".cell_output > .output")
    .filter((e) => !e.querySelector("img, .interactive, .choices"));
  const code = [...all(".cell_input"), ...output, ...all("div.cell details.hide > summary")];
  const pictures = [...all(".cell_output img"), ...all(".interactive"), ...all("figure img")]
    .filter((e) => !e.parentElement.closest(".interactive"));
  const whole = tall(article) - asides.reduce((height, part) => height + tall(part), 0);
  return { whole, code: sum(new Set(code)), pictures: sum(new Set(pictures)) };
}"""


@pytest.mark.parametrize("name", CHAPTERS)
def test_pictures_have_their_share_of_the_page_and_code_no_more_than_its_own(visit, name):
    tab = visit(1280).open(f"book/{name}.html")
    # Pictures that wait for the reader have no height before.
    tab.evaluate("document.querySelectorAll('img').forEach(i => { i.loading = 'eager'; })")
    tab.wait_for_function("() => [...document.images].every(i => i.complete)")
    tab.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    tab.wait_for_load_state("networkidle")
    shares = tab.evaluate(SHARES)
    code, pictures = shares["code"] / shares["whole"], shares["pictures"] / shares["whole"]
    assert code <= 0.28, f"code and output take {code:.0%}, pictures {pictures:.0%}"
    assert pictures >= 0.18, f"pictures take {pictures:.0%}, code and output {code:.0%}"


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_output_is_cut_on_a_phone(visit, name):
    """Each output is inside the screen; what is wider scrolls by itself."""
    tab = visit(390).open(f"book/{name}.html", until="domcontentloaded")
    cut = tab.evaluate(
        """() => [...document.querySelectorAll("article :is(.cell_output, figure, .vf)")]
          .filter((e) => e.getBoundingClientRect().right > innerWidth + 1)
          .map((e) => e.innerText.slice(0, 80))"""
    )
    assert cut == []
    hidden = tab.evaluate(
        """() => [...document.querySelectorAll(
            "article :is(.cell_output pre, .result, .katex-display)")]
          .filter((e) => e.scrollWidth > e.clientWidth + 1)
          .filter((e) => ["hidden", "clip"].includes(getComputedStyle(e).overflowX))
          .map((e) => e.innerText.slice(0, 80))"""
    )
    assert hidden == []
