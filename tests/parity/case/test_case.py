import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import relu
from pullback.parity.case.case import on_trial

X = np.array([[1.0, -2.0], [3.0, 0.5]], np.float32)


def trial(rule, *args, reference=None, torch=None, kwargs=None, torch_kwargs=None, static_argnums=(), seed=0):
    return on_trial(rule, args, reference, torch, kwargs, torch_kwargs, static_argnums, seed)


def product(x, y, *, scale=1):
    return scale * x * y


def test_the_rule_as_a_function_of_its_leaves():
    it = trial(lambda x, rows, y: x[rows] * y, X, np.array([1, 0]), X)
    np.testing.assert_array_equal(it.flat_rule(X, X), X[::-1] * X)
    assert it.args[0] is it.subject.diff and len(it.subject.diff) == 2


def test_names():
    assert trial(product, X, X).name == "product"
    assert trial(relu, X).name == "relu"
    assert trial(jax.jit(product), X, X).name == "product"

    class Layer:
        def __call__(self, x):
            return x

    assert trial(Layer(), X).name == "Layer"


def test_without_a_reference_the_rules_own_primal_is_plain():
    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, None), lambda _, g: (7 * g,))
    for reference, slope in ((None, 2 * X), (lambda x: 5 * x, np.full_like(X, 5))):
        plain = trial(rule, X, reference=reference).flat_plain
        np.testing.assert_array_equal(jax.grad(lambda x, f=plain: jnp.sum(f(x)))(X), slope)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
def test_cast(dtype):
    with jax.enable_x64(True):
        it = trial(product, X, X).cast(dtype)
        assert [leaf.dtype for leaf in it.subject.diff] == [dtype] * 2
        assert [c.dtype for c in it.cotangents] == [dtype] and it.dtype == dtype


def test_the_coarsest_dtype_is_allowed_for():
    assert trial(product, X, X.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    assert trial(product, X.astype(np.float64), X).dtype == np.float32
    assert trial(product, X.astype(np.float16), X.astype(jnp.bfloat16)).dtype == jnp.bfloat16


def test_other_values_same_cotangents():
    it = trial(product, X, X, seed=3)
    other = it.with_diff([X + 1, X])
    np.testing.assert_array_equal(other.flat_rule(*other.subject.diff), (X + 1) * X)
    np.testing.assert_array_equal(other.cotangents[0], it.cotangents[0])
    np.testing.assert_array_equal(it.subject.diff[0], X)


def test_the_seed_draws_the_cotangents():
    one, same, other = (trial(product, X, X, seed=seed).cotangents[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_another_flat_rule_against_the_same_plain_one():
    it = trial(product, X, X, kwargs={"scale": 3}, torch=product)
    other = it.with_flat_rule(lambda x, y: x + y)
    np.testing.assert_array_equal(other.flat_rule(X, X), 2 * X)
    np.testing.assert_array_equal(other.flat_plain(X, X), 3 * X * X)
    assert other.torch is None and other.subject.names == it.subject.names


def test_in_double():
    it = trial(lambda x: x / 3, X)
    for compiled in (True, False):
        leaves = it.in_double(it.in_jax(it.flat_rule), compiled)(*it.args)
        assert {leaf.dtype for leaf in leaves.values()} == {np.dtype(np.float64)}
        assert all(isinstance(leaf, np.ndarray) for leaf in leaves.values())
        np.testing.assert_array_equal(leaves["y"], X.astype(np.float64) / 3)
    assert not jax.config.jax_enable_x64  # pyright: ignore[reportAttributeAccessIssue]


def test_in_torch():
    it = trial(product, X, X, kwargs={"scale": 3})
    assert it.in_torch() is None
    run = trial(product, X, X, torch=product, kwargs={"scale": 3}).in_torch()
    assert run is not None
    np.testing.assert_array_equal(run(*it.args)["y"], 3 * X * X)


def test_torch_may_call_its_keyword_arguments_otherwise():
    def theirs(x, y, factor):
        return factor * x * y

    it = trial(product, X, X, torch=theirs, kwargs={"scale": 3}, torch_kwargs={"factor": 3})
    run = it.in_torch()
    assert run is not None
    np.testing.assert_array_equal(run(*it.args)["y"], 3 * X * X)
    assert trial(product, X, X, torch=theirs, kwargs={"scale": 3}, torch_kwargs={}).torch_kwargs == {}
