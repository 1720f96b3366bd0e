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


def inside(fun, *args, torch_fun=None, floor=1e-4):
    """The bound, after a look that jax, compiled, and torch stay inside and near it."""
    want = rounding_bounds(fun, *args, dtype=F32)
    got = [jax.jit(fun)(*args)]
    if torch_fun is not None:
        got.append(torch_fun(*[torch.from_numpy(arg) for arg in args]).numpy())
    for output in got:
        ratio = np.abs(np.asarray(output, np.float64) - want.values) / want.errors
        assert floor < np.nanmax(ratio) <= 1
    assert want.fallbacks == ()
    return want


@pytest.mark.parametrize("power", [-7, -3, -2, -1, 2, 3, 4, 5, 10])
def test_whole_powers(power):
    x = np.sign(X) * np.exp(RNG.uniform(-4, 4, X.shape)).astype(np.float32)
    inside(lambda x: x**power, x, torch_fun=lambda x: x**power)
    inside(lambda x: (x * 1.5 + x) ** power, x)


def test_a_power_whose_inverse_underflows_has_no_bound():
    got = rounding_bounds(lambda x: x**-3, np.array([1e-13, 1.0], np.float32), dtype=F32)
    np.testing.assert_array_equal(np.isinf(got.errors), [True, False])


def test_square_and_abs():
    inside(jax.lax.square, X, torch_fun=torch.square)
    got = rounding_bounds(lambda x: jnp.abs(x * 3.0), X, dtype=F32)
    np.testing.assert_allclose(got.errors, 3 * U * np.abs(X), rtol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(reverse):
    want = inside(lambda x: jax.lax.cumsum(x, 1, reverse=reverse), X)
    steps = np.flip(X, 1) if reverse else X
    values = np.cumsum(steps.astype(np.float64), 1)
    np.testing.assert_array_equal(want.values, np.flip(values, 1) if reverse else values)
    inside(lambda x: jax.lax.cumsum(x * 1.5 + x, 1, reverse=reverse), X)


def test_reduce_prod():
    x = np.exp(RNG.uniform(-1, 1, (50, 8))).astype(np.float32)
    inside(lambda x: jnp.prod(x, 1), x, torch_fun=lambda x: torch.prod(x, 1))
    inside(lambda x: jnp.prod(x * 1.3 + x, 1), x)


def test_convolution():
    x, w = RNG.standard_normal((2, 3, 9, 9)).astype(np.float32), RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)
    want = inside(
        lambda x, w: jax.lax.conv(x, w, (2, 2), "VALID"),
        x,
        w,
        torch_fun=lambda x, w: torch.nn.functional.conv2d(x, w, stride=2),
    )
    double = torch.nn.functional.conv2d(torch.from_numpy(x).double(), torch.from_numpy(w).double(), stride=2)
    np.testing.assert_allclose(want.values, double.numpy(), rtol=1e-12, atol=1e-12)
    g = RNG.standard_normal(want.values.shape).astype(np.float32)
    for k in range(2):
        inside(lambda x, w, g, k=k: jax.vjp(lambda x, w: jax.lax.conv(x, w, (2, 2), "VALID"), x, w)[1](g)[k], x, w, g)


def test_average_pooling():
    inside(lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (3, 4), (3, 4), "VALID") / 12.0, X)


def test_scatter_add():
    rows = np.array([0, 3, 3, 3, 7, 11])
    want = inside(lambda x, y: x.at[rows].add(y * 1.5), X, X[:6] / 3)
    double = X.astype(np.float64)
    np.add.at(double, rows, (X[:6] / 3).astype(np.float64) * 1.5)
    np.testing.assert_array_equal(want.values, double)
    # The gradient of an embedding.
    inside(lambda x, g: jax.vjp(lambda x: x[rows], x)[1](g * 1.5)[0] + x, X, X[:6])


def test_sums_of_whole_numbers_are_exact():
    n = np.arange(12, dtype=np.int32).reshape(3, 4)
    got = rounding_bounds(lambda n: (n @ n.T, n.sum(), jnp.cumsum(n)), n, dtype=F32)
    assert all((errors == 0).all() for errors in got.errors)
    np.testing.assert_array_equal(got.values[0], n @ n.T)


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


def test_operands_that_an_accelerator_rounds():
    def errors(fun, *args, u):
        return rounding_bounds(fun, *args, dtype=F32, product_u=u).errors

    x, w = X[:3], X[:4]
    conv = lambda x, w: jax.lax.conv(x[None, None], w[None, None, :, :5], (1, 1), "SAME")  # noqa: E731
    for fun in (lambda x, w: x @ w.T, conv):
        plain, more = (errors(fun, x, w, u=u) for u in (0.0, 2.0**-10))
        with jax.enable_x64(True):
            absolute = np.asarray(fun(np.abs(x).astype(np.float64), np.abs(w).astype(np.float64)))
        np.testing.assert_allclose(more - plain, ((1 + 2.0**-10) ** 2 - 1) * absolute, rtol=1e-5)
    # Errors that an operand brings along are rounded with it: 3 x may be off by 3 |x| U already.
    (carried,) = errors(lambda x: (x * 3.0) @ jnp.eye(30, dtype=F32)[:, :1], X[:1, :], u=2.0**-8)[0]
    size = 3 * float(np.abs(X[0, 0]))
    assert carried == pytest.approx(size * ((1 + U) * (1 + 2.0**-8) ** 2 - 1), rel=1e-4)
    # No product of matrices, or not of float32.
    for fun in (lambda x, w: x[:, None] * w[None], lambda x, w: x.astype(jnp.bfloat16) @ w.astype(jnp.bfloat16).T):
        np.testing.assert_array_equal(errors(fun, x, w, u=2.0**-8), errors(fun, x, w, u=0.0))
    with jax.enable_x64(True):
        wide = x.astype(np.float64)
        np.testing.assert_array_equal(*(errors(lambda x: x @ x.T, wide, u=u) for u in (2.0**-8, 0.0)))
