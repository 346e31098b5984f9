"""Checks of the exercises of :doc:`/book/train`."""

import math
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import softplus

from .exercise import Draw, exercise

__all__ = ["active_latents", "comparable", "mixed_elbo", "streamed_log_mean"]


# log p(x) in chunks


# Numbers in the largest chunk of any case, and a row beside it: more is several chunks.
LARGEST_CHUNK = 12 * 5


class Chunk(Tensor):
    """A chunk of log-weights that notices when it becomes a part of something larger."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """What torch calls for each operation on a chunk."""
        result = super().__torch_function__(func, types, args, kwargs or {})
        if isinstance(result, Tensor) and result.numel() > LARGEST_CHUNK:
            raise MemoryError(
                f"a tensor of shape {[*result.shape]} holds more than one chunk: take from each "
                "chunk what is needed, of shape [batch], and let the chunk go"
            )
        return result


class Stream:
    """An iterator over chunks that raises if more than one is kept, or one was changed.

    Args:
        log_w: all log-weights, shape ``[samples, batch]``; for the check alone.
        sizes: the number of samples in each chunk.
    """

    def __init__(self, log_w: Tensor, sizes: tuple[int, ...]):
        self.log_w, self.sizes, self.untouched = log_w, sizes, log_w.clone()
        self.given: list[weakref.ref[Tensor]] = []

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        number = len(self.given)
        # A loop's variable still holds the last one while the next is made, and `first` the first.
        kept = [i for i, chunk in enumerate(self.given[:-1], 1) if chunk() is not None]
        if len(kept) > 1:
            what = f"chunk {number + 1}" if number < len(self.sizes) else "the end"
            raise MemoryError(
                f"chunks {kept[0]} and {kept[1]} are still in memory when {what} is asked for: go "
                "through the chunks once, and keep running results of shape [batch] only"
            )
        if not torch.equal(self.log_w, self.untouched):
            raise ValueError(f"chunk {number} has been changed in place: compute a new tensor")
        if number == len(self.sizes):
            raise StopIteration
        rows = self.split()[number]
        # The same memory, so that a change is seen, and yet no view, which would keep all rows.
        memory = rows.untyped_storage(), rows.storage_offset(), rows.shape, rows.stride()
        made = rows.new_empty(0).set_(*memory)
        self.given.append(weakref.ref(made))  # which every view of it keeps alive
        return made.as_subclass(Chunk)

    def split(self) -> tuple[Tensor, ...]:
        """All chunks at once: views that nothing watches."""
        return self.log_w.split(self.sizes)


def _log_mean_of_each(chunks: Stream) -> Tensor:
    """Datum by datum, from its largest weight."""
    found = []
    for one in chunks.log_w.mT:
        top = one.max()
        found.append(top + ((one - top).exp().sum() / len(one)).log())
    return torch.stack(found)


def _log_mean_exp(log_w: Tensor) -> Tensor:
    return log_w.logsumexp(0) - math.log(len(log_w))


def _whole(change: Callable[[Tensor], Tensor]) -> Any:
    """A mistake that does not depend on the chunks."""
    return lambda stream: change(stream.log_w)


def _chunks(change: Callable[[list[Tensor]], Tensor]) -> Any:
    """A mistake from the list of chunks."""
    return lambda stream: change(list(stream.split()))


def _running(
    *,
    start: float = -math.inf,
    rescaled: Callable[[Tensor, Tensor], Tensor] = lambda old, new: (old - new).exp(),
    highest: Callable[[Tensor], Tensor] = lambda chunk: chunk.amax(0),
) -> Any:
    """The sums of one pass, with a mistake in it."""

    def wrong(stream: Stream) -> Tensor:
        top = torch.full_like(stream.log_w[0], start)
        total = torch.zeros_like(top)
        for chunk in stream.split():
            new = torch.maximum(top, highest(chunk))
            total = total * rescaled(top, new) + (chunk - new).exp().sum(0)
            top = new
        return top + (total / len(stream.log_w)).log()

    return wrong


@exercise(
    truth=_log_mean_of_each,
    mistakes={
        "the chunks' results are averaged, and an average of logarithms is too low (Jensen): "
        "average the weights, then take the logarithm": _chunks(
            lambda chunks: torch.stack([_log_mean_exp(c) for c in chunks]).mean(0)
        ),
        "the chunks' results are averaged by their sizes, and an average of logarithms is too low "
        "(Jensen): average the weights": _chunks(
            lambda chunks: (
                sum(((len(c) * _log_mean_exp(c)) for c in chunks), torch.zeros(()))
                / sum(map(len, chunks))
            )
        ),
        "every chunk counts the same; a chunk of twice the samples must count twice": _chunks(
            lambda chunks: _log_mean_exp(torch.stack([_log_mean_exp(c) for c in chunks]))
        ),
        "the sum of the weights is divided by the number of chunks; K is the number of samples": (
            _chunks(lambda chunks: torch.cat(chunks).logsumexp(0) - math.log(len(chunks)))
        ),
        "K is the sum of the chunks' sizes, not the size of the last times their number": _chunks(
            lambda chunks: torch.cat(chunks).logsumexp(0) - math.log(len(chunks[-1]) * len(chunks))
        ),
        "the sum of the weights is divided by the size of the last chunk; K is the sum of all "
        "sizes": _chunks(lambda chunks: torch.cat(chunks).logsumexp(0) - math.log(len(chunks[-1]))),
        "the chunks' means are added; a mean over all samples weighs each by its share of them": (
            _chunks(lambda chunks: torch.stack([_log_mean_exp(c) for c in chunks]).logsumexp(0))
        ),
        "−log K is missing: asked is the mean weight, not the sum": _whole(
            lambda log_w: log_w.logsumexp(0)
        ),
        "log K is added; a mean is a sum divided by K, so it is subtracted": _whole(
            lambda log_w: log_w.logsumexp(0) + math.log(len(log_w))
        ),
        "K is subtracted; it must be log K": _whole(lambda log_w: log_w.logsumexp(0) - len(log_w)),
        "the log of the sum is divided by K; the sum must be, so log K is subtracted": _whole(
            lambda log_w: log_w.logsumexp(0) / len(log_w)
        ),
        "K − 1 is for a variance; a mean is the sum divided by K": _whole(
            lambda log_w: log_w.logsumexp(0) - math.log(max(len(log_w) - 1, 1))
        ),
        "the log of the sum starts at 0, and that is a weight of 1; the log of no weight is −∞": (
            _whole(
                lambda log_w: torch.cat([0 * log_w[:1], log_w]).logsumexp(0) - math.log(len(log_w))
            )
        ),
        "the result is cut at 0; log-densities may be above it": _whole(
            lambda log_w: _log_mean_exp(log_w).clamp(max=0)
        ),
        "this is the mean log-weight, an ELBO; asked is the logarithm of the mean weight": _whole(
            lambda log_w: log_w.mean(0)
        ),
        "the weights themselves underflow or overflow: subtract the largest log-weight first": (
            _whole(lambda log_w: log_w.exp().mean(0).log())
        ),
        "the running maximum starts at 0, and weights far below e⁰ underflow: start at −∞": (
            _running(start=0.0)
        ),
        "when the maximum rises, the older sum must be scaled down to the new one": _running(
            rescaled=lambda old, new: torch.ones_like(new)
        ),
        "the older sum is scaled by exp(new − old); when the maximum rises it must shrink, by "
        "exp(old − new)": _running(
            rescaled=lambda old, new: torch.where(old.isinf(), 0.0, (new - old).exp())
        ),
        "one maximum for all data makes the others underflow: take one for each datum": _running(
            highest=lambda chunk: chunk.amax().expand(chunk.shape[1])
        ),
        "this is the largest log-weight": _whole(lambda log_w: log_w.amax(0)),
        "only the last chunk is used": _chunks(lambda chunks: _log_mean_exp(chunks[-1])),
        "only the first chunk is used": _chunks(lambda chunks: _log_mean_exp(chunks[0])),
        "this is p(x) itself; asked is its logarithm": _whole(lambda log_w: log_w.exp().mean(0)),
    },
    build=lambda log_w, sizes: (Stream(log_w, sizes),),
    gradients=(),  # a graph would keep every chunk
    axes={"log_w": ("data", "samples")},
)
def streamed_log_mean(draw: Draw) -> Iterator[dict[str, Any]]:
    """The log of the mean weight of each datum, one chunk at a time."""
    for sizes, batch, level in (((4, 7, 2), 3, -2.0), ((6,), 1, -3.0), ((1,), 2, -5.0)):
        yield {"log_w": draw.normal(sum(sizes), batch) + level, "sizes": sizes}
    # Images of many pixels, each at a level of its own: one maximum for all would underflow.
    levels = torch.tensor([-800.0, -2300.0, -1500.0, -3900.0, -3100.0], dtype=torch.float64)
    log_w = draw.normal(33, 5, scale=2.0) + levels
    yield {"log_w": log_w.float().double(), "sizes": (11, 4, 8, 1, 9)}
    # The proposal meets the posterior late, or at once and never again; and densities above 1.
    for heights in ((-950.0, -870.0, -820.0), (900.0, -30.0, 2.0), (720.0, 721.0, 715.0)):
        unequal = (3, 5, 2)
        height = torch.tensor(heights, dtype=torch.float64).repeat_interleave(torch.tensor(unequal))
        log_w = draw.normal(10, 4) + height[:, None]
        yield {"log_w": log_w.float().double(), "sizes": unequal}


# Active units


# What a unit does: the variance of its means in multiples of the threshold, their mean, σ², and how
# the means lie. Each has its own reason to be mistaken.
UNITS: dict[str, tuple[float, float, float, str]] = {
    "used": (30.0, 0.0, 0.3, "everywhere"),
    "dead": (0.001, 0.0, 1.0, "everywhere"),
    "constant, not zero": (0.001, 2.0, 1.0, "everywhere"),
    "far away": (0.01, -40.0, 1.0, "everywhere"),
    "hardly moves": (0.04, 0.0, 0.6, "everywhere"),
    "moves a little, but surely": (0.35, 0.0, 0.05, "everywhere"),
    "one datum moves it": (0.0, 0.0, 1.0, "one by 1.4 thresholds"),
    "the first stands apart": (0.7, 0.0, 1.0, "all but the first"),
    "the last stands apart": (0.7, 0.0, 1.0, "all but the last"),
    "two groups": (0.75, 0.0, 1.0, "fewer than half apart"),
    "sure of itself": (20.0, 0.0, 1e-4, "everywhere"),
    "narrower, but still": (0.001, 0.0, 0.5, "everywhere"),
    "just above": (1.6, 0.0, 1.0, "everywhere"),
    "two halves": (1.6, 0.0, 1.0, "all of the second half apart"),
}


def _varies_between_pairs(loc: Tensor, _logvar: Tensor, threshold: float) -> Tensor:
    # Half the mean squared difference of all pairs is the variance.
    return 0.5 * ((loc[:, None] - loc) ** 2).mean((0, 1)) > threshold


def _statistic(of: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """A mistake from what is compared with the threshold."""
    return lambda loc, logvar, threshold: of(loc, logvar) > threshold


@exercise(
    truth=_varies_between_pairs,
    mistakes={
        "this is the mean square: a posterior mean that is constant but not 0 says nothing; take "
        "the variance over the data": _statistic(lambda m, v: (m**2).mean(0)),
        "this is the mean absolute value; take the variance over the data": _statistic(
            lambda m, v: m.abs().mean(0)
        ),
        "this is the size of the mean over the data; asked is how much it varies": _statistic(
            lambda m, v: m.mean(0).abs()
        ),
        "this is the variance of samples z, which adds σ² and is large for a dead unit: take the "
        "variance of the means alone": _statistic(lambda m, v: m.var(0) + v.exp().mean(0)),
        "the posterior's own variance σ² is compared; a dead unit has σ² = 1": lambda m, v, t: (
            v.exp().mean(0) > t
        ),
        "the standard deviation is compared; the threshold is for the variance": _statistic(
            lambda m, v: m.std(0)
        ),
        "the KL is compared: a unit may cost nats and say nothing, or say something for a few": (
            _statistic(lambda m, v: 0.5 * (m**2 + v.exp() - 1 - v).mean(0))
        ),
        "1 − σ² is the variance of the means only at the optimum of a linear VAE: measure it": (
            _statistic(lambda m, v: 1 - v.exp().mean(0))
        ),
        "the variance is divided by n: this is the squared error of a mean": _statistic(
            lambda m, v: m.var(0) / len(m)
        ),
        "this is the range: one datum decides it; take the variance": _statistic(
            lambda m, v: m.amax(0) - m.amin(0)
        ),
        "the deviations are taken from the first datum; take them from the mean": _statistic(
            lambda m, v: ((m - m[0]) ** 2).mean(0)
        ),
        "the deviations are taken from the last datum; take them from the mean": _statistic(
            lambda m, v: ((m - m[-1]) ** 2).mean(0)
        ),
        "the deviations are taken from the median; take them from the mean": _statistic(
            lambda m, v: ((m - m.median(0).values) ** 2).mean(0)
        ),
        "the deviations are taken from the middle of the range; take them from the mean": (
            _statistic(lambda m, v: ((m - (m.amax(0) + m.amin(0)) / 2) ** 2).mean(0))
        ),
        "these are differences of neighbours, which depend on the order of the data": _statistic(
            lambda m, v: 0.5 * m.diff(dim=0).square().mean(0)
        ),
        "this is the mean absolute deviation; the threshold is for the variance": _statistic(
            lambda m, v: (m - m.mean(0)).abs().mean(0)
        ),
        "the squared deviations are summed; the variance is their mean": _statistic(
            lambda m, v: ((m - m.mean(0)) ** 2).sum(0)
        ),
        "the variance is taken of logvar; it must be taken of loc": _statistic(
            lambda m, v: v.var(0)
        ),
        "the variance is over the latent dimensions of a datum; it must be over the data, axis 0": (
            _statistic(lambda m, v: m.var(1, correction=0))
        ),
        "turned round: these are the units that are not active": lambda m, v, t: m.var(0) <= t,
        "these are the variances themselves; asked is which of them are above the threshold": (
            lambda m, v, t: m.var(0)
        ),
        "this is the number of active units; asked is which they are": lambda m, v, t: (
            m.var(0) > t
        ).sum(),
    },
    gradients=(),  # booleans have none
    axes={"loc": ("latent dimensions", "data"), "logvar": ("latent dimensions", "data")},
)
def active_latents(draw: Draw) -> Iterator[dict[str, Any]]:
    """Which latent dimensions' posterior means vary over the data."""
    for n, threshold, more in ((7, 0.01, 1), (12, 0.02, 5), (6, 0.05, 2)):
        names = list(UNITS)
        kinds = names + [names[draw.integer(0, len(names) - 1)] for _ in range(more)]
        order = torch.randperm(len(kinds), generator=draw.generator)
        kinds = [kinds[i] for i in order]
        yield _posteriors(draw, n, threshold, kinds)
    # One latent dimension.
    yield _posteriors(draw, 8, 0.01, ["used"])
    # So far from 0 that E[μ²] − E[μ]² is nothing but rounding in float32.
    n, threshold, shift = 9, 0.01, draw.uniform(24, low=3000, high=5000)
    case = _posteriors(draw, n, threshold, ["dead", "just above"] * 12)
    yield case | {"loc": (case["loc"] + shift).float().double()}


def _posteriors(draw: Draw, n: int, threshold: float, kinds: list[str]) -> dict[str, Any]:
    variance, mean, narrow = (
        torch.tensor([UNITS[kind][i] for kind in kinds], dtype=torch.float64) for i in range(3)
    )
    moves = torch.stack([_moves(draw, n, UNITS[kind][3], threshold) for kind in kinds], 1)
    # Where nothing is said, σ² may still differ from datum to datum.
    spread = torch.tensor([0.6 if kind == "narrower, but still" else 0.02 for kind in kinds])
    logvar = narrow.log() + spread * draw.uniform(n, len(kinds), low=-1.0)
    return {
        "loc": (mean + torch.where(variance > 0, variance.sqrt(), 1.0) * moves).float().double(),
        "logvar": logvar.float().double(),
        "threshold": threshold,
    }


def _moves(draw: Draw, n: int, how: str, threshold: float) -> Tensor:
    """How the means of a unit lie: with the threshold for their variance, or else as it says."""
    apart = torch.zeros(n, dtype=torch.float64)
    if how == "everywhere":
        apart = draw.normal(n)
    elif how == "fewer than half apart":
        apart[torch.randperm(n, generator=draw.generator)[: (n - 1) // 2]] = 1.0
    elif how == "one by 1.4 thresholds":  # a range of more, and a standard deviation of less
        apart[draw.integer(0, n - 1)] = 1.4 * threshold
        return apart
    elif how == "all of the second half apart":
        apart[n // 2 :] = 1.0
    else:
        apart[0 if how == "all but the first" else -1] = 1.0
    return (apart - apart.mean()) / apart.std(correction=0) * threshold**0.5


# The ELBO in mixed precision


def _linear(weight: Tensor, bias: Tensor, v: Tensor) -> Tensor:
    """A layer as under autocast: operands and result in bfloat16, sums in between exact.

    In float64 the sum does not depend on its order, so that everybody gets the same logits.
    """
    w, b = weight.bfloat16().double(), bias.bfloat16().double()
    return (v.bfloat16().double() @ w + b).bfloat16()


def _linear_head(weight: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    loc, logvar = _linear(weight, bias, x).chunk(2, -1)
    return loc, logvar


def _networks(
    x: Tensor, eps: Tensor, weight: Tensor, bias: Tensor, weight_out: Tensor, bias_out: Tensor
) -> tuple[Any, ...]:
    return partial(_linear_head, weight, bias), partial(_linear, weight_out, bias_out), x, eps


def _elbo_by_torch(encoder: Any, decoder: Any, x: Tensor, eps: Tensor) -> Tensor:
    loc, logvar = (output.double() for output in encoder(x))
    q = Normal(loc, logvar.exp().sqrt())
    logits = decoder(q.loc + q.scale * eps.double()).double()
    log_likelihood = Bernoulli(logits=logits).log_prob(x.double()).sum(-1)
    kl = kl_divergence(q, Normal(torch.zeros_like(loc), torch.ones_like(loc))).sum(-1)
    return (log_likelihood - kl).to(x)


def _rounded(v: Tensor) -> Tensor:
    return v.bfloat16()


def _exact(v: Tensor) -> Tensor:
    return v.double()


def _draw_z(loc: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    return loc + torch.exp(0.5 * logvar) * eps


def _pixels(x: Tensor, logits: Tensor) -> Tensor:
    return (x * logits - softplus(logits)).sum(-1)


def _kl(loc: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (loc**2 + logvar.exp() - 1 - logvar).sum(-1)


def _mixed(
    *,
    z: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda m, v, e: _draw_z(
        _exact(m), _exact(v), _exact(e)
    ),
    pixels: Callable[[Tensor, Tensor], Tensor] = lambda x, w: _pixels(_exact(x), _exact(w)),
    kl: Callable[[Tensor, Tensor], Tensor] = lambda m, v: _kl(_exact(m), _exact(v)),
    total: Callable[[Tensor, Tensor], Tensor] = lambda first, second: first - second,
) -> Any:
    """A mistake from one or more of the four steps, the others in float64.

    Those get the encoder's and decoder's outputs in bfloat16.
    """

    def wrong(encoder: Any, decoder: Any, x: Tensor, eps: Tensor) -> Tensor:
        loc, logvar = encoder(x)
        logits = decoder(z(loc, logvar, eps))
        return total(pixels(x, logits), kl(loc, logvar))

    return wrong


def _z_rounded(loc: Tensor, logvar: Tensor, eps: Tensor) -> Tensor:
    return _draw_z(loc, logvar, _rounded(eps))


def _pixels_rounded(x: Tensor, logits: Tensor) -> Tensor:
    return _pixels(_rounded(x), logits)


def _each_rounded(x: Tensor, logits: Tensor) -> Tensor:
    return _rounded(x * logits - softplus(logits)).double().sum(-1)


@exercise(
    truth=_elbo_by_torch,
    mistakes={
        "everything is computed in bfloat16; a cast at the end does not bring the digits back: "
        "cast what the networks return": _mixed(z=_z_rounded, pixels=_pixels_rounded, kl=_kl),
        "z is computed in bfloat16: cast loc and logvar first": _mixed(z=_z_rounded),
        "σ is computed in bfloat16: cast logvar before exp": _mixed(
            z=lambda m, v, e: _exact(m) + torch.exp(0.5 * v).double() * e.double()
        ),
        "the log-likelihood is computed in bfloat16: cast the logits first": _mixed(
            pixels=_pixels_rounded
        ),
        "softplus is computed in bfloat16: cast the logits first": _mixed(
            pixels=lambda x, w: (_exact(x) * _exact(w) - softplus(w).double()).sum(-1)
        ),
        "each pixel's log-likelihood is rounded to bfloat16; nothing after a network may be": (
            _mixed(pixels=lambda x, w: _each_rounded(_exact(x), _exact(w)))
        ),
        "the noise is rounded to bfloat16": _mixed(
            z=lambda m, v, e: _draw_z(_exact(m), _exact(v), _exact(_rounded(e)))
        ),
        "the KL's terms are computed in bfloat16, and only their sum is not: cast loc and logvar "
        "first": _mixed(kl=lambda m, v: 0.5 * ((m**2 + v.exp() - 1).double() - _exact(v)).sum(-1)),
        "the sum over the pixels is rounded to bfloat16, and near −100 its neighbours are ½ nat "
        "apart": _mixed(pixels=lambda x, w: _rounded(_pixels(_exact(x), _exact(w))).double()),
        "the KL is computed in bfloat16: cast loc and logvar first": _mixed(kl=_kl),
        "the result is rounded to bfloat16: return it in the precision of x": _mixed(
            total=lambda first, second: _rounded(first - second)
        ),
        "nothing is cast: what is computed from the networks' outputs alone (exp, softplus, the "
        "KL) stays in bfloat16, although the result is not": _mixed(
            z=lambda m, v, e: m + torch.exp(0.5 * v) * e,
            pixels=lambda x, w: (x * w - softplus(w)).sum(-1),
            kl=_kl,
        ),
        "z and the KL are computed in bfloat16: cast loc and logvar first": _mixed(
            z=_z_rounded, kl=_kl
        ),
        "log-likelihood and KL are computed in bfloat16, only z is not: cast the outputs first": (
            _mixed(pixels=_pixels_rounded, kl=_kl)
        ),
        "the KL is added; the ELBO subtracts it": _mixed(
            total=lambda first, second: first + second
        ),
        "the KL is missing: this is the log-likelihood alone": _mixed(
            total=lambda first, second: first
        ),
        "this is −ELBO, a loss; asked is the bound itself, higher is better": _mixed(
            total=lambda first, second: second - first
        ),
        "the ½ of the KL is missing": _mixed(total=lambda first, second: first - 2 * second),
        "the pixels are averaged; log p(x | z) is their sum": _mixed(
            pixels=lambda x, w: _pixels(_exact(x), _exact(w)) / x.shape[-1]
        ),
        "the decoder gets loc; it must get a draw of z": _mixed(z=lambda m, v, e: _exact(m)),
        "logvar is log σ², not log σ: the scale is exp(½ logvar)": _mixed(
            z=lambda m, v, e: _draw_z(_exact(m), 2 * _exact(v), _exact(e))
        ),
    },
    build=_networks,
    # On the way back through a bfloat16 output a gradient is rounded to 8 bits too. Two right
    # answers differ there by whole steps wherever theirs fall on two sides of a middle.
    gradients=(),
    axes={"x": ("pixels", "data"), "eps": ("latent dimensions", "data")},
    loosened=4.0,  # float32 throughout is right for float64 inputs: the networks said no more
)
def mixed_elbo(draw: Draw) -> Iterator[dict[str, Any]]:
    """The ELBO of each datum from networks that return bfloat16."""
    # Few pixels, where rounding each and rounding their sum differ. The last: sure of most pixels,
    # and wrong about many.
    for batch, pixels, latent, certain in (
        (5, 150, 3, 0.4),
        (1, 61, 2, 1.5),
        (4, 390, 7, 0.4),
        (40, 3, 2, 2.0),
        (7, 40, 4, 60.0),
    ):
        inputs = {
            "x": draw.binary(batch, pixels),
            "eps": draw.normal(batch, latent),
            "weight": draw.normal(pixels, 2 * latent, scale=2.0 / pixels**0.5),
            "bias": draw.normal(2 * latent) - 0.5,
            "weight_out": draw.normal(latent, pixels, scale=certain),
            "bias_out": draw.normal(pixels),
        }
        yield inputs | {"eps": _well_inside(**inputs)}


def _well_inside(**inputs: Tensor) -> Tensor:
    """Noise whose z is never near the middle of two bfloat16, where float32 decides by chance."""
    encoder, _, x, eps = _networks(**inputs)
    loc, logvar = (output.double() for output in encoder(x))
    z = _draw_z(loc, logvar, eps)
    step = torch.ldexp(torch.ones_like(z), torch.frexp(z).exponent - 8)  # to z's neighbours
    nearest = z.bfloat16().double()
    z = torch.where((z - nearest).abs() > 0.4 * step, nearest, z)
    return ((z - loc) / torch.exp(0.5 * logvar)).float().double()


# Reading a table


Report = dict[str, Any]

# What makes the data: whoever learns from other data, or is tested on other images, has another
# task. The frame around an image (`dimensions`) says nothing about it, and is not among them.
DATA = ("images", "pixels", "tested_on", "tested")

# One report, from which the pairs of the check differ in one respect.
USUAL: Report = {
    "images": "MNIST",
    "pixels": "drawn afresh",
    "dimensions": 784,
    "trained_on": ("train",),
    "tested_on": "test",
    "tested": 10_000,
    "bound": "L_K",
    "samples": 5000,
    "unit": "nats",
    "better": "lower",
}

# What the second report of a pair changes, or both: together first, then apart.
PAIRS: tuple[tuple[Report, Report], ...] = (
    ({}, {"better": "higher"}),
    ({}, {"unit": "bits per dimension"}),
    ({"unit": "bits per dimension"}, {"unit": "bits per dimension", "dimensions": 1024}),
    ({"dimensions": 1024}, {}),
    ({"bound": "ELBO", "samples": 10}, {"bound": "ELBO", "samples": 1}),
    ({"bound": "ELBO", "samples": 100}, {"samples": 1}),
    ({}, {"trained_on": ("train", "validation")}),
    ({"tested_on": "validation"}, {"tested_on": "validation", "trained_on": ("train",)}),
    ({}, {"samples": 500}),
    ({}, {"bound": "ELBO", "samples": 5000}),
    ({"bound": "ELBO", "samples": 50}, {"samples": 50}),
    ({}, {"pixels": "drawn once"}),
    ({"pixels": "cut at 1/2"}, {"pixels": "drawn once"}),
    ({"pixels": "grey", "unit": "bits per dimension"}, {"unit": "bits per dimension"}),
    ({}, {"images": "Fashion-MNIST"}),
    ({}, {"tested": 300}),
    ({"tested": 5000}, {"tested_on": "validation", "tested": 5000}),
    ({"trained_on": ("train", "test")}, {}),
    ({"tested_on": "train"}, {"tested_on": "train", "trained_on": ("validation",)}),
    ({"trained_on": ("train", "validation"), "tested_on": "validation"}, {}),
)


def _in_nats(report: Report) -> float:
    each = report["dimensions"] * math.log(2) if report["unit"] == "bits per dimension" else 1.0
    return float(report["number"] * each * (1 if report["better"] == "higher" else -1))


def _average(report: Report) -> int:
    """Over how many samples the logarithm's argument is averaged: an ELBO averages logarithms."""
    return 1 if report["bound"] == "ELBO" else report["samples"]


def _same(*fields: str) -> Callable[[Report, Report], bool]:
    return lambda a, b: all(a[name] == b[name] for name in fields)


def _beside(a: Report, b: Report) -> bool:
    return _same(*DATA)(a, b) and _average(a) == _average(b)


def _and(*conditions: Callable[[Report, Report], bool]) -> Callable[[Report, Report], bool]:
    return lambda a, b: all(holds(a, b) for holds in conditions)


def _same_average(a: Report, b: Report) -> bool:
    return _average(a) == _average(b)


def _but(name: str) -> Callable[[Report, Report], bool]:
    """Beside each other also where one part of the data differs."""
    return _and(_same(*(field for field in DATA if field != name)), _same_average)


def _seen(report: Report) -> bool:
    return report["tested_on"] in report["trained_on"]


def _reading(
    nats: Callable[[Report], float] = _in_nats,
    beside: Callable[[Report, Report], bool] = _beside,
    seen: Callable[[Report], bool] = _seen,
    label: Callable[[list[int]], int] = lambda together: together[0],
) -> Callable[[tuple[Report, ...]], tuple[Tensor, Tensor]]:
    """The table as it is read, or with a mistake in one of its parts; pair by pair."""

    def read(reports: tuple[Report, ...]) -> tuple[Tensor, Tensor]:
        columns = []
        for one in reports:
            together = [j for j, r in enumerate(reports) if not seen(r) and beside(one, r)]
            columns.append(-1 if seen(one) else label(together))
        numbers = [nats(report) for report in reports]
        return torch.tensor(numbers, dtype=torch.float64), torch.tensor(columns)

    return read


def _read_in_order(reports: tuple[Report, ...]) -> tuple[Tensor, Tensor]:
    return _reading()(reports)


def _bits(each: Callable[[Report], float]) -> Callable[[Report], float]:
    """A mistake in what a bit per dimension is worth: nats, with the sign of a bound."""
    return lambda r: -r["number"] * each(r) if r["unit"] == "bits per dimension" else _in_nats(r)


def _numbered(reports: tuple[Report, ...]) -> tuple[Tensor, Tensor]:
    nats, columns = _reading()(reports)
    order = [c for c in dict.fromkeys(columns.tolist()) if c >= 0]
    return nats, torch.tensor([order.index(c) if c >= 0 else -1 for c in columns.tolist()])


@exercise(
    truth=_read_in_order,
    mistakes={
        "bits per dimension are multiplied by 784 although a padded image has 1,024 dimensions: "
        "the paper divided by its own": _reading(_bits(lambda r: 784 * math.log(2))),
        "bits per dimension are not turned into nats: times the dimensions, times log 2": _reading(
            _bits(lambda r: 1.0)
        ),
        "bits per dimension are multiplied by the dimensions only; a bit is log 2 nats": _reading(
            _bits(lambda r: r["dimensions"])
        ),
        "bits per dimension are multiplied by log 2 only; the result is per image, so the "
        "dimensions are missing": _reading(_bits(lambda r: math.log(2))),
        "bits are divided by log 2; a bit is log 2 = 0.69 nats, so there are fewer nats": _reading(
            _bits(lambda r: r["dimensions"] / math.log(2))
        ),
        "bits per dimension are divided by the dimensions; an image has all of them": _reading(
            _bits(lambda r: math.log(2) / r["dimensions"])
        ),
        "the number of a padded image in nats is shrunk to 784 pixels; it is a sum over all, and "
        "the frame adds nothing to it": _reading(
            lambda r: _in_nats(r) * (784 / r["dimensions"] if r["unit"] == "nats" else 1.0)
        ),
        "the sign of what is better when lower is left: asked is log p(x), higher is better": (
            _reading(lambda r: -_in_nats(r) if r["better"] == "lower" else _in_nats(r))
        ),
        "the sign of every number is turned round; in some tables higher is better already": (
            _reading(lambda r: -_in_nats(r) if r["better"] == "higher" else _in_nats(r))
        ),
        "this is −log p(x), lower is better; asked is log p(x)": _reading(lambda r: -_in_nats(r)),
        "K is not looked at: L_500 and L_5000 are two bounds, and one is higher by itself": (
            _reading(beside=_and(_same(*DATA, "bound")))
        ),
        "an ELBO stands beside an L_K: the tighter bound would win by being another": _reading(
            beside=_same(*DATA)
        ),
        "ELBOs with 1 and 10 draws are parted: more draws of a mean make it less noisy, not "
        "higher": _reading(beside=_same(*DATA, "bound", "samples")),
        "an ELBO and an L_K are one column if their numbers of draws agree; an ELBO averages "
        "logarithms, whatever their number": _reading(beside=_same(*DATA, "samples")),
        "the ELBO and L_1 are parted: they are one bound": _reading(
            beside=_and(_beside, _same("bound"))
        ),
        "images are not looked at: nats of two data sets are nats of two tasks": _reading(
            beside=_but("images")
        ),
        "pixels are not looked at: drawn afresh, drawn once, cut and grey are four data sets": (
            _reading(beside=_but("pixels"))
        ),
        "how many images were tested is not looked at: the first 300 are other images": _reading(
            beside=_but("tested")
        ),
        "validation and test images are put together: they are not the same images": _reading(
            beside=_but("tested_on")
        ),
        "drawn once and drawn afresh are put together: who sees one fixed draw has fewer images "
        "to learn from": _reading(
            beside=_and(
                _but("pixels"),
                lambda a, b: (
                    a["pixels"].replace("once", "afresh") == b["pixels"].replace("once", "afresh")
                ),
            )
        ),
        "784 and 1,024 dimensions are parted: a frame that is always 0 costs no nats": _reading(
            beside=_and(_beside, _same("dimensions"))
        ),
        "nats and bits are parted: units can be converted": _reading(
            beside=_and(_beside, _same("unit"))
        ),
        "log p(x) and −log p(x) are parted: a sign can be turned round": _reading(
            beside=_and(_beside, _same("better"))
        ),
        "what a model learned from parts the columns; it is what the table compares, as long as "
        "the tested images are not among it": _reading(beside=_and(_beside, _same("trained_on"))),
        "images that the model was trained on are counted as held out: their column is −1": (
            _reading(seen=lambda r: False)
        ),
        "only models trained on the test images get −1; a number on train or validation images "
        "can have been learned by heart too": _reading(
            seen=lambda r: r["tested_on"] == "test" and "test" in r["trained_on"]
        ),
        "only the first of what was trained on is compared with what was tested": _reading(
            seen=lambda r: r["tested_on"] == r["trained_on"][0]
        ),
        "every number that is not on test images gets −1; validation images may be held out too": (
            _reading(seen=lambda r: _seen(r) or r["tested_on"] != "test")
        ),
        "the columns are numbered; asked is the place of the first report in each": _numbered,
        "this is the last report of each column; asked is the first": _reading(
            label=lambda together: together[-1]
        ),
        "places are counted from 1; Python counts from 0": _reading(
            label=lambda together: together[0] + 1
        ),
    },
    build=lambda reports: (tuple(dict(report) for report in reports),),
    gradients=(),  # a table has none
)
def comparable(draw: Draw) -> Iterator[dict[str, Any]]:
    """Which reported numbers may stand in one column, and what each is in nats."""
    padded = {"unit": "bits per dimension", "dimensions": 1024}
    yield {"reports": (_reported(draw, padded),)}
    yield {"reports": (_reported(draw, {"trained_on": ("train", "validation", "test")}),)}
    for first, second in PAIRS:
        yield {"reports": (_reported(draw, first), _reported(draw, second))}
    for _ in range(3):
        # Two of a kind and one that looks like it, from any of the pairs, in any order.
        chosen = [change for k in range(3) for change in PAIRS[draw.integer(0, len(PAIRS) - 1)]]
        five = [chosen[draw.integer(0, 5)], *chosen[:4]]
        yield {"reports": tuple(_reported(draw, change) for change in five)}


def _reported(draw: Draw, change: Report) -> Report:
    """A report with a number of its own, such as its data give."""
    report = USUAL | change
    usual = 240.0 if report["images"] == "Fashion-MNIST" else 95.0
    if report["pixels"] == "grey":
        usual = 620.0
    nats = usual * float(draw.uniform(1, low=0.9, high=1.1))
    number = nats if report["better"] == "lower" else -nats
    if report["unit"] == "bits per dimension":
        number /= report["dimensions"] * math.log(2)
    return report | {"number": float(f"{number:.5g}")}
