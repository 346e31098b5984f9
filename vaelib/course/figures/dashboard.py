"""The history of a training, epoch by epoch: chapter :doc:`/book/train`."""

import base64
import io
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import traitlets
from jaxtyping import UInt8
from matplotlib.axes import Axes
from PIL import Image

from vaelib.course import plots
from vaelib.course.recordings import recorded

from .figure import Figure, Still, script

__all__ = ["Dashboard"]

Run = dict[str, Any]  # of the record: name, lr, latent, history, sheets, …
MARKS, FEW = (0, 1, 2, 3, 5, 8, 13, 20, 40), (0, 5, 40)  # on a large axis, and on a small one
WINDOW = 60.0  # nats below the top that a plot shows


class Dashboard(Figure):
    r"""Recorded trainings to slide through: what they draw, the bound with its terms, the units.

    $$\mathrm{ELBO} = E_q[\log p(x \mid z)] - \mathrm{KL}(q(z \mid x) \,\|\, p(z))$$

    in nats per image, on 1,000 held-out digits and, dashed, on 1,000 of those that are learned
    from. Beside it the decoder's means at 64 draws of the prior, which have the same noise after
    each epoch, the number of active units, and of the gradient norms of an epoch's steps the median
    and, dashed, the largest. What is to the right of the chosen epoch can be covered.

    Args:
        run: ``"SiLU"``, chapter *train*'s recipe; ``"ReLU"``, which differs by its activation
            alone; or ``"ReLU, faster"``, at the rate that a range test proposes for such a network.
        epoch: one of those with a sheet of pictures: 0, 1, 2, 3, 5, 8, 13, 20 or 40.
        covered: hide what came after that epoch.

    Raises:
        ValueError: if there is no such run, or no sheet after this epoch; names those there are.
    """

    _esm = script("dashboard")
    description: ClassVar[str] = (
        "A sheet of 64 decoded draws from the prior after one epoch of a training. Beside it, "
        "against epochs on a logarithmic axis, the ELBO on held-out and on training images, its "
        "two terms, the number of active units and the gradient norm, with a mark at that epoch."
    )

    run = traitlets.Unicode("SiLU").tag(sync=True)
    epoch = traitlets.Int(5).tag(sync=True)
    covered = traitlets.Bool(False).tag(sync=True)
    runs: Any = traitlets.List().tag(sync=True)

    @traitlets.default("runs")
    def _recorded(self) -> list[Run]:
        return recorded("dashboard")["runs"]

    @traitlets.validate("run")
    def _known_run(self, proposal: dict[str, Any]) -> str:
        names = [run["name"] for run in self.runs]
        if proposal["value"] not in names:
            raise ValueError(
                f"Dashboard: expected run to be one of {', '.join(names)}, got "
                f"{proposal['value']!r}"
            )
        return proposal["value"]

    @traitlets.validate("epoch")
    def _shown_epoch(self, proposal: dict[str, Any]) -> int:
        epochs = [*map(int, self.runs[0]["sheets"])]
        if proposal["value"] not in epochs:
            raise ValueError(
                f"Dashboard: expected epoch to be one of {', '.join(map(str, epochs))}, which have "
                f"pictures, got {proposal['value']}"
            )
        return proposal["value"]

    def chosen(self) -> Run:
        """The run that is shown."""
        return next(run for run in self.runs if run["name"] == self.run)

    def sheet(self) -> UInt8[np.ndarray, "224 224"]:
        """How much ink each pixel of the sheet has, 0 to 255."""
        png = base64.b64decode(self.chosen()["sheets"][str(self.epoch)])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))[..., 3]

    def still(self) -> Still:  # noqa: D102
        run = self.chosen()
        now = next(entry for entry in run["history"] if entry["epoch"] == self.epoch)
        picture = Still(figsize=(9, 6), layout="constrained")
        halves: Any = picture.subfigures(2, 1, height_ratios=(2, 1))
        top, below = halves
        left, bound = top.subplots(1, 2)
        left.imshow(255 - self.sheet(), cmap="gray", vmin=0, vmax=255)
        left.set_axis_off()
        left.set_title(f"{self.run}, after epoch {self.epoch}")
        terms = {name: round(now["validation"][name], 1) for name in ("elbo", "kl")}
        likelihood = terms["elbo"] + terms["kl"]
        equation = f"ELBO {terms['elbo']:.1f} = {likelihood:.1f} − {terms['kl']:.1f}"
        bound.set_title(f"{equation} nats".replace("-", "−"))
        fit, kl, units, norm = below.subplots(1, 4)
        bounds = self._draw(bound, plots.BOUND, _of("validation", "elbo"), _of("train", "elbo"))
        fits = self._draw(fit, plots.GAP, _of("validation", "log_likelihood"))
        self._draw(kl, plots.Q, _of("validation", "kl"))
        self._draw(units, plots.POSTERIOR, _of("active_units"))
        self._draw(norm, plots.DATA, _of("gradient_norm"), _of("largest_norm"))
        for axes, seen in ((bound, bounds), (fit, fits)):
            axes.set_ylim(max(min(seen), max(seen) - WINDOW) - 2, max(seen) + 2)
        norms = [entry["gradient_norm"] or 1.0 for entry in run["history"]]
        kl.set_ylim(0, None)
        units.set_ylim(0, run["latent"] + 1)
        norm.set_ylim(0, 2 * max(norms))
        for axes, title in ((fit, "log p(x | z)"), (kl, "KL"), (units, "active units")):
            axes.set_title(title)
        norm.set_title("gradient norm")
        for axes in (bound, fit, kl, units, norm):
            marks = [mark for mark in (MARKS if axes is bound else FEW) if mark <= self._last()]
            axes.set_xticks([_place(mark) for mark in marks], [*map(str, marks)])
            axes.set_xlim(0, _place(self._last()))
        return picture

    def _last(self) -> int:
        return self.chosen()["history"][-1]["epoch"]

    def _draw(self, axes: Axes, color: str, *curves: Callable[[Run], float | None]) -> list[float]:
        """The first of the curves in full, the second dashed; what is covered is left out.

        Returns:
            Their numbers, of all curves.
        """
        history = [e for e in self.chosen()["history"] if not self._hidden(e["epoch"])]
        numbers: list[float] = []
        for style, of in zip(("-", "--"), curves, strict=False):
            points = {_place(e["epoch"]): y for e in history if (y := of(e)) is not None}
            axes.plot([*points.keys()], [*points.values()], style, color=color)
            numbers += map(float, points.values())
        axes.axvline(_place(self.epoch), color=plots.PRIOR, ls=":")
        if self.covered:
            axes.axvspan(_place(self.epoch), _place(self._last()), color=plots.PRIOR, alpha=0.3)
        return numbers

    def _hidden(self, epoch: int) -> bool:
        return self.covered and epoch > self.epoch


def _place(epoch: int) -> float:
    """Each doubling of a training takes the same room."""
    return math.log2(1 + epoch)


def _of(*keys: str) -> Callable[[Run], float | None]:
    """A number of an epoch by its place in the record."""

    def number(entry: Run) -> float | None:
        found: Any = entry
        for key in keys:
            found = found[key]
        return found

    return number
