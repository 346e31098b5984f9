"""train: the loop minimizes what it is given, with the data, order and noise that it is told."""

import inspect
import itertools
import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from toy import Toy

from vaelib import data, nets, train
from vaelib.likelihood import Bernoulli, Categorical, ContinuousBernoulli, Gaussian, Likelihood
from vaelib.train import checkpoint, step
from vaelib.vae import VAE, Autoencoder


class Mean(Toy):
    """A loss with a known minimum: the mean squared distance to the data is least at their mean."""

    def __init__(self, pixels, likelihood=None):
        super().__init__(pixels, likelihood)
        self.mean = nn.Parameter(torch.zeros(pixels))
        self.seen = []

    def forward(self, x, eps):
        self.seen.append(x.detach().clone())
        return (x - self.mean).square().sum(-1).mean()


def seed(s=1):
    return torch.Generator().manual_seed(s)


@pytest.fixture
def pixels(generator):
    return torch.randint(256, (50, 6), generator=generator).to(torch.uint8)


def test_it_finds_a_minimum_that_is_known(pixels):
    model = Mean(6)
    history = train.fit(
        model, pixels, epochs=200, lr=0.05, batch_size=50, binarization="none", progress=False
    )
    torch.testing.assert_close(model.mean.detach(), pixels.float().mean(0) / 255, rtol=0, atol=1e-3)
    assert [line.epoch for line in history] == list(range(1, 201))
    exact = (pixels.double() / 255).var(0, correction=0).sum().item()
    assert history[-1].loss == pytest.approx(exact, abs=1e-3)
    assert all(line.seconds > 0 for line in history)


def test_each_image_once_per_epoch_in_a_new_order(pixels):
    model = Mean(6)
    train.fit(
        model,
        pixels,
        epochs=2,
        batch_size=16,
        binarization="none",
        generator=seed(),
        progress=False,
    )
    assert [len(x) for x in model.seen] == [16, 16, 16, 2] * 2
    epochs = torch.cat(model.seen).view(2, 50, 6).mul(255).round().to(torch.uint8)
    expected = sorted(pixels.tolist())
    assert [sorted(epoch.tolist()) for epoch in epochs] == [expected, expected]
    assert not torch.equal(epochs[0], epochs[1])


def test_dynamic_binarization_is_drawn_afresh(pixels):
    model = Mean(6, Bernoulli())
    train.fit(model, pixels, epochs=2, batch_size=50, generator=seed(), progress=False)
    first, second = (sorted(x.tolist()) for x in model.seen)
    assert set(torch.cat(model.seen).unique().tolist()) == {0.0, 1.0}
    assert first != second


def with_likelihood(likelihood):
    """A small VAE, and a list of the data that its loss is computed of."""
    torch.manual_seed(0)
    size, seen = {"hidden": (8,)}, []
    levels = likelihood.per_pixel
    decoder = partial(nets.MLPDecoder, levels=levels)
    model = VAE(nets.MLPEncoder(6, 2, **size), decoder(2, 6, **size), likelihood=likelihood)
    model.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach().clone()))
    return model, seen


SHORT = {"epochs": 1, "batch_size": 50, "progress": False}


@pytest.mark.parametrize("likelihood", [ContinuousBernoulli(), Gaussian(), Categorical()])
def test_a_likelihood_of_grey_pixels_trains_and_is_measured_on_grey_pixels(pixels, likelihood):
    model, seen = with_likelihood(likelihood)
    train.fit(model, pixels, validation=pixels[:9], generator=seed(), **SHORT)
    learned, measured = (sorted((255 * x).round().int().tolist()) for x in seen)
    assert learned == sorted(pixels.tolist())
    assert measured == sorted(pixels[:9].tolist())


def test_a_likelihood_of_levels_trains_on_the_nearest_of_its_levels(pixels):
    model, seen = with_likelihood(Categorical(21))
    train.fit(model, pixels, generator=seed(), **SHORT)
    nearest = [[min(range(21), key=lambda k: abs(51 * k / 4 - v)) for v in row] for row in pixels]
    assert sorted((20 * seen[0]).round().int().tolist()) == sorted(nearest)
    assert ((20 * seen[0]) - (20 * seen[0]).round()).abs().max() < 1e-5


@pytest.mark.parametrize("kind", ["VAE", "Autoencoder"])
def test_a_bernoulli_draws_its_pixels_as_it_always_did(pixels, kind):
    """The same weights, bit for bit, as by the name of it."""
    ends = []
    for how in ({}, {"binarization": "dynamic"}):
        model, _ = with_likelihood(Bernoulli())
        if kind == "Autoencoder":
            model = Autoencoder(nets.MLP([6, 4, 2]), model.decoder)
        train.fit(model, pixels, generator=seed(), **SHORT, **how)
        ends.append(flat(model))
    assert torch.equal(*ends)


@pytest.mark.parametrize(
    ("likelihood", "how", "message"),
    [
        (ContinuousBernoulli(), "dynamic", r"'dynamic' does not fit ContinuousBernoulli.*\[0, 1\]"),
        (ContinuousBernoulli(), "threshold", "'threshold' does not fit ContinuousBernoulli"),
        (Gaussian(), "dynamic", "'dynamic' does not fit Gaussian.*real numbers.*Leave binarizat"),
        (Bernoulli(), "none", "'none' does not fit Bernoulli, which takes only 0 and 1"),
        (Categorical(21), "none", "'none' does not fit Categorical, which takes multiples of 1/20"),
    ],
)
def test_a_binarization_that_contradicts_the_likelihood_is_refused(
    pixels, likelihood, how, message
):
    model, seen = with_likelihood(likelihood)
    with pytest.raises(ValueError, match=message):
        train.fit(model, pixels, binarization=how, **SHORT)
    assert not seen


@pytest.mark.parametrize(
    ("likelihood", "how"),
    [
        (Bernoulli(), "threshold"),
        (Bernoulli(), "none"),  # of black and white
        (Categorical(2), "dynamic"),
        (Categorical(21), "none"),
        (Gaussian(), "none"),
    ],
)
def test_a_binarization_that_fits_is_done(pixels, likelihood, how, tmp_path):
    """The checkpoint has its name, or that of the likelihood's own."""
    pixels = 255 * (pixels > 99).to(torch.uint8)
    drawn = []
    for binarization, name in ((how, how), (None, likelihood.binarization)):
        model, seen = with_likelihood(likelihood)
        folder = tmp_path / name
        options = {"binarization": binarization, "folder": folder, "resume": True}
        train.fit(model, pixels, **SHORT, **options)
        assert checkpoint.read(folder / checkpoint.NAME)[1]["config"]["binarization"] == name
        drawn += seen
    assert all(sorted((255 * x).int().tolist()) == sorted(pixels.tolist()) for x in drawn)
    assert len(drawn) == (1 if how == likelihood.binarization else 2)  # the other was resumed


def test_a_likelihood_of_ones_own_must_prepare_what_it_takes(pixels):
    class Coin(Likelihood):
        support, remedy = Bernoulli.support, "0 and 1"
        forward = Bernoulli.forward

    with pytest.raises(ValueError, match=r"Coin.prepare makes values from 0.* to 1.*Coin.binariz"):
        train.fit(with_likelihood(Coin())[0], pixels, **SHORT)
    Coin.binarization = "dynamic"
    model, seen = with_likelihood(Coin())
    train.fit(model, pixels, **SHORT)
    assert set(seen[0].unique().tolist()) == {0.0, 1.0}


def test_the_loss_in_the_history_weighs_a_small_last_batch_by_its_size():
    """48 images at 0 and one at 1, so that a mean of batch means would not be the mean."""

    class Constant(Toy):
        def __init__(self):
            super().__init__(1)
            self.w = nn.Parameter(torch.zeros(()))

        def forward(self, x, eps):
            return x.mean() + 0 * self.w

    pixels = torch.zeros(49, 1, dtype=torch.uint8)
    pixels[7] = 255
    for s in range(5):
        (line,) = train.fit(
            Constant(),
            pixels,
            epochs=1,
            batch_size=16,
            binarization="none",
            generator=seed(s),
            progress=False,
        )
        assert line.loss == pytest.approx(1 / 49)


def weights(s, pixels):
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,)))
    torch.manual_seed(s)  # the global generator must not matter
    train.fit(model, pixels, epochs=3, batch_size=16, generator=seed(s % 2), progress=False)
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_all_randomness_comes_from_the_generator(pixels):
    assert torch.equal(weights(1, pixels), weights(3, pixels))
    assert not torch.equal(weights(1, pixels), weights(2, pixels))


def test_training_raises_the_elbo(digits):
    torch.manual_seed(0)
    model = VAE(nets.MLPEncoder(784, 2, hidden=(32,)), nets.MLPDecoder(2, 784, hidden=(32,)))
    history = train.fit(
        model, digits.train[:1000], epochs=10, lr=1e-2, generator=seed(), progress=False
    )
    assert history[-1].loss < history[0].loss - 100


def small_vae(**options):
    torch.manual_seed(0)
    return VAE(nets.MLPEncoder(6, 2, hidden=(8,)), nets.MLPDecoder(2, 6, hidden=(8,)), **options)


def flat(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_noise_is_drawn_by_the_loop_from_its_generator(pixels):
    """The same as a loop written out: order, binarization and noise, in this order."""
    model, by_hand, generator = small_vae(), small_vae(), seed()
    train.fit(
        model,
        pixels,
        epochs=2,
        batch_size=16,
        schedule=train.constant,
        generator=seed(),
        progress=False,
    )
    optimizer = torch.optim.Adam(by_hand.parameters(), lr=1e-3)
    for _ in range(2):
        order = torch.randperm(50, generator=generator)
        for start in range(0, 50, 16):
            x = data.binarize(pixels[order[start : start + 16]], generator=generator)
            eps = torch.randn(len(x), 2, generator=generator)
            optimizer.zero_grad()
            (-by_hand.elbo(x, eps).mean()).backward()
            optimizer.step()
    torch.testing.assert_close(flat(model), flat(by_hand), rtol=0, atol=1e-6)


class Constant(Toy):
    """Its gradient is always 1, so each of Adam's steps has the length of the learning rate."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(()))
        self.places = []

    def forward(self, x, eps):
        self.places.append(self.w.item())
        return self.w * 1.0


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (train.cosine, [(1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)]),
        (train.constant, [1.0] * 8),
        (lambda share: 1 - share, [1 - k / 8 for k in range(8)]),
    ],
)
def test_the_schedule_is_a_factor_on_each_steps_length(pixels, schedule, factors):
    model = Constant()
    how = {"epochs": 2, "batch_size": 16, "lr": 0.1, "progress": False}
    train.fit(model, pixels, schedule=schedule, **how)
    places = [*model.places, model.w.item()]
    lengths = [a - b for a, b in itertools.pairwise(places)]
    assert lengths == pytest.approx([0.1 * f for f in factors], rel=1e-4)


def test_the_kl_is_warmed_up_in_equal_steps_and_weighed_in_full_afterwards(pixels):
    seen = []
    model = small_vae()
    model.register_forward_pre_hook(lambda m, _: seen.append((m.training, m.kl_warmup.item())))
    how = {"epochs": 4, "batch_size": 25, "generator": seed(), "progress": False}
    train.fit(model, pixels, warmup=2, validation=pixels[:9], **how)
    assert [w for training, w in seen if training] == [0, 0.25, 0.5, 0.75, 1, 1, 1, 1]
    assert [w for training, w in seen if not training] == [1] * 4
    assert model.kl_warmup.item() == 1


def test_the_warmup_weighs_the_kl_alone(generator):
    """Loss at weight w, in float64: (1 - w) times the loss without a KL, w times that with it."""
    model = small_vae(beta=3.0).double()
    x = torch.randint(2, (5, 6), generator=generator).double()
    eps = torch.randn(5, 2, generator=generator, dtype=torch.float64)
    losses = []
    for weight in (0.0, 1.0, 0.25):
        model.kl_warmup.fill_(weight)
        losses.append(model(x, eps).item())
    none, full, quarter = losses
    terms = model.terms(x, eps)
    assert none == pytest.approx(-terms.log_likelihood.mean().item(), rel=1e-12)
    assert full - none == pytest.approx(3 * terms.kl.mean().item(), rel=1e-10)
    assert quarter == pytest.approx(0.75 * none + 0.25 * full, rel=1e-12)


def test_clip_bounds_the_length_of_a_gradient_and_keeps_its_direction(pixels):
    """Adam forgets the length, so it is looked at before Adam gets it."""
    lengths = {None: [], 0.5: []}
    for clip, found in lengths.items():
        model, update = Mean(6), torch.optim.Adam.step

        def look(self, *_, found=found, model=model, update=update):
            found.append(model.mean.grad.clone())
            update(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.optim.Adam, "step", look)
            how = {"batch_size": 50, "binarization": "none", "progress": False}
            train.fit(model, pixels, epochs=1, clip=clip, **how)
    (free,), (clipped,) = lengths[None], lengths[0.5]
    assert free.norm() > 0.5
    torch.testing.assert_close(clipped, 0.5 * free / free.norm())


def test_callbacks_hear_each_epoch_and_may_end_the_training(pixels):
    heard = []
    how = {"epochs": 9, "progress": False}
    history = train.fit(
        Mean(6), pixels, callbacks=[lambda e, _: heard.append(e), lambda e, _: e.epoch == 3], **how
    )
    assert heard == history
    assert [line.epoch for line in history] == [1, 2, 3]


def test_validation_is_the_loss_on_held_out_data_without_learning(pixels):
    """Grey pixels and no noise: an exact number, weighed by the size of its batches."""
    model, held_out = Mean(6), pixels[:7].repeat(200, 1)
    modes = []
    model.register_forward_pre_hook(lambda m, _: modes.append(m.training))
    how = {"epochs": 1, "binarization": "none", "batch_size": 50, "progress": False}
    (line,) = train.fit(model, pixels, validation=held_out, **how)
    exact = (held_out.double() / 255 - model.mean.double()).square().sum(-1).mean().item()
    assert line.validation == pytest.approx(exact, rel=1e-6)
    assert modes == [True] + 28 * [False]  # in parts no larger than a batch


def test_patience_without_improvement_ends(pixels):
    """The learning rate is so small that nothing improves within float32."""
    how = {"batch_size": 50, "progress": False}
    history = train.fit(Mean(6), pixels, epochs=9, lr=1e-30, validation=pixels, patience=2, **how)
    assert len(history) == 3


def last_bits(t):
    return t.float().view(torch.int32) & 0xFFFF


def test_in_bfloat16_the_networks_compute_and_the_elbo_is_in_float32(
    pixels, monkeypatch, generator
):
    """What networks return has 8 bits; from there on the loss is that of float64 to seven digits.

    Summed in bfloat16, 6 pixels of about 0.7 nats would be off by about 0.01.
    """
    monkeypatch.setattr("vaelib.train.step._has_bfloat16", lambda _: True)
    model, seen = small_vae(), {}

    def see(module, **what):  # while it learns; what is measured afterwards is in float32
        seen.update(what if module.training else {})

    model.encoder.register_forward_hook(lambda m, i, o: see(m, loc=o[0], logvar=o[1]))
    model.decoder.register_forward_hook(lambda m, i, o: see(m, logits=o, z=i[0]))
    model.register_forward_hook(lambda m, i, o: seen.update(x=i[0], eps=i[1], loss=o))
    how = {"batch_size": 50, "precision": "bfloat16", "generator": seed(), "progress": False}
    train.fit(model, pixels, epochs=1, **how)
    assert {seen[name].dtype for name in ("loc", "logvar", "logits")} == {torch.bfloat16}
    assert seen["loss"].dtype == torch.float32
    loc, logvar, logits, x, eps = (
        seen[name].detach().double() for name in ("loc", "logvar", "logits", "x", "eps")
    )
    assert last_bits(seen["z"].detach()).any()  # z itself is no bfloat16
    torch.testing.assert_close(seen["z"].double(), loc + (0.5 * logvar).exp() * eps)
    log_p = x * logits - (1 + logits.exp()).log()
    kl = 0.5 * (loc**2 + logvar.exp() - 1 - logvar)
    exact = -(log_p.sum(1) - kl.sum(1)).mean().item()
    assert seen["loss"].item() == pytest.approx(exact, rel=3e-7)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


class Broken(Mean):
    """Its loss breaks at the fourth step."""

    def forward(self, x, eps):
        loss = super().forward(x, eps)
        return loss + math.inf if len(self.seen) == 4 else loss


def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_weights_before_it(pixels, tmp_path):
    model, places = Broken(6), []
    model.register_forward_pre_hook(lambda m, _: places.append(m.mean.detach().clone()))
    how = {"batch_size": 25, "folder": tmp_path, "progress": False}
    message = (
        r"at step 2 of 2 of epoch 2; the weights are those before it\. The last good checkpoint "
        r"is .*checkpoint\.safetensors\. Try a smaller lr than 0\.001"
    )
    with pytest.raises(FloatingPointError, match=message):
        train.fit(model, pixels, epochs=5, **how)
    assert torch.equal(model.mean.detach(), places[3])
    assert not torch.equal(places[3], places[2])
    kept = Broken(6)
    train.load(kept, tmp_path)
    assert torch.equal(kept.mean.detach(), places[2])  # of the end of the first epoch


@pytest.mark.parametrize(
    ("break_it", "term"),
    [
        (lambda m: m.encoder.logvar.bias.data.fill_(200.0), "kl is inf"),
        (lambda m: m.decoder[-1].bias.data.fill_(-math.inf), "log_likelihood is (nan|-inf)"),
    ],
)
def test_the_term_that_is_not_finite_is_named(pixels, break_it, term):
    model = small_vae()
    break_it(model)
    if "log" in term:  # a weight that is not finite would be named as such
        model.decoder[-1].bias.data.fill_(3e38)
        model.decoder[-1].weight.data.fill_(3e38)
    with pytest.raises(
        FloatingPointError, match=rf"fit: (\w+ is \S+ and )*{term}.* at step 1 of 4"
    ):
        train.fit(model, pixels, epochs=3, batch_size=16, generator=seed(), progress=False)


class Steep(Mean):
    """A finite loss with an infinite slope: the square root at 0."""

    def forward(self, x, eps):
        return super().forward(x, eps) + (self.mean - self.mean.detach()).square().sum().sqrt()


def test_a_gradient_that_is_not_finite_is_found_at_its_step_by_clip(pixels):
    with pytest.raises(FloatingPointError, match="a gradient is not finite at step 1 of 1"):
        train.fit(Steep(6), pixels, epochs=2, clip=1.0, progress=False)
    with pytest.raises(FloatingPointError, match=r"weights are not finite at step 1 .* clip=1.0"):
        train.fit(Steep(6), pixels, epochs=2, progress=False)


def test_a_loss_must_be_one_number_of_full_precision(pixels):
    class Vector(Mean):
        def forward(self, x, eps):
            return (x - self.mean).square().sum(-1)

    class Half(Mean):
        def forward(self, x, eps):
            return super().forward(x, eps).bfloat16()

    for model, message in ((Vector(6), r"shape \(50,\)"), (Half(6), r"torch.bfloat16 of shape")):
        with pytest.raises(TypeError, match=message):
            train.fit(model, pixels, epochs=1, progress=False)


def test_what_the_machine_cannot_do_is_refused_with_the_alternative(pixels, monkeypatch):
    monkeypatch.setattr("vaelib.train.step._has_bfloat16", lambda _: False)
    how = {"epochs": 1, "progress": False}
    with pytest.raises(ValueError, match=r"AVX512-BF16.*Use precision='float32'"):
        train.fit(Mean(6), pixels, precision="bfloat16", **how)
    with pytest.raises(ValueError, match=r"graph, and the model is on cpu\. Use compile=True"):
        train.fit(Mean(6), pixels, compile="cuda-graph", **how)


def test_what_the_compiler_said_is_said():
    broken = (
        "C++ compile error\n\nCommand:\ng++ x.cpp\n\nOutput:\ng++: fatal error: b: No such file"
    )
    assert step._cause(RuntimeError(broken)) == "g++: fatal error: b: No such file"
    assert step._cause(RuntimeError("no compiler\nbelow")) == "no compiler"


WHOLE = [
    (1.5, TypeError, "as a whole number ≥ {least}, got 1.5"),
    (True, TypeError, "whole number ≥ {least}, got True"),
    ("3", TypeError, "whole number ≥ {least}, got '3'"),
    (math.nan, TypeError, "whole number ≥ {least}, got nan"),
    (-1, ValueError, "≥ {least}, got -1"),
]
REAL = [
    (math.nan, ValueError, "> 0 and no more than .*, got nan"),
    (0.0, ValueError, "> 0 .*, got 0.0"),
    (-1e-3, ValueError, "> 0 .*, got -0.001"),
    (True, TypeError, "as a number > 0, got True"),
    ("1e-3", TypeError, "as a number > 0, got '1e-3'"),
    (torch.ones(1), TypeError, "as a number > 0, got tensor"),
]
IMAGES = [
    ([[0] * 6] * 5, TypeError, "a batch as rows .*got .'int', 'int', 'int'"),
    (np.zeros((5, 6), complex), TypeError, "floating-point or whole numbers, got complex128"),
    (np.zeros((0, 6), np.uint8), ValueError, r"n > 0, got \(0, 6\)"),
    (torch.zeros(0, 6, dtype=torch.uint8), ValueError, r"n > 0, got \(0, 6\)"),
    (torch.zeros(5, 0, dtype=torch.uint8), ValueError, r"n > 0, got \(5, 0\)"),
    (torch.zeros(6, dtype=torch.uint8), ValueError, r"got \(6,\)"),
]
LABELS = [
    ([0] * 50, TypeError, r"labels as a torch tensor or a NumPy array, got \[0, 0"),
    (torch.zeros(49).long(), ValueError, "labels with one for each of 50 rows, got 49"),
    (torch.zeros(50), ValueError, r"whole numbers \[n\] or as a condition \[n, k\], got torch.fl"),
    (torch.zeros(50, 1).long(), ValueError, r"whole numbers of shape \[n\], got .* \(50, 1\)"),
    (-torch.ones(50).long(), ValueError, "labels from 0 to …, got -1 to -1"),
]
SWITCH = [(1, TypeError, "True or False, got int"), ("no", TypeError, "True or False, got str")]


def whole(least, *more):
    return [(v, error, message.format(least=least)) for v, error, message in WHOLE] + list(more)


# What each argument of fit may not be. (None is a value of some.)
REFUSED = {
    "model": [
        (None, TypeError, r"fit: expected a model of vaelib.vae, .* got NoneType; .*Trainer"),
        (Mean, TypeError, "got the class Mean"),
        (nn.Linear(6, 1), TypeError, "got Linear; a loss of your own .* vaelib.train.Trainer"),
        (Toy(), ValueError, "Toy has nothing to train: 0 parameters"),
        (
            Mean(6).requires_grad_(False),
            ValueError,
            r"1 parameters, none .*requires_grad_\(\) thaws",
        ),
    ],
    "rows": IMAGES,
    "epochs": whole(1, (0, ValueError, "epochs ≥ 1, got 0"), (None, TypeError, "got None")),
    "batch_size": whole(1, (0, ValueError, "batch_size ≥ 1")),
    "lr": [*REAL, (math.inf, ValueError, "lr > 0 .*, got inf"), (None, TypeError, "got None")],
    "labels": LABELS,
    "optimizer": [
        (3, TypeError, "optimizer as a class of torch.optim, or a function .*, got 3"),
        (
            torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0),
            TypeError,
            r"got an optimizer that is made; give SGD, or functools.partial\(SGD",
        ),
        (
            lambda parameters, lr: parameters,
            TypeError,
            "that steps once for each gradient, got list",
        ),
        (torch.optim.LBFGS, TypeError, "got LBFGS, which computes the loss several times"),
        (
            lambda parameters, lr: torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr),
            ValueError,
            "it lacks mean; add",
        ),
    ],
    "validation_labels": [(torch.zeros(5).long(), ValueError, "validation_labels needs validat")],
    "schedule": [
        (None, TypeError, "schedule as a function of a share, got None"),
        ("cosine", TypeError, "got 'cosine'"),
        (lambda share: None, TypeError, "schedule to return a number, got None"),
        (lambda share: 0.25 - share, ValueError, "factor ≥ 0, got -0.25 at the share 0.5 of"),
        (lambda share: math.nan, ValueError, "finite factor ≥ 0, got nan at the share 0 "),
    ],
    "binarization": [
        ("static", ValueError, "'dynamic', 'threshold', 'none'"),
        (True, ValueError, "got True"),
    ],
    "warmup": whole(
        0,
        (3, ValueError, "warmup ≤ epochs, got 3 > 2: the KL would never"),
        (1, TypeError, "Mean: has no KL in its loss .* use warmup=0"),
    ),
    "clip": REAL,
    "precision": [("float16", ValueError, "'float32', 'bfloat16'.*got 'float16'")],
    "compile": [("max", ValueError, "'cuda-graph'.*got 'max'")],
    "validation": [
        *IMAGES,
        (torch.zeros(5, 7, dtype=torch.uint8), ValueError, "validation with 6 values .* got 7"),
    ],
    "patience": whole(
        1,
        (0, ValueError, "patience ≥ 1"),
        (3, ValueError, "patience needs validation="),
    ),
    "callbacks": [
        (print, TypeError, "callbacks as a list of functions, got <built-in"),
        ([print, "print"], TypeError, "list of functions"),
        (None, TypeError, "list of functions, got None"),
    ],
    "folder": [
        ("", ValueError, r"folder as a name, got ''; '\.' is this one"),
        (7, TypeError, "folder to be a str or a Path, got int"),
    ],
    "resume": [*SWITCH, (True, ValueError, "need folder=")],
    "save_every": whole(1, (0, ValueError, "save_every ≥ 1"), (5, ValueError, "need folder=")),
    "generator": [
        (0, TypeError, r"generator, as torch.Generator\(\).manual_seed\(0\), got int"),
        (np.random.default_rng(0), TypeError, "got Generator"),
    ],
    "progress": SWITCH,
}


@pytest.mark.parametrize(
    ("name", "value", "error", "message"),
    [(name, *case) for name, cases in REFUSED.items() for case in cases],
)
@pytest.mark.usefixtures("plain_errors")
def test_bad_requests_are_refused_before_the_first_step(pixels, name, value, error, message):
    model = value if name == "model" else Mean(6)
    arguments = {"rows": pixels, "epochs": 2, "progress": False} | {name: value}
    arguments.pop("model", None)
    with pytest.raises(error, match=message):
        train.fit(model, arguments.pop("rows"), **arguments)
    assert not getattr(model, "seen", None)


def test_every_argument_is_in_the_table():
    assert REFUSED.keys() == inspect.signature(train.fit).parameters.keys()


@pytest.mark.usefixtures("plain_errors")
def test_numbers_of_numpy_are_numbers(pixels, tmp_path):
    """In the checkpoint too, whose JSON knows only Python's."""
    how = {"epochs": np.int64(2), "batch_size": np.int32(25), "lr": np.float32(0.5)}
    how |= {"clip": np.float64(1), "folder": tmp_path, "progress": False}
    assert len(train.fit(Mean(6), pixels, **how)) == 2
    assert checkpoint.read(tmp_path / checkpoint.NAME)[1]["config"]["lr"] == 0.5


class Parts(Toy):
    """A part that its user keeps in eval(), as one with statistics of its own."""

    def __init__(self):
        super().__init__()
        self.frozen, self.free = nn.BatchNorm1d(6), nn.Dropout(0.1)
        self.mean = nn.Parameter(torch.zeros(6))
        self.modes = []

    def forward(self, x, eps):
        self.modes.append((self.training, self.frozen.training, self.free.training))
        return (self.free(self.frozen(x)) - self.mean).square().sum(-1).mean()


def test_a_part_that_is_in_eval_stays_so(pixels):
    model = Parts()
    model.frozen.eval()
    train.fit(model, pixels, validation=pixels, **SHORT | {"epochs": 2})
    assert model.modes == 2 * [(True, False, True), (False, False, False)]
    assert (model.training, model.frozen.training, model.free.training) == (True, False, True)
    model.eval().modes.clear()  # all of it, as after an evaluation: then all of it is trained
    train.fit(model, pixels, **SHORT)
    assert model.modes == [(True, True, True)]


@pytest.mark.parametrize("kind", ["float", "levels"])
def test_validation_takes_no_more_images_at_once_than_training(pixels, kind):
    """And draws what it drew when it took a thousand: its value is that of one batch."""
    likelihood = Bernoulli() if kind == "float" else Categorical()
    model, seen = with_likelihood(likelihood)
    held_out = pixels.repeat(20, 1)  # 1,000
    how = {"epochs": 1, "batch_size": 20, "progress": False}
    (line,) = train.fit(model, pixels, validation=held_out, generator=seed(), **how)
    assert {len(x) for x in seen} == {20, 10}
    generator = seed(0)
    rows = torch.randperm(1000, generator=generator)
    x = likelihood.prepare(held_out[rows], generator=generator)
    eps = torch.randn(1000, 2, generator=generator)
    with torch.no_grad():
        expected = model.double()(x.double(), eps.double()).item()
    assert line.validation == pytest.approx(expected, rel=1e-6)
