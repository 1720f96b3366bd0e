import functools

import jax
import jax.numpy as jnp
import numpy as np

from pullback.functional import lin, mlp_loss, relu
from pullback.parity.case.case import take_up
from pullback.parity.probes.structure import rule_findings, structure_findings
from pullback.parity.verdict.evaluation import Evaluation

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])


def found(probe, rule, *args, **options):
    (finding,) = probe(Evaluation(take_up(rule, args or (X,), **options)))
    return finding.check, finding.about, finding.status, finding.text


def product(backward):
    @jax.custom_vjp
    def rule(x, w):
        return x * w

    rule.defvjp(lambda x, w: (x * w, (x, w)), lambda kept, g: backward(*kept, g))
    return rule


def test_each_has_its_primals_shape_and_dtype():
    right = ("structure", "cotangents", "pass", "each has its primal's shape and dtype")
    assert found(structure_findings, product(lambda x, w, g: (w * g, x * g)), X, X) == right
    assert found(structure_findings, relu, X.astype(jnp.bfloat16)) == right


def test_another_dtype():
    rule = product(lambda x, w, g: ((w * g).astype(jnp.bfloat16), (x * g).astype(jnp.float16)))
    assert found(structure_findings, rule, X, X) == (
        "structure",
        "cotangents",
        "FAIL",
        "x_bar is bfloat16[2, 3], x float32[2, 3]; w_bar is float16[2, 3], w float32[2, 3]",
    )


def test_of_what_is_differentiated_only():
    rule = product(lambda x, w, g: ((w * g).astype(jnp.bfloat16), x * g))
    assert found(structure_findings, rule, X, X, nondiff=["x"])[2] == "pass"
    assert found(structure_findings, rule, X, X, nondiff=["w"])[2] == "FAIL"


def test_what_jax_refuses():
    _, _, status, text = found(structure_findings, product(lambda x, w, g: (w * g,)), X, X)
    assert status == "FAIL" and text.startswith("jax refuses them: TypeError: ") and "\n" not in text


def test_the_rules_that_ran():
    assert found(rule_findings, lin, X, X.T, None) == ("rule ran", "lin", "pass", "its jaxpr holds lin (custom_vjp)")


def test_rules_are_counted():
    params = [(np.ones((3, 4), np.float32), np.ones(4, np.float32)), (np.ones((4, 1), np.float32), f32([1]))]
    text = found(rule_findings, mlp_loss, params, X, f32([1, 2]))[3]
    assert text == "its jaxpr holds lin (custom_vjp) × 2, relu (custom_vjp), mse (custom_vjp)"


def test_no_rule_at_all():
    assert found(rule_findings, lambda x: x * x) == (
        "rule ran",
        "<lambda>",
        "note",
        "no custom rule in it: jax derives this gradient itself",
    )


def test_a_backward_that_raises_is_a_rule_all_the_same():
    def backward(x, w, g):
        raise RuntimeError("no gradient")

    assert found(rule_findings, product(backward), X, X)[2:] == ("pass", "its jaxpr holds rule (custom_vjp)")
    assert found(structure_findings, product(backward), X, X)[3] == "jax refuses them: RuntimeError: no gradient"
