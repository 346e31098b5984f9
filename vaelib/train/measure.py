"""What is measured at the end of an epoch: the loss on held-out data, both terms, active units."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vaelib.nets import evaluation_mode
from vaelib.train.feed import Feed
from vaelib.train.loader import Loader, undisturbed
from vaelib.vae import Model


class Measured(NamedTuple):
    """Means per datum in nats, and a count; NaN where a model has none."""

    log_likelihood: float = math.nan
    kl: float = math.nan
    active: float = math.nan


@torch.no_grad()
def held_out_loss(feed: Feed, device: torch.device, most: int) -> float:
    """The mean loss, eager and in float32, with the same draws after each epoch.

    At most so many rows at a time as a step of training has, because these fit into memory.
    """
    generator = torch.Generator(device).manual_seed(0)
    # Drawn by the thousand, whatever fits: a draw depends on its size.
    batches = feed.batches(1000, generator)
    losses: list[Tensor] = []
    sizes: list[int] = []

    def measure() -> None:
        for batch in feed.feed(batches):
            drawn = feed.draw(*(t.to(device) for t in batch), generator=generator)
            for some in split(drawn, most):
                losses.append(feed.model(*some))
                sizes.append(len(some[0]))

    with evaluation_mode(feed.model):
        if isinstance(batches, Loader):
            with undisturbed(feed.rows, seed=0):
                measure()
        else:
            measure()
    weights = torch.tensor(sizes, dtype=torch.float64)
    return (torch.stack(losses).cpu().double() @ weights / weights.sum()).item()


class Watch:
    """Some rows on which the terms are measured after each epoch, always with the same draw.

    Args:
        feed: where they are from.
        device: of the model.
        rows: how many, if there are so many.
        most: how many at a time.
    """

    def __init__(self, feed: Feed, device: torch.device, rows: int, most: int) -> None:
        model = self.model = feed.model
        self.has_terms = type(model).terms is not Model.terms
        self.has_means = type(model).means is not Model.means
        self.parts: list[list[Tensor]] = []
        self.device = device
        if self.has_terms:
            generator = torch.Generator(device).manual_seed(0)
            first, *labels = (t.to(device) for t in feed.some(rows))
            x = feed.prepare(first, generator=generator)
            noise = model.noise(len(x), generator=generator)
            self.parts = list(split([x, noise, *labels], most))

    @torch.no_grad()
    def __call__(self) -> Measured:
        """The means of both terms, and how many units are active, in ``eval`` and in float32."""
        if not self.has_terms:
            return Measured()
        with evaluation_mode(self.model):
            terms = [self.model.terms(*part) for part in self.parts]
            active = self._active() if self.has_means else math.nan
        log_likelihood, kl = (torch.cat([_per_datum(t[i]) for t in terms]) for i in (0, 1))
        return Measured(mean(log_likelihood), mean(kl), active)

    def _active(self) -> float:
        """As `vaelib.evaluate.active_units` counts them, which may not be asked here."""
        generator = torch.Generator(self.device).manual_seed(0)
        loc, its_noise = [], []
        for x, _, *labels in self.parts:

            def noise(n: int = len(x)) -> Tensor:
                return self.model.noise(n, samples=10, generator=generator)

            values = self.model.means(x, noise, *labels)
            loc.append(values.mean(0))
            its_noise.append(values.var(0) / len(values) if len(values) > 1 else 0 * values[0])
        centre = torch.cat(loc)
        if len(centre) < 2:
            return math.nan
        over_x = centre.var(0) - torch.cat(its_noise).mean(0)
        return float((over_x > 0.01 * self.model.spread()).sum())


def mean(values: Tensor) -> float:
    """In double precision, which not every device has."""
    return values.cpu().double().mean().item()


def _per_datum(term: Tensor) -> Tensor:
    """A value for each datum: the mean over samples, if there are several."""
    return term if term.ndim == 1 else term.flatten(0, -2).mean(0)


def split(drawn: list[Tensor], most: int) -> list[list[Tensor]]:
    """Data, noise and labels, at most so many rows at a time."""
    x, noise, *labels = drawn
    return [
        [
            x[start : start + most],
            noise[..., start : start + most, :],
            *(t[start : start + most] for t in labels),
        ]
        for start in range(0, len(x), most)
    ]
