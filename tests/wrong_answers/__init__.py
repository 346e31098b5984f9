"""Answers to every exercise as learners give them: wrong ones, and right ones written differently.

Each chapter has a file here. `@wrong("kl_to_prior", says="½")` marks a wrong answer, and the words
(a regular expression) by which the check must name it; without `says` it must be rejected, and that
is all. `@right("kl_to_prior")` marks a right one. tests/test_checks.py tries them all.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Answer(NamedTuple):
    exercise: str
    name: str
    function: Callable[..., Any]
    says: str | None


WRONG: list[Answer] = []
RIGHT: list[Answer] = []


def wrong(exercise: str, says: str | None = None):
    def mark(function):
        WRONG.append(Answer(exercise, function.__name__, function, says))
        return function

    return mark


def right(exercise: str):
    def mark(function):
        RIGHT.append(Answer(exercise, function.__name__, function, None))
        return function

    return mark
