"""Shapes are checked of functions and methods, and not of functions inside of them.

jaxtyping's import hook decorates those too, and so anew at each call of what they are in: a
millisecond or two, which was half of the time of all unit tests. None has a shape in its signature
(`test_outermost.py`). To be imported before vaelib.
"""

import ast

from jaxtyping._import_hook import JaxtypingTransformer


def generic_visit(self, node):
    """Go on into what is below, but for the body of a function."""
    if not isinstance(node, ast.FunctionDef):
        ast.NodeVisitor.generic_visit(self, node)


JaxtypingTransformer.generic_visit = generic_visit
