"""Put course.css and site.css of book/_static on every page.

Not by `html_static_path` in _config.yml: Jupyter Book 1 would then load every script below that
folder on every page, and figures bring scripts that belong to their own page only.
"""

from pathlib import Path

STATIC = Path(__file__).resolve().parent.parent / "_static"


def add_folder(app, config):
    config.html_static_path.append(str(STATIC))


def look_at_static_files(app, env, added, changed, removed):
    """Sphinx copies them only when it has a page to write; so one that has changed asks for one."""
    for path in STATIC.iterdir():
        copy = Path(app.outdir) / "_static" / path.name
        if copy.exists() and copy.read_bytes() != path.read_bytes():
            return [env.config.root_doc]
    return []


def setup(app):
    # Late, so that Jupyter Book, which reads the list to find scripts, is done with it.
    app.connect("config-inited", add_folder, priority=900)
    app.connect("env-get-outdated", look_at_static_files)
    for name in ("course.css", "site.css"):
        app.add_css_file(name)
    return {"parallel_read_safe": True}
