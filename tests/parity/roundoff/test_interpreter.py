import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.roundoff.bounds import rounding_bounds

U = 2.0**-24
X = np.random.default_rng(0).standard_normal(7).astype(np.float32)


@jax.custom_jvp
def by_jvp(x):
    return jnp.sin(x)


by_jvp.defjvp(lambda primals, tangents: (by_jvp(*primals), tangents[0]))


@jax.custom_vjp
def by_vjp(x):
    return jnp.sin(x)


by_vjp.defvjp(lambda x: (jnp.sin(x), x), lambda x, g: (g * jnp.cos(x),))


@pytest.mark.parametrize("call", [jax.jit(jnp.sin), by_jvp, by_vjp, jax.checkpoint(jnp.sin)])
def test_calls_are_looked_into(call):
    want = rounding_bounds(jnp.sin, X, dtype=np.float32)
    got = rounding_bounds(call, X, dtype=np.float32)
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(got.errors, want.errors)
    assert got.fallbacks == ()


def test_loops_are_walked_step_by_step():
    def step(carry, x):
        carry = jnp.tanh(carry * 0.5 + x)
        return carry, carry * 2.0

    def unrolled(x):
        carry, rows = jnp.float32(0), []
        for i in range(7):
            carry, row = step(carry, x[i])
            rows.append(row)
        return carry, jnp.stack(rows)

    want = rounding_bounds(unrolled, X, dtype=np.float32)
    got = rounding_bounds(lambda x: jax.lax.scan(step, jnp.float32(0), x), X, dtype=np.float32)
    for a, b in zip((*want.values, *want.errors), (*got.values, *got.errors), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-12)
    assert got.fallbacks == ()
    # Its gradient walks backwards.
    grad = jax.grad(lambda x: jax.lax.scan(step, jnp.float32(0), x)[1].sum())
    got = rounding_bounds(grad, X, dtype=np.float32)
    ratio = np.abs(np.asarray(jax.jit(grad)(X)) - got.values) / got.errors
    assert 1e-4 < ratio.max() <= 1 and got.fallbacks == ()


def test_a_scan_of_nothing():
    got = rounding_bounds(lambda x: jax.lax.scan(lambda c, a: (c + a, c), x[0], x[:0]), X, dtype=np.float32)
    assert got.values[0] == X[0] and got.values[1].shape == (0,)


def test_counted_loops():
    got = rounding_bounds(lambda x: jax.lax.fori_loop(0, jnp.int32(3), lambda i, x: x * 1.5, x), X, dtype=np.float32)
    np.testing.assert_allclose(got.values, 1.5**3 * X.astype(np.float64))
    np.testing.assert_allclose(got.errors, ((1 + U) ** 3 - 1) * np.abs(got.values), rtol=1e-6)
    assert got.fallbacks == ()


def test_a_loop_whose_end_is_in_doubt_is_named():
    def halve(x):
        return jax.lax.while_loop(lambda x: x > 0.1, lambda x: x * 0.5, x)

    assert rounding_bounds(halve, np.float32(1), dtype=np.float32).fallbacks == ()
    doubt = rounding_bounds(lambda x: halve((x + 3.0) - 3.0), np.float32(0.1), dtype=np.float32)
    assert doubt.fallbacks == ("while",)


def test_branches():
    def branch(x, i):
        return jax.lax.switch(i, [lambda x: x, lambda x: x * 3.0, lambda x: -x], x)

    for i, factor in enumerate((1, 3, -1)):
        got = rounding_bounds(branch, X, np.int32(i), dtype=np.float32)
        np.testing.assert_array_equal(got.values, factor * X.astype(np.float64))

    def doubt(x):
        return jax.lax.cond((x + 3.0) - 3.0 > 0, lambda x: x + 7.0, lambda x: x, x)

    got = rounding_bounds(doubt, np.float32(0), dtype=np.float32)
    assert got.values == 0 and 7 <= got.errors < 7.1 and got.kinks == 1


def test_a_constant_that_was_rounded_has_an_error():
    def error(fun, dtype=np.float32):
        return rounding_bounds(fun, np.asarray(1, dtype), dtype=dtype).errors

    assert error(lambda x: jnp.maximum(x, 0.1)) == 0  # 1 it is
    assert error(lambda x: jnp.minimum(x, 0.1)) == pytest.approx(0.1 * U)
    for short in (0.75, 0.5, 40.0, -3.0, 0.015625):
        assert error(lambda x, short=short: jnp.minimum(x, short)) == 0
    assert error(lambda x: jnp.minimum(x, 0.7071067811865476), jnp.bfloat16) == pytest.approx(2.0**-8 * 0.70703125)
    assert error(lambda x: jnp.minimum(x, jnp.inf)) == 0


def test_what_nobody_uses_is_not_counted():
    def fun(x):
        _ = jnp.where(x > 0, x, 0.0)
        return x * 2.0

    assert rounding_bounds(fun, X, dtype=np.float32).gates == 0


def test_whole_numbers_are_exact_and_wrap():
    n = np.array([200, 7], np.uint8)
    got = rounding_bounds(lambda n: (n * n // jnp.uint8(3), n << 1, n - jnp.uint8(201)), n, dtype=np.float32)
    for value, want in zip(got.values, (n * n // np.uint8(3), n << 1, n - np.uint8(201)), strict=True):
        np.testing.assert_array_equal(value, want)
