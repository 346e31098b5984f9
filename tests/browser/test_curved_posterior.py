"""The numbers of the figure `CurvedPosterior`, against vaelib."""

import pytest
import torch
from figures import values_in_the_page

from vaelib.amortized import laplace
from vaelib.course.figures import CurvedPosterior
from vaelib.kl import DiagonalNormal, fit_forward, kl_line
from vaelib.latent import NonlinearGaussian, grid, grid_evidence, prior_sampling

FUNCTIONS = {"bend": lambda z: 0.5 * z**2 + 0.3 * z, "exp": torch.exp}


def straight(x):
    """A q whose loc and scale are lines in x: interpolation adds no error."""
    return DiagonalNormal(0.4 * x - 0.2, 2 * torch.log(0.6 + 0.1 * x))


def settings():
    generator = torch.Generator().manual_seed(0)
    table = CurvedPosterior(q=straight).network
    for seed in range(50):
        x, scale = torch.rand(2, generator=generator).tolist()
        yield {
            "model": ("bend", "exp")[seed % 2], "x": 6 * x - 1, "scale": 0.1 + 0.9 * scale,
            "samples": (10, 100, 1000)[seed % 3], "seed": seed, "network": table,
        }  # fmt: skip


def test_all_four_ways_are_vaelibs(blank):
    every = list(settings())
    z, log_cell = grid(1, points=1200)
    z = z.double()
    line = z[:, 0]
    for at, found in zip(every, values_in_the_page(blank, CurvedPosterior, every), strict=True):
        model = NonlinearGaussian(FUNCTIONS[at["model"]], latent=1, variance=at["scale"] ** 2)
        x = torch.tensor([[at["x"]]]).double()
        log_joint = model.log_joint(x[:, None], z)
        solution = grid_evidence(log_joint, log_cell)
        log_p = solution.log_density[0]
        assert found["log_evidence"] == pytest.approx(solution.log_evidence.item(), abs=1e-4)
        moments = fit_forward(log_p, line)
        assert found["mean"] == pytest.approx(moments.loc.item(), abs=1e-4)
        assert found["stddev"] == pytest.approx(moments.stddev.item(), abs=1e-4)
        positive = log_p[line > 0].exp().sum().item() * 0.01
        assert found["positive"] == pytest.approx(positive, abs=1e-4)

        drawn = torch.tensor(found["drawn"]).double()[:, None, None]
        sampled = prior_sampling(model, x, drawn)
        for name, number in zip(("estimate", "error", "effective"), sampled, strict=True):
            assert found[name] == pytest.approx(number.item(), rel=1e-4, abs=1e-4)

        start = z[log_joint.argmax()][None]
        top = laplace(lambda z, model=model, x=x: model.log_joint(x, z), start)
        for name, q in (("laplace", top), ("network", straight(x))):
            extra = kl_line(log_p, q.log_prob(z), line).item()
            assert found[name] == pytest.approx(
                {"loc": q.mean.item(), "scale": q.stddev.item(), "kl": extra}, rel=1e-4, abs=1e-4
            )


def test_a_network_needs_one_z_and_the_right_shape():
    with pytest.raises(ValueError, match="one normal over one z"):
        CurvedPosterior(q=lambda x: DiagonalNormal(x.expand(-1, 2), x.expand(-1, 2)))


def test_the_noise_is_the_chapters_unless_given():
    assert CurvedPosterior().scale == pytest.approx(0.1**0.5)
    assert CurvedPosterior(model="exp").scale == 0.5
    assert CurvedPosterior(model="exp", scale=0.2).scale == 0.2
