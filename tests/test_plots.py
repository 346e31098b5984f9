"""plots: what is drawn is what was given, at the place where it belongs."""

import re

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from chapters import ROOT

from vaelib.course import plots
from vaelib.latent import grid


@pytest.fixture(autouse=True)
def _headless():
    matplotlib.use("agg")
    yield
    plt.close("all")


def test_images_are_upright_and_in_order(generator):
    rows = {"a": torch.rand(3, 784, generator=generator), "b": torch.zeros(2, 784)}
    figure = plots.images(rows)
    drawn = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(drawn) == 5
    np.testing.assert_allclose(drawn[1], rows["a"][1].view(28, 28).numpy())
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["a", "b"]


def test_history_draws_each_value_at_its_epoch():
    (ax,) = plots.history({"m": [3.0, 2.0, 1.5]}, ylabel="nats").axes
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[1, 3], [2, 2], [3, 1.5]])
    assert ax.get_ylabel() == "nats"


def test_classes_labels_each_class_once(generator):
    _, ax = plt.subplots()
    labels = torch.tensor([3, 3, 7, 7, 7])
    z = torch.randn(5, 2, generator=generator)
    plots.classes(ax, z, labels)
    np.testing.assert_allclose(ax.collections[0].get_offsets(), z.numpy())
    assert {t.get_text(): t.get_position()[0] for t in ax.texts} == {
        "3": pytest.approx(z[:2, 0].min().item()),
        "7": pytest.approx(z[2:, 0].median().item()),
    }


def test_labels_of_classes_in_one_place_stand_apart(generator):
    """Of two classes with the same median and a third beside it; a far one stays where it is."""
    middles = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.1, 0.0], [9.0, 9.0]]).repeat_interleave(
        30, 0
    )
    _, ax = plt.subplots()
    z = middles + 1e-3 * torch.randn(120, 2, generator=generator)
    plots.classes(ax, z, torch.arange(4).repeat_interleave(30))
    places = torch.tensor([text.get_position() for text in ax.texts])
    assert torch.pdist(places).min() > 0.06 * 9
    assert (places[3] - 9).abs().max() < 0.01


def test_ellipses_have_the_width_of_their_scale():
    _, ax = plt.subplots()
    plots.ellipses(ax, torch.tensor([[1.0, 2.0]]), torch.tensor([[0.5, 0.1]]), radius=2.0)
    (ellipse,) = ax.patches
    assert tuple(ellipse.center) == (1.0, 2.0)
    assert ellipse.width == pytest.approx(2.0)
    assert ellipse.height == pytest.approx(0.4)


def test_density_has_its_peak_where_it_is():
    """z₁ to the right, z₂ upwards: a transposed picture would swap them."""
    _, ax = plt.subplots()
    z, _ = grid(2, points=40, extent=4.0)
    peak = torch.tensor([2.05, -1.05])
    plots.density(ax, z, torch.exp(-10 * (z - peak).square().sum(-1)))
    picture, (left, right, bottom, top) = ax.images[0].get_array(), ax.images[0].get_extent()
    row, column = np.unravel_index(picture.argmax(), picture.shape)
    assert ax.images[0].origin == "lower"
    assert left + (column + 0.5) * (right - left) / 40 == pytest.approx(2.05, abs=0.11)
    assert bottom + (row + 0.5) * (top - bottom) / 40 == pytest.approx(-1.05, abs=0.11)


def test_manifold_has_z1_to_the_right_and_z2_upwards():
    """A decoder that paints z₁ into the first pixel of a tile and z₂ into its last."""

    def decode(z):
        image = torch.zeros(len(z), 784)
        image[:, 0], image[:, -1] = z[:, 0], z[:, 1]
        return image

    (ax,) = plots.manifold(decode, points=3, extent=2.0).axes
    picture = ax.images[0].get_array()
    np.testing.assert_allclose(picture[0::28, 0::28], [[-2, 0, 2]] * 3)
    np.testing.assert_allclose(picture[27::28, 27::28], [[2] * 3, [0] * 3, [-2] * 3])


def test_the_live_figures_have_the_same_colours():
    """One thing, one colour: as style variables of figure.js, in the light."""
    from vaelib.course import figures

    style = figures.TwoGaussians._esm
    for name in ("PRIOR", "POSTERIOR", "Q", "BOUND", "GAP", "SCORE"):
        assert f"--{name.lower()}: {getattr(plots, name)};" in style


def test_the_table_of_notation_shows_these_colours():
    style = (ROOT / "book" / "_static" / "course.css").read_text()
    shown = dict(re.findall(r"\.swatch\.(\w+)::before \{ background: (#\w+)", style))
    assert shown == {
        n.lower(): getattr(plots, n) for n in ("PRIOR", "POSTERIOR", "Q", "BOUND", "GAP")
    }


def test_parts_of_a_whole_lie_end_to_end():
    _, ax = plt.subplots()
    plots.stack(ax, {"a": [(-3.0, plots.BOUND), (-1.5, plots.GAP)], "b": [(2.0, plots.Q)]})
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in ax.patches]
    assert spans == [(0, -3), (-3, -4.5), (0, 2)]
    assert [text.get_text() for text in ax.texts] == ["−3.00", "−1.50", "2.00"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["a", "b"]
