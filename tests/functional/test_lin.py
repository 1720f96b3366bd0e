from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.functional import lin, lin_bwd, lin_fwd

BATCHES = [(), (1,), (3,), (2, 3), (0,), (2, 0, 3)]


def whole(seed, shape, dtype=jnp.float32):
    """Small whole numbers: every sum of products is exact in every dtype, so equality needs no tolerance."""
    return jnp.asarray(np.random.default_rng(seed).integers(-3, 4, shape), dtype)


def plain(x, w, b):
    """The same maths with no rule of ours; in whole numbers exact too."""
    return jnp.einsum("...i,io->...o", x, w) + jnp.broadcast_to(b, (*x.shape[:-1], w.shape[1]))


def arguments(batch, dtype=jnp.float32):
    return whole(0, (*batch, 5), dtype), whole(1, (5, 4), dtype), whole(2, (4,), dtype)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
@pytest.mark.parametrize("batch", BATCHES)
def test_value_and_cotangents(batch, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x, w, b = arguments(batch, dtype)
        y_bar = whole(3, (*batch, 4), dtype)
        y, pullback = jax.vjp(lin, x, w, b)
        expected, expected_pullback = jax.vjp(plain, x, w, b)
        by_hand = lin_bwd(lin_fwd(x, w, b)[1], y_bar)
        bars, expected_bars = pullback(y_bar), expected_pullback(y_bar)
    np.testing.assert_array_equal(y, expected, strict=True)
    for got, hand, want, primal in zip(bars, by_hand, expected_bars, (x, w, b), strict=True):
        assert got.shape == primal.shape and got.dtype == primal.dtype
        np.testing.assert_array_equal(got, want, strict=True)
        np.testing.assert_array_equal(hand, want, strict=True)


@pytest.mark.parametrize("batch", BATCHES)
def test_without_bias(batch):
    x, w, _ = arguments(batch)
    y, pullback = jax.vjp(lin, x, w)
    np.testing.assert_array_equal(y, plain(x, w, jnp.zeros(4)), strict=True)
    assert len(pullback(y)) == 2
    assert lin_bwd(lin_fwd(x, w)[1], y)[2] is None


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=3), st.integers(1, 6), st.integers(1, 6))
def test_any_shape_against_numpy(batch, fan_in, fan_out):
    x, w, y_bar = whole(0, (*batch, fan_in)), whole(1, (fan_in, fan_out)), whole(2, (*batch, fan_out))
    x_bar, w_bar, b_bar = lin_bwd(lin_fwd(x, w, whole(3, (fan_out,)))[1], y_bar)
    rows, bars = np.asarray(x).reshape(-1, fan_in), np.asarray(y_bar).reshape(-1, fan_out)
    np.testing.assert_array_equal(w_bar, rows.T @ bars)
    np.testing.assert_array_equal(b_bar, bars.sum(0))
    np.testing.assert_array_equal(np.asarray(x_bar).reshape(-1, fan_in), bars @ np.asarray(w).T)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_accumulates_in_float32(dtype):
    # A half-precision accumulator stops growing at 256 (bfloat16) or 2048 (float16).
    n = 5000
    ones = jnp.ones((n, 1), dtype)
    total = np.asarray(n, dtype)
    y, residuals = lin_fwd(ones.T, ones, jnp.zeros(1, dtype))
    assert y[0, 0] == total
    x_bar, _, _ = lin_bwd(lin_fwd(jnp.ones((1, 1), dtype), ones.T)[1], ones.T)
    assert x_bar[0, 0] == total
    _, w_bar, b_bar = lin_bwd(lin_fwd(ones, jnp.ones((1, 1), dtype), jnp.zeros(1, dtype))[1], ones)
    assert w_bar[0, 0] == total and b_bar == total


def loss(x, w, b, op: Any = lin):
    return jnp.sum(op(x, w, b) ** 2)


@pytest.mark.parametrize("transform", [jax.jit, jax.checkpoint, lambda f: jax.jit(jax.checkpoint(f))])
def test_jit_and_checkpoint(transform):
    args = arguments((3,))
    for got, want in zip(jax.grad(transform(loss), (0, 1, 2))(*args), jax.grad(loss, (0, 1, 2))(*args), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def test_vmap_over_every_argument():
    x, w, b = whole(0, (6, 3, 5)), whole(1, (6, 5, 4)), whole(2, (6, 4))
    got = jax.vmap(jax.grad(loss, (0, 1, 2)))(x, w, b)
    for i in range(6):
        for g, want in zip(got, jax.grad(loss, (0, 1, 2))(x[i], w[i], b[i]), strict=True):
            np.testing.assert_array_equal(g[i], want)


def test_scan():
    x, w, b = arguments((4,))

    def total(w):
        return jax.lax.scan(lambda carry, row: (carry + jnp.sum(lin(row, w, b) ** 2), None), 0.0, x)[0]

    np.testing.assert_array_equal(jax.grad(total)(w), jax.grad(loss, 1)(x, w, b), strict=True)


def test_second_derivatives():
    x, w, b = arguments((3,))
    plain_loss = lambda x, w, b: loss(x, w, b, plain)  # noqa: E731
    np.testing.assert_array_equal(jax.hessian(loss, 1)(x, w, b), jax.hessian(plain_loss, 1)(x, w, b))
    twice = lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f, 1)(x, w, b)))  # noqa: E731
    np.testing.assert_array_equal(twice(loss)(x), twice(plain_loss)(x), strict=True)


def test_numpy_arrays(as_a_user):
    x, w, b = (np.asarray(a) for a in arguments((3,)))
    np.testing.assert_array_equal(lin(x, w, b), x @ w + b)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((3, 5), (4, 4), (4,)), r"the last axis of x must be fan_in = 4.*got x float32\[3,5\] and w float32\[4,4\]"),
        (((), (4, 4), (4,)), r"the last axis of x must be fan_in = 4.*got x float32\[\]"),
        (((3, 5), (5,), (4,)), r"w must have shape \(fan_in, fan_out\); got w float32\[5\]"),
        (((3, 5), (5, 4), (5,)), r"b must have shape \(fan_out,\) = \(4,\).*got b float32\[5\]"),
        (((3, 5), (5, 4), (1, 4)), r"b must have shape \(fan_out,\) = \(4,\).*got b float32\[1,4\]"),
    ],
)
@pytest.mark.parametrize("call", [lin, jax.jit(lin), jax.grad(loss)], ids=["eager", "jit", "grad"])
def test_shapes_that_do_not_fit(as_a_user, shapes, message, call):
    with pytest.raises(ValueError, match="lin: " + message):
        call(*(jnp.ones(shape) for shape in shapes))


def test_dtypes_that_do_not_fit(as_a_user):
    x, w, b = arguments((3,))
    with pytest.raises(TypeError, match=r"lin: x must be an array of float16.*got int32\[3,5\]"):
        lin(x.astype(jnp.int32), w, b)
    with pytest.raises(TypeError, match=r"lin: x and b must have the same dtype; got x float32.* b bfloat16\[4\]"):
        lin(x, w, b.astype(jnp.bfloat16))


def test_nothing_but_the_maths_is_in_the_rule():
    """One matrix product for each of y, x_bar and w_bar, and nothing that depends on the platform."""
    text = str(jax.make_jaxpr(jax.grad(loss, (0, 1, 2)))(*arguments((2, 3))))
    assert text.count("dot_general[") == 3
    assert not [name for name in ("cond[", "platform_index", "optimization_barrier") if name in text]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
@pytest.mark.parametrize(("n", "fan_in", "fan_out"), [(4, 84, 2), (64, 84, 50), (64, 84, 100)])
def test_many_cotangents_at_once(dtype, n, fan_in, fan_out):
    """A pullback that is vmapped over y_bar alone. XLA refuses one order of the factors in bfloat16 on a CPU."""
    rng = np.random.default_rng(0)
    x, w, y_bars = (
        jnp.asarray(rng.integers(-2, 3, shape), dtype) for shape in ((n, fan_in), (fan_in, fan_out), (3, n, fan_out))
    )
    _, pullback = jax.vjp(lin, x, w, jnp.zeros(fan_out, dtype))
    x_bar, w_bar, b_bar = jax.jit(jax.vmap(pullback))(y_bars)
    for k, y_bar in enumerate(np.asarray(y_bars, np.float32)):
        np.testing.assert_array_equal(np.asarray(w_bar[k], np.float32), np.asarray(x, np.float32).T @ y_bar)
        np.testing.assert_array_equal(np.asarray(b_bar[k], np.float32), y_bar.sum(0))
        np.testing.assert_allclose(np.asarray(x_bar[k], np.float32), y_bar @ np.asarray(w, np.float32).T, rtol=1e-2)
