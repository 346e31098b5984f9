"""A curved model, its posterior, and Gaussians instead: chapters `latent` and `amortized`."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
import traitlets
from torch import Tensor
from torch.distributions import Distribution

from vaelib.amortized import laplace
from vaelib.course.plots import DATA, POSTERIOR, PRIOR, Q
from vaelib.latent import NonlinearGaussian, grid, grid_evidence

from .figure import Figure, Still, script

__all__ = ["CurvedPosterior"]


def _bend(z: Tensor) -> Tensor:
    return 0.5 * z**2 + 0.3 * z


def _line(z: Tensor) -> Tensor:
    return 2 * z


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {"bend": _bend, "line": _line}
SCALES = {"bend": math.sqrt(0.1), "line": 1.0}
X = (-1.0, 5.0)  # what the slider offers


class CurvedPosterior(Figure):
    r"""$p(z \mid x)$ of $z \sim N(0, 1)$, $x \mid z \sim N(f(z), \sigma^2)$, for an x to drag.

    Above, the curve f with its noise, a line at the observed x and, of each q, its loc ± 2 scales.
    Below, over the same z, the prior, the exact posterior (on a grid), and each q. Without a q, the
    row $p(x, z)$ is shown with the posterior, and their quotient $p(x)$ stands in the equation.

    Args:
        q: a network, or any function from x ``[n, 1]`` to n normals over one z. It is tabulated
            once, at the settings it was trained for.
        model: "bend", a bowl $f(z) = \tfrac12 z^2 + \tfrac3{10} z$, or "line", $f(z) = 2z$.
        x: the observed number.
        scale: $\sigma$, a standard deviation; unless given, that of the chapter which has f.
        samples, seed: guesses from the prior, drawn on the curve; 0 for none.
        show_laplace: whether Laplace's Gaussian at the highest mode is drawn; unless given, if
            there is a q beside it.
        show_network: whether q is drawn.
        network: q as rows ``[x, loc, scale]`` with x ascending; between rows it is interpolated.

    Raises:
        ValueError: if q does not return one normal over one z for each x.
    """

    _esm = script("curved_posterior")
    description: ClassVar[str] = (
        "Above, a curve x = f(z) with a noise band, and a line at the observed x. Below, over the "
        "same z, the prior, the exact posterior, which is high where the line meets the band, and "
        "Gaussian approximations to it."
    )

    model = traitlets.Enum(list(FUNCTIONS), default_value="bend").tag(sync=True)
    x = traitlets.Float(1.0).tag(sync=True)
    scale = traitlets.Float(SCALES["bend"]).tag(sync=True)
    samples = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    network = traitlets.List(traitlets.List(traitlets.Float())).tag(sync=True)
    show_laplace = traitlets.Bool(False).tag(sync=True)
    show_network = traitlets.Bool(True).tag(sync=True)

    def __init__(self, q: Callable[[Tensor], Distribution] | None = None, **settings: Any) -> None:
        if settings.get("model") in SCALES:
            settings.setdefault("scale", SCALES[settings["model"]])
        if q is not None:
            settings = {"show_laplace": True, "network": _table(q)} | settings
        super().__init__(**settings)

    def still(self) -> Still:  # noqa: D102
        model = NonlinearGaussian(FUNCTIONS[self.model], latent=1, variance=self.scale**2)
        x = torch.tensor([[self.x]], dtype=torch.float64)
        z, log_cell = grid(1, points=1200)
        z = z.double()
        log_joint = model.log_joint(x[:, None], z)
        log_posterior = grid_evidence(log_joint, log_cell).log_density[0]

        picture = Still(figsize=(9, 3.2), layout="constrained")
        left, right = picture.subplots(1, 2)
        curve, line = model.decode(z).mean.flatten(), z.flatten()
        low, high = curve - 2 * self.scale, curve + 2 * self.scale
        left.fill_between(line, low, high, alpha=0.2, color=PRIOR, lw=0)
        left.plot(line, curve, color=PRIOR)
        left.axhline(self.x, color=DATA, lw=1)
        drawn = torch.randn(
            self.samples, 1, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float64
        )
        near = (model.decode(drawn).mean - self.x).abs().flatten() < 2.45 * self.scale
        for chosen, color in ((near, POSTERIOR), (~near, PRIOR)):
            left.plot(drawn[chosen], model.decode(drawn[chosen]).mean, "o", color=color, ms=4)
        left.set(xlim=(-3.5, 3.5), ylim=(-1.5, 5), xlabel="z", ylabel="x")

        density = log_posterior.exp()
        right.plot(line, model.prior.log_prob(z).exp(), color=PRIOR, lw=1, label="prior")
        right.plot(line, density, color=POSTERIOR, lw=3, label="posterior")
        gaussians = {}
        if self.network and self.show_network:
            gaussians["network", "-"] = self._network_at(self.x)
            x_rows, loc, spread = torch.tensor(self.network).unbind(1)
            left.fill_betweenx(x_rows, loc - 2 * spread, loc + 2 * spread, alpha=0.2, color=Q, lw=0)
        if self.show_laplace:
            mode = laplace(lambda z: model.log_joint(x, z), start=z[log_joint.argmax()][None])
            gaussians["Laplace", "--"] = mode.mean.item(), mode.stddev.item()
        if not gaussians:
            row = log_joint[0].exp()
            right.fill_between(line, row, color=POSTERIOR, alpha=0.35, lw=0, label="row p(x, z)")
        for number, ((name, style), (at, spread)) in enumerate(gaussians.items()):
            normal = torch.distributions.Normal(at, spread)
            right.plot(line, normal.log_prob(line).exp(), style, color=Q, label=name)
            left.plot(
                [at - 2 * spread, at + 2 * spread],
                [self.x - 0.2 * number] * 2,
                style,
                color=Q,
                lw=4,
            )
        right.set(xlim=(-3.5, 3.5), xlabel="z", title=f"x = {self.x:.2f}, σ = {self.scale:.2f}")
        right.legend(frameon=False)
        return picture

    def _network_at(self, x: float) -> tuple[float, float]:
        """Loc and scale between the rows of the table, as the script has them."""
        first, *_, last = self.network
        x = min(max(x, first[0]), last[0])
        for low, high in zip(self.network, self.network[1:], strict=False):
            if x <= high[0]:
                part = (x - low[0]) / (high[0] - low[0])
                loc, scale = (a + part * (b - a) for a, b in zip(low[1:], high[1:], strict=True))
                return loc, scale
        raise ValueError("CurvedPosterior: expected at least two rows of network, x ascending")


def _table(q: Callable[[Tensor], Distribution]) -> list[list[float]]:
    x = torch.linspace(*X, 121)[:, None]
    with torch.no_grad():
        found = q(x)
    if found.mean.shape != x.shape:
        raise ValueError(
            f"CurvedPosterior: expected q to return one normal over one z for each x "
            f"{tuple(x.shape)}, got means of shape {tuple(found.mean.shape)}"
        )
    rows = torch.cat([x, found.mean, found.stddev], 1).double()
    return [[round(v, 5) for v in row] for row in rows.tolist()]
