import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import mlp_loss
from pullback.parity.case.stripping import custom_rules, dtypes_of, may_stop_gradients, without_rules

X = np.array([1.0, -2.0, 3.0], np.float32)


@jax.custom_vjp
def cube(x):
    return x * x * x


# Plainly wrong, so that whose gradient it is can be told: 7 for 3 x^2.
cube.defvjp(lambda x: (x * x * x, x), lambda x, g: (7 * g,))


@jax.custom_jvp
def square(x):
    return x * x


square.defjvp(lambda primals, tangents: (primals[0] ** 2, 5 * tangents[0]))


def strip_rules(fun):
    """`fun` of trees without its rules, traced anew at each call."""

    def stripped(*args):
        closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        return jax.tree.unflatten(jax.tree.structure(shapes), without_rules(closed)(*jax.tree.leaves(args)))

    return stripped


def rules_of(fun, *args):
    return custom_rules(jax.make_jaxpr(fun)(*args))


RIGHT, WRONG = 3 * X * X, np.full(3, 7.0)


def gradient(fun, x=X):
    return np.asarray(jax.grad(lambda x: jnp.sum(fun(x)))(x))


def test_the_rule_is_taken_out():
    np.testing.assert_array_equal(gradient(cube), WRONG)
    np.testing.assert_array_equal(gradient(strip_rules(cube)), RIGHT)
    np.testing.assert_array_equal(strip_rules(cube)(X), X**3)


def test_deep_in_compiled_functions_too():
    nested = lambda x: 2 * jax.jit(lambda x: jax.jit(cube)(x) + x)(x)  # noqa: E731
    np.testing.assert_array_equal(gradient(nested), 2 * (WRONG + 1))
    np.testing.assert_array_equal(gradient(strip_rules(nested)), 2 * (RIGHT + 1))
    assert rules_of(strip_rules(nested), X) == []


def test_a_rule_in_a_rule():
    @jax.custom_vjp
    def outer(x):
        return 2 * cube(x)

    outer.defvjp(lambda x: (2 * cube(x), None), lambda _, g: (9 * g,))
    np.testing.assert_array_equal(gradient(outer), np.full(3, 9.0))
    np.testing.assert_array_equal(gradient(strip_rules(outer)), 2 * RIGHT)


def test_inside_a_checkpoint():
    np.testing.assert_array_equal(gradient(strip_rules(jax.checkpoint(cube))), RIGHT)


def test_what_hides_in_a_loop_stays_and_is_named():
    looped = lambda x: jax.lax.scan(lambda c, row: (c, cube(row)), None, x)[1]  # noqa: E731
    np.testing.assert_array_equal(gradient(strip_rules(looped)), WRONG)
    assert rules_of(strip_rules(looped), X) == ["cube (custom_vjp)"]


def test_a_custom_jvp_is_taken_out_where_it_is_the_only_kind():
    np.testing.assert_array_equal(gradient(square), np.full(3, 5.0))
    np.testing.assert_array_equal(gradient(strip_rules(square)), 2 * X)


def test_a_custom_jvp_stays_beside_a_custom_vjp():
    both = lambda x: cube(x) + square(x)  # noqa: E731
    np.testing.assert_array_equal(gradient(strip_rules(both)), RIGHT + 5)
    assert rules_of(strip_rules(both), X) == ["square (custom_jvp)"]


def test_without_rules_nothing_changes():
    np.testing.assert_array_equal(gradient(strip_rules(lambda x: x * x)), 2 * X)


def test_outputs_keep_their_tree_and_arguments_theirs():
    stripped = strip_rules(lambda tree, y: {"a": cube(tree["x"]), "b": (y, tree["x"])})
    got = stripped({"x": X}, X + 1)
    np.testing.assert_array_equal(got["a"], X**3)
    np.testing.assert_array_equal(got["b"][0], X + 1)


def test_constants_come_along():
    scale = jnp.array([1.0, 2.0, 3.0])

    @jax.custom_vjp
    def scaled(x):
        return scale * cube(x)

    scaled.defvjp(lambda x: (scaled(x), None), lambda _, g: (g,))
    np.testing.assert_array_equal(jax.jit(strip_rules(scaled))(X), scale * X**3)
    np.testing.assert_array_equal(gradient(strip_rules(scaled)), scale * RIGHT)


def test_it_can_be_compiled_mapped_and_differentiated_twice():
    stripped = strip_rules(cube)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.grad(stripped)))(X), RIGHT)
    np.testing.assert_array_equal(jax.vmap(jax.grad(jax.grad(stripped)))(X), 6 * X)


def test_the_rules_of_a_function_are_named_in_order():
    assert rules_of(lambda x: square(cube(x)), X) == ["cube (custom_vjp)", "square (custom_jvp)"]
    assert rules_of(lambda x: x * x, X) == []
    w, b, x = jnp.ones((3, 1)), jnp.ones(1), jnp.ones((2, 3))
    names = rules_of(mlp_loss, [(jnp.ones((3, 3)), jnp.ones(3)), (w, b)], x, jnp.ones(2))
    assert names == ["lin (custom_vjp)", "relu (custom_vjp)", "lin (custom_vjp)", "mse (custom_vjp)"]


def test_a_jaxpr_is_stripped_once_and_called_with_other_values():
    stripped = without_rules(jax.make_jaxpr(cube)(X))
    np.testing.assert_array_equal(stripped(X)[0], X**3)
    np.testing.assert_array_equal(stripped(2 * X)[0], 8 * X**3)


def jaxpr_of(fun, *args):
    return jax.make_jaxpr(fun)(*(args or (X,))).jaxpr


def test_the_dtypes_of_all_that_is_computed():
    assert dtypes_of(jaxpr_of(lambda x: x * x)) == {np.dtype(np.float32)}
    assert dtypes_of(jaxpr_of(lambda x: x.astype(jnp.bfloat16) * 2)) == {np.dtype(jnp.bfloat16)}


def test_the_dtypes_of_what_is_called_too():
    def halved(x):
        return jax.jit(lambda x: x.astype(jnp.float16).astype(jnp.float32))(x)

    looped = lambda x: jax.lax.scan(lambda c, row: (c, halved(row)), None, x)[1]  # noqa: E731
    for fun in (halved, looped, jax.checkpoint(halved)):
        assert np.dtype(np.float16) in dtypes_of(jaxpr_of(fun))


SMOOTH = [lambda x: jnp.sin(x) * x, jnp.abs, lambda x: jnp.maximum(x, 0.0), lambda x: x.astype(jnp.bfloat16)]
STEPPED = {
    "gradients stopped": lambda x: x + jax.lax.stop_gradient(x),
    "rounded": jnp.round,
    "floor": jnp.floor,
    "sign": jnp.sign,
    "to integers": lambda x: x.astype(jnp.int32).astype(jnp.float32),
    "to bools": lambda x: x.astype(bool).astype(jnp.float32),
    "a rule of the user's": cube,
    "a rule of jax's own": jax.nn.relu,
    "in a function": lambda x: jax.jit(jnp.floor)(x),
    "in a loop": lambda x: jax.lax.scan(lambda c, row: (c, jnp.floor(row)), None, x)[1],
    "in a branch": lambda x: jax.lax.cond(x[0] > 0, jnp.floor, jnp.sin, x),
}


@pytest.mark.parametrize("fun", SMOOTH)
def test_nothing_stops_a_gradient(fun):
    assert not may_stop_gradients(jaxpr_of(fun))


@pytest.mark.parametrize("name", STEPPED)
def test_what_may_stop_a_gradient_on_purpose(name):
    assert may_stop_gradients(jaxpr_of(STEPPED[name]))
