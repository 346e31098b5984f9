"""A model with two layers of latent variables, each drawn from the one above it."""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.arguments import require_match, require_network
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.posterior import Diagonal, Raw
from vaelib.prior import Prior
from vaelib.recipe import rebuildable
from vaelib.reparam import reparameterize
from vaelib.vae.condition import require_conditions
from vaelib.vae.iwae import IWAE
from vaelib.vae.protocol import called


class TwoSteps(Distribution):
    """Over z = (h1, h2): one of the two layers is drawn first, and the other given it.

    Args:
        first: of the layer that comes first.
        then: from that layer to the distribution of the other.
        lower: the size of h1.
        up: whether h1 comes first, as in a posterior, or h2, as in a prior.

    >>> zero = torch.zeros(1)
    >>> given = lambda h2: DiagonalNormal(h2, zero)
    >>> p = TwoSteps(DiagonalNormal(zero, zero), given, lower=1, size=2, up=False)
    >>> p.push(torch.tensor([0.5, 3.0]))[0]  # h1 = h2 + 0.5
    tensor([3.5000, 3.0000])
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012

    def __init__(
        self,
        first: DiagonalNormal,
        then: Callable[[Tensor], DiagonalNormal],
        *,
        lower: int,
        size: int,
        up: bool,
    ) -> None:
        self.first, self.then, self.lower, self.up = first, then, lower, up
        super().__init__(first.batch_shape, torch.Size([size]), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The sum of both layers' log-densities, nats."""
        h1, h2 = value[..., : self.lower], value[..., self.lower :]
        first, then = (h1, h2) if self.up else (h2, h1)
        return self.first.log_prob(first) + self.then(first).log_prob(then)

    def push(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z of the noise, of which each layer takes its own part, and log q(z)."""
        eps1, eps2 = eps[..., : self.lower], eps[..., self.lower :]
        for_first, for_then = (eps1, eps2) if self.up else (eps2, eps1)
        first = reparameterize(self.first.loc, self.first.logvar, for_first)
        given = self.then(first)
        then = reparameterize(given.loc, given.logvar, for_then)
        z = torch.cat((first, then) if self.up else (then, first), -1)
        return z, self.first.log_prob(first) + given.log_prob(then)


@rebuildable
class HierarchicalPrior(Prior):
    r"""$p(h_2)\, p_\theta(h_1 \mid h_2)$ over $z = (h_1, h_2)$, with $h_2 \sim N(0, I)$.

    Args:
        network: from $h_2$ to loc and logvar of $h_1$ given it.
        lower, upper: the sizes of $h_1$, which a decoder sees, and of $h_2$.

    >>> from vaelib.nets import MLPEncoder
    >>> prior = HierarchicalPrior(MLPEncoder(50, 100), lower=100, upper=50)
    >>> prior.sample(3).shape, prior.visible  # z is both layers; a decoder sees the first
    (torch.Size([3, 150]), 100)
    """

    def __init__(self, network: nn.Module, *, lower: int, upper: int) -> None:
        super().__init__()
        self.network, self.lower, self.latent = network, lower, lower + upper
        self._zeros: Tensor
        self.register_buffer("_zeros", torch.zeros(upper), persistent=False)

    @property
    def visible(self) -> int:  # noqa: D102
        return self.lower

    def forward(self, c: Tensor | None = None) -> TwoSteps:  # noqa: D102
        if getattr(self.network, "condition", None) == 0:
            c = None  # one that was made without a condition is the same for every label
        return TwoSteps(
            DiagonalNormal(self._zeros, self._zeros),
            lambda h2: _normal(self.network, h2, c),
            lower=self.lower,
            size=self.latent,
            up=False,
        )

    @torch.no_grad()
    def sample(  # noqa: D102
        self, n: int, c: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n latent"]:
        eps2 = self._zeros.new_empty(n, len(self._zeros)).normal_(generator=generator)
        eps1 = self._zeros.new_empty(n, self.lower).normal_(generator=generator)
        return self(c).push(torch.cat([eps1, eps2], -1))[0]

    def spread(self) -> Float[Tensor, " latent"]:
        """1 for each: the variance of h1 is not known."""
        return self._zeros.new_ones(self.latent)


@rebuildable
class HierarchicalPosterior(Diagonal):
    r"""$q_\phi(h_1 \mid x)\, q_\phi(h_2 \mid h_1)$ over $z = (h_1, h_2)$.

    An encoder's raw outputs are loc and logvar of $h_1$; a search for a better q for one datum
    moves these, and keeps the network above.

    Args:
        network: from $h_1$ to loc and logvar of $h_2$ given it.
        lower, upper: the sizes of $h_1$ and $h_2$.

    >>> from vaelib.nets import MLPEncoder
    >>> posterior = HierarchicalPosterior(MLPEncoder(100, 50), lower=100, upper=50)
    >>> q = posterior(torch.zeros(3, 100), torch.zeros(3, 100))  # what an encoder says of h1
    >>> z, log_q = posterior.push(q, torch.randn(3, 150))
    >>> z.shape, log_q.shape
    (torch.Size([3, 150]), torch.Size([3]))
    """

    def __init__(self, network: nn.Module, *, lower: int, upper: int) -> None:
        super().__init__()
        self.network, self.lower, self.upper = network, lower, upper

    def forward(self, *raw: Tensor) -> Distribution:  # type: ignore[override]  # noqa: D102
        loc, logvar = raw
        return TwoSteps(
            DiagonalNormal(loc, logvar),
            lambda h1: _normal(self.network, h1),
            lower=self.lower,
            size=self.lower + self.upper,
            up=True,
        )

    def push(self, q: Distribution, eps: Tensor) -> tuple[Tensor, Tensor]:  # noqa: D102
        return cast(TwoSteps, q).push(eps)

    def means(self, q: Distribution, noise: Callable[[], Tensor]) -> Tensor:
        """The mean of h1 itself, and that of h2 given samples of h1: less noise than in z."""
        first = cast(TwoSteps, q).first
        h1 = reparameterize(first.loc, first.logvar, noise()[..., : self.lower])
        return torch.cat([first.loc.expand_as(h1), cast(TwoSteps, q).then(h1).loc], -1)

    def starts(self, raw: Raw, z: Tensor) -> list[Raw]:  # noqa: D102
        return super().starts(raw, z[..., : self.lower])

    def raw(self, q: Distribution) -> Raw:  # noqa: D102
        return super().raw(cast(TwoSteps, q).first)


@rebuildable
class TwoLayerVAE(IWAE):
    r"""Two layers of latent variables: $p(h_2)\, p_\theta(h_1 \mid h_2)\, p_\theta(x \mid h_1)$.

    $h_2 \sim N(0, I)$, and $h_1$ given $h_2$ is a diagonal normal. The encoder goes the other way,
    $q_\phi(h_1 \mid x)\, q_\phi(h_2 \mid h_1)$, and the loss is minus the importance-weighted bound
    of

    $$w_k = \frac{p(h_2)\, p_\theta(h_1 \mid h_2)\, p_\theta(x \mid h_1)}
      {q_\phi(h_1 \mid x)\, q_\phi(h_2 \mid h_1)}$$

    With K = 1 that is the ELBO. What a second layer adds is a prior of $h_1$ that is learned,
    $\int p(h_2)\, p_\theta(h_1 \mid h_2)\, dh_2$, a mixture of infinitely many normals.

    It is an `IWAE` over $z = (h_1, h_2)$, with a `HierarchicalPrior` and a `HierarchicalPosterior`;
    the decoder sees $h_1$ alone. So all that a VAE can do and be asked, it can too.

    Args:
        encoder: from x ``[batch, pixels]`` to loc and logvar of $q(h_1 \mid x)$, ``[batch, n1]``.
        top_encoder: from ``[batch, n1]`` to loc and logvar of $q(h_2 \mid h_1)$, ``[batch, n2]``,
            with the attribute ``latent``, n2.
        top_decoder: from ``[batch, n2]`` to loc and logvar of $p(h_1 \mid h_2)$, ``[batch, n1]``: a
            network with two heads, as an encoder is.
        decoder: from $h_1$ to the raw parameters of the likelihood of x; its ``latent`` is n1.
        likelihood: see `VAE`.
        condition: see `DeepLatentModel`. Encoder and decoder are given the labels; the top decoder
            only if it is made with the same condition, and the top encoder not.
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
        condition: int = 0,
    ) -> None:
        name = "TwoLayerVAE"
        require_network(name, "decoder", decoder, "latent", "pixels")
        require_network(name, "top_encoder", top_encoder, "latent")
        require_network(name, "top_decoder", top_decoder)
        require_match(
            name,
            decoder__latent=cast(int, decoder.latent),
            top_encoder__pixels=getattr(top_encoder, "pixels", None),
            top_decoder__latent=getattr(top_decoder, "latent", None),
        )
        require_match(
            name,
            top_encoder__latent=cast(int, top_encoder.latent),
            top_decoder__pixels=getattr(top_decoder, "pixels", None),
        )
        require_conditions(name, 0, top_encoder=top_encoder)
        if getattr(top_decoder, "condition", 0):
            require_conditions(name, condition, top_decoder=top_decoder)
        sizes = {"lower": cast(int, decoder.latent), "upper": cast(int, top_encoder.latent)}
        super().__init__(
            encoder,
            decoder,
            likelihood=likelihood,
            prior=HierarchicalPrior(top_decoder, **sizes),
            posterior=HierarchicalPosterior(top_encoder, **sizes),
            samples=samples,
            condition=condition,
        )

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        loss = f"samples={self.samples}"
        return f"{loss}, condition={self.condition}" if self.condition else loss

    @property
    def layers(self) -> tuple[int, int]:
        """The sizes of h1 and h2."""
        posterior = cast(HierarchicalPosterior, self.posterior)
        return posterior.lower, posterior.upper


def _normal(network: nn.Module, given: Tensor, c: Tensor | None = None) -> DiagonalNormal:
    """What a network with two heads says, in the precision of what it was given."""
    return DiagonalNormal(*called(network, given, c))
