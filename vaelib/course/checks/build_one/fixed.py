"""Networks with known numbers, put in the place of a learner's, and what can be told from them.

With one's own networks in place, a loss can be told term by term: the posterior that it was given
is known, and so is each z for which it asked the decoder, whatever noise was drawn.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal

from ..agreement import Outcome, tensor
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain

__all__ = ["Asked", "Fixed", "Terms", "alike", "among", "asked", "numbers", "repeated"]

SIZES = PIXELS, HIDDEN, LATENT = 11, 7, 3  # of the small networks; no two are the same
SIGMAS = 6  # by chance, a right answer is refused once in 10⁸ times


class Asked(NamedTuple):
    """What one encoding asked for: images, the posterior they got, and each z that was decoded."""

    x: Tensor
    loc: Tensor
    logvar: Tensor
    z: list[Tensor]


class Fixed:
    """An encoder and a decoder whose numbers come from a `Draw`, and a list of what they did.

    Args:
        draw: Source of the numbers; the same seed gives the same networks.
        pixels: Of an image.
        latent: Dimensions.
        steep: Standard deviation of the decoder's weights; 20 makes it sure of its pixels.
    """

    def __init__(self, draw: Draw, pixels: int, latent: int, steep: float = 2.0):
        self.to_loc = draw.normal(pixels, latent, scale=2 / pixels**0.5)
        self.to_logvar = draw.normal(pixels, latent, scale=2 / pixels**0.5)
        self.first = draw.normal(latent, 7)
        self.second = draw.normal(7, pixels, scale=steep)
        self.bias = draw.normal(pixels)
        self.last = self.bias.float().requires_grad_()
        self.calls: list[Asked] = []

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ² for images ``[n, pixels]``; neither is near 0, where mistakes hide."""
        return x @ self.to_loc.to(x) + 0.5, x @ self.to_logvar.to(x) - 0.4

    def logits(self, z: Tensor, bias: Tensor) -> Tensor:
        """Of each pixel, for z ``[..., latent]``."""
        return torch.tanh(z @ self.first.to(z)) @ self.second.to(z) + bias

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """In the place of the learner's."""
        loc, logvar = (t.detach().requires_grad_() for t in self.posterior(x.float()))
        self.calls.append(Asked(x, loc, logvar, []))
        return loc, logvar

    def decode(self, z: Tensor) -> Tensor:
        """In the place of the learner's."""
        if not self.calls:
            raise RuntimeError(
                "decode(z) was called without self.encode(x) before it: call both methods, and not "
                "the networks in them"
            )
        self.calls[-1].z.append(z)
        return self.logits(z, self.last)

    def instead_of(self, model: Any) -> None:
        """Let a model call these; past a module's own way, which refuses some names."""
        object.__setattr__(model, "encode", self.encode)
        object.__setattr__(model, "decode", self.decode)

    def written(self) -> list[Outcome]:
        """What was asked, as JSON."""
        return [{"x": plain(c.x), "z": [plain(z) for z in c.z]} for c in self.calls]


def asked(written: list[Outcome], what: str, latent: int) -> tuple[Tensor, Tensor]:
    """All images ``[n, pixels]`` and all z ``[samples, n, latent]`` that a function asked for.

    Raises:
        CheckFailed: if it asked for none, or they do not belong together.
    """
    if not written:
        raise CheckFailed(f"{what} never calls self.encode(x), so it cannot know any posterior")
    pairs = []
    for call in written:
        x = numbers(call["x"], f"what {what} gives to encode")
        x = x.reshape(-1, x.shape[-1])
        if x.max() > 1:
            raise CheckFailed(
                f"{what} encodes numbers up to {x.max():g}; expected zeros and ones: self.batch "
                "draws them"
            )
        found = [tensor(z) for z in call["z"]]
        if any(z is not None and not bool(z.isfinite().all()) for z in found):
            raise CheckFailed(
                f"what {what} gives to decode holds nan or infinity. What encode returns second is "
                "log σ², and may be negative; σ is exp(½ logvar)"
            )
        zs = [numbers(z, f"what {what} gives to decode") for z in call["z"]]
        if not zs:
            raise CheckFailed(f"{what} calls encode, but not self.decode(z) after it")
        if any(z.shape[-1:] != (latent,) or z.numel() % (len(x) * latent) for z in zs):
            raise CheckFailed(
                f"{what} decodes z of shape {[*zs[0].shape]} for {len(x)} images; expected one z "
                f"for each: [{len(x)}, {latent}]"
            )
        pairs.append((x, torch.cat([z.reshape(-1, len(x), latent) for z in zs])))
    if len({len(z) for _, z in pairs}) > 1:
        raise CheckFailed(f"{what} takes more samples of z for some images than for others")
    return torch.cat([x for x, _ in pairs]), torch.cat([z for _, z in pairs], 1)


def numbers(value: Any, what: str, shape: list[int] | None = None) -> Tensor:
    """The numbers of an output, in float64.

    Raises:
        CheckFailed: if there are none, or not as many as expected, or some are not finite.
    """
    found = tensor(value)
    if found is None:
        kind = value.get("type") if isinstance(value, dict) else type(value).__name__
        raise CheckFailed(f"{what} is of the type {kind}; expected a tensor")
    if shape is not None and [*found.shape] != shape:
        raise CheckFailed(f"{what} has the shape {[*found.shape]}; expected {shape}")
    if not bool(found.isfinite().all()):
        raise CheckFailed(f"{what} holds nan or infinity")
    return found


def repeated(x: Tensor, number: int) -> list[Tensor]:
    """Images as they stand when several z are drawn for each: ``number`` rows, in both orders."""
    times = max(1, number // len(x))
    return [x.repeat(times, 1), x.repeat_interleave(times, 0)]


def among(value: float, right: Iterator[Tensor]) -> bool:
    """Whether a number is one of those that are right, in float32."""
    return any(math.isclose(value, r.item(), rel_tol=2e-4, abs_tol=2e-4) for r in right)


def alike(got: Iterable[Tensor], right: Iterable[Tensor]) -> bool:
    """Whether gradients agree, each by its largest number."""
    return all(
        g.shape == r.shape and bool((g - r).abs().max() <= 1e-3 * (r.abs().max() + 1e-6))
        for g, r in zip(got, right, strict=True)
    )


class Terms:
    """The loss of known networks at known z, in each form that is right, with its gradients.

    Args:
        fixed: The networks.
        x: Images, ``[n, pixels]``, in float64.
        z: Where they were decoded, ``[samples, n, latent]``.
    """

    def __init__(self, fixed: Fixed, x: Tensor, z: Tensor):
        loc, logvar = fixed.posterior(x)
        eps = (z - loc) / torch.exp(0.5 * logvar)
        self.x, self.loc, self.logvar = x, loc.requires_grad_(), logvar.requires_grad_()
        self.bias = fixed.bias.clone().requires_grad_()
        self.z = self.loc + torch.exp(0.5 * self.logvar) * eps
        self.logits = fixed.logits(self.z, self.bias)
        q, p = Normal(self.loc, torch.exp(0.5 * self.logvar)), Normal(0.0, 1.0)
        #: of each image, in nats
        self.pixels = Bernoulli(logits=self.logits).log_prob(x).sum(-1).mean(0)
        self.kl = torch.distributions.kl_divergence(q, p).sum(-1)
        self.sampled_kl = (q.log_prob(self.z) - p.log_prob(self.z)).sum(-1).mean(0)

    def right(self) -> Iterator[Tensor]:
        """Minus the mean ELBO, with the KL in closed form, and by the sample."""
        yield (self.kl - self.pixels).mean()
        yield (self.sampled_kl - self.pixels).mean()

    def of(self, mistake: Callable[..., Tensor]) -> float:
        """What a function of x, logits, loc and logvar gives, in float32 as a learner's."""
        x, loc, logvar = (t.detach().float() for t in (self.x, self.loc, self.logvar))
        each = [mistake(x, logits.detach().float(), loc, logvar) for logits in self.logits]
        return float(torch.stack(each).mean())

    def gradients(self, loss: Tensor) -> list[Tensor]:
        """With respect to μ, log σ² and the decoder's bias."""
        leaves = (self.loc, self.logvar, self.bias)
        found = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        return [torch.zeros_like(a) if g is None else g for a, g in zip(leaves, found, strict=True)]
