"""The model, without inference: what z says of x, and where z comes from."""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.arguments import BadValue, require_network
from vaelib.kl import DiagonalNormal
from vaelib.latent.evidence import require_pair
from vaelib.likelihood import Likelihood
from vaelib.prior import Fixed, Prior, VampPrior
from vaelib.recipe import rebuildable
from vaelib.vae.condition import Condition, one_hot, require_conditions
from vaelib.vae.protocol import called, chosen, require_data


@rebuildable
class DeepLatentModel(nn.Module):
    r"""$p_\theta(x, z) = p(z)\, p_\theta(x \mid z)$: a prior, a decoder and a likelihood.

    Args:
        decoder: module from ``[batch, latent]`` to ``[batch, pixels]`` with integer attributes
            ``latent`` and ``pixels``; see `vaelib.nets`. Where the likelihood has several numbers
            for a pixel, to ``[batch, pixels * per_pixel]``.
        likelihood: what the decoder's output means; must fit the data. see `vaelib.likelihood`.
            `~vaelib.likelihood.Bernoulli`, for binarized pixels, if None.
        prior: p(z), a `~vaelib.kl.DiagonalNormal` or ``MultivariateNormal``, of which a
            `~vaelib.prior.Fixed` is made, or a `~vaelib.prior.Prior`, which is trained with the
            model; N(0, I) if None.
        condition: how many labels there are, of which each x has one; 0 is none. The networks are
            made with the same ``condition``.

    A condition c, where a method takes one, is a label for each row of x, ``int64 [batch]``, or a
    whole number, one for all. Its one-hot code is handed to the prior and, as a second argument, to
    the networks: p(z | c), p(x | z, c). (With ``condition=0`` and networks of your own c is handed
    on as it is, a row for each row of x.)

    Raises:
        TypeError: if the decoder lacks an attribute, or likelihood or prior are something else.
        ValueError: if a size is below 1, if prior and decoder have another size of z, or the
            prior's parameters are not finite or ask for a gradient; if model and networks have
            different conditions.
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        prior: DiagonalNormal | MultivariateNormal | Prior | None = None,
        condition: int = 0,
    ) -> None:
        super().__init__()
        require_network(type(self).__name__, "decoder", decoder, "latent", "pixels")
        require_conditions(type(self).__name__, condition, decoder=decoder)
        if condition and isinstance(prior, VampPrior):
            raise BadValue(
                f"{type(self).__name__}: a VampPrior asks the encoder about pictures without a "
                f"label, which with condition={condition} it does not take; use "
                f"vaelib.prior.Mixture",
                "prior",
            )
        self.decoder, self.condition = decoder, condition
        self.likelihood = chosen(likelihood, type(self).__name__)
        if prior is not None and not isinstance(prior, Prior):
            prior = Fixed(prior)
        self.pixels = cast(int, decoder.pixels)
        self.latent = visible = cast(int, decoder.latent)
        if prior is not None:
            self.latent, visible = prior.latent, prior.visible
        if visible != decoder.latent:
            raise BadValue(
                f"expected prior and decoder for one size of z, got {visible} and "
                f"{decoder.latent}; make the prior for {decoder.latent}"
            )
        self._visible = visible
        # None is N(0, I): no module and no tensor that checkpoints without a prior would lack.
        self._prior = prior
        self._zeros: Tensor
        # A buffer, so that priors and noise follow the model to its device and precision.
        self.register_buffer("_zeros", torch.zeros(self.latent), persistent=False)

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        return f"condition={self.condition}" if self.condition else ""

    def require_data(self, x: Tensor) -> None:
        """Raise unless x is a non-empty batch that the likelihood gives a density to."""
        require_data(x, self.pixels, self.likelihood)

    @property
    def prior(self) -> Distribution:
        """p(z), with its parameters as they are now."""
        return self.prior_given(None)

    def prior_given(self, c: Condition) -> Distribution:
        """p(z | c), with its parameters as they are now."""
        if self._prior is None:
            return DiagonalNormal(self._zeros, self._zeros)
        # Most priors are the same for every label, and can be asked without one.
        return self._prior(None if c is None else one_hot(self, c, self._zeros))

    def decode(self, z: Float[Tensor, "*batch latent"], c: Condition = None) -> Distribution:
        """p(x | z, c), a distribution over x: its ``mean`` is not a sample of x.

        Raises:
            ValueError: if z, or what the decoder makes of it, has another size than it should.
        """
        return self.likelihood(self._decoded(z, c))

    def decoded(self, z: Tensor, c: Condition) -> Distribution:
        """`decode`, which a subclass may have written without a condition."""
        return self.decode(z) if c is None else self.decode(z, c)

    def log_likelihood(self, x: Tensor, z: Tensor, c: Condition = None) -> Tensor:
        """log p(x | z), summed over pixels, in nats, shape ``[*batch]``.

        Raises:
            ValueError: if x or z has another size, if they do not broadcast, or if x leaves the
                likelihood's support. The values are read where that costs nothing: in main memory,
                and not in what is compiled.
        """
        require_pair(x, z, self.pixels, self.latent)
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            require_data(x.reshape(-1, self.pixels), self.pixels, self.likelihood)
        return self.decoded(z, c).log_prob(x)

    def log_joint(self, x: Tensor, z: Tensor, c: Condition = None) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z), in nats; shapes, errors as ``log_likelihood``."""
        log_likelihood = self.log_likelihood(x, z, c)  # first, as it looks at the shapes
        return self.prior_given(c).log_prob(z) + log_likelihood

    def log_likelihood_pairs(
        self,
        x: Float[Tensor, "batch pixel"],
        z: Float[Tensor, "cells latent"],
        c: Condition = None,
    ) -> Float[Tensor, "batch cells"]:
        """log p(x | z, c) of every x, each with the c of its row, with every z, in nats."""
        require_data(x, self.pixels, self.likelihood)

        def pairs(x: Tensor, c: Tensor | None) -> Tensor:
            return self.likelihood.log_prob_pairs(x, self._decoded(z, c))

        return self._by_label(pairs, x, c, len(z))

    def log_joint_pairs(
        self,
        x: Float[Tensor, "batch pixel"],
        z: Float[Tensor, "cells latent"],
        c: Condition = None,
    ) -> Float[Tensor, "batch cells"]:
        """log p(x, z) of every x with every z, in nats: what `vaelib.latent.grid_evidence` sums."""

        def prior(x: Tensor, c: Tensor | None) -> Tensor:
            return self.prior_given(c).log_prob(z).expand(len(x), -1)

        return self.log_likelihood_pairs(x, z, c) + self._by_label(prior, x, c, len(z))

    def _by_label(
        self,
        pairs: Callable[[Tensor, Tensor | None], Tensor],
        x: Tensor,
        c: Condition,
        cells: int,
    ) -> Float[Tensor, "batch cells"]:
        """Rows of one condition together, so that cells are decoded once for each condition."""
        c = one_hot(self, c, self._zeros, len(x))
        if c is None:
            return pairs(x, None)
        found = x.new_empty(len(x), cells)
        kinds, which = torch.unique(c, dim=0, return_inverse=True)
        for number, kind in enumerate(kinds):
            rows = which == number
            found[rows] = pairs(x[rows], kind.expand(cells, *kind.shape))
        return found

    @torch.no_grad()
    def sample(
        self, n: int, c: Condition = None, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) by ancestral sampling, without a gradient: z from the prior, x given z."""
        c = one_hot(self, c, self._zeros, n)
        if self._prior is None:
            z = self._zeros.new_empty(n, self.latent).normal_(generator=generator)
        else:
            z = self._prior.sample(n, c, generator=generator)
        return self.likelihood.sample(self._decoded(z, c), generator), z

    def _decoded(self, z: Tensor, c: Condition) -> Tensor:
        """The decoder's output: all numbers of each pixel, in the precision of z."""
        if z.shape[-1] != self.latent:
            raise BadValue(f"expected z of shape [*batch, {self.latent}], got {tuple(z.shape)}")
        c = one_hot(self, c, z, z.shape[-2] if z.ndim > 1 else 1)
        raw = cast(Tensor, called(self.decoder, z[..., : self._visible], c))
        size = self.likelihood.width(self.pixels)
        if raw.shape[-1] != size:
            raise BadValue(
                f"expected a decoder that returns {self.pixels} pixels x "
                f"{self.likelihood.per_pixel} numbers for {type(self.likelihood).__name__} = "
                f"{size}, got {raw.shape[-1]}; choose a decoder of that size"
            )
        return raw
