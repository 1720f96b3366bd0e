"""avg_pool2d: the mean of each window, and its reverse pass by hand.

    y[n, i, j, c]     = sum over a, b of  x[n, i s + a - p, j s + b - p, c] / count[i, j]
    x_bar[n, u, v, c] = sum over all i, j, a, b with i s + a - p = u and j s + b - p = v
                        of  y_bar[n, i, j, c] / count[i, j]

with stride s and padding p, one of each for an axis. x is 0 outside of itself. count is the size of the window; where
the padding is not counted, how many of its elements are x's.

Source: LeCun et al., "Gradient-based learning applied to document recognition", 1998, section II, for the pooling.
"""

from functools import reduce
from itertools import repeat
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ._check import accumulator, checked_cotangent, checked_first, describe, float_dtype
from ._typing import Array, Float, custom_vjp
from ._window import Padding, Pair, Steps, pooling_steps, put_back, seen

# x, of which backward reads the shape and the dtype only: under jax.jit nothing of it is kept.
Residuals: TypeAlias = Array


def _check(
    x: Any,
    window: Any = 2,
    stride: Any = None,
    padding: Any = "VALID",
    count_include_pad: Any = True,
    op: str = "avg_pool2d",
) -> tuple[Steps, Steps]:
    if not isinstance(count_include_pad, bool):
        raise TypeError(f"{op}: count_include_pad must be True or False; got {describe(count_include_pad)}")
    return pooling_steps(op, x, window, stride, padding)


def _counts(rows: Steps, columns: Steps, include_pad: bool, like: Array) -> Array:
    """Returns by how much to divide each element of `like`, [n, out_height, out_width, channels]."""
    along = [[steps.window if include_pad else count for _, count in steps.inside] for steps in (rows, columns)]
    counts = jnp.asarray([[height * width for width in along[1]] for height in along[0]], like.dtype)
    return jax.lax.broadcast_in_dim(counts, like.shape, (1, 2))


def _avg_pool2d(x: Array, window: Pair, stride: Pair | None, padding: Padding, count_include_pad: bool) -> Array:
    rows, columns = _check(x, window, stride, padding, count_include_pad)
    dtype = float_dtype("avg_pool2d", x=x)
    acc = accumulator(dtype)
    total = jnp.astype(x, acc)
    for steps in (columns, rows):
        total = reduce(jnp.add, seen(total, steps, 0.0))
    return (total / _counts(rows, columns, count_include_pad, total)).astype(dtype)


@checked_first(_check)
@custom_vjp(nondiff_argnums=(1, 2, 3, 4))
def avg_pool2d(
    x: Float[Array, "n height width channels"],
    window: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> Float[Array, "n out_height out_width channels"]:
    """Mean of each window, with a hand-written reverse pass.

    Shapes: `x[n, height, width, channels]`, as for `conv2d`; the result is `[n, out_height, out_width, channels]`, with
    out_height = (height + padding - window) // stride + 1. (torch has `x[n, channels, height, width]`.) It has x's
    dtype; half precision adds up in float32 and rounds once.

    window, stride: an integer, or one for each axis; a stride of None is the window's size. padding: as for `conv2d`,
    and less than the window. count_include_pad: whether the zeros of the padding count in the mean, as in torch and
    flax; False divides by the number of elements that are x's. These four are static.

    Residuals: `x`, of which only the shape and the dtype are read; under `jax.jit` nothing is kept.

    Raises:
        TypeError: x is no floating-point array, or count_include_pad no bool.
        ValueError: a shape, window, stride or padding does not fit; the message names it and what came.
    """
    return _avg_pool2d(x, window, stride, padding, count_include_pad)


def avg_pool2d_fwd(
    x: Float[Array, "n height width channels"],
    window: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "VALID",
    count_include_pad: bool = True,
) -> tuple[Float[Array, "n out_height out_width channels"], Residuals]:
    """`(y, residuals)`: the result of `avg_pool2d`, and what `avg_pool2d_bwd` needs."""
    return _avg_pool2d(x, window, stride, padding, count_include_pad), x


def avg_pool2d_bwd(
    window: Pair,
    stride: Pair | None,
    padding: Padding,
    count_include_pad: bool,
    residuals: Residuals,
    y_bar: Float[Array, "n out_height out_width channels"],
) -> tuple[Float[Array, "n height width channels"]]:
    """The cotangent `(x_bar,)` for `y_bar`.

    window, stride, padding, count_include_pad: as given to `avg_pool2d`. residuals: what `avg_pool2d_fwd` returned
    beside y. y_bar: an array of y's shape and dtype, else ValueError or TypeError.
    """
    op, x = "avg_pool2d_bwd", residuals
    dtype = float_dtype(op, x=x)
    rows, columns = _check(x, window, stride, padding, count_include_pad, op)
    shape = (x.shape[0], rows.stops, columns.stops, x.shape[3])
    bar = checked_cotangent(op, "y_bar", y_bar, shape, dtype).astype(accumulator(dtype))
    bar = bar / _counts(rows, columns, count_include_pad, bar)
    for steps in (rows, columns):
        bar = put_back(repeat(bar, steps.window), steps)
    return (bar.astype(dtype),)


avg_pool2d.defvjp(avg_pool2d_fwd, avg_pool2d_bwd)
