import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.case.case import take_up
from pullback.parity.probes.numerical import numerical_findings
from pullback.parity.verdict.evaluation import Evaluation
from pullback.parity.verdict.oracle import choose_oracle, oracle_name, side_with_the_slope
from pullback.parity.verdict.witness import OWN_PRIMAL, plain_name

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([0.5, -1.25, 2])
Y = f32([3, 0.1, -0.7])


def product(x, y):
    return x * y


def evaluated(rule=product, *args, trusted=None, **options):
    return choose_oracle(Evaluation(take_up(rule, args or (X, Y), **options), trusted=trusted))


def chosen(*args, **options):
    evaluation = evaluated(*args, **options)
    return oracle_name(evaluation), {finding.about: (finding.status, finding.text) for finding in evaluation.findings}


def wrong_gradient(x, y):
    """The right value in torch, and twice the slope in x."""
    return (2 * x - x.detach()) * y


def test_where_they_agree_the_reference_is_the_oracle():
    name, findings = chosen(reference=product, torch=product)
    assert name == "reference" and list(findings) == ["torch"]
    status, text = findings["torch"]
    assert status == "pass" and text.startswith("torch and reference agree in float64, ")


@pytest.mark.parametrize(("off", "dtype"), [(1e-8, np.float64), (2e-7, np.float32)])
def test_what_the_arguments_dtype_would_not_see_is_a_disagreement(off, dtype):
    # In float64, and held by float64's bounds, up to constants of float32 where the arguments are no finer.
    with jax.enable_x64(dtype == np.float64):
        x, y = X.astype(dtype), Y.astype(dtype)
        evaluation = evaluated(product, x, y, reference=product, torch=lambda x, y: x * y * (1 + off))
    assert not evaluation.torch_agrees and oracle_name(evaluation) == "reference"
    (finding,) = evaluation.findings
    assert "they disagree in float64 (x_bar is " in finding.text


def test_figures_have_enough_digits_to_tell_them_apart():
    for seed in range(5):
        with jax.enable_x64(True):
            args, scaled = (X.astype(np.float64), Y.astype(np.float64)), lambda x, y: x * y * (1 + 1e-9)
            (finding,) = evaluated(product, *args, reference=product, torch=scaled, seed=seed).findings
        said = finding.text.partition("x_bar is ")[2].partition(" in the reference")[0]
        theirs, ours = map(float, said.split(" in torch, "))
        assert theirs != ours and theirs == pytest.approx(ours, rel=1e-8)


def test_typed_constants_are_no_disagreement():
    evaluation = evaluated(reference=product, torch=lambda x, y: x * y * (1 + 5e-10))
    assert evaluation.torch_agrees and oracle_name(evaluation) == "reference"
    (finding,) = evaluation.findings
    assert (finding.about, finding.status) == ("torch", "note")
    assert finding.text == "torch and reference agree in float64 to 5e-10 of the largest element, as constants may do"


def test_constants_that_jax_rounded_to_float32_are_no_disagreement():
    evaluation = evaluated(lambda x, y: 0.1 * x * y, reference=lambda x, y: 0.1 * x * y, torch=lambda x, y: 0.1 * x * y)
    (finding,) = evaluation.findings
    assert evaluation.torch_agrees and finding.status == "pass"


@pytest.mark.parametrize("theirs", [lambda x, y: 2 * x * y, lambda x, y: x * y + float("nan")])
def test_two_against_one(theirs):
    name, findings = chosen(reference=product, torch=theirs)
    status, text = findings["reference"]
    assert name == "reference" and list(findings) == ["reference"] and status == "note"
    assert text.startswith("torch and reference: they disagree in float64 (")
    assert text.endswith("; the rule agrees with reference, which leaves the other alone")


def test_two_against_one_that_is_the_reference():
    name, findings = chosen(reference=lambda x, y: x * y * y, torch=product)
    assert name == "torch" and list(findings) == ["torch"]
    assert findings["torch"][1].endswith("; the rule agrees with torch, which leaves the other alone")


def test_where_only_the_gradients_differ_the_slope_decides():
    name, findings = chosen(reference=product, torch=wrong_gradient)
    assert name == "reference"
    assert findings["reference"][1].endswith("; numerical differentiation sides with reference")

    @jax.custom_vjp
    def doubled(x, y):
        return x * y

    doubled.defvjp(lambda x, y: (x * y, (x, y)), lambda args, g: (2 * g * args[1], g * args[0]))
    name, findings = chosen(doubled, reference=doubled, torch=product)
    assert name == "torch", "though rule and reference are two"
    assert findings["torch"][1].endswith("; numerical differentiation sides with torch")


def test_where_a_gradient_is_stopped_the_slope_is_not_asked():
    stopped = lambda x, y: (2 * x - jax.lax.stop_gradient(x)) * y  # noqa: E731
    name, findings = chosen(stopped, reference=stopped, torch=product)
    assert name == "reference"
    assert findings["reference"][1].endswith("; the rule agrees with reference, which leaves the other alone")


def test_where_all_three_differ_nobody_is_called_wrong():
    evaluation = evaluated(reference=lambda x, y: 2 * x * y, torch=lambda x, y: 3 * x * y)
    (finding,) = evaluation.findings
    assert (finding.about, finding.status) == ("undecided", "FAIL") and not evaluation.oracle_is_torch
    assert evaluation.undecided.startswith("torch and the reference disagree in float64 (x_bar is ")
    assert finding.text == (
        f"{evaluation.undecided}, and the rule agrees with neither: say whom to trust (trusted='torch')"
    )


@pytest.mark.parametrize("trusted", ["torch", "reference"])
def test_whoever_is_trusted_is_the_oracle(trusted):
    options = {"reference": lambda x, y: 2 * x * y, "torch": lambda x, y: 3 * x * y}
    for rule in (product, options[{"torch": "reference", "reference": "torch"}[trusted]]):
        evaluation = evaluated(rule, trusted=trusted, **options)
        assert oracle_name(evaluation) == trusted and not evaluation.undecided
        (finding,) = evaluation.findings
        assert (finding.about, finding.status) == (trusted, "note") and finding.text.endswith("; this one you trust")
        assert not any(row.ok for row in evaluation.maths_rows), "and the rule differs from it"


def test_trust_does_not_matter_where_they_agree():
    name, findings = chosen(reference=product, torch=product, trusted="torch")
    assert name == "reference" and findings["torch"][0] == "pass"


@pytest.mark.parametrize("port", [lambda x, y: 2 * x * y, lambda x, y: x * y + 1e-6 * x])
def test_a_port_that_differs_from_torch_alone_is_wrong(port):
    name, findings = chosen(port, torch=product)
    assert name == "torch"
    assert findings["torch"] == ("note", "it is the original, and your port differs from it")
    rows = evaluated(port, torch=product).maths_rows
    assert {row.leaf for row in rows if not row.ok} >= {"y", "x_bar"}


def test_a_port_with_a_wrong_rule_and_a_right_forward():
    @jax.custom_vjp
    def port(x, y):
        return x * y

    port.defvjp(lambda x, y: (x * y, (x, y)), lambda kept, g: (kept[1] * g, 2 * kept[0] * g))
    evaluation = evaluated(port, torch=product)
    assert oracle_name(evaluation) == OWN_PRIMAL and evaluation.torch_agrees
    assert [row.leaf for row in evaluation.values.rows if not row.ok] == ["y_bar"]


def test_a_port_that_you_trust():
    name, findings = chosen(lambda x, y: 2 * x * y, torch=product, trusted="reference")
    assert name == OWN_PRIMAL and not findings


def test_a_wrong_gradient_in_torch_is_the_original_too():
    name, _ = chosen(torch=wrong_gradient)
    assert name == "torch"


def test_the_reference_alone():
    assert chosen(reference=product) == ("reference", {})


def test_with_neither_a_wrong_forward_is_not_seen_and_that_is_said():
    name, findings = chosen()
    assert name == OWN_PRIMAL
    text = f"{OWN_PRIMAL}: it is made from the rule's own forward, so a wrong forward is not seen"
    assert findings == {"own primal": ("note", text)}


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


def in_torchs_float32_only(factor=1.0):
    def theirs(x, y):
        if x.dtype != torch.float32:
            raise TypeError("float32 only\nsorry")
        return factor * x * y

    return theirs


def test_a_reference_that_runs_in_its_own_dtype_only_is_an_oracle():
    name, findings = chosen(reference=in_float32_only, torch=product)
    assert name == "reference" and findings["torch"][0] == "pass", "its trace is what is evaluated in float64"


def test_torch_that_does_not_run_in_float64_is_held_in_the_arguments_dtype():
    evaluation = evaluated(reference=product, torch=in_torchs_float32_only())
    assert oracle_name(evaluation) == "reference" and evaluation.torch_is_coarse and evaluation.torch_agrees
    (finding,) = evaluation.findings
    assert (finding.about, finding.status) == ("torch", "note")
    assert finding.text == (
        "it does not run in float64 (TypeError: float32 only), so it is held against reference in float32 only"
    )
    assert all(row.ok for row in evaluation.values.rows)


def test_torch_that_does_not_run_in_float64_and_is_wrong():
    evaluation = evaluated(reference=product, torch=in_torchs_float32_only(1 + 1e-5))
    assert oracle_name(evaluation) == "reference" and not evaluation.torch_agrees
    rows = evaluation.values.rows
    assert {who for row in rows for who, d in row.deviations.items() if d.problem} == {"torch"}


def test_torch_that_never_runs_is_reported_in_its_column():
    evaluation = evaluated(reference=product, torch=lambda x, y: 1 / 0)
    assert oracle_name(evaluation) == "reference"
    problems = {row.deviations["torch"].problem for row in evaluation.values.rows}
    assert problems == {"raised ZeroDivisionError: division by zero"}


INSIDE = {
    "all of it": lambda x, y: (x.float() * y.float() / 3).to(x.dtype),
    "a part": lambda x, y: (x.float() / 3).to(x.dtype) * y,
}


@pytest.mark.parametrize("name", INSIDE)
def test_torch_that_computes_in_float32_inside_is_held_in_float32(name):
    evaluation = evaluated(lambda x, y: x * y / 3, reference=lambda x, y: x * y / 3, torch=INSIDE[name])
    (finding,) = evaluation.findings
    text = "asked in float64, it computes in a coarser dtype: it is held against reference in float32 only"
    assert (finding.about, finding.status, finding.text) == ("torch", "note", text)
    assert all(row.ok for row in evaluation.values.rows) and oracle_name(evaluation) == "reference"


def test_torch_that_computes_in_float32_inside_may_be_wrong_all_the_same():
    evaluation = evaluated(reference=product, torch=lambda x, y: (x.float() * y.float()).to(x.dtype) * (1 + 1e-5))
    (finding,) = evaluation.findings
    assert finding.about == "reference" and "they disagree" in finding.text


def test_another_side_of_a_kink_is_a_convention():
    x = f32([0, -1, 1, 3])
    clip, theirs = (lambda x: jnp.clip(x, -1, 1)), lambda x: torch.clamp(x, -1, 1)  # 1/2 and 1 at the limits
    evaluation = evaluated(clip, x, torch=theirs)
    (finding, *_) = [each for each in evaluation.findings if each.about == "torch"]
    text = f"it takes another side of a kink than {OWN_PRIMAL}: x_bar at [0:4, 1:3]; either is right there"
    assert evaluation.torch_agrees and (finding.status, finding.text) == ("note", text)
    assert all(row.ok for row in (*evaluation.maths_rows, *evaluation.values.rows))
    # The rule may follow torch there; and what is neither is wrong.
    for at_the_limits, right in ((1.0, True), (0.5, True), (-1.0, False)):
        rule = jax.custom_vjp(clip)
        slope = lambda x, at=at_the_limits: jnp.where(abs(x) < 1, 1.0, jnp.where(abs(x) == 1, at, 0.0))  # noqa: E731
        rule.defvjp(lambda x: (clip(x), x), lambda x, g, slope=slope: (slope(x).astype(g.dtype) * g,))
        evaluation = evaluated(rule, x, reference=clip, torch=theirs)
        assert all(row.ok for row in evaluation.values.rows) == right
    # Where nothing is tied, the same difference is a mistake.
    assert not evaluated(clip, f32([0, 2]), torch=lambda x: torch.clamp(x, -1, 1) + 0.5 * x).torch_agrees


def test_other_outputs_than_the_references():
    evaluation = evaluated(reference=product, torch=lambda x, y: (x * y,))
    assert oracle_name(evaluation) == "reference" and not evaluation.torch_agrees
    (finding,) = evaluation.findings
    assert finding.text == (
        "it is no candidate, since its outputs are others than those of reference: y, y[0] are no pair"
    )
    wrong = {who for row in evaluation.values.rows for who, d in row.deviations.items() if d.problem}
    assert wrong == {"torch"}


def test_whole_numbers_that_differ():
    evaluation = evaluated(
        lambda x, y: (jnp.argmax(x), x * y),
        reference=lambda x, y: (jnp.argmax(x), x * y),
        torch=lambda x, y: (torch.argmin(x), x * y),
    )
    (finding,) = evaluation.findings
    assert "(y[0] is 1 in torch, 2 in the reference)" in finding.text and oracle_name(evaluation) == "reference"
    wrong = {(row.leaf, who) for row in evaluation.values.rows for who, d in row.deviations.items() if d.problem}
    assert wrong == {("y[0]", "torch"), ("y[0] (primal)", "torch")}


def on_a_kink(x, y):
    return jnp.sum(jnp.abs(x)) + jnp.sum(y)


def test_on_a_kink_no_slope_decides_and_the_majority_does():
    # At 0 the rule has a slope of 0, torch one of 5: nothing measured contradicts either.
    def theirs(x, y):
        return torch.sum(torch.maximum(-x, x) + torch.where(x == 0, 5 * x, 0 * x)) + torch.sum(y)

    evaluation = evaluated(on_a_kink, f32([0, 0, 0]), Y, reference=on_a_kink, torch=theirs)
    (finding,) = evaluation.findings
    assert finding.about == "reference" and finding.text.endswith("which leaves the other alone")
    assert evaluation.slopes["x"].kinked and not evaluation.slopes["y"].kinked


def sided(rule, **options):
    evaluation = evaluated(rule, **options)
    before = len(evaluation.findings)
    side_with_the_slope(evaluation)
    return evaluation, evaluation.findings[before:]


def stopped(x, y):
    return 4 * x * y + jax.lax.stop_gradient(x) * y


@pytest.mark.parametrize(
    ("options", "others"),
    [
        ({"reference": stopped}, "the reference"),
        ({"reference": stopped, "torch": lambda x, y: 4 * x * y + x.detach() * y}, "reference and torch"),
        ({"torch": lambda x, y: 4 * x * y + x.detach() * y}, "torch"),
    ],
)
def test_a_rule_whose_gradient_is_the_slope_of_its_own_forward_is_not_called_wrong(options, others):
    evaluation, (finding,) = sided(lambda x, y: 5 * x * y, **options)
    assert (finding.about, finding.status) == ("undecided", "FAIL")
    assert (
        finding.text
        == evaluation.undecided
        == (
            f"the rule's x_bar is the measured slope of its own forward, and not what {others} say: "
            "a convention, or they are wrong"
        )
    )


def test_a_rule_whose_gradient_is_no_slope_is_wrong():
    @jax.custom_vjp
    def rule(x, y):
        return x * y

    rule.defvjp(lambda x, y: (x * y, (x, y)), lambda kept, g: (kept[1] * g, 2 * kept[0] * g))
    evaluation, found = sided(rule, reference=product)
    assert not found and not evaluation.undecided


def test_where_neither_is_the_slope_the_rule_is_wrong():
    @jax.custom_vjp
    def rule(x, y):
        return 5 * x * y

    rule.defvjp(lambda x, y: (5 * x * y, (x, y)), lambda kept, g: (7 * kept[1] * g, 5 * kept[0] * g))
    evaluation, found = sided(rule, reference=stopped)
    assert not found and not evaluation.undecided


def test_a_rule_whose_forward_differs_has_no_such_excuse():
    evaluation, found = sided(lambda x, y: 5 * x * y + 1e-3, reference=product)
    assert not found and not evaluation.undecided
    evaluation, found = sided(product, reference=product)
    assert not found and not evaluation.undecided


def test_an_oracle_is_float64():
    for theirs in (None, lambda x, y: x / y):
        evaluation = evaluated(reference=lambda x, y: x / y, torch=theirs)
        leaves = evaluation.values.want
        np.testing.assert_array_equal(leaves["y"], X.astype(np.float64) / Y.astype(np.float64))
        assert all(leaf.dtype == np.float64 for leaf in leaves.values())


def test_what_the_oracle_is_called():
    assert plain_name(evaluated(reference=product)) == oracle_name(evaluated(reference=product)) == "reference"
    assert plain_name(evaluated()) == oracle_name(evaluated()) == OWN_PRIMAL
    assert oracle_name(evaluated(lambda x, y: 2 * x * y, torch=product)) == "torch"
