"""The old name of `vaelib.course.checks`, for copies that were handed out under it."""

import sys

from vaelib.course import checks

sys.modules[__name__] = checks
