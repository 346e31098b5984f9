"""`DrawDigit` as chapter `vae` shows it: its task does what the chapter says.

The network is the one that is stored. `test_network.py` compares with vaelib what it computes.
"""

from collections import Counter

import nbformat
import pytest
import torch
from conftest import ROOT
from example_figures import EXAMPLES
from figures import opened, settle

from vaelib.course.figures import DrawDigit

STATE = "application/vnd.jupyter.widget-state+json"

LOOK = """async ([source, data, layers, precision]) => {
  const page = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const traits = { layers, precision, data: new DataView(bytes.buffer) };
  const network = page.networkOf({ get: (name) => traits[name] });
  const coarse = page.posteriorTable(network, { cells: 50, middle: [0, 0], reach: 4 });
  while (!coarse.more(50)) {}
  return [0, 1, 2, 3].map((step) => {
    const x = page.asMnist(page.closing(step));
    const far = coarse.logJoint(x);
    const mode = coarse.points[far.indexOf(Math.max(...far))];
    const { loc, reconstruction, kl } = page.values({ x }, network);
    const middle = [0, 1].map((i) => (loc[i] + mode[i]) / 2);
    const reach = 0.4 + Math.max(...[0, 1].map((i) => Math.abs(loc[i] - mode[i]) / 2));
    const fine = page.posteriorTable(network, { cells: 40, middle, reach });
    while (!fine.more(50)) {}
    const log_p = page.evidence(coarse, far, fine, fine.logJoint(x));
    return { mode, loc, gap: log_p - reconstruction + kl };
  });
}"""


@pytest.fixture(scope="module")
def states():
    """The stored states of chapter `vae`'s network and of its figure, by what they hold."""
    notebook = nbformat.read(ROOT / "book" / "vae.ipynb", as_version=4)
    stored = notebook.metadata["widgets"][STATE]["state"].values()
    (network,) = [one for one in stored if "layers" in one["state"]]
    (figure,) = [one for one in stored if "strokes" in one["state"]]
    return network, figure["state"]


def test_a_c_that_is_closed_to_a_0_takes_the_posterior_along_and_then_the_encoder(blank, states):
    network, figure = states
    codes, labels = torch.tensor(figure["codes"]), figure["labels"]

    def read_as(at):
        """The digit of most of the fifteen nearest codes."""
        near = (codes - torch.tensor(at)).norm(dim=1).topk(15, largest=False).indices
        return Counter(labels[i] for i in near.tolist()).most_common(1)[0][0]

    state = network["state"]
    data = network["buffers"][0]["data"]
    found = blank.evaluate(LOOK, [DrawDigit._esm, data, state["layers"], state["precision"]])
    open_c, _, late, closed = found
    assert read_as(open_c["mode"]) != 0
    assert open_c["gap"] < 5
    # The ring is among the 0s, the ellipse is not, and that costs dozens of nats.
    assert read_as(late["mode"]) == 0
    assert read_as(late["loc"]) != 0
    assert late["gap"] > 20
    assert read_as(closed["mode"]) == read_as(closed["loc"]) == 0
    assert closed["gap"] < 8
    assert min(one["gap"] for one in found) > -0.1


def test_buttons_draw_the_task_and_reset_takes_it_back(browser):
    context, page, complaints = opened(browser, EXAMPLES["DrawDigit"]())

    def press(name):
        page.get_by_role("button", name=name).click()
        settle(page)
        pad = page.locator(".vf canvas[tabindex]")
        return pad.evaluate("c => c.toDataURL()"), page.locator(".vf .equation").inner_text()

    page.wait_for_function("!document.querySelector('.vf .equation').textContent.includes('…')")
    first = page.locator(".vf canvas[tabindex]").evaluate("c => c.toDataURL()")
    drawings = [press("Draw a C for me")[0]] + [press("Close it further")[0] for _ in range(3)]
    assert len({first, *drawings}) == 5
    assert press("Close it further")[0] == drawings[-1]  # a 0 is closed
    empty, equation = press("Clear")
    assert empty not in {first, *drawings}
    assert equation == "log p(x) = pixels − KL to the prior + gap"
    assert press("Reset")[0] == first
    assert page.get_by_role("combobox").input_value() == "0"
    assert complaints == []
    context.close()
