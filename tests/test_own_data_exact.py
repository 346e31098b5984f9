"""Tables, counts and holes against answers that are exact and know nothing of vaelib.

A linear Gaussian VAE is factor analysis: its evidence is the density of N(mean, W Wᵀ + Ψ), its
optimum what scikit-learn's `FactorAnalysis` finds, and what is missing of a row follows from what
is seen by conditioning a normal. A model of counts with one latent is a sum over a line.
"""

import numpy as np
import pytest
import torch
from scipy import special, stats
from sklearn.decomposition import FactorAnalysis
from torch import nn

from vaelib import evaluate, nets
from vaelib.data import examples
from vaelib.likelihood import Categorical, Gaussian, Logistics, Missing, Poisson
from vaelib.vae import VAE


def normal_of(model, label=None):
    """Mean and covariance of x under a linear Gaussian model, from its weights: [d], [d, d]."""
    decoder, its = model.decoder[0], model.likelihood
    its = its.likelihood if isinstance(its, Missing) else its
    factor, shift, logvar, weight, bias = (
        t.detach().double().numpy()
        for t in (its.factor, its.shift, its.logvar, decoder.weight, decoder.bias)
    )
    if label is not None:  # the label's column stands behind those of z
        bias = bias + weight[:, 2 + label]
    w = factor[:, None] * weight[:, :2]
    psi = factor**2 * (np.exp(logvar) + its.floor**2)
    return shift + factor * bias, w @ w.T + np.diag(psi)


def seen_log_prob(x, mean, covariance):
    """log p of the values that are seen, from the normal's own marginal."""
    rows = [(row[s], s) for row, s in zip(x, ~np.isnan(x), strict=True)]
    return np.array(
        [
            stats.multivariate_normal(mean[s], covariance[np.ix_(s, s)]).logpdf(row)
            if s.any()
            else 0.0
            for row, s in rows
        ]
    )


def conditional(row, mean, covariance):
    """Mean and covariance of what is missing of one row, given what is seen."""
    hole = np.isnan(row)
    s = ~hole
    gain = covariance[np.ix_(hole, s)] @ np.linalg.inv(covariance[np.ix_(s, s)])
    left = covariance[np.ix_(hole, hole)] - gain @ covariance[np.ix_(s, hole)]
    return mean[hole] + gain @ (row[s] - mean[s]), left


@pytest.fixture(scope="module")
def table():
    """Six instruments that two causes move, in units a million apart; ψ ≥ 0.05 of a unit's."""
    return examples.instruments(1000, seed=3)


@pytest.fixture(scope="module")
def trained(table):
    torch.manual_seed(0)
    likelihood = Gaussian(features=6)
    likelihood.measure(table.table)
    model = VAE(nets.LinearEncoder(6, 2), nets.MLPDecoder(2, 6, hidden=()), likelihood=likelihood)
    steps, generator = 800, torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model(table.table, model.noise(1000, generator=generator)).backward()
        optimizer.step()
        schedule.step()
    return model


def test_a_linear_vae_reaches_factor_analysis(trained, table):
    """Within 1e-3 nats per datum, in the units of the table.

    scikit-learn starts from noise of variance 1, so it is given standardized columns; the density
    of the table's own values is then lower by the sum of the logarithms of the deviations.
    """
    x = table.table.double().numpy()
    deviation = x.std(0)
    analysis = FactorAnalysis(2, tol=1e-8, svd_method="lapack", max_iter=20_000)
    standardized = (x - x.mean(0)) / deviation
    expected = analysis.fit(standardized).score(standardized) - np.log(deviation).sum()
    own = seen_log_prob(x, *normal_of(trained)).mean()
    assert own == pytest.approx(expected, abs=1e-3)
    # And the ELBO is this evidence: q is the posterior, which is a diagonal normal there. Its
    # standard error over noise is far below the 0.01 by which it may be lower.
    found = evaluate.elbo(
        trained, table.table, samples=100, generator=torch.Generator().manual_seed(1)
    )
    assert own - 0.01 < found.elbo < own + 0.003
    assert trained.likelihood.notes() == []


def test_evidence_and_bits_with_holes_are_those_of_what_is_seen(trained, table):
    holes = examples.holes(table.table[:60], 0.4, seed=1)
    holes[7], holes[8, 1:] = torch.nan, torch.nan
    model = VAE(
        nets.MLPEncoder(12, 2, hidden=(8,)), trained.decoder, likelihood=Missing(trained.likelihood)
    )
    exact = seen_log_prob(holes.double().numpy(), *normal_of(trained))
    grid = evaluate.grid_log_evidence(model, holes)
    # float32 sums of some 10 terms of the size of log p: 1e-3 is ample, and nothing beside a value.
    assert (np.abs(grid.log_evidence.numpy() - exact) < grid.error.numpy() + 1e-3).all()
    assert grid.log_evidence[7].abs() < 1e-3
    seed = torch.Generator().manual_seed
    q = evaluate.refined_q(model, holes, generator=seed(2))
    found = evaluate.log_evidence(model, holes, q=q, samples=2000, generator=seed(3))
    # Of 60 estimates none is off by 5 of its standard errors, but by chance 3e-5.
    error = 5 * found.standard_error.numpy() + 1e-3
    assert (np.abs(found.log_evidence.numpy() - exact) < error).all()
    report = evaluate.report(model, holes, samples=50, refine=True, generator=seed(4))
    scores, seen = report.scores["model"], int((~holes.isnan()).sum())
    assert 100 < seen < 250
    for bits, nats in (
        (scores.elbo_bits, scores.elbo.elbo),
        (scores.bits, scores.refined.mean),
    ):
        assert bits == pytest.approx(-60 * nats / np.log(2) / seen)
    assert f"values that are seen, {seen / 60:.4g} of 6" in " ".join(str(report).split())


class Labelled(nn.Sequential):
    """A linear decoder of z and a label, and an encoder that knows neither x nor label."""

    def __init__(self):
        super().__init__(nn.Linear(5, 6))
        self.latent, self.pixels, self.condition = 2, 6, 3

    def forward(self, z, c):
        return super().forward(torch.cat([z, c], -1))


class Ignorant(nn.Module):
    def __init__(self, pixels):
        super().__init__()
        self.latent, self.pixels, self.condition = 2, pixels, 3

    def forward(self, x, c):
        assert c.shape == (len(x), 3)
        return x.new_zeros(len(x), 2), x.new_zeros(len(x), 2)


@pytest.mark.parametrize("kind", ["trained on whole data", "trained with holes", "with labels"])
def test_what_is_filled_in_is_the_exact_conditional(kind, table, trained, generator):
    """The mean within its own error, the draws with the conditional's own spread."""
    x, c, labels = table.table[:40], None, [None] * 40
    model = trained
    if kind == "trained with holes":
        torch.manual_seed(1)
        model = VAE(
            nets.MLPEncoder(12, 2, hidden=(8,)),
            trained.decoder,
            likelihood=Missing(trained.likelihood),
        )
    if kind == "with labels":
        torch.manual_seed(2)
        decoder, c = Labelled(), torch.arange(40) % 3
        with torch.no_grad():
            decoder[0].weight[:, :2] = trained.decoder[0].weight
        model = VAE(Ignorant(6), decoder, likelihood=trained.likelihood, condition=3)
        x, _ = model.sample(40, c, generator=generator)
        labels = c.tolist()
    whole = x
    x = examples.holes(whole, 0.35, seed=5)
    x[0], x[1] = whole[0], torch.nan  # nothing is missing, and all is
    before = {name: t.clone() for name, t in model.state_dict().items()}
    found = evaluate.impute(model, x, c, draws=400, generator=generator)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    hole = x.isnan()
    assert torch.equal(found.mean[~hole], x[~hole])
    assert (found.draws[:, ~hole] == x[~hole]).all()
    assert (found.error[~hole] == 0).all()
    assert found.effective[0] == 1000
    assert found.effective.min() > 5
    off, spread = [], []
    for i in range(1, 40):
        here = hole[i].numpy()
        if not here.any():
            continue
        mean, left = conditional(x[i].double().numpy(), *normal_of(model, labels[i]))
        off.append((found.mean[i, here].double().numpy() - mean) / found.error[i, here].numpy())
        drawn = found.draws[:, i, here].double().numpy()
        spread.append(drawn.var(0) / left.diagonal())
    off, spread = np.concatenate(off), np.concatenate(spread)
    # Some 80 values. None is off by 5 of its errors (5e-5 by chance), their mean square is 1 but
    # for a relative error of √(2/80) = 0.16, or twice that as those of one row move together.
    assert np.abs(off).max() < 5
    assert (off**2).mean() < 1 + 5 * 0.32
    # Each ratio of variances is of 400 draws out of some dozens of effective samples: a relative
    # error of √(2/30) = 0.26 or less; that of their mean over 39 rows is 0.04.
    assert abs(spread.mean() - 1) < 5 * 0.05


def test_the_hidden_are_told_as_well_as_they_can_be(trained, table):
    """The error of what is filled in, beside that of the true model and of column means."""
    whole = table.table[:300]
    x = examples.holes(whole, 0.3, seed=2)
    found = evaluate.impute(trained, x, draws=1, generator=torch.Generator().manual_seed(0))
    covariance = (table.loadings @ table.loadings.T + table.variances.diag()).numpy()
    hole, rows = x.isnan().numpy(), x.double().numpy()
    exact = rows.copy()
    for i in np.flatnonzero(hole.any(1)):
        exact[i, hole[i]] = conditional(rows[i], table.mean.numpy(), covariance)[0]
    unit = np.sqrt(covariance.diagonal())

    def error(filled):
        return np.sqrt(np.square((filled - whole.double().numpy()) / unit)[hole].mean())

    ours, best, means = (
        error(filled)
        for filled in (
            found.mean.double().numpy(),
            exact,
            np.broadcast_to(table.mean.numpy(), exact.shape),
        )
    )
    # Weights learned from 1,000 rows miss the truth by some √(1/1000), which is squared here.
    assert ours < 1.02 * best
    assert best < 0.8 * means


def test_a_channel_that_depends_on_one_that_is_seen_is_not_filled_in():
    model = VAE(
        nets.MLPEncoder(12, 2, hidden=(8,)),
        nets.MLPDecoder(2, 12, hidden=(8,), levels=Logistics(channels=3).per_pixel),
        likelihood=Logistics(channels=3),
    )
    x = torch.randint(256, (3, 12), generator=torch.Generator().manual_seed(0)) / 255
    with pytest.raises(ValueError, match="all channels are missing or none"):
        evaluate.impute(model, x.index_fill(1, torch.tensor([9]), torch.nan))
    x[:, [1, 5, 9]] = torch.nan  # the second pixel
    found = evaluate.impute(model, x, samples=50, steps=5)
    assert found.draws.isfinite().all()
    level = found.draws * 255
    assert (level - level.round()).abs().max() < 1e-3


def test_half_a_picture_from_a_model_of_whole_ones(generator):
    """Two pictures of four pixels, black and white halves alike: what is seen tells the rest."""
    model = VAE(
        nets.MLPEncoder(4, 1, hidden=()),
        nets.MLPDecoder(1, 4, hidden=(), levels=2),
        likelihood=Categorical(2),
    )
    with torch.no_grad():
        # log p(x = 1 | z) - log p(x = 0 | z) = 8 z - 1 in every pixel.
        model.decoder[0].weight.copy_(torch.tensor([[0.0], [8.0]]).repeat(4, 1))
        model.decoder[0].bias.copy_(torch.tensor([0.0, -1.0]).repeat(4))
    z = np.linspace(-9, 9, 20_001)
    p = special.expit(8 * z - 1)
    x = torch.tensor([[1.0, 1.0, torch.nan, torch.nan], [0.0, 1.0, torch.nan, 0.0]])
    found = evaluate.impute(model, x, samples=4000, draws=2000, generator=generator)
    for i, joint in enumerate((p**2, (1 - p) ** 2 * p)):
        weight = stats.norm.pdf(z) * joint
        exact = (weight * p).sum() / weight.sum()
        assert abs(found.mean[i, 2] - exact) < 5 * found.error[i, 2]
        drawn = found.draws[:, i, 2]
        assert set(drawn.tolist()) == {0.0, 1.0}
        # 2,000 draws, out of at least 300 effective samples.
        assert found.effective[i] > 300
        assert abs(drawn.mean() - exact) < 5 * np.sqrt(exact * (1 - exact) * (1 / 2000 + 1 / 300))
    assert found.mean[0, 2] == pytest.approx(found.mean[0, 3])


def test_a_poisson_model_against_a_grid(generator):
    torch.manual_seed(0)
    model = VAE(
        nets.MLPEncoder(9, 1, hidden=(8,)),
        nets.MLPDecoder(1, 9, hidden=(8,)),
        likelihood=Poisson(features=9),
    )
    model.likelihood.measure(torch.full((5, 9), 6))
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(2)
    x, _ = model.sample(30, generator=generator)
    z = np.linspace(-10, 10, 20_001)
    with torch.no_grad():
        raw = model.decoder(torch.from_numpy(z).float()[:, None]).double().numpy()
    each = stats.poisson(6 * np.exp(raw)).logpmf(x.numpy()[:, None]).sum(-1)
    exact = special.logsumexp(each + stats.norm.logpdf(z), axis=1) + np.log(z[1] - z[0])
    grid = evaluate.grid_log_evidence(model, x)
    # float32 sums of counts of some dozens times their logarithms: 1e-5 of 100 nats.
    assert (np.abs(grid.log_evidence.numpy() - exact) < grid.error.numpy() + 2e-3).all()
    seed = torch.Generator().manual_seed
    q = evaluate.refined_q(model, x, generator=seed(1))
    found = evaluate.log_evidence(model, x, q=q, samples=10_000, generator=seed(2))
    assert found.effective_sample_size.min() > 50
    error = 5 * found.standard_error.numpy() + 2e-3
    assert (np.abs(found.log_evidence.numpy() - exact) < error).all()
    bound = evaluate.elbo(model, x, samples=200, generator=seed(3))
    assert bound.elbo < exact.mean()
