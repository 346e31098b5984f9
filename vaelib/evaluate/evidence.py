"""log p(x) of held-out data by importance sampling, in any number of dimensions."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from vaelib.arguments import BadType, BadValue
from vaelib.evaluate.encoder import batches, require_finite
from vaelib.latent import EvidenceEstimate
from vaelib.nets import evaluation_mode
from vaelib.posterior import Posterior, Raw
from vaelib.vae import Model
from vaelib.vae.condition import Condition, one_hot

__all__ = ["log_evidence", "proposal"]


@torch.no_grad()
def log_evidence(
    model: Model,
    x: Float[Tensor, "n pixel"],
    c: Condition = None,
    *,
    samples: int = 5000,
    q: Distribution | None = None,
    at_once: int = 25,
    batch_size: int = 100,
    generator: torch.Generator | None = None,
) -> EvidenceEstimate:
    r"""log p(x) of every datum from K importance-weighted samples of q.

    $$\hat L_K(x) = \log \frac1K \sum_{k=1}^K w_k, \qquad
      w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \qquad z_k \sim q(z \mid x)$$

    In expectation it is a lower bound, $L_1 = \mathrm{ELBO} \le L_K \le \log p(x)$, that rises with
    K. The mean over a test set is what papers call $L_{5000}$, and, with the sign turned, the "NLL"
    of a VAE. Another K is another number, so state it; and state the data: pixels binarized once.

    The samples come a chunk at a time and only the sums of $w$ and $w^2$ are kept, so memory does
    not depend on K: at most ``at_once`` x ``batch_size`` x ``pixel`` numbers, a few times over (8
    MB each in float32 with the defaults and 784 pixels; with 256 numbers for a pixel, as
    `~vaelib.likelihood.Categorical` has them, 2 GB: take smaller chunks). An accelerator wants
    larger ones, ``at_once`` in the hundreds or thousands.

    Warning:
        The standard error and the effective sample size are computed from the samples that were
        drawn. Where q misses the posterior's mass, both look well: see `trust`.

    Args:
        model: a trained `vaelib.vae.Model`, with any likelihood, prior and posterior; samples of a
            `~vaelib.vae.TwoLayerVAE` are pairs of both layers. K is that of ``samples`` here,
            whatever it was in training.
        x: held-out data in the likelihood's support, shape ``[n, pixel]``. Where a value is NaN,
            under `vaelib.likelihood.Missing`, the result is log p of what is seen.
        c: labels, ``int64 [n]``, or one for all, of a model with a condition: then it is
            log p(x | c).
        samples: K, the samples of each datum, exactly.
        q: the proposal, of the model's own family, one for each datum: a
            `~vaelib.kl.DiagonalNormal` in most models, or what `refined_q` returns. The encoder's
            if None.
        at_once: samples of a datum in memory; another number draws the noise in another order.
        batch_size: data at a time; likewise.
        generator: source of the noise, on the data's device.

    Returns:
        `vaelib.latent.EvidenceEstimate`, each field ``[n]``: nats, nats, and a number from 1 to K.
        The standard error is that of *sampling* at one datum, by the delta method, and nan for
        K = 1; the error over data is ``log_evidence.std() / n**0.5``.

    Raises:
        TypeError, ValueError: if x is not data for this model, q does not fit x, or a number is
            below 1.
        FloatingPointError: if a log p(x) is not finite.

    References:
        Burda, Grosse and Salakhutdinov, Importance Weighted Autoencoders (arXiv:1509.00519).

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> from vaelib.vae import VAE
    >>> model = VAE(MLPEncoder(784, 2), MLPDecoder(2, 784))
    >>> log_evidence(model, torch.zeros(5, 784), samples=30).log_evidence.shape
    torch.Size([5])
    """
    model.require_data(x)
    if min(samples, at_once, batch_size) < 1:
        raise BadValue(
            f"log_evidence: expected samples, at_once and batch_size ≥ 1, got {samples}, {at_once} "
            f"and {batch_size}"
        )
    c = one_hot(model, c, x, len(x))
    own = None if q is None else proposal(model, "log_evidence").raw(q)
    if own is not None and any(len(t) != len(x) for t in own):
        raise BadValue(
            f"log_evidence: expected a q for each of {len(x)} data, got {tuple(own[0].shape)}"
        )
    parts = []
    with evaluation_mode(model):
        for number, (batch, given) in enumerate(batches(x, c, batch_size)):
            rows = slice(number * batch_size, (number + 1) * batch_size)
            raw = None if own is None else tuple(t[rows] for t in own)
            parts.append(_streamed(model, batch, given, raw, samples, at_once, generator))
    found = EvidenceEstimate(*(torch.cat(field) for field in zip(*parts, strict=True)))
    require_finite("log_evidence", log_evidence=found.log_evidence)
    return found


def proposal(model: Model, where: str) -> Posterior:
    """The family in which a model's q can be moved; raises if there is none."""
    if model.posterior is None:
        raise BadType(
            f"{where}: {type(model).__name__} has no posterior in which q could be another; "
            f"compare log_evidence with more samples instead"
        )
    return model.posterior


def _streamed(
    model: Model,
    x: Tensor,
    given: tuple[Tensor, ...],
    raw: Raw | None,
    samples: int,
    at_once: int,
    generator: torch.Generator | None,
) -> EvidenceEstimate:
    """`vaelib.latent.evidence_estimate` of weights that are never held together."""
    if raw is None and model.posterior is not None:
        raw = model.raw(x, *given)  # the encoder's work is done once
    # Sums of w / eᵗ and of its square. t is the largest log-weight so far: what was summed before
    # it rose is scaled down. It starts at a finite number, so that t - t is never inf - inf.
    top = torch.full_like(x[:, 0], torch.finfo(x.dtype).min)
    first, second = torch.zeros_like(top), torch.zeros_like(top)
    for start in range(0, samples, at_once):
        size = min(at_once, samples - start)
        eps = model.noise(len(x), samples=size, generator=generator)
        log_w = model.log_weights(x, eps, *given, raw=raw)
        highest = torch.maximum(top, log_w.amax(0))
        w, before = torch.exp(log_w - highest), torch.exp(top - highest)
        first = first * before + w.sum(0)
        second = second * before.square() + w.square().sum(0)
        top = highest
    mean = first / samples
    # (K mean(w²) / mean(w)² - K) / (K - 1) is the relative variance; rounding can make it -1e-16.
    relative = (second / mean.square() - samples).clamp(min=0) / (samples - 1)
    return EvidenceEstimate(top + mean.log(), (relative / samples).sqrt(), first.square() / second)
