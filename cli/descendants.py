"""The processes that a process started: found, and ended with it."""

import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path


def descendants(process: int) -> list[int]:
    """The processes that this one started, and those that they started; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            parent = int(file.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(file.parent.name))
    found = list(children.get(process, ()))
    for each in found:  # which grows as it goes
        found += children.get(each, ())
    return found


def end(processes: Iterable[int]) -> None:
    """At once; those that are gone already are no error."""
    for process in processes:
        send(process, signal.SIGKILL)


def send(process: int, number: int) -> None:
    """Sends a signal, if the process is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)
