"""Gradients through a sample: the sample as a deterministic function of parameters and noise."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["reparameterize"]


def reparameterize(
    loc: Float[Tensor, "*batch latent"],
    logvar: Float[Tensor, "*batch latent"],
    eps: Float[Tensor, "*samples latent"],
) -> Float[Tensor, "*samples latent"]:
    r"""A sample of $N(\mu, \operatorname{diag}\sigma^2)$ through which a gradient flows.

    $$z = \mu + e^{\frac12 \log\sigma^2} \odot \varepsilon, \qquad \varepsilon \sim N(0, I)$$

    All randomness is in ``eps``, which does not depend on the parameters, so
    $\partial z/\partial\mu = 1$ and $\partial z/\partial\log\sigma^2 = \tfrac12\sigma\varepsilon$.
    The ½ turns a log-variance into a log standard deviation.

    Args:
        loc: $\mu$, shape ``[*batch, latent]``.
        logvar: $\log\sigma^2$, same shape.
        eps: standard normal noise, shape ``[*batch, latent]``, or with further axes in front for
            several samples of each datum: ``[samples, *batch, latent]``.

    Returns:
        z, of the shape of ``eps``.

    Raises:
        ValueError: if the shapes do not match.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, section 2.4 (arXiv:1312.6114);
        Rezende, Mohamed and Wierstra (arXiv:1401.4082).

    >>> reparameterize(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([[-1.0], [2.0]]))
    tensor([[2.],
            [5.]])
    """
    if loc.shape != logvar.shape or eps.shape[eps.ndim - loc.ndim :] != loc.shape:
        raise ValueError(
            f"reparameterize: expected loc and logvar of one shape [*batch, latent] and eps "
            f"[*samples, *batch, latent], got loc {tuple(loc.shape)}, "
            f"logvar {tuple(logvar.shape)}, eps {tuple(eps.shape)}"
        )
    return loc + torch.exp(0.5 * logvar) * eps
