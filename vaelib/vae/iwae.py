"""The importance-weighted autoencoder: a VAE whose loss looks at K samples together."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.arguments import BadType, BadValue, require_sizes
from vaelib.elbo import Terms, importance_weighted_bound, importance_weighted_surrogate
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.posterior import Posterior
from vaelib.prior import Prior
from vaelib.recipe import rebuildable
from vaelib.vae.condition import Condition
from vaelib.vae.vae import VAE


@rebuildable
class IWAE(VAE):
    r"""A `VAE` that is trained on the importance-weighted bound of K samples.

    $$L_K(x) = E\Big[\log \frac1K \sum_{k=1}^K w_k\Big], \qquad
      w_k = \frac{p_\theta(x, z_k)}{q_\phi(z_k \mid x)}, \qquad z_k \sim q_\phi(z \mid x)$$

    Model and encoder are those of a VAE, and so are `VAE.terms` and `VAE.elbo`; only the loss is
    another.
    $L_1$ is the ELBO, and $L_K$ rises with K towards log p(x), so q need not fit the posterior as
    closely. For the encoder it has a price: the signal in φ's gradient falls faster with K than its
    noise (Rainforth et al.).

    Its gradient goes through z and also through the parameters of log q, the score, whose mean is
    not 0 once the weights are normalized. Reparameterizing a second time turns the score's part
    into one that goes through z as well (Tucker et al.):

    $$\nabla_\phi L_K = E\Big[\sum_k \tilde w_k^2\, \frac{\partial \log w_k}{\partial z_k}
      \frac{\partial z_k}{\partial \phi}\Big], \qquad \tilde w_k = \frac{w_k}{\sum_j w_j}$$

    The mean is the same, and the variance vanishes as q nears the posterior. θ's gradient is
    $E[\sum_k \tilde w_k \nabla_\theta \log w_k]$ in both.

    Args:
        encoder, decoder, likelihood, prior, posterior, condition: see `VAE`.
        samples: K, at least 1. Each step decodes K times as much.
        doubly_reparameterized: take φ's gradient by the second formula. It decodes twice, because
            the weights must be known before the pass that is differentiated; both passes must
            agree, so no dropout in the decoder. Not for a posterior with weights of its own: its
            score would have to be held back in each of them.

    Raises:
        TypeError, ValueError: as `VAE`, and if ``samples`` is no whole number of at least 1.

    While ``train.fit`` warms up, log p(z) - log q(z | x) has the factor ``kl_warmup``; the loss is
    then no bound, as that of a VAE.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders (arXiv:1509.00519);
        Tucker, Lawson, Gu and Maddison, Doubly Reparameterized Gradient Estimators for Monte Carlo
        Objectives (arXiv:1810.04152); Rainforth et al., Tighter Variational Bounds are Not
        Necessarily Better (arXiv:1802.04537).

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> mlp = {"hidden": (200, 200), "activation": nn.Tanh}  # section 5 of Burda et al.
    >>> model = IWAE(MLPEncoder(784, 50, **mlp), MLPDecoder(50, 784, **mlp), samples=5)
    >>> model.noise(20).shape
    torch.Size([5, 20, 50])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        prior: DiagonalNormal | MultivariateNormal | Prior | None = None,
        posterior: Posterior | None = None,
        samples: int = 5,
        doubly_reparameterized: bool = False,
        condition: int = 0,
    ) -> None:
        super().__init__(
            encoder,
            decoder,
            likelihood=likelihood,
            prior=prior,
            posterior=posterior,
            condition=condition,
        )
        name = type(self).__name__
        require_sizes(name, samples=samples)
        if not isinstance(doubly_reparameterized, bool):
            raise BadType(
                f"{name}: expected doubly_reparameterized as True or False, got "
                f"{doubly_reparameterized!r}"
            )
        if doubly_reparameterized and next(self.posterior.parameters(), None) is not None:
            raise BadValue(
                f"{name}: expected a posterior without weights of its own with "
                f"doubly_reparameterized=True, got {type(self.posterior).__name__}; leave one out"
            )
        self.samples = samples
        self.doubly_reparameterized = doubly_reparameterized

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        loss = f"samples={self.samples}, doubly_reparameterized={self.doubly_reparameterized}"
        return f"{loss}, condition={self.condition}" if self.condition else loss

    def noise(  # noqa: D102
        self, n: int, *, samples: int | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "samples n noise"]:
        return super().noise(n, samples=samples or self.samples, generator=generator)

    def objective(self, x: Tensor, eps: Tensor, c: Condition = None) -> Tensor:
        """What is maximized, per datum: the bound's estimate from the samples of the noise."""
        raw = self.raw(x, c)
        if not self.doubly_reparameterized:
            terms = self._terms(x, raw, eps, c, exact=False)
            return importance_weighted_bound(self._warmed(terms))
        q, prior = self.posterior(*raw), self.prior_given(c)
        z, _ = self.posterior.push(q, eps)

        def log_weights(q: Distribution, z: Tensor) -> Tensor:
            kl = q.log_prob(z) - prior.log_prob(z)
            return self._warmed(Terms(self.decoded(z, c).log_prob(x), kl))

        # Detached, not under no_grad: autocast keeps the weights that it casts. In some versions of
        # torch the second pass would find them without a graph, and θ get no gradient.
        share = torch.softmax(log_weights(q, z).detach(), 0)
        # The surrogate multiplies every gradient by the share; on its way to φ one passes here too.
        # During a warm-up with the factor t the score is t times as large, and so is what replaces
        # it: t share² + (1 - t) share.
        passed = 1 - self.kl_warmup * (1 - share)
        z = z.detach() + passed[..., None] * (z - z.detach())
        # q's parameters held constant, as `vaelib.reparam.stop_score` does it for one normal.
        log_w = log_weights(self.posterior(*(t.detach() for t in raw)), z)
        bound, surrogate = importance_weighted_bound(log_w), importance_weighted_surrogate(log_w)
        # The value of the one with the gradient of the other.
        return bound.detach() + surrogate - surrogate.detach()

    def _warmed(self, terms: Terms) -> Tensor:
        """The log-weights, of which a warm-up counts a part."""
        return terms.log_likelihood - self.kl_warmup * terms.kl
