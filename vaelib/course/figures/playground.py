"""A VAE that trains in the page, without a kernel: front page, and chapter :doc:`/book/start`."""

import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

import anywidget
import torch
import traitlets
from ipywidgets import widget_serialization
from torch import Tensor

from vaelib import data
from vaelib.arguments import BadType, BadValue
from vaelib.course import plots
from vaelib.course.recordings import recorded

from .figure import Figure, Still, script
from .poster import PIXELS, SIDE, poster, posters_picture

__all__ = ["Playground", "small_digits"]

# What to try, and what comes of it; tests/browser/test_playground.py asserts each.
TASKS = {
    "mean": {
        "task": "Tick “mean instead of sample”; it starts again. Does orange stay below log p(x)?",
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
    """The images of a `Playground`, by themselves: a page fetches them when training begins."""

    _esm = "export default {};"  # it is drawn nowhere: the figure reads it

    images = traitlets.Bytes().tag(sync=True)  # n rows of 196 bytes, packed by zlib
    held_out = traitlets.Bytes().tag(sync=True)  # m rows of 196 zeros and ones, likewise


class Playground(Figure):
    r"""A VAE of 196-64-2-64-196 that learns in the page while the reader watches and breaks it.

    One step of Adam for each 20 images, whose pixels are drawn anew at each visit, on the mean of

    $$\sum_i \log p_\theta(x_i \mid z) - \beta\,\mathrm{KL}(q_\phi(z \mid x) \,\|\, N(0, I)),
      \qquad z = \mu + \sigma \varepsilon,$$

    and twice a second, for the held-out images, the ELBO (with β = 1, whatever is trained) and the
    exact log p(x), by a sum over the plane; all in nats per image. It starts when asked.

    Args:
        images: grey pixels of 14 x 14 to learn from, ``uint8 [n, 196]``; of the bundled digits
            3,000.
        held_out: zeros and ones to measure with, ``[m, 196]``; a draw of 100 bundled digits.
        labels: the class of each of these, 0 to 9, ``[m]``: its colour, and its name.
        tasks: what the reader is asked to try: names of ``TASKS``, or dictionaries with ``task``,
            ``answer`` and, for a link on the site, ``href`` and ``words``.
        traits: ``seed``, ``beta``, ``kl_off``, ``noise_off``, ``pixel_mean``, and ``limit``, the
            number of images after which it pauses.

    Raises:
        TypeError, ValueError: if only some of the three data are given, if pixels have another type
            or number, if numbers of rows differ, or if there is no task of that name.
    """

    _esm = script("playground")
    description: ClassVar[str] = (
        "A small VAE after 80,000 images. Left, the plane of z: an ellipse for each held-out "
        "digit, in coloured clouds around the prior's circles. Beside it the decoder's picture of "
        "12 by 12 points of the same plane. Below, two curves against images seen: the ELBO climbs "
        "and stays a little below log p(x)."
    )

    pixels = traitlets.Instance(Pixels).tag(sync=True, **widget_serialization)
    labels: Any = traitlets.List().tag(sync=True)
    colors: Any = traitlets.List(list(plots.DIGITS)).tag(sync=True)
    poster: Any = traitlets.Dict().tag(sync=True)
    tasks: Any = traitlets.List().tag(sync=True)
    seed = traitlets.Int(0, min=0, max=9).tag(sync=True)
    beta = traitlets.Float(1.0, min=0.0, max=4.0).tag(sync=True)
    kl_off = traitlets.Bool(False).tag(sync=True)
    noise_off = traitlets.Bool(False).tag(sync=True)
    pixel_mean = traitlets.Bool(False).tag(sync=True)
    limit = traitlets.Int(400_000, min=1).tag(sync=True)

    def __init__(
        self,
        images: Tensor | None = None,
        held_out: Tensor | None = None,
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
            first = poster(images, held_out.float())
        super().__init__(
            pixels=Pixels(images=_packed(images), held_out=_packed(held_out)),
            labels=labels.tolist(),
            poster=first,
            tasks=[_task(one) for one in tasks],
            **traits,
        )

    def still(self) -> Still:  # noqa: D102
        return posters_picture(self.poster, self.labels)


def small_digits() -> tuple[Tensor, Tensor, Tensor]:
    """Bundled digits at 14 x 14, each pixel the mean of four: 3,000 grey ones, a draw of 100
    held-out ones, and what these are.

    >>> [len(part) for part in small_digits()]
    [3000, 100, 100]
    """
    digits = data.digits()
    grey, held_out = (
        pixels.view(-1, SIDE, 2, SIDE, 2).float().mean((2, 4)).round().byte().view(-1, PIXELS)
        for pixels in (digits.train[:3000], digits.test[:100])
    )
    drawn = data.binarize(held_out, generator=torch.Generator().manual_seed(0))
    return grey, drawn, digits.test_labels[:100]


def _packed(pixels: Tensor) -> bytes:
    return zlib.compress(pixels.byte().contiguous().numpy().tobytes(), 9)


def _require(images: Tensor, held_out: Tensor, labels: Tensor) -> None:
    if images.dtype != torch.uint8:
        raise BadType(f"Playground: expected images as uint8, 0 to 255, got {images.dtype}")
    for name, rows in (("images", images), ("held_out", held_out)):
        if rows.ndim != 2 or rows.shape[1] != PIXELS or len(rows) < 20:
            raise BadValue(
                f"Playground: expected {name} as [n, 196], 14 x 14 pixels, and 20 of them at "
                f"least, got {[*rows.shape]}"
            )
    if not ((held_out == 0) | (held_out == 1)).all():
        raise BadValue("Playground: expected held_out of 0 and 1; see vaelib.data.binarize")
    if labels.shape != (len(held_out),) or not ((labels >= 0) & (labels <= 9)).all():
        raise BadValue(
            f"Playground: expected a label 0 to 9 for each of the {len(held_out)} held-out images, "
            f"got {[*labels.shape]} from {labels.min()} to {labels.max()}"
        )


def _task(one: str | dict[str, str]) -> dict[str, str]:
    if isinstance(one, dict):
        return one
    if one not in TASKS:
        raise BadValue(f"Playground: there is no task {one!r}; there are {', '.join(TASKS)}")
    return TASKS[one]
