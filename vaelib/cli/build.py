"""Data, network and model from a run's settings. A new choice is a line in a table here."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaelib import data, nets
from vaelib.cli.settings import Settings
from vaelib.likelihood import Bernoulli, Categorical, ContinuousBernoulli, Gaussian, Likelihood
from vaelib.prior import Mixture, Prior, VampPrior
from vaelib.vae import IWAE, VAE, TwoLayerVAE


class Kind(NamedTuple):
    """A likelihood, and the MLP that gives its parameters."""

    make: Callable[[], Likelihood]
    decoder: Callable[..., nets.MLPDecoder] = nets.MLPDecoder


class Net(NamedTuple):
    """A model's networks, and the hidden widths that they have if none are given."""

    make: Callable[[Settings], tuple[nn.Module, ...]]
    hidden: list[int]


def _mlp(s: Settings) -> tuple[nn.Module, ...]:
    pixels = s.height * s.width
    return (
        nets.MLPEncoder(pixels, s.latent, hidden=s.hidden, spread=s.spread),
        LIKELIHOODS[s.likelihood].decoder(s.latent, pixels, hidden=s.hidden[::-1]),
    )


def _conv(s: Settings) -> tuple[nn.Module, ...]:
    if LIKELIHOODS[s.likelihood].decoder is not nets.MLPDecoder:
        raise ValueError(
            f"--net conv: expected a --likelihood with one number for a pixel, got {s.likelihood}; "
            f"use --net mlp"
        )
    if (s.height, s.width) != (28, 28) or len(s.hidden) != 1:
        raise ValueError(
            f"--net conv: expected images of 28 x 28 pixels and one --hidden width, got "
            f"{s.height} x {s.width} and {len(s.hidden)}; use --net mlp"
        )
    (width,) = s.hidden
    return (
        nets.ConvEncoder(s.latent, width=width, spread=s.spread),
        nets.ConvDecoder(s.latent, width=width),
    )


def _linear(s: Settings) -> tuple[nn.Module, ...]:
    if s.hidden:
        raise ValueError("--net linear: expected no --hidden; it has no hidden layer")
    pixels = s.height * s.width
    decoder = LIKELIHOODS[s.likelihood].decoder
    return nets.LinearEncoder(pixels, s.latent), decoder(s.latent, pixels, hidden=())


def _two_layer(s: Settings) -> tuple[nn.Module, ...]:
    """In the proportions of Burda et al. (arXiv:1509.00519), who have 200, 100, 100 and 50."""
    for flag, expected, got in (
        ("prior", "normal", s.prior),
        ("beta", 1, s.beta),
        ("warmup", 0, s.warmup),
    ):
        if got != expected:
            raise ValueError(
                f"--net two-layer: expected --{flag} {expected}, got {got}; its loss has no KL "
                f"that could be weighed, and its prior is learned; leave --{flag} out"
            )
    pixels, lower, upper = s.height * s.width, 2 * s.latent, s.latent
    half = [max(1, width // 2) for width in s.hidden]
    return (
        nets.MLPEncoder(pixels, lower, hidden=s.hidden, activation=nn.Tanh, spread=s.spread),
        nets.MLPEncoder(lower, upper, hidden=half, activation=nn.Tanh, spread=s.spread),
        nets.MLPEncoder(upper, lower, hidden=half[::-1], activation=nn.Tanh),
        LIKELIHOODS[s.likelihood].decoder(lower, pixels, hidden=s.hidden[::-1], activation=nn.Tanh),
    )


DATA: dict[str, Callable[[], data.Images]] = {
    "digits": data.digits,
    "mnist": data.mnist,
    "fashion-mnist": data.fashion_mnist,
}
NETS = {
    "mlp": Net(_mlp, [400, 400]),
    "conv": Net(_conv, [256]),
    "linear": Net(_linear, []),
    "two-layer": Net(_two_layer, [200, 200]),
}
LIKELIHOODS = {
    "bernoulli": Kind(Bernoulli),
    "continuous-bernoulli": Kind(ContinuousBernoulli),
    # From σ² = 0.14 on, the variance of Fashion-MNIST's pixels. With σ² = 1 the KL would outweigh
    # what a pixel tells, and latent dimensions would switch off before σ² is learned.
    "gaussian": Kind(lambda: Gaussian(logvar=-2.0)),
    "categorical": Kind(Categorical, partial(nets.MLPDecoder, levels=256)),
}
PRIORS: dict[str, Callable[[Settings, nn.Module], Prior | None]] = {
    "normal": lambda *_: None,  # what a model has if it is given none
    "mixture": lambda s, _: Mixture(s.latent, s.components),
    "vamp": lambda s, encoder: VampPrior(encoder, s.height * s.width, s.components),
}


def images(source: str) -> data.OwnImages:
    """The images that ``--data`` names, with their layout."""
    if source in DATA:
        named = DATA[source]()
        return data.OwnImages(named.train, named.test, 28, 28, ())
    if not Path(source).exists():
        raise FileNotFoundError(
            f"--data {source}: expected {', '.join(DATA)}, a folder of PNG or JPEG files, a .npz "
            f"or a .npy file, and there is no such file or folder"
        )
    try:
        return data.own(source)
    except TypeError as error:  # an array of whole numbers, say; other TypeErrors are our mistakes
        raise ValueError(str(error)) from error


def fingerprint(pixels: Tensor) -> str:
    """A hash by which images are known again."""
    return hashlib.sha256(pixels.contiguous().numpy().data).hexdigest()


def require_held_out(settings: Settings, source: str, test: Tensor) -> None:
    """Raise unless these are the images that the run held out."""
    if settings.height * settings.width != test.shape[1]:
        raise ValueError(
            f"{source}: expected images of {settings.height} x {settings.width} pixels, as the "
            f"run's settings.json says, got {test.shape[1]} pixels; bring back the old file"
        )
    if fingerprint(test) != settings.held_out:
        raise ValueError(
            f"{source}: the held-out images are not those of the run: the data were changed since, "
            f"or the run is of vaelib 0.1, which held out the last tenth instead of a random one. "
            f"The model may have been trained on some of them. Bring the old data back (--data "
            f"says where they are), or train again into another --folder"
        )


def model(settings: Settings) -> VAE | TwoLayerVAE:
    """The run's model with new weights, from its seed, on the CPU."""
    torch.manual_seed(settings.seed)
    networks = NETS[settings.net].make(settings)
    if settings.warmup > settings.epochs:
        raise ValueError(
            f"--warmup: expected at most as many as --epochs, {settings.epochs}, got "
            f"{settings.warmup}; the KL would never have its whole weight"
        )
    likelihood = LIKELIHOODS[settings.likelihood].make()
    if settings.iwae is not None and settings.beta != 1:
        raise ValueError(
            f"--iwae: expected --beta 1, got {settings.beta:g}; leave one of the two out"
        )
    if settings.net == "two-layer":
        return TwoLayerVAE(*networks, likelihood=likelihood, samples=settings.iwae or 1)
    encoder, decoder = networks
    prior = PRIORS[settings.prior](settings, encoder)
    if settings.iwae is None:
        return VAE(encoder, decoder, likelihood=likelihood, prior=prior, beta=settings.beta)
    return IWAE(encoder, decoder, likelihood=likelihood, prior=prior, samples=settings.iwae)


def device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device that is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError(
            "--device cuda: torch sees no GPU here (no driver, or a torch without CUDA); use "
            "--device cpu"
        )
    return torch.device(name)
