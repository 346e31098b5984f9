r"""What a capstone is: an object of several parts, asked and judged stage by stage.

A function has one truth for each input, and `Exercise` compares. An object that learns has none:
what can be known of it are its parts, each looked at alone, and at the end what it has learned. The
first stage that is wrong ends the check, since the others stand on it; so most mistakes are named
before anything is trained.

As with an exercise, ``ask`` calls the learner's code and writes down numbers, and ``judge`` sees
numbers only, where none of that code runs.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from secrets import randbits
from typing import Any, NamedTuple

from .agreement import Outcome
from .diagnosis import CheckFailed
from .exercise import STATE, Draw, as_in_a_new_notebook

__all__ = ["Capstone", "Stage"]

SWITCHED = {
    "torch.manual_seed": "then the same noise comes back each time; let torch's generator run on",
    "torch.set_grad_enabled": "what needs no gradient stands under `with torch.no_grad():`",
    "torch.set_default_dtype": "float32 is enough here",
}


class Stage(NamedTuple):
    """One part of the object: how it is asked, and how its numbers are judged.

    Args:
        name: What it looks at.
        ask: From the learner's class and a `Draw` to what JSON can hold.
        judge: From those numbers and a `Draw` of the same seed to a line for the learner, or None;
            raises `CheckFailed` if they are wrong.
        asked_of: What an error's message says of the object that raised it.

    >>> from vaelib.course import checks
    >>> [stage.name for stage in checks.MyVAE.stages][:2]
    ['networks', 'loss']
    """

    name: str
    ask: Callable[[Callable[..., Any], Draw], Outcome]
    judge: Callable[[Outcome, Draw], str | None]
    asked_of: str = ""


@dataclass(frozen=True, eq=False)
class Capstone:
    """A capstone's check: call it with your class.

    Args:
        name: Of the class; the same as in ``EXERCISES``.
        stages: In the order in which they stand on each other.

    >>> def judge(outcome, draw):
    ...     if outcome["size"] != 2:
    ...         raise CheckFailed(f"expected 2, got {outcome['size']}")
    >>> size = Stage("size", lambda answer, draw: {"size": len(answer())}, judge)
    >>> Capstone("pair", (size,))(list, seed=0)
    Traceback (most recent call last):
    ...
    vaelib.course.checks.diagnosis.CheckFailed: pair, size: expected 2, got 0
    """

    name: str
    stages: tuple[Stage, ...]

    def __call__(self, answer: Callable[..., Any], *, seed: int | None = None) -> None:
        """Say how far ``answer`` is right; raise `CheckFailed` at the first stage that is wrong.

        Raises:
            CheckFailed: With the mistake's name, where it is recognized.
        """
        seed = randbits(32) if seed is None else seed
        outcomes = self.respond(answer, seed)
        if outcomes[-1].get("error") == "NotImplementedError":
            self._say_how_far(len(outcomes) - 1)
            return
        print(f"{self.name}: correct. {self._verdict(outcomes, seed)}")

    def grade(self, answer: Callable[..., Any], *, seed: int | None = None) -> None:
        """The same without a word, except that what is not whole fails too."""
        seed = randbits(32) if seed is None else seed
        self.judge(self.respond(answer, seed), seed)

    def respond(self, answer: Callable[..., Any], seed: int) -> list[Outcome]:
        """What ``answer`` does in each stage, as plain numbers, up to the first that is wrong.

        Whoever falsifies this process gains nothing by it: `judge` judges again.
        """
        outcomes: list[Outcome] = []
        for stage in self.stages:
            outcomes.append(_asked(stage, answer, self._draw(stage, seed)))
            try:
                self._judged(stage, outcomes[-1], seed)
            except CheckFailed:
                break
        return outcomes

    def judge(self, outcomes: list[Outcome], seed: int) -> None:
        """Judge what ``respond`` wrote down for the same seed.

        Raises:
            CheckFailed: With the mistake's name, where it is recognized.
        """
        self._verdict(outcomes, seed)

    def _verdict(self, outcomes: list[Outcome], seed: int) -> str:
        said = [
            self._judged(stage, outcome, seed)
            for stage, outcome in zip(self.stages, outcomes, strict=False)
        ]
        if len(said) < len(self.stages):
            raise CheckFailed(f"{self.name}: {self.stages[len(said)].name} was not reached")
        return " ".join(filter(None, said))

    def _judged(self, stage: Stage, outcome: Outcome, seed: int) -> str | None:
        try:
            error = outcome.get("error")
            if error == "NotImplementedError":
                raise CheckFailed("not attempted")
            if error:
                raise CheckFailed(f"{stage.asked_of or 'it'} raised {error}")
            for name in outcome["state"]:
                raise CheckFailed(f"your class calls {name}: {SWITCHED[name]}")
            draw = self._draw(stage, seed)
            with as_in_a_new_notebook(draw.generator.initial_seed()):
                return stage.judge(outcome, draw)
        except CheckFailed as failure:
            raise CheckFailed(f"{self.name}, {stage.name}: {failure}") from None

    def _draw(self, stage: Stage, seed: int) -> Draw:
        return Draw(zlib.crc32(f"{self.name} {stage.name} {seed}".encode()))

    def _say_how_far(self, done: int) -> None:
        names = [stage.name for stage in self.stages]
        if done == 0:
            print(f"{self.name}: not attempted, or not far enough to look at {names[0]}")
        else:
            print(f"{self.name}: right so far ({', '.join(names[:done])}). Next: {names[done]}")


def _asked(stage: Stage, answer: Callable[..., Any], draw: Draw) -> Outcome:
    with as_in_a_new_notebook(draw.generator.initial_seed()):
        before = {name: read() for name, read in STATE.items()}
        try:
            outcome = stage.ask(answer, draw)
        except NotImplementedError as error:
            return {"error": f"NotImplementedError{': ' * bool(str(error))}{error}"[:1000]}
        except Exception as error:  # whatever a learner's class may raise is its answer
            return {"error": f"{type(error).__name__}: {error}"[:1000]}
        return outcome | {"state": [name for name, read in STATE.items() if read() != before[name]]}
