"""The report: the verdict, and how it is shown in a terminal, as text, in a notebook and as a page."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import text
from .data import ReportData


class ParityError(AssertionError):
    """The report says no: its text is the message, and `report` is the report itself."""

    def __init__(self, report: Any):
        super().__init__(f"\n{report}")
        self.report = report


@dataclass(frozen=True, repr=False)
class Report(ReportData):
    """What was compared, each leaf's figures, and the verdict."""

    def raise_if_failed(self) -> None:
        """Raises ParityError, an AssertionError that shows the report, unless it is ok."""
        if not self.ok:
            raise ParityError(self)

    def to_html(self) -> str:
        """One self-contained HTML page, with a plot; without matplotlib it says in the plot's place what to install."""
        from .page import as_page

        return as_page(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        """The report with colours: rich calls this, and who has no rich never does."""
        from rich.text import Text

        yield from (Text(line.text, line.style) for line in text.lines(self, options.max_width))

    def __str__(self) -> str:
        return text.as_text(self)

    def __repr__(self) -> str:
        return f"<Report {text.verdict(self)} print(report) shows the table>"

    def _repr_html_(self) -> str:
        return text.as_html_fragment(self)
