"""A run folder belongs to one run at a time: a second is refused, until the first has ended."""

import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vaelib.train.team import Team

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
# What this process holds, by thread and folder: a command holds it around the fit that it calls.
_held: dict[tuple[int, Path], int | None] = {}


@contextmanager
def hold(folder: str | Path | None, team: Team) -> Iterator[None]:
    """Keep a run's folder, made if it is not there, while the block runs; the first for its team.

    It is the system's lock (flock) on a file in the folder, so it goes with the process, however
    that ends, and what a killed run left half written is removed then. On NFS the server keeps it.

    Raises:
        BlockingIOError: if another run holds it; names its process. In all processes of a team.
        OSError: if the folder cannot be made or written to.

    Warns:
        UserWarning: if there are no such locks, as on Windows and on some file systems: then
            nothing keeps a second run away.
    """
    path = None if folder is None else Path(folder).resolve()
    key: tuple[int, Path] | None = None
    problem: OSError | None = None
    if path is not None and team.rank == 0 and (threading.get_ident(), path) not in _held:
        key = threading.get_ident(), path
        try:
            _held[key] = _locked(path)
        except OSError as error:
            problem = error
    problem = team.agree(problem)
    if problem is not None:
        raise problem
    try:
        yield
    finally:
        file = None if key is None else _held.pop(key, None)  # in a child `_forget` did it
        if path is not None and file is not None:
            (path / NAME).unlink(missing_ok=True)
            os.close(file)


def _locked(folder: Path) -> int | None:
    """The lock's file, open and locked; None where there are no locks."""
    path = folder / NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise OSError(
            f"{folder}: cannot be made and written to as a folder of a run ({error.strerror}); "
            f"choose another folder"
        ) from error
    try:
        if fcntl is None:
            raise OSError("the system has no flock")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        who = os.read(file, 200).decode(errors="replace") or "another process"
        os.close(file)
        raise BlockingIOError(
            f"{folder}: in use by {who}, which trains there; wait until it ends or stop it, or "
            f"choose another folder"
        ) from None
    except OSError as error:
        os.close(file)
        path.unlink(missing_ok=True)
        warnings.warn(
            f"{folder}: cannot be locked ({error}), so nothing keeps a second process from "
            f"training there at the same time; do not start one",
            stacklevel=5,
        )
        return None
    if not _is(file, path):  # its holder ended just now, and removed it
        os.close(file)
        return _locked(folder)
    os.ftruncate(file, 0)
    os.write(file, f"process {os.getpid()} on {socket.gethostname()}".encode())
    for part in folder.glob(".*.part"):
        if part.name.startswith((".checkpoint.", ".history.", ".settings.")):
            part.unlink(missing_ok=True)
    return file


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.lstat())
    except FileNotFoundError:
        return False


def _forget() -> None:
    """In a child: its copy of the file would keep the lock after the parent was killed."""
    while _held:
        _, file = _held.popitem()
        if file is not None:
            with suppress(OSError):
                os.close(file)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
