"""likelihood, Poisson and NegativeBinomial: sums, exact values and slopes, samples, units."""

import itertools
import math

import numpy as np
import oracles
import pytest
import torch
from scipy import stats

from vaelib.counts import MeasuredNegativeBinomial, MeasuredPoisson, expm1_less, stirling_rest
from vaelib.data import Columns, Pictures
from vaelib.likelihood import NegativeBinomial, Poisson

D = torch.float64
precisions = pytest.mark.parametrize("dtype", [torch.float32, D], ids=str)
COUNTS = [0, 1, 2, 9, 10, 50, 1000, 123_456, 2**24]
OFF = [-30.0, -3.0, -0.501, -0.1, -1e-4, 0.0, 1e-3, 0.1, 0.499, 2.0, 10.0]  # log mean / count


@precisions
def test_poisson_is_exact_in_value_and_slope(dtype):
    """Of counts up to 2²⁴ near their rate and far from it, against 60 digits.

    A rounding of log_rate, as it is given, moves log p by the slope times it: that is what the sum
    of the textbook's three terms, 3·10⁸ at 2²⁴, has no digits for in float32.
    """
    cases = list(itertools.product(COUNTS, OFF, (1e-3, 0.37, 1e4)))
    x, off, factor = torch.tensor(cases, dtype=dtype).unbind(1)
    log_rate = (off + (x / factor).clamp(min=1e-30).log() * (x > 0)).requires_grad_()
    value = MeasuredPoisson(log_rate, factor).log_prob(x)
    (slope,) = torch.autograd.grad(value.sum(), log_rate)
    exact = np.array(
        [oracles.poisson(*case) for case in zip(x, log_rate.detach(), factor, strict=True)]
    )
    eps, size = torch.finfo(dtype).eps, 1 + log_rate.detach().abs().numpy()
    rate = x.numpy() - exact[:, 1]
    close = eps * (4 + 4 * np.abs(exact[:, 0]) + 2 * np.abs(exact[:, 1]) * size)
    assert (np.abs(value.detach().double().numpy() - exact[:, 0]) < close).all()
    close = eps * (2 * np.abs(exact[:, 1]) + 2 * (rate + x.numpy()) * size)
    assert (np.abs(slope.double().numpy() - exact[:, 1]) <= close).all()


@precisions
def test_negative_binomial_is_exact_in_value_and_both_slopes(dtype):
    """With r from 2·10⁻⁹ to 2·10¹⁷, which is Poisson's: where Γ(x + r) / Γ(r) has no digits."""
    spread = [-20.0, -5.0, -1.0, 0.0, 1.0, 2.2, 2.4, 5.0, 10.0, 18.0, 25.0, 40.0]
    cases = list(itertools.product(COUNTS, OFF, spread))
    x, off, log_r = torch.tensor(cases, dtype=dtype).unbind(1)
    factor = torch.tensor(0.37, dtype=dtype)
    log_mean = (off + (x / factor).clamp(min=1e-30).log() * (x > 0)).requires_grad_()
    log_r.requires_grad_()
    value = MeasuredNegativeBinomial(log_mean, log_r, factor).log_prob(x)
    slopes = torch.autograd.grad(value.sum(), (log_mean, log_r))
    given = zip(x, log_mean.detach(), log_r.detach(), strict=True)
    exact = np.array([oracles.negative_binomial(*case, factor) for case in given])
    eps, x = torch.finfo(dtype).eps, x.double().numpy()
    m, r = log_mean.detach().double().numpy(), log_r.detach().double().numpy()
    share = np.exp(r) / (np.exp(r) + 0.37 * np.exp(m))
    moved = np.abs(exact[:, 1]) * (1 + np.abs(m)) + np.abs(exact[:, 2]) * (1 + np.abs(r))
    close = eps * (8 + 4 * np.abs(exact[:, 0]) + 8 * moved)
    assert (np.abs(value.detach().double().numpy() - exact[:, 0]) < close).all()
    close = 4 * eps * (1 + np.abs(exact[:, 1]) + (x + 0.37 * np.exp(m)) * share * (1 + np.abs(m)))
    assert (np.abs(slopes[0].double().numpy() - exact[:, 1]) < close).all()
    close = 8 * eps * (1 + moved)
    assert (np.abs(slopes[1].double().numpy() - exact[:, 2]) < close).all()


@precisions
@pytest.mark.parametrize("raw", [-20.0, -1.0, 0.0, 2.0, 6.0])
@pytest.mark.parametrize("family", ["poisson", "r = 0.3", "r = 50"])
def test_probabilities_of_all_counts_sum_to_one(family, raw, dtype):
    """Up to a count above which there is less than 1e-12, by scipy's tail."""
    mean, r = 1.7 * math.exp(raw), {"r = 0.3": 0.3, "r = 50": 50.0}.get(family)
    made = Poisson() if r is None else NegativeBinomial(r)
    made.factor.fill_(1.7)
    theirs = stats.poisson(mean) if r is None else stats.nbinom(r, r / (r + mean))
    most = int(theirs.isf(1e-12)) + 2
    x = torch.arange(most, dtype=dtype)[:, None]
    p = made.to(dtype)(torch.full((1, 1), raw, dtype=dtype)).log_prob(x)
    assert p.shape == (most,)
    # The mean's own rounding, ε |raw|, moves no sum. Each term has a few roundings of log p, whose
    # mean is the entropy, a few nats.
    assert p.double().exp().sum().item() == pytest.approx(
        1, abs=1e-11 + 12 * torch.finfo(dtype).eps
    )


@pytest.mark.parametrize("family", ["poisson", "negative binomial"])
def test_counts_are_drawn_as_often_as_their_probability_says(family, generator):
    """χ² over the counts expected above 5 times, and all the others together: 1e-6 quantile."""
    n, made = 40_000, Poisson() if family == "poisson" else NegativeBinomial(1.5)
    made.factor.fill_(4.0)
    raw = torch.tensor([[0.3]])
    x = made.sample(raw.expand(n, -1), generator)
    p = made(raw).log_prob(torch.arange(60.0)[:, None]).double().exp().detach()
    found = torch.bincount(x.long().flatten().clamp(max=60), minlength=61)
    often = torch.cat((n * p > 5, torch.tensor([False])))
    seen, expected = found[often].double(), n * p[often[:-1]]
    rest, others = n - seen.sum(), n - expected.sum()
    chi2 = ((seen - expected) ** 2 / expected).sum() + (rest - others) ** 2 / others
    assert chi2 < stats.chi2.isf(1e-6, int(often.sum()))
    distribution = made(raw)
    assert distribution.mean.item() == pytest.approx(4 * math.exp(0.3), rel=1e-6)
    error = (x.double().var() * 2 / n).sqrt() * 6 * x.double().std()  # kurtosis below 15
    assert abs(x.double().var() - distribution.variance.double().item()) < 4.5 * error


def test_a_large_total_count_is_poisson_and_no_limit_overflows():
    raw = torch.tensor([[-1.0, 0.0, 3.0]])
    x = torch.tensor([[0.0, 2.0, 30.0]])
    expected = Poisson()(raw).log_prob(x)
    for log_r in (40.0, 1e4):
        made = NegativeBinomial()
        made.log_total_count.data.fill_(log_r)
        torch.testing.assert_close(made(raw).log_prob(x), expected)
    extremes = [-1e4, -80.0, 0.0, 80.0, 1e4]
    for log_r, raw in itertools.product(extremes, extremes):
        made = NegativeBinomial()
        made.log_total_count.data.fill_(log_r)
        given = torch.full((1, 3), raw, requires_grad=True)
        log_p = made(given).log_prob(x)
        log_p.sum().backward()
        assert not log_p.isnan()
        # A finite log p has finite slopes; above e^88 the rate itself is none of float32.
        if log_p.isfinite():
            assert given.grad.isfinite().all()
            assert made.log_total_count.grad.isfinite()


@precisions
def test_what_is_left_of_exponentials_and_factorials(dtype):
    t = torch.tensor([-50.0, -0.5, -0.4999, -1e-4, 0.0, 1e-7, 0.3, 0.5, 4.0], dtype=D)
    with np.errstate(all="ignore"):
        exact = [float(oracles.mpmath.expm1(v) - oracles.mpmath.mpf(v)) for v in t.tolist()]
    found = expm1_less(t.to(dtype)).double()
    np.testing.assert_allclose(found, expm1_less(t), rtol=8 * torch.finfo(dtype).eps)
    np.testing.assert_allclose(
        expm1_less(t)[[0, 1, 2, 6, 7, 8]], np.array(exact)[[0, 1, 2, 6, 7, 8]]
    )
    x = torch.tensor([1e-3, 1.0, 9.99, 10.0, 1e3], dtype=dtype)
    with oracles.mpmath.workdps(40):
        rest = [
            float(
                oracles.mpmath.loggamma(v + 1)
                - (v + oracles.mpmath.mpf(0.5)) * oracles.mpmath.log(v)
                + v
                - oracles.mpmath.log(2 * oracles.mpmath.pi) / 2
            )
            for v in map(oracles.mpmath.mpf, x.tolist())
        ]
    close = 30 * torch.finfo(dtype).eps
    np.testing.assert_allclose(stirling_rest(x), rest, rtol=2 * torch.finfo(dtype).eps, atol=close)


def test_units_are_taken_from_the_rows(generator):
    """A mean for each column of a table, one for all values of a picture; zeros keep 1."""
    rows = torch.tensor([[1, 100, 0], [3, 300, 0]])
    table = Poisson.for_layout(Columns(("a", "b", "c")), "counts")
    assert not table.measured
    table.measure(rows)
    assert table.measured
    assert table.factor.tolist() == [2.0, 200.0, 1.0]
    assert table(torch.zeros(3)).mean.tolist() == [2.0, 200.0, 1.0]
    expected = torch.log1p(rows / torch.tensor([2.0, 200.0, 1.0]))
    torch.testing.assert_close(table.features(rows.float()), expected)
    picture = NegativeBinomial.for_layout(Pictures(1, 3), "counts")
    picture.measure(rows.numpy())
    assert picture.factor.item() == pytest.approx(404 / 6)
    assert picture.size == 1
    with pytest.raises(
        ValueError, match="raw numbers for 3 features, got 4; make it with features=4"
    ):
        table(torch.zeros(4))


def test_counts_are_prepared_and_others_refused():
    made = Poisson()
    assert made.prepare(torch.tensor([[0, 7]])).dtype == torch.float32
    assert made.prepare(torch.tensor([[0.0, 7.0]])).tolist() == [[0.0, 7.0]]
    for values in ([[0.5]], [[-1.0]], [[math.nan]], [[2.0**25]]):
        with pytest.raises(
            ValueError, match=r"whole numbers from 0 to 2²⁴ .*--likelihood gaussian"
        ):
            made.prepare(torch.tensor(values))
    with pytest.raises(TypeError, match=r"expected counts or numbers, got pixels .*rows\.to"):
        made.prepare(torch.zeros(1, 1, dtype=torch.uint8))
    for bad in (0.0, -1.0, math.inf):
        with pytest.raises(ValueError, match="total_count"):
            NegativeBinomial(bad)
