import functools
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import init_mlp, mlp_loss, sgd_epoch
from pullback.parity.lesson import in_jax

ORDER = np.random.default_rng(0).permutation(40).astype(np.int32).reshape(5, 8)


def whole(seed, *shape, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).integers(-1, 2, shape), dtype)


def arguments(sizes=(6, 4, 1), dtype=jnp.float32, bias=True):
    weights = list(zip(sizes[:-1], sizes[1:], strict=True))
    params = [
        (whole(k, *shape, dtype=dtype), whole(9 + k, shape[1], dtype=dtype) if bias else None)
        for k, shape in enumerate(weights)
    ]
    return params, whole(20, 40, 6, dtype=dtype), whole(21, 40, sizes[-1], dtype=dtype)


def step_by_step(loss, params, x, targ, order, lr):
    losses = []
    for rows in order:
        value, grads = jax.value_and_grad(loss)(params, x[rows], targ[rows])
        params = jax.tree.map(lambda p, g: p - jnp.asarray(lr, p.dtype) * g, params, grads)
        losses.append(value)
    return params, losses


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [(6, 2), (6, 4, 1), (6, 4, 3, 2)])
def test_one_step_is_exact(sizes, bias):
    params, x, targ = arguments(sizes, bias=bias)
    got, losses = sgd_epoch(params, x, targ, ORDER[:1], 0.5)
    want, (loss,) = step_by_step(mlp_loss, params, x, targ, ORDER[:1], 0.5)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, params)
    chex.assert_trees_all_equal(got, want)
    np.testing.assert_array_equal(losses, [loss])
    assert any(np.any(a != b) for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(params), strict=True))


def test_many_steps_of_uint8_are_those_of_a_plain_loop_in_float64():
    rng = np.random.default_rng(3)
    pixels, digits = rng.integers(0, 256, (400, 784)).astype(np.uint8), rng.integers(0, 10, 400).astype(np.float32)
    params = init_mlp(jax.random.key(0), (784, 50, 1))
    order = rng.permutation(400).astype(np.int32).reshape(50, 8)
    mean, std, lr = 33.3, 78.6, 1e-3
    got, losses = jax.jit(sgd_epoch)(params, jnp.asarray(pixels), jnp.asarray(digits), order, lr, mean=mean, std=std)
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    with jax.enable_x64(True):
        x = (jnp.asarray(pixels.astype(np.float64)) - mean) / std
        want, want_losses = step_by_step(in_jax.twin_loss, wide, x, jnp.asarray(digits.astype(np.float64)), order, lr)
    # 50 steps multiply a rounding error by what the net's curvature makes of it: no bound is derived for that. The
    # distance walked is 1e4 times what is allowed here.
    for leaf, right, start in zip(*map(jax.tree.leaves, (got, want, wide)), strict=True):
        right = np.asarray(right)
        assert np.abs(np.asarray(leaf, np.float64) - right).max() <= 1e-4 * np.abs(right - start).max()
    np.testing.assert_allclose(losses, want_losses, rtol=1e-4)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_keeps_its_dtype(dtype):
    params, x, targ = arguments(dtype=dtype)
    got, losses = sgd_epoch(params, x, targ, ORDER[:1], 0.5)
    want, _ = sgd_epoch(*arguments(), ORDER[:1], 0.5)
    chex.assert_trees_all_equal_shapes_and_dtypes(got, params)
    assert losses.dtype == dtype
    for leaf, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(leaf.astype(jnp.float32), right, rtol=0.02, atol=0.02)


def test_params_may_be_donated():
    params, x, targ = arguments()
    kept = jax.tree.map(jnp.copy, params)
    got, _ = jax.jit(sgd_epoch, donate_argnums=0)(params, x, targ, ORDER, 0.01)
    chex.assert_trees_all_equal(got, jax.jit(sgd_epoch)(kept, x, targ, ORDER, 0.01)[0])
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(params)), "then the epoch needs params twice"


def test_memory_is_that_of_a_step():
    """No copy of the data, widened or shuffled: 157 MB and 39 MB they would be."""
    f32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    params = [(f32((784, 50)), f32((50,))), (f32((50, 1)), f32((1,)))]
    x, order = jax.ShapeDtypeStruct((50_000, 784), jnp.uint8), jax.ShapeDtypeStruct((781, 64), jnp.int32)
    compiled = jax.jit(sgd_epoch).lower(params, x, f32((50_000,)), order, 0.1, mean=33.3, std=78.6).compile()
    memory = compiled.memory_analysis()
    assert memory is not None and memory.temp_size_in_bytes < 4e6


def test_an_index_out_of_range_takes_the_nearest_row():
    params, x, targ = arguments()
    far, last = (np.asarray([[0, 3, row]], np.int32) for row in (99, 39))
    chex.assert_trees_all_equal(*(sgd_epoch(params, x, targ, order, 0.5) for order in (far, last)))


REFUSED = [
    ({"order": ORDER.astype(np.float32)}, TypeError, "order must be an array of integers; got float32[5,8]"),
    ({"order": ORDER[0]}, ValueError, "order must be [steps, batch], with a batch of at least 1; got int32[8]"),
    ({"order": ORDER[:, :0]}, ValueError, "with a batch of at least 1; got int32[5,0]"),
    ({"targ": jnp.zeros(39)}, ValueError, "targ have its n, of at least 1; got x float32[40,6] and targ float32[39]"),
    ({"x": jnp.zeros((40, 5))}, ValueError, "the first axis of params[0]'s w must match the last axis of x"),
    ({"lr": "fast"}, TypeError, "lr must be a real number or an array of one, without axes; got str"),
    ({"std": jnp.ones(2)}, TypeError, "std must be a real number or an array of one, without axes; got float32[2]"),
]


@pytest.mark.parametrize("wrong, error, text", REFUSED)
def test_what_is_refused(wrong, error, text, as_a_user):
    params, x, targ = arguments()
    with pytest.raises(error, match=re.escape(text)):
        sgd_epoch(**({"params": params, "x": x, "targ": targ, "order": ORDER, "lr": 0.1} | wrong))
