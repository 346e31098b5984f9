"""A latent plane to wander in: chapter :doc:`/book/vae`."""

from typing import Any, ClassVar

import torch
import traitlets
from ipywidgets import widget_serialization
from jaxtyping import Float
from torch import Tensor

from vaelib.vae import VAE

from .figure import Figure, Still, script
from .network import CHOICES, Network, codes_of, draw_codes

__all__ = ["LatentPlane"]


class LatentPlane(Figure):
    r"""The decoder of a VAE over its plane of $z$: drag a point or click, see $p_\theta(x \mid z)$.

    Args:
        model: a `~vaelib.vae.VAE` with two latent dimensions, or a `Network` that was made of one,
            for several figures that share it.
        images: binarized digits to encode and to show in the plane, ``[n, 784]``; the first twenty
            can be walked between, at first from a 0 to a 1 if both are among them.
        labels: what they are, ``[n]``.
        about: a sentence about the network, shown with the numbers.

    Raises:
        ValueError: if the page could not run the model; names the layer.
    """

    _esm = script("latent_plane")
    description: ClassVar[str] = (
        "A plane of z with encoded digits as dots of ten colours, and beside it the image that the "
        "decoder makes of one point."
    )

    network = traitlets.Instance(Network).tag(sync=True, **widget_serialization)
    z1 = traitlets.Float(0.0).tag(sync=True)
    z2 = traitlets.Float(0.0).tag(sync=True)
    codes: Any = traitlets.List().tag(sync=True)
    labels: Any = traitlets.List().tag(sync=True)
    start = traitlets.Int(0).tag(sync=True)
    end = traitlets.Int(1).tag(sync=True)
    way = traitlets.Float(0.0).tag(sync=True)
    about = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        model: VAE | Network,
        images: Float[Tensor, "n 784"] | None = None,
        labels: Tensor | None = None,
        **traits: Any,
    ) -> None:
        network = model if isinstance(model, Network) else Network(model)
        codes = codes_of(network, images)
        names = [] if labels is None else labels.tolist()
        if len(names) != len(codes):
            raise ValueError(f"got {len(codes)} images and {len(names)} labels")
        some = names[:CHOICES]
        way = {"start": some.index(0), "end": some.index(1)} if {0, 1} <= {*some} else {}
        chosen = way | traits
        first = codes[chosen.get("start", 0)] if codes else (0.0, 0.0)
        at = {"z1": first[0], "z2": first[1]}
        super().__init__(network=network, codes=codes, labels=names, **(at | chosen))

    def still(self) -> Still:  # noqa: D102
        picture = Still(figsize=(8, 4), layout="constrained")
        plane, image = picture.subplots(1, 2)
        draw_codes(plane, self.codes, self.labels)
        plane.plot(self.z1, self.z2, "ko")
        plane.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-4, 4), ylim=(-4, 4))
        with torch.no_grad():
            mean = self.network.model.decode(torch.tensor([[self.z1, self.z2]])).mean
        image.imshow(mean.reshape(28, 28).numpy(), cmap="gray_r", vmin=0, vmax=1)
        image.set_axis_off()
        return picture
