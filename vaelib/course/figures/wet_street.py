"""A wet street, rain and a sprinkler, with explaining away: chapter :doc:`/book/latent`."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import traitlets

from vaelib.course.plots import POSTERIOR, PRIOR
from vaelib.latent import DiscreteNetwork, Node

from .figure import Figure, Still, script

__all__ = ["WetStreet"]

SEEN = ("unseen", "yes", "no")


class WetStreet(Figure):
    r"""Posterior of two independent causes, rain and sprinkler, of a street that is wet or dry.

    $$p(z \mid x) = \frac{p(z)\, p(x \mid z)}{\sum_{z'} p(z')\, p(x \mid z')}$$

    Shown are the four cases z as areas of a unit square, green where they agree with what is seen;
    beside it, in bars, prior (grey) and posterior (green) of both causes; and the division that
    leads from one to the other. Surprise is $-\log p(x)$, in nats.

    Args:
        p_rain, p_sprinkler: prior probabilities.
        p_wet: p(wet | rain, sprinkler) as ``p_wet[rain][sprinkler]``, 0 for no and 1 for yes.
        street, sprinkler, rain: what is seen, each "unseen", "yes" or "no"; the street is wet or
            not, the sprinkler on or not.

    Raises:
        ValueError: if ``p_wet`` is not two rows of two probabilities.

    >>> round(WetStreet(street="yes", sprinkler="yes").posterior("rain"), 3)
    0.234
    """

    _esm = script("wet_street")
    description: ClassVar[str] = (
        "A unit square, cut by the probabilities of rain and of the sprinkler into four cases, "
        "each filled as far as it agrees with what is seen, and bars of prior and posterior of "
        "both causes."
    )

    p_rain = traitlets.Float(0.2, min=0.0, max=1.0).tag(sync=True)
    p_sprinkler = traitlets.Float(0.3, min=0.0, max=1.0).tag(sync=True)
    p_wet = traitlets.List([[0.05, 0.8], [0.9, 0.98]]).tag(sync=True)
    street = traitlets.Enum(SEEN, "yes").tag(sync=True)
    sprinkler = traitlets.Enum(SEEN, "unseen").tag(sync=True)
    rain = traitlets.Enum(SEEN, "unseen").tag(sync=True)

    @traitlets.validate("p_wet")
    def _probabilities(self, proposal: dict[str, Any]) -> Sequence[Sequence[float]]:
        rows = proposal["value"]
        table = torch.tensor(rows)
        if table.shape != (2, 2) or not ((table >= 0) & (table <= 1)).all():
            raise ValueError(
                f"WetStreet: expected p_wet[rain][sprinkler], two rows of two probabilities, got "
                f"{rows}"
            )
        return rows

    def network(self) -> DiscreteNetwork:
        """The three tables at the present settings."""
        wet = torch.tensor(self.p_wet).double()
        return DiscreteNetwork(
            {
                "rain": Node(torch.tensor([1 - self.p_rain, self.p_rain]).double()),
                "sprinkler": Node(torch.tensor([1 - self.p_sprinkler, self.p_sprinkler]).double()),
                "street": Node(torch.stack([1 - wet, wet], -1), parents=("rain", "sprinkler")),
            }
        )

    def seen(self) -> dict[str, int]:
        """What is seen, as `~vaelib.latent.DiscreteNetwork` takes it."""
        value = {name: getattr(self, name) for name in ("street", "sprinkler", "rain")}
        return {name: int(v == "yes") for name, v in value.items() if v != "unseen"}

    def posterior(self, cause: str) -> float:
        """Probability of "rain" or "sprinkler" given what is seen; nan if that cannot be."""
        network, seen = self.network(), self.seen()
        if not network.evidence(seen) > 0:
            return float("nan")
        return float(seen[cause] if cause in seen else network.posterior(cause, seen)[1])

    def still(self) -> Still:  # noqa: D102
        picture = Still(figsize=(9, 2.7), layout="constrained")
        square, bars = picture.subplots(1, 2)
        network, seen = self.network(), self.seen()
        kept = network.joint()
        for axis, name in enumerate(network.nodes):
            if name in seen:  # cases that disagree have no area left
                other = torch.tensor(1 - seen[name])
                kept = kept.index_fill(axis, other, 0.0)
        asked = "rain" if self.rain == "unseen" else "sprinkler"
        for r, left, wide in ((1, 0.0, self.p_rain), (0, self.p_rain, 1 - self.p_rain)):
            for s, base in ((1, 0.0), (0, self.p_sprinkler)):
                area = kept[r, s].sum().item()
                if area > 0:
                    alpha = 0.75 if (r if asked == "rain" else s) else 0.4
                    options: dict[str, Any] = {"align": "edge", "color": POSTERIOR, "alpha": alpha}
                    square.bar(left, area / wide, wide, base, **options)
                    square.text(left + wide / 2, base + 0.04, f"{area:.3f}", ha="center")
        square.axvline(self.p_rain, color=PRIOR)
        square.axhline(self.p_sprinkler, color=PRIOR)
        square.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        square.set(xlabel="rain | no rain", ylabel="on | off")
        square.set_title(f"p(x) = {network.evidence(seen):.4f}, the green area")
        for i, (name, prior) in enumerate((("rain", self.p_rain), ("sprinkler", self.p_sprinkler))):
            heights = [prior, self.posterior(name)]
            drawn = bars.bar([3 * i, 3 * i + 1], heights, color=[PRIOR, POSTERIOR])
            bars.bar_label(drawn, fmt="%.3f")
        labels = ["rain\nprior", "posterior", "sprinkler\nprior", "posterior"]
        bars.set_xticks([0, 1, 3, 4], labels)
        bars.set(ylim=(0, 1.2), title="probability of each cause")
        return picture
