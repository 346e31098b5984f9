"""What every model that is trained and measured can be asked for."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.arguments import BadType, BadValue, shown
from vaelib.elbo import Terms
from vaelib.likelihood import Bernoulli, Likelihood
from vaelib.posterior import Posterior, Raw
from vaelib.vae.condition import Condition

__all__ = ["Model", "require_model"]


class Model(nn.Module):
    """What `vaelib.train.fit` trains and `vaelib.evaluate` measures; nobody asks for its class.

    A model of one's own has `noise`, `forward` and `terms`. What it does not have says so when it
    is asked for. A condition c, a label for each row of x, stands in all signatures; a model with
    ``condition=0`` is asked without one.

    Attributes:
        pixels: size of x.
        latent: size of z.
        condition: how many labels there are; 0 if x has none.
        likelihood: p(x | z), which prepares data and shows them again.
        posterior: the family of q, if there is one that can be made better for one datum.
        prior: p(z), if there is one.
    """

    pixels: int
    latent: int
    condition: int = 0
    likelihood: Likelihood

    @property
    def posterior(self) -> Posterior | None:  # noqa: D102
        return None

    @property
    def prior(self) -> Distribution | None:  # noqa: D102
        return None

    def noise(
        self, n: int, *, samples: int | None = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*samples n noise"]:
        """The standard normal noise that n data need: ``model(x, model.noise(len(x)))``.

        A training loop draws it outside of what it compiles, where a generator can be used.

        Args:
            n: how many data.
            samples: so many for each datum, ``[samples, n, noise]``; as many as the loss takes if
                None.
            generator: source of the noise, on the model's device.
        """
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        eps: Tensor | None = None,
        c: Condition = None,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The loss, one number: minus a mean over the batch, in nats per datum.

        Args:
            x: data, shape ``[batch, pixels]``; its values are not checked, which would stop a GPU
                at each step.
            eps: noise as `noise` draws it, of any number of samples; drawn if None.
            c: labels, ``int64 [batch]``, of a model with a condition.
            generator: used only when ``eps`` is None.
        """
        raise NotImplementedError

    def terms(
        self, x: Tensor, eps: Tensor | None = None, c: Condition = None, *, exact: bool = True
    ) -> Terms:
        """The ELBO's two terms per datum, in nats; with ``exact=False`` the KL at the same z."""
        raise BadType(
            f"{type(self).__name__}: has no ELBO and no log-weights; without a prior it is no "
            f"model of x. log_likelihood(x) is what its codes keep of x"
        )

    def log_weights(
        self,
        x: Tensor,
        eps: Tensor,
        c: Condition = None,
        *,
        raw: Raw | None = None,
    ) -> Float[Tensor, "*samples batch"]:
        """log p(x, z) - log q(z | x) at the z of the noise, in nats, with its gradient."""
        return self.terms(x, eps, c, exact=False).elbo

    def warm_up(self, weight: float) -> None:
        """Set a factor on the KL in the loss, between 0 and 1."""
        raise BadType(
            f"{type(self).__name__}: has no KL in its loss whose weight could rise; use warmup=0"
        )

    def named_terms(self, x: Tensor, eps: Tensor, c: Condition = None) -> dict[str, Tensor]:
        """What may be at fault when the loss is not finite, by name."""
        return {}

    def raw(self, x: Tensor, c: Condition = None) -> Raw:
        """What an encoder says of x, of which the posterior makes q."""
        raise BadType(f"{type(self).__name__}: has no encoder that returns the parameters of a q")

    def sample(
        self, n: int, c: Condition = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """n pairs (x, z), without a gradient."""
        raise BadType(f"{type(self).__name__}: has no p(z) to draw from")

    def log_joint_pairs(
        self, x: Tensor, z: Tensor, c: Condition = None
    ) -> Float[Tensor, "batch cells"]:
        """log p(x, z) of every x with every z, in nats."""
        raise BadType(f"{type(self).__name__}: has no p(z) and so no p(x, z)")

    def means(
        self, x: Tensor, noise: Callable[[], Tensor], c: Condition = None
    ) -> Float[Tensor, "samples batch latent"]:
        """Values whose mean over the first axis estimates the mean of q(z | x)."""
        raise BadType(f"{type(self).__name__}: has no q(z | x) whose units could be counted")

    def spread(self) -> Float[Tensor, " latent"]:
        """The variances of p(z), of which an active unit moves a share: 1 unless it says more."""
        return torch.ones(self.latent)

    def require_data(self, x: Tensor) -> None:
        """Raise unless x is a non-empty batch that the likelihood gives a density to."""
        require_data(x, self.pixels, self.likelihood)

    @property
    def layers(self) -> tuple[int, ...]:
        """The sizes of the layers of z, of which the first is nearest to x."""
        return (self.latent,)


def require_model(model: object, where: str) -> None:
    """Raise unless it has what `Model` has.

    >>> require_model(nn.Linear(784, 2), "fit")
    Traceback (most recent call last):
    vaelib.arguments.BadType: fit: expected a model of vaelib.vae, or a subclass of
    vaelib.vae.Model, got Linear; a loss of your own is trained by vaelib.train.Trainer
    """
    if not isinstance(model, Model):
        raise BadType(
            f"{where}: expected a model of vaelib.vae, or a subclass of vaelib.vae.Model, got "
            f"{shown(model) if isinstance(model, type) else type(model).__name__}; a loss of your "
            f"own is trained by vaelib.train.Trainer"
        )


def chosen(likelihood: Likelihood | None, where: str) -> Likelihood:
    """The likelihood that was given, or that of binarized pixels."""
    if likelihood is None:
        return Bernoulli()
    if not isinstance(likelihood, Likelihood):
        raise BadType(
            f"{where}: expected a likelihood of vaelib.likelihood, Gaussian() say, got "
            f"{likelihood.__name__ if isinstance(likelihood, type) else repr(likelihood)}"
        )
    return likelihood


def require_rows(x: Tensor, pixels: int) -> None:
    """What can be checked without reading a value."""
    if not x.is_floating_point():
        raise BadType(
            f"expected floating-point data, got {x.dtype}; vaelib.data.binarize turns uint8 pixels "
            f"into what a likelihood takes"
        )
    if x.ndim != 2 or x.shape[1] != pixels or len(x) == 0:
        raise BadValue(
            f"expected data of shape [batch, {pixels}] with batch > 0, got {tuple(x.shape)}"
        )


def require_data(x: Tensor, pixels: int, likelihood: Likelihood) -> None:
    """The same, and that every value has a density."""
    require_rows(x, pixels)
    if not likelihood.support.check(x).all():
        found = "NaN" if x.isnan().any() else f"{x.min().item():.3g} … {x.max().item():.3g}"
        raise BadValue(
            f"expected data that {type(likelihood).__name__} gives a density to: "
            f"{likelihood.remedy}. Got values {found}"
        )


def called(network: nn.Module, given: Tensor, c: Tensor | None) -> Tensor | Raw:
    """What a network says of rows of any shape, and of the condition that belongs to them."""
    rows, shape = given.reshape(-1, given.shape[-1]), given.shape[:-1]
    if c is None:
        said = network(rows)
    else:
        c = c.expand(*(shape or (1,)), *c.shape[1:])
        said = network(rows, c.reshape(len(rows), *c.shape[len(shape or (1,)) :]))
    # Networks may compute in bfloat16 (train.fit's precision); densities are not for 8 bits.
    if isinstance(said, Tensor):
        return said.to(given.dtype).reshape(*shape, -1)
    return tuple(t.to(given.dtype).reshape(*shape, -1) for t in said)
