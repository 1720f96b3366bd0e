"""activation_stats: statistics of the activations, layer by layer. Do they vanish, explode or die?

Source: the lesson prints mean and std after each layer. functional/init.py says what they should be.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ._check import accumulator
from ._check_net import check_net
from ._typing import Array, Float, Params
from .lin import lin
from .relu import relu


class Stats(NamedTuple):
    """Statistics over all elements of one array of activations."""

    mean: Float[Array, ""]
    """Arithmetic mean."""
    std: Float[Array, ""]
    """Population standard deviation: divided by n, as NumPy does, not by torch's n - 1."""


class LayerStats(NamedTuple):
    """Statistics of one layer."""

    z: Stats
    """Of what `lin` returned."""
    h: Stats
    """Of what the activation returned. After the last layer, which has none, it is z."""
    off: Float[Array, ""]
    """Fraction of the activations, 0 to 1, that let no gradient through."""
    dead: Float[Array, ""]
    """Fraction of the units, 0 to 1, that are off for every row, so that these rows do not change their weights."""


def activation_stats(
    params: Params,
    x: Float[Array, "*batch fan_in"],
    activation: Callable[[Array], Array] = relu,
) -> list[LayerStats]:
    """Statistics of a dense net's activations: a list of one LayerStats for each layer, first layer first.

    Shapes: params and `x[..., fan_in]` as for `mlp`, all of one dtype. Every figure is a number of that dtype, or of
    float32 for half precision, which is summed in it; fractions have jax's default float. Values are scaled before they
    are squared, so that 1e-30 is told from 0. Without rows all figures are NaN.

    activation: a function of each element, which stands between the layers in place of relu. None follows the last
    layer, so its h is its z, and nothing is off. An element is off where the activation's own reverse pass gives the
    derivative 0, so that a shifted relu's dead units count as dead too. relu lets no gradient through a NaN.

    Raises:
        ValueError: the widths of params and x do not fit; the message names the layer.
        TypeError: an argument is no floating-point array, or the dtypes differ.
    """
    check_net("activation_stats", params, x)
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
