r"""A Gaussian mixture: which component made x is not seen. Evidence, posterior, two kinds of EM.

Chapter: :doc:`/book/latent`.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

__all__ = ["GaussianMixture", "MixtureStatistics", "stepwise_em"]


class MixtureStatistics(NamedTuple):
    r"""What an M-step needs to know of the data: means over data of r, r x and r x xᵀ.

    Here $r_k = p(k \mid x)$ is the responsibility. They are averages, not sums, so statistics of
    data sets of different sizes can be blended.
    """

    zeroth: Tensor  # [component]; they sum to 1
    first: Tensor  # [component, pixel]
    second: Tensor  # [component, pixel, pixel]


@dataclass(frozen=True)
class GaussianMixture:
    r"""$p(k) = \pi_k$ and $p(x \mid k) = N(\mu_k, \Sigma_k)$; the latent variable is k.

    Args:
        proportion: $\pi$, positive, sums to 1, shape ``[component]``.
        loc: $\mu$, shape ``[component, pixel]``.
        covariance: $\Sigma$, positive definite, shape ``[component, pixel, pixel]``.

    Raises:
        ValueError: if the shapes do not fit, the proportions are not a distribution or a covariance
            is not positive definite, as happens to a component that has shrunk onto one datum.

    >>> model = GaussianMixture(
    ...     torch.tensor([0.5, 0.5]), torch.tensor([[-2.0], [2.0]]), torch.ones(2, 1, 1)
    ... )
    >>> model.posterior(torch.tensor([[0.0], [1.0]])).probs  # 1 / (1 + e⁴) at x = 1
    tensor([[0.5000, 0.5000],
            [0.0180, 0.9820]])
    """

    proportion: Float[Tensor, " component"]
    loc: Float[Tensor, "component pixel"]
    covariance: Float[Tensor, "component pixel pixel"]

    def __post_init__(self) -> None:
        n, pixels = self.loc.shape
        if self.proportion.shape != (n,) or self.covariance.shape != (n, pixels, pixels):
            raise ValueError(
                f"GaussianMixture: expected proportion [component], loc [component, pixel] and "
                f"covariance [component, pixel, pixel], got {tuple(self.proportion.shape)}, "
                f"{tuple(self.loc.shape)} and {tuple(self.covariance.shape)}"
            )
        if not (self.proportion > 0).all() or not abs(self.proportion.sum().item() - 1) < 1e-5:
            raise ValueError(
                f"GaussianMixture: expected positive proportions that sum to 1, got "
                f"{self.proportion.tolist()}"
            )
        failed = torch.linalg.cholesky_ex(self.covariance).info.nonzero().flatten().tolist()
        if failed or not self.covariance.isfinite().all():
            raise ValueError(
                f"GaussianMixture: expected positive definite covariances, got others in the "
                f"components {failed}; has one shrunk onto a single datum?"
            )

    @property
    def prior(self) -> Categorical:
        """p(k)."""
        return Categorical(probs=self.proportion)

    def log_joint_all(self, x: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch component"]:
        """log p(x, k) in nats for every component, shape ``[*batch, component]``.

        Raises:
            ValueError: if x has another number of pixels, or is empty.
        """
        if x.shape[-1:] != self.loc.shape[1:] or x.numel() == 0:
            raise ValueError(
                f"GaussianMixture: expected x of shape [*batch, {self.loc.shape[1]}] and not "
                f"empty, got {tuple(x.shape)}"
            )
        pixels, root = self.loc.shape[1], torch.linalg.cholesky(self.covariance)
        residual = x.unsqueeze(-2) - self.loc
        # L⁻¹ is pixel x pixel and small; applied to all data it is one product.
        eye = torch.eye(pixels).to(root)
        whiten = torch.linalg.solve_triangular(root, eye, upper=False)
        mahalanobis = torch.einsum("kij,...kj->...ki", whiten, residual).square().sum(-1)
        log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        log_normal = -0.5 * (pixels * math.log(2 * math.pi) + log_det + mahalanobis)
        return self.proportion.log() + log_normal

    def log_joint(
        self, x: Float[Tensor, "*batch pixel"], k: Int[Tensor, "*batch"]
    ) -> Float[Tensor, "*batch"]:
        """log p(x, k) = log p(k) + log p(x | k) in nats, shape ``[*batch]``.

        Raises:
            ValueError: if there is not one k for each x.
        """
        if k.shape != x.shape[:-1]:
            raise ValueError(
                f"GaussianMixture: expected one k for each x, of shape {tuple(x.shape[:-1])}, got "
                f"{tuple(k.shape)}"
            )
        return self.log_joint_all(x).gather(-1, k.unsqueeze(-1)).squeeze(-1)

    def log_evidence(self, x: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch"]:
        r"""$\log p(x) = \log \sum_k p(x, k)$ in nats, in log space, shape ``[*batch]``."""
        return torch.logsumexp(self.log_joint_all(x), -1)

    def posterior(self, x: Float[Tensor, "*batch pixel"]) -> Categorical:
        """p(k | x); its ``probs``, ``[*batch, component]``, are the responsibilities."""
        return Categorical(logits=self.log_joint_all(x))

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Int[Tensor, " n"]]:
        """n pairs (x, k) by ancestral sampling: k from the prior, then x given k."""
        k = torch.multinomial(self.proportion, n, replacement=True, generator=generator)
        noise = self.loc.new_empty(n, self.loc.shape[1]).normal_(generator=generator)
        root = torch.linalg.cholesky(self.covariance)[k]
        return self.loc[k] + (root @ noise[..., None])[..., 0], k

    def statistics(self, x: Float[Tensor, "n pixel"]) -> MixtureStatistics:
        """The E-step: expected sufficient statistics, averaged over the data."""
        r = self.posterior(x).probs / len(x)
        return MixtureStatistics(r.sum(0), r.mT @ x, torch.einsum("nk,ni,nj->kij", r, x, x))

    @classmethod
    def from_statistics(cls, statistics: MixtureStatistics) -> "GaussianMixture":
        r"""The M-step: $\pi = \bar r$, $\mu = \overline{rx}/\bar r$, and the weighted covariance.

        It subtracts $\mu\mu^\top$ from second moments, so data far from the origin want float64.
        """
        zeroth, first, second = statistics
        loc = first / zeroth[:, None]
        covariance = second / zeroth[:, None, None] - loc[:, :, None] * loc[:, None, :]
        return cls(zeroth / zeroth.sum(), loc, covariance)

    def em_step(self, x: Float[Tensor, "n pixel"]) -> "GaussianMixture":
        """One step of EM on all the data; the mean of `log_evidence` over x never falls.

        References:
            Dempster, Laird and Rubin, Maximum Likelihood from Incomplete Data via the EM Algorithm
            (1977).
        """
        centre = x.mean(0)  # see `from_statistics`: about their mean, second moments lose no digits
        near = GaussianMixture(self.proportion, self.loc - centre, self.covariance)
        new = self.from_statistics(near.statistics(x - centre))
        return GaussianMixture(new.proportion, new.loc + centre, new.covariance)


def stepwise_em(
    model: GaussianMixture,
    batches: Iterable[Tensor],
    *,
    decay: float = 0.7,
    offset: float = 2.0,
) -> Iterator[GaussianMixture]:
    r"""EM that moves after every minibatch: running averages of the statistics, then an M-step.

    $$\bar s_t = (1 - \eta_t)\,\bar s_{t-1} + \eta_t\, s(\text{batch}_t), \qquad
      \eta_t = (t + \text{offset})^{-\text{decay}}$$

    The first batch sets $\bar s$. Unlike a step of batch EM, one step may lower the evidence.

    Args:
        model: where to start.
        batches: data, each of shape ``[n, pixel]``, in random order.
        decay: in (½, 1], which makes the averages converge; small forgets fast.
        offset: ≥ 0; large makes the first steps careful.

    Yields:
        The model after each batch.

    Raises:
        ValueError: if ``decay`` or ``offset`` is out of range.

    References:
        Cappé and Moulines, On-line expectation-maximization algorithm for latent data models
        (2009); Liang and Klein, Online EM for Unsupervised Models (2009), who write
        $\eta_k = (k + 2)^{-\alpha}$.

    >>> generator = torch.Generator().manual_seed(0)
    >>> truth = GaussianMixture(
    ...     torch.tensor([0.5, 0.5]), torch.tensor([[-3.0], [3.0]]), torch.ones(2, 1, 1)
    ... )
    >>> x, _ = truth.sample(2000, generator=generator)
    >>> start = GaussianMixture(truth.proportion, truth.loc / 3, truth.covariance)
    >>> *_, last = stepwise_em(start, x.split(100))
    >>> bool(last.log_evidence(x).mean() > start.log_evidence(x).mean())
    True
    """
    if not 0.5 < decay <= 1 or offset < 0:
        raise ValueError(
            f"stepwise_em: expected ½ < decay ≤ 1 and offset ≥ 0, got {decay} and {offset}"
        )
    running: MixtureStatistics | None = None
    for t, x in enumerate(batches):
        new, step = model.statistics(x), (t + offset) ** -decay
        running = new if running is None else _blend(running, new, step)
        model = GaussianMixture.from_statistics(running)
        yield model


def _blend(old: MixtureStatistics, new: MixtureStatistics, step: float) -> MixtureStatistics:
    return MixtureStatistics(*(o + step * (n - o) for o, n in zip(old, new, strict=True)))
