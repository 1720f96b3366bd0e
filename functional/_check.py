"""Checks that every op makes of its arguments, at trace time: floating-point arrays of one dtype.

Each error says which argument of which function it is about, what came, what was expected and, where that is one step,
what to do. Under `jax.jit` the checks run once, while the function is traced.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

DTYPES = ("float16", "bfloat16", "float32", "float64")
FLOATS = frozenset(map(jnp.dtype, DTYPES))  # a dtype's name is slow to ask for

F = TypeVar("F", bound=Callable[..., Any])


def describe(value: Any) -> str:
    """Returns `float32[64,784]` for an array, and the type's name for anything else."""
    if isinstance(value, np.ma.MaskedArray):
        return f"a masked array of {value.dtype}[{','.join(map(str, value.shape))}]"
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    # Inside of a custom_vjp a Python number has a type of jax's own.
    plain = (kind.__name__ for kind in (bool, int, float, complex) if isinstance(value, kind))
    return next(plain, type(value).__name__)


def advice(name: str, value: Any) -> str:
    """Returns what to do about a value that has the wrong type or dtype, or nothing where that is not one step."""
    if isinstance(value, np.ma.MaskedArray):
        return f". Its mask would be ignored: choose what stands in the masked places, {name}.filled(0)"
    if isinstance(value, np.ndarray) and not value.dtype.isnative:
        return f". Give its bytes this machine's order: {name}.astype({name}.dtype.newbyteorder('='))"
    if type(value).__module__.partition(".")[0] == "torch":
        return f". Make a NumPy array of it: {name}.numpy()"
    if isinstance(value, (list, tuple, int, float)) and not isinstance(value, bool):
        return f". Make an array of it: jnp.asarray({name}, 'float32')"
    if (
        isinstance(value, (jax.Array, np.ndarray, np.generic))
        and value.dtype.kind in "biuV"
        and value.dtype.names is None
    ):
        return f". Cast it: {name}.astype('float32')"
    return ""


def dtype_of(value: Any) -> Any:
    """Returns the dtype that jax gives value, or None where it is no array that jax computes with.

    That is float32 for a float64 of NumPy where x64 is off. Text, objects, dates, numbers of another machine's byte
    order and masked arrays have none.
    """
    if isinstance(value, jax.Array):
        return value.dtype
    if not isinstance(value, (np.ndarray, np.generic)) or isinstance(value, np.ma.MaskedArray):
        return None
    try:
        return jnp.result_type(value)
    except TypeError:
        return None


def float_dtype(op: str, **arrays: Any) -> np.dtype:
    """Returns the one floating-point dtype of all `arrays`.

    Raises TypeError if one is no array of a dtype in DTYPES, or if two dtypes differ: backward would have to undo a
    silent promotion in forward, because a cotangent must have its primal's dtype.
    """
    first, dtype = "", None
    for name, array in arrays.items():
        got = dtype_of(array)
        if got not in FLOATS:
            raise TypeError(
                f"{op}: {name} must be an array of {', '.join(DTYPES)}; got {describe(array)}{advice(name, array)}"
            )
        if dtype is None:
            first, dtype = name, got
        elif got != dtype:
            raise TypeError(
                f"{op}: {first} and {name} must have the same dtype; "
                f"got {first} {describe(arrays[first])} and {name} {describe(array)}"
            )
    assert dtype is not None, "float_dtype needs at least one array"
    return dtype


def check_affine(op: str, x: Any, w: Any, b: Any) -> np.dtype:
    """Returns the one dtype of x, w and b (which may be None). Raises ValueError unless `x @ w + b` fits."""
    dtype = float_dtype(op, x=x, w=w) if b is None else float_dtype(op, x=x, w=w, b=b)
    if w.ndim != 2:
        raise ValueError(f"{op}: w must have shape (fan_in, fan_out); got w {describe(w)}")
    if x.ndim == 0 or x.shape[-1] != w.shape[0]:
        raise ValueError(
            f"{op}: the last axis of x must be fan_in = {w.shape[0]}, the first axis of w; "
            f"got x {describe(x)} and w {describe(w)}"
        )
    if b is not None and b.shape != w.shape[1:]:
        raise ValueError(
            f"{op}: b must have shape (fan_out,) = ({w.shape[1]},), the last axis of w; "
            f"got b {describe(b)} and w {describe(w)}"
        )
    return dtype


def checked_cotangent(op: str, name: str, bar: Any, shape: Sequence[int], dtype: Any) -> jax.Array:
    """Returns bar as a jax array. Raises TypeError unless it has the result's dtype, ValueError unless its shape."""
    if float_dtype(op, **{name: bar}) != dtype:
        raise TypeError(f"{op}: {name} must have the result's dtype, {dtype}; got {describe(bar)}")
    if tuple(bar.shape) != tuple(shape):
        raise ValueError(f"{op}: {name} must have the result's shape, {tuple(shape)}; got {describe(bar)}")
    return bar if isinstance(bar, jax.Array) else jnp.asarray(bar)


def checked_first(check: Callable[..., Any]) -> Callable[[F], F]:
    """Decorates a custom_vjp: `check` sees its arguments before jax does, which would refuse some in words of its own.

    check: raises our errors; its parameters are those of the rule.
    """

    def decorate(rule: F) -> F:
        @functools.wraps(rule)
        def call(*args: Any, **kwargs: Any) -> Any:
            check(*args, **kwargs)
            return rule(*args, **kwargs)

        vars(call)["defvjp"] = rule.defvjp  # type: ignore[attr-defined]
        return cast(F, call)

    return decorate


def check_concrete(op: str, tree: Any) -> None:
    """Raises TypeError where a leaf of tree is traced: under jit, vmap or grad it has no values."""
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree)):
        raise TypeError(f"{op}: it needs values, and got a traced array: call it outside of jax.jit, vmap and grad")


def known_values(array: Any) -> np.ndarray | None:
    """Returns an array's values, or None where they are not known: traced, or on devices of other processes."""
    if isinstance(array, Tracer) or not getattr(array, "is_fully_addressable", True):
        return None
    return np.asarray(array)


def check_known(op: str, name: str, value: Any) -> None:
    """Raises TypeError where value holds a leaf that is neither a number nor an array that jax computes with."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(value):
        if not isinstance(leaf, (bool, int, float, complex)) and dtype_of(leaf) is None:
            leaf_name = name + jax.tree_util.keystr(path)
            got = f"{describe(leaf)}{advice(leaf_name, leaf)}"
            raise TypeError(f"{op}: {leaf_name} must be an array of numbers; got {got}")


def accumulator(dtype: np.dtype) -> np.dtype:
    """Returns the dtype in which sums are kept: float32 for half precision, the dtype itself otherwise."""
    return np.dtype(np.float32) if dtype.itemsize < 4 else dtype


def check_scalar(op: str, name: str, value: Any) -> None:
    """Raises TypeError unless value is a real number: a Python number, or an array without axes."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise TypeError(f"{op}: {name} must be a number of at most 64 bits; got one of {value.bit_length()} bits")
    dtype = dtype_of(value)
    real = dtype is not None and any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer))
    if not number and (not real or np.ndim(value)):
        raise TypeError(f"{op}: {name} must be a real number or an array of one, without axes; got {describe(value)}")


def scalar(op: str, name: str, value: Any, dtype: np.dtype) -> jax.Array:
    """Returns a real number, given as a Python number or as an array without axes, as an array of `dtype`.

    Raises TypeError for any other value.
    """
    check_scalar(op, name, value)
    return jnp.asarray(value, dtype) if isinstance(value, int) else jnp.asarray(value).astype(dtype)


def scalar_bar(value: Any, bar: jax.Array) -> jax.Array | None:
    """Returns the cotangent of a `scalar` in the scalar's own dtype, or None for a whole number, which has none."""
    dtype = jnp.result_type(value)
    return bar.astype(dtype) if jnp.issubdtype(dtype, jnp.floating) else None
