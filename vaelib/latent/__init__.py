"""Latent variable models whose evidence and posterior can be computed.

`LinearGaussian` in closed form, `NonlinearGaussian` on a grid. `grid_evidence` solves any model
with one or two latent dimensions, a neural one too.
"""

from vaelib.latent.evidence import Grid, GridPosterior, grid, grid_evidence
from vaelib.latent.gaussian import LinearGaussian, NonlinearGaussian

__all__ = [
    "Grid",
    "GridPosterior",
    "LinearGaussian",
    "NonlinearGaussian",
    "grid",
    "grid_evidence",
]
