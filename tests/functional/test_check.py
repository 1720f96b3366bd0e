import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin
from pullback.functional._check import accumulator, describe, float_dtype, scalar, scalar_bar


def test_annotations_are_checked_here():
    # The safety net of the whole suite: were the hook off, this call would reach lin's own ValueError.
    with pytest.raises(Exception) as raised:
        lin(jnp.ones((2, 3)), jnp.ones((4, 5)))
    assert type(raised.value).__module__.startswith("jaxtyping")


@pytest.mark.parametrize(
    "value", [[1.0], 2.0, None, "x", jnp.ones(3, jnp.int32), np.ones(3, bool), jnp.ones(2, complex)]
)
def test_only_floating_arrays(value):
    with pytest.raises(TypeError, match=r"op: x must be an array of float16, bfloat16, float32, float64; got "):
        float_dtype("op", x=value)


def test_one_dtype():
    with pytest.raises(
        TypeError, match=r"op: x and w must have the same dtype; got x float32\[2\] and w bfloat16\[3\]"
    ):
        float_dtype("op", x=jnp.ones(2), w=jnp.ones(3, jnp.bfloat16))


def test_float64_is_what_jax_makes_of_it():
    assert float_dtype("op", x=np.ones(2, np.float64), w=jnp.ones(2)) == np.float32
    with jax.enable_x64(True):
        assert float_dtype("op", x=np.ones(2, np.float64)) == np.float64


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(jnp.float16, "float32"), (jnp.bfloat16, "float32"), (jnp.float32, "float32"), (np.float64, "float64")],
)
def test_accumulator(dtype, expected):
    assert accumulator(np.dtype(dtype)) == expected


def test_describe():
    assert describe(np.ones((2, 3), np.float32)) == "float32[2,3]"
    assert describe([1]) == "list"


@pytest.mark.parametrize(
    "value", [2, 2.0, np.int32(2), jnp.int32(2), np.float32(2), np.asarray(2.0), jnp.bfloat16(2), jnp.asarray(2.0)]
)
def test_scalar(value):
    array = scalar("op", "shift", value, np.dtype(np.float32))
    assert array.dtype == np.float32 and array.shape == () and array == 2


@pytest.mark.parametrize("value", [None, "2", True, 2j, [2.0], np.ones(1), np.bool_(True), jnp.ones((1, 1))])
def test_what_is_no_scalar(value):
    expected = "op: shift must be a real number or an array of one, without axes; got "
    with pytest.raises(TypeError, match=expected + describe(value).replace("[", r"\[")):
        scalar("op", "shift", value, np.dtype(np.float32))


def test_scalar_bar():
    bars = [scalar_bar(value, jnp.float32(3)) for value in (jnp.bfloat16(1), 1.0, 1)]
    assert [None if bar is None else bar.dtype for bar in bars] == [jnp.bfloat16, jnp.float32, None]
