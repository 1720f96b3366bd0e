import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional._softmax import log_probabilities, row_norms


def test_peak_and_log_sum():
    x = jnp.asarray([[1.0, 3, 3], [-jnp.inf, 0, -jnp.inf], [-1e4, -1e4, 1e4]])
    peak, log_sum = row_norms(x)
    assert peak.shape == log_sum.shape == (3, 1)
    np.testing.assert_array_equal(peak[:, 0], [3, 0, 1e4])
    np.testing.assert_allclose(log_sum[:, 0], [np.log(2 + np.exp(-2)), 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(log_probabilities(x, peak, log_sum)[1], [-np.inf, 0, -np.inf])


def test_probabilities_beside_a_large_peak():
    # As x - logsumexp(x) they are off by 0.1%: float32's step at 40,000 is 0.004.
    x = jnp.asarray([[40_000.0, 40_000, 40_000]])
    np.testing.assert_allclose(jnp.exp(log_probabilities(x, *row_norms(x))), 1 / 3, rtol=1e-6)
    rounded = jnp.exp(x - (40_000 + jnp.log(3.0)))
    assert np.abs(3 * rounded - 1).max() > 1e-4


def test_nothing_is_differentiated_through_the_peak():
    x = jnp.asarray([2.0, 2, 1])
    for total in (lambda x: row_norms(x)[0].sum(), lambda x: sum(a.sum() for a in row_norms(x))):
        slope = jax.grad(total)(x)
    np.testing.assert_allclose(slope, jax.nn.softmax(x), rtol=1e-6)
    assert not jax.grad(lambda x: row_norms(x)[0].sum())(x).any()


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_nothing(shape):
    peak, log_sum = row_norms(jnp.ones(shape))
    assert peak.shape == log_sum.shape == (*shape[:-1], 1)
