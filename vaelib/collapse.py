r"""Posterior collapse: what a code costs, a KL of which a part is free, and why units are dead.

A latent dimension is dead if q says the same of it for every x (`vaelib.evaluate.active_units`
counts those that are alive). All of them dead is no diagnosis, because five different things end
there; `symptoms` measures what tells them apart, and `cause` names the one that it was.

Of remedies, `FreeBits` is here, and the KL's warm-up is an argument of `vaelib.train.fit`.

Chapter: :doc:`/book/collapse`.
"""

import copy
import math
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vaelib.arguments import BadValue, require_number
from vaelib.kl import DiagonalNormal, kl_normal
from vaelib.likelihood import Likelihood
from vaelib.posterior import Posterior
from vaelib.prior import Prior
from vaelib.recipe import rebuildable
from vaelib.vae import VAE
from vaelib.vae.condition import Condition, one_hot

__all__ = ["FreeBits", "Symptoms", "cause", "free_bits", "kl_of_units", "symptoms"]

IN_USE = 0.5  # nats: with a KL above, z is used, and nothing has collapsed
MISSED = 0.1  # nats, of a loss that is not minus the ELBO
FAR_ABOVE = 3.0  # nats, of the ELBO above that of pixels which know nothing of each other


def kl_of_units(q: DiagonalNormal, prior: DiagonalNormal) -> Float[Tensor, "*batch latent"]:
    r"""The KL of each latent dimension alone; their sum is $\mathrm{KL}(q \,\|\, p)$.

    Only between two diagonal normals is a KL a sum over dimensions.

    Args:
        q: one for each datum, over ``latent`` dimensions.
        prior: over the same dimensions.

    Returns:
        Shape ``[*batch, latent]``, in nats, at least 0.

    >>> loc, logvar = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)
    >>> kl_of_units(DiagonalNormal(loc, logvar), DiagonalNormal(torch.zeros(2), torch.zeros(2)))
    tensor([[0.5000, 0.0000]])
    """
    parts = (q.loc, q.logvar, prior.loc.expand_as(q.loc), prior.logvar.expand_as(q.loc))
    return kl_normal(*(part[..., None] for part in parts))


def free_bits(kl: Float[Tensor, "batch latent"], floor: float) -> Float[Tensor, ""]:
    r"""A KL of which each unit has the first ``floor`` nats for free.

    $$\sum_j \max\Big(\lambda,\; \frac1N \sum_n \mathrm{KL}_{nj}\Big)$$

    Below the floor λ a unit's KL has no gradient, so nothing pushes it down; above it, the price is
    the usual one. It is never below the KL, so what subtracts it is a bound still, a looser one.

    Args:
        kl: of each datum and unit, shape ``[batch, latent]``, in nats.
        floor: λ, in nats for each unit, at least 0; with 0 it is the mean KL.

    Returns:
        Shape ``[]``, in nats per datum.

    Raises:
        ValueError: if the floor is below 0.

    References:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling, Improved Variational Inference
        with Inverse Autoregressive Flow (arXiv:1606.04934), section C.8.

    >>> free_bits(torch.tensor([[0.0, 2.0], [0.2, 4.0]]), floor=0.5)
    tensor(3.5000)
    """
    require_number("free_bits", "floor", floor, least=0.0)
    return kl.mean(0).clamp(min=floor).sum()


@rebuildable
class FreeBits(VAE):
    r"""A `~vaelib.vae.VAE` in whose loss each unit has ``floor`` nats of KL for free.

    $$\text{loss} = -\frac1N \sum_n E_q[\log p_\theta(x_n \mid z)]
      + \beta \sum_j \max\Big(\lambda,\; \frac1N \sum_n \mathrm{KL}_{nj}\Big)$$

    The second term is `free_bits`. Only the loss is another: `~vaelib.vae.VAE.terms` and
    `~vaelib.vae.VAE.elbo` are those of a VAE.

    Args:
        encoder, decoder, likelihood, prior, posterior, beta, condition: see `~vaelib.vae.VAE`.
        floor: λ, nats of each unit, at least 0; with 0 it is a VAE.

    Raises:
        TypeError, ValueError: as `~vaelib.vae.VAE`; if the floor is below 0, or if q or the prior
            is no diagonal normal, whose KL is not a sum over units.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> model = FreeBits(MLPEncoder(784, 2), MLPDecoder(2, 784), floor=0.25)
    >>> bool(model(torch.zeros(5, 784)) > 0)
    True
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        floor: float,
        likelihood: Likelihood | None = None,
        prior: DiagonalNormal | MultivariateNormal | Prior | None = None,
        posterior: Posterior | None = None,
        beta: float = 1.0,
        condition: int = 0,
    ) -> None:
        super().__init__(
            encoder,
            decoder,
            likelihood=likelihood,
            prior=prior,
            posterior=posterior,
            beta=beta,
            condition=condition,
        )
        require_number("FreeBits", "floor", floor, least=0.0)
        if type(self.prior) is not DiagonalNormal:
            raise BadValue(
                f"FreeBits: expected a prior that is a DiagonalNormal, got {self.prior}; of "
                "another the KL is no sum over units"
            )
        self.floor = floor

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,
        c: Condition = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss, in nats per datum."""
        c = one_hot(self, c, x, len(x), read=False)
        if eps is None:
            eps = self.noise(len(x), generator=generator)
        raw = self.raw(x, c)
        q = self.posterior(*raw)
        if type(q) is not DiagonalNormal:
            raise BadValue(
                f"FreeBits: expected q as a DiagonalNormal, got {type(q).__name__}; of another the "
                "KL is no sum over units"
            )
        first = self._terms(x, raw, eps, c).log_likelihood.mean()
        second = free_bits(kl_of_units(q, cast(DiagonalNormal, self.prior_given(c))), self.floor)
        return self.beta * self.kl_warmup * second - first


class Symptoms(NamedTuple):
    """What `symptoms` measures of a model, to tell the causes of a dead code apart by `cause`."""

    kl: float  # mean KL(q ‖ prior), nats
    loss_error: float  # nats by which the loss misses minus the mean ELBO, at random weights
    pictures_differ: float  # before training: how far the decoder's outputs are apart, over z
    encoder_hears: float  # before training: length of φ's gradient of the mean log p(x | z)
    above_alone: float  # nats by which the ELBO is above that of pixels each on its own
    signal: float  # largest variance of a direction of the data, over that of the noise


def symptoms(
    model: VAE,
    start: VAE,
    x: Float[Tensor, "n pixel"],
    *,
    alone: float,
    variance: float | None = None,
    loss: Callable[[VAE, Tensor, Tensor], Tensor] | None = None,
    generator: torch.Generator | None = None,
) -> Symptoms:
    """Measure what tells apart why a model's units are dead. Nothing is trained or changed.

    Args:
        model: trained; a `vaelib.vae.VAE`.
        start: a copy from before the first step, which is asked about weights and wiring. The loss
            is compared with the ELBO at random weights of its encoder: at the end, where the KL is
            0, they agree whatever the KL's weight is.
        x: held-out data, shape ``[n, pixel]``.
        alone: mean log p(x) of a model of pixels that know nothing of each other, in nats.
        variance: of the decoder's noise, if it is fixed, and None for other likelihoods.
        loss: what was minimized, of a model, data and noise; the model's own if None. Per datum
            and in nats, or it is not minus an ELBO.
        generator: source of z, on the model's device.

    Raises:
        ValueError: if the variance is not positive; see also `vaelib.vae.VAE.terms`.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> _ = torch.manual_seed(0)
    >>> start = VAE(MLPEncoder(12, 2), MLPDecoder(2, 12))
    >>> x = torch.bernoulli(torch.full((50, 12), 0.5))
    >>> loss = lambda model, x, eps: model(x, eps) / 12  # a mean over pixels
    >>> found = symptoms(start, start, x, alone=-12 * math.log(2), loss=loss)
    >>> found.encoder_hears > 0, cause(found._replace(kl=0.0))
    (True, 'reduction')
    """
    if variance is not None and not variance > 0:
        raise BadValue(f"symptoms: expected a positive variance of the noise, got {variance}")
    eps = model.noise(len(x), generator=generator)
    z = start.noise(256, generator=generator)
    anywhere = copy.deepcopy(start)
    with torch.no_grad():
        for weight in anywhere.encoder.parameters():
            weight.normal_(std=0.1, generator=generator)
        minimized = anywhere(x, eps) if loss is None else loss(anywhere, x, eps)
        error = (minimized + anywhere.terms(x, eps).elbo.mean()).abs()
        terms = model.terms(x, eps)
        raw = start.decoder(z)
    with torch.enable_grad():
        # A copy's weights may have been frozen; the gradient's path is what is asked for.
        weights = [w for w in start.encoder.parameters() if w.requires_grad]
        first = start.terms(x, eps).log_likelihood.mean()
        heard = torch.autograd.grad(first, weights, allow_unused=True)
    signal = math.inf
    if variance is not None:
        signal = torch.linalg.eigvalsh(torch.cov(x.double().mT, correction=0))[-1].item() / variance
    return Symptoms(
        kl=terms.kl.mean().item(),
        loss_error=error.item(),
        pictures_differ=(raw - raw[0]).abs().max().item(),
        encoder_hears=math.sqrt(sum(g.square().sum().item() for g in heard if g is not None)),
        above_alone=terms.elbo.mean().item() - alone,
        signal=signal,
    )


def cause(found: Symptoms) -> str:
    """Which of five causes it was that left the code unused, from what `symptoms` found.

    They are asked for in this order, and the first yes decides: a wrong loss explains whatever
    comes after it, and an encoder behind a decoder that answers nothing hears nothing either.

    Returns:
        ``"none"``: z is used. ``"reduction"``: the loss is not minus the ELBO. ``"start"``: at
        the first step all z gave one picture. ``"detached"``: the pixels' gradient does not reach
        the encoder. ``"no need"``: the decoder describes x without z. ``"noise"``: no direction
        of the data has more variance than the noise. ``"training"``: none of these; look at the
        first epochs.

    >>> healthy = Symptoms(20.0, 0.0, 1.0, 1.0, 100.0, math.inf)
    >>> cause(healthy), cause(healthy._replace(kl=0.0, loss_error=9.0))
    ('none', 'reduction')
    """
    if found.kl > IN_USE:
        return "none"
    if found.loss_error > MISSED:
        return "reduction"
    if found.pictures_differ < 1e-6:
        return "start"
    if found.encoder_hears == 0:
        return "detached"
    if found.above_alone > FAR_ABOVE:
        return "no need"
    return "noise" if found.signal <= 1 else "training"
