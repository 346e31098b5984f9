"""What the encoder's q says of held-out data: the mean ELBO with its two terms, active units."""

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vaelib.arguments import BadValue
from vaelib.nets import evaluation_mode
from vaelib.vae import Model
from vaelib.vae.condition import Condition, one_hot

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
        """The mean KL(q ‖ p(z)), the nats per datum that it costs to say z in a code for p(z).

        With two layers z is both: KL(q(h1, h2 | x) ‖ p(h1, h2)).
        """
        return self.kl

    @property
    def distortion(self) -> float:
        """Minus the mean log p(x | z), the nats per datum that are missing once z is known."""
        return -self.log_likelihood


def require_finite(where: str, **terms: Tensor) -> None:
    """Raise unless all values are finite: a nan in a mean or a table says nothing of its cause."""
    bad = {name: t[~t.isfinite()] for name, t in terms.items() if not t.isfinite().all()}
    if bad:
        found = " and ".join(
            f"{name} is {values.flatten()[0].item()} at {len(values)} of {terms[name].numel()}"
            for name, values in bad.items()
        )
        raise FloatingPointError(
            f"{where}: {found}; what encoder or decoder make of these data is beyond the range of "
            f"{next(iter(terms.values())).dtype}. Scale the data as in training (pixels to "
            f"[0, 1]), or train the model on them first"
        )


def batches(x: Tensor, c: Tensor | None, size: int) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
    """Some rows at a time, and with them the arguments that hand their labels on, if any."""
    for start in range(0, len(x), size):
        rows = slice(start, start + size)
        yield x[rows], () if c is None else (c[rows],)


@torch.no_grad()
def elbo(
    model: Model,
    x: Float[Tensor, "n pixel"],
    c: Condition = None,
    *,
    samples: int = 1,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
) -> ElboEstimate:
    r"""The mean ELBO of a data set, with its two terms and its standard error.

    $$\frac1n \sum_i \Big( \frac1S \sum_s \log p(x_i \mid z_{is}) - \mathrm{KL}_i \Big),
      \qquad z_{is} \sim q(z \mid x_i)$$

    z is sampled: at q's mean instead, the first term is larger and the result is no bound. Where
    the KL has no closed form (a mixture prior, two layers), it is estimated at the same z.

    Args:
        model: a trained `vaelib.vae.Model`, a `~vaelib.vae.VAE` say.
        x: held-out data in the likelihood's support, shape ``[n, pixel]``; binarize it once, so
            that all that is compared sees the same data. A missing value is NaN, under
            `vaelib.likelihood.Missing`: only what is seen counts.
        c: labels, ``int64 [n]``, or one for all, of a model with a condition.
        samples: S, samples of z per datum. One is unbiased; more reduce the noise.
        batch_size: data at a time. Another one draws the noise in another order.
        generator: source of the noise, on the data's device.

    Returns:
        `ElboEstimate`. Its standard error is the sample standard deviation of the n values over
        √n: the error of the mean as an estimate over *all* data like these, sampling of z included.

    Raises:
        TypeError, ValueError: if x is not data for this model; see `vaelib.vae.VAE.terms`.
        FloatingPointError: if a term is not finite; names it.

    References:
        Kingma and Welling (arXiv:1312.6114), equation 3.

    >>> from torch import nn
    >>> from vaelib.nets import LinearEncoder, MLPDecoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(LinearEncoder(784, 2), MLPDecoder(2, 784))
    >>> _ = [nn.init.zeros_(p) for p in model.parameters()]  # q is the prior, and a pixel a coin
    >>> found = elbo(model, torch.zeros(5, 784))
    >>> found.rate, round(found.elbo, 2)  # the code says nothing; -784 log 2
    (0.0, -543.43)
    """
    model.require_data(x)
    if len(x) < 2 or samples < 1:
        raise BadValue(
            f"evaluate.elbo: expected at least 2 data (for a standard error) and samples ≥ 1, got "
            f"{len(x)} and {samples}"
        )
    c = one_hot(model, c, x, len(x))
    log_likelihood, kl = [], []
    with evaluation_mode(model):
        for batch, given in batches(x, c, batch_size):
            eps = model.noise(len(batch), samples=samples, generator=generator)
            terms = model.terms(batch, eps, *given)
            log_likelihood.append(terms.log_likelihood.mean(0))
            # Exact, one value per datum, or estimated at each sample.
            kl.append(terms.kl if terms.kl.ndim == 1 else terms.kl.mean(0))
    first, second = torch.cat(log_likelihood), torch.cat(kl)
    require_finite("evaluate.elbo", log_likelihood=first, kl=second)
    per_datum = first - second
    error = per_datum.std() / len(x) ** 0.5
    require_finite("evaluate.elbo", standard_error=error)
    return ElboEstimate(
        per_datum.mean().item(),
        error.item(),
        first.mean().item(),
        second.mean().item(),
    )


@torch.no_grad()
def active_units(
    model: Model,
    x: Float[Tensor, "n pixel"],
    c: Condition = None,
    *,
    threshold: float = 0.01,
    samples: int = 100,
    batch_size: int = 1000,
    generator: torch.Generator | None = None,
) -> Bool[Tensor, " latent"]:
    r"""Which latent dimensions tell data apart: $\mathrm{Var}_x(E_{q(z|x)}[z]) >$ threshold.

    The threshold is a share of the prior's variance, which is 1 for N(0, I): z in other units, with
    a prior in them, is the same model. (Of the lower of two layers the prior's variance is not
    known, and taken as 1.)

    A dimension whose posterior mean is the same for every x carries nothing. For the linear VAE at
    its optimum the variance is $1 - \sigma^2/\lambda$ in the direction of an eigenvalue
    $\lambda > \sigma^2$ of the data's covariance, and 0 otherwise.

    Where E[z] has no closed form (a flow; the upper of two layers, whose mean is one over $h_1$),
    it is a mean over S samples (`vaelib.posterior.Posterior.means`). That varies too much
    over x, by 1/S of the variance of one at one x: enough to make a dead unit active. That part is
    estimated from the same samples and taken off.

    Args:
        model: a trained `vaelib.vae.Model` with a posterior, a `~vaelib.vae.VAE` say.
        x: data, shape ``[n, pixel]``; the count depends on them, so say which.
        c: labels, ``int64 [n]``, or one for all, of a model with a condition.
        threshold: the customary one; between 0.001 and 0.1 a trained model's count hardly moves,
            unless training stopped early.
        samples: S, at least 2; used only where the mean has no closed form.
        batch_size: data that are encoded at a time.
        generator: source of these samples, on the data's device.

    Returns:
        One boolean per latent dimension, of two layers those of $h_1$ first; its sum is the count.

    Raises:
        ValueError: if there are fewer than two data or samples, or the data do not fit the model.
        FloatingPointError: if a loc is not finite.

    References:
        Burda, Grosse and Salakhutdinov (arXiv:1509.00519), section 5.1.

    >>> from torch import nn
    >>> from vaelib.likelihood import Gaussian
    >>> from vaelib.nets import LinearEncoder, MLPDecoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(LinearEncoder(2, 2), MLPDecoder(2, 2), likelihood=Gaussian())
    >>> model.encoder.loc.weight.data = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    >>> active_units(model, torch.randn(100, 2))  # the second mean is the same for every x
    tensor([ True, False])
    """
    model.require_data(x)
    if len(x) < 2 or samples < 2:
        raise BadValue(
            f"active_units: expected at least 2 data for a variance, got {len(x)}, and "
            f"samples ≥ 2, got {samples}"
        )
    c = one_hot(model, c, x, len(x))
    loc, its_noise = [], []
    with evaluation_mode(model):
        for batch, given in batches(x, c, batch_size):
            draw = partial(model.noise, len(batch), samples=samples, generator=generator)
            values = model.means(batch, draw, *given)
            loc.append(values.mean(0))
            its_noise.append(values.var(0) / len(values) if len(values) > 1 else 0 * values[0])
        mean, noise = torch.cat(loc), torch.cat(its_noise)
        require_finite("active_units", loc=mean, its_noise=noise)
        return mean.var(0) - noise.mean(0) > threshold * model.spread()
