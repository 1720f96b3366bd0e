import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive
from jax.interpreters import ad, mlir

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
    # The slope is that of the rule's forward, of which a wrong reference is another function: it is told, and the
    # comparison says the rest.
    found = judged(reference=lambda x, y: 2 * x * y)
    assert {finding.status for finding in found.values()} == {"note"}


def test_on_a_kink_there_is_no_derivative():
    found = judged(lambda x, y: jnp.abs(x) * y, f32([0, 1, 2]), Y)
    assert found["x"].status == "note" and found["x"].text == "lies on a kink or a step: no derivative to measure"
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


def test_a_rule_that_does_not_run_in_float64_is_measured_by_its_own_trace():
    found = judged(in_float32_only, reference=product)
    assert {finding.status for finding in found.values()} == {"pass"}


def test_a_zero_slope_is_a_slope():
    assert judged(lambda x, y: x, reference=lambda x, y: x)["y"].status == "pass"


def test_several_outputs_and_integers():
    rule = lambda x, y: (x * y, {"place": jnp.argmax(x), "sum": jnp.sum(x)})  # noqa: E731
    assert {finding.status for finding in judged(rule).values()} == {"pass"}


def test_half_precision_arguments_are_measured_in_float64():
    found = judged(product, X.astype(jnp.bfloat16), Y.astype(jnp.bfloat16), reference=product)
    assert {finding.status for finding in found.values()} == {"pass"}


def ruled(backward, forward=product):
    @jax.custom_vjp
    def rule(x, y):
        return forward(x, y)

    rule.defvjp(lambda x, y: (forward(x, y), (x, y)), lambda kept, g: backward(*kept, g))
    return rule


def on_host(x, y):
    """A callback, which computes in its own dtype."""
    times = lambda x, y: np.asarray(x) * np.asarray(y)  # noqa: E731
    return jax.pure_callback(times, jax.ShapeDtypeStruct(x.shape, x.dtype), x, y, vmap_method="sequential")


def test_what_runs_in_its_own_dtype_only_is_measured_as_well_as_that_allows():
    found = judged(ruled(lambda x, y, g: (y * g, x * g), on_host), reference=product)
    assert {name: finding.status for name, finding in found.items()} == {"x": "pass", "y": "pass"}
    assert all(1e-8 < float(re.findall("unsure by (.*?)\\)", finding.text)[0]) < 1e-2 for finding in found.values())
    found = judged(ruled(lambda x, y, g: (1.05 * y * g, x * g), on_host))
    assert {name: finding.status for name, finding in found.items()} == {"x": "FAIL", "y": "pass"}


def test_what_is_not_differentiated_is_not_measured():
    assert list(judged(reference=product, nondiff=["x"])) == ["y"]


def test_the_forward_is_measured_by_the_rules_own_and_both_are_named():
    found = judged(lambda x, y: jnp.sin(x) * y, reference=lambda x, y: jnp.sin(x) * y)
    assert "; reference " in found["x"].text and "<lambda> " in found["x"].text
    assert "torch " in judged(lambda x, y: 2 * x * y, torch=product)["x"].text, "or torch, where it is the oracle"


def straight_through(x, y):
    return (x + jax.lax.stop_gradient(jnp.round(x) - x)) * y


def reversed_(x, y):
    return (2 * jax.lax.stop_gradient(x) - x) * y


@pytest.mark.parametrize("fun", [straight_through, reversed_])
@pytest.mark.parametrize("reference", [True, False])
def test_a_gradient_that_is_stopped_on_purpose_is_a_note(fun, reference):
    found = judged(fun, reference=fun if reference else None)
    assert found["x"].status == "note" and found["y"].status == "pass"
    agreed = "; rule and oracle agree on another: a gradient stopped on purpose, or a function with steps"
    assert found["x"].text.endswith(agreed) or "no derivative" in found["x"].text


def test_a_gradient_reversal_by_a_rule_of_its_own_is_a_note():
    reversal = ruled(lambda x, y, g: (-y * g, x * g))
    found = judged(reversal, reference=reversed_)
    assert found["x"].status == "note" and "on purpose" in found["x"].text and found["y"].status == "pass"


def test_a_smooth_function_whose_derivative_is_not_its_slope_fails():
    # A primitive whose derivative is registered wrongly: nobody takes that out of the rule's own primal.
    cube = Primitive("cube_for_this_test")
    cube.def_impl(lambda x: x**3)
    cube.def_abstract_eval(lambda aval: aval)
    mlir.register_lowering(cube, mlir.lower_fun(lambda x: x**3, multiple_results=False))
    ad.defjvp(cube, lambda g, x: 2 * x**2 * g)
    found = judged(lambda x: cube.bind(x), f32([1.5]))
    assert found["x"].status == "FAIL" and found["x"].text.startswith("slope measured ")


def test_a_slope_against_an_oracle_that_the_rule_contradicts_is_a_note():
    # The rule is the slope of its own forward, and the reference stops a gradient: a convention, or it is wrong.
    found = judged(lambda x, y: 5 * x * y, reference=lambda x, y: (4 * x + jax.lax.stop_gradient(x)) * y)
    assert found["x"].status == "note" and "on purpose" not in found["x"].text and found["y"].status == "pass"


def test_complex_arguments_are_measured_in_the_plane():
    z = (X + 1j * Y).astype(np.complex64)
    assert judged(lambda z: z * z, z, reference=lambda z: z * z)["z"].status == "pass"

    @jax.custom_vjp
    def rule(z):
        return z * z

    rule.defvjp(lambda z: (z * z, z), lambda z, g: (2 * jnp.conj(z) * g,))
    assert judged(rule, z, reference=lambda z: z * z)["z"].status == "FAIL"


def test_masks_of_infinities_are_measured_beside_them():
    mask = f32([0, -np.inf, 0])
    softmax = lambda x, mask: jax.nn.softmax(x + mask)  # noqa: E731
    found = judged(softmax, X, mask, reference=softmax)
    assert {finding.status for finding in found.values()} == {"pass"}
