"""How a model was made, written down so that it can be made again, and no code of a file be run.

`rebuildable`, above a module's class, remembers the arguments of its constructor. `describe` writes
those of a model and of all that it was made from as JSON; `build` makes the model from that. It
makes what is *known*, the classes of this package and of torch's activations, and those that the
caller hands over. Nothing is imported because a file names it.
"""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from numbers import Integral, Real
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, MultivariateNormal

from vaelib.arguments import BadType, BadValue

__all__ = ["build", "describe", "made_of", "rebuildable"]

C = TypeVar("C", bound=type)

_OURS: dict[str, type] = {}  # by name
# Classes whose instances are not modules, with the attributes that are their arguments.
_PARTS: dict[type, tuple[str, ...]] = {MultivariateNormal: ("loc", "scale_tril")}
_ACTIVATIONS = torch.nn.modules.activation.__all__
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


def rebuildable(cls: C) -> C:
    """Decorate a module's class: instances remember what their constructor was given.

    A subclass without a constructor of its own is rebuildable too; one with a constructor takes the
    decorator again. Arguments are numbers, strings, True, False, None, lists of these, modules that
    are rebuildable, and classes of activations. An argument that was added later, whose default is
    not what a recipe without it means, stands with that in the class attribute
    ``absent_in_recipes``.

    >>> @rebuildable
    ... class Scale(nn.Module):
    ...     def __init__(self, factor: float = 2.0) -> None:
    ...         super().__init__()
    ...         self.factor = factor
    >>> describe(Scale(3.0))["arguments"]
    {'factor': 3.0}
    >>> build(describe(Scale(3.0)), [Scale]).factor
    3.0
    """
    init = cls.__init__  # type: ignore[misc]

    @wraps(init)
    def remembering(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self).__init__ is remembering:  # the outermost constructor knows all arguments
            kept = {name: _kept(value) for name, value in kwargs.items()}
            self.__dict__["_made_of"] = (tuple(map(_kept, args)), kept)
        init(self, *args, **kwargs)

    cls.__init__ = remembering  # type: ignore[misc]
    return _known(cls)


def _kept(value: Any) -> Any:
    """An argument as it is now; a list may be changed later."""
    return list(value) if isinstance(value, list) else value


def made_of(*attributes: str) -> Callable[[C], C]:
    """Decorate a class whose attributes of these names are the arguments of its constructor.

    >>> from vaelib.kl import DiagonalNormal  # @made_of("loc", "logvar")
    >>> from vaelib.prior import Fixed
    >>> prior = Fixed(DiagonalNormal(torch.zeros(2), torch.zeros(2)))
    >>> describe(prior)["arguments"]["normal"]["tensors"]["loc"]
    {'dtype': 'float32', 'values': [0.0, 0.0]}
    """

    def known(cls: C) -> C:
        _PARTS[cls] = attributes
        return _known(cls)

    return known


def _known(cls: C) -> C:
    if cls.__module__.partition(".")[0] == __name__.partition(".")[0]:
        _OURS[cls.__name__] = cls
    return cls


_OURS["MultivariateNormal"] = MultivariateNormal


class _UnwritableError(Exception):
    """Why something cannot be written down, and what to do."""


def describe(model: nn.Module) -> dict[str, Any]:
    """A model's recipe: its class and the arguments of its constructor, nested, as JSON has it.

    Args:
        model: a module, whose weights are no part of this.

    Returns:
        ``{"class": …, "number": …, "arguments": {…}}``; a module that occurs again is its number
        alone. If something cannot be written, ``{"reason": …}``, which says what and what to do.

    >>> describe(nn.Linear(2, 3))["reason"]
    'Linear does not remember what it was made of; make a class of it, or of what holds it, with
    @vaelib.recipe.rebuildable above the class'
    """
    try:
        return _module(model, {})
    except _UnwritableError as reason:
        return {"reason": str(reason)}


def _module(module: nn.Module, seen: dict[nn.Module, int]) -> dict[str, Any]:
    if module in seen:
        return {"number": seen[module]}
    number = seen[module] = len(seen)
    arguments = _arguments(module)
    # In the order of their names, in which files hold them and `build` goes through them.
    written = {name: _value(arguments[name], name, module, seen) for name in sorted(arguments)}
    return {"class": _name(type(module)), "number": number, "arguments": written}


def _arguments(module: nn.Module) -> dict[str, Any]:
    """What a module's constructor was given, with the defaults as they are now."""
    cls = type(module)
    if cls.__init__ is nn.Module.__init__:  # has none of its own
        return {}
    if "_made_of" not in vars(module):
        raise _UnwritableError(
            f"{cls.__name__} does not remember what it was made of; make a class of it, or of what "
            f"holds it, with @vaelib.recipe.rebuildable above the class"
        )
    args, kwargs = vars(module)["_made_of"]
    bound = inspect.signature(cls).bind(*args, **kwargs)
    bound.apply_defaults()
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name)
        if parameter.kind is parameter.VAR_POSITIONAL and arguments.pop(parameter.name):
            raise _UnwritableError(
                f"{cls.__name__} takes *{parameter.name}, which have no names; give its "
                f"constructor named arguments"
            )
    return arguments


def _value(value: Any, name: str, owner: nn.Module, seen: dict[nn.Module, int]) -> Any:
    """An argument as JSON."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, list | tuple):
        return [_value(v, name, owner, seen) for v in value]
    if isinstance(value, nn.Module):
        return _module(value, seen)
    if isinstance(value, type) and issubclass(value, nn.Module):
        return {"type": _name(value)}
    if isinstance(value, Distribution) and type(value) in _PARTS:
        parts = {part: _tensor(getattr(value, part)) for part in _PARTS[type(value)]}
        return {"class": _name(type(value)), "tensors": parts}
    what = "a function" if callable(value) and not isinstance(value, type) else repr(value)
    raise _UnwritableError(
        f"{type(owner).__name__}: {name} is {what:.80}, which cannot be written down; give it a "
        f"module's class (torch.nn.Tanh, or one of yours), numbers, or a module with "
        f"@vaelib.recipe.rebuildable above its class"
    )


def _tensor(value: Tensor) -> dict[str, Any]:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in _DTYPES:
        raise _UnwritableError(f"a normal in {dtype} cannot be written down; use float32")
    return {"dtype": dtype, "values": value.tolist()}


def _name(cls: type) -> str:
    """A class of ours or an activation by its name, one of somebody else's with its module."""
    if _OURS.get(cls.__name__) is cls or _activation(cls.__name__) is cls:
        return cls.__name__
    return f"{cls.__module__}:{cls.__name__}"


def _activation(name: str) -> type | None:
    return getattr(nn, name) if name in _ACTIVATIONS else None


def build(recipe: Any, classes: Sequence[type] = ()) -> Any:
    """The model of a recipe, with new weights, drawn by torch's own generator.

    Args:
        recipe: what `describe` returned, from a file of whomever.
        classes: those of yours that it may name, told by their names.

    Raises:
        ~vaelib.arguments.BadType: if ``classes`` holds something else.
        ~vaelib.arguments.BadValue: if the recipe names a class that is neither ours nor among
            ``classes``, in which case nothing is imported; if it says why it could not be written;
            or is none.

    >>> build({"class": "os:system", "number": 0, "arguments": {}})
    Traceback (most recent call last):
    vaelib.arguments.BadValue: the model is made of os:system, which is not of vaelib, and nothing
    is imported because a file names it; if you trust that code, hand the class over:
    classes=[system]
    """
    theirs: dict[str, type] = {}
    for cls in classes:
        if not isinstance(cls, type):
            raise BadType(f"expected classes, got {cls!r}", "classes")
        if theirs.setdefault(cls.__name__, cls) is not cls:
            raise BadValue(f"expected classes of different names, got {cls.__name__} twice")
    if not isinstance(recipe, dict) or "reason" in recipe:
        reason = recipe.get("reason") if isinstance(recipe, dict) else repr(recipe)[:80]
        raise BadValue(
            f"how the model was made is not known: {reason}. Make it as you did, and put the "
            f"weights into it by vaelib.train.load"
        )
    try:
        return _made(recipe, theirs, {})
    except (BadType, BadValue):
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise BadValue(
            f"no model can be made of its recipe ({type(error).__name__}: {error}); it was altered "
            f"or is of another version"
        ) from error


def _made(value: Any, theirs: dict[str, type], seen: dict[int, Any]) -> Any:
    if isinstance(value, list):
        return [_made(v, theirs, seen) for v in value]
    if not isinstance(value, dict):
        return value
    if "type" in value:
        return _class(value["type"], theirs)
    if "tensors" in value:
        parts = value["tensors"].items()
        tensors = {k: torch.tensor(t["values"], dtype=_DTYPES[t["dtype"]]) for k, t in parts}
        return _class(value["class"], theirs)(**tensors)
    if "class" not in value:
        return seen[value["number"]]
    cls = _class(value["class"], theirs)
    arguments = {k: _made(value["arguments"][k], theirs, seen) for k in sorted(value["arguments"])}
    arguments = getattr(cls, "absent_in_recipes", {}) | arguments
    made = seen[value["number"]] = cls(**arguments)
    return made


def _class(name: str, theirs: dict[str, type]) -> type:
    """The class of a name, out of those that are at hand."""
    module, _, own = name.rpartition(":")
    cls = theirs.get(own) if module else _OURS.get(name) or _activation(name)
    if cls is None:
        raise BadValue(
            f"the model is made of {name}, which is not of vaelib, and nothing is imported because "
            f"a file names it; if you trust that code, hand the class over: classes=[{own}]",
            "classes",
        )
    return cls
