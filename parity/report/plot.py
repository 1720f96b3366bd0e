"""A report as a plot: each sampled element's error against its bound, as an SVG that stands in an HTML page."""

import io
import math
import warnings
from collections.abc import Sequence
from typing import Any

from .data import ReportData

# At least 3.5:1 on white and on the page's dark ground; who is who is told by the marker as well.
COLOURS = ("#2f7fe6", "#c96a00", "#1d9a5b", "#c850b0", "#0c93a6", "#8a6be8", "#94801c")
MARKERS = "so^vDP*X"
INK = "#010203"  # becomes the colour of the text around the plot, light or dark
ANNOTATED = 8
DECADES = 30
STYLE = {
    "svg.fonttype": "none",  # text stays text; DejaVu, by which it is laid out, is wider than what browsers have
    "svg.hashsalt": "pullback",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "text.parse_math": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def as_svg(report: ReportData, label: str) -> str:
    """The `<svg>` element, the same for the same report; empty if no leaf has figures. Raises without matplotlib.

    label: what it says to those who do not see it.
    """
    try:
        from matplotlib import style
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("the page's plot is drawn by matplotlib: pip install 'pullback[report]'") from error

    points = [pair for row in report.rows for deviation in row.deviations.values() for pair in deviation.points]
    if not points:
        return ""
    bounds, errors = map(list, zip(*points, strict=True))
    # All bounds are on the errors' axis as well: the line error = bound is then never out of sight.
    x, y = _Scale(bounds), _Scale([*errors, *(bound for bound in bounds if 0 < bound < math.inf)])
    text = io.StringIO()
    with warnings.catch_warnings(), style.context(["default", STYLE]):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in the font it is laid out by; the browser has others
        figure = Figure(figsize=(7, 5.4), layout="constrained")
        _draw(figure, report, x, y)
        figure.savefig(text, format="svg", transparent=True, metadata=METADATA)
    svg = text.getvalue().replace(INK, "currentColor")
    return svg[svg.index("<svg ") :].replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


class _Scale:
    """log10, with a place of its own for 0, below all numbers, and one for inf and NaN, above.

    What lies DECADES below the largest is drawn as 0: a bound of 1e-308, which is room for an underflow and no more,
    would press all other points into a corner.
    """

    def __init__(self, values: Sequence[float]):
        logs = [math.log10(value) for value in values if 0 < value < math.inf] or [0]
        self.high = math.ceil(max(logs))
        self.low = math.floor(min(log for log in logs if log >= self.high - DECADES))
        self.zero, self.infinite = self.low - 1, self.high + 1
        self.has_zero = 0 in values or min(logs) < self.low
        self.has_infinite = not all(map(math.isfinite, values))

    def __call__(self, value: float) -> float:
        if not math.isfinite(value):
            return float(self.infinite)
        log = math.log10(value) if value else -math.inf
        return log if log >= self.low else float(self.zero)

    @property
    def limits(self) -> tuple[float, float]:
        return self.low - 0.3 - self.has_zero, self.high + 0.3 + self.has_infinite

    @property
    def ticks(self) -> dict[int, str]:
        step = -(-(self.high - self.low + 1) // 8)
        ticks = {power: f"1e{power}" for power in range(self.low, self.high + 1, step)}
        ends = {self.zero: "0"} if self.has_zero else {}
        return ends | ticks | ({self.infinite: "∞ or NaN"} if self.has_infinite else {})


def _draw(figure: Any, report: ReportData, x: _Scale, y: _Scale) -> None:
    axes = figure.add_subplot()
    axes.set(xlabel="bound", ylabel="|error|", xlim=x.limits, ylim=y.limits)
    axes.set_xticks(list(x.ticks), list(x.ticks.values()))
    axes.set_yticks(list(y.ticks), list(y.ticks.values()))
    axes.spines[["top", "right"]].set_visible(False)
    for scale, line in ((x, axes.axvline), (y, axes.axhline)):
        if scale.has_zero:
            line(scale.zero, color=INK, linewidth=0.6, linestyle=":", alpha=0.5)
    _diagonal(axes, x, y)
    handles = []
    for i, who in enumerate(report.implementations):
        deviations = [row.deviations[who] for row in report.rows if who in row.deviations]
        pairs = sorted({pair for deviation in deviations for pair in deviation.points}, key=repr)
        look = {"marker": MARKERS[i % len(MARKERS)], "color": COLOURS[i % len(COLOURS)]}
        look |= {"linestyle": "none", "markerfacecolor": "none", "markeredgewidth": 0.7}
        # Hollow, each one smaller: where several have the same error, the later sits inside the earlier.
        size = max(11 * 0.75**i, 2.5)
        thin, thick = {"markersize": 0.7 * size}, {"markersize": size, "markeredgewidth": 1.6}
        for outside, weight in ((False, thin), (True, thick)):
            drawn = [(x(bound), y(error)) for bound, error in pairs if _is_outside((bound, error)) is outside]
            axes.plot([at for at, _ in drawn], [at for _, at in drawn], **(look | weight))
        handles += axes.plot([], [], **look, markersize=8)
    # The space: matplotlib leaves labels that begin with _ out.
    names = [f" {_shortened(who, 40)}" for who in report.implementations]
    columns = 3 if max(map(len, names)) < 20 else 1
    title = "thin: within its bound. thick: outside."
    figure.legend(handles, names, loc="outside lower center", ncols=columns, frameon=False, title=title)
    _annotate(axes, report, x, y)


def _diagonal(axes: Any, x: _Scale, y: _Scale) -> None:
    """The line error = bound, with its name along it; none if every bound is 0."""
    low, high = max(x.low, y.low) - 0.3, min(x.high, y.high) + 0.3
    if low >= high:
        return
    axes.plot([low, high], [low, high], color=INK, linewidth=1.2)
    at = low + 0.5 * (high - low)
    where = {"rotation": 45, "rotation_mode": "anchor", "transform_rotates_text": True, "ha": "center"}
    above = at + 0.015 * (y.limits[1] - y.limits[0])
    axes.text(at, above, "error = bound (above: FAIL)", va="bottom", **where)


def _annotate(axes: Any, report: ReportData, x: _Scale, y: _Scale) -> None:
    """Names the worst leaves outside their bound, in a column beside the plot, so that no two names overlap."""
    worst = []
    for row in report.rows:
        outside = [pair for deviation in row.deviations.values() for pair in deviation.points if _is_outside(pair)]
        if outside and len(worst) < ANNOTATED:
            bound, error = max(outside, key=lambda pair: y(pair[1]) - x(pair[0]))
            worst.append((y(error), x(bound), _shortened(f"{row.check} {row.leaf}", 24)))
    gap, top = 0.06, 1.0
    line = {"arrowstyle": "-", "color": INK, "linewidth": 0.6, "alpha": 0.6}
    low, high = y.limits
    for left, (at_y, at_x, name) in zip(reversed(range(len(worst))), sorted(worst, reverse=True), strict=True):
        top = min(top, max((at_y - low) / (high - low), gap * left))
        where = {"textcoords": "axes fraction", "va": "center", "clip_on": False}
        axes.annotate(name, (at_x, at_y), (1.02, top), **where, arrowprops=line)
        top -= gap


def _is_outside(pair: Sequence[float]) -> bool:
    bound, error = pair
    return not error <= bound


def _shortened(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
