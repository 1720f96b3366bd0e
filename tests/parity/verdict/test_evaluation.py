import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import take_up
from pullback.parity.roundoff.bounds import bounds_of
from pullback.parity.verdict import evaluation as room
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])


def square(x):
    return x * x


def evaluated(rule=square, *args, dtypes=(), trusted=None, arithmetic=None, **options):
    return choose_oracle(Evaluation(take_up(rule, args or (X,), **options), dtypes, trusted, arithmetic))


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


def test_nothing_is_computed_before_it_is_asked_for():
    def broken(x):
        raise RuntimeError("not yet")

    assert Evaluation(take_up(broken, (X,))).findings == []


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
    assert evaluation.is_home and not other.is_home and other.home == np.float32
    with other.case.x64:
        values = other.values
        assert values.name == np.dtype(dtype).name and all(row.ok and row.dtype == values.name for row in values.rows)
        assert list(values.got) == ["rule", "torch"], "of the reference only its exact values are needed"
        assert values.got["torch"]["x_bar"].dtype == dtype and values.want["x_bar"].shape == (5, 2, 3)
    assert other.torch_agrees and not other.oracle_is_torch


def test_another_dtype_has_the_same_oracle():
    evaluation = evaluated(lambda x: 3 * (x * x), torch=square)
    assert evaluation.oracle_is_torch
    other = evaluation.cast(jnp.bfloat16)
    assert other.oracle_is_torch
    np.testing.assert_allclose(other.want["y"], X.astype(jnp.bfloat16).astype(np.float64) ** 2)
    assert {row.diagnosis.get("rule") is not None for row in other.values.rows} == {True}


def test_what_is_trusted_and_allowed_goes_along():
    evaluation = evaluated(reference=square, torch=square, trusted="torch", arithmetic="bfloat16")
    other = evaluation.cast(np.float64)
    assert (other.trusted, other.allowed_dtype) == ("torch", jnp.bfloat16)
    assert evaluation.allowed_dtype == jnp.bfloat16
    assert evaluated(arithmetic="float64").allowed_dtype == np.float32, "the arguments' dtype is always allowed"


def test_complex_arguments_in_float64():
    z = (X + 1j * X).astype(np.complex64)
    other = evaluated(square, z, reference=square, torch=square).cast(np.float64)
    with other.case.x64:
        assert all(row.ok for row in other.values.rows) and other.values.got["torch"]["x_bar"].dtype == np.complex128


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
    assert all(row.ok for row in evaluation.maths_rows), "its maths is that of its own trace"
    other = evaluation.cast(np.float64)
    with other.case.x64:
        rows = other.values.rows
        assert other.of_rule is None and other.maths_rows == [] and other.beside == {}
    assert {row.deviations["rule"].problem for row in rows} == {"raised TypeError: not in float64"}


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
    assert evaluation.findings == [], "and nothing in it is opaque"


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


def test_slopes_are_measured_once():
    evaluation = evaluated()
    assert evaluation.slopes is evaluation.slopes and list(evaluation.slopes) == ["x"]


def third(x):
    return x / 3


def test_the_maths_is_the_functions_own_trace_in_float64():
    it = Evaluation(take_up(third, (X,)))
    found = it.maths(it.case.rule)
    assert {leaf.dtype for leaf in found.values.values()} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(found.values["y"], X.astype(np.float64) / 3)
    np.testing.assert_allclose(found.values["x_bar"], it.case.cotangents[0].astype(np.float64) / 3, rtol=1e-15)
    assert (found.errors["y"] <= 2.0**-52 * np.abs(X)).all(), "and how far that may be off"


def test_casts_inside_change_nothing_of_the_maths_and_are_in_the_rounding():
    def in_bfloat16(x):
        return (x.astype(jnp.bfloat16) / 3).astype(x.dtype)

    it = Evaluation(take_up(in_bfloat16, (X,)))
    np.testing.assert_array_equal(it.maths(it.case.rule).values["y"], X.astype(np.float64) / 3)
    coarse, fine = (it.rounding(it.case.rule, inside=inside).errors["y"] for inside in (True, False))
    assert (coarse > 2.0**-9 * np.abs(X / 3)).all() and (fine < 2.0**-20 * np.abs(X)).all()


def test_random_bits_stay_the_same_bits():
    def dropped(x, key):
        return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), 2 * x, jnp.zeros_like(x))

    evaluation = evaluated(dropped, X, jax.random.key(0), reference=dropped)
    np.testing.assert_array_equal(evaluation.want["y"], np.asarray(dropped(X, jax.random.key(0))))
    assert all(row.ok for row in (*evaluation.maths_rows, *evaluation.values.rows))


def test_constants_are_rounded_where_that_counts():
    it = Evaluation(take_up(lambda x: x * f32(0.1), (X,)))
    exact, rounded = (it.maths(it.case.rule, constants).errors["y"] for constants in (False, True))
    assert (rounded > 1e-9 * np.abs(X)).all() and (exact < 1e-15 * np.abs(X)).all()


def test_rounding_in_a_dtype():
    it = Evaluation(take_up(third, (X,)))
    plain, coarse = (it.rounding(it.case.plain, dtype).errors["y"] for dtype in (None, jnp.bfloat16))
    np.testing.assert_allclose(coarse, 2.0**16 * plain, rtol=1e-2)


@pytest.fixture
def walks(monkeypatch):
    """How often a bound is made."""
    made: list[int] = []
    monkeypatch.setattr(room, "bounds_of", lambda *args, **options: made.append(1) or bounds_of(*args, **options))
    return made


def test_each_walk_is_made_once(walks):
    evaluation = evaluated(reference=square)
    _ = evaluation.values.outcome, evaluation.maths_rows, evaluation.beside
    assert len(walks) == 3, "the reference's maths and rounding, and the rule's maths"
    for _ in range(2):
        evaluation.forget()
        _ = evaluation.maths(evaluation.case.rule), evaluation.rounding(evaluation.case.plain)
        _ = evaluation.values.outcome, evaluation.maths_rows
    assert len(walks) == 3


def test_any_function_exactly_and_once(walks):
    it = Evaluation(take_up(square, (X,)))
    found = it.exactly("third", third, (X,))
    np.testing.assert_array_equal(found.values, X.astype(np.float64) / 3)
    assert it.exactly("third", third, (X,)) is found
    assert len(walks) == 1 and (found.errors <= 2.0**-52 * np.abs(X)).all()
    assert (it.exactly("third", third, (X,), jnp.bfloat16).errors > 2.0**-10 * np.abs(X)).all()
    assert len(walks) == 2


def by_callback(x):
    """x^2, by what jax cannot look into."""
    square = lambda x: np.asarray(x) * np.asarray(x)  # noqa: E731
    return jax.pure_callback(square, jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential")


def test_what_runs_in_its_own_dtype_only_is_named_and_its_maths_is_not_judged():
    evaluation = evaluated(ruled(lambda x, g: 2 * x * g, by_callback), reference=square)
    assert evaluation.opaque == ("pure_callback",) and evaluation.maths_rows == []
    assert all(row.ok for row in evaluation.values.rows), "its arithmetic is"
    assert evaluated(reference=square).opaque == ()


def test_the_rules_maths_against_the_oracles():
    evaluation = evaluated(ruled(lambda x, g: 2 * x * g), reference=square)
    assert [row.leaf for row in evaluation.maths_rows if row.ok] == ["x_bar", "y", "y (primal)"]
    assert {row.check for row in evaluation.maths_rows} == {"maths"}
    wrong = evaluated(ruled(lambda x, g: (-2 - 1e-12) * x * g), reference=square)
    (row,) = (row for row in wrong.maths_rows if not row.ok)
    assert row.leaf == "x_bar" and row.diagnosis == {"rule": "the sign is wrong"}


def test_maths_that_is_wrong_by_less_than_float32_sees_is_wrong():
    evaluation = evaluated(ruled(lambda x, g: 2 * x * g + 1e-9 * g), reference=square)
    assert all(row.ok for row in evaluation.values.rows)
    assert [row.leaf for row in evaluation.maths_rows if not row.ok] == ["x_bar"]


def test_zero_and_next_to_zero_are_one_answer():
    def shifted(x):
        return x * x + 1e-25 * x

    evaluation = evaluated(shifted, f32([[0, -1.1, 2.3]]), reference=square)
    assert all(row.ok for row in (*evaluation.maths_rows, *evaluation.values.rows))
    assert 0 < evaluation.beside["x_bar"].max() < 1e-24, "and the values allow for it"


def test_torch_in_float64():
    seen = []

    def theirs(x):
        seen.append(x.dtype)
        return x / 3

    evaluation = evaluated(third, reference=third, torch=theirs)
    assert seen == [torch.float64] and evaluation.torch_agrees
    np.testing.assert_array_equal(evaluation.torch_in_double["y"], X.astype(np.float64) / 3)
    assert evaluation.torch_in_double is evaluation.torch_in_double


def test_torch_that_does_not_run_in_float64_is_widened():
    def theirs(x):
        if x.dtype != torch.float32:
            raise TypeError("float32 only")
        return x / 3

    evaluation = evaluated(third, reference=third, torch=theirs)
    assert evaluation.torch_is_coarse and evaluation.torch_agrees
    np.testing.assert_array_equal(evaluation.torch_in_double["y"], (X / 3).astype(np.float64))
    assert all(row.ok for row in evaluation.values.rows)


def test_torch_is_not_compared_with_itself():
    evaluation = evaluated(lambda x: 3 * (x * x), torch=square)
    assert evaluation.oracle_is_torch and list(evaluation.values.got) == ["rule"]
    np.testing.assert_array_equal(evaluation.want["y"], X.astype(np.float64) ** 2)


def test_who_is_the_oracle_can_be_changed():
    evaluation = evaluated(reference=square, torch=lambda x: 3 * (x * x))
    assert all(row.ok for row in evaluation.maths_rows)
    evaluation.oracle_is_torch = True
    evaluation.forget()
    assert not any(row.ok for row in evaluation.maths_rows)
    np.testing.assert_allclose(evaluation.want["y"], 3 * X.astype(np.float64) ** 2)


@pytest.mark.parametrize("others", [{"reference": square}, {"torch": square}, {"reference": square, "torch": square}])
def test_complex_cotangents_that_are_right_and_such_that_are_conjugated(others):
    z = (X + 1j * X[::-1]).astype(np.complex64)
    right = evaluated(ruled(lambda z, g: 2 * z * g), z, **others)
    assert all(row.ok for row in (*right.values.rows, *right.maths_rows))
    for backward in (lambda z, g: 2 * jnp.conj(z) * g, lambda z, g: 2 * z * jnp.conj(g)):
        wrong = evaluated(ruled(backward), z, **others)
        for rows in (wrong.values.rows, wrong.maths_rows):
            assert [row.leaf for row in rows if not row.ok] == ["x_bar"]


def test_a_mask_of_infinities_is_an_argument_like_others():
    mask = f32([[0, -np.inf, 0], [0, 0, -np.inf]])
    softmax = lambda x, mask: jax.nn.softmax(x + mask, -1)  # noqa: E731
    for nondiff in ((), ["mask"]):
        theirs = lambda x, mask: torch.softmax(x + mask, -1)  # noqa: E731
        evaluation = evaluated(softmax, X, mask, reference=softmax, torch=theirs, nondiff=nondiff)
        assert {row.verdict for row in (*evaluation.values.rows, *evaluation.maths_rows)} == {"pass"}
    forgotten = evaluated(lambda x, mask: jax.nn.softmax(x), X, mask, reference=softmax)
    assert {row.leaf for row in forgotten.values.rows if not row.ok} >= {"y", "x_bar"}
