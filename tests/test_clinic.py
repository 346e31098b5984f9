"""clinic: its record is complete and comes out again, its code is what was run, its mends mend."""

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from vaelib import course
from vaelib.course import checks, clinic

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "benchmarks" / "clinic.py"
# Of each case: what is sick of a run, and what else differs from the healthy one.
SICK = {
    "1": {"loss"},
    "2": {"start", "lr"},
    "3": {"loss"},
    "4": {"log_lik", "bits"},
    "5": {"split", "epochs"},
    "6": {"batch"},
    "7": {"report"},
    "8": {"fit"},
}


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(SCRIPT.parent))
    spec = importlib.util.spec_from_file_location("clinic_runs", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def record():
    return course.recorded("clinic")


# ---- the record ----


def test_the_record_is_whole_and_says_where_it_comes_from(record, script):
    assert record["command"] == f"python benchmarks/{SCRIPT.name}"
    assert record.keys() >= {"command", "commit", "device", "versions", "date", "points"}
    assert record["tree_changed"] is False
    assert [point["patient"] for point in record["points"]] == [*script.PATIENTS]
    for point in record["points"]:
        patient = script.PATIENTS[point["patient"]]
        assert point["epochs"] == patient.epochs == len(point["loss_by_epoch"])
        assert len(point["kl_by_epoch"]) == patient.epochs == len(point["bound_by_epoch"]) - 1
        assert point["loss"] == point["loss_by_epoch"][-1]
        assert point["loss_by_epoch"][-1] < point["loss_by_epoch"][0]  # all of them fell
        if patient.bits:
            assert all(re.fullmatch("[01]{30}", string) for string in point["strings"])
        else:
            assert point["means"].shape == (12, 784)
            assert 0 <= point["means"].min() < point["means"].max() <= 1


def test_three_died_and_each_of_another_cause(record):
    """Six means that differ by a hundredth are one picture; digits differ by seven and more."""
    dead = [
        point["patient"]
        for point in record["points"]
        if "means" in point and point["means"][:6].std(0).mean() < 0.03
    ]
    assert dead == ["1", "2", "8"]


def test_one_part_of_each_patient_is_sick(script):
    healthy = script.PATIENTS["healthy"]
    for name, parts in SICK.items():
        patient = script.PATIENTS[name]
        assert {f for f in patient._fields if getattr(patient, f) != getattr(healthy, f)} == parts
    for name in ("4 mended", "5 mended", "7 in a plane"):
        patient = script.PATIENTS[name]
        other = {f for f in patient._fields if getattr(patient, f) != getattr(healthy, f)}
        assert other <= {"bits", "epochs", "latent"}


@pytest.mark.parametrize("name", ["4", "4 mended", "8"])
def test_the_first_epoch_of_a_run_comes_out_again(script, record, name):
    """The others take longer; another processor's last digits grow to a hundredth in an epoch."""
    stored = next(point for point in record["points"] if point["patient"] == name)
    again = script.run(name, epochs=1)
    for key in ("loss_by_epoch", "kl_by_epoch"):
        assert again[key][0] == pytest.approx(stored[key][0], abs=0.05)
    assert again["bound_by_epoch"] == pytest.approx(stored["bound_by_epoch"][:2], abs=0.2)
    assert again["pictures"] == pytest.approx(stored["pictures"], abs=1e-4)


@pytest.mark.soak  # minutes of training, for numbers that are stored
def test_whole_runs_come_out_again(script, record):
    for point in record["points"]:
        if point["patient"] in ("healthy", "1", "3", "6", "7"):
            again = script.run(point["patient"])
            assert again["bound"] == pytest.approx(point["bound"], abs=1.5)
            assert again["kl"] == pytest.approx(point["kl"], rel=0.05, abs=0.05)


def test_a_string_repeats_nine_bits_of_ten(script):
    strings = script.strings(4000, seed=1)
    flips = (strings[:, 1:] != strings[:, :-1]).float().mean().item()
    assert abs(flips - 0.1) < 4 * (0.09 / (4000 * 29)) ** 0.5


# ---- what the chapter shows of it ----


def test_the_code_on_the_page_is_the_code_that_was_run(script):
    notebook = json.loads((ROOT / "book" / "clinic.ipynb").read_text())
    text = "\n".join("".join(cell["source"]) for cell in notebook["cells"])
    shown = re.findall(r"```python\n(def sick_.*?)\n```", text, re.DOTALL)
    sick = [inspect.getsource(getattr(script, f"sick_{n}")).strip() for n in range(1, 9)]
    assert shown == sick
    assert all(len(source.splitlines()) <= 14 for source in sick)


def given_as_in_the_task(script, number):
    """A sick function with the arguments of the mended one."""
    sick = getattr(script, f"sick_{number}")
    return (lambda images, chosen, u: sick(images, chosen)) if number == 6 else sick


@pytest.mark.parametrize("number", range(1, 9))
def test_a_check_knows_the_sick_function_by_name(script, number):
    exercise = checks.EXERCISES[f"mend_{number}"]
    for seed in range(3):
        outcomes = exercise.respond(given_as_in_the_task(script, number), seed)
        with pytest.raises(checks.CheckFailed, match=f"mend_{number}: this is the .* as it was"):
            exercise.judge(outcomes, seed)


def test_the_healthy_parts_pass_the_checks(script):
    """So each patient differs from the healthy one by what its check asks for, and by no more."""
    healthy = {
        3: lambda *given: script.loss(*given, script.log_lik),
        4: script.log_lik,
        5: script.split,
        6: script.batch,
        7: lambda *given: script.report(*given, script.log_lik),
        8: script.fit,
    }
    for number, function in healthy.items():
        checks.EXERCISES[f"mend_{number}"].grade(function, seed=number)


def test_the_first_patient_has_the_second_term_of_the_healthy(script):
    """Its loss is that of the healthy one, with the pixels' term divided by their number."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(2, (4, 9), generator=generator).float()
    raw, eps = torch.randn(4, 6, generator=generator), torch.randn(4, 3, generator=generator)
    logits = torch.randn(4, 9, generator=generator)
    history: list[float] = []
    given = (x, lambda _: raw, lambda _: logits, eps, history)
    healthy, sick = script.loss(*given, script.log_lik), script.loss_1(*given, None)
    pixels = F.binary_cross_entropy(logits.sigmoid(), x, reduction="sum").item() / 4
    assert history[0] == pytest.approx(history[1], abs=1e-6)
    assert healthy.item() - pixels == pytest.approx(history[0], abs=1e-5)
    assert sick.item() - pixels / 9 == pytest.approx(history[0], abs=1e-5)


# ---- diagnoses ----

RIGHT = dict(zip(range(1, 9), "ABBCAABC", strict=True))  # as the storyboard of the chapter has them


@pytest.mark.parametrize("case", RIGHT)
@pytest.mark.parametrize("letter", "ABCD")
def test_each_answer_is_told_why_in_the_words_of_the_page(case, letter, capsys):
    page = clinic.choices(case)._repr_html_()
    (reply,) = re.findall(rf"<b>{letter}</b> [^<]+</summary><p>(.*?)</p>", page)
    if letter == RIGHT[case]:
        clinic.diagnose(case, f" {letter.lower()} ")
        said = capsys.readouterr().out.strip()
        assert reply.startswith("Yes. ")
    else:
        with pytest.raises(checks.CheckFailed) as failure:
            clinic.diagnose(case, letter)
        said = str(failure.value)
        assert reply.startswith("No. ")
    assert said == f"case {case}, {letter}: {reply}"


def test_what_is_no_diagnosis_is_told_what_is(capsys):
    clinic.diagnose(3, "?")
    assert "put A, B, C or D for the ?" in capsys.readouterr().out
    with pytest.raises(ValueError, match="expected A, B, C or D, got 'E'"):
        clinic.diagnose(3, "E")
    for ask in (clinic.choices, lambda case: clinic.diagnose(case, "A")):
        with pytest.raises(ValueError, match="case from 1 to 8, got 9"):
            ask(9)


def test_each_number_of_a_reply_is_of_the_record_or_of_the_set_up():
    """Those of the record are filled in; these are the counts of pixels, digits, bits, samples."""
    known = {"784", "0", "1", "2,000", "500", "30", "100", "99"}
    for case in clinic.CASES.values():
        for text in (words for answer in case.answers for words in answer):
            written = re.sub(r"\{[^}]*\}", "", text)
            assert {*re.findall(r"\d[\d,.]*\d|\d", written)} <= known, written


def test_british_and_kind():
    for case in RIGHT:
        text = clinic.choices(case)._repr_html_()
        assert not re.search(r"(?i)obvious|clearly|trivial|of course|color|center|gray", text)
        assert "-" not in re.sub(r"(?<=[a-zA-Z])-(?=[a-zA-Z])", "", text)  # minus signs are signs


def test_the_grey_of_the_data_is_counted(script):
    """With numpy's arrays, and a copy's score from its definition."""
    grey = script.data.digits().test.numpy().astype(float) / 255
    share, copy = clinic.grey()
    assert share == pytest.approx(((grey > 0.1) & (grey < 0.9)).sum() / (grey > 0).sum())
    inside = grey[(grey > 0) & (grey < 1)]
    x = torch.from_numpy(inside)
    by_hand = (x * x.log() + (1 - x) * (1 - x).log()).sum().item() / len(grey)
    assert copy == pytest.approx(by_hand, abs=1e-9)
