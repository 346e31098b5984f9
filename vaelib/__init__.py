"""vaelib: variational autoencoders whose every estimator is checked against an exact answer.

One module per idea, and imports point one way only: the contract in ``pyproject.toml``, which CI
checks, and CONTRIBUTING's tree, which is made from it.

Every bound in the package is per datum, in nats, summed over pixels and latent dimensions, and
higher is better. The one minus sign, which turns a bound into a loss, stands in ``vae``.
"""

import importlib
from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """``vaelib.fit`` and ``vaelib.load``, when asked for: they need torch, seconds to import."""
    if name in ("fit", "load"):
        return getattr(importlib.import_module("vaelib.run"), name)
    raise AttributeError(f"module 'vaelib' has no attribute {name!r}")
