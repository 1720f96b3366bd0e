import chex
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional import mlp_bwd, mlp_fwd
from pullback.functional._tile import dot, tile_pass, turn, turn_back


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
