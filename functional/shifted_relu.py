"""shifted_relu: the rectifier moved down, so that its mean comes near 0, and its reverse pass by hand.

    y     = max(x, 0) - shift
    x_bar = y_bar where x > 0, else 0          shift_bar = -sum(y_bar)

Source: the lesson's `x.clamp_min(0.) - 0.5`. For a standard normal x the mean of max(x, 0) is 1 / sqrt(2 pi) =
0.40, and for one of variance 2, which Kaiming weights make, it is 0.56; 0.5 is the lesson's number between them.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ._check import accumulator, check_scalar, checked_cotangent, checked_first, float_dtype, scalar, scalar_bar
from ._typing import Array, Float
from .relu import _relu

# A mask of x > 0, one byte for each element, because y loses a small x (1e-9 - 0.5 is -0.5); and shift, for its
# cotangent's dtype. Backward does not read its value.
Residuals: TypeAlias = tuple[Array, ArrayLike]


def _check(x: Any, shift: Any = 0.5) -> jnp.dtype:
    check_scalar("shifted_relu", "shift", shift)
    return float_dtype("shifted_relu", x=x)


def _shifted_relu(x: Float[Array, "*shape"], shift: ArrayLike = 0.5) -> Float[Array, "*shape"]:
    dtype = _check(x, shift)
    acc = accumulator(dtype)
    return (_relu(x).astype(acc) - jnp.broadcast_to(scalar("shifted_relu", "shift", shift, acc), x.shape)).astype(dtype)


@checked_first(_check)
@jax.custom_vjp
def shifted_relu(x: Float[Array, "*shape"], shift: ArrayLike = 0.5) -> Float[Array, "*shape"]:
    """Rectifier moved down, `max(x, 0) - shift`, with a hand-written reverse pass; its derivative at 0 is 0.

    Shapes: x any, shift a number or an array without axes, which may be traced and differentiated. The result has x's
    shape and dtype; half precision subtracts in float32 and rounds once. A NaN in x stays a NaN and its gradient is 0.

    Residuals: a mask of x > 0, and shift.

    Raises:
        TypeError: x is no floating-point array, or shift no real number.
    """
    return _shifted_relu(x, shift)


def shifted_relu_fwd(x: Float[Array, "*shape"], shift: ArrayLike = 0.5) -> tuple[Float[Array, "*shape"], Residuals]:
    """`(y, residuals)`: the result of `shifted_relu`, and what `shifted_relu_bwd` needs."""
    return _shifted_relu(x, shift), (x > 0, shift)


def shifted_relu_bwd(
    residuals: Residuals, y_bar: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, ""] | None]:
    """Cotangents `(x_bar, shift_bar)` for `y_bar`; shift_bar is None where shift is a whole number.

    residuals: what `shifted_relu_fwd` returned beside y. y_bar: an array of y's shape and dtype, else ValueError or
    TypeError; the mask does not know y's dtype.
    """
    on, shift = residuals
    y_bar = checked_cotangent(
        "shifted_relu_bwd", "y_bar", y_bar, on.shape, float_dtype("shifted_relu_bwd", y_bar=y_bar)
    )
    shift_bar = -jnp.sum(y_bar, dtype=accumulator(y_bar.dtype))
    return jnp.where(on, y_bar, jnp.zeros((), y_bar.dtype)), scalar_bar(shift, shift_bar)


shifted_relu.defvjp(shifted_relu_fwd, shifted_relu_bwd)
