"""From x to the parameters of q(z | x): heads, and their training on simulated pairs."""

from typing import Protocol, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vaelib.kl import DiagonalNormal
from vaelib.recipe import rebuildable


@runtime_checkable
class Simulator(Protocol):
    """A model that can be simulated, which needs its parameters to be known.

    >>> from vaelib.latent import LinearGaussian
    >>> model = LinearGaussian(torch.tensor([[2.0]]), torch.zeros(1), torch.tensor(1.0))
    >>> isinstance(model, Simulator)
    True
    """

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) of the joint: z from the prior, then x given z."""


@rebuildable
class DiagonalHead(nn.Module):
    r"""From x to $q(z \mid x) = N(\mu(x), \operatorname{diag}\sigma^2(x))$: an encoder as a q.

    Args:
        encoder: module from ``[*batch, pixel]`` to the pair (loc, logvar), each
            ``[*batch, latent]``: `~vaelib.nets.LinearEncoder`, `~vaelib.nets.MLPEncoder`, or yours.

    >>> from vaelib.nets import LinearEncoder
    >>> DiagonalHead(LinearEncoder(6, 2))(torch.zeros(5, 6)).stddev.shape
    torch.Size([5, 2])
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "*batch pixel"]) -> DiagonalNormal:
        """q(z | x), one distribution per datum."""
        return DiagonalNormal(*self.encoder(x))


@rebuildable
class CholeskyHead(nn.Module):
    r"""From x to a normal with a full covariance: $q(z \mid x) = N(\mu(x), L(x) L(x)^\top)$.

    L is lower triangular with the diagonal $e^{\frac12\text{logvar}}$, so $LL^\top$ is a covariance
    whatever the networks return. It starts as a `DiagonalHead` if ``below`` starts at 0.

    Args:
        encoder: as for `DiagonalHead`; ``latent`` is read from it.
        below: module from x to the ``latent * (latent - 1) / 2`` numbers of L below its diagonal,
            row by row. Constants that do not depend on x if None, which is enough for a linear
            Gaussian model: all its posteriors have one covariance.

    >>> from vaelib.nets import LinearEncoder
    >>> q = CholeskyHead(LinearEncoder(6, 2))(torch.zeros(5, 6))
    >>> q.mean.shape, q.covariance_matrix.shape
    (torch.Size([5, 2]), torch.Size([5, 2, 2]))
    """

    def __init__(self, encoder: nn.Module, below: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder
        self.latent = cast(int, encoder.latent)
        self.below = below
        numbers = torch.zeros(self.latent * (self.latent - 1) // 2)
        self.constants = nn.Parameter(numbers, requires_grad=below is None)

    def forward(self, x: Float[Tensor, "*batch pixel"]) -> MultivariateNormal:
        """q(z | x), one distribution per datum.

        Raises:
            ValueError: if ``below`` returns another number of values.
        """
        loc, logvar = self.encoder(x)
        below = self.constants if self.below is None else self.below(x)
        if below.shape[-1:] != self.constants.shape:
            raise ValueError(
                f"CholeskyHead: expected latent (latent - 1) / 2 = {len(self.constants)} numbers "
                f"below the diagonal, got {below.shape[-1]}"
            )
        tril = torch.diag_embed(torch.exp(0.5 * logvar))
        row, column = torch.tril_indices(self.latent, self.latent, -1, device=tril.device)
        tril[..., row, column] = below
        return MultivariateNormal(loc, scale_tril=tril, validate_args=False)


def fit_to_pairs(
    q: nn.Module,
    model: Simulator,
    *,
    steps: int = 2000,
    batch_size: int = 256,
    lr: float = 1e-2,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " steps"]:
    r"""Train q(z | x) on fresh pairs from a known model: maximize $E_{p(x, z)}[\log q(z \mid x)]$.

    $$E_{p(x,z)}[\log q(z \mid x)]
      = -E_{p(x)}\big[\mathrm{KL}(p(z \mid x) \,\|\, q(z \mid x))\big] + \text{const}$$

    so the best q of a family is the one that the **posterior** finds least surprising, on average
    over x. No pair is used twice: there is no training set, and nothing to overfit.

    Args:
        q: module from x ``[batch, pixel]`` to a distribution over z; trained in place.
        model: gives ``sample(n, generator=…)``, pairs (x, z). Its parameters are not trained.
        steps, batch_size: ``steps * batch_size`` pairs are simulated in all.
        lr: Adam's first learning rate; it falls to 0 along half a cosine.
        generator: source of the pairs.

    Returns:
        The mean of log q(z | x) over each step's batch, nats per pair, higher is better.

    Raises:
        ValueError: if a number is out of range.
        FloatingPointError: if log q stops being finite.

    References:
        Hinton, Dayan, Frey and Neal, The wake-sleep algorithm (Science, 1995), whose sleep phase
        this is; Le, Baydin and Wood, Inference Compilation (arXiv:1610.09900).

    >>> from vaelib.latent import NonlinearGaussian
    >>> from vaelib.nets import LinearEncoder
    >>> model, q = NonlinearGaussian(torch.sin, 1, 0.25), DiagonalHead(LinearEncoder(1, 1))
    >>> fit_to_pairs(q, model, steps=10).shape
    torch.Size([10])
    """
    if steps < 1 or batch_size < 1 or not lr > 0:
        raise ValueError(
            f"fit_to_pairs: expected steps ≥ 1, batch_size ≥ 1 and lr > 0, got {steps}, "
            f"{batch_size}, {lr}"
        )
    optimizer = torch.optim.Adam(q.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    history = []
    for _ in range(steps):
        with torch.no_grad():
            x, z = model.sample(batch_size, generator=generator)
        log_q = q(x).log_prob(z).mean()
        optimizer.zero_grad()
        (-log_q).backward()
        optimizer.step()
        schedule.step()
        history.append(log_q.detach())
    result = torch.stack(history)
    if not bool(result.isfinite().all()):
        first = int((~result.isfinite()).nonzero()[0])
        raise FloatingPointError(
            f"fit_to_pairs: expected a finite log q(z | x), got {result[first].item()} at step "
            f"{first + 1}; lower lr (now {lr})"
        )
    return result
