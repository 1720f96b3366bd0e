import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback.functional._softmax import log_probabilities, peak_and_total, probabilities


def test_two_numbers_a_row():
    x = jnp.asarray([[1.0, 3, 3], [-jnp.inf, 0, -jnp.inf], [-1e4, -1e4, 1e4]])
    peak, total = peak_and_total(x)
    assert peak.shape == total.shape == (3, 1)
    np.testing.assert_array_equal(peak[:, 0], [3, 0, 1e4])
    np.testing.assert_allclose(total[:, 0], [2 + np.exp(-2), 1, 1], rtol=1e-6)
    np.testing.assert_array_equal(log_probabilities(x, peak, total)[1], [-np.inf, 0, -np.inf])


def test_probabilities_beside_a_large_peak():
    # As x - logsumexp(x) they are off by 0.1%: float32's step at 40,000 is 0.004.
    x = jnp.asarray([[40_000.0, 40_000, 40_000]])
    np.testing.assert_allclose(probabilities(x, *peak_and_total(x)), 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(log_probabilities(x, *peak_and_total(x)), -np.log(3), rtol=1e-6)
    rounded = jnp.exp(x - (40_000 + jnp.log(3.0)))
    assert np.abs(3 * rounded - 1).max() > 1e-4


def test_nothing_is_differentiated_through_the_peak():
    x = jnp.asarray([2.0, 2, 1])
    assert not jax.grad(lambda x: peak_and_total(x)[0].sum())(x).any()
    slope = jax.grad(lambda x: log_probabilities(x, *peak_and_total(x))[2])(x)
    np.testing.assert_allclose(slope, jnp.asarray([0.0, 0, 1]) - jax.nn.softmax(x), rtol=1e-6)


@pytest.mark.parametrize("shape", [(0,), (2, 0), (0, 3)])
def test_nothing(shape):
    peak, total = peak_and_total(jnp.ones(shape))
    assert peak.shape == total.shape == (*shape[:-1], 1)
