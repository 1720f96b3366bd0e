"""A table as lines of text: columns side by side, cells broken over several lines where there is no room."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import NamedTuple

GAP = 1  # spaces between two columns


class Line(NamedTuple):
    """A line of text and how it looks where there are colours: words like `bold red`, or none."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Column:
    """A title and cells of text."""

    title: str  # \n in it breaks it over lines in a terminal
    cells: list[str] = field(default_factory=list)
    right: bool = False  # whether it is set flush right, as figures are
    least: int = 0  # the characters that it keeps where there is no room; 0: all, its cells are never broken
    name: str = ""  # what it is called elsewhere, where that is not its title

    @property
    def width(self) -> int:
        """The characters of its widest line."""
        return max(len(line) for text in (self.title, *self.cells) for line in text.split("\n"))

    @property
    def plain_title(self) -> str:
        """Its name, or the title in one line."""
        return self.name or " ".join(self.title.split())


@dataclass(frozen=True)
class Grid:
    """Columns of equal length, and a style for each row."""

    columns: list[Column]
    styles: list[str] = field(default_factory=list)
    gap: int = GAP

    @property
    def width(self) -> int:
        """The characters that it needs with no cell broken."""
        return _total([column.width for column in self.columns], self.gap)

    @property
    def rows(self) -> Iterator[tuple[str, ...]]:
        """The cells, row by row."""
        return zip(*(column.cells for column in self.columns), strict=True)

    def without(self, titles: Sequence[str]) -> "Grid":
        """The same with no column of these titles."""
        return Grid([column for column in self.columns if column.plain_title not in titles], self.styles, self.gap)

    def lines(self, width: int) -> Iterator[Line]:
        """The table in at most `width` characters, as far as its columns that may be broken allow that."""
        widths = _fitted(self.columns, width, self.gap)
        heights = [column.title.count("\n") for column in self.columns]
        titles = ["\n" * (max(heights) - height) + c.title for c, height in zip(self.columns, heights, strict=True)]
        yield from self._lines(titles, widths, "bold")
        for row, style in zip(self.rows, self.styles, strict=True):
            yield from self._lines(row, widths, style)

    def _lines(self, cells: Sequence[str], widths: list[int], style: str) -> Iterator[Line]:
        broken = [_broken(cell, room) for cell, room in zip(cells, widths, strict=True)]
        for parts in zip_longest(*broken, fillvalue=""):
            padded = [
                part.rjust(room) if column.right else part.ljust(room)
                for part, room, column in zip(parts, widths, self.columns, strict=True)
            ]
            yield Line((" " * self.gap).join(padded).rstrip(), style)


def _broken(cell: str, room: int) -> list[str]:
    """The cell's lines. A word is broken only where it is longer than the column."""
    lines = []
    for line in cell.split("\n"):
        lines += [line] if len(line) <= room else textwrap.wrap(line, room, break_on_hyphens=False)
    return lines


def _fitted(columns: Sequence[Column], width: int, gap: int) -> list[int]:
    """The columns' widths: those that may be broken give way, from left to right."""
    widths = [column.width for column in columns]
    for i, column in enumerate(columns):
        too_many = _total(widths, gap) - width
        if column.least and too_many > 0:
            widths[i] = max(min(column.least, widths[i]), widths[i] - too_many)
    return widths


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)
