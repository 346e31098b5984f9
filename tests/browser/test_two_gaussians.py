"""The numbers of the figure `TwoGaussians`, against vaelib."""

import pytest
import torch
from figures import values_in_the_page

from vaelib.figures import TwoGaussians
from vaelib.kl import DiagonalNormal, kl_normal


def settings():
    generator = torch.Generator().manual_seed(0)
    for seed in range(50):
        q_loc, p_loc = (8 * torch.rand(2, generator=generator) - 4).tolist()
        q_scale, p_scale = (0.3 + 2.2 * torch.rand(2, generator=generator)).tolist()
        yield {
            "q_loc": q_loc, "q_scale": q_scale, "p_loc": p_loc, "p_scale": p_scale,
            "samples": 4000, "seed": seed,
        }  # fmt: skip


def normal(loc, scale):
    return DiagonalNormal(torch.tensor([loc]).double(), 2 * torch.tensor([scale]).double().log())


def test_both_divergences_are_vaelibs(blank):
    every = list(settings())
    for at, found in zip(every, values_in_the_page(blank, TwoGaussians, every), strict=True):
        q, p = normal(at["q_loc"], at["q_scale"]), normal(at["p_loc"], at["p_scale"])
        forth = kl_normal(q.loc, q.logvar, p.loc, p.logvar).item()
        back = kl_normal(p.loc, p.logvar, q.loc, q.logvar).item()
        assert found["forth"] == pytest.approx(forth, abs=1e-4)
        assert found["back"] == pytest.approx(back, abs=1e-4)
        # Five of its standard errors: over 50 settings, once in 35,000 runs for normal errors.
        assert abs(found["estimate"] - forth) < 5 * found["error"]
