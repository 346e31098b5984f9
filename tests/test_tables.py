"""tables: what a cell shows is what it was given, rounded, and nothing else."""

import re

import pytest
import torch

from vaelib.course import table


def cells(shown, tag="td"):
    return re.findall(rf"<{tag}(?: class=\"number\")?>(.*?)</{tag}>", shown._repr_html_())


def test_numbers_are_rounded_and_grouped_and_zero_has_no_sign():
    shown = table({"n": [1, 12_345], "nats": [-0.0004, -1234.567]}, digits=2)
    assert cells(shown) == ["1", "0.00", "12,345", "−1,234.57"]
    assert cells(shown, "th") == ["n", "nats"]


def test_each_column_has_its_own_decimals():
    shown = table({"a": [0.5], "b": torch.tensor([2 / 3])}, digits={"a": 0, "b": 4})
    assert cells(shown) == ["0", "0.6667"]
    assert table({"a": [0.5], "b": [0.25]}, digits={"a": 1}).columns["b"] == ["0.25"]


def test_what_is_no_finite_number_is_seen():
    assert cells(table({"KL": [float("inf"), float("-inf"), float("nan")]})) == ["∞", "−∞", "nan"]


def test_texts_are_escaped_and_code_is_code():
    (text,) = cells(table({"line": ["`a < b` & c"]}))
    assert text == "<code>a &lt; b</code> &amp; c"


def test_numbers_stand_right_and_texts_left():
    shown = table({"name": ["a", "b"], "mixed": ["—", 2.0], "nats": [1.0, 22.0]})
    assert shown._repr_html_().count('<td class="number">') == 2
    assert shown._repr_html_().count('<th class="number">') == 1
    assert repr(shown).splitlines() == [
        "name  mixed   nats",
        "a     —       1.00",
        "b     2.00   22.00",
    ]


def test_a_tensor_of_whole_numbers_has_no_decimals():
    shown = table({"n": torch.tensor([3, 1000]), "x": [torch.tensor(0.125), 1.0]}, digits=3)
    assert cells(shown) == ["3", "0.125", "1,000", "1.000"]


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"one length, got \{'a': 1, 'b': 2\}"):
        table({"a": [1], "b": [1, 2]})


def test_decimals_of_no_column_are_refused():
    with pytest.raises(ValueError, match=r"digits names \['nats'\], no column"):
        table({"a": [1.0]}, digits={"nats": 1})


@pytest.mark.parametrize("value", [True, None, [1.0], torch.ones(2)])
def test_what_is_neither_text_nor_number_is_refused(value):
    with pytest.raises(TypeError, match="text or a number"):
        table({"a": [value]})
