r"""Inference as a function: one network from x to the parameters of q(z | x), for all x.

Beside it stands what it replaces: inference for each datum anew (`laplace`, `refine`). Networks
learn here from pairs (x, z) simulated from a **known** model, so no bound is needed yet; a VAE does
not know its model and learns from the ELBO instead (`vaelib.elbo`).

Chapter: :doc:`/book/amortized`.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.kl import DiagonalNormal

__all__ = [
    "CholeskyHead",
    "Coverage",
    "DiagonalHead",
    "Simulator",
    "coverage",
    "diagonal_floor",
    "fit_to_pairs",
    "laplace",
    "refine",
]


@runtime_checkable
class Simulator(Protocol):
    """A model that can be simulated, which needs its parameters to be known."""

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) of the joint: z from the prior, then x given z."""


class DiagonalHead(nn.Module):
    r"""From x to $q(z \mid x) = N(\mu(x), \operatorname{diag}\sigma^2(x))$: an encoder as a q.

    Args:
        encoder: module from ``[*batch, pixel]`` to the pair (loc, logvar), each
            ``[*batch, latent]``: `~vaelib.nets.LinearEncoder`, `~vaelib.nets.MLPEncoder`, or yours.

    >>> from vaelib.nets import LinearEncoder
    >>> DiagonalHead(LinearEncoder(6, 2))(torch.zeros(5, 6)).stddev.shape
    torch.Size([5, 2])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "*batch pixel"]) -> DiagonalNormal:
        """q(z | x), one distribution per datum."""
        return DiagonalNormal(*self.encoder(x))


class CholeskyHead(nn.Module):
    r"""From x to a normal with a full covariance: $q(z \mid x) = N(\mu(x), L(x) L(x)^\top)$.

    L is lower triangular with the diagonal $e^{\frac12\text{logvar}}$, so $LL^\top$ is a covariance
    whatever the networks return. It starts as a `DiagonalHead` if ``below`` starts at 0.

    Args:
        encoder: as for `DiagonalHead`; ``latent`` is read from it.
        below: module from x to the ``latent * (latent - 1) / 2`` numbers of L below its diagonal,
            row by row. Constants that do not depend on x if None, which is enough for a linear
            Gaussian model: all its posteriors have one covariance.

    >>> from vaelib.nets import LinearEncoder
    >>> q = CholeskyHead(LinearEncoder(6, 2))(torch.zeros(5, 6))
    >>> q.mean.shape, q.covariance_matrix.shape
    (torch.Size([5, 2]), torch.Size([5, 2, 2]))
    """

    def __init__(self, encoder: nn.Module, below: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = cast(int, encoder.latent)
        self.below = below
        numbers = torch.zeros(self.latent * (self.latent - 1) // 2)
        self.constants = nn.Parameter(numbers, requires_grad=below is None)

    def forward(self, x: Float[Tensor, "*batch pixel"]) -> MultivariateNormal:
        """q(z | x), one distribution per datum.

        Raises:
            ValueError: if ``below`` returns another number of values.
        """
        loc, logvar = self.encoder(x)
        below = self.constants if self.below is None else self.below(x)
        if below.shape[-1:] != self.constants.shape:
            raise ValueError(
                f"CholeskyHead: expected latent (latent - 1) / 2 = {len(self.constants)} numbers "
                f"below the diagonal, got {below.shape[-1]}"
            )
        tril = torch.diag_embed(torch.exp(0.5 * logvar))
        row, column = torch.tril_indices(self.latent, self.latent, -1, device=tril.device)
        tril[..., row, column] = below
        return MultivariateNormal(loc, scale_tril=tril, validate_args=False)


def fit_to_pairs(
    q: nn.Module,
    model: Simulator,
    *,
    steps: int = 2000,
    batch_size: int = 256,
    lr: float = 1e-2,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " steps"]:
    r"""Train q(z | x) on fresh pairs from a known model: maximize $E_{p(x, z)}[\log q(z \mid x)]$.

    $$E_{p(x,z)}[\log q(z \mid x)]
      = -E_{p(x)}\big[\mathrm{KL}(p(z \mid x) \,\|\, q(z \mid x))\big] + \text{const}$$

    so the best q of a family is the one that the **posterior** finds least surprising, on average
    over x. No pair is used twice: there is no training set, and nothing to overfit.

    Args:
        q: module from x ``[batch, pixel]`` to a distribution over z; trained in place.
        model: gives ``sample(n, generator=…)``, pairs (x, z). Its parameters are not trained.
        steps, batch_size: ``steps * batch_size`` pairs are simulated in all.
        lr: Adam's first learning rate; it falls to 0 along half a cosine.
        generator: source of the pairs.

    Returns:
        The mean of log q(z | x) over each step's batch, nats per pair, higher is better.

    Raises:
        ValueError: if a number is out of range.
        FloatingPointError: if log q stops being finite.

    References:
        Hinton, Dayan, Frey and Neal, The wake-sleep algorithm (Science, 1995), whose sleep phase
        this is; Le, Baydin and Wood, Inference Compilation (arXiv:1610.09900).

    >>> from vaelib.latent import NonlinearGaussian
    >>> from vaelib.nets import LinearEncoder
    >>> model, q = NonlinearGaussian(torch.sin, 1, 0.25), DiagonalHead(LinearEncoder(1, 1))
    >>> fit_to_pairs(q, model, steps=10).shape
    torch.Size([10])
    """
    if steps < 1 or batch_size < 1 or not lr > 0:
        raise ValueError(
            f"fit_to_pairs: expected steps ≥ 1, batch_size ≥ 1 and lr > 0, got {steps}, "
            f"{batch_size}, {lr}"
        )
    optimizer = torch.optim.Adam(q.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    history = []
    for _ in range(steps):
        with torch.no_grad():
            x, z = model.sample(batch_size, generator=generator)
        log_q = q(x).log_prob(z).mean()
        optimizer.zero_grad()
        (-log_q).backward()
        optimizer.step()
        schedule.step()
        history.append(log_q.detach())
    result = torch.stack(history)
    if not bool(result.isfinite().all()):
        first = int((~result.isfinite()).nonzero()[0])
        raise FloatingPointError(
            f"fit_to_pairs: expected a finite log q(z | x), got {result[first].item()} at step "
            f"{first + 1}; lower lr (now {lr})"
        )
    return result


def laplace(
    log_joint: Callable[[Tensor], Tensor],
    start: Float[Tensor, "batch latent"],
    *,
    steps: int = 100,
    tolerance: float = 1e-9,
) -> MultivariateNormal:
    r"""Laplace's approximation for each datum of a batch: a normal at a mode, with its curvature.

    $$q(z) = N\big(\hat z, (-H)^{-1}\big), \qquad
      \hat z = \arg\max_z \log p(x, z), \quad H = \nabla^2_z \log p(x, \hat z)$$

    It needs $\log p(x, z)$ as a function of z and nothing else. The mode is sought by Newton's
    method, each datum with a step of its own: where the surface is not concave, the absolute values
    of the curvatures are used, and a step that does not climb enough is halved. It finds *a* mode;
    with several, the start decides, and the others are missed.

    Args:
        log_joint: from z ``[batch, latent]`` to $\log p(x, z)$ ``[batch]``, twice differentiable;
            datum i depends on row i alone. ``lambda z: model.log_joint(x, z)``.
        start: where the search begins, shape ``[batch, latent]``.
        steps: at most so many Newton steps.
        tolerance: it stops when a step promises to gain less, in nats, or less than the digits of
            log p show: for a narrow posterior use float64.

    Returns:
        A batch of normals without a graph.

    Raises:
        ValueError: if log_joint does not return one value per datum, if a start has no finite log
            p, if the search has not ended after ``steps``, or if it ended where the surface is not
            a maximum.

    References:
        Tierney and Kadane, Accurate Approximations for Posterior Moments (1986).

    >>> q = laplace(lambda z: -2 * (z - 3.0).square().sum(-1), torch.zeros(1, 1))
    >>> q.mean, q.stddev  # exact where log p is a parabola
    (tensor([[3.]]), tensor([[0.5000]]))
    """
    z = start.detach().clone()
    values = _per_datum(log_joint(z).detach(), z, "laplace", "log_joint")
    if not bool(values.isfinite().all()):
        raise ValueError("laplace: expected a finite log p(x, z) at every start, got an infinity")
    for _ in range(steps):
        gradient, curvature = _derivatives(log_joint, z)
        eigenvalues, axes = torch.linalg.eigh(curvature)
        along = (axes.mT @ gradient[..., None]).squeeze(-1)
        flat = 1e-6 * eigenvalues.abs().amax(-1, keepdim=True).clamp(min=1.0)
        direction = (axes @ (along / eigenvalues.abs().clamp(min=flat))[..., None]).squeeze(-1)
        promise = (gradient * direction).sum(-1)
        digits = 10 * torch.finfo(z.dtype).eps * values.abs()  # less than this is rounding
        moving = promise > tolerance + digits
        if not bool(moving.any()):
            break
        step = moving.to(z.dtype)
        for _ in range(30):
            trial = z + step[:, None] * direction
            new = log_joint(trial).detach()
            short = moving & ~(new >= values + 1e-4 * step * promise)
            if not bool(short.any()):
                break
            step = torch.where(short, step / 2, step)
        step = torch.where(short, torch.zeros_like(step), step)
        moved = step > 0
        z = torch.where(moved[:, None], trial, z)
        values = torch.where(moved, new, values)
    else:
        raise ValueError(
            f"laplace: expected to arrive within {steps} steps, but a step still promises "
            f"{promise.max().item():.3g} nats; give more steps or another start"
        )
    _, curvature = _derivatives(log_joint, z)
    lowest = torch.linalg.eigvalsh(curvature)[:, 0]
    if not bool((lowest > 0).all()):
        raise ValueError(
            f"laplace: expected a maximum of log p(x, z), got a point where its negative curvature "
            f"is {lowest.min().item():.3g} in some direction; give another start"
        )
    return MultivariateNormal(z, precision_matrix=curvature)


def refine(
    q: DiagonalNormal,
    objective: Callable[[DiagonalNormal], Tensor],
    *,
    steps: int,
    lr: float,
) -> DiagonalNormal:
    r"""Improve the loc and logvar of each datum's q by gradient ascent on an objective.

    Starting from a network's q and ending at the best q of the family, the gain of the objective is
    what *amortization* cost for this datum; what is left to the exact posterior is what the
    *family* costs. Adam's steps are taken elementwise, so data do not influence each other; the
    step length falls to 0 along half a cosine.

    Args:
        q: where to start, ``loc`` and ``logvar`` of shape ``[*batch, latent]``; left as it is.
        objective: from a `~vaelib.kl.DiagonalNormal` to one value per datum, ``[*batch]``, **higher
            is better**; an estimate should use noise that is drawn once, outside. It may depend on
            the parameters of a model: they get no gradient.
        steps: number of steps, one evaluation of the objective each.
        lr: the first step's length, in units of loc and of logvar.

    Returns:
        A new q of the same shape, without a graph.

    Raises:
        ValueError: if the objective does not return one value per datum, or a number is out of
            range.

    References:
        Kim, Wiseman, Miller, Sontag and Rush, Semi-Amortized VAEs (arXiv:1802.02550); Cremer, Li
        and Duvenaud, Inference Suboptimality in VAEs (arXiv:1801.03558).

    >>> q = DiagonalNormal(torch.zeros(2, 1), torch.zeros(2, 1))
    >>> target = torch.tensor([[1.0], [-2.0]])
    >>> best = refine(q, lambda q: -(q.loc - target).square().sum(-1), steps=200, lr=0.1)
    >>> best.loc.round(decimals=2)
    tensor([[ 1.],
            [-2.]])
    """
    if steps < 1 or not lr > 0:
        raise ValueError(f"refine: expected steps ≥ 1 and lr > 0, got {steps} and {lr}")
    with torch.enable_grad():
        loc, logvar = (t.detach().clone().requires_grad_() for t in (q.loc, q.logvar))
        optimizer = torch.optim.Adam([loc, logvar], lr=lr, maximize=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        for _ in range(steps):
            values = _per_datum(objective(DiagonalNormal(loc, logvar)), loc, "refine", "objective")
            # Not backward(): the parameters of a model in the objective keep their gradients.
            loc.grad, logvar.grad = torch.autograd.grad(
                values.sum(), (loc, logvar), allow_unused=True, materialize_grads=True
            )
            optimizer.step()
            schedule.step()
    return DiagonalNormal(loc.detach(), logvar.detach())


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
    if bool(info.any()) or not torch.allclose(matrix, matrix.mT, rtol=1e-4):
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


def _per_datum(values: Tensor, z: Tensor, function: str, argument: str) -> Tensor:
    if values.shape != z.shape[:-1]:
        raise ValueError(
            f"{function}: expected {argument} to return one value per datum, shape "
            f"{tuple(z.shape[:-1])}, got {tuple(values.shape)}"
        )
    return values


def _derivatives(log_joint: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient ``[batch, latent]`` and negative Hessian ``[batch, latent, latent]`` of log p."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(log_joint(z).sum(), z, create_graph=True)
        # Row i of log p depends on row i of z alone: one backward pass serves all data.
        rows = [
            torch.autograd.grad(column.sum(), z, retain_graph=True, materialize_grads=True)[0]
            for column in gradient.unbind(-1)
        ]
    hessian = torch.stack(rows, -2)
    return gradient.detach(), -0.5 * (hessian + hessian.mT).detach()
