"""Put book/_static/course.css on every page.

Not by `html_static_path` in _config.yml: Jupyter Book 1 would then load every script below that
folder on every page, and figures bring scripts that belong to their own page only.
"""

from pathlib import Path


def add_folder(app, config):
    config.html_static_path.append(str(Path(__file__).resolve().parent.parent / "_static"))


def setup(app):
    # Late, so that Jupyter Book, which reads the list to find scripts, is done with it.
    app.connect("config-inited", add_folder, priority=900)
    app.add_css_file("course.css")
    return {"parallel_read_safe": True}
