"""Exercises on the site: solutions without nbgrader's marks, and a word where Colab would be.

The marks tell nbgrader what to take out of the learner's copy; a reader has no use for them. And as
long as the repository's address is not set (make repo URL=…), the button that opens a chapter in
Colab would lead nowhere: then there is none, and the page says so.
"""

import re

NO_ADDRESS = (
    '<p class="no-address">This copy of the course has no address yet, so there is no button that '
    "opens the chapter in Colab. To run it, use the notebook in a clone: <code>book/{name}.ipynb"
    "</code>, or without solutions <code>learner/book/{name}.ipynb</code>.</p>"
)


def without_marks(app, docname, source):
    if app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = re.sub(r" *### (BEGIN|END) SOLUTION\\n", "", source[0])


def say_why_no_button(app, pagename, templatename, context, doctree):
    if app.config.html_theme_options.get("repository_url") or doctree is None:
        return
    if app.env.doc2path(pagename).endswith(".ipynb"):
        name = pagename.split("/")[-1]
        context["body"] = context["body"].replace(
            "</h1>", "</h1>" + NO_ADDRESS.format(name=name), 1
        )


def no_button_without_address(app, config):
    if not config.html_theme_options.get("repository_url"):
        config.html_theme_options["launch_buttons"] = {}  # the theme would stop the build


def setup(app):
    app.connect("config-inited", no_button_without_address, priority=900)
    app.connect("source-read", without_marks)
    app.connect("html-page-context", say_why_no_button)
    return {"parallel_read_safe": True}
