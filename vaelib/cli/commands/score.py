"""log p(x) of data, each with its error; and which of them are odd."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from vaelib.cli import options as shared
from vaelib.cli import pictures, results, tables
from vaelib.cli.runs import New, asked, generator, new, opened, units
from vaelib.cli.words import in_options, say
from vaelib.data import Pictures
from vaelib.run import Score, Trained
from vaelib.run.option import whole

__all__ = ["ABOUT", "MORE", "options", "run"]

FEWEST = 10  # held-out data from which on it is known what is usual for the ink
Against = Literal["ink"] | None
ABOUT = "write log p(x) of data into a table, and show the odd ones"
MORE = (
    "A row for each datum: its name; log_prob, the estimate L_K of log p(x) in nats; error, its "
    "standard error by sampling; effective, how many of the K samples it rests on; elbo; bits, per "
    "value; with --odd, oddness. Example: python -m vaelib score run --data new --odd 10"
)


def options(command: argparse.ArgumentParser, _classes: Sequence[type]) -> None:
    """Of what, how well, and where to."""
    shared.run(command)
    shared.new_data(command)
    shared.out(command, "the table", "RUN/scores.csv", "CSV")
    command.add_argument(
        "--odd",
        type=whole(1),
        metavar="NUMBER",
        help="also show so many of the oddest, 1 or more, and pictures on a sheet beside the "
        "table, of the table's name with .png (default: do not)",
    )
    shared.samples(command)
    command.add_argument(
        "--refine",
        action="store_true",
        help="from a better q than the encoder's, improved for each datum by itself; takes several "
        "times as long. For when there is a warning",
    )
    shared.label(command, "(default: the data's own labels)")
    shared.elsewhere(command, "of noise and binarization")


def run(given: dict[str, Any], classes: Sequence[type] = ()) -> None:
    """Write the table, show the odd ones, and say what the numbers mean."""
    out = given.get("out", Path(given["run"]) / "scores.csv")
    path = results.require_suffix("--out", out, ".csv")
    its = opened(given["run"], given, classes)
    these = new(its, given)
    score = its.log_prob(
        these.rows,
        these.labels,
        samples=given["samples"],
        refine="refine" in given,
        generator=generator(its, given),
    )
    columns = {
        "log_prob": score.log_prob,
        "error": score.error,
        "effective": score.effective,
        "elbo": score.elbo,
        "bits": score.bits,
    }
    against: Against = None if score.ink is None or len(its.test) < FEWEST else "ink"
    if "odd" in given:
        columns["oddness"] = score.oddness(against=against)
    label = [] if these.labels is None else ["class"]
    numbers = torch.stack([column.double().cpu() for column in columns.values()], 1).tolist()
    lines = zip(these.names, these.classes(its), numbers, strict=True)
    results.write(
        path, tables.table(["name", *label, *columns], ([n, *c, *v] for n, c, v in lines))
    )
    log_p = score.log_prob.cpu()
    print(
        f"{path}: {len(log_p)} of {these.where}; log_prob from {log_p.min():.2f} to "
        f"{log_p.max():.2f}, mean {log_p.mean():.2f} nats; higher is likelier\n"
        f"log_prob is L_{score.samples}, on average below log p(x), and error its sampling "
        f"error alone, both in nats; bits = -log_prob / (log 2 · values): lower is better.\n"
        f"Compare only scores of the same data in the same units, under the same kind of "
        f"likelihood ({asked(its).likelihood} here)."
    )
    if score.warning:
        say(f"warning: {in_options(score.warning, ('refine', 'samples'))}")
    if "odd" in given:
        _show_odd(path, its, these, given, score, against)


def _show_odd(
    path: Path,
    its: Trained,
    these: New,
    given: dict[str, Any],
    score: Score,
    against: Against,
) -> None:
    """The oddest, first as lines and then as a sheet, and why log p(x) is not the measure."""
    oddness, log_p = score.oddness(against=against).cpu(), score.log_prob.cpu()
    most = oddness.topk(min(given["odd"], len(oddness))).indices
    beyond = torch.zeros_like(oddness) if against is None else score.beyond().cpu()
    print(f"\nThe {len(most)} oddest:")
    width = max(len(these.names[i]) for i in most.tolist())
    for place, i in enumerate(most.tolist(), 1):
        print(
            f"{place:>3}  {these.names[i]:<{width}}  oddness {oddness[i]:8.2f}   log_prob "
            f"{log_p[i]:9.2f}{' *' if beyond[i] else ''}"
        )
    if beyond[most].any():
        print("* has less or more ink than any of the held-out data: its oddness is a guess")
    if against is None:
        print(
            "Oddness is minus log_prob here, in nats: the higher, the less likely. A row at the "
            "top is far from what the model expects; that alone doesn't make it a mistake."
        )
        return
    print(_why(its, these, given, log_p))
    if isinstance(its.layout, Pictures):
        odd = these.part(most)
        rows = units(odd.rows)
        scale = pictures.shades(units(these.rows), asked(its).kind)
        captions = [
            [f"{place}. {name}", f"oddness {o:.1f}", f"log p {p:.1f}"]
            for place, (name, o, p) in enumerate(
                zip(odd.names, oddness[most].tolist(), log_p[most].tolist(), strict=True), 1
            )
        ]
        sheet = path.with_suffix(".png")
        levels = pictures.as_levels(rows, its.layout, scale)
        results.write(sheet, pictures.named(levels, captions))
        print(f"{sheet}: these, with their names{f'; {scale.words}' if scale.words else ''}")


def _why(its: Trained, these: New, given: dict[str, Any], log_p: torch.Tensor) -> str:
    """What a blank datum scores: the reason why log p(x) alone does not tell what is odd."""
    label = None if these.labels is None else these.labels[:1]
    found = its.log_prob(
        _blank(its, these.rows), label, samples=given["samples"], generator=generator(its, given)
    )
    score = found.log_prob.item()
    above = int((score > log_p).sum())
    because = "It rewards what is plain" if 2 * above > len(log_p) else "Ink has its price too"
    return (
        f"Oddness is how many nats log_prob falls short of what held-out data with as much ink "
        f"(mean value) score. Why not log_prob alone? {because}: a blank one, all of the commonest "
        f"value, scores {score:.2f}, above {above} of these {len(log_p)}."
    )


def _blank(its: Trained, rows: torch.Tensor) -> torch.Tensor:
    """A row that is plain all over: in each channel the commonest value of these."""
    channels = its.layout.channels if isinstance(its.layout, Pictures) else 1
    common = [
        rows[:, part].flatten().mode().values
        for part in torch.arange(rows.shape[1]).chunk(channels)
    ]
    return torch.stack(common).repeat_interleave(rows.shape[1] // channels)[None]
