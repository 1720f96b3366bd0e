"""What a check found that is not a leaf's figures: one sentence, with a status."""

from dataclasses import dataclass
from typing import Literal, get_args

Status = Literal["FAIL", "note", "skipped", "pass"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True)
class Finding:
    """One line of a report."""

    check: str
    """Which check: `transformations`, `kinks`, ..."""
    about: str
    """What was looked at: `vmap`, `x = 0`, ..."""
    status: Status
    """`note` is worth knowing and no fault."""
    text: str
    """What was found, in a sentence."""


def first_line(error: BaseException) -> str:
    """An error as one line: its type and the first line that it says."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__
