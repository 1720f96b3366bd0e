import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.case.leaves import as_numpy, same_bits, widened

X = np.array([1.0, -2.0, np.nan, np.inf], np.float32)


def test_as_numpy():
    found = as_numpy({"y": jnp.ones((2, 3), jnp.bfloat16), "loss": 2.0, "x": X})
    assert list(found) == ["y", "loss", "x"]
    assert all(isinstance(leaf, np.ndarray) for leaf in found.values())
    assert found["y"].dtype == jnp.bfloat16 and found["y"].shape == (2, 3) and found["x"] is X


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, jnp.bfloat16])
def test_the_same_bits(dtype):
    x = X.astype(dtype)
    assert same_bits(x, x.copy()) and same_bits(x[:0], x[:0])
    assert same_bits(np.array([np.nan], dtype), np.array([-np.nan], dtype)), "one NaN is like another"
    for i, other in enumerate([np.nextafter(np.float32(1), np.float32(2)) + 1, 2.0, 0.0, -np.inf]):
        changed = x.copy()
        changed[i] = other
        assert not same_bits(x, changed)


def test_a_unit_in_the_last_place_is_another_bit():
    assert not same_bits(X, np.nextafter(X, np.float32(0)))


def test_another_shape_or_dtype_is_not_the_same():
    assert not same_bits(X, X[:3]) and not same_bits(X, X[None])
    assert not same_bits(X, X.astype(np.float64)) and not same_bits(np.arange(3), np.arange(3.0))


def test_integers_and_booleans():
    assert same_bits(np.arange(3), np.arange(3)) and not same_bits(np.arange(3), np.arange(3) + 1)
    assert same_bits(np.array([True]), np.array([True])) and not same_bits(np.array([True]), np.array([False]))


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        *[(dtype, np.float64) for dtype in (jnp.bfloat16, np.float16, np.float32, np.float64)],
        *[(dtype, np.complex128) for dtype in (np.complex64, np.complex128)],
        *[(dtype, dtype) for dtype in (np.int32, np.uint8, np.bool_)],
    ],
)
def test_widened(dtype, wide):
    tree = widened({"x": [np.ones(2, dtype)], "y": jnp.ones((), dtype) if np.dtype(dtype).itemsize < 8 else 1.0})
    assert tree["x"][0].dtype == wide and isinstance(tree["y"], np.ndarray)
    np.testing.assert_array_equal(tree["x"][0], [1, 1])
