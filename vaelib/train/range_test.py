"""Which learning rate: a short run at rates that rise from step to step, and where it breaks."""

import copy
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from vaelib.arguments import BadValue
from vaelib.data import Binarization
from vaelib.train import arguments
from vaelib.train.batches import Batches
from vaelib.train.feed import Feed, preparation
from vaelib.train.labels import condition_of, require_labels
from vaelib.train.loader import Loader, undisturbed
from vaelib.train.optimizer import choose
from vaelib.train.rows import are_rows, require_rows
from vaelib.train.team import Team
from vaelib.train.trainer import Trainer
from vaelib.vae import Model

_WINDOW = 5  # losses in a mean; odd, so that it moves no minimum to the right
_BLOWN = 3  # so many times the size of the losses above the best one


class RangeTest(NamedTuple):
    """What `range_test` found; ``plot(rates, losses)``, the rates on a logarithmic axis.

    >>> found = RangeTest(torch.tensor([1e-3, 1e-2]), torch.tensor([300.0, 200.0]), 1e-2, 5e-3)
    >>> found.proposal / found.minimum
    0.5
    """

    rates: Tensor  # of each step that was done, float64
    losses: Tensor  # before each of these steps, each a mean over up to five neighbours; in nats
    minimum: float  # the rate at which the loss was smallest
    proposal: float  # half of it


class _Steps(Trainer):
    where = "range_test"


def range_test(
    model: Model,
    rows: Any,
    *,
    labels: Tensor | np.ndarray | None = None,
    low: float = 1e-5,
    high: float = 1.0,
    steps: int = 200,
    batch_size: int | None = None,
    optimizer: Callable[..., Optimizer] | None = None,
    binarization: Binarization | None = None,
    generator: torch.Generator | None = None,
) -> RangeTest:
    r"""Train a copy of a model for some steps, each at a higher rate than the one before.

    $$\eta_t = \mathrm{low}\, (\mathrm{high} / \mathrm{low})^{t / (\mathrm{steps} - 1)},
      \qquad t = 0, \dots, \mathrm{steps} - 1$$

    While the rate is small the loss hardly moves; then it falls; then the rate is too large and the
    loss rises. The rate of the smallest loss is about the largest that the first steps stand.
    ``proposal`` is half of that.

    **It proposes, and does not decide**, for it can mislead:

    * It sees a few hundred steps and not the end of a run. Units that a large rate kills (ReLU) are
      missed later: the loss still falls, and stays high for good.
    * Another seed finds another minimum, often twice as high or half, once in a while ten times.
    * The rate at which the loss falls *most steeply*, which is often advised, says little of a VAE:
      its first steps learn how dark the pixels are on average, which any rate does.
    * Rates of two models, or of two batch sizes, are each their own; a schedule that begins high
      and falls stands more than a constant rate does.

    So give the proposal, half of it and a quarter a few epochs each, and look at ``validation``;
    while the best of them is the largest or the smallest, try one further on that side.

    Args:
        model: of `vaelib.vae`, in the state in which training will begin. A copy is trained; the
            model stays as it is, bit for bit.
        rows, labels, batch_size, optimizer, binarization: as in `fit`.
        low: the rate of the first step. Groups of an optimizer that have a rate of their own keep
            their ratio to it.
        high: that of the last.
        steps: how many. It ends early where the loss is not finite, or has risen above the smallest
            by three times the size of the losses (four times the smallest, where all are about as
            large).
        generator: source of order, binarization and noise, on the model's device. It is read and
            not moved on; a new one with seed 0 if None.

    Returns:
        `RangeTest`.

    Raises:
        TypeError, ValueError: as `fit`; and if there are fewer than 10 steps, or high is no larger
            than low.
        FloatingPointError: if the loss is not finite, or blows up, within the first steps.

    Warns:
        UserWarning: if the loss was smallest at the first or at the last rate: then the best one
            is not between them.

    References:
        Smith, Cyclical Learning Rates for Training Neural Networks (arXiv:1506.01186), section 3.3,
        with rates that rise linearly.

    >>> from vaelib.data import digits
    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> _ = torch.manual_seed(0)
    >>> model = VAE(MLPEncoder(784, 8, hidden=(50,)), MLPDecoder(8, 784, hidden=(50,)))
    >>> found = range_test(model, digits().train, steps=100)
    >>> 1e-3 < found.proposal < 1e-1
    True
    """
    where = "range_test"
    device = arguments.device_of(model)
    low = arguments.positive("low", low, where=where)
    high = arguments.positive("high", high, where=where)
    steps = arguments.whole("steps", steps, 10, where=where)
    if high <= low:
        raise BadValue(f"{where}: expected high above low, got {high:g} and {low:g}", "high")
    size = 128 if batch_size is None else batch_size
    size = arguments.whole("batch_size", size, 1, where=where)
    own = torch.Generator(device).manual_seed(0)
    if generator is not None:
        arguments.require_generator(generator, device, where=where)
        own.set_state(generator.get_state())
    rates, losses = [], []
    with undisturbed(rows):  # who asks a loader for its first batch draws a number
        require_rows(rows, "rows")
        labels = require_labels(labels, rows, condition_of(model), "labels")
        if not are_rows(rows):
            arguments.require_own_batches(batch_size, None)
        model = copy.deepcopy(model)
        prepare, _ = preparation(model.likelihood, rows, device, binarization)
        feed = Feed.on(device, model, rows, labels, prepare)
        batches = feed.batches(size, own)
        arguments.size_of(batches, Team(), condition_of(model))
        chosen = choose(optimizer, model, low, device, graph=False)
        trainer = _Steps(model, chosen.optimizer, prepare=feed.draw, generator=own)
        if not model.training:
            model.train()
        feed.measure()
        for step, batch in zip(range(steps), _again_and_again(feed, batches), strict=False):
            factor = (high / low) ** (step / (steps - 1))
            trainer.set_rates([factor * rate for rate in chosen.rates])
            loss = trainer.step(batch).item()
            if not math.isfinite(loss):
                break
            rates.append(low * factor)
            losses.append(loss)
            if loss > min(losses) + _BLOWN * max(abs(losses[0]), abs(min(losses))):
                break
    if len(losses) < _WINDOW:
        raise FloatingPointError(
            f"{where}: the loss is not finite or blows up after {len(losses)} steps, at rates of "
            f"{low:.3g} and a little more; begin at a smaller low, or look at the data"
        )
    return _found(rates, losses, steps)


def _again_and_again(feed: Feed, batches: Batches | Loader) -> Iterator[list[Tensor]]:
    """Passes without an end."""
    while True:
        yield from feed.feed(batches)


def _found(rates: list[float], losses: list[float], steps: int) -> RangeTest:
    """Each loss as the mean of its neighbours: as many on the left as on the right of it."""
    raw = torch.tensor(losses, dtype=torch.float64)
    smooth = torch.empty_like(raw)
    for number in range(len(raw)):
        reach = min(_WINDOW // 2, number, len(raw) - 1 - number)
        smooth[number] = raw[number - reach : number + reach + 1].mean()
    best = int(smooth.argmin())
    if best in (0, steps - 1):
        end, instead = ("first", "a smaller low") if best == 0 else ("last", "a higher high")
        warnings.warn(
            f"range_test: the loss was smallest at the {end} rate, {rates[best]:.3g}, so the best "
            f"one lies beyond it; give {instead}",
            stacklevel=3,
        )
    return RangeTest(torch.tensor(rates).double(), smooth, rates[best], rates[best] / 2)
