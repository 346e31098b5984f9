"""KL divergences between distributions, in nats: closed forms, Monte Carlo, and sums over a line.

The module knows distributions and no model. ``DiagonalNormal`` is the family that every encoder of
the course returns; it keeps the log-variance it was made from, because the closed form needs it
exactly (see `kl_standard_normal`).

Chapter: :doc:`/book/kl`.
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    kl_divergence,
)
from torch.distributions.kl import register_kl

__all__ = [
    "DiagonalNormal",
    "MonteCarlo",
    "fit_forward",
    "fit_reverse",
    "kl_line",
    "kl_monte_carlo",
    "kl_monte_carlo_k3",
    "kl_normal",
    "kl_standard_normal",
]


class DiagonalNormal(Independent):
    r"""A normal with a diagonal covariance: $N(\text{loc}, \operatorname{diag} e^{\text{logvar}})$.

    Args:
        loc: mean, shape ``[*batch, latent]``, any real value.
        logvar: $\log\sigma^2 = 2\log\sigma$, same shape, any real value: the standard deviation is
            ``exp(0.5 * logvar)`` and is positive without a constraint.

    Its ``log_prob`` sums over the last axis: shape ``[*batch]``, nats.

    Raises:
        ValueError: if the two shapes differ.

    >>> q = DiagonalNormal(torch.zeros(3, 2), torch.full((3, 2), -2.0))
    >>> q.log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    >>> round(q.stddev[0, 0].item(), 4)  # exp(-2 / 2)
    0.3679
    """

    def __init__(self, loc: Tensor, logvar: Tensor) -> None:
        _require_same_shape(loc=loc, logvar=logvar)
        self.loc = loc
        self.logvar = logvar
        # Validation reads every value back, which would stop a GPU at each step.
        normal = Normal(loc, torch.exp(0.5 * logvar), validate_args=False)
        super().__init__(normal, 1, validate_args=False)


def kl_standard_normal(
    loc: Float[Tensor, "*batch latent"], logvar: Float[Tensor, "*batch latent"]
) -> Float[Tensor, "*batch"]:
    r"""KL from a diagonal normal to the standard normal, in closed form.

    $$\mathrm{KL}\big(N(\mu, \operatorname{diag}\sigma^2) \,\|\, N(0, I)\big)
      = \tfrac12 \sum_j \big(\mu_j^2 + \sigma_j^2 - 1 - \log\sigma_j^2\big)$$

    It is computed as ``loc**2 + expm1(logvar) - logvar``. Near the prior $\sigma^2 - 1$ and
    $\log\sigma^2$ almost cancel. ``expm1`` errs by half a unit in the last place of logvar; the
    textbook's ``exp(logvar) - 1`` errs by one of 1. In float32 that is 1 % of the result at
    logvar = 0.003 and more than twice the result at 0.0001; even -0.0 comes out.

    Args:
        loc: $\mu$, shape ``[*batch, latent]``.
        logvar: $\log\sigma^2$, same shape. Not the standard deviation, and not its logarithm.

    Returns:
        One value per datum, shape ``[*batch]``, in nats, never negative; summed over latents.

    Raises:
        ValueError: if the shapes differ.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, appendix B (arXiv:1312.6114).

    >>> kl_standard_normal(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))  # ½ · 1²
    tensor([0.5000])
    """
    _require_same_shape(loc=loc, logvar=logvar)
    return 0.5 * (loc**2 + torch.expm1(logvar) - logvar).sum(-1)


def kl_normal(
    loc_q: Float[Tensor, "*batch latent"],
    logvar_q: Float[Tensor, "*batch latent"],
    loc_p: Float[Tensor, "*batch latent"],
    logvar_p: Float[Tensor, "*batch latent"],
) -> Float[Tensor, "*batch"]:
    r"""KL between two diagonal normals, in closed form.

    Measured in units of p's standard deviation, p becomes the standard normal, and KL does not
    change when both distributions are mapped by the same invertible function. So this is
    `kl_standard_normal` of $(\mu_q - \mu_p) / \sigma_p$ and $\log\sigma_q^2 - \log\sigma_p^2$.

    Args:
        loc_q, logvar_q: mean and log-variance of q, the distribution of the expectation.
        loc_p, logvar_p: mean and log-variance of p; all four of shape ``[*batch, latent]``.

    Returns:
        $\mathrm{KL}(q \,\|\, p)$ per datum, shape ``[*batch]``, in nats. Not symmetric.

    Raises:
        ValueError: if the shapes differ.

    References:
        Kullback and Leibler, On Information and Sufficiency (1951).

    >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    >>> kl_normal(one, zero, zero, zero)
    tensor([0.5000])
    """
    _require_same_shape(loc_q=loc_q, logvar_q=logvar_q, loc_p=loc_p, logvar_p=logvar_p)
    return kl_standard_normal((loc_q - loc_p) * torch.exp(-0.5 * logvar_p), logvar_q - logvar_p)


class MonteCarlo(NamedTuple):
    """An estimate and its standard error, both in nats and of the same shape."""

    mean: Tensor
    standard_error: Tensor


def kl_monte_carlo(q: Distribution, p: Distribution, z: Tensor) -> MonteCarlo:
    r"""KL(q ‖ p) from samples of q: the mean of $\log q(z) - \log p(z)$, called k1, with its error.

    Unbiased for any pair in which p covers the support of q; a single draw may be negative. The
    standard error is the sample standard deviation of the difference over $\sqrt n$.

    Args:
        q, p: distributions over the same space, with ``log_prob``.
        z: samples **of q**, shape ``[samples, *batch, latent]``, at least two.

    Returns:
        Mean and standard error over the first axis, each of shape ``[*batch]``, in nats.

    Raises:
        ValueError: if there are fewer than two samples.

    >>> q = DiagonalNormal(torch.ones(1), torch.zeros(1))
    >>> p = DiagonalNormal(torch.zeros(1), torch.zeros(1))
    >>> z = 1 + torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> mean, standard_error = kl_monte_carlo(q, p, z)
    >>> bool(abs(mean - 0.5) < 4 * standard_error)
    True
    """
    _require_two(z)
    return _mean_and_error(q.log_prob(z) - p.log_prob(z))


def kl_monte_carlo_k3(q: Distribution, p: Distribution, z: Tensor) -> MonteCarlo:
    r"""KL(q ‖ p) from samples of q: the mean of $(r - 1) - \log r$ with $r = p(z)/q(z)$, called k3.

    No draw is negative, and where q and p nearly agree it varies far less than `kl_monte_carlo`.

    Warning:
        Between normals its variance is **infinite** when $\sigma_p^2 \ge 2\sigma_q^2$ in any
        dimension: then $E_q[r^2] = \int p^2/q$ diverges. A posterior that is much narrower than its
        prior, the usual case in a VAE, is of this kind. The estimate is then mostly too low, and
        its standard error does not warn. It also needs the two supports to be the same: with
        $P$ the probability that p gives to the support of q, it is off by $P - 1$.

    Args:
        q, p, z: as for `kl_monte_carlo`; z are samples **of q**.

    Returns:
        Mean and standard error, as `kl_monte_carlo`.

    References:
        Schulman, Approximating KL Divergence (2020), http://joschu.net/blog/kl-approx.html.

    >>> q, p = (DiagonalNormal(torch.full((1,), loc), torch.zeros(1)) for loc in (0.1, 0.0))
    >>> z = 0.1 + torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> mean, standard_error = kl_monte_carlo_k3(q, p, z)
    >>> bool(abs(mean - 0.005) < 4 * standard_error)  # ½ · 0.1²
    True
    >>> bool(standard_error < kl_monte_carlo(q, p, z).standard_error / 10)
    True
    """
    _require_two(z)
    log_r = p.log_prob(z) - q.log_prob(z)
    return _mean_and_error(torch.expm1(log_r) - log_r)


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
        ValueError: if q does not sum to 1 within 0.0001: the line is too short, or a cell too wide.

    >>> z = torch.linspace(-8.0, 8.0, 401)
    >>> log_q, log_p = Normal(1.0, 0.5).log_prob(z), Normal(0.0, 1.0).log_prob(z)
    >>> round(kl_line(log_q, log_p, z).item(), 3), round(kl_line(log_p, log_q, z).item(), 3)
    (0.818, 2.807)
    """
    step = z[1] - z[0]
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

    >>> z = torch.linspace(-9.0, 9.0, 901)
    >>> q = fit_forward(Normal(1.0, 0.5).log_prob(z), z)
    >>> round(q.loc.item(), 3), round(q.stddev.item(), 3)
    (1.0, 0.5)
    """
    p = torch.softmax(log_p, -1)  # the probability of each cell
    loc = (p * z).sum()
    return DiagonalNormal(loc[None], (p * (z - loc) ** 2).sum().log()[None])


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


@register_kl(DiagonalNormal, DiagonalNormal)
def _kl_diagonal_normal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    shape = torch.broadcast_shapes(q.logvar.shape, p.logvar.shape)
    return kl_normal(*(t.expand(shape) for t in (q.loc, q.logvar, p.loc, p.logvar)))


@register_kl(DiagonalNormal, MultivariateNormal)
def _kl_diagonal_full(q: DiagonalNormal, p: MultivariateNormal) -> Tensor:
    return kl_divergence(_full(q), p)


@register_kl(MultivariateNormal, DiagonalNormal)
def _kl_full_diagonal(q: MultivariateNormal, p: DiagonalNormal) -> Tensor:
    return kl_divergence(q, _full(p))


def _full(d: DiagonalNormal) -> MultivariateNormal:
    return MultivariateNormal(
        d.loc, scale_tril=torch.diag_embed(torch.exp(0.5 * d.logvar)), validate_args=False
    )


def _require_same_shape(**tensors: Tensor) -> None:
    if len({t.shape for t in tensors.values()}) > 1:
        got = ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise ValueError(f"expected one shape [*batch, latent] for all of them, got {got}")


def _require_two(z: Tensor) -> None:
    if len(z) < 2:
        raise ValueError(
            f"expected at least 2 samples along the first axis of z to estimate a standard error, "
            f"got shape {tuple(z.shape)}"
        )


def _mean_and_error(values: Tensor) -> MonteCarlo:
    return MonteCarlo(values.mean(0), values.std(0) / math.sqrt(len(values)))
