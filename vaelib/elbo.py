"""Lower bounds on log p(x), per datum, in nats: log-weights, the ELBO and its two terms.

Everything starts from one quantity, the log-weight log p(x, z) - log q(z | x) of a sample z of q.
Its mean over q is the ELBO; log-mean-exp over K samples is the importance-weighted bound. When q is
the posterior, every log-weight equals log p(x), whatever z is.

A model is a `vaelib.latent.LatentVariableModel`: it has ``log_joint(x, z)``,
``log_likelihood(x, z)`` and ``prior``, as `vaelib.latent.LinearGaussian` and `vaelib.vae.VAE` do.

Chapter: :doc:`/book/elbo`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, kl_divergence

from vaelib.kl.monte_carlo import require_samples
from vaelib.latent import LatentVariableModel, log_mean_exp

__all__ = [
    "Terms",
    "elbo",
    "importance_weighted_bound",
    "importance_weighted_surrogate",
    "log_weights",
    "terms",
]


class Terms(NamedTuple):
    """The two terms of the ELBO, per datum, in nats: ELBO = log_likelihood - kl."""

    log_likelihood: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        """The difference of the two, per datum, in nats."""
        return self.log_likelihood - self.kl


def log_weights(model: LatentVariableModel, x: Tensor, q: Distribution, z: Tensor) -> Tensor:
    r"""$\log w = \log p(x, z) - \log q(z \mid x)$ for samples z of q.

    Args:
        model: gives ``log_joint``.
        x: data, shape ``[batch, pixels]``.
        q: a distribution over z for each datum, batch shape ``[batch]``.
        z: samples of q, shape ``[samples, batch, latent]``, or with further axes in front.

    Returns:
        Shape ``[samples, batch]``, nats: what `elbo` and `importance_weighted_bound` take.

    Raises:
        ValueError: if z is not of that shape; see `terms`.

    >>> from vaelib.latent import LinearGaussian
    >>> model = LinearGaussian(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor(1.0))
    >>> x, z = torch.tensor([[3.0]]), torch.randn(4, 1, 1)
    >>> torch.allclose(log_weights(model, x, model.posterior(x), z), model.log_evidence(x))
    True
    """
    _require_samples("log_weights", x, q, z)
    return model.log_joint(x, z) - q.log_prob(z)


def elbo(log_w: Float[Tensor, "samples *batch"]) -> Float[Tensor, "*batch"]:
    r"""The evidence lower bound $E_q[\log w]$, estimated by the mean over samples.

    $$\mathrm{ELBO} = E_{q(z|x)}\big[\log p(x, z) - \log q(z \mid x)\big]
      = \log p(x) - \mathrm{KL}\big(q(z|x) \,\|\, p(z|x)\big) \le \log p(x)$$

    Unbiased for any number of samples. A single estimate can lie above log p(x); the mean cannot.

    Args:
        log_w: log-weights, shape ``[samples, *batch]``; a single axis is that of the samples.

    Returns:
        Shape ``[*batch]``, nats.

    References:
        Kingma and Welling (arXiv:1312.6114), equation 2.

    >>> elbo(torch.tensor([[-1.0], [-3.0]]))
    tensor([-2.])
    """
    return log_w.mean(0)


def importance_weighted_bound(log_w: Float[Tensor, "samples *batch"]) -> Float[Tensor, "*batch"]:
    r"""The importance-weighted bound $L_K = E[\log \frac1K \sum_k w_k]$, estimated once.

    $L_1$ is the ELBO; the expectation rises with K towards log p(x) and never passes it.

    Args:
        log_w: log-weights of K independent samples, shape ``[K, *batch]``.

    Returns:
        One estimate of $L_K$ per datum, shape ``[*batch]``, nats.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders (arXiv:1509.00519).

    >>> log_w = torch.log(torch.tensor([[1.0], [3.0]]))
    >>> importance_weighted_bound(log_w).exp()  # the mean of the weights 1 and 3
    tensor([2.])
    """
    return log_mean_exp(log_w)


def importance_weighted_surrogate(
    log_w: Float[Tensor, "samples *batch"],
) -> Float[Tensor, "*batch"]:
    r"""What to differentiate for the importance-weighted bound; **its value is not a bound**.

    $$\sum_k \tilde w_k \log w_k, \qquad \tilde w_k = \frac{w_k}{\sum_j w_j} \text{ held constant}$$

    Its gradient is that of `importance_weighted_bound` on the same samples. Its value is above it
    by $\log K - H(\tilde w) \ge 0$, and for large K above log p(x): log the bound instead.

    Args:
        log_w: log-weights of K independent samples, shape ``[K, *batch]``, with a graph.

    Returns:
        Shape ``[*batch]``, nats; maximize it, do not report it.

    References:
        Burda, Grosse and Salakhutdinov (arXiv:1509.00519), equation 14.

    >>> log_w = torch.log(torch.tensor([[1.0], [3.0]])).requires_grad_()
    >>> importance_weighted_surrogate(log_w).sum().backward()
    >>> log_w.grad.flatten()  # the larger weight counts three times as much
    tensor([0.2500, 0.7500])
    """
    return (torch.softmax(log_w.detach(), 0) * log_w).sum(0)


def terms(model: LatentVariableModel, x: Tensor, q: Distribution, z: Tensor) -> Terms:
    r"""The ELBO as $E_q[\log p(x \mid z)] - \mathrm{KL}(q(z|x) \,\|\, p(z))$, with the KL exact.

    Args:
        model: gives ``log_likelihood`` and ``prior``.
        x: data, shape ``[batch, pixels]``.
        q: a distribution over z for each datum, with a closed-form KL to the prior.
        z: samples of q, shape ``[samples, batch, latent]``.

    Returns:
        Both terms, each of shape ``[batch]``, nats; their difference estimates the ELBO without
        bias, and usually with less noise than `elbo`, because only one term is sampled.

    Raises:
        ValueError: if z is not of that shape. Without its first axis the mean would go over the
            batch, and with a last one of size 1 all latents would share a value.

    References:
        Kingma and Welling (arXiv:1312.6114), equation 3.

    >>> from vaelib.kl import DiagonalNormal
    >>> from vaelib.vae import VAE
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> model = VAE(MLPEncoder(6, 2), MLPDecoder(2, 6))
    >>> q = DiagonalNormal(torch.ones(3, 2), torch.zeros(3, 2))
    >>> parts = terms(model, torch.zeros(3, 6), q, q.rsample((10,)))
    >>> parts.kl, parts.elbo.shape  # ½ for each latent dimension
    (tensor([1., 1., 1.]), torch.Size([3]))
    """
    _require_samples("terms", x, q, z)
    return Terms(model.log_likelihood(x, z).mean(0), kl_divergence(q, model.prior))


def _require_samples(function: str, x: Tensor, q: Distribution, z: Tensor) -> None:
    batch = torch.broadcast_shapes(x.shape[:-1], q.batch_shape)
    require_samples(function, z, torch.Size(batch), q.event_shape)
