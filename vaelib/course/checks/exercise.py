r"""What an exercise is: inputs drawn afresh, the answer's responses to them, and a judgement.

The three are apart on purpose. `Exercise.respond` calls the learner's function and writes down what
it returned, as plain numbers; `Exercise.judge` compares such numbers with the truth and never runs
anything of the learner's. So a notebook can be run where it does no harm, and judged elsewhere.
"""

import inspect
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from secrets import randbits
from typing import Any

import torch
from torch import Tensor

from .agreement import Outcome
from .diagnosis import CheckFailed, diagnose

__all__ = ["CheckFailed", "Draw", "Exercise", "as_in_a_new_notebook", "exercise", "plain"]

Inputs = Mapping[str, Any]
# In float64 a constant made by torch.tensor(…), which is float32, is rounding and no mistake.
TOLERANCES = {torch.float64: 3e-7, torch.float32: 2e-4}
NUDGE = 1e-7  # relative; about the last digit of float32
LARGEST_OUTPUT = 1_000_000  # numbers; more than any answer has, less than what hurts
# What a function can change for the whole program. It is put back, and named.
STATE: dict[str, Callable[[], Any]] = {
    "torch.set_default_dtype": torch.get_default_dtype,
    "torch.set_grad_enabled": torch.is_grad_enabled,
    "torch.manual_seed": torch.initial_seed,
}
SEED = 0x5EED_0F_7E57  # of torch's generator during a call: nobody writes it by chance


class Draw:
    """Random inputs in float64 from one seed.

    Values are rounded to float32, so that both precisions are asked the same question.

    >>> bool((Draw(7).normal(3) == Draw(7).normal(3)).all())
    True
    """

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, scale: int | float = 1.0) -> Tensor:
        """Normal entries with standard deviation ``scale``."""
        return (scale * torch.randn(shape, generator=self.generator)).double()

    def uniform(self, *shape: int, low: int | float = 0.0, high: int | float = 1.0) -> Tensor:
        """Uniform entries between ``low`` and ``high``."""
        return (low + (high - low) * torch.rand(shape, generator=self.generator)).double()

    def binary(self, *shape: int) -> Tensor:
        """Fair zeros and ones, as floats."""
        return torch.randint(0, 2, shape, generator=self.generator).double()

    def integer(self, low: int, high: int) -> int:
        """A whole number from ``low`` up to ``high``, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))


@dataclass(frozen=True, eq=False)
class Exercise:
    """One exercise's check: call it with your function.

    Args:
        name: Of the exercise; the same as in ``EXERCISES``.
        draw: From a `Draw`, the inputs of each case: a mapping from the name of an input to a
            tensor in float64 or to anything else. Several shapes, with axes of different sizes, one
            of them with a single datum (and one latent, where a result has latents), for an answer
            that ends in ``.squeeze()``; no parameter at a value where mistakes hide (logvar = 0,
            σ² = 1); and extreme values.
        truth: The right answer, written in another way than the solution, for float64. Its
            parameters are called as in the task: messages use their names.
        mistakes: From what to tell the learner to a function that makes this mistake.
        build: From the inputs of a case to the arguments of the answer; by default the inputs
            themselves, in their order.
        gradients: Names of the inputs with respect to which gradients are compared; None for every
            floating tensor.
        axes: From the name of an input to the names of its axes, the last one first, for messages:
            ``{"x": ("pixels",)}``.
        loosened: Factor on the tolerances, where a right answer may be rounded on the way.
        smallest: Size from which on a result is compared by its digits, and below it by its
            difference: 1, or less where something small that is added to a small result matters.

    >>> square = Exercise("square", lambda draw: [{"x": draw.normal(3)}], lambda x: x**2, {})
    >>> square(lambda x: x * x, seed=0)
    square: correct (values and gradients, 2 cases)
    """

    name: str
    draw: Callable[[Draw], Iterable[Inputs]]
    truth: Callable[..., Any]
    mistakes: Mapping[str, Callable[..., Any]]
    build: Callable[..., Sequence[Any]] | None = None
    gradients: tuple[str, ...] | None = None
    axes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    loosened: float = 1.0
    smallest: float = 1.0

    def __call__(self, answer: Callable[..., Any], *, seed: int | None = None) -> None:
        """Print one line if ``answer`` is right or not attempted; raise `CheckFailed` if wrong.

        Args:
            answer: Your function.
            seed: Of the inputs; None draws fresh ones.

        Raises:
            CheckFailed: With the mistake's name, where it is recognized.
        """
        seed = randbits(32) if seed is None else seed
        outcomes = self.respond(answer, seed)
        if any(outcome.get("error") == "NotImplementedError" for outcome in outcomes):
            print(f"{self.name}: not attempted")
            return
        self.judge(outcomes, seed)
        compared = "values and gradients" if self._differentiated(seed) else "values"
        print(f"{self.name}: correct ({compared}, {len(outcomes)} cases)")

    def grade(self, answer: Callable[..., Any], *, seed: int | None = None) -> None:
        """The same without a word, except that what was not attempted fails too."""
        seed = randbits(32) if seed is None else seed
        self.judge(self.respond(answer, seed), seed)

    def respond(self, answer: Callable[..., Any], seed: int) -> list[Outcome]:
        """What ``answer`` returns in each case, and its gradients, as plain numbers.

        Stops at the first case in which it raises. Nothing here compares; the result holds only
        what JSON can hold.
        """
        outcomes: list[Outcome] = []
        cases = self.cases(seed)
        for dtype in TOLERANCES:
            for number, inputs in enumerate(_cast(case, dtype) for case in cases):
                outcome = self._ask(answer, inputs, again=not outcomes)
                outcomes.append(outcome | {"dtype": str(dtype), "case": number})
                if "error" in outcome:
                    return outcomes
        return outcomes

    def judge(self, outcomes: list[Outcome], seed: int) -> None:
        """Compare what ``respond`` wrote down with the truth for the same seed.

        Raises:
            CheckFailed: With the mistake's name, where it is recognized.
        """
        known = self._known(seed)
        cases = len(known.inputs) // len(TOLERANCES)
        tolerances = [self.loosened * t for t in TOLERANCES.values() for _ in range(cases)]
        mistakes = ((says, known.mistake(says)) for says in self.mistakes)
        try:
            diagnose(
                outcomes,
                known.truth,
                lambda: known.sensitive,
                known.inputs,
                known.arguments,
                tolerances,
                self.smallest,
                self.axes,
                mistakes,
            )
        except CheckFailed as failure:
            raise CheckFailed(f"{self.name}: {failure}") from None

    @lru_cache(maxsize=32)  # noqa: B019 (exercises live as long as the module)
    def _known(self, seed: int) -> "_Known":
        return _Known(self, seed)

    def cases(self, seed: int, dtype: torch.dtype = torch.float64) -> list[dict[str, Any]]:
        """The inputs of every case for a seed."""
        # The name goes in, so that two exercises with one seed do not see the same numbers.
        mixed = zlib.crc32(f"{self.name} {seed}".encode())
        return [_cast(inputs, dtype) for inputs in self.draw(Draw(mixed))]

    def _differentiated(self, seed: int) -> list[str]:
        return self._wanted(self.cases(seed)[0])

    def _wanted(self, inputs: Inputs) -> list[str]:
        floating = [k for k, v in inputs.items() if _is_floating(v)]
        return floating if self.gradients is None else [k for k in floating if k in self.gradients]

    def _ask(self, function: Callable[..., Any], inputs: Inputs, *, again: bool) -> Outcome:
        wanted = self._wanted(inputs)
        leaves = {
            name: value.clone().requires_grad_(name in wanted) if _is_floating(value) else value
            for name, value in inputs.items()
        }
        try:
            outcome = self._call(function, leaves, wanted, SEED)
            if again:  # with other random numbers, should it draw any
                outcome["again"] = self._call(function, leaves, [], SEED + 1)["outputs"]
        except NotImplementedError as error:
            if str(error):  # torch raises it too, with a text; nbgrader's stub has none
                return {"error": f"NotImplementedError: {error}"[:1000]}
            return {"error": "NotImplementedError"}
        except Exception as error:  # whatever a learner's function may raise is its answer
            return {"error": f"{type(error).__name__}: {error}"[:1000]}
        return outcome

    def _call(
        self, function: Callable[..., Any], leaves: Inputs, wanted: list[str], seed: int
    ) -> Outcome:
        with as_in_a_new_notebook(seed):
            # Copies: autograd lets nobody change a leaf, and a change is to be seen and named.
            given = {k: v.clone() if isinstance(v, Tensor) else v for k, v in leaves.items()}
            arguments = self._arguments(given)
            watched = {k: v for k, v in (given | arguments).items() if isinstance(v, Tensor)}
            before = {k: v.detach().clone() for k, v in watched.items()}
            state = {name: read() for name, read in STATE.items()}
            returned = function(*arguments.values())
            altered = [name for name, read in STATE.items() if read() != state[name]]
            torch.set_grad_enabled(True)
            outputs = _outputs(returned)
            changed = [k for k, v in watched.items() if not torch.equal(v, before[k])]
            # A graph through a changed tensor is broken.
            asked = {} if changed else {name: leaves[name] for name in wanted}
            return {
                "returned": type(returned).__name__,
                "outputs": [plain(value) for value in outputs],
                "gradients": _gradients(outputs, asked),
                "changed": changed,
                "state": altered,
            }

    def _arguments(self, inputs: Inputs) -> dict[str, Any]:
        """What the answer is called with, by the names that the task gives."""
        if self.build is None:
            return dict(inputs)
        return dict(zip(self._named, self.build(**inputs), strict=True))

    @cached_property
    def _named(self) -> list[str]:
        return list(inspect.signature(self.truth).parameters)


@contextmanager
def as_in_a_new_notebook(seed: int) -> Iterator[None]:
    """Whatever this one has switched: float32 by default, gradients, and a seed of its own.

    Afterwards all is as it was.
    """
    default = torch.get_default_dtype()
    try:
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_default_dtype(torch.float32)
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_default_dtype(default)


class _Known:
    """What is right and what is known to be wrong for a seed, computed when it is asked for."""

    def __init__(self, exercise: Exercise, seed: int):
        self.exercise = exercise
        self.inputs = [case for dtype in TOLERANCES for case in exercise.cases(seed, dtype)]
        # In float64 from the rounded inputs: the truth of the question that was asked.
        self.exact = [_cast(inputs, torch.float64) for inputs in self.inputs]
        self.truth = [exercise._ask(exercise.truth, inputs, again=False) for inputs in self.exact]
        self.found: dict[tuple[str, int], Outcome] = {}

    def arguments(self, case: int) -> dict[str, Any]:
        """What the answer is called with in a case."""
        return self.exercise._arguments(self.inputs[case])

    @cached_property
    def sensitive(self) -> list[Outcome]:
        """The truth, and how far each of its numbers moves per relative change of the inputs.

        Where terms cancel, that is far, and no right answer keeps the digits that the inputs lack.
        """
        draw = Draw(0)
        return [
            _with_moves(truth, self._nearby(inputs, draw))
            for inputs, truth in zip(self.exact, self.truth, strict=True)
        ]

    def _nearby(self, inputs: Inputs, draw: Draw) -> list[Outcome]:
        """The truth for inputs that are off by about a rounding error, twice."""
        nudged = [_nudged(inputs, draw) for _ in range(2)]
        found = [self.exercise._ask(self.exercise.truth, n, again=False) for n in nudged]
        return [outcome for outcome in found if "error" not in outcome]

    def mistake(self, says: str) -> Iterator[Outcome]:
        """The outcomes of a mistake in the cases of float64, one by one: most differ at once."""
        for case, inputs in enumerate(self.exact[: len(self.exact) // len(TOLERANCES)]):
            if (says, case) not in self.found:
                wrong = self.exercise.mistakes[says]
                self.found[says, case] = self.exercise._ask(wrong, inputs, again=False)
            yield self.found[says, case]


def exercise(
    truth: Callable[..., Any],
    mistakes: Mapping[str, Callable[..., Any]],
    **options: Any,
) -> Callable[[Callable[[Draw], Iterable[Inputs]]], Exercise]:
    """Make an `Exercise` of the generator of its cases; `options` are its other fields."""

    def make(draw: Callable[[Draw], Iterable[Inputs]]) -> Exercise:
        made = Exercise(draw.__name__, draw, truth, mistakes, **options)
        object.__setattr__(made, "__doc__", draw.__doc__)
        object.__setattr__(made, "__module__", draw.__module__)
        return made

    return make


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _cast(inputs: Inputs, dtype: torch.dtype) -> dict[str, Any]:
    return {k: v.to(dtype) if _is_floating(v) else v for k, v in inputs.items()}


def _nudged(inputs: Inputs, draw: Draw) -> dict[str, Any]:
    """The inputs, each number but 0 and 1 (pixels may be binary) off by a relative `NUDGE`."""

    def nudge(value: Tensor) -> Tensor:
        exact = (value == 0) | (value == 1)
        return torch.where(exact, value, value * (1 + draw.normal(*value.shape, scale=NUDGE)))

    return {k: nudge(v) if _is_floating(v) else v for k, v in inputs.items()}


def _with_moves(truth: Outcome, nearby: list[Outcome]) -> Outcome:
    def moves(plain: Any, moved: list[Any]) -> Any:
        if not nearby or not isinstance(plain, dict) or not plain["numbers"]:
            return plain
        here = torch.tensor(plain["numbers"], dtype=torch.float64)
        there = torch.tensor([m["numbers"] for m in moved], dtype=torch.float64)
        return plain | {"moves": ((there - here).abs().amax(0) / NUDGE).nan_to_num().tolist()}

    outputs, gradients = truth["outputs"], truth["gradients"]
    return truth | {
        "outputs": [moves(v, [n["outputs"][k] for n in nearby]) for k, v in enumerate(outputs)],
        "gradients": {
            k: moves(v, [n["gradients"][k] for n in nearby]) for k, v in gradients.items()
        },
    }


def _outputs(returned: Any) -> list[Any]:
    return list(returned) if isinstance(returned, tuple | list) else [returned]


def _gradients(outputs: list[Any], leaves: Mapping[str, Tensor]) -> dict[str, Any]:
    """Of a weighted sum of all outputs, with weights that no symmetry cancels."""
    total = [
        (output * torch.cos(torch.arange(output.numel()) + 1.0).to(output).view_as(output)).sum()
        for output in outputs
        if _is_floating(output) and output.requires_grad
    ]
    if not total or not leaves:
        return dict.fromkeys(leaves)
    found = torch.autograd.grad(sum(total[1:], total[0]), list(leaves.values()), allow_unused=True)
    return {
        name: None if gradient is None else plain(gradient)
        for name, gradient in zip(leaves, found, strict=True)
    }


def plain(value: Any) -> Any:
    """What JSON can hold: tensors as type, shape and numbers; numbers and texts as they are."""
    if isinstance(value, Tensor):
        if value.numel() > LARGEST_OUTPUT:
            raise ValueError(f"the result has {value.numel():,} numbers, shape {[*value.shape]}")
        numbers = value.detach().to("cpu", torch.float64).flatten().tolist()
        return {"type": str(value.dtype), "shape": list(value.shape), "numbers": numbers}
    if isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item") and getattr(value, "shape", None) == ():  # a NumPy scalar
        return value.item()
    return {"type": type(value).__name__}
