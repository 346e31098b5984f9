"""The front page: line, button and figure in the first screen, and then the chapters."""

import json
import re

import pytest
from chapters import chapters
from conftest import ROOT, SITE

PAGE = "book/index.html"
SCREENS = {1280: 720, 390: 844}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SCREENS)
def test_line_button_and_figure_are_in_the_first_screen(visit, width, scheme):
    seen = visit(width, scheme)
    height = SCREENS[width]
    seen.page.set_viewport_size({"width": width, "height": height})
    tab = seen.open(PAGE)
    tab.wait_for_selector(".interactive.drawn .vf")
    title, line, button, figure = (
        tab.locator(selector).first.bounding_box()
        for selector in ("article h1", "article h1 + p", ".to-start", ".vf")
    )
    whom = tab.locator(".beside")
    assert "who know some Python" in whom.inner_text()
    assert whom.bounding_box()["y"] + whom.bounding_box()["height"] <= figure["y"]
    begin, *shown = tab.locator(".vf .stage > :is(button, canvas)").all()
    for part in (begin, *shown):  # what is to be pressed, and both planes, whole
        assert part.bounding_box()["y"] + part.bounding_box()["height"] <= height
    assert len(shown) == 2
    tops = [box["y"] for box in (title, line, button, figure)]
    assert tops == sorted(tops)
    for above, below in ((title, line), (line, button), (button, figure)):
        assert above["y"] + above["height"] <= below["y"] + 1
    assert title["height"] <= {1280: 60, 390: 80}[width]
    assert button["height"] >= 44
    if width == 390:
        assert button["width"] == pytest.approx(figure["width"], abs=1)
    else:
        assert figure["width"] >= 900
        assert not tab.locator(".bd-sidebar-secondary").count()
    assert not tab.locator(".secondary-toggle:visible").count()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_without_scripts_the_figure_is_a_picture_with_words(browser, site):
    context = browser.new_context(
        viewport={"width": 1280, "height": 720}, java_script_enabled=False
    )
    tab = context.new_page()
    tab.goto(f"{site}/{PAGE}", wait_until="networkidle")
    picture = tab.locator(".interactive > img")
    assert picture.count() == 1
    assert len(picture.get_attribute("alt").split()) >= 8
    assert picture.get_attribute("loading") is None  # it is in the first screen
    assert tab.evaluate("document.querySelector('.interactive > img').naturalWidth") >= 700
    box = picture.bounding_box()
    assert box["y"] < 400
    assert box["width"] >= 700
    context.close()


def test_the_figure_learns_when_it_is_asked_to(visit):
    """The images to learn from are fetched then, and not before."""
    seen = visit(1280)
    tab = seen.open(PAGE)
    said = tab.locator(".vf .said")
    before = said.inner_text()
    assert not [r.url for r in seen.responses if r.url.endswith(".bin")]
    tab.locator(".vf button").first.click()
    tab.wait_for_function(
        "before => document.querySelector('.vf .said').innerText !== before", arg=before
    )
    tab.wait_for_function(
        "() => parseInt(document.querySelector('.vf .said').innerText.replace(',', '')) >= 1000"
    )
    assert [r.url for r in seen.responses if r.url.endswith(".bin")]
    assert (seen.foreign, seen.failed, seen.complaints) == ([], [], [])


def exercises():
    """Counted in the notebooks themselves, by the marks of their answers."""
    return sum(
        "### BEGIN SOLUTION" in "".join(cell["source"])
        for chapter in chapters()
        for cell in json.loads(chapter.path.read_text())["cells"]
    )


def test_the_four_facts_are_those_of_the_chapters(visit):
    tab = visit().open(PAGE, until="domcontentloaded")
    facts = tab.locator(".facts li").all_inner_texts()
    assert len(facts) == 4
    assert facts[0] == f"{len(chapters())} chapters"
    assert facts[1].startswith(f"{exercises()} exercises")
    assert "CPU" in facts[2]
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert "(CC BY 4.0)" in (ROOT / "LICENSE-book").read_text()
    assert facts[3] == "free: code MIT, text CC BY 4.0"


@pytest.mark.parametrize("width", SCREENS)
def test_each_chapter_has_its_card(visit, width):
    tab = visit(width).open(PAGE)
    cards = tab.locator(".chapter-cards li")
    assert cards.count() == len(chapters())
    for card, chapter in zip(cards.all(), chapters(), strict=True):
        link = card.locator("a")
        assert link.inner_text() == chapter.title
        assert link.get_attribute("href") == f"{chapter.name}.html"
        texts = card.locator("p").all_inner_texts()
        assert texts[1] == chapter.card.replace("'", "’")  # as it is set
        assert texts[2].startswith(f"{chapter.minutes} min")
        work = sum(exercise.minutes for exercise in chapter.exercises)
        assert ("◆" in texts[2]) == bool(chapter.short_path)
        assert texts[2].endswith(f"exercises {work} min") != bool(chapter.short_path)
        card.scroll_into_view_if_needed()
        picture = card.locator("img.thumbnail")
        picture.evaluate("one => one.decode()")
        assert picture.evaluate("one => one.naturalWidth") >= 200
        assert picture.get_attribute("loading") == "lazy"
        words, box = card.locator("a").bounding_box(), picture.bounding_box()
        if width == 390:  # beside the words
            assert box["width"] == 96
            assert box["x"] + box["width"] <= words["x"]
        else:  # above them
            assert box["width"] >= 250
            assert box["y"] + box["height"] <= words["y"]


def test_the_minutes_of_the_path_add_up(visit):
    """Those of the cards are those of the line, and the line says their sum."""
    tab = visit().open(PAGE, until="domcontentloaded")
    cards = re.findall(r"◆ (\d+)", tab.locator(".chapter-cards").inner_text())
    line = tab.locator("article p", has_text="minutes in all").inner_text()
    minutes = [int(number) for number in re.findall(r"\w (\d+)(?= ·|;)", line)]
    assert minutes == [int(number) for number in cards]
    assert sum(minutes) == int(re.search(r"(\d+) minutes in all", line)[1])
    names = [chapter.name for chapter in chapters() if chapter.short_path]
    assert re.findall(r"([a-z]+) \d+(?= ·|;)", line) == names


def test_nothing_is_said_of_make_in_the_first_screens():
    page = (SITE / PAGE).read_text()
    assert "<code" not in page[page.index("<article") : page.index("<h2>The chapters")]
