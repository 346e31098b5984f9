"""Likelihoods p(x | z): what a decoder's raw output says about the pixels, as a distribution.

A likelihood fits its data: `Bernoulli` binarized pixels, `ContinuousBernoulli` or `Gaussian` grey
ones. Each has its normalizing constant, so that log p(x | z) is a log-probability or log-density in
nats. To add one, subclass `Likelihood`.
"""

import math

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Independent, constraints
from torch.nn.functional import softplus

from vaelib.kl import DiagonalNormal

__all__ = ["Bernoulli", "ContinuousBernoulli", "Gaussian", "Likelihood"]


class Likelihood(nn.Module):
    """A family p(x | z), independent over pixels, whose parameters are a decoder's raw output."""

    support: constraints.Constraint
    remedy: str  # what x must be, for the error message

    def forward(self, raw: Tensor) -> Distribution:
        """p(x | z) from raw ``[*batch, pixel]``; its ``log_prob`` sums over pixels."""
        raise NotImplementedError

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:
        """One x per row of raw."""
        raise NotImplementedError

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """log p(x | z) in nats of every x ``[batch, pixel]`` with every raw ``[cells, pixel]``."""
        return self(raw).log_prob(x[:, None])


class Bernoulli(Likelihood):
    """p(x | z) of binarized pixels, x in {0, 1}. The decoder's output is the logits."""

    support = constraints.boolean
    remedy = "only 0 and 1 (vaelib.data.binarize makes them; ContinuousBernoulli takes grey pixels)"

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return Independent(distributions.Bernoulli(logits=raw, validate_args=False), 1)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        return torch.bernoulli(raw.sigmoid(), generator=generator)

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        r"""As $x^\top \ell - \sum \log(1 + e^{\ell})$: a matrix product, no 3-D tensor."""
        return x @ raw.mT - softplus(raw).sum(-1)


class ContinuousBernoulli(Likelihood):
    """p(x | z) of grey pixels, x in [0, 1] (Loaiza-Ganem and Cunningham, arXiv:1907.06845).

    A Bernoulli's formula on grey pixels does not integrate to one; this is the density that does.
    """

    support = constraints.unit_interval
    remedy = "values in [0, 1] (uint8 pixels divided by 255)"

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        distribution = distributions.ContinuousBernoulli(logits=raw, validate_args=False)
        return Independent(distribution, 1)

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        uniform = torch.empty_like(raw).uniform_(generator=generator)
        return distributions.ContinuousBernoulli(logits=raw).icdf(uniform)


class Gaussian(Likelihood):
    r"""p(x | z) = N(raw, σ² I) of real pixels, with its constant.

    Args:
        logvar: $\log\sigma^2$, where it starts.
        learned: False keeps it there.
    """

    support = constraints.real
    remedy = "real numbers"

    def __init__(self, logvar: float = 0.0, *, learned: bool = True) -> None:
        super().__init__()
        self.logvar = nn.Parameter(torch.tensor(logvar), requires_grad=learned)

    def forward(self, raw: Tensor) -> Distribution:  # noqa: D102
        return DiagonalNormal(raw, self.logvar.expand_as(raw))

    def sample(self, raw: Tensor, generator: torch.Generator | None) -> Tensor:  # noqa: D102
        eps = torch.empty_like(raw).normal_(generator=generator)
        return raw + torch.exp(0.5 * self.logvar) * eps

    def log_prob_pairs(self, x: Tensor, raw: Tensor) -> Tensor:
        """As a matrix product: the square of the distance is a sum of two norms and a product."""
        squared = x.square().sum(-1, keepdim=True) - 2 * x @ raw.mT + raw.square().sum(-1)
        constant = x.shape[-1] * (math.log(2 * math.pi) + self.logvar)
        return -0.5 * (squared * torch.exp(-self.logvar) + constant)
