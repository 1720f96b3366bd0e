"""Batches that are masked, or divided along an axis: the fused step and the epoch make of them what the whole gives."""

import re
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import (
    forward_and_backward,
    fused_forward_and_backward,
    fused_value_and_grad,
    sgd_epoch,
)

SIZES = (6, 4, 4)
# 8 of 16, 3 in the first half and 5 in the second: whole numbers over 8 × 4 or 16 × 4 are exact.
KEPT = np.array([1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 0], bool)


def arguments(n=16, dtype="float32") -> Any:
    """Whole numbers, of which every sum is exact."""
    rng = np.random.default_rng(0)
    weights = list(zip(SIZES[:-1], SIZES[1:], strict=True))
    params = [
        (jnp.asarray(rng.integers(-1, 2, w), dtype), jnp.asarray(rng.integers(-2, 3, w[1]), dtype)) for w in weights
    ]
    return params, jnp.asarray(rng.integers(-2, 3, (n, 6)), dtype), jnp.asarray(rng.integers(0, 10, (n, 4)), dtype)


def same(got: Any, want: Any) -> None:
    chex.assert_trees_all_equal_shapes_and_dtypes(got, want)
    chex.assert_trees_all_equal(got, want)


@pytest.mark.parametrize("tile_rows", [None, 1, 5, 16])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_masked_row_counts_for_nothing(reduction, tile_rows):
    params, x, targ = arguments()
    options: Any = {"reduction": reduction, "tile_rows": tile_rows}
    padded = jnp.where(KEPT[:, None], x, 99.0)
    loss, grads, x_bar = fused_forward_and_backward(params, padded, targ, mask=KEPT, **options)
    want_loss, want_grads, want_x_bar = fused_forward_and_backward(params, x[KEPT], targ[KEPT], **options)
    same(fused_value_and_grad(params, padded, targ, mask=KEPT, **options), (want_loss, want_grads))
    assert np.any(want_x_bar)
    same((loss, grads, x_bar[KEPT]), (want_loss, want_grads, want_x_bar))
    assert not np.any(x_bar[~KEPT])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_keeps_its_dtype(dtype):
    """A mean over 8 rows of 4 only moves the point, and no sum is wider than float32: exact."""
    params, x, targ = arguments(dtype=dtype)
    loss, grads, x_bar = fused_forward_and_backward(params, x, targ, mask=KEPT)
    same((loss, grads, x_bar[KEPT]), forward_and_backward(params, x[KEPT], targ[KEPT]))


def test_a_mask_may_be_traced_and_all_true_or_all_false():
    params, x, targ = arguments()
    step = jax.jit(lambda mask: fused_value_and_grad(params, x, targ, mask=mask))
    same(step(np.ones(16, bool)), fused_value_and_grad(params, x, targ))
    loss, grads = step(np.zeros(16, bool))
    assert np.isnan(loss) and not any(np.any(leaf) for leaf in jax.tree.leaves(grads)), "as for no rows at all"


def test_raw_pixels_are_masked_too():
    params, x, targ = arguments()
    pixels, moments = (x + 2).astype("uint8"), dict[str, Any](mean=2.0, std=1.0)
    got = fused_value_and_grad(params, pixels, targ, mask=KEPT, **moments)
    same(got, fused_value_and_grad(params, x[KEPT], targ[KEPT]))


def halves(a: Any) -> Any:
    return a.reshape(2, -1, *a.shape[1:])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_along_an_axis_each_has_the_whole_batchs_gradients(reduction, masked):
    """The halves keep 3 and 5 rows: a mean of their means would be wrong."""
    params, x, targ = arguments()
    options: Any = {"reduction": reduction, "tile_rows": 4}
    kept = KEPT if masked else np.ones(16, bool)

    def half(x, targ, mask):
        mask = mask if masked else None
        return fused_forward_and_backward(params, x, targ, mask=mask, axis_name="halves", **options)

    loss, grads, x_bar = jax.vmap(half, axis_name="halves")(halves(x), halves(targ), halves(jnp.asarray(kept)))
    want = fused_forward_and_backward(params, x[kept], targ[kept], **options)
    for k in range(2):
        of_one = jax.tree.map(lambda leaf, k=k: leaf[k], (loss, grads))
        same(of_one, want[:2])
    same(x_bar.reshape(16, 6)[kept], want[2])


ORDER = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 9, 9]], np.int32)
PLACES = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]], bool)


def test_the_last_step_of_an_epoch_may_be_smaller():
    params, x, targ = arguments()
    got, losses = sgd_epoch(params, x, targ, ORDER, 0.5, mask=PLACES)
    want, first = sgd_epoch(params, x, targ, ORDER[:2], 0.5)
    want, last = sgd_epoch(want, x, targ, ORDER[2:, :2], 0.5)
    chex.assert_trees_all_close(got, want, rtol=1e-5)
    np.testing.assert_allclose(losses, np.concatenate([first, last]), rtol=1e-5)
    other, _ = sgd_epoch(params, x, targ, ORDER, 0.5)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(other), strict=True))


def test_a_step_without_rows_changes_nothing():
    params, x, targ = arguments()
    got, losses = sgd_epoch(params, x, targ, ORDER[:1], 0.5, mask=np.zeros((1, 4), bool))
    chex.assert_trees_all_equal(got, params)
    assert np.isnan(losses[0])


@pytest.mark.parametrize("masked", [False, True])
def test_an_epoch_along_an_axis_is_that_of_the_whole_batch(masked):
    """Each half has rows of its own, and takes two of them a step."""
    params, x, targ = arguments()
    order = np.array([[[0, 1], [2, 3], [4, 5]], [[5, 4], [3, 2], [1, 0]]], np.int32)
    mask = np.array([[[1, 1], [1, 0], [1, 1]], [[1, 1], [1, 1], [0, 0]]], bool)

    def half(x, targ, order, mask):
        return sgd_epoch(params, x, targ, order, 0.25, mask=mask if masked else None, axis_name="halves")

    got, losses = jax.vmap(half, axis_name="halves")(halves(x), halves(targ), order, mask)
    whole_order = np.concatenate([order[0], order[1] + 8], axis=1)
    places = np.concatenate([mask[0], mask[1]], axis=1) if masked else None
    want, want_losses = sgd_epoch(params, x, targ, whole_order, 0.25, mask=places)
    for k in range(2):
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, k=k: leaf[k], got), want, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(losses[k], want_losses, rtol=1e-5)


REFUSED = [
    (np.ones(16, "float32"), TypeError, "mask must be an array of bools; got float32[16]"),
    ([True] * 16, TypeError, "mask must be an array of bools; got list"),
    (np.ones(15, bool), ValueError, "mask must have the shape of x's leading axes, (16,); got bool[15]"),
    (np.ones((16, 1), bool), ValueError, "mask must have the shape of x's leading axes, (16,); got bool[16,1]"),
]


@pytest.mark.parametrize("mask, error, text", REFUSED)
def test_a_mask_that_does_not_fit_is_refused(mask, error, text, as_a_user):
    with pytest.raises(error, match=re.escape(f"fused_value_and_grad: {text}")):
        fused_value_and_grad(*arguments(), mask=mask)


def test_a_mask_of_places_that_does_not_fit_is_refused(as_a_user):
    with pytest.raises(
        ValueError, match=re.escape("sgd_epoch: mask must have the shape of order, (3, 4); got bool[16]")
    ):
        params, x, targ = arguments()
        sgd_epoch(params, x, targ, ORDER, 0.1, mask=np.ones(16, bool))
