"""log p(x) on a grid: exact with one or two latent dimensions, for any normal or mixture prior."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, MixtureSameFamily, MultivariateNormal

from vaelib.arguments import BadType, BadValue, require_sizes
from vaelib.evaluate.encoder import batches, require_finite
from vaelib.kl import DiagonalNormal
from vaelib.latent import grid
from vaelib.nets import evaluation_mode
from vaelib.vae import DeepLatentModel, Model
from vaelib.vae.condition import Condition, one_hot

__all__ = ["GridEvidence", "grid_log_evidence"]

# Priors of which it is known where their mass is.
PRIORS = (DiagonalNormal, MultivariateNormal, MixtureSameFamily)
# Cells that are decoded at a time.
_CELLS = 200
# Nats of error above which a datum gets a grid of its own,
_CLOSE = 0.01
# and nats below the highest joint at which that grid may end: e^-25 is 1e-11.
_NEAR = 25.0


class GridEvidence(NamedTuple):
    """log p(x) by a sum over a latent space, in nats, per datum."""

    log_evidence: Tensor  # [n]
    error: Tensor  # [n], of the cells' width and of what lies outside the window together


def has_grid(model: Model, c: Condition = None) -> bool:
    """Whether `grid_log_evidence` is for this model."""
    return model.latent <= 2 and isinstance(_prior(model, c), PRIORS)


def _prior(model: Model | DeepLatentModel, c: Condition) -> Distribution | None:
    """p(z), if it is one and the same for all labels."""
    if not isinstance(model, DeepLatentModel) or not isinstance(c, Tensor):
        return model.prior
    prior = model.prior_given(c[:1])
    return prior if prior.batch_shape == () else None


class _Window(NamedTuple):
    """A part of a prior, and where it is: it holds z = centre + root u, u in [-extent, extent]."""

    log_density: Callable[[Tensor], Tensor]  # of z, [cells, latent] to [cells]
    centre: Tensor  # [latent]
    root: Tensor  # [latent, latent]


# log p(x, z) of data at cells u of a window.
_Joint = Callable[[_Window, Tensor], Tensor]


@torch.no_grad()
def grid_log_evidence(
    model: DeepLatentModel,
    x: Float[Tensor, "n pixel"],
    c: Condition = None,
    *,
    points: int | None = None,
    extent: float = 6.0,
    batch_size: int = 500,
) -> GridEvidence:
    r"""log p(x) of every datum with one or two latent dimensions, without samples and without q.

    $$\log p(x) \approx \log \sum_c p(x, z_c)\, |c|$$

    over the cells c of `vaelib.latent.grid`, which is moved to the prior's mean and scaled by its
    deviations. The evidence is linear in the prior, $\int \sum_k \pi_k p_k(z)\, p(x \mid z)\, dz$,
    so a mixture's components share a grid only where its cells are no wider than the deviation of
    the narrowest of them; one far away, or much narrower, has a grid of its own.

    Two things make the sum differ from the integral, and ``error`` is the sum of what they show.
    Cells too wide for the posterior: the change with cells twice as wide, usually far above the
    error itself. Mass outside of the window: the share that a window twice as wide finds there, in
    those wider cells; it is counted in ``log_evidence`` too. Beyond that, at 12 deviations, a
    normal prior holds less than 4e-33 of its mass in each direction, and nobody looks.

    A datum whose error is above 0.01 nats, because its posterior is as narrow as a cell or lies
    outside, has a grid of its own, in a box around where its joint is within 25 nats of the
    highest; it is shrunk until it fits. Where no such box encloses it, the first sum and error
    stay.

    Args:
        model: a trained `vaelib.vae.VAE` with 1 or 2 latent dimensions.
        x: data, shape ``[n, pixel]``.
        c: labels, ``int64 [n]``, or one for all, of a model with a condition.
        points: cells along each axis, at least 4; if None, 200 in two dimensions and 4,000 in one.
        extent: half the width of the window, in standard deviations of the prior, and of each
            component of a mixture.
        batch_size: data at a time; with them go 200 cells, so that memory stays bounded.

    Returns:
        `GridEvidence`. Where its error is too large, give more points.

    Raises:
        TypeError: if the prior is neither normal nor a mixture, or another for each label.
        ValueError: if x is not data for this model, or it has more latent dimensions.
        FloatingPointError: if a log p(x) is not finite.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(784, 1), MLPDecoder(1, 784))
    >>> bool((grid_log_evidence(model, torch.zeros(5, 784)).error < 1e-3).all())
    True
    """
    model.require_data(x)
    if model.latent > 2:
        raise BadValue(
            f"grid_log_evidence: expected a model with 1 or 2 latent dimensions, got "
            f"{model.latent}; use log_evidence, and trust to check its proposal"
        )
    if points is None:
        points = 200 if model.latent == 2 else 4000
    require_sizes("grid_log_evidence", points=points, batch_size=batch_size)
    if points < 4 or not 0 < extent < math.inf:
        raise BadValue(
            f"grid_log_evidence: expected points ≥ 4 and a finite extent > 0, got {points} and "
            f"{extent}"
        )
    c = one_hot(model, c, x, len(x))
    with evaluation_mode(model):
        windows = _windows(_prior(model, c), points, extent)
        parts = [
            _on_grids(model, batch, given, windows, points, extent)
            for batch, given in batches(x, c, batch_size)
        ]
    found = GridEvidence(*(torch.cat(field) for field in zip(*parts, strict=True)))
    require_finite("grid_log_evidence", **found._asdict())
    return found


def _windows(prior: Distribution | None, points: int, extent: float) -> list[_Window]:
    """Where to sum: parts of the prior whose sum it is, each with a window around it."""
    if isinstance(prior, MultivariateNormal):
        return [_Window(prior.log_prob, prior.loc, prior.scale_tril)]
    if isinstance(prior, DiagonalNormal):
        return [_Window(prior.log_prob, prior.loc, prior.stddev.diag())]
    if not isinstance(prior, MixtureSameFamily):
        raise BadType(
            f"grid_log_evidence: expected a prior that is normal or a mixture of normals, to know "
            f"where its mass is, got "
            f"{'one for each label' if prior is None else f'a {type(prior).__name__}'}; "
            f"use log_evidence"
        )
    mixture, log_weights = prior.component_distribution, prior.mixture_distribution.logits
    loc, scale = mixture.mean, mixture.stddev
    low, high = loc - extent * scale, loc + extent * scale
    groups: list[Tensor] = []
    # Those of like width together, so that the narrow ones do not cut the wide ones' window up.
    for component in scale.log().sum(-1).argsort().split(1):
        for i, group in enumerate(groups):
            both = torch.cat([group, component])
            cell = (high[both].amax(0) - low[both].amin(0)) / points
            if (cell <= scale[both].amin(0)).all():
                groups[i] = both
                break
        else:
            groups.append(component)

    def part(group: Tensor) -> _Window:
        def log_density(z: Tensor) -> Tensor:
            return (mixture.log_prob(z[:, None]) + log_weights)[:, group].logsumexp(-1)

        first, last = low[group].amin(0), high[group].amax(0)
        return _Window(log_density, (first + last) / 2, ((last - first) / (2 * extent)).diag())

    return [part(group) for group in groups]


def _on_grids(
    model: DeepLatentModel,
    x: Tensor,
    given: tuple[Tensor, ...],
    windows: list[_Window],
    points: int,
    extent: float,
) -> GridEvidence:
    """The sum over all windows, with what cells twice as wide and the space around them change."""
    inside = grid(model.latent, points=points, extent=extent)
    # Cells of about twice the width, of which the inner half of an axis covers the same window.
    wider = grid(model.latent, points=4 * (points // 4), extent=2 * extent)
    within = wider.z.abs().amax(-1) < extent
    joint = partial(_log_joint, model, x, given)
    fine, coarse, outside = (
        torch.logsumexp(torch.stack([_sum(joint, window, u, log_cell) for window in windows]), 0)
        for u, log_cell in (
            inside,
            (wider.z[within], wider.log_cell),
            (wider.z[~within], wider.log_cell),
        )
    )
    found = torch.logaddexp(fine, outside)
    error = (fine - coarse).abs() + (found - fine)
    for i in (error > _CLOSE).nonzero()[:, 0].tolist():
        one = partial(_log_joint, model, x[i : i + 1], tuple(c[i : i + 1] for c in given))
        boxes = [_in_a_box(one, x, w, max(points // 2, 4), extent) for w in windows]
        if all(box is not None for box in boxes):
            both = torch.stack([box for box in boxes if box is not None]).logsumexp(0)
            found[i], error[i] = both[0], (both[0] - both[1]).abs()
    return GridEvidence(found, error)


def _sum(joint: _Joint, window: _Window, u: Tensor, log_cell: float) -> Tensor:
    """log of the integral of p(z) p(x | z) over the cells at centre + root u."""
    rows = [torch.logsumexp(joint(window, some), -1) for some in u.split(_CELLS)]
    return torch.logsumexp(torch.stack(rows), 0) + log_cell + window.root.logdet()


def _log_joint(
    model: DeepLatentModel, x: Tensor, given: tuple[Tensor, ...], window: _Window, u: Tensor
) -> Tensor:
    z = window.centre.to(x) + u.to(x) @ window.root.mT.to(x)
    return model.log_likelihood_pairs(x, z, *given) + window.log_density(z)


def _in_a_box(
    joint: _Joint, x: Tensor, window: _Window, points: int, extent: float
) -> Tensor | None:
    """The sum for one datum over a box around its posterior, and with half the cells per axis."""
    latent = len(window.centre)
    unit = grid(latent, points=points, extent=1.0)
    half_width = x.new_full((latent,), 2 * extent)
    middle = torch.zeros_like(half_width)
    for _ in range(20):
        u = middle + unit.z.to(x) * half_width
        log_joint = torch.cat([joint(window, some)[0] for some in u.split(_CELLS)])
        border = unit.z.abs().amax(-1) > 1 - 1.5 / points
        top = log_joint.max()
        enclosed = bool(log_joint[border].max() < top - _NEAR / 2)
        cell = 2 * half_width / points
        near = u[log_joint > top - _NEAR]
        low, high = near.amin(0) - 1.5 * cell, near.amax(0) + 1.5 * cell
        if ((high - low) > half_width).all():  # more than half of each axis is in use
            break
        middle, half_width = (low + high) / 2, (high - low) / 2
    if not enclosed:
        return None
    half = grid(latent, points=points // 2, extent=1.0)
    return torch.cat(
        [
            _sum(joint, window, middle + cells.z.to(x) * half_width, cells.log_cell)
            + half_width.log().sum()
            for cells in (unit, half)
        ]
    )
