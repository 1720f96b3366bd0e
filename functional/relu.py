"""relu: the rectifier, and its reverse pass by hand.

    y     = x where x > 0, else 0
    x_bar = y_bar where x > 0, else 0          so relu'(0) = 0

Source: Nair & Hinton, "Rectified linear units improve restricted Boltzmann machines", ICML 2010; the
lesson's `relu_grad`, which also takes the derivative at 0 as 0 (as jax.nn.relu and torch.relu do).
"""

from typing import TypeAlias

import jax
import jax.numpy as jnp

from ._check import checked_cotangent, checked_first, float_dtype
from ._typing import Array, Float

# The output, not the input: y > 0 exactly where x > 0, and the next layer keeps y anyway.
Residuals: TypeAlias = Array


def _relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    dtype = float_dtype("relu", x=x)
    # Not `maximum(x, 0)`: forward mode (jax.hessian goes through it) would give that a slope of 1/2 at 0,
    # and not `where(x > 0, x, 0)`: it turns a NaN into 0.
    return jnp.where(x <= 0, jnp.zeros((), dtype), x)


@checked_first(lambda x: float_dtype("relu", x=x))
@jax.custom_vjp
def relu(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Rectifier `max(x, 0)`, with a hand-written reverse pass; relu'(0) = 0.

    Shapes: any; the result has x's shape and dtype. A NaN in x stays a NaN in the result and its gradient is 0.
    A cotangent that is NaN or infinite does not pass through a unit that is off.

    Residuals: the output, which the next layer keeps anyway.

    Raises:
        TypeError: x is no floating-point array.
    """
    return _relu(x)


def relu_fwd(x: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], Residuals]:
    """`(y, residuals)`: the result of `relu`, and what `relu_bwd` needs."""
    y = _relu(x)
    return y, y


def relu_bwd(residuals: Residuals, y_bar: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"]]:
    """Cotangent `(x_bar,)` for `y_bar`. residuals: what `relu_fwd` returned beside y.

    y_bar: an array of y's shape and dtype, else ValueError or TypeError.
    """
    y = residuals
    y_bar = checked_cotangent("relu_bwd", "y_bar", y_bar, y.shape, float_dtype("relu_bwd", y=y))
    # A select, not a product with the mask: 0 * NaN is NaN.
    return (jnp.where(y > 0, y_bar, jnp.zeros((), y_bar.dtype)),)


relu.defvjp(relu_fwd, relu_bwd)
