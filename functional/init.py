"""Initial weights: who chooses the standard deviation, and why.

    Xavier    std = sqrt(2 / (fan_in + fan_out))          keeps the variance through a linear layer, a
                                                          compromise between forward and backward
    Kaiming   std = sqrt(2 / ((1 + a^2) fan))             keeps it through a layer and the rectifier after it,
                                                          a its slope below zero (0: relu, 1: no rectifier)

Sources: Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS
2010, eq. 12; He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2, eq. 10, 14 and 15.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

from ._check import accumulator
from ._typing import Array, Float


def _fans(op: str, shape: Sequence[int]) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight `[fan_in, fan_out]`."""
    if len(shape) != 2 or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(f"{op}: shape must be (fan_in, fan_out), two positive integers; got {shape!r}")
    return shape[0], shape[1]


def _normal(key: Array, shape: Sequence[int], std: float, dtype: jax.typing.DTypeLike | None) -> Array:
    dtype = jnp.result_type(float) if dtype is None else jnp.dtype(dtype)
    # Drawn in float32 at least: a normal drawn in half precision has no tails.
    drawn = jax.random.normal(key, tuple(shape), accumulator(dtype))
    return (drawn * std).astype(dtype)


def xavier_normal(
    key: Array, shape: Sequence[int], *, dtype: jax.typing.DTypeLike | None = None
) -> Float[Array, "fan_in fan_out"]:
    """Normal weights `[fan_in, fan_out]` of mean 0 and std `sqrt(2 / (fan_in + fan_out))`.

    dtype: jax's default float if None. Raises ValueError if `shape` is not two positive integers.
    Source: Glorot & Bengio 2010, eq. 12.
    """
    fan_in, fan_out = _fans("xavier_normal", shape)
    return _normal(key, shape, math.sqrt(2 / (fan_in + fan_out)), dtype)


def kaiming_normal(
    key: Array,
    shape: Sequence[int],
    mode: Literal["fan_in", "fan_out"] = "fan_in",
    negative_slope: float = 0.0,
    *,
    dtype: jax.typing.DTypeLike | None = None,
) -> Float[Array, "fan_in fan_out"]:
    """Normal weights `[fan_in, fan_out]` of mean 0 and std `sqrt(2 / ((1 + negative_slope^2) fan))`.

    mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients. negative_slope: of the
    rectifier that follows; 0 for relu, 1 where none follows. dtype: jax's default float if None.
    Raises ValueError if `shape` is not two positive integers or `mode` is neither of the two.
    Source: He et al. 2015, eq. 10, 14 and 15.
    """
    fan_in, fan_out = _fans("kaiming_normal", shape)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming_normal: mode must be 'fan_in' or 'fan_out'; got {mode!r}")
    fan = fan_in if mode == "fan_in" else fan_out
    return _normal(key, shape, math.sqrt(2 / ((1 + negative_slope**2) * fan)), dtype)


def init_mlp(
    key: Array, sizes: Sequence[int], *, dtype: jax.typing.DTypeLike | None = None
) -> list[tuple[Array, Array]]:
    """Parameters `[(w1, b1), (w2, b2), ...]` of a dense net with relu between its layers.

    sizes: width of the input, of each hidden layer, and of the output: `(784, 50, 1)` for the lesson's net.
    Weights are Kaiming normal for the layer that follows them: slope 0 before a relu, slope 1 in the last
    layer, which none follows. Biases are 0. dtype: jax's default float if None.
    Raises ValueError if `sizes` is not at least two positive integers.
    """
    sizes = tuple(sizes)
    if len(sizes) < 2 or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ValueError(f"init_mlp: sizes must be at least two positive integers; got {sizes!r}")
    params = []
    last = len(sizes) - 2
    for layer, layer_key in enumerate(jax.random.split(key, len(sizes) - 1)):
        shape = sizes[layer : layer + 2]
        w = kaiming_normal(layer_key, shape, negative_slope=1.0 if layer == last else 0.0, dtype=dtype)
        params.append((w, jnp.zeros(shape[1], w.dtype)))
    return params
