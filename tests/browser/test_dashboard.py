"""`Dashboard`: its numbers are the record's, its sheet is the record's, and what is covered is."""

import base64
import io
import re
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
from figures import opened, settle, values_in_the_page
from PIL import Image

from vaelib import course
from vaelib.course.figures import Dashboard

RUNS = course.recorded("dashboard")["runs"]
NAMES = [run["name"] for run in RUNS]
HISTORY = {run["name"]: run["history"] for run in RUNS}
STOPS = [*map(int, RUNS[0]["sheets"])]
END = RUNS[0]["history"][-1]["epoch"]


def plain(text):
    return text.replace("−", "-")


def shown_as(value):
    """With one decimal, as a browser rounds: of two that are as near, away from 0."""
    return Decimal(value).quantize(Decimal("0.1"), ROUND_HALF_UP)


def bounds(name):
    return np.array([entry["validation"]["elbo"] for entry in HISTORY[name]])


def lost(name, epoch):
    """In nats, against the best epoch of all."""
    return bounds(name).max() - bounds(name)[epoch]


def test_values_are_the_records(blank):
    random = np.random.default_rng(0)
    settings = [
        {"run": str(random.choice(NAMES)), "epoch": int(random.choice(STOPS)), "runs": RUNS}
        for _ in range(50)
    ]
    for at, found in zip(settings, values_in_the_page(blank, Dashboard, settings), strict=True):
        history, bound = HISTORY[at["run"]], bounds(at["run"])
        entry = history[at["epoch"]]
        assert found["now"] == entry
        assert entry["epoch"] == at["epoch"]
        assert found["last"] == history[-1]
        assert found["best"] == history[bound.argmax()]
        assert found["lost"] == pytest.approx(lost(at["run"], at["epoch"]), abs=1e-9)
        (rest,) = np.nonzero(bound.max() - bound < 1)
        assert found["settled"] == rest[0]


# A run that dies, revives and dies for good; and one that never does.
DYING = """async ([source]) => {
  const page = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const found = (units) => page.values({ run: "a", epoch: 0, runs: [{ name: "a", latent: 2,
    history: units.map((active_units, epoch) => ({ epoch, active_units,
      train: { elbo: -1 }, validation: { elbo: -2 } })) }] }).dead;
  return [found([0, 2, 0, 1, 0, 0]), found([0, 2, 2]), found([0, 0])];
}"""


def test_a_run_is_dead_from_where_no_unit_comes_back(blank):
    assert blank.evaluate(DYING, [Dashboard._esm]) == [4, None, 0]


def shown(page):
    settle(page)
    return plain(page.locator(".vf .equation").inner_text()), plain(
        page.locator(".vf").inner_text()
    )


@pytest.fixture(scope="module")
def desk(browser):
    context, page, complaints = opened(browser, Dashboard(epoch=STOPS[3]))
    yield page
    assert complaints == []
    context.close()


def masked(page):
    """The picture that is laid over the sheet, as its file."""
    address = page.locator(".vf .sheet").evaluate("e => getComputedStyle(e).maskImage")
    return base64.b64decode(re.search(r"base64,([^\"')]+)", address)[1])


@pytest.mark.parametrize("name", NAMES)
def test_each_stop_shows_the_records_numbers_and_pictures(desk, name):
    desk.get_by_role("combobox", name="run").select_option(name)
    slider = desk.get_by_role("slider", name="epoch")
    run = RUNS[NAMES.index(name)]
    pictures = set()
    for stop, epoch in enumerate(STOPS):
        slider.fill(str(stop))
        equation, everything = shown(desk)
        entry = HISTORY[name][epoch]
        elbo, fit, kl = map(Decimal, re.fullmatch(r"ELBO (\S+) = (\S+) - (\S+)", equation).groups())
        assert elbo == fit - kl  # as they are rounded there
        for number, key in ((elbo, "elbo"), (fit, "log_likelihood"), (kl, "kl")):
            assert float(number) == pytest.approx(entry["validation"][key], abs=0.11)
        assert (
            f"validation {elbo}, training {shown_as(entry['train']['elbo'])} (dashed)" in everything
        )
        assert f"active units {entry['active_units']} of 16" in everything
        if epoch:
            norms = (
                re.search(r"gradient norm (\d+)\n", everything),
                re.search(r"largest (\d+)\)", everything),
            )
            # A half is rounded to the even number here, and up there.
            for norm, key in zip(norms, ("gradient_norm", "largest_norm"), strict=True):
                assert abs(int(norm[1]) - entry[key]) <= 0.5
        assert plain(slider.get_attribute("aria-valuetext")) == f"epoch {epoch}: ELBO {elbo}"
        assert f"after epoch {epoch} of {END}" in desk.locator(".sheet").get_attribute("aria-label")
        verdict = desk.locator("p[role=status]").inner_text()
        if lost(name, epoch) > 0:
            assert f"loses {shown_as(lost(name, epoch))} nats per image: after epoch" in verdict
            assert f"after epoch {bounds(name).argmax()} the ELBO is" in verdict
        else:
            assert "No epoch has a better ELBO" in verdict
        assert masked(desk) == base64.b64decode(run["sheets"][str(epoch)])
        pictures.add(masked(desk))
        # In each of the five plots the mark stands where its axis has this epoch.
        for plot in desk.locator(".vf .stage svg").all():
            mark = plot.locator("path[stroke-dasharray='3 3']").evaluate("p => p.getBBox().x")
            ticks = dict(
                plot.locator("text[dy='17']").evaluate_all(
                    "all => all.map((t) => [t.textContent, t.x.baseVal[0].value])"
                )
            )
            low, high = ticks["0"], ticks["5"]
            place = low + (high - low) * np.log(1 + epoch) / np.log(6)
            assert mark == pytest.approx(place, abs=0.1)
    assert len(pictures) == len(set(run["sheets"].values())) > 5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_sheet_is_seen_as_ink_on_the_page(browser, theme):
    """The screen's pixels of the sheet against the record's, in both schemes."""
    context, page, _ = opened(browser, Dashboard(epoch=STOPS[-1]), theme=theme)
    screen = Image.open(io.BytesIO(page.locator(".vf .sheet").screenshot())).convert("L")
    seen = np.asarray(screen.resize((224, 224), Image.Resampling.BOX), float).ravel()
    ink = Dashboard(epoch=STOPS[-1]).sheet().astype(float).ravel()
    sign = -1 if theme == "light" else 1
    assert sign * np.corrcoef(seen, ink)[0, 1] > 0.9
    assert abs(seen.max() - seen.min()) > 150
    context.close()


ENDS = """(all) => all.map((path) => {
  const along = path.getTotalLength();
  return Math.max(path.getPointAtLength(0).x, path.getPointAtLength(along).x);
})"""


def test_what_is_covered_is_not_in_the_page(browser):
    """No curve goes on, no number of a later epoch is told; uncovered, both come."""
    epoch = STOPS[4]
    context, page, complaints = opened(browser, Dashboard(epoch=epoch))
    plots = page.locator(".vf .stage svg")
    assert plots.count() == 5
    status = page.locator("p[role=status]")
    before = [path.evaluate_all(ENDS) for path in curves(plots)]
    assert "nats per image" in status.inner_text()

    page.get_by_role("button", name="Cover the curves").click()
    settle(page)
    for plot, ends in zip(plots.all(), curves(plots), strict=True):
        mark = plot.locator("path[stroke-dasharray='3 3']").evaluate("p => p.getBBox().x")
        assert max(ends.evaluate_all(ENDS)) == pytest.approx(mark, abs=0.1)
        assert f"after {END}" not in plot.get_attribute("aria-label")
        veil = plot.locator("rect[fill-opacity='0.3']")
        assert veil.evaluate("r => r.x.baseVal.value") == pytest.approx(mark, abs=0.1)
    assert status.inner_text().startswith("What came later is covered")
    best = f"{shown_as(bounds('SiLU').max())}"
    assert best not in plain(page.locator(".vf").inner_text())  # the folds are shut
    told = map(plain, plots.first.locator("text[text-anchor=end]").all_text_contents())
    numbers = [float(text) for text in told if re.fullmatch(r"-?\d+", text)]
    assert numbers
    assert max(numbers) < bounds("SiLU").max()  # nor does the axis

    # Slid on, one more piece is seen.
    page.get_by_role("slider", name="epoch").press("ArrowRight")
    settle(page)
    assert f"epoch {STOPS[5]} of" in page.locator(".vf").inner_text()

    page.get_by_role("button", name="Uncover").click()
    settle(page)
    assert f"loses {shown_as(lost('SiLU', STOPS[5]))} nats per image" in status.inner_text()
    assert [path.evaluate_all(ENDS) for path in curves(plots)] == before
    page.get_by_role("button", name="Reset").click()
    settle(page)
    assert f"After epoch {epoch} of" in page.locator(".vf .said").first.inner_text()
    assert complaints == []
    context.close()


def curves(plots):
    """Of each plot, the curve in full ink."""
    return [plot.locator("path[stroke-width='2.2']") for plot in plots.all()]


def test_the_answers_are_computed_from_the_record(desk):
    for name in NAMES:
        desk.get_by_role("combobox", name="run").select_option(name)
        settle(desk)
        stopping, pulling = (plain(p) for p in desk.locator("details p").all_text_contents())
        for epoch in STOPS[3:]:
            assert f"{shown_as(lost(name, epoch))} after {epoch}" in stopping
        rest = np.nonzero(bounds(name).max() - bounds(name) < 1)[0][0]
        assert f"From epoch {rest} on" in stopping
        for other in NAMES:
            behind = max(bounds(one).max() for one in NAMES) - bounds(other).max()
            text = f"{other} ends at {shown_as(bounds(other)[-1])}"
            text += f", {shown_as(behind)} nats behind the best run: " if behind else ": "
            units = [entry["active_units"] for entry in HISTORY[other]]
            if units[-1]:
                assert f"{text}{units[-1]} of 16 units are active." in pulling
            elif max(units):
                alive = max(epoch for epoch, count in enumerate(units) if count)
                assert f"{text}from epoch {alive + 1} on no unit is active" in pulling
            else:
                assert f"{text}at no epoch a unit is active" in pulling
