"""A VAE as an estimator of scikit-learn: ``fit``, ``transform``, ``score``, in any pipeline.

It is ``vaelib.fit`` with nothing held out, since there scikit-learn splits; what it does not offer
(labels, missing values, pictures by convolutions, a folder of the run), ``vaelib.fit`` does.
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vaelib.data import Columns, Dataset
from vaelib.run import Trained, fit

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.validation import check_array, check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        f'vaelib.estimator: needs {error.name}; pip install "vaelib[estimator]"', name=error.name
    ) from error

__all__ = ["VAEEncoder"]

_KINDS = (np.float64, np.float32)


class VAEEncoder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Rows of a table to codes, the means of q(z | x), by a VAE that is trained on them.

    Args:
        latent: numbers of a code.
        net: ``"mlp"``; or ``"linear"``, with which it is probabilistic PCA, or with a variance for
            each column factor analysis.
        likelihood: how the data are noisy, by the name that ``python -m vaelib train`` has for it:
            ``"gaussian"`` or ``"student-t"`` of numbers in any units, ``"poisson"`` or
            ``"negative-binomial"`` of counts, ``"bernoulli"`` of shares between 0 and 1.
        hidden: widths of the hidden layers of the encoder, which the decoder has the other way
            round; None chooses.
        epochs, batch_size, lr: of the training, by Adam.
        random_state: a seed, NumPy's ``RandomState`` or None, as everywhere in scikit-learn. With
            the same seed, data and machine the result is the same.

    Attributes:
        run_: the `~vaelib.run.Trained`: its ``model`` is what `vaelib.evaluate` takes, its
            ``history`` says how the training went.
        n_features_in_, feature_names_in_: of the data.

    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> encoder = VAEEncoder(epochs=2, random_state=0).fit(X)
    >>> encoder.transform(X).shape, encoder.sample(3, random_state=0).shape
    ((150, 2), (3, 4))
    """

    def __init__(
        self,
        latent: int = 2,
        *,
        net: str = "mlp",
        likelihood: str = "gaussian",
        hidden: Sequence[int] | None = None,
        epochs: int = 100,
        batch_size: int = 128,
        lr: float = 1e-3,
        random_state: Any = None,
    ) -> None:
        # scikit-learn's rule: kept as they are, and looked at by fit.
        self.latent = latent
        self.net = net
        self.likelihood = likelihood
        self.hidden = hidden
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.random_state = random_state

    def fit(self, X: Any, y: object = None) -> "VAEEncoder":  # noqa: ARG002, N803
        """Train on all rows of X ``[n, features]``; y is not used."""
        # With one row nothing varies, and no unit can be taken from it.
        values = validate_data(self, X, dtype=_KINDS, ensure_min_samples=2)
        names = getattr(self, "feature_names_in_", [f"x{i}" for i in range(values.shape[1])])
        rows = torch.from_numpy(values.astype(np.float32))
        given: dict[str, Any] = {} if self.hidden is None else {"hidden": list(self.hidden)}
        with torch.random.fork_rng(devices=[]):  # torch's own generator stays as it is
            run = fit(
                Dataset(rows, rows, Columns(tuple(map(str, names)))),
                latent=self.latent,
                net=self.net,
                likelihood=self.likelihood,
                epochs=self.epochs,
                batch_size=self.batch_size,
                lr=self.lr,
                seed=int(check_random_state(self.random_state).randint(2**31 - 1)),
                device="cpu",
                progress=False,
                **given,
            )
        # Without the rows, which would go into every pickle.
        self.run_ = Trained(run.model, settings=run.settings, history=run.history)
        return self

    @torch.no_grad()
    def transform(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The codes ``[n, latent]``, in the precision of X.

        Nothing is drawn: a share between 0 and 1, of which training draws 0 or 1, is taken as it
        is.
        """
        values = self._checked(X)
        # In double precision a row's code does not depend on the rows beside it, to 1e-15.
        model = copy.deepcopy(self.run_.model).double()
        loc, *_ = model.raw(torch.from_numpy(values.astype(np.float64)))
        return loc.numpy().astype(values.dtype)

    def inverse_transform(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The means of p(x | z) ``[n, features]`` at codes z ``[n, latent]``."""
        check_is_fitted(self)
        z = check_array(X, dtype=_KINDS)
        mean = self.run_.decode(torch.from_numpy(z.astype(np.float32))).mean
        return mean.numpy().astype(z.dtype)

    def score(self, X: Any, y: object = None) -> float:  # noqa: ARG002, N803
        """The mean of log p(x) over the rows, in nats, by importance sampling; higher is better.

        With 100 samples and a fixed seed. It is a lower bound in expectation, and of numbers a
        log-density: of models of the same data in the same units the better one scores higher.
        """
        rows = torch.from_numpy(self._checked(X).astype(np.float32))
        return self.run_.log_prob(rows, samples=100).log_prob.mean().item()

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.float32]:
        """New rows ``[n_samples, features]``: z from the prior, x given z."""
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        drawn = self.run_.sample(n_samples, generator=torch.Generator().manual_seed(seed))
        return drawn.numpy()

    @property
    def _n_features_out(self) -> int:
        return self.run_.model.latent

    def _checked(self, X: Any) -> NDArray[Any]:  # noqa: N803
        check_is_fitted(self)
        return validate_data(self, X, dtype=_KINDS, reset=False)
