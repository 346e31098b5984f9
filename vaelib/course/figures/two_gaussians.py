"""Two Gaussians with handles, and both KL divergences: chapter :doc:`/book/kl`."""

from typing import ClassVar

import torch
import traitlets

from vaelib.course.plots import GAP, PRIOR, Q
from vaelib.kl import DiagonalNormal, kl_normal

from .figure import Figure, Still, script

__all__ = ["TwoGaussians"]


class TwoGaussians(Figure):
    r"""$\mathrm{KL}(q \,\|\, p)$ and $\mathrm{KL}(p \,\|\, q)$ of two normals, live, in nats.

    Shown are both densities; the integrand of KL(q ‖ p), solid above zero and hatched below; the
    closed form with its terms; and an estimate from samples of q with its standard error. The axes
    follow what they show.

    Args:
        q_loc, q_scale, p_loc, p_scale: of the two; scales are standard deviations.
        samples: number of samples of the estimate.
        seed: of these samples.
    """

    _esm = script("two_gaussians")
    description: ClassVar[str] = (
        "Densities of two Gaussians, q and p, and beside them q times log q minus log p, whose "
        "solid area above zero minus its hatched area below is KL(q ‖ p)."
    )

    q_loc = traitlets.Float(1.0).tag(sync=True)
    q_scale = traitlets.Float(0.5).tag(sync=True)
    p_loc = traitlets.Float(0.0).tag(sync=True)
    p_scale = traitlets.Float(1.0).tag(sync=True)
    samples = traitlets.Int(100).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    def still(self) -> Still:  # noqa: D102
        needed = max(abs(self.q_loc) + 4 * self.q_scale, abs(self.p_loc) + 3 * self.p_scale)
        z = torch.linspace(-needed, needed, 561)  # all of the area
        picture = Still(figsize=(9, 3), layout="constrained")
        left, right = picture.subplots(1, 2)
        q, p = (
            DiagonalNormal(torch.tensor([loc]), 2 * torch.tensor([scale]).log())
            for loc, scale in ((self.q_loc, self.q_scale), (self.p_loc, self.p_scale))
        )
        log_q, log_p = q.log_prob(z[:, None]), p.log_prob(z[:, None])
        left.plot(z, log_q.exp(), color=Q, label="q")
        left.plot(z, log_p.exp(), "--", color=PRIOR, label="p")
        left.legend()
        area = log_q.exp() * (log_q - log_p)
        right.fill_between(z, area.clamp(min=0), color=GAP, alpha=0.6, lw=0)
        right.fill_between(z, area.clamp(max=0), fc="none", ec=GAP, hatch="////", lw=0)
        kl = kl_normal(q.loc, q.logvar, p.loc, p.logvar).item()
        right.set_title(f"q · (log q − log p): KL(q ‖ p) = {kl:.3f} nats")
        return picture
