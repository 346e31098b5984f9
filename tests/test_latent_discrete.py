"""latent.discrete: the wet street by Bayes' formula in numpy, and a chain of four nodes."""

import math

import numpy as np
import pytest
import torch

from vaelib.latent import DiscreteNetwork, Node

RAIN, SPRINKLER = np.array([0.8, 0.2]), np.array([0.7, 0.3])
WET = np.array([[[0.95, 0.05], [0.2, 0.8]], [[0.1, 0.9], [0.02, 0.98]]])  # [rain, sprinkler, wet]


@pytest.fixture
def street():
    return DiscreteNetwork(
        {
            "rain": Node(torch.from_numpy(RAIN)),
            "sprinkler": Node(torch.from_numpy(SPRINKLER)),
            "wet": Node(torch.from_numpy(WET), parents=("rain", "sprinkler")),
        }
    )


@pytest.fixture
def chain(generator):
    """Sizes 2, 3, 4, and a node that depends on the first and the last, in this order."""

    def rows(*shape):
        return torch.softmax(torch.randn(shape, generator=generator, dtype=torch.float64), -1)

    return DiscreteNetwork(
        {
            "a": Node(rows(2)),
            "b": Node(rows(2, 3), parents=("a",)),
            "c": Node(rows(3, 4), parents=("b",)),
            "d": Node(rows(4, 2, 3), parents=("c", "a")),
        }
    )


def test_joint_is_the_product_of_the_tables(street, chain):
    expected = RAIN[:, None, None] * SPRINKLER[None, :, None] * WET
    np.testing.assert_allclose(street.joint(), expected, rtol=1e-14)
    joint = chain.joint()
    a, b, c, d = (chain.nodes[n].table for n in "abcd")
    for i, j, k, m in np.ndindex(2, 3, 4, 3):
        expected = a[i] * b[i, j] * c[j, k] * d[k, i, m]
        torch.testing.assert_close(joint[i, j, k, m], expected)


def test_evidence_and_posteriors_by_bayes_formula(street):
    p_wet = sum(RAIN[r] * SPRINKLER[s] * WET[r, s, 1] for r in (0, 1) for s in (0, 1))
    assert street.evidence({"wet": 1}).item() == pytest.approx(p_wet, abs=1e-15)
    rain = RAIN[1] * sum(SPRINKLER[s] * WET[1, s, 1] for s in (0, 1)) / p_wet
    assert street.posterior("rain", {"wet": 1})[1].item() == pytest.approx(rain, abs=1e-15)
    both = RAIN[1] * WET[1, 1, 1] / (RAIN[0] * WET[0, 1, 1] + RAIN[1] * WET[1, 1, 1])
    seen = street.posterior("rain", {"wet": 1, "sprinkler": 1})[1].item()
    assert seen == pytest.approx(both, abs=1e-15)
    assert RAIN[1] < seen < rain  # explained away, not excluded
    np.testing.assert_allclose(street.posterior("rain", {}), RAIN)
    assert street.evidence({}).item() == pytest.approx(1)


def test_posterior_of_each_node_of_the_chain(chain):
    joint = chain.joint().numpy()
    for name, axis in zip("abc", range(3), strict=True):
        rest = joint[..., 2]
        expected = rest.sum(tuple(i for i in range(3) if i != axis)) / rest.sum()
        np.testing.assert_allclose(chain.posterior(name, {"d": 2}), expected)
    np.testing.assert_allclose(
        chain.posterior("b", {"a": 1, "c": 3, "d": 0}), joint[1, :, 3, 0] / joint[1, :, 3, 0].sum()
    )


def test_gradient_of_the_log_evidence_to_a_table(generator):
    """d log p(x) / d p(z) = p(x | z) / p(x), with the entries of the table taken as free."""
    prior = torch.from_numpy(RAIN).requires_grad_()
    likelihood = torch.from_numpy(WET[:, 0])
    network = DiscreteNetwork({"z": Node(prior), "x": Node(likelihood, parents=("z",))})
    network.evidence({"x": 1}).log().backward()
    np.testing.assert_allclose(prior.grad, WET[:, 0, 1] / (RAIN @ WET[:, 0, 1]), rtol=1e-12)


def test_samples_occur_as_often_as_the_joint_says(chain, generator):
    n = 40_000
    drawn = chain.sample(n, generator=generator)
    joint = chain.joint()
    flat = torch.stack(list(drawn.values()))
    counts = torch.zeros_like(joint)
    counts.index_put_(tuple(flat), torch.ones(n, dtype=counts.dtype), accumulate=True)
    # A count is binomial; 5 of its standard deviations, for 72 cells.
    assert ((counts / n - joint).abs() < 5 * (joint * (1 - joint) / n).sqrt()).all()


def test_what_is_said_of_bad_networks_and_questions(street):
    half = torch.tensor([0.5, 0.5])
    with pytest.raises(ValueError, match=r"parents of 'b' before it, got a later or never"):
        DiscreteNetwork({"b": Node(half.expand(2, 2), parents=("a",)), "a": Node(half)})
    with pytest.raises(ValueError, match=r"shape \[2, 'values'\] for 'b'.*got \[3, 2\]"):
        DiscreteNetwork({"a": Node(half), "b": Node(half.expand(3, 2), parents=("a",))})
    with pytest.raises(ValueError, match=r"sum to 1, got \[0.5, 0.25\]"):
        DiscreteNetwork({"a": Node(torch.tensor([0.5, 0.25]))})
    with pytest.raises(ValueError, match=r"probabilities"):
        DiscreteNetwork({"a": Node(torch.tensor([1.5, -0.5]))})
    with pytest.raises(ValueError, match=r"got 'wet': 2"):
        street.evidence({"wet": 2})
    with pytest.raises(ValueError, match=r"got 'snow': 1"):
        street.evidence({"snow": 1})
    with pytest.raises(ValueError, match=r"not observed, got 'wet'"):
        street.posterior("wet", {"wet": 1})
    certain = DiscreteNetwork({"a": Node(torch.tensor([1.0, 0.0])), "b": Node(half)})
    with pytest.raises(ValueError, match=r"whose probability is 0"):
        certain.posterior("b", {"a": 1})
    assert math.isclose(certain.posterior("b", {"a": 0})[0].item(), 0.5)
