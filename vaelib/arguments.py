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

    >>> from vaelib.prior import Mixture
    >>> try:
    ...     Mixture(2, components=0)
    ... except Mistake as mistake:
    ...     print(mistake.argument, "|", mistake)
    components | Mixture: expected components ≥ 1, got 0
    """

    def __init__(self, message: str, argument: str | None = None) -> None:
        super().__init__(message)
        self.argument = argument


class BadValue(Mistake, ValueError):  # noqa: N818
    """A `Mistake` of the right type and the wrong value; a ``ValueError`` too.

    >>> raise BadValue("floor: expected a number ≥ 0, got -1", "floor")
    Traceback (most recent call last):
    ...
    vaelib.arguments.BadValue: floor: expected a number ≥ 0, got -1
    """


class BadType(Mistake, TypeError):  # noqa: N818
    """A `Mistake` of the wrong type; a ``TypeError`` too.

    >>> issubclass(BadType, TypeError) and issubclass(BadType, Mistake)
    True
    """


class Unable(Mistake, RuntimeError):  # noqa: N818
    """A `Mistake` that no look at an argument shows: this machine cannot do what is asked for.

    >>> issubclass(Unable, RuntimeError) and issubclass(Unable, Mistake)
    True
    """


def require_whole(where: str, name: str, value: object, *, least: int) -> None:
    """Raise unless it is a whole number of at least ``least``; True, 2.0 and "2" are none.

    >>> require_whole("fit", "epochs", 2.0, least=1)
    Traceback (most recent call last):
    ...
    vaelib.arguments.BadType: fit: expected epochs as a whole number ≥ 1, got 2.0
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise BadType(
            f"{where}: expected {name} as a whole number ≥ {least}, got {shown(value)}", name
        )
    if value < least:
        raise BadValue(f"{where}: expected {name} ≥ {least}, got {value}", name)


def require_sizes(where: str, **sizes: object) -> None:
    """Raise unless each is a whole number of at least 1.

    >>> require_sizes("MLPEncoder", pixels=784, latent=0)
    Traceback (most recent call last):
    ...
    vaelib.arguments.BadValue: MLPEncoder: expected latent ≥ 1, got 0
    """
    for name, size in sizes.items():
        require_whole(where, name, size, least=1)


def require_number(where: str, name: str, value: object, *, least: float = -math.inf) -> None:
    """Raise unless it is a finite real number of at least ``least``; True and "2" are none.

    >>> require_number("FreeBits", "floor", float("nan"), least=0.0)
    Traceback (most recent call last):
    ...
    vaelib.arguments.BadValue: FreeBits: expected floor as a finite number of at least 0, got nan
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise BadType(f"{where}: expected {name} as a number, got {shown(value)}", name)
    if not (math.isfinite(value) and float(value) >= least):
        bound = "" if least == -math.inf else f" of at least {least:g}"
        raise BadValue(f"{where}: expected {name} as a finite number{bound}, got {value}", name)


def require_network(where: str, name: str, network: object, *attributes: str) -> None:
    """Raise unless it is a module with these sizes.

    >>> require_network("VAE", "encoder", nn.Linear(4, 2), "latent")
    Traceback (most recent call last):
    ...
    vaelib.arguments.BadType: VAE: expected encoder with an integer attribute `latent`, got Linear
    without one; set encoder.latent = …
    """
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
    """Raise if sizes of two networks that must be equal are not; those not known are None.

    >>> require_match("VAE", encoder__latent=2, decoder__latent=16)
    Traceback (most recent call last):
    ...
    vaelib.arguments.BadValue: VAE: expected networks that fit together, got encoder.latent=2 and
    decoder.latent=16; build them for one size
    """
    known = {name.replace("__", "."): size for name, size in sizes.items() if size is not None}
    if len(set(known.values())) > 1:
        got = " and ".join(f"{name}={size}" for name, size in known.items())
        raise BadValue(
            f"{where}: expected networks that fit together, got {got}; build them for one size"
        )


def shown(value: object) -> str:
    """A value as an error names it.

    >>> shown("2"), shown(nn.Linear)
    ("'2'", 'the class Linear')
    """
    return f"the class {value.__name__}" if isinstance(value, type) else repr(value)
