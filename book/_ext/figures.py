"""Interactive figures on the site: a still picture with alt text, which a script brings to life.

A figure's output in a notebook is a view of a widget, which only a Jupyter front end can draw. On
the page it becomes a place for `_static/figures.js`, with the still picture in it.
"""

import html
import json

VIEW = "application/vnd.jupyter.widget-view+json"


def as_place(output):
    """The output as HTML; a widget without a still picture is a mistake of ours."""
    model, picture = output["data"][VIEW]["model_id"], output["data"]["image/png"].replace("\n", "")
    alt = html.escape(output["metadata"]["image/png"]["alt"])
    page = (
        f'<div class="interactive" data-figure="{model}">'
        f'<img alt="{alt}" src="data:image/png;base64,{picture}"></div>'
    )
    return {**output, "data": {"text/html": page}, "metadata": {}}


def replace_views(app, docname, source):
    if not app.env.doc2path(docname).endswith(".ipynb") or VIEW not in source[0]:
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        cell["outputs"] = [
            as_place(output) if VIEW in output.get("data", {}) else output
            for output in cell.get("outputs", [])
        ]
        if cell["cell_type"] != "code":
            del cell["outputs"]
    source[0] = json.dumps(notebook)


def add_host(app, config):
    # MyST-NB puts it on pages with widgets, and on no others.
    config.nb_ipywidgets_js = {"figures.js": {"type": "module"}}


def setup(app):
    app.connect("config-inited", add_host, priority=100)
    app.connect("source-read", replace_views)
    return {"parallel_read_safe": True}
