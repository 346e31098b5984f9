"""Which functions of vaelib have their shapes checked while these tests run."""

import ast

import jaxtyping
import pytest
import torch
from chapters import ROOT
from jaxtyping._import_hook import JaxtypingTransformer, Typechecker

from vaelib.latent import log_mean_exp
from vaelib.vae import model

TREES = {path: ast.parse(path.read_text()) for path in (ROOT / "vaelib").rglob("*.py")}
SHAPES = {
    name
    for name, kind in vars(jaxtyping).items()
    if isinstance(kind, type) and issubclass(kind, jaxtyping.AbstractDtype)
}
CODE = """
class A:
    def method(self):
        def inside(): ...
        class B:
            def method(self): ...
if True:
    def function():
        if True:
            def inside(): ...
"""


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def test_what_is_inside_of_a_function_is_left_alone():
    tree = JaxtypingTransformer(typechecker=Typechecker(None)).visit(ast.parse(CODE))
    decorated = [node.name for node in ast.walk(tree) if getattr(node, "decorator_list", ())]
    assert sorted(decorated) == ["A", "function", "method"]


def test_no_function_inside_of_another_has_a_shape_that_nobody_would_check():
    assert {"Float", "Int", "Bool"} <= SHAPES
    shaped = 0
    for path, tree in TREES.items():
        inside = {id(inner) for outer in functions(tree) for inner in functions(outer)[1:]}
        for one in functions(tree):
            signature = [one.args, one.returns or ast.Pass()]
            names = {n.id for part in signature for n in ast.walk(part) if isinstance(n, ast.Name)}
            shaped += bool(names & SHAPES)
            assert id(one) not in inside or not names & SHAPES, f"{path}:{one.lineno}"
    assert shaped > 100


def test_shapes_are_checked_of_functions_and_of_methods(pytestconfig):
    if not pytestconfig.getoption("--jaxtyping-packages"):
        return  # `pytest tests/test_outermost.py` by hand; make test gives it
    assert model.DeepLatentModel.log_joint_pairs.__wrapped__
    with pytest.raises(jaxtyping.TypeCheckError, match="log_mean_exp"):
        log_mean_exp([1.0, 2.0])
    assert log_mean_exp(torch.zeros(3)) == 0
