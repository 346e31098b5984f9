"""Every picture of the course but the still ones of `vaelib.course.figures`.

Each function draws on axes that it is given, or on a figure of its own, and returns the figure, so
that a chapter can close it, save it, or assert what it shows.

The same thing has the same colour in the whole course, on the page as in the live figures
(``figure.js`` has the same values): the prior is grey, the exact posterior green, q blue, data
black, a bound orange, log p(x) a black line, a gap or a KL rose. What is told apart by its colour
is told apart by a label too. The ten digits have a set of their own, and their numbers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from IPython.core.getipython import get_ipython
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from torch import Tensor

__all__ = [
    "BOUND",
    "DATA",
    "DIGITS",
    "EVIDENCE",
    "GAP",
    "HEAT",
    "POSTERIOR",
    "PRIOR",
    "SCORE",
    "Q",
    "classes",
    "density",
    "ellipses",
    "history",
    "images",
    "label",
    "manifold",
    "stack",
    "theme",
]

PRIOR = "#777777"
POSTERIOR = "#108a63"  # the exact one
Q = "#2b7bba"
DATA = "#000000"
BOUND = "#c0600a"  # the ELBO, and tighter ones
EVIDENCE = "#000000"  # log p(x)
GAP = "#c2477f"  # or a KL
SCORE = "#7b52ab"  # the score-function estimator, where two estimators are compared
DIGITS = sns.color_palette("tab10", 10).as_hex()
PALETTE = [Q, BOUND, POSTERIOR, GAP, SCORE, PRIOR]  # of what has no colour of its own

# Where the exact posterior is high; on a white ground, which is the page's in the dark too.
HEAT = LinearSegmentedColormap.from_list("posterior", ["#ffffff", "#8fd0b8", POSTERIOR, "#06432f"])


def theme() -> None:
    """Set the look of all pictures: call it once at the top of a notebook.

    They are SVG on a transparent ground, whose text stays sharp at each size. In the dark the
    site inverts them and turns the hue back: ink becomes light, and colours keep their meaning.

    >>> with plt.rc_context():
    ...     theme()
    ...     plt.rcParams["image.cmap"]
    'gray_r'
    """
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=PALETTE,
        rc={
            "figure.dpi": 96,
            "figure.facecolor": "none",
            "axes.facecolor": "none",
            "savefig.facecolor": "none",
            "savefig.bbox": "tight",
            "savefig.dpi": 192,  # of what is drawn as pixels within an SVG
            "legend.frameon": False,
            "image.cmap": "gray_r",
            "svg.hashsalt": "vaelib",  # the same picture is the same file
        },
    )
    if get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def label(ax: Axes, x: float, y: float, text: str, color: object, **options: Any) -> None:
    """A text at a curve, in the curve's colour: to its right, unless ``ha`` or ``va`` say else.

    >>> figure, ax = plt.subplots()
    >>> label(ax, 1.0, -2.6, "log p(x)", EVIDENCE)
    >>> ax.texts[0].get_text()
    'log p(x)'
    >>> plt.close(figure)
    """
    ax.annotate(
        text,
        (x, y),
        xytext=(4, 0),
        textcoords="offset points",
        color=color,
        annotation_clip=False,
        **({"ha": "left", "va": "center"} | options),
    )


def stack(
    ax: Axes,
    rows: dict[str, Sequence[tuple[float, object]]],
    *,
    start: float = 0.0,
    show: Callable[[float], str] | None = "{:.2f}".format,
) -> None:
    """Two or more parts of a whole, as bars that lie end to end, a row for each name.

    Args:
        ax: where to draw.
        rows: from a row's name to its parts, each a size and a colour; of a negative size, the
            part goes to the left.
        start: where each row begins.
        show: what is written into a part, from its size; ``None`` writes nothing.

    >>> figure, ax = plt.subplots()
    >>> stack(ax, {"q": [(-3.1, BOUND), (-0.5, GAP)]})
    >>> [text.get_text() for text in ax.texts]
    ['−3.10', '−0.50']
    >>> plt.close(figure)
    """
    for row, parts in enumerate(rows.values()):
        at = start
        for size, color in parts:
            ax.barh(row, size, left=at, height=0.62, color=color, linewidth=0)
            if show is not None:
                text = show(size).replace("-", "−")
                ax.text(at + size / 2, row, text, ha="center", va="center", color="white")
            at += size
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    sns.despine(ax=ax, left=True)
    ax.tick_params(axis="y", length=0)


def images(
    rows: dict[str, Float[Tensor, "n 784"]], *, vmin: float = 0.0, vmax: float = 1.0
) -> Figure:
    """Rows of 28 x 28 pictures, each row with its name on the left.

    Args:
        rows: name to ``[n, 784]`` values, dark where they are large; n may differ.
        vmin, vmax: what is drawn white and black.

    >>> figure = images({"data": torch.zeros(5, 784), "means": torch.ones(3, 784)})
    >>> len(figure.axes)
    10
    >>> plt.close(figure)
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
    """One line per name, a value per epoch, each labelled at its end.

    >>> figure = history({"train": [-140.0, -120.0, -110.0]}, ylabel="ELBO, nats")
    >>> figure.axes[0].get_xlabel()
    'epoch'
    >>> plt.close(figure)
    """
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
    """Codes in a latent plane, coloured by class, with each class's number near its median.

    >>> figure, ax = plt.subplots()
    >>> classes(ax, torch.tensor([[0.0, 1.0], [2.0, 0.0]]), torch.tensor([3, 7]))
    >>> [text.get_text() for text in ax.texts]
    ['3', '7']
    >>> plt.close(figure)
    """
    ax.scatter(
        z[:, 0],
        z[:, 1],
        s=4,
        c=[DIGITS[int(c)] for c in labels],
        alpha=0.5,
        linewidths=0,
        rasterized=True,
    )
    classes = labels.unique()
    medians = torch.stack([z[labels == c].median(0).values for c in classes])
    width = (z.amax(0) - z.amin(0)).max().item()
    for c, at in zip(classes, _apart(medians, 0.065 * width), strict=True):
        ax.text(
            at[0].item(),
            at[1].item(),
            str(int(c)),
            fontsize=13,
            weight="bold",
            ha="center",
            va="center",
            bbox={"boxstyle": "circle,pad=0.15", "fc": "white", "ec": DIGITS[int(c)], "lw": 1.5},
        )
    ax.set(xlabel="$z_1$", ylabel="$z_2$", title=title, aspect="equal")


def _apart(points: Tensor, least: float, rounds: int = 100) -> Tensor:
    """Places near the points, no two closer than ``least``: each pair that is pushes itself."""
    places = points.double().clone()
    for _ in range(rounds):
        for i in range(len(places)):
            for j in range(i):
                way = places[i] - places[j]
                far = way.norm()
                if far < least:
                    way = way / far if far > 0 else torch.tensor([0.0, 1.0]).to(way)
                    places[i] += way * (least - far) / 2
                    places[j] -= way * (least - far) / 2
    return places


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
    """The curve ``radius`` standard deviations around each mean; 2 hold 86 % of a 2-D normal.

    >>> figure, ax = plt.subplots()
    >>> ellipses(ax, torch.zeros(1, 2), torch.tensor([[0.5, 1.5]]))
    >>> ax.patches[0].width, ax.patches[0].height
    (2.0, 6.0)
    >>> plt.close(figure)
    """
    colors = colors or [Q] * len(loc)
    for centre, s, color in zip(loc.tolist(), scale.tolist(), colors, strict=True):
        width, height = 2 * radius * s[0], 2 * radius * s[1]
        ax.add_patch(Ellipse(centre, width, height, fc="none", ec=color, lw=lw, ls=style))
        ax.plot(*centre, ".", color=color, ms=4)


def density(
    ax: Axes, z: Float[Tensor, "cells 2"], values: Float[Tensor, " cells"], *, title: str = ""
) -> None:
    """A density over the cells of a 2-D `vaelib.latent.grid`, dark where it is high.

    >>> from vaelib.latent import grid
    >>> z, _ = grid(2, points=50, extent=3.0)
    >>> figure, ax = plt.subplots()
    >>> density(ax, z, torch.exp(-0.5 * z.square().sum(-1)), title="N(0, I)")
    >>> ax.images[0].get_array().shape
    (50, 50)
    >>> plt.close(figure)
    """
    points = round(len(z) ** 0.5)
    low, high = z.min().item(), z.max().item()
    picture = values.reshape(points, points).mT  # the first coordinate runs along the rows
    ax.imshow(
        picture.numpy(),
        origin="lower",
        extent=(low, high, low, high),
        cmap=HEAT,
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

    >>> figure = manifold(lambda z: z.sum(1, keepdim=True).sigmoid().expand(-1, 784), points=3)
    >>> figure.axes[0].images[0].get_array().shape
    (84, 84)
    >>> plt.close(figure)
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
