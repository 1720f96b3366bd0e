import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from pullback.parity import Report
from pullback.parity.report import plot
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.deviation import Deviation
from pullback.parity.verdict.rows import Row, compare

SVG = "{http://www.w3.org/2000/svg}"


def report_of(*rows):
    return Report.of({"net": "n"}, [Outcome(list(rows), 0, 0, (), 0.5, ())])


def row_of(leaf, problem=None, **points):
    """points: who -> its `(bound, |error|)` pairs."""
    deviations = {
        who: Deviation(1.0, budget=9.0 if problem else 0.5, problem=problem, points=tuple(pairs))
        for who, pairs in points.items()
    }
    return Row("net", leaf, (2,), "float32", deviations, {}, {}, 1e-6)


def texts(svg):
    return [(element.text or "").strip() for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def places(svg):
    """Each drawn point as (x, y, its marker's path)."""
    tree = ElementTree.fromstring(svg)
    paths = {path.get("id"): path.get("d") for path in tree.iter(f"{SVG}path")}
    link = "{http://www.w3.org/1999/xlink}href"
    points = [use for use in tree.iter(f"{SVG}use") if use.get("style")]
    return [(float(use.get("x", 0)), float(use.get("y", 0)), paths[use.get(link, "")[1:]]) for use in points]


def test_axes_line_and_legend_are_labelled():
    svg = plot.as_svg(report_of(row_of("w1", ours=[(1e-6, 1e-7)], theirs=[(1e-6, 1e-7)])), "what it shows")
    shown = texts(svg)
    assert {"bound", "|error|", "error = bound (above: FAIL)", "ours", "theirs", "1e-6", "1e-7"} <= set(shown)
    assert "0" not in shown and "∞ or NaN" not in shown
    assert svg.startswith('<svg role="img" aria-label="what it shows"')
    assert "currentColor" in svg and plot.INK not in svg


def test_a_point_for_each_pair_and_a_marker_for_each_implementation():
    pairs = [(1e-6, 1e-7), (1e-5, 1e-8), (1e-4, 1e-9)]
    one, both = (
        places(plot.as_svg(report_of(row_of("w1", **who)), "")) for who in ({"a": pairs}, {"a": pairs, "b": pairs})
    )
    # One more for each implementation: the legend's.
    legend = 1
    ticks = len(one) - len(pairs) - legend
    markers = {path for *_, path in both}
    assert ticks >= 6 and len(both) == ticks + 2 * (len(pairs) + legend)
    assert len(markers) == len({path for *_, path in one}) + 2, "its own shape, and its own in the legend"


def test_the_same_point_in_many_leaves_is_drawn_once():
    many = report_of(*(row_of(f"w{i}", a=[(1e-6, 1e-7)] * 40) for i in range(5)))
    assert len(places(plot.as_svg(many, ""))) == len(places(plot.as_svg(report_of(row_of("w", a=[(1e-6, 1e-7)])), "")))


@pytest.mark.parametrize("error", [np.nan, np.inf])
def test_zero_and_what_is_no_number_have_a_place_of_their_own(error):
    svg = plot.as_svg(report_of(row_of("w1", "outside the bound", a=[(0.0, 0.0), (1e-6, 1e-7), (1e-6, error)])), "")
    assert texts(svg).count("0") == 2, "on each axis"
    assert texts(svg).count("∞ or NaN") == 1
    scale = plot._Scale([0.0, 1e-6, 1e-7, error])
    assert [scale(value) for value in (0.0, 1e-7, 1e-6, error)] == [-8, -7, -6, -5]
    assert scale.limits[0] < -8 and scale.limits[1] > -5


@pytest.mark.parametrize("values", [[0.0], [np.nan], [1.0], [5e-324, 1e308], [1e-7] * 3])
def test_few_ticks_whatever_the_range(values):
    scale = plot._Scale(values)
    ticks = list(scale.ticks)
    assert 1 <= len(ticks) <= 10 and ticks == sorted(set(ticks))
    assert scale.limits[0] < scale.limits[1]
    assert all(scale.limits[0] <= scale(value) <= scale.limits[1] for value in values)
    assert plot.as_svg(report_of(row_of("w1", a=[(value, value) for value in values])), "")


def test_a_bound_that_is_room_for_an_underflow_does_not_press_the_others_into_a_corner():
    scale = plot._Scale([1e-308, 1e-6, 1e-3])
    assert scale.low > -40 and scale.has_zero
    assert scale(1e-308) == scale(0.0) < scale(1e-6) < scale(1e-3)
    assert not plot._Scale([1e-30, 1.0]).has_zero, "30 decades are shown as they are"


@pytest.mark.parametrize("error", [0.0, 1e-30, 1e-7, 1e20])
def test_the_line_is_in_sight_wherever_the_errors_are(error):
    assert "error = bound (above: FAIL)" in texts(plot.as_svg(report_of(row_of("w1", a=[(1e-6, error)])), ""))


def test_failing_leaves_are_named_and_the_others_not():
    rows = [row_of(f"bad{i}", "outside the bound", ours=[(1e-6, 1e-3 * (i + 1))]) for i in range(12)]
    shown = texts(plot.as_svg(report_of(*rows, row_of("good", ours=[(1e-6, 1e-7)])), ""))
    assert sum(text.startswith("net bad") for text in shown) == plot.ANNOTATED
    assert "net good" not in shown


def test_names_do_not_overlap():
    rows = [row_of(f"bad{i}", "outside the bound", ours=[(1e-6, 1e-3)]) for i in range(plot.ANNOTATED)]
    tree = ElementTree.fromstring(plot.as_svg(report_of(*rows), ""))
    names = [text for text in tree.iter(f"{SVG}text") if (text.text or "").strip().startswith("net bad")]
    heights = [float(name.get("y", "nan")) for name in names]
    assert len(heights) == plot.ANNOTATED
    assert np.all(np.diff(sorted(heights)) > 10), "the font's size"


def test_hostile_names():
    names = ["_private", "$x^$", "a<b>&\"'", "勾配", "two\nlines", "long" * 30]
    row = row_of("<leaf>&", "outside the bound", **{name: [(1e-6, 1.0)] for name in names})
    shown = texts(plot.as_svg(report_of(row), ""))
    assert set(names[:4]) | {"two lines", "net <leaf>&"} <= set(shown)
    assert any(text.startswith("longlong") and text.endswith("…") for text in shown)


def test_the_same_report_gives_the_same_svg():
    want = {"w": np.linspace(-1, 1, 30)}
    rows = compare("net", {"a": want}, want, {"w": np.full(30, 1e-9)}, {"w": np.float64})
    assert plot.as_svg(report_of(*rows), "") == plot.as_svg(report_of(*rows), "")


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
