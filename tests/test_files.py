"""Files that are written: whole or not there, under no name but their own.

A full disk is tried in `test_train_resume.py`, writers at once in `test_train_lock.py`.
"""

import errno
import os

import pytest
import torch

import vaelib
from vaelib import files


def test_a_file_takes_the_place_of_another_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "numbers.json"
    for content in (b"a longer one", b"short"):
        files.replace(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space")])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_break_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, step, error):
    def broken(*_):
        raise error

    path = tmp_path / "numbers.json"
    path.write_bytes(b"good")
    monkeypatch.setattr(os, step, broken)
    with pytest.raises(type(error)):
        files.replace(path, b"half of what")
    assert path.read_bytes() == b"good"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_replaced_and_not_written_through(tmp_path):
    """Somebody else's file at the other end stays as it is."""
    other, path = tmp_path / "other", tmp_path / "numbers.json"
    other.write_bytes(b"theirs")
    path.symlink_to(other)
    files.replace(path, b"ours")
    assert other.read_bytes() == b"theirs"
    assert not path.is_symlink()
    assert path.read_bytes() == b"ours"


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    """After a power cut there is the old file or the new one."""
    done = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *a, s=step, f=real: (done.append(s), f(*a)))
    files.replace(tmp_path / "numbers.json", b"ours")
    assert done == ["fsync", "replace"]


def test_a_full_disk_a_closed_folder_and_anything_else_have_their_remedies():
    remedies = {
        errno.ENOSPC: "make room",
        errno.EROFS: "make the folder writable",
        errno.EISDIR: "look at what is in its place",
    }
    assert {number: files.remedy(OSError(number, "")) for number in remedies} == remedies


def test_a_file_says_who_wrote_it():
    assert files.versions() == {"vaelib": vaelib.__version__, "torch": torch.__version__}
