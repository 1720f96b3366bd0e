import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from pullback.parity.roundoff.bounds import rounding_bounds

X = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
ROWS = np.array([0, 3, 3])

MOVES = {
    "broadcast": lambda x: jnp.broadcast_to(x[:, None], (4, 5, 6)),
    "concatenate": lambda x: jnp.concatenate([x, 0.0 * x, x]),
    "dynamic_slice": lambda x: jax.lax.dynamic_slice(x, (1, 2), (2, 3)),
    "dynamic_update_slice": lambda x: jax.lax.dynamic_update_slice(x, x[:2, :2], (2, 3)),
    "expand_dims": lambda x: x[None, :, None],
    "gather": lambda x: x[ROWS],
    "gather, filled": lambda x: jnp.take(x, np.array([0, 9]), axis=0, mode="fill"),
    "optimization_barrier": jax.lax.optimization_barrier,
    "pad": lambda x: jnp.pad(x, ((1, 2), (0, 3)), constant_values=0.5),
    "reshape": lambda x: x.reshape(3, 8),
    "reshape, transposed": lambda x: jax.lax.reshape(x, (24,), (1, 0)),
    "rev": lambda x: x[::-1, ::-1],
    "scatter": lambda x: jnp.asarray(x).at[1:3].set(x[:2]),
    "slice": lambda x: x[1:4:2, ::3],
    "split": lambda x: jnp.split(x, 3, axis=1),
    "stack": lambda x: jnp.stack([x, x], 1),
    "squeeze": lambda x: x[:1].squeeze(0),
    "stop_gradient": jax.lax.stop_gradient,
    "tile": lambda x: jnp.tile(x, (2, 3)),
    "transpose": lambda x: x.T,
}


@pytest.mark.parametrize("name", MOVES)
def test_errors_move_with_the_values(name):
    move = MOVES[name]
    for value, want in zip(leaves(move(X)), leaves(rounding_bounds(move, X, dtype=np.float32).values), strict=True):
        np.testing.assert_array_equal(want, value)
    # An error that tells the elements apart: u |3x|, as large as the value itself.
    got = rounding_bounds(lambda x: move(x * 3.0), X, dtype=np.float32)
    assert got.fallbacks == ()
    with jax.enable_x64(True):
        moved = leaves(move(3 * X.astype(np.float64)))
    for value, error, want in zip(leaves(got.values), leaves(got.errors), moved, strict=True):
        np.testing.assert_array_equal(value, want)
        filled = ~np.isfinite(want) | (want == 0.5)
        np.testing.assert_allclose(error, np.where(filled, 0, 2.0**-24 * np.abs(want)), rtol=1e-6, atol=1e-37)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_places_in_doubt_have_no_bound_and_samples_know_more():
    def pick(x):
        return x[jnp.floor((x[0] + 3.0) - 3.0).astype(jnp.int32)]

    got = rounding_bounds(pick, np.array([1, 5, 9], np.float32), dtype=np.float32)
    assert got.fallbacks == () and got.values == 5 and got.errors == np.inf
    near = rounding_bounds(pick, np.array([1, 5, 9], np.float32), dtype=np.float32, sampled=True)
    assert 4 <= near.errors < np.inf
    clear = rounding_bounds(pick, np.array([1.4, 5, 9], np.float32), dtype=np.float32, sampled=True)
    assert clear.values == 5 and clear.errors == 0


def test_iota():
    got = rounding_bounds(lambda x: x + jax.lax.iota(jnp.float32, 4), np.zeros(4, np.float32), dtype=np.float32)
    np.testing.assert_array_equal(got.values, [0, 1, 2, 3])
    for dtype in (jnp.int8, jnp.bfloat16):
        iota = lambda n, dtype=dtype: n + jax.lax.broadcasted_iota(dtype, (2, 300, 1), 1)[:, :100]  # noqa: E731
        got = rounding_bounds(iota, np.zeros((), dtype), dtype=np.float32)
        np.testing.assert_array_equal(got.values, np.tile(np.arange(100)[:, None], (2, 1, 1)))


Z = (X + 1j * X[::-1]).astype(np.complex64)
PARTS = {"real": jax.lax.real, "imag": jax.lax.imag, "conj": jax.lax.conj, "complex": lambda z: jax.lax.complex(*z)}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_complex_numbers(name):
    part, arguments = PARTS[name], (X, X[::-1].copy()) if name == "complex" else Z
    got = rounding_bounds(part, arguments, dtype=np.float32)
    np.testing.assert_array_equal(got.values, np.asarray(part(arguments)))
    assert not got.errors.any()
    rounded = lambda z: part(jax.tree.map(lambda leaf: leaf * 1.1, z))  # noqa: E731
    want = rounding_bounds(rounded, arguments, dtype=np.float32)
    off = np.abs(np.asarray(jax.jit(rounded)(arguments)).astype(want.values.dtype) - want.values)
    assert (off <= want.errors).all() and 1e-2 < np.max(off / want.errors) and want.fallbacks == ()
    assert (want.errors <= 20 * 2.0**-24 * np.abs(Z)).all()


def test_a_scatter_that_applies_a_function_does_more_than_move():
    def fun(x):
        return (x * 1.1).at[np.array([0, 2])].apply(jnp.sin)

    want = rounding_bounds(fun, X, dtype=np.float32)
    assert want.fallbacks == ("scatter",) and want.opaque == ("scatter",)
    off = np.abs(np.asarray(jax.jit(fun)(X), np.float64) - want.values)
    assert (off <= want.errors).all() and want.errors.max() < 1e-4


def test_what_only_names_or_places_an_array_is_no_estimate():
    def fun(x):
        x = checkpoint_name(x * 1.1, "kept")
        return jax.device_put(x, jax.devices()[0])

    got = rounding_bounds(fun, X, dtype=np.float32)
    assert got.fallbacks == () and 0 < got.errors.max() < 1e-6 * np.abs(got.values).max()
