"""KL divergences over a line as sums, and the best normal in either direction."""

import torch
from jaxtyping import Float
from torch import Tensor

from vaelib.kl.closed import DiagonalNormal

__all__ = ["fit_forward", "fit_reverse", "kl_line"]


def kl_line(
    log_q: Float[Tensor, "*#batch cells"],
    log_p: Float[Tensor, "*#batch cells"],
    z: Float[Tensor, " cells"],
) -> Float[Tensor, "*batch"]:
    r"""KL between two densities over a line, as a sum over small cells.

    $$\mathrm{KL}(q \,\|\, p) \approx \sum_i q(z_i)\,\big(\log q(z_i) - \log p(z_i)\big)\,\Delta z$$

    For smooth densities that vanish at both ends the error falls faster than any power of the
    step. Where q is 0 nothing is added; where p is 0 and q is not, the result is infinite.

    Args:
        log_q, log_p: log-densities at the points, shape ``[*batch, cells]``. p need not be
            normalized: a factor in p shifts the result by minus its logarithm.
        z: evenly spaced points, shape ``[cells]``.

    Returns:
        Shape ``[*batch]``, nats.

    Raises:
        ValueError: if the points are not evenly spaced and ascending, or if q does not sum to 1
            within 0.0001: the line is too short, or a cell too wide.

    >>> from torch.distributions import Normal
    >>> z = torch.linspace(-8.0, 8.0, 401)
    >>> log_q, log_p = Normal(1.0, 0.5).log_prob(z), Normal(0.0, 1.0).log_prob(z)
    >>> round(kl_line(log_q, log_p, z).item(), 3), round(kl_line(log_p, log_q, z).item(), 3)
    (0.818, 2.807)
    """
    step = _step("kl_line", z)
    q = log_q.exp()
    total = (q.sum(-1) * step).detach()
    if not bool(((total - 1).abs() < 1e-4).all()):
        worst = total.flatten()[(total - 1).abs().argmax()].item()
        raise ValueError(
            f"kl_line: expected q to sum to 1 over the line, got {worst:.4g} with z from "
            f"{z[0].item():.4g} to {z[-1].item():.4g} in steps of {step.item():.4g}; take a longer "
            f"line or smaller steps"
        )
    surplus = torch.where(q > 0, log_q - log_p, torch.zeros_like(q))
    return (q * surplus).sum(-1) * step


def fit_forward(log_p: Float[Tensor, " cells"], z: Float[Tensor, " cells"]) -> DiagonalNormal:
    r"""The normal q that minimizes KL(p ‖ q): it has the mean and the variance of p.

    Only $-E_p[\log q] = \log\sigma + E_p[(z - \mu)^2] / 2\sigma^2 + \text{const}$ depends on q; its
    one stationary point is the moments. Mass-covering: where p is, q must be.

    Args:
        log_p, z: as for `fit_reverse`.

    Returns:
        A normal over one dimension, ``loc`` and ``logvar`` of shape ``[1]``.

    Raises:
        ValueError: if the points are not evenly spaced and ascending, or if p is narrower than
            their cells: then a sum over them does not know its variance.

    >>> from torch.distributions import Normal
    >>> z = torch.linspace(-9.0, 9.0, 901)
    >>> q = fit_forward(Normal(1.0, 0.5).log_prob(z), z)
    >>> round(q.loc.item(), 3), round(q.stddev.item(), 3)
    (1.0, 0.5)
    """
    step = _step("fit_forward", z)
    p = torch.softmax(log_p, -1)  # the probability of each cell, as all have one width
    loc = (p * z).sum()
    variance = (p * (z - loc) ** 2).sum()
    if not bool(variance > (0.5 * step) ** 2):
        raise ValueError(
            f"fit_forward: expected p wider than the cells, got a standard deviation of "
            f"{variance.sqrt().item():.3g} in steps of {step.item():.3g}; take smaller steps"
        )
    return DiagonalNormal(loc[None], variance.log()[None])


def fit_reverse(
    log_p: Float[Tensor, " cells"],
    z: Float[Tensor, " cells"],
    start: DiagonalNormal,
    *,
    lr: float = 0.05,
    steps: int = 1000,
) -> DiagonalNormal:
    r"""A normal q at a local minimum of KL(q ‖ p), by gradient descent on its loc and logvar.

    Mode-seeking: with several bumps in p there are several minima, and the start decides. A start
    that is wide enough to see two bumps may end covering both, which can be the worse minimum.

    Args:
        log_p: log-density at the points, shape ``[cells]``, up to a constant.
        z: evenly spaced points, shape ``[cells]``.
        start: a normal over one dimension; it is left as it is.
        lr, steps: length and number of the steps; plain descent wants lr below p's variances.

    Returns:
        A normal over one dimension, ``loc`` and ``logvar`` of shape ``[1]``, without a graph.

    Raises:
        ValueError: from `kl_line`, if q leaves the line or becomes narrower than its cells.

    >>> from torch.distributions import Normal
    >>> z = torch.linspace(-9.0, 9.0, 901)
    >>> start = DiagonalNormal(torch.tensor([-1.0]), torch.tensor([0.0]))
    >>> q = fit_reverse(Normal(1.0, 0.5).log_prob(z), z, start)
    >>> round(q.loc.item(), 3), round(q.stddev.item(), 3)
    (1.0, 0.5)
    """
    theta = torch.stack([start.loc, start.logvar]).detach().clone().requires_grad_()
    for _ in range(steps):
        kl = kl_line(DiagonalNormal(*theta).log_prob(z[:, None]), log_p, z)
        (slope,) = torch.autograd.grad(kl, theta)
        with torch.no_grad():
            theta -= lr * slope
    return DiagonalNormal(*theta.detach())


def _step(function: str, z: Tensor) -> Tensor:
    """The distance of the points, which must be one: a sum over cells counts all alike."""
    if len(z) < 2:
        raise ValueError(f"{function}: expected at least 2 points z, got {len(z)}")
    step = (z[-1] - z[0]) / (len(z) - 1)
    # A point that was computed in single precision may be off by a few units in its last place.
    rounding = 4 * torch.finfo(torch.float32).eps * z.abs().max()
    off = (z.diff() - step).abs().max()
    if not bool((step > 0) & (off <= 1e-3 * step + rounding)):
        raise ValueError(
            f"{function}: expected evenly spaced, ascending points z, got steps from "
            f"{z.diff().min().item():.4g} to {z.diff().max().item():.4g}; use torch.linspace"
        )
    return step
