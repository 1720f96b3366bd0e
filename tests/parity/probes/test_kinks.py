import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.functional import relu
from pullback.parity.case.case import take_up
from pullback.parity.probes.kinks import DEAD, USUAL, VALUES, answers, kink_findings
from pullback.parity.verdict.evaluation import Evaluation

X = np.array([0.5, -1.0, 2.0], np.float32)


def findings(rule, *args, **options):
    found = kink_findings(Evaluation(take_up(rule, args or (X,), **options)))
    return {finding.about: (finding.status, finding.text) for finding in found}


def agreed(found, name="x"):
    """The values at which all agree on this input."""
    status, text = found[name]
    assert status == "pass"
    return set(text.removeprefix("the same gradient at ").split(", "))


def ruled(forward, backward):
    """A custom_vjp of x alone."""

    @jax.custom_vjp
    def rule(x):
        return forward(x)

    rule.defvjp(lambda x: (forward(x), x), lambda x, g: (backward(x, g),))
    return rule


one_at_zero = ruled(jax.nn.relu, lambda x, g: jnp.where(x >= 0, g, jnp.zeros_like(g)))


@pytest.fixture(scope="module")
def of_relu():
    return findings(relu, reference=jax.nn.relu, torch=torch.relu)


def test_relus_agree_at_zero(of_relu):
    assert {"0", "-0", "inf", "-inf"} <= agreed(of_relu)


def test_a_convention_on_which_the_others_differ_is_a_note(of_relu):
    assert of_relu["x = nan"] == (
        "note",
        "gradient rule 0, reference 0, torch 3: a convention, on which the others differ too",
    )


def test_nothing_fails_for_relu(of_relu):
    assert "FAIL" not in {status for status, _ in of_relu.values()}


def test_a_nan_cotangent_into_a_dead_unit_is_told(of_relu):
    status, text = of_relu["x = -1, NaN cotangent"]
    assert status == "note" and text == "gradient rule 0, reference 0, torch 0"
    product = lambda x: (x > 0).to(x.dtype) * x  # 0 * NaN is NaN  # noqa: E731
    _, text = findings(relu, torch=product)["x = -1, NaN cotangent"]
    assert text == "gradient rule 0, torch nan"


def test_no_dead_unit_where_outputs_are_not_elements():
    assert "x = -1, NaN cotangent" not in findings(lambda x: jnp.sum(x * x), reference=lambda x: jnp.sum(x**2))


def test_a_scalars_cotangent_is_that_figure_too():
    def loss(rule):
        return lambda x: jnp.sum(rule(x))

    found = findings(loss(one_at_zero), reference=loss(jax.nn.relu), torch=lambda x: torch.relu(x).sum())
    assert found["x = 0"] == ("FAIL", "gradient rule 3, reference 0, torch 0: the rule alone differs")


def test_a_scalar_argument():
    found = findings(one_at_zero, np.float32(2), reference=jax.nn.relu, torch=torch.relu)
    assert found["x = 0"] == ("FAIL", "gradient rule 3, reference 0, torch 0: the rule alone differs")
    assert found["x = -1, NaN cotangent"] == ("note", "gradient rule 0, reference 0, torch 0")


def test_a_rule_that_alone_differs_at_zero_fails():
    found = findings(one_at_zero, reference=jax.nn.relu, torch=torch.relu)
    for zero in ("x = 0", "x = -0"):
        assert found[zero] == ("FAIL", "gradient rule 3, reference 0, torch 0: the rule alone differs")


def test_the_reference_alone_is_enough_to_fail_and_torch_alone_is_not():
    assert findings(one_at_zero, reference=jax.nn.relu)["x = 0"][0] == "FAIL"
    # torch may have another convention than jax, and nobody is there to say.
    assert findings(one_at_zero, torch=torch.relu)["x = 0"][0] == "note"


def test_where_reference_and_torch_differ_at_zero_it_is_a_note():
    # jnp.maximum gives half of the cotangent to either side; clamp_min gives all of it, and from torch 2.14 on nothing.
    at_zero = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(torch.clamp_min(at_zero, 0), at_zero)
    clamp = lambda x: torch.clamp_min(x, 0)  # noqa: E731
    maximum = lambda x: jnp.maximum(x, jnp.zeros_like(x))  # noqa: E731
    status, text = findings(relu, reference=maximum, torch=clamp)["x = 0"]
    assert (status, text) == (
        "note",
        f"gradient rule 0, reference 1.5, torch {3 * float(slope):g}: a convention, on which the others differ too",
    )


def test_another_convention_elsewhere_than_zero_is_a_note():
    nan_through = ruled(jax.nn.relu, lambda x, g: jnp.where((x > 0) | jnp.isnan(x), g, jnp.zeros_like(g)))
    status, text = findings(nan_through, reference=jax.nn.relu)["x = nan"]
    assert (status, text) == ("note", "gradient rule 3, reference 0: the rule differs")


@pytest.mark.parametrize("at_zero", [lambda x, g: g, lambda x, g: -g / x], ids=["finite", "the other infinity"])
def test_a_singularity_has_no_convention(at_zero):
    rule = ruled(jnp.log, lambda x, g: jnp.where(x == 0, at_zero(x, g), g / x))
    status, text = findings(rule, np.abs(X), reference=jnp.log)["x = 0"]
    assert status == "note" and text.endswith("reference inf: the rule differs")


def test_nan_at_zero_is_no_singularity():
    rule = ruled(jnp.abs, lambda x, g: g * x / jnp.abs(x))
    assert findings(rule, reference=jnp.abs)["x = 0"] == (
        "FAIL",
        f"gradient rule nan, reference {3 * float(jax.grad(jnp.abs)(0.0)):.4g}: the rule alone differs",
    )


def test_a_gradient_that_is_only_large_is_no_singularity():
    rule = ruled(lambda x: 1e3 * x, lambda x, g: jnp.where(x == 0, 2e3 * g, 1e3 * g))
    assert findings(rule, reference=lambda x: 1e3 * x)["x = 0"][0] == "FAIL"


def test_what_rounding_does_is_no_other_convention():
    nearly = ruled(jax.nn.relu, lambda x, g: jnp.where(x > 0, g * 1.001, jnp.zeros_like(g)))
    assert {"0", "-0", "inf"} <= agreed(findings(nearly, reference=jax.nn.relu))


def test_complex_arguments_have_no_kinks():
    z = X.astype(np.complex64)
    found = findings(lambda x, z: x.astype(z.dtype) * z, X, z, reference=lambda x, z: x.astype(z.dtype) * z)
    assert "0" in agreed(found) and not [about for about in found if about.startswith("z")]


def test_arguments_that_hold_infinities_have_kinks_elsewhere():
    mask = np.array([-np.inf, 0, 0], np.float32)
    add = lambda x, mask: jnp.exp(x + mask)  # noqa: E731
    found = findings(add, X, mask, reference=add, torch=lambda x, mask: torch.exp(x + mask))
    assert "FAIL" not in {status for status, _ in found.values()}


def test_a_rule_wrong_everywhere_is_not_asked_for_its_conventions():
    found = findings(ruled(jax.nn.relu, lambda x, g: 2 * jnp.where(x > 0, g, 0 * g)), reference=jax.nn.relu)
    assert found == {"x": ("skipped", "gradient rule 6, reference 3 at ordinary values already: see the table")}


def test_each_input_is_looked_at():
    found = findings(lambda x, y: x * y, X, X + 1, reference=lambda x, y: x * y)
    assert agreed(found, "x, y") == {"0", "-0", "nan", "inf", "-inf", "1e-40"}


def test_with_nobody_to_compare_with_it_says_so():
    assert findings(relu)["relu"] == ("skipped", "no reference and no torch function to compare with")


def test_whoever_raises_at_a_value_is_shown():
    def picky(x):
        if not bool(torch.isfinite(x).all()):
            raise RuntimeError("out of range\nsee the manual")
        return torch.relu(x)

    found = findings(relu, reference=jax.nn.relu, torch=picky)
    for value in ("nan", "inf"):
        status, text = found[f"x = {value}"]
        assert status == "note" and "torch RuntimeError: out of range" in text and "manual" not in text


def test_whoever_raises_always_is_left_out():
    found = findings(one_at_zero, reference=jax.nn.relu, torch=lambda x: 1 / 0)
    assert found["x = 0"][0] == "FAIL"


def test_another_one_wrong_everywhere_is_not_called_the_rules_fault():
    found = findings(relu, reference=jax.nn.relu, torch=lambda x: 2 * torch.relu(x))
    assert "the rule's" not in found["x"][1]


def test_arguments_are_left_alone():
    x = X.copy()
    findings(relu, x, reference=jax.nn.relu)
    np.testing.assert_array_equal(x, X)


def test_an_input_without_elements_has_no_kinks():
    found = findings(lambda x, y: x + jnp.sum(y), X, X[:0], reference=lambda x, y: x + jnp.sum(y))
    assert "0" in agreed(found) and not [about for about in found if "y" in about]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_half_precision(dtype):
    assert findings(one_at_zero, X.astype(dtype), reference=jax.nn.relu)["x = 0"][0] == "FAIL"
    assert {"0", "-0"} <= agreed(findings(relu, X.astype(dtype), reference=jax.nn.relu, torch=torch.relu))


def test_what_is_not_differentiated_has_no_kinks():
    found = findings(lambda x, mask: x * mask, X, X + 1, reference=lambda x, mask: x * mask, nondiff=["mask"])
    assert agreed(found) == set(VALUES) and not [about for about in found if "mask" in about]


def test_an_answer_for_each_value():
    case = take_up(relu, (X,), torch=torch.relu)
    for run in case.implementations.values():
        said = answers(case, run)
        assert list(said) == ["x"] and list(said["x"]) == [USUAL, *VALUES, DEAD]
        assert said["x"][USUAL] == 3 and said["x"]["0"] == 0 and said["x"]["inf"] == 3


def test_nothing_is_compiled_again_for_it():
    case = take_up(relu, (X,))
    case.rule(*case.args)
    answers(case, case.rule)
    assert case.rule.compiled._cache_size() == 1  # pyright: ignore[reportAttributeAccessIssue]


def test_torch_is_asked_at_one_point_after_the_other(of_relu):
    # Not under a vmap, of which torch has other kernels: control flow, item and shapes that depend on values are fine.
    def theirs(x):
        assert x.shape == X.shape
        return torch.relu(x) * (1 if x.sum().item() >= 0 or bool(x.isnan().any()) else 2) + 0 * x[: int(x[0] > 1)].sum()

    found = findings(relu, reference=jax.nn.relu, torch=theirs)
    assert {"0", "-0"} <= agreed(found) and found["x = nan"] == of_relu["x = nan"]


def test_a_pullback_that_cannot_be_mapped_has_its_conventions_too():
    def backward(x, g):
        def bar(x, g):
            return np.where(np.asarray(x) >= 0, g, 0).astype(np.float32)

        return jax.pure_callback(bar, jax.ShapeDtypeStruct(x.shape, x.dtype), x, g)

    found = findings(ruled(jax.nn.relu, backward), reference=jax.nn.relu)
    assert found["x = 0"] == ("FAIL", "gradient rule 3, reference 0: the rule alone differs")
