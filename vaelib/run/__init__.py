"""A run: what was asked for, kept in its folder, and the trained model that comes back from it.

`Settings` is one dataclass: a field is an option of ``python -m vaelib train``, a line of the
folder's ``settings.json``, and what is compared when a run goes on. ``vaelib.fit``, which is `fit`
here, trains a model of your data, and ``vaelib.load``, which is `load`, brings it back from its
folder: both return a `Trained`, which takes new data as they are, and whose `Score` says how likely
each is, and how odd.

Page: :doc:`/book/own_data`.
"""

from vaelib.run.fit import fit
from vaelib.run.load import load
from vaelib.run.odd import Usual
from vaelib.run.score import Score
from vaelib.run.settings import Settings
from vaelib.run.trained import Trained

__all__ = ["Score", "Settings", "Trained", "Usual", "fit", "load"]
