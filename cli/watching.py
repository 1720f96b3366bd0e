"""Two processes, where a command runs the user's own code: one works, and one watches it.

That code may hang, in C too, where no thread of its process can stop it; it may crash, or leave by `os._exit(0)`. The
process that watches ends it at its time limit, and says what happened; a verdict is only what the other one told it.
"""

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pullback.names import printable

from .descendants import descendants, end, send
from .ending import COULD_NOT_RUN, say

OPTIONS = ("--rule", "--model", "--replay", "--timeout")
GRACE = 3.0  # seconds, from asking a process to end to ending it
POLL = 0.05  # seconds


def runs_code_of_the_user(arguments: list[str]) -> bool:
    """Whether a command line asks for that, or for a time limit, and this system and process can be watched.

    A process that has loaded jax cannot be forked: that of `python -m pullback.parity` is not watched.
    """
    asked = {argument.partition("=")[0] for argument in arguments}
    can = hasattr(os, "fork") and "jax" not in sys.modules
    return can and arguments[:1] == ["parity"] and not asked.isdisjoint(OPTIONS)


def watched(work: Callable[[], int]) -> int:
    """Runs `work` in a process of its own. Its exit code; 2, and a sentence, if it ended without saying one.

    The process that works returns from this too.
    """
    here, there = socket.socketpair()
    worker = os.fork()
    if worker:
        there.close()
        return _Watch(worker, here).until_it_ends()
    here.close()
    _worker.line = there
    threading.Thread(target=_leave_with_the_watcher, args=(there,), daemon=True).start()
    code = work()
    tell("left", " ".join(map(str, descendants(os.getpid()))))
    tell("code", str(code))
    return code


@dataclass
class _Worker:
    """What the process that works knows."""

    line: socket.socket | None = None  # to the one that watches, if there is one
    at: str = "starting"


_worker = _Worker()


def tell(kind: str, text: str) -> None:
    """Tells the process that watches, if there is one.

    kind: `at`, what is done now; `limit`, in seconds; `left`, the processes that are to end with this one; `code`.
    """
    if kind == "at":
        _worker.at = text
    if _worker.line is not None:
        with contextlib.suppress(OSError):
            _worker.line.sendall(f"{kind} {printable(text)}\n".encode())


@contextlib.contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """While this lasts: where a process watches, that one ends this one in time, and else a thread of this one does.

    The thread cannot where C code keeps all threads waiting.
    """
    if seconds is None:
        yield
    elif _worker.line is not None:
        tell("limit", str(seconds))
        yield
    else:
        timer = threading.Timer(seconds, _leave_late, [seconds])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def _leave_late(seconds: float) -> None:
    say(_late(seconds, _worker.at))
    end(descendants(os.getpid()))
    os._exit(COULD_NOT_RUN)


def _leave_with_the_watcher(line: socket.socket) -> None:
    with contextlib.suppress(OSError):
        line.recv(1)  # it never says anything: this returns when it is gone
    end(descendants(os.getpid()))
    os._exit(COULD_NOT_RUN)


def _late(seconds: float, at: str) -> str:
    return f"not done after {seconds:g} s, the --timeout; it was at: {at}. Nothing is judged"


@dataclass
class _Watch:
    """The process that watches."""

    worker: int
    line: socket.socket
    start: float = field(default_factory=time.monotonic)
    at: str = "starting"
    limit: float | None = None
    code: int | None = None
    """What the worker says that its exit code is."""
    signals: list[int] = field(default_factory=list)
    """Those that came to this process; the last one came at `signalled`."""
    signalled: float = 0.0
    is_over: bool = False
    """Whether the worker has no more time."""
    to_end: set[int] = field(default_factory=set)
    """Processes that must not be left."""
    _rest: bytes = b""

    def until_it_ends(self) -> int:
        """The exit code."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._signal)
        while (status := self._status()) is None:
            self._listen(POLL)
            self._pass_interrupt_on()
            late = self.limit is not None and time.monotonic() - self.start > self.limit
            unheard = self.signals[-1:] not in ([], [signal.SIGINT]) and self._since_signal() > GRACE
            if late or unheard or self.is_over:
                self._end_all()
        self._listen(0)  # what it said last
        end(self.to_end - {self.worker})
        if self.signals and (self.code is None or self.signals[-1] != signal.SIGINT):
            return 128 + self.signals[-1]
        if self.code is not None:
            return self.code
        if self.is_over:
            say(_late(self.limit or 0, self.at))
        else:
            how = f"by {signal.Signals(-status).name}" if status < 0 else f"with code {status}, by os._exit or the like"
            say(f"the process that checks was ended {how}; it was at: {self.at}. Nothing is judged")
        return COULD_NOT_RUN

    def _status(self) -> int | None:
        """The worker's exit code, negative for a signal; None while it runs."""
        ended, status = os.waitpid(self.worker, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None

    def _listen(self, seconds: float) -> None:
        while select.select([self.line], [], [], seconds)[0]:
            try:
                said = self.line.recv(4096)
            except ConnectionError:
                said = b""
            if not said:
                time.sleep(seconds / 5)  # it has closed its end, and is gone in a moment
                return
            *lines, self._rest = (self._rest + said).split(b"\n")
            for line in lines:
                self._hear(*line.decode().split(" ", 1))
            seconds = 0

    def _hear(self, kind: str, text: str) -> None:
        if kind == "at":
            self.at = text
        elif kind == "limit":
            self.limit = float(text)
        elif kind == "left":
            self.to_end |= set(map(int, text.split()))
        else:
            self.code = int(text)

    def _signal(self, number: int, _frame: object) -> None:
        """Passes it on, but for Ctrl-C, which a terminal has sent to the worker too: the second in a row ends it."""
        if number == signal.SIGINT:
            if self.signals[-1:] == [number] and self._since_signal() < GRACE:
                self._end_all()
        else:
            self._send(number)
        self.signals.append(number)
        self.signalled = time.monotonic()

    def _since_signal(self) -> float:
        return time.monotonic() - self.signalled

    def _pass_interrupt_on(self) -> None:
        """To a worker that did not have it: outside a terminal, this process may be the only one that has."""
        if self.signals == [signal.SIGINT] and not self.to_end and self._since_signal() > 1 and not sys.stdin.isatty():
            self._send(signal.SIGINT)

    def _send(self, number: int) -> None:
        """To the worker, and then to what it started; a worker that is interrupted tells these itself, or they end."""
        started = descendants(self.worker)
        self.to_end |= {self.worker, *started}
        for process in [self.worker, *(started if number != signal.SIGINT else ())]:
            send(process, number)

    def _end_all(self) -> None:
        if not self.is_over and sys.stderr.isatty():  # where the worker may have hidden the cursor
            sys.stderr.write("\r\x1b[2K\x1b[?25h")
        self.is_over = True
        self._send(signal.SIGKILL)
