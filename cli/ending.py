"""How a command ends: with its own exit code, and never with 0 or 1 by chance: what could not run is 2.

Only the standard library is imported here: `main` uses it before anything else is loaded.
"""

import codecs
import contextlib
import os
import sys
import traceback
from collections.abc import Callable

from pullback.names import printable

COULD_NOT_RUN, INTERRUPTED, NOBODY_READS = 2, 130, 141  # the last two as a shell says them of SIGINT and SIGPIPE
PLAIN = {"×": "x", "→": ">", "✗": "x", "✓": "v", "…": "~", "≥": ">", "≤": "<", "µ": "u", "√": "v", "³": "3", "·": "."}
"""What is printed in an encoding that has not the character: one character for one, so that tables stay straight."""


def say(message: object) -> None:
    """One sentence on standard error, in one line; lost if that is closed or full."""
    text = " ".join(line.strip() for line in str(message).splitlines())
    with contextlib.suppress(AttributeError, OSError, ValueError):
        sys.stderr.write(f"pullback: {printable(text)}\n")
        sys.stderr.flush()


def ended(command: Callable[[], object]) -> int:
    """The exit code of `command`, which may return one, or leave by SystemExit or an error.

    An error that is none of the environment's is a mistake in pullback: its traceback is printed, and the code is 2 all
    the same, for 1 would say that a gradient is wrong.
    """
    closed = sys.stdout is None
    open_what_is_closed()
    if closed:
        say("standard output is closed, so nothing can be printed; send it to /dev/null to do without")
        return COULD_NOT_RUN
    _print_in_any_encoding()
    try:
        code = command()
        sys.stdout.flush()
    except SystemExit as left:
        code = left.code
    except (KeyboardInterrupt, OSError) as error:
        code = code_of(error)
    except Exception:
        traceback.print_exc()
        say("this is a mistake in pullback, and no verdict; please report it, with the lines above")
        code = COULD_NOT_RUN
    return _flushed(code if isinstance(code, int) else COULD_NOT_RUN if code else 0)


def code_of(error: KeyboardInterrupt | OSError) -> int:
    """The exit code, once the sentence is said; a reader that wants no more (`| head`) needs none."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        print_no_more()
        return NOBODY_READS
    what = "" if error.filename is None else f"{error.filename}: "
    say(f"{what or 'cannot write: '}{error.strerror or error}")
    return COULD_NOT_RUN


def print_no_more() -> None:
    """From now on, and when Python ends, what is still to be printed goes nowhere."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        print_no_more()
    except OSError as error:
        say(f"standard output cannot be written: {error.strerror}")
        print_no_more()
        return COULD_NOT_RUN
    return code


def open_what_is_closed() -> None:
    """Standard input, output and error lead somewhere: else the next file that is opened would take their place."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def _print_in_any_encoding() -> None:
    codecs.register_error("pullback.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # one that somebody put in its place
            stream.reconfigure(errors="pullback.plain")  # pyright: ignore[reportAttributeAccessIssue]


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end
