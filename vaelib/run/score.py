"""Scores of data: log p(x) of each, with what there is to say of its error, and how odd it is."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from vaelib import evaluate
from vaelib.arguments import BadValue
from vaelib.nets import evaluation_mode
from vaelib.run.odd import Usual
from vaelib.vae import Model

__all__ = ["Score", "score"]

FEW = 10  # effective samples below which log p(x) is likely too low
ELBO_SAMPLES = 10


@dataclass(frozen=True)
class Score:
    """What a model says of each datum, in nats, each ``[n]``; higher is likelier.

    Of pixels and counts log p(x) is a log-probability; of numbers it is a log-density, which is in
    the data's own units: a metre told in millimetres costs log 1000 = 6.9 nats.

    Attributes:
        log_prob: the estimate of log p(x) from K samples, a lower bound in expectation.
        elbo: the ELBO, which is lower; its gap says how far q is from the posterior.
        error: the standard error of ``log_prob`` by sampling. Where q misses the posterior's mass
            it looks small all the same; ``effective`` near 1 is a sign of it.
        effective: effective samples, from 1 to K.
        bits: minus ``log_prob`` in bits per value of a datum that is seen.
        warning: what is to be said of them before they are used, or None.
        ink: the mean value of a picture, or of a row of counts; None of a table of numbers.
        samples: K.

    >>> from vaelib import fit
    >>> run = fit(torch.randn(200, 2), net="linear", latent=1, epochs=1, progress=False)
    >>> score = run.log_prob(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), samples=20)
    >>> score.oddness(None).argmax(), len(score)  # the second row is the odd one
    (tensor(1), 2)
    """

    log_prob: Float[Tensor, " n"]
    elbo: Float[Tensor, " n"]
    error: Float[Tensor, " n"]
    effective: Float[Tensor, " n"]
    bits: Float[Tensor, " n"]
    warning: str | None
    ink: Float[Tensor, " n"] | None
    samples: int
    _usual: Callable[[], Usual] = field(repr=False)

    def __len__(self) -> int:
        return len(self.log_prob)

    def oddness(self, against: str | None = "ink") -> Float[Tensor, " n"]:
        """How odd each datum is, in nats; higher is odder. See ``vaelib.run.odd``.

        Args:
            against: ``"ink"`` counts how far a datum lies below what is usual for its ink, which a
                curve through the run's held-out data says. None is minus log p(x) itself, for
                tables: of pictures it ranks a blank sheet below all others.

        Raises:
            ~vaelib.arguments.BadValue: if data have no ink, or the run has no held-out data at
                hand; says what to do.
        """
        if against is None:
            return -self.log_prob
        ink = self._ink(against)
        return self.usual()(ink) - self.log_prob

    def usual(self) -> Usual:
        """The curve over ink that `oddness` compares with; made when it is first asked for."""
        return self._usual()

    def beyond(self) -> Tensor:
        """True where a datum has less ink, or more, than any held out: its oddness is a guess."""
        ink = self._ink("ink")
        return self.usual().beyond(ink)

    def _ink(self, against: str) -> Tensor:
        if against != "ink":
            raise BadValue(f"oddness: expected against='ink' or None, got {against!r}", "against")
        if self.ink is None:
            raise BadValue(
                "oddness: a table of numbers has no ink; take against=None, minus log p(x) itself",
                "against",
            )
        return self.ink


@torch.no_grad()
def score(
    model: Model,
    x: Float[Tensor, "n values"],
    c: Tensor | None,
    *,
    samples: int,
    refine: bool,
    ink: Tensor | None,
    usual: Callable[[], Usual],
    at_once: int,
    batch_size: int,
    generator: torch.Generator,
) -> Score:
    """Score data as a model takes them; see `Score`.

    Args:
        model: with a q(z | x).
        x: data in the likelihood's support.
        c: labels, if the model has a condition.
        samples: K.
        refine: take a better proposal than the encoder's q.
        ink: of each datum, if it has any.
        usual: makes the curve that ``oddness`` needs.
        at_once, batch_size: see `vaelib.evaluate.log_evidence`.
        generator: of the noise.
    """
    model.require_data(x)
    q = None
    if refine:
        q = evaluate.refined_q(model, x, c, batch_size=batch_size, generator=generator)
    found = evaluate.log_evidence(
        model,
        x,
        c,
        samples=samples,
        q=q,
        at_once=at_once,
        batch_size=batch_size,
        generator=generator,
    )
    bounds = []
    with evaluation_mode(model):
        for start in range(0, len(x), batch_size):
            some = slice(start, start + batch_size)
            its = None if c is None else c[some]
            eps = model.noise(len(x[some]), samples=ELBO_SAMPLES, generator=generator)
            bounds.append(model.terms(x[some], eps, its).elbo.mean(0))
    notes = [
        *model.likelihood.notes(),
        *_of_samples(found.effective_sample_size, samples, refine),
    ]
    return Score(
        log_prob=found.log_evidence,
        elbo=torch.cat(bounds),
        error=found.standard_error,
        effective=found.effective_sample_size,
        bits=model.likelihood.bits(found.log_evidence, x),
        warning=" ".join(notes) or None,
        ink=ink,
        samples=samples,
        _usual=usual,
    )


def _of_samples(effective: Tensor, samples: int, refine: bool) -> list[str]:
    """What few effective samples mean, if there are few."""
    if samples < FEW:
        return [f"Of {samples} samples nothing can be said of the error: take samples=500 or more."]
    few = int((effective < FEW).sum())
    if not few:
        return []
    more = "" if refine else "refine=True looks for a better q, "
    return [
        f"{few} of {len(effective)} data have fewer than {FEW} effective samples of {samples}: "
        f"their log p(x) is likely too low, by more than its error says ({more}samples="
        f"{10 * samples} helps; an odd datum has few in any case)."
    ]
