"""A chapter's first picture, small: for the cards of the front page.

Words are too small to be read there: they are left out of an SVG, and of the still of a live
figure that can be drawn again from its settings. Another picture shows its left part.
"""

import base64
import io
import re
import xml.etree.ElementTree as ET

import matplotlib.style
from figures import STATE, VIEW
from PIL import Image, ImageOps

import vaelib.course.figures as kinds

WIDTH, HEIGHT = 280, 150  # in CSS pixels
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
HREF, PNG, WEBP = f"{{{XLINK}}}href", "data:image/png;base64,", "data:image/webp;base64,"
WORDS = re.compile(r"(text|legend|xtick|ytick)_\d+$")  # as matplotlib calls their groups
COLOURS = 32
# Pictures of chapters have no ground of their own; and a still is the same at each build.
LIKE_A_CHAPTER = {
    "svg.hashsalt": "thumbnail", "figure.facecolor": "none", "axes.facecolor": "none",
}  # fmt: skip


def first_picture(notebook):
    """Of a notebook: bytes, ending and alternative text of the first picture, which may be a still.

    Raises:
        ValueError: if it has none, or one without alternative text.
    """
    states = notebook["metadata"].get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            data, told = output.get("data", {}), output.get("metadata", {})
            alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
            alt = told.get("image/png", {}).get("alt", alt)
            for kind, ending in (("image/svg+xml", "svg"), ("image/png", "png")):
                if kind in data and not alt:
                    raise ValueError(f"no alternative text for the picture of:\n{cell['source']}")
                if VIEW in data and (drawn := still(states[data[VIEW]["model_id"]]["state"])):
                    return drawn, "svg", alt
                if kind in data:
                    content = "".join(data[kind])
                    whole = content.encode() if ending == "svg" else base64.b64decode(content)
                    return whole, ending, alt
    raise ValueError("expected a picture among the outputs, found none: make notebooks ONLY=…")


def still(state):
    """That of a figure with these settings, as an SVG; nothing if it needs more than settings."""
    kind = getattr(kinds, state["_anywidget_id"].rpartition(".")[2])
    own = {*kind.class_trait_names(sync=True)} - {*kinds.Figure.class_trait_names()}
    settings = {name: state[name] for name in own}
    if any(str(value).startswith("IPY_MODEL_") for value in settings.values()):
        return b""
    written = io.BytesIO()
    with matplotlib.style.context(["default", LIKE_A_CHAPTER]):
        kind(**settings).still().savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def small_svg(content):
    """Without words, in fewer digits and pixels, and as high and wide as a thumbnail."""
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    root = ET.fromstring(content)
    for parent in [*root.iter()]:
        for child in [*parent]:
            if WORDS.match(child.get("id", "")) or child.tag == f"{{{SVG}}}metadata":
                parent.remove(child)
        if parent.get(HREF, "").startswith(PNG):
            parent.set(HREF, WEBP + smaller(parent.get(HREF).removeprefix(PNG)))
        if "d" in parent.attrib:
            parent.set("d", re.sub(r"-?\d+\.\d+", halves, parent.get("d")))
    root.set("width", str(WIDTH))
    root.set("height", str(HEIGHT))
    return ET.tostring(root)


def halves(number):
    """A coordinate to half a point, which is a quarter of a pixel: nobody sees the rest."""
    return f"{round(2 * float(number[0])) / 2:g}"


def smaller(encoded):
    """A picture within an SVG at half its size: the whole is shown at less than that."""
    picture = Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGBA")
    picture = picture.resize([max(1, side // 2) for side in picture.size], Image.Resampling.BOX)
    written = io.BytesIO()
    picture.save(written, "webp", quality=36, method=6)
    return base64.b64encode(written.getvalue()).decode()


def small_png(content):
    """At twice the size, for fine screens; what is wider than a thumbnail is cut on the right."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    picture = ImageOps.fit(picture, (2 * WIDTH, 2 * HEIGHT), centering=(0.0, 0.5))
    written = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(written, "png", optimize=True)
    return written.getvalue()


def thumbnail(notebook):
    """Bytes, ending and alternative text."""
    content, ending, alt = first_picture(notebook)
    return {"svg": small_svg, "png": small_png}[ending](content), ending, alt
