import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.core import Tracer

from pullback.parity.case.arguments import take_apart
from pullback.parity.case.in_jax import InJax

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def in_jax(fun, *args, **options):
    arguments = take_apart(fun, args, **options)
    return InJax(arguments, arguments.flat(fun))


def every_way(fun, *args, cotangents, **options):
    """Compiled, one by one and operation by operation: the same names and, on whole numbers, the same bits."""
    arguments = take_apart(fun, args, **options)
    run = InJax(arguments, arguments.flat(fun))
    found = run(arguments.leaves, cotangents)
    assert all(isinstance(leaf, np.ndarray) for leaf in found.values())
    for other in (jax.jit(run.run_one_by_one)(arguments.leaves, cotangents), run.eager(arguments.leaves, cotangents)):
        assert set(other) == set(found)
        for name, leaf in found.items():
            np.testing.assert_array_equal(np.asarray(other[name]), leaf, err_msg=name, strict=True)
    return found


def test_value_and_cotangents():
    g = np.array([X, 2 * X, 0 * X])
    leaves = every_way(lambda x, w: x * w, X, X + 1, cotangents=[g])
    assert set(leaves) == {"y", "y (primal)", "x_bar", "w_bar"}
    np.testing.assert_array_equal(leaves["y"], X * (X + 1))
    np.testing.assert_array_equal(leaves["x_bar"], g * (X + 1))
    np.testing.assert_array_equal(leaves["w_bar"], g * X)


def test_the_order_of_leaves():
    run = in_jax(lambda x, w: {"b": x, "a": w}, X, X)
    names = ["y['a']", "y['b']", "y['a'] (primal)", "y['b'] (primal)", "x_bar", "w_bar"]
    assert list(run.run([X, X], [X[None], X[None]])) == names


def test_several_outputs_each_with_its_cotangents():
    a, b = np.array([X, 2 * X]), np.array([X[0], 3 * X[0]])
    leaves = every_way(lambda x: {"b": 5 * x[0], "a": x * x}, X, cotangents=[a, b])
    assert set(leaves) == {"y['a']", "y['b']", "y['a'] (primal)", "y['b'] (primal)", "x_bar"}
    want = 2 * X * a
    want[:, 0] += 5 * b
    np.testing.assert_array_equal(leaves["x_bar"], want)


def test_integer_outputs_are_compared_and_get_no_cotangent():
    fun = lambda x: (jnp.argmax(x), 2 * x)  # noqa: E731
    leaves = every_way(fun, X, cotangents=[X[None]])
    place = leaves["y[0]"]
    assert place.dtype.kind == "i" and place == 5
    np.testing.assert_array_equal(leaves["x_bar"], 2 * X[None])
    traced = in_jax(fun, X).traced([X])
    assert [out.shape for out in traced.floats] == [(2, 3)]
    assert traced.described == {"y[0]": "int32[]", "y[1]": "float32[2, 3]"}


def test_the_value_is_the_forward_rules_and_the_primal_stands_beside_it():
    @jax.custom_vjp
    def rule(x):
        return 2 * x

    rule.defvjp(lambda x: (3 * x, None), lambda _, g: (2 * g,))
    leaves = every_way(rule, X, cotangents=[X[None]])
    np.testing.assert_array_equal(leaves["y"], 3 * X)
    np.testing.assert_array_equal(leaves["y (primal)"], 2 * X)


def test_what_is_not_differentiated_has_no_cotangent():
    leaves = every_way(lambda x, mask, w: x * mask * w, X, X + 1, X + 2, cotangents=[X[None]], nondiff=["mask"])
    assert {name for name in leaves if name.endswith("_bar")} == {"x_bar", "w_bar"}
    np.testing.assert_array_equal(leaves["w_bar"], X[None] * X * (X + 1))


def test_a_trace_is_a_function_like_the_one_that_was_traced():
    run = in_jax(lambda x: {"a": x * x, "b": (x[0], jnp.argmax(x))}, X)
    found = run.traced([X])(X + 1)
    assert set(found) == {"a", "b"} and isinstance(found["b"], tuple)
    np.testing.assert_array_equal(found["a"], (X + 1) ** 2)


def counted(calls):
    """x^2 by hand, and a count of the calls of primal, forward and backward."""

    @jax.custom_vjp
    def rule(x):
        calls.append("primal")
        return x * x

    def forward(x):
        calls.append("forward")
        return x * x, x

    def backward(x, g):
        calls.append("backward")
        return (2 * x * g,)

    rule.defvjp(forward, backward)
    return rule


def test_the_function_is_traced_once_for_each_dtype():
    calls = []

    def fun(x):
        calls.append(x.dtype)
        return x * x

    run, g = in_jax(fun, X), X[None]
    for _ in range(2):
        run([X], [g])
        jax.jit(run.run_one_by_one)([X], [g])
        run.run_under(jax.checkpoint, [X], [g])
        run.traced([X])
    assert calls == [np.float32]
    run([2 * X], [3 * g])
    assert calls == [np.float32], "other values are no reason to trace again"
    half, g_half = X.astype(jnp.bfloat16), g.astype(jnp.bfloat16)
    for _ in range(2):
        run([half], [g_half])
    assert calls == [np.float32, jnp.bfloat16]
    with jax.enable_x64(True):
        run([X.astype(np.float64)], [g.astype(np.float64)])
        run.traced([X.astype(np.float64)])
    assert calls == [np.float32, jnp.bfloat16, np.float64]
    run([X[:1]], [g[:, :1]])
    assert calls[3:] == [np.float32], "another shape"


def test_a_rules_primal_is_traced_once_too():
    calls = []
    run = in_jax(counted(calls), X)
    for k in (1, 2):
        run([k * X], [X[None]])
    assert calls.count("primal") == 1 and calls.count("forward") == 1 and calls.count("backward") == 1


def test_eager_calls_the_function_itself():
    seen = []

    def fun(x):
        seen.append(isinstance(x, Tracer))
        return x * x

    run = in_jax(fun, X)
    run.traced([X])
    run.eager([X], [X[None]])
    assert seen[0] is True and False in seen[1:], "on arrays, not on tracers alone"


def test_eager_calls_the_backward_with_jax_arrays_too():
    seen = []

    @jax.custom_vjp
    def rule(x):
        return x * x

    def backward(x, g):
        seen.extend((x, g))
        return (2 * x * g,)

    rule.defvjp(lambda x: (x * x, x), backward)
    in_jax(rule, X).eager([X], [np.stack([X, 3 * X])])
    assert len(seen) == 4 and all(isinstance(array, jax.Array) for array in seen), "NumPy's have no `at`"


def test_the_pullback_is_mapped_over_the_cotangents():
    calls = []
    g = np.array([X, 2 * X, 3 * X, 0 * X])
    leaves = in_jax(counted(calls), X)([X], [g])
    assert calls.count("backward") == 1, "one call for all four"
    np.testing.assert_array_equal(leaves["x_bar"], 2 * X * g)


def one_at_a_time(calls=None):
    """A backward in NumPy that jax cannot vmap."""

    @jax.custom_vjp
    def rule(x):
        return x * x

    def twice(x, g):
        if calls is not None:
            calls.append(np.shape(g))
        return np.asarray(2 * np.asarray(x) * np.asarray(g), np.float32)

    rule.defvjp(
        lambda x: (x * x, x),
        lambda x, g: (jax.pure_callback(twice, jax.ShapeDtypeStruct(x.shape, x.dtype), x, g),),
    )
    return rule


def test_a_pullback_that_cannot_be_mapped_is_called_one_by_one():
    shapes = []
    g = np.array([X, 2 * X, 0 * X])
    run = in_jax(one_at_a_time(shapes), X)
    assert not run.one_by_one
    np.testing.assert_array_equal(run([X], [g])["x_bar"], 2 * X * g)
    assert run.one_by_one and shapes == [(2, 3)] * 3


def test_what_only_fails_when_it_runs_is_called_one_by_one_too():
    """As a device does that has no such product: the vmapped program compiles, and is refused when it runs."""

    def twice(x, g):
        if np.shape(g) != (2, 3):
            raise RuntimeError("no such product here")
        return np.asarray(2 * np.asarray(x) * np.asarray(g), np.float32)

    @jax.custom_vjp
    def rule(x):
        return x * x

    shape = jax.ShapeDtypeStruct(X.shape, X.dtype)
    rule.defvjp(
        lambda x: (x * x, x),
        lambda x, g: (jax.pure_callback(twice, shape, x, g, vmap_method="expand_dims"),),
    )
    g = np.array([X, 2 * X, 0 * X])
    run = in_jax(rule, X)
    np.testing.assert_array_equal(run([X], [g])["x_bar"], 2 * X * g)
    assert run.one_by_one


def test_what_raises_for_another_reason_raises():
    @jax.custom_vjp
    def rule(x):
        return x * x

    def backward(x, g):
        raise RuntimeError("no gradient")

    rule.defvjp(lambda x: (x * x, x), backward)
    with pytest.raises(RuntimeError, match="no gradient"):
        in_jax(rule, X)([X], [X[None]])


def wrong_under_vmap():
    """x^2, whose backward is right for one cotangent and twice too large under vmap."""

    @jax.custom_batching.custom_vmap
    def bar(x, g):
        return 2 * x * g

    @bar.def_vmap
    def _mapped(size, batched, x, g):
        return 4 * x[None] * g, True

    @jax.custom_vjp
    def rule(x):
        return x * x

    rule.defvjp(lambda x: (x * x, x), lambda x, g: (bar(x, g),))
    return rule


def test_without_vmap_it_is_what_one_by_one_is():
    g = np.array([X, 3 * X])
    run = in_jax(wrong_under_vmap(), X)
    np.testing.assert_array_equal(run([X], [g])["x_bar"], 4 * X * g)
    run.without_vmap()
    assert run.one_by_one
    np.testing.assert_array_equal(run([X], [g])["x_bar"], 2 * X * g)
    np.testing.assert_array_equal(jax.jit(run.run)([X], [g])["x_bar"], 2 * X * g)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, w: jnp.sin(x) @ jnp.exp(w).T,
        lambda x, w: (jnp.sum(x * w), {"max": jnp.max(x, 0), "where": jnp.argmin(w)}),
        lambda x, w: jax.lax.scan(lambda c, row: (c + row * w[0], jnp.tanh(c)), x[0], x)[1],
    ],
)
def test_one_vmap_agrees_with_one_by_one(fun):
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal((2, 3)).astype(np.float32) for _ in range(2))
    run = in_jax(fun, x, w)
    cotangents = [rng.standard_normal((5, *out.shape)).astype(np.float32) for out in run.traced([x, w]).floats]
    at_once, each = run([x, w], cotangents), jax.jit(run.run_one_by_one)([x, w], cotangents)
    assert not run.one_by_one and set(at_once) == set(each)
    for name, leaf in at_once.items():
        np.testing.assert_allclose(leaf, np.asarray(each[name]), rtol=1e-5, atol=1e-6, err_msg=name)


def test_leaves_with_others_in_the_place_of_the_differentiated_ones():
    run = in_jax(lambda x, mask, w: x, X, X + 1, X + 2, nondiff=["mask"])
    for leaf, want in zip(run.filled([X, X + 1, X + 2], [5 * X, 6 * X]), (5 * X, X + 1, 6 * X), strict=True):
        np.testing.assert_array_equal(leaf, want)
    with pytest.raises(ValueError):
        run.filled([X, X, X], [X])


def test_a_function_that_cannot_be_traced_raises():
    def broken(x):
        raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        in_jax(broken, X).traced([X])
