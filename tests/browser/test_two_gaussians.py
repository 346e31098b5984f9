"""The numbers of the figure `TwoGaussians`, against vaelib."""

import re

import pytest
import torch
from figures import axis, opened, settle, values_in_the_page

from vaelib.course.figures import TwoGaussians
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


def area(path):
    """Enclosed by a path of straight lines, in square pixels."""
    points = [(float(u), float(v)) for u, v in re.findall(r"(-?[\d.]+) (-?[\d.]+)", path)]
    pairs = zip(points, points[1:] + points[:1], strict=True)
    return abs(sum(u * b - a * v for (u, v), (a, b) in pairs)) / 2


def test_the_area_that_is_shown_is_the_kl(browser):
    """As it is at first, after a swap, and where the integrand is widest and highest."""
    context, page, _ = opened(browser, TwoGaussians())
    bottom = page.locator(".vf svg").nth(1)

    def check():
        settle(page)
        per_square = abs(axis(bottom, "x")[0] * axis(bottom, "y")[0])
        paths = [bottom.locator(f"path[fill='var(--{color})']") for color in "cd"]
        above, below = (area(path.get_attribute("d")) / per_square for path in paths)
        plot, box = bottom.bounding_box(), paths[0].bounding_box()
        assert plot["y"] <= box["y"], "the area leaves its plot"
        said = page.locator(".vf .said").inner_text()
        kl = float(re.match(r"KL\(q ‖ p\) = ([\d.]+) nats", said)[1])
        # 561 points, and coordinates of 0.01 pixels.
        assert above - below == pytest.approx(kl, rel=0.01, abs=0.01)
        return kl

    assert check() == 0.876
    page.get_by_role("button", name="Swap q and p").click()
    assert check() == 4.901
    widest = {"loc of q": 4, "scale of q": 2.5, "loc of p": -4, "scale of p": 0.3}
    for label, value in widest.items():
        page.get_by_label(label).fill(str(value))
    assert check() > 100
    page.get_by_label("scale of q").fill("0.3")
    assert check() > 100
    context.close()
