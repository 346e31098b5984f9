"""A latent plane to wander in: chapter :doc:`/book/vae`."""

from typing import Any, ClassVar

import torch
import traitlets
from ipywidgets import widget_serialization
from jaxtyping import Float
from torch import Tensor

from vaelib.vae import VAE

from .figure import Figure, Still, script
from .network import Network

__all__ = ["LatentPlane"]


class LatentPlane(Figure):
    r"""The decoder of a VAE over its plane of $z$: drag a point, see $p_\theta(x \mid z)$.

    Args:
        model: a `~vaelib.vae.VAE` with two latent dimensions, or a `Network` that was made of one,
            for several figures that share it.
        images: binarized digits to encode and to show in the plane, ``[n, 784]``; the first twenty
            can be walked between.
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
        codes: list[list[float]] = []
        if images is not None:
            with torch.no_grad():
                loc, _ = network.model.raw(images)
            codes = [[round(v, 3) for v in code] for code in loc.tolist()]
        names = [] if labels is None else labels.tolist()
        if len(names) != len(codes):
            raise ValueError(f"got {len(codes)} images and {len(names)} labels")
        first = {"z1": codes[0][0], "z2": codes[0][1]} if codes else {}
        super().__init__(network=network, codes=codes, labels=names, **(first | traits))

    def still(self) -> Still:  # noqa: D102
        picture = Still(figsize=(8, 4), layout="constrained")
        plane, image = picture.subplots(1, 2)
        if self.codes:
            z1, z2 = zip(*self.codes, strict=True)
            plane.scatter(z1, z2, c=self.labels, cmap="tab10", s=6)
        plane.plot(self.z1, self.z2, "ko")
        plane.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-4, 4), ylim=(-4, 4))
        with torch.no_grad():
            mean = self.network.model.decode(torch.tensor([[self.z1, self.z2]])).mean
        image.imshow(mean.reshape(28, 28).numpy(), cmap="gray_r", vmin=0, vmax=1)
        image.set_axis_off()
        return picture
