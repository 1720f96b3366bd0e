import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin, mlp_loss, relu
from pullback.parity.case.case import take_up
from pullback.parity.probes.structure import linearity_findings, rule_findings, structure_findings
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
    refused = ("jax refuses them: TypeError: ", "jax refuses them: ValueError: ")  # the second under JAX_CUSTOM_VJP3
    assert status == "FAIL" and text.startswith(refused) and "\n" not in text


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


G = np.array([[1.0, 2.0], [3.0, -4.0], [7.0, -6.0], [1.0, 1.0], [0.0, 0.0]])
BOUNDS = {"x_bar": np.full((5, 2), 1e-6), "w_bar": np.full((5, 2), 1e-6)}


def linear(names=("x",), bounds=BOUNDS, want=None, **leaves):
    want = {f"{name}_bar": np.zeros_like(bounds[f"{name}_bar"]) for name in names} | (want or {})
    findings = list(linearity_findings(list(names), leaves, bounds, want))
    assert {finding.check for finding in findings} <= {"linearity"}
    return {finding.about: (finding.status, finding.text) for finding in findings}


def changed(row, by):
    bar = 2 * G
    bar[row] += by
    return bar


def test_linear():
    assert linear(x_bar=2 * G) == {"x_bar": ("pass", "linear in the cotangent, 0% of what rounding allows")}


def test_within_what_rounding_allows():
    # One bound for the sum, one for the first, two for twice the second.
    assert linear(x_bar=changed(2, 2e-6))["x_bar"] == (
        "pass",
        "linear in the cotangent, 50% of what rounding allows",
    )
    assert linear(x_bar=changed(0, 3.9e-6))["x_bar"][0] == "pass"


@pytest.mark.parametrize(("row", "by", "bounds_off"), [(2, 8e-6, "2"), (0, 8e-6, "2"), (1, 8e-6, "4")])
def test_not_linear(row, by, bounds_off):
    status, text = linear(x_bar=changed(row, by))["x_bar"]
    assert (status, text) == ("FAIL", f"not linear in the cotangent: {bounds_off} bounds off")


def test_ones_have_no_say():
    assert linear(x_bar=changed(3, 100.0))["x_bar"][0] == "pass", "that is for the table"


def test_not_zero_for_zero():
    assert linear(x_bar=changed(4, 1e-30))["x_bar"] == ("FAIL", "not zero for a zero cotangent")


def test_no_bound_is_needed_where_it_is_exact():
    nothing = {"x_bar": np.zeros((5, 2))}
    assert linear(bounds=nothing, x_bar=2 * G)["x_bar"][0] == "pass"
    assert linear(bounds=nothing, x_bar=changed(2, 1e-12)) == {
        "x_bar": ("FAIL", "not linear in the cotangent: inf bounds off")
    }


def test_nan_is_not_linear():
    assert linear(x_bar=changed(0, np.nan))["x_bar"][0] == "FAIL"


def test_nan_is_no_fault_where_the_oracle_is_infinite_too():
    infinite = {"x_bar": np.where(np.arange(5)[:, None] == 1, [np.inf, 0], 0)}
    spoiled = 2 * G
    spoiled[:, 0] = np.nan
    assert linear(x_bar=spoiled, want=infinite)["x_bar"][0] == "pass"
    spoiled[:, 1] = np.nan
    assert linear(x_bar=spoiled, want=infinite)["x_bar"][0] == "FAIL"


def test_each_argument_is_judged_for_itself():
    found_in_both = linear(("x", "w"), x_bar=2 * G, w_bar=changed(4, 1.0))
    assert [status for status, _ in found_in_both.values()] == ["pass", "FAIL"]


def test_your_own_cotangents_are_not_asked():
    bounds = {"x_bar": np.full((6, 2), 1e-6)}
    assert linear(bounds=bounds, x_bar=np.concatenate([2 * G, [[5, 5]]]))["x_bar"][0] == "pass"


@pytest.mark.parametrize("bar", [2 * G[:, :1], 2 * G[:, :0]])
def test_what_has_another_shape_or_no_elements_is_left_to_the_table(bar):
    bounds = {"x_bar": np.zeros((5, 0))} if not bar.size else BOUNDS
    assert linear(bounds=bounds, x_bar=bar) == {}


def test_half_precision_is_judged_in_float64():
    assert linear(x_bar=(2 * G).astype(np.float16))["x_bar"][0] == "pass"
