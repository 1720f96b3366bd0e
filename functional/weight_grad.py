"""weight_grad: the gradient of lin's weight, in four forms of one sum.

    w_bar[i, o] = sum over rows n of x[n, i] y_bar[n, o]

    outer       makes the matrix x[n] y_bar[n]^T of each row, and adds them up: n x fan_in x fan_out numbers, unless the
                compiler sees through it
    einsum      says the sum as it is written above, and leaves it to the compiler to find the matrix product in it
    matmul      is that product, x^T @ y_bar. `lin_bwd` uses it
    transposed  is (y_bar^T @ x)^T, which XLA computes faster on a CPU where y_bar has few columns

All take `x[n, fan_in]` and `y_bar[n, fan_out]` of one dtype, and return `[fan_in, fan_out]` of it; half precision
accumulates in float32. benchmarks/weight_grad.py measures what they cost, and benchmarks/lin_rule.py what the last one
gains in `lin_bwd`.

Source: the lesson goes through the first three, from `(inp.unsqueeze(-1) * out.g.unsqueeze(1)).sum(0)` to
`inp.t() @ out.g`.
"""

import jax
import jax.numpy as jnp

from ._check import accumulator, describe, float_dtype
from ._typing import Array, Float


def _dtypes(op: str, x: Array, y_bar: Array) -> tuple[jnp.dtype, jnp.dtype]:
    """Returns the one dtype of x and y_bar, and the accumulator's.

    Raises TypeError or ValueError unless x and y_bar are matrices of as many rows.
    """
    dtype = float_dtype(op, x=x, y_bar=y_bar)
    if x.ndim != 2 or y_bar.ndim != 2 or len(x) != len(y_bar):
        raise ValueError(
            f"{op}: x must be [n, fan_in] and y_bar [n, fan_out]; got x {describe(x)} and y_bar {describe(y_bar)}"
        )
    return dtype, accumulator(dtype)


def weight_grad_outer(x: Float[Array, "n fan_in"], y_bar: Float[Array, "n fan_out"]) -> Float[Array, "fan_in fan_out"]:
    """The weight's gradient as a sum of outer products.

    Raises TypeError if x and y_bar are no floating-point arrays of one dtype, ValueError if they are no matrices of as
    many rows.
    """
    dtype, acc = _dtypes("weight_grad_outer", x, y_bar)
    shape = (*x.shape, y_bar.shape[1])
    # Widened, then broadcast: the other way round, autodiff of this function would sum in half precision.
    rows = jnp.broadcast_to(x.astype(acc)[:, :, None], shape)
    bars = jnp.broadcast_to(y_bar.astype(acc)[:, None, :], shape)
    return jnp.sum(rows * bars, axis=0).astype(dtype)


def weight_grad_einsum(x: Float[Array, "n fan_in"], y_bar: Float[Array, "n fan_out"]) -> Float[Array, "fan_in fan_out"]:
    """The weight's gradient as `einsum("ni,no->io")`.

    Raises TypeError if x and y_bar are no floating-point arrays of one dtype, ValueError if they are no matrices of as
    many rows.
    """
    dtype, acc = _dtypes("weight_grad_einsum", x, y_bar)
    return jnp.einsum("ni,no->io", x, y_bar, preferred_element_type=acc).astype(dtype)


def weight_grad_matmul(x: Float[Array, "n fan_in"], y_bar: Float[Array, "n fan_out"]) -> Float[Array, "fan_in fan_out"]:
    """The weight's gradient as `x^T @ y_bar`.

    Raises TypeError if x and y_bar are no floating-point arrays of one dtype, ValueError if they are no matrices of as
    many rows.
    """
    dtype, acc = _dtypes("weight_grad_matmul", x, y_bar)
    return jnp.matmul(x.T, y_bar, preferred_element_type=acc).astype(dtype)


def weight_grad_transposed(
    x: Float[Array, "n fan_in"], y_bar: Float[Array, "n fan_out"]
) -> Float[Array, "fan_in fan_out"]:
    """The weight's gradient as `(y_bar^T @ x)^T`: faster on a CPU where y_bar has fewer than about 64 columns.

    Raises TypeError if x and y_bar are no floating-point arrays of one dtype, ValueError if they are no matrices of as
    many rows.
    """
    dtype, acc = _dtypes("weight_grad_transposed", x, y_bar)
    # XLA would fold each transpose into the product again, and then pick the slower kernel: hence the barriers.
    bars = jax.lax.optimization_barrier(y_bar.T)
    w_bar_t = jax.lax.optimization_barrier(jnp.matmul(bars, x, preferred_element_type=acc))
    return w_bar_t.T.astype(dtype)
