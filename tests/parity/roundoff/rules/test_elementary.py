import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch

from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.rules.elementary import ELEMENTARY

RNG = np.random.default_rng(0)
# All magnitudes, and the ranges where the functions do something.
SPREAD = np.exp(RNG.uniform(-80, 88, 20_000)) * RNG.choice([-1, 1], 20_000)
DENSE = [RNG.uniform(-size, size, 20_000) for size in (0.1, 1, 3, 12, 88)]
X = np.concatenate([SPREAD, *DENSE, 1 + RNG.uniform(-0.3, 0.3, 20_000)])
IN_TORCH = {name: getattr(torch, name, None) for name in ELEMENTARY} | {"logistic": torch.sigmoid}
TORCH_DTYPES = {jnp.float32: torch.float32, jnp.bfloat16: torch.bfloat16, jnp.float16: torch.float16}
DOMAIN = {"log": 0, "log2": 0, "sqrt": 0, "rsqrt": 0, "log1p": -1}
IN_JAX = {
    name: getattr(jax.lax, name, None) or getattr(jnp, name) for name in ELEMENTARY
}  # log2 is a primitive from 0.11
LARGEST = {"exp": 88, "exp2": 127, "expm1": 88, "sinh": 88, "cosh": 88}


def numbers(name, dtype):
    x = X[X > DOMAIN.get(name, -np.inf)]
    largest = LARGEST.get(name, np.inf) if dtype != jnp.float16 else min(LARGEST.get(name, np.inf), 10)
    x = x[np.abs(x) <= largest].astype(dtype)
    info = jnp.finfo(dtype)
    size = np.abs(x.astype(np.float64))  # subnormal numbers are flushed; those past the largest are infinite
    return x[(size >= float(info.tiny)) & (size <= float(info.max))]


def ratios(got, want):
    with np.errstate(all="ignore"):
        difference = np.abs(np.asarray(got).astype(np.float64) - want.values)
        representable = np.abs(want.values) <= 3e38 if got.dtype != np.float16 else np.abs(want.values) <= 6e4
        return np.where((difference == 0) | ~representable, 0, difference / want.errors)


@pytest.mark.parametrize("dtype", TORCH_DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_jax_and_torch_stay_inside(name, dtype):
    x = numbers(name, dtype)
    fun = IN_JAX[name]
    want = rounding_bounds(fun, x, dtype=dtype)
    ratio = ratios(np.asarray(jax.jit(fun)(x)), want)
    assert 0.05 < ratio.max() <= 1, (ratio.max(), x[ratio.argmax()])
    if (in_torch := IN_TORCH[name]) is not None:
        y = in_torch(torch.from_numpy(x.astype(np.float32)).to(TORCH_DTYPES[dtype])).float().numpy().astype(dtype)
        ratio = ratios(y, want)
        assert 0.02 < ratio.max() <= 1, (ratio.max(), x[ratio.argmax()])


@pytest.mark.parametrize("name", ELEMENTARY)
def test_values(name):
    x = numbers(name, jnp.float32)[::400]
    x = x[np.abs(x) < 1e6]
    by_name = {"logistic": lambda t: 1 / (1 + mpmath.exp(-t)), "exp2": lambda t: mpmath.power(2, t)}
    by_name |= {"log2": lambda t: mpmath.log(t, 2)}
    by_name |= {"rsqrt": lambda t: 1 / mpmath.sqrt(t), "cbrt": lambda t: mpmath.sign(t) * mpmath.cbrt(abs(t))}
    function = by_name.get(name) or getattr(mpmath, name)
    with mpmath.workdps(40):
        values = np.array([float(function(mpmath.mpf(float(t)))) for t in x])
    got = rounding_bounds(IN_JAX[name], x, dtype=np.float32).values
    np.testing.assert_allclose(got, values, rtol=2e-13, atol=1e-300)


@pytest.mark.parametrize("size", [1e-9, 1e-5, 0.1, 1.0, 7.0])
@pytest.mark.parametrize("name", ELEMENTARY)
def test_the_carried_error_spans_the_interval_and_no_more(name, size):
    function = ELEMENTARY[name]
    x = numbers(name, jnp.float32).astype(np.float64)
    x = x[np.abs(x) < 30]
    e = size * np.abs(x) * RNG.uniform(0, 1, x.shape)
    with np.errstate(all="ignore"):
        moves = [np.abs(function.value(x + t * e) - function.value(x)) for t in (-1, -0.7, -0.2, 0.4, 1)]
        carried = function.carried(x, e)
    moved = np.nanmax(moves, axis=0)  # outside its domain there is nothing to reach
    # x + e and the two values are rounded in float64.
    noise = 2e-15 * (np.abs(function.value(x)) + np.abs(x) * carried / np.maximum(e, 1e-300)) + 1e-300
    assert (moved <= carried * (1 + 1e-9) + noise).all()
    if size <= 1e-5:
        assert (carried <= 1.01 * moved + 3 * e * e + noise).all()


def test_an_error_that_reaches_a_singularity_has_no_bound():
    x = np.array([0.0, 1.0], np.float32)
    for fun in (jnp.log, jax.lax.rsqrt, lambda x: jnp.log1p(x - 1.0)):
        got = rounding_bounds(lambda x, fun=fun: fun((x + 3.0) - 3.0), x, dtype=np.float32)
        np.testing.assert_array_equal(np.isinf(got.errors), [True, False])
    # The square root of zero with an error is finite, though: as long as it is one.
    got = rounding_bounds(lambda x: jnp.sqrt((x + 3.0) - 3.0), x, dtype=np.float32)
    assert 1e-4 < got.errors[0] < 1e-3


def test_pow():
    base = np.exp(RNG.uniform(-20, 20, 20_000)).astype(np.float32)
    power = RNG.uniform(-4, 4, 20_000).astype(np.float32)
    want = rounding_bounds(jnp.power, base, power, dtype=np.float32)
    for got in (jax.jit(jnp.power)(base, power), torch.pow(torch.from_numpy(base), torch.from_numpy(power)).numpy()):
        assert 0.05 < ratios(np.asarray(got), want).max() <= 1

    def moved(base, power):
        return (base * 1.5 + base) ** (power * 0.3)

    want = rounding_bounds(moved, base, power, dtype=np.float32)
    assert 0.02 < ratios(np.asarray(jax.jit(moved)(base, power)), want).max() <= 1
    # Towards 0 a positive power stays bounded, and a negative one does not.
    small = np.zeros(1, np.float32)
    up = rounding_bounds(lambda x: ((x + 3.0) - 3.0) ** 0.5, small, dtype=np.float32)
    down = rounding_bounds(lambda x: ((x + 3.0) - 3.0) ** -0.5, small, dtype=np.float32)
    assert up.errors < 1e-3 and down.errors == np.inf


COMPLEX = ("exp", "log", "sqrt", "rsqrt", "tanh", "sin", "cos", "expm1", "log1p", "logistic")


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_numbers_are_estimated(name):
    rng = np.random.default_rng(0)
    z = (rng.standard_normal(200) + 1j * rng.standard_normal(200)).astype(np.complex64)
    fun = lambda z: getattr(jax.lax, name)(z * 0.7)  # noqa: E731
    want = rounding_bounds(fun, z, dtype=np.float32)
    got = np.asarray(jax.jit(fun)(z), np.complex128)
    ratio = np.abs(got - want.values) / want.errors
    assert 1e-3 < ratio.max() <= 1 and want.fallbacks == (name,) and want.opaque == ()
    assert np.median(want.errors) < 1e-4


def test_a_complex_power_is_estimated():
    z = np.array([1 + 1j, 2 - 0.5j], np.complex64)
    want = rounding_bounds(lambda z: z ** (0.3 + 0.2j), z, dtype=np.float32)
    np.testing.assert_allclose(want.values, z.astype(np.complex128) ** (0.3 + 0.2j), rtol=1e-6)
    off = np.abs(np.asarray(jax.jit(lambda z: z ** (0.3 + 0.2j))(z), np.complex128) - want.values)
    assert want.fallbacks == ("pow",) and (off <= want.errors).all() and want.errors.max() < 1e-4


def test_a_sure_singularity_has_no_error():
    # Element 0 is exact, in an array of which others are not.
    x = np.array([0.0, 1.0], np.float32)
    for fun in (jnp.log, jax.lax.rsqrt):
        got = rounding_bounds(lambda x, fun=fun: fun(x * 1.1), x, dtype=np.float32)
        assert np.isinf(got.values[0]) and got.errors[0] == 0 < got.errors[1] < 1e-5


def test_erf_is_as_exact_as_float64_has_it():
    x = np.linspace(-6, 6, 101)
    with jax.enable_x64(True):
        for fun, value in ((jax.lax.erf, mpmath.erf), (jax.lax.erfc, mpmath.erfc)):
            got = rounding_bounds(fun, x, dtype=np.float64)
            want = np.array([float(value(mpmath.mpf(t))) for t in x])
            np.testing.assert_allclose(got.values, want, rtol=4e-15, atol=1e-300)
            assert (np.abs(np.asarray(jax.jit(fun)(x)) - want) <= got.errors).all()
            assert (got.errors <= 100 * 2.0**-53 * (1 + x * x) * np.abs(want) + 1e-300).all()


def test_a_mask_far_below_all_numbers_leaves_nothing():
    """softmax with masked places: the error of -3e38 is 1e22, and what becomes of it is 0, not infinity."""

    def masked(x):
        return jax.nn.softmax(jnp.where(jnp.tri(5, dtype=bool), x, jnp.finfo(jnp.float32).min))

    found = rounding_bounds(masked, RNG.standard_normal((5, 5)).astype(np.float32), dtype=jnp.float32)
    assert np.isfinite(found.errors).all()
    np.testing.assert_array_less(found.errors, 1e-5)
