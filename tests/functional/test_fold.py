import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional._fold import fold, unfold
from pullback.functional._tile import turn

MEAN, STD = jnp.float32(3), jnp.float32(2)


def whole(seed, *shape):
    """Even whole numbers: divided by STD they stay whole, so every value is exact."""
    return jnp.asarray(2 * np.random.default_rng(seed).integers(-2, 3, shape), jnp.float32)


@pytest.mark.parametrize("bias", [True, False])
def test_the_folded_layer_takes_x_as_it_is(bias):
    w, b, x = whole(0, 5, 4), whole(1, 4) if bias else None, whole(2, 7, 5)
    (layer,) = turn([(w, b)])
    folded = fold(layer, MEAN, STD)
    assert folded.b is not None
    want = ((x - MEAN) / STD) @ w + (0 if b is None else jnp.broadcast_to(b, (7, 4)))
    np.testing.assert_array_equal((folded.w_t @ x.T + jnp.broadcast_to(folded.b, (4, 7))).T, want)


def test_its_cotangents_are_those_of_the_layer():
    w, b, x, y_bar = whole(0, 5, 4), whole(1, 4), whole(2, 7, 5), whole(3, 7, 4)
    _, pullback = jax.vjp(lambda w, b: ((x - MEAN) / STD) @ w + jnp.broadcast_to(b, (7, 4)), w, b)
    w_bar_t, b_bar = unfold((y_bar.T @ x, jnp.sum(y_bar.T, axis=1, keepdims=True)), MEAN, STD)
    assert b_bar is not None
    want_w, want_b = pullback(y_bar)
    np.testing.assert_array_equal(w_bar_t.T, want_w)
    np.testing.assert_array_equal(b_bar[:, 0], want_b)


def test_half_precision_is_folded_in_float32():
    (layer,) = turn([(jnp.ones((300, 1), jnp.bfloat16), jnp.ones(1, jnp.bfloat16))])
    folded = fold(layer, jnp.float32(1), jnp.float32(1))
    assert folded.w_t.dtype == jnp.bfloat16
    assert folded.b is not None and folded.b.dtype == jnp.float32 and folded.b[0, 0] == 1 - 300
