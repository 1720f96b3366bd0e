import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.core import Primitive

from pullback.parity.roundoff.bounded import Rounding
from pullback.parity.roundoff.bounds import bounds_of, rounding_bounds
from pullback.parity.roundoff.estimates import in_double
from pullback.parity.roundoff.kernels import kernel_jaxpr

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 5)).astype(np.float32)
SYMMETRIC = X @ X.T + np.eye(5, dtype=np.float32)

ESTIMATED = {
    "nextafter": (lambda x: jax.lax.nextafter(x, x.T), ("nextafter",)),
    "pivoted qr": (lambda x: jnp.abs(jax.lax.linalg.qr(x, pivoting=True)[1]), ("qr",)),
    "householder": (lambda x: jax.lax.linalg.householder_product(x / 9, x[0] / 9), ("householder_product",)),
    "tridiagonal": (
        lambda x: jax.lax.linalg.tridiagonal_solve(x[0] / 9, 3 + x[1], x[2] / 9, x),
        ("tridiagonal_solve",),
    ),
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


def test_random_numbers_are_exact_bits():
    def drop(x):
        return jnp.where(jax.random.bernoulli(jax.random.key(0), 0.5, x.shape), x, 0.0)

    got = rounding_bounds(drop, X, dtype=np.float32)
    np.testing.assert_array_equal(got.values, np.asarray(drop(X)))
    assert got.fallbacks == () and (got.errors == 0).all()


def test_a_kernel_that_cannot_be_looked_into_runs_in_its_own_dtype(monkeypatch):
    import jax._src.pallas.hlo_interpreter as interpreter
    from jax.experimental import pallas as pl

    def kernel(x, y):
        y[...] = x[...] * 3.0

    call = pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct((8, 128), jnp.float32), interpret=True)
    x = RNG.standard_normal((8, 128)).astype(np.float32)
    jax.block_until_ready(jax.jit(call)(x))  # compiled before it is hidden from us
    with monkeypatch.context() as patched:
        patched.delattr(interpreter, "pallas_call_hlo_interpret")
        traced = jax.make_jaxpr(call)(x)
        assert kernel_jaxpr(traced.jaxpr.eqns[0]) is None
    got = bounds_of(traced, jax.ShapeDtypeStruct((8, 128), jnp.float32), [x], Rounding(np.float32), sampled=False)
    # The equation's answer was kept, and it alone can run: by jax, in float32.
    assert got.fallbacks == ("pallas_call",) and got.opaque == ("pallas_call",)
    assert (np.abs(3 * x.astype(np.float64) - got.values) <= got.errors).all()


def test_what_cannot_run_alone_is_named():
    alone = Primitive("my_op")
    alone.def_abstract_eval(lambda x: x)
    with pytest.raises(NotImplementedError, match="no rounding-error rule for the primitive my_op"):
        rounding_bounds(lambda x: alone.bind(x), X, dtype=np.float32)


def test_bits_are_taken_apart_in_their_own_dtype():
    def bits(x):
        return jax.lax.bitcast_convert_type(x, jnp.int32)

    def next_up(x):
        return jax.lax.bitcast_convert_type(bits(x) + 1, jnp.float32)

    x = np.array([1.5, -3.25], np.float32)
    got = rounding_bounds(lambda x: (bits(x), next_up(x)), x, dtype=np.float32)
    np.testing.assert_array_equal(got.values[0], x.view(np.int32))
    np.testing.assert_array_equal(got.values[1], (x.view(np.int32) + 1).view(np.float32))
    assert got.opaque == got.fallbacks == () and all((errors == 0).all() for errors in got.errors)
    # Of what was rounded, the bits are anyone's guess; it is estimated, and still nothing that nobody sees.
    doubt = rounding_bounds(lambda x: bits(x * 1.1), x, dtype=np.float32)
    assert doubt.fallbacks == ("bitcast_convert_type",) and doubt.opaque == () and (doubt.errors > 0).all()


def test_a_callback_runs_in_its_own_dtype_and_is_named():
    seen = set()

    def host(x):
        seen.add(x.dtype)
        return np.sin(x)

    shape = jax.ShapeDtypeStruct(X.shape, np.float32)
    got = rounding_bounds(lambda x: jax.pure_callback(host, shape, x * 1.5), X, dtype=np.float32)
    assert got.opaque == got.fallbacks == ("pure_callback",) and seen == {np.dtype(np.float32)}
    off = np.abs(np.sin(1.5 * X.astype(np.float64)) - got.values)
    assert (off <= got.errors).all() and got.errors.max() < 1e-4


SCATTERS = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


@pytest.mark.parametrize("name", SCATTERS)
def test_scatters_run_in_double(name):
    rows = np.array([0, 3, 3, 3])
    into, updates = X.astype(np.float64), X[:4].astype(np.float64) + 2.0**-40
    fun = lambda x, y: getattr(x.at[rows], name)(y)  # noqa: E731
    (eqn,) = (e for e in jax.make_jaxpr(fun)(X, X[:4]).eqns if e.primitive.name.startswith("scatter"))
    (got,) = in_double(eqn, into, rows[:, None].astype(np.int32), updates)
    want = into.copy()
    SCATTERS[name].at(want, rows, updates)
    np.testing.assert_allclose(got, want, rtol=1e-15)
    assert got.dtype == np.float64 and (got != got.astype(np.float32)).any()
    bounds = rounding_bounds(lambda x, y: fun(x * 1.1, y), X, X[:4], dtype=np.float32)
    off = np.abs(np.asarray(jax.jit(lambda x, y: fun(x * 1.1, y))(X, X[:4])) - bounds.values)
    assert bounds.opaque == () and (off <= bounds.errors).all()


def test_dtypes_among_the_parameters_are_doubled():
    def conv(z):
        return jax.lax.conv_general_dilated(z, z, (1, 1), "VALID", preferred_element_type=z.dtype)

    for dtype, double in ((np.float32, np.float64), (np.complex64, np.complex128)):
        z = np.full((1, 1, 2, 2), 1 + 2.0**-30, double)
        (eqn,) = jax.make_jaxpr(conv)(z.astype(dtype)).eqns
        (got,) = in_double(eqn, z, z)
        assert got.dtype == double and got.item() == 4 * (1 + 2.0**-30) ** 2
