"""A finger on a figure: the browser decides whether its touches drag a handle or scroll the page.

The touches are the browser's own input, many and small as a finger's are. After the first few
pixels it may take them for scrolling: then the figure hears of `pointercancel`, and of no more.
"""

import math

import pytest
from example_figures import EXAMPLES
from figures import opened, settle

# With room for 60 pixels down and across, on a phone.
START = {
    "WetStreet": {"p_rain": 0.8, "p_sprinkler": 0.9},
    "CurvedPosterior": {"x": 3.5},
    "TwoGaussians": {"q_scale": 0.4, "p_scale": 0.4},
    "Reparameterize": {"loc": -2.0, "scale": 0.5, "marked": -1.0, "k": -3.0},
}
# Which ways each handle of a figure can go.
HANDLES = {
    "WetStreet": ["y", "y"],
    "CurvedPosterior": ["y"],
    "TwoGaussians": ["x", "x", "x", "x"],
    "ElboGap": ["xy", "x", "x"],
    "Reparameterize": ["x", "x", "x", "x"],
    "LatentPlane": ["xy"],
}
WAYS = {"y": (0, 60), "x": (60, 0)}

LISTEN = """() => {
  window.heard = [];
  for (const kind of ["pointermove", "pointerup", "pointercancel"]) {
    document.addEventListener(kind, (e) => heard.push([kind, e.clientX, e.clientY]), true);
  }
}"""


@pytest.fixture
def phone(browser):
    """Make a page with a figure and much to scroll above and below it."""
    contexts = []

    def make(name, **settings):
        widget = EXAMPLES[name](**START.get(name, {}) | settings)
        context, page, complaints = opened(browser, widget, width=390)
        contexts.append(context)
        page.add_style_tag(content="body { padding: 900px 0 2000px }")
        page.evaluate(LISTEN)
        return page, complaints

    yield make
    for context in contexts:
        context.close()


def finger(page, start, by, steps=15):
    """Put a finger down, move it in small steps, lift it; return what the page heard of it."""
    page.evaluate("heard.length = 0")
    touch = page.context.new_cdp_session(page)

    def send(kind, *points):
        points = [{"x": x, "y": y} for x, y in points]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    send("touchStart", start)
    for k in range(1, steps + 1):
        send("touchMove", [at + k * way / steps for at, way in zip(start, by, strict=True)])
    send("touchEnd")
    touch.detach()
    settle(page)
    return page.evaluate("heard")


def middle(place):
    box = place.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def scrolled(page):
    return page.evaluate("scrollY")


def drag(page, start, by):
    """A drag that the page must hear of to its end, without scrolling; return that end."""
    before = scrolled(page)
    heard = finger(page, start, by)
    end = [at + way for at, way in zip(start, by, strict=True)]
    assert [kind for kind, *_ in heard if kind == "pointercancel"] == []
    assert heard[-1] == ["pointerup", *(pytest.approx(v, abs=1) for v in end)]
    assert scrolled(page) == before
    return end


def at_an_end(page):
    """How many sliders are at an end of their range."""
    return page.locator(".vf input[type=range]").evaluate_all(
        "all => all.filter(s => [s.min, s.max].includes(s.value)).length"
    )


@pytest.mark.parametrize("name", HANDLES)
def test_a_handle_follows_a_finger(phone, name):
    page, complaints = phone(name)
    handles = page.locator(".vf svg .handle")
    assert handles.count() == len(HANDLES[name])
    for i, free in enumerate(HANDLES[name]):
        handle = handles.nth(i)
        box = handle.bounding_box()
        assert min(box["width"], box["height"]) > 43.9  # a finger's width
        handle.evaluate("e => e.scrollIntoView({ block: 'center' })")
        for axis, by in WAYS.items():
            start, ends = middle(handle), at_an_end(page)
            finish, words = drag(page, start, by), page.locator(".vf .said").inner_text()
            found, k = middle(handle), "xy".index(axis)
            if axis not in free:
                assert found == pytest.approx(start, abs=2), f"handle {i} strayed"
            elif at_an_end(page) > ends:  # its range ends before the finger does
                assert abs(found[k] - start[k]) > 25, f"handle {i} did not follow"
            else:
                assert found[k] == pytest.approx(finish[k], abs=2), f"handle {i} did not follow"
            if axis in free:  # back to where it was, for the next
                drag(page, found, [-way for way in by])
                assert page.locator(".vf .said").inner_text() != words
    assert complaints == []


def test_the_ring_goes_to_the_run_below_the_finger(phone):
    page, complaints = phone("Retrain")
    ring = page.locator(".vf svg .handle").first
    ring.evaluate("e => e.scrollIntoView({ block: 'center' })")
    for by in WAYS.values():
        finish = drag(page, middle(ring), by)
        dots = [middle(dot) for dot in page.locator(".vf svg circle[r='4']").all()]
        nearest = min(abs(dot[0] - finish[0]) for dot in dots)
        assert abs(middle(ring)[0] - finish[0]) == pytest.approx(nearest, abs=0.5)
    assert complaints == []


def test_the_mark_goes_to_the_epoch_below_the_finger(phone):
    """Epochs with pictures stand at log(1 + epoch), between the axis's 0 and its 40."""
    page, complaints = phone("Dashboard", epoch=1)
    mark, plot = page.locator(".vf svg .handle").first, page.locator(".vf .stage svg").first
    mark.evaluate("e => e.scrollIntoView({ block: 'center' })")
    ends = plot.locator("text[dy='17']").evaluate_all(
        "all => all.map((t) => t.getBoundingClientRect()).map((box) => box.x + box.width / 2)"
    )
    slider, stops = page.get_by_role("slider", name="epoch"), (0, 1, 2, 3, 5, 8, 13, 20, 40)
    for across in (60, 150, -40):
        finish = drag(page, middle(mark), (across, 0))
        shown = slider.get_attribute("aria-valuetext")
        places = {
            epoch: ends[0] + (ends[-1] - ends[0]) * math.log(1 + epoch) / math.log(41)
            for epoch in stops
        }
        nearest = min(stops, key=lambda epoch: abs(places[epoch] - finish[0]))
        assert shown.startswith(f"epoch {nearest}: ")
        assert middle(mark)[0] == pytest.approx(places[nearest], abs=1)
    assert complaints == []


def test_a_finger_draws(phone):
    page, complaints = phone("DrawDigit")
    pad = page.locator(".vf canvas[tabindex]")
    pad.evaluate("e => e.scrollIntoView({ block: 'center' })")
    box = pad.bounding_box()
    for by in WAYS.values():
        end = drag(page, middle(pad), by)
        alpha = pad.evaluate(
            "(c, [x, y]) => c.getContext('2d').getImageData(x, y, 1, 1).data[3]",
            [
                (end[0] - box["x"]) * 260 / box["width"],
                (end[1] - box["y"]) * 260 / box["height"],
            ],
        )
        assert alpha == 255, "no ink where the finger was lifted"
    assert complaints == []


# A point of the figure's last plot that is 30 pixels and more from every handle. Where all changes
# many times a second, plots are canvases.
PLOTS = ".vf .stage :is(svg, canvas.plot)"
BESIDE = """() => {
  const plots = [...document.querySelectorAll(".vf .stage :is(svg, canvas.plot)")];
  const plot = plots.at(-1).getBoundingClientRect();
  const handles = [...document.querySelectorAll(".vf svg .handle")].map((h) => {
    const box = h.getBoundingClientRect();
    return [box.x + box.width / 2, box.y + box.height / 2];
  });
  for (let y = plot.bottom - 20; y > plot.top; y -= 10) {
    for (let x = plot.left + 60; x < plot.right - 20; x += 10) {
      if (handles.every(([u, v]) => Math.hypot(u - x, v - y) > 30)) return [x, y];
    }
  }
}"""


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_finger_beside_a_handle_scrolls_the_page(phone, name):
    page, complaints = phone(name)
    plots = page.locator(PLOTS)
    plots.last.evaluate("e => e.scrollIntoView({ block: 'center' })")
    start, before = page.evaluate(BESIDE), scrolled(page)
    heard = finger(page, start, (0, -60))
    page.wait_for_function("before => scrollY > before + 30", arg=before)
    assert "pointercancel" in {kind for kind, *_ in heard}
    assert complaints == []


def test_the_nearest_of_two_handles_is_meant(phone):
    """The last drawn lies over the other, which is its neighbour by less than half a finger."""
    page, _ = phone("Reparameterize", scale=0.4)
    loc, scale = (page.locator(".vf svg .handle").nth(i) for i in (1, 2))
    loc.evaluate("e => e.scrollIntoView({ block: 'center' })")
    assert math.dist(middle(loc), middle(scale)) < 22
    values = page.locator(".vf output")
    before = values.all_inner_texts()
    drag(page, middle(loc), (60, 0))
    after = values.all_inner_texts()
    assert [a != b for a, b in zip(before, after, strict=True)] == [True, False, False, False]
