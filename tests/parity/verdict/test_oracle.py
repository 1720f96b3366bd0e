import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import on_trial
from pullback.parity.verdict.oracle import choose_oracle, double_bounds, numerical, numerical_findings, slope_of

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([0.5, -1.25, 2])
Y = f32([3, 0.1, -0.7])


def product(x, y):
    return x * y


def trial(rule=product, *args, reference=None, torch=None, seed=0):
    return on_trial(rule, args or (X, Y), reference, torch, None, None, (), seed)


def chosen(*args, **options):
    oracle = choose_oracle(trial(*args, **options))
    return oracle.name, {finding.about: (finding.status, finding.text) for finding in oracle.findings}


def wrong_gradient(x, y):
    """The right value in torch, and twice the slope in x."""
    return (2 * x - x.detach()) * y


def test_where_they_agree_torch_is_the_oracle():
    name, findings = chosen(reference=product, torch=product)
    assert name == "torch" and list(findings) == ["torch"]
    status, text = findings["torch"]
    assert status == "pass" and text.startswith("torch and reference agree in float64, ")


@pytest.mark.parametrize("theirs", [lambda x, y: 2 * x * y, wrong_gradient])
def test_a_wrong_torch_is_found_out_by_numbers(theirs):
    name, findings = chosen(reference=product, torch=theirs)
    assert name == "reference"
    text = "torch and reference disagree in float64; numerical differentiation sides with reference"
    assert findings == {"reference": ("note", text)}


def test_a_wrong_reference_is_found_out_by_numbers():
    name, findings = chosen(reference=lambda x, y: x * y * y, torch=product)
    assert name == "torch"
    text = "torch and reference disagree in float64; numerical differentiation sides with torch"
    assert findings == {"torch": ("note", text)}


def test_a_wrong_torch_against_the_rules_own_primal():
    name, _ = chosen(torch=wrong_gradient)
    assert name == "the rule's own primal, without its rules"


def test_where_both_are_wrong_numbers_cannot_tell():
    _, findings = chosen(reference=lambda x, y: 2 * x * y, torch=lambda x, y: 3 * x * y)
    (text,) = (text for _, text in findings.values())
    assert text.endswith("disagree in float64, and numerical differentiation cannot tell who is right")


def test_only_one_of_them():
    assert chosen(reference=product) == ("reference", {"reference": ("note", "reference in float64")})
    name, _ = chosen(torch=product)
    assert name == "torch", "against the rule's own primal"


def test_with_neither_a_wrong_forward_is_not_seen_and_that_is_said():
    name, findings = chosen()
    assert name == "the rule's own primal, without its rules"
    assert findings[name] == (
        "note",
        f"{name} in float64: it is made from the rule's own forward, so a wrong forward is not seen",
    )


def test_a_rule_that_hides_where_it_cannot_be_taken_out():
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (7 * g,))
    looped = lambda x: jax.lax.scan(lambda c, row: (c, rule(row)), None, x)[1]  # noqa: E731
    it = trial(looped, X)
    (finding,) = numerical_findings(it, choose_oracle(it))
    assert finding.status == "FAIL", "by numbers it is seen all the same"


def test_a_rule_that_could_not_be_taken_out_is_named():
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (7 * g,))
    _, findings = chosen(lambda x: jax.lax.scan(lambda c, row: (c, rule(row)), None, x)[1], X)
    assert any("rule (custom_vjp)" in text for _, text in findings.values())


def in_float32_only(x, y):
    if x.dtype != jnp.float32:
        raise TypeError("float32 only\nsorry")
    return x * y


def in_torchs_float32_only(x, y):
    if x.dtype != torch.float32:
        raise TypeError("float32 only\nsorry")
    return x * y


def test_one_that_cannot_run_in_float64_is_left_out_and_reported():
    name, findings = chosen(reference=in_float32_only, torch=product)
    assert name == "torch"
    assert findings["reference"] == ("FAIL", "cannot be evaluated in float64: TypeError: float32 only")
    name, findings = chosen(reference=product, torch=in_torchs_float32_only)
    assert name == "reference"
    assert findings["torch"] == ("FAIL", "cannot be evaluated in float64: TypeError: float32 only")


def test_with_nobody_left_there_is_nothing_to_compare_with():
    with pytest.raises(ValueError, match="^nothing to compare with: torch cannot .*; reference cannot .*float32 only$"):
        chosen(reference=in_float32_only, torch=in_torchs_float32_only)


def test_torch_that_leaves_float64_is_no_oracle():
    name, _ = chosen(reference=product, torch=lambda x, y: (x.float() * y.float()).double())
    assert name == "reference"


def test_no_vote_where_the_rule_does_not_run_in_float64():
    chosen(in_float32_only, reference=product, torch=lambda x, y: 2 * x * y)


def test_an_oracle_is_float64():
    it = trial(reference=lambda x, y: x / y, torch=lambda x, y: x / y)
    leaves = choose_oracle(it).run(*it.args)
    np.testing.assert_array_equal(leaves["y"], X.astype(np.float64) / Y.astype(np.float64))


def test_double_bounds_are_those_of_float64():
    bounds = double_bounds(trial())
    assert set(bounds) == {"y", "y (primal)", "x_bar", "y_bar"}
    u = 2.0**-53
    exact = np.abs(X.astype(np.float64) * Y)
    assert (bounds["y"] >= 2 * u * exact).all() and (bounds["y"] <= 2 * u * exact * (1 + 1e-9)).all()


def test_slopes_are_those_of_the_first_cotangent():
    it = trial()
    slopes = numerical(it)
    g = it.cotangents[0][0].astype(np.float64)
    assert list(slopes) == ["x", "y"]
    for name, other in (("x", Y), ("y", X)):
        slope = slopes[name]
        assert not slope.kinked
        true = float(np.sum(g * other * slope.direction))
        assert abs(slope.estimate.value - true) <= 10 * slope.estimate.uncertainty + 1e-14
        assert slope_of({f"{name}_bar": (it.cotangents[0] * other)}, name, slope) == pytest.approx(true, rel=1e-6)


def judged(*args, **options):
    it = trial(*args, **options)
    return {finding.about: finding for finding in numerical_findings(it, choose_oracle(it))}


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
