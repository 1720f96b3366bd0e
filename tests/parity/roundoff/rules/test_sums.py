"""Sums, whose terms come in any order; terms that are alike are rounded alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.data import load_mnist, normalize
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.rules.sums import SUM_CONSTANT

F32 = jnp.float32
U = 2.0**-24
RNG = np.random.default_rng(0)
X = (RNG.standard_normal((12, 30)) * np.exp(RNG.uniform(-6, 6, (12, 30)))).astype(np.float32)
PRESSURES = (101325 + RNG.uniform(-20, 20, 50_000)).astype(np.float32)
NORMAL = RNG.standard_normal(50_000).astype(np.float32)


def bound(fun, *args, dtype=F32):
    return rounding_bounds(fun, *[np.asarray(arg, dtype) for arg in args], dtype=dtype)


def test_sums():
    apart, signs = 1 + np.arange(400) / 2**8, np.where(np.arange(400) % 2, 1.0, -1.0)
    total, paired = apart.sum(), np.repeat(apart[:200], 2)
    # All of one sign: the worst case k A for few terms, the probabilistic form for many; then the result's rounding.
    np.testing.assert_allclose(bound(jnp.sum, np.ones(2)).errors, U * (2 * 2 + 2), rtol=1e-6)
    np.testing.assert_allclose(bound(jnp.sum, apart).errors, U * (SUM_CONSTANT + 20 + 1) * total, rtol=1e-6)
    # Of changing sign, the sum 0: no mean, so nothing that grows with sqrt(k).
    np.testing.assert_allclose(
        bound(jnp.sum, paired * signs).errors, U * SUM_CONSTANT * np.abs(paired).sum(), rtol=1e-6
    )
    # Equal terms are rounded alike: each twice, all of them (the worst case), and half of them.
    twice = U * (np.sqrt(2) * (SUM_CONSTANT + 20) + 1) * paired.sum()
    np.testing.assert_allclose(bound(jnp.sum, paired).errors, twice, rtol=1e-6)
    np.testing.assert_allclose(bound(jnp.sum, np.ones(400)).errors, U * (400 + 1) * 400, rtol=1e-6)
    np.testing.assert_allclose(bound(jnp.sum, signs).errors, U * np.sqrt(200) * SUM_CONSTANT * 400, rtol=1e-6)
    # So are terms within an ulp of the sum: of these, 2**-13 apart, 15.7 on average and 16 at most.
    close = 1 + np.arange(10_000) / 2**13
    sixteen = U * (4 * (SUM_CONSTANT + 100) + 1) * close.sum()
    np.testing.assert_allclose(bound(jnp.sum, close).errors, sixteen, rtol=1e-6)
    dot = bound(lambda x, y: x @ y, np.full((2, 3), 2.0), np.full((3, 4), 5.0))
    np.testing.assert_array_equal(dot.values, np.full((2, 4), 30.0))
    np.testing.assert_allclose(dot.errors, np.full((2, 4), U * (3 * 30 + 30)), rtol=1e-6)


def test_equal_terms_are_rounded_alike():
    # One digit of 784 pixels, 600 of them the same white, each with the weight 1: what torch and jax are off by there
    # exceeds the bound for rounding errors of mean zero.
    pixels = load_mnist("sample").train.images[:100].astype(np.float32) / 256
    x, weights = normalize(pixels, 0.13044971, 0.30728984), np.ones((784, 3), np.float32)
    got = bound(lambda x, w: x @ w, x, weights)
    alone = bound(lambda x, w: x @ w, x, 1 + np.arange(784 * 3).reshape(784, 3) / 2**20)
    assert got.errors.min() > 5 * alone.errors.min()
    for product in (jax.jit(jnp.matmul)(x, weights), (torch.from_numpy(x) @ torch.from_numpy(weights)).numpy()):
        share = np.abs(np.asarray(product, np.float64) - got.values) / got.errors
        assert 0 < share.max() <= 1


def test_half_precision_is_stored_in_half_and_summed_in_float32():
    def total(x):
        return jnp.sum(x, dtype=jnp.float32).astype(jnp.bfloat16)

    got = bound(total, np.ones(4), dtype=jnp.bfloat16)
    stored = 2**-8 * 4
    assert stored <= got.errors <= 2.1 * stored  # the float32 sum may be stored in half, and is


def test_einsum_numbers():
    # batch axes and contractions in any place
    x, y = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(4, 2, 5)
    got = bound(lambda x, y: jnp.einsum("bik,kbj->bij", x, y), x, y)
    np.testing.assert_array_equal(got.values, np.einsum("bik,kbj->bij", x, y))


@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(inside, reverse):
    want = inside(lambda x: jax.lax.cumsum(x, 1, reverse=reverse), X)
    steps = np.flip(X, 1) if reverse else X
    values = np.cumsum(steps.astype(np.float64), 1)
    np.testing.assert_array_equal(want.values, np.flip(values, 1) if reverse else values)
    inside(lambda x: jax.lax.cumsum(x * 1.5 + x, 1, reverse=reverse), X)


def test_convolution(inside):
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


def test_average_pooling(inside):
    inside(lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (3, 4), (3, 4), "VALID") / 12.0, X)


def test_scatter_add(inside):
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


def one_by_one(terms, axis=0):
    """Their partial sums in float32, strictly one after the other."""
    return np.cumsum(terms, axis, dtype=np.float32)


def share(got, want):
    """How much of its bound a result uses at most."""
    return np.max(np.abs(np.asarray(got, np.float64) - want.values) / want.errors)


def likes(want, absolute, terms):
    """By how many terms alike a sum's bound was widened: the square of what it has over the bound without any."""
    value = np.abs(want.values)
    plain = SUM_CONSTANT * np.asarray(absolute, np.float64) + np.sqrt(terms) * value
    return np.max(((want.errors / U - value) / plain) ** 2)


SUMS = {"sum": (jnp.sum, lambda x: x), "dot": (lambda x: x @ x, lambda x: x * x)}
SUMS |= {"dot with ones": (lambda x: x @ jnp.ones(x.shape, F32), lambda x: x)}


@pytest.mark.parametrize("name", SUMS)
def test_air_pressures_are_rounded_alike(name):
    fun, terms = SUMS[name]
    want = bound(fun, PRESSURES)
    assert share(jax.jit(fun)(PRESSURES), want) <= 1
    assert 1e-2 < share(one_by_one(terms(PRESSURES))[-1], want) <= 1


def test_normal_terms_keep_a_sharp_bound():
    size, shuffled = np.abs(NORMAL).astype(np.float64), RNG.permutation(NORMAL)
    assert 1 <= likes(bound(jnp.sum, NORMAL), size.sum(), 50_000) <= 8
    products = bound(lambda x, y: x @ y, NORMAL, shuffled)
    assert 1 <= likes(products, size @ np.abs(shuffled), 50_000) <= 8
    rows, to = np.abs(NORMAL.astype(np.float64)), np.arange(50_000) % 5
    scattered = bound(lambda x: jnp.zeros(5, F32).at[to].add(x), NORMAL)
    assert 1 <= likes(scattered, rows.reshape(-1, 5).sum(0), 10_001) <= 5
    sums = bound(jnp.cumsum, NORMAL)
    assert 1 <= likes(sums, np.cumsum(size), np.arange(1, 50_001)) <= 8


@pytest.mark.parametrize("size", [0.1, 1.0, 101325.0])
def test_updates_that_are_nearly_equal(size):
    to = RNG.integers(0, 5, 50_000)
    updates = (size * (1 + 1e-5 * RNG.standard_normal(50_000))).astype(np.float32)
    for sign in (1, -1):
        fun = lambda x, sign=sign: jnp.zeros(5, F32).at[to].add(x) if sign > 0 else jnp.zeros(5, F32).at[to].add(-x)  # noqa: E731
        assert share(jax.jit(fun)(updates), bound(fun, updates)) <= 1
    if size == 0.1:  # added one after the other: without counting likes, jax is outside
        want = bound(fun, updates)
        assert share(jax.jit(fun)(updates), want) > 0.1
        assert likes(want, np.bincount(to, updates), np.bincount(to) + 1) > 9000


def test_likes_that_cancel_are_rounded_alike_too():
    # The sum is 0, and the partial sums are not.
    terms = (0.1 + 1e-8 * RNG.uniform(-1, 1, 5000)).astype(np.float32)
    terms = RNG.permutation(np.concatenate([terms, -terms]))
    want = bound(jnp.sum, terms)
    assert want.values == 0 and likes(want, np.abs(terms).sum(dtype=np.float64), 10_000) > 2000


def test_few_updates_to_each_element_are_not_compared():
    updates, to = NORMAL[:49_000], np.arange(49_000) // 7
    want = bound(lambda x: jnp.zeros(7000, F32).at[to].add(x), updates)
    size = np.abs(updates).astype(np.float64).reshape(-1, 7).sum(1)
    np.testing.assert_allclose(want.errors, U * (8 * size + np.abs(want.values)), rtol=1e-6)  # each at its worst


def test_subtracted_updates(inside):
    rows = np.array([0, 3, 3, 3, 7, 11])
    want = inside(lambda x, y: x.at[rows].subtract(y * 1.5), X, X[:6] / 3)
    double = X.astype(np.float64)
    np.subtract.at(double, rows, (X[:6] / 3).astype(np.float64) * 1.5)
    np.testing.assert_array_equal(want.values, double)
    assert want.opaque == ()


def test_updates_that_go_nowhere():
    to, updates = np.repeat([1, 7, 2], [50, 5000, 1000]), np.full(6050, 0.1)
    updates[to == 2] = NORMAL[:1000]
    want = bound(lambda x: jnp.zeros(3, F32).at[to].add(x), updates)
    np.testing.assert_allclose(want.values[:2], [0, 50 * float(np.float32(0.1))], rtol=1e-15)
    np.testing.assert_array_equal(want.errors > 0, [False, True, True])
    # 5000 that are alike and lost are no likes of the last element's.
    last = want._replace(values=want.values[2], errors=want.errors[2])
    assert likes(last, np.abs(NORMAL[:1000]).sum(dtype=np.float64), 1001) <= 5


def test_cumsum_of_pressures():
    want = bound(jnp.cumsum, PRESSURES)
    assert share(jax.jit(jnp.cumsum)(PRESSURES), want) <= 1
    assert 0.1 < share(one_by_one(PRESSURES), want) <= 1
    assert want.errors[0] < 5 * U * PRESSURES[0], "the first sums are of few terms"


def test_average_pooling_of_flat_pictures():
    def pool(x):
        return jax.lax.reduce_window(x, 0.0, jax.lax.add, (100, 100), (100, 100), "VALID") / 1e4

    for picture in (PRESSURES[:40_000].reshape(200, 200), np.full((200, 200), 0.1, np.float32)):
        want = bound(pool, picture)
        windows = picture.reshape(2, 100, 2, 100).transpose(0, 2, 1, 3).reshape(2, 2, -1)
        assert share(jax.jit(pool)(picture), want) <= 1
        assert 1e-2 < share(one_by_one(windows, 2)[..., -1] / np.float32(1e4), want) <= 1
    normal = NORMAL[:40_000].reshape(200, 200)
    size = np.abs(normal.astype(np.float64)).reshape(2, 100, 2, 100).sum((1, 3)) / 1e4
    want = bound(pool, normal)
    assert likes(want, size, 1e4) <= 8


def test_bright_pictures_in_a_convolution():
    rng = np.random.default_rng(3)  # its own: what is asked for holds whichever tests ran before
    picture = (0.999 + 1e-3 * rng.uniform(0, 1, (1, 64, 14, 14))).astype(np.float32)
    flat, normal = np.full((2, 64, 11, 11), 0.1, np.float32), rng.standard_normal((2, 64, 11, 11)).astype(np.float32)

    def conv(x, w):
        return jax.lax.conv(x, w, (1, 1), "VALID")

    windows = np.lib.stride_tricks.sliding_window_view(picture[0], (11, 11), (1, 2)).transpose(1, 2, 0, 3, 4)
    for kernel, least in ((flat, 1e-2), (normal, 1e-3)):
        want = bound(conv, picture, kernel)
        terms = windows[None] * kernel[:, None, None]
        assert share(jax.jit(conv)(picture, kernel), want) <= 1
        assert least < share(one_by_one(terms.reshape(2, 4, 4, -1), 3)[..., -1], want) <= 1
        size = np.abs(terms).sum((3, 4, 5), dtype=np.float64)
        assert (likes(want, size, 7744) > 1000) == (kernel is flat)
    assert likes(want, size, 7744) <= 5


def test_a_row_of_likes_widens_no_other_row():
    rows = np.stack([np.full(5000, 0.1, np.float32), NORMAL[:5000]])
    size = np.abs(rows).sum(1, dtype=np.float64)
    for fun in (lambda x: x.sum(1), lambda x: x @ jnp.ones(5000, F32)):
        want = bound(fun, rows)
        each = ((want.errors / U - np.abs(want.values)) / (5 * size + np.sqrt(5000) * np.abs(want.values))) ** 2
        assert each[1] < 8 < each[0]


def test_infinite_sums_are_sure():
    x = np.array([[-np.inf, 1.1, 2.3], [0.1, 0.2, 0.3]], np.float32)
    for fun in (lambda x: x.sum(1), lambda x: jnp.cumsum(x, 1)[:, -1]):
        want = bound(fun, x)
        assert want.values[0] == -np.inf and want.errors[0] == 0 < want.errors[1]
    # So is nothing, summed: there is nothing to round, and its logarithm is certain.
    assert bound(lambda x: jax.nn.logsumexp(x), np.full(3, -np.inf)).errors == 0


COMPLEX = {
    "sum": lambda z: z.sum(1),
    "dot": lambda z: z @ z.T,
    "cumsum": lambda z: jnp.cumsum(z, 1),
    "convolution": lambda z: jax.lax.conv_general_dilated(
        z[None, None], z[None, None, :3, :3], (1, 1), "VALID", preferred_element_type=z.dtype
    ),
    "scatter": lambda z: jnp.zeros((2, 40), z.dtype).at[np.arange(30) % 2].add(z),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_sums(name):
    z = (NORMAL[:1200] + 1j * NORMAL[1200:2400]).reshape(30, 40).astype(np.complex64)
    want = rounding_bounds(COMPLEX[name], z, dtype=F32)
    got = np.asarray(jax.jit(COMPLEX[name])(z), np.complex128)
    assert 1e-3 < np.max(np.abs(got - want.values) / want.errors) <= 1
    assert want.fallbacks == () and got.dtype == want.values.dtype


TRANSFORMS = {
    "fft": lambda z: jnp.fft.fft(z * 1.5),
    "ifft2": lambda z: jnp.fft.ifft2(z),
    "rfft": lambda z: jnp.fft.rfft(z.real * 1.5),
    "irfft": lambda z: jnp.fft.irfft(z * 1.5),
    "gradient": jax.grad(lambda z: jnp.abs(jnp.fft.rfft(z.real)).sum()),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_fourier_transforms(name):
    z = (X + 1j * X[::-1]).astype(np.complex64)
    want = rounding_bounds(TRANSFORMS[name], z, dtype=F32)
    off = np.abs(np.asarray(jax.jit(TRANSFORMS[name])(z), np.complex128) - want.values)
    assert want.fallbacks == () and (off <= want.errors).all()
    spread = rounding_bounds(TRANSFORMS[name], z, dtype=F32, sampled=True).errors
    assert (off <= spread).all() and np.median(spread) < 1e-4 * np.abs(want.values).max()


def test_a_sum_over_the_axis_of_a_vmap():
    x = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)

    def centred(x):
        return jax.vmap(lambda row: row - jax.lax.pmean(row, "batch"), axis_name="batch")(x)

    for fun in (centred, jax.grad(lambda x: (centred(x) ** 3).sum())):
        want = rounding_bounds(fun, x, dtype=jnp.float32)
        got = np.asarray(jax.jit(fun)(x), np.float64)
        assert (np.abs(got - want.values) <= want.errors).all() and want.errors.max() < 1e-4
