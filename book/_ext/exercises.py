"""Exercises on the site: solutions without nbgrader's marks, and the learner's copy to download.

The marks tell nbgrader what to take out of the learner's copy; a reader has no use for them. As
long as the repository's address is not set (make repo URL=…), the button that opens this copy in
Colab would lead nowhere: then there is none.
"""

import re
import shutil
from pathlib import Path

COPIES = Path(__file__).resolve().parents[2] / "learner" / "book"
EXERCISES, FIRST, SUMMARY = (
    re.compile(rf"<h2>{title}<a.*?</h2>") for title in ("Exercises", "[^<]*", "Summary")
)
COPY = (
    '<p class="learner-copy">{purpose}, download <a href="{address}" download>{name}</a>, this '
    "chapter {without}, and open it in Jupyter. Its first cell installs "
    "<code>vaelib</code> where it is missing, or says how.</p>"
)
WITH_EXERCISES = ("To work on the exercises", "without its solutions")
WITHOUT = ("To run it and change it", "as a notebook")  # a chapter that sets no exercises


def without_marks(app, docname, source):
    if app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = re.sub(r" *### (BEGIN|END) SOLUTION\\n", "", source[0])


def offer_copy(app, pagename, templatename, context, doctree):
    name = pagename.removeprefix("book/") + ".ipynb"
    if doctree is not None and (COPIES / name).exists():
        body = context["body"]
        asked = '<section id="exercise-1' in body
        # Exercises that stand in the sections begin with the page.
        heads = (EXERCISES, FIRST) if asked else (SUMMARY,)
        head = next(found for head in heads if (found := head.search(body)))
        purpose, without = WITH_EXERCISES if asked else WITHOUT
        address = context["pathto"](f"learner/{name}", 1)
        offer = COPY.format(address=address, name=name, purpose=purpose, without=without)
        context["body"] = body.replace(head[0], head[0] + offer, 1)


def copy_copies(app, exception):
    if not exception and app.builder.format == "html":
        shutil.copytree(COPIES, Path(app.outdir) / "learner", dirs_exist_ok=True)


def no_button_without_address(app, config):
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options["launch_buttons"] = {}  # the theme would stop the build


def setup(app):
    app.connect("config-inited", no_button_without_address, priority=900)
    app.connect("source-read", without_marks)
    app.connect("html-page-context", offer_copy)
    app.connect("build-finished", copy_copies)
    return {"parallel_read_safe": True}
