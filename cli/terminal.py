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
from rich.markup import escape

from pullback.data import SampleDataWarning

from .files import cannot_be_written


def refuse(message: object) -> NoReturn:
    """Ends the command with exit code 2 and one sentence."""
    typer.echo(f"pullback: {message}", err=True)
    raise typer.Exit(2)


def leave(message: object) -> NoReturn:
    """As `refuse`, but at once: jax, leaving as usual, would wait for a process that is gone, and then abort."""
    typer.echo(f"pullback: {message}", err=True)
    sys.stderr.flush()
    os._exit(2)


def refuse_unwritable(files: dict[str, Path | None]) -> None:
    """Ends the command if the file of an option, `--json` say, cannot be written."""
    for option, file in files.items():
        problem = None if file is None else cannot_be_written(file)
        if problem:
            refuse(f"{option}: {problem}")


def console(width: int = 116) -> Console:
    """Where reports are printed: as wide as the terminal, or as COLUMNS says; in a file or a pipe, `width`."""
    return Console(width=None if sys.stdout.isatty() else shutil.get_terminal_size((width, 24)).columns)


@contextlib.contextmanager
def progress() -> Iterator[None]:
    """Shows on a terminal what a check is at; it is gone when the check is done. In a file or a pipe: nothing."""
    if not sys.stderr.isatty():
        yield
        return
    from pullback.parity.case.progress import listening

    with (
        Console(stderr=True).status("loading jax and the data") as status,
        listening(lambda what: status.update(escape(what))),
    ):
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
                    typer.echo(f"note: {warning.message}", err=True)
                else:
                    text = warnings.formatwarning(warning.message, warning.category, warning.filename, warning.lineno)
                    typer.echo(text, err=True)
