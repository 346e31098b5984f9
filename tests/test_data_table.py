"""data.own: a table from a file, or the line and the column in which it is none."""

import math

import numpy as np
import pytest
import torch

from vaelib import data


def csv(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def everything(found):
    return np.array(sorted(torch.cat([found.train, found.test]).tolist()), np.float32)


BODY = "1.5,-2,3e2\n4,5,6\n.25,8,9\n"
ROWS = [[0.25, 8, 9], [1.5, -2, 300], [4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mass,length,time\n" + BODY, ("mass", "length", "time")),
        (BODY, ("x1", "x2", "x3")),
        ("mass,length,time\r\n" + BODY.replace("\n", "\r\n"), ("mass", "length", "time")),
        ("\ufeffmass,length,time\n\n" + BODY + "\n\n", ("mass", "length", "time")),
        (("mass,length,time\n" + BODY).replace(",", ";"), ("mass", "length", "time")),
        (("mass,length,time\n" + BODY).replace(",", " \t "), ("mass", "length", "time")),
        (BODY.replace(",", ";"), ("x1", "x2", "x3")),
        ('"mass", "length, in m", time\n' + BODY.replace(",", " , "), None),
        ('"mass, in kg";"length, in m";"time, in s"\n' + BODY.replace(",", ";"), None),
        ("# mass,length,time\n" + BODY, ("mass", "length", "time")),
        ("mass,,time\n" + BODY, ("mass", "x2", "time")),
        (",mass,length,time\n0,1.5,-2,300\n1,4,5,6\n2,.25,8,9\n", ("mass", "length", "time")),
        (",mass,length,time\n1,1.5,-2,300\n2,4,5,6\n3,.25,8,9\n", ("mass", "length", "time")),
    ],
)
def test_dialects(text, names, tmp_path):
    found = data.own(csv(tmp_path / "a.csv", text))
    np.testing.assert_array_equal(everything(found), np.array(ROWS, np.float32))
    assert (found.kind, found.train.dtype) == ("numbers", torch.float32)
    if names:
        assert found.layout == data.Columns(names)
    else:
        assert found.layout.names[1] == "length, in m"


def test_tabs(tmp_path):
    """In a .tsv nothing else separates, and an empty last cell is a cell."""
    text = "mass; kg\tlength\n1.5\t\n4\t5\n\t8\n"
    found = data.own(csv(tmp_path / "a.TSV", text))
    assert found.layout == data.Columns(("mass; kg", "length"))
    assert sum(map(math.isnan, everything(found).flatten())) == 2


def test_what_was_taken_for_names_is_said(tmp_path):
    named = data.own(csv(tmp_path / "a.csv", "a,b,c\n" + BODY))
    assert named.notes == ("2 of 3 rows, at random, are held out",)
    bare = data.own(csv(tmp_path / "a.csv", BODY))
    assert bare.notes[0] == (
        "the first line has numbers and is data, so the columns are called x1 to x3"
    )
    counted = data.own(csv(tmp_path / "a.csv", ",a\n0,5\n1,6\n2,7\n"))
    assert counted.notes[0] == "the first column has no name and counts the lines: it is left out"
    other = data.own(csv(tmp_path / "a.csv", ",a\n0,5\n2,6\n1,7\n"))  # no count: it may be data
    assert other.layout.names == ("x1", "a")


def test_empty_cells_are_missing_and_not_zero(tmp_path):
    cells = ["", "nan", "NaN", "NA", "n/a", "null", "None", '""', "  "]
    lines = "".join(f"{i},{cell},1\n" for i, cell in enumerate(cells))
    found = data.own(csv(tmp_path / "a.csv", "a,b,c\n" + lines + "9,5,0\n,,\n"))
    rows = everything(found)
    np.testing.assert_array_equal(rows[:, 0], np.arange(10))
    np.testing.assert_array_equal(np.isnan(rows[:, 1]), np.arange(10) < 9)
    np.testing.assert_array_equal(rows[:, 2], np.arange(10) < 9)
    assert "1 rows without a single value are left out" in found.notes


def test_single_precision_reads_back_what_was_written(tmp_path):
    values = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32) * [1e-6, 1, 1e6]
    np.savetxt(tmp_path / "a.csv", values.astype(np.float32), "%.9g", ",", header="a,b,c")
    found = data.own(tmp_path / "a.csv")
    assert found.layout.names == ("a", "b", "c")
    np.testing.assert_array_equal(
        np.sort(everything(found), 0), np.sort(values.astype(np.float32), 0)
    )


@pytest.mark.parametrize(
    ("column", "classes"),
    [("ant bee cow", ("ant", "bee", "cow")), ("2 10 100", ("2", "10", "100"))],
)
def test_labels(column, classes, tmp_path):
    names = column.split()
    lines = "".join(f"{i},{names[i % 3]},{i * 2}\n" for i in range(40))
    file = csv(tmp_path / "a.csv", "a,kind,b\n" + lines)
    found = data.own(file, labels="kind")
    assert found.layout == data.Columns(("a", "b"))
    assert found.classes == classes
    for rows, labels in (found.train, found.train_labels), (found.test, found.test_labels):
        assert (rows[:, 0].long() % 3).tolist() == labels.tolist()
        assert (rows[:, 1] == 2 * rows[:, 0]).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a,b\n1,2\n3,?\n5,6\n",
            r"a.csv: line 3, column 'b': expected a number, got '\?'; leave th",
        ),
        ("a,b\n1,2\n3,1_000\n5,6\n", r"line 3, column 'b': expected a number, got '1_000'"),
        (
            "a,b\n1,x\n3,\n5,z\n",
            r"line 2, column 'b': .*got 'x', and no other .*labels='b' takes it",
        ),
        ("1,x\n3,y\n5,z\n", r"line 1, column 'x2': .*got 'x', and no other .*labels='x2' takes it"),
        ("a;b\n1;2,5\n3;4,5\n", r"line 2, column 'b': .*got '2,5'; write it with a point for the"),
        (
            'a,b\n1,"2,500"\n3,4\n',
            r"line 2, column 'b': expected a number, got '2,500'; write it wi",
        ),
        ("a,b\n1,2\n3\n5,6\n", r"line 3: expected 2 cells as in the first line, got 1"),
        ("a,b\n1,2\n3,4,5\n", r"line 3: expected 2 cells as in the first line, got 3; a cell with"),
        ('a,b\n1,"2\n3,4\n', r"cannot be read as a table \(unexpected end of data\)"),
        (
            "a,b\n1,inf\n3,4\n",
            r"a.csv: expected finite numbers, .*got infinite ones in 'b'; put nan",
        ),
        (
            "a,b\n1,\n3,\n4,\n",
            r"expected some numbers in each column, got none in 'b'; leave it out",
        ),
        ("a,b,a\n1,2,3\n", r"expected columns of different names, got 'a' more than once; rename"),
        ("a,b\n", r"expected lines below that of the names, got none"),
        ("", r"expected a table with at least one line, got none"),
        ("1.0 2.0 3.0\n" * 5, r"separated by commas, semicolons or tabs, got '1.0 2.0 3.0'; numpy"),
    ],
)
def test_the_line_and_the_column_that_is_wrong(text, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        data.own(csv(tmp_path / "a.csv", text))


def test_labels_that_are_not_there(tmp_path):
    file = csv(tmp_path / "a.csv", "a,kind\n1,x\n2,\n3,x\n")
    with pytest.raises(ValueError, match=r"line 3, column 'kind': expected a label, got ''; leave"):
        data.own(file, labels="kind")
    with pytest.raises(
        ValueError, match=r"expected labels as one of the columns 'a', 'kind', got 'y"
    ):
        data.own(file, labels="y")
    with pytest.raises(ValueError, match=r"columns of numbers beside that of the labels, got no"):
        data.own(csv(tmp_path / "a.csv", "kind\nx\ny\nx\n"), labels="kind")


def test_another_encoding_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a.csv: expected text in UTF-8 .*; save it in that"):
        data.own(csv(tmp_path / "a.csv", "größe,b\n1,2\n", "latin-1"))
