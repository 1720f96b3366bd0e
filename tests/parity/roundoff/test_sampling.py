"""Where the carried bound says nothing, samples do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.parity.roundoff.bounded import Bounded, Rounding, exact
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.sampling import spreads

F32 = jnp.float32
U = 2.0**-24
RNG = np.random.default_rng(0)
WEIGHTS = RNG.standard_normal((8, 16, 16)).astype(np.float32) / 4
X = RNG.standard_normal((5, 16)).astype(np.float32)


def sampled(fun, *args, dtype=F32, rounding=None, seed=0):
    """The spread of the only output, and what was counted."""
    rounding = rounding or Rounding(dtype)
    with np.errstate(all="ignore"):
        (spread,) = spreads(rounding, jax.make_jaxpr(fun)(*args), [exact(arg) for arg in args], seed)
    return spread, rounding


def shaky(x):
    """x, with the error of a detour: 3u and a little."""
    return (x + 3.0) - 3.0


def share(fun, *args, want):
    """How much of its bound a compiled float32 run uses at most."""
    difference = np.abs(np.asarray(jax.jit(fun)(*args)).astype(np.float64) - want.values)
    return np.max(np.where(difference == 0, 0, difference / np.maximum(want.errors, 1e-300)))


def norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2, -1, keepdims=True) + 1e-5)


def block(x, w):
    return jax.nn.gelu(norm(x) @ w)


def chain(x, weights):
    for w in weights:
        x = block(x, w)
    return x


def loss(x, weights):
    return jnp.sum(chain(x, weights) ** 2)


CHAINS = {"forward": chain, "x_bar": jax.grad(loss), "w_bar": jax.grad(loss, 1)}


@pytest.mark.parametrize("name", CHAINS)
def test_a_deep_chain_is_judged(name):
    fun = CHAINS[name]
    assert rounding_bounds(fun, X, WEIGHTS, dtype=F32).errors.max() == np.inf
    want = rounding_bounds(fun, X, WEIGHTS, dtype=F32, sampled=True)
    floor = np.min(2 * want.errors / np.abs(want.values))  # the smallest factor that is sure to be noticed
    assert floor < 1e-4 and not want.unsafe.any() and want.fallbacks == ()
    assert 1e-2 < share(fun, X, WEIGHTS, want=want) <= 1
    eagerly = np.abs(np.asarray(fun(X, WEIGHTS), np.float64) - want.values)
    assert (eagerly <= want.errors).all()


def test_a_chain_of_other_weights_stays_inside():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x, weights = rng.standard_normal((5, 16)), rng.standard_normal((8, 16, 16)) / 4
        x, weights = x.astype(np.float32), weights.astype(np.float32)
        want = rounding_bounds(chain, x, weights, dtype=F32, sampled=True)
        assert 1e-2 < share(chain, x, weights, want=want) <= 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("masked", [-1e30, -np.inf])
def test_the_usual_masks_are_judged(masked, dtype):
    def attention(x):
        scores = x @ x.T
        seen = jnp.tril(jnp.ones(scores.shape, bool))
        return jax.nn.softmax(jnp.where(seen, scores, masked)) @ x

    x = X.ravel()[:24].reshape(6, 4).astype(dtype)
    for fun in (attention, jax.grad(lambda x: jnp.sum(attention(attention(x)) ** 2))):
        want = rounding_bounds(fun, x, dtype=dtype, sampled=True)
        largest, u = np.abs(want.values).max(), float(jnp.finfo(dtype).eps) / 2
        assert want.errors.max() < 1000 * u * largest
        assert want.unsafe is None or not want.unsafe.any()
        assert 1e-3 < share(fun, x, want=want) <= 1


def test_a_mask_that_is_scaled_is_judged():
    def attention(x):
        seen = jnp.tril(jnp.ones((6, 6), bool))
        return jax.nn.softmax(jnp.where(seen, x @ x.T, -jnp.inf) * 0.57735) @ x

    x = X.ravel()[:24].reshape(6, 4)
    want = rounding_bounds(attention, x, dtype=F32, sampled=True)
    assert want.errors.max() < 1e-5 and not want.unsafe.any()
    assert share(attention, x, want=want) <= 1


def test_the_same_seed_gives_the_same_spread():
    one, other, third = (sampled(chain, X, WEIGHTS, seed=seed)[0].error for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()
    np.testing.assert_array_equal(*(rounding_bounds(chain, X, WEIGHTS, dtype=F32, sampled=True).errors for _ in "ab"))


def test_the_spread_of_one_rounding():
    spread, _ = sampled(lambda x: x * 3.0, np.ones(2000, np.float32))
    # Twice a uniform rounding within 3u has the standard deviation 2 * 3u / sqrt(3), and three of those count.
    np.testing.assert_allclose(np.mean(spread.error), 3 * 2 * 3 * U / np.sqrt(3), rtol=0.02)
    np.testing.assert_array_equal(spread.value, 3)


def test_what_comes_after_an_operation_in_every_sample_is_rounded_too():
    ones, y = np.ones(9, np.float32), np.full(9, 1.3, np.float32)
    spread, rounding = sampled(lambda x, y: jnp.round(x * 1.1) * y, ones, y)  # 1 y
    assert (spread.error > U).all() and not rounding.values_only


def test_errors_that_cancel_are_not_added_up():
    # x - x, of the same rounded x, is nothing; two that were rounded apart are not.
    spread, _ = sampled(lambda x: (lambda y: y - y)(x * 1.1), X)
    assert (spread.error == 0).all()
    spread, _ = sampled(lambda x: x * 1.1 - jnp.maximum(x, -9.0) * 1.1, X)
    assert (spread.error > 0).all()


def test_what_is_exact_stays_exact():
    def fun(x, n):
        return jnp.where(x > 0, x, 0.0)[::-1] + 0.0 * jnp.sin(x), n + 3, jnp.max(x), x > 0

    x, n = np.array([1.5, -2.0, 3.0], np.float32), np.arange(3)
    with np.errstate(all="ignore"):
        found = spreads(Rounding(F32), jax.make_jaxpr(fun)(x, n), [exact(x), exact(n)])
    np.testing.assert_array_equal(found[1].value, [3, 4, 5])
    for spread in found[1:]:
        assert not np.any(spread.error) and not np.any(spread.unsafe)
    assert found[0].error[1] == 0, "0 + 0 sin x"


def test_a_gate_within_the_spread_is_a_kink_and_both_sides_count():
    # The noise reaches 6u; three standard deviations of it reach 10u. 8u lies between: no sample gets there by itself.
    x = np.array([0.0, 8 * U, -8 * U, 16 * U, 1.0], np.float32)
    for compare in (jnp.greater, jnp.less_equal):
        spread, rounding = sampled(lambda x, compare=compare: jnp.where(compare(shaky(x), 0.0), 7.0, 0.0), x)
        assert (rounding.gates, rounding.kinks, rounding.kink_at) == (5, 3, [(0,), (1,), (2,)])
        assert (spread.error[:3] >= 7).all() and (spread.error[3:] == 0).all()


def test_each_gate_is_counted_once():
    def fun(x):
        return jnp.where(x * 1.1 > 0, x, 0.0) + jnp.floor(x * 1.1) + jnp.where(jnp.round(x * 1.1) == 1, x, 0.0)

    assert sampled(fun, X[0])[1].gates == 4 * 16


def test_a_step_within_the_spread_covers_both_sides():
    x = np.array([0.0, 0.5], np.float32)
    for step in (jnp.floor, jnp.ceil, jnp.sign):
        spread, _ = sampled(lambda x, step=step: step(shaky(x)), x)
        assert spread.error[0] >= 1 and spread.error[1] == 0


def test_scan():
    spread, rounding = sampled(lambda x, w: jax.lax.scan(lambda x, w: (block(x, w), None), x, w)[0], X, WEIGHTS)
    unrolled, _ = sampled(chain, X, WEIGHTS)
    np.testing.assert_allclose(spread.value, unrolled.value, rtol=1e-12)
    assert 0.5 < np.median(spread.error / unrolled.error) < 2 and rounding.fallbacks == set()

    def rows(x, w):
        return jax.lax.scan(lambda x, w: (block(x, w), x.sum(1)), x, w, reverse=True)[1]

    want = rounding_bounds(rows, X, WEIGHTS, dtype=F32, sampled=True)
    assert 1e-3 < share(rows, X, WEIGHTS, want=want) <= 1
    assert want.values.shape == (8, 5) and np.isfinite(want.errors).all()
    nothing, _ = sampled(lambda x: jax.lax.scan(lambda c, a: (c, c * 1.1), x[0] * 1.1, x[:0])[1], X)
    assert nothing.error.shape == (0, 16)


def test_counted_loops():
    def loop(x, w):
        return jax.lax.fori_loop(0, jnp.int32(8), lambda i, x: block(x, w[i]), x)

    spread, rounding = sampled(loop, X, WEIGHTS)
    unrolled, _ = sampled(chain, X, WEIGHTS)
    np.testing.assert_allclose(spread.value, unrolled.value, rtol=1e-12)
    assert 0.5 < np.median(spread.error / unrolled.error) < 2 and rounding.fallbacks == set()


def test_a_loop_whose_end_is_in_doubt_is_named():
    def halve(x):
        return jax.lax.while_loop(lambda x: x > 0.1, lambda x: x * 0.5, x * 1.1)

    assert sampled(halve, np.float32(1))[1].fallbacks == set()
    spread, rounding = sampled(lambda x: halve(shaky(x)), np.float32(0.1 / 1.1))
    assert rounding.fallbacks == {"while"} and spread.error < 1e-5


def test_a_branch_in_doubt_covers_both():
    def doubt(x, y):
        return jax.lax.cond(shaky(x) > 0, lambda x: 7.0 + x + y, lambda x: x * 1.1, x)

    for at in (0.0, 8 * U):
        spread, rounding = sampled(doubt, np.float32(at), np.float32(2))
        assert spread.error >= 9 and rounding.kinks == 1
    spread, rounding = sampled(doubt, np.float32(1), np.float32(2))
    assert spread.value == 10 and spread.error < 100 * U and rounding.kinks == 0

    def switch(x):  # 1 or 2, of four
        return jax.lax.switch(jnp.round(shaky(x)).astype(jnp.int32), [lambda x, k=k: x + k for k in range(4)], x)

    spread, _ = sampled(switch, np.float32(1.5))
    assert 1 <= spread.error < 3.1


@pytest.mark.parametrize("take", [lambda table, i: table[i], lambda table, i: jnp.take(table, i, mode="clip")])
def test_computed_places(take):
    table = np.array([1, 5, 9, 20], np.float32)

    def pick(x):
        place = jnp.floor(shaky(x)).astype(jnp.int32)
        return take(jnp.asarray(table), jnp.clip(place * np.array([1, 1]) + np.array([1, 0]), 0, 3))

    spread, _ = sampled(pick, np.array([0.0, 1.5], np.float32))
    np.testing.assert_array_equal(spread.value, [5, 5])
    assert 4 <= spread.error[0] < 15 and spread.error[1] == 0


def test_computed_targets():
    def add(x):
        return jnp.zeros(4, F32).at[jnp.floor(shaky(x) + 1.0).astype(jnp.int32)].add(7.0)

    spread, _ = sampled(add, np.array([0.0, 1.5], np.float32))
    np.testing.assert_array_equal(spread.value, [0, 7, 7, 0])
    assert (spread.error[:2] >= 7).all() and (spread.error[2:] < 100 * U).all()


def test_places_that_vary_are_in_doubt():
    place, _ = sampled(lambda x: jnp.argmax(shaky(x)), np.array([1, 5, 5, 1], np.float32))
    assert place.value == 1 and place.error == np.inf
    clear, _ = sampled(lambda x: jnp.argmax(shaky(x)), np.array([1, 5, 4, 1], np.float32))
    assert clear.value == 1 and clear.error == 0


def test_results_beyond_the_range_are_unsafe():
    x = np.array([11.09, 11.0], np.float16)  # exp of the first is 65376 and a little; 65504 is the largest
    spread, _ = sampled(jnp.exp, x, dtype=jnp.float16)
    np.testing.assert_array_equal(spread.unsafe, [True, False])
    np.testing.assert_array_equal(np.isinf(spread.error), [True, False])
    # What happens to infinity afterwards counts too.
    spread, _ = sampled(lambda x: jnp.exp(x) - jnp.exp(x), x, dtype=jnp.float16)
    np.testing.assert_array_equal(spread.unsafe, [True, False])
    # Dtypes inside may be out of the question.
    spread, _ = sampled(jnp.exp, x, rounding=Rounding(jnp.float16, inside=False))
    assert not spread.unsafe.any() and np.isfinite(spread.error).all()


def test_results_that_may_become_nan_are_unsafe():
    x = np.array([1e-7, 1.0], np.float32)
    for fun in (jnp.log, jnp.sqrt, lambda x: x**0.5):
        spread, _ = sampled(lambda x, fun=fun: fun(shaky(x)), x)
        np.testing.assert_array_equal(spread.unsafe, [True, False])
    # So is NaN that may become a number, and infinity; but not what is so in each sample.
    spread, _ = sampled(lambda x: jnp.log(shaky(x)), np.array([-1e-7, 0.0, -1.0], np.float32))
    np.testing.assert_array_equal(spread.unsafe, [True, True, False])
    np.testing.assert_array_equal(np.isinf(spread.error), [True, True, False])
    spread, _ = sampled(lambda x: x * 1.1, np.array([np.inf, np.nan], np.float32))
    assert not spread.unsafe.any() and not spread.error.any()


def test_how_many_share_a_segments_maximum():
    segment = np.array([0, 0, 1, 1, 1, 2])
    g = np.array([1.5, 2.5, 3.5], np.float32)

    def pull(x, g):
        return jax.vjp(lambda x: jax.ops.segment_max(x * 1.1, segment, 3), x)[1](g)[0]

    def by_hand(x, g):
        y = x * 1.1
        most = y == jnp.full(3, -jnp.inf).at[segment].max(y)[segment]
        return jnp.where(most, (g / jnp.zeros(3).at[segment].add(most.astype(F32)))[segment] * 1.1, 0.0)

    x = np.array([1, 2, 5, 3, 4, 4], np.float32)
    for fun in (pull, by_hand):
        assert rounding_bounds(by_hand, x, g, dtype=F32).errors.max() == np.inf
        want = rounding_bounds(fun, x, g, dtype=F32, sampled=True)
        np.testing.assert_allclose(want.values, 1.1 * np.array([0, 1.5, 2.5, 0, 0, 3.5]), rtol=1e-6)
        assert want.errors.max() < 20 * U * 4 and share(fun, x, g, want=want) <= 1
    # Two that are as large: each has half, and rounding may give one of them all.
    tie = np.array([1, 2, 5, 3, 5, 4], np.float32)
    want = rounding_bounds(by_hand, tie, g, dtype=F32, sampled=True)
    assert want.values[2] == want.values[4] == pytest.approx(1.1 * 1.25)
    assert (want.errors[[2, 4]] >= 1.1 * 1.25).all() and want.errors[1] < 40 * U


def test_arguments_with_an_error_are_moved():
    rounding, x = Rounding(F32), np.ones(500, np.float32)
    traced = jax.make_jaxpr(lambda x: -x)(x)
    (spread,) = spreads(rounding, traced, [Bounded(exact(x).value, np.full(500, 1e-3))])
    np.testing.assert_allclose(np.mean(spread.error), 3 * 2e-3 / np.sqrt(3), rtol=0.05)


def test_constants_that_were_rounded_are_moved():
    x = np.ones(1, np.float32)
    spread, _ = sampled(lambda x: jnp.minimum(x, 0.1), x)
    assert 0.1 * U < spread.error < 1e-7
    spread, _ = sampled(lambda x: jnp.minimum(x, 0.1), x, rounding=Rounding(F32, constants=False))
    assert spread.error == 0


def test_complex_numbers():
    def fun(z):
        for _ in range(12):
            z = (z * z + 0.3j) / (1.0 + jnp.abs(z)).astype(np.complex64)
        return z

    z = (X[0] + 1j * X[1]).astype(np.complex64)
    want = rounding_bounds(fun, z, dtype=F32, sampled=True)
    got = np.asarray(jax.jit(fun)(z), np.complex128)
    assert 1e-3 < np.max(np.abs(got - want.values) / want.errors) <= 1 and want.errors.max() < 1e-4
    spread, _ = sampled(lambda z: z * (1.5 + 0.5j), np.ones(500, np.complex64))
    assert spread.value.dtype == np.complex128 and (spread.error > 0).all()
    for part in (jax.lax.real, jax.lax.imag):  # each of them is moved
        spread, _ = sampled(lambda z, part=part: part(z * z), np.full(500, 1 + 2j, np.complex64))
        assert (spread.error > 0).all()
