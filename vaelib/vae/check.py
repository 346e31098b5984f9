"""What does not fit together in a model of one's own, found by numbers, before it is trained."""

import copy
from collections.abc import Iterator
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution

from vaelib.vae.condition import Condition, one_hot
from vaelib.vae.protocol import called, require_model
from vaelib.vae.vae import VAE

__all__ = ["check_model"]

_SAMPLES = 4000
# Standard errors by which a mean of independent samples may miss, at one of a hundred places with
# probability 1e-5; and what two computations of one number in double precision may differ by.
_ERRORS, _SAME = 5.5, 1e-6

Given = tuple[Tensor, ...]  # the code of the labels, of a model with a condition


def check_model(
    model: VAE,
    x: Float[Tensor, "n pixel"] | None = None,
    c: Condition = None,
    *,
    generator: torch.Generator | None = None,
) -> None:
    r"""Try whether a model's parts say the same: what shapes and a falling loss do not show.

    - Likelihood: prepared pixels and samples lie in its support; its density is that of its
      samples, $E_{p(x|z)}[\nabla \log p(x \mid z)] = 0$, which holds of no function that does not
      integrate to one; it sums over pixels.
    - Posterior: ``push`` returns the density of what it makes, which is
      $\log N(\varepsilon; 0, I) - \log|\det dz / d\varepsilon|$, and the distribution's own
      ``log_prob`` agrees; a closed KL is the mean of the sampled one.
    - Rows: the log-weight of a row does not depend on the other rows, nor on their labels; and of a
      model with a condition it depends on the row's own.
    - Gradient: it is the derivative of the log-weights in every parameter, by differences, and
      reaches all of them.
    - State: tensors are parameters or buffers; all else is left behind by ``to``, ``state_dict``
      and a run's folder.
    - Precision: where networks compute in bfloat16, densities still are in float32.

    It works on copies; the model is as it was.

    Args:
        model: with an encoder and a posterior, on the CPU, a dozen latent dimensions at most.
        x: a few data that the likelihood is for; random ones that it is for
            (`~vaelib.likelihood.Likelihood.example`) if None.
        c: labels, ``int64 [n]``, or one for all, of a model with a condition; all by turns if None.
        generator: source of the randomness, on the CPU.

    Raises:
        TypeError: if it is no model of vaelib.vae, or c are no labels.
        ValueError: if something does not fit; lists all that was found, with what to do. If labels
            do not exist, or are not as many as the data.

    >>> from vaelib.nets import MLPDecoder, MLPEncoder
    >>> check_model(VAE(MLPEncoder(16, 2, hidden=(8,)), MLPDecoder(2, 16, hidden=(8,))))
    """
    require_model(model, "check_model")
    if model.posterior is None:
        raise TypeError(
            f"check_model: expected a model with an encoder and a posterior, got "
            f"{type(model).__name__}, which has neither density to compare"
        )
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    faults = list(_outside(model))
    model = copy.deepcopy(model).float().eval()
    if x is None:
        x = model.likelihood.example(8, model.pixels, generator=generator)
        if not model.likelihood.support.check(x).all():
            faults.append("likelihood: prepare makes values outside its support")
    if c is None and model.condition:
        c = torch.arange(len(x)) % model.condition
    code = one_hot(model, c, x.float(), len(x))
    given: Given = () if code is None else (code[:8],)
    x = x[:8].float()
    faults.extend(_precision(model, x, given, generator))
    model, x, given = model.double(), x.double(), tuple(c.double() for c in given)
    for part in (_likelihood, _posterior, _rows, _gradient):
        try:
            faults.extend(part(model, x, given, generator))
        except (RuntimeError, TypeError, ValueError, LookupError, NotImplementedError) as error:
            faults.append(f"{part.__name__.strip('_')}: {type(error).__name__}: {error}")
    if faults:
        found = "".join(f"\n- {fault}" for fault in faults)
        raise ValueError(f"check_model: {type(model).__name__} does not fit together:{found}")


def _outside(model: nn.Module) -> Iterator[str]:
    """Tensors that are attributes, or in a distribution that is one."""
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if isinstance(value, Tensor) or (isinstance(value, Distribution) and _within(value)):
                yield (
                    f"state: {'.'.join(filter(None, (name, key)))} of {type(module).__name__} is a "
                    f"plain tensor, which the model leaves behind when it moves or is saved; use "
                    f"register_buffer('{key}', …) or nn.Parameter, and make what is a distribution "
                    f"in forward"
                )


def _within(p: Distribution) -> dict[str, Tensor]:
    """The tensors that a distribution was made of, by name."""
    found = {key: t for key, t in vars(p).items() if isinstance(t, Tensor)}
    for inner in vars(p).values():
        if isinstance(inner, Distribution):
            found = _within(inner) | found
    return found


def _precision(model: VAE, x: Tensor, given: Given, generator: torch.Generator) -> Iterator[str]:
    eps = model.noise(len(x), generator=generator)
    with torch.no_grad():
        exactly = model.log_weights(x, eps, *given)
        with torch.autocast("cpu", torch.bfloat16):
            terms = model.terms(x, eps, *given, exact=False)
            q, p = _within(model.encode(x, *given)), _within(_prior(model, given))
    names = {"": terms._asdict(), "posterior's ": q, "prior's ": p}
    for whose, tensors in names.items():
        for name, t in tensors.items():
            if t.is_floating_point() and t.dtype != torch.float32:
                yield (
                    f"precision: with networks in bfloat16, the {whose}{name} is {t.dtype}; turn "
                    f"what a network of your own returns back into the type of its input"
                )
    # A bfloat16 has 8 bits; the sum over a network's layers and the pixels loses a few.
    if not (terms.elbo.float() - exactly).abs().max() < 0.05 * exactly.abs().max().clamp(min=20):
        yield "precision: with networks in bfloat16 the log-weights are others, by more than 5 %"


def _prior(model: VAE, given: Given) -> Distribution:
    return model.prior_given(*given) if given else model.prior


def _likelihood(model: VAE, x: Tensor, given: Given, generator: torch.Generator) -> Iterator[str]:
    likelihood = model.likelihood
    labels = [c[torch.arange(4) % len(c)] for c in given]
    _, z = model.sample(4, *labels, generator=generator)
    z = z[:, : cast(int, model.decoder.latent)]
    raw = cast(Tensor, called(model.decoder, z, labels[0] if labels else None)).detach()
    if likelihood(raw).log_prob(x[:1]).shape != (4,):
        yield (
            "likelihood: log p(x | z) is not one number for each z; wrap the distribution of a "
            "pixel in Independent(…, 1), which sums over pixels"
        )
        return
    many = raw[:, None].expand(-1, _SAMPLES // 4, -1).reshape(_SAMPLES, -1).requires_grad_()
    drawn = likelihood.sample(many.detach(), generator)
    if not likelihood.support.check(drawn).all():
        yield "likelihood: a sample lies outside its support"
    (score,) = torch.autograd.grad(likelihood(many).log_prob(drawn).sum(), many)
    score = score.view(4, -1, score.shape[-1])
    n = score.shape[1]
    error = score.std(1) / n**0.5
    # A component that n samples never met, with probability e^-16 if it has 16 / n, pulls the mean
    # by that share of its score: as large as that of the others of the same value, which were met.
    unmet = 16 / n * score.abs().amax((0, 1)).view(model.pixels, -1).amax(-1, keepdim=True)
    unmet = unmet.expand(-1, score.shape[-1] // model.pixels).flatten()
    if score.shape[-1] == model.pixels:
        unmet = torch.zeros_like(unmet)
    if ((score.mean(1).abs() > _ERRORS * error + unmet + _SAME) & (error > 0)).any():
        yield (
            "likelihood: its density is not that of its samples, or does not integrate to one: the "
            "mean gradient of log p over samples is not 0"
        )


def _posterior(model: VAE, x: Tensor, given: Given, generator: torch.Generator) -> Iterator[str]:
    posterior = model.posterior
    q, p = model.encode(x, *given), _prior(model, given)
    eps = model.noise(len(x), samples=1, generator=generator)[0].requires_grad_()
    z, log_q = posterior.push(q, eps)
    if log_q.shape != x.shape[:1]:
        yield f"posterior: push returns log q of shape {tuple(log_q.shape)}, not one for each datum"
        return
    if z.requires_grad and eps.shape == z.shape:
        rows = [torch.autograd.grad(t.sum(), eps, retain_graph=True)[0] for t in z.unbind(-1)]
        normal = torch.distributions.Normal(torch.zeros(()).to(x), 1.0)
        change = torch.linalg.slogdet(torch.stack(rows, -2)).logabsdet
        expected = normal.log_prob(eps).sum(-1) - change
        if not torch.allclose(log_q, expected, rtol=_SAME, atol=_SAME):
            yield (
                "posterior: push returns another log q than the density of the z that it makes; "
                "has it the logarithm of |det dz/dε|, and σ = exp(½ logvar)?"
            )
    try:
        own, moved = q.log_prob(z), q.log_prob(z * (1 + 1e-14))  # where σ is tiny, digits count
        if ((own - log_q).abs() > _SAME * (1 + log_q.abs()) + 100 * (moved - own).abs()).any():
            yield "posterior: log q of push and log_prob of the distribution differ"
    except NotImplementedError:
        pass  # a flow without an inverse
    exact = posterior.kl(q, p)
    with torch.no_grad():
        many = model.noise(len(x), samples=_SAMPLES, generator=generator)
        z, log_q = posterior.push(q, many)
        sampled = log_q - p.log_prob(z)
    if sampled.shape != (_SAMPLES, len(x)):
        yield f"prior: log p(z) of {tuple(z.shape)} has the shape {tuple(sampled.shape)}"
    elif exact is not None:
        error = sampled.std(0) / _SAMPLES**0.5
        off = (sampled.mean(0) - exact).abs() > _ERRORS * error + _SAME
        if off.any():
            i = int(off.nonzero()[0])
            yield (
                f"posterior: its KL in closed form is {exact[i]:.4g}, and over samples it is "
                f"{sampled[:, i].mean():.4g} ± {error[i]:.2g}; let Posterior.kl return None for a "
                f"density of your own"
            )


@torch.no_grad()
def _rows(model: VAE, x: Tensor, given: Given, generator: torch.Generator) -> Iterator[str]:
    eps = model.noise(len(x), samples=2, generator=generator)
    found = model.log_weights(x, eps, *given)
    rows = [slice(i, i + 1) for i in range(len(x))]
    alone = [model.log_weights(x[i], eps[:, i], *(c[i] for c in given)) for i in rows]
    if not torch.allclose(found, torch.cat(alone, 1), rtol=_SAME, atol=_SAME):
        yield (
            "rows: the log-weight of a row is another without the rows beside it; does a network "
            "work along the batch (dim=0), or take the labels of other rows?"
        )
    if model.condition > 1:
        other = model.log_weights(x, eps, *(c.roll(1, -1) for c in given))
        if torch.allclose(found, other, rtol=_SAME, atol=_SAME):
            yield (
                f"rows: it was made with condition={model.condition}, and with other labels all "
                f"log-weights are the same; let encoder and decoder use the c that they are given"
            )


def _gradient(model: VAE, x: Tensor, given: Given, generator: torch.Generator) -> Iterator[str]:
    eps = model.noise(len(x), samples=2, generator=generator)
    model.zero_grad()
    model.log_weights(x, eps, *given).mean().backward()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        direction = torch.randn(p.shape, generator=generator, dtype=p.dtype)
        step, values = 1e-5 * direction / direction.norm(), []
        with torch.no_grad():
            for sign in (1, -2, 1):
                p.add_(sign * step)
                values.append(model.log_weights(x, eps, *given).mean().item())
        expected = (values[0] - values[1]) / 2
        found = 0.0 if p.grad is None else (p.grad * step).sum().item()
        if p.grad is None or (expected == found == 0):
            yield f"gradient: none reaches {name}; the loss does not use it, or it is detached"
        elif abs(found - expected) > 1e-3 * abs(expected) + 1e-10:
            yield (
                f"gradient: that of {name} is not the derivative of the log-weights ({found:.3g} "
                f"for {expected:.3g} along one direction); is z, or a part of log q, detached?"
            )
