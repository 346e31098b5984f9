"""vaelib: variational autoencoders whose every estimator is checked against an exact answer.

One module per idea, and imports point one way only (the order is checked in CI):

    data | nets <- kl <- likelihood | prior | posterior <- latent <- amortized <- elbo <- reparam
        <- vae <- train | evaluate <- course <- cli

Every bound in the package is per datum, in nats, summed over pixels and latent dimensions, and
higher is better. The one minus sign, which turns a bound into a loss, stands in ``vae``.
"""

__version__ = "0.1.0"
