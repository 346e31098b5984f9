"""Docstrings are written with Markdown's dollars; Sphinx's autodoc reads reStructuredText.

`$x$` becomes the role ``math`` and `$$x$$` the directive, before napoleon sees the text.
"""

import importlib
import inspect
import pkgutil
import re

import vaelib


def dollars_to_math(app, what, name, obj, options, lines):
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()  # what Python says of a named tuple's field, and nobody needs
        return
    text = "\n".join(lines)
    text = re.sub(r"(?m)^(\s*)\$\$(.+?)\$\$", _display, text, flags=re.DOTALL)
    text = re.sub(r"(?<!\$)\$([^$\n]+(?:\n[^$\n]+)?)\$(?!\$)", _inline, text)
    lines[:] = text.split("\n")


def _display(match):
    indent, body = match.groups()
    return f"\n{indent}.. math:: {' '.join(body.split())}\n"


def _inline(match):
    return f":math:`{' '.join(match[1].split())}`"


def name_by_package(app):
    """A package inside vaelib re-exports its parts: pages and links name the package."""
    for module in pkgutil.iter_modules(vaelib.__path__):
        if module.ispkg:
            package = importlib.import_module(f"vaelib.{module.name}")
            for name in package.__all__:
                part = getattr(package, name)
                if inspect.isclass(part) or inspect.isfunction(part):
                    part.__module__ = package.__name__


def setup(app):
    app.connect("builder-inited", name_by_package)
    # Priority below napoleon's 500: it must find roles, not dollars.
    app.connect("autodoc-process-docstring", dollars_to_math, priority=400)
    return {"parallel_read_safe": True}
