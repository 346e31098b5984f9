"""The autoencoder, with which the VAE is compared: a point for a code, and no prior."""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.arguments import require_network
from vaelib.likelihood import Likelihood
from vaelib.recipe import rebuildable
from vaelib.vae.condition import Condition, one_hot, require_conditions
from vaelib.vae.protocol import Model, called, chosen, require_rows
from vaelib.vae.vae import require_fit


@rebuildable
class Autoencoder(Model):
    """Two networks and a code between them: no prior, so it does not say where to sample a code.

    Args:
        encoder: module from ``[batch, pixels]`` to a code ``[batch, latent]``.
        decoder, likelihood, condition: see `DeepLatentModel`.

    Raises:
        TypeError: if a network is none or lacks an attribute.
        ValueError: if they have different sizes or conditions.

    >>> from vaelib.nets import MLPDecoder
    >>> model = Autoencoder(nn.Linear(784, 2), MLPDecoder(2, 784))
    >>> model.encode(torch.zeros(5, 784)).shape, model.noise(5).shape  # without noise
    (torch.Size([5, 2]), torch.Size([5, 0]))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        likelihood: Likelihood | None = None,
        condition: int = 0,
    ) -> None:
        super().__init__()
        require_network("Autoencoder", "decoder", decoder, "pixels")
        self.pixels = cast(int, decoder.pixels)
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = chosen(likelihood, "Autoencoder")
        require_fit("Autoencoder", encoder, decoder, self.likelihood)
        require_conditions("Autoencoder", condition, encoder=encoder, decoder=decoder)
        self.condition = condition

    def extra_repr(self) -> str:
        """What print(model) shows beside the networks."""
        return f"condition={self.condition}" if self.condition else ""

    def noise(
        self,
        n: int,
        *,
        samples: int | None = None,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Float[Tensor, "*samples n 0"]:
        """None: a code is a point."""
        device = next(self.parameters()).device
        return torch.empty(*(() if samples is None else (samples,)), n, 0, device=device)

    def encode(
        self, x: Float[Tensor, "batch pixel"], c: Condition = None
    ) -> Float[Tensor, "batch latent"]:
        """The code of x, a point."""
        require_rows(x, self.pixels)
        c = one_hot(self, c, x, len(x))
        return cast(Tensor, called(self.encoder, self.likelihood.features(x), c))

    def decode(self, z: Float[Tensor, "*batch latent"], c: Condition = None) -> Distribution:
        """p(x | z), given the labels too where there are any."""
        c = one_hot(self, c, z, z.shape[-2] if z.ndim > 1 else 1)
        return self.likelihood(called(self.decoder, z, c))

    def log_likelihood(
        self, x: Float[Tensor, "batch pixel"], c: Condition = None
    ) -> Float[Tensor, " batch"]:
        """log p(x | z) at the code of x, in nats. Not a bound on anything: there is no p(z)."""
        self.require_data(x)
        return self.decode(self.encode(x, c), c).log_prob(x)

    def reconstruct(
        self, x: Float[Tensor, "batch pixel"], c: Condition = None
    ) -> Float[Tensor, "batch pixel"]:
        """The mean of p(x | z) at the code of x, an image to look at."""
        return self.decode(self.encode(x, c), c).mean

    def named_terms(
        self,
        x: Tensor,
        eps: Tensor,  # noqa: ARG002
        c: Condition = None,
    ) -> dict[str, Tensor]:
        """log p(x | z)."""
        return {"log_likelihood": self.decode(self.encode(x, c), c).log_prob(x)}

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,  # noqa: ARG002
        c: Condition = None,
        *,
        generator: torch.Generator | None = None,  # noqa: ARG002
    ) -> Tensor:
        """The loss: minus the mean of log p(x | z) over the batch. It draws nothing."""
        c = one_hot(self, c, x, len(x), read=False)
        return -self.decode(self.encode(x, c), c).log_prob(x).mean()
