"""activation_stats: what becomes of the activations, layer by layer. Do they vanish, explode, die?

Source: the lesson prints mean and std after each layer; the reasons are in init.py.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ._check import accumulator
from ._typing import Array, Float, Params
from .lin import lin
from .mlp import check_params
from .relu import relu


class Stats(NamedTuple):
    """Of one array of activations, over all its elements."""

    mean: Float[Array, ""]
    std: Float[Array, ""]
    """Population standard deviation: divided by n, as NumPy does, not by torch's n - 1."""


class LayerStats(NamedTuple):
    """Of one layer: what lin returned, and what the activation made of it (nothing, after the last layer)."""

    z: Stats
    h: Stats
    off: Float[Array, ""]
    """Fraction of the activations, 0 to 1, that let no gradient through."""
    dead: Float[Array, ""]
    """Fraction of the units that are off for every row: nothing that these rows say changes their weights."""


def activation_stats(
    params: Params,
    x: Float[Array, "*batch fan_in"],
    activation: Callable[[Array], Array] = relu,
) -> list[LayerStats]:
    """Statistics of a dense net's activations, one LayerStats a layer, first layer first.

    The net is `mlp`'s, with `activation` (element by element) between its layers in place of relu; none follows the
    last layer, so its h is its z, and nothing is off. An element is off where the activation's derivative is 0, as its
    own reverse pass says, so that a shifted relu's dead units count as dead too. Works under jit and with any number
    of leading axes; half precision is summed in float32, and what is tiny or huge is scaled before it is squared, so
    that 1e-30 is told from 0. Without rows all figures are NaN; a NaN activation lets no gradient through relu.
    Raises ValueError or TypeError where a layer does not fit, naming it.
    """
    check_params("activation_stats", params, x)
    layers = []
    for number, (w, b) in enumerate(params, start=1):
        z = lin(x, w, b)
        x, pullback = jax.vjp(activation if number < len(params) else lambda z: z, z)
        (slope,) = pullback(jnp.ones_like(x))
        is_off = slope == 0
        axes = tuple(range(z.ndim - 1))
        rows = math.prod(z.shape[:-1])
        dead = jnp.all(is_off, axis=axes) if rows else jnp.full(z.shape[-1], jnp.nan)
        layers.append(LayerStats(_stats(z), _stats(x), _fraction(is_off), _fraction(dead)))
    return layers


def _stats(a: Array) -> Stats:
    a = a.astype(accumulator(a.dtype))
    largest = jnp.max(jnp.abs(a), initial=0)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, jnp.ones_like(largest))
    scaled = a / jnp.broadcast_to(scale, a.shape)
    return Stats(jnp.mean(scaled) * scale, jnp.std(scaled) * scale)


def _fraction(which: Array) -> Array:
    return jnp.mean(which, dtype=jnp.result_type(float))
