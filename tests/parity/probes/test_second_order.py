import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin, mse, relu
from pullback.parity.case.case import take_up
from pullback.parity.probes.one_program import in_one_program
from pullback.parity.probes.second_order import (
    forward_over_reverse,
    reverse_over_reverse,
    second_findings,
    second_parts,
)
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


def test_a_wrong_second_derivative_is_found():
    # Right at first order, and nothing at second.
    rows, _ = second(ruled(lambda x, g: 3 * jax.lax.stop_gradient(x * x) * g), reference=cube)
    for row in rows.values():
        assert list(row.deviations) == ["rule"] and row.deviations["rule"].problem == "outside the bound"
        assert row.diagnosis["rule"] == "all zeros: is it dropped, or None returned for it?"


@pytest.mark.parametrize("zeros", ["a", "z"])
def test_a_wrong_one_is_found_beside_an_argument_of_zeros(zeros):
    """Leaves out of a jit are in the order of their names, and the arguments are not: each is paired with its own."""
    wrong, right = ("z", "a") if zeros == "a" else ("a", "z")

    def plain(q, p):
        return (p[wrong] ** 3).sum() * q.sum() + (p[right] * q).sum()

    @jax.custom_vjp
    def rule(q, p):
        return plain(q, p)

    def backward(residuals, g):
        q, p = residuals
        bars = {wrong: 3 * jax.lax.stop_gradient(p[wrong]) ** 2 * q.sum() * g, right: q * g}
        return ((p[wrong] ** 3).sum() + p[right]) * g, bars

    rule.defvjp(lambda q, p: (plain(q, p), (q, p)), backward)
    args = f32([1, 2, 0.5]), {wrong: f32([1, -2, 3]), right: f32([0, 0, 0])}
    found = list(second_findings(Evaluation(take_up(rule, args, reference=plain))))
    (outcome,) = [each for each in found if isinstance(each, Outcome) and each.rows[0].check == "grad of grad"]
    assert {row.leaf for row in outcome.rows if not row.ok} == {f"p['{wrong}']_bar"}


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


def test_the_rule_is_held_against_the_exact_second_derivative():
    rows, findings = second(ruled(lambda x, g: 3 * x * x * g), reference=lambda x: x**3)
    assert not findings and all(row.ok and list(row.deviations) == ["rule"] for row in rows.values())


def test_a_rule_that_loses_more_digits_than_the_reference_is_right():
    # Its own way, in float32, is 1000 times as far off.
    rule = ruled(lambda x, g: (3 * x * x + 1000 * x - 1000 * x) * g)
    evaluation = Evaluation(take_up(rule, (X,), reference=cube))
    outcomes = [found for found in second_findings(evaluation) if isinstance(found, Outcome)]
    assert [row.ok for outcome in outcomes for row in outcome.rows] == [True, True]


def test_without_a_reference_its_own_arithmetic_is_no_finding():
    evaluation = Evaluation(take_up(ruled(lambda x, g: (3 * x * x + 1000 * x - 1000 * x) * g), (X,)))
    outcomes = [found for found in second_findings(evaluation) if isinstance(found, Outcome)]
    assert [row.ok for outcome in outcomes for row in outcome.rows] == [True, True] and not evaluation.findings


def test_second_derivatives_that_are_next_to_nothing_are_nothing():
    linear = lambda x: x + 1e-30 * x * x  # noqa: E731
    rows, findings = second(linear, f32([1, 2]), reference=lambda x: 1 * x)
    assert all(row.ok for row in rows.values()) and not findings
    rows, findings = second(lambda x: x + 1e-3 * x * x, f32([1, 2]), reference=lambda x: 1 * x)
    assert not any(row.ok for row in rows.values()) and not findings


def test_a_reference_without_a_second_derivative_is_a_note():
    def backward(x, g):
        slope = lambda x: f32(3) * x * x  # noqa: E731
        return g * jax.pure_callback(slope, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    rows, findings = second(ruled(lambda x, g: 3 * x * x * g), reference=ruled(backward))
    assert not rows and list(findings) == BOTH
    assert all(finding.text.startswith("not defined: ValueError: Pure callbacks") for finding in findings.values())


def test_what_cannot_be_judged_is_skipped_and_said():
    beside_a_pole = lambda x: 1 / (x - f32(0.99999997))  # noqa: E731
    rows, findings = second(beside_a_pole, f32([1.0]), reference=beside_a_pole)
    for name in BOTH:
        finding = findings[f"{name} x_bar"]
        assert finding.status == "skipped" and finding.text.startswith("not judged: rounding may move ")
    assert not rows


def test_complex_second_derivatives():
    z = (X + 1j * X[::-1]).astype(np.complex64)
    holomorphic = lambda z: z * z * z  # noqa: E731

    @jax.custom_vjp
    def rule(z):
        return z * z * z

    rule.defvjp(lambda z: (z * z * z, z), lambda z, g: (3 * z * z * g,))
    rows, findings = second(rule, z, reference=holomorphic)
    assert not findings and list(rows) == BOTH and all(row.ok for row in rows.values())
    half = jax.custom_vjp(holomorphic)
    half.defvjp(lambda z: (z * z * z, z), lambda z, g: (3 * z * jax.lax.stop_gradient(z) * g,))
    rows, _ = second(half, z, reference=holomorphic)
    assert not any(row.ok for row in rows.values())


def test_parts_that_were_compiled_already_are_not_compiled_again():
    evaluation = Evaluation(take_up(cube, (X,)))
    runs = in_one_program(second_parts(evaluation))
    assert list(runs) == BOTH
    asked = []
    counted = {name: lambda name=name: asked.append(name) or runs[name]() for name in runs}
    assert all(row.ok for found in second_findings(evaluation, counted) for row in found.rows)  # pyright: ignore
    assert asked == BOTH
