import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from pullback.parity.layers.port import take_apart
from pullback.parity.model.gradients import with_gradients

X = np.arange(3, dtype=np.float32)
PARAMS = {"w": np.asarray([1, 2, 3], np.float32), "b": np.asarray([4, 5, 6], np.float32)}


def affine(params, x, ids):
    return params["w"][ids] * x + params["b"], jnp.argmax(x)


def test_gradients_by_name_then_the_outputs_those_that_are_no_numbers_too():
    ids = np.array([0, 0, 2])
    port = take_apart((affine, PARAMS), (X, ids), {})
    closed = with_gradients(port, (port.params, X, ids))
    leaves = jax.tree.leaves((port.params, X, ids))
    b_bar, w_bar, x_bar, y, index = (np.asarray(leaf) for leaf in jaxpr_as_fun(closed)(*leaves))
    for bar, of in ((b_bar, PARAMS["b"]), (w_bar, PARAMS["w"]), (x_bar, X)):
        assert bar.shape == of.shape and not np.any(bar)  # the cotangents are put in by who walks the trace
    np.testing.assert_array_equal(y, PARAMS["w"][ids] * X + PARAMS["b"])
    assert index == 2
