"""evaluate.report: every number of the table, computed again from its parts."""

import math
import re
import statistics

import pytest
import torch

from vaelib import evaluate, nets
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
        evaluate.trust(model, x, samples=40, encoder=evidence, generator=generator)
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
                "effective samples": statistics.median_low(evidence.effective_sample_size.tolist()),
                "active units": active,
                "log p(x) on a grid": statistics.fmean(exact.tolist()),
            }
        )
    rows = read(str(report))
    assert set(rows) == {*expected[0], "change with half the cells"}
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
    assert "60 data." in str(report)
    assert "over 2 models (n - 1)" in str(report)
    assert "of 2, variance of q's mean over these data > 0.01" in str(report)


def test_the_warning_stands_where_the_encoder_misses(x):
    good, bad = tiny(0), tiny(0)
    with torch.no_grad():
        for model in (good, bad):
            model.decoder[0].weight.mul_(0.1)  # z matters little: every posterior is near the prior
            for head in (model.encoder.loc, model.encoder.logvar):
                head.weight.zero_()
                head.bias.zero_()
        bad.encoder.loc.bias.fill_(3)
        bad.encoder.logvar.bias.fill_(-3)
    report = evaluate.report(
        [good, bad], x, samples=300, generator=torch.Generator().manual_seed(1)
    )
    trust = [scores.trust for scores in report.scores.values()]
    assert [t.trusted for t in trust] == [True, False]
    assert [line[:15] for line in str(report).splitlines() if "WARNING" in line] == [
        "WARNING, seed 1"
    ]
    assert f"at least {trust[1].shortfall:.2f} nats too low" in str(report)


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


def test_no_model_is_refused(x):
    with pytest.raises(ValueError, match="at least one model, got none"):
        evaluate.report([], x)
