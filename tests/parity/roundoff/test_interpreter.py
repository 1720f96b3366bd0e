import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.interpreter import walk

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


def test_arrays_that_a_function_closes_over_are_constants():
    table = np.array([0.1, 0.75, np.inf, 0.3], np.float32)
    got = rounding_bounds(lambda x: jnp.minimum(jnp.asarray(table), x), np.full(4, 9, np.float32), dtype=np.float32)
    np.testing.assert_allclose(got.errors, [0.1 * U, 0, 0, 0.3 * U], rtol=1e-6)
    with jax.enable_x64(True):
        nine = np.full(4, 9.0)
        of = {d: rounding_bounds(lambda x, d=d: jnp.minimum(d, x), nine, dtype=np.float64).errors[0] for d in (0.1, 1)}
        # One of float64 that float32 has too came from there.
        from_float32 = rounding_bounds(lambda x: jnp.minimum(table.astype(np.float64), x), nine, dtype=np.float64)
    assert of[0.1] == pytest.approx(0.1 * 2.0**-53) and of[1] == 0
    np.testing.assert_allclose(from_float32.errors, [0.1 * U, 0, 0, 0.3 * U], rtol=1e-6, atol=1e-14)
    two = np.array([0.75 + 0.1j, 0.75 - 0.5j], np.complex64)
    got = rounding_bounds(lambda z: jnp.concatenate([jnp.asarray(two), z]), two, dtype=np.float32)
    np.testing.assert_allclose(got.errors, [U * np.abs(two[0]), 0, 0, 0], rtol=1e-6)


def test_constants_inside_calls_and_loops_count_too():
    def step(x, _):
        return jnp.minimum(x, 0.1), None

    for fun in (jax.jit(lambda x: jnp.minimum(x, 0.1)), lambda x: jax.lax.scan(step, x, None, 3)[0]):
        for constants, error in ((True, 0.1 * U), (False, 0)):
            got = rounding_bounds(fun, np.float32(1), dtype=np.float32, constants=constants)
            assert got.errors == pytest.approx(error)


def test_whole_numbers_by_the_rules_are_as_jax_has_them():
    n, m = np.array([[200, 7, 255]], np.uint8), np.array([[100, 7, 1]], np.uint8)

    def fun(n, m):
        moved = jnp.concatenate([n, m], 0)[::-1].T.reshape(2, 3)
        index = jax.lax.broadcasted_iota(jnp.uint8, (1, 3), 1)
        return n + m, n - m, moved, index, jnp.where(n > m, n, m), n == m, n[0, 0] + m[0, 0]

    got = rounding_bounds(fun, n, m, dtype=np.float32)
    for value, error, want in zip(got.values, got.errors, fun(jnp.asarray(n), jnp.asarray(m)), strict=True):
        np.testing.assert_array_equal(value, want)
        assert value.dtype == want.dtype and not error.any()


def test_what_is_not_needed_again_is_let_go():
    class Value:
        alive = most = 0

        def __init__(self):
            Value.alive += 1
            Value.most = max(Value.most, Value.alive)

        def __del__(self):
            Value.alive -= 1

    def chain(x):
        for _ in range(50):
            x = jnp.sin(x)
        return x

    outputs = walk(jax.make_jaxpr(chain)(X), [], [Value()], lambda atom: Value(), lambda eqn, inputs: [Value()])
    assert len(outputs) == 1 and Value.most <= 4


def test_a_linear_solve_is_looked_into():
    def solve(x, b):
        return jax.lax.custom_linear_solve(lambda y: x * y, b, lambda _, b: b / x, symmetric=True)

    got = rounding_bounds(solve, X, 2 * X[::-1].copy(), dtype=np.float32)
    want = rounding_bounds(lambda x, b: b / x, X, 2 * X[::-1].copy(), dtype=np.float32)
    np.testing.assert_array_equal(got.values, want.values)
    np.testing.assert_array_equal(got.errors, want.errors)


def test_a_shard_map_on_one_device_is_looked_into():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.sharding.PartitionSpec("data")

    def body(x):
        mean = jax.lax.psum(x.sum(0, keepdims=True), "data") / (4.0 + jax.lax.axis_index("data").astype(x.dtype))
        return jnp.tanh(x - mean) * 1.1

    sharded = jax.shard_map(body, mesh=mesh, in_specs=rows, out_specs=rows)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    loss = jax.grad(lambda x: (sharded(x) ** 2).sum())
    for fun in (sharded, loss):
        for sampled in (False, True):
            got = rounding_bounds(fun, x, dtype=np.float32, sampled=sampled)
            assert got.opaque == got.fallbacks == () and 0 < got.errors.max() < 1e-4
            assert (np.abs(np.asarray(jax.jit(fun)(x), np.float64) - got.values) <= got.errors).all()


def test_numbers_of_the_program_are_folded():
    """(7 - 1) / 2 is 3 and rounds nothing, so floor(3) is in no doubt; the same of an argument may round."""
    x = np.arange(7, dtype=np.float32)

    def middle(x):
        at = (jax.lax.full((), 7.0) - 1.0) * 0.5
        return x[jnp.floor(at).astype(np.int32)] * 3

    for sampled in (False, True):
        found = rounding_bounds(middle, x, dtype=np.float32, sampled=sampled)
        assert found.values == 9 and 0 < found.errors < 1e-5
    assert (
        rounding_bounds(
            lambda x, n: x[jnp.floor((n - 1) * 0.5).astype(np.int32)], x, np.float32(7), dtype=np.float32
        ).errors
        == np.inf
    )
    third = rounding_bounds(lambda x: x + (jax.lax.full((), 1.0) / 3.0), np.float32(1), dtype=np.float32)
    assert third.errors > 2**-24, "what rounds is not folded"
