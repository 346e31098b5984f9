"""A model with two layers of latent variables, each drawn from the one above it."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelib.arguments import require_match, require_network, require_sizes
from vaelib.elbo import importance_weighted_bound
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.reparam import reparameterize
from vaelib.vae.model import ObservationModel, require_fit, require_rows


class TwoLayerVAE(ObservationModel):
    r"""Two layers of latent variables: $p(h_2)\, p_\theta(h_1 \mid h_2)\, p_\theta(x \mid h_1)$.

    $h_2 \sim N(0, I)$, and $h_1$ given $h_2$ is a diagonal normal. The encoder goes the other way,
    $q_\phi(h_1 \mid x)\, q_\phi(h_2 \mid h_1)$, and the loss is minus the importance-weighted bound
    of

    $$w_k = \frac{p(h_2)\, p_\theta(h_1 \mid h_2)\, p_\theta(x \mid h_1)}
      {q_\phi(h_1 \mid x)\, q_\phi(h_2 \mid h_1)}$$

    With K = 1 that is the ELBO. What a second layer adds is a prior of $h_1$ that is learned,
    $\int p(h_2)\, p_\theta(h_1 \mid h_2)\, dh_2$, a mixture of infinitely many normals.

    Args:
        encoder: from x ``[batch, pixels]`` to loc and logvar of $q(h_1 \mid x)$, ``[batch, n1]``.
        top_encoder: from ``[batch, n1]`` to loc and logvar of $q(h_2 \mid h_1)$, ``[batch, n2]``,
            with the attribute ``latent``, n2.
        top_decoder: from ``[batch, n2]`` to loc and logvar of $p(h_1 \mid h_2)$, ``[batch, n1]``: a
            network with two heads, as an encoder is.
        decoder: from $h_1$ to the raw parameters of the likelihood of x; its ``latent`` is n1.
        likelihood: see `ObservationModel`.
        samples: K, at least 1.

    Raises:
        TypeError: if a network lacks an attribute.
        ValueError: if two networks do not fit together, or ``samples`` is below 1.

    References:
        Burda, Grosse and Salakhutdinov (arXiv:1509.00519), section 5 and the appendix, whose
        network the example is.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> wide = {"hidden": (200, 200), "activation": nn.Tanh}
    >>> narrow = {"hidden": (100, 100), "activation": nn.Tanh}
    >>> model = TwoLayerVAE(
    ...     MLPEncoder(784, 100, **wide),
    ...     MLPEncoder(100, 50, **narrow),
    ...     MLPEncoder(50, 100, **narrow),
    ...     MLPDecoder(100, 784, **wide),
    ...     samples=5,
    ... )
    >>> model.log_weights(torch.zeros(3, 784), model.noise(3)).shape
    torch.Size([5, 3])
    """

    def __init__(
        self,
        encoder: nn.Module,
        top_encoder: nn.Module,
        top_decoder: nn.Module,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        samples: int = 1,
    ) -> None:
        super().__init__(decoder, likelihood=likelihood)
        require_fit("TwoLayerVAE", encoder, decoder)
        require_network("TwoLayerVAE", "top_encoder", top_encoder, "latent")
        require_network("TwoLayerVAE", "top_decoder", top_decoder)
        require_match(
            "TwoLayerVAE",
            decoder__latent=self.latent,
            top_encoder__pixels=getattr(top_encoder, "pixels", None),
            top_decoder__latent=getattr(top_decoder, "latent", None),
        )
        require_match(
            "TwoLayerVAE",
            top_encoder__latent=cast(int, top_encoder.latent),
            top_decoder__pixels=getattr(top_decoder, "pixels", None),
        )
        require_sizes("TwoLayerVAE", samples=samples)
        self.encoder, self.top_encoder, self.top_decoder = encoder, top_encoder, top_decoder
        self.samples = samples
        self._zeros_top: Tensor
        self.register_buffer(
            "_zeros_top", torch.zeros(cast(int, top_encoder.latent)), persistent=False
        )

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        return f"samples={self.samples}"

    @property
    def prior(self) -> DiagonalNormal:
        r"""$p(h_2)$, the only prior that is known; that of $h_1$ is an integral over it."""
        return DiagonalNormal(self._zeros_top, self._zeros_top)

    @property
    def noise_size(self) -> int:
        """The number of standard normals that one sample needs, n1 + n2."""
        return len(self._zeros) + len(self._zeros_top)

    def noise(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "samples n noise"]:
        r"""The standard normal noise of K samples for each of n data.

        The first n1 numbers of the last axis make $h_1$, the others $h_2$.
        """
        return self._zeros.new_empty(self.samples, n, self.noise_size).normal_(generator=generator)

    def encode(self, x: Float[Tensor, "batch pixel"]) -> DiagonalNormal:
        r"""$q(h_1 \mid x)$, whose ``loc`` is the code of x."""
        require_rows(x, self.pixels)
        return _normal(self.encoder, x)

    def log_weights(
        self, x: Float[Tensor, "batch pixel"], eps: Float[Tensor, "samples batch noise"]
    ) -> Float[Tensor, "samples batch"]:
        r"""$\log w_k$ of the $h_1$ and $h_2$ that the noise makes, in nats, with their gradient.

        Args:
            x: data, shape ``[batch, pixels]``; its values are not checked.
            eps: standard normal noise as `noise` draws it, of any number of samples.

        Raises:
            ValueError: if the last axis of ``eps`` is not ``noise_size``.
        """
        if eps.shape[-1] != self.noise_size:
            raise ValueError(
                f"TwoLayerVAE: expected noise of shape [samples, batch, {self.noise_size}], got "
                f"{tuple(eps.shape)}; model.noise(len(x)) draws it"
            )
        eps1, eps2 = eps.split([len(self._zeros), len(self._zeros_top)], -1)
        q1 = self.encode(x)
        h1 = reparameterize(q1.loc, q1.logvar, eps1)
        q2 = _normal(self.top_encoder, h1)
        h2 = reparameterize(q2.loc, q2.logvar, eps2)
        log_p1 = _normal(self.top_decoder, h2).log_prob(h1)
        log_joint = self.prior.log_prob(h2) + log_p1 + self.log_likelihood(x, h1)
        return log_joint - q1.log_prob(h1) - q2.log_prob(h2)

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss: minus the mean over the batch of the bound's estimate, in nats per datum.

        Args:
            x: data, shape ``[batch, pixels]``; its values are not checked.
            eps: ``noise(len(x))``, or with another number of samples; drawn if None.
            generator: used only when ``eps`` is None.
        """
        if eps is None:
            eps = self.noise(len(x), generator=generator)
        return -importance_weighted_bound(self.log_weights(x, eps)).mean()

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n h1"], Float[Tensor, "n h2"]]:
        """n triples (x, h1, h2), from the top down."""
        h2 = self._zeros_top.new_empty(n, len(self._zeros_top)).normal_(generator=generator)
        p1 = _normal(self.top_decoder, h2)
        eps = torch.empty_like(p1.loc).normal_(generator=generator)
        h1 = reparameterize(p1.loc, p1.logvar, eps)
        return self.likelihood.sample(self.decoder(h1), generator), h1, h2


def _normal(network: nn.Module, given: Tensor) -> DiagonalNormal:
    """What a network with two heads says, in the precision of what it was given."""
    loc, logvar = network(given.reshape(-1, given.shape[-1]))
    shape = (*given.shape[:-1], loc.shape[-1])
    return DiagonalNormal(loc.to(given.dtype).reshape(shape), logvar.to(given.dtype).reshape(shape))
