"""train: a run's folder belongs to one run at a time, and nothing is written through a link."""

import errno
import fcntl
import json
import os
import re
import signal
import threading
import time

import pytest
import torch
from torch import nn
from toy import Toy

from vaelib import train
from vaelib.cli import main
from vaelib.run import build, settings
from vaelib.train import checkpoint, lock
from vaelib.train.lock import hold
from vaelib.train.team import Team

pytestmark = pytest.mark.usefixtures("plain_errors")  # models of these tests are no VAEs


class Mean(Toy):
    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(6))

    def forward(self, x, eps):
        return (x - self.mean).square().sum(-1).mean()


PIXELS = torch.arange(60, dtype=torch.uint8).view(10, 6)


def run(folder, **options):
    how = {"epochs": 2, "batch_size": 5, "progress": False} | options
    return train.fit(Mean(), PIXELS, folder=folder, **how)


def elsewhere(function):
    """What a function raises in another thread, which holds nothing of this one's."""
    raised = []

    def call():
        try:
            function()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_two_that_save_at_once_leave_whole_files(tmp_path):
    """Two writers of one name wrote into each other's half a file: 13 of 500 reads failed."""
    path, ends = tmp_path / checkpoint.NAME, threading.Event()
    checkpoint.save(path, {"w": torch.zeros(1)}, {})

    def save(value):
        weights = torch.full((100_000,), float(value))
        while not ends.is_set():
            checkpoint.save(path, {"w": weights}, {"value": value})

    writers = [threading.Thread(target=save, args=(value,)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    try:
        read = [checkpoint.read(path) for _ in range(500)]
    finally:
        ends.set()
        for writer in writers:
            writer.join()
    assert {about.get("value") for _, about in read} >= {1, 2}
    assert all((t["w"] == about["value"]).all() for t, about in read if about)
    assert [p.name for p in tmp_path.iterdir()] == [checkpoint.NAME]


def test_a_second_run_is_refused_and_changes_nothing(tmp_path):
    refused = []

    def callback(line, model):
        before = (tmp_path / checkpoint.NAME).read_bytes() if line.epoch == 2 else None
        refused.append(elsewhere(lambda: run(tmp_path, resume=True)))
        assert line.epoch == 1 or (tmp_path / checkpoint.NAME).read_bytes() == before

    history = run(tmp_path, callbacks=[callback])
    assert len(history) == len(refused) == 2
    message = rf"{re.escape(str(tmp_path))}: in use by process {os.getpid()} on .*; wait until it"
    assert all(isinstance(error, BlockingIOError) for error in refused)
    assert all(re.match(message, str(error)) for error in refused)
    assert sorted(p.name for p in tmp_path.iterdir()) == [checkpoint.NAME, "history.csv"]
    run(tmp_path, resume=True)  # and afterwards it is free


def test_a_lock_goes_with_its_process_and_not_with_a_child_of_it(tmp_path):
    """The child holds it and has a child that sleeps; killed, it leaves the folder free.

    The grandchild tells, once it runs: until its first lines have run (`lock._forget`), it has the
    lock's file too, and on busy cores a fork has returned to the parent well before that (when
    the child told, 12 of 3,000 came too early, and none when the grandchild did).
    """
    ready, tell = os.pipe()
    child = os.fork()
    if not child:
        with hold(tmp_path, Team()):
            if not os.fork():
                os.write(tell, b"!")
                time.sleep(60)
                os._exit(0)
            time.sleep(60)
        os._exit(1)
    os.read(ready, 1)
    with pytest.raises(BlockingIOError, match=f"in use by process {child} on"):
        run(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    stale = tmp_path / f".{checkpoint.NAME}.0123.part"  # it was writing
    stale.touch()
    assert len(run(tmp_path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [checkpoint.NAME, "history.csv"]


def test_a_lock_on_a_file_that_was_just_removed_does_not_count(tmp_path, monkeypatch):
    """Its holder goes after the next one has opened the file, and before that one locks it."""
    real, calls = fcntl.flock, []

    def flock(file, how):
        calls.append(how)
        if len(calls) == 1:
            (tmp_path / lock.NAME).unlink()
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold(tmp_path, Team()):
        assert isinstance(elsewhere(lambda: run(tmp_path)), BlockingIOError)
    assert len(calls) == 3  # the removed file's, the new one's, and the other thread's


def test_of_many_that_come_and_go_one_holds_at_a_time(tmp_path):
    """Also where one comes just when another goes and removes the lock's file."""
    inside, most, entered = [], [], []

    def visit():
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                with hold(tmp_path, Team()):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    entered.append(threading.get_ident())
            except BlockingIOError:
                pass

    visitors = [threading.Thread(target=visit) for _ in range(4)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert max(most) == 1
    assert len(set(entered)) > 1


@pytest.mark.parametrize("how", ["no locks here", "no flock"])
def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch, how):
    def flock(*_):
        raise OSError(errno.ENOLCK, how)

    if how == "no flock":
        monkeypatch.setattr(lock, "fcntl", None)
    else:
        monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.warns(UserWarning, match=rf"cannot be locked \(.*{how}\), so nothing keeps a sec"):
        assert len(run(tmp_path)) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == [checkpoint.NAME, "history.csv"]


def test_nothing_is_written_through_a_link(tmp_path):
    """Of every file that a run writes, under its own name and under those of its parts."""
    mine, folder = tmp_path / "mine", tmp_path / "run"
    mine.write_text("mine")
    folder.mkdir()
    names = [checkpoint.NAME, "history.csv", settings.NAME, "samples.png"]
    for name in names[1:]:
        (folder / name).symlink_to(mine)
    for name in names:
        (folder / f"{name}.part").symlink_to(mine)
    words = ["--folder", str(folder), "--latent", "2", "--hidden", "4", "--epochs", "1", "--quiet"]
    assert main(["train", *words]) == 0
    assert main(["sample", str(folder), "--number", "2"]) == 0
    assert mine.read_text() == "mine"
    assert not any((folder / name).is_symlink() for name in names)
    (folder / lock.NAME).symlink_to(mine)
    with pytest.raises(OSError, match=r"cannot be made and written to .*choose another folder"):
        run(folder)
    assert mine.read_text() == "mine"


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "run").touch()
    with pytest.raises(OSError, match=r"run: cannot be made and written to as a folder"):
        run(tmp_path / "run")


def command(folder, *words):
    small = ["--latent", "2", "--hidden", "4", "--epochs", "1", "--quiet"]
    return main(["train", "--folder", str(folder), *small, *words])


def test_a_command_that_is_refused_leaves_the_others_settings(tmp_path, capsys):
    """Before its first checkpoint the other run has nothing but settings and the lock."""
    with hold(tmp_path, Team()):
        (tmp_path / settings.NAME).write_text("the other's")
        codes = []
        assert elsewhere(lambda: codes.append(command(tmp_path))) is None
    assert codes == [1]
    assert f"in use by process {os.getpid()}" in capsys.readouterr().err
    assert (tmp_path / settings.NAME).read_text() == "the other's"


def test_a_run_that_came_and_went_while_a_command_was_prepared_is_left(
    tmp_path, capsys, monkeypatch
):
    make = build.model

    def prepare(*asked):
        model = make(*asked)
        monkeypatch.undo()
        assert command(tmp_path, "--seed", "1") == 0
        return model

    monkeypatch.setattr(build, "model", prepare)
    assert command(tmp_path) == 1
    assert "another run was started there while this one was being prep" in capsys.readouterr().err
    assert json.loads((tmp_path / settings.NAME).read_text())["seed"] == 1
