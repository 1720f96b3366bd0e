"""What is in which place, and where that is in doubt."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.roundoff.bounds import rounding_bounds

F32 = jnp.float32
U = 2.0**-24
RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 30)).astype(np.float32)


def bound(fun, *args, sampled=False):
    return rounding_bounds(fun, *[np.asarray(arg) for arg in args], dtype=F32, sampled=sampled)


def shaky(x):
    """x, with the error of a detour: 4u, as 4 is the largest number on the way."""
    return (x + 4.0) - 4.0


def test_sort_of_several_operands():
    order = RNG.permutation(30).astype(np.int32)
    got = bound(lambda k, x: jax.lax.sort((k, shaky(x)), num_keys=1), order, X[0])
    np.testing.assert_array_equal(got.values[1], X[0][np.argsort(order)])
    assert 0 < got.errors[1].max() < 20 * U and got.fallbacks == ()


def test_only_neighbours_that_may_change_places_are_in_doubt():
    x = np.array([3, 1, 1 + 2.0**-23, 2], np.float32)
    keys, places = bound(lambda x: jax.lax.sort((shaky(x), jnp.arange(4)), num_keys=1), x).errors
    assert 0 < keys.max() < 20 * U
    np.testing.assert_array_equal(places > 0, [True, True, False, False])
    exactly = bound(lambda x: jax.lax.sort((x, jnp.arange(4)), num_keys=1), x)
    assert (exactly.errors[1] == 0).all() and exactly.values[1].tolist() == [1, 2, 3, 0]


def test_a_large_error_reaches_beyond_its_neighbour():
    x, off = np.array([1, 2, 3, 4], np.float32), np.array([1e8, 0, 0, 0], np.float32)
    places = bound(lambda x, off: jax.lax.sort(((x + off) - off, jnp.arange(4)), num_keys=1), x, off).errors[1]
    assert (places > 0).all()


@pytest.mark.parametrize("descending", [False, True])
def test_the_gradient_of_sort(descending):
    fun = jax.grad(lambda x: (jnp.sort(shaky(x), descending=descending) * jnp.arange(30.0)).sum())
    far = np.linspace(-1, 1, 30, dtype=np.float32)[RNG.permutation(30)]
    want = bound(fun, far)
    np.testing.assert_allclose(np.asarray(jax.jit(fun)(far)), want.values, atol=1e-6)
    assert np.isfinite(want.errors).all() and want.errors.max() < 1e-4
    near = far.copy()
    near[1] = np.nextafter(near[0], np.float32(2))
    assert np.isinf(bound(fun, near).errors).any()
    known = bound(fun, near, sampled=True).errors  # samples exchange these two, and leave the others
    assert (known[:2] >= 1).all() and known[2:].max() < 1e-4


def test_the_largest_few():
    values, places = bound(lambda x: jax.lax.top_k(shaky(x), 3), X).errors
    assert 0 < values.max() < 40 * U and (places == 0).mean() > 0.9
    tie = np.array([1, 5, 5 + 2.0**-21, 2], np.float32)
    got = bound(lambda x: jax.lax.top_k(shaky(x), 3), tie)
    np.testing.assert_array_equal(got.values[1], [2, 1, 3])
    np.testing.assert_array_equal(got.errors[1] > 0, [True, True, False])
    assert got.kinks == 2 and got.fallbacks == ()


def test_pooling_and_its_gradient():
    def pool(x):
        return jax.lax.reduce_window(shaky(x), -jnp.inf, jax.lax.max, (2, 3), (2, 3), "VALID")

    slope = jax.grad(lambda x: (pool(x) ** 2).sum())
    want = bound(slope, X)
    np.testing.assert_allclose(np.asarray(jax.jit(slope)(X)), want.values, atol=1e-5)
    assert np.isfinite(want.errors).all() and want.errors.max() < 1e-4 and want.fallbacks == ()
    near = X.copy()
    near[0, :2] = 7, np.nextafter(np.float32(7), np.float32(8))
    assert np.isinf(bound(slope, near).errors).any()
    known = bound(slope, near, sampled=True).errors
    assert (known[0, :2] >= 14).all() and known[2:].max() < 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_what_overlapping_windows_give_back_may_cancel(seed):
    """The cotangents of a max pool of 3 with stride 2 are summed: their sizes count, not that of the sum."""
    rng = np.random.default_rng(seed)
    x, y_bar = (rng.standard_normal(shape).astype(np.float32) for shape in ((1, 32, 32, 8), (1, 15, 15, 8)))

    def x_bar(x, y_bar):
        def pool(x):
            return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "VALID")

        return jax.vjp(pool, x)[1](y_bar)[0]

    want = bound(x_bar, x, y_bar)
    assert (np.abs(np.asarray(jax.jit(x_bar)(x, y_bar)) - want.values) <= want.errors).all()
    assert want.errors.max() < 50 * U  # three additions of four numbers below 4


@pytest.mark.parametrize("place", [jnp.argmax, jnp.argmin])
def test_places_are_exact_unless_they_are_in_doubt(place):
    x = np.array([[1, 5, 2], [3, 4, 8]], np.float32)
    clear = bound(lambda x: place(shaky(x), 1), x)
    np.testing.assert_array_equal(clear.values, np.asarray(place(x, 1)))
    np.testing.assert_array_equal(clear.errors, 0)
    tie = np.array([1, 5, 5, 1], np.float32)
    assert bound(place, tie).errors == 0
    doubt = bound(lambda x: place(shaky(x)), tie)
    assert doubt.errors == (1 if place is jnp.argmax else 3) and doubt.kinks == 1
