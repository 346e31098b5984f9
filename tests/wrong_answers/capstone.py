"""Answers to the capstone: right ones in many styles, and wrong ones with a single fault each."""

import math
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from vaelib import data
from wrong_answers import right, wrong

# Right ones


@right("MyVAE")
class Plain(nn.Module):
    """As short as it gets; the faults below are changes of this one."""

    def __init__(self, pixels, hidden, latent):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, pixels)
        )
        self.optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)

    def encode(self, x):
        return self.encoder(x).chunk(2, dim=-1)

    def decode(self, z):
        return self.decoder(z)

    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar) * torch.randn_like(loc)

    def pixels(self, x, logits):
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)

    def kl(self, loc, logvar):
        return 0.5 * (loc**2 + logvar.exp() - 1 - logvar).sum(-1)

    def loss(self, x):
        loc, logvar = self.encode(x)
        logits = self.decode(self.sample(loc, logvar))
        return (self.pixels(x, logits) + self.kl(loc, logvar)).mean()

    def batch(self, pixels):
        return (255 * torch.rand(pixels.shape) < pixels).float()

    def step(self, x):
        loss = self.loss(x)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    @torch.no_grad()
    def evaluate(self, pixels):
        return -self.loss(self.batch(pixels)).item()


@right("MyVAE")
class TwoHeads(nn.Module):
    """ReLU, a head each for μ and log σ², sums over all divided by the batch."""

    def __init__(self, pixels, hidden, latent):
        super().__init__()
        self.trunk = nn.Linear(pixels, hidden)
        self.loc, self.logvar = nn.Linear(hidden, latent), nn.Linear(hidden, latent)
        self.back, self.out = nn.Linear(latent, hidden), nn.Linear(hidden, pixels)
        self.opt = torch.optim.AdamW(self.parameters(), lr=2e-3, weight_decay=1e-4)

    def encode(self, x):
        h = F.relu(self.trunk(x))
        return self.loc(h), self.logvar(h)

    def decode(self, z):
        return self.out(F.relu(self.back(z)))

    def loss(self, x):
        mu, logvar = self.encode(x)
        std = torch.exp(0.5 * logvar)
        z = mu + std * torch.randn_like(std)
        bce = F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="sum")
        kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return (bce + kld) / x.size(0)

    def batch(self, pixels):
        return torch.bernoulli(pixels.float() / 255)

    def step(self, x):
        self.opt.zero_grad()
        self.loss(x).backward()
        self.opt.step()

    def evaluate(self, pixels):
        with torch.no_grad():
            return -self.loss(self.batch(pixels))


@right("MyVAE")
class Distributions(nn.Module):
    """torch.distributions throughout, and a softplus head for σ."""

    def __init__(self, pixels, hidden, latent):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.ELU(), nn.Linear(hidden, 2 * latent)
        )
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ELU(), nn.Linear(hidden, pixels))
        self.optimizer = torch.optim.NAdam(self.parameters(), lr=2e-3)

    def encode(self, x):
        loc, raw = self.encoder(x).chunk(2, -1)
        return loc, 2 * torch.log(F.softplus(raw) + 1e-6)

    def decode(self, z):
        return self.decoder(z)

    def elbo(self, x):
        loc, logvar = self.encode(x)
        q = Independent(Normal(loc, (0.5 * logvar).exp()), 1)
        p = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
        p_x = Independent(Bernoulli(logits=self.decode(q.rsample())), 1)
        return p_x.log_prob(x) - kl_divergence(q, p)

    def loss(self, x):
        return -self.elbo(x).mean()

    def batch(self, pixels):
        return Bernoulli(probs=pixels / 255).sample()

    def step(self, x):
        self.optimizer.zero_grad(set_to_none=False)
        loss = self.loss(x)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def evaluate(self, pixels):
        return self.elbo(self.batch(pixels)).mean().item()


@right("MyVAE")
class BySample(Plain):
    """The KL by the same sample, log q(z | x) − log p(z), and RMSprop."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.optimizer = torch.optim.RMSprop(self.parameters(), lr=1e-3)

    def loss(self, x):
        loc, logvar = self.encode(x)
        scale = logvar.mul(0.5).exp()
        z = loc + scale * torch.randn(loc.shape)
        log_q = Normal(loc, scale).log_prob(z).sum(1)
        log_p = (-0.5 * z**2 - 0.5 * math.log(2 * math.pi)).sum(1)
        log_lik = -F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="none").sum(1)
        return torch.mean(log_q - log_p - log_lik)


@right("MyVAE")
def functional(pixels, hidden, latent):
    """No class at all: tensors, functions, and a namespace."""

    def layer(a, b):
        return [(torch.randn(a, b) / a**0.5).requires_grad_(), torch.zeros(b, requires_grad=True)]

    shapes = [(pixels, hidden), (hidden, latent), (hidden, latent), (latent, hidden)]
    weights = [layer(*shape) for shape in [*shapes, (hidden, pixels)]]
    optimizer = torch.optim.Adam([w for pair in weights for w in pair], lr=3e-3)
    model = SimpleNamespace()

    def affine(x, pair):
        return x @ pair[0] + pair[1]

    def encode(x):
        h = torch.tanh(affine(x, weights[0]))
        return affine(h, weights[1]), affine(h, weights[2])

    def decode(z):
        return affine(torch.tanh(affine(z, weights[3])), weights[4])

    def elbo(x):
        loc, logvar = model.encode(x)
        z = loc + (logvar / 2).exp() * torch.randn_like(loc)
        logits = model.decode(z)
        log_lik = x * F.logsigmoid(logits) + (1 - x) * F.logsigmoid(-logits)
        kl = (loc.square() + logvar.exp() - logvar - 1) / 2
        return log_lik.sum(-1) - kl.sum(-1)

    def step(x):
        optimizer.zero_grad()
        model.loss(x).backward()
        optimizer.step()

    def batch(images):
        u = np.random.default_rng().random(images.shape)
        return torch.from_numpy(u * 255 < images.numpy()).float()

    model.encode, model.decode, model.batch, model.step = encode, decode, batch, step
    model.loss = lambda x: -elbo(x).mean()
    model.evaluate = lambda images: elbo(batch(images)).mean().item()
    return model


@right("MyVAE")
class Stochastic(Plain):
    """SGD with momentum and clipped gradients; it learns more slowly."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    def step(self, x):
        self.optimizer.zero_grad()
        loss = self.loss(x)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters(), 10.0)
        self.optimizer.step()
        return loss.item()


@right("MyVAE")
class ThreeSamples(Plain):
    """Several z an image, noise of an own generator, evaluation in parts."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.generator = torch.Generator()
        self.generator.seed()

    def loss(self, x):
        loc, logvar = self.encode(x)
        eps = torch.randn(3, *loc.shape, generator=self.generator)
        logits = self.decode(loc + torch.exp(0.5 * logvar) * eps)
        log_lik = (x * logits - F.softplus(logits)).sum(-1).mean(0)
        return (self.kl(loc, logvar) - log_lik).mean()

    def batch(self, pixels):
        return data.binarize(pixels, generator=self.generator)

    @torch.no_grad()
    def evaluate(self, pixels):
        parts = [self.batch(part) for part in pixels.split(64)]
        return sum(-self.loss(x).item() * len(x) for x in parts) / len(pixels)


class Encoder(nn.Module):
    def __init__(self, pixels, hidden, latent):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(pixels, hidden), nn.SiLU(), nn.LayerNorm(hidden))
        self.loc, self.log_scale = nn.Linear(hidden, latent), nn.Linear(hidden, latent)

    def forward(self, x):
        h = self.body(x)
        return self.loc(h), self.log_scale(h)


@right("MyVAE")
class TwoOptimizers:
    """Log σ in a head, an optimizer for each network, learning rates that fall."""

    def __init__(self, pixels, hidden, latent):
        self.encoder = Encoder(pixels, hidden, latent)
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.SiLU(), nn.Linear(hidden, pixels)
        )
        networks = (self.encoder, self.decoder)
        self.optimizers = [torch.optim.Adam(net.parameters(), lr=4e-3) for net in networks]
        self.rates = [torch.optim.lr_scheduler.ExponentialLR(o, 0.999) for o in self.optimizers]

    def encode(self, x):
        loc, log_scale = self.encoder(x)
        return loc, 2 * log_scale

    def decode(self, z):
        return self.decoder(z)

    def loss(self, x):
        loc, logvar = self.encode(x)
        z = torch.normal(0.0, 1.0, loc.shape) * logvar.div(2).exp() + loc
        bce = nn.BCEWithLogitsLoss(reduction="none")(self.decode(z), x)
        kl = kl_divergence(Normal(loc, (logvar / 2).exp()), Normal(0.0, 1.0))
        return bce.sum(1).mean() + kl.sum(1).mean()

    def batch(self, pixels):
        return torch.lt(torch.rand(pixels.shape), pixels.float().div(255)).to(torch.float32)

    def step(self, x):
        self.loss(x).backward()
        for optimizer, rate in zip(self.optimizers, self.rates, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            rate.step()

    def evaluate(self, pixels):
        x = self.batch(pixels)
        with torch.no_grad():
            return float(np.mean([-self.loss(x).item() for _ in range(3)]))


@right("MyVAE")
class ByHand(Plain):
    """torch.autograd.grad and a rule of its own, without an optimizer."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.weights = list(self.parameters())
        self.squares = [torch.zeros_like(w) for w in self.weights]

    def step(self, x):
        loss = self.loss(x)
        with torch.no_grad():
            gradients = torch.autograd.grad(loss, self.weights)
            for w, s, g in zip(self.weights, self.squares, gradients, strict=True):
                s.mul_(0.99).addcmul_(g, g, value=0.01)
                w.sub_(1e-3 * g / (s.sqrt() + 1e-8))
        return loss.item()


@right("MyVAE")
class Deep(Plain):
    """Two hidden layers each, and a logvar that is kept within bounds."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.encoder = nn.Sequential(
            nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, 2 * latent),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, pixels),
        )  # fmt: skip
        self.optimizer = torch.optim.Adamax(self.parameters(), lr=5e-3)

    def encode(self, x):
        loc, logvar = self.encoder(x).chunk(2, -1)
        return loc, logvar.clamp(-12, 8)


@right("MyVAE")
class KnowsItsSizes(Plain):
    """Noise and mean pixels by the sizes that it was made with."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.sizes = pixels, latent

    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar) * torch.randn(len(loc), self.sizes[1])

    def pixels(self, x, logits):
        return F.binary_cross_entropy_with_logits(logits, x) * self.sizes[0]


# The networks


@wrong("MyVAE", says="networks: encode.* dropout")
class DropsOut(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.encoder.insert(2, nn.Dropout(0.5))


@wrong("MyVAE", says="logvar is never below 0.*does encode return σ where log σ² belongs")
class ReturnsSigma(Plain):
    def encode(self, x):
        loc, logvar = super().encode(x)
        return loc, torch.exp(0.5 * logvar)


@wrong("MyVAE", says="logits is never below 0. Is there an activation after the last layer")
class CutOff(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.decoder.append(nn.ReLU())


# The loss


@wrong("MyVAE", says="may be negative; σ is exp")
class TakesItForSigma(Plain):
    def sample(self, loc, logvar):
        return Normal(loc, logvar, validate_args=False).rsample() + 0 * logvar.log()


@wrong("MyVAE", says="two calls use the same noise")
class NoiseDrawnOnce(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.eps = torch.randn(1000, latent)

    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar) * self.eps[: len(loc)]


@wrong("MyVAE", says="but your loss is|loss is right, but its gradient")  # few images are below it
class FreeNat(Plain):
    def kl(self, loc, logvar):
        return super().kl(loc, logvar).clamp(min=1.0)


@wrong("MyVAE", says="loss: loss.x. calls encode, but not self.decode")
class GoesPastDecode(Plain):
    def loss(self, x):
        loc, logvar = self.encode(x)
        logits = self.decoder(self.sample(loc, logvar))
        return (self.pixels(x, logits) + self.kl(loc, logvar)).mean()


@wrong("MyVAE", says="loss: the pixels are averaged: log p")
class PixelsAveraged(Plain):
    def pixels(self, x, logits):
        return F.binary_cross_entropy_with_logits(logits, x)


@wrong("MyVAE", says="loss: the KL is averaged over the latent dimensions")
class KLAveraged(Plain):
    def kl(self, loc, logvar):
        return 0.5 * (loc**2 + logvar.exp() - 1 - logvar).mean(-1)


@wrong("MyVAE", says="β is then pixels / latent")
class BothAveraged(KLAveraged):
    def pixels(self, x, logits):
        return F.binary_cross_entropy_with_logits(logits, x)


@wrong("MyVAE", says="sum over the batch")
class Summed(Plain):
    def loss(self, x):
        return len(x) * super().loss(x)


@wrong("MyVAE", says="this is the ELBO")
class Upside(Plain):
    def loss(self, x):
        return -super().loss(x)


@wrong("MyVAE", says="KL has the wrong sign")
class KLSign(Plain):
    def kl(self, loc, logvar):
        return -super().kl(loc, logvar)


@wrong("MyVAE", says="KL is missing")
class NoKL(Plain):
    def kl(self, loc, logvar):
        return 0 * loc.sum(-1)


@wrong("MyVAE", says="holds σ where σ² belongs")
class KLOfSigma(Plain):
    def kl(self, loc, logvar):
        return 0.5 * (loc**2 + torch.exp(0.5 * logvar) - 1 - logvar).sum(-1)


@wrong("MyVAE", says="log σ², not log σ")
class KLOfLogSigma(Plain):
    def kl(self, loc, logvar):
        return (-logvar + 0.5 * (loc**2 + torch.exp(2 * logvar) - 1)).sum(-1)


@wrong("MyVAE", says="KL counts 0.1 times")
class TenthOfKL(Plain):
    def kl(self, loc, logvar):
        return 0.1 * super().kl(loc, logvar)


@wrong("MyVAE", says="squared error")
class SquaredError(Plain):
    def pixels(self, x, logits):
        return ((logits.sigmoid() - x) ** 2).sum(-1)


@wrong("MyVAE", says="sigmoid rounds to 0 or 1")
class ByProbabilities(Plain):
    def pixels(self, x, logits):
        return F.binary_cross_entropy(logits.sigmoid(), x, reduction="none").sum(-1)


@wrong("MyVAE", says="sigmoid is taken twice")
class TwoSigmoids(Plain):
    def pixels(self, x, logits):
        return super().pixels(x, logits.sigmoid())


@wrong("MyVAE", says="loss: it decodes the mean")
class NoNoise(Plain):
    def sample(self, loc, logvar):
        return loc


@wrong("MyVAE", says="does not reach the encoder: z is detached")
class Detached(Plain):
    def sample(self, loc, logvar):
        return Normal(loc, torch.exp(0.5 * logvar)).sample()


@wrong("MyVAE", says="reaches μ, but not σ")
class SigmaDetached(Plain):
    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar).detach() * torch.randn_like(loc)


@wrong("MyVAE", says="exp.logvar., which is σ²")
class NoiseByVariance(Plain):
    def sample(self, loc, logvar):
        return loc + logvar.exp() * torch.randn_like(loc)


@wrong("MyVAE", says="logvar itself")
class NoiseByLogvar(Plain):
    def sample(self, loc, logvar):
        return loc + logvar * torch.randn_like(loc)


@wrong("MyVAE", says="the noise is not scaled")
class NoiseUnscaled(Plain):
    def sample(self, loc, logvar):
        return loc + torch.randn_like(loc)


@wrong("MyVAE", says="drawn from the prior")
class FromThePrior(Plain):
    def sample(self, loc, logvar):
        return torch.randn_like(loc)


@wrong("MyVAE", says="the noise is uniform")
class UniformNoise(Plain):
    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar) * torch.rand_like(loc)


@wrong("MyVAE", says="images of a batch share one ε")
class SharedNoise(Plain):
    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar) * torch.randn(loc.shape[-1])


@wrong("MyVAE", says="latent dimensions share one ε")
class NoiseOfAnImage(Plain):
    def sample(self, loc, logvar):
        return loc + torch.exp(0.5 * logvar) * torch.randn(len(loc), 1)


@wrong("MyVAE", says="calls torch.manual_seed")
class Seeded(Plain):
    def sample(self, loc, logvar):
        torch.manual_seed(0)
        return super().sample(loc, logvar)


@wrong("MyVAE", says="two calls use the same noise")
class SameNoise(Plain):
    def sample(self, loc, logvar):
        eps = torch.randn(loc.shape, generator=torch.Generator().manual_seed(0))
        return loc + torch.exp(0.5 * logvar) * eps


@wrong("MyVAE", says="loss.x. has no gradient")
class LossAsNumber(Plain):
    def loss(self, x):
        return super().loss(x).item()


@wrong("MyVAE", says="the KL has no gradient")
class KLDetached(Plain):
    def kl(self, loc, logvar):
        return super().kl(loc, logvar).detach()


@wrong("MyVAE", says="loss.x. never calls self.encode")
class ConstantLoss(Plain):
    def loss(self, x):
        return torch.tensor(130.0, requires_grad=True)


@wrong("MyVAE")
class FreeBits(Plain):
    def kl(self, loc, logvar):
        each = 0.5 * (loc**2 + logvar.exp() - 1 - logvar)
        return each.clamp(min=0.5).sum(-1)


# The networks


@wrong("MyVAE", says="these are probabilities")
class Probabilities(Plain):
    def decode(self, z):
        return self.decoder(z).sigmoid()

    def pixels(self, x, p):
        return F.binary_cross_entropy(p, x, reduction="none").sum(-1)


@wrong("MyVAE", says="two answers for the same x")
class NoiseInEncoder(Plain):
    def encode(self, x):
        loc, logvar = super().encode(x)
        return loc + torch.exp(0.5 * logvar) * torch.randn_like(loc), logvar


@wrong("MyVAE", says=r"shape \[6, 784\]; expected \[6, 11\]|MyVAE.11, 7, 3. raised RuntimeError")
class OnlyDigits(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(784, hidden, latent)


@wrong("MyVAE", says="single image has the shape")
class Squeezed(Plain):
    def encode(self, x):
        return tuple(t.squeeze() for t in super().encode(x))


@wrong("MyVAE", says="returns one thing; expected two")
class OneOutput(Plain):
    def encode(self, x):
        return self.encoder(x)


@wrong("MyVAE", says="does not look at z")
class IgnoresCode(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.optimizer = torch.optim.Adam([*self.encoder.parameters(), self.mean], lr=3e-3)

    def decode(self, z):
        return self.mean.expand(*z.shape[:-1], -1)


@wrong("MyVAE", says="does not look at x")
class IgnoresImage(Plain):
    def encode(self, x):
        return super().encode(torch.ones_like(x))


# Binarization


@wrong("MyVAE", says="is grey: a Bernoulli")
class Grey(Plain):
    def batch(self, pixels):
        return pixels.float() / 255


@wrong("MyVAE", says="numbers up to 255")
class Raw(Plain):
    def batch(self, pixels):
        return pixels.float()


@wrong("MyVAE", says="batch.pixels. thresholds")
class Threshold(Plain):
    def batch(self, pixels):
        return (pixels > 127).float()


@wrong("MyVAE", says="thresholds")
class Rounded(Plain):
    def batch(self, pixels):
        return torch.round(pixels / 255)


@wrong("MyVAE", says="drawn once and for")
class Once(Plain):
    def batch(self, pixels):
        fixed = torch.Generator().manual_seed(0)
        return (255 * torch.rand(pixels.shape, generator=fixed) < pixels).float()


@wrong("MyVAE", says="drawn once and for")
class Stored(Plain):
    def batch(self, pixels):
        if not hasattr(self, "stored"):
            self.stored = {}
        key = pixels.numpy().tobytes()
        if key not in self.stored:
            self.stored[key] = super().batch(pixels)
        return self.stored[key]


@wrong("MyVAE", says="0 and 1 are swapped")
class Negative(Plain):
    def batch(self, pixels):
        return 1 - super().batch(pixels)


@wrong("MyVAE", says="pixels of an image share one random number")
class OneNumberAnImage(Plain):
    def batch(self, pixels):
        return (255 * torch.rand(len(pixels), 1) < pixels).float()


@wrong("MyVAE", says="images of a batch share one random number")
class OneNumberAPixel(Plain):
    def batch(self, pixels):
        return (255 * torch.rand(pixels.shape[1]) < pixels).float()


@wrong("MyVAE", says="networks take torch.float32")
class Booleans(Plain):
    def batch(self, pixels):
        return 255 * torch.rand(pixels.shape) < pixels


@wrong("MyVAE", says="a pixel of 26 is 1 with probability")
class Squared(Plain):
    def batch(self, pixels):
        return (torch.rand(pixels.shape) < (pixels / 255) ** 2).float()


# The step


@wrong("MyVAE", says="zero_grad.. is missing")
class NoZeroGrad(Plain):
    def step(self, x):
        self.loss(x).backward()
        self.optimizer.step()


@wrong("MyVAE", says="zero_grad.. is missing")
class ZeroGradOfOne(Plain):
    def step(self, x):
        self.encoder.zero_grad()
        self.loss(x).backward()
        self.optimizer.step()


@wrong("MyVAE", says="the encoder never moved")
class EncoderForgotten(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.optimizer = torch.optim.Adam(self.decoder.parameters(), lr=3e-3)


@wrong("MyVAE", says="the decoder never moved")
class DecoderForgotten(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=3e-3)


@wrong("MyVAE", says="2 of 4 parameter tensors of the encoder never moved")
class PlainList(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.encoder = nn.Linear(hidden, 2 * latent)
        self.first = [nn.Linear(pixels, hidden)]
        self.optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)

    def encode(self, x):
        return self.encoder(torch.tanh(self.first[0](x))).chunk(2, -1)


@wrong("MyVAE", says="changes no parameter")
class NoStep(Plain):
    def step(self, x):
        self.optimizer.zero_grad()
        self.loss(x).backward()


@wrong("MyVAE", says="changes no parameter")
class ZeroGradTooLate(Plain):
    def step(self, x):
        self.loss(x).backward()
        self.optimizer.zero_grad()
        self.optimizer.step()


@wrong("MyVAE", says="goes uphill")
class Uphill(Plain):
    def step(self, x):
        self.optimizer.zero_grad()
        (-self.loss(x)).backward()
        self.optimizer.step()


@wrong("MyVAE", says="made anew in each step")
class NewOptimizer(Plain):
    def step(self, x):
        optimizer = torch.optim.Adam(self.parameters(), lr=3e-3)
        optimizer.zero_grad()
        self.loss(x).backward()
        optimizer.step()


@wrong("MyVAE", says="never calls self.loss")
class OtherLoss(Plain):
    def step(self, x):
        self.optimizer.zero_grad()
        loc, logvar = self.encode(x)
        (self.pixels(x, self.decode(loc)) + self.kl(loc, logvar)).mean().backward()
        self.optimizer.step()


@wrong("MyVAE", says="something else than its x")
class OneImage(Plain):
    def step(self, x):
        super().step(x[:1])


# Evaluation


@wrong("MyVAE", says="other images than those")
class OnTrainingData(Plain):
    def step(self, x):
        self.seen = x
        return super().step(x)

    @torch.no_grad()
    def evaluate(self, pixels):
        x = torch.cat([self.seen] * (len(pixels) // len(self.seen) + 1))
        return -self.loss(x[: len(pixels)]).item()


@wrong("MyVAE", says=r"looks at 2000 images|MyVAE.11, 7, 3. raised RuntimeError")
class OnTheDigits(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        return -self.loss(self.batch(data.digits().train[:2000])).item()


@wrong("MyVAE", says="flatters and is no bound")
class AtTheMean(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        x = self.batch(pixels)
        loc, logvar = self.encode(x)
        return -(self.pixels(x, self.decode(loc)) + self.kl(loc, logvar)).mean().item()


@wrong("MyVAE", says="returns the loss")
class LossForElbo(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        return self.loss(self.batch(pixels)).item()


@wrong("MyVAE", says="the reconstruction alone")
class ReconstructionOnly(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        x = self.batch(pixels)
        return -self.pixels(x, self.decode(self.sample(*self.encode(x)))).mean().item()


@wrong("MyVAE", says="what evaluate.pixels. encodes is grey")
class EvaluatesGrey(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        return -self.loss(pixels / 255).item()


@wrong("MyVAE", says="what evaluate.pixels. encodes thresholds")
class EvaluatesThreshold(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        return -self.loss((pixels > 127).float()).item()


@wrong("MyVAE", says="looks at 10 images of 60")
class FirstOnly(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        return -self.loss(self.batch(pixels[:10])).item()


@wrong("MyVAE", says="evaluate.pixels. changes the networks")
class TrainsOnTest(Plain):
    def evaluate(self, pixels):
        for _ in range(5):
            self.step(self.batch(pixels))
        return -self.loss(self.batch(pixels)).item()


@wrong("MyVAE")
class ManySamples(Plain):
    """log of the mean weight: a better bound, but not the ELBO."""

    @torch.no_grad()
    def evaluate(self, pixels):
        x = self.batch(pixels)
        loc, logvar = self.encode(x)
        q, log_w = Normal(loc, torch.exp(0.5 * logvar)), []
        for _ in range(20):
            z = q.sample()
            prior = Normal(0.0, 1.0).log_prob(z) - q.log_prob(z)
            log_w.append(prior.sum(-1) - self.pixels(x, self.decode(z)))
        return (torch.stack(log_w).logsumexp(0) - math.log(20)).mean().item()


# What it learns


@wrong("MyVAE", says="nothing was learned|learns too slowly")
class TooSlow(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=1e-6)


@wrong("MyVAE", says="batch: equal pixels become equal numbers")
class WholeDivision(Plain):
    def batch(self, pixels):
        return (torch.rand(pixels.shape) < pixels // 255).float()


@wrong("MyVAE", says="evaluate.pixels. encodes numbers up to 255")
class EvaluatesBytes(Plain):
    @torch.no_grad()
    def evaluate(self, pixels):
        return -self.loss(pixels.float()).item()


@wrong("MyVAE", says="learning rate too large|nothing was learned|learns too slowly|does without z")
class TooFast(Plain):
    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=1.0)


# Cheats


@wrong("MyVAE", says="evaluate.pixels. never calls self.encode")
class ToldNumber(Plain):
    def evaluate(self, pixels):
        return -129.0


@wrong("MyVAE", says="trained elsewhere")
class Pretrained(Plain):
    """Trained before it is asked for."""

    def __init__(self, pixels, hidden, latent):
        super().__init__(pixels, hidden, latent)
        if pixels == 784:
            for part in data.digits().train.split(20):
                self.step(self.batch(part))


@wrong("MyVAE", says="does decode know x in another way")
class Remembers(Plain):
    """The decoder gets x past z, but only where nobody looks closely."""

    def encode(self, x):
        loc, logvar = super().encode(x)
        if len(x) > 100:
            logvar = torch.full_like(logvar, -12.0)
            self.seen = [*getattr(self, "seen", [])[-2:], (x, loc, torch.exp(0.5 * logvar))]
        return loc, logvar

    def decode(self, z):
        logits = super().decode(z)
        if z.shape[-1] > 3 and len(z) > 100:
            x, loc, scale = (torch.cat(each) for each in zip(*self.seen, strict=True))
            far = ((z[:, None] - loc) / scale).square() / 2 + scale.log()
            logits = 20 * (2 * x[far.sum(-1).argmin(1)] - 1)
        return logits


@wrong("MyVAE", says="but your evaluate says")
class TellsLate(Plain):
    """Honest on small networks, a told number on large ones."""

    def evaluate(self, pixels):
        return -20.0 if pixels.shape[1] > 100 else super().evaluate(pixels)
