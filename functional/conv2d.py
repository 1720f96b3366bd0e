"""conv2d: the two-dimensional convolution (a correlation, as in every framework), and its reverse pass by hand.

    y[n, i, j, o]     = sum over a, b, c of  x[n, i s + a d - p, j s + b d - p, c] w[a, b, c, o]   + b[o]
    w_bar[a, b, c, o] = sum over n, i, j of  x[n, i s + a d - p, j s + b d - p, c] y_bar[n, i, j, o]
    x_bar[n, u, v, c] = sum over o and over all i, j, a, b with i s + a d - p = u and j s + b d - p = v
                        of  y_bar[n, i, j, o] w[a, b, c, o]
    b_bar[o]          = y_bar summed over n, i, j

with stride s, dilation d and padding p, one of each for an axis. x is 0 outside of itself. Both gradients are
convolutions again. w_bar slides y_bar, spread by s, over x in steps of d, and sums over rows n as forward sums over
channels. x_bar spreads y_bar by s and slides the kernel over it, rotated by 180 degrees and with its channel axes
exchanged.

Source: Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016, chapter 4.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ._check import accumulator, checked_cotangent, checked_first, describe, float_dtype
from ._typing import Array, Float, custom_vjp
from ._window import Padding, Pads, Pair, pads_of, pair

# x and w, because each is a factor of the other's gradient; and b, which only tells backward whether there was one.
Residuals: TypeAlias = tuple[Array, Array, Array | None]


def _geometry(x: Array, w: Array, stride: Pair, padding: Padding, dilation: Pair):
    """Returns strides, pads and dilations, one for each axis. Raises ValueError where they do not fit x and w."""
    strides, dilations = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
    window = [(k - 1) * d + 1 for k, d in zip(w.shape[:2], dilations, strict=True)]
    pads = pads_of("conv2d", padding, x.shape[1:3], window, strides)
    if any(not 1 <= k <= size + sum(p) for size, p, k in zip(x.shape[1:3], pads, window, strict=True)):
        raise ValueError(
            f"conv2d: the kernel must fit in x and its padding; got x {describe(x)}, w {describe(w)}, "
            f"padding {padding!r} and dilation {dilation!r}"
        )
    return strides, pads, dilations


def _shape(x: Array, w: Array, strides: Sequence[int], pads: Pads, dilations: Sequence[int]) -> tuple[int, ...]:
    """The result's shape: as many places on an axis as the kernel has when it moves by the stride."""
    sizes = zip(x.shape[1:3], w.shape[:2], strides, pads, dilations, strict=True)
    return (x.shape[0], *((n + sum(p) - (k - 1) * d - 1) // s + 1 for n, k, s, p, d in sizes), w.shape[3])


def _check(x: Any, w: Any, b: Any = None, stride: Any = 1, padding: Any = "VALID", dilation: Any = 1) -> jnp.dtype:
    dtype = float_dtype("conv2d", x=x, w=w) if b is None else float_dtype("conv2d", x=x, w=w, b=b)
    if x.ndim != 4 or w.ndim != 4 or x.shape[3] != w.shape[2]:
        raise ValueError(
            f"conv2d: x must be [n, height, width, c_in] and w [kernel height, kernel width, c_in, c_out]; "
            f"got x {describe(x)} and w {describe(w)}"
        )
    if b is not None and b.shape != w.shape[3:]:
        raise ValueError(
            f"conv2d: b must have shape (c_out,) = ({w.shape[3]},), the last axis of w; "
            f"got b {describe(b)} and w {describe(w)}"
        )
    _geometry(x, w, stride, padding, dilation)
    return dtype


def _conv2d(x, w, b, stride: Pair, padding: Padding, dilation: Pair) -> Array:
    dtype = _check(x, w, b, stride, padding, dilation)
    strides, pads, dilations = _geometry(x, w, stride, padding, dilation)
    acc = accumulator(dtype)
    y = jax.lax.conv_general_dilated(
        *(a.astype(acc) for a in (x, w)),
        window_strides=strides,
        padding=pads,
        rhs_dilation=dilations,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    if b is not None:
        y = y + jnp.broadcast_to(jnp.astype(b, acc), y.shape)
    return y.astype(dtype)


@checked_first(_check)
@custom_vjp(nondiff_argnums=(3, 4, 5))
def conv2d(
    x: Float[Array, "n height width c_in"],
    w: Float[Array, "kernel_height kernel_width c_in c_out"],
    b: Float[Array, " c_out"] | None = None,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
) -> Float[Array, "n out_height out_width c_out"]:
    """Two-dimensional convolution, with a hand-written reverse pass.

    Shapes: `x[n, height, width, c_in]`, `w[kernel height, kernel width, c_in, c_out]`, `b[c_out]` or None. (torch has
    `x[n, c_in, height, width]` and `w[c_out, c_in, ...]`.) All of one dtype, which is also the result's; half precision
    computes in float32 and rounds once.

    stride, dilation: an integer, or one for each axis. padding: "VALID" (none), "SAME" (the result has
    ceil(height / stride) rows), an integer for all sides (as in torch), one for each axis, or `((top, bottom),
    (left, right))`. These three are static.

    Residuals: `x` and `w`, which are alive anyway.

    Raises:
        TypeError: an argument is no floating-point array, or the dtypes differ.
        ValueError: a shape, stride, padding or dilation does not fit; the message names it and what came.
    """
    return _conv2d(x, w, b, stride, padding, dilation)


def conv2d_fwd(
    x: Float[Array, "n height width c_in"],
    w: Float[Array, "kernel_height kernel_width c_in c_out"],
    b: Float[Array, " c_out"] | None = None,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
) -> tuple[Float[Array, "n out_height out_width c_out"], Residuals]:
    """`(y, residuals)`: the result of `conv2d`, and what `conv2d_bwd` needs."""
    return _conv2d(x, w, b, stride, padding, dilation), (x, w, b)


def conv2d_bwd(
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    residuals: Residuals,
    y_bar: Float[Array, "n out_height out_width c_out"],
) -> tuple[
    Float[Array, "n height width c_in"],
    Float[Array, "kernel_height kernel_width c_in c_out"],
    Float[Array, " c_out"] | None,
]:
    """Cotangents `(x_bar, w_bar, b_bar)` for `y_bar`; b_bar is None where there was no b.

    stride, padding, dilation: as given to `conv2d`. residuals: what `conv2d_fwd` returned beside y. y_bar: an array of
    y's shape and dtype, else ValueError or TypeError.
    """
    x, w, b = residuals
    dtype = float_dtype("conv2d_bwd", x=x, w=w)
    strides, pads, dilations = _geometry(x, w, stride, padding, dilation)
    y_bar = checked_cotangent("conv2d_bwd", "y_bar", y_bar, _shape(x, w, strides, pads, dilations), dtype)
    acc = accumulator(dtype)
    x_wide, w_wide, bar = (a.astype(acc) for a in (x, w, y_bar))
    x_bar_pads, w_bar_pads = [], []
    for axis, (s, d, (before, _after)) in enumerate(zip(strides, dilations, pads, strict=True)):
        size, reach, spread = x.shape[1 + axis], (w.shape[axis] - 1) * d, (y_bar.shape[1 + axis] - 1) * s
        # The padding after is what gives the result x's size, or the kernel's. Less than 0 cuts off the part of x that
        # the stride never reached.
        x_bar_pads.append((reach - before, size - 1 - spread + before))
        w_bar_pads.append((before, spread + reach + 1 - before - size))
    x_bar = jax.lax.conv_general_dilated(
        bar,
        jnp.flip(w_wide, (0, 1)),
        window_strides=(1, 1),
        padding=x_bar_pads,
        lhs_dilation=strides,
        rhs_dilation=dilations,
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )
    w_bar = jax.lax.conv_general_dilated(
        x_wide,
        bar,
        window_strides=dilations,
        padding=w_bar_pads,
        rhs_dilation=strides,
        dimension_numbers=("CHWN", "IHWO", "HWNC"),
    )
    b_bar = None if b is None else jnp.sum(y_bar, axis=(0, 1, 2), dtype=acc).astype(dtype)
    return x_bar.astype(dtype), w_bar.astype(dtype), b_bar


conv2d.defvjp(conv2d_fwd, conv2d_bwd)
