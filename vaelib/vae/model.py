"""The model, without inference: what z says of x, and where z comes from."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.arguments import require_match, require_network
from vaelib.kl import DiagonalNormal
from vaelib.latent.evidence import require_pair
from vaelib.likelihood import Bernoulli, Likelihood
from vaelib.prior import Fixed, Prior


class ObservationModel(nn.Module):
    r"""$p_\theta(x \mid z)$: a decoder, and a likelihood whose parameters it returns.

    Args:
        decoder: module from ``[batch, latent]`` to ``[batch, pixels]`` with integer attributes
            ``latent`` and ``pixels``; see `vaelib.nets`. Where the likelihood has several numbers
            for a pixel, to ``[batch, pixels * per_pixel]``.
        likelihood: what the decoder's output means; must fit the data. see `vaelib.likelihood`.
            `~vaelib.likelihood.Bernoulli`, for binarized pixels, if None.

    Raises:
        TypeError: if the decoder lacks an attribute, or the likelihood is none.
        ValueError: if a size is below 1.
    """

    def __init__(self, decoder: nn.Module, *, likelihood: Likelihood | None = None) -> None:
        super().__init__()
        require_network(type(self).__name__, "decoder", decoder, "latent", "pixels")
        self.decoder = decoder
        self.likelihood = chosen(likelihood, type(self).__name__)
        self.latent, self.pixels = cast(int, decoder.latent), cast(int, decoder.pixels)
        self._zeros: Tensor
        # A buffer, so that priors and noise follow the model to its device and precision.
        self.register_buffer("_zeros", torch.zeros(self.latent), persistent=False)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> Distribution:
        """p(x | z), a distribution over x: its ``mean`` is not a sample of x.

        Raises:
            ValueError: if z, or what the decoder makes of it, has another size than it should.
        """
        if z.shape[-1] != self.latent:
            raise ValueError(f"expected z of shape [*batch, {self.latent}], got {tuple(z.shape)}")
        # Networks may compute in bfloat16 (train.fit's precision); densities are not for 8 bits.
        raw = self.decoder(z.reshape(-1, self.latent)).to(z.dtype)
        size = self.pixels * self.likelihood.per_pixel
        if raw.shape[-1] != size:
            raise ValueError(
                f"expected a decoder that returns {self.pixels} pixels x "
                f"{self.likelihood.per_pixel} numbers for {type(self.likelihood).__name__} = "
                f"{size}, got {raw.shape[-1]}; choose a decoder of that size"
            )
        return self.likelihood(raw.reshape(*z.shape[:-1], size))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), summed over pixels, in nats, shape ``[*batch]``.

        Raises:
            ValueError: if x or z has another size, if they do not broadcast, or if x leaves the
                likelihood's support. The values are read where that costs nothing: in main memory,
                and not in what is compiled.
        """
        require_pair(x, z, self.pixels, self.latent)
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            require_data(x.reshape(-1, self.pixels), self.pixels, self.likelihood)
        return self.decode(z).log_prob(x)

    def require_data(self, x: Tensor) -> None:
        """Raise unless x is a non-empty batch that the likelihood gives a density to."""
        require_data(x, self.pixels, self.likelihood)


class DeepLatentModel(ObservationModel):
    r"""$p_\theta(x, z) = p(z)\, p_\theta(x \mid z)$: a prior, a decoder and a likelihood.

    Args:
        decoder, likelihood: see `ObservationModel`.
        prior: p(z), a `~vaelib.kl.DiagonalNormal` or ``MultivariateNormal``, of which a
            `~vaelib.prior.Fixed` is made, or a `~vaelib.prior.Prior`, which is trained with the
            model; N(0, I) if None.

    Raises:
        TypeError: if the decoder lacks an attribute, or the prior is something else.
        ValueError: if prior and decoder have another size of z, or the prior's parameters are not
            finite or ask for a gradient.
    """

    def __init__(
        self,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        prior: DiagonalNormal | MultivariateNormal | Prior | None = None,
    ) -> None:
        super().__init__(decoder, likelihood=likelihood)
        if prior is not None and not isinstance(prior, Prior):
            prior = Fixed(prior)
        if prior is not None and prior.latent != self.latent:
            raise ValueError(
                f"expected prior and decoder for one size of z, got {prior.latent} and "
                f"{self.latent}; make the prior for {self.latent}"
            )
        # None is N(0, I): no module and no tensor that checkpoints without a prior would lack.
        self._prior = prior

    @property
    def prior(self) -> Distribution:
        """p(z), with its parameters as they are now."""
        return DiagonalNormal(self._zeros, self._zeros) if self._prior is None else self._prior()

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z), in nats; shapes, errors as ``log_likelihood``."""
        log_likelihood = self.log_likelihood(x, z)  # first, as it looks at the shapes
        return self.prior.log_prob(z) + log_likelihood

    def log_likelihood_pairs(
        self, x: Float[Tensor, "batch pixel"], z: Float[Tensor, "cells latent"]
    ) -> Float[Tensor, "batch cells"]:
        """log p(x | z) of every x with every z, in nats."""
        self.require_data(x)
        return self.likelihood.log_prob_pairs(x, self.decoder(z))

    def log_joint_pairs(
        self, x: Float[Tensor, "batch pixel"], z: Float[Tensor, "cells latent"]
    ) -> Float[Tensor, "batch cells"]:
        """log p(x, z) of every x with every z, in nats: what `vaelib.latent.grid_evidence` sums."""
        return self.log_likelihood_pairs(x, z) + self.prior.log_prob(z)

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) by ancestral sampling, without a gradient: z from the prior, x given z."""
        if self._prior is None:
            z = self._zeros.new_empty(n, self.latent).normal_(generator=generator)
        else:
            z = self._prior.sample(n, generator=generator)
        return self.likelihood.sample(self.decoder(z), generator), z


def chosen(likelihood: Likelihood | None, where: str) -> Likelihood:
    """The likelihood that was given, or that of binarized pixels."""
    if likelihood is None:
        return Bernoulli()
    if not isinstance(likelihood, Likelihood):
        shown = likelihood.__name__ if isinstance(likelihood, type) else repr(likelihood)
        raise TypeError(
            f"{where}: expected a likelihood of vaelib.likelihood, Gaussian() say, got {shown}"
        )
    return likelihood


def require_fit(where: str, encoder: nn.Module, decoder: nn.Module) -> None:
    """Raise unless the encoder is a module whose sizes, where it names them, are the decoder's."""
    require_network(where, "encoder", encoder)
    for name in ("latent", "pixels"):
        sizes = {
            f"{part}__{name}": getattr(network, name, None)
            for part, network in (("encoder", encoder), ("decoder", decoder))
        }
        require_match(where, **sizes)


def require_rows(x: Tensor, pixels: int) -> None:
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


def require_data(x: Tensor, pixels: int, likelihood: Likelihood) -> None:
    """The same, and that every value has a density."""
    require_rows(x, pixels)
    if not likelihood.support.check(x).all():
        found = "NaN" if x.isnan().any() else f"{x.min().item():.3g} … {x.max().item():.3g}"
        raise ValueError(
            f"expected data that {type(likelihood).__name__} gives a density to: "
            f"{likelihood.remedy}. Got values {found}"
        )
