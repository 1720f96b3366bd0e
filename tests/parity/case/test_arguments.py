import enum
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.functional import lin
from pullback.parity.case.arguments import is_complex, is_float, output_names, take_apart
from pullback.parity.case.leaves import same_bits

X = np.arange(6, dtype=np.float32).reshape(2, 3)
I = np.arange(3)  # noqa: E741
DTYPES = [np.float64, np.float32, np.float16, jnp.bfloat16]


def taken_apart(rule, *args, **options):
    return take_apart(rule, args, **options)


def test_names_come_from_the_signature():
    assert taken_apart(lambda x, weight: x, X, X).names == ["x", "weight"]
    assert taken_apart(lambda x, /, *, scale=1: x, X).names == ["x"]
    assert taken_apart(lin, X, np.zeros((3, 2), np.float32), np.zeros(2, np.float32)).names == ["x", "w", "b"]
    assert taken_apart(functools.partial(lambda a, x: x, X), X).names == ["x"]


def test_names_where_there_are_none():
    assert taken_apart(lambda first, *rest: first, X, X, X).names == ["first", "args[1]", "args[2]"]
    assert taken_apart(max, X, X).names == ["args[0]", "args[1]"]


def test_names_of_nested_trees():
    net = [(X, X[0]), {"scale": X[0], "bias": [X]}]
    names = ["params[0][0]", "params[0][1]", "params[1]['bias'][0]", "params[1]['scale']", "x"]
    assert taken_apart(lambda params, x: x, net, X).names == names


def test_none_is_no_leaf():
    taken = taken_apart(lin, X, np.zeros((3, 2), np.float32), None)
    assert taken.names == ["x", "w"]
    assert taken.rebuild(taken.diff)[2] is None


def test_what_is_put_together_again_is_what_was_taken_apart():
    net = {"layers": [(X, X[0])], "step": I}
    taken = taken_apart(lambda net, x, mask: x, net, X[1], np.array([True, False]))
    rebuilt = taken.rebuild([2 * leaf for leaf in taken.diff])
    assert taken.names == ["net['layers'][0][0]", "net['layers'][0][1]", "x"]
    assert jax.tree.structure(rebuilt) == jax.tree.structure((net, X, I))
    np.testing.assert_array_equal(rebuilt[0]["layers"][0][0], 2 * X)
    np.testing.assert_array_equal(rebuilt[0]["step"], I)
    np.testing.assert_array_equal(rebuilt[1], 2 * X[1])
    np.testing.assert_array_equal(rebuilt[2], [True, False])


def test_too_few_leaves_are_no_arguments():
    with pytest.raises(ValueError):
        taken_apart(lambda x, y: x, X, X).rebuild([X])


def test_integers_are_passed_on_and_not_differentiated():
    taken = taken_apart(lambda x, rows: x[rows], X, np.array([1, 1]))
    assert taken.names == ["x"]
    np.testing.assert_array_equal(taken.flat(lambda x, rows: x[rows])(X), X[[1, 1]])


@pytest.mark.parametrize("number", [1, -2])
def test_static_arguments_are_passed_on_as_they_are(number):
    taken = taken_apart(lambda x, axis, y: x, X, "rows", X, static_argnums=(number,))
    assert taken.names == ["x", "y"]
    assert taken.rebuild(taken.diff)[1] == "rows"


def test_a_static_array_is_not_differentiated():
    taken = taken_apart(lambda x, y: x, X, X, static_argnums=(1,))
    assert taken.names == ["x"] and taken.rebuild(taken.diff)[1] is X


def test_a_static_tree_is_one_argument():
    option = {"axis": 1, "names": ["a"]}
    taken = taken_apart(lambda x, option: x, X, option, static_argnums=(1,))
    assert taken.rebuild(taken.diff)[1] is option


def test_a_static_position_beyond_the_arguments_is_an_error():
    with pytest.raises(ValueError, match="static_argnums"):
        taken_apart(lambda x, y: x, X, X, static_argnums=(2,))


def test_keyword_arguments_go_along():
    taken = taken_apart(lambda x, *, scale: scale * x, X, kwargs={"scale": 3})
    np.testing.assert_array_equal(taken.flat(lambda x, *, scale: scale * x)(X), 3 * X)
    assert taken_apart(lambda x: x, X).kwargs == {}


def test_the_callers_keyword_arguments_are_not_kept():
    kwargs = {"scale": 3}
    taken = taken_apart(lambda x, scale: x, X, kwargs=kwargs)
    kwargs["scale"] = 4
    assert taken.kwargs == {"scale": 3}


class Shade(enum.Enum):
    DARK = 1


@pytest.mark.parametrize("leaf", [3, True, "rows", b"rows", lambda: 0, np.float32, np.dtype("int8"), Shade.DARK, ...])
def test_what_is_no_number_is_passed_on_as_it_is(leaf):
    taken = taken_apart(lambda x, options: x, X, {"axis": [leaf]})
    assert taken.names == ["x"] and taken.numbers == []
    assert taken.rebuild(taken.leaves)[1] == {"axis": [leaf]} and type(
        taken.rebuild(taken.leaves)[1]["axis"][0]
    ) is type(leaf)


@pytest.mark.parametrize("dtypes", [["float32"], ["float64", "bfloat16"], ["float16", "float64"], ["complex128"]])
def test_a_python_float_is_differentiated_in_the_coarsest_dtype(dtypes):
    arrays = [X.astype(dtype) for dtype in dtypes]
    taken = taken_apart(lambda arrays, scale, n: 0, arrays, 0.25, 3)
    coarsest = {"complex128": "float64"}.get(dtypes[0], dtypes[-1] if "bfloat16" in dtypes else dtypes[0])
    assert taken.diff_names[-1] == "scale" and taken.numbers == ["scale"]
    assert taken.leaves[-1].dtype == coarsest and taken.leaves[-1].shape == () and taken.leaves[-1] == 0.25
    assert taken.described["scale"] == f"scale = 0.25 as {coarsest}" and taken.described["n"] == "n = 3"
    assert taken.cast(np.float16).leaves[-1].dtype == np.float16 if "complex128" not in dtypes else True


def test_only_python_floats():
    taken = taken_apart(lambda a, b: a * b, 2.0, [0.5, 1])
    assert taken.diff_names == ["a", "b[0]"] and {leaf.dtype for leaf in taken.leaves} == {np.dtype("float32")}
    with jax.enable_x64(True):
        assert taken_apart(lambda a: a, 2.0).leaves[0].dtype == np.float64
    assert taken_apart(lambda x, z: x, X, 2j).leaves[1].dtype == np.complex64


def test_a_python_float_may_be_named_in_nondiff_or_be_static():
    assert taken_apart(lambda x, scale: x, X, 2.0, nondiff=["scale"]).diff_names == ["x"]
    taken = taken_apart(lambda x, scale: x, X, 2.0, static_argnums=[1])
    assert taken.names == ["x"] and type(taken.rebuild(taken.leaves)[1]) is float and taken.numbers == []


@pytest.mark.parametrize(
    "wrap", [lambda f: f, jax.jit, lambda f: jax.jit(jax.jit(f))], ids=["as it is", "jit", "jit of jit"]
)
@pytest.mark.parametrize("decorator", [jax.custom_vjp, jax.custom_jvp])
def test_what_the_rule_declares_is_static(decorator, wrap):
    rule = wrap(decorator(lambda mode, x, size: x, nondiff_argnums=(0, 2)))
    option = object()
    taken = taken_apart(rule, option, X, 2.0)
    assert taken.names == ["x"] and taken.rebuild(taken.leaves)[0] is option and taken.rebuild(taken.leaves)[2] == 2.0
    assert taken.described["mode"].startswith("mode = <object") and taken.described["size"] == "size = 2.0"


@pytest.mark.parametrize("leaf", [object(), np.random.default_rng(0), {1, 2}, torch.ones(2)])
def test_a_leaf_that_is_neither_an_array_nor_plain_data(leaf):
    with pytest.raises(TypeError) as caught:
        taken_apart(lambda x, options: x, X, {"axis": [leaf]})
    assert str(caught.value) == (
        f"argument options['axis'][0] is of type {type(leaf).__name__}, which is no array: make it a jax or NumPy "
        "array, or give its argument's position in static_argnums to pass it on as it is"
    )


@pytest.mark.parametrize("args", [(), (I,), ((),), (None,)])
def test_nothing_to_differentiate(args):
    with pytest.raises(ValueError, match="^no argument is a floating-point array, so there is nothing to diff"):
        taken_apart(lambda *args: args, *args)


def test_scalars_and_jax_arrays_are_arrays():
    taken = taken_apart(lambda x, y: x, np.float32(2), jnp.ones(2))
    assert [leaf.shape for leaf in taken.diff] == [(), (2,)]
    assert all(isinstance(leaf, np.ndarray) for leaf in taken.diff)


@pytest.mark.parametrize("dtype", [*DTYPES, np.complex64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_a_number_like_others(value, dtype):
    # A mask that is added has -inf where nothing is to be looked at.
    mask = np.where(X == 3, value, X).astype(dtype)
    for options in ({}, {"nondiff": ["mask"]}):
        taken = taken_apart(lambda x, mask: x, X, mask, **options)
        assert same_bits(taken.leaves[1], mask)


def test_complex_arguments_are_differentiated():
    z = (X + 1j * X).astype(np.complex64)
    taken = taken_apart(lambda x, z: x * z, X, z)
    assert taken.diff_names == ["x", "z"]
    np.testing.assert_array_equal(taken.diff[1], z, strict=True)


def test_a_random_key_is_passed_on():
    key = jax.random.key(0)
    taken = taken_apart(lambda x, key: x, X, key)
    assert taken.names == ["x"] and taken.rebuild(taken.diff)[1] is key


def test_cast():
    taken = taken_apart(lambda x, rows, scale: x, X, I, kwargs={"scale": 3}).cast(jnp.bfloat16)
    assert [leaf.dtype for leaf in taken.diff] == [jnp.bfloat16]
    assert taken.rebuild(taken.diff)[1].dtype == jnp.int32 and taken.names == ["x"] and taken.kwargs == {"scale": 3}


@pytest.mark.parametrize(("dtype", "complexes"), [(np.float32, np.complex64), (np.float64, np.complex128)])
def test_a_cast_keeps_complex_numbers_complex(dtype, complexes):
    taken = taken_apart(lambda x, z: x * z, X.astype(np.float64), (X + 1j * X).astype(np.complex128)).cast(dtype)
    assert [leaf.dtype for leaf in taken.leaves] == [dtype, complexes]
    np.testing.assert_array_equal(taken.leaves[1], (X + 1j * X).astype(complexes))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
def test_there_are_no_complex_numbers_of_half_precision(dtype):
    taken = taken_apart(lambda x, z: x * z, X, X.astype(np.complex64))
    with pytest.raises(TypeError, match=f"^there are no complex numbers of {np.dtype(dtype).name}$"):
        taken.cast(dtype)


def test_output_names():
    assert output_names(X) == ["y"]
    assert output_names((X, X)) == ["y[0]", "y[1]"]
    assert output_names({"loss": X, "aux": [X]}) == ["y['aux'][0]", "y['loss']"]


def test_what_is_differentiated():
    assert is_float(X) and is_float(X.astype(jnp.bfloat16)) and is_float(jnp.ones(()))
    assert is_float(X.astype(np.complex64)) and is_float(X.astype(np.complex128))
    assert not is_float(I) and not is_float(np.array([True]))


def test_which_of_them_are_complex():
    assert is_complex(X.astype(np.complex64)) and is_complex(jnp.ones((), jnp.complex64))
    assert not is_complex(X) and not is_complex(I) and not is_complex(X.astype(jnp.bfloat16))


NET = [(X, X[0]), {"scale": X[0]}]


def net(params, x, mask):
    return x


@pytest.mark.parametrize(
    ("nondiff", "left"),
    [
        ((), ["params[0][0]", "params[0][1]", "params[1]['scale']", "x", "mask"]),
        (["mask"], ["params[0][0]", "params[0][1]", "params[1]['scale']", "x"]),
        (["params"], ["x", "mask"]),
        (["params[0][1]"], ["params[0][0]", "params[1]['scale']", "x", "mask"]),
        (["params[1]['scale']", "x", "mask"], ["params[0][0]", "params[0][1]"]),
        (["params", "params[0][1]", "x"], ["mask"]),
        ("mask", ["params[0][0]", "params[0][1]", "params[1]['scale']", "x"]),
    ],
)
def test_nondiff_by_argument_and_by_leaf(nondiff, left):
    taken = taken_apart(net, NET, X, X + 1, nondiff=nondiff)
    assert taken.diff_names == left
    assert taken.names == ["params[0][0]", "params[0][1]", "params[1]['scale']", "x", "mask"]
    assert [taken.names[i] for i in taken.wrt] == left
    for leaf, i in zip(taken.diff, taken.wrt, strict=True):
        assert leaf is taken.leaves[i]


def test_what_is_not_differentiated_is_a_leaf_all_the_same():
    taken = taken_apart(lambda x, mask: x, X, X + 1, nondiff=["mask"])
    np.testing.assert_array_equal(taken.rebuild([X, 7 * X])[1], 7 * X)
    np.testing.assert_array_equal(taken.flat(lambda x, mask: x * mask)(*taken.leaves), X * (X + 1))
    assert [leaf.dtype for leaf in taken.cast(jnp.bfloat16).leaves] == [jnp.bfloat16] * 2, "a cast takes it along"


def test_nondiff_leaves_the_static_and_integer_arguments_alone():
    taken = taken_apart(lambda x, rows, axis, mask: x, X, I, 1, X, static_argnums=[2], nondiff=["mask"])
    assert taken.names == ["x", "mask"] and taken.diff_names == ["x"]
    assert taken.rebuild(taken.leaves)[2] == 1


@pytest.mark.parametrize("name", ["masks", "rows", "axis", "x[0]", "", "params[0][2]"])
def test_an_unknown_name_in_nondiff_names_the_known_ones(name):
    with pytest.raises(ValueError) as caught:
        taken_apart(lambda params, x, rows, axis: x, [(X, X[0])], X, I, 0, static_argnums=[3], nondiff=["x", name])
    assert str(caught.value) == (
        f"nondiff must name floating-point arguments or leaves (params, x, params[0][0], params[0][1]); got {name!r}"
    )


def test_everything_in_nondiff():
    with pytest.raises(ValueError, match="^all of them are in nondiff, so there is nothing to differentiate$"):
        taken_apart(lambda x, w: x, X, [X], nondiff=["x", "w[0]"])


def test_other_values_of_the_differentiated_leaves():
    taken = taken_apart(lambda x, mask, w: x, X, X + 1, X + 2, nondiff=["mask"])
    other = taken.with_diff([3 * X, 4 * X])
    for leaf, want in zip(other.leaves, (3 * X, X + 1, 4 * X), strict=True):
        np.testing.assert_array_equal(leaf, want)
    assert taken.leaves[0] is not other.leaves[0] and taken.leaves[1] is other.leaves[1]
    np.testing.assert_array_equal(taken.leaves[0], X)
    with pytest.raises(ValueError):
        taken.with_diff([X])


def test_every_argument_is_described():
    keys = jax.random.split(jax.random.key(0), 3)
    args = (keys, {"w": X, "n": I}, jnp.sin, (2, 3), X)
    kwargs = {"mask": X > 1, "text": "a long sentence " * 9}
    described = taken_apart(lambda keys, tree, f, shape, x: x, *args, static_argnums=(2, -2), kwargs=kwargs).described
    assert list(described.items()) == [
        ("keys", "keys random key[3]"),
        ("tree['n']", "tree['n'] int32[3]"),
        ("tree['w']", "tree['w'] float32[2,3]"),
        ("x", "x float32[2,3]"),
        ("f", "f = sin"),
        ("shape", "shape = (2, 3)"),
        ("mask", "mask = bool[2,3]"),
        ("text", "text = 'a long sentence a long sentence a l ..."),
    ]
