"""A report as a plot: how much of its bound each sampled element's error takes, a row a leaf, as an SVG for a page."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..verdict.deviation import OUTSIDE
from ..verdict.rows import Row
from .data import ReportData
from .scale import Scale, share
from .words import NO_BOUND, percent

# At least 3.5:1 on white and on the page's dark ground; who is who is told by marker and place as well.
COLOURS = ("#2f7fe6", "#c96a00", "#1d9a5b", "#c850b0", "#0c93a6", "#8a6be8", "#94801c")
MARKERS = "so^vDP*X"
INK, BAD, UNSURE = "#010203", "#040506", "#070809"  # stand for the page's own colours, which differ in the dark
PAGE_COLOURS = {INK: "currentColor", BAD: "var(--bad)", UNSURE: "var(--unsure)"}
ROWS = 20
ORDER = {"FAIL": 0, "not judged": 1}  # from the top; the others below, and all worst first
WIDE, NARROW = 600, 270  # points: 800 and 360 pixels of a page
LONGEST = 44  # characters, of a leaf's own name
LINE = 12  # points, of text
LANE = 6  # points, one for each implementation
STYLE = {
    "svg.fonttype": "none",  # text stays text; DejaVu, by which it is laid out, is wider than what browsers have
    "svg.hashsalt": "pullback",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))
PROBLEMS = {"raised": "raised", "leaf is missing": "missing", "leaf is": "unknown", "shape": "shape", "dtype": "dtype"}


def as_svg(report: ReportData, label: str, narrow: bool = False) -> str:
    """The `<svg>` element, the same for the same report; empty if no leaf has figures. Raises without matplotlib.

    label: what it says to those who do not see it. narrow: for a page of a phone's width, each name above its row.
    """
    if not any(deviation.points for row in report.rows for deviation in row.deviations.values()):
        return ""
    text = io.StringIO()
    with plain_style():
        figure = figure_of(report, narrow)
        figure.savefig(text, format="svg", transparent=True, metadata=METADATA)
    svg = text.getvalue()
    for stand_in, colour in PAGE_COLOURS.items():
        svg = svg.replace(stand_in, colour)
    return svg[svg.index("<svg ") :].replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


@contextmanager
def plain_style() -> Iterator[None]:
    """The plot's own settings, whatever the user's are. Raises ImportError, saying what to install."""
    try:
        from matplotlib import style
    except ImportError as error:
        raise ImportError("the page's plot is drawn by matplotlib: pip install 'pullback[report]'") from error

    with warnings.catch_warnings(), style.context(["default", STYLE]):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in the font it is laid out by; the browser has others
        yield


def figure_of(report: ReportData, narrow: bool) -> Any:
    """The figure, to be drawn in plain_style: the rows that come off worst, those that fail at the top."""
    from matplotlib.figure import Figure

    rows = sorted(report.rows, key=lambda row: ORDER.get(row.verdict, len(ORDER)))[:ROWS]
    scale = Scale(share(*pair) for row in rows for deviation in row.deviations.values() for pair in deviation.points)
    places = [_place(row, narrow) for row in rows]
    height = sum(place.height for place in places)
    # Beside the rows: the words above them, the axis and the legend.
    figure = Figure(figsize=((NARROW if narrow else WIDE) / 72, (height + 90) / 72), layout="constrained")
    axes = figure.add_subplot()
    _ground(axes, scale, narrow)
    axes.set_ylim(height, 0)
    lanes: dict[str, list[tuple[float, Row]]] = {who: [] for who in report.implementations}
    top = 0.0
    for row, place in zip(rows, places, strict=True):
        bottom = top + place.height
        _words(axes, row, place.name, top + 3 if narrow else (top + bottom) / 2, narrow)
        # In a narrow plot neither the bound nor its far side runs through the names.
        start = top + place.text if narrow else top
        axes.fill_between([0, scale.limits[1]], start, bottom, color=BAD, alpha=0.08, linewidth=0)
        axes.plot([0, 0], [start, bottom], color=INK, linewidth=1.2)
        axes.axhline(bottom, color=INK, linewidth=0.5, alpha=0.25)
        present = [who for who in lanes if who in row.deviations and row.deviations[who].points]
        middle = (start + bottom) / 2
        for i, who in enumerate(present):
            lanes[who].append((middle + LANE * (i + 0.5 - len(present) / 2), row))
        top = bottom
    handles = [_lane(axes, scale, i, who, at) for i, (who, at) in enumerate(lanes.items())]
    _legend(figure, handles, [f" {_shortened(who, 40)}" for who in lanes])
    return figure


class _Place(NamedTuple):
    """What a row of the plot takes, in points."""

    name: list[str]
    text: float  # the height of its name
    height: float


def _place(row: Row, narrow: bool) -> _Place:
    name = _name(row, 24 if narrow else 32)
    text = LINE * len(name) + 4
    lanes = LANE * sum(bool(deviation.points) for deviation in row.deviations.values()) + 4
    return _Place(name, text, text + lanes if narrow else max(text, lanes) + 4)


def _ground(axes: Any, scale: Scale, narrow: bool) -> None:
    """The axis, and a word on either side of the bound."""
    ticks = scale.ticks(5 if narrow else 7)
    axes.set(xlim=scale.limits, xlabel="|error|, in times its bound", yticks=[])
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.spines[["top", "right", "left"]].set_visible(False)
    for column in scale.columns:
        axes.axvline(column, color=INK, linewidth=0.6, linestyle=":", alpha=0.5)
    for text, side, offset, colour in (("within", "right", -4, INK), ("outside", "left", 4, BAD)):
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": side, "color": colour}
        axes.annotate(text, (0, 1), (offset, 3), **where)


def _words(axes: Any, row: Row, name: list[str], at: float, narrow: bool) -> None:
    """The leaf's name at its row's left end, and how it comes off at its right."""
    colour = {"FAIL": BAD, "not judged": UNSURE}.get(row.verdict, INK)
    look = {"transform": axes.get_yaxis_transform(), "color": colour, "linespacing": 1.15}
    sides = [(0, "left"), (1, "right")] if narrow else [(-0.01, "right"), (1.02, "left")]
    for (x, side), text in zip(sides, ("\n".join(name), _outcome(row)), strict=True):
        axes.text(x, at, text, ha=side, va="top" if narrow else "center", **look)


def _lane(axes: Any, scale: Scale, number: int, who: str, at: list[tuple[float, Row]]) -> Any:
    """One implementation in all rows: a tick for each sampled element, and a marker for its worst."""
    thin, thick, worst = ([[], []] for _ in range(3))
    for middle, row in at:
        # Ticks that are less than a pixel apart are one.
        places = sorted({round(scale(share(*pair)), 2) for pair in row.deviations[who].points})
        for place in places:
            x, y = thick if place > 0 else thin
            x += [place, place, math.nan]
            y += [middle - 0.35 * LANE, middle + 0.35 * LANE, math.nan]
        worst[0].append(places[-1])
        worst[1].append(middle)
    colour = COLOURS[number % len(COLOURS)]
    axes.plot(*thin, color=colour, linewidth=0.7)
    axes.plot(*thick, color=colour, linewidth=1.4)
    look = {"marker": MARKERS[number % len(MARKERS)], "linestyle": "none", "color": colour, "markeredgewidth": 0}
    (drawn,) = axes.plot(*worst, **look, markersize=5.5, clip_on=False, zorder=3)
    drawn.set_in_layout(False)  # one without a point would count as one in the corner
    return drawn


def _legend(figure: Any, handles: list[Any], names: list[str]) -> None:
    """Below the plot, in as many columns as there is room for."""
    for columns in range(len(names), 0, -1):
        # The space: matplotlib leaves labels that begin with _ out.
        place = {"loc": "outside lower center", "frameon": False, "columnspacing": 1.2, "handletextpad": 0.1}
        legend = figure.legend(handles, names, ncols=columns, **place)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            return
        legend.remove()


def _name(row: Row, most: int) -> list[str]:
    """A leaf's name in a line, or in two: its check, and the end of its own name, by which it differs from others."""
    check, leaf = (" ".join(text.split()) for text in (row.check, row.leaf))
    sign = {"FAIL": "✗ ", "not judged": "? "}.get(row.verdict, "")
    whole = f"{sign}{check} {leaf}"
    if len(whole) <= most:
        return [whole]
    return [_shortened(sign + check, most), leaf if len(leaf) <= LONGEST else f"…{leaf[1 - LONGEST :]}"]


def _outcome(row: Row) -> str:
    """How much of its bound the worst element uses, and whose it is if it is wrong."""
    who, worst = row.worst
    if worst.problem is None:
        return percent(worst.budget) if row.verdict == "pass" else row.verdict
    named = [word for start, word in PROBLEMS.items() if worst.problem.startswith(start)]
    said = percent(worst.budget) if worst.budget < NO_BOUND else "∞"
    return f"{_shortened(who, 13)} {said if worst.problem == OUTSIDE else [*named, 'not finite'][0]}"


def _shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
