"""How the time of an epoch grows with the data, the batch and the latent size."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

import products
import torch
from contest import BATCH, LATENT, Stopwatch, example, note, spread
from torch import Tensor

from vaelib import train


def growth(
    picture: Path, images: Tensor, *, device: torch.device, rounds: int = 3, scale: int = 1
) -> list[dict]:
    """Seconds of an epoch of `fit` in float32 against data, batch and latent size; draws them.

    Interleaved as the race is: in each round each point is trained for one epoch that is not timed
    and one that is.
    """
    some = 15_360 // scale  # a multiple of every batch size below, unless scaled
    default = {"images": some, "batch": BATCH, "latent": LATENT}
    values = {
        "images": [n // scale for n in (3_750, 7_500, 15_000, 30_000, 60_000)],
        "batch": [32, 64, 128, 256, 512, 1024],
        "latent": [2, 8, 32, 128, 512],
    }
    points = [{"axis": a, **default, a: value} for a in values for value in values[a]]
    models = [example(seed=0, latent=point["latent"]).to(device) for point in points]
    for point, model in zip(points, models, strict=True):
        step = products.of_step(model, batch=point["batch"])
        point["gflop"] = products.flop(step) / point["batch"] * point["images"] / 1e9
        point["seconds"] = []
    for number in range(rounds):
        for point, model in zip(points, models, strict=True):
            note(f"round {number + 1} of {rounds}: {point['axis']} {point[point['axis']]}")
            watch = Stopwatch(device)
            train.fit(
                model,
                images[: point["images"]],
                epochs=2,
                batch_size=point["batch"],
                generator=torch.Generator(device).manual_seed(number),
                callbacks=[lambda *_, watch=watch: watch.lap()],
                progress=False,
            )
            point["seconds"].append(watch.laps[1])
    note("")
    print("seconds of an epoch, fit float32")
    for point in points:
        print(
            f"{point['axis']:>7} {point[point['axis']]:>7,}: {spread(point['seconds'], '.3f')} for "
            f"{point['images']:,} images, {point['gflop'] / min(point['seconds']):.0f} GFLOP/s"
        )
    sizes, seconds = zip(
        *((p["images"], min(p["seconds"])) for p in points if p["axis"] == "images"), strict=True
    )
    power = statistics.linear_regression(*([math.log(v) for v in vs] for vs in (sizes, seconds)))
    print(f"time grows as images to the power {power.slope:.2f} (1 is expected)")
    draw_growth(points, picture)
    print(f"drawn in {picture}")
    return points


def draw_growth(points: Sequence[dict], picture: Path) -> None:
    """Three panels; the dashed line is what the operations alone would let the time do."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    seconds = [value for point in points for value in point["seconds"]]
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if min(seconds) < t < max(seconds)]
    rest = f", {points[-1]['images']:,} images"
    titles = {"images": "images", "batch": f"batch size{rest}", "latent": f"latent size{rest}"}
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.4), sharey=True, layout="constrained")
    for axis, panel in zip(titles, panels, strict=True):
        part = [point for point in points if point["axis"] == axis]
        values = [point[axis] for point in part]
        middle = [statistics.median(point["seconds"]) for point in part]
        below = [m - min(p["seconds"]) for m, p in zip(middle, part, strict=True)]
        above = [max(p["seconds"]) - m for m, p in zip(middle, part, strict=True)]
        panel.errorbar(values, middle, [below, above], fmt="o-", capsize=3, label="median, range")
        best = min(m / p["gflop"] for m, p in zip(middle, part, strict=True))
        operations = [best * point["gflop"] for point in part]
        panel.plot(values, operations, "k--", label="operations, at the panel's best rate")
        panel.set(xscale="log", yscale="log", xlabel=titles[axis])
        panel.set_xticks(values, [f"{value:,}" for value in values], fontsize=7)
        panel.minorticks_off()
    panels[0].set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    panels[0].set_ylabel("seconds per epoch")
    panels[0].legend(fontsize=8)
    figure.savefig(picture, dpi=150)
