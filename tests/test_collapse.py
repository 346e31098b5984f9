"""collapse: free bits against sums by hand, and the cause of a dead code that was built in."""

import copy
import math

import numpy as np
import oracles
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelib import nets, recipe
from vaelib.collapse import FreeBits, Symptoms, cause, free_bits, kl_of_units, symptoms
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Gaussian
from vaelib.posterior import Posterior
from vaelib.prior import Mixture
from vaelib.vae import VAE

D = torch.float64


def normals(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=D)


# ---- free bits ----


def kl_on_a_line(loc, scale, loc_p, scale_p):
    """KL of two normals as a sum over 200,001 places."""
    z = np.linspace(loc - 12 * scale, loc + 12 * scale, 200_001)
    log_q = oracles.normal_log_density(z[:, None], loc, scale)
    log_p = oracles.normal_log_density(z[:, None], loc_p, scale_p)
    return float((np.exp(log_q) * (log_q - log_p)).sum() * (z[1] - z[0]))


def test_the_kl_of_each_unit_is_that_of_a_sum_over_its_line(generator):
    loc, logvar = normals(generator, 3, 2), normals(generator, 3, 2)
    prior = DiagonalNormal(normals(generator, 2), normals(generator, 2))
    found = kl_of_units(DiagonalNormal(loc, logvar), prior)
    assert found.shape == (3, 2)
    for n in range(3):
        for j in range(2):
            expected = kl_on_a_line(
                loc[n, j].item(),
                math.exp(0.5 * logvar[n, j].item()),
                prior.loc[j].item(),
                math.exp(0.5 * prior.logvar[j].item()),
            )
            assert found[n, j].item() == pytest.approx(expected, abs=1e-9)


def free_by_hand(kl, floor):
    """Column by column, in plain Python."""
    total = 0.0
    for unit in zip(*kl.tolist(), strict=True):
        mean = sum(unit) / len(unit)
        total += floor if mean < floor else mean
    return total


@pytest.mark.parametrize("floor", [0.0, 0.25, 1.0, 50.0])
def test_free_bits_are_those_by_hand(generator, floor):
    kl = normals(generator, 6, 5).square() * torch.tensor([0.01, 0.1, 1.0, 3.0, 9.0], dtype=D)
    assert free_bits(kl, floor).item() == pytest.approx(free_by_hand(kl, floor), abs=1e-12)


def test_below_the_floor_nothing_pushes_and_above_it_the_price_is_the_usual_one():
    """Not datum by datum: a unit is paid for, or free, by its mean."""
    kl = torch.tensor([[0.0, 0.3], [0.2, 3.0]], dtype=D, requires_grad=True)
    free_bits(kl, 0.5).backward()
    assert kl.grad.tolist() == [[0.0, 0.5], [0.0, 0.5]]


def test_a_floor_below_nothing_is_refused():
    with pytest.raises(ValueError, match="floor"):
        free_bits(torch.ones(2, 2), -0.1)
    with pytest.raises(ValueError, match="floor"):
        small(FreeBits, floor=-1.0)


def small(kind=VAE, **options):
    torch.manual_seed(3)
    model = kind(
        nets.MLPEncoder(6, 3, hidden=(8,)), nets.MLPDecoder(3, 6, hidden=(8,)), **options
    ).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2).add_(0.1)
    return model


@pytest.fixture
def x(generator):
    return torch.randint(2, (5, 6), generator=generator).double()


@pytest.fixture
def eps(generator):
    return normals(generator, 5, 3)


@pytest.mark.parametrize("warmth", [1.0, 0.3])
@pytest.mark.parametrize("beta", [1.0, 2.5])
@pytest.mark.parametrize("floor", [0.0, 0.4, 2.0])
def test_the_loss_is_that_by_hand(x, eps, floor, beta, warmth):
    model = small(FreeBits, floor=floor, beta=beta)
    model.warm_up(warmth)
    with torch.no_grad():
        loc, logvar = (t.numpy() for t in model.encoder(x))
        z = torch.from_numpy(loc + np.exp(0.5 * logvar) * eps.numpy())
        first = oracles.bernoulli_log_likelihood(x, model.decoder(z))
        kl = 0.5 * (loc**2 + np.exp(logvar) - 1 - logvar)
        found = model(x, eps).item()
    free = free_by_hand(kl, floor)
    assert found == pytest.approx(
        beta * warmth * free - float(np.mean(np.asarray(first))), abs=1e-9
    )


def test_without_a_floor_it_is_a_vae_and_only_the_loss_is_another(x, eps):
    plain, free, floored = small(), small(FreeBits, floor=0.0), small(FreeBits, floor=2.0)
    torch.testing.assert_close(free(x, eps), plain(x, eps))
    assert floored(x, eps) > plain(x, eps)
    torch.testing.assert_close(floored.elbo(x, eps), plain.elbo(x, eps))


def test_a_dead_unit_gets_no_gradient_from_its_kl_and_a_living_one_does(x, eps):
    """The gradient of the loss, minus that of its first term, in the encoder's logvar."""
    model = small(FreeBits, floor=0.0)
    with torch.no_grad():
        kl = kl_of_units(model.encode(x), model.prior).mean(0)
    floor = kl.sort().values[1].item() + 1e-6  # two of three are below
    model.floor = floor
    raw = tuple(t.detach().requires_grad_() for t in model.raw(x))
    model.raw = lambda *_: raw
    model(x, eps).backward()
    loss_gradient = raw[1].grad.clone()
    raw[1].grad = None
    (-model.terms(x, eps).log_likelihood.mean()).backward()
    from_kl = (loss_gradient - raw[1].grad).abs().sum(0)
    assert (from_kl > 1e-6).tolist() == (kl > floor).tolist()


class NotSplit(Posterior):
    """A normal that torch describes by its covariance, so that its units are not apart."""

    def forward(self, loc, logvar):
        return MultivariateNormal(loc, scale_tril=torch.diag_embed(torch.exp(0.5 * logvar)))


def test_only_a_kl_that_is_a_sum_over_units_has_free_bits(x):
    with pytest.raises(ValueError, match="DiagonalNormal"):
        FreeBits(
            nets.MLPEncoder(6, 3), nets.MLPDecoder(3, 6), floor=0.1, prior=Mixture(3, components=2)
        )
    full = FreeBits(nets.MLPEncoder(6, 3), nets.MLPDecoder(3, 6), floor=0.1, posterior=NotSplit())
    with pytest.raises(ValueError, match="DiagonalNormal"):
        full(x.float())


def test_it_is_made_again_from_its_description():
    model = FreeBits(nets.MLPEncoder(6, 3), nets.MLPDecoder(3, 6), floor=0.75)
    assert recipe.build(recipe.describe(model)).floor == 0.75


# ---- symptoms and cause ----

HEALTHY = Symptoms(20.0, 0.0, 1.0, 1.0, 100.0, math.inf)
DEAD = HEALTHY._replace(kl=0.01, above_alone=0.0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (HEALTHY, "none"),
        (HEALTHY._replace(loss_error=3.0), "none"),
        (DEAD._replace(loss_error=3.0, pictures_differ=0.0, encoder_hears=0.0), "reduction"),
        (DEAD._replace(pictures_differ=0.0, encoder_hears=0.0), "start"),
        (DEAD._replace(encoder_hears=0.0, above_alone=9.0), "detached"),
        (DEAD._replace(above_alone=9.0, signal=0.5), "no need"),
        (DEAD._replace(signal=0.5), "noise"),
        (DEAD._replace(signal=1.5), "training"),
        (DEAD, "training"),
    ],
)
def test_the_first_yes_decides(found, expected):
    assert cause(found) == expected


def collapsed(start):
    """A trained model as it would have ended: the KL is 0."""
    model = copy.deepcopy(start)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.zero_()
    return model


class Detached(VAE):
    def decode(self, z, c=None):
        return super().decode(z.detach())


def started(kind=VAE, *, bias=0.0, **options):
    torch.manual_seed(5)
    decoder = nets.MLPDecoder(3, 6, hidden=(8,), activation=nn.ReLU)
    with torch.no_grad():
        decoder[0].bias.add_(bias)
    return kind(nets.MLPEncoder(6, 3, hidden=(8,)), decoder, **options).double()


def alone(x, model):
    """What the collapsed model gives, so that it is no better than pixels on their own."""
    with torch.no_grad():
        return model.terms(x, torch.zeros(len(x), 3, dtype=D)).elbo.mean().item()


@pytest.mark.parametrize(
    ("start", "better", "variance", "expected"),
    [
        (lambda: started(beta=30.0), 0.0, None, "reduction"),
        (lambda: started(FreeBits, floor=5.0), 0.0, None, "reduction"),
        (lambda: started(bias=-50.0), 0.0, None, "start"),
        (lambda: started(Detached), 0.0, None, "detached"),
        (started, 9.0, None, "no need"),
        (lambda: started(likelihood=Gaussian(math.log(4.0), learned=False)), 0.0, 4.0, "noise"),
        (
            lambda: started(likelihood=Gaussian(math.log(0.01), learned=False)),
            0.0,
            0.01,
            "training",
        ),
    ],
    ids=["reduction", "free bits", "start", "detached", "no need", "noise", "training"],
)
def test_what_was_built_in_is_named(x, start, better, variance, expected):
    before = start()
    model = collapsed(before)
    found = symptoms(
        model,
        before,
        x,
        alone=alone(x, model) - better,
        variance=variance,
        generator=torch.Generator().manual_seed(0),
    )
    assert found.kl == 0
    assert cause(found) == expected


def test_nothing_is_changed_by_looking(x):
    before = started()
    model = collapsed(before)
    kept = [copy.deepcopy(m.state_dict()) for m in (model, before)]
    symptoms(model, before, x, alone=-1.0)
    for old, m in zip(kept, (model, before), strict=True):
        for name, tensor in m.state_dict().items():
            assert torch.equal(tensor, old[name])
        assert all(weight.grad is None for weight in m.parameters())


def test_a_loss_that_is_handed_over_is_the_one_that_is_judged(x):
    """Pixels and units averaged, as reduction="mean" does; the model's own loss is right."""
    before = started()
    model = collapsed(before)

    def two_means(vae, x, eps):
        first, second = vae.terms(x, eps)
        return (second / 3 - first / 6).mean()

    judged = {
        name: symptoms(model, before, x, alone=alone(x, model), loss=loss)
        for name, loss in (("own", None), ("two means", two_means))
    }
    assert judged["own"].loss_error < 1e-9
    assert cause(judged["two means"]) == "reduction"


def test_the_signal_is_the_widest_direction_over_the_noise(x):
    before = started(likelihood=Gaussian(math.log(0.5), learned=False))
    found = symptoms(before, before, x, alone=0.0, variance=0.5)
    singular = np.linalg.svd(x.numpy() - x.numpy().mean(0), compute_uv=False)
    assert found.signal == pytest.approx(singular[0] ** 2 / len(x) / 0.5, rel=1e-9)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive variance"):
            symptoms(before, before, x, alone=0.0, variance=bad)


def test_the_gradient_that_the_encoder_hears_is_that_of_the_pixels_alone(x):
    """By central differences of the mean log-likelihood, along the gradient's own direction."""
    before = started()
    generator = torch.Generator().manual_seed(4)
    found = symptoms(before, before, x, alone=0.0, generator=generator)
    eps = before.noise(len(x), generator=torch.Generator().manual_seed(4))

    def first(vae):
        return vae.terms(x, eps).log_likelihood.mean()

    weights = list(before.encoder.parameters())
    slopes = torch.autograd.grad(first(before), weights)
    length = math.sqrt(sum(g.square().sum().item() for g in slopes))
    step = 1e-6
    values = []
    for sign in (1, -1):
        moved = copy.deepcopy(before)
        with torch.no_grad():
            for w, g in zip(moved.encoder.parameters(), slopes, strict=True):
                w.add_(sign * step * g / length)
            values.append(first(moved).item())
    assert found.encoder_hears == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-5)
