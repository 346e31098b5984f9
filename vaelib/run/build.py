"""Data and model from a run's settings."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vaelib import data
from vaelib.arguments import BadValue
from vaelib.run.choices import DATA, LIKELIHOODS, NETS, POSTERIORS, PRIORS, Sizes, theirs
from vaelib.run.settings import Settings
from vaelib.vae import IWAE, VAE, TwoLayerVAE


def images(source: str) -> data.Dataset:
    """The images that ``--data`` names, with their layout."""
    if source in DATA:
        named = DATA[source]()
        return data.Dataset(named.train, named.test, data.Pictures(28, 28))
    if not Path(source).exists():
        raise FileNotFoundError(
            f"--data {source}: expected {', '.join(DATA)}, a folder of PNG or JPEG files, a .npz "
            f"or a .npy file, and there is no such file or folder"
        )
    found = data.own(source)
    if not (isinstance(found.layout, data.Pictures) and found.layout.channels == 1):
        raise BadValue(f"{source}: expected grey pictures, got {found.layout}", "data")
    if found.kind != "pixels":
        raise BadValue(f"{source}: expected pixels (uint8), got {found.kind}", "data")
    return found


def fingerprint(pixels: Tensor) -> str:
    """A hash by which images are known again."""
    return hashlib.sha256(pixels.contiguous().numpy().data).hexdigest()


def require_held_out(settings: Settings, source: str, test: Tensor) -> None:
    """Raise unless these are the images that the run held out."""
    if settings.height * settings.width != test.shape[1]:
        raise BadValue(
            f"{source}: expected images of {settings.height} x {settings.width} pixels, as the "
            f"run's settings.json says, got {test.shape[1]} pixels; bring back the old file",
            "data",
        )
    if fingerprint(test) != settings.held_out:
        raise BadValue(
            f"{source}: the held-out images are not those of the run: the data were changed since, "
            f"or the run is of vaelib 0.1, which held out the last tenth instead of a random one. "
            f"The model may have been trained on some of them. Bring the old data back (--data "
            f"says where they are), or train again into another --folder",
            "data",
        )


def model(settings: Settings, classes: Sequence[type] = ()) -> VAE:
    """The run's model with new weights, from its seed, on the CPU.

    Args:
        settings: of the run.
        classes: the user's, of which it may name some.
    """
    s = settings
    _require_together(s)
    torch.manual_seed(s.seed)
    own = theirs(s.likelihood, classes)
    likelihood = (
        own() if own else LIKELIHOODS[s.likelihood](**LIKELIHOODS[s.likelihood].command_line)
    )
    own = theirs(s.posterior, classes)
    posterior = own(s.latent) if own else POSTERIORS[s.posterior](s.latent)
    pixels = s.height * s.width
    levels = likelihood.width(pixels) // pixels
    if s.net == "conv" and levels != 1:
        raise BadValue(
            f"--net conv: expected a --likelihood with one number for a pixel, got {s.likelihood}; "
            f"use --net mlp",
            "likelihood",
        )
    networks = NETS[s.net].make(
        Sizes(
            s.height,
            s.width,
            s.latent,
            s.hidden,
            s.spread,
            heads=2 if posterior is None else posterior.heads,
            levels=levels,
        )
    )
    if s.net == "two-layer":
        return TwoLayerVAE(*networks, likelihood=likelihood, samples=s.iwae or 1)
    encoder, decoder = networks
    own = theirs(s.prior, classes)
    prior = own(s.latent) if own else PRIORS[s.prior](s.latent, encoder, pixels, s.components)
    parts = {"likelihood": likelihood, "prior": prior, "posterior": posterior}
    if s.iwae is None:
        return VAE(encoder, decoder, **parts, beta=s.beta)
    return IWAE(encoder, decoder, **parts, samples=s.iwae)


def _require_together(s: Settings) -> None:
    """Raise if options contradict one another."""
    if s.net == "two-layer":
        for option, expected, got in (
            ("prior", "normal", s.prior),
            ("posterior", "normal", s.posterior),
            ("beta", 1, s.beta),
        ):
            if got != expected:
                raise BadValue(
                    f"--net two-layer: expected --{option} {expected}, got {got}; its loss has no "
                    f"weight of the KL, and its prior and posterior are those of the two layers; "
                    f"leave --{option} out",
                    option,
                )
    if s.prior == "vamp" and s.posterior != "normal":
        raise BadValue(
            f"--prior vamp: expected --posterior normal, of which it is a mixture, got "
            f"{s.posterior}; leave one of the two out",
            "posterior",
        )
    if s.warmup > s.epochs:
        raise BadValue(
            f"--warmup: expected at most as many as --epochs, {s.epochs}, got {s.warmup}; the KL "
            f"would never have its whole weight",
            "warmup",
        )
    if s.iwae is not None and s.beta != 1:
        raise BadValue(
            f"--iwae: expected --beta 1, got {s.beta:g}; leave one of the two out", "iwae"
        )


def split(pixels: Tensor, settings: Settings) -> tuple[Tensor, Tensor | None]:
    """Training and, for early stopping, validation: a random tenth, the same at each start."""
    if settings.patience is None:
        return pixels, None
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(settings.seed))
    size = tenth(len(pixels))
    return pixels[order[size:]], pixels[order[:size]]


def tenth(images: int) -> int:
    """How many of the training images early stopping is measured on."""
    return max(1, images // 10)


def device(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda`` as a device that is there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise BadValue(
            "--device cuda: torch sees no GPU here (no driver, or a torch without CUDA); use "
            "--device cpu",
            "device",
        )
    return torch.device(name)
