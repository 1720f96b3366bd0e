"""The inputs of a model, as a tuple of arrays; what cannot be one is refused in a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def as_arrays(option: str, inputs: Any) -> tuple[np.ndarray, ...]:
    """The inputs as numpy has them; torch's tensors are taken too.

    option: the argument that they came by. Raises TypeError for what is no tuple or list of arrays of numbers, and
    ValueError for arrays without elements, which would compare nothing.
    """
    if isinstance(inputs, Mapping):
        names = ", ".join(map(str, inputs))
        raise TypeError(
            f"{option} must be a tuple of arrays, in the order of the model's arguments; got a dict of {names}"
        )
    if hasattr(inputs, "shape"):
        raise TypeError(f"{option} must be a tuple of arrays; got one array of shape {tuple(inputs.shape)}: write (x,)")
    if not isinstance(inputs, Sequence) or isinstance(inputs, (str, bytes)):
        raise TypeError(f"{option} must be a tuple of arrays; got {type(inputs).__name__}")
    if not inputs:
        raise ValueError(f"{option} must have at least one array")
    arrays = tuple(_as_array(f"{option}[{i}]", x) for i, x in enumerate(inputs))
    if not all(x.size for x in arrays):
        shapes = [x.shape for x in arrays]
        raise ValueError(f"{option} must have elements, or nothing is compared; got shapes {shapes}")
    return arrays


def _as_array(name: str, x: Any) -> np.ndarray:
    if type(x).__module__.partition(".")[0] == "torch" and hasattr(x, "detach"):
        from ..case.torch_arrays import to_numpy

        return to_numpy(x)
    if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.extended):
        raise TypeError(f"{name} must be an array of numbers; got a random key: pass that in kwargs")
    if isinstance(x, (Mapping, tuple, list, set)) or x is None:
        more = "" if x is None else ": give its arrays one by one, and wrap both models, so that they put them together"
        raise TypeError(f"{name} must be an array; got {type(x).__name__}{more}")
    array = np.asarray(x)
    if array.dtype.kind not in "biufcV" or not (array.dtype.kind != "V" or jnp.issubdtype(array.dtype, jnp.floating)):
        raise TypeError(f"{name} must be an array of numbers; got {type(x).__name__} of dtype {array.dtype}")
    return array


def shapes_of(inputs: Sequence[np.ndarray]) -> str:
    """`(5, 6) and (5,)`"""
    return " and ".join(str(x.shape) for x in inputs)


def layout_hint(inputs: Sequence[np.ndarray], channels: int | None, framework: str) -> str:
    """What to say if a picture comes to a flax model with its channels second; "" if it does not.

    channels: how many the original's first convolution takes.
    """
    for x in inputs:
        if framework.startswith("flax") and x.ndim > 2 and x.shape[1] == channels != x.shape[-1]:
            return (
                f" The input of shape {x.shape} seems to have its channels second, as torch has them; flax takes them "
                "last: give the port np.moveaxis(x, 1, -1), and the original gets them second by itself."
            )
    return ""
