"""How a signal ends a command: with its children and its half-written files, and with 130, 143 or 129, as shells say.

Outside of `tidily` there is nothing to take along, and the process ends at once, in the midst of a compilation too: a
thread waits for the signal, for Python's own handlers run only when C++ has returned. Inside of it, `Ended` is raised
in the main thread, so that what is open is closed; if that takes too long, the thread ends the process all the same.
"""

import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from typing import Any, ClassVar, NoReturn

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
SECONDS = 3.0
"""So long may it take to leave tidily."""


class Ended(BaseException):
    """A signal has come. No command catches it: it closes what it passes through."""


class _State:
    """Of this process."""

    listening = False
    received: int | None = None
    """The signal that ends it."""
    tidying: tuple[float, ...] = ()
    """Each `tidily` that it is in: how long leaving it may take."""
    folders: ClassVar[set[str]] = set()
    """To remove."""


@contextlib.contextmanager
def ends_on_signals() -> Iterator[None]:
    """A signal ends the process from now on; a command runs inside. One that is ignored, as under nohup, stays so."""
    listen()
    try:
        yield
    except Ended:
        pass
    finally:
        if _State.received is not None:  # also where somebody has caught Ended
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            _leave(_State.received)


def listen() -> None:
    """Takes the signals over. Once, and in the main thread."""
    if _State.listening or threading.current_thread() is not threading.main_thread():
        return
    _State.listening = True
    wakeup, wake = os.pipe()
    os.set_blocking(wake, False)
    for number in SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _in_the_main_thread)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(wakeup,), daemon=True).start()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def tidily(seconds: float = SECONDS) -> Iterator[None]:
    """For work that leaves something behind if it is cut off: a child, a temporary file."""
    before = _State.tidying
    _State.tidying = (*before, seconds)
    try:
        yield
    finally:
        _State.tidying = before


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder that a signal removes, even where Python does not come to it."""
    folder = os.path.join(tempfile.gettempdir(), f"pullback-{os.getpid()}-{secrets.token_hex(8)}")
    _State.folders.add(folder)
    try:
        os.mkdir(folder, 0o700)
        with tidily():
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _State.folders.discard(folder)


def end_with_standard_input() -> None:
    """Ends this process when its standard input does: whoever started it has closed it, or is gone, by SIGKILL say."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        if _State.received is None:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()


def _in_the_main_thread(number: int, _frame: Any) -> None:
    if not _State.tidying:
        _leave(number)
    if _State.received is None:
        _State.received = number
        # Where it goes no further, in a destructor or in C that imports something, a traceback would be printed.
        sys.unraisablehook = sys.excepthook = _say_nothing
        raise Ended


def _watch(wakeup: int) -> None:
    """In a thread of its own: reads the numbers of the signals that come. A second one ends the process at once."""
    leaving = False
    while True:
        for number in os.read(wakeup, 1):
            if number not in SIGNALS:
                continue
            if leaving or not _State.tidying:
                _leave(number)
            leaving = True
            late = threading.Timer(max(_State.tidying), _leave, [number])
            late.daemon = True
            late.start()


def _leave(number: int) -> NoReturn:
    for folder in [*_State.folders] * 3:  # the main thread may still be writing into it
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError, ValueError):
        if os.isatty(2):
            os.write(2, b"\r\x1b[2K\x1b[?25h")  # the line of the progress bar is gone, and the cursor there
    os._exit(128 + number)


def _say_nothing(*_: Any) -> None:
    pass


def _forget() -> None:
    """In a fork: signals are not for its parent's thread."""
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if signal.getsignal(number) is _in_the_main_thread:
            signal.signal(number, signal.SIG_DFL)
