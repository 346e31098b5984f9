"""Every picture of the course but the still ones of `vaelib.course.figures`.

Each function draws on axes that it is given, or on a figure of its own, and returns the figure, so
that a chapter can close it, save it, or assert what it shows. Colours are seaborn's colour-blind
palette; digits are also told apart by their number, never by colour alone.
"""

from collections.abc import Callable, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

__all__ = ["classes", "density", "ellipses", "history", "images", "manifold", "theme"]

PALETTE = sns.color_palette("colorblind", 10)


def theme() -> None:
    """Set the look of all pictures: call it once at the top of a notebook."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette="colorblind",
        rc={"figure.dpi": 96, "savefig.bbox": "tight", "image.cmap": "gray_r"},
    )


def images(
    rows: dict[str, Float[Tensor, "n 784"]], *, vmin: float = 0.0, vmax: float = 1.0
) -> Figure:
    """Rows of 28 x 28 pictures, each row with its name on the left.

    Args:
        rows: name to ``[n, 784]`` values, dark where they are large; n may differ.
        vmin, vmax: what is drawn white and black.
    """
    n = max(len(row) for row in rows.values())
    figure, axes = plt.subplots(
        len(rows), n, figsize=(0.85 * n + 1.2, 0.9 * len(rows)), squeeze=False
    )
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.set_axis_off()
        for ax, image in zip(line, row, strict=False):
            ax.imshow(image.detach().reshape(28, 28).numpy(), vmin=vmin, vmax=vmax)
        line[0].text(-0.25, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
    figure.subplots_adjust(wspace=0.06, hspace=0.06)
    return figure


def history(curves: dict[str, Sequence[float]], *, ylabel: str) -> Figure:
    """One line per name, a value per epoch, each labelled at its end."""
    figure, ax = plt.subplots(figsize=(6.4, 3.2))
    for name, values in curves.items():
        epochs = np.arange(1, len(values) + 1)
        (line,) = ax.plot(epochs, values)
        ax.annotate(
            name,
            (epochs[-1], values[-1]),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
        )
    ax.set(xlabel="epoch", ylabel=ylabel)
    sns.despine(figure)
    return figure


def classes(ax: Axes, z: Float[Tensor, "n 2"], labels: Tensor, *, title: str = "") -> None:
    """Codes in a latent plane, coloured by class, with each class's number at its median."""
    ax.scatter(z[:, 0], z[:, 1], s=4, c=[PALETTE[int(c)] for c in labels], alpha=0.5, linewidths=0)
    for c in labels.unique():
        at = z[labels == c].median(0).values
        ax.text(
            at[0].item(),
            at[1].item(),
            str(int(c)),
            fontsize=13,
            weight="bold",
            ha="center",
            va="center",
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": PALETTE[int(c)], "lw": 1.5},
        )
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")


def ellipses(
    ax: Axes,
    loc: Float[Tensor, "n 2"],
    scale: Float[Tensor, "n 2"],
    *,
    colors: Sequence[object] | None = None,
    radius: float = 2.0,
    lw: float = 1.5,
    style: str = "-",
) -> None:
    """The curve ``radius`` standard deviations around each mean; 2 hold 86 % of a 2-D normal."""
    colors = colors or [PALETTE[0]] * len(loc)
    for centre, s, color in zip(loc.tolist(), scale.tolist(), colors, strict=True):
        width, height = 2 * radius * s[0], 2 * radius * s[1]
        ax.add_patch(Ellipse(centre, width, height, fc="none", ec=color, lw=lw, ls=style))
        ax.plot(*centre, ".", color=color, ms=4)


def density(
    ax: Axes, z: Float[Tensor, "cells 2"], values: Float[Tensor, " cells"], *, title: str = ""
) -> None:
    """A density over the cells of a 2-D `vaelib.latent.grid`, dark where it is high."""
    points = round(len(z) ** 0.5)
    low, high = z.min().item(), z.max().item()
    picture = values.reshape(points, points).mT  # the first coordinate runs along the rows
    ax.imshow(
        picture.numpy(),
        origin="lower",
        extent=(low, high, low, high),
        cmap="mako_r",
        vmin=0,
        interpolation="nearest",
    )
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title)


def manifold(
    decode: Callable[[Tensor], Tensor], *, points: int = 15, extent: float = 2.0
) -> Figure:
    """Decoder means on a square of the latent plane, z₁ to the right and z₂ upwards.

    Args:
        decode: from z ``[n, 2]`` to means ``[n, 784]``.
        points: pictures along each axis.
        extent: the square is [-extent, extent]².
    """
    axis = torch.linspace(-extent, extent, points)
    z = torch.cartesian_prod(axis.flip(0), axis).flip(1)  # rows from the top: z₂ falls, z₁ rises
    with torch.no_grad():
        tiles = decode(z).reshape(points, points, 28, 28)
    figure, ax = plt.subplots(figsize=(6.4, 6.4))
    ax.imshow(
        tiles.permute(0, 2, 1, 3).reshape(28 * points, 28 * points).numpy(),
        extent=(-extent, extent, -extent, extent),
        vmin=0,
        vmax=1,
    )
    ax.set(xlabel="$z_1$", ylabel="$z_2$")
    return figure
