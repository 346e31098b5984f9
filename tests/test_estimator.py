"""estimator: a transformer by scikit-learn's own rules, and its numbers against exact ones."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from vaelib.estimator import VAEEncoder


def small(**options):
    return VAEEncoder(**{"hidden": (8,), "epochs": 5, "random_state": 0} | options)


@pytest.fixture(scope="module")
def table():
    """Two groups in four columns of different units, 300 rows, and which group each is of."""
    source = np.random.default_rng(0)
    group = source.integers(2, size=300)
    causes = np.stack([group * 3.0 + source.normal(size=300), source.normal(size=300)], 1)
    loadings = np.array([[1.0, -100.0, 0.01, 0.0], [0.5, 30.0, 0.0, 2.0]])
    noise = np.array([0.5, 40.0, 0.004, 1.0]) * source.normal(size=(300, 4))
    return causes @ loadings + noise + [10.0, 0.0, -3.0, 500.0], group


@pytest.fixture(scope="module")
def linear(table):
    return VAEEncoder(net="linear", epochs=100, lr=1e-2, random_state=0).fit(table[0])


@pytest.mark.usefixtures("plain_errors")  # constructors take anything there, by its rules
def test_scikit_learns_own_checks_pass_without_an_exception():
    done = check_estimator(small(epochs=2), on_skip=None)
    left = [(c["check_name"], c["status"]) for c in done if c["status"] != "passed"]
    # Skipped by scikit-learn itself, unless a variable of the environment asks for it.
    assert left == [("check_array_api_input", "skipped")]
    assert len(done) > 40


def exact(encoder):
    """Mean and covariance of x of a linear decoder, from its numbers alone."""
    model = encoder.run_.model
    (layer,) = (m for m in model.decoder.modules() if isinstance(m, torch.nn.Linear))
    weight, bias = (t.detach().double().numpy() for t in (layer.weight, layer.bias))
    family = model.likelihood
    shift, factor, logvar = (
        t.detach().double().numpy() for t in (family.shift, family.factor, family.logvar)
    )
    psi = np.diag(np.exp(logvar) + family.floor**2)
    units = np.diag(factor)
    return shift + factor * bias, units @ (weight @ weight.T + psi) @ units


def test_score_is_the_log_density_of_a_linear_model(linear, table):
    """In the columns' own units, from 0.01 to 100: their Jacobian is in it."""
    x, (mean, covariance) = table[0], exact(linear)
    away = x - mean
    squared = (away @ np.linalg.inv(covariance) * away).sum(1)
    _, log_det = np.linalg.slogdet(2 * np.pi * covariance)
    density = (-0.5 * (squared + log_det)).mean()
    # Of 100 samples of a q that is nearly the posterior, log p misses by its variance over 200.
    assert linear.score(x) == pytest.approx(density, abs=0.02)


def test_samples_have_the_models_mean_and_covariance(linear):
    mean, covariance = exact(linear)
    drawn = linear.sample(20_000, random_state=1)
    spread = np.sqrt(np.diag(covariance))
    assert drawn.shape == (20_000, 4)
    # Four standard errors of a mean, and of a correlation's, which is below 1/√n.
    assert (np.abs(drawn.mean(0) - mean) < 4 * spread / np.sqrt(20_000)).all()
    wrong = np.corrcoef(drawn.T) - covariance / np.outer(spread, spread)
    assert np.abs(wrong).max() < 4 / np.sqrt(20_000)
    np.testing.assert_array_equal(drawn, linear.sample(20_000, random_state=1))
    assert not np.array_equal(drawn, linear.sample(20_000, random_state=2))


def test_codes_are_the_encoders_and_go_back_to_means(linear, table):
    x = table[0]
    codes = linear.transform(x)
    np.testing.assert_allclose(codes, linear.run_.encode(x).loc.numpy(), atol=1e-5)
    mean = linear.inverse_transform(codes)
    right = linear.run_.decode(torch.from_numpy(codes).float()).mean.numpy()
    np.testing.assert_allclose(mean, right, rtol=1e-6)
    # Two causes behind four columns: most of what varies comes back.
    assert ((x - mean).var(0) < 0.6 * x.var(0)).all()
    assert list(linear.get_feature_names_out()) == ["vaeencoder0", "vaeencoder1"]


def test_in_a_pipeline_and_in_a_search(table):
    x, group = table
    pipe = make_pipeline(
        VAEEncoder(net="linear", epochs=20, lr=1e-2, random_state=0), LogisticRegression()
    )
    # The groups lie 3 apart in a cause with a deviation of 1: at best Φ(1.5), 93 %, are told.
    assert pipe.fit(x[:200], group[:200]).score(x[200:], group[200:]) > 0.8
    search = GridSearchCV(pipe, {"vaeencoder__latent": [1, 2]}, cv=2).fit(x, group)
    assert search.best_params_["vaeencoder__latent"] in (1, 2)
    assert search.predict(x).shape == (300,)
    # By its own score: a model that has not been trained is chosen by nobody.
    grid = {"epochs": [1, 20]}
    alone = GridSearchCV(VAEEncoder(net="linear", random_state=0, lr=1e-2), grid, cv=2).fit(x)
    assert alone.best_params_ == {"epochs": 20}


def test_clone_and_pickle(table):
    x = table[0]
    encoder = small(latent=3).fit(x)
    again = clone(encoder)
    assert again.get_params() == encoder.get_params()
    with pytest.raises(NotFittedError):
        again.transform(x)
    with pytest.raises(NotFittedError):
        again.sample()
    kept = pickle.dumps(encoder)
    np.testing.assert_array_equal(pickle.loads(kept).transform(x), encoder.transform(x))
    assert pickle.loads(kept).score(x) == encoder.score(x)
    # The rows are not in it: of twice as many it is as large.
    more = pickle.dumps(small(latent=3).fit(np.concatenate([x, x + 1])))
    assert abs(len(more) - len(kept)) < 1000 < x.astype(np.float32).nbytes


def test_random_state(table):
    x = table[0]
    before = torch.random.get_rng_state()
    first, second, other = (small(random_state=s).fit(x).transform(x) for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-3
    source = np.random.RandomState(0)
    drawn, next_ = (small(random_state=source).fit(x).transform(x) for _ in range(2))
    assert np.abs(drawn - next_).max() > 1e-3


@pytest.mark.parametrize("likelihood", ["poisson", "negative-binomial", "student-t", "bernoulli"])
def test_other_likelihoods(likelihood):
    counts = np.random.default_rng(0).poisson([1.0, 30.0, 5.0], size=(60, 3)).astype(float)
    x = counts / counts.max(0) if likelihood == "bernoulli" else counts
    encoder = small(likelihood=likelihood).fit(x)
    assert type(encoder.run_.model.likelihood).__name__ == likelihood.title().replace("-", "")
    assert encoder.transform(x).shape == (60, 2)
    assert np.isfinite(encoder.score(x))
    drawn = encoder.sample(50, random_state=0)
    if likelihood not in ("student-t",):
        np.testing.assert_array_equal(drawn, np.round(drawn))


def test_what_is_wrong_is_said(table):
    with pytest.raises(ValueError, match=r"likelihood: invalid choice: 'normal'"):
        small(likelihood="normal").fit(table[0])
    with pytest.raises(ValueError, match="Poisson: expected whole numbers"):
        small(likelihood="poisson").fit(table[0])
    with pytest.raises(ValueError, match="net"):
        small(net="convolution").fit(table[0])


def test_only_who_asks_for_it_needs_scikit_learn():
    code = (
        "import sys, vaelib, vaelib.run, vaelib.cli\n"
        "print([m for m in sys.modules if m.startswith('sklearn')])\n"
        "sys.modules['sklearn'] = None\n"
        "try:\n    import vaelib.estimator\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    nothing, words = done.stdout.splitlines()
    assert nothing == "[]"
    assert 'pip install "vaelib[estimator]"' in words
