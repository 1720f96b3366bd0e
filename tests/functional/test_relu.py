import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import relu, relu_bwd, relu_fwd

DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (0,), (3, 0)])
def test_value_and_cotangent(shape, dtype):
    rng = np.random.default_rng(0)
    with jax.enable_x64(dtype == jnp.float64):
        x, y_bar = (jnp.asarray(rng.standard_normal(shape), dtype) for _ in range(2))
        y, pullback = jax.vjp(relu, x)
        (x_bar,) = pullback(y_bar)
    assert y.dtype == x_bar.dtype == dtype
    np.testing.assert_array_equal(y, np.maximum(x, np.zeros((), dtype)), strict=True)
    np.testing.assert_array_equal(x_bar, np.where(np.asarray(x) > 0, y_bar, 0).astype(dtype), strict=True)


@pytest.mark.parametrize(
    ("x", "y", "x_bar"),
    [
        (0.0, 0.0, 0.0),
        (-0.0, 0.0, 0.0),
        (np.inf, np.inf, 3.0),
        (-np.inf, 0.0, 0.0),
        (np.nan, np.nan, 0.0),
        (2.0, 2.0, 3.0),
    ],
)
def test_kinks(x, y, x_bar):
    got, pullback = jax.vjp(relu, jnp.float32(x))
    np.testing.assert_array_equal(got, np.float32(y))
    np.testing.assert_array_equal(pullback(jnp.float32(3))[0], np.float32(x_bar))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_dead_unit_stops_any_cotangent(bad):
    (x_bar,) = relu_bwd(relu_fwd(jnp.float32(-1))[1], jnp.float32(bad))
    assert x_bar == 0


def test_forward_mode_agrees_with_the_rule_at_zero():
    # jax.hessian differentiates the primal in forward mode: were it maximum(x, 0), this would be 1/2.
    curvature = jax.hessian(lambda x: relu(x) ** 2 / 2)
    assert curvature(jnp.float32(0)) == 0
    assert curvature(jnp.float32(2)) == 1


def test_transformations():
    x = jnp.asarray([-1.0, 0.0, 2.0, 3.0])
    total = lambda x: jnp.sum(relu(x) ** 3)  # noqa: E731
    want = jnp.asarray([0.0, 0.0, 12.0, 27.0])
    one_by_one = lambda x: jax.lax.scan(lambda c, v: (c + relu(v) ** 3, None), 0.0, x)[0]  # noqa: E731
    for f in (total, jax.jit(total), jax.checkpoint(total), one_by_one):
        np.testing.assert_array_equal(jax.grad(f)(x), want, strict=True)
    np.testing.assert_array_equal(jax.vmap(jax.grad(total))(x), want, strict=True)
    second = jax.grad(lambda x: jnp.sum(jax.grad(total)(x)))
    np.testing.assert_array_equal(second(x), jnp.asarray([0.0, 0.0, 12.0, 18.0]), strict=True)


def test_keeps_the_output_and_nothing_else():
    y, residuals = relu_fwd(jnp.ones(3))
    assert residuals is y


def test_integers_are_refused(as_a_user):
    with pytest.raises(TypeError, match=r"relu: x must be an array of float16.*got int32\[3\]"):
        jax.jit(relu)(jnp.arange(3))
