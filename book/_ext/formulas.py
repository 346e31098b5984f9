"""Formulas made while the book is built: pages show them without a script, and at once.

KaTeX (`book/_vendor/katex`) runs in V8 by the wheel `mini-racer`. It is as strict as it can be: a
formula that it does not know, or knows otherwise than LaTeX, is an error that names page and
formula. Of its fonts those are served that the pages use.
"""

import html
import json
import re
import shutil
from functools import cache
from pathlib import Path

from docutils import nodes
from py_mini_racer import JSEvalException, MiniRacer
from sphinx.locale import _
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

KATEX = Path(__file__).resolve().parent.parent / "_vendor" / "katex"
# Characters that LaTeX has no glyph for in a formula, and what stands for them.
MACROS = {"½": r"\tfrac{1}{2}", "¼": r"\tfrac{1}{4}"}
SET = """
const set = (tex, displayMode) => katex.renderToString(
  tex, {displayMode, strict: "error", throwOnError: true, macros: {...%s}});
"""
log = logging.getLogger(__name__)


@cache
def engine():
    racer = MiniRacer()
    racer.eval((KATEX / "katex.min.js").read_text() + SET % json.dumps(MACROS))
    return racer


@cache
def formula(tex, display=False):
    """HTML and MathML of a formula; ValueError says what is wrong with it, and where."""
    try:
        return engine().call("set", tex, display)
    except JSEvalException as error:
        told = re.search(r"KaTeX parse error: .*|LaTeX-incompatible input.*", str(error))
        raise ValueError(told[0] if told else str(error)) from None


def as_html(tex, display, node):
    try:
        return formula(tex, display)
    except ValueError as error:
        log.error("formula %s: %s", json.dumps(tex, ensure_ascii=False), error, location=node)
        return f"<code>{html.escape(tex)}</code>"


def visit_inline(self, node):
    tex = node.astext()
    short = " short" * (len(re.sub(r"\s", "", tex)) <= 20)  # it is not broken at a line's end
    self.body.append(self.starttag(node, "span", "", CLASS=f"math notranslate nohighlight{short}"))
    self.body.append(as_html(tex, False, node) + "</span>")
    raise nodes.SkipNode


def visit_block(self, node):
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, _("Link to this equation"))
        self.body.append("</span>")
    tex = node.astext() if node["nowrap"] else lines(node.astext())
    self.body.append(as_html(tex, True, node) + "</div>\n")
    raise nodes.SkipNode


def lines(tex):
    r"""As reStructuredText means them: parts after empty lines, and ``\\`` without ``\begin``."""
    parts = [part for part in tex.split("\n\n") if part.strip()]
    parts = [
        rf"\begin{{split}}{part}\end{{split}}" if r"\\" in part and r"\begin" not in part else part
        for part in parts
    ]
    many = r"\begin{aligned}" + r"\\".join(parts) + r"\end{aligned}"
    return many if len(parts) > 1 else "".join(parts)


def needed(css, classes):
    """KaTeX's rules, with the fonts that these classes ask for, as WOFF2 only."""
    faces, rules = re.findall(r"@font-face\{.*?\}", css), re.sub(r"@font-face\{.*?\}", "", css)
    families = {
        family
        for selectors, family in re.findall(r"([^{}]+)\{[^{}]*?\b(KaTeX_\w+)", rules)
        if any({*re.findall(r"\.([\w-]+)", s)} <= classes for s in selectors.split(","))
    }
    faces = [face for face in faces if re.search(r"KaTeX_\w+", face)[0] in families]
    return (
        "".join(re.sub(r',url\([^)]+\) format\("(woff|truetype)"\)', "", f) for f in faces) + rules
    )


def serve(app, exception):
    if exception or app.builder.format != "html":
        return
    classes = set()
    for page in Path(app.outdir).rglob("*.html"):
        for found in re.findall(r'class="([^"]*)"', page.read_text()):
            classes.update(found.split())
    target = Path(app.outdir) / "_static" / "katex"
    shutil.rmtree(target, ignore_errors=True)
    (target / "fonts").mkdir(parents=True)
    css = needed((KATEX / "katex.min.css").read_text(), classes)
    (target / "katex.min.css").write_text(css)
    for name in ("LICENSE", "copy-tex.min.js", *re.findall(r"url\(([^)]+)\)", css)):
        shutil.copy(KATEX / name, target / name)


def setup(app):
    app.add_html_math_renderer("katex", (visit_inline, None), (visit_block, None))
    app.add_css_file("katex/katex.min.css")
    app.add_js_file("katex/copy-tex.min.js", loading_method="defer")  # a copy has the TeX, once
    app.connect("build-finished", serve)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
