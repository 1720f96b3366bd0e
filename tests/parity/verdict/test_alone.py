"""A rule that nobody can be compared with: the slope of its forward is its only witness, and without it nothing is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.parity.case.case import take_up
from pullback.parity.verdict.alone import is_alone
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle
from pullback.parity.verdict.rows import ALONE

X = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)


def on_host(fun):
    """numpy's function as jax sees it: a callback, which has no derivative and cannot be looked into."""
    return lambda x: jax.pure_callback(
        lambda a: fun(np.asarray(a)), jax.ShapeDtypeStruct(x.shape, x.dtype), x, vmap_method="sequential"
    )


def rule_of(forward, derivative):
    @jax.custom_vjp
    def rule(x):
        return forward(x)

    rule.defvjp(lambda x: (forward(x), x), lambda x, y_bar: (y_bar * derivative(x),))
    return rule


SINE = on_host(np.sin)
STEPS = on_host(lambda a: np.round(np.sin(a) * 64) / 64)


def test_the_slope_stands_by_a_right_one():
    report = parity.check(rule_of(SINE, jnp.cos), X, checks=["values", "numerical"])
    assert report.exit_code == 0, report


@pytest.mark.parametrize("factor", [2.0, 1.02])
def test_the_slope_contradicts_a_wrong_one(factor):
    wrong = rule_of(SINE, lambda x: factor * jnp.cos(x))
    assert parity.check(wrong, X, checks=["values", "numerical"]).exit_code == 1
    # Asked for values alone, nobody measures for a verdict, and nobody agrees either.
    report = parity.check(wrong, X, checks=["values"])
    assert report.exit_code == 3 and [each.leaf for each in report.unjudged] == ["float32 x_bar"]


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_without_any_witness_nothing_is_said(factor):
    report = parity.check(rule_of(STEPS, lambda x: factor * jnp.cos(x)), X, checks=["values", "numerical"])
    assert report.exit_code == 3
    (left,) = report.unjudged
    assert left.reason.startswith(ALONE) and "reference=" in left.remedy and left.count == left.size
    assert "Nothing else computes this gradient" in str(report)


def test_a_reference_judges_it():
    wrong = rule_of(STEPS, lambda x: 2 * jnp.cos(x))
    assert parity.check(wrong, X, reference=rule_of(STEPS, jnp.cos), checks=["values"]).exit_code == 1


@pytest.mark.parametrize(("rule", "alone"), [(rule_of(SINE, jnp.cos), True), (rule_of(jnp.sin, jnp.cos), False)])
def test_who_is_alone(rule, alone):
    """jax differentiates the forward of a rule in plain jax."""
    evaluation = Evaluation(take_up(rule, (X,)))
    choose_oracle(evaluation)
    assert is_alone(evaluation) == alone
    assert not is_alone(Evaluation(take_up(rule, (X,), reference=jnp.sin)))
