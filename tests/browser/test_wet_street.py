"""The numbers of the figure `WetStreet`, against vaelib."""

import math
import random

import pytest
from figures import values_in_the_page

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
