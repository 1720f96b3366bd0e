import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.parity.case.case import take_up
from pullback.parity.probes.other_dtypes import dtype_findings
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])
ALL = ["float32", "float64", "bfloat16", "float16"]


def square(x):
    return x * x


def found(rule, *args, dtypes=tuple(ALL), asked=False, **options: Any):
    """Check -> its rows by leaf; and the findings."""
    evaluation = choose_oracle(Evaluation(take_up(rule, args or (X,), **options), dtypes))
    evaluation.dtypes_asked = asked
    rows, findings = {}, []
    for item in dtype_findings(evaluation):
        if isinstance(item, Outcome) and item.rows:
            rows[item.rows[0].check] = {row.leaf: row for row in item.rows}
        elif not isinstance(item, Outcome):
            findings.append((item.check, item.about, item.status, item.text))
    return rows, findings


def test_in_every_other_dtype():
    rows, findings = found(square, reference=square, torch=square)
    assert list(rows) == ["float64", "bfloat16", "float16"] and not findings
    for dtype, leaves in rows.items():
        assert set(leaves) == {"y", "y (primal)", "x_bar"}
        for row in leaves.values():
            assert row.ok and row.dtype == dtype and list(row.deviations) == ["rule", "torch"]


def test_a_rule_that_is_wrong_in_one_dtype_only():
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: ((2 if x.dtype != jnp.bfloat16 else -2) * x * g,))
    rows, _ = found(rule, reference=square)
    assert {name for name, leaves in rows.items() if not all(row.ok for row in leaves.values())} == {"bfloat16"}
    assert rows["bfloat16"]["x_bar"].diagnosis == {"rule": "the sign is wrong"}


def test_what_is_not_differentiated_is_cast_along():
    seen = set()

    def rule(x, mask):
        seen.add((str(x.dtype), str(mask.dtype)))
        return x * mask

    rows, findings = found(rule, X, X + 1, nondiff=["mask"], reference=lambda x, mask: x * mask)
    assert list(rows) == ["float64", "bfloat16", "float16"] and not findings
    assert all(set(leaves) == {"y", "y (primal)", "x_bar"} for leaves in rows.values())
    assert seen >= {("float64", "float64"), ("bfloat16", "bfloat16"), ("float16", "float16")}
    assert all(x == mask for x, mask in seen)


def test_your_own_cotangents_are_tried_in_every_dtype():
    # Wrong for a cotangent that is never drawn.
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (jnp.where(jnp.abs(g) > 100, -2, 2).astype(x.dtype) * x * g,))
    for own, wrong in ((None, set()), (np.full_like(X, 128), {"float64", "bfloat16", "float16"})):
        rows, _ = found(rule, reference=square, cotangents=own)
        assert {name for name, leaves in rows.items() if not leaves["x_bar"].ok} == wrong


@pytest.mark.parametrize("nondiff", [(), ["table"]])
def test_arguments_that_do_not_fit(nondiff):
    rows, findings = found(lambda x, table: x * table, X, f32(1e5), nondiff=nondiff, dtypes=["float16", "bfloat16"])
    assert list(rows) == ["bfloat16"]
    assert findings == [("dtypes", "float16", "skipped", "table does not fit in it")]


def test_a_function_that_is_not_offered_in_a_dtype_is_a_note():
    def float32_only(x):
        if x.dtype != jnp.float32:
            raise TypeError("float32 only\nsorry")
        return x * x

    for torch_, reference in ((square, None), (None, float32_only)):
        rows, findings = found(float32_only, dtypes=["bfloat16"], torch=torch_, reference=reference)
        assert not rows
        assert findings == [("dtypes", "bfloat16", "note", "not offered in it: TypeError: float32 only")]


def test_a_rule_that_is_not_offered_in_a_dtype_is_a_note():
    @jax.custom_vjp
    def rule(x):
        return x * x

    def backward(x, g):
        if x.dtype == jnp.bfloat16:
            raise TypeError("no bfloat16")
        return (2 * x * g,)

    rule.defvjp(lambda x: (x * x, x), backward)
    for reference in (square, None):
        rows, findings = found(rule, dtypes=["bfloat16", "float16"], reference=reference)
        assert list(rows) == ["float16"] and all(row.ok for row in rows["float16"].values())
        text = "the rule is not offered in it: TypeError: no bfloat16"
        assert findings == [("dtypes", "bfloat16", "note", text)]


def test_torch_that_is_not_offered_in_a_dtype_is_left_out():
    def theirs(x):
        if x.dtype == torch.bfloat16:
            raise TypeError("no bfloat16")
        return x * x

    rows, findings = found(square, torch=theirs, reference=square)
    assert {name: list(leaves["y"].deviations) for name, leaves in rows.items()} == {
        "float64": ["rule", "torch"],
        "bfloat16": ["rule"],
        "float16": ["rule", "torch"],
    }
    text = "torch's function is not offered in it: TypeError: no bfloat16"
    assert findings == [("dtypes", "bfloat16", "note", text)]


def test_torch_that_computes_in_float32_inside_is_left_out_of_float64():
    theirs = lambda x: (x.float() / 3).to(x.dtype)  # noqa: E731
    rows, findings = found(lambda x: x / 3, torch=theirs, reference=lambda x: x / 3, dtypes=["float64", "bfloat16"])
    assert {name: list(leaves["y"].deviations) for name, leaves in rows.items()} == {
        "float64": ["rule"],
        "bfloat16": ["rule", "torch"],
    }
    assert findings == [("dtypes", "float64", "note", "torch's function computes in a coarser dtype inside")]
    assert all(row.ok for leaves in rows.values() for row in leaves.values())


def test_typed_constants_are_no_mistake_in_float64():
    rows, findings = found(lambda x: x * x * (1 + 5e-10), reference=square, dtypes=["float64"])
    assert all(row.ok for row in rows["float64"].values())
    ((check, about, status, text),) = findings
    assert (check, about, status) == ("dtypes", "float64", "note")
    assert text == "rule is off by 5e-10 of the largest element: a typed constant, or an approximation"
    rows, findings = found(lambda x: x * x * (1 + 5e-9), reference=square, dtypes=["float64"])
    assert not any(row.ok for row in rows["float64"].values()) and not findings


def cancelling(x):
    return (x + 1000) - 1000  # all of it is rounded away in bfloat16


def test_what_cannot_be_judged_in_a_dtype_that_nobody_asked_for_is_skipped():
    rows, findings = found(cancelling, f32([3.0]), reference=cancelling, dtypes=["bfloat16"])
    assert list(rows["bfloat16"]) == ["x_bar"] and rows["bfloat16"]["x_bar"].verdict == "pass"
    text = "not judged: rounding may move every element by more than its own size"
    assert findings == [("dtypes", f"bfloat16 {leaf}", "skipped", text) for leaf in ("y", "y (primal)")]


def test_what_cannot_be_judged_in_a_dtype_that_was_asked_for_counts():
    rows, findings = found(cancelling, f32([3.0]), reference=cancelling, dtypes=["bfloat16"], asked=True)
    verdicts = {leaf: row.verdict for leaf, row in rows["bfloat16"].items()}
    assert verdicts == {"x_bar": "pass", "y": "not judged", "y (primal)": "not judged"} and not findings


def test_beyond_the_dtypes_range_nothing_is_called_wrong():
    # 300 squared is infinite in float16, whoever computes it.
    rows, findings = found(square, f32([300, 1]), reference=square, torch=square, dtypes=["float16"])
    assert not [row for leaves in rows.values() for row in leaves.values() if row.verdict == "FAIL"]


def test_a_mistake_that_only_exact_values_show_is_in_the_rows():
    wrong = lambda x: x * x + 1e-9  # noqa: E731
    rows, _ = found(wrong, reference=square, dtypes=["bfloat16"])
    assert list(rows) == ["bfloat16", "bfloat16 maths"]
    assert all(row.ok for row in rows["bfloat16"].values())
    assert not any(row.ok for row in rows["bfloat16 maths"].values()) and set(rows["bfloat16 maths"]) >= {"y"}


def test_one_mistake_is_one_row():
    rows, _ = found(lambda x: 2 * (x * x), reference=square, dtypes=["bfloat16"])
    assert list(rows) == ["bfloat16"] and not any(row.ok for row in rows["bfloat16"].values())


def test_complex_arguments_have_no_half_precision():
    z = (X + 1j * X).astype(np.complex64)
    rows, findings = found(square, z, reference=square, torch=square)
    assert list(rows) == ["float64"] and all(row.ok for row in rows["float64"].values())
    assert findings == [
        ("dtypes", dtype, "skipped", f"there are no complex numbers of {dtype}") for dtype in ("bfloat16", "float16")
    ]


def test_a_mask_of_infinities_fits_in_every_dtype():
    add = lambda x, mask: jax.nn.softmax(x + mask)  # noqa: E731
    rows, findings = found(add, X, f32([[0, -np.inf, 0]] * 2), reference=add, nondiff=["mask"])
    assert list(rows) == ["float64", "bfloat16", "float16"] and not findings
    assert all(row.ok for leaves in rows.values() for row in leaves.values())


def test_your_own_cotangents_that_do_not_fit():
    rows, findings = found(square, reference=square, cotangents=np.full_like(X, 1e6))
    assert list(rows) == ["float64", "bfloat16"]
    text = "not offered in it: ValueError: cotangents: that of y holds a number that does not fit in float16"
    assert findings == [("dtypes", "float16", "note", text)]


def test_an_argument_that_comes_to_lie_where_torch_and_the_reference_differ():
    """0.9999 is 1 in bfloat16, where jnp.where hides the slope of (a - 1) log(y), which the rule and torch have."""

    def hidden(a, y):
        return jnp.where(a != 1, (a - 1) * jnp.log(y), 0)

    @jax.custom_vjp
    def rule(a, y):
        return hidden(a, y)

    rule.defvjp(
        lambda a, y: (hidden(a, y), (a, y)), lambda kept, g: (g * jnp.log(kept[1]), g * (kept[0] - 1) / kept[1])
    )
    args = np.array([0.9999, 2.5], np.float32), np.array([0.3, 4.0], np.float32)
    theirs = lambda a, y: torch.special.xlogy(a - 1, y)  # noqa: E731
    report = parity.check(rule, *args, torch=theirs, checks=["values", "dtypes"], dtypes=["bfloat16"])
    assert report.exit_code == 0, report
    assert any("arguments lie where torch and" in finding.text for finding in report.findings)

    @jax.custom_vjp
    def wrong(a, y):
        return hidden(a, y)

    wrong.defvjp(lambda a, y: (hidden(a, y), (a, y)), lambda kept, g: (0 * g, g * (kept[0] - 1) / kept[1]))
    assert parity.check(wrong, *args, torch=theirs, checks=["values"]).exit_code == 1
