"""The normalization of x, folded into the first layer, so that raw x goes through the net.

    ((x - mean) / std) @ w + b  =  x @ v + c        v = w / std        c = b - (mean / std) sum of w over fan_in

The tiles then give v_bar and c_bar, and the chain rule gives the cotangents of w and b from them:

    w_bar = (v_bar - mean c_bar) / std              b_bar = c_bar

x_bar is v z_1_bar, so it is the gradient with respect to raw x.
"""

import jax.numpy as jnp

from ._tile import Turned
from ._typing import Array


def fold(layer: Turned, mean: Array, std: Array) -> Turned:
    """The layer that computes from x what `layer` computes from `(x - mean) / std`. Only its w_t is folded."""
    wide = layer.w_t.astype(mean.dtype)
    shift = (mean / std) * jnp.sum(wide, axis=1, keepdims=True)
    b = 0 if layer.b is None else layer.b.astype(mean.dtype)
    return Turned(layer.w, (wide / std).astype(layer.w.dtype), b - shift)


def unfold(sums: tuple[Array, Array | None], mean: Array, std: Array) -> tuple[Array, Array | None]:
    """`(w_bar^T, b_bar)` of the layer itself, from `(v_bar^T, c_bar)` of the folded one."""
    v_bar_t, c_bar = sums
    assert c_bar is not None, "a folded layer has a c"
    return (v_bar_t - mean * c_bar) / std, c_bar
