"""Figures from Python's side: traits, stills, and models that the page cannot run."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import nn

from vaelib import nets
from vaelib.course import figures
from vaelib.course.figures import DrawDigit, Figure, LatentPlane, Network, TwoGaussians
from vaelib.likelihood import Gaussian
from vaelib.vae import VAE

FOLDER = Path(figures.__file__).parent
EVERY = [
    kind
    for name in figures.__all__
    if inspect.isclass(kind := getattr(figures, name)) and issubclass(kind, Figure)
    and kind is not Figure
]  # fmt: skip


def vae(**options):
    hidden = {"hidden": (16, 16)} | options
    return VAE(nets.MLPEncoder(784, 2, **hidden), nets.MLPDecoder(2, 784, **hidden))


def made(kind):
    return kind(vae()) if kind in (DrawDigit, LatentPlane) else kind()


@pytest.mark.parametrize("kind", EVERY)
def test_a_figure_has_a_script_a_sentence_and_a_still_picture(kind):
    widget = made(kind)
    assert len(kind.description.split()) >= 8
    data, metadata = widget._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert 1_500 < len(data["image/png"]) < 80_000
    assert metadata["image/png"]["alt"] == kind.description
    assert data["text/plain"] == f"{kind.__name__}()"  # no address that changes from run to run
    assert "application/vnd.jupyter.widget-view+json" in data
    # One module: nothing is left to import, and nothing comes from elsewhere.
    assert not [line for line in kind._esm.splitlines() if line.startswith("import")]
    assert "http" not in kind._esm.replace("http://www.w3.org/2000/svg", "")


def test_every_script_belongs_to_a_figure():
    shared = {"figure.js", "network.js"}
    shared |= {"playground_draw.js", "playground_worker.js", "learning.js"}  # one figure's parts
    modules = {Path(inspect.getfile(kind)).with_suffix(".js").name for kind in EVERY}
    assert {path.name for path in FOLDER.glob("*.js")} == modules | shared


def test_a_still_shows_the_present_settings():
    widget = TwoGaussians()
    before = widget._repr_mimebundle_()[0]["image/png"]
    widget.q_loc = 3.0
    assert widget._repr_mimebundle_()[0]["image/png"] != before


def test_figures_share_a_network():
    network = Network(vae())
    assert DrawDigit(network).network is LatentPlane(network).network
    assert len(network.data) == 2 * sum(p.numel() for p in network.model.parameters())
    assert len(Network(vae(), precision="float32").data) == 2 * len(network.data)


class Odd(nn.Module):
    def forward(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (lambda: vae(activation=nn.GELU), r"features\.0\.1, a GELU"),
        (lambda: vae(activation=Odd), r"features\.0\.1, a Odd"),
        (lambda: VAE(nets.ConvEncoder(2), nets.MLPDecoder(2, 784)), "features.0, a Unflatten"),
        (lambda: VAE(nets.MLPEncoder(784, 2), nets.ConvDecoder(2)), "decoder"),
        (lambda: VAE(nets.LinearEncoder(784, 2), nets.MLPDecoder(2, 784)), "a LinearEncoder"),
        (lambda: VAE(nets.MLPEncoder(784, 3), nets.MLPDecoder(3, 784)), "3 latent dimensions"),
        (
            lambda: VAE(nets.MLPEncoder(784, 2), nets.MLPDecoder(2, 784), likelihood=Gaussian()),
            "Gaussian",
        ),
    ],
)
def test_what_the_page_cannot_run_is_named(model, says):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=says):
        DrawDigit(model())


def test_images_need_labels():
    with pytest.raises(ValueError, match="2 images and 0 labels"):
        LatentPlane(vae(), torch.zeros(2, 784))
