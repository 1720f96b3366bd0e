"""Checks that every op makes of its arguments, at trace time: floating-point arrays of one dtype."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

DTYPES = ("float16", "bfloat16", "float32", "float64")


def describe(value: Any) -> str:
    """Returns `float32[64,784]` for an array, and the type's name for anything else."""
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return type(value).__name__


def float_dtype(op: str, **arrays: Any) -> np.dtype:
    """Returns the one floating-point dtype of all `arrays`.

    Raises TypeError if one is no array of a dtype in DTYPES, or if two dtypes differ: backward would have to undo a
    silent promotion in forward, because a cotangent must have its primal's dtype.
    """
    first, dtype = "", None
    for name, array in arrays.items():
        is_array = isinstance(array, (jax.Array, np.ndarray, np.generic))
        # result_type gives the dtype that jax will use: float64 only where x64 is on.
        got = jnp.result_type(array) if is_array else None
        if got is None or got.name not in DTYPES:
            raise TypeError(f"{op}: {name} must be an array of {', '.join(DTYPES)}; got {describe(array)}")
        if dtype is None:
            first, dtype = name, got
        elif got != dtype:
            raise TypeError(
                f"{op}: {first} and {name} must have the same dtype; "
                f"got {first} {describe(arrays[first])} and {name} {describe(array)}"
            )
    assert dtype is not None, "float_dtype needs at least one array"
    return dtype


def accumulator(dtype: np.dtype) -> np.dtype:
    """Returns the dtype in which sums are kept: float32 for half precision, the dtype itself otherwise."""
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def scalar(op: str, name: str, value: Any, dtype: np.dtype) -> jax.Array:
    """Returns a real number, given as a Python number or as an array without axes, as an array of `dtype`.

    Raises TypeError for any other value.
    """
    is_array = isinstance(value, (jax.Array, np.ndarray, np.generic))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    real = is_array and value.ndim == 0 and any(jnp.issubdtype(value.dtype, k) for k in (jnp.floating, jnp.integer))
    if not number and not real:
        raise TypeError(f"{op}: {name} must be a real number or an array of one, without axes; got {describe(value)}")
    return jnp.asarray(value).astype(dtype)


def scalar_bar(value: Any, bar: jax.Array) -> jax.Array | None:
    """Returns the cotangent of a `scalar` in the scalar's own dtype, or None for a whole number, which has none."""
    dtype = jnp.result_type(value)
    return bar.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else None
