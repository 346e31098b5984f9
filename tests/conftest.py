"""Fixtures that several test files share."""

import jaxtyping
import pooch
import pytest
import torch

from vaelib import data
from vaelib.latent import LinearGaussian


@pytest.fixture
def generator():
    """Randomness with a fixed seed: a statistical test fails always or never."""
    return torch.Generator().manual_seed(20260101)


@pytest.fixture
def linear_gaussian(generator):
    """5 pixels, 3 correlated latents, variance ≠ 1, bias ≠ 0: nothing cancels by accident."""
    weight = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    return LinearGaussian(weight, bias, torch.tensor(0.4, dtype=torch.float64))


@pytest.fixture
def plain_errors():
    """Switch jaxtyping's checks off, so that a bad call reaches our own error message."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session", autouse=True)
def no_download():
    """No test reaches the network: what is not on this machine is missing."""

    def refuse(url, **_):
        raise OSError(f"tests do not download {url}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooch, "retrieve", refuse)
        yield


@pytest.fixture(scope="session")
def digits():
    return data.digits()


@pytest.fixture(scope="session")
def fashion_mnist(no_download):
    """Fashion-MNIST, or a skip that says how to get it (under .ci/run a skip is a failure)."""
    try:
        return data.fashion_mnist()
    except ConnectionError:
        pytest.skip("Fashion-MNIST is not at hand: apt install dataset-fashion-mnist")


TABLE = []


@pytest.fixture
def answers_table():
    """Rows for the table of wrong answers that ends the run: exercise, wrong, named, right."""
    return TABLE


def pytest_terminal_summary(terminalreporter):
    if not TABLE:
        return
    row = "{:<24} {:>6} {:>9} {:>6} {:>6}".format
    lines = [row("exercise", "wrong", "rejected", "named", "right")]
    lines += [row(name, wrong, wrong, named, right) for name, wrong, named, right in TABLE]
    wrong, named, right = (sum(column) for column in list(zip(*TABLE, strict=True))[1:])
    lines.append(row(f"all {len(TABLE)}", wrong, wrong, named, right))
    terminalreporter.section("wrong answers")
    for line in lines:
        terminalreporter.write_line(line)
