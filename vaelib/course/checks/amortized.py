"""Checks of the exercises of :doc:`/book/amortized`."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Normal

from .exercise import Draw, exercise

__all__ = ["diagonal_price", "head_outputs", "interval_hits", "pair_log_q"]

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


def _head(features: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    out = torch.einsum("...f,of->...o", features, weight) + bias
    loc, logvar = out.unflatten(-1, (2, -1)).unbind(-2)
    return loc, logvar, logvar.exp().sqrt()


def _halves(out: Tensor) -> tuple[Tensor, Tensor]:
    loc, logvar = out.chunk(2, -1)
    return loc, logvar


def _scale(logvar: Tensor) -> Tensor:
    return (0.5 * logvar).exp()


def _head_with(
    scale: Any = _scale, split: Any = _halves, second: Any = lambda logvar: logvar
) -> Any:
    """A head with a mistake in how it splits, in its scale, or in what it returns second."""

    def wrong(features: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        loc, logvar = split(features @ weight.mT + bias)
        return loc, second(logvar), scale(logvar)

    return wrong


@exercise(
    truth=_head,
    mistakes={
        "the scale is exp(½ logvar): exp(logvar) is the variance": _head_with(torch.exp),
        "the halves are swapped: loc comes first": _head_with(split=lambda out: _halves(out)[::-1]),
        "loc is the first half and logvar the second; here they alternate": _head_with(
            split=lambda out: (out[..., ::2], out[..., 1::2])
        ),
        "the second value is exponentiated: return logvar itself, and its scale as the third": (
            _head_with(second=torch.exp)
        ),
        "one scale is shared by all latent dimensions; each has its own": _head_with(
            lambda v: _scale(v.mean(-1, keepdim=True)).expand_as(v)
        ),
        "the bias is forgotten": lambda f, w, b: _head_with()(f, w, 0 * b),
        "a relu stands on the output: loc and logvar may be negative": _head_with(
            split=lambda out: _halves(out.relu())
        ),
        "a relu stands on logvar: then σ could not be below 1": _head_with(
            split=lambda out: (_halves(out)[0], _halves(out)[1].relu())
        ),
        "the scale is a softplus of logvar; logvar is log σ², so σ = exp(½ logvar)": _head_with(
            torch.nn.functional.softplus
        ),
        "the ½ stands outside: ½ exp(logvar) is half the variance, not the scale": _head_with(
            lambda v: 0.5 * v.exp()
        ),
        "the third value is logvar again; asked is the scale": _head_with(lambda v: 1.0 * v),
        "the third value is 1/σ: the minus belongs to a precision": _head_with(
            lambda v: (-0.5 * v).exp()
        ),
        "the second and the third value are swapped: logvar comes before the scale": (
            lambda f, w, b: tuple(_head_with()(f, w, b)[i] for i in (0, 2, 1))
        ),
        **{
            f"{eps:g} is added to the scale: exp is positive already, and a scale may be smaller": (
                _head_with(lambda v, eps=eps: _scale(v) + eps)
            )
            for eps in (1e-4, 1e-5, 1e-6, 1e-8)
        },
        "the scale is cut at 1e-6; it may be smaller": _head_with(
            lambda v: _scale(v).clamp(min=1e-6)
        ),
        "the variance is cut at 1e-6: the scale may be smaller than 1e-3": _head_with(
            lambda v: v.exp().clamp(min=1e-6).sqrt()
        ),
    },
    axes={"features": ("features",)},
    smallest=1e-6,
)
def head_outputs(draw: Draw) -> Iterator[dict[str, Any]]:
    """Loc, logvar and scale from a layer's features."""
    for batch, features, latent in ((5, 4, 3), (1, 7, 2), (2, 6, 1)):
        yield {
            "features": draw.normal(batch, features),
            "weight": draw.normal(2 * latent, features),
            "bias": draw.normal(2 * latent) + 0.5,
        }
    # One datum without a batch; and scales from a ten-millionth to ten millions.
    yield {"features": draw.normal(5), "weight": draw.normal(6, 5), "bias": draw.normal(6)}
    yield {
        "features": draw.normal(5, 3),
        "weight": 0.1 * draw.normal(4, 3),
        "bias": torch.tensor([2.0, -3.0, -32.0, 32.0], dtype=torch.float64),
    }


def _log_q_by_torch(z: Tensor, loc: Tensor, logvar: Tensor) -> Tensor:
    return Normal(loc, (0.5 * logvar).exp()).log_prob(z).sum(-1)


def _log_q_of_scale(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * ((z - loc) / scale) ** 2 - scale.log() - HALF_LOG_TWO_PI).sum(-1)


@exercise(
    truth=_log_q_by_torch,
    mistakes={
        "½ log 2π is missing: it belongs to each latent dimension": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 / v.exp() + v).sum(-1)
        ),
        "½ log 2π is counted once; it belongs to each latent dimension": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 / v.exp() + v).sum(-1) - HALF_LOG_TWO_PI
        ),
        "logvar is log σ², not log σ": lambda z, m, v: Normal(m, v.exp()).log_prob(z).sum(-1),
        "the squared distance is not divided by σ²": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 + v + math.log(2 * math.pi)).sum(-1)
        ),
        "the squared distance is divided by σ; it must be σ²": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 / (0.5 * v).exp() + v + math.log(2 * math.pi)).sum(-1)
        ),
        "the squared distance lacks its ½": lambda z, m, v: (
            -((z - m) ** 2 / v.exp() + 0.5 * v).sum(-1) - HALF_LOG_TWO_PI * z.shape[-1]
        ),
        "log σ is ½ logvar: here all of logvar is subtracted": lambda z, m, v: (
            -(0.5 * (z - m) ** 2 / v.exp() + v).sum(-1) - HALF_LOG_TWO_PI * z.shape[-1]
        ),
        "the squared distance is multiplied by σ²; it must be divided": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 * v.exp() + v + math.log(2 * math.pi)).sum(-1)
        ),
        "this is the prior N(0, I): loc and logvar are not used": lambda z, m, v: (
            -0.5 * (z**2 + math.log(2 * math.pi)).sum(-1) + 0 * (m + v).sum(-1)
        ),
        "log σ is missing: then the widest q would always win": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 / v.exp() + math.log(2 * math.pi)).sum(-1)
        ),
        "log σ is added; it must be subtracted": lambda z, m, v: (
            -0.5 * ((z - m) ** 2 / v.exp() - v + math.log(2 * math.pi)).sum(-1)
        ),
        "this is the density; asked is its logarithm": lambda z, m, v: _log_q_by_torch(
            z, m, v
        ).exp(),
        "this is log q at loc, not at z: where is the pair's z?": lambda z, m, v: (
            _log_q_by_torch(m, m, v) + 0 * z.sum(-1)
        ),
        "the variance is cut at 1e-6: a narrower q has a higher density": lambda z, m, v: (
            _log_q_of_scale(z, m, v.exp().clamp(min=1e-6).sqrt())
        ),
        "the scale is cut at 1e-6: a narrower q has a higher density": lambda z, m, v: (
            _log_q_of_scale(z, m, _scale(v).clamp(min=1e-6))
        ),
        **{
            f"{eps:g} is added to the scale, and a q of that width becomes another": (
                lambda z, m, v, eps=eps: _log_q_of_scale(z, m, _scale(v) + eps)
            )
            for eps in (1e-4, 1e-5, 1e-6, 1e-8)
        },
        **{
            f"{eps:g} is added to the variance, and a q of that width becomes another": (
                lambda z, m, v, eps=eps: _log_q_of_scale(z, m, (v.exp() + eps).sqrt())
            )
            for eps in (1e-6, 1e-8, 1e-10)
        },
    },
    axes={"z": ("latent dimensions",)},
)
def pair_log_q(draw: Draw) -> Iterator[dict[str, Any]]:
    """log q(z | x) of simulated pairs."""
    for shape in ((4, 3), (1, 5), (2, 6, 4), (9,)):
        yield {"z": draw.normal(*shape), "loc": draw.normal(*shape), "logvar": draw.normal(*shape)}
    # So narrow that z and loc, both near 0, are many deviations apart: scales of about 1e-7.
    logvar = draw.uniform(3, 6, low=-36, high=-28)
    loc = (3 * _scale(logvar) * draw.normal(3, 6)).float().double()
    z = (loc + _scale(logvar) * draw.normal(3, 6)).float().double()
    yield {"z": z, "loc": loc, "logvar": logvar}
    # Narrow and wide ones, and z far out, where the density itself is 0 in every float.
    loc = draw.normal(3, 8, scale=10.0)
    logvar = draw.uniform(3, 8, low=-12, high=6)
    z = loc + 5.0 + draw.normal(3, 8, scale=5.0).abs()
    yield {"z": z.float().double(), "loc": loc, "logvar": logvar}


def _hits(z: Tensor, loc: Tensor, logvar: Tensor, level: float) -> Tensor:
    """By the distribution function: z is inside if its rank is within level/2 of the middle."""
    below = Normal(loc, (0.5 * logvar).exp()).cdf(z)
    return torch.stack([((column - 0.5).abs() < level / 2).double().mean() for column in below.T])


def _quantile(share: float) -> float:
    return float(torch.special.ndtri(torch.tensor(share, dtype=torch.float64)))


def _central(level: float) -> float:
    return _quantile((1 + level) / 2)


def _inside(z: Tensor, loc: Tensor, scale: Tensor, width: float) -> Tensor:
    return ((z - loc).abs() < width * scale).double()


@exercise(
    truth=_hits,
    mistakes={
        "the quantile is of level itself; a central interval leaves (1 − level)/2 on each side": (
            lambda z, m, v, c: _inside(z, m, _scale(v), abs(_quantile(c))).mean(0)
        ),
        "half of what lies outside is left on each side: the quantile of 1 − (1 − level)/2, not of "
        "1 − level/2": lambda z, m, v, c: _inside(z, m, _scale(v), _quantile(1 - c / 2)).mean(0),
        "the interval is open below: a central one is bounded on both sides": lambda z, m, v, c: (
            (z < m + _central(c) * _scale(v)).double().mean(0)
        ),
        "the width is measured in variances: σ is exp(½ logvar)": lambda z, m, v, c: _inside(
            z, m, v.exp(), _central(c)
        ).mean(0),
        "the width does not depend on level: this is ±1 σ": lambda z, m, v, c: _inside(
            z, m, _scale(v), 1.0
        ).mean(0),
        "the width does not depend on level: ±1.96 σ is for 95 %": lambda z, m, v, c: _inside(
            z, m, _scale(v), 1.96
        ).mean(0),
        "the width does not depend on level: ±1.645 σ is for 90 %": lambda z, m, v, c: _inside(
            z, m, _scale(v), 1.645
        ).mean(0),
        "the width does not depend on level: this is ±2 σ": lambda z, m, v, c: _inside(
            z, m, _scale(v), 2.0
        ).mean(0),
        **{
            f"{eps:g} is added to the scale, and a q of that width becomes another": (
                lambda z, m, v, c, eps=eps: _inside(z, m, _scale(v) + eps, _central(c)).mean(0)
            )
            for eps in (1e-4, 1e-5, 1e-6, 1e-8)
        },
        "the width is ±level·σ; the level is a probability, not a width": lambda z, m, v, c: (
            _inside(z, m, _scale(v), c).mean(0)
        ),
        "this is the share outside": lambda z, m, v, c: (
            1 - _inside(z, m, _scale(v), _central(c)).mean(0)
        ),
        "this is the share for which all dimensions are inside; asked is one for each dimension": (
            lambda z, m, v, c: _inside(z, m, _scale(v), _central(c)).prod(-1).mean()
        ),
        "the dimensions are pooled; asked is a share for each": lambda z, m, v, c: _inside(
            z, m, _scale(v), _central(c)
        ).mean(),
        "the mean is over the dimensions; it must be over the data, axis 0": lambda z, m, v, c: (
            _inside(z, m, _scale(v), _central(c)).mean(-1)
        ),
        "this counts; asked is a share of the data": lambda z, m, v, c: _inside(
            z, m, _scale(v), _central(c)
        ).sum(0),
        "the intervals stand around 0; they stand around loc": lambda z, m, v, c: _inside(
            z, 0 * m, _scale(v), _central(c)
        ).mean(0),
    },
    gradients=(),
    axes={"z": ("latent dimensions", "data")},
    loosened=100.0,  # shares in float32 are as good as in float64
)
def interval_hits(draw: Draw) -> Iterator[dict[str, Any]]:
    """Which share of the true z lies inside the central intervals of q."""
    # The last two are measured in small units, of 1e-4 and 1e-8: so is q, and nothing changes.
    for data, latent, level, unit in (
        (300, 3, 0.9, 1.0),
        (200, 2, 0.5, 1.0),
        (150, 4, 0.68, 2.0**-13),
        (400, 1, 0.8, 2.0**-27),
    ):
        loc, logvar = draw.normal(data, latent), draw.uniform(data, latent, low=-3, high=2)
        # Too confident in some dimensions, too careful in others, and a little beside.
        misfit = draw.uniform(latent, low=0.6, high=1.8)
        eps = 0.2 + misfit * draw.normal(data, latent)
        # Rounding decides nothing: no z lies at the border of its interval.
        eps = torch.where((eps.abs() - _central(level)).abs() < 1e-3, 1.01 * eps, eps)
        yield {
            "z": unit * (loc + _scale(logvar) * eps).float().double(),
            "loc": unit * loc,
            "logvar": (logvar + 2 * math.log(unit)).float().double(),
            "level": level,
        }


def _diagonal(matrix: Tensor) -> Tensor:
    return torch.diagonal(matrix, dim1=-2, dim2=-1)


def _price(covariance: Tensor) -> Tensor:
    # The correlations alone decide: −½ log det of the correlation matrix.
    scale = _diagonal(covariance).sqrt()
    correlation = covariance / scale[..., :, None] / scale[..., None, :]
    return -0.5 * torch.linalg.eigvalsh(correlation).log().sum(-1)


@exercise(
    truth=_price,
    mistakes={
        "the ½ in front is missing": lambda s: _diagonal(s).log().sum(-1) - torch.logdet(s),
        "this is the floor in the other direction, from the precision; given is the covariance": (
            lambda s: _price(torch.linalg.inv(s))
        ),
        "log det Σ is missing": lambda s: 0.5 * _diagonal(s).log().sum(-1),
        "log det Σ must be subtracted": lambda s: (
            0.5 * (_diagonal(s).log().sum(-1) + torch.logdet(s))
        ),
        "the diagonal is summed before the logarithm: that is the log of the trace": lambda s: (
            0.5 * (_diagonal(s).sum(-1).log() - torch.logdet(s))
        ),
        "the determinant is subtracted without its logarithm": lambda s: (
            0.5 * (_diagonal(s).log().sum(-1) - torch.linalg.det(s))
        ),
        "the best variances are Σᵢᵢ, not 1/Λᵢᵢ from the precision's diagonal": lambda s: (
            0.5 * (-_diagonal(torch.linalg.inv(s)).log().sum(-1) - torch.logdet(s))
        ),
        "log det Σ is twice the sum of the logs of the Cholesky factor's diagonal": lambda s: (
            0.5 * _diagonal(s).log().sum(-1)
            - 0.5 * _diagonal(torch.linalg.cholesky(s)).log().sum(-1)
        ),
        "this is KL(q ‖ posterior) for the q with the right variances; asked is the other "
        "direction, KL(posterior ‖ q)": lambda s: (
            0.5 * ((_diagonal(s) * _diagonal(torch.linalg.inv(s))).sum(-1) - s.shape[-1])
            - _price(s)
        ),
        "the diagonal is in standard deviations; log Σᵢᵢ is 2 log σᵢ": lambda s: (
            0.5 * (_diagonal(s).sqrt().log().sum(-1) - torch.logdet(s))
        ),
        "det underflows to 0, and its logarithm to −∞: use logdet, slogdet or a Cholesky factor": (
            lambda s: 0.5 * (_diagonal(s).log().sum(-1) - torch.linalg.det(s).log())
        ),
        "the product of the variances underflows to 0: sum their logarithms": lambda s: (
            0.5 * (_diagonal(s).prod(-1).log() - torch.logdet(s))
        ),
    },
    build=lambda covariance_factor: (covariance_factor @ covariance_factor.mT,),
    axes={"covariance_factor": ("latent dimensions", "latent dimensions", "data")},
)
def diagonal_price(draw: Draw) -> Iterator[dict[str, Any]]:
    """The least extra surprise of a diagonal q, for a Gaussian posterior."""

    def factor(*batch: int, latent: int, size: float) -> Tensor:
        # Bounded noise: no draw comes near a singular matrix, which float32 could not tell.
        noise = draw.uniform(*batch, latent, latent, low=-0.5, high=0.5) / latent**0.5
        return (size * (torch.eye(latent, dtype=torch.float64) + noise)).float().double()

    for batch, latent in (((4,), 3), ((2, 5), 1), ((1,), 4), ((), 2)):
        yield {"covariance_factor": factor(*batch, latent=latent, size=1.5)}
    # A hundred and ten dimensions, each known to 0.02: the determinant is 0 in every float.
    yield {"covariance_factor": factor(latent=110, size=0.02)}
