"""The check of the capstone: right VAEs pass, each fault is refused by its name, and so are cheats.

Here with a small training; most faults end before it. In full, as learners meet it, in the soak.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
import torch
import wrong_answers.capstone as answers
from wrong_answers import RIGHT, WRONG

from vaelib import data
from vaelib.course import checks
from vaelib.course.checks.build_one import with_training
from vaelib.course.checks.build_one.batch import LEVELS, SHAPE, levels
from vaelib.course.checks.build_one.loss import _standard
from vaelib.course.checks.build_one.training import FULL, Training, ask, measured
from vaelib.course.checks.exercise import Draw

ROOT = Path(__file__).resolve().parent.parent
RIGHT = [answer for answer in RIGHT if answer.exercise == "MyVAE"]
WRONG = [answer for answer in WRONG if answer.exercise == "MyVAE"]
# Two seconds. Single pixels score −203; right answers reach −160 to −188.
SMALL = Training(500, 64, 4, 10, 10, untrained=-198, enough=-194, too_good=-130)
# Faults that no part of it shows.
TRAINED = {"CutOff", "Pretrained", "Remembers", "ReturnsSigma", "TellsLate", "TooFast", "TooSlow"}
check = with_training(SMALL)
each_right = pytest.mark.parametrize("answer", RIGHT, ids=lambda answer: answer.name)
each_wrong = pytest.mark.parametrize("answer", WRONG, ids=lambda answer: answer.name)


@pytest.fixture(autouse=True)
def untyped(plain_errors):
    """Learners have no beartype."""


def tried(check, make, seed=0):
    """What the check says: None if it accepts. The numbers go through JSON, as in grading."""
    outcomes = json.loads(json.dumps(check.respond(make, seed)))
    try:
        check.judge(outcomes, seed)
    except checks.CheckFailed as failure:
        return str(failure)
    return None


def refused(check, answer, seed):
    says = tried(check, answer.function, seed)
    assert says, f"{answer.name} is accepted at seed {seed}"
    assert re.search(answer.says or "", says), f"{answer.name} at seed {seed}: {says}"
    return says


@each_right
def test_a_right_answer_in_any_style_is_accepted(answer):
    assert tried(check, answer.function) is None


@each_wrong
def test_a_fault_is_refused_and_named(answer):
    """Most by a part, before anything is trained: a learner hears of it at once."""
    says = refused(check, answer, seed=0)
    assert ("MyVAE, training: " in says) == (answer.name in TRAINED)


def test_there_are_enough_answers(answers_table):
    named = sum(answer.says is not None for answer in WRONG)
    assert len(RIGHT) >= 8
    assert 4 * named >= 3 * len(WRONG) >= 3 * 16
    answers_table.append(("MyVAE", len(WRONG), named, len(RIGHT)))


@pytest.mark.soak
@each_right
def test_a_right_answer_is_accepted_in_full(answer):
    for seed in range(3):
        assert tried(checks.MyVAE, answer.function, seed) is None


@pytest.mark.soak
@each_wrong
def test_a_fault_is_refused_in_full(answer):
    for seed in range(3):
        refused(checks.MyVAE, answer, seed)


@pytest.mark.soak
@each_right
def test_the_parts_of_a_right_answer_at_500_fresh_seeds(answer):
    """All but the training. Its bounds are six standard errors wide."""
    parts = checks.Capstone("MyVAE", check.stages[:-1])
    for seed in range(500):
        assert tried(parts, answer.function, seed) is None, seed


# What a learner sees on the way


def test_what_is_not_written_yet_is_told_apart_from_what_is_wrong(capsys):
    """The learner's copy has every method, and none of the bodies."""

    def unwritten(*_):
        raise NotImplementedError

    class Untouched:
        __init__ = unwritten

    class Half(answers.Plain):
        step = evaluate = unwritten

    check(Untouched, seed=0)
    check(Half, seed=0)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "MyVAE: not attempted, or not far enough to look at networks",
        "MyVAE: right so far (networks, loss, batch). Next: step",
    ]
    for answer in (Untouched, Half):
        with pytest.raises(checks.CheckFailed, match="not attempted"):
            check.grade(answer, seed=0)


def test_a_right_answer_hears_its_own_number(capsys):
    check(answers.Plain, seed=0)
    said = capsys.readouterr().out
    assert re.fullmatch(
        r"MyVAE: correct\. Trained for 10 epochs, .* is −1[5-8]\d\.\d nats\.\n", said
    )


def test_an_error_is_told_with_its_stage():
    class Raises(answers.Plain):
        def batch(self, pixels):
            return pixels / self.most

    says = tried(check, Raises)
    assert says.startswith("MyVAE, batch: MyVAE(11, 7, 3) raised AttributeError: 'Raises' object ")


def test_what_the_notebook_has_switched_does_not_matter(request):
    request.addfinalizer(lambda: torch.set_default_dtype(torch.float32))
    state = torch.get_rng_state()
    torch.set_default_dtype(torch.float64)
    with torch.no_grad():
        assert tried(checks.Capstone("MyVAE", check.stages[:-1]), answers.Plain) is None
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_default_dtype() == torch.float64


# What a hostile process writes


@pytest.fixture(scope="module")
def honest():
    """The numbers of a right answer, as the sandbox writes them."""
    return json.dumps(check.respond(answers.Plain, 0))


def test_stages_that_are_left_out_are_missed(honest):
    outcomes = json.loads(honest)
    for number in range(len(outcomes)):
        with pytest.raises(checks.CheckFailed, match="was not reached"):
            check.judge(outcomes[:number], 0)


def test_the_numbers_of_another_seed_are_refused(honest):
    """Whoever hands in stored answers has them of another question."""
    for left_out in range(len(check.stages)):
        later = checks.Capstone("MyVAE", check.stages[left_out:])
        refused_at = "loss" if left_out < 2 else "batch" if left_out < 3 else "evaluate|training"
        with pytest.raises(checks.CheckFailed, match=f"MyVAE, ({refused_at}): "):
            later.judge(json.loads(honest)[left_out:], 1)


@pytest.mark.parametrize("number", range(6))
def test_altered_numbers_are_refused(number, honest):
    """The judge believes no stage that it has not seen."""
    wrong = json.loads(honest)
    stage = wrong[number]
    match stage:
        case {"far": _}:
            stage["encode"][1][0]["numbers"][0] += 1
        case {"cases": _}:
            stage["cases"][0]["loss"]["numbers"][0] += 1
        case {"batch": _}:
            stage["batch"][1] = stage["batch"][0]
        case {"left": _}:
            stage["values"][2] = stage["values"][0]
        case {"asked": _}:
            stage["value"] = -1.0
        case {"before": _}:
            stage["after"]["logits"]["numbers"] = [0.0] * 500 * 784
    with pytest.raises(checks.CheckFailed, match=check.stages[number].name):
        check.judge(wrong, 0)


def test_the_answers_fit_into_what_the_sandbox_may_write(honest):
    """16 MiB, for all of a notebook."""
    assert len(honest) < 6 * 2**20


HOSTILE = """
from vaelib.course import checks
kind = type(checks.MyVAE)
kind.judge = kind.grade = kind._judged = lambda *arguments: None
MyVAE.evaluate = lambda self, pixels: -20.0
"""


@pytest.mark.filterwarnings("ignore")  # nbgrader and what it brings warn when they are imported
@pytest.mark.parametrize(
    ("added", "says"),
    [("", None), pytest.param(HOSTILE, "never calls self.encode", marks=pytest.mark.soak)],
    ids=["honest", "hostile"],
)
def test_the_chapters_solution_is_asked_in_the_sandbox_and_judged_outside(added, says):
    """In full: one thread, and 60 seconds of the processor."""
    sys.path.insert(0, str(ROOT / "grading"))
    import grade

    cells = nbformat.read(ROOT / "book" / "vae.ipynb", as_version=4).cells
    solution = next(cell.source for cell in cells if cell.source.startswith("class MyVAE"))
    imports = "import torch\nfrom torch import nn\nfrom torch.nn.functional import softplus\n"
    source = imports + solution + added
    job = {
        "cells": [{"index": 0, "source": source, "whole": True}],
        "exercises": ["MyVAE"],
        "seed": 3,
    }
    how = grade.isolation(allow_none=True)
    lines = grade.run_apart(job, how, grade.Limits(), grade.FIRST_USER)
    outcomes = next(line["outcomes"] for line in lines if line.get("exercise") == "MyVAE")
    assert len(outcomes) == len(checks.MyVAE.stages)
    if says is None:
        checks.MyVAE.judge(outcomes, 3)
    else:
        with pytest.raises(checks.CheckFailed, match=says):
            checks.MyVAE.judge(outcomes, 3)


# The statistics of the check itself


def test_the_law_of_the_noise_is_told_from_its_neighbours():
    """1,000 × 3 numbers: at six standard errors, scales that are off by a sixth are seen."""
    draw = Draw(0)
    for _ in range(200):
        logvar, eps = draw.normal(1000, 3), draw.normal(1000, 3)
        assert _standard(eps, logvar)
        for wrong in (1.2 * eps, eps / 1.2, eps + 0.2, eps * torch.exp(0.15 * logvar)):
            assert not _standard(wrong, logvar)


def test_every_level_of_a_pixel_is_asked_often():
    counts = torch.stack(
        [(levels(Draw(seed), *SHAPE) == n).sum() for seed in range(20) for n in LEVELS]
    )
    assert counts.min() > 900


def test_single_pixels_are_far_below_what_is_enough():
    """Five faults end there: an independent probability for each pixel, the best one."""
    for how in (SMALL, FULL):
        train, test = how.digits()
        p = (train / 255).mean(0).clamp(1e-3, 1 - 1e-3)
        grey = test / 255
        score = (grey * p.log() + (1 - grey) * (1 - p).log()).sum(-1).mean()
        assert -204 < score < how.enough - 8


@pytest.mark.soak
def test_the_bound_alone_tells_nine_faults_neither_apart_nor_from_right():
    """What the chapter says: five end at the score of single pixels, four at a right answer."""

    def bound(make):
        torch.manual_seed(0)
        said, draw = ask(make, Draw(0), FULL), Draw(0)
        x = data.binarize(FULL.digits()[1], generator=draw.generator)
        measured(said["before"], x[:50], draw, FULL.latent)
        return float(measured(said["after"], x, draw, FULL.latent)[0].mean())

    for name in ("PixelsAveraged", "BothAveraged", "Detached", "FromThePrior", "EncoderForgotten"):
        assert -204 < bound(getattr(answers, name)) < -202
    right = bound(answers.Plain)
    for name in ("Grey", "Threshold", "Once", "KLOfSigma"):
        assert abs(bound(getattr(answers, name)) - right) < 2


@pytest.mark.soak
def test_two_evaluations_differ_by_less_than_a_sixth_of_what_is_allowed():
    model = answers.Plain(784, FULL.hidden, FULL.latent)
    train, test = FULL.digits()
    for _ in range(FULL.epochs):
        for rows in torch.randperm(len(train)).split(FULL.batch):
            model.step(model.batch(train[rows]))
    values = torch.tensor([model.evaluate(test) for _ in range(100)])
    assert 2**0.5 * values.std() < 3 / 6
