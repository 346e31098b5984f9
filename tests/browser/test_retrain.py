"""The figure `Retrain`: on a page without a kernel, and with somebody who answers."""

import json
import math

import torch
from figures import page_of, values_in_the_page

from vaelib import course
from vaelib.course.figures import Retrain

FIELDS = ("beta", "latent", "seed")


def settings():
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        b, k, s = torch.rand(3, generator=generator).tolist()
        # β from 0.1 to 10, sizes from 2 to 64.
        yield {"beta": 0.1 * 100**b, "latent": int(2 * 32**k), "seed": int(10 * s)}


def test_the_nearest_run_is_pythons(blank):
    recorded = [
        {name: point[name] for name in FIELDS} for point in course.recorded("sweep")["points"]
    ]
    every = [*settings(), *recorded]
    figure = Retrain()
    asked = [at | {"runs": figure.runs} for at in every]
    for at, found in zip(every, values_in_the_page(blank, Retrain, asked), strict=True):
        figure.beta, figure.latent, figure.seed = (at[name] for name in FIELDS)
        assert found["nearest"] == figure.nearest()
        assert found["exact"] == (at in recorded)
        assert found["better"] == sum(r["elbo"] > found["nearest"]["elbo"] for r in figure.runs)
    assert not found["own"]


def shown(page):
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")
    return page.locator(".said").inner_text(), page.locator(".vf svg").first.get_attribute(
        "aria-label"
    )


def nearest_dot(page):
    """How far the ring is from the dot below it."""
    ring, dot = page.locator(".vf .handle").first, page.locator(".vf svg circle[r='4']")
    at = dot.evaluate_all("all => all.map(c => [c.cx.baseVal.value, c.cy.baseVal.value])")
    place = ring.evaluate("g => [g.transform.baseVal[0].matrix.e, g.transform.baseVal[0].matrix.f]")
    return min(math.dist(place, one) for one in at)


def test_without_a_kernel(blank):
    """A slider over the recorded β, and nothing that only a kernel can do."""
    blank.set_content(page_of(Retrain()))
    blank.wait_for_selector(".interactive.drawn")
    shown(blank)
    assert blank.get_by_role("button").all_inner_texts() == ["Reset"]
    assert blank.get_by_role("combobox").count() == 0
    assert not blank.locator("progress").is_visible()
    assert "kernel" not in blank.locator(".vf").inner_text()

    points = [p for p in course.recorded("sweep")["points"] if p["latent"] == 16]
    firsts = sorted((p for p in points if p["seed"] == 0), key=lambda p: p["beta"])
    slider = blank.get_by_role("slider")
    seen = set()
    for place, point in enumerate(firsts):
        slider.fill(str(place))
        for words in shown(blank):
            assert f"β = {point['beta']:g}, latent size 16, seed 0" in words
            rate, distortion = f"{point['rate']:.2f}", f"{point['distortion']:.2f}"
            assert f"rate {rate} + distortion {distortion} nats" in words
            assert f"ELBO = −{-point['elbo']:.1f} nats" in words
            # The sentence adds up, as it is rounded there.
            assert math.isclose(float(rate) + float(distortion), -point["elbo"], abs_tol=0.05)
        assert slider.get_attribute("aria-valuetext") == f"β = {point['beta']:g}"
        assert nearest_dot(blank) < 0.01
        equation = blank.locator(".vf .equation").inner_text()
        loss = point["distortion"] + point["beta"] * point["rate"]
        assert f"{distortion} + {point['beta']:g} × {rate} = {loss:.2f}" in equation
        assert f"D + R = {point['distortion'] + point['rate']:.2f} nats" in equation
        assert f"active units: {point['active_units']} of 16" in blank.locator(".vf").inner_text()
        alive = blank.locator(".vf svg circle[fill='var(--q)']")
        assert alive.count() == point["active_units"]
        canvas = blank.locator(".vf canvas")
        ink = canvas.evaluate(
            "c => [...c.getContext('2d').getImageData(0, 0, 84, 56).data]"
            ".filter((_, i) => i % 4 == 3)"
        )
        grey = (255 * point["means"]).round().view(2, 3, 28, 28).permute(0, 2, 1, 3)
        assert ink == grey.flatten().int().tolist()
        seen.add(tuple(ink))
    assert len(seen) == 5

    blank.get_by_role("button", name="Reset").click()
    assert shown(blank)[0].startswith("Recorded run, β = 1, latent size 16, seed 0")


ANSWERING = """async ([source, state]) => {
  document.body.innerHTML = "<main></main>";
  const listeners = {};
  const fire = (event, ...about) => (listeners[event] ?? []).forEach((hear) => hear(...about));
  window.sent = [];
  window.model = {
    get: (key) => state[key],
    set(key, value) { state[key] = value; fire("change"); },
    on(event, hear) { (listeners[event] ??= []).push(hear); },
    off(event, hear) { listeners[event] = listeners[event].filter((one) => one !== hear); },
    save_changes() {},
    send(message) {
      window.sent.push(message.type);
      if (message.type === "hello") setTimeout(() => fire("msg:custom", { type: "kernel" }));
      if (message.type === "train") this.set("training", true);
      if (message.type === "stop") this.set("training", false);
    },
  };
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const { default: figure } = await import(address);
  const el = document.querySelector("main");
  window.close_figure = await figure.render({ model: window.model, el });
  window.left = () => listeners["msg:custom"].length + listeners.change.length;
}"""


def test_with_a_kernel_that_answers(blank):
    figure = Retrain(epochs=4)
    state = {name: getattr(figure, name) for name in figure.keys if not name.startswith("_")}
    plain = {name: v for name, v in state.items() if isinstance(v, int | float | str | list)}
    blank.evaluate(ANSWERING, [Retrain._esm, json.loads(json.dumps(plain))])
    button, stop = (blank.get_by_role("button", name=name) for name in ("Train", "Stop"))
    button.wait_for()
    assert button.is_enabled()
    for name in ("β", "latent size"):
        blank.get_by_role("combobox", name=name).wait_for()
    assert not stop.is_visible()

    button.click()
    blank.evaluate("""() => {
      model.set("progress", 0.5);
      model.set("curve", [1, 2].map((i) => ({ elbo: -180 + i, kl: 10, distortion: 170 - i })));
    }""")
    shown(blank)
    assert button.is_disabled()
    assert blank.get_by_label("epoch 3 of 4").evaluate("bar => bar.value") == 0.5
    blank.get_by_role("combobox", name="β").select_option("2")
    assert shown(blank)[0].startswith("Nearest recorded run, β = 3, latent size 16")
    assert "rate 10.00 + distortion 168.00" in blank.locator(".vf svg").last.get_attribute(
        "aria-label"
    )

    stop.click()
    shown(blank)
    assert blank.evaluate("sent") == ["hello", "train", "stop"]
    assert button.is_enabled()
    assert not blank.locator("progress").is_visible()

    run = {
        "beta": 3,
        "latent": 2,
        "seed": 7,
        "elbo": -178,
        "kl": 10,
        "distortion": 168,
        "source": "x",
    }
    blank.evaluate("run => model.set('runs', [...model.get('runs'), run])", run)
    shown(blank)
    assert blank.locator(".vf td").all_inner_texts() == [
        "1",
        "3",
        "2",
        "7",
        "10.00",
        "168.00",
        "−178.0",
    ]
    assert "Run 1, β = 3, latent size 2, seed 7" in blank.locator("p[role=status]").inner_text()
    blank.evaluate("close_figure()")
    assert blank.evaluate("left()") == 0
