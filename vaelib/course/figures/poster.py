"""What `Playground` shows before it is started: the same training in torch, and its picture."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from torch import Tensor, nn

from vaelib import evaluate, nets, train
from vaelib.course import plots
from vaelib.latent import grid, grid_evidence
from vaelib.vae import VAE

from .figure import Still

__all__ = ["poster", "posters_picture"]

SIDE, PIXELS, TILES = 14, 196, 12
IMAGES = 80_000  # that the network has seen
# The curves begin steeply.
AT = (0, 500, 1000, 2000, 4000, 6000, 8000, 12_000, *range(16_000, IMAGES + 1, 8000))
REACHES = (3, 4, 6, 8, 12, 16, 24, 32)  # how far the plane that is shown goes each way


def poster(
    images: UInt8[Tensor, "n 196"], held_out: Float[Tensor, "m 196"], *, seed: int = 0
) -> dict[str, Any]:
    """What the page would show after 80,000 images; some seconds of training.

    Returns:
        ``loc`` and ``scale`` of each held-out image's q, in a row; the decoder's pictures of 12 by
        12 points of the plane up to ``wide`` each way, a hexadecimal digit a pixel; and the curves'
        ``points``: how many images were ``seen``, and the means ``elbo`` and ``log_p`` (exact), in
        nats.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # weights come from torch's own generator
        torch.manual_seed(seed)
        encoder = nets.MLPEncoder(PIXELS, 2, hidden=(64,), activation=nn.Tanh)
        model = VAE(encoder, nets.MLPDecoder(2, PIXELS, hidden=(64,), activation=nn.Tanh))
    adam = torch.optim.Adam(model.parameters(), lr=0.005, fused=True)
    trainer = train.Trainer(model, adam, prepare=model.likelihood.prepare, generator=generator)
    batches = train.Batches(images, 20, generator=generator)
    points: list[dict[str, Any]] = []
    seen = 0
    while True:
        for batch in batches:
            if seen >= AT[len(points)]:
                points.append({"seen": seen} | _measured(model, held_out, seed))
                if seen >= IMAGES:
                    return _seen(model, held_out) | {"seen": seen, "points": points}
            trainer.step(batch)
            seen += len(batch)


@torch.no_grad()
def _measured(model: VAE, x: Tensor, seed: int) -> dict[str, Any]:
    found = evaluate.elbo(model, x, generator=torch.Generator().manual_seed(seed))
    z, log_cell = grid(2, points=50, extent=5.0)
    exact = grid_evidence(model.log_joint_pairs(x, z), log_cell).log_evidence.mean()
    return {"elbo": round(found.elbo, 3), "log_p": round(exact.item(), 3)}


@torch.no_grad()
def _seen(model: VAE, x: Tensor) -> dict[str, Any]:
    loc, logvar = model.raw(x)
    far = loc.abs().flatten().sort().values[int(0.98 * loc.numel())]
    wide = next((reach for reach in REACHES if reach > far), REACHES[-1])
    axis = wide * (2 * (torch.arange(TILES) + 0.5) / TILES - 1)
    z = torch.cartesian_prod(axis, axis).flip(1)  # rows from below: z₁ runs along them
    tiles = (15 * model.decode(z).mean).round().int().flatten().tolist()
    q = {"loc": loc, "scale": torch.exp(0.5 * logvar)}
    rounded = {name: [round(v, 3) for v in rows.flatten().tolist()] for name, rows in q.items()}
    return rounded | {"wide": wide, "tiles": "".join(f"{v:x}" for v in tiles)}


def posters_picture(seen: dict[str, Any], labels: list[int]) -> Still:
    """The two planes and the curves, as the page has them at 960 pixels, without its controls."""
    picture = Still(figsize=(12, 6))  # 960 x 480 at 80 dots an inch
    # An image's pixel is two of the picture's, so that it needs few bytes.
    square = (336 / 960, 336 / 480)
    _draw_plane(picture.add_axes((96 / 960, 140 / 480, *square)), seen, labels)
    _draw_tiles(picture.add_axes((528 / 960, 140 / 480, *square)), seen)
    _draw_curves(picture.add_axes((56 / 960, 38 / 480, 830 / 960, 92 / 480)), seen["points"])
    return picture


def _draw_plane(ax: Axes, seen: dict[str, Any], labels: list[int]) -> None:
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
        ax.text(middle[0], middle[1], str(label), size=15, weight="bold", ha="center", va="center")
    ax.set(xlim=(-wide, wide), ylim=(-wide, wide), aspect="equal", xticks=[], yticks=[])


def _draw_tiles(ax: Axes, seen: dict[str, Any]) -> None:
    tiles = np.array([int(digit, 16) for digit in seen["tiles"]]).reshape(-1, TILES, SIDE, SIDE)
    whole = tiles[::-1].swapaxes(1, 2).reshape(TILES * SIDE, TILES * SIDE)
    ax.imshow(whole, cmap="gray_r", interpolation="nearest")
    ax.set(xticks=[], yticks=[])


def _draw_curves(ax: Axes, points: list[dict[str, Any]]) -> None:
    seen, elbo, log_p = ([float(p[name]) for p in points] for name in ("seen", "elbo", "log_p"))
    ax.fill_between(seen, elbo, log_p, color=plots.GAP, alpha=0.35, lw=0)
    ax.plot(seen, log_p, color=plots.EVIDENCE, lw=2)
    ax.plot(seen, elbo, color=plots.BOUND, lw=2)
    plots.label(ax, seen[-1], log_p[-1], "log p(x)", plots.EVIDENCE, va="bottom")
    plots.label(ax, seen[-1], elbo[-1], "ELBO", plots.BOUND, va="top")
    ax.set(xlim=(0, seen[-1]), ylim=(log_p[-1] - 5.5, log_p[-1] + 0.5), xlabel="images seen")
    ax.set_ylabel("nats")
    ax.spines[["top", "right"]].set_visible(False)
