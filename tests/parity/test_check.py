import functools
import json
import os
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.functional import lin, mlp_loss, relu
from pullback.parity._check import CHECKS

f32 = functools.partial(np.array, dtype=np.float32)

X = f32([[0.51, -1.1, 2.3], [-0.27, 0.9, -3.3]])
W = f32([[0.3, 0.7], [-0.2, 0.45], [1.1, -0.6]])
B = f32([0.3, -0.8])
FEW: Any = {"checks": (), "dtypes": ()}
"""Values and linearity only."""


def square(x):
    return x * x


def affine(x, w, b):
    y = jnp.dot(x, w, preferred_element_type=np.promote_types(x.dtype, np.float32))
    return (y + jnp.broadcast_to(b.astype(y.dtype), y.shape)).astype(x.dtype)


def affine_in_torch(x, w, b):
    return x @ w + b


def ruled(backward, forward=square, primal=square):
    """A custom_vjp of x alone: a right x^2 unless it is made otherwise."""

    @jax.custom_vjp
    def rule(x):
        return primal(x)

    rule.defvjp(lambda x: (forward(x), x), lambda x, g: (backward(x, g),))
    return rule


def right(x, g):
    return 2 * x * g


def of(report, check):
    return {finding.about: (finding.status, finding.text) for finding in report.findings if finding.check == check}


def failed(report):
    return {finding.check for finding in report.findings if finding.status == "FAIL"}


def problems(report, who="rule"):
    return {row.leaf: row.deviations[who].problem for row in report.rows if row.deviations[who].problem}


@pytest.fixture(scope="module")
def whole():
    """All checks of a right rule, against both."""
    return parity.check(lin, X, W, B, reference=affine, torch=affine_in_torch)


def test_a_right_rule(whole):
    assert whole.ok, str(whole)
    assert whole.culprits == [] and whole.implementations == ["rule", "reference", "torch"]
    whole.raise_if_failed()


def test_in_every_dtype(whole):
    assert {row.check for row in whole.rows} == {
        *("float32", "float64", "bfloat16", "float16"),
        *("grad of grad", "forward over reverse"),
    }
    leaves = ["y", "x_bar", "w_bar", "b_bar"]
    for dtype in ("float32", "float64", "bfloat16", "float16"):
        rows = [row for row in whole.rows if row.check == dtype]
        assert sorted(row.leaf for row in rows) == sorted(leaves)
        who = ["rule", "reference", "torch"] if dtype == "float32" else ["rule", "torch"]
        assert all(row.dtype == dtype and list(row.deviations) == who for row in rows)


def test_every_check_has_its_line(whole):
    made = {finding.check for finding in whole.findings}
    assert made == {"oracle", "maths", "linearity", *CHECKS} - {"values", "dtypes"}
    ((leaves, (status, _)),) = of(whole, "maths").items()
    assert sorted(leaves.split(", ")) == ["b_bar", "w_bar", "x_bar", "y", "y (primal)"] and status == "pass"
    assert of(whole, "rule ran") == {"lin": ("pass", "its jaxpr holds lin (custom_vjp)")}
    assert of(whole, "structure") == {"cotangents": ("pass", "each has its primal's shape and dtype")}
    assert {status for status, _ in of(whole, "linearity").values()} == {"pass"}
    assert {status for status, _ in of(whole, "numerical").values()} == {"pass"}


def test_what_ran_is_told(whole):
    assert whole.about["rule"] == "lin"
    assert whole.about["arguments"] == "x float32[2,3], w float32[3,2], b float32[2]"
    assert whole.about["against"] == "reference, torch"
    assert whole.about["oracle"] == "reference, in float64"
    assert "seed 0" in whole.about["cotangents"]
    assert f"jax {jax.__version__}" in whole.about["versions"] and "torch 2" in whole.about["versions"]
    assert "matmul precision" in whole.about["device"]


def test_only_what_was_asked_for():
    for chosen in CHECKS:
        report = parity.check(ruled(right), X[:1], checks=[chosen], reference=square)
        made = {finding.check for finding in report.findings}
        assert made == {"maths", "linearity"} | ({chosen} - {"values", "dtypes"}), chosen
        checks = {row.check for row in report.rows}
        extra = {"transformations": {"grad of grad", "forward over reverse"}}
        extra["dtypes"] = {"float64", "bfloat16", "float16"}
        assert checks == {"float32"} | extra.get(chosen, set()), chosen


def test_dtypes_that_are_named_are_tried():
    report = parity.check(ruled(right), X[:1], checks=(), dtypes=["bfloat16"], reference=square)
    assert {row.check for row in report.rows} == {"float32", "bfloat16"}


def test_an_unknown_check():
    with pytest.raises(ValueError) as caught:
        parity.check(relu, X, checks=["values", "speed"])
    assert str(caught.value) == f"checks must be among {', '.join(map(repr, CHECKS))}; got 'speed'"


def test_an_unknown_dtype():
    with pytest.raises(ValueError, match="dtypes must be among .*'float33'"):
        parity.check(relu, X, checks=["dtypes"], dtypes=["float33"])


WRONG = {
    "sign": (lambda x, g: -2 * x * g, "the sign is wrong"),
    "factor": (lambda x, g: x * g, "half of what it should be"),
    "cotangent": (lambda x, g: 2 * x, "the same for every cotangent: the rule ignores its incoming cotangent"),
    "dropped": (lambda x, g: (2 * x * g).at[0].set(0), "zero at index 0 of axis 0, right elsewhere: dropped?"),
    "column": (lambda x, g: jnp.roll(2 * x * g, 1, -1), "shifted by 1 along axis 1"),
    "None": (lambda x, g: None, "all zeros: is it dropped, or None returned for it?"),
    "mean": (lambda x, g: 2 * x * g / 3, "1/3 of what it should be, 3 the length of an axis: a mean for a sum?"),
    "bfloat16": (
        lambda x, g: (2 * x * g).astype(jnp.bfloat16).astype(x.dtype),
        "the maths is right; it computes in bfloat16 (arithmetic='bfloat16' accepts that)",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_rule_is_blamed_and_the_pattern_named(what):
    backward, pattern = WRONG[what]
    report = parity.check(ruled(backward), X, reference=square, torch=square, **FEW)
    assert not report.ok and report.culprits == ["rule"]
    assert problems(report) == {"x_bar": "outside the bound"}
    (row,) = (row for row in report.rows if not row.ok)
    assert row.diagnosis == {"rule": pattern}


def test_a_factor_of_the_smallest_kind_is_seen_without_reference():
    report = parity.check(ruled(lambda x, g: 2.00001 * x * g), X, **FEW)
    assert report.culprits == ["rule"] and failed(report) == set()


def test_not_linear_in_the_cotangent():
    report = parity.check(ruled(lambda x, g: 2 * x * g * g), X, reference=square, **FEW)
    assert of(report, "linearity")["x_bar"][1].startswith("not linear in the cotangent: ")
    report = parity.check(ruled(lambda x, g: 2 * x * g + 0.01), X, reference=square, **FEW)
    assert of(report, "linearity")["x_bar"] == ("FAIL", "not zero for a zero cotangent")


def test_a_wrong_dtype_is_found_where_jax_is_silent():
    report = parity.check(
        ruled(lambda x, g: (2 * x * g).astype(jnp.bfloat16)), X, reference=square, checks=["structure"], dtypes=()
    )
    assert problems(report) == {"x_bar": "dtype is bfloat16, expected float32"}
    assert of(report, "structure")["cotangents"] == ("FAIL", "x_bar is bfloat16[2, 3], x float32[2, 3]")


def test_a_forward_rule_that_differs_from_the_primal():
    report = parity.check(ruled(right, forward=lambda x: 1.0001 * x * x), X, reference=square, **FEW)
    assert problems(report) == {"y": "outside the bound"}
    report = parity.check(ruled(right, primal=lambda x: 1.0001 * x * x), X, reference=square, **FEW)
    assert problems(report) == {"y (primal)": "outside the bound"}


def test_a_wrong_torch_is_blamed_and_not_the_rule():
    report = parity.check(lin, X, W, B, reference=affine, torch=lambda x, w, b: x @ w + 2 * b, **FEW)
    assert report.culprits == ["torch"] and not report.ok
    assert set(problems(report, "torch")) == {"y", "b_bar"}


def test_a_wrong_reference_is_blamed_and_not_the_rule():
    report = parity.check(ruled(right), X, reference=lambda x: 3 * x * x, torch=square, **FEW)
    assert report.culprits == ["reference"] and not report.ok


def test_a_wrong_reference_does_not_make_second_derivatives_wrong():
    report = parity.check(
        ruled(right), X, reference=lambda x: 3 * x * x, torch=square, checks=["transformations"], dtypes=()
    )
    assert report.culprits == ["reference"]


def test_a_wrong_reference_is_no_second_opinion():
    report = parity.check(ruled(right), X, reference=lambda x: 3 * x * x, torch=square, **FEW)
    assert report.oracle_budget is None and report.culprits == ["reference"]


def test_a_wrong_reference_makes_no_bound():
    report = parity.check(
        lambda x: jnp.sum(jnp.sin(x)), X, reference=lambda x: jnp.sum(x * 1e-6), torch=lambda x: x.sin().sum(), **FEW
    )
    assert report.culprits == ["reference"]


def test_a_function_without_a_rule_is_noted():
    report = parity.check(square, X, checks=["rule ran"], dtypes=())
    assert report.ok
    assert of(report, "rule ran")["square"][0] == "note"


def test_rules_are_counted():
    params = [(np.ones((3, 4), np.float32), np.ones(4, np.float32)), (np.ones((4, 1), np.float32), B[:1])]
    report = parity.check(mlp_loss, params, X, B, checks=["rule ran"], dtypes=())
    assert report.ok, str(report)
    assert of(report, "rule ran")["mlp_loss"][1] == (
        "its jaxpr holds lin (custom_vjp) × 2, relu (custom_vjp), mse (custom_vjp)"
    )
    assert {row.leaf for row in report.rows} >= {"params[0][0]_bar", "params[1][1]_bar", "x_bar", "targ_bar"}


def test_trees_and_several_outputs():
    def rule(net, x):
        y = x * net["scale"]
        return {"y": y, "aux": (jnp.sum(y), jnp.argmax(y))}

    def theirs(net, x):
        y = x * net["scale"]
        return {"y": y, "aux": (y.sum(), y.argmax())}

    report = parity.check(rule, {"scale": X + 1}, X, reference=rule, torch=theirs, **FEW)
    assert report.ok, str(report)
    leaves = [row.leaf for row in report.rows if "primal" not in row.leaf]
    assert sorted(leaves) == ["net['scale']_bar", "x_bar", "y['aux'][0]", "y['aux'][1]", "y['y']"]


def test_integer_static_and_keyword_arguments():
    def rule(x, rows, axis, *, scale):
        return scale * jnp.sum(x[rows], axis)

    def theirs(x, rows, axis, *, factor):
        return factor * x[rows].sum(axis)

    rows = np.array([1, 0, 1], np.int32)
    options: Any = {"kwargs": {"scale": 3}, "torch_kwargs": {"factor": 3}, "static_argnums": [2]}
    report = parity.check(rule, X, rows, 1, reference=rule, torch=theirs, **options, **FEW)
    assert report.ok, str(report)
    assert [row.leaf for row in report.rows if row.leaf.endswith("_bar")] == ["x_bar"]


def test_numpys_own_integers():
    assert parity.check(lambda x, rows: x[rows], X, np.array([1, 0]), **FEW).ok


@pytest.mark.parametrize("dtype", [np.float64, jnp.bfloat16, np.float16])
def test_other_dtypes_of_the_arguments(dtype):
    report = parity.check(lin, X.astype(dtype), W.astype(dtype), B.astype(dtype), reference=affine, **FEW)
    assert report.ok, str(report)
    assert {row.dtype for row in report.rows} == {np.dtype(dtype).name}
    wrong = parity.check(ruled(lambda x, g: 2.2 * x * g), X.astype(dtype), reference=square, **FEW)
    assert wrong.culprits == ["rule"]


def test_float64_is_judged_as_float64():
    x = X.astype(np.float64)
    assert not parity.check(ruled(lambda x, g: (2 + 1e-12) * x * g), x, reference=square, **FEW).ok
    assert parity.check(ruled(right), x, reference=square, **FEW).ok
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def test_division_by_a_constant():
    x = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    report = parity.check(lambda x: x / 3, x, **FEW)
    assert report.ok


def test_the_seed_makes_it_reproducible():
    def figures(seed):
        report = parity.check(lin, X, W, B, seed=seed, **FEW)
        return [(row.leaf, row.worst[1].budget) for row in report.rows]

    assert figures(1) == figures(1)
    assert figures(1) != figures(2)


def test_a_failure_raises_with_the_table():
    report = parity.check(ruled(lambda x, g: -2 * x * g), X, reference=square, **FEW)
    with pytest.raises(parity.ParityError) as caught:
        report.raise_if_failed()
    assert caught.value.report is report and isinstance(caught.value, AssertionError)
    assert str(report) in str(caught.value)
    assert "the sign is wrong" in str(report) and "Wrong: rule." in str(report)


def test_a_failed_finding_alone_fails_too():
    one_at_zero = ruled(lambda x, g: jnp.where(x >= 0, g, jnp.zeros_like(g)), jax.nn.relu, jax.nn.relu)
    report = parity.check(one_at_zero, X, reference=jax.nn.relu, torch=torch.relu, checks=["kinks"], dtypes=())
    assert not report.ok and report.culprits == [] and failed(report) == {"kinks"}
    with pytest.raises(parity.ParityError, match="further checks"):
        report.raise_if_failed()


@pytest.mark.parametrize(
    ("reference", "theirs"),
    [
        (lambda x: (x * x, x), "{'y[0]': 'float32[2, 3]', 'y[1]': 'float32[2, 3]'}"),
        (lambda x: {"loss": x * x}, "{\"y['loss']\": 'float32[2, 3]'}"),
        (lambda x: x[:1] ** 2, "{'y': 'float32[1, 3]'}"),
        (lambda x: (x * x).astype(jnp.bfloat16), "{'y': 'bfloat16[2, 3]'}"),
    ],
)
def test_a_reference_with_other_outputs(reference, theirs):
    with pytest.raises(ValueError) as caught:
        parity.check(ruled(right), X, reference=reference)
    assert str(caught.value) == (
        f"the rule returns {{'y': 'float32[2, 3]'}}, the reference {theirs}: they must be alike"
    )


def broken(x):
    raise RuntimeError("out of luck\nand more")


def test_a_rule_or_a_reference_that_cannot_be_called():
    text = "cannot be called with these arguments: RuntimeError: out of luck"
    with pytest.raises(ValueError, match=f"^the rule {text}$"):
        parity.check(broken, X, reference=square)
    with pytest.raises(ValueError, match=f"^the reference {text}$"):
        parity.check(square, X, reference=broken, torch=square)
    with pytest.raises(ValueError, match="^the rule cannot be called with these arguments: TypeError: "):
        parity.check(square, X, X)


def test_a_torch_function_that_raises_is_reported_beside_the_others():
    report = parity.check(ruled(right), X, reference=square, torch=broken, **FEW)
    assert not report.ok and report.culprits == ["torch"]
    assert set(problems(report, "torch").values()) == {"raised RuntimeError: out of luck"}
    status, text = of(report, "oracle")["torch"]
    assert status == "note" and "it does not run in float64 (RuntimeError: out of luck)" in text


def test_a_detached_torch_function_is_told_so():
    report = parity.check(ruled(right), X, reference=square, torch=lambda x: x.detach() ** 2, **FEW)
    (text,) = set(problems(report, "torch").values())
    assert text and text.startswith("raised ValueError: the torch function's output y is detached from its inputs: no")


BACKWARDS = {
    "raises": lambda x, g: broken(x),
    "shape": lambda x, g: jnp.zeros(3, x.dtype),
    "too many": lambda x, g: (2 * x * g, g),
}


@pytest.mark.parametrize("what", BACKWARDS)
def test_a_backward_that_jax_refuses_is_reported(what):
    report = parity.check(ruled(BACKWARDS[what]), X, reference=square, torch=square, checks=["structure"], dtypes=())
    assert report.culprits == ["rule"]
    assert all(text and text.startswith("raised ") for text in problems(report).values())
    assert of(report, "structure")["cotangents"][1].startswith("jax refuses them: ")


def test_a_backward_that_raises_is_reported_by_the_transformations_too():
    report = parity.check(ruled(BACKWARDS["raises"]), X, reference=square, checks=["transformations"], dtypes=())
    assert report.culprits == ["rule"]


def test_a_rule_that_runs_in_one_dtype_only():
    scale = jnp.asarray(X)  # float32, and promotion is strict
    report = parity.check(
        lambda x: x * scale, X, reference=lambda x: x * scale.astype(x.dtype), checks=["dtypes"], dtypes=["bfloat16"]
    )
    assert {row.check for row in report.rows} == {"float32"} and report.ok
    status, text = of(report, "dtypes")["bfloat16"]
    assert status == "note" and text.startswith("the rule is not offered in it: ")


def test_beyond_float16_is_no_fault():
    x = f32([300, 1])
    assert parity.check(ruled(right), x, reference=square, checks=["dtypes"], dtypes=["float16"]).ok


def test_arguments_beyond_float16_are_no_fault():
    x = f32([1e5, 1])
    assert parity.check(ruled(right), x, reference=square, checks=["dtypes"], dtypes=["float16"]).ok


def test_float64_beside_float32():
    report = parity.check(lambda x, y: x.astype(y.dtype) * y, X.astype(np.float64), X, checks=["structure"], dtypes=())
    assert report.ok


@pytest.mark.parametrize(
    ("args", "error", "text"),
    [
        ((np.arange(3),), ValueError, "no argument is a floating-point array, so there is nothing to differentiate"),
        (
            ({1, 2},),
            TypeError,
            "argument x is of type set, which is no array: make it a jax or NumPy array, or give its",
        ),
    ],
)
def test_arguments_that_cannot_be_checked(args, error, text):
    with pytest.raises(error) as caught:
        parity.check(square, *args)
    assert str(caught.value).startswith(text)


def test_a_python_float_is_differentiated_and_the_report_says_so():
    report = parity.check(lambda x, scale, n: scale * x**n, X, 0.5, 3, reference=lambda x, scale, n: scale * x * x * x)
    assert report.ok and "float32 scale_bar" in {f"{row.check} {row.leaf}" for row in report.rows}
    assert report.about["arguments"].endswith("scale = 0.5 as float32, n = 3; not differentiated: n")


def test_a_wrong_cotangent_of_a_python_float():
    rule = jax.custom_vjp(lambda x, scale: scale * x)
    rule.defvjp(lambda x, scale: (scale * x, (x, scale)), lambda xs, y_bar: (xs[1] * y_bar, 2 * jnp.sum(xs[0] * y_bar)))
    report = parity.check(rule, X, 0.5, reference=lambda x, scale: scale * x)
    assert [mistake.leaves for mistake in report.mistakes] == [["scale_bar"]]


def test_nondiff_argnums_are_read_from_the_rule():
    rule = jax.custom_vjp(lambda mode, x: x * x if mode == "square" else x, nondiff_argnums=(0,))
    rule.defvjp(lambda mode, x: (x * x, x), lambda mode, x, y_bar: (x * y_bar,))
    report = parity.check(rule, "square", X, reference=lambda mode, x: x * x, torch=lambda mode, x: x * x)
    assert report.about["arguments"].endswith("mode = 'square'; not differentiated: mode")
    assert [mistake.leaves for mistake in report.mistakes] == [["x_bar"]] and report.mistakes[0].kind == "factor"


def test_a_number_that_must_stay_one_is_named():
    with pytest.raises(ValueError) as caught:
        parity.check(lambda x, rate: x * 2 if rate > 0.1 else x, X, 0.5)
    assert str(caught.value).endswith(
        " (rate came as a Python number and is differentiated; name its position in static_argnums, if the function "
        "needs the number itself)"
    )


def test_precision_and_device():
    report = parity.check(square, X, device="cpu", precision="high", checks=["values"])
    assert report.ok and report.about["device"] == "cpu (cpu), matmul precision high"
    with pytest.raises(ValueError, match="^device must be one that jax finds here: cpu; got 'tpu'$"):
        parity.check(square, X, device="tpu")
    with pytest.raises(ValueError, match="^precision must be one of default, high, highest; got 'low'$"):
        parity.check(square, X, precision="low")


def test_the_bound_follows_the_precision_that_is_asked_for(monkeypatch):
    monkeypatch.setattr("pullback.parity._check.platform_of", lambda device: "gpu")
    w = f32(np.random.default_rng(0).standard_normal((4, 3)))
    floors = {}
    for precision in ("highest", "default"):
        report = parity.check(lambda x, w: x @ w, f32(np.ones((2, 4))), w, checks=["values"], precision=precision)
        floors[precision] = next(row.floor for row in report.rows if row.leaf == "y")
    assert floors["default"] > 100 * floors["highest"]


def test_many_outputs_of_many_shapes():
    def many(x):
        return [jnp.sin(x[: k + 1]) * (k + 1) for k in range(12)]

    x = f32(np.linspace(0.1, 1.2, 12))
    report = parity.check(many, x, reference=many, torch=lambda x: [torch.sin(x[: k + 1]) * (k + 1) for k in range(12)])
    assert report.ok, report


def test_no_floating_point_output():
    with pytest.raises(ValueError, match="^the rule has no floating-point output, so there is nothing to diff"):
        parity.check(lambda x: jnp.argmax(x), X)


def test_arguments_are_left_alone():
    x = X.copy()
    parity.check(ruled(right), x, reference=square, torch=square, checks=["kinks", "numerical"], dtypes=["float64"])
    np.testing.assert_array_equal(x, X)


def test_no_rows_at_all():
    report = parity.check(ruled(right), X[:0], reference=square, torch=square, **FEW)
    assert report.ok, str(report)


def test_nothing_to_see_without_reference_or_torch_is_said():
    report = parity.check(ruled(right, lambda x: 5 * x * x, lambda x: 5 * x * x), X, **FEW)
    (text,) = (text for _, text in of(report, "oracle").values())
    assert text.endswith("so a wrong forward is not seen")


def test_a_maximum_of_what_is_rounded_does_not_blind_the_bound():
    # x == max(x, y), which jax's derivative asks, is no uncertain gate because x was rounded.
    @jax.custom_vjp
    def rule(x):
        return jnp.maximum(x / 3, jnp.zeros_like(x))

    rule.defvjp(lambda x: (rule(x), x), lambda x, g: (jnp.zeros_like(g),))
    report = parity.check(rule, X, reference=lambda x: jnp.maximum(x / 3, jnp.zeros_like(x)), **FEW)
    assert report.culprits == ["rule"] and report.kinks == 0
    assert all(row.floor is None or row.floor < 1e-5 for row in report.rows)


def test_second_derivatives_of_a_form_that_loses_digits_are_no_fault_without_a_reference():
    x, y = (np.random.default_rng(i).standard_normal(20).astype(np.float32) for i in (0, 1))
    report = parity.check(jnp.logaddexp, x, y, checks=["transformations"], dtypes=())
    assert not [row for row in report.rows if not row.ok], str(report)


def test_a_dtype_that_nobody_knows_is_skipped():
    a = f32([[2, 1], [1, 3]])
    report = parity.check(jnp.linalg.inv, a, checks=["dtypes"], dtypes=["bfloat16"])
    (finding,) = [finding for finding in report.findings if finding.check == "dtypes"]
    assert finding.status in ("skipped", "note") and report.ok


def product(x, mask):
    return x * mask


def test_what_is_not_differentiated():
    # A backward that has nothing for the mask is right, if the mask is not asked for.
    @jax.custom_vjp
    def masked(x, mask):
        return x * mask

    masked.defvjp(lambda x, mask: (x * mask, mask), lambda mask, g: (g * mask, None))
    options: Any = {"reference": product, "torch": product, "dtypes": ["bfloat16", "float64"]}
    report = parity.check(masked, X, X + 1, nondiff=["mask"], **options)
    assert report.ok, str(report)
    assert not [row for row in report.rows if "mask" in row.leaf]
    assert not [finding for finding in report.findings if "mask" in finding.about.removeprefix("masked")]
    assert {row.check for row in report.rows} >= {"float32", "bfloat16", "float64", "grad of grad"}
    assert report.about["arguments"] == "x float32[2,3], mask float32[2,3]; not differentiated: mask"
    assert set(problems(parity.check(masked, X, X + 1, reference=product, **FEW))) == {"mask_bar"}


def test_a_single_leaf_that_is_not_differentiated():
    rule = lambda net, x: net["w"] * x + net["buffers"][0]  # noqa: E731
    net = {"w": X, "buffers": [X + 1, X]}
    report = parity.check(rule, net, X, reference=rule, torch=rule, nondiff=["net['buffers'][0]"], **FEW)
    assert report.ok, str(report)
    bars = {row.leaf for row in report.rows if row.leaf.endswith("_bar")}
    assert bars == {"net['w']_bar", "net['buffers'][1]_bar", "x_bar"}
    assert report.about["arguments"].endswith("; not differentiated: net['buffers'][0]")


def test_the_heading_names_every_argument():
    def drop(key, x, rows, axis, *, scale, act):
        return scale * act(jnp.sum(jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0)[rows], axis))

    args = (jax.random.key(0), X, np.array([0, 1], np.int32), 1)
    report = parity.check(drop, *args, static_argnums=(3,), kwargs={"scale": 2, "act": jnp.sin}, checks=["values"])
    assert report.about["arguments"] == (
        "key random key, x float32[2,3], rows int32[2], axis = 1, scale = 2, act = sin; "
        "not differentiated: key, rows, axis, scale, act"
    )


def test_torch_gets_what_is_not_differentiated_without_a_gradient():
    seen = []

    def theirs(x, mask):
        seen.append((x.requires_grad, mask.requires_grad))
        return x * mask

    report = parity.check(product, X, X + 1, torch=theirs, nondiff="mask")
    assert report.ok, str(report)
    assert (True, False) in seen and not any(mask for _, mask in seen)


def test_nondiff_that_names_nothing():
    with pytest.raises(ValueError) as caught:
        parity.check(product, X, X, nondiff=["masks"])
    text = "nondiff must name floating-point arguments or leaves (x, mask); got 'masks'"
    assert str(caught.value) == text
    with pytest.raises(ValueError, match="^all of them are in nondiff, so there is nothing to differentiate$"):
        parity.check(product, X, X, nondiff=["x", "mask"])


def clipped(x, g):
    """2 x g, but for cotangents beyond any that is drawn."""
    return 2 * x * jnp.clip(g, -100, 100)


def test_your_own_cotangents_catch_what_the_drawn_ones_do_not():
    options: Any = {"reference": square, "torch": square, "checks": ["values", "structure"], "dtypes": ()}
    report = parity.check(ruled(clipped), X, **options)
    assert report.ok and "yours" not in report.about["cotangents"]
    report = parity.check(ruled(clipped), X, cotangents=np.full_like(X, 300), **options)
    assert problems(report) == {"x_bar": "outside the bound"} and report.culprits == ["rule"]
    (row,) = (row for row in report.rows if not row.ok)
    assert row.shape == (6, 2, 3) and row.deviations["rule"].budget_index[0] == 5
    assert report.about["cotangents"] == (
        "c0, c1 random, c2 = c0 + 2 c1, c3 ones, c4 zeros, c5 yours; seed 0; each backward is run with all 6"
    )


def test_your_own_cotangents_go_through_every_check():
    report = parity.check(ruled(right), X, reference=square, torch=square, cotangents=300 * X)
    assert report.ok, str(report)
    rows = [row for row in report.rows if row.leaf == "x_bar" and "grad" not in row.check and "over" not in row.check]
    assert {row.check for row in rows} == {"float32", "float64", "bfloat16", "float16"}
    assert {row.shape for row in rows} == {(6, 2, 3)}


def test_your_own_cotangents_for_a_tree_of_outputs():
    def rule(x):
        y = ruled(clipped)(x)
        return {"y": y, "aux": (jnp.argmax(y), jnp.sum(x))}

    def plain(x):
        return {"y": x * x, "aux": (jnp.argmax(x * x), jnp.sum(x))}

    for y, found in ((0 * X, {}), (0 * X + 300, {"x_bar": "outside the bound"})):
        report = parity.check(rule, X, reference=plain, cotangents={"y": y, "aux": (None, -2.0)}, **FEW)
        assert problems(report) == found


@pytest.mark.parametrize(
    ("cotangents", "text"),
    [
        (X[0], "cotangents: that of y must be float32[2, 3]; got float32[3]"),
        ({"y": X, "z": X}, "cotangents must have one array for each output (y), in the outputs' tree"),
        (np.full_like(X, np.inf), "cotangents: that of y holds a number that is not finite"),
    ],
)
def test_cotangents_that_do_not_fit(cotangents, text):
    with pytest.raises(ValueError) as caught:
        parity.check(ruled(right), X, reference=square, torch=square, cotangents=cotangents)
    assert str(caught.value) == text


def test_the_whole_traceback_of_whoever_raises_is_in_the_report():
    report = parity.check(ruled(lambda x, g: broken(x)), X, reference=square, torch=broken, **FEW)
    assert set(report.errors) == {"float32 rule", "float32 torch"}
    for text in report.errors.values():
        assert text.startswith("Traceback (most recent call last):") and 'raise RuntimeError("out of luck' in text
        assert "RuntimeError: out of luck\nand more" in text and "in broken" in text
    shown = str(report)
    assert "RuntimeError: out of luck" in shown and "and more" not in shown and "Traceback" not in shown
    assert report.to_dict()["errors"] == report.errors
    assert json.dumps(report.to_dict())


def test_the_traceback_of_a_reference_too():
    # In float32 its backward raises, and so there is no oracle to be made of it.
    def reference(x):
        return ruled(lambda x, g: broken(x) if x.dtype == jnp.float32 else 3 * x * g)(x)

    report = parity.check(ruled(right), X, reference=reference, torch=square, **FEW)
    assert report.culprits == ["reference"] and list(report.errors) == ["float32 reference"]
    assert "RuntimeError: out of luck\nand more" in report.errors["float32 reference"]


def test_nothing_raised_is_no_error(whole):
    assert whole.errors == {}


def test_who_raises_in_one_dtype_only():
    def theirs(x):
        if x.dtype == torch.bfloat16:
            raise TypeError("no bfloat16")
        return x * x

    report = parity.check(square, X, torch=theirs, checks=["dtypes"], dtypes=["bfloat16", "float16"])
    assert list(report.errors) == ["bfloat16 torch"] and report.culprits == [] and report.ok
    assert of(report, "dtypes")["bfloat16"] == ("note", "torch's function is not offered in it: TypeError: no bfloat16")


def test_a_rule_that_is_wrong_under_vmap_only():
    @jax.custom_batching.custom_vmap
    def bar(x, g):
        return 2 * x * g

    @bar.def_vmap
    def _mapped(size, batched, x, g):
        x = x if batched[0] else jnp.broadcast_to(x, g.shape)
        return -2 * x * g, True

    report = parity.check(ruled(bar), X, reference=square, torch=square, checks=["transformations"], dtypes=())
    assert of(report, "transformations")["vmap of the pullback"][0] == "FAIL" and not report.ok
    assert of(report, "transformations")["vmap"][0] == "FAIL"
    rows = {row.leaf: row for row in report.rows if row.check == "float32"}
    assert all(row.ok for row in rows.values()), "one call for each cotangent is right"


def test_a_rule_that_cannot_be_mapped_is_checked_one_by_one():
    def backward(factor):
        def bar(x, g):
            return np.asarray(factor * np.asarray(x) * np.asarray(g), np.asarray(x).dtype)

        return lambda x, g: jax.pure_callback(bar, jax.ShapeDtypeStruct(x.shape, x.dtype), x, g)

    options: Any = {"reference": square, "torch": square}
    few = parity.check(ruled(backward(2)), X, checks=["structure", "dtypes", "kinks", "numerical"], **options)
    assert few.ok, str(few)
    every = parity.check(ruled(backward(2)), X, **options)
    assert of(every, "transformations")["vmap"][0] == "FAIL" and every.culprits == []
    wrong = parity.check(ruled(backward(-2)), X, **FEW, **options)
    assert problems(wrong) == {"x_bar": "outside the bound"}
    assert [row.diagnosis for row in wrong.rows if not row.ok] == [{"rule": "the sign is wrong"}]


# In a process of its own: here jit's caches are warm.
COUNT = """
import json, logging
import jax
import jax.numpy as jnp
import numpy as np
from pullback import parity
from pullback.parity.verdict import evaluation

count = dict.fromkeys(["primal", "forward", "torch", "walks"], 0)
inside, compiled = [], []

def counted(name, function):
    def call(*args, **options):
        # A forward that calls the rule itself is one call.
        if not (name == "primal" and inside):
            count[name] += 1
        inside.append(name)
        try:
            return function(*args, **options)
        finally:
            inside.pop()
    return call

class Names(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("Finished XLA compilation of "):
            compiled.append(record.getMessage().split(" of ")[1].split(" in ")[0])

jax.config.update("jax_log_compiles", True)
jax.config.update("jax_enable_compilation_cache", False)
logger = logging.getLogger("jax")
logger.addHandler(Names())
logger.propagate = False
events = []
jax.monitoring.register_event_duration_secs_listener(lambda name, *args, **options: events.append(name))
evaluation.bounds_of = counted("walks", evaluation.bounds_of)

def mse(output, targ):
    return jnp.mean((output - targ) ** 2)

loss = jax.custom_vjp(counted("primal", mse))
loss.defvjp(
    counted("forward", lambda output, targ: (loss(output, targ), output - targ)),
    lambda diff, loss_bar: (2 * loss_bar * diff / diff.size, -2 * loss_bar * diff / diff.size),
)
in_torch = counted("torch", lambda output, targ: ((output - targ) ** 2).mean())
output, targ = np.random.default_rng(0).standard_normal((2, 64), np.float32)
report = parity.check(loss, output, targ, reference=mse, torch=in_torch)
count["compiles"] = events.count("/jax/core/compile/backend_compile_duration")
print(json.dumps({"count": count, "compiled": compiled, "ok": report.ok, "report": str(report)}))
"""


def test_each_thing_is_computed_once():
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_"))}
    done = subprocess.run(
        [sys.executable, "-c", COUNT], env=env | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    count, compiled = said["count"], "\n".join(said["compiled"])
    assert said["ok"], said["report"]
    assert count["walks"] == 14, "three for each dtype (a bound, two exact values), and two for second derivatives"
    assert count["primal"] + count["forward"] <= 11, count
    assert count["torch"] <= 20, count
    assert count["compiles"] == len(said["compiled"]), compiled
    assert count["compiles"] <= 14, f"{count['compiles']} programs were compiled:\n{compiled}"
