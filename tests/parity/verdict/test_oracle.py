import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import take_up
from pullback.parity.probes.numerical import numerical_findings
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle, oracle_name, plain_name

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([0.5, -1.25, 2])
Y = f32([3, 0.1, -0.7])


def product(x, y):
    return x * y


def evaluated(rule=product, *args, **options):
    return choose_oracle(Evaluation(take_up(rule, args or (X, Y), **options)))


def chosen(*args, **options):
    evaluation = evaluated(*args, **options)
    return oracle_name(evaluation), {finding.about: (finding.status, finding.text) for finding in evaluation.findings}


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
    (finding,) = numerical_findings(evaluated(looped, X))
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
    # Nobody can be measured then, so torch is believed, and the report says on what ground.
    name, findings = chosen(in_float32_only, reference=product, torch=lambda x, y: 2 * x * y)
    assert name == "torch"
    text = "torch and reference disagree in float64, and the rule does not run there: TypeError: float32 only"
    assert findings == {"torch": ("note", text)}


def on_a_kink(x, y):
    return jnp.sum(jnp.abs(x)) + jnp.sum(y)


@pytest.mark.parametrize("reference", [None, lambda x, y: jnp.sum(jnp.maximum(x, -x)) + jnp.sum(y)])
def test_no_vote_where_there_is_no_derivative(reference):
    # At 0 the rule has a slope of 0, torch one of 5: nothing measured contradicts either, so torch is believed.
    def theirs(x, y):
        return torch.sum(torch.maximum(-x, x) + torch.where(x == 0, 5 * x, 0 * x)) + torch.sum(y)

    evaluation = evaluated(on_a_kink, f32([0, 0, 0]), Y, reference=reference, torch=theirs)
    plain = "reference" if reference else "the rule's own primal, without its rules"
    (finding,) = evaluation.findings
    assert (finding.about, finding.status) == ("torch", "note")
    assert finding.text == (
        f"torch and {plain} disagree in float64, and numerical differentiation cannot tell who is right"
    )
    assert evaluation.slopes["x"].kinked and not evaluation.slopes["y"].kinked


def test_an_oracle_is_float64():
    for theirs in (None, lambda x, y: x / y):
        evaluation = evaluated(reference=lambda x, y: x / y, torch=theirs)
        leaves = evaluation.values.want
        np.testing.assert_array_equal(leaves["y"], X.astype(np.float64) / Y.astype(np.float64))
        assert all(leaf.dtype == np.float64 for leaf in leaves.values())


def test_a_reference_that_was_found_wrong_is_a_candidate_only():
    evaluation = evaluated(reference=lambda x, y: x * y * y, torch=product)
    assert evaluation.case.reference is None and list(evaluation.case.in_jax) == ["rule", "reference"]
    trusted = evaluated(reference=product, torch=product)
    assert trusted.case.reference is not None


def test_what_the_oracle_is_called():
    assert plain_name(evaluated(reference=product)) == "reference"
    assert plain_name(evaluated()) == oracle_name(evaluated()) == "the rule's own primal, without its rules"
    assert oracle_name(evaluated(torch=product)) == "torch"
