"""A trained model in use: new data in, codes, scores, samples and what was missing out."""

import warnings
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from vaelib import data, evaluate
from vaelib.arguments import BadType, BadValue, require_whole
from vaelib.data import Columns, Kind, Layout, Pictures
from vaelib.posterior import Posterior
from vaelib.run import build
from vaelib.run.effort import affordable, checked, chunks, exact
from vaelib.run.labels import labels_of, one_label
from vaelib.run.odd import Usual, usual
from vaelib.run.score import FEW, Score, score
from vaelib.run.settings import MEMORY, Settings
from vaelib.train import Epoch
from vaelib.vae import Model

__all__ = ["Trained"]

HELD_OUT = "held_out.npz"  # of data that were in memory
ROWS = 1000  # that go through a network at once


class Trained:
    """What ``vaelib.fit`` and ``vaelib.load`` return: a model, and what it knows of its data.

    Data go in as they are: a path, an array or a tensor of pictures or rows, a
    `~vaelib.data.Dataset`. They must be laid out as those that the model was trained on. What comes
    out is in their units, pixels as v / 255, on the model's device. A label, where the model has a
    condition, is a number of `classes` or a name, one for all data or one for each; data that have
    labels of their own need none.

    Where pixels are drawn (a Bernoulli's are binarized), they are drawn once, by ``generator``, or
    else from a seed of 0, so that the same data have the same codes and scores.

    Attributes:
        model: the `vaelib.vae.Model`, in ``eval``.
        folder: of the run, if it has one.
        history: an `~vaelib.train.Epoch` for each that was trained.
        notes: what was chosen and changed when the data were read, a sentence each.
    """

    def __init__(
        self,
        model: Model,
        *,
        settings: Settings | Callable[[], Settings] | None = None,
        folder: Path | None = None,
        held_out: tuple[Any, Tensor | None] | None = None,
        history: Sequence[Epoch] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.model, self.folder = model.eval(), folder
        self.history, self.notes = list(history), tuple(notes)
        self._asked, self._held_out = settings, held_out
        self._usual: dict[tuple[int, bool], Usual] = {}

    def __repr__(self) -> str:
        return f"Trained({type(self.model).__name__}, {self.layout}, folder={self.folder})"

    @cached_property
    def settings(self) -> Settings | None:
        """The options of the run; None of a folder that `vaelib.train.fit` wrote."""
        return self._asked() if callable(self._asked) else self._asked

    @cached_property
    def layout(self) -> Layout:
        """What a row is; without settings a square, if the number of values is one."""
        if self.settings is not None:
            return self.settings.layout
        values = self.model.pixels
        side = round(values**0.5)
        if side * side == values:
            return Pictures(side, side)
        return Columns(tuple(f"x{i + 1}" for i in range(values)))

    @property
    def kind(self) -> Kind | None:
        """What the values are; None if nobody knows."""
        return None if self.settings is None else self.settings.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """What the labels are called."""
        return () if self.settings is None else tuple(self.settings.classes)

    @property
    def device(self) -> torch.device:
        """Where the model is, and what comes out of it."""
        return next(self.model.parameters()).device

    @property
    def prior(self) -> Distribution | None:
        """p(z)."""
        return self.model.prior

    @property
    def test(self) -> Any:
        """Rows that were held out, of the run's file, or as ``vaelib.fit`` kept them.

        Raises:
            FileNotFoundError, ~vaelib.arguments.BadValue: if they are not there any more, or are
                others; says what to do.
        """
        return self._held()[0]

    @property
    def test_labels(self) -> Tensor | None:
        """The labels of the rows that were held out, ``int64 [n]``, if there are any."""
        return self._held()[1]

    def _held(self) -> tuple[Any, Tensor | None]:
        if self._held_out is None:
            if self.settings is None:
                raise BadValue(
                    f"{self.folder}: nothing says what was held out, as vaelib.train.fit wrote it "
                    f"without settings; hand data over",
                    "data",
                )
            if self.settings.data == MEMORY and self.folder is not None:
                with np.load(self.folder / HELD_OUT, allow_pickle=False) as kept:
                    labels = kept["test_labels"] if "test_labels" in kept.files else None
                    rows = torch.from_numpy(kept["test"])
                found = (rows, None if labels is None else torch.from_numpy(labels))
            else:
                read = build.dataset(self.settings.data, self.settings.labels)
                found = (read.test, read.test_labels)
            build.require_held_out(self.settings, self.settings.data, found[0])
            self._held_out = found
        return self._held_out

    @torch.no_grad()
    def encode(
        self, data: Any, label: Any = None, *, generator: torch.Generator | None = None
    ) -> Distribution:
        """q(z | x) of each datum; its ``loc`` ``[n, latent]`` are the codes.

        Args:
            data: new data.
            label: of the data, if the model has a condition.
            generator: draws pixels, where they are drawn.
        """
        x, c = self._given(data, label, generator)
        return self._encoded(x, c)

    @torch.no_grad()
    def decode(self, z: Float[Tensor, "*batch latent"], label: Any = None) -> Distribution:
        """p(x | z), whose ``mean`` is in the data's units, and is no sample of x."""
        c = one_label(label, self.model, self.classes, len(z.reshape(-1, z.shape[-1])))
        if c is not None:
            c = c.to(self.device).view(z.shape[:-1])
        return self._decoded(z.to(self.device), c)

    @torch.no_grad()
    def reconstruct(
        self, data: Any, label: Any = None, *, generator: torch.Generator | None = None
    ) -> Distribution:
        """p(x | z) at a z that is drawn from q(z | x): what a code keeps of a datum.

        Args:
            data: new data.
            label: of the data, if the model has a condition.
            generator: draws z, and pixels where they are drawn.
        """
        generator = self._seeded(generator)
        x, c = self._given(data, label, generator)
        z, _ = self._posterior().push(
            self._encoded(x, c), self.model.noise(len(x), samples=1, generator=generator)[0]
        )
        return self._decoded(z, c)

    @torch.no_grad()
    def sample(
        self, n: int, label: Any = None, *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n values"]:
        """n new rows, z from the prior and x given z, in the data's units.

        Args:
            n: how many.
            label: of what, if the model has a condition.
            generator: draws z and x; torch's own if None, so that each call draws others.
        """
        require_whole("sample", "n", n, least=1)
        c = one_label(label, self.model, self.classes, n)
        parts = []
        for start in range(0, n, ROWS):  # so that memory does not depend on the number
            some = slice(start, min(start + ROWS, n))
            given = None if c is None else c[some].to(self.device)
            x, *_ = self.model.sample(some.stop - start, given, generator=generator)
            parts.append(self.model.likelihood.undo(x))
        return torch.cat(parts)

    def log_prob(
        self,
        data: Any,
        label: Any = None,
        *,
        samples: int | None = None,
        refine: bool = False,
        generator: torch.Generator | None = None,
    ) -> Score:
        """log p(x) of each datum by importance sampling, with its error; see `Score`.

        Args:
            data: new data.
            label: of the data, if the model has a condition.
            samples: K, of z for each datum; as many as ``affordable`` says if None, 500 mostly.
            refine: take a better q than the encoder's (`vaelib.evaluate.refined_q`), which takes
                several times as long.
            generator: of the noise, and of pixels where they are drawn.
        """
        generator = self._seeded(generator)
        x, c = self._given(data, label, generator)
        at_once, batch_size = chunks(self.model)
        samples = samples or affordable(self.model)
        return score(
            self.model,
            x,
            c,
            samples=samples,
            refine=refine,
            ink=self._ink(x),
            usual=partial(self._usual_of, samples, refine),
            at_once=at_once,
            batch_size=batch_size,
            generator=generator,
        )

    def impute(
        self,
        data: Any,
        seen: Any = None,
        label: Any = None,
        *,
        samples: int = 500,
        draws: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "*draws n values"]:
        """Rows with their missing values filled in by their mean given all that is seen of a row.

        The mean is the best guess, and too smooth to be a datum; ``draws`` vary as the truth may.

        Args:
            data: new data, NaN where a value is missing.
            seen: True where a value is seen, ``[n, values]``, for data without NaN.
            label: of the data, if the model has a condition.
            samples: of z for each datum.
            draws: so many draws for each datum, ``[draws, n, values]``, and not their mean.
            generator: of the noise, and of pixels where they are drawn.

        Returns:
            In the data's units; what is seen is as it was.

        Warns:
            UserWarning: where the samples are too few for what is filled in.
        """
        generator = self._seeded(generator)
        rows = self._rows(data)
        mask = _mask(rows, seen).to(self.device)
        c = self._to_device(labels_of(label, data, self.model, self.classes, len(rows)))
        x = self._prepared(rows, generator).masked_fill(~mask, torch.nan)
        at_once, batch_size = chunks(self.model)
        found = evaluate.impute(
            self.model,
            x,
            c,
            samples=samples,
            draws=draws or 1,
            at_once=at_once,
            batch_size=batch_size,
            generator=generator,
        )
        few = int((found.effective[~mask.all(-1)] < FEW).sum())
        if few:
            warnings.warn(
                f"impute: {few} of {len(x)} data have fewer than {FEW} effective samples of "
                f"{samples}, and what is filled in says little; take samples={10 * samples}",
                stacklevel=2,
            )
        own = rows.to(self.device)
        kept = own.float() / 255 if own.dtype == torch.uint8 else own.to(x.dtype)
        filled = self.model.likelihood.undo(found.mean if draws is None else found.draws)
        return torch.where(mask, kept, filled)

    def evaluate(
        self,
        data: Any = None,
        label: Any = None,
        *,
        most: int | None = None,
        samples: int | None = None,
        refine: bool = False,
        generator: torch.Generator | None = None,
    ) -> evaluate.Report:
        """All that is reported of a model, on data that it was not trained on: ``print`` it.

        Args:
            data: held-out data; those of the run if None.
            label: of the data, if the model has a condition.
            most: of the data, at random; all if there are fewer; as many as ``affordable`` says if
                None, 500 mostly.
            samples, refine: see `vaelib.evaluate.report`; samples as many as ``most`` if None.
            generator: of choice, noise and pixels.
        """
        generator = self._seeded(generator)
        rows, c = self._labelled(data, label)
        few = affordable(self.model)
        some, c = _at_random(rows, c, most or few)
        x = self._prepared(some, generator)
        at_once, batch_size = chunks(self.model)
        return evaluate.report(
            self.model,
            x,
            self._to_device(c),
            samples=samples or few,
            check=checked(self.model),
            refine=refine,
            grid=exact(self.model, len(x)),
            at_once=at_once,
            batch_size=batch_size,
            generator=generator,
        )

    def export(self, path: str | Path) -> None:
        """Encoder and decoder as ONNX, into a folder; see `vaelib.export`."""
        from vaelib import export  # here, because only this needs onnx

        export.to_onnx(self.model, path)

    def _seeded(self, generator: torch.Generator | None) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(0) if generator is None else generator

    def _rows(self, source: Any) -> Tensor:
        """New data as rows, if they are laid out as the model's."""
        kind = self.kind or (data.kind(source) if hasattr(source, "dtype") else "pixels")
        return data.same(source, self.layout, kind)

    def _prepared(self, rows: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.model.likelihood.prepare(
            rows.to(self.device), generator=self._seeded(generator)
        )

    def _given(
        self, source: Any, label: Any, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """New data as x, and their labels, on the model's device."""
        rows = self._rows(source)
        c = labels_of(label, source, self.model, self.classes, len(rows))
        return self._prepared(rows, generator), self._to_device(c)

    def _to_device(self, c: Tensor | None) -> Tensor | None:
        return None if c is None else c.to(self.device)

    def _decoded(self, z: Tensor, c: Tensor | None) -> Distribution:
        if not hasattr(self.model, "decode"):
            raise BadType(f"{type(self.model).__name__} has no decode(z)")
        return cast(Distribution, cast(Any, self.model).decode(z, c))

    def _labelled(self, source: Any, label: Any) -> tuple[Any, Tensor | None]:
        """Rows that are given, or those that were held out, with their labels."""
        if source is None:
            rows, labels = self._held()
            label = labels if label is None and self.model.condition else label
        else:
            rows = self._rows(source)
        return rows, labels_of(label, source, self.model, self.classes, len(rows))

    def _posterior(self) -> Posterior:
        if self.model.posterior is None:
            raise BadType(f"{type(self.model).__name__} has no q(z | x)")
        return self.model.posterior

    def _encoded(self, x: Tensor, c: Tensor | None) -> Distribution:
        """q(z | x), a thousand rows at a time."""
        parts = []
        for start in range(0, len(x), ROWS):
            some = slice(start, start + ROWS)
            parts.append(self.model.raw(x[some], None if c is None else c[some]))
        raw = tuple(torch.cat(head) for head in zip(*parts, strict=True))
        return self._posterior()(*raw)

    def _ink(self, x: Tensor) -> Tensor | None:
        """The mean value of a picture, or of counts: what makes log p(x) low by itself."""
        if isinstance(self.layout, Columns) and self.kind != "counts":
            return None
        return x.nanmean(-1)

    def _usual_of(self, samples: int, refine: bool) -> Usual:
        """log p(x) as it is usual for the ink, from data that were held out."""
        if (samples, refine) not in self._usual:
            rows, labels = self._labelled(None, None)
            some, labels = _at_random(rows, labels, ROWS)
            its = self.log_prob(some, labels, samples=samples, refine=refine)
            assert its.ink is not None  # else nobody asks
            self._usual[samples, refine] = usual(its.ink, its.log_prob)
        return self._usual[samples, refine]


def _at_random(rows: Any, labels: Tensor | None, most: int) -> tuple[Tensor, Tensor | None]:
    """Some rows, the same ones whenever there are as many, with their labels."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:most]
    some = rows[order] if isinstance(rows, Tensor) else torch.from_numpy(rows[order.numpy()])
    return some, None if labels is None else labels[order]


def _mask(rows: Tensor, seen: Any) -> Tensor:
    """Where a value is seen; raises unless the two ways to say it agree."""
    if seen is None:
        return ~rows.isnan() if rows.is_floating_point() else torch.ones(rows.shape).bool()
    mask = torch.as_tensor(seen).cpu()
    mask = mask.reshape(rows.shape) if mask.numel() == rows.numel() else mask  # as a picture
    if mask.dtype != torch.bool or mask.shape != rows.shape:
        raise BadValue(
            f"impute: expected seen as True and False of shape {tuple(rows.shape)}, got "
            f"{mask.dtype} of shape {tuple(mask.shape)}",
            "seen",
        )
    if rows.is_floating_point() and (rows.isnan() & mask).any():
        raise BadValue("impute: a value that is NaN is said to be seen; leave seen out", "seen")
    return mask
