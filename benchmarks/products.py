"""The matrix products of one training step, counted from their shapes and timed alone.

A step is run once under a recorder that notes each product that torch computes, forward and
backward, with the sizes and strides of both factors. So transposed factors stay transposed when
the same products are computed again on other numbers, in any precision, with nothing between them.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Layout", "Product", "Replay", "flop", "of_step"]

_WITH_BIAS, _PLAIN = torch.ops.aten.addmm.default, torch.ops.aten.mm.default


class Layout(NamedTuple):
    """A matrix's size and stride."""

    size: tuple[int, ...]
    stride: tuple[int, ...]


class Product(NamedTuple):
    """One product, left @ right."""

    left: Layout
    right: Layout


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (_WITH_BIAS, _PLAIN):
            factors = (Layout(tuple(f.shape), f.stride()) for f in args[-2:])
            self.products.append(Product(*factors))
        return func(*args, **(kwargs or {}))


def of_step(model: nn.Module, *, batch: int) -> list[Product]:
    """The products of one forward and backward pass over ``batch`` data, in their order.

    A linear layer has one forward and up to two backward: for its weights' gradient, and for its
    input's, which the first layer does not need. So five layers have 5 + 5 + 4.
    """
    model = copy.deepcopy(model).cpu()
    with _Recorder() as recorder:
        model(torch.zeros(batch, model.pixels)).backward()
    return recorder.products


def flop(products: Sequence[Product]) -> int:
    """Floating-point operations: 2 m k n for ``[m, k] @ [k, n]``, a product and a sum each."""
    return sum(2 * p.left.size[0] * p.left.size[1] * p.right.size[1] for p in products)


class Replay:
    """The products on random numbers; each call computes them all once.

    On a GPU they are recorded as one CUDA graph: launched one by one, products of this size would
    time the launches.
    """

    def __init__(
        self, products: Sequence[Product], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.factors = []
        for product in products:
            left, right = (
                torch.empty_strided(*layout, device=device, dtype=dtype).normal_()
                for layout in product
            )
            self.factors.append((left, right, left @ right))
        self.graph = None
        if device.type == "cuda":
            self()  # cuBLAS allocates its workspace at the first call, which no graph may hold
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self()
            self.graph = graph

    def __call__(self) -> None:
        """Compute them all."""
        if self.graph is not None:
            self.graph.replay()
            return
        for left, right, out in self.factors:
            torch.mm(left, right, out=out)
