"""``python -m vaelib train`` and the commands that use what was trained: see `vaelib.cli`."""

import io
import os
import signal
import sys


def _stop(*_: object) -> None:
    """End at once: an exception might be taken for another by what is being imported."""
    os.write(2, b"vaelib: stopped\n")
    os._exit(130)


if __name__ == "__main__":
    interrupt = signal.getsignal(signal.SIGINT)
    if interrupt is not signal.SIG_IGN:  # a shell's job in the background
        signal.signal(signal.SIGINT, _stop)
    from vaelib.cli import main  # here, because it imports torch, which takes seconds

    signal.signal(signal.SIGINT, interrupt)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal can show ± or a file's name
            stream.reconfigure(errors="backslashreplace")
    try:
        code = main()
    except KeyboardInterrupt:  # a second one, while the first was being told
        _stop()
    finally:
        try:
            print(end="", flush=True)
        except OSError:  # nobody reads it; Python would try again, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    sys.exit(code)
