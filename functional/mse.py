"""mse: the mean squared error, and its reverse pass by hand.

    loss       = sum((output - targ)^2) / n
    output_bar = loss_bar * 2 (output - targ) / n          targ_bar = -output_bar

Source: the lesson's `mse` and `mse_grad`. Its `mse_grad` takes the loss's cotangent to be 1; here it is a
factor, as in every rule. The mean is over all elements and carries no factor 1/2 (Bishop, Pattern Recognition
and Machine Learning, 2006, eq. 5.11 has one, and sums).
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ._check import accumulator, checked_cotangent, checked_first, describe, float_dtype
from ._check_net import check_targ
from ._typing import Array, Float

# The inputs, which are alive anyway. Taking their difference again is cheaper than keeping it in float32.
Residuals: TypeAlias = tuple[Array, Array]


def _check(output: Any, targ: Any, op: str = "mse") -> jnp.dtype:
    dtype = float_dtype(op, output=output, targ=targ)
    check_targ(op, describe(output), output.shape, targ)
    return dtype


def _difference(output: Array, targ: Array, op: str = "mse") -> Array:
    """Returns `output - targ` in the accumulator's dtype and targ's shape. op: who asks, for the error."""
    acc = accumulator(_check(output, targ, op))
    return jnp.reshape(output, targ.shape).astype(acc) - jnp.astype(targ, acc)


def _mse(output: Float[Array, "*output"], targ: Float[Array, "*targ"]) -> Float[Array, ""]:
    diff = _difference(output, targ)
    return jnp.mean(diff * diff).astype(jnp.result_type(output))


@checked_first(_check)
@jax.custom_vjp
def mse(output: Float[Array, "*output"], targ: Float[Array, "*targ"]) -> Float[Array, ""]:
    """Mean squared error, with a hand-written reverse pass (for `targ` too).

    Shapes: `output` has targ's shape, or targ's shape and a last axis of 1 (a network with one output unit);
    nothing else, so that `[n, 1]` against `[n]` never broadcasts to `[n, n]`. The result is a scalar of the
    inputs' one dtype; half precision subtracts, squares and sums in float32. The mean of no elements is NaN,
    as it is in NumPy, jax and torch; its gradients are empty.

    Residuals: the two inputs, which are alive anyway.

    Raises:
        TypeError: an argument is no floating-point array (cast integer labels first), or the dtypes differ.
        ValueError: the shapes do not fit.
    """
    return _mse(output, targ)


def mse_fwd(output: Float[Array, "*output"], targ: Float[Array, "*targ"]) -> tuple[Float[Array, ""], Residuals]:
    """`(loss, residuals)`: the result of `mse`, and what `mse_bwd` needs."""
    return _mse(output, targ), (output, targ)


def mse_bwd(residuals: Residuals, loss_bar: Float[Array, ""]) -> tuple[Float[Array, "*output"], Float[Array, "*targ"]]:
    """Cotangents `(output_bar, targ_bar)` for `loss_bar`. residuals: what `mse_fwd` returned beside the loss.

    loss_bar: an array without axes, of the loss's dtype, else ValueError or TypeError.
    """
    output, targ = residuals
    diff = _difference(output, targ, "mse_bwd")
    loss_bar = checked_cotangent("mse_bwd", "loss_bar", loss_bar, (), jnp.result_type(output))
    n = max(diff.size, 1)  # without rows the gradient is empty, and nothing is divided by zero
    bar = loss_bar.astype(diff.dtype) * (2 / n) * diff
    return jnp.reshape(bar, output.shape).astype(loss_bar.dtype), (-bar).astype(loss_bar.dtype)


mse.defvjp(mse_fwd, mse_bwd)
