import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin, mse, relu
from pullback.parity.case.case import take_up
from pullback.parity.probes.second_order import forward_over_reverse, reverse_over_reverse, second_findings
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.verdict.comparison import Outcome
from pullback.parity.verdict.evaluation import Evaluation

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[1, -2, 0.3], [0.7, 4, 5]])
W = f32([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])
B = f32([1, 2])
BOTH = ["grad of grad", "forward over reverse"]


def cube(x):
    return x * x * x


def ruled(backward, forward=cube):
    @jax.custom_vjp
    def rule(x):
        return forward(x)

    rule.defvjp(lambda x: (forward(x), x), lambda x, g: (backward(x, g),))
    return rule


def second(rule, *args, **options):
    rows, findings = {}, {}
    for found in second_findings(Evaluation(take_up(rule, args or (X,), **options))):
        if isinstance(found, Outcome):
            rows |= {row.check: row for row in found.rows}
        else:
            findings[found.about] = found
    return rows, findings


def in_jax(fun, *args, **options):
    return take_up(fun, args, **options).rule


@pytest.mark.parametrize("product", [reverse_over_reverse, forward_over_reverse])
def test_known_second_derivatives(product):
    x, t, g = f32([1, 2, -3]), f32([1, -1, 2]), f32([2, 1, 1])
    leaves = product(in_jax(cube, x), [x], [g[None]], [t])
    np.testing.assert_array_equal(leaves["x_bar"], 6 * x * g * t)


@pytest.mark.parametrize("product", [reverse_over_reverse, forward_over_reverse])
def test_mixed_ones_too(product):
    x, w, s, t, g = (f32(np.arange(i, i + 3)) for i in range(5))
    leaves = product(in_jax(lambda x, w: x * w, x, w), [x, w], [g[None]], [s, t])
    np.testing.assert_array_equal(leaves["x_bar"], g * t)
    np.testing.assert_array_equal(leaves["w_bar"], g * s)


@pytest.mark.parametrize(("rule", "args"), [(lin, (X, W, B)), (mse, (X[0], X[1])), (relu, (X,))])
def test_right_rules(rule, args):
    rows, findings = second(rule, *args)
    assert list(rows) == BOTH and not findings
    assert all(row.ok for row in rows.values())


def test_the_reference_stands_beside_the_rule():
    rows, _ = second(ruled(lambda x, g: 3 * x * x * g), reference=lambda x: x**3)
    assert all(row.ok and list(row.deviations) == ["rule", "reference"] for row in rows.values())


def test_a_wrong_second_derivative_is_found():
    # Right at first order, and nothing at second.
    rows, _ = second(ruled(lambda x, g: 3 * jax.lax.stop_gradient(x * x) * g), reference=cube)
    for row in rows.values():
        assert row.deviations["rule"].problem == "outside the bound" and row.deviations["reference"].problem is None
        assert row.diagnosis["rule"] == "all zeros: is it dropped, or None returned for it?"


def test_half_of_it_is_found_too():
    half = ruled(lambda x, g: 3 * x * jax.lax.stop_gradient(x) * g)
    rows, _ = second(half)
    assert {row.diagnosis.get("rule") for row in rows.values()} == {"half of what it should be"}


def test_a_forward_that_calls_the_op_itself_has_none_in_forward_mode():
    @jax.custom_vjp
    def rule(x):
        return jnp.exp(x)

    def forward(x):
        y = rule(x)
        return y, y

    rule.defvjp(forward, lambda y, g: (y * g,))
    rows, findings = second(rule)
    assert findings["forward over reverse"].status == "note"
    assert findings["forward over reverse"].text.startswith("not defined: TypeError: can't apply forward-mode")
    assert list(rows) == ["grad of grad"] and rows["grad of grad"].ok


def test_a_backward_that_cannot_be_differentiated():
    def backward(x, g):
        slope = lambda x: f32(3) * x * x  # noqa: E731
        return g * jax.pure_callback(slope, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    rows, findings = second(ruled(backward), reference=cube)
    assert not rows and list(findings) == BOTH
    for finding in findings.values():
        assert finding.status == "note" and finding.text.startswith("not defined: ValueError: Pure callbacks")


def test_half_precision_is_summed_in_float32():
    rows, findings = second(ruled(lambda x, g: 3 * x * x * g), X.astype(jnp.bfloat16))
    assert not findings and all(row.ok and row.dtype == "bfloat16" for row in rows.values())


@pytest.mark.parametrize("product", [reverse_over_reverse, forward_over_reverse])
def test_what_is_not_differentiated_is_held_fixed(product):
    x, w, t, g = (f32(np.arange(i, i + 3)) for i in range(4))
    leaves = product(in_jax(lambda x, w: w * x * x, x, w, nondiff=["w"]), [x, w], [g[None]], [t])
    assert list(leaves) == ["x_bar"]
    np.testing.assert_array_equal(leaves["x_bar"], 2 * w * t * g)


def test_what_is_not_differentiated_has_no_row():
    rows, _ = second(lambda x, mask: mask * x * x, X, X + 1, nondiff=["mask"])
    assert {name: row.leaf for name, row in rows.items()} == dict.fromkeys(BOTH, "x_bar")
    assert all(row.ok for row in rows.values())


def test_a_reference_that_raises_fails_beside_the_rule():
    def backward(x, g):
        slope = lambda x: f32(3) * x * x  # noqa: E731
        return g * jax.pure_callback(slope, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    evaluation = Evaluation(take_up(ruled(lambda x, g: 3 * x * x * g), (X,), reference=ruled(backward)))
    found = list(second_findings(evaluation.without_reference()))
    outcomes = [outcome for outcome in found if isinstance(outcome, Outcome)]
    assert len(outcomes) == len(found) == 2
    for outcome in outcomes:
        (row,) = outcome.rows
        problem = row.deviations["reference"].problem
        assert row.deviations["rule"].problem is None
        assert problem is not None and problem.startswith("raised ValueError: Pure callbacks")
        ((who, text),) = outcome.errors.items()
        assert who == f"{row.check} reference" and text.startswith("Traceback (most recent call last):")


def test_one_walk_of_the_bound_for_both(monkeypatch):
    walks = []

    def counted(*args, **options):
        walks.append(1)
        return rounding_bounds(*args, **options)

    monkeypatch.setattr("pullback.parity.verdict.comparison.rounding_bounds", counted)
    rows, _ = second(cube)
    assert list(rows) == BOTH and len(walks) == 1
