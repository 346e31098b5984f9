"""Inference as a function: one network from x to the parameters of q(z | x), for all x.

Beside it stands what it replaces: inference for each datum anew (`laplace`, `refine`). Networks
learn here from pairs (x, z) simulated from a **known** model, so no bound is needed yet; a VAE does
not know its model and learns from the ELBO instead (`vaelib.elbo`).

Chapter: :doc:`/book/amortized`.
"""

from vaelib.amortized.diagnostics import Coverage, coverage, diagonal_floor
from vaelib.amortized.heads import CholeskyHead, DiagonalHead, Simulator, fit_to_pairs
from vaelib.amortized.per_datum import laplace, refine

__all__ = [
    "CholeskyHead",
    "Coverage",
    "DiagonalHead",
    "Simulator",
    "coverage",
    "diagonal_floor",
    "fit_to_pairs",
    "laplace",
    "refine",
]
