"""Checks of the exercises of :doc:`/book/clinic`: eight functions that were sick, mended."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits, pad

from .exercise import Draw, exercise
from .vae import vae_loss

__all__ = ["mend_1", "mend_2", "mend_3", "mend_4", "mend_5", "mend_6", "mend_7", "mend_8"]

Network = Callable[[Tensor], Tensor]


def _cost(x: Tensor, logits: Tensor) -> Tensor:
    """−log p(x | z) of each pixel."""
    return binary_cross_entropy_with_logits(logits, x, reduction="none")


def _kl(loc: Tensor, logvar: Tensor) -> Tensor:
    """Of each latent dimension."""
    return 0.5 * (loc**2 + logvar.exp() - 1 - logvar)


def _affine(weight: Tensor, bias: Tensor) -> Network:
    return lambda t: t @ weight + bias


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """A layer with these weights, which are copied: a step of training does not change the inputs.

    It is made without random numbers, since messages make it too.
    """
    layer = nn.utils.skip_init(nn.Linear, *weight.mT.shape, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


# 1. The reduction


@exercise(
    truth=vae_loss.truth,
    mistakes={
        "this is the loss as it was: the pixels are averaged, so the KL weighs 784 times as much": (
            lambda x, logits, loc, logvar: _cost(x, logits).mean() + _kl(loc, logvar).sum(1).mean()
        ),
    }
    | {
        says: wrong
        for says, wrong in vae_loss.mistakes.items()
        if not says.startswith("the pixels are averaged")  # the one above
    },
    gradients=vae_loss.gradients,
    axes=vae_loss.axes,
)
def mend_1(draw: Draw) -> Iterator[Any]:
    """The loss of a batch, of the first patient: that of exercise `vae_loss`."""
    yield from vae_loss.draw(draw)


# 2. The start


def _layers(decoder: nn.Sequential) -> list[tuple[Tensor, Tensor]]:
    return [(layer.weight, layer.bias) for layer in decoder if isinstance(layer, nn.Linear)]


def _start(
    hidden: Callable[[Tensor], Tensor] = lambda bias: bias,
    last: Callable[[Tensor], Tensor] = lambda bias: torch.full_like(bias, -5.0),
    activation: Network = torch.relu,
) -> Any:
    """The first logits, from what becomes of the biases."""

    def logits(decoder: nn.Sequential, z: Tensor) -> Tensor:
        *before, (weight, bias) = _layers(decoder)
        for w, b in before:
            z = activation(z @ w.mT + hidden(b))
        return z @ weight.mT + last(bias)

    return logits


def _first_logits(decoder: nn.Sequential, z: Tensor) -> Tensor:
    """Unit by unit."""
    *before, (weight, _) = _layers(decoder)
    for w, b in before:
        z = torch.stack([(z * row).sum(1) + c for row, c in zip(w, b, strict=True)], 1)
        z = torch.where(z > 0, z, 0 * z)
    return torch.stack([(z * row).sum(1) - 5 for row in weight], 1)


def _dark(bias: Tensor) -> Tensor:
    return torch.full_like(bias, -5.0)


def _decoder_and_z(
    z: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor
) -> tuple[nn.Sequential, Tensor]:
    layers = [_linear(w1, b1), nn.ReLU(), _linear(w2, b2), nn.ReLU(), _linear(w3, b3)]
    return nn.Sequential(*layers), z


@exercise(
    truth=_first_logits,
    mistakes={
        "this is the start as it was: −5 in the hidden layers switches their ReLUs off": _start(
            _dark
        ),
        "no bias was set: the last layer's are to be −5": _start(last=lambda b: b),
        "the hidden layers got −5 and the last did not: it is the other way round": _start(
            _dark, lambda b: b
        ),
        "the hidden layers' biases are not yours to change: they are 0 now": _start(
            torch.zeros_like
        ),
        "the last biases are 0, so that each pixel begins at ½: they are to be −5": _start(
            last=torch.zeros_like
        ),
        "the last biases are 5 and not −5: every pixel begins as ink": _start(
            last=lambda b: -_dark(b)
        ),
        "−5 is added to the last biases; they are to be −5": _start(last=lambda b: b - 5),
        "the activation is another now, and −5 still stands in every layer: the network is to stay "
        "as it is": _start(_dark, activation=nn.functional.silu),
        "the activation is another now: the network is to stay as it is": _start(
            activation=nn.functional.silu
        ),
        "the activation is another now (a leak): the network is to stay as it is": _start(
            _dark, activation=nn.functional.leaky_relu
        ),
        "these are probabilities; asked are the logits": (
            lambda decoder, z: _first_logits(decoder, z).sigmoid()
        ),
    },
    build=_decoder_and_z,
    gradients=(),
)
def mend_2(draw: Draw) -> Iterator[dict[str, Any]]:
    """The logits of a decoder before its first step."""
    for n, latent, one, two, pixels, scale in (
        (5, 3, 8, 6, 4, 1.0),
        (2, 8, 7, 9, 5, 3.0),
        (1, 2, 6, 5, 3, 1.0),
        (6, 4, 5, 8, 1, 0.3),
    ):
        yield {
            "z": draw.normal(n, latent),
            "w1": draw.normal(one, latent, scale=scale),
            "b1": draw.uniform(one, low=0.1, high=1.0),
            "w2": draw.normal(two, one, scale=scale),
            "b2": draw.uniform(two, low=0.1, high=1.0),
            "w3": draw.normal(pixels, two, scale=scale),
            "b3": draw.normal(pixels),
        }


# 3. The two terms


def _loss(
    *,
    scale: Callable[[Tensor], Tensor] = lambda logvar: torch.exp(0.5 * logvar),
    kl: Callable[[Tensor, Tensor], Tensor] = lambda m, v: _kl(m, v).sum(1).mean(),
    pixels: Callable[[Tensor], Tensor] = lambda cost: cost.sum(1).mean(),
) -> Any:
    """The loss of a batch from its parts."""

    def loss(
        x: Tensor, encoder: Network, decoder: Network, eps: Tensor, history: list[float]
    ) -> Tensor:
        loc, logvar = encoder(x).chunk(2, dim=1)
        z = loc + scale(logvar) * eps
        history.append(_kl(loc, logvar).sum(1).mean().item())
        return pixels(_cost(x, decoder(z))) + kl(loc, logvar)

    return loss


def _image_by_image(
    x: Tensor, encoder: Network, decoder: Network, eps: Tensor, history: list[float]
) -> Tensor:
    total = x.new_zeros(())
    for image, noise in zip(x, eps, strict=True):
        raw = encoder(image)
        q = Independent(Normal(raw[: len(noise)], raw[len(noise) :].exp().sqrt()), 1)
        p = Independent(Normal(torch.zeros_like(q.mean), 1.0), 1)
        z = torch.addcmul(q.mean, q.stddev, noise)
        history.append(kl_divergence(q, p).item())
        total = total + kl_divergence(q, p)
        total = total - Bernoulli(logits=decoder(z)).log_prob(image).sum()
    return total / len(x)


def _networks(
    x: Tensor,
    eps: Tensor,
    encoder_weight: Tensor,
    encoder_bias: Tensor,
    decoder_weight: Tensor,
    decoder_bias: Tensor,
) -> tuple[Tensor, Network, Network, Tensor, list[float]]:
    encoder, decoder = _affine(encoder_weight, encoder_bias), _affine(decoder_weight, decoder_bias)
    return x, encoder, decoder, eps, []


WEIGHTS = ("encoder_weight", "encoder_bias", "decoder_weight", "decoder_bias")


def _weights(draw: Draw, pixels: int, latent: int) -> dict[str, Tensor]:
    """Of an encoder and a decoder without hidden layers."""
    return {
        "encoder_weight": draw.normal(pixels, 2 * latent, scale=0.5),
        "encoder_bias": draw.normal(2 * latent, scale=0.5),
        "decoder_weight": draw.normal(latent, pixels),
        "decoder_bias": draw.normal(pixels),
    }


@exercise(
    truth=_image_by_image,
    mistakes={
        "this is the loss as it was: the KL is watched, and costs nothing": _loss(
            kl=lambda m, v: 0 * (m + v).sum()
        ),
        "the KL is added as a plain number, so the encoder feels nothing of it": _loss(
            kl=lambda m, v: _kl(m, v).sum(1).mean().detach()
        ),
        "the KL is subtracted; the loss adds it": _loss(kl=lambda m, v: -_kl(m, v).sum(1).mean()),
        "the KL is averaged over the latent dimensions; it is their sum": _loss(
            kl=lambda m, v: _kl(m, v).mean()
        ),
        "the KL is summed over the batch; take its mean, as of the pixels": _loss(
            kl=lambda m, v: _kl(m, v).sum()
        ),
        "half of the KL is charged: that is β = ½": _loss(
            kl=lambda m, v: 0.5 * _kl(m, v).sum(1).mean()
        ),
        "twice the KL is charged: that is β = 2": _loss(
            kl=lambda m, v: 2 * _kl(m, v).sum(1).mean()
        ),
        "the pixels are averaged; log p(x | z) is their sum": _loss(
            pixels=lambda cost: cost.mean()
        ),
        "pixels and latent dimensions are averaged; both are sums": _loss(
            pixels=lambda cost: cost.mean(), kl=lambda m, v: _kl(m, v).mean()
        ),
        "only the KL is left: the pixels count too": _loss(pixels=lambda cost: 0 * cost.sum()),
        "z has no noise any more: at loc alone this is no bound": _loss(scale=torch.zeros_like),
        "exp(logvar) is σ², and ε is multiplied by σ": _loss(scale=torch.exp),
        "the noise is gone from the KL too: this is an autoencoder with small codes": _loss(
            scale=torch.zeros_like, kl=lambda m, v: 0.5 * (m**2).sum(1).mean() + 0 * v.sum()
        ),
    },
    build=_networks,
    gradients=WEIGHTS,
    axes={"x": ("pixels", "data"), "eps": ("latent dimensions", "data")},
)
def mend_3(draw: Draw) -> Iterator[dict[str, Any]]:
    """The loss of a batch, from pixels to one number."""
    for batch, pixels, latent in ((4, 9, 3), (7, 5, 2), (3, 11, 4), (1, 6, 2)):
        yield {
            "x": draw.binary(batch, pixels),
            "eps": draw.normal(batch, latent),
            **_weights(draw, pixels, latent),
        }


# 4. What the decoder sees


def _string_by_string(x: Tensor, z: Tensor, decoder: Network) -> Tensor:
    rows = zip(x, decoder(z), strict=True)
    return torch.stack([Bernoulli(logits=row).log_prob(bits).sum() for bits, row in rows])


def _seen(shift: Callable[[Tensor], Tensor]) -> Any:
    """log p(x | z) by a decoder that sees something of x."""
    return lambda x, z, decoder: -_cost(x, decoder(z) + math.log(9) * shift(2 * x - 1)).sum(1)


@exercise(
    truth=_string_by_string,
    mistakes={
        "this is the decoder as it was: it sees the bit before": _seen(
            lambda bits: pad(bits[:, :-1], (1, 0))
        ),
        "the decoder sees the bit after, which is as good as the one before": _seen(
            lambda bits: pad(bits[:, 1:], (0, 1))
        ),
        "the decoder sees the very bit that it predicts": _seen(lambda bits: bits),
        "the decoder sees the bits on both sides": _seen(
            lambda bits: pad(bits[:, :-1], (1, 0)) + pad(bits[:, 1:], (0, 1))
        ),
        "z is not used: all strings get the logits of z = 0": lambda x, z, decoder: (
            -_cost(x, decoder(torch.zeros_like(z))).sum(1)
        ),
        "the bits are averaged; log p(x | z) is their sum": lambda x, z, decoder: (
            -_cost(x, decoder(z)).mean(1)
        ),
        "the sign is turned round: this is −log p(x | z)": lambda x, z, decoder: _cost(
            x, decoder(z)
        ).sum(1),
        "0 and 1 are swapped: sigmoid(logit) is the probability of a 1": lambda x, z, decoder: (
            -_cost(1 - x, decoder(z)).sum(1)
        ),
        "the first bit is left out": lambda x, z, decoder: -_cost(x, decoder(z))[:, 1:].sum(1),
        "z is detached: the encoder would hear nothing of the bits": lambda x, z, decoder: (
            -_cost(x, decoder(z.detach())).sum(1)
        ),
    },
    build=lambda x, z, weight, bias: (x, z, _affine(weight, bias)),
    gradients=("z", "weight", "bias"),
    axes={"x": ("bits", "strings"), "z": ("latent dimensions", "strings")},
)
def mend_4(draw: Draw) -> Iterator[dict[str, Any]]:
    """log p(x | z) of strings of bits."""
    for n, bits, latent in ((5, 9, 3), (3, 12, 2), (1, 6, 4), (6, 4, 1)):
        yield {
            "x": draw.binary(n, bits),
            "z": draw.normal(n, latent),
            "weight": draw.normal(latent, bits),
            "bias": draw.normal(bits),
        }


# 5. The split


def _by_hand(images: Tensor, held_out: int, order: Tensor) -> tuple[Tensor, Tensor]:
    chosen = [index for index in order.tolist() if index not in range(held_out)]
    return images[chosen], torch.stack([images[index] for index in range(held_out)])


def _split(train: Callable[..., Tensor], test: Callable[..., Tensor]) -> Any:
    """Images to train and to test on, from how each are chosen by `held_out` and `order`."""
    return lambda images, held_out, order: (
        images[train(held_out, order)],
        images[test(held_out, order)],
    )


def _rest(held_out: int, order: Tensor) -> Tensor:
    return order[order >= held_out]


def _kept(held_out: int, order: Tensor) -> Tensor:
    return order.sort().values[:held_out]


@exercise(
    truth=_by_hand,
    mistakes={
        "this is the split as it was: each call tests on other digits, which others have trained "
        "on": _split(lambda k, order: order[k:], lambda k, order: order[:k]),
        "the test digits stay, but the others are chosen by their place in `order`: some test "
        "digits are trained on": _split(lambda k, order: order[k:], _kept),
        "all digits are trained on, the held-out ones too": _split(lambda k, order: order, _kept),
        "the training digits are right, but the test digits are the first of `order`": _split(
            _rest, lambda k, order: order[:k]
        ),
        "the digits to train on are not shuffled: they stand in the order of `images`": _split(
            lambda k, order: order.sort().values[k:], _kept
        ),
        "the test digits are right, in a new order at each call: leave them as they stand": _split(
            _rest, lambda k, order: order[order < k]
        ),
        "the two are swapped: digits to train on come first": lambda images, k, order: _by_hand(
            images, k, order
        )[::-1],
        "the last digits are held out; asked are the first": _split(
            lambda k, order: order[order < len(order) - k],
            lambda k, order: order.sort().values[len(order) - k :],
        ),
        "these are the digits' numbers; asked are their pixels": lambda images, k, order: (
            _rest(k, order),
            _kept(k, order),
        ),
    },
    gradients=(),
    axes={"images": ("pixels", "images")},
)
def mend_5(draw: Draw) -> Iterator[dict[str, Any]]:
    """Images to train on, in a new order, and images to test on."""
    for n, pixels, held_out in ((11, 4, 3), (9, 3, 5), (8, 1, 1), (14, 2, 6)):
        # No two images are alike, and no order leaves the first ones in their places.
        images = 10 * torch.arange(n)[:, None] + torch.arange(pixels)
        order = (draw.uniform(n).argsort() + 1) % n
        while set(order[:held_out].tolist()) == {*range(held_out)}:
            order = order.roll(1)
        yield {"images": images.to(torch.uint8), "held_out": held_out, "order": order}


# 6. The pixels


def _pixel_by_pixel(images: Tensor, chosen: Tensor, u: Tensor) -> Tensor:
    x = torch.zeros_like(u)
    for row, index in enumerate(chosen.tolist()):
        for pixel, value in enumerate(images[index].tolist()):
            x[row, pixel] = float(255 * u[row, pixel].item() < value)
    return x


def _of(change: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """A batch from the grey values in [0, 1] of the chosen images, and uniform draws."""
    return lambda images, chosen, u: change(images[chosen].to(u) / 255, u).to(u)


@exercise(
    truth=_pixel_by_pixel,
    mistakes={
        "this is the batch as it was: grey pixels, which a Bernoulli never draws": _of(
            lambda p, u: p
        ),
        "cut at ½, a pixel is the same at each visit, and its grey is lost": _of(
            lambda p, u: p > 0.5
        ),
        "0 and 1 are swapped: a pixel is 1 where u is *below* its grey": _of(lambda p, u: u > p),
        "a black pixel may become 1: where u is 0 too, it is not below": _of(lambda p, u: u <= p),
        "one draw decides a whole image: each pixel has its own": _of(lambda p, u: u[:, :1] < p),
        "one image's draws serve all of them: each has its own": _of(lambda p, u: u[:1] < p),
        "u below ½ decides, whatever the pixel's grey is": _of(lambda p, u: u < 0.5),
        "the pixels are 0 and 255; a Bernoulli draws 0 and 1": _of(lambda p, u: 255.0 * (u < p)),
        "noise is added to the grey pixels; they are to be drawn": _of(lambda p, u: p + u / 255),
        "the first images are taken; asked are those of `chosen`": lambda images, chosen, u: (
            _pixel_by_pixel(images, torch.arange(len(chosen)), u)
        ),
        "u is compared with whole numbers up to 255: divide them by 255": _of(
            lambda p, u: u < 255 * p
        ),
    },
    gradients=(),
    axes={"u": ("pixels", "images of the batch")},
)
def mend_6(draw: Draw) -> Iterator[dict[str, Any]]:
    """A batch of zeros and ones, drawn from grey images."""
    for n, batch, pixels in ((6, 4, 8), (7, 5, 6), (4, 1, 9), (5, 3, 1)):
        images = (256 * draw.uniform(n, pixels)).long().clamp(max=255).to(torch.uint8)
        images[-1, 0], images[0, -1] = 255, 0
        chosen = (n * draw.uniform(batch)).long()
        chosen[0] = n - 1
        u = draw.uniform(batch, pixels)
        # A digit of rounding shall not decide: no draw is within a thousandth of its pixel's grey.
        near = (u * 255 - images[chosen]).abs() < 0.3
        u = torch.where(near, (u + 0.5) % 1, u)
        u = torch.where(images[chosen] == 0, 0 * u, u)
        yield {"images": images, "chosen": chosen, "u": u.float().double()}


# 7. The report


def _bound(
    *,
    scale: Callable[[Tensor], Tensor] = lambda logvar: torch.exp(0.5 * logvar),
    first: Callable[[Tensor], Tensor] = lambda log_lik: log_lik.sum(-1).mean(),
    kl: Callable[[Tensor, Tensor], Tensor] = lambda m, v: _kl(m, v).sum(1).mean(),
    noise: Callable[[Tensor], Tensor] = lambda eps: eps,
) -> Any:
    """The reported number from its parts."""

    def report(x: Tensor, encoder: Network, decoder: Network, eps: Tensor) -> Tensor:
        loc, logvar = encoder(x).chunk(2, dim=1)
        logits = decoder(loc + scale(logvar) * noise(eps))
        return first(-_cost(x.expand_as(logits), logits)) - kl(loc, logvar)

    return report


def _sample_by_sample(x: Tensor, encoder: Network, decoder: Network, eps: Tensor) -> Tensor:
    losses = [-_image_by_image(x, encoder, decoder, noise, []) for noise in eps]
    return torch.stack(losses).mean()


def _from_prior(x: Tensor, encoder: Network, decoder: Network, eps: Tensor) -> Tensor:
    loc, logvar = encoder(x).chunk(2, dim=1)
    log_lik = torch.stack([-_cost(x, decoder(e)).sum(1).mean() for e in eps]).mean()
    return log_lik - _kl(loc, logvar).sum(1).mean()


def _kl_by_samples(x: Tensor, encoder: Network, decoder: Network, eps: Tensor) -> Tensor:
    loc, logvar = encoder(x).chunk(2, dim=1)
    z = loc + torch.exp(0.5 * logvar) * eps
    kl = 0.5 * (z**2 - eps**2 - logvar).sum(-1).mean()
    log_lik = torch.stack([-_cost(x, decoder(each)).sum(1).mean() for each in z]).mean()
    return log_lik - kl


@exercise(
    truth=_sample_by_sample,
    mistakes={
        "this is the report as it was: z is the mean of q, so the first term is too good": _bound(
            scale=torch.zeros_like
        ),
        "only the first sample is used": _bound(noise=lambda eps: eps[:1]),
        "the samples are averaged before they are decoded; average what they score": _bound(
            noise=lambda eps: eps.mean(0, keepdim=True)
        ),
        "exp(logvar) is σ², and ε is multiplied by σ": _bound(scale=torch.exp),
        "the KL is missing: this is the first term alone": _bound(kl=lambda m, v: 0 * m.sum()),
        "the KL is added; a bound subtracts it": _bound(kl=lambda m, v: -_kl(m, v).sum(1).mean()),
        "the samples are added; their mean is asked": _bound(
            first=lambda log_lik: log_lik.sum(-1).mean(-1).sum()
        ),
        "the sum over the samples is not divided by their number, nor are their KLs": (
            lambda x, encoder, decoder, eps: len(eps) * _sample_by_sample(x, encoder, decoder, eps)
        ),
        "likelihoods are averaged over the samples; the bound averages their logarithms": _bound(
            first=lambda log_lik: (
                torch.logsumexp(log_lik.sum(-1), 0) - math.log(len(log_lik))
            ).mean()
        ),
        "the pixels are averaged; log p(x | z) is their sum": _bound(
            first=lambda log_lik: log_lik.mean()
        ),
        "the sign is turned round: this is the loss": lambda x, encoder, decoder, eps: (
            -_sample_by_sample(x, encoder, decoder, eps)
        ),
        "z comes from the prior, not from q": _from_prior,
        "the KL is estimated from the samples; asked is its closed form": _kl_by_samples,
    },
    build=lambda x, eps, **weights: (*_networks(x, eps, **weights)[:3], eps),
    gradients=(),
    axes={"x": ("pixels", "data"), "eps": ("latent dimensions", "data", "samples")},
)
def mend_7(draw: Draw) -> Iterator[dict[str, Any]]:
    """The mean bound of a test set, by several samples of each z."""
    for samples, batch, pixels, latent in ((3, 4, 9, 2), (5, 2, 7, 3), (2, 6, 5, 4), (4, 1, 8, 1)):
        yield {
            "x": draw.binary(batch, pixels),
            "eps": draw.normal(samples, batch, latent),
            **_weights(draw, pixels, latent),
        }


# 8. The optimizer


def _parameters(*networks: nn.Module) -> list[nn.Parameter]:
    return [weight for network in networks for weight in network.parameters()]


def _adam_by_hand(
    encoder: nn.Module, decoder: nn.Module, loss: Callable[..., Tensor], steps: int, lr: float
) -> Tensor:
    weights = _parameters(encoder, decoder)
    first, second = ([torch.zeros_like(w) for w in weights] for _ in range(2))
    losses = []
    for step in range(1, steps + 1):
        value = loss(encoder, decoder)
        losses.append(value.detach())
        gradients = torch.autograd.grad(value, weights)
        for w, g, m, s in zip(weights, gradients, first, second, strict=True):
            m.copy_(0.9 * m + 0.1 * g)
            s.copy_(0.999 * s + 0.001 * g**2)
            along = (m / (1 - 0.9**step)) / ((s / (1 - 0.999**step)).sqrt() + 1e-8)
            w.data -= lr * along
    return torch.stack(losses)


def _fit(
    *,
    of: Callable[..., Sequence[nn.Parameter]] = _parameters,
    optimizer: Callable[..., torch.optim.Optimizer] = torch.optim.Adam,
    clear: bool = True,
    anew: bool = False,
    after: bool = False,
    moves: bool = True,
) -> Any:
    """Training from what it may get wrong."""

    def fit(
        encoder: nn.Module, decoder: nn.Module, loss: Callable[..., Tensor], steps: int, lr: float
    ) -> Tensor:
        adam = optimizer(of(encoder, decoder), lr=lr)
        losses = []
        for _ in range(steps):
            if anew:
                adam = optimizer(of(encoder, decoder), lr=lr)
            value = loss(encoder, decoder)
            if clear:
                adam.zero_grad()
            value.backward()
            if moves:
                adam.step()
            losses.append((loss(encoder, decoder) if after else value).detach())
        return torch.stack(losses)

    return fit


def _to_train(
    x: Tensor,
    eps: Tensor,
    encoder_weight: Tensor,
    encoder_bias: Tensor,
    decoder_weight: Tensor,
    decoder_bias: Tensor,
    steps: int,
    lr: float,
) -> tuple[Any, ...]:
    encoder = _linear(encoder_weight.mT, encoder_bias)
    decoder = _linear(decoder_weight.mT, decoder_bias)
    return encoder, decoder, lambda e, d: _loss()(x, e, d, eps, []), steps, lr


@exercise(
    truth=_adam_by_hand,
    mistakes={
        "this is the training as it was: the encoder's weights are not in the optimizer": _fit(
            of=lambda encoder, decoder: _parameters(decoder)
        ),
        "now the decoder's weights are missing from the optimizer": _fit(
            of=lambda encoder, decoder: _parameters(encoder)
        ),
        "gradients add up from step to step: zero_grad is missing": _fit(clear=False),
        "a new optimizer at each step forgets the steps before": _fit(anew=True),
        "the losses are those after each step; asked are those before it": _fit(after=True),
        "the gradients are cleared after backward, so no step moves anything": _fit(moves=False),
        "the learning rate is not handed on: Adam takes 0.001": _fit(
            optimizer=lambda weights, lr: torch.optim.Adam(weights)
        ),
        "this is SGD; asked is Adam": _fit(optimizer=torch.optim.SGD),
        "AdamW shrinks the weights at each step; asked is Adam": _fit(optimizer=torch.optim.AdamW),
    },
    build=_to_train,
    gradients=(),
    loosened=3.0,  # a few steps of Adam, which divides by roots of small squares
)
def mend_8(draw: Draw) -> Iterator[dict[str, Any]]:
    """The losses of a few steps of Adam over both networks."""
    for batch, pixels, latent, steps in ((5, 7, 2, 3), (6, 5, 1, 1), (3, 8, 2, 4)):
        yield {
            "x": draw.binary(batch, pixels),
            "eps": draw.normal(batch, latent),
            **_weights(draw, pixels, latent),
            "steps": steps,
            "lr": 0.05 + 0.01 * steps,
        }
