"""Special functions: jax's and torch's results lie inside, and the bounds are not much wider than they need to be."""

from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import torch

from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.rules.special import SPECIAL

RNG = np.random.default_rng(0)
N = 4000
LINE, POSITIVE = RNG.uniform(-30, 30, N), np.exp(RNG.uniform(-6, 4, N))
NEAR_1 = RNG.choice([-1, 1], N) * (1 - 10.0 ** RNG.uniform(-7, 0, N))
BESIDE = 1 + RNG.choice([-1, 1], N) * 10.0 ** RNG.uniform(-6, 0, N)
MORE = np.exp(RNG.uniform(-6, 4, N))
UNIT = RNG.uniform(0, 1, N)

# The arguments, and torch's name where it has one.
INPUTS = {
    "tan": ([LINE], torch.tan),
    "asin": ([NEAR_1], torch.asin),
    "acos": ([NEAR_1], torch.acos),
    "atanh": ([NEAR_1], torch.atanh),
    "acosh": ([1 + POSITIVE], torch.acosh),
    "atan2": ([LINE, LINE[::-1]], torch.atan2),
    "erf_inv": ([NEAR_1], torch.erfinv),
    "lgamma": ([np.concatenate([LINE, POSITIVE, BESIDE, 1 + BESIDE])], torch.lgamma),
    "digamma": ([np.concatenate([LINE, POSITIVE, 0.46 + BESIDE])], torch.digamma),
    "polygamma": ([np.repeat([1.0, 2.0, 3.0, 1.0], N // 4), POSITIVE], None),
    "zeta": ([1.05 + np.minimum(POSITIVE, 9), 0.1 + np.minimum(MORE, 9)], torch.special.zeta),
    "bessel_i0e": ([LINE], torch.special.i0e),
    "bessel_i1e": ([LINE], torch.special.i1e),
    "igamma": ([POSITIVE, MORE], torch.special.gammainc),
    "igammac": ([POSITIVE, MORE], torch.special.gammaincc),
    "igamma_grad_a": ([POSITIVE, MORE], None),
    "regularized_incomplete_beta": ([POSITIVE, MORE, UNIT], None),
}
IN_JAX: dict[str, Any] = {"regularized_incomplete_beta": jax.lax.betainc}


def test_each_is_tried():
    assert INPUTS.keys() == SPECIAL.keys()


def share(got, want):
    """The largest share of its bound that a result uses."""
    with np.errstate(all="ignore"):
        off = np.abs(np.asarray(got).astype(np.float64) - want.values)
        known = np.isfinite(want.values) & np.isfinite(want.errors)
        return np.max(np.where(known & (off > 0), off / want.errors, 0))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", INPUTS)
def test_jax_and_torch_stay_inside(name, dtype):
    args, in_torch = INPUTS[name]
    args = [np.asarray(arg).astype(dtype) for arg in args]
    fun: Any = IN_JAX.get(name) or getattr(jax.lax, name)
    want = rounding_bounds(fun, *args, dtype=dtype)
    assert want.fallbacks == want.opaque == ()
    assert 0.05 < share(jax.jit(fun)(*args), want) <= 1
    if in_torch is not None and dtype == jnp.float32:
        assert share(in_torch(*map(torch.from_numpy, args)).numpy(), want) <= 1


@pytest.mark.parametrize("name", INPUTS)
def test_an_error_is_carried_through_by_where_it_leads(name):
    args = [np.asarray(arg).astype(np.float32) for arg in INPUTS[name][0]]
    fun, function = IN_JAX.get(name) or getattr(jax.lax, name), SPECIAL[name]
    off = RNG.uniform(-1, 1, len(args[-1])) * 2.0**-16
    rounded = lambda *xs: fun(*xs[:-1], xs[-1] * np.float32(1 + 2.0**-12 + 2.0**-23))  # noqa: E731
    bounds = rounding_bounds(rounded, *args, dtype=jnp.bfloat16)
    shifted = [a.astype(np.float64) for a in args]
    with np.errstate(all="ignore"):
        exact = function.value(*shifted[:-1], shifted[-1] * (1 + 2.0**-12 + 2.0**-23))
        moved = function.value(*shifted[:-1], shifted[-1] * (1 + 2.0**-12 + 2.0**-23) * (1 + off))
        known = np.isfinite(exact) & np.isfinite(moved)
        np.testing.assert_allclose(bounds.values[known], exact[known], rtol=1e-9)
        assert (np.abs(moved - exact) <= bounds.errors)[known].all()


def test_values_are_right_where_jax_is_not():
    x = np.array([-8.478, -2.3, -0.5, 0.7, 3.0], np.float32)
    with mpmath.workdps(30):
        want = [float(mpmath.psi(1, mpmath.mpf(float(each)))) for each in x]
    got = rounding_bounds(lambda x: jax.lax.polygamma(jnp.ones_like(x), x), x, dtype=np.float32)
    np.testing.assert_allclose(got.values, want, rtol=1e-12)
    with jax.enable_x64(True):
        off = np.abs(np.asarray(jax.grad(lambda x: jax.lax.digamma(x).sum())(x.astype(np.float64))) - want)
    assert (off[:1] > 0.1 * want[0]).all(), "jax has mended it: docs/findings.md"


def test_beyond_a_pole_there_is_no_bound():
    near = np.array([-2 + 2.0**-22, 1.5], np.float32)
    shaky = lambda x: jax.lax.digamma((x + 4.0) - 4.0)  # noqa: E731
    assert np.isinf(rounding_bounds(shaky, near, dtype=np.float32).errors).tolist() == [True, False]
    turn = np.array([np.pi / 2, 1.0], np.float32)
    shaky = lambda x: jnp.tan((x + 4.0) - 4.0)  # noqa: E731
    assert np.isinf(rounding_bounds(shaky, turn, dtype=np.float32).errors).tolist() == [True, False]


def test_the_order_of_polygamma_is_not_moved():
    x = np.array([0.5, 1.5, 3.0], np.float32)
    want = rounding_bounds(lambda x: jax.scipy.special.polygamma(1, x), x, dtype=np.float32)
    assert want.errors.max() < 1e-4 * want.values.max()
