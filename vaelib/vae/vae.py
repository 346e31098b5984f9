"""A model and an encoder, trained together on the ELBO."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.arguments import BadType, BadValue, require_match, require_network, require_number
from vaelib.elbo import Terms
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.posterior import Diagonal, Posterior, Raw
from vaelib.prior import Prior
from vaelib.recipe import rebuildable
from vaelib.vae.condition import Condition, one_hot, require_conditions
from vaelib.vae.model import DeepLatentModel
from vaelib.vae.protocol import Model, called, require_rows

_DIAGONAL = Diagonal()


@rebuildable
class VAE(DeepLatentModel, Model):
    r"""A `DeepLatentModel` and an encoder $q_\phi(z \mid x)$, trained together on the ELBO.

    $$\mathrm{ELBO}(x) = E_{q_\phi(z|x)}\big[\log p_\theta(x \mid z)\big]
      - \mathrm{KL}\big(q_\phi(z \mid x) \,\|\, p(z)\big)$$

    Args:
        encoder: module from ``[batch, pixels]`` to a pair (loc, logvar), each ``[batch, latent]``,
            or to as many tensors as the posterior has ``heads``; with a condition from x and c.
        decoder, likelihood, prior, condition: see `DeepLatentModel`. With a condition all is given
            c: $q(z \mid x, c)$, $p(x \mid z, c)$, and the ELBO is a bound on $\log p(x \mid c)$.
        posterior: the family of q; a `~vaelib.posterior.Diagonal` normal if None.
        beta: weight of the KL **in the loss**. Only with 1, the default, is the loss minus an ELBO;
            `elbo` and `terms` do not use it. A finite number of at least 0.

    Raises:
        TypeError, ValueError: as `DeepLatentModel`; and if encoder and decoder have different
            sizes, the posterior is none, or beta is out of range.

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
        posterior: Posterior | None = None,
        beta: float = 1.0,
        condition: int = 0,
    ) -> None:
        super().__init__(decoder, likelihood=likelihood, prior=prior, condition=condition)
        name = type(self).__name__
        require_fit(name, encoder, decoder, self.likelihood)
        require_conditions(name, condition, encoder=encoder)
        require_number(name, "beta", beta, least=0.0)
        self.encoder = encoder
        if posterior is not None and not isinstance(posterior, Posterior):
            raise BadType(
                f"{name}: expected posterior as a vaelib.posterior.Posterior, got {posterior!r}"
            )
        self._posterior = posterior  # None is a diagonal normal, which descriptions do not name
        self.beta = beta
        self.kl_warmup: Tensor
        self.register_buffer("kl_warmup", torch.ones(()), persistent=False)

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        return ", ".join(filter(None, (f"beta={self.beta}", super().extra_repr())))

    @property
    def posterior(self) -> Posterior:
        """The family of q(z | x)."""
        return _DIAGONAL if self._posterior is None else self._posterior

    def encode(self, x: Float[Tensor, "batch pixel"], c: Condition = None) -> Distribution:
        """q(z | x, c), one distribution for each datum."""
        return self.posterior(*self.raw(x, c))

    def raw(self, x: Float[Tensor, "batch pixel"], c: Condition = None) -> Raw:
        """The encoder's outputs, of which `encode` makes q."""
        require_rows(x, self.pixels)
        c = one_hot(self, c, x, len(x))
        raw = cast(Raw, called(self.encoder, self.likelihood.features(x), c))
        if len(raw) != self.posterior.heads:
            raise BadValue(
                f"expected an encoder that returns {self.posterior.heads} tensors, as "
                f"{type(self.posterior).__name__} has heads, got {len(raw)}; "
                f"vaelib.nets.MLPEncoder takes heads={self.posterior.heads}"
            )
        return raw

    def noise(  # noqa: D102
        self, n: int, *, samples: int | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*samples n noise"]:
        shape = () if samples is None else (samples,)
        size = self.posterior.noise_size(self.latent)
        return self._zeros.new_empty(*shape, n, size).normal_(generator=generator)

    def terms(
        self,
        x: Float[Tensor, "batch pixel"],
        eps: Float[Tensor, "*samples batch noise"] | None = None,
        c: Condition = None,
        *,
        exact: bool = True,
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
            c: labels, ``int64 [batch]``, or one for all, of a model with a condition.
            exact: False estimates the KL in any case, so that the difference of the two is the
                log-weight of z.
            generator: used only when ``eps`` is None.

        Returns:
            `vaelib.elbo.Terms`; ``.elbo`` is an unbiased estimate with a pathwise gradient.

        Raises:
            TypeError: if x is not a floating-point tensor.
            ValueError: if x has the wrong shape, is empty or leaves the likelihood's support; if
                labels are missing, or do not exist.
        """
        self.require_data(x)
        c = one_hot(self, c, x, len(x))
        if eps is None:
            eps = self.noise(len(x), generator=generator)
        return self._terms(x, self.raw(x, c), eps, c, exact=exact)

    def elbo(
        self,
        x: Float[Tensor, "batch pixel"],
        eps: Float[Tensor, "*samples batch noise"] | None = None,
        c: Condition = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "*samples batch"]:
        """A one-sample estimate of the ELBO per datum, in nats; see `terms`."""
        return self.terms(x, eps, c, generator=generator).elbo

    def log_weights(
        self,
        x: Float[Tensor, "batch pixel"],
        eps: Float[Tensor, "*samples batch noise"],
        c: Condition = None,
        *,
        raw: Raw | None = None,
    ) -> Float[Tensor, "*samples batch"]:
        r"""$\log w = \log p(x, z) - \log q(z \mid x)$ of the z that the noise makes, in nats.

        Args:
            x: data, shape ``[batch, pixels]``; its values are not checked.
            eps: standard normal noise, of any number of samples.
            c: labels, as in `terms`.
            raw: the parameters of another q of the same family; the encoder's if None.
        """
        return self._terms(x, self.raw(x, c) if raw is None else raw, eps, c, exact=False).elbo

    def means(  # noqa: D102
        self, x: Tensor, noise: Callable[[], Tensor], c: Condition = None
    ) -> Float[Tensor, "samples batch latent"]:
        q = self.encode(x) if c is None else self.encode(x, c)  # one's own may take no condition
        return self.posterior.means(q, noise)

    def spread(self) -> Float[Tensor, " latent"]:  # noqa: D102
        return self.prior.variance if self._prior is None else self._prior.spread()

    @torch.no_grad()
    def reconstruct(
        self,
        x: Float[Tensor, "batch pixel"],
        c: Condition = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "batch pixel"]:
        """The mean of p(x | z) at a z that is drawn from q(z | x): an image to look at."""
        eps = self.noise(len(x), samples=1, generator=generator)[0]
        z, _ = self.posterior.push(self.encode(x, c), eps)
        return self.decoded(z, c).mean

    def warm_up(self, weight: float) -> None:
        """Set the factor on beta in the loss."""
        self.kl_warmup.fill_(weight)

    def named_terms(  # noqa: D102
        self, x: Tensor, eps: Tensor, c: Condition = None
    ) -> dict[str, Tensor]:
        return self._terms(x, self.raw(x, c), eps, c)._asdict()

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,
        c: Condition = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss: minus the mean over the batch of `objective`, in nats per datum.

        It does not read the values of x and c, which would stop a GPU at each step; `elbo` does.
        A label that does not exist makes it nan.
        """
        c = one_hot(self, c, x, len(x), read=False)
        if eps is None:
            eps = self.noise(len(x), generator=generator)
        return -self.objective(x, eps, c).mean()

    def objective(self, x: Tensor, eps: Tensor, c: Condition = None) -> Tensor:
        """What is maximized, per datum: log p(x | z) - beta KL, the ELBO where beta is 1."""
        log_likelihood, kl = self._terms(x, self.raw(x, c), eps, c)
        return log_likelihood - self.beta * kl * self.kl_warmup

    def _terms(
        self, x: Tensor, raw: Raw, eps: Tensor, c: Condition, *, exact: bool = True
    ) -> Terms:
        size = self.posterior.noise_size(self.latent)
        if eps.shape[-1] != size or eps.shape[-2:-1] != x.shape[:1]:
            raise BadValue(
                f"{type(self).__name__}: expected noise of shape [*samples, {len(x)}, {size}], got "
                f"{tuple(eps.shape)}; model.noise(len(x)) draws it"
            )
        q, prior = self.posterior(*raw), self.prior_given(c)
        z, log_q = self.posterior.push(q, eps)
        log_likelihood = self.decoded(z, c).log_prob(x)
        kl = self.posterior.kl(q, prior) if exact else None
        return Terms(log_likelihood, log_q - prior.log_prob(z) if kl is None else kl)


def require_fit(where: str, encoder: nn.Module, decoder: nn.Module, likelihood: Likelihood) -> None:
    """Raise unless the encoder is a module whose sizes, where it names them, are the decoder's."""
    require_network(where, "encoder", encoder)
    for name in ("latent", "pixels"):
        sizes = {
            f"{part}__{name}": getattr(network, name, None)
            for part, network in (("encoder", encoder), ("decoder", decoder))
        }
        if name == "pixels" and sizes["decoder__pixels"] is not None:
            sizes["decoder__pixels"] = likelihood.inputs(sizes["decoder__pixels"])
        require_match(where, **sizes)
