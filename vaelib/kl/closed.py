"""KL divergences between normals in closed form, and the family that every encoder returns."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal
from torch.distributions.kl import register_kl

from vaelib.recipe import made_of

__all__ = ["DiagonalNormal", "closed_kl", "kl_normal", "kl_standard_normal"]


@made_of("loc", "logvar")
class DiagonalNormal(Independent):
    r"""A normal with a diagonal covariance: $N(\text{loc}, \operatorname{diag} e^{\text{logvar}})$.

    Args:
        loc: mean, shape ``[*batch, latent]``, any real value.
        logvar: $\log\sigma^2 = 2\log\sigma$, same shape, any real value: the standard deviation is
            ``exp(0.5 * logvar)`` and is positive without a constraint.

    Its ``log_prob`` sums over the last axis: shape ``[*batch]``, nats.

    Raises:
        ValueError: if the two shapes differ.

    >>> q = DiagonalNormal(torch.zeros(3, 2), torch.full((3, 2), -2.0))
    >>> q.log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    >>> round(q.stddev[0, 0].item(), 4)  # exp(-2 / 2)
    0.3679
    """

    def __init__(self, loc: Tensor, logvar: Tensor) -> None:
        _require_same_shape(loc=loc, logvar=logvar)
        self.loc = loc
        # Kept: from a scale alone, the KL near the prior has only a few digits in float32.
        self.logvar = logvar
        # Validation reads every value back, which would stop a GPU at each step.
        normal = Normal(loc, torch.exp(0.5 * logvar), validate_args=False)
        super().__init__(normal, 1, validate_args=False)

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> "DiagonalNormal":
        """The same normal for each of a batch, ``[*batch_shape, latent]``, without a copy."""
        shape = (*batch_shape, self.loc.shape[-1])
        return DiagonalNormal(self.loc.expand(shape), self.logvar.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density, summed over the last axis, nats.

        Raises:
            ValueError: if that axis has another size: one of size 1 would count for all.
        """
        if value.shape[-1:] != self.event_shape:
            raise ValueError(
                f"DiagonalNormal: expected a value of shape [*batch, {self.event_shape[0]}], got "
                f"{tuple(value.shape)}"
            )
        # From logvar: in float32 the variance that torch divides by is 0 below a logvar of -103.
        squared = _in_units(value - self.loc, self.logvar).square()
        return -0.5 * (squared + self.logvar + math.log(2 * math.pi)).sum(-1)

    def entropy(self) -> Tensor:
        """Summed over the last axis, nats; from logvar, as `log_prob`."""
        return 0.5 * (self.logvar + math.log(2 * math.pi) + 1).sum(-1)


def kl_standard_normal(
    loc: Float[Tensor, "*batch latent"], logvar: Float[Tensor, "*batch latent"]
) -> Float[Tensor, "*batch"]:
    r"""KL from a diagonal normal to the standard normal, in closed form.

    $$\mathrm{KL}\big(N(\mu, \operatorname{diag}\sigma^2) \,\|\, N(0, I)\big)
      = \tfrac12 \sum_j \big(\mu_j^2 + \sigma_j^2 - 1 - \log\sigma_j^2\big)$$

    It is computed as ``loc**2 + expm1(logvar) - logvar``. Near the prior $\sigma^2 - 1$ and
    $\log\sigma^2$ almost cancel. ``expm1`` errs by half a unit in the last place of logvar; the
    textbook's ``exp(logvar) - 1`` errs by one of 1. In float32 that is 1 % of the result at
    logvar = 0.003 and more than twice the result at 0.0001; it may even come out negative.

    Args:
        loc: $\mu$, shape ``[*batch, latent]``.
        logvar: $\log\sigma^2$, same shape. Not the standard deviation, and not its logarithm.

    Returns:
        One value per datum, shape ``[*batch]``, in nats, never negative; summed over latents.

    Raises:
        ValueError: if the shapes differ.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, appendix B (arXiv:1312.6114).

    >>> kl_standard_normal(torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2))  # ½ · 1²
    tensor([0.5000])
    """
    _require_same_shape(loc=loc, logvar=logvar)
    return 0.5 * (loc**2 + torch.expm1(logvar) - logvar).sum(-1)


def kl_normal(
    loc_q: Float[Tensor, "*batch latent"],
    logvar_q: Float[Tensor, "*batch latent"],
    loc_p: Float[Tensor, "*batch latent"],
    logvar_p: Float[Tensor, "*batch latent"],
) -> Float[Tensor, "*batch"]:
    r"""KL between two diagonal normals, in closed form.

    Measured in units of p's standard deviation, p becomes the standard normal, and KL does not
    change when both distributions are mapped by the same invertible function. So this is
    `kl_standard_normal` of $(\mu_q - \mu_p) / \sigma_p$ and $\log\sigma_q^2 - \log\sigma_p^2$.

    Args:
        loc_q, logvar_q: mean and log-variance of q, the distribution of the expectation.
        loc_p, logvar_p: mean and log-variance of p; all four of shape ``[*batch, latent]``.

    Returns:
        $\mathrm{KL}(q \,\|\, p)$ per datum, shape ``[*batch]``, in nats. Not symmetric.

    Raises:
        ValueError: if the shapes differ.

    References:
        Kullback and Leibler, On Information and Sufficiency (1951).

    >>> zero, one = torch.zeros(1, 1), torch.ones(1, 1)
    >>> kl_normal(one, zero, zero, zero)
    tensor([0.5000])
    """
    _require_same_shape(loc_q=loc_q, logvar_q=logvar_q, loc_p=loc_p, logvar_p=logvar_p)
    return kl_standard_normal(_in_units(loc_q - loc_p, logvar_p), logvar_q - logvar_p)


@register_kl(DiagonalNormal, DiagonalNormal)
def _kl_diagonal_normal(q: DiagonalNormal, p: DiagonalNormal) -> Tensor:
    _require_same_size(q, p)
    shape = torch.broadcast_shapes(q.logvar.shape, p.logvar.shape)
    return kl_normal(*(t.expand(shape) for t in (q.loc, q.logvar, p.loc, p.logvar)))


@register_kl(DiagonalNormal, MultivariateNormal)
def _kl_diagonal_full(q: DiagonalNormal, p: MultivariateNormal) -> Tensor:
    _require_same_size(q, p)
    own = torch.diag_embed(torch.exp(0.5 * q.logvar))
    shift = (q.loc - p.loc)[..., None]
    batch = torch.broadcast_shapes(own.shape[:-2], shift.shape[:-2], p.batch_shape)
    columns = torch.cat([t.expand(*batch, -1, -1) for t in (own, shift)], -1)
    whitened = torch.linalg.solve_triangular(p.scale_tril, columns, upper=False)
    squared = whitened.square().sum((-2, -1))
    return 0.5 * (squared - (q.logvar + 1).sum(-1)) + _log_diagonal(p.scale_tril)


@register_kl(MultivariateNormal, DiagonalNormal)
def _kl_full_diagonal(q: MultivariateNormal, p: DiagonalNormal) -> Tensor:
    _require_same_size(q, p)
    spread = _in_units(q.scale_tril, p.logvar[..., None]).square().sum((-2, -1))
    shift = _in_units(q.loc - p.loc, p.logvar).square().sum(-1)
    return 0.5 * (spread + shift + (p.logvar - 1).sum(-1)) - _log_diagonal(q.scale_tril)


def _kl_full_full(q: MultivariateNormal, p: MultivariateNormal) -> Tensor:
    """As torch's, of plain products, which its compiler takes."""
    _require_same_size(q, p)
    shift = (q.loc - p.loc)[..., None]
    batch = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
    columns = torch.cat([t.expand(*batch, -1, -1) for t in (q.scale_tril, shift)], -1)
    whitened = torch.linalg.solve_triangular(p.scale_tril, columns, upper=False)
    squared = whitened.square().sum((-2, -1))
    log_ratio = _log_diagonal(p.scale_tril) - _log_diagonal(q.scale_tril)
    return 0.5 * (squared - q.event_shape[0]) + log_ratio


def closed_kl(q: Distribution, p: Distribution) -> Tensor | None:
    r"""$\mathrm{KL}(q \,\|\, p)$ of two normals, in closed form; None of any other pair.

    The two must be of these classes themselves. A subclass may have another density, and torch's
    ``kl_divergence`` would give it the formula of the class that it comes from. And that function's
    search for a formula cannot be compiled; these questions can.

    Args:
        q, p: over one space; batch shapes that broadcast.

    Returns:
        One value per datum, nats.

    Raises:
        ValueError: if they are two normals over spaces of different sizes.

    >>> q = DiagonalNormal(torch.ones(3, 1), torch.zeros(3, 1))
    >>> closed_kl(q, DiagonalNormal(torch.zeros(1), torch.zeros(1)))
    tensor([0.5000, 0.5000, 0.5000])
    """
    if type(q) is DiagonalNormal and type(p) is DiagonalNormal:
        return _kl_diagonal_normal(q, p)
    if type(q) is DiagonalNormal and type(p) is MultivariateNormal:
        return _kl_diagonal_full(q, p)
    if type(q) is MultivariateNormal and type(p) is DiagonalNormal:
        return _kl_full_diagonal(q, p)
    if type(q) is MultivariateNormal and type(p) is MultivariateNormal:
        return _kl_full_full(q, p)
    return None


def _require_same_size(q: Distribution, p: Distribution) -> None:
    if q.event_shape != p.event_shape:
        raise ValueError(
            f"kl_divergence: expected two distributions over one space, got one over "
            f"{tuple(q.event_shape)} and one over {tuple(p.event_shape)}"
        )


def _log_diagonal(root: Tensor) -> Tensor:
    return root.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _in_units(difference: Tensor, logvar: Tensor) -> Tensor:
    """A difference in standard deviations, by the root of 1/σ twice.

    At a logvar of -200 1/σ itself is infinite in float32, and no difference would be nan of them.
    """
    root = torch.exp(-0.25 * logvar)
    return difference * root * root


def _require_same_shape(**tensors: Tensor) -> None:
    first, *others = (t.shape for t in tensors.values())
    # One by one: while a model is exported a size is a symbol, which no set can hold.
    if any(shape != first for shape in others):
        got = ", ".join(f"{name} {tuple(t.shape)}" for name, t in tensors.items())
        raise ValueError(f"expected one shape [*batch, latent] for all of them, got {got}")
