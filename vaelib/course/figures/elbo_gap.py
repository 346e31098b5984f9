"""A Gaussian guess with handles, and what its ELBO lacks: chapter :doc:`/book/elbo`."""

from typing import ClassVar

import torch
import traitlets

from vaelib.course.plots import BOUND, EVIDENCE, GAP, POSTERIOR, Q
from vaelib.kl import DiagonalNormal
from vaelib.latent import LinearGaussian

from .figure import Figure, Still, script

__all__ = ["ElboGap"]


class ElboGap(Figure):
    r"""$\log p(x) = \mathrm{ELBO} + \mathrm{KL}(q \,\|\, p(z \mid x))$ live, in nats.

    The model is $z \sim N(0, 1)$, $x \mid z \sim N(2z, 1)$, where all three are closed forms. Shown
    are the ELBO over loc and scale of q, whose top is the posterior, the sum as a bar that no q
    makes longer, and the densities of q and of the posterior.

    Args:
        loc, scale: of q; the scale is a standard deviation.
        x: the observed number.
        compact: without the contours and without a slider for x, for the head of a page.
    """

    _esm = script("elbo_gap")
    description: ClassVar[str] = (
        "A bar in which the ELBO, orange, and a KL, rose, end together at log p(x); contours of "
        "the ELBO over loc and scale of q, closed around a cross at the posterior; and the "
        "densities of q, blue, and of the posterior, green."
    )

    loc = traitlets.Float(0.7).tag(sync=True)
    scale = traitlets.Float(0.5).tag(sync=True)
    x = traitlets.Float(3.0).tag(sync=True)
    compact = traitlets.Bool(False).tag(sync=True)

    def words(self) -> str:  # noqa: D102
        if not self.compact:
            return self.description
        return (
            "A bar in which the ELBO, orange, and a KL, rose, end together at log p(x), and beside "
            "it the densities of q, blue, and of the posterior, green."
        )

    def still(self) -> Still:  # noqa: D102
        two, zero, one = torch.tensor([[2.0]]), torch.zeros(1), torch.tensor(1.0)
        model, x = LinearGaussian(two, zero, one), torch.tensor([self.x])
        log_p, posterior = model.log_evidence(x).item(), model.posterior(x)
        q = DiagonalNormal(torch.tensor([self.loc]), 2 * torch.tensor([self.scale]).log())
        elbo = model.elbo(x, q).item()

        picture = Still(figsize=(9, 2.4) if self.compact else (9, 3.4), layout="constrained")
        left, right = picture.subplots(1, 2)
        if self.compact:
            low = min(-8.0, elbo)
            left.barh(0, elbo - low, left=low, color=BOUND, alpha=0.6)
            left.barh(0, log_p - elbo, left=elbo, color=GAP, alpha=0.7)
            left.axvline(log_p, color=EVIDENCE, lw=3)
            left.set(xlim=(low, 0), ylim=(-1, 1), yticks=[], xlabel="nats: ELBO and KL to log p(x)")
        else:
            loc, scale = torch.meshgrid(
                torch.linspace(-1, 3, 161), torch.linspace(0.2, 1.2, 101), indexing="ij"
            )
            every = DiagonalNormal(loc.reshape(-1, 1), 2 * scale.reshape(-1, 1).log())
            surface = model.elbo(x.expand(loc.numel(), 1), every).view_as(loc)
            levels = [log_p - gap for gap in (8, 4, 2, 1, 0.5, 0.1)]
            drawn = left.contour(loc, scale, surface, levels=levels, colors=BOUND, linestyles="-")
            left.clabel(drawn, fmt="%.2f")
            left.plot(posterior.mean, posterior.stddev, "x", color=POSTERIOR, ms=10, mew=3)
            left.plot(self.loc, self.scale, "o", color=Q, mec="black")
            left.set(xlabel="loc of q", ylabel="scale of q")

        z = torch.linspace(-2.5, 4.5, 351)[:, None]
        right.plot(z, q.log_prob(z).exp(), color=Q, label="q")
        right.plot(z, posterior.log_prob(z).exp(), "--", color=POSTERIOR, label="posterior")
        right.set(
            xlabel="z",
            title=f"log p(x) {log_p:.3f} = ELBO {elbo:.3f} + KL {log_p - elbo:.3f}",
        )
        right.legend(frameon=False)
        return picture
