import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.case import take_up
from pullback.parity.probes.other_dtypes import dtype_findings, unjudged
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])
ALL = ["float32", "float64", "bfloat16", "float16"]


def square(x):
    return x * x


def found(rule, *args, dtypes=tuple(ALL), **options):
    """Check -> its rows by leaf; and the findings."""
    evaluation = choose_oracle(Evaluation(take_up(rule, args or (X,), **options), dtypes))
    rows, findings = {}, []
    for item in dtype_findings(evaluation):
        if isinstance(item, Outcome):
            rows[item.rows[0].check] = {row.leaf: row for row in item.rows}
        else:
            findings.append((item.check, item.about, item.status, item.text))
    return rows, findings


def test_in_every_other_dtype():
    rows, findings = found(square, reference=square, torch=square)
    assert list(rows) == ["float64", "bfloat16", "float16"] and not findings
    for dtype, leaves in rows.items():
        assert set(leaves) == {"y", "y (primal)", "x_bar"}
        for row in leaves.values():
            assert row.ok and row.dtype == dtype and list(row.deviations) == ["rule", "reference", "torch"]


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


def test_a_dtype_in_which_nobody_runs():
    def float32_only(x):
        if x.dtype != jnp.float32:
            raise TypeError("float32 only\nsorry")
        return x * x

    rows, findings = found(float32_only, torch=square, dtypes=["bfloat16"])
    ((check, about, status, text),) = findings
    assert not rows and (check, about, status) == ("dtypes", "bfloat16", "note")
    assert text == "does not run in it: TypeError: float32 only"


def test_a_rule_that_raises_where_the_others_run():
    @jax.custom_vjp
    def rule(x):
        return x * x

    def backward(x, g):
        if x.dtype == jnp.bfloat16:
            raise TypeError("no bfloat16")
        return (2 * x * g,)

    rule.defvjp(lambda x: (x * x, x), backward)
    rows, findings = found(rule, reference=square, dtypes=["bfloat16"])
    assert {row.deviations["rule"].problem for row in rows["bfloat16"].values()} == {"raised TypeError: no bfloat16"}
    rows, findings = found(rule, dtypes=["bfloat16"])
    assert not rows
    assert findings == [("dtypes", "bfloat16", "skipped", "nobody runs in it: rule raised TypeError: no bfloat16")]


def test_what_is_not_judged_is_counted():
    x = f32([300, 1])
    evaluation = choose_oracle(Evaluation(take_up(square, (x,)), ["float16"]))
    outcome, *notes = dtype_findings(evaluation)
    assert isinstance(outcome, Outcome) and all(row.ok for row in outcome.rows)
    text = "1 of 2 elements are not judged: beyond its range, or a quotient by what may be 0"
    assert [(note.check, note.about, note.text) for note in notes if not isinstance(note, Outcome)][:2] == [
        ("values", "float16 y", text),
        ("values", "float16 y (primal)", text),
    ]
    assert list(unjudged(evaluation.values)) == []


def test_your_own_cotangents_that_do_not_fit():
    rows, findings = found(square, reference=square, cotangents=np.full_like(X, 1e6))
    assert list(rows) == ["float64", "bfloat16"]
    text = "does not run in it: ValueError: cotangents: that of y holds a number that does not fit in float16"
    assert findings == [("dtypes", "float16", "note", text)]
