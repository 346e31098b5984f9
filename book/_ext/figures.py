"""Interactive figures on the site: a still picture with alt text, which a script brings to life.

A figure's output in a notebook is a view of a widget, which only a Jupyter front end can draw. On
the page it becomes a place for `_static/figures.js`, with the still picture in it. All that belongs
to it lies in files beside the page, named after what is in them: who never comes near fetches none.
"""

import base64
import hashlib
import html
import io
import json
import shutil
from pathlib import Path

from PIL import Image

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
FOLDER = "_static/figures"


def packed(states, model, put):
    """What a figure's place needs: its model, and those that the model refers to, as addresses.

    Scripts and binary data become files of their own, which figures and chapters share.
    `put(content, ending)` stores bytes and returns where.
    """
    told, waiting = {}, [model]
    while waiting:
        name = waiting.pop()
        stored = states[name]
        state = {key: value for key, value in stored["state"].items() if key != "layout"}
        script = put(state.pop("_esm").encode(), "js")
        buffers = [
            {"path": buffer["path"], "file": put(base64.b64decode(buffer["data"]), "bin")}
            for buffer in stored.get("buffers", [])
        ]
        told[name] = {"state": state, "script": script, "buffers": buffers}
        named = [v.removeprefix("IPY_MODEL_") for v in state.values() if isinstance(v, str)]
        waiting += [name for name in named if name in states and name not in told]
    return put(json.dumps({"model": model, "models": told}).encode(), "json")


def as_place(output, states, put, folder):
    """The output as HTML; a widget without a still picture is a mistake of ours."""
    picture = base64.b64decode("".join(output["data"]["image/png"]))
    width, height = Image.open(io.BytesIO(picture)).size
    alt = html.escape(output["metadata"]["image/png"]["alt"])
    page = (
        f'<div class="interactive" data-figure="{folder}/'
        f'{packed(states, output["data"][VIEW]["model_id"], put)}"><img alt="{alt}" '
        f'src="{folder}/{put(picture, "png")}" width="{width}" height="{height}"></div>'
    )
    return {**output, "data": {"text/html": page}, "metadata": {}}


def without_views(notebook, put, folder):
    """Change a notebook's figures to places; whether it has any."""
    states = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    found = False
    for cell in notebook["cells"]:
        for index, output in enumerate(cell.get("outputs", [])):
            if VIEW in output.get("data", {}):
                cell["outputs"][index] = as_place(output, states, put, folder)
                found = True
    return found


def replace_views(app, docname, source):
    if app.env.doc2path(docname).endswith(".ipynb") and VIEW in source[0]:
        notebook = json.loads(source[0])
        without_views(notebook, named, "../" * docname.count("/") + FOLDER)
        source[0] = json.dumps(notebook)


def named(content, ending):
    return f"{hashlib.sha256(content).hexdigest()[:20]}.{ending}"


def write_files(app, exception):
    """Of all chapters anew: a page that has not changed is not read again."""
    if exception or app.builder.format != "html":
        return
    target = Path(app.outdir) / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)

    def put(content, ending):
        name = named(content, ending)
        (target / name).write_bytes(content)
        return name

    for docname in app.env.found_docs:
        path = Path(app.env.doc2path(docname))
        if path.suffix == ".ipynb":
            without_views(json.loads(path.read_text()), put, "")


def add_host(app, pagename, templatename, context, doctree):
    if "data-figure=" in context.get("body", ""):
        app.add_js_file("figures.js", type="module")


def setup(app):
    app.connect("source-read", replace_views)
    app.connect("html-page-context", add_host)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True}
