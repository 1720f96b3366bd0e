import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin, mse, relu
from pullback.parity.case.case import on_trial
from pullback.parity.probes.second_order import forward_over_reverse, reverse_over_reverse, second_derivatives

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


def second(rule, *args, reference=None):
    outcomes, findings = second_derivatives(on_trial(rule, args or (X,), reference, None, None, None, (), 0))
    rows = {row.check: row for outcome in outcomes for row in outcome.rows}
    return rows, {finding.about: finding for finding in findings}


@pytest.mark.parametrize("product", [reverse_over_reverse, forward_over_reverse])
def test_known_second_derivatives(product):
    x, t, g = f32([1, 2, -3]), f32([1, -1, 2]), f32([2, 1, 1])
    leaves = product(["x"], cube)([x], [g[None]], [t])
    np.testing.assert_array_equal(leaves["x_bar"], 6 * x * g * t)


@pytest.mark.parametrize("product", [reverse_over_reverse, forward_over_reverse])
def test_mixed_ones_too(product):
    x, w, s, t, g = (f32(np.arange(i, i + 3)) for i in range(5))
    leaves = product(["x", "w"], lambda x, w: x * w)([x, w], [g[None]], [s, t])
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
