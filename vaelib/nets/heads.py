"""What all encoders with hidden layers have: features of x, and linear heads on them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vaelib.arguments import require_network, require_number, require_sizes, require_whole
from vaelib.nets.condition import joined, require_condition, words
from vaelib.recipe import rebuildable

__all__ = ["Heads"]


@rebuildable
class Heads(nn.Module):
    """An encoder of features and linear heads on them: loc, logvar, and more. See `MLPEncoder`.

    Args:
        features: module from x, with c behind it, to ``[*batch, width]``.
        pixels, width, latent: sizes of x, of the features and of z.
        heads: how many numbers for each latent, loc and logvar among them.
        spread: factor on the initial weights of loc.
        condition: how many numbers c has for a row, 0 for none.
    """

    copies: int = 1  # how often the features are given each number of c

    def __init__(
        self,
        features: nn.Module,
        *,
        pixels: int,
        width: int,
        latent: int,
        heads: int = 2,
        spread: float = 1.0,
        condition: int = 0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        require_sizes(name, pixels=pixels, latent=latent, width=width)
        require_whole(name, "heads", heads, least=2)
        require_number(name, "spread", spread, least=0.0)
        require_condition(name, condition)
        require_network(name, "features", features)
        self.pixels, self.latent, self.condition = pixels, latent, condition
        self.features = features
        self.loc = nn.Linear(width, latent)
        self.logvar = nn.Linear(width, latent)
        self.heads = heads
        for number in range(2, heads):
            self.add_module(f"head{number}", nn.Linear(width, latent))
        with torch.no_grad():
            self.loc.weight.mul_(spread)

    def forward(
        self,
        x: Float[Tensor, "*batch pixel"],
        c: Float[Tensor, "*batch condition"] | None = None,
    ) -> tuple[Float[Tensor, "*batch latent"], ...]:
        """The pair (loc, logvar), and what further heads say."""
        h = self.features(joined(self, x, c, copies=self.copies))
        more = (self.get_submodule(f"head{number}")(h) for number in range(2, self.heads))
        return self.loc(h), self.logvar(h), *more

    def extra_repr(self) -> str:
        """What print(model) shows beside the layers."""
        return words(self.condition)
