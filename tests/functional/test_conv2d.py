import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import parity
from pullback.functional import conv2d, conv2d_bwd, conv2d_fwd, lin
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_conv2d


def normal(seed, *shape):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def whole(seed, shape, dtype=jnp.float32):
    """Small whole numbers: every sum of products is exact in every dtype."""
    return jnp.asarray(np.random.default_rng(seed).integers(-2, 3, shape), dtype)


ARGS = normal(0, 2, 8, 9, 3), normal(1, 3, 2, 3, 4), normal(2, 4)
GEOMETRIES = [
    (1, 0, 1),
    (2, 1, 1),
    ((2, 3), (1, 2), (2, 1)),
    (3, 0, 1),  # rows of x that the stride never comes to
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_parity_with_lax_and_torch(geometry):
    # Not float16 in torch: on CPU its backward rounds partial sums to float16, 10 to 100 times the bound off, which the
    # check says ("Wrong: torch"). Ours is held against lax in float16 below.
    report = parity.check(
        conv2d,
        *ARGS,
        *geometry,
        static_argnums=(3, 4, 5),
        reference=twin_conv2d,
        torch=in_torch.conv2d,
        dtypes=("float64", "bfloat16"),
    )
    report.raise_if_failed()
    assert [f.about for f in report.findings if f.check == "rule ran" and f.status == "pass"] == ["conv2d"]


@pytest.mark.parametrize("geometry", [(1, "SAME", 1), (2, "SAME", 2), (2, ((0, 1), (2, 0)), 1)], ids=str)
def test_parity_with_lax_where_torch_has_no_such_padding(geometry):
    parity.check(conv2d, *ARGS, *geometry, static_argnums=(3, 4, 5), reference=twin_conv2d).raise_if_failed()


def test_planted_errors_are_caught():
    args = normal(0, 2, 5, 5, 3), normal(1, 3, 2, 3, 4), normal(2, 4)
    score = parity.mutants(conv2d, *args, 2, 1, 1, static_argnums=(3, 4, 5), reference=twin_conv2d)
    assert score.ok, str(score)


@pytest.mark.parametrize("dilation", [1, (1, 3)])
@pytest.mark.parametrize("padding", ["VALID", "SAME", 2, ((0, 2), (1, 0))])
@pytest.mark.parametrize("stride", [1, (3, 2)])
def test_every_geometry_exactly(stride, padding, dilation):
    for size in [(8, 9), (3, 4)]:
        if padding == "VALID" and dilation != 1 and size == (3, 4):
            continue  # the spread kernel does not fit
        x, w, b = whole(0, (2, *size, 2)), whole(1, (3, 2, 2, 3)), whole(2, (3,))
        want, pullback = jax.vjp(lambda x, w, b: twin_conv2d(x, w, b, stride, padding, dilation), x, w, b)
        got, residuals = conv2d_fwd(x, w, b, stride, padding, dilation)
        np.testing.assert_array_equal(got, want, strict=True)
        y_bar = whole(3, want.shape)
        bars = conv2d_bwd(stride, padding, dilation, residuals, y_bar)
        for bar, want_bar in zip(bars, pullback(y_bar), strict=True):
            np.testing.assert_array_equal(bar, want_bar, strict=True)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_a_kernel_of_one_is_lin(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x, w, b = whole(0, (2, 3, 4, 5), dtype), whole(1, (1, 1, 5, 6), dtype), whole(2, (6,), dtype)
        y, pullback = jax.vjp(conv2d, x, w, b)
        y_lin, pullback_lin = jax.vjp(lin, x, w[0, 0], b)
        np.testing.assert_array_equal(y, y_lin, strict=True)
        x_bar, w_bar, b_bar = pullback(y)
        for got, want in zip((x_bar, w_bar[0, 0], b_bar), pullback_lin(y), strict=True):
            np.testing.assert_array_equal(got, want, strict=True)


def test_without_bias():
    x, w = whole(0, (2, 5, 5, 1)), whole(1, (3, 3, 1, 2))
    y, pullback = jax.vjp(conv2d, x, w)
    np.testing.assert_array_equal(y, conv2d(x, w, jnp.zeros(2)))
    assert len(pullback(y)) == 2
    assert conv2d_bwd(1, "VALID", 1, conv2d_fwd(x, w)[1], y)[2] is None


def test_no_images():
    x, w, b = jnp.ones((0, 5, 5, 1)), whole(1, (3, 3, 1, 2)), jnp.ones(2)
    y, pullback = jax.vjp(conv2d, x, w, b)
    assert y.shape == (0, 3, 3, 2)
    x_bar, w_bar, b_bar = pullback(y)
    assert x_bar.shape == x.shape and not w_bar.any() and not b_bar.any()


def test_second_derivatives():
    x, w = whole(0, (1, 4, 4, 1)), whole(1, (2, 2, 1, 2))
    loss = lambda f: lambda w: jnp.sum(f(x, w, jnp.zeros(2)) ** 2)  # noqa: E731
    np.testing.assert_array_equal(jax.hessian(loss(conv2d))(w), jax.hessian(loss(twin_conv2d))(w), strict=True)


BAD = [
    (((2, 5, 5, 1), (0, 3, 1, 2), None), {}, r"the kernel must fit in x and its padding; .*w float32\[0,3,1,2\]"),
    (((2, 5, 5), (3, 3, 1, 2), None), {}, r"x must be \[n, height, width, c_in\].*got x float32\[2,5,5\]"),
    (((2, 5, 5, 2), (3, 3, 1, 2), None), {}, r".*c_in, c_out\]; got x float32\[2,5,5,2\]"),
    (((2, 1, 5, 5), (2, 1, 3, 3), None), {}, r"x must be \[n, height, width, c_in\]"),
    (((2, 5, 5, 1), (3, 3, 1, 2), (3,)), {}, r"b must have shape \(c_out,\) = \(2,\).*got b float32\[3\]"),
    (((2, 5, 5, 1), (6, 3, 1, 2), None), {}, r"the kernel must fit in x and its padding; got x float32\[2,5,5,1\]"),
    (((2, 5, 5, 1), (3, 3, 1, 2), None), {"dilation": 3}, "the kernel must fit in x and its padding.*dilation 3"),
    (((2, 5, 5, 1), (3, 3, 1, 2), None), {"stride": 0}, "stride must be an integer of at least 1, or a tuple.*; got 0"),
    (((2, 5, 5, 1), (3, 3, 1, 2), None), {"stride": (1, 2, 3)}, r"stride must be .*; got \(1, 2, 3\)"),
    (((2, 5, 5, 1), (3, 3, 1, 2), None), {"padding": -1}, "padding must be an integer of at least 0.*; got -1"),
    (((2, 5, 5, 1), (3, 3, 1, 2), None), {"padding": "same"}, "padding must be 'SAME', 'VALID', .*; got 'same'"),
]  # fmt: skip


@pytest.mark.parametrize(("shapes", "options", "message"), BAD)
@pytest.mark.parametrize("call", [conv2d, conv2d_fwd], ids=["op", "fwd"])
def test_what_does_not_fit(as_a_user, call, shapes, options, message):
    arrays = [None if shape is None else jnp.ones(shape) for shape in shapes]
    with pytest.raises(ValueError, match="conv2d: " + message):
        call(*arrays, **options)


def test_dtypes_that_do_not_fit(as_a_user):
    with pytest.raises(TypeError, match=r"conv2d: x and w must have the same dtype; got x float32.* w bfloat16"):
        conv2d(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1, 1), jnp.bfloat16))
