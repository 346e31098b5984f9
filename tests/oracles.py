"""Answers computed in another way. This file never imports vaelib (test_oracles.py checks that).

Everything here is brute force: quadrature with mpmath, dense joint Gaussians with scipy, loops over
pixels in Python. Slow and obvious is the point.
"""

import math

import mpmath
import numpy as np
from scipy import integrate, stats


def kl_normal_by_quadrature(loc_q, scale_q, loc_p, scale_p):
    """KL between two one-dimensional normals, by integrating q (log q - log p) numerically.

    Good to about 1e-13: 14 standard deviations hold all but 1e-44 of q.
    """

    def log_normal(z, loc, scale):
        return -0.5 * ((z - loc) / scale) ** 2 - math.log(scale) - 0.5 * math.log(2 * math.pi)

    def integrand(z):
        log_q = log_normal(z, loc_q, scale_q)
        return math.exp(log_q) * (log_q - log_normal(z, loc_p, scale_p))

    far, near = 14 * scale_q, 4 * scale_q
    value, _ = integrate.quad(
        integrand,
        loc_q - far,
        loc_q + far,
        points=[loc_q - near, loc_q, loc_q + near],
        epsabs=1e-13,
        epsrel=1e-13,
    )
    return value


def kl_to_standard_normal_in_60_digits(loc, logvar):
    """The same for one pair against N(0, 1), where float64 would have lost the digits."""
    with mpmath.workdps(60):
        m, s = mpmath.mpf(loc), mpmath.exp(mpmath.mpf(logvar) / 2)

        def integrand(z):
            log_ratio = -((z - m) ** 2) / (2 * s**2) - mpmath.log(s) + z**2 / 2
            density = mpmath.exp(-((z - m) ** 2) / (2 * s**2)) / (s * mpmath.sqrt(2 * mpmath.pi))
            return density * log_ratio

        return float(mpmath.quad(integrand, [m + s * c for c in range(-18, 19, 3)]))


def kl_to_standard_normal(loc, logvar):
    """The sum over the last axis of one-dimensional quadratures, one value per row."""
    return np.array(
        [
            sum(
                kl_normal_by_quadrature(m, math.exp(0.5 * v), 0.0, 1.0)
                for m, v in zip(row_m, row_v, strict=True)
            )
            for row_m, row_v in zip(np.asarray(loc, float), np.asarray(logvar, float), strict=True)
        ]
    )


def joint_gaussian(weight, bias, variance):
    """Mean and dense covariance of the stacked vector (z, x) with x = W z + b + noise."""
    weight, bias = np.asarray(weight, float), np.asarray(bias, float)
    pixels, latent = weight.shape
    mean = np.concatenate([np.zeros(latent), bias])
    # (z, x) is a linear map of independent standard normals (z, e).
    mixing = np.block(
        [
            [np.eye(latent), np.zeros((latent, pixels))],
            [weight, math.sqrt(variance) * np.eye(pixels)],
        ]
    )
    return mean, mixing @ mixing.T


def linear_gaussian_log_evidence(weight, bias, variance, x):
    """log p(x) from the x-block of the joint, with scipy's dense multivariate normal."""
    latent = np.asarray(weight).shape[1]
    mean, cov = joint_gaussian(weight, bias, variance)
    return stats.multivariate_normal(mean[latent:], cov[latent:, latent:]).logpdf(np.asarray(x))


def linear_gaussian_posterior(weight, bias, variance, x):
    """Mean and covariance of z given x by conditioning the joint."""
    k = np.asarray(weight).shape[1]
    mean, cov = joint_gaussian(weight, bias, variance)
    gain = cov[:k, k:] @ np.linalg.inv(cov[k:, k:])
    return (np.asarray(x) - mean[k:]) @ gain.T, cov[:k, :k] - gain @ cov[k:, :k]


def ppca_log_likelihood(x, latent):
    """Mean log-likelihood of the best pPCA, from the eigenvalues alone (Tipping & Bishop, eq. 4).

    At the optimum the trace term is the number of pixels, so no W is needed.
    """
    x = np.asarray(x, float)
    centred = x - x.mean(0)
    eigenvalues = np.linalg.svd(centred, compute_uv=False) ** 2 / len(x)  # descending
    pixels = x.shape[1]
    eigenvalues = np.pad(eigenvalues, (0, pixels - len(eigenvalues)))
    sigma2 = eigenvalues[latent:].mean()
    log_det = np.log(eigenvalues[:latent]).sum() + (pixels - latent) * math.log(sigma2)
    return -0.5 * (pixels * math.log(2 * math.pi) + log_det + pixels)


def bernoulli_log_likelihood(x, logits):
    """log p(x | logits) per row, pixel by pixel, in 30 digits."""
    with mpmath.workdps(30):
        total = []
        for row, l_row in zip(np.asarray(x), np.asarray(logits, float), strict=True):
            terms = []
            for value, logit in zip(row, l_row, strict=True):
                p = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
                terms.append(mpmath.log(p if value == 1 else 1 - p))
            total.append(float(sum(terms)))
    return np.array(total)


def normal_log_density(x, loc, scale):
    """Sum over the last axis of scipy's one-dimensional log-densities."""
    return stats.norm(np.asarray(loc, float), np.asarray(scale, float)).logpdf(x).sum(-1)


def gradient(f, value, step=1e-5):
    """Central differences of a scalar function of an array."""
    value = np.asarray(value, float)
    result = np.zeros_like(value)
    for index in np.ndindex(value.shape):
        up, down = value.copy(), value.copy()
        up[index] += step
        down[index] -= step
        result[index] = (f(up) - f(down)) / (2 * step)
    return result
