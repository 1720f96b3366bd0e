"""The report's two tables: a row for each leaf, and a row for each thing that the further checks found."""

import re

from ..verdict.deviation import Deviation
from ..verdict.finding import Finding
from ..verdict.rows import Row
from .data import ReportData
from .grid import Column, Grid
from .words import figure, percent

SHOWN_ROWS = 24  # to stay on one screen; the dict has them all
STYLES = {"FAIL": "bold red", "not judged": "bold yellow"}
LEAF = 34  # characters that a leaf's name keeps, before a column is left out to make room for it
SHORTEST = 16  # and where no column is left to leave out
SHARE = re.compile(r"(\d+)(?=%)")
WORST = "worst in"
DROPPED = ("ulps", "max |error|", "shape", WORST)
"""What a narrow terminal does without, in this order."""


def leaves(report: ReportData, width: int | None = None) -> Grid:
    """The leaves, worst first. In `width` characters it leaves out columns: every implementation's figure, then more.

    None: all columns, and all rows, of which there are otherwise SHOWN_ROWS at most.
    """
    people, rows = report.implementations, report.rows if width is None else report.rows[:SHOWN_ROWS]
    first = [Column("leaf", [f"{row.check} {row.leaf}" for row in rows])]
    first.append(Column("shape", ["×".join(map(str, row.own_shape)) or "scalar" for row in rows]))
    each = [
        Column(_two_lines(who), [_cell(row.deviations.get(who)) for row in rows], right=True, name=who)
        for who in people
    ]
    worst = [row.worst[1] for row in rows]
    last = [
        Column("max\n|error|", [figure(each.max_abs) for each in worst], right=True),
        Column("at", [_at(row, each.index) for row, each in zip(rows, worst, strict=True)]),
        Column("ulps", [figure(each.ulps) for each in worst], right=True),
        Column("bound\nused", [percent(each.budget) for each in worst], right=True),
        Column("would\nnotice", [figure(row.floor) if row.floor else "any" for row in rows], right=True),
        Column("verdict", [row.verdict for row in rows]),
    ]
    styles = [STYLES.get(row.verdict, "") for row in rows]
    grid = Grid([*first, *each, *last], styles)
    if width is None or grid.width <= width:
        return grid
    who = [Column("worst\nin", [row.worst[0] for row in rows])] if len(people) > 1 else []
    grid = Grid([*first, *who, *last], styles)
    for title in (None, *DROPPED):
        grid = grid if title is None else grid.without([title])
        if _with_leaf(grid, LEAF).width <= width:
            return _with_leaf(grid, grid.columns[0].width - (grid.width - width))
    return _with_leaf(grid, max(SHORTEST, grid.columns[0].width - (grid.width - width)))


def _with_leaf(grid: Grid, room: int) -> Grid:
    """The same with the leaves' names in `room` characters."""
    column, *others = grid.columns
    return Grid([Column(column.title, [_middle_cut(cell, room) for cell in column.cells]), *others], grid.styles)


def findings(report: ReportData) -> Grid:
    """What failed, is worth knowing or was left out, a row each; what passed, a row per check."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    passed: dict[str, list[Finding]] = {}
    for finding in report.findings:
        if finding.status == "pass":
            passed.setdefault(finding.check, []).append(finding)
        else:
            grouped.setdefault((finding.check, finding.status, finding.text), []).append(finding.about)
    rows = [(check, ", ".join(abouts), status, text) for (check, status, text), abouts in grouped.items()]
    for check, found in passed.items():
        abouts = _shortened(", ".join(finding.about for finding in found), 60)
        rows.append((check, abouts, "pass", _shortened("; ".join(_distinct(found)), 150)))
    cells = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    least = {"check": 0, "of": 22, "verdict": 0, "found": 20}
    columns = [Column(title, cells[i], least=room) for i, (title, room) in enumerate(least.items())]
    return Grid(columns, [STYLES.get(status, "") for _, _, status, _ in rows], gap=2)


def _distinct(found: list[Finding]) -> list[str]:
    """What the findings say, once each: of those that differ in a share only, the one with the largest."""
    largest: dict[str, str] = {}
    for finding in found:
        kind = SHARE.sub("", finding.text)
        texts = [largest.get(kind, finding.text), finding.text]
        largest[kind] = max(texts, key=lambda text: [int(share) for share in SHARE.findall(text)])
    return list(largest.values())


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 4].rstrip(" ,;") + " ..."


def _middle_cut(text: str, room: int) -> str:
    """The text with its middle left out: a leaf's name says most at its ends."""
    if len(text) <= room:
        return text
    return f"{text[: (room - 1) // 2]}…{text[len(text) - room // 2 :]}"


def _at(row: Row, index: tuple[int, ...]) -> str:
    place, cotangent = row.own_index(index)
    shown = ",".join(map(str, place))
    return (shown if cotangent is None else f"{shown} c{cotangent}".strip()) or "-"


def _two_lines(who: str) -> str:
    head, _, tail = who.replace("jax.", "jax .").replace("nn.", "nn .").replace("_", " _").partition(" ")
    return f"{head}\n{tail}" if tail else head


def _cell(deviation: Deviation | None) -> str:
    return "-" if deviation is None else figure(deviation.relative) + (" !" if deviation.problem else "")
