"""The checks of the open work: what is right passes, and each way to cheat is refused."""

import math
import re
import sys
from pathlib import Path

import pytest
import torch
from scipy import integrate, optimize
from torch.distributions import ExpTransform, Independent, MixtureSameFamily, Poisson, constraints
from torch.distributions.transforms import AffineTransform

from vaelib import course
from vaelib.course import projects
from vaelib.course.projects import digits, measured, plane
from vaelib.course.projects.report import ALPHA, follows
from vaelib.evaluate import grid_log_evidence
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.posterior import Diagonal
from vaelib.prior import Mixture

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
import open_work as answers  # noqa: E402


@pytest.fixture(autouse=True)
def untyped(plain_errors):
    """Learners have no beartype."""


def faults(report):
    assert not report.passed
    assert report.beaten is None
    assert "not valid" in str(report)
    return " ".join(report.faults)


# The tests that all share


def test_right_counts_are_kept_and_wrong_ones_refused(generator):
    p = torch.tensor([0.5, 0.3, 0.15, 0.04, 0.01])
    p_values = []
    for _ in range(200):
        drawn = torch.multinomial(p, 2000, replacement=True, generator=generator)
        p_values.append(follows(drawn.bincount(minlength=5)[None], p[None]))
    # Of 200 uniform numbers the mean is ½ ± 5 · 0.289 / √200.
    assert abs(sum(p_values) / 200 - 0.5) < 5 * 0.289 / math.sqrt(200)
    drawn = torch.multinomial(p.roll(1), 2000, replacement=True, generator=generator)
    assert follows(drawn.bincount(minlength=5)[None], p[None]) < ALPHA
    # What lies where no probability is counts too.
    assert follows(torch.tensor([[1000.0, 60.0]]), torch.tensor([[1.0, 0.0]])) < ALPHA


# A posterior on the plane


@pytest.fixture(scope="module")
def mirrored():
    return answers.posterior(answers.Mirrored(), steps=250)


def test_a_mirrored_pair_beats_the_best_diagonal_normal(mirrored):
    report = projects.posterior(answers.Mirrored(), mirrored, number=24)
    assert report.passed, report
    assert "passed" in str(report)


def test_no_diagonal_normal_does():
    report = projects.posterior(Diagonal(), answers.posterior(Diagonal(), steps=60), number=8)
    assert not report.faults
    assert report.beaten is False
    assert report.numbers["mean gap, nats"] > report.numbers["best diagonal normal's, nats"]


def test_the_best_diagonal_normal_is_that_of_another_optimizer():
    """SciPy's simplex, from several places, and a sum over cells of another width."""
    x = torch.tensor([[1.2, 1.1]])
    side = torch.linspace(-4, 4, 141, dtype=torch.float64)
    z = torch.cartesian_prod(side, side).numpy()
    cell = math.log(8 / 140) * 2
    miss = [
        ((z - m) ** 2).sum(1) ** 0.5 - v for m, v in zip([(-1, 0), (1, 0)], [1.2, 1.1], strict=True)
    ]
    joint = -0.5 * sum((m / 0.2) ** 2 for m in miss) - 0.5 * (z**2).sum(1)
    joint = torch.from_numpy(joint)
    log_posterior = (joint - joint.logsumexp(0) - cell).numpy()

    def gap(parameters):
        loc, logvar = parameters[:2], parameters[2:].clip(-6, 3)
        log_q = (-0.5 * ((z - loc) ** 2 / math.e**logvar + logvar + math.log(2 * math.pi))).sum(1)
        return float((math.e ** (log_q + cell) * (log_q - log_posterior)).sum())

    starts = [(0, 0.5, -3, -3), (0, -0.5, -3, -3), (0, 0, -2, 0)]
    found = min(optimize.minimize(gap, s, method="Nelder-Mead").fun for s in starts)
    assert plane.best_diagonal(x).item() == pytest.approx(found, abs=2e-3)


def test_a_posterior_that_does_not_integrate_to_one_is_refused(mirrored):
    class Unnormalized(MixtureSameFamily):
        def log_prob(self, z):
            return super().log_prob(z) + math.log(2)  # the ½ of each half, forgotten

    class Twice(answers.Mirrored):
        def forward(self, loc, logvar):
            q = super().forward(loc, logvar)
            return Unnormalized(
                q.mixture_distribution, q.component_distribution, validate_args=False
            )

    assert "sums to 2.0" in faults(projects.posterior(Twice(), mirrored, number=4))


def test_samples_of_one_half_only_are_refused(mirrored):
    class OneSided(answers.Mirrored):
        def push(self, q, eps):
            z, _ = super().push(q, eps.abs())
            return z, q.log_prob(z)

    assert "samples do not follow" in faults(projects.posterior(OneSided(), mirrored, number=4))


def test_a_variance_for_a_deviation_in_push_is_refused(mirrored):
    class Wide(Diagonal):
        def push(self, q, eps):
            z = q.loc + torch.exp(q.logvar) * eps
            return z, q.log_prob(z)

    assert "samples do not follow" in faults(projects.posterior(Wide(), mirrored, number=4))


# A prior for the digits


@pytest.fixture(scope="module")
def model():
    return digits.digits_model(images=1000, epochs=2, hidden=32)


def ask(own, model):
    return projects.prior(own, model, tested=200, points=120)


def test_a_mixture_that_is_trained_on_exact_evidence_beats_the_vamp_prior(model):
    own = answers.prior(model, images=1000, components=30, points=50, steps=60)
    report = ask(own, model)
    assert report.passed, report


def test_the_evidence_is_that_of_the_other_sum(model):
    """`grid_log_evidence` has other cells, in boxes of its own."""
    report = ask(model._prior, model)
    _, x = digits.split(200)
    expected = grid_log_evidence(model, x).log_evidence.mean().item()
    assert report.numbers["VampPrior's, nats"] == pytest.approx(expected, abs=0.01)
    assert report.numbers["gain, nats"] == 0
    assert report.beaten is False


@pytest.fixture(scope="module")
def around(model):
    """A mixture where the codes are."""
    torch.manual_seed(0)
    own = Mixture(2, 4)
    with torch.no_grad():
        spread = model._prior().variance.sqrt()
        own.loc.copy_(model._prior().mean + own.loc * spread)
        own.logvar.copy_(2 * spread.log().expand(4, 2))
    return own


def test_a_prior_with_a_constant_too_many_is_refused(model, around):
    class Louder(MixtureSameFamily):
        def log_prob(self, z):
            return super().log_prob(z) + 1

    class Cheat(Mixture):
        def forward(self, c=None):
            p = super().forward(c)
            return Louder(p.mixture_distribution, p.component_distribution, validate_args=False)

    cheat = Cheat(2, 4)
    cheat.load_state_dict(around.state_dict())
    assert "sums to 2.7" in faults(ask(cheat, model))


def test_a_prior_that_draws_other_samples_is_refused(model, around):
    class Shifted(Mixture):
        def sample(self, n, c=None, *, generator=None):
            z = super().sample(n, c, generator=generator)
            return 0.9 * (z - z.mean(0)) + z.mean(0)

    cheat = Shifted(2, 4)
    cheat.load_state_dict(around.state_dict())
    assert "samples do not follow" in faults(ask(cheat, model))


def test_a_gain_on_test_images_alone_is_refused(model, around, monkeypatch):
    """The rule by itself: half a nat more on each image that is tested; they come last."""
    plain = digits.log_evidence

    def peeking(model, x, priors, cells):
        mine, theirs = plain(model, x, priors, cells)
        half = torch.arange(len(x)) >= len(x) // 2
        return [theirs + 0.5 * half + 0.01 * (mine - theirs), theirs]

    monkeypatch.setattr(digits, "log_evidence", peeking)
    assert "learned from the wrong ones" in faults(ask(around, model))


def test_cells_that_are_too_wide_are_told(model, around):
    report = projects.prior(around, model, tested=20, points=12)
    assert re.search(r"cells twice as wide .* points=24", faults(report))


# A likelihood for data of one's own


@pytest.fixture(scope="module")
def weather():
    generator = torch.Generator().manual_seed(0)
    train, test = answers.rain(600, generator), answers.rain(150, generator)
    log = ExpTransform().inv
    return train, test, log, answers.fitted(answers.Free(), log(train), generator, epochs=15)


def test_a_likelihood_of_logarithms_beats_both_baselines(weather):
    train, test, log, model = weather
    report = projects.likelihood(model, train, test, low=0.0, transform=log)
    assert report.passed, report


def test_without_the_jacobian_it_is_refused(weather):
    train, test, _, model = weather

    class Forgotten(type(ExpTransform().inv.inv)):
        def log_abs_det_jacobian(self, x, y):
            return torch.zeros_like(x)

    report = projects.likelihood(model, train, test, low=0.0, transform=Forgotten().inv)
    assert "log_abs_det_jacobian" in faults(report)


def test_a_scale_without_its_factor_is_refused(weather):
    """Data divided by ten have a density ten times as high, which is no better fit."""
    train, test, log, model = weather

    class Tenth(AffineTransform):
        def log_abs_det_jacobian(self, x, y):
            return torch.zeros_like(x) + math.log(10)  # the sign turned round

    x, y = log(train), log(test)
    found = projects.likelihood(model, 10 * x, 10 * y, transform=Tenth(0.0, 0.1))
    assert "is 100.0" in faults(found)
    right = projects.likelihood(model, 10 * x, 10 * y, transform=AffineTransform(0.0, 0.1))
    assert not right.faults
    plain = projects.likelihood(model, x, y)
    lost = plain.numbers["log p(v) ≥ L_50, nats"] - right.numbers["log p(v) ≥ L_50, nats"]
    assert lost == pytest.approx(12 * math.log(10), abs=0.2)  # sampling of L_50


def test_test_data_among_the_training_data_are_refused(weather):
    train, test, log, model = weather
    report = projects.likelihood(model, torch.cat([train, test[:20]]), test, low=0.0, transform=log)
    assert "13% of the test data are training data" in faults(report)


class Photons(Likelihood):
    support, remedy = constraints.nonnegative_integer, "whole numbers"

    def prepare(self, pixels, *, generator=None):
        return pixels.float()

    def undo(self, x):
        return (x / 255).clamp(0, 1)

    def forward(self, raw):
        return Independent(Poisson(raw.clamp(max=5).exp(), validate_args=False), 1)


@pytest.fixture(scope="module")
def counted():
    generator = torch.Generator().manual_seed(0)
    train = torch.poisson(answers.rain(600, generator), generator=generator)
    test = torch.poisson(answers.rain(150, generator), generator=generator)
    return train, test, answers.fitted(Photons(), train, generator, epochs=15)


def test_counts_beat_both_baselines(counted):
    train, test, model = counted
    report = projects.likelihood(model, train, test, values=torch.arange(250.0))
    assert report.passed, report


def test_counts_beyond_the_values_are_missed(counted):
    train, test, model = counted
    report = projects.likelihood(model, train, test, values=torch.arange(6.0))
    assert "density is 0." in faults(report)


def test_a_poisson_without_its_factorial_is_refused(counted):
    train, test, model = counted

    class Kernel(Poisson):
        def log_prob(self, value):
            return super().log_prob(value) + (value + 1).lgamma()

    class Cheat(Photons):
        def forward(self, raw):
            return Independent(Kernel(raw.clamp(max=5).exp(), validate_args=False), 1)

    model.likelihood, kept = Cheat(), model.likelihood
    try:
        report = projects.likelihood(model, train, test, values=torch.arange(250.0))
    finally:
        model.likelihood = kept
    assert "density is" in faults(report)


def test_rounder_samples_than_the_density_are_refused(counted):
    train, test, model = counted

    class Even(Photons):
        def sample(self, raw, generator):
            return (super().sample(raw, generator) / 2).round() * 2

    model.likelihood, kept = Even(), model.likelihood
    try:
        report = projects.likelihood(model, train, test, values=torch.arange(250.0))
    finally:
        model.likelihood = kept
    assert "samples do not follow" in faults(report)


def test_both_baselines_are_distributions():
    """Of one pixel: frequencies sum to one, kernels integrate to one, and so does a normal."""
    generator = torch.Generator().manual_seed(0)
    train = torch.poisson(torch.full((50, 1), 3.0), generator=generator)
    values = torch.arange(30.0)
    assert measured.independent_pixels(train, values[:, None], values).exp().sum() == pytest.approx(
        1
    )
    train = train + torch.rand(train.shape, generator=generator)
    for baseline in (measured.independent_pixels, measured.gaussian):
        total, _ = integrate.quad(
            lambda v, of=baseline: of(train, torch.tensor([[v]]).float(), None).exp().item(),
            -20, 30, limit=200, epsabs=1e-5,
        )  # fmt: skip
        assert total == pytest.approx(1, abs=1e-3)


# What is recorded, and the page

PAGE = (ROOT / "book" / "open_work.md").read_text()


def test_the_record_says_where_it_comes_from_and_each_project_has_an_answer_that_passes():
    record = course.recorded("open_work")
    assert record.keys() >= {"command", "commit", "device", "versions", "date"}
    assert record["command"] == "python benchmarks/open_work.py"
    for project in ("posterior", "prior", "likelihood"):
        assert any(r["passed"] for n, r in record["reports"].items() if n.startswith(project))


def test_each_number_of_a_result_on_the_page_is_recorded():
    known = [
        value
        for report in course.recorded("open_work")["reports"].values()
        for value in report["numbers"].values()
    ]
    said = re.findall(r"(?m)^\| .*\|$", PAGE)
    said = re.findall(r"[−-]?\d+\.\d+", " ".join(said))
    assert len(said) >= 10
    for text in said:
        value, decimals = float(text.replace("−", "-")), len(text.split(".")[1])
        assert any(abs(k - value) <= 0.501 * 10**-decimals for k in known), text


def test_the_code_of_the_page_runs(capsys):
    """All of it, in order, with fewer steps."""
    space = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        assert max(map(len, code.splitlines())) <= 76
        code = code.replace("range(1000)", "range(20)").replace(
            "digits_model()", "digits_model(images=300, epochs=1, hidden=16)"
        )
        exec(code, space)
    printed = capsys.readouterr().out
    for project in ("posterior", "prior", "likelihood"):
        assert f"project {project}" in printed
    assert "passed" not in printed  # a start is no answer


def test_kl_of_the_gap_is_that_of_two_normals():
    """Where the posterior is a normal on the plane, the sum is the closed form."""
    p = DiagonalNormal(torch.tensor([0.3, -0.2]).double(), torch.tensor([-1.0, -2.0]).double())
    q = DiagonalNormal(torch.tensor([0.1, 0.4]).double(), torch.tensor([-1.5, -1.0]).double())
    cells = plane._exact(torch.ones(1, 2))
    exact = cells._replace(log_posterior=p.log_prob(cells.z)[None])
    expected = torch.distributions.kl_divergence(q, p)
    assert plane._gap(q.log_prob(cells.z)[None], exact).item() == pytest.approx(
        expected.item(), abs=1e-6
    )
