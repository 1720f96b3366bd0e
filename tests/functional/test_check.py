import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import lin_fwd
from pullback.functional._check import (
    accumulator,
    check_concrete,
    check_known,
    checked_cotangent,
    checked_first,
    describe,
    dtype_of,
    float_dtype,
    scalar,
    scalar_bar,
)


def test_annotations_are_checked_here():
    # The safety net of the whole suite: were the hook off, this call would reach lin's own ValueError, as lin's does.
    with pytest.raises(Exception) as raised:
        lin_fwd(jnp.ones((2, 3)), jnp.ones((4, 5)))
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


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 10**400])
def test_a_number_of_more_than_64_bits_is_refused(value):
    with pytest.raises(TypeError, match="op: lr must be a number of at most 64 bits; got one of "):
        scalar("op", "lr", value, np.dtype(np.float32))


def test_what_jax_does_not_compute_with_has_no_dtype():
    a = np.ones(3, np.float32)
    for value in (
        "text",
        None,
        1.0,
        a.astype(object),
        a.astype(">f4"),
        np.ma.masked_array(a, a > 0),
        a.astype("M8[s]"),
    ):
        assert dtype_of(value) is None
    assert dtype_of(a.astype(np.float64)) == np.float32 and dtype_of(jnp.ones(1, jnp.bfloat16)) == jnp.bfloat16


def test_the_check_is_before_the_rule():
    @checked_first(lambda x: float_dtype("op", x=x))
    @jax.custom_vjp
    def op(x):
        return 2 * x

    op.defvjp(lambda x: (2 * x, None), lambda residuals, y_bar: (3 * y_bar,))
    assert jax.grad(op)(1.0 * jnp.ones(())) == 3 and getattr(op, "__name__", "") == "op"
    with pytest.raises(TypeError, match="op: x must be an array of .*; got str$"):
        op("text")


def test_a_cotangent_is_like_the_result():
    assert isinstance(checked_cotangent("op_bwd", "y_bar", np.ones(3, np.float64), (3,), np.float32), jax.Array)
    with pytest.raises(TypeError, match=r"op_bwd: y_bar must have the result's dtype, float32; got bfloat16\[3\]"):
        checked_cotangent("op_bwd", "y_bar", jnp.ones(3, jnp.bfloat16), (3,), np.dtype(np.float32))
    with pytest.raises(ValueError, match=r"op_bwd: y_bar must have the result's shape, \(3, 1\); got float32\[3\]"):
        checked_cotangent("op_bwd", "y_bar", jnp.ones(3), (3, 1), np.dtype(np.float32))


def test_a_leaf_that_is_no_array_is_named():
    check_known("op", "params", [(np.ones(2), None), 1.0])
    with pytest.raises(TypeError, match=r"op: params\[1\]\[0\] must be an array of numbers; got str"):
        check_known("op", "params", [1.0, ("text", None)])


def test_what_needs_values_is_called_outside_of_jit():
    check_concrete("op", [jnp.ones(2), None])
    with pytest.raises(TypeError, match="op: it needs values, and got a traced array: call it outside of jax.jit"):
        jax.jit(lambda x: check_concrete("op", x))(jnp.ones(2))
