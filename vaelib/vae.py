"""The variational autoencoder: a latent variable model, an encoder, and a gradient of the ELBO.

`DeepLatentModel` is the model: a prior, and a likelihood whose parameters come from a decoder (θ).
`VAE` adds an encoder for inference (φ). `Autoencoder` has two networks but no prior, so it is no
model of x. The ``forward`` of the last two is the loss; the one minus sign of a bound stands there.

Chapter: :doc:`/book/vae`.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal, kl_divergence

from vaelib.elbo import Terms
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Bernoulli, Likelihood
from vaelib.reparam import reparameterize

__all__ = ["VAE", "Autoencoder", "DeepLatentModel"]


class DeepLatentModel(nn.Module):
    r"""$p_\theta(x, z) = p(z)\, p_\theta(x \mid z)$: a prior, a decoder and a likelihood.

    Args:
        decoder: module from ``[batch, latent]`` to ``[batch, pixels]`` with integer attributes
            ``latent`` and ``pixels``; see `vaelib.nets`.
        likelihood: what the decoder's output means; must fit the data. see `vaelib.likelihood`.
            `~vaelib.likelihood.Bernoulli`, for binarized pixels, if None.
        prior: p(z), a `~vaelib.kl.DiagonalNormal` or ``MultivariateNormal``; N(0, I) if None.

    Raises:
        TypeError: if the decoder lacks an attribute.
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        prior: DiagonalNormal | MultivariateNormal | None = None,
    ) -> None:
        super().__init__()
        for name in ("latent", "pixels"):
            if not hasattr(decoder, name):
                raise TypeError(
                    f"expected a decoder with an integer attribute `{name}`, got "
                    f"{type(decoder).__name__} without one; set decoder.{name} = …"
                )
        self.decoder = decoder
        self.likelihood = Bernoulli() if likelihood is None else likelihood
        self.latent, self.pixels = cast(int, decoder.latent), cast(int, decoder.pixels)
        self._prior = prior
        self._zeros: Tensor
        # A buffer, so that the prior follows the model to its device and precision.
        self.register_buffer("_zeros", torch.zeros(self.latent), persistent=False)

    @property
    def prior(self) -> DiagonalNormal | MultivariateNormal:
        """p(z)."""
        return DiagonalNormal(self._zeros, self._zeros) if self._prior is None else self._prior

    def decode(self, z: Float[Tensor, "*batch latent"]) -> Distribution:
        """p(x | z), a distribution over x: its ``mean`` is not a sample of x."""
        if z.shape[-1] != self.latent:
            raise ValueError(f"expected z of shape [*batch, {self.latent}], got {tuple(z.shape)}")
        # Networks may compute in bfloat16 (train.fit's precision); densities are not for 8 bits.
        raw = self.decoder(z.reshape(-1, self.latent)).to(z.dtype)
        return self.likelihood(raw.reshape(*z.shape[:-1], self.pixels))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), summed over pixels, in nats, shape ``[*batch]``."""
        return self.decode(z).log_prob(x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z), in nats, shape ``[*batch]``."""
        return self.prior.log_prob(z) + self.log_likelihood(x, z)

    def log_joint_pairs(
        self, x: Float[Tensor, "batch pixel"], z: Float[Tensor, "cells latent"]
    ) -> Float[Tensor, "batch cells"]:
        """log p(x, z) of every x with every z, in nats: what `vaelib.latent.grid_evidence` sums."""
        self.require_data(x)
        log_likelihood = self.likelihood.log_prob_pairs(x, self.decoder(z))
        return log_likelihood + self.prior.log_prob(z)

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) by ancestral sampling: z from the prior, then x given z."""
        eps = self._zeros.new_empty(n, self.latent).normal_(generator=generator)
        prior = self.prior
        if isinstance(prior, MultivariateNormal):
            z = prior.loc + eps @ prior.scale_tril.mT
        else:
            z = reparameterize(prior.loc, prior.logvar, eps)
        return self.likelihood.sample(self.decoder(z), generator), z

    def require_data(self, x: Tensor) -> None:
        """Raise unless x is a non-empty batch that the likelihood gives a density to."""
        _require_data(x, self.pixels, self.likelihood)


class VAE(DeepLatentModel):
    r"""A `DeepLatentModel` and an encoder $q_\phi(z \mid x)$, trained together on the ELBO.

    $$\mathrm{ELBO}(x) = E_{q_\phi(z|x)}\big[\log p_\theta(x \mid z)\big]
      - \mathrm{KL}\big(q_\phi(z \mid x) \,\|\, p(z)\big)$$

    Args:
        encoder: module from ``[batch, pixels]`` to a pair (loc, logvar), each ``[batch, latent]``.
        decoder, likelihood, prior: see `DeepLatentModel`.
        beta: weight of the KL **in the loss**. Only with 1, the default, is the loss minus an ELBO;
            `elbo` and `terms` do not use it.

    While ``train.fit`` warms the KL up, the buffer ``kl_warmup`` holds a factor on beta between 0
    and 1; otherwise it is 1. It is a tensor so that a change neither compiles nor records anew.

    References:
        Kingma and Welling (arXiv:1312.6114); Rezende, Mohamed and Wierstra (arXiv:1401.4082);
        for beta, Higgins et al., beta-VAE (ICLR 2017); for the warm-up, Bowman et al.
        (arXiv:1511.06349) and Sønderby et al. (arXiv:1602.02282).

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> model = VAE(MLPEncoder(784, 2), MLPDecoder(2, 784))
    >>> model.elbo(torch.zeros(5, 784)).shape
    torch.Size([5])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        prior: DiagonalNormal | MultivariateNormal | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__(decoder, likelihood=likelihood, prior=prior)
        self.encoder = encoder
        self.beta = beta
        self.kl_warmup: Tensor
        self.register_buffer("kl_warmup", torch.ones(()), persistent=False)

    def encode(self, x: Float[Tensor, "batch pixel"]) -> DiagonalNormal:
        """q(z | x): one loc and one scale for each datum and each latent dimension."""
        _require_rows(x, self.pixels)
        loc, logvar = self.encoder(x)
        return DiagonalNormal(loc.to(x.dtype), logvar.to(x.dtype))

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        return f"beta={self.beta}"

    def noise(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n latent"]:
        """The standard normal noise ε that the loss of n data needs: ``model(x, model.noise(n))``.

        A training loop draws it outside of what it compiles, where a generator can be used.
        """
        return self._zeros.new_empty(n, self.latent).normal_(generator=generator)

    def terms(
        self,
        x: Float[Tensor, "batch pixel"],
        eps: Float[Tensor, "*samples batch latent"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Terms:
        """The ELBO's two terms per datum, in nats: log p(x | z) at one z of q, and the exact KL.

        Args:
            x: data, shape ``[batch, pixels]``, in the likelihood's support.
            eps: standard normal noise, ``[batch, latent]``; drawn from ``generator`` if None. With
                an axis more in front, the first term has that axis too: one value per sample.
            generator: used only when ``eps`` is None.

        Returns:
            `vaelib.elbo.Terms`; ``.elbo`` is an unbiased estimate with a pathwise gradient.

        Raises:
            TypeError: if x is not a floating-point tensor.
            ValueError: if x has the wrong shape, is empty or leaves the likelihood's support.
        """
        self.require_data(x)
        return self._terms(x, eps, generator)

    def elbo(
        self,
        x: Float[Tensor, "batch pixel"],
        eps: Float[Tensor, "*samples batch latent"] | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "*samples batch"]:
        """A one-sample estimate of the ELBO per datum, in nats; see `terms`."""
        return self.terms(x, eps, generator=generator).elbo

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss: minus the mean over the batch of log p(x | z) - beta KL, in nats per datum.

        It does not read the values of x, which would stop a GPU at each step; `elbo` does.
        """
        log_likelihood, kl = self._terms(x, eps, generator)
        return -(log_likelihood - self.beta * kl * self.kl_warmup).mean()

    def _terms(self, x: Tensor, eps: Tensor | None, generator: torch.Generator | None) -> Terms:
        if eps is None:
            eps = x.new_empty(len(x), self.latent).normal_(generator=generator)
        q = self.encode(x)
        z = reparameterize(q.loc, q.logvar, eps)
        return Terms(self.decode(z).log_prob(x), kl_divergence(q, self.prior))


class Autoencoder(nn.Module):
    """Two networks and a code between them: no prior, so it does not say where to sample a code.

    Args:
        encoder: module from ``[batch, pixels]`` to a code ``[batch, latent]``.
        decoder, likelihood: see `DeepLatentModel`.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, *, likelihood: Likelihood | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = Bernoulli() if likelihood is None else likelihood

    def encode(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, "batch latent"]:
        """The code of x, a point."""
        _require_rows(x, cast(int, self.decoder.pixels))
        return self.encoder(x).to(x.dtype)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> Distribution:
        """p(x | z)."""
        return self.likelihood(self.decoder(z).to(z.dtype))

    def reconstruction(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, " batch"]:
        """log p(x | z) at the code of x, in nats. Not a bound on anything: there is no p(z)."""
        _require_data(x, cast(int, self.decoder.pixels), self.likelihood)
        return self.decode(self.encode(x)).log_prob(x)

    def forward(self, x: Tensor) -> Tensor:
        """The loss: minus the mean of log p(x | z) over the batch. It draws nothing."""
        return -self.decode(self.encode(x)).log_prob(x).mean()


def _require_rows(x: Tensor, pixels: int) -> None:
    """What can be checked without reading a value."""
    if not x.is_floating_point():
        raise TypeError(
            f"expected floating-point data, got {x.dtype}; vaelib.data.binarize turns uint8 pixels "
            f"into what a likelihood takes"
        )
    if x.ndim != 2 or x.shape[1] != pixels or len(x) == 0:
        raise ValueError(
            f"expected data of shape [batch, {pixels}] with batch > 0, got {tuple(x.shape)}"
        )


def _require_data(x: Tensor, pixels: int, likelihood: Likelihood) -> None:
    """The same, and that every value has a density."""
    _require_rows(x, pixels)
    if not likelihood.support.check(x).all():
        found = "NaN" if x.isnan().any() else f"{x.min().item():.3g} … {x.max().item():.3g}"
        raise ValueError(
            f"expected data that {type(likelihood).__name__} gives a density to: "
            f"{likelihood.remedy}. Got values {found}"
        )
