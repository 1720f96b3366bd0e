import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback.parity.roundoff.bounded import Rounding
from pullback.parity.roundoff.bounds import bounds_of, rounding_bounds, values_of

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
    got = rounding_bounds(lambda x: jax.lax.nextafter(x, jnp.sin(x)), x, dtype=F32)
    assert got.fallbacks == ("nextafter",)


def test_no_bound_is_infinite_not_nan():
    got = bound(lambda x: 1.0 / ((x + 3.0) - 3.0), 0)
    assert got.errors == np.inf
    assert bound(lambda x: (x + 3.0) - 3.0 - x * jnp.inf, 0).errors == 0, "NaN in any dtype"


@pytest.mark.parametrize("sampled", [False, True])
def test_what_is_sure_to_be_infinite_or_nan_has_no_error(sampled):
    def errors(fun, x):
        return rounding_bounds(fun, np.asarray(x, np.float32), dtype=F32, sampled=sampled).errors

    for fun in (jnp.log, lambda x: 1.0 / x, lambda x: x * jnp.inf, lambda x: x / x, lambda x: x - jnp.inf):
        assert errors(fun, 0) == 0
    masked = errors(lambda x: jax.nn.log_softmax(jnp.where(x > 0, x * 1.1, -jnp.inf)), [-1, 1, 2])
    assert masked[0] == 0 and (masked[1:] > 0).all()
    assert errors(jax.nn.logsumexp, [-np.inf, -np.inf]) == 0
    assert errors(jax.nn.softmax, [-np.inf, -np.inf]).max() == 0
    # Where rounding led there, another order of operations may end elsewhere.
    assert errors(lambda x: 1.0 / ((x + 3.0) - 3.0), 0) == np.inf
    assert errors(lambda x: jnp.sqrt((x - 1.1) + 1.1), -1e-9) == np.inf
    assert errors(lambda x: jnp.log((x + 3.0) - 3.0), [0, 1])[0] == np.inf


def test_nought_without_error_is_exact():
    got = bound(lambda x: (x * 0.0, x - x, jnp.exp(x - jnp.inf), jnp.sin(x - x)), np.array([1.5, 2.5]))
    assert [error.max() for error in got.errors] == [0, 0, 0, 0]
    assert bound(lambda x: jnp.where(x * 0.0 > 0, 1.0, 2.0), 1.5).kinks == 0
    assert bound(lambda x: jnp.exp(x), -200).errors >= TINY, "it may be flushed to zero"


def test_samples_judge_what_the_carried_bound_does_not():
    def deep(x):
        for _ in range(16):
            x = layer_norm(x * 1.1 + jnp.sin(x))
        return x

    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    carried, sampled = (rounding_bounds(deep, x, dtype=F32, sampled=asked) for asked in (False, True))
    assert carried.errors.min() > 1 and carried.unsafe is None
    assert sampled.errors.max() < 1e-4 and not sampled.unsafe.any()
    np.testing.assert_array_equal(carried.values, sampled.values)
    # A bound that is sharp is kept: it is a bound, and samples are none.
    plain, asked = (rounding_bounds(layer_norm, x, dtype=F32, sampled=asked) for asked in (False, True))
    np.testing.assert_array_equal(plain.errors, asked.errors)
    assert asked.unsafe is None


def test_inner_casts_count_only_inside():
    def cast(x):
        return (x * 1.5).astype(jnp.bfloat16).astype(jnp.float32) + jax.lax.reduce_precision(x, 8, 7)

    x = np.array([1.2, 3.4], np.float32)
    size = 1.5 * np.abs(x) + np.abs(x)
    inside, outside = (rounding_bounds(cast, x, dtype=F32, inside=asked) for asked in (True, False))
    assert (inside.errors > 2.0**-8 * size).all() and (outside.errors < 4 * U * size).all()
    np.testing.assert_array_equal(inside.values, outside.values)
    # A sum in bfloat16 counts neither.
    total = lambda x: jax.lax.dot(x, x, preferred_element_type=jnp.bfloat16)  # noqa: E731
    half = x.astype(jnp.bfloat16)
    wide, narrow = (rounding_bounds(total, half, dtype=F32, inside=asked).errors for asked in (True, False))
    assert narrow < 1e-4 * wide


def test_constants_count_only_if_they_are_asked_for():
    asked, not_asked = (
        rounding_bounds(lambda x: jnp.minimum(x, 0.1), np.float32(1), dtype=F32, constants=constants).errors
        for constants in (True, False)
    )
    assert asked == pytest.approx(0.1 * U) and not_asked == 0


def test_a_subnormal_argument_may_be_flushed():
    x, n = np.array([1.5, 1e-40, 0], np.float32), np.array([2, 3])
    traced, shapes = jax.make_jaxpr(lambda x, n: (x, n, x * 2.0), return_shape=True)(x, n)
    got = bounds_of(traced, shapes, (x, n), Rounding(F32), False)
    np.testing.assert_array_equal(got.errors[0], [0, x[1].astype(np.float64), 0])
    np.testing.assert_array_equal(got.errors[1], [0, 0])
    assert got.errors[2][1] >= got.values[2][1] > 0
    exactly = bounds_of(traced, shapes, (x, n), Rounding(np.float64), False)
    assert all((errors == 0).all() for errors in exactly.errors[:2])


def test_a_comparison_of_equal_numbers_may_go_either_way_if_that_is_asked():
    slope = jax.grad(lambda x: jnp.where(x > 1, 3 * x, x).sum() + jnp.maximum(x, 2.0).sum() + jnp.abs(x).sum())
    x = np.array([0, 1, 2, 3], np.float32)
    traced, shapes = jax.make_jaxpr(slope, return_shape=True)(x)
    strict, either = (
        bounds_of(traced, shapes, (x,), Rounding(np.float64, inside=False, ties=t), False) for t in (False, True)
    )
    assert strict.errors.max() < 1e-14 and either.kinks == 3
    assert (either.errors[:3] >= 0.5).all() and either.errors[3] < 1e-14


def test_values_of_finer_arrays():
    x = np.array([0.1, 0.7])  # of float64, where float32 was traced
    traced = jax.make_jaxpr(lambda x: jnp.sin(x).astype(jnp.bfloat16) * 3.0)(x.astype(np.float32))
    (value,) = values_of(traced, [x])
    np.testing.assert_allclose(value, 3 * np.sin(x), rtol=1e-15)


def test_opaque_primitives_are_named():
    def host(x):
        return jax.pure_callback(lambda x: np.sin(x), jax.ShapeDtypeStruct((2,), np.float32), x)

    x = np.array([0.1, 0.7], np.float32)
    got = bound(lambda x: host(x) * 2.0, x)
    assert got.opaque == ("pure_callback",)
    assert bound(jnp.tan, x).opaque == bound(jnp.sin, x).opaque == ()
