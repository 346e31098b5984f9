"""Lighter pages: pictures with as many colours as an eye can tell, and no script for icons.

The theme brings Font Awesome twice, as fonts and as a script of half a megabyte; the fonts do.
"""

import re
from pathlib import Path

from PIL import Image

ICONS = re.compile(r"<(script|link)[^>]*fontawesome[^>]*\.js[^>]*>(</script>)?\n?")


def lighten(app, exception):
    if exception or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text()
        if ICONS.search(text):
            page.write_text(ICONS.sub("", text))
    for path in (Path(app.outdir) / "_images").glob("*.png"):
        picture = Image.open(path)
        if picture.mode == "P":
            continue  # done by an earlier build
        white = Image.new("RGBA", picture.size, "white")
        flat = Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
        flat.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def setup(app):
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True}
