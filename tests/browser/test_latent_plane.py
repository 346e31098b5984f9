"""`LatentPlane`: log p(z), whose codes a straight line passes, a click, labels side by side."""

import re
from decimal import Decimal
from itertools import combinations

import pytest
import torch
from example_figures import EXAMPLES, held_out, small_vae
from figures import opened, settle
from torch.distributions import Normal

from vaelib.course.figures import LatentPlane

FUNCTIONS = """async ([source, zs, codes, labels, pairs, points]) => {
  const page = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const network = { decode: () => [] };
  return {
    priors: zs.map((z) => page.values({ z }, network).log_prior),
    texts: zs.map((z) => page.prior(z)),
    passed: pairs.map(([a, b]) => page.passed(a, b, codes, labels)),
    apart: page.apart(points, 20),
  };
}"""


@pytest.fixture(scope="module")
def setting():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(200, 2, generator=generator)
    labels = torch.randint(10, (200,), generator=generator)
    zs = torch.randn(50, 2, generator=generator) * 2
    points = 40 * torch.rand(10, 2, generator=generator)
    points[1] = points[0]  # two medians at one place
    return zs, codes, labels, points


@pytest.fixture
def found(blank, setting):
    zs, codes, labels, points = (part.tolist() for part in setting)
    pairs = [[codes[i], codes[i + 1]] for i in range(20)]
    return blank.evaluate(FUNCTIONS, [LatentPlane._esm, zs, codes, labels, pairs, points])


def test_the_density_of_the_prior(found, setting):
    expected = Normal(0.0, 1.0).log_prob(setting[0]).sum(1).tolist()
    assert found["priors"] == pytest.approx(expected, abs=1e-5)
    for (half, constant, total), value in zip(found["texts"], expected, strict=True):
        assert -Decimal(half) - Decimal(constant) == Decimal(total)
        assert float(total) == pytest.approx(value, abs=0.011)


def test_whose_codes_a_straight_line_passes(found, setting):
    _, codes, labels, _ = setting
    t = torch.linspace(0, 1, 101)[:, None]
    for i, theirs in enumerate(found["passed"]):
        line = (1 - t) * codes[i] + t * codes[i + 1]
        nearest = labels[torch.cdist(line, codes).argmin(1)].tolist()
        assert theirs == list(dict.fromkeys(nearest))


def test_labels_stand_apart(found, setting):
    places = torch.tensor(found["apart"])
    assert torch.pdist(places).min() > 18
    assert (places - setting[-1]).norm(dim=1).max() < 60


def test_a_click_moves_z_there(browser):
    context, page, complaints = opened(browser, EXAMPLES["LatentPlane"]())
    plot = page.locator(".vf .stage > svg")
    box = plot.bounding_box()
    page.mouse.click(box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    settle(page)
    at = [
        float(v)
        for v in re.findall(
            r"-?\d+\.\d+", page.locator(".vf .said").inner_text().replace("−", "-")
        )[:2]
    ]
    # The axes go from −4 to 4, within the margins of `figure.js`.
    u = 46 + (at[0] + 4) / 8 * (box["width"] - 58)
    v = 12 + (4 - at[1]) / 8 * (box["height"] - 54)
    assert [u, v] == pytest.approx([0.7 * box["width"], 0.3 * box["height"]], abs=2)
    equation = page.locator(".vf .equation").inner_text().replace("−", "-")
    shown = float(re.search(r"= (-?\d+\.\d+) nats", equation)[1])
    expected = Normal(0.0, 1.0).log_prob(torch.tensor(at)).sum().item()
    assert shown == pytest.approx(expected, abs=0.02)
    page.get_by_role("button", name="Reset").click()
    settle(page)
    again = page.locator(".vf .said").inner_text()
    code = LatentPlane(small_vae(), *held_out()).codes
    assert any(f"({u:.2f}, {v:.2f})" in again.replace("−", "-") for u, v in code)
    assert complaints == []
    context.close()


def test_it_walks_from_a_0_to_a_1_where_it_can():
    images, labels = held_out(400)
    order = torch.cat([(labels == c).nonzero()[:2, 0] for c in range(10)])
    widget = LatentPlane(small_vae(), images[order], labels[order])
    assert (widget.labels[widget.start], widget.labels[widget.end]) == (0, 1)
    assert [widget.z1, widget.z2] == widget.codes[widget.start]
    chosen = LatentPlane(small_vae(), images[order], labels[order], start=4, end=6, z1=1.0)
    assert (chosen.start, chosen.end, chosen.z1) == (4, 6, 1.0)


@pytest.mark.parametrize("width", [1280, 390])
def test_no_two_labels_of_classes_collide(browser, width):
    context, page, _ = opened(browser, EXAMPLES["LatentPlane"](), width=width)
    boxes = [text.bounding_box() for text in page.locator(".vf svg text.class").all()]
    assert len(boxes) > 3
    for a, b in combinations(boxes, 2):
        beside = abs(a["x"] - b["x"]) >= min(a["width"], b["width"]) - 1
        below = abs(a["y"] - b["y"]) >= 0.6 * min(a["height"], b["height"])
        assert beside or below
    context.close()
