r"""One check for each exercise of the course: ``checks.NAME(your_function)``.

Chapters: the section *Exercises* of each.

A check draws fresh inputs, calls your function in float64 and float32, on several shapes and on
extreme values, and compares values and gradients with an answer computed in another way. It prints
one line if all agree. Otherwise it raises `CheckFailed` with the name of the mistake, where it is a
known one. ``EXERCISES`` maps each name to its check.

    >>> from vaelib.course import checks
    >>> def kl_to_prior(loc, logvar):
    ...     return 0.5 * (loc**2 + logvar.exp() - logvar - 1).sum(-1)
    >>> checks.kl_to_prior(kl_to_prior)
    kl_to_prior: correct (values and gradients, 10 cases)
    >>> checks.kl_to_prior(lambda loc, logvar: 2 * kl_to_prior(loc, logvar), seed=1)
    Traceback (most recent call last):
    ...
    vaelib.course.checks.diagnosis.CheckFailed: kl_to_prior: the ½ in front is missing
"""

import importlib
import pkgutil

from .capstone import Capstone, Stage
from .exercise import CheckFailed, Draw, Exercise

# Which chapters there are, the files say: one of exercises for each, and one for the capstone.
EXERCISES: dict[str, Exercise | Capstone] = {
    name: exercise
    for file in pkgutil.iter_modules(__path__, f"{__name__}.")
    for name, exercise in vars(importlib.import_module(file.name)).items()
    if isinstance(exercise, Exercise | Capstone)
}
globals().update(EXERCISES)

__all__ = ["EXERCISES", "Capstone", "CheckFailed", "Draw", "Exercise", "Stage", *EXERCISES]
