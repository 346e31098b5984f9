"""What only a GPU can show, collected with ``--device cuda``: the real graph, and bfloat16."""

import math
from functools import partial

import pytest
import torch

from vaelib import data, nets, train
from vaelib.likelihood import Bernoulli, Categorical, ContinuousBernoulli, Gaussian, Logistics
from vaelib.prior import Mixture, VampPrior
from vaelib.vae import IWAE, VAE

pytestmark = pytest.mark.usefixtures("as_users_do", "plain_errors")

HOW = {"epochs": 3, "batch_size": 64, "warmup": 1, "clip": 50.0, "progress": False}


class StopError(Exception):
    pass


def stop_after_two(line, model):
    if line.epoch == 2:
        raise StopError


def model(kind=VAE, likelihood=Bernoulli, prior=None, **options):
    """784-16-3 on the GPU."""
    torch.manual_seed(0)
    encoder = nets.MLPEncoder(784, 3, hidden=(16,))
    decoder = partial(nets.MLPDecoder, levels=likelihood().per_pixel)
    options |= {"likelihood": likelihood(), "prior": prior and prior(encoder)}
    return kind(encoder, decoder(3, 784, hidden=(16,)), **options).to("cuda")


def fit(trained, folder=None, **options):
    """Batches of 64, and a last one of 44 that no graph is recorded for."""
    generator = torch.Generator("cuda").manual_seed(7)
    options = HOW | {"generator": generator, "folder": folder} | options
    history = train.fit(trained, data.digits().train[:300], **options)
    return trained, history, generator.get_state()


def weights(trained):
    return torch.cat([p.detach().flatten() for p in trained.parameters()])


def same(one, history, other, expected):
    """But for the order of sums: 15 steps of up to 1e-3 each, and losses of hundreds of nats."""
    assert (weights(one) - weights(other)).abs().max() < 1e-4
    losses = [line.loss for line in history]
    assert losses == pytest.approx([line.loss for line in expected], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({}, None),
        ({"prior": lambda _: Mixture(3, 4)}, None),
        ({"prior": lambda encoder: VampPrior(encoder, 784, 4)}, None),
        ({"likelihood": ContinuousBernoulli}, None),
        ({"likelihood": Gaussian}, None),
        ({"likelihood": Categorical}, None),
        ({"likelihood": Logistics}, None),
        ({"kind": IWAE, "samples": 3}, "threshold"),
    ],
)
def test_a_graph_trains_as_eager_steps_do(options, how):
    """The same draws, and so the same weights and losses."""
    graph, history, state = fit(model(**options), compile="cuda-graph", binarization=how)
    eager, expected, same_state = fit(model(**options), binarization=how)
    assert torch.equal(state, same_state)
    same(graph, history, eager, expected)


def test_a_graph_goes_on_after_a_break(tmp_path):
    """Within the second epoch. Compiled anew, kernels may sum in another order."""
    how = {"compile": "cuda-graph"}
    with pytest.raises(StopError):
        fit(model(), tmp_path, save_every=2, callbacks=[stop_after_two], **how)
    resumed, history, state = fit(model(), tmp_path, resume=True, **how)
    alone, expected, same_state = fit(model(), **how)
    assert torch.equal(state, same_state)
    same(resumed, history, alone, expected)


@pytest.mark.parametrize("how", [False, True, "cuda-graph"])
def test_bfloat16_trains(how):
    """A bfloat16 has 8 bits, so a logit and what it adds to the loss are off by less than 1 %."""
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        with pytest.raises(ValueError, match="Use precision='float32'"):
            fit(model(), precision="bfloat16", compile=how)
        return
    trained, history, _ = fit(model(), precision="bfloat16", compile=how)
    _, expected, _ = fit(model())
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    assert history[-1].loss == pytest.approx(expected[-1].loss, rel=1e-2)


@pytest.mark.parametrize("how", [False, "cuda-graph"])
def test_a_loss_that_is_not_finite_stops_with_the_weights_before_it(how, tmp_path):
    """The KL's weight is 0, 0.2, 0.4, 0.6: the fourth step breaks. The third wrote a checkpoint."""

    class Broken(VAE):
        def forward(self, x, eps):
            return super().forward(x, eps) + torch.where(self.kl_warmup > 0.5, math.inf, 0.0)

    broken, kept = model(Broken), model(Broken)
    with pytest.raises(FloatingPointError, match="loss is inf at step 4 of 5 of epoch 1"):
        fit(broken, tmp_path, compile=how, save_every=3)
    train.load(kept, tmp_path)
    assert torch.equal(weights(broken), weights(kept))
