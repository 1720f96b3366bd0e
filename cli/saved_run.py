"""`--replay`: a saved run again, once the user has allowed the functions that its file names."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .by_name import make_importable
from .terminal import progress, refuse

if TYPE_CHECKING:
    from pullback.parity import Report
    from pullback.parity.case.saved_run import SavedRun


def replay_as_allowed(file: Path, allow: Sequence[str]) -> "Report":
    """The report of the run in `file`. On a terminal, asks for what is not allowed; else refuses, and says how to.

    Nothing is imported before it is allowed, and without anything allowed the current folder stays off the path.
    Raises CapsuleError, and ValueError for what `--allow` cannot be.
    """
    from pullback.parity.capsule import replay_run
    from pullback.parity.case.saved_names import NotAllowed, as_modules
    from pullback.parity.case.saved_run import read_run

    run, modules = read_run(file), as_modules(allow)
    while True:
        if modules:
            make_importable()
        try:
            with progress():
                return replay_run(run, modules)
        except NotAllowed as error:
            modules = (*modules, *error.modules)
            _ask(run, file, str(error), modules)


def replay_command(file: Path, modules: Iterable[str]) -> str:
    """What to type for a replay of `file` in which these modules are allowed."""
    return " ".join([f"pullback parity --replay {shlex.quote(str(file))}", *(f"--allow {each}" for each in modules)])


def _ask(run: "SavedRun", file: Path, missing: str, modules: Sequence[str]) -> None:
    """Returns if the user agrees, on a terminal. Ends the command if not, or where nobody can be asked."""
    width = max(map(len, run.named))
    lines = [
        f"{file} names these functions, and a replay imports and calls them:",
        *(f"  {role:<{width}}  {name}" for role, name in run.named.items()),
        f"Not allowed so far: {missing}. To import a module is to run its code.",
    ]
    typer.echo("\n".join(lines), err=True)
    try:
        agreed = _is_terminal() and typer.confirm("Do you trust these, and shall they run?", default=False, err=True)
    except typer.Abort:  # the input has ended
        agreed = False
    if not agreed:
        refuse(f"they were not run. If you trust them: {replay_command(file, modules)}")


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
