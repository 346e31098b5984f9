"""One table of everything that is reported of a model, over seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from textwrap import wrap
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from vaelib.arguments import BadValue
from vaelib.evaluate.encoder import ElboEstimate, active_units, elbo
from vaelib.evaluate.evidence import log_evidence
from vaelib.evaluate.grid import grid_log_evidence, has_grid
from vaelib.evaluate.proposal import Trust, refined_q, trust
from vaelib.latent import EvidenceEstimate
from vaelib.vae import DeepLatentModel, Model, require_model
from vaelib.vae.condition import Condition, one_hot

__all__ = ["Evidence", "Report", "Scores", "report"]


class Evidence(NamedTuple):
    """L_K of a data set from one proposal, in nats per datum.

    >>> found = Evidence(-95.0, standard_error=0.5, sampling_error=0.1, effective_samples=310.0)
    >>> round((found.sampling_error / found.standard_error) ** 2, 2)  # a part of the variance
    0.04
    """

    mean: float
    standard_error: float  # of the mean, over data
    sampling_error: float  # the part of it that more samples would reduce
    effective_samples: float  # the median over data


class Scores(NamedTuple):
    """One column of a `Report`: one model, in nats per datum where no unit is named.

    >>> bound = ElboEstimate(-100.0, standard_error=0.5, log_likelihood=-75.0, kl=25.0)
    >>> found = Evidence(-95.0, standard_error=0.5, sampling_error=0.1, effective_samples=310.0)
    >>> its = Scores(bound, found, None, 14, None, 16, None, None, None, 0.184, 0.175, ())
    >>> its.evidence.mean - its.elbo.elbo  # nats that q loses at least: its KL from the posterior
    5.0
    """

    elbo: ElboEstimate
    evidence: Evidence  # from the encoder's q
    refined: Evidence | None  # from `refined_q`, if that was asked for and can be done
    active_units: int | None  # None of a model without a q
    upper_units: int | None  # of these, those in the upper of two layers
    latent: int  # of two layers, of both together
    trust: Trust | None  # None of a model whose q cannot be moved
    grid: float | None  # exact, with one or two latent dimensions
    grid_error: float | None  # the mean of `GridEvidence.error`, in nats
    elbo_bits: float  # the ELBO in bits per dimension; lower is better
    bits: float  # L_K in bits per dimension, from the refined q if there is one
    notes: tuple[str, ...]  # what the likelihood says of itself


@dataclass(frozen=True)
class Report:
    """What `report` found. ``print`` it: its string is one table.

    >>> from torch import nn
    >>> from vaelib.nets import LinearEncoder, MLPDecoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(LinearEncoder(4, 3), MLPDecoder(3, 4, hidden=()))
    >>> _ = [nn.init.zeros_(p) for p in model.parameters()]  # q is the prior, and a pixel a coin
    >>> found = report(model, torch.zeros(5, 4), samples=10)
    >>> for line in str(found).splitlines()[:4]:
    ...     print(line)
    nats per datum            model
    ELBO                      -2.77
      ELBO's standard error    0.00
    rate                       0.00
    """

    scores: dict[str, Scores]  # by the name of the seed
    data: int
    values: int  # of a datum
    seen: float  # of these, how many are not missing: the mean over data
    samples: int
    threshold: float
    alike: bool  # all models have one description: they differ in their weights only
    left_out: bool = False  # log p(x) on a grid, which could be had

    @property
    def bits(self) -> dict[str, float]:
        """Bits per dimension of each model, from L_K."""
        return {name: s.bits for name, s in self.scores.items()}

    def rows(self) -> dict[str, list[float | None]]:
        """The table's numbers: for each row, one value per model."""
        columns, l_k = self.scores.values(), f"L_{self.samples}"
        rows: dict[str, list[float | None]] = {
            "ELBO": [s.elbo.elbo for s in columns],
            "  ELBO's standard error": [s.elbo.standard_error for s in columns],
            "rate": [s.elbo.rate for s in columns],
            "distortion": [s.elbo.distortion for s in columns],
            l_k: [s.evidence.mean for s in columns],
            f"  {l_k}'s standard error": [s.evidence.standard_error for s in columns],
            "  of that, sampling": [
                None if self.samples == 1 else s.evidence.sampling_error for s in columns
            ],
            "  too low by at least": [s.trust and max(s.trust.shortfall, 0.0) for s in columns],
            "effective samples": [s.evidence.effective_samples for s in columns],
        }
        if any(s.refined for s in columns):
            rows |= {
                f"{l_k}, q refined": [s.refined and s.refined.mean for s in columns],
                "  standard error, q refined": [
                    s.refined and s.refined.standard_error for s in columns
                ],
                "effective samples, q refined": [
                    s.refined and s.refined.effective_samples for s in columns
                ],
            }
        rows["bits per dimension, ELBO"] = [s.elbo_bits for s in columns]
        rows[f"bits per dimension, {l_k}"] = [s.bits for s in columns]
        rows["active units"] = [
            s.active_units if s.active_units is None else float(s.active_units) for s in columns
        ]
        if any(s.upper_units is not None for s in columns):
            rows["  of these in the upper layer"] = [
                s.upper_units if s.upper_units is None else float(s.upper_units) for s in columns
            ]
        if any(s.grid is not None for s in columns):
            rows["log p(x) on a grid"] = [s.grid for s in columns]
            rows["  the grid's error"] = [s.grid_error for s in columns]
        return rows

    def __str__(self) -> str:
        several = len(self.scores) > 1 and self.alike
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
        notes = [wrap(note, 76, subsequent_indent="  ") for note in self._notes()]
        return "\n".join([*lines, "", *chain.from_iterable(notes)])

    def _notes(self) -> list[str]:
        refined = [s.refined is not None for s in self.scores.values()]
        sizes = "/".join(str(n) for n in sorted({s.latent for s in self.scores.values()}))
        notes = [
            f"{self.data} data. Standard errors are over data"
            + (
                f", the deviation over {len(self.scores)} models (n−1)."
                if len(self.scores) > 1 and self.alike
                else "."
            ),
            f"Effective samples: median over data, of {self.samples}. Active units: of {sizes}, "
            f"variance of q's mean over these data > {self.threshold:g} of the prior's.",
            f"Bits per dimension: minus nats / log 2, by the {self._dimensions()}. Lower is "
            f"better{', L_K is that of the q refined' * any(refined)}.",
        ]
        if not self.alike:
            notes.append(
                "The models differ in more than their weights: no deviation over them is given, "
                "as it would not say how far another seed lies."
            )
        unchecked = [name for name, s in self.scores.items() if s.trust is None]
        if unchecked:
            notes.append(
                f"Neither checked nor refined: L_{self.samples} of {', '.join(unchecked)}, whose q "
                f"cannot be moved."
            )
        if self.left_out:
            notes.append(
                "log p(x) on a grid, exact with so few latent dimensions, is left out: it would "
                "take long. vaelib.evaluate.grid_log_evidence(model, x) has it, of a few x."
            )
        notes += dict.fromkeys(note for s in self.scores.values() for note in s.notes)
        for name, s in self.scores.items():
            if s.trust is None or s.trust.trusted:
                continue
            short = f"WARNING, {name}: L_{self.samples} from the encoder's q is at least "
            short += f"{s.trust.shortfall:.2f} nats too low"
            notes.append(
                f"{short}; take L_{self.samples}, q refined."
                if s.refined
                else f"{short} on the data checked, {s.trust.worst:.1f} at the worst; "
                f"report(refine=True) adds a better one."
            )
        return notes

    def _dimensions(self) -> str:
        if self.seen == self.values:
            return f"{self.values} values of a datum"
        return f"values that are seen, {self.seen:.4g} of {self.values} in the mean"


def report(
    models: Model | Sequence[Model] | Mapping[str, Model],
    x: Float[Tensor, "n pixel"],
    c: Condition = None,
    *,
    samples: int = 5000,
    check: int = 100,
    elbo_samples: int = 10,
    threshold: float = 0.01,
    refine: bool = False,
    grid: bool = True,
    at_once: int = 25,
    batch_size: int = 100,
    generator: torch.Generator | None = None,
) -> Report:
    """ELBO, rate, distortion, L_K, active units and exact evidence of one model or several seeds.

    ``print(evaluate.report({"seed 0": first, "seed 1": second}, x))`` is what it is for. It draws
    ``samples`` z for every datum of x: that many passes of the decoder, so give it a part of a test
    set where there is no accelerator.

    Args:
        models: one `vaelib.vae.Model`, several that differ in their seed, or a mapping from names
            to models.
        x: held-out data, shape ``[n, pixel]``, the same for all models. A missing value is NaN,
            under `vaelib.likelihood.Missing`; bits are then of what is seen.
        c: labels, ``int64 [n]``, or one for all, of models with a condition.
        samples: K of `log_evidence`, whose proposal is the encoder's q.
        check: data on which `trust` compares that with another proposal.
        elbo_samples: samples of z per datum for `elbo`.
        threshold: of `active_units`.
        refine: give L_K from `refined_q` too, where there is one, and let `trust` compare all data.
        grid: with one or two latent dimensions give log p(x) by `grid_log_evidence` too. Of a
            likelihood whose pairs of x and z are no product of matrices it may take hours.
        at_once: samples of a datum in memory; see `log_evidence`. An accelerator wants thousands.
        batch_size: data at a time, except on the grid.
        generator: source of all noise, on the data's device.

    Returns:
        `Report`. Its deviation is the sample standard deviation over models, divided by n - 1: how
        far another seed may be expected to lie. One model has none, and neither have models of
        which ``print(model)`` shows different descriptions.

    Raises:
        TypeError, ValueError: if there is no model, or x is not data for one of them.
        FloatingPointError: if a number is not finite; names it.

    >>> from torch import nn
    >>> from vaelib.nets import LinearEncoder, MLPDecoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(LinearEncoder(4, 3), MLPDecoder(3, 4, hidden=()))
    >>> _ = [nn.init.zeros_(p) for p in model.parameters()]  # q is the prior, and a pixel a coin
    >>> found = report({"coin": model}, torch.zeros(5, 4), samples=10)
    >>> round(found.bits["coin"], 3)  # bits per dimension: a model of use needs fewer than a coin
    1.0
    """
    if not isinstance(models, Mapping):
        if isinstance(models, Sequence):
            models = {f"seed {i}": model for i, model in enumerate(models)}
        else:
            models = {"model": models}
    if not models:
        raise BadValue("report: expected at least one model, got none")
    for model in models.values():
        require_model(model, "report")
    scores: dict[str, Scores] = {}
    left_out = False
    seen = (~x.isnan()).sum().item() / max(len(x), 1)
    if not seen:
        raise BadValue(f"report: expected data of which something is seen, got {len(x)} without")
    for name, model in models.items():
        given = one_hot(model, c, x, len(x))
        bound = elbo(
            model, x, given, samples=elbo_samples, batch_size=batch_size, generator=generator
        )
        l_k = partial(
            log_evidence,
            model,
            x,
            given,
            samples=samples,
            at_once=at_once,
            batch_size=batch_size,
            generator=generator,
        )
        encoder = l_k()
        refined = checked = exact = active = upper = None
        left_out |= not grid and has_grid(model, given)
        if model.posterior is not None:
            units = active_units(
                model, x, given, threshold=threshold, batch_size=batch_size, generator=generator
            )
            active = int(units.sum())
            if len(model.layers) > 1:
                upper = int(units[model.layers[0] :].sum())
            if refine:
                better = refined_q(model, x, given, batch_size=batch_size, generator=generator)
                refined = l_k(q=better)
            checked = trust(
                model,
                x,
                given,
                samples=samples,
                check=len(x) if refine else check,
                encoder=encoder,
                refined=refined,
                at_once=at_once,
                batch_size=batch_size,
                generator=generator,
            )
        if grid and has_grid(model, given):
            exact = grid_log_evidence(cast(DeepLatentModel, model), x, given)
        scores[str(name)] = Scores(
            bound,
            _evidence(encoder),
            None if refined is None else _evidence(refined),
            active,
            upper,
            model.latent,
            checked,
            None if exact is None else exact.log_evidence.mean().item(),
            None if exact is None else exact.error.mean().item(),
            _bits(bound.elbo, seen),
            _bits((encoder if refined is None else refined).log_evidence.mean().item(), seen),
            tuple(model.likelihood.notes()),
        )
    alike = len({repr(model) for model in models.values()}) == 1
    return Report(scores, len(x), x.shape[1], seen, samples, threshold, alike, left_out)


def _evidence(estimate: EvidenceEstimate) -> Evidence:
    values, n = estimate.log_evidence, len(estimate.log_evidence)
    return Evidence(
        values.mean().item(),
        (values.std() / n**0.5).item(),
        (estimate.standard_error.square().mean() / n).sqrt().item(),
        estimate.effective_sample_size.median().item(),
    )


def _bits(nats: float, values: float) -> float:
    """Of all data over all that is seen of them: a datum with few values counts for little."""
    return -nats / (math.log(2) * values)


def _number(name: str, value: float) -> str:
    if name.startswith(("effective samples", "active units", "  of these")):
        return f"{value:.0f}"
    return f"{value:.{_digits(name)}f}"


def _digits(name: str) -> int:
    if name == "  the grid's error":
        return 4
    return 3 if name.startswith("bits") else 2


def _over_seeds(name: str, values: Sequence[float | None]) -> str:
    """Mean and sample standard deviation; of errors there is none worth a place."""
    found = [v for v in values if v is not None]
    if name.startswith("  ") or len(found) < 2:
        return ""
    mean = math.fsum(found) / len(found)
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in found) / (len(found) - 1))
    return f"{mean:.{_digits(name)}f} ± {deviation:.{_digits(name)}f}"
