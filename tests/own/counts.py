"""Pixels as numbers of photons."""

from torch.distributions import Independent, Poisson, constraints
from torch.nn.functional import softplus

from vaelib.likelihood import Likelihood
from vaelib.recipe import rebuildable


@rebuildable
class Counts(Likelihood):
    support, remedy = constraints.nonnegative_integer, "whole numbers, 0 or more"

    def prepare(self, pixels, *, generator=None):
        return pixels.float()

    def undo(self, x):
        return (x / 255).clamp(0, 1)

    def forward(self, raw):
        return Independent(Poisson(softplus(raw) + 1e-4, validate_args=False), 1)
