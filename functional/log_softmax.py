"""log_softmax: the logarithms of a row's probabilities, and its reverse pass by hand.

    y     = x - log(sum of exp(x))                                over the last axis
    x_bar = y_bar - exp(y) (sum of y_bar)                         exp(y) is softmax(x)

The largest x of a row is subtracted first, so that no exponential overflows: y does not change by it.

Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990, for softmax;
Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", 2021, for the subtraction.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from ._check import accumulator, checked_cotangent, checked_first, describe, float_dtype
from ._softmax import log_probabilities, peak_and_total, probabilities
from ._typing import Array, Float

# x, which is alive anyway, and two numbers a row: its largest, and its sum of exponentials. Not y: in half precision it
# is rounded, and exp would make each rounding of y = -8 an error of 8 roundings in a probability.
Residuals: TypeAlias = tuple[Array, Array, Array]


def _check(x: Any, op: str = "log_softmax") -> jnp.dtype:
    dtype = float_dtype(op, x=x)
    if not x.ndim:
        raise ValueError(f"{op}: x must have a last axis, of classes; got x {describe(x)}")
    return dtype


def _log_softmax(x: Array) -> tuple[Array, Residuals]:
    dtype = _check(x)
    wide = jnp.astype(x, accumulator(dtype))
    peak, total = peak_and_total(wide)
    return log_probabilities(wide, peak, total).astype(dtype), (jnp.asarray(x), peak, total)


@checked_first(_check)
@jax.custom_vjp
def log_softmax(x: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Logarithm of softmax over the last axis, with a hand-written reverse pass.

    Shapes: `x[..., classes]` with any leading axes; the result has x's shape and dtype. Half precision computes in
    float32 and rounds once.

    Logits are right whose differences the dtype can hold: no exponential overflows. Where x is -inf (a class that is
    masked out), so is y, and its probability is 0. A row of nothing but -inf, or one that holds +inf or NaN, is NaN, as
    it is in jax and torch.

    Residuals: `x`, which is alive anyway, and two numbers a row.

    Raises:
        TypeError: x is no floating-point array.
        ValueError: x has no axis.
    """
    return _log_softmax(x)[0]


def log_softmax_fwd(x: Float[Array, "*batch classes"]) -> tuple[Float[Array, "*batch classes"], Residuals]:
    """`(y, residuals)`: the result of `log_softmax`, and what `log_softmax_bwd` needs."""
    return _log_softmax(x)


def log_softmax_bwd(
    residuals: Residuals, y_bar: Float[Array, "*batch classes"]
) -> tuple[Float[Array, "*batch classes"]]:
    """The cotangent `(x_bar,)` for `y_bar`. residuals: what `log_softmax_fwd` returned beside y.

    y_bar: an array of y's shape and dtype, else ValueError or TypeError.
    """
    x, peak, total = residuals
    y_bar = checked_cotangent("log_softmax_bwd", "y_bar", y_bar, x.shape, float_dtype("log_softmax_bwd", x=x))
    bar = y_bar.astype(peak.dtype)
    x_bar = bar - probabilities(x.astype(peak.dtype), peak, total) * jnp.sum(bar, axis=-1, keepdims=True)
    return (x_bar.astype(y_bar.dtype),)


log_softmax.defvjp(log_softmax_fwd, log_softmax_bwd)
