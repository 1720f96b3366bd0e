import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.functional import relu
from pullback.parity.case.case import take_up
from pullback.parity.case.cotangents import draw_cotangents

X = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)


def case_of(rule, *args, **options):
    return take_up(rule, args, **options)


def product(x, y, *, scale=1):
    return scale * x * y


def test_the_rule_as_a_function_of_its_leaves():
    it = case_of(lambda x, rows, y: x[rows] * y, X, np.array([1, 0]), X)
    np.testing.assert_array_equal(it.rule.flat(X, X), X[::-1] * X)
    assert it.args[0] is it.arguments.leaves and len(it.arguments.diff) == 2
    assert it.args[1] is it.cotangents


def test_names():
    assert case_of(product, X, X).name == "product"
    assert case_of(relu, X).name == "relu"
    assert case_of(jax.jit(product), X, X).name == "product"

    class Layer:
        def __call__(self, x):
            return x

    assert case_of(Layer(), X).name == "Layer"


def test_who_is_compared():
    def names(**options):
        it = case_of(product, X, X, **options)
        return list(it.implementations), list(it.in_jax)

    assert names() == (["rule"], ["rule"])
    assert names(reference=product) == (["rule", "reference"], ["rule", "reference"])
    assert names(torch=product) == (["rule", "torch"], ["rule"])
    assert names(torch=product, reference=product)[0] == ["rule", "reference", "torch"]


def seven(x):
    """x^2 with a backward that is plainly wrong."""
    return x * x


rule = jax.custom_vjp(seven)
rule.defvjp(lambda x: (x * x, None), lambda _, g: (7 * g,))


def test_without_a_reference_the_rules_own_primal_is_plain():
    for reference, slope in ((None, 2 * X), (lambda x: 5 * x, np.full_like(X, 5))):
        it = case_of(rule, X, reference=reference)
        plain = it.plain.flat
        np.testing.assert_array_equal(jax.grad(lambda x, f=plain: jnp.sum(f(x)))(X), slope)
        np.testing.assert_array_equal(it.plain([X], [X[None]])["x_bar"], X[None] * slope)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_cast(dtype):
    with jax.enable_x64(True):
        it = case_of(product, X, X)
        other = it.cast(dtype)
        assert [leaf.dtype for leaf in other.arguments.leaves] == [dtype] * 2
        assert [c.dtype for c in other.cotangents] == [dtype] and other.dtype == dtype
    assert other.rule is it.rule and other.plain is it.plain, "what was compiled stays compiled"


def test_a_cast_of_complex_arguments():
    with jax.enable_x64(True):
        other = case_of(lambda x, z: x.astype(z.dtype) * z, X, X.astype(np.complex64)).cast(np.float64)
        assert [leaf.dtype for leaf in other.arguments.leaves] == [np.float64, np.complex128]
        assert other.cotangents[0].dtype == np.complex128 and other.dtype == np.float64


def test_cast_takes_what_is_not_differentiated_along():
    other = case_of(lambda x, mask: x * mask, X, X, nondiff=["mask"]).cast(jnp.bfloat16)
    assert [leaf.dtype for leaf in other.arguments.leaves] == [jnp.bfloat16] * 2


def test_the_coarsest_dtype_is_allowed_for():
    assert case_of(product, X, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert case_of(product, X.astype(np.float64), X).dtype == np.float32
    assert case_of(product, X.astype(np.float16), X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert case_of(product, X, X.astype(jnp.bfloat16), nondiff=["y"]).dtype == jnp.bfloat16, "it takes part"


def test_the_dtype_of_complex_arguments_is_that_of_their_parts():
    assert case_of(product, X.astype(np.complex64), X.astype(np.complex64)).dtype == np.float32
    assert case_of(product, X.astype(np.float64), X.astype(np.complex128)).dtype == np.float64
    assert case_of(product, X.astype(np.float64), X.astype(np.complex64)).dtype == np.float32


def test_float64_where_an_argument_is():
    for dtype, wide in ((np.float32, False), (np.complex64, False), (np.float64, True), (np.complex128, True)):
        x = X.astype(dtype)
        with case_of(product, X, x).x64:
            assert (jnp.result_type(float) == np.float64) is wide
    assert jnp.result_type(float) == np.float32


def test_other_values_of_what_is_differentiated():
    it = case_of(product, X, X, seed=3)
    other = it.with_diff([X + 1, X], 3)
    np.testing.assert_array_equal(other.rule.flat(*other.arguments.leaves), (X + 1) * X)
    np.testing.assert_array_equal(other.cotangents[0], it.cotangents[0])
    np.testing.assert_array_equal(it.arguments.diff[0], X)
    assert not np.array_equal(it.with_diff([X, X], 4).cotangents[0], it.cotangents[0]), "another seed"


def test_the_seed_draws_the_cotangents():
    one, same, other = (case_of(product, X, X, seed=seed).cotangents[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_your_own_cotangents_come_after_the_drawn_ones():
    drawn, with_own = (case_of(product, X, X, cotangents=own).cotangents[0] for own in (None, 5 * X))
    assert with_own.shape == (6, 2, 2) and with_own.dtype == np.float32
    np.testing.assert_array_equal(with_own[:5], drawn)
    np.testing.assert_array_equal(with_own[5], 5 * X)


def test_your_own_cotangents_for_a_tree_of_outputs():
    fun = lambda x: {"n": jnp.argmax(x), "a": x * x, "b": jnp.sum(x)}  # noqa: E731
    it = case_of(fun, X, cotangents={"n": None, "a": 5 * X, "b": -7.0})
    a, b = it.cotangents
    assert (a.shape, b.shape) == ((6, 2, 2), (6,)) and b[5] == -7
    np.testing.assert_array_equal(a[5], 5 * X)


def test_your_own_cotangents_are_cast_along():
    assert case_of(product, X, X, cotangents=X / 3).cast(jnp.bfloat16).cotangents[0].dtype == jnp.bfloat16


def test_cotangents_that_do_not_fit():
    with pytest.raises(ValueError, match=r"^cotangents: that of y must be float32\[2, 2\]; got float32\[2\]$"):
        _ = case_of(product, X, X, cotangents=X[0]).cotangents


def test_cotangents_are_those_of_the_outputs():
    it = case_of(lambda x: (jnp.argmax(x), x[0], 2 * x), X, seed=4)
    wanted = draw_cotangents([jax.ShapeDtypeStruct((2,), np.float32), jax.ShapeDtypeStruct((2, 2), np.float32)], 4)
    assert it.cotangents is it.cotangents, "drawn once"
    for got, want in zip(it.cotangents, wanted, strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def test_another_flat_rule_against_the_same_plain_one():
    it = case_of(product, X, X, kwargs={"scale": 3}, torch=product)
    other = it.with_rule(lambda x, y: x + y)
    np.testing.assert_array_equal(other.rule.flat(X, X), 2 * X)
    np.testing.assert_array_equal(other.plain.flat(X, X), 3 * X * X)
    assert other.torch is None and other.arguments.names == it.arguments.names
    assert other.reference is it.plain, "what was compiled stays compiled"


def test_in_torch():
    it = case_of(product, X, X, kwargs={"scale": 3})
    assert it.torch is None
    run = case_of(product, X, X, torch=product, kwargs={"scale": 3}).torch
    assert run is not None
    np.testing.assert_array_equal(run(*it.args)["y"], 3 * X * X)


def test_torch_may_call_its_keyword_arguments_otherwise():
    def theirs(x, y, factor=4):
        return factor * x * y

    it = case_of(product, X, X, torch=theirs, kwargs={"scale": 3}, torch_kwargs={"factor": 3})
    assert it.torch is not None
    np.testing.assert_array_equal(it.torch(*it.args)["y"], 3 * X * X)
    it = case_of(product, X, X, torch=theirs, kwargs={"scale": 3}, torch_kwargs={})
    assert it.torch is not None
    np.testing.assert_array_equal(it.torch(*it.args)["y"], 4 * X * X)


def test_torch_gets_what_is_not_differentiated_without_a_gradient():
    seen = []

    def theirs(x, mask, w):
        seen.extend((x.requires_grad, mask.requires_grad, w.requires_grad))
        return x * mask * w

    it = case_of(lambda x, mask, w: x * mask * w, X, X + 1, X + 2, torch=theirs, nondiff=["mask"])
    assert it.torch is not None
    found = it.torch(*it.args)
    assert seen == [True, False, True]
    assert {name for name in found if name.endswith("_bar")} == {"x_bar", "w_bar"}
    np.testing.assert_array_equal(found["w_bar"], it.cotangents[0] * X * (X + 1))


def test_torch_functions_need_no_jax_arrays():
    it = case_of(lambda x, w: x @ w, X, X, torch=torch.matmul, reference=lambda x, w: x @ w)
    found = {who: run(*it.args) for who, run in it.implementations.items()}
    assert [set(leaves) for leaves in found.values()] == [set(found["rule"])] * 3
