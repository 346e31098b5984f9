"""Encoders and decoders as plain networks. They know no probability.

An encoder maps ``[batch, pixels]`` to a pair ``(loc, logvar)``, each ``[batch, latent]``, or to as
many tensors as another posterior has heads (`vaelib.posterior`); a decoder maps ``[batch, latent]``
to ``[batch, pixels]``, the raw parameters of a likelihood. What these numbers mean is decided in
`vaelib.vae`. Any module of yours will do that keeps to this and has the attributes ``pixels`` and
``latent``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelib.arguments import (
    BadType,
    BadValue,
    require_network,
    require_number,
    require_sizes,
    require_whole,
    shown,
)
from vaelib.recipe import rebuildable

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "Heads",
    "LinearEncoder",
    "MLPDecoder",
    "MLPEncoder",
]


def _require_layers(
    where: str, widths: object, activation: object, *, name: str = "hidden"
) -> Sequence[int]:
    """The widths of layers, if that is what they are, and the activation is one to make."""
    if isinstance(widths, str) or not isinstance(widths, Sequence):
        raise BadType(
            f"{where}: expected {name} as a sequence of widths, (400, 400) say, got "
            f"{shown(widths)}",
            name,
        )
    for number, width in enumerate(widths):
        require_sizes(where, **{f"{name}[{number}]": width})
    if isinstance(activation, nn.Module) or not callable(activation):
        raise BadType(
            f"{where}: expected activation as a class, torch.nn.Tanh say, got "
            f"{shown(activation)}; each layer makes one of its own",
            "activation",
        )
    return widths


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout and with fixed batch norms inside; after it, each part's mode as before."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@rebuildable
class MLP(nn.Sequential):
    """Linear layers with an activation between them, none after the last.

    Args:
        sizes: of the input, of each hidden layer and of the output.
        activation: a class, of which each place gets an instance.

    Raises:
        TypeError, ValueError: if there are fewer than two sizes, or one is no whole number of at
            least 1; likewise in all networks below.

    >>> MLP([784, 400, 2])
    MLP(
      (0): Linear(in_features=784, out_features=400, bias=True)
      (1): SiLU()
      (2): Linear(in_features=400, out_features=2, bias=True)
    )
    """

    def __init__(
        self, sizes: Sequence[int], *, activation: Callable[[], nn.Module] = nn.SiLU
    ) -> None:
        sizes = _require_layers(type(self).__name__, sizes, activation, name="sizes")
        if len(sizes) < 2:
            raise BadValue(
                f"{type(self).__name__}: expected the sizes of input and output at least, got "
                f"{tuple(sizes)}",
                "sizes",
            )
        layers: list[nn.Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), activation()]
        super().__init__(*layers[:-1])


@rebuildable
class Heads(nn.Module):
    """An encoder of features and linear heads on them: loc, logvar, and more. See `MLPEncoder`."""

    def __init__(
        self,
        features: nn.Module,
        *,
        pixels: int,
        width: int,
        latent: int,
        heads: int = 2,
        spread: float = 1.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        require_sizes(name, pixels=pixels, latent=latent, width=width)
        require_whole(name, "heads", heads, least=2)
        require_number(name, "spread", spread, least=0.0)
        require_network(name, "features", features)
        self.pixels, self.latent = pixels, latent
        self.features = features
        self.loc = nn.Linear(width, latent)
        self.logvar = nn.Linear(width, latent)
        self.heads = heads
        for number in range(2, heads):
            self.add_module(f"head{number}", nn.Linear(width, latent))
        with torch.no_grad():
            self.loc.weight.mul_(spread)

    def forward(
        self, x: Float[Tensor, "*batch pixel"]
    ) -> tuple[Float[Tensor, "*batch latent"], ...]:
        """The pair (loc, logvar), and what further heads say."""
        h = self.features(x)
        more = (self.get_submodule(f"head{number}")(h) for number in range(2, self.heads))
        return self.loc(h), self.logvar(h), *more


@rebuildable
class MLPEncoder(Heads):
    """x to (loc, logvar) by an MLP.

    Args:
        pixels, latent: sizes of x and z.
        heads: how many numbers for each latent, loc and logvar among them.
        hidden: widths of the hidden layers; with none, loc and logvar are linear in x.
        activation: between the layers.
        spread: factor on the initial weights of loc. As torch initializes it, loc differs by
            hundredths from image to image, while z has noise of size 1: at the first steps z tells
            the decoder nothing, and the KL switches many latent dimensions off, often for good.
            With 10 and a dozen dimensions or more, far more of them stay in use.

    >>> encoder = MLPEncoder(784, 2)
    >>> loc, logvar = encoder(torch.zeros(5, 784))
    >>> loc.shape, logvar.shape
    (torch.Size([5, 2]), torch.Size([5, 2]))
    """

    def __init__(
        self,
        pixels: int,
        latent: int,
        *,
        hidden: Sequence[int] = (400, 400),
        activation: Callable[[], nn.Module] = nn.SiLU,
        heads: int = 2,
        spread: float = 1.0,
    ) -> None:
        name = type(self).__name__
        require_sizes(name, pixels=pixels, latent=latent)
        hidden = _require_layers(name, hidden, activation)
        features = nn.Sequential()
        if hidden:
            features = nn.Sequential(MLP([pixels, *hidden], activation=activation), activation())
        width = [pixels, *hidden][-1]
        super().__init__(
            features, pixels=pixels, width=width, latent=latent, heads=heads, spread=spread
        )


@rebuildable
class MLPDecoder(MLP):
    """z to the raw parameters of one likelihood per pixel, by an MLP.

    Args:
        latent, pixels: sizes of z and x.
        levels: numbers for a pixel, side by side (`vaelib.likelihood.Likelihood.per_pixel`). The
            last layer grows with it: 784 pixels at 256 levels and a hidden width of 400 make 80
            million weights, 0.3 GB in float32.
        hidden: widths of the hidden layers; with none, it is linear.
        activation: between the layers.

    >>> MLPDecoder(2, 784)(torch.zeros(5, 2)).shape
    torch.Size([5, 784])
    """

    def __init__(
        self,
        latent: int,
        pixels: int,
        *,
        levels: int = 1,
        hidden: Sequence[int] = (400, 400),
        activation: Callable[[], nn.Module] = nn.SiLU,
    ) -> None:
        require_sizes("MLPDecoder", latent=latent, pixels=pixels, levels=levels)
        hidden = _require_layers("MLPDecoder", hidden, activation)
        super().__init__([latent, *hidden, pixels * levels], activation=activation)
        self.pixels, self.latent = pixels, latent


@rebuildable
class LinearEncoder(nn.Module):
    """loc is linear in x, and logvar is one vector that does not depend on x.

    With a linear decoder and a Gaussian likelihood this is the linear VAE, whose optimum is known:
    it is probabilistic PCA (Lucas et al. 2019, arXiv:1911.02469).
    """

    def __init__(self, pixels: int, latent: int) -> None:
        super().__init__()
        require_sizes("LinearEncoder", pixels=pixels, latent=latent)
        self.pixels, self.latent = pixels, latent
        self.loc = nn.Linear(pixels, latent)
        self.logvar = nn.Parameter(torch.zeros(latent))

    def forward(
        self, x: Float[Tensor, "*batch pixel"]
    ) -> tuple[Float[Tensor, "*batch latent"], Float[Tensor, "*batch latent"]]:
        """The pair (loc, logvar)."""
        loc = self.loc(x)
        return loc, self.logvar.expand_as(loc)


@rebuildable
class ConvEncoder(Heads):
    """(loc, logvar) of 28 x 28 images, by two strided convolutions and one hidden layer."""

    def __init__(
        self,
        latent: int,
        *,
        channels: int = 32,
        width: int = 256,
        heads: int = 2,
        spread: float = 1.0,
    ) -> None:
        require_sizes("ConvEncoder", latent=latent, channels=channels, width=width)
        features = nn.Sequential(
            nn.Unflatten(-1, (1, 28, 28)),
            nn.Conv2d(1, channels, 4, stride=2, padding=1),  # 14 x 14
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 4, stride=2, padding=1),  # 7 x 7
            nn.ReLU(),
            nn.Flatten(-3),
            nn.Linear(2 * channels * 7 * 7, width),
            nn.ReLU(),
        )
        super().__init__(
            features, pixels=28 * 28, width=width, latent=latent, heads=heads, spread=spread
        )


@rebuildable
class ConvDecoder(nn.Sequential):
    """z to 28 x 28 raw parameters, the mirror image of `ConvEncoder`."""

    def __init__(self, latent: int, *, channels: int = 32, width: int = 256) -> None:
        require_sizes("ConvDecoder", latent=latent, channels=channels, width=width)
        super().__init__(
            nn.Linear(latent, width),
            nn.ReLU(),
            nn.Linear(width, 2 * channels * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(-1, (2 * channels, 7, 7)),
            nn.ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1),  # 14 x 14
            nn.ReLU(),
            nn.ConvTranspose2d(channels, 1, 4, stride=2, padding=1),  # 28 x 28
            nn.Flatten(-3),
        )
        self.pixels, self.latent = 28 * 28, latent
