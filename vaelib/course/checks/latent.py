"""Checks of the exercises of :doc:`/book/latent`."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from .exercise import Draw, exercise

__all__ = [
    "linear_posterior",
    "log_average_weight",
    "mixture_update",
    "posterior_table",
    "proposal_estimate",
]


def _seen(log_likelihood: Tensor, observed: Tensor) -> Tensor:
    """Log-likelihood of each observation under each cause, shape [causes, observations]."""
    return log_likelihood[:, observed]


def _table_by_enumeration(
    log_prior: Tensor, log_likelihood: Tensor, observed: Tensor
) -> tuple[Tensor, Tensor]:
    joint = []
    for cause, log_p in enumerate(log_prior.tolist()):
        joint.append(log_p + math.fsum(log_likelihood[cause, x].item() for x in observed.tolist()))
    top = max(joint)
    total = math.fsum(math.exp(value - top) for value in joint)
    posterior = [math.exp(value - top) / total for value in joint]
    return log_prior.new_tensor(posterior), log_prior.new_tensor(top + math.log(total))


def _from_joint(log_joint: Any) -> Any:
    """A mistake in the joint, with all else right."""

    def wrong(log_prior: Tensor, log_likelihood: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        joint = log_joint(log_prior, log_likelihood, observed)
        return joint.softmax(0), joint.logsumexp(0)

    return wrong


def _after_joint(posterior: Any, evidence: Any) -> Any:
    """A mistake in what is made of the joint."""

    def wrong(log_prior: Tensor, log_likelihood: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
        joint = log_prior + _seen(log_likelihood, observed).sum(1)
        return posterior(joint), evidence(joint)

    return wrong


def _softmax(joint: Tensor) -> Tensor:
    return joint.softmax(0)


def _total(joint: Tensor) -> Tensor:
    return joint.logsumexp(0)


@exercise(
    truth=_table_by_enumeration,
    mistakes={
        "the prior is missing: the joint is log_prior + the log-likelihoods": _from_joint(
            lambda p, t, x: _seen(t, x).sum(1)
        ),
        "the posterior is without its prior, which is only in the evidence: it is the joint, prior "
        "included, divided by the evidence": lambda p, t, x: (
            _seen(t, x).sum(1).softmax(0),
            (p + _seen(t, x).sum(1)).logsumexp(0),
        ),
        "the evidence is without the prior, which is only in the posterior: it is the sum of the "
        "joint, prior included": lambda p, t, x: (
            (p + _seen(t, x).sum(1)).softmax(0),
            _seen(t, x).sum(1).logsumexp(0),
        ),
        "the joint is divided by the sum of the likelihoods; its own sum is the evidence": (
            lambda p, t, x: (
                (p + _seen(t, x).sum(1) - _seen(t, x).sum(1).logsumexp(0)).exp(),
                (p + _seen(t, x).sum(1)).logsumexp(0),
            )
        ),
        "the prior enters once for each observation; there is one cause, so it enters once": (
            _from_joint(lambda p, t, x: (p[:, None] + _seen(t, x)).sum(1))
        ),
        "the log-likelihoods of the observations are averaged; they must be added": _from_joint(
            lambda p, t, x: p + _seen(t, x).mean(1)
        ),
        "only the first observation is used": _from_joint(lambda p, t, x: p + t[:, x[0]]),
        "only the last observation is used": _from_joint(lambda p, t, x: p + t[:, x[-1]]),
        "the likelihoods of the observations are added; multiply them (add their logs)": (
            _from_joint(lambda p, t, x: p + _seen(t, x).logsumexp(1))
        ),
        "each value is counted once, however often it was observed": _from_joint(
            lambda p, t, x: p + t[:, x.unique()].sum(1)
        ),
        "the evidence is the sum over all causes, not the largest joint": _after_joint(
            _softmax, lambda joint: joint.amax(0)
        ),
        "the joint is averaged over the causes; the evidence is its sum": _after_joint(
            _softmax, lambda joint: joint.logsumexp(0) - math.log(len(joint))
        ),
        "the sum of the log joint is not the log of the sum: exponentiate, add, take the log": (
            _after_joint(_softmax, lambda joint: joint.sum(0))
        ),
        "the first value is the log of the posterior; asked are the probabilities": _after_joint(
            lambda joint: joint.log_softmax(0), _total
        ),
        "the first value is the joint: divide by the evidence": _after_joint(
            lambda joint: joint.exp(), _total
        ),
        "the second value is the evidence itself; asked is its logarithm": _after_joint(
            _softmax, lambda joint: joint.logsumexp(0).exp()
        ),
        "the second value is the surprise −log p(x); asked is log p(x)": _after_joint(
            _softmax, lambda joint: -joint.logsumexp(0)
        ),
        "the posterior is a table of probabilities, not the best cause alone": _after_joint(
            lambda joint: (joint == joint.max()).to(joint), _total
        ),
        "the evidence adds up log p of each observation alone; they share one cause: sum over z "
        "after all likelihoods are multiplied": lambda p, t, x: (
            (p + _seen(t, x).sum(1)).softmax(0),
            (p[:, None] + _seen(t, x)).logsumexp(0).sum(),
        ),
    },
    # A table's rows add up to 1: a gradient that leaves them is not asked for.
    gradients=(),
    axes={"log_prior": ("causes",), "observed": ("observations",)},
)
def posterior_table(draw: Draw) -> Iterator[dict[str, Any]]:
    """Posterior and evidence of a hidden cause with a table for each side."""

    def tables(causes: int, values: int, observations: int, lift: float = 0.0) -> dict[str, Any]:
        logits = draw.normal(causes, values)
        logits[:, 0] += lift
        start = int(lift > 0)  # what is almost certain is not what was seen
        observed = torch.randint(start, values, (observations,), generator=draw.generator)
        return {
            "log_prior": draw.normal(causes).log_softmax(0),
            "log_likelihood": logits.log_softmax(1),
            "observed": observed,
        }

    for causes, values, observations in ((3, 5, 4), (4, 2, 6), (6, 3, 1)):
        yield tables(causes, values, observations)
    # Probabilities that no float holds.
    yield tables(5, 4, 1, lift=1100.0)
    unlikely = tables(4, 6, 3, lift=1200.0)
    # Two causes that are ruled out: by the prior, by an observation.
    unlikely["log_prior"][1] = -math.inf
    unlikely["log_likelihood"][2, unlikely["observed"][1]] = -math.inf
    yield unlikely


def _log_average_by_pairs(log_w: Tensor) -> Tensor:
    total = log_w[0]
    for one in log_w[1:]:
        total = torch.logaddexp(total, one)
    return total - math.log(len(log_w))


def _largest(log_w: Tensor) -> Tensor:
    return log_w.amax(0)


@exercise(
    truth=_log_average_by_pairs,
    mistakes={
        "this is E[log w], the mean of the logs; asked is log E[w], the log of the mean": (
            lambda w: w.mean(0)
        ),
        "log K is missing: the evidence is the mean of the weights, not their sum": (
            lambda w: w.logsumexp(0)
        ),
        "log K is added; it must be subtracted": lambda w: w.logsumexp(0) + math.log(len(w)),
        "divide by K inside the logarithm: subtract log K, do not divide the log by K": (
            lambda w: w.logsumexp(0) / len(w)
        ),
        "the average runs over the data; it must run over the samples, axis 0": (
            lambda w: w.logsumexp(-1) - math.log(w.shape[-1])
        ),
        "one average over samples and data; each datum has an evidence of its own": (
            lambda w: w.flatten().logsumexp(0) - math.log(w.numel())
        ),
        "the largest log-weight was taken out and not put back: add it after the log": (
            lambda w: w.logsumexp(0) - math.log(len(w)) - _largest(w)
        ),
        "this is the largest weight alone; the others count too": _largest,
        "K is the number of samples, the size of axis 0, not of the last axis": (
            lambda w: w.logsumexp(0) - math.log(w.shape[-1])
        ),
        "the log is missing: this is the mean weight itself": lambda w: w.exp().mean(0),
        "this is the logarithm of base 2; nats need the natural one": (
            lambda w: (w.logsumexp(0) - math.log(len(w))) / math.log(2)
        ),
        "the sum is divided by K − 1, which belongs to a variance; a mean divides by K": (
            lambda w: w.logsumexp(0) - math.log(len(w) - 1)
        ),
    },
    axes={"log_w": ("data", "samples")},
)
def log_average_weight(draw: Draw) -> Iterator[dict[str, Any]]:
    """The log of the mean of weights of which only the logs are at hand."""
    for shape in ((7, 3), (50, 1), (5, 2, 6), (9,)):
        yield {"log_w": draw.normal(*shape, scale=2.0) - 1.5}
    # Weights that no float holds, too small, too large, and both in one column.
    yield {"log_w": draw.normal(20, 6, scale=3.0) - 1500.0}
    yield {"log_w": draw.normal(11, 4, scale=3.0) + 900.0}
    mixed = draw.normal(8, 3, scale=600.0)
    mixed[2, 1] = -math.inf  # a sample that cannot have made the datum
    yield {"log_w": mixed}


def _conditioned(
    x: Tensor, weight: Tensor, bias: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor]:
    """From the covariance of (z, x): the conditional of a joint Gaussian."""
    pixels, latent = weight.shape
    seen = weight @ weight.mT + variance * torch.eye(pixels).to(x)
    gain = torch.linalg.solve(seen, weight).mT  # Wᵀ (W Wᵀ + σ² I)⁻¹
    return (x - bias) @ gain.mT, torch.eye(latent).to(x) - gain @ weight


def _linear(
    x: Tensor, weight: Tensor, bias: Tensor, noise: Tensor, added: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The textbook's form, with σ² where it multiplies and where it is added."""
    added = noise if added is None else added
    m = weight.mT @ weight + added * torch.eye(weight.shape[1]).to(x)
    return (x - bias) @ weight @ m.inverse(), noise * m.inverse()


def _other_covariance(change: Any) -> Any:
    def wrong(x: Tensor, weight: Tensor, bias: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        loc, covariance = _conditioned(x, weight, bias, variance)
        return loc, change(covariance, weight, variance)

    return wrong


def _other_loc(change: Any) -> Any:
    def wrong(x: Tensor, weight: Tensor, bias: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        loc, covariance = _conditioned(x, weight, bias, variance)
        return change(loc, variance), covariance

    return wrong


@exercise(
    truth=_conditioned,
    mistakes={
        "the bias is not subtracted from x": lambda x, w, b, v: _conditioned(x, w, 0 * b, v),
        "the bias is added; subtract it from x": lambda x, w, b, v: _conditioned(x, w, -b, v),
        "the variance is squared: it is σ² already, not σ": lambda x, w, b, v: _linear(
            x, w, b, v**2
        ),
        "the square root of the variance stands where σ² belongs": lambda x, w, b, v: _linear(
            x, w, b, v.sqrt()
        ),
        "the prior is missing: M is WᵀW + σ² I, with the identity": lambda x, w, b, v: _linear(
            x, w, b, v, 0 * v
        ),
        "M is WᵀW + σ² I: the identity must be multiplied by the variance": lambda x, w, b, v: (
            _linear(x, w, b, v, torch.ones_like(v))
        ),
        "σ² is added to every entry of WᵀW; it belongs on the diagonal only": lambda x, w, b, v: (
            (x - b) @ w @ (w.mT @ w + v).inverse(),
            v * (w.mT @ w + v).inverse(),
        ),
        "the second value is M⁻¹; the covariance is σ² M⁻¹": _other_covariance(
            lambda c, w, v: c / v
        ),
        "the second value is M; the covariance is σ² M⁻¹": _other_covariance(
            lambda c, w, v: v * c.inverse()
        ),
        "the second value is the precision; the covariance is its inverse": _other_covariance(
            lambda c, w, v: c.inverse()
        ),
        "the second value keeps the diagonal only; the latents of one x are correlated": (
            _other_covariance(lambda c, w, v: c.diagonal().diag())
        ),
        "the second value holds the variances only; asked is the matrix": _other_covariance(
            lambda c, w, v: c.diagonal()
        ),
        "the second value is the Cholesky factor; asked is the covariance": _other_covariance(
            lambda c, w, v: torch.linalg.cholesky(c)
        ),
        "the second value is the covariance of x, over pixels; asked is that of z given x": (
            _other_covariance(lambda c, w, v: w @ w.mT + v * torch.eye(len(w)).to(w))
        ),
        "W Wᵀ stands for Wᵀ W: the covariance of z has an entry for each pair of latents": (
            _other_covariance(
                lambda c, w, v: v * (w @ w.mT + v * torch.eye(len(w)).to(w)).inverse()
            )
        ),
        "the first value lacks 1/σ²: the covariance times Wᵀ(x − b)/σ², or M⁻¹ Wᵀ(x − b)": (
            _other_loc(lambda m, v: v * m)
        ),
        "the first value has 1/σ² too often: it is M⁻¹ Wᵀ(x − b)": _other_loc(lambda m, v: m / v),
        "M⁻¹ is missing from the first value: Wᵀ(x − b) alone is no mean": lambda x, w, b, v: (
            (x - b) @ w,
            _conditioned(x, w, b, v)[1],
        ),
    },
    axes={"x": ("pixels",), "weight": ("latent dimensions", "pixels")},
)
def linear_posterior(draw: Draw) -> Iterator[dict[str, Any]]:
    """Posterior of the linear Gaussian: its mean for each datum, and its covariance."""
    for batch, pixels, latent in (((4,), 7, 2), ((1,), 11, 3), ((2, 3), 9, 1), ((), 8, 4)):
        yield {
            "x": draw.normal(*batch, pixels) + 0.5,
            "weight": draw.normal(pixels, latent),
            "bias": draw.normal(pixels),
            "variance": draw.uniform(low=0.3, high=0.7),
        }
    # Little noise, and far more of it than signal; the bias is large. With less noise yet, the
    # textbook's formula for a conditional Gaussian loses its digits in float32 (I − gain · W). The
    # second is measured in another unit of x, in which the variance is of 1e-8.
    for low, high, unit in ((0.25, 0.35, 1.0), (40.0, 60.0, 2.0**-16)):
        bias = draw.normal(12, scale=9.0)
        yield {
            "x": unit * (bias + draw.normal(5, 12)).float().double(),
            "weight": unit * draw.normal(12, 3),
            "bias": unit * bias,
            "variance": unit**2 * draw.uniform(low=low, high=high),
        }


def _mixture_by_loop(
    x: Tensor, proportion: Tensor, loc: Tensor, variance: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    log_joint = Normal(loc, variance.sqrt()).log_prob(x[:, None]) + proportion.log()
    share = (log_joint - log_joint.logsumexp(1, keepdim=True)).exp()
    new = []
    for k in range(len(loc)):
        r = share[:, k]
        mean = (r * x).sum() / r.sum()
        new.append((r.sum() / len(x), mean, (r * (x - mean) ** 2).sum() / r.sum()))
    first, second, third = zip(*new, strict=True)
    return torch.stack(first), torch.stack(second), torch.stack(third)


def _log_joint(x: Tensor, proportion: Tensor, loc: Tensor, variance: Tensor) -> Tensor:
    return proportion.log() - 0.5 * (
        (x[:, None] - loc) ** 2 / variance + variance.log() + math.log(2 * math.pi)
    )


def _update(r: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    count = r.sum(0)
    mean = (r * x[:, None]).sum(0) / count
    return count / len(x), mean, (r * (x[:, None] - mean) ** 2).sum(0) / count


def _e_step(share: Any) -> Any:
    """A mistake in the responsibilities, with a right M-step."""
    return lambda x, p, m, v: _update(share(x, p, m, v), x)


def _m_step(change: Any) -> Any:
    """A mistake in the averages, with right responsibilities; gets also what is right."""

    def wrong(x: Tensor, p: Tensor, m: Tensor, v: Tensor) -> Any:
        r = _log_joint(x, p, m, v).softmax(1)
        return change(r, x, m, *_update(r, x))

    return wrong


def _hard(x: Tensor, p: Tensor, m: Tensor, v: Tensor) -> Tensor:
    joint = _log_joint(x, p, m, v)
    return torch.nn.functional.one_hot(joint.argmax(1), len(p)).to(x)


@exercise(
    truth=_mixture_by_loop,
    mistakes={
        "each datum is assigned to one component; share it out by its responsibilities": _e_step(
            _hard
        ),
        "the responsibilities are normalized over the data; for each datum they must add up to 1 "
        "over the components": _e_step(lambda x, p, m, v: _log_joint(x, p, m, v).softmax(0)),
        "the joint is not divided by the evidence: responsibilities add up to 1": _e_step(
            lambda x, p, m, v: _log_joint(x, p, m, v).exp()
        ),
        "the current proportions are missing from the responsibilities": _e_step(
            lambda x, p, m, v: (_log_joint(x, p, m, v) - p.log()).softmax(1)
        ),
        "the responsibilities are the current proportions: the density of x is missing": _e_step(
            lambda x, p, m, v: p.expand(len(x), -1)
        ),
        "the variance is taken for a scale: Normal needs its square root": _e_step(
            lambda x, p, m, v: _log_joint(x, p, m, v**2).softmax(1)
        ),
        "−½ log σ² is missing from the log-density; it differs between the components": _e_step(
            lambda x, p, m, v: (_log_joint(x, p, m, v) + 0.5 * v.log()).softmax(1)
        ),
        "the ½ in the exponent of the normal density is missing": _e_step(
            lambda x, p, m, v: (_log_joint(x, p, m, v) - 0.5 * (x[:, None] - m) ** 2 / v).softmax(1)
        ),
        "the variance is measured from the old means; use the new ones": _m_step(
            lambda r, x, old, p, m, v: (p, m, (r * (x[:, None] - old) ** 2).sum(0) / r.sum(0))
        ),
        "the proportions are not divided by the number of data: they must add up to 1": _m_step(
            lambda r, x, old, p, m, v: (r.sum(0), m, v)
        ),
        "the third value is the scale; asked is the variance": _m_step(
            lambda r, x, old, p, m, v: (p, m, v.sqrt())
        ),
        "means and variances are divided by the number of data; divide by the sum of the "
        "component's responsibilities": _m_step(
            lambda r, x, old, p, m, v: (
                p,
                (r * x[:, None]).mean(0),
                (r * (x[:, None] - (r * x[:, None]).mean(0)) ** 2).mean(0),
            )
        ),
        "the variances are divided by the number of data; divide by the sum of the component's "
        "responsibilities": _m_step(lambda r, x, old, p, m, v: (p, m, v * p)),
        "the mean of x² is the variance only if the mean is 0: subtract the new mean": _m_step(
            lambda r, x, old, p, m, v: (p, m, v + m**2)
        ),
        "the variances are divided by the component's count less 1: the likelihood is largest with "
        "the count itself, and a responsibility is no whole datum": _m_step(
            lambda r, x, old, p, m, v: (p, m, v * r.sum(0) / (r.sum(0) - 1))
        ),
        "the variances are multiplied by n / (n − 1): EM maximizes the likelihood, where nothing "
        "is corrected": _m_step(lambda r, x, old, p, m, v: (p, m, v * len(x) / (len(x) - 1))),
        "the proportions are divided by n − 1, the number of data less 1: they must add up to 1": (
            _m_step(lambda r, x, old, p, m, v: (p * len(x) / (len(x) - 1), m, v))
        ),
        "the means are divided by the component's count less 1: a mean divides by the count": (
            _m_step(
                lambda r, x, old, p, m, v: (
                    p,
                    (r * x[:, None]).sum(0) / (r.sum(0) - 1),
                    (r * (x[:, None] - (r * x[:, None]).sum(0) / (r.sum(0) - 1)) ** 2).sum(0)
                    / (r.sum(0) - 1),
                )
            )
        ),
        "the variance is not weighted: each datum counts by its responsibility": _m_step(
            lambda r, x, old, p, m, v: (p, m, ((x[:, None] - m) ** 2).mean(0))
        ),
        "the proportions are summed over the components; asked is one for each": _m_step(
            lambda r, x, old, p, m, v: (p.sum(), m, v)
        ),
        "the order is: proportions, means, variances": _m_step(
            lambda r, x, old, p, m, v: (m, v, p)
        ),
        "the proportions do not change: their new value is the mean responsibility": (
            lambda x, p, m, v: (p, *_update(_log_joint(x, p, m, v).softmax(1), x)[1:])
        ),
    },
    gradients=(),  # a step of EM stands in for the gradient
    axes={"x": ("data",), "loc": ("components",)},
)
def mixture_update(draw: Draw) -> Iterator[dict[str, Any]]:
    """One EM step of a mixture of normals in one dimension."""
    # One component alone has every datum: a mean and a variance.
    for data, components, far in ((11, 3, 0.0), (40, 1, 0.0), (9, 4, 0.0), (13, 3, 90.0)):
        loc = draw.normal(components, scale=2.0)
        x = loc[torch.arange(data) % components] + draw.normal(data)
        x[0] += far  # so far out that every component's density underflows
        yield {
            "x": x.float().double(),
            "proportion": draw.normal(components).softmax(0),
            "loc": loc + draw.normal(components, scale=0.5),
            "variance": draw.uniform(components, low=0.4, high=2.5),
        }


def _weighed_by_loop(log_joint: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
    log_w = log_joint - log_q
    top = log_w.max(0).values.detach()
    first, second = torch.zeros_like(top), torch.zeros_like(top)
    for one in log_w:
        w = (one - top).exp()
        first, second = first + w, second + w * w
    return top + (first / len(log_w)).log(), first**2 / second


def _weighed(log_weight: Any) -> Any:
    """A mistake in the weights, with all else right."""

    def wrong(log_joint: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        return _weighed_by_loop(log_weight(log_joint, log_q), 0 * log_q)

    return wrong


def _estimate(evidence: Any) -> Any:
    """A mistake in the evidence, from the log-weights, with a right effective sample size."""

    def wrong(log_joint: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        return evidence(log_joint - log_q), _weighed_by_loop(log_joint, log_q)[1]

    return wrong


def _size(size: Any) -> Any:
    """A mistake in the effective sample size, from the shares w / Σ w and the number of draws."""

    def wrong(log_joint: Tensor, log_q: Tensor) -> tuple[Tensor, Tensor]:
        share = (log_joint - log_q).softmax(0)
        return _weighed_by_loop(log_joint, log_q)[0], size(share, len(share))

    return wrong


@exercise(
    truth=_weighed_by_loop,
    mistakes={
        "log_q is added; the weight is p(x, z) / q(z), so subtract it": _weighed(
            lambda j, q: j + q
        ),
        "log_q is not used: the weight is p(x, z) / q(z)": _weighed(lambda j, q: j + 0 * q),
        "the weights are turned round: q(z) / p(x, z) favours the worst samples": _weighed(
            lambda j, q: q - j
        ),
        "the first value is E[log w], a lower bound of log p(x); asked is the log of the mean": (
            _estimate(lambda w: w.mean(0))
        ),
        "log K is missing from the first value: the evidence is the mean weight, not the sum": (
            _estimate(lambda w: w.logsumexp(0))
        ),
        "the first value is the largest log-weight": _estimate(lambda w: w.amax(0)),
        "the first value is p(x) itself; asked is its logarithm": _estimate(
            lambda w: w.exp().mean(0)
        ),
        "the sample size is given as a fraction; multiply it by the number of samples": _size(
            lambda s, k: 1 / (s**2).sum(0) / k
        ),
        "the sample size is upside down: it is (Σ w)² / Σ w²": _size(lambda s, k: (s**2).sum(0)),
        "the square of the sum is missing: the sample size is (Σ w)² / Σ w²": (
            lambda j, q: (
                _weighed_by_loop(j, q)[0],
                (j - q).exp().sum(0) / (2 * (j - q)).exp().sum(0),
            )
        ),
        "the sample size is made of log-weights; exponentiate them first": lambda j, q: (
            _weighed_by_loop(j, q)[0],
            (j - q).sum(0) ** 2 / ((j - q) ** 2).sum(0),
        ),
        "this is 1 over the largest share; the effective sample size takes all squares": _size(
            lambda s, k: 1 / s.amax(0)
        ),
        "the second value is the number of samples, not how many count": _size(
            lambda s, k: k + 0 * s.sum(0)
        ),
        "the sums run over the data; they must run over the samples, axis 0": lambda j, q: (
            _weighed_by_loop(j.mT, q.mT)
        ),
        "the two are swapped: the evidence comes first": lambda j, q: _weighed_by_loop(j, q)[::-1],
    },
    axes={"log_joint": ("data", "samples"), "log_q": ("data", "samples")},
)
def proposal_estimate(draw: Draw) -> Iterator[dict[str, Any]]:
    """The evidence by importance sampling, and how many of the samples count."""
    for samples, data in ((7, 3), (40, 1), (4, 6)):
        yield {
            "log_joint": draw.normal(samples, data) - 4.0,
            "log_q": draw.normal(samples, data) - 1.0,
        }
    # A density over many pixels, small or large.
    # Each datum at a level of its own: one maximum for all of them would underflow.
    levels = torch.tensor([400.0, 1300.0, 1900.0, 3000.0], dtype=torch.float64)
    yield {
        "log_joint": (draw.normal(15, 4, scale=2.0) - levels).float().double(),
        "log_q": draw.normal(15, 4) - 40.0,
    }
    yield {"log_joint": draw.normal(8, 2, scale=2.0) + 700.0, "log_q": draw.normal(8, 2) - 60.0}
