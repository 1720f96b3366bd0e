import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional._labels import at_label, check_labels, is_label, row_weights


def test_weights_of_rows():
    labels = jnp.asarray([0, 3, 4, -1, -100])
    np.testing.assert_array_equal(row_weights(labels, 4, -100, jnp.float32), [1, 1, np.nan, np.nan, 0])
    np.testing.assert_array_equal(row_weights(labels, 4, 3, jnp.float32), [1, 0, np.nan, np.nan, np.nan])


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.uint8, jnp.uint32])
def test_numbers_that_the_labels_dtype_cannot_hold(dtype):
    # No uint8 is -100, and every int8 from 0 on is one of 300 classes.
    labels = jnp.asarray([0, 100, 127], dtype)
    np.testing.assert_array_equal(row_weights(labels, 300, -1000, jnp.float32), [1, 1, 1])
    np.testing.assert_array_equal(row_weights(jnp.asarray([156], jnp.uint8), 300, -100, jnp.float32), [1])
    x = jnp.arange(900.0).reshape(3, 300)
    np.testing.assert_array_equal(at_label(x, labels), [0, 400, 727])
    np.testing.assert_array_equal(jnp.argmax(is_label(labels, 300), -1), [0, 100, 127])


def test_at_label_stays_in_the_row():
    x = jnp.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(at_label(x, jnp.asarray([-100, 2**31 - 1])), [0, 5])


def test_labels_that_are_not_known_are_let_through():
    def traced(labels):
        check_labels("op", labels, (2,), 3, "logits", -100, "mean")
        return labels

    jax.jit(traced)(jnp.asarray([7, 8]))
    with pytest.raises(ValueError, match=r"op: labels must be classes from 0 to 2, .*; got 7 at \[0\], and 1 more"):
        traced(jnp.asarray([7, 8]))
