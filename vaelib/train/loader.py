"""Batches that somebody else makes: a ``DataLoader``, or any iterable of batches with a length."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaelib.arguments import BadType, BadValue


class Loader:
    """A pass over such batches, which begins anew with each epoch and cannot be entered midway.

    What a ``DataLoader`` draws, it draws from its own generator or from torch's; both are kept at
    the start of an epoch, so that the batches of a run that goes on are those without the break.

    Args:
        batches: gives, each time it is gone through, ``len(batches)`` batches: rows
            ``[n, values]``, or pairs (rows, labels). Pictures ``[n, channels, height, width]`` are
            flattened.
        generator: what the steps draw from.

    Attributes:
        position: how many batches of the current pass were handed out.
        epoch_start: the state of ``generator`` when the pass began.
        sizes: the rows of each batch, as far as they were seen.
        own: the generators of the batches themselves.
    """

    def __init__(self, batches: Any, generator: torch.Generator) -> None:
        self.batches, self.generator = batches, generator
        self.position = 0
        self.sizes = torch.zeros(len(batches), dtype=torch.float64)
        self.own = _generators(batches)
        self.epoch_start, self._starts = generator.get_state(), _states(self.own)

    def __len__(self) -> int:
        """The number of batches of a pass."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[list[Tensor]]:
        """One pass: [rows] or [rows, labels]."""
        self.epoch_start, self._starts = self.generator.get_state(), _states(self.own)
        for batch in self.batches:
            if self.position == len(self):
                raise self._wrong_length("more")
            parts = _parts(batch)
            self.sizes[self.position] = len(parts[0])
            self.position += 1
            yield parts
        if self.position < len(self):
            raise self._wrong_length(f"only {self.position}")
        self.position = 0

    def rewind(self) -> None:
        """Back to the start of the current pass."""
        self.position = 0
        self.generator.set_state(self.epoch_start)
        _restore(self.own, self._starts)

    def state(self) -> dict[str, Tensor]:
        """The states of the batches' own generators; torch's is in the checkpoint anyway."""
        return {str(k): generator.get_state() for k, generator in enumerate(self.own)}

    def set_state(self, states: dict[str, Tensor]) -> None:
        """Put back what `state` gave.

        Raises:
            ValueError: if it is that of other batches.
        """
        if len(states) != len(self.own):
            raise ValueError(
                f"its batches had {len(states)} generators of their own, and these have "
                f"{len(self.own)}"
            )
        for key, state in states.items():
            self.own[int(key)].set_state(state)

    def first(self, rows: int) -> list[Tensor]:
        """So many rows from the start of a pass, or all, with their labels; nothing is used up."""
        return [t[:rows] for t in self.peek(rows)]

    def peek(self, rows: int = 1) -> list[Tensor]:
        """The first batches, until they have so many rows."""
        found: list[list[Tensor]] = []
        with undisturbed(self.batches):
            for batch in self.batches:
                found.append(_parts(batch))
                rows -= len(found[-1][0])
                if rows <= 0:
                    break
        if not found:
            raise BadValue("fit: expected at least one batch, got an iterable without any", "rows")
        return [torch.cat(parts) for parts in zip(*found, strict=True)]

    def _wrong_length(self, got: str) -> BadValue:
        return BadValue(
            f"fit: expected as many batches as the iterable's length says, {len(self)}, got {got}; "
            f"mend its __len__, which the learning rate and the end of an epoch are told by"
        )

    @staticmethod
    def require(batches: Any, name: str) -> None:
        """Raise unless it can be gone through again and again, and has a length."""
        what = "rows [n, values], or an iterable of batches with a length"
        if not hasattr(batches, "__iter__") or isinstance(batches, str | bytes | dict):
            raise BadType(f"fit: expected {name} as {what}, got {type(batches).__name__}", name)
        try:
            length = len(batches)
        except TypeError as error:
            raise BadType(
                f"fit: expected {name} as {what}, got {type(batches).__name__} without a length "
                f"({error}), by which the learning rate and the end of an epoch are told; give it "
                f"(or its dataset) a __len__, or train with vaelib.train.Trainer, which takes any",
                name,
            ) from None
        if iter(batches) is batches:
            raise BadType(
                f"fit: expected {name} as {what}, got {type(batches).__name__}, which can be gone "
                f"through once; give what makes it anew for each epoch, as a DataLoader does",
                name,
            )
        if length < 1:
            raise BadValue(f"fit: expected {name} with at least one batch, got none", name)


@contextmanager
def undisturbed(batches: Any, seed: int | None = None) -> Iterator[None]:
    """Go through batches as if one had not: their generators and torch's are put back.

    Args:
        batches: what is gone through within.
        seed: of all these generators within; as they are if None.
    """
    own = _generators(batches)
    kept = _states(own)
    if seed is not None:
        torch.default_generator.manual_seed(seed)
        for generator in own:
            generator.manual_seed(seed)
    try:
        yield
    finally:
        _restore(own, kept)


def _generators(batches: Any) -> list[torch.Generator]:
    """Those that a ``DataLoader`` and its samplers draw from, each once."""
    sampler = getattr(batches, "sampler", None)
    groups = getattr(batches, "batch_sampler", None)
    places = (batches, sampler, groups, getattr(groups, "sampler", None))
    found = [getattr(place, "generator", None) for place in places]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


def _states(own: list[torch.Generator]) -> list[Tensor]:
    return [torch.get_rng_state(), *(generator.get_state() for generator in own)]


def _restore(own: list[torch.Generator], states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for generator, state in zip(own, states[1:], strict=True):
        generator.set_state(state)


def _parts(batch: Any) -> list[Tensor]:
    """A batch as [rows] or [rows, labels]."""
    parts = list(batch) if isinstance(batch, tuple | list) else [batch]
    if not 1 <= len(parts) <= 2 or not all(isinstance(t, Tensor | np.ndarray) for t in parts):
        got = [type(t).__name__ for t in parts[:3]] if parts else "nothing"
        raise BadType(
            f"fit: expected a batch as rows [n, values] or as (rows, labels), tensors or arrays, "
            f"got {got}; pick them in the loader's collate_fn",
            "rows",
        )
    # Of an array a copy: it may be a part of a file that is mapped into memory.
    rows, *labels = (t if isinstance(t, Tensor) else torch.from_numpy(np.array(t)) for t in parts)
    if rows.ndim < 2 or 0 in rows.shape or any(len(t) != len(rows) for t in labels):
        raise BadValue(
            f"fit: expected a batch as rows [n, values] with n > 0, or with n labels beside them, "
            f"got shapes {[tuple(t.shape) for t in (rows, *labels)]}",
            "rows",
        )
    return [rows.flatten(1), *(t if t.is_floating_point() else t.long() for t in labels)]
