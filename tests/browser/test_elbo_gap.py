"""The numbers of the figure `ElboGap`, against vaelib."""

import re

import pytest
import torch
from figures import axis, opened, values_in_the_page
from torch.distributions import kl_divergence

from vaelib.course.figures import ElboGap
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


@pytest.mark.parametrize(
    ("loc", "scale", "x"), [(0.7, 0.5, 3.0), (-1.0, 1.2, 5.0), (3.0, 0.2, 0.0), (1.5, 0.9, 0.5)]
)
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("compact", [False, True])
def test_the_bar_holds_all_of_the_elbo_and_its_numbers_add_up(
    browser, width, loc, scale, x, compact
):
    figure = ElboGap(loc=loc, scale=scale, x=x, compact=compact)
    context, page, _ = opened(browser, figure, width=width)
    bar = page.locator(".vf svg").first
    slope, zero = axis(bar, "x")
    parts = bar.locator("g rect").evaluate_all(  # not the one that clips
        "all => all.map(r => [r.x.baseVal.value, r.x.baseVal.value + r.width.baseVal.value])"
    )
    [(_, elbo), (gap, log_evidence)] = [[(v - zero) / slope for v in part] for part in parts]
    said = page.locator(".vf .equation").inner_text().replace("−", "-")
    numbers = [float(v) for v in re.findall(r"-?\d+\.\d+", said)]
    assert [log_evidence, elbo, log_evidence - gap] == pytest.approx(numbers, abs=0.01)
    assert round(numbers[1] + numbers[2] - numbers[0], 6) == 0
    # What is written on the bar is what the equation says, and none of it is cut.
    words = bar.locator("text").all_text_contents()
    written = re.findall(r"(?:log p\(x\)|ELBO|KL) (−?\d+\.\d+)", " ".join(words))
    assert sorted(float(v.replace("−", "-")) for v in written) == sorted(numbers)
    inside, outer = bar.locator("text").all(), page.locator(".vf").bounding_box()
    for box in (text.bounding_box() for text in inside):
        assert box["x"] >= outer["x"]
        assert box["x"] + box["width"] <= outer["x"] + outer["width"]
    context.close()
