"""Why a loss is not finite: the failed step is computed again, and looked at term by term."""

import itertools

import torch

from vaelib.train.feed import Feed
from vaelib.train.run import Run


def diagnose(run: Run, feed: Feed, bad: int) -> str:
    """What is not finite in a step of the current epoch, and what to do, in words."""
    batches, model, lr = run.batches, feed.model, run.config["lr"]
    where = f"step {bad + 1} of {len(batches)} of epoch {len(run.history) + 1}"
    kept = (
        ""
        if run.path is None or not run.path.exists()
        else f" The last good checkpoint is {run.path}."
    )
    if not all(p.isfinite().all() for p in model.parameters()):
        return (
            f"fit: weights are not finite at {where}: the gradient of the step before was not."
            f"{kept} clip=1.0 stops at that step; try it, and a smaller lr than {lr}"
        )
    generator, device = batches.generator, run.trainer.device
    batches.rewind()
    for batch in itertools.islice(feed.feed(batches), bad + 1):
        drawn = feed.draw(*(t.to(device) for t in batch), generator=generator)
    with torch.no_grad():
        terms = {**model.named_terms(*drawn), "loss": model(*drawn)}
    broken = {name: t[~t.isfinite()] for name, t in terms.items() if not t.isfinite().all()}
    what = " and ".join(f"{name} is {t.flatten()[0].item()}" for name, t in broken.items())
    if drawn[0].isnan().any():
        what += " and x has missing values (NaN), which vaelib.likelihood.Missing counts out"
    return (
        f"fit: {what or 'a gradient is not finite'} at {where}; the weights are those before it."
        f"{kept} Try a smaller lr than {lr}, clip=1.0 or precision='float32', and check that the "
        f"likelihood fits the data"
    )
