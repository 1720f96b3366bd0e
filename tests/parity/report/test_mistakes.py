"""Rows that fail are grouped into mistakes: here with rows made by hand."""

from typing import Any

import numpy as np
import pytest

from pullback.parity.report.mistakes import kind_of_check, mistakes_in, place_of, without_guesses
from pullback.parity.verdict.deviation import Deviation
from pullback.parity.verdict.diagnosis import GUESS, Diagnosis
from pullback.parity.verdict.rows import Row

FAR = Deviation(1.0, (0,), 0.5, 9.0, 300.0, (0,), "outside the bound")
NEAR = Deviation(0.0, (0,), 0.0, 0.0, 0.0, (0,))
HALF = Diagnosis("half of what it should be", "factor")


def row(check, leaf, wrong=("rule",), text: Any = HALF, deviation=FAR, right=("reference",), dtype="float32"):
    deviations = dict.fromkeys(wrong, deviation) | dict.fromkeys(right, NEAR)
    return Row(check, leaf, (3,), dtype, deviations, {}, {who: text for who in wrong if text}, 1e-6)


def found(*rows, **options):
    """Each mistake's implementations, leaves and checks."""
    each = mistakes_in(rows, list(dict.fromkeys(row.check for row in rows)), **options)
    return [(m.who, m.leaves, [row.check for row in m.rows]) for m in each]


def test_one_mistake_in_every_dtype_and_derivative_is_one():
    checks = ["float32", "float64", "bfloat16", "maths", "float16 maths", "grad of grad", "forward over reverse"]
    assert found(*(row(check, "x_bar") for check in checks)) == [(["rule"], ["x_bar"], checks)]


def test_it_is_described_where_it_was_seen_first():
    rows = [row("float64", "x_bar"), row("grad of grad", "x_bar"), row("float32", "x_bar")]
    (mistake,) = mistakes_in(rows, ["float32", "grad of grad", "float64"])
    assert mistake.row.check == "float32"


def test_right_rows_are_no_mistakes():
    assert found(row("float32", "x_bar", deviation=NEAR)) == []


def test_leaves_that_look_alike_are_one_mistake():
    assert found(row("float32", "x_bar"), row("float32", "w_bar")) == [(["rule"], ["x_bar", "w_bar"], ["float32"] * 2)]
    other = Diagnosis("the sign is wrong", "sign")
    assert len(found(row("float32", "x_bar"), row("float32", "w_bar", text=other))) == 2
    assert len(found(row("float32", "x_bar", text=""), row("float32", "w_bar", text=""))) == 2


def test_implementations_that_are_off_by_the_same_are_one_mistake():
    both = row("net", "w1", wrong=("by hand", "custom_vjp"))
    assert found(both) == [(["by hand", "custom_vjp"], ["w1"], ["net"])]
    both.deviations["custom_vjp"] = Deviation(0.3, (0,), 0.1, 3.0, 100.0, (0,), "outside the bound")
    assert len(found(both)) == 2


def test_the_primal_and_the_value_are_one_mistake():
    assert found(row("float32", "y"), row("float32", "y (primal)"))[0][1] == ["y"]


def test_second_derivatives_of_other_leaves_follow_from_the_first():
    rows = [row("float32", "x_bar", text=""), row("grad of grad", "w_bar", text="")]
    (mistake,) = mistakes_in(rows, ["float32", "grad of grad"])
    assert [each.leaf for each in mistake.after] == ["w_bar"] and not mistake.is_second
    (alone,) = mistakes_in(rows[1:], ["grad of grad"])
    assert alone.is_second and alone.leaves == ["w_bar"]


def test_a_cotangent_that_is_the_slope_of_a_wrong_value_follows_from_it():
    rows = [row("float32", "x_bar", text=""), row("float32", "y", text="")]
    assert [leaves for _, leaves, _ in found(*rows)] == [["y"], ["x_bar"]]
    (mistake,) = mistakes_in(rows, ["float32"], own_slopes={"x"})
    assert mistake.leaves == ["y"] and [each.leaf for each in mistake.after] == ["x_bar"]
    assert len(mistakes_in(rows[:1], ["float32"], own_slopes={"x"})) == 1, "the value is right"


def test_ops_are_told_apart():
    assert len(found(row("lin float32", "x_bar"), row("lin float64", "x_bar"), row("relu float32", "x_bar"))) == 2


def test_where_nobody_is_called_wrong_leaves_differ():
    rows = [row("float32", "y", wrong=("rule", "torch"), text="")]
    assert found(*rows, undecided=True) == [(["rule", "torch"], ["y"], ["float32"])]


def test_what_raised_is_one_mistake_in_all_leaves():
    raised = Deviation(problem="raised ValueError: no")
    rows = [row("float32", leaf, text="", deviation=raised) for leaf in ("y", "x_bar")]
    assert found(*rows) == [(["rule"], ["y", "x_bar"], ["float32", "float32"])]
    assert mistakes_in(rows)[0].raised


@pytest.mark.parametrize(
    ("check", "place", "kind"),
    [
        ("float32", "", "float32"),
        ("float16 maths", "", "float16 maths"),
        ("maths", "", "maths"),
        ("lin bfloat16", "lin", "bfloat16"),
        ("shifted_relu grad of grad", "shifted_relu", "grad of grad"),
        ("net", "net", "net"),
        ("relu at 0", "relu at 0", "relu at 0"),
    ],
)
def test_names_of_checks(check, place, kind):
    assert (place_of(check), kind_of_check(check)) == (place, kind)


def test_a_lower_precision_is_not_guessed_where_float64_is_as_far_off():
    guess = Diagnosis(f"off as rounding to bfloat16 would have it: {GUESS}", "precision")
    rows = [row("float32", "x_bar", text=guess), row("float64", "x_bar", text="", dtype="float64")]
    assert [each.diagnosis for each in without_guesses(rows)] == [{}, {}]
    fine = [rows[0], row("float64", "x_bar", text="", deviation=NEAR, dtype="float64")]
    assert without_guesses(fine)[0].diagnosis == {"rule": guess}
    assert without_guesses([row("float32", "x_bar"), rows[1]])[0].diagnosis == {"rule": HALF}, "that is no guess"


def test_for_programs():
    deviation = Deviation(1.0, (2, 0), 0.5, 9.0, 300.0, (2, 0), "outside the bound")
    stacked = Row("float32", "x_bar", (5, 3), "float32", {"rule": deviation}, {}, {"rule": HALF}, 1e-6, 0, "", {}, 5)
    (mistake,) = mistakes_in([stacked], ["float32"])
    assert mistake.to_dict() == {
        "who": ["rule"], "leaves": ["x_bar"], "kind": "factor", "diagnosis": "half of what it should be",
        "problem": "outside the bound", "extent": "", "index": (0,), "cotangent": 2, "budget": 300.0,
        "checks": ["float32"],
    }  # fmt: skip
    assert np.isfinite(mistake.to_dict()["budget"])
