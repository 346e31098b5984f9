"""Priors p(z): a normal that stays as it is, and learned mixtures of normals.

The best prior for an encoder is the mean of its q(z | x) over the data, which no single normal
fits. All priors here are modules: called, they return the distribution with its parameters as they
are now. Those of `Mixture` and `VampPrior` are trained with the model, those of `Fixed` only go
where it goes.
"""

import hashlib
from itertools import chain
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from vaelib.arguments import BadType, BadValue, require_network, require_sizes
from vaelib.draw import draw
from vaelib.kl import DiagonalNormal
from vaelib.recipe import rebuildable

__all__ = ["Components", "Fixed", "Mixture", "Prior", "VampPrior"]

# A description shows so many numbers; of more, their hash.
_SHOWN = 8


class Prior(nn.Module):
    """A family p(z), a module whose call returns the distribution.

    One of your own says its `latent` and makes its distribution in `forward`. Where its KL from q
    has no closed form, models estimate it at the same samples.

    Attributes:
        latent: size of z.
    """

    latent: int

    @property
    def visible(self) -> int:
        """How many of the first dimensions of z a decoder sees, all where there is one layer."""
        return self.latent

    def forward(self, c: Tensor | None = None) -> Distribution:
        """p(z), or p(z | c) for each row of a condition c.

        Its ``log_prob`` takes z ``[*batch, latent]`` and returns ``[*batch]``, in nats.
        """
        raise NotImplementedError

    def sample(
        self, n: int, c: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n latent"]:
        """n samples of z, without a gradient.

        Args:
            n: how many.
            c: a condition ``[n, …]``, where the prior has one.
            generator: source of the randomness, on the parameters' device.
        """
        p = self(c)
        return draw(p, () if p.batch_shape else (n,), generator=generator)

    def spread(self) -> Float[Tensor, " latent"]:
        """The variance of each dimension of z, from samples; an active unit moves a share of it."""
        tensors = chain(self.parameters(), self.buffers(), [torch.zeros(())])
        source = torch.Generator(next(tensors).device).manual_seed(0)
        return self.sample(10_000, generator=source).var(0)


class Components(Prior):
    r"""A mixture of normals, $p(z) = \sum_c \pi_c\, N(z;\, \mu_c, \operatorname{diag}\sigma_c^2)$.

    To add one, subclass it and write `components`. KL(q ‖ p) has no closed form.
    """

    def components(self) -> tuple[Float[Tensor, " component"], DiagonalNormal]:
        """The logits of the weights, and one normal over z for each component."""
        raise NotImplementedError

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        """p(z), whatever c is."""
        logits, normals = self.components()
        weights = Categorical(logits=logits, validate_args=False)
        return MixtureSameFamily(weights, normals, validate_args=False)

    def spread(self) -> Float[Tensor, " latent"]:
        """The variance of each dimension of z."""
        return self().variance

    @torch.no_grad()
    def sample(
        self,
        n: int,
        c: Tensor | None = None,  # noqa: ARG002
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n latent"]:
        """n samples of z: a component by its weight, then z of its normal; see `Prior.sample`."""
        logits, normals = self.components()
        which = torch.multinomial(logits.softmax(0), n, replacement=True, generator=generator)
        eps = torch.empty_like(normals.loc[which]).normal_(generator=generator)
        return normals.loc[which] + torch.exp(0.5 * normals.logvar[which]) * eps


@rebuildable
class Fixed(Prior):
    r"""A normal p(z) that is not learned, whose parameters are buffers.

    So they follow the model to its device and precision, lie in its ``state_dict`` and stand in
    what ``print(model)`` shows: two models with different priors are not taken for one another.
    `vaelib.vae.VAE` makes one of a distribution that it is given as its prior.

    Args:
        normal: a `~vaelib.kl.DiagonalNormal` or ``MultivariateNormal`` over one z, with ``loc``
            of shape ``[latent]``. Its tensors are copied.

    Raises:
        TypeError: if it is another distribution.
        ValueError: if it is a batch of distributions, its parameters are not finite, or one of
            them asks for a gradient: a learned prior is a `Prior` of its own.

    >>> Fixed(DiagonalNormal(torch.tensor([8.0, 8.0]), torch.zeros(2)))
    Fixed(loc=[8.0, 8.0], logvar=[0.0, 0.0])
    """

    loc: Tensor

    def __init__(self, normal: DiagonalNormal | MultivariateNormal) -> None:
        super().__init__()
        if isinstance(normal, DiagonalNormal):
            parts = {"loc": normal.loc, "logvar": normal.logvar}
        elif isinstance(normal, MultivariateNormal):
            parts = {"loc": normal.loc, "scale_tril": normal.scale_tril}
        else:
            raise BadType(
                f"expected a prior that is a vaelib.kl.DiagonalNormal, a MultivariateNormal or a "
                f"vaelib.prior.Prior, got {_kind(normal)}; DiagonalNormal(loc, 2 * scale.log()) is "
                f"a normal with independent dimensions"
            )
        if normal.loc.ndim != 1:
            raise BadValue(
                f"expected one prior for all data, with loc of shape [latent], got "
                f"{tuple(normal.loc.shape)}; take one row of it"
            )
        for name, tensor in parts.items():
            if tensor.requires_grad:
                raise BadValue(
                    f"expected a prior whose parameters are fixed, but its {name} asks for a "
                    f"gradient, and nothing would train it; use {name}.detach(), or "
                    f"vaelib.prior.Mixture(latent, 1), which is learned"
                )
            if not tensor.isfinite().all():
                raise BadValue(f"expected a prior with finite parameters, got {name}={tensor}")
            self.register_buffer(name, tensor.clone())
        self.latent = len(normal.loc)

    def forward(self, c: Tensor | None = None) -> DiagonalNormal | MultivariateNormal:  # noqa: ARG002
        """p(z), whatever c is."""
        if "logvar" in self._buffers:
            return DiagonalNormal(self.loc, self.get_buffer("logvar"))
        root = self.get_buffer("scale_tril")
        return MultivariateNormal(self.loc, scale_tril=root, validate_args=False)

    @torch.no_grad()
    def sample(
        self,
        n: int,
        c: Tensor | None = None,  # noqa: ARG002
        *,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n latent"]:
        """n samples of z; see `Prior.sample`."""
        p = self()
        eps = self.loc.new_empty(n, self.latent).normal_(generator=generator)
        if isinstance(p, MultivariateNormal):
            return p.loc + eps @ p.scale_tril.mT
        return p.loc + torch.exp(0.5 * p.logvar) * eps

    def spread(self) -> Float[Tensor, " latent"]:
        """The variance of each dimension of z."""
        return self().variance

    def extra_repr(self) -> str:
        """What print(model) shows: the parameters' values, or their hash where they are many."""
        return ", ".join(f"{name}={_values(t)}" for name, t in self.named_buffers())


def _values(tensor: Tensor) -> str:
    """All digits: what differs in the last one is another prior."""
    if tensor.numel() <= _SHOWN:
        return str(tensor.tolist())
    numbers = tensor.detach().cpu().double().contiguous().numpy()
    return f"{tuple(tensor.shape)} of SHA-256 {hashlib.sha256(numbers.data).hexdigest()[:16]}"


@rebuildable
class Mixture(Components):
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
        require_sizes("Mixture", latent=latent, components=components)
        self.latent = latent
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent))
        self.logvar = nn.Parameter(torch.zeros(components, latent))

    def components(self) -> tuple[Tensor, DiagonalNormal]:  # noqa: D102
        return self.logits, DiagonalNormal(self.loc, self.logvar)

    def extra_repr(self) -> str:
        """What print(model) shows."""
        return f"latent={self.latent}, components={len(self.logits)}"


@rebuildable
class VampPrior(Components):
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
        require_sizes("VampPrior", pixels=pixels, components=components)
        require_network("VampPrior", "encoder", encoder, "latent")
        if getattr(encoder, "pixels", pixels) != pixels:
            raise BadValue(
                f"VampPrior: expected pseudo-inputs of the encoder's {encoder.pixels} pixels, got "
                f"pixels={pixels}"
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


def _kind(value: object) -> str:
    return value.__name__ if isinstance(value, type) else f"a {type(value).__name__}"
