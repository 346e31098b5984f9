"""One answer to each project of the page `open_work`, and what its check says of it.

    python benchmarks/open_work.py          minutes; stored in vaelib/course/results
    python benchmarks/open_work.py --print  only printed

tests/test_projects.py tries the same answers with fewer steps.
"""

import argparse

import provenance
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    ExpTransform,
    Independent,
    MixtureSameFamily,
    Normal,
    constraints,
)

from vaelib import data, nets
from vaelib.course import projects
from vaelib.course.projects import Report
from vaelib.kl import DiagonalNormal
from vaelib.likelihood import Likelihood
from vaelib.posterior import Diagonal, Posterior
from vaelib.prior import Mixture
from vaelib.train import Trainer
from vaelib.vae import VAE

FLIP = torch.tensor([1.0, -1.0])


class Mirrored(Posterior):
    """A normal and its mirror image: two masts cannot say on which side of their line you are."""

    def forward(self, loc: Tensor, logvar: Tensor) -> MixtureSameFamily:
        """q(z | x), both halves with the weight ½."""
        both = DiagonalNormal(torch.stack([loc, loc * FLIP], -2), torch.stack([logvar, logvar], -2))
        fair = Categorical(logits=torch.zeros(len(loc), 2), validate_args=False)
        return MixtureSameFamily(fair, both, validate_args=False)

    def noise_size(self, latent: int) -> int:
        """One more, which is the coin."""
        return latent + 1

    def push(self, q: MixtureSameFamily, eps: Tensor) -> tuple[Tensor, Tensor]:
        """A draw of the first half, mirrored where the coin says so."""
        half = q.component_distribution
        loc, logvar = half.loc[..., 0, :], half.logvar[..., 0, :]
        z = loc + torch.exp(0.5 * logvar) * eps[..., :2]
        z = torch.where(eps[..., 2:] > 0, z, z * FLIP)
        return z, q.log_prob(z)


def posterior(family: Posterior, steps: int = 1000) -> nn.Module:
    """An encoder for a family, trained on the ELBO of phones that are made as they are needed."""
    torch.manual_seed(0)
    encoder = nets.MLPEncoder(2, 2, hidden=(64, 64), heads=family.heads)
    adam = torch.optim.Adam(encoder.parameters())
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        _, x = projects.phones(200, generator=generator)
        eps = torch.randn(4, 200, family.noise_size(2), generator=generator)
        z, log_q = family.push(family(*encoder(x)), eps)
        loss = (log_q - projects.log_joint(x, z)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return encoder


def prior(
    model: VAE, *, images: int = 4000, components: int = 100, points: int = 100, steps: int = 200
) -> Mixture:
    """A mixture trained on exact log p(x) of training images, by a sum over the plane."""
    generator = torch.Generator().manual_seed(2)
    x = data.binarize(data.digits().train[:images], generator=generator)
    middle = (torch.arange(points) + 0.5) / points
    with torch.no_grad():
        codes = model.encode(x).loc
        low, high = codes.amin(0) - 1, codes.amax(0) + 1
        cells = low + (high - low) * torch.cartesian_prod(middle, middle)
        pairs = torch.cat([model.log_likelihood_pairs(x, z) for z in cells.split(500)], 1)
    torch.manual_seed(0)
    own = Mixture(2, components)
    with torch.no_grad():
        own.loc.copy_(codes[:components])
        own.logvar.fill_(-2.0)
    adam = torch.optim.Adam(own.parameters())
    for step in range(steps):
        adam.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        rows = torch.randint(len(x), (200,), generator=generator)
        loss = -(pairs[rows] + own().log_prob(cells)).logsumexp(-1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return own


def rain(n: int, generator: torch.Generator) -> Tensor:
    """Invented rain at twelve stations, in millimetres: one front decides for all of them."""
    front = torch.randn(n, 2, generator=generator)
    where = torch.linspace(0, 3.14, 12)
    level = 2 * torch.tanh(2 * (front[:, :1] * where.sin() + front[:, 1:] * where.cos()))
    return (level + 0.3 * torch.randn(n, 12, generator=generator)).exp()


class Free(Likelihood):
    """A normal whose width the decoder says too, for real numbers."""

    support, remedy, per_pixel = constraints.real, "real numbers", 2

    def prepare(self, pixels: Tensor, *, generator: torch.Generator | None = None) -> Tensor:  # noqa: ARG002
        """Bytes as numbers."""
        return pixels.float()

    def undo(self, x: Tensor) -> Tensor:
        """As they are."""
        return x

    def forward(self, raw: Tensor) -> Independent:
        """p(x | z)."""
        loc, logscale = raw.unflatten(-1, (-1, 2)).unbind(-1)
        scale = logscale.clamp(-6, 6).exp()
        return Independent(Normal(loc, scale, validate_args=False), 1)


def fitted(likelihood: Likelihood, x: Tensor, generator: torch.Generator, epochs: int = 30) -> VAE:
    """A small VAE with this likelihood."""
    torch.manual_seed(0)
    encoder = nets.MLPEncoder(x.shape[1], 2, hidden=(64,))
    decoder = nets.MLPDecoder(2, x.shape[1], hidden=(64,), levels=likelihood.per_pixel)
    model = VAE(encoder, decoder, likelihood=likelihood)
    trainer = Trainer(model, torch.optim.Adam(model.parameters(), lr=3e-3))
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(50):
            trainer.step([x[rows], model.noise(len(rows), generator=generator)])
    return model


def reports() -> dict[str, Report]:
    """What the checks say of the answers, and of what is to be beaten."""
    made = {
        "posterior: diagonal": projects.posterior(Diagonal(), posterior(Diagonal())),
        "posterior: mirrored": projects.posterior(Mirrored(), posterior(Mirrored())),
    }
    model = projects.digits_model()
    made["prior: mixture of 100"] = projects.prior(prior(model), model)
    generator = torch.Generator().manual_seed(0)
    train, test = rain(2000, generator), rain(300, generator)
    log = ExpTransform().inv
    own = fitted(Free(), log(train), generator)
    made["likelihood: in millimetres"] = projects.likelihood(
        own, train, test, low=0.0, transform=log
    )
    made["likelihood: in logarithms"] = projects.likelihood(own, log(train), log(test))
    return made


def main() -> None:
    """Measure, print and store."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--print", action="store_true", help="store nothing")
    asked = parser.parse_args()
    record = provenance.origin("benchmarks/open_work.py", torch.device("cpu"))
    made = reports()
    for name, report in made.items():
        print(f"{name}\n{report}\n")
    record["reports"] = {
        name: {
            "passed": report.passed,
            "numbers": {k: round(v, 6) for k, v in report.numbers.items()},
        }
        for name, report in made.items()
    }
    if not asked.print:
        provenance.write(provenance.RESULTS / "open_work.json", record)


if __name__ == "__main__":
    main()
