"""A model and an encoder, trained together on the ELBO."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MixtureSameFamily, MultivariateNormal, kl_divergence

from vaelib.arguments import require_number
from vaelib.elbo import Terms
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.prior import Prior
from vaelib.reparam import reparameterize
from vaelib.vae.model import DeepLatentModel, require_fit, require_rows


class VAE(DeepLatentModel):
    r"""A `DeepLatentModel` and an encoder $q_\phi(z \mid x)$, trained together on the ELBO.

    $$\mathrm{ELBO}(x) = E_{q_\phi(z|x)}\big[\log p_\theta(x \mid z)\big]
      - \mathrm{KL}\big(q_\phi(z \mid x) \,\|\, p(z)\big)$$

    Args:
        encoder: module from ``[batch, pixels]`` to a pair (loc, logvar), each ``[batch, latent]``.
        decoder, likelihood, prior: see `DeepLatentModel`.
        beta: weight of the KL **in the loss**. Only with 1, the default, is the loss minus an ELBO;
            `elbo` and `terms` do not use it. A finite number of at least 0.

    Raises:
        TypeError, ValueError: as `DeepLatentModel`; and if encoder and decoder have different
            sizes, or beta is out of range.

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
        prior: DiagonalNormal | MultivariateNormal | Prior | None = None,
        beta: float = 1.0,
    ) -> None:
        super().__init__(decoder, likelihood=likelihood, prior=prior)
        require_fit(type(self).__name__, encoder, decoder)
        require_number(type(self).__name__, "beta", beta, least=0.0)
        self.encoder = encoder
        self.beta = beta
        self.kl_warmup: Tensor
        self.register_buffer("kl_warmup", torch.ones(()), persistent=False)

    def encode(self, x: Float[Tensor, "batch pixel"]) -> DiagonalNormal:
        """q(z | x): one loc and one scale for each datum and each latent dimension."""
        require_rows(x, self.pixels)
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
        r"""The ELBO's two terms per datum, in nats: log p(x | z) at one z of q, and the KL.

        The KL is exact where it has a closed form. For a prior that is a mixture it has none: then
        it is estimated at the same z,

        $$\log q_\phi(z \mid x) - \log p(z)$$

        whose mean over z is the KL; a single value may be negative.

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
        log_likelihood, prior = self.decode(z).log_prob(x), self.prior
        if isinstance(prior, MixtureSameFamily):
            return Terms(log_likelihood, q.log_prob(z) - prior.log_prob(z))
        return Terms(log_likelihood, kl_divergence(q, prior))
