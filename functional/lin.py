"""lin: the affine map, and its reverse pass by hand.

    y     = x @ w + b
    x_bar = y_bar @ w^T        w_bar = x^T @ y_bar        b_bar = y_bar summed over all leading axes

Source: Goodfellow, Bengio & Courville, Deep Learning (2016), section 6.5.6; the lesson's `lin_grad`.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ._check import accumulator, check_affine, checked_cotangent, checked_first, float_dtype
from ._typing import Array, Float

# x and w, because each is the factor of the other's gradient; and b, which only tells backward whether there was one.
Residuals: TypeAlias = tuple[Array, Array, Array | None]


def _check(x: Any, w: Any, b: Any = None) -> jnp.dtype:
    return check_affine("lin", x, w, b)


def _lin(
    x: Float[Array, "*batch fan_in"],
    w: Float[Array, "fan_in fan_out"],
    b: Float[Array, " fan_out"] | None = None,
) -> Float[Array, "*batch fan_out"]:
    dtype = _check(x, w, b)
    acc = accumulator(dtype)
    y = jnp.tensordot(x, w, axes=1, preferred_element_type=acc)
    if b is not None:
        y = y + jnp.broadcast_to(jnp.astype(b, acc), y.shape)
    return y.astype(dtype)


@checked_first(_check)
@jax.custom_vjp
def lin(
    x: Float[Array, "*batch fan_in"],
    w: Float[Array, "fan_in fan_out"],
    b: Float[Array, " fan_out"] | None = None,
) -> Float[Array, "*batch fan_out"]:
    """Affine map `x @ w + b`, with a hand-written reverse pass.

    Shapes: `x[..., fan_in]` with any leading axes (none and empty ones too), `w[fan_in, fan_out]`,
    `b[fan_out]` or None; the result is `[..., fan_out]`. All of one dtype (float16, bfloat16, float32,
    float64), which is also the result's; half precision accumulates in float32 and rounds once.

    Residuals: `x` and `w`, which are alive anyway; nothing new is stored.

    Raises:
        TypeError: an argument is no floating-point array, or the dtypes differ.
        ValueError: a shape does not fit; the message names it and what was expected.
    """
    return _lin(x, w, b)


def lin_fwd(
    x: Float[Array, "*batch fan_in"],
    w: Float[Array, "fan_in fan_out"],
    b: Float[Array, " fan_out"] | None = None,
) -> tuple[Float[Array, "*batch fan_out"], Residuals]:
    """`(y, residuals)`: the result of `lin`, and what `lin_bwd` needs."""
    return _lin(x, w, b), (x, w, b)


def lin_bwd(
    residuals: Residuals, y_bar: Float[Array, "*batch fan_out"]
) -> tuple[Float[Array, "*batch fan_in"], Float[Array, "fan_in fan_out"], Float[Array, " fan_out"] | None]:
    """Cotangents `(x_bar, w_bar, b_bar)` for `y_bar`; `b_bar` is None where there was no b.

    residuals: what `lin_fwd` returned beside y. y_bar: an array of y's shape and dtype, else ValueError or TypeError.

    Each cotangent has its primal's shape and dtype. Half precision accumulates in float32 and rounds once. On a CPU,
    `weight_grad_transposed` computes a narrow w_bar faster (docs/performance.md).
    """
    x, w, b = residuals
    dtype = float_dtype("lin_bwd", x=x, w=w)
    y_bar = checked_cotangent("lin_bwd", "y_bar", y_bar, (*x.shape[:-1], w.shape[-1]), dtype)
    acc = accumulator(dtype)
    batch = tuple(range(y_bar.ndim - 1))
    x_bar = jnp.tensordot(y_bar, w, axes=(-1, 1), preferred_element_type=acc)
    # As (y_bar^T @ x)^T: with x first, XLA's CPU backend cannot run it in bfloat16 when y_bar is vmapped and x is not.
    w_bar = jnp.tensordot(y_bar, x, axes=(batch, batch), preferred_element_type=acc).T
    b_bar = None if b is None else jnp.sum(y_bar, axis=batch, dtype=acc).astype(dtype)
    return x_bar.astype(dtype), w_bar.astype(dtype), b_bar


lin.defvjp(lin_fwd, lin_bwd)
