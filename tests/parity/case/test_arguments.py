import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin
from pullback.parity.case.arguments import draw_cotangents, float_outputs, output_names, take_apart, with_cotangents

X = np.arange(6, dtype=np.float32).reshape(2, 3)
I = np.arange(3)  # noqa: E741
DTYPES = [np.float64, np.float32, np.float16, jnp.bfloat16]


def subject(rule, *args, kwargs=None, static_argnums=()):
    return take_apart(rule, args, kwargs, static_argnums)


def test_names_come_from_the_signature():
    assert subject(lambda x, weight: x, X, X).names == ["x", "weight"]
    assert subject(lambda x, /, *, scale=1: x, X).names == ["x"]
    assert subject(lin, X, np.zeros((3, 2), np.float32), np.zeros(2, np.float32)).names == ["x", "w", "b"]
    assert subject(functools.partial(lambda a, x: x, X), X).names == ["x"]


def test_names_where_there_are_none():
    assert subject(lambda first, *rest: first, X, X, X).names == ["first", "args[1]", "args[2]"]
    assert subject(max, X, X).names == ["args[0]", "args[1]"]


def test_names_of_nested_trees():
    net = [(X, X[0]), {"scale": X[0], "bias": [X]}]
    names = ["params[0][0]", "params[0][1]", "params[1]['bias'][0]", "params[1]['scale']", "x"]
    assert subject(lambda params, x: x, net, X).names == names


def test_none_is_no_leaf():
    taken = subject(lin, X, np.zeros((3, 2), np.float32), None)
    assert taken.names == ["x", "w"]
    assert taken.rebuild(taken.diff)[2] is None


def test_what_is_put_together_again_is_what_was_taken_apart():
    net = {"layers": [(X, X[0])], "step": I}
    taken = subject(lambda net, x, mask: x, net, X[1], np.array([True, False]))
    rebuilt = taken.rebuild([2 * leaf for leaf in taken.diff])
    assert taken.names == ["net['layers'][0][0]", "net['layers'][0][1]", "x"]
    assert jax.tree.structure(rebuilt) == jax.tree.structure((net, X, I))
    np.testing.assert_array_equal(rebuilt[0]["layers"][0][0], 2 * X)
    np.testing.assert_array_equal(rebuilt[0]["step"], I)
    np.testing.assert_array_equal(rebuilt[1], 2 * X[1])
    np.testing.assert_array_equal(rebuilt[2], [True, False])


def test_too_few_leaves_are_no_arguments():
    with pytest.raises(ValueError):
        subject(lambda x, y: x, X, X).rebuild([X])


def test_integers_are_passed_on_and_not_differentiated():
    taken = subject(lambda x, rows: x[rows], X, np.array([1, 1]))
    assert taken.names == ["x"]
    np.testing.assert_array_equal(taken.flat(lambda x, rows: x[rows])(X), X[[1, 1]])


@pytest.mark.parametrize("number", [1, -2])
def test_static_arguments_are_passed_on_as_they_are(number):
    taken = subject(lambda x, axis, y: x, X, "rows", X, static_argnums=(number,))
    assert taken.names == ["x", "y"]
    assert taken.rebuild(taken.diff)[1] == "rows"


def test_a_static_array_is_not_differentiated():
    taken = subject(lambda x, y: x, X, X, static_argnums=(1,))
    assert taken.names == ["x"] and taken.rebuild(taken.diff)[1] is X


def test_a_static_tree_is_one_argument():
    option = {"axis": 1, "names": ["a"]}
    taken = subject(lambda x, option: x, X, option, static_argnums=(1,))
    assert taken.rebuild(taken.diff)[1] is option


def test_a_static_position_beyond_the_arguments_is_an_error():
    with pytest.raises(ValueError, match="static_argnums"):
        subject(lambda x, y: x, X, X, static_argnums=(2,))


def test_keyword_arguments_go_along():
    taken = subject(lambda x, *, scale: scale * x, X, kwargs={"scale": 3})
    np.testing.assert_array_equal(taken.flat(lambda x, *, scale: scale * x)(X), 3 * X)
    assert subject(lambda x: x, X).kwargs == {}


def test_the_callers_keyword_arguments_are_not_kept():
    kwargs = {"scale": 3}
    taken = subject(lambda x, scale: x, X, kwargs=kwargs)
    kwargs["scale"] = 4
    assert taken.kwargs == {"scale": 3}


@pytest.mark.parametrize("leaf", [2.0, 3, True, "rows", lambda: 0, np.float32])
def test_a_leaf_that_is_no_array(leaf):
    with pytest.raises(TypeError) as caught:
        subject(lambda x, options: x, X, {"axis": [leaf]})
    assert str(caught.value) == (
        f"argument options['axis'][0] is a {type(leaf).__name__}, not an array: make it an array to differentiate it, "
        "or give its position in static_argnums, or pass it in kwargs"
    )


@pytest.mark.parametrize("args", [(), (I,), ((),), (None,)])
def test_nothing_to_differentiate(args):
    with pytest.raises(ValueError, match="^no argument is a floating-point array, so there is nothing to diff"):
        subject(lambda *args: args, *args)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named_with_its_place(value, dtype):
    bad = X.copy()
    bad[1, 0] = value
    with pytest.raises(ValueError) as caught:
        subject(lambda x, w: x, X, [bad.astype(dtype)])
    assert str(caught.value) == f"argument w[0] holds {value} at [1, 0]: give finite numbers to check at"


def test_a_scalar_that_is_not_finite():
    with pytest.raises(ValueError, match=r"argument x holds nan at \[\]"):
        subject(lambda x: x, np.float32(np.nan))


def test_scalars_and_jax_arrays_are_arrays():
    taken = subject(lambda x, y: x, np.float32(2), jnp.ones(2))
    assert [leaf.shape for leaf in taken.diff] == [(), (2,)]
    assert all(isinstance(leaf, np.ndarray) for leaf in taken.diff)


def test_a_random_key_is_passed_on():
    key = jax.random.key(0)
    taken = subject(lambda x, key: x, X, key)
    assert taken.names == ["x"] and taken.rebuild(taken.diff)[1] is key


def test_a_complex_argument_is_refused():
    with pytest.raises(TypeError, match="argument z"):
        subject(lambda x, z: x, X, X.astype(np.complex64))


def test_cast():
    taken = subject(lambda x, rows, scale: x, X, I, kwargs={"scale": 3}).cast(jnp.bfloat16)
    assert [leaf.dtype for leaf in taken.diff] == [jnp.bfloat16]
    assert taken.rebuild(taken.diff)[1].dtype == jnp.int32 and taken.names == ["x"] and taken.kwargs == {"scale": 3}


def test_output_names():
    assert output_names(X) == ["y"]
    assert output_names((X, X)) == ["y[0]", "y[1]"]
    assert output_names({"loss": X, "aux": [X]}) == ["y['aux'][0]", "y['loss']"]


def leaves_of(fun, diff, cotangents, names=("x",)):
    return {name: np.asarray(leaf) for name, leaf in with_cotangents(names, fun)(diff, cotangents).items()}


def test_value_and_cotangents():
    g = np.array([X, 2 * X, 0 * X])
    leaves = leaves_of(lambda x, w: x * w, [X, X + 1], [g], ["x", "w"])
    assert list(leaves) == ["y", "y (primal)", "x_bar", "w_bar"]
    np.testing.assert_array_equal(leaves["y"], X * (X + 1))
    np.testing.assert_array_equal(leaves["x_bar"], g * (X + 1))
    np.testing.assert_array_equal(leaves["w_bar"], g * X)


def test_several_outputs_each_with_its_cotangents():
    a, b = np.array([X, 2 * X]), np.array([X[0], 3 * X[0]])
    leaves = leaves_of(lambda x: {"b": 5 * x[0], "a": x * x}, [X], [a, b])
    assert list(leaves) == ["y['a']", "y['b']", "y['a'] (primal)", "y['b'] (primal)", "x_bar"]
    want = 2 * X * a
    want[:, 0] += 5 * b
    np.testing.assert_array_equal(leaves["x_bar"], want)


def test_integer_outputs_are_compared_and_get_no_cotangent():
    leaves = leaves_of(lambda x: (jnp.argmax(x), 2 * x), [X], [X[None]])
    assert leaves["y[0]"] == 5 and leaves["y[0]"].dtype.kind == "i"
    np.testing.assert_array_equal(leaves["x_bar"], 2 * X[None])
    assert [out.shape for out in float_outputs(lambda x: (jnp.argmax(x), 2 * x), [X])] == [(2, 3)]


def test_the_value_is_the_forward_rules_and_the_primal_stands_beside_it():
    @jax.custom_vjp
    def rule(x):
        return 2 * x

    rule.defvjp(lambda x: (3 * x, None), lambda _, g: (2 * g,))
    leaves = leaves_of(rule, [X], [X[None]])
    np.testing.assert_array_equal(leaves["y"], 3 * X)
    np.testing.assert_array_equal(leaves["y (primal)"], 2 * X)


def outputs(dtype, *shapes):
    return [jax.ShapeDtypeStruct(shape, dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
def test_cotangents(dtype):
    with jax.enable_x64(True):
        (drawn,) = draw_cotangents(outputs(dtype, (40, 50)), seed=0)
    assert drawn.dtype == dtype and drawn.shape == (5, 40, 50)
    c1, c2, both, ones, zeros = drawn.astype(np.float64)
    np.testing.assert_array_equal(both, c1 + 2 * c2)  # exactly, in every dtype
    assert (ones == 1).all() and (zeros == 0).all()
    assert np.abs(c1).max() <= 4 and np.abs(c2).max() <= 4
    assert c1.min() < -3.5 and c1.max() > 3.5 and not np.array_equal(c1, c2)
    # In an arithmetic of fewer bits they would be others. (Of float16's 11 bits they use 8, as many as bfloat16 has.)
    if dtype in (np.float64, np.float32):
        assert (c1 != c1.astype(jnp.bfloat16).astype(np.float64)).mean() > 0.25


def test_each_output_has_cotangents_of_its_own():
    first, second, scalar = draw_cotangents(outputs(np.float32, (3, 2), (3, 2), ()), seed=0)
    assert not np.array_equal(first, second) and scalar.shape == (5,)


def test_seeds():
    one, same, other = (draw_cotangents(outputs(np.float32, (4,)), seed=seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
