"""likelihood, Missing: only what is seen counts, in value and gradient; and what all have."""

import itertools
import math

import pytest
import torch
from torch.distributions import MultivariateNormal, constraints

from vaelib import likelihood, nets
from vaelib.likelihood import (
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    Gaussian,
    Likelihood,
    Logistics,
    Missing,
    NegativeBinomial,
    Poisson,
    StudentT,
)
from vaelib.recipe import build, describe
from vaelib.vae import VAE, check_model

D, PIXELS = torch.float64, 6
FAMILIES = {
    "bernoulli": Bernoulli,
    "continuous": ContinuousBernoulli,
    "categorical": lambda: Categorical(4),
    "logistics": lambda: Logistics(3),
    "colours": lambda: Logistics(2, channels=3),
    "gaussian": lambda: Gaussian(-1.0),
    "gaussian, a picture": lambda: Gaussian(-1.0, features=1),
    "gaussian, a table": lambda: Gaussian(-1.0, features=PIXELS),
    "student": StudentT,
    "student, a table": lambda: StudentT(df=2.5, features=PIXELS),
    "poisson": Poisson,
    "poisson, a table": lambda: Poisson(PIXELS),
    "negative binomial": NegativeBinomial,
    "negative binomial, a table": lambda: NegativeBinomial(3.0, features=PIXELS),
}
every = pytest.mark.parametrize("name", FAMILIES)


def measured(name, generator):
    """One that has its units from columns of many magnitudes."""
    made = FAMILIES[name]()
    if hasattr(made, "measured"):
        columns = torch.tensor([1.0, 10.0, 1000.0, 3.0, 200.0, 1e5])
        made.measure((columns * torch.rand(40, PIXELS, generator=generator)).round())
        assert made.measured
    return made


def vae(made):
    torch.manual_seed(3)
    return VAE(
        nets.MLPEncoder(made.inputs(PIXELS), 2, hidden=(8,)),
        nets.MLPDecoder(2, PIXELS, levels=made.per_pixel, hidden=(8,)),
        likelihood=made,
    )


def test_each_likelihood_stands_here():
    ours = {getattr(likelihood, name) for name in likelihood.__all__} - {Likelihood, Missing}
    assert {type(make()) for make in FAMILIES.values()} == ours


@every
def test_each_passes_check_model_alone_and_with_holes(name, generator):
    """Its density is that of its samples; its example data are of its support."""
    made = measured(name, generator)
    check_model(vae(made))
    check_model(vae(Missing(made)))


@every
def test_values_sum_to_log_p_and_pairs_to_each(name, generator):
    made = measured(name, generator).double()
    x = made.example(4, PIXELS, generator=generator).double()
    raw = torch.randn(5, PIXELS * made.per_pixel, generator=generator, dtype=D)
    pairs = made.log_prob_pairs(x, raw)
    for (i, row), (j, numbers) in itertools.product(enumerate(x), enumerate(raw)):
        one = made(numbers).log_prob(row)
        torch.testing.assert_close(made.elementwise(row, numbers).sum(), one)
        torch.testing.assert_close(pairs[i, j], one)
    assert made.sample(raw, generator).shape == (5, PIXELS)
    assert made(raw).sample((2,)).shape == (2, 5, PIXELS)
    assert made(raw).mean.shape == (5, PIXELS)


@every
def test_only_what_is_seen_counts_in_value_and_gradient(name, generator):
    """A value behind NaN is as if it were not: log p of the rest, and no gradient, never NaN."""
    made = measured(name, generator).double()
    holed, x = Missing(made), made.example(3, PIXELS, generator=generator).double()
    seen = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
    seen = made.readable(seen)
    given = torch.where(seen, x, torch.nan)
    assert holed.support.check(given).all()
    raw = torch.randn(3, PIXELS * made.per_pixel, generator=generator, dtype=D, requires_grad=True)
    log_p = holed(raw).log_prob(given)
    expected = (made.elementwise(x, raw) * seen).sum(-1)
    torch.testing.assert_close(log_p, expected)
    assert log_p[2] == 0
    torch.testing.assert_close(holed.elementwise(given, raw).sum(-1), log_p)
    torch.testing.assert_close(holed.log_prob_pairs(given, raw).diagonal(), log_p)
    (slope,) = torch.autograd.grad(log_p.sum(), raw)
    assert slope.isfinite().all()
    by_value = slope.view(3, PIXELS, -1).abs().sum(-1)
    assert (by_value[~seen] == 0).all()
    assert by_value[1][seen[1]].min() > 0
    bits = holed.bits(log_p, given)
    torch.testing.assert_close(bits[1], -log_p[1] / math.log(2) / seen[1].sum())


@every
def test_a_model_of_data_with_holes_has_finite_gradients(name, generator):
    """And its encoder cannot tell what stands behind a hole, but that there is one."""
    made = Missing(measured(name, generator))
    model = vae(made)
    x = made.example(20, PIXELS, generator=generator)
    assert x.isnan().any()
    model(x, model.noise(20, generator=generator)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    given = made.features(x)
    assert given.shape == (20, 2 * PIXELS)
    assert (given[:, PIXELS:] == ~x.isnan()).all()
    assert (given[:, :PIXELS][x.isnan()] == 0).all()
    again = build(describe(model))
    again.load_state_dict(model.state_dict())
    assert repr(again) == repr(model)
    eps = model.noise(20, generator=generator)
    assert torch.equal(again(x, eps), model(x, eps))


def test_the_evidence_of_what_is_seen_is_that_of_the_marginal(generator):
    """One z of a linear Gaussian: ∫ N(z) Π_seen N(x_j | w_j z) dz, by the joint normal."""
    made, w = Missing(Gaussian(-1.0)).double(), torch.tensor([1.0, -2.0, 0.5], dtype=D)
    x = torch.tensor([[0.3, torch.nan, -0.7]], dtype=D)
    z = torch.linspace(-12, 12, 4001, dtype=D)
    log_p = made.log_prob_pairs(x, z[:, None] * w)[0] - 0.5 * (z**2 + math.log(2 * math.pi))
    evidence = torch.logsumexp(log_p, 0) + math.log(24 / 4000)
    # Of float32's logvar, as it is kept.
    variance = made.likelihood.logvar.exp()
    covariance = torch.outer(w, w) + variance * torch.eye(3, dtype=D)
    keep = [0, 2]
    exact = MultivariateNormal(torch.zeros(2, dtype=D), covariance[keep][:, keep])
    assert evidence.item() == pytest.approx(exact.log_prob(x[0, keep]).item(), abs=1e-9)


def test_a_channel_behind_a_missing_one_cannot_be_told():
    """x_green's probability needs x_red; red alone needs nobody."""
    made = Missing(Logistics(2, channels=3))
    x = torch.tensor([[0.2, torch.nan, torch.nan], [torch.nan, 0.2, 0.2]])
    fits = made.support.check(x)
    assert fits.tolist() == [[True, True, True], [True, False, False]]
    with pytest.raises(ValueError, match="a density to"):
        vae(made).double().require_data(x.repeat(1, 2).double())


def test_it_prepares_what_is_seen(generator):
    rows = torch.tensor([[0.0, torch.nan, 1.0]])
    for made in (Bernoulli(), Gaussian(), Poisson()):
        x = Missing(made).prepare(rows, generator=generator)
        torch.testing.assert_close(x, rows, equal_nan=True)
    assert not Missing(Gaussian()).support.check(torch.tensor([torch.inf])).any()
    pixels = torch.tensor([[0, 51]], dtype=torch.uint8)
    assert torch.equal(Missing(Gaussian()).prepare(pixels), pixels / 255)
    measuring = Missing(Gaussian(features=3))
    assert not measuring.measured
    measuring.measure(torch.tensor([[1.0, torch.nan, 2.0], [3.0, 5.0, 3.0], [3.0, 6.0, 3.0]]))
    assert measuring.measured
    assert measuring.likelihood.shift[1] == 5.5


def test_what_has_no_log_probability_of_a_value_is_refused():
    class Dependent(Likelihood):
        support, remedy = constraints.real, "real numbers"

        def forward(self, raw):
            return MultivariateNormal(raw, torch.eye(raw.shape[-1]))

    with pytest.raises(TypeError, match=r"no log-probability for each value; return Independent"):
        Missing(Dependent())(torch.zeros(2)).log_prob(torch.zeros(2))
    with pytest.raises(TypeError, match=r"Missing: expected a likelihood .*got Missing"):
        Missing(Missing(Gaussian()))


def test_numbers_and_whole_numbers_are_prepared_for_bits(generator):
    """Numbers in [0, 1] are drawn with that probability, 0 and 1 are themselves."""
    p = torch.tensor([0.0, 0.25, 1.0]).expand(40_000, 3)
    x = Bernoulli().prepare(p, generator=generator)
    assert x[:, 0].sum() == 0
    assert x[:, 2].mean() == 1
    assert abs(x[:, 1].mean().item() - 0.25) < 4.5 * math.sqrt(0.25 * 0.75 / 40_000)
    assert Bernoulli().prepare(torch.tensor([[0, 1]])).tolist() == [[0.0, 1.0]]
    for bad in (1.5, -0.1, math.nan):
        with pytest.raises(ValueError, match=r"numbers in \[0, 1\].*--likelihood gaussian"):
            Bernoulli().prepare(torch.tensor([[bad]]))
    assert ContinuousBernoulli().prepare(torch.tensor([[0.5]], dtype=D)).dtype == torch.float32
    with pytest.raises(TypeError, match=r"Categorical: expected pixels, got counts .*poisson"):
        Categorical().prepare(torch.tensor([[3]]))
    with pytest.raises(ValueError, match="at least one row"):
        Gaussian().prepare(torch.zeros(0, 3))
    torch.testing.assert_close(Gaussian().undo(torch.tensor([1.5])), torch.tensor([1.5]))
