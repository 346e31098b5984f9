"""The evidence and the posterior of any model, computed without solving it.

`grid` and `grid_evidence` sum over all of a latent space of one or two dimensions, and are exact up
to the width of the cells, for neural models too. `prior_sampling` and `importance_sampling` average
over samples in any number of dimensions; how well depends on how near the posterior they are drawn.

Chapter: :doc:`/book/latent`.
"""

import math
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vaelib.arguments import require_sizes
from vaelib.kl.monte_carlo import require_samples

__all__ = [
    "EvidenceEstimate",
    "Grid",
    "GridPosterior",
    "LatentVariableModel",
    "effective_sample_fraction",
    "effective_sample_size",
    "evidence_estimate",
    "grid",
    "grid_evidence",
    "importance_sampling",
    "log_mean_exp",
    "prior_sampling",
]


class Grid(NamedTuple):
    """Midpoints of equal cells that cover a latent space, and the logarithm of a cell's volume."""

    z: Tensor  # [points ** latent, latent]
    log_cell: float


def grid(latent: int, *, points: int = 200, extent: float = 6.0) -> Grid:
    """Equal cells over [-extent, extent] in each of one or two latent dimensions.

    It lies around 0: what it misses, a sum over it does not count. For a prior elsewhere, or of
    another width, move and stretch the cells, as `vaelib.evaluate.grid_log_evidence` does.

    Args:
        latent: 1 or 2; a sum over a grid of more dimensions takes too long.
        points: cells along each axis.
        extent: half the width. Beyond 6 a standard normal holds less than 2e-9 of its mass.

    Raises:
        TypeError, ValueError: if a number is out of range.

    >>> grid(1, points=4, extent=2.0).z.flatten()
    tensor([-1.5000, -0.5000,  0.5000,  1.5000])
    """
    if latent not in (1, 2):
        raise ValueError(f"grid: expected 1 or 2 latent dimensions, got {latent}")
    require_sizes("grid", points=points)
    if not 0 < extent < math.inf:
        raise ValueError(f"grid: expected a finite extent > 0, got {extent}")
    cell = 2 * extent / points
    axis = -extent + cell * (torch.arange(points) + 0.5)
    return Grid(torch.cartesian_prod(*[axis] * latent).view(-1, latent), latent * math.log(cell))


class GridPosterior(NamedTuple):
    """The exact solution on a grid, in nats."""

    log_evidence: Tensor  # [batch]
    log_density: Tensor  # log p(z | x) at the cells, [batch, cells]


def grid_evidence(log_joint: Float[Tensor, "batch cells"], log_cell: float) -> GridPosterior:
    r"""log p(x) and p(z | x) from the joint at every cell: $p(x) \approx \sum_c p(x, z_c)\,|c|$.

    The midpoint rule is exact to many digits once a cell is small against the posterior; compare
    two resolutions to know.

    Args:
        log_joint: $\log p(x, z_c)$ for every datum and cell, shape ``[batch, cells]``, nats.
        log_cell: logarithm of a cell's volume, from `grid`.

    >>> z, log_cell = grid(1)
    >>> log_joint = -0.5 * z.mT**2 - 0.5 * math.log(2 * math.pi)  # a prior that x does not change
    >>> abs(grid_evidence(log_joint, log_cell).log_evidence.item()) < 1e-5
    True
    """
    log_evidence = torch.logsumexp(log_joint, -1) + log_cell
    return GridPosterior(log_evidence, log_joint - log_evidence[:, None])


def log_mean_exp(log_w: Tensor, dim: int = 0) -> Tensor:
    r"""Log of a mean of weights of which only the logs fit into floats: $\log\frac1K\sum_k w_k$.

    With $m = \max_k \log w_k$ it is $m + \log\frac1K\sum_k e^{\log w_k - m}$: the largest term is
    $e^0$ and nothing overflows. The mean of the $w_k$ is unbiased; its logarithm is biased
    downwards, by about $\mathrm{Var}[w] / 2K E[w]^2$.

    Args:
        log_w: log-weights, any shape; ``-inf`` is a weight of 0.
        dim: the axis over which the mean goes, which disappears.

    >>> log_mean_exp(torch.tensor([-1000.0, -1000.0]))
    tensor(-1000.)
    """
    return torch.logsumexp(log_w, dim) - math.log(log_w.shape[dim])


def effective_sample_size(log_w: Float[Tensor, "samples *batch"]) -> Float[Tensor, "*batch"]:
    r"""How many equal weights would have this much spread: $(\sum_k w_k)^2 / \sum_k w_k^2$.

    Warning:
        It lies between 1 and the number of samples *by construction*. It sees only the weights
        that were drawn and cannot tell that all of them are poor; `effective_sample_fraction` can.

    Args:
        log_w: log-weights, shape ``[samples, *batch]``.

    References:
        Kong, A Note on Importance Sampling using Standardized Weights (1992).

    >>> effective_sample_size(torch.tensor([0.0, 0.0, -torch.inf, -torch.inf]))
    tensor(2.)
    """
    w = _relative(log_w)
    return w.sum(0).square() / w.square().sum(0)


def _relative(log_w: Tensor) -> Tensor:
    """The weights over the largest of them: logs of -1e6 have no digits for their spread."""
    top = log_w.detach().amax(0)
    return torch.exp(log_w - torch.where(top.isfinite(), top, torch.zeros_like(top)))


class EvidenceEstimate(NamedTuple):
    """An estimate of log p(x) from weighted samples; see `evidence_estimate`."""

    log_evidence: Tensor  # nats
    standard_error: Tensor  # nats
    effective_sample_size: Tensor  # between 1 and the number of samples


def evidence_estimate(log_w: Float[Tensor, "samples *batch"]) -> EvidenceEstimate:
    r"""log p(x) from log-weights whose weights have the mean p(x), with its standard error.

    $$\log \hat p = \log \tfrac1K \sum_k w_k, \qquad
      \mathrm{s.e.}(\log \hat p) \approx \frac{\mathrm{s.e.}(\hat p)}{\hat p}
      = \frac{s_w}{\sqrt K\, \bar w}$$

    The error is by the delta method: near $\hat p$ the logarithm is a line of slope $1/\hat p$. It
    is about $\sqrt{1/\mathrm{ESS} - 1/K}$, never exceeds 1, and is itself estimated from the
    weights that were drawn: with few effective samples, believe neither.

    Args:
        log_w: log-weights $\log p(x, z_k) - \log q(z_k)$ of samples $z_k$ of q, shape
            ``[samples, *batch]``, at least two.

    Returns:
        Estimate, standard error and effective sample size, each of shape ``[*batch]``.

    Raises:
        ValueError: if there are fewer than two samples.

    >>> evidence_estimate(torch.log(torch.tensor([1.0, 3.0]))).log_evidence.exp()
    tensor(2.)
    """
    if log_w.ndim == 0 or len(log_w) < 2:
        raise ValueError(
            f"evidence_estimate: expected at least 2 samples along the first axis to estimate a "
            f"standard error, got log-weights of shape {tuple(log_w.shape)}"
        )
    w = _relative(log_w)
    standard_error = w.std(0) / (math.sqrt(len(w)) * w.mean(0))
    return EvidenceEstimate(log_mean_exp(log_w), standard_error, effective_sample_size(log_w))


@runtime_checkable
class LatentVariableModel(Protocol):
    """What estimates and bounds need to know of a model p(x, z) = p(z) p(x | z).

    >>> from vaelib.latent import LinearGaussian
    >>> model = LinearGaussian(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor(1.0))
    >>> isinstance(model, LatentVariableModel)
    True
    """

    @property
    def prior(self) -> Distribution:
        """p(z)."""

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over pixels."""

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) in nats."""


def require_pair(x: Tensor, z: Tensor, pixels: int, latent: int) -> None:
    """Raise unless every x has so many pixels, every z so many latents, and x and z go together.

    An axis of size 1 would be broadcast: one pixel would count for all.
    """
    leading = zip(reversed(x.shape[:-1]), reversed(z.shape[:-1]), strict=False)
    together = all(a == b or 1 in (a, b) for a, b in leading)
    if x.shape[-1:] != (pixels,) or z.shape[-1:] != (latent,) or not together:
        raise ValueError(
            f"expected x of shape [*batch, {pixels}] and z [*samples, *batch, {latent}], got x "
            f"{tuple(x.shape)} and z {tuple(z.shape)}"
        )


def prior_sampling(model: LatentVariableModel, x: Tensor, z: Tensor) -> EvidenceEstimate:
    r"""log p(x) as $p(x) = E_{p(z)}[p(x \mid z)]$: the mean likelihood of samples of the prior.

    Args:
        model: gives ``log_likelihood``.
        x: data, shape ``[*batch, pixel]``.
        z: samples **of the prior**, shape ``[samples, *batch, latent]``; with ``[samples, 1,
            latent]`` all data share them.

    Returns:
        See `evidence_estimate`; shapes ``[*batch]``.

    Raises:
        ValueError: if z is not of that shape: without its first axis the mean would go over the
            batch.

    >>> from vaelib.latent import LinearGaussian
    >>> model = LinearGaussian(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor(1.0))
    >>> z = torch.randn(4000, 1, 1, generator=torch.Generator().manual_seed(0))
    >>> x = torch.tensor([[3.0], [0.0]])
    >>> found = prior_sampling(model, x, z)  # both data share the samples
    >>> miss = (found.log_evidence - model.log_evidence(x)).abs()
    >>> bool((miss < 4 * found.standard_error).all())
    True
    """
    shared = z.ndim == x.ndim + 1 and set(z.shape[1:-1]) == {1}
    batch = z.shape[1:-1] if shared else x.shape[:-1]
    require_samples("prior_sampling", z, batch, model.prior.event_shape)
    return evidence_estimate(model.log_likelihood(x, z))


def importance_sampling(
    model: LatentVariableModel, x: Tensor, proposal: Distribution, z: Tensor
) -> EvidenceEstimate:
    r"""log p(x) as $p(x) = E_{q(z)}[p(x, z) / q(z)]$: samples of a proposal q, reweighted.

    Args:
        model: gives ``log_joint``.
        x: data, shape ``[*batch, pixel]``.
        proposal: q, one distribution over z for each datum; its tails must cover the posterior's.
        z: samples **of the proposal**, shape ``[samples, *batch, latent]``.

    Returns:
        See `evidence_estimate`; shapes ``[*batch]``.

    Raises:
        ValueError: as `prior_sampling`.

    References:
        Owen, Monte Carlo theory, methods and examples (2013), chapter 9.

    >>> from vaelib.latent import LinearGaussian
    >>> model = LinearGaussian(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor(1.0))
    >>> x = torch.tensor([[3.0]])
    >>> q = model.posterior(x)
    >>> found = importance_sampling(model, x, q, q.sample((10,)))  # with q = p(z | x): no noise
    >>> torch.allclose(found.log_evidence, model.log_evidence(x))
    True
    """
    batch = torch.Size(torch.broadcast_shapes(x.shape[:-1], proposal.batch_shape))
    require_samples("importance_sampling", z, batch, proposal.event_shape)
    return evidence_estimate(model.log_joint(x, z) - proposal.log_prob(z))


def effective_sample_fraction(
    posterior: MultivariateNormal, proposal: MultivariateNormal
) -> Tensor:
    r"""The true effective sample size per sample, in closed form for two normals.

    $$\frac{E_q[w]^2}{E_q[w^2]} = \Big( \int \frac{p(z \mid x)^2}{q(z)}\, dz \Big)^{-1}
      = \frac{\sqrt{|R|\,|A|}}{|P|}\,
      e^{-\frac12 \delta^\top (R + R A^{-1} R) \delta}, \qquad A = 2P - R$$

    with the precisions P of the posterior and R of the proposal, and $\delta$ the difference of
    their means. Where A is not positive definite, because the proposal is too narrow, $E_q[w^2]$
    is infinite and the fraction is 0.

    Args:
        posterior: $p(z \mid x)$, for example `LinearGaussian.posterior`.
        proposal: q.

    Returns:
        In [0, 1], the batch shape of the two; 1 only when they are equal.

    >>> p, q = (MultivariateNormal(torch.zeros(10), s**2 * torch.eye(10)) for s in (1.0, 1.2))
    >>> round(effective_sample_fraction(p, q).item(), 3)  # 20 % too wide in 10 dimensions
    0.613
    """
    p, r = posterior.precision_matrix, proposal.precision_matrix
    a = 2 * p - r
    root, info = torch.linalg.cholesky_ex(a)
    delta = (posterior.loc - proposal.loc)[..., None]
    shift = r @ delta
    safe = torch.where((info == 0)[..., None, None], root, torch.eye(a.shape[-1]).to(a))
    half = torch.linalg.solve_triangular(safe, shift.expand(*safe.shape[:-1], 1), upper=False)
    quadratic = (delta * shift).sum((-2, -1)) + half.square().sum((-2, -1))
    log_fraction = 0.5 * (r.logdet() + 2 * _log_diagonal(safe) - quadratic) - p.logdet()
    return torch.where(info == 0, log_fraction.exp(), torch.zeros_like(log_fraction))


def _log_diagonal(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
