import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.roundoff.bounds import rounding_bounds

F32 = jnp.float32
U = 2.0**-24
RNG = np.random.default_rng(0)
X = (RNG.standard_normal((12, 30)) * np.exp(RNG.uniform(-6, 6, (12, 30)))).astype(np.float32)


@pytest.mark.parametrize("power", [-7, -3, -2, -1, 2, 3, 4, 5, 10])
def test_whole_powers(inside, power):
    x = np.sign(X) * np.exp(RNG.uniform(-4, 4, X.shape)).astype(np.float32)
    inside(lambda x: x**power, x, torch_fun=lambda x: x**power)
    inside(lambda x: (x * 1.5 + x) ** power, x)


def test_a_power_whose_inverse_underflows_has_no_bound():
    got = rounding_bounds(lambda x: x**-3, np.array([1e-13, 1.0], np.float32), dtype=F32)
    np.testing.assert_array_equal(np.isinf(got.errors), [True, False])


def test_square_and_abs(inside):
    inside(jax.lax.square, X, torch_fun=torch.square)
    got = rounding_bounds(lambda x: jnp.abs(x * 3.0), X, dtype=F32)
    np.testing.assert_allclose(got.errors, 3 * U * np.abs(X), rtol=1e-6)


def test_reduce_prod(inside):
    x = np.exp(RNG.uniform(-1, 1, (50, 8))).astype(np.float32)
    inside(lambda x: jnp.prod(x, 1), x, torch_fun=lambda x: torch.prod(x, 1))
    inside(lambda x: jnp.prod(x * 1.3 + x, 1), x)


def test_conversions():
    def errors(fun, x):
        return rounding_bounds(fun, np.asarray(x), dtype=F32).errors

    assert errors(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), np.float32(3)) == pytest.approx(3 * 2.0**-8)
    assert errors(lambda x: jax.lax.reduce_precision(x, 8, 7), np.float32(3)) == pytest.approx(3 * 2.0**-8)
    assert errors(lambda n: n.astype(jnp.float32), np.int32(2**24)) == 0
    assert errors(lambda n: n.astype(jnp.float32), np.int32(2**24 + 1)) >= 1
    assert errors(lambda x: (x > 0).astype(jnp.float32), np.float32(1)) == 0
    # 3 + 4 - 4 may come out a little under 3, and then its whole part is 2.
    doubt = rounding_bounds(lambda x, y: ((x + y) - y).astype(jnp.int32), np.float32(3), np.float32(4), dtype=F32)
    assert (doubt.values, doubt.errors) == (3, 1)
    assert errors(lambda x: (x * 1.5).astype(jnp.int32), np.float32(3)) == 0


def test_half_precision_into_the_other_half():
    x = np.array([1.0009765625, 3.1], np.float16)
    got = rounding_bounds(lambda x: x.astype(jnp.bfloat16).astype(F32), x, dtype=F32)
    np.testing.assert_allclose(got.errors, 2.0**-8 * x.astype(np.float64), rtol=1e-6)
    small = np.array([1e-6, 1.0], jnp.bfloat16)  # float16 has no more than two digits of the first
    got = rounding_bounds(lambda x: x.astype(jnp.float16).astype(F32), small, dtype=F32)
    off = np.abs(np.asarray(small.astype(np.float16), np.float64) - small.astype(np.float64))
    assert 0 < off[0] and (off <= got.errors).all()
    # What is wider holds it all, and so does the real part of a complex number.
    assert rounding_bounds(lambda x: x.astype(F32), x, dtype=F32).errors.max() == 0
    assert rounding_bounds(lambda z: jax.lax.real(z), np.ones(2, np.complex64), dtype=F32).errors.max() == 0


def test_a_conversion_inside_counts_only_if_it_is_asked_for():
    for convert in (lambda x: x.astype(jnp.bfloat16), lambda x: jax.lax.reduce_precision(x, 8, 7)):
        errors = [rounding_bounds(convert, X, dtype=F32, inside=inside).errors for inside in (True, False)]
        assert (errors[0] >= 2.0**-8 * np.abs(X)).all() and (errors[1] <= 1.01 * U * np.abs(X)).all()


COMPLEX = {
    "add": lambda z: z + z.T,
    "mul": lambda z: z * z.T,
    "div": lambda z: z / (z.T + 4),
    "power": lambda z: z**3,
    "inverse power": lambda z: z**-2,
    "abs": jnp.abs,
    "abs of a product": lambda z: jnp.abs(z * z.T),
    "prod": lambda z: jnp.prod(z, 1),
    "neg": lambda z: -(z * 1.1),
    "convert": lambda z: (z * z).real.astype(jnp.bfloat16).astype(F32),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_arithmetic(name):
    z = (X[:, :12] + 1j * X[:, 12:24]).astype(np.complex64)
    want = rounding_bounds(COMPLEX[name], z, dtype=F32)
    got = np.asarray(jax.jit(COMPLEX[name])(z)).astype(want.values.dtype)
    ratio = np.abs(got - want.values) / want.errors
    assert 1e-2 < ratio.max() <= 1 and want.fallbacks == ()
    assert np.median(want.errors / np.abs(want.values)) < (1e-2 if name == "convert" else 200 * U)


def test_a_quotient_by_a_sure_nought_is_sure():
    # Element 0 is exact, in an array of which others are not.
    got = rounding_bounds(lambda x: (1.0 / (x * 1.1), (x * 1.1) / (x * 1.3)), np.array([0, 1], np.float32), dtype=F32)
    assert got.values[0][0] == np.inf and np.isnan(got.values[1][0])
    assert all(error[0] == 0 < error[1] for error in got.errors)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("fun", [jax.lax.cumprod, jax.lax.cumlogsumexp])
def test_running_products_and_logarithms_of_sums(fun, reverse):
    x = (RNG.standard_normal((4, 40)) * 2).astype(np.float32)
    for inner in (lambda x: x, lambda x: x * np.float32(1.1)):
        run = lambda x, inner=inner: fun(inner(x), axis=1, reverse=reverse)  # noqa: E731
        want = rounding_bounds(run, x, dtype=np.float32)
        off = np.abs(np.asarray(jax.jit(run)(x), np.float64) - want.values)
        assert want.fallbacks == () and 0.01 < (off / np.maximum(want.errors, 1e-300)).max() <= 1
        assert (want.errors <= 2e-5 * np.maximum(np.abs(want.values), 1)).all()
    with jax.enable_x64(True):
        double = np.asarray(fun(x.astype(np.float64), axis=1, reverse=reverse))
    np.testing.assert_allclose(rounding_bounds(lambda x: fun(x, 1, reverse), x, dtype=np.float32).values, double)
