import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.case import take_up
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.verdict.evaluation import Evaluation, InDouble
from pullback.parity.verdict.oracle import choose_oracle

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])


def square(x):
    return x * x


def evaluated(rule=square, *args, dtypes=(), **options):
    return choose_oracle(Evaluation(take_up(rule, args or (X,), **options), dtypes))


def ruled(backward, forward=square):
    @jax.custom_vjp
    def rule(x):
        return forward(x)

    rule.defvjp(lambda x: (forward(x), x), lambda x, g: (backward(x, g),))
    return rule


def test_values_of_everybody():
    values = evaluated(reference=square, torch=square).values
    assert values.name == "float32" and list(values.got) == ["rule", "reference", "torch"]
    leaves = {"y", "y (primal)", "x_bar"}
    assert all(set(got) == leaves for got in (*values.got.values(), values.want, values.allowed))
    assert all(row.ok for row in values.rows)
    assert all(leaf.dtype == np.float64 for leaf in values.want.values())


def test_values_are_computed_once():
    calls = []

    def theirs(x):
        calls.append(1)
        return x * x

    evaluation = evaluated(reference=square, torch=theirs)
    before = len(calls)
    assert evaluation.values is evaluation.values
    _ = evaluation.values.outcome, evaluation.values.outcome
    assert len(calls) == before + 1


def test_a_wrong_rule_is_in_the_rows():
    values = evaluated(ruled(lambda x, g: -2 * x * g), reference=square).values
    (row,) = (row for row in values.rows if not row.ok)
    assert row.leaf == "x_bar" and row.diagnosis == {"rule": "the sign is wrong"}


def test_what_is_not_differentiated_has_no_row():
    evaluation = evaluated(lambda x, mask: x * mask, X, X + 1, nondiff=["mask"], reference=lambda x, mask: x * mask)
    assert {row.leaf for row in evaluation.values.rows} == {"y", "y (primal)", "x_bar"}
    assert list(evaluation.slopes) == ["x"]


def test_the_other_dtypes_are_those_that_the_case_has_not():
    assert evaluated(dtypes=["float32", "bfloat16", "float64"]).dtypes == ["bfloat16", "float64"]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.float64])
def test_in_another_dtype(dtype):
    evaluation = evaluated(reference=square, torch=square, dtypes=[np.dtype(dtype).name])
    other = evaluation.cast(dtype)
    with other.case.x64:
        values = other.values
        assert values.name == np.dtype(dtype).name and all(row.ok and row.dtype == values.name for row in values.rows)
        assert list(values.got) == ["rule", "reference", "torch"] and values.got["torch"]["x_bar"].dtype == dtype
        assert values.want["x_bar"].shape == (5, 2, 3)
    assert other.oracle_is_torch


def test_in_float64_nobody_is_called_again():
    calls = []

    def theirs(x):
        calls.append(x.dtype)
        return x * x

    evaluation = evaluated(reference=square, torch=theirs, dtypes=["float64"])
    _ = evaluation.values.outcome
    before = len(calls)
    other = evaluation.cast(np.float64)
    with other.case.x64:
        outcome = other.values.outcome
    assert len(calls) == before and {row.check for row in outcome.rows} == {"float64"}
    np.testing.assert_array_equal(
        other.values.got["rule"]["x_bar"], 2 * X.astype(np.float64) * other.case.cotangents[0]
    )


def test_the_check_in_float64_has_cotangents_of_float64():
    evaluation = evaluated(lambda x: 1 * x, reference=lambda x: 1 * x, dtypes=["float64"])
    other = evaluation.cast(np.float64)
    with other.case.x64:
        drawn, bars = other.case.cotangents[0], other.values.got["rule"]["x_bar"]
    np.testing.assert_array_equal(bars, drawn, strict=True)
    assert (drawn[0] != drawn[0].astype(np.float32)).mean() > 0.9, "they use all of its bits"


@pytest.mark.parametrize("x", [X, X.astype(np.float64)])
@pytest.mark.parametrize("dtypes", [(), ["bfloat16"]])
def test_a_cast_to_float64_that_nobody_announced_sees_a_wrong_rule_too(x, dtypes):
    wrong = ruled(lambda x, g: (2 + 1e-9) * x * g)
    with jax.enable_x64(x.dtype == np.float64):
        evaluation = evaluated(wrong, x, reference=square, dtypes=dtypes)
        other = evaluation.cast(np.float64)
        with jax.enable_x64(True):
            problems = {row.leaf: row.deviations["rule"].problem for row in other.values.rows}
    assert problems == {"y": None, "y (primal)": None, "x_bar": "outside the bound"}


def test_a_dtype_in_which_the_rule_does_not_run():
    def not_in_float64(x):
        if x.dtype == jnp.float64:
            raise TypeError("not in float64")
        return x * x

    evaluation = evaluated(not_in_float64, reference=square, dtypes=["float64"])
    other = evaluation.cast(np.float64)
    with other.case.x64:
        rows = other.values.rows
    assert {row.deviations["rule"].problem for row in rows} == {"raised TypeError: not in float64"}
    assert {row.deviations["reference"].problem for row in rows} == {None}


def wrong_under_vmap(factor=2.0):
    """x^2 by hand: right, but for a backward that is wrong by this factor under vmap."""

    @jax.custom_batching.custom_vmap
    def bar(x, g):
        return 2 * x * g

    @bar.def_vmap
    def _mapped(size, batched, x, g):
        x = x if batched[0] else jnp.broadcast_to(x, g.shape)
        return factor * 2 * x * g, True

    return ruled(bar)


def test_a_pullback_that_is_wrong_under_vmap_only():
    evaluation = evaluated(wrong_under_vmap(), reference=square)
    assert all(row.ok for row in evaluation.values.rows), "the table has one call for each cotangent"
    (finding,) = (finding for finding in evaluation.findings if finding.about == "vmap of the pullback")
    assert (finding.check, finding.status) == ("transformations", "FAIL")
    assert finding.text.startswith("x_bar differs, ") and finding.text.endswith(
        "of what rounding allows: the table has one call of the pullback for each cotangent"
    )
    assert evaluation.case.rule.one_by_one


def test_a_pullback_that_is_wrong_either_way_is_wrong_in_the_table():
    evaluation = evaluated(ruled(lambda x, g: -2 * x * g), reference=square)
    assert not all(row.ok for row in evaluation.values.rows)
    assert not [finding for finding in evaluation.findings if finding.about == "vmap of the pullback"]


def test_a_pullback_that_is_right_under_vmap_has_no_finding():
    evaluation = evaluated(wrong_under_vmap(1.0), reference=square)
    assert all(row.ok for row in evaluation.values.rows) and not evaluation.case.rule.one_by_one
    assert [finding.check for finding in evaluation.findings] == ["oracle"]


def test_a_pullback_that_cannot_be_mapped_is_checked_all_the_same():
    def backward(factor):
        def bar(x, g):
            return np.asarray(factor * np.asarray(x) * np.asarray(g), np.asarray(x).dtype)

        return lambda x, g: jax.pure_callback(bar, jax.ShapeDtypeStruct(x.shape, x.dtype), x, g)

    for factor, right in ((2, True), (3, False)):
        evaluation = evaluated(ruled(backward(factor)), reference=square)
        problems = {row.leaf: row.deviations["rule"].problem for row in evaluation.values.rows}
        assert problems["x_bar"] == (None if right else "outside the bound")
        assert evaluation.case.rule.one_by_one


def test_whoever_raises_is_kept_with_the_error():
    def theirs(x):
        raise RuntimeError("out of luck")

    values = evaluated(reference=square, torch=theirs).values
    assert list(values.raised) == ["torch"] and list(values.got) == ["rule", "reference"]


def test_without_the_reference():
    evaluation = evaluated(reference=square)
    other = evaluation.without_reference()
    assert other.case.reference is None and evaluation.case.reference is not None
    assert other.oracle is other.case.stripped and evaluation.oracle is evaluation.case.reference


def test_slopes_are_measured_once():
    evaluation = evaluated()
    assert evaluation.slopes is evaluation.slopes and list(evaluation.slopes) == ["x"]


SHORT = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)


def third(x):
    return x / 3


def case_of(rule=third, *args, **options):
    return take_up(rule, args or (SHORT,), **options)


def test_leaves_in_float64_from_jax_and_from_torch():
    it = case_of(reference=third, torch=third)
    in_double = InDouble(it)
    for run in it.implementations.values():
        leaves = in_double.leaves(run)
        assert {leaf.dtype for leaf in leaves.values()} == {np.dtype(np.float64)}
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves.values())
        np.testing.assert_array_equal(leaves["y"], SHORT.astype(np.float64) / 3)
        np.testing.assert_allclose(leaves["x_bar"], it.cotangents[0].astype(np.float64) / 3, rtol=1e-15)
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def test_the_same_numbers_and_the_same_cotangents():
    # Those of the case, widened: others would be another question.
    it = case_of(lambda x: 1 * x)
    leaves = InDouble(it).leaves(it.rule)
    np.testing.assert_array_equal(leaves["y"], SHORT.astype(np.float64), strict=True)
    np.testing.assert_array_equal(leaves["x_bar"], it.cotangents[0].astype(np.float64), strict=True)


def more_of(case):
    with jax.enable_x64(True):
        return case.cast(np.float64).cotangents


def test_two_sets_of_cotangents_in_one_call():
    calls = []

    def theirs(x):
        calls.append(1)
        return x * x

    it = case_of(lambda x: x * x, torch=theirs)
    more = more_of(it)
    in_double = InDouble(it, more)
    for run in it.implementations.values():
        own, others = in_double.leaves(run), in_double.leaves(run, True)
        np.testing.assert_array_equal(own["x_bar"], 2 * SHORT.astype(np.float64) * it.cotangents[0])
        np.testing.assert_array_equal(others["x_bar"], 2 * SHORT.astype(np.float64) * more[0])
        np.testing.assert_array_equal(own["y"], others["y"])
        assert len(own["x_bar"]) == len(others["x_bar"]) == 5
    assert len(calls) == 1


def test_your_own_cotangents_are_in_both_sets():
    it = case_of(lambda x: 1 * x, cotangents=SHORT / 3)
    in_double = InDouble(it, more_of(it))
    for part in (False, True):
        bars = in_double.leaves(it.rule, part)["x_bar"]
        assert len(bars) == 6
        np.testing.assert_array_equal(bars[5], (SHORT / 3).astype(np.float64))


def test_an_implementation_is_called_once():
    calls = []

    def rule(x):
        calls.append(1)
        return x * x

    it = case_of(rule)
    in_double = InDouble(it)
    before = len(calls)
    first = in_double.leaves(it.rule)
    assert in_double.leaves(it.rule)["y"] is first["y"] and len(calls) == before + 1


def test_what_an_implementation_raises_is_raised():
    def float32_only(x):
        if x.dtype != jnp.float32:
            raise TypeError("float32 only")
        return x

    it = case_of(float32_only)
    in_double = InDouble(it)
    for _ in range(2):
        try:
            in_double.leaves(it.rule)
        except TypeError as error:
            assert str(error) == "float32 only"
        else:
            raise AssertionError("it did not raise")


def test_bounds_are_those_of_float64():
    y = np.array([[3, 0.1], [-0.7, 5]], np.float32)
    it = case_of(lambda x, y: x * y, SHORT, y)
    in_double = InDouble(it)
    bounds = in_double.bounds(it.plain)
    assert set(bounds.errors) == {"y", "y (primal)", "x_bar", "y_bar"}
    u = 2.0**-53
    exact = np.abs(SHORT.astype(np.float64) * y)
    # Of one evaluation; two of them may lie twice as far apart.
    assert (bounds.errors["y"] >= u * exact).all() and (bounds.errors["y"] <= u * exact * (1 + 1e-9)).all()
    np.testing.assert_array_equal(bounds.values["y"], SHORT.astype(np.float64) * y)


def test_bounds_for_either_set_of_cotangents_from_one_walk(monkeypatch):
    walks = []

    def counted(*args, **options):
        walks.append(1)
        return rounding_bounds(*args, **options)

    monkeypatch.setattr("pullback.parity.verdict.evaluation.rounding_bounds", counted)
    it = case_of(lambda x: x * x)
    more = more_of(it)
    in_double = InDouble(it, more)
    for part, cotangents in ((False, it.cotangents[0]), (True, more[0])):
        bounds = in_double.bounds(it.plain, part)
        assert bounds.errors["x_bar"].shape == bounds.values["x_bar"].shape == (5, 2, 2)
        np.testing.assert_array_equal(bounds.values["x_bar"], 2 * SHORT.astype(np.float64) * cotangents)
        assert bounds.errors["y"].shape == (2, 2)
    assert len(walks) == 1
