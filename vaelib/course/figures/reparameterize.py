"""The same noise, and two gradients of a mean cost from it: chapter :doc:`/book/reparam`."""

from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from vaelib.kl import DiagonalNormal
from vaelib.reparam import moments, reparameterize, score_function_surrogate

from .figure import Figure, Still, script

__all__ = ["Reparameterize"]


class Reparameterize(Figure):
    r"""Pathwise and score-function gradient in loc of $E[(x - k)^2]$, $x \sim N(loc, scale^2)$.

    $$x = loc + scale \cdot \varepsilon, \qquad 2(x - k)
      \quad\text{and}\quad (x - k)^2\, \frac{x - loc}{scale^2}$$

    Shown are the noise, which stays where it is, the samples and their cost, and histograms of both
    estimates, one per sample, with means and variances.

    Args:
        loc, scale: of x; scale is the standard deviation, greater than 0.
        k: where the cost is 0.
        marked: one value of ε, whose x, cost and two estimates are marked.
        samples: number of noises, at least 2.
        seed: of the noise.
    """

    _esm = script("reparameterize")
    description: ClassVar[str] = (
        "Noise on an upper line and samples below it, each joined to its noise, above a parabola, "
        "the cost; and two histograms of gradients, a narrow pathwise one and a score-function "
        "one with a long tail."
    )

    loc = traitlets.Float(1.0).tag(sync=True)
    scale = traitlets.Float(1.0, min=0.01).tag(sync=True)
    k = traitlets.Float(-3.0).tag(sync=True)
    marked = traitlets.Float(-1.0).tag(sync=True)
    samples = traitlets.Int(200, min=2).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)

    def estimates(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Both gradients in loc for each noise, by autograd: pathwise, score function.

        Args:
            eps: standard normal noise, shape ``[samples]``.

        Returns:
            Two tensors of the same shape.
        """
        eps = eps[:, None]
        loc = torch.full_like(eps, self.loc).requires_grad_()  # one per sample
        logvar = 2 * torch.full_like(eps, self.scale).log()
        x = reparameterize(loc, logvar, eps)
        cost = ((x - self.k) ** 2)[:, 0]
        (pathwise,) = torch.autograd.grad(cost.sum(), loc)
        log_q = DiagonalNormal(loc, logvar).log_prob(x.detach())
        surrogate = score_function_surrogate(log_q, cost.detach())
        (score,) = torch.autograd.grad(surrogate.sum(), loc)
        return pathwise[:, 0], score[:, 0]

    def still(self) -> Still:  # noqa: D102
        eps = torch.randn(self.samples, generator=torch.Generator().manual_seed(self.seed))
        x = self.loc + self.scale * eps
        picture = Still(figsize=(9, 3.4), layout="constrained")
        top, below = picture.subplots(1, 2)
        top.plot(torch.stack([eps, x]), torch.tensor([[2.0], [1.0]]), color="C7", lw=0.4, alpha=0.5)
        top.plot(eps, torch.full_like(eps, 2), ".", color="C7", ms=4)
        top.plot(x, torch.full_like(x, 1), ".", color="C0", ms=4)
        u = torch.linspace(self.k - 10, self.k + 10, 201)
        top.plot(u, (u - self.k) ** 2 / 110, color="black")
        top.set(xlim=(-9, 9), ylim=(0, 2.2), xlabel="x", yticks=[0.4, 1, 2])
        top.set_yticklabels(["cost", "x", "noise ε"])
        pathwise, score = self.estimates(eps)
        every = torch.cat([pathwise, score])
        bins = torch.linspace(every.min().item(), every.max().item(), 57).tolist()
        for name, g, style in (("score function", score, "C1"), ("pathwise", pathwise, "C0")):
            mean, variance, _ = moments(g)
            label = f"{name}: mean {mean:.3g}, variance {variance:.3g}"
            below.hist(g.tolist(), bins=bins, alpha=0.7, color=style, label=label)
        exact = 2 * (self.loc - self.k)
        below.axvline(exact, color="black", ls="--", lw=1, label=f"exact gradient {exact:.3g}")
        below.set(xlabel="one estimate of the gradient", yticks=[])
        below.legend(fontsize="small")
        return picture
