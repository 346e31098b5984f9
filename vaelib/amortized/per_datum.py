"""Inference for each datum anew: what amortization replaces, and what repairs it."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal

from vaelib.kl import DiagonalNormal


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
    start = (q.loc, q.logvar)
    return DiagonalNormal(
        *climb(start, lambda raw: objective(DiagonalNormal(*raw)), steps=steps, lr=lr)
    )


def climb(
    start: tuple[Tensor, ...],
    objective: Callable[[tuple[Tensor, ...]], Tensor],
    *,
    steps: int,
    lr: float,
) -> tuple[Tensor, ...]:
    """`refine` for any family: an ascent in the raw outputs of which a posterior makes its q.

    Args:
        start: tensors ``[*batch, …]``; left as they are.
        objective: from such tensors to one value per datum, ``[*batch]``, **higher is better**.
        steps, lr: see `refine`.

    Returns:
        New tensors of the same shapes, without a graph.

    Raises:
        ValueError: as `refine`.
    """
    if steps < 1 or not lr > 0:
        raise ValueError(f"refine: expected steps ≥ 1 and lr > 0, got {steps} and {lr}")
    with torch.enable_grad():
        raw = tuple(t.detach().clone().requires_grad_() for t in start)
        optimizer = torch.optim.Adam(raw, lr=lr, maximize=True)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        for _ in range(steps):
            values = _per_datum(objective(raw), raw[0], "refine", "objective")
            # Not backward(): the parameters of a model in the objective keep their gradients.
            gradients = torch.autograd.grad(
                values.sum(), raw, allow_unused=True, materialize_grads=True
            )
            for t, gradient in zip(raw, gradients, strict=True):
                t.grad = gradient
            optimizer.step()
            schedule.step()
    return tuple(t.detach() for t in raw)


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
