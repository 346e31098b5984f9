"""Lighter pages: what a reader's device fetches is what it shows.

Pictures say their size, so that nothing moves when they arrive, and those below the first are
fetched when the reader comes near. PNG files have as many colours as an eye can tell. Of Font
Awesome, which the theme brings as three fonts and as a script of half a megabyte, a font is left
with the icons that the site has. What would load code from elsewhere, Thebe, is left out.
"""

import io
import re
import shutil
from pathlib import Path

import pydata_sphinx_theme
from fontTools import subset
from fontTools.ttLib import TTFont
from PIL import Image

PICTURE = re.compile(r"<img\b[^>]*>")
SOURCE = re.compile(r'src="(?:\.\./)*_images/([^"]+)"')
POINTS = {"": 1, "px": 1, "pt": 4 / 3}
THEBE = re.compile(r"sphinx-thebe\.|THEBE_JS_URL")
ICONS = re.compile(
    r"<(script|link)[^>]*fontawesome[^>]*(\.js|regular-400|brands-400)[^>]*>(</script>)?\n?"
)
MOTION = re.compile(r"@[^{};]*\{(?:[^{}]*\{[^{}]*\})+[^{}]*\}")
FONT = "fa-solid-900"


def size_of(path):
    """Width and height in CSS pixels, or None."""
    if path.suffix == ".svg":
        head = re.search(r"<svg\b[^>]*>", path.read_text(encoding="utf-8"))[0]
        sides = [re.search(rf'\b{side}="([\d.]+)(px|pt|)"', head) for side in ("width", "height")]
        return [round(float(s[1]) * POINTS[s[2]]) for s in sides] if all(sides) else None
    with Image.open(path) as picture:
        return picture.size


def sized(body, files):
    """HTML whose pictures have a size, and wait, but for the first, until they are near."""
    count = 0

    def change(found):
        nonlocal count
        count += 1
        more = "" if count == 1 or "loading=" in found[0] else ' loading="lazy"'
        source = SOURCE.search(found[0])
        size = size_of(files[source[1]]) if source and source[1] in files else None
        if size and not re.search(r"\s(width|height)=", found[0]):
            more += ' width="{}" height="{}"'.format(*size)
        return f"<img{more}{found[0][4:]}"

    return PICTURE.sub(change, body)


def lighten_page(app, pagename, templatename, context, doctree):
    if app.builder.format == "html":
        files = {name: Path(app.srcdir) / path for path, name in app.builder.images.items()}
        context["body"] = sized(context.get("body", ""), files)
        for kind in ("script_files", "css_files"):
            seen = {}
            for file in context[kind]:
                told = f"{file.filename}{getattr(file, 'attributes', {}).get('body', '')}"
                if not THEBE.search(told):
                    seen.setdefault(told, file)
            context[kind] = [*seen.values()]


def lighten(app, exception):
    if exception or app.builder.format != "html":
        return
    site = Path(app.outdir)
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    for path, text in pages.items():
        less = ICONS.sub("", text)
        less = re.sub(rf'type="font/woff2"([^>]*{FONT}\.woff)2', r'type="font/woff"\1', less)
        if less != text:
            path.write_text(less)
    cut_icons(site, pages.values())
    for path in (site / "_images").glob("*.png"):
        picture = Image.open(path)
        if picture.mode == "P":
            continue  # done by an earlier build
        picture = picture.convert("RGBA")
        if picture.getextrema()[3][0] == 255:
            picture = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        else:  # the page shines through
            picture = picture.quantize(256, method=Image.Quantize.FASTOCTREE)
        picture.save(path, optimize=True)


def cut_icons(site, pages):
    """Font Awesome's rules and its font, with the icons that pages, scripts and styles name."""
    theme = Path(pydata_sphinx_theme.__file__).parent
    (whole,) = theme.glob("theme/*/static/vendor/fontawesome/*")
    (served,) = site.glob("_static/vendor/fontawesome/*")
    files = [path for path in site.glob("_static/**/*") if served not in path.parents]
    scripts, styles = (
        [path.read_text() for path in files if path.suffix == ending] for ending in (".js", ".css")
    )
    names = set(re.findall(r"\bfa-[a-z0-9-]+", " ".join([*pages, *scripts])))
    rules = MOTION.sub("", (whole / "css" / "all.min.css").read_text())
    kept, style = [], " ".join(styles)  # the theme writes an icon as its character, or escaped
    codes = {int(code, 16) for code in re.findall(r'"\\(f[0-9a-f]{3})"', style)}
    codes |= {ord(character) for character in re.findall("[\uf000-\uf8ff]", style)}
    for selectors, body in re.findall(r"([^{}]+)\{([^{}]*)\}", rules):
        icon = re.fullmatch(r'content:"\\([0-9a-f]+)"', body)
        if icon:
            if not names & set(re.findall(r"fa-[a-z0-9-]+", selectors)):
                continue
            codes.add(int(icon[1], 16))
        if "@font-face" not in selectors:
            kept.append(f"{selectors}{{{body}}}")
    face = (
        '@font-face{font-family:"Font Awesome 6 Free";font-style:normal;font-weight:900;'
        f'font-display:block;src:url(../webfonts/{FONT}.woff) format("woff")}}'
    )
    shutil.rmtree(served)
    for folder in ("css", "webfonts"):
        (served / folder).mkdir(parents=True)
    shutil.copy(whole / "LICENSE.txt", served)
    (served / "css" / "all.min.css").write_text("".join([*kept, face]))
    (served / "webfonts" / f"{FONT}.woff").write_bytes(
        with_glyphs(whole / "webfonts" / f"{FONT}.ttf", codes)
    )


def with_glyphs(path, codes):
    """A font with these characters alone, as WOFF, which asks for no package beside fontTools."""
    font = TTFont(path)
    chooser = subset.Subsetter(
        subset.Options(layout_features=[], hinting=False, notdef_outline=True)
    )
    chooser.populate(unicodes=codes)
    chooser.subset(font)
    font.flavor = "woff"
    written = io.BytesIO()
    font.save(written)
    return written.getvalue()


def setup(app):
    app.connect("html-page-context", lighten_page, priority=900)
    app.connect("build-finished", lighten)
    return {"parallel_read_safe": True}
