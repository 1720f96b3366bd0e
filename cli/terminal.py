"""What the commands say: reports on stdout, notes and refusals on stderr."""

import contextlib
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from pullback.data import DataError, SampleDataWarning
from pullback.files import cannot_be_written
from pullback.names import printable
from pullback.signals import Ended

from .ending import COULD_NOT_RUN, print_no_more, say
from .watching import tell

LOADING = "loading jax and the data"


def refuse(message: object) -> NoReturn:
    """Ends the command with exit code 2 and one sentence."""
    say(message)
    raise typer.Exit(COULD_NOT_RUN)


def leave(message: object) -> NoReturn:
    """As `refuse`, but at once: jax, leaving as usual, would wait for a process that is gone, and then abort."""
    say(message)
    tell("code", str(COULD_NOT_RUN))
    os._exit(COULD_NOT_RUN)


def note(message: object) -> None:
    """What is worth knowing beside the report, in one line on standard error."""
    typer.echo(f"note: {printable(str(message))}", err=True)


def refuse_unwritable(files: dict[str, Path | None]) -> None:
    """Ends the command if the file of an option, `--json` say, cannot be written."""
    for option, file in files.items():
        problem = None if file is None else cannot_be_written(file)
        if problem:
            refuse(f"{option}: {problem}")


def console(width: int = 116) -> Console:
    """Where reports are printed: as wide as the terminal, or as COLUMNS says; in a file or a pipe, `width`."""
    columns = None if sys.stdout.isatty() else shutil.get_terminal_size((width, 24)).columns
    return _Screen(width=columns, markup=False, emoji=False)  # names are text, `[bold]` and `:x:` too


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """A reader that wants no more is no mismatch, which rich's exit code would say."""
        raise BrokenPipeError


def show(shown: object) -> str:
    """Prints it; why it could not be printed, in words, or "". That its reader has left is no reason."""
    try:
        console().print(shown)
        sys.stdout.flush()
    except BrokenPipeError:
        print_no_more()
    except OSError as error:
        print_no_more()
        return f"the report cannot be printed: {error.strerror}"
    return ""


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Shows on a terminal what a check is at; it is gone when the check is done. In a file or a pipe: nothing.

    The process that watches this one, if there is one, hears it in any case.
    """
    tell("at", LOADING)
    spinner = Spinner("dots", Text(LOADING))
    live = Live(spinner, console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None
    with live or contextlib.nullcontext():
        from pullback.parity.case.progress import listening

        def heard(what: str) -> None:
            tell("at", what)
            if live is not None:
                spinner.update(text=Text(printable(what)))
                live.refresh()  # now: C code may keep the thread that does it from running

        with listening(heard):
            yield


@contextlib.contextmanager
def plain_notes() -> Iterator[None]:
    """Prints what the data layer warns of as one plain line, whether the command goes on or gives up."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SampleDataWarning)
        try:
            yield
        finally:
            for warning in caught:
                if issubclass(warning.category, SampleDataWarning):
                    note(warning.message)
                else:
                    text = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
                    typer.echo(text, err=True)


@contextlib.contextmanager
def no_way_round() -> Iterator[None]:
    """What the libraries refuse is one sentence. What the user's code raises that is no Exception is no exit code."""
    try:
        yield
    except (ConnectionError, DataError, ImportError, NotImplementedError, TypeError, ValueError) as error:
        refuse(error)
    except (Ended, Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        from pullback.parity.verdict.finding import first_line

        refuse(f"the code under test raised {first_line(error)}, so nothing is judged")
