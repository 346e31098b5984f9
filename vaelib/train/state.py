"""All that steps leave behind, as tensors with names: weights, moments, and where generators are.

An optimizer's state is known by what it would be after one step: every one of torch's, and one of
a user's own whose state is tensors, is saved and compared without knowing which it is.
"""

import copy
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vaelib.train import checkpoint

Moments = dict[int, dict[str, Tensor]]  # by the number of a parameter


def collect(
    module: nn.Module, optimizer: Optimizer, generator: torch.Generator | None
) -> dict[str, Tensor]:
    """Weights and buffers, the optimizer's state, and the generators': its own and torch's."""
    tensors = {f"model.{name}": t for name, t in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        for name, t in state.items():
            if not isinstance(t, Tensor | None):
                raise TypeError(
                    f"{type(optimizer).__name__} keeps {name!r} as a {type(t).__name__}, and a "
                    f"checkpoint holds tensors; keep it as a tensor, or save it yourself"
                )
            if t is not None:
                tensors[f"optimizer.{index}.{name}"] = t
    tensors["generator.cpu"] = torch.get_rng_state()  # from which dropout draws, say
    if generator is not None:
        tensors["generator.own"] = generator.get_state()
    device = _device(optimizer)
    if device.type == "cuda":
        tensors["generator.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def restore(
    module: nn.Module,
    optimizer: Optimizer,
    generator: torch.Generator | None,
    tensors: Mapping[str, Tensor],
    path: Path,
) -> None:
    """Put all of it back; nothing is changed unless all of it fits.

    Raises:
        CheckpointError: if the weights are not those of the module; names the first difference.
        LookupError, ValueError, TypeError, RuntimeError: if something else is missing, or the
            state is that of another optimizer; it is the caller's to say of what file.
    """
    weights = checkpoint.part(tensors, "model.")
    states = checkpoint.part(tensors, "generator.")
    checkpoint.require_weights(module, weights, path)
    moments = _moments(optimizer, checkpoint.part(tensors, "optimizer."))
    if generator is not None:
        torch.Generator(generator.device).set_state(states["own"])
    torch.Generator().set_state(states["cpu"])
    checkpoint.load_into(module, weights, path)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    torch.set_rng_state(states["cpu"])
    if generator is not None:
        generator.set_state(states["own"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], _device(optimizer))


def _moments(optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> Moments:
    """An optimizer's state as it was saved; raises unless it is one of this optimizer."""
    moments: Moments = {}
    for name, t in tensors.items():
        number, key = name.split(".", 1)
        moments.setdefault(int(number), {})[key] = t
    if not moments:
        return moments
    # A copy of it (without the hooks of this one) steps once, along no gradient.
    twin = copy.deepcopy(optimizer)
    for group in twin.param_groups:
        for p in group["params"]:
            p.grad = torch.zeros_like(p)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one made for a CUDA graph steps without
        twin.step()
    expected = twin.state_dict()["state"]
    for index, state in moments.items():
        its = {name: tuple(t.shape) for name, t in state.items()}
        here = {k: tuple(t.shape) for k, t in expected[index].items() if t is not None}
        if its != here:
            raise ValueError(f"optimizer.{index}: expected {here}, got {its}")
    return moments


def _device(optimizer: Optimizer) -> torch.device:
    return optimizer.param_groups[0]["params"][0].device
