"""Data as a model's loss takes them: prepared by its likelihood, with the noise of its loss."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadValue
from vaelib.data import Binarization, binarize, kind
from vaelib.likelihood import Likelihood
from vaelib.train.batches import Batches, read
from vaelib.train.loader import Loader, undisturbed
from vaelib.train.rows import are_rows, pieces
from vaelib.vae import Model

Prepare = Callable[..., Tensor]  # from rows to data, with generator=

FOR = {  # what to do where a likelihood of vaelib's is not for the data
    "numbers": "for numbers take vaelib.likelihood.Gaussian or StudentT",
    "counts": "for counts take vaelib.likelihood.Poisson or NegativeBinomial",
}


@dataclass(frozen=True)
class Feed:
    """Rows, with a label for each if there are any, on their way to a model's loss.

    A tensor lies on the model's device, of an array a batch is read when it is its turn, and what
    comes in batches is taken as it comes.
    """

    model: Model
    rows: Any
    prepare: Prepare
    labels: Tensor | None = None

    @classmethod
    def on(
        cls, device: torch.device, model: Model, rows: Any, labels: Tensor | None, prepare: Prepare
    ) -> "Feed":
        """With a tensor and its labels moved to the device."""
        if isinstance(rows, Tensor):
            rows, labels = rows.to(device), None if labels is None else labels.to(device)
        return cls(model, rows, prepare, labels)

    def batches(self, size: int, generator: torch.Generator) -> Batches | Loader:
        """A pass over them."""
        if are_rows(self.rows):
            return Batches(self.rows, size, generator=generator)
        return Loader(self.rows, generator)

    def feed(self, batches: Batches | Loader) -> Iterator[list[Tensor]]:
        """What a step gets: row numbers, of which the device picks rows; or rows, with labels."""
        if isinstance(batches, Loader):
            yield from batches
        elif isinstance(self.rows, Tensor):
            yield from ([numbers] for numbers in batches.rows())
        else:
            for numbers in batches.rows():
                yield [read(self.rows, numbers), *self._labels(numbers)]

    def draw(self, first: Tensor, *labels: Tensor, generator: torch.Generator) -> list[Tensor]:
        """What the loss takes: [x, noise], or [x, noise, labels]."""
        rows = first
        if isinstance(self.rows, Tensor):
            rows, labels = self.rows[first], tuple(self._labels(first))
        x = self.prepare(rows, generator=generator)
        return [x, self.model.noise(len(x), generator=generator), *labels]

    def _labels(self, numbers: Tensor) -> list[Tensor]:
        return [] if self.labels is None else [self.labels[numbers]]

    def some(self, rows: int) -> list[Tensor]:
        """At most so many rows, with their labels, the same ones at each call."""
        if not are_rows(self.rows):
            return Loader(self.rows, torch.Generator()).first(rows)
        generator = torch.Generator().manual_seed(0)
        numbers = torch.randperm(len(self.rows), generator=generator)[:rows]
        if isinstance(self.rows, Tensor):
            numbers = numbers.to(self.rows.device)
        return [read(self.rows, numbers), *self._labels(numbers)]

    def measure(self) -> None:
        """Let the likelihood take from the rows what it needs, unless it has: its units stay."""
        likelihood = self.model.likelihood
        if any(bool(getattr(part, "measured", False)) for part in likelihood.modules()):
            return
        with undisturbed(self.rows):
            likelihood.measure(self.rows)

    def watched(self) -> int:
        """How many rows are measured after an epoch, so that it takes 3 % of one at most.

        A step takes about three times as long as a loss alone, so that would be a tenth of the
        rows; a thirtieth leaves room for the encoder, which runs twice. Of fewer than 3,000 rows it
        is more, as 100 are measured: a fifth of the time where an epoch is two steps.
        """
        n = len(self.rows)
        if not are_rows(self.rows):
            n *= len(Loader(self.rows, torch.Generator()).peek()[0])
        return min(1000, max(100, n // 30))


def preparation(
    likelihood: Likelihood, rows: Any, device: torch.device, binarization: Binarization | None
) -> tuple[Prepare, str]:
    """How rows become data, and its name. Raises if the likelihood is not for what it makes."""
    if binarization is not None and binarization not in get_args(Binarization):
        raise BadValue(
            f"fit: expected binarization one of {get_args(Binarization)} or None, got "
            f"{binarization!r}",
            "binarization",
        )
    name = type(likelihood).__name__
    if binarization is None:
        some = _first(rows, 100).to(device)
        x = likelihood.prepare(some, generator=torch.Generator(device))
        if _has_holes(rows, x) and not likelihood.support.check(x[:1, :1] * torch.nan).all():
            raise BadValue(
                f"fit: rows have missing values (NaN), to which {name} gives no density; let it "
                f"count what is seen: vaelib.likelihood.Missing({name}(…)), whose encoder takes "
                f"twice as many inputs",
                "rows",
            )
        if not likelihood.support.check(x).all():
            remedy = FOR.get(kind(some), f"set {name}.binarization, or write its prepare")
            raise BadValue(
                f"fit: {name}.prepare makes values from {x.min():.3g} to {x.max():.3g}, and it "
                f"gives a density to {likelihood.remedy}; {remedy}"
            )
        return likelihood.prepare, likelihood.binarization
    if binarization != "none":
        # 0 and 1 are in [0, 1] too, but a density of grey values would fit itself to two points.
        fits = likelihood.support.is_discrete
    else:
        fits = bool(likelihood.support.check(_values(rows).float() / 255).all())
    if not fits:
        raise BadValue(
            f"fit: binarization={binarization!r} does not fit {name}, which takes "
            f"{likelihood.remedy}. Leave binarization out, so that the likelihood prepares the "
            f"pixels, or choose a likelihood for what {binarization!r} makes",
            "binarization",
        )
    return partial(binarize, how=binarization), binarization


def _has_holes(rows: Any, x: Tensor) -> bool:
    """Whether there is a NaN: in all that is in memory, or among the first rows."""
    if isinstance(rows, Tensor) or type(rows) is np.ndarray:
        return kind(rows) == "numbers" and any(bool(some.isnan().any()) for some in pieces(rows))
    return bool(x.isnan().any())


def _first(rows: Any, n: int) -> Tensor:
    if are_rows(rows):
        return next(pieces(rows, n))
    return Loader(rows, torch.Generator()).first(n)[0]


def _values(rows: Any) -> Tensor:
    """Which of 0 … 255 occur."""
    found = torch.zeros(256, dtype=torch.bool)
    for some in pieces(rows) if are_rows(rows) else [_first(rows, 10_000)]:
        found[some.flatten().long().cpu()] = True
    return found.nonzero().flatten()
