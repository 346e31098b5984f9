"""A run: what was asked for, kept in its folder, and the trained model that comes back from it.

`Settings` is one dataclass: a field is an option of ``python -m vaelib train``, a line of the
folder's ``settings.json``, and what is compared when a run goes on. ``vaelib.load``, which is
`load` here, makes the trained model of a folder.

Page: :doc:`/book/own_data`.
"""

from vaelib.run.load import load
from vaelib.run.settings import Settings

__all__ = ["Settings", "load"]
