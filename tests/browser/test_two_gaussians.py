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


FILLS = ["='var(--gap)'", "^='url(#'"]  # solid, hatched


def test_the_area_that_is_shown_is_the_kl(browser):
    """As it is at first, after a swap, and where the integrand is widest and highest."""
    context, page, _ = opened(browser, TwoGaussians())
    bottom = page.locator(".vf svg").nth(1)

    def check():
        settle(page)
        per_square = abs(axis(bottom, "x")[0] * axis(bottom, "y")[0])
        paths = [bottom.locator(f"g > path[fill{kind}]") for kind in FILLS]
        above, below = (area(path.get_attribute("d")) / per_square for path in paths)
        plot, box = bottom.bounding_box(), paths[0].bounding_box()
        assert plot["y"] <= box["y"], "the area leaves its plot"
        said = page.locator(".vf .said").inner_text()
        kl = float(re.match(r"KL\(q ‖ p\) = ([\d.]+) nats", said)[1])
        # 561 points, and coordinates of 0.01 pixels.
        assert above - below == pytest.approx(kl, rel=0.01, abs=0.01)
        return kl

    assert check() == 0.818
    page.get_by_role("button", name="Swap q and p").click()
    assert check() == 2.807
    widest = {"loc of q": 4, "scale of q": 2.5, "loc of p": -4, "scale of p": 0.3}
    for label, value in widest.items():
        page.get_by_label(label).fill(str(value))
    assert check() > 100
    page.get_by_label("scale of q").fill("0.3")
    assert check() > 100
    context.close()


def test_the_terms_of_the_equation_add_up_and_follow_the_settings(browser):
    """What stands beside the picture is the closed form, with the numbers of the moment."""
    context, page, _ = opened(browser, TwoGaussians())

    def terms():
        settle(page)
        text = page.locator(".vf .equation").inner_text().replace("−", "-")
        first, half, last, total = re.search(
            r"= (-?[\d.]+) - ([\d.]+) \+ ([\d.]+) = ([\d.]+) nats$", text
        ).groups()
        assert float(half) == 0.5
        assert float(first) - 0.5 + float(last) == pytest.approx(float(total), abs=0.0016)
        return text, float(total)

    text, total = terms()
    assert "log(1.00 / 0.50) - ½ + (0.50² + (1.00 - 0.00)²) / (2 · 1.00²)" in text
    assert total == 0.818
    page.get_by_label("loc of p").fill("-0.5")
    page.get_by_label("scale of p").fill("2")
    text, total = terms()
    assert "log(2.00 / 0.50) - ½ + (0.50² + (1.00 - -0.50)²) / (2 · 2.00²)" in text
    assert total == 1.199  # that of the chapter's four lines
    page.get_by_role("button", name="Reset").click()
    assert terms()[1] == 0.818
    context.close()


def test_the_task_has_an_answer_that_can_be_seen(browser):
    context, page, _ = opened(browser, TwoGaussians())

    def ratio():
        settle(page)
        return float(re.search(r"([\d.]+) times", page.locator(".vf .said").inner_text())[1])

    page.get_by_label("loc of q").fill("0")
    page.get_by_label("scale of q").fill("0.4")
    assert ratio() < 4
    page.get_by_label("scale of q").fill("0.35")
    before = ratio()
    assert before > 4
    page.get_by_role("button", name="Swap q and p").click()
    assert ratio() == pytest.approx(1 / before, abs=0.01)
    context.close()


def test_the_axes_follow_what_they_show(browser):
    """Nothing is cut, and what is shown takes more than a third of its plot's height."""
    context, page, _ = opened(browser, TwoGaussians())
    plots = page.locator(".vf svg").all()
    for q_scale, p_scale in ((0.3, 0.3), (0.3, 2.5), (2.5, 2.5), (2.5, 0.3)):
        page.get_by_label("scale of q").fill(str(q_scale))
        page.get_by_label("scale of p").fill(str(p_scale))
        settle(page)
        for plot in plots:
            frame = plot.bounding_box()
            boxes = [line.bounding_box() for line in plot.locator("path.line").all()]
            top = min(box["y"] for box in boxes)
            bottom = max(box["y"] + box["height"] for box in boxes)
            assert frame["y"] <= top
            assert bottom <= frame["y"] + frame["height"]
            assert bottom - top > frame["height"] / 3
    context.close()
