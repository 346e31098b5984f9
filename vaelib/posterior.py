r"""Posteriors q(z | x): what an encoder's raw outputs say about z, as a distribution.

`Diagonal` is the one that everybody means, and what a model has unless it is given another. To add
one, subclass `Posterior`: say how many numbers it needs for a latent, and make a distribution of
them. Sampling goes by `push`, which knows normals, and flows that need no inverse for it; a family
that it does not know brings a `Posterior.push` of its own.
"""

import math
from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
)

from vaelib.arguments import BadType
from vaelib.kl import DiagonalNormal, closed_kl
from vaelib.recipe import rebuildable

__all__ = ["Diagonal", "Posterior", "Raw", "push"]

Raw = tuple[Tensor, ...]  # what an encoder returns: `Posterior.heads` tensors [batch, latent]

# Added to a logvar before a climb: 2.7 times as wide, to meet the bumps beside it.
_WIDER = 2.0


def push(
    q: Distribution, eps: Float[Tensor, "*samples noise"]
) -> tuple[Float[Tensor, "*samples latent"], Float[Tensor, "*samples"]]:
    r"""A sample of q made of noise, and its log-density, both with their gradient.

    $$z = T_\phi(\varepsilon), \qquad
      \log q_\phi(z) = \log N(\varepsilon; 0, I) - \log|\det dT_\phi / d\varepsilon|$$

    So log q needs no inverse of T: a flow that is quick in one direction will do.

    Args:
        q: a `~vaelib.kl.DiagonalNormal`, ``MultivariateNormal`` or ``Independent(Normal(…), 1)``
            with the batch shape ``[*batch]``, or a ``TransformedDistribution`` over one of them.
        eps: standard normal noise, ``[*batch, latent]`` or with further axes in front.

    Returns:
        z, and log q(z) in nats.

    Raises:
        TypeError: if it is another family, a subclass of one of these included, which may have
            another density.

    References:
        Rezende and Mohamed, Variational Inference with Normalizing Flows (arXiv:1505.05770).

    >>> z, log_q = push(DiagonalNormal(torch.ones(1, 2), torch.zeros(1, 2)), torch.zeros(3, 1, 2))
    >>> z.shape, log_q[0]  # at the mode: -log 2π
    (torch.Size([3, 1, 2]), tensor([-1.8379]))
    """
    if type(q) is TransformedDistribution:
        z, log_q = push(q.base_dist, eps)
        for transform in q.transforms:
            here, z = z, transform(z)
            change = transform.log_abs_det_jacobian(here, z)
            # Of a transform that goes elementwise there is one number for each latent.
            log_q = log_q - (change if transform.domain.event_dim else change.sum(-1))
        return z, log_q
    normal = -0.5 * (eps.square() + math.log(2 * math.pi)).sum(-1)
    if type(q) is DiagonalNormal:
        return q.loc + torch.exp(0.5 * q.logvar) * eps, normal - 0.5 * q.logvar.sum(-1)
    if type(q) is MultivariateNormal:
        root = q.scale_tril
        stretch = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return q.loc + (root @ eps[..., None]).squeeze(-1), normal - stretch
    if type(q) is Independent and type(q.base_dist) is Normal and len(q.event_shape) == 1:
        return q.mean + q.stddev * eps, normal - q.stddev.log().sum(-1)
    raise BadType(
        f"push: expected a normal or a TransformedDistribution of one, got {type(q).__name__}; "
        f"give your Posterior a method push(q, eps) that returns z and log q(z)"
    )


class Posterior(nn.Module):
    """A family q(z | x) whose parameters are an encoder's raw outputs.

    A family of one's own has `heads` and `forward`; `push` too, if the function of that name does
    not know its distribution. `vaelib.vae.check_model` finds what does not fit together.

    Attributes:
        heads: how many numbers the encoder returns for one latent: a tuple of so many tensors
            ``[batch, latent]``. `vaelib.nets.MLPEncoder` takes it as ``heads``.
    """

    heads: int = 2

    def forward(self, *raw: Tensor) -> Distribution:
        """q(z | x), one distribution for each row of the encoder's outputs."""
        raise NotImplementedError

    def noise_size(self, latent: int) -> int:
        """How many standard normals make one z."""
        return latent

    def push(self, q: Distribution, eps: Tensor) -> tuple[Tensor, Tensor]:
        """z of the noise, and log q(z); see the function `push`."""
        return push(q, eps)

    def kl(self, q: Distribution, p: Distribution) -> Tensor | None:
        """KL(q ‖ p) in closed form, nats, ``[batch]``; None where there is none, or none is known.

        It is known for `~vaelib.kl.DiagonalNormal` and ``MultivariateNormal``, and for these only:
        a subclass may have another density.
        """
        return closed_kl(q, p)

    def means(
        self, q: Distribution, noise: Callable[[], Tensor]
    ) -> Float[Tensor, "s batch latent"]:
        """Values whose mean over the first axis estimates E[z], as exactly as the family allows.

        Args:
            q: of a batch.
            noise: draws standard normals ``[samples, batch, noise]``, if they are needed.
        """
        return self.push(q, noise())[0]

    def starts(self, raw: Raw, z: Tensor) -> list[Raw]:
        """Where a search for a better q begins: at the encoder's, and around z if it can be moved.

        Args:
            raw: the encoder's outputs for a batch.
            z: for each datum a likely place, ``[batch, latent]``.
        """
        del z
        return [raw]

    def remembering(self, raw: Raw) -> Distribution:
        """q, which knows what it was made from (`raw`)."""
        q = self(*raw)
        vars(q)["raw"] = raw
        return q

    def raw(self, q: Distribution) -> Raw:
        """The raw outputs that make q, if ``remembering`` made it or the family can tell."""
        if "raw" in vars(q):
            return cast(Raw, vars(q)["raw"])
        raise BadType(
            f"{type(self).__name__}: does not know which raw outputs make a {type(q).__name__}; "
            f"give it a method raw(q), the inverse of forward"
        )


@rebuildable
class Diagonal(Posterior):
    r"""$q(z \mid x) = N(\mu(x), \operatorname{diag}\sigma^2(x))$, of (loc, logvar).

    >>> Diagonal()(torch.zeros(5, 2), torch.zeros(5, 2)).stddev.shape
    torch.Size([5, 2])
    """

    def forward(self, *raw: Tensor) -> DiagonalNormal:  # noqa: D102
        loc, logvar = raw
        return DiagonalNormal(loc, logvar)

    def means(self, q: Distribution, noise: Callable[[], Tensor]) -> Tensor:  # noqa: ARG002
        """The mean itself, without noise."""
        return q.mean[None]

    def starts(self, raw: Raw, z: Tensor) -> list[Raw]:
        """Wider than the encoder's, around its mean and around z."""
        loc, logvar = raw
        return [(loc, logvar + _WIDER), (z, logvar + _WIDER)]

    def raw(self, q: Distribution) -> Raw:  # noqa: D102
        if type(q) is DiagonalNormal:
            return q.loc, q.logvar
        return super().raw(q)
