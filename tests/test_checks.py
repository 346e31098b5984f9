"""The checks of the exercises: right answers pass, wrong ones are rejected and named."""

import importlib
import re

import pytest
from wrong_answers import RIGHT, WRONG

from vaelib import checks
from vaelib.checks.agreement import close, same_gradients
from vaelib.checks.exercise import exercise

for module in checks.MODULES:
    importlib.import_module(f"wrong_answers.{module.__name__.split('.')[-1]}")

NAMES = list(checks.EXERCISES)


def tried(exercise, answer, seed):
    """What the check says: None if it accepts."""
    outcomes = exercise.respond(answer.function, seed)
    try:
        exercise.judge(outcomes, seed)
    except checks.CheckFailed as failure:
        return str(failure)
    return None


def of(answers, name):
    return [a for a in answers if a.exercise == name]


@pytest.fixture(autouse=True)
def untyped(plain_errors):
    """Learners have no beartype: an answer that uses vaelib meets vaelib's own errors."""


def reject(name, seeds):
    """Seed by seed: what is known of one is computed once, for all answers."""
    exercise = checks.EXERCISES[name]
    for seed in range(seeds):
        for answer in of(WRONG, name):
            says = tried(exercise, answer, seed)
            assert says, f"{name} accepts {answer.name} at seed {seed}"
            if answer.says:
                assert re.search(answer.says, says), f"{answer.name} at seed {seed}: {says}"


def accept(name, seeds):
    exercise = checks.EXERCISES[name]
    for seed in range(seeds):
        for answer in of(RIGHT, name):
            says = tried(exercise, answer, seed)
            assert says is None, f"{answer.name} at seed {seed}: {says}"


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_rejected_and_named(name, answers_table):
    reject(name, 5)
    wrong = of(WRONG, name)
    named = sum(answer.says is not None for answer in wrong)
    answers_table.append((name, len(wrong), named, len(of(RIGHT, name))))


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_accepted(name):
    accept(name, 20)


@exercise(truth=lambda x: x.sum(-1), mistakes={})
def total(draw):
    """Sums of large numbers that cancel."""
    x = 1e6 * draw.normal(5, 30)
    yield {"x": x - x.mean(-1, keepdim=True)}


@exercise(truth=lambda x: (x - x.mean(-1, keepdim=True)).square().mean(-1), mistakes={})
def variance(draw):
    """Of numbers far from 0."""
    yield {"x": 1000 + draw.normal(5, 30)}


def test_digits_that_the_question_lacks_are_asked_of_nobody():
    """A sum in another order is right; without its moves the truth would refuse it."""
    refused = 0
    for seed in range(20):
        outcomes = total.respond(lambda x: sum(x.unbind(-1)), seed)
        total.judge(outcomes, seed)
        got, right = outcomes[1]["outputs"][0], total._known(seed).truth[1]["outputs"][0]
        refused += not close(got, right, 2e-4)
    assert refused == 20


def test_digits_that_an_unstable_formula_loses_are_missed():
    for seed in range(20):
        variance.judge(variance.respond(lambda x: x.var(-1, correction=0), seed), seed)
        outcomes = variance.respond(lambda x: (x**2).mean(-1) - x.mean(-1) ** 2, seed)
        with pytest.raises(checks.CheckFailed, match="right in float64, but not in float32"):
            variance.judge(outcomes, seed)


def test_what_an_answer_says_of_its_own_digits_is_not_believed():
    """A truth without a gradient is compared with zeros, in the shape of the answer's."""
    said = {"type": "torch.float64", "shape": [1], "numbers": [5.0], "moves": [1e9]}
    assert not same_gradients({"x": said}, {"x": None}, 1e-6)


def test_a_seed_at_which_a_right_answer_was_refused():
    """Of 700 seeds one: the gradient of a scale of 10⁶, summed over five data, nearly cancels."""
    for answer in of(RIGHT, "head_outputs"):
        assert tried(checks.head_outputs, answer, 1149) is None


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_at_two_hundred_seeds(name):
    reject(name, 200)
    accept(name, 200)


def test_every_exercise_has_its_answers():
    for name in NAMES:
        assert len(of(WRONG, name)) >= 8, name
        assert len(of(RIGHT, name)) >= 3, name
        assert 3 * sum(a.says is not None for a in of(WRONG, name)) >= 2 * len(of(WRONG, name)), (
            name
        )
    assert {a.exercise for a in WRONG + RIGHT} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_entries_of_the_catalogue_differ_by_ten_tolerances(name):
    """From each other and from the truth, in some case: else a name would be an accident."""
    exercise = checks.EXERCISES[name]
    tolerance = 10 * exercise.loosened * 1e-6
    cases = exercise.cases(seed=0)

    def outcomes(function):
        return [exercise._ask(function, inputs, again=False) for inputs in cases]

    entries = {"the truth": exercise.truth, **exercise.mistakes}
    found = {says: outcomes(function) for says, function in entries.items()}

    def differ(a, b):
        return any(
            ("error" in x) != ("error" in y) or ("error" not in x and not alike(x, y))
            for x, y in zip(a, b, strict=True)
        )

    def alike(x, y):
        if len(x["outputs"]) != len(y["outputs"]):
            return False
        gradients = [(x["gradients"][k] or 0.0, y["gradients"][k] or 0.0) for k in x["gradients"]]
        pairs = [*zip(x["outputs"], y["outputs"], strict=True), *gradients]
        return all(close(p, q, tolerance) for p, q in pairs)

    says = list(found)
    for i, one in enumerate(says):
        assert any("error" not in outcome for outcome in found[one]), f"{one} always raises"
        for other in says[i + 1 :]:
            assert differ(found[one], found[other]), f"{one!r} and {other!r} are the same"


@pytest.mark.parametrize("name", NAMES)
def test_two_seeds_ask_different_questions(name):
    exercise = checks.EXERCISES[name]
    a, b = (str(exercise.cases(seed=seed)) for seed in (1, 2))
    assert (a != b) == bool(exercise.cases(seed=1)[0])  # a puzzle without inputs stays the same
    assert a == str(exercise.cases(seed=1))
