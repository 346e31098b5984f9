"""check_model: what fits passes, and each of nine faults is found by its own sentence."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Distribution, Independent, constraints

from vaelib import nets
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Categorical, ContinuousBernoulli, Gaussian, Likelihood
from vaelib.posterior import Diagonal
from vaelib.prior import Mixture, Prior, VampPrior
from vaelib.vae import IWAE, VAE, Autoencoder, TwoLayerVAE, check_model


def model(kind=VAE, levels=1, make=nets.MLPDecoder, **how):
    torch.manual_seed(3)
    condition = how.get("condition", 0)
    encoder = nets.MLPEncoder(6, 2, hidden=(8,), condition=condition)
    if how.get("prior") == "vamp":
        how["prior"] = VampPrior(encoder, 6, 3)
    decoder = make(2, 6, levels=levels, hidden=(8,), condition=condition)
    return kind(encoder, decoder, **how)


class OneForEachLabel(Prior):
    """p(z | c), another normal for each label."""

    latent = 2

    def __init__(self):
        super().__init__()
        self.heads = nn.Linear(3, 4)

    def forward(self, c=None) -> Distribution:
        return DiagonalNormal(*self.heads(c).to(c).chunk(2, -1))

    def sample(self, n, c=None, *, generator=None):
        p = self(c)
        eps = p.loc.new_empty(n, 2).normal_(generator=generator)
        return (p.loc + p.stddev * eps).detach()


@pytest.mark.parametrize(
    "make",
    [
        model,
        lambda: model(IWAE, samples=3),
        lambda: model(IWAE, doubly_reparameterized=True, prior=Mixture(2, 3)),
        lambda: model(prior=Mixture(2, 3), likelihood=ContinuousBernoulli()),
        lambda: model(prior="vamp", likelihood=Gaussian()),
        lambda: model(prior=DiagonalNormal(torch.ones(2), torch.zeros(2)), levels=4,
                      likelihood=Categorical(4)),
        lambda: TwoLayerVAE(
            nets.MLPEncoder(6, 3, hidden=(8,)),
            nets.MLPEncoder(3, 2, hidden=(8,)),
            nets.MLPEncoder(2, 3, hidden=(8,)),
            nets.MLPDecoder(3, 6, hidden=(8,)),
        ),
        lambda: model(condition=3),
        lambda: model(IWAE, samples=3, condition=20, prior=Mixture(2, 3)),
        lambda: model(condition=3, prior=OneForEachLabel(), likelihood=Gaussian()),
        lambda: TwoLayerVAE(
            nets.MLPEncoder(6, 3, hidden=(8,), condition=2),
            nets.MLPEncoder(3, 2, hidden=(8,)),
            nets.MLPEncoder(2, 3, hidden=(8,), condition=2),
            nets.MLPDecoder(3, 6, hidden=(8,), condition=2),
            condition=2,
        ),
    ],
)  # fmt: skip
def test_what_fits_passes_and_is_as_it_was(make):
    made = make()
    before = {name: t.clone() for name, t in made.state_dict().items()}
    made.train()
    check_model(made)
    assert made.training
    assert all(torch.equal(t, before[name]) for name, t in made.state_dict().items())
    assert all(p.grad is None for p in made.parameters())


class Laplace(DiagonalNormal):
    """A subclass of a normal with a density of its own."""

    def log_prob(self, value):
        other = torch.distributions.Laplace(self.loc, self.stddev, validate_args=False)
        return other.log_prob(value).sum(-1)


class InheritsItsKL(Diagonal):
    def forward(self, *raw):
        return Laplace(*raw)

    def push(self, q, eps):
        standard = torch.distributions.Laplace(torch.zeros(()).to(eps), torch.ones(()).to(eps))
        z = q.loc + q.stddev * standard.icdf(torch.special.ndtr(eps))
        return z, q.log_prob(z)

    def kl(self, q, p):
        return torch.distributions.kl_divergence(q, p)  # that of the normal


class TooWide(Diagonal):
    def push(self, q, eps):
        z = q.loc + torch.exp(q.logvar) * eps
        return z, q.log_prob(z)


class Detached(Diagonal):
    def push(self, q, eps):
        z, log_q = super().push(q, eps)
        return z.detach() + 0 * z, log_q


class LeftBehind(Prior):
    latent = 2

    def __init__(self):
        super().__init__()
        self.loc = torch.ones(2)

    def forward(self, c=None) -> Distribution:
        return DiagonalNormal(self.loc.double(), torch.zeros(2).double())


class HalfPrecise(Prior):
    latent = 2

    def __init__(self):
        super().__init__()
        self.network = nn.Linear(2, 2)
        self.register_buffer("one", torch.ones(2))

    def forward(self, c=None) -> Distribution:
        loc = self.network(self.one[None])[0]
        return DiagonalNormal(loc, torch.zeros_like(loc))

    def sample(self, n, c=None, *, generator=None):
        return torch.zeros(n, 2).to(self.one)


class OneLabelForAll(nets.MLPDecoder):
    """The first row's, as a condition is before it is expanded."""

    def forward(self, z, c=None):
        return super().forward(z, c[:1].expand_as(c))


class Deaf(nets.MLPDecoder):
    def forward(self, z, c=None):
        return super().forward(z, torch.zeros_like(c))


class AlongTheBatch(nets.MLPDecoder):
    def forward(self, z, c=None):
        return super().forward(z).log_softmax(0)


def deaf():
    made = model(condition=3, make=Deaf)
    made.encoder.register_forward_pre_hook(lambda _, given: (given[0], 0 * given[1]))
    return made


class GreyBernoulli(Likelihood):
    """The cross-entropy of grey pixels, taken for a density."""

    support = constraints.unit_interval
    remedy = "values in [0, 1]"

    def forward(self, raw) -> Distribution:
        return Independent(TorchBernoulli(logits=raw, validate_args=False), 1)

    def sample(self, raw, generator):
        return ContinuousBernoulli().sample(raw, generator)


FAULTS = {
    "a KL inherited from a normal": (
        lambda: model(posterior=InheritsItsKL()),
        r"posterior: its KL in closed form is .* over samples it is",
    ),
    "a push of another width": (
        lambda: model(posterior=TooWide()),
        r"posterior: push returns another log q than the density of the z",
    ),
    "a detached z": (
        lambda: model(posterior=Detached()),
        r"gradient: that of encoder\.loc\.weight is not the derivative",
    ),
    "a tensor that is no buffer": (
        lambda: model(prior=LeftBehind()),
        r"state: _prior\.loc of LeftBehind is a plain tensor, .* register_buffer\('loc'",
    ),
    "a prior in bfloat16": (
        lambda: model(prior=HalfPrecise()),
        r"precision: with networks in bfloat16, the prior's loc is torch.bfloat16",
    ),
    "a cross-entropy for a density": (
        lambda: model(likelihood=GreyBernoulli()),
        r"likelihood: its density is not that of its samples, or does not integrate to one",
    ),
    "one label for all rows": (
        lambda: model(condition=3, make=OneLabelForAll),
        r"rows: the log-weight of a row is another without the rows beside it",
    ),
    "labels that nobody hears": (
        deaf,
        r"rows: it was made with condition=3, and with other labels all log-weights are the same",
    ),
    "a softmax along the batch": (
        lambda: model(make=AlongTheBatch),
        r"rows: the log-weight of a row is another .* along the batch \(dim=0\)",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.usefixtures("plain_errors")
def test_each_fault_is_found(fault):
    make, words = FAULTS[fault]
    with pytest.raises(ValueError, match=words):
        check_model(make())


@pytest.mark.usefixtures("plain_errors")
def test_labels_are_those_that_were_given():
    """A prior whose label 2 is broken is found where a label 2 is given, and by default."""

    class BrokenAtTwo(OneForEachLabel):
        def forward(self, c=None) -> Distribution:
            p = super().forward(c)
            return DiagonalNormal(p.loc + 0 / (c[..., 2:] - 1), p.logvar)

    broken, x = model(condition=3, prior=BrokenAtTwo()), torch.zeros(4, 6)
    for c in (0, torch.tensor([0, 1, 1, 0])):
        check_model(broken, x, c)
    for c in (None, torch.tensor([0, 1, 2, 0])):
        with pytest.raises(ValueError, match="check_model: VAE does not fit together"):
            check_model(broken, x, c)
    with pytest.raises(ValueError, match="expected a label for each of 4 rows, got 3"):
        check_model(broken, x, torch.tensor([0, 1, 1]))
    with pytest.raises(TypeError, match="made without a condition"):
        check_model(model(), x, 1)


@pytest.mark.usefixtures("plain_errors")
def test_more_faults_are_all_told():
    with pytest.raises(ValueError, match=r"(?s)state: .*posterior: push returns") as told:
        check_model(model(prior=LeftBehind(), posterior=TooWide()))
    assert str(told.value).count("\n- ") >= 2


@pytest.mark.usefixtures("plain_errors")
def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match=r"check_model: expected a model of vaelib\.vae"):
        check_model(nn.Linear(2, 2))
    with pytest.raises(TypeError, match="with an encoder and a posterior, got Autoencoder"):
        check_model(Autoencoder(nets.MLP([6, 2]), nets.MLPDecoder(2, 6)))


def test_a_prior_of_ones_own_is_no_normal_for_the_closed_form():
    """A subclass of a normal gets the sampled KL by itself: the table is of exact classes."""
    q = DiagonalNormal(torch.zeros(4, 2), torch.zeros(4, 2))
    assert Diagonal().kl(q, Laplace(torch.zeros(2), torch.zeros(2))) is None
    assert Diagonal().kl(Laplace(torch.zeros(4, 2), torch.zeros(4, 2)), q) is None
