"""The numbers of the figure `WetStreet`, against vaelib."""

import math
import random

import pytest
from figures import opened, settle, values_in_the_page

from vaelib.course.figures import WetStreet

STATES = ("unseen", "yes", "no")


def settings():
    draw = random.Random(0)
    for _ in range(50):
        yield {
            "p_rain": draw.random(),
            "p_sprinkler": draw.random(),
            "p_wet": [[draw.random(), draw.random()] for _ in range(2)],
            "street": draw.choice(STATES),
            "sprinkler": draw.choice(STATES),
            "rain": draw.choice(STATES),
        }


def test_evidence_and_posteriors_are_vaelibs(blank):
    every = list(settings())
    for at, found in zip(every, values_in_the_page(blank, WetStreet, every), strict=True):
        here = WetStreet(**at)
        network, seen = here.network(), here.seen()
        evidence = network.evidence(seen).item()
        assert found["evidence"] == pytest.approx(evidence, abs=1e-6)
        assert found["surprise"] == pytest.approx(-math.log(evidence), abs=1e-4)
        street = {name: value for name, value in seen.items() if name == "street"}
        for cause in ("rain", "sprinkler"):
            certain = seen.get(cause)
            posterior = network.posterior(cause, seen)[1] if certain is None else certain
            assert found[cause] == pytest.approx(float(posterior), abs=1e-4)
            by_street = network.posterior(cause, street)[1].item()
            assert found[f"{cause}_by_street"] == pytest.approx(by_street, abs=1e-4)
        kept = network.joint()
        for r in (0, 1):
            for s in (0, 1):
                agrees = seen.get("rain", r) == r and seen.get("sprinkler", s) == s
                area = kept[r, s, seen["street"]] if "street" in seen else kept[r, s].sum()
                assert found["kept"][r][s] == pytest.approx(agrees * area.item(), abs=1e-6)


def test_the_numbers_of_the_chapter(blank):
    default = WetStreet()
    every = [{name: getattr(default, name) for name in next(settings())} for _ in range(3)]
    every[1]["sprinkler"] = every[2]["sprinkler"] = "yes"
    every[2]["street"] = "unseen"
    found = values_in_the_page(blank, WetStreet, every)
    assert [round(one["rain"], 3) for one in found] == [0.457, 0.234, 0.2]


def test_what_cannot_be_seen_has_no_posterior(blank):
    impossible = [
        {"p_rain": 0.0, "p_sprinkler": 0.3, "rain": "yes", "sprinkler": "unseen"},
        {"p_rain": 0.0, "p_sprinkler": 0.0, "rain": "unseen", "sprinkler": "unseen"},
    ]
    for at in impossible:
        at |= {"p_wet": [[0.0, 0.8], [0.9, 0.98]], "street": "yes"}
        assert math.isnan(WetStreet(**at).posterior("sprinkler"))
        WetStreet(**at).still()
    for found in values_in_the_page(blank, WetStreet, impossible):
        assert found["evidence"] == 0
        assert found["surprise"] is found["rain"] is found["sprinkler"] is None


def test_the_division_beside_the_picture_is_that_of_the_question(browser):
    """Hidden, the street takes the sprinkler's word about rain away; a reset brings all back."""
    context, page, _ = opened(browser, WetStreet())
    equation = page.locator(".vf .equation")
    settle(page)
    first = "p(rain | wet) = 0.1848 / 0.4048 = 0.457"
    assert equation.inner_text() == first
    page.get_by_role("combobox", name="Sprinkler", exact=True).select_option("on")
    settle(page)
    assert equation.inner_text() == "p(rain | wet, sprinkler) = 0.0588 / 0.2508 = 0.234"
    page.get_by_role("combobox", name="Street", exact=True).select_option("unseen")
    settle(page)
    assert equation.inner_text() == "p(rain | sprinkler) = 0.0600 / 0.3000 = 0.200"
    page.get_by_role("button", name="Reset").click()
    settle(page)
    assert equation.inner_text() == first
    context.close()


def test_it_is_low_enough_for_a_first_screen(browser):
    """Of 720 pixels, the title, the scene and the claim above it need the others."""
    context, page, _ = opened(browser, WetStreet(), width=688)
    settle(page)
    assert page.locator(".vf").bounding_box()["height"] <= 360
    context.close()
