"""Answers computed in another way. This file never imports vaelib (test_oracles.py checks that).

Everything here is brute force: quadrature with mpmath, dense joint Gaussians with scipy, loops over
pixels in Python. Slow and obvious is the point.
"""

import itertools
import math

import mpmath
import numpy as np
from scipy import integrate, optimize, stats


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
                odds = mpmath.exp(mpmath.mpf(logit))
                terms.append(mpmath.log((odds if value == 1 else 1) / (1 + odds)))
            total.append(float(sum(terms)))
    return np.array(total)


def normal_log_density(x, loc, scale):
    """Sum over the last axis of scipy's one-dimensional log-densities."""
    return stats.norm(np.asarray(loc, float), np.asarray(scale, float)).logpdf(x).sum(-1)


def two_bumps_log_density(z, at, width):
    """log of the equal mixture of N(-at, width²) and N(at, width²)."""
    return np.logaddexp(stats.norm.logpdf(z, -at, width), stats.norm.logpdf(z, at, width)) - np.log(
        2
    )


def kl_by_quadrature(log_q, log_p, low, high):
    """KL between any two one-dimensional densities, q holding next to nothing outside low..high."""

    def integrand(z):
        return math.exp(log_q(z)) * (log_q(z) - log_p(z))

    pieces = np.linspace(low, high, 41)
    return sum(
        integrate.quad(integrand, a, b, epsabs=1e-13, epsrel=1e-12)[0]
        for a, b in itertools.pairwise(pieces)
    )


def k3_moments_by_quadrature(loc_q, scale_q, loc_p, scale_p):
    """Mean and standard deviation of r - 1 - log r with r = p/q under the normal q."""
    q, p = stats.norm(loc_q, scale_q), stats.norm(loc_p, scale_p)

    def moment(power):
        def integrand(z):
            log_r = p.logpdf(z) - q.logpdf(z)
            return q.pdf(z) * (math.exp(log_r) - 1 - log_r) ** power

        far = 14 * max(scale_q, scale_p)
        return integrate.quad(integrand, loc_q - far, loc_q + far, points=[loc_q], limit=200)[0]

    mean = moment(1)
    return mean, math.sqrt(moment(2) - mean**2)


def best_normal(divergence, loc, scale):
    """Mean and scale of the normal at the local minimum of divergence(loc, scale) near a start."""
    best = optimize.minimize(
        lambda t: divergence(t[0], math.exp(t[1])),
        [loc, math.log(scale)],
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-10},
    )
    return best.x[0], math.exp(best.x[1])


def diagonal_floors_by_minimizing(sigma):
    """Smallest KL(p ‖ q) and KL(q ‖ p), p = N(0, sigma) and q = N(0, diag), over q's variances."""

    def kl(a, b):
        return 0.5 * (
            np.trace(np.linalg.solve(b, a))
            - len(a)
            + np.linalg.slogdet(b)[1]
            - np.linalg.slogdet(a)[1]
        )

    return tuple(
        optimize.minimize(f, np.zeros(len(sigma)), method="BFGS").fun
        for f in (
            lambda v: kl(sigma, np.diag(np.exp(v))),
            lambda v: kl(np.diag(np.exp(v)), sigma),
        )
    )


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


def mixture_log_joint(proportion, loc, covariance, x):
    """log p(x, k) for each datum and component, from scipy's normal densities."""
    columns = [
        math.log(p) + stats.multivariate_normal(m, c).logpdf(np.asarray(x))
        for p, m, c in zip(proportion, loc, covariance, strict=True)
    ]
    return np.stack(columns, 1)


def mixture_statistics(proportion, loc, covariance, x):
    """Means of r, r x and r x xᵀ, datum by datum."""
    x = np.asarray(x)
    joint = np.exp(mixture_log_joint(proportion, loc, covariance, x))
    r = joint / joint.sum(1, keepdims=True)
    components, pixels = np.asarray(loc).shape
    s0, s1 = np.zeros(components), np.zeros((components, pixels))
    s2 = np.zeros((components, pixels, pixels))
    for n in range(len(x)):
        for k in range(components):
            s0[k] += r[n, k] / len(x)
            s1[k] += r[n, k] * x[n] / len(x)
            s2[k] += r[n, k] * np.outer(x[n], x[n]) / len(x)
    return s0, s1, s2


def mixture_m_step(s0, s1, s2):
    """The mixture whose expected statistics these are."""
    loc = s1 / s0[:, None]
    covariance = [s2[k] / s0[k] - np.outer(loc[k], loc[k]) for k in range(len(s0))]
    return s0 / s0.sum(), loc, np.stack(covariance)


def mixture_em_step(proportion, loc, covariance, x):
    """One EM step, each covariance as a weighted mean of squared residuals from its new mean."""
    x = np.asarray(x)
    joint = np.exp(mixture_log_joint(proportion, loc, covariance, x))
    r = joint / joint.sum(1, keepdims=True)
    new_loc = [np.average(x, 0, r[:, k]) for k in range(len(loc))]
    new_covariance = [
        (x - m).T @ np.diag(r[:, k]) @ (x - m) / r[:, k].sum() for k, m in enumerate(new_loc)
    ]
    return r.mean(0), np.stack(new_loc), np.stack(new_covariance)


def ppca_em_step(weight, variance, x):
    """Tipping and Bishop's combined E and M step, from the data's covariance matrix S."""
    x = np.asarray(x)
    s = np.cov(x.T, bias=True)
    k = weight.shape[1]
    m_inverse = np.linalg.inv(weight.T @ weight + variance * np.eye(k))
    sw = s @ weight
    new = sw @ np.linalg.inv(variance * np.eye(k) + m_inverse @ weight.T @ sw)
    return new, np.trace(s - sw @ m_inverse @ new.T) / len(s)


def effective_sample_fraction(loc_p, scale_p, loc_q, scale_q):
    """E_q[w]² / E_q[w²] with w = p / q for two normals on the line, by quadrature."""
    p, q = stats.norm(loc_p, scale_p), stats.norm(loc_q, scale_q)

    def integrand(z):
        return math.exp(2 * p.logpdf(z) - q.logpdf(z))

    value, _ = integrate.quad(integrand, -30, 30, points=[loc_p, loc_q], epsabs=0, epsrel=1e-12)
    return 1 / value


def levels_log_likelihood(x, logits, levels):
    """log p(x | logits) per row, x = v / (levels - 1), one pixel after the other."""
    total = []
    for row, l_row in zip(np.asarray(x), np.asarray(logits, float), strict=True):
        value = 0.0
        for pixel, grey in enumerate(row):
            its = l_row[pixel * levels : (pixel + 1) * levels]
            p = np.exp(its) / np.exp(its).sum()
            value += math.log(p[round(grey * (levels - 1))])
        total.append(value)
    return np.array(total)


def continuous_bernoulli_log_density(x, logits):
    """log of e^(l x) over its integral from 0 to 1, which is a quadrature, summed over pixels."""
    total = []
    for row, l_row in zip(np.asarray(x, float), np.asarray(logits, float), strict=True):
        value = 0.0
        for grey, logit in zip(row, l_row, strict=True):
            constant, _ = integrate.quad(
                lambda t, logit=logit: math.exp(logit * t), 0, 1, epsabs=0, epsrel=1e-13
            )
            value += logit * grey - math.log(constant)
        total.append(value)
    return np.array(total)


def truncated_exponential(x, logit):
    """e^(l x) on [0, 1]: log-density, its slope in l, mean and variance. With 60 digits.

    From the textbook's e^l - 1, which is why 60 are needed: at l = 1e-8 a variance loses 34.
    """
    with mpmath.workdps(60):
        x, t = mpmath.mpf(float(x)), mpmath.mpf(float(logit))
        if t == 0:
            return 0.0, float(x - 0.5), 0.5, 1 / 12
        e = mpmath.exp(t)
        mean = e / (e - 1) - 1 / t
        values = t * x - mpmath.log((e - 1) / t), x - mean, mean, 1 / t**2 - e / (e - 1) ** 2
        return tuple(float(v) for v in values)


def truncated_exponential_quantile(share, logit):
    """The x below which that share lies, with 400 digits: e^500 times a tiny share keeps some."""
    with mpmath.workdps(400):
        share, t = mpmath.mpf(float(share)), mpmath.mpf(float(logit))
        return float(mpmath.log(1 + share * (mpmath.exp(t) - 1)) / t) if t else float(share)


def level_of_logistics(level, logits, means, scales, levels=256):
    """log P of one level of one value, with 60 digits: the difference of two sigmoids, as it is."""
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(float(v))) for v in logits]
        p = mpmath.mpf(0)
        for w, m, s in zip(weights, means, scales, strict=True):
            m, s = mpmath.mpf(float(m)), mpmath.mpf(float(s))
            low, high = ((mpmath.mpf(level) + c) / (levels - 1) for c in (-0.5, 0.5))
            up = 1 if level == levels - 1 else 1 / (1 + mpmath.exp((m - high) / s))
            down = 0 if level == 0 else 1 / (1 + mpmath.exp((m - low) / s))
            # Both are 1 to 60 digits far above the mean, where their complements are not.
            if 0 < level < levels - 1 and low > m:
                up, down = 1 / (1 + mpmath.exp((low - m) / s)), 1 / (1 + mpmath.exp((high - m) / s))
            elif level == levels - 1:
                up, down = 1 / (1 + mpmath.exp((low - m) / s)), 0
            p += w * (up - down)
        return float(mpmath.log(p / mpmath.fsum(weights)))


def pixelcnn_levels(mean, scale):
    """PixelCNN++'s log P of 256 levels in float64, as its paper's code has it, x from -1 to 1.

    Where a level's probability is below 1e-5, the density in its middle stands for its mean.
    """
    x = np.arange(256) * 2 / 255 - 1
    centred, inverse = x - mean, 1 / scale
    up, down, middle = (
        inverse * (centred + 1 / 255),
        inverse * (centred - 1 / 255),
        inverse * centred,
    )
    softplus = lambda v: np.logaddexp(0, v)  # noqa: E731
    sigmoid = lambda v: np.exp(-softplus(-v))  # noqa: E731
    difference = sigmoid(up) - sigmoid(down)
    density = middle - math.log(scale) - 2 * softplus(middle)
    inner = np.where(
        difference > 1e-5, np.log(np.maximum(difference, 1e-12)), density - math.log(127.5)
    )
    return np.where(x < -0.999, up - softplus(up), np.where(x > 0.999, -softplus(down), inner))


def normal_of_units(x, raw, logvar, shift, factor):
    """log-density of a normal around shift + factor · raw, by scipy."""
    return stats.norm.logpdf(x, shift + factor * raw, factor * np.exp(logvar / 2))


def student_t(u, df):
    """log-density of Student's t and its slopes in u and df, with 60 digits."""
    with mpmath.workdps(60):
        u, df = mpmath.mpf(float(u)), mpmath.mpf(float(df))
        half, more = df / 2, (df + 1) / 2
        w = 1 + u**2 / df
        value = mpmath.loggamma(more) - mpmath.loggamma(half) - mpmath.log(df * mpmath.pi) / 2
        slope = (mpmath.digamma(more) - mpmath.digamma(half) - 1 / df - mpmath.log(w)) / 2
        slope += more * u**2 / df**2 / w
        return tuple(
            float(v) for v in (value - more * mpmath.log(w), -2 * more * u / df / w, slope)
        )


def poisson(x, log_rate, factor):
    """log-probability of a count and its slope in log_rate, with 60 digits, by the textbook."""
    with mpmath.workdps(60):
        rate = mpmath.mpf(float(factor)) * mpmath.exp(mpmath.mpf(float(log_rate)))
        x = mpmath.mpf(float(x))
        return float(x * mpmath.log(rate) - rate - mpmath.loggamma(x + 1)), float(x - rate)


def negative_binomial(x, log_mean, log_r, factor):
    """log-probability of a count, its slopes in log_mean and log_r: by the textbook, 60 digits."""
    with mpmath.workdps(60):
        mean = mpmath.mpf(float(factor)) * mpmath.exp(mpmath.mpf(float(log_mean)))
        r, x = mpmath.exp(mpmath.mpf(float(log_r))), mpmath.mpf(float(x))
        value = mpmath.loggamma(x + r) - mpmath.loggamma(r) - mpmath.loggamma(x + 1)
        value += r * mpmath.log(r / (r + mean)) + x * mpmath.log(mean / (r + mean))
        by_r = mpmath.digamma(x + r) - mpmath.digamma(r) + mpmath.log(r / (r + mean))
        by_r += 1 - (x + r) / (r + mean)
        return float(value), float((x - mean) * r / (r + mean)), float(r * by_r)


class TwoLayerLinearGaussian:
    """h2 ~ N(0, I), h1 = A h2 + a + noise of variances s, x = B h1 + b + noise of variance v.

    Everything comes from one dense joint normal of (h2, h1, x).
    """

    def __init__(self, top_weight, top_bias, top_variances, weight, bias, variance):
        n1, n2 = top_weight.shape
        pixels = len(weight)
        self.h2, self.h1 = slice(0, n2), slice(n2, n2 + n1)
        self.hidden, self.x = slice(0, n2 + n1), slice(n2 + n1, n2 + n1 + pixels)
        # (h2, h1, x) is a linear map of independent standard normals, one for each coordinate.
        root = np.diag(np.sqrt(top_variances))
        to_h1 = np.hstack([top_weight, root, np.zeros((n1, pixels))])
        to_x = weight @ to_h1
        to_x[:, n1 + n2 :] += math.sqrt(variance) * np.eye(pixels)
        to_h2 = np.hstack([np.eye(n2), np.zeros((n2, n1 + pixels))])
        mixing = np.vstack([to_h2, to_h1, to_x])
        self.mean = np.concatenate([np.zeros(n2), top_bias, weight @ top_bias + bias])
        self.covariance = mixing @ mixing.T

    def log_evidence(self, x):
        """log p(x), from the x-block."""
        deviation = np.asarray(x) - self.mean[self.x]
        c = self.covariance[self.x, self.x]
        quadratic = (deviation * np.linalg.solve(c, deviation.T).T).sum(1)
        return -0.5 * (quadratic + np.linalg.slogdet(2 * math.pi * c)[1])

    def conditional(self, target, given):
        """Gain, offset and covariance: target given another block is N(gain @ it + offset, cov)."""
        c = self.covariance
        gain = c[target, given] @ np.linalg.inv(c[given, given])
        return (
            gain,
            self.mean[target] - gain @ self.mean[given],
            c[target, target] - gain @ c[given, target],
        )

    def gap(self, x, q1, q2):
        """KL of q(h1 | x) q(h2 | h1) to the posterior of both, in nats, for each row of x.

        q1 and q2 are (gain, offset, covariance), as `conditional` returns them.
        """
        (g1, o1, c1), (g2, o2, c2) = q1, q2
        q = np.block([[g2 @ c1 @ g2.T + c2, g2 @ c1], [c1 @ g2.T, c1]])  # of (h2, h1)
        gain, offset, p = self.conditional(self.hidden, self.x)
        values = []
        for row in np.asarray(x):
            h1 = g1 @ row + o1
            shift = np.concatenate([g2 @ h1 + o2, h1]) - gain @ row - offset
            trace = np.trace(np.linalg.solve(p, q)) - len(p)
            log_det = np.linalg.slogdet(p)[1] - np.linalg.slogdet(q)[1]
            values.append(0.5 * (trace + shift @ np.linalg.solve(p, shift) + log_det))
        return np.array(values)
