"""What is said of a mistake: reports on wrong rules, each in one paragraph."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.parity._check import CHECKS
from pullback.parity.report.text import told_failures

X = np.random.default_rng(0).standard_normal((6, 5)).astype(np.float32)


def ruled(fun, backward, forward=None):
    """`fun`, with this backward rule, of the residual x and the cotangent."""
    rule = jax.custom_vjp(fun)
    rule.defvjp(lambda x: ((forward or fun)(x), x), lambda x, g: (backward(x, g),))
    return rule


def told(rule: Any, x: Any = X, reference: Any = jnp.sin, **options: Any):
    asked: Any = {"checks": ["values"]} | options
    report = parity.check(rule, x, reference=reference, **asked)
    assert not report.ok
    return told_failures(report), report


def test_one_mistake_is_one_paragraph_however_many_rows_show_it():
    texts, report = told(ruled(jnp.sin, lambda x, g: 1.001 * g * jnp.cos(x)), checks=CHECKS)
    (text,) = texts
    assert sum(not row.ok for row in report.rows) >= 4
    assert text.startswith("x_bar of the rule is wrong at every element: 1.001 times what it should be. At [")
    assert "is right (as reference has it): " in text and " times as far off as rounding explains. " in text
    assert "The same in float64" in text and "and second derivatives. " in text
    assert "The slope measured along a random direction says so too." in text
    assert text.endswith("Try: look for a constant factor on the way to x_bar: a 2, a 1/n, a sum for a mean.")


def test_the_place_is_one_in_the_argument_and_the_cotangent_has_a_name():
    backward = lambda x, g: (g * jnp.cos(x)).at[3, 2].multiply(-1)  # noqa: E731
    (text,), report = told(ruled(jnp.sin, backward))
    assert text.startswith("x_bar of the rule is wrong: the sign is wrong, at [3, 2] only. At [3, 2], for cotangent c")
    assert "Try: look for a minus sign" in text
    shown = str(report)
    assert "6×5" in shown and "5×6×5" not in shown and " 3,2 c" in shown


@pytest.mark.parametrize("off", [1e-9, 1e-12])
def test_the_figures_have_the_digits_that_differ(off):
    with jax.enable_x64(True):
        (text,), _ = told(ruled(jnp.sin, lambda x, g: (1 + off) * g * jnp.cos(x)), X.astype(np.float64))
    got, right = text.split("it is ")[1].split(" is right")[0].split(", and ")
    assert got != right and f"(1 + {off:.1e}) times what it should be" in text


def test_an_exception_is_told_once():
    def backward(x, g):
        raise RuntimeError("the kernel [of x] failed.")

    (text,), _ = told(ruled(jnp.sin, backward), checks=["values", "structure", "transformations"])
    assert text == (
        "The rule raised RuntimeError: the kernel [of x] failed. So nothing of it could be compared in float32. "
        "The whole traceback is in report.errors['float32 rule']."
    )


def test_a_forward_rule_that_differs_from_its_function():
    (text,), _ = told(ruled(jnp.sin, lambda x, g: g * jnp.cos(x), lambda x: 1.25 * jnp.sin(x)))
    assert text.startswith("y of the rule is wrong at every element: 1.25 times what it should be.")
    assert "What the function itself returns is right: y (primal) in the table." in text
    assert text.endswith("Try: compare what the forward rule returns with what the function itself returns.")


def test_another_formula_is_no_lower_precision():
    gelu = lambda x: jax.nn.gelu(x, approximate=False)  # noqa: E731
    near = lambda x, g: jax.vjp(lambda x: jax.nn.gelu(x, approximate=True), x)[1](g)[0]  # noqa: E731
    x = np.random.default_rng(3).standard_normal((32, 10)).astype(np.float32)
    (text,), report = told(ruled(gelu, near), x, gelu, checks=["values", "dtypes"])
    assert "precision" not in text and "Try: hold the backward's terms of x_bar" in text
    assert not [said for row in report.rows for said in row.diagnosis.values() if "bfloat16" in said]


def test_a_wrong_value_and_its_slope_are_one_mistake():
    (text,), _ = told(lambda x: jnp.sin(x) + 0.1 * x**2, checks=["values", "numerical"])
    assert text.startswith("y of the rule is wrong at every element. At [")
    assert "x_bar is off too: the derivative of this y." in text


def test_a_cotangent_that_goes_in_twice():
    (text,), _ = told(ruled(jnp.sin, lambda x, g: g * jnp.abs(g) * jnp.cos(x)))
    assert "And it is not linear in the cotangent: " in text


def test_only_second_derivatives():
    stopped = ruled(jnp.sin, lambda x, g: g * jax.lax.stop_gradient(jnp.cos(x)))
    (text,), _ = told(stopped, checks=["values", "transformations"])
    assert text.startswith("In second derivatives, x_bar of the rule is wrong at every element: all zeros")
    assert text.endswith("a residual that is cut off from its argument has no derivative.")


def test_a_coarser_arithmetic_is_called_that():
    narrow = lambda x, g: g * jnp.cos(x.astype(jnp.bfloat16)).astype(jnp.float32)  # noqa: E731
    (text,), _ = told(ruled(jnp.sin, narrow))
    assert text.startswith("x_bar of the rule is less exact than float32 allows at every element: the maths is right; ")
    assert "arithmetic='bfloat16' accepts that" in text


def test_a_port_and_what_is_undecided():
    torch = pytest.importorskip("torch")
    texts, _ = told(lambda x: jnp.sin(x) * 1.01, reference=None, torch=torch.sin)
    assert texts[0].startswith("y of the rule differs from torch's at every element: 1.01 times what it should be.")
    texts, report = told(jnp.sin, reference=jnp.cos, torch=lambda x: torch.sin(x) * 1.5)
    assert report.undecided and texts[0].startswith("oracle undecided: torch and the reference disagree")
    assert texts[1].startswith("y differs among rule, reference and torch. At [") and "is right" not in texts[1]


def test_numbers_that_are_not_finite():
    (text,), _ = told(ruled(jnp.sin, lambda x, g: (g * jnp.cos(x)).at[2].set(jnp.nan)))
    assert text.startswith("x_bar of the rule is wrong: is NaN at [2, :], where ")
