"""A posterior on a plane: where is a phone, if two masts say how far away it is?

All that is asked of a q is a sum over the plane here: its total, the boxes in which its samples
fall, and its KL from the exact posterior.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.course.projects.report import ALPHA, Report, follows
from vaelib.draw import draw
from vaelib.kl import DiagonalNormal
from vaelib.latent import grid
from vaelib.nets import evaluation_mode
from vaelib.posterior import Posterior

__all__ = ["best_diagonal", "log_joint", "phones", "posterior"]

MASTS = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
NOISE = 0.2  # standard deviation of a measured distance
# A window that holds all but 1e-6 of the prior, cells a third of the noise wide, and boxes of them.
EXTENT, POINTS, BOXES = 5.0, 160, 8
TOTAL = 0.002  # by which a sum over these cells may miss 1
SAMPLES = 4000  # of each q
SHARE = 0.5  # of the best diagonal normal's gap: what is asked


def phones(
    n: int, *, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"]]:
    r"""Places $z \sim N(0, I)$ and what the masts measure, $x_m \sim N(|z - m|, 0.2^2)$.

    >>> z, x = phones(5, generator=torch.Generator().manual_seed(0))
    >>> x.shape
    torch.Size([5, 2])
    """
    z = torch.randn(n, 2, generator=generator)
    return z, torch.cdist(z, MASTS) + NOISE * torch.randn(n, 2, generator=generator)


def log_joint(x: Float[Tensor, "*#batch 2"], z: Float[Tensor, "*#batch 2"]) -> Tensor:
    """log p(x, z) in nats, with as many axes in front as the two have together.

    >>> x = torch.tensor([1.0, 1.0])  # both masts say 1: where they stand at equal distances, 0
    >>> near, far = log_joint(x, torch.tensor([[0.0, 0.0], [0.0, 2.0]]))
    >>> bool(near > far)
    True
    """
    distance = torch.stack([(z - mast).square().sum(-1).sqrt() for mast in MASTS.to(z)], -1)
    miss = (x - distance) / NOISE
    constant = 2 * math.log(2 * math.pi) + 2 * math.log(NOISE)
    return -0.5 * (miss.square().sum(-1) + z.square().sum(-1)) - constant


class _Exact(NamedTuple):
    z: Tensor  # [cell, 2]
    log_cell: float
    log_posterior: Tensor  # [n, cell], in nats


def _exact(x: Tensor) -> _Exact:
    cells = grid(2, points=POINTS, extent=EXTENT)
    z = cells.z.double()
    joint = log_joint(x.double()[:, None], z)
    log_evidence = torch.logsumexp(joint, -1, keepdim=True) + cells.log_cell
    return _Exact(z, cells.log_cell, joint - log_evidence)


def _gap(log_q: Tensor, exact: _Exact) -> Tensor:
    """KL(q ‖ p(z | x)) of each x, summed over the plane: what an ELBO with this q lacks."""
    mass = (log_q + exact.log_cell).exp()
    return torch.where(mass > 0, mass * (log_q - exact.log_posterior), 0.0).sum(-1)


def best_diagonal(x: Float[Tensor, "n 2"], *, steps: int = 200) -> Float[Tensor, " n"]:
    """The least KL(q ‖ p(z | x)) of any normal with independent dimensions, in nats, of each x.

    It climbs from the highest cell of each half plane, and from the posterior's own mean and
    variance. The mean under q is a Gauss-Hermite sum on the way, and one over the plane in the end.
    """
    exact = _exact(x)
    mass = (exact.log_posterior + exact.log_cell).exp()
    mean = mass @ exact.z
    variance = mass @ exact.z.square() - mean.square()
    starts = [(mean, variance.log())]
    for side in (exact.z[:, 1] > 0, exact.z[:, 1] < 0):
        top = exact.z[exact.log_posterior.masked_fill(~side, -math.inf).argmax(-1)]
        starts.append((top, torch.full_like(top, 2 * math.log(NOISE))))
    at, weight = (torch.from_numpy(t) for t in np.polynomial.hermite_e.hermegauss(12))
    eps = torch.cartesian_prod(at, at)
    weights = torch.outer(weight, weight).flatten() / (2 * math.pi)
    loc = torch.stack([s[0] for s in starts]).flatten(0, 1).requires_grad_()
    logvar = torch.stack([s[1] for s in starts]).flatten(0, 1).requires_grad_()
    repeated = x.double().repeat(len(starts), 1)
    adam = torch.optim.Adam([loc, logvar], lr=0.05)
    for step in range(steps):
        for group in adam.param_groups:
            group["lr"] = 0.05 * (1 - step / steps)
        adam.zero_grad()
        z = loc[:, None] + torch.exp(0.5 * logvar)[:, None] * eps
        joint = log_joint(repeated[:, None], z)
        (-(joint @ weights) - 0.5 * logvar.sum(-1)).sum().backward()
        adam.step()
    with torch.no_grad():
        q = DiagonalNormal(loc[:, None], logvar[:, None])
        log_q = q.log_prob(exact.z).unflatten(0, (len(starts), len(x)))
        return torch.stack([_gap(one, exact) for one in log_q]).amin(0)


def _samples(family: Posterior, q: Distribution, n: int, generator: torch.Generator) -> Tensor:
    """n samples of each q, [n, batch, 2], as a model would draw them where it can."""
    try:
        eps = torch.randn(n, *q.batch_shape, family.noise_size(2), generator=generator)
        return family.push(q, eps)[0]
    except TypeError:  # a family without a push, which is trained on pairs
        return draw(q, (n,), generator=generator)


@torch.no_grad()
def _measured(
    family: Posterior, encoder: nn.Module, x: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, float]:
    """Of each x the gap and the total of q, and the p-value of all samples."""
    exact = _exact(x)
    with evaluation_mode(nn.ModuleList([family, encoder])):
        q = family(*encoder(x))
        log_q = torch.cat([q.log_prob(z[:, None]) for z in exact.z.float().split(4000)]).mT.double()
        z = _samples(family, q, SAMPLES, generator)
    mass = (log_q + exact.log_cell).exp()
    wide = POINTS // BOXES
    shares = mass.view(len(x), BOXES, wide, BOXES, wide).sum((2, 4)).flatten(1)
    box = ((z + EXTENT) / (2 * EXTENT) * BOXES).floor().long()
    inside = ((box >= 0) & (box < BOXES)).all(-1)
    place = torch.where(inside, box[..., 0] * BOXES + box[..., 1], BOXES**2)
    counts = torch.stack([row.bincount(minlength=BOXES**2 + 1) for row in place.unbind(1)])
    shares = torch.cat([shares, (1 - shares.sum(1, keepdim=True)).clamp(min=0)], 1)
    return _gap(log_q, exact), mass.sum(-1), follows(counts, shares)


def posterior(
    family: Posterior,
    encoder: nn.Module,
    *,
    number: int = 64,
    generator: torch.Generator | None = None,
) -> Report:
    """Check a posterior family of your own on the plane, with the encoder that you trained for it.

    Args:
        family: a `~vaelib.posterior.Posterior`, whose distribution has ``log_prob``.
        encoder: from x ``[n, 2]`` to ``family.heads`` tensors ``[n, 2]``.
        number: of phones.
        generator: of phones and samples; if None, one with the seed 0.

    Returns:
        `Report`: q's total over the plane, the p-value of its samples, its mean gap
        KL(q ‖ p(z | x)), and that of the best diagonal normal for each x. Half of it is asked.

    >>> from vaelib.nets import MLPEncoder
    >>> from vaelib.posterior import Diagonal
    >>> posterior(Diagonal(), MLPEncoder(2, 2, hidden=(8,)), number=4).passed
    False
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    _, x = phones(number, generator=generator)
    gap, total, p_value = _measured(family, encoder, x, generator)
    worst = total[(total - 1).abs().argmax()]
    best = best_diagonal(x).mean()
    faults = []
    if not abs(worst - 1) <= TOTAL:
        faults.append(
            f"a q(z | x) sums to {worst:.4f} over the plane: has its log_prob every constant and "
            f"|det|? Or is it so narrow, or so far out, that cells of {2 * EXTENT / POINTS:.2g} "
            f"within ±{EXTENT:g} miss it?"
        )
    if not p_value >= ALPHA:
        faults.append(
            f"its samples do not follow its density (p = {p_value:.1g}): does what makes a sample "
            f"use the same parameters as log_prob?"
        )
    numbers = {
        "total of q, worst x": float(worst),
        "p-value of its samples": p_value,
        "mean gap, nats": float(gap.mean()),
        "best diagonal normal's, nats": float(best),
    }
    beaten = bool(gap.mean() <= SHARE * best) if not faults else None
    asked = "a mean gap of at most half the best diagonal normal's"
    return Report("posterior", numbers, tuple(faults), beaten, asked)
