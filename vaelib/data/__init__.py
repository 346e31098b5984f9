"""Data: 10,000 bundled MNIST digits, MNIST, Fashion-MNIST, and your own, of any of seven kinds.

Data are rows ``[n, values]``, with a ``Layout`` that says what a row is: a picture, or a line of a
table. Their type says what the values are (`kind`): pixels from 0 to 255, numbers, or counts. They
become what a model takes in its likelihood (`vaelib.likelihood.Likelihood.prepare`) and nowhere
else. `own` reads data to train on, `same` those that a trained model is shown, and ``examples``
makes some whose causes are known.
"""

from vaelib.data import examples
from vaelib.data.binarize import Binarization, binarize
from vaelib.data.dataset import Columns, Dataset, Kind, Layout, Pictures, kind
from vaelib.data.named import Images, digits, fashion_mnist, mnist
from vaelib.data.own import own
from vaelib.data.rows import Rows
from vaelib.data.same import labels_of, names_of, same

__all__ = [
    "Binarization",
    "Columns",
    "Dataset",
    "Images",
    "Kind",
    "Layout",
    "Pictures",
    "Rows",
    "binarize",
    "digits",
    "examples",
    "fashion_mnist",
    "kind",
    "labels_of",
    "mnist",
    "names_of",
    "own",
    "same",
]
