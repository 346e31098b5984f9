"""What the encoder's q says of held-out data: the mean ELBO with its two terms, active units."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from vaelib.vae import VAE

__all__ = ["ElboEstimate", "active_units", "elbo"]


class ElboEstimate(NamedTuple):
    """A mean over data, in nats per datum: elbo = log_likelihood - kl = -(distortion + rate).

    References:
        Alemi, Poole, Fischer, Dillon, Saurous and Murphy, Fixing a Broken ELBO (arXiv:1711.00464),
        for rate and distortion.

    >>> estimate = ElboEstimate(elbo=-100.0, standard_error=0.5, log_likelihood=-75.0, kl=25.0)
    >>> estimate.rate, estimate.distortion
    (25.0, 75.0)
    """

    elbo: float
    standard_error: float
    log_likelihood: float
    kl: float

    @property
    def rate(self) -> float:
        """The mean KL(q ‖ p(z)), the nats per datum that it costs to say z in a code for p(z)."""
        return self.kl

    @property
    def distortion(self) -> float:
        """Minus the mean log p(x | z), the nats per datum that are missing once z is known."""
        return -self.log_likelihood


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout and with fixed batch norms inside; after it, the mode that was set before."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@torch.no_grad()
def elbo(
    model: VAE,
    x: Float[Tensor, "n pixel"],
    *,
    samples: int = 1,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
) -> ElboEstimate:
    r"""The mean ELBO of a data set, with its two terms and its standard error.

    $$\frac1n \sum_i \Big( \frac1S \sum_s \log p(x_i \mid z_{is}) - \mathrm{KL}_i \Big),
      \qquad z_{is} \sim q(z \mid x_i)$$

    z is sampled: at q's mean instead, the first term is larger and the result is no bound.

    Args:
        model: a trained `vaelib.vae.VAE`.
        x: held-out data in the likelihood's support, shape ``[n, pixel]``; binarize it once, so
            that all that is compared sees the same data.
        samples: S, samples of z per datum. One is unbiased; more reduce the noise.
        batch_size: data at a time. Another one draws the noise in another order.
        generator: source of the noise, on the data's device.

    Returns:
        `ElboEstimate`. Its standard error is the sample standard deviation of the n values over
        √n: the error of the mean as an estimate over *all* data like these, sampling of z included.

    Raises:
        TypeError, ValueError: if x is not data for this model; see `vaelib.vae.VAE.terms`.

    References:
        Kingma and Welling (arXiv:1312.6114), equation 3.
    """
    model.require_data(x)
    if len(x) < 2 or samples < 1:
        raise ValueError(
            f"evaluate.elbo: expected at least 2 data (for a standard error) and samples ≥ 1, got "
            f"{len(x)} and {samples}"
        )
    log_likelihood, kl = [], []
    with evaluation_mode(model):
        for batch in x.split(batch_size):
            eps = batch.new_empty(samples, len(batch), model.latent).normal_(generator=generator)
            terms = model.terms(batch, eps)
            log_likelihood.append(terms.log_likelihood.mean(0))
            # Exact, one value per datum, or estimated at each sample.
            kl.append(terms.kl if terms.kl.ndim == 1 else terms.kl.mean(0))
    first, second = torch.cat(log_likelihood), torch.cat(kl)
    per_datum = first - second
    return ElboEstimate(
        per_datum.mean().item(),
        (per_datum.std() / len(x) ** 0.5).item(),
        first.mean().item(),
        second.mean().item(),
    )


@torch.no_grad()
def active_units(
    model: VAE, x: Float[Tensor, "n pixel"], *, threshold: float = 0.01
) -> Bool[Tensor, " latent"]:
    r"""Which latent dimensions tell data apart: $\mathrm{Var}_x(E_{q(z|x)}[z]) >$ threshold.

    A dimension whose posterior mean is the same for every x carries nothing. For the linear VAE at
    its optimum the variance is $1 - \sigma^2/\lambda$ in the direction of an eigenvalue
    $\lambda > \sigma^2$ of the data's covariance, and 0 otherwise.

    Args:
        model: a trained `vaelib.vae.VAE`.
        x: data, shape ``[n, pixel]``; the count depends on them, so say which.
        threshold: the customary one; between 0.001 and 0.1 a trained model's count hardly moves,
            unless training stopped early.

    Returns:
        One boolean per latent dimension; its sum is the count.

    Raises:
        ValueError: if there are fewer than two data, or they do not fit the model.

    References:
        Burda, Grosse and Salakhutdinov (arXiv:1509.00519), section 5.1.
    """
    model.require_data(x)
    if len(x) < 2:
        raise ValueError(f"active_units: expected at least 2 data for a variance, got {len(x)}")
    with evaluation_mode(model):
        return model.encode(x).loc.var(0) > threshold
