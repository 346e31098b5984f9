r"""The check of the capstone of :doc:`/book/vae`: a VAE from nothing.

What it ends with cannot judge a VAE: an optimizer that misses the encoder, a KL too large and an
encoder without a gradient all end at the score of single pixels, and images that are binarized
once, or a KL with σ for σ², end within two nats of right. So its parts are looked at first, with
known networks in the place of the learner's; then it is trained, and its bound is measured from
what its encoder and decoder say, and from nothing else.
"""

from ..capstone import Capstone, Stage
from . import batch, evaluate, loss, networks, step
from .fixed import SIZES
from .training import FULL, Training, ask, judge

__all__ = ["MyVAE", "with_training"]


def with_training(how: Training) -> Capstone:
    """The check of the capstone with a training of this size."""
    parts = (networks, loss, batch, step, evaluate)
    small = "MyVAE({}, {}, {})".format(*SIZES)
    return Capstone(
        "MyVAE",
        (
            *(Stage(p.__name__.split(".")[-1], p.ask, p.judge, small) for p in parts),
            Stage(
                "training",
                lambda make, draw: ask(make, draw, how),
                lambda outcome, draw: judge(outcome, draw, how),
            ),
        ),
    )


MyVAE = with_training(FULL)
