import functools

import jax
import jax.numpy as jnp
import numpy as np

from pullback.parity.case.case import take_up
from pullback.parity.probes.numerical import numerical_findings
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([0.5, -1.25, 2])
Y = f32([3, 0.1, -0.7])


def product(x, y):
    return x * y


def in_float32_only(x, y):
    if x.dtype != jnp.float32:
        raise TypeError("float32 only\nsorry")
    return x * y


def judged(rule=product, *args, **options):
    evaluation = choose_oracle(Evaluation(take_up(rule, args or (X, Y), **options)))
    return {finding.about: finding for finding in numerical_findings(evaluation)}


def test_numbers_agree_with_a_right_rule():
    found = judged(lambda x, y: jnp.sin(x) * y, reference=lambda x, y: jnp.sin(x) * y)
    assert list(found) == ["x", "y"] and {finding.status for finding in found.values()} == {"pass"}
    assert "reference" in found["x"].text and "slope measured" in found["x"].text


def test_numbers_find_a_wrong_rule_in_the_input_that_it_is_wrong_in():
    @jax.custom_vjp
    def rule(x, y):
        return x * y

    rule.defvjp(lambda x, y: (x * y, (x, y)), lambda kept, g: (kept[1] * g, kept[0] * g * 1.0001))
    found = judged(rule, reference=product)
    assert found["x"].status == "pass" and found["y"].status == "FAIL"


def test_numbers_find_a_wrong_oracle():
    found = judged(reference=lambda x, y: 2 * x * y)
    assert {finding.status for finding in found.values()} == {"FAIL"}


def test_on_a_kink_there_is_no_derivative():
    found = judged(lambda x, y: jnp.abs(x) * y, f32([0, 1, 2]), Y)
    assert found["x"].status == "note" and found["x"].text == "lies on a kink: no derivative to measure"
    assert found["y"].status == "pass"


def test_near_a_kink_there_is_one():
    x = f32([1e-3, -1e-3, 1])
    assert judged(lambda x, y: jnp.abs(x) * y, x, Y)["x"].status == "pass"


def test_large_sums_are_measured_honestly():
    x = np.random.default_rng(0).standard_normal(2000).astype(np.float32)
    found = judged(lambda x: 1e6 + jnp.sum(x * x), x)
    assert found["x"].status in ("pass", "note")


def test_beside_the_edge_of_the_domain_it_is_too_rough_to_judge_by():
    assert judged(jnp.sqrt, f32([1, 1e-12]))["x"].status == "note"


def test_a_rule_that_does_not_run_in_float64_is_not_measured():
    (finding,) = judged(in_float32_only, reference=product).values()
    assert finding.status == "skipped" and finding.text.endswith("in float64: TypeError: float32 only")


def test_a_zero_slope_is_a_slope():
    assert judged(lambda x, y: x, reference=lambda x, y: x)["y"].status == "pass"


def test_several_outputs_and_integers():
    rule = lambda x, y: (x * y, {"place": jnp.argmax(x), "sum": jnp.sum(x)})  # noqa: E731
    assert {finding.status for finding in judged(rule).values()} == {"pass"}


def test_half_precision_arguments_are_measured_in_float64():
    found = judged(product, X.astype(jnp.bfloat16), Y.astype(jnp.bfloat16), reference=product)
    assert {finding.status for finding in found.values()} == {"pass"}


def test_a_gradient_that_does_not_run_in_float64_is_not_measured():
    @jax.custom_vjp
    def rule(x, y):
        return x * y

    def backward(kept, g):
        if g.dtype != jnp.float32:
            raise TypeError("float32 only\nsorry")
        return kept[1] * g, kept[0] * g

    rule.defvjp(lambda x, y: (x * y, (x, y)), backward)
    (finding,) = judged(rule, reference=product).values()
    assert (finding.about, finding.status) == ("rule", "skipped")
    assert finding.text == "its gradient does not run in float64: TypeError: float32 only"


def test_what_is_not_differentiated_is_not_measured():
    assert list(judged(reference=product, nondiff=["x"])) == ["y"]


def test_the_forward_is_measured_by_the_rules_own_and_everybody_is_named():
    found = judged(lambda x, y: jnp.sin(x) * y, reference=lambda x, y: jnp.sin(x) * y, torch=lambda x, y: x.sin() * y)
    assert "; torch " in found["x"].text and "<lambda> " in found["x"].text
