"""Whether a step goes down the loss's own gradient, with all parameters, and afresh each time."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..agreement import Outcome
from ..diagnosis import CheckFailed
from ..exercise import Draw, plain
from .fixed import LATENT, PIXELS, SIZES, alike, numbers

__all__ = ["ask", "judge"]


def _leaves(*outputs: Any) -> list[Tensor]:
    """The parameters on which tensors depend, found by going back along their gradient."""
    found: dict[int, Tensor] = {}
    ahead, seen = [t.grad_fn for t in outputs if isinstance(t, Tensor)], set()
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found[id(node.variable)] = node.variable
        ahead += [parent for parent, _ in node.next_functions]
    return [*found.values()]


def _networks_of(model: Any, draw: Draw) -> dict[str, list[Tensor]]:
    """The parameters of a model's encoder and of its decoder."""
    x, z = draw.binary(5, PIXELS).float(), draw.normal(5, LATENT).float()
    return {"encoder": _leaves(*model.encode(x)), "decoder": _leaves(model.decode(z))}


def ask(make: Callable[..., Any], draw: Draw) -> Outcome:
    """Two steps: parameters before and after, the loss's gradient, and the one that is left."""
    model = make(*SIZES)
    networks = _networks_of(model, draw)
    every = [leaf for leaves in networks.values() for leaf in leaves]
    loss, same = model.loss, []
    gradients: list[list[Outcome]] = []

    def watched(x: Tensor) -> Tensor:
        value = loss(x)
        found = torch.autograd.grad(value, every, retain_graph=True, allow_unused=True)
        gradients[-1].append(_flat(found, every))
        same.append(bool(torch.equal(x, given)))
        return value

    object.__setattr__(model, "loss", watched)
    values, left = [_flat(every, every)], []
    for _ in range(2):
        given = draw.binary(20, PIXELS).float()
        gradients.append([])
        model.step(given)
        values.append(_flat(every, every))
        left.append(_flat([leaf.grad for leaf in every], every))
    return {
        "sizes": {name: [leaf.numel() for leaf in leaves] for name, leaves in networks.items()},
        "values": values,
        "gradients": gradients,
        "left": left,
        "same": same,
    }


def _flat(tensors: Any, like: list[Tensor]) -> Any:
    """All numbers of a list of tensors in one; zeros for None."""
    each = [torch.zeros_like(a) if t is None else t for t, a in zip(tensors, like, strict=True)]
    return plain(torch.cat([t.flatten() for t in each])) if each else plain(torch.zeros(0))


def judge(outcome: Outcome, _: Draw) -> None:
    """All parameters move, downhill, by the gradient of this step alone."""
    for name, sizes in outcome["sizes"].items():
        if not sizes:
            raise CheckFailed(
                f"the {name} has no parameters with a gradient: are they nn.Module's, and is it "
                "outside no_grad?"
            )
    if not all(outcome["gradients"]):
        raise CheckFailed("step(x) never calls self.loss(x), so it cannot make it smaller")
    if not all(outcome["same"]):
        raise CheckFailed("step(x) computes the loss of something else than its x")
    sizes = [(name, n) for name, every in outcome["sizes"].items() for n in every]
    parts = [n for _, n in sizes]
    values = [numbers(v, "a parameter after step(x)") for v in outcome["values"]]
    gradients = [[numbers(g, "a gradient") for g in each] for each in outcome["gradients"]]
    left = [numbers(g, "a gradient") for g in outcome["left"]]
    moves = [after - before for before, after in pairwise(values)]
    _fail_on_still(moves, gradients, sizes)
    if float(moves[0] @ gradients[0][0]) > 0:
        raise CheckFailed("step(x) goes uphill: it makes the loss larger. Is a sign turned round?")
    first, second = gradients[0][0], gradients[1][0]
    for kept, fresh, summed in zip(
        left[1].split(parts), second.split(parts), (first + second).split(parts), strict=True
    ):
        if fresh.abs().max() > 1e-6 and alike([kept], [summed]) and not _parallel(kept, fresh):
            raise CheckFailed(
                "the second step uses the sum of both steps' gradients: zero_grad() is missing"
            )
    if left[1].any() and not any(_parallel(left[1], g) for g in gradients[1]):
        raise CheckFailed(
            "the gradient that step(x) uses is not that of loss(x): is backward() called on "
            "something else, or zero_grad() missing?"
        )
    _fail_on_forgetful(moves, gradients)


def _fail_on_still(
    moves: list[Tensor], gradients: list[list[Tensor]], sizes: list[tuple[str, int]]
) -> None:
    """Every parameter with a gradient must have moved."""
    parts = [n for _, n in sizes]
    steep = torch.stack([g.abs() for each in gradients for g in each]).amax(0).split(parts)
    moved = torch.stack([m.abs() for m in moves]).amax(0).split(parts)
    stuck = [
        name
        for (name, _), g, m in zip(sizes, steep, moved, strict=True)
        if g.max() > 1e-6 and m.max() == 0
    ]
    if not stuck:
        return
    if len(stuck) == len(sizes):
        raise CheckFailed(
            "step(x) changes no parameter: loss.backward() fills the gradients, and "
            "optimizer.step() uses them, with no zero_grad() in between"
        )
    whose = sorted(set(stuck))
    every = {name: sum(other == name for other, _ in sizes) for name in whose}
    said = " and ".join(
        f"the {name}" if stuck.count(name) == every[name]
        else f"{stuck.count(name)} of {every[name]} parameter tensors of the {name}"
        for name in whose
    )  # fmt: skip
    raise CheckFailed(
        f"{said} never moved, though the loss has a gradient there: give the optimizer all "
        "parameters of both networks, after both are made (a plain list hides its layers from "
        ".parameters())"
    )


def _parallel(a: Tensor, b: Tensor) -> bool:
    """Whether a is b times something positive: a gradient may be clipped or scaled."""
    return bool(a @ b > (1 - 1e-5) * a.norm() * b.norm())


def _fail_on_forgetful(moves: list[Tensor], gradients: list[list[Tensor]]) -> None:
    """The first step of Adam moves all by the same; the second does not, if it remembers."""
    sizes = [m[g[0].abs() > 1e-4].abs() for m, g in zip(moves, gradients, strict=True)]
    if all(len(s) > 1 and s.std() < 1e-3 * s.mean() for s in sizes) and math.isclose(
        *(float(s.mean()) for s in sizes), rel_tol=1e-3
    ):
        raise CheckFailed(
            "the second step moves every parameter by the same amount, as only a first one does: "
            "the optimizer is made anew in each step, and forgets. Make it once"
        )
