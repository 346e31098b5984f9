"""What is missing of a datum, given what is seen of it: the mean, and draws."""

import copy
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from vaelib.arguments import BadType, BadValue, require_sizes
from vaelib.draw import draw
from vaelib.evaluate.encoder import batches, require_finite
from vaelib.evaluate.evidence import proposal
from vaelib.evaluate.proposal import climbed
from vaelib.likelihood import Likelihood, Missing
from vaelib.nets import evaluation_mode
from vaelib.posterior import Raw
from vaelib.vae import DeepLatentModel, Model
from vaelib.vae.condition import Condition, one_hot

__all__ = ["Imputed", "impute"]

# Samples of the prior whose mean fills the holes of the first picture that an encoder is shown,
_PRIOR = 100
# and how often what the model makes of it is put into the holes, and encoded again.
_ROUNDS = 10


class Imputed(NamedTuple):
    """What `impute` found, in the units of x. What is seen stands as it was given."""

    mean: Tensor  # [n, values], E[x | what is seen]
    draws: Tensor  # [draws, n, values], of p(x | what is seen): they vary as the truth may
    error: Tensor  # [n, values], of the mean, from the number of samples; 0 where x is seen
    effective: Tensor  # [n], effective samples; below a dozen, mean and draws say little


@torch.no_grad()
def impute(
    model: Model,
    x: Float[Tensor, "n pixel"],
    c: Condition = None,
    *,
    samples: int = 1000,
    draws: int = 10,
    steps: int = 100,
    lr: float = 0.1,
    at_once: int = 25,
    batch_size: int = 100,
    generator: torch.Generator | None = None,
) -> Imputed:
    r"""Fill the holes of data, from a model that was trained on whole data or on such with holes.

    $$E[x_{\text{hole}} \mid x_{\text{seen}}] \approx
      \sum_{k=1}^K \tilde w_k\, E[x_{\text{hole}} \mid z_k], \qquad
      w_k = \frac{p(x_{\text{seen}} \mid z_k)\, p(z_k)}{q(z_k)}, \quad
      \tilde w_k = \frac{w_k}{\sum_j w_j}$$

    The z come from a q that was climbed on the seen values alone, as in `refined_q`, and the
    weights make samples of $p(z \mid x_{\text{seen}})$ of them: the encoder only says where to
    start. A model that was trained on whole data has an encoder that cannot be shown a hole; for
    the start the hole is filled with what the model draws of it, a few times over. So the result is
    the model's own conditional, whatever the encoder has learned of holes.

    It is right where a hole does not depend on the value that it hides.

    Args:
        model: a trained `vaelib.vae.VAE`, with or without `vaelib.likelihood.Missing`.
        x: data in the likelihood's support, shape ``[n, pixel]``, NaN where a value is missing.
        c: labels, ``int64 [n]``, or one for all, of a model with a condition.
        samples: K, for each datum.
        draws: how many whole data are drawn for each datum.
        steps, lr: of the climb; see `refined_q`.
        at_once, batch_size: see `log_evidence`.
        generator: source of all randomness, on the data's device.

    Returns:
        `Imputed`.

    Raises:
        TypeError: if the model has no decoder, no posterior, or a likelihood without a
            log-probability for each value.
        ValueError: if x is not data for this model, or of a pixel some channels are missing and
            others not, where they depend on each other.
        FloatingPointError: if a mean is not finite.

    References:
        Mattei and Frellsen, MIWAE (arXiv:1812.02633), section 4; for the start, Rezende, Mohamed
        and Wierstra (arXiv:1401.4082), appendix F.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(6, 2), MLPDecoder(2, 6))
    >>> filled = impute(model, torch.tensor([[1.0, 0.0, 1.0, torch.nan, torch.nan, 0.0]]), steps=5)
    >>> filled.mean.isnan().any(), filled.mean[0, :3], filled.draws.shape
    (tensor(False), tensor([1., 0., 1.]), torch.Size([10, 1, 6]))
    """
    require_sizes("impute", samples=samples, draws=draws, at_once=at_once, batch_size=batch_size)
    if not isinstance(model, DeepLatentModel):
        raise BadType(
            f"impute: expected a model that decodes z, a vaelib.vae.VAE say, got "
            f"{type(model).__name__}"
        )
    proposal(model, "impute")
    seeing = _seeing(model)
    seeing.require_data(x)
    _require_whole(seeing.likelihood, x.isnan())
    c = one_hot(model, c, x, len(x))
    mean, error = x.clone(), torch.zeros_like(x)
    drawn, effective = x.repeat(draws, 1, 1), x.new_full((len(x),), float(samples))
    holes = x.isnan().any(-1).nonzero().flatten()  # what is whole needs nothing
    with evaluation_mode(model):
        for (batch, given), rows in zip(
            batches(x[holes], None if c is None else c[holes], batch_size),
            holes.split(batch_size),
            strict=True,
        ):
            raw = climbed(
                cast(Model, seeing),
                batch,
                given,
                _start(model, batch, given, generator),
                steps,
                lr,
                16,
                generator,
            )
            found = _conditional(seeing, batch, given, raw, samples, draws, at_once, generator)
            mean[rows], drawn[:, rows], error[rows], effective[rows] = found
    require_finite("impute", mean=mean, draws=drawn)
    return Imputed(mean, drawn, error, effective)


def _seeing(model: DeepLatentModel) -> DeepLatentModel:
    """The same model, with the same weights, under which only what is seen counts."""
    if isinstance(model.likelihood, Missing):
        return model
    twin = copy.copy(model)
    vars(twin)["_modules"] = dict(vars(model)["_modules"])
    twin.likelihood = Missing(model.likelihood)
    return twin


def _require_whole(likelihood: Likelihood, hole: Tensor) -> None:
    """Raise where a missing value depends on one that is seen, by more than z.

    A value that is readable without the others when they are hidden needs none of them.
    """
    if (hole & ~likelihood.readable(hole)).any():
        raise BadValue(
            "impute: expected pixels of which all channels are missing or none, as this likelihood "
            "says each channel given those before it; set all of them to nan"
        )


def _start(
    model: DeepLatentModel,
    x: Tensor,
    given: tuple[Tensor, ...],
    generator: torch.Generator | None,
) -> Raw:
    """The encoder's outputs, of what it can be shown."""
    own, posterior = cast(Model, model), proposal(cast(Model, model), "impute")
    if isinstance(model.likelihood, Missing):
        return own.raw(x, *given)
    hole = x.isnan()
    labels = (c.repeat(_PRIOR, *(1 for _ in c.shape[1:])) for c in given)
    _, z = model.sample(_PRIOR * len(x) if given else _PRIOR, *labels, generator=generator)
    z = z.view(_PRIOR, -1, z.shape[-1]).expand(-1, len(x), -1)
    guess = model.decode(z, *given).mean.mean(0)
    none = own.noise(len(x), samples=1, generator=generator)[0].zero_()
    for _ in range(_ROUNDS):
        raw = own.raw(torch.where(hole, guess, x), *given)
        z, _ = posterior.push(posterior(*raw), none)
        guess = model.decode(z, *given).mean
    return raw


def _conditional(
    model: DeepLatentModel,
    x: Tensor,
    given: tuple[Tensor, ...],
    raw: Raw,
    samples: int,
    draws: int,
    at_once: int,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean, draws, error and effective samples of a batch, from weighted samples of one q."""
    own, posterior, hole = cast(Model, model), proposal(cast(Model, model), "impute"), x.isnan()
    weights, places = [], []
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        eps = own.noise(len(x), samples=size, generator=generator)
        weights.append(own.log_weights(x, eps, *given, raw=raw))
        places.append(posterior.push(posterior(*raw), eps)[0])
    w, z = torch.softmax(torch.cat(weights), 0), torch.cat(places)
    # Sums of w m and of (w m)² and so on, about a mean near theirs, so that little cancels.
    near = model.decode(z[:at_once], *given).mean.mean(0)
    first, second, cross = (torch.zeros_like(x) for _ in range(3))
    for some, share in zip(z.split(at_once), w.split(at_once), strict=True):
        m, share = model.decode(some, *given).mean - near, share[..., None]
        first += (share * m).sum(0)
        cross += (share.square() * m).sum(0)
        second += (share * m).square().sum(0)
    squares = w.square().sum(0)
    error = (second - 2 * first * cross + first.square() * squares[:, None]).clamp(min=0).sqrt()
    picked = torch.multinomial(w.mT, draws, replacement=True, generator=generator).mT
    z = z.gather(0, picked[..., None].expand(-1, -1, z.shape[-1]))
    drawn = draw(model.decode(z, *given), generator=generator)
    return (
        torch.where(hole, near + first, x),
        torch.where(hole, drawn, x),
        torch.where(hole, error, 0.0),
        1 / squares,
    )
