"""How good a trained model is, on data that it was not trained on, in nats per datum.

`elbo` averages what training climbed. `log_evidence` estimates log p(x) itself by importance
sampling, the number that papers compare; `trust` says when its proposal, the encoder's q, is too
poor for that, and `refined_q` gives a better one. With one or two latent dimensions
`grid_log_evidence` is exact. `report` puts everything into one table over seeds. `impute` fills the
holes of data of which a part is seen.

All take labels as c, for a model with a condition, and NaN for a value that is missing, under
`vaelib.likelihood.Missing`. Each asks a model by the methods of `vaelib.vae.Model`, and not for its
class.

Chapters: :doc:`/book/vae`, :doc:`/book/train`.
"""

from vaelib.evaluate.encoder import ElboEstimate, active_units, elbo
from vaelib.evaluate.evidence import log_evidence
from vaelib.evaluate.grid import GridEvidence, grid_log_evidence
from vaelib.evaluate.impute import Imputed, impute
from vaelib.evaluate.proposal import Trust, refined_q, trust
from vaelib.evaluate.table import Evidence, Report, Scores, report

__all__ = [
    "ElboEstimate",
    "Evidence",
    "GridEvidence",
    "Imputed",
    "Report",
    "Scores",
    "Trust",
    "active_units",
    "elbo",
    "grid_log_evidence",
    "impute",
    "log_evidence",
    "refined_q",
    "report",
    "trust",
]
