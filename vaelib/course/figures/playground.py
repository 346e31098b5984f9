"""A VAE that trains in the page, without a kernel: the front page, and chapter :doc:`/book/start`."""

import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import anywidget
import numpy as np
import torch
import traitlets
from ipywidgets import widget_serialization
from jaxtyping import Float, UInt8
from matplotlib.patches import Ellipse
from torch import Tensor, nn

from vaelib import data, evaluate, nets, train
from vaelib.arguments import BadType, BadValue
from vaelib.course import plots
from vaelib.course.recordings import recorded
from vaelib.latent import grid, grid_evidence
from vaelib.vae import VAE

from .figure import Figure, Still, script

__all__ = ["Playground", "poster", "small_digits"]

SIDE, PIXELS, TILES = 14, 196, 12
IMAGES = 80_000  # that the network of the poster has seen
REACHES = (3, 4, 6, 8, 12, 16, 24, 32)  # how far the plane goes each way that is shown
# The poster's curves begin steeply.
AT = (0, 500, 1000, 2000, 4000, 6000, 8000, 12_000, *range(16_000, IMAGES + 1, 8000))

# What to try, and what comes of it; tests/browser/test_playground.py asserts each.
TASKS = {
    "mean": {
        "task": "Tick “mean instead of sample”; it starts again. Does orange stay below black?",
        "answer": "No: what it now computes (dashed) ends some 4 nats above log p(x). So it isn't "
        "a bound. The honest bound (solid) has fallen off the picture.",
        "href": "reparam.html#reparam-naive",
        "words": "Why a sample",
    },
    "kl": {
        "task": "Tick “KL off”. What becomes of the ellipses, and of log p(x)?",
        "answer": "The ellipses shrink to points, far out where the prior is not. Pictures are "
        "rebuilt some 2 nats better, and log p(x) loses more than 5: new digits would be worse.",
        "href": "kl.html#kl-half",
        "words": "What the KL is for",
    },
    "pixels": {
        "task": "Tick “mean over pixels”. What becomes of the ellipses?",
        "answer": "Each becomes the prior's circle, and the KL is 0.00: with the pixels' part "
        "divided by 196, a code isn't worth its price.",
        "href": "collapse.html#collapse-causes",
        "words": "Why codes die",
    },
}


class Pixels(anywidget.AnyWidget):
    """The images of a `Playground`, for themselves: a page fetches them when training begins."""

    _esm = "export default {};"  # it is drawn nowhere: the figure reads it

    images = traitlets.Bytes().tag(sync=True)  # n rows of 196 bytes, packed by zlib
    held_out = traitlets.Bytes().tag(sync=True)  # m rows of 196 zeros and ones, likewise


class Playground(Figure):
    r"""A VAE of 196-64-2-64-196 that learns in the page while the reader watches, and can be broken.

    One step of Adam for each 20 images, whose pixels are drawn anew at each visit, on the mean of

    $$\sum_i \log p_\theta(x_i \mid z) - \beta\,\mathrm{KL}(q_\phi(z \mid x) \,\|\, N(0, I)),
      \qquad z = \mu + \sigma \varepsilon,$$

    and twice a second, for the held-out images, the ELBO (with β = 1, whatever is trained) and the
    exact log p(x), by a sum over the plane; all in nats per image. It starts when asked.

    Args:
        images: grey pixels of 14 x 14 to learn from, ``[n, 196]``; of the bundled digits 3,000.
        held_out: zeros and ones to measure with, ``[m, 196]``; a draw of 100 bundled digits.
        labels: the class of each of these, 0 to 9, ``[m]``: its colour, and its name.
        tasks: what the reader is asked to try: names of ``TASKS``, or dictionaries with ``task``,
            ``answer`` and, for a link on the site, ``href`` and ``words``.
        traits: ``seed``, ``beta``, ``kl_off``, ``noise_off``, ``pixel_mean``, and ``limit``, the
            number of images after which it pauses.

    Raises:
        TypeError, ValueError: if only one of the three data is given, if pixels have another type
            or number, or if their numbers of rows differ.
    """

    _esm = script("playground")
    description: ClassVar[str] = (
        "A small VAE after 80,000 images. Left, the plane of z: an ellipse for each of 100 held-out "
        "digits, in coloured clouds around the prior's circles. Beside it the decoder's picture of "
        "12 by 12 points of the same plane. Below, two curves against images seen: the ELBO climbs "
        "and stays a little below log p(x)."
    )

    pixels = traitlets.Instance(Pixels).tag(sync=True, **widget_serialization)
    labels: Any = traitlets.List().tag(sync=True)
    colors: Any = traitlets.List(list(plots.DIGITS)).tag(sync=True)
    poster: Any = traitlets.Dict().tag(sync=True)
    tasks: Any = traitlets.List().tag(sync=True)
    seed = traitlets.Int(0, min=0).tag(sync=True)
    beta = traitlets.Float(1.0, min=0.0, max=4.0).tag(sync=True)
    kl_off = traitlets.Bool(False).tag(sync=True)
    noise_off = traitlets.Bool(False).tag(sync=True)
    pixel_mean = traitlets.Bool(False).tag(sync=True)
    limit = traitlets.Int(400_000, min=1).tag(sync=True)

    def __init__(
        self,
        images: UInt8[Tensor, "n 196"] | None = None,
        held_out: Float[Tensor, "m 196"] | None = None,
        labels: Tensor | None = None,
        *,
        tasks: Sequence[str | dict[str, str]] = ("mean",),
        **traits: Any,
    ) -> None:
        if images is None and held_out is None and labels is None:
            images, held_out, labels = small_digits()
            first = recorded("playground")["poster"]
        elif images is None or held_out is None or labels is None:
            raise BadType("Playground: give images, held_out and labels together, or none of them")
        else:
            _require(images, held_out, labels)
            first = poster(images, held_out)
        packed = [
            zlib.compress(t.byte().contiguous().numpy().tobytes(), 9) for t in (images, held_out)
        ]
        super().__init__(
            pixels=Pixels(images=packed[0], held_out=packed[1]),
            labels=labels.tolist(),
            poster=first,
            tasks=[_task(one) for one in tasks],
            **traits,
        )

    def still(self) -> Still:  # noqa: D102
        picture = Still(figsize=(12, 6), layout="constrained")
        axes = picture.subplot_mosaic(
            [["plane", "tiles"], ["curves", "curves"]], height_ratios=[3, 1]
        )
        _draw_plane(axes["plane"], self.poster, self.labels)
        wide = self.poster["wide"]
        tiles = np.array([int(c, 16) for c in self.poster["tiles"]]).reshape(
            TILES, TILES, SIDE, SIDE
        )
        whole = tiles[::-1].swapaxes(1, 2).reshape(TILES * SIDE, TILES * SIDE)
        axes["tiles"].imshow(whole, cmap="gray_r", extent=(-wide, wide, -wide, wide))
        axes["tiles"].set_axis_off()
        _draw_curves(axes["curves"], self.poster["points"])
        return picture


def _require(images: Tensor, held_out: Tensor, labels: Tensor) -> None:
    if images.dtype != torch.uint8:
        raise BadType(
            f"Playground: expected images as uint8, 0 to 255, got {images.dtype}", "images"
        )
    for name, rows in (("images", images), ("held_out", held_out)):
        if rows.ndim != 2 or rows.shape[1] != PIXELS or len(rows) == 0:
            raise BadValue(
                f"Playground: expected {name} as [n, 196], 14 x 14 pixels, got {[*rows.shape]}",
                name,
            )
    if not ((held_out == 0) | (held_out == 1)).all():
        raise BadValue(
            "Playground: expected held_out binarized; see vaelib.data.binarize", "held_out"
        )
    if len(held_out) != len(labels) or not ((labels >= 0) & (labels <= 9)).all():
        raise BadValue(
            f"Playground: expected a label 0 to 9 for each of {len(held_out)} held-out images, got "
            f"{len(labels)} from {labels.min()} to {labels.max()}",
            "labels",
        )


def _task(one: str | dict[str, str]) -> dict[str, str]:
    if isinstance(one, dict):
        return one
    if one not in TASKS:
        raise BadValue(
            f"Playground: there is no task {one!r}; there are {', '.join(TASKS)}", "tasks"
        )
    return TASKS[one]


def small_digits() -> tuple[Tensor, Tensor, Tensor]:
    """Of the bundled digits at 14 x 14: 3,000 grey ones, one draw of 100 held-out ones, and these's
    labels. Each pixel is the mean of four.

    >>> [len(part) for part in small_digits()]
    [3000, 100, 100]
    """
    digits = data.digits()
    grey = [
        pixels.view(-1, SIDE, 2, SIDE, 2).float().mean((2, 4)).round().byte().view(-1, PIXELS)
        for pixels in (digits.train[:3000], digits.test[:100])
    ]
    held_out = data.binarize(grey[1], generator=torch.Generator().manual_seed(0))
    return grey[0], held_out, digits.test_labels[:100]


def poster(images: Tensor, held_out: Tensor, *, seed: int = 0) -> dict[str, Any]:
    """What the page would show after 80,000 images, from the same training in torch.

    Returns:
        ``loc`` and ``scale`` of each held-out image's q, in a row; the decoder's pictures of 12 x 12
        points of the plane up to ``wide`` each way, a hexadecimal digit a pixel; and the curves'
        ``points``: ``seen``, ``elbo`` and exact ``log_p``.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # weights come from torch's own generator
        torch.manual_seed(seed)
        net = {"hidden": (64,), "activation": nn.Tanh}
        model = VAE(nets.MLPEncoder(PIXELS, 2, **net), nets.MLPDecoder(2, PIXELS, **net))
    adam = torch.optim.Adam(model.parameters(), lr=0.005)
    trainer = train.Trainer(model, adam, prepare=model.likelihood.prepare, generator=generator)
    batches = train.Batches(images, 20, generator=generator)
    x, points, seen = held_out.float(), [], 0
    while True:
        for batch in batches:
            if seen >= AT[len(points)]:
                found = evaluate.elbo(model, x, generator=torch.Generator().manual_seed(seed))
                measured = {"elbo": found.elbo, "log_p": _log_evidence(model, x)}
                points.append({"seen": seen} | {k: round(v, 3) for k, v in measured.items()})
                if seen >= IMAGES:
                    return _seen(model, x, points)
            trainer.step(batch)
            seen += len(batch)


@torch.no_grad()
def _log_evidence(model: VAE, x: Tensor) -> float:
    """The mean log p(x) on the page's grid."""
    z, log_cell = grid(2, points=50, extent=5.0)
    return grid_evidence(model.log_joint_pairs(x, z), log_cell).log_evidence.mean().item()


@torch.no_grad()
def _seen(model: VAE, x: Tensor, points: list[dict[str, float]]) -> dict[str, Any]:
    q = model.encode(x)
    far = q.loc.abs().flatten().sort().values[int(0.98 * q.loc.numel())]
    wide = next((reach for reach in REACHES if reach > far), REACHES[-1])
    axis = wide * (2 * (torch.arange(TILES) + 0.5) / TILES - 1)
    z = torch.cartesian_prod(axis, axis).flip(1)  # rows from below: z₁ runs along them
    tiles = (15 * model.decode(z).mean).round().int().flatten().tolist()
    both = {"loc": q.loc, "scale": q.stddev}
    return {
        "seen": int(points[-1]["seen"]),
        "wide": wide,
        **{name: [round(v, 3) for v in rows.flatten().tolist()] for name, rows in both.items()},
        "tiles": "".join(f"{v:x}" for v in tiles),
        "points": points,
    }


def _draw_plane(ax: Any, seen: dict[str, Any], labels: list[int]) -> None:
    wide = seen["wide"]
    loc, scale = (torch.tensor(seen[name]).view(-1, 2) for name in ("loc", "scale"))
    for radius in (1, 2):
        ax.add_patch(Ellipse((0, 0), 2 * radius, 2 * radius, fc="none", ec=plots.PRIOR, ls=":"))
    for at, (a, b), label in zip(loc.tolist(), scale.tolist(), labels, strict=True):
        color = plots.DIGITS[label]
        ax.add_patch(Ellipse(at, 2 * a, 2 * b, fc=color, ec="none", alpha=0.28))
        ax.add_patch(Ellipse(at, 2 * a, 2 * b, fc="none", ec=color, alpha=0.8))
    for label in sorted(set(labels)):
        middle = loc[[one == label for one in labels]].median(0).values.tolist()
        ax.text(*middle, str(label), size=15, weight="bold", ha="center", va="center")
    ax.set(xlim=(-wide, wide), ylim=(-wide, wide), aspect="equal", xticks=[], yticks=[])


def _draw_curves(ax: Any, points: list[dict[str, float]]) -> None:
    seen, elbo, log_p = ([p[name] for p in points] for name in ("seen", "elbo", "log_p"))
    ax.fill_between(seen, elbo, log_p, color=plots.GAP, alpha=0.35, lw=0)
    ax.plot(seen, log_p, color=plots.EVIDENCE, lw=2)
    ax.plot(seen, elbo, color=plots.BOUND, lw=2)
    plots.label(ax, seen[-1], log_p[-1], "log p(x)", plots.EVIDENCE, va="bottom")
    plots.label(ax, seen[-1], elbo[-1], "ELBO", plots.BOUND, va="top")
    ax.set(xlim=(0, seen[-1]), ylim=(log_p[-1] - 5.5, log_p[-1] + 0.5), xlabel="images seen")
    ax.set_ylabel("nats")
    ax.spines[["top", "right"]].set_visible(False)
