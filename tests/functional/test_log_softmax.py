import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.functional import log_softmax, log_softmax_bwd, log_softmax_fwd
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_log_softmax

DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


def logits(*shape, scale=3.0):
    return jnp.asarray(scale * np.random.default_rng(0).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4), (6,)], ids=str)
def test_parity(shape):
    report = parity.check(log_softmax, logits(*shape), reference=twin_log_softmax, torch=in_torch.log_softmax)
    report.raise_if_failed()
    assert [f.about for f in report.findings if f.check == "rule ran" and f.status == "pass"] == ["log_softmax"]


def test_planted_errors_are_caught():
    score = parity.mutants(log_softmax, logits(5, 7), reference=twin_log_softmax)
    assert score.ok, str(score)


def wrong_sum(residuals, y_bar):
    """The classic one: the sum over all elements, where it is each row's."""
    x, peak, total = residuals
    return (y_bar - jnp.exp(x - peak) / total * jnp.sum(y_bar),)


def test_a_sum_over_the_whole_batch_is_caught():
    wrong = jax.custom_vjp(lambda x: log_softmax(x))
    wrong.defvjp(log_softmax_fwd, wrong_sum)
    report = parity.check(wrong, logits(5, 7), reference=twin_log_softmax, dtypes=("float32",))
    assert not report.ok and report.culprits == ["rule"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4,), (3, 8), (2, 1, 2), (0, 3), (2, 0), (3, 1)])
def test_equal_logits_are_exact_in_every_dtype(shape, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        y, residuals = log_softmax_fwd(jnp.full(shape, 3, dtype))
        (x_bar,) = log_softmax_bwd(residuals, jnp.ones(shape, dtype))
        want = jnp.full(shape, -np.log(max(shape[-1], 1)), dtype)
    assert (y.dtype, x_bar.dtype, x_bar.shape) == (dtype, dtype, shape)
    np.testing.assert_array_equal(y, want, strict=True)
    # A constant added to a row changes nothing: its gradient is 0, but for the roundings of the row's sum.
    np.testing.assert_allclose(
        x_bar, np.zeros(shape), atol=8 * float(jnp.finfo(np.promote_types(dtype, np.float32)).eps)
    )


@pytest.mark.parametrize(
    "row",
    [
        [1e4, 0, -1e4],
        [3e38, -3e38, 0],
        [-1e4, -1e4, -1e4],
        [-np.inf, 1, 2],
        [-np.inf, -np.inf, 2],
        [-np.inf, -np.inf, -np.inf],
        [np.inf, 1, 2],
        [np.inf, np.inf, -np.inf],
        [np.nan, 1, 2],
        [5, 5, 5],
    ],
    ids=str,
)
def test_kinks_are_jaxs_and_torchs(row):
    x, bar = (jnp.asarray(a, jnp.float32) for a in ([row, [0, 1, 2]], [[1, 2, 3], [3, 1, 2]]))
    y, pullback = jax.vjp(log_softmax, x)
    y_jax, pullback_jax = jax.vjp(jax.nn.log_softmax, x)
    tensor = torch.tensor(np.asarray(x), requires_grad=True)
    y_torch = torch.log_softmax(tensor, -1)
    (bar_torch,) = torch.autograd.grad(y_torch, tensor, torch.tensor(np.asarray(bar)))
    for got, others in (
        (y, (y_jax, y_torch.detach())),
        (pullback(bar)[0], (pullback_jax(bar)[0], bar_torch)),
    ):
        for other in others:
            np.testing.assert_allclose(got, np.asarray(other), rtol=1e-6, atol=1e-6)
    assert np.isfinite(y[1]).all()  # one row does not touch another


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_sums_in_float32(dtype):
    # 5,000 ones, added up in bfloat16, come to 256.
    y, pullback = jax.vjp(log_softmax, jnp.zeros(5000, dtype))
    assert (y == jnp.asarray(-np.log(5000), dtype)).all()
    (x_bar,) = pullback(jnp.ones(5000, dtype))
    assert np.abs(x_bar).max() < 1e-6  # where a sum of 256 would leave 0.95


def test_far_from_zero_a_probability_keeps_its_digits():
    # Beside 10,000, float32 rounds logsumexp to steps of 0.001.
    x = logits(1, 5)
    bar = jnp.asarray([[1, 0, 0, 0, 0]], jnp.float32)
    near, far = (jax.vjp(log_softmax, jnp.round(8 * x) / 8 + shift)[1](bar)[0] for shift in (0, 8192))
    np.testing.assert_array_equal(near, far)


def test_transformations():
    x = logits(4, 5)
    loss = lambda f: lambda x: jnp.sum(f(x)[..., 0] ** 2)  # noqa: E731
    want = jax.grad(loss(jax.nn.log_softmax))(x)
    for got in (
        jax.grad(loss(log_softmax))(x),
        jax.jit(jax.grad(loss(jax.checkpoint(log_softmax))))(x),
        jax.vmap(jax.grad(loss(log_softmax)))(x),
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_second_derivatives():
    x = logits(5, scale=1.0)
    for second in (jax.hessian, lambda f: jax.jacrev(jax.grad(f))):
        got, want = (second(lambda x: jnp.sum(f(x)[:2] ** 2))(x) for f in (log_softmax, jax.nn.log_softmax))  # noqa: B023
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("call", [log_softmax, log_softmax_fwd], ids=["op", "fwd"])
def test_what_does_not_fit(as_a_user, call):
    with pytest.raises(ValueError, match=r"log_softmax: x must have a last axis, of classes; got x float32\[\]"):
        call(jnp.float32(1))
    with pytest.raises(TypeError, match=r"log_softmax: x must be an array of float16.*; got int32\[3\]"):
        call(jnp.arange(3))
