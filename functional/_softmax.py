"""What softmax's rules share: each row's largest number, and the logarithm of its sum of exponentials.

    log_softmax(x) = (x - peak) - log_sum          with peak = max x  and  log_sum = log(sum of exp(x - peak))

Two numbers, and not their sum logsumexp(x): beside a peak of 10,000, float32 rounds log_sum to a step of 0.001, and
exp would make that an error of 0.1% in every probability.
"""

import jax
import jax.numpy as jnp

from ._typing import Array


def row_norms(x: Array) -> tuple[Array, Array]:
    """Returns `(peak, log_sum)` of the last axis, each with a last axis of 1, in x's dtype."""
    # The result does not depend on peak, so that nothing has to be differentiated through it.
    peak = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf))
    return peak, jnp.log(jnp.sum(jnp.exp(x - peak), axis=-1, keepdims=True))


def log_probabilities(x: Array, peak: Array, log_sum: Array) -> Array:
    """Returns the logarithms of softmax(x), from x and its `row_norms`."""
    return (x - peak) - log_sum
