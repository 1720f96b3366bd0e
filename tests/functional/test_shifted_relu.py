import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from pullback import parity
from pullback.functional import relu, shifted_relu, shifted_relu_bwd, shifted_relu_fwd
from pullback.parity.lesson import in_torch
from pullback.parity.lesson.in_jax import twin_shifted_relu

DTYPES = [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64]


def normal(*shape):
    return np.asarray(np.random.default_rng(0).standard_normal(shape)).astype(np.float32)


def gates():
    """A first and a last row that are on, so that what happens to them shows; and zeros."""
    x = normal(6, 5)
    return np.concatenate([np.abs(x[:1]), np.zeros((1, 5), np.float32), x, np.abs(x[-1:])])


def test_parity():
    parity.check(
        shifted_relu, gates(), np.float32(0.5), reference=twin_shifted_relu, torch=in_torch.shifted_relu
    ).raise_if_failed()


def test_parity_with_the_lessons_own():
    # Half is no argument here. At exactly 0 torch's clamp_min has the derivative 1 (from torch 2.14 on 0), and the
    # lesson's gradient by hand 0, as ours: no zeros, and the report says so if there they differ.
    at_zero = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(at_zero.clamp_min(0.0), at_zero)
    report = parity.check(
        shifted_relu, gates()[2:], reference=lambda x: jax.nn.relu(x) - 0.5, torch=lambda x: x.clamp_min(0.0) - 0.5
    )
    report.raise_if_failed()
    noted = [f.text for f in report.findings if f.check == "kinks" and f.about == "x = 0"]
    assert len(noted) == int(slope != 0)
    assert all(text.startswith("gradient rule 0, reference 0, torch ") for text in noted)


def test_planted_errors_are_caught():
    score = parity.mutants(shifted_relu, gates(), np.float32(-0.3), reference=twin_shifted_relu)
    assert score.ok, str(score)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (7,), (2, 3), (0,), (3, 0)])
def test_value_and_cotangents(shape, dtype):
    with jax.enable_x64(dtype == jnp.float64):
        x, y_bar = jnp.asarray(normal(*shape), dtype), jnp.asarray(np.ones(shape), dtype)
        y, pullback = jax.vjp(shifted_relu, x, jnp.asarray(0.25, dtype))
        x_bar, shift_bar = pullback(y_bar)
        by_hand = shifted_relu_bwd(shifted_relu_fwd(x, jnp.asarray(0.25, dtype))[1], y_bar)
    assert y.dtype == x_bar.dtype == shift_bar.dtype == dtype and shift_bar.shape == ()
    wide = np.asarray(x).astype(np.promote_types(np.float32, dtype) if dtype == jnp.float64 else np.float32)
    np.testing.assert_array_equal(y, (np.maximum(wide, 0) - wide.dtype.type(0.25)).astype(dtype), strict=True)
    np.testing.assert_array_equal(x_bar, np.where(np.asarray(x) > 0, y_bar, 0).astype(dtype), strict=True)
    assert float(shift_bar) == -np.prod(shape)
    for got, want in zip(by_hand, (x_bar, shift_bar), strict=True):
        np.testing.assert_array_equal(got, want, strict=True)


def test_shift_is_half_by_default_and_may_be_left_alone():
    x = jnp.asarray([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(shifted_relu(x), [-0.5, -0.5, 1.5])
    np.testing.assert_array_equal(jax.grad(lambda x: shifted_relu(x).sum())(x), [0, 0, 1])
    np.testing.assert_array_equal(np.asarray(shifted_relu(x, 0)), np.asarray(relu(x)))


def test_a_gate_is_not_read_off_the_output():
    # 1e-9 - 0.5 is -0.5, which looks like a unit that is off.
    assert shifted_relu(jnp.float32(1e-9)) == -0.5
    assert jax.grad(shifted_relu)(jnp.float32(1e-9)) == 1


@pytest.mark.parametrize("shift", [1, np.float32(1), 1.0, jnp.float32(1)])
def test_every_kind_of_number(shift):
    x = jnp.asarray([-1.0, 3.0], jnp.bfloat16)
    y, pullback = jax.vjp(lambda x: shifted_relu(x, shift), x)
    np.testing.assert_array_equal(y, jnp.asarray([-1.0, 2.0], jnp.bfloat16))
    np.testing.assert_array_equal(pullback(jnp.ones_like(y))[0], jnp.asarray([0, 1], jnp.bfloat16))


def test_a_traced_shift():
    x = jnp.asarray([[-1.0, 3.0], [2.0, 5.0]])
    shifts = jnp.asarray([0.5, 1.0])
    np.testing.assert_array_equal(jax.vmap(shifted_relu)(x, shifts), jax.nn.relu(x) - jnp.tile(shifts[:, None], (1, 2)))
    learned = jax.jit(jax.grad(lambda shift: jnp.sum(shifted_relu(x, shift) ** 2)))(jnp.float32(0.5))
    assert learned == -2 * jnp.sum(jax.nn.relu(x) - 0.5)


def test_forward_mode_agrees_with_the_rule_at_zero():
    curvature = jax.hessian(lambda x: (shifted_relu(x) + 0.5) ** 2 / 2)
    assert curvature(jnp.float32(0)) == 0
    assert curvature(jnp.float32(2)) == 1


@pytest.mark.parametrize("shift", [None, np.ones(3, np.float32), np.bool_(True), 1j])
def test_a_shift_that_is_no_number(as_a_user, shift):
    for call in (shifted_relu, shifted_relu_fwd):
        with pytest.raises(
            TypeError, match="shifted_relu: shift must be a real number or an array of one, without axes"
        ):
            call(jnp.ones(3), shift)


def test_a_whole_number_under_every_transformation():
    x, want = jnp.asarray([-1.0, 3.0]), [-1, 2]
    np.testing.assert_array_equal(jax.jit(shifted_relu)(x, 1), want)
    np.testing.assert_array_equal(jax.checkpoint(shifted_relu)(x, 1), want)
    np.testing.assert_array_equal(jax.vmap(shifted_relu, (0, None))(x, 1), want)
    np.testing.assert_array_equal(jax.lax.scan(lambda c, v: (c, shifted_relu(v, 1)), 0, x)[1], want)
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x, s: shifted_relu(x, s).sum()))(x, 1), [0, 1])


def test_integers_are_refused(as_a_user):
    with pytest.raises(TypeError, match=r"shifted_relu: x must be an array of float16.*got int32\[3\]"):
        jax.jit(shifted_relu)(jnp.arange(3))
