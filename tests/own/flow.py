"""Affine couplings, as a posterior and as a prior."""

import torch
from torch import nn
from torch.distributions import Independent, Normal, Transform, TransformedDistribution, constraints

from vaelib.posterior import Posterior
from vaelib.prior import Prior
from vaelib.recipe import rebuildable


class Coupling(Transform):
    """One half of z is moved and stretched as the other half says."""

    domain = codomain = constraints.real_vector
    bijective = True

    def __init__(self, network, flip):
        super().__init__()
        self.network, self.flip = network, flip

    def _halves(self, z):
        kept, moved = z.tensor_split([z.shape[-1] // 2], -1)[:: -1 if self.flip else 1]
        said = self.network(kept).to(z.dtype)
        return kept, moved, *(t[..., : moved.shape[-1]] for t in said.chunk(2, -1))

    def _joined(self, kept, moved):
        return torch.cat((moved, kept) if self.flip else (kept, moved), -1)

    def _call(self, z):
        kept, moved, shift, log_scale = self._halves(z)
        return self._joined(kept, moved * log_scale.tanh().exp() + shift)

    def _inverse(self, y):
        kept, moved, shift, log_scale = self._halves(y)
        return self._joined(kept, (moved - shift) * (-log_scale.tanh()).exp())

    def log_abs_det_jacobian(self, z, y):
        return self._halves(z)[3].tanh().sum(-1)


def networks(latent):
    half = latent // 2, latent - latent // 2
    return nn.ModuleList(
        nn.Sequential(nn.Linear(n, 16), nn.SiLU(), nn.Linear(16, 2 * (latent - n))) for n in half
    )


@rebuildable
class FlowPosterior(Posterior):
    def __init__(self, latent):
        super().__init__()
        self.networks = networks(latent)

    def forward(self, loc, logvar):
        base = Independent(Normal(loc, torch.exp(0.5 * logvar), validate_args=False), 1)
        steps = [Coupling(network, i % 2) for i, network in enumerate(self.networks)]
        return TransformedDistribution(base, steps, validate_args=False)


@rebuildable
class FlowPrior(Prior):
    def __init__(self, latent):
        super().__init__()
        self.latent, self.networks = latent, networks(latent)
        self.register_buffer("zeros", torch.zeros(latent), persistent=False)

    def forward(self, c=None):
        base = Independent(Normal(self.zeros, self.zeros + 1, validate_args=False), 1)
        steps = [Coupling(network, i % 2) for i, network in enumerate(self.networks)]
        return TransformedDistribution(base, steps, validate_args=False)
