"""What every interactive figure owes its readers: drawn once, moved by mouse and key, readable.

Fingers are in `test_touch.py`.
"""

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import SHOTS
from example_figures import EXAMPLES
from figures import opened, settle

NAMES = list(EXAMPLES)


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


@pytest.fixture(scope="module", params=NAMES)
def phone(request, browser):
    """A figure on a phone, in the dark; tests leave it as wide, with other settings."""
    context, page, complaints = opened(browser, EXAMPLES[request.param](), width=390, theme="dark")
    yield request.param, page, complaints
    context.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_on_a_desktop(browser, name):
    context, page, complaints = opened(browser, EXAMPLES[name]())
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


def test_a_figure_on_a_phone_in_the_dark(phone):
    name, page, complaints = phone
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".vf").screenshot(path=shots() / f"figure-{name}-390-dark.png")
    sizes = page.locator(".vf svg text").evaluate_all(
        "all => all.map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes, default=12) >= 10, "letters that nobody can read"
    assert complaints == []


def shots():
    SHOTS.mkdir(parents=True, exist_ok=True)
    return SHOTS


@pytest.mark.parametrize("width", [688, 520, 390])
def test_pictures_beside_a_drawing_are_not_stretched(browser, width):
    """What is decoded stands beside the drawing on a phone too; planes are as high as wide."""
    context, page, _ = opened(browser, EXAMPLES["DrawDigit"](), width=width)
    pad, strip = (p.bounding_box() for p in page.locator(".vf .stage canvas").all())
    assert pad["width"] == pytest.approx(pad["height"], rel=0.02)
    assert strip["height"] == pytest.approx(118 / 58 * strip["width"], rel=0.02)
    assert strip["y"] == pytest.approx(pad["y"], abs=1)
    assert strip["x"] >= pad["x"] + pad["width"]
    plane, close, bar = (p.bounding_box() for p in page.locator(".vf .stage > svg").all())
    assert (plane["y"] == pytest.approx(pad["y"], abs=1)) == (width == 688)
    for place in (plane, close):
        assert place["width"] < (1.5 if width < 520 else 2) * place["height"]
    assert bar["width"] > 250
    context.close()


def test_what_is_seen_of_the_rain_is_called_rain(browser):
    context, page, _ = opened(browser, EXAMPLES["WetStreet"]())
    page.get_by_role("combobox", name="Rain", exact=True).select_option("no rain")
    settle(page)
    assert "wet, no rain" in page.locator(".vf .said").inner_text()
    context.close()


# Points of what is drawn that lie beyond their plot, and at which it is what one would hit there.
BEYOND = """() => {
  const found = [];
  for (const shape of document.querySelectorAll(".vf svg path.line, .vf svg g > circle")) {
    if (shape.closest(".handle")) continue;
    const plot = shape.closest("svg").getBoundingClientRect();
    const length = shape.getTotalLength();
    for (let i = 0; i <= 200; i += 1) {
      const at = shape.getPointAtLength((i * length) / 200).matrixTransform(shape.getScreenCTM());
      const inside = at.x > plot.left - 1 && at.x < plot.right + 1
        && at.y > plot.top - 1 && at.y < plot.bottom + 1;
      if (!inside && document.elementsFromPoint(at.x, at.y).includes(shape)) {
        found.push([shape.tagName, at.x, at.y]);
        break;
      }
    }
  }
  return found;
}"""


def test_nothing_is_drawn_beyond_its_plot(phone):
    """Of DrawDigit's example, whose network is untrained, q is wider than the close-up."""
    _, page, _ = phone
    before = page.viewport_size
    page.set_viewport_size({"width": 390, "height": 2500})  # a point off the screen hits nothing
    settle(page)
    assert page.evaluate(BEYOND) == []
    page.set_viewport_size(before)


@pytest.mark.parametrize("end", ["min", "max"])
def test_no_handle_leaves_its_plot(phone, end):
    """With every slider at an end of its range, on a phone, where beside the plot is no screen."""
    _, page, _ = phone
    page.evaluate(
        "document.querySelectorAll('.vf details').forEach((fold) => { fold.open = true; })"
    )
    for slider in page.locator(".vf input[type=range]").all():
        slider.fill(slider.get_attribute(end))
    settle(page)
    for handle in page.locator(".vf svg .handle").all():
        plot = handle.locator("xpath=ancestor::*[local-name()='svg']").bounding_box()
        box = handle.bounding_box()
        for at, size in (("x", "width"), ("y", "height")):
            middle = box[at] + box[size] / 2
            assert plot[at] <= middle <= plot[at] + plot[size]
