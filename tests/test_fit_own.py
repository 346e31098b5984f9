"""Seven kinds of data in Python: from file to trained, scored, sampled, encoded, and back again."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaelib
from vaelib import data, nets, train
from vaelib.arguments import BadType, BadValue
from vaelib.likelihood import Likelihood
from vaelib.run import Score, Trained, settings
from vaelib.run.fit import prepare
from vaelib.run.odd import usual
from vaelib.vae import VAE

SMALL = {"hidden": [16], "latent": 2, "epochs": 2, "batch_size": 16, "progress": False}
N, SIDE = 60, 16


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def numbers():
    return np.random.default_rng(20261128)


def spots(channels=1):
    """Pictures of a bright square somewhere, uint8 [n, channels, side, side]."""
    source = numbers()
    pictures = source.integers(0, 60, (N, channels, SIDE, SIDE))
    for picture in pictures:
        row, column = source.integers(0, SIDE - 6, 2)
        picture[source.integers(channels), row : row + 6, column : column + 6] += 150
    return pictures.astype(np.uint8)


def folder(path, pictures, names=None):
    for i, picture in enumerate(pictures):
        there = Path(path) if names is None else Path(path) / names[i]
        there.mkdir(parents=True, exist_ok=True)
        mode = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
        Image.fromarray(mode).save(there / f"{i:03}.png")


def measurements(n=N):
    """Four columns of two causes, in units that are far apart."""
    source = numbers()
    causes = source.normal(size=(n, 2))
    table = causes @ source.normal(size=(2, 4)) + 0.3 * source.normal(size=(n, 4))
    return table * [1, 1000, 0.01, 5] + [0, 50, 3, -2]


def csv(path, table):
    lines = [",".join("" if math.isnan(v) else repr(float(v)) for v in row) for row in table]
    Path(path).write_text("\n".join(["mass,length,age,charge", *lines]) + "\n")


def grey(path):
    folder(path, spots())


def colour(path):
    folder(path, spots(3))


def floats(path):
    np.save(path, spots()[:, 0] / 255.0 * 3 - 1)


def counts(path):
    rates = spots()[:, 0] / 60.0
    np.save(path, numbers().poisson(rates))


def table(path):
    csv(path, measurements())


def labels(path):
    folder(path, spots(), ["cat" if i % 3 else "dog" for i in range(N)])


def holes(path):
    values = measurements()
    values[(numbers().random(values.shape) < 0.3) & (np.arange(4) > 0)] = np.nan
    csv(path, values)


# How each is written, its file, what the run then is, and options of its own.
KINDS = {
    "grey": (grey, "pictures", ("bernoulli", "pixels", 256), {}),
    "colour": (colour, "pictures", ("logistics", "pixels", 768), {"net": "conv"}),
    "floats": (floats, "a.npy", ("gaussian", "numbers", 256), {}),
    "counts": (counts, "a.npy", ("poisson", "counts", 256), {}),
    "table": (table, "a.csv", ("gaussian", "numbers", 4), {"net": "linear", "hidden": []}),
    "labels": (labels, "classes", ("bernoulli", "pixels", 256), {"condition": True}),
    "missing": (holes, "a.csv", ("gaussian", "numbers", 4), {}),
}


def filled_in(run, new, name):
    """What is missing, be it in the data or said by a mask, is filled in, and the rest is kept."""
    mask = torch.ones(new.test.shape, dtype=torch.bool)
    mask[:, 1] = False
    if name == "missing":
        mask &= ~new.test.isnan()
    filled = run.impute(new, mask, samples=20)
    own = new.test.float() / 255 if run.kind == "pixels" else new.test.float()
    assert filled.isfinite().all()
    assert torch.equal(filled[mask], own[mask])
    if name == "table":
        draws = run.impute(new, mask, samples=20, draws=3)
        assert draws.shape == (3, *own.shape)
        assert torch.equal(draws[:, mask], own[mask].expand(3, -1))
        assert (draws[0, :, 1] != draws[1, :, 1]).any()


# The models of this test are hardly trained, and their proposals are as good.
@pytest.mark.filterwarnings("ignore:impute. . of . data have fewer than 10 effective samples")
@pytest.mark.parametrize("name", KINDS)
def test_from_file_to_trained_scored_sampled_encoded(name, here):
    write, path, (likelihood, kind, values), options = KINDS[name]
    write(path)
    run = vaelib.fit(path, folder="run", **SMALL | options)
    assert isinstance(run, Trained)
    ours = run.settings
    assert (ours.likelihood, run.kind, run.layout.values) == (likelihood, kind, values)
    assert (len(run.test), len(run.history)) == (6, 2)
    assert ours.missing == (name == "missing")
    new = data.own(path)  # a Dataset, whose test is new data, with its labels
    noise = torch.Generator().manual_seed(3)
    codes = run.encode(new)
    assert codes.loc.shape == (6, 2)
    p = run.reconstruct(new, generator=noise)
    assert p.mean.shape == (6, values)
    label = "dog" if name == "labels" else None
    drawn = run.sample(5, label, generator=noise)
    assert drawn.shape == (5, values)
    assert run.decode(codes.loc[:1], label).mean.shape == (1, values)
    score = run.log_prob(new, samples=20)
    assert score.log_prob.shape == (6,)
    assert (score.elbo < score.log_prob + 5 * score.error + 1e-3).all()
    seen = (~new.test.isnan()).sum(1) if name == "missing" else values
    torch.testing.assert_close(score.bits, -score.log_prob / math.log(2) / seen)
    if name in ("counts", "table", "labels", "missing"):  # of the others it takes long
        filled_in(run, new, name)
    # And all of it comes back from the folder.
    again = vaelib.load("run")
    assert again.settings == ours
    assert [line.loss for line in again.history] == [line.loss for line in run.history]
    assert torch.equal(again.encode(path).loc, run.encode(path).loc)
    assert torch.equal(again.log_prob(new, samples=20).log_prob, score.log_prob)
    noise.manual_seed(3)
    assert torch.equal(again.reconstruct(new, generator=noise).mean, p.mean)
    assert torch.equal(again.sample(5, label, generator=noise), drawn)
    if name == "missing":  # of the others it takes long
        assert "L_20" in str(again.evaluate(samples=20))


# Numbers against the model's own, computed another way


def test_a_linear_run_of_a_table_scores_by_the_normal_that_it_is(here):
    """log p(x) in the units of the file, against the density of x's own mean and covariance."""
    csv("a.csv", measurements(200))
    run = vaelib.fit("a.csv", net="linear", latent=2, epochs=40, batch_size=32, progress=False)
    model, test = run.model, run.test.double()
    # The decoder is affine: its value at 0 and at unit vectors says all, in the units of the file.
    z = torch.cat([torch.zeros(1, 2), torch.eye(2)])
    means = run.decode(z).mean.double()
    noise = run.decode(z[:1]).variance[0].double()
    loadings = (means[1:] - means[0]).T
    exact = torch.distributions.MultivariateNormal(
        means[0], loadings @ loadings.T + noise.diag()
    ).log_prob(test)
    score = run.log_prob(run.test, samples=2000)
    miss = (score.log_prob.double() - exact).abs()
    # 5 standard errors of 20 estimates, and the rounding of float32.
    assert (miss < 5 * score.error + 1e-3).all()
    assert score.error.max() < 0.5
    gap = exact - score.elbo
    assert gap.mean() > -5 * gap.std() / 20**0.5  # the ELBO is drawn
    assert model.likelihood.notes() == []


def test_a_unit_costs_its_logarithm_and_nothing_else(here):
    """Metres in millimetres: log 1000 nats a column, exactly, and the same codes."""
    values = measurements(100)
    scores, codes = [], []
    for factor in (1, 1000):
        table = torch.tensor(values * [1, factor, 1, 1], dtype=torch.float32)
        run = vaelib.fit(table, net="linear", latent=2, epochs=3, progress=False)
        scores.append(run.log_prob(table, samples=50).log_prob)
        codes.append(run.encode(table).loc)
    cost = torch.full((100,), math.log(1000))
    torch.testing.assert_close(scores[0] - scores[1], cost, atol=2e-3, rtol=0)
    torch.testing.assert_close(*codes, atol=1e-4, rtol=1e-4)


# The odd ones


def test_oddness_is_what_lies_below_the_curve():
    """A parabola is found, its ends go on straight, and a blank is not the best any more."""
    ink = torch.linspace(0.1, 0.5, 401)
    scores = -20 - 300 * ink + 200 * ink**2
    curve = usual(ink, scores)
    inside = ink[5:-5]
    torch.testing.assert_close(curve(inside), scores[5:-5], atol=1e-3, rtol=0)
    low, high = curve.low, curve.high
    assert (low, high) == pytest.approx((0.104, 0.496), abs=1e-4)
    for end, there in ((low, 0.0), (high, 1.0)):
        straight = -20 - 300 * end + 200 * end**2 + (-300 + 400 * end) * (there - end)
        assert curve(torch.tensor([there])).item() == pytest.approx(straight, abs=1e-2)
    assert curve.beyond(torch.tensor([0.09, 0.3, 0.51])).tolist() == [True, False, True]
    # Few data get a line, and of one ink the mean.
    line = usual(ink[:20], -3 * ink[:20])
    assert len(line.powers) == 2
    assert usual(torch.ones(20), scores[:20])(torch.ones(1)).item() == pytest.approx(
        scores[:20].mean().item(), abs=1e-3
    )
    with pytest.raises(BadValue, match=r"at least 10 held-out data .* got 9; .*against=None"):
        usual(ink[:9], ink[:9])


def test_a_blank_is_no_longer_the_best(here, digits):
    """By log p(x) a blank sheet beats nearly every digit; beside its ink it beats few."""
    made = data.Dataset(digits.train[:2000], digits.test[:300], data.Pictures(28, 28))
    run = vaelib.fit(made, latent=8, hidden=[64], epochs=6, folder="run", progress=False)
    blank = torch.zeros(20, 784, dtype=torch.uint8)
    score = run.log_prob(torch.cat([digits.test[300:400], blank]), samples=100)
    digit, nothing = slice(0, 100), slice(100, None)

    def odder(by):
        return (by[nothing][:, None] > by[digit]).float().mean().item()

    torch.testing.assert_close(score.oddness(None), -score.log_prob)
    assert odder(score.oddness(against=None)) < 0.2
    assert odder(score.oddness(against="ink")) > 0.6
    assert score.beyond()[nothing].all()
    assert score.beyond()[digit].float().mean() < 0.05
    assert (score.ink[nothing] == 0).all()
    assert "effective samples of 100" in score.warning
    # From the folder, where the held-out rows of an array are kept.
    again = vaelib.load("run").log_prob(torch.cat([digits.test[300:400], blank]), samples=100)
    assert torch.equal(again.oddness(), score.oddness())


def test_a_table_of_numbers_has_no_ink(here):
    run = vaelib.fit(torch.randn(40, 3), latent=1, epochs=1, progress=False)
    score = run.log_prob(torch.zeros(1, 3))
    assert score.ink is None
    assert score.oddness(against=None).item() == -score.log_prob.item()
    with pytest.raises(BadValue, match="a table of numbers has no ink; take against=None"):
        score.oddness()
    with pytest.raises(BadValue, match="against='ink' or None, got 'size'"):
        score.oddness("size")


# Labels


def test_a_label_is_a_number_or_a_name_for_all_or_for_each(here):
    labels("classes")
    run = vaelib.fit("classes", condition=True, **SMALL)
    assert run.classes == ("cat", "dog")
    z = run.prior.sample((3,))
    said = [run.decode(z, label).mean for label in ("dog", 1, ["dog"] * 3, torch.ones(3).long())]
    assert all(torch.equal(said[0], other) for other in said[1:])
    assert not torch.equal(said[0], run.decode(z, "cat").mean)
    rows = run.test[:2]
    mixed = run.encode(rows, ["cat", "dog"]).loc
    assert torch.equal(mixed[0], run.encode(rows, "cat").loc[0])
    for label, says in (
        (None, "trained given the class; say which, one of cat, dog"),
        ("cow", "expected one of cat, dog, or its number from 0 to 1, got 'cow'"),
        (2, "got 2"),
        ([0], "one for all, or one for each of 2, got 1"),
    ):
        with pytest.raises(BadValue, match=says):
            run.encode(rows, label)
    plain = vaelib.fit("classes", **SMALL)
    assert plain.classes == ("cat", "dog")
    with pytest.raises(BadValue, match=r"trained without labels, .*condition=True"):
        plain.sample(2, "dog")
    with pytest.raises(BadValue, match="--condition: the data have no labels"):
        vaelib.fit(torch.rand(30, 4), condition=True, progress=False)


# What does not fit


def test_new_data_that_are_laid_out_otherwise_are_refused(here):
    grey("pictures")
    run = vaelib.fit("pictures", **SMALL)
    for new, says in (
        (torch.zeros(3, 8, 8, dtype=torch.uint8), r"expected grey pictures of 16 x 16"),
        (torch.rand(3, 16, 16), r"expected pixels, uint8 from 0 to 255"),
        (torch.zeros(3, 3, 16, 16, dtype=torch.uint8), r"expected grey pictures of 16 x 16"),
    ):
        for use in (run.encode, run.reconstruct, run.log_prob, run.impute):
            with pytest.raises((ValueError, TypeError), match=says):
                use(new)
    one = run.encode(spots()[0, 0])
    assert torch.equal(one.loc[0], run.encode(torch.from_numpy(spots()[:1, 0])).loc[0])
    with pytest.raises(BadValue, match="seen as True and False of shape"):
        run.impute(run.test, np.ones((2, 2), bool))


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"latent": 0}, "latent: expected a whole number from 1"),
        ({"lr": "fast"}, "lr: expected"),
        ({"depth": 3}, "fit: depth is no option; expected some of .*latent"),
        ({"height": 3}, "fit: height is no option"),
        ({"condition": 10}, "condition: expected True or False, got 10"),
        ({"net": "conv"}, "--net conv: expected pictures, got a table"),
        ({"prior": "vamp"}, "--prior vamp: .* use --prior mixture"),
        ({"likelihood": "cauchy"}, "likelihood: invalid choice"),
        ({"likelihood": "bernoulli"}, "gaussian"),
        ({"device": "tpu"}, "expected auto, cpu, cuda, or cuda:1 say, got 'tpu'"),
        ({"device": "cuda:1"}, "--device cuda:1: torch sees no GPU here"),
        ({"resume": True}, "resume needs folder="),
    ],
)
def test_options_that_do_not_go(given, says):
    with pytest.raises((ValueError, TypeError), match=says):
        vaelib.fit(torch.randn(30, 4), progress=False, **given)


# Runs that go on, and runs that begin where another ended


@pytest.mark.parametrize(
    ("rows", "likelihood", "says"),
    [
        (torch.arange(120, dtype=torch.uint8).view(30, 4), "poisson", "got pixels"),
        (torch.rand(30, 4) + 1, "bernoulli", r"expected numbers in \[0, 1\].*got 1"),
        (-torch.ones(30, 4, dtype=torch.int64), "poisson", "got values|makes values from -1"),
    ],
)
def test_a_likelihood_that_does_not_take_the_data_leaves_no_folder(here, rows, likelihood, says):
    with pytest.raises((BadValue, BadType), match=says):
        vaelib.fit(rows, likelihood=likelihood, folder="run", **SMALL)
    assert not Path("run").exists()


def test_a_run_goes_on_in_python(here):
    table = torch.randn(60, 4)
    how = {"hidden": [8], "latent": 2, "progress": False}
    whole = vaelib.fit(table, epochs=4, **how)

    class StopError(Exception):
        pass

    def stop(line, model):
        if line.epoch == 2:
            raise StopError

    with pytest.raises(StopError):
        vaelib.fit(table, epochs=4, folder="run", callbacks=[stop], **how)
    with pytest.raises(FileExistsError, match="go on from it with"):
        vaelib.fit(table, epochs=4, folder="run", **how)
    with pytest.raises(BadValue, match=r"the held-out data are not those of the run"):
        vaelib.fit(table + 1, folder="run", resume=True, **how)
    with pytest.raises(BadValue, match="its --latent is 2, and here it is 3"):
        vaelib.fit(table, folder="run", resume=True, latent=3, progress=False)
    with pytest.raises(BadValue, match="data that were in memory: nobody can read them again"):
        vaelib.fit(settings.MEMORY, folder="run", resume=True, progress=False)
    again = vaelib.fit(table, folder="run", resume=True, progress=False)
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], weights)


def test_a_run_begins_with_the_weights_of_another(here):
    table = torch.randn(60, 4)
    first = vaelib.fit(table, hidden=[8], latent=3, epochs=3, folder="first", progress=False)
    begun = prepare(table * 2 + 1, None, {"start": "first", "epochs": 1})
    assert (begun.settings.latent, begun.settings.hidden) == (3, [8])
    for name, weights in first.model.state_dict().items():
        assert torch.equal(begun.model.state_dict()[name], weights)
    # Its units stay: they belong to the weights.
    run = begun.train(progress=False)
    assert torch.equal(run.model.likelihood.shift, first.model.likelihood.shift)
    with pytest.raises(BadValue, match=r"expected data as that run's, whose .*width is 4, got 5"):
        vaelib.fit(torch.randn(60, 5), start="first", progress=False)
    with pytest.raises(BadValue, match=r"--start .*first: .*leave out the options that make"):
        vaelib.fit(table, start="first", hidden=[9], progress=False)
    with pytest.raises(FileNotFoundError, match=r"nowhere/settings\.json"):
        vaelib.fit(table, start="nowhere", progress=False)


def test_a_run_of_before_there_were_layouts_is_read(here):
    """Its settings.json has none of the new fields, and its checkpoint none of the new names."""
    pictures = torch.from_numpy(spots()[:, 0])
    np.save("a.npy", pictures.numpy())
    run = vaelib.fit("a.npy", folder="run", **SMALL)
    file = Path("run/settings.json")
    content = json.loads(file.read_text())
    for new in (
        "labels",
        "condition",
        "start",
        "channels",
        "columns",
        "kind",
        "missing",
        "classes",
    ):
        del content[new]
    file.write_text(json.dumps(content))
    again = vaelib.load("run")
    assert again.settings == run.settings
    assert torch.equal(again.test, run.test)
    ours, its = (r.log_prob("a.npy", samples=5).log_prob for r in (run, again))
    assert torch.equal(its, ours)


def test_a_folder_of_train_fit_knows_its_rows(here):
    model = VAE(nets.MLPEncoder(16, 2, hidden=(8,)), nets.MLPDecoder(2, 16, hidden=(8,)))
    rows = torch.randint(0, 256, (30, 16), dtype=torch.uint8)
    train.fit(model, rows, epochs=1, folder="run", progress=False)
    run = vaelib.load("run")
    assert (run.settings, run.layout, run.classes) == (None, data.Pictures(4, 4), ())
    assert run.encode(rows).loc.shape == (30, 2)
    assert isinstance(run.log_prob(rows, samples=5), Score)
    assert "Trained(VAE" in repr(run)
    with pytest.raises(BadValue, match="nothing says what was held out"):
        run.evaluate()


def test_what_would_take_hours_on_a_grid_is_left_out_and_said(here):
    """Of pixels all 80,000 cells are products of matrices; each of 300 counts is a density."""
    counts = np.random.default_rng(0).poisson(3.0, (40, 300))
    run = vaelib.fit(counts, likelihood="poisson", **SMALL)
    said = str(run.evaluate(counts, samples=20))
    assert "the grid's error" not in said
    assert "exact with so few latent dimensions, is left out" in " ".join(said.split())


class Doubled(Likelihood):
    """Of one's own, handed over as a class."""

    support = torch.distributions.constraints.unit_interval
    remedy = "grey"

    def forward(self, raw):
        normal = torch.distributions.Normal(raw, 1.0, validate_args=False)
        return torch.distributions.Independent(normal, 1)


def test_a_class_of_ones_own_is_an_option(here):
    run = vaelib.fit(torch.from_numpy(spots()), likelihood=Doubled, folder="run", **SMALL)
    assert (run.settings.likelihood, run.settings.trust) == ("Doubled", [f"{__name__}:Doubled"])
    assert isinstance(run.model.likelihood, Doubled)
    with pytest.raises(BadValue, match=r"classes=\[Doubled\]"):
        vaelib.load("run")
    again = vaelib.load("run", classes=[Doubled])
    assert torch.equal(again.encode(run.test).loc, run.encode(run.test).loc)
    with pytest.raises(TypeError, match="by its name, or a class, got a Doubled"):
        vaelib.fit(torch.zeros(9, 4), likelihood=Doubled(), progress=False)


def test_what_is_said_before_the_first_step(here, capsys):
    labels("classes")
    vaelib.fit("classes", condition=True, **SMALL | {"epochs": 1, "progress": True})
    out = capsys.readouterr().out
    assert "classes: 54 images of 16 x 16 pixels, and 6 held out, 2 classes" in out
    # 258 inputs, 16 hidden, 2 heads of 2; and 4 inputs, 16 hidden, 256 outputs.
    encoder, decoder = 258 * 16 + 16 + 2 * (16 * 2 + 2), 4 * 16 + 16 + 16 * 256 + 256
    assert f"(encoder and decoder: {encoder:,} + {decoder:,}), on cpu" in out
    assert "bernoulli likelihood, given the class" in out


def test_python_and_the_command_line_have_one_default():
    found = settings.found_in(data.Pictures(8, 8)) | {"device": "cpu", "held_out": "a"}
    chosen = settings.choose({}, 1800, found)
    assert (chosen.likelihood, chosen.epochs, chosen.latent) == ("bernoulli", 100, 16)
    begun = prepare(torch.zeros(2000, 64).byte() + 9, None, {}).settings
    for name in ("likelihood", "epochs", "latent", "lr", "hidden", "net", "prior", "batch_size"):
        assert getattr(begun, name) == getattr(chosen, name)


@pytest.mark.parametrize(
    ("given", "rate", "warmup", "clip"),
    [
        ({}, 2e-3, 2, 100.0),
        ({"epochs": 4}, 2e-3, 1, 100.0),
        ({"likelihood": "gaussian"}, 3e-3, 0, None),
        ({"iwae": 5}, 2e-3, 0, 100.0),  # its loss has no KL to warm up
        ({"net": "two-layer"}, 2e-3, 0, 100.0),
        ({"lr": 0.01, "warmup": 0, "clip": None}, 0.01, 0, None),
    ],
    ids=str,
)
def test_colour_begins_slowly_unless_it_is_told_otherwise(given, rate, warmup, clip):
    found = settings.found_in(data.Pictures(32, 32, 3)) | {"device": "cpu", "held_out": "a"}
    chosen = settings.choose({"epochs": 20, **given}, 1800, found)
    assert (chosen.lr, chosen.warmup, chosen.clip) == (rate, warmup, clip)
    # And a file gives back what was chosen, None too.
    again = settings.read(settings.Settings, vars(chosen))
    assert again == vars(chosen)
