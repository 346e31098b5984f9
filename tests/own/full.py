"""A normal with a full covariance."""

import torch
from torch.distributions import MultivariateNormal
from torch.nn.functional import pad

from vaelib.posterior import Posterior
from vaelib.recipe import rebuildable


@rebuildable
class Full(Posterior):
    def __init__(self, latent):
        super().__init__()
        self.heads = 1 + latent  # loc, logvar, and the rows of a matrix below the first

    def forward(self, loc, logvar, *rows):
        below = pad(torch.stack(rows, -2), (0, 0, 1, 0)).tril(-1)
        root = below + torch.diag_embed(torch.exp(0.5 * logvar))
        return MultivariateNormal(loc, scale_tril=root, validate_args=False)
