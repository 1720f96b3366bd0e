"""leaky_relu: a rectifier that leaves negative values a slope, and its reverse pass by hand.

    y     = x where x > 0, else negative_slope x
    x_bar = y_bar where x > 0, else negative_slope y_bar          so leaky_relu'(0) = negative_slope
    negative_slope_bar = sum(x y_bar where x <= 0)

Source: Maas, Hannun & Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013. With the
slope learned it is the PReLU of He et al., "Delving deep into rectifiers", ICCV 2015, whose eq. 1 to 3 these are.
At 0 jax.nn.leaky_relu has the slope 1; here it is torch's, and relu's where negative_slope is 0.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from ._check import accumulator, check_scalar, checked_cotangent, checked_first, float_dtype, scalar, scalar_bar
from ._typing import Array, Float

# x, whose sign decides which slope applies, and whose values make the slope's gradient; and the slope. (y could not
# stand for x: it has x's sign only where the slope is positive.)
Residuals: TypeAlias = tuple[Array, ArrayLike]


def _check(x: Any, negative_slope: Any = 0.01) -> None:
    float_dtype("leaky_relu", x=x)
    check_scalar("leaky_relu", "negative_slope", negative_slope)


def _leak(a: Array, negative_slope: ArrayLike) -> Array:
    """Returns `negative_slope a` in a's dtype."""
    acc = accumulator(a.dtype)
    slope = jnp.broadcast_to(scalar("leaky_relu", "negative_slope", negative_slope, acc), a.shape)
    return (slope * a.astype(acc)).astype(a.dtype)


def _leaky_relu(x: Float[Array, "*shape"], negative_slope: ArrayLike = 0.01) -> Float[Array, "*shape"]:
    _check(x, negative_slope)
    return jnp.where(x > 0, x, _leak(jnp.asarray(x), negative_slope))


@checked_first(_check)
@jax.custom_vjp
def leaky_relu(x: Float[Array, "*shape"], negative_slope: ArrayLike = 0.01) -> Float[Array, "*shape"]:
    """Rectifier with a slope below zero, with a hand-written reverse pass; its derivative at 0 is negative_slope.

    Shapes: x any, negative_slope a number or an array without axes, which may be traced and differentiated (then this
    is PReLU with one slope). The result has x's shape and dtype; half precision multiplies and sums in float32. A NaN
    in x stays a NaN. With a slope of 0, -inf becomes one, because 0 times infinity is not a number.

    Residuals: x and the slope.

    Raises:
        TypeError: x is no floating-point array, or negative_slope no real number.
    """
    return _leaky_relu(x, negative_slope)


def leaky_relu_fwd(
    x: Float[Array, "*shape"], negative_slope: ArrayLike = 0.01
) -> tuple[Float[Array, "*shape"], Residuals]:
    """`(y, residuals)`: the result of `leaky_relu`, and what `leaky_relu_bwd` needs."""
    return _leaky_relu(x, negative_slope), (x, negative_slope)


def leaky_relu_bwd(
    residuals: Residuals, y_bar: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, ""] | None]:
    """Cotangents `(x_bar, negative_slope_bar)` for `y_bar`; the second is None where the slope is a whole number.

    residuals: what `leaky_relu_fwd` returned beside y. y_bar: an array of y's shape and dtype, else ValueError or
    TypeError.
    """
    x, negative_slope = residuals
    y_bar = checked_cotangent("leaky_relu_bwd", "y_bar", y_bar, x.shape, float_dtype("leaky_relu_bwd", x=x))
    acc = accumulator(y_bar.dtype)
    slope_bar = jnp.sum(jnp.where(x > 0, jnp.zeros((), acc), x.astype(acc) * y_bar.astype(acc)))
    return jnp.where(x > 0, y_bar, _leak(y_bar, negative_slope)), scalar_bar(negative_slope, slope_bar)


leaky_relu.defvjp(leaky_relu_fwd, leaky_relu_bwd)
