import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.functional import leaky_relu, leaky_relu_bwd, leaky_relu_fwd, relu
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_leaky_relu

DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


def gates():
    x = np.asarray(np.random.default_rng(0).standard_normal((6, 5))).astype(np.float32)
    return np.concatenate([np.abs(x[:1]), np.zeros((1, 5), np.float32), x, np.abs(x[-1:])])


@pytest.mark.parametrize("slope", [0.3, -0.5])
def test_parity(slope):
    parity.check(
        leaky_relu, gates(), np.float32(slope), reference=twin_leaky_relu, torch=in_torch.leaky_relu
    ).raise_if_failed()


def test_parity_with_the_frameworks_own():
    # At exactly 0 jax's slope is 1 and torch's is negative_slope: no zeros here, and test_kinks below.
    report = parity.check(
        leaky_relu,
        gates()[2:],
        0.01,
        static_argnums=(1,),
        reference=jax.nn.leaky_relu,
        torch=torch.nn.functional.leaky_relu,
    )
    report.raise_if_failed()
    noted = [f.text for f in report.findings if f.check == "kinks" and f.about.startswith("x = 0")]
    assert noted and "a convention, on which the others differ too" in noted[0]


def test_planted_errors_are_caught():
    score = parity.mutants(leaky_relu, gates(), np.float32(-0.3), reference=twin_leaky_relu)
    assert score.ok, str(score)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (8,), (2, 4), (0,), (3, 0)])
def test_value_and_cotangents(shape, dtype):
    # Whole numbers and a slope of 1/4: exact in every dtype.
    with jax.enable_x64(dtype == jnp.float64):
        x = np.random.default_rng(0).integers(-4, 5, shape).astype(np.float64)
        y, pullback = jax.vjp(leaky_relu, jnp.asarray(x, dtype), jnp.asarray(0.25, dtype))
        x_bar, slope_bar = pullback(jnp.full(shape, 2, dtype))
        by_hand = leaky_relu_bwd(
            leaky_relu_fwd(jnp.asarray(x, dtype), jnp.asarray(0.25, dtype))[1], jnp.full(shape, 2, dtype)
        )
    assert slope_bar.dtype == dtype and slope_bar.shape == ()
    np.testing.assert_array_equal(y, np.where(x > 0, x, x / 4).astype(dtype), strict=True)
    np.testing.assert_array_equal(x_bar, np.where(x > 0, 2, 0.5).astype(dtype), strict=True)
    assert float(slope_bar) == 2 * np.minimum(x, 0).sum()
    for got, want in zip(by_hand, (x_bar, slope_bar), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


@pytest.mark.parametrize(
    ("x", "y", "x_bar"),
    [(0.0, 0.0, 0.75), (-0.0, -0.0, 0.75), (np.inf, np.inf, 3), (-np.inf, -np.inf, 0.75), (np.nan, np.nan, 0.75)],
)
def test_kinks(x, y, x_bar):
    got, pullback = jax.vjp(lambda x: leaky_relu(x, 0.25), jnp.float32(x))
    np.testing.assert_array_equal(got, np.float32(y))
    assert pullback(jnp.float32(3))[0] == x_bar


def test_half_precision_sums_the_slopes_gradient_in_float32():
    x = -jnp.ones(5000, jnp.bfloat16)
    slope_bar = jax.grad(lambda slope: leaky_relu(x, slope).sum(dtype=jnp.float32))(jnp.float32(0.5))
    assert slope_bar == -5000


def test_a_slope_of_zero_is_relu():
    x = jnp.asarray(gates())
    np.testing.assert_array_equal(leaky_relu(x, 0), relu(x))
    total = lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 2))(x)  # noqa: E731
    np.testing.assert_array_equal(total(lambda x: leaky_relu(x, 0.0)), total(relu))


def test_a_traced_slope():
    x = -jnp.ones((2, 3))
    by_row = jax.vmap(leaky_relu)(x, jnp.asarray([0.5, 0.25]))
    np.testing.assert_array_equal(by_row, jnp.stack([x[0] / 2, x[1] / 4]))
    assert jax.jit(jax.grad(lambda slope: leaky_relu(x, slope).sum()))(jnp.float32(0.5)) == -6


def test_forward_mode_agrees_with_the_rule_at_zero():
    slope = jax.jacfwd(jax.grad(lambda x: leaky_relu(x, 0.5) ** 2 / 2))
    assert slope(jnp.float32(0)) == 0.25
    assert slope(jnp.float32(2)) == 1


@pytest.mark.parametrize("slope", [np.ones(3, np.float32), np.bool_(True), None])
def test_a_slope_that_is_no_number(as_a_user, slope):
    for call in (leaky_relu, leaky_relu_fwd):
        with pytest.raises(TypeError, match="leaky_relu: negative_slope must be a real number or an array of one"):
            call(jnp.ones(3), slope)


def test_a_whole_number_under_jit():
    x = jnp.asarray([-1.0, 3.0])
    np.testing.assert_array_equal(jax.jit(leaky_relu)(x, 2), [-2, 3])
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x, s: leaky_relu(x, s).sum()))(x, 2), [2, 1])


def test_integers_are_refused(as_a_user):
    with pytest.raises(TypeError, match=r"leaky_relu: x must be an array of float16.*got int32\[3\]"):
        jax.jit(leaky_relu)(jnp.arange(3))
