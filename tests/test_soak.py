"""What takes minutes: many seeds of what make test tries with one. Run by make soak."""

import pytest
import torch

from vaelib import data, evaluate, nets, train
from vaelib.vae import VAE

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("latent", "epochs", "net", "spread", "least"),
    [
        (2, 25, {"hidden": (300, 300), "activation": torch.nn.Tanh}, 1.0, -146.0),
        (16, 24, {}, 10.0, -103.0),
    ],
)
def test_the_chapters_vaes_reach_their_elbo_from_any_seed(
    digits, latent, epochs, net, spread, least, seed
):
    torch.manual_seed(seed)
    model = VAE(
        nets.MLPEncoder(784, latent, spread=spread, **net), nets.MLPDecoder(latent, 784, **net)
    )
    generator = torch.Generator().manual_seed(seed)
    train.fit(
        model,
        digits.train,
        epochs=epochs,
        lr=3e-3,
        batch_size=64,
        generator=generator,
        progress=False,
    )
    x = data.binarize(digits.test, generator=generator)
    assert evaluate.elbo(model, x, samples=10, generator=generator).elbo >= least
