"""two_layer: a linear one whose evidence is known, and a neural one that holds a VAE within it."""

import math

import numpy as np
import oracles
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from vaelib import data, evaluate, nets, train
from vaelib.elbo import importance_weighted_bound
from vaelib.latent import evidence_estimate
from vaelib.likelihood import Gaussian
from vaelib.vae import VAE, TwoLayerVAE

D = torch.float64


class Affine(nn.Module):
    """loc = G given + g, and a logvar that does not depend on what is given."""

    def __init__(self, gain, offset, variances):
        super().__init__()
        self.loc = nn.Linear(gain.shape[1], gain.shape[0])
        self.logvar = nn.Parameter(torch.from_numpy(np.log(variances)))
        self.latent = gain.shape[0]
        self.double()
        with torch.no_grad():
            self.loc.weight.copy_(torch.from_numpy(gain))
            self.loc.bias.copy_(torch.from_numpy(offset))

    def forward(self, given):
        loc = self.loc(given)
        return loc, self.logvar.expand_as(loc)


class Solved:
    """5 pixels, 3 units in the first layer and 2 above, with nothing that cancels by accident.

    The weights are such that both exact conditionals, p(h1 | x) and p(h2 | h1), have diagonal
    covariances, as a q has. A's columns are orthogonal when they are measured in the noise of h1,
    so I + A'S^-1 A is diagonal. B'B / v is a diagonal less the inverse of h1's covariance, so
    p(h1 | x) has that diagonal as its precision.
    """

    def __init__(self):
        random = np.random.default_rng(7)
        s = np.array([0.5, 0.9, 1.4])  # variances of h1 given h2
        columns, _ = np.linalg.qr(random.normal(size=(3, 2)))
        a = np.sqrt(s)[:, None] * columns * np.array([1.3, 0.6])
        marginal = a @ a.T + np.diag(s)
        self.variance = 0.3
        precision = np.diag([6.0, 4.0, 9.0])
        root = np.linalg.cholesky(precision - np.linalg.inv(marginal)).T
        rotation, _ = np.linalg.qr(random.normal(size=(5, 3)))
        b = math.sqrt(self.variance) * rotation @ root
        self.top = (a, random.normal(size=3), s)
        self.bottom = (b, random.normal(size=5))
        self.marginal = marginal
        self.oracle = oracles.TwoLayerLinearGaussian(*self.top, *self.bottom, self.variance)
        self.q1 = self.oracle.conditional(self.oracle.h1, self.oracle.x)
        self.q2 = self.oracle.conditional(self.oracle.h2, self.oracle.h1)

    def decoder(self):
        decoder = nn.Linear(3, 5).double()
        with torch.no_grad():
            decoder.weight.copy_(torch.from_numpy(self.bottom[0]))
            decoder.bias.copy_(torch.from_numpy(self.bottom[1]))
        decoder.latent, decoder.pixels = 3, 5
        return decoder

    def likelihood(self):
        likelihood = Gaussian(learned=False).double()
        with torch.no_grad():
            likelihood.logvar.fill_(math.log(self.variance))
        return likelihood

    def model(self, q1=None, q2=None, samples=1):
        (g1, o1, c1), (g2, o2, c2) = q1 or self.q1, q2 or self.q2
        return TwoLayerVAE(
            Affine(g1, o1, c1.diagonal()),
            Affine(g2, o2, c2.diagonal()),
            Affine(*self.top),
            self.decoder(),
            likelihood=self.likelihood(),
            samples=samples,
        ).double()

    def worse(self):
        """q with other gains, offsets and variances in both layers."""
        (g1, o1, c1), (g2, o2, c2) = self.q1, self.q2
        return (0.9 * g1, o1 + 0.2, 1.5 * np.diag(c1.diagonal())), (0.8 * g2, o2 - 0.3, 1.4 * c2)

    def data(self, n):
        random = np.random.default_rng(8)
        o = self.oracle
        x = random.multivariate_normal(o.mean[o.x], o.covariance[o.x, o.x], size=n)
        return torch.from_numpy(x)


@pytest.fixture(scope="module")
def solved():
    return Solved()


def test_the_exact_conditionals_are_diagonal(solved):
    """Else no q of a two-layer VAE could be exact, and the next test would be void."""
    for _, _, covariance in (solved.q1, solved.q2):
        off = covariance - np.diag(covariance.diagonal())
        assert np.abs(off).max() < 1e-12
    assert np.abs(solved.marginal - np.diag(solved.marginal.diagonal())).max() > 0.1


@pytest.mark.parametrize("samples", [1, 7])
def test_with_the_exact_conditionals_every_log_weight_is_the_evidence(solved, samples, generator):
    model, x = solved.model(samples=samples), solved.data(40)
    eps = model.noise(40, generator=generator)
    assert eps.shape == (samples, 40, 5)
    expected = torch.from_numpy(solved.oracle.log_evidence(x))
    log_w = model.log_weights(x, 3 * eps)  # for any z, not only for likely ones
    torch.testing.assert_close(log_w, expected.expand(samples, 40), rtol=0, atol=1e-9)
    assert model(x, eps).item() == pytest.approx(-expected.mean().item(), abs=1e-9)
    estimate = evaluate.log_evidence(model, x, samples=samples, batch_size=13, generator=generator)
    torch.testing.assert_close(estimate.log_evidence, expected, rtol=0, atol=1e-9)


def test_with_another_q_the_bound_is_below_and_rises_with_k(solved, generator):
    """The gap of K = 1 is a KL of dense normals; the others lie in between, by 4 errors each."""
    n = 5000
    q1, q2 = solved.worse()
    x = solved.data(n)
    evidence = torch.from_numpy(solved.oracle.log_evidence(x))
    gap, error = {}, {}
    with torch.no_grad():
        for k in (1, 5, 50):
            model = solved.model(q1, q2, samples=k)
            log_w = model.log_weights(x, model.noise(n, generator=generator))
            difference = evidence - importance_weighted_bound(log_w)
            gap[k] = difference.mean().item()
            error[k] = difference.std().item() / math.sqrt(n)
    kl = solved.oracle.gap(x, q1, q2).mean()
    assert kl > 0.3
    assert abs(gap[1] - kl) < 4 * error[1]
    for low, high in ((1, 5), (5, 50)):
        assert gap[low] - gap[high] > 4 * math.hypot(error[low], error[high])
    assert gap[50] > 4 * error[50]


def test_the_bound_is_never_below_the_elbo_of_one_layer(solved, generator):
    """What that can mean: the same model with h2 integrated out, and the same q(h1 | x).

    Without h2 it is a model of one layer whose prior is N(a, A A' + S), dense; nothing else knows
    it. With the exact q(h2 | h1), a log-weight of two layers is the log-weight of one, whatever h2
    is. So on the same noise the bound of K samples is not below the mean of the one layer's K
    values, which is an ELBO: for each datum and each draw, not only in the mean. With another
    q(h2 | h1), the second layer costs E[KL(q(h2 | h1) ‖ p(h2 | h1))], and its ELBO is the lower.
    It says nothing of which of two *trained* models is the better.
    """
    q1, q2 = solved.worse()
    x = solved.data(200)
    prior = MultivariateNormal(torch.from_numpy(solved.top[1]), torch.from_numpy(solved.marginal))
    g1, o1, c1 = q1
    one = VAE(
        Affine(g1, o1, c1.diagonal()),
        solved.decoder(),
        likelihood=solved.likelihood(),
        prior=prior,
    ).double()
    two = solved.model(q1, samples=8)
    eps = two.noise(200, generator=generator)
    with torch.no_grad():
        log_w = two.log_weights(x, eps)
        q = one.encode(x)
        h1 = q.loc + q.stddev * eps[..., :3]
        single = one.log_joint(x, h1) - q.log_prob(h1)
        torch.testing.assert_close(log_w, single, rtol=0, atol=1e-9)
        assert (importance_weighted_bound(log_w) > single.mean(0)).all()
    # The exact ELBOs, by the oracle and by the closed form of the other model.
    below = solved.oracle.gap(x, q1, q2) - solved.oracle.gap(x, q1, solved.q2)
    assert (below > 0.01).all()
    n = 50_000
    with torch.no_grad():
        exact = -torch.from_numpy(solved.oracle.gap(x[:1], q1, solved.q2)) + torch.from_numpy(
            solved.oracle.log_evidence(x[:1])
        )
        elbo = one.elbo(x[:1], torch.randn(n, 1, 3, generator=generator, dtype=D))
    assert abs(elbo.mean() - exact) < 4 * elbo.std() / math.sqrt(n)


def neural(samples=4):
    torch.manual_seed(3)
    return TwoLayerVAE(
        nets.MLPEncoder(6, 3, hidden=(8,), activation=nn.Tanh),
        nets.MLPEncoder(3, 2, hidden=(8,), activation=nn.Tanh),
        nets.MLPEncoder(2, 3, hidden=(8,), activation=nn.Tanh),
        nets.MLPDecoder(3, 6, hidden=(8,), activation=nn.Tanh),
        samples=samples,
    ).double()


@pytest.fixture
def x(generator):
    return torch.randint(2, (5, 6), generator=generator).double()


def test_log_weights_equal_the_oracles(x, generator):
    """Layer by layer with scipy's normals, and pixel by pixel."""
    model = neural()
    eps = model.noise(5, generator=generator)
    found = model.log_weights(x, eps).detach()
    assert found.shape == (4, 5)

    def at(network, given):
        with torch.no_grad():
            loc, logvar = (t.numpy() for t in network(torch.from_numpy(given)))
        return loc, np.exp(0.5 * logvar)

    density = oracles.normal_log_density
    for k in range(4):
        q1 = at(model.encoder, x.numpy())
        h1 = q1[0] + q1[1] * eps[k, :, :3].numpy()
        q2 = at(model.posterior.network, h1)
        h2 = q2[0] + q2[1] * eps[k, :, 3:].numpy()
        with torch.no_grad():
            logits = model.decoder(torch.from_numpy(h1))
        log_w = density(h2, 0.0, 1.0) + density(h1, *at(model._prior.network, h2))
        log_w += oracles.bernoulli_log_likelihood(x, logits)
        log_w -= density(h1, *q1) + density(h2, *q2)
        np.testing.assert_allclose(found[k], log_w, rtol=1e-11)
    expected = -np.log(np.exp(found.numpy()).mean(0)).mean()
    assert model(x, eps).item() == pytest.approx(expected, rel=1e-12)


def test_the_loss_has_the_gradient_of_its_value(x, generator):
    """By differences, in a bias of each of the four networks."""
    model = neural()
    eps = model.noise(5, generator=generator)
    model(x, eps).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())

    def value(parameter, new):
        old = parameter.detach().clone()
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(new))
            result = model(x, eps).item()
            parameter.copy_(old)
        return result

    for name in ("encoder.loc", "_posterior.network.logvar", "_prior.network.logvar", "decoder.2"):
        parameter = model.get_parameter(f"{name}.bias")
        expected = oracles.gradient(lambda new, p=parameter: value(p, new), parameter.detach())
        np.testing.assert_allclose(parameter.grad, expected, rtol=1e-5, atol=1e-9)


def test_a_vae_is_the_case_with_nothing_above(x, generator):
    """p(h1 | h2) = N(0, I) and q(h2 | h1) = N(0, I): the weights are those of a VAE, each of them.

    So the best two-layer model is at least as good as the best one-layer model of the same decoder.
    """
    model = neural()
    with torch.no_grad():
        for network in (model.posterior.network, model._prior.network):
            for head in (network.loc, network.logvar):
                head.weight.zero_()
                head.bias.zero_()
    vae = VAE(model.encoder, model.decoder).double()
    eps = model.noise(5, generator=generator)
    with torch.no_grad():
        q = vae.encode(x)
        h1 = q.loc + q.stddev * eps[..., :3]
        expected = vae.log_joint(x, h1) - q.log_prob(h1)
        torch.testing.assert_close(model.log_weights(x, eps), expected)


@pytest.mark.parametrize("at_once", [1, 3, 50, 80])
def test_log_evidence_streams_exactly_k_samples(at_once, x, generator, monkeypatch):
    model = neural().train()
    drawn = []
    log_weights = model.log_weights
    monkeypatch.setattr(
        model, "log_weights", lambda x, eps, raw: drawn.append(eps) or log_weights(x, eps, raw=raw)
    )
    estimate = evaluate.log_evidence(model, x, samples=50, at_once=at_once, generator=generator)
    eps = torch.cat(drawn)
    assert eps.shape == (50, 5, 5)
    assert max(len(chunk) for chunk in drawn) == min(at_once, 50)
    assert model.training
    with torch.no_grad():
        expected = evidence_estimate(log_weights(x, eps))
    for got, want in zip(estimate, expected, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_samples_come_from_the_model(solved, generator):
    """Mean and covariance of the joint. The bounds are 4.5 standard errors of normal moments."""
    n = 100_000
    x, z = (t.numpy() for t in solved.model().sample(n, generator=generator))
    h1, h2 = z[:, :3], z[:, 3:]
    assert [part.shape[1] for part in (x, h1, h2)] == [5, 3, 2]
    found = np.cov(np.hstack([h2, h1, x]).T)
    c, mean = solved.oracle.covariance, solved.oracle.mean
    error = np.sqrt((np.outer(c.diagonal(), c.diagonal()) + c**2) / n)
    assert (np.abs(found - c) < 4.5 * error).all()
    deviation = np.hstack([h2, h1, x]).mean(0) - mean
    assert (np.abs(deviation) < 4.5 * np.sqrt(c.diagonal() / n)).all()


def test_it_trains(digits, generator):
    """By the loop; every network learns, and the noise follows the model's precision."""
    torch.manual_seed(0)
    hidden = {"hidden": (32,), "activation": nn.Tanh}
    model = TwoLayerVAE(
        nets.MLPEncoder(784, 6, **hidden),
        nets.MLPEncoder(6, 3, **hidden),
        nets.MLPEncoder(3, 6, **hidden),
        nets.MLPDecoder(6, 784, **hidden),
        samples=5,
    )
    before = [p.detach().clone() for p in model.parameters()]
    history = train.fit(
        model,
        digits.train[:500],
        epochs=3,
        batch_size=100,
        lr=1e-2,
        generator=generator,
        progress=False,
    )
    assert history[-1].loss < history[0].loss - 100
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert not torch.equal(parameter, old)
    x = data.binarize(digits.test[:20], generator=generator)
    one, many = (
        evaluate.log_evidence(model, x, samples=k, generator=generator).log_evidence.mean()
        for k in (1, 500)
    )
    assert many > one
    assert model.double().noise(2).dtype == D


def test_the_elbo_of_two_layers_and_its_two_terms(solved, generator):
    """At the exact conditionals each log-weight is log p(x). -log p(x | h1) is |y|² / 2v and a
    constant, with y = x - B h1 - b normal: its mean and variance are those of a quadratic form.
    """
    x, n = solved.data(150), 60
    q1, q2 = solved.worse()
    (b, offset), v = solved.bottom, solved.variance
    for model, (g1, o1, c1), gap in (
        (solved.model(), solved.q1, np.zeros(150)),
        (solved.model(q1, q2), q1, solved.oracle.gap(x, q1, q2)),
    ):
        found = evaluate.elbo(model, x, samples=n, batch_size=40, generator=generator)
        y = x.numpy() - (x.numpy() @ g1.T + o1) @ b.T - offset
        spread = b @ c1 @ b.T
        distortion = 2.5 * math.log(2 * math.pi * v) + (y**2).sum(1) / (2 * v)
        distortion += np.trace(spread) / (2 * v)
        variance = np.trace(spread @ spread) / 2 + np.einsum("ni,ij,nj->n", y, spread, y)
        error = math.sqrt((variance / v**2).mean() / (n * len(x)))
        assert abs(found.distortion - distortion.mean()) < 4 * error
        expected = (solved.oracle.log_evidence(x) - gap).mean()
        if not gap.any():
            assert found.elbo == pytest.approx(expected, abs=1e-9)
        # The standard error of n log-weights is not known; that over data is larger.
        assert abs(found.elbo - expected) < found.standard_error
        assert found.elbo == pytest.approx(-found.distortion - found.rate, abs=1e-9)


def test_units_of_both_layers_are_active_if_their_mean_tells_data_apart(solved):
    """The mean of h1 is g1 x + o1, that of h2 is g2 (g1 x + o1) + o2; their variance is known.

    The first unit of h1 is dead, with the variance 4, and so is the first of h2, which sees only
    that one. A mean over 100 samples would have the variance 4 / 100 in it, beyond the threshold;
    the estimate has the error 4 √(2 / n) / 100 = 0.0013. At the others, the variance of the mean at
    one x, τ² < 0.02, makes an error of 2 √(V τ² / n) < 0.0064 √V, far below a tenth of V > 0.02.
    """
    n = 1950
    x = solved.data(n)
    g1, g2 = solved.q1[0].copy(), np.array([[1.0, 0, 0], [0, 0.9, -0.4]])
    g1[0] = 0
    model = solved.model(
        (g1, solved.q1[1], np.diag([4.0, 0.3, 0.2])), (g2, np.ones(2), np.diag([0.5, 0.7]))
    )
    h1 = x.numpy() @ g1.T
    expected = np.concatenate([h1.var(0, ddof=1), (h1 @ g2.T).var(0, ddof=1)])

    def active(threshold):
        generator = torch.Generator().manual_seed(5)
        return evaluate.active_units(model, x, threshold=threshold, generator=generator).tolist()

    assert active(0.01) == [False, True, True, False, True]
    assert (expected[[1, 2, 4]] > 0.02).all()
    for unit in (1, 2, 4):
        assert active(0.9 * expected[unit])[unit]
        assert not active(1.1 * expected[unit])[unit]


def test_it_has_a_column_in_a_report(x):
    """Beside a VAE: its q is checked and refined as well; its units are those of both layers."""
    torch.manual_seed(1)
    one = VAE(nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,))).double()
    two = neural()
    report = evaluate.report({"one": one, "two": two}, x, samples=30, refine=True)
    score, rows = report.scores["two"], report.rows()
    assert (score.grid, score.latent) == (None, 5)
    for name, missing in (
        ("  too low by at least", [False, False]),
        ("L_30, q refined", [False, False]),
        ("log p(x) on a grid", [False, True]),
    ):
        assert [value is None for value in rows[name]] == missing
    assert rows["  of these in the upper layer"] == [None, score.upper_units]
    assert "Neither checked" not in str(report)
    assert "Active units: of 2/5" in str(report)

    seed = torch.Generator().manual_seed
    alone = evaluate.report(two, x, samples=30, threshold=1e-4, generator=seed(2))
    generator, score = seed(2), alone.scores["model"]
    assert score.elbo == evaluate.elbo(two, x, samples=10, generator=generator)
    l_k = evaluate.log_evidence(two, x, samples=30, generator=generator).log_evidence
    assert score.evidence.mean == l_k.mean().item()
    active = evaluate.active_units(two, x, threshold=1e-4, generator=generator)
    assert (score.active_units, score.upper_units) == (active.sum(), active[3:].sum())
    assert "q refined" not in alone.rows()


def test_a_q_that_misses_is_refined_and_caught(solved, generator):
    """q(h1 | x) is 4 deviations off; the network above is exact, and stays. log p(x) is known: the
    warning's shortfall is one that there is, and refined, at most a tenth of it is left.
    """
    (g1, o1, c1), exact = solved.q1, solved.q2
    model = solved.model((g1, o1 + 4 * np.sqrt(c1.diagonal()), c1), exact)
    x = solved.data(30)
    evidence = torch.from_numpy(solved.oracle.log_evidence(x))
    found = evaluate.trust(model, x, samples=50, generator=generator)
    missing = evidence.mean().item() - found.encoder
    assert missing > 1
    assert not found.trusted
    assert found.shortfall < missing
    assert abs(evidence.mean().item() - found.refined) < 0.1 * missing


def test_its_kl_is_warmed_up(x, generator):
    """At a factor of 0 only log p(x | h1) is left, at 1 the bound itself."""
    model = neural()
    eps = model.noise(5, generator=generator)
    terms = model.terms(x, eps, exact=False)
    for weight in (0.0, 0.3, 1.0):
        model.warm_up(weight)
        expected = importance_weighted_bound(terms.log_likelihood - weight * terms.kl).mean()
        assert model(x, eps).item() == pytest.approx(-expected.item(), rel=1e-12)


@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused(x):
    model = neural()
    with pytest.raises(ValueError, match=r"noise of shape \[\*samples, 5, 5\], got \(4, 5, 3\)"):
        model(x, torch.zeros(4, 5, 3))
    with pytest.raises(ValueError, match="TwoLayerVAE: expected samples ≥ 1, got 0"):
        neural(samples=0)
    with pytest.raises(TypeError, match=r"top_encoder .* `latent`, got Linear without one"):
        TwoLayerVAE(model.encoder, nn.Linear(3, 2), model._prior.network, model.decoder)
    with pytest.raises(ValueError, match="samples ≥ 2, got 1"):
        evaluate.active_units(model, x, samples=1)
    with pytest.raises(ValueError, match="only 0 and 1"):
        evaluate.log_evidence(model, x + 0.5)
    assert "samples=4" in repr(model)
