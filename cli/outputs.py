"""A report, delivered: printed, and written into the files that were asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pullback.files import write_whole
from pullback.signals import tidily

from .terminal import refuse, show
from .watching import tell

if TYPE_CHECKING:
    from pullback.parity import ModelReport, Report


def deliver(
    report: "Report | ModelReport",
    json_file: Path | None,
    html_file: Path | None,
    save: Callable[[], str] | None = None,
) -> None:
    """Each of them, whatever becomes of the others; ends the command if one of them failed.

    save: saves the run; why it could not, in words, or "".
    """
    problems = [show(report)]
    if save is not None:
        tell("at", "saving the run")
        problems.append(save())
    problems.append(_write("--json", json_file, lambda: json.dumps(report.to_dict(), indent=1, allow_nan=False) + "\n"))
    problems.append(_write("--html", html_file, report.to_html))
    if said := [problem for problem in problems if problem]:
        refuse("; ".join(said))


def _write(option: str, file: Path | None, text: Callable[[], str]) -> str:
    if file is None:
        return ""
    tell("at", f"writing {file}")
    try:
        with tidily():
            write_whole(file, text())
    except OSError as error:
        return f"{option}: cannot write {file}: {error.strerror}"
    return ""
