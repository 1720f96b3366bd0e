import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import mse, mse_bwd, mse_fwd

SHAPES = [
    ((8, 1), (8,)),
    ((8,), (8,)),
    ((1, 1), (1,)),
    ((1,), (1,)),
    ((), ()),
    ((1,), ()),
    ((4, 2), (4, 2)),
    ((4, 2, 1), (4, 2)),
]


def whole(seed, shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).integers(-3, 4, shape), dtype)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize(("output_shape", "targ_shape"), SHAPES)
def test_value_and_cotangents(output_shape, targ_shape, dtype):
    # n is a power of two and the numbers are whole: everything but the last rounding is exact.
    with jax.enable_x64(dtype == jnp.float64):
        output, targ = whole(0, output_shape, dtype), whole(1, targ_shape, dtype)
        loss, pullback = jax.vjp(mse, output, targ)
        output_bar, targ_bar = pullback(jnp.asarray(3, dtype))
        by_hand = mse_bwd(mse_fwd(output, targ)[1], jnp.asarray(3, dtype))
    diff = np.asarray(output, np.float64).reshape(targ_shape) - np.asarray(targ, np.float64)
    want = (3 * 2 * diff / diff.size).astype(dtype)
    np.testing.assert_array_equal(loss, np.mean(diff**2).astype(dtype))
    assert loss.dtype == dtype
    np.testing.assert_array_equal(output_bar, want.reshape(output_shape), strict=True)
    np.testing.assert_array_equal(targ_bar, -want, strict=True)
    np.testing.assert_array_equal(by_hand[0], output_bar, strict=True)
    np.testing.assert_array_equal(by_hand[1], targ_bar, strict=True)


def test_no_rows():
    loss, pullback = jax.vjp(mse, jnp.ones((0, 1)), jnp.ones(0))
    assert np.isnan(loss)
    assert [bar.shape for bar in pullback(jnp.float32(1))] == [(0, 1), (0,)]


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_accumulates_in_float32(dtype):
    assert mse(jnp.ones(5000, dtype), jnp.zeros(5000, dtype)) == 1
    # Among the squares, 300^2 overflows float16; their mean does not.
    assert mse(jnp.zeros(1024, dtype).at[0].set(300), jnp.zeros(1024, dtype)) == np.asarray(300**2 / 1024, dtype)


def plain(output, targ):
    return jnp.mean((jnp.reshape(output, targ.shape) - targ) ** 2)


def test_transformations():
    output, targ = whole(0, (8, 1)), whole(1, (8,))
    for f in (mse, jax.jit(mse), jax.checkpoint(mse)):
        np.testing.assert_array_equal(jax.grad(f)(output, targ), jax.grad(plain)(output, targ), strict=True)
    batched = jax.vmap(jax.grad(mse))(output, targ)
    np.testing.assert_array_equal(batched[:, 0], 2 * (output[:, 0] - targ), strict=True)
    step = lambda total, row: (total + mse(*row), None)  # noqa: E731
    scanned = jax.grad(lambda o: jax.lax.scan(step, 0.0, (o, targ))[0])(output)
    np.testing.assert_array_equal(scanned, batched, strict=True)


def test_second_derivatives():
    output, targ = whole(0, (4, 1)), whole(1, (4,))
    for argnums in ((0, 0), (0, 1), (1, 1)):
        second = lambda f: jax.jacfwd(jax.grad(f, argnums[0]), argnums[1])(output, targ)  # noqa: B023, E731
        np.testing.assert_array_equal(second(mse), second(plain), strict=True)
        reverse = lambda f: jax.jacrev(jax.grad(f, argnums[0]), argnums[1])(output, targ)  # noqa: B023, E731
        np.testing.assert_array_equal(reverse(mse), reverse(plain), strict=True)


@pytest.mark.parametrize(
    ("output", "targ"),
    [((8,), (8, 1)), ((8, 8), (8,)), ((8, 1, 1), (8,)), ((1, 8), (8,)), ((7, 1), (8,)), ((1,), (8,))],
)
def test_nothing_broadcasts(as_a_user, output, targ):
    with pytest.raises(ValueError, match=r"mse: output must have targ's shape \(.*\) or \(.*1\); got output float32\["):
        jax.jit(mse)(jnp.ones(output), jnp.ones(targ))


def test_integer_labels_are_refused(as_a_user):
    with pytest.raises(TypeError, match=r"mse: targ must be an array of float16.*got int32\[3\]"):
        mse(jnp.ones(3), jnp.arange(3))
