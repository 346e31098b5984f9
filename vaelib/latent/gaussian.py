"""Models with a Gaussian prior and Gaussian noise: linear, solved in closed form, or not linear.

`LinearGaussian` is the keystone of the course: its evidence, posterior and ELBO are closed forms,
so every estimator in the package has an exact oracle.

Chapter: :doc:`/book/latent`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from vaelib.kl import DiagonalNormal
from vaelib.latent.evidence import require_pair

__all__ = ["LinearGaussian", "NonlinearGaussian"]


@dataclass(frozen=True)
class LinearGaussian:
    r"""Probabilistic PCA: $p(z) = N(0, I)$ and $p(x \mid z) = N(Wz + b, \sigma^2 I)$.

    With $M = W^\top W + \sigma^2 I$ the evidence is $N(b, WW^\top + \sigma^2 I)$ and the posterior
    $N(M^{-1}W^\top(x - b), \sigma^2 M^{-1})$. Both are computed through M, which is latent x
    latent, so 784 pixels cost no more than a projection. Gradients reach all three parameters.

    Args:
        weight: W, shape ``[pixel, latent]``.
        bias: b, shape ``[pixel]``.
        variance: $\sigma^2$, a positive scalar tensor.

    Raises:
        ValueError: if the shapes do not fit or the variance is not positive.

    References:
        Tipping and Bishop, Probabilistic Principal Component Analysis (1999).

    >>> model = LinearGaussian(torch.tensor([[3.0], [4.0]]), torch.zeros(2), torch.tensor(1.0))
    >>> model.posterior(torch.tensor([3.0, 4.0])).mean  # 25 / (25 + 1)
    tensor([0.9615])
    """

    weight: Float[Tensor, "pixel latent"]
    bias: Float[Tensor, " pixel"]
    variance: Float[Tensor, ""]

    def __post_init__(self) -> None:
        if self.bias.shape != self.weight.shape[:1] or self.variance.ndim:
            raise ValueError(
                f"LinearGaussian: expected weight [pixel, latent], bias [pixel] and a scalar "
                f"variance, got {tuple(self.weight.shape)}, {tuple(self.bias.shape)} and "
                f"{tuple(self.variance.shape)}"
            )
        if not self.variance > 0:
            raise ValueError(f"LinearGaussian: expected variance > 0, got {self.variance.item()}")

    @property
    def prior(self) -> DiagonalNormal:
        """p(z) = N(0, I)."""
        zeros = self.weight.new_zeros(self.weight.shape[1])
        return DiagonalNormal(zeros, zeros)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> DiagonalNormal:
        """p(x | z), a diagonal normal over the pixels."""
        loc = z @ self.weight.mT + self.bias
        return DiagonalNormal(loc, self.variance.log().expand_as(loc))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over pixels, shape ``[*batch]``.

        Raises:
            ValueError: if x or z has another size, or they do not broadcast.
        """
        require_pair(x, z, *self.weight.shape)
        return self.decode(z).log_prob(x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z) in nats, shape ``[*batch]``."""
        return self.prior.log_prob(z) + self.log_likelihood(x, z)

    def log_evidence(self, x: Float[Tensor, "*batch pixel"]) -> Float[Tensor, "*batch"]:
        """log p(x) in nats, exactly, shape ``[*batch]``."""
        self._require_data(x)
        pixels, latent = self.weight.shape
        r = x - self.bias
        z = torch.cholesky_solve(self._project(r), self._chol_m).mT.view(*x.shape[:-1], latent)
        # Woodbury's identity and the determinant lemma bring WWᵀ + σ²I down to M. The quadratic
        # form is the lowest |r - Wz|² / σ² + |z|²: a sum of squares, where r² less what z explains
        # is a small difference that is divided by σ².
        rest = (r - z @ self.weight.mT).square().sum(-1)
        mahalanobis = rest / self.variance + z.square().sum(-1)
        log_det = (pixels - latent) * self.variance.log() + 2 * self._chol_m.diagonal().log().sum()
        return -0.5 * (pixels * math.log(2 * math.pi) + log_det + mahalanobis)

    def posterior(self, x: Float[Tensor, "*batch pixel"]) -> MultivariateNormal:
        """p(z | x), exactly: a mean that is linear in x, one covariance for all x."""
        self._require_data(x)
        columns = torch.cholesky_solve(self._project(x - self.bias), self._chol_m)
        loc = columns.mT.view(*x.shape[:-1], -1)
        covariance = self.variance * torch.cholesky_inverse(self._chol_m)
        return MultivariateNormal(loc, covariance)

    def elbo(
        self, x: Float[Tensor, "*batch pixel"], q: DiagonalNormal | MultivariateNormal
    ) -> Float[Tensor, "*batch"]:
        r"""The ELBO of a Gaussian q in closed form, in nats, shape ``[*batch]``.

        $E_q[\log p(x|z)]$ is the log-likelihood at q's mean, less $\mathrm{tr}(W^\top W\,
        \mathrm{Cov}_q[z]) / 2\sigma^2$; the other term is the KL from q to the prior.
        """
        if isinstance(q, MultivariateNormal):
            covariance = q.covariance_matrix
        else:
            covariance = torch.diag_embed(q.variance)
        spread = ((self.weight.mT @ self.weight) * covariance).sum((-2, -1)) / (2 * self.variance)
        return self.log_likelihood(x, q.mean) - spread - kl_divergence(q, self.prior)

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) by ancestral sampling: z from the prior, then x given z."""
        pixels, latent = self.weight.shape
        z = self.weight.new_empty(n, latent).normal_(generator=generator)
        noise = self.weight.new_empty(n, pixels).normal_(generator=generator)
        return self.decode(z).mean + self.variance.sqrt() * noise, z

    @classmethod
    def fit(
        cls, x: Float[Tensor, "n pixel"], latent: int, *, variance: float | None = None
    ) -> "LinearGaussian":
        r"""The maximum-likelihood model of data x, in closed form.

        $W = U (\Lambda - \sigma^2 I)^{1/2}$ with the leading eigenvectors and eigenvalues of the
        data's covariance (divided by n); $\sigma^2$ is the mean of the other eigenvalues. The
        columns of W are orthogonal, so the posterior's covariance is diagonal.

        Args:
            x: data, shape ``[n, pixel]``; float64 is advised.
            latent: number of latent dimensions, below the number of pixels.
            variance: a fixed $\sigma^2$ instead of the fitted one. A direction whose eigenvalue is
                not above it then gets a column of zeros: it is *inactive*.

        Raises:
            ValueError: if x is not finite or ``latent`` is out of range.

        References:
            Tipping and Bishop (1999), equations 7 and 8.
        """
        if not 0 < latent < x.shape[-1]:
            raise ValueError(
                f"LinearGaussian.fit: expected 0 < latent < {x.shape[-1]} pixels, got {latent}"
            )
        if not x.is_floating_point() or not x.isfinite().all():
            raise ValueError(f"LinearGaussian.fit: expected finite floats, got {x.dtype} x")
        bias = x.mean(0)
        eigenvalues, eigenvectors = torch.linalg.eigh(torch.cov(x.mT, correction=0))  # ascending
        sigma2 = eigenvalues[:-latent].mean() if variance is None else x.new_tensor(variance)
        scale = (eigenvalues[-latent:] - sigma2).clamp(min=0).sqrt()
        return cls((eigenvectors[:, -latent:] * scale).flip(-1), bias, sigma2)

    def em_step(self, x: Float[Tensor, "n pixel"]) -> "LinearGaussian":
        r"""One step of EM; the mean of `log_evidence` over x never falls.

        b becomes the mean of x, its maximum-likelihood value whatever W and $\sigma^2$ are. The
        E-step finds the posterior moments $\langle z \rangle$ and $\langle zz^\top \rangle$ of
        every datum; the M-step is a regression of x on z:

        $$W \leftarrow \Big(\sum_n (x_n - b)\langle z_n \rangle^\top\Big)
          \Big(\sum_n \langle z_n z_n^\top \rangle\Big)^{-1}$$

        and $\sigma^2$ the mean squared residual, expected over the same posteriors. No covariance
        of pixels is formed: a step costs data x pixels x latent. At the maximum W spans the
        principal subspace, but its columns need not be orthogonal: compare $WW^\top$ with `fit`.

        References:
            Tipping and Bishop (1999), appendix B; Roweis, EM Algorithms for PCA and SPCA (1998).
        """
        model = LinearGaussian(self.weight, x.mean(0), self.variance)
        posterior, r = model.posterior(x), x - model.bias
        z = posterior.mean
        zz = z.mT @ z + posterior.covariance_matrix.sum(0)
        xz = r.mT @ z
        weight = torch.linalg.solve(zz, xz.mT).mT
        # Σ⟨|r - Wz|²⟩, as squares: Σ|r|² - tr(Wᵀ Σ r⟨z⟩ᵀ), which it equals, cancels for a small σ².
        rest = (r - z @ weight.mT).square().sum()
        spread = ((weight.mT @ weight) * posterior.covariance_matrix).sum()
        variance = (rest + spread) / r.numel()
        return LinearGaussian(weight, model.bias, variance)

    @property
    def _chol_m(self) -> Tensor:
        eye = torch.eye(self.weight.shape[1]).to(self.weight)
        return torch.linalg.cholesky(self.weight.mT @ self.weight + self.variance * eye)

    def _project(self, residual: Tensor) -> Tensor:
        """Wᵀ(x - b) as columns, ``[latent, data]``: one solve then serves all data."""
        return self.weight.mT @ residual.reshape(-1, len(self.bias)).mT

    def _require_data(self, x: Tensor) -> None:
        if x.dtype != self.weight.dtype:
            raise TypeError(f"LinearGaussian: expected x of {self.weight.dtype}, got {x.dtype}")
        if x.shape[-1:] != self.bias.shape or x.numel() == 0:
            raise ValueError(
                f"LinearGaussian: expected x of shape [*batch, {len(self.bias)}] and not empty, "
                f"got {tuple(x.shape)}"
            )
        if not x.isfinite().all():
            raise ValueError("LinearGaussian: expected finite x, got NaN or an infinity")


@dataclass(frozen=True)
class NonlinearGaussian:
    r"""$p(z) = N(0, I)$ and $p(x \mid z) = N(f(z), \sigma^2 I)$ with any function f.

    With one or two latent dimensions its evidence and posterior are sums over a `grid`:
    ``grid_evidence(model.log_joint(x[:, None], z), log_cell)``.

    Args:
        function: f, from z ``[*batch, latent]`` to ``[*batch, pixel]``.
        latent: number of latent dimensions.
        variance: $\sigma^2 > 0$.

    Raises:
        ValueError: if the variance is not positive or there is no latent dimension.

    >>> model = NonlinearGaussian(torch.sin, latent=1, variance=0.25)
    >>> model.decode(torch.tensor([[0.0]])).stddev
    tensor([[0.5000]])
    """

    function: Callable[[Tensor], Tensor]
    latent: int
    variance: float

    def __post_init__(self) -> None:
        if not self.variance > 0 or self.latent < 1:
            raise ValueError(
                f"NonlinearGaussian: expected variance > 0 and latent ≥ 1, got {self.variance} "
                f"and {self.latent}"
            )

    @property
    def prior(self) -> DiagonalNormal:
        """p(z) = N(0, I)."""
        zeros = torch.zeros(self.latent)
        return DiagonalNormal(zeros, zeros)

    def decode(self, z: Float[Tensor, "*batch latent"]) -> DiagonalNormal:
        """p(x | z), a diagonal normal over the pixels."""
        loc = self.function(z)
        return DiagonalNormal(loc, torch.full_like(loc, math.log(self.variance)))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, summed over pixels, shape ``[*batch]``.

        Raises:
            ValueError: if x or z has another size, or they do not broadcast.
        """
        p = self.decode(z)
        require_pair(x, z, p.event_shape[0], self.latent)
        return p.log_prob(x)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z) in nats, shape ``[*batch]``."""
        zeros = torch.zeros_like(z)  # where z is, on a GPU perhaps
        return DiagonalNormal(zeros, zeros).log_prob(z) + self.log_likelihood(x, z)

    def sample(
        self, n: int, *, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "n pixel"], Float[Tensor, "n latent"]]:
        """n pairs (x, z) by ancestral sampling: z from the prior, then x given z."""
        device = None if generator is None else generator.device
        z = torch.empty(n, self.latent, device=device).normal_(generator=generator)
        loc = self.function(z)
        noise = torch.empty_like(loc).normal_(generator=generator)
        return loc + self.variance**0.5 * noise, z
