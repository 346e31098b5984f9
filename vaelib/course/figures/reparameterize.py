"""The same noise, and two gradients of a mean cost from it: chapter :doc:`/book/reparam`."""

from typing import ClassVar

import torch
import traitlets
from torch import Tensor

from vaelib.course import plots
from vaelib.kl import DiagonalNormal
from vaelib.reparam import moments, reparameterize, score_function_surrogate

from .figure import Figure, Still, script

__all__ = ["Reparameterize"]


class Reparameterize(Figure):
    r"""Pathwise and score-function gradient in loc of $E[(x - k)^2]$, $x \sim N(loc, scale^2)$.

    $$x = loc + scale \cdot \varepsilon, \qquad 2(x - k)
      \quad\text{and}\quad (x - k)^2\, \frac{x - loc}{scale^2}$$

    Shown are the noise, which stays where it is, the samples and their cost, and a histogram of the
    pathwise estimates, one per sample, with mean and variance; of the others too, if compared.

    Args:
        loc, scale: of x; scale is the standard deviation, greater than 0.
        k: where the cost is 0.
        marked: one value of ε, whose x, cost and estimates are marked.
        compare: whether the score function is shown as well.
        samples: number of noises, at least 2.
        seed: of the noise.
    """

    _esm = script("reparameterize")
    description: ClassVar[str] = (
        "Noise on an upper line and samples below it, each joined to its noise, above a parabola, "
        "the cost; and a narrow histogram of pathwise gradients around the exact one. Where they "
        "are compared, another of score-function gradients with a long tail."
    )

    loc = traitlets.Float(1.0).tag(sync=True)
    scale = traitlets.Float(1.0, min=0.01).tag(sync=True)
    k = traitlets.Float(-3.0).tag(sync=True)
    marked = traitlets.Float(-1.0).tag(sync=True)
    compare = traitlets.Bool(False).tag(sync=True)
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
        threads = {"color": plots.PRIOR, "lw": 0.4, "alpha": 0.5}
        top.plot(torch.stack([eps, x]), torch.tensor([[2.0], [1.0]]), **threads)
        top.plot(eps, torch.full_like(eps, 2), ".", color=plots.PRIOR, ms=4)
        top.plot(x, torch.full_like(x, 1), ".", color=plots.Q, ms=4)
        u = torch.linspace(self.k - 10, self.k + 10, 201)
        top.plot(u, (u - self.k) ** 2 / 110, color=plots.BOUND)
        top.set(xlim=(-9, 9), ylim=(0, 2.2), xlabel="level x", yticks=[0.4, 1, 2])
        top.set_yticklabels(["cost", "cups x", "noise ε"])
        pathwise, score = self.estimates(eps)
        shown = [("pathwise", pathwise, plots.Q)]
        if self.compare:
            shown.append(("score function", score, plots.SCORE))
        every = torch.cat([g for _, g, _ in shown])
        bins = torch.linspace(every.min().item(), every.max().item(), 57).tolist()
        for name, g, color in shown:
            mean, variance, _ = moments(g)
            label = f"{name}: mean {mean:.3g}, variance {variance:.3g}"
            below.hist(g.tolist(), bins=bins, alpha=0.7, color=color, label=label)
        exact = 2 * (self.loc - self.k)
        below.axvline(exact, color="black", ls="--", lw=1, label=f"exact gradient {exact:.3g}")
        below.set(xlabel="one estimate of the gradient", yticks=[])
        below.legend(fontsize="small")
        return picture
