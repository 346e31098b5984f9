r"""From what an answer returned and what is right to the name of the mistake.

An answer that is wrong is compared with the catalogue of known mistakes first, then with the truth
times a constant or plus a constant. Only what agrees in *every* case is named.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from .agreement import Outcome, close, compared, same_gradients, same_outputs, tensor

__all__ = ["CheckFailed", "diagnose"]

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
RATIOS = {
    -1.0: "the sign is turned round",
    2.0: "is a factor ½ missing?",
    0.5: "is there a factor ½ too many?",
    -2.0: "the sign is turned round, and a factor ½ is missing",
    -0.5: "the sign is turned round, and there is a factor ½ too many",
    1 / math.log(2): "these are bits, not nats: the logarithm is the natural one",
    math.log(2): "the logarithm of base 2 is off by this factor from the natural one",
}

# Inputs that are random numbers, by the names that tasks give them.
NOISE = ("eps", "u")
NEW_TENSOR = "compute a new tensor (no +=, no functions that end in an underscore)"
STATE = {
    "torch.set_default_dtype": "give the tensors that you make the dtype of the inputs",
    "torch.set_grad_enabled": "what needs no gradient stands under `with torch.no_grad():`",
    "torch.manual_seed": "all that is random here is passed in",
}


class CheckFailed(AssertionError):  # noqa: N818 (a learner reads it: the check failed)
    """The answer is wrong; the message says in which way, where that is recognized.

    >>> issubclass(CheckFailed, AssertionError)
    True
    """


def diagnose(
    outcomes: Sequence[Outcome],
    truth: Sequence[Outcome],
    sensitive: Callable[[], Sequence[Outcome]],
    inputs: Sequence[Mapping[str, Any]],
    arguments: Callable[[int], Mapping[str, Any]],
    tolerances: Sequence[float],
    smallest: float,
    axes: Mapping[str, tuple[str, ...]],
    mistakes: Iterable[tuple[str, Iterable[Outcome]]],
) -> None:
    """Return if `outcomes` is right in all cases.

    Args:
        outcomes: What the answer returned, one per case, or up to the first error.
        truth: What is right, one per case.
        sensitive: The same with how far each number moves (see `close`); called only where the
            answer differs, since it takes longer.
        inputs: The inputs of each case.
        arguments: From the number of a case to what the answer was called with, by name; the
            inputs themselves, if nothing is built of them. Messages speak of nothing else.
        tolerances: Of each case, as in `close`.
        smallest: As in `close`.
        axes: Names of the inputs' axes, the last first.
        mistakes: What to say, and the outcomes of that mistake in float64; computed on demand.

    Raises:
        CheckFailed: With the best explanation found.
    """
    _fail_on_error(outcomes, arguments)
    if len(outcomes) != len(truth):
        raise CheckFailed(f"{len(outcomes)} cases were answered of {len(truth)}")
    _fail_on_lists(outcomes[0], truth[0])
    _fail_on_side_effects(outcomes, inputs[0])
    values, slopes = compared(outcomes, truth, tolerances, smallest)
    if not (all(values) and all(slopes)):
        truth = sensitive()
        values, slopes = compared(outcomes, truth, tolerances, smallest)
    _fail_on_types(outcomes, truth)
    if all(values) and all(slopes):
        return
    # Mistakes are looked for in float64, where rounding cannot hide them.
    exact = [i for i, outcome in enumerate(outcomes) if outcome["dtype"] == "torch.float64"]
    if all(values[i] and slopes[i] for i in exact):
        case = next(i for i in range(len(values)) if not (values[i] and slopes[i]))
        raise CheckFailed(
            "right in float64, but not in float32. Something overflows, underflows or cancels: "
            "stay in log space, and use forms such as logsumexp, softplus and expm1. "
            + _example(outcomes[case], truth[case], arguments(case), smallest)
        )
    chosen = [outcomes[i] for i in exact], [truth[i] for i in exact], [inputs[i] for i in exact]
    for says, wrong in mistakes:
        if _matches(chosen[0], wrong, smallest):
            raise CheckFailed(says)
    names = list(arguments(0))
    if not all(values[i] for i in exact):
        _explain_outputs(*chosen, axes, names)
        case = next(i for i in exact if not values[i])
        raise CheckFailed(
            "the values are wrong. "
            + _example(outcomes[case], truth[case], arguments(case), smallest)
        )
    _explain_gradients(chosen[0], chosen[1], names)


def _matches(outcomes: Sequence[Outcome], wrong: Iterable[Outcome], smallest: float) -> bool:
    """Whether the answer makes this mistake in every case, gradients included."""
    return all(
        "error" not in b
        and same_outputs(a["outputs"], b["outputs"], 1e-6, smallest)
        and same_gradients(a["gradients"], b["gradients"], 1e-6)
        for a, b in zip(outcomes, wrong, strict=False)  # strict would ask for all of them
    )


def _fail_on_error(
    outcomes: Sequence[Outcome], arguments: Callable[[int], Mapping[str, Any]]
) -> None:
    for case, outcome in enumerate(outcomes):
        error = outcome.get("error", "")
        if error == "NotImplementedError":
            raise CheckFailed("not attempted")
        if "in-place operation" in error or "inplace operation" in error:
            raise CheckFailed(f"it changes in place what the gradient needs: {NEW_TENSOR}")
        if error:
            raise CheckFailed(f"called with {_describe(arguments(case))}, it raised {error}")


def _fail_on_lists(first: Outcome, right: Outcome) -> None:
    """A list or tuple for a single value, even if the value in it is right."""
    returned, got = first.get("returned"), len(first["outputs"])
    if returned not in ("tuple", "list") or right["returned"] in ("tuple", "list"):
        return
    if got == 1:
        raise CheckFailed(
            f"it returns a {returned} that holds the result; expected the result itself (is there "
            "a comma behind it?)"
        )
    one, makes = "one text", '"".join'
    if right["returned"] == "Tensor":
        one, makes = f"one tensor, here of shape {right['outputs'][0]['shape']}", "torch.stack"
    raise CheckFailed(
        f"it returns a {returned} of {got} values; expected {one} ({makes} makes one of many)"
    )


def _fail_on_side_effects(outcomes: Sequence[Outcome], inputs: Mapping[str, Any]) -> None:
    first = outcomes[0]
    for number, output in enumerate(first["outputs"]):
        if isinstance(output, dict) and "numbers" not in output:
            what = "it returns nothing: is a return missing?"
            if output["type"] != "NoneType":
                what = f"output {number + 1} is of the type {output['type']}, not a tensor"
            raise CheckFailed(what)
    # Before the comparison of two calls, which a seed would make the same.
    for name in (name for outcome in outcomes for name in outcome.get("state", ())):
        raise CheckFailed(
            f"your function calls {name}, which changes how all later cells compute: {STATE[name]}"
        )
    if "again" in first and not (
        first["again"] and same_outputs(first["outputs"], first["again"], 1e-12)
    ):
        says = "two calls with the same arguments gave different results: "
        if any(name in NOISE for name in inputs):
            says += "use the noise or the samples that are passed in, and draw none of your own"
        else:
            says += "nothing is random here, so draw no random numbers; and keep nothing for later"
        raise CheckFailed(says)
    changed = {name for outcome in outcomes for name in outcome["changed"]}
    if changed:
        what = " and ".join(sorted(changed))
        word = "arguments" if len(changed) > 1 else "argument"
        raise CheckFailed(f"your function changed its {word} {what} in place: {NEW_TENSOR}")


def _fail_on_types(outcomes: Sequence[Outcome], truth: Sequence[Outcome]) -> None:
    """Right numbers in the wrong precision: a float32 model would change its type on the way."""
    for outcome, right in zip(outcomes, truth, strict=True):
        for output, wanted in zip(outcome["outputs"], right["outputs"], strict=False):
            if not (isinstance(output, dict) and isinstance(wanted, dict)):
                continue
            if not close(output, wanted, 1e-3):
                continue
            if wanted["type"] == "torch.bool" and output["type"] != "torch.bool":
                raise CheckFailed(
                    f"the result is {output['type']}; asked are booleans, torch.bool, with which "
                    "a tensor can be indexed"
                )
            if not right["gradients"]:
                continue  # what is not differentiated does not enter a model's arithmetic
            if "float" in output["type"] and output["type"] != outcome["dtype"]:
                raise CheckFailed(
                    f"the inputs are {outcome['dtype']} and the result is {output['type']}: "
                    "create tensors with the dtype of the inputs (torch.zeros_like, x.new_ones)"
                )


def _explain_outputs(
    outcomes: Sequence[Outcome],
    truth: Sequence[Outcome],
    inputs: Sequence[Mapping[str, Any]],
    axes: Mapping[str, tuple[str, ...]],
    names: Sequence[str],
) -> None:
    """Raise with an explanation if the outputs are the truth up to a shape or a constant."""
    counts = {len(outcome["outputs"]) for outcome in outcomes}
    wanted = len(truth[0]["outputs"])
    if counts != {wanted}:
        values = "1 value" if counts == {1} else f"{max(counts)} values"
        raise CheckFailed(f"it returns {values}; expected {wanted}")
    known = _axes_with_names(inputs[0], axes, names)
    for k in range(wanted):
        which = f"output {k + 1}: " if wanted > 1 else ""
        right = [tensor(t["outputs"][k]) for t in truth]
        got = [tensor(a["outputs"][k]) for a in outcomes]
        pairs = [(a, t) for a, t in zip(got, right, strict=True) if a is not None and t is not None]
        if len(pairs) != len(truth) or all(_near(a, t) for a, t in pairs):
            continue
        other = [(a, t) for a, t in pairs if a.shape != t.shape]
        if other:  # the largest tells most: over a single datum a mean and a sum are the same
            raise CheckFailed(which + _explain_shape(*max(other, key=lambda pair: pair[1].numel())))
        said = (
            _explain_not_finite(pairs)
            or _explain_ratio(pairs, inputs, known)
            or _explain_offset(pairs, inputs, known)
        )
        if said:
            raise CheckFailed(which + said)


def _near(a: Tensor, t: Tensor) -> bool:
    return a.shape == t.shape and bool(torch.allclose(a, t, rtol=1e-6, atol=1e-6, equal_nan=True))


def _explain_shape(a: Tensor, t: Tensor) -> str:
    shapes = f"the result has the shape {[*a.shape]}; expected {[*t.shape]}"
    if a.ndim < t.ndim and a.numel() == t.numel() and _near(a.reshape(t.shape), t):
        return (
            f"{shapes}. The numbers are right, but an axis of size 1 is gone: .squeeze() takes "
            "away every one, that of a single datum or latent too; name the axis that you mean"
        )
    if a.ndim > t.ndim and a.numel() == t.numel() and _near(a.reshape(t.shape), t):
        return (
            f"{shapes}. The numbers are right, with an axis of size 1 too many (keepdim=True? "
            "an index [:, None]?)"
        )
    if a.ndim == t.ndim + 1 and _near(a.sum(-1), t):
        return f"{shapes}. The sum over the last axis is missing"
    if a.ndim == 0 and _near(a, t.mean()):
        return f"{shapes}. You averaged over the batch; return one value for each datum"
    if a.ndim == 0 and _near(a, t.sum()):
        return f"{shapes}. You summed over the batch too; return one value for each datum"
    if a.ndim == 2 and _near(a.mT, t):
        return f"{shapes}. It is the transpose"
    if t.ndim == 1 and a.shape == (len(t), len(t)) and len(t) > 1:
        return f"{shapes}. The shapes [n] and [n, 1] broadcast to [n, n]"
    return shapes


def _explain_not_finite(pairs: Sequence[tuple[Tensor, Tensor]]) -> str | None:
    bad = [(a, t) for a, t in pairs if not a.isfinite().all() and t.isfinite().all()]
    if not bad:
        return None
    a, t = bad[0]
    where = ~a.isfinite()
    got = a[where].flatten()[0].item()
    what = f"the result is {got} where {t[where].flatten()[0].item():.4g} is right"
    if math.isnan(got) and not t.any():
        return f"{what}. Is something divided by 0, or averaged although there is nothing of it?"
    return f"{what}. Something overflows or underflows for extreme inputs: stay in log space"


def _explain_ratio(
    pairs: Sequence[tuple[Tensor, Tensor]],
    inputs: Sequence[Mapping[str, Any]],
    axes: Mapping["Axis", str],
) -> str | None:
    ratios: list[float | None] = []
    for a, t in pairs:
        kept = t.abs() > 1e-6
        if (a[~kept].abs() > 1e-5).any():
            return None  # zero times a constant stays zero
        if not kept.any():
            ratios.append(None)  # nothing to learn from this case
            continue
        every = a[kept] / t[kept]
        ratio = every.median().item()
        if not torch.allclose(every, torch.full_like(every, ratio), rtol=1e-5, atol=0):
            return None
        ratios.append(ratio)
    known = [r for r in ratios if r is not None]
    if not known or abs(known[0]) < 1e-9:
        return "all values are zero" if known and not any(known) else None
    if max(known) - min(known) < 1e-5 * abs(known[0]) and len(known) > 1:
        for constant, says in RATIOS.items():
            if math.isclose(known[0], constant, rel_tol=1e-5):
                return f"your values are {constant:.4g} times the right ones: {says}"
        return f"your values are {_factor(known[0])}, in every case"
    for sign in (1, -1):
        for power, word in ((-1, "small"), (1, "large")):
            axis = _axis(
                [
                    None if r is None else (sign * r) ** power if sign * r > 0 else -1
                    for r in ratios
                ],
                inputs,
                axes,
            )
            if axis:
                turned = ", with the sign turned round" if sign < 0 else ""
                size = inputs[0][axis[0]].shape[-1 - axis[1]]
                did = "average over" if power < 0 else "add once for each of"
                return (
                    f"your values are {size} times too {word}{turned}: did you {did} {axes[axis]}?"
                )
    return None


def _explain_offset(
    pairs: Sequence[tuple[Tensor, Tensor]],
    inputs: Sequence[Mapping[str, Any]],
    axes: Mapping["Axis", str],
) -> str | None:
    offsets = []
    for a, t in pairs:
        every = a - t
        offset = every.flatten()[0].item() if every.numel() else 0.0
        if not torch.allclose(every, torch.full_like(every, offset), rtol=1e-6, atol=1e-6):
            return None
        offsets.append(offset)
    first = offsets[0]
    if abs(first) < 1e-6:
        return None
    named = {HALF_LOG_TWO_PI: "½ log 2π", 2 * HALF_LOG_TWO_PI: "log 2π", math.log(2): "log 2"}

    def name(value: float) -> str:
        near = [n for c, n in named.items() if math.isclose(abs(value), c, rel_tol=1e-5)]
        return f"{abs(value):.4g}" + (f" = {near[0]}" if near else "")

    word = "large" if first > 0 else "small"
    if max(offsets) - min(offsets) < 1e-5 * abs(first):
        return f"your values are too {word} by {name(first)}, in every case"
    # Proportional to the size of an axis: a constant that belongs to each of its entries.
    for axis, says in axes.items():
        sizes = [_size(given, axis) for given in inputs]
        each = [o / s for o, s in zip(offsets, sizes, strict=True) if s]
        if len(each) == len(offsets) and max(each) - min(each) < 1e-5 * abs(each[0]):
            return f"your values are too {word} by {name(each[0])} for each of {says}"
    return None


def _factor(ratio: float) -> str:
    if f"{ratio:.6g}" != "1":
        return f"{ratio:.6g} times the right ones"
    return (
        f"{ratio:.12g} times the right ones: nearly right, so is a constant rounded, or "
        "something added or cut that is small?"
    )


Axis = tuple[str, int]  # an input and its axis, from the end


def _axes_with_names(
    inputs: Mapping[str, Any], axes: Mapping[str, tuple[str, ...]], arguments: Sequence[str]
) -> dict[Axis, str]:
    """What to call each axis: first those that the exercise names, then others of arguments."""
    every = [
        (leaf, axis)
        for leaf, value in inputs.items()
        if isinstance(value, Tensor)
        for axis in range(value.ndim)
    ]
    named = {(k, i): f"the {axes[k][i]}" for k, i in every if i < len(axes.get(k, ()))}
    unnamed = {(k, i): f"the entries of the axis {-1 - i} of `{k}`" for k, i in every}
    return named | {k: v for k, v in unnamed.items() if k not in named and k[0] in arguments}


def _size(given: Mapping[str, Any], axis: Axis) -> int | None:
    value = given[axis[0]]
    return value.shape[-1 - axis[1]] if isinstance(value, Tensor) and value.ndim > axis[1] else None


def _axis(
    ratios: Sequence[float | None], inputs: Sequence[Mapping[str, Any]], axes: Iterable[Axis]
) -> Axis | None:
    """The input and axis whose size is the ratio in every case."""
    for axis in axes:
        sizes = [_size(given, axis) for given in inputs]
        if all(
            r is None or (s is not None and math.isclose(r, s, rel_tol=1e-5))
            for r, s in zip(ratios, sizes, strict=True)
        ):
            return axis
    return None


def _explain_gradients(
    outcomes: Sequence[Outcome], truth: Sequence[Outcome], arguments: Sequence[str]
) -> None:
    """The values are right and the gradient is not: raise with the input that it misses."""
    ratios: dict[str, list[float]] = {}
    for outcome, right in zip(outcomes, truth, strict=True):
        for leaf, wanted in right["gradients"].items():
            t, a = tensor(wanted), tensor(outcome["gradients"].get(leaf))
            name = leaf if leaf in arguments else f"the {leaf} of which the arguments are made"
            if t is None or not (t != 0).any():
                if a is not None and (a.abs() > 1e-9).any():
                    raise CheckFailed(
                        f"the values are right, but a gradient reaches {name}, and none should: "
                        "treat what is computed from it as a plain number (.detach())"
                    )
                continue
            if a is None or not (a != 0).any():
                raise CheckFailed(
                    f"the values are right, but no gradient reaches {name}: was it, or something "
                    "computed from it, detached (.detach(), .item(), torch.tensor(…), no_grad)?"
                )
            if not _near(a, t):
                kept = t.abs() > 1e-6
                ratios.setdefault(name, []).extend((a[kept] / t[kept]).tolist())
    if not ratios:
        raise CheckFailed("the values are right, but the gradients are wrong by a little")
    name, found = next(iter(ratios.items()))
    if found and max(found) - min(found) < 1e-5 * abs(found[0]):
        raise CheckFailed(
            f"the values are right, but the gradient with respect to {name} has numbers "
            f"{_factor(found[0])}"
        )
    raise CheckFailed(
        f"the values are right, but the gradient with respect to {name} is wrong: a part of the "
        "computation is detached or rounded, or a case is treated apart"
    )


def _describe(arguments: Mapping[str, Any]) -> str:
    """Shapes and numbers; what is neither is named only."""
    said = []
    for name, value in arguments.items():
        if isinstance(value, Tensor):
            said.append(f"{name} of shape {[*value.shape]}")
        elif isinstance(value, Distribution):
            said.append(f"{name}, a {type(value).__name__} of shape {[*value.batch_shape]}")
        elif isinstance(value, bool | int | float | str | tuple):
            said.append(f"{name} = {value!r}")
        else:
            said.append(name)
    return ", ".join(said)


def _example(
    outcome: Outcome, truth: Outcome, arguments: Mapping[str, Any], smallest: float
) -> str:
    alone = len(truth["outputs"]) == 1
    for k, (got, right) in enumerate(zip(outcome["outputs"], truth["outputs"], strict=False)):
        if close(got, right, 3e-7 if outcome["dtype"] == "torch.float64" else 2e-4, smallest):
            continue
        a, t = tensor(got), tensor(right)
        which = "the result" if alone else f"output {k + 1}"
        where = f"For {_describe(arguments)}, {which} " if arguments else "The answer "
        if a is None or t is None:
            return f"{where}is {got!r}, which is not right"
        if a.shape != t.shape:
            return f"{where}has the shape {[*a.shape]}; expected {[*t.shape]}"
        if a.numel():
            worst = int((a - t).abs().nan_to_num(math.inf).argmax())
            got, right = a.flatten()[worst].item(), t.flatten()[worst].item()
            digits = 6 if f"{got:.6g}" != f"{right:.6g}" else 12
            return f"{where}holds {got:.{digits}g} where {right:.{digits}g} is right"
    return f"This happens for {_describe(arguments)}"
