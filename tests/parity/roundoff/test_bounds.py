import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.data import load_mnist, normalize
from pullback.parity.roundoff.bounds import rounding_bounds
from pullback.parity.roundoff.rules.arithmetic import SUM_CONSTANT

U = 2.0**-24
F32 = jnp.float32
TINY = float(jnp.finfo(F32).tiny)


def bound(fun, *args, dtype=F32):
    return rounding_bounds(fun, *[np.asarray(arg, dtype) for arg in args], dtype=dtype)


@pytest.mark.parametrize(
    ("fun", "args", "value", "error"),
    [
        (lambda x, y: x + y, (3, 5), 8, 8 * U),
        (lambda x, y: x - y, (3, 5), -2, 2 * U),
        (lambda x, y: x * y, (3, 5), 15, 15 * U),
        (lambda x, y: x / y, (3, 5), 0.6, 2 * 0.6 * U),
        (lambda x: x**2, (3,), 9, 9 * U),
        (lambda x: -x, (3,), -3, 0),
        (lambda x: jnp.maximum(x, 0), (3,), 3, 0),
        (lambda x: jnp.where(x > 0, x, 0.0), (-3,), 0, 0),
        # Errors of the inputs are carried on: 8u through the second operation, and its own rounding.
        (lambda x, y: (x + y) - y, (3, 5), 3, 8 * U + 3 * U),
        (lambda x, y: (x + y) * y, (3, 5), 40, 8 * U * 5 + 40 * U),
        (lambda x, y: y / (x + y), (3, 8), 8 / 11, 8 / 11 * U + 2 * 8 / 11 * U),
        (lambda x, y: (x + y) ** 2, (3, 5), 64, 2 * 8 * 8 * U + 64 * U),
    ],
)
def test_one_operation(fun, args, value, error):
    got = bound(fun, *args)
    np.testing.assert_allclose(got.values, value, rtol=1e-15)
    np.testing.assert_allclose(got.errors, error, rtol=1e-6, atol=20 * TINY)


def test_sums():
    ones, signs = 1 + np.arange(10_000) / 2**13, np.where(np.arange(10_000) % 2, 1.0, -1.0)
    total, paired = ones.sum(), np.repeat(ones[:5000], 2)
    # All of one sign: the worst case k A for few terms, the probabilistic form for many; then the result's rounding.
    np.testing.assert_allclose(bound(jnp.sum, np.ones(2)).errors, U * (2 * 2 + 2), rtol=1e-6)
    np.testing.assert_allclose(bound(jnp.sum, ones).errors, U * (SUM_CONSTANT + 100 + 1) * total, rtol=1e-6)
    # Of changing sign, the sum 0: no mean, so nothing that grows with sqrt(k).
    np.testing.assert_allclose(
        bound(jnp.sum, paired * signs).errors, U * SUM_CONSTANT * np.abs(paired).sum(), rtol=1e-6
    )
    # Equal terms are rounded alike: each twice, all of them (the worst case), and half of them.
    twice = U * (np.sqrt(2) * (SUM_CONSTANT + 100) + 1) * paired.sum()
    np.testing.assert_allclose(bound(jnp.sum, paired).errors, twice, rtol=1e-6)
    np.testing.assert_allclose(bound(jnp.sum, np.ones(10_000)).errors, U * (1e4 + 1) * 1e4, rtol=1e-6)
    np.testing.assert_allclose(bound(jnp.sum, signs).errors, U * np.sqrt(5000) * SUM_CONSTANT * 1e4, rtol=1e-6)
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


def test_a_gate_within_rounding_error_of_zero_spans_both_sides():
    def gate(x, y):
        z = (x + y) - y  # 0 in truth; in float32 it may come out up to 1 ulp of y away
        return jnp.where(z > 0, 7.0, 0.0), jnp.where(x + 1.0 > 0, 7.0, 0.0)

    got = bound(gate, 0, 3)
    assert (got.gates, got.kinks) == (2, 1)
    assert [float(error) for error in got.errors] == [7.0, 0.0]
    assert got.values[0] == 0


def test_an_exact_zero_is_no_uncertain_gate():
    got = bound(jax.grad(lambda x: jnp.sum(jax.nn.relu(x))), np.array([0.0, -0.0, 1.0]))
    assert got.kinks == 0
    np.testing.assert_array_equal(got.values, [0, 0, 1])
    np.testing.assert_array_equal(got.errors, [0, 0, 0])


def test_einsum_numbers():
    # batch axes and contractions in any place
    x, y = np.arange(24.0).reshape(2, 3, 4), np.arange(40.0).reshape(4, 2, 5)
    got = bound(lambda x, y: jnp.einsum("bik,kbj->bij", x, y), x, y)
    np.testing.assert_array_equal(got.values, np.einsum("bik,kbj->bij", x, y))


@pytest.mark.parametrize("seed", range(5))
def test_real_arithmetic_stays_inside(seed):
    # An independent check: the same formula in NumPy float32, summed strictly one after the other, against float64.
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((40, 300)).astype(np.float32), rng.standard_normal((300, 20)).astype(np.float32)

    def f(x, w):
        z = x @ w
        return jnp.sum(jnp.where(z > 0, z, 0.0) ** 2, axis=0) / 40.0

    z = np.zeros((40, 20), np.float32)
    for k in range(300):
        z += x[:, k, None] * w[k]
    got = np.zeros(20, np.float32)
    for row in np.maximum(z, 0):
        got += row * row
    got /= np.float32(40)
    want = bound(f, x, w)
    ratio = np.abs(got - want.values) / want.errors
    assert 1e-4 < ratio.max() <= 1, "inside, and not absurdly wide"


def layer_norm(x):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * jax.lax.rsqrt(jnp.mean((x - mean) ** 2, -1, keepdims=True) + 1e-5)


def gelu_by_erf(x):
    # torch's form. jax's, by erfc, is right in relative terms where 1 + erf cancels.
    return 0.5 * x * (1.0 + jax.lax.erf(x * 0.7071067811865476))


def softplus_by_log1p(x):
    # torch's form. jax's, max(x, 0) + log1p(exp(-|x|)), rounds less.
    return jnp.where(x > 20.0, x, jnp.log1p(jnp.exp(jnp.minimum(x, 20.0))))


F = torch.nn.functional
COMPOSED = {
    "softmax": (jax.nn.softmax, lambda x: F.softmax(x, -1)),
    "log_softmax": (jax.nn.log_softmax, lambda x: F.log_softmax(x, -1)),
    "logsumexp": (lambda x: jax.nn.logsumexp(x, -1), lambda x: torch.logsumexp(x, -1)),
    "gelu, tanh": (jax.nn.gelu, lambda x: F.gelu(x, approximate="tanh")),
    "gelu, erf": (gelu_by_erf, F.gelu),
    "gelu, erfc": (lambda x: jax.nn.gelu(x, approximate=False), None),
    "silu": (jax.nn.silu, F.silu),
    "softplus": (jax.nn.softplus, None),
    "softplus, log1p": (softplus_by_log1p, F.softplus),
    "layer norm": (layer_norm, lambda x: F.layer_norm(x, x.shape[-1:])),
    "variance": (lambda x: jnp.var(x, -1), lambda x: torch.var(x, -1, correction=0)),
    "norm": (lambda x: jnp.linalg.norm(x, axis=-1), lambda x: torch.linalg.norm(x, dim=-1)),
}
# torch's gradient is exp(x - logsumexp), and that exponent was rounded. jax's divides by the sum.
FORWARD_ONLY = {"logsumexp"}


def in_torch_with_vjp(fun, x, g):
    x = torch.from_numpy(x.copy()).requires_grad_()
    y = fun(x)
    y.backward(torch.from_numpy(g))
    assert x.grad is not None
    return y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("spread", [1e-3, 0.3, 3, 30])
@pytest.mark.parametrize("name", COMPOSED)
def test_composed_functions_and_their_gradients_stay_inside(name, spread):
    in_jax, in_torch = COMPOSED[name]
    rng = np.random.default_rng(0)
    x = (spread * rng.standard_normal((300, 40))).astype(np.float32)
    g = rng.standard_normal(jax.eval_shape(in_jax, x).shape).astype(np.float32)

    def both(x, g):
        y, pull = jax.vjp(in_jax, x)
        return y, pull(g)[0]

    want = rounding_bounds(both, x, g, dtype=F32)
    assert want.fallbacks == ()
    got = {"jax": jax.jit(both)(x, g)} | ({} if in_torch is None else {"torch": in_torch_with_vjp(in_torch, x, g)})
    for who, outputs in got.items():
        leaves = list(zip(outputs, want.values, want.errors, strict=True))
        for output, value, error in leaves[:1] if who == "torch" and name in FORWARD_ONLY else leaves:
            difference = np.abs(np.asarray(output, np.float64) - value)
            assert (difference <= error).all(), who
            assert (difference > 1e-4 * error).any(), "not absurdly wide"


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("name", ["softmax", "gelu, tanh", "silu", "softplus, log1p", "layer norm"])
def test_composed_functions_in_half_precision(name, dtype):
    x = np.random.default_rng(0).standard_normal((100, 40)).astype(dtype)
    want = rounding_bounds(COMPOSED[name][0], x, dtype=dtype)
    torch_dtype = torch.bfloat16 if dtype == jnp.bfloat16 else torch.float16
    y = COMPOSED[name][1](torch.from_numpy(x.astype(np.float32)).to(torch_dtype)).double().numpy()
    for output in (np.asarray(jax.jit(COMPOSED[name][0])(x)).astype(np.float64), y):
        assert 1e-3 < np.max(np.abs(output - want.values) / want.errors) <= 1


@pytest.mark.parametrize("masked", [-np.inf, -1e9])
def test_a_mask_does_not_widen_the_bound(masked):
    def attention(x):
        scores = x @ x.T
        mask = jnp.tril(jnp.ones(scores.shape, bool))
        return jax.nn.softmax(
            jnp.where(mask, scores, masked) if masked < -1e10 else scores + jnp.where(mask, 0, masked)
        )

    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    got = rounding_bounds(attention, x, dtype=F32)
    assert got.errors.max() < 2e-4 and (got.values[0, 1:] == 0).all()


def test_what_has_no_rule_is_estimated_and_named():
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    got = rounding_bounds(lambda x: jnp.arctan2(x, jnp.tan(x)), x, dtype=F32)
    assert got.fallbacks == ("atan2", "tan")


def test_no_bound_is_infinite_not_nan():
    got = bound(lambda x: 1.0 / ((x + 3.0) - 3.0), 0)
    assert got.errors == np.inf
    assert bound(lambda x: x * 0.0, np.inf).errors == np.inf
