"""A likelihood for data of your own: is it a density of what was measured, and does it fit?

All numbers are in the units of the data as they were measured. What a model sees may be another
scale of them; the density then has the change of scale as a factor, and its integral says whether
that is right.
"""

import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal, Transform, identity_transform

from vaelib import evaluate
from vaelib.course.projects.report import ALPHA, Report, follows
from vaelib.likelihood import Likelihood
from vaelib.nets import evaluation_mode
from vaelib.vae import VAE, check_model

__all__ = ["gaussian", "independent_pixels", "likelihood"]

TOTAL = 0.001  # by which a sum or an integral may miss 1
SAMPLES = 5000  # of each pixel that is looked at
NODES = 16  # of a panel's Gauss-Legendre sum
KERNELS = 1000  # training data in a kernel estimate
LEAK = 0.01  # of test data that are training data too


def likelihood(
    model: VAE,
    train: Float[Tensor, "n pixel"],
    test: Float[Tensor, "m pixel"],
    *,
    values: Float[Tensor, " value"] | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    transform: Transform = identity_transform,
    samples: int = 50,
    generator: torch.Generator | None = None,
) -> Report:
    r"""Check a likelihood on data of your own, by a model that was trained with it.

    $$p(v) = p(x)\, \Big|\frac{dx}{dv}\Big|, \qquad x = T(v),$$

    where v is what was measured. A probability, of ``values``, has no such factor.

    Args:
        model: trained on T(train); its likelihood has the same family for each pixel.
        train: what was measured, for the baselines.
        test: held out.
        values: all values that a pixel may have, equally spaced, if they are discrete; of counts
            as many as matter.
        low: end of the range of a pixel, if its values are not discrete.
        high: the other end.
        transform: T, pixel by pixel, with its ``log_abs_det_jacobian`` and its inverse.
        samples: K of the bound $L_K$ by which the model is scored.
        generator: source of the randomness; if None, one with the seed 0.

    Returns:
        `Report`: the worst total over a pixel's range, the p-value of samples, and nats and bits
        per dimension of test data, beside two baselines: independent pixels (frequencies, or kernel
        estimates) and one normal with a full covariance. Asked is more than the better of them, by
        three standard errors.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> model = VAE(MLPEncoder(4, 2, hidden=(8,)), MLPDecoder(2, 4, hidden=(8,)))
    >>> x = torch.bernoulli(torch.full((900, 4), 0.5))
    >>> report = likelihood(model, x[:800], x[800:], values=torch.tensor([0.0, 1.0]))
    >>> report.faults[0]  # of four coins there are 16 cases only
    '100% of the test data are training data too: hold out others'
    """
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    faults = []
    shared = _shared(train, test)
    if shared > LEAK:
        faults.append(f"{shared:.0%} of the test data are training data too: hold out others")
    x = cast(Tensor, transform(test))
    try:
        check_model(model, x[:8], generator=generator)
    except ValueError as misfit:
        faults.append(str(misfit))
    total, p_value, apart = _pixels(model, train, x, values, (low, high), transform, generator)
    if not apart:
        faults.append(
            "log p(x | z) is not the sum of what single pixels say, each with its own part of the "
            "decoder's output, so that no pixel can be summed over alone"
        )
    elif not abs(total - 1) <= TOTAL:
        faults.append(
            f"a pixel's density is {total:.4f} in all, over its whole range in the units of the "
            f"data: look for a constant, for values outside `values` or `low` and `high`, and at "
            f"the transform's log_abs_det_jacobian"
        )
    elif not p_value >= ALPHA:
        faults.append(
            f"samples do not follow the density (p = {p_value:.1g}): `Likelihood.sample` and "
            f"`forward` must be of one distribution, and the transform's inverse its inverse"
        )
    scores = _score(model, x, samples, generator)
    if values is None:
        scores = scores + _log_jacobian(transform, test).sum(-1)
    baselines = {
        "independent pixels, nats": independent_pixels(train, test, values),
        "full normal, nats": gaussian(train, test, values),
    }
    means = {name: float(t.mean()) for name, t in baselines.items()}
    best = baselines[max(means, key=lambda name: means[name])]
    gain = scores - best
    error = float(gain.std() / len(gain) ** 0.5)
    numbers = {
        "total of a pixel, worst": total,
        "p-value of samples": p_value,
        f"log p(v) ≥ L_{samples}, nats": float(scores.mean()),
        **means,
        "gain on the better, nats": float(gain.mean()),
        "its standard error": error,
        "bits per dimension": float(-scores.mean() / (test.shape[1] * math.log(2))),
    }
    beaten = bool(gain.mean() > 3 * error) if not faults else None
    asked = "more nats than either baseline, by three standard errors"
    return Report("likelihood", numbers, tuple(faults), beaten, asked)


def _shared(train: Tensor, test: Tensor) -> float:
    """The share of test data that are training data too, rows without any contrast aside."""
    known = {row.tobytes() for row in train.float().numpy()}
    seen = [row.tobytes() in known for row in test.float().numpy() if row.min() < row.max()]
    return float(np.mean(seen)) if seen else 0.0


def _log_jacobian(transform: Transform, v: Tensor) -> Tensor:
    return cast(Tensor, transform.log_abs_det_jacobian(v, transform(v))).expand(v.shape)


@torch.no_grad()
def _score(model: VAE, x: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    return evaluate.log_evidence(model, x, samples=samples, generator=generator).log_evidence


@torch.no_grad()
def _pixels(
    model: VAE,
    train: Tensor,
    x: Tensor,
    values: Tensor | None,
    ends: tuple[float, float],
    transform: Transform,
    generator: torch.Generator,
) -> tuple[float, float, bool]:
    """The worst total of some pixels, the p-value of their samples, and if they stand alone."""
    family = model.likelihood
    with evaluation_mode(model):
        _, z = model.sample(5, generator=generator)
        raw = model.decoder(z)
    pixels = train.shape[1]
    each = raw.view(len(raw), pixels, family.per_pixel)
    some = x[: len(raw)]
    alone = family(each).log_prob(some[..., None])
    apart = alone.shape == some.shape and torch.allclose(
        alone.sum(-1), family(raw).log_prob(some), rtol=1e-4, atol=1e-3
    )
    if not apart:
        return math.nan, math.nan, False
    # From the pixel that varies most to the median one.
    order = train.var(0).argsort(descending=True)
    chosen = order[[0, pixels // 8, pixels // 4, pixels // 2]]
    totals, counts, shares = [], [], []
    for one in each[:, chosen].flatten(0, 1):
        drawn = [
            transform.inv(family.sample(one.expand(SAMPLES, -1), generator))[:, 0].double()
            for _ in range(2)
        ]
        edges = _panels(drawn[0], *ends) if values is None else None
        share = _shares(family, one, values, edges, transform)
        totals.append(float(share.sum()))
        borders = edges if edges is not None else _borders(cast(Tensor, values))
        place = torch.bucketize(drawn[1], borders)  # 0 and the last lie outside
        counts.append(place.bincount(minlength=len(borders) + 1)[1:].float())
        shares.append(torch.cat([share, share.new_zeros(1)]))
    worst = max(totals, key=lambda t: abs(t - 1) if math.isfinite(t) else math.inf)
    p_value = min(
        follows(n[None], s[None]) * len(counts) for n, s in zip(counts, shares, strict=True)
    )
    return worst, min(1.0, p_value), True


def _borders(values: Tensor) -> Tensor:
    """The borders between equally spaced values, and one on each side."""
    step = values[1] - values[0]
    return torch.cat([values[:1] - step / 2, values + step / 2]).double()


def _panels(drawn: Tensor, low: float, high: float) -> Tensor:
    """Borders of panels: quantiles of samples, and beyond them panels of growing width."""
    inner = drawn.quantile(torch.linspace(0, 1, 65, dtype=torch.float64)).unique()
    span = float(inner[-1] - inner[0]) / 64
    growth = span * 1.5 ** torch.arange(60, dtype=torch.float64)
    borders = torch.cat([inner[0] - growth.cumsum(0).flip(0), inner, inner[-1] + growth.cumsum(0)])
    return borders.clamp(low, high).unique()


def _shares(
    family: Likelihood,
    raw: Tensor,
    values: Tensor | None,
    edges: Tensor | None,
    transform: Transform,
) -> Tensor:
    """The probability of each value, or of each panel, of one pixel in the units of the data."""
    raw = raw.double()
    if edges is None:
        v = cast(Tensor, values).double()
        return family(raw.expand(len(v), -1)).log_prob(transform(v)[:, None].to(raw)).exp()
    at, weights = (torch.from_numpy(t) for t in np.polynomial.legendre.leggauss(NODES))
    half = (edges[1:] - edges[:-1]) / 2
    v = ((edges[1:] + edges[:-1]) / 2)[:, None] + half[:, None] * at
    log_p = family(raw.expand(v.numel(), -1)).log_prob(transform(v).view(-1, 1)).view(v.shape)
    density = (log_p + _log_jacobian(transform, v)).exp()
    return (density * weights).sum(-1) * half


def independent_pixels(train: Tensor, test: Tensor, values: Tensor | None) -> Tensor:
    """log p(v) of each test datum if pixels know nothing of each other, in nats.

    Of discrete values their frequencies at each pixel, with those at all pixels as if they had been
    seen four times more; else a kernel estimate, with Silverman's width.
    """
    if values is not None:
        rank = torch.bucketize(train, _borders(values).to(train)[1:-1])
        counts = torch.stack([row.bincount(minlength=len(values)) for row in rank.unbind(1)])
        pooled = (counts.sum(0) + 1) / (counts.sum() + len(values))
        log_p = ((counts + 4 * pooled) / (len(train) + 4)).log()
        where = torch.bucketize(test, _borders(values).to(train)[1:-1])
        return log_p.gather(1, where.mT).sum(0)
    kept = train[:KERNELS]
    width = (1.06 * kept.std(0) * len(kept) ** -0.2).clamp(min=1e-3 * float(train.std()))
    constant = math.log(len(kept)) + 0.5 * math.log(2 * math.pi)
    rows = []
    for v in test:
        log_kernel = -0.5 * ((v - kept) / width).square() - width.log()
        rows.append((log_kernel.logsumexp(0) - constant).sum())
    return torch.stack(rows)


def gaussian(train: Tensor, test: Tensor, values: Tensor | None) -> Tensor:
    """log p(v) of each test datum under one normal with a full covariance, in nats.

    A part of the mean variance is added to its diagonal: which, a fifth of the training data
    chooses. Discrete values get uniform noise as wide as their distance, and what results is by
    Jensen's inequality a bound from below on the log-probability of the cell.
    """
    step = 0.0 if values is None else float(values[1] - values[0])
    generator = torch.Generator().manual_seed(0)

    def spread(v: Tensor) -> Tensor:
        return v.double() + step * (torch.rand(v.shape, generator=generator) - 0.5)

    train, test = spread(train), spread(test)
    cut = len(train) - len(train) // 5

    def normal(part: Tensor, share: float) -> MultivariateNormal:
        covariance = torch.atleast_2d(part.mT.cov())  # one pixel has a variance
        ridge = share * covariance.diagonal().mean() * torch.eye(len(covariance)).double()
        return MultivariateNormal(part.mean(0), covariance + ridge, validate_args=False)

    def held_out(share: float) -> float:
        return float(normal(train[:cut], share).log_prob(train[cut:]).mean())

    best = max((1e-3, 1e-2, 1e-1, 1.0), key=held_out)
    log_p = normal(train, best).log_prob(test)
    if values is not None:
        log_p = log_p + test.shape[1] * math.log(step)
    return log_p.float()
