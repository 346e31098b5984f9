"""What a family of q cannot express, and whether a q keeps what its intervals promise."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vaelib.kl import DiagonalNormal


def diagonal_floor(matrix: Float[Tensor, "*batch latent latent"]) -> Float[Tensor, "*batch"]:
    r"""What the best normal with a *diagonal* covariance costs against a normal with a full one.

    $$\tfrac12\Big(\sum_i \log A_{ii} - \log\det A\Big) \ge 0$$

    For a normal posterior p with covariance $\Sigma$ and precision $\Lambda = \Sigma^{-1}$, and q
    diagonal:

    - $A = \Sigma$: the smallest $\mathrm{KL}(p \,\|\, q)$, what `fit_to_pairs` minimizes. The best
      q has p's marginal variances $\Sigma_{ii}$.
    - $A = \Lambda$: the smallest $\mathrm{KL}(q \,\|\, p)$, what the ELBO minimizes. The best q has
      the smaller variances $1/\Lambda_{ii}$.

    With two latent dimensions the two numbers are equal, with more they differ.

    Args:
        matrix: A, symmetric and positive definite, shape ``[*batch, latent, latent]``.

    Returns:
        Shape ``[*batch]``, nats; 0 if and only if A is diagonal (Hadamard's inequality).

    Raises:
        ValueError: if a matrix is not symmetric and positive definite.

    >>> diagonal_floor(torch.tensor([[1.0, 0.8], [0.8, 1.0]]))  # -½ log(1 - 0.8²)
    tensor(0.5108)
    """
    tril, info = torch.linalg.cholesky_ex(matrix)
    # Against the matrix's own size: variances of 1e-10 are below allclose's absolute tolerance.
    off = (matrix - matrix.mT).abs() - 1e-4 * matrix.abs()
    if bool(info.any()) or not bool(
        (off <= 1e-6 * matrix.abs().amax((-2, -1), keepdim=True)).all()
    ):
        raise ValueError(
            "diagonal_floor: expected symmetric, positive definite matrices (a covariance or a "
            "precision), got one that is not"
        )
    diagonal = torch.diagonal(matrix, dim1=-2, dim2=-1)
    return 0.5 * diagonal.log().sum(-1) - torch.diagonal(tril, dim1=-2, dim2=-1).log().sum(-1)


class Coverage(NamedTuple):
    """How often q's intervals held the true z, per latent dimension, and what chance does."""

    share: Tensor  # [latent], between 0 and 1
    standard_error: Tensor  # [latent], of the share of a q that is calibrated


def coverage(q: Distribution, z: Float[Tensor, "batch latent"], level: float = 0.9) -> Coverage:
    r"""The share of true z that lie in q's central intervals, per latent dimension.

    A q is *calibrated* at a level if, over pairs (x, z) of the model, its intervals of that level
    hold z that often. It is necessary for a good q and not sufficient: a q that returns the prior
    for every x is calibrated too.

    Args:
        q: a batch of normals, `~vaelib.kl.DiagonalNormal` or ``MultivariateNormal``: only the
            marginal means and standard deviations are read.
        z: the z that belong to q's x, shape ``[batch, latent]``.
        level: probability of an interval, between 0 and 1.

    Returns:
        `Coverage`; the standard error is $\sqrt{\text{level}(1 - \text{level}) / n}$, that of a
        binomial share at the level itself, so that a share of 0 or 1 does not look certain.

    Raises:
        TypeError: if q is not normal.
        ValueError: if the shapes differ or the level is not between 0 and 1.

    References:
        Talts, Betancourt, Simpson, Vehtari and Gelman, Simulation-Based Calibration
        (arXiv:1804.06788), for the check at all levels.

    >>> q = DiagonalNormal(torch.zeros(4, 1), torch.zeros(4, 1))
    >>> coverage(q, torch.tensor([[0.0], [1.0], [-1.6], [1.7]])).share  # 1.645 on both sides
    tensor([0.7500])
    """
    if not isinstance(q, DiagonalNormal | MultivariateNormal):
        raise TypeError(f"coverage: expected a normal q, got {type(q).__name__}")
    if not 0 < level < 1:
        raise ValueError(f"coverage: expected 0 < level < 1, got {level}")
    if z.ndim != 2 or q.mean.shape != z.shape:
        raise ValueError(
            f"coverage: expected z [batch, latent] and one q per row, got z {tuple(z.shape)} and q "
            f"with loc {tuple(q.mean.shape)}"
        )
    half_width = q.stddev * torch.special.ndtri(z.new_tensor((1 + level) / 2))
    share = ((z - q.mean).abs() <= half_width).to(z.dtype).mean(0)
    return Coverage(share, torch.full_like(share, math.sqrt(level * (1 - level) / len(z))))
