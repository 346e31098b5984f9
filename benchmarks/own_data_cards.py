"""The cards of book/own_data.md: read off the page, run as printed, measured, drawn.

A card is a section whose target begins with ``own-data-card-``: its commands and its Python are the
blocks of the page, in their order. `run_python` and `run_commands` run them in a folder where
``python -m vaelib examples`` has been; tests run them by the same functions, on less.
"""

import contextlib
import math
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import provenance
import torch
from torch import Tensor

from vaelib import data, fit, load
from vaelib.cli import main
from vaelib.course import plots
from vaelib.data import examples

PAGE = provenance.ROOT / "book" / "own_data.md"
PICTURES = provenance.ROOT / "book" / "own_data"
CARD = r"(?ms)^\(own-data-card-(\w+)\)=\n## \d+\. (.+?)\n(.*?)(?=^\(own-data-)"


class Card(NamedTuple):
    """A card of the page."""

    name: str
    title: str
    text: str

    def blocks(self) -> list[tuple[str, str]]:
        """Language and content of each block of code, in their order; a command is one line."""
        found = re.findall(r"(?s)```(sh|python)\n(.*?)```", self.text)
        return [(kind, re.sub(r" \\\n *", " ", block)) for kind, block in found]


def cards(page: str | None = None) -> dict[str, Card]:
    """All cards, by name."""
    text = PAGE.read_text() if page is None else page
    return {name: Card(name, title, body) for name, title, body in re.findall(CARD, text)}


@contextlib.contextmanager
def within(folder: Path) -> Iterator[None]:
    """In a folder, whose modules can be imported, as those of the folder of a command can."""
    before, path = Path.cwd(), list(sys.path)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path[:] = path


def run_card(
    card: Card,
    *,
    change: Callable[[str, str], str] = lambda _, block: block,
    python: bool = True,
    commands: bool = True,
) -> dict[str, Any]:
    """Run a card's blocks in the folder at hand, as they are printed but for what ``change`` does.

    Args:
        card: of the page.
        change: from "sh" or "python" and a block to what is run in its place.
        python, commands: whether these are run.

    Returns:
        The names that its Python defined.
    """
    names: dict[str, Any] = {"__name__": "mine"}
    for kind, block in card.blocks():
        block = change(kind, block)
        if kind == "python" and python:
            path = Path("mine.py").resolve()
            path.write_text(block)  # a class is asked where it comes from
            exec(compile(block, str(path), "exec"), names)
        elif kind == "sh" and commands:
            for line in block.splitlines():
                words = shlex.split(line)
                assert words[:3] == ["python", "-m", "vaelib"], line
                if code := main(words[3:]):
                    raise RuntimeError(f"{line}: ended with {code}")
    return names


# What is measured and drawn of each card, from the names of its Python.


def save(figure: plt.Figure, name: str) -> None:
    """A picture of the page."""
    PICTURES.mkdir(exist_ok=True)
    options = {"facecolor": "white", "dpi": 144} if name.endswith("png") else {"dpi": 144}
    figure.savefig(
        PICTURES / name,
        bbox_inches="tight",
        metadata={"Date": None} if name.endswith("svg") else {},
        **options,
    )
    plt.close(figure)


def tiles(ax: plt.Axes, rows: Tensor, shape: tuple[int, ...], *, top: float = 1.0) -> None:
    """Pictures in a line, or in lines, ``[line, number, values]``."""
    rows = rows if rows.ndim == 3 else rows[None]
    lines, n, _ = rows.shape
    if len(shape) == 3:
        c, h, w = shape
        whole = rows.view(lines, n, c, h, w).permute(0, 3, 1, 4, 2).reshape(lines * h, n * w, c)
        ax.imshow((whole / top).clamp(0, 1))
    else:
        h, w = shape
        whole = rows.view(lines, n, h, w).permute(0, 2, 1, 3).reshape(lines * h, n * w)
        ax.imshow(whole, vmin=0, vmax=top, cmap="gray_r")
    ax.set_axis_off()


def of_test(table: Tensor, rows: Tensor) -> Tensor:
    """Which lines of the file were held out: hold-out is random, and rows differ."""
    place = {tuple(row): i for i, row in enumerate(table.tolist())}
    return torch.tensor([place[tuple(row)] for row in rows.tolist()])


def bits(stored: dict[str, Any]) -> None:
    """Bars of bits per dimension, from what was measured of colour."""
    rows = [(r["name"].replace(", as documented", ""), r["bits"]) for r in stored["colour"]["rows"]]
    figure, ax = plt.subplots(figsize=(7, 2.8))
    for i, (name, value) in enumerate(rows):
        ax.barh(i, value, color=plots.Q if "logistics" in name else plots.PRIOR, height=0.6)
        ax.text(value - 0.08, i, f"{value:.2f}", ha="right", va="center", color="white")
    ax.axvline(stored["colour"]["floor"], ls="--", color="black")
    plots.label(ax, 3, -0.65, "floor: 3 bits", "black", fontsize=9)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.invert_yaxis()
    ax.set_xlabel("bits per dimension, lower is better")
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "bits.svg")


def colour(names: dict[str, Any], _: dict) -> dict:
    """Bits of five epochs, and held-out pictures beside what is drawn."""
    run, again, new = (names[k] for k in ("run", "again", "new"))
    seen = torch.as_tensor(run.test[:8]).float() / 255
    figure, ax = plt.subplots(figsize=(7, 2.7))
    tiles(ax, torch.stack([seen, again, new]), (3, 32, 32))
    for i, word in enumerate(("held out", "drawn again", "new")):
        ax.text(-5, 32 * i + 16, word, ha="right", va="center", fontsize=10)
    save(figure, "colour.png")
    names["hero"] = (seen[:3], again[:3])
    return {"bits": float(run.log_prob(run.test, samples=20).bits.mean())}


def table(names: dict[str, Any], _: dict) -> dict:
    """Against scikit-learn's factor analysis, and the true causes and noises."""
    from sklearn.decomposition import FactorAnalysis

    made, run = examples.instruments(), names["run"]
    own = data.own("table.csv")
    which = of_test(made.table, run.test)
    causes = made.causes[which]
    codes = names["codes"]
    # A code is determined up to a turn: the direction in which it says most of the first cause.
    share = []
    for k in range(2):
        design = torch.cat([codes.double(), torch.ones(len(codes), 1)], 1)
        found = torch.linalg.lstsq(design, causes[:, k : k + 1]).solution
        miss = (design @ found)[:, 0] - causes[:, k]
        share.append(1 - float(miss.var() / causes[:, k].var()))
    theirs = FactorAnalysis(2, tol=1e-8, max_iter=20_000, svd_method="lapack")
    theirs.fit(own.train.double().numpy())
    exact = torch.as_tensor(theirs.score_samples(run.test.double().numpy()))
    mine = run.log_prob(run.test, samples=500)
    noise = names["noise"].double() / made.variances.sqrt()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    dots = left.scatter(codes[:, 0], codes[:, 1], c=causes[:, 0], cmap="coolwarm", s=14)
    figure.colorbar(dots, ax=left, label="a true cause", shrink=0.8)
    left.set(xlabel="code 1", ylabel="code 2", aspect="equal")
    true = made.variances.sqrt()
    right.plot([0.2, 120], [0.2, 120], color=plots.PRIOR, lw=1)
    right.loglog(true, names["noise"], "o", color=plots.Q)
    right.set(xlabel="true noise, each in its unit", ylabel="learned noise")
    figure.subplots_adjust(wspace=0.6)
    save(figure, "table.svg")
    names["hero"] = (run.test[:, [0, 2]], codes, causes[:, 0])
    return {
        "difference": float((mine.log_prob.double() - exact).mean().abs()),
        "error": float(mine.error.square().mean().sqrt() / len(exact) ** 0.5),
        "log_prob": float(mine.log_prob.mean()),
        "factor_analysis": float(exact.mean()),
        "share_of_cause": share,
        "noise_ratio_worst": float((noise - 1).abs().max()),
    }


def counts(names: dict[str, Any], _: dict) -> dict:
    """How far rates are from the true ones, and how counts scatter."""
    made, run, rate = examples.photons(), names["run"], names["rate"]
    which = of_test(made.counts.flatten(1), run.test)
    true = made.rates.flatten(1)[which]
    x = run.test.float()
    figure, ax = plt.subplots(figsize=(7, 2.8))
    tiles(ax, torch.stack([x[:8], rate[:8], true[:8]]), (28, 28), top=5.0)
    for i, word in enumerate(("photons", "inferred", "true")):
        ax.text(-4, 28 * i + 14, word, ha="right", va="center", fontsize=10)
    save(figure, "counts.svg")
    names["hero"] = (x[0], rate[0])

    def off(t: Tensor) -> float:
        return float((t - true).square().mean().sqrt())

    mean = torch.as_tensor(data.own("photons.npy").train).float().mean(0)
    return {
        "error_counts": off(x),
        "error_rate": off(rate),
        "error_mean": off(mean.expand_as(true)),
        "variance_over_mean": float((x - rate).square().sum() / rate.sum()),
        "variance_over_mean_truth": float((x - true).square().sum() / true.sum()),
    }


def holes(names: dict[str, Any], _: dict) -> dict:
    """Errors in standard deviations of a column, beside the exact conditional's."""
    made = examples.instruments()
    x = examples.holes(made.table)
    lost, true = x.isnan(), made.table.double()
    scale = (made.loadings.square().sum(1) + made.variances).sqrt()
    covariance = made.loadings @ made.loadings.T + made.variances.diag()
    exact = x.double().clone()
    for i in lost.any(1).nonzero().flatten().tolist():
        gone, here = lost[i].nonzero().flatten(), (~lost[i]).nonzero().flatten()
        gain = torch.linalg.solve(covariance[here][:, here], covariance[here][:, gone]).T
        exact[i, gone] = made.mean[gone] + gain @ (x[i, here].double() - made.mean[here])
    filled = names["filled"].double()
    means = x.nanmean(0).double().expand_as(filled)
    errors = {
        name: float((((t - true) / scale)[lost]).square().mean().sqrt())
        for name, t in (("column means", means), ("ours", filled), ("exact", exact))
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), width_ratios=(3, 2))
    some = lost.nonzero()[::8]
    at = ((t - made.mean) / scale for t in (true, filled))
    a, b = (t[some[:, 0], some[:, 1]] for t in at)
    left.plot([-3, 3], [-3, 3], color=plots.PRIOR, lw=1)
    left.plot(a, b, ".", color=plots.Q, ms=3)
    left.set(xlabel="true, in standard deviations", ylabel="filled", aspect="equal")
    right.bar(range(3), errors.values(), color=[plots.PRIOR, plots.Q, plots.POSTERIOR], width=0.6)
    right.set_xticks(range(3), ["column\nmeans", "ours", "exact"])
    right.set_ylabel("error, standard deviations")
    for i, v in enumerate(errors.values()):
        right.text(i, v, f"{v:.2f}", ha="center", va="bottom")
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(wspace=0.35)
    save(figure, "holes.svg")
    names["hero"] = (x[:6], filled[:6], made, scale)
    return errors


def labels(names: dict[str, Any], _: dict) -> dict:
    """Scores under the right and under a wrong label."""
    run, grid = names["run"], torch.stack(names["grid"], 1)
    figure, ax = plt.subplots(figsize=(6, 4.8))
    tiles(ax, grid, (28, 28))
    for k in range(10):
        ax.text(28 * k + 14, -4, run.classes[k], ha="center", color="black")
    save(figure, "labels.svg")
    names["hero"] = (grid[0],)
    right = run.test_labels
    x = run.test
    true = run.log_prob(x, right, samples=100).log_prob
    wrong = run.log_prob(x, (right + 1) % 10, samples=100).log_prob
    return {
        "right": float(true.mean()),
        "wrong": float(wrong.mean()),
        "share": float((true > wrong).float().mean()),
    }


def odd(names: dict[str, Any], _: dict) -> dict:
    """How well oddness tells strangers from digits, and what the score alone does."""
    score = names["score"]
    kinds = np.array([path.stem.split("-")[1] for path in sorted(Path("new").iterdir())])
    is_digit = torch.as_tensor(kinds == "digit")
    oddness, log_prob = score.oddness(against="ink"), score.log_prob

    def area(values: Tensor, kind: str) -> float:
        """Of the ROC curve: how often one of a kind is above a digit."""
        a, b = values[torch.as_tensor(kinds == kind)], values[is_digit]
        return float((a[:, None] > b).float().mean() + 0.5 * (a[:, None] == b).float().mean())

    figure, ax = plt.subplots(figsize=(6.6, 3.4))
    colours = {"digit": plots.PRIOR, "inverted": plots.SCORE, "rotated": plots.GAP}
    colours |= {"shifted": plots.BOUND, "blank": "black"}
    line = torch.linspace(0, float(score.ink[is_digit].max()) * 1.15, 100)
    ax.plot(line, score.usual()(line), color=plots.POSTERIOR)
    for kind, c in colours.items():
        these = torch.as_tensor(kinds == kind) & (score.ink < 0.5)
        ax.plot(score.ink[these], log_prob[these], ".", color=c, label=kind, ms=5)
        if bool(these.any()):
            i = int(log_prob.masked_fill(~these, math.inf).argmin())
            if kind != "digit":
                plots.label(ax, float(score.ink[i]), float(log_prob[i]), kind, c, fontsize=9)
    ax.set(xlabel="ink, mean of a picture's pixels", ylabel="log p(x), nats")
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "odd.svg")
    top = kinds[oddness.topk(10).indices.numpy()]
    return {
        "best_digit": float(log_prob[is_digit].max()),
        "blank_score": float(log_prob[torch.as_tensor(kinds == "blank")].max()),
        "odd_in_top_ten": int((top != "digit").sum()),
        **{k: area(oddness, k) for k in examples.ODDITIES},
        **{f"{k}_by_score": area(-log_prob, k) for k in examples.ODDITIES},
    }


def codes(names: dict[str, Any], _: dict) -> dict:
    """Accuracy of a logistic regression from pixels and from codes."""
    from sklearn.linear_model import LogisticRegression

    x, y, x_new, y_new, pipe = (names[k] for k in ("x", "y", "x_new", "y_new", "pipe"))
    encoder, found = pipe[0], {}
    z, z_new = encoder.transform(x[:2000] / 255), encoder.transform(x_new / 255)
    for n in (50, 100, 200, 500, 2000):
        of_pixels = LogisticRegression(max_iter=1000).fit(x[:n] / 255, y[:n])
        of_codes = LogisticRegression(max_iter=1000).fit(z[:n], y[:n])
        found[n] = (of_pixels.score(x_new / 255, y_new), of_codes.score(z_new, y_new))
    figure, ax = plt.subplots(figsize=(5.6, 3))
    for i, (name, c) in enumerate((("784 pixels", plots.DATA), ("16 codes", plots.Q))):
        ax.semilogx(list(found), [v[i] for v in found.values()], "o-", color=c)
        plots.label(ax, 2000, found[2000][i], name, c, va=("bottom", "top")[i])
    ax.set(xlabel="labelled digits", ylabel="held-out accuracy")
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "codes.svg")
    return {
        "printed": pipe.score(x_new / 255, y_new),
        "accuracy": {str(k): v for k, v in found.items()},
    }


def network(names: dict[str, Any], _: dict) -> dict:
    """A diagram of shapes."""
    figure, ax = plt.subplots(figsize=(7, 2.8))  # two lines: a phone shows them as wide as it is
    parts = [
        ("x\n[batch, 784]", plots.DATA), ("Encoder", plots.Q),
        ("loc, logvar\n[batch, 8] each", plots.Q), ("draw z\n[batch, 8]", plots.PRIOR),
        ("decoder", plots.BOUND), ("raw\n[batch, 784]", plots.BOUND),
        ("likelihood\np(x | z)", plots.POSTERIOR),
    ]  # fmt: skip
    ax.set(xlim=(-0.8, 6.5), ylim=(-1.9, 0.4))
    before = None
    for i, (word, c) in enumerate(parts):
        x, y = 1.9 * (i % 4), -1.5 * (i // 4)
        box = {"boxstyle": "round,pad=0.4", "fc": "none", "ec": c, "lw": 1.6}
        text = ax.text(x, y, word, ha="center", va="center", bbox=box, fontsize=10)
        if before:
            arrow = {"arrowstyle": "->", "color": "black", "shrinkA": 2, "shrinkB": 2}
            ends = {"patchA": before.get_bbox_patch(), "patchB": text.get_bbox_patch()}
            ax.annotate("", (x, y), before.get_position(), arrowprops=arrow | ends)
        before = text
    ax.set_axis_off()
    save(figure, "network.svg")
    return {"weights": sum(p.numel() for p in names["model"].parameters())}


def likelihood(names: dict[str, Any], _: dict) -> dict:
    """The area of the density, and how two vanes differ, measured and drawn."""
    run = load("wind", classes=[names["Angle"]])
    drawn = run.sample(2000, generator=torch.Generator().manual_seed(0))
    angles = torch.linspace(-math.pi, math.pi, 401)[:-1]
    q = names["Angle"]()(torch.tensor([3.0, math.log(8.0)]).expand(400, 2).reshape(400, 2))
    density = q.base_dist.log_prob(angles[:, None])[:, 0].exp()
    figure = plt.figure(figsize=(7, 3))
    left = figure.add_subplot(1, 2, 1, projection="polar")
    left.plot(torch.cat([angles, angles[:1]]), torch.cat([density, density[:1]]), color=plots.Q)
    left.set_yticklabels([])
    right = figure.add_subplot(1, 2, 2)
    bins = np.linspace(-180, 180, 37)
    measured = np.degrees(np.load("wind.npy"))[:, :2]
    apart = (measured[:, 0] - measured[:, 1] + 180) % 360 - 180
    wave = np.degrees(drawn.numpy())
    ours = (wave[:, 0] - wave[:, 1] + 180) % 360 - 180
    for values, c, word in ((apart, plots.DATA, "measured"), (ours, plots.Q, "drawn")):
        right.hist(values, bins, density=True, histtype="step", color=c, label=word, lw=1.5)
    right.legend(loc="upper left", fontsize=9)
    right.set(xlabel="between two vanes, degrees", yticks=[])
    right.spines[["top", "right", "left"]].set_visible(False)
    save(figure, "likelihood.svg")
    return {
        "area": float(density.sum() * 2 * math.pi / 400),
        "spread_measured": float(apart.std()),
        "spread_drawn": float(ours.std()),
    }


def device(names: dict[str, Any], _: dict) -> dict:
    """The run of the card, broken at epoch 7 and resumed, beside it as it was."""

    def stop(epoch: Any, *_: Any) -> None:
        if epoch.epoch == 7:
            raise KeyboardInterrupt

    with contextlib.suppress(KeyboardInterrupt):
        fit("classes", epochs=20, folder="broken", progress=False, callbacks=[stop])
    done = len(load("broken").history)
    again = fit("classes", folder="broken", resume=True, progress=False)
    whole = names["run"]
    pairs = zip(again.model.parameters(), whole.model.parameters(), strict=True)
    same = all(torch.equal(a, b) for a, b in pairs)
    figure, ax = plt.subplots(figsize=(6, 2.8))
    losses = [[e.loss for e in r.history] for r in (whole, again)]
    ax.plot(range(1, 21), losses[0], color=plots.PRIOR, lw=6, alpha=0.35, label="never broken")
    ax.plot(range(1, done + 1), losses[1][:done], color=plots.Q, lw=1.8, label="until killed")
    ax.plot(range(done, 21), losses[1][done - 1 :], color=plots.BOUND, lw=1.8, label="resumed")
    ax.axvline(done, color=plots.GAP, lw=1, ls=":")
    ax.legend()
    ax.set(xlabel="epoch", ylabel="loss, nats")
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "device.svg")
    return {"killed_after": done, "same_weights": same}


def onnx(names: dict[str, Any], _: dict) -> dict:
    """Differences between torch and the runtime."""
    import onnxruntime

    run, differences = names["run"], []
    networks = {
        n: onnxruntime.InferenceSession(f"model/{n}.onnx", providers=["CPUExecutionProvider"])
        for n in ("encoder", "decoder")
    }
    likelihood = run.model.likelihood
    rows = data.same("new", run.layout, run.kind)
    x = likelihood.prepare(rows, generator=torch.Generator().manual_seed(0))
    for batch in (1, 7, 64):
        some = x[:batch]
        loc, logvar = networks["encoder"].run(["loc", "logvar"], {"x": some.numpy()})
        with torch.no_grad():
            own = run.model.raw(some)
            raw = run.model.decoder(own[0])
        (theirs,) = networks["decoder"].run(["raw"], {"z": own[0].numpy()})
        for a, b in ((loc, own[0]), (logvar, own[1]), (theirs, raw)):
            b = b.numpy()
            differences.append(np.abs(a - b).ravel() / max(1.0, np.abs(b).max()))
    every = np.concatenate(differences)
    figure, ax = plt.subplots(figsize=(6, 2.6))
    ax.hist(every * 1e7, 40, color=plots.Q)
    ax.set(xlabel="difference, 1e−7 of the largest number", ylabel="numbers", yscale="log")
    ax.spines[["top", "right"]].set_visible(False)
    save(figure, "onnx.svg")
    return {"worst": float(every.max()), "numbers": len(every)}


MEASURE = {
    f.__name__: f
    for f in (colour, table, counts, holes, labels, odd, codes, network, likelihood, device, onnx)
}


def hero(found: dict[str, dict]) -> None:
    """Five pairs, data above, answer below."""
    figure, axes = plt.subplots(2, 5, figsize=(10, 4))
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    seen, again = found["colour"]["hero"]
    tiles(axes[0, 0], seen[:1], (3, 32, 32))
    tiles(axes[1, 0], again[:1], (3, 32, 32))
    rows, codes_, cause = found["table"]["hero"]
    axes[0, 1].plot(rows[:, 0], rows[:, 1], ".", color="black", ms=3)
    axes[1, 1].scatter(codes_[:, 0], codes_[:, 1], c=cause, cmap="coolwarm", s=6)
    x, rate = found["counts"]["hero"]
    tiles(axes[0, 2], x[None], (28, 28), top=5.0)
    tiles(axes[1, 2], rate[None], (28, 28), top=5.0)
    holed, filled, made, scale = found["holes"]["hero"]
    for ax, t in ((axes[0, 3], holed), (axes[1, 3], filled)):
        whole = ((t.double() - made.mean) / scale).numpy()
        cmap = plt.get_cmap("PuOr").with_extremes(bad="white")
        ax.imshow(np.ma.masked_invalid(whole), cmap=cmap, vmin=-2.5, vmax=2.5)
    (grid,) = found["labels"]["hero"]
    tiles(axes[0, 4], grid[7:8], (28, 28))
    tiles(axes[1, 4], torch.stack([grid[:5], grid[5:]]), (28, 28))
    words = ("colours, redrawn", "a table's two causes", "photons, their rate")
    words += ("holes, filled", "one hand, ten digits")
    for ax, word in zip(axes[0], words, strict=True):
        ax.set_title(word, fontsize=11)
    figure.subplots_adjust(wspace=0.12, hspace=0.08)
    save(figure, "hero.png")


def _of_colour(c: dict[str, Any]) -> dict[str, str]:
    """What is said of colour in bits, once it is measured."""
    rows = {row["name"]: row for row in c["rows"]}
    conv, mlp, one = (rows[f"{n} logistics"] for n in ("conv, 5", "mlp, 5", "conv, 1"))
    share = conv["processor_seconds"] / mlp["processor_seconds"]
    said = {
        "colour": f"After {conv['epochs']} epochs this fully connected network, with "
        f"{mlp['weights'] / 1e6:.0f} million weights, is at {mlp['bits']:.2f}. `--net conv`, with "
        f"{conv['weights'] / 1e6:.1f} million and {share:.0%} of the time, is at "
        f"{conv['bits']:.2f}, and with one logistic in place of five at {one['bits']:.2f}.",
        "one": f"{c['limits']['1']:.2f}",
        "five": f"{c['limits']['5']:.2f}",
    }
    theirs = rows.get("pythae 0.1.2, as documented")
    if theirs:
        said["pythae"] = (
            f"On the same pictures and epochs pythae 0.1.2 takes {theirs['lines']} lines for our "
            f"two, and {theirs['processor_seconds']:.0f} seconds of processor for our "
            f"{mlp['processor_seconds']:.0f} ({conv['processor_seconds']:.0f} with `--net conv`). "
            f"Its loss is a Gaussian of variance 1; with the one width that fits, cut into levels, "
            f"its pictures cost {theirs['bits']:.2f} bits per dimension."
        )
    return said


def sentences(stored: dict[str, Any]) -> dict[str, str]:
    """What the page says of a measurement, a sentence or two each: no number of it is elsewhere."""
    m = stored["cards"]["measured"]
    few, many = m["codes"]["accuracy"]["50"], m["codes"]["accuracy"]["2000"]
    said = {
        "table": f"✓ Held-out log p(x) is {m['table']['log_prob']:.3f} nats; scikit-learn's "
        f"`FactorAnalysis`, run to its end, has {m['table']['factor_analysis']:.3f}.",
        "counts": f"✓ The rate is {m['counts']['error_rate']:.2f} photons off, the counts "
        f"themselves {m['counts']['error_counts']:.2f}, one mean picture for all "
        f"{m['counts']['error_mean']:.2f}.",
        "fano": f"But train first: here it is {m['counts']['variance_over_mean']:.2f} under the "
        f"learned rates and {m['counts']['variance_over_mean_truth']:.2f} under the true ones.",
        "holes": f"✓ In standard deviations of a column we miss by {m['holes']['ours']:.2f}, the "
        f"exact conditional by {m['holes']['exact']:.2f}, column means by "
        f"{m['holes']['column means']:.2f}.",
        "labels": f"✓ Under its own label a held-out digit has {m['labels']['right']:.1f} nats, "
        f"under the next one {m['labels']['wrong']:.1f}.",
        "odd": f"✓ Against a digit, oddness picks the stranger with probability "
        f"{m['odd']['rotated']:.2f} if it is rotated, {m['odd']['shifted']:.2f} if shifted, "
        f"{m['odd']['inverted']:.2f} if inverted, {m['odd']['blank']:.2f} if blank.",
        "blank": f"a blank sheet has {m['odd']['blank_score']:.0f} nats there, the best digit "
        f"{m['odd']['best_digit']:.0f}.".replace("-", "−"),
        "codes": f"✓ With 50 labels, {few[1]:.0%} right from codes and {few[0]:.0%} from pixels; "
        f"with 2,000, {many[1]:.0%} and {many[0]:.0%}.".replace("%", " %"),
        "angle": f"✓ The area of ours is {m['likelihood']['area']:.3f}.",
        "device": f"✓ On a CPU the weights of the run that was killed after epoch "
        f"{m['device']['killed_after']} end the same, bit for bit.",
        "onnx": f"✓ Of {m['onnx']['numbers']:,} numbers none differs by more than "
        f"{m['onnx']['worst']:.0e} of the largest.",
    }
    if "limits" in stored["colour"]:
        said |= _of_colour(stored["colour"])
    if not m["device"]["same_weights"]:
        raise ValueError("device: the resumed run ended at other weights")
    return {k: v.replace(" -", " −") for k, v in said.items()}


def write_page(stored: dict[str, Any]) -> None:
    """Put the sentences into the page, in the places of the last ones or of their names."""
    text, now = PAGE.read_text(), sentences(stored)
    for name, sentence in now.items():
        before = stored.get("sentences", {}).get(name, f"@{name}@")
        text = text.replace(f"@{name}@" if f"@{name}@" in text else before, sentence)
    stored["sentences"] = now
    PAGE.write_text(text)


def record(only: list[str] | None = None, stored: dict[str, Any] | None = None) -> dict:
    """Run all cards, measure and draw them."""
    plots.theme()
    every, found, seconds, measured = cards(), {}, {}, {}
    with tempfile.TemporaryDirectory() as folder, within(Path(folder)):
        examples.write(".")
        for name, measure in MEASURE.items():
            if only and name not in only:
                continue
            card = every[name]
            for module in ("mine",):
                sys.modules.pop(module, None)
            start, busy = time.perf_counter(), time.process_time()
            needs = {"likelihood": True, "device": True, "onnx": True}.get(name, False)
            if name == "onnx" and not Path("digits").exists():
                fit("classes", epochs=40, folder="digits", progress=False)
            found[name] = run_card(card, commands=needs)
            seconds[name] = {
                "seconds": round(time.perf_counter() - start, 1),
                "processor_seconds": round(time.process_time() - busy, 1),
            }
            measured[name] = measure(found[name], stored or {})
            print(name, seconds[name], measured[name], flush=True)
        if not only or {"colour", "table", "counts", "holes", "labels"} <= set(only):
            hero(found)
    before = (stored or {}).get("cards", {})
    return {  # of cards that were not run, what was measured before
        "seconds": before.get("seconds", {}) | seconds,
        "measured": before.get("measured", {}) | measured,
    }
