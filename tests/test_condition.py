"""Models given a label: with networks that are one of three per label, each label's rows must be
those of the model of that label alone, which knows of no condition."""

import pytest
import torch
from torch import nn

from vaelib import evaluate, nets
from vaelib.collapse import FreeBits
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Gaussian
from vaelib.prior import Mixture, Prior, VampPrior
from vaelib.recipe import build, describe, rebuildable
from vaelib.vae import IWAE, VAE, Autoencoder, TwoLayerVAE

LABELS = torch.tensor([2, 0, 1, 1, 2, 0, 0])


@rebuildable
class Bank(nn.Module):
    """Several networks, of which a one-hot code picks one for each row."""

    def __init__(self, networks, condition=None):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.condition = len(networks) if condition is None else condition
        self.latent, self.pixels = networks[0].latent, networks[0].pixels

    def forward(self, rows, c):
        said = [network(rows) for network in self.networks]
        if isinstance(said[0], torch.Tensor):
            return torch.einsum("kbn,bk->bn", torch.stack(said), c)
        return tuple(
            torch.einsum("kbn,bk->bn", torch.stack(head), c) for head in zip(*said, strict=True)
        )


def networks(seed=0, latent=2):
    torch.manual_seed(seed)
    made = nets.MLPEncoder(6, latent, hidden=(8,)), nets.MLPDecoder(latent, 6, hidden=(8,))
    with torch.no_grad():
        for network in made:
            for parameter in network.parameters():
                parameter.mul_(3)
    return made


def conditional(kind=VAE, **options):
    """The model of three labels, and the three of one each, with the same weights."""
    pairs = [networks(seed) for seed in range(3)]
    encoders, decoders = zip(*pairs, strict=True)
    return (
        kind(Bank(encoders), Bank(decoders), condition=3, **options),
        [kind(*pair, **options) for pair in pairs],
    )


@pytest.fixture
def x(generator):
    return torch.randint(2, (len(LABELS), 6), generator=generator).float()


@pytest.mark.parametrize("kind", [VAE, IWAE, FreeBits])
def test_each_row_is_that_of_its_labels_own_model(kind, x, generator):
    """In the encoder, the KL, the decoder, the bound and the loss."""
    options = {"floor": 0.0} if kind is FreeBits else {}
    model, alone = conditional(kind, **options)
    eps = model.noise(len(x), samples=4, generator=generator)
    z = torch.randn(len(x), 2, generator=generator)
    both = model.terms(x, eps, LABELS)
    objective = model.objective(x, eps, LABELS)
    for i, label in enumerate(LABELS.tolist()):
        one, own = slice(i, i + 1), alone[label]
        terms = own.terms(x[one], eps[:, one])
        torch.testing.assert_close(both.kl[one], terms.kl)
        torch.testing.assert_close(both.log_likelihood[:, one], terms.log_likelihood)
        torch.testing.assert_close(
            objective[..., one], own.objective(x[one], eps[:, one]), rtol=1e-5, atol=1e-5
        )
        for found, expected in (
            (model.encode(x, LABELS).loc[one], own.encode(x[one]).loc),
            (model.decode(z, LABELS).mean[one], own.decode(z[one]).mean),
            (model.decode(z[i], label).mean, own.decode(z[i]).mean),
            (model.log_joint(x, z, LABELS)[one], own.log_joint(x[one], z[one])),
            (model.log_joint_pairs(x, z, LABELS)[one], own.log_joint_pairs(x[one], z)),
            (model.log_weights(x, eps, LABELS)[:, one], own.log_weights(x[one], eps[:, one])),
            (
                model.means(x, lambda: eps, LABELS)[:, one],
                own.means(x[one], lambda e=eps[:, one]: e),
            ),
        ):
            torch.testing.assert_close(found, expected)
    loss = -objective.mean() if kind is not FreeBits else -both.elbo.mean()
    torch.testing.assert_close(model(x, eps, LABELS), loss)
    named = model.named_terms(x, eps, LABELS)
    torch.testing.assert_close(named["log_likelihood"], both.log_likelihood)


def test_labels_a_label_and_one_hot_codes_say_the_same(x, generator):
    model, alone = conditional()
    eps = model.noise(len(x), generator=generator)
    code = nn.functional.one_hot(LABELS, 3)
    for same in (LABELS, LABELS.int(), code.float(), code.double()):
        torch.testing.assert_close(model.elbo(x, eps, same), model.elbo(x, eps, LABELS))
    torch.testing.assert_close(model.elbo(x, eps, 1), alone[1].elbo(x, eps))
    # A mixture of labels is nobody's one-hot code, and taken as it is.
    half = torch.full((len(x), 3), 0.5)
    raw = sum(own.raw(x)[0] for own in alone) / 2
    torch.testing.assert_close(model.raw(x, half)[0], raw)
    assert model.double().elbo(x.double(), eps.double(), LABELS).dtype == torch.float64


def test_samples_are_those_of_the_labels_own_model():
    model, alone = conditional(likelihood=Gaussian())
    for labels in (LABELS, 2):
        x, z = model.sample(7, labels, generator=torch.Generator().manual_seed(1))
        for own in range(3):
            mine, same = alone[own].sample(7, generator=torch.Generator().manual_seed(1))
            rows = (torch.as_tensor(labels) == own).expand(7)
            torch.testing.assert_close(x[rows], mine[rows])
            torch.testing.assert_close(z[rows], same[rows])
        again = model.reconstruct(x, labels, generator=torch.Generator().manual_seed(2))
        for own in range(3):
            rows = (torch.as_tensor(labels) == own).expand(7)
            mine = alone[own].reconstruct(x, generator=torch.Generator().manual_seed(2))
            torch.testing.assert_close(again[rows], mine[rows])


def test_a_gradient_reaches_the_networks_of_the_labels_that_occur(x, generator):
    model, _ = conditional()
    model(x[:2], model.noise(2, generator=generator), LABELS[:2]).backward()
    for label, reached in ((0, True), (1, False), (2, True)):
        for bank in (model.encoder, model.decoder):
            gradients = [p.grad for p in bank.networks[label].parameters()]
            assert any(g is not None and g.abs().sum() > 0 for g in gradients) is reached


class Code(nn.Module):
    """An encoder of an autoencoder: the first head."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.latent, self.pixels = encoder, encoder.latent, encoder.pixels

    def forward(self, rows):
        return self.encoder(rows)[0]


def test_an_autoencoder(x):
    encoders, decoders = zip(*(networks(seed) for seed in range(3)), strict=True)
    encoders = [Code(encoder) for encoder in encoders]
    model = Autoencoder(Bank(encoders), Bank(decoders), condition=3)
    for label in range(3):
        own, rows = Autoencoder(encoders[label], decoders[label]), label == LABELS
        torch.testing.assert_close(
            model.log_likelihood(x, LABELS)[rows], own.log_likelihood(x[rows])
        )
        torch.testing.assert_close(model.reconstruct(x, LABELS)[rows], own.reconstruct(x[rows]))
        torch.testing.assert_close(model(x, c=label), own(x))
    named = model.named_terms(x, model.noise(len(x)), LABELS)
    torch.testing.assert_close(named["log_likelihood"], model.log_likelihood(x, LABELS))


def two_layers(top, **options):
    torch.manual_seed(0)
    encoders, decoders = zip(*(networks(seed) for seed in range(3)), strict=True)
    narrow = {"hidden": (4,)}
    top_encoder = nets.MLPEncoder(2, 1, **narrow)
    tops = [nets.MLPEncoder(1, 2, **narrow) for _ in range(3)]
    model = TwoLayerVAE(
        Bank(encoders), top_encoder, Bank(tops) if top else tops[0], Bank(decoders), **options
    )
    alone = [
        TwoLayerVAE(encoders[i], top_encoder, tops[i if top else 0], decoders[i]) for i in range(3)
    ]
    return model, alone


@pytest.mark.parametrize("top", [True, False])
def test_two_layers(top, x, generator):
    """The upper layer's p(h1 | h2) may know the label or not."""
    model, alone = two_layers(top, condition=3)
    if not top:  # as those of vaelib.nets that were made for none say
        model._prior.network.condition = 0
    eps = model.noise(len(x), samples=3, generator=generator)
    for label in range(3):
        rows = label == LABELS
        torch.testing.assert_close(
            model.log_weights(x, eps, LABELS)[:, rows],
            alone[label].log_weights(x[rows], eps[:, rows]),
        )
    drawn, z = model.sample(5, 1, generator=generator)
    assert drawn.shape == (5, 6)
    assert z.shape == (5, 3)


def test_every_measure_is_that_of_the_labels_own_model(x):
    """Of data of one label, with the same noise; and with several labels at once."""
    model, alone = conditional()
    seed = torch.Generator().manual_seed

    def measured(model, *c):
        q = evaluate.refined_q(model, x, *c, steps=5, generator=seed(2))
        return [
            *evaluate.elbo(model, x, *c, samples=3, batch_size=4, generator=seed(1)),
            *q.loc.flatten().tolist(),
            *evaluate.active_units(model, x, *c, batch_size=4).tolist(),
            *evaluate.grid_log_evidence(model, x, *c, points=40, batch_size=4).log_evidence,
            *evaluate.log_evidence(
                model, x, *c, q=q, samples=30, batch_size=4, generator=seed(3)
            ).log_evidence,
            *evaluate.trust(model, x, *c, samples=30, check=7, q=q, generator=seed(4)),
        ]

    for label in range(3):
        expected = torch.tensor(measured(alone[label])).float()
        for c in (label, torch.full((len(x),), label)):
            found = torch.tensor(measured(model, c)).float()
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    exact = evaluate.grid_log_evidence(model, x, LABELS, points=40, batch_size=3).log_evidence
    q = evaluate.refined_q(model, x, LABELS, batch_size=3, generator=seed(5))
    estimate = evaluate.log_evidence(
        model, x, LABELS, q=q, samples=3000, batch_size=3, generator=seed(6)
    )
    for label in range(3):
        rows = label == LABELS
        own = evaluate.grid_log_evidence(alone[label], x[rows], points=40).log_evidence
        torch.testing.assert_close(exact[rows], own)
    # Of 7 estimates none is off by 5 of its errors but by chance: 4e-6.
    assert ((estimate.log_evidence - exact).abs() < 5 * estimate.standard_error + 1e-3).all()
    options = {"samples": 20, "check": 5, "generator": seed(7)}
    report = evaluate.report(model, x, LABELS, **options)
    assert report.scores["model"].grid == pytest.approx(
        evaluate.grid_log_evidence(model, x, LABELS).log_evidence.mean().item(), abs=1e-4
    )
    for measure in (
        evaluate.elbo,
        evaluate.active_units,
        evaluate.log_evidence,
        evaluate.refined_q,
        evaluate.trust,
        evaluate.grid_log_evidence,
        evaluate.report,
        evaluate.impute,
    ):
        with pytest.raises(ValueError, match="got none; give c=labels"):
            measure(model, x)


def test_a_prior_for_each_label_has_no_grid(x):
    model, _ = conditional(prior=Shifted())
    with pytest.raises(TypeError, match="got one for each label; use log_evidence"):
        evaluate.grid_log_evidence(model, x, LABELS)
    report = evaluate.report(model, x, LABELS, samples=20, check=5)
    assert "grid" not in str(report)
    z = torch.randn(5, 2)
    pairs = model.log_joint_pairs(x, z, LABELS) - model.log_likelihood_pairs(x, z, LABELS)
    each = torch.stack([model.prior_given(int(label)).log_prob(z) for label in LABELS])
    torch.testing.assert_close(pairs, each)


class Shifted(Prior):
    """N(label, I)."""

    latent = 2

    def forward(self, c=None):
        loc = (c @ torch.tensor([0.0, 1.0, 2.0]))[:, None].expand(-1, 2)
        return DiagonalNormal(loc, torch.zeros_like(loc))

    def spread(self):
        return torch.ones(2)


def test_the_networks_of_vaelib_take_the_label(x):
    """Its one-hot code stands behind x, and behind z: first layers with three columns more."""
    torch.manual_seed(0)
    model = VAE(
        nets.MLPEncoder(6, 2, hidden=(), condition=3),
        nets.MLPDecoder(2, 6, hidden=(), condition=3),
        condition=3,
    )
    loc, decoder, z = model.encoder.loc, model.decoder[0], torch.randn(7, 2)
    for i, label in enumerate(LABELS.tolist()):
        torch.testing.assert_close(
            model.encode(x, LABELS).loc[i],
            loc.weight[:, :6] @ x[i] + loc.weight[:, 6 + label] + loc.bias,
        )
        logits = decoder.weight[:, :2] @ z[i] + decoder.weight[:, 2 + label] + decoder.bias
        torch.testing.assert_close(model.decode(z, LABELS).mean[i], logits.sigmoid())


@pytest.mark.parametrize(
    ("c", "message"),
    [
        (None, r"expected labels from 0 to 2, as it was made with condition=3, got none; give c="),
        (3, "expected labels from 0 to 2, got 3"),
        (-1, "expected labels from 0 to 2, got -1"),
        (LABELS + 1, "expected labels from 0 to 2, got labels from 1 to 3"),
        (LABELS - 1, "expected labels from 0 to 2, got labels from -1 to 1"),
        (LABELS[:3], "expected a label for each of 7 rows, got 3"),
        (LABELS > 0, "got a tensor of torch.bool; torch.as_tensor"),
        (LABELS.float(), r"of shape \[batch, 3\], got torch.float32 of shape \(7,\); labels.long"),
        (torch.zeros(7, 4), r"\[batch, 3\], got torch.float32 of shape \(7, 4\)"),
        (torch.zeros(7, 3).long(), r"whole numbers of shape \[batch\], .* of shape \(7, 3\)"),
    ],
)
def test_what_is_no_label_is_refused_with_what_to_do(c, message, x, generator):
    model, _ = conditional()
    eps, z = model.noise(7, generator=generator), torch.zeros(7, 2)
    for call in (
        lambda: model.encode(x, c),
        lambda: model.terms(x, eps, c),
        lambda: model.elbo(x, eps, c),
        lambda: model.log_weights(x, eps, c),
        lambda: model.decode(z, c),
        lambda: model.sample(7, c),
        lambda: model.reconstruct(x, c),
        lambda: model.log_joint(x, z, c),
        lambda: model.log_joint_pairs(x, z, c),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


def test_a_loss_reads_no_label_and_is_nan_where_one_does_not_exist(x, generator):
    """Reading stops a GPU at each step; all zeros for a label that is not there would be silent."""
    model, _ = conditional()
    eps = model.noise(7, generator=generator)
    assert model(x, eps, LABELS).isfinite()
    for wrong in (LABELS + 1, LABELS - 1):
        assert model(x, eps, wrong).isnan()
    with pytest.raises(ValueError, match="got none; give c=labels"):
        model(x, eps)


def test_model_and_networks_are_for_the_same_number_of_labels():
    encoder, decoder = networks()
    three, two = Bank([encoder] * 3), Bank([decoder] * 2)
    with pytest.raises(ValueError, match=r"condition=0 and decoder.condition=2; make decoder with"):
        VAE(three, two)
    with pytest.raises(ValueError, match=r"condition=2 and encoder.condition=3; make encoder with"):
        VAE(three, two, condition=2)
    three.condition = None
    with pytest.raises(TypeError, match=r"set encoder.condition = 2, and let its forward take"):
        VAE(three, two, condition=2)
    with pytest.raises(ValueError, match="expected condition ≥ 0, got -1"):
        VAE(encoder, decoder, condition=-1)
    with pytest.raises(
        ValueError, match=r"a VampPrior asks the encoder .* use vaelib.prior.Mixture"
    ):
        VAE(Bank([encoder] * 2), two, condition=2, prior=VampPrior(encoder, 6, components=3))
    with pytest.raises(ValueError, match=r"top_decoder.condition=3"):
        two_layers(True, condition=2)


def test_a_model_without_a_condition_takes_none(x):
    model = VAE(*networks())
    with pytest.raises(TypeError, match="made without a condition and got c=1; make it with cond"):
        model.elbo(x, c=1)
    model.decoder.condition = model.encoder.condition = 0
    with pytest.raises(ValueError, match="without a condition, and so were its networks; make all"):
        model.elbo(x, c=LABELS)


def test_what_is_shown_and_written_down():
    """Runs are known by what print shows: without a condition it is what it was before."""
    for kind, was in (
        (VAE, "VAE(\n  beta=1.0\n"),
        (IWAE, "IWAE(\n  samples=5, doubly_reparameterized=False\n"),
    ):
        model, (alone, *_) = conditional(kind)
        assert repr(alone).startswith(was)
        assert "condition" not in repr(alone)
        assert repr(model).splitlines()[1] == was.splitlines()[1] + ", condition=3"
    with_mixture, _ = conditional(prior=Mixture(2, 3))
    assert with_mixture.elbo(torch.zeros(7, 6), c=LABELS).shape == (7,)
    recipe = describe(conditional()[0])
    assert recipe["arguments"]["condition"] == 3
    assert build(recipe, [Bank]).condition == 3
