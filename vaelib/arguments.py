"""What a function or a model may be given: numbers, sizes and networks, looked at before use.

Each raises unless the argument is what it should be, in words that name the place (``where``), the
argument, what was expected and what was got. What is raised is a `Mistake`, by which a program
above can tell what its user can mend from what is a fault of its own.
"""

import math
from numbers import Integral, Real

from torch import nn

__all__ = [
    "BadType",
    "BadValue",
    "Mistake",
    "Unable",
    "require_match",
    "require_network",
    "require_number",
    "require_sizes",
    "require_whole",
    "shown",
]


class Mistake(Exception):  # noqa: N818
    """What the caller can mend: the message says what was expected, what was got, what to do.

    Args:
        message: these words.
        argument: the name of the argument that is wrong, if it is one.
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class BadValue(Mistake, ValueError):  # noqa: N818
    """A `Mistake` of the right type and the wrong value."""


class BadType(Mistake, TypeError):  # noqa: N818
    """A `Mistake` of the wrong type."""


class Unable(Mistake, RuntimeError):  # noqa: N818
    """A `Mistake` that no look at an argument shows: this machine cannot do what is asked for."""


def require_whole(where: str, name: str, value: object, *, least: int) -> None:
    """Raise unless it is a whole number of at least ``least``; True, 2.0 and "2" are none."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise BadType(
            f"{where}: expected {name} as a whole number ≥ {least}, got {shown(value)}", name
        )
    if value < least:
        raise BadValue(f"{where}: expected {name} ≥ {least}, got {value}", name)


def require_sizes(where: str, **sizes: object) -> None:
    """Raise unless each is a whole number of at least 1."""
    for name, size in sizes.items():
        require_whole(where, name, size, least=1)


def require_number(where: str, name: str, value: object, *, least: float = -math.inf) -> None:
    """Raise unless it is a finite real number of at least ``least``; True and "2" are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadType(f"{where}: expected {name} as a number, got {shown(value)}", name)
    if not (math.isfinite(value) and float(value) >= least):
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise BadValue(f"{where}: expected {name} as a finite number{bound}, got {value}", name)


def require_network(where: str, name: str, network: object, *attributes: str) -> None:
    """Raise unless it is a module with these sizes."""
    if not isinstance(network, nn.Module):
        raise BadType(
            f"{where}: expected {name} as a torch.nn.Module, got {shown(network)}; "
            f"vaelib.nets has some",
            name,
        )
    for attribute in attributes:
        if not hasattr(network, attribute):
            raise BadType(
                f"{where}: expected {name} with an integer attribute `{attribute}`, got "
                f"{type(network).__name__} without one; set {name}.{attribute} = …",
                name,
            )
        require_sizes(where, **{f"{name}.{attribute}": getattr(network, attribute)})


def require_match(where: str, **sizes: int | None) -> None:
    """Raise if sizes of two networks that must be equal are not; those not known are None."""
    known = {name.replace("__", "."): size for name, size in sizes.items() if size is not None}
    if len(set(known.values())) > 1:
        got = " and ".join(f"{name}={size}" for name, size in known.items())
        raise BadValue(
            f"{where}: expected networks that fit together, got {got}; build them for one size"
        )


def shown(value: object) -> str:
    """A value as an error names it."""
    return f"the class {value.__name__}" if isinstance(value, type) else repr(value)
