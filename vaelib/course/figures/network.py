"""The network of a page: a VAE's layers as numbers that a script in the page can run."""

from collections.abc import Iterator, Mapping
from typing import Any

import anywidget
import torch
import traitlets
from matplotlib.axes import Axes
from torch import Tensor, nn

from vaelib.course.plots import DIGITS
from vaelib.likelihood import Bernoulli
from vaelib.nets import Heads, LinearEncoder
from vaelib.vae import VAE

__all__ = ["Network"]

CHOICES = 20  # so many images can be chosen by name in a figure

ACTIVATIONS = {
    nn.Identity: "identity",
    nn.ReLU: "relu",
    nn.SiLU: "silu",
    nn.Sigmoid: "sigmoid",
    nn.Softplus: "softplus",
    nn.Tanh: "tanh",
}


class Network(anywidget.AnyWidget):
    """A trained VAE for the page, shared by all figures that are given this object.

    Args:
        model: a `~vaelib.vae.VAE` with pixels of 28 x 28, two latent dimensions, a
            `~vaelib.likelihood.Bernoulli` likelihood and the prior N(0, I), made of linear layers
            and the activations ReLU, SiLU, Tanh, Sigmoid and Softplus.
        precision: of the weights in the page, "float16" or "float32". Half of the bytes moves a
            pixel's probability by less than 0.01.

    Raises:
        ValueError: if the page could not run the model; names the layer.
    """

    _esm = "export default {};"  # it is drawn nowhere: figures read it

    data = traitlets.Bytes().tag(sync=True)
    layers = traitlets.Dict().tag(sync=True)
    precision = traitlets.Unicode("float16").tag(sync=True)

    def __init__(self, model: VAE, *, precision: str = "float16") -> None:
        kinds = {"float16": torch.float16, "float32": torch.float32}
        if precision not in kinds:
            raise ValueError(f"got precision={precision!r}; expected one of {', '.join(kinds)}")
        if (model.pixels, model.latent) != (784, 2):
            raise ValueError(
                f"the page draws 28 x 28 pixels from 2 latent dimensions; this model has "
                f"{model.pixels} pixels and {model.latent} latent dimensions"
            )
        if not isinstance(model.likelihood, Bernoulli):
            raise ValueError(f"the page knows Bernoulli pixels only, not {model.likelihood!r}")
        if model._prior is not None:
            raise ValueError("the page knows the prior N(0, I) only; this model has another")
        numbers: list[Tensor] = []
        parts = {
            name: [_written(layer, where, numbers) for where, layer in _plain(part, name)]
            for name, part in _parts(model).items()
        }
        data = torch.cat(numbers).detach().to("cpu", kinds[precision]).numpy()
        little = data.astype(data.dtype.newbyteorder("<")).tobytes()
        super().__init__(data=little, layers=parts, precision=precision)
        self.model = model


def _parts(model: VAE) -> Mapping[str, nn.Module]:
    encoder = model.encoder
    if not isinstance(encoder, Heads):
        hint = ": give it hidden layers" if isinstance(encoder, LinearEncoder) else ""
        raise ValueError(f"the page runs a vaelib.nets.MLPEncoder, not {_kind(encoder)}{hint}")
    return {
        "features": encoder.features,
        "loc": encoder.loc,
        "logvar": encoder.logvar,
        "decoder": model.decoder,
    }


def _plain(module: nn.Module, where: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested Sequentials, in their order, with their names."""
    if isinstance(module, nn.Sequential):
        for name, child in module.named_children():
            yield from _plain(child, f"{where}.{name}")
    else:
        yield where, module


def _written(layer: nn.Module, where: str, numbers: list[Tensor]) -> dict[str, Any]:
    """What the page has to know of a layer; its weights are appended to the numbers."""
    if type(layer) in ACTIVATIONS:
        return {"activation": ACTIVATIONS[type(layer)]}
    if type(layer) is not nn.Linear:
        known = ", ".join(["Linear", *(kind.__name__ for kind in ACTIVATIONS)])
        raise ValueError(f"the page cannot run the layer {where}, {_kind(layer)}; it knows {known}")
    offset = sum(part.numel() for part in numbers)
    bias = layer.weight.new_zeros(layer.out_features) if layer.bias is None else layer.bias
    numbers += [layer.weight.flatten(), bias]
    return {"inputs": layer.in_features, "outputs": layer.out_features, "offset": offset}


def _kind(module: nn.Module) -> str:
    return f"a {type(module).__name__}"


def codes_of(network: Network, images: Tensor | None) -> list[list[float]]:
    """Where the encoder puts images in the plane, rounded for the page."""
    if images is None:
        return []
    with torch.no_grad():
        loc, _ = network.model.raw(images)
    return [[round(v, 3) for v in code] for code in loc.tolist()]


def draw_codes(ax: Axes, codes: list[list[float]], labels: list[int]) -> None:
    """The codes of a still picture, in the colours of the ten digits."""
    if codes:
        z1, z2 = zip(*codes, strict=True)
        ax.scatter(z1, z2, c=[DIGITS[label] for label in labels], s=6, alpha=0.5)
