"""The oracles share no code with what they check, and agree with a case known by hand."""

import ast
import math
import sys
from pathlib import Path

import numpy as np
import oracles


def test_oracles_import_nothing_of_ours():
    tree = ast.parse(Path(oracles.__file__).read_text())
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert imported - sys.stdlib_module_names == {"mpmath", "numpy", "scipy"}


def test_quadrature_on_cases_known_by_hand():
    assert math.isclose(oracles.kl_normal_by_quadrature(1, 1, 0, 1), 0.5, abs_tol=1e-14)
    # Halving the scale: -log ½ + (¼ - 1) / 2
    expected = math.log(2) - 3 / 8
    assert math.isclose(oracles.kl_normal_by_quadrature(0, 0.5, 0, 1), expected, abs_tol=1e-14)


def test_joint_gaussian_in_one_dimension():
    mean, cov = oracles.joint_gaussian([[3.0]], [2.0], 4.0)
    np.testing.assert_allclose(mean, [0, 2])
    np.testing.assert_allclose(cov, [[1, 3], [3, 13]])
