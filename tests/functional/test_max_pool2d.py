import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.functional import max_pool2d, max_pool2d_bwd, max_pool2d_fwd
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_max_pool2d


def images(*shape, seed=0):
    """No two elements equal."""
    places = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return jnp.asarray(places.reshape(shape) / 8 - 4, jnp.float32)


X = images(2, 6, 7, 3)
GEOMETRIES = [(2, None, 0), (3, 2, 1), ((2, 3), (3, 1), (1, 0))]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_parity_with_lax_and_torch(geometry):
    report = parity.check(
        max_pool2d,
        *(X, *geometry),
        static_argnums=(1, 2, 3),
        reference=twin_max_pool2d,
        torch=in_torch.max_pool2d,
        dtypes=("float64", "bfloat16"),
    )
    report.raise_if_failed()
    assert [f.about for f in report.findings if f.check == "rule ran" and f.status == "pass"] == ["max_pool2d"]


def test_planted_errors_are_caught():
    # Numbers that bfloat16 has not; and the first element wins, so that what happens to it shows.
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 4, 5, 2)), jnp.float32).at[0, 0, 0, 0].set(2.7)
    score = parity.mutants(max_pool2d, x, 3, 2, 1, static_argnums=(1, 2, 3), reference=twin_max_pool2d)
    assert score.ok, str(score)


def to_all_that_are_as_large(window, stride, padding, x, y_bar):
    """Wrong where windows overlap: the last window that an element wins, and not the sum of them."""
    (whole,) = max_pool2d_bwd(window, stride, padding, x, y_bar)
    (times,) = max_pool2d_bwd(window, stride, padding, x, jnp.ones_like(y_bar))
    return (whole / jnp.maximum(times, 1),)


def to_the_mean(window, stride, padding, x, y_bar):
    """Wrong: spread over the window, as an average's is."""
    spread = jnp.repeat(jnp.repeat(y_bar, 2, axis=1), 2, axis=2) / 4
    return (jnp.pad(spread, [(0, 0), (0, x.shape[1] - spread.shape[1]), (0, x.shape[2] - spread.shape[2]), (0, 0)]),)


@pytest.mark.parametrize(("bwd", "geometry"), [(to_all_that_are_as_large, (3, 2, 1)), (to_the_mean, (2, None, 0))])
def test_wrong_rules_are_caught(bwd, geometry):
    wrong = jax.custom_vjp(lambda *args: max_pool2d(*args), nondiff_argnums=(1, 2, 3))
    wrong.defvjp(max_pool2d_fwd, bwd)
    report = parity.check(wrong, X, *geometry, static_argnums=(1, 2, 3), reference=twin_max_pool2d, dtypes=("float32",))
    assert not report.ok and report.culprits == ["rule"]


@pytest.mark.parametrize(
    "geometry",
    [
        (2, 1, "VALID"),
        (2, 4, "VALID"),  # elements that no window sees
        (3, None, "SAME"),
        ((3, 2), (2, 3), "SAME"),
        (2, None, ((0, 1), (1, 0))),
        ((4, 5), (3, 2), (0, 1)),
        ((6, 7), 1, ((5, 0), (0, 6))),
    ],
    ids=str,
)
def test_every_geometry_exactly(geometry):
    window, stride, padding = geometry
    y_bar = jnp.asarray(np.random.default_rng(1).integers(-3, 4, twin_max_pool2d(X, *geometry).shape), jnp.float32)

    @jax.jit
    def by_hand(x, y_bar):
        y, residuals = max_pool2d_fwd(x, *geometry)
        return y, max_pool2d_bwd(window, stride, padding, residuals, y_bar)[0]

    @jax.jit
    def derived(x, y_bar):
        y, pullback = jax.vjp(lambda x: twin_max_pool2d(x, *geometry), x)
        return y, pullback(y_bar)[0]

    for got, want in zip(by_hand(X, y_bar), derived(X, y_bar), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def bars_of(x, y_bar, geometry=(2, None, 0)):
    """The cotangent of x: ours, that of jax's reduce_window, and torch's."""
    tensor = torch.tensor(np.asarray(x), requires_grad=True)
    (theirs,) = torch.autograd.grad(in_torch.max_pool2d(tensor, *geometry), tensor, torch.tensor(np.asarray(y_bar)))
    pools = (lambda x: max_pool2d(x, *geometry)), (lambda x: twin_max_pool2d(x, *geometry))
    pulled = (jax.jit(lambda x, bar, pool=pool: jax.vjp(pool, x)[1](bar)[0])(x, y_bar) for pool in pools)
    return *map(np.asarray, pulled), np.asarray(theirs)


@pytest.mark.parametrize("geometry", [(2, None, 0), (3, 1, 1), (3, 2, 0)], ids=str)
def test_of_equal_elements_the_first_wins_as_in_torch_and_jax(geometry):
    for x in (jnp.zeros((1, 6, 6, 2)), jnp.asarray(np.random.default_rng(0).integers(0, 2, (2, 6, 6, 3)), jnp.float32)):
        y_bar = jnp.asarray(np.random.default_rng(1).integers(-3, 4, max_pool2d(x, *geometry).shape), jnp.float32)
        ours, jaxs, torchs = bars_of(x, y_bar, geometry)
        np.testing.assert_array_equal(ours, torchs)
        np.testing.assert_array_equal(ours, jaxs)


def test_a_maximum_over_axes_shares_a_ties_cotangent():
    # What the docstring says of jax: the other way to write the same pooling has another derivative at a tie.
    x = jnp.ones((1, 2, 2, 1))
    shared = jax.grad(lambda x: x.reshape(1, 1, 2, 1, 2, 1).max((2, 4)).sum())(x)
    assert shared.ravel().tolist() == [0.25] * 4
    assert jax.grad(lambda x: max_pool2d(x).sum())(x).ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("window", "winner"),
    [
        ([0.0, -0.0, 0.0, -0.0], 0),
        ([-0.0, 0.0, 0.0, 0.0], 0),
        ([1, np.inf, 2, np.inf], 1),
        ([-np.inf, -np.inf, -np.inf, -3e38], 3),
        ([-np.inf] * 4, 0),
        ([1, np.nan, 3, 4], 1),
        ([np.nan, 1, np.nan, np.inf], 2),
        ([-np.inf, np.nan, 3, 4], 1),
    ],
    ids=str,
)
def test_kinks_are_torchs(window, winner):
    x = jnp.asarray(window, jnp.float32).reshape(1, 2, 2, 1)
    y = max_pool2d(x)
    np.testing.assert_array_equal(y.ravel()[0], x.ravel()[winner])
    ours, _, torchs = bars_of(x, jnp.full((1, 1, 1, 1), 3.0))
    assert ours.ravel().tolist() == [3.0 * (k == winner) for k in range(4)] == torchs.ravel().tolist()


def test_padding_never_wins():
    # Of nothing but -inf, the first element that is x's: as in torch. jax's rule gives it to the padding.
    x, y_bar = jnp.full((1, 4, 4, 1), -jnp.inf), jnp.arange(1.0, 10).reshape(1, 3, 3, 1)
    ours, _, torchs = bars_of(x, y_bar, (2, 2, 1))
    np.testing.assert_array_equal(ours, torchs)
    assert ours.sum() == 45


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_every_dtype(dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x = X.astype(dtype)
        y, pullback = jax.vjp(lambda x: max_pool2d(x, 3, 1), x)
        (bar,) = pullback(jnp.ones_like(y))
    want, want_pullback = jax.vjp(lambda x: twin_max_pool2d(x, 3, 1), x.astype(jnp.float32))
    assert y.dtype == bar.dtype == dtype
    np.testing.assert_array_equal(y.astype(jnp.float32), want)
    np.testing.assert_array_equal(bar.astype(jnp.float32), want_pullback(jnp.ones_like(want))[0])


def test_half_precision_adds_overlapping_windows_in_float32():
    # 17 × 17 windows with 1 each: bfloat16 counts to 256 and no further. 289 rounds to 288.
    x = jnp.zeros((1, 33, 33, 1), jnp.bfloat16).at[0, 16, 16, 0].set(1)
    pull = jax.jit(lambda x, y_bar: jax.vjp(lambda x: max_pool2d(x, 17, 1), x)[1](y_bar))
    (bar,) = pull(x, jnp.ones((1, 17, 17, 1), jnp.bfloat16))
    assert bar[0, 16, 16, 0] == 288


def test_transformations():
    loss = lambda pool: lambda x: jnp.sum(pool(x, 3, 2, 1) ** 2)  # noqa: E731
    want = jax.grad(loss(twin_max_pool2d))(X)
    checkpointed = jax.checkpoint(lambda x: max_pool2d(x, 3, 2, 1))
    for got in (
        jax.jit(jax.grad(loss(max_pool2d)))(X),
        jax.grad(lambda x: jnp.sum(checkpointed(x) ** 2))(X),
        jax.vmap(jax.grad(loss(max_pool2d)))(X[:, None])[:, 0],
    ):
        np.testing.assert_array_equal(got, want)


def test_second_derivatives():
    x = images(1, 4, 4, 1)
    got, want = (jax.jit(jax.hessian(lambda x: jnp.sum(f(x, 3, 1) ** 3)))(x) for f in (max_pool2d, twin_max_pool2d))  # noqa: B023
    np.testing.assert_array_equal(got, want)
    reverse = jax.jit(jax.jacrev(jax.grad(lambda x: jnp.sum(max_pool2d(x, 3, 1) ** 3))))
    np.testing.assert_array_equal(reverse(x), want)


def test_no_images():
    y, pullback = jax.vjp(max_pool2d, X[:0])
    assert y.shape == (0, 3, 3, 3) and pullback(y)[0].shape == X[:0].shape


BAD = [
    (X[0], {}, r"x must be \[n, height, width, channels\]; got x float32\[6,7,3\]"),
    (X, {"window": 0}, "window must be an integer of at least 1, or a tuple of two; got 0"),
    (X, {"window": (2, 2, 2)}, r"window must be .*; got \(2, 2, 2\)"),
    (X, {"stride": 0}, "stride must be an integer of at least 1, or a tuple of two; got 0"),
    (X, {"window": 8}, r"the window must fit in x and its padding; got x float32\[2,6,7,3\], window 8 and padding"),
    (X[:, :0], {"padding": 1}, r"the window must fit in x and its padding; got x float32\[2,0,7,3\]"),
    (X, {"padding": 2}, "padding must be less than the window, .*; got window 2 and padding 2"),
    (X, {"padding": "same"}, "padding must be 'SAME', 'VALID', an integer, or a tuple of two; got 'same'"),
    (X, {"padding": -1}, "padding must be an integer of at least 0.*; got -1"),
]  # fmt: skip


@pytest.mark.parametrize(("x", "options", "message"), BAD)
@pytest.mark.parametrize("call", [max_pool2d, max_pool2d_fwd], ids=["op", "fwd"])
def test_what_does_not_fit(as_a_user, call, x, options, message):
    with pytest.raises(ValueError, match="max_pool2d: " + message):
        call(x, **options)


def test_integers_are_refused(as_a_user):
    with pytest.raises(TypeError, match=r"max_pool2d: x must be an array of float16.*got int32\[1,2,2,1\]"):
        max_pool2d(jnp.ones((1, 2, 2, 1), int))
