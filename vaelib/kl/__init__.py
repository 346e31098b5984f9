"""KL divergences between distributions, in nats: closed forms, Monte Carlo, and sums over a line.

The package knows distributions and no model. `DiagonalNormal` is the family that every encoder of
the course returns; it keeps the log-variance it was made from, because the closed form needs it
exactly (see `kl_standard_normal`). `kl_monte_carlo` needs samples only; `kl_line`, `fit_forward`
and `fit_reverse` work in one dimension, for any density.

Chapter: :doc:`/book/kl`.
"""

from vaelib.kl.closed import DiagonalNormal, closed_kl, kl_normal, kl_standard_normal
from vaelib.kl.line import fit_forward, fit_reverse, kl_line
from vaelib.kl.monte_carlo import MonteCarlo, kl_monte_carlo, kl_monte_carlo_k3

__all__ = [
    "DiagonalNormal",
    "MonteCarlo",
    "closed_kl",
    "fit_forward",
    "fit_reverse",
    "kl_line",
    "kl_monte_carlo",
    "kl_monte_carlo_k3",
    "kl_normal",
    "kl_standard_normal",
]
