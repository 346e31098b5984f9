"""Open work: three projects of some hours, each with an exact check.

Page: :doc:`/book/open_work`. Each function takes what you made, looks for what would make its
numbers worthless, measures it beside a baseline, and returns a `Report` to print.
"""

from vaelib.course.projects.digits import digits_model, prior
from vaelib.course.projects.measured import likelihood
from vaelib.course.projects.plane import log_joint, phones, posterior
from vaelib.course.projects.report import Report

__all__ = ["Report", "digits_model", "likelihood", "log_joint", "phones", "posterior", "prior"]
