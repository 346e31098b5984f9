"""What every interactive figure owes its readers: drawn once, moved by mouse, key and finger."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SHOTS
from example_figures import EXAMPLES
from figures import page_of

NAMES = list(EXAMPLES)


def opened(browser, widget, *, width=1280, theme="light"):
    """A context with a page that shows the figure; complaints of the console are collected."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, has_touch=width < 600, offline=True,
        color_scheme=theme, reduced_motion="reduce",
    )  # fmt: skip
    page = context.new_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
    page.set_content(page_of(widget, theme=theme))
    page.wait_for_selector(".interactive.drawn")
    settle(page)
    return context, page, complaints


def settle(page):
    """Until the frame after the next has been drawn, and what a figure computes in pieces."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def look(page):
    """All that the figure shows: words, shapes, and the pixels of its canvases."""
    settle(page)
    return page.evaluate(
        "() => document.querySelector('.vf').innerHTML + "
        "[...document.querySelectorAll('.vf canvas')].map(c => c.toDataURL()).join()"
    )


def handle(page):
    """Where one can take hold of the figure: the first handle in a plot, or the drawing pad."""
    place = page.locator(".vf svg .handle, .vf canvas[tabindex]").first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.fixture(params=NAMES)
def widget(request):
    return EXAMPLES[request.param]()


def test_a_figure_on_a_desktop(browser, widget):
    context, page, complaints = opened(browser, widget)
    name = type(widget).__name__
    assert page.locator(".vf").count() == 1
    assert not page.locator(".interactive > img").is_visible()

    before = look(page)
    x, y = handle(page)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 25, y - 30, steps=4)
    page.mouse.up()
    dragged = look(page)
    assert dragged != before, "a drag changes nothing"

    control = page.locator(".vf input[type=range], .vf canvas[tabindex]").first
    control.focus()
    for key in ("Space", "ArrowRight", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    assert look(page) != dragged, "a key changes nothing"

    page.locator(".vf").screenshot(path=shots() / f"figure-{name}-1280-light.png")
    serious = [
        f"{found['id']}: {found['help']} {found['nodes'][0]['html'][:200]}"
        for found in Axe().run(page, ".vf").response["violations"]
        if found["impact"] in {"serious", "critical"}
    ]
    assert serious == []
    # In print the still picture comes back.
    page.emulate_media(media="print")
    assert page.locator(".interactive > img").is_visible()
    assert complaints == []
    context.close()


def test_a_figure_on_a_phone_in_the_dark(browser, widget):
    context, page, complaints = opened(browser, widget, width=390, theme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    before = look(page)
    x, y = handle(page)
    touch = context.new_cdp_session(page)
    for kind, points in (
        ("touchStart", [{"x": x, "y": y}]),
        ("touchMove", [{"x": x - 20, "y": y - 20}]),
        ("touchMove", [{"x": x - 30, "y": y + 25}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    assert look(page) != before, "a finger changes nothing"
    page.locator(".vf").screenshot(path=shots() / f"figure-{type(widget).__name__}-390-dark.png")
    sizes = page.locator(".vf svg text").evaluate_all(
        "all => all.map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes, default=12) >= 10, "letters that nobody can read"
    assert complaints == []
    context.close()


def shots():
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS
