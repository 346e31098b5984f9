"""Networks of linear layers, for rows of any kind: of a table, of pixels, of another layer's z."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelib.arguments import BadType, BadValue, require_sizes, shown
from vaelib.nets.condition import joined, require_condition, words
from vaelib.nets.heads import Heads
from vaelib.recipe import rebuildable

__all__ = ["MLP", "LinearEncoder", "MLPDecoder", "MLPEncoder"]


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
        condition: how many numbers c has for a row, 0 for none; the first layer sees them behind x.

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
        condition: int = 0,
    ) -> None:
        name = type(self).__name__
        require_sizes(name, pixels=pixels, latent=latent)
        require_condition(name, condition)
        hidden = _require_layers(name, hidden, activation)
        sizes = [pixels + condition, *hidden]
        features = nn.Sequential()
        if hidden:
            features = nn.Sequential(MLP(sizes, activation=activation), activation())
        super().__init__(
            features,
            pixels=pixels,
            width=sizes[-1],
            latent=latent,
            heads=heads,
            spread=spread,
            condition=condition,
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
        condition: how many numbers c has for a row, 0 for none; the first layer sees them behind z.

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
        condition: int = 0,
    ) -> None:
        require_sizes("MLPDecoder", latent=latent, pixels=pixels, levels=levels)
        require_condition("MLPDecoder", condition)
        hidden = _require_layers("MLPDecoder", hidden, activation)
        super().__init__([latent + condition, *hidden, pixels * levels], activation=activation)
        self.pixels, self.latent, self.condition = pixels, latent, condition

    def forward(
        self,
        z: Float[Tensor, "*batch latent"],
        c: Float[Tensor, "*batch condition"] | None = None,
    ) -> Float[Tensor, "*batch numbers"]:
        """The raw parameters, those of a pixel side by side."""
        return super().forward(joined(self, z, c))

    def extra_repr(self) -> str:
        """What print(model) shows beside the layers."""
        return words(self.condition)


@rebuildable
class LinearEncoder(nn.Module):
    """loc is linear in x, and in c if there is one; logvar is one vector that depends on neither.

    With a linear decoder and a Gaussian likelihood this is the linear VAE, whose optimum is known:
    it is probabilistic PCA (Lucas et al. 2019, arXiv:1911.02469).

    >>> loc, logvar = LinearEncoder(784, 2)(torch.rand(5, 784))
    >>> loc.shape, logvar.shape, bool((logvar == logvar[0]).all())  # one for all x
    (torch.Size([5, 2]), torch.Size([5, 2]), True)
    """

    def __init__(self, pixels: int, latent: int, *, condition: int = 0) -> None:
        super().__init__()
        require_sizes("LinearEncoder", pixels=pixels, latent=latent)
        require_condition("LinearEncoder", condition)
        self.pixels, self.latent, self.condition = pixels, latent, condition
        self.loc = nn.Linear(pixels + condition, latent)
        self.logvar = nn.Parameter(torch.zeros(latent))

    def forward(
        self,
        x: Float[Tensor, "*batch pixel"],
        c: Float[Tensor, "*batch condition"] | None = None,
    ) -> tuple[Float[Tensor, "*batch latent"], Float[Tensor, "*batch latent"]]:
        """The pair (loc, logvar)."""
        loc = self.loc(joined(self, x, c))
        return loc, self.logvar.expand_as(loc)

    def extra_repr(self) -> str:
        """What print(model) shows beside the layer."""
        return words(self.condition)
