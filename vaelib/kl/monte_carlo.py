"""KL divergences from samples, each with its standard error."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

__all__ = ["MonteCarlo", "kl_monte_carlo", "kl_monte_carlo_k3"]


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
        ValueError: if z is not of that shape (without its first axis, the mean would go over the
            batch), or if there are fewer than two samples.

    >>> from vaelib.kl import DiagonalNormal
    >>> q = DiagonalNormal(torch.ones(1), torch.zeros(1))
    >>> p = DiagonalNormal(torch.zeros(1), torch.zeros(1))
    >>> z = 1 + torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> mean, standard_error = kl_monte_carlo(q, p, z)
    >>> bool(abs(mean - 0.5) < 4 * standard_error)
    True
    """
    _require_two("kl_monte_carlo", q, p, z)
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

    Raises:
        ValueError: as `kl_monte_carlo`.

    References:
        Schulman, Approximating KL Divergence (2020), http://joschu.net/blog/kl-approx.html.

    >>> from vaelib.kl import DiagonalNormal
    >>> q, p = (DiagonalNormal(torch.full((1,), loc), torch.zeros(1)) for loc in (0.1, 0.0))
    >>> z = 0.1 + torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    >>> mean, standard_error = kl_monte_carlo_k3(q, p, z)
    >>> bool(abs(mean - 0.005) < 4 * standard_error)  # ½ · 0.1²
    True
    >>> bool(standard_error < kl_monte_carlo(q, p, z).standard_error / 10)
    True
    """
    _require_two("kl_monte_carlo_k3", q, p, z)
    log_r = p.log_prob(z) - q.log_prob(z)
    return _mean_and_error(torch.expm1(log_r) - log_r)


def require_samples(function: str, z: Tensor, batch: torch.Size, event: torch.Size) -> None:
    """Raise unless z has an axis of samples in front of those of the data and of one z.

    A forgotten one is no error of its own accord: what is meant to be averaged over samples would
    be averaged over the data.
    """
    one = (*batch, *event)
    if z.ndim <= len(one) or z.shape[z.ndim - len(one) :] != one or not z.numel():
        sizes = ", ".join(map(str, ("samples", *one)))
        raise ValueError(
            f"{function}: expected z of shape [{sizes}], samples first, got {tuple(z.shape)}; "
            f"q.rsample((n,)) draws n of each, and z.unsqueeze(0) makes one draw of each n = 1"
        )


def _require_two(function: str, q: Distribution, p: Distribution, z: Tensor) -> None:
    batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    require_samples(function, z, torch.Size(batch), q.event_shape)
    if len(z) < 2:
        raise ValueError(
            f"{function}: expected at least 2 samples along the first axis of z to estimate a "
            f"standard error, got shape {tuple(z.shape)}"
        )


def _mean_and_error(values: Tensor) -> MonteCarlo:
    return MonteCarlo(values.mean(0), values.std(0) / math.sqrt(len(values)))
