"""sketch: the closed form against a sum over a grid, value and gradient.

To be replaced with the module. What is checked and its answer share no code; oracles that others
need too go to oracles.py. Plant the module's classic mistake in sabotage.py.
"""

import numpy as np
import pytest
import torch

from vaelib.sketch import sketch_log_evidence

CASES = [(0.0, 1.0), (1.0, 1.0), (-2.5, 0.3), (4.0, 7.0)]


def on_a_grid(x, variance):
    """log p(x), and its slope in x, by a sum over 200,001 values of z."""
    z = np.linspace(-20, 20, 200_001)
    joint = np.exp(-0.5 * z**2 - 0.5 * (x - z) ** 2 / variance)
    joint /= 2 * np.pi * np.sqrt(variance)
    evidence = joint.sum() * (z[1] - z[0])
    return np.log(evidence), (joint * (z - x) / variance).sum() / joint.sum()


@pytest.mark.parametrize(("x", "variance"), CASES)
def test_value_and_slope_are_those_of_the_sum(x, variance):
    value, slope = on_a_grid(x, variance)
    seen = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    found = sketch_log_evidence(seen, torch.full_like(seen, variance))
    found.sum().backward()
    assert found.item() == pytest.approx(value, abs=1e-10)
    assert seen.grad.item() == pytest.approx(slope, abs=1e-10)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_variance_that_is_none(bad):
    one = torch.ones(2)
    with pytest.raises(ValueError, match=f"expected a positive variance, got {bad:g}"):
        sketch_log_evidence(one, one * bad)
