"""A page with figures on it, as the site has it, but built from widgets and not from a notebook."""

import base64
import importlib.util
import io
from functools import cache

from conftest import ROOT
from example_figures import EXAMPLES
from ipywidgets.embed import dependency_state

PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="{theme}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>A figure</title><style>{style}
html {{ background: {background}; color: {color}; font-family: sans-serif; }}
body {{ margin: 0 8px }}
</style></head>
<body><main><h1>A figure</h1>{places}</main>
<script type="module">{host}</script></body></html>"""


# The site's own extension; it is called as this file is.
SPEC = importlib.util.spec_from_file_location("extension", ROOT / "book" / "_ext" / "figures.py")
EXTENSION = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(EXTENSION)
packed = EXTENSION.packed
TYPES = {"js": "text/javascript", "json": "application/json", "bin": "application/octet-stream"}


def inline(content, ending):
    """An address that needs no server."""
    return f"data:{TYPES[ending]};base64,{base64.b64encode(content).decode()}"


@cache
def still(figure):
    """The picture that print shows: of the example, whatever the settings; drawing takes long."""
    png = io.BytesIO()
    EXAMPLES[figure.__name__]().still().savefig(png, format="png", dpi=80)
    return base64.b64encode(png.getvalue()).decode()


def page_of(*widgets, theme="light", put=inline):
    """HTML of a page that draws these widgets with the site's own script."""
    states = dependency_state(widgets, drop_defaults=False)
    places = [
        f'<div class="interactive" data-figure="{packed(states, widget.model_id, put)}">'
        f'<img alt="{widget.description}" src="data:image/png;base64,{still(type(widget))}"></div>'
        for widget in widgets
    ]
    static = ROOT / "book" / "_static"
    return PAGE.format(
        theme=theme,
        background="#14181e" if theme == "dark" else "white",
        color="#ced6dd" if theme == "dark" else "#222832",
        style=(static / "course.css").read_text(),
        places="".join(places),
        host=(static / "figures.js").read_text(),
    )


def opened(browser, widget, *, width=1280, theme="light"):
    """A context with a page that shows the figure; complaints of the console are collected."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, has_touch=width < 600, is_mobile=width < 600,
        offline=True, color_scheme=theme, reduced_motion="reduce",
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


TICKS = """(all, down) => all.filter((t) => /^−?[\\d.]+$/.test(t.textContent)).map((t) => [
  Number(t.textContent.replace("−", "-")), (down ? t.y : t.x).baseVal[0].value])"""


def axis(plot, name):
    """From the numbers at an axis of a plot: pixels per unit, and the pixel of zero."""
    anchor = {"x": "middle", "y": "end"}[name]
    ticks = plot.locator(f"text[text-anchor={anchor}]").evaluate_all(TICKS, name == "y")
    (low, first), (high, last) = min(ticks), max(ticks)
    slope = (last - first) / (high - low)
    return slope, first - slope * low


VALUES = """async ([source, settings]) => {
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { values } = await import(address);
  return settings.map((one) => values(one));
}"""


def values_in_the_page(page, figure, settings):
    """What the figure's script computes for each of the settings."""
    return page.evaluate(VALUES, [figure._esm, settings])
