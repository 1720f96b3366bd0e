"""max_pool2d: the largest element of each window, and its reverse pass by hand.

    y[n, i, j, c] = max over a, b of  x[n, i s + a - p, j s + b - p, c]
    x_bar         = each y_bar[n, i, j, c] added at the element of x that won there, and 0 elsewhere

with stride s and padding p, one of each for an axis. Padding never wins. The maximum of a window is that of its rows'
maxima, so that this goes over columns first and then over rows.

Of equal elements the first wins, by rows and then by columns, and gets the whole cotangent. That is torch's convention,
and that of jax's `reduce_window`; a maximum over axes, `x.reshape(...).max(...)`, shares it among them in jax. A NaN
wins, and of several the last one, as in torch.

Source: Ranzato, Boureau & LeCun, "Sparse feature learning for deep belief networks", 2007, for the pooling.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ._check import accumulator, checked_cotangent, checked_first, float_dtype
from ._typing import Array, Float, custom_vjp
from ._window import Padding, Pair, Steps, pooling_steps, put_back, seen

# x, which is alive anyway (a rectifier before it keeps it). Who won is found again: that is cheap, and under jax.jit it
# is done once, if forward and backward are in one program.
Residuals: TypeAlias = Array


def _check(x: Any, window: Any = 2, stride: Any = None, padding: Any = "VALID") -> tuple[Steps, Steps]:
    return pooling_steps("max_pool2d", x, window, stride, padding)


def _largest(x: Array, steps: Steps) -> tuple[Array, Array]:
    """Returns `(largest, winner)` along one axis; winner is the place in the window."""
    dtype = jnp.uint8 if steps.window <= 256 else jnp.int32
    # A window of nothing but -inf is won by its first element that is not padding.
    first = [place for place, _ in steps.inside]
    shape = [*x.shape[: steps.axis], steps.stops, *x.shape[steps.axis + 1 :]]
    largest = jnp.full(shape, -jnp.inf, x.dtype)
    winner = jax.lax.broadcast_in_dim(jnp.asarray(first, dtype), shape, (steps.axis,))
    for place, here in enumerate(seen(x, steps, -jnp.inf)):
        wins = (here > largest) | jnp.isnan(here)
        largest, winner = jnp.where(wins, here, largest), jnp.where(wins, jnp.asarray(place, dtype), winner)
    return largest, winner


def _to_winners(bar: Array, winner: Array, steps: Steps) -> Array:
    """Returns the cotangent before `_largest`."""
    zero = jnp.zeros((), bar.dtype)
    return put_back((jnp.where(winner == place, bar, zero) for place in range(steps.window)), steps)


def _max_pool2d(x: Array, window: Pair, stride: Pair | None, padding: Padding) -> Array:
    rows, columns = _check(x, window, stride, padding)
    return _largest(_largest(jnp.asarray(x), columns)[0], rows)[0]


@checked_first(_check)
@custom_vjp(nondiff_argnums=(1, 2, 3))
def max_pool2d(
    x: Float[Array, "n height width channels"],
    window: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "VALID",
) -> Float[Array, "n out_height out_width channels"]:
    """Largest element of each window, with a hand-written reverse pass.

    Shapes: `x[n, height, width, channels]`, as for `conv2d`; the result is `[n, out_height, out_width, channels]`, with
    out_height = (height + padding - window) // stride + 1. (torch has `x[n, channels, height, width]`.) It has x's
    dtype; in half precision, cotangents that meet where windows overlap are added in float32.

    window, stride: an integer, or one for each axis; a stride of None is the window's size. padding: as for `conv2d`,
    and less than the window. These three are static.

    Of equal elements the first one gets the cotangent, as in torch. A NaN is larger than all.

    Residuals: `x`, which is alive anyway.

    Raises:
        TypeError: x is no floating-point array.
        ValueError: a shape, window, stride or padding does not fit; the message names it and what came.
    """
    return _max_pool2d(x, window, stride, padding)


def max_pool2d_fwd(
    x: Float[Array, "n height width channels"],
    window: Pair = 2,
    stride: Pair | None = None,
    padding: Padding = "VALID",
) -> tuple[Float[Array, "n out_height out_width channels"], Residuals]:
    """`(y, residuals)`: the result of `max_pool2d`, and what `max_pool2d_bwd` needs."""
    return _max_pool2d(x, window, stride, padding), x


def max_pool2d_bwd(
    window: Pair,
    stride: Pair | None,
    padding: Padding,
    residuals: Residuals,
    y_bar: Float[Array, "n out_height out_width channels"],
) -> tuple[Float[Array, "n height width channels"]]:
    """The cotangent `(x_bar,)` for `y_bar`.

    window, stride, padding: as given to `max_pool2d`. residuals: what `max_pool2d_fwd` returned beside y. y_bar: an
    array of y's shape and dtype, else ValueError or TypeError.
    """
    x = jnp.asarray(residuals)
    dtype = float_dtype("max_pool2d_bwd", x=x)
    rows, columns = pooling_steps("max_pool2d_bwd", x, window, stride, padding)
    shape = (x.shape[0], rows.stops, columns.stops, x.shape[3])
    bar = checked_cotangent("max_pool2d_bwd", "y_bar", y_bar, shape, dtype).astype(accumulator(dtype))
    largest, column_winner = _largest(x, columns)
    _, row_winner = _largest(largest, rows)
    return (_to_winners(_to_winners(bar, row_winner, rows), column_winner, columns).astype(dtype),)


max_pool2d.defvjp(max_pool2d_fwd, max_pool2d_bwd)
