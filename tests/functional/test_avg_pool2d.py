import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.functional import avg_pool2d, avg_pool2d_bwd, avg_pool2d_fwd
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_avg_pool2d

STATIC = (1, 2, 3, 4)


def whole(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).integers(-4, 5, shape), dtype)


def real(*shape):
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(
    "options", [(2, None, 0, True), (3, 2, 1, True), (3, 2, 1, False), ((2, 3), (3, 1), (1, 0), False)], ids=str
)
def test_parity_with_lax_and_torch(options):
    report = parity.check(
        avg_pool2d,
        *(real(2, 6, 7, 3), *options),
        static_argnums=STATIC,
        reference=twin_avg_pool2d,
        torch=in_torch.avg_pool2d,
        dtypes=("float64", "bfloat16"),
    )
    report.raise_if_failed()
    assert [f.about for f in report.findings if f.check == "rule ran" and f.status == "pass"] == ["avg_pool2d"]


def test_planted_errors_are_caught():
    score = parity.mutants(
        avg_pool2d, real(1, 4, 5, 2), 3, 2, 1, False, static_argnums=STATIC, reference=twin_avg_pool2d
    )
    assert score.ok, str(score)


def every_count_alike(window, stride, padding, count_include_pad, x, y_bar):
    """Wrong at the border: the padding counts in backward, and not in forward."""
    return avg_pool2d_bwd(window, stride, padding, True, x, y_bar)


def test_a_wrong_count_in_backward_is_caught():
    wrong = jax.custom_vjp(lambda *args: avg_pool2d(*args), nondiff_argnums=STATIC)
    wrong.defvjp(avg_pool2d_fwd, every_count_alike)
    report = parity.check(
        wrong,
        *(real(2, 6, 6, 3), 3, 2, 1, False),
        static_argnums=STATIC,
        reference=twin_avg_pool2d,
        dtypes=("float32",),
    )
    assert not report.ok and report.culprits == ["rule"]


@pytest.mark.parametrize(
    "options",
    [
        (2, 1, "VALID", True),
        (2, 4, "VALID", True),  # elements that no window sees
        (3, None, "SAME", False),
        ((3, 2), (2, 3), "SAME", True),
        (2, None, ((0, 1), (1, 0)), False),
        ((6, 7), 1, ((5, 0), (0, 6)), False),
    ],
    ids=str,
)
def test_every_geometry(options):
    (window, stride, padding, include), x = options, whole(2, 6, 7, 3)
    y_bar = whole(*twin_avg_pool2d(x, *options).shape, seed=1)

    @jax.jit
    def by_hand(x, y_bar):
        y, residuals = avg_pool2d_fwd(x, *options)
        return y, avg_pool2d_bwd(window, stride, padding, include, residuals, y_bar)[0]

    @jax.jit
    def derived(x, y_bar):
        y, pullback = jax.vjp(lambda x: twin_avg_pool2d(x, *options), x)
        return y, pullback(y_bar)[0]

    for got, want in zip(by_hand(x, y_bar), derived(x, y_bar), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6, strict=True)


@pytest.mark.parametrize("include", [True, False])
def test_flaxs_layer(include):
    x = real(2, 7, 7, 3)
    theirs = lambda x: flax.linen.avg_pool(x, (3, 3), (2, 2), "SAME", count_include_pad=include)  # noqa: E731
    with jax.numpy_dtype_promotion("standard"):  # flax divides by an integer
        want, back_theirs = jax.vjp(theirs, x)
        (want_bar,) = back_theirs(want)
    got, back = jax.vjp(lambda x: avg_pool2d(x, 3, 2, "SAME", include), x)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(back(want)[0], want_bar, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_windows_of_four_are_exact_in_every_dtype(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x = whole(2, 4, 6, 3, dtype=dtype)
        y, pullback = jax.vjp(avg_pool2d, x)
        (bar,) = pullback(4 * jnp.ones_like(y))
    want = np.asarray(x, np.float64).reshape(2, 2, 2, 3, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(y, want.astype(dtype), strict=True)
    np.testing.assert_array_equal(bar, np.ones(x.shape, dtype), strict=True)


def test_half_precision_sums_in_float32():
    # 400 ones, added up in bfloat16, come to 256; of 60,000 they overflow float16.
    assert avg_pool2d(jnp.ones((1, 20, 20, 1), jnp.bfloat16), 20) == 1
    assert avg_pool2d(jnp.full((1, 20, 20, 1), 60000, jnp.float16), 20) == jnp.float16(60000)
    ones = [jnp.ones((1, size, size, 1), jnp.bfloat16) for size in (39, 20)]
    (bar,) = jax.jit(lambda x, y_bar: jax.vjp(lambda x: avg_pool2d(x, 20, 1), x)[1](y_bar))(*ones)
    assert bar[0, 19, 19, 0] == 1  # in 400 windows


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_in_its_window(value):
    x = real(1, 4, 4, 1).at[0, 0, 0, 0].set(value)
    y, pullback = jax.vjp(avg_pool2d, x)
    assert np.isfinite(y).sum() == 3 and not np.isfinite(y[0, 0, 0, 0])
    np.testing.assert_array_equal(pullback(jnp.ones_like(y))[0], jnp.full(x.shape, 0.25))
    (bar,) = pullback(jnp.ones_like(y).at[0, 0, 0, 0].set(value))
    assert np.isfinite(bar).sum() == 12


def test_transformations_and_second_derivatives():
    x = whole(2, 4, 4, 1)
    loss = lambda pool: lambda x: jnp.sum(pool(x) ** 2)  # noqa: E731
    want = jax.grad(loss(twin_avg_pool2d))(x)
    for got in (
        jax.jit(jax.grad(loss(avg_pool2d)))(x),
        jax.grad(loss(jax.checkpoint(avg_pool2d)))(x),
        jax.vmap(jax.grad(loss(avg_pool2d)))(x[:, None])[:, 0],
    ):
        np.testing.assert_array_equal(got, want)
    want = jax.hessian(loss(twin_avg_pool2d))(x)
    np.testing.assert_array_equal(jax.hessian(loss(avg_pool2d))(x), want)
    np.testing.assert_array_equal(jax.jacrev(jax.grad(loss(avg_pool2d)))(x), want)


def test_no_images():
    x = jnp.ones((0, 6, 6, 3))
    y, pullback = jax.vjp(avg_pool2d, x)
    assert y.shape == (0, 3, 3, 3) and pullback(y)[0].shape == x.shape


@pytest.mark.parametrize("call", [avg_pool2d, avg_pool2d_fwd], ids=["op", "fwd"])
def test_what_does_not_fit(as_a_user, call):
    x = jnp.ones((2, 6, 7, 3))
    with pytest.raises(
        ValueError, match=r"avg_pool2d: x must be \[n, height, width, channels\]; got x float32\[6,7,3\]"
    ):
        call(x[0])
    with pytest.raises(ValueError, match="avg_pool2d: the window must fit in x and its padding; got x .*, window 8"):
        call(x, 8)
    with pytest.raises(ValueError, match="avg_pool2d: padding must be less than the window"):
        call(x, 2, 2, 2, False)
    with pytest.raises(TypeError, match="avg_pool2d: count_include_pad must be True or False; got int"):
        call(x, count_include_pad=1)
    with pytest.raises(TypeError, match=r"avg_pool2d: x must be an array of float16.*got int32\[1,2,2,1\]"):
        call(jnp.ones((1, 2, 2, 1), int))
