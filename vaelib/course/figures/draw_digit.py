"""Draw a digit and see its posterior: chapter :doc:`/book/vae`."""

from typing import Any, ClassVar

import torch
import traitlets
from ipywidgets import widget_serialization
from jaxtyping import Float
from matplotlib.patches import Ellipse
from torch import Tensor

from vaelib.course.plots import Q
from vaelib.latent import grid, grid_evidence
from vaelib.vae import VAE

from .figure import Figure, Still, script
from .network import CHOICES, Network, codes_of, draw_codes

__all__ = ["DrawDigit"]


class DrawDigit(Figure):
    r"""Draw a digit: the encoder's $q_\phi(z \mid x)$, the exact posterior, and decodings.

    A drawing is scaled to fit 20 x 20 pixels and its mass is centred in 28 x 28, as in MNIST; a
    pixel is 1 where it is covered by half. The posterior and log p(x) are exact up to a grid.

    Args:
        model: a `~vaelib.vae.VAE` with two latent dimensions, or a `Network` that was made of one,
            for several figures that share it.
        images: binarized digits, ``[n, 784]``: their codes are dots in the plane, and the first
            twenty can be taken in place of a drawing.
        labels: what they are, ``[n]``.
        about: a sentence about the network, shown with the numbers.

    Raises:
        ValueError: if the page could not run the model; names the layer.
    """

    _esm = script("draw_digit")
    description: ClassVar[str] = (
        "A handwritten digit, and the plane of z with the codes of other digits as dots, the exact "
        "posterior of this image in shades of green and the encoder's Gaussian as a blue ellipse."
    )

    network = traitlets.Instance(Network).tag(sync=True, **widget_serialization)
    strokes: Any = traitlets.List().tag(sync=True)
    digit = traitlets.Int(-1).tag(sync=True)
    images: Any = traitlets.List().tag(sync=True)
    labels: Any = traitlets.List().tag(sync=True)
    codes: Any = traitlets.List().tag(sync=True)
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
        # As text of zeros and ones, which compresses well.
        some = [] if images is None else images[:CHOICES].tolist()
        rows = ["".join(str(int(p)) for p in x) for x in some]
        chosen = {"digit": 0 if rows else -1} | traits
        super().__init__(network=network, images=rows, labels=names, codes=codes, **chosen)

    def still(self) -> Still:  # noqa: D102
        picture = Still(figsize=(8, 4), layout="constrained")
        image, plane = picture.subplots(1, 2)
        image.set_axis_off()
        plane.set(xlabel="$z_1$", ylabel="$z_2$", xlim=(-4, 4), ylim=(-4, 4))
        draw_codes(plane, self.codes, self.labels)
        if self.digit >= 0:
            model = self.network.model
            x = torch.tensor([[float(bit) for bit in self.images[self.digit]]])
            z, log_cell = grid(2, points=80, extent=4.0)
            with torch.no_grad():
                loc, logvar = model.raw(x)
                exact = grid_evidence(model.log_joint_pairs(x, z), log_cell)
            (u, v), (wide, high) = loc[0].tolist(), (4 * torch.exp(0.5 * logvar[0])).tolist()
            image.imshow(x.reshape(28, 28).numpy(), cmap="gray_r")
            density = exact.log_density.exp()[0].numpy()
            seen = density > 0.02 * density.max()
            plane.scatter(*z[seen].mT.numpy(), c=density[seen], cmap="Greens", s=9, marker="s")
            plane.add_patch(Ellipse((u, v), wide, high, fill=False, color=Q, lw=2))
        return picture
