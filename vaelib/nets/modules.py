"""What can be asked of any network: how many numbers it has, and what it says when none changes."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluation_mode", "size"]


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Without dropout and with fixed batch norms inside; after it, each part's mode as before.

    >>> import torch
    >>> dropout = nn.Dropout(1.0)
    >>> with evaluation_mode(dropout):
    ...     dropout(torch.ones(3))
    tensor([1., 1., 1.])
    >>> dropout(torch.ones(3))
    tensor([0., 0., 0.])
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def size(module: nn.Module) -> int:
    """How many numbers the parameters of a network are; those of a shared part count once.

    >>> size(nn.Linear(784, 2))  # 784 * 2 weights and 2 biases
    1570
    """
    return sum(parameter.numel() for parameter in module.parameters())
