import numpy as np
import pytest

from pullback.parity import Finding, Report
from pullback.parity.report.tables import findings, leaves
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.rows import compare

PEOPLE = ["by hand", "custom_vjp", "jax.grad", "torch", "torch by hand", "nn.Module"]


def report_of(names=("w1", "b1"), people=PEOPLE, off=(), shape=(2, 2), found=()):
    want = {name: np.ones(shape) for name in names}
    got = {who: {name: np.full(shape, 1 + (who in off), np.float32) for name in names} for who in people}
    rows = compare("net", got, want, dict.fromkeys(names, np.full(shape, 1e-6)), dict.fromkeys(names, np.float32))
    return Report.of({"net": "n"}, [Outcome(rows, 0, 0, (), 0.5, ())], found)


def titles(grid):
    return [column.plain_title for column in grid.columns]


def test_every_implementation_has_a_column_where_there_is_room():
    grid = leaves(report_of())
    last = ["max |error|", "at", "ulps", "bound used", "would notice", "verdict"]
    assert titles(grid) == ["leaf", "shape", *PEOPLE, *last]
    assert titles(leaves(report_of(), grid.width)) == titles(grid)


def test_a_screen_has_the_worst_rows_and_a_page_has_all():
    report = report_of([f"w{i}" for i in range(40)])
    assert len(list(leaves(report, 116).rows)) == 24 and len(list(leaves(report).rows)) == 40


def test_where_there_is_none_the_worst_is_named():
    report = report_of(off=["nn.Module"])
    grid = leaves(report, leaves(report).width - 1)
    assert titles(grid)[:4] == ["leaf", "shape", "worst in", "max |error|"]
    assert {row[2] for row in grid.rows} == {"nn.Module"} and grid.styles == ["bold red"] * 2
    assert "worst in" not in titles(leaves(report_of(people=["rule"]), 40)), "of one there is no worst"


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120])
def test_it_fits_and_keeps_leaf_and_verdict(width):
    name = "params['encoder']['layers'][3]['attention']['kernel']_bar"
    grid = leaves(report_of([name, "b"], off=["torch"], shape=(2, 3, 1, 2)), width)
    assert grid.width <= width and {"leaf", "at", "bound used", "would notice", "verdict"} <= set(titles(grid))
    (shown,) = {row[0] for row in grid.rows} - {"net b"}
    assert shown.startswith("net params['") and shown.endswith("'kernel']_bar"), "a name says most at its ends"
    assert all(row[-1] == "FAIL" for row in grid.rows)


def test_passed_findings_are_one_row_a_check_and_say_the_largest_share():
    text = "linear in the cotangent, {}% of what rounding allows"
    found = [Finding("linearity", name, "pass", text.format(share)) for name, share in (("a", 2), ("b", 31), ("c", 4))]
    found.append(Finding("linearity", "d", "pass", "not asked"))
    assert list(findings(report_of(found=found)).rows) == [
        ("linearity", "a, b, c, d", "pass", "linear in the cotangent, 31% of what rounding allows; not asked")
    ]


def test_failures_and_notes_stay_apart():
    found = [
        Finding("kinks", "x", "FAIL", "no"),
        Finding("kinks", "y", "note", "a"),
        Finding("kinks", "z", "note", "a"),
    ]
    grid = findings(report_of(found=found))
    assert list(grid.rows) == [("kinks", "x", "FAIL", "no"), ("kinks", "y, z", "note", "a")]
    assert grid.styles == ["bold red", ""]
