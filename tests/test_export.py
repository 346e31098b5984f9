"""export: what other programs compute of the files is what the model computes, at any batch."""

import io
import json
import logging
import subprocess
import sys
import warnings
from itertools import product

import onnxruntime
import pytest
import torch
from torch import nn

from vaelib import export, nets
from vaelib.arguments import BadType, BadValue, Unable
from vaelib.kl import DiagonalNormal
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
from vaelib.posterior import Posterior
from vaelib.prior import VampPrior
from vaelib.vae import IWAE, VAE, Autoencoder, TwoLayerVAE, check_model

SHAPE = (2, 9, 8)
VALUES = 2 * 9 * 8
LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "continuous": ContinuousBernoulli,
    "gaussian": lambda: Gaussian(-1.0),
    "levels": lambda: Categorical(5),
    "logistics": lambda: Logistics(2, channels=SHAPE[0], levels=100),
    "columns": lambda: Gaussian(features=VALUES),
    "student": lambda: StudentT(features=VALUES),
    "poisson": Poisson,
    "negative-binomial": NegativeBinomial,
    "holes": lambda: Missing(Gaussian(features=VALUES)),
}
# Sums of some dozens of products, as two programs order them: some units in the last of 24 digits
# of the largest. Everything is of the size of 1 here.
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


def made(net, likelihood, condition=0):
    """A model in the units of data that are far from 0 and 1, where a likelihood has units."""
    torch.manual_seed(0)
    levels = likelihood.per_pixel
    inputs = likelihood.inputs(VALUES) // VALUES  # two under Missing: what is seen is told too
    if net == "conv":
        doubled = (inputs * SHAPE[0], *SHAPE[1:])
        small = {"channels": 4, "width": 16, "condition": condition}
        encoder = nets.ConvEncoder(3, doubled, **small)
        decoder = nets.ConvDecoder(3, SHAPE, levels=levels, **small)
    else:
        encoder = nets.MLPEncoder(inputs * VALUES, 3, hidden=(16,), condition=condition)
        decoder = nets.MLPDecoder(3, VALUES, levels=levels, hidden=(16,), condition=condition)
    if hasattr(likelihood, "measured"):
        rows = torch.arange(4 * VALUES).reshape(4, VALUES) % 7
        likelihood.measure(rows if "counts" in likelihood.kinds[:1] else rows / 2)
    return VAE(encoder, decoder, likelihood=likelihood, condition=condition)


def given(model, rows, generator):
    """What encoder and decoder get, rows that are all different."""
    x = model.likelihood.example(rows, model.pixels, generator=generator)
    z = torch.randn(rows, model.latent, generator=generator)
    c = [torch.randn(rows, model.condition, generator=generator)] if model.condition else []
    return [x, *c], [z, *c]


def ours(model, x, z):
    """By the model's own methods, and not by those of what was exported."""
    with torch.no_grad():
        return [*model.raw(*x)], [model.decoder(*z), model.decode(*z).mean]


def by_onnx(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    assert names == [["x", "z"]["decoder" in path.name], "c"][: len(inputs)]
    said = session.run(None, {n: t.numpy() for n, t in zip(names, inputs, strict=True)})
    return {o.name: torch.from_numpy(t) for o, t in zip(session.get_outputs(), said, strict=True)}


def by_torch(path, inputs):
    said = torch.export.load(path).module()(*inputs)
    names = ["raw", "mean"] if "decoder" in path.name else ["loc", "logvar"]
    return dict(zip(names, said, strict=True))


def compare(model, paths, run, generator):
    """The largest difference of all outputs at batches of 1, 7 and 64."""
    worst = 0.0
    for rows in (1, 7, 64):
        x, z = given(model, rows, generator)
        known = ours(model, x, z)
        for number, names in enumerate((["loc", "logvar"], ["raw", "mean"])):
            inputs, path, numbers = (x, z)[number], paths[number], known[number]
            said = run(path, inputs)
            assert list(said) == names
            for name, right in zip(names, numbers, strict=True):
                assert said[name].shape == (rows, right[0].numel())
                torch.testing.assert_close(said[name], right, **CLOSE)
                worst = max(worst, (said[name] - right).abs().max().item())
    return worst


# Each likelihood, network and condition; every combination of them in the soak.
SOME = [
    ("bernoulli", "mlp", 0),
    ("gaussian", "conv", 3),
    ("continuous", "conv", 0),
    ("levels", "mlp", 3),
    ("logistics", "conv", 3),
    ("columns", "mlp", 0),
    ("student", "mlp", 3),
    ("poisson", "conv", 3),
    ("negative-binomial", "mlp", 0),
    ("holes", "conv", 0),
]
ALL = list(product(LIKELIHOODS, ["mlp", "conv"], [0, 3]))


@pytest.mark.parametrize(("likelihood", "net", "condition"), SOME)
def test_torch_alone_says_the_same(likelihood, net, condition, tmp_path, generator):
    model = made(net, LIKELIHOODS[likelihood](), condition)
    paths = export.to_torch(model, tmp_path)
    assert [path.name for path in paths] == ["encoder.pt2", "decoder.pt2"]
    compare(model, paths, by_torch, generator)
    texts = {"about.json": ""}
    torch.export.load(paths[0], extra_files=texts)
    assert json.loads(texts["about.json"]) == export.about(model)


@pytest.mark.parametrize(("likelihood", "net", "condition"), [SOME[0], SOME[4]])
def test_onnx_says_the_same(likelihood, net, condition, tmp_path, generator):
    model = made(net, LIKELIHOODS[likelihood](), condition)
    paths = export.to_onnx(model, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["decoder.onnx", "encoder.onnx"]
    compare(model, paths, by_onnx, generator)
    for path in paths:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        assert session.get_modelmeta().custom_metadata_map == export.about(model)
        assert {i.shape[0] for i in session.get_inputs() + session.get_outputs()} == {"batch"}


@pytest.mark.soak
@pytest.mark.parametrize(("likelihood", "net", "condition"), ALL)
def test_all_say_the_same(likelihood, net, condition, tmp_path, generator):
    model = made(net, LIKELIHOODS[likelihood](), condition)
    compare(model, export.to_torch(model, tmp_path), by_torch, generator)
    worst = compare(model, export.to_onnx(model, tmp_path), by_onnx, generator)
    print(f"{likelihood}, {net}, condition {condition}: {worst:.1e}")


def test_the_files_say_what_their_numbers_mean():
    words = export.about(made("mlp", Gaussian(-1.0), 3))
    assert words["c"].startswith("3 values")
    assert words["z"].startswith("3 values; z = loc + exp(logvar / 2)")
    assert words["x"] == f"{VALUES} values, as the likelihood takes them: {Gaussian.remedy}"
    assert words["likelihood"] == "Gaussian()"
    assert words["torch"] == torch.__version__


def test_the_model_stays_as_it_is(tmp_path):
    """In training, with its gradients; what is written is what it says in eval."""
    encoder = nets.Heads(nn.Sequential(nn.Linear(6, 8), nn.Dropout()), pixels=6, width=8, latent=2)
    model = VAE(encoder, nets.MLPDecoder(2, 6))
    written, _ = export.to_torch(model, tmp_path)
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    x = torch.ones(2, 6)
    loc, _ = torch.export.load(written).module()(x)
    torch.testing.assert_close(loc, model.eval().raw(x)[0])
    assert loc.abs().min() > 0


def test_double_precision_stays(tmp_path):
    model = made("mlp", Bernoulli()).double()
    raw, mean = torch.export.load(export.to_torch(model, tmp_path)[1]).module()(
        torch.zeros(2, 3, dtype=torch.float64)
    )
    assert raw.dtype == mean.dtype == torch.float64


class Three(Posterior):
    heads = 3

    def forward(self, *raw):
        loc, logvar, more = raw
        return torch.distributions.Independent(
            torch.distributions.Normal(loc + more, torch.exp(0.5 * logvar)), 1
        )


class Meanless(Likelihood):
    """As Bernoulli, of a distribution that knows no mean."""

    support, remedy = Bernoulli.support, Bernoulli.remedy
    binarization = "dynamic"

    def forward(self, raw):
        class Family(torch.distributions.Distribution):
            def log_prob(self, value):
                return torch.distributions.Bernoulli(logits=raw).log_prob(value).sum(-1)

        return Family(raw.shape[:-1], raw.shape[-1:], validate_args=False)


def test_what_has_more_or_less_to_say(tmp_path, generator):
    """Three heads, a likelihood without a mean, a code without a spread, a learned prior."""
    encoder = nets.MLPEncoder(6, 2, hidden=(8,), heads=3)
    decoder = nets.MLPDecoder(2, 6, hidden=(8,))
    model = IWAE(encoder, decoder, posterior=Three(), prior=VampPrior(encoder, 6, 3))
    x, z = torch.rand(5, 6, generator=generator), torch.randn(5, 2, generator=generator)
    assert [part.outputs for part in export._parts(model)] == [
        ["loc", "logvar", "head2"],
        ["raw", "mean"],
    ]
    said = torch.export.load(export.to_torch(model, tmp_path)[0]).module()(x)
    for mine, its in zip(model.raw(x), said, strict=True):
        torch.testing.assert_close(its, mine.detach(), **CLOSE)
    silent = VAE(nets.MLPEncoder(6, 2), decoder, likelihood=Meanless())
    raw = torch.export.load(export.to_torch(silent, tmp_path)[1]).module()(z)
    torch.testing.assert_close(raw, decoder(z))
    assert [part.outputs for part in export._parts(silent)] == [["loc", "logvar"], ["raw"]]
    plain = Autoencoder(nets.MLP([6, 8, 2]), decoder)
    coder, _ = export.to_torch(plain, tmp_path)
    torch.testing.assert_close(torch.export.load(coder).module()(x), plain.encode(x))
    assert [part.outputs for part in export._parts(plain)] == [["z"], ["raw", "mean"]]


class Counting(nn.Module):
    """A decoder that asks how many there are, as Python's whole number."""

    latent, pixels = 2, 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 6)

    def forward(self, z):
        return self.layer(z) + torch.zeros(len(z), 1)


def test_what_cannot_be_exported_is_said(tmp_path):
    two = TwoLayerVAE(
        nets.MLPEncoder(6, 3), nets.MLPEncoder(3, 2), nets.MLPEncoder(2, 3), nets.MLPDecoder(3, 6)
    )
    with pytest.raises(BadType, match=r"one layer of latent variables.* got TwoLayerVAE"):
        export.to_torch(two, tmp_path)
    counting = VAE(nets.MLPEncoder(6, 2), Counting())
    check_model(counting)
    with pytest.raises(Unable, match=r"decoder, Counting, .* x\.shape, without len\(\)"):
        export.to_torch(counting, tmp_path)
    assert list(tmp_path.iterdir()) == []  # the encoder, which can be, is not there alone


@pytest.mark.usefixtures("plain_errors")
def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(BadType, match="expected a model of vaelib"):
        export.to_torch(nn.Linear(2, 3), tmp_path)


def test_what_is_too_large_for_onnx_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_MOST", 4 * 1000)
    with pytest.raises(BadValue, match=r"4,000 bytes, got one of .* numbers; use to_torch"):
        export.to_onnx(made("mlp", Bernoulli()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxscript"])
def test_without_onnx_it_is_said_what_to_install(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(Unable, match=rf'needs {missing}, .*pip install "vaelib\[export\]".*torch'):
        export.to_onnx(made("mlp", Bernoulli()), tmp_path)
    export.to_torch(made("mlp", Bernoulli()), tmp_path)


def test_nobody_imports_onnx_who_does_not_export():
    code = "import vaelib.export, sys; print([m for m in sys.modules if m.startswith('onnx')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_what_torch_says_of_itself_is_not_told_and_all_else_is(caplog):
    """The two sentences of torch alone, and only while it writes."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    seen = io.StringIO()
    handler = logging.StreamHandler(seen)
    log.addHandler(handler)
    try:
        with export._quiet():
            log.warning("torchvision is not installed. Skipping %s", "torchvision::nms")
            log.warning("another")
            warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", FutureWarning, 2)
            with pytest.raises(FutureWarning, match="another"):  # as pytest makes errors of them
                warnings.warn("another", FutureWarning, 2)
        log.warning("torchvision is not installed. Skipping %s", "torchvision::nms")
    finally:
        log.removeHandler(handler)
    lines = seen.getvalue().splitlines()
    assert lines == ["another", "torchvision is not installed. Skipping torchvision::nms"]


def test_shapes_are_compared_where_they_are_symbols_too():
    """Two sizes that differ are refused in numbers, and in what is exported."""

    class Wrong(nn.Module):
        def forward(self, x):
            return DiagonalNormal(x, torch.zeros(x.shape[0], 2)).mean

    with pytest.raises(ValueError, match="expected one shape"):
        Wrong()(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="expected one shape"):
        torch.export.export(
            Wrong(), (torch.zeros(4, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
