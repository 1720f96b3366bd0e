import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.roundoff.bounds import rounding_bounds

F32 = jnp.float32
U = 2.0**-24
RNG = np.random.default_rng(0)
X = RNG.standard_normal((20, 30)).astype(np.float32)


def bound(fun, *args):
    return rounding_bounds(fun, *[np.asarray(arg) for arg in args], dtype=F32)


def shaky(x):
    """x, with the error of a detour: 4u, as 4 is the largest number on the way."""
    return (x + 4.0) - 4.0


RISING = {
    "max": lambda x: jnp.maximum(x, 0.25),
    "min": lambda x: jnp.minimum(x, 0.25),
    "clamp": lambda x: jnp.clip(x, -0.5, 0.5),
    "reduce_max": lambda x: x.max(1),
    "reduce_min": lambda x: x.min(1),
    "reduce_window_max": lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (2, 3), (2, 3), "VALID"),
    "sort": lambda x: jnp.sort(x, 1),
    "cummax": lambda x: jax.lax.cummax(x, 1),
    "cummin": lambda x: jax.lax.cummin(x, 0, reverse=True),
}


@pytest.mark.parametrize("name", RISING)
def test_functions_that_rise_keep_the_error(name):
    fun = RISING[name]
    np.testing.assert_array_equal(bound(fun, X).errors, 0)
    np.testing.assert_array_equal(bound(fun, X).values, np.asarray(fun(X)).astype(np.float64))
    want = bound(lambda x: fun(shaky(x)), X)
    got = np.asarray(jax.jit(lambda x: fun(shaky(x)))(X)).astype(np.float64)
    assert (np.abs(got - want.values) <= want.errors).all()
    assert 0 < want.errors.max() < 20 * U
    assert want.kinks == want.gates == 0 and want.fallbacks == ()


def test_a_far_off_number_does_not_reach_the_maximum():
    got = bound(lambda x: (x * 1.5).max(), np.array([-1e9, 1], np.float32))
    assert got.errors == pytest.approx(1.5 * U)
    assert bound(lambda x: (x - 1.0).max(), np.array([-np.inf, 3], np.float32)).errors == pytest.approx(2 * U)


STEPS = [(jnp.floor, 1), (jnp.ceil, 1), (jnp.sign, 1), (jnp.round, 0)]


@pytest.mark.parametrize(("fun", "jump"), STEPS)
def test_a_step_within_error_of_its_jump_spans_it(fun, jump):
    got = bound(lambda x: fun(shaky(x)), np.array([0, 0.75], np.float32))
    np.testing.assert_array_equal(got.errors, [jump, 0])
    assert (got.gates, got.kinks) == (2, jump)
    assert bound(fun, np.array([0, 0.75], np.float32)).kinks == 0


def test_asking_for_nan_is_certain():
    got = bound(lambda x: jnp.isnan(shaky(x)), np.array([1, np.nan], np.float32))
    np.testing.assert_array_equal(got.values, [False, True])
    assert got.kinks == 0


def test_the_gradient_of_a_maximum():
    pull = lambda x, g: jax.vjp(lambda x: shaky(x).max(1), x)[1](g)[0]  # noqa: E731
    g = RNG.standard_normal(20).astype(np.float32)
    got = bound(pull, X, g)
    np.testing.assert_array_equal(got.values, np.where(X == X.max(1, keepdims=True), g[:, None], 0))
    assert got.errors.max() < 20 * U * np.abs(g).max() and got.kinks == 0
    # Two within error of each other: either may be the largest.
    near = np.array([[1, 1 + 2**-23, 0]], np.float32)
    got = bound(pull, near, np.array([1], np.float32))
    assert got.kinks == 2 and (got.errors[0, :2] >= 1).all()
    exact = bound(lambda x, g: jax.vjp(lambda x: x.max(1), x)[1](g)[0], near, np.array([1], np.float32))
    np.testing.assert_array_equal(exact.values, [[0, 1, 0]])
    assert exact.kinks == 0


def test_select_of_many_cases():
    def choose(n, x):
        return jax.lax.select_n(n, x, 2.0 * x, 3.0 * x)

    n = RNG.integers(0, 3, X.shape).astype(np.int32)
    got = bound(choose, n, X)
    np.testing.assert_array_equal(got.values, X * (1.0 + n))
    doubt = bound(lambda x: choose(jnp.floor(shaky(x)).astype(jnp.int32), x), np.array([1.0, 1.5], np.float32))
    assert doubt.errors[0] >= 1 and doubt.errors[1] < 1e-6


def test_logic():
    x = np.array([0, 1, -1], np.float32)  # x > 0 is in doubt for the first

    def logic(x):
        p, yes = shaky(x) > 0, x < 7.0
        no = ~yes
        both = (p & yes, p & no, p | yes, p | no, p ^ yes, ~p)
        return tuple(jnp.where(q, 1.0, 0.0) for q in both)

    got = bound(logic, x)
    assert [errors[0] for errors in got.errors] == [1, 0, 0, 1, 1, 1]
    assert all((errors[1:] == 0).all() for errors in got.errors)
    np.testing.assert_array_equal(got.values[0], [0, 1, 0])
    alls = bound(lambda x: (1.0 * jnp.all(shaky(x) > 0).astype(F32), 1.0 * jnp.any(shaky(x) > 0).astype(F32)), x)
    assert [errors > 0.5 for errors in alls.errors] == [False, False]  # -1 decides the one, and 1 the other
    assert bound(lambda x: jnp.all(shaky(x) > 0).astype(F32), x[:2]).errors == 1


def test_select_of_bools():
    def fun(x):
        p = shaky(x) > 0
        return jnp.where(jnp.where(p, x < 7.0, x > 7.0), 1.0, 0.0), jnp.where(jnp.where(p, p, x < 7.0), 1.0, 0.0)

    got = bound(fun, np.array([0, 1], np.float32))
    assert [list(errors) for errors in got.errors] == [[1, 0], [1, 0]]


def test_is_finite():
    got = bound(lambda x: jnp.isfinite(shaky(x)), np.array([1, np.inf, np.nan], np.float32))
    np.testing.assert_array_equal(got.values, [True, False, False])
    assert got.kinks == 0


def test_remainder():
    x = (10 * X).astype(np.float32)
    exact = bound(lambda x: jax.lax.rem(x, jnp.full_like(x, 1.7)), x)
    np.testing.assert_array_equal(exact.values, torch.fmod(torch.from_numpy(x), 1.7).numpy())
    assert (exact.errors < 1.7).all()
    got = bound(lambda x: jax.lax.rem(shaky(x), jnp.full_like(x, 2.0)), np.array([4.0, 5.0], np.float32))
    assert got.errors[0] >= 2 and got.errors[1] < 20 * U and got.kinks == 1


PEAKS = {"max": lambda at, x: at.max(x), "min": lambda at, x: at.min(x)}


@pytest.mark.parametrize("name", PEAKS)
def test_scattered_peaks_keep_the_error(name):
    rows = np.array([0, 3, 3, 3, 7, 20])  # the last goes nowhere

    def fun(into, x):
        return PEAKS[name](into.at[rows], x)

    exact = bound(fun, X, X[:6])
    np.testing.assert_array_equal(exact.values, np.asarray(fun(jnp.asarray(X), X[:6])))
    assert not exact.errors.any() and exact.fallbacks == ()
    for either in (lambda a, b: fun(a, shaky(b)), lambda a, b: fun(shaky(a), b)):
        want = bound(either, X, X[:6])
        got = np.asarray(jax.jit(either)(X, X[:6]), np.float64)
        assert (np.abs(got - want.values) <= want.errors).all()
        assert 0 < want.errors.max() < 20 * U and want.fallbacks == ()
    # To one side it may not move; to the other it may.
    near = bound(lambda x: PEAKS[name](jnp.full(1, 1.5).at[np.array([0])], shaky(x)), np.array([1.5], np.float32))
    assert near.values == 1.5 and near.errors > U
    # The segments' maximum begins at -infinity; one without rows stays there, surely.
    start = -jnp.inf if name == "max" else jnp.inf
    empty = bound(lambda x: PEAKS[name](jnp.full(3, start).at[np.array([0, 0, 2])], shaky(x)), X[0, :3])
    assert np.isinf(empty.values[1]) and empty.errors[1] == 0 < empty.errors[0]


def test_scattered_peaks_of_places_in_doubt_are_estimated():
    def fun(x):
        return jnp.zeros(4, F32).at[jnp.floor(shaky(x)).astype(jnp.int32) + 1].max(x + 5.0)

    got = rounding_bounds(fun, np.array([0, 1.5], np.float32), dtype=F32, sampled=True)
    assert got.fallbacks == ("scatter-max",)
    assert (got.errors[:2] >= 5).all() and (got.errors[2:] < 100 * U).all()
    whole = bound(lambda n: n.at[np.array([0, 0])].max(np.array([7, 9], np.int32)), np.arange(3, dtype=np.int32))
    np.testing.assert_array_equal(whole.values, [9, 1, 2])
    assert not whole.errors.any() and whole.fallbacks == ()


def test_the_sign_of_a_complex_number_turns_with_it():
    z = (X[0] + 1j * X[1]).astype(np.complex64)
    want = bound(lambda z: jnp.sign(z * 1.5), z)
    got = np.asarray(jax.jit(lambda z: jnp.sign(z * 1.5))(z), np.complex128)
    assert 1e-3 < np.max(np.abs(got - want.values) / want.errors) <= 1
    assert want.errors.max() < 100 * U and want.fallbacks == ("sign",)


def test_complex_numbers_are_equal_or_not():
    z = np.array([1 + 1j, 1 - 1j, 2], np.complex64)
    got = bound(lambda z: jnp.where(z * 1.0 == z[0], 1.0, 0.0), z)
    np.testing.assert_array_equal(got.values, [1, 0, 0])
