"""Checks of the exercises of :doc:`/book/kl`."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from .exercise import Draw, exercise

__all__ = ["forward_fit", "kl_between", "kl_to_prior", "kl_with_error", "reverse_objective"]


def _kl_to_prior_by_torch(loc: Tensor, logvar: Tensor) -> Tensor:
    prior = Normal(torch.zeros_like(loc), torch.ones_like(loc))
    return kl_divergence(Normal(loc, logvar.exp().sqrt()), prior).sum(-1)


def _kl_of_scale(loc: Tensor, scale: Tensor) -> Tensor:
    return (0.5 * (loc**2 + scale**2 - 1) - scale.log()).sum(-1)


@exercise(
    truth=_kl_to_prior_by_torch,
    mistakes={
        "the ½ in front is missing": lambda m, v: (m**2 + v.exp() - v - 1).sum(-1),
        "logvar is log σ², not log σ: this is the KL for σ = exp(logvar)": lambda m, v: (
            0.5 * (m**2 + (2 * v).exp() - 2 * v - 1).sum(-1)
        ),
        "logvar is taken for σ²: exp(logvar) is σ²": lambda m, v: (
            0.5 * (m**2 + v - v.abs().log() - 1).sum(-1)
        ),
        "logvar must be subtracted: a small σ² makes the KL large": lambda m, v: (
            0.5 * (m**2 + v.exp() + v - 1).sum(-1)
        ),
        "the −1 is missing: at the prior itself the KL must be 0": lambda m, v: (
            0.5 * (m**2 + v.exp() - v).sum(-1)
        ),
        "the −1 belongs to each latent dimension, not once to the sum": lambda m, v: (
            0.5 * ((m**2 + v.exp() - v).sum(-1) - 1)
        ),
        "loc must be squared": lambda m, v: 0.5 * (m + v.exp() - v - 1).sum(-1),
        "loc² is missing": lambda m, v: 0.5 * (v.exp() - v - 1).sum(-1) + 0 * m.sum(-1),
        "this is KL(prior ‖ q): the expectation is taken on the wrong side": lambda m, v: (
            0.5 * ((1 + m**2) * (-v).exp() + v - 1).sum(-1)
        ),
        "σ stands where σ² belongs: exp(logvar) is already the variance": lambda m, v: (
            0.5 * (m**2 + (0.5 * v).exp() - v - 1).sum(-1)
        ),
        "the variance is cut at 1e-6: a q that is narrower has a larger KL": lambda m, v: (
            0.5 * (m**2 + v.exp() - v.exp().clamp(min=1e-6).log() - 1).sum(-1)
        ),
        **{
            f"{eps:g} is added to the scale, which changes the KL of a q that is nearly a point": (
                lambda m, v, eps=eps: _kl_of_scale(m, (0.5 * v).exp() + eps)
            )
            for eps in (1e-4, 1e-5, 1e-6)
        },
    },
    axes={"loc": ("latent dimensions",)},
)
def kl_to_prior(draw: Draw) -> Iterator[dict[str, Any]]:
    """KL(q ‖ p) of a diagonal Gaussian q to the standard normal p."""
    for shape in ((4, 3), (1, 5), (2, 6, 4), (9,)):
        yield {"loc": draw.normal(*shape), "logvar": draw.normal(*shape)}
    # A posterior far from the prior, and some that are nearly points.
    yield {
        "loc": draw.normal(3, 8) * torch.tensor([[30.0], [1.0], [1.0]]).double(),
        "logvar": draw.uniform(3, 8, low=-30, high=4),
    }


def _kl_between_by_torch(
    q_loc: Tensor, q_logvar: Tensor, p_loc: Tensor, p_logvar: Tensor
) -> Tensor:
    q, p = Normal(q_loc, (0.5 * q_logvar).exp()), Normal(p_loc, (0.5 * p_logvar).exp())
    return kl_divergence(q, p).sum(-1)


@exercise(
    truth=_kl_between_by_torch,
    mistakes={
        "this is KL(p ‖ q): the two sides are swapped": lambda a, v, b, w: _kl_between_by_torch(
            b, w, a, v
        ),
        "the ½ in front is missing": lambda a, v, b, w: 2 * _kl_between_by_torch(a, v, b, w),
        "(q_loc − p_loc)² must be divided by p's variance": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 + (v - w).exp() - 1 - v + w).sum(-1)
        ),
        "(q_loc − p_loc)² is divided by q's variance; it must be p's": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 / v.exp() + (v - w).exp() - 1 - v + w).sum(-1)
        ),
        "(q_loc − p_loc)² is divided by p's standard deviation; it must be p's variance": (
            lambda a, v, b, w: (
                0.5 * ((a - b) ** 2 / (0.5 * w).exp() + (v - w).exp() - 1 - v + w).sum(-1)
            )
        ),
        "the log-variances stand with the wrong sign: + p_logvar − q_logvar": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 / w.exp() + (v - w).exp() - 1 + v - w).sum(-1)
        ),
        "this is the KL to N(0, I): p's parameters are not used": lambda a, v, b, w: (
            0.5 * (a**2 + v.exp() - v - 1).sum(-1) + 0 * (b + w).sum(-1)
        ),
        "logvar is log σ², not log σ": lambda a, v, b, w: _kl_between_by_torch(a, 2 * v, b, 2 * w),
        "the −1 is missing: for q = p the KL must be 0": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 / w.exp() + (v - w).exp() - v + w).sum(-1)
        ),
        "the −1 belongs to each latent dimension, not once to the sum": lambda a, v, b, w: (
            0.5 * (((a - b) ** 2 / w.exp() + (v - w).exp() - v + w).sum(-1) - 1)
        ),
        "the −1 of each latent dimension stands outside the ½": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 / w.exp() + (v - w).exp() - v + w) - 1
        ).sum(-1),
        "σ's ratio must be squared: exp(q_logvar − p_logvar), without a ½": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 / w.exp() + (0.5 * (v - w)).exp() - 1 - v + w).sum(-1)
        ),
        "(q_loc − p_loc)² is missing": lambda a, v, b, w: (
            0.5 * ((v - w).exp() - 1 - v + w).sum(-1) + 0 * (a + b).sum(-1)
        ),
        "the log-variances are missing: + p_logvar − q_logvar": lambda a, v, b, w: (
            0.5 * ((a - b) ** 2 / w.exp() + (v - w).exp() - 1).sum(-1)
        ),
        "the log of a ratio of σ is ½ (p_logvar − q_logvar), and the ½ stands in front already": (
            lambda a, v, b, w: (
                0.5 * ((a - b) ** 2 / w.exp() + (v - w).exp() - 1 + 0.5 * (w - v)).sum(-1)
            )
        ),
        "the variances are cut at 1e-6: a q that is narrower has a larger KL": lambda a, v, b, w: (
            _kl_between_by_torch(a, v.clamp(min=math.log(1e-6)), b, w.clamp(min=math.log(1e-6)))
        ),
    },
    axes={"q_loc": ("latent dimensions",)},
)
def kl_between(draw: Draw) -> Iterator[dict[str, Any]]:
    """KL(q ‖ p) of two diagonal Gaussians."""
    for shape in ((4, 3), (1, 5), (2, 6, 4)):
        yield {
            "q_loc": draw.normal(*shape),
            "q_logvar": draw.normal(*shape),
            "p_loc": draw.normal(*shape),
            "p_logvar": draw.normal(*shape),
        }
    yield {
        "q_loc": draw.normal(2, 8, scale=20.0),
        "q_logvar": draw.uniform(2, 8, low=-18, high=2),
        "p_loc": draw.normal(2, 8, scale=20.0),
        "p_logvar": draw.uniform(2, 8, low=-4, high=6),
    }


def _mean_and_error(log_q: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    n = len(log_q)
    difference = [log_q[i] - log_p[i] for i in range(n)]
    mean = torch.stack(difference).sum(0) / n
    squares = torch.stack([(d - mean) ** 2 for d in difference]).sum(0)
    return mean, (squares / (n - 1) / n).sqrt()


def _with(mean: Any, error: Any) -> Any:
    """A mistake from its estimate and its error, each a function of the log-ratios."""
    return lambda log_q, log_p: (mean(log_q - log_p), error(log_q - log_p))


@exercise(
    truth=_mean_and_error,
    mistakes={
        "the estimate has the wrong sign: KL(q ‖ p) is the mean of log q − log p": _with(
            lambda r: -r.mean(0), lambda r: r.std(0) / len(r) ** 0.5
        ),
        "this is the standard deviation of one draw; the error of the mean is √n times smaller": (
            _with(lambda r: r.mean(0), lambda r: r.std(0))
        ),
        "the standard deviation is divided by n; it must be divided by √n": _with(
            lambda r: r.mean(0), lambda r: r.std(0) / len(r)
        ),
        "this is the variance of the mean; its standard error is the square root": _with(
            lambda r: r.mean(0), lambda r: r.var(0) / len(r)
        ),
        "the variance of n draws around their own mean is divided by n − 1, not by n": _with(
            lambda r: r.mean(0), lambda r: r.std(0, correction=0) / len(r) ** 0.5
        ),
        "this is k3, whose variance may be infinite; asked is k1, the mean of log q − log p": _with(
            lambda r: ((-r).exp() - 1 + r).mean(0),
            lambda r: ((-r).exp() - 1 + r).std(0) / len(r) ** 0.5,
        ),
        "the mean is over the data; it must be over the draws, axis 0": lambda log_q, log_p: (
            _mean_and_error(log_q.mT, log_p.mT)
        ),
        "the log-ratios are summed; the KL is their mean": _with(
            lambda r: r.sum(0), lambda r: r.std(0) * len(r) ** 0.5
        ),
        "absolute values are taken; single log-ratios may be negative": _with(
            lambda r: r.abs().mean(0), lambda r: r.abs().std(0) / len(r) ** 0.5
        ),
        "the estimate is cut off at 0: a KL is not negative, but an estimate of a small one may "
        "be, and without those the others' mean is too large": _with(
            lambda r: r.mean(0).clamp(min=0), lambda r: r.std(0) / len(r) ** 0.5
        ),
        "single log-ratios are cut off at 0: they may be negative, only their mean under q is "
        "not": _with(
            lambda r: r.clamp(min=0).mean(0), lambda r: r.clamp(min=0).std(0) / len(r) ** 0.5
        ),
        "the sign is turned round where the estimate is negative: it may be": _with(
            lambda r: r.mean(0).abs(), lambda r: r.std(0) / len(r) ** 0.5
        ),
        "this is a variance divided by √n; take the standard deviation (.std(0), not .var(0))": (
            _with(lambda r: r.mean(0), lambda r: r.var(0) / len(r) ** 0.5)
        ),
        "this is the variance of one draw: its root, divided by √n, is the standard error": _with(
            lambda r: r.mean(0), lambda r: r.var(0)
        ),
        "the standard deviation is divided by √(n − 1) although n − 1 is in it already: by √n": (
            _with(lambda r: r.mean(0), lambda r: r.std(0) / (len(r) - 1) ** 0.5)
        ),
        "the deviations are taken from 0; a variance takes them from the mean": _with(
            lambda r: r.mean(0), lambda r: r.square().mean(0).sqrt() / len(r) ** 0.5
        ),
        "the variances of log q and log p are added, as if the two were independent: they belong "
        "to the same draws, so take that of their difference": lambda log_q, log_p: (
            (log_q - log_p).mean(0),
            ((log_q.var(0) + log_p.var(0)) / len(log_q)).sqrt(),
        ),
        "n is the number of draws, the size of axis 0, not of data": _with(
            lambda r: r.mean(0), lambda r: r.std(0) / r.shape[-1] ** 0.5
        ),
    },
    gradients=(),
    axes={"log_q": ("data", "draws")},
)
def kl_with_error(draw: Draw) -> Iterator[dict[str, Any]]:
    """A Monte Carlo estimate of KL(q ‖ p) with its standard error."""
    for draws, data in ((50, 3), (7, 1), (2, 5)):
        yield {"log_q": draw.normal(draws, data) - 1.0, "log_p": draw.normal(draws, data) - 2.0}
    # A small KL: of the estimates, every second one is negative.
    ratio = draw.normal(9, 6)
    ratio = ratio - ratio.mean(0) + torch.tensor([0.1, -0.1]).double().repeat(3)
    log_p = draw.normal(9, 6) - 2.0
    yield {"log_q": (log_p + ratio).float().double(), "log_p": log_p}
    # Densities that have underflowed long ago: only their logarithms are left.
    yield {
        "log_q": draw.normal(20, 6, scale=5.0) - 900.0,
        "log_p": draw.normal(20, 6, scale=5.0) - 1200.0,
    }


def _moments(log_p: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
    weight = torch.softmax(log_p, 0)
    loc = (weight * grid).sum()
    return loc, (weight * (grid - loc) ** 2).sum().sqrt()


def _moments_of(weight: Any, spread: Any) -> Any:
    def wrong(log_p: Tensor, grid: Tensor) -> tuple[Tensor, Tensor]:
        w = weight(log_p, grid)
        loc = (w * grid).sum()
        return loc, spread(w, grid, loc)

    return wrong


def _deviation(w: Tensor, grid: Tensor, loc: Tensor) -> Tensor:
    return (w * (grid - loc) ** 2).sum().sqrt()


@exercise(
    truth=_moments,
    mistakes={
        "the second value is the variance; asked is the scale, its square root": _moments_of(
            lambda log_p, grid: log_p.softmax(0), lambda w, grid, m: (w * (grid - m) ** 2).sum()
        ),
        "this is the highest point, the reverse fit's habit; the forward fit takes p's mean": (
            lambda log_p, grid: (
                grid[log_p.argmax()],
                _deviation(log_p.softmax(0), grid, grid[log_p.argmax()]),
            )
        ),
        "the weights are log p; exponentiate and normalize them first": _moments_of(
            lambda log_p, grid: log_p, _deviation
        ),
        "the weights do not add up to 1: divide by the sum of exp(log_p)": _moments_of(
            lambda log_p, grid: log_p.exp(), _deviation
        ),
        "the weights do not add up to 1: p times the step does so only if p is normalized": (
            _moments_of(lambda log_p, grid: log_p.exp() * (grid[1] - grid[0]), _deviation)
        ),
        "p is not used: this is the mean and deviation of the grid itself": _moments_of(
            lambda log_p, grid: torch.full_like(log_p, 1 / len(log_p)), _deviation
        ),
        "the mean of z² is the variance only if the mean is 0: subtract loc": _moments_of(
            lambda log_p, grid: log_p.softmax(0), lambda w, grid, m: (w * grid**2).sum().sqrt()
        ),
        "the mean absolute deviation is not the scale: average squares, then take the root": (
            _moments_of(
                lambda log_p, grid: log_p.softmax(0),
                lambda w, grid, m: (w * (grid - m).abs()).sum(),
            )
        ),
    },
    gradients=(),
    loosened=10.0,  # E[z²] − E[z]² loses digits on this grid, and is right
)
def forward_fit(draw: Draw) -> Iterator[dict[str, Any]]:
    """The Gaussian that minimizes KL(p ‖ q), for an unnormalized log p on an even grid."""
    for points in (301, 512):
        grid = torch.linspace(-10.0, 11.0, points, dtype=torch.float64)
        # Nothing of p is at the ends, where a trapezoid counts half: at least 6.6 deviations away.
        centres, widths = draw.uniform(2, low=-4, high=4), draw.uniform(2, low=0.3, high=0.9)
        bumps = -0.5 * ((grid[:, None] - centres) / widths) ** 2 + draw.normal(2)
        # An unknown constant in front, up to one that underflows.
        for shift in (float(draw.uniform(low=-3, high=3)), -2000.0):
            log_p = torch.logsumexp(bumps, 1) + shift
            yield {"log_p": log_p.float().double(), "grid": grid.float().double()}


def _reverse(loc: Tensor, logvar: Tensor, log_p: Tensor, grid: Tensor) -> Tensor:
    q = Normal(loc, (logvar / 2).exp())
    inner = torch.exp(q.log_prob(grid)) * (q.log_prob(grid) - log_p)
    return inner.mean() * len(grid) * (grid[1] - grid[0])


def _log_normal(loc: Tensor, logvar: Tensor, grid: Tensor) -> Tensor:
    return -0.5 * ((grid - loc) ** 2 / logvar.exp() + logvar + math.log(2 * math.pi))


@exercise(
    truth=_reverse,
    mistakes={
        "this is KL(p ‖ q), the forward direction: here q carries the weight": lambda m, v, p, z: (
            (z[1] - z[0]) * (p.exp() * (p - _log_normal(m, v, z))).sum()
        ),
        "the sign is turned round: minimize E_q[log q − log p]": lambda m, v, p, z: (
            (z[1] - z[0]) * (_log_normal(m, v, z).exp() * (p - _log_normal(m, v, z))).sum()
        ),
        "the grid's step is missing: a sum over a grid becomes an integral only times the step": (
            lambda m, v, p, z: (_log_normal(m, v, z).exp() * (_log_normal(m, v, z) - p)).sum()
        ),
        "log q is missing: this is the cross-entropy, whose best q is a point": lambda m, v, p, z: (
            (z[1] - z[0]) * (_log_normal(m, v, z).exp() * -p).sum()
        ),
        "½ log 2π is missing from log q: q then does not integrate to 1": lambda m, v, p, z: (
            (z[1] - z[0])
            * (
                (_log_normal(m, v, z) + 0.5 * math.log(2 * math.pi)).exp()
                * (_log_normal(m, v, z) + 0.5 * math.log(2 * math.pi) - p)
            ).sum()
        ),
        "q's weight is missing: this is a plain sum of log q − log p": lambda m, v, p, z: (
            (z[1] - z[0]) * (_log_normal(m, v, z) - p).sum()
        ),
        "logvar is log σ², not log σ": lambda m, v, p, z: _reverse(m, 2 * v, p, z),
        "logvar is taken for σ: the scale is exp(½ logvar)": lambda m, v, p, z: (
            (z[1] - z[0])
            * (
                _log_normal(m, v.abs().log() * 2, z).exp()
                * (_log_normal(m, v.abs().log() * 2, z) - p)
            ).sum()
        ),
        "the expectation is a mean over the grid's points: q must weigh them": lambda m, v, p, z: (
            _log_normal(m, v, z) - p
        ).mean(),
        "log_p is normalized over the grid; it is normalized already, and a part of p may lie "
        "beyond the grid": lambda m, v, p, z: _reverse(
            m, v, p - p.logsumexp(0) - (z[1] - z[0]).log(), z
        ),
        "log p is cut where p underflows: subtract log_p itself, which is far from −∞": (
            lambda m, v, p, z: _reverse(m, v, (p.exp() + 1e-30).log(), z)
        ),
        **{
            f"an ε of {eps:g} inside the logarithm hides a density that is smaller: "
            "Normal.log_prob is log q itself": lambda m, v, p, z, eps=eps: (
                (z[1] - z[0])
                * (
                    _log_normal(m, v, z).exp() * ((_log_normal(m, v, z).exp() + eps).log() - p)
                ).sum()
            )
            for eps in (1e-8, 1e-10, 1e-12)
        },
    },
    gradients=("loc", "logvar"),
)
def reverse_objective(draw: Draw) -> Iterator[dict[str, Any]]:
    """KL(q ‖ p) of a Gaussian q to a density p on an even grid."""
    for per_unit in (8, 16):  # a step that float32 holds exactly
        grid = torch.arange(-11 * per_unit, 11 * per_unit + 1, dtype=torch.float64) / per_unit
        shares = torch.log_softmax(draw.normal(2), 0)
        # So far out that p underflows and log p does not: a q there still has a finite KL. It ends
        # 7.7 deviations before the grid does, or answers that agree on the line would not there.
        for (left, right), widest, (low, high) in (
            ((-7.0, -5.0), 0.6, (4.0, 5.0)),
            ((-3.0, 3.0), 1.2, (-2.0, 2.0)),
        ):
            centres = draw.uniform(2, low=left, high=right)
            widths = draw.uniform(2, low=0.4, high=widest)
            bumps = Normal(centres, widths).log_prob(grid[:, None]) + shares
            yield {
                "loc": draw.uniform(low=low, high=high),
                "logvar": draw.uniform(low=-1.5, high=-0.5),
                "log_p": torch.logsumexp(bumps, 1).float().double(),
                "grid": grid,
            }
    # A third bump beyond the grid; and all in another unit of z, in which densities are of 1e-13.
    unit = 2.0**40
    beyond = Normal(draw.uniform(low=14, high=16), 1.0).log_prob(grid)
    share = draw.uniform(low=0.3, high=0.6)
    log_p = torch.logaddexp(torch.logsumexp(bumps, 1) + (1 - share).log(), beyond + share.log())
    yield {
        "loc": (unit * draw.uniform(low=-2.0, high=2.0)).float().double(),
        "logvar": (draw.uniform(low=-1.5, high=-0.5) + 2 * math.log(unit)).float().double(),
        "log_p": (log_p - math.log(unit)).float().double(),
        "grid": unit * grid,
    }
