"""A prior of your own for a plane of digits, against the VampPrior that was trained with it.

z has two dimensions, so that log p(x) is a sum over the plane for any prior, and no encoder has a
say in it. The decoder is the same for both: a training of networks differs more from seed to seed
than priors do.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib import data, nets, train
from vaelib.course.projects.report import ALPHA, Report, follows
from vaelib.nets import evaluation_mode
from vaelib.prior import Prior, VampPrior
from vaelib.vae import VAE

__all__ = ["digits_model", "log_evidence", "prior", "split"]

TOTAL = 0.002  # by which the sum over the plane may miss 1
ERROR = 0.02  # nats, by which a mean log p(x) may change with cells twice as wide
SAMPLES, BOXES = 20_000, 12
LEARNED = 4.0  # standard errors by which a gain on test images may exceed that on training images


def digits_model(*, seed: int = 0, images: int = 8000, epochs: int = 10, hidden: int = 200) -> VAE:
    """A VAE with two latent dimensions and a VampPrior of 50 pseudo-inputs, trained on the digits.

    Half a minute; fewer images and epochs, to try things, take less.

    >>> digits_model(images=200, epochs=1, hidden=8).latent
    2
    """
    torch.manual_seed(seed)
    encoder = nets.MLPEncoder(784, 2, hidden=(hidden,), activation=nn.SiLU)
    decoder = nets.MLPDecoder(2, 784, hidden=(hidden,), activation=nn.SiLU)
    model = VAE(encoder, decoder, prior=VampPrior(encoder, 784, 50))
    generator = torch.Generator().manual_seed(seed)
    pixels = data.digits().train[:images]
    train.fit(model, pixels, epochs=epochs, lr=3e-3, generator=generator, progress=False)
    return model


def split(tested: int) -> tuple[Float[Tensor, "n 784"], Float[Tensor, "n 784"]]:
    """As many images to learn from and to test, binarized once from a seed."""
    generator = torch.Generator().manual_seed(1)
    digits = data.digits()
    pixels = torch.cat([digits.train[:tested], digits.test[:tested]])
    learned, held_out = data.binarize(pixels, generator=generator).split(tested)
    return learned, held_out


class _Plane(NamedTuple):
    """Equal cells over a box."""

    z: Tensor  # [cell, 2]
    log_cell: Tensor  # of the area


def _plane(low: Tensor, high: Tensor, points: int) -> _Plane:
    middle = (torch.arange(points, dtype=low.dtype) + 0.5) / points
    z = low + (high - low) * torch.cartesian_prod(middle, middle)
    return _Plane(z, ((high - low) / points).log().sum())


def _log_density(p: Distribution, z: Tensor) -> Tensor:
    return torch.cat([p.log_prob(some) for some in z.split(10_000)])


@torch.no_grad()
def log_evidence(
    model: VAE, x: Float[Tensor, "n 784"], priors: tuple[Distribution, ...], plane: _Plane
) -> list[Tensor]:
    r"""log p(x) with each of some priors, $\log \sum_c p(z_c)\, p(x \mid z_c)\, |c|$, each [n]."""
    log_p = torch.stack([_log_density(p, plane.z) for p in priors])
    found = x.new_full((len(priors), len(x)), -torch.inf)
    for z, some in zip(plane.z.split(400), log_p.split(400, 1), strict=True):
        joint = model.log_likelihood_pairs(x, z) + some[:, None]
        found = torch.logaddexp(found, joint.logsumexp(-1))
    return list(found + plane.log_cell)


def _settled(p: Distribution, low: Tensor, high: Tensor, points: int) -> tuple[_Plane, Tensor]:
    """Cells so narrow that the prior's total no longer changes, and the mass in each."""
    before = float("nan")
    while True:
        plane = _plane(low, high, points)
        mass = (_log_density(p, plane.z).double() + plane.log_cell).exp()
        if abs(mass.sum() - before) < TOTAL / 4 or points > 1000:
            return plane, mass
        points, before = 2 * points, float(mass.sum())


@torch.no_grad()
def prior(own: Prior, model: VAE, *, tested: int = 500, points: int = 200) -> Report:
    """Check a prior of your own in the place of the model's VampPrior, with the same decoder.

    Args:
        own: your `~vaelib.prior.Prior` with ``latent = 2``, trained on training images.
        model: what `digits_model` returns.
        tested: images of each split, of which log p(x) is computed.
        points: cells along an axis of the plane.

    Returns:
        `Report`: the prior's total over the plane, the p-value of its samples, the mean log p(x) of
        test images with it and with the VampPrior, and the gain with its standard error over
        images. Asked is a gain of more than three of them. A gain that is larger on test images
        than on those to learn from shows a prior that has seen the wrong ones.

    >>> model = digits_model(images=200, epochs=1, hidden=8)
    >>> prior(model._prior, model, tested=10, points=96).numbers["gain, nats"]
    0.0
    """
    generator = torch.Generator().manual_seed(0)
    faults = []
    with evaluation_mode(nn.ModuleList([own, model])):
        z = own.sample(SAMPLES, generator=generator)
        _, other = model.sample(1000, generator=generator)
        both = torch.cat([z, other])
        margin = 0.2 * (both.amax(0) - both.amin(0))
        low, high = both.amin(0) - margin, both.amax(0) + margin
        mine, theirs = own(), model.prior
        plane, mass = _settled(mine, low, high, points)

        def place(z: Tensor) -> Tensor:
            box = ((z - low) / (high - low) * BOXES).long().clamp(0, BOXES - 1)
            return box[:, 0] * BOXES + box[:, 1]

        shares = place(plane.z).bincount(mass, minlength=BOXES**2)
        p_value = follows(place(z).bincount(minlength=BOXES**2)[None], shares[None])
        learned, held_out = split(tested)
        x = torch.cat([learned, held_out])
        fine = log_evidence(model, x, (mine, theirs), _plane(low, high, points))
        coarse = log_evidence(model, x, (mine, theirs), _plane(low, high, points // 2))
    error = max(float((a - b).mean().abs()) for a, b in zip(fine, coarse, strict=True))
    on_learned, gain = (fine[0] - fine[1]).split(tested)
    deviation = float(gain.std() / tested**0.5)
    too_good = gain.mean() - on_learned.mean()
    both_errors = float(((gain.var() + on_learned.var()) / tested) ** 0.5)
    total = float(mass.sum())
    if not abs(total - 1) <= TOTAL:
        faults.append(
            f"p(z) sums to {total:.4f} over the plane where its samples lie: has its log_prob "
            f"every constant? Or does it draw its samples elsewhere?"
        )
    elif not p_value >= ALPHA:
        faults.append(
            f"its samples do not follow its density (p = {p_value:.1g}): `Prior.sample` and "
            f"`forward` must be of one distribution"
        )
    if not error <= ERROR:
        faults.append(
            f"with cells twice as wide the mean log p(x) changes by {error:.2g} nats: ask with "
            f"points={2 * points}"
        )
    if too_good > LEARNED * both_errors:
        faults.append(
            f"it gains {too_good:.2f} nats more on test images than on training images: it has "
            f"learned from the wrong ones"
        )
    numbers = {
        "total of p(z)": total,
        "p-value of its samples": p_value,
        "mean log p(x), nats": float(fine[0][tested:].mean()),
        "VampPrior's, nats": float(fine[1][tested:].mean()),
        "gain, nats": float(gain.mean()),
        "its standard error": deviation,
        "gain on training images, nats": float(on_learned.mean()),
        "error of the cells, nats": error,
    }
    beaten = bool(gain.mean() > 3 * deviation) if not faults else None
    asked = "a gain of more than three standard errors over the VampPrior"
    return Report("prior", numbers, tuple(faults), beaten, asked)
