"""Likelihoods p(x | z): what a decoder's raw output says about the data, as a distribution.

A likelihood fits its data: of pictures, `Bernoulli` binarized pixels, `ContinuousBernoulli` or
`Gaussian` grey ones, `Categorical` grey ones by their level, `Logistics` grey or coloured ones by
their level; `Gaussian` and `StudentT` numbers, `Poisson` and `NegativeBinomial` counts, and
`Missing`, around another, what has holes. It prepares its data itself (`Likelihood.prepare`), so
that nobody trains a density on zeros and ones by mistake. Each has its normalizing constant, so
that log p(x | z) is a log-probability or log-density in nats, of the data in their own units.
Densities of grey values and probabilities of grey levels are not to be compared: the first may be
above 1. To add one, subclass `Likelihood`: its support, its remedy and its `Likelihood.forward` are
enough.
"""

from vaelib.likelihood.counts import NegativeBinomial, Poisson
from vaelib.likelihood.family import Likelihood
from vaelib.likelihood.logistics import Logistics
from vaelib.likelihood.missing import Missing
from vaelib.likelihood.numbers import Gaussian, StudentT
from vaelib.likelihood.pictures import Bernoulli, Categorical, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Gaussian",
    "Likelihood",
    "Logistics",
    "Missing",
    "NegativeBinomial",
    "Poisson",
    "StudentT",
]
