"""The numbers of the figure `CurvedPosterior`, against vaelib."""

import math
import re

import pytest
import torch
from figures import opened, settle, values_in_the_page

from vaelib.amortized import laplace
from vaelib.course.figures import CurvedPosterior
from vaelib.kl import DiagonalNormal, fit_forward, kl_line
from vaelib.latent import NonlinearGaussian, grid, grid_evidence, prior_sampling

FUNCTIONS = {"bend": lambda z: 0.5 * z**2 + 0.3 * z, "line": lambda z: 2 * z}


def straight(x):
    """A q whose loc and scale are lines in x: interpolation adds no error."""
    return DiagonalNormal(0.4 * x - 0.2, 2 * torch.log(0.6 + 0.1 * x))


def settings():
    generator = torch.Generator().manual_seed(0)
    table = CurvedPosterior(q=straight).network
    for seed in range(50):
        x, scale = torch.rand(2, generator=generator).tolist()
        yield {
            "model": ("bend", "line")[seed % 2], "x": 6 * x - 1, "scale": 0.1 + 0.9 * scale,
            "samples": (10, 100, 1000)[seed % 3], "seed": seed, "network": table,
        }  # fmt: skip


def test_all_four_ways_are_vaelibs(blank):
    every = list(settings())
    z, log_cell = grid(1, points=1200)
    z = z.double()
    line = z[:, 0]
    for at, found in zip(every, values_in_the_page(blank, CurvedPosterior, every), strict=True):
        model = NonlinearGaussian(FUNCTIONS[at["model"]], latent=1, variance=at["scale"] ** 2)
        x = torch.tensor([[at["x"]]]).double()
        log_joint = model.log_joint(x[:, None], z)
        solution = grid_evidence(log_joint, log_cell)
        log_p = solution.log_density[0]
        assert found["log_evidence"] == pytest.approx(solution.log_evidence.item(), abs=1e-4)
        moments = fit_forward(log_p, line)
        assert found["mean"] == pytest.approx(moments.loc.item(), abs=1e-4)
        assert found["stddev"] == pytest.approx(moments.stddev.item(), abs=1e-4)
        positive = log_p[line > 0].exp().sum().item() * 0.01
        assert found["positive"] == pytest.approx(positive, abs=1e-4)

        assert found["entropy"] == pytest.approx(-(log_p.exp() @ log_p).item() * 0.01, abs=1e-4)
        assert found["peak"] == pytest.approx(line[log_p.argmax()].item(), abs=1e-6)
        assert found["row"] == pytest.approx(log_joint.max().exp().item(), rel=1e-4)
        assert found["density"] == pytest.approx(log_p.max().exp().item(), rel=1e-4)
        rises = log_joint[0].diff() > 0
        assert found["humps"] == (rises[:-1] & ~rises[1:]).sum().item()

        drawn = torch.tensor(found["drawn"]).double()[:, None, None]
        sampled = prior_sampling(model, x, drawn)
        for name, number in zip(("estimate", "error", "effective"), sampled, strict=True):
            assert found[name] == pytest.approx(number.item(), rel=1e-4, abs=1e-4)

        start = z[log_joint.argmax()][None]
        top = laplace(lambda z, model=model, x=x: model.log_joint(x, z), start)
        for name, q in (("laplace", top), ("network", straight(x))):
            extra = kl_line(log_p, q.log_prob(z), line).item()
            assert found[name] == pytest.approx(
                {"loc": q.mean.item(), "scale": q.stddev.item(), "kl": extra}, rel=1e-4, abs=1e-4
            )


def test_a_network_needs_one_z_and_the_right_shape():
    with pytest.raises(ValueError, match="one normal over one z"):
        CurvedPosterior(q=lambda x: DiagonalNormal(x.expand(-1, 2), x.expand(-1, 2)))


def test_the_noise_is_the_chapters_unless_given():
    assert CurvedPosterior().scale == pytest.approx(0.1**0.5)
    assert CurvedPosterior(model="line").scale == 1.0
    assert CurvedPosterior(model="line", scale=0.2).scale == 0.2


def test_laplace_is_shown_beside_a_network_unless_told_otherwise():
    assert not CurvedPosterior().show_laplace
    assert CurvedPosterior(q=straight).show_laplace
    assert not CurvedPosterior(q=straight, show_laplace=False).show_laplace


def shown(page):
    """The equation's numbers, and the line below."""
    settle(page)
    text = page.locator(".vf .equation").inner_text().replace("−", "-")
    numbers = [float(v) for v in re.findall(r"(?<![\w.])-?\d+\.?\d*(?:e-\d+)?", text)]
    return text, numbers, page.locator(".vf .said").inner_text()


def test_the_row_divided_by_its_area_is_the_posterior(browser):
    """The equation without a q, and its task: one hump becomes two between 0.15 and 0.20."""
    context, page, complaints = opened(browser, CurvedPosterior())
    text, (row, area, density), said = shown(page)
    assert "p(x, z) ÷ p(x)" in text
    assert row / area == pytest.approx(density, rel=5e-3)
    assert "Two humps; 68 %" in said
    for x, count in ((0.15, "One hump"), (0.2, "Two humps")):
        page.locator(".vf input[type=range]").first.fill(str(x))
        assert count in shown(page)[2]
    page.get_by_role("button", name="Reset").click()
    assert shown(page)[1] == [row, area, density]
    page.get_by_role("combobox", name="Guesses").select_option("100")
    assert "100 guesses: log p(x)" in shown(page)[2]
    assert complaints == []
    context.close()


def test_the_extra_surprise_adds_up_and_the_task_has_an_answer(browser):
    """A q that is the posterior of the line at every x costs nothing, and the figure says so."""
    settings = {"model": "line", "x": 3.0}
    exact = CurvedPosterior(
        q=lambda x: DiagonalNormal(0.4 * x, torch.full_like(x, 0.2).log()), **settings
    )
    context, page, complaints = opened(browser, exact)
    text, (with_q, with_p, extra, _), _ = shown(page)
    assert extra == 0
    assert with_q == with_p == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.2), abs=6e-3)
    assert "under 0.1" in text
    context.close()

    context, page, _ = opened(browser, CurvedPosterior(q=straight, x=1.0))
    text, (with_q, with_p, extra), said = shown(page)
    assert with_q - with_p == pytest.approx(extra, abs=1e-6)
    assert "under 0.1" not in text
    assert f"costs {extra:.2f} nats" in said
    assert complaints == []
    context.close()
