"""Latent variable models whose evidence and posterior can be computed.

`DiscreteNetwork` by enumeration, `LinearGaussian` and `GaussianMixture` in closed form,
`NonlinearGaussian` on a grid. `grid_evidence` solves any model with one or two latent dimensions, a
neural one too; `importance_sampling` estimates the evidence in any number of dimensions.

Chapter: :doc:`/book/latent`.
"""

from vaelib.latent.discrete import DiscreteNetwork, Node
from vaelib.latent.evidence import (
    EvidenceEstimate,
    Grid,
    GridPosterior,
    LatentVariableModel,
    effective_sample_fraction,
    effective_sample_size,
    evidence_estimate,
    grid,
    grid_evidence,
    importance_sampling,
    log_mean_exp,
    prior_sampling,
)
from vaelib.latent.gaussian import LinearGaussian, NonlinearGaussian
from vaelib.latent.mixture import GaussianMixture, MixtureStatistics, stepwise_em

__all__ = [
    "DiscreteNetwork",
    "EvidenceEstimate",
    "GaussianMixture",
    "Grid",
    "GridPosterior",
    "LatentVariableModel",
    "LinearGaussian",
    "MixtureStatistics",
    "Node",
    "NonlinearGaussian",
    "effective_sample_fraction",
    "effective_sample_size",
    "evidence_estimate",
    "grid",
    "grid_evidence",
    "importance_sampling",
    "log_mean_exp",
    "prior_sampling",
    "stepwise_em",
]
