"""One table of everything that is reported of a model, over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vaelib.evaluate.encoder import ElboEstimate, active_units, elbo
from vaelib.evaluate.evidence import grid_log_evidence, log_evidence
from vaelib.evaluate.proposal import Trust, trust
from vaelib.vae import VAE

__all__ = ["Report", "Scores", "report"]


class Scores(NamedTuple):
    """One column of a `Report`: one model, in nats per datum where no unit is named."""

    elbo: ElboEstimate
    evidence: float  # L_K, the mean over data
    evidence_error: float  # its standard error over data
    sampling_error: float  # the part of it that more samples would reduce
    effective_samples: float  # the median over data
    active_units: int
    latent: int
    trust: Trust
    grid: float | None  # exact, with one or two latent dimensions
    grid_error: float | None  # the mean of `GridEvidence.error`


@dataclass(frozen=True)
class Report:
    """What `report` found. ``print`` it: its string is one table."""

    scores: dict[str, Scores]  # by the name of the seed
    data: int
    samples: int
    threshold: float

    def rows(self) -> dict[str, list[float | None]]:
        """The table's numbers: for each row, one value per model."""
        columns = self.scores.values()
        rows: dict[str, list[float | None]] = {
            "ELBO": [s.elbo.elbo for s in columns],
            "  ELBO's standard error": [s.elbo.standard_error for s in columns],
            "rate": [s.elbo.rate for s in columns],
            "distortion": [s.elbo.distortion for s in columns],
            f"L_{self.samples}": [s.evidence for s in columns],
            f"  L_{self.samples}'s standard error": [s.evidence_error for s in columns],
            "  of that, sampling": [s.sampling_error for s in columns],
            "effective samples": [s.effective_samples for s in columns],
            "active units": [float(s.active_units) for s in columns],
        }
        if any(s.grid is not None for s in columns):
            rows["log p(x) on a grid"] = [s.grid for s in columns]
            rows["  change with half the cells"] = [s.grid_error for s in columns]
        return rows

    def __str__(self) -> str:
        several = len(self.scores) > 1
        head = ["nats per datum", *self.scores, *(["mean ± deviation"] if several else [])]
        table = [head]
        for name, values in self.rows().items():
            line = [name, *("–" if v is None else _number(name, v) for v in values)]
            table.append([*line, _over_seeds(name, values)] if several else line)
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
            for row in table
        ]
        return "\n".join([*lines, "", *self._notes()])

    def _notes(self) -> list[str]:
        sizes = "/".join(str(n) for n in sorted({s.latent for s in self.scores.values()}))
        notes = [
            f"{self.data} data. Standard errors are over data"
            + (
                f"; the deviation is over {len(self.scores)} models (n - 1)."
                if len(self.scores) > 1
                else "."
            ),
            f"Effective samples: median over data, of {self.samples}. Active units: of {sizes}, "
            f"variance of q's mean over these data > {self.threshold:g}.",
        ]
        notes += [
            f"WARNING, {name}: L_{self.samples} from the encoder's q is at least "
            f"{s.trust.shortfall:.2f} nats too low on the data checked, {s.trust.worst:.1f} at the "
            f"worst; use log_evidence(…, q=refined_q(…))."
            for name, s in self.scores.items()
            if not s.trust.trusted
        ]
        return notes


def report(
    models: VAE | Sequence[VAE] | Mapping[str, VAE],
    x: Float[Tensor, "n pixel"],
    *,
    samples: int = 5000,
    check: int = 100,
    elbo_samples: int = 10,
    threshold: float = 0.01,
    generator: torch.Generator | None = None,
) -> Report:
    """ELBO, rate, distortion, L_K, active units and exact evidence of one model or several seeds.

    ``print(evaluate.report({"seed 0": first, "seed 1": second}, x))`` is what it is for. It draws
    ``samples`` z for every datum of x: that many passes of the decoder, so give it a part of a test
    set where there is no accelerator.

    Args:
        models: one `vaelib.vae.VAE`, several that differ in their seed, or a mapping from names to
            models.
        x: held-out data, shape ``[n, pixel]``, the same for all models.
        samples: K of `log_evidence`, whose proposal is the encoder's q.
        check: data on which `trust` compares that with another proposal.
        elbo_samples: samples of z per datum for `elbo`.
        threshold: of `active_units`.
        generator: source of all noise, on the data's device.

    Returns:
        `Report`. Its deviation is the sample standard deviation over models, divided by n - 1: how
        far another seed may be expected to lie. One model has none.

    Raises:
        TypeError, ValueError: if there is no model, or x is not data for one of them.
    """
    if isinstance(models, VAE):
        models = {"model": models}
    elif not isinstance(models, Mapping):
        models = {f"seed {i}": model for i, model in enumerate(models)}
    if not models:
        raise ValueError("report: expected at least one model, got none")
    scores = {}
    for name, model in models.items():
        bound = elbo(model, x, samples=elbo_samples, generator=generator)
        evidence = log_evidence(model, x, samples=samples, generator=generator)
        exact = grid_log_evidence(model, x) if model.latent <= 2 else None
        scores[str(name)] = Scores(
            bound,
            evidence.log_evidence.mean().item(),
            (evidence.log_evidence.std() / len(x) ** 0.5).item(),
            (evidence.standard_error.square().mean() / len(x)).sqrt().item(),
            evidence.effective_sample_size.median().item(),
            int(active_units(model, x, threshold=threshold).sum()),
            model.latent,
            trust(model, x, samples=samples, check=check, encoder=evidence, generator=generator),
            None if exact is None else exact.log_evidence.mean().item(),
            None if exact is None else exact.error.mean().item(),
        )
    return Report(scores, len(x), samples, threshold)


def _number(name: str, value: float) -> str:
    if name == "active units":
        return f"{value:.0f}"
    if name == "  change with half the cells":
        return f"{value:.4f}"
    return f"{value:.0f}" if name == "effective samples" else f"{value:.2f}"


def _over_seeds(name: str, values: Sequence[float | None]) -> str:
    """Mean and sample standard deviation; of errors there is none worth a place."""
    found = [v for v in values if v is not None]
    if name.startswith("  ") or len(found) < 2:
        return ""
    mean = math.fsum(found) / len(found)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in found) / (len(found) - 1))
    return f"{mean:.2f} ± {deviation:.2f}"
