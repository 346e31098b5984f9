"""The autoencoder, with which the VAE is compared: a point for a code, and no prior."""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.arguments import require_network
from vaelib.likelihood import Likelihood
from vaelib.vae.model import chosen, require_data, require_fit, require_rows


class Autoencoder(nn.Module):
    """Two networks and a code between them: no prior, so it does not say where to sample a code.

    Args:
        encoder: module from ``[batch, pixels]`` to a code ``[batch, latent]``.
        decoder, likelihood: see `DeepLatentModel`.

    Raises:
        TypeError: if a network is none or lacks an attribute.
        ValueError: if they have different sizes.
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, *, likelihood: Likelihood | None = None
    ) -> None:
        super().__init__()
        require_network("Autoencoder", "decoder", decoder, "pixels")
        require_fit("Autoencoder", encoder, decoder)
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = chosen(likelihood, "Autoencoder")

    def encode(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, "batch latent"]:
        """The code of x, a point."""
        require_rows(x, cast(int, self.decoder.pixels))
        return self.encoder(x).to(x.dtype)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> Distribution:
        """p(x | z)."""
        return self.likelihood(self.decoder(z).to(z.dtype))

    def log_likelihood(self, x: Float[Tensor, "batch pixel"]) -> Float[Tensor, " batch"]:
        """log p(x | z) at the code of x, in nats. Not a bound on anything: there is no p(z).

        The reconstruction itself, an image, is ``decode(encode(x)).mean``.
        """
        require_data(x, cast(int, self.decoder.pixels), self.likelihood)
        return self.decode(self.encode(x)).log_prob(x)

    def forward(self, x: Tensor) -> Tensor:
        """The loss: minus the mean of log p(x | z) over the batch. It draws nothing."""
        return -self.decode(self.encode(x)).log_prob(x).mean()
