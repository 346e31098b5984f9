"""Learned priors p(z): mixtures of normals, free ones or made of the encoder's own posteriors.

The best prior for an encoder is the mean of its q(z | x) over the data, which no single normal
fits. Both priors here are modules: called, they return the distribution with its parameters as they
are now, and a model that is given one trains it with the rest.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily

from vaelib.kl import DiagonalNormal

__all__ = ["Mixture", "Prior", "VampPrior"]


class Prior(nn.Module):
    r"""A learned $p(z) = \sum_c \pi_c\, N(z;\, \mu_c, \operatorname{diag}\sigma_c^2)$.

    KL(q ‖ p) has no closed form for a mixture p. To add one, subclass it and write `components`.

    Attributes:
        latent: size of z.
    """

    latent: int

    def components(self) -> tuple[Float[Tensor, " component"], DiagonalNormal]:
        """The logits of the weights, and one normal over z for each component."""
        raise NotImplementedError

    def forward(self) -> MixtureSameFamily:
        """p(z). Its ``log_prob`` takes z ``[*batch, latent]`` and returns ``[*batch]``, in nats."""
        logits, normals = self.components()
        weights = Categorical(logits=logits, validate_args=False)
        return MixtureSameFamily(weights, normals, validate_args=False)

    @torch.no_grad()
    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n latent"]:
        """n samples of z: a component by its weight, then z of its normal. Without a gradient.

        Args:
            n: how many.
            generator: source of the randomness, on the parameters' device.
        """
        logits, normals = self.components()
        which = torch.multinomial(logits.softmax(0), n, replacement=True, generator=generator)
        eps = torch.empty_like(normals.loc[which]).normal_(generator=generator)
        return normals.loc[which] + torch.exp(0.5 * normals.logvar[which]) * eps


class Mixture(Prior):
    r"""A mixture whose weights, means and variances are all learned.

    It starts with equal weights and unit variances, and means drawn from N(0, I) by torch's own
    generator: from equal means the components would get equal gradients and stay one.

    Args:
        latent: size of z.
        components: how many normals, at least 1.

    Raises:
        ValueError: if a number is below 1.

    >>> prior = Mixture(2, 5)
    >>> prior().log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    def __init__(self, latent: int, components: int) -> None:
        super().__init__()
        _require_sizes("Mixture", latent=latent, components=components)
        self.latent = latent
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent))
        self.logvar = nn.Parameter(torch.zeros(components, latent))

    def components(self) -> tuple[Tensor, DiagonalNormal]:  # noqa: D102
        return self.logits, DiagonalNormal(self.loc, self.logvar)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"latent={self.latent}, components={len(self.logits)}"


class VampPrior(Prior):
    r"""The mean of the encoder's posteriors at learned pseudo-inputs $u_c \in [0, 1]$.

    $$p(z) = \frac1C \sum_{c=1}^C q_\phi(z \mid u_c)$$

    With the data themselves as pseudo-inputs this is the prior with the highest ELBO for this
    encoder; fewer that are learned cost less and overfit less. $u_c$ is the sigmoid of a parameter,
    so that no pixel leaves [0, 1] and none stops learning. The encoder belongs to the prior and to
    the VAE, and learns from both.

    Args:
        encoder: the VAE's, from ``[batch, pixels]`` to (loc, logvar), with the attribute
            ``latent``.
        pixels: size of a pseudo-input.
        components: how many, at least 1.

    Raises:
        TypeError: if the encoder lacks the attribute.
        ValueError: if a number is below 1.

    References:
        Tomczak and Welling, VAE with a VampPrior (arXiv:1705.07120).

    >>> from vaelib.nets import MLPEncoder
    >>> prior = VampPrior(MLPEncoder(784, 2), 784, components=10)
    >>> prior.sample(3).shape
    torch.Size([3, 2])
    """

    def __init__(self, encoder: nn.Module, pixels: int, components: int) -> None:
        super().__init__()
        _require_sizes("VampPrior", pixels=pixels, components=components)
        if not hasattr(encoder, "latent"):
            raise TypeError(
                f"VampPrior: expected an encoder with an integer attribute `latent`, got "
                f"{type(encoder).__name__} without one; set encoder.latent = …"
            )
        self.encoder = encoder
        self.latent = cast(int, encoder.latent)
        # sigmoid(-2) = 0.12, about the mean grey of a digit.
        self.raw = nn.Parameter(torch.randn(components, pixels) - 2)

    @property
    def pseudo_inputs(self) -> Float[Tensor, "component pixel"]:
        """The $u_c$, images to look at."""
        return self.raw.sigmoid()

    def components(self) -> tuple[Tensor, DiagonalNormal]:  # noqa: D102
        u = self.pseudo_inputs
        # Networks may compute in bfloat16 (train.fit's precision); densities are not for 8 bits.
        loc, logvar = (t.to(u.dtype) for t in self.encoder(u))
        return u.new_zeros(len(u)), DiagonalNormal(loc, logvar)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"components={len(self.raw)}"


def _require_sizes(name: str, **sizes: int) -> None:
    if min(sizes.values()) < 1:
        got = ", ".join(f"{size}={value}" for size, value in sizes.items())
        raise ValueError(f"{name}: expected every number to be at least 1, got {got}")
