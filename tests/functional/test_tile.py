import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import mlp_bwd, mlp_fwd
from pullback.functional._tile import checked_mask, dot, of_rows, tile_pass, turn, turn_back, whole_batch


def whole(seed, *shape):
    """Small whole numbers: every sum of products is exact."""
    return jnp.asarray(np.random.default_rng(seed).integers(-2, 3, shape), jnp.float32)


@pytest.mark.parametrize("sizes", [(6, 3), (6, 4, 1), (6, 4, 5, 2)])
def test_a_tile_is_forward_and_backward_of_its_rows(sizes):
    params = [(whole(k, m, n), whole(9 + k, n)) for k, (m, n) in enumerate(zip(sizes[:-1], sizes[1:], strict=True))]
    x, targ = whole(20, 8, 6), whole(21, 8, sizes[-1])
    output, residuals = mlp_fwd(params, x)
    grads, x_bar = mlp_bwd(residuals, 2 * (output - targ))
    tile = tile_pass(turn(params), x, targ.T, 2.0)
    np.testing.assert_array_equal(tile.squares, jnp.sum((output - targ) ** 2))
    np.testing.assert_array_equal(tile.output_bar.T, 2 * (output - targ))
    np.testing.assert_array_equal(dot(tile.z1_bar, params[0][0], 0, 1), x_bar)
    chex.assert_trees_all_equal(turn_back(tile.sums, params), grads)


def test_both_orders_of_a_weight_are_kept():
    params = [(whole(0, 6, 4), None)]
    (layer,) = turn(params)
    np.testing.assert_array_equal(layer.w, layer.w_t.T)
    assert layer.b is None and turn_back([(layer.w_t, None)], params)[0][1] is None


def test_half_precision_adds_up_in_float32():
    assert dot(jnp.ones((2, 3), jnp.bfloat16), jnp.ones((3, 2), jnp.bfloat16), 1, 0).dtype == jnp.float32


def test_a_masked_column_adds_nothing():
    params, x, targ = [(whole(0, 6, 4), whole(1, 4)), (whole(2, 4, 2), whole(3, 2))], whole(20, 8, 6), whole(21, 8, 2)
    kept = np.isin(np.arange(8), [0, 3, 4])
    tile = tile_pass(turn(params), x, targ.T, 2.0, of_rows(jnp.asarray(kept)))
    alone = tile_pass(turn(params), x[kept], targ[kept].T, 2.0, of_rows(None))
    assert np.any(alone.z1_bar), "a dead net proves nothing"
    chex.assert_trees_all_equal((tile.squares, tile.sums), (alone.squares, alone.sums))
    for got, want in ((tile.z1_bar, alone.z1_bar), (tile.output_bar, alone.output_bar)):
        np.testing.assert_array_equal(got[:, kept], want)
        assert not np.any(got[:, ~kept])


@pytest.mark.parametrize("mask, count", [(None, 12), ([True, False, True, True], 9), ([False] * 4, 0)])
def test_the_whole_batch_counts_elements_of_targ(mask, count):
    """4 rows of 3; along a mapped axis, all of it is added up."""
    mask = None if mask is None else jnp.asarray(mask)
    squares, sums = jnp.float32(5), [(whole(0, 4, 6), None), (whole(1, 3, 4), whole(2, 3, 1))]
    acc = np.dtype(np.float32)
    chex.assert_trees_all_equal(whole_batch(squares, sums, 12, mask, None, acc), (squares, sums, jnp.float32(count)))
    part = jax.vmap(lambda k: whole_batch(k * squares, sums, 12, mask, "parts", acc), axis_name="parts")
    total, added, of_all = part(jnp.float32([1, 2]))
    assert total.tolist() == [15, 15] and of_all.tolist() == [2 * count] * 2
    chex.assert_trees_all_equal(added, jax.tree.map(lambda a: jnp.stack([2 * a] * 2), sums))


def test_a_mask_is_bools_of_one_shape():
    assert checked_mask("op", np.ones(3, bool), (3,), "x").dtype == jnp.bool_
    with pytest.raises(TypeError, match=r"op: mask must be an array of bools; got int32\[3\]"):
        checked_mask("op", np.ones(3, np.int32), (3,), "x")
    with pytest.raises(ValueError, match=r"op: mask must have the shape of x, \(4,\); got bool\[3\]"):
        checked_mask("op", np.ones(3, bool), (4,), "x")
