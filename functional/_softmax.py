"""What softmax's rules share: each row's largest number, and its sum of exponentials beside that.

    log_softmax(x) = (x - peak) - log(total)       with peak = max x  and  total = sum of exp(x - peak)
    softmax(x)     = exp(x - peak) / total

Two numbers, and not the one logsumexp(x) = peak + log(total): beside a peak of 10,000, float32 rounds it to a step of
0.001, and exp would make that an error of 0.1% in every probability. Where forward and backward are in one program,
exp(x - peak) is made once.
"""

import jax
import jax.numpy as jnp

from ._typing import Array


def peak_and_total(x: Array) -> tuple[Array, Array]:
    """Returns `(peak, total)` of the last axis, each with a last axis of 1, in x's dtype."""
    # The result does not depend on peak, so that nothing has to be differentiated through it.
    peak = jax.lax.stop_gradient(jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf))
    return peak, jnp.sum(jnp.exp(x - peak), axis=-1, keepdims=True)


def log_probabilities(x: Array, peak: Array, total: Array) -> Array:
    """Returns the logarithms of softmax(x), from x and its `peak_and_total`."""
    return (x - peak) - jnp.log(total)


def probabilities(x: Array, peak: Array, total: Array) -> Array:
    """Returns softmax(x), from x and its `peak_and_total`."""
    return jnp.exp(x - peak) / total
