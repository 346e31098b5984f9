"""likelihood, Gaussian and StudentT of features: units, floors, exact densities, samples."""

import itertools
import math

import numpy as np
import oracles
import pytest
import torch
from scipy import stats

from vaelib.data import Columns, Pictures
from vaelib.likelihood import Gaussian, Missing, StudentT
from vaelib.likelihood.measured import moments
from vaelib.real import MeasuredNormal, MeasuredStudentT

D = torch.float64
precisions = pytest.mark.parametrize("dtype", [torch.float32, D], ids=str)
each = pytest.mark.parametrize("family", [Gaussian, StudentT])


def table(generator, n=500):
    """Four columns in units of their own: a million metres and a thousandth of one among them."""
    return torch.tensor([1e6, -3.0, 0.0, 1e-3]) + torch.tensor(
        [10.0, 0.5, 1e4, 1e-5]
    ) * torch.randn(n, 4, generator=generator)


@each
@pytest.mark.parametrize("logvar", [-40.0, -13.8, -2.0, 3.0])
@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e5])
def test_a_density_integrates_to_one_at_any_scale_and_at_the_floor(family, logvar, factor):
    """By 400 nodes of Gauss and Legendre in θ, u = tan θ counting in scales: to both infinities.

    The smallest scale is the floor, a thousandth of the factor.
    """
    made = family(logvar, features=1).double()
    made.shift.fill_(-7.0 * factor)
    made.factor.fill_(factor)
    scale = factor * math.sqrt(math.exp(logvar) + 1e-6)
    node, weight = (torch.as_tensor(v) for v in np.polynomial.legendre.leggauss(400))
    u = torch.tan(0.5 * math.pi * node)
    x = made.shift + 0.4 * made.factor + scale * u
    density = made(torch.full((400, 1), 0.4, dtype=D)).log_prob(x[:, None]).exp()
    mass = (weight * 0.5 * math.pi * (1 + u.square()) * scale * density).sum().item()
    # factor is float32's, 3e-8 beside that of the scale here.
    assert mass == pytest.approx(1, abs=1e-7)


@precisions
def test_a_normal_of_features_equals_scipys_in_its_own_units(dtype, generator):
    """log p of x = 10⁶ ± 10 in float32 errs by what x, shift and factor are rounded by: none here.

    Sums of 4 values; in (x - shift) / factor there are two roundings, whose effect on log p is
    |u| times that of u.
    """
    x = table(generator).to(dtype)
    made = Gaussian(-1.0, features=4).to(dtype)
    made.measure(x)
    raw = 0.3 * torch.randn(500, 4, generator=generator).to(dtype)
    units = made.shift.double().numpy(), made.factor.double().numpy()
    logvar = math.log(math.exp(-1.0) + 1e-6)
    exact = oracles.normal_of_units(x.double().numpy(), raw.double().numpy(), logvar, *units)
    found = made.elementwise(x, raw).detach().double().numpy()
    y = (x.double().numpy() - units[0]) / units[1]
    off = np.abs(y - raw.double().numpy()) * math.exp(0.5)
    eps = torch.finfo(dtype).eps
    close = eps * (8 + 4 * np.abs(exact) + 4 * off * (np.abs(y) + off + 1))
    # scipy's own: shift + factor · raw is rounded in double precision.
    close += 4 * np.finfo(float).eps * off * np.abs(units[0]) / units[1] * math.exp(0.5)
    assert (np.abs(found - exact) < close).all()
    np.testing.assert_allclose(
        made(raw).log_prob(x).detach(), exact.sum(-1), rtol=20 * eps, atol=close.sum(-1).max()
    )
    pairs = made.log_prob_pairs(x[:5], raw[:7])
    each_one = torch.stack([made(raw[:7]).log_prob(row) for row in x[:5]])
    torch.testing.assert_close(pairs, each_one, rtol=40 * eps, atol=close.sum(-1).max())


@precisions
def test_students_t_is_exact_in_value_and_slopes(dtype):
    """From Cauchy's tails to a normal's, at its centre and 10¹⁸ scales away, against 60 digits."""
    cases = list(
        itertools.product(
            [0.0, 1e-8, 0.5, 3.0, 999.0, 1001.0, 1e6, 1e18, 1e25],
            [1e-2, 0.5, 1.0, 2.0, 5.0, 30.0, 1e3, 1e6, 1e12],
        )
    )
    u, df = torch.tensor(cases, dtype=dtype).unbind(1)
    loc, logvar = (torch.zeros(len(u), dtype=dtype, requires_grad=True) for _ in range(2))
    df.requires_grad_()
    p = MeasuredStudentT(loc, logvar, torch.zeros(()).to(u), torch.ones(()).to(u), df=df)
    value = p.log_prob(u)
    by_loc, by_logvar, by_df = (
        g.double().numpy() for g in torch.autograd.grad(value.sum(), (loc, logvar, df))
    )
    exact = np.array([oracles.student_t(*c) for c in zip(u, df.detach(), strict=True)])
    eps, nu = torch.finfo(dtype).eps, df.detach().double().numpy()
    log_p, slope, tail = exact.T
    np.testing.assert_allclose(value.detach().double(), log_p, rtol=40 * eps, atol=4 * eps)
    np.testing.assert_allclose(by_loc, -slope, rtol=8 * eps, atol=1e-30)
    other = -0.5 - 0.5 * slope * u.double().numpy()
    np.testing.assert_allclose(by_logvar, other, rtol=8 * eps, atol=8 * eps)
    # The slope in log df; in df itself its terms are as large as log p / df.
    close = 16 * eps * (1 + np.abs(log_p))
    assert (np.abs(by_df - tail) * nu < close).all()


@each
def test_all_parameters_have_their_gradient(family, generator):
    """Of the floor, too, near which it is small: by central differences of the oracles."""
    x = torch.randn(6, 3, generator=generator, dtype=D)
    raw = torch.randn(6, 3, generator=generator, dtype=D)
    made = family(features=3, floor=0.2).double()
    made.logvar.data = torch.tensor([-6.0, -1.0, 0.5], dtype=D)
    made.shift.copy_(torch.tensor([1.0, 0.0, -2.0]))
    made.factor.copy_(torch.tensor([0.5, 1.0, 4.0]))
    made(raw).log_prob(x).sum().backward()

    def total(logvar, tail):
        scale = made.factor.numpy() * np.sqrt(np.exp(logvar) + 0.04)
        loc = made.shift.numpy() + made.factor.numpy() * raw.numpy()
        if family is Gaussian:
            return stats.norm.logpdf(x.numpy(), loc, scale).sum()
        return stats.t.logpdf(x.numpy(), 1 + np.exp(tail), loc, scale).sum()

    logvar = made.logvar.detach()
    tail = made.tail.detach().numpy() if family is StudentT else None
    expected = oracles.gradient(lambda v: np.array(total(np.asarray(v), tail)), logvar)
    np.testing.assert_allclose(made.logvar.grad, expected, rtol=1e-6, atol=1e-7)
    assert made.logvar.grad.abs().min() > 0
    if family is StudentT:
        expected = oracles.gradient(lambda v: np.array(total(logvar.numpy(), np.asarray(v))), tail)
        np.testing.assert_allclose(made.tail.grad, expected, rtol=1e-5, atol=1e-7)
    assert not any(p.requires_grad for p in family(learned=False, features=3).parameters())


@each
def test_metres_in_millimetres_cost_the_log_of_1000_a_column(family, generator):
    """And nothing else: each measured in its unit, a datum has the same features, and log p."""
    metres = table(generator).double()
    raw = torch.randn(500, 4, generator=generator, dtype=D)
    scores, features = [], []
    for rows in (metres, 1000 * metres):
        made = family(-1.0, features=4).double()
        made.measure(rows)
        scores.append(made(raw).log_prob(rows))
        features.append(made.features(rows))
    torch.testing.assert_close(*features, rtol=1e-9, atol=1e-9)
    expected = torch.full((500,), 4 * math.log(1000), dtype=D)
    torch.testing.assert_close(scores[0] - scores[1], expected, rtol=0, atol=1e-6)


@each
def test_samples_have_the_distribution_of_the_density(family, generator):
    """Distribution functions against scipy's, by Dvoretzky, Kiefer, Wolfowitz and Massart."""
    made = family(-1.0, features=2)
    made.shift.copy_(torch.tensor([100.0, 0.0]))
    made.factor.copy_(torch.tensor([5.0, 1e-3]))
    n, raw = 50_000, torch.tensor([0.5, -1.0])
    drawn = made.sample(raw.expand(n, -1), generator).detach().double().numpy()
    seen = made(raw.expand(n, -1)).sample().double().numpy()
    scale = made.factor.numpy() * math.sqrt(math.exp(-1) + 1e-6)
    loc = made.shift.numpy() + made.factor.numpy() * raw.numpy()
    theirs = stats.norm(loc, scale) if family is Gaussian else stats.t(5.0, loc, scale)
    t = math.sqrt(math.log(2e6) / (2 * n))
    for x in (drawn, seen):
        steps = np.arange(1, n + 1)[:, None] / n
        assert np.abs(theirs.cdf(np.sort(x, 0)) - steps).max() < t
    p = made(raw)
    np.testing.assert_allclose(p.mean.detach(), loc, rtol=1e-5)
    np.testing.assert_allclose(p.variance.detach(), theirs.var(), rtol=1e-5)


def test_a_floor_that_is_reached_is_named(generator):
    """A column that is twice another: its learned scale falls until the floor holds it."""
    made = Gaussian.for_layout(Columns(("a", "twice a")), "numbers")
    x = torch.randn(200, 1, generator=generator)
    x = torch.cat((x, 2 * x), 1)
    made.measure(x)
    assert made.notes() == []
    raw = made.features(x) + torch.tensor([0.3, 0.0]) * torch.randn(200, 2, generator=generator)
    adam = torch.optim.Adam(made.parameters(), lr=0.5)
    for _ in range(200):
        adam.zero_grad()
        (-made(raw).log_prob(x).mean()).backward()
        adam.step()
    (note,) = made.notes()
    assert "the scale of twice a has come down to the floor, 0.001 of its deviation" in note
    assert made.logvar[0].exp().sqrt().item() == pytest.approx(0.3, rel=0.2)
    # Its density is that of the floor, and no more.
    top = made.elementwise(made.shift[None], torch.zeros(1, 2))[0, 1].item()
    assert top < -0.5 * math.log(2 * math.pi) - math.log(1e-3 * made.factor[1].item()) + 1e-4
    assert "column 1 (from 0)" in _unnamed(made).notes()[0]
    assert Missing(made).notes() == [note]


def _unnamed(made):
    same = Gaussian(features=2)
    same.load_state_dict(made.state_dict())
    return same


def test_moments_are_numpys_without_what_is_missing(generator, monkeypatch):
    """In parts of 7 values, of tensors, arrays, memory-mapped files, pixels and batches."""
    monkeypatch.setattr("vaelib.likelihood.measured._AT_ONCE", 7)
    rows = table(generator, 23)
    rows[torch.rand(23, 4, generator=generator) < 0.3] = torch.nan
    exact = rows.double().numpy()
    batches = [rows[:5], (rows[5:20], torch.zeros(15)), rows[20:]]
    for given in (rows, rows.numpy(), batches):
        found = moments(given, 4)
        np.testing.assert_allclose(found.mean, np.nanmean(exact, 0), rtol=1e-12)
        np.testing.assert_allclose(found.deviation, np.nanstd(exact, 0), rtol=1e-9)
        np.testing.assert_allclose(found.low, np.nanmin(exact, 0))
        np.testing.assert_allclose(found.high, np.nanmax(exact, 0))
        np.testing.assert_array_equal(found.seen, (~np.isnan(exact)).sum(0))
    one = moments(rows, 1)
    assert one.mean.item() == pytest.approx(np.nanmean(exact))
    assert one.deviation.item() == pytest.approx(np.nanstd(exact))
    pixels = torch.randint(256, (23, 4), generator=generator).to(torch.uint8)
    assert moments(pixels, 1).mean.item() == pytest.approx(pixels.double().mean().item() / 255)


def test_a_column_that_says_nothing_is_named_and_keeps_its_unit():
    made = StudentT.for_layout(Columns(("a", "b", "c")), "numbers")
    rows = torch.tensor([[0.1, 5.0, math.nan], [0.3, 5.0, math.nan]])
    with pytest.warns(UserWarning, match="b, c of the rows to train on is constant or missing"):
        made.measure(rows)
    np.testing.assert_allclose(made.shift, [0.2, 5.0, 0.0], rtol=1e-6)
    np.testing.assert_allclose(made.factor, [0.1, 1.0, 1.0], rtol=1e-6)


def test_each_layout_has_its_scales():
    """Pixels: as ever, σ in their unit. Other pictures: one scale, its unit from the data."""
    assert Gaussian.for_layout(Pictures(2, 2)).state_dict().keys() == {"logvar"}
    assert Gaussian.for_layout(Pictures(2, 2)).logvar.item() == -2.0
    assert Gaussian.for_layout(Pictures(2, 2), "numbers").shift.shape == (1,)
    assert StudentT.for_layout(Pictures(2, 2)).size == 1
    columns = Gaussian.for_layout(Columns(("a", "b")))
    assert columns.state_dict().keys() == {"logvar", "shift", "factor", "measured"}
    assert columns.logvar.shape == (2,)
    assert columns.prepare(torch.tensor([[1, 2]], dtype=torch.int16)).dtype == torch.float32
    assert repr(Gaussian(-2.0)) == "Gaussian()"
    assert repr(columns) == "Gaussian(features=2, floor=0.001)"


def test_bad_arguments_are_refused():
    for bad in ({"floor": 0.0}, {"floor": -1.0}, {"features": 0}, {"logvar": math.nan}):
        with pytest.raises(ValueError, match="Gaussian: expected"):
            Gaussian(**bad)
    with pytest.raises(ValueError, match="df above 1, got 1"):
        StudentT(df=1.0)
    with pytest.raises(ValueError, match="3 features, got 2; make it with features=2"):
        Gaussian(features=3)(torch.zeros(2))


def test_a_million_and_one_keeps_its_digits_in_single_precision():
    """Where shift + factor · raw were formed, float32 would round to a sixteenth: 0.06 scales."""
    one = torch.ones(())
    p = MeasuredNormal(0.3 * one, 0 * one, 1e6 * one, one)
    exact = stats.norm.logpdf(1e6 + 0.5, 1e6 + 0.3)
    assert p.log_prob(torch.tensor(1e6 + 0.5)).item() == pytest.approx(exact, abs=1e-6)
