"""evaluate.report: every number of the table, computed again from its parts."""

import math
import re
import statistics

import pytest
import torch

from vaelib import evaluate, nets
from vaelib.evaluate import table
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Bernoulli, Missing
from vaelib.vae import VAE


def tiny(seed, latent=2):
    torch.manual_seed(seed)
    model = VAE(nets.MLPEncoder(6, latent, hidden=(8,)), nets.MLPDecoder(latent, 6, hidden=(8,)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


@pytest.fixture
def x(generator):
    return torch.randint(2, (60, 6), generator=generator).float()


def read(text):
    """The table's lines as a dict from a row's name to its numbers."""
    rows = {}
    for line in text.split("\n\n")[0].splitlines()[1:]:
        name, *cells = re.split(r"\s{2,}", line.strip())
        rows[name] = cells
    return rows


def test_every_number_is_that_of_its_part(x):
    models = {"first": tiny(0), "second": tiny(1)}
    options = {"samples": 40, "elbo_samples": 3}
    report = evaluate.report(models, x, **options, generator=torch.Generator().manual_seed(4))
    # The same noise in the same order: the bound, L_K, and then what the rule draws.
    generator = torch.Generator().manual_seed(4)
    expected = []
    for model in models.values():
        bound = evaluate.elbo(model, x, samples=3, generator=generator)
        evidence = evaluate.log_evidence(model, x, samples=40, generator=generator)
        found = evaluate.trust(model, x, samples=40, encoder=evidence, generator=generator)
        exact = evaluate.grid_log_evidence(model, x, points=60).log_evidence
        values = evidence.log_evidence.tolist()
        sampling = math.sqrt(sum(s**2 for s in evidence.standard_error.tolist())) / 60
        active = sum(
            statistics.variance(column) > 0.01 for column in model.encode(x).loc.mT.tolist()
        )
        expected.append(
            {
                "ELBO": bound.elbo,
                "ELBO's standard error": bound.standard_error,
                "rate": bound.kl,
                "distortion": -bound.log_likelihood,
                "L_40": statistics.fmean(values),
                "L_40's standard error": statistics.stdev(values) / math.sqrt(60),
                "of that, sampling": sampling,
                "too low by at least": max(found.shortfall, 0.0),
                "effective samples": statistics.median_low(evidence.effective_sample_size.tolist()),
                "bits per dimension, ELBO": -bound.elbo / math.log(2) / 6,
                "bits per dimension, L_40": -statistics.fmean(values) / math.log(2) / 6,
                "active units": active,
                "log p(x) on a grid": statistics.fmean(exact.tolist()),
            }
        )
    rows = read(str(report))
    assert set(rows) == {*expected[0], "the grid's error"}
    half = {"effective samples": 0.51, "active units": 0}
    for name in expected[0]:
        both = [column[name] for column in expected]
        for cell, value in zip(rows[name], both, strict=False):
            assert float(cell) == pytest.approx(value, abs=half.get(name, 0.0051))
        if name in ("ELBO", "rate", "distortion", "L_40", "log p(x) on a grid", "active units"):
            mean, deviation = (float(part) for part in rows[name][2].split(" ± "))
            assert mean == pytest.approx(sum(both) / 2, abs=0.0051)
            # Of two values, the sample deviation is their distance over √2.
            assert deviation == pytest.approx(abs(both[0] - both[1]) / math.sqrt(2), abs=0.0051)
    said = " ".join(str(report).split())
    assert "60 data." in said
    assert "over 2 models (n−1)" in said
    assert "of 2, variance of q's mean over these data > 0.01" in said
    assert "minus nats / log 2, by the 6 values of a datum. Lower is better." in said
    assert list(report.bits.values()) == [s.bits for s in report.scores.values()]


def missing():
    """A model whose posteriors are near the prior, and an encoder that is far from it."""
    model = tiny(0)
    with torch.no_grad():
        model.decoder[0].weight.mul_(0.1)
        for head in (model.encoder.loc, model.encoder.logvar):
            head.weight.zero_()
        model.encoder.loc.bias.fill_(3)
        model.encoder.logvar.bias.fill_(-3)
    return model


def test_the_warning_stands_where_the_encoder_misses(x):
    good, bad = missing(), missing()
    with torch.no_grad():
        for head in (good.encoder.loc, good.encoder.logvar):
            head.bias.zero_()
    report = evaluate.report(
        [good, bad], x, samples=300, generator=torch.Generator().manual_seed(1)
    )
    trust = [scores.trust for scores in report.scores.values()]
    assert [t.trusted for t in trust] == [True, False]
    assert [line[:15] for line in str(report).splitlines() if "WARNING" in line] == [
        "WARNING, seed 1"
    ]
    said = str(report)
    assert f"at least {trust[1].shortfall:.2f} nats too low" in " ".join(said.split())
    assert max(map(len, said.splitlines())) <= 76  # as wide as code on a page of the course


def test_a_refined_q_has_rows_of_its_own_and_shortens_the_warning(x, monkeypatch):
    model, seed = missing(), torch.Generator().manual_seed
    q = DiagonalNormal(torch.zeros(60, 2), torch.zeros(60, 2))  # the prior, near every posterior
    monkeypatch.setattr(table, "refined_q", lambda *_, **__: q)
    report = evaluate.report(model, x, samples=300, refine=True, check=5, generator=seed(1))
    generator = seed(1)
    evaluate.elbo(model, x, samples=10, generator=generator)
    low = evaluate.log_evidence(model, x, samples=300, generator=generator)
    high = evaluate.log_evidence(model, x, samples=300, q=q, generator=generator)
    rows, values = report.rows(), high.log_evidence.tolist()
    assert rows["L_300"] == [pytest.approx(low.log_evidence.mean().item())]
    assert rows["L_300, q refined"] == [pytest.approx(statistics.fmean(values))]
    bits = -statistics.fmean(values) / math.log(2) / 6
    assert rows["bits per dimension, L_300"] == [pytest.approx(bits)]
    error = statistics.stdev(values) / math.sqrt(60)
    assert rows["  standard error, q refined"] == [pytest.approx(error)]
    median = statistics.median_low(high.effective_sample_size.tolist())
    assert rows["effective samples, q refined"] == [pytest.approx(median)]
    assert median > 200 > rows["effective samples"][0]
    # All 60 are compared, whatever `check` is: that is sharper, and costs nothing.
    shortfall = (high.log_evidence - low.log_evidence).mean().item() - math.log(1000) / 60
    said = " ".join(str(report).split())
    assert said.endswith(
        f"WARNING, model: L_300 from the encoder's q is at least {shortfall:.2f} nats too low; "
        f"take L_300, q refined."
    )
    assert said.count("WARNING") == 1


def test_chunks_are_as_large_as_asked_for_and_change_no_more_than_the_noise(x, monkeypatch):
    model, shapes = tiny(0, latent=3), []
    decode = model.decode
    monkeypatch.setattr(model, "decode", lambda z: shapes.append(z.shape[:-1]) or decode(z))
    how = {"samples": 400, "elbo_samples": 5, "check": 20}
    small = evaluate.report(model, x, **how, at_once=60, batch_size=17)
    assert {shape[1] for shape in shapes} == {17, 60 % 17, 20 % 17}
    assert {shape[0] for shape in shapes} == {5, 60, 400 % 60, 16, 160}  # 16, 160: refined_q
    shapes.clear()
    monkeypatch.setattr(table, "trust", lambda *_, **__: None)
    large = evaluate.report(model, x, **how, at_once=1000, batch_size=100)
    assert shapes == [(5, 60), (400, 60)]
    found = [r.scores["model"].evidence for r in (small, large)]
    error = math.hypot(*(evidence.sampling_error for evidence in found))
    assert abs(found[0].mean - found[1].mean) < 4 * error


def test_one_model_has_no_deviation_and_three_latents_no_grid(x):
    text = str(evaluate.report(tiny(0, latent=3), x, samples=20, check=5))
    assert "±" not in text
    assert "grid" not in text
    assert "of 3, variance" in text


def test_models_of_different_size_share_a_table(x):
    models = {"two": tiny(0), "three": tiny(0, latent=3)}
    rows = read(str(evaluate.report(models, x, samples=20, check=5)))
    assert rows["log p(x) on a grid"][1] == "–"
    assert len(rows["log p(x) on a grid"]) == 2  # one value has no deviation


def test_a_deviation_is_of_models_of_one_description(x):
    """Over 16 and over 2 latents, or over two priors, it would be no deviation over seeds."""
    other = VAE(
        (same := tiny(1)).encoder,
        same.decoder,
        prior=DiagonalNormal(torch.ones(2), torch.zeros(2)),
    )
    how = {"samples": 20, "check": 5}
    for models in ([tiny(0), tiny(1, latent=3)], [tiny(0), other]):
        report = evaluate.report(models, x, **how)
        assert not report.alike
        text = " ".join(str(report).split())
        assert "±" not in text
        assert "The models differ in more than their weights: no deviation" in text
        assert "models (n−1)" not in text
        assert max(map(len, str(report).splitlines())) <= 76
    alike = evaluate.report([tiny(0), tiny(1)], x, **how)
    assert alike.alike
    assert "±" in str(alike)


def test_no_nan_stands_in_the_table(x):
    """One sample has no sampling error."""
    text = str(evaluate.report([tiny(0), tiny(1)], x, samples=1, check=5))
    assert "nan" not in text
    assert read(text)["of that, sampling"][:2] == ["–", "–"]


def test_what_a_likelihood_says_of_itself_stands_under_the_table(x, monkeypatch):
    model = tiny(0)
    monkeypatch.setattr(model.likelihood, "notes", lambda: ["Column 3 has reached the floor."])
    said = str(evaluate.report([model, model], x, samples=10, check=5))
    assert said.count("Column 3 has reached the floor.") == 1


def test_a_grid_that_is_left_out_is_missed(x):
    text = str(evaluate.report([tiny(0), tiny(1)], x, samples=10, check=5, grid=False))
    assert "log p(x) on a grid" not in read(text)
    assert " ".join(text.split()).count("is left out: it would take long") == 1
    without = str(evaluate.report(tiny(0, latent=3), x, samples=10, check=5, grid=False))
    assert "on a grid" not in without  # it has none


def test_data_of_which_nothing_is_seen_are_refused():
    model = VAE(
        nets.MLPEncoder(12, 2, hidden=(8,)),
        nets.MLPDecoder(2, 6, hidden=(8,)),
        likelihood=Missing(Bernoulli()),
    )
    with pytest.raises(ValueError, match="of which something is seen, got 3 without"):
        evaluate.report(model, torch.full((3, 6), torch.nan))


def test_no_model_is_refused(x):
    with pytest.raises(ValueError, match="at least one model, got none"):
        evaluate.report([], x)
