r"""A discrete Bayesian network, solved by writing down every case.

The joint is a product of tables, $p(a, b, c) = \prod_i p(\text{node}_i \mid \text{parents}_i)$.
Evidence and posteriors are sums over it. The joint has one entry per combination of values, so its
size is exponential in the number of nodes: for networks of a few nodes, to understand.

Chapter: :doc:`/book/latent`.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["DiscreteNetwork", "Node"]


class Node(NamedTuple):
    """One discrete variable: its table given its parents.

    Args:
        table: probabilities, one axis per parent in the order of ``parents``, and a last axis over
            the values of the node itself, along which they sum to 1.
        parents: names of the nodes on which it depends.

    >>> Node(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), parents=("rain",)).table[1, 1]  # p(wet | rain)
    tensor(0.8000)
    """

    table: Tensor
    parents: tuple[str, ...] = ()


class DiscreteNetwork:
    """Named discrete variables, each with a table given its parents.

    Args:
        nodes: name to `Node`, parents before their children.

    Raises:
        ValueError: if a parent is missing or comes later, a table has the wrong shape, or a row of
            it is not a distribution.

    >>> coin = DiscreteNetwork(
    ...     {
    ...         "biased": Node(torch.tensor([0.5, 0.5])),
    ...         "heads": Node(torch.tensor([[0.5, 0.5], [0.1, 0.9]]), parents=("biased",)),
    ...     }
    ... )
    >>> round(coin.evidence({"heads": 1}).item(), 4)  # ½ · 0.5 + ½ · 0.9
    0.7
    >>> coin.posterior("biased", {"heads": 1})
    tensor([0.3571, 0.6429])
    """

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = dict(nodes)
        sizes: dict[str, int] = {}
        for name, (table, parents) in self.nodes.items():
            missing = [parent for parent in parents if parent not in sizes]
            if missing:
                raise ValueError(
                    f"DiscreteNetwork: expected the parents of {name!r} before it, got "
                    f"{', '.join(missing)} later or never"
                )
            expected = [sizes[parent] for parent in parents]
            if table.ndim != len(parents) + 1 or list(table.shape[:-1]) != expected:
                raise ValueError(
                    f"DiscreteNetwork: expected a table of shape {[*expected, 'values']} for "
                    f"{name!r}, one axis per parent and one for itself, got {list(table.shape)}"
                )
            off = (table.sum(-1) - 1).abs().max().item()
            if not (table >= 0).all() or not off < 1e-5:
                raise ValueError(
                    f"DiscreteNetwork: expected rows of {name!r} that are probabilities and sum to "
                    f"1, got {table.detach().tolist()}"
                )
            sizes[name] = table.shape[-1]

    def joint(self) -> Tensor:
        """The probability of every combination of values: one axis per node, in their order."""
        # A letter per node: einsum multiplies the tables along the axes that they share.
        letter = {name: chr(ord("a") + i) for i, name in enumerate(self.nodes)}
        inputs = (
            "".join(letter[n] for n in (*node.parents, name)) for name, node in self.nodes.items()
        )
        tables = [node.table for node in self.nodes.values()]
        return torch.einsum(",".join(inputs) + "->" + "".join(letter.values()), *tables)

    def evidence(self, observed: Mapping[str, int]) -> Tensor:
        """The probability of what was observed, whatever the other nodes are: a scalar.

        Args:
            observed: name to the value that was seen, as an index from 0.

        Raises:
            ValueError: if a name is unknown or a value is out of range.
        """
        return self._slice(observed).sum()

    def posterior(self, name: str, observed: Mapping[str, int]) -> Tensor:
        r"""The distribution of one node, given what was observed of others.

        $$p(z \mid x) = \frac{p(z, x)}{\sum_{z'} p(z', x)}$$

        Args:
            name: the node in question.
            observed: name to value; the other nodes are summed over. Empty gives the marginal.

        Returns:
            Probabilities, shape ``[values]``.

        Raises:
            ValueError: if a name is unknown, ``name`` is itself observed, a value is out of range,
                or what was observed has probability 0.
        """
        if name not in self.nodes or name in observed:
            raise ValueError(
                f"DiscreteNetwork: expected the name of a node that is not observed, got {name!r} "
                f"with nodes {', '.join(self.nodes)} and observations {dict(observed)}"
            )
        rest = self._slice(observed)
        axis = [n for n in self.nodes if n not in observed].index(name)
        joint = rest.sum([i for i in range(rest.ndim) if i != axis]) if rest.ndim > 1 else rest
        evidence = joint.sum()
        if not evidence > 0:
            raise ValueError(
                f"DiscreteNetwork: expected observations that can occur, got {dict(observed)}, "
                f"whose probability is 0"
            )
        return joint / evidence

    def sample(self, n: int, *, generator: torch.Generator | None = None) -> dict[str, Tensor]:
        """n joint draws by ancestral sampling, causes first: name to values ``[n]``."""
        drawn: dict[str, Tensor] = {}
        for name, (table, parents) in self.nodes.items():
            rows = table[tuple(drawn[parent] for parent in parents)].expand(n, -1)
            drawn[name] = torch.multinomial(rows, 1, generator=generator)[:, 0]
        return drawn

    def _slice(self, observed: Mapping[str, int]) -> Tensor:
        """The joint with the observed axes fixed: one axis per node that was not observed."""
        for name, value in observed.items():
            if name not in self.nodes or not 0 <= value < self.nodes[name].table.shape[-1]:
                sizes = {n: node.table.shape[-1] for n, node in self.nodes.items()}
                raise ValueError(
                    f"DiscreteNetwork: expected observed names and values below {sizes}, got "
                    f"{name!r}: {value}"
                )
        return self.joint()[tuple(observed.get(name, slice(None)) for name in self.nodes)]
