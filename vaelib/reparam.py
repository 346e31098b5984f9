r"""Gradients of an expectation whose distribution moves: through the sample, or by its score.

$\nabla_\lambda E_{q_\lambda}[f(z)]$ has two unbiased one-sample estimates. The *pathwise* one
writes the sample as a function of the parameters and of noise (`reparameterize`), and autograd
passes through it. The *score-function* one differentiates log q instead of f
(`score_function_surrogate`), so f may be anything that can be evaluated. Which of the two has the
smaller variance depends on f; `moments` measures it.

Chapter: :doc:`/book/reparam`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vaelib.kl import DiagonalNormal

__all__ = [
    "GradientMoments",
    "best_baseline",
    "gumbel_softmax",
    "leave_one_out",
    "moments",
    "reparameterize",
    "score_function_surrogate",
    "stop_score",
]


def reparameterize(
    loc: Float[Tensor, "*batch latent"],
    logvar: Float[Tensor, "*batch latent"],
    eps: Float[Tensor, "*samples latent"],
) -> Float[Tensor, "*samples latent"]:
    r"""A sample of $N(\mu, \operatorname{diag}\sigma^2)$ through which a gradient flows.

    $$z = \mu + e^{\frac12 \log\sigma^2} \odot \varepsilon, \qquad \varepsilon \sim N(0, I)$$

    All randomness is in ``eps``, which does not depend on the parameters, so
    $\partial z/\partial\mu = 1$ and $\partial z/\partial\log\sigma^2 = \tfrac12\sigma\varepsilon$.
    The ½ turns a log-variance into a log standard deviation.

    Args:
        loc: $\mu$, shape ``[*batch, latent]``.
        logvar: $\log\sigma^2$, same shape.
        eps: standard normal noise, shape ``[*batch, latent]``, or with further axes in front for
            several samples of each datum: ``[samples, *batch, latent]``.

    Returns:
        z, of the shape of ``eps``.

    Raises:
        ValueError: if the shapes do not match.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, section 2.4 (arXiv:1312.6114);
        Rezende, Mohamed and Wierstra (arXiv:1401.4082).

    >>> reparameterize(torch.tensor([3.0]), torch.tensor([0.0]), torch.tensor([[-1.0], [2.0]]))
    tensor([[2.],
            [5.]])
    """
    if loc.shape != logvar.shape or eps.shape[eps.ndim - loc.ndim :] != loc.shape:
        raise ValueError(
            f"reparameterize: expected loc and logvar of one shape [*batch, latent] and eps "
            f"[*samples, *batch, latent], got loc {tuple(loc.shape)}, "
            f"logvar {tuple(logvar.shape)}, eps {tuple(eps.shape)}"
        )
    return loc + torch.exp(0.5 * logvar) * eps


def score_function_surrogate(
    log_q: Float[Tensor, "*samples"],
    f: Float[Tensor, "*samples"],
    baseline: Float[Tensor, "*#samples"] | float = 0.0,
) -> Float[Tensor, "*samples"]:
    r"""What to differentiate for the score-function gradient; **its value means nothing**.

    $$\nabla_\lambda E_{q_\lambda}[f(z)] = E_{q_\lambda}\big[(f(z) - b)\, \nabla_\lambda
      \log q_\lambda(z)\big]$$

    Add its mean to an objective that is maximized, subtract it from a loss. f is held constant: a
    dependence of f itself on the parameters needs its own gradient.

    Args:
        log_q: $\log q_\lambda(z)$ at samples z that were drawn **without** a gradient, with a graph
            to the parameters, nats.
        f: $f(z)$ at the same samples, same shape.
        baseline: b, a number or one value per sample, which must not depend on that sample's own
            z; then the mean of the gradient is the same for every b, and only the variance moves.

    Returns:
        One value per sample, of the shape of ``f``; the gradient of each is one estimate.

    Raises:
        ValueError: if the shapes of ``log_q`` and ``f`` differ, or if subtracting ``baseline``
            would change the shape of ``f``: ``[n, 1]`` from ``[n]`` would pair every sample with
            every other.

    References:
        Williams, Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement
        Learning (1992); Mohamed, Rosca, Figurnov and Mnih (arXiv:1906.10652), section 4.

    >>> log_q = torch.tensor([-1.0, -2.0], requires_grad=True)
    >>> score_function_surrogate(log_q, torch.tensor([3.0, 5.0]), 4.0).sum().backward()
    >>> log_q.grad
    tensor([-1.,  1.])
    """
    if log_q.shape != f.shape:
        raise ValueError(
            f"score_function_surrogate: expected log_q and f of one shape, one value per sample, "
            f"got {tuple(log_q.shape)} and {tuple(f.shape)}"
        )
    shape = tuple(baseline.shape) if isinstance(baseline, Tensor) else ()
    pairs = zip(reversed(shape), reversed(f.shape), strict=False)
    if len(shape) > f.ndim or any(size not in (1, full) for size, full in pairs):
        raise ValueError(
            f"score_function_surrogate: expected a baseline that is a number or broadcasts to the "
            f"shape of f, {tuple(f.shape)}, got {shape}"
        )
    return (f - baseline).detach() * log_q


def leave_one_out(f: Float[Tensor, "samples *batch"]) -> Float[Tensor, "samples *batch"]:
    r"""A baseline for each sample: the mean of f over the *other* samples.

    It does not depend on the sample's own z, so the gradient stays unbiased. The mean over all
    samples does depend on it, and shrinks the gradient by the factor $1 - 1/n$.

    Args:
        f: values at independent samples, shape ``[samples, *batch]``, at least two.

    Returns:
        One baseline per sample, of the shape of ``f``.

    Raises:
        ValueError: if there are fewer than two samples.

    References:
        Kool, van Hoof and Welling, Buy 4 REINFORCE Samples, Get a Baseline for Free! (2019).

    >>> leave_one_out(torch.tensor([1.0, 2.0, 6.0]))
    tensor([4.0000, 3.5000, 1.5000])
    """
    if f.ndim == 0 or len(f) < 2:
        raise ValueError(
            f"leave_one_out: expected at least 2 samples along the first axis, got {tuple(f.shape)}"
        )
    return (f.sum(0) - f) / (len(f) - 1)


def best_baseline(
    f: Float[Tensor, "samples *batch"], score: Float[Tensor, "samples *batch"]
) -> Float[Tensor, "*batch"]:
    r"""The constant with the smallest variance: $b^\star = E[f s^2] / E[s^2]$, s the score.

    The variance of $(f - b)s$ is a parabola in b, since its mean does not depend on b; this is its
    lowest point. Estimate it on other samples than those that use it.

    Args:
        f: $f(z)$, shape ``[samples, *batch]``.
        score: $\partial \log q / \partial\lambda$ for one parameter, same shape.

    Returns:
        $b^\star$, shape ``[*batch]``, in the unit of f.

    Raises:
        ValueError: if the shapes differ.

    References:
        Greensmith, Bartlett and Baxter, Variance Reduction Techniques for Gradient Estimates in
        Reinforcement Learning (2004).

    >>> best_baseline(torch.tensor([1.0, 4.0]), torch.tensor([2.0, -1.0]))  # (4 + 4) / (4 + 1)
    tensor(1.6000)
    """
    if f.shape != score.shape:
        raise ValueError(
            f"best_baseline: expected f and score of one shape [samples, *batch], "
            f"got {tuple(f.shape)} and {tuple(score.shape)}"
        )
    return (f * score**2).sum(0) / (score**2).sum(0)


def stop_score(q: DiagonalNormal) -> DiagonalNormal:
    r"""q with its parameters held constant, for the log q(z) of a log-weight: sticking the landing.

    In the pathwise gradient of $\log p(x, z) - \log q_\phi(z)$ the parameters enter twice: through
    z, and directly in log q. The direct part is the score, whose mean is 0, so it may be left out.
    What remains vanishes for every noise when q is the posterior.

    Args:
        q: the distribution z was drawn from, with a graph.

    Returns:
        The same distribution without one; evaluate ``stop_score(q).log_prob(z)``.

    References:
        Roeder, Wu and Duvenaud, Sticking the Landing (arXiv:1703.09194).

    >>> loc = torch.tensor([1.0], requires_grad=True)
    >>> q = DiagonalNormal(loc, torch.zeros(1))
    >>> posterior = DiagonalNormal(torch.ones(1), torch.zeros(1))  # q is there already
    >>> z = reparameterize(q.loc, q.logvar, torch.tensor([0.7]))
    >>> log_weight = posterior.log_prob(z) - stop_score(q).log_prob(z)
    >>> torch.autograd.grad(log_weight, loc)  # no noise; with q.log_prob(z) it would be -0.7
    (tensor([0.]),)
    """
    return DiagonalNormal(q.loc.detach(), q.logvar.detach())


def gumbel_softmax(
    logits: Float[Tensor, "*batch category"],
    gumbel: Float[Tensor, "*samples category"],
    *,
    temperature: float,
) -> Float[Tensor, "*samples category"]:
    r"""A relaxed sample of a categorical distribution, through which a gradient flows.

    $$y = \operatorname{softmax}\big((\ell + g) / \tau\big), \qquad
      g_k = -\log(-\log u_k),\; u_k \sim U(0, 1)$$

    The position of the largest entry of $\ell + g$ is an exact sample of the categorical (the
    Gumbel-max trick), and y tends to its one-hot vector as $\tau \to 0$. For $\tau > 0$ a gradient
    of $E[f(y)]$ is that of another expectation: biased, less so for small $\tau$, where its
    variance grows.

    Args:
        logits: $\ell$, unnormalized log-probabilities, shape ``[*batch, category]``.
        gumbel: standard Gumbel noise, shape ``[*batch, category]``, or with axes in front.
        temperature: $\tau > 0$.

    Returns:
        y, positive, sums to 1 over the last axis, of the shape of ``gumbel``.

    Raises:
        ValueError: if the temperature is not positive or the shapes do not fit.

    References:
        Jang, Gu and Poole (arXiv:1611.01144); Maddison, Mnih and Teh (arXiv:1611.00712).

    >>> y = gumbel_softmax(torch.zeros(2), torch.tensor([1.0, 0.0]), temperature=0.5)
    >>> y  # softmax of (2, 0)
    tensor([0.8808, 0.1192])
    """
    if not temperature > 0 or gumbel.shape[gumbel.ndim - logits.ndim :] != logits.shape:
        raise ValueError(
            f"gumbel_softmax: expected temperature > 0, logits [*batch, category] and gumbel "
            f"[*samples, *batch, category], got {temperature}, {tuple(logits.shape)} and "
            f"{tuple(gumbel.shape)}"
        )
    return torch.softmax((logits + gumbel) / temperature, -1)


class GradientMoments(NamedTuple):
    """What many independent estimates of one gradient look like; see `moments`."""

    mean: Tensor
    variance: Tensor  # of one estimate, not of the mean
    standard_error: Tensor  # of the mean


def moments(estimates: Float[Tensor, "samples *parameters"]) -> GradientMoments:
    r"""Mean, variance per sample and standard error $\sqrt{\mathrm{var}/n}$ of gradient estimates.

    Args:
        estimates: one gradient per sample along the first axis, at least two. Give each sample its
            own copy of the parameter, ``loc.expand(n, 1).clone().requires_grad_()``, and the
            ``grad`` of the copies is just that.

    Returns:
        Three tensors of the shape of the parameters.

    Raises:
        ValueError: if there are fewer than two estimates.

    >>> moments(torch.tensor([1.0, 3.0]))
    GradientMoments(mean=tensor(2.), variance=tensor(2.), standard_error=tensor(1.))
    """
    if estimates.ndim == 0 or len(estimates) < 2:
        raise ValueError(
            f"moments: expected at least 2 estimates along the first axis, got "
            f"{tuple(estimates.shape)}"
        )
    variance = estimates.var(0)
    return GradientMoments(estimates.mean(0), variance, (variance / len(estimates)).sqrt())
