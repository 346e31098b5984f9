"""The numbers of the figure `ElboGap`, against vaelib."""

import pytest
import torch
from figures import values_in_the_page
from torch.distributions import kl_divergence

from vaelib.figures import ElboGap
from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian


def settings():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        loc, scale, x = torch.rand(3, generator=generator).tolist()
        yield {"loc": 4 * loc - 1, "scale": 0.2 + scale, "x": 5 * x}


def test_evidence_elbo_and_kl_are_vaelibs(blank):
    def vector(number):
        return torch.tensor([number], dtype=torch.float64)

    model = LinearGaussian(vector(2.0)[:, None], vector(0.0), vector(1.0)[0])
    every = [*settings(), {"loc": 0.7, "scale": 0.5, "x": 3.0}]
    for at, found in zip(every, values_in_the_page(blank, ElboGap, every), strict=True):
        x, q = vector(at["x"]), DiagonalNormal(vector(at["loc"]), 2 * vector(at["scale"]).log())
        posterior = model.posterior(x)
        assert found["log_evidence"] == pytest.approx(model.log_evidence(x).item(), abs=1e-4)
        assert found["elbo"] == pytest.approx(model.elbo(x, q).item(), abs=1e-4)
        assert found["kl"] == pytest.approx(kl_divergence(q, posterior).item(), abs=1e-4)
        assert found["posterior"] == pytest.approx(
            {"loc": posterior.mean.item(), "scale": posterior.stddev.item()}, abs=1e-4
        )
    # The chapter's own guess.
    assert [round(found[name], 4) for name in ("log_evidence", "elbo", "kl")] == [
        -2.6237, -3.2621, 0.6384,
    ]  # fmt: skip
