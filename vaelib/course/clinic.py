"""The eight cases of chapter *clinic*: four answers each, and what there is to say to them.

The words stand here and nowhere else. `choices` shows them on the page, where each answer opens its
reply without a kernel; `diagnose` says the same words to the answer that a learner gives. Their
numbers are those of the recorded runs.

Chapter: :doc:`/book/clinic`.
"""

import html
import math
import re
from functools import cache
from typing import Any, NamedTuple

import torch

from vaelib.course.checks import CheckFailed
from vaelib.course.recordings import recorded
from vaelib.data import digits

__all__ = ["Choices", "choices", "diagnose"]

LETTERS = "ABCD"


class Case(NamedTuple):
    """Four answers with a reply each; `right` is the letter of the one that is."""

    right: str
    answers: tuple[tuple[str, str], ...]


# In a reply, p is the patient's record, h that of the healthy run beside it, and n what follows
# from both.
CASES = {
    1: Case(
        "A",
        (
            (
                "The pixels are averaged",
                "Divide minus the bound by the number of pixels: {n[minus]:.1f} / 784 = "
                "{n[each]:.2f}. So the loss is a mean over pixels, but the KL beside it is whole: "
                "a nat of code costs as much as 784 nats of pixels. Nobody can pay that. The KL "
                "goes to {p[kl]:.2f}, and all z get one smudge.",
            ),
            (
                "z is detached",
                "That kills a code too, but it leaves the loss in nats per image: it would read "
                "about {n[minus]:.0f}.",
            ),
            (
                "The decoder needs no z",
                "Such a decoder knows how pixels hang together, and its bound would be far above "
                "{p[bound]:.1f}, which is no better than one constant picture.",
            ),
            (
                "The learning rate is too high",
                "Then training stalls or jumps, but the loss stays in nats per image: with such "
                "a bound it would read about {n[minus]:.0f}, and never {p[loss]:.2f}.",
            ),
        ),
    ),
    2: Case(
        "B",
        (
            (
                "The KL weighs too much",
                "A KL that costs too much kills a code during training. At step 0 it has had no "
                "say yet, and the pictures would still differ over z, by {h[pictures]:.2f} as in "
                "the healthy run.",
            ),
            (
                "z reaches no pixel from the start",
                "Before the first step all z give one picture: the spread is {p[pictures]:.2f}. "
                "Nothing was trained yet, so neither the loss nor the optimizer is to blame, only "
                "the network and its first weights. And since no gradient comes back through a "
                "decoder that ignores z, it stays so.",
            ),
            (
                "The optimizer misses the encoder",
                "The optimizer has done nothing at step 0, and the decoder's pictures would still "
                "differ over z. Besides, an untrained encoder keeps the KL that it began with.",
            ),
            (
                "z is detached",
                "Detaching z cuts the way back, not the way forward: at step 0 the pictures would "
                "still differ over z, by {h[pictures]:.2f} as in the healthy run.",
            ),
        ),
    ),
    3: Case(
        "B",
        (
            (
                "It is overfitting",
                "Then it would do well on its own training digits. It does not: their bound is "
                "{p[train]:.0f}, almost as bad as {p[bound]:.0f} on new ones.",
            ),
            (
                "There is no KL in the loss",
                "The loss is {p[loss]:.0f}, yet on the same digits the bound is {p[train]:.0f}. "
                "What is missing is nearly the KL, {p[kl]:.0f} nats: the loss can only be the "
                "pixels' part. With noise free to shrink, σ goes to {p[sigma]:.2f}; with codes "
                "free to wander, their spread is {p[codes]:.1f}. Copies gain, but the prior, from "
                "which samples are drawn, no longer knows where the codes are.",
            ),
            (
                "Training uses the mean in place of a sample",
                "Then σ would touch nothing but the KL, which would pull it to 1. Here it is "
                "{p[sigma]:.2f}.",
            ),
            (
                "The latent space is too small",
                "A code that is too small copies badly. These copies are the sharpest of all.",
            ),
        ),
    ),
    4: Case(
        "C",
        (
            (
                "A wrong reduction",
                "Then the loss would be on another scale than the bound. It reads {p[loss]:.2f}, "
                "and the bound {p[bound]:.2f}. Besides, a starved code costs something only where "
                "a code would help, and the best possible bound, {p[best]:.2f}, needs none.",
            ),
            (
                "z is detached",
                "That makes z say nothing, but it cannot give this score: a decoder that has only "
                "z would be left with 30 fair coins, {n[coins]:.1f}. This one has {p[bound]:.2f}, "
                "so it knows the rule without z. If z were detached as well, no sign would show "
                "it, and mending it would gain nothing.",
            ),
            (
                "The decoder does not need z",
                "The bound, {p[bound]:.2f}, is as good as the best possible, {p[best]:.2f}: the "
                "decoder knows the rule by itself. Then a code costs nats and saves none, and "
                "leaving it unused is right.",
            ),
            (
                "The decoder sees the bit that it predicts",
                "Then the bound would lie far above {p[best]:.2f}, which no honest model of these "
                "strings can beat except by luck.",
            ),
        ),
    ),
    5: Case(
        "A",
        (
            (
                "Test digits were trained on",
                "On 2,000 digits that it has never met, the bound is {p[bound]:.1f}: "
                "{n[fall]:.0f} nats below that of its own test digits, over {n[errors]:.0f} "
                "standard errors. Its own are old friends.",
            ),
            (
                "The test digits happen to be easy",
                "By luck of the draw? The healthy run has {h[test]:.1f} on 500 digits of the same "
                "pool, and {h[bound]:.1f} on the 2,000 fresh ones: fresh digits are no harder. A "
                "fall of {n[fall]:.0f} nats, with a standard error of {p[test_error]:.1f}, is not "
                "luck.",
            ),
            (
                "It is well regularized",
                "Regularization narrows a gap from the top: the training bound pays for it. Here "
                "training scores {p[train]:.1f}, as in the healthy run ({h[train]:.1f}).",
            ),
            (
                "It is evaluated at the mean of q",
                "Then the fresh digits would be flattered as well. They fall. And two estimates "
                "of their bound differ a little, {p[bound]:.2f} and {p[again]:.2f}, so z is drawn.",
            ),
        ),
    ),
    6: Case(
        "A",
        (
            (
                "Grey pixels under a Bernoulli",
                "Nothing that this model draws is ever grey, but {n[grey]:.0f} % of the ink that "
                "it was shown is. So its loss scores pictures that it could never draw: even a "
                "decoder whose mean is each grey image itself would get {n[copy]:.1f}, never 0. "
                "The number looks right because the mean of many black and white draws is the "
                "grey.",
            ),
            (
                "Too few epochs",
                "The bound is {p[bound]:.1f}, and the healthy run's {h[bound]:.1f}. And however "
                "long you train, a Bernoulli draws no grey.",
            ),
            (
                "The pixels were cut at ½, once",
                "Then the data would be black and white, as the samples are. Look at the "
                "histogram of what it was trained on: it is full of grey.",
            ),
            (
                "The decoder is too weak",
                "It fits as well as the healthy one, {p[bound]:.1f} and {h[bound]:.1f}. A stronger "
                "one would draw no grey either.",
            ),
        ),
    ),
    7: Case(
        "B",
        (
            (
                "All of its random numbers have one seed",
                "A seed would repeat the 1 sample, but 100 samples use 99 draws that one sample "
                "does not. Their mean would differ in some digit, and in the record four decimals "
                "agree. And no seed is worth four nats: the healthy run's estimates differ by less "
                "than a tenth.",
            ),
            (
                "z is the mean of q in the test",
                "With 1 and with 100 samples, the same to the last digit: nothing is drawn. At "
                "z = μ the first term is too good, since the decoder never has to put up with the "
                "noise that the KL has paid for, and the number is no bound. In a twin with two "
                "latent dimensions, {n[above]:d} of {n[of]:d} such “bounds” lie above the exact "
                "log p(x).",
            ),
            (
                "Test digits were trained on",
                "Then training and test would agree. Here training is {n[gap]:.1f} nats ahead, as "
                "in the healthy run ({n[healthy_gap]:.1f}).",
            ),
            (
                "It is simply a better model",
                "Its loss and its pictures are the healthy run's: it is the same model. With z "
                "drawn from q, it has {h[bound]:.1f}.",
            ),
        ),
    ),
    8: Case(
        "C",
        (
            (
                "z is detached",
                "An encoder that hears only the KL soon obeys it: the KL would fall to "
                "{n[dead]:.2f}. This one stays at {p[kl]:.2f} for 30 epochs.",
            ),
            (
                "The pixels are averaged",
                "Then the loss would read {n[each]:.2f}, and the KL would be {n[dead]:.2f}. Here "
                "the loss reads {p[loss]:.0f}, and the KL stays at {p[kl]:.2f}.",
            ),
            (
                "The optimizer misses the encoder",
                "The KL is {p[kl]:.2f} from first to last and σ is {p[sigma]:.2f}, both just where "
                "an untrained encoder has them. In fact its weights have moved by "
                "{p[encoder_moved]:.0f}. A decoder on its own learns the average digit.",
            ),
            (
                "z reaches no pixel",
                "At step 0 the pictures do differ over z, by {p[pictures]:.2f}, as in the healthy "
                "run. And the KL of an encoder that is trained would not stand still.",
            ),
        ),
    ),
}
BESIDE = {4: "4 mended", 5: "5 mended"}  # the healthy run that a patient is compared with


@cache
def runs() -> dict[str, dict[str, Any]]:
    """The recorded runs, by patient."""
    return {point["patient"]: point for point in recorded("clinic")["points"]}


@cache
def grey() -> tuple[float, float]:
    """Of the 2,000 held-out digits: which share of the ink lies between 0.1 and 0.9; their best.

    The second is what a Bernoulli scores whose mean is each grey image itself, in nats.
    """
    pixels = digits().test.double() / 255
    ink = pixels[pixels > 0]
    share = ((ink > 0.1) & (ink < 0.9)).double().mean().item()
    entropy = torch.special.entr(pixels) + torch.special.entr(1 - pixels)
    return share, -entropy.sum(1).mean().item()


@cache
def _derived(case: int) -> dict[str, float]:
    """What the replies to a case say beside the record's own numbers."""
    every = runs()
    p, h, plane = every[str(case)], every[BESIDE.get(case, "healthy")], every["7 in a plane"]
    above = [r > e for r, e in zip(plane["reported"], plane["exact"], strict=True)]
    share, copy = grey()
    return {
        "minus": -p["bound"],
        "each": -p["bound"] / 784,
        "dead": every["1"]["kl"],
        "coins": -30 * math.log(2),
        "fall": p["test"] - p["bound"],
        "errors": math.floor((p["test"] - p["bound"]) / p["test_error"]),
        "gap": p["train"] - p["bound"],
        "healthy_gap": h["train"] - h["bound"],
        "above": sum(above),
        "of": len(above),
        "grey": 100 * share,
        "copy": copy,
    }


def _told(case: int) -> list[tuple[str, str, str]]:
    """Letter, answer and reply of each."""
    numbers = {
        "p": runs()[str(case)],
        "h": runs()[BESIDE.get(case, "healthy")],
        "n": _derived(case),
    }
    told = []
    for letter, (answer, reply) in zip(LETTERS, CASES[case].answers, strict=True):
        words = re.sub(r"-(?=\d)", "−", reply.format(**numbers))
        verdict = "Yes." if letter == CASES[case].right else "No."
        told.append((letter, answer, f"{verdict} {words}"))
    return told


class Choices:
    """The four answers to a case. In a notebook each opens its reply; elsewhere they are a list."""

    def __init__(self, case: int) -> None:
        self.told = _told(case)

    def _repr_html_(self) -> str:
        items = [
            f"<details><summary><b>{letter}</b> {html.escape(answer, quote=False)}</summary>"
            f"<p>{html.escape(reply, quote=False)}</p></details>"
            for letter, answer, reply in self.told
        ]
        return '<div class="choices">\n' + "\n".join(items) + "\n</div>"

    def __repr__(self) -> str:
        return "\n".join(f"{letter}  {answer}" for letter, answer, _ in self.told)


def choices(case: int) -> Choices:
    """What a case may be: four answers, to be the last expression of a cell.

    Raises:
        ValueError: if there is no such case.

    >>> choices(1)
    A  The pixels are averaged
    B  z is detached
    C  The decoder needs no z
    D  The learning rate is too high
    """
    _require_case(case)
    return Choices(case)


def diagnose(case: int, answer: str) -> None:
    """Say whether a diagnosis is right, and why. A question mark is none yet.

    Args:
        case: 1 to 8.
        answer: ``"A"``, ``"B"``, ``"C"`` or ``"D"``.

    Raises:
        CheckFailed: if it is another; the message says why not.
        ValueError: if there is no such case or no such answer.

    >>> diagnose(2, "?")
    case 2: put A, B, C or D for the ?
    """
    _require_case(case)
    given = answer.strip().upper()
    if given == "?":
        print(f"case {case}: put A, B, C or D for the ?")
        return
    replies = {letter: reply for letter, _, reply in _told(case)}
    if given not in replies:
        raise ValueError(f"diagnose: expected A, B, C or D, got {answer!r}")
    if given != CASES[case].right:
        raise CheckFailed(f"case {case}, {given}: {replies[given]}")
    print(f"case {case}, {given}: {replies[given]}")


def _require_case(case: int) -> None:
    if case not in CASES:
        raise ValueError(f"expected a case from 1 to {len(CASES)}, got {case!r}")
