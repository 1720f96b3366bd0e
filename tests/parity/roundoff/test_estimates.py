import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive

from pullback.parity.roundoff.bounds import rounding_bounds

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 5)).astype(np.float32)
SYMMETRIC = X @ X.T + np.eye(5, dtype=np.float32)

ESTIMATED = {
    "tan": (jnp.tan, ("tan",)),
    "lgamma": (lambda x: jax.scipy.special.gammaln(jnp.abs(x) + 0.5), ("lgamma",)),
    "erf_inv": (lambda x: jax.lax.erf_inv(jnp.tanh(0.3 * x)), ("erf_inv",)),
    "cumprod": (lambda x: jnp.cumprod(x, 1), ("cumprod",)),
    "top_k": (lambda x: jax.lax.top_k(x * 1.5, 2)[0], ("top_k",)),
    "cholesky": (jnp.linalg.cholesky, ("cholesky",)),
    "solve": (lambda x: jnp.linalg.solve(x, x[0]), ("lu", "triangular_solve")),
    "eigh": (lambda x: jnp.linalg.eigh(x)[0], ("eigh",)),
    "fft": (lambda x: jnp.abs(jnp.fft.fft(x)), ("fft",)),
}


@pytest.mark.parametrize("name", ESTIMATED)
def test_estimates_hold(name):
    fun, names = ESTIMATED[name]
    got = rounding_bounds(fun, SYMMETRIC, dtype=np.float32)
    assert got.fallbacks == names
    with jax.enable_x64(True):
        double = np.asarray(fun(jnp.asarray(SYMMETRIC, jnp.float64)))
    np.testing.assert_allclose(got.values, double, rtol=1e-7, atol=1e-7)
    assert (np.abs(np.asarray(jax.jit(fun)(SYMMETRIC)) - got.values) <= got.errors).all()
    assert got.errors.max() < 1e-2 * np.abs(got.values).max()


def test_whole_numbers_are_exact_unless_they_changed():
    def order(x):
        return jax.lax.top_k(x * 1.5, 3)[1]

    clear = rounding_bounds(order, np.array([1, 5, 2], np.float32), dtype=np.float32)
    np.testing.assert_array_equal((clear.values, clear.errors), ([1, 2, 0], [0, 0, 0]))
    tie = rounding_bounds(order, np.array([5, 5, 2, 5, 5], np.float32), dtype=np.float32)
    assert (tie.errors > 0).all() and tie.fallbacks == ("top_k",)


def test_random_numbers_are_exact_bits():
    def drop(x):
        return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x, 0.0)

    got = rounding_bounds(drop, X, dtype=np.float32)
    np.testing.assert_array_equal(got.values, np.asarray(drop(X)))
    assert got.fallbacks == () and (got.errors == 0).all()


def test_a_kernel_runs_in_its_own_dtype():
    from jax.experimental import pallas as pl

    def kernel(x, y):
        y[...] = x[...] * 3.0

    call = pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct((8, 128), jnp.float32), interpret=True)
    x = RNG.standard_normal((8, 128)).astype(np.float32)
    got = rounding_bounds(call, x, dtype=np.float32)
    assert got.fallbacks == ("pallas_call",)
    assert (np.abs(3 * x.astype(np.float64) - got.values) <= got.errors).all()


def test_what_cannot_run_alone_is_named():
    alone = Primitive("my_op")
    alone.def_abstract_eval(lambda x: x)
    with pytest.raises(NotImplementedError, match="no rounding-error rule for the primitive my_op"):
        rounding_bounds(lambda x: alone.bind(x), X, dtype=np.float32)
