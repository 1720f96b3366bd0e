import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.layers.inputs import as_arrays, layout_hint, shapes_of

X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    "x",
    [X, jnp.asarray(X), torch.ones(2, 3), torch.ones(2, 3, requires_grad=True), [[1, 2]], 3.0],
    ids=["numpy", "jax", "torch", "torch with gradient", "list", "number"],
)
def test_arrays_of_any_kind(x):
    if isinstance(x, list):
        with pytest.raises(TypeError, match=r"inputs\[1\] must be an array; got list"):
            as_arrays("inputs", (X, x))
        return
    first, second = as_arrays("inputs", [X, x])
    assert first is X and isinstance(second, np.ndarray) and shapes_of((first,)) == "(2, 3)"


def test_bfloat16_and_integers_keep_their_dtype():
    half, ids, flags = as_arrays("inputs", (torch.ones(2, dtype=torch.bfloat16), jnp.arange(2), np.ones(2, bool)))
    assert (half.dtype, ids.dtype, flags.dtype) == (jnp.bfloat16, np.int32, np.bool_)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (X, r"inputs must be a tuple of arrays; got one array of shape \(2, 3\): write \(x,\)"),
        (torch.ones(2), r"got one array of shape \(2,\): write \(x,\)"),
        ({"x": X, "y": X}, "in the order of the model's arguments; got a dict of x, y"),
        ("x", "inputs must be a tuple of arrays; got str"),
        (None, "inputs must be a tuple of arrays; got NoneType"),
        ((), "inputs must have at least one array"),
        ((X, None), r"inputs\[1\] must be an array; got NoneType"),
        (({"x": X},), r"inputs\[0\] must be an array; got dict: give its arrays one by one"),
        ((np.array(["a"]),), r"inputs\[0\] must be an array of numbers; got ndarray of dtype <U1"),
        ((jax.random.key(0),), r"inputs\[0\] must be an array of numbers; got a random key: pass that in kwargs"),
        ((X, X[:0]), r"inputs must have elements, or nothing is compared; got shapes \[\(2, 3\), \(0, 3\)\]"),
    ],
)
def test_what_is_no_tuple_of_arrays_is_refused(inputs, message):
    with pytest.raises((TypeError, ValueError), match=message):
        as_arrays("inputs", inputs)


def test_the_hint_about_a_layout():
    picture = np.ones((2, 3, 8, 8))
    assert "seems to have its channels second" in layout_hint([picture], 3, "flax linen")
    assert layout_hint([picture], 3, "equinox") == layout_hint([picture], 4, "flax linen") == ""
    assert layout_hint([np.moveaxis(picture, 1, -1), X], 3, "flax nnx") == ""
