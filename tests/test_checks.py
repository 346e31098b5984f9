"""The checks of the exercises: right answers pass, wrong ones are rejected and named."""

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from chapters import chapters
from wrong_answers import RIGHT, WRONG, Answer

from vaelib.course import checks
from vaelib.course.checks.agreement import close, same_gradients
from vaelib.course.checks.exercise import exercise

for chapter in chapters():
    if chapter.exercises:
        importlib.import_module(f"wrong_answers.{chapter.name}")

# Of functions; the capstone's are in test_capstone.py.
NAMES = [name for name, check in checks.EXERCISES.items() if isinstance(check, checks.Exercise)]
WRONG, RIGHT = ([a for a in answers if a.exercise in NAMES] for answers in (WRONG, RIGHT))
BOOK = Path(__file__).parents[1] / "book"
# Seeds of the inputs: one or two each time, which show that a check says what it should, and many
# in the soak, which show that it does so whatever is drawn.
WRONG_SEEDS, RIGHT_SEEDS = range(1), range(2)
MANY_WRONG_SEEDS = [*range(5), *range(1000, 1200)]
MANY_RIGHT_SEEDS = [*range(10), *range(1000, 3000)]


def given(function):
    """An answer that is in no list."""
    return Answer(None, function.__name__, function, None)


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
    for seed in seeds:
        for answer in of(WRONG, name):
            says = tried(exercise, answer, seed)
            assert says, f"{name} accepts {answer.name} at seed {seed}"
            if answer.says:
                assert re.search(answer.says, says), f"{answer.name} at seed {seed}: {says}"


def accept(name, seeds):
    exercise = checks.EXERCISES[name]
    for seed in seeds:
        for answer in of(RIGHT, name):
            says = tried(exercise, answer, seed)
            assert says is None, f"{answer.name} at seed {seed}: {says}"


@pytest.mark.parametrize("name", NAMES)
def test_wrong_answers_are_rejected_and_named(name, answers_table):
    reject(name, WRONG_SEEDS)
    wrong = of(WRONG, name)
    named = sum(answer.says is not None for answer in wrong)
    answers_table.append((name, len(wrong), named, len(of(RIGHT, name))))


@pytest.mark.parametrize("name", NAMES)
def test_right_answers_are_accepted(name):
    accept(name, RIGHT_SEEDS)


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


@exercise(truth=lambda logvar: logvar.exp().sqrt(), mistakes={}, smallest=1e-6)
def scale_alone(draw):
    """Numbers of a millionth."""
    yield {"logvar": draw.normal(4) - 27.0}


def test_what_is_added_to_a_small_number_is_seen():
    for seed in range(20):
        assert tried(scale_alone, given(lambda v: torch.exp(0.5 * v)), seed) is None
        says = tried(scale_alone, given(lambda v: torch.exp(0.5 * v) + 1e-9), seed)
        assert "the result holds" in says


def test_what_an_answer_says_of_its_own_digits_is_not_believed():
    """A truth without a gradient is compared with zeros, in the shape of the answer's."""
    said = {"type": "torch.float64", "shape": [1], "numbers": [5.0], "moves": [1e9]}
    assert not same_gradients({"x": said}, {"x": None}, 1e-6)


def test_a_seed_at_which_a_right_answer_was_refused():
    """Of 300 seeds one: the gradient of a scale of 10⁷, summed over five data, nearly cancels."""
    for answer in of(RIGHT, "head_outputs"):
        assert tried(checks.head_outputs, answer, 453) is None


def no_tensor_of_one(name):
    """Whether no result of this exercise can have an axis of size 1."""
    # One cause alone would not be hidden. The others return numbers or a text.
    known = checks.EXERCISES[name]._known(0)
    outputs = [output for truth in known.truth for output in truth["outputs"]]
    return name == "posterior_table" or not any(
        isinstance(output, dict) and output["shape"] for output in outputs
    )


@pytest.mark.parametrize("name", [name for name in NAMES if not no_tensor_of_one(name)])
def test_a_squeezed_result_is_refused(name):
    """Right, but for a batch of one: its axis must stay."""
    right = of(RIGHT, name)[0].function

    def squeezed(*arguments):
        returned = right(*arguments)
        if isinstance(returned, torch.Tensor):
            return returned.squeeze()
        return tuple(output.squeeze() for output in returned)

    says = tried(checks.EXERCISES[name], given(squeezed), 0)
    assert re.search("an axis of size 1 is gone: .squeeze", says or "it is accepted"), says


@pytest.mark.parametrize("name", NAMES)
def test_a_changed_argument_is_named(name):
    exercise, right = checks.EXERCISES[name], of(RIGHT, name)[0].function
    arguments = exercise._arguments(exercise.cases(seed=0)[0])
    for number, (argument, value) in enumerate(arguments.items()):
        if not isinstance(value, torch.Tensor):
            continue

        def changes(*args, number=number):
            returned = right(*args)
            with torch.no_grad():
                args[number].add_(1)
            return returned

        says = tried(exercise, given(changes), 0)
        assert f"your function changed its argument {argument} in place" in (says or ""), says


def solutions():
    """From the name of an exercise to the names of its function's parameters, as in the chapter."""
    found = {}
    for chapter in chapters():
        for cell in json.loads(chapter.path.read_text())["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("solution"):
                for name, parameters in re.findall(
                    r"^def (\w+)\((.*)\):", "".join(cell["source"]), re.M
                ):
                    found[name] = [p.strip() for p in parameters.split(",") if p.strip()]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_messages_use_the_names_of_the_task(name):
    exercise = checks.EXERCISES[name]
    assert list(exercise._arguments(exercise.cases(seed=0)[0])) == solutions()[name]


@exercise(truth=lambda x: 3.0 * x, mistakes={})
def tripled(draw):
    """A case of one, without anything random."""
    for n in (4, 1):
        yield {"x": draw.normal(n)}


@exercise(truth=lambda noise: noise + 0.0, build=lambda eps: (eps,), mistakes={})
def noisy(draw):
    """What is random is passed in, and called in another way than its input."""
    yield {"eps": draw.normal(4)}


@exercise(truth=lambda x: 0.0 * x, mistakes={})
def nothing(draw):
    """0 is right."""
    yield {"x": draw.normal(3)}


@exercise(truth=lambda x: x > 0, mistakes={}, gradients=())
def positive(draw):
    """Booleans."""
    yield {"x": draw.normal(3)}


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda: torch.set_default_dtype(torch.float16), "torch.set_default_dtype"),
        (lambda: torch.set_grad_enabled(False), "torch.set_grad_enabled"),
        (lambda: torch.manual_seed(0), "torch.manual_seed"),
    ],
)
def test_a_changed_state_is_named_and_put_back(change, name, default, request):
    torch.set_default_dtype(default)
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    before = torch.get_rng_state()

    def answer(x):
        change()
        return 3 * x

    assert f"your function calls {name}, which changes" in tried(tripled, given(answer), 0)
    assert torch.get_default_dtype() == default
    assert torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert tried(tripled, given(lambda x: torch.tensor(3.0) * x), 0) is None


def test_what_the_notebook_has_switched_does_not_matter(request):
    """Elsewhere, when it is graded, nothing is switched."""
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        assert tried(tripled, given(lambda x: 3 * x), 0) is None
        assert tried(tripled, given(lambda x: 3 * x.to(torch.get_default_dtype())), 0)


@pytest.mark.parametrize(
    ("exercise", "answer", "says"),
    [
        (tripled, lambda x: 3 * x + torch.randn(()), "nothing is random here, so draw no"),
        (noisy, lambda e: torch.randn_like(e), "use the noise or the samples that are passed in"),
        (nothing, lambda x: 0 * x / (0 * x), "nan where 0 is right. Is something divided by 0"),
        (tripled, lambda x: (3 + 3e-5) * x, "your values are 1.00001 times the right ones"),
        (tripled, lambda x: (3 + 9e-6) * x, "1.000003 times the right ones: nearly right"),
        (tripled, lambda x: list(3 * x), r"a list of 4 values; expected one tensor, .* \[4\]"),
        (
            tripled,
            lambda x: (3 * x,),
            "a tuple that holds the result; expected the result itself .*comma",
        ),
        (tripled, lambda x: (3 * x).detach().numpy(), "of the type ndarray, not a tensor"),
        (tripled, lambda x: 1 / 0, r"called with x of shape \[4\], it raised ZeroDivisionError"),
        (noisy, lambda e: e + 1, "too large by 1, in every case"),
        (noisy, lambda e: e**2, r"For noise of shape \[4\], the result holds"),
        (
            noisy,
            lambda e: e.detach(),
            "no gradient reaches the eps of which the arguments are made",
        ),
        (positive, lambda x: (x > 0).to(x), "asked are booleans"),
        (tripled, lambda x: x.exp().add_(1).mul_(0) + 3 * x, "changes in place what the gradient"),
        (tripled, lambda x: 3 * x.sum(), "You summed over the batch too"),
        (tripled, lambda x: 3 * x.mean(), "You averaged over the batch"),
    ],
)
def test_messages_say_what_the_learner_sees(exercise, answer, says):
    assert re.search(says, tried(exercise, given(answer), 0) or "it is accepted")


def test_an_array_of_one_number_is_no_number():
    """Shapes decide, in NumPy too."""
    mean = exercise_of_a_mean
    assert tried(mean, given(lambda x: np.float64(x.mean().item())), 0) is None
    assert "ndarray" in tried(mean, given(lambda x: np.array([x.mean().item()])), 0)
    assert "shape [1]; expected []" in tried(mean, given(lambda x: x.mean()[None]), 0)


@exercise(truth=lambda x: x.sum() / x.numel(), mistakes={}, gradients=())
def exercise_of_a_mean(draw):
    """One number."""
    yield {"x": draw.normal(3)}


@pytest.mark.soak
@pytest.mark.parametrize("name", NAMES)
def test_at_two_thousand_fresh_seeds(name):
    accept(name, MANY_RIGHT_SEEDS)
    reject(name, MANY_WRONG_SEEDS)


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
        return all(close(p, q, tolerance, exercise.smallest) for p, q in pairs)

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


def test_copies_that_were_handed_out_find_the_checks_under_their_old_name():
    from vaelib import checks as old
    from vaelib.checks import kl_to_prior

    assert old is checks
    assert kl_to_prior is checks.kl_to_prior
