"""Interactive figures on the site: a still picture with alt text, which a script brings to life.

A figure's output in a notebook is a view of a widget, which only a Jupyter front end can draw. On
the page it becomes a place for `_static/figures.js`, with the still picture in it. A page in
Markdown names its figure, which is made when the page is read:

    ```{live-figure} ElboGap
    ```

All that belongs to a figure lies in files beside the page, named after what is in them: who never
comes near fetches none. They wait beside Sphinx's own notes of the page until the site is written.
"""

import base64
import hashlib
import html
import io
import json
import shutil
from pathlib import Path

from docutils import nodes
from ipywidgets.embed import dependency_state
from PIL import Image
from sphinx.util.docutils import SphinxDirective

import vaelib.course.figures as kinds

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


def place(model, states, picture, alt, put, folder):
    """HTML with the still picture, and where to find what brings it to life."""
    opened = Image.open(io.BytesIO(picture))
    width, height = opened.size
    source = f"{folder}/{put(picture, opened.format.lower())}"
    return (
        f'<div class="interactive" data-figure="{folder}/{packed(states, model, put)}">'
        f'<img alt="{html.escape(alt)}" src="{source}" width="{width}" height="{height}"></div>'
    )


def as_place(output, states, put, folder):
    """The output as HTML; a widget without a still picture is a mistake of ours."""
    picture = base64.b64decode("".join(output["data"]["image/png"]))
    alt, model = output["metadata"]["image/png"]["alt"], output["data"][VIEW]["model_id"]
    page = place(model, states, picture, alt, put, folder)
    return {**output, "data": {"text/html": page}, "metadata": {}}


def made(name, put, folder):
    """A figure's place, from its name: the figure as it is without arguments.

    Raises:
        ValueError: if there is no such figure.
    """
    known = {kind for kind in kinds.__all__ if issubclass(getattr(kinds, kind), kinds.Figure)}
    if name not in known - {"Figure"}:
        raise ValueError(f"expected one of {sorted(known - {'Figure'})}, got {name!r}")
    widget = getattr(kinds, name)()
    data, metadata = widget._repr_mimebundle_()
    states = json.dumps(dependency_state([widget], drop_defaults=False))
    for number, random in enumerate(json.loads(states)):  # the same files at each build
        states = states.replace(random, f"{number:032x}")
        if random == widget.model_id:
            model = f"{number:032x}"
    alt = metadata["image/png"]["alt"]
    # With many colours, and fetched by everybody: half of the bytes of the PNG.
    picture, drawn = io.BytesIO(), Image.open(io.BytesIO(data["image/png"])).convert("RGB")
    drawn.save(picture, "webp", quality=60, method=6)
    return place(model, json.loads(states), picture.getvalue(), alt, put, folder)


class LiveFigure(SphinxDirective):
    required_arguments = 1

    def run(self):
        for path in (__file__, *Path(kinds.__file__).parent.glob("*.*")):
            self.env.note_dependency(str(path))
        docname = self.env.docname
        try:
            found = made(self.arguments[0], keeper(self.env, docname), beside(docname))
        except ValueError as error:
            raise self.error(str(error)) from None
        return [nodes.raw("", found, format="html")]


def without_views(notebook, put, folder):
    """Change a notebook's figures to places."""
    states = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    for cell in notebook["cells"]:
        for index, output in enumerate(cell.get("outputs", [])):
            if VIEW in output.get("data", {}):
                cell["outputs"][index] = as_place(output, states, put, folder)


def replace_views(app, docname, source):
    if app.env.doc2path(docname).endswith(".ipynb") and VIEW in source[0]:
        notebook = json.loads(source[0])
        without_views(notebook, keeper(app.env, docname), beside(docname))
        source[0] = json.dumps(notebook)


def beside(docname):
    """From a page to the folder of the figures' files."""
    return "../" * docname.count("/") + FOLDER


def kept(env, docname):
    """Where the files of a page wait: a page that has not changed is not read again."""
    return Path(env.doctreedir) / "figures" / docname


def keeper(env, docname):
    """What keeps a file of a page, and says how it is called."""
    folder = kept(env, docname)
    folder.mkdir(parents=True, exist_ok=True)

    def put(content, ending):
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{ending}"
        (folder / name).write_bytes(content)
        return name

    return put


def forget(app, env, docname):
    shutil.rmtree(kept(env, docname), ignore_errors=True)


def write_files(app, exception):
    if exception or app.builder.format != "html":
        return
    target = Path(app.outdir) / FOLDER
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for docname in app.env.found_docs:
        for path in kept(app.env, docname).glob("*.*"):
            shutil.copy(path, target)


def add_host(app, pagename, templatename, context, doctree):
    if "data-figure=" in context.get("body", ""):
        app.add_js_file("figures.js", type="module")


def setup(app):
    app.add_directive("live-figure", LiveFigure)
    app.connect("env-purge-doc", forget)
    app.connect("source-read", replace_views)
    app.connect("html-page-context", add_host)
    app.connect("build-finished", write_files)
    return {"parallel_read_safe": True}
