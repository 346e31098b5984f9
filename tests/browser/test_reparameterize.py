"""The numbers of the figure `Reparameterize`, against vaelib and its gradients by autograd."""

import numpy as np
import pytest
import torch
from figures import opened, settle, values_in_the_page

from vaelib.course.figures import Reparameterize
from vaelib.reparam import moments


def settings():
    generator = torch.Generator().manual_seed(0)
    for seed in range(50):
        loc, k, marked = ((torch.rand(3, generator=generator) - 0.5) * 6).tolist()
        scale = 0.4 + 1.6 * torch.rand((), generator=generator).item()
        yield {
            "loc": loc, "scale": scale, "k": 2 * k, "marked": marked, "compare": True,
            "samples": 200, "seed": seed,
        }  # fmt: skip


def exact_moments(here):
    """Mean and variance of both estimates, by a quadrature that is exact up to degree 15."""
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(8))
    weights = weights / weights.sum()
    for g in here.estimates(nodes):
        mean = (weights * g).sum()
        yield mean.item(), (weights * (g - mean) ** 2).sum().item()


def test_estimates_and_their_moments_are_vaelibs(blank):
    every = list(settings())
    noise = []
    for at, found in zip(every, values_in_the_page(blank, Reparameterize, every), strict=True):
        here = Reparameterize(**at)
        eps = torch.tensor(found["eps"], dtype=torch.float64)
        noise.append(eps)
        for name, g, (mean, variance) in zip(
            ("pathwise", "score"), here.estimates(eps), exact_moments(here), strict=True
        ):
            said, sampled = found[name], moments(g)
            assert said["estimates"] == pytest.approx(g.tolist(), rel=1e-6, abs=1e-6)
            assert said["mean"] == pytest.approx(sampled.mean.item(), rel=1e-6, abs=1e-6)
            assert said["variance"] == pytest.approx(sampled.variance.item(), rel=1e-6)
            assert said["error"] == pytest.approx(sampled.standard_error.item(), rel=1e-6)
            assert said["exact"] == pytest.approx(variance, rel=1e-6)
            assert found["gradient"] == pytest.approx(mean, abs=1e-6)
            assert said["wrong"] == (g * mean < 0).sum().item()
        one = here.estimates(torch.tensor([at["marked"]], dtype=torch.float64))
        for name, g in zip(("pathwise", "score"), one, strict=True):
            assert found["marked"][name] == pytest.approx(g.item(), rel=1e-6, abs=1e-6)
    # 10,000 standard normal numbers: mean and variance within five standard errors.
    noise = torch.cat(noise)
    assert abs(noise.mean()) < 5 / 100
    assert abs(noise.var() - 1) < 5 * 2**0.5 / 100


def test_the_numbers_of_the_chapter(blank):
    default = Reparameterize()
    at = {name: getattr(default, name) for name in next(settings())}
    (found,) = values_in_the_page(blank, Reparameterize, [at])
    assert found["gradient"] == 8
    assert found["pathwise"]["exact"] == 4
    assert found["score"]["exact"] == 495
    assert found["pathwise"]["wrong"] == 0
    assert abs(found["score"]["wrong"] - 100) < 5 * (200 / 4) ** 0.5


def test_the_task_of_the_page_has_its_answer_beside_the_picture(browser):
    """6 becomes 10, and by the score −9 becomes 25, as the noise is moved; Reset undoes both."""
    context, page, complaints = opened(browser, Reparameterize())

    def numbers():
        settle(page)
        lines = page.locator(".vf .equation").inner_text().splitlines()
        return [line.rsplit("= ", 1)[1] for line in lines]

    def mark(value):
        page.get_by_label("marked noise ε").fill(value)

    start = numbers()
    assert start == ["0", "6", "8"]
    words = page.locator(".vf .equation").inner_text()
    assert "slope of its cost 2(x − k) = 2(0 + 3) = 6" in words
    mark("1")
    assert numbers() == ["2", "10", "8"]
    page.get_by_label("and the score function").check()
    assert numbers() == ["2", "10", "25", "8"]
    mark("-1")
    assert numbers() == ["0", "6", "−9", "8"]
    page.get_by_label("knob μ").fill("2")
    assert numbers()[-1] == "10"
    page.get_by_role("button", name="Reset").click()
    assert numbers() == start
    assert complaints == []
    context.close()
