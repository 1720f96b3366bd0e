import itertools
import math
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pullback.parity import Report
from pullback.parity.report import plot
from pullback.parity.report.scale import share
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.deviation import OUTSIDE, Deviation
from pullback.parity.verdict.rows import Row, compare

SVG = "{http://www.w3.org/2000/svg}"
DEEP = "params['encoder']['layers'][{}]['kernel']_bar"
NAMES = ["_private", "$x^$", "a<b>&\"'", "two\nlines", "long" * 30]


def report_of(*rows):
    return Report.of({"net": "n"}, [Outcome(list(rows), 0, 0, (), 0.5, ())])


def row_of(leaf, problem=None, check="net", unjudged=0, given=None, **points):
    """points, given: who -> its `(bound, |error|)` pairs."""
    points |= given or {}
    budget = {who: max((share(*pair) for pair in pairs), default=math.inf) for who, pairs in points.items()}
    deviations = {
        who: Deviation(1.0, budget=budget[who], problem=problem, points=tuple(pairs)) for who, pairs in points.items()
    }
    return Row(check, leaf, (2,), "float32", deviations, {}, {}, 1e-6, unjudged)


def texts(svg):
    return [(element.text or "").strip() for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


REPORTS = {
    "passing": report_of(*(row_of(f"w{i}", a=[(1.0, 10.0**-i)], b=[(1.0, 0.3)]) for i in range(6))),
    "long names": report_of(*(row_of(DEEP.format(i), OUTSIDE, "forward over reverse", a=[(1, 4)]) for i in range(25))),
    "zeros and infinities": report_of(
        row_of("x_bar", OUTSIDE, a=[(0.0, 0.0), (0.0, 1.0)]), row_of("y", OUTSIDE, a=[(1, math.nan), (1, 1e23)])
    ),
    "far off": report_of(row_of("x_bar", OUTSIDE, a=[(1e-16, 1e3)], b=[(1, 1e-9)]), row_of("y", a=[(1, 0)])),
    "nothing but zeros": report_of(row_of("y", a=[(0.0, 0.0)])),
    "one raised": report_of(row_of("y", "raised ValueError: no", a=[], torch=[(1.0, 0.1)])),
    "seven": report_of(row_of("lin x_bar", OUTSIDE, given={f"implementation {i}": [(1, i)] for i in range(7)})),
    "hostile": report_of(row_of("<leaf>&", OUTSIDE, "c" * 50, given={name: [(1e-6, 1.0)] for name in NAMES})),
    "not judged": report_of(row_of("y", a=[(1, 0.5)]), row_of("x_bar", unjudged=2, a=[(math.inf, 1.0)])),
}


@pytest.fixture(params=itertools.product(REPORTS, (False, True)), ids=lambda p: f"{p[0]}{', narrow' * p[1]}")
def drawn(request):
    """`(figure, axes, extent, narrow)` of each report, laid out as for the SVG; `extent(artist)` is in pixels."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    name, narrow = request.param
    with plot.plain_style():
        figure = plot.figure_of(REPORTS[name], narrow)
        FigureCanvasSVG(figure)
        figure.draw_without_rendering()
        yield figure, figure.axes[0], lambda artist: artist.get_window_extent(), narrow


def overlapping(extents):
    pairs = itertools.combinations(extents.items(), 2)
    return [(one, other) for (one, a), (other, b) in pairs if a.padded(-0.5).overlaps(b.padded(-0.5))]


def test_no_tick_labels_overlap(drawn):
    _, axes, extent, _ = drawn
    labels = {label.get_text(): extent(label) for label in axes.get_xticklabels()}
    assert len(labels) >= 2 and overlapping(labels) == []


def test_no_words_overlap(drawn):
    _, axes, extent, _ = drawn
    words = {(str(i), text.get_text()): extent(text) for i, text in enumerate(axes.texts)}
    words |= {("tick", label.get_text()): extent(label) for label in axes.get_xticklabels()}
    words["axis", ""] = extent(axes.xaxis.label)
    assert len(words) >= 6 and overlapping(words) == []


def test_every_word_is_inside_the_figure(drawn):
    figure, axes, extent, _ = drawn
    (legend,) = figure.legends
    for artist in [*axes.texts, *axes.get_xticklabels(), axes.xaxis.label, *legend.get_texts(), legend]:
        inside, whole = extent(artist), figure.bbox
        assert whole.x0 - 1 <= inside.x0 and inside.x1 <= whole.x1 + 1, artist
        assert whole.y0 - 1 <= inside.y0 and inside.y1 <= whole.y1 + 1, artist


def test_a_name_stands_at_its_own_row_and_no_line_leads_to_it(drawn):
    _, axes, extent, narrow = drawn
    words, outcomes = axes.texts[2::2], axes.texts[3::2]
    assert all(getattr(text, "arrow_patch", None) is None for text in axes.texts)
    assert len(words) == len(outcomes) <= plot.ROWS
    lines = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    edges = [axes.bbox.y1, *(axes.transData.transform((0, line.get_ydata()[0]))[1] for line in lines)]
    assert len(edges) == len(words) + 1
    for word, outcome, top, bottom in zip(words, outcomes, edges, edges[1:], strict=False):
        for text in (word, outcome):
            assert bottom - 1 <= extent(text).y0 and extent(text).y1 <= top + 1
    assert extent(axes).width > (0.8 if narrow else 0.35) * axes.figure.bbox.width, "room for the points"


def test_in_a_narrow_plot_names_lie_on_no_point(drawn):
    _, axes, extent, narrow = drawn
    points = [point for line in axes.lines if line.get_marker() in plot.MARKERS for point in line.get_xydata()]
    for at in axes.transData.transform(points):
        assert not any(extent(text).contains(*at) for text in axes.texts if narrow)


def test_the_worst_element_of_each_has_a_marker_in_its_colour():
    pairs = [(1e-6, 1e-7), (1e-6, 4e-7), (1e-6, 1e-5)]
    with plot.plain_style():
        axes = plot.figure_of(report_of(row_of("w1", OUTSIDE, a=pairs, b=pairs[:2])), False).axes[0]
    worst = [line for line in axes.lines if line.get_marker() in plot.MARKERS]
    assert [line.get_xydata()[0, 0] for line in worst] == pytest.approx([1.0, math.log10(0.4)], abs=0.01)
    assert [line.get_color() for line in worst] == list(plot.COLOURS[:2])
    assert worst[0].get_ydata()[0] < worst[1].get_ydata()[0], "in lanes of their own, the first above"
    ticks = [line for line in axes.lines if line.get_color() in plot.COLOURS and line.get_marker() == "None"]
    assert [np.isnan(line.get_xdata()).sum() for line in ticks] == [2, 1, 2, 0], "those within, and outside"


def test_the_same_point_in_many_elements_is_drawn_once():
    many, one = (plot.as_svg(report_of(row_of("w", a=[(1e-6, 1e-7)] * count)), "") for count in (40, 1))
    assert many == one


def test_what_fails_stands_first_then_what_is_not_judged():
    rows = [row_of("a", a=[(1, 0.9)]), row_of("b", unjudged=1, a=[(1, 0)]), row_of("c", OUTSIDE, a=[(1, 2)])]
    shown = texts(plot.as_svg(report_of(*rows), ""))
    assert [text for text in shown if text[-1] in "abc"][:3] == ["✗ net c", "? net b", "net a"]
    assert {"a 200%", "not judged", "90%"} <= set(shown)


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        ("raised ValueError: no", "ours raised"),
        ("leaf is missing", "ours missing"),
        ("leaf is unknown to the oracle", "ours unknown"),
        ("shape is (2,), expected (3,)", "ours shape"),
        ("dtype is float32, expected float64", "ours dtype"),
        ("is NaN at [0], where 1 is right", "ours not finite"),
    ],
)
def test_what_is_wrong_is_said_at_the_row(problem, said):
    svg = plot.as_svg(report_of(row_of("y", problem, ours=[], torch=[(1.0, 0.1)])), "")
    assert said in texts(svg)


def test_an_error_where_nothing_is_allowed_is_infinitely_far_off():
    assert "a ∞" in texts(plot.as_svg(report_of(row_of("y", OUTSIDE, a=[(0.0, 1.0)])), ""))


def test_names_that_end_alike_can_be_told_apart():
    rows = [row_of("x" * 60 + str(i), OUTSIDE, a=[(1, 2)]) for i in range(5)]
    shown = [text for text in texts(plot.as_svg(report_of(*rows), "")) if text.startswith("…xxx")]
    assert len(shown) == len(set(shown)) == 5


def test_axis_sides_and_legend_are_labelled():
    svg = plot.as_svg(report_of(row_of("w1", ours=[(1e-6, 1e-7)], theirs=[(1e-6, 1e-7)])), "what it shows")
    assert {"|error|, in times its bound", "within", "outside", "1×", "ours", "theirs"} <= set(texts(svg))
    assert svg.startswith('<svg role="img" aria-label="what it shows"')


def test_colours_are_those_of_the_page():
    svg = plot.as_svg(report_of(row_of("a", OUTSIDE, a=[(1, 2)]), row_of("b", unjudged=1, a=[(1, 0)])), "")
    assert all(colour in svg for colour in ("currentColor", "var(--bad)", "var(--unsure)"))
    assert not any(colour in svg for colour in plot.PAGE_COLOURS)


def test_hostile_names():
    shown = texts(plot.as_svg(REPORTS["hostile"], ""))
    assert set(NAMES[:3]) | {r"two\nlines", "<leaf>&"} <= set(shown)
    assert any(text.startswith("longlong") and text.endswith("…") for text in shown)


def test_the_same_report_gives_the_same_svg():
    want = {"w": np.linspace(-1, 1, 30)}
    rows = compare("net", {"a": want}, want, {"w": np.full(30, 1e-9)}, {"w": np.float64})
    for narrow in (False, True):
        assert plot.as_svg(report_of(*rows), "", narrow) == plot.as_svg(report_of(*rows), "", narrow)


def test_settings_of_the_user_change_nothing():
    import matplotlib

    report = report_of(row_of("w1", a=[(1e-6, 1e-7)]))
    plain = plot.as_svg(report, "")
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": True, "lines.linewidth": 9}):
        assert plot.as_svg(report, "") == plain
        assert matplotlib.rcParams["font.size"] == 30


def test_nothing_to_draw():
    assert plot.as_svg(report_of(row_of("w1", "raised ValueError", a=[])), "") == ""


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"drawn by matplotlib: pip install 'pullback\[report\]'"):
        plot.as_svg(report_of(row_of("w1", a=[(1e-6, 1e-7)])), "")
