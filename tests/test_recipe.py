"""recipe: a model from its constructors' arguments; what a file names is never imported."""

import importlib
import json
import pkgutil
import sys

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

import vaelib
from vaelib import nets, recipe
from vaelib.arguments import BadType, BadValue
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Bernoulli, Categorical, Gaussian
from vaelib.prior import Fixed, Mixture, VampPrior
from vaelib.recipe import build, describe, rebuildable
from vaelib.vae import IWAE, VAE, Autoencoder, TwoLayerVAE


def encoder(pixels=6, latent=2, **options):
    return nets.MLPEncoder(pixels, latent, hidden=(4,), **options)


def decoder(latent=2, pixels=6, **options):
    return nets.MLPDecoder(latent, pixels, hidden=(4,), **options)


def vamp():
    one = encoder()
    return VAE(one, decoder(), prior=VampPrior(one, 6, 3))


@rebuildable
class Wide(nn.Module):
    def __init__(self, latent, pixels, *, width=3, **more):
        super().__init__()
        self.latent, self.pixels, self.more = latent, pixels, more
        self.layers = nn.Sequential(nn.Linear(latent, width), nn.Linear(width, pixels))

    def forward(self, z):
        return self.layers(z)


class Inherits(Wide):
    pass


class Undecorated(Wide):
    def __init__(self, latent):
        super().__init__(latent, 6)


class TakesAny(Wide):
    @rebuildable
    class Inner(nn.Module):
        def __init__(self, *sizes):
            super().__init__()


MODELS = [
    lambda: VAE(encoder(spread=3.0, activation=nn.Tanh), decoder(), beta=0.5),
    lambda: VAE(encoder(), decoder(levels=4), likelihood=Categorical(4)),
    lambda: VAE(encoder(), decoder(), prior=Mixture(2, 3), likelihood=Gaussian(-1.5)),
    lambda: VAE(nets.LinearEncoder(6, 2), decoder(), prior=DiagonalNormal(*torch.randn(2, 2))),
    lambda: VAE(nets.ConvEncoder(2, width=8), nets.ConvDecoder(2, width=8)),
    lambda: VAE(
        encoder(),
        decoder(),
        prior=MultivariateNormal(torch.ones(2), scale_tril=torch.tensor([[0.1, 0.0], [0.7, 2.0]])),
    ),
    lambda: VAE(encoder(), decoder(), prior=Fixed(DiagonalNormal(torch.ones(2), torch.ones(2)))),
    vamp,
    lambda: IWAE(encoder(), decoder(), samples=3, doubly_reparameterized=True),
    lambda: TwoLayerVAE(encoder(6, 3), encoder(3, 2), encoder(2, 3), decoder(3, 6), samples=2),
    lambda: Autoencoder(encoder(), decoder(), likelihood=Gaussian(learned=False)),
]


def as_file(made):
    """What a checkpoint keeps of it."""
    return json.loads(json.dumps(made, sort_keys=True))


@pytest.mark.parametrize("make", MODELS)
def test_a_model_is_made_again_as_it_was(make):
    model = make()
    again = build(as_file(describe(model)))
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    mine, its = model.state_dict(), again.state_dict()
    assert {k: (t.shape, t.dtype) for k, t in mine.items()} == {
        k: (t.shape, t.dtype) for k, t in its.items()
    }
    again.load_state_dict(mine)
    assert describe(again) == describe(model)


def test_a_shared_network_is_shared_again():
    again = build(as_file(describe(vamp())))
    assert again._prior.encoder is again.encoder
    twice = build(as_file(describe(VAE(encoder(), decoder(), prior=VampPrior(encoder(), 6, 3)))))
    assert twice._prior.encoder is not twice.encoder


def test_every_public_module_of_ours_is_known():
    """But the bases of families, which nobody makes, and torch's Independent, which is none."""
    bases = {"Likelihood", "Prior", "Posterior", "Components", "Model"}
    missing = []
    for info in pkgutil.walk_packages(vaelib.__path__, "vaelib."):
        if info.name.startswith(("vaelib.course", "vaelib.checks", "vaelib.__main__")):
            continue
        module = importlib.import_module(info.name)
        for name in getattr(module, "__all__", ()):
            cls = getattr(module, name)
            if isinstance(cls, type) and issubclass(cls, nn.Module) and name not in bases:
                missing += [] if recipe._OURS.get(name) is cls else [f"{info.name}.{name}"]
    assert missing == []


def test_classes_of_the_users_are_handed_over_and_told_by_name():
    model = VAE(encoder(), Inherits(2, 6, width=5, colour="red"))
    made = as_file(describe(model))
    assert made["arguments"]["decoder"]["class"] == f"{__name__}:Inherits"
    again = build(made, [Inherits])
    assert type(again.decoder) is Inherits
    assert again.decoder.more == {"colour": "red"}
    assert again.decoder.layers[0].out_features == 5
    for classes in ([], [Wide]):
        with pytest.raises(BadValue, match=r"not of vaelib.*classes=\[Inherits\]"):
            build(made, classes)
    other = type("Inherits", (Wide,), {})
    with pytest.raises(BadValue, match="Inherits twice"):
        build(made, [Inherits, other])


@pytest.mark.usefixtures("plain_errors")
def test_a_class_by_its_name_is_none():
    with pytest.raises(BadType, match="expected classes, got 'Inherits'"):
        build(as_file(describe(vamp())), ["Inherits"])


def test_a_list_that_is_changed_afterwards_changes_no_recipe():
    widths = [3, 5]
    model = nets.MLPEncoder(6, 2, hidden=widths)
    widths.reverse()
    assert describe(model)["arguments"]["hidden"] == [3, 5]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: VAE(encoder(activation=lambda: nn.Tanh()), decoder()),
            r"activation is a function",
        ),
        (lambda: VAE(encoder(), Undecorated(2)), r"Undecorated does not remember.*@vaelib\.recipe"),
        (lambda: nn.Sequential(nn.Linear(2, 2)), r"Sequential does not remember"),
        (lambda: TakesAny.Inner(3, 4), r"takes \*sizes, which have no names"),
        (lambda: Wide(2, 6, more={}), r"Wide: more is \{\}, which cannot be written"),
        (
            lambda: VAE(encoder(), decoder(), prior=DiagonalNormal(*torch.zeros(2, 2).bfloat16())),
            r"bfloat16 cannot be written down; use float32",
        ),
    ],
)
def test_what_cannot_be_written_down_says_why(make, says):
    made = as_file(describe(make()))
    assert made.keys() == {"reason"}
    with pytest.raises(BadValue, match=rf"(?s)how the model was made is not known: .*{says}.*load"):
        build(made)


def vae(**parts):
    return {"class": "VAE", "number": 0, "arguments": parts}


ACTIVATION = {"pixels": 6, "latent": 2, "activation": {"type": "os:system"}}
HOSTILE = {
    "a class": {"class": "os:system", "number": 0, "arguments": {"command": "touch here"}},
    "without a module": {"class": "system", "number": 0, "arguments": {}},
    "an activation": vae(encoder={"class": "MLPEncoder", "number": 1, "arguments": ACTIVATION}),
    "a function of torch": {"class": "load", "number": 0, "arguments": {"f": "here"}},
    "another class of torch": {"class": "torch.nn.modules.linear:Linear", "arguments": {}},
    "a normal": vae(prior={"class": "os:system", "tensors": {}}),
    "a module nobody has imported": {"class": "this:s", "number": 0, "arguments": {}},
}


@pytest.mark.parametrize("made", HOSTILE.values(), ids=HOSTILE)
def test_what_a_file_names_is_not_imported(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    with pytest.raises(BadValue, match="nothing is imported because a file names it"):
        build(made)
    assert set(sys.modules) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "made",
    [
        None,
        [],
        {},
        {"class": "VAE"},
        {"class": ["VAE"], "number": 0, "arguments": {}},
        vae(encoder=3),
        vae(size=3),
        {"number": 7},
        vae(prior={"class": "DiagonalNormal", "tensors": {"loc": 3}}),
    ],
)
def test_what_is_no_recipe_is_refused(made):
    with pytest.raises((BadValue, BadType)):
        build(made)


def test_a_deep_recipe_is_refused():
    made = {"class": "Bernoulli", "number": 0, "arguments": {}}
    for _ in range(100_000):
        made = [made]
    with pytest.raises(BadValue, match="RecursionError"):
        build(vae(likelihood=made))


def test_the_arguments_are_no_part_of_a_model():
    """Not of what it saves, trains, moves or shows."""
    plain, model = Bernoulli(), VAE(encoder(), decoder())
    assert repr(plain) == "Bernoulli()"
    assert not [name for name, _ in model.named_modules() if "made_of" in name]
    assert "_made_of" in vars(model)
