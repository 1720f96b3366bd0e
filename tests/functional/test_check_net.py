import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional._check_net import check_loss, check_net, check_params, check_targ

ONES = [(jnp.ones((3, 4)), jnp.ones(4)), (jnp.ones((4, 2)), None)]


def test_the_one_dtype_of_a_net():
    x, targ = np.ones((5, 3), np.float32), np.ones((5, 2), np.float32)
    assert check_params("op", ONES) == check_net("op", ONES, x) == check_loss("op", ONES, x, targ) == np.float32
    assert check_loss("op", ONES, x.astype(np.uint8), targ, raw=True) == np.float32


def test_raw_bytes_only_where_they_may_be():
    text = r"op: x must be an array of float16.*got uint8\[5,3\]. Cast it: x.astype\('float32'\)"
    with pytest.raises(TypeError, match=text):
        check_net("op", ONES, np.ones((5, 3), np.uint8))


def test_a_leaf_is_named_by_its_place():
    with pytest.raises(TypeError, match=r"op: params\[1\]'s w must be an array of .*; got list. Make an array of it"):
        check_params("op", [ONES[0], ([[1.0]], None)])
    with pytest.raises(
        ValueError, match=r"op: the first axis of params\[1\]'s w must match .* params\[0\]'s w float32"
    ):
        check_params("op", [ONES[0], (jnp.ones((3, 2)), None)])
    with pytest.raises(TypeError, match=r"op: params\[0\]'s w and targ must have the same dtype"):
        check_loss("op", ONES, np.ones((5, 3), np.uint8), jnp.ones((5, 2), jnp.bfloat16), raw=True)


@pytest.mark.parametrize("shape", [(4, 2), (4, 2, 1)])
def test_an_output_has_targs_shape_or_one_more_axis_of_1(shape):
    check_targ("op", "output", shape, np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"op: output must have targ's shape \(4,\) or \(4, 1\); got output it and"):
        check_targ("op", "it", shape, np.ones(4))
