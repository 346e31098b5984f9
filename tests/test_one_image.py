"""The image with which chapter `vae` opens: its stored parts fit each other, and it can be made."""

import importlib.util
import math
import sys
from pathlib import Path

import pytest
import torch
from torch.distributions import Normal

from vaelib import course, data

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "one_image.py"


@pytest.fixture(scope="module")
def script():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPT.parent)
        spec = importlib.util.spec_from_file_location("one_image", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault("one_image", module)
        spec.loader.exec_module(module)
        yield module


@pytest.fixture(scope="module")
def record():
    return course.recorded("one_image")


def test_it_says_where_it_comes_from(script, record):
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() >= {"command", "commit", "device", "versions", "date", "image"}
    digits = data.digits()
    drawn = data.binarize(digits.test, generator=torch.Generator().manual_seed(3))[script.IMAGE]
    assert record["image"]["x"] == "".join(str(int(pixel)) for pixel in drawn)
    assert record["image"]["label"] == digits.test_labels[script.IMAGE]


def test_the_gap_is_the_kl_of_q_to_the_posterior(record):
    """By a sum over the close-up, which shares no cell with the sums that were stored."""
    image = record["image"]
    cells, reach = image["cells"], image["reach"]
    axis = -reach + 2 * reach / cells * (torch.arange(cells) + 0.5)
    z = torch.tensor(image["middle"]) + torch.cartesian_prod(axis, axis)
    log_cell = 2 * math.log(2 * reach / cells)
    log_q = Normal(torch.tensor(image["loc"]), torch.tensor(image["scale"])).log_prob(z).sum(-1)
    log_posterior = torch.tensor(image["log_joint"]) - image["log_evidence"]
    for log_density in (log_q, log_posterior):  # the close-up holds nearly all of both
        assert (log_density + log_cell).exp().sum() == pytest.approx(1, abs=0.02)
    kl = ((log_q + log_cell).exp() * (log_q - log_posterior)).sum().item()
    assert image["log_evidence"] - image["elbo"] == pytest.approx(kl, abs=0.1)
    assert kl > 2  # what the opening shows: a q that misses


@pytest.mark.soak  # a minute of training, for an image that is stored
def test_it_comes_out_again(script, record):
    """Another BLAS moves an image's numbers by more than a mean's: by some nats."""
    again = script.record_of(script.chapters_model())
    for name in ("elbo", "log_evidence"):
        assert again[name] == pytest.approx(record["image"][name], abs=12)
    assert again["elbo"] < again["log_evidence"]
